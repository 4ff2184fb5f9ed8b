"""Samplers against exact answers: Gaussian data, whose denoiser is known, and diffusers' own steps on the same schedule."""

import math

import numpy as np
import pytest
import torch

from drawbench.generators.imagen import sampler
from drawbench.generators.imagen.sampler import Step, ancestral, ddim, dpm_solver_2m, sample, steps

MEANS = torch.tensor([0.3, -0.8, 0.0], dtype=torch.float64)
SPREADS = torch.tensor([0.5, 0.2, 1.7], dtype=torch.float64)
"""Standard deviations of independent components: a covariance in its own axes."""


def exact(z, step):
    """E[x | z] for x ~ N(MEANS, SPREADS²)."""
    alpha2 = torch.sigmoid(torch.tensor(step.log_snr_t, dtype=torch.float64))
    gain = alpha2.sqrt() * SPREADS**2 / (alpha2 * SPREADS**2 + 1 - alpha2)
    return MEANS + gain * (z - alpha2.sqrt() * MEANS)


def distribution(run, noises):
    """Mean and standard deviation of a sampler's output, exactly: with the exact denoiser it is affine in its noises.

    One row of the batch has no noise, and each other row a single one: the first z, or that of one ancestral step.
    """
    z = torch.zeros(noises + 2, 3, dtype=torch.float64)
    z[1] = 1
    rows = iter(range(2, noises + 2))

    def noise():
        alone = torch.zeros_like(z)
        alone[next(rows)] = 1
        return alone

    out = run(z, noise)
    return out[0], ((out[1:] - out[0]) ** 2).sum(0).sqrt()


SAMPLERS = {
    "ddim": lambda schedule, count: lambda z, noise: ddim(exact, z, schedule, count),
    "ancestral 0": lambda schedule, count: lambda z, noise: ancestral(exact, z, schedule, count, noise, 0.0),
    "ancestral 0.3": lambda schedule, count: lambda z, noise: ancestral(exact, z, schedule, count, noise, 0.3),
    "ancestral 1": lambda schedule, count: lambda z, noise: ancestral(exact, z, schedule, count, noise, 1.0),
    "dpm++2m": lambda schedule, count: lambda z, noise: dpm_solver_2m(exact, z, schedule, count),
}


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "dpm++2m"])
def test_with_the_exact_denoiser_the_output_has_the_datas_mean_and_covariance(name, schedule):
    """In the limit of many steps, and the error halves as the steps double: a wrong coefficient does neither."""
    errors = []
    for count in (1000, 2000):
        mean, spread = distribution(SAMPLERS[name](schedule, count), count)
        assert mean.numpy() == pytest.approx(MEANS.numpy(), abs=0.005)
        errors.append(float(((spread - SPREADS) / SPREADS).abs().max()))
    assert errors[1] < 0.02
    assert errors[1] < max(0.7 * errors[0], 0.002), (
        "what is left is the schedule's own: its offset leaves σ = 0.0125 at the end"
    )


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_second_order_solver_is_nearer_to_the_data_in_few_steps(schedule):
    first, second = (distribution(SAMPLERS[name](schedule, 100), 0) for name in ("ddim", "dpm++2m"))
    assert second[0].numpy() == pytest.approx(MEANS.numpy(), abs=0.01)
    assert second[1].numpy() == pytest.approx(SPREADS.numpy(), rel=0.02)
    assert (second[1] - SPREADS).abs().max() < 0.4 * (first[1] - SPREADS).abs().max()


def test_times_are_uniform_and_end_without_noise():
    taken = list(steps("cosine", 4))
    assert len(taken) == 4
    assert taken[0].log_snr_t == -20
    assert math.isinf(taken[-1].log_snr_s)
    assert (taken[-1].alpha_s, taken[-1].sigma_s, taken[-1].kept) == (1.0, 0.0, 0.0)
    for step in taken:
        assert step.alpha_t**2 + step.sigma_t**2 == pytest.approx(1)


@pytest.mark.parametrize("name", ["ddim", "ancestral", "dpm++2m"])
def test_one_step_is_the_denoisers_first_guess(name):
    z = torch.ones(3, dtype=torch.float64)
    assert torch.allclose(
        sample(name, exact, z, "linear", 1, lambda: z, 0.3), exact(z, Step(1.0, -10.05, math.inf)), atol=1e-3
    )


