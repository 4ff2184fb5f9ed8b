"""DeepFloyd IF: a base and two enlargements, each a pipeline of its own, that share one reading of the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from drawbench.errors import UserError
from drawbench.generators.hf_calls import Caller, Images, arguments, stage_seed
from drawbench.generators.hf_checkpoints import Source, find_source
from drawbench.generators.hf_library import listening
from drawbench.generators.hf_pipelines import Loading, load, pipeline_class, place, set_scheduler
from drawbench.generators.hf_stages import StageOptions

_LARGER = "IFSuperResolutionPipeline"
_X4 = "StableDiffusionUpscalePipeline"
_OF_THE_TEXT = ("tokenizer", "text_encoder")


@dataclass(frozen=True)
class Stage:
    """An enlargement: where it is, and how it is called."""

    name: str
    source: Source
    left_out: tuple[str, ...]
    given: Mapping[str, Any]
    scheduler: str | None


class Cascade:
    """The stages after the base. What the base's text encoder made of a text goes to every stage of IF."""

    def __init__(self, stages: Sequence[Stage], loading: Loading) -> None:
        self.stages, self.loading = stages, loading
        self._callers: list[Caller] = []

    def fingerprint(self) -> dict[str, str]:
        """Returns what identifies the stages' weights."""
        return {f"{s.name}: {key}": value for s in self.stages for key, value in s.source.fingerprint().items()}

    def load(self) -> None:
        """Loads the stages' pipelines."""
        for stage in self.stages:
            # The x4 upscaler has no mark of its own; it gets the base's.
            loading = replace(self.loading, watermark="off") if stage.source.class_name == _X4 else self.loading
            pipe = load(stage.source, loading, prior=None, left_out=stage.left_out)
            if stage.scheduler is not None:
                set_scheduler(pipe, stage.scheduler)
            place(pipe, self.loading)
            self._callers.append(Caller(pipe))

    def draw(
        self, base: Caller, texts: Sequence[str], seeds: Sequence[int], given: Mapping[str, Any]
    ) -> tuple[Images, dict[str, list[Image.Image]]]:
        """Returns the last stage's images, and those of the stages before by name."""
        own = dict(given)
        negative, clean = own.pop("negative_prompt", None), own["clean_caption"]
        with listening():
            embeds, without = base.pipe.encode_prompt(list(texts), negative_prompt=negative, clean_caption=clean)
        read = {"prompt_embeds": embeds, "negative_prompt_embeds": without}
        before = base(seeds, {**read, "output_type": "pt", **own}).images
        kept: dict[str, list[Image.Image]] = {}
        name = "base"
        for stage, caller in zip(self.stages, self._callers, strict=True):
            if not torch.isfinite(before).all():
                raise UserError(f"the stage {name!r} gave values that are not finite: give --dtype bf16 or fp32")
            kept[name] = _images(before)
            name = stage.name
            last = stage is self.stages[-1]
            text, low = read, before
            if stage.source.class_name == _X4:
                text = {"prompt": list(texts)} | ({"negative_prompt": negative} if negative else {})
                # It takes [0, 1]; what has no value under 0 it would take for that, by the whole batch.
                low = (before / 2 + 0.5).clamp(0, 1)
            made = caller(
                [stage_seed(seed, name) for seed in seeds],
                {**text, "image": low, "output_type": "pil" if last else "pt", **stage.given},
            )
            before = made.images
        if self.stages[-1].source.class_name == _X4:  # It has neither checker nor mark: the base's are IF's.
            made = _checked(base.pipe, made.images)
        return made, kept


def open_cascade(
    cls: Any,
    base: Source,
    sr256: StageOptions,
    sr1024: StageOptions,
    loading: Loading,
    variant: str | None,
    *,
    size_is_set: bool,
) -> Cascade | None:
    """Returns the stages after the base, None where none is given; what does not fit is an error."""
    for name, options in (("sr256", sr256), ("sr1024", sr1024)):
        if options.checkpoint is None:
            for field in fields(options):  # Karlo enlarges within its pipeline, and has steps of that.
                value = getattr(options, field.name)
                if value is not None and (name, field.name) != ("sr256", "steps"):
                    raise UserError(
                        f"hf_diffusers.{name}.{field.name}={value}: give the stage itself: {name}.checkpoint"
                    )
    if sr256.checkpoint is None and sr1024.checkpoint is None:
        return None
    if cls.__name__ != "IFPipeline":
        raise UserError(
            f"hf_diffusers.sr256.checkpoint: {base.name} is a {cls.__name__}; only an IFPipeline has stages after it"
        )
    if sr256.checkpoint is None:
        raise UserError("hf_diffusers.sr1024.checkpoint is the third stage: give the second too, as sr256.checkpoint")
    if size_is_set:
        raise UserError(
            "hf_diffusers.height and .width are of a single stage; the stages of IF have the sizes of their networks"
        )
    given = [("sr256", sr256)] + ([("sr1024", sr1024)] if sr1024.checkpoint else [])
    return Cascade([_stage(name, options, loading, variant) for name, options in given], loading)


def _stage(name: str, options: StageOptions, loading: Loading, variant: str | None) -> Stage:
    source = find_source(str(options.checkpoint), f"hf_diffusers.{name}.checkpoint", variant=variant)
    allowed = (_LARGER,) if name == "sr256" else (_LARGER, _X4)
    if source.class_name not in allowed:
        raise UserError(
            f"hf_diffusers.{name}.checkpoint={options.checkpoint} is a {source.class_name}; allowed is {' or '.join(allowed)}"
        )
    x4 = source.class_name == _X4
    out = () if x4 else _OF_THE_TEXT
    if loading.safety_checker == "off" or x4:
        out = (*out, "safety_checker")
    if x4:
        out = (*out, "feature_extractor", "watermarker")
    wanted = {"steps": options.steps, "guidance_weight": options.guidance_weight, "noise_level": options.noise_level}
    if options.steps is not None and options.steps < 1:
        raise UserError(f"hf_diffusers.{name}.steps={options.steps}: allowed is at least 1")
    parts = tuple(part for part in out if part in source.components)
    given = arguments(pipeline_class(source), wanted, f"{name}.")
    return Stage(name, source.without(*parts), out, given, options.scheduler)


def _checked(pipe: Any, images: list[Image.Image]) -> Images:
    """Lets the base's checker see a last stage that has none, and puts the base's mark on it."""
    flagged = [False] * len(images)
    if pipe.safety_checker is not None:
        seen = pipe.feature_extractor(images, return_tensors="pt").pixel_values.to(pipe._execution_device, pipe.dtype)
        _, refused, marked = pipe.safety_checker(images=[np.asarray(image) for image in images], clip_input=seen)
        flagged = [bool(a or b) for a, b in zip(refused, marked, strict=True)]
    if pipe.watermarker is not None:
        images = pipe.watermarker.apply_watermark(images)
    return Images(images, flagged)


def _images(pixels: torch.Tensor) -> list[Image.Image]:
    """Turns ``(N, 3, H, W)`` in [-1, 1] into 8 bits."""
    eight = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(np.ascontiguousarray(one)) for one in eight]
