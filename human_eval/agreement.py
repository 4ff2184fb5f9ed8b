"""Agreement of raters: Krippendorff's alpha and Fleiss' kappa, each with a bootstrap over items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.human_eval.clustering import upper
from drawbench.interfaces import Interval

Distance = Literal["nominal", "ordinal"]
Counts = NDArray[np.int64]

_ALL_EQUAL = "all ratings are equal: agreement beyond chance is undefined"
_ONE_ITEM = "only one item is rated twice: an interval over items needs two"


class Agreement(NamedTuple):
    """A coefficient of agreement: 1 for perfect, 0 for what chance gives."""

    value: float | None
    """None: undefined."""
    interval: Interval | None
    """Over items."""
    reason: str | None
    """Why there is no interval, or no value."""
    n: int
    """Ratings of the items that at least two raters rated: the others say nothing of agreement."""
    n_items: int
    n_raters: int


def rating_table(values: Sequence[float], raters: Sequence[str], items: Sequence[str]) -> NDArray[np.float64]:
    """Returns the ``(R, I)`` table of N ratings, NaN where a rater did not rate. Rows and columns are sorted by name.

    Raises a UserError where a rater rated an item twice.
    """
    rater_names, by_rater = np.unique(np.asarray(raters, np.str_), return_inverse=True)
    item_names, by_item = np.unique(np.asarray(items, np.str_), return_inverse=True)
    cells, counts = np.unique(by_rater * len(item_names) + by_item, return_counts=True)
    for cell in cells[counts > 1][:1]:
        rater, item = divmod(int(cell), len(item_names))
        raise UserError(
            f"rater {str(rater_names[rater])!r} rated {str(item_names[item])!r} more than once: "
            "keep one rating of each rater and item"
        )
    table = np.full((len(rater_names), len(item_names)), np.nan)
    table[by_rater, by_item] = np.asarray(values, np.float64)
    return table


def krippendorff_alpha(
    ratings: NDArray[np.float64],
    distance: Distance,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> Agreement:
    """Returns Krippendorff's alpha (2018, chapter 12) of ``(R, I)`` ratings, NaN where there is none.

    The interval is the percentile bootstrap over items, which also draws the expected disagreement anew.
    """
    ratings = _rated_twice(ratings)
    counts = _counts(ratings)
    if (found := _undefined(ratings, counts)) is not None:
        return found
    import evalica
    import pandas as pd

    value = float(evalica.alpha(pd.DataFrame(ratings), distance=distance).alpha)
    interval, reason = _bootstrap(
        counts, lambda drawn: resampled_alphas(counts, drawn, distance), seed, resamples, level
    )
    return Agreement(value, interval, reason, *_sizes(ratings))


def fleiss_kappa(ratings: NDArray[np.float64], seed: int = 0, resamples: int = 1000, level: float = 0.95) -> Agreement:
    """Returns Fleiss' kappa (1971) of ``(R, I)`` ratings, NaN where there is none: undefined unless all items have as many.

    The raters of one item need not be those of another. The interval is the percentile bootstrap over items.
    """
    counts = _counts(ratings)
    per_item = counts.sum(1)
    if len(per_item) and per_item.min() < per_item.max():
        given = f"items have {per_item.min()} to {per_item.max()} ratings"
        unequal = f"{given}, and Fleiss' kappa needs as many for each: see Krippendorff's alpha"
        return Agreement(None, None, unequal, *_sizes(ratings))
    ratings = _rated_twice(ratings)
    if (found := _undefined(ratings, counts)) is not None:
        return found
    from statsmodels.stats import inter_rater

    def kappas(drawn: Counts) -> NDArray[np.float64]:
        items = np.arange(len(counts))
        with np.errstate(invalid="ignore"):
            return np.array([inter_rater.fleiss_kappa(counts[np.repeat(items, times)]) for times in drawn])

    interval, reason = _bootstrap(counts, kappas, seed, resamples, level)
    return Agreement(float(inter_rater.fleiss_kappa(counts)), interval, reason, *_sizes(ratings))


def resampled_alphas(counts: Counts, drawn: Counts, distance: Distance) -> NDArray[np.float64]:
    """Returns the ``(B,)`` alphas of items drawn ``(B, I)`` times each; NaN where all drawn ratings are equal.

    ``counts`` (I, K) say how often each of K ordered values was given. evalica computes one alpha at a time, from a table of
    ratings, which for a thousand resamples takes a thousand times as long.
    """
    per_item = counts.sum(1)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1], dtype=np.int64)
    seen = np.einsum("bi,ikl->bkl", drawn / (per_item - 1), pairs)
    totals = seen.sum(2)
    n = totals.sum(1)
    chance = (totals[:, :, None] * totals[:, None, :] - totals[:, :, None] * np.eye(counts.shape[1])) / (
        n[:, None, None] - 1
    )
    if distance == "nominal":
        apart = np.broadcast_to(1.0 - np.eye(counts.shape[1]), seen.shape)
    else:
        rank = np.cumsum(totals, 1) - totals / 2
        apart = (rank[:, :, None] - rank[:, None, :]) ** 2
    observed, expected = (seen * apart).sum((1, 2)), (chance * apart).sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((totals > 0).sum(1) > 1, 1 - observed / expected, np.nan)


def _rated_twice(ratings: NDArray[np.float64]) -> NDArray[np.float64]:
    return ratings[:, np.count_nonzero(~np.isnan(ratings), axis=0) > 1]


def _counts(ratings: NDArray[np.float64]) -> Counts:
    """Returns ``(I, K)`` numbers of ratings of each item with each of the K values, in the values' order."""
    values = np.unique(ratings[~np.isnan(ratings)])
    counts: Counts = np.count_nonzero(ratings[:, :, None] == values, axis=0).astype(np.int64)
    return counts


def _undefined(ratings: NDArray[np.float64], counts: Counts) -> Agreement | None:
    if not ratings.shape[1]:
        return Agreement(None, None, "no item is rated by two raters", *_sizes(ratings))
    if counts.shape[1] == 1:
        return Agreement(None, None, _ALL_EQUAL, *_sizes(ratings))
    return None


def _sizes(ratings: NDArray[np.float64]) -> tuple[int, int, int]:
    there = ~np.isnan(ratings)
    return int(there.sum()), int(there.any(0).sum()), int(there.any(1).sum())


def _bootstrap(
    counts: Counts,
    coefficients: Callable[[Counts], NDArray[np.float64]],
    seed: int,
    resamples: int,
    level: float,
) -> tuple[Interval | None, str | None]:
    """Returns the percentile interval, or why there is none: where too many resamples have no coefficient themselves."""
    items = len(counts)
    above = upper(level)
    if items < 2:
        return None, _ONE_ITEM
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(items, np.full(items, 1 / items), size=resamples)
    found = coefficients(drawn)
    found = found[~np.isnan(found)]
    lost = resamples - len(found)
    if lost > (1 - level) * resamples:
        return None, f"in {lost} of {resamples} resamples of the items all ratings are equal: too few differ"
    low, high = np.quantile(found, [1 - above, above])
    method = f"percentile bootstrap over items, {resamples} resamples, seed {seed}"
    if lost:
        method += f", {lost} without a value left out"
    return Interval(float(low), float(high), method, "items", level), None
