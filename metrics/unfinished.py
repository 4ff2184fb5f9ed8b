"""Values that were computed and are not scores yet: on disk as they come, so that a command that is killed goes on from them.

``scores/.unfinished/<hash>.<writer>.jsonl`` in the run: a line for each value, with a checksum before it. A writer has a file
of its own, so that several of them, on several machines too, can share a run.
"""

from __future__ import annotations

import json
import math
import os
import time
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from drawbench.files import host
from drawbench.progress import say


class Row(NamedTuple):
    """What a metric said of one image or prompt."""

    values: Mapping[str, float]
    """Output → value; NaN: does not apply."""
    notes: Mapping[str, str] = {}


class Unfinished:
    """One metric's values in the making, by what they are of."""

    def __init__(self, run: Path, protocol: str, outputs: Iterable[str]) -> None:
        """``protocol`` is the hash of all that moves a single value."""
        self.folder, self.protocol, self.outputs = _folder(run), protocol[:16], set(outputs)
        self.rows: dict[str, Row] = {}
        self._path = self.folder / f"{self.protocol}.{host()}-{os.getpid()}-{time.time_ns()}.jsonl"
        self._writable = True
        for file in _files(self.folder, self.protocol):
            self._read(file)
        self.found = len(self.rows)

    def add(self, rows: Mapping[str, Row]) -> None:
        """Appends values; where the disk takes none, they are lost with this process only."""
        self.rows.update(rows)
        if not self._writable or not rows:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self._path, "ab", buffering=0) as file:
                file.write(b"".join(_line(key, row) for key, row in rows.items()))
        except OSError as error:
            self._writable = False
            say(f"values could not be kept in {self._path} ({error.strerror}); killed, they would be computed again")

    def _read(self, file: Path) -> None:
        try:
            lines = file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return  # Another command has just made scores of it.
        damaged = 0
        for line in lines[:-1]:  # What follows the last newline was torn when its writer was killed, or is nothing.
            try:
                key, row = _parse(line)
            except (ValueError, KeyError, TypeError, AttributeError):
                damaged += 1
                continue
            if row.values.keys() == self.outputs:
                self.rows[key] = row
        if damaged:
            say(f"{file}: {damaged} of its values are damaged: they are computed anew")


def delete_unfinished(run: Path, protocol: str) -> None:
    """Deletes the values of a protocol, whoever wrote them: they are in the scores."""
    folder = _folder(run)
    with suppress(OSError):
        for file in _files(folder, protocol[:16]):
            file.unlink(missing_ok=True)
        folder.rmdir()  # Only where it is empty.


def _folder(run: Path) -> Path:
    return run / "scores" / ".unfinished"


def _files(folder: Path, protocol: str) -> list[Path]:
    return sorted(folder.glob(f"{protocol}.*.jsonl")) if folder.is_dir() else []


def _line(key: str, row: Row) -> bytes:
    values = {name: None if math.isnan(value) else value for name, value in row.values.items()}
    data = json.dumps([key, values, dict(row.notes)], ensure_ascii=True, allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(data), data)


def _parse(line: bytes) -> tuple[str, Row]:
    given, _, data = line.partition(b" ")
    if int(given, 16) != zlib.crc32(data):
        raise ValueError("another checksum")
    key, values, notes = json.loads(data)
    return key, Row({name: math.nan if value is None else value for name, value in values.items()}, notes)
