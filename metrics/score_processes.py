"""Parts of a run measured at once, each in a process of this machine with networks of its own, for their parent to join."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from drawbench.executors.processes import die_with, limit_threads, sendable
from drawbench.executors.shard import Shard
from drawbench.metrics.scoring import Loaded
from drawbench.metrics.stream import score_part
from drawbench.progress import progress, say
from drawbench.store import Run

Make = Callable[[str], Sequence[Loaded]]
"""Builds the metrics on a device. It is sent to another process, so it is a function of a module, or a partial of one."""


def measure_in_processes(run: Run, make: Make, devices: Sequence[str], count: int) -> None:
    """Measures the parts of a run, one for each of the ``devices``, and leaves them on disk; ``count`` images are to be done.

    A process that fails or dies says so, and what it left is for whoever joins the parts: there a metric's fault is raised.
    """
    context = get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    running: dict[Connection, Any] = {}
    for number, device in enumerate(devices):
        ours, theirs = context.Pipe(duplex=False)
        part = Shard(number, len(devices), "--processes")
        arguments = (theirs, run.path, make, device, part, threads, os.getpid())
        process = context.Process(target=work, args=arguments, name=f"drawbench {number + 1}", daemon=True)
        process.start()
        theirs.close()
        running[ours] = process
    label = f"score {run.manifest.system.name}, {len(devices)} processes"
    try:
        with progress(count, unit=" images", label=label) as bar:
            while running:
                for pipe in connection.wait(list(running)):
                    if not isinstance(pipe, Connection):
                        continue
                    try:
                        kind, content = pipe.recv()
                    except (EOFError, OSError):
                        _bury(running.pop(pipe))
                        continue
                    if kind == "done":
                        bar.update(content)
                    else:
                        say(f"a process could not do its part: {content}")
    finally:
        for process in running.values():
            process.terminate()
            process.join()


def _bury(process: Any) -> None:
    process.join()
    code = process.exitcode or 0
    if code:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        say(f"{process.name} (pid {process.pid}) died: {how}; what it left is done here")


def work(pipe: Connection, path: Path, make: Make, device: str, part: Shard, threads: int, parent: int) -> None:
    """What each process does: builds the metrics, then measures its part."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends us.
    die_with(parent)
    limit_threads(threads)

    def tell(kind: str, content: Any) -> None:
        with suppress(OSError):
            pipe.send((kind, content))

    try:
        score_part(Run.open(path), make(device), part, tell=partial(tell, "done"))
    except Exception as error:  # noqa: BLE001  told where the parts are joined
        tell("error", sendable(error))
