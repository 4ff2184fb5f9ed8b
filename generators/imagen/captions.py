"""Which images of a folder have which captions: CSV, TSV, JSONL and COCO's JSON."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from drawbench.errors import UserError
from drawbench.prompt_files import is_broken, read_utf8

NAMES = ("captions.csv", "captions.tsv", "captions.jsonl", "captions.json", "metadata.csv", "metadata.jsonl")
_FILE_COLUMNS = ("file_name", "file", "filename", "image", "path", "image_path")
_CAPTION_COLUMNS = ("caption", "text", "prompt")
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


class Row(NamedTuple):
    """An image and one caption of it; an image with several captions has several rows."""

    path: Path
    name: str
    """As the captions file has it."""
    caption: str


class Read(NamedTuple):
    """What a captions file gave."""

    rows: list[Row]
    faults: Counter[str]
    """Why rows were left out, and how often: an empty caption, an image that is not there."""
    examples: dict[str, str]
    """Of each fault the first file."""


def read_folder(folder: Path, captions: Path | None, captioned: bool) -> Read:
    """Reads the captions file of a folder, by default the one of `NAMES` that lies in it.

    Without ``captioned`` (an unconditional stage) and without such a file every image below the folder is taken.

    Raises:
        UserError: no captions file or several, one that cannot be read, or no usable row.
    """
    if not folder.is_dir():
        raise UserError(
            f"--data {folder}: there is no such folder (allowed: a folder, file.py:function, or one of `drawbench list datasets`)"
        )
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if captions is None and not found and not captioned:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
        pairs: Iterator[tuple[str, str]] = ((str(path.relative_to(folder)), "") for path in paths)
    elif captions is None and len(found) != 1:
        what = f"several captions files: {', '.join(path.name for path in found)}" if found else "no captions file"
        raise UserError(f"{folder} has {what}; say which: --captions FILE (by default one of {', '.join(NAMES)})")
    else:
        pairs = _pairs(captions or found[0])
    rows: list[Row] = []
    faults: Counter[str] = Counter()
    examples: dict[str, str] = {}
    there: dict[str, bool] = {}
    for name, caption in pairs:
        path = folder / name
        if name not in there:
            there[name] = len(name) < 4096 and path.is_file()
        fault = None if there[name] else "image file not there"
        if captioned and not caption.strip():
            fault = "empty caption"
        elif is_broken(caption):
            fault = "caption with half a character (a lone surrogate)"
        if fault is None:
            rows.append(Row(path, name, caption.strip()))
        else:
            faults[fault] += 1
            examples.setdefault(fault, name)
    if not rows:
        why = "; ".join(f"{count} rows: {fault}" for fault, count in faults.items()) or "it has no rows"
        raise UserError(f"{captions or folder}: nothing to train on ({why})")
    return Read(rows, faults, examples)


def _pairs(file: Path) -> Iterator[tuple[str, str]]:
    """Yields file name and caption of each row."""
    content = read_utf8(file)
    kind = file.suffix.lower()
    if kind in (".csv", ".tsv"):
        rows = csv.DictReader(io.StringIO(content, newline=""), delimiter="," if kind == ".csv" else "\t", strict=True)
        names = [str(name).strip().lower() for name in rows.fieldnames or ()]
        if len(set(names)) < len(names):
            raise UserError(f"{file} names a column twice: {', '.join(names)}")
        try:
            yield from _from_table(file, ((rows.line_num, row) for row in rows))
        except csv.Error as error:
            raise UserError(f"{file}, line {rows.line_num}: {error}") from error
    elif kind in (".jsonl", ".ndjson"):
        yield from _from_table(file, _json_lines(file, content))
    elif kind == ".json":
        yield from _from_coco(file, content)
    else:
        raise UserError(f"{file}: captions are read from .csv, .tsv, .jsonl or COCO's .json, not from {kind!r}")


def _from_table(file: Path, rows: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[tuple[str, str]]:
    for line, row in rows:
        lower = {str(key).strip().lower(): value for key, value in row.items()}
        name, caption = (_first(lower, columns) for columns in (_FILE_COLUMNS, _CAPTION_COLUMNS))
        if name is None or caption is None:
            lacking = _FILE_COLUMNS if name is None else _CAPTION_COLUMNS
            raise UserError(f"{file}, line {line}: it has {', '.join(lower)}; it needs one of {', '.join(lacking)}")
        if not isinstance(lower[name], str) or not isinstance(lower[caption] or "", str) or None in row:
            raise UserError(
                f"{file}, line {line}: {name} and {caption} must be texts, and no field without a column; put captions that "
                "have commas in quotes"
            )
        yield lower[name].strip(), lower[caption] or ""


def _json_lines(file: Path, content: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f"{file}, line {number} is not a JSON object")
        yield number, row


def _from_coco(file: Path, content: str) -> Iterator[tuple[str, str]]:
    try:
        whole = json.loads(content)
        names = {image["id"]: str(image["file_name"]) for image in whole["images"]}
        pairs = [(names[one["image_id"]], _caption(one["caption"])) for one in whole["annotations"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{file} is not a captions file of COCO, with images (id, file_name) and annotations (image_id, caption): "
            f"{type(error).__name__}: {error}"
        ) from error
    yield from pairs


def _caption(value: Any) -> str:
    if not isinstance(value, str | None):
        raise TypeError(f"the caption {value!r} is no text")
    return value or ""


def _first(row: dict[str, Any], columns: Sequence[str]) -> str | None:
    return next((column for column in columns if column in row), None)
