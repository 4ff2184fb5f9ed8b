"""Draws in this process: while a batch is in the generator, the one before it is encoded and written."""

from __future__ import annotations

from collections.abc import Generator as Yields
from collections.abc import Sequence
from concurrent.futures import Future

from drawbench.drawing import OutOfMemory, draw_batch, split_end
from drawbench.errors import UserError
from drawbench.executors.batch import BatchSize
from drawbench.interfaces import Generator, Item
from drawbench.journal import Record
from drawbench.store import Run
from drawbench.writing import Writer


def draw_here(
    run: Run, generator: Generator, items: Sequence[Item], batch: BatchSize, device: str
) -> Yields[list[Record], None, None]:
    """Yields the records of each batch as they are on disk. Killed, it loses the batch in the making and the one before."""
    if hasattr(generator, "prepare"):
        generator.prepare(items)
    with Writer(run, device, {"batch_size": batch.size}) as writer:
        before: Future[list[Record]] | None = None
        first = 0
        while first < len(items):
            size = batch.size
            try:
                outcomes = draw_batch(generator, items[first : first + size], size)
            except OutOfMemory as error:
                batch.halve(run, writer.journal, size, str(error))
                continue
            first += size
            kept, ended = split_end(outcomes)
            if before is not None:
                yield before.result()
            before = writer.write(kept)
            if ended is not None:
                yield before.result()
                raise UserError(ended)
        if before is not None:
            yield before.result()
