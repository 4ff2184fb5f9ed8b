"""Journals: what became of each image, in append-only files, one for each writer, merged when they are read."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from drawbench import __version__
from drawbench.errors import UserError
from drawbench.files import host, sync_folder
from drawbench.protocol import canonical_json

SCHEMA_VERSION = 1
Status = Literal["drawn", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a journal: what became of one image."""

    prompt: str
    sample: int
    status: Status
    seed: int
    at: str
    sha256: str | None = None
    """Of the PNG file."""
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    device: str | None = None
    prompt_used: str | None = None
    extras: Mapping[str, str] = field(default_factory=dict)
    """Name → sha256 of the PNG file."""
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    reason: str | None = None
    """Why it was refused, or how it failed."""
    traceback: str | None = None
    tar: str | None = None
    """The tar that the PNG lies in; None: it is a file of its own."""
    offset: int | None = None
    """Of the PNG's first byte in its tar."""


_FIELDS = Record.__dataclass_fields__.keys()


class Journal:
    """One writer's append-only file of a run.

    The first line is a header: what wrote it, and with which libraries.
    """

    def __init__(self, path: Path, header: Mapping[str, Any] = {}) -> None:
        folder = path / "journal"
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{host()}-{os.getpid()}-{time.time_ns()}.jsonl"
        libraries = {name: _version(name) for name in ("numpy", "pillow", "torch")}
        self._header = {
            "journal": SCHEMA_VERSION,
            "drawbench": __version__,
            "python": sys.version.split()[0],
            **libraries,
            **header,
        }
        self._file: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, *records: Record) -> None:
        """Appends records and syncs them."""
        if records:
            self._append(b"".join(map(journal_line, records)))

    def tell(self, event: Mapping[str, Any]) -> None:
        """Appends something that befell the writer and not one image, such as a smaller batch."""
        self._append(canonical_json({"journal": SCHEMA_VERSION, "at": now(), **event}).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        if self._file is None:
            self._file = open(self.path, "ab")  # noqa: SIM115  closed in __exit__; no file where nothing is to say
            self._file.write(canonical_json(self._header).encode() + b"\n")
            sync_folder(self.path.parent)
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())


def journal_line(record: Record) -> bytes:
    """Returns a record as its line in a journal.

    Raises:
        ValueError, TypeError: a fact is not text or a finite number.
    """
    line = {key: value for key, value in asdict(record).items() if value is not None and value != {}}
    return canonical_json(line).encode() + b"\n"


def read_journal(file: Path) -> Iterator[Record]:
    """Yields the records of one journal; a torn last line, of a writer that was killed, is passed over."""
    with open(file, "rb") as lines:
        yield from _records(file, lines)


def _records(file: Path, lines: Iterable[bytes]) -> Iterator[Record]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            record = None if "journal" in row else Record(**{key: row[key] for key in row.keys() & _FIELDS})
            if record is not None and not (isinstance(record.prompt, str) and isinstance(record.sample, int)):
                raise ValueError("prompt or sample is of the wrong type")
        except (ValueError, TypeError, AttributeError) as error:
            if not line.endswith(b"\n"):
                return  # The torn last line of a writer that was killed: its image is drawn again.
            what = f"{file}, line {number} is damaged ({error})"
            raise UserError(f"{what}; delete the line: its image is drawn again") from error
        if record is None and row["journal"] != SCHEMA_VERSION:
            raise UserError(
                f"{file} was written by drawbench {row.get('drawbench')}, which is newer than this: update it"
            )
        if record is not None and record.status not in get_args(Status):
            raise UserError(
                f"{file}, line {number} has the status {record.status!r}, which is newer than this: update it"
            )
        if record is not None:
            yield record


def journals(path: Path) -> list[Path]:
    """Returns the journals of a run's folder."""
    folder = path / "journal"
    if not folder.is_dir():
        return []
    return sorted(Path(entry) for entry in os.scandir(folder) if entry.name.endswith(".jsonl"))  # glob hides EACCES


def now() -> str:
    """Returns the time in UTC, to the microsecond, in a form that sorts."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
