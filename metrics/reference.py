"""What a set metric compares with: a folder of images, a list, a run, or a file of statistics, told apart by looking."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from drawbench import __version__
from drawbench.errors import AssetMissing, UserError
from drawbench.files import atomic, sha256_file, sweep
from drawbench.interfaces import Network
from drawbench.metrics.batches import Size, by_size, read_ahead, read_drawn, sizes_of
from drawbench.metrics.features import Features
from drawbench.metrics.frechet import Factored, Moments, factored, moments
from drawbench.metrics.named_reference import how_to_make, is_name, named_file, others_of
from drawbench.metrics.reference_images import LIST, files_of_folder, files_of_list, look_at, stored_pixels
from drawbench.progress import progress, say
from drawbench.protocol import differences, digest
from drawbench.store import Run


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
    """Of the sorted sha256 of the images' files, wherever they lie and whatever they are called; of a statistics file that does
    not say it, the file's own."""
    n: int | None
    """None: a file that does not say it."""
    files: Sequence[Path] | None = None
    """The images, where they are at hand."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What the network's key is made of, in words; empty: a file, or a network, that does not say it."""

    @cached_property
    def factored(self) -> Factored:
        """The moments, ready for distances."""
        return factored(self.given)

    @property
    def d(self) -> int:
        """How many features it has."""
        return len(self.given.mean) if isinstance(self.given, Moments) else self.given.shape[1]


def find_reference(given: str, network: Network, owner: str, d: int | None = None) -> Reference:
    """Returns the reference that ``--reference`` names; features are computed once and kept as those of a run.

    A folder of images, a list of images (.txt, one path a line), a run, a statistics file, or the name of a reference that
    `drawbench reference make --name` has put into the cache; what lies on the disk under a name goes before the cache.
    Photographs are taken as they are stored, whatever their EXIF orientation: FID implementations do. For ``d`` see
    `read_reference`.

    Raises:
        AssetMissing: a name of which the cache has no statistics for this network.
        UserError: there is no such thing, fewer than two images, one that cannot be read, statistics of another network.
    """
    path = Path(given).expanduser()
    if (path / "run.json").is_file():
        return _of_run(path, network)
    if path.is_dir():
        return _of_files(f"--reference {path}", "a folder", files_of_folder(path), network)
    if path.suffix.lower() == LIST:
        return _of_files(f"--reference {path}", "a list", files_of_list(path), network)
    if is_name(given):
        path = _named(given, network)
    return read_reference(path, network.key, owner, d, fields_of(network))


def fields_of(network: Network) -> Mapping[str, str]:
    """Returns what a network's key is made of, where it says so."""
    return dict(getattr(network, "fields", {}))


def read_reference(
    file: Path, network: str, owner: str, d: int | None = None, fields: Mapping[str, str] = {}
) -> Reference:
    """Reads statistics as `write_reference` writes them, or ``mu`` and ``sigma`` as clean-fid and pytorch-fid do.

    The latter name neither network nor n. They are taken where they have ``d`` features; None: not at all. ``fields`` are
    those of the network, so that an error can name what differs.

    Raises:
        UserError: no such file, not statistics, damaged, or those of another network.
    """
    found = read_statistics(file, owner, foreign=d is not None)
    if found.network is None and found.d != d:
        raise UserError(
            f"--reference {file} has statistics of {found.d} features; {owner} has {d}: give those of its network"
        )
    if found.network is not None and found.network != network:
        raise UserError(
            f"--reference {file} has statistics of another network, or of another dtype or preprocessing of it "
            f"({_difference(found, network, fields, owner)}); distances are taken within one network only"
        )
    return found


