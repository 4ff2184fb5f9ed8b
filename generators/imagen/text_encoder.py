"""Frozen text encoders (section 2.1): T5, BERT or CLIP's text tower turns each text into a sequence of embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from drawbench.errors import UserError
from drawbench.files import sha256_file
from drawbench.generators.imagen.encoder_files import (
    BYTES,
    TOKENIZER_FILES,
    byte_vocabulary,
    find_folder,
    read_settings,
    sha256_once,
    weight_files,
)
from drawbench.generators.imagen.layers import Text
from drawbench.protocol import digest
from drawbench.torchvision_ops import declare_missing_ops


@dataclass(frozen=True)
class TextEncoderConfig:
    """Which encoder, and how it is used."""

    name: str = "google/t5-v1_1-xxl"
    """A name on the model hub, or a folder as transformers saves one. The paper says T5-XXL with 4.6 B parameters; of the
    published ones v1.1 has them."""
    dtype: Literal["fp32", "bf16"] = "bf16"
    """Of the weights and the embeddings. Not in the paper; bf16 halves T5-XXL's encoder to 9.5 GB. In fp16 T5 overflows."""
    max_tokens: int = 256
    """Longer texts are cut, and counted. Not in the paper; 256 as in imagen-pytorch, for it cuts no DrawBench prompt with
    T5's vocabulary, and costs nothing where texts are short. CLIP (77) and BERT (512) have limits of their own."""


class Encoded(NamedTuple):
    """One text's embeddings, of its true tokens only."""

    embeddings: Tensor
    """``(L, D)``, on the CPU."""
    tokens: int
    """How many the text has; more than L where it was cut."""


class _Family(NamedTuple):
    model: str
    arguments: Mapping[str, Any]
    layer: Literal["last", "penultimate"]
    positions: int | None
    """How many tokens it can take where its config does not say; None: any number."""


