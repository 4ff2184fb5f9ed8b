from collections import Counter

import numpy as np
import pytest

from drawbench.errors import UserError
from drawbench.interfaces import Prompt
from drawbench.prompts import DRAWBENCH_COUNTS
from drawbench.shapes.checker import check
from drawbench.shapes.font import HELD_OUT_WORDS
from drawbench.shapes.layout import arrange
from drawbench.shapes.prompts import scene_of, shapes
from drawbench.shapes.renderer import render
from drawbench.shapes.scene import is_held_out

SET = shapes()


def test_the_200_prompts_are_these():
    """Where this fails because a prompt was meant to change: every number on the old set is of another set now."""
    assert SET.name == "shapes"
    assert SET.sha256[:16] == "e307fa1ff126ccf6"


def test_they_have_drawbenchs_categories_counts_and_order():
    assert [prompt.category for prompt in SET.prompts] == [
        c for c, count in DRAWBENCH_COUNTS.items() for _ in range(count)
    ]
    assert [prompt.id for prompt in SET.prompts] == [f"{number:03d}" for number in range(1, 201)]


def test_no_prompt_stands_there_twice():
    assert len({prompt.text for prompt in SET.prompts}) == 200


def test_each_says_that_it_is_an_analogue():
    for prompt in SET.prompts:
        assert prompt.metadata["analogue"] == f"shapes analogue of DrawBench's {prompt.category}"


def test_conflicting_has_all_six_combinations_and_text_some_held_out_words():
    scenes = {category: [scene_of(p) for p in SET.prompts if p.category == category] for category in DRAWBENCH_COUNTS}
    combinations = Counter(
        (s.things[0].shape, s.things[0].texture or s.things[0].colour) for s in scenes["Conflicting"]
    )
    assert len(combinations) == 6
    assert all(is_held_out(scene) for scene in scenes["Conflicting"])
    assert 4 <= sum(scene.word in HELD_OUT_WORDS for scene in scenes["Text"]) <= 12


def test_colours_has_swapped_pairs():
    pairs = [scene_of(p).things for p in SET.prompts if p.category == "Colors" and len(scene_of(p).things) == 2]
    assert len(pairs) == 12
    for (a, b), (c, d) in zip(pairs[::2], pairs[1::2], strict=True):
        assert (a.shape, b.shape) == (c.shape, d.shape)
        assert (a.colour, b.colour) == (d.colour, c.colour)


def test_every_prompts_scene_can_be_drawn_and_is_read_back():
    from random import Random

    for prompt in SET.prompts:
        scene = scene_of(prompt)
        verdict = check(render(arrange(scene, Random(prompt.id)), 64), scene)
        assert verdict.correct, (prompt.text, verdict.reason)


def test_another_prompt_has_no_scene_and_a_broken_one_is_said():
    assert scene_of(Prompt("a", "A red circle.")) is None
    with pytest.raises(UserError, match="prompt a: its shapes_scene is no scene of the shapes world"):
        scene_of(Prompt("a", "A red circle.", None, {"shapes_scene": "{}"}))
    assert np.isfinite(len(SET.prompts))
