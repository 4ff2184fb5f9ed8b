"""Features of images: one row for each, known by the network and the image's sha256, whichever run or reference it is of.

``$DRAWBENCH_CACHE/features/<hash>/``, of the network and the code that it is part of, holds a file for each set of images
(named by its digest, rows in the set's order, memory-mapped by whoever needs them) and, while a set is in the making, small
files of its rows, each of one writer and never changed. So writers cannot harm one another, one that is killed loses seconds,
and a set that grew computes what is new.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drawbench import __version__
from drawbench.errors import UserError
from drawbench.files import alive, host, sweep
from drawbench.interfaces import Network
from drawbench.metrics.feature_files import FeatureFile, read_features, write_features
from drawbench.progress import say
from drawbench.protocol import digest
from drawbench.weights import cache_folder

if TYPE_CHECKING:
    from torch import Tensor

MOST_ROWS, MOST_SECONDS = 2048, 20.0
"""What is computed goes to the disk when it is so much, or so old."""
ABANDONED = 86400.0
"""Seconds after which a small file of another machine is nobody's: whether its writer lives cannot be seen from here."""
_PIECE = re.compile(r"rows-(?P<host>.+)-(?P<pid>\d+)-\d+\.npy")


def made_by(key: str, identity: Mapping[str, str] = {}) -> str:
    """Returns the digest of all that may move features: the network's key, this version, and what identifies a plug-in."""
    return digest({"network": key, "drawbench": __version__, "plug-in": dict(identity)})


