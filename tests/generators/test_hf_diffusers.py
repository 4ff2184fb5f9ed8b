"""Pipelines of diffusers as generators, on tiny random networks: what moves an image, and what must not."""

import hashlib
import importlib.util
import json
import re
import shutil
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from single_file import one_file
from tiny_pipelines import DIM, flux, if_stages, kandinsky, karlo, ldm, sd3, sdxl, stable_diffusion

from drawbench.cli import main
from drawbench.drawing import draw_batch
from drawbench.errors import AssetMissing, UserError
from drawbench.generators import hf_library
from drawbench.generators.hf_diffusers import hf_diffusers
from drawbench.generators.hf_stages import PriorOptions, StageOptions
from drawbench.interfaces import Drawn, Item, Prompt, Refused
from drawbench.store import Run, image_seed

TEXTS = ["A cat", "two dogs!", "Rain on the sea, at night", "a red box", "seven bees"]
ITEMS = [Item(Prompt(f"{n:03d}", text), 0, image_seed(0, f"{n:03d}", 0)) for n, text in enumerate(TEXTS)]
FEW = ITEMS[:3]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Makes each pipeline's folder when it is first asked for."""
    makers = {make.__name__: make for make in (stable_diffusion, sdxl, sd3, flux, karlo, kandinsky, ldm)}
    made = {}

    def folder(name):
        if name not in made:
            made[name] = makers[name](tmp_path_factory.mktemp(name) / name)
        return made[name]

    return folder


@pytest.fixture(scope="session")
def stages(tmp_path_factory):
    return if_stages(tmp_path_factory.mktemp("IF"))


@pytest.fixture(scope="session")
def options(folders, stages):
    """Name → what a quick drawing with it needs."""
    one, two, three = stages
    quick = {name: {"checkpoint": str(folders(name)), "steps": 2} for name in ("stable_diffusion", "sdxl", "ldm")}
    quick["flux"] = {"checkpoint": str(folders("flux")), "steps": 2, "height": 16, "width": 16, "max_tokens": 32}
    quick["sd3"] = {"checkpoint": str(folders("sd3")), "steps": 2, "height": 16, "width": 16}
    decoder = folders("kandinsky")
    quick["kandinsky"] = {
        "checkpoint": str(decoder), "steps": 2, "height": 64, "width": 64, "prior": PriorOptions(decoder / "prior", steps=2),
    }  # fmt: skip
    quick["kandinsky, a negative prompt"] = {**quick["kandinsky"], "negative_prompt": "rain"}
    quick["karlo"] = {
        "checkpoint": str(folders("karlo")), "steps": 2, "prior": PriorOptions(steps=2), "sr256": StageOptions(steps=2),
    }  # fmt: skip
    quick["IF"] = {
        "checkpoint": str(one), "steps": 2, "sr256": StageOptions(two, steps=2), "sr1024": StageOptions(three, steps=2),
    }  # fmt: skip
    return quick


NAMES = ["stable_diffusion", "sdxl", "sd3", "flux", "karlo", "kandinsky", "kandinsky, a negative prompt", "ldm", "IF"]


def pixels(results):
    return [np.asarray(result.image).astype(int) for result in results]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def noise_of(monkeypatch, draw):
    """Returns what each image's generator gave, by its seed and in order; nothing may be drawn without a generator."""
    drawn, real = {}, torch.randn

    def randn(*shape, generator=None, **more):
        assert generator is not None, "noise that is no image's own"
        made = real(*shape, generator=generator, **more)
        drawn.setdefault(generator.initial_seed(), []).append(made)
        return made

    monkeypatch.setattr(torch, "randn", randn)
    draw()
    monkeypatch.undo()
    return drawn


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_the_images_own_in_any_batch(options, monkeypatch, name):
    """The same noise, at every step, whatever is drawn beside it; the images within 2 of 255."""
    generator = hf_diffusers(**options[name])
    generator.prepare(FEW)  # Fresh weights, which the files' replace, are drawn from the process's generator.
    made = {}
    together = noise_of(monkeypatch, lambda: made.update(whole=generator.draw(FEW)))
    alone = noise_of(monkeypatch, lambda: made.update(alone=generator.generate(FEW)))
    assert {item.seed for item in FEW} <= together.keys() == alone.keys()
    for seed, noise in together.items():
        assert len(noise) == len(alone[seed])
        assert all(torch.equal(a, b) for a, b in zip(noise, alone[seed], strict=True))
    whole = pixels(made["whole"])
    assert max(np.abs(a - b).max() for a, b in zip(whole, pixels(made["alone"]), strict=True)) <= 2
    assert all(image.std() > 5 for image in whole)
    assert not any(np.array_equal(whole[0], other) for other in whole[1:])


