"""FID∞: the Fréchet Inception distance that a run would have of endlessly many images (Chong & Forsyth 2020).

FID of n images is too large by about a constant over n. It is taken for several n, drawn from the run, and the line through it
over 1/n is read off at 1/n = 0. The reference stays as it is, with its own n.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.interfaces import Network, Output, Prompt
from drawbench.metrics.fid import Before, Precision, Protocol, networks
from drawbench.metrics.frechet import Array, Factored, frechet, without_groups
from drawbench.metrics.inception import FEATURES
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
    reference_crop: Crop | Literal["same"] = "same",
    reference_filter: Filter | Literal["same"] = "same",
    precision: Precision = "exact",
    interval: Literal["jackknife", "none"] = "jackknife",
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
    nets = networks(
        "fid_infinity",
        weights,
        protocol,
        resize_before,
        crop,
        filter,
        reference_crop,
        reference_filter,
        precision,
        device=device,
        dtype=dtype,
    )
    found = find_reference(reference, nets.reference, "fid_infinity", FEATURES)
    made = ExtrapolatedDistance(nets.images, nets.fields(found), found, points, smallest, seed)
    made.with_interval = interval == "jackknife"
    return made


class ExtrapolatedDistance:
    """``fid_infinity``, ``fid_n`` (of all images) and ``fid_slope``: what FID loses per 1/n."""

    with_interval = True

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
            values.append(_without(features[draw], mine, count, self.reference.factored))
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


def _without(features: NDArray[np.float32], groups: NDArray[np.int64], count: int, given: Factored) -> Array:
    """Returns ``(G,)`` distances without each group; the same as of all where a group has nobody here."""
    found = np.full(count, np.nan)
    present, dense = np.unique(groups, return_inverse=True)
    found[present] = without_groups(features, dense, given)
    if len(present) < count:
        found[np.isnan(found)] = frechet(features, given)
    return found
