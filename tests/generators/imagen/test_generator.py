"""The cascade from a checkpoint folder, on tiny random networks: what moves an image, and what must not."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from drawbench.errors import UserError
from drawbench.generators.imagen.cascade import NoiseOf, guided, with_null
from drawbench.generators.imagen.checkpoint import build_network, load_network, open_checkpoint, save_config, save_stage
from drawbench.generators.imagen.config import Block, EfficientUNetConfig, StageConfig, UNetConfig
from drawbench.generators.imagen.generator import PRESETS, StageOptions, imagen
from drawbench.generators.imagen.layers import Text
from drawbench.generators.imagen.text_encoder import TextEncoder, TextEncoderConfig
from drawbench.interfaces import Item, Prompt
from drawbench.store import image_seed
from drawbench.torchvision_ops import declare_missing_ops

declare_missing_ops()
import transformers  # noqa: E402

DIM = 16
STAGES = (
    StageConfig("base", UNetConfig(8, 16, (1, 2), 1, (4,), 8, DIM), "cosine"),
    StageConfig(
        "sr256", EfficientUNetConfig(16, 8, (Block(16, 1), Block(16, 1, self_attention=True)), 2, DIM), "cosine"
    ),
    StageConfig(
        "sr1024", EfficientUNetConfig(32, 16, (Block(8, 1), Block(16, 1, cross_attention=True)), 2, DIM), "linear"
    ),
)
QUICK = {name: StageOptions(steps=3) for name in ("base", "sr256", "sr1024")}
ITEMS = [
    Item(Prompt(f"{n:03d}", text), 0, image_seed(0, f"{n:03d}", 0))
    for n, text in enumerate(["a cat", "two dogs", "rain on the sea"])
]


def save(folder, stages=STAGES, encoder=None):
    generator = torch.Generator().manual_seed(0)
    checkpoint = save_config(folder, stages, *(encoder or (None, None)))
    for stage in stages:
        network = build_network(stage)
        weights = {k: 0.1 * torch.randn(v.shape, generator=generator) for k, v in network.state_dict().items()}
        save_stage(checkpoint, stage, weights)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A tiny T5 that reads bytes."""
    folder = tmp_path_factory.mktemp("t5")
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=259, d_model=DIM, d_kv=4, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    transformers.T5EncoderModel(config).save_pretrained(folder)
    return TextEncoderConfig(str(folder), "fp32", 12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder):
    return save(tmp_path_factory.mktemp("cascade"), encoder=(encoder, TextEncoder(encoder).digest))


def draw(folder, items=ITEMS, **options):
    return [
        np.asarray(d.image).astype(int) for d in imagen(checkpoint=str(folder), **{**QUICK, **options}).generate(items)
    ]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_checkpoint_is_read_as_it_was_saved(folder, encoder):
    opened = open_checkpoint(folder)
    assert opened.stages == STAGES
    assert opened.text_encoder == encoder
    network = load_network(opened, STAGES[0], "cpu", torch.float32)
    saved = load_file(folder / "base.safetensors")
    assert all(torch.equal(saved[name], tensor) for name, tensor in network.state_dict().items())
    assert not network.training
    assert open_checkpoint(save(folder.parent / "again")).fingerprint().keys() == opened.fingerprint().keys()


def test_the_same_seeds_give_the_same_images_and_other_seeds_others(folder):
    once = draw(folder)
    assert once[0].shape == (32, 32, 3)
    assert same(once, draw(folder))
    other = draw(folder, [item._replace(seed=item.seed + 1) for item in ITEMS])
    assert not any(np.array_equal(x, y) for x, y in zip(once, other, strict=True))


@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "dpm++2m"])
def test_order_and_batch_do_not_change_an_images_noise(folder, sampler):
    """Same bytes in the same batch size, whatever the order; within 2 of 255 in another."""
    options = {name: StageOptions(steps=3, sampler=sampler) for name in QUICK}
    whole = draw(folder, **options)
    assert same(draw(folder, ITEMS[::-1], **options)[::-1], whole)
    alone = [draw(folder, [item], **options)[0] for item in ITEMS]
    assert max(np.abs(x - y).max() for x, y in zip(alone, whole, strict=True)) <= 2


