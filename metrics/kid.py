"""KID: the kernel Inception distance of a run's images from a reference (Bińkowski et al. 2018).

MMD² with a cubic polynomial kernel on the features of FID. Its estimator is unbiased at any n, so that it may be below 0, and
numbers of few images are not too large, only unsure.
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
from drawbench.metrics.full_reference import find_full_reference, reference_fields
from drawbench.metrics.inception import FEATURES
from drawbench.metrics.mmd import Array, Draws, cubic, discrepancy
from drawbench.metrics.reference import Reference
from drawbench.metrics.resize import Crop, Filter

Features = NDArray[np.float32]
Index = NDArray[np.int64]
Subsets = Sequence[tuple[Index, Index]]


def kid(
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
    subsets: int = 0,
    subset_size: int = 1000,
    seed: int = 0,
) -> KernelDistance:
    """KID from a folder of images, a run, or statistics that keep features.

    ``subsets=0`` compares every image with every other, which is the estimate with the least variance. Papers report the mean
    over ``subsets=100`` random draws of ``subset_size=1000`` images of each set, without replacement within a draw: the same
    expectation, more noise, and another number for another ``seed``. ``protocol`` to ``weights`` as of fid:
    with the same ones the features are computed once for both.

    Raises:
        AssetMissing: the weights are nowhere.
        UserError: no reference, or one without features; weights that do not fit; subsets larger than the reference.
    """
    if subsets < 0 or subset_size < 2:
        raise UserError(
            f"kid.subsets={subsets}, kid.subset_size={subset_size}: give 0 subsets (all images) or more, of 2 images or more"
        )
    if not subsets and (subset_size, seed) != (1000, 0):
        raise UserError(
            f"kid.subset_size={subset_size}, kid.seed={seed}: choices of the subsets, and there are none (kid.subsets=0); add "
            "--set kid.subsets=100, or leave them out"
        )
    nets = networks(
        "kid",
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
    least = subset_size if subsets else 2
    found, features = find_full_reference(reference, nets.reference, "kid", FEATURES, least)
    fields = nets.fields(found)
    made: KernelDistance
    if subsets:
        made = SubsetKernelDistance(nets.images, fields, found, features, subsets, subset_size, seed)
    else:
        made = KernelDistance(nets.images, fields, found, features)
    made.with_interval = interval == "jackknife"
    return made


class KernelDistance:
    """MMD² of all images; the values without a group come from the same sums. ``kid_x1000`` is as tables often print it."""

    least = 2
    with_interval = True
    outputs: Mapping[str, Output] = {
        "kid": Output(higher_is_better=False, kind="set", main=True),
        "kid_x1000": Output(higher_is_better=False, kind="set", rescales="kid"),
    }

    def __init__(
        self, network: Network, fields: Mapping[str, str], reference: Reference, features: NDArray[np.float32]
    ) -> None:
        self.network, self._fields = network, fields
        self.reference, self._theirs = reference, features

    def protocol(self) -> Mapping[str, str]:
        """Returns what can move the number."""
        return {
            **self._fields,
            **reference_fields(self.reference),
            "kernel": "(x·y / d + 1)³",
            "estimator": "unbiased MMD², all images",
        }

    def compute(self, features: NDArray[np.float32]) -> Mapping[str, float]:
        """Returns KID of ``(N, D)`` features, N at least 2."""
        return {name: float(values[0]) for name, values in self._values(features, None).items()}

    def leave_out(self, features: NDArray[np.float32], groups: NDArray[np.int64]) -> Mapping[str, NDArray[np.float64]]:
        """Returns KID without each of the groups in turn, for the price of one KID."""
        return {name: values[1:] for name, values in self._values(features, groups).items()}

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says what the reference is."""
        return [f"compared with {self.reference.images}"]

    def _values(self, features: NDArray[np.float32], groups: NDArray[np.int64] | None) -> dict[str, Array]:
        values = discrepancy(features, self._theirs, cubic(features.shape[1]), groups).unbiased[:, 0]
        return {"kid": values, "kid_x1000": 1000 * values}


class SubsetKernelDistance(KernelDistance):
    """The mean of MMD² over random subsets, and their standard deviation: that of one draw of this size, not of the mean.

    The interval is of the mean over these very draws, each losing its images of the group that is left out.
    """

    sensitive_to = ("order",)
    """The subsets are drawn by the images' place."""

    outputs: Mapping[str, Output] = {
        **KernelDistance.outputs,
        "kid_subset_std": Output(higher_is_better=None, kind="set"),
    }

    def __init__(
        self,
        network: Network,
        fields: Mapping[str, str],
        reference: Reference,
        features: NDArray[np.float32],
        subsets: int,
        size: int,
        seed: int,
    ) -> None:
        super().__init__(network, fields, reference, features)
        self.least = size
        self._subsets, self._size, self._seed = subsets, size, seed

    def protocol(self) -> Mapping[str, str]:
        """Returns what can move the number."""
        drawn = f"unbiased MMD², mean over {self._subsets} subsets of {self._size}, seed {self._seed}"
        return {**super().protocol(), "estimator": drawn}

    def _values(self, features: NDArray[np.float32], groups: NDArray[np.int64] | None) -> dict[str, Array]:
        n, m, size = len(features), len(self._theirs), self._size
        rng = np.random.default_rng(self._seed)
        drawn = [
            (np.sort(rng.choice(n, size, replace=False)), np.sort(rng.choice(m, size, replace=False)))
            for _ in range(self._subsets)
        ]
        # Each pair of images once, where the subsets together have more pairs than that.
        at_once = (n + m) ** 2 <= self._subsets * (2 * size) ** 2
        found = (_at_once if at_once else _one_by_one)(features, self._theirs, drawn, groups)
        mean, spread = found.mean(1), found.std(1)
        return {"kid": mean, "kid_x1000": 1000 * mean, "kid_subset_std": spread}


def _at_once(x: Features, y: Features, drawn: Subsets, groups: Index | None) -> Array:
    draws = Draws(np.zeros((len(x), len(drawn))), np.zeros((len(y), len(drawn))))
    for column, (mine, theirs) in enumerate(drawn):
        draws.x[mine, column] = draws.y[theirs, column] = 1
    return discrepancy(x, y, cubic(x.shape[1]), groups, draws).unbiased


def _one_by_one(x: Features, y: Features, drawn: Subsets, groups: Index | None) -> Array:
    columns = []
    for mine, theirs in drawn:
        part = None if groups is None else groups[mine]
        values = discrepancy(x[mine], y[theirs], cubic(x.shape[1]), part).unbiased[:, 0]
        missing = 0 if groups is None else int(groups.max()) + 2 - len(values)
        columns.append(np.append(values, np.full(missing, values[0])))  # Groups after the last that was drawn.
    return np.stack(columns, 1)
