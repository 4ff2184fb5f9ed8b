"""Runs side by side as plain data: what each drew, what it scored, where they differ, and what is not comparable and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drawbench import __version__
from drawbench.errors import UserError
from drawbench.journal import Status, now
from drawbench.protocol import differences
from drawbench.reports.human import HumanStudy
from drawbench.reports.metric_scores import SIZE_FIELD, MetricScores, OutputScores, metrics_of
from drawbench.reports.pairs import Contrast, Subject, contrasts, judged, pairs, set_contrast
from drawbench.scores import ScoreFile, images_digest
from drawbench.store import Run, System


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run planned and what became of it, in images."""

    system: str
    folder: str
    seed: int
    dtype: str
    samples: int
    created: str
    drawbench: str
    planned: int
    drawn: int
    refused: int
    failed: int

    @property
    def undrawn(self) -> int:
        """Images that were planned and never came to be, without a refusal or failure to show for it."""
        return self.planned - self.drawn - self.refused - self.failed


@dataclass(frozen=True, slots=True)
class Lost:
    """One image that was refused or failed."""

    system: str
    prompt: str
    sample: int
    status: Status
    category: str | None
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Section:
    """One prompt set and all that was drawn and scored on it."""

    label: str
    """The prompt set's name; with a short hash where two different sets have one name."""
    prompt_set: str
    sha256: str
    prompt_count: int
    categories: Sequence[str]
    """In file order."""
    runs: Sequence[RunFacts]
    metrics: Sequence[MetricScores]
    lost: Sequence[Lost]
    stale: Sequence[tuple[str, str]]
    """(system, metric) whose only scores are older than the images."""

    @property
    def systems(self) -> list[str]:
        """The systems that have a run on this prompt set."""
        return [run.system for run in self.runs]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that a report says, but for the images."""

    systems: Sequence[System]
    sections: Sequence[Section]
    contrasts: Sequence[Contrast]
    skipped: Mapping[str, str]
    """Metric → why it was not scored at all."""
    created: str
    studies: Sequence[HumanStudy] = ()
    """What people said."""
    drawbench: str = __version__

    def differences(self, section: Section, metric: MetricScores, output: OutputScores) -> list[Contrast]:
        """Returns the differences in one output, overall and by category."""
        subject = (section.sha256, metric.label, output.name)
        return [c for c in self.contrasts if (c.subject.prompt_set, c.subject.metric, c.subject.output) == subject]


def compare(runs: Sequence[Run], skipped: Mapping[str, str] = {}, studies: Sequence[HumanStudy] = ()) -> Comparison:
    """Holds runs against each other: systems become columns, prompt sets sections; studies stand beside them.

    Raises:
        UserError: no run, a run given twice, or two different systems of one name.
    """
    if not runs:
        raise UserError("there is nothing to report on; give at least one run: drawbench report RUN… -o report.html")
    _check_distinct(runs)
    systems = list({run.manifest.system.name: run.manifest.system for run in runs}.values())
    names = [system.name for system in systems]
    by_set: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: names.index(run.manifest.system.name)):
        by_set[run.prompt_set.sha256].append(run)
    of_name = Counter(same[0].prompt_set.name for same in by_set.values())
    order = list(dict.fromkeys(run.prompt_set.sha256 for run in runs))
    sections = [_section(by_set[sha256], of_name[by_set[sha256][0].prompt_set.name] > 1) for sha256 in order]
    found = [
        contrast
        for section in sections
        for metric in section.metrics
        for contrast in metric_contrasts(section.sha256, section.systems, section.categories, metric)
    ]
    return Comparison(systems, sections, judged(found), dict(skipped), now(), list(studies))


def _check_distinct(runs: Sequence[Run]) -> None:
    systems: dict[str, Run] = {}
    cells: dict[tuple[str, str], Run] = {}
    for run in runs:
        system = run.manifest.system
        other = systems.setdefault(system.name, run)
        if other.manifest.system.digest != system.digest:
            fields = differences(_flat(other.manifest.system), _flat(system))
            named = "; ".join(f"{key}: {old!r} and {new!r}" for key, (old, new) in fields.items())
            raise UserError(
                f"{other.path} and {run.path} are different systems of one name, {system.name!r} ({named}); a report has "
                "one column for each name: draw one of them again under another --name"
            )
        cell = (system.name, run.prompt_set.sha256)
        if cell in cells:
            twin = cells[cell].path
            what = (
                f"the run {run.path} is given twice"
                if twin.resolve() == run.path.resolve()
                else f"{twin} and {run.path} are both {system.name!r} on {run.prompt_set.name!r}"
            )
            raise UserError(f"{what}; give one run for each system and prompt set")
        cells[cell] = run


def _flat(system: System) -> dict[str, Any]:
    options = {f"options.{key}": value for key, value in system.options.items()}
    return {"generator": system.generator, **options, **{f"fingerprint.{k}": v for k, v in system.fingerprint.items()}}


def _section(runs: Sequence[Run], ambiguous: bool) -> Section:
    prompt_set = runs[0].prompt_set
    current: dict[str, list[ScoreFile]] = {}
    stale: list[tuple[str, str]] = []
    for run in runs:
        images = images_digest(run.drawn())
        files = run.score_files()
        current[run.manifest.system.name] = fresh = [file for file in files if file.images_sha256 == images]
        old = {file.metric: None for file in files if file not in fresh}.keys() - {file.metric for file in fresh}
        stale += [(run.manifest.system.name, metric) for metric in sorted(old)]
    read = [_read(run) for run in runs]
    return Section(
        label=f"{prompt_set.name} {prompt_set.sha256[:8]}" if ambiguous else prompt_set.name,
        prompt_set=prompt_set.name,
        sha256=prompt_set.sha256,
        prompt_count=len(prompt_set.prompts),
        categories=tuple(dict.fromkeys(p.category for p in prompt_set.prompts if p.category is not None)),
        runs=[facts for facts, _ in read],
        metrics=metrics_of(current),
        lost=[lost for _, of_run in read for lost in of_run],
        stale=stale,
    )


def _read(run: Run) -> tuple[RunFacts, list[Lost]]:
    manifest, records = run.manifest, run.records()
    items = run.items()
    counts: Counter[Status] = Counter()
    lost = []
    for item in items:
        record = records.get((item.prompt.id, item.sample))
        if record is None:
            continue
        counts[record.status] += 1
        if record.status != "drawn":
            reason = record.reason or "no reason was given"
            prompt = item.prompt
            lost.append(
                Lost(manifest.system.name, prompt.id, item.sample, record.status, prompt.category, prompt.text, reason)
            )
    facts = RunFacts(
        system=manifest.system.name,
        folder=run.path.name,
        seed=manifest.seed,
        dtype=manifest.dtype,
        samples=manifest.plan.samples,
        created=manifest.created,
        drawbench=manifest.drawbench,
        planned=len(items),
        drawn=counts["drawn"],
        refused=counts["refused"],
        failed=counts["failed"],
    )
    return facts, lost


def metric_contrasts(
    prompt_set: str, systems: Sequence[str], categories: Sequence[str], metric: MetricScores
) -> Iterator[Contrast]:
    """Yields the differences in each output of a metric, or why there is none; not yet judged."""
    tables = {}
    for system, file in metric.files.items():
        if file.path.with_suffix(".parquet").is_file():
            tables[system] = file.table()
    for output in metric.outputs:
        higher, rescales = output.higher_is_better, output.rescales
        subject = Subject(prompt_set, metric.label, output.name, output.main, output.kind, higher, rescales)
        for a, b in pairs(systems):
            why_not = _why_not(metric, output, a, b, tables)
            if why_not:
                yield Contrast(subject, a, b, None, reason=why_not)
            elif output.kind == "set":
                yield set_contrast(subject, a, b, metric.files)
            else:
                yield from contrasts(subject, a, b, tables, categories)


def _why_not(metric: MetricScores, output: OutputScores, a: str, b: str, tables: Mapping[str, Any]) -> str | None:
    for system in (a, b):
        if system not in output.scores:
            return f"{system} has no scores of it"
    for mismatch in metric.mismatches:
        if (mismatch.a, mismatch.b) == (a, b) and mismatch.refused:
            return f"the protocols differ in {', '.join(field for field in mismatch.fields if field != SIZE_FIELD)}"
        if (mismatch.a, mismatch.b) == (a, b) and output.kind == "set":
            first, second = mismatch.fields[SIZE_FIELD]
            return f"a value of a whole set depends on how many images it has: {first} and {second}"
    if output.kind == "set":
        return None
    for system in (a, b):
        if system not in tables or output.name not in tables[system]:
            return f"the per-image values of {system} are gone; delete the scores and repeat `drawbench score`"
    return None
