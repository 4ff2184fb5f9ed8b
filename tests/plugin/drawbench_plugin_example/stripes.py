"""Draws stripes: options of every kind, one of them a group."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from drawbench.interfaces import Drawn


@dataclass(frozen=True)
class Ink:
    red: int = 255
    green: int = 0
    blue: int = 0


def stripes(
    *,
    device: str,
    checkpoint: str | None = None,
    width: int = 4,
    opacity: float = 1.0,
    direction: Literal["across", "down"] = "across",
    noisy: bool = False,
    stencil: Path | None = None,
    ink: Ink = Ink(),
):
    return Stripes(device, checkpoint, width, opacity, direction, noisy, ink)


class Stripes:
    pads = True

    def __init__(self, device, checkpoint, width, opacity, direction, noisy, ink):
        self.device, self.checkpoint, self.width = device, checkpoint, width
        self.opacity, self.direction, self.noisy, self.ink = opacity, direction, noisy, ink

    def fingerprint(self):
        return {"checkpoint": str(self.checkpoint)}

    def generate(self, items):
        return [Drawn(self.draw(item.seed), facts={"device": self.device}) for item in items]

    def draw(self, seed):
        on = (np.arange(32) // self.width) % 2 == 0
        colour = np.array([self.ink.red, self.ink.green, self.ink.blue]) * self.opacity
        image = np.where(on[:, None, None], colour, 255).repeat(32, 1)
        if self.direction == "down":
            image = image.transpose(1, 0, 2)
        if self.noisy:
            image = image - np.random.default_rng(seed).integers(0, 9, image.shape)
        return Image.fromarray(image.clip(0, 255).astype(np.uint8))
