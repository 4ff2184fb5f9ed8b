"""A call of a pipeline: its arguments by our options, each image's own noise, and how much of a text it reads."""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from drawbench.errors import UserError
from drawbench.generators.hf_library import listening

_NAMES: Mapping[str, tuple[str, ...]] = {
    "steps": ("num_inference_steps", "decoder_num_inference_steps"),
    "guidance_weight": ("guidance_scale", "decoder_guidance_scale"),
    "true_guidance_weight": ("true_cfg_scale",),
    "negative_prompt": ("negative_prompt",),
    "height": ("height",),
    "width": ("width",),
    "max_tokens": ("max_sequence_length",),
    "clean_caption": ("clean_caption",),
    "prior.steps": ("prior_num_inference_steps",),
    "prior.guidance_weight": ("prior_guidance_scale",),
    "sr256.steps": ("super_res_num_inference_steps",),
    "noise_level": ("noise_level",),
}
"""Our option → what pipelines call it; the first that a pipeline has is meant."""
_NOT_FROM_TEXT = ("SuperResolution", "Upscale", "Img2Img", "Inpaint", "ControlNet", "Edit", "Prior")
_READS_77 = ("IFPipeline", "LDMTextToImagePipeline", "KandinskyPipeline", "KandinskyCombinedPipeline")
"""Their tokenizers could take more, but the pipelines cut there."""


class Images(NamedTuple):
    """What a pipeline returned."""

    images: Any
    """PIL images, or a tensor where that was asked for."""
    flagged: Sequence[bool]
    """By the pipeline's own safety checker."""


class Reading(NamedTuple):
    """How much of a text one tokenizer takes."""

    tokenizer: str
    tokens: int
    limit: int


def check_draws_from_text(cls: Any, option: str) -> None:
    """Raises an error where a pipeline does not make an image of a text alone."""
    needed = [n for n, p in _parameters(cls).items() if p.default is p.empty and n not in ("self", "prompt")]
    needed = [n for n in needed if _parameters(cls)[n].kind is not inspect.Parameter.VAR_KEYWORD]
    named = any(word in cls.__name__ for word in _NOT_FROM_TEXT)
    if named or needed or "prompt" not in _parameters(cls):
        what = f" (it also needs {', '.join(needed)})" if needed else ""
        raise UserError(
            f"{option} is a {cls.__name__}, which does not draw from a text alone{what}; a stage that enlarges is given as "
            "--set hf_diffusers.sr256.checkpoint or sr1024.checkpoint"
        )


def arguments(cls: Any, options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a pipeline's arguments for the options that are set.

    Raises:
        UserError: it has no such argument, or would take it and do nothing.
    """
    parameters, given = _parameters(cls), {}
    for key, value in options.items():
        if value is None or value is False:
            continue
        name = next((name for name in _NAMES[key] if name in parameters), None)
        if name is None:
            raise UserError(
                f"hf_diffusers.{prefix}{key}={value}: {cls.__name__} takes no {' or '.join(_NAMES[key])}; leave it out"
            )
        given[name] = value
    if "clean_caption" in parameters:  # The library's default depends on what is installed.
        given.setdefault("clean_caption", False)
    if "negative_prompt" in given:
        _check_guided(cls, given)
    elif (weight := given.get("true_cfg_scale", 0.0)) > 1:
        raise UserError(
            f"hf_diffusers.{prefix}true_guidance_weight={weight} does nothing in {cls.__name__} without a negative prompt: "
            "give --set hf_diffusers.negative_prompt=TEXT too (TEXT may be empty)"
        )
    return given


def stage_seed(seed: int, stage: str) -> int:
    """Returns the seed of an image's noise in a further stage: another stage's steps do not move it."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stage}".encode()).digest()[:8], "big") >> 1