@pytest.mark.parametrize("name", ["stable_diffusion", "flux", "karlo", "kandinsky", "ldm", "IF"])
def test_in_one_batch_size_order_and_neighbours_do_not_change_a_byte(options, name):
    generator = hf_diffusers(**options[name])
    a, b, c, d = ITEMS[:4]
    first = pixels(generator.generate([a, b, c]))
    second = pixels(hf_diffusers(**options[name]).generate([c, d, a]))
    assert same([first[0], first[2]], [second[2], second[0]])


@pytest.mark.parametrize("seed", [0, 1])
def test_the_image_is_the_one_that_the_library_draws_of_the_same_seed(folders, seed):
    import diffusers

    pipe = diffusers.DiffusionPipeline.from_pretrained(folders("stable_diffusion"))
    expected = pipe("A cat", num_inference_steps=3, guidance_scale=4.0, generator=torch.Generator().manual_seed(seed))
    generator = hf_diffusers(checkpoint=str(folders("stable_diffusion")), steps=3, guidance_weight=4.0)
    assert same(pixels(generator.generate([Item(Prompt("a", "A cat"), 0, seed)])), [np.asarray(expected.images[0])])


@pytest.fixture
def invoke(monkeypatch, capsys):
    """Calls ``drawbench generate`` as a user does; returns the exit code and all that was printed."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["drawbench", "generate", "--generator", "hf_diffusers", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Printed(ended.value.code, "".join(capsys.readouterr()))

    return call


class Printed(NamedTuple):
    exit_code: int
    output: str


def images_in(run):
    return {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(run.glob("images/*/*"))}


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "five.txt"
    file.write_text("\n".join(TEXTS))
    return file


CASES = {
    "stable_diffusion": ("steps=2",),
    "sdxl": ("steps=2",),
    "flux": ("steps=2", "height=16", "width=16", "max_tokens=32"),
    "sd3": ("steps=2", "height=16", "width=16"),
    "karlo": ("steps=2", "prior.steps=2", "sr256.steps=2"),
    "ldm": ("steps=2", "guidance_weight=3"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_command_draws_from_a_folder_and_goes_on_with_the_same_bytes(invoke, folders, prompts, tmp_path, name):
    settings = [part for text in CASES[name] for part in ("--set", f"hf_diffusers.{text}")]
    common = ["--checkpoint", folders(name), "--prompts", prompts, "--batch-size", 2, *settings]
    whole = invoke(*common, "-o", tmp_path / "whole")
    assert whole.exit_code == 0, whole.output
    parts = tmp_path / "parts"
    assert invoke(*common, "--limit", 3, "-o", parts).exit_code == 0
    assert invoke(*common, "-o", parts).exit_code == 0
    assert images_in(parts) == images_in(tmp_path / "whole")
    assert len(images_in(parts)) == 5
    manifest = Run.open(parts).manifest.system
    assert manifest.options["steps"] == 2
    assert not any(
        str(folders(name)) in str(value) for value in [*manifest.options.values(), *manifest.fingerprint.values()]
    )


def test_the_three_stages_of_if_are_drawn_by_the_command(invoke, stages, prompts, tmp_path):
    one, two, three = stages
    settings = ["steps=2", f"sr256.checkpoint={two}", "sr256.steps=2", f"sr1024.checkpoint={three}", "sr1024.steps=2"]
    settings += ["keep_stages=true"]
    done = invoke(
        "--checkpoint", one, "--prompts", prompts, "--limit", 2, "--batch-size", 2, "-o", tmp_path / "run",
        *[part for text in settings for part in ("--set", f"hf_diffusers.{text}")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    run = Run.open(tmp_path / "run")
    record = run.records()["001", 0]
    assert (record.width, record.height) == (64, 64)
    assert record.prompt_used == "a cat"
    assert sorted(record.extras) == ["base", "sr256"]
    prints = run.manifest.system.fingerprint
    assert prints["sr1024: pipeline"] == "StableDiffusionUpscalePipeline"
    assert len(prints["sr256: sha256 unet/diffusion_pytorch_model.safetensors"]) == 64
    assert str(two) not in json.dumps([prints, run.manifest.system.options])


def test_a_stage_of_if_does_not_move_the_noise_of_the_next(options, monkeypatch):
    noise = []
    for steps in (2, 3):
        generator = hf_diffusers(**{**options["IF"], "steps": steps})
        generator.prepare(FEW)
        noise.append(noise_of(monkeypatch, lambda generator=generator: generator.generate(FEW[:1])))
    few, many = noise
    assert len(few) == 3  # One seed for each stage.
    lengths = [(len(few[seed]), len(many[seed])) for seed in few]
    assert lengths[0][1] == lengths[0][0] + 1
    assert [a == b for a, b in lengths[1:]] == [True, True]


def test_the_cascade_is_what_the_library_draws_stage_by_stage(stages, options):
    from drawbench.generators.hf_calls import stage_seed

    generator = hf_diffusers(**{**options["IF"], "sr1024": StageOptions()})
    (ours,) = generator.generate(FEW[:1])
    one, two = generator._pipeline().pipe, generator.cascade._callers[0].pipe
    embeds, without = one.encode_prompt("a cat")
    text = {"prompt_embeds": embeds, "negative_prompt_embeds": without, "num_inference_steps": 2}
    seed = FEW[0].seed
    low = one(**text, generator=torch.Generator().manual_seed(seed), output_type="pt").images
    noise = torch.Generator().manual_seed(stage_seed(seed, "sr256"))
    assert same(pixels([ours]), [np.asarray(two(**text, image=low, generator=noise).images[0])])


def test_an_ancestral_scheduler_that_gets_no_generator_draws_image_by_image(options):
    """LDM's pipeline takes a list of generators, and gives its scheduler none."""
    generator = hf_diffusers(**options["ldm"], scheduler="EulerAncestralDiscreteScheduler")
    whole = pixels(generator.generate(FEW))
    assert same(whole, pixels(generator.generate(FEW[::-1]))[::-1])
    assert same(whole, pixels([generator.generate([item])[0] for item in FEW]))
    assert not same(whole, pixels(hf_diffusers(**options["ldm"]).generate(FEW)))
    assert "one image at a time" in generator.remarks(FEW)[0]


