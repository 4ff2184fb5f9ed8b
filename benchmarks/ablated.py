"""What `ablation.py` trains on and draws with: a stream of few categories, and a cascade whose base alone sees the text.

The super-resolution stages are those of the shapes world that ship, without text: whatever an image shows of its prompt the
base has put there. Their weights, and so what they can lose, are the same for all variants; `upscaled_truth` says how much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from drawbench.errors import UserError
from drawbench.generators.imagen.augmentation import augment
from drawbench.generators.imagen.cascade import NoiseOf, Sampling, sample_stage
from drawbench.generators.imagen.checkpoint import Network, load_network, open_checkpoint
from drawbench.generators.imagen.config import StageConfig
from drawbench.generators.imagen.data import to_float
from drawbench.generators.imagen.generator import PRESETS
from drawbench.generators.imagen.layers import Text, null_text
from drawbench.generators.imagen.text_cache import TextEmbeddings
from drawbench.generators.imagen.text_encoder import TextEncoder
from drawbench.interfaces import Drawn, Item
from drawbench.shapes.data import is_held_out_caption
from drawbench.shapes.grammar import CATEGORIES
from drawbench.shapes.layout import arrange
from drawbench.shapes.prompts import scene_of
from drawbench.shapes.renderer import VERSION, render
from drawbench.shapes.scene import is_held_out
from drawbench.shapes.shipped import shipped

FEW = ("Colors", "Counting", "Positional")
"""Categories that 16 pixels can show."""


def few(position: int, size: int) -> tuple[PIL.Image.Image, str]:
    """Returns a training pair of the three categories, in equal shares: no held-out caption or combination."""
    rng = Random(f"ablation/{position}")
    make = CATEGORIES[rng.choice(FEW)]
    while True:
        captioned = make(rng)
        if not is_held_out(captioned.scene) and not is_held_out_caption(captioned.caption):
            return PIL.Image.fromarray(render(arrange(captioned.scene, rng), size)), captioned.caption


def ablated(
    *, checkpoint: str | None = None, device: str = "cpu", variant: str, guidance_weight: float = 1.0, steps: int = 32
) -> Upscaled:
    """Draws with the base that was trained into ``checkpoint/variant``, and enlarges without text."""
    opened = open_checkpoint(Path(checkpoint or ".") / variant)
    (stage,) = opened.stages
    network = load_network(opened, stage, device, torch.float32)
    sampling = Sampling(steps=steps, guidance_weight=guidance_weight)
    if opened.text_encoder is None:
        raise UserError(f"{opened.folder} has no text encoder: there is no text to condition on")
    limit = opened.text_encoder.max_tokens
    encoder = TextEncoder(opened.text_encoder, device=device)
    if encoder.digest != opened.text_encoder_digest:
        raise UserError(
            f"{encoder.folder} is not the text encoder that {opened.folder} was trained with (another digest)"
        )
    texts = TextEmbeddings(encoder)

    def draw(items: Sequence[Item], noise: NoiseOf) -> Tensor:
        text = texts.get([item.prompt.text for item in items])
        short = limit - text.mask.shape[1]  # All of one length: a neighbour's must not move an image.
        pad = torch.nn.functional.pad
        text = Text(pad(text.embeddings, (0, 0, 0, short)), pad(text.mask, (0, short)))
        return sample_stage(stage, network, sampling, text, None, noise, device).clamp(-1, 1)

    return Upscaled(draw, opened.fingerprint([stage]), device)


def upscaled_truth(*, device: str = "cpu") -> Upscaled:
    """Draws what a prompt of the shapes world says at the base's size, and enlarges: the most that a variant can reach."""

    def draw(items: Sequence[Item], noise: NoiseOf) -> Tensor:
        images = []
        for item in items:
            scene = scene_of(item.prompt)
            if scene is None:
                raise UserError(f"prompt {item.prompt.id} has no scene; draw --prompts shapes")
            images.append(torch.from_numpy(render(arrange(scene, Random(item.seed)), 16)).permute(2, 0, 1))
        return to_float(torch.stack(images)).to(device)

    return Upscaled(draw, {"renderer": VERSION}, device)


class Upscaled:
    """Draws small images by a function, and enlarges them with the shipped stages, which are told no text."""

    pads = True

    def __init__(
        self, draw: Callable[[Sequence[Item], NoiseOf], Tensor], fingerprint: Mapping[str, str], device: str
    ) -> None:
        self.draw, self.device = draw, device
        self.cascade = open_checkpoint(shipped("imagen"))
        enlarging = self.cascade.fingerprint(self.cascade.stages[1:])
        self._fingerprint = {**fingerprint, **{f"enlarging {name}": value for name, value in enlarging.items()}}
        self._stages: list[tuple[StageConfig, Network, Sampling]] = []

    def fingerprint(self) -> Mapping[str, str]:
        return self._fingerprint

    def generate(self, items: Sequence[Item]) -> Sequence[Drawn]:
        if not self._stages:
            self._stages = [
                (stage, load_network(self.cascade, stage, self.device, torch.float32), way)
                for stage, way in zip(self.cascade.stages[1:], PRESETS["shapes"][1:], strict=True)
            ]
        noise = NoiseOf([item.seed for item in items])
        with torch.no_grad():
            images = self.draw(items, noise)
            for stage, network, way in self._stages:
                level = torch.full((len(images),), way.aug_level, device=self.device)
                low_res = augment(images, noise(tuple(images.shape[1:]), self.device), level)
                nothing = null_text(len(images), stage.network.text_dim, self.device, torch.float32)
                images = sample_stage(stage, network, way, nothing, low_res, noise, self.device).clamp(-1, 1)
        pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [Drawn(PIL.Image.fromarray(np.ascontiguousarray(image))) for image in pixels]
