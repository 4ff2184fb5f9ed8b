"""Classifier-free guidance (Ho & Salimans 2021; Saharia et al. 2022, eq. 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def guide(conditional: Tensor, unconditional: Tensor, weight: float) -> Tensor:
    """Returns w ε(z, c) + (1 - w) ε(z): w = 1 is the conditional prediction, that is no guidance; w = 0 the unconditional."""
    return weight * conditional + (1 - weight) * unconditional
