"""Draws in several processes of this machine: each has its own generator, journal and device, and takes batch after batch.

The parent deals, each process a batch while its last one is on its way to the disk; what a process that died had in hand goes
to the others, one at a time, and where that kills a process again, it is that item's failure.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Generator as Yields
from concurrent.futures import Future
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
    free: bool = False
    """It can take a batch: it waits, or what it drew last is on its way to the disk."""
    hand: deque[list[Item]] = field(default_factory=deque)
    """The batches that it was dealt and has not reported."""


class Died(Exception):
    """A process died while it had an item in hand."""


def draw_in_processes(
    run: Run, make: Make, devices: Sequence[str], items: Sequence[Item], batch: BatchSize, remarks: list[str]
) -> Yields[list[Record], None, None]:
    """Yields the records of each batch as they are on disk; one process for each of the ``devices``.

    What the processes' generators have to remark is appended to ``remarks``.

    Raises:
        UserError: a generator cannot be built, or processes keep dying.
    """
    pool = _Pool(run, make, devices, batch)
    with Writer(run, "none", {"batch_size": batch.size, "parent of": len(devices)}) as writer:
        try:
            yield from pool.draw(items, writer)
            remarks += pool.remarks()
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
        self.died = 0

    def draw(self, items: Sequence[Item], writer: Writer) -> Iterator[list[Record]]:
        self.left.extend(items)
        self.workers = [self._start(number, device) for number, device in enumerate(self.devices[: len(items)])]
        while self.left or self.suspects or any(worker.hand for worker in self.workers):
            for worker in self.workers:
                self._deal(worker)
            for pipe in connection.wait([worker.pipe for worker in self.workers]):
                worker = next(one for one in self.workers if one.pipe is pipe)
                try:
                    kind, content = worker.pipe.recv()
                except (EOFError, OSError):
                    if found := self._bury(worker, writer):
                        yield found
                    continue
                if kind == "free":
                    worker.free = True
                elif kind == "records":
                    worker.hand.popleft()
                    yield content
                elif kind == "memory":
                    tried, why = content
                    self.left.extendleft(reversed(worker.hand.pop()))  # It draws one batch at a time: the last.
                    self.batch.halve(self.run, writer.journal, tried, why)
                elif kind == "error":
                    raise content if isinstance(content, Exception) else RuntimeError(content)

    def _start(self, number: int, device: str) -> _Worker:
        ours, theirs = self.context.Pipe()
        threads = max(1, (os.cpu_count() or 1) // len(self.devices))
        arguments = (theirs, self.run.path, self.make, device, threads, os.getpid())
        process = self.context.Process(target=work, args=arguments, name=f"drawbench {number + 1}", daemon=True)
        process.start()
        theirs.close()
        return _Worker(number, device, process, ours)

    def _deal(self, worker: _Worker) -> None:
        if not worker.free or len(worker.hand) > 1:
            return
        if self.left:
            count = min(self.batch.size, len(self.left))
            worker.hand.append([self.left.popleft() for _ in range(count)])
        elif self.suspects and not worker.hand:
            worker.hand.append([self.suspects.popleft()])
        else:
            return
        worker.free = False
        with suppress(OSError):  # It is dead: the pipe says so in a moment.
            worker.pipe.send((worker.hand[-1], self.batch.size))

    def _bury(self, worker: _Worker, writer: Writer) -> list[Record]:
        """Says that a process died, starts another, and deals what it had in hand anew; returns failures, if that killed it."""
        worker.process.join()
        worker.pipe.close()
        self.died += 1
        code = worker.process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        had = [item for batch in worker.hand for item in batch]
        hand = self.run.lacking(had) if had else []
        again = f"; its {len(hand)} images are taken again" if hand else ""
        say(f"process {worker.number + 1} (pid {worker.process.pid}, {worker.device}) died: {how}{again}")
        if self.died >= MOST_DEATHS * len(self.devices):
            raise UserError(
                f"{self.died} processes died while drawing; what is drawn stays. Try one process, and watch its memory"
            )
        self.workers[self.workers.index(worker)] = self._start(worker.number, worker.device)
        guilty = []
        for item in hand:
            key = (item.prompt.id, item.sample)
            self.deaths[key] += 1
            if self.deaths[key] > 1 and len(hand) == 1:
                reason = Died(f"the process that drew it died {self.deaths[key]} times, the last time by {how}")
                guilty.append(Outcome(item, reason, 0.0))
            else:
                self.suspects.append(item)
        found = writer.write(guilty).result() if guilty else []
        drawn = [item for item in had if item not in hand]
        records = self.run.records() if drawn else {}
        return [records[item.prompt.id, item.sample] for item in drawn] + found

    def remarks(self) -> list[str]:
        """Asks the generators for what they have to remark, when all is drawn."""
        said: list[str] = []
        for worker in [one for one in self.workers if one.free]:
            with suppress(OSError, EOFError):
                worker.pipe.send((None, 0))
                kind, content = worker.pipe.recv()
                while kind != "remarks":
                    kind, content = worker.pipe.recv()
                said += content
        several = len(self.workers) > 1
        return [f"{text}{' (of one process)' if several else ''}" for text in dict.fromkeys(said)]

    def end(self) -> None:
        """Lets the processes finish what they have in hand and end; one that is still being made ends at once."""
        for worker in self.workers:
            worker.pipe.close()
            if not worker.free and not worker.hand:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join()


def work(pipe: Connection, path: Path, make: Make, device: str, threads: int, parent: int) -> None:
    """What each process does: builds its generator, then draws what it is dealt until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends us.
    die_with(parent)
    limit_threads(threads)
    talking = threading.Lock()

    def tell(kind: str, content: Any = None) -> None:
        with talking, suppress(OSError):  # The parent is gone: what is drawn is on disk.
            pipe.send((kind, content))

    def told(writing: Future[list[Record]]) -> None:
        error = writing.exception()
        if error is None:
            tell("records", writing.result())
        else:
            tell("error", sendable(error))

    try:
        run = Run.open(path)
        generator = make(device)
        drawn: list[Item] = []
        with Writer(run, device, {"threads": threads}) as writer:
            before: Future[list[Record]] | None = None
            prepared: set[str] = set()
            while True:
                tell("free")
                try:
                    items, size = pipe.recv()
                except (EOFError, OSError):
                    return
                if items is None:
                    tell("remarks", generator.remarks(drawn) if hasattr(generator, "remarks") else [])
                    continue
                new = [item for item in items if item.prompt.text not in prepared]
                if new and hasattr(generator, "prepare"):
                    generator.prepare(new)
                    prepared |= {item.prompt.text for item in new}
                try:
                    outcomes = draw_batch(generator, items, size)
                except OutOfMemory as error:
                    if before is not None:
                        before.result()  # So that the parent hears of the batches in their order.
                    tell("memory", (size, str(error)))
                    continue
                drawn += items
                kept, ended = split_end(outcomes)
                if before is not None:
                    before.result()
                before = writer.write(kept)
                before.add_done_callback(told)
                if ended is not None:
                    before.result()
                    raise UserError(ended)
    except Exception as error:  # noqa: BLE001  the parent raises it
        tell("error", sendable(error))


def sendable(error: BaseException) -> Any:
    """Returns an error as it is where the command line has words for it, else as text."""
    return error if isinstance(error, UserError | OSError) else f"{type(error).__name__}: {error}"


def die_with(parent: int) -> None:
    """Ends this process when its parent is killed, so that nobody draws behind a claim that was given up (Linux)."""
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def limit_threads(threads: int) -> None:
    """Shares the machine's cores among the processes, unless somebody has said how."""
    if "OMP_NUM_THREADS" in os.environ:
        return
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
