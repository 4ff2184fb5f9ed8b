"""A plot of values with their intervals, category by category, as inline SVG that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup, escape

from drawbench.interfaces import Score
from drawbench.reports.comparison import Section
from drawbench.reports.metric_scores import OutputScores
from drawbench.reports.ticks import Span, span

WIDTH, LABELS, RIGHT, TOP, AXIS = 440, 118, 12, 6, 26
STEP = 9
"""Between the systems of one row."""


def interval_plot(section: Section, output: OutputScores, title: str, columns: Mapping[str, int]) -> Markup:
    """Returns dots with their intervals; ``columns`` numbers the systems: colours ``--s0`` …, and a shape for each."""
    systems = [system for system in section.systems if system in output.scores]
    rows: list[tuple[str, str | None]] = [("All prompts", None), *((name, name) for name in section.categories)]
    rows = [(name, key) for name, key in rows if any(key in output.scores[system] for system in systems)]
    scores = [output.scores[s][key] for s in systems for _, key in rows if key in output.scores[s]]
    ends = [end for score in scores for end in _ends(score)]
    if not ends:
        return Markup("")
    scale = span(ends)
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


def marker(column: int, x: float, y: float, shape: int | None = None) -> Markup:
    """Returns a system's mark: a circle, square, diamond or triangle, so that colour is never the only sign.

    ``shape`` is the number of another mark, for a column whose own is taken.
    """
    shapes = (
        Markup('<circle class="s{n}" cx="{x}" cy="{y}" r="3.6"/>'),
        Markup('<rect class="s{n}" x="{left}" y="{top}" width="6.6" height="6.6"/>'),
        Markup('<path class="s{n}" d="M{x} {y}m0-4.7l4.7 4.7l-4.7 4.7l-4.7-4.7z"/>'),
        Markup('<path class="s{n}" d="M{x} {y}m0-4.4l4.4 7.6h-8.8z"/>'),
    )
    mark = shapes[(column if shape is None else shape) % 4]
    return mark.format(n=column % 8, x=x, y=y, left=round(x - 3.3, 2), top=round(y - 3.3, 2))


def _mark(score: Score, scale: Span, y: float, column: int, name: str) -> Markup:
    value = score.value or 0.0
    parts = [Markup("<g><title>{}: {:.4g}</title>").format(name, value)]
    if score.interval is not None:
        low, high = _x(scale, score.interval.low), _x(scale, score.interval.high)
        parts.append(Markup('<path class="s{} line" d="M{} {}H{}"/>').format(column % 8, low, y, high))
    return Markup("").join([*parts, marker(column, _x(scale, value), y), Markup("</g>")])


def _label(name: str, top: float, pitch: float, overall: bool) -> Markup:
    short = name if len(name) <= 19 else f"{name[:18]}…"
    text = Markup('<text x="{}" y="{}" class="row{}" text-anchor="end">{}</text>').format(
        LABELS - 8, round(top + pitch / 2 + 3.8, 2), " overall" if overall else "", short
    )
    if not overall:
        return text
    return text + Markup('<path class="rule" d="M0 {y}H{w}"/>').format(y=top + pitch, w=WIDTH)


def _axis(scale: Span, bottom: float) -> Markup:
    parts = []
    for tick in scale.ticks:
        x = _x(scale, tick)
        parts.append(Markup('<path class="grid" d="M{x} {top}V{bottom}"/>').format(x=x, top=TOP, bottom=bottom))
        parts.append(
            Markup('<text x="{x}" y="{y}" class="tick" text-anchor="middle">{text}</text>').format(
                x=x, y=bottom + 16, text=escape(scale.text(tick))
            )
        )
    return Markup("").join(parts)


def _ends(score: Score) -> list[float]:
    """Returns what of a score must be in the picture: its value, and the ends of its interval."""
    if score.value is None:
        return []
    return [score.value, *((score.interval.low, score.interval.high) if score.interval else ())]


def _x(scale: Span, value: float) -> float:
    return round(LABELS + (WIDTH - LABELS - RIGHT) * scale.share(value), 2)
