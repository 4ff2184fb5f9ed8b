"""From a scene to a drawn scene: what the caption leaves open is chosen, and everything gets its place, size and tint.

Lengths are in cells: a picture is 16 cells wide, whatever its size in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from drawbench.shapes.placing import CELLS, MARGIN, Spot, alone, between, extent, pair, quarters
from drawbench.shapes.scene import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_COLOURS,
    SHAPES,
    SIGN,
    Background,
    Colour,
    Scene,
    Thing,
)

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


def arrange(scene: Scene, rng: Random) -> DrawnScene:
    """Returns one of the many pictures of a scene; what is left open is never a combination that is held out of training."""
    background = rng.choice(BACKGROUNDS) if scene.background is None else scene.background
    things = _fill(scene.things, rng)
    sign: DrawnSign | None = None
    spots: list[Spot] = []
    if scene.word is not None:
        sign, spots = _beside_sign(scene, scene.word, background, rng)
    elif len(things) == 1:
        spots = [alone(things[0], rng)]
    elif len(things) == 2:
        spots = pair(things, scene.relations, rng)
    elif things:
        spots = quarters(things, scene.relations, rng)
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


def _drawn(thing: Thing, spot: Spot, hole: float, rng: Random) -> DrawnThing:
    colour = PALETTE[thing.colour or "red"]
    red, green, blue = (value + rng.randint(-_TINT, _TINT) for value in colour)
    angle = round((2 * rng.random() - 1) * spot.turn, 3)
    return DrawnThing(thing, spot.x, spot.y, spot.width, angle, (red, green, blue), rng.random(), hole)


def _beside_sign(scene: Scene, word: str, background: Background, rng: Random) -> tuple[DrawnSign, list[Spot]]:
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
    width = between(rng, 5.0, 5.4)
    reach = extent(replace(thing, shape=thing.shape or "square"), width) + MARGIN
    x, y = between(rng, reach, CELLS - reach), between(rng, reach, 8.0 - 0.5 - (reach - MARGIN))
    above = over == "above"
    sign = DrawnSign(word, column, 8 if above else 1, plate, letters)
    return sign, [Spot(x, y if above else CELLS - y, width)]


def cosine_sine(angle: float) -> tuple[float, float]:
    """Returns both to the millionth, so that no machine's last bit moves a pixel."""
    return round(math.cos(math.radians(angle)), 6), round(math.sin(math.radians(angle)), 6)
