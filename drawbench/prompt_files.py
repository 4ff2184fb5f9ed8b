"""Prompt files of every kind, as rows: CSV, TSV, JSONL and plain text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drawbench.errors import UserError

TEXT_COLUMNS = ("prompt", "prompts", "text", "caption")
ID_COLUMNS = ("id", "image_id", "prompt_id")


def read_rows(file: Path) -> list[dict[str, str]]:
    """Reads any kind of prompt file as rows with ``text`` and perhaps ``id``, ``category`` and others."""
    return parse_rows(file, read_utf8(file))


def parse_rows(file: Path, content: str) -> list[dict[str, str]]:
    """Returns the rows of a prompt file's content; the file's name says what kind it is."""
    kind = file.suffix.lower()
    if kind in (".csv", ".tsv"):
        return _csv_rows(file, content, "," if kind == ".csv" else "\t")
    if kind in (".jsonl", ".ndjson"):
        return _jsonl_rows(file, content)
    if kind in (".txt", ""):
        lines = content.rstrip().replace("\r\n", "\n").split("\n")
        return [{"text": _text(file, number, line)} for number, line in enumerate(lines, 1)]
    raise UserError(f"{file}: prompts are read from .csv, .tsv, .jsonl or .txt, not from {kind!r}")


def read_utf8(file: Path) -> str:
    """Returns a file's text, without a byte order mark."""
    try:
        return file.expanduser().read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}; give the path of a CSV, JSONL or text file") from error


def _csv_rows(file: Path, content: str, delimiter: str) -> list[dict[str, str]]:
    header, lines = parse_table(file, content, delimiter, "prompt")
    names = _names(file, header)
    rows = []
    for number, line in enumerate(lines, 1):
        row = dict(zip(names, line, strict=True))
        rows.append(row | {"text": _text(file, number, row["text"])})
    return rows


def parse_table(file: Path, content: str, delimiter: str, column: str) -> tuple[list[str], list[list[str]]]:
    """Returns the header and the rows of a CSV or TSV, all of one length; ``column`` is one that it should have."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        header, *lines = [line for line in reader if line]
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: {error}") from error
    except ValueError as error:
        raise UserError(f"{file} is empty; its first line names the columns, one of them {column!r}") from error
    for number, line in enumerate(lines, 1):
        if len(line) != len(header):
            raise UserError(
                f"{file}: row {number} has {len(line)} fields, its header {len(header)}; quote texts with commas"
            )
    return header, lines


def _jsonl_rows(file: Path, content: str) -> list[dict[str, str]]:
    rows = []
    for number, line in enumerate(content.rstrip().split("\n"), 1):
        try:
            entry: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}, line {number} is not JSON: {error}") from error
        if not isinstance(entry, dict):
            raise UserError(f'{file}, line {number} is not a JSON object such as {{"prompt": "..."}}')
        names = _names(file, [str(key) for key in entry])
        values = [
            "" if value is None else value if isinstance(value, str) else json.dumps(value) for value in entry.values()
        ]
        row = dict(zip(names, values, strict=True))
        if not isinstance(list(entry.values())[names.index("text")], str):
            raise UserError(f"{file}, line {number}: the text is {row['text']}, which is no string; put it in quotes")
        rows.append(row | {"text": _text(file, number, row["text"])})
    return rows


def _names(file: Path, header: Sequence[str]) -> list[str]:
    """Maps the header to ``text``, ``id``, ``category`` and the file's own names."""
    names = [name.strip() for name in header]
    lower = [name.lower() for name in names]
    text = next((column for column in TEXT_COLUMNS if column in lower), None)
    if text is None:
        raise UserError(
            f"{file} has the columns {', '.join(names)}; the text must be in one of {', '.join(TEXT_COLUMNS)}"
        )
    identifier = next((column for column in ID_COLUMNS if column in lower), None)
    renamed = {text: "text", identifier: "id", "category": "category"}
    names = [renamed.get(name.lower(), name) for name in names]
    if len(set(names)) != len(names):
        raise UserError(f"{file} names a column twice: {', '.join(names)}")
    return names


def _text(file: Path, number: int, text: str) -> str:
    if not text.strip():
        raise UserError(f"{file}: prompt {number} is empty; delete the line or write its text")
    if is_broken(text):
        raise UserError(f"{file}: prompt {number} holds half a character (a lone surrogate); mend it")
    return text


def is_broken(text: str) -> bool:
    """Says whether a text holds half a character (a lone surrogate), which no file can keep."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
