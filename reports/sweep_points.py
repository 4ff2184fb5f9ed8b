"""What a sweep is made of: the points of its grid with their scores, and the runs that stand beside it as anchors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from drawbench.interfaces import Score
from drawbench.reports.curve_plot import Reading
from drawbench.reports.sweep_plots import Plot, Quantity, arrow_of
from drawbench.scores import ScoreFile
from drawbench.store import Run


class Scored(NamedTuple):
    """One point of the grid."""

    label: str
    values: Mapping[str, str]
    """Of the swept options, by key."""
    run: Run
    files: Sequence[ScoreFile]
    """One of each metric; none where not one image was drawn."""


class Anchor(NamedTuple):
    """A finished run of the same prompts that is no point of the grid, but shows what its numbers can be."""

    label: str
    run: Run
    files: Sequence[ScoreFile]


class Sweep(NamedTuple):
    """What was swept, and what came of it."""

    system: str
    points: Sequence[Scored]
    """At least one, the first option varying fastest."""
    plots: Sequence[Plot]
    skipped: Mapping[str, str]
    """Metrics that were not scored, and why."""
    anchors: Sequence[Anchor] = ()

    @property
    def everyone(self) -> Sequence[Scored | Anchor]:
        """The points, then the anchors."""
        return [*self.points, *self.anchors]


def mains(sweep: Sweep) -> list[Quantity]:
    """Returns the metrics' main outputs."""
    found = []
    for file in next((point.files for point in sweep.points if point.files), []):
        row = next(row for row in file.scores if row.output == file.main)
        found.append(Quantity(file.metric, file.main, arrow_of(row)))
    return found


def score_of(it: Scored | Anchor, quantity: Quantity) -> Score | None:
    """Returns an output's score over all prompts; None where it was not scored."""
    rows = (row for file in it.files if file.metric == quantity.metric for row in file.scores)
    return next((row for row in rows if row.output == quantity.name and row.category is None), None)


def reading_of(sweep: Sweep, it: Scored | Anchor, quantity: Quantity) -> Reading | None:
    """Returns where something stands on an axis; a word's place is its number among the option's values."""
    if quantity.metric is None:
        if isinstance(it, Anchor):
            return None
        text = it.values[quantity.name]
        return Reading(float(text) if is_numeric(sweep, quantity) else swept(sweep)[quantity.name].index(text))
    score = score_of(it, quantity)
    return None if score is None or score.value is None else Reading(score.value, score.interval)


def along(sweep: Sweep, plot: Plot) -> str:
    """Returns the option along which a figure's curves run: the x axis's, or the first."""
    return plot.x.name if plot.x.metric is None else next(iter(sweep.points[0].values))


def others(point: Scored, key: str) -> str:
    """Returns the values of all options but one: what a curve along that one is called; empty where there is no other."""
    return ", ".join(f"{name}={value}" for name, value in point.values.items() if name != key)


def of_curves(sweep: Sweep, key: str) -> Iterator[tuple[str, list[Scored]]]:
    """Yields each curve along an option: its name, and its points in the order of the grid."""
    for name in dict.fromkeys(others(point, key) for point in sweep.points):
        yield name, [point for point in sweep.points if others(point, key) == name]


def swept(sweep: Sweep) -> dict[str, list[str]]:
    """Returns the values of each swept option, in order."""
    keys = sweep.points[0].values
    return {key: list(dict.fromkeys(point.values[key] for point in sweep.points)) for key in keys}


def is_numeric(sweep: Sweep, quantity: Quantity) -> bool:
    """Says whether an axis has numbers: all but an option of which some value is a word."""
    if quantity.metric is not None:
        return True
    return all(_is_number(text) for text in swept(sweep)[quantity.name])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
