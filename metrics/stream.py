"""One pass over a run's images for all metrics: each image is read once, each network's features are computed once."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.images import decode_rgb
from drawbench.interfaces import ImageMetric, Kind, Network, Output, Prompt, Score, SetMetric
from drawbench.intervals import Estimate, Over, estimate, jackknife
from drawbench.progress import progress
from drawbench.protocol import make_protocol
from drawbench.store import Record, Run, ScoreFile, images_digest, now, scores_path, write_scores
from drawbench.weights import cache_folder

if TYPE_CHECKING:
    from torch import Tensor


class Loaded(NamedTuple):
    """A metric that is ready to score, by the name that its numbers will have."""

    alias: str
    name: str
    options: Mapping[str, Any]
    metric: ImageMetric | SetMetric
    verified: bool = True


class Batch(NamedTuple):
    """Images of one size, and where they stand in the run's order."""

    positions: Sequence[int]
    images: Tensor
    """``(N, 3, H, W) uint8``."""
    prompts: Sequence[Prompt]


def score_run(run: Run, metrics: Sequence[Loaded], *, over: Over = "prompts", batch_size: int = 16) -> list[ScoreFile]:
    """Scores a run by each metric and writes the scores; what was scored before on the same images is read back.

    Raises:
        UserError: the run has no images, or one of them is not the file that was drawn.
    """
    records = run.drawn()
    if not records:
        raise UserError(f"{run.path} has no images to score; draw them first: drawbench generate … -o {run.path}")
    images = images_digest(records)
    before = {file.path: file for file in run.score_files() if file.images_sha256 == images}
    files = {loaded.alias: _score_file(run, loaded, images, records) for loaded in metrics}
    new = [loaded for loaded in metrics if not _is_scored(before.get(files[loaded.alias].path), loaded)]
    values, notes = _pass(run, records, new, images, batch_size) if new else ({}, {})
    for loaded in metrics:
        file = files[loaded.alias]
        if loaded in new:
            file = file._replace(
                scores=_set_scores(run, loaded, file, records, values), notes=_remarks(run, loaded, records)
            )
            if isinstance(loaded.metric, ImageMetric):
                _write_table(run, loaded, file, records, values, notes)
        else:
            file = before[file.path]
        if isinstance(loaded.metric, ImageMetric):  # From the table, so that another --over reads no image again.
            file = file._replace(scores=_mean_scores(run, loaded, file, over))
        write_scores(file)
        files[loaded.alias] = file
    return list(files.values())


def _is_scored(file: ScoreFile | None, loaded: Loaded) -> bool:
    return file is not None and (isinstance(loaded.metric, SetMetric) or file.path.with_suffix(".parquet").is_file())


def _score_file(run: Run, loaded: Loaded, images: str, records: Sequence[Record]) -> ScoreFile:
    fields = {
        "metric": loaded.name,
        **loaded.metric.protocol(),
        "prompts": run.prompt_set.sha256,
        "n": str(len(records)),
        "codec": "PNG",
    }
    protocol = make_protocol(fields)
    path = scores_path(run, loaded.alias, protocol)
    main = next(name for name, output in loaded.metric.outputs.items() if output.main)
    return ScoreFile(loaded.alias, main, protocol, images, [], [], loaded.verified, now(), path)


