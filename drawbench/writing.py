"""From results to images on disk and lines in the journal, in a thread of its own while the next batch is drawn."""

from __future__ import annotations

import hashlib
import os
import re
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from drawbench.drawing import Outcome
from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.image_tar import TarWriter
from drawbench.images import encode_png
from drawbench.interfaces import Drawn, Failed, Item, Refused
from drawbench.journal import Journal, Record, journal_line, now
from drawbench.store import Run

THREADS = min(4, os.cpu_count() or 1)
"""That encode and write the images of a batch: waiting for the disk, and PNG, take longer than many a small network."""


class Writer:
    """One writer of a run: its journal, where the run keeps images in tars its tar, and the threads that fill both.

    The images of a batch are on disk before their lines are in the journal, and the lines before `write` is done.
    """

    def __init__(self, run: Run, device: str, header: Mapping[str, Any] = {}) -> None:
        self.run, self.device = run, device
        self.journal = Journal(run.path, {"device": device, **header})
        self._tar = TarWriter(run.path) if run.manifest.store == "tar" else None
        self._behind = ThreadPoolExecutor(1, "drawbench writes")
        self._threads = ThreadPoolExecutor(THREADS, "drawbench encodes")

    def __enter__(self) -> Self:
        self.journal.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._behind.shutdown(wait=True)
        self._threads.shutdown(wait=True)
        if self._tar is not None:
            self._tar.close()
        self.journal.__exit__(kind, error, trace)

    def write(self, outcomes: Sequence[Outcome]) -> Future[list[Record]]:
        """Takes results to be encoded and written; returns the journal's records, in their order, when they are there."""
        return self._behind.submit(self._write, outcomes)

    def _write(self, outcomes: Sequence[Outcome]) -> list[Record]:
        kept = list(self._threads.map(self._keep, outcomes))
        if self._tar is None:
            records = [record for record, _, _ in kept]
        else:
            records = [self._into_tar(self._tar, *one) for one in kept]
            self._tar.sync()
        self.journal.write(*records)
        return records

    def _into_tar(self, tar: TarWriter, record: Record, png: bytes | None, text: str) -> Record:
        if png is None:
            return record
        name, offset = tar.add(record.prompt, record.sample, png, text)
        return replace(record, tar=name, offset=offset)

    def _keep(self, outcome: Outcome) -> tuple[Record, bytes | None, str]:
        """Writes what is a file of its own; returns the record, and of an image for a tar its bytes and its prompt's text."""
        item, result = outcome.item, outcome.result
        if isinstance(result, BaseException):
            return failure(item, result, self.device), None, ""
        if isinstance(result, Failed):
            return failure(item, UserError(result.reason), self.device), None, ""
        if isinstance(result, Refused):
            told = {"device": self.device, "seconds": outcome.seconds, "reason": result.reason}
            return _record(item, "refused", **told), None, ""
        try:
            record, png, extras = self._prepare(item, result, outcome.seconds)
        except Exception as error:  # noqa: BLE001  not an image, or facts that cannot be written
            return failure(item, error, self.device), None, ""
        for path, data in extras.items():  # Extras first: an image that is there is whole with all that belongs to it.
            write_atomic(path, data)
        if self._tar is not None:
            return record, png, item.prompt.text
        write_atomic(self.run.image_path(item.prompt.id, item.sample), png)
        return record, None, ""

    def _prepare(self, item: Item, drawn: Drawn, seconds: float) -> tuple[Record, bytes, dict[Path, bytes]]:
        """Returns the record of an image and its files' contents; what is wrong with them is found before one is written."""
        for name in drawn.extras:
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
                raise ValueError(f"the extra image {name!r} needs a name of A-Z a-z 0-9 _ and -")
        extras = {name: encode_png(image) for name, image in drawn.extras.items()}
        png = encode_png(drawn.image)
        record = _record(
            item,
            "drawn",
            sha256=hashlib.sha256(png).hexdigest(),
            bytes=len(png),
            width=drawn.image.width,
            height=drawn.image.height,
            seconds=seconds,
            device=self.device,
            prompt_used=drawn.prompt_used,
            extras={name: hashlib.sha256(data).hexdigest() for name, data in extras.items()},
            facts=dict(drawn.facts),
        )
        journal_line(record)
        return record, png, {self.run.extra_path(n, item.prompt.id, item.sample): data for n, data in extras.items()}


def _record(item: Item, status: str, **fields: object) -> Record:
    if isinstance(seconds := fields.get("seconds"), float):
        fields["seconds"] = round(seconds, 6)
    return Record(item.prompt.id, item.sample, status, item.seed, now(), **fields)  # type: ignore[arg-type]


def failure(item: Item, error: BaseException, device: str) -> Record:
    """Returns the record of an item that failed: the reason, and of what no user can mend the traceback."""
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    trace = None if isinstance(error, UserError) else "".join(traceback.format_exception(error))[-4000:]
    return _record(item, "failed", device=device, reason=reason, traceback=trace)
