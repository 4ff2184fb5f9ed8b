"""Reads a picture back without knowing what was asked: things by colour and silhouette, a sign and its word, the background.

All lengths are in cells of a sixteenth of the picture; masks are ``(64, 64)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.shapes.layout import PALETTE, TONES
from drawbench.shapes.lettering import read_word
from drawbench.shapes.scene import BACKGROUNDS, COLOURS, Background, Colour, Shape, Size, Texture
from drawbench.shapes.silhouette import name_shape, width_of

Mask = NDArray[np.bool_]

SIDE = 64
_PER_CELL = SIDE / 16
_CHROMA = 32
"""Highest minus lowest channel: below this a pixel has no colour. Backgrounds have 4, the palest dark stripe 58."""
_CONTRAST = 44
"""Grey steps from the background: below this a pixel without colour belongs to it. Tones lie 80 apart."""
_EDGE = 0.38
"""Of a thing's own chroma: below this a pixel is its soft edge. Its dark stripes have 0.47."""
_SPECK = 50
"""Pixels: less than this is no thing. The smallest triangle has 180."""
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
    texture: Texture
    mask: Mask
    """Its silhouette, holes filled."""
    x: float
    y: float
    box: tuple[float, float, float, float]
    """Left, top, right, bottom."""


class SeenSign(NamedTuple):
    """A plate."""

    word: str | None
    """None: nothing legible."""
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
    hues = np.where(chroma > _CHROMA, _nearest_hue(smooth), -1)
    own = int(_nearest_hue(ground[None, None])[0, 0]) if np.ptp(ground) > _CHROMA else -1
    background = None if own >= 0 else min(BACKGROUNDS, key=lambda name: abs(TONES[name] - ground.mean()))
    patches = [
        _patch(sharp, hue, hues, smooth)
        for hue in range(len(COLOURS))
        if hue != own
        for part in _parts(ndimage.binary_opening(hues == hue, np.ones((3, 3))))
        for sharp in _sharpened(part, chroma)
    ]
    things = [
        _thing(patch, COLOURS[patch.hue])
        for patch in patches
        if not any(_is_seen_through(patch, other) for other in patches if other is not patch)
    ]
    sign, plate = None, np.zeros((SIDE, SIDE), np.bool_)
    grey = _parts((hues == -1) & (np.abs(tone - ground.mean()) > _CONTRAST))
    for part in sorted(grey, key=lambda part: -int(part.sum())):
        whole = ndimage.binary_opening(ndimage.binary_fill_holes(part), np.ones((3, 3)))
        if whole.sum() < _SPECK or (whole & plate).sum() > 0.5 * whole.sum():
            continue  # The second: a letter, or what it encloses.
        if sign is None and _is_plate(whole):
            left, top, right, bottom = box = _box(whole)
            word = read_word(pixels.mean(2), round(left * _PER_CELL), round(top * _PER_CELL))
            sign = SeenSign(word, (left + right) / 2, (top + bottom) / 2, box)
            plate[round(top * _PER_CELL) : round(bottom * _PER_CELL), round(left * _PER_CELL) : round(right * _PER_CELL)] = True
        else:
            things.append(_thing(_patch(whole, -1, hues, smooth), None))
    return Seen(tuple(things), background, sign)


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    height, width = image.shape[:2]
    if min(height, width) < SIDE:
        raise UserError(f"a picture of the shapes world is read at {SIDE}x{SIDE} or more; this one is {width}x{height}")
    if (height, width) == (SIDE, SIDE):
        return image
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX))


