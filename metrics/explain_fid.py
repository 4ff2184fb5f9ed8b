"""What each choice of an FID moves: the same images under other resizes, crops, codecs, dtypes and n, against one standard.

Two papers that print "FID" differ in choices that neither names (Parmar et al. 2022). Each is made alone here, on the same
images and, where it concerns them, on the reference.
"""

from __future__ import annotations

import io
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from drawbench import __version__
from drawbench.errors import UserError
from drawbench.interfaces import Interval, Network
from drawbench.intervals import jackknife
from drawbench.journal import Record, now
from drawbench.metrics.batches import read_drawn, sizes_of
from drawbench.metrics.fid_variants import AXES, Variant, variants
from drawbench.metrics.frechet_metric import FrechetDistance
from drawbench.metrics.reference import features_of, fields_of
from drawbench.metrics.reference_images import LIST, files_of_folder, files_of_list, temporary_list
from drawbench.metrics.scoring import groups_of
from drawbench.progress import say
from drawbench.protocol import differences, digest
from drawbench.store import Run
from drawbench.weights import cache_folder

if TYPE_CHECKING:
    from torch import Tensor

PARTS = (2, 4, 8)
DRAWS = 5


class Build(Protocol):
    """Makes the metric with other settings, dtype and reference than the standard's; raises a UserError where there is none."""

    def __call__(self, changes: Mapping[str, str], dtype: str, reference: str) -> FrechetDistance: ...


@dataclass(frozen=True)
class Choice:
    """What a choice gives."""

    axis: str
    name: str
    words: str
    value: float
    delta: float
    """Less the standard's value."""
    relative: float | None
    """The same, as a part of the standard's value; None where that is 0."""
    low: float | None
    """Of the delta."""
    high: float | None
    spread: str
    """What low and high are, or why there are none."""
    n: int
    changed: Mapping[str, tuple[str | None, str | None]]
    """Fields of the network in which it differs: the standard's, and here."""


class Skipped(NamedTuple):
    """A choice that could not be made here."""

    axis: str
    name: str
    reason: str


@dataclass(frozen=True)
class Explanation:
    """The standard, and what moves it."""

    run: str
    system: str
    prompt_set: str
    n: int
    n_run: int
    """Images that the run has; n of them were taken."""
    n_prompts: int
    reference: str
    reference_n: int | None
    reference_sha256: str
    value: float
    interval: Interval | None
    reason: str | None
    fields: Mapping[str, str]
    choices: Sequence[Choice]
    skipped: Sequence[Skipped]
    remarks: Sequence[str]
    created: str
    drawbench: str = __version__


class _Standard(NamedTuple):
    metric: FrechetDistance
    features: NDArray[np.float32]
    value: float
    left_out: NDArray[np.float64] | None
    groups: NDArray[np.int64]


