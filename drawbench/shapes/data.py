"""Endless streams of the shapes world: training pairs, pairs that training never shows, and text for a language model.

A stream is a function of the index, which is hashed into a seed: any order, any worker, and at every size the same scene.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from drawbench.prompts import DRAWBENCH_COUNTS
from drawbench.shapes.corpus import explanation
from drawbench.shapes.font import HELD_OUT_WORDS
from drawbench.shapes.grammar import CATEGORIES
from drawbench.shapes.layout import DrawnScene, arrange
from drawbench.shapes.renderer import render
from drawbench.shapes.sampling import Captioned
from drawbench.shapes.scene import is_held_out

if TYPE_CHECKING:
    import PIL.Image

TRAINING_MIX: Mapping[str, float] = {
    "Colors": 0.26,
    "Counting": 0.14,
    "DALL-E": 0.12,
    "Descriptions": 0.06,
    "Gary Marcus et al.": 0.06,
    "Misspellings": 0.04,
    "Positional": 0.14,
    "Rare Words": 0.005,
    "Reddit": 0.04,
    "Text": 0.3,
}
"""Shares of the captions that are made, before the held-out ones are rejected; Conflicting has none, for its combinations are."""

WORDS_MIX: Mapping[str, float] = {
    "Colors": 0.14,
    "Counting": 0.1,
    "DALL-E": 0.07,
    "Descriptions": 0.02,
    "Gary Marcus et al.": 0.02,
    "Misspellings": 0.02,
    "Positional": 0.06,
    "Rare Words": 0.005,
    "Reddit": 0.02,
    "Text": 0.545,
}
"""The same of `words_pair`: a network that can draw the rest learns to write from these."""

_HELD_OUT_CAPTIONS = 8
"""One caption in so many is held out, by its digest."""


class Example(NamedTuple):
    """A picture in every detail but its size, and its caption."""

    picture: DrawnScene
    captioned: Captioned


def pair(index: int, size: int) -> tuple[PIL.Image.Image, str]:
    """Returns the index-th training pair: a ``size`` x ``size`` picture and its caption."""
    return _drawn(training_example(index), size)


def words_pair(index: int, size: int) -> tuple[PIL.Image.Image, str]:
    """Returns the index-th pair of a stream like `pair`'s in which nearly half of the pictures have a sign with a word."""
    return _drawn(training_example(index, WORDS_MIX), size)


def held_out_pair(index: int, size: int) -> tuple[PIL.Image.Image, str]:
    """Returns the index-th pair of a stream whose captions, combinations and words training never shows.

    Its categories stand in DrawBench's proportions, as those of the 200 prompts do.
    """
    return _drawn(held_out_example(index), size)


def training_example(index: int, shares: Mapping[str, float] = TRAINING_MIX) -> Example:
    """Returns what `pair` draws, or `words_pair`, for who needs it at several sizes, or the scene beside the caption."""
    rng = Random(_seed("training", index))
    while True:
        captioned = CATEGORIES[_category(shares, rng)](rng)
        if not _is_held_out(captioned):
            return Example(arrange(captioned.scene, rng), captioned)


def held_out_example(index: int) -> Example:
    """Returns what `held_out_pair` draws."""
    rng = Random(_seed("held out", index))
    make = CATEGORIES[_category(DRAWBENCH_COUNTS, rng)]
    while True:
        captioned = make(rng)
        if _is_held_out(captioned):
            return Example(arrange(captioned.scene, rng), captioned)


def corpus_line(index: int) -> str:
    """Returns the index-th line of text for a language model that sees no picture.

    Captions of every category, held-out combinations and words among them, but no held-out caption; and explanations of
    rare words, descriptions, misspellings and places.
    """
    rng = Random(_seed("corpus", index))
    if rng.random() < 0.4:
        return explanation(rng)
    while True:
        caption = rng.choice(tuple(CATEGORIES.values()))(rng).caption
        if not is_held_out_caption(caption):
            return caption


def is_held_out_caption(caption: str) -> bool:
    """Says whether a caption belongs to the eighth of all captions that no training pair and no line of text has."""
    return hashlib.sha256(caption.encode()).digest()[0] % _HELD_OUT_CAPTIONS == 0


def _is_held_out(captioned: Captioned) -> bool:
    scene, caption = captioned
    return is_held_out(scene) or scene.word in HELD_OUT_WORDS or is_held_out_caption(caption)


def _seed(stream: str, index: int) -> int:
    return int.from_bytes(hashlib.sha256(f"shapes/{stream}/{index}".encode()).digest()[:8], "big")


def _category(shares: Mapping[str, float], rng: Random) -> str:
    at = rng.random() * sum(shares.values())
    return next((name for name, end in zip(shares, accumulate(shares.values()), strict=True) if at < end), "Colors")


def _drawn(example: Example, size: int) -> tuple[PIL.Image.Image, str]:
    import PIL.Image

    return PIL.Image.fromarray(render(example.picture, size)), example.captioned.caption
