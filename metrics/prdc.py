"""Precision, recall, density and coverage of a run's images against a reference, by balls around features.

A ball reaches from an image to the k-th nearest other image of its set. Precision is the share of drawn images in a ball of the
reference, recall that of the reference in a ball of a drawn image (Kynkäänniemi et al. 2019, eq. 1 and 2, k = 3). Density counts
how many balls of the reference each drawn image is in, over k; coverage is the share of balls of the reference that have a
drawn image in them (Naeem et al. 2020, eq. 4 and 5, k = 5). A ball contains its edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.interfaces import Network, Output, Prompt
from drawbench.metrics.fid import Before, Precision, Protocol, networks
from drawbench.metrics.full_reference import find_full_reference, reference_fields
from drawbench.metrics.inception import FEATURES
from drawbench.metrics.neighbours import (
    Array,
    Grown,
    Index,
    Points,
    blocks,
    grown_radii,
    lower_bounds,
    near_pairs,
    nearest,
    points,
    radii,
)
from drawbench.metrics.reference import Reference
from drawbench.metrics.resize import Crop, Filter

SPARE, SPARE_OF_GROUPS = 3, 12
"""Neighbours that are listed beyond the k-th, so that a radius, or one without a group, is nearly always among them."""


def prdc(
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
    k: int = 3,
    k_density: int = 5,
) -> PrecisionRecall:
    """Precision and recall (``k``), density and coverage (``k_density``) against a folder, a run, or statistics with features.

    ``protocol`` to ``weights`` as of fid: with the same ones the features are computed once for both.
    Published numbers on VGG-16's features are others than these on Inception's. All four depend on n, of both sets.

    Raises:
        AssetMissing: the weights are nowhere.
        UserError: no reference, or one without features, or of no more images than a ball has.
    """
    if k < 1 or k_density < 1:
        raise UserError(
            f"prdc.k={k}, prdc.k_density={k_density}: a ball reaches to the first neighbour at least; give 1 or more"
        )
    nets = networks(
        "prdc",
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
    found, features = find_full_reference(reference, nets.reference, "prdc", FEATURES, max(k, k_density) + 1)
    made = PrecisionRecall(nets.images, nets.fields(found), found, features, k, k_density)
    made.with_interval = interval == "jackknife"
    return made


class _Inside(NamedTuple):
    """What lies in whose ball."""

    drawn_hit: NDArray[np.bool_]
    """``(N,)``: drawn images in a ball of the reference."""
    drawn_balls: Index
    """``(N,)``: how many balls of the reference a drawn image is in."""
    covered: _Hits
    """Balls of the reference that drawn images are in."""
    recalled: _Hits
    """Images of the reference in balls of drawn images."""
    recalled_without: NDArray[np.bool_]
    """``(G, M)``: images of the reference that are so only without a group, for then balls reach further."""


class _Hits:
    """By image of the reference: whether it is hit, and whether by one group only."""

    def __init__(self, count: int) -> None:
        self.first, self.last = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)

    def add(self, at: Index, groups: Index) -> None:
        np.minimum.at(self.first, at, groups)
        np.maximum.at(self.last, at, groups)

    def without(self, group: int) -> NDArray[np.bool_]:
        """Says which are hit by others than a group; group -1 is none."""
        hit: NDArray[np.bool_] = (self.last >= 0) & ((self.first != group) | (self.last != group))
        return hit


class PrecisionRecall:
    """Four shares; the interval costs about as much again as they do."""

    with_interval = True
    outputs: Mapping[str, Output] = {
        "precision": Output(higher_is_better=True, kind="set", main=True),
        "recall": Output(higher_is_better=True, kind="set"),
        "density": Output(higher_is_better=True, kind="set"),
        "coverage": Output(higher_is_better=True, kind="set"),
    }

    def __init__(
        self,
        network: Network,
        fields: Mapping[str, str],
        reference: Reference,
        features: NDArray[np.float32],
        k: int,
        k_density: int,
    ) -> None:
        self.network, self._fields = network, fields
        self.reference, self._theirs = reference, features
        self._k, self._k_density = k, k_density
        self.least = k + 1

    def protocol(self) -> Mapping[str, str]:
        """Returns what can move the numbers."""
        return {
            **self._fields,
            **reference_fields(self.reference),
            "precision, recall": f"k = {self._k}, closed balls",
            "density, coverage": f"k = {self._k_density}, closed balls",
        }

    def compute(self, features: NDArray[np.float32]) -> Mapping[str, float]:
        """Returns the four of ``(N, D)`` features, N over k."""
        found = self._inside(features, np.zeros(len(features), np.int64), without=False)
        return {
            name: float(values[0])
            for name, values in self._shares(found, np.zeros(len(features), np.int64), [-1]).items()
        }

    def leave_out(self, features: NDArray[np.float32], groups: NDArray[np.int64]) -> Mapping[str, NDArray[np.float64]]:
        """Returns the four without each of the groups in turn, balls of the others grown by what is left out."""
        found = self._inside(features, groups, without=True)
        return self._shares(found, groups, range(int(groups.max()) + 1))

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says what the reference is, and that n counts."""
        return [
            f"balls shrink as n grows ({len(prompts)} prompts): compare equal n only",
            f"compared with {self.reference.images}",
        ]

    @cached_property
    def _shift(self) -> NDArray[np.float32]:
        return np.asarray(self._theirs.mean(0, dtype=np.float64), np.float32)

    @cached_property
    def _real(self) -> tuple[Points, Array, Array]:
        """The reference, and the squared radii of its balls for precision and for density."""
        ready = points(self._theirs, self._shift)
        found = nearest(ready, max(self._k, self._k_density) + SPARE)
        return ready, radii(ready, found, self._k), radii(ready, found, self._k_density)

    def _inside(self, features: NDArray[np.float32], groups: Index, *, without: bool) -> _Inside:
        real, narrow, wide = self._real
        drawn = points(features, self._shift)
        found = nearest(drawn, self._k + (SPARE_OF_GROUPS if without else SPARE))
        own = radii(drawn, found, self._k)
        grown = grown_radii(drawn, found, self._k, groups) if without else _NONE_GROWN
        reach = own.copy()
        np.maximum.at(reach, grown.rows, grown.squared)
        n, m, count = len(features), len(self._theirs), int(groups.max()) + 1
        inside = _Inside(
            np.zeros(n, np.bool_),
            np.zeros(n, np.int64),
            _Hits(m),
            _Hits(m),
            np.zeros((count if without else 0, m), np.bool_),
        )
        low, high = np.minimum(narrow, wide), np.maximum(narrow, wide)
        for one in blocks(m):
            for two in blocks(n):
                bound = lower_bounds(real, one, drawn, two)
                rows, columns, squared = near_pairs(real, one, drawn, two, bound, low[one], high[one])
                rows, columns = rows + one.start, columns + two.start
                inside.drawn_hit[columns[squared <= narrow[rows]]] = True
                dense = squared <= wide[rows]
                inside.drawn_balls[two] += np.bincount(columns[dense] - two.start, minlength=two.stop - two.start)
                inside.covered.add(rows[dense], groups[columns[dense]])
                columns, rows, squared = near_pairs(drawn, two, real, one, bound.T, own[two], reach[two])
                rows, columns = rows + one.start, columns + two.start
                hit = squared <= own[columns]
                inside.recalled.add(rows[hit], groups[columns[hit]])
                _mark_grown(inside.recalled_without, grown, rows[~hit], columns[~hit], squared[~hit])
        return inside

    def _shares(self, found: _Inside, groups: Index, left_out: Sequence[int]) -> dict[str, Array]:
        shares: dict[str, list[float]] = {name: [] for name in self.outputs}
        for group in left_out:
            stay = groups != group
            recalled = found.recalled.without(group)
            if group >= 0:
                recalled |= found.recalled_without[group]
            shares["precision"].append(float(found.drawn_hit[stay].mean()))
            shares["recall"].append(float(recalled.mean()))
            shares["density"].append(float(found.drawn_balls[stay].mean()) / self._k_density)
            shares["coverage"].append(float(found.covered.without(group).mean()))
        return {name: np.array(values, np.float64) for name, values in shares.items()}


_NONE_GROWN = Grown(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def _mark_grown(marks: NDArray[np.bool_], grown: Grown, rows: Index, columns: Index, squared: Array) -> None:
    """Marks what lies outside a ball, and inside it without a group."""
    first = np.searchsorted(grown.rows, columns, "left")
    last = np.searchsorted(grown.rows, columns, "right")
    for step in range(int((last - first).max(initial=0))):
        has = first + step < last
        at = first[has] + step
        inside = squared[has] <= grown.squared[at]
        marks[grown.groups[at[inside]], rows[has][inside]] = True
