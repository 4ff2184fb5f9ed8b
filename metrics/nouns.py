"""English nouns: one and several of them, and which words are none."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ALIKE = frozenset({"sheep", "fish", "deer", "aircraft", "spacecraft", "bison", "moose", "salmon", "trout", "cattle"})
_IRREGULAR: Mapping[str, str] = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse", "geese": "goose",
    "feet": "foot", "teeth": "tooth", "oxen": "ox", "knives": "knife", "wolves": "wolf", "leaves": "leaf",
    "shelves": "shelf", "loaves": "loaf", "calves": "calf", "elves": "elf", "halves": "half", "scarves": "scarf",
}  # fmt: skip
_SINGULAR = re.compile(r"(ss|us|is|as|lens|series|species)$|[^s]$")
"""How a word ends that is not taken for a plural."""
_ENDINGS = (
    (r"(?<=[^aeiou])ies$", "y"),
    (r"(?<=ss|sh|ch|zz)es$", ""),
    (r"(?<=x)es$", ""),
    (r"(?<=[^aoe]us)es$", ""),  # buses, and not houses
    (r"(?<=to|ro|go)es$", ""),  # tomatoes, and not shoes
    (r"s$", ""),
)
_NOUNS_LIKE_VERBS = frozenset(
    {"building", "painting", "ceiling", "earring", "dumpling", "pudding", "duckling", "hundred", "moped"}
)


def singular(word: str) -> str:
    """Returns one of what a noun names; a singular comes back as it is."""
    if word in _ALIKE or _SINGULAR.search(word):
        return _IRREGULAR.get(word, word)
    if word in _IRREGULAR or len(word) <= 4:  # ties, pies
        return _IRREGULAR.get(word, word[:-1])
    return next(re.sub(plural, one, word) for plural, one in _ENDINGS if re.search(plural, word))


def is_plural(word: str) -> bool:
    """Says whether a word may name several; ``sheep`` may."""
    return word in _ALIKE or singular(word) != word


def plural(name: str) -> str:
    """Returns several of what a name's last word names: ``cell phones``."""
    *before, last = name.split()
    known = {one: several for several, one in _IRREGULAR.items()}
    regular = (
        last[:-1] + "ies"
        if re.search(r"[^aeiou]y$", last)
        else last + "es" * bool(re.search(r"(s|x|z|ch|sh|tomato|potato|hero|mango)$", last))
    )
    several = last if last in _ALIKE else known.get(last, regular if regular != last else last + "s")
    return " ".join([*before, several])


def may_describe(word: str, position: int) -> bool:
    """Says whether a word may stand before a noun: ``dining table``, and not ``dog eating pizza`` or ``dogs play``."""
    if re.search(r"[aeiouy].*ing$", word):
        return position == 0
    return word == "sports" or not is_plural(word) or word in _ALIKE


def is_participle(word: str) -> bool:
    """Says whether a last word is no noun: ``a red car parked``, ``two dogs playing``."""
    return word not in _NOUNS_LIKE_VERBS and bool(re.search(r"[aeiouy].*ing$|[aeiou].*[^aeiou]ed$", word))
