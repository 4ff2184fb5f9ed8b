"""FID∞: the Fréchet Inception distance that a run would have of endlessly many images (Chong & Forsyth 2020).

FID of n images is too large by about a constant over n. It is taken for several n, drawn from the run, and the line through it
over 1/n is read off at 1/n = 0. The reference stays as it is, with its own n.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from drawbench.errors import UserError
from drawbench.interfaces import Network, Output, Prompt
from drawbench.metrics.fid import Before, Protocol
from drawbench.metrics.frechet import Array, Factored, frechet, without_groups
from drawbench.metrics.inception import FEATURES
from drawbench.metrics.pool3 import pool3
from drawbench.metrics.reference import Reference, find_reference
from drawbench.metrics.resize import Crop, Filter

_BLOCK = 1024
"""Rows that are float64 at a time."""


def fid_infinity(
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    reference: str | None = None,
    protocol: Protocol = "clean",
    resize_before: Before = "none",
    crop: Crop = "center_crop",
    filter: Filter = "bicubic",  # noqa: A002  the option's name
    weights: Path | None = None,
    points: int = 15,
    smallest: int = 5000,
    seed: int = 0,
) -> ExtrapolatedDistance:
    """FID extrapolated to n = ∞ from ``points`` sizes, evenly from ``smallest`` to all images: the paper's are 15 from 5,000.

    Each size is drawn from the run anew, without replacement (``seed``). ``reference``, ``protocol`` to
    ``weights`` as of fid: with the same ones the features are computed once for both.

    Raises:
        AssetMissing: the weights are nowhere.
        UserError: no reference, weights that do not fit, statistics of another network.
    """
    if reference is None:
        raise UserError(
            "fid_infinity needs a reference: --reference DIR|RUN|STATS.npz, images or statistics to compare with"
        )
    if points < 2 or smallest < 2:
        raise UserError(
            f"fid_infinity.points={points}, fid_infinity.smallest={smallest}: a line needs 2 points or more, of 2 images or more"
        )
    network = pool3("fid_infinity", weights, protocol, resize_before, crop, filter, device=device, dtype=dtype)
    found = find_reference(reference, network, "fid_infinity", FEATURES)
    return ExtrapolatedDistance(network, network.fields, found, points, smallest, seed)


class ExtrapolatedDistance:
    """``fid_infinity``, ``fid_n`` (of all images) and ``fid_slope``: what FID loses per 1/n.

    Without a group of images each distance changes by the exact change of means and variances, and of the covariances' overlap
    by its derivative: one decomposition for each size, not for each size and group. Where a size has no more images than
    features, so that there is no derivative, it is computed anew for each group.
    """

    sensitive_to = ("order",)
    """Each size is drawn by the images' place."""

    outputs: Mapping[str, Output] = {
        "fid_infinity": Output(higher_is_better=False, kind="set", main=True),
        "fid_n": Output(higher_is_better=False, kind="set"),
        "fid_slope": Output(higher_is_better=None, kind="set"),
    }

    def __init__(
        self, network: Network, fields: Mapping[str, str], reference: Reference, points: int, smallest: int, seed: int
    ) -> None:
        self.network, self.reference, self._fields = network, reference, fields
        self._points, self._smallest, self._seed = points, smallest, seed
        self.least = smallest + points - 1
        """So that no two sizes are one."""

    def protocol(self) -> Mapping[str, str]:
        """Returns what can move the number."""
        return {
            **self._fields,
            "reference n": str(self.reference.n or "not said"),
            "reference sha256": self.reference.sha256,
            "extrapolation": f"least squares over 1/n, {self._points} sizes evenly from {self._smallest} to n, "
            f"drawn without replacement, seed {self._seed}",
        }

    def compute(self, features: NDArray[np.float32]) -> Mapping[str, float]:
        """Returns the three for ``(N, D)`` features."""
        draws = self._draws(len(features))
        values = np.array([[frechet(features[draw], self.reference.factored)] for draw in draws])
        return {name: float(value[0]) for name, value in _extrapolated(values, _sizes(draws)[:, None]).items()}

    def leave_out(self, features: NDArray[np.float32], groups: NDArray[np.int64]) -> Mapping[str, NDArray[np.float64]]:
        """Returns the three without each of the groups in turn, which the others' draws do not replace."""
        draws, count = self._draws(len(features)), int(groups.max()) + 1
        values, sizes = [], []
        for draw in draws:
            mine = groups[draw]
            gone = np.bincount(mine, minlength=count)
            sizes.append(len(draw) - gone)
            way = _nearly_without if len(draw) - gone.max() > features.shape[1] else _exactly_without
            values.append(way(features[draw], mine, count, self.reference.factored))
        return _extrapolated(np.stack(values), np.stack(sizes))

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says what the reference is, and what is extrapolated."""
        return [
            f"extrapolated from {self._points} sizes, {self._smallest} images and more; the reference's own n stays in it",
            f"compared with {self.reference.images}",
        ]

    def _draws(self, n: int) -> list[NDArray[np.int64]]:
        """Returns the images of each size, in the run's order; the last are all."""
        rng = np.random.default_rng(self._seed)
        sizes = np.linspace(self._smallest, n, self._points).astype(int)
        return [np.sort(rng.choice(n, size, replace=False)) for size in sizes]


