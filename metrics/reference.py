"""What a set metric compares with: a folder of images, a run, or a file of statistics, told apart by looking."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.files import sha256_file, write_atomic
from drawbench.images import read_unrotated
from drawbench.interfaces import Network
from drawbench.metrics.batches import Size, by_size, read_ahead, read_drawn, sizes_of
from drawbench.metrics.features import Features
from drawbench.metrics.frechet import Factored, Moments, factored
from drawbench.progress import progress, say
from drawbench.protocol import digest
from drawbench.store import Run

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""Of the files in a folder that are its images; clean-fid's, in upper and lower case."""


@dataclass(frozen=True)
class Reference:
    """A set of images that others are compared with."""

    given: Moments | NDArray[np.float32]
    """Its features ``(N, D)``, or what a file of statistics has left of them."""
    network: str | None
    """The network's key. None: a file that does not say it."""
    images: str
    """What they are, in words, for people: the same images may be called anything."""
    sha256: str
    """Of the statistics file; else of the sorted sha256 of the images' files, wherever they lie and whatever they are called."""
    n: int | None
    """None: a file that does not say it."""
    files: Sequence[Path] | None = None
    """The images, where they are at hand."""

    @cached_property
    def factored(self) -> Factored:
        """The moments, ready for distances."""
        return factored(self.given)

    @property
    def d(self) -> int:
        """How many features it has."""
        return len(self.given.mean) if isinstance(self.given, Moments) else self.given.shape[1]


class _Picture(NamedTuple):
    path: Path
    sha256: str
    size: Size


def find_reference(given: str, network: Network, owner: str, d: int | None = None) -> Reference:
    """Returns the reference that ``--reference`` names; features are computed once and kept as those of a run.

    Photographs in a folder are taken as they are stored, whatever their EXIF orientation: FID implementations do. For ``d`` see
    `read_reference`.

    Raises:
        UserError: there is no such thing, fewer than two images, one that cannot be read, statistics of another network.
    """
    path = Path(given).expanduser()
    if (path / "run.json").is_file():
        return _of_run(path, network)
    return _of_folder(path, network) if path.is_dir() else read_reference(path, network.key, owner, d)


def read_reference(file: Path, network: str, owner: str, d: int | None = None) -> Reference:
    """Reads statistics as `write_reference` writes them, or ``mu`` and ``sigma`` as clean-fid and pytorch-fid do.

    The latter name neither network nor n. They are taken where they have ``d`` features; None: not at all.

    Raises:
        UserError: no such file, not statistics, or those of another network.
    """
    try:
        with np.load(file, allow_pickle=False) as content:
            ours = d is None or not {"mu", "sigma"} <= set(content.files)
            about: dict[str, Any] = json.loads(str(content["about"])) if ours else {}
            mean, covariance = content["mean" if ours else "mu"], content["covariance" if ours else "sigma"]
        n = int(about["n"]) if ours else None
        moments = Moments(np.asarray(mean, np.float64), np.asarray(covariance, np.float64), n)
        key, images = (
            (str(about["network"]), str(about["images"])) if ours else (None, "mu and sigma, of what is not said")
        )
        found = Reference(moments, key, images, sha256_file(file), n)
    except OSError as error:
        raise UserError(
            f"--reference {file}: {error.strerror or error}; give a folder of images, a run, or a statistics file"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, BadZipFile) as error:
        raise UserError(
            f"--reference {file} is not a statistics file of {owner} ({type(error).__name__}: {error})"
        ) from error
    size = moments.mean.size
    finite = all(np.isfinite(part).all() for part in moments[:2])
    if moments.mean.shape != (size,) or moments.covariance.shape != (size, size) or (n or 2) < 2 or not finite:
        raise UserError(
            f"--reference {file}: its moments are not a finite mean (D,) and covariance (D, D) of 2 images or more"
        )
    if not ours and size != d:
        raise UserError(
            f"--reference {file} has statistics of {size} features; {owner} has {d}: give those of its network"
        )
    if ours and found.network != network:
        raise UserError(
            f"--reference {file} has statistics of another network, or of another dtype or preprocessing of it "
            f"({str(key)[:16]}, {owner} has {network[:16]}); distances are taken within one network only"
        )
    return found


def write_reference(file: Path, moments: Moments, network: str, images: str) -> None:
    """Writes a statistics file: ``mean``, ``covariance`` in float64, and ``about`` as JSON."""
    about = json.dumps({"network": network, "images": images, "n": moments.n})
    stream = io.BytesIO()
    np.savez(stream, mean=moments.mean, covariance=moments.covariance, about=np.array(about))
    write_atomic(file, stream.getvalue())


def _of_run(path: Path, network: Network) -> Reference:
    run = Run.open(path)
    records = run.drawn()
    _check_count(path, len(records))
    if (missing := len(run.items()) - len(records)) > 0:
        say(f"note: --reference {path}: {missing} of {len(run.items())} planned images are not drawn")
    features = Features(network.key, [str(record.sha256) for record in records])
    _fill(features, network, sizes_of(records), lambda index: read_drawn(run, records[index]))
    system, prompts = run.manifest.system.name, run.manifest.prompt_set
    sha256 = digest(sorted(str(record.sha256) for record in records))
    files = [run.place(record).file for record in records]
    return Reference(features.array, network.key, f"a run: {system} on {prompts}, PNG", sha256, len(records), files)


def _of_folder(path: Path, network: Network) -> Reference:
    every = [file for file in sorted(path.rglob("*")) if file.is_file()]
    visible = [file for file in every if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    files = [file for file in visible if file.suffix.lower() in SUFFIXES]
    if others := Counter(file.suffix.lower() or "no suffix" for file in visible if file.suffix.lower() not in SUFFIXES):
        said = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        say(f"note: --reference {path}: files that are no images are left out ({said})")
    _check_count(path, len(files))
    with ThreadPoolExecutor() as pool:
        # By content, so that other names give the same features in the same order.
        pictures = sorted(pool.map(_look_at, files), key=lambda picture: (picture.sha256, picture.path))
    sha256 = digest([picture.sha256 for picture in pictures])
    features = Features(network.key, [picture.sha256 for picture in pictures])
    _fill(features, network, [picture.size for picture in pictures], lambda index: _pixels(pictures[index].path))
    kinds = ", ".join(sorted({file.suffix.lower().lstrip(".") for file in files}))
    return Reference(
        features.array,
        network.key,
        f"a folder of images ({kinds}), as stored: not turned by EXIF",
        sha256,
        len(files),
        [picture.path for picture in pictures],
    )


def _fill(
    features: Features, network: Network, sizes: Sequence[Size], read: Callable[[int], NDArray[np.uint8]]
) -> None:
    """Computes features that are not kept yet, and keeps them."""
    if features.whole:
        return
    new = features.lacking(range(len(sizes)))
    try:
        with progress(len(sizes), unit=" images", label="reference", done=len(sizes) - len(new)) as bar:
            for at, images in read_ahead(by_size(sizes, 16, new), read):
                features.of(at, images, network)
                bar.update(len(at))
    finally:
        features.close()


def _look_at(file: Path) -> _Picture:
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
    return _Picture(file, hashlib.sha256(data).hexdigest(), size)


def _pixels(file: Path) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(read_unrotated(file)).transpose(2, 0, 1))


def _check_count(path: Path, count: int) -> None:
    if count < 2:
        raise UserError(
            f"--reference {path} has {count} images; a reference needs two: give a folder of images or a run"
        )
