"""Does a picture show its scene? What was read is held against what was promised, attribute by attribute, and said in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.shapes.patches import Mask
from drawbench.shapes.reading import SIDE, Seen, SeenSign, SeenThing, read
from drawbench.shapes.scene import SIGN, Relation, Scene, Thing

VERSION = "shapes 9"
"""Of the verdicts: another one wherever a picture may be judged otherwise."""

ATTRIBUTES = ("count", "colour", "shape", "size", "texture", "relation", "background", "word")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

Pairing = tuple[SeenThing | None, ...]
"""For each thing of the scene the one that was found for it, or None."""


class Verdict(NamedTuple):
    """What a picture is worth."""

    correct: bool
    attributes: Mapping[str, bool | None]
    """By `ATTRIBUTES`: right, wrong, or None where the scene promises nothing of that kind, whatever the picture shows."""
    reason: str
    """What is wrong, in words; empty where nothing is."""


def check(image: NDArray[np.uint8], scene: Scene) -> Verdict:
    """Reads an ``(H, W, 3) uint8`` picture and says whether it shows a scene: all of it, and nothing besides."""
    return compare(read(image), scene)


def compare(seen: Seen, scene: Scene) -> Verdict:
    """Holds what was read against a scene, in the pairing of things that speaks best for the picture."""
    pairing = min(_pairings(seen.things, len(scene.things)), key=lambda found: _faults(found, seen, scene))
    checks = {
        "count": _count(seen, scene),
        **{name: _attribute(name, pairing, scene) for name in ("colour", "shape", "size", "texture")},
        "relation": _relations(pairing, seen, scene),
        "background": _background(seen, scene),
        "word": _word(seen, scene),
    }
    attributes = {name: None if found is None else not found for name, found in checks.items()}
    reasons = [found for found in (*checks.values(), _besides(seen, scene)) if found]
    return Verdict(not reasons, attributes, "; ".join(reasons))


def checker_protocol() -> Mapping[str, str]:
    """Returns what moves a verdict."""
    return {"checker": VERSION, "resize": f"to {SIDE}x{SIDE} by area (Pillow BOX)"}


def holds(relation: Relation, first: SeenThing | SeenSign, second: SeenThing | SeenSign) -> bool:
    """Says whether two things that were found stand as a relation has it."""
    across, down = second.x - first.x, second.y - first.y
    place = relation.place
    if place == "inside":
        if isinstance(first, SeenSign) or isinstance(second, SeenSign):
            return False
        return _is_inside(first.mask, second.mask)
    if place == "on top of":
        gap = second.box[1] - first.box[3]
        shared = min(first.box[2], second.box[2]) - max(first.box[0], second.box[0])
        narrower = min(first.box[2] - first.box[0], second.box[2] - second.box[0])
        return bool(-1.5 < gap < 0.8 and shared > 0.4 * narrower)
    along, aside = (across, down) if place in ("left of", "right of") else (down, across)
    if place in ("right of", "below"):
        along = -along
    return bool(along > 2 and along > abs(aside))


def _is_inside(inner: Mask, outer: Mask) -> bool:
    """Says whether a silhouette lies in another, or is surrounded by it though it touches its edge."""
    from scipy import ndimage

    around = ndimage.binary_dilation(inner, iterations=3) & ~inner
    return bool((inner & outer).sum() > 0.8 * inner.sum() or (around & outer).sum() > 0.6 * around.sum())


def _pairings(found: Sequence[SeenThing], wanted: int) -> list[Pairing]:
    """Returns every way to give things of the scene things of the picture; of a swarm, the eight largest count."""
    largest = sorted(found, key=lambda thing: -int(thing.mask.sum()))[:8]
    open_places: list[SeenThing | None] = [None] * max(0, wanted - len(largest))
    return list(permutations([*largest, *open_places], wanted))


def _faults(pairing: Pairing, seen: Seen, scene: Scene) -> tuple[int, int]:
    """Returns how much is wrong, and how much of it in shapes: a thing is known by its shape rather than by its colour."""
    pairs = list(zip(scene.things, pairing, strict=True))
    faults = sum(
        3 if found is None else sum(_differs(name, thing, found) for name in ("colour", "shape", "size", "texture"))
        for thing, found in pairs
    )
    faults += sum(not _relation_holds(relation, pairing, seen) for relation in scene.relations)
    return faults, sum(found is not None and _differs("shape", thing, found) for thing, found in pairs)


def _differs(name: str, thing: Thing, found: SeenThing) -> bool:
    wanted = getattr(thing, name)
    return wanted is not None and wanted != getattr(found, name)


def _count(seen: Seen, scene: Scene) -> str | None:
    """Returns what is wrong with the number of things, an empty text where it is right, None where no thing is promised."""
    wanted, found = len(scene.things), len(seen.things)
    if not wanted:
        return None
    if wanted == found:
        return ""
    asked = _amount(wanted, {thing.shape for thing in scene.things})
    shown = _amount(found, {thing.shape for thing in seen.things})
    return f"{asked} asked, {shown} seen"


def _besides(seen: Seen, scene: Scene) -> str:
    """Returns what is there though nothing of its kind was asked for."""
    extra = []
    if seen.things and not scene.things:
        extra.append(f"{_amount(len(seen.things), {thing.shape for thing in seen.things})} seen that nobody asked for")
    if seen.sign is not None and scene.word is None:
        extra.append("a sign seen that was not asked for")
    return "; ".join(extra)


def _amount(number: int, shapes: set[str | None]) -> str:
    name = next(iter(shapes)) if len(shapes) == 1 else None
    plural = "" if number == 1 else "es" if name == "cross" else "s"
    return f"{_NUMBERS[number] if number < len(_NUMBERS) else number} {name or 'thing'}{plural}"


def _attribute(name: str, pairing: Pairing, scene: Scene) -> str | None:
    """Judges one attribute of all things; that too few of a kind are there is for the count alone, that none is, is not."""
    promised = [
        (thing, found) for thing, found in zip(scene.things, pairing, strict=True) if getattr(thing, name) is not None
    ]
    if not promised:
        return None
    kinds_found = {thing for thing, found in promised if found is not None}
    wrong: Counter[str] = Counter()
    for thing, found in promised:
        if found is not None and _differs(name, thing, found):
            wrong[f"{_described(thing)} asked, {_value(name, found)} seen"] += 1
        elif found is None and thing not in kinds_found:
            wrong[f"{_described(thing)} asked, none seen"] = 1
    return ", ".join(f"{text} {_times(count)}".strip() for text, count in wrong.items())


def _described(thing: Thing) -> str:
    parts = [thing.size, thing.texture, thing.colour, thing.shape or "thing"]
    return "a " + " ".join(part for part in parts if part)


def _value(name: str, found: SeenThing) -> str:
    return str(getattr(found, name) or {"colour": "a thing without colour", "shape": "no known shape"}[name])


def _times(count: int) -> str:
    return f"({_NUMBERS[count]} times)" if count > 1 else ""


def _relation_holds(relation: Relation, pairing: Pairing, seen: Seen) -> bool:
    first, second = (seen.sign if number == SIGN else pairing[number] for number in (relation.first, relation.second))
    return first is not None and second is not None and holds(relation, first, second)


def _relations(pairing: Pairing, seen: Seen, scene: Scene) -> str | None:
    if not scene.relations:
        return None
    wrong = []
    for relation in scene.relations:
        if not _relation_holds(relation, pairing, seen):
            first, second = (
                "the sign" if number == SIGN else _described(scene.things[number])
                for number in (relation.first, relation.second)
            )
            wrong.append(f"{first} is not {relation.place} {second}")
    return ", ".join(wrong)


def _background(seen: Seen, scene: Scene) -> str | None:
    if scene.background is None:
        return None
    found = seen.background or "coloured"
    return "" if found == scene.background else f"a {scene.background} background asked, a {found} one seen"


def _word(seen: Seen, scene: Scene) -> str | None:
    if scene.word is None:
        return None
    if seen.sign is None:
        return f"the word {scene.word} asked, no sign seen"
    return (
        ""
        if seen.sign.word == scene.word
        else f"the word {scene.word} asked, {seen.sign.word or 'nothing legible'} seen"
    )
