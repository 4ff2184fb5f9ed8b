"""Which shape a silhouette is: by how it fills its box, its corners and its convex hull.

A sharp shape could be told by templates. What a network draws has round corners, bent sides and blunt points, and people name it
all the same: by these few proportions, in which the shapes lie far apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.shapes.placing import TRIANGLE_HEIGHT
from drawbench.shapes.scene import Shape

if TYPE_CHECKING:
    from scipy.spatial import ConvexHull

_AREA: Mapping[Shape, float] = {
    "circle": 0.785,
    "ring": 0.785,
    "square": 1.0,
    "triangle": TRIANGLE_HEIGHT / 2,
    "cross": 0.59,
}
"""Of a silhouette whose shape has width 1."""
_SMALLEST = 10
"""Pixels: below, a square and a circle look alike. The smallest thing that is drawn is 18 high."""
_SECTORS = 24
"""Directions in which a rim is looked at."""


class Profile(NamedTuple):
    """The proportions of a silhouette, all as shares."""

    fill: float
    """Of its box."""
    solid: float
    """Of its convex hull."""
    low: float
    """How far its middle lies under its box's, in heights."""
    ends: tuple[float, float, float, float]
    """How much of the box's top, bottom, left and right quarter is filled."""
    corners: float
    """How much of the box's four corners, each a fifth wide and high, is filled."""
    round: float
    """What it shares with the ellipse in its box, of what either covers."""


def profile(whole: NDArray[np.bool_]) -> Profile:
    """Returns the proportions of a silhouette with holes filled, at least 5 pixels wide and high."""
    rows, columns = np.nonzero(whole)
    cut = whole[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width = cut.shape
    hull = _hull(whole).volume
    quarter, side = (max(1, height // 4), max(1, width // 4)), (max(1, height // 5), max(1, width // 5))
    ends = cut[: quarter[0]], cut[-quarter[0] :], cut[:, : quarter[1]], cut[:, -quarter[1] :]
    corners = [
        rim[:, part] for rim in (cut[: side[0]], cut[-side[0] :]) for part in (slice(side[1]), slice(-side[1], None))
    ]
    y, x = ((np.arange(length) + 0.5) / length * 2 - 1 for length in (height, width))
    ellipse = x[None, :] ** 2 + y[:, None] ** 2 <= 1
    return Profile(
        fill=float(cut.mean()),
        solid=float(cut.sum() / hull),
        low=float((rows.mean() + 0.5 - rows.min()) / height - 0.5),
        ends=tuple(float(end.mean()) for end in ends),  # type: ignore[arg-type]
        corners=float(np.mean([corner.mean() for corner in corners])),
        round=float((cut & ellipse).sum() / (cut | ellipse).sum()),
    )


def _hull(whole: NDArray[np.bool_]) -> ConvexHull:
    """Returns the convex hull of the corners of a silhouette's pixels."""
    from scipy.spatial import ConvexHull

    pixels = np.argwhere(whole)
    return ConvexHull(np.concatenate([pixels + corner for corner in ((0, 0), (0, 1), (1, 0), (1, 1))]))


def name_shape(whole: NDArray[np.bool_]) -> Shape | None:
    """Returns the shape of a silhouette with holes filled (a ring's is a circle), or None where it is like none."""
    rows, columns = np.nonzero(whole)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    if min(height, width) < _SMALLEST or not 0.68 < width / height < 1.48:
        return None
    of = profile(whole)
    top, bottom, *_ = of.ends
    if of.low > 0.05 and bottom - top > 0.25 and 0.44 < of.fill < 0.72 and of.solid > 0.77:
        return "triangle"
    if abs(of.low) < 0.06 and of.corners < 0.03 and 0.4 < of.fill < 0.66 and of.solid < 0.92 and max(of.ends) < 0.5:
        return "cross"
    if abs(of.low) > 0.05 or of.solid < (0.86 if of.corners > 0.6 else 0.9) or of.fill < 0.68:
        return None  # A square's sides may bend inwards, or be cut by its stripes: its corners tell it.
    if of.corners > 0.32:
        return "square"
    return "circle" if of.fill > 0.7 and _is_even(whole) else None


def _is_even(whole: NDArray[np.bool_]) -> bool:
    """Says whether the rim lies about as far from the middle in every direction: its standard deviation is small.

    Of 10 pixels on the mean a drawn circle has up to .3, a square 1.2 and more; of 5 a square has .6.
    """
    from scipy import ndimage

    middle = np.array(ndimage.center_of_mass(whole))
    y, x = np.stack(np.nonzero(whole & ~ndimage.binary_erosion(whole))) - middle[:, None]
    sector = ((np.arctan2(y, x) / np.pi + 1) / 2 * _SECTORS).astype(int) % _SECTORS
    reach = np.zeros(_SECTORS)
    np.maximum.at(reach, sector, np.hypot(y, x))
    reach = reach[reach > 0]  # The rim of a small thing has no pixel in some directions.
    return bool(reach.std() < 0.03 * reach.mean() + 0.32)  # Pixels: a small circle's rim is coarser.


def is_band(whole: NDArray[np.bool_]) -> bool:
    """Says whether a silhouette that has a hole in its middle is a ring: it need not be as round as a circle."""
    of = profile(whole)
    return of.round > 0.8 and of.solid > 0.88 and of.corners < 0.45


def is_stepped(whole: NDArray[np.bool_]) -> bool:
    """Says whether a striped silhouette is a triangle whose flanks its dark stripes cut into steps: its convex hull is one."""
    hull = _hull(whole)
    y, x = np.indices(whole.shape)
    middles = np.stack([y.ravel() + 0.5, x.ravel() + 0.5])
    inside = np.all(hull.equations[:, :2] @ middles + hull.equations[:, 2:] <= 0, axis=0).reshape(whole.shape)
    return whole.sum() > 0.65 * hull.volume and name_shape(inside) == "triangle"


def width_of(shape: Shape | None, area: float) -> float:
    """Returns the width of a shape that covers an area, holes filled."""
    return float((area / (_AREA[shape] if shape else 0.785)) ** 0.5)
