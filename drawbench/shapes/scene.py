"""A scene: what a caption promises, and nothing else. What a caption leaves open is None."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

Shape = Literal["circle", "square", "triangle", "cross", "ring"]
Colour = Literal["red", "green", "blue", "yellow", "purple", "cyan"]
Size = Literal["small", "large"]
Texture = Literal["plain", "striped", "dotted"]
Background = Literal["dark", "grey", "light"]
Place = Literal["left of", "right of", "above", "below", "on top of", "inside"]

SHAPES: tuple[Shape, ...] = get_args(Shape)
COLOURS: tuple[Colour, ...] = get_args(Colour)
BACKGROUNDS: tuple[Background, ...] = get_args(Background)
SIDES: tuple[Place, ...] = ("left of", "right of", "above", "below")
TEXTURED: tuple[Shape, ...] = ("circle", "square", "triangle")
"""Shapes with room for a pattern: the arms of a cross and the band of a ring are too narrow."""
CONTAINERS: tuple[Shape, ...] = ("ring", "square", "circle")
"""Shapes that another thing can stand in."""
BASES: tuple[Shape, ...] = ("square", "circle", "cross", "ring")
"""Shapes that another thing can stand on: all but the point of a triangle."""
OPPOSITE: Mapping[Place, Place] = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

HELD_OUT_COLOURS: frozenset[tuple[str, str]] = frozenset(
    {("triangle", "blue"), ("ring", "yellow"), ("square", "purple"), ("cross", "green")}
)
"""Pairs of shape and colour that no training picture shows."""
HELD_OUT_TEXTURES: frozenset[tuple[str, str]] = frozenset({("triangle", "dotted"), ("circle", "striped")})
"""Pairs of shape and texture that no training picture shows."""

SIGN = -1
"""The sign's number in a relation."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing, as far as its caption describes it."""

    shape: Shape | None = None
    colour: Colour | None = None
    size: Size | None = None
    texture: Texture | None = None


class Relation(NamedTuple):
    """``things[first]`` is ``place`` ``things[second]``; `SIGN` is the sign."""

    place: Place
    first: int
    second: int


@dataclass(frozen=True, slots=True)
class Scene:
    """What must be seen: these things and no others, where they are, on which background, and the word on a sign."""

    things: tuple[Thing, ...] = ()
    relations: tuple[Relation, ...] = ()
    background: Background | None = None
    word: str | None = None
    """Three capital letters, or None: there is no sign."""


def is_held_out(scene: Scene) -> bool:
    """Says whether a scene shows a shape in a colour or texture that training never shows."""
    return any(
        (thing.shape, thing.colour) in HELD_OUT_COLOURS or (thing.shape, thing.texture) in HELD_OUT_TEXTURES
        for thing in scene.things
        if thing.shape is not None
    )


def to_json(scene: Scene) -> str:
    """Returns a scene as compact JSON, without what it leaves open."""
    fields: dict[str, Any] = {
        "things": [{key: value for key, value in asdict(thing).items() if value is not None} for thing in scene.things],
        "relations": [list(relation) for relation in scene.relations],
        "background": scene.background,
        "word": scene.word,
    }
    return json.dumps({key: value for key, value in fields.items() if value}, separators=(",", ":"))


def from_json(text: str) -> Scene:
    """Reads what `to_json` wrote; anything else is a ValueError, TypeError or KeyError."""
    fields = json.loads(text)
    scene = Scene(
        tuple(Thing(**thing) for thing in fields.pop("things", [])),
        tuple(Relation(*relation) for relation in fields.pop("relations", [])),
        fields.pop("background", None),
        fields.pop("word", None),
    )
    if fields or not (scene.things or scene.word) or not _is_known(scene):
        raise ValueError(f"{text} holds what no scene has")
    return scene


def _is_known(scene: Scene) -> bool:
    """Says whether every word of a scene is one of ours, and every relation speaks of things that are there."""
    numbers = range(SIGN if scene.word else 0, len(scene.things))
    return (
        scene.background in (None, *BACKGROUNDS)
        and (scene.word is None or (len(scene.word) == 3 and scene.word.isalpha() and scene.word.isupper()))
        and all(
            thing.shape in (None, *SHAPES)
            and thing.colour in (None, *COLOURS)
            and thing.size in (None, *get_args(Size))
            and thing.texture in (None, *get_args(Texture))
            for thing in scene.things
        )
        and all(
            relation.place in get_args(Place) and relation.first in numbers and relation.second in numbers
            for relation in scene.relations
        )
    )
