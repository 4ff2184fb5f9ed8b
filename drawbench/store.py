"""Runs and scores on disk: a folder that says what was drawn, by what, and what it is worth.

``run.json`` · ``prompts.jsonl`` · ``images/<prompt id>/<sample>.png`` · ``journal/<writer>.jsonl`` ·
``extras/<name>/…`` · ``scores/<metric>.<hash8>.json`` and ``.parquet``
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from drawbench import __version__
from drawbench.errors import UserError
from drawbench.files import host, sweep, write_atomic
from drawbench.interfaces import Interval, Item, MetricProtocol, Prompt, PromptSet, Score
from drawbench.prompts import make_prompt_set
from drawbench.protocol import canonical_json, differences, digest

SCHEMA_VERSION = 1
Status = Literal["drawn", "refused", "failed"]
_RANK = {"drawn": 2, "refused": 1, "failed": 0}


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


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a journal: what became of one image."""

    prompt: str
    sample: int
    status: Status
    seed: int
    at: str
    sha256: str | None = None
    """Of the PNG file."""
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    device: str | None = None
    prompt_used: str | None = None
    extras: Mapping[str, str] = field(default_factory=dict)
    """Name → sha256 of the PNG file."""
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    reason: str | None = None
    """Why it was refused, or how it failed."""
    traceback: str | None = None


class ScoreFile(NamedTuple):
    """What one metric said of one run at one time."""

    metric: str
    """Name or alias."""
    main: str
    """The name of its main output."""
    protocol: MetricProtocol
    images_sha256: str
    """Of the images that were scored; another digest than the run's own means that they have changed since."""
    scores: Sequence[Score]
    notes: Sequence[str]
    verified: bool
    at: str
    path: Path

    def table(self) -> Any:
        """Returns the per-image values as a pandas DataFrame: prompt, sample, category, outputs, ``note_…``."""
        import pandas as pd

        return pd.read_parquet(self.path.with_suffix(".parquet"))


class Run:
    """One system on one prompt set: a folder."""

    def __init__(self, path: Path, manifest: Manifest, prompt_set: PromptSet) -> None:
        self.path, self.manifest, self.prompt_set = path, manifest, prompt_set

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens a run, checking that its prompts are those of its manifest."""
        manifest = _read_manifest(path)
        try:
            rows = [json.loads(line) for line in (path / "prompts.jsonl").read_text("utf-8").splitlines()]
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
        if (path / "run.json").is_file():
            there = _read_manifest(path)
            other = differences(there.identity(), manifest.identity())
            if other:
                named = "; ".join(f"{key} is {old!r} there, {new!r} here" for key, (old, new) in other.items())
                raise UserError(f"{path} holds another run: {named}; give another -o, or the options of that run")
            manifest = replace(
                there, plan=_grown(there.plan, manifest.plan, prompt_set), batch_size=manifest.batch_size
            )
        elif path.exists() and (not path.is_dir() or any(not entry.name.startswith(".") for entry in path.iterdir())):
            raise UserError(f"{path} is not empty and not a run (it has no run.json); give a new folder")
        run = cls(path, manifest, prompt_set)
        run._write()
        return run

    def _write(self) -> None:
        manifest = asdict(self.manifest)
        manifest["system"]["digest"] = self.manifest.system.digest
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        file = self.path / "run.json"
        if not file.is_file() or file.read_text("utf-8") != text:
            write_atomic(file, text.encode())
        lines = "".join(canonical_json(_prompt_row(p)) + "\n" for p in self.prompt_set.prompts).encode()
        file = self.path / "prompts.jsonl"
        if not file.is_file() or file.read_bytes() != lines:
            write_atomic(file, lines)

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

    def image_path(self, prompt_id: str, sample: int) -> Path:
        """Returns where an image lies."""
        return self.path / "images" / prompt_id / f"{sample}.png"

    def extra_path(self, name: str, prompt_id: str, sample: int) -> Path:
        """Returns where a kept stage output lies."""
        return self.path / "extras" / name / prompt_id / f"{sample}.png"

    def records(self) -> dict[tuple[str, int], Record]:
        """Returns what became of each image, all journals merged: drawn counts before refused before failed, then the latest."""
        merged: dict[tuple[str, int], Record] = {}
        for file in sorted((self.path / "journal").glob("*.jsonl")):
            for record in _read_journal(file):
                key = (record.prompt, record.sample)
                old = merged.get(key)
                if old is None or (_RANK[record.status], record.at) >= (_RANK[old.status], old.at):
                    merged[key] = record
        return merged

    def drawn(self) -> list[Record]:
        """Returns the plan's drawn images in the order of prompt id and sample: the order of features and values."""
        planned = {(item.prompt.id, item.sample) for item in self.items()}
        return [record for key, record in sorted(self.records().items()) if record.status == "drawn" and key in planned]

    def present(self) -> dict[tuple[str, int], int]:
        """Returns the sizes in bytes of the image files that are there, and clears what killed writers left behind."""
        sizes = {}
        for folder in (self.path, self.path / "journal", self.path / "scores"):
            sweep(folder)
        for prompt in self.prompts:
            folder = self.path / "images" / prompt
            if not folder.is_dir():
                continue
            sweep(folder)
            for entry in os.scandir(folder):
                name, dot, suffix = entry.name.partition(".")
                if dot and suffix == "png" and name.isdigit():
                    sizes[prompt, int(name)] = entry.stat().st_size
        return sizes

    def score_files(self) -> list[ScoreFile]:
        """Returns the run's scores, by metric and then by age, the latest last."""
        files = [_read_scores(file) for file in sorted((self.path / "scores").glob("*.json"))]
        return sorted(files, key=lambda file: (file.metric, file.at))


