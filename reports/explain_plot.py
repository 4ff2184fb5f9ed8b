"""What choices move a number, as inline SVG: one scale for moves of a thousandth and of a hundred."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from typing import NamedTuple

from markupsafe import Markup

from drawbench.reports.interval_plot import marker

WIDTH, LABELS, RIGHT, TOP, AXIS, PITCH = 860, 250, 16, 8, 44, 21


class Move(NamedTuple):
    """What one choice moves."""

    name: str
    words: str
    delta: float
    low: float | None
    high: float | None


def plot(axes: Sequence[Sequence[Move]]) -> Markup:
    """Returns the moves as an inline SVG, a row for each, with its spread; empty where nothing moves.

    Both sides of 0 are logarithmic beyond a hundredth of the largest move, and linear within.
    """
    groups = [group for group in axes if group]
    ends = [end for group in groups for move in group for end in _ends(move)]
    if not any(ends):
        return Markup("")
    largest = max(map(abs, ends))
    scale = _Scale(min(0.0, *ends), max(0.0, *ends), largest / 100)
    rows = sum(len(group) for group in groups)
    bottom = TOP + PITCH * rows + 8 * (len(groups) - 1)
    parts = [
        Markup('<svg class="plot wide" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            WIDTH, bottom + AXIS, "What each choice moves; the tables below have the numbers"
        ),
        _axis(scale, bottom),
    ]
    y = TOP + PITCH / 2
    for index, group in enumerate(groups):
        for move in group:
            parts.append(_mark(move, scale, y, index))
            y += PITCH
        y += 8
    return Markup("").join([*parts, Markup("</svg>")])


class _Scale(NamedTuple):
    low: float
    high: float
    linear: float

    def x(self, value: float) -> float:
        low, high = self._bent(self.low), self._bent(self.high)
        return round(LABELS + 12 + (WIDTH - LABELS - RIGHT - 24) * (self._bent(value) - low) / (high - low), 2)

    def _bent(self, value: float) -> float:
        size = log10(1 + abs(value) / self.linear)
        return size if value >= 0 else -size


def _ends(move: Move) -> list[float]:
    return [move.delta, *(end for end in (move.low, move.high) if end is not None)]


def _ticks(scale: _Scale) -> list[float]:
    """Returns 0 and powers of ten on both sides, of which no two are drawn upon one another."""
    first = round(log10(scale.linear))
    powers = [10.0**exponent for exponent in range(first - 1, first + 5)]
    found, taken = [0.0], [scale.x(0.0)]
    for tick in [*reversed(powers), *(-power for power in reversed(powers))]:
        if scale.low <= tick <= scale.high and all(abs(scale.x(tick) - x) > 42 for x in taken):
            found.append(tick)
            taken.append(scale.x(tick))
    return sorted(found)


def _axis(scale: _Scale, bottom: float) -> Markup:
    parts = []
    for tick in _ticks(scale):
        text = "0" if tick == 0 else f"{tick:+g}".replace("-", "−")
        parts.append(
            Markup(
                '<path class="{c}" d="M{x} {top}V{b}"/><text x="{x}" y="{y}" class="tick" text-anchor="middle">{t}</text>'
            ).format(c="zero" if tick == 0 else "grid", x=scale.x(tick), top=TOP, b=bottom, y=bottom + 16, t=text)
        )
    words = "moved by, in units of FID; logarithmic on both sides of 0"
    middle = (LABELS + WIDTH - RIGHT) / 2
    parts.append(
        Markup('<text x="{}" y="{}" class="tick" text-anchor="middle">{}</text>').format(middle, bottom + 36, words)
    )
    return Markup("").join(parts)


def _mark(move: Move, scale: _Scale, y: float, column: int) -> Markup:
    parts = [
        Markup('<text x="{}" y="{}" class="row" text-anchor="end">{}</text>').format(
            LABELS - 8, round(y + 4, 2), move.name
        ),
        Markup("<g><title>{}: {}</title>").format(move.name, move.words),
    ]
    if move.low is not None and move.high is not None:
        parts.append(
            Markup('<path class="s{} line" d="M{} {}H{}"/>').format(
                column % 8, scale.x(move.low), round(y, 2), scale.x(move.high)
            )
        )
    return Markup("").join([*parts, marker(column, scale.x(move.delta), round(y, 2)), Markup("</g>")])
