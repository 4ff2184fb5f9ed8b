"""Frozen text encoders (section 2.1): T5, BERT or CLIP's text tower turns each text into a sequence of embeddings."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from drawbench.errors import UserError
from drawbench.files import sha256_file, write_atomic
from drawbench.generators.imagen.layers import Text
from drawbench.progress import say
from drawbench.protocol import digest
from drawbench.torchvision_ops import declare_missing_ops
from drawbench.weights import cache_folder, hub_within_reach, missing


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
_VOCABULARIES = ("tokenizer.json", "spiece.model", "vocab.txt", "vocab.json")
_TOKENIZER_FILES = (
    *_VOCABULARIES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_BYTES = 259
"""The vocabulary of a T5 that reads bytes: 256, and padding, end and unknown; then up to 125 that mark gaps."""
_SIZES = {
    r"(^|/)(flan-)?t5-.*(xxl|11b)$": "45 GB to fetch; its encoder has 4.6 B parameters, with embeddings 9.5 GB in bf16",
    r"(^|/)(flan-)?t5-.*(xl|3b)$": "11 GB to fetch; its encoder has 1.2 B parameters, 2.4 GB in bf16",
    r"(^|/)(flan-)?t5-.*large$": "3 GB to fetch; its encoder has 0.34 B parameters, 0.7 GB in bf16",
    r"(^|/)(flan-)?t5-.*base$": "1 GB to fetch; its encoder has 0.11 B parameters, 0.2 GB in bf16",
    r"(^|/)(flan-)?t5-.*small$": "0.3 GB to fetch; its encoder has 0.04 B parameters, 0.1 GB in bf16",
    r"bert-large": "1.3 GB",
    r"bert-base": "0.4 GB",
    r"clip-vit-large-patch14$": "1.7 GB",
}


class TextEncoder:
    """A frozen encoder. Making one looks at its files only; the first text loads the network.

    Texts of one length go through it together and no batch is ever padded, so padding cannot change a result. What
    else is in the batch can move its rounding, in the last digits: hence each text is encoded once and then kept
    (`drawbench.generators.imagen.text_cache`).
    """

    def __init__(self, config: TextEncoderConfig, *, device: str = "cpu", batch_size: int = 16) -> None:
        self.config, self.device, self.batch_size = config, device, batch_size
        self.folder = find_folder(config.name)
        settings = _settings(self.folder)
        kind = str(settings.get("model_type"))
        if kind not in _FAMILIES:
            raise UserError(
                f"text encoder {config.name} is of the type {kind!r}; allowed are T5 (v1.0, v1.1, flan, byte), BERT and CLIP"
            )
        self._family = _FAMILIES[kind]
        self._byte_vocabulary = _byte_vocabulary(self.folder, settings)
        self.limit = config.max_tokens
        """Texts are cut to so many tokens, start and end included: ``max_tokens``, or what the network can take."""
        if self._family.positions is not None:
            own = settings.get("text_config") or settings
            self.limit = min(self.limit, own.get("max_position_embeddings", self._family.positions))
        if self.limit < 4:
            raise UserError(f"max_tokens={config.max_tokens}: give at least 4; start and end count")
        self.identity: Mapping[str, str] = {
            "model": self._family.model,
            "layer": self._family.layer,
            "dtype": config.dtype,
            "max tokens": str(self.limit),
            "config.json sha256": sha256_file(self.folder / "config.json"),
            **{f"{path.name} sha256": _sha256_once(path) for path in _weight_files(self.folder)},
            **{
                f"{name} sha256": sha256_file(self.folder / name)
                for name in _TOKENIZER_FILES
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
            hidden = self._forward(torch.tensor([ids[index] for index in batch], device=self.device))
            for index, embeddings in zip(batch, hidden, strict=True):
                if not embeddings.isfinite().all():
                    raise UserError(
                        f"text encoder {self.config.name} gave values that are not finite for {texts[index]!r} in "
                        f"{self.config.dtype}; its weights may be damaged, or were made for another dtype"
                    )
                yield index, Encoded(embeddings, lengths[index])

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
    def _forward(self, ids: Tensor) -> Tensor:
        """Maps tokens ``(B, L)`` to embeddings ``(B, L, D)``."""
        penultimate = self._family.layer == "penultimate"
        out = self._network(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=penultimate)
        hidden: Tensor = out.hidden_states[-2] if penultimate else out.last_hidden_state
        return hidden.to(_DTYPES[self.config.dtype]).cpu()

    def _load(self) -> None:
        declare_missing_ops()
        import transformers

        try:
            tokenizer: Any
            with _quiet():
                if self._byte_vocabulary is not None:
                    tokenizer = transformers.ByT5Tokenizer(extra_ids=self._byte_vocabulary - _BYTES)
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


def find_folder(name: str) -> Path:
    """Returns a folder named by hand, else the one in the cache, else what the model hub's client has or fetches."""
    if (folder := Path(name).expanduser()).is_dir():
        return folder
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise UserError(
            f"text encoder {name}: there is no such folder; give one, or a name on the hub such as google/t5-v1_1-xxl"
        )
    place = cache_folder() / "weights" / name
    if place.is_dir():
        return place
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        with hub_within_reach():
            return _fetch(name)
    except RepositoryNotFoundError as error:
        raise UserError(
            f"text encoder {name}: the hub has no such model, or does not show it; see its name there"
        ) from error
    except Exception as error:
        size = next((size for pattern, size in _SIZES.items() if re.search(pattern, name)), "of unknown size")
        raise missing(
            f"the text encoder {name}",
            size=size,
            place=place,
            instead="give a folder that has config.json, the weights and the tokenizer's files: --encoder FOLDER",
        ) from error


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download

    def fetch(*weights: str) -> Path:
        return Path(snapshot_download(name, allow_patterns=["config.json", *_TOKENIZER_FILES, *weights]))

    folder = fetch("model*.safetensors", "model.safetensors.index.json")
    if any(folder.glob("model*.safetensors")):
        return folder
    return fetch("pytorch_model*.bin", "pytorch_model.bin.index.json")


