"""From values to scores: means by prompt and category, values of whole sets, their intervals, and the table of values."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.interfaces import ImageMetric, Kind, Output, PromptMetric, Score, SetMetric
from drawbench.intervals import Estimate, Over, estimate, jackknife
from drawbench.journal import Record, now
from drawbench.metrics.unfinished import Row
from drawbench.protocol import digest, make_protocol
from drawbench.scores import ScoreFile, scores_path
from drawbench.store import Run

NO_SEEDS = "one value per prompt, of all its images together: other seeds of these prompts are not to be told from it"
"""Why a prompt metric has no interval over samples."""

LEFT_OUT = "left out on request (interval=none)"
"""Why a set metric has no interval; asked for later, the score is made anew."""


class Loaded(NamedTuple):
    """A metric that is ready to score, by the name that its numbers will have."""

    alias: str
    name: str
    metric: ImageMetric | SetMetric | PromptMetric
    identity: Mapping[str, str] = {}
    """Of a metric that is not ours: its options and the digest of its code, for it may keep silent of them in its protocol."""
    verified: bool = True


def fields_of(run: Run, loaded: Loaded) -> dict[str, str]:
    """Returns all that moves one value of a metric: its protocol, but for how many images there are."""
    return {
        "metric": loaded.name,
        **loaded.metric.protocol(),
        **loaded.identity,
        "prompts": run.prompt_set.sha256,
        "codec": "PNG",
    }


def score_file(run: Run, loaded: Loaded, images: str, records: Sequence[Record]) -> ScoreFile:
    """Returns the file that a metric's scores of a run go to, without scores."""
    fields = {**fields_of(run, loaded), "n": str(len(records))}
    if isinstance(loaded.metric, SetMetric):  # As many images of fewer prompts are another set.
        fields["n prompts"] = str(len({record.prompt for record in records}))
    protocol = make_protocol(fields)
    path = scores_path(run.path, loaded.alias, protocol)
    main = next(name for name, output in loaded.metric.outputs.items() if output.main)
    rescaled = {name: output.rescales for name, output in loaded.metric.outputs.items() if output.rescales is not None}
    return ScoreFile(loaded.alias, main, protocol, images, [], [], loaded.verified, now(), path, rescaled=rescaled)


def groups_of(records: Sequence[Record]) -> NDArray[np.int64]:
    """Deals the prompts, shuffled by a fixed seed, into 50 groups or as many as there are prompts; samples stay together."""
    prompts = sorted({record.prompt for record in records})
    dealt = np.random.default_rng(0).permutation(len(prompts)) % min(50, len(prompts))
    group = dict(zip(prompts, dealt, strict=True))
    return np.array([group[record.prompt] for record in records], np.int64)


def by_prompt(records: Sequence[Record]) -> dict[str, list[int]]:
    """Returns each prompt's positions, in the order of the run and so of the samples."""
    same = groupby(range(len(records)), key=lambda index: records[index].prompt)
    return {prompt: list(positions) for prompt, positions in same}


def mean_scores(run: Run, loaded: Loaded, file: ScoreFile, over: Over) -> list[Score]:
    """Returns the means of an image or prompt metric from its table, over all prompts and by category in file order."""
    table = file.table()
    categories = dict.fromkeys(p.category for p in run.prompt_set.prompts if p.category is not None)
    parts: dict[str | None, Any] = {None: table}
    parts |= {category: table[table["category"] == category] for category in categories}
    scores: list[Score] = []
    for name, output in loaded.metric.outputs.items():
        for category, part in parts.items():
            if len(part):
                found = _of_prompts if isinstance(loaded.metric, PromptMetric) else _of_images
                scores += _rows(run, file, name, output, category, found(part, name, output, over))
    return scores


def _of_images(table: Any, name: str, output: Output, over: Over) -> Estimate:
    return estimate(table[name].to_numpy(np.float64), table["prompt"].tolist(), output.kind, over)