class Caller:
    """Calls one pipeline so that all noise of an image follows from its seed.

    Each image has a CPU generator. A pipeline that takes no list of them, or draws noise past them (an LDM with an
    ancestral scheduler), is called for one image at a time, with the process's own generators seeded for it.
    """

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        parameter = _parameters(type(pipe)).get("generator")
        self.takes_generator = parameter is not None
        self.alone = parameter is None or "list" not in str(parameter.annotation).lower()

    def __call__(self, seeds: Sequence[int], given: Mapping[str, Any]) -> Images:
        """Calls it. ``given``: what is a list or a tensor has one entry per image."""
        if "negative_prompt" in given and hasattr(self.pipe, "prior_pipe"):
            self.alone = True  # Kandinsky's prior takes these for more prompts, and has too few generators then.
        if not self.alone:
            with _watched() as drawn:
                made = self._call(seeds, given)
            if not drawn:
                return made
            self.alone = True
        each = [self._seeded(seed, given, n) for n, seed in enumerate(seeds)]
        if isinstance(each[0].images, torch.Tensor):
            images: Any = torch.cat([one.images for one in each])
        else:
            images = [one.images[0] for one in each]
        return Images(images, [one.flagged[0] for one in each])

    def _seeded(self, seed: int, given: Mapping[str, Any], n: int) -> Images:
        one = {k: v[n : n + 1] if isinstance(v, list | torch.Tensor) else v for k, v in given.items()}
        with torch.random.fork_rng():
            torch.manual_seed(stage_seed(seed, "steps"))  # The seed itself would repeat the first noise.
            return self._call([seed], one)

    def _call(self, seeds: Sequence[int], given: Mapping[str, Any]) -> Images:
        generators: Any = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        if self.alone:
            generators = generators[0]
        noise = {"generator": generators} if self.takes_generator else {}
        with listening(), _finite(self.pipe):
            out = self.pipe(**given, **noise)
        if not hasattr(out, "images"):
            raise UserError(
                f"{type(self.pipe).__name__} returns no images; hf_diffusers draws with text-to-image pipelines"
            )
        flagged = [False] * len(seeds)
        for field in ("nsfw_content_detected", "nsfw_detected", "watermark_detected"):
            for n, flag in enumerate(getattr(out, field, None) or []):
                flagged[n] |= bool(flag)
        return Images(out.images, flagged)


def readings(pipe: Any, text: str, given: Mapping[str, Any]) -> list[Reading]:
    """Returns how many tokens each tokenizer makes of a text, start and end included, and how many the pipeline takes."""
    found = []
    for name, tokenizer in pipe.components.items():
        if "tokenizer" not in name or tokenizer is None:
            continue
        limit = _limit(pipe, name, tokenizer, given)
        if limit is not None:
            with listening():
                tokens = len(tokenizer(text)["input_ids"])
            found.append(Reading(name, tokens, limit))
    return found


def text_used(pipe: Any, text: str, given: Mapping[str, Any]) -> str:
    """Returns the text that a pipeline makes of a text before it is cut into tokens: IF and PixArt lower-case."""
    if not hasattr(pipe, "_text_preprocessing"):
        return text
    return str(pipe._text_preprocessing([text], clean_caption=given.get("clean_caption", False))[0])


def _limit(pipe: Any, name: str, tokenizer: Any, given: Mapping[str, Any]) -> int | None:
    if name == "tokenizer" and type(pipe).__name__ in _READS_77:
        return 77
    parameter = _parameters(type(pipe)).get("max_sequence_length")
    if parameter is not None and "CLIP" not in type(tokenizer).__name__:
        limit = given.get("max_sequence_length", parameter.default)
        return limit if isinstance(limit, int) else None
    limit = getattr(tokenizer, "model_max_length", None)
    return limit if isinstance(limit, int) and limit < 10**6 else None


def _parameters(cls: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(cls.__call__).parameters


def _check_guided(cls: Any, given: Mapping[str, Any]) -> None:
    parameters = _parameters(cls)
    name = next((n for n in ("true_cfg_scale", *_NAMES["guidance_weight"]) if n in parameters), None)
    weight = given.get(name, parameters[name].default) if name else None
    if isinstance(weight, int | float) and weight <= 1:
        ours = "true_guidance_weight" if name == "true_cfg_scale" else "guidance_weight"
        raise UserError(
            f"hf_diffusers.negative_prompt does nothing while {cls.__name__} draws with {name}={weight}: "
            f"give --set hf_diffusers.{ours}= over 1"
        )


@contextmanager
def _finite(pipe: Any) -> Iterator[None]:
    """Makes an error of the warning that NumPy gives where a pipeline turns NaN into 8 bits: the image would be black."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "invalid value encountered in cast", RuntimeWarning)
        try:
            yield
        except RuntimeWarning as warning:
            raise UserError(
                f"{type(pipe).__name__} gave values that are not finite: try --dtype bf16 or fp32"
            ) from warning


@contextmanager
def _watched() -> Iterator[list[str]]:
    """Gives a list that names, afterwards, the process's own generators that were drawn from."""
    used: list[str] = []
    before, gpus = torch.get_rng_state(), _gpu_states()
    yield used
    if not torch.equal(before, torch.get_rng_state()):
        used.append("cpu")
    if any(not torch.equal(a, b) for a, b in zip(gpus, _gpu_states(), strict=False)):
        used.append("cuda")


def _gpu_states() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
