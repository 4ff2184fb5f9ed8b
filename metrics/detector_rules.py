"""Verdicts from a detector's boxes: number, colour and place, each held against what the prompt asks and said in words.

As GenEval has it (Ghosh et al. 2023, section 3): a number is right where exactly so many boxes are found; colours are those
of the boxes; of two things A is left of B where its box's middle lies further left by more than a tenth of both widths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.metrics.colour_names import colour_of_box
from drawbench.metrics.detector_prompts import COLOURS, Colour, Place, Request, Wanted, amount, in_words

VERSION = "detector rules 1"
"""Another one wherever the same boxes may be judged otherwise."""

ASPECTS = ("counting", "colors", "positional")

MARGIN = 0.1
"""Of both boxes' extents together: middles that lie nearer than that are neither left nor right."""
SAME_NAME, OTHER_NAME = 0.5, 0.8
"""Overlap (intersection over union) from which the less certain of two boxes is dropped."""
_SHARED, _GAP = 0.4, 0.15
"""``on top of``: how much of the narrower width lies over the other thing; how far apart they may be, in their mean height."""
_INSIDE = 0.8


class Found(NamedTuple):
    """One thing that a detector found."""

    name: str
    """One of the names that it was asked for."""
    score: float
    """0 to 1."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the image, within it."""


class Verdict(NamedTuple):
    """What an image is worth."""

    correct: bool
    """All that is asked of number, colour and place holds, and each thing that is named is there."""
    attributes: Mapping[str, bool | None]
    """By `ASPECTS`: right, wrong, or None where the prompt asks for nothing of that kind."""
    reason: str
    """What is wrong, in words; empty where nothing is."""


def kept(found: Sequence[Found], threshold: float) -> list[Found]:
    """Returns what was found with a score of ``threshold`` or more, most certain first, and each thing once."""
    chosen: list[Found] = []
    for one in sorted(found, key=lambda one: (-one.score, one.name, one.box)):
        if one.score >= threshold and not any(
            overlap(one.box, other.box) > (SAME_NAME if one.name == other.name else OTHER_NAME) for other in chosen
        ):
            chosen.append(one)
    return chosen


def judge(request: Request, found: Sequence[Found], image: NDArray[np.uint8]) -> Verdict:
    """Holds boxes, as `kept` returns them, against a request; ``(H, W, 3) uint8`` pixels tell their colours."""
    terms = [c for c in COLOURS if c != "cyan" or any(thing.colour == c for thing in request.things)]
    wanted = {thing.name for thing in request.things if thing.colour}
    colours = {one: next(iter(colour_of_box(image, one.box, terms))) for one in found if one.name in wanted}
    faults = {
        "counting": _counting(request, found),
        "colors": _colours(request, found, colours),
        "positional": _place(request, found, colours),
    }
    attributes = {name: None if said is None else not said for name, said in faults.items()}
    lost = [_lost(thing.name) for thing in request.things if not _named(thing.name, found)]
    told = {_lost(thing.name) for thing in request.things if thing.number}  # By the number: none seen.
    reasons = [reason for said in (*faults.values(), lost) for reason in said or () if reason not in told]
    return Verdict(not any((*faults.values(), lost)), attributes, "; ".join(dict.fromkeys(reasons)))


def stands(place: Place, first: Found, second: Found) -> bool:
    """Says whether the first thing stands to the second as a place has it."""
    if place == "left of":
        return _is_before(first, second, 0)
    if place == "right of":
        return _is_before(second, first, 0)
    if place == "above":
        return _is_before(first, second, 1)
    if place == "below":
        return _is_before(second, first, 1)
    one, two = first.box, second.box
    if place == "inside":
        return _shared(one, two) >= _INSIDE * _area(one) and _area(one) < _area(two)
    over = min(one[2], two[2]) - max(one[0], two[0])
    narrower = min(one[2] - one[0], two[2] - two[0])
    height = (one[3] - one[1] + two[3] - two[1]) / 2
    return _is_before(first, second, 1) and over >= _SHARED * narrower and two[1] - one[3] <= _GAP * height


