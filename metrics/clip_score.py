"""CLIP score: the cosine between CLIP's embeddings of an image and of its text (Radford et al. 2021; Hessel et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from drawbench.interfaces import Output, Prompt, Scored
from drawbench.metrics.clip import ClipNetwork, load_clip
from drawbench.metrics.clip_texts import Texts

if TYPE_CHECKING:
    from torch import Tensor


def clip_score(
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    model: str = "ViT-B-32",
    tag: str | None = None,
    weights: Path | None = None,
    prefix: str = "",
) -> ClipScore:
    """Scores with any CLIP of open_clip or transformers.

    ``model`` is an architecture (``ViT-L-14``), a folder with ``open_clip_config.json`` and weights, or ``shapes``: the
    CLIP of the shapes world, which ships. ``hf:openai/clip-vit-base-patch32``, or a folder with ``config.json``, is a CLIP
    of transformers. ``tag`` names
    published weights (``openai`` where neither tag nor file is given; ``laion2b_s34b_b79k`` …); they are looked for in
    the cache as ``weights/<model>-<tag>.safetensors``, then by open_clip. ``weights`` is a file given by hand; ``tag``
    then says whose it is (``own``: of one's own training), since activation and preprocessing follow from that.
    ``prefix`` goes before every text (Hessel et al. 2021: ``"A photo depicts "``).

    Raises:
        AssetMissing: the weights are not on this machine and cannot be fetched.
        UserError: no such model or tag, or a file that does not fit the architecture.
    """
    return ClipScore(load_clip("clip_score", model, tag, weights, device, dtype), prefix)


class ClipScore:
    """``cosine``; ``x100`` = 100·cosine, not clipped (Nichol et al. 2021); ``clipscore`` = 2.5·max(cosine, 0) (Hessel et al.)."""

    outputs: Mapping[str, Output] = {
        "cosine": Output(higher_is_better=True, kind="mean", main=True),
        "x100": Output(higher_is_better=True, kind="mean", rescales="cosine"),
        "clipscore": Output(higher_is_better=True, kind="mean"),
    }

    features_only = True

    def __init__(self, clip: ClipNetwork, prefix: str) -> None:
        self.network, self._texts = clip, Texts(clip, prefix)

    def protocol(self) -> Mapping[str, str]:
        return {**self.network.fields, **self._texts.protocol()}

    def score(self, images: Tensor, features: Tensor | None, prompts: Sequence[Prompt]) -> Scored:
        assert features is not None  # noqa: S101  the stream gives a metric with a network its features
        cosine = (features.double() * self._texts.of([prompt.text for prompt in prompts]).double()).sum(-1).numpy()
        return Scored({"cosine": cosine, "x100": 100 * cosine, "clipscore": 2.5 * np.maximum(cosine, 0)})

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says which prompts were cut because they have more tokens than the text encoder takes."""
        return self._texts.remarks(prompts)
