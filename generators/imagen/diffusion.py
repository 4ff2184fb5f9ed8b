"""The forward process and its ε-prediction objective (Saharia et al. 2022, section 2.2 and appendix A).

λ comes as one number per image, ``(B,)`` or a scalar; images are ``(B, C, H, W)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drawbench.generators.imagen.schedule import AlphaSigma, alpha_sigma

if TYPE_CHECKING:
    from torch import Tensor


def weights(log_snr: Tensor, like: Tensor) -> AlphaSigma:
    """Returns α and σ in the dtype and device of images, shaped to multiply them."""
    shape = (-1, *[1] * (like.ndim - 1)) if log_snr.ndim else ()
    alpha, sigma = alpha_sigma(log_snr.double())
    return AlphaSigma(*(part.to(like.device, like.dtype).reshape(shape) for part in (alpha, sigma)))


def diffuse(x: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    """Returns z = α x + σ ε."""
    alpha, sigma = weights(log_snr, x)
    return alpha * x + sigma * eps


def x0_from_eps(z: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    """Returns x̂ = (z - σ ε)/α."""
    alpha, sigma = weights(log_snr, z)
    return (z - sigma * eps) / alpha


def eps_from_x0(z: Tensor, x0: Tensor, log_snr: Tensor) -> Tensor:
    """Returns ε = (z - α x̂)/σ: what the noise is taken for once x̂ has been changed (thresholded)."""
    alpha, sigma = weights(log_snr, z)
    return (z - alpha * x0) / sigma


def eps_from_v(z: Tensor, v: Tensor, log_snr: Tensor) -> Tensor:
    """Returns ε = σ z + α v, where v = α ε - σ x (Salimans & Ho 2022, appendix D)."""
    alpha, sigma = weights(log_snr, z)
    return sigma * z + alpha * v


def x0_from_v(z: Tensor, v: Tensor, log_snr: Tensor) -> Tensor:
    """Returns x̂ = α z - σ v."""
    alpha, sigma = weights(log_snr, z)
    return alpha * z - sigma * v


def v_from_x0(x: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    """Returns v = α ε - σ x."""
    alpha, sigma = weights(log_snr, x)
    return alpha * eps - sigma * x


def squared_error(predicted: Tensor, true: Tensor) -> Tensor:
    """Returns the mean squared error of each image, ``(B,)``; in ε, unweighted, it is the paper's loss.

    With t uniform the weighting of the times is the schedule's own.
    """
    return (predicted.float() - true.float()).square().flatten(1).mean(1)
