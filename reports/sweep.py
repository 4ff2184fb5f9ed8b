"""A sweep on disk: what each point of the grid scored, as JSON, as a page with its curves, and the first curve as SVG."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from drawbench import __version__
from drawbench.files import write_atomic
from drawbench.interfaces import Score
from drawbench.protocol import differences
from drawbench.reports.curve_plot import Curve, Reading, Spot, curve_plot, standalone
from drawbench.reports.digits import bounds, counted, decimals, least_decimals, listed, number
from drawbench.reports.study import environment_for_pages
from drawbench.reports.sweep_plots import Plot, Quantity, arrow_of
from drawbench.scores import ScoreFile, score_to_json
from drawbench.store import Run

SCHEMA_VERSION = 1
ALONE = (
    "An interval is of its point alone. Points share prompts and seeds, so that a difference between two is surer than "
    "their intervals look: `drawbench report` on two of the runs tests it. A best point was chosen after looking."
)


class Scored(NamedTuple):
    """One point of the grid."""

    label: str
    values: Mapping[str, str]
    """Of the swept options, by key."""
    run: Run
    files: Sequence[ScoreFile]
    """One of each metric."""


class Sweep(NamedTuple):
    """What was swept, and what came of it."""

    system: str
    points: Sequence[Scored]
    """At least one, the first option varying fastest."""
    plots: Sequence[Plot]
    skipped: Mapping[str, str]
    """Metrics that were not scored, and why."""


class Cell(NamedTuple):
    """A value in a table."""

    value: str
    interval: str
    reason: str


def write_sweep(sweep: Sweep, folder: Path) -> list[Path]:
    """Writes ``sweep.json``, ``sweep.svg`` (the first figure, where it has a point) and ``sweep.html``; returns the files."""
    figures = [(plot, figure(sweep, plot)) for plot in sweep.plots]
    figures = [(plot, drawn) for plot, drawn in figures if drawn]
    write_atomic(
        folder / "sweep.json",
        (json.dumps(content(sweep), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
    )
    files = [folder / "sweep.json"]
    if figures:
        write_atomic(folder / "sweep.svg", standalone(figures[0][1]).encode())
        files.append(folder / "sweep.svg")
    page = (
        environment_for_pages()
        .get_template("sweep.html")
        .render(
            title=title(sweep),
            warnings=warnings(sweep),
            best=[text for text in (best(sweep, it) for it in _mains(sweep)) if text],
            figures=[(caption(sweep, plot), drawn) for plot, drawn in figures],
            keys=list(sweep.points[0].values),
            columns=_mains(sweep),
            rows=[
                (point, list(cells))
                for point, *cells in zip(sweep.points, *(_cells(sweep, it) for it in _mains(sweep)), strict=True)
            ],
            methods=methods(sweep),
            folder=folder.name,
        )
    )
    write_atomic(folder / "sweep.html", page.encode())
    return [folder / "sweep.html", *files]


def content(sweep: Sweep) -> dict[str, Any]:
    """Returns everything that is known, ready for JSON without NaN; a protocol stands once, by its hash."""
    first = sweep.points[0].run
    protocols = {file.protocol.hash: file for point in sweep.points for file in point.files}
    return {
        "schema_version": SCHEMA_VERSION,
        "drawbench": __version__,
        "system": sweep.system,
        "generator": first.manifest.system.generator,
        "prompt_set": {"name": first.manifest.prompt_set, "sha256": first.manifest.prompt_set_sha256},
        "seed": first.manifest.seed,
        "dtype": first.manifest.dtype,
        "swept": {key: list(values) for key, values in _swept(sweep).items()},
        "points": [
            {
                "label": point.label,
                "run": point.run.path.name,
                "values": dict(point.values),
                "system": point.run.manifest.system.digest,
                "planned": len(point.run.items()),
                "drawn": len(point.run.drawn()),
                "scores": [
                    score_to_json(score) | {"protocol": score.protocol.hash}
                    for file in point.files
                    for score in file.scores
                ],
            }
            for point in sweep.points
        ],
        "plots": [
            {
                "x": plot.x._asdict(),
                "y": plot.y._asdict(),
                "curves": [
                    {
                        "name": curve.name,
                        "points": [
                            {"label": spot.label, "x": _reading(spot.x), "y": _reading(spot.y)} for spot in curve.spots
                        ],
                    }
                    for curve in curves(sweep, plot)
                ],
            }
            for plot in sweep.plots
        ],
        "protocols": {
            key: {"metric": file.metric, "fields": dict(file.protocol.fields), "verified": file.verified}
            for key, file in protocols.items()
        },
        "warnings": warnings(sweep),
        "skipped": dict(sweep.skipped),
    }


def _reading(reading: Reading) -> dict[str, Any]:
    return {"value": reading.value, "interval": reading.interval._asdict() if reading.interval else None}


def curves(sweep: Sweep, plot: Plot) -> list[Curve]:
    """Returns a figure's curves: along the x axis's option, or the first; one for each combination of the others.

    Points without a value are left out; a word's place on the x axis is its number among the option's values.
    """
    along = plot.x.name if plot.x.metric is None else next(iter(sweep.points[0].values))

    def others(point: Scored) -> str:
        return ", ".join(f"{key}={value}" for key, value in point.values.items() if key != along)

    names = list(dict.fromkeys(map(others, sweep.points)))
    found = []
    for name, points in groupby(sorted(sweep.points, key=lambda it: names.index(others(it))), key=others):
        spots = []
        for point in points:
            x, y = (_value(sweep, point, quantity) for quantity in plot)
            if x is not None and y is not None:
                spots.append(Spot(point.values[along], x, y))
        found.append(Curve(name, spots))
    return [curve for curve in found if curve.spots]


def figure(sweep: Sweep, plot: Plot) -> Markup:
    """Returns a figure; empty where nothing of it has a value."""
    drawn = curves(sweep, plot)
    names = [] if _is_numeric(sweep, plot.x) else _swept(sweep)[plot.x.name]
    labelled = plot.x.metric is not None
    if not labelled:
        drawn = [Curve(c.name, [spot._replace(label="") for spot in c.spots]) for c in drawn]
    along = next(iter(sweep.points[0].values))
    x_title = f"{plot.x.label}   (beside each point: {along})" if labelled else plot.x.label
    said = f"{counted(len(drawn), 'curve')}; {caption(sweep, plot)} The table has the numbers."
    return curve_plot(drawn, x_title, plot.y.label, f"{plot.y.label} against {plot.x.label}", said, names)


def caption(sweep: Sweep, plot: Plot) -> str:
    """Returns what a figure shows, in a sentence or two."""
    options = list(sweep.points[0].values)
    swept = plot.x.metric is None
    along = plot.x.name if swept else options[0]
    others = [key for key in options if key != along]
    per = f", a curve for each {listed(others)}" if others else ""
    what = "bands: 95 % intervals" if swept else "crosses: 95 % intervals in both directions"
    return f"{plot.y.label} against {plot.x.label}{'' if swept else f', along {along}'}{per}; {what}."


def title(sweep: Sweep) -> str:
    """Returns what was swept over what."""
    swept = listed(f"{key} ({len(values)})" for key, values in _swept(sweep).items())
    return f"{sweep.system} on {sweep.points[0].run.manifest.prompt_set}: {counted(len(sweep.points), 'point')} over {swept}"


def best(sweep: Sweep, quantity: Quantity) -> str:
    """Returns at which point a metric is best; empty where neither direction is better."""
    found = [(s.value, s, p) for p in sweep.points if (s := _score(p, quantity)) and s.value is not None]
    if not found or not quantity.arrow:
        return ""
    choose = max if quantity.arrow == "↑" else min
    value, score, point = choose(found, key=lambda it: it[0])
    places = decimals([score.interval], [value], least_decimals(score.kind))
    which = "highest" if quantity.arrow == "↑" else "lowest"
    text = f"{number(value, places)} {bounds(score.interval, places)}".strip()
    return f"{quantity.label.rstrip(' ↑↓')} is {which} at {point.label}: {text}"


def warnings(sweep: Sweep) -> list[str]:
    """Returns what stands in the way of holding the points against each other."""
    said = []
    for point in sweep.points:
        planned, drawn = len(point.run.items()), len(point.run.drawn())
        if drawn < planned:
            said.append(f"{point.label}: {planned - drawn} of {counted(planned, 'planned image')} are not drawn")
    for files in zip(*(point.files for point in sweep.points), strict=True):
        fields = dict.fromkeys(
            field for file in files[1:] for field in differences(files[0].protocol.fields, file.protocol.fields)
        )
        if fields:
            said.append(
                f"{files[0].metric}: the points differ in {listed(fields)}, and must not be held against each other; the "
                "same command with the widest --limit and --samples that was given here makes them alike"
            )
    if any(not file.verified for file in sweep.points[0].files):
        named = listed(file.metric for file in sweep.points[0].files if not file.verified)
        said.append(f"{named}: unverified on published weights")
    return [*said, *(f"{metric} was skipped: {reason}" for metric, reason in sweep.skipped.items())]


def methods(sweep: Sweep) -> list[str]:
    """Returns how the numbers were made."""
    scores = [row for point in sweep.points for quantity in _mains(sweep) if (row := _score(point, quantity))]
    kinds = dict.fromkeys(
        (row.metric, row.interval.method, row.interval.over, row.interval.level) for row in scores if row.interval
    )
    why = dict.fromkeys((row.metric, row.reason) for row in scores if row.interval is None and row.reason)
    return [
        "Every point was drawn with the same seeds, so that neighbours differ by the option and not by the noise.",
        *(f"{metric}: {level:.0%} intervals over {over}: {method}." for metric, method, over, level in kinds),
        *(f"{metric} has no interval: {reason}." for metric, reason in why),
        ALONE,
        *dict.fromkeys(
            f"{file.metric}: {note}." for point in sweep.points for file in point.files for note in file.notes
        ),
    ]


def table_lines(sweep: Sweep) -> list[str]:
    """Returns the table of main outputs for a terminal, and the warnings."""
    keys, mains = list(sweep.points[0].values), _mains(sweep)
    columns = [_cells(sweep, quantity) for quantity in mains]
    rows = [[*keys, *(quantity.label for quantity in mains), "n"]]
    for point, *cells in zip(sweep.points, *columns, strict=True):
        shown = [f"{cell.value} {cell.interval or cell.reason}".strip() for cell in cells]
        rows.append([*point.values.values(), *shown, str(len(point.run.drawn()))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    said = [f"! {text}" for text in warnings(sweep)]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:], *said]


def _cells(sweep: Sweep, quantity: Quantity) -> list[Cell]:
    rows = [_score(point, quantity) for point in sweep.points]
    there = [row for row in rows if row is not None]
    least = max((least_decimals(row.kind) for row in there), default=0)
    places = decimals((row.interval for row in there), (row.value for row in there), least)
    return [
        Cell("–", "", (row.reason or "") if row else "not scored")
        if row is None or row.value is None
        else Cell(number(row.value, places), bounds(row.interval, places), row.reason or "")
        for row in rows
    ]


def _mains(sweep: Sweep) -> list[Quantity]:
    """Returns the metrics' main outputs."""
    found = []
    for file in sweep.points[0].files:
        row = next(row for row in file.scores if row.output == file.main)
        found.append(Quantity(file.metric, file.main, arrow_of(row)))
    return found


def _value(sweep: Sweep, point: Scored, quantity: Quantity) -> Reading | None:
    if quantity.metric is None:
        text = point.values[quantity.name]
        return Reading(float(text) if _is_numeric(sweep, quantity) else _swept(sweep)[quantity.name].index(text))
    score = _score(point, quantity)
    return None if score is None or score.value is None else Reading(score.value, score.interval)


def _score(point: Scored, quantity: Quantity) -> Score | None:
    """Returns an output's score over all prompts."""
    rows = (row for file in point.files if file.metric == quantity.metric for row in file.scores)
    return next((row for row in rows if row.output == quantity.name and row.category is None), None)


def _swept(sweep: Sweep) -> dict[str, list[str]]:
    """Returns the values of each swept option, in order."""
    keys = sweep.points[0].values
    return {key: list(dict.fromkeys(point.values[key] for point in sweep.points)) for key in keys}


def _is_numeric(sweep: Sweep, quantity: Quantity) -> bool:
    """Says whether an axis has numbers: all but an option of which some value is a word."""
    if quantity.metric is not None:
        return True
    return all(_is_number(text) for text in _swept(sweep)[quantity.name])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
