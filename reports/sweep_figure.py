"""The figures of a sweep: which points are joined, which anchors stand beside them, and what a figure's caption says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from drawbench.metrics.scoring import LEFT_OUT
from drawbench.reports.curve_plot import CURVES, Curve, Spot, alone, banded, curve_plot
from drawbench.reports.digits import counted, listed
from drawbench.reports.sweep_plots import Plot, Quantity
from drawbench.reports.sweep_points import Sweep, along, is_numeric, of_curves, reading_of, score_of, swept

REFERENCE = "reference sha256"
"""The field of a protocol that says that a metric compares with a reference."""


def curves(sweep: Sweep, plot: Plot) -> list[Curve]:
    """Returns a figure's curves: along the x axis's option, or the first; one for each combination of the others.

    Points without a value are left out, and the line breaks there.
    """
    key, found = along(sweep, plot), []
    for name, points in of_curves(sweep, key):
        spots, joined = [], False
        for point in points:
            x, y = (reading_of(sweep, point, quantity) for quantity in plot)
            if x is not None and y is not None:
                spots.append(Spot(point.values[key], x, y, joined))
            joined = x is not None and y is not None
        found.append(Curve(name, spots))
    return [curve for curve in found if curve.spots]


def anchored(sweep: Sweep, plot: Plot) -> list[Spot]:
    """Returns the anchors of a figure; where x is an option, of which an anchor has no value, x is None."""
    found = []
    for anchor in sweep.anchors:
        x, y = (reading_of(sweep, anchor, quantity) for quantity in plot)
        if y is not None and (x is not None or plot.x.metric is None):
            found.append(Spot(anchor.label, x, y, False))
    return found


def too_many(sweep: Sweep, plot: Plot) -> str:
    """Returns why a figure is not drawn; empty where it is."""
    count = len(curves(sweep, plot))
    if count <= CURVES:
        return ""
    return (
        f"the figure {plot.y.label} against {plot.x.label} is left out: {count} curves, of which {CURVES} can be told "
        "apart; sweep fewer values of the options after the first"
    )


def figure(sweep: Sweep, plot: Plot) -> Markup:
    """Returns a figure; empty where nothing of it has a value, or too many curves."""
    drawn = curves(sweep, plot)
    if not drawn or too_many(sweep, plot):
        return Markup("")
    names = [] if is_numeric(sweep, plot.x) else swept(sweep)[plot.x.name]
    exact = plot.x.metric is None
    if exact:
        drawn = [Curve(c.name, [spot._replace(label="") for spot in c.spots]) for c in drawn]
    x_title = plot.x.label if exact else f"{plot.x.label}   (beside each point: {along(sweep, plot)})"
    said = f"{counted(len(drawn), 'curve')}; {caption(sweep, plot)} The table has the numbers."
    title = f"{plot.y.label} against {plot.x.label}"
    return curve_plot(drawn, x_title, plot.y.label, title, said, names, exact=exact, anchors=anchored(sweep, plot))


def caption(sweep: Sweep, plot: Plot) -> str:
    """Returns what a figure shows, in a few sentences: as it is drawn, not as it is mostly drawn."""
    key = along(sweep, plot)
    exact = plot.x.metric is None
    per_others = [name for name in sweep.points[0].values if name != key]
    per = f", a curve for each {listed(per_others)}" if per_others else ""
    head = f"{plot.y.label} against {plot.x.label}{'' if exact else f', along {key}'}{per}"
    return " ".join([f"{head}; {_uncertainty(sweep, plot)}{_gaps(sweep, plot)}.", *_beside(sweep, plot)])


def _uncertainty(sweep: Sweep, plot: Plot) -> str:
    drawn, anchors = curves(sweep, plot), anchored(sweep, plot)
    spots = [spot for curve in drawn for spot in curve.spots] + anchors
    of_y = [spot.y.interval for spot in spots if spot.y.interval]
    of_x = [spot.x.interval for spot in spots if spot.x and spot.x.interval]
    level = " and ".join(dict.fromkeys(f"{100 * it.level:g} %" for it in [*of_x, *of_y]))
    where = "" if len(of_y) == len(spots) else ", where there is one"
    if plot.x.metric is None:
        bands = any(banded(curve) for curve in drawn)
        bars = any(alone(curve) for curve in drawn) or any(spot.y.interval for spot in anchors)
        shapes = " and ".join(["bands"] * bands + ["bars"] * bars)
        return (
            f"{shapes}: {level} intervals of {_bare(plot.y)}{where}" if of_y else f"no intervals{_why(sweep, plot.y)}"
        )
    if of_x and of_y:
        where = "" if len(of_x) == len(of_y) == len(spots) else ", where there is one"
        return f"crosses: {level} intervals in both directions{where}"
    if not of_x and not of_y:
        return f"no intervals{_why(sweep, plot.y)}"
    has, lacks = (plot.x, plot.y) if of_x else (plot.y, plot.x)
    where = "" if len(of_x or of_y) == len(spots) else ", where there is one"
    return f"bars: {level} intervals of {_bare(has)}{where}; {_bare(lacks)} has none{_why(sweep, lacks)}"


def _why(sweep: Sweep, quantity: Quantity) -> str:
    """Returns the reason, in brackets, where every point lacks an interval for the same one."""
    scores = [score_of(it, quantity) for it in sweep.everyone]
    reasons = {score.reason for score in scores if score is not None and score.interval is None}
    reason = reasons.pop() if len(reasons) == 1 else None
    return f" ({LEFT_OUT.partition(' (')[0] if reason == LEFT_OUT else reason})" if reason else ""


def _gaps(sweep: Sweep, plot: Plot) -> str:
    shown = sum(len(curve.spots) for curve in curves(sweep, plot))
    lost = len(sweep.points) - shown
    return f"; {counted(lost, 'point')} without a value left out, and no line leads past" if lost else ""


def _beside(sweep: Sweep, plot: Plot) -> Iterator[str]:
    """Yields what the anchors are, and of a distance what it is from and what was remarked of it."""
    if anchors := anchored(sweep, plot):
        where = ", right of the curves, for no value of the option is theirs" if plot.x.metric is None else ""
        names = listed(spot.label for spot in anchors)
        yield f"{'Star' if len(anchors) == 1 else 'Stars'}: {names}, beside the sweep{where}."
    for quantity in plot:
        if notes := references(sweep, quantity):
            yield f"{quantity.metric}: {'; '.join(notes)}."


def references(sweep: Sweep, quantity: Quantity) -> Sequence[str]:
    """Returns what was remarked of a metric that compares with a reference: which it is, and that few images move it."""
    files = [file for it in sweep.everyone for file in it.files if file.metric == quantity.metric]
    return list(dict.fromkeys(note for file in files if REFERENCE in file.protocol.fields for note in file.notes))


def _bare(quantity: Quantity) -> str:
    return quantity.label.rstrip(" ↑↓")
