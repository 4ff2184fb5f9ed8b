"""Where the ticks of an axis stand, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import NamedTuple


class Span(NamedTuple):
    """An axis: its ends, with some room at both, and the round numbers between them."""

    low: float
    high: float
    ticks: Sequence[float]

    def share(self, value: float) -> float:
        """Returns how far along the axis a value lies: 0 at the low end, 1 at the high one."""
        return (value - self.low) / (self.high - self.low)

    def text(self, tick: float) -> str:
        """Returns a tick as it is written, with a real minus sign and as many decimals as its neighbours need."""
        return f"{tick:.{_places(self.ticks[1] - self.ticks[0])}f}".replace("-", "−")


def span(values: Sequence[float], count: int = 5) -> Span:
    """Returns the axis of some values, at least one, with about ``count`` ticks and never fewer than two."""
    low, high = min(values), max(values)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        room = abs(low) / 10 or 1.0
        low, high = low - room, high + room
    margin = (high - low) / 25
    low, high = low - margin, high + margin
    step = _step((high - low) / count)
    return Span(low, high, [round(index * step, 12) for index in range(ceil(low / step), floor(high / step) + 1)])


def _step(rough: float) -> float:
    power: float = 10.0 ** floor(log10(rough))
    return next(nice * power for nice in (1, 2, 2.5, 5, 10) if nice * power >= rough * 0.9)


def _places(step: float) -> int:
    return next(places for places in range(13) if abs(round(step, places) - step) < step / 1000)