class Journal:
    """One writer's append-only file of a run. A line is on disk before the next image is drawn."""

    def __init__(self, run: Run) -> None:
        folder = run.path / "journal"
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{host()}-{os.getpid()}-{time.time_ns()}.jsonl"
        self._file: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, record: Record) -> None:
        """Appends a record and syncs it."""
        if self._file is None:
            self._file = open(self.path, "ab")  # noqa: SIM115  closed in __exit__; no file where nothing is to say
        line = {key: value for key, value in asdict(record).items() if value is not None and value != {}}
        self._file.write(canonical_json(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def now() -> str:
    """Returns the time in UTC, to the microsecond, in a form that sorts."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def images_digest(records: Sequence[Record]) -> str:
    """Returns the digest of a set of images, in the order given: of their ids, samples and sha256."""
    return digest([[record.prompt, record.sample, record.sha256] for record in records])


def scores_path(run: Run, metric: str, protocol: MetricProtocol) -> Path:
    """Returns where a metric's scores lie; the per-image values lie beside it as ``.parquet``."""
    return run.path / "scores" / f"{metric}.{protocol.hash[:8]}.json"


def score_to_json(score: Score) -> dict[str, Any]:
    """Returns a score as JSON: an interval is an object, the protocol ``{"hash", "fields"}``."""
    row = {name: getattr(score, name) for name in Score.__dataclass_fields__}
    row["interval"] = score.interval._asdict() if score.interval else None
    row["protocol"] = score.protocol._asdict()
    return row


def score_from_json(row: Mapping[str, Any]) -> Score:
    """Reads what `score_to_json` wrote."""
    interval = Interval(**row["interval"]) if row["interval"] else None
    return Score(**{**row, "interval": interval, "protocol": MetricProtocol(**row["protocol"])})


def write_scores(file: ScoreFile) -> None:
    """Writes a metric's scores; the protocol is kept once for all of them."""
    scores = [score_to_json(score) | {"protocol": None} for score in file.scores]
    content = file._asdict() | {"protocol": file.protocol._asdict(), "scores": scores, "schema_version": SCHEMA_VERSION}
    del content["path"]
    write_atomic(file.path, (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def _read_scores(path: Path) -> ScoreFile:
    try:
        content = json.loads(path.read_text("utf-8"))
        protocol = MetricProtocol(**content["protocol"])
        scores = [score_from_json(row | {"protocol": content["protocol"]}) for row in content["scores"]]
        names = [name for name in ScoreFile._fields if name not in ("protocol", "scores", "path")]
        return ScoreFile(**{name: content[name] for name in names}, protocol=protocol, scores=scores, path=path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error}); delete it and score the run again"
        ) from error


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
        fields = {name: content[name] for name in Manifest.__dataclass_fields__}
        return Manifest(**(fields | {"system": System(**system), "plan": plan}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} cannot be read ({type(error).__name__}: {error}); restore it, or draw into a new folder"
        ) from error


def _read_journal(file: Path) -> Iterator[Record]:
    data = file.read_bytes()
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line:
            continue
        try:
            yield Record(**json.loads(line))
        except (ValueError, TypeError) as error:
            if number == data.count(b"\n") + 1:
                return  # The torn last line of a writer that was killed: its image is drawn again.
            raise UserError(
                f"{file}, line {number} is damaged ({error}); delete the line: its image is drawn again"
            ) from error


def _grown(old: Plan, new: Plan, prompt_set: PromptSet) -> Plan:
    samples = max(old.samples, new.samples)
    if old.prompt_ids is None or new.prompt_ids is None:
        return Plan(None, samples)
    both = set(old.prompt_ids) | set(new.prompt_ids)
    ids = tuple(prompt.id for prompt in prompt_set.prompts if prompt.id in both)
    return Plan(None if len(ids) == len(prompt_set.prompts) else ids, samples)


def _prompt_row(prompt: Prompt) -> dict[str, Any]:
    return {"id": prompt.id, "text": prompt.text, "category": prompt.category, "metadata": dict(prompt.metadata)}
