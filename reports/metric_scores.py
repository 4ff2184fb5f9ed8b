"""One metric's scores of several systems: which outputs it has, and under which protocols they may stand together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drawbench.interfaces import Kind, Score
from drawbench.protocol import differences, digest
from drawbench.reports.pairs import pairs
from drawbench.scores import ScoreFile

OVER = "interval over"
SIZE_FIELD = "n"
"""The one field of a protocol in which two numbers may differ and still be compared, on the prompts that both have."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The protocol fields in which the scores of two systems differ, as ``field → (a's, b's)``."""

    metric: str
    a: str
    b: str
    fields: Mapping[str, tuple[Any, Any]]

    @property
    def refused(self) -> bool:
        """Whether the numbers must not be subtracted: anything but the number of images differs."""
        return self.fields.keys() != {SIZE_FIELD}


@dataclass(frozen=True, slots=True)
class OutputScores:
    """One output of a metric for all systems that have it."""

    name: str
    main: bool
    kind: Kind
    higher_is_better: bool | None
    scores: Mapping[str, Mapping[str | None, Score]]
    """System → category (None: over all prompts) → score."""
    rescales: str | None = None
    """The output that it is times a constant."""


@dataclass(frozen=True, slots=True)
class MetricScores:
    """One metric under one protocol; systems whose protocols differ stand here together only where each has just one."""

    label: str
    """The metric's name; with a short hash where runs hold it under several protocols."""
    metric: str
    files: Mapping[str, ScoreFile]
    """By system."""
    outputs: Sequence[OutputScores]
    """The main one first."""
    mismatches: Sequence[Mismatch]


def metrics_of(current: Mapping[str, Sequence[ScoreFile]]) -> list[MetricScores]:
    """Returns the metrics of one prompt set, from each system's score files that are not older than its images."""
    names = dict.fromkeys(file.metric for files in current.values() for file in files)
    return [metric for name in names for metric in _protocols(name, current)]


def _protocols(name: str, current: Mapping[str, Sequence[ScoreFile]]) -> Iterator[MetricScores]:
    """Yields a metric once where every system holds it under one protocol, else once for each protocol."""
    own = {system: [file for file in files if file.metric == name] for system, files in current.items()}
    if all(len(files) <= 1 for files in own.values()):
        yield _metric(name, name, {system: files[0] for system, files in own.items() if files})
        return
    groups: dict[str, dict[str, ScoreFile]] = defaultdict(dict)
    for system, files in own.items():
        for file in files:  # The latest last: of two that differ in n alone, it is the one that stays.
            groups[digest({key: value for key, value in file.protocol.fields.items() if key != SIZE_FIELD})][system] = (
                file
            )
    for of_group in groups.values():
        yield _metric(f"{name} {next(iter(of_group.values())).protocol.hash[:8]}", name, of_group)


def _metric(label: str, name: str, files: Mapping[str, ScoreFile]) -> MetricScores:
    by_system = {system: _by_output(file) for system, file in files.items()}
    mains = {file.main for file in files.values()}
    rescaled = {output: of for file in files.values() for output, of in file.rescaled.items()}
    outputs = []
    for output in dict.fromkeys(output for of_system in by_system.values() for output in of_system):
        scores = {system: of_system[output] for system, of_system in by_system.items() if output in of_system}
        any_score = next(score for of_system in scores.values() for score in of_system.values())
        kind, higher = any_score.kind, any_score.higher_is_better
        outputs.append(OutputScores(output, output in mains, kind, higher, scores, rescaled.get(output)))
    mismatches = []
    for a, b in pairs(list(files)):
        fields = unlike(files[a], files[b])
        if fields:
            mismatches.append(Mismatch(label, a, b, fields))
    return MetricScores(label, name, files, sorted(outputs, key=lambda output: not output.main), mismatches)


def identity(file: ScoreFile) -> dict[str, object]:
    """Returns a protocol's fields and what the intervals speak of: those of seeds and of prompts are not to be compared."""
    over = {score.interval.over for score in file.scores if score.interval}
    return {**file.protocol.fields, **({OVER: " and ".join(sorted(over))} if over else {})}


def unlike(a: ScoreFile, b: ScoreFile) -> dict[str, tuple[Any, Any]]:
    """Returns the fields in which two identities differ, as ``field → (a's, b's)``.

    What has no interval (left out on request, or all values equal) speaks of nothing else than the other's.
    """
    found = differences(identity(a), identity(b))
    return {field: both for field, both in found.items() if field != OVER or None not in both}


def versions(metric: MetricScores) -> dict[str, list[str]]:
    """Returns the versions of this suite that scored the systems, where they are not one: version → systems."""
    by: dict[str, list[str]] = defaultdict(list)
    for system, file in metric.files.items():
        by[file.drawbench].append(system)
    return dict(by) if len(by) > 1 else {}


def _by_output(file: ScoreFile) -> dict[str, dict[str | None, Score]]:
    outputs: dict[str, dict[str | None, Score]] = defaultdict(dict)
    for score in file.scores:
        if score.output is not None:
            outputs[score.output][score.category] = score
    return outputs
