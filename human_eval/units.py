"""What a rater gets together: units of items, in which no prompt comes twice, and controls made of other units' prompts."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

from drawbench.human_eval.design import Design, Screen, controlled, values_of
from drawbench.human_eval.stimuli import stimulus_name
from drawbench.human_eval.study import REFERENCE, SPOILT, Item, Side


class Controlled(NamedTuple):
    """Items with their controls."""

    items: Sequence[Item]
    notes: Sequence[str]
    """Where controls had to be made otherwise than they should be."""


def in_units(items: Sequence[Item], design: Design, screen: int, rng: Random) -> Iterator[Item]:
    """Gives the items of a screen their units: of one category and one pair, or batches drawn by lot.

    In a batch no prompt comes twice: who saw one picture beside two others, or under one caption twice, would know whose it is.
    """
    asked = design.screens[screen].questions[0].name if len(design.screens) > 1 else ""
    if design.unit == "category":
        pairs = {tuple(side.system for side in item.sides) for item in items}
        numbers = {pair: number + 1 for number, pair in enumerate(sorted(pairs))}
        for item in items:
            pair = str(numbers[tuple(side.system for side in item.sides)]) if len(pairs) > 1 else ""
            yield replace(item, unit=" ".join(part for part in (asked, item.category or "all", pair) if part))
        return
    by_prompt: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_prompt[item.prompt].append(item)
    count = max(-(-len(items) // design.batch_size), *map(len, by_prompt.values()))
    digits = len(str(count))
    # Dealt like cards: the items of a prompt lie together, so they go to as many batches.
    dealt = [
        item for prompt in rng.sample(sorted(by_prompt), len(by_prompt)) for item in _shuffled(by_prompt[prompt], rng)
    ]
    batches: list[list[Item]] = [dealt[number::count] for number in range(count)]
    for number, batch in enumerate(batches, 1):
        for item in _shuffled(batch, rng):
            yield replace(item, unit=f"{asked} batch {number:0{digits}}".strip())


def _shuffled(items: Sequence[Item], rng: Random) -> list[Item]:
    return rng.sample(items, len(items))


def with_controls(items: Sequence[Item], design: Design, secret: str, rng: Random) -> Controlled:
    """Adds controls to each unit: a picture beside itself spoilt, or (of a single set) under another prompt's caption.

    They are made of prompts that the unit does not have, as far as there are any.
    """
    units: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        units[item.unit].append(item)
    made: list[Item] = []
    short: Counter[str] = Counter()
    for name, unit in units.items():
        made += unit
        own = {item.prompt for item in unit}
        same_screen = [item for item in items if item.screen == unit[0].screen]
        chosen = _one_of_each_prompt([item for item in same_screen if item.prompt not in own], design.controls, rng)
        if len(chosen) < design.controls:
            more = _one_of_each_prompt(unit, design.controls - len(chosen), rng)
            short[name] += len(more)
            chosen += more
        for item in chosen:
            identity = hashlib.sha256(f"{secret}/control/{name}/{item.id}".encode()).hexdigest()[:16]
            if design.shows == "single":
                control = _wrong_caption(item, same_screen, own, design.screens[item.screen], rng)
            else:
                control = _beside_itself_spoilt(item, identity, secret, rng)
            if control is not None:
                made.append(replace(control, id=identity, unit=name))
    notes = []
    if short:
        notes.append(
            f"{sum(short.values())} controls in {len(short)} units are made of the unit's own prompts, as there are not enough "
            "others: a rater may know a picture again; more units, or more prompts, would avoid it"
        )
    return Controlled(made, notes)


def _one_of_each_prompt(items: Sequence[Item], count: int, rng: Random) -> list[Item]:
    by_prompt: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_prompt[item.prompt].append(item)
    prompts = rng.sample(sorted(by_prompt), min(count, len(by_prompt)))
    return [rng.choice(by_prompt[prompt]) for prompt in prompts]


def _wrong_caption(item: Item, items: Sequence[Item], own: set[str], screen: Screen, rng: Random) -> Item | None:
    """Returns a set under the caption of another prompt, best of one that the unit does not have; None: there is no other."""
    others = [one for one in items if one.prompt != item.prompt and one.caption != item.caption]
    others = [one for one in others if one.prompt not in own] or others
    if not others:
        return None
    expected = {}
    for question in controlled(screen):
        values = values_of(question)
        expected[question.name] = min(values, key=values.__getitem__)
    return replace(item, caption=rng.choice(others).caption, control=expected)


def _beside_itself_spoilt(item: Item, identity: str, secret: str, rng: Random) -> Item:
    """Returns one side of a pair beside the same spoilt: of a reference design the photograph, else either system's."""
    photographs = [side for side in item.sides if side.system == REFERENCE]
    kept = rng.choice(photographs or item.sides)
    names = tuple(stimulus_name(secret, SPOILT, identity, number) for number in range(len(kept.images)))
    return replace(item, sides=(kept, Side(SPOILT, names)), control=kept.system)
