"""Which shape a silhouette is, as people name it: by its proportions and the waves of its rim.

A sharp shape could be told by templates. What a network draws has round corners, bent sides and lumps, and where a circle ends
and a lump begins is a matter of what people call one. So the weights, in ``silhouette.json``, are fitted to what was said of
drawn things (``weights/silhouette.py``): a multinomial logistic regression, with "none of the five" as the sixth answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.shapes.placing import TRIANGLE_HEIGHT
from drawbench.shapes.scene import SHAPES, Shape, Texture
from drawbench.shapes.shipped import shipped

if TYPE_CHECKING:
    from scipy.spatial import ConvexHull

WEIGHTS = shipped("silhouette") / "silhouette.json"
NONE = "none"
"""The name of what is like none of the shapes."""
NAMES = (*SHAPES, NONE)

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
_RAYS = 32
"""Directions in which the rim is looked for."""
_STEP = 0.05
"""Between two places on a ray, in radii."""


class Silhouette(NamedTuple):
    """What a thing's shape is told from."""

    whole: NDArray[np.bool_]
    """Holes filled."""
    texture: Texture
    hollow: bool
    """Its middle is fainter than its band."""
    pierced: bool
    """Its surroundings show through it."""


def name_shape(seen: Silhouette) -> Shape | None:
    """Returns the shape that people would name, or None where they would name none of the five."""
    rows, columns = np.nonzero(seen.whole)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    if min(height, width) < _SMALLEST or not 0.68 < width / height < 1.48:
        return None
    weights = _weights()
    described = describe(seen)
    features = np.array([described[name] for name in weights.features])
    scores = weights.bias + weights.slope @ ((features - weights.mean) / weights.scale)
    best = int(scores.argmax())
    return None if NAMES[best] == NONE else SHAPES[best]


class _Weights(NamedTuple):
    features: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    slope: NDArray[np.float64]
    """``(names, features)``."""
    bias: NDArray[np.float64]


@cache
def _weights() -> _Weights:
    stored = json.loads(WEIGHTS.read_text("utf-8"))
    features = tuple(stored["mean"])
    mean, scale = (np.array([stored[kind][feature] for feature in features]) for kind in ("mean", "scale"))
    slope = np.array([[stored["slope"][name][feature] for feature in features] for name in NAMES])
    return _Weights(features, mean, scale, slope, np.array([stored["bias"][name] for name in NAMES]))


