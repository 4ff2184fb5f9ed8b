"""What raters see: every image made alike, so that neither its shape, its size, its bytes nor its file tell where it is from."""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from drawbench.files import write_atomic
from drawbench.human_eval.study import Item, is_spoilt
from drawbench.progress import progress
from drawbench.protocol import digest
from drawbench.store import Place

LEAST, MOST = 256, 512
"""Pixels of the longer side: smaller images are enlarged, larger ones reduced."""
QUALITY = 92
SUFFIX = ".webp"
MOMENT = 946_684_800
"""The modification time of every image, 2000-01-01: when a file was written tells nothing either."""


class Source(NamedTuple):
    """Where a stimulus comes from."""

    system: str
    place: Place


def stimulus_name(secret: str, system: str, prompt: str, sample: int) -> str:
    """Returns the name of an image in a study, which tells nothing to who does not know the study's secret."""
    return hashlib.sha256(f"{secret}/{system}/{prompt}/{sample}".encode()).hexdigest()[:24] + SUFFIX


def encoding(side: int, square: bool) -> dict[str, str]:
    """Returns how images are made, for the study's record."""
    crop = "the middle square" if square else "none, all have one shape"
    return {
        "codec": f"WebP, quality {QUALITY}",
        "crop": crop,
        "longer side": str(side),
        "filter": "Lanczos",
        "metadata": "none",
    }


def common_side(sides: Sequence[int]) -> int:
    """Returns the one size for all images of a study, given their longer sides."""
    return min(max(*sides, LEAST), MOST)


def middle_square(image: Image.Image) -> Image.Image:
    """Returns the largest square in the middle of an image."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def alike(image: Image.Image, side: int) -> bytes:
    """Returns an image as WebP without metadata, its longer side ``side`` pixels."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    bare = Image.fromarray(np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS)))
    stream = io.BytesIO()
    bare.save(stream, "WEBP", quality=QUALITY, method=4)
    return stream.getvalue()


def spoilt(image: Image.Image, seed: str) -> Image.Image:
    """Returns an image that nobody prefers to the given one, for controls: very blurred, then full of noise."""
    blurred = image.convert("RGB").filter(ImageFilter.GaussianBlur(max(image.size) / 24))
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))
    noisy = np.asarray(blurred, np.float64) + rng.normal(0, 60, (image.height, image.width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def write_stimuli(
    path: Path, items: Sequence[Item], sources: Mapping[str, Source], has_reference: bool
) -> dict[str, Any]:
    """Writes every image that is shown, and returns how they are made, their native sizes, and the digest of them all.

    Where shapes differ, or where photographs stand beside samples, every image is cut to its middle square: a shape tells whose
    an image is as well as a name does.
    """
    spoils = {
        name: kept.images[number]
        for item in items
        if item.control is not None and len(item.sides) == 2
        for kept, side in (item.sides, item.sides[::-1])
        if is_spoilt(side, item)
        for number, name in enumerate(side.images)
    }
    native: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for source in sources.values():
        with Image.open(io.BytesIO(source.place.read())) as image:
            native[source.system][image.size] += 1
    sizes = {size for counts in native.values() for size in counts}
    square = has_reference or len({_shape(size) for size in sizes}) > 1
    side = common_side([min(size) if square else max(size) for size in sizes])
    hashes = {}
    of = {**sources, **{name: sources[kept] for name, kept in spoils.items()}}
    with progress(len(of), unit=" images", label="make stimuli") as bar:
        for name, source in of.items():
            with Image.open(io.BytesIO(source.place.read())) as image:
                cut = middle_square(image) if square else image
                data = alike(spoilt(cut, name) if name in spoils else cut, side)
            file = path / "images" / name
            write_atomic(file, data)
            os.utime(file, (MOMENT, MOMENT))
            hashes[name] = hashlib.sha256(data).hexdigest()
            bar.update()
    told = {
        system: {f"{width}x{height}": count for (width, height), count in sorted(counts.items())}
        for system, counts in native.items()
    }
    return {**encoding(side, square), "native sizes": told, "count": len(hashes), "sha256": digest(hashes)}


def _shape(size: tuple[int, int]) -> tuple[int, int]:
    by = gcd(*size)
    return size[0] // by, size[1] // by
