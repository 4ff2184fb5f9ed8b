"""One pass over a run's images for all metrics: each image is read once, each network's features are computed once.

What is known already is not computed again: features by the image's sha256 (`drawbench.metrics.features`), and values that a
command left behind that was killed, or that did a part (`drawbench.metrics.unfinished`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from drawbench import __version__
from drawbench.errors import UserError
from drawbench.executors.shard import Shard
from drawbench.interfaces import Prompt, SetMetric
from drawbench.intervals import Over
from drawbench.journal import Record
from drawbench.metrics.batches import by_size, read_ahead, read_drawn, sizes_of
from drawbench.metrics.measuring import Work, value_protocol
from drawbench.metrics.scoring import LEFT_OUT, mean_scores, remarks_of, score_file, with_set_scores, write_table
from drawbench.metrics.scoring import Loaded as Loaded
from drawbench.metrics.unfinished import delete_unfinished
from drawbench.progress import progress, say
from drawbench.scores import ScoreFile, images_digest, write_scores
from drawbench.store import Run

if TYPE_CHECKING:
    from torch import Tensor

Tell = Callable[[int], None]
"""Is told of so many images that are done; where there is none, a bar is shown."""
AT_ONCE = 256
"""Rows of features that metrics are given at once which need no images."""


class Batch(NamedTuple):
    """Images of one size, and where they stand in the run's order."""

    positions: Sequence[int]
    images: Tensor
    """``(N, 3, H, W) uint8``."""
    prompts: Sequence[Prompt]


def score_run(
    run: Run,
    metrics: Sequence[Loaded],
    *,
    over: Over = "prompts",
    batch_size: int = 16,
    share: Callable[[int], None] | None = None,
) -> list[ScoreFile]:
    """Scores a run by each metric and writes the scores; what was scored before on the same images is read back.

    ``share``, where there is one, is called with the number of images to look at, and may have other processes do parts of that
    (`score_part`) before this one does what they left.

    Raises:
        UserError: the run has no images, or one of them is not the file that was drawn.
    """
    records = _records(run)
    metrics = [for_run(run, loaded) for loaded in metrics]
    images = images_digest(records)
    before = {file.path: file for file in run.score_files() if file.images_sha256 == images}
    files = {loaded.alias: score_file(run, loaded, images, records) for loaded in metrics}
    new = [loaded for loaded in metrics if not _is_scored(before.get(files[loaded.alias].path), loaded)]
    if not new:
        say(f"{_name(run)}: nothing to do: all is known of its {len(records)} images")
    work = Work(run, records, new)
    if share is not None and (count := len(work.to_do)):
        share(count)
        work = Work(run, records, new)
    _do(work, batch_size)
    for loaded in metrics:
        if loaded.alias in work.errors:
            continue
        file = files[loaded.alias]
        if loaded in new:
            try:  # What the metric itself does; a disk that is full is another matter.
                file = file._replace(notes=remarks_of(run, loaded, records))
                if isinstance(loaded.metric, SetMetric):
                    file = with_set_scores(run, loaded, file, records, work.features(loaded))
            except Exception as error:  # noqa: BLE001  told when the other metrics are done and on disk
                work.give_up(loaded, error)
                continue
            if not isinstance(loaded.metric, SetMetric):
                file = file._replace(table_sha256=write_table(run, loaded, file, records, work.rows(loaded)))
        else:
            file = before[file.path]
        if not isinstance(loaded.metric, SetMetric) and not _speaks_of(
            file, over
        ):  # Another --over reads no image again.
            file = file._replace(scores=mean_scores(run, loaded, file, over))
        write_scores(file)
        files[loaded.alias] = file
        delete_unfinished(run.path, value_protocol(run, loaded))  # Also what a command left that was killed just here.
    _raise_first(work)
    return list(files.values())


def score_part(
    run: Run, metrics: Sequence[Loaded], part: Shard, *, batch_size: int = 16, tell: Tell | None = None
) -> int:
    """Computes what one part of a run's prompts needs and leaves it on disk; returns how many images the other parts lack.

    No score is written: `score_run` puts the parts together.

    Raises:
        UserError: as `score_run`.
    """
    records = _records(run)
    new = _not_scored(run, [for_run(run, loaded) for loaded in metrics], records)
    work = Work(run, records, new, part)
    _do(work, batch_size, tell)
    _raise_first(work)
    if tell is not None:
        return 0
    left = _not_scored(run, new, records)
    for loaded in new:
        if loaded not in left:  # Somebody joined the parts while this one was at work, and wants its values no more.
            delete_unfinished(run.path, value_protocol(run, loaded))
    return len(Work(run, records, left).to_do)


