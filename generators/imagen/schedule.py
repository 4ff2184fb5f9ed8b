"""Noise schedules as log-SNR of continuous time (Saharia et al. 2022, appendices A and F).

A schedule maps t in [0, 1] to λ = log(α²/σ²), falling from data (t = 0) to noise (t = 1). The process is variance
preserving: α² = sigmoid(λ), σ² = sigmoid(-λ).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

ScheduleName = Literal["cosine", "linear"]

LOG_SNR_LIMIT = 20.0
"""λ is kept within ±20 (not in the paper): both schedules are infinite at an end, and e^±10 is noise or data to fp32."""


class AlphaSigma(NamedTuple):
    """The weights of data and noise in z = α x + σ ε."""

    alpha: Tensor
    sigma: Tensor


def log_snr(schedule: ScheduleName, t: Tensor) -> Tensor:
    """Returns λ(t) of a schedule in float64, for times in [0, 1] of any shape."""
    return cosine_log_snr(t) if schedule == "cosine" else linear_log_snr(t)


def cosine_log_snr(t: Tensor, offset: float = 0.008) -> Tensor:
    """Returns λ where α = cos(π/2 · (t + s)/(1 + s)): base and 64→256 (F.1, F.2).

    After Nichol & Dhariwal 2021, eq. 17, but without its division by the value at t = 0, as imagen-pytorch has it (not in
    the paper): σ is 0.0125 at t = 0, and from t = 0.05 on λ differs by less than 0.02.
    """
    angle = (t.double() + offset) / (1 + offset) * (math.pi / 2)
    return (-2 * angle.tan().log()).clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)


def linear_log_snr(t: Tensor, first: float = 1e-4, last: float = 0.02, steps: int = 1000) -> Tensor:
    """Returns λ of β rising linearly over 1000 steps (Ho et al. 2020), in continuous time: 256→1024 (F.3).

    -log ᾱ(t) is the integral of 1000·β(t), that is 0.1 t + 9.95 t². (The sum over the discrete steps, with its
    logarithms, is 10.118 at t = 1 against 10.05 here.)
    """
    t = t.double()
    decay = steps * (first * t + (last - first) * t**2 / 2)
    return (-decay.expm1().log()).clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)


def alpha_sigma(log_snr: Tensor) -> AlphaSigma:
    """Returns α and σ of a log-SNR, with α² + σ² = 1; each exact to rounding also where it is tiny."""
    return AlphaSigma(log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt())
