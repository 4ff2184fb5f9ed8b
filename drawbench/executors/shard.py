"""Which part of the work is this process's: by hand, or as torchrun or SLURM say. A part follows from the plan alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from drawbench.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of several: every ``count``-th item, from the ``index``-th."""

    index: int = 0
    """From 0."""
    count: int = 1
    said_by: str = ""
    """--shard, torchrun or SLURM."""
    local: int | None = None
    """This process's number among those of its machine, for the choice of its GPU."""

    def of(self, items: Sequence[T]) -> list[T]:
        """Returns this part."""
        return list(items[self.index :: self.count])

    def line(self) -> str:
        """Returns which part this is, for people."""
        return f"part {self.index + 1} of {self.count} ({self.said_by})"


WHOLE = Shard()


def find_shard(given: str | None, environment: Mapping[str, str] = os.environ) -> Shard:
    """Returns the part that ``--shard i/n`` names; without it the one that torchrun or SLURM give this process, else all.

    Raises:
        UserError: ``i/n`` is not of that form, or an environment's numbers make no sense.
    """
    if given is not None:
        match = re.fullmatch(r"(\d+)/(\d+)", given.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"--shard {given}: give i/n, counted from 1: 1/4, 2/4, 3/4 and 4/4 are the parts of four")
        return Shard(int(match[1]) - 1, int(match[2]), "--shard")
    if "RANK" in environment and "WORLD_SIZE" in environment:
        index, count = _numbers(environment, "RANK", "WORLD_SIZE")
        local = _numbers(environment, "LOCAL_RANK", "WORLD_SIZE")[0] if "LOCAL_RANK" in environment else None
        return Shard(index, count, "torchrun", local) if count > 1 else WHOLE
    index, count, local = 0, 1, None
    # Tasks count only where srun started this process: the script of a batch has SLURM_NTASKS too, and is one process.
    if "SLURM_STEP_ID" in environment and "SLURM_PROCID" in environment and "SLURM_NTASKS" in environment:
        index, count = _numbers(environment, "SLURM_PROCID", "SLURM_NTASKS")
        local = int(environment["SLURM_LOCALID"]) if environment.get("SLURM_LOCALID", "").isdigit() else None
    if "SLURM_ARRAY_TASK_ID" in environment:
        first, last, step = (
            int(environment.get(f"SLURM_ARRAY_TASK_{name}") or default)
            for name, default in (("MIN", "0"), ("MAX", "0"), ("STEP", "1"))
        )
        arrays = (last - first) // step + 1
        array = (int(environment["SLURM_ARRAY_TASK_ID"]) - first) // step
        if not 0 <= array < arrays or int(environment.get("SLURM_ARRAY_TASK_COUNT") or arrays) != arrays:
            raise UserError(
                "this SLURM array has gaps in its numbers, so which part is whose cannot be told; say it: --shard i/n"
            )
        index, count = array * count + index, arrays * count
    return Shard(index, count, "SLURM", local) if count > 1 else WHOLE


def _numbers(environment: Mapping[str, str], index: str, count: str) -> tuple[int, int]:
    try:
        found = int(environment[index]), int(environment[count])
    except ValueError as error:
        raise UserError(f"{index}={environment[index]!r} and {count}={environment[count]!r} are not numbers") from error
    if not 0 <= found[0] < found[1]:
        raise UserError(f"{index}={found[0]} is not one of {count}={found[1]} processes")
    return found


_CLAIM = re.compile(r"\.shard-(\d+)-of-(\d+)\.lock")


@contextmanager
def claimed(run: Path, shard: Shard) -> Iterator[None]:
    """Holds a part of a run while it is drawn, so that no two processes write the same image.

    Raises:
        UserError: another process draws the same part, or parts of another division.
    """
    from filelock import FileLock, Timeout

    own = FileLock(run / f".shard-{shard.index}-of-{shard.count}.lock")
    with FileLock(run / ".lock"):
        for file in sorted(run.glob(".shard-*.lock")):
            match = _CLAIM.fullmatch(file.name)
            if match is None or (int(match[2]) == shard.count and int(match[1]) != shard.index):
                continue
            try:
                with FileLock(file, timeout=0):
                    pass
            except Timeout as error:
                part = "this run" if match[2] == "1" else f"part {int(match[1]) + 1} of {match[2]} of this run"
                raise UserError(
                    f"{run}: another process is drawing {part}; wait for it, or let each draw a part: --shard i/n with "
                    "one n for all"
                ) from error
        own.acquire(timeout=0)
    try:
        yield
    finally:
        own.release()
