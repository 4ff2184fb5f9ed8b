"""One step of training: what the network is given, what is asked of it, and how the weights move."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from drawbench.generators.imagen.adafactor import Adafactor, factored_axes
from drawbench.generators.imagen.config import PRESETS, TINY, Recipe
from drawbench.generators.imagen.data import Batch
from drawbench.generators.imagen.ema import EMA
from drawbench.generators.imagen.layers import Text, null_text
from drawbench.generators.imagen.training import Trainer, drop_text, learning_rate

BASE, SR256, SR1024 = TINY
RECIPE = replace(PRESETS["TINY"].recipes["base"], batch_size=6, warmup=0, dtype="fp32")


def batch(stage=BASE, count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size, low = stage.network.image_size, getattr(stage.network, "low_res_size", None)

    def normal(side):
        return torch.randn(count, 3, side, side, generator=generator)

    def uniform():
        return torch.rand(count, generator=generator)

    return Batch(
        torch.arange(count), normal(size).tanh(), None if low is None else normal(low).tanh(), ("a",) * count,
        uniform(), normal(size), uniform(), None if low is None else normal(low), uniform(),
    )  # fmt: skip


def text(count=6, dim=64):
    return Text(
        torch.randn(count, 7, dim, generator=torch.Generator().manual_seed(9)),
        torch.arange(7) < torch.arange(1, count + 1)[:, None],
    )


class Recorder(nn.Module):
    """Stands for a network, and keeps what it is given."""

    def forward(self, *given):
        self.given = given
        return torch.zeros_like(given[0])


@pytest.mark.parametrize("stage", TINY, ids=lambda stage: stage.name)
def test_the_network_is_given_what_the_paper_says_and_asked_for_the_noise(stage):
    trainer = Trainer(stage, RECIPE, "cpu")
    trainer._model = recorder = Recorder()
    b, words = batch(stage), text()
    losses = trainer.losses(b, words)
    z, t, given, *upscale = recorder.given
    u = b.t.double().numpy()
    if stage.schedule == "cosine":
        alpha = np.cos(np.pi / 2 * (u + 0.008) / 1.008)
    else:
        alpha = np.exp(-(0.1 * u + 9.95 * u**2) / 2)
    alpha = torch.from_numpy(alpha)[:, None, None, None]
    expected = alpha * b.images + (1 - alpha**2).sqrt() * b.eps
    assert torch.allclose(z.double(), expected, atol=1e-5)
    assert torch.equal(t, b.t)
    dropped = b.drop < 0.1
    assert torch.equal(given.embeddings[~dropped], words.embeddings[~dropped])
    if stage is not BASE:
        low_res, level = upscale
        angle = torch.pi / 2 * b.aug_level[:, None, None, None]
        assert torch.allclose(low_res, angle.cos() * b.low_res + angle.sin() * b.aug_noise, atol=1e-3)
        assert torch.equal(level, b.aug_level)
    assert torch.allclose(losses, b.eps.square().flatten(1).mean(1))


def test_a_dropped_text_is_null_text():
    words = text()
    dropped = torch.tensor([True, False, True, False, False, True])
    left = drop_text(words, dropped)
    null = null_text(1, 64, "cpu", torch.float32)
    for row in range(6):
        tokens = left.embeddings[row][left.mask[row]]
        expected = null.embeddings[0] if dropped[row] else words.embeddings[row][words.mask[row]]
        assert torch.equal(tokens, expected)


def test_text_is_dropped_as_often_as_the_recipe_says_and_levels_are_uniform():
    from drawbench.generators.imagen.data import Function, Samples
    from drawbench.plugins import Plugin

    data = Samples(Function(Plugin("datasets", "x", "picture_book:page", "test"), 16), 16, 8, None, 0, captioned=True)
    data.data._loaded = __import__("picture_book").page
    found = [data[position] for position in range(2000)]
    drop, level, t = (torch.cat([getattr(one, name) for one in found]) for name in ("drop", "aug_level", "t"))
    assert abs((drop < 0.1).float().mean() - 0.1) < 0.02
    for values in (level, t):
        assert abs(values.mean() - 0.5) < 0.02
        assert abs(values.var() - 1 / 12) < 0.005
    assert abs(np.corrcoef(torch.stack([drop, level, t]))[np.triu_indices(3, 1)]).max() < 0.08
    eps = torch.stack([one.eps[0] for one in found[:500]])
    assert abs(eps.mean()) < 0.01
    assert abs(eps.std() - 1) < 0.01


def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine():
    recipe = Recipe(learning_rate=2.0, warmup=10, decay_steps=110)
    rates = [learning_rate(recipe, step) for step in (0, 5, 10, 60, 110, 500)]
    assert rates == pytest.approx([0, 1, 2, 1, 0, 0])
    assert learning_rate(replace(recipe, decay_steps=0), 10**6) == 2
    paper = PRESETS["PAPER"].recipes["base"]
    assert (paper.steps, paper.batch_size, paper.optimizer, paper.learning_rate, paper.warmup) == (
        2_500_000,
        2048,
        "adafactor",
        1e-4,
        10_000,
    )
    assert PRESETS["PAPER"].recipes["sr1024"].crop == 256
    assert PRESETS["PAPER"].recipes["sr256"].optimizer == "adam"


def gradients(trainer, b, words):
    kept = []
    trainer.optimizer.step = lambda: kept.extend(p.grad.clone() for p in trainer.network.parameters())
    loss = trainer.train(b, words)
    return float(loss), kept


@pytest.mark.parametrize("stage", TINY, ids=lambda stage: stage.name)
def test_micro_batches_have_the_gradient_of_the_whole(stage):
    found = []
    for micro_batch in (None, 4, 1):
        trainer = Trainer(stage, RECIPE, "cpu", micro_batch=micro_batch)
        nn.init.normal_(trainer.network.last[-1].weight, std=0.1, generator=torch.Generator().manual_seed(0))
        found.append(gradients(trainer, batch(stage), text()))
    for loss, kept in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        for a, b in zip(kept, found[0][1], strict=True):
            assert torch.allclose(a, b, atol=1e-5 + 1e-4 * float(b.abs().max()))


def test_the_average_is_what_its_formula_says():
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    ema, expected = EMA(network, 0.9), 1.0
    for step in range(1, 200):
        network.weight.data.fill_(float(step))
        ema.update(network, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert float(ema.weights["weight"]) == pytest.approx(expected, rel=1e-5)
    with ema.applied(network):
        assert network.weight.item() == pytest.approx(expected, rel=1e-5)
    assert network.weight.item() == 199.0


def test_adafactor_agrees_with_an_independent_one_on_matrices_and_vectors():
    """transformers' own, set to optax's defaults; it factors the last two axes, which for a matrix are the only ones."""
    from transformers.optimization import Adafactor as Reference

    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(160, 130, generator=generator), torch.randn(50, generator=generator), torch.zeros(7)]
    ours, theirs = ([nn.Parameter(value.clone()) for value in start] for _ in range(2))
    mine = Adafactor(ours, lr=0.01)
    reference = Reference(
        theirs, lr=0.01, relative_step=False, scale_parameter=True, decay_rate=-0.8, clip_threshold=1.0
    )
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        mine.step()
        reference.step()
    for a, b, before in zip(ours, theirs, start, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
        assert not torch.equal(a, before)


def test_adafactor_factors_the_channels_of_a_convolution():
    assert factored_axes((256, 128, 3, 3)) == (1, 0)
    assert factored_axes((128, 512, 3, 3)) == (0, 1)
    assert factored_axes((512, 64, 3, 3)) is None
    assert factored_axes((512,)) is None
    weight = nn.Parameter(torch.randn(256, 128, 3, 3, generator=torch.Generator().manual_seed(0)))
    optimizer = Adafactor([weight], lr=1e-3)
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    g, before = weight.grad.double().numpy(), weight.detach().double().numpy()
    optimizer.step()
    state = optimizer.state[weight]
    assert (state["row"].shape, state["column"].shape) == ((128, 3, 3), (256, 3, 3))
    square = g**2
    row, column = square.mean(0), square.mean(1)
    update = g / np.sqrt((row / row.mean(0, keepdims=True))[None] * column[:, None])
    update /= max(1, np.sqrt((update**2).mean()))
    expected = before - 1e-3 * np.sqrt((before**2).mean()) * update
    assert np.allclose(weight.detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "adafactor"])
def test_a_few_steps_lower_the_loss_of_the_same_batch(optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, learning_rate=2e-3 if optimizer == "adam" else 0.05, decay_steps=0)
    trainer, b, words = Trainer(BASE, recipe, "cpu"), batch(), text()
    losses = [float(trainer.train(b, words)) for _ in range(40)]
    assert losses[-1] < 0.9 * losses[0]


def test_a_state_goes_on_to_the_same_bits():
    whole = Trainer(SR256, RECIPE, "cpu")
    part = Trainer(SR256, RECIPE, "cpu")
    for number in range(4):
        whole.train(batch(SR256, seed=number), text())
        if number < 2:
            part.train(batch(SR256, seed=number), text())
    later = Trainer(SR256, replace(RECIPE, seed=5), "cpu")
    later.load(part.state())
    for number in (2, 3):
        later.train(batch(SR256, seed=number), text())
    a, b = whole.state(), later.state()
    assert a["step"] == b["step"] == 4
    for kind in ("network", "ema"):
        assert all(torch.equal(a[kind][name], b[kind][name]) for name in a[kind])


def test_nothing_global_decides_the_first_weights():
    torch.manual_seed(1)
    first = Trainer(BASE, RECIPE, "cpu").state()["network"]
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    second = Trainer(BASE, RECIPE, "cpu").state()["network"]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = Trainer(BASE, replace(RECIPE, seed=1), "cpu").state()["network"]
    assert not torch.equal(first["first.weight"], other["first.weight"])
