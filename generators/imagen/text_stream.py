"""Embeddings of an endless stream of captions, which no cache on disk can hold: the latest are kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

from drawbench.generators.imagen.layers import Text
from drawbench.generators.imagen.text_encoder import TextEncoder, pad

KEPT_BYTES = 2**31
CPU_TOGETHER = 4


class TextStream:
    """Returns captions' embeddings, of the encoder itself where it has not seen them lately.

    On a CPU the texts of a batch all go through the encoder, seen lately or not: their bits then follow from the batch
    alone, whatever came before, as an exact restart needs. Elsewhere only the new ones do.
    """

    def __init__(self, encoder: TextEncoder, kept_bytes: int = KEPT_BYTES) -> None:
        self.encoder, self.kept_bytes = encoder, kept_bytes
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0
        self.cut = 0
        """How many captions were longer than the encoder takes, each counted when it was encoded."""

    def __call__(self, captions: Sequence[str]) -> Text:
        """Returns embeddings on the CPU, in their own dtype, padded with zeros to the longest."""
        if self.encoder.device == "cpu":
            encoded = self._encode(list(dict.fromkeys(captions)))
            return pad([encoded[caption] for caption in captions])
        for caption, embeddings in self._encode(
            list(dict.fromkeys(c for c in captions if c not in self._kept))
        ).items():
            self._kept[caption] = embeddings
            self._bytes += embeddings.nbytes
        for caption in captions:
            self._kept.move_to_end(caption)
        text = pad([self._kept[caption] for caption in captions])
        while self._bytes > self.kept_bytes and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return text

    def _encode(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Encodes texts of about one length together: padding costs as much as text."""
        found: dict[str, Tensor] = {}
        together = CPU_TOGETHER if self.encoder.device == "cpu" else self.encoder.batch_size
        ordered = sorted(captions, key=len)
        for first in range(0, len(ordered), together):
            some = ordered[first : first + together]
            for caption, encoded in zip(some, self.encoder.padded(some), strict=True):
                found[caption] = encoded.embeddings
                self.cut += encoded.tokens > self.encoder.limit
        return found
