"""The images of a reference set: which files of a folder they are, or those that a list names, and what each is."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.images import read_unrotated
from drawbench.metrics.batches import Size
from drawbench.progress import say
from drawbench.weights import cache_folder

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""Of the files in a folder that are its images; clean-fid's, in upper and lower case."""

LIST = ".txt"
"""Of a list of images: one path a line, relative paths from the list's own folder."""


class Picture(NamedTuple):
    """An image file, not decoded yet."""

    path: Path
    sha256: str
    size: Size


def files_of_folder(path: Path) -> list[Path]:
    """Returns the images in a folder and below it, by path; what else is there is left out aloud, hidden files silently."""
    every = [file for file in sorted(_below(path)) if file.is_file()]
    visible = [file for file in every if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if others := Counter(file.suffix.lower() or "no suffix" for file in visible if file.suffix.lower() not in SUFFIXES):
        said = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        say(f"note: --reference {path}: files that are no images are left out ({said})")
    return [file for file in visible if file.suffix.lower() in SUFFIXES]


def _below(folder: Path) -> Iterator[Path]:
    """Gives all files below a folder, in folders that are links too: each folder once, links may go round."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(place, name)) not in seen]
        yield from (Path(place, name) for name in names)


def files_of_list(path: Path) -> list[Path]:
    """Returns the images that a list names.

    Raises:
        UserError: the list cannot be read, names a file twice, or one that is not there.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--reference {path} cannot be read ({error}); a list of images has one path a line, in UTF-8"
        ) from error
    files = [path.parent / line.strip() for line in lines if line.strip()]
    if lost := [file for file in files if not file.is_file()]:
        raise UserError(
            f"--reference {path}: {len(lost)} of {len(files)} files are not there, the first is {lost[0]}; a list has one "
            "path a line, and relative paths start from its own folder"
        )
    if twice := [file for file, count in Counter(files).items() if count > 1]:
        raise UserError(f"--reference {path} names {twice[0]} more than once; name each image once")
    return files


@contextmanager
def temporary_list(files: Sequence[Path]) -> Iterator[Path]:
    """Gives a list of these images, which lies in the cache as long as it is used."""
    name = f"{os.getpid()}-{hashlib.sha256(''.join(map(str, files)).encode()).hexdigest()[:16]}{LIST}"
    path = cache_folder() / "references" / name
    write_atomic(path, "".join(f"{file.resolve()}\n" for file in files).encode())
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def look_at(files: Sequence[Path]) -> list[Picture]:
    """Returns the images by content, so that other names give the same features in the same order."""
    with ThreadPoolExecutor() as pool:
        return sorted(pool.map(_look_at, files), key=lambda picture: (picture.sha256, picture.path))


def stored_pixels(file: Path) -> NDArray[np.uint8]:
    """Returns an image as ``(3, H, W) uint8``, as it is stored, whatever its EXIF orientation."""
    return np.ascontiguousarray(np.asarray(read_unrotated(file)).transpose(2, 0, 1))


def _look_at(file: Path) -> Picture:
    """Returns what is known of an image without decoding it; one that is none is told when it is read."""
    import PIL.Image

    data = file.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(io.BytesIO(data)) as image:
                size = image.size
    except Exception:  # noqa: BLE001  A damaged header may raise anything.
        size = (0, 0)
    return Picture(file, hashlib.sha256(data).hexdigest(), size)
