"""Reads a picture back without knowing what was asked: things by colour and silhouette, a sign and its word, the background.

All lengths are in cells of a sixteenth of the picture; masks are ``(64, 64)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.shapes.layout import TONES
from drawbench.shapes.lettering import read_word
from drawbench.shapes.patches import (
    SPECK,
    Mask,
    Patch,
    is_seen_through,
    make_patch,
    nearest_hue,
    parts,
    rejoined,
    settled,
    sharpened,
    without_stains,
)
from drawbench.shapes.scene import BACKGROUNDS, COLOURS, Background, Colour, Shape, Size, Texture
from drawbench.shapes.silhouette import Silhouette, is_stepped, name_shape, width_of

SIDE = 64
_PER_CELL = SIDE / 16
_CHROMA = 32
"""Highest minus lowest channel: below this a pixel has no colour. Backgrounds have 4, the palest dark stripe 58."""
_CONTRAST = 44
"""Grey steps from the background: below this a pixel without colour belongs to it, and so does what has its hue. Tones lie 80
apart."""
_LARGE = 6.55
"""Cells: the smallest large thing is 7.5 wide, the largest small one 5.6."""


@dataclass(frozen=True, eq=False, slots=True)
class SeenThing:
    """One thing that was found."""

    shape: Shape | None
    """None: like none of the five."""
    colour: Colour | None
    """None: black, grey or white."""
    size: Size
    silhouette: Silhouette
    x: float
    y: float
    box: tuple[float, float, float, float]
    """Left, top, right, bottom."""

    @property
    def texture(self) -> Texture:
        return self.silhouette.texture

    @property
    def mask(self) -> Mask:
        """Its silhouette, holes filled."""
        return self.silhouette.whole


class SeenSign(NamedTuple):
    """A plate."""

    word: str | None
    """A question mark for each letter that is not clear. None: nothing legible."""
    x: float
    y: float
    box: tuple[float, float, float, float]


class Seen(NamedTuple):
    """All that was found in a picture."""

    things: tuple[SeenThing, ...]
    background: Background | None
    """None: it is coloured."""
    sign: SeenSign | None


def read(image: NDArray[np.uint8]) -> Seen:
    """Reads an ``(H, W, 3) uint8`` picture of 64 x 64 or more; a larger one is reduced to that by area.

    Raises:
        UserError: smaller than 64 pixels, where letters are not legible.
    """
    from scipy import ndimage

    pixels = _reduced(image)
    smooth = ndimage.median_filter(pixels, size=(3, 3, 1)).astype(np.float32)
    highest, lowest = smooth.max(2), smooth.min(2)
    chroma, tone = highest - lowest, smooth.mean(2)
    rim = np.concatenate([smooth[0], smooth[-1], smooth[1:-1, 0], smooth[1:-1, -1]])
    ground = np.median(rim, axis=0)
    own = int(nearest_hue(ground[None, None])[0, 0]) if np.ptp(ground) > _CHROMA else -1
    hues = np.where(chroma > _CHROMA, nearest_hue(smooth), -1)
    hues = settled(np.where((hues == own) & (np.abs(smooth - ground).max(2) <= _CONTRAST), -1, hues))
    nearest: Background = sorted(BACKGROUNDS, key=lambda name: abs(TONES[name] - ground.mean()))[0]
    patches = [
        make_patch(sharp, hue, hues, smooth)
        for hue in range(len(COLOURS))
        for sharp in rejoined(
            (
                sharp
                for part in parts(ndimage.binary_opening(hues == hue, np.ones((3, 3))))
                if hue != own or not _reaches_rim(part)  # A tinged ground that is darker at one side is no thing.
                for sharp in sharpened(part, chroma)
            ),
            smooth,
        )
    ]
    patches = without_stains(patches, smooth)
    things = [
        _thing(patch, COLOURS[patch.hue])
        for patch in patches
        if not any(is_seen_through(patch, other) for other in patches if other is not patch)
    ]
    sign, plate = None, np.zeros((SIDE, SIDE), np.bool_)
    grey = parts((hues == -1) & (np.abs(tone - ground.mean()) > _CONTRAST))
    for part in sorted(grey, key=lambda part: -int(part.sum())):
        whole = ndimage.binary_fill_holes(ndimage.binary_opening(part, np.ones((3, 3))))  # A thin rim is no thing.
        if whole.sum() < SPECK or (whole & plate).sum() > 0.5 * whole.sum():
            continue  # The second: a letter, or what it encloses.
        if sign is None and _is_plate(whole):
            left, top, right, bottom = box = _box(whole)
            word = read_word(pixels.mean(2), round(left * _PER_CELL), round(top * _PER_CELL))
            sign = SeenSign(word, (left + right) / 2, (top + bottom) / 2, box)
            plate[
                round(top * _PER_CELL) : round(bottom * _PER_CELL), round(left * _PER_CELL) : round(right * _PER_CELL)
            ] = True
        else:
            things.append(_thing(make_patch(whole, -1, hues, smooth), None))
    return Seen(tuple(things), nearest if own < 0 else None, sign)


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    height, width = image.shape[:2]
    if min(height, width) < SIDE:
        raise UserError(f"a picture of the shapes world is read at {SIDE}x{SIDE} or more; this one is {width}x{height}")
    if (height, width) == (SIDE, SIDE):
        return image
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX))


def _thing(patch: Patch, colour: Colour | None) -> SeenThing:
    whole = patch.whole
    area = float(whole.sum())
    silhouette = Silhouette(whole, patch.texture, patch.hollow, bool(patch.holes.sum() > 0.04 * area))
    shape = name_shape(silhouette) or ("triangle" if is_stepped(silhouette) else None)
    if silhouette.pierced and shape != "ring":
        shape = None
    rows, columns = np.nonzero(whole)
    size: Size = "large" if width_of(shape, area / _PER_CELL**2) > _LARGE else "small"
    middle = float(columns.mean() + 0.5) / _PER_CELL, float(rows.mean() + 0.5) / _PER_CELL
    return SeenThing(shape, colour, size, silhouette, *middle, _box(whole))


def _reaches_rim(part: Mask) -> bool:
    return bool(part[[0, -1]].any() or part[:, [0, -1]].any())


def _box(mask: Mask) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask)
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return float(left) / _PER_CELL, float(top) / _PER_CELL, float(right) / _PER_CELL, float(bottom) / _PER_CELL


def _is_plate(whole: Mask) -> bool:
    left, top, right, bottom = _box(whole)
    width, height = right - left, bottom - top
    return width >= 10 and 5 <= height <= 9 and bool(whole.sum() > 0.8 * width * height * _PER_CELL**2)