def describe(seen: Silhouette) -> dict[str, float]:
    """Returns what the regression weighs, by name."""
    rows, columns = np.nonzero(seen.whole)
    cut = seen.whole[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    flags = {
        "hollow": seen.hollow,
        "pierced": seen.pierced,
        "striped": seen.texture == "striped",
        "dotted": seen.texture == "dotted",
    }
    return _proportions(cut) | _waves(cut) | {name: float(flag) for name, flag in flags.items()}


def is_stepped(seen: Silhouette) -> bool:
    """Says whether a silhouette is a triangle whose flanks its dark stripes cut into steps: its convex hull is one."""
    if seen.texture != "striped":
        return False
    hull = _hull(seen.whole)
    y, x = np.indices(seen.whole.shape)
    middles = np.stack([y.ravel() + 0.5, x.ravel() + 0.5])
    inside = np.all(hull.equations[:, :2] @ middles + hull.equations[:, 2:] <= 0, axis=0).reshape(seen.whole.shape)
    return seen.whole.sum() > 0.65 * hull.volume and name_shape(seen._replace(whole=inside)) == "triangle"


def _hull(mask: NDArray[np.bool_]) -> ConvexHull:
    """Returns the convex hull of the corners of a mask's pixels."""
    from scipy.spatial import ConvexHull

    pixels = np.argwhere(mask)
    return ConvexHull(np.concatenate([pixels + corner for corner in ((0, 0), (0, 1), (1, 0), (1, 1))]))


def _proportions(cut: NDArray[np.bool_]) -> dict[str, float]:
    """Returns shares of a silhouette in its box."""
    height, width = cut.shape
    quarter, side = (max(1, height // 4), max(1, width // 4)), (max(1, height // 5), max(1, width // 5))
    ends = [
        float(end.mean())
        for end in (cut[: quarter[0]], cut[-quarter[0] :], cut[:, : quarter[1]], cut[:, -quarter[1] :])
    ]
    corners = [
        rim[:, part].mean()
        for rim in (cut[: side[0]], cut[-side[0] :])
        for part in (slice(side[1]), slice(-side[1], None))
    ]
    y, x = ((np.arange(length) + 0.5) / length * 2 - 1 for length in (height, width))
    ellipse = x[None, :] ** 2 + y[:, None] ** 2 <= 1
    return {
        "share of its box": float(cut.mean()),
        "share of its hull": float(cut.sum() / _hull(cut).volume),
        "height of its middle": float((np.nonzero(cut)[0].mean() + 0.5) / height - 0.5),
        "top quarter": ends[0],
        "bottom quarter": ends[1],
        "left quarter": ends[2],
        "right quarter": ends[3],
        "fullest quarter": max(ends),
        "emptiest quarter": min(ends),
        "corners": float(np.mean(corners)),
        "overlap with an ellipse": float((cut & ellipse).sum() / (cut | ellipse).sum()),
        "lankiness": abs(float(np.log(width / height))),
    }


def _waves(cut: NDArray[np.bool_]) -> dict[str, float]:
    """Returns the Fourier series of the rim's distance from the middle, in radii of a circle of that area, from the top on.

    A wave's strength says how far the rim swings so many times in a round; its part that swings at the top tells a square's
    fourth wave, whose corners lie between, from a cross's.
    """
    rim, radius = _rim(cut)
    turn = np.exp(-0.5j * np.pi * np.arange(_RAYS // 2 + 1))  # Row numbers grow downwards: the top is at -90 degrees.
    waves = np.fft.rfft(rim) * 2 / _RAYS * turn
    strength = np.abs(waves)
    lumps = float(np.sqrt((strength[3:] ** 2).sum()))
    return {
        **{f"wave {number}": float(strength[number]) for number in range(1, 9)},
        **{f"wave {number} at the top": float(waves[number].real) for number in (2, 3, 4, 6, 8)},
        **{f"wave {number} aside": float(abs(waves[number].imag)) for number in (2, 3, 4)},
        "waves from 3": lumps,
        "waves from 5": float(np.sqrt((strength[5:] ** 2).sum())),
        "waves from 9": float(np.sqrt((strength[9:] ** 2).sum())),
        "waves from 3 by size": lumps * radius**0.5,
        "wave 4 by size": float(strength[4]) * radius**0.5,
        "farthest": float(rim.max()),
        "nearest": float(rim.min()),
        "size": float(np.log(radius)),
    }


def _rim(cut: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Returns how far the rim is from the middle on every ray, in radii, and the radius in pixels."""
    from scipy import ndimage

    soft = ndimage.gaussian_filter(np.pad(cut, 4).astype(float), 0.7)
    area = soft.sum()
    row, column = (float((soft * place).sum() / area) for place in np.indices(soft.shape))
    radius = float(np.sqrt(area / np.pi))
    angles = np.arange(_RAYS) * 2 * np.pi / _RAYS
    reach = np.arange(3 * _STEP, 2.2, _STEP)
    places = [row + radius * np.outer(np.sin(angles), reach), column + radius * np.outer(np.cos(angles), reach)]
    inside = ndimage.map_coordinates(soft, places, order=1)
    first = np.where((inside <= 0.5).any(1), (inside <= 0.5).argmax(1), len(reach) - 1)
    before = np.maximum(first - 1, 0)
    ray = np.arange(_RAYS)
    drop = np.maximum(inside[ray, before] - inside[ray, first], 1e-6)
    beyond = np.clip((inside[ray, before] - 0.5) / drop, 0, 1)
    return reach[before] + _STEP * beyond * (first > 0), radius


def width_of(shape: Shape | None, area: float) -> float:
    """Returns the width of a shape that covers an area, holes filled."""
    return float((area / (_AREA[shape] if shape else 0.785)) ** 0.5)
