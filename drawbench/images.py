"""Images on disk: PNG in, PNG out, and what becomes of every other kind of file that people have."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from drawbench.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

MAX_PIXELS = 8192 * 8192
"""Larger images are refused before they are decoded: a small file can hold a picture that fills the memory."""


class Imported(NamedTuple):
    """An image made elsewhere, as RGB, and what it was."""

    image: PIL.Image.Image
    facts: dict[str, str | int | float]
    """``source_sha256``, ``source_codec``, ``source_mode``; also ``source_bits``, ``exif_orientation``, ``icc_profile``."""


def encode_png(image: PIL.Image.Image) -> bytes:
    """Returns an RGB image as PNG without metadata: the same pixels give the same bytes (with one version of Pillow)."""
    if image.mode != "RGB":
        raise ValueError(f"the image has mode {image.mode!r}; allowed is 'RGB' (8 bits each)")
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"the image is {image.width}x{image.height}; allowed are {MAX_PIXELS} pixels (8192x8192)")
    stream = io.BytesIO()
    bare = image.copy()
    bare.info.clear()
    bare.save(stream, "PNG", compress_level=3)  # Half the time of Pillow's 6 for 2 to 5 % more bytes.
    return stream.getvalue()


def decode_rgb(png: bytes) -> NDArray[np.uint8]:
    """Returns the pixels of a run's image as ``(3, H, W) uint8``."""
    import numpy as np
    import PIL.Image

    with PIL.Image.open(io.BytesIO(png)) as image:
        if image.mode != "RGB":
            raise UserError(
                f"an image has mode {image.mode!r} where a run holds RGB; `drawbench verify` names altered files"
            )
        pixels = np.asarray(image)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


class Unreadable(UserError):
    """What was to be an image is none, or is damaged: another copy may be whole."""


def read_foreign(path: Path) -> Imported:
    """Reads an image file made elsewhere, as `decode_foreign` does."""
    return decode_foreign(path.read_bytes(), path.name)


def decode_foreign(data: bytes, name: str) -> Imported:
    """Decodes an image made elsewhere (JPEG, PNG, WebP, BMP, TIFF) as RGB and says what it was; ``name`` is for messages.

    Pixels are kept as they are, without colour management, as FID implementations read them. Converted, and said in the
    facts: greyscale, palette and CMYK (to RGB, by Pillow), 16 bits (the high byte), an EXIF orientation (applied, so that
    raters and metrics see what the maker saw). Alpha that is opaque everywhere is dropped.

    Raises:
        Unreadable: not an image, or truncated.
        UserError: animated, partly transparent, or over `MAX_PIXELS`.
    """
    import PIL.ImageOps

    image, facts = _decode(data, name, PIL.ImageOps.exif_transpose)
    return Imported(_to_rgb(name, image), facts)


def read_unrotated(path: Path) -> PIL.Image.Image:
    """Reads a photograph of a reference set as RGB, as it is stored: FID implementations do not look at an EXIF orientation.

    Raises:
        UserError: as `read_foreign`.
    """
    return _to_rgb(str(path), _decode(path.read_bytes(), str(path), lambda image: image)[0])


def _decode(
    data: bytes, name: str, turned: Callable[[PIL.Image.Image], PIL.Image.Image]
) -> tuple[PIL.Image.Image, dict[str, str | int | float]]:
    """Reads an image in its own mode, turned if it has an EXIF orientation, and says what it was."""
    import PIL.Image

    if not data:
        raise Unreadable(f"{name} is empty (0 bytes); make it anew or copy it again")
    facts: dict[str, str | int | float] = {"source_sha256": hashlib.sha256(data).hexdigest()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # MAX_PIXELS decides.
            image: PIL.Image.Image = PIL.Image.open(io.BytesIO(data))
            _refuse_what_has_no_one_meaning(name, image)
            facts |= {"source_codec": image.format or "unknown", "source_mode": image.mode}
            if (bits := _bits(data, image)) != 8:
                facts["source_bits"] = bits
            if image.info.get("icc_profile"):
                facts["icc_profile"] = "ignored"
            orientation = image.getexif().get(0x0112, 1)
            image.load()
            if orientation in range(2, 9):
                facts["exif_orientation"] = int(orientation)
                image = turned(image)
    except UserError:
        raise
    except PIL.UnidentifiedImageError as error:
        raise Unreadable(f"{name} is not an image; make it anew or copy it again") from error
    except Exception as error:  # A damaged file may raise anything: TypeError and struct.error were seen too.
        raise Unreadable(f"{name} cannot be read as an image ({error}); make it anew or copy it again") from error
    return image, facts


def _refuse_what_has_no_one_meaning(name: str, image: PIL.Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UserError(
            f"{name} is {width}x{height}; at most {MAX_PIXELS} pixels (8192x8192) are read: make it smaller"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UserError(f"{name} has {frames} frames; a prompt has one still image: save the one that counts")


def _bits(data: bytes, image: PIL.Image.Image) -> int:
    """Returns the bits per channel. Pillow reads 16-bit RGB PNGs as 8 bits without a word, so the header is asked."""
    if image.format == "PNG":
        return max(8, data[24])
    return {"I": 32, "F": 32}.get(image.mode, 16 if image.mode.startswith("I;16") else 8)


def _to_rgb(name: str, image: PIL.Image.Image) -> PIL.Image.Image:
    import numpy as np
    import PIL.Image

    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise UserError(
                f"{name} has values from {wide.min()} to {wide.max()}; allowed are 8 or 16 bits: convert it"
            )
        return PIL.Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UserError(f"{name} holds floating-point numbers; allowed are 8 or 16 bits: convert it")
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            raise UserError(
                f"{name} is transparent in {int(np.sum(alpha < 255))} of its {alpha.size} pixels, and on which background "
                "it is seen is not known: flatten it first (for example on white)"
            )
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")
