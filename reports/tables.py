"""The tables of a report with their numbers as text, the same for HTML, Markdown and the terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from drawbench.interfaces import Score
from drawbench.reports.comparison import Comparison, Section
from drawbench.reports.digits import bounds, decimals, least_decimals, listed, number, p_value, signed
from drawbench.reports.metric_scores import SIZE_FIELD, MetricScores, OutputScores
from drawbench.reports.pairs import Contrast


class Cell(NamedTuple):
    """One system's value."""

    value: str
    interval: str
    n: str
    reason: str
    """Why there is no value or no interval."""
    warn: bool
    """Whether its protocol is not that of its neighbours."""


class Difference(NamedTuple):
    """One pair's difference and verdict."""

    a: str
    b: str
    value: str
    interval: str
    p: str
    verdict: str
    better: str | None
    reason: str
    n: str
    """The prompts that both have."""
    categories: Sequence[tuple[str, str]]
    """Who is better, or "differ", and the categories in which that holds by themselves."""


class Row(NamedTuple):
    """An output, or one category of it: every system's value, and the differences."""

    name: str
    cells: Mapping[str, Cell]
    differences: Sequence[Difference]
    overall: bool

    @property
    def n(self) -> str:
        """The images behind the values: once where all systems have as many."""
        return " / ".join(dict.fromkeys(cell.n for cell in self.cells.values()))


class Headline(NamedTuple):
    """A row of the first table."""

    section: Section
    metric: MetricScores
    output: OutputScores
    row: Row


def headlines(comparison: Comparison) -> list[Headline]:
    """Returns the first table: the main output of every metric on every prompt set."""
    return [
        Headline(section, metric, output, category_rows(comparison, section, metric, output)[0])
        for section in comparison.sections
        for metric in section.metrics
        for output in metric.outputs
        if output.main
    ]


def category_rows(comparison: Comparison, section: Section, metric: MetricScores, output: OutputScores) -> list[Row]:
    """Returns an output's table: all prompts first, then the categories in file order."""
    found = comparison.differences(section, metric, output)
    overall = [of_system[None] for of_system in output.scores.values() if None in of_system]
    places = decimals(
        [score.interval for score in overall], [score.value for score in overall], least_decimals(output.kind)
    )
    rows = [_row("All prompts", None, section, metric, output, found, places)]
    present = {category for of_system in output.scores.values() for category in of_system}
    own = [category for category in section.categories if category in present]
    return rows + [_row(category, category, section, metric, output, found, places) for category in own]


def direction(output: OutputScores) -> str:
    """Returns whether more is better, in words."""
    if output.higher_is_better is None:
        return "neither direction is better"
    return "higher is better" if output.higher_is_better else "lower is better"


def arrow(output: OutputScores) -> str:
    """Returns whether more is better, as an arrow; empty where neither is."""
    return "" if output.higher_is_better is None else "↑" if output.higher_is_better else "↓"


def protocol_warning(metric: MetricScores) -> str:
    """Returns in which fields the protocols differ; empty where they are the same."""
    fields = dict.fromkeys(field for it in metric.mismatches for field in it.fields if field != SIZE_FIELD)
    return f"protocols differ in {', '.join(fields)}" if fields else ""


def _row(
    name: str,
    category: str | None,
    section: Section,
    metric: MetricScores,
    output: OutputScores,
    found: Sequence[Contrast],
    places: int,
) -> Row:
    suspect = {system for it in metric.mismatches for system in (it.a, it.b) if it.refused}
    cells = {
        system: _cell(of_system[category], places, system in suspect)
        for system, of_system in output.scores.items()
        if category in of_system
    }
    parts = [contrast for contrast in found if contrast.category is not None]
    differences = [_difference(c, places, parts if category is None else ()) for c in found if c.category == category]
    return Row(name, {s: cells[s] for s in section.systems if s in cells}, differences, category is None)


def _cell(score: Score, places: int, warn: bool) -> Cell:
    if score.value is None:
        return Cell("–", "", f"{score.n:,}", score.reason or "no value", warn)
    reason = "" if score.interval else score.reason or "no interval"
    return Cell(number(score.value, places), bounds(score.interval, places), f"{score.n:,}", reason, warn)


def _difference(contrast: Contrast, places: int, parts: Sequence[Contrast]) -> Difference:
    c = contrast
    own = max(places, decimals([c.interval], [c.value]))
    tested = [part for part in parts if (part.a, part.b) == (c.a, c.b)]
    categories: dict[str, list[str]] = defaultdict(list)
    for part in tested:
        if part.verdict in ("better", "differ"):
            categories[part.better or "differ"].append(part.category or "")
    return Difference(
        a=c.a,
        b=c.b,
        value="" if c.value is None else signed(c.value, own),
        interval=bounds(c.interval, own),
        p=p_value(c.p_holm),
        verdict=f"{c.better} better" if c.better else c.verdict,
        better=c.better,
        reason=c.reason or "",
        n=f"{c.n_prompts:,}" if c.n_prompts else "",
        categories=[
            (better, f"all {len(names)}" if len(names) == len(tested) > 1 else listed(names))
            for better, names in categories.items()
        ],
    )
