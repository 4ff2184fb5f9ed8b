"""The ablations of benchmarks/ablation.py: what each variant can see of a text, and that they train and draw."""

import argparse
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from drawbench.errors import UserError
from drawbench.generators.imagen.checkpoint import find_checkpoint, open_checkpoint
from drawbench.generators.imagen.layers import Text
from drawbench.generators.imagen.text_encoder import TextEncoder, TextEncoderConfig
from drawbench.generators.imagen.unet import UNet
from drawbench.interfaces import Item, Prompt
from drawbench.shapes.checker import check
from drawbench.shapes.data import is_held_out_caption
from drawbench.shapes.prompts import scene_of, shapes

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
KINDS = ["sequence", "attention_pool", "mean_pool"]


def load(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Where a dataclass looks for its annotations.
    spec.loader.exec_module(module)
    return module


ablated, training, ablation = load("ablated"), load("ablation_training"), load("ablation")


def awake(kind, dim=8):
    """A base of the ablation whose weights are random, the zeroed ones too."""
    generator = torch.Generator().manual_seed(0)
    network = UNet(training.network(dim, kind)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network


def seen(kind, embeddings):
    z = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    text = Text(embeddings, torch.ones(embeddings.shape[:2], dtype=torch.bool))
    with torch.no_grad():
        return awake(kind)(z, torch.tensor([0.5]), text)


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_is_blind_to_the_order_of_tokens_which_the_encoder_has_put_into_them(kind):
    tokens = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(2))
    there, turned = seen(kind, tokens), seen(kind, tokens.flip(1))
    assert torch.allclose(there, turned, atol=1e-4)
    assert not torch.allclose(there, seen(kind, tokens.roll(1, 2)), atol=1e-3), "other tokens are another text"


@pytest.mark.parametrize(("kind", "sees"), [("mean_pool", False), ("attention_pool", True), ("sequence", True)])
def test_only_mean_pooling_takes_two_texts_of_one_mean_for_the_same(kind, sees):
    """Tokens are normed one by one first: so they are drawn normed, and mirrored about their mean in pairs."""
    a = torch.tensor([1.0, -1.0] * 4)
    b, c = -a, torch.tensor([1.0, 1.0, -1.0, -1.0] * 2)
    one, other = torch.stack([a, b])[None], torch.stack([c, -c])[None]
    assert torch.allclose(seen(kind, one), seen(kind, other), atol=1e-5) != sees


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_reaches_every_weight_that_reads_the_text(kind):
    network = awake(kind).train()
    text = Text(torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool))
    network(torch.randn(2, 3, 16, 16), torch.tensor([0.2, 0.8]), text).square().mean().backward()
    reading = {name: p for name, p in network.named_parameters() if "text" in name or "pool" in name}
    assert reading
    assert [name for name, p in reading.items() if p.grad is None or not p.grad.abs().sum() > 0] == []
    attends = [name for name in reading if "attention.text_kv" in name]
    assert bool(attends) == (kind == "sequence")


def test_the_shipped_cascade_keeps_its_configurations_digest():
    opened = open_checkpoint(find_checkpoint("shapes"))
    digest = "34b8a0e9c8de78c447a76afbc787eeba090a3e13efd74c6429266c73d71a50d0"
    assert opened.fingerprint(opened.stages)["config"] == digest
    assert {stage.network.text_conditioning for stage in opened.stages} == {"sequence"}


def test_the_stream_is_repeatable_of_three_categories_and_has_nothing_held_out():
    pairs = [ablated.few(position, 16) for position in range(60)]
    again = [ablated.few(position, 16) for position in range(60)]
    assert [caption for _, caption in pairs] == [caption for _, caption in again]
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(pairs, again, strict=True))
    assert pairs[0][0].size == (16, 16)
    captions = {caption for _, caption in pairs}
    assert len(captions) > 40
    assert not any(map(is_held_out_caption, captions))


def given(tmp_path, **changed):
    plan = {"work": tmp_path, "steps": 2, "batch_size": 4, "max_minutes": 5.0, "encoder_steps": 1}
    return argparse.Namespace(**{**plan, **changed})


