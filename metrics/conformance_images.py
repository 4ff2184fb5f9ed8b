"""Images for examining a metric: scenes of the shapes world, which show what their prompts say, and made-up photographs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import numpy as np
from numpy.typing import NDArray

from drawbench.interfaces import Prompt
from drawbench.shapes.layout import arrange
from drawbench.shapes.prompts import scene_of, shapes
from drawbench.shapes.renderer import render

Pixels = NDArray[np.uint8]

SIDE = 256
"""Of a scene, in pixels: its words can be read."""
_PER_CATEGORY = {"Text": 8, "Misspellings": 1, "Rare Words": 1}
"""Two of the others. Of fewer than six images that a metric applies to, no test of theirs can say anything."""


@dataclass(frozen=True)
class Picture:
    """An image ``(3, H, W)`` and the prompt that it was drawn for."""

    pixels: Pixels
    prompt: Prompt
    scene: bool
    """It shows what its prompt says; a made-up photograph shows nothing that could be named."""

    def with_prompt(self, prompt: Prompt) -> Picture:
        """Returns the same image for another prompt."""
        return replace(self, prompt=prompt)


def pictures(side: int = SIDE) -> list[Picture]:
    """Returns 26 scenes of all categories, 8 photographs of another size and a black image; every call gives the same."""
    return list(_pictures(side))


@cache
def _pictures(side: int) -> tuple[Picture, ...]:
    height, width = side * 5 // 8, side * 7 // 8
    taken: dict[str | None, int] = {}
    found = []
    for prompt in shapes().prompts:
        taken[prompt.category] = taken.get(prompt.category, 0) + 1
        scene = scene_of(prompt)
        if scene is not None and taken[prompt.category] <= _PER_CATEGORY.get(prompt.category or "", 2):
            picture = render(arrange(scene, Random(f"conformance/{prompt.id}")), side)  # noqa: S311  no secret
            found.append(Picture(np.ascontiguousarray(picture.transpose(2, 0, 1)), prompt, True))
    for number in range(8):
        prompt = Prompt(f"photograph-{number}", f"A photograph of a landscape, number {number}.", "photographs")
        found.append(Picture(photograph(number, height, width), prompt, False))
    black = Prompt("black", "A photograph that a safety filter has blackened.", "photographs")
    return (*found, Picture(np.zeros((3, height, width), np.uint8), black, False))


def photograph(number: int, height: int, width: int) -> Pixels:
    """Returns a coloured 1/f field ``(3, height, width)`` with a horizon and edges: the spectrum of photographs."""
    rng = np.random.default_rng([7, number])
    along, across = np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width)[np.newaxis]
    falling = 1 / np.maximum(np.hypot(along, across), 1 / max(height, width))
    phases = np.exp(2j * np.pi * rng.random((3, *falling.shape)))
    shared = np.exp(2j * np.pi * rng.random(falling.shape))
    field = np.fft.irfft2(falling * (0.7 * shared + 0.3 * phases), (height, width))
    field = field / field.std(axis=(1, 2), keepdims=True)
    rows = np.arange(height)[:, np.newaxis] > height * (0.4 + 0.2 * rng.random())
    low, high = rng.uniform(60, 200, (2, 3, 1, 1))
    values = np.where(rows, low, high) + 32 * field
    for _ in range(3):
        y, x, size = rng.integers(0, height), rng.integers(0, width), rng.integers(height // 12, height // 4)
        values[:, y : y + size, x : x + size] = rng.uniform(0, 255, (3, 1, 1))
    rounded: Pixels = values.round().clip(0, 255).astype(np.uint8)
    return rounded


def altered(found: Sequence[Picture], change: Callable[[Pixels, int], Pixels]) -> list[Picture]:
    """Returns the pictures changed, each by its number; the prompts stay."""
    return [replace(it, pixels=np.ascontiguousarray(change(it.pixels, number))) for number, it in enumerate(found)]


def swapped(pixels: Pixels, number: int) -> Pixels:
    """Returns red and blue exchanged: what OpenCV's order does."""
    return pixels[::-1]


def inverted(pixels: Pixels, number: int) -> Pixels:
    """Returns the negative."""
    return 255 - pixels


def noisy(share: float) -> Callable[[Pixels, int], Pixels]:
    """Returns what replaces a share of the values by uniform noise."""

    def change(pixels: Pixels, number: int) -> Pixels:
        rng = np.random.default_rng([8, number])
        noise = rng.integers(0, 256, pixels.shape, dtype=np.uint8)
        mixed: Pixels = np.where(rng.random(pixels.shape) < share, noise, pixels)
        return mixed

    return change


def blurred(radius: float) -> Callable[[Pixels, int], Pixels]:
    """Returns a Gaussian blur, the radius in thousandths of the height."""

    def change(pixels: Pixels, number: int) -> Pixels:
        from scipy.ndimage import gaussian_filter

        sigma = radius * pixels.shape[1] / 1000
        smooth = gaussian_filter(pixels.astype(np.float64), (0, sigma, sigma), mode="nearest")
        rounded: Pixels = smooth.round().clip(0, 255).astype(np.uint8)
        return rounded

    return change
