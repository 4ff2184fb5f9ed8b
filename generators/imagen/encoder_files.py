"""Where a text encoder's files are, which of them count, and what identifies them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drawbench.errors import UserError
from drawbench.files import sha256_file, write_atomic
from drawbench.progress import say
from drawbench.shapes.shipped import SHAPES, shipped
from drawbench.weights import cache_folder, hub_within_reach, missing

VOCABULARIES = ("tokenizer.json", "spiece.model", "vocab.txt", "vocab.json")
TOKENIZER_FILES = (
    *VOCABULARIES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
BYTES = 259
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


def find_folder(name: str) -> Path:
    """Returns a folder named by hand, else the one in the cache, else what the model hub's client has or fetches.

    ``shapes`` is the text encoder of the shapes world, which ships.
    """
    if name == SHAPES:
        return shipped("text")
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
        return Path(snapshot_download(name, allow_patterns=["config.json", *TOKENIZER_FILES, *weights]))

    folder = fetch("model*.safetensors", "model.safetensors.index.json")
    if any(folder.glob("model*.safetensors")):
        return folder
    return fetch("pytorch_model*.bin", "pytorch_model.bin.index.json")


def read_settings(folder: Path) -> Mapping[str, Any]:
    """Returns the contents of ``config.json``."""
    try:
        settings: Mapping[str, Any] = json.loads((folder / "config.json").read_text())
    except FileNotFoundError as error:
        raise UserError(f"{folder} has no config.json; give a folder as transformers saves a text encoder") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{folder / 'config.json'} is not JSON: {error}; fetch it again") from error
    return settings


def weight_files(folder: Path) -> list[Path]:
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


def byte_vocabulary(folder: Path, settings: Mapping[str, Any]) -> int | None:
    """Returns the size of the vocabulary of a T5 that reads bytes, else None.

    That is one without any vocabulary file whose embeddings have room for bytes and little more (ByT5 has 384). Any
    other folder without a vocabulary is refused: a T5 whose spiece.model was forgotten must not read bytes.
    """
    if any((folder / name).is_file() for name in VOCABULARIES):
        return None
    size = settings.get("vocab_size")
    if settings["model_type"] == "t5" and isinstance(size, int) and BYTES <= size <= 384:
        return size
    raise UserError(f"{folder} has no tokenizer; it needs one of {', '.join(VOCABULARIES)} (a T5 on bytes needs none)")


def sha256_once(path: Path) -> str:
    """Returns a large file's sha256; noted in the cache, so that it is read again only after the file has changed."""
    notes = cache_folder() / "features" / "file_sha256.json"
    try:
        known: dict[str, str] = dict(json.loads(notes.read_text()))
    except (OSError, ValueError, TypeError):
        known = {}  # Not there, or damaged: only time is lost.
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
