"""Noise conditioning augmentation of the low-resolution input (Saharia et al. 2022, section 2.4; after Ho et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drawbench.generators.imagen.diffusion import diffuse
from drawbench.generators.imagen.schedule import cosine_log_snr

if TYPE_CHECKING:
    from torch import Tensor


def aug_log_snr(aug_level: Tensor) -> Tensor:
    """Returns the log-SNR of levels in [0, 1]: the cosine schedule with the level for time.

    Not in the paper, which has "Gaussian noise, resembling the forward process" and a level from 0 to 1, but not how the
    one follows from the other. The stages' own forward process is the nearest reading.
    """
    return cosine_log_snr(aug_level, offset=0.0)


def augment(low_res: Tensor, noise: Tensor, aug_level: Tensor) -> Tensor:
    """Returns the low-resolution image with noise of its level, ``(B,)`` in [0, 1]; level 0 leaves it as it is (to 5e-5).

    It is noised once and stays so through all steps of sampling; the network is told the level, also when it is 0.
    """
    return diffuse(low_res, noise, aug_log_snr(aug_level))