def read_statistics(file: Path, owner: str, *, foreign: bool = True) -> Reference:
    """Reads a statistics file of whatever network, and checks that it is whole; ``foreign``: also one with mu and sigma.

    Raises:
        UserError: no such file, not statistics, or damaged.
    """
    try:
        with np.load(file, allow_pickle=False) as content:
            ours = not foreign or not {"mu", "sigma"} <= set(content.files)
            about: dict[str, Any] = json.loads(str(content["about"])) if ours else {}
            mean, covariance = content["mean" if ours else "mu"], content["covariance" if ours else "sigma"]
            features = content["features"] if ours and "features" in content.files else None
        n = int(about["n"]) if ours else None
        kept = Moments(np.asarray(mean, np.float64), np.asarray(covariance, np.float64), n)
        found = Reference(
            kept if features is None else features,
            str(about["network"]) if ours else None,
            str(about["images"]) if ours else "mu and sigma, of what is not said",
            str(about.get("images_sha256") or sha256_file(file)),
            n,
            fields=dict(about.get("fields", {})),
        )
    except OSError as error:
        raise UserError(
            f"--reference {file}: {error.strerror or error}; give a folder of images, a list, a run, or a statistics file"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, BadZipFile) as error:
        raise UserError(
            f"--reference {file} is not a statistics file of {owner}, or is damaged ({_short(error)}); make it again, or give a "
            "folder of images, a list or a run"
        ) from error
    size = kept.mean.size
    finite = all(np.isfinite(part).all() for part in kept[:2])
    if kept.mean.shape != (size,) or kept.covariance.shape != (size, size) or (n or 2) < 2 or not finite:
        raise UserError(
            f"--reference {file}: its moments are not a finite mean (D,) and covariance (D, D) of 2 images or more"
        )
    if not _is_covariance(kept.covariance):
        raise UserError(
            f"--reference {file}: its covariance is none: it is not symmetric, or has a direction of negative variance; "
            "compute it anew"
        )
    if features is not None and (features.dtype != np.float32 or features.shape != (n, size)):
        raise UserError(
            f"--reference {file}: its features are {features.dtype} {features.shape}, not float32 ({n}, {size})"
        )
    recorded = about.get("arrays_sha256")
    if recorded is not None and recorded != _arrays_digest(kept, features):
        raise UserError(f"--reference {file} was altered: its arrays are not those that were written; make it again")
    return found


def _short(error: Exception) -> str:
    """Returns an error of NumPy's reader, without its advice to read the file unsafely."""
    return "it holds Python objects" if "allow_pickle" in str(error) else f"{type(error).__name__}: {error}"


def _is_covariance(given: NDArray[np.float64]) -> bool:
    """Says whether a matrix is symmetric and without negative directions, but for what float32 rounds away."""
    diagonal, scale = given.diagonal(), max(float(np.abs(given).max()), 1e-300)
    if np.abs(given - given.T).max() > 1e-6 * scale or diagonal.min() < 0:
        return False
    trace = float(diagonal.sum())
    kept = float(np.square(factored(Moments(np.zeros(len(given)), given, None)).factor).sum())
    return abs(kept - trace) <= 1e-5 * trace


def about_statistics(file: Path) -> Mapping[str, Any]:
    """Returns what one of our statistics files says of itself; empty for one of clean-fid or pytorch-fid."""
    with np.load(file, allow_pickle=False) as content:
        return dict(json.loads(str(content["about"]))) if "about" in content.files else {}


def write_reference(
    file: Path,
    of: Moments,
    network: str,
    images: str,
    *,
    fields: Mapping[str, str] = {},
    features: NDArray[np.float32] | None = None,
    images_sha256: str | None = None,
    more: Mapping[str, str] = {},
) -> None:
    """Writes a statistics file: ``mean``, ``covariance`` in float64, and ``about`` as JSON; ``features`` where given."""
    import torch

    about = {
        **more,
        "network": network,
        "fields": dict(fields),
        "images": images,
        "images_sha256": images_sha256,
        "n": of.n,
        "arrays_sha256": _arrays_digest(of, features),
        "made_by": f"drawbench {__version__}, torch {torch.__version__}, {platform.system()} {platform.machine()}",
    }
    arrays: dict[str, Any] = {"mean": of.mean, "covariance": of.covariance, "about": np.array(json.dumps(about))}
    if features is not None:
        arrays["features"] = features
    with atomic(file) as beside, open(beside, "wb") as stream:
        np.savez(stream, **arrays)
    sweep(file.parent)


def save_reference(file: Path, found: Reference, *, features: bool, more: Mapping[str, str] = {}) -> None:
    """Writes the statistics of a reference whose features are at hand.

    Raises:
        UserError: it is itself a file of moments.
    """
    if isinstance(found.given, Moments) or found.network is None:
        raise UserError("statistics are made of images, and this is a statistics file already; give a folder or a run")
    write_reference(
        file,
        moments(found.given),
        found.network,
        more.get("words", found.images),
        fields=found.fields,
        features=np.ascontiguousarray(found.given, np.float32) if features else None,
        images_sha256=found.sha256,
        more={key: value for key, value in more.items() if key != "words"},
    )


