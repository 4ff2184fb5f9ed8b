"""Where things stand: alone, in pairs, or in quarters of the picture, far enough apart to be counted.

Lengths are in cells: a picture is 16 cells wide, whatever its size in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from random import Random
from typing import NamedTuple

from drawbench.shapes.scene import Place, Relation, Shape, Thing

CELLS = 16
MARGIN = 0.4
_TURN = 5.0
_EXTENT: Mapping[Shape, float] = {"circle": 0.5, "ring": 0.5, "square": 0.542, "cross": 0.514, "triangle": 0.535}
"""Half of the width that a shape of width 1 may take up when it is turned."""
TRIANGLE_HEIGHT = 0.9
"""Of its width."""


class Spot(NamedTuple):
    """Where a thing stands."""

    x: float
    y: float
    width: float
    turn: float = _TURN
    """Degrees that it may be turned, either way."""


def between(rng: Random, low: float, high: float) -> float:
    """Returns a number to the thousandth, so that its digits do not hang on a machine's last bit."""
    return round(low + (high - low) * rng.random(), 3)


def extent(thing: Thing, width: float) -> float:
    """Returns half of what a thing of this width may take up, turned."""
    return _EXTENT[thing.shape or "square"] * width


def alone(thing: Thing, rng: Random) -> Spot:
    """Returns a place anywhere in the picture."""
    patterned = thing.texture in ("striped", "dotted")
    low, high = {"small": (5.0, 5.6), "large": (7.6, 10.0)}.get(thing.size or "", (7.0 if patterned else 5.0, 10.0))
    width = between(rng, low, high)
    reach = extent(thing, width) + MARGIN
    return Spot(between(rng, reach, CELLS - reach), between(rng, reach, CELLS - reach), width)


def _width_in_pair(thing: Thing, other: Thing, rng: Random) -> float:
    if thing.size == "large":
        return between(rng, 7.5, 7.9)
    if thing.size == "small" or other.size == "large":
        return between(rng, 5.0, 5.4)
    return between(rng, *((6.2, 6.5) if thing.texture in ("striped", "dotted") else (5.0, 6.3)))


def pair(things: Sequence[Thing], relations: Sequence[Relation], rng: Random) -> list[Spot]:
    """Returns two places, as a relation has it or side by side in any way."""
    place = relations[0].place if relations else rng.choice(("left of", "above", "right of", "below"))
    first, second = (relations[0].first, relations[0].second) if relations else (0, 1)
    one, two = things[first], things[second]
    if place == "inside":
        near, far = _inside(one, two, rng)
    elif place == "on top of":
        near, far = _stacked(one, two, rng)
    else:
        near, far = _apart(one, two, place, 2.0 if relations else 3.0, rng)
    return [near, far] if first == 0 else [far, near]


def _inside(one: Thing, two: Thing, rng: Random) -> tuple[Spot, Spot]:
    outer = between(rng, *((12.4, 13.2) if two.shape == "ring" else (10.5, 13.0)))
    reach = extent(two, outer) + MARGIN
    x, y = between(rng, reach, CELLS - reach), between(rng, reach, CELLS - reach)
    slack = 0.2 if two.shape == "ring" else 0.8
    inner = Spot(x + between(rng, -slack, slack), y + between(rng, -slack, slack), between(rng, 5.0, 5.3))
    return inner, Spot(x, y, outer)


def _stacked(one: Thing, two: Thing, rng: Random) -> tuple[Spot, Spot]:
    upper, lower = _width_in_pair(one, two, rng), _width_in_pair(two, one, rng)
    high, low = (
        width * (TRIANGLE_HEIGHT if thing.shape == "triangle" else 1.0) / 2
        for thing, width in ((one, upper), (two, lower))
    )
    total = 2 * (high + low)
    top = between(rng, MARGIN, CELLS - MARGIN - total)
    reach = max(extent(one, upper), extent(two, lower)) + MARGIN + 0.6
    x = between(rng, reach, CELLS - reach)
    above = Spot(x + between(rng, -0.6, 0.6), top + high, upper, 1.5)
    return above, Spot(x, top + 2 * high + low - 0.1, lower, 1.5)


def _apart(one: Thing, two: Thing, place: Place, askew: float, rng: Random) -> tuple[Spot, Spot]:
    """Returns places at one cell's distance or more along the axis of ``place``, and ``askew`` or less across it."""
    turned = place in ("right of", "below")
    before, after = (two, one) if turned else (one, two)
    widths = _width_in_pair(before, after, rng), _width_in_pair(after, before, rng)
    reach = extent(before, widths[0]), extent(after, widths[1])
    free = CELLS - 2 * (reach[0] + reach[1]) - 1.0 - 2 * MARGIN
    cuts = sorted((between(rng, 0, max(free, 0)), between(rng, 0, max(free, 0))))
    margin = MARGIN + min(free, 0) / 2
    along = margin + cuts[0] + reach[0], margin + cuts[1] + 2 * reach[0] + 1.0 + reach[1]
    edge = reach[0] + MARGIN, reach[1] + MARGIN
    middle = between(rng, max(edge), CELLS - max(edge))
    across = [
        min(max(middle + between(rng, -askew / 2, askew / 2), least), CELLS - least) for least in (edge[0], edge[1])
    ]
    spots = [
        Spot(a, b, width) if place in ("left of", "right of") else Spot(b, a, width)
        for a, b, width in zip(along, across, widths, strict=True)
    ]
    return (spots[1], spots[0]) if turned else (spots[0], spots[1])


_QUARTERS = ((0, 0), (1, 0), (0, 1), (1, 1))
_STEP: Mapping[Place, tuple[int, int]] = {"left of": (1, 0), "right of": (-1, 0), "above": (0, 1), "below": (0, -1)}


def quarters(things: Sequence[Thing], relations: Sequence[Relation], rng: Random) -> list[Spot]:
    """Returns places in quarters of the picture, neighbours where a relation says so."""
    fitting = [
        quarters
        for quarters in permutations(_QUARTERS, len(things))
        if all(
            (quarters[r.second][0] - quarters[r.first][0], quarters[r.second][1] - quarters[r.first][1])
            == _STEP.get(r.place)
            for r in relations
        )
    ]
    if not fitting:
        raise ValueError(f"no picture has {len(things)} things with {relations}; four at most, in quarters")
    spots = []
    for column, row in rng.choice(fitting):
        x, y = 4 + 8 * column + between(rng, -0.45, 0.45), 4 + 8 * row + between(rng, -0.45, 0.45)
        spots.append(Spot(x, y, between(rng, 5.0, 5.4)))
    return spots
