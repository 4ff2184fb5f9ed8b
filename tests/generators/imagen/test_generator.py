"""The cascade from a checkpoint folder, on tiny random networks: what moves an image, and what must not."""

import json
import subprocess
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from drawbench.cli import cli
from drawbench.errors import UserError
from drawbench.generators.imagen import cascade
from drawbench.generators.imagen.cascade import NoiseOf, Sampling, guided, with_null
from drawbench.generators.imagen.checkpoint import build_network, load_network, open_checkpoint, save_config, save_stage
from drawbench.generators.imagen.config import Block, EfficientUNetConfig, StageConfig, UNetConfig
from drawbench.generators.imagen.diffusion import eps_from_x0, v_from_x0
from drawbench.generators.imagen.generator import PRESETS, StageOptions, imagen
from drawbench.generators.imagen.layers import Text
from drawbench.generators.imagen.schedule import cosine_log_snr
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
    if encoder is None:
        stages = [replace(stage, network=replace(stage.network, text_conditioning="none")) for stage in stages]
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
    assert (
        open_checkpoint(save(folder.parent / "again", encoder=(encoder, opened.text_encoder_digest)))
        .fingerprint(STAGES)
        .keys()
        == opened.fingerprint(STAGES).keys()
    )


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
    with pytest.raises(
        UserError, match=r"shape is not an Imagen checkpoint: there is no such folder .* the name shapes"
    ):
        imagen(checkpoint="shape")
    folder = save(tmp_path / "c")
    (folder / "sr256.safetensors").rename(folder / "other.safetensors")
    with pytest.raises(UserError, match="lacks sr256.safetensors"):
        imagen(checkpoint=str(folder))
    assert draw(folder, stop_after="base")[0].shape == (8, 8, 3), "stages are trained one at a time"
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
    with pytest.raises(UserError, match="is not the text encoder of"):
        draw(folder)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_from_the_command_line_stopped_and_taken_up_again_it_draws_the_same_bytes(folder, tmp_path, dtype):
    (tmp_path / "p.txt").write_text("".join(f"{'a ' * n}cat\n" for n in range(7)))  # of seven lengths
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
        "--dtype",
        dtype,
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


def test_each_stage_is_sampled_with_its_own_schedule_and_choices(folder, monkeypatch):
    """What reaches the sampler, the threshold and the network, as it was set."""
    samplers, thresholds, told = [], [], []
    sample_, threshold_, guided_ = cascade.sample, cascade.threshold, cascade.guided
    monkeypatch.setattr(cascade, "sample", lambda *a: samplers.append((a[0], a[3], a[4], a[6])) or sample_(*a))
    monkeypatch.setattr(cascade, "threshold", lambda *a: thresholds.append(a[1:]) or threshold_(*a))
    monkeypatch.setattr(cascade, "guided", lambda *a: told.append((a[1], a[4])) or guided_(*a))
    options = {
        "base": StageOptions(steps=2, sampler="ancestral", gamma=0.7, guidance_weight=1.5, percentile=0.9),
        "sr256": StageOptions(steps=3, thresholding="static", guidance_weight=2.0, aug_level=0.2),
        "sr1024": StageOptions(steps=1, sampler="dpm++2m", guidance_weight=3.0, aug_level=0.4),
    }
    draw(folder, **options)
    assert samplers == [("ancestral", "cosine", 2, 0.7), ("ddim", "cosine", 3, 0.3), ("dpm++2m", "linear", 1, 0.3)]
    assert thresholds == [("dynamic", 0.9)] * 2 + [("static", 0.995)] * 3 + [("dynamic", 0.995)]
    assert told == [(1.5, 0.0), (2.0, 0.2), (3.0, 0.4)]


def test_the_aug_level_reaches_the_network_and_the_low_resolution_image(folder):
    seen = []
    network = build_network(STAGES[1])
    network.register_forward_pre_hook(lambda module, given: seen.append(given))
    text = Text(torch.zeros(2, 3, DIM), torch.ones(2, 3, dtype=torch.bool))
    low_res = torch.randn(2, 3, 8, 8)
    guided(network, 2.0, text, low_res, 0.25, "cpu")(torch.randn(2, 3, 16, 16), 0.75)
    z, t, _, given, level = seen[0]
    assert (z.shape[0], t.tolist(), level.tolist()) == (4, [0.75] * 4, [0.25] * 4)
    assert torch.equal(given, low_res.repeat(2, 1, 1, 1))
    calm, rough = (
        draw(folder, base=StageOptions(steps=3), sr256=StageOptions(steps=3, aug_level=a), stop_after="sr256")
        for a in (0.0, 1.0)
    )
    assert not same(calm, rough)


def test_ancestral_noise_is_fresh_at_every_step(folder):
    drawn = []

    class Watched(NoiseOf):
        def __call__(self, shape, device):
            drawn.append(super().__call__(shape, device))
            return drawn[-1]

    stage = open_checkpoint(folder).stages[0]
    network = load_network(open_checkpoint(folder), stage, "cpu", torch.float32)
    text = Text(torch.zeros(1, 1, DIM), torch.ones(1, 1, dtype=torch.bool))
    list(
        cascade.run(
            [stage], lambda s: network, {"base": Sampling(4, 1.0, sampler="ancestral")}, text, Watched([1]), "cpu"
        )
    )
    assert len(drawn) == 4
    assert len({tuple(noise.flatten().tolist()) for noise in drawn}) == 4


