"""A plot of curves whose points are uncertain in both directions, as SVG: inline on a page, or a file of its own.

Where x is known exactly (a value that was swept) the uncertainty of y is a band between neighbours, else each point has a
cross. Stars are anchors: points of their own, which no curve joins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

from markupsafe import Markup

from drawbench.interfaces import Interval
from drawbench.reports.interval_plot import marker
from drawbench.reports.plot_labels import LETTER, Box, labels
from drawbench.reports.ticks import Span, span

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 640, 66, 18, 14, 46
PLOT = 330
"""Height of the plot itself, in the same units."""
KEY = 18
"""Height of a line of the key."""
CURVES = 32
"""As many can be told apart: 8 colours, each with 4 marks and dashes."""
DASHES = ("", "7 3", "2 3", "9 3 2 3")
SLOT = 34
"""Width that an anchor has right of the curves, where it has no x."""
LONGEST = 28
"""Letters of an anchor's name in the picture."""


class Reading(NamedTuple):
    """A number, and how sure it is."""

    value: float
    interval: Interval | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """The interval's ends; the number itself twice where there is none."""
        return (self.interval.low, self.interval.high) if self.interval else (self.value, self.value)


class Spot(NamedTuple):
    """One point of a curve, or an anchor."""

    label: str
    x: Reading | None
    """None: an anchor that has no place on the x axis."""
    y: Reading
    joined: bool = True
    """Whether a line leads to it from the spot before it: not where there is a point between that has no value."""


class Curve(NamedTuple):
    """Points in the order in which they are joined."""

    name: str
    spots: Sequence[Spot]


class Frame(NamedTuple):
    """Maps values to places on the page."""

    x_axis: Span
    y_axis: Span
    top: float
    slots: int = 0
    """Anchors that stand right of the x axis."""

    @property
    def right(self) -> float:
        """Where the x axis ends."""
        return WIDTH - RIGHT - SLOT * self.slots

    @property
    def bottom(self) -> float:
        """Where the x axis lies."""
        return self.top + PLOT

    def x(self, value: float) -> float:
        """Returns the place of a value from the left."""
        return round(LEFT + (self.right - LEFT) * self.x_axis.share(value), 2)

    def y(self, value: float) -> float:
        """Returns the place of a value from the top."""
        return round(self.bottom - PLOT * self.y_axis.share(value), 2)


def curve_plot(
    curves: Sequence[Curve],
    x_title: str,
    y_title: str,
    title: str,
    description: str,
    x_names: Sequence[str] = (),
    *,
    exact: bool = False,
    anchors: Sequence[Spot] = (),
) -> Markup:
    """Returns the plot, which takes its colours from the page; empty where no curve has a point.

    ``x_names`` are written at 0, 1, 2 … in place of numbers. ``title`` and ``description`` are for who does not see it.
    ``exact``: x was chosen, not measured.

    Raises:
        ValueError: more than `CURVES` curves, which nobody can tell apart.
    """
    if len(curves) > CURVES:
        raise ValueError(f"{len(curves)} curves: {CURVES} can be told apart")
    spots = [spot for curve in curves for spot in curve.spots]
    if not spots:
        return Markup("")
    keys = _key(curves) if len(curves) > 1 else []
    everyone = [*spots, *anchors]
    x_axis = span([end for spot in everyone if spot.x for end in spot.x.ends])
    if x_names:
        x_axis = Span(-0.5, len(x_names) - 0.5, range(len(x_names)))
    y_axis = span([end for spot in everyone for end in spot.y.ends])
    outside = [spot for spot in anchors if spot.x is None]
    frame = Frame(x_axis, y_axis, TOP + KEY * len(keys), len(outside))
    places = {id(spot): frame.right + SLOT * (n + 0.6) for n, spot in enumerate(outside)}
    stars = [(spot, frame.x(spot.x.value) if spot.x else places[id(spot)], frame.y(spot.y.value)) for spot in anchors]
    parts = [
        Markup('<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {} {}" role="img">').format(
            WIDTH, round(frame.bottom + BOTTOM, 2)
        ),
        Markup("<title>{}</title><desc>{}</desc>").format(title, description),
        *_axes(frame, x_title, y_title, x_names),
        *(Markup("").join(line) for line in keys),
    ]
    for column, curve in enumerate(curves):
        parts += _band(curve, column, frame) if exact else _crosses(curve.spots, f"s{column % 8}", frame)
    parts += _lines(curves, frame)
    parts += (_whiskers(spot, x, "anchor", frame) for spot, x, _ in stars)
    for column, curve in enumerate(curves):
        parts += [_mark(curve.name, spot, _sign(column, *_place(spot, frame))) for spot in curve.spots]
    parts += [_mark("", spot, _star(x, y)) for spot, x, y in stars]
    page = Box(LEFT, frame.top, WIDTH - RIGHT, frame.bottom)
    parts += labels([*((spot.label, *_place(spot, frame)) for spot in spots), *_names(stars)], page)
    return Markup("").join([*parts, Markup("</svg>")])


def standalone(plot: Markup, caption: str = "") -> str:
    """Returns a plot as a file of its own, with its colours for light and dark surroundings, its own ground and a caption."""
    style = (Path(__file__).parent / "plot.css").read_text("utf-8")
    head, _, rest = str(plot).partition(">")
    ground = '<rect class="ground" width="100%" height="100%"/>'
    titles, _, drawn = rest.partition("</desc>")
    lines = wrap(caption, int((WIDTH - 28) / LETTER))
    before, _, height = head.removesuffix('" role="img"').rpartition(" ")
    head = f'{before} {round(float(height) + (14 * len(lines) + 8 if lines else 0), 2)}" role="img"'
    told = Markup("").join(
        Markup('<text class="tick" x="14" y="{}">{}</text>').format(round(float(height) + 10 + 14 * n, 2), line)
        for n, line in enumerate(lines)
    )
    return f"{head}>{titles}</desc><style>{style}</style>{ground}{drawn.removesuffix('</svg>')}{told}</svg>\n"


