"""A plot of curves whose points are uncertain in both directions, as SVG: inline on a page, or a file of its own.

Where x is known exactly (a value that was swept) the uncertainty of y is a band, else each point has a cross.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from drawbench.interfaces import Interval
from drawbench.reports.interval_plot import marker
from drawbench.reports.ticks import Span, span

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 640, 66, 18, 14, 46
PLOT = 330
"""Height of the plot itself, in the same units."""
KEY = 18
"""Height of a line of the key."""
LETTER = 6.2
"""Width of a letter of 11 units, about."""


class Reading(NamedTuple):
    """A number, and how sure it is."""

    value: float
    interval: Interval | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """The interval's ends; the number itself twice where there is none."""
        return (self.interval.low, self.interval.high) if self.interval else (self.value, self.value)


class Spot(NamedTuple):
    """One point of a curve."""

    label: str
    x: Reading
    y: Reading


class Curve(NamedTuple):
    """Points in the order in which they are joined."""

    name: str
    spots: Sequence[Spot]


class Box(NamedTuple):
    """A rectangle, on the page."""

    left: float
    top: float
    right: float
    bottom: float

    def shared(self, other: Box) -> float:
        """Returns the area that both have."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)


class Frame(NamedTuple):
    """Maps values to places on the page."""

    x_axis: Span
    y_axis: Span
    top: float

    @property
    def bottom(self) -> float:
        """Where the x axis lies."""
        return self.top + PLOT

    def x(self, value: float) -> float:
        """Returns the place of a value from the left."""
        return round(LEFT + (WIDTH - LEFT - RIGHT) * self.x_axis.share(value), 2)

    def y(self, value: float) -> float:
        """Returns the place of a value from the top."""
        return round(self.bottom - PLOT * self.y_axis.share(value), 2)


def curve_plot(
    curves: Sequence[Curve], x_title: str, y_title: str, title: str, description: str, x_names: Sequence[str] = ()
) -> Markup:
    """Returns the plot, which takes its colours from the page; empty where no curve has a point.

    ``x_names`` are written at 0, 1, 2 … in place of numbers. ``title`` and ``description`` are for who does not see it.
    """
    spots = [spot for curve in curves for spot in curve.spots]
    if not spots:
        return Markup("")
    keys = _key(curves) if len(curves) > 1 else []
    x_axis = span([end for spot in spots for end in spot.x.ends])
    if x_names:
        x_axis = Span(-0.5, len(x_names) - 0.5, range(len(x_names)))
    frame = Frame(x_axis, span([end for spot in spots for end in spot.y.ends]), TOP + KEY * len(keys))
    exact = all(spot.x.interval is None for spot in spots)
    parts = [
        Markup('<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {} {}" role="img">').format(
            WIDTH, round(frame.bottom + BOTTOM, 2)
        ),
        Markup("<title>{}</title><desc>{}</desc>").format(title, description),
        *_axes(frame, x_title, y_title, x_names),
        *(Markup("").join(line) for line in keys),
    ]
    for column, curve in enumerate(curves):
        parts += _band(curve, column, frame) if exact else _crosses(curve, column, frame)
    parts += [_line(curve, column, frame) for column, curve in enumerate(curves)]
    for column, curve in enumerate(curves):
        parts += [_mark(curve, spot, column, frame) for spot in curve.spots]
    parts += _labels(curves, frame)
    return Markup("").join([*parts, Markup("</svg>")])


def standalone(plot: Markup) -> str:
    """Returns a plot as a file of its own, with its colours for light and dark surroundings and its own ground."""
    style = (Path(__file__).parent / "plot.css").read_text("utf-8")
    head, _, rest = str(plot).partition(">")
    ground = '<rect class="ground" width="100%" height="100%"/>'
    titles, _, drawn = rest.partition("</desc>")
    return f"{head}>{titles}</desc><style>{style}</style>{ground}{drawn}\n"


def _axes(frame: Frame, x_title: str, y_title: str, x_names: Sequence[str]) -> Iterator[Markup]:
    bottom, right, middle = frame.bottom, WIDTH - RIGHT, round((frame.top + frame.bottom) / 2, 2)
    for tick in frame.x_axis.ticks:
        x, text = frame.x(tick), x_names[int(tick)] if x_names else frame.x_axis.text(tick)
        yield Markup('<path class="grid" d="M{} {}V{}"/>').format(x, frame.top, bottom)
        yield Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(x, bottom + 16, text)
    for tick in frame.y_axis.ticks:
        y = frame.y(tick)
        yield Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, y, right)
        yield Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(
            LEFT - 7, round(y + 3.8, 2), frame.y_axis.text(tick)
        )
    yield Markup('<path class="frame" d="M{} {}V{}H{}"/>').format(LEFT, frame.top, bottom, right)
    yield Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
        round((LEFT + right) / 2, 2), bottom + 36, x_title
    )
    yield Markup('<text transform="translate(14 {}) rotate(-90)" text-anchor="middle">{}</text>').format(
        middle, y_title
    )


def _key(curves: Sequence[Curve]) -> list[list[Markup]]:
    """Returns the lines of the key: mark and name of each curve."""
    lines: list[list[Markup]] = [[]]
    x = float(LEFT)
    for column, curve in enumerate(curves):
        width = 26 + LETTER * len(curve.name)
        if x + width > WIDTH - RIGHT and lines[-1]:
            lines.append([])
            x = float(LEFT)
        y = TOP + KEY * (len(lines) - 1)
        text = Markup('<text x="{}" y="{}">{}</text>').format(round(x + 12, 2), y + 3.8, curve.name)
        lines[-1].append(marker(column, round(x + 4, 2), y) + text)
        x += width
    return lines


def _band(curve: Curve, column: int, frame: Frame) -> Iterator[Markup]:
    """Yields the band between the ends of the intervals, wherever two neighbours have one; alone a point has a whisker."""
    for one, two in pairwise(curve.spots):
        if one.y.interval and two.y.interval:
            ends = [(one.x, one.y.ends[0]), (one.x, one.y.ends[1]), (two.x, two.y.ends[1]), (two.x, two.y.ends[0])]
            path = "L".join(f"{frame.x(x.value)} {frame.y(y)}" for x, y in ends)
            yield Markup('<path class="s{} band" d="M{}z"/>').format(column % 8, path)
    if len(curve.spots) == 1:
        yield from _crosses(curve, column, frame)


def _crosses(curve: Curve, column: int, frame: Frame) -> Iterator[Markup]:
    for spot in curve.spots:
        x, y = frame.x(spot.x.value), frame.y(spot.y.value)
        arms = []
        if spot.x.interval:
            arms.append(f"M{frame.x(spot.x.ends[0])} {y}H{frame.x(spot.x.ends[1])}")
        if spot.y.interval:
            arms.append(f"M{x} {frame.y(spot.y.ends[0])}V{frame.y(spot.y.ends[1])}")
        if arms:
            yield Markup('<path class="s{} cross" d="{}"/>').format(column % 8, "".join(arms))


def _line(curve: Curve, column: int, frame: Frame) -> Markup:
    path = "L".join(f"{frame.x(spot.x.value)} {frame.y(spot.y.value)}" for spot in curve.spots)
    return Markup('<path class="s{} curve" d="M{}"/>').format(column % 8, path)


def _mark(curve: Curve, spot: Spot, column: int, frame: Frame) -> Markup:
    told = ", ".join(text for text in (curve.name, spot.label) if text)
    values = "; ".join(_told(name, reading) for name, reading in (("x", spot.x), ("y", spot.y)))
    return Markup("<g><title>{}: {}</title>{}</g>").format(
        told, values, marker(column, frame.x(spot.x.value), frame.y(spot.y.value))
    )


def _told(name: str, reading: Reading) -> str:
    interval = f" [{reading.interval.low:.4g}, {reading.interval.high:.4g}]" if reading.interval else ""
    return f"{name} {reading.value:.4g}{interval}"


def _labels(curves: Sequence[Curve], frame: Frame) -> Iterator[Markup]:
    """Yields the points' labels, each where it covers least of marks and of the labels before it."""
    taken = [
        Box(x - 5, y - 5, x + 5, y + 5)
        for x, y in ((frame.x(s.x.value), frame.y(s.y.value)) for curve in curves for s in curve.spots)
    ]
    page = Box(LEFT, frame.top, WIDTH - RIGHT, frame.bottom)
    for curve in curves:
        for spot in curve.spots:
            if not spot.label:
                continue
            x, y, width = frame.x(spot.x.value), frame.y(spot.y.value), LETTER * len(spot.label)
            places = [
                Box(left, top, left + width, top + 12)
                for left in (x + 7, x - 7 - width, x - width / 2)
                for top in (y - 17, y + 5, y - 6)
                if left != x - width / 2 or top != y - 6
            ]

            def covered(box: Box) -> float:
                outside = (box.right - box.left) * (box.bottom - box.top) - box.shared(page)
                return outside + sum(box.shared(other) for other in taken)

            best = min(places, key=covered)
            taken.append(best)
            yield Markup('<text class="halo" x="{}" y="{}">{}</text>').format(
                round(best.left, 2), round(best.top + 9.5, 2), spot.label
            )
