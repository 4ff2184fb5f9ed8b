"""From a scene to a drawn scene: what the caption leaves open is chosen, and everything gets its place, size and tint.

Lengths are in cells: a picture is 16 cells wide, whatever its size in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from random import Random
from typing import NamedTuple

from drawbench.shapes.scene import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_COLOURS,
    SHAPES,
    SIGN,
    Background,
    Colour,
    Place,
    Relation,
    Scene,
    Shape,
    Thing,
)

CELLS = 16
SIGN_WIDTH, SIGN_HEIGHT = 13, 7
"""In cells: three letters with gaps, and a rim of one cell."""

PALETTE: Mapping[Colour, tuple[int, int, int]] = {
    "red": (214, 44, 44),
    "green": (44, 172, 60),
    "blue": (48, 84, 216),
    "yellow": (220, 204, 44),
    "purple": (160, 56, 196),
    "cyan": (52, 196, 212),
}
"""8-bit values that stay in 26 to 229 with every tint: 0.8 of a model's range, so that saturation is a fault of sampling."""
TONES: Mapping[Background, int] = {"dark": 46, "grey": 128, "light": 208}

_TINT = 8
_MARGIN = 0.4
_TURN = 5.0
_EXTENT: Mapping[Shape, float] = {"circle": 0.5, "ring": 0.5, "square": 0.542, "cross": 0.514, "triangle": 0.535}
"""Half of the width that a shape of width 1 may take up when it is turned."""
TRIANGLE_HEIGHT = 0.9
"""Of its width."""


@dataclass(frozen=True, slots=True)
class DrawnThing:
    """A thing with nothing left open."""

    thing: Thing
    """Its shape, colour and texture are set; its size only where the caption gives it."""
    x: float
    y: float
    width: float
    angle: float
    """Degrees."""
    rgb: tuple[int, int, int]
    phase: float
    """Where its pattern begins, 0 to 1."""
    hole: float = 0.55
    """Of a ring: the hole's width in the ring's."""


class DrawnSign(NamedTuple):
    """A plate of `SIGN_WIDTH` x `SIGN_HEIGHT` whole cells with a word in the middle; tones are grey values."""

    word: str
    column: int
    row: int
    plate: int
    letters: int


@dataclass(frozen=True, slots=True)
class DrawnScene:
    """A picture in every detail but its size."""

    things: tuple[DrawnThing, ...]
    """In the scene's order; those that hold others are painted first."""
    background: tuple[int, int, int]
    sign: DrawnSign | None = None


class _Spot(NamedTuple):
    x: float
    y: float
    width: float
    turn: float = _TURN


def arrange(scene: Scene, rng: Random) -> DrawnScene:
    """Returns one of the many pictures of a scene; what is left open is never a combination that is held out of training."""
    background = scene.background or rng.choice(BACKGROUNDS)
    things = _fill(scene.things, rng)
    sign, spots = None, []
    if scene.word is not None:
        sign, spots = _beside_sign(scene, scene.word, background, rng)
    elif len(things) == 1:
        spots = [_alone(things[0], rng)]
    elif len(things) == 2:
        spots = _pair(things, scene.relations, rng)
    elif things:
        spots = _quarters(things, scene.relations, rng)
    hole = 0.7 if any(relation.place == "inside" for relation in scene.relations) else 0.55
    tone = TONES[background] + rng.randint(-_TINT, _TINT)
    return DrawnScene(
        tuple(_drawn(thing, spot, hole, rng) for thing, spot in zip(things, spots, strict=True)),
        (tone + rng.randint(-2, 2), tone + rng.randint(-2, 2), tone + rng.randint(-2, 2)),
        sign,
    )


def _fill(things: Sequence[Thing], rng: Random) -> list[Thing]:
    """Sets shape, colour and texture of every thing: like ones alike, unlike ones in different colours."""
    filled: dict[Thing, Thing] = {}
    for thing in things:
        if thing in filled:
            continue
        used = {other.colour for other in (*things, *filled.values())}
        shape = thing.shape or rng.choice([s for s in SHAPES if (s, thing.colour) not in HELD_OUT_COLOURS])
        free = [colour for colour in COLOURS if colour not in used and (shape, colour) not in HELD_OUT_COLOURS]
        filled[thing] = Thing(shape, thing.colour or rng.choice(free), thing.size, thing.texture or "plain")
    return [filled[thing] for thing in things]


def _drawn(thing: Thing, spot: _Spot, hole: float, rng: Random) -> DrawnThing:
    colour = PALETTE[thing.colour or "red"]
    red, green, blue = (value + rng.randint(-_TINT, _TINT) for value in colour)
    angle = round((2 * rng.random() - 1) * spot.turn, 3)
    return DrawnThing(thing, spot.x, spot.y, spot.width, angle, (red, green, blue), rng.random(), hole)


def _between(rng: Random, low: float, high: float) -> float:
    """Returns a number to the thousandth, so that its digits do not hang on a machine's last bit."""
    return round(low + (high - low) * rng.random(), 3)


def _extent(thing: Thing, width: float) -> float:
    return _EXTENT[thing.shape or "square"] * width


def _alone(thing: Thing, rng: Random) -> _Spot:
    patterned = thing.texture in ("striped", "dotted")
    low, high = {"small": (5.0, 5.6), "large": (7.6, 10.0)}.get(thing.size or "", (7.0 if patterned else 5.0, 10.0))
    width = _between(rng, low, high)
    reach = _extent(thing, width) + _MARGIN
    return _Spot(_between(rng, reach, CELLS - reach), _between(rng, reach, CELLS - reach), width)