def _settings(folder: Path) -> Mapping[str, Any]:
    try:
        settings: Mapping[str, Any] = json.loads((folder / "config.json").read_text())
    except FileNotFoundError as error:
        raise UserError(f"{folder} has no config.json; give a folder as transformers saves a text encoder") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{folder / 'config.json'} is not JSON: {error}; fetch it again") from error
    return settings


def _weight_files(folder: Path) -> list[Path]:
    """Returns the files that transformers will read: safetensors, or else the older kind (without unpickling code)."""
    for pattern, index in (
        ("model*.safetensors", "model.safetensors.index.json"),
        ("pytorch_model*.bin", "pytorch_model.bin.index.json"),
    ):
        if found := sorted(folder.glob(pattern)):
            if not (folder / pattern.replace("*", "")).is_file() and (folder / index).is_file():
                parts = set(json.loads((folder / index).read_text())["weight_map"].values())
                if lost := sorted(parts - {path.name for path in found}):
                    raise UserError(
                        f"{folder} lacks {len(lost)} of {len(parts)} weight files, first {lost[0]}; fetch it"
                    )
            return found
    raise UserError(f"{folder} has no weights: neither model.safetensors nor pytorch_model.bin, whole or in parts")


def _byte_vocabulary(folder: Path, settings: Mapping[str, Any]) -> int | None:
    """Returns the size of the vocabulary of a T5 that reads bytes, else None.

    That is one without any vocabulary file whose embeddings have room for bytes and little more (ByT5 has 384). Any
    other folder without a vocabulary is refused: a T5 whose spiece.model was forgotten must not read bytes.
    """
    if any((folder / name).is_file() for name in _VOCABULARIES):
        return None
    size = settings.get("vocab_size")
    if settings["model_type"] == "t5" and isinstance(size, int) and _BYTES <= size <= 384:
        return size
    raise UserError(f"{folder} has no tokenizer; it needs one of {', '.join(_VOCABULARIES)} (a T5 on bytes needs none)")


def _sha256_once(path: Path) -> str:
    """Returns a large file's sha256; noted in the cache, so that it is read again only after the file has changed."""
    notes = cache_folder() / "features" / "file_sha256.json"
    known: dict[str, str] = json.loads(notes.read_text()) if notes.is_file() else {}
    stat = os.stat(path)
    key = f"{path.resolve()} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"
    if key not in known:
        if stat.st_size >= 2**30:
            say(f"{path.name}: taking its sha256, once")
        known[key] = sha256_file(path)
        write_atomic(
            notes, json.dumps(known, indent=0).encode()
        )  # Of two writers one note may be lost: it is made again.
    return known[key]


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
