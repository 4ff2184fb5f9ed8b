"""Where the labels of a plot's points stand, so that they cover neither the marks nor each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup

LETTER = 6.2
"""Width of a letter of 11 units, about."""


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


def labels(named: Sequence[tuple[str, float, float]], page: Box) -> Iterator[Markup]:
    """Yields the labels of places (label, x, y), each where it covers least of marks and of the labels before it."""
    taken = [Box(x - 5, y - 5, x + 5, y + 5) for _, x, y in named]
    for label, x, y in named:
        if not label:
            continue
        width = LETTER * len(label)
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
            round(best.left, 2), round(best.top + 9.5, 2), label
        )
