"""Draws what a run still lacks: resumes where it stopped, retries what failed, and loses nothing to one bad prompt."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Generator as Yields
from contextlib import closing
from typing import NamedTuple

from drawbench.errors import UserError
from drawbench.executors.batch import BatchSize
from drawbench.executors.local import draw_here
from drawbench.interfaces import Generator, Item
from drawbench.journal import Record
from drawbench.progress import progress, say
from drawbench.store import Run

Draw = Callable[[Sequence[Item], BatchSize, list[str]], Yields[list[Record], None, None]]
"""Draws items and yields their records, batch by batch, as they are on disk; appends remarks to a list."""
_SHOWN_FAILURES = 5
_GIVE_UP_AFTER = 20
"""Failures in a row, all for one reason: it is not the prompts."""


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
    """So many in a row failed for one reason that the rest were not tried."""
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
        parts += [f"stopped: {_GIVE_UP_AFTER} in a row failed alike"] if self.stopped else []
        rate = self.drawn / self.seconds if self.seconds > 0 else 0.0
        text = head + ", ".join(parts) + f" of {self.asked} in {self.seconds:.1f} s ({rate:.1f} images/s; {run.path})"
        return text + ("; the same command tries the failed ones again" if self.failed else "")


def generate(
    run: Run,
    generator: Generator,
    items: Sequence[Item],
    *,
    batch_size: int | BatchSize,
    device: str,
    draw: Draw | None = None,
) -> Summary:
    """Draws the items that the run lacks.

    A generator may have more than its Protocol: ``prepare(items)`` is called before the first image, and what it raises
    ends the run; ``remarks(items)`` says at the end what is to be known of them; ``changed(item, facts)`` whether an
    image that is there would be another now. A result that is `Failed` with ``ends_run`` ends the run with a UserError.

    ``draw`` draws items and yields their records as they are on disk; by default this process does it. Killed at any moment,
    it loses at most two batches: the one in the making and the one on its way to the disk. The next call goes on, with the same
    bytes.
    """
    start = time.monotonic()
    records = run.records()
    to_draw = run.lacking(items, records)
    left = {(item.prompt.id, item.sample) for item in to_draw}
    there = [item for item in items if (item.prompt.id, item.sample) not in left]
    _refuse_other_sources(run, generator, there, records)
    already_refused = sum(records[item.prompt.id, item.sample].status == "refused" for item in there)
    del records
    stopped = False
    done: Counter[str] = Counter()
    alike = 0
    reason: str | None = None
    remarks: list[str] = []
    if to_draw:
        run.clear_leftovers()
        batch = batch_size if isinstance(batch_size, BatchSize) else BatchSize(batch_size)
        drawing = draw(to_draw, batch, remarks) if draw else draw_here(run, generator, to_draw, batch, device)
        with (
            closing(drawing),
            progress(len(items), unit=" images", label=run.manifest.system.name, done=len(there)) as bar,
        ):
            for written in drawing:
                for record in written:
                    done[record.status] += 1
                    bar.update()
                    if record.status == "failed":
                        alike = alike + 1 if record.reason == reason else 1
                        reason = record.reason
                        _tell(record, done["failed"])
                    else:
                        alike = 0
                stopped = alike >= _GIVE_UP_AFTER
                if stopped:
                    break
    seconds = time.monotonic() - start
    if hasattr(generator, "remarks"):
        remarks += generator.remarks(items)
    counts = (done["drawn"], done["refused"], done["failed"])
    return Summary(len(items), len(there), already_refused, *counts, seconds, stopped, list(dict.fromkeys(remarks)))


def _refuse_other_sources(
    run: Run, generator: Generator, there: Sequence[Item], records: Mapping[tuple[str, int], Record]
) -> None:
    """Asks a generator that imports whether what it would draw from is still what the run's images came from."""
    if not hasattr(generator, "changed"):
        return
    for item in there:
        record = records[item.prompt.id, item.sample]
        if record.status == "drawn" and (what := generator.changed(item, record.facts)):
            raise UserError(f"{run.path} holds other images: {what}; give a new -o, or delete that image from the run")


def _tell(record: Record, count: int) -> None:
    if count <= _SHOWN_FAILURES:
        say(f"failed: prompt {record.prompt}, sample {record.sample}: {' '.join((record.reason or '').split())}")
    elif count == _SHOWN_FAILURES + 1:
        say("further failures: `drawbench verify` lists them all")