def _pass(
    run: Run, records: Sequence[Record], metrics: Sequence[Loaded], images: str, batch_size: int
) -> tuple[dict[tuple[str, str], NDArray[np.float64]], dict[tuple[str, str], list[str]]]:
    """Returns the values and notes of all image metrics by (alias, name), in the order of the records."""
    networks = {
        loaded.metric.network.key: loaded.metric.network for loaded in metrics if loaded.metric.network is not None
    }
    features = {key: _Features(key, images, len(records)) for key in networks}
    values: dict[tuple[str, str], NDArray[np.float64]] = {}
    notes: dict[tuple[str, str], list[str]] = {}
    with progress(len(records), unit=" images", label=f"score {run.manifest.system.name}") as bar:
        for batch in _batches(run, records, batch_size):
            at = list(batch.positions)
            found = {key: features[key].of(batch, network) for key, network in networks.items()}
            for loaded in metrics:
                if not isinstance(loaded.metric, ImageMetric):
                    continue
                network = loaded.metric.network
                scored = loaded.metric.score(batch.images, found[network.key] if network else None, batch.prompts)
                _check_scored(loaded, scored.values, len(at))
                for name, part in scored.values.items():
                    values.setdefault((loaded.alias, name), np.full(len(records), np.nan))[at] = part
                for name, texts in scored.notes.items():
                    column = notes.setdefault((loaded.alias, name), [""] * len(records))
                    for position, text in zip(at, texts, strict=True):
                        column[position] = text
            bar.update(len(at))
    for kept in features.values():
        kept.close()
    for loaded in metrics:
        if isinstance(loaded.metric, SetMetric):
            array, groups = features[loaded.metric.network.key].array, _groups(records)
            whole, parts = loaded.metric.compute(array), loaded.metric.leave_out(array, groups)
            values |= {(loaded.alias, name): np.array([whole[name], *parts[name]]) for name in loaded.metric.outputs}
    return values, notes


def _groups(records: Sequence[Record]) -> NDArray[np.int64]:
    """Deals the prompts, shuffled by a fixed seed, into 50 groups or as many as there are prompts; samples stay together."""
    prompts = sorted({record.prompt for record in records})
    dealt = np.random.default_rng(0).permutation(len(prompts)) % min(50, len(prompts))
    group = dict(zip(prompts, dealt, strict=True))
    return np.array([group[record.prompt] for record in records], np.int64)


def _batches(run: Run, records: Sequence[Record], batch_size: int) -> Iterator[Batch]:
    """Reads ahead in threads; images of one size follow each other, so that a batch has one size."""
    import torch

    order = sorted(
        range(len(records)), key=lambda index: (records[index].width or 0, records[index].height or 0, index)
    )
    groups = [list(same) for _, same in groupby(order, key=lambda index: (records[index].width, records[index].height))]
    parts = [group[first : first + batch_size] for group in groups for first in range(0, len(group), batch_size)]
    with ThreadPoolExecutor() as pool:
        ahead = [[pool.submit(_read, run, records[index]) for index in part] for part in parts[:2]]
        for number, part in enumerate(parts):
            if number + 2 < len(parts):
                ahead.append([pool.submit(_read, run, records[index]) for index in parts[number + 2]])
            images = torch.from_numpy(np.stack([job.result() for job in ahead.pop(0)]))
            yield Batch(part, images, [run.prompts[records[index].prompt] for index in part])


def _read(run: Run, record: Record) -> NDArray[np.uint8]:
    path = run.image_path(record.prompt, record.sample)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} was drawn and is not there; `drawbench verify {run.path}` says what to do") from error
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise UserError(f"{path} is not the file that was drawn; `drawbench verify {run.path}` says what to do")
    return decode_rgb(data)


class _Features:
    """One network's features of a run, float32 ``(N, D)``, on disk by (network, images): computed once for all metrics."""

    def __init__(self, key: str, images: str, count: int) -> None:
        self.path = cache_folder() / "features" / key[:16] / f"{images[:32]}.npy"
        self.count = count
        self.whole = self.path.is_file()
        self.array: NDArray[np.float32] = (
            np.load(self.path, mmap_mode="r") if self.whole else np.empty((0, 0), np.float32)
        )

    def of(self, batch: Batch, network: Network) -> Tensor:
        import torch

        at = list(batch.positions)
        if self.whole:
            return torch.from_numpy(self.array[at])
        features = network(batch.images).float().cpu()
        if not self.array.size:
            self.array = np.empty((self.count, features.shape[1]), np.float32)
        self.array[at] = features.numpy()
        return features

    def close(self) -> None:
        if not self.whole:
            stream = io.BytesIO()
            np.save(stream, self.array)
            write_atomic(self.path, stream.getvalue())


