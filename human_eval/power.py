"""How sure a study will be: the half-width of a preference's interval, before anybody has judged anything."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from drawbench.human_eval.clustering import quantile

MOST = 10_000
"""Raters of a unit; who needs more needs another design."""


class Precision(NamedTuple):
    """What a number of raters gives."""

    raters: int
    """Of each unit."""
    judgements: int
    half_width: float


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
