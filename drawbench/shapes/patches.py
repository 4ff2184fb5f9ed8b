"""What hangs together in one colour: hues of pixels, patches of one hue, their holes and patterns. Masks are ``(64, 64)``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.shapes.layout import PALETTE
from drawbench.shapes.scene import COLOURS, Texture

Mask = NDArray[np.bool_]

_EDGE = 0.38
"""Of a thing's own chroma: below this a pixel is its soft edge. Its dark stripes have 0.47."""
SPECK = 30
"""Pixels: less than this is no thing. The smallest triangle has 180."""
_STAIN = 100
"""Pixels: less than this is no thing where it lies on a larger one near in hue, or touches two larger ones, whose colours mix."""
_TINT = 180
"""Pixels: less than this is no thing where it is faint."""
_FAINT = 80
"""Highest minus lowest channel: the palette's have 128 and more, as they are drawn 112."""
_NEAR = 1.4
"""Radians on the colour circle: the palette's neighbours lie 0.7 to 1.3 apart, others 1.7 and more."""
_DIP = 0.4
"""How much fainter a ring's middle is than its band, of the way from the ground's colour to its own. Of what the shipped cascade
drew, 226 rings had .8 and more, 165 circles .28 and less; four rings that people saw and older rules did not had .54 to .96."""
_DOT_EXTENT = 8
"""Pixels: a dot is 6.2 across, and the next one begins 3.8 further on. What is longer is a line of a weave."""
_STRIPE_GAP = 4
"""Pixels: a dark stripe is no higher."""
_TAKEN = 0.7
"""Of a hole: where another thing fills more than this, it lies on the paint and not in a hole. A thing in a ring fills at most
0.54 of its hole, one on a circle at least 0.82 of what it hides."""


def nearest_hue(colours: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns the number in `COLOURS` of the hue that is nearest on the colour circle."""
    nearest: NDArray[np.int64] = _apart(_hue_angle(colours)[..., None], _palette_angles()).argmin(-1)
    return nearest


@cache
def _palette_angles() -> NDArray[np.float32]:
    return _hue_angle(np.array([PALETTE[name] for name in COLOURS], np.float32))


def _apart(angle: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the way between two angles on the colour circle, 0 to π."""
    way: NDArray[np.float32] = np.abs((angle - other + np.pi) % (2 * np.pi) - np.pi)
    return way


def _hue_angle(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the angle that colour monitors call hue: six sectors of the hexagon, red at 0."""
    red, green, blue = colours[..., 0], colours[..., 1], colours[..., 2]
    high = colours.max(-1)
    span = np.maximum(high - colours.min(-1), 1e-6)
    sector = np.where(
        high == red, (green - blue) / span, np.where(high == green, 2 + (blue - red) / span, 4 + (red - green) / span)
    )
    angle: NDArray[np.float32] = (sector % 6 * (np.pi / 3)).astype(np.float32)
    return angle


def parts(mask: Mask) -> Iterator[Mask]:
    """Yields what hangs together in a mask, specks left out."""
    from scipy import ndimage

    numbers, _ = ndimage.label(mask)
    areas = np.bincount(numbers.ravel())
    yield from (numbers == number for number in range(1, len(areas)) if areas[number] >= SPECK)


def sharpened(part: Mask, chroma: NDArray[np.float32]) -> Iterator[Mask]:
    """Yields a thing without its soft edge; two things that only their soft edges joined come apart."""
    own = np.percentile(chroma[part], 75)
    return parts(part & (chroma > _EDGE * own))


def rejoined(pieces: Iterable[Mask], smooth: NDArray[np.float32]) -> list[Mask]:
    """Returns the pieces of one hue, those made one that dark stripes part: they make a striped thing together."""
    groups: list[list[Mask]] = []
    for piece in sorted(pieces, key=lambda piece: int(np.nonzero(piece)[0].min())):
        group = next((group for group in groups if _between(group[-1], piece) is not None), None)
        if group is None:
            groups.append([piece])
        else:
            group.append(piece)
    made: list[Mask] = []
    for group in groups:
        whole = np.any(group, axis=0)
        for upper, lower in pairwise(group):
            whole[_between(upper, lower)] = True
        made.extend([whole] if len(group) > 1 and _texture(whole, smooth.max(2)) == "striped" else group)
    return made


def _between(upper: Mask, lower: Mask) -> tuple[slice, slice] | None:
    """Returns what lies between two pieces of which one is flat, where a stripe's height parts them, else None."""
    (top, first), (bottom, last) = (
        (np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))) for mask in (upper, lower)
    )
    gap = slice(int(top[-1]) + 1, int(bottom[0]))
    shared = slice(int(max(first[0], last[0])), int(min(first[-1], last[-1])) + 1)
    flat = len(last) >= 2 * len(bottom) or len(first) >= 2 * len(top)
    near = 0 < gap.stop - gap.start <= _STRIPE_GAP and shared.stop - shared.start >= 0.8 * min(len(first), len(last))
    return (gap, shared) if near and flat else None


