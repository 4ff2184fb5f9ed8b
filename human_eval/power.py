"""How sure a study will be: the half-width of a preference's interval, before anybody has judged anything."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from scipy import special

from drawbench.human_eval.clustering import quantile
from drawbench.human_eval.study import Study

MOST = 10_000
"""Raters of a unit; who needs more needs another design."""


class Precision(NamedTuple):
    """What a number of raters gives."""

    raters: int
    """Of each unit."""
    judgements: int
    half_width: float


class Extent(NamedTuple):
    """How much of a study is about one pair of systems, or of single sets about one system."""

    systems: tuple[str, ...]
    prompts: int
    units: int
    """Which have some of them."""


def scarcest_pair(study: Study) -> Extent:
    """Returns the pair with the fewest prompts on the first screen: with balanced pairs each has but a part of them."""
    prompts: dict[tuple[str, ...], set[str]] = defaultdict(set)
    units: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for item in study.items:
        if item.screen == 0 and item.control is None:
            pair = tuple(side.system for side in item.sides)
            prompts[pair].add(item.prompt)
            units[pair].add(item.unit)
    found = [Extent(pair, len(prompts[pair]), len(units[pair])) for pair in prompts]
    return min(found, key=lambda extent: extent.prompts)


def precision(
    raters: int,
    units: int,
    prompts: int,
    *,
    share: float = 0.5,
    rater_sd: float = 0.1,
    prompt_sd: float = 0.15,
    level: float = 0.95,
) -> Precision:
    """Returns the half-width over raters and prompts, where each of ``raters`` people judges all prompts of one of ``units``.

    ``rater_sd`` and ``prompt_sd`` are how much the share differs from rater to rater and from prompt to prompt, as a share.
    """
    n = raters * prompts
    rest = max(share * (1 - share) - rater_sd**2 - prompt_sd**2, 0.0)
    variance = rater_sd**2 / (raters * units) + prompt_sd**2 / prompts + rest / n
    people, texts = raters * units, prompts
    t = quantile(level, people, texts) if min(people, texts) > 1 else float("inf")
    return Precision(raters, n, float(t * np.sqrt(variance)))


def raters_for(half_width: float, units: int, prompts: int, **kinds: float) -> Precision | None:
    """Returns the fewest raters of each unit that reach a half-width, or None where no number does: the prompts limit it."""
    low, high = 1, MOST
    if precision(high, units, prompts, **kinds).half_width > half_width:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if precision(middle, units, prompts, **kinds).half_width <= half_width else (middle + 1, high)
        )
    return precision(low, units, prompts, **kinds)


def naive_half_width(judgements: int, share: float = 0.5, level: float = 0.95) -> float:
    """Returns the half-width as if all judgements were independent: what papers print."""
    return float(special.ndtri(0.5 + level / 2) * np.sqrt(share * (1 - share) / judgements))
