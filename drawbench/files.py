"""Files that are whole or not there: atomic writes, digests, and the leftovers of writers that were killed."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path

_LEFTOVER = re.compile(r"^\..+\.(?P<host>[^.]+)-(?P<pid>\d+)-\d+\.tmp$")
_NUMBERS = count()


@cache
def host() -> str:
    """Returns a name for where process ids mean what they mean here: this machine and, in a container, its own numbering."""
    name = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:48] or "host"
    try:
        return f"{name}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return name


def write_atomic(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Writes beside ``path``, syncs and renames: whoever looks finds the old file or the whole new one, never a part."""
    with atomic(path) as beside, open(beside, "wb") as file:
        for part in [data] if isinstance(data, bytes) else data:
            file.write(part)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Gives a path beside ``path`` to write to; what is there at the end is synced and takes its place, unless it failed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{host()}-{os.getpid()}-{next(_NUMBERS)}.tmp")
    try:
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames in ``folder`` survive a loss of power, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Returns the hex digest of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_leftover(name: str) -> bool:
    """Says whether a file name is that of an unfinished `write_atomic`."""
    return _LEFTOVER.match(name) is not None


def sweep(folder: Path) -> int:
    """Deletes unfinished files in ``folder`` (not below it) whose writer was of this machine and is dead; returns how many."""
    dead = [path for path in _leftovers(folder) if not _alive(path)]
    for path in dead:
        path.unlink(missing_ok=True)
    return len(dead)


def _leftovers(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if is_leftover(path.name))


def alive(pid: int) -> bool:
    """Says whether another process of this machine has that number; never this one itself, whose unfinished files are old."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _alive(leftover: Path) -> bool:
    match = _LEFTOVER.match(leftover.name)
    if match is None or match["host"] != host():
        return True  # Another machine's: who can say?
    return alive(int(match["pid"]))
