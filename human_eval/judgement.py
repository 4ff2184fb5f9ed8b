"""One answer of one rater: the record that the store keeps, exports are made of, and analyses read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judgement:
    """Append-only: a change of mind is a later one that names what it supersedes."""

    id: int
    study: str
    """The study's digest."""
    item: str
    rater: str
    """A pseudonym; who it is stands elsewhere, and may be forgotten."""
    question: str
    answer: str
    """The code of an option."""
    shown: tuple[str, ...]
    """The systems in the order in which the rater saw them."""
    position: int
    """The item's place in the rater's order, from 0."""
    seconds: float | None
    """From the moment when all images had decoded to the answer, without pauses; None: not on record."""
    at: str
    """UTC, ISO 8601."""
    key: str
    """Of the submission that it came with: one key is one submission, however often it arrives, and whatever it changed."""
    supersedes: int | None = None
    repeat: bool = False
    """The rater's second look at an item, its sides changed."""
