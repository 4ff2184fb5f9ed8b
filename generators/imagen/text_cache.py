"""Offline text embeddings (section 2.1): each distinct text is encoded once and kept, so that sampling needs no T5."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from drawbench.errors import UserError
from drawbench.files import host, sweep, write_atomic
from drawbench.generators.imagen.layers import Text
from drawbench.generators.imagen.text_encoder import Encoded, TextEncoder, pad
from drawbench.shapes.shipped import SHAPES
from drawbench.weights import cache_folder

SHARD_BYTES = 2**28
SHARD_SECONDS = 60.0
"""A shard is written when it is this large or this old: a writer that is killed loses no more than that."""
_PORTION = 4096


def embeddings_folder(digest: str) -> Path:
    """Returns where the embeddings of an encoder of this digest are kept."""
    return cache_folder() / "features" / "text" / digest[:16]


class TextEmbeddings:
    """The embeddings of one encoder on disk; given the encoder itself, also those that are not there yet.

    The folder has ``encoder.json``, which says what made them, and shards, which are never changed. A shard is one
    safetensors file and its own index: ``embeddings (sum L, D)``, the true tokens of its texts one after another;
    ``offsets (n + 1,)``; ``keys (n, 32)``, the sha256 of each text; ``tokens (n,)``, their numbers before cutting. Being
    renamed into place, it is whole or not there. Of a text that two writers encoded at once the older shard counts.
    Null text (`layers.null_text`) is not kept here.
    """

    def __init__(self, source: TextEncoder | Path) -> None:
        if isinstance(source, Path):
            self.folder, self.encoder = source, None
            self.made_by = _made_by(source)
        else:
            self.folder, self.encoder = embeddings_folder(source.digest), source
            self.made_by = {
                "digest": source.digest,
                "name": lasting_name(source),
                "dtype": source.config.dtype,
                "max_tokens": source.limit,
                "identity": dict(source.identity),
            }
        self.digest: str = self.made_by["digest"]
        self._shards: list[Path] = []
        self._offsets: list[list[int]] = []
        self._tokens: list[list[int]] = []
        self._where: dict[bytes, tuple[int, int]] = {}
        """Key → number of the shard, row in it."""
        self._refresh()

    def __len__(self) -> int:
        return len(self._where)

    def get(self, texts: Sequence[str]) -> Text:
        """Returns the texts' embeddings on the CPU, in their own dtype, padded with zeros to the longest.

        Those that are missing are encoded and kept first; without an encoder they are an error.
        """
        if lacking := self.missing(texts):
            if self.encoder is None:
                raise UserError(
                    f"{len(lacking)} of {len(set(texts))} texts have no embeddings in {self.folder} (the first: "
                    f"{lacking[0]!r}); make them: {self._command()}"
                )
            self.add(lacking)
        rows: dict[int, Tensor] = {}
        by_shard: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for index, text in enumerate(texts):
            shard, row = self._where[_key(text)]
            by_shard[shard].append((index, row))
        for shard, wanted in by_shard.items():
            offsets = self._offsets[shard]
            with safe_open(
                self._shards[shard], "pt"
            ) as file:  # Memory-mapped: only the rows that are asked for are read.
                embeddings = file.get_slice("embeddings")
                for index, row in wanted:
                    rows[index] = embeddings[offsets[row] : offsets[row + 1]]
        return pad([rows[index] for index in range(len(texts))])

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Returns the distinct texts that have no embeddings, after a look at what other writers have made."""
        lacking = [text for text in dict.fromkeys(texts) if _key(text) not in self._where]
        if lacking:
            self._refresh()
        return [text for text in lacking if _key(text) not in self._where]

    def add(self, texts: Sequence[str], progress: Callable[[int], object] = lambda count: None) -> int:
        """Encodes and keeps the texts that are missing; returns how many those were. Calls ``progress`` with each few."""
        if self.encoder is None:
            raise UserError(f"{self.folder} was opened without an encoder; make embeddings by: {self._command()}")
        lacking, made = self.missing(texts), 0
        if lacking:
            sweep(self.folder)
            if not (self.folder / "encoder.json").is_file():
                write_atomic(self.folder / "encoder.json", json.dumps(self.made_by, indent=1).encode())
        pending: dict[bytes, Encoded] = {}
        size, since = 0, time.monotonic()
        try:
            for first in range(0, len(lacking), _PORTION):
                given = lacking[first : first + _PORTION]
                portion = self.missing(given)  # Another writer may have been here meanwhile.
                progress(len(given) - len(portion))
                for index, encoded in self.encoder.encode(portion):
                    pending[_key(portion[index])] = encoded
                    made += 1
                    size += encoded.embeddings.nbytes
                    progress(1)
                    if size >= SHARD_BYTES or time.monotonic() - since >= SHARD_SECONDS:
                        full, pending, size = pending, {}, 0
                        self._write(full)
                        since = time.monotonic()
        finally:
            if pending:  # After an interruption too: what is encoded is kept.
                self._write(pending)
        return made

    def cut(self, texts: Sequence[str]) -> list[str]:
        """Returns those of the texts, all of them here, that had more tokens than the encoder was to take."""
        found = ((text, *self._where[_key(text)]) for text in texts)
        return [
            text
            for text, shard, row in found
            if self._tokens[shard][row] > self._offsets[shard][row + 1] - self._offsets[shard][row]
        ]

    def dim(self) -> int:
        """Returns how wide the embeddings are."""
        if not self._shards:
            raise UserError(f"there are no text embeddings in {self.folder}; make them: {self._command()}")
        with safe_open(self._shards[0], "pt") as file:
            return int(file.get_slice("embeddings").get_shape()[1])

    def size(self) -> int:
        """Returns how many bytes the shards take."""
        return sum(path.stat().st_size for path in self._shards)

    def _command(self) -> str:
        made_by = self.made_by
        options = f"--dtype {made_by['dtype']} --max-tokens {made_by['max_tokens']}"
        return f"drawbench encode --encoder {shlex.quote(made_by['name'])} {options} --prompts FILE"

    def _refresh(self) -> None:
        known = set(self._shards)
        for path in sorted(self.folder.glob("*.safetensors")):  # By name: the oldest first.
            if path not in known:
                self._take_in(path)

    def _take_in(self, path: Path) -> None:
        try:
            with safe_open(path, "pt") as file:
                made_by = (file.metadata() or {}).get("encoder")
                keys: bytes = file.get_tensor("keys").numpy().tobytes()
                offsets, tokens = file.get_tensor("offsets").tolist(), file.get_tensor("tokens").tolist()
        except SafetensorError as error:
            raise UserError(f"{path} is damaged: {error}; delete it, and encode its texts again") from error
        if made_by != self.digest:
            raise UserError(
                f"{path} has embeddings of another encoder ({str(made_by)[:16]}); take it out of this folder"
            )
        self._shards.append(path)
        self._offsets.append(offsets)
        self._tokens.append(tokens)
        for row in range(len(tokens)):
            self._where.setdefault(keys[32 * row : 32 * row + 32], (len(self._shards) - 1, row))

    def _write(self, encoded: Mapping[bytes, Encoded]) -> None:
        lengths = torch.tensor([0, *(len(one.embeddings) for one in encoded.values())])
        tensors = {
            "embeddings": torch.cat([one.embeddings for one in encoded.values()]),
            "offsets": lengths.cumsum(0),
            "keys": torch.frombuffer(bytearray(b"".join(encoded)), dtype=torch.uint8).reshape(-1, 32),
            "tokens": torch.tensor([one.tokens for one in encoded.values()]),
        }
        path = self.folder / f"{time.time_ns():020d}-{host()}-{os.getpid()}.safetensors"
        write_atomic(path, save(tensors, {"encoder": self.digest}))
        self._take_in(path)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def lasting_name(encoder: TextEncoder) -> str:
    """Returns the encoder's name on the hub, or where its folder lies, seen from anywhere."""
    name = encoder.config.name
    return str(encoder.folder.resolve()) if name != SHAPES and Path(name).expanduser().is_dir() else name


def _made_by(folder: Path) -> dict[str, Any]:
    try:
        made_by: dict[str, Any] = json.loads((folder / "encoder.json").read_text())
        if not {"digest", "name", "dtype", "max_tokens"} <= made_by.keys():
            raise ValueError("it lacks a field")
    except FileNotFoundError as error:
        raise UserError(
            f"there are no text embeddings in {folder}; make them: drawbench encode --encoder NAME --prompts FILE"
        ) from error
    except (ValueError, AttributeError) as error:
        raise UserError(f"{folder / 'encoder.json'} is damaged ({error}); delete {folder} and encode again") from error
    return made_by
