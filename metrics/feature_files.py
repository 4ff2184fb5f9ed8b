"""Files of features: an ``.npy`` that NumPy maps, and behind its array the sha256 of each row's image and a checksum."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.files import atomic

ROW = np.dtype([("image", np.uint8, 32), ("sum", "<u4")])
"""Of each row: the sha256 of its image, and the CRC-32 of that and of the row's bytes."""


class FeatureFile(NamedTuple):
    """Features on disk, and whose they are. A file is whole or not there, and never changes."""

    path: Path
    rows: NDArray[np.float32]
    """``(N, D)``, memory-mapped."""
    images: Sequence[bytes]
    """The sha256 of each row's image, 32 bytes."""
    sums: NDArray[np.uint32]

    def is_sound(self, row: int) -> bool:
        """Says whether a row is as it was written."""
        return zlib.crc32(self.rows[row], zlib.crc32(self.images[row])) == int(self.sums[row])


def write_features(path: Path, images: Sequence[bytes], width: int, blocks: Iterable[NDArray[np.float32]]) -> None:
    """Writes the rows of images, given in blocks ``(n, width)``, so that they need not lie in memory together."""
    table = np.empty(len(images), ROW)
    table["image"] = np.frombuffer(b"".join(images), np.uint8).reshape(-1, 32)
    done = 0
    with atomic(path) as beside, open(beside, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(images), width)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            data = np.ascontiguousarray(block, "<f4")
            file.write(data.data)
            for row in data:
                table["sum"][done] = zlib.crc32(row, zlib.crc32(images[done]))
                done += 1
        if done != len(images):
            raise ValueError(f"{done} rows for {len(images)} images")
        file.write(table.tobytes())


def read_features(path: Path) -> FeatureFile:
    """Opens a file of features; whether a row is sound, it says when it is asked.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is not what `write_features` writes.
    """
    rows = np.lib.format.open_memmap(path, mode="r")
    if rows.ndim != 2 or rows.dtype != np.float32:
        raise ValueError("not a float32 array (N, D)")
    end = rows.offset + rows.nbytes
    if path.stat().st_size != end + len(rows) * ROW.itemsize:
        raise ValueError("not of the length that its header says")
    table = np.fromfile(path, ROW, offset=end)
    raw = table["image"].tobytes()
    images = [raw[first : first + 32] for first in range(0, len(raw), 32)]
    return FeatureFile(path, rows.view(np.ndarray), images, table["sum"].astype(np.uint32))
