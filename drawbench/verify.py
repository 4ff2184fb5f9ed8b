"""Holds a run's files against its manifest and journals: what is missing, truncated, altered or surplus, and what to do."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from drawbench.errors import UserError
from drawbench.files import is_leftover
from drawbench.image_tar import image_offsets, is_tar, tar_sizes
from drawbench.journal import Record
from drawbench.progress import progress
from drawbench.scores import images_digest, read_scores
from drawbench.store import Place, Run


class Finding(NamedTuple):
    """Something about a run that is not as it should be."""

    kind: str
    """missing, truncated, altered, surplus, failed, leftover, stale."""
    where: str
    """The file, relative to the run, or a count."""
    what: str
    remedy: str
    damage: bool
    """False: worth knowing, but no number is wrong for it."""


REDRAW = "repeat the `drawbench generate` command: it draws just what is missing"


def verify(run: Run) -> list[Finding]:
    """Reads every file of a run and returns what is wrong; an untouched, complete run returns an empty list."""
    findings: list[Finding] = []
    try:
        records = run.records()
    except UserError as error:
        return [Finding("altered", "journal", str(error), "see there", True)]
    planned = {(item.prompt.id, item.sample): item for item in run.items()}
    expected: set[Path] = set()
    with progress(len(planned), unit=" images", label="verify") as bar:
        for key, item in planned.items():
            findings += _check(run, records.get(key), *key)
            record = records.get(key)
            if record is not None and record.seed != item.seed:
                where = f"{key[0]}/{key[1]}"
                what = "was drawn with another seed than this run's"
                findings.append(Finding("altered", where, what, _again(run, record), True))
            bar.update()
    for record in records.values():
        if record.status == "drawn":
            expected.add(run.place(record).file)
            expected |= {run.extra_path(name, record.prompt, record.sample) for name in record.extras}
    findings += _unpointed(run, records.values())
    findings += _surplus(run, expected | {run.image_path(*key) for key in planned})
    findings += _scores(run)
    findings += _strangers(run)
    return findings


def _unpointed(run: Run, records: Iterable[Record]) -> Iterator[Finding]:
    """Images in tars to which no journal points, because they were drawn again: WebDataset would read them too."""
    pointed: dict[str, set[int]] = defaultdict(set)
    for record in records:
        if record.tar is not None and record.status == "drawn":
            pointed[record.tar].add(record.offset or 0)
    for name in sorted(tar_sizes(run.path)):
        if count := len(image_offsets(run.path / "images" / name) - pointed[name]):
            what = f"holds {count} images that no journal has, or that were drawn again since: WebDataset would read them too"
            yield Finding(
                "surplus", f"images/{name}", what, "if a journal is lost, restore it; else drawbench export", False
            )


def _strangers(run: Run) -> Iterator[Finding]:
    """Files of no known kind; they move no number."""
    known = {"run.json", "prompts.jsonl", "images", "extras", "journal", "scores"}
    found = [path for path in sorted(run.path.iterdir()) if path.name not in known and not path.name.startswith(".")]
    found += [path for path in sorted((run.path / "journal").glob("*")) if path.suffix != ".jsonl"]
    for path in sorted((run.path / "scores").glob("*")):
        if path.suffix not in (".json", ".parquet") or not path.with_suffix(".json").is_file():
            found.append(path)
    for path in found:
        where = str(path.relative_to(run.path))
        yield Finding("surplus", where, "belongs to nothing in this run", f"delete {where}", False)


def _scores(run: Run) -> Iterator[Finding]:
    current = images_digest(run.drawn())
    renewed = set()  # A metric that has been measured since needs no second look, whatever its options were.
    for file in (run.path / "scores").glob("*.json"):
        with suppress(UserError):
            scores = read_scores(file)
            if scores.images_sha256 == current:
                renewed.add(scores.metric)
    for file in sorted((run.path / "scores").glob("*.json")):
        where = f"scores/{file.name}"
        try:
            scores = read_scores(file)
        except UserError:
            yield Finding("altered", where, "cannot be read", f"delete {where} and score the run again", True)
            continue
        again = f"drawbench score {run.path} --metric {scores.metric}"
        if not scores.is_whole():
            table = where.removesuffix(".json") + ".parquet"
            yield Finding("altered", table, "is not the table that was written", again, True)
        if scores.images_sha256 != current and scores.metric not in renewed:
            yield Finding("stale", where, "is older than the images", f"{again}, with its options", False)


def _check(run: Run, record: Record | None, prompt: str, sample: int) -> Iterator[Finding]:
    image = run.image_path(prompt, sample)
    where = str(image.relative_to(run.path))
    if record is None:
        if image.is_file():
            yield Finding(
                "surplus", where, "is in no journal (its writer was killed before it could say so)", REDRAW, True
            )
        else:
            yield Finding("missing", where, "has not been drawn", REDRAW, True)
    elif record.status == "failed":
        yield Finding("failed", where, record.reason or "failed", REDRAW, True)
    elif record.status == "drawn":
        yield from _check_file(run, run.place(record), record.sha256, _again(run, record))
        for name, sha256 in record.extras.items():
            place = Place(run.extra_path(name, prompt, sample), None, None)
            yield from _check_file(run, place, sha256, _delete(str(place.file.relative_to(run.path))))


def _check_file(run: Run, place: Place, sha256: str | None, remedy: str) -> Iterator[Finding]:
    where = str(place).removeprefix(f"{run.path}/")
    try:
        data = place.read()
    except OSError:
        yield Finding("missing", where, "was drawn and is gone", REDRAW, True)
        return
    if place.size is not None and len(data) < place.size:
        yield Finding("truncated", where, f"has {len(data)} of {place.size} bytes", REDRAW, True)
    elif hashlib.sha256(data).hexdigest() != sha256:
        yield Finding("altered", where, "is not the image that was drawn (another sha256)", remedy, True)


def _again(run: Run, record: Record) -> str:
    """Returns how an image is drawn again; of one in a tar by its line, for the tar holds others."""
    if record.tar is None:
        return _delete(str(run.place(record).file.relative_to(run.path)))
    line = f'"prompt":"{record.prompt}" … "sample":{record.sample}'
    return f"delete the line with {line} from journal/*.jsonl, then {REDRAW}"


def _delete(where: str) -> str:
    return f"delete {where}, then {REDRAW}"


def _surplus(run: Run, expected: set[Path]) -> Iterator[Finding]:
    for folder in ("images", "extras"):
        for file in sorted((run.path / folder).rglob("*")):
            if file.is_dir() or file in expected:
                continue
            where = str(file.relative_to(run.path))
            if is_tar(file.name):
                what = "holds no image that a journal has"
                yield Finding(
                    "surplus", where, what, "if its journal is lost, restore that; else delete the file", False
                )
            elif is_leftover(file.name):
                yield Finding(
                    "leftover", where, "is the unfinished file of a writer that was killed", f"delete {where}", False
                )
            else:
                yield Finding("surplus", where, "belongs to no image of this run", f"delete {where}", True)
