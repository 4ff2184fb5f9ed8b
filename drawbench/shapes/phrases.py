"""Words and phrases of captions: how a thing, a number, a place and a background are said."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from drawbench.shapes.scene import Background, Colour, Place, Shape, Thing

NUMBERS: Mapping[int, str] = {1: "one", 2: "two", 3: "three", 4: "four"}

PLACES: Mapping[Place, tuple[str, ...]] = {
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
    "on top of": ("on top of", "standing on"),
    "inside": ("inside", "within"),
}
BACKGROUNDS_SAID: Mapping[Background, tuple[str, ...]] = {
    "dark": ("on a dark background", "in front of a dark wall", "in the dark"),
    "grey": ("on a grey background", "in front of a grey wall"),
    "light": ("on a light background", "in front of a light wall", "on pale paper"),
}

DESCRIBED_SHAPES: Mapping[Shape, tuple[str, ...]] = {
    "circle": ("round shape without any corner or hole", "solid round shape", "shape like a full moon"),
    "square": ("shape with four corners and four equal sides", "shape with four right angles", "shape like a tile"),
    "triangle": ("shape with three corners", "shape with three sides", "shape like a tent seen from the front"),
    "cross": ("shape made of one upright and one level bar", "shape like a plus sign", "shape with four arms"),
    "ring": ("round shape with a hole in the middle", "shape like a tyre", "shape like a round band"),
}
DESCRIBED_COLOURS: Mapping[Colour, tuple[str, ...]] = {
    "red": ("the colour of a ripe tomato", "the colour of blood"),
    "green": ("the colour of fresh grass", "the colour of leaves in summer"),
    "blue": ("the colour of deep water", "the colour of blue ink"),
    "yellow": ("the colour of a lemon", "the colour of an egg yolk"),
    "purple": ("the colour of a plum", "the colour between red and blue"),
    "cyan": ("the colour between green and blue", "the colour of a shallow lagoon"),
}

RARE_COLOURS: Mapping[Colour, tuple[str, ...]] = {
    "red": ("crimson", "scarlet", "vermilion"),
    "green": ("emerald", "verdant"),
    "blue": ("azure", "cobalt", "sapphire"),
    "yellow": ("citrine", "canary"),
    "purple": ("amethyst", "aubergine"),
    "cyan": ("turquoise", "aquamarine"),
}
RARE_SHAPES: Mapping[Shape, tuple[str, ...]] = {
    "circle": ("disc", "roundel"),
    "square": ("quadrate", "equilateral rectangle"),
    "triangle": ("trigon", "delta"),
    "cross": ("rood", "crux"),
    "ring": ("annulus", "hoop"),
}


def phrase(thing: Thing, article: str = "a", *, colour: str | None = None, shape: str | None = None) -> str:
    """Returns ``a small striped red circle``, with other words for its colour and shape where given; ``article`` may be empty."""
    words = [thing.size, thing.texture, colour or thing.colour, shape or thing.shape or "shape"]
    said = " ".join(word for word in words if word)
    if article == "a" and said[0] in "aeiou":
        article = "an"
    return f"{article} {said}".strip()


def plural(thing: Thing) -> str:
    """Returns ``red circles``."""
    return phrase(thing, "") + ("es" if thing.shape == "cross" else "s")


def amount(number: int, thing: Thing) -> str:
    """Returns ``one red circle`` or ``three red circles``."""
    return f"{NUMBERS[number]} {phrase(thing, '') if number == 1 else plural(thing)}"


def sentence(text: str) -> str:
    """Returns a text with a capital and a full stop."""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".?!" else ".")


def misspelt(text: str, rng: Random, errors: int) -> str:
    """Returns a text with errors in different words of four letters and more: letters swapped, dropped, doubled or changed."""
    words = text.split(" ")
    long = [number for number, word in enumerate(words) if sum(map(str.isalpha, word)) >= 4]
    for number in rng.sample(long, min(errors, len(long))):
        words[number] = _with_error(words[number], rng)
    return " ".join(words)


def _with_error(word: str, rng: Random) -> str:
    """Errs behind the first letter and before the last two, so that the word stays known and its full stop in place."""
    last = sum(map(str.isalpha, word)) - 2
    while True:
        at = rng.randint(1, last)
        kind = rng.choice(("swap", "drop", "double", "change"))
        if kind == "swap":
            wrong = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        elif kind == "drop":
            wrong = word[:at] + word[at + 1 :]
        elif kind == "double":
            wrong = word[:at] + word[at] + word[at:]
        else:
            wrong = word[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :]
        if wrong != word:
            return wrong