class Patch(NamedTuple):
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


def make_patch(part: Mask, hue: int, hues: NDArray[np.int64], smooth: NDArray[np.float32]) -> Patch:
    """Returns what can be said of a patch, its soft edge taken off; ``smooth`` is the picture without noise."""
    from scipy import ndimage

    texture = _texture(part, smooth.max(2))
    whole = ndimage.binary_fill_holes(part)
    near = ndimage.binary_dilation(whole, iterations=4) & ~ndimage.binary_dilation(whole, iterations=2)
    around = int(np.bincount(hues[near] + 1, minlength=1).argmax()) - 1
    chroma = smooth.max(2) - smooth.min(2)
    faded = chroma < 0.6 * np.percentile(
        chroma[part], 75
    )  # Or nearly so: a small hole is tinged with what is around it.
    holes = ndimage.binary_opening(whole & ~part & ((hues == around) | faded), np.ones((3, 3)))
    ground = smooth[near] if near.any() else smooth.reshape(-1, 3)  # None is near what fills the picture.
    paint = _paint_share(smooth, np.median(ground, axis=0), np.median(smooth[part], axis=0))
    empty = np.isin(hues, (hue, around, -1)) | faded
    hollow = _is_hollow(whole, paint < 0.5, empty) or (texture == "plain" and _dips(whole, paint, empty))
    hidden = whole & ~part
    if (hidden & ~np.isin(hues, (hue, around, -1))).sum() > _TAKEN * hidden.sum():
        holes, hollow = np.zeros_like(holes), False
    if texture == "plain":  # Of a pattern, the dark part may be nearer to a dark background than to its paint.
        core = max(parts(part & (paint > 0.45)), key=lambda core: int(core.sum()), default=part)
        part, whole = core, ndimage.binary_fill_holes(core)
    return Patch(part, whole, hue, texture, holes, hollow, around)