@pytest.mark.parametrize(
    ("stage", "change"),
    [
        ("base", {"steps": 4}),
        ("base", {"guidance_weight": 1.0}),
        ("base", {"thresholding": "none"}),
        ("base", {"sampler": "dpm++2m"}),
        ("sr256", {"aug_level": 0.4}),
        ("sr256", {"guidance_weight": 1.0}),
        ("sr1024", {"sampler": "ancestral"}),
        ("sr1024", {"steps": 2}),
    ],
)
def test_every_choice_of_sampling_moves_its_stages_image_and_the_identity(folder, stage, change):
    changed = {stage: StageOptions(**{"steps": 3, **change})}
    assert not same(draw(folder, stop_after=stage), draw(folder, stop_after=stage, **changed))
    plain, moved = (imagen(checkpoint=str(folder), **{**QUICK, **o}).fingerprint() for o in ({}, changed))
    assert plain != moved


def test_half_precision_is_another_run(folder):
    assert not same(draw(folder), draw(folder, dtype="bf16"))


def test_the_text_moves_the_image_and_an_unconditional_cascade_has_none(folder, tmp_path):
    texts = [item._replace(prompt=Prompt(item.prompt.id, "something else")) for item in ITEMS]
    assert not same(draw(folder), draw(folder, texts))
    free = save(tmp_path / "free")
    assert same(draw(free), draw(free, texts))


def test_stages_before_the_last_are_kept_and_a_cascade_can_stop_early(folder):
    whole = imagen(checkpoint=str(folder), keep_stages=True, **QUICK).generate(ITEMS)
    assert {name: image.size for name, image in whole[0].extras.items()} == {"base": (8, 8), "sr256": (16, 16)}
    early = imagen(checkpoint=str(folder), stop_after="sr256", **QUICK).generate(ITEMS)
    assert np.array_equal(early[0].image, whole[0].extras["sr256"])
    assert early[0].extras == {}
    assert same(draw(folder), draw(folder, low_memory=True))


def test_the_coco_preset_is_table_1(folder):
    base, sr256 = PRESETS["coco"]
    assert (base.guidance_weight, sr256.guidance_weight, sr256.aug_level) == (1.35, 8.0, 0.0)
    made = imagen(checkpoint=str(folder), preset="coco", base=StageOptions(steps=2), sr256=StageOptions(steps=2))
    assert [stage.name for stage in made.stages] == ["base", "sr256"]
    assert made.sampling["base"].guidance_weight == 1.35


def test_texts_that_the_encoder_cuts_are_told(folder):
    made = imagen(checkpoint=str(folder), **QUICK)
    assert made.remarks(ITEMS[:1]) == []
    made.generate(ITEMS)
    assert made.remarks(ITEMS) == ["1 of 3 texts are longer than the text encoder takes and were cut: 002"]


def test_noise_is_each_images_own():
    a, b = NoiseOf([1, 2, 3]), NoiseOf([3, 1])
    assert torch.equal(a((2,), "cpu")[[2, 0]], b((2,), "cpu"))
    assert torch.equal(a((3,), "cpu")[[2, 0]], b((3,), "cpu")), "and goes on in step"


