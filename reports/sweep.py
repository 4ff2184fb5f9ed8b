"""A sweep on disk: what each point of the grid scored, as JSON, as a page with its curves, and the first curve as SVG."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from drawbench import __version__
from drawbench.files import write_atomic
from drawbench.reports import sweep_pairs
from drawbench.reports.curve_plot import standalone
from drawbench.reports.digits import bounds, decimals, least_decimals, number
from drawbench.reports.study import environment_for_pages
from drawbench.reports.sweep_figure import anchored, caption, curves, figure
from drawbench.reports.sweep_pairs import Difference, differences_of
from drawbench.reports.sweep_plots import Plot, Quantity
from drawbench.reports.sweep_points import (
    Anchor,
    Scored,
    Sweep,
    along,
    mains,
    of_curves,
    reading_of,
    score_of,
    swept,
)
from drawbench.reports.sweep_words import best, methods, title, warnings
from drawbench.scores import score_to_json

__all__ = ["Anchor", "Scored", "Sweep", "Written", "write_points", "write_sweep"]

SCHEMA_VERSION = 1
MANY = 12
"""Beyond this many differences, their table is folded."""


class Cell(NamedTuple):
    """A value in a table."""

    value: str
    interval: str
    reason: str


class Written(NamedTuple):
    """What was written of a sweep, and what of it the terminal shows."""

    files: Sequence[Path]
    """The page first."""
    lines: Sequence[str]


def write_sweep(sweep: Sweep, folder: Path) -> Written:
    """Writes ``sweep.json``, ``sweep.svg`` (the first figure that has a point) and ``sweep.html``."""
    found = differences_of(sweep)
    figures = [(plot, figure(sweep, plot)) for plot in sweep.plots]
    figures = [(plot, drawn) for plot, drawn in figures if drawn]
    _write_json(sweep, folder, found)
    files = [folder / "sweep.json"]
    if figures:
        plot, drawn = figures[0]
        write_atomic(folder / "sweep.svg", standalone(drawn, caption(sweep, plot)).encode())
        files.append(folder / "sweep.svg")
    columns = [_cells(sweep, quantity) for quantity in mains(sweep)]
    page = (
        environment_for_pages()
        .get_template("sweep.html")
        .render(
            title=title(sweep),
            warnings=warnings(sweep, found),
            best=[text for text in (best(sweep, it) for it in mains(sweep)) if text],
            figures=[(caption(sweep, plot), drawn) for plot, drawn in figures],
            keys=list(sweep.points[0].values),
            columns=mains(sweep),
            rows=[(it, list(cells)) for it, *cells in zip(sweep.everyone, *columns, strict=True)],
            points=len(sweep.points),
            groups=sweep_pairs.groups(sweep, found),
            differences=len(found),
            single=sweep_pairs.single(sweep),
            design=sweep_pairs.design(sweep, found),
            summary=sweep_pairs.summary(found),
            many=MANY,
            methods=methods(sweep, found),
            folder=folder.name,
        )
    )
    write_atomic(folder / "sweep.html", page.encode())
    return Written([folder / "sweep.html", *files], _table_lines(sweep, found))


def write_points(sweep: Sweep, folder: Path) -> None:
    """Writes ``sweep.json`` of the points that there are so far; it says that it is not finished, and compares nothing.

    What is there is kept while it knows more: a file with a point that has not had its turn yet, or with all of these and
    their differences.
    """
    labels, finished = _there(folder / "sweep.json")
    here = {point.label for point in sweep.points}
    if labels < here or (labels == here and not finished):
        _write_json(sweep, folder, None)


def _there(file: Path) -> tuple[set[str], bool]:
    """Returns the labels of the points that a file has, and whether it says that it is finished; none of one that is damaged."""
    try:
        content = json.loads(file.read_bytes())
        return {str(point["label"]) for point in content["points"]}, bool(content["finished"])
    except (OSError, ValueError, KeyError, TypeError):
        return set(), False


def _write_json(sweep: Sweep, folder: Path, found: Sequence[Difference] | None) -> None:
    text = json.dumps(content(sweep, found), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(folder / "sweep.json", text.encode())


def content(sweep: Sweep, found: Sequence[Difference] | None) -> dict[str, Any]:
    """Returns everything that is known, ready for JSON without NaN; a protocol stands once, by its hash.

    ``found`` is None where points are still to come.
    """
    first = sweep.points[0].run
    protocols = {file.protocol.hash: file for it in sweep.everyone for file in it.files}
    compared = {"comparisons": None, "comparisons_are": None} if found is None else sweep_pairs.to_json(sweep, found)
    return {
        "schema_version": SCHEMA_VERSION,
        "drawbench": __version__,
        "finished": found is not None,
        "system": sweep.system,
        "generator": first.manifest.system.generator,
        "prompt_set": {"name": first.manifest.prompt_set, "sha256": first.manifest.prompt_set_sha256},
        "seed": first.manifest.seed,
        "dtype": first.manifest.dtype,
        "swept": {key: list(values) for key, values in swept(sweep).items()},
        "points": [{**_facts(point), "values": dict(point.values)} for point in sweep.points],
        "anchors": [{**_facts(it), "generator": it.run.manifest.system.generator} for it in sweep.anchors],
        "plots": [_plot(sweep, plot) for plot in sweep.plots],
        **compared,
        "protocols": {
            key: {
                "metric": file.metric,
                "fields": dict(file.protocol.fields),
                "verified": file.verified,
                "notes": list(file.notes),
            }
            for key, file in protocols.items()
        },
        "warnings": warnings(sweep, found or ()),
        "skipped": dict(sweep.skipped),
    }


def _facts(it: Scored | Anchor) -> dict[str, Any]:
    return {
        "label": it.label,
        "run": it.run.path.resolve().name,
        "system": it.run.manifest.system.digest,
        "planned": len(it.run.items()),
        "drawn": len(it.run.drawn()),
        "scores": [
            score_to_json(score) | {"protocol": score.protocol.hash} for file in it.files for score in file.scores
        ],
    }


def _plot(sweep: Sweep, plot: Plot) -> dict[str, Any]:
    key = along(sweep, plot)
    drawn = {curve.name: curve for curve in curves(sweep, plot)}
    stars = [spot.label for spot in anchored(sweep, plot)]
    return {
        "x": plot.x._asdict(),
        "y": plot.y._asdict(),
        "caption": caption(sweep, plot),
        "curves": [
            {
                "name": name,
                "points": [
                    {"label": point.values[key], **_readings(sweep, point, plot)}
                    for point in points
                    if all(reading_of(sweep, point, quantity) for quantity in plot)
                ],
            }
            for name, points in of_curves(sweep, key)
            if name in drawn
        ],
        "anchors": [
            {"label": anchor.label, **_readings(sweep, anchor, plot)}
            for anchor in sweep.anchors
            if anchor.label in stars
        ],
    }


def _readings(sweep: Sweep, it: Scored | Anchor, plot: Plot) -> dict[str, Any]:
    return {axis: _reading(sweep, it, quantity) for axis, quantity in (("x", plot.x), ("y", plot.y))}


def _reading(sweep: Sweep, it: Scored | Anchor, quantity: Quantity) -> dict[str, Any] | None:
    """Returns a number with its interval and, where it was measured, its n and the hash of its protocol."""
    reading, score = reading_of(sweep, it, quantity), score_of(it, quantity)
    if reading is None:
        return None
    found = {"value": reading.value, "interval": reading.interval._asdict() if reading.interval else None}
    return found if score is None else {**found, "n": score.n, "protocol": score.protocol.hash}


def _table_lines(sweep: Sweep, found: Sequence[Difference]) -> list[str]:
    """Returns the table of main outputs for a terminal, what the differences say, and the warnings."""
    keys, of_metrics = list(sweep.points[0].values), mains(sweep)
    columns = [_cells(sweep, quantity) for quantity in of_metrics]
    rows = [[*keys, *(quantity.label for quantity in of_metrics), "n"]]
    for it, *cells in zip(sweep.everyone, *columns, strict=True):
        shown = [f"{cell.value} {cell.interval or cell.reason}".strip() for cell in cells]
        named = [it.label, *(["–"] * (len(keys) - 1))] if isinstance(it, Anchor) else it.values.values()
        rows.append([*named, *shown, str(len(it.run.drawn()))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    told = [sweep_pairs.summary(found)] if sweep_pairs.family(found) else []
    said = [f"! {text}" for text in warnings(sweep, found)]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:], *told, *said]


def _cells(sweep: Sweep, quantity: Quantity) -> list[Cell]:
    rows = [score_of(it, quantity) for it in sweep.everyone]
    there = [row for row in rows if row is not None]
    least = max((least_decimals(row.kind) for row in there), default=0)
    places = decimals((row.interval for row in there), (row.value for row in there), least)
    return [
        Cell("–", "", (row.reason or "") if row else "not scored")
        if row is None or row.value is None
        else Cell(number(row.value, places), bounds(row.interval, places), row.reason or "")
        for row in rows
    ]
