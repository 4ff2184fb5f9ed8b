"""Which shape a silhouette is: the best of templates that are stretched to its box."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from drawbench.shapes.layout import DrawnThing, cosine_sine
from drawbench.shapes.placing import TRIANGLE_HEIGHT
from drawbench.shapes.renderer import coverage
from drawbench.shapes.scene import Shape, Thing

_SIDE = 24
_ANGLES = (-12, -6, 0, 6, 12)
_LIKE = 0.72
"""Shared area in joint area: below this a silhouette is like no shape."""
_TURNED = (33, 45, 57)
"""Degrees at which a square is a diamond and a cross an X, which are none of the shapes."""
_SOLID: tuple[Shape, ...] = ("circle", "square", "triangle", "cross")
_AREA: Mapping[Shape, float] = {
    "circle": 0.785,
    "ring": 0.785,
    "square": 1.0,
    "triangle": TRIANGLE_HEIGHT / 2,
    "cross": 0.59,
}
"""Of a silhouette whose shape has width 1."""


def name_shape(whole: NDArray[np.bool_]) -> Shape | None:
    """Returns the shape of a silhouette with holes filled (a ring's is a circle), or None where it is like none."""
    rows, columns = np.nonzero(whole)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    if not 0.68 < width / height < 1.48:
        return None
    cut = whole[rows.min() : rows.min() + height, columns.min() : columns.min() + width]
    found = _stretched(cut.astype(np.float32))
    alike = {shape: _likeness(found, shape) for shape in _SOLID}
    best = max(_SOLID, key=lambda shape: alike[shape])
    other = max(_likeness(found, shape, _TURNED) for shape in ("square", "cross"))
    return best if alike[best] >= _LIKE and alike[best] > other else None


def width_of(shape: Shape | None, area: float) -> float:
    """Returns the width of a shape that covers an area, holes filled."""
    return float((area / (_AREA[shape] if shape else 0.785)) ** 0.5)


def _likeness(found: NDArray[np.float32], shape: Shape, angles: tuple[int, ...] = _ANGLES) -> float:
    return max(
        float(np.minimum(found, template).sum() / np.maximum(found, template).sum())
        for template in _templates(shape, angles)
    )


@lru_cache(maxsize=8)
def _templates(shape: Shape, angles: tuple[int, ...]) -> list[NDArray[np.float32]]:
    places = ((np.arange(96) + 0.5) / 96 * 2 - 1).astype(np.float32)
    templates = []
    for angle in angles:
        cosine, sine = (np.float32(value) for value in cosine_sine(angle))
        x, y = places[None, :], places[:, None]
        thing = DrawnThing(Thing(shape), 0, 0, 1, angle, (0, 0, 0), 0)
        drawn = coverage(shape, cosine * x + sine * y, cosine * y - sine * x, thing, 48)
        rows, columns = np.nonzero(drawn > 0.5)
        templates.append(_stretched(drawn[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]))
    return templates


def _stretched(cut: NDArray[np.float32]) -> NDArray[np.float32]:
    from PIL import Image

    return np.asarray(Image.fromarray(cut).resize((_SIDE, _SIDE), Image.Resampling.BOX))
