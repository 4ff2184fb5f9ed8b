"""A diffusers pipeline in memory, with all that was asked for: adapter, scheduler, filters, speed and memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from drawbench.errors import UserError, did_you_mean
from drawbench.generators.hf_checkpoints import Source
from drawbench.generators.hf_library import diffusers_library, first_line, listening, mend, need, noting_missing_tensors

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
COMBINED = {
    "KandinskyPipeline": "KandinskyCombinedPipeline",
    "KandinskyV22Pipeline": "KandinskyV22CombinedPipeline",
    "StableCascadeDecoderPipeline": "StableCascadeCombinedPipeline",
}
"""A decoder's pipeline → the one that a decoder and its prior make together."""
_NETWORKS = ("unet", "transformer", "prior", "prior_prior", "decoder", "super_res_first", "super_res_last")
_ADAPTER = "drawbench"


@dataclass(frozen=True)
class Loading:
    """How pipelines are loaded and run; the same for every stage."""

    device: str = "cpu"
    dtype: str = "fp32"
    safety_checker: Literal["on", "off"] = "on"
    watermark: Literal["on", "off"] = "off"
    compile: bool = False
    channels_last: bool = False
    attention_slicing: bool = False
    offload: Literal["none", "model", "sequential"] = "none"

    def check(self) -> None:
        """Raises an error where something cannot be had here, before anything is loaded."""
        if self.offload != "none":
            if self.device == "cpu":
                raise UserError(
                    f"hf_diffusers.offload={self.offload} keeps in main memory what the GPU does not need now; with "
                    "--device cpu it is there already: leave it out"
                )
            need("accelerate", f"hf_diffusers.offload={self.offload}")


def pipeline_class(source: Source) -> Any:
    """Returns the class of a checkpoint's pipeline; of a decoder, that of the pipeline with a prior."""
    return _class(source, COMBINED.get(source.class_name, source.class_name))


def load(source: Source, loading: Loading, *, prior: Source | None, left_out: tuple[str, ...]) -> Any:
    """Returns a pipeline on its device, without the parts that are left out.

    Raises:
        UserError: it cannot be loaded, or tensors are missing or have another shape (diffusers would draw fresh ones).
    """
    pipe = _from_files(source, loading, left_out)
    if prior is not None:
        before = _from_files(prior, loading, ())
        parts = {f"prior_{name}": part for name, part in before.components.items()}
        with listening():
            pipe = pipeline_class(source)(**pipe.components, **parts)
    _set_filters(pipe, loading)
    return pipe


def place(pipe: Any, loading: Loading) -> None:
    """Puts a pipeline on its device, last of all: what was added to it goes along."""
    pipe.set_progress_bar_config(disable=True)
    networks: list[Any] = [pipe.components[name] for name in _NETWORKS if pipe.components.get(name) is not None]
    if loading.attention_slicing:
        if not any(hasattr(part, "set_attention_slice") for part in pipe.components.values()):
            raise UserError(f"hf_diffusers.attention_slicing: {type(pipe).__name__} has no network that can do it")
        pipe.enable_attention_slicing()
    if loading.channels_last:
        for network in networks:
            network.to(memory_format=torch.channels_last)
    with listening():
        if loading.offload == "model":
            pipe.enable_model_cpu_offload(device=loading.device)
        elif loading.offload == "sequential":
            pipe.enable_sequential_cpu_offload(device=loading.device)
        else:
            pipe.to(loading.device)
    if loading.compile:
        for network in networks:
            network.compile()


def set_scheduler(pipe: Any, name: str) -> None:
    """Gives a pipeline another scheduler, by class name, with the configuration of its own."""
    schedulers = diffusers_library().schedulers
    names = [n for n in dir(schedulers) if n.endswith("Scheduler")]
    if name not in names:
        raise UserError(f"hf_diffusers.scheduler={name}: diffusers has no such class{did_you_mean(name, names)}")
    own = pipe.components.get("scheduler")
    if own is None:
        raise UserError(
            f"hf_diffusers.scheduler={name}: {type(pipe).__name__} has no scheduler that could be changed "
            f"(it has: {', '.join(n for n in pipe.components if n.endswith('scheduler'))})"
        )
    fitting = sorted({type(own).__name__, *(c.__name__ for c in getattr(own, "compatibles", []))})
    if name not in fitting:
        raise UserError(
            f"hf_diffusers.scheduler={name} does not fit this model, whose own is {type(own).__name__}; "
            f"allowed are {', '.join(fitting)}"
        )
    try:
        with listening():
            pipe.scheduler = getattr(schedulers, name).from_config(own.config)
    except (ImportError, ValueError) as error:
        raise UserError(f"hf_diffusers.scheduler={name}: {first_line(error)}") from error


