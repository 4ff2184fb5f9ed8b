"""A run's images in the layouts that other tools read: GenEval's folders, flat files, or files with a table."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from errno import EXDEV
from pathlib import Path
from typing import Literal, NamedTuple

from drawbench.errors import UserError
from drawbench.files import alive, host
from drawbench.interfaces import Prompt
from drawbench.journal import Record
from drawbench.progress import progress
from drawbench.store import Place, Run

Name = Literal["geneval", "flat", "csv"]


class Layout(NamedTuple):
    """What an export holds, by paths relative to its folder."""

    images: Sequence[str]
    """One for each record, in order."""
    texts: dict[str, str]
    """The files beside the images."""


class Exported(NamedTuple):
    """What an export did."""

    images: int
    bytes: int
    refused: int
    missing: int
    """Planned, and neither drawn nor refused."""

    def line(self, run: Run, folder: Path) -> str:
        """Returns one line for people."""
        left_out = [
            f"{count} {why}" for count, why in ((self.refused, "refused"), (self.missing, "NOT DRAWN")) if count
        ]
        rest = f"; left out: {', '.join(left_out)}" if left_out else ""
        system, prompts = run.manifest.system.name, run.manifest.prompt_set
        return f"{system} on {prompts}: {self.images} images, {self.bytes / 1e6:.1f} MB in {folder}{rest}"


def export(run: Run, folder: Path, layout: Name, *, link: bool = False) -> Exported:
    """Puts a run's planned and drawn images into a new or empty folder; it is there whole, or not at all.

    ``link`` gives the run's files second names instead of copying them. Every image is held against its sha256 first.

    Raises:
        UserError: the run has no image, or an altered one; the folder holds something or lies within the run; ids that
            would give two files one name.
    """
    records = run.drawn()
    if not records:
        raise UserError(f"{run.path} has no images to export; draw them first: drawbench generate")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty; give a new folder")
    if folder.resolve().is_relative_to(run.path.resolve()):
        raise UserError(f"{folder} lies within the run {run.path}; give a folder elsewhere")
    planned = LAYOUTS[layout](run, records)
    size = 0
    with _whole(folder) as beside, progress(len(records), unit=" images", label=f"export {layout}") as bar:
        for record, name in zip(records, planned.images, strict=True):
            place, target, data = run.place(record), beside / name, run.read(record)
            target.parent.mkdir(parents=True, exist_ok=True)
            if link:
                _hard_link(place, target)
            else:
                target.write_bytes(data)
            size += record.bytes or 0
            bar.update()
        for name, text in planned.texts.items():
            (beside / name).write_text(text, encoding="utf-8", newline="")
    status = {key: record.status for key, record in run.records().items()}
    asked = [status.get((item.prompt.id, item.sample)) for item in run.items()]
    refused = asked.count("refused")
    return Exported(len(records), size, refused, len(asked) - len(records) - refused)


def _hard_link(place: Place, target: Path) -> None:
    """Gives a run's image a second name, on the same file system: no copy, so who alters one alters both."""
    if place.offset is not None:
        raise UserError(f"{place} is a part of a tar and can have no second name; leave --link out")
    try:
        os.link(place.file, target)
    except OSError as error:
        if error.errno != EXDEV:
            raise
        raise UserError(f"{target.parent} is on another file system than {place}; leave --link out") from error


def geneval(run: Run, records: Sequence[Record]) -> Layout:
    """``00000/metadata.jsonl`` and ``00000/samples/0000.png``, numbered by the prompt's place in its set, from 0.

    The metadata is what GenEval's generation writes where the prompts were read from its JSONL file: ``tag``, ``include``,
    ``exclude`` and ``prompt``. Elsewhere the tag is the category. The prompt's ``id`` is added to it.
    """
    numbers = {prompt.id: f"{number:05d}" for number, prompt in enumerate(run.prompt_set.prompts)}
    images = [f"{numbers[record.prompt]}/samples/{record.sample:04d}.png" for record in records]
    drawn = dict.fromkeys(record.prompt for record in records)
    return Layout(images, {f"{numbers[own]}/metadata.jsonl": _geneval_metadata(run.prompts[own]) for own in drawn})


def flat(run: Run, records: Sequence[Record]) -> Layout:
    """``<id>.png``, or ``<id>_<sample>.png`` for all where the run has several samples."""
    several = run.manifest.plan.samples > 1

    def name(prompt_id: str, sample: int) -> str:
        return f"{prompt_id}_{sample}" if several else prompt_id

    names = {name(record.prompt, record.sample) for record in records}
    for prompt, sample, _ in run.items():
        own = {f"{prompt.id}_{sample}"} | ({prompt.id} if sample == 0 else set())  # By either it would be looked for.
        if prompt.id.startswith(".") or names & own - {name(prompt.id, sample)}:
            raise UserError(
                f"the prompt id {prompt.id!r} does not tell its files from others' in one folder; use --layout csv"
            )
    return Layout([f"{name(record.prompt, record.sample)}.png" for record in records], {})


def table(run: Run, records: Sequence[Record]) -> Layout:
    """``images/<id>/<sample>.png``, and ``mapping.csv``: file, id, prompt, category, sample, seed, sha256."""
    images = [f"images/{record.prompt}/{record.sample}.png" for record in records]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["file", "id", "prompt", "category", "sample", "seed", "sha256"])
    for file, record in zip(images, records, strict=True):
        prompt = run.prompts[record.prompt]
        row = [file, prompt.id, prompt.text, prompt.category or "", record.sample, record.seed, record.sha256]
        writer.writerow(row)
    return Layout(images, {"mapping.csv": stream.getvalue()})


LAYOUTS: dict[Name, Callable[[Run, Sequence[Record]], Layout]] = {"geneval": geneval, "flat": flat, "csv": table}


def _geneval_metadata(prompt: Prompt) -> str:
    about: dict[str, object] = {"tag": prompt.metadata.get("tag") or prompt.category or ""}
    for key in ("include", "exclude"):
        if key in prompt.metadata:
            try:
                about[key] = json.loads(prompt.metadata[key])
            except ValueError:
                about[key] = prompt.metadata[key]  # A column of one's own that happens to have the name.
    return json.dumps(about | {"prompt": prompt.text, "id": prompt.id}, ensure_ascii=False) + "\n"


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Gives a folder beside ``folder`` that takes its place at the end, and is deleted where something went wrong."""
    place = folder.resolve()
    _sweep(place)
    beside = place.with_name(f".{place.name}.{host()}-{os.getpid()}.partial")
    beside.mkdir(parents=True)
    try:
        yield beside
        if place.is_dir():
            place.rmdir()
        beside.rename(place)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _sweep(place: Path) -> None:
    """Deletes what exports to this place left that were killed; not another machine's, of which nobody here can say."""
    begin, end = f".{place.name}.{host()}-", ".partial"
    for path in place.parent.glob("*.partial"):
        pid = path.name.removeprefix(begin).removesuffix(end)
        if path.name == f"{begin}{pid}{end}" and pid.isdecimal() and not alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)
