"""CMMD: the maximum mean discrepancy of CLIP's image embeddings (Jayasumana et al. 2024), times 1000.

A Gaussian kernel of width 10 on unit-length embeddings. The paper's code takes the V-statistic, which compares each image with
itself too, and so is too large at small n; the unbiased estimate beside it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drawbench.interfaces import Network, Output, Prompt
from drawbench.metrics.clip import load_clip
from drawbench.metrics.full_reference import find_full_reference, reference_fields
from drawbench.metrics.mmd import Array, discrepancy, gaussian
from drawbench.metrics.reference import Reference

SIGMA, SCALE = 10.0, 1000.0


def cmmd(
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    reference: str | None = None,
    model: str = "ViT-L-14-336",
    tag: str | None = None,
    weights: Path | None = None,
) -> ClipDiscrepancy:
    """CMMD from a folder of images, a run, or statistics that keep features.

    ``model``, ``tag`` and ``weights`` as of clip_score; the default model is the paper's. Of images that are not square this CLIP
    sees the square in the middle, where the paper's code squeezes them.

    Raises:
        AssetMissing: the weights are nowhere.
        UserError: no reference, or one without features.
    """
    clip = load_clip("cmmd", model, tag, weights, device, dtype)
    found, features = find_full_reference(reference, clip, "cmmd")
    fields = {**clip.fields, "layer": "image embedding, unit length"}
    return ClipDiscrepancy(clip, fields, found, features)


class ClipDiscrepancy:
    """``cmmd`` as published (V-statistic), and ``cmmd_unbiased``, which may be below 0."""

    least = 2
    outputs: Mapping[str, Output] = {
        "cmmd": Output(higher_is_better=False, kind="set", main=True),
        "cmmd_unbiased": Output(higher_is_better=False, kind="set"),
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
            "kernel": f"exp(-|x - y|² / 2σ²), σ = {SIGMA:g}",
            "scale": f"{SCALE:g}",
        }

    def compute(self, features: NDArray[np.float32]) -> Mapping[str, float]:
        """Returns both estimates for ``(N, D)`` features, N at least 2."""
        return {name: float(values[0]) for name, values in self._values(features, None).items()}

    def leave_out(self, features: NDArray[np.float32], groups: NDArray[np.int64]) -> Mapping[str, NDArray[np.float64]]:
        """Returns both without each of the groups in turn, for the price of one."""
        return {name: values[1:] for name, values in self._values(features, groups).items()}

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says what the reference is, and that the published estimate depends on n."""
        return [
            f"the V-statistic grows as n falls ({len(prompts)} prompts): compare equal n only, or the unbiased estimate",
            f"compared with {self.reference.images}",
        ]

    def _values(self, features: NDArray[np.float32], groups: NDArray[np.int64] | None) -> dict[str, Array]:
        found = discrepancy(features, self._theirs, gaussian(SIGMA), groups)
        return {"cmmd": SCALE * found.biased[:, 0], "cmmd_unbiased": SCALE * found.unbiased[:, 0]}