def _nearest_hue(colours: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns the number in `COLOURS` of the hue that is nearest on the colour circle."""
    angle = _hue_angle(colours)[..., None] - _hue_angle(np.array([PALETTE[name] for name in COLOURS], np.float32))
    nearest: NDArray[np.int64] = np.abs((angle + np.pi) % (2 * np.pi) - np.pi).argmin(-1)
    return nearest


def _hue_angle(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the angle that colour monitors call hue: six sectors of the hexagon, red at 0."""
    red, green, blue = colours[..., 0], colours[..., 1], colours[..., 2]
    high = colours.max(-1)
    span = np.maximum(high - colours.min(-1), 1e-6)
    sector = np.where(
        high == red, (green - blue) / span, np.where(high == green, 2 + (blue - red) / span, 4 + (red - green) / span)
    )
    return (sector % 6 * (np.pi / 3)).astype(np.float32)


def _parts(mask: Mask) -> Iterator[Mask]:
    """Yields what hangs together in a mask, specks left out."""
    from scipy import ndimage

    numbers, count = ndimage.label(mask)
    for number in range(1, count + 1):
        part = numbers == number
        if part.sum() >= _SPECK:
            yield part


def _sharpened(part: Mask, chroma: NDArray[np.float32]) -> Iterator[Mask]:
    """Yields a thing without its soft edge; two things that only their soft edges joined come apart."""
    own = np.percentile(chroma[part], 75)
    return _parts(part & (chroma > _EDGE * own))


class _Patch(NamedTuple):
    """What hangs together in one colour."""

    part: Mask
    whole: Mask
    """Holes filled."""
    hue: int
    texture: Texture
    holes: Mask
    """Where it is seen through: what surrounds it shows, and not only as a thin edge."""
    hollow: bool
    """In its middle is a hole, however tinged with its colour."""
    around: int
    """The hue of what surrounds it, -1 for none."""


def _patch(part: Mask, hue: int, hues: NDArray[np.int64], smooth: NDArray[np.float32]) -> _Patch:
    from scipy import ndimage

    texture = _texture(part, smooth.max(2))
    whole = ndimage.binary_fill_holes(part)
    near = ndimage.binary_dilation(whole, iterations=4) & ~ndimage.binary_dilation(whole, iterations=2)
    around = int(np.bincount(hues[near] + 1, minlength=1).argmax()) - 1
    holes = ndimage.binary_opening(whole & ~part & (hues == around), np.ones((5, 5)))
    paint = _paint_share(smooth, np.median(smooth[near], axis=0), np.median(smooth[part], axis=0))
    hollow = _is_hollow(whole, paint < 0.5, np.isin(hues, (hue, around, -1)))
    if texture == "plain":  # Of a pattern, the dark part may be nearer to a dark background than to its paint.
        core = max(_parts(part & (paint > 0.45)), key=lambda core: int(core.sum()), default=part)
        part, whole = core, ndimage.binary_fill_holes(core)
    return _Patch(part, whole, hue, texture, holes, hollow, around)


def _paint_share(
    smooth: NDArray[np.float32], ground: NDArray[np.float32], paint: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Returns how far each pixel is on the way from the ground's colour, 0, to the paint's, 1."""
    way = paint - ground
    share: NDArray[np.float32] = (smooth - ground) @ way / max(float(way @ way), 1.0)
    return share


def _is_hollow(whole: Mask, faint: Mask, empty: Mask) -> bool:
    """Says whether a faint place lies in the middle of a silhouette, reaches no edge of it, and holds no other thing."""
    from scipy import ndimage

    numbers, count = ndimage.label(ndimage.binary_opening(whole & faint, np.ones((3, 3))))
    edge = whole & ~ndimage.binary_erosion(whole, iterations=2)
    area = int(whole.sum())
    middle = np.array(ndimage.center_of_mass(whole))
    for number in range(1, count + 1):
        place = numbers == number
        off = np.linalg.norm(np.array(ndimage.center_of_mass(place)) - middle)
        if place.sum() > 0.08 * area and not (place & edge).any() and off < 0.12 * area**0.5 and empty[place].mean() > 0.7:
            return True
    return False


def _is_seen_through(patch: _Patch, other: _Patch) -> bool:
    """Says whether a patch is no thing but what surrounds another thing, seen through its hole."""
    return patch.hue == other.around and bool((patch.part & other.holes).sum() > 0.5 * patch.part.sum())


def _thing(patch: _Patch, colour: Colour | None) -> SeenThing:
    whole = patch.whole
    area = float(whole.sum())
    shape = name_shape(whole)
    if shape == "circle" and (patch.hollow or patch.holes.sum() > 0.04 * area):
        shape = "ring"
    elif patch.holes.sum() > 0.04 * area:
        shape = None
    rows, columns = np.nonzero(whole)
    size: Size = "large" if width_of(shape, area / _PER_CELL**2) > _LARGE else "small"
    middle = float(columns.mean() + 0.5) / _PER_CELL, float(rows.mean() + 0.5) / _PER_CELL
    return SeenThing(shape, colour, size, patch.texture, whole, *middle, _box(whole))


def _box(mask: Mask) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask)
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return float(left) / _PER_CELL, float(top) / _PER_CELL, float(right) / _PER_CELL, float(bottom) / _PER_CELL


def _is_plate(whole: Mask) -> bool:
    left, top, right, bottom = _box(whole)
    width, height = right - left, bottom - top
    return width >= 10 and 5 <= height <= 9 and bool(whole.sum() > 0.8 * width * height * _PER_CELL**2)


def _texture(part: Mask, brightness: NDArray[np.float32]) -> Texture:
    """Tells flat paint from a pattern by its dark share, and stripes from dots by how much of it whole rows explain."""
    from scipy import ndimage

    inner = ndimage.binary_erosion(part, iterations=2)
    values = brightness[inner]
    if len(values) < 40:
        return "plain"
    bright = np.percentile(values, 90)
    if (values < 0.76 * bright).mean() < 0.12:
        return "plain"
    explained = max(_explained(values, where) for where in np.nonzero(inner))
    return "striped" if explained > 0.6 * float(values.var()) else "dotted"


def _explained(values: NDArray[np.float32], line: NDArray[np.int64]) -> float:
    """Returns the variance of the lines' means, weighted by their lengths."""
    count = np.bincount(line)
    means = np.bincount(line, values)[count > 0] / count[count > 0]
    return float(np.average((means - values.mean()) ** 2, weights=count[count > 0]))


def reading_protocol() -> str:
    """Returns what moves a reading, in one line."""
    return (
        f"reduced to {SIDE} by area (Pillow BOX), 3x3 median, chroma {_CHROMA}, contrast {_CONTRAST}, edge {_EDGE}, "
        f"speck {_SPECK}, large {_LARGE}"
    )
