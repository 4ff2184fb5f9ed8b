"""Two runs held against each other, metric by metric: paired differences, and what must not be subtracted and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from drawbench.errors import UserError, did_you_mean
from drawbench.reports.comparison import metric_contrasts
from drawbench.reports.digits import bounds, counted, decimals, least_decimals, listed, number, p_value, signed
from drawbench.reports.metric_scores import SIZE_FIELD, MetricScores, metrics_of, unlike, versions
from drawbench.reports.pairs import Contrast, judged
from drawbench.scores import ScoreFile, images_digest, read_scores
from drawbench.store import Run


class Side(NamedTuple):
    """One of the two: a run, or one file of its scores."""

    label: str
    """The system's name; the folder's, where both are of one system."""
    run: Run
    files: Sequence[ScoreFile]
    """Of the images as they are now."""


class Refusal(NamedTuple):
    """Two numbers of one metric that must not be subtracted."""

    metric: str
    fields: Mapping[str, tuple[Any, Any]]
    """Of the protocols: field → (A's, B's); None: it has no such field."""


@dataclass(frozen=True, slots=True)
class TwoRuns:
    """What the scores of two runs say of their systems."""

    a: Side
    b: Side
    contrasts: Sequence[Contrast]
    """Overall and by category, p adjusted by Holm over what is compared here."""
    refused: Sequence[Refusal]
    remarks: Sequence[str]


def compare_two(a: Path, b: Path, metrics: Sequence[str] = ()) -> TwoRuns:
    """Compares two runs, or two files of their scores, in every metric that both have, or in those named.

    Raises:
        UserError: no run and no scores, a metric that is not scored, no metric in common, other prompts.
    """
    sides = [_side(path) for path in (a, b)]
    _check_prompts(sides)
    labels = _labels(sides, (a, b))
    first, second = (side._replace(label=label) for side, label in zip(sides, labels, strict=True))
    names = _names(first, second, metrics)
    current = {side.label: [file for file in side.files if file.metric in names] for side in (first, second)}
    categories = tuple(dict.fromkeys(p.category for p in first.run.prompt_set.prompts if p.category is not None))
    found: list[Contrast] = []
    refused: list[Refusal] = []
    remarks: list[str] = []
    held = metrics_of(current)
    for name in names:
        together = [metric for metric in held if metric.metric == name and len(metric.files) == 2]
        allowed = [
            metric for metric in together if not any(it.refused for it in metric.mismatches) and not _sizes(metric)
        ]
        if not allowed:
            refused.append(_nearest(name, first, second))
        for metric in allowed:
            found += metric_contrasts(first.run.prompt_set.sha256, labels, categories, metric)
            remarks += _remarks(metric, labels)
    return TwoRuns(first, second, judged(found), refused, list(dict.fromkeys(remarks)))


def lines(of: TwoRuns, by_category: bool = False) -> list[str]:
    """Returns a line for each difference: who is better by how much, or that nobody can say."""
    shown = [c for c in of.contrasts if by_category or c.category is None]
    shown = [c for c in shown if c.subject.main or c.subject.higher_is_better is not None]
    heads = [_head(contrast) for contrast in shown]
    width = max(map(len, heads), default=0)
    return [f"{head.ljust(width)}  {_words(contrast)}" for head, contrast in zip(heads, shown, strict=True)]


def refusal(of: TwoRuns) -> str:
    """Returns what must not be subtracted, and the fields that differ, in one line; empty where all was compared."""
    a, b = of.a.label, of.b.label
    said = []
    for it in of.refused:
        fields = "; ".join(
            f"{field} is {_shown(one)} ({a}) and {_shown(two)} ({b})" for field, (one, two) in it.fields.items()
        )
        said.append(f"{it.metric} is not compared, for the protocols differ: {fields}")
    if not said:
        return ""
    return f"{'. '.join(said)}; score both with the same options, on equally many images"


def to_json(of: TwoRuns) -> dict[str, Any]:
    """Returns everything as plain data."""
    rows = []
    for contrast in of.contrasts:
        row = {name: getattr(contrast, name) for name in Contrast.__dataclass_fields__ if name != "subject"}
        row["interval"] = contrast.interval._asdict() if contrast.interval else None
        rows.append(contrast.subject._asdict() | row)
    sides = {
        key: {"label": side.label, "system": side.run.manifest.system.name, "run": str(side.run.path)}
        for key, side in (("a", of.a), ("b", of.b))
    }
    refused = [
        {"metric": it.metric, "fields": {key: list(both) for key, both in it.fields.items()}} for it in of.refused
    ]
    return {**sides, "comparisons": rows, "refused": refused, "remarks": list(of.remarks)}


def _side(path: Path) -> Side:
    if path.suffix == ".npz" and path.is_file():
        raise UserError(
            f"{path} is a file of statistics and no scored run; its distance from a run is a metric's: "
            f"drawbench score RUN --metric fid --reference {path}"
        )
    single = path.suffix == ".json" and path.is_file() and path.parent.name == "scores"
    run = Run.open(path.parent.parent if single else path)
    files = [read_scores(path)] if single else list(run.score_files())
    images = images_digest(run.drawn())
    current = [file for file in files if file.images_sha256 == images]
    if not current:
        why = "has scores that are older than its images" if files else "has no scores"
        named = files[0].metric if files else "NAME"
        raise UserError(f"{path} {why}; score it: drawbench score {run.path} --metric {named}")
    return Side(run.manifest.system.name, run, current)


def _check_prompts(sides: Sequence[Side]) -> None:
    one, two = (side.run.prompt_set for side in sides)
    if one.sha256 != two.sha256:
        raise UserError(
            f"{sides[0].run.path} is drawn for {one.name} ({one.sha256[:8]}) and {sides[1].run.path} for {two.name} "
            f"({two.sha256[:8]}): numbers of different prompts are not subtracted; draw one prompt set by both systems"
        )


def _labels(sides: Sequence[Side], paths: tuple[Path, Path]) -> list[str]:
    for labels in (
        [side.label for side in sides],
        [side.run.path.resolve().name for side in sides],
        [str(path) for path in paths],
    ):
        if len(set(labels)) == 2:
            return labels
    raise UserError(f"{paths[0]} is given twice; give two runs")


def _names(a: Side, b: Side, wanted: Sequence[str]) -> list[str]:
    """Returns the metrics to compare in, the first side's order first."""
    own = [list(dict.fromkeys(file.metric for file in side.files)) for side in (a, b)]
    for name in wanted:
        for side, has in zip((a, b), own, strict=True):
            if name not in has:
                raise UserError(
                    f"{side.run.path} has no scores of {name!r}{did_you_mean(name, has)} (it has: {', '.join(has)}); "
                    f"score it: drawbench score {side.run.path} --metric {name}"
                )
    both = [name for name in own[0] if name in own[1]]
    if not both:
        raise UserError(
            f"{a.run.path} is scored by {listed(own[0])} and {b.run.path} by {listed(own[1])}: nothing that both have; score "
            f"them alike: drawbench score {a.run.path} {b.run.path} --metric {own[0][0]}"
        )
    return [name for name in both if not wanted or name in wanted]


