"""What a rater sees and in which order: sides, order and second looks follow from the study's seed and the rater alone."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from drawbench.human_eval.study import Item, Side, Study


class Showing(NamedTuple):
    """One item as one rater sees it."""

    item: Item
    position: int
    """Its place in the rater's order, from 0."""
    sides: tuple[Side, ...]
    """From left to right."""
    images: tuple[tuple[str, ...], ...]
    """Of each side, in an order drawn by lot."""
    repeat: bool = False

    @property
    def shown(self) -> tuple[str, ...]:
        """The systems from left to right."""
        return tuple(side.system for side in self.sides)


def showings(study: Study, unit: str, rater: str) -> Sequence[Showing]:
    """Returns all that a rater sees of a unit, in order.

    Sides are dealt so that each system stands on the left as often as on the right, give or take one: of n items of a pair,
    half are turned. Repeated items come in the second half, turned the other way.
    """
    rng = Random(f"{study.digest}/{rater}/{unit}")
    items = list(study.units[unit])
    rng.shuffle(items)
    turned = _turned(items, rng)
    trials = [item for item in items if item.control is None]
    again = rng.sample(trials, min(study.design.repeats, len(trials)))
    order = [(item, turned[item.id], False) for item in items]
    half = len(order) // 2
    for item in again:
        seen = next(place for place, (one, _, _) in enumerate(order) if one.id == item.id)
        place = rng.randint(max(half, seen + 1), len(order))
        order.insert(place, (item, not turned[item.id], True))
    made = []
    for position, (item, turn, repeat) in enumerate(order):
        sides = item.sides[::-1] if turn else item.sides
        images = tuple(tuple(rng.sample(side.images, len(side.images))) for side in sides)
        made.append(Showing(item, position, sides, images, repeat))
    return made


def _turned(items: Sequence[Item], rng: Random) -> dict[str, bool]:
    """Returns which items have their sides exchanged: half of each pair of systems, by lot."""
    pairs: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        pairs.setdefault(tuple(sorted(side.system for side in item.sides)), []).append(item)
    turned: dict[str, bool] = {}
    for _, of_pair in sorted(pairs.items()):
        first = rng.random() < 0.5
        for number, item in enumerate(rng.sample(of_pair, len(of_pair))):
            # Which side comes first in the item may differ from item to item; the systems count.
            wanted = (number % 2 == 0) == first
            natural = item.sides[0].system <= item.sides[-1].system
            turned[item.id] = wanted == natural
    return turned