def explain(
    run: Run,
    build: Build,
    options: Mapping[str, Any],
    dtype: str,
    reference: str,
    *,
    only: Sequence[str] = AXES,
    most: int | None = None,
) -> Explanation:
    """Returns what each choice moves relative to the metric as ``build({}, dtype, reference)`` makes it.

    ``options`` are the standard's by name. ``most`` images of the run, and of a reference that is a folder or a list, are
    taken; None: all. Features are kept in the cache by network, codec and images, so that what was stopped goes on.

    Raises:
        UserError: fewer than two images, or a standard that cannot be computed.
    """
    every = run.drawn()
    records = _sample(every, most)
    if len(records) < 2:
        raise UserError(f"{run.path}: {len(records)} images; a Fréchet distance needs two: draw or take more")
    remarks = []
    if len(records) < len(every):
        remarks.append(f"a quick look: {len(records)} of the run's {len(every)} images, drawn by a fixed seed")
    if before := sum(record.facts.get("source_codec") == "JPEG" for record in records):
        remarks.append(
            f"{before} of the images were JPEG before they were imported: the codec's rows are of a second encoding"
        )
    with _part_of(reference, most, remarks) as given:
        metric = build({}, dtype, given)
        images = _Images(run, records)
        features = images.features(metric.network, "standard")
        groups = groups_of(records)
        value = metric.compute(features)["fid"]
        spared = len(records) - np.bincount(groups).max() >= metric.least
        wanted = options.get("interval", "jackknife") != "none" and spared
        left_out = metric.leave_out(features, groups)["fid"] if wanted else None
        standard = _Standard(metric, features, value, left_out, groups)
        choices: list[Choice] = []
        skipped: list[Skipped] = []
        if "filter" in only and str(options.get("resize_before", "none")) == "none":
            words = (
                "a choice of the resize to 256 before the network's own, and there is none: --set fid.resize_before=256"
            )
            skipped.append(Skipped("filter", "filter", words))
        chosen = [variant for variant in variants(options, dtype) if variant.axis in only]
        for number, variant in enumerate(chosen, 1):
            say(f"{number}/{len(chosen)} {variant.axis}: {variant.name}")
            try:
                choices.append(_tried(variant, standard, images, build, dtype, given))
            except UserError as error:  # The standard has been computed: what fails now is this choice.
                skipped.append(Skipped(variant.axis, variant.name, str(error)))
                say(f"skipped: {error}")
        if "n" in only:
            more, without = _of_fewer(standard, records)
            choices += more
            skipped += without
    estimate = jackknife(value, _rows(left_out), n=len(records), n_prompts=len({r.prompt for r in records}))
    remarks += metric.remarks([run.prompts[name] for name in {record.prompt for record in records}])
    return Explanation(
        run.path.resolve().name,
        run.manifest.system.name,
        run.manifest.prompt_set,
        len(records),
        len(every),
        estimate.n_prompts,
        metric.reference.images,
        metric.reference.n,
        metric.reference.sha256,
        value,
        estimate.interval,
        estimate.reason if left_out is not None else "no interval was asked for, or too few images are there",
        dict(metric.protocol()),
        choices,
        skipped,
        remarks,
        now(),
    )


