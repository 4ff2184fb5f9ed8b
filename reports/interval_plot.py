"""A plot of values with their intervals, category by category, as inline SVG that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from markupsafe import Markup, escape

from drawbench.interfaces import Score
from drawbench.reports.comparison import Section
from drawbench.reports.metric_scores import OutputScores

WIDTH, LABELS, RIGHT, TOP, AXIS = 440, 118, 12, 6, 26
STEP = 9
"""Between the systems of one row."""


class Scale(NamedTuple):
    """Maps values to pixels."""

    low: float
    high: float
    ticks: Sequence[float]

    def x(self, value: float) -> float:
        """Returns the place of a value on the page's x axis."""
        return round(LABELS + (WIDTH - LABELS - RIGHT) * (value - self.low) / (self.high - self.low), 2)


def interval_plot(section: Section, output: OutputScores, title: str, columns: Mapping[str, int]) -> Markup:
    """Returns dots with their intervals; ``columns`` numbers the systems: colours ``--s0`` …, and a shape for each."""
    systems = [system for system in section.systems if system in output.scores]
    rows: list[tuple[str, str | None]] = [("All prompts", None), *((name, name) for name in section.categories)]
    rows = [(name, key) for name, key in rows if any(key in output.scores[system] for system in systems)]
    scores = [output.scores[s][key] for s in systems for _, key in rows if key in output.scores[s]]
    scale = _scale(scores)
    if scale is None:
        return Markup("")
    pitch = STEP * len(systems) + 9
    height = TOP + pitch * len(rows) + AXIS
    parts = [
        Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, height, title),
        _axis(scale, height - AXIS),
    ]
    for number, (name, key) in enumerate(rows):
        top = TOP + pitch * number
        parts.append(_label(name, top, pitch, key is None))
        for position, system in enumerate(systems):
            score = output.scores[system].get(key)
            if score is not None and score.value is not None:
                y = round(top + pitch / 2 + STEP * (position - (len(systems) - 1) / 2), 2)
                parts.append(_mark(score, scale, y, columns[system], f"{name}, {system}"))
    return Markup("").join([*parts, Markup("</svg>")])


def marker(column: int, x: float, y: float) -> Markup:
    """Returns a system's mark: a circle, square, diamond or triangle, so that colour is never the only sign."""
    shapes = (
        Markup('<circle class="s{n}" cx="{x}" cy="{y}" r="3.6"/>'),
        Markup('<rect class="s{n}" x="{left}" y="{top}" width="6.6" height="6.6"/>'),
        Markup('<path class="s{n}" d="M{x} {y}m0-4.7l4.7 4.7l-4.7 4.7l-4.7-4.7z"/>'),
        Markup('<path class="s{n}" d="M{x} {y}m0-4.4l4.4 7.6h-8.8z"/>'),
    )
    return shapes[column % 4].format(n=column % 8, x=x, y=y, left=round(x - 3.3, 2), top=round(y - 3.3, 2))


def _mark(score: Score, scale: Scale, y: float, column: int, name: str) -> Markup:
    value = score.value or 0.0
    parts = [Markup("<g><title>{}: {:.4g}</title>").format(name, value)]
    if score.interval is not None:
        low, high = scale.x(score.interval.low), scale.x(score.interval.high)
        parts.append(Markup('<path class="s{} line" d="M{} {}H{}"/>').format(column % 8, low, y, high))
    return Markup("").join([*parts, marker(column, scale.x(value), y), Markup("</g>")])


def _label(name: str, top: float, pitch: float, overall: bool) -> Markup:
    short = name if len(name) <= 19 else f"{name[:18]}…"
    text = Markup('<text x="{}" y="{}" class="row{}" text-anchor="end">{}</text>').format(
        LABELS - 8, round(top + pitch / 2 + 3.8, 2), " overall" if overall else "", short
    )
    if not overall:
        return text
    return text + Markup('<path class="rule" d="M0 {y}H{w}"/>').format(y=top + pitch, w=WIDTH)


def _axis(scale: Scale, bottom: float) -> Markup:
    places = _places(scale.ticks[1] - scale.ticks[0])
    parts = []
    for tick in scale.ticks:
        x = scale.x(tick)
        text = f"{tick:.{places}f}".replace("-", "−")
        parts.append(Markup('<path class="grid" d="M{x} {top}V{bottom}"/>').format(x=x, top=TOP, bottom=bottom))
        parts.append(
            Markup('<text x="{x}" y="{y}" class="tick" text-anchor="middle">{text}</text>').format(
                x=x, y=bottom + 16, text=escape(text)
            )
        )
    return Markup("").join(parts)


def _scale(scores: Sequence[Score]) -> Scale | None:
    ends = [score.value for score in scores if score.value is not None]
    if not ends:
        return None
    ends += [end for score in scores if score.interval for end in (score.interval.low, score.interval.high)]
    low, high = min(ends), max(ends)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        room = abs(low) / 10 or 1.0
        low, high = low - room, high + room
    margin = (high - low) / 25
    low, high = low - margin, high + margin
    step = _step((high - low) / 5)
    ticks = [round(index * step, 12) for index in range(ceil(low / step), floor(high / step) + 1)]
    return Scale(low, high, ticks)


def _step(rough: float) -> float:
    power: float = 10.0 ** floor(log10(rough))
    return next(nice * power for nice in (1, 2, 2.5, 5, 10) if nice * power >= rough * 0.9)


def _places(step: float) -> int:
    return next(places for places in range(13) if abs(round(step, places) - step) < step / 1000)