def _paint_share(
    smooth: NDArray[np.float32], ground: NDArray[np.floating], paint: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Returns how far each pixel is on the way from the ground's colour, 0, to the paint's, 1."""
    way = paint - ground
    share: NDArray[np.float32] = ((smooth - ground) @ way / max(float(way @ way), 1.0)).astype(np.float32)
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
        if (
            place.sum() > 0.08 * area
            and not (place & edge).any()
            and off < 0.12 * area**0.5
            and empty[place].mean() > 0.7
        ):
            return True
    return False


def _dips(whole: Mask, paint: NDArray[np.float32], empty: Mask) -> bool:
    """Says whether a silhouette's middle, where no other thing lies, is fainter than what is around it, as a small ring's is."""
    from scipy import ndimage

    row, column = ndimage.center_of_mass(whole)
    y, x = np.indices(whole.shape)
    off = np.hypot(y - row, x - column) / (whole.sum() / np.pi) ** 0.5
    middle, band = off < 0.3, whole & (off > 0.5) & (off < 0.8)
    if not band.any() or empty[off < 0.35].mean() < 0.8:
        return False
    return bool(np.median(paint[band]) - np.median(paint[middle]) > _DIP)


def settled(hues: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the hues with each small patch that lies on a larger one near in hue given to it: one paint, unevenly tinted."""
    from scipy import ndimage

    made = hues.copy()
    apart = _apart(_palette_angles()[:, None], _palette_angles())
    for hue in range(len(COLOURS)):
        near = [int(other) for other in np.flatnonzero(apart[hue] < _NEAR) if other != hue]
        numbers, count = ndimage.label(hues == hue)
        areas = np.bincount(numbers.ravel())
        for number in range(1, count + 1):
            if areas[number] >= _STAIN:
                continue
            part = numbers == number
            around = hues[ndimage.binary_dilation(part) & ~part]
            beside = [int((around == other).sum()) for other in near]
            if max(beside) > 0.5 * len(around):
                made[part] = near[int(np.argmax(beside))]
    return made


def without_stains(patches: list[Patch], smooth: NDArray[np.float32]) -> list[Patch]:
    """Returns the patches by size, without faint tints of the ground and mixtures of two larger ones' colours."""
    kept: list[Patch] = []
    for patch in sorted(patches, key=lambda patch: -int(patch.part.sum())):
        size, colours = int(patch.part.sum()), smooth[patch.part]
        faint = size < _TINT and np.median(colours.max(1) - colours.min(1)) < _FAINT
        mixed = size < _STAIN and sum(_touch(patch, other) for other in kept) > 1
        if not faint and not mixed:
            kept.append(patch)
    return kept


def _touch(one: Patch, other: Patch) -> bool:
    """Says whether less than two pixels lie between two patches."""
    from scipy import ndimage

    return bool((ndimage.binary_dilation(one.part, iterations=2) & other.part).any())


def is_seen_through(patch: Patch, other: Patch) -> bool:
    """Says whether a patch is no thing but what surrounds another thing, seen through its hole."""
    return patch.hue == other.around and bool((patch.part & other.holes).sum() > 0.5 * patch.part.sum())


def _texture(part: Mask, brightness: NDArray[np.float32]) -> Texture:
    """Tells flat paint from a pattern by its dark share, and stripes from dots by how much of it whole rows explain.

    Stripes are at least two dark bands, dots at least three round dark places: a shade on one side is no pattern, and a
    weave no dots.
    """
    from scipy import ndimage

    inner = ndimage.binary_erosion(part, iterations=2)
    values = brightness[inner]
    if len(values) < 40:
        return "plain"
    bright = np.percentile(values, 90)
    dark = inner & (brightness < 0.76 * bright)
    if dark.sum() < 0.12 * inner.sum():
        return "plain"
    explained, line = max(((_explained(values, where), axis) for axis, where in enumerate(np.nonzero(inner))))
    if explained > 0.6 * float(values.var()):
        length = inner.sum(1 - line)
        banded = dark.sum(1 - line)[length > 0] > 0.5 * length[length > 0]
        return "striped" if (np.diff(banded.astype(int), prepend=0) == 1).sum() >= 2 else "plain"
    numbers, _ = ndimage.label(dark)
    extents = [
        max(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in ndimage.find_objects(numbers)
    ]
    areas = np.bincount(numbers.ravel())[1:]
    dots = areas[(areas >= 4) & (np.array(extents) <= _DOT_EXTENT)]
    return "dotted" if len(dots) >= 3 and dots.sum() > 0.5 * dark.sum() else "plain"


def _explained(values: NDArray[np.float32], line: NDArray[np.int64]) -> float:
    """Returns the variance of the lines' means, weighted by their lengths."""
    count = np.bincount(line)
    means = np.bincount(line, values)[count > 0] / count[count > 0]
    return float(np.average((means - values.mean()) ** 2, weights=count[count > 0]))