def for_run(run: Run, loaded: Loaded) -> Loaded:
    """Returns a metric as it is for all prompts of this run, where that makes a difference to it."""
    if not hasattr(loaded.metric, "for_prompts"):
        return loaded
    return loaded._replace(metric=loaded.metric.for_prompts(run.prompt_set.prompts))


def _records(run: Run) -> list[Record]:
    records = run.drawn()
    if not records:
        raise UserError(f"{run.path} has no images to score; draw them first: drawbench generate … -o {run.path}")
    plan = run.manifest.plan
    planned = plan.samples * len(run.prompts if plan.prompt_ids is None else plan.prompt_ids)
    if len(records) < planned:
        say(f"note: {run.path}: {planned - len(records)} of {planned} planned images are not drawn")
    return records


def _not_scored(run: Run, metrics: Sequence[Loaded], records: Sequence[Record]) -> list[Loaded]:
    """Returns the metrics of which the run has no scores of these images, as its folder is now."""
    images = images_digest(records)
    before = {file.path: file for file in run.score_files() if file.images_sha256 == images}
    return [
        loaded
        for loaded in metrics
        if not _is_scored(before.get(score_file(run, loaded, images, records).path), loaded)
    ]


def _raise_first(work: Work) -> None:
    """Raises the first error of a metric, if any failed, and says the others."""
    if work.errors:
        first, *others = work.errors.values()
        for other in others:
            say(str(other))
        raise first


def _is_scored(file: ScoreFile | None, loaded: Loaded) -> bool:
    """Says whether a file has all that the metric would give now: an option may ask for a further output."""
    if file is None or file.drawbench != __version__ or not file.is_whole():
        return False
    if getattr(loaded.metric, "with_interval", True) and any(row.reason == LEFT_OUT for row in file.scores):
        return False
    return loaded.metric.outputs.keys() <= {row.output for row in file.scores}


def _speaks_of(file: ScoreFile, over: Over) -> bool:
    """Says whether scores are there, and their intervals are over what is asked for."""
    return {score.interval.over for score in file.scores if score.interval} == {over}


def _do(work: Work, batch_size: int, tell: Tell | None = None) -> None:
    """Reads each image that must be seen once, then does what features alone are enough for."""
    if not work.metrics:
        return
    known, left = len(work.mine) - len(work.to_do), set(work.to_do)
    label = f"score {_name(work.run)}"
    with progress(len(work.mine), unit=" images", label=label, done=known, shown=tell is None) as bar:

        def done(positions: Iterable[int]) -> None:
            new = left.intersection(positions)
            left.difference_update(new)
            bar.update(len(new))
            if tell is not None:
                tell(len(new))

        later = set(work.from_features)
        try:
            for batch in _batches(work.run, work.records, batch_size, work.to_see):
                work.see(batch.positions, batch.images)
                done(index for index in batch.positions if index not in later)
                if not work.living:
                    return
            for prompt in work.mixed:
                positions = work.positions(prompt)
                work.see_prompt(prompt, [read_drawn(work.run, work.records[index]) for index in positions])
                done(index for index in positions if index not in later)
            for first in range(0, len(work.records), AT_ONCE):
                positions = sorted(later.intersection(range(first, first + AT_ONCE)))
                work.look_up(positions)
                done(positions)
            work.prompts_from_features()
            done(list(left))
        finally:  # Also of a command that is interrupted.
            work.close()
    if tell is None:
        say(f"{_name(work.run)}: {work.summary()}")


def _name(run: Run) -> str:
    return run.manifest.system.name


def _batches(
    run: Run, records: Sequence[Record], batch_size: int, positions: Sequence[int] | None = None
) -> Iterator[Batch]:
    """Yields the images at some positions, or all."""
    parts = by_size(sizes_of(records), batch_size, positions)
    for part, images in read_ahead(parts, lambda index: read_drawn(run, records[index])):
        yield Batch(part, images, [run.prompts[records[index].prompt] for index in part])
