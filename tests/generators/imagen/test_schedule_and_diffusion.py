import math

import numpy as np
import pytest
import torch

from drawbench.generators.imagen.augmentation import aug_log_snr, augment
from drawbench.generators.imagen.diffusion import (
    diffuse,
    eps_from_v,
    eps_from_x0,
    squared_error,
    v_from_x0,
    x0_from_eps,
    x0_from_v,
)
from drawbench.generators.imagen.guidance import guide
from drawbench.generators.imagen.schedule import alpha_sigma, cosine_log_snr, linear_log_snr, log_snr
from drawbench.generators.imagen.thresholding import dynamic_threshold, static_threshold, threshold

TIMES = torch.linspace(0, 1, 101, dtype=torch.float64)


def test_the_cosine_schedule_is_eq_17_of_improved_ddpm_without_its_norm():
    alpha_bar = np.cos((TIMES.numpy()[:-1] + 0.008) / 1.008 * np.pi / 2) ** 2
    assert cosine_log_snr(TIMES[:-1]).numpy() == pytest.approx(np.log(alpha_bar / (1 - alpha_bar)), rel=1e-9, abs=1e-9)
    later = TIMES.numpy()[5:-1]
    eq_17 = alpha_bar[5:] / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    assert np.abs(cosine_log_snr(torch.tensor(later)).numpy() - np.log(eq_17 / (1 - eq_17))).max() < 0.02
    assert float(cosine_log_snr(torch.tensor(0.0))) == pytest.approx(8.77, abs=0.01)
    assert float(cosine_log_snr(torch.tensor(0.999))) == pytest.approx(-12.93, abs=0.01)


def test_the_linear_schedule_is_the_discrete_one_in_continuous_time():
    betas = np.linspace(1e-4, 0.02, 1000)
    discrete = np.cumsum(np.log1p(-betas))  # log ᾱ after n steps
    for n in (100, 500, 1000):  # At n = 10 a step still counts: the sum has 0.05 β more at either end.
        log_alpha_bar = torch.nn.functional.logsigmoid(linear_log_snr(torch.tensor(n / 1000)))
        assert float(log_alpha_bar) == pytest.approx(discrete[n - 1], rel=0.02), n
    assert float(linear_log_snr(torch.tensor(1.0))) == pytest.approx(-math.log(math.expm1(10.05)))


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_schedules_fall_from_data_to_noise_and_preserve_variance(schedule):
    values = log_snr(schedule, TIMES)
    assert (values.diff() < 0).all()
    assert values.abs().max() <= 20
    alpha, sigma = alpha_sigma(values)
    assert torch.allclose(alpha**2 + sigma**2, torch.ones_like(alpha))
    assert alpha[0] > 0.999
    assert sigma[-1] > 0.9999


def test_alpha_and_sigma_are_exact_where_they_are_tiny():
    alpha, sigma = alpha_sigma(torch.tensor([-20.0, 20.0], dtype=torch.float64))
    assert float(alpha[0]) == pytest.approx(math.exp(-10), rel=1e-8)
    assert float(sigma[1]) == pytest.approx(math.exp(-10), rel=1e-8)


def test_x0_and_eps_are_found_again_with_a_level_per_image():
    generator = torch.Generator().manual_seed(0)
    x, eps = (torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    levels = torch.tensor([5.0, 0.0, -5.0], dtype=torch.float64)
    z = diffuse(x, eps, levels)
    assert torch.allclose(x0_from_eps(z, eps, levels), x)
    assert torch.allclose(eps_from_x0(z, x, levels), eps)
    one = diffuse(x[1:2], eps[1:2], torch.tensor(0.0))
    assert torch.allclose(z[1:2], one), "a scalar level serves all"
    assert torch.allclose(z[1], (x[1] + eps[1]) / math.sqrt(2))


def test_the_loss_is_the_mean_square_of_each_image():
    predicted, eps = torch.zeros(2, 3, 2, 2), torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1).expand(2, 3, 2, 2)
    assert squared_error(predicted, eps).tolist() == [1.0, 9.0]


def test_guidance_weight_1_is_none_and_0_is_unconditional():
    conditional, unconditional = torch.tensor([2.0]), torch.tensor([0.5])
    assert guide(conditional, unconditional, 1.0).item() == 2.0
    assert guide(conditional, unconditional, 0.0).item() == 0.5
    assert guide(conditional, unconditional, 1.35).item() == pytest.approx(1.35 * 2.0 - 0.35 * 0.5)


def test_dynamic_thresholding_is_per_image_and_never_below_1():
    calm, wild = torch.linspace(-0.9, 0.9, 48).reshape(3, 4, 4), torch.linspace(-6, 6, 48).reshape(3, 4, 4)
    both = dynamic_threshold(torch.stack([calm, wild]), 0.9)
    assert torch.equal(both[0], calm)
    s = np.quantile(np.abs(wild.numpy()), 0.9)
    assert s > 1
    assert both[1].numpy() == pytest.approx(np.clip(wild.numpy(), -s, s) / s, abs=1e-6)
    assert torch.equal(both[1:], dynamic_threshold(wild[None], 0.9)), "the batch has no say in it"


def test_dynamic_thresholding_agrees_with_diffusers():
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=0.995, sample_max_value=1e9)
    x0 = 4 * torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(dynamic_threshold(x0), scheduler._threshold_sample(x0), atol=1e-6)


def test_static_thresholding_clips_and_none_does_nothing():
    x0 = torch.tensor([[-3.0, 0.5, 1.5]])
    assert static_threshold(x0).tolist() == [[-1.0, 0.5, 1.0]]
    assert torch.equal(threshold(x0, "none"), x0)
    assert torch.equal(threshold(x0, "static"), static_threshold(x0))
    assert torch.equal(threshold(x0, "dynamic", 0.5), dynamic_threshold(x0, 0.5))


def test_augmentation_at_level_0_leaves_the_image_and_at_1_leaves_nothing_of_it():
    x, noise = torch.ones(2, 1, 2, 2), torch.full((2, 1, 2, 2), 0.5)
    out = augment(x, noise, torch.tensor([0.0, 1.0]))
    assert torch.allclose(out[0], x[0], atol=1e-4)
    assert torch.allclose(out[1], noise[1], atol=1e-4)
    assert (aug_log_snr(TIMES).diff() <= 0).all()


def test_v_gives_back_both_the_image_and_the_noise():
    generator = torch.Generator().manual_seed(0)
    x, eps = (torch.randn(5, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    level = torch.linspace(-9, 9, 5, dtype=torch.float64)
    z, v = diffuse(x, eps, level), v_from_x0(x, eps, level)
    assert torch.allclose(x0_from_v(z, v, level), x)
    assert torch.allclose(eps_from_v(z, v, level), eps)