def _sizes(draws: Sequence[NDArray[np.int64]]) -> Array:
    return np.array([len(draw) for draw in draws], np.float64)


def _extrapolated(values: Array, sizes: NDArray[np.floating] | NDArray[np.int64]) -> dict[str, Array]:
    """Returns the least-squares line of ``(P, G)`` distances over 1/sizes, read off at 0, for each of G columns."""
    inverse = 1 / sizes
    centred = inverse - inverse.mean(0)
    slope = (centred * values).sum(0) / np.square(centred).sum(0)
    return {"fid_infinity": values.mean(0) - slope * inverse.mean(0), "fid_n": values[-1], "fid_slope": slope}


def _exactly_without(features: NDArray[np.float32], groups: NDArray[np.int64], count: int, given: Factored) -> Array:
    """Returns ``(G,)`` distances without each group; the same as of all where a group has nobody here."""
    found = np.full(count, np.nan)
    present, dense = np.unique(groups, return_inverse=True)
    found[present] = without_groups(features, dense, given)
    if len(present) < count:
        found[np.isnan(found)] = frechet(features, given)
    return found


def _nearly_without(features: NDArray[np.float32], groups: NDArray[np.int64], count: int, given: Factored) -> Array:
    """Returns the same where there are more images than features, the overlap tr √(Σ₁Σ₂) by its derivative in Σ₁.

    With Σ₂ = AᵀA the overlap is tr (AΣ₁Aᵀ)^½, and its derivative ½ Aᵀ(AΣ₁Aᵀ)^-½A.
    """
    shift = features.mean(0, dtype=np.float64)
    n, d = features.shape
    square = np.zeros((d, d))
    for rows in _centred(features, shift):
        square += rows.T @ rows
    values, vectors = linalg.eigh(given.factor @ (square / (n - 1)) @ given.factor.T)
    values = values.clip(0)
    # What is 0 but for rounding has no derivative, and no share of the overlap.
    kept = values > values.max(initial=0) * len(values) * np.finfo(np.float64).eps
    half = (vectors[:, kept] / values[kept] ** 0.25).T @ given.factor  # halfᵀhalf = twice the derivative.
    sums, lengths, inner = np.zeros((count, d)), np.zeros(count), np.zeros(count)
    for first, rows in zip(range(0, n, _BLOCK), _centred(features, shift), strict=True):
        part = groups[first : first + _BLOCK]
        np.add.at(sums, part, rows)
        np.add.at(lengths, part, np.square(rows).sum(1))
        np.add.at(inner, part, np.square(rows @ half.T).sum(1))
    stay = n - np.bincount(groups, minlength=count)
    means = -sums / stay[:, None]
    traces = (lengths.sum() - lengths - stay * np.square(means).sum(1)) / (stay - 1)
    turned = (inner.sum() - inner - stay * np.square(means @ half.T).sum(1)) / (stay - 1)
    overlap = np.sqrt(values).sum()
    changed = overlap + (turned - inner.sum() / (n - 1)) / 2
    found: Array = np.square(means + shift - given.mean).sum(1) + traces + np.square(given.factor).sum() - 2 * changed
    return found


def _centred(features: NDArray[np.float32], shift: Array) -> Iterator[Array]:
    for first in range(0, len(features), _BLOCK):
        yield features[first : first + _BLOCK] - shift
