"""What raters see: every image made alike, so that neither its size, its bytes nor its metadata tell where it is from."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image, ImageFilter

LEAST, MOST = 256, 512
"""Pixels of the longer side: smaller images are enlarged, larger ones reduced."""
QUALITY = 92
SUFFIX = ".webp"


def encoding(side: int) -> dict[str, str]:
    """Returns how images are made, for the study's record."""
    return {"codec": f"WebP, quality {QUALITY}", "longer side": str(side), "filter": "Lanczos", "metadata": "none"}


def common_side(sides: list[int]) -> int:
    """Returns the one size for all images of a study, given their longer sides."""
    return min(max(*sides, LEAST), MOST)


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
