"""Imagen as a generator: a checkpoint, and how each of its stages is sampled."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from drawbench.errors import UserError
from drawbench.generators.imagen.cascade import NoiseOf, Sampling, run
from drawbench.generators.imagen.checkpoint import (
    Checkpoint,
    Network,
    check_weights,
    find_checkpoint,
    load_network,
    open_checkpoint,
)
from drawbench.generators.imagen.config import StageConfig
from drawbench.generators.imagen.layers import Text
from drawbench.generators.imagen.sampler import SamplerName
from drawbench.generators.imagen.text_cache import TextEmbeddings, embeddings_folder
from drawbench.generators.imagen.text_encoder import TextEncoder, TextEncoderConfig
from drawbench.generators.imagen.thresholding import ThresholdingName
from drawbench.interfaces import Drawn, Item, Refused
from drawbench.progress import progress
from drawbench.shapes.shipped import SHAPES

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StageOptions:
    """How one stage is sampled; what is None is the preset's."""

    steps: int | None = None
    guidance_weight: float | None = None
    thresholding: ThresholdingName | None = None
    percentile: float | None = None
    sampler: SamplerName | None = None
    gamma: float | None = None
    aug_level: float | None = None


PRESETS: Mapping[str, tuple[Sampling, ...]] = {
    "quality": (
        Sampling(steps=256, guidance_weight=5.0),
        Sampling(steps=128, guidance_weight=5.0, aug_level=0.1),
        Sampling(steps=64, guidance_weight=5.0, aug_level=0.1),
    ),
    "coco": (
        Sampling(steps=256, guidance_weight=1.35),
        Sampling(steps=128, guidance_weight=8.0, aug_level=0.0),
    ),
    "shapes": (
        Sampling(steps=32, guidance_weight=3.0),
        Sampling(steps=16, guidance_weight=1.0, aug_level=0.0),
        Sampling(steps=8, guidance_weight=1.0, aug_level=0.0),
    ),
}
"""By stage, from the base. ``quality``: weight 5 is that of figure A.10, aug level 0.1 to 0.3 that of section D.2's best samples.
``coco``: the weights of table 1, for 256x256, where the paper's FID-30K is 7.27; aug level 0 is inferred from figure A.11.
``shapes``: tried on one sample of the 200 prompts, weights 2, 3 and 5 for the base and aug levels 0 and 0.1.
The numbers of steps and the sampler are not in the paper."""


def imagen(
    *,
    checkpoint: str | None = None,
    device: str = "cpu",
    dtype: str = "fp32",
    preset: Literal["quality", "coco", "shapes"] | None = None,
    base: StageOptions = StageOptions(),
    sr256: StageOptions = StageOptions(),
    sr1024: StageOptions = StageOptions(),
    stop_after: Literal["base", "sr256", "sr1024"] | None = None,
    keep_stages: bool = False,
    low_memory: bool = False,
) -> Imagen:
    """Samples a cascade from a checkpoint folder, or from the one that ships: shapes.

    ``preset``: quality, coco (the guidance weights of table 1; stops after 256x256), or shapes (the shipped cascade's own,
    and its default; else it is quality). ``base``, ``sr256`` and
    ``sr1024`` are the first, second and third stage, of whatever size. ``keep_stages`` keeps what the stages before the
    last made. ``low_memory`` has one stage in memory at a time. Texts without embeddings in the cache are encoded by
    the checkpoint's text encoder.
    """
    if checkpoint is None:
        raise UserError(
            "imagen draws from a checkpoint: --checkpoint FOLDER (config.json and one safetensors file per stage), or "
            "--checkpoint shapes, the small cascade that ships"
        )
    if base.aug_level is not None:
        raise UserError(
            f"imagen.base.aug_level={base.aug_level}: the base has no smaller image to put noise on; give sr256 or sr1024 one"
        )
    opened = open_checkpoint(find_checkpoint(checkpoint))
    preset = preset or ("shapes" if checkpoint == SHAPES else "quality")
    given = (base, sr256, sr1024)
    if len(opened.stages) > len(given):
        raise UserError(f"{checkpoint} has {len(opened.stages)} stages; at most {len(given)} are sampled")
    count = {"base": 1, "sr256": 2, "sr1024": 3}[stop_after] if stop_after else len(PRESETS[preset])
    stages = opened.stages[:count]
    if stop_after and len(stages) < count:
        raise UserError(f"imagen.stop_after={stop_after}: {checkpoint} has only {len(stages)} stages")
    for stage in stages:
        check_weights(opened, stage)
    ways = PRESETS[preset] if len(PRESETS[preset]) >= len(stages) else PRESETS["quality"]
    sampling = {s.name: _checked(s.name, _merged(way, o)) for s, way, o in zip(stages, ways, given, strict=False)}
    return Imagen(opened, stages, sampling, device, dtype, keep_stages, low_memory)


