"""Draws in several processes of this machine: each has its own generator, journal and device, and takes batch after batch.

The parent deals; what a process that died had in hand goes to the others. An item that was in hand twice when a process died
is dealt alone, and at its next death it is that item's failure.
"""

from __future__ import annotations

import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Sequence
from collections.abc import Generator as Yields
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from drawbench.drawing import Outcome, OutOfMemory, draw_batch, split_end
from drawbench.errors import UserError
from drawbench.executors.batch import BatchSize
from drawbench.interfaces import Generator, Item
from drawbench.journal import Record
from drawbench.progress import say
from drawbench.store import Run
from drawbench.writing import Writer

Make = Callable[[str], Generator]
"""Builds the generator on a device. It is sent to another process, so it is a function of a module, or a partial of one."""
MOST_DEATHS = 3
"""For each process: beyond so many together it is the machine or the generator, and no image's fault."""


@dataclass
class _Worker:
    number: int
    device: str
    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    hand: list[Item] = field(default_factory=list)
    """Dealt to it and not yet reported."""


class Died(Exception):
    """A process died while it had an item in hand."""


def draw_in_processes(
    run: Run, make: Make, devices: Sequence[str], items: Sequence[Item], batch: BatchSize
) -> Yields[list[Record], None, None]:
    """Yields the records of each batch as they are on disk; one process for each of the ``devices``.

    Raises:
        UserError: no process could be started, or they keep dying.
    """
    pool = _Pool(run, make, devices, batch)
    with Writer(run, "none", {"batch_size": batch.size, "parent of": len(devices)}) as writer:
        try:
            yield from pool.draw(items, writer)
        finally:
            pool.end()


class _Pool:
    def __init__(self, run: Run, make: Make, devices: Sequence[str], batch: BatchSize) -> None:
        self.run, self.make, self.devices, self.batch = run, make, devices, batch
        self.context = get_context("spawn")
        self.workers: list[_Worker] = []
        self.left: deque[Item] = deque()
        self.suspects: deque[Item] = deque()
        """Dealt one at a time: a process died with them in hand before."""
        self.deaths: Counter[tuple[str, int]] = Counter()

    def draw(self, items: Sequence[Item], writer: Writer) -> Yields[list[Record], None, None]:
        self.left.extend(items)
        self.workers = [self._start(number, device) for number, device in enumerate(self.devices[: len(items)])]
        died = 0
        while self.left or self.suspects or any(worker.hand for worker in self.workers):
            for worker in [one for one in self.workers if one.ready and not one.hand]:
                self._deal(worker)
            for pipe in connection.wait([worker.pipe for worker in self.workers]):
                worker = next(one for one in self.workers if one.pipe is pipe)
                try:
                    kind, content = worker.pipe.recv()
                except (EOFError, OSError):
                    died += 1
                    found = self._bury(worker, writer)
                    if died >= MOST_DEATHS * len(self.devices):
                        raise UserError(
                            f"{died} processes died while drawing; what is drawn stays. Try one process and watch its memory"
                        ) from None
                    if found:
                        yield found
                    continue
                if kind == "ready":
                    worker.ready = True
                elif kind == "records":
                    worker.hand = []
                    yield content
                elif kind == "memory":
                    tried, why = content
                    self.left.extendleft(reversed(worker.hand))
                    worker.hand = []
                    self.batch.halve(self.run, writer.journal, tried, why)
                else:
                    raise content if isinstance(content, UserError) else RuntimeError(content)

    def _start(self, number: int, device: str) -> _Worker:
        ours, theirs = self.context.Pipe()
        arguments = (theirs, self.run.path, self.make, device, max(1, (os.cpu_count() or 1) // len(self.devices)))
        process = self.context.Process(target=work, args=arguments, name=f"drawbench {number + 1}", daemon=True)
        process.start()
        theirs.close()
        return _Worker(number, device, process, ours)

    def _deal(self, worker: _Worker) -> None:
        if self.left:
            count = min(self.batch.size, len(self.left))
            worker.hand = [self.left.popleft() for _ in range(count)]
        elif self.suspects:
            worker.hand = [self.suspects.popleft()]
        else:
            return
        with suppress(OSError):  # It is dead: the pipe says so in a moment.
            worker.pipe.send((worker.hand, self.batch.size))

    def _bury(self, worker: _Worker, writer: Writer) -> list[Record]:
        """Says that a process died, starts another, and deals what it had in hand anew; returns failures, if that killed it."""
        worker.process.join()
        code = worker.process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        worker.pipe.close()
        hand = self.run.lacking(worker.hand) if worker.hand else []
        again = f"; its {len(hand)} images are taken again" if hand else ""
        say(f"process {worker.number + 1} (pid {worker.process.pid}, {worker.device}) died: {how}{again}")
        self.workers[self.workers.index(worker)] = self._start(worker.number, worker.device)
        guilty = []
        for item in hand:
            key = (item.prompt.id, item.sample)
            self.deaths[key] += 1
            if self.deaths[key] > 2 or (self.deaths[key] > 1 and len(hand) == 1):
                reason = Died(f"the process that drew it died {self.deaths[key]} times, the last time by {how}")
                guilty.append(Outcome(item, reason, 0.0))
            elif self.deaths[key] > 1:
                self.suspects.append(item)
            else:
                self.left.append(item)
        drawn = [item for item in worker.hand if item not in hand]
        found = writer.write(guilty).result() if guilty else []
        records = self.run.records() if drawn else {}
        return [records[item.prompt.id, item.sample] for item in drawn] + found

    def end(self) -> None:
        """Lets the processes finish what they have in hand and end."""
        for worker in self.workers:
            worker.pipe.close()
        for worker in self.workers:
            worker.process.join()


def work(pipe: Connection, path: Path, make: Make, device: str, threads: int) -> None:
    """What each process does: builds its generator, then draws what it is dealt until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends us.
    _limit_threads(threads)

    def tell(kind: str, content: Any = None) -> None:
        with suppress(OSError):  # The parent is gone: what is drawn is on disk.
            pipe.send((kind, content))

    try:
        run = Run.open(path)
        generator = make(device)
        with Writer(run, device, {"threads": threads}) as writer:
            tell("ready")
            prepared: set[str] = set()
            while True:
                try:
                    items, size = pipe.recv()
                except (EOFError, OSError):
                    return
                new = [item for item in items if item.prompt.text not in prepared]
                if new and hasattr(generator, "prepare"):
                    generator.prepare(new)
                    prepared |= {item.prompt.text for item in new}
                try:
                    outcomes = draw_batch(generator, items, size)
                except OutOfMemory as error:
                    tell("memory", (size, str(error)))
                    continue
                kept, ended = split_end(outcomes)
                tell("records", writer.write(kept).result())
                if ended is not None:
                    raise UserError(ended)
    except Exception as error:  # noqa: BLE001  the parent raises it
        tell("error", error if isinstance(error, UserError) else f"{type(error).__name__}: {error}")


def _limit_threads(threads: int) -> None:
    """Shares the machine's cores among the processes, unless somebody has said how."""
    import sys

    if "OMP_NUM_THREADS" in os.environ:
        return
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
