"""Thresholding x̂ against the saturation that high guidance weights bring (Saharia et al. 2022, section 2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

ThresholdingName = Literal["none", "static", "dynamic"]


def threshold(x0: Tensor, kind: ThresholdingName, percentile: float = 0.995) -> Tensor:
    """Applies one of the three: nothing, `static_threshold` or `dynamic_threshold`."""
    if kind == "none":
        return x0
    return static_threshold(x0) if kind == "static" else dynamic_threshold(x0, percentile)


def static_threshold(x0: Tensor) -> Tensor:
    """Clips to [-1, 1]."""
    return x0.clamp(-1, 1)


def dynamic_threshold(x0: Tensor, percentile: float = 0.995) -> Tensor:
    """Clips each image to [-s, s] and divides by s, where s is a percentile of its own |x̂|, and at least 1.

    The percentile is over all axes but the batch, as a fraction; 0.995 is the one that the paper names (figure A.10).
    """
    import torch

    s = torch.quantile(x0.detach().float().abs().flatten(1), percentile, dim=1).clamp(min=1)
    s = s.to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))
    return x0.clamp(-s, s) / s
