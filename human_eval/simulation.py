"""Simulated judgements whose true shares are known: raters and prompts with leanings of their own, a favoured side, lazy raters.

A judgement is a number on a scale where chance has the standard deviation 1. To the strength of A over B it adds what this rater
and this prompt lean to, the favour for the side shown first, and chance. Above ``indifference`` A is preferred, below its
negative B. As all of it is Gaussian, the shares among all raters and prompts that there could be are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from drawbench.errors import UserError
from drawbench.human_eval.comparisons import FIRST, INDIFFERENT, SECOND, Comparisons


@dataclass(frozen=True, slots=True)
class Population:
    """What raters and prompts are like, in units of a judgement's chance."""

    indifference: float = 0.5
    """Differences within ± this are answered indifferent. 0: never."""
    rater_sd: float = 0.0
    """Of the raters' own leaning to A, drawn anew for each pair of systems."""
    prompt_sd: float = 0.0
    """Of the prompts' own leaning to A, drawn anew for each pair."""
    side_bias: float = 0.0
    """All raters' favour for the side shown first."""
    side_sd: float = 0.0
    """Of the raters' own favour for the side shown first, the same for all pairs."""
    at_random: float = 0.0
    """Share of lazy raters, who give one of the three answers at random."""
    always_indifferent: float = 0.0
    """Share of raters who are always indifferent."""
    always_first: float = 0.0
    """Share of raters who always prefer the side shown first."""

    def __post_init__(self) -> None:
        spreads = (self.indifference, self.rater_sd, self.prompt_sd, self.side_sd)
        if min(spreads) < 0:
            raise UserError(f"indifference and standard deviations are at least 0, and one is {min(spreads)}")
        lazy = (self.at_random, self.always_indifferent, self.always_first)
        if min(lazy) < 0 or sum(lazy) > 1:
            raise UserError(f"the shares of lazy raters are {lazy}: give shares that sum to at most 1")


class Shares(NamedTuple):
    """The three shares among all judgements that there could be."""

    a: float
    indifferent: float
    b: float


class Studies(NamedTuple):
    """S studies, in each of which R raters judge the same pair on P prompts once."""

    answers: NDArray[np.int8]
    """(S, R, P): 1 where A is preferred, 0 indifferent, -1 where B is."""
    a_first: NDArray[np.bool_]
    """(S, R, P): whether A was shown first, by the toss of a coin."""


def true_shares(strength: float, population: Population) -> Shares:
    """Returns what ``studies`` gives on average, exactly."""
    of = population
    sd = np.sqrt(1 + of.rater_sd**2 + of.prompt_sd**2 + of.side_sd**2)
    means = np.array([strength + of.side_bias, strength - of.side_bias])  # A shown first, and second.
    a = float(special.ndtr((means - of.indifference) / sd).mean())
    b = float(special.ndtr((-means - of.indifference) / sd).mean())
    diligent = 1 - of.at_random - of.always_indifferent - of.always_first
    one_side = of.at_random / 3 + of.always_first / 2
    return Shares(
        diligent * a + one_side,
        diligent * (1 - a - b) + of.at_random / 3 + of.always_indifferent,
        diligent * b + one_side,
    )


def studies(
    strength: float, population: Population, raters: int, prompts: int, rng: np.random.Generator, count: int = 1
) -> Studies:
    """Returns ``count`` studies of one pair, A's strength over B being ``strength``."""
    drawn = _Raters.draw(population, count, raters, rng)
    return _judge(strength, population, drawn, prompts, rng)


def simulate(
    strengths: Mapping[tuple[str, str], float], population: Population, raters: int, prompts: int, seed: int
) -> Comparisons:
    """Returns one study in which each rater judges each pair (A, B) on each prompt, A's strength over B being given."""
    rng = np.random.default_rng(seed)
    drawn = _Raters.draw(population, 1, raters, rng)
    first, second, answers = [], [], []
    for (a, b), strength in strengths.items():
        judged = _judge(strength, population, drawn, prompts, rng)
        a_first = judged.a_first.ravel()
        first.append(np.where(a_first, a, b))
        second.append(np.where(a_first, b, a))
        answers.append(np.where(a_first, judged.answers.ravel(), -judged.answers.ravel()).astype(np.int8))
    rater_names = np.repeat(_names("rater", raters), prompts)
    prompt_names = np.tile(_names("prompt", prompts), raters)
    return Comparisons(
        np.concatenate(first),
        np.concatenate(second),
        np.concatenate(answers),
        np.tile(rater_names, len(strengths)),
        np.tile(prompt_names, len(strengths)),
    )


class _Raters(NamedTuple):
    """S × R raters: what is theirs whichever systems they see."""

    favour: NDArray[np.float64]
    """(S, R, 1) for the side shown first."""
    kind: NDArray[np.float64]
    """(S, R, 1), even in [0, 1): its place decides who is lazy, and how."""

    @classmethod
    def draw(cls, population: Population, count: int, raters: int, rng: np.random.Generator) -> _Raters:
        shape = (count, raters, 1)
        return cls(population.side_bias + population.side_sd * rng.standard_normal(shape), rng.random(shape))


def _judge(strength: float, population: Population, raters: _Raters, prompts: int, rng: np.random.Generator) -> Studies:
    count, n_raters, _ = raters.kind.shape
    shape = (count, n_raters, prompts)
    a_first = rng.random(shape) < 0.5
    felt = rng.standard_normal(shape)
    felt += strength
    felt += population.rater_sd * rng.standard_normal((count, n_raters, 1))
    felt += population.prompt_sd * rng.standard_normal((count, 1, prompts))
    felt += np.where(a_first, raters.favour, -raters.favour)
    answers = (felt > population.indifference).astype(np.int8) - (felt < -population.indifference)
    end = population.at_random
    if end:
        answers = np.where(raters.kind < end, rng.integers(-1, 2, shape, np.int8), answers)
    start, end = end, end + population.always_indifferent
    answers = np.where((raters.kind >= start) & (raters.kind < end), INDIFFERENT, answers)
    start, end = end, end + population.always_first
    always_first = (raters.kind >= start) & (raters.kind < end)
    answers = np.where(always_first, np.where(a_first, FIRST, SECOND), answers)
    return Studies(answers.astype(np.int8), a_first)


def _names(kind: str, count: int) -> NDArray[np.str_]:
    width = len(str(count - 1))
    return np.array([f"{kind}{i:0{width}}" for i in range(count)])