_CLIP = _Family("CLIPTextModel", {}, "penultimate", 77)  # Section D.1: the penultimate layer.
_FAMILIES: Mapping[str, _Family] = {
    "t5": _Family("T5EncoderModel", {}, "last", None),
    "bert": _Family("BertModel", {"add_pooling_layer": False}, "last", 512),
    "clip": _CLIP,
    "clip_text_model": _CLIP,
}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class TextEncoder:
    """A frozen encoder. Making one looks at its files only; the first text loads the network.

    Texts of one length go through it together and no batch is ever padded, so padding cannot change a result. What
    else is in the batch can move its rounding, in the last digits: hence each text is encoded once and then kept
    (`drawbench.generators.imagen.text_cache`).
    """

    def __init__(self, config: TextEncoderConfig, *, device: str = "cpu", batch_size: int = 16) -> None:
        self.config, self.device, self.batch_size = config, device, batch_size
        self.folder = find_folder(config.name)
        settings = read_settings(self.folder)
        kind = str(settings.get("model_type"))
        if kind not in _FAMILIES:
            raise UserError(
                f"text encoder {config.name} is of the type {kind!r}; allowed are T5 (v1.0, v1.1, flan, byte), BERT and CLIP"
            )
        self._family = _FAMILIES[kind]
        self._byte_vocabulary = byte_vocabulary(self.folder, settings)
        self.limit = config.max_tokens
        """Texts are cut to so many tokens, start and end included: ``max_tokens``, or what the network can take."""
        own = settings.get("text_config") or settings
        self.dim = int(own.get("d_model") or own.get("hidden_size") or 0)
        """Of the embeddings."""
        if self._family.positions is not None:
            self.limit = min(self.limit, own.get("max_position_embeddings", self._family.positions))
        if self.limit < 4:
            raise UserError(f"max_tokens={config.max_tokens}: give at least 4; start and end count")
        self.identity: Mapping[str, str] = {
            "model": self._family.model,
            "layer": self._family.layer,
            "dtype": config.dtype,
            "max tokens": str(self.limit),
            "config.json sha256": sha256_file(self.folder / "config.json"),
            **{f"{path.name} sha256": sha256_once(path) for path in weight_files(self.folder)},
            **{
                f"{name} sha256": sha256_file(self.folder / name)
                for name in TOKENIZER_FILES
                if (self.folder / name).is_file()
            },
        }
        """All that can move an embedding; where the files lie cannot."""
        self.digest = digest(self.identity)
        self._network: Any = None
        self._tokenizer: Any = None

    def __call__(self, texts: Sequence[str]) -> Text:
        """Returns the texts' embeddings, padded with zeros to the longest; warns where texts were cut."""
        encoded = dict(self.encode(texts))
        cut = sum(one.tokens > self.limit for one in encoded.values())
        if cut:
            warnings.warn(f"{cut} of {len(texts)} texts have over {self.limit} tokens and were cut", stacklevel=2)
        return pad([encoded[index].embeddings for index in range(len(texts))])

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[int, Encoded]]:
        """Yields each text's index and embeddings, the longest texts first."""
        if self._network is None:
            self._load()
        lengths, ids = self._tokens(texts)
        order = sorted(range(len(texts)), key=lambda index: (-len(ids[index]), index))
        while order:
            first = ids[order[0]]
            batch = [index for index in order[: self.batch_size] if len(ids[index]) == len(first)]
            order = order[len(batch) :]
            tokens = torch.tensor([ids[index] for index in batch], device=self.device)
            hidden = self._forward(tokens, torch.ones_like(tokens))
            for index, embeddings in zip(batch, hidden, strict=True):
                if not embeddings.isfinite().all():
                    raise UserError(
                        f"text encoder {self.config.name} gave values that are not finite for {texts[index]!r} in "
                        f"{self.config.dtype}; its weights may be damaged, or were made for another dtype"
                    )
                yield index, Encoded(embeddings, lengths[index])

    def padded(self, texts: Sequence[str]) -> Text:
        """Returns the embeddings of a batch by one pass, for an endless stream of texts, which no cache can hold.

        Padding is masked; that texts of different lengths go together moves the last digits.
        """
        if self._network is None:
            self._load()
        _, ids = self._tokens(texts)
        mask = torch.arange(max(map(len, ids))) < torch.tensor([len(row) for row in ids])[:, None]
        tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
        hidden = self._forward(tokens.to(self.device), mask.to(self.device)) * mask[..., None]
        if not hidden.isfinite().all():
            raise UserError(f"text encoder {self.config.name} gave values that are not finite in {self.config.dtype}")
        return Text(hidden, mask)

    def unload(self) -> None:
        """Lets the network go; the next text loads it again."""
        self._network = self._tokenizer = None

    def _tokens(self, texts: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """Returns the texts' numbers of tokens, and the tokens after cutting: the end token stays."""
        whole: list[list[int]] = self._tokenizer(list(texts), verbose=False)["input_ids"] if texts else []
        for text, ids in zip(texts, whole, strict=True):
            if not ids:
                raise UserError(f"text encoder {self.config.name}: its tokenizer makes no token of {text!r}")
        cut = [
            self._tokenizer(text, truncation=True, max_length=self.limit)["input_ids"] if len(ids) > self.limit else ids
            for text, ids in zip(texts, whole, strict=True)
        ]
        return [len(ids) for ids in whole], cut

    @torch.no_grad()
    def _forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Maps tokens ``(B, L)`` and their mask to embeddings ``(B, L, D)`` on the CPU."""
        penultimate = self._family.layer == "penultimate"
        out = self._network(input_ids=ids, attention_mask=mask, output_hidden_states=penultimate)
        hidden: Tensor = out.hidden_states[-2] if penultimate else out.last_hidden_state
        return hidden.to(_DTYPES[self.config.dtype]).cpu()

    def _load(self) -> None:
        declare_missing_ops()
        import transformers

        try:
            tokenizer: Any
            with _quiet():
                if self._byte_vocabulary is not None:
                    tokenizer = transformers.ByT5Tokenizer(extra_ids=self._byte_vocabulary - BYTES)
                else:
                    tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
                network, report = getattr(transformers, self._family.model).from_pretrained(
                    self.folder,
                    dtype=_DTYPES[self.config.dtype],
                    local_files_only=True,
                    output_loading_info=True,
                    **self._family.arguments,
                )
        except Exception as error:
            if not (self.folder / "tokenizer.json").is_file() and "tiktoken" in str(error):  # What it tries at last.
                raise UserError(
                    f"{self.folder} has its vocabulary in spiece.model only, which needs: pip install sentencepiece"
                ) from error
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"text encoder {self.config.name}: {self.folder} could not be loaded: {first}") from error
        if lost := sorted(report["missing_keys"]):
            raise UserError(
                f"text encoder {self.config.name}: the weights in {self.folder} lack {len(lost)} tensors of "
                f"{self._family.model}, first {lost[0]}; they are not of this network, or not whole"
            )
        rows = network.get_input_embeddings().num_embeddings
        if len(tokenizer) > rows:
            raise UserError(
                f"text encoder {self.config.name}: the tokenizer in {self.folder} has {len(tokenizer)} tokens, the network "
                f"{rows}; they are not of one model"
            )
        self._network, self._tokenizer = network.eval().requires_grad_(False).to(self.device), tokenizer


def pad(rows: Sequence[Tensor]) -> Text:
    """Returns embeddings ``(L, D)`` of several texts as one `Text`, zeros behind the shorter ones."""
    mask = torch.arange(max(len(row) for row in rows)) < torch.tensor([len(row) for row in rows])[:, None]
    return Text(torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True), mask)


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back transformers' bars and its report of the tensors of a decoder or an image tower; what matters is an error."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
