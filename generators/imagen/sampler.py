"""Samplers: from noise to an image in few steps, each a pure function of a denoiser (Saharia et al. 2022, eqs. 3 to 6).

A denoiser maps z, and the step that starts from it, to x̂, with guidance and thresholding in it. Times are uniform from 1
to 0, and at time 0 there is no noise at all: the last step returns x̂ itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from drawbench.generators.imagen.schedule import ScheduleName, log_snr

if TYPE_CHECKING:
    from torch import Tensor

SamplerName = Literal["ddim", "ancestral", "dpm++2m"]

Denoiser = Callable[["Tensor", "Step"], "Tensor"]
"""(z at the step's time t, the step) → x̂, both ``(B, C, H, W)``."""

NoiseSource = Callable[[], "Tensor"]
"""Returns fresh standard normal noise in the shape of z."""


class Step(NamedTuple):
    """From time t to an earlier s. α, σ and λ are Python floats (float64): no rounding of the images' dtype, no sync."""

    t: float
    log_snr_t: float
    log_snr_s: float
    """Infinite at the last step."""

    @property
    def alpha_t(self) -> float:
        return _alpha(self.log_snr_t)

    @property
    def sigma_t(self) -> float:
        return _alpha(-self.log_snr_t)

    @property
    def alpha_s(self) -> float:
        return _alpha(self.log_snr_s)

    @property
    def sigma_s(self) -> float:
        return _alpha(-self.log_snr_s)

    @property
    def kept(self) -> float:
        """e^(λt - λs): how much of z the posterior keeps; 0 at the last step."""
        return math.exp(self.log_snr_t - self.log_snr_s)


def steps(schedule: ScheduleName, count: int) -> Iterator[Step]:
    """Yields ``count`` steps over times spaced uniformly from 1 to 0."""
    import torch

    times = torch.linspace(1, 0, count + 1, dtype=torch.float64)
    levels = [*log_snr(schedule, times[:-1]).tolist(), math.inf]
    for t, (level_t, level_s) in zip(times.tolist(), pairwise(levels), strict=False):
        yield Step(t, level_t, level_s)


def sample(
    name: SamplerName,
    denoise: Denoiser,
    z: Tensor,
    schedule: ScheduleName,
    count: int,
    noise: NoiseSource,
    gamma: float,
) -> Tensor:
    """Runs a sampler by its name; ``noise`` and ``gamma`` serve the ancestral one."""
    if name == "ddim":
        return ddim(denoise, z, schedule, count)
    if name == "ancestral":
        return ancestral(denoise, z, schedule, count, noise, gamma)
    return dpm_solver_2m(denoise, z, schedule, count)


def ddim(denoise: Denoiser, z: Tensor, schedule: ScheduleName, count: int) -> Tensor:
    """Returns x after deterministic steps z_s = α_s x̂ + (σ_s/σ_t)(z_t - α_t x̂) (eq. 5; Song et al. 2021)."""
    for step in steps(schedule, count):
        x0 = denoise(z, step)
        z = step.alpha_s * x0 + (step.sigma_s / step.sigma_t) * (z - step.alpha_t * x0)
    return z


def ancestral(
    denoise: Denoiser, z: Tensor, schedule: ScheduleName, count: int, noise: NoiseSource, gamma: float
) -> Tensor:
    """Returns x after stochastic steps from the posterior of z_s (eqs. 3, 4 and 6).

    ``gamma`` in [0, 1] interpolates the log of the variance between the posterior's, where x is known (0), and the
    forward process's (1). The paper uses it and gives no value.
    """
    for step in steps(schedule, count):
        x0 = denoise(z, step)
        mean = step.kept * (step.alpha_s / step.alpha_t) * z + (1 - step.kept) * step.alpha_s * x0
        if math.isinf(step.log_snr_s):
            return mean
        lower, upper = (1 - step.kept) * step.sigma_s**2, (1 - step.kept) * step.sigma_t**2
        z = mean + math.sqrt(lower ** (1 - gamma) * upper**gamma) * noise()
    return z


def dpm_solver_2m(denoise: Denoiser, z: Tensor, schedule: ScheduleName, count: int) -> Tensor:
    """Returns x after multistep second-order steps (DPM-Solver++(2M), Lu et al. 2022, algorithm 2). Not in the paper.

    The first and the last step are of first order (DDIM), as there is no step before the one, and λ ends at infinity
    in the other.
    """
    before: tuple[Tensor, float] | None = None
    for step in steps(schedule, count):
        x0 = denoise(z, step)
        h = (step.log_snr_s - step.log_snr_t) / 2  # In the solver's λ = log(α/σ).
        use = x0
        if before is not None and math.isfinite(h):
            earlier, h_before = before
            ratio = h_before / h
            use = (1 + 1 / (2 * ratio)) * x0 - earlier / (2 * ratio)
        z = (step.sigma_s / step.sigma_t) * z - step.alpha_s * math.expm1(-h) * use
        before = (x0, h)
    return z


def _alpha(log_snr: float) -> float:
    """sqrt(sigmoid(λ)), without overflow at either end."""
    if log_snr >= 0:
        return math.sqrt(1 / (1 + math.exp(-log_snr)))
    return math.sqrt(math.exp(log_snr) / (1 + math.exp(log_snr))) if math.isfinite(log_snr) else 0.0