def scheduler_step(kind, z, x0, t, s, **options):
    """One step of a diffusers scheduler from discrete time t to s, for a known x̂."""
    from diffusers import DDIMScheduler, DDPMScheduler

    made = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler}[kind](
        num_train_timesteps=1000, prediction_type="sample", clip_sample=False, **options
    )
    made.set_timesteps(1000 // (t - s))
    if kind == "ddim":
        return made.step(x0, t, z, eta=0.0).prev_sample, made.alphas_cumprod
    return made._get_variance(t, variance_type="fixed_small"), made.alphas_cumprod


def on_grid(monkeypatch, alphas, times):
    """Makes the samplers take one step between discrete times of diffusers, and no last one."""
    levels = [math.log(float(alphas[t]) / (1 - float(alphas[t]))) for t in times]
    monkeypatch.setattr(sampler, "steps", lambda schedule, count: iter([Step(0.6, *levels)]))


def test_a_step_of_ddim_is_diffusers_own(monkeypatch):
    z, x0 = torch.tensor([[0.7, -1.2]]), torch.tensor([[0.1, -0.4]])
    theirs, alphas = scheduler_step("ddim", z, x0, 600, 500)
    on_grid(monkeypatch, alphas, (600, 500))
    assert torch.allclose(ddim(lambda z, step: x0, z, "linear", 1), theirs, atol=1e-5)


def test_a_step_of_the_ancestral_sampler_is_ddpms_posterior(monkeypatch):
    """Mean of Ho et al. 2020, eq. 7; γ = 0 has the variance β̃ ('fixed small'), γ = 1 has β ('fixed large')."""
    z, x0, one = torch.tensor([[0.7, -1.2]]), torch.tensor([[0.1, -0.4]]), torch.ones(1, 2)
    small, alphas = scheduler_step("ddpm", None, None, 600, 500)
    on_grid(monkeypatch, alphas, (600, 500))
    at, as_ = (float(alphas[i]) for i in (600, 500))
    beta = 1 - at / as_
    mean = math.sqrt(as_) * beta / (1 - at) * x0 + math.sqrt(at / as_) * (1 - as_) / (1 - at) * z

    def ours(noise, gamma):
        on_grid(monkeypatch, alphas, (600, 500))
        return ancestral(lambda z, step: x0, z, "linear", 1, lambda: noise, gamma)

    assert torch.allclose(ours(0 * one, 0.3), mean, atol=1e-5)
    for gamma, variance in ((0.0, float(small)), (1.0, beta), (0.3, float(small) ** 0.7 * beta**0.3)):
        assert torch.allclose(ours(one, gamma) - mean, math.sqrt(variance) * one, atol=1e-5)


def test_a_sampler_is_known_by_its_name():
    z = torch.ones(3, dtype=torch.float64)
    made = {name: sample(name, exact, z, "cosine", 5, lambda: z, 0.3) for name in ("ddim", "ancestral", "dpm++2m")}
    assert torch.equal(made["ddim"], ddim(exact, z, "cosine", 5))
    assert torch.equal(made["ancestral"], ancestral(exact, z, "cosine", 5, lambda: z, 0.3))
    assert torch.equal(made["dpm++2m"], dpm_solver_2m(exact, z, "cosine", 5))
    assert not torch.allclose(made["ddim"], made["dpm++2m"])


def test_the_second_order_solver_agrees_with_diffusers():
    """Over a whole trajectory, on diffusers' own grid of sigmas."""
    from diffusers import DPMSolverMultistepScheduler

    made = DPMSolverMultistepScheduler(
        prediction_type="sample",
        algorithm_type="dpmsolver++",
        solver_order=2,
        final_sigmas_type="zero",
        lower_order_final=False,
    )
    made.set_timesteps(12)
    z = torch.tensor([[1.0, -0.5, 0.2]], dtype=torch.float64)
    theirs, seen = z, []
    for index, t in enumerate(made.timesteps):
        ratio = float(made.sigmas[index])  # σ/α
        seen.append(-2 * math.log(ratio))
        theirs = made.step(exact(theirs, Step(0.0, seen[-1], 0.0)), t, theirs).prev_sample
    import drawbench.generators.imagen.sampler as module

    grid = [Step(0.0, a, b) for a, b in zip(seen, [*seen[1:], math.inf], strict=True)]
    original = module.steps
    module.steps = lambda schedule, count: iter(grid)
    try:
        ours = dpm_solver_2m(exact, z, "cosine", 12)
    finally:
        module.steps = original
    assert ours.numpy() == pytest.approx(theirs.numpy(), abs=1e-4)
    assert np.isfinite(ours.numpy()).all()
