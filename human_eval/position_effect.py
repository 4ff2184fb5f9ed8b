"""Side and order: whether answers depend on which images stood first, or on when they were judged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.human_eval.comparisons import FIRST, INDIFFERENT, Comparisons
from drawbench.human_eval.preference import Share, share_interval
from drawbench.interfaces import Interval
from drawbench.intervals import paired_difference


class SideEffect(NamedTuple):
    """How often the side shown first was preferred, among the judgements that prefer one. Without an effect: half."""

    share: Share
    p: float | None
    """Two-sided, that so lopsided a count appears where each rater prefers either side alike."""
    p_method: str | None


class OrderEffect(NamedTuple):
    """The mean of a rater's later answers minus that of the earlier, averaged over raters. Without an effect: 0."""

    value: float | None
    interval: Interval | None
    """Over raters."""
    reason: str | None
    p: float | None
    p_method: str | None
    n_raters: int
    """Raters with at least two judgements: the others have no order."""


def side_effect(judged: Comparisons, seed: int = 0, level: float = 0.95) -> SideEffect:
    """Returns the side effect with its test: sign flips of each rater's answers for the first less those for the second.

    Which system stands first must have been drawn at random; then prompts and systems decide nothing here.
    """
    decided = judged.answers != INDIFFERENT
    answers, raters = judged.answers[decided], judged.raters[decided]
    share = share_interval((answers == FIRST).astype(np.float64), raters, judged.prompts[decided], level)
    surplus = {str(name): float(answers[raters == name].sum()) for name in np.unique(raters)}
    tested = paired_difference(surplus, dict.fromkeys(surplus, 0.0), "mean", level, seed)
    return SideEffect(share, tested.p, _by_rater(tested.p_method))


def order_effect(
    values: NDArray[np.float64],
    raters: NDArray[np.str_],
    positions: NDArray[np.int64],
    seed: int = 0,
    level: float = 0.95,
) -> OrderEffect:
    """Returns how ``(N,)`` answers move from the first to the second half of a rater's judgements, with a sign-flip test.

    ``positions`` number a rater's judgements in the order in which they were made; of an odd number, the middle one belongs to
    neither half. Values may be anything that is compared over time: 1 where the answer was indifferent, seconds.
    Raises a UserError where a rater has two judgements in one position.
    """
    early, late = {}, {}
    for name in np.unique(raters):
        rows = np.flatnonzero(raters == name)
        if len(np.unique(positions[rows])) < len(rows):
            raise UserError(f"rater {str(name)!r} has two judgements in one position: number them in the order made")
        half = len(rows) // 2
        if half:
            made = np.asarray(values, np.float64)[rows[np.argsort(positions[rows])]]
            early[str(name)], late[str(name)] = float(made[:half].mean()), float(made[-half:].mean())
    if not early:
        return OrderEffect(None, None, "no rater has two judgements", None, None, 0)
    found = paired_difference(late, early, "mean", level, seed)
    interval = None if found.interval is None else found.interval._replace(method="t over raters", over="raters")
    reason = (
        None if found.reason is None else "all raters differ alike, or there is one: the spread cannot be estimated"
    )
    return OrderEffect(found.value, interval, reason, found.p, _by_rater(found.p_method), len(early))


def _by_rater(method: str | None) -> str | None:
    return None if method is None else f"{method}, by rater"
