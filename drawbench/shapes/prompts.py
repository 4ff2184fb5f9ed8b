"""The prompt set ``shapes``: 200 fixed prompts, each category a shapes analogue of DrawBench's, with its scene on record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from functools import cache
from random import Random

from drawbench.errors import UserError
from drawbench.interfaces import Prompt, PromptSet
from drawbench.prompts import DRAWBENCH_COUNTS, make_prompt_set
from drawbench.shapes.data import is_held_out_caption
from drawbench.shapes.grammar import CATEGORIES, swapped
from drawbench.shapes.sampling import Captioned
from drawbench.shapes.scene import Scene, from_json, is_held_out, to_json

_SCENE = "shapes_scene"
_SINGLE_COLOURS = 13
"""Of the prompts of Colors: those with one thing; the others are pairs, each with its colours swapped in the next."""

_CONFLICTING_ALIKE = 2
"""Prompts of Conflicting with one and the same combination; there are six."""


def shapes() -> PromptSet:
    """Returns 200 prompts in DrawBench's categories, order and counts; none is a caption of the training pairs."""
    taken: set[str] = set()
    rows: list[tuple[str, Captioned]] = []
    for category, count in DRAWBENCH_COUNTS.items():
        chosen = (_colours if category == "Colors" else _drawn)(category, count, taken)
        taken |= {captioned.caption for captioned in chosen}
        rows += [(category, captioned) for captioned in chosen]
    return make_prompt_set(
        "shapes",
        [
            Prompt(
                f"{number:03d}",
                captioned.caption,
                category,
                {_SCENE: to_json(captioned.scene), "analogue": f"shapes analogue of DrawBench's {category}"},
            )
            for number, (category, captioned) in enumerate(rows, 1)
        ],
    )


def scene_of(prompt: Prompt) -> Scene | None:
    """Returns what a prompt's picture must show, or None for a prompt that is not of the shapes world.

    That of one of the 200 is known here, whatever a file says beside it: a run's digest is of ids, texts and categories.
    """
    if _SCENE not in prompt.metadata:
        return None
    if (known := _known().get((prompt.id, prompt.text))) is not None:
        return known
    try:
        return from_json(prompt.metadata[_SCENE])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"prompt {prompt.id}: its {_SCENE} is no scene of the shapes world: {error}") from error


@cache
def _known() -> dict[tuple[str, str], Scene]:
    return {(prompt.id, prompt.text): from_json(prompt.metadata[_SCENE]) for prompt in shapes().prompts}


def _drawn(category: str, count: int, taken: Set[str]) -> list[Captioned]:
    rng = Random(f"shapes prompts/{category}")
    chosen: dict[str, Captioned] = {}
    combinations: Counter[tuple[str | None, ...]] = Counter()
    while len(chosen) < count:
        captioned = CATEGORIES[category](rng)
        if captioned.caption in chosen or captioned.caption in taken or not is_held_out_caption(captioned.caption):
            continue
        if category == "Conflicting":
            (thing,) = captioned.scene.things
            combination = (thing.shape, thing.texture or thing.colour)
            if combinations[combination] == _CONFLICTING_ALIKE:
                continue
            combinations[combination] += 1
        chosen[captioned.caption] = captioned
    return list(chosen.values())


def _colours(category: str, count: int, taken: Set[str]) -> list[Captioned]:
    rng = Random(f"shapes prompts/{category}")
    single: dict[str, Captioned] = {}
    pairs: dict[str, Captioned] = {}
    while len(single) < _SINGLE_COLOURS or len(pairs) < count - _SINGLE_COLOURS:
        captioned = CATEGORIES[category](rng)
        if captioned.caption in taken or not is_held_out_caption(captioned.caption):
            continue
        if len(captioned.scene.things) == 1:
            if len(single) < _SINGLE_COLOURS:
                single.setdefault(captioned.caption, captioned)
            continue
        other = swapped(captioned)
        fits = is_held_out_caption(other.caption) and not is_held_out(other.scene)
        if fits and captioned.caption not in pairs and len(pairs) < count - _SINGLE_COLOURS:
            pairs[captioned.caption], pairs[other.caption] = captioned, other
    return [*single.values(), *pairs.values()]