class Features:
    """One network's features of a set of images, float32 ``(N, D)``: those that are kept, and those computed now."""

    def __init__(self, key: str, images: Sequence[str], identity: Mapping[str, str] = {}) -> None:
        """Finds what is kept of ``images``, the sha256 of each file; the same image may be there twice.

        ``key`` is the network's own, any text; ``identity`` tells other code apart that may give the same key.
        """
        self.images = [bytes.fromhex(image) for image in images]
        self.folder = cache_folder() / "features" / made_by(key, identity)[:32]
        self.path = self.folder / f"{digest(list(images))[:32]}.npy"
        self.computed = 0
        """Rows that the network was asked for."""
        self._whole: NDArray[np.float32] | None = None
        self._kept: dict[bytes, tuple[FeatureFile, int]] = {}
        self._new: dict[bytes, NDArray[np.float32]] = {}
        """Rows that are not on disk yet, or cannot be put there."""
        self._writable = True
        self._written = time.monotonic()
        self._look()

    @property
    def whole(self) -> bool:
        """Whether the set lies in one file, in its order."""
        return self._whole is not None

    @property
    def array(self) -> NDArray[np.float32]:
        """All features ``(N, D)``: memory-mapped once `close` has put them on disk."""
        return self.rows(range(len(self.images))) if self._whole is None else self._whole

    def lacking(self, at: Sequence[int]) -> list[int]:
        """Returns those of some positions whose features are not known, each image once."""
        if self._whole is not None:
            return []
        first = {self.images[index]: index for index in reversed(at)}
        return sorted(index for image, index in first.items() if image not in self._kept and image not in self._new)

    def rows(self, at: Sequence[int]) -> NDArray[np.float32]:
        """Returns the features ``(n, D)`` at some positions, all of which are known."""
        if self._whole is not None:
            return self._whole[list(at)]
        return np.stack([self._row(self.images[index]) for index in at])

    def of(self, at: Sequence[int], images: Tensor, network: Network) -> Tensor:
        """Returns the features of the images at some positions: what is kept, and what the network says of the others."""
        import torch

        lacking = set(self.lacking(at))
        new = [number for number, index in enumerate(at) if index in lacking]
        if new:
            features = network(images if len(new) == len(at) else images[new]).detach().float().cpu()
            self._check(features, network, len(new))
            self.computed += len(new)
            self._new |= {self.images[at[n]]: row for n, row in zip(new, features.numpy(), strict=True)}
            if self._writable and (len(self._new) >= MOST_ROWS or time.monotonic() - self._written >= MOST_SECONDS):
                self.flush()
        return torch.from_numpy(self.rows(at))

    def flush(self) -> None:
        """Puts what was computed on disk, in a file of this writer's own."""
        if not self._new or not self._writable:
            return
        path = self.folder / f"rows-{host()}-{os.getpid()}-{time.time_ns()}.npy"
        images = list(self._new)
        try:
            write_features(path, images, self._width(), [np.stack(list(self._new.values()))])
            self._take(read_features(path), images, trusted=True)
        except OSError as error:
            self._cannot(error)
            return
        self._new = {}
        self._written = time.monotonic()

    def close(self) -> None:
        """Keeps what was computed: the set in one file if all of it is known, else what there is of it.

        A cache that cannot be written costs time, not scores.
        """
        if self._whole is not None or not self.images:
            return
        if not self._writable or self.lacking(range(len(self.images))):  # Not yet: another part is to come.
            self.flush()
            return
        try:
            write_features(self.path, self.images, self._width(), self._blocks())
            self._whole = read_features(self.path).rows
        except OSError as error:
            self._cannot(error)
            return
        self._clear()
        self._kept, self._new = {}, {}

    def _row(self, image: bytes) -> NDArray[np.float32]:
        if image in self._new:
            return self._new[image]
        file, row = self._kept[image]
        found: NDArray[np.float32] = file.rows[row]
        return found

    def _width(self) -> int:
        return len(next(iter(self._new.values()))) if self._new else self._row(next(iter(self._kept))).size

    def _blocks(self, rows: int = 1024) -> Iterator[NDArray[np.float32]]:
        for first in range(0, len(self.images), rows):
            yield self.rows(range(first, min(first + rows, len(self.images))))

    def _check(self, features: Tensor, network: Network, count: int) -> None:
        import torch

        name, shape = network.key[:16], tuple(features.shape)
        if len(shape) != 2 or shape[0] != count:
            raise UserError(
                f"the network {name} gave features of shape {shape} for {count} images; needed is ({count}, D)"
            )
        if not torch.isfinite(features).all():
            raise UserError(f"the network {name} gave features that are not finite; nothing was scored with them")
        known = self._width() if self._new or self._kept else shape[1]
        if shape[1] != known:
            raise UserError(
                f"the network {name} gave features of shape {shape} where (N, {known}) are kept of it: "
                f"its key must say all that moves them; delete {self.folder}"
            )

    def _look(self) -> None:
        """Looks for the set's own file, else for its images among all files of the network."""
        own = self._open(self.path)
        wanted = set(self.images)
        if own is not None and own.images == self.images and all(map(own.is_sound, range(len(own.images)))):
            self._whole = own.rows
            return
        if own is not None:
            if strange := len(set(own.images) - wanted):
                say(f"{self.path}: {strange} of its rows are damaged: they are computed anew")
            self._take(own, [image for image in own.images if image in wanted])
        others = sorted(self.folder.glob("*.npy")) if self.folder.is_dir() else []
        for path in others:
            if len(self._kept) == len(wanted):
                return
            file = self._open(path) if path != self.path else None
            if file is not None:
                self._take(file, [image for image in file.images if image in wanted])

    def _open(self, path: Path) -> FeatureFile | None:
        try:
            return read_features(path)
        except (FileNotFoundError, NotADirectoryError):
            return None  # Not there, or another process has just put it into the set.
        except OSError as error:
            say(f"{path} cannot be read ({error}): what is needed of it is computed anew")
            return None
        except (ValueError, EOFError) as error:  # Files appear whole: this one was damaged since.
            say(f"{path} is damaged ({error}) and deleted: what is needed of it is computed anew")
            path.unlink(missing_ok=True)
            return None

    def _take(self, file: FeatureFile, images: Sequence[bytes], *, trusted: bool = False) -> None:
        """Notes where rows lie, leaving out those that are not as they were written."""
        row_of = {image: row for row, image in enumerate(file.images)}
        new = [image for image in dict.fromkeys(images) if image not in self._kept]
        sound = new if trusted else [image for image in new if file.is_sound(row_of[image])]
        if len(sound) < len(new):
            say(f"{file.path}: {len(new) - len(sound)} of its rows are damaged: they are computed anew")
        self._kept |= {image: (file, row_of[image]) for image in sound}

    def _cannot(self, error: OSError) -> None:
        self._writable = False
        say(
            f"the features could not be kept in {self.path} ({error.strerror}); those that are not on disk yet are computed "
            "again by the next command"
        )

    def _clear(self) -> None:
        """Deletes the small files whose rows the set's file has now, but for those of a writer that lives or may live."""
        here = set(self.images)
        for path in self.folder.glob("rows-*.npy"):
            match = _PIECE.fullmatch(path.name)
            with suppress(OSError, ValueError, EOFError):
                if match is None or _may_live(match, path):
                    continue
                if here.issuperset(read_features(path).images):
                    path.unlink()
        with suppress(OSError):
            sweep(self.folder)  # A writer that was killed leaves as much as the set has features.


def _may_live(piece: re.Match[str], path: Path) -> bool:
    """Says whether the writer of a small file may still read it; of another machine, until the file is a day old."""
    if piece["host"] == host():
        return alive(int(piece["pid"]))
    return time.time() - path.stat().st_mtime < ABANDONED