def _nearest(name: str, a: Side, b: Side) -> Refusal:
    """Returns the difference of the two protocols that are most alike, of those under which each side was scored."""
    owned = [[file for file in side.files if file.metric == name] for side in (a, b)]
    found = [unlike(one, two) for one in owned[0] for two in owned[1]]
    return Refusal(name, min(found, key=len))


def _sizes(metric: MetricScores) -> bool:
    """Says whether a metric of whole sets has sets of two sizes, which moves its value."""
    return any(SIZE_FIELD in it.fields for it in metric.mismatches) and any(o.kind == "set" for o in metric.outputs)


def _remarks(metric: MetricScores, labels: Sequence[str]) -> Iterator[str]:
    for it in metric.mismatches:
        if SIZE_FIELD in it.fields:
            one, two = it.fields[SIZE_FIELD]
            yield f"{labels[0]} has {one} images and {labels[1]} {two}: differences are over the prompts that both have"
    if by := versions(metric):
        who = ", ".join(f"{version} ({listed(systems)})" for version, systems in by.items())
        yield f"{metric.label} was scored by drawbench {who}; score both again with one version"
    for label, file in metric.files.items():
        if not file.verified:
            yield f"{metric.label} of {label}: unverified on published weights"


def _head(contrast: Contrast) -> str:
    arrow = {True: "↑", False: "↓", None: ""}[contrast.subject.higher_is_better]
    named = [
        contrast.subject.metric,
        *([contrast.subject.output] if contrast.subject.output != contrast.subject.metric else []),
    ]
    return (
        " ".join([*named, arrow, *([f"[{contrast.category}]"] if contrast.category else [])]).replace("  ", " ").strip()
    )


def _words(contrast: Contrast) -> str:
    a, b, value, interval = contrast.a, contrast.b, contrast.value, contrast.interval
    if value is None:
        return f"not compared: {contrast.reason}"
    places = decimals([interval], [value], least_decimals(contrast.subject.kind))
    p = f", p (Holm) {p_value(contrast.p_holm)}" if contrast.p_holm is not None else ""
    over = f" ({counted(contrast.n_prompts, 'prompt')})"
    why = f"; {contrast.reason}" if contrast.reason else ""
    if contrast.verdict == "better" and contrast.better is not None:
        winner, loser = (a, b) if contrast.better == a else (b, a)
        if value < 0 and interval is not None:
            interval = interval._replace(low=-interval.high, high=-interval.low)
        size = f"{number(abs(value), places)} {bounds(interval, places)}".strip()
        return f"{winner} better than {loser} by {size}{p}{over}{why}"
    size = f"{a} − {b} = {signed(value, places)} {bounds(interval, places)}".strip()
    if contrast.verdict == "not distinguishable":
        return f"not distinguishable: {size}{p}{over}{why}"
    return f"{size}{p}{over}{why}"


def _shown(value: object) -> str:
    text = "not set" if value is None else str(value)
    return text[:12] + "…" if len(text) == 64 and all(letter in "0123456789abcdef" for letter in text) else text