def _check_scored(loaded: Loaded, values: Mapping[str, NDArray[np.float64]], count: int) -> None:
    wrong = values.keys() ^ loaded.metric.outputs.keys()
    if wrong:
        raise UserError(f"metric {loaded.alias}: its values and its outputs disagree on {', '.join(sorted(wrong))}")
    for name, part in values.items():
        if np.shape(part) != (count,):
            raise UserError(
                f"metric {loaded.alias}: {name} has shape {np.shape(part)} for {count} images; needed is ({count},)"
            )
        if np.isinf(part).any():
            raise UserError(
                f"metric {loaded.alias}: {name} is infinite; a value is finite, or NaN where it does not apply"
            )


def _mean_scores(run: Run, loaded: Loaded, file: ScoreFile, over: Over) -> list[Score]:
    """Returns the means of an image metric, over all prompts and by category in file order."""
    table = file.table()
    scores: list[Score] = []
    for name, output in loaded.metric.outputs.items():
        column, prompts = table[name].to_numpy(np.float64), table["prompt"].tolist()
        scores += _rows(run, file, name, output, None, estimate(column, prompts, output.kind, over))
        for category in dict.fromkeys(p.category for p in run.prompt_set.prompts if p.category is not None):
            part = table[table["category"] == category]
            if len(part):
                found = estimate(part[name].to_numpy(np.float64), part["prompt"].tolist(), output.kind, over)
                scores += _rows(run, file, name, output, category, found)
    return scores


def _set_scores(
    run: Run,
    loaded: Loaded,
    file: ScoreFile,
    records: Sequence[Record],
    values: Mapping[tuple[str, str], NDArray[np.float64]],
) -> list[Score]:
    """Returns the values of a set metric with their delete-a-group jackknife intervals; it has none by category."""
    scores: list[Score] = []
    if isinstance(loaded.metric, SetMetric):
        prompts = [record.prompt for record in records]
        for name, output in loaded.metric.outputs.items():
            value, *left_out = values[loaded.alias, name]
            found = jackknife(float(value), np.array(left_out), n=len(records), n_prompts=len(set(prompts)))
            scores += _rows(run, file, name, output, None, found)
    return scores


def _remarks(run: Run, loaded: Loaded, records: Sequence[Record]) -> list[str]:
    drawn = {record.prompt for record in records}
    prompts = [prompt for prompt in run.prompt_set.prompts if prompt.id in drawn]
    return list(loaded.metric.remarks(prompts)) if hasattr(loaded.metric, "remarks") else []


def _rows(run: Run, file: ScoreFile, name: str, output: Output, category: str | None, found: Estimate) -> list[Score]:
    kind: Kind = output.kind
    names = [None, name] if output.main else [name]
    system = run.manifest.system.name
    return [
        Score(
            run=run.path.name,
            system=system,
            metric=file.metric,
            output=shown,
            category=category,
            value=found.value,
            interval=found.interval,
            reason=found.reason,
            n=found.n,
            n_prompts=found.n_prompts,
            higher_is_better=output.higher_is_better,
            kind=kind,
            protocol=file.protocol,
        )
        for shown in names
    ]


def _write_table(
    run: Run,
    loaded: Loaded,
    file: ScoreFile,
    records: Sequence[Record],
    values: Mapping[tuple[str, str], NDArray[np.float64]],
    notes: Mapping[tuple[str, str], Sequence[str]],
) -> None:
    import pandas as pd

    table = pd.DataFrame(
        {
            "prompt": [record.prompt for record in records],
            "sample": [record.sample for record in records],
            "category": [run.prompts[record.prompt].category for record in records],
            **{name: values[loaded.alias, name] for name in loaded.metric.outputs},
            **{f"note_{name}": column for (alias, name), column in notes.items() if alias == loaded.alias},
        }
    )
    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    write_atomic(file.path.with_suffix(".parquet"), stream.getvalue())