class Reencoded:
    """A network that sees images as JPEG leaves them: Pillow's encoder, 4:2:0."""

    def __init__(self, network: Network, quality: int) -> None:
        import PIL

        self._network, self._quality = network, quality
        self.fields = {**fields_of(network), "codec": f"JPEG {quality}, 4:2:0, Pillow {PIL.__version__}"}
        self.key = digest({"network": network.key, "codec": self.fields["codec"]})

    def __call__(self, images: Tensor) -> Tensor:
        import torch

        with ThreadPoolExecutor() as pool:
            rows = list(pool.map(self._again, images.permute(0, 2, 3, 1).contiguous().numpy()))
        return self._network(torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).contiguous())

    def _again(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import PIL.Image

        stream = io.BytesIO()
        PIL.Image.fromarray(pixels).save(stream, "JPEG", quality=self._quality, subsampling="4:2:0")
        with PIL.Image.open(stream) as image:
            return np.array(image)


class _Images:
    """The images of a run that were taken, and their features."""

    def __init__(self, run: Run, records: Sequence[Record]) -> None:
        self._run, self._records = run, records
        self._known, self._sizes = [str(record.sha256) for record in records], sizes_of(records)

    def features(self, network: Network, label: str) -> NDArray[np.float32]:
        return features_of(
            network, self._known, self._sizes, lambda index: read_drawn(self._run, self._records[index]), label
        )


def _tried(variant: Variant, standard: _Standard, images: _Images, build: Build, dtype: str, reference: str) -> Choice:
    metric, network = standard.metric, standard.metric.network
    if variant.quality is not None:
        network = Reencoded(network, variant.quality)
    elif variant.images_only:
        with _stand_in() as anything:
            network = build(variant.changes, variant.dtype or dtype, str(anything)).network
    elif standard.metric.reference.network is None:
        raise UserError(
            f"{variant.name}: the reference's file does not say of which network its moments are, so only the images could be "
            "changed; give the reference as images"
        )
    else:
        metric = build(variant.changes, variant.dtype or dtype, reference)
        network = metric.network
    features = images.features(network, variant.name)
    value = metric.compute(features)["fid"]
    low = high = None
    spread = "no interval"
    if standard.left_out is not None:
        parts = metric.leave_out(features, standard.groups)["fid"] - standard.left_out
        found = jackknife(value - standard.value, parts, n=len(features), n_prompts=int(standard.groups.max()) + 1)
        spread = found.reason or ""
        if found.interval is not None:
            low, high = found.interval.low, found.interval.high
            spread = f"95 % interval of the difference, {found.interval.method}"
    before, after = standard.metric.protocol(), metric.protocol()
    if metric is standard.metric:  # Only what the images go through was changed.
        before, after = fields_of(standard.metric.network), fields_of(network)
    return Choice(
        variant.axis,
        variant.name,
        variant.words,
        value,
        value - standard.value,
        (value - standard.value) / standard.value if standard.value else None,
        low,
        high,
        spread,
        len(features),
        differences(before, after),
    )


def _of_fewer(standard: _Standard, records: Sequence[Record]) -> tuple[list[Choice], list[Skipped]]:
    """Returns what parts of the prompts give, drawn at random: the distance is biased upwards at small n."""
    prompts = sorted({record.prompt for record in records})
    at = _indices(records)
    choices, skipped = [], []
    for part in PARTS:
        size = len(prompts) // part
        if size < 2:
            skipped.append(Skipped("n", f"n/{part}", f"{len(prompts)} prompts have no {part}th part of two or more"))
            continue
        values, counts = [], []
        for draw in range(DRAWS):
            taken = np.random.default_rng([0, part, draw]).permutation(len(prompts))[:size]
            rows = np.isin(at, taken)
            values.append(standard.metric.compute(standard.features[rows])["fid"])
            counts.append(int(rows.sum()))
        value = float(np.mean(values))
        delta = value - standard.value
        choices.append(
            Choice(
                "n",
                f"n/{part}",
                f"{size} of the {len(prompts)} prompts, the mean of {DRAWS} draws",
                value,
                delta,
                delta / standard.value if standard.value else None,
                min(values) - standard.value,
                max(values) - standard.value,
                f"lowest and highest of {DRAWS} draws",
                round(float(np.mean(counts))),
                {"n": (str(len(records)), str(round(float(np.mean(counts)))))},
            )
        )
    return choices, skipped


def _indices(records: Sequence[Record]) -> NDArray[np.int64]:
    order = {prompt: index for index, prompt in enumerate(sorted({record.prompt for record in records}))}
    return np.array([order[record.prompt] for record in records], np.int64)


def _rows(left_out: NDArray[np.float64] | None) -> NDArray[np.float64]:
    return np.empty(0) if left_out is None else left_out


def _sample(records: Sequence[Record], most: int | None) -> list[Record]:
    if most is None or most >= len(records):
        return list(records)
    return [records[index] for index in sorted(np.random.default_rng(0).permutation(len(records))[:most])]


@contextmanager
def _part_of(reference: str, most: int | None, remarks: list[str]) -> Iterator[str]:
    """Gives the reference, or where that is many files and few images are asked for, a list of as few."""
    path = Path(reference).expanduser()
    a_run, a_list = (path / "run.json").is_file(), path.suffix.lower() == LIST
    if most is None or a_run or not (path.is_dir() or a_list):
        if most is not None:
            remarks.append("the reference is whole: of a run or a statistics file no part is taken")
        yield reference
        return
    files = files_of_list(path) if a_list else files_of_folder(path)
    if most >= len(files):
        yield reference
        return
    taken = [files[index] for index in sorted(np.random.default_rng(1).permutation(len(files))[:most])]
    remarks.append(f"a quick look: {len(taken)} of the reference's {len(files)} images, drawn by a fixed seed")
    with temporary_list(taken) as given:
        yield str(given)


@contextmanager
def _stand_in() -> Iterator[Path]:
    """Gives two small images to build a metric with, where its network is wanted and no reference of it can be had."""
    import PIL.Image

    folder = cache_folder() / "references" / f"stand-in-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    try:
        for grey in (0, 255):
            PIL.Image.new("RGB", (32, 32), (grey, grey, grey)).save(folder / f"{grey}.png")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
