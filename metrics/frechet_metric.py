"""A set metric that is the Fréchet distance of a network's features from those of a reference: what ``fid`` and ``fd`` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from drawbench.interfaces import Network, Output, Prompt
from drawbench.metrics.frechet import frechet, without_groups
from drawbench.metrics.reference import Reference


class FrechetDistance:
    """0 for equal moments. It is biased upwards at small n, so values of different n are not compared.

    ``fields`` are all that can move the network's features. Without ``with_interval`` the jackknife is left out.
    """

    least = 2
    """One image has no covariance."""

    def __init__(
        self,
        name: str,
        network: Network,
        fields: Mapping[str, str],
        reference: Reference,
        *,
        with_interval: bool = True,
    ) -> None:
        self.outputs: Mapping[str, Output] = {name: Output(higher_is_better=False, kind="set", main=True)}
        self.network, self.reference = network, reference
        self._name, self._fields, self.with_interval = name, fields, with_interval

    def protocol(self) -> Mapping[str, str]:
        """Returns what can move the number: of the reference its images, not their names nor whether a run has them."""
        return {
            **self._fields,
            "reference n": str(self.reference.n or "not said"),
            "reference sha256": self.reference.sha256,
        }

    def compute(self, features: NDArray[np.float32]) -> Mapping[str, float]:
        """Returns the distance of ``(N, D)`` features, N at least 2."""
        return {self._name: frechet(features, self.reference.factored)}

    def leave_out(self, features: NDArray[np.float32], groups: NDArray[np.int64]) -> Mapping[str, NDArray[np.float64]]:
        """Returns the distances without each of the groups in turn."""
        return {self._name: without_groups(features, groups, self.reference.factored)}

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says what the reference is, that few images make a large distance, and what a foreign file leaves open."""
        said = []
        if len(prompts) < 10 * self.reference.d:
            said.append(
                f"of few images ({len(prompts)} prompts, {self.reference.d} features) a Fréchet distance is too large: "
                "compare equal n only"
            )
        if self.reference.network is None:
            said.append(
                "the reference's file does not say of which network, resize and n its moments are: they are taken for this "
                "metric's own"
            )
        return [*said, f"compared with {self.reference.images}"]
