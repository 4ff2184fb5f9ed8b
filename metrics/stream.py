"""One pass over a run's images for all metrics: each image is read once, each network's features are computed once."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench import __version__
from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.interfaces import ImageMetric, Kind, Output, Prompt, Score, SetMetric
from drawbench.intervals import Estimate, Over, estimate, jackknife
from drawbench.journal import Record, now
from drawbench.metrics.batches import by_size, read_ahead, read_drawn, sizes_of
from drawbench.metrics.features import Features
from drawbench.progress import progress
from drawbench.protocol import digest, make_protocol
from drawbench.scores import ScoreFile, images_digest, scores_path, write_scores
from drawbench.store import Run

if TYPE_CHECKING:
    from torch import Tensor


class Loaded(NamedTuple):
    """A metric that is ready to score, by the name that its numbers will have."""

    alias: str
    name: str
    metric: ImageMetric | SetMetric
    identity: Mapping[str, str] = {}
    """Of a metric that is not ours: its options and the digest of its code, for it may keep silent of them in its protocol."""
    verified: bool = True


class Batch(NamedTuple):
    """Images of one size, and where they stand in the run's order."""

    positions: Sequence[int]
    images: Tensor
    """``(N, 3, H, W) uint8``."""
    prompts: Sequence[Prompt]


class Measured(NamedTuple):
    """What one pass over the images gives."""

    values: Mapping[tuple[str, str], NDArray[np.float64]]
    """(alias, output) → one value per image."""
    notes: Mapping[tuple[str, str], Sequence[str]]
    features: Mapping[str, Features]
    """By the network's key."""
    errors: Mapping[str, Exception]
    """By alias: why a metric was given up."""


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
    measured = _pass(run, records, new, images, batch_size) if new else Measured({}, {}, {}, {})
    new = [loaded for loaded in new if loaded.alias not in measured.errors]
    metrics = [loaded for loaded in metrics if loaded.alias not in measured.errors]
    for loaded in metrics:
        file = files[loaded.alias]
        if loaded in new:
            file = file._replace(notes=_remarks(run, loaded, records))
            if isinstance(loaded.metric, ImageMetric):
                file = file._replace(table_sha256=_write_table(run, loaded, file, records, measured))
            else:
                file = _with_set_scores(run, loaded, file, records, measured)
        else:
            file = before[file.path]
        if isinstance(loaded.metric, ImageMetric):  # From the table, so that another --over reads no image again.
            file = file._replace(scores=_mean_scores(run, loaded, file, over))
        write_scores(file)
        files[loaded.alias] = file
    for kept in measured.features.values():
        kept.close()
    for error in measured.errors.values():  # The others are on disk; now the first that failed is told.
        raise error
    return list(files.values())


def _is_scored(file: ScoreFile | None, loaded: Loaded) -> bool:
    """Says whether a file has all that the metric would give now: an option may ask for a further output."""
    if file is None or file.drawbench != __version__ or not file.is_whole():
        return False
    return loaded.metric.outputs.keys() <= {row.output for row in file.scores}


def _score_file(run: Run, loaded: Loaded, images: str, records: Sequence[Record]) -> ScoreFile:
    fields = {
        "metric": loaded.name,
        **loaded.metric.protocol(),
        **loaded.identity,
        "prompts": run.prompt_set.sha256,
        "n": str(len(records)),
        "codec": "PNG",
    }
    if isinstance(loaded.metric, SetMetric):  # As many images of fewer prompts are another set.
        fields["n prompts"] = str(len({record.prompt for record in records}))
    protocol = make_protocol(fields)
    path = scores_path(run.path, loaded.alias, protocol)
    main = next(name for name, output in loaded.metric.outputs.items() if output.main)
    return ScoreFile(loaded.alias, main, protocol, images, [], [], loaded.verified, now(), path)


def _pass(run: Run, records: Sequence[Record], metrics: Sequence[Loaded], images: str, batch_size: int) -> Measured:
    """Reads every image once and returns what the metrics and networks make of them, in the order of the records."""
    networks = {
        loaded.metric.network.key: loaded.metric.network for loaded in metrics if loaded.metric.network is not None
    }
    features = {key: Features(key, images, len(records)) for key in networks}
    values: dict[tuple[str, str], NDArray[np.float64]] = {}
    notes: dict[tuple[str, str], list[str]] = {}
    errors: dict[str, Exception] = {}
    with progress(len(records), unit=" images", label=f"score {run.manifest.system.name}") as bar:
        for batch in _batches(run, records, batch_size):
            at = list(batch.positions)
            found = {key: features[key].of(at, batch.images, network) for key, network in networks.items()}
            for loaded in metrics:
                if not isinstance(loaded.metric, ImageMetric) or loaded.alias in errors:
                    continue
                network = loaded.metric.network
                try:
                    scored = loaded.metric.score(batch.images, found[network.key] if network else None, batch.prompts)
                    _check_scored(loaded, scored.values, len(at))
                except Exception as error:  # noqa: BLE001  told when the other metrics are done and on disk
                    errors[loaded.alias] = _of_metric(loaded, error)
                    continue
                for name, part in scored.values.items():
                    values.setdefault((loaded.alias, name), np.full(len(records), np.nan))[at] = part
                for name, texts in scored.notes.items():
                    column = notes.setdefault((loaded.alias, name), [""] * len(records))
                    for position, text in zip(at, texts, strict=True):
                        column[position] = text
            bar.update(len(at))
    return Measured(values, notes, features, errors)