def features_of(
    network: Network,
    images: Sequence[str],
    sizes: Sequence[Size],
    read: Callable[[int], NDArray[np.uint8]],
    label: str = "reference",
) -> NDArray[np.float32]:
    """Returns the features ``(N, D)`` of images that are known by their files' sha256: from the cache, else computed and kept."""
    features = Features(network.key, images)
    if not features.whole:
        new = features.lacking(range(len(sizes)))
        try:
            with progress(len(sizes), unit=" images", label=label, done=len(sizes) - len(new)) as bar:
                for at, batch in read_ahead(by_size(sizes, 16, new), read):
                    features.of(at, batch, network)
                    bar.update(len(at))
        finally:
            features.close()
    return features.array


def _named(name: str, network: Network) -> Path:
    file = named_file(name, network.key)
    if file.is_file():
        return file
    others = [read_statistics(other, name, foreign=False) for other in others_of(name, network.key)]
    of = [_difference(other, network.key, fields_of(network), "asked for") for other in others]
    there = f"made there are only others: {' | '.join(of)}; " if of else ""
    raise AssetMissing(
        f"--reference {name}: nothing lies there, and the cache has no statistics of that name for this network "
        f"({file}); {there}make them: {how_to_make(name)}{_asked(fields_of(network))}"
    )


def _asked(fields: Mapping[str, str]) -> str:
    """Returns what the statistics must be of, as far as it is chosen by options."""
    named = [f"{key}: {fields[key]}" for key in ("protocol", "resize before", "dtype") if key in fields]
    return f" (asked for is {'; '.join(named)})" if named else ""


def _difference(found: Reference, network: str, fields: Mapping[str, str], owner: str) -> str:
    """Returns the fields in which the network of a file is another, in words; where the file has none, the keys."""
    other = differences(found.fields, fields) if found.fields and fields else {}
    if not other:
        return f"{str(found.network)[:16]}, {owner} has {network[:16]}"
    return "; ".join(f"{key} is {old!r} there, {new!r} here" for key, (old, new) in other.items())


def _arrays_digest(of: Moments, features: NDArray[np.float32] | None) -> str:
    found = hashlib.sha256()
    for part in (of.mean, of.covariance, features):
        if part is not None:
            found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()


def _of_run(path: Path, network: Network) -> Reference:
    run = Run.open(path)
    records = sorted(
        run.drawn(), key=lambda record: str(record.sha256)
    )  # As a folder's: subsets are drawn by position.
    _check_count(f"--reference {path}", len(records))
    if (missing := len(run.items()) - len(records)) > 0:
        say(f"note: --reference {path}: {missing} of {len(run.items())} planned images are not drawn")
    array = features_of(
        network,
        [str(record.sha256) for record in records],
        sizes_of(records),
        lambda index: read_drawn(run, records[index]),
    )
    system, prompts = run.manifest.system.name, run.manifest.prompt_set
    sha256 = digest(sorted(str(record.sha256) for record in records))
    files = [run.place(record).file for record in records]
    words = f"a run: {system} on {prompts}, PNG"
    return Reference(array, network.key, words, sha256, len(records), files, fields_of(network))


def _of_files(where: str, what: str, files: Sequence[Path], network: Network) -> Reference:
    _check_count(where, len(files))
    pictures = look_at(files)
    known = [picture.sha256 for picture in pictures]
    sha256 = digest(known)
    sizes = [picture.size for picture in pictures]
    array = features_of(network, known, sizes, lambda index: stored_pixels(pictures[index].path))
    kinds = ", ".join(sorted({file.suffix.lower().lstrip(".") for file in files}))
    words = f"{what} of images ({kinds}), as stored: not turned by EXIF"
    paths = [picture.path for picture in pictures]
    return Reference(array, network.key, words, sha256, len(files), paths, fields_of(network))


def _check_count(where: str, count: int) -> None:
    if count < 2:
        raise UserError(f"{where} has {count} images; a reference needs two: give a folder of images or a run")
