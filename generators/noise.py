"""Uniform noise: the lower anchor of a report, and a generator that needs no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drawbench.errors import UserError
from drawbench.interfaces import Drawn, Item, Refused


def noise(*, size: int = 256, resolution: int = 32) -> Noise:
    """Draws ``size`` x ``size`` pixels of uniform noise at a lower ``resolution``, enlarged to squares."""
    if resolution < 1 or size < resolution or size % resolution:
        raise UserError(f"noise: size {size} must be a multiple of resolution {resolution}, both at least 1")
    return Noise(size, resolution)


class Noise:
    """Independent values in 0–255 for each square and channel, from the image's own seed."""

    pads = False

    def __init__(self, size: int, resolution: int) -> None:
        self.size, self.resolution = size, resolution

    def fingerprint(self) -> Mapping[str, str]:
        return {"random bits": "numpy PCG64"}

    def generate(self, items: Sequence[Item]) -> Sequence[Drawn | Refused]:
        import numpy as np
        import PIL.Image

        drawn = []
        for item in items:
            bits = np.random.Generator(np.random.PCG64(item.seed))
            squares = bits.integers(0, 256, (self.resolution, self.resolution, 3), dtype=np.uint8)
            enlarge = self.size // self.resolution
            drawn.append(Drawn(PIL.Image.fromarray(squares.repeat(enlarge, 0).repeat(enlarge, 1))))
        return drawn