def test_a_variant_trains_goes_on_and_draws_at_full_size(tmp_path):
    variant = training.Variant("mean", "mean_pool", "random")
    bases, name = tmp_path / "bases", "mean_pool-random-3"
    row = training.train(variant, 3, bases, given(tmp_path))
    assert (row["steps"], row["seed"], row["network"]["text_conditioning"]) == (2, 3, "mean_pool")
    assert row["encoder_parameters"] == pytest.approx(1.1e6, rel=0.02), "as many as the shipped one has"
    assert 0.5e6 < row["parameters"] < 2e6
    written = (bases / name / "base.safetensors").stat().st_mtime_ns
    assert training.train(variant, 3, bases, given(tmp_path)) == row
    assert (bases / name / "base.safetensors").stat().st_mtime_ns == written
    draws = ablated.ablated(checkpoint=str(bases), variant=name, guidance_weight=2.0, steps=1)
    items = [Item(Prompt("1", "a red circle"), 0, 5), Item(Prompt("2", "two blue stars"), 0, 6)]
    images = [np.asarray(drawn.image) for drawn in draws.generate(items)]
    assert [image.shape for image in images] == [(64, 64, 3)] * 2
    assert not np.array_equal(*images)
    said = draws.fingerprint()
    assert said["text encoder"] == open_checkpoint(bases / name).text_encoder_digest
    assert said["enlarging text encoder"] != said["text encoder"]
    training.save_random(tmp_path / "encoder-random-0-3", 4)  # Another one, where the base's own was.
    with pytest.raises(UserError, match="is not the text encoder that"):
        ablated.ablated(checkpoint=str(bases), variant=name)


def test_an_untrained_encoder_is_its_seeds_and_more_than_a_bag_of_bytes(tmp_path):
    one, again, other = (
        training.encoder_folder("random", seed, given(tmp_path / at)) for at, seed in (("a", 1), ("b", 1), ("a", 2))
    )
    files = [(Path(folder) / "model.safetensors").read_bytes() for folder in (one, again, other)]
    assert files[0] == files[1] != files[2]
    encoder = TextEncoder(TextEncoderConfig(one))
    (red, blue, square) = (
        encoder([text]).embeddings[0, 5:11] for text in ("some circle", "many circle", "some square")
    )
    assert (red - blue).norm() > 0.2 * (red - square).norm(), "what stands before a word moves it"


def test_a_difference_over_trainings_is_paired_by_seed():
    variants = ablation.STUDIES["conditioning"][:2]

    def rows(seed, value, swapped=False):
        a, b = (variant.folder(seed) for variant in variants)
        row = {"metric": "shapes_accuracy", "a": a, "b": b, "value": value}
        return {"seed": seed, "comparisons": [row | {"a": b, "b": a, "value": -value} if swapped else row]}

    found = ablation.over_trainings([rows(0, 0.1), rows(1, 0.2, swapped=True), rows(5, 0.3)], variants)
    accuracy = found[0]
    assert accuracy["differences"] == pytest.approx([0.1, 0.2, 0.3])
    half = 4.302653 * 0.1 / 3**0.5  # t of 2 degrees of freedom
    assert (accuracy["interval"]["low"], accuracy["interval"]["high"]) == pytest.approx(
        (0.2 - half, 0.2 + half), abs=1e-6
    )
    assert accuracy["p"] == accuracy["p_holm"] == pytest.approx(0.0742, abs=1e-4)
    assert [row["interval"] for row in found[1:]] == [None, None], "nothing is told of metrics that have no value"
    assert ablation.over_trainings([rows(0, 0.1)], variants) == []


def test_the_ceiling_shows_what_its_prompts_say():
    """The shipped stages enlarge a true small picture without text, and the checker reads most of it back."""
    prompts = [prompt for prompt in shapes().prompts if prompt.category == "Colors"][:8]
    drawn = ablated.upscaled_truth().generate([Item(prompt, 0, seed) for seed, prompt in enumerate(prompts)])
    right = [check(np.asarray(one.image), scene_of(prompt)).correct for one, prompt in zip(drawn, prompts, strict=True)]
    assert sum(right) >= 6