def _axes(frame: Frame, x_title: str, y_title: str, x_names: Sequence[str]) -> Iterator[Markup]:
    bottom, right, middle = frame.bottom, frame.right, round((frame.top + frame.bottom) / 2, 2)
    for tick in frame.x_axis.ticks:
        x, text = frame.x(tick), x_names[int(tick)] if x_names else frame.x_axis.text(tick)
        yield Markup('<path class="grid" d="M{} {}V{}"/>').format(x, frame.top, bottom)
        yield Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(x, bottom + 16, text)
    for tick in frame.y_axis.ticks:
        y = frame.y(tick)
        yield Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, y, WIDTH - RIGHT)
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
        lines[-1].append(_sign(column, round(x + 4, 2), y) + text)
        x += width
    return lines


def banded(curve: Curve) -> list[tuple[Spot, Spot]]:
    """Returns the neighbours between which a band stands: joined, both with an interval, and with x growing.

    Where x falls or stays, the ends of two intervals would cross over: that is no band.
    """
    return [
        (one, two)
        for one, two in pairwise(curve.spots)
        if two.joined and one.y.interval and two.y.interval and one.x and two.x and one.x.value < two.x.value
    ]


def alone(curve: Curve) -> list[Spot]:
    """Returns the points that have an interval and stand in no band."""
    within = {id(spot) for both in banded(curve) for spot in both}
    return [spot for spot in curve.spots if spot.y.interval and id(spot) not in within]


def _band(curve: Curve, column: int, frame: Frame) -> Iterator[Markup]:
    """Yields the bands between the ends of neighbours' intervals; an interval that is in none of them is a whisker."""
    for both in banded(curve):
        (a, _), (b, _) = (_place(spot, frame) for spot in both)
        (low, high), (low_next, high_next) = (map(frame.y, spot.y.ends) for spot in both)
        path = f"M{a} {low}L{a} {high}L{b} {high_next}L{b} {low_next}z"
        yield Markup('<path class="s{} band" d="{}"/>').format(column % 8, path)
    yield from _crosses(alone(curve), f"s{column % 8}", frame)


def _crosses(spots: Sequence[Spot], colour: str, frame: Frame) -> Iterator[Markup]:
    for spot in spots:
        yield _whiskers(spot, _place(spot, frame)[0], colour, frame)


def _whiskers(spot: Spot, x: float, colour: str, frame: Frame) -> Markup:
    """Returns a spot's intervals in both directions, as far as it has them."""
    arms = []
    if spot.x and spot.x.interval:
        arms.append(f"M{frame.x(spot.x.ends[0])} {frame.y(spot.y.value)}H{frame.x(spot.x.ends[1])}")
    if spot.y.interval:
        arms.append(f"M{x} {frame.y(spot.y.ends[0])}V{frame.y(spot.y.ends[1])}")
    return Markup('<path class="{} cross" d="{}"/>').format(colour, "".join(arms)) if arms else Markup("")


def _lines(curves: Sequence[Curve], frame: Frame) -> Iterator[Markup]:
    for column, curve in enumerate(curves):
        path = ""
        for number, spot in enumerate(curve.spots):
            x, y = _place(spot, frame)
            path += f"{'L' if number and spot.joined else 'M'}{x} {y}"
        dash = DASHES[column // 8]
        dashed = Markup(' stroke-dasharray="{}"').format(dash) if dash else ""
        yield Markup('<path class="s{} curve"{} d="{}"/>').format(column % 8, dashed, path)


def _place(spot: Spot, frame: Frame) -> tuple[float, float]:
    """Returns where a spot of a curve stands on the page."""
    if spot.x is None:
        raise ValueError(f"{spot.label}: a spot of a curve has an x")
    return frame.x(spot.x.value), frame.y(spot.y.value)


def _sign(column: int, x: float, y: float) -> Markup:
    """Returns a curve's mark; with each round through the colours a colour has the next mark."""
    return marker(column, x, y, shape=column + column // 8)


def _star(x: float, y: float) -> Markup:
    path = "m0-6.6l1.6 4.4l4.7 .1l-3.7 2.9l1.3 4.5l-3.9-2.6l-3.9 2.6l1.3-4.5l-3.7-2.9l4.7-.1z"
    return Markup('<path class="anchor" d="M{} {}{}"/>').format(round(x, 2), y, path)


def _mark(curve: str, spot: Spot, sign: Markup) -> Markup:
    told = ", ".join(text for text in (curve, spot.label) if text)
    axes = (("x", spot.x), ("y", spot.y))
    values = "; ".join(_told(name, reading) for name, reading in axes if reading)
    return Markup("<g><title>{}: {}</title>{}</g>").format(told, values, sign)


def _names(stars: Sequence[tuple[Spot, float, float]]) -> Iterator[tuple[str, float, float]]:
    for spot, x, y in stars:
        yield spot.label if len(spot.label) <= LONGEST else f"{spot.label[: LONGEST - 1]}…", x, y


def _told(name: str, reading: Reading) -> str:
    interval = f" [{reading.interval.low:.4g}, {reading.interval.high:.4g}]" if reading.interval else ""
    return f"{name} {reading.value:.4g}{interval}"
