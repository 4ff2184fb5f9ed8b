"""Bradley-Terry strengths with ties: which system is preferred to which, how strongly, and how surely, over all pairs at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import numpy as np

from drawbench.errors import UserError, did_you_mean
from drawbench.human_eval.clustering import (
    OVER,
    Floats,
    clusters,
    few_raters,
    no_interval,
    quantile,
    two_sided_p,
    two_way_variance,
)
from drawbench.human_eval.comparisons import Comparisons
from drawbench.human_eval.davidson import find_patterns, influence, maximise
from drawbench.human_eval.separation import require_a_maximum
from drawbench.interfaces import Interval
from drawbench.intervals import holm

_METHOD = "maximum likelihood, sandwich clustered by raters and by prompts, t"


class Strength(NamedTuple):
    """How strong one system is: the log odds of being preferred to another are the difference of two strengths."""

    system: str
    value: float
    interval: Interval | None
    """Over raters x prompts. None for the anchor, too."""
    best_rank: int | None
    """One more than there are systems that are stronger beyond doubt: by Holm's test over all pairs, at 1 - level."""
    worst_rank: int | None


class Advantage(NamedTuple):
    """What standing first adds to the log odds."""

    value: float
    interval: Interval | None
    p: float | None
    """Two-sided, that there is none."""


class Ranking(NamedTuple):
    """Davidson's model, fitted."""

    strengths: tuple[Strength, ...]
    """The strongest first."""
    tie: float
    """Davidson's nu: how often nobody is preferred between equals, against how often one of them is. 0: there was no tie."""
    advantage: Advantage | None
    """None: the model has none."""
    log_likelihood: float
    """Without the ridge's penalty."""
    reason: str | None
    """Why there are no intervals."""
    n: int
    n_raters: int
    n_prompts: int
    anchor: str | None
    """The system whose strength is 0. None: the strengths sum to 0."""
    ridge: float
    remark: str | None


def rank_systems(
    judged: Comparisons,
    anchor: str | None = None,
    position: bool = True,
    ridge: float = 0.0,
    level: float = 0.95,
) -> Ranking:
    """Returns the strengths of all systems, with intervals over raters x prompts.

    Where ``position``, the side shown first may have an advantage. ``ridge`` subtracts ridge / 2 times the squared strengths and
    advantage from the log-likelihood, which draws all to 0. Raises a UserError where the comparisons do not connect the systems,
    where the likelihood has no maximum (perfect separation; not with a ridge), and where the advantage cannot be told from the
    strengths.
    """
    systems = judged.systems()
    if anchor is not None and anchor not in systems:
        raise UserError(
            f"no judgement is of the anchor {anchor!r}{did_you_mean(anchor, systems)}; compared were: {', '.join(systems)}"
        )
    if not ridge >= 0:
        raise UserError(f"the ridge is {ridge}: give 0 for none, or a small positive number")
    patterns = find_patterns(judged, systems, position)
    require_a_maximum(systems, patterns.design, patterns.answers, position, ridge > 0)
    theta, tie, log_likelihood = fit = maximise(patterns, ridge)
    rows = np.lexsort(
        (patterns.of_judgement, judged.prompts, judged.raters)
    )  # Sums must not depend on the given order.
    errors = influence(patterns, fit, ridge)[patterns.of_judgement[rows]]
    by = clusters(judged.raters[rows], judged.prompts[rows])
    reason = no_interval(by.n_raters, by.n_prompts)
    t = None if reason else quantile(level, by.n_raters, by.n_prompts)

    def deviations(contrasts: Floats) -> Floats:
        return np.sqrt(two_way_variance(errors @ contrasts.T, by))

    def interval(value: float, deviation: float) -> Interval | None:
        if t is None or not deviation:
            return None
        return Interval(value - t * deviation, value + t * deviation, method, OVER, level)

    method = _METHOD if not ridge else f"{_METHOD}, ridge {ridge:g}"
    count = len(systems)
    weights = np.full(count, 1 / count) if anchor is None else np.array([float(name == anchor) for name in systems])
    anchored = np.hstack([np.eye(count) - weights, np.zeros((count, 1))])
    values, spreads = anchored @ theta, deviations(anchored)
    ranks = _ranks(theta[:-1], deviations, level, (by.n_raters, by.n_prompts)) if t else [(None, None)] * count
    strengths = [
        Strength(name, float(value), interval(float(value), 0.0 if name == anchor else float(spread)), *rank)
        for name, value, spread, rank in zip(systems, values, spreads, ranks, strict=True)
    ]
    advantage = None
    if position:
        value, spread = float(theta[-1]), float(deviations(np.eye(count + 1)[-1:])[0])
        p = float(two_sided_p(value / spread, by.n_raters, by.n_prompts)) if t and spread else None
        advantage = Advantage(value, interval(value, spread), p)
    return Ranking(
        tuple(sorted(strengths, key=lambda strength: -strength.value)),
        *(tie, advantage, log_likelihood, reason, len(judged), by.n_raters, by.n_prompts, anchor, ridge),
        few_raters(by.n_raters),
    )


def _ranks(
    theta: Floats, deviations: Callable[[Floats], Floats], level: float, clustered: tuple[int, int]
) -> list[tuple[int, int]]:
    """Returns each system's best and worst rank, from a t test of each pair, adjusted by Holm for their number."""
    count = len(theta)
    pairs = list(combinations(range(count), 2))
    contrasts = np.zeros((len(pairs), count + 1))
    for row, (i, j) in enumerate(pairs):
        contrasts[row, [i, j]] = 1, -1
    differences, spreads = contrasts[:, :-1] @ theta, deviations(contrasts)
    with np.errstate(invalid="ignore"):  # 0 / 0 is no difference.
        p_values = np.nan_to_num(two_sided_p(differences / spreads, *clustered), nan=1.0)
    stronger, weaker = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for (i, j), difference, p in zip(pairs, differences, holm(p_values.tolist()), strict=True):
        if p is not None and p <= 1 - level:
            above, below = (i, j) if difference > 0 else (j, i)
            stronger[below] += 1
            weaker[above] += 1
    return [(1 + int(above), count - int(below)) for above, below in zip(stronger, weaker, strict=True)]
