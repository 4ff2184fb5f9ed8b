"""Runs on disk: a folder that says what was drawn, by what, and what it is worth.

``run.json`` · ``prompts.jsonl`` · ``images/<prompt id>/<sample>.png``, or tars (`drawbench.image_tar`) ·
``journal/<writer>.jsonl`` · ``extras/<name>/…`` · ``scores/<metric>.<hash8>.json`` and ``.parquet``
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

from drawbench import __version__
from drawbench.errors import UserError
from drawbench.files import sweep, write_atomic
from drawbench.image_tar import mend_tars, tar_path, tar_sizes
from drawbench.interfaces import Item, Prompt, PromptSet
from drawbench.journal import Record, journals, read_journal
from drawbench.prompts import make_prompt_set
from drawbench.protocol import canonical_json, differences, digest
from drawbench.scores import ScoreFile, read_scores

SCHEMA_VERSION = 1
Store = Literal["png", "tar"]
_IMAGE = re.compile(r"(0|[1-9][0-9]*)\.png")


def image_seed(seed: int, prompt_id: str, sample: int) -> int:
    """Returns the seed of one image, in [0, 2**63): it depends on nothing but the run's seed, the prompt and the sample."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{prompt_id}/{sample}".encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True, slots=True)
class System:
    """What is compared. Where its files lie is not part of it."""

    name: str
    generator: str
    options: Mapping[str, Any]
    fingerprint: Mapping[str, str]

    @property
    def digest(self) -> str:
        """The sha256 of name, generator, options and fingerprint."""
        return digest(asdict(self))


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of the prompt set a run draws. It only grows."""

    prompt_ids: tuple[str, ...] | None
    """In file order; None: the whole set."""
    samples: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of ``run.json``."""

    system: System
    prompt_set: str
    prompt_set_sha256: str
    prompt_count: int
    seed: int
    dtype: str
    plan: Plan
    batch_size: int
    created: str
    drawbench: str = __version__
    schema_version: int = SCHEMA_VERSION
    store: Store = "png"
    """How new images are kept; the journal says of each where it lies."""

    def identity(self) -> dict[str, Any]:
        """Returns what another command must agree with to go on with this run."""
        system = {
            f"system.{key}": value for key, value in asdict(self.system).items() if not isinstance(value, Mapping)
        }
        parts = {
            f"system.{kind}.{key}": value
            for kind, values in (("options", self.system.options), ("fingerprint", self.system.fingerprint))
            for key, value in values.items()
        }
        prompts = f"{self.prompt_set} {self.prompt_set_sha256[:12]}"
        return {**system, **parts, "prompts": prompts, "seed": self.seed, "dtype": self.dtype}


class Place(NamedTuple):
    """Where a drawn image lies: a file, or a part of a tar."""

    file: Path
    offset: int | None
    """In a tar."""
    size: int | None

    def read(self) -> bytes:
        """Returns the PNG. Raises an OSError where it is gone; whether it is whole, `drawbench verify` says."""
        if self.offset is None:
            return self.file.read_bytes()
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def is_there(self) -> bool:
        """Says whether its bytes are there, of a tar in their number."""
        if self.offset is None:
            return self.file.is_file()
        return self.file.is_file() and self.file.stat().st_size >= self.offset + (self.size or 0)

    def __str__(self) -> str:
        return str(self.file) if self.offset is None else f"{self.file} at byte {self.offset}"


