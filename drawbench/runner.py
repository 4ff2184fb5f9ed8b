"""Draws what a run still lacks: resumes where it stopped, retries what failed, and loses nothing to one bad prompt."""

from __future__ import annotations

import hashlib
import re
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.images import encode_png
from drawbench.interfaces import Drawn, Failed, Generator, Item, Refused
from drawbench.journal import Journal, Record, journal_line, now
from drawbench.progress import progress, say
from drawbench.store import Run

_SHOWN_FAILURES = 5
_GIVE_UP_AFTER = 20
"""Failures of the first images, all for one reason: it is not the prompts."""


class Summary(NamedTuple):
    """What one call of `generate` did, and how the asked-for images stand after it."""

    asked: int
    already: int
    """Drawn or refused before this call."""
    already_refused: int
    drawn: int
    refused: int
    failed: int
    """Of this call."""
    seconds: float
    stopped: bool
    """The first images all failed for one reason, and the rest were not tried."""
    remarks: Sequence[str] = ()

    def line(self, run: Run) -> str:
        """Returns one line for people."""
        head = f"{run.manifest.system.name} on {run.manifest.prompt_set}: "
        if self.asked == self.already:
            if self.already_refused:
                there = f"{self.asked - self.already_refused} images are there, {self.already_refused} were refused"
                return head + f"complete, {there} ({run.path})"
            return head + f"complete, all {self.asked} images are there ({run.path})"
        parts = [f"{self.drawn} drawn"]
        parts += [f"{self.refused} refused"] if self.refused else []
        parts += [f"{self.failed} FAILED"] if self.failed else []
        parts += [f"{self.already} were there"] if self.already else []
        parts += ["stopped: the first all failed alike"] if self.stopped else []
        rate = self.drawn / self.seconds if self.seconds > 0 else 0.0
        text = head + ", ".join(parts) + f" of {self.asked} in {self.seconds:.1f} s ({rate:.1f} images/s; {run.path})"
        return text + ("; the same command tries the failed ones again" if self.failed else "")


def pending(run: Run, items: Sequence[Item]) -> list[Item]:
    """Returns the items that are yet to be drawn.

    An image counts as drawn where the journal says so and the file is there in its recorded size (content is checked
    by `drawbench verify`). A refusal stands; a failure is tried again.
    """
    records, sizes = run.records(), run.present()

    def open_(item: Item) -> bool:
        key = (item.prompt.id, item.sample)
        record = records.get(key)
        if record is None or record.status == "failed":
            return True
        if record.status == "refused":
            return False
        return sizes.get(key) != record.bytes or not all(run.extra_path(name, *key).is_file() for name in record.extras)

    return [item for item in items if open_(item)]


def generate(run: Run, generator: Generator, items: Sequence[Item], *, batch_size: int, device: str) -> Summary:
    """Draws the items that the run lacks, each image on disk and in the journal before the next batch.

    A generator may have more than its Protocol: ``prepare(items)`` is called before the first image, and what it raises
    ends the run; ``remarks(items)`` says at the end what is to be known of them; ``changed(item, facts)`` whether an
    image that is there would be another now. A result that is `Failed` with ``ends_run`` ends the run with a UserError.

    Killed at any moment, it loses at most the batch in the making; the next call goes on, with the same bytes.
    """
    start = time.monotonic()
    to_draw = pending(run, items)
    left = {(item.prompt.id, item.sample) for item in to_draw}
    before = {key: record for key, record in run.records().items() if key not in left}
    _refuse_other_sources(run, generator, items, before)
    already_refused = sum(
        (i.prompt.id, i.sample) in before and before[i.prompt.id, i.sample].status == "refused" for i in items
    )
    stopped = False
    done: Counter[str] = Counter()
    reasons: set[str | None] = set()
    already = len(items) - len(to_draw)
    if to_draw:
        run.clear_leftovers()
        if hasattr(generator, "prepare"):
            generator.prepare(to_draw)
        with (
            Journal(run.path, {"batch_size": batch_size, "device": device}) as journal,
            progress(len(items), unit=" images", label=run.manifest.system.name, done=already) as bar,
        ):
            for first in range(0, len(to_draw), batch_size):
                for record in _draw(run, generator, to_draw[first : first + batch_size], batch_size, device):
                    journal.write(record)
                    done[record.status] += 1
                    bar.update()
                    if record.status == "failed":
                        reasons.add(record.reason)
                        _tell(record, done["failed"])
                stopped = done.total() == done["failed"] >= _GIVE_UP_AFTER and len(reasons) == 1
                if stopped:
                    break
    seconds = time.monotonic() - start
    remarks = generator.remarks(items) if hasattr(generator, "remarks") else []
    counts = (done["drawn"], done["refused"], done["failed"])
    return Summary(len(items), already, already_refused, *counts, seconds, stopped, remarks)


