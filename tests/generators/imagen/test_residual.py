"""The linear guess that a residual is added to: it is Bayes' rule, and it leaves a remainder of its own size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from drawbench.errors import UserError
from drawbench.generators.imagen.augmentation import aug_log_snr, augment
from drawbench.generators.imagen.cascade import NoiseOf, Sampling, sample_stage
from drawbench.generators.imagen.checkpoint import build_network, open_checkpoint, save_config
from drawbench.generators.imagen.config import SHAPES, TINY
from drawbench.generators.imagen.diffusion import diffuse, weights
from drawbench.generators.imagen.layers import null_text
from drawbench.generators.imagen.residual import DATA_STD, DETAIL_STD, NOISE_KEPT, guess
from drawbench.generators.imagen.schedule import log_snr
from drawbench.shapes.data import pair, training_example


def pictures(count, size):
    """Pictures of the shapes world at a size and at half of it, in [-1, 1]; one in twenty has a sign, whose letters are sharp."""
    drawn = ((index, training_example(index).captioned.scene.word is not None) for index in range(10 * count))
    known = sorted(drawn, key=lambda one: one[1])
    signs = count // 20
    chosen = [index for index, _ in [*known[: count - signs], *known[len(known) - signs :]]]
    high = [pair(index, size)[0] for index in chosen]
    low = [image.resize((size // 2, size // 2), 3) for image in high]
    return [
        torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).float() / 127.5 - 1
        for images in (high, low)
    ]


@pytest.mark.parametrize("t", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("aug", [0.0, 0.1, 0.6, 1.0])
def test_what_the_guess_lacks_has_unit_size(t, aug):
    torch.manual_seed(0)
    high, low = pictures(60, 32)
    level, augs = log_snr("cosine", torch.full((60,), t)), torch.full((60,), aug)
    z = diffuse(high, torch.randn_like(high), level)
    known = guess(z, level, augment(low, torch.randn_like(low), augs), augs)
    assert 0.8 < ((high - known.mean) / known.std).square().mean() < 1.3


def test_the_guess_is_bayes_rule_for_three_sources():
    """Of one pixel: a prior around 0, z, and the enlarged small image, each with its variance."""
    torch.manual_seed(1)
    z, low = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 4, 4)
    level, aug = log_snr("cosine", torch.tensor([0.4])), torch.tensor([0.3])
    alpha, sigma = weights(level, z)
    small_alpha, small_sigma = weights(aug_log_snr(aug), z)
    enlarged = functional.interpolate(low, (8, 8), mode="bilinear", align_corners=False)
    sources = [
        (torch.zeros_like(z), DATA_STD**2),
        (z / alpha, sigma**2 / alpha**2),
        (enlarged / small_alpha, DETAIL_STD**2 + NOISE_KEPT * small_sigma**2 / small_alpha**2),
    ]
    precision = sum(1 / variance for _, variance in sources)
    mean = sum(value / variance for value, variance in sources) / precision
    known = guess(z, level, low, aug)
    torch.testing.assert_close(known.mean, mean)
    torch.testing.assert_close(known.std.squeeze(), precision.squeeze() ** -0.5)


def test_a_fresh_stage_already_enlarges():
    """Its network is zero at the start, so that the guess alone is drawn: near the small image, where v would draw noise."""
    torch.manual_seed(0)
    high, low = pictures(4, 32)
    stage = SHAPES[1]
    network = build_network(stage).eval()
    way = Sampling(steps=8, guidance_weight=1.0, aug_level=0.0)
    drawn = sample_stage(
        stage, network, way, null_text(4, 128, "cpu", torch.float32), low, NoiseOf([0, 1, 2, 3]), "cpu"
    )
    assert (drawn - high).square().mean() < 0.03
    v = replace(stage, output="v")
    assert (
        sample_stage(v, network, way, null_text(4, 128, "cpu", torch.float32), low, NoiseOf([0, 1, 2, 3]), "cpu") - high
    ).square().mean() > 0.1


def test_a_base_has_no_residual(tmp_path):
    stages = (replace(TINY[0], output="residual"), *TINY[1:])
    from drawbench.generators.imagen.text_encoder import TextEncoderConfig

    save_config(tmp_path, stages, TextEncoderConfig(name="shapes"), "0" * 64)
    with pytest.raises(UserError, match="residual for super-resolution"):
        open_checkpoint(tmp_path)
