"""Numbers as a reader wants them: as many digits as the interval supports, a real minus sign, p-values that never say 0."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, log10

from drawbench.interfaces import Interval, Kind

MOST = 6
"""Decimals; what is smaller still is written as 1.2e-08."""


def decimals(intervals: Iterable[Interval | None], values: Iterable[float | None] = (), least: int = 0) -> int:
    """Returns how many decimals a row of numbers needs, so that its narrowest half-width has two significant digits.

    Without any width, the smallest value gets three significant digits.
    """
    widths = [(interval.high - interval.low) / 2 for interval in intervals if interval and interval.high > interval.low]
    if widths:
        return max(least, 1 - floor(log10(min(widths))))
    sizes = [abs(value) for value in values if value]
    return max(least, 2 - floor(log10(min(sizes)))) if sizes else 3


def least_decimals(kind: Kind) -> int:
    """Returns how many decimals a kind of value always has: three for a rate."""
    return 3 if kind == "rate" else 0


def number(value: float, places: int) -> str:
    """Returns a number with so many decimals, in scientific notation where that would be more than `MOST`."""
    if value == 0:
        return f"{0:.{min(places, 3)}f}"
    text = f"{value:.{places}f}" if places <= MOST else f"{value:.1e}"
    if not text.strip("-0."):
        return text.lstrip("-")
    return text.replace("-", "−", 1) if value < 0 else text


def signed(value: float, places: int) -> str:
    """Returns a difference: a number with its sign."""
    text = number(value, places)
    return f"+{text}" if value > 0 and text.strip("0.") else text


def bounds(interval: Interval | None, places: int) -> str:
    """Returns ``[low, high]``; empty where there is no interval."""
    return f"[{number(interval.low, places)}, {number(interval.high, places)}]" if interval else ""


def p_value(p: float | None) -> str:
    """Returns a p-value with three decimals; ``< 0.001`` below that, empty where there is none."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def plain(value: float) -> str:
    """Returns one image's value with four significant digits."""
    return f"{value:.4g}".replace("-", "−", 1) if value < 0 else f"{value:.4g}"


def counted(count: int, thing: str) -> str:
    """Returns ``1 image``, ``2 images``, ``30,000 images``."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def listed(things: Iterable[object], last: str = "and") -> str:
    """Returns ``a``, ``a and b``, ``a, b and c``."""
    *most, final = list(map(str, things)) or [""]
    return f"{', '.join(most)} {last} {final}" if most else final