def _width_in_pair(thing: Thing, other: Thing, rng: Random) -> float:
    if thing.size == "large":
        return _between(rng, 7.5, 7.9)
    if thing.size == "small" or other.size == "large":
        return _between(rng, 5.0, 5.4)
    return _between(rng, *((6.2, 6.5) if thing.texture in ("striped", "dotted") else (5.0, 6.3)))


def _pair(things: Sequence[Thing], relations: Sequence[Relation], rng: Random) -> list[_Spot]:
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


def _inside(one: Thing, two: Thing, rng: Random) -> tuple[_Spot, _Spot]:
    outer = _between(rng, *((12.4, 13.2) if two.shape == "ring" else (10.5, 13.0)))
    reach = _extent(two, outer) + _MARGIN
    x, y = _between(rng, reach, CELLS - reach), _between(rng, reach, CELLS - reach)
    slack = 0.2 if two.shape == "ring" else 0.8
    inner = _Spot(x + _between(rng, -slack, slack), y + _between(rng, -slack, slack), _between(rng, 5.0, 5.3))
    return inner, _Spot(x, y, outer)


def _stacked(one: Thing, two: Thing, rng: Random) -> tuple[_Spot, _Spot]:
    upper, lower = _width_in_pair(one, two, rng), _width_in_pair(two, one, rng)
    high, low = (
        width * (TRIANGLE_HEIGHT if thing.shape == "triangle" else 1.0) / 2
        for thing, width in ((one, upper), (two, lower))
    )
    total = 2 * (high + low)
    top = _between(rng, _MARGIN, CELLS - _MARGIN - total)
    reach = max(_extent(one, upper), _extent(two, lower)) + _MARGIN + 0.6
    x = _between(rng, reach, CELLS - reach)
    above = _Spot(x + _between(rng, -0.6, 0.6), top + high, upper, 1.5)
    return above, _Spot(x, top + 2 * high + low - 0.1, lower, 1.5)


def _apart(one: Thing, two: Thing, place: Place, askew: float, rng: Random) -> tuple[_Spot, _Spot]:
    """Returns places at one cell's distance or more along the axis of ``place``, and ``askew`` or less across it."""
    turned = place in ("right of", "below")
    before, after = (two, one) if turned else (one, two)
    widths = _width_in_pair(before, after, rng), _width_in_pair(after, before, rng)
    reach = _extent(before, widths[0]), _extent(after, widths[1])
    free = CELLS - 2 * (reach[0] + reach[1]) - 1.0 - 2 * _MARGIN
    cuts = sorted((_between(rng, 0, max(free, 0)), _between(rng, 0, max(free, 0))))
    margin = _MARGIN + min(free, 0) / 2
    along = margin + cuts[0] + reach[0], margin + cuts[1] + 2 * reach[0] + 1.0 + reach[1]
    edge = reach[0] + _MARGIN, reach[1] + _MARGIN
    middle = _between(rng, max(edge), CELLS - max(edge))
    across = [
        min(max(middle + _between(rng, -askew / 2, askew / 2), least), CELLS - least) for least in (edge[0], edge[1])
    ]
    spots = [
        _Spot(a, b, width) if place in ("left of", "right of") else _Spot(b, a, width)
        for a, b, width in zip(along, across, widths, strict=True)
    ]
    return (spots[1], spots[0]) if turned else (spots[0], spots[1])


_QUARTERS = ((0, 0), (1, 0), (0, 1), (1, 1))
_STEP: Mapping[Place, tuple[int, int]] = {"left of": (1, 0), "right of": (-1, 0), "above": (0, 1), "below": (0, -1)}


def _quarters(things: Sequence[Thing], relations: Sequence[Relation], rng: Random) -> list[_Spot]:
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
        x, y = 4 + 8 * column + _between(rng, -0.45, 0.45), 4 + 8 * row + _between(rng, -0.45, 0.45)
        spots.append(_Spot(x, y, _between(rng, 5.0, 5.4)))
    return spots


def _beside_sign(scene: Scene, word: str, background: Background, rng: Random) -> tuple[DrawnSign, list[_Spot]]:
    bright = {"dark": True, "light": False}.get(background, rng.random() < 0.5)
    tones = [216 + rng.randint(-_TINT, _TINT), 38 + rng.randint(-_TINT, _TINT)]
    plate, letters = tones if bright else tones[::-1]
    column = rng.randint(1, 2)
    if not scene.things:
        return DrawnSign(word, column, rng.randint(1, 8), plate, letters), []
    thing = scene.things[0]
    over = scene.relations[0].place if scene.relations else rng.choice(("above", "below"))
    if len(scene.things) > 1 or any(r.first != 0 or r.second != SIGN for r in scene.relations):
        raise ValueError("beside a sign there is room for one thing, placed by its relation to the sign")
    width = _between(rng, 5.0, 5.4)
    reach = _extent(replace(thing, shape=thing.shape or "square"), width) + _MARGIN
    x, y = _between(rng, reach, CELLS - reach), _between(rng, reach, 8.0 - 0.5 - (reach - _MARGIN))
    above = over == "above"
    sign = DrawnSign(word, column, 8 if above else 1, plate, letters)
    return sign, [_Spot(x, y if above else CELLS - y, width)]


def cosine_sine(angle: float) -> tuple[float, float]:
    """Returns both to the millionth, so that no machine's last bit moves a pixel."""
    return round(math.cos(math.radians(angle)), 6), round(math.sin(math.radians(angle)), 6)