def _of_prompts(table: Any, name: str, output: Output, over: Over) -> Estimate:
    """Returns the mean over prompts, and as n the images that the values are of."""
    column = table[name].to_numpy(np.float64)
    found = estimate(column, table["prompt"].tolist(), output.kind, "prompts")
    found = found._replace(n=int(table["samples"].to_numpy()[~np.isnan(column)].sum()))
    if found.value is None:
        return found._replace(reason="no prompt has a value")
    return found._replace(interval=None, reason=NO_SEEDS) if over == "samples" else found


def with_set_scores(
    run: Run, loaded: Loaded, file: ScoreFile, records: Sequence[Record], features: NDArray[np.float32]
) -> ScoreFile:
    """Adds the values of a set metric with their delete-a-group jackknife intervals; it has none by category.

    The values without each group are kept too: the difference of two systems has its own jackknife.
    """
    metric = loaded.metric
    if not isinstance(metric, SetMetric):
        return file
    groups = groups_of(records)
    least, n_prompts = getattr(metric, "least", 1), len({record.prompt for record in records})
    few = f"it needs at least {least} images"
    if len(records) < least:
        nothing = Estimate(None, None, few, len(records), n_prompts)
        rows = [row for name, output in metric.outputs.items() for row in _rows(run, file, name, output, None, nothing)]
        return file._replace(scores=rows)
    whole = metric.compute(features)
    paths = [run.place(record).file for record in records]
    of_files = metric.from_files(paths) if hasattr(metric, "from_files") else {}
    can_spare = len(records) - np.bincount(groups).max() >= least
    with_interval = getattr(metric, "with_interval", True)
    parts = metric.leave_out(features, groups) if can_spare and with_interval else {}
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
        elif not with_interval:
            found = found._replace(reason=LEFT_OUT)
        scores += _rows(run, file, name, output, None, found)
        kept[name] = left_out.tolist()
    members = sorted({(int(group), record.prompt) for group, record in zip(groups, records, strict=True)})
    return file._replace(scores=scores, left_out=kept, groups_sha256=digest(members))


def remarks_of(run: Run, loaded: Loaded, records: Sequence[Record]) -> list[str]:
    """Returns what a metric has to say of the prompts that were drawn."""
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


def write_table(run: Run, loaded: Loaded, file: ScoreFile, records: Sequence[Record], rows: Sequence[Row]) -> str:
    """Writes a metric's values beside its scores, in the run's order, and returns the file's sha256.

    A row for each image: prompt, sample, category, outputs, ``note_…``; of a prompt metric for each prompt, with the number of
    its ``samples`` in place of one's own.
    """
    import pandas as pd

    if isinstance(loaded.metric, PromptMetric):
        same = by_prompt(records)
        prompts = list(same)
        images = {"samples": [len(positions) for positions in same.values()]}
    else:
        prompts = [record.prompt for record in records]
        images = {"sample": [record.sample for record in records]}
    notes = dict.fromkeys(name for row in rows for name in row.notes)
    table = pd.DataFrame(
        {
            "prompt": prompts,
            **images,
            "category": [run.prompts[prompt].category for prompt in prompts],
            **{name: np.array([row.values[name] for row in rows], np.float64) for name in loaded.metric.outputs},
            **{f"note_{name}": [row.notes.get(name, "") for row in rows] for name in notes},
        }
    )
    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    write_atomic(file.path.with_suffix(".parquet"), stream.getvalue())
    return hashlib.sha256(stream.getvalue()).hexdigest()


def checked(loaded: Loaded, values: Mapping[str, Any], notes: Mapping[str, Sequence[str]], count: int) -> list[Row]:
    """Returns a metric's values row by row.

    Raises:
        UserError: they are not what its outputs promise: one finite number for each, or NaN where it does not apply.
    """
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
    for name, texts in notes.items():
        if len(texts) != count:
            raise UserError(f"metric {loaded.alias}: {len(texts)} notes {name!r} for {count} images")
    return list(_each(values, notes, count))


def _each(values: Mapping[str, Any], notes: Mapping[str, Sequence[str]], count: int) -> Iterator[Row]:
    for number in range(count):
        row = {name: float(part[number]) for name, part in values.items()}
        yield Row(row, {name: texts[number] for name, texts in notes.items()})