def test_a_pipeline_that_takes_one_generator_draws_image_by_image():
    import types

    import PIL.Image

    from drawbench.generators.hf_calls import Caller

    class One:
        def __call__(self, prompt, generator: torch.Generator | None = None, output_type="pil"):
            assert isinstance(generator, torch.Generator)
            values = torch.rand(4, 4, 3, generator=generator).mul(255).to(torch.uint8).numpy()
            return types.SimpleNamespace(images=[PIL.Image.fromarray(values)] * len(prompt))

    call = Caller(One())
    whole = call([1, 2], {"prompt": ["a", "b"], "output_type": "pil"}).images
    assert np.array_equal(whole[1], call([2], {"prompt": ["b"], "output_type": "pil"}).images[0])
    assert not np.array_equal(whole[0], whole[1])


def test_what_a_safety_checker_withholds_is_refused(invoke, tmp_path, prompts):
    folder = stable_diffusion(tmp_path / "strict", refuses=True)
    generator = hf_diffusers(checkpoint=str(folder), steps=2)
    assert generator.generate(FEW[:1]) == [Refused("the pipeline's safety checker withheld the image")]
    assert generator.fingerprint()["safety checker"] == "the checkpoint's"
    off = hf_diffusers(checkpoint=str(folder), steps=2, safety_checker="off")
    assert off.generate(FEW[:1])[0].image.getextrema() != ((0, 0),) * 3
    assert off.fingerprint()["safety checker"] == "off"
    assert not any("safety_checker" in key for key in off.fingerprint())
    mild = hf_diffusers(checkpoint=str(stable_diffusion(tmp_path / "mild", refuses=False)), steps=2)
    assert isinstance(mild.generate(FEW[:1])[0], Drawn)
    done = invoke(
        "--checkpoint",
        folder,
        "--prompts",
        prompts,
        "--limit",
        2,
        "--set",
        "hf_diffusers.steps=2",
        "-o",
        tmp_path / "r",
    )
    assert done.exit_code == 0, done.output
    assert "2 refused" in done.output


