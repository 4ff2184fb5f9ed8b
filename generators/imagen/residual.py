"""What a super-resolution network's output is added to, where a stage predicts the residual.

Not in the paper, whose networks predict ε. A small network needs many steps to learn that the large image is nearly the
small one, enlarged. So it is told: as Karras et al. 2022 (section 5) do for one noisy image, the best linear guess of x from z
and from the enlarged small image is made beforehand, and the network predicts the rest, in units of that guess's error.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from drawbench.generators.imagen.augmentation import aug_log_snr
from drawbench.generators.imagen.diffusion import weights

DATA_STD = 0.5
"""Of images in [-1, 1]."""
DETAIL_STD = 0.1
"""Of what an enlarged image lacks; in the shapes world .099 at 16→32 pixels and .067 at 32→64."""
NOISE_KEPT = 0.41
"""Of the variance of noise after doubling by bilinear interpolation."""


class Guess(NamedTuple):
    """The best linear guess of x, and its standard error."""

    mean: Tensor
    """``(B, 3, H, W)``."""
    std: Tensor
    """``(B, 1, 1, 1)``, or a scalar where all have one time and one level."""


def guess(z: Tensor, log_snr: Tensor, low_res: Tensor, aug_level: Tensor) -> Guess:
    """Returns what z ``(B, 3, H, W)`` and the augmented small image ``(B, 3, h, w)`` say of x, weighted by what each is worth."""
    alpha, sigma = weights(log_snr, z)
    small_alpha, small_sigma = weights(aug_log_snr(aug_level), z)
    enlarged = functional.interpolate(low_res.to(z), z.shape[-2:], mode="bilinear", align_corners=False)
    small = small_alpha / (DETAIL_STD**2 * small_alpha**2 + NOISE_KEPT * small_sigma**2)
    variance = 1 / (1 / DATA_STD**2 + small * small_alpha + alpha**2 / sigma**2)
    return Guess(variance * (small * enlarged + alpha / sigma**2 * z), variance.sqrt())
