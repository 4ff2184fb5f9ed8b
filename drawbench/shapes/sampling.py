"""Draws things and pairs of things for captions: in combinations that training shows."""

from __future__ import annotations

from random import Random
from typing import NamedTuple, TypeVar

from drawbench.shapes.phrases import BACKGROUNDS_SAID
from drawbench.shapes.scene import (
    BACKGROUNDS,
    BASES,
    COLOURS,
    CONTAINERS,
    HELD_OUT_COLOURS,
    SHAPES,
    SIDES,
    Background,
    Colour,
    Place,
    Relation,
    Scene,
    Shape,
    Thing,
)

T = TypeVar("T")


class Captioned(NamedTuple):
    """A scene and a caption that promises just that scene."""

    scene: Scene
    caption: str


def sample_thing(
    rng: Random, shape: Shape | None = None, taken: set[Colour | None] | frozenset[Colour] = frozenset()
) -> Thing:
    """Returns a coloured thing that training shows."""
    shape = shape or rng.choice(SHAPES)
    free = [colour for colour in COLOURS if colour not in taken and (shape, colour) not in HELD_OUT_COLOURS]
    return Thing(shape, rng.choice(free))


def sample_two(rng: Random) -> tuple[Thing, Thing]:
    """Returns two things of different shapes and colours."""
    one = sample_thing(rng)
    two = sample_thing(rng, rng.choice([shape for shape in SHAPES if shape != one.shape]), {one.colour})
    return one, two


def sample_placed(rng: Random, place: Place) -> Scene:
    """Returns two things of different colours, the first of which is ``place`` the second; no ring stands inside."""
    if place in SIDES:
        one, two = sample_two(rng)
    else:
        two = sample_thing(rng, rng.choice(CONTAINERS if place == "inside" else BASES))
        solid = [shape for shape in SHAPES if shape != "ring" or place != "inside"]
        one = sample_thing(rng, rng.choice(solid), {two.colour})
    return Scene((one, two), (Relation(place, 0, 1),))


def sample_background(rng: Random, share: float) -> tuple[Background | None, str]:
    """Returns a background and how it is said, or neither."""
    if rng.random() >= share:
        return None, ""
    background = rng.choice(BACKGROUNDS)
    return background, f" {rng.choice(BACKGROUNDS_SAID[background])}"


def stated(value: T | None) -> T:
    """Returns what a caption states of a thing; a ValueError where it leaves that open."""
    if value is None:
        raise ValueError("the caption leaves this open")
    return value