def overlap(one: tuple[float, float, float, float], two: tuple[float, float, float, float]) -> float:
    """Returns the intersection over the union of two boxes."""
    shared = _shared(one, two)
    union = _area(one) + _area(two) - shared
    return shared / union if union > 0 else 0.0


def rules_protocol() -> Mapping[str, str]:
    """Returns what moves a verdict, given the boxes."""
    return {
        "rules": VERSION,
        "boxes dropped": f"overlap over {SAME_NAME} (of one name) or {OTHER_NAME} (of two)",
        "place": f"middles of boxes, margin {MARGIN}",
    }


def _counting(request: Request, found: Sequence[Found]) -> list[str] | None:
    """Judges numbers by name, all colours together; ``one red ball and a blue ball`` are two balls or more."""
    if not any(thing.number for thing in request.things):
        return None
    faults = []
    for name in dict.fromkeys(thing.name for thing in request.things if thing.number):
        numbers = [thing.number for thing in request.things if thing.name == name]
        asked, seen = sum(number or 1 for number in numbers), len(_named(name, found))
        if seen < asked or (seen > asked and None not in numbers):
            faults.append(f"{amount(asked, name)} asked, {in_words(seen) if seen else 'none'} seen")
    return faults


def _colours(request: Request, found: Sequence[Found], colours: Mapping[Found, Colour]) -> list[str] | None:
    """Judges colours; that too few of a kind are there is for the number alone, that none is, is not."""
    promised = [thing for thing in request.things if thing.colour]
    if not promised:
        return None
    faults = []
    for thing in promised:
        seen = [colours[one] for one in _named(thing.name, found)]
        if not seen:
            faults.append(_lost(thing.name))
        elif sum(colour == thing.colour for colour in seen) < min(thing.number or 1, len(seen)):
            others = dict.fromkeys(colour for colour in seen if colour != thing.colour)
            faults.append(f"{thing} asked, {', '.join(others)} seen")
    return faults


def _place(request: Request, found: Sequence[Found], colours: Mapping[Found, Colour]) -> list[str] | None:
    """Judges the place by the most certain box of each thing, among those of its colour where there are any."""
    if request.place is None:
        return None
    one, two = request.things
    first, second = (_candidates(thing, found, colours) for thing in request.things)
    if not first or not second:
        return [_lost(thing.name) for thing, boxes in ((one, first), (two, second)) if not boxes]
    pairs = [(first[0], second[0])]
    if first[0] == second[0]:  # Two of one name, which their colours do not tell apart.
        pairs = [(first[0], other) for other in second[1:2]] + [(other, second[0]) for other in first[1:2]]
    if not pairs:
        return [f"only one {one.name} seen"]
    if any(stands(request.place, *pair) for pair in pairs):
        return []
    return [f"the {one.name} is not {request.place} the {two.name}"]


def _lost(name: str) -> str:
    return f"no {name} seen"


def _candidates(thing: Wanted, found: Sequence[Found], colours: Mapping[Found, Colour]) -> list[Found]:
    boxes = _named(thing.name, found)
    return [one for one in boxes if thing.colour and colours[one] == thing.colour] or boxes


def _named(name: str, found: Sequence[Found]) -> list[Found]:
    return [one for one in found if one.name == name]


def _is_before(first: Found, second: Found, axis: int) -> bool:
    one, two = first.box, second.box
    extents = one[axis + 2] - one[axis] + two[axis + 2] - two[axis]
    return (one[axis] + one[axis + 2]) / 2 < (two[axis] + two[axis + 2]) / 2 - MARGIN * extents


def _area(box: tuple[float, float, float, float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared(one: tuple[float, float, float, float], two: tuple[float, float, float, float]) -> float:
    across, down = min(one[2], two[2]) - max(one[0], two[0]), min(one[3], two[3]) - max(one[1], two[1])
    return max(0.0, across) * max(0.0, down)
