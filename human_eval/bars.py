"""The paper's figure: stacked bars of preferences by category, with intervals, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

WIDTH, LABELS, BAR, PITCH = 640, 130, 16, 30
"""Of a plot, in pixels: the whole, the names on the left, a bar's height, from bar to bar."""


def colour(system: str, columns: Mapping[str, int]) -> str:
    """Returns a system's colour, by its column: the report's palette has eight."""
    return f"var(--s{columns[system] % 8})"


def stacked_bars(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, int]) -> Markup:
    """Returns a pair's shares as stacked bars, a row for each category; whiskers are the intervals of both preferences."""
    room = WIDTH - LABELS - 24
    height = PITCH * len(rows) + 26
    label = f"{rows[0]['a']} against {rows[0]['b']}: shares by category; the table has the numbers"
    parts = [
        Markup('<svg class="plot bars" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, height, label)
    ]
    for number, row in enumerate(rows):
        top, left = PITCH * number + 4, float(LABELS)
        name = row["category"] or "All"
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end"{}>{}</text>').format(
                LABELS - 8, top + BAR - 4, Markup(' class="whole"') if row["category"] is None else "", name
            )
        )
        fills = (colour(row["a"], columns), "var(--hair)", colour(row["b"], columns))
        for fill, share in zip(fills, (row["prefer_a"], row["indifferent"], row["prefer_b"]), strict=True):
            width = room * (share["value"] or 0.0)
            parts.append(
                Markup('<rect style="fill: {}" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>').format(
                    fill, left, top, width, BAR
                )
            )
            left += width
        for share, start, shift in ((row["prefer_a"], 0.0, -3), (row["prefer_b"], 1.0, 3)):
            if share["interval"]:
                ends = [share["interval"]["low"], share["interval"]["high"]]
                low, high = sorted(LABELS + room * (end if start == 0 else 1 - end) for end in ends)
                y = top + BAR / 2 + shift
                parts.append(
                    Markup('<path class="whisker" d="M{:.1f} {}H{:.1f}m0-4v8M{:.1f} {}v8"/>').format(
                        low, y, high, low, y - 4
                    )
                )
    for tick in range(0, 101, 25):
        x = LABELS + room * tick / 100
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="middle" class="tick">{} %</text>').format(x, height - 6, tick)
        )
    middle = LABELS + room / 2
    parts.append(Markup('<path class="middle" d="M{:.1f} 0V{}"/></svg>').format(middle, height - 20))
    return Markup("").join(parts)
