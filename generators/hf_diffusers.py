"""Any text-to-image pipeline of diffusers as a generator; DeepFloyd IF with its three stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from drawbench.errors import UserError
from drawbench.files import sha256_file
from drawbench.generators.hf_calls import (
    Caller,
    Images,
    arguments,
    check_draws_from_text,
    readings,
    text_used,
)
from drawbench.generators.hf_cascade import Cascade, open_cascade
from drawbench.generators.hf_checkpoints import Source, find_lora, find_source
from drawbench.generators.hf_library import diffusers_library, need
from drawbench.generators.hf_pipelines import (
    COMBINED,
    Loading,
    add_lora,
    checker_of,
    load,
    pipeline_class,
    place,
    set_scheduler,
)
from drawbench.generators.hf_stages import NO_PRIOR, NO_STAGE, PriorOptions, StageOptions
from drawbench.interfaces import Drawn, Item, Refused


def hf_diffusers(
    *,
    checkpoint: str | None = None,
    device: str = "cpu",
    dtype: str = "fp32",
    steps: int | None = None,
    guidance_weight: float | None = None,
    true_guidance_weight: float | None = None,
    negative_prompt: str | None = None,
    height: int | None = None,
    width: int | None = None,
    scheduler: str | None = None,
    max_tokens: int | None = None,
    clean_caption: bool = False,
    revision: str | None = None,
    variant: str | None = None,
    config: Path | None = None,
    lora: Path | None = None,
    lora_weight: float = 1.0,
    prior: PriorOptions = NO_PRIOR,
    sr256: StageOptions = NO_STAGE,
    sr1024: StageOptions = NO_STAGE,
    keep_stages: bool = False,
    safety_checker: Literal["on", "off"] = "on",
    watermark: Literal["on", "off"] = "off",
    compile: bool = False,  # noqa: A002  what torch calls it
    channels_last: bool = False,
    attention_slicing: bool = False,
    offload: Literal["none", "model", "sequential"] = "none",
) -> HFDiffusers:
    """Draws with a pipeline of diffusers: a folder, a ``.safetensors`` or ``.ckpt`` file, or an id on the hub.

    What is not set is the pipeline's own default. ``guidance_weight`` 1 is no guidance; ``true_guidance_weight`` is that
    of models that were distilled with guidance (Flux), whose negative prompt needs it. ``scheduler``: a class of
    diffusers, such as DDIMScheduler. ``max_tokens``: how much of a text a T5 reads. ``clean_caption``: IF's and PixArt's
    own cleaning of texts. ``config``: a folder with a single file's configuration. ``prior``: of a Kandinsky or Stable
    Cascade whose decoder is the checkpoint, and of Karlo; ``prior.variant`` where it is not the checkpoint's (``none``:
    weights without one). ``sr256`` and ``sr1024``: the second and third stage of IF
    (``noise_level`` 100 is DeepFloyd's for the x4 upscaler); ``sr256.steps`` also of Karlo. ``safety_checker``: used
    where the checkpoint has one; what it withholds counts as refused. ``watermark`` is off unless asked for.
    """
    if checkpoint is None:
        raise UserError(
            "hf_diffusers draws from a checkpoint: --checkpoint with a folder, a .safetensors or .ckpt file, or an id on "
            "the hub such as stabilityai/stable-diffusion-xl-base-1.0"
        )
    diffusers_library()
    loading = Loading(device, dtype, safety_checker, watermark, compile, channels_last, attention_slicing, offload)
    loading.check()
    source = find_source(checkpoint, "--checkpoint", revision=revision, variant=variant, config=config)
    cls = pipeline_class(source)
    check_draws_from_text(cls, f"--checkpoint {checkpoint}")
    if clean_caption:
        for package in ("bs4", "ftfy"):
            need(package, "hf_diffusers.clean_caption")
    given = {
        "steps": steps,
        "guidance_weight": guidance_weight,
        "true_guidance_weight": true_guidance_weight,
        "negative_prompt": negative_prompt,
        "height": height,
        "width": width,
        "max_tokens": max_tokens,
        "clean_caption": clean_caption,
        "prior.steps": prior.steps,
        "prior.guidance_weight": prior.guidance_weight,
        "sr256.steps": None if sr256.checkpoint else sr256.steps,
    }
    _check_numbers(given)
    if lora is None and lora_weight != 1.0:
        raise UserError(f"hf_diffusers.lora_weight={lora_weight}: there is no lora; give --set hf_diffusers.lora=FILE")
    cascade = open_cascade(cls, source, sr256, sr1024, loading, variant, size_is_set=bool(height or width))
    if keep_stages and cascade is None:
        raise UserError("hf_diffusers.keep_stages: there is one stage only; stages come with sr256.checkpoint")
    return HFDiffusers(
        source.without(*(["safety_checker"] if safety_checker == "off" else [])),
        _prior(source, prior, variant),
        loading,
        arguments(cls, given),
        Adapter(find_lora(lora), lora_weight) if lora is not None else None,
        scheduler,
        cascade,
        keep_stages,
        checker_of(source, loading),
    )


@dataclass(frozen=True)
class Adapter:
    """A LoRA, and how much of it is added."""

    file: Path
    weight: float


class HFDiffusers:
    """Draws batches of one size: the last is padded, since another batch size moves the last bits of an image.

    On a CPU with several threads so do an image's neighbours, and batches gain little: there each image is drawn alone.
    """

    def __init__(
        self,
        source: Source,
        prior: Source | None,
        loading: Loading,
        given: Mapping[str, Any],
        lora: Adapter | None,
        scheduler: str | None,
        cascade: Cascade | None,
        keep_stages: bool,
        on_record: Mapping[str, str],
    ) -> None:
        self.source, self.prior, self.loading, self.given = source, prior, loading, given
        self.lora, self.scheduler, self.cascade, self.keep_stages = lora, scheduler, cascade, keep_stages
        self.on_record = on_record
        self.pads = loading.device != "cpu"
        self._caller: Caller | None = None

    def fingerprint(self) -> Mapping[str, str]:
        import transformers

        weights = self.source.fingerprint()
        if self.prior is not None:
            weights |= {f"prior: {key}": value for key, value in self.prior.fingerprint().items()}
        if self.cascade is not None:
            weights |= self.cascade.fingerprint()
        if self.lora is not None:
            weights["lora sha256"] = sha256_file(self.lora.file)
        versions = {"diffusers": diffusers_library().__version__, "transformers": transformers.__version__}
        return {**weights, **self.on_record, **versions, "torch": torch.__version__}

    def prepare(self, items: Sequence[Item]) -> None:
        """Loads the pipelines, before the first image is drawn."""
        self._pipeline()

    def generate(self, items: Sequence[Item]) -> Sequence[Drawn | Refused]:
        if self.pads:
            return self.draw(items)
        return [result for item in items for result in self.draw([item])]

    def draw(self, items: Sequence[Item]) -> Sequence[Drawn | Refused]:
        """Draws a batch by one call of the pipeline, or of each stage's."""
        caller = self._pipeline()
        texts, seeds = [item.prompt.text for item in items], [item.seed for item in items]
        given = {**self.given}
        if (negative := given.get("negative_prompt")) is not None:
            given["negative_prompt"] = [negative] * len(items)
        extras: Mapping[str, Sequence[Image.Image]] = {}
        if self.cascade is not None:
            made, extras = self.cascade.draw(caller, texts, seeds, given)
        else:
            made = caller(seeds, {"prompt": texts, "output_type": "pil", **given})
        self._check_size(made)
        return [
            self._result(text, made, n, {name: kept[n] for name, kept in extras.items()} if self.keep_stages else {})
            for n, text in enumerate(texts)
        ]

    def remarks(self, items: Sequence[Item]) -> list[str]:
        """Says of which texts a tokenizer does not see the end, and what else of the pipeline is to be known."""
        if self._caller is None:  # Nothing was drawn: what was cut is in the journal.
            return []
        said, pipe = [], self._caller.pipe
        cut: dict[tuple[str, int], list[str]] = {}
        for prompt in dict.fromkeys(item.prompt for item in items):
            for reading in self._cut(prompt.text):
                cut.setdefault((reading.tokenizer, reading.limit), []).append(prompt.id)
        count = len({item.prompt for item in items})
        for (tokenizer, limit), ids in cut.items():
            named = ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
            said.append(
                f"{len(ids)} of {count} texts are longer than the {limit} tokens of {tokenizer} and were cut: {named}"
            )
        if type(pipe).__name__ == "IFPipeline" and self.cascade is None:
            said.append(
                "this is the first stage of IF alone; give the others as sr256.checkpoint and sr1024.checkpoint"
            )
        if self._caller.alone:
            said.append(
                f"{type(pipe).__name__} cannot take a generator per image here, and was called for one image at a time"
            )
        return said

    def _result(self, text: str, made: Images, n: int, extras: Mapping[str, Image.Image]) -> Drawn | Refused:
        image: Image.Image = made.images[n].convert("RGB")
        pipe = self._pipeline().pipe
        if made.flagged[n]:
            return Refused("the pipeline's safety checker withheld the image")
        used = text_used(pipe, text, self.given)
        facts: dict[str, str | int | float] = {}
        for reading in self._cut(text):
            facts |= {f"{reading.tokenizer} tokens": reading.tokens, f"{reading.tokenizer} limit": reading.limit}
        return Drawn(image, used if used != text else None, extras, facts)

    def _cut(self, text: str) -> list[Any]:
        pipe = self._pipeline().pipe
        found = readings(pipe, text_used(pipe, text, self.given), self.given)
        return [reading for reading in found if reading.tokens > reading.limit]

    def _check_size(self, made: Images) -> None:
        """Some pipelines round a size that they cannot draw, and only warn."""
        width, height = made.images[0].size
        asked = (self.given.get("width", width), self.given.get("height", height))
        if self.cascade is None and (width, height) != asked:
            raise UserError(
                f"{self.source.class_name} was asked for {asked[0]}x{asked[1]} and drew {width}x{height}; set "
                "hf_diffusers.width and .height to a size that it draws"
            )

    def _pipeline(self) -> Caller:
        if self._caller is None:
            off = self.on_record["safety checker"] == "off"
            left_out = ("safety_checker",) if off else ()
            pipe = load(self.source, self.loading, prior=self.prior, left_out=left_out)
            if self.scheduler is not None:
                set_scheduler(pipe, self.scheduler)
            if self.lora is not None:
                add_lora(pipe, self.lora.file, self.lora.weight)
            place(pipe, self.loading)
            if self.cascade is not None:
                self.cascade.load()
            self._caller = Caller(pipe)
        return self._caller


def _prior(source: Source, options: PriorOptions, variant: str | None) -> Source | None:
    if source.class_name not in COMBINED:
        if options.checkpoint is not None or options.variant is not None:
            raise UserError(
                f"hf_diffusers.prior.{'variant' if options.checkpoint is None else 'checkpoint'}="
                f"{options.checkpoint or options.variant}: {source.class_name} takes no prior from elsewhere"
            )
        return None
    if options.checkpoint is None:
        raise UserError(
            f"{source.name} is the decoder of a {COMBINED[source.class_name]}; give its prior: "
            "--set hf_diffusers.prior.checkpoint=FOLDER, or an id such as kandinsky-community/kandinsky-2-2-prior"
        )
    own = {None: variant, "none": None}.get(options.variant, options.variant)
    return find_source(str(options.checkpoint), "hf_diffusers.prior.checkpoint", variant=own)


def _check_numbers(given: Mapping[str, Any]) -> None:
    for key in ("steps", "prior.steps", "sr256.steps", "height", "width", "max_tokens"):
        value = given[key]
        least = 8 if key in ("height", "width") else 1
        if value is not None and (value < least or value % least):
            allowed = "a multiple of 8" if least == 8 else "at least 1"
            raise UserError(f"hf_diffusers.{key}={value}: allowed is {allowed}")
