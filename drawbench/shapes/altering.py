"""Makes a scene wrong in one attribute that its caption promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from drawbench.shapes.font import HELD_OUT_WORDS, WORDS
from drawbench.shapes.scene import (
    BACKGROUNDS,
    BASES,
    COLOURS,
    CONTAINERS,
    OPPOSITE,
    SHAPES,
    SIDES,
    TEXTURED,
    Place,
    Relation,
    Scene,
    Shape,
    Size,
    Texture,
    Thing,
)

Change = Callable[[], Scene]


def altered(scene: Scene, rng: Random) -> Scene:
    """Returns the scene with one promised attribute changed: a number, colour, shape, size, pattern, place, background, word."""
    changes: list[tuple[Change, ...]] = [
        _counts(scene),
        tuple(_colour(scene, n, rng) for n, thing in enumerate(scene.things) if thing.colour),
        tuple(_shape(scene, n, rng) for n, thing in enumerate(scene.things) if thing.shape),
        tuple(_size(scene, n) for n, thing in enumerate(scene.things) if _can_change_size(scene, thing)),
        tuple(_texture(scene, n, rng) for n, thing in enumerate(scene.things) if thing.texture),
        tuple(_relation(scene, n, rng) for n in range(len(scene.relations))),
        (_background(scene, rng),) if scene.background else (),
        (_word(scene, rng),) if scene.word else (),
    ]
    return rng.choice(rng.choice([kind for kind in changes if kind]))()


def _counts(scene: Scene) -> tuple[Change, ...]:
    """Adds a thing or takes one away, where neither a place nor a sign speaks of them and there is room."""
    things = scene.things
    if scene.relations or scene.word or any(thing.size == "large" or thing.texture for thing in things):
        return ()
    more = (lambda: replace(scene, things=(*things, things[-1])),) if len(things) < 4 else ()
    fewer = (lambda: replace(scene, things=things[:-1]),) if len(things) > 1 else ()
    return (*more, *fewer)


def _with(scene: Scene, number: int, thing: Thing) -> Scene:
    return replace(scene, things=(*scene.things[:number], thing, *scene.things[number + 1 :]))


def _colour(scene: Scene, number: int, rng: Random) -> Change:
    others = {thing.colour for thing in scene.things}
    colour = rng.choice([colour for colour in COLOURS if colour not in others])
    return lambda: _with(scene, number, replace(scene.things[number], colour=colour))


def _shape(scene: Scene, number: int, rng: Random) -> Change:
    thing = scene.things[number]
    fitting: Sequence[Shape] = TEXTURED if thing.texture else SHAPES
    for relation in scene.relations:
        if relation.second == number and relation.place in ("inside", "on top of"):
            fitting = CONTAINERS if relation.place == "inside" else BASES
    others = {thing.shape for thing in scene.things}
    free = [s for s in fitting if s not in others] or [s for s in fitting if s != thing.shape]
    shape = rng.choice(free)
    return lambda: _with(scene, number, replace(thing, shape=shape))


def _can_change_size(scene: Scene, thing: Thing) -> bool:
    """Says whether there is room: of two things one may be large."""
    others = sum(other.size == "large" for other in scene.things if other is not thing)
    return thing.size == "large" or (thing.size == "small" and not others and len(scene.things) <= 2)


def _size(scene: Scene, number: int) -> Change:
    thing = scene.things[number]
    size: Size = "small" if thing.size == "large" else "large"
    return lambda: _with(scene, number, replace(thing, size=size))


def _texture(scene: Scene, number: int, rng: Random) -> Change:
    thing = scene.things[number]
    textures: tuple[Texture, ...] = ("plain", "striped", "dotted")
    texture = rng.choice([texture for texture in textures if texture != thing.texture])
    return lambda: _with(scene, number, replace(thing, texture=texture))


def _relation(scene: Scene, number: int, rng: Random) -> Change:
    """Puts things on the opposite side; what stands in or on another thing is put beside it."""
    relation = scene.relations[number]
    place: Place = OPPOSITE[relation.place] if relation.place in OPPOSITE else rng.choice(SIDES)
    wrong = Relation(place, relation.first, relation.second)
    relations = (*scene.relations[:number], wrong, *scene.relations[number + 1 :])
    return lambda: replace(scene, relations=relations)


def _background(scene: Scene, rng: Random) -> Change:
    background = rng.choice([background for background in BACKGROUNDS if background != scene.background])
    return lambda: replace(scene, background=background)


def _word(scene: Scene, rng: Random) -> Change:
    word = rng.choice([word for word in WORDS + HELD_OUT_WORDS if word != scene.word])
    return lambda: replace(scene, word=word)