def _of_metric(loaded: Loaded, error: Exception) -> Exception:
    """Names the metric in an error that is not for the user to put right, keeping its cause."""
    if isinstance(error, UserError):
        return error
    named = RuntimeError(f"metric {loaded.alias} failed: {type(error).__name__}: {error}")
    named.__cause__ = error
    return named


def _groups(records: Sequence[Record]) -> NDArray[np.int64]:
    """Deals the prompts, shuffled by a fixed seed, into 50 groups or as many as there are prompts; samples stay together."""
    prompts = sorted({record.prompt for record in records})
    dealt = np.random.default_rng(0).permutation(len(prompts)) % min(50, len(prompts))
    group = dict(zip(prompts, dealt, strict=True))
    return np.array([group[record.prompt] for record in records], np.int64)


def _batches(run: Run, records: Sequence[Record], batch_size: int) -> Iterator[Batch]:
    parts = by_size(sizes_of(records), batch_size)
    for part, images in read_ahead(parts, lambda index: read_drawn(run, records[index])):
        yield Batch(part, images, [run.prompts[records[index].prompt] for index in part])


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


def _with_set_scores(
    run: Run, loaded: Loaded, file: ScoreFile, records: Sequence[Record], measured: Measured
) -> ScoreFile:
    """Adds the values of a set metric with their delete-a-group jackknife intervals; it has none by category.

    The values without each group are kept too: the difference of two systems has its own jackknife.
    """
    metric = loaded.metric
    if not isinstance(metric, SetMetric):
        return file
    array, groups = measured.features[metric.network.key].array, _groups(records)
    least, n_prompts = getattr(metric, "least", 1), len({record.prompt for record in records})
    few = f"it needs at least {least} images"
    if len(records) < least:
        nothing = Estimate(None, None, few, len(records), n_prompts)
        rows = [row for name, output in metric.outputs.items() for row in _rows(run, file, name, output, None, nothing)]
        return file._replace(scores=rows)
    whole = metric.compute(array)
    paths = [run.place(record).file for record in records]
    of_files = metric.from_files(paths) if hasattr(metric, "from_files") else {}
    can_spare = len(records) - np.bincount(groups).max() >= least
    parts = metric.leave_out(array, groups) if can_spare else {}
    scores: list[Score] = []
    kept: dict[str, list[float]] = {}
    for name, output in metric.outputs.items():
        if name in of_files:
            value, reason = of_files[name]
            given = Estimate(value, None, reason, len(records), n_prompts)
            scores += _rows(run, file, name, output, None, given)
            continue
        left_out = np.asarray(parts.get(name, []), np.float64)
        if not np.isfinite([whole[name], *left_out]).all():
            raise UserError(
                f"metric {loaded.alias}: {name} is {whole[name]}, or not finite without a group; a set has a finite value"
            )
        found = jackknife(float(whole[name]), left_out, n=len(records), n_prompts=n_prompts)
        if not can_spare:
            found = found._replace(reason=f"{few} without any group of prompts")
        scores += _rows(run, file, name, output, None, found)
        kept[name] = left_out.tolist()
    members = sorted({(int(group), record.prompt) for group, record in zip(groups, records, strict=True)})
    return file._replace(scores=scores, left_out=kept, groups_sha256=digest(members))


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
            run=run.path.resolve().name,
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


def _write_table(run: Run, loaded: Loaded, file: ScoreFile, records: Sequence[Record], measured: Measured) -> str:
    """Writes the values of each image, and returns the file's sha256."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "prompt": [record.prompt for record in records],
            "sample": [record.sample for record in records],
            "category": [run.prompts[record.prompt].category for record in records],
            **{name: measured.values[loaded.alias, name] for name in loaded.metric.outputs},
            **{f"note_{name}": column for (alias, name), column in measured.notes.items() if alias == loaded.alias},
        }
    )
    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    write_atomic(file.path.with_suffix(".parquet"), stream.getvalue())
    return hashlib.sha256(stream.getvalue()).hexdigest()