class Imagen:
    """Draws batches of one size: the last is padded, since another batch size moves the last bits of an image."""

    pads = True

    def __init__(
        self,
        checkpoint: Checkpoint,
        stages: Sequence[StageConfig],
        sampling: Mapping[str, Sampling],
        device: str,
        dtype: str,
        keep_stages: bool,
        low_memory: bool,
    ) -> None:
        self.checkpoint, self.stages, self.sampling = checkpoint, stages, sampling
        self.device, self.dtype = device, _DTYPES[dtype]
        self.keep_stages, self.low_memory = keep_stages, low_memory
        self._networks: dict[str, Network] = {}
        self._embeddings: TextEmbeddings | None = None

    def fingerprint(self) -> Mapping[str, str]:
        sampling = json.dumps({name: asdict(way) for name, way in self.sampling.items()}, sort_keys=True)
        return {**self.checkpoint.fingerprint(self.stages), "sampling": sampling, "torch": torch.__version__}

    def generate(self, items: Sequence[Item]) -> Sequence[Drawn | Refused]:
        noise = NoiseOf([item.seed for item in items])
        text = self._text([item.prompt.text for item in items])
        outputs = list(run(self.stages, self._network, self.sampling, text, noise, self.device))
        made = [[_image(image) for image in output.images] for output in outputs]
        kept = [(output.stage, images) for output, images in zip(outputs[:-1], made[:-1], strict=True)]
        return [
            Drawn(made[-1][n], extras={stage: images[n] for stage, images in kept} if self.keep_stages else {})
            for n in range(len(items))
        ]

    def prepare(self, items: Sequence[Item]) -> None:
        """Encodes the texts that have no embeddings yet, before the first image is drawn."""
        texts = list(dict.fromkeys(item.prompt.text for item in items))
        cache = self._cache(texts)
        if cache is None or not (lacking := cache.missing(texts)):
            return
        with progress(len(lacking), unit=" texts", label="encode texts") as bar:
            cache.add(lacking, bar.update)
        if self.low_memory and cache.encoder is not None:
            cache.encoder.unload()

    def remarks(self, items: Sequence[Item]) -> list[str]:
        """Says of which texts the encoder does not see the end, as far as they are on disk."""
        cache = self._embeddings or self._on_disk()
        if cache is None:
            return []
        texts = list(dict.fromkeys(item.prompt.text for item in items))
        unknown = set(cache.missing(texts))  # What was never encoded was never drawn.
        cut = set(cache.cut([text for text in texts if text not in unknown]))
        ids = list(dict.fromkeys(item.prompt.id for item in items if item.prompt.text in cut))
        if not cut:
            return []
        named = ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
        return [f"{len(cut)} of {len(texts)} texts are longer than the text encoder takes and were cut: {named}"]

    def _text(self, texts: Sequence[str]) -> Text | None:
        """Returns the texts' embeddings, all padded to one length: a neighbour's length must not move an image."""
        config, cache = self.checkpoint.text_encoder, self._cache(texts)
        if config is None or cache is None:
            return None
        text = cache.get(texts)
        if self.low_memory and cache.encoder is not None:
            cache.encoder.unload()
        short = config.max_tokens - text.mask.shape[1]
        return Text(functional.pad(text.embeddings, (0, 0, 0, short)), functional.pad(text.mask, (0, short)))

    def _cache(self, texts: Sequence[str]) -> TextEmbeddings | None:
        """Returns where the texts' embeddings are, with the encoder where some are lacking; None where there is no text."""
        config = self.checkpoint.text_encoder
        if config is None:
            return None
        cache = self._embeddings or self._on_disk()
        if cache is None or (cache.encoder is None and cache.missing(texts)):
            cache = TextEmbeddings(self._encoder(config))
        self._embeddings = cache
        return cache

    def _on_disk(self) -> TextEmbeddings | None:
        """Returns the embeddings that are in the cache already: with them no encoder is looked for, nor fetched."""
        if self.checkpoint.text_encoder_digest is None:
            return None
        folder = embeddings_folder(self.checkpoint.text_encoder_digest)
        return TextEmbeddings(folder) if (folder / "encoder.json").is_file() else None

    def _encoder(self, config: TextEncoderConfig) -> TextEncoder:
        encoder = TextEncoder(config, device=self.device)
        if encoder.digest != self.checkpoint.text_encoder_digest:
            raise UserError(f"{config.name} is not the text encoder of {self.checkpoint.folder} (another digest)")
        return encoder

    def _network(self, stage: StageConfig) -> Network:
        if stage.name not in self._networks:
            if self.low_memory:
                self._networks.clear()
            self._networks[stage.name] = load_network(self.checkpoint, stage, self.device, self.dtype)
        return self._networks[stage.name]


def _merged(way: Sampling, options: StageOptions) -> Sampling:
    return replace(way, **{key: value for key, value in asdict(options).items() if value is not None})


def _checked(stage: str, way: Sampling) -> Sampling:
    for what, given, good, allowed in (
        ("steps", way.steps, way.steps >= 1, "at least 1"),
        ("percentile", way.percentile, 0 < way.percentile <= 1, "a fraction over 0 and up to 1, such as 0.995"),
        ("gamma", way.gamma, 0 <= way.gamma <= 1, "from 0 to 1"),
        ("aug_level", way.aug_level, 0 <= way.aug_level <= 1, "from 0 to 1"),
        ("guidance_weight", way.guidance_weight, 0 <= way.guidance_weight < math.inf, "0 or more (1: no guidance)"),
    ):
        if not good:
            raise UserError(f"imagen: {what} of the stage {stage!r} is {given}; allowed is {allowed}")
    return way


def _image(image: Tensor) -> Image.Image:
    """Turns ``(3, H, W)`` in [-1, 1] into 8 bits."""
    pixels = ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