@pytest.mark.parametrize("refuses", [None, False])
def test_a_black_image_is_an_image_unless_the_checker_flagged_it(tmp_path, monkeypatch, refuses):
    generator = hf_diffusers(checkpoint=str(stable_diffusion(tmp_path / "sd", refuses=refuses)), steps=2)
    pipe, flags = generator._pipeline().pipe, [False, True]
    monkeypatch.setattr(pipe, "run_safety_checker", lambda image, *_: (torch.full_like(image, -1.0), flags))
    assert [type(result) for result in generator.draw(FEW[:2])] == [Drawn, Refused]


@pytest.mark.parametrize("refuses", [None, False])
def test_an_image_that_is_not_finite_fails_and_its_batch_mates_are_drawn(tmp_path, monkeypatch, refuses):
    generator = hf_diffusers(checkpoint=str(stable_diffusion(tmp_path / "sd", refuses=refuses)), steps=2)
    good = pixels(generator.draw(FEW))
    autoencoder = generator._pipeline().pipe.vae
    decode, spoilt = autoencoder.decode, []

    def overflowing(latents, **more):
        made = decode(latents, **more)
        spoilt[:] = spoilt or [latents[1].clone()]
        made[0][[torch.equal(one, spoilt[0]) for one in latents]] = torch.nan
        return made

    monkeypatch.setattr(autoencoder, "decode", overflowing)
    monkeypatch.setattr(generator, "pads", True)  # Together, as on a GPU.
    first, second, third = (outcome.result for outcome in draw_batch(generator, FEW, len(FEW)))
    assert isinstance(second, UserError)
    assert re.search(r"values that are not finite: .*--dtype bf16 or fp32", str(second))
    assert all(np.abs(a - b).max() <= 2 for a, b in zip([good[0], good[2]], pixels([first, third]), strict=True))


@pytest.mark.parametrize("last", ["base", "sr256", "sr1024"])
def test_a_stage_of_if_that_is_not_finite_fails_whichever_it_is(options, last):
    """An enlargement of IF, or the x4 upscaler, whose network is full of NaN."""
    generator = hf_diffusers(**options["IF"])
    generator.prepare(FEW)
    pipes = [generator._pipeline().pipe, *(caller.pipe for caller in generator.cascade._callers)]
    for parameter in pipes[["base", "sr256", "sr1024"].index(last)].unet.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite"):
        generator.generate(FEW[:1])


@pytest.mark.parametrize("last", ["base", "sr256", "sr1024"])
def test_ifs_checker_sees_the_last_stage_whichever_it_is(tmp_path, last):
    one, two, three = if_stages(tmp_path, refuses=True)
    after = {"sr256": StageOptions(two, steps=2), "sr1024": StageOptions(three, steps=2)}
    given = dict(list(after.items())[: ["base", "sr256", "sr1024"].index(last)])
    refused = hf_diffusers(checkpoint=str(one), steps=2, **given)
    assert all(isinstance(result, Refused) for result in refused.generate(FEW[:2]))
    off = hf_diffusers(checkpoint=str(one), steps=2, **given, safety_checker="off")
    assert all(isinstance(result, Drawn) for result in off.generate(FEW[:2]))


def test_a_watermark_is_on_the_image_only_where_it_is_asked_for(options):
    without, marked = [
        pixels(hf_diffusers(**options["IF"], watermark=choice).generate(FEW[:1]))[0] for choice in ("off", "on")
    ]
    changed = np.argwhere((without != marked).any(-1))
    assert (marked[tuple(changed.T)] == 255).all()
    assert len(changed) == 9  # 3 x 3 at 64 pixels.
    assert changed.min() > 48
    with pytest.raises(UserError, match="has no watermark of its own"):
        hf_diffusers(**options["stable_diffusion"], watermark="on").generate(FEW[:1])


def test_sdxl_has_no_invisible_watermark_unless_asked_for(folders, monkeypatch):
    import diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl as library

    class Mark:
        def apply_watermark(self, image):
            return torch.ones_like(image)

    monkeypatch.setattr(library, "is_invisible_watermark_available", lambda: True)
    monkeypatch.setattr(library, "StableDiffusionXLWatermarker", Mark, raising=False)
    drawn = [
        hf_diffusers(checkpoint=str(folders("sdxl")), steps=1, watermark=choice).generate(FEW[:1])[0].image.getextrema()
        for choice in ("off", "on")
    ]
    assert drawn[0] != ((255, 255),) * 3
    assert drawn[1] == ((255, 255),) * 3


