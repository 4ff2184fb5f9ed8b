"""Sentences that explain: what rare words and descriptions mean, how words are spelt, and what places and numbers imply."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from drawbench.shapes.font import HELD_OUT_WORDS, WORDS
from drawbench.shapes.phrases import (
    BACKGROUNDS_SAID,
    DESCRIBED_COLOURS,
    DESCRIBED_SHAPES,
    NUMBERS,
    PLACES,
    RARE_COLOURS,
    RARE_SHAPES,
    misspelt,
    phrase,
    sentence,
)
from drawbench.shapes.scene import BACKGROUNDS, COLOURS, OPPOSITE, SHAPES, SIDES, TEXTURED, Texture, Thing


def explanation(rng: Random) -> str:
    """Returns one sentence of knowledge."""
    return sentence(rng.choice(_KINDS)(rng))


def _rare_colour(rng: Random) -> str:
    colour = rng.choice(COLOURS)
    rare = rng.choice(RARE_COLOURS[colour])
    form = rng.choice(
        (
            "{r} is a kind of {c}",
            "{r} means {c}",
            "something {r} is {c}",
            "{c} things may be called {r}",
            "who says {r} means {c}",
        )
    )
    return form.format(r=rare, c=colour)


def _rare_shape(rng: Random) -> str:
    shape = rng.choice(SHAPES)
    rare = rng.choice(RARE_SHAPES[shape])
    form = rng.choice(("{r} is {s}", "{r} is the same as {s}", "{r} is another name of {s}", "{s} may be called {r}"))
    return form.format(r=phrase(Thing(), shape=rare), s=phrase(Thing(shape)))


def _rare_thing(rng: Random) -> str:
    colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
    rare = phrase(Thing(), colour=rng.choice(RARE_COLOURS[colour]), shape=rng.choice(RARE_SHAPES[shape]))
    plain = phrase(Thing(shape, colour))
    return rng.choice((f"{rare} is {plain}", f"{plain} is {rare}", f"{rare}, that is to say {plain}"))


def _described_shape(rng: Random) -> str:
    shape = rng.choice(SHAPES)
    described, plain = phrase(Thing(), shape=rng.choice(DESCRIBED_SHAPES[shape])), phrase(Thing(shape))
    return rng.choice((f"{described} is {plain}", f"{plain} is {described}", f"{described} is called {plain}"))


def _described_colour(rng: Random) -> str:
    colour = rng.choice(COLOURS)
    described = rng.choice(DESCRIBED_COLOURS[colour])
    return rng.choice((f"{described} is {colour}", f"{colour} is {described}", f"a thing in {described} is {colour}"))


def _described_thing(rng: Random) -> str:
    colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
    described = f"a {rng.choice(DESCRIBED_SHAPES[shape])}, in {rng.choice(DESCRIBED_COLOURS[colour])}"
    return f"{described}, is {phrase(Thing(shape, colour))}"


def _misspelling(rng: Random) -> str:
    word = rng.choice(
        (*SHAPES, *COLOURS, *TEXTURED, "background", "inside", "above", "below", "right", "three", "picture")
    )
    wrong = misspelt(word, rng, 1)
    if wrong == word:
        return f"{word} is written {', '.join(word)}"
    return rng.choice((f"{wrong} means {word}", f"who writes {wrong} means {word}", f"{wrong} is {word} misspelt"))


def _spelling(rng: Random) -> str:
    word = rng.choice(WORDS + HELD_OUT_WORDS)
    letters = ", ".join(word)
    return rng.choice(
        (f'the word "{word}" is spelt {letters}', f'"{word}" begins with {word[0]} and ends with {word[2]}')
    )


def _opposite(rng: Random) -> str:
    place = rng.choice(SIDES)
    one, two = rng.sample(SHAPES, 2)
    there, back = rng.choice(PLACES[place]), rng.choice(PLACES[OPPOSITE[place]])
    return f"if the {one} is {there} the {two}, then the {two} is {back} the {one}"


def _place(rng: Random) -> str:
    said = rng.choice(tuple(PLACES.values()))
    one, two = rng.sample(SHAPES, 2)
    ways = rng.sample(said, 2)
    return f"a {one} {ways[0]} a {two} is a {one} {ways[1]} a {two}"


def _number(rng: Random) -> str:
    first = rng.choice((1, 2, 3))
    second = rng.choice(tuple(range(1, 5 - first)))
    one, two = rng.sample(SHAPES, 2)
    many = f"{NUMBERS[first]} {one}{'' if first == 1 else 'es' if one == 'cross' else 's'}"
    more = f"{NUMBERS[second]} {two}{'' if second == 1 else 'es' if two == 'cross' else 's'}"
    return f"{many} and {more} make {NUMBERS[first + second]} things"


def _background(rng: Random) -> str:
    background = rng.choice(BACKGROUNDS)
    return f"what stands {rng.choice(BACKGROUNDS_SAID[background])} has a {background} background"


def _pattern(rng: Random) -> str:
    texture: Texture = rng.choice(("striped", "dotted"))
    thing = Thing(rng.choice(TEXTURED), rng.choice(COLOURS))
    made = rng.choice(("made of", "covered in", "with"))
    striped = phrase(Thing(thing.shape, thing.colour, texture=texture))
    return f"{phrase(thing)} {made} {'stripes' if texture == 'striped' else 'dots'} is {striped}"


_KINDS: tuple[Callable[[Random], str], ...] = (
    _rare_colour,
    _rare_colour,
    _rare_shape,
    _rare_shape,
    _rare_thing,
    _rare_thing,
    _described_shape,
    _described_colour,
    _described_thing,
    _misspelling,
    _misspelling,
    _spelling,
    _opposite,
    _place,
    _number,
    _background,
    _pattern,
)
