"""PickScore: the cosine of a CLIP that learned which of two images people picked (Kirstain et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from drawbench.interfaces import Output, Prompt, Scored
from drawbench.metrics.clip_texts import Texts
from drawbench.metrics.hf_clip import HfClip

if TYPE_CHECKING:
    from torch import Tensor


def pick_score(*, device: str = "cpu", dtype: str = "fp32", model: str = "hf:yuvalkirstain/PickScore_v1") -> PickScore:
    """Scores with PickScore's own weights, by transformers; ``model`` is a name on the hub or a folder.

    It ranks images of one prompt: compare systems prompt by prompt. A difference of s between two images of a prompt says
    that the first is picked with probability 1/(1 + exp(−s)).

    Raises:
        AssetMissing: the weights are not on this machine and cannot be fetched.
        UserError: a folder that is no CLIP of transformers.
    """
    return PickScore(HfClip("pick_score", model, device, dtype))


class PickScore:
    """``score`` = the learned scale times the cosine (equation 1 of the paper); ``cosine``."""

    outputs: Mapping[str, Output] = {
        "score": Output(higher_is_better=True, kind="mean", main=True),
        "cosine": Output(higher_is_better=True, kind="mean", rescales="score"),
    }

    features_only = True

    def __init__(self, clip: HfClip) -> None:
        self.network, self._texts = clip, Texts(clip)

    def protocol(self) -> Mapping[str, str]:
        return {**self.network.fields, **self._texts.protocol(), "scale": f"{self.network.scale:.6g}"}

    def score(self, images: Tensor, features: Tensor | None, prompts: Sequence[Prompt]) -> Scored:
        assert features is not None  # noqa: S101  the stream gives a metric with a network its features
        cosine = (features.double() * self._texts.of([prompt.text for prompt in prompts]).double()).sum(-1).numpy()
        return Scored({"score": self.network.scale * cosine, "cosine": cosine})

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says which prompts were cut."""
        return self._texts.remarks(prompts)
