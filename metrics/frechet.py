"""The Fréchet distance between two sets of features, each taken for a Gaussian (Heusel et al. 2017), in float64.

|μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr √(Σ₁Σ₂). The last term is the sum of the singular values of A₁A₂ᵀ, where AᵢᵀAᵢ = Σᵢ: no
square root of a product, which is not symmetric, no ε added to a diagonal, and no result cut at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from drawbench.metrics.root_trace import nodes_for, trace_of_root_without

Array = NDArray[np.float64]

_BLOCK = 256
"""Rows that are float64 at a time: the features themselves may be float32, and larger than what is left of the memory."""
_DIRECT = 512
"""Images up to which a group is left out by decomposing anew: it takes milliseconds."""
_RANK = 1e-14
"""Of the largest variance: what a covariance has left beyond it is the rounding of its own sums."""
_SAFE = 1e-10
"""Of the traces: how much digits lost in squaring may move a distance of moments."""


class Moments(NamedTuple):
    """What the distance knows of a set."""

    mean: Array
    """``(D,)``."""
    covariance: Array
    """``(D, D)``, of n - 1."""
    n: int | None
    """None: whoever computed them did not say."""


class Factored(NamedTuple):
    """The same, with the covariance as AᵀA: one decomposition for any number of distances."""

    mean: Array
    factor: Array
    """A, ``(K, D)`` with K at most D."""


def moments(features: NDArray[np.floating]) -> Moments:
    """Returns the moments of ``(N, D)`` features; at least two are needed. Holds one covariance and a few rows beside them."""
    mean = features.mean(0, dtype=np.float64)
    return Moments(mean, _squares(features, mean) / (len(features) - 1), len(features))


def factored(of: NDArray[np.floating] | Moments) -> Factored:
    """Returns the factor of ``(N, D)`` features, exact to rounding, or of moments: of their rank, within 1e-7 of the trace."""
    if isinstance(of, Moments):
        return Factored(of.mean, _cholesky(of.covariance))
    n, d = of.shape
    mean = of.mean(0, dtype=np.float64)
    if n <= d:
        return Factored(mean, (of - mean) / np.sqrt(n - 1))
    upper = np.empty((0, d))
    for rows in _centred(of, mean, max(d, _BLOCK)):  # A thin QR, by blocks: no second copy of the features.
        upper = linalg.qr(np.concatenate([upper, rows]), mode="r", overwrite_a=True, check_finite=False)[0][:d].copy()
    return Factored(mean, upper / np.sqrt(n - 1))


def _cholesky(covariance: Array) -> Array:
    """Returns A, ``(rank, D)``, of a covariance AᵀA: Cholesky's factor with pivots, 12 times as fast as a symmetric root."""
    tolerance = _RANK * max(float(covariance.diagonal().max()), 0.0)
    lower, order, rank, _ = linalg.lapack.dpstrf(covariance, lower=1, tol=tolerance)
    found = np.empty((rank, len(covariance)))
    found[:, order - 1] = np.tril(lower)[:, :rank].T
    return found


def frechet_features(one: NDArray[np.floating], two: NDArray[np.floating]) -> float:
    """Returns the distance of two sets of features ``(N, D)``, ``(M, D)``; exact also where there are fewer than D.

    Agrees with 50-digit arithmetic within 1e-12 of tr Σ₁ + tr Σ₂.
    """
    return _distance(factored(one), factored(two))


def frechet(features: NDArray[np.floating], reference: Moments | Factored) -> float:
    """Returns the distance of features ``(N, D)`` from a reference; from its moments alone, within 1e-7 of the traces."""
    return _distance(factored(features), _as_factored(reference))


def frechet_moments(one: Moments, two: Moments) -> float:
    """Returns the distance of two sets of which the moments are left, within 1e-7 of the traces."""
    return _distance(factored(one), factored(two), _overlap_of_moments)


def without_groups(features: NDArray[np.floating], groups: NDArray[np.int64], reference: Moments | Factored) -> Array:
    """Returns the distances of ``(N, D)`` features from a reference without each of the groups ``0 … G-1`` in turn, ``(G,)``.

    At least two must stay. Small sets are decomposed anew for each group. Of large ones a single decomposition, of images or of
    features, whichever are fewer, gives all the groups by `trace_of_root_without`: within 1e-5 of the distances, and the spread
    between them, which is what they are for, within 1e-3.
    """
    given = _as_factored(reference)
    shift = features.mean(0, dtype=np.float64)  # Sums of squares of what is near 0 lose no digits.
    trace = np.square(given.factor).sum()
    overlaps = (_anew if len(features) <= _DIRECT else _of_one_decomposition)(features, groups, given, shift)
    whole = _sum_of_squares(features, shift)
    found = []
    for group in range(int(groups.max()) + 1):
        gone = features[groups == group] - shift
        n = len(features) - len(gone)
        mean = -gone.sum(0) / n
        step = mean + shift - given.mean
        own = (whole - np.square(gone).sum() - n * mean @ mean) / (n - 1)
        found.append(step @ step + own + trace - 2 * overlaps[group])
    return np.array(found, np.float64)