class Run:
    """One system on one prompt set: a folder."""

    def __init__(self, path: Path, manifest: Manifest, prompt_set: PromptSet) -> None:
        self.path, self.manifest, self.prompt_set = path, manifest, prompt_set

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens a run, checking that its prompts are those of its manifest."""
        manifest = _read_manifest(path)
        try:
            rows = [json.loads(line) for line in (path / "prompts.jsonl").read_text("utf-8").split("\n") if line]
            prompt_set = make_prompt_set(manifest.prompt_set, [Prompt(**row) for row in rows])
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{path / 'prompts.jsonl'} cannot be read ({error}); repeat `drawbench generate` to mend it"
            ) from error
        if prompt_set.sha256 != manifest.prompt_set_sha256:
            raise UserError(
                f"{path / 'prompts.jsonl'} was altered: its digest is not that of run.json; repeat `drawbench generate`"
            )
        return cls(path, manifest, prompt_set)

    @classmethod
    def start(cls, path: Path, manifest: Manifest, prompt_set: PromptSet) -> Self:
        """Makes a run, or goes on with the one that is there if it has the same identity; the plan grows to hold both.

        Raises:
            UserError: the folder holds something else, or a run of another identity (the differing fields are named).
        """
        refuse_strangers(path)
        path.mkdir(parents=True, exist_ok=True)
        with _locked(path):  # Two that start at once agree on one manifest, and none takes from the other's plan.
            refuse_strangers(path)
            return cls._start(path, manifest, prompt_set)

    @classmethod
    def _start(cls, path: Path, manifest: Manifest, prompt_set: PromptSet) -> Self:
        if (path / "run.json").is_file():
            there = _read_manifest(path)
            other = differences(there.identity(), manifest.identity())
            if other:
                named = "; ".join(f"{key} is {old!r} there, {new!r} here" for key, (old, new) in other.items())
                raise UserError(f"{path} holds another run: {named}; give another -o, or the options of that run")
            manifest = replace(there, plan=_grown(there.plan, manifest.plan, prompt_set))
        run = cls(path, manifest, prompt_set)
        run._write()
        return run

    def _write(self) -> None:
        lines = "".join(canonical_json(_prompt_row(p)) + "\n" for p in self.prompt_set.prompts).encode()
        file = self.path / "prompts.jsonl"
        if not file.is_file() or file.read_bytes() != lines:
            write_atomic(file, lines)
        manifest = asdict(self.manifest)  # Last: where it is, the run is whole.
        manifest["system"]["digest"] = self.manifest.system.digest
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        file = self.path / "run.json"
        if not file.is_file() or file.read_text("utf-8") != text:
            write_atomic(file, text.encode())

    @cached_property
    def prompts(self) -> dict[str, Prompt]:
        """The prompts by id, in file order."""
        return {prompt.id: prompt for prompt in self.prompt_set.prompts}

    def items(self, prompt_ids: Sequence[str] | None = None) -> list[Item]:
        """Returns the plan's items (or those of some prompts), in file order and by sample."""
        chosen = prompt_ids if prompt_ids is not None else self.manifest.plan.prompt_ids
        prompts = self.prompt_set.prompts if chosen is None else [self.prompts[prompt_id] for prompt_id in chosen]
        samples = range(self.manifest.plan.samples)
        return [Item(p, s, image_seed(self.manifest.seed, p.id, s)) for p in prompts for s in samples]

    def place(self, record: Record) -> Place:
        """Returns where a drawn image lies."""
        if record.tar is not None:
            return Place(tar_path(self.path, record.tar), record.offset or 0, record.bytes)
        return Place(self.image_path(record.prompt, record.sample), None, record.bytes)

    def read(self, record: Record) -> bytes:
        """Returns a drawn image's PNG, held against its sha256.

        Raises:
            UserError: it is gone, or not the image that was drawn.
        """
        place = self.place(record)
        try:
            data = place.read()
        except OSError as error:
            raise UserError(
                f"{place} was drawn and is not there; `drawbench verify {self.path}` says what to do"
            ) from error
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise UserError(f"{place} is not the file that was drawn; `drawbench verify {self.path}` says what to do")
        return data

    def image_path(self, prompt_id: str, sample: int) -> Path:
        """Returns where an image lies that is a file of its own."""
        return self.path / "images" / prompt_id / f"{sample}.png"

    def extra_path(self, name: str, prompt_id: str, sample: int) -> Path:
        """Returns where a kept stage output lies."""
        return self.path / "extras" / name / prompt_id / f"{sample}.png"

    def records(self) -> dict[tuple[str, int], Record]:
        """Returns what became of each image: the latest line of all journals; but drawn stays drawn while its file is there."""
        latest: dict[tuple[str, int], Record] = {}
        drawn: dict[tuple[str, int], Record] = {}
        for file in journals(self.path):
            for record in read_journal(file):
                key = (record.prompt, record.sample)
                for of_kind in (latest, drawn) if record.status == "drawn" else (latest,):
                    if key not in of_kind or record.at >= of_kind[key].at:
                        of_kind[key] = record
        kept = {key: drawn[key] for key, record in latest.items() if record.status != "drawn" and key in drawn}
        return latest | {key: record for key, record in kept.items() if self.place(record).is_there()}

    def drawn(self) -> list[Record]:
        """Returns the plan's drawn images in the order of prompt id and sample: the order of features and values."""
        planned = {(item.prompt.id, item.sample) for item in self.items()}
        return [record for key, record in sorted(self.records().items()) if record.status == "drawn" and key in planned]

    def present(self) -> dict[tuple[str, int], int]:
        """Returns the sizes in bytes of the image files that are there; images in tars have none."""
        sizes: dict[tuple[str, int], int] = {}
        images = self.path / "images"
        if not images.is_dir():
            return sizes
        for folder in os.scandir(images):
            if folder.name in self.prompts and folder.is_dir():
                for entry in os.scandir(folder):
                    if match := _IMAGE.fullmatch(entry.name):
                        sizes[folder.name, int(match[1])] = entry.stat().st_size
        return sizes

    def lacking(self, items: Sequence[Item], records: Mapping[tuple[str, int], Record] | None = None) -> list[Item]:
        """Returns the items that are yet to be drawn; ``records`` are the run's, where they have been read already.

        An image counts as drawn where the journal says so and its bytes are there in their number (content is checked by
        `drawbench verify`). A refusal stands; a failure is tried again.
        """
        records = self.records() if records is None else records
        sizes, tars = self.present(), tar_sizes(self.path)

        def lacks(item: Item) -> bool:
            key = (item.prompt.id, item.sample)
            record = records.get(key)
            if record is None or record.status == "failed":
                return True
            if record.status == "refused":
                return False
            if record.tar is not None:
                whole = tars.get(record.tar, 0) >= (record.offset or 0) + (record.bytes or 0)
            else:
                whole = sizes.get(key) == record.bytes
            return not whole or not all(self.extra_path(name, *key).is_file() for name in record.extras)

        return [item for item in items if lacks(item)]

    def set_batch_size(self, size: int) -> None:
        """Writes another batch size into the manifest: what ``--batch-size auto`` goes on with."""
        with _locked(self.path):
            there = _read_manifest(self.path)
            self.manifest = replace(there, batch_size=size)
            self._write()

    def clear_leftovers(self) -> None:
        """Deletes the unfinished files of writers that were killed."""
        roots = [self.path / "images", *sorted((self.path / "extras").glob("*"))]
        there = [Path(entry) for root in roots if root.is_dir() for entry in os.scandir(root) if entry.is_dir()]
        for folder in (self.path, self.path / "journal", self.path / "scores", *there):
            sweep(folder)
        ends: dict[str, int] = {}
        for file in journals(self.path) if tar_sizes(self.path) else []:
            for record in read_journal(file):
                if record.tar is not None:
                    ends[record.tar] = max(ends.get(record.tar, 0), (record.offset or 0) + (record.bytes or 0))
        mend_tars(self.path, ends)

    def score_files(self) -> list[ScoreFile]:
        """Returns the run's scores, by metric and then by age, the latest last."""
        files = [read_scores(file) for file in sorted((self.path / "scores").glob("*.json"))]
        return sorted(files, key=lambda file: (file.metric, file.at))