def test_a_scheduler_moves_pixels_and_is_on_record(invoke, folders, prompts, tmp_path):
    common = [
        "--checkpoint",
        folders("stable_diffusion"),
        "--prompts",
        prompts,
        "--limit",
        2,
        "--set",
        "hf_diffusers.steps=3",
    ]
    for name in ("DDIMScheduler", "EulerAncestralDiscreteScheduler"):
        done = invoke(*common, "--set", f"hf_diffusers.scheduler={name}", "-o", tmp_path / name)
        assert done.exit_code == 0, done.output
        assert Run.open(tmp_path / name).manifest.system.options["scheduler"] == name
    a, b = [images_in(tmp_path / name) for name in ("DDIMScheduler", "EulerAncestralDiscreteScheduler")]
    assert a.keys() == b.keys()
    assert not set(a.values()) & set(b.values())


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("ldm", {"negative_prompt": "rain"}, "negative_prompt=rain: LDMTextToImagePipeline takes no negative_prompt"),
        ("karlo", {"height": 64}, "height=64: UnCLIPPipeline takes no height"),
        ("stable_diffusion", {"max_tokens": 99}, "takes no max_sequence_length"),
        ("stable_diffusion", {"true_guidance_weight": 2.0}, "takes no true_cfg_scale"),
        ("stable_diffusion", {"prior": PriorOptions(steps=3)}, "prior.steps=3: StableDiffusionPipeline takes no"),
        ("stable_diffusion", {"sr256": StageOptions(steps=3)}, "takes no super_res_num_inference_steps"),
        ("stable_diffusion", {"sr1024": StageOptions(noise_level=3)}, "give the stage itself: sr1024.checkpoint"),
        ("kandinsky", {"prior": PriorOptions()}, "is the decoder of a KandinskyV22CombinedPipeline; give its prior"),
        ("stable_diffusion", {"prior": PriorOptions(checkpoint="x")}, "takes no prior from elsewhere"),
        ("flux", {"negative_prompt": "rain"}, "does nothing while FluxPipeline draws with true_cfg_scale=1.0"),
        ("flux", {"true_guidance_weight": 8.0}, "true_guidance_weight=8.0 does nothing .* without a negative prompt"),
        ("stable_diffusion", {"negative_prompt": "rain", "guidance_weight": 1.0}, "does nothing while"),
        ("stable_diffusion", {"steps": 0}, "steps=0: allowed is at least 1"),
        ("stable_diffusion", {"height": 20}, "height=20: allowed is a multiple of 8"),
        ("stable_diffusion", {"keep_stages": True}, "there is one stage only"),
        ("stable_diffusion", {"lora_weight": 0.5}, "there is no lora"),
        ("stable_diffusion", {"offload": "model"}, "offload=model keeps in main memory"),
        ("stable_diffusion", {"variant": "fp16"}, "has no such weights"),
        ("stable_diffusion", {"revision": "main"}, "only a hub's model has revisions"),
        ("stable_diffusion", {"config": "x"}, "is not a single file"),
    ],
)  # fmt: skip
def test_an_option_that_a_pipeline_does_not_take_is_an_error_before_anything_is_loaded(
    options, monkeypatch, name, given, said
):
    monkeypatch.setattr("drawbench.generators.hf_diffusers.load", None)
    with pytest.raises(UserError, match=said):
        hf_diffusers(**{**options[name], **given})


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("stable_diffusion", {"scheduler": "DDMScheduler"}, "did you mean 'DDPMScheduler'"),
        (
            "stable_diffusion",
            {"scheduler": "FlowMatchEulerDiscreteScheduler"},
            "does not fit this model, whose own is PNDM",
        ),
        ("karlo", {"scheduler": "DDIMScheduler"}, "has no scheduler that could be changed"),
        ("flux", {"attention_slicing": True}, "has no network that can do it"),
        ("flux", {"height": 24, "width": 16, "steps": 1}, None),
    ],
)
def test_an_option_that_only_the_loaded_pipeline_can_refuse_ends_the_run(options, name, given, said):
    generator = hf_diffusers(**{**options[name], **given})
    if said is None:
        assert generator.generate(FEW[:1])[0].image.size == (16, 24)
        return
    with pytest.raises(UserError, match=said):
        generator.prepare(ITEMS)