def add_lora(pipe: Any, file: Path, weight: float) -> None:
    """Adds an adapter to a pipeline; one that fits nothing in it is an error."""
    if not hasattr(pipe, "load_lora_weights"):
        raise UserError(f"hf_diffusers.lora={file}: {type(pipe).__name__} takes no LoRA adapters")
    need("peft", "hf_diffusers.lora")
    try:
        with listening():
            pipe.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=_ADAPTER)
            fits = any(_ADAPTER in adapters for adapters in pipe.get_list_adapters().values())
            if fits:
                pipe.set_adapters(_ADAPTER, weight)
    except Exception as error:
        raise UserError(f"hf_diffusers.lora={file} could not be loaded: {first_line(error)}") from error
    if not fits:
        raise UserError(
            f"hf_diffusers.lora={file} holds nothing for {type(pipe).__name__}; is it an adapter of another model?"
        )


def checker_of(source: Source, loading: Loading) -> dict[str, str]:
    """Returns what is on record of the safety checker: whether the checkpoint has one, and whether it is used."""
    has = "safety_checker" in source.components
    return {"safety checker": ("the checkpoint's" if loading.safety_checker == "on" else "off") if has else "none"}


def _class(source: Source, name: str) -> Any:
    found = getattr(diffusers_library(), name, None)
    if found is None:
        version = diffusers_library().__version__
        raise UserError(f"{source.name}: its pipeline {name} is not in diffusers {version}; install one that has it")
    return found


def _from_files(source: Source, loading: Loading, left_out: tuple[str, ...]) -> Any:
    cls = _class(source, source.class_name)
    given: dict[str, Any] = {"dtype": DTYPES[loading.dtype], **dict.fromkeys(left_out)}
    if "safety_checker" not in source.components and "safety_checker" in cls._get_signature_keys(cls)[0]:
        given["safety_checker"] = None
    if "safety_checker" in given and "requires_safety_checker" in cls._get_signature_keys(cls)[1]:
        given["requires_safety_checker"] = False
    with listening() as heard, noting_missing_tensors() as lacking:
        mend(cls, source.parts)
        try:
            if source.file is not None:
                pipe = cls.from_single_file(str(source.file), config=str(source.folder), local_files_only=True, **given)
            else:
                pipe = cls.from_pretrained(str(source.folder), variant=source.variant, local_files_only=True, **given)
        except Exception as error:
            if source.file is not None and "meta tensor" in str(error):  # With accelerate, there is nothing to fill it.
                raise UserError(f"{source.name} lacks weights of a {source.class_name}") from error
            raise UserError(f"{source.name} could not be loaded as {source.class_name}: {first_line(error)}") from error
    if source.file is not None and lacking:
        raise UserError(
            f"{source.name} lacks weights, which would be random: {len(lacking)} tensors, first {lacking[0]}"
        )
    if fresh := [text for text in heard if "newly initialized" in text]:
        raise UserError(f"{source.name} lacks weights, which would be random: {' '.join(fresh[0].split())[:300]}")
    return pipe


def _set_filters(pipe: Any, loading: Loading) -> None:
    """Leaves out the watermark, or makes sure that it is there: SDXL's is there or not by what is installed."""
    own = hasattr(pipe, "watermark")  # SDXL's, invisible.
    if loading.watermark == "off":
        if own:
            pipe.watermark = None
        if "watermarker" in pipe.components:  # IF's, in the corner.
            pipe.watermarker = None
    elif own and pipe.watermark is None:
        need("imwatermark", "hf_diffusers.watermark=on")
        raise UserError(f"hf_diffusers.watermark=on: {type(pipe).__name__} was built without its watermark")
    elif not own and pipe.components.get("watermarker") is None:
        raise UserError(f"hf_diffusers.watermark=on: {type(pipe).__name__} has no watermark of its own; leave it out")
