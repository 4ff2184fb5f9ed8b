import numpy as np
import pytest
import torch

from drawbench.errors import UserError
from drawbench.generators.shapes_truth import shapes_truth
from drawbench.interfaces import Item, Prompt
from drawbench.intervals import estimate
from drawbench.metrics.shapes_accuracy import shapes_accuracy
from drawbench.shapes.prompts import shapes

PROMPTS = list(shapes().prompts)


def items(prompts, samples=1):
    return [
        Item(prompt, sample, 1000 * sample + number)
        for number, prompt in enumerate(prompts)
        for sample in range(samples)
    ]


def score(drawn, prompts):
    images = torch.from_numpy(np.stack([np.asarray(d.image).transpose(2, 0, 1) for d in drawn]))
    return shapes_accuracy().score(images, None, prompts)


def test_the_truth_is_right_in_99_of_100_images_of_all_prompts():
    wanted = items(PROMPTS, samples=4)
    scored = score(shapes_truth().generate(wanted), [item.prompt for item in wanted])
    assert scored.values["correct"].mean() >= 0.99


def test_a_known_share_of_wrong_images_is_found_within_its_interval():
    wanted = items(PROMPTS, samples=4)
    drawn = shapes_truth(wrong_rate=0.3).generate(wanted)
    values = score(drawn, [item.prompt for item in wanted]).values["correct"]
    found = estimate(values, [item.prompt.id for item in wanted], "rate", "prompts")
    assert found.interval.low <= 0.70 <= found.interval.high
    altered = np.array([d.facts["altered"] for d in drawn])
    assert (values == 1 - altered).mean() >= 0.99


def test_images_against_the_prompts_of_others_are_wrong():
    drawn = shapes_truth().generate(items(PROMPTS))
    assert score(drawn, PROMPTS[100:] + PROMPTS[:100]).values["correct"].mean() < 0.05


def test_attributes_apply_where_the_prompt_promises_them():
    drawn = shapes_truth().generate(items(PROMPTS))
    values = score(drawn, PROMPTS).values
    assert set(values) == {
        "correct", "count", "colour", "shape", "size", "texture", "relation", "background", "word",
    }  # fmt: skip
    of_text = [prompt.category == "Text" for prompt in PROMPTS]
    assert np.array_equal(np.isfinite(values["word"]), of_text)
    assert all(np.isfinite(column).sum() >= 10 for column in values.values())


def test_a_prompt_of_ones_own_has_no_value_and_is_counted():
    metric = shapes_accuracy()
    prompts = [Prompt("a", "A red circle."), PROMPTS[0]]
    scored = score(shapes_truth().generate(items([PROMPTS[0], PROMPTS[0]])), prompts)
    assert all(np.isnan(column[0]) for column in scored.values.values())
    assert scored.values["correct"][1] == 1
    assert metric.remarks(prompts) == ["1 of 2 prompts are not of the shapes world and have no value"]
    assert metric.remarks(PROMPTS) == []


def test_what_is_wrong_is_noted_in_words():
    scored = score(shapes_truth(wrong_rate=1.0).generate(items(PROMPTS[:10])), PROMPTS[:10])
    assert all(("asked" in note) or ("is not" in note) for note in scored.notes["wrong"])


def test_an_image_too_small_to_read_is_said():
    with pytest.raises(UserError, match="64x64 or more"):
        score(shapes_truth(size=32).generate(items(PROMPTS[:1])), PROMPTS[:1])


def test_its_protocol_names_the_checkers_version():
    assert shapes_accuracy().protocol() == {"checker": "shapes 9", "resize": "to 64x64 by area (Pillow BOX)"}
