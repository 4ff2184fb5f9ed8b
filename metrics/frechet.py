"""The Fréchet distance between two sets of features, each taken for a Gaussian (Heusel et al. 2017), in float64.

|μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr √(Σ₁Σ₂). The last term is the sum of the singular values of A₁A₂ᵀ, where AᵢᵀAᵢ = Σᵢ: no
square root of a product, which is not symmetric, no ε added to a diagonal, and no result cut at 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

Array = NDArray[np.float64]

_BLOCK = 256
"""Rows that are float64 at a time: the features themselves may be float32, and larger than what is left of the memory."""


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
    """Returns the factor of ``(N, D)`` features, exact to rounding, or of moments: the root, within 1e-7 of the trace."""
    if isinstance(of, Moments):
        return Factored(of.mean, root(of.covariance))
    n, d = of.shape
    mean = of.mean(0, dtype=np.float64)
    if n <= d:
        return Factored(mean, (of - mean) / np.sqrt(n - 1))
    upper = np.empty((0, d))
    for rows in _centred(of, mean, max(d, _BLOCK)):  # A thin QR, by blocks: no second copy of the features.
        upper = linalg.qr(np.concatenate([upper, rows]), mode="r", overwrite_a=True, check_finite=False)[0][:d].copy()
    return Factored(mean, upper / np.sqrt(n - 1))


def root(covariance: Array) -> Array:
    """Returns the symmetric square root; what rounding left below 0 among the eigenvalues is 0."""
    values, vectors = linalg.eigh(covariance)
    found: Array = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return found


def frechet_features(one: NDArray[np.floating], two: NDArray[np.floating]) -> float:
    """Returns the distance of two sets of features ``(N, D)``, ``(M, D)``; exact also where there are fewer than D.

    Agrees with 50-digit arithmetic within 1e-12 of tr Σ₁ + tr Σ₂.
    """
    return _distance(factored(one), factored(two))


def frechet(features: NDArray[np.floating], reference: Moments | Factored) -> float:
    """Returns the distance of features ``(N, D)`` from a reference; from its moments alone, within 1e-7 of the traces."""
    return _distance(factored(features), _as_factored(reference))


def without_groups(features: NDArray[np.floating], groups: NDArray[np.int64], reference: Moments | Factored) -> Array:
    """Returns the distances of ``(N, D)`` features from a reference without each of the groups ``0 … G-1`` in turn, ``(G,)``.

    At least two must stay. With more features than images each costs singular values of N x N at most, else eigenvalues of
    D x D: the moments of what stays follow from sums.
    """
    given = _as_factored(reference)
    return (_few_without if len(features) <= features.shape[1] else _many_without)(features, groups, given)


def _few_without(features: NDArray[np.floating], groups: NDArray[np.int64], given: Factored) -> Array:
    shift = features.mean(0, dtype=np.float64)
    rows = features - shift
    # The singular values of A₁A₂ᵀ are those of LQ = A₁A₂ᵀ without Q; a group's rows are rows of L, and so is the mean.
    lower = linalg.qr((rows @ given.factor.T).T, mode="r")[0][: len(rows)].T
    trace = np.square(given.factor).sum()
    found = []
    for group in range(int(groups.max()) + 1):
        stays = groups != group
        n, kept, part = int(stays.sum()), rows[stays], lower[stays]
        mean = kept.mean(0)
        overlap = linalg.svdvals(part - part.mean(0)).sum() / np.sqrt(n - 1)
        step = mean + shift - given.mean
        found.append(step @ step + np.square(kept - mean).sum() / (n - 1) + trace - 2 * overlap)
    return np.array(found, np.float64)


def _many_without(features: NDArray[np.floating], groups: NDArray[np.int64], given: Factored) -> Array:
    shift = features.mean(0, dtype=np.float64)  # Sums of squares of what is near 0 lose no digits.
    square = _squares(features, shift)
    trace = np.square(given.factor).sum()
    found = []
    for group in range(int(groups.max()) + 1):
        gone = features[groups == group] - shift
        n = len(features) - len(gone)
        mean = -gone.sum(0) / n
        covariance = (square - gone.T @ gone - n * np.outer(mean, mean)) / (n - 1)
        values = linalg.eigvalsh(given.factor @ covariance @ given.factor.T)
        overlap = np.sqrt(np.maximum(values, 0)).sum()
        step = mean + shift - given.mean
        found.append(step @ step + np.trace(covariance) + trace - 2 * overlap)
    return np.array(found, np.float64)


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


def _distance(one: Factored, two: Factored) -> float:
    step = one.mean - two.mean
    overlap = linalg.svdvals(one.factor @ two.factor.T).sum()
    return float(step @ step + np.square(one.factor).sum() + np.square(two.factor).sum() - 2 * overlap)