def test_guided_branches_are_those_of_two_separate_passes():
    network = build_network(STAGES[0])
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    text = Text(torch.randn(2, 3, DIM, generator=generator), torch.tensor([[True, True, True], [True, False, False]]))
    z = torch.randn(2, 3, 8, 8, generator=generator)
    with torch.no_grad():
        conditional = guided(network, 1.0, text, None, 0.0, "cpu")(z, 0.5)
        both = guided(network, 3.0, text, None, 0.0, "cpu")(z, 0.5)
        null = Text(*(part[2:] for part in with_null(text)))
        unconditional = guided(network, 1.0, null, None, 0.0, "cpu")(z, 0.5)
        alone = guided(network, 0.0, text, None, 0.0, "cpu")(z, 0.5)
    assert torch.allclose(both, 3 * conditional - 2 * unconditional, atol=1e-5)
    assert torch.allclose(alone, unconditional, atol=1e-5)
    assert not torch.allclose(conditional, unconditional, atol=1e-3)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w.pop("first.weight"), "it lacks first.weight"),
        (lambda w: w.update(foreign=torch.zeros(1)), "it has foreign foreign"),
        (lambda w: w.update({"first.bias": torch.zeros(3)}), r"first.bias is \(3,\), not \(16,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, spoil, message):
    folder = save(tmp_path / "c")
    weights = load_file(folder / "base.safetensors")
    spoil(weights)
    save_file(weights, folder / "base.safetensors")
    with pytest.raises(UserError, match=message):
        draw(folder)


def test_what_is_no_checkpoint_is_said(tmp_path):
    with pytest.raises(UserError, match="imagen draws from a checkpoint: --checkpoint FOLDER"):
        imagen()
    with pytest.raises(UserError, match="is not an Imagen checkpoint"):
        imagen(checkpoint=str(tmp_path))
    folder = save(tmp_path / "c")
    (folder / "sr256.safetensors").rename(folder / "other.safetensors")
    with pytest.raises(UserError, match="lacks sr256.safetensors"):
        imagen(checkpoint=str(folder))
    (folder / "other.safetensors").rename(folder / "sr256.safetensors")
    (folder / "base.safetensors").write_bytes((folder / "base.safetensors").read_bytes()[:100])
    with pytest.raises(UserError, match="is not a safetensors file, or is cut short"):
        draw(folder)
    config = json.loads((folder / "config.json").read_text())
    for change, message in (({"format": 9}, "format: 9"), ({"stages": [{"name": "base"}]}, "cannot be read")):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(UserError, match=message):
            imagen(checkpoint=str(folder))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": StageOptions(steps=0)}, "steps of the stage 'base' is 0"),
        ({"base": StageOptions(percentile=99.5)}, "percentile of the stage 'base' is 99.5"),
        ({"sr256": StageOptions(aug_level=2.0)}, "aug_level of the stage 'sr256' is 2.0"),
        ({"base": StageOptions(guidance_weight=-1.0)}, "guidance_weight of the stage 'base' is -1.0"),
    ],
)
def test_sampling_out_of_range_is_refused(folder, options, message):
    with pytest.raises(UserError, match=message):
        imagen(checkpoint=str(folder), **options)


def test_another_text_encoder_than_the_one_it_was_trained_with_is_refused(tmp_path, encoder):
    folder = save(tmp_path / "c", encoder=(encoder, "0" * 64))
    with pytest.raises(UserError, match="is not the text encoder that"):
        draw(folder)


def test_from_the_command_line_stopped_and_taken_up_again_it_draws_the_same_bytes(folder, tmp_path):
    (tmp_path / "p.txt").write_text("".join(f"a cat number {n}\n" for n in range(7)))
    steps = [part for name in QUICK for part in ("--set", f"imagen.{name}.steps=2")]
    given = (
        "--generator",
        "imagen",
        "--checkpoint",
        folder,
        "--prompts",
        tmp_path / "p.txt",
        "--batch-size",
        "3",
        *steps,
    )

    def generate(output, *more):
        command = [sys.executable, "-m", "drawbench", "generate", *given, "-o", tmp_path / output, *more]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        return done, {p.relative_to(tmp_path / output): p.read_bytes() for p in (tmp_path / output).rglob("*.png")}

    done, whole = generate("whole", "--samples", "2", "--set", "imagen.keep_stages=true")
    assert done.returncode == 0, done.stderr
    assert len(whole) == 7 * 2 * 3
    _, part = generate("parts", "--limit", "2", "--set", "imagen.keep_stages=true")
    assert part.items() < whole.items()
    _, resumed = generate("parts", "--samples", "2", "--set", "imagen.keep_stages=true")
    assert resumed == whole
    done, _ = generate("parts", "--set", "imagen.base.guidance_weight=2")
    assert done.returncode == 2
    assert "holds another run: " in done.stderr
    assert "system.options.base.guidance_weight is None there, 2.0 here" in done.stderr