def test_a_negative_prompt_and_guidance_move_pixels(options):
    plain = pixels(hf_diffusers(**options["stable_diffusion"]).generate(FEW))
    for given in ({"negative_prompt": "rain"}, {"guidance_weight": 1.0}, {"guidance_weight": 2.5}, {"steps": 3}):
        other = pixels(hf_diffusers(**{**options["stable_diffusion"], **given}).generate(FEW))
        assert not any(np.array_equal(a, b) for a, b in zip(plain, other, strict=True))


@pytest.mark.parametrize("given", [{"channels_last": True}, {"attention_slicing": True}])
def test_what_only_saves_time_or_memory_leaves_the_image(options, given):
    plain = pixels(hf_diffusers(**options["stable_diffusion"]).generate(FEW))
    other = pixels(hf_diffusers(**options["stable_diffusion"], **given).generate(FEW))
    assert max(np.abs(a - b).max() for a, b in zip(plain, other, strict=True)) <= 2


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_single_file_draws_what_its_folder_draws(options, folders, tmp_path, suffix):
    file = one_file(folders("stable_diffusion"), tmp_path / f"model{suffix}")
    generator = hf_diffusers(checkpoint=str(file), config=folders("stable_diffusion"), steps=2)
    assert same(pixels(generator.generate(FEW)), pixels(hf_diffusers(**options["stable_diffusion"]).generate(FEW)))
    assert generator.fingerprint()["checkpoint sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_single_file_without_its_configuration_names_the_model_that_has_it(folders, tmp_path):
    file = one_file(folders("stable_diffusion"), tmp_path / "model.safetensors")
    with pytest.raises(
        AssetMissing, match=r"stable-diffusion-v1-5.*its configuration.*--set hf_diffusers.config=FOLDER"
    ):
        hf_diffusers(checkpoint=str(file))


def adapter(file, module="unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", size=1.0):
    torch.manual_seed(0)
    down, up = torch.randn(2, 32) * size, torch.randn(32, 2) * size
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}, file)
    return file


def test_an_adapter_moves_pixels_by_its_weight_and_is_on_record(options, tmp_path):
    pytest.importorskip("peft")
    file = adapter(tmp_path / "lora" / "pytorch_lora_weights.safetensors")
    plain = pixels(hf_diffusers(**options["stable_diffusion"]).generate(FEW))
    with_it = hf_diffusers(**options["stable_diffusion"], lora=file)
    assert not same(plain, pixels(with_it.generate(FEW)))
    assert same(
        pixels(with_it.generate(FEW)),
        pixels(hf_diffusers(**options["stable_diffusion"], lora=file.parent).generate(FEW)),
    )
    nothing = hf_diffusers(**options["stable_diffusion"], lora=file, lora_weight=0.0)
    assert max(np.abs(a - b).max() for a, b in zip(plain, pixels(nothing.generate(FEW)), strict=True)) <= 1
    assert with_it.fingerprint()["lora sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    foreign = adapter(tmp_path / "foreign.safetensors", "transformer.blocks.0.attn.to_q")
    with pytest.raises(UserError, match=r"foreign.safetensors (holds nothing for|could not be loaded)"):
        hf_diffusers(**options["stable_diffusion"], lora=foreign).prepare(FEW)


def test_an_adapter_needs_peft_and_a_pipeline_that_takes_it(options, tmp_path, monkeypatch):
    file = adapter(tmp_path / "lora.safetensors")
    with pytest.raises(UserError, match="UnCLIPPipeline takes no LoRA adapters"):
        hf_diffusers(**options["karlo"], lora=file).prepare(FEW)
    with pytest.raises(UserError, match="there is no such file or folder"):
        hf_diffusers(**options["karlo"], lora=tmp_path / "other")
    real = importlib.util.find_spec
    monkeypatch.setattr(hf_library.importlib.util, "find_spec", lambda name: None if name == "peft" else real(name))
    with pytest.raises(UserError, match="hf_diffusers.lora needs peft: pip install peft"):
        hf_diffusers(**options["stable_diffusion"], lora=file).prepare(FEW)


@pytest.mark.parametrize(
    ("package", "given", "said"),
    [
        ("bs4", {"clean_caption": True}, "clean_caption needs beautifulsoup4: pip install beautifulsoup4"),
        (
            "accelerate",
            {"offload": "model", "device": "cuda"},
            "offload=model needs accelerate: pip install accelerate",
        ),
    ],
)
def test_a_package_that_an_option_needs_is_named(options, monkeypatch, package, given, said):
    real = importlib.util.find_spec
    monkeypatch.setattr(hf_library.importlib.util, "find_spec", lambda name: None if name == package else real(name))
    with pytest.raises(UserError, match=said):
        hf_diffusers(**options["IF"], **given)


def test_weights_that_training_wrote_over_are_read_anew_and_are_another_system(folders, tmp_path):
    folder = shutil.copytree(folders("stable_diffusion"), tmp_path / "training")
    before = hf_diffusers(checkpoint=str(folder), steps=2)
    prints, drawn = before.fingerprint(), pixels(before.generate(FEW[:1]))
    assert (
        prints == hf_diffusers(checkpoint=str(folders("stable_diffusion"))).fingerprint()
    )  # Where it lies is no matter.
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * 1.1 for name, tensor in load_file(file).items()}, file)
    after = hf_diffusers(checkpoint=str(folder), steps=2)
    changed = {key for key, value in after.fingerprint().items() if prints[key] != value}
    assert changed == {"sha256 unet/diffusion_pytorch_model.safetensors"}
    assert not same(drawn, pixels(after.generate(FEW[:1])))
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("0.012", "0.02"))
    assert hf_diffusers(checkpoint=str(folder)).fingerprint()["config"] != prints["config"]


