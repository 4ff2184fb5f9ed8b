"""Scenes and captions for each of DrawBench's categories: sentences of our own, each an analogue in the shapes world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from drawbench.shapes.chatter import chatty
from drawbench.shapes.font import HELD_OUT_WORDS, WORDS
from drawbench.shapes.phrases import (
    BACKGROUNDS_SAID,
    DESCRIBED_COLOURS,
    DESCRIBED_SHAPES,
    PLACES,
    RARE_COLOURS,
    RARE_SHAPES,
    amount,
    misspelt,
    phrase,
    sentence,
)
from drawbench.shapes.sampling import Captioned, sample_background, sample_placed, sample_thing, sample_two, stated
from drawbench.shapes.scene import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_COLOURS,
    HELD_OUT_TEXTURES,
    SHAPES,
    SIDES,
    SIGN,
    TEXTURED,
    Background,
    Colour,
    Place,
    Relation,
    Scene,
    Size,
    Texture,
    Thing,
)


def colours(rng: Random) -> Captioned:
    """Returns one coloured thing, or two."""
    if rng.random() < 0.5:
        thing = sample_thing(rng)
        background, behind = sample_background(rng, 0.4)
        said = rng.choice(("{}", "{}", "one {}", "a picture of {}")).format(phrase(thing, "a"))
        return Captioned(Scene((thing,), background=background), sentence(said.replace("one a ", "one ") + behind))
    one, two = sample_two(rng)
    background, behind = sample_background(rng, 0.2)
    said = rng.choice(("{} and {}", "{} and {}", "a picture of {} and {}"))
    return Captioned(Scene((one, two), background=background), sentence(said.format(phrase(one), phrase(two)) + behind))


def conflicting(rng: Random) -> Captioned:
    """Returns a thing in a colour or pattern that training never shows with its shape."""
    shape, wrong = rng.choice(sorted(HELD_OUT_COLOURS | HELD_OUT_TEXTURES))
    known = next(name for name in SHAPES if name == shape)
    if wrong in COLOURS:
        thing = Thing(known, next(name for name in COLOURS if name == wrong))
    else:
        colour = rng.choice([None, *(c for c in COLOURS if (shape, c) not in HELD_OUT_COLOURS)])
        thing = Thing(known, colour, texture="striped" if wrong == "striped" else "dotted")
    background, behind = sample_background(rng, 0.4)
    said = rng.choice(("{}", "a picture of {}")).format(phrase(thing))
    return Captioned(Scene((thing,), background=background), sentence(said + behind))


def counting(rng: Random) -> Captioned:
    """Returns one to four things of a kind, or of two kinds."""
    if rng.random() < 0.7:
        number = rng.choice((1, 2, 2, 3, 3, 3, 4, 4, 4))
        thing = sample_thing(rng) if rng.random() < 0.7 else Thing(rng.choice(SHAPES))
        background, behind = sample_background(rng, 0.2)
        said = rng.choice(("{}", "{}", "exactly {}", "a picture of {}")).format(amount(number, thing))
        return Captioned(Scene((thing,) * number, background=background), sentence(said + behind))
    one, two = sample_two(rng)
    first = rng.choice((1, 2, 3))
    second = rng.choice(tuple(range(1, 5 - first)))
    said = f"{amount(first, one)} and {amount(second, two)}"
    return Captioned(Scene((one,) * first + (two,) * second), sentence(said))


def dall_e(rng: Random) -> Captioned:
    """Returns a stack, a thing made of a pattern, or one thing in another."""
    kind = rng.choice(("stack", "made of", "inside"))
    if kind == "made of":
        texture: Texture = rng.choice(("striped", "dotted"))
        shape = rng.choice([s for s in TEXTURED if (s, texture) not in HELD_OUT_TEXTURES])
        thing = sample_thing(rng, shape)
        pattern = {"striped": "stripes", "dotted": "dots"}[texture]
        said = rng.choice((f"{{}} made of {pattern}", f"{{}} covered in {pattern}", f"{{}} with {pattern}"))
        background, behind = sample_background(rng, 0.3)
        scene = Scene((replace(thing, texture=texture),), background=background)
        if rng.random() < 0.4:
            return Captioned(scene, sentence(phrase(scene.things[0]) + behind))
        return Captioned(scene, sentence(said.format(phrase(thing)) + behind))
    place: Place = "on top of" if kind == "stack" else "inside"
    scene = sample_placed(rng, place)
    one, two = (phrase(thing) for thing in scene.things)
    if kind == "stack":
        said = rng.choice(("{} stacked on {}", "a stack of two shapes: {} on top of {}", "{} balancing on {}"))
    else:
        said = rng.choice(("{} inside {}", "{} in the middle of {}", "{} enclosed by {}"))
    return Captioned(scene, sentence(said.format(one, two)))


def descriptions(rng: Random) -> Captioned:
    """Returns a thing whose shape, or colour too, is described and not named."""
    thing = sample_thing(rng)
    size: Size | None = rng.choice((None, None, "small", "large"))
    shape = rng.choice(DESCRIBED_SHAPES[stated(thing.shape)])
    background, behind = sample_background(rng, 0.3)
    scene = Scene((replace(thing, size=size),), background=background)
    sized = f"{size} " if size else ""
    if rng.random() < 0.5:
        return Captioned(scene, sentence(f"a {sized}{thing.colour} {shape}{behind}"))
    colour = rng.choice(DESCRIBED_COLOURS[stated(thing.colour)])
    return Captioned(scene, sentence(f"a {sized}{shape}, in {colour}{',' if behind else ''}{behind}"))


def gary_marcus(rng: Random) -> Captioned:
    """Returns two or three things, told in several sentences that say who is where."""
    one, two = sample_two(rng)
    place = rng.choice(SIDES)
    said = rng.choice(PLACES[place])
    first, second = f"the {one.shape}", f"the {two.shape}"
    if rng.random() < 0.5:
        background, ending = _whole_background(rng, 0.5)
        text = f"there is {phrase(one)} and there is {phrase(two)}. {first.capitalize()} is {said} {second}{ending}"
        return Captioned(Scene((one, two), (Relation(place, 0, 1),), background), sentence(text))
    three = sample_thing(
        rng, rng.choice([s for s in SHAPES if s not in (one.shape, two.shape)]), {one.colour, two.colour}
    )
    across: tuple[Place, ...] = ("above", "below") if place in ("left of", "right of") else ("left of", "right of")
    other = rng.choice(across)
    text = (
        f"{phrase(one)} is {said} {phrase(two)}. {phrase(three).capitalize()} is {rng.choice(PLACES[other])} {second}"
    )
    return Captioned(Scene((one, two, three), (Relation(place, 0, 1), Relation(other, 2, 1))), sentence(text))


def misspellings(rng: Random) -> Captioned:
    """Returns a plain caption with errors in its letters."""
    plain = rng.choice((colours, counting, positional))(rng)
    return plain._replace(caption=misspelt(plain.caption, rng, rng.choice((1, 2, 2, 3))))


def positional(rng: Random) -> Captioned:
    """Returns two things and where they are; one may be said to be small or large."""
    place: Place = rng.choice((*SIDES, *SIDES, "on top of", "inside"))
    scene = sample_placed(rng, place)
    if place in SIDES and rng.random() < 0.3:
        sizes: tuple[Size | None, Size | None] = rng.choice(
            ((None, "large"), ("large", None), ("small", "large"), ("large", "small"))
        )
        one, two = (replace(thing, size=size) for thing, size in zip(scene.things, sizes, strict=True))
        scene = replace(scene, things=(one, two))
    elif place in SIDES and rng.random() < 0.2:
        one, two = (replace(thing, colour=None) for thing in scene.things)
        scene = replace(scene, things=(one, two))
    first, second = (phrase(thing) for thing in scene.things)
    background, behind = sample_background(rng, 0.15) if place in SIDES else (None, "")
    scene = replace(scene, background=background)
    return Captioned(scene, sentence(f"{first} {rng.choice(PLACES[place])} {second}{behind}"))


def rare_words(rng: Random) -> Captioned:
    """Returns a thing that is named by rare words."""
    thing = sample_thing(rng)
    colour, shape = rng.choice(RARE_COLOURS[stated(thing.colour)]), rng.choice(RARE_SHAPES[stated(thing.shape)])
    kind = rng.choice(("colour", "shape", "both"))
    background, behind = sample_background(rng, 0.3)
    said = phrase(thing, colour=colour if kind != "shape" else None, shape=shape if kind != "colour" else None)
    return Captioned(Scene((thing,), background=background), sentence(said + behind))


def reddit(rng: Random) -> Captioned:
    """Returns a plain scene in a long, chatty request with a setting or a style."""
    kind = rng.choice(("one", "two", "many", "placed"))
    background: Background | None = rng.choice((None, *BACKGROUNDS))
    if kind == "one":
        thing = sample_thing(rng)
        thing = replace(thing, size=rng.choice((None, "small", "large")))
        scene, said = Scene((thing,)), phrase(thing)
    elif kind == "two":
        one, two = sample_two(rng)
        scene, said = Scene((one, two)), f"{phrase(one)} and {phrase(two)}"
    elif kind == "many":
        thing, number = sample_thing(rng), rng.choice((2, 3, 4))
        scene, said = Scene((thing,) * number), amount(number, thing)
    else:
        place = rng.choice(SIDES)
        scene = sample_placed(rng, place)
        one, two = scene.things
        said = f"{phrase(one)} {rng.choice(PLACES[place])} {phrase(two)}"
    behind = f" {rng.choice(BACKGROUNDS_SAID[background])}" if background else ""
    return Captioned(replace(scene, background=background), chatty(said + behind, rng))


def text(rng: Random) -> Captioned:
    """Returns a sign with a word, sometimes with a thing over or under it."""
    word = rng.choice(HELD_OUT_WORDS if rng.random() < 0.35 else WORDS)
    sign = rng.choice(
        (f'a sign that says "{word}"', f'a sign with the word "{word}" on it', f'a plate that reads "{word}"')
    )
    if rng.random() < 0.6:
        background, behind = sample_background(rng, 0.4)
        return Captioned(Scene(background=background, word=word), sentence(sign + behind))
    thing = sample_thing(rng)
    place: Place = rng.choice(("above", "below"))
    scene = Scene((thing,), (Relation(place, 0, SIGN),), word=word)
    return Captioned(scene, sentence(f"{phrase(thing)} {place} {sign}"))


CATEGORIES: Mapping[str, Callable[[Random], Captioned]] = {
    "Colors": colours,
    "Conflicting": conflicting,
    "Counting": counting,
    "DALL-E": dall_e,
    "Descriptions": descriptions,
    "Gary Marcus et al.": gary_marcus,
    "Misspellings": misspellings,
    "Positional": positional,
    "Rare Words": rare_words,
    "Reddit": reddit,
    "Text": text,
}
"""DrawBench's categories in file order, each with what makes its analogue."""


def swapped(captioned: Captioned) -> Captioned:
    """Returns a caption of two coloured things with their colours exchanged."""
    one, two = captioned.scene.things
    first: Colour = stated(one.colour)
    second: Colour = stated(two.colour)
    words: dict[str, str] = {first: second, second: first}
    caption = " ".join(words.get(word, word) for word in captioned.caption.split(" "))
    things = replace(one, colour=second), replace(two, colour=first)
    return Captioned(replace(captioned.scene, things=things), caption)


def _whole_background(rng: Random, share: float) -> tuple[Background | None, str]:
    if rng.random() >= share:
        return None, ""
    background = rng.choice(BACKGROUNDS)
    return background, f". The background is {background}"
