"""CLIP R-precision: is an image's own text the one that CLIP would choose for it? (Xu et al. 2018; Park et al. 2021)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.interfaces import Output, Prompt, Scored
from drawbench.metrics.clip import ClipNetwork, load_clip
from drawbench.metrics.clip_texts import Texts
from drawbench.protocol import digest

if TYPE_CHECKING:
    from torch import Tensor


def clip_r_precision(
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    model: str = "ViT-B-32",
    tag: str | None = None,
    weights: Path | None = None,
    prefix: str = "",
    candidates: Literal["all"] | int = 100,
    seed: int = 0,
) -> ClipRPrecision:
    """The rate at which an image's own text is CLIP's first choice among ``candidates`` texts (R = 1).

    They are the own text and others, drawn for each prompt by ``seed`` from the run's whole prompt set, whichever of its
    prompts were drawn; ``all`` takes every text of the set.
    ``model``, ``tag``, ``weights`` and ``prefix`` as of clip_score. An image that was made under the guidance of this very
    CLIP is judged by its own maker: choose another.

    Raises:
        AssetMissing: the weights are not on this machine and cannot be fetched.
        UserError: fewer than two candidates, or options that do not fit.
    """
    if candidates != "all" and candidates < 2:
        raise UserError(f"clip_r_precision.candidates={candidates}: give at least 2 (the own text and another), or all")
    network = load_clip("clip_r_precision", model, tag, weights, device, dtype)
    return ClipRPrecision(network, Texts(network, prefix), candidates, seed)


TIE = 1e-9
"""Cosines no further apart are equal: embeddings have seven digits."""


class ClipRPrecision:
    """``r_precision``: 1 where the own text has the highest cosine, 1/k where it shares it with k − 1 others, else 0."""

    outputs: Mapping[str, Output] = {"r_precision": Output(higher_is_better=True, kind="rate", main=True)}

    features_only = True

    def __init__(
        self,
        clip: ClipNetwork,
        texts: Texts,
        candidates: Literal["all"] | int,
        seed: int,
        pool: Sequence[str] = (),
        given: int = 0,
    ) -> None:
        self.network, self._texts, self._asked, self._seed = clip, texts, candidates, seed
        self._given = given
        """How many prompts the pool was made of."""
        self._pool = list(pool)
        """One text of each that CLIP can tell apart, in an order of their own."""
        self._place: dict[tuple[int, ...], int] = dict(zip(self._read(self._pool), range(len(self._pool)), strict=True))
        self._drawn: dict[str, NDArray[np.int64]] = {}
        self._all = np.arange(len(self._pool))
        self._embeddings: NDArray[np.float64] = np.empty((0, 0))

    def for_prompts(self, prompts: Sequence[Prompt]) -> ClipRPrecision:
        """Returns the metric that takes its candidates from these prompts' texts: those of a run's prompt set.

        Texts that CLIP reads alike (the same tokens: other capitals, or cut before they differ) are one candidate.
        """
        texts = sorted({prompt.text for prompt in prompts})
        pool = list(dict(zip(self._read(texts), texts, strict=True)).values())
        return ClipRPrecision(self.network, self._texts, self._asked, self._seed, pool, len(prompts))

    def protocol(self) -> Mapping[str, str]:
        fields = {**self.network.fields, **self._texts.protocol(), "R": "1"}
        if not self._pool:
            return {**fields, "candidates": str(self._asked), "seed": str(self._seed)}
        fields["texts"] = f"{len(self._pool)} different ones, sha256 {digest(self._pool)}"
        if self._count == len(self._pool):
            return {**fields, "candidates": f"all {self._count}"}
        return {**fields, "candidates": f"{self._count}, the own and others of the prompt set", "seed": str(self._seed)}

    def score(self, images: Tensor, features: Tensor | None, prompts: Sequence[Prompt]) -> Scored:
        assert features is not None  # noqa: S101  the stream gives a metric with a network its features
        if not self._pool:
            raise UserError(
                "clip_r_precision compares the texts of a prompt set: give it all prompts first, by for_prompts(prompts)"
            )
        if len(self._pool) < 2:
            return Scored({"r_precision": np.full(len(prompts), np.nan)}, {"chosen": [""] * len(prompts)})
        if not len(self._embeddings):
            self._embeddings = self._texts.of(self._pool).double().numpy()
        values, chosen = [], []
        for image, prompt in zip(features.double().numpy(), prompts, strict=True):
            own, candidates = self._candidates(prompt)
            cosines = self._embeddings[candidates] @ image
            best = candidates[cosines >= cosines.max() - TIE]
            values.append(1 / len(best) if own in best else 0.0)
            chosen.append("" if own in best else self._pool[best[0]])
        return Scored({"r_precision": np.array(values)}, {"chosen": chosen})

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says where the set has fewer texts than were asked for, texts that CLIP cannot tell apart, and which were cut."""
        said = self._texts.remarks(prompts)
        if self._asked != "all" and self._count < self._asked:
            said.append(
                f"{self._asked} candidates were asked for and the prompt set has {self._count} different texts: chance is "
                f"1/{self._count}, and a rate among more candidates is lower"
            )
        if len(self._pool) < self._given:
            said.append(f"the {self._given} prompts of the set have {len(self._pool)} texts that CLIP can tell apart")
        return said

    @property
    def _count(self) -> int:
        return len(self._pool) if self._asked == "all" else min(self._asked, len(self._pool))

    def _read(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        return self.network.token_ids([self._texts.prefix + text for text in texts]) if texts else []

    def _candidates(self, prompt: Prompt) -> tuple[int, NDArray[np.int64]]:
        """Returns the numbers of a prompt's own text and of all its candidates: the same in whatever batch it comes."""
        own = self._place.get(self._read([prompt.text])[0])
        if own is None:
            raise UserError(f"clip_r_precision: prompt {prompt.id} is none of those that for_prompts was given")
        if self._count == len(self._pool):
            return own, self._all
        if prompt.id not in self._drawn:
            lot = int.from_bytes(hashlib.sha256(f"{self._seed}/{prompt.id}".encode()).digest()[:8], "big")
            marks = np.random.default_rng(lot).integers(0, 2**62, len(self._pool))
            marks[own] = -1  # Its own is always among them.
            self._drawn[prompt.id] = np.sort(np.argpartition(marks, self._count - 1)[: self._count])
        return own, self._drawn[prompt.id]
