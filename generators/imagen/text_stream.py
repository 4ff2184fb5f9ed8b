"""Embeddings of an endless stream of captions, which no cache on disk can hold: the latest are kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

from drawbench.generators.imagen.layers import Text
from drawbench.generators.imagen.text_encoder import TextEncoder, pad

KEPT_BYTES = 2**31


class TextStream:
    """Returns captions' embeddings, of the encoder itself where it has not seen them lately.

    On a CPU each text goes through the encoder alone, so that its embeddings have the same bits whatever came before, as
    an exact restart needs. Elsewhere the new texts of a batch go together.
    """

    def __init__(self, encoder: TextEncoder, kept_bytes: int = KEPT_BYTES) -> None:
        self.encoder, self.kept_bytes = encoder, kept_bytes
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0
        self.cut = 0
        """How many captions were longer than the encoder takes, each counted when it was encoded."""

    def __call__(self, captions: Sequence[str]) -> Text:
        """Returns embeddings on the CPU, in their own dtype, padded with zeros to the longest."""
        new = list(dict.fromkeys(caption for caption in captions if caption not in self._kept))
        together = 1 if self.encoder.device == "cpu" else self.encoder.batch_size
        for first in range(0, len(new), together):
            some = new[first : first + together]
            for caption, encoded in zip(some, self.encoder.padded(some), strict=True):
                self._kept[caption] = encoded.embeddings
                self._bytes += encoded.embeddings.nbytes
                self.cut += encoded.tokens > self.encoder.limit
        for caption in captions:
            self._kept.move_to_end(caption)
        text = pad([self._kept[caption] for caption in captions])
        while self._bytes > self.kept_bytes and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return text