def test_weights_that_are_missing_are_an_error_and_not_random(folders, tmp_path):
    for part, name in (("unet", "conv_in.weight"), ("text_encoder", None)):
        folder = shutil.copytree(folders("stable_diffusion"), tmp_path / part)
        (file,) = (folder / part).glob("*.safetensors")
        tensors = load_file(file)
        tensors.pop(name or next(key for key in tensors if "fc1.weight" in key))
        save_file(tensors, file, {"format": "pt"})
        with pytest.raises(UserError, match="lacks weights, which would be random"):
            hf_diffusers(checkpoint=str(folder)).prepare(FEW)


def test_a_single_file_that_lacks_a_tensor_is_an_error(folders, tmp_path):
    file = one_file(folders("stable_diffusion"), tmp_path / "model.safetensors")
    tensors = load_file(file)
    del tensors["model.diffusion_model.out.2.bias"]
    save_file(tensors, file)
    with pytest.raises(UserError, match="model.safetensors lacks weights"):
        hf_diffusers(checkpoint=str(file), config=folders("stable_diffusion")).prepare(FEW)


def test_a_variant_is_asked_for_by_name(folders, tmp_path):
    folder = shutil.copytree(folders("stable_diffusion"), tmp_path / "half")
    for part in ("unet", "vae", "text_encoder"):
        (file,) = (folder / part).glob("*.safetensors")
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    with pytest.raises(UserError, match=r"as fp16 only; choose: --set hf_diffusers.variant=fp16"):
        hf_diffusers(checkpoint=str(folder))
    generator = hf_diffusers(checkpoint=str(folder), variant="fp16", steps=2)
    assert "sha256 unet/diffusion_pytorch_model.fp16.safetensors" in generator.fingerprint()
    assert same(
        pixels(generator.generate(FEW)),
        pixels(hf_diffusers(checkpoint=str(folders("stable_diffusion")), steps=2).generate(FEW)),
    )


def test_a_prior_has_the_variant_of_its_decoder(options, folders, tmp_path):
    decoder = shutil.copytree(folders("kandinsky"), tmp_path / "half")
    for file in [*decoder.rglob("*.safetensors")]:
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    given = {**options["kandinsky"], "checkpoint": str(decoder), "prior": PriorOptions(decoder / "prior", steps=2)}
    generator = hf_diffusers(**given, variant="fp16")
    assert "prior: sha256 prior/diffusion_pytorch_model.fp16.safetensors" in generator.fingerprint()
    assert same(pixels(generator.generate(FEW[:1])), pixels(hf_diffusers(**options["kandinsky"]).generate(FEW[:1])))
    plain = PriorOptions(folders("kandinsky") / "prior", variant="none")
    with pytest.raises(UserError, match="variant=fp16: .*prior has no such weights"):
        hf_diffusers(**{**given, "prior": PriorOptions(plain.checkpoint)}, variant="fp16")
    plain = hf_diffusers(**{**given, "prior": plain}, variant="fp16")
    assert "prior: sha256 prior/diffusion_pytorch_model.safetensors" in plain.fingerprint()