def _anew(features: NDArray[np.floating], groups: NDArray[np.int64], given: Factored, shift: Array) -> list[float]:
    # The singular values of A₁A₂ᵀ are those of LQ = A₁A₂ᵀ without Q; a group's rows are rows of L, and so is the mean.
    rows = (features - shift) @ given.factor.T
    if rows.shape[0] < rows.shape[1]:
        rows = linalg.qr(rows.T, mode="r")[0][: len(rows)].T
    found = []
    for group in range(int(groups.max()) + 1):
        part = rows[groups != group]
        found.append(float(linalg.svdvals(part - part.mean(0)).sum() / np.sqrt(len(part) - 1)))
    return found


def _of_one_decomposition(
    features: NDArray[np.floating], groups: NDArray[np.int64], given: Factored, shift: Array
) -> list[float]:
    few = len(features) <= len(given.factor)
    if few:
        rows = (features - shift) @ given.factor.T
        values, vectors = linalg.eigh(rows @ rows.T)
    else:
        values, vectors = linalg.eigh(given.factor @ _squares(features, shift) @ given.factor.T)
    values = np.maximum(values, 0)
    if not values.any():
        return [0.0] * (int(groups.max()) + 1)
    turn = vectors * np.sqrt(values) if few else given.factor.T @ vectors
    nodes = nodes_for(values)
    found = []
    for group in range(int(groups.max()) + 1):
        out = groups == group
        gone = turn[out] if few else (features[out] - shift) @ turn
        n = len(features) - len(gone)
        # Without the group the mean moves, too, which takes away one rank more.
        lost = np.concatenate([gone, gone.sum(0, keepdims=True) / np.sqrt(n)])
        found.append(trace_of_root_without(values, lost, nodes) / np.sqrt(n - 1))
    return found


def _as_factored(reference: Moments | Factored) -> Factored:
    return reference if isinstance(reference, Factored) else factored(reference)


def _centred(features: NDArray[np.floating], mean: Array, block: int) -> Iterator[Array]:
    for first in range(0, len(features), block):
        yield features[first : first + block] - mean


def _squares(features: NDArray[np.floating], mean: Array) -> Array:
    """Returns the sum of the squares of centred rows, ``(D, D)``, added up in place."""
    d = features.shape[1]
    total = np.zeros((d, d), order="F")
    for rows in _centred(features, mean, _BLOCK):
        total = linalg.blas.dsyrk(1.0, rows.T, beta=1.0, c=total, overwrite_c=True)
    for column in range(d):  # dsyrk fills one triangle.
        total[column + 1 :, column] = total[column, column + 1 :]
    return total


def _sum_of_squares(features: NDArray[np.floating], mean: Array) -> float:
    return float(sum(np.square(rows).sum() for rows in _centred(features, mean, _BLOCK)))


def _distance(one: Factored, two: Factored, overlap: Callable[[Array, float], float] | None = None) -> float:
    step = one.mean - two.mean
    traces = float(np.square(one.factor).sum() + np.square(two.factor).sum())
    product = one.factor @ two.factor.T
    shared = overlap(product, traces) if overlap else float(linalg.svdvals(product).sum())
    return float(step @ step + traces - 2 * shared)


def _overlap_of_moments(product: Array, traces: float) -> float:
    """Returns the sum of the singular values, from the eigenvalues of the product's square where the digits allow it."""
    small = product if product.shape[0] <= product.shape[1] else product.T
    if not small.size:
        return 0.0
    values = np.maximum(linalg.eigvalsh(small @ small.T), 0)
    # Rounding moves each eigenvalue by about ε of the largest: most that can do to their roots.
    noise = 4 * np.finfo(np.float64).eps * values[-1]
    moved = float((np.sqrt(values + noise) - np.sqrt(values)).sum())
    return float((np.sqrt(values) if moved <= _SAFE * traces else linalg.svdvals(small)).sum())
