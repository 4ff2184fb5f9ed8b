"""Texts for a CLIP: each distinct text is encoded once, and the ones that are too long are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from drawbench.interfaces import Prompt
from drawbench.metrics.clip import ClipNetwork

if TYPE_CHECKING:
    from torch import Tensor


class Texts:
    """A CLIP's embeddings of texts, each with a prefix before it; kept, so that a prompt's samples share one."""

    def __init__(self, clip: ClipNetwork, prefix: str = "") -> None:
        self.clip, self.prefix = clip, prefix
        self._kept: dict[str, Tensor] = {}

    def of(self, texts: Sequence[str]) -> Tensor:
        """Returns unit-length embeddings ``(N, D)``, on the CPU."""
        import torch

        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        if new:
            embeddings = self.clip.encode_text([self.prefix + text for text in new])
            self._kept |= dict(zip(new, embeddings, strict=True))
        return torch.stack([self._kept[text] for text in texts])

    def protocol(self) -> Mapping[str, str]:
        """Returns what is done to texts."""
        return {"prefix": self.prefix, "long texts": f"cut at {self.clip.context_length} tokens"}

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says which prompts were cut because they have more tokens than the text encoder takes."""
        limit = self.clip.context_length
        cut = [prompt.id for prompt in prompts if self.clip.tokens(self.prefix + prompt.text) > limit]
        if not cut:
            return []
        named = ", ".join(cut[:5]) + (", …" if len(cut) > 5 else "")
        return [f"{len(cut)} of {len(prompts)} prompts have over {limit} tokens and were cut for CLIP: {named}"]