def _refuse_other_sources(
    run: Run, generator: Generator, items: Sequence[Item], before: Mapping[tuple[str, int], Record]
) -> None:
    """Asks a generator that imports whether what it would draw from is still what the run's images came from."""
    if not hasattr(generator, "changed"):
        return
    for item in items:
        record = before.get((item.prompt.id, item.sample))
        if record is not None and record.status == "drawn" and (what := generator.changed(item, record.facts)):
            raise UserError(f"{run.path} holds other images: {what}; give a new -o, or delete that image from the run")


def _draw(run: Run, generator: Generator, batch: Sequence[Item], batch_size: int, device: str) -> Iterator[Record]:
    start = time.monotonic()
    try:
        results = _call(generator, batch, batch_size)
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a plug-in raises is told of the image that it befell
        if len(batch) == 1:
            yield _failure(batch[0], error, device)
            return
        for item in batch:  # One by one: only the guilty item is journalled as failed.
            yield from _draw(run, generator, [item], batch_size, device)
        return
    seconds = (time.monotonic() - start) / len(batch)
    ended: str | None = None
    for item, result in zip(batch, results, strict=True):
        if isinstance(result, Failed):
            if result.ends_run:
                ended = ended or result.reason
            else:
                yield _failure(item, UserError(result.reason), device)
            continue
        if isinstance(result, Refused):
            yield _record(item, "refused", device=device, seconds=seconds, reason=result.reason)
            continue
        try:
            record, files = _prepare(run, item, result, seconds, device)
        except Exception as error:  # noqa: BLE001  not an image, or facts that cannot be written
            yield _failure(item, error, device)
            continue
        for path, data in files.items():  # Extras first: an image that is there is whole with all that belongs to it.
            write_atomic(path, data)
        yield record
    if ended is not None:
        raise UserError(ended)


def _call(generator: Generator, batch: Sequence[Item], batch_size: int) -> Sequence[Drawn | Refused | Failed]:
    surplus = batch_size - len(batch) if generator.pads else 0
    given = [*batch, *[batch[-1]] * surplus]
    results = generator.generate(given)
    if len(results) != len(given):
        raise ValueError(
            f"the generator returned {len(results)} results for {len(given)} items; one each is needed, in order"
        )
    return results[: len(batch)]


def _prepare(run: Run, item: Item, drawn: Drawn, seconds: float, device: str) -> tuple[Record, dict[Path, bytes]]:
    """Returns the record of an image and its files, the image last; what is wrong with them is found before one is written."""
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
        device=device,
        prompt_used=drawn.prompt_used,
        extras={name: hashlib.sha256(data).hexdigest() for name, data in extras.items()},
        facts=dict(drawn.facts),
    )
    journal_line(record)
    files = {run.extra_path(name, item.prompt.id, item.sample): data for name, data in extras.items()}
    return record, files | {run.image_path(item.prompt.id, item.sample): png}


def _record(item: Item, status: str, **fields: object) -> Record:
    if isinstance(seconds := fields.get("seconds"), float):
        fields["seconds"] = round(seconds, 6)
    return Record(item.prompt.id, item.sample, status, item.seed, now(), **fields)  # type: ignore[arg-type]


def _failure(item: Item, error: BaseException, device: str) -> Record:
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    trace = None if isinstance(error, UserError) else "".join(traceback.format_exception(error))[-4000:]
    return _record(item, "failed", device=device, reason=reason, traceback=trace)


def _tell(record: Record, count: int) -> None:
    if count <= _SHOWN_FAILURES:
        say(f"failed: prompt {record.prompt}, sample {record.sample}: {' '.join((record.reason or '').split())}")
    elif count == _SHOWN_FAILURES + 1:
        say("further failures: `drawbench verify` lists them all")