def begun(path: Path) -> Manifest | None:
    """Returns the manifest of a run that was begun, or None; it reads nothing else, so that others may just be starting it."""
    return _read_manifest(path) if (path / "run.json").is_file() else None


def _read_manifest(path: Path) -> Manifest:
    file = path / "run.json"
    if not file.is_file():
        raise UserError(f"{path} is not a run: it has no run.json (a run is what `drawbench generate -o {path}` makes)")
    try:
        content = json.loads(file.read_text("utf-8"))
        if content.get("schema_version") != SCHEMA_VERSION:
            raise UserError(
                f"{file} has schema version {content.get('schema_version')!r}; this version reads {SCHEMA_VERSION}"
            )
        system = {name: content["system"][name] for name in System.__dataclass_fields__}
        ids = content["plan"]["prompt_ids"]
        plan = Plan(None if ids is None else tuple(ids), content["plan"]["samples"])
        fields = {name: content[name] for name in Manifest.__dataclass_fields__ if name != "store"}
        fields["store"] = content.get("store", "png")
        made = Manifest(**(fields | {"system": System(**system), "plan": plan}))
        if not isinstance(made.seed, int) or not isinstance(plan.samples, int) or plan.samples < 1:
            raise ValueError("seed and samples must be whole numbers")
        if made.store not in get_args(Store):
            raise ValueError(f"its store is {made.store!r}; this version knows {', '.join(get_args(Store))}")
        if made.system.digest != content["system"]["digest"]:
            raise ValueError("the system is not the one that its digest is of")
        return made
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} cannot be read ({type(error).__name__}: {error}); restore it, or draw into a new folder"
        ) from error


def refuse_strangers(path: Path) -> None:
    """Refuses a folder that holds something and no run; one whose start was killed holds its prompts at most."""
    if not path.exists():
        return
    strange = not path.is_dir() or any(
        not entry.name.startswith(".") and entry.name != "prompts.jsonl" for entry in path.iterdir()
    )
    if strange and not (path / "run.json").is_file():  # Asked last: another may be starting the run just now.
        raise UserError(f"{path} is not empty and not a run (it has no run.json); give a new folder")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    if (path / "run.json").is_file() and not os.access(path, os.W_OK):
        yield  # It can be read, and nothing here can be changed.
        return
    from filelock import FileLock

    with FileLock(path / ".lock"):
        yield


def _grown(old: Plan, new: Plan, prompt_set: PromptSet) -> Plan:
    samples = max(old.samples, new.samples)
    if old.prompt_ids is None or new.prompt_ids is None:
        return Plan(None, samples)
    both = set(old.prompt_ids) | set(new.prompt_ids)
    ids = tuple(prompt.id for prompt in prompt_set.prompts if prompt.id in both)
    return Plan(None if len(ids) == len(prompt_set.prompts) else ids, samples)


def _prompt_row(prompt: Prompt) -> dict[str, Any]:
    return {"id": prompt.id, "text": prompt.text, "category": prompt.category, "metadata": dict(prompt.metadata)}
