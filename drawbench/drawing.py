"""One batch through a generator: a result for each item, whatever the generator does to some of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from drawbench.devices import is_out_of_memory
from drawbench.interfaces import Drawn, Failed, Generator, Item, Refused


class Outcome(NamedTuple):
    """What became of one item in the generator, before anything is on disk."""

    item: Item
    result: Drawn | Refused | Failed | BaseException
    seconds: float
    """Its share of the batch's time."""


class OutOfMemory(Exception):
    """A batch of more than one image did not fit; nothing of it is lost, and a smaller one may fit."""


def draw_batch(generator: Generator, batch: Sequence[Item], batch_size: int) -> list[Outcome]:
    """Draws a batch. What raises is tried again one by one, so that only the guilty item has an exception for a result.

    Raises:
        OutOfMemory: the device's memory is too small for ``batch_size`` images at once.
    """
    start = time.monotonic()
    try:
        results = _call(generator, batch, batch_size)
    except (Exception, SystemExit) as error:
        if batch_size > 1 and is_out_of_memory(error):
            raise OutOfMemory((str(error).splitlines() or [type(error).__name__])[0]) from error
        if len(batch) == 1:
            return [Outcome(batch[0], error, time.monotonic() - start)]
        return [outcome for item in batch for outcome in draw_batch(generator, [item], batch_size)]
    seconds = (time.monotonic() - start) / len(batch)
    return [Outcome(item, result, seconds) for item, result in zip(batch, results, strict=True)]


def split_end(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], str | None]:
    """Returns what is to be written, and why the run ends, where a result says that no other image could be drawn either."""
    last = [one.result for one in outcomes if isinstance(one.result, Failed) and one.result.ends_run]
    kept = [one for one in outcomes if not (isinstance(one.result, Failed) and one.result.ends_run)]
    return kept, last[0].reason if last else None


def _call(generator: Generator, batch: Sequence[Item], batch_size: int) -> Sequence[Drawn | Refused | Failed]:
    surplus = batch_size - len(batch) if generator.pads else 0
    given = [*batch, *[batch[-1]] * surplus]
    results = generator.generate(given)
    if len(results) != len(given):
        raise ValueError(
            f"the generator returned {len(results)} results for {len(given)} items; one each is needed, in order"
        )
    return results[: len(batch)]
