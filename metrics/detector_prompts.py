"""What a prompt asks of number, colour and place, read from its text by a small grammar: what it cannot read it leaves alone.

A prompt is read where it is, from its first word to its last, one of these (``PLACE`` as in `PLACES`)::

    [A picture of] THING [on the street]
    [A picture of] THING and THING [sitting on the grass]
    [A picture of] THING PLACE THING [on a grey background]

with ``THING`` a number or article, a colour where there is one, and a name of one to three words. Anything further, a verb
or a second sentence, makes a prompt that is not read: a claim about half a prompt would be a false one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from drawbench.interfaces import Prompt
from drawbench.metrics.nouns import is_participle, is_plural, may_describe, plural, singular

Colour = Literal[
    "black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "cyan"
]
Place = Literal["left of", "right of", "above", "below", "on top of", "inside"]

COLOURS: tuple[Colour, ...] = get_args(Colour)
"""The eleven basic terms of English (Berlin and Kay 1969), and cyan."""

PLACES: Mapping[Place, str] = {
    "left of": r"(?:(?:on|to) the )?left(?:-hand)?(?: side)? of",
    "right of": r"(?:(?:on|to) the )?right(?:-hand)?(?: side)? of",
    "on top of": r"on top of|(?:sitting|standing|lying|resting|stacked|balancing) on(?= an? )",
    "above": r"above|over",
    "below": r"below|beneath|underneath|under",
    "inside": r"inside(?: of)?|within",
}
"""As a regular expression of all the ways in which each is said."""

VERSION = "detector prompts 1"
"""Another one wherever a prompt may be read otherwise."""

NOT_READ = "it is not of a form that is read here"
NOTHING_ASKED = "it asks for no number, colour or place"
ODD_WORDS = "its words are misspelt or rare on purpose, and a detector cannot be asked for them"

_ODD = ("Misspellings", "Rare Words")
"""Categories."""
_ALSO: Mapping[str, Colour] = {"gray": "grey", "violet": "purple"}
_SHADES = {"light", "dark", "bright", "pale", "deep", "neon", "pastel"}
"""Before a colour they ask for more than its name."""
_SIZES = {"small", "large", "big", "little", "tiny", "huge", "giant"}
_COUNTED = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBERS: Mapping[str, int | None] = {
    "a": None,
    "an": None,
    "a single": 1,
    "a dozen": 12,
    **{said: number for number, said in enumerate(_COUNTED, 1)},
    **{str(number): number for number in range(1, 21)},
}
_FUNCTION_WORDS = frozenset(
    """a an the of on in at to by for from with without and or but not no is are was were be being as like than that which who
    whose this these those it its his her their my your our into onto out up down off through across between behind beside
    near next around against during while if so very more most all both each every some any many several few couple pair
    over above under below beneath underneath inside within left right top outside outdoors indoors made says has
    have dozen hundred thousand half quarter third""".split()  # noqa: SIM905  a list of a hundred words is read as words
)
_GROUNDS = frozenset(
    """field ground floor road street path hillside hill slope beach runway sidewalk track park grass lawn sky water snow sea
    ocean lake river pool room kitchen city""".split()  # noqa: SIM905
)
"""What has no edges to hold a place against."""
_DETERMINER = re.compile(
    r"(?:(?:exactly|only|just) )?(" + "|".join(sorted(_NUMBERS, key=lambda said: -len(said))) + r") (.+)"
)
_OPENING = re.compile(
    r"(?:there (?:is|are) )?(?:(?:an? )?(?:picture|photo|photograph|image|drawing|painting|illustration) of )?"
)
_SETTING = re.compile(
    r"(?: (?:sitting|standing|lying|parked))?"
    r" (?:on|in|at|in front of|against)"
    r" (the (?!left\b|right\b|top\b|bottom\b|middle\b)[a-z]+|(?:an? )?(?:[a-z]+ )?(?:background|wall|paper))$"
)
_PLACE = re.compile("(.+?) (?:is )?(?:" + "|".join(f"({said})" for said in PLACES.values()) + ") (.+)")


class Wanted(NamedTuple):
    """One kind of thing that a prompt asks for."""

    name: str
    """In the singular, as a detector is asked for it: ``cell phone``."""
    number: int | None = None
    """Exactly so many; None: at least one, for ``a`` counts nothing."""
    colour: Colour | None = None

    def __str__(self) -> str:
        coloured = f"{self.colour} {self.name}" if self.colour else self.name
        article = "an" if coloured[0] in "aeiou" else "a"
        return f"{article} {coloured}" if self.number is None else amount(self.number, coloured)


class Request(NamedTuple):
    """What can be judged of a prompt."""

    things: tuple[Wanted, ...]
    place: Place | None = None
    """Of the first of two things to the second."""
    unjudged: tuple[str, ...] = ()
    """Words that ask for something else: sizes, the setting."""

    def __str__(self) -> str:
        things = [str(thing) for thing in self.things]
        return f"{things[0]} {self.place} {things[1]}" if self.place else " and ".join(things)


def in_words(number: int) -> str:
    """Returns ``two``; beyond twelve ``13``."""
    return _COUNTED[number - 1] if 1 <= number <= len(_COUNTED) else str(number)


def amount(number: int, name: str) -> str:
    """Returns ``one cat``, ``two cats`` or ``13 cats``."""
    return f"{in_words(number)} {name if number == 1 else plural(name)}"


def read_prompt(prompt: Prompt) -> Request | str:
    """Returns what a prompt asks for, or why it is not judged: one of the three reasons above."""
    return ODD_WORDS if prompt.category in _ODD else read_text(prompt.text)


def read_text(text: str) -> Request | str:
    """Returns what a text asks for, or `NOT_READ` or `NOTHING_ASKED`."""
    said = " ".join(text.lower().split()).removesuffix(".")
    said = said[_matched(_OPENING, said) :]
    unjudged: list[str] = []
    if setting := _SETTING.search(said):
        said = said[: setting.start()]
        unjudged.append(setting.group(0).strip())
    place: Place | None = None
    parts = re.split(r",? and |, ", said)
    if found := _PLACE.fullmatch(said):
        first, *hits, second = found.groups()
        place = next(name for name, hit in zip(PLACES, hits, strict=True) if hit)
        parts = [first, second]
    things = []
    for part in parts:
        thing = _thing(part, unjudged)
        if thing is None:
            return NOT_READ
        if place and ((thing.number or 1) > 1 or thing.name.split()[-1] in _GROUNDS):  # Which of several stands there?
            return NOT_READ
        things.append(thing)
    if not (place or any(thing.number or thing.colour for thing in things)):
        return NOTHING_ASKED
    return Request(tuple(things), place, tuple(unjudged))


def _matched(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.match(text)
    return match.end() if match else 0


def _thing(said: str, unjudged: list[str]) -> Wanted | None:
    """Reads ``two small red cars``; sizes go to what is not judged."""
    match = _DETERMINER.fullmatch(said)
    if match is None:
        return None
    number = _NUMBERS[match.group(1)]
    *before, last = re.sub(r"[ -]colou?red\b", "", match.group(2)).split()
    colours: list[Colour] = [colour for word in before for colour in COLOURS if colour == _ALSO.get(word, word)]
    described = [word for word in before if _ALSO.get(word, word) not in COLOURS and word not in _SIZES]
    noun = singular(last)
    # In "two dogs play" and "a dog plays" the last word is a verb.
    is_noun = (is_plural(last) if (number or 1) > 1 else noun == last) and not is_participle(noun)
    if not is_noun or (noun != "orange" and _ALSO.get(noun, noun) in COLOURS):
        return None
    if len(colours) > 1 or len(described) > 2 or not _SHADES.isdisjoint(before):
        return None
    if not all(may_describe(word, position) for position, word in enumerate(described)):
        return None
    if not all(word.replace("-", "").isalpha() and word not in _FUNCTION_WORDS for word in (*described, noun)):
        return None
    unjudged += [word for word in before if word in _SIZES]
    return Wanted(" ".join([*described, noun]), number, colours[0] if colours else None)