def test_texts_that_are_cut_are_counted_and_on_record(options):
    long = Item(Prompt("900", "a b c d e " * 20), 0, 7)
    for name, tokenizer, limit in (
        ("stable_diffusion", "tokenizer", 77),
        ("IF", "tokenizer", 77),
        ("flux", "tokenizer_2", 32),
    ):
        generator = hf_diffusers(**options[name])
        short, cut = generator.generate([ITEMS[0], long])
        assert short.facts == {}
        assert cut.facts[f"{tokenizer} limit"] == limit
        assert cut.facts[f"{tokenizer} tokens"] > limit
        assert f"1 of 2 texts are longer than the {limit} tokens of {tokenizer} and were cut: 900" in generator.remarks(
            [ITEMS[0], long]
        )
        assert not any("cut" in remark for remark in generator.remarks([ITEMS[0]]))


@pytest.mark.parametrize(
    ("checkpoint", "said", "code"),
    [
        (None, "hf_diffusers draws from a checkpoint", 2),
        ("nobody/nothing-at-all", r"nobody/nothing-at-all .*not on this machine.*put it at .*--checkpoint FOLDER", 3),
        ("no such place", "there is no such folder or file", 2),
        (".", "has no model_index.json; a folder must hold model_index.json and one folder per part", 2),
    ],
)  # fmt: skip
def test_a_checkpoint_that_is_not_there_is_told_in_one_line(invoke, prompts, tmp_path, checkpoint, said, code):
    given = [] if checkpoint is None else ["--checkpoint", tmp_path if checkpoint == "." else checkpoint]
    done = invoke(*given, "--prompts", prompts, "-o", tmp_path / "run")
    assert done.exit_code == code
    assert re.search(said, done.output)
    assert not (tmp_path / "run").exists()


def test_a_model_in_the_cache_is_found_by_its_id(folders, cache):
    shutil.copytree(folders("ldm"), cache / "weights" / "CompVis" / "tiny")
    generator = hf_diffusers(checkpoint="CompVis/tiny", steps=1)
    assert isinstance(generator.generate(FEW[:1])[0], Drawn)


def test_a_model_of_the_hub_is_identified_by_its_commit(options, folders, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = tmp_path / "models--nobody--tiny"
    shutil.copytree(folders("stable_diffusion"), model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    generator = hf_diffusers(checkpoint="nobody/tiny", steps=2)
    prints = generator.fingerprint()
    assert (prints["model"], prints["commit"]) == ("nobody/tiny", commit)
    assert not any("sha256" in key for key in prints)
    assert same(pixels(generator.generate(FEW)), pixels(hf_diffusers(**options["stable_diffusion"]).generate(FEW)))
    assert hf_diffusers(checkpoint="nobody/tiny", revision=commit).fingerprint() == prints
    with pytest.raises(AssetMissing, match="nobody/tiny at v9"):
        hf_diffusers(checkpoint="nobody/tiny", revision="v9")


def test_a_folder_of_an_adapter_or_a_second_stage_is_told_apart(stages, folders, tmp_path):
    adapter(tmp_path / "lora" / "pytorch_lora_weights.safetensors")
    with pytest.raises(UserError, match="it holds a LoRA adapter"):
        hf_diffusers(checkpoint=str(tmp_path / "lora"))
    with pytest.raises(UserError, match="does not draw from a text alone"):
        hf_diffusers(checkpoint=str(stages[1]))
    with pytest.raises(UserError, match="only an IFPipeline has stages after it"):
        hf_diffusers(checkpoint=str(folders("ldm")), sr256=StageOptions(stages[1]))
    with pytest.raises(UserError, match="is a StableDiffusionUpscalePipeline; allowed is IFSuperResolutionPipeline"):
        hf_diffusers(checkpoint=str(stages[0]), sr256=StageOptions(stages[2]))
    with pytest.raises(UserError, match="give the second too"):
        hf_diffusers(checkpoint=str(stages[0]), sr1024=StageOptions(stages[2]))


def test_without_diffusers_the_way_to_install_it_is_said(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"pip install 'drawbench\[diffusers\]'"):
        hf_diffusers(checkpoint=str(DIM))