def test_low_memory_holds_one_network_at_a_time(folder, monkeypatch):
    alive, loads = [], []

    def watched(*arguments):
        loads.append([ref() is not None for ref in alive])
        network = load_network(*arguments)
        alive.append(weakref.ref(network))
        return network

    monkeypatch.setattr("drawbench.generators.imagen.generator.load_network", watched)
    draw(folder, low_memory=True)
    assert loads == [[], [False], [False, False]]


def test_values_that_are_not_finite_are_no_image(tmp_path):
    folder = save(tmp_path / "c")
    weights = load_file(folder / "base.safetensors")
    weights["first.bias"][0] = float("nan")
    save_file(weights, folder / "base.safetensors")
    with pytest.raises(UserError, match="the stage 'base' gave values that are not finite"):
        draw(folder)
    with pytest.raises(UserError, match="guidance_weight of the stage 'base' is inf"):
        imagen(checkpoint=str(folder), base=StageOptions(guidance_weight=float("inf")))


@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "dpm++2m"])
def test_a_network_of_v_draws_what_the_same_network_of_eps_draws(sampler):
    """Two stubs that know the same image, one of which says it as ε, the other as v; guided, so that both branches count."""

    class Knows(torch.nn.Module):
        def __init__(self, output):
            super().__init__()
            self.output, self.weight = output, torch.nn.Parameter(torch.zeros(()))

        def read(self, text):
            return text

        def forward(self, z, t, text):
            level = cosine_log_snr(t)
            x0 = 0.1 * z + text.embeddings.mean((1, 2))[:, None, None, None]
            return (
                eps_from_x0(z, x0, level) if self.output == "eps" else v_from_x0(x0, eps_from_x0(z, x0, level), level)
            )

    text = Text(torch.randn(2, 3, DIM, generator=torch.Generator().manual_seed(0)), torch.ones(2, 3).bool())
    drawn = []
    for output in ("eps", "v"):
        stage = replace(STAGES[0], output=output)
        way = Sampling(steps=6, guidance_weight=3.0, sampler=sampler)
        with torch.no_grad():
            drawn.append(cascade.sample_stage(stage, Knows(output), way, text, None, NoiseOf([1, 2]), "cpu"))
    assert torch.allclose(*drawn, atol=1e-3)
    assert drawn[0].std() > 0.05


def test_a_missing_text_encoder_ends_the_run_before_the_first_image(tmp_path, encoder):
    """Once, and not once per image; nothing is journalled as failed."""
    gone = TextEncoderConfig(str(tmp_path / "gone"), "fp32", 12)
    folder = save(tmp_path / "c", encoder=(gone, "1" * 64))
    (tmp_path / "p.txt").write_text("a cat\na dog\n")
    given = ["--generator", "imagen", "--checkpoint", folder, "--prompts", tmp_path / "p.txt", "-o", tmp_path / "run"]
    done = CliRunner().invoke(cli, ["generate", *map(str, given)], standalone_mode=False)
    assert isinstance(done.exception, UserError)
    assert "gone" in str(done.exception)
    assert not [path for path in (tmp_path / "run" / "journal").glob("*") if "failed" in path.read_text()]


def test_with_the_embeddings_on_disk_no_encoder_is_looked_for(folder, monkeypatch):
    first = draw(folder)
    monkeypatch.setattr(
        "drawbench.generators.imagen.generator.TextEncoder", lambda *a, **k: pytest.fail("it was looked for")
    )
    assert same(draw(folder), first)


def test_a_neighbours_length_does_not_move_an_image(folder):
    longer = [ITEMS[0], Item(Prompt("long", "a longer text"), 0, 7), ITEMS[2]]
    assert np.array_equal(draw(folder, dtype="bf16")[0], draw(folder, longer, dtype="bf16")[0])


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        (0, {"channels": "16"}, "channels is '16'"),
        (0, {"channels": 0}, "channels is 0"),
        (0, {"head_channels": 7}, "heads that do not divide"),
        (0, {"attention_resolutions": [4000]}, "attention at a size"),
        (0, {"image_size": 9}, "cannot be halved"),
        (0, {"text_conditioning": "none"}, "the text encoder says otherwise"),
        (1, {"low_res_size": 99}, "enlarges 99"),
        (1, {"blocks": []}, "needs blocks"),
        (1, {"heads": 3}, "needs blocks whose channels are a multiple"),
        (1, {"name": "base"}, "a name of its own"),
        (1, {"name": "../x"}, "needs a name of"),
        (1, {"schedule": "quadratic"}, "allowed are cosine and linear"),
        (1, {"network": "unet"}, "missing or unknown fields"),
    ],
)
def test_a_config_that_makes_no_cascade_is_refused_in_one_line(folder, tmp_path, stage, change, message):
    config = json.loads((folder / "config.json").read_text())
    config["stages"][stage] |= change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError) as caught:
        open_checkpoint(tmp_path)
    assert message in str(caught.value)
    config["stages"] = []
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="at least one stage"):
        open_checkpoint(tmp_path)
