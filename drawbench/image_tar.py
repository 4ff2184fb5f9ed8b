"""Images in tar files, as WebDataset reads them: a million images are a few hundred files.

Each writer has tars of its own, ``images/<host>-<pid>-<time>-<number>.tar``. An image is ``<prompt id>_<sample>.png`` with the
prompt's text beside it as ``.txt``; a dot in an id, at which WebDataset would cut the name, is written ``%2E``. The journal
says in which tar and at which byte an image lies, so that reading one reads no other.
"""

from __future__ import annotations

import os
import re
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from drawbench.files import alive, host, sync_folder

BLOCK = 512
FULL = 2**30
"""A writer begins another tar beyond so many bytes."""
_NAME = re.compile(r"(?P<host>[A-Za-z0-9-]+)-(?P<pid>\d+)-\d+-\d+\.tar")


class TarWriter:
    """Appends images to tars of its own. What was added before `sync` is on disk; a tar that was closed is whole by itself."""

    def __init__(self, run: Path, full: int = FULL) -> None:
        self.folder, self.full = run / "images", full
        self._begun = time.time_ns()
        self._count = 0
        self._file: IO[bytes] | None = None

    def add(self, prompt_id: str, sample: int, png: bytes, text: str) -> tuple[str, int]:
        """Writes an image and its prompt; returns the tar's name and the byte at which the image begins."""
        file = self._file or self._open()
        key = f"{prompt_id.replace('.', '%2E')}_{sample}"
        _member(file, f"{key}.txt", text.encode())
        offset = _member(file, f"{key}.png", png)
        name = Path(file.name).name
        if file.tell() >= self.full:
            self.close()
        return name, offset

    def sync(self) -> None:
        """Brings what was added to the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Ends the tar that is open."""
        if self._file is not None:
            _end(self._file)
            self._file = None

    def _open(self) -> IO[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{host()}-{os.getpid()}-{self._begun}-{self._count}.tar"
        self._count += 1
        self._file = open(self.folder / name, "xb")  # noqa: SIM115  closed in close()
        _lock(self._file)
        sync_folder(self.folder)
        return self._file


def is_tar(name: str) -> bool:
    """Says whether a file's name is that of a tar of images."""
    return _NAME.fullmatch(name) is not None


def tar_path(run: Path, tar: str) -> Path:
    """Returns where a tar of a run lies."""
    if not _NAME.fullmatch(tar):
        raise OSError(f"{tar!r} is not the name of a tar of images")
    return run / "images" / tar


def tar_sizes(run: Path) -> dict[str, int]:
    """Returns the sizes in bytes of a run's tars."""
    folder = run / "images"
    if not folder.is_dir():
        return {}
    return {entry.name: entry.stat().st_size for entry in os.scandir(folder) if _NAME.fullmatch(entry.name)}


def mend_tars(run: Path, ends: Mapping[str, int]) -> list[Path]:
    """Ends the tars of writers that were killed behind the last image that a journal has; returns them.

    ``ends`` says of each tar where that image ends. What stands behind it is drawn again elsewhere, so it is cut off.
    """
    mended = []
    for name in sorted(tar_sizes(run)):
        match, path = _NAME.fullmatch(name), run / "images" / name
        if match is None or match["host"] != host() or alive(int(match["pid"])):
            continue
        with open(path, "rb+") as file:
            if not _lock(file) or _has_end(path):
                continue
            # A tar that no journal knows may be the only copy of what is in it: its whole members stay.
            whole = max((behind for behind in _ends_of_members(path) if behind <= path.stat().st_size), default=0)
            end = -(-ends[name] // BLOCK) * BLOCK if name in ends else whole
            file.truncate(end)
            file.seek(end)
            _end(file)
        if end == 0:
            path.unlink()
        mended.append(path)
    return mended


def image_offsets(path: Path) -> set[int]:
    """Returns at which bytes of a tar images begin."""
    return {
        begins
        for name, begins, size in _members(path)
        if name.endswith(".png") and begins + size <= path.stat().st_size
    }


def _has_end(path: Path) -> bool:
    behind = max(_ends_of_members(path), default=0)
    with open(path, "rb") as file:
        file.seek(behind)
        return file.read(BLOCK) == bytes(BLOCK)


def _ends_of_members(path: Path) -> list[int]:
    return [begins + -(-size // BLOCK) * BLOCK for _, begins, size in _members(path)]


def _members(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yields each member's name, first byte and size, up to the tar's end or to what is no member."""
    at = 0
    with open(path, "rb") as file:
        while True:
            file.seek(at)
            header = file.read(BLOCK)
            try:
                member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                return
            yield member.name, at + BLOCK, member.size
            at += BLOCK + -(-member.size // BLOCK) * BLOCK


def _lock(file: IO[bytes]) -> bool:
    """Holds a tar while it is written; says whether nobody else does."""
    try:
        import fcntl
    except ImportError:
        return True  # Windows: the writer's number must do.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _member(file: IO[bytes], name: str, data: bytes) -> int:
    """Appends a file to a tar and returns where its bytes begin. Always the same bytes: no owner, no time."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = len(data), 0o644
    file.write(header.tobuf(tarfile.GNU_FORMAT))
    begins = file.tell()
    file.write(data)
    file.write(bytes(-len(data) % BLOCK))
    return begins


def _end(file: IO[bytes]) -> None:
    file.write(bytes(2 * BLOCK))
    file.flush()
    os.fsync(file.fileno())
    file.close()
