"""Two-way clustering: how far a number moves with other raters and other prompts (Cameron, Gelbach and Miller 2011).

A judgement's influence is what it adds to the error of a number: (y - p) / N for a share. Influences are summed within each rater
and squared for the variance over raters, V_R, and within each prompt for that over prompts, V_P. What both have in them is
counted once: V_R + V_P - V_both, where V_both has a cluster for each rater and prompt.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from drawbench.errors import UserError

Floats = NDArray[np.float64]

OVER = "raters x prompts"
FEW_RATERS = 10


class Clusters(NamedTuple):
    """Which rater, prompt, and pair of both each of N judgements belongs to, as numbers from 0."""

    raters: NDArray[np.int64]
    prompts: NDArray[np.int64]
    cells: NDArray[np.int64]
    n_raters: int
    n_prompts: int
    n_cells: int


def clusters(raters: NDArray[np.str_], prompts: NDArray[np.str_]) -> Clusters:
    """Returns the clusters of ``(N,)`` raters' and prompts' names, numbered by name: the order of judgements decides nothing."""
    rater_names, by_rater = np.unique(raters, return_inverse=True)
    prompt_names, by_prompt = np.unique(prompts, return_inverse=True)
    cells, by_cell = np.unique(by_rater * len(prompt_names) + by_prompt, return_inverse=True)
    return Clusters(by_rater, by_prompt, by_cell, len(rater_names), len(prompt_names), len(cells))


def cluster_variance(sums: Floats, axis: int = -1) -> Floats:
    """Returns the variance of a total from its clusters' sums, which lie along ``axis``; G / (G - 1) for G clusters.

    A single cluster says nothing of others: 0.
    """
    count = sums.shape[axis]
    if count < 2:
        return np.zeros_like(sums.sum(axis))
    return np.asarray(count / (count - 1) * (sums**2).sum(axis), np.float64)


def combined(over_raters: Floats, over_prompts: Floats, both: Floats, least: Floats) -> Floats:
    """Returns the two-way variance, elementwise: never under either one-way variance, nor under ``least``.

    V_R + V_P - V_both alone falls to and below 0 where neither raters nor prompts matter.
    """
    two_way: Floats = np.maximum.reduce([over_raters + over_prompts - both, over_raters, over_prompts, least])
    return two_way


def two_way_variance(influence: Floats, by: Clusters) -> Floats:
    """Returns the ``(K,)`` variances of K numbers from ``(N, K)`` influences, never under that of independent judgements."""

    def of(codes: NDArray[np.int64], count: int) -> Floats:
        sums = np.zeros((count, influence.shape[1]))
        np.add.at(sums, codes, influence)
        return cluster_variance(sums, axis=0)

    return combined(
        of(by.raters, by.n_raters),
        of(by.prompts, by.n_prompts),
        of(by.cells, by.n_cells),
        cluster_variance(influence, axis=0),
    )


def quantile(level: float, n_raters: int, n_prompts: int) -> float:
    """Returns Student's two-sided quantile with min(R, P) - 1 degrees of freedom: the scarcer clusters limit what is known."""
    return float(special.stdtrit(min(n_raters, n_prompts) - 1, upper(level)))


def upper(level: float) -> float:
    """Returns where a two-sided interval ends, as a share of the distribution. Raises a UserError for a level like 95."""
    if not 0 < level < 1:
        raise UserError(f"the level of an interval is {level}: give a number between 0 and 1, such as 0.95")
    return 0.5 + level / 2


def two_sided_p(t: Any, n_raters: int, n_prompts: int) -> Any:
    """Returns the two-sided p-values of t statistics with the same degrees of freedom."""
    return 2 * special.stdtr(min(n_raters, n_prompts) - 1, -np.abs(t))


def no_interval(n_raters: int, n_prompts: int) -> str | None:
    """Returns why there can be no interval over raters and prompts, or None."""
    if n_raters < 2:
        return "only one rater: an interval over raters needs two"
    if n_prompts < 2:
        return "only one prompt: an interval over prompts needs two"
    return None


def few_raters(n_raters: int) -> str | None:
    """Returns the remark that a report makes of fewer than ten raters, or None.

    A kind of rater rarer than about 3 / R may be missing from the sample, and no interval can know of it.
    """
    return "few raters: the interval is approximate" if n_raters < FEW_RATERS else None
