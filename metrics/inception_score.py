"""Inception Score (Salimans et al. 2016): for old tables only. It has no reference, and an image of each class maximises it.

exp of the mean KL divergence of an image's class probabilities from those of its split: from pool3's features, which FID shares,
and the last layer of the same network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, xlogy

from drawbench.errors import UserError
from drawbench.interfaces import Network, Output, Prompt
from drawbench.metrics.fid import Before, Precision, Protocol, networks
from drawbench.metrics.inception import FEATURES, LOGITS
from drawbench.metrics.inception_weights import TORCHSCRIPT
from drawbench.metrics.resize import Crop, Filter

Array = NDArray[np.float64]
Logits = Literal["unbiased", "biased"]

_BLOCK = 4096
"""Rows whose probabilities are held at a time."""


def inception_score(
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    protocol: Protocol = "clean",
    resize_before: Before = "none",
    crop: Crop = "center_crop",
    filter: Filter = "bicubic",  # noqa: A002  the option's name
    precision: Precision = "exact",
    weights: Path | None = None,
    splits: int = 10,
    seed: int = 0,
    logits: Logits = "unbiased",
) -> InceptionScore:
    """Inception Score of a run: the mean over ``splits`` equal parts of its images, shuffled by ``seed``. Legacy.

    The network has 1008 logits, all of which count. ``logits=unbiased`` are those without the last layer's bias, as in the
    authors' code and in torch-fidelity; ``biased`` are the network's own. Scores of torchvision's Inception, which has 1000
    classes and other weights, are others. ``protocol`` to ``weights`` as of fid, which shares the features.

    Raises:
        AssetMissing: the weights are nowhere.
        UserError: weights that do not fit, or as a TorchScript, whose last layer cannot be read by name.
    """
    if splits < 1:
        raise UserError(f"inception_score.splits={splits}: give 1 or more")
    network = networks(
        "inception_score",
        weights,
        protocol,
        resize_before,
        crop,
        filter,
        precision=precision,
        device=device,
        dtype=dtype,
    ).images
    if network.weights.sha256 == TORCHSCRIPT:
        raise UserError(
            f"{network.weights.file} is a TorchScript, whose last layer is not read here; give pytorch-fid's or "
            "torch-fidelity's file of the same weights: --set inception_score.weights=FILE"
        )
    state = torch.load(network.weights.file, map_location="cpu", weights_only=True)
    weight = state["fc.weight"].double().numpy()
    bias = state["fc.bias"].double().numpy() if logits == "biased" else np.zeros(LOGITS)
    return InceptionScore(network, network.fields, weight, bias, logits, splits, seed)


class InceptionScore:
    """The score and its standard deviation over splits, which is what papers print after ±."""

    sensitive_to = ("order",)
    """An image's split is drawn by its place."""

    outputs: Mapping[str, Output] = {
        "inception_score": Output(higher_is_better=True, kind="set", main=True),
        "inception_score_split_std": Output(higher_is_better=None, kind="set"),
    }

    def __init__(
        self,
        network: Network,
        fields: Mapping[str, str],
        weight: Array,
        bias: Array,
        logits: Logits,
        splits: int,
        seed: int,
    ) -> None:
        self.network, self._fields = network, fields
        self._weight, self._bias, self._logits = weight, bias, logits
        self._splits, self._seed = splits, seed
        self.least = splits

    def protocol(self) -> Mapping[str, str]:
        """Returns what can move the number."""
        of = {"unbiased": "without the bias of the last layer", "biased": "with the bias of the last layer"}[
            self._logits
        ]
        return {
            **self._fields,
            "classes": f"{LOGITS} logits from {FEATURES} features, {of}, float64",
            "splits": f"{self._splits}, shuffled with seed {self._seed}",
        }

    def compute(self, features: NDArray[np.float32]) -> Mapping[str, float]:
        """Returns the score of ``(N, D)`` features, N at least the number of splits."""
        return {name: float(values[0]) for name, values in self._values(features, None).items()}

    def leave_out(self, features: NDArray[np.float32], groups: NDArray[np.int64]) -> Mapping[str, NDArray[np.float64]]:
        """Returns the score without each of the groups in turn: the others stay in their splits, an empty split is left out."""
        return {name: values[1:] for name, values in self._values(features, groups).items()}

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says that it is a legacy number."""
        of = f"{len(prompts)} prompts in {self._splits} splits"
        return [
            f"legacy: it knows no reference and no prompt, and rises with the images of a split ({of}); report FID or KID"
        ]

    def _values(self, features: NDArray[np.float32], given: NDArray[np.int64] | None) -> dict[str, Array]:
        n = len(features)
        groups = np.zeros(n, np.int64) if given is None else given
        count = int(groups.max()) + 1
        split = np.empty(n, np.int64)
        split[np.random.default_rng(self._seed).permutation(n)] = np.arange(n) * self._splits // n
        cell = groups * self._splits + split
        # By group and split: images, the sum of Σ p log p, and of p. A mean KL is that of p log p less Σ q log q.
        sizes = np.bincount(cell, minlength=count * self._splits).astype(np.float64)
        inner, classes = np.zeros(len(sizes)), np.zeros((len(sizes), self._weight.shape[0]))
        for first in range(0, n, _BLOCK):
            rows = slice(first, first + _BLOCK)
            log_p = log_softmax(features[rows].astype(np.float64) @ self._weight.T + self._bias, 1)
            p = np.exp(log_p)
            np.add.at(inner, cell[rows], (p * log_p).sum(1))
            np.add.at(classes, cell[rows], p)

        def without(sums: Array) -> Array:
            parts = sums.reshape(count, self._splits, -1)
            whole = parts.sum(0)[None]
            return whole if given is None else np.concatenate([whole, whole - parts])

        left = without(sizes)
        left[left < 0.5] = np.nan
        q = without(classes).clip(0) / left
        scores = np.exp(without(inner)[..., 0] / left[..., 0] - xlogy(q, q).sum(2))
        return {"inception_score": np.nanmean(scores, 1), "inception_score_split_std": np.nanstd(scores, 1)}
