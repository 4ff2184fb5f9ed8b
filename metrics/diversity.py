"""Diversity: how far a prompt's images lie from one another, as cosine distance of CLIP's embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drawbench.interfaces import Output, Prompt
from drawbench.metrics.clip import ClipNetwork, load_clip


def diversity(
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    model: str = "ViT-B-32",
    tag: str | None = None,
    weights: Path | None = None,
) -> Diversity:
    """The mean of 1 − cosine over all pairs of a prompt's images; ``model``, ``tag`` and ``weights`` as of clip_score.

    It rises with what varies for the worse too, noise above all: read it beside a score of quality. The number of samples
    does not move its expectation, only its spread.

    Raises:
        AssetMissing: the weights are not on this machine and cannot be fetched.
        UserError: options that do not fit.
    """
    return Diversity(load_clip("diversity", model, tag, weights, device, dtype))


class Diversity:
    """``diversity``, in [0, 2]; NaN for a prompt with a single image."""

    outputs: Mapping[str, Output] = {"diversity": Output(higher_is_better=True, kind="mean", main=True)}

    def __init__(self, clip: ClipNetwork) -> None:
        self.network = clip

    def protocol(self) -> Mapping[str, str]:
        return {
            **self.network.fields,
            "layer": "image embedding, unit length",
            "distance": "1 - cosine, mean over pairs",
        }

    def score_prompt(
        self, images: Sequence[NDArray[np.uint8]], features: NDArray[np.float32] | None, prompt: Prompt
    ) -> Mapping[str, float]:
        assert features is not None  # noqa: S101  the stream gives a metric with a network its features
        return {"diversity": mean_distance(features)}


def mean_distance(embeddings: NDArray[np.float32]) -> float:
    """Returns the mean of 1 − cosine over the pairs of ``(S, D)`` embeddings; NaN for fewer than two."""
    if len(embeddings) < 2:
        return float("nan")
    rows = np.asarray(embeddings, np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)  # float32's unit length is one to 1e-7 only.
    first, second = np.triu_indices(len(rows), 1)
    # As half the squared distance: exact at 0, where 1 − cosine would lose its digits.
    return float((np.square(rows[first] - rows[second]).sum(1) / 2).mean())
