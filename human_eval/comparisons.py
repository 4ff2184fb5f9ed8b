"""Judgements of pairs as plain columns: who was shown two systems' images, in which order, and what was answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError, did_you_mean

FIRST, INDIFFERENT, SECOND = 1, 0, -1
"""The answers: the system shown first (on the left) is preferred, neither is, the one shown second is."""


class Outcomes(NamedTuple):
    """The judgements of one pair, seen from A."""

    answers: NDArray[np.int8]
    """(N,): 1 where A was preferred, 0 indifferent, -1 where B was."""
    rows: NDArray[np.int64]
    """(N,): which judgements these are."""


@dataclass(frozen=True, slots=True)
class Comparisons:
    """N judgements of one question. Raises a UserError where a system is compared with itself or an answer is no answer."""

    first: NDArray[np.str_]
    """(N,) the system shown first (on the left)."""
    second: NDArray[np.str_]
    answers: NDArray[np.int8]
    """(N,) FIRST, INDIFFERENT or SECOND: 1, 0 or -1."""
    raters: NDArray[np.str_]
    prompts: NDArray[np.str_]
    categories: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        columns = [self.first, self.second, self.answers, self.raters, self.prompts]
        columns += [] if self.categories is None else [self.categories]
        if len(lengths := {len(column) for column in columns}) > 1:
            raise UserError(f"the columns of the judgements have different lengths: {sorted(lengths)}")
        for row in np.flatnonzero(self.first == self.second)[:1]:
            raise UserError(f"judgement {row} compares {str(self.first[row])!r} with itself: give two systems")
        for row in np.flatnonzero(~np.isin(self.answers, (FIRST, INDIFFERENT, SECOND)))[:1]:
            raise UserError(
                f"judgement {row} has the answer {self.answers[row]}: give {FIRST} for the system shown first, "
                f"{INDIFFERENT} for neither, {SECOND} for the other"
            )

    def __len__(self) -> int:
        return len(self.answers)

    def systems(self) -> list[str]:
        """Returns the systems that were compared, by name."""
        return sorted({str(name) for name in np.concatenate([self.first, self.second])})

    def of_pair(self, a: str, b: str) -> Outcomes:
        """Returns A's outcomes against B. Raises a UserError where the two never met."""
        systems = self.systems()
        for name in (a, b):
            if name not in systems:
                raise UserError(
                    f"no judgement is of {name!r}{did_you_mean(name, systems)}; compared were: {', '.join(systems)}"
                )
        a_first = (self.first == a) & (self.second == b)
        b_first = (self.first == b) & (self.second == a)
        rows = np.flatnonzero(a_first | b_first)
        if not len(rows):
            raise UserError(f"{a!r} and {b!r} were never compared: ask for a pair that was")
        sign = np.where(a_first[rows], 1, -1)
        return Outcomes((self.answers[rows] * sign).astype(np.int8), rows)


def comparisons(
    first: Sequence[str],
    second: Sequence[str],
    answers: Sequence[int],
    raters: Sequence[str],
    prompts: Sequence[str],
    categories: Sequence[str] | None = None,
) -> Comparisons:
    """Returns the judgements of lists, one entry each per judgement."""
    return Comparisons(
        np.asarray(first, np.str_),
        np.asarray(second, np.str_),
        np.asarray(answers, np.int8),
        np.asarray(raters, np.str_),
        np.asarray(prompts, np.str_),
        None if categories is None else np.asarray(categories, np.str_),
    )
