import numpy as np
import pytest

from drawbench.errors import UserError
from drawbench.generators.shapes_truth import shapes_truth
from drawbench.interfaces import Item, Prompt
from drawbench.shapes.prompts import shapes

PROMPTS = list(shapes().prompts)


def draw(prompt=PROMPTS[0], seed=0, **options):
    (drawn,) = shapes_truth(**options).generate([Item(prompt, 0, seed)])
    return drawn


def test_the_seed_is_the_image_and_seed_0_is_a_seed():
    assert np.array_equal(draw(seed=0).image, draw(seed=0).image)
    assert not np.array_equal(draw(seed=0).image, draw(seed=1).image)


def test_the_size_is_as_asked_and_the_scene_the_same():
    large, small = np.asarray(draw(size=64).image), np.asarray(draw(size=16).image)
    assert np.abs(large.reshape(16, 4, 16, 4, 3).mean((1, 3)) - small).max() <= 0.5


def test_the_wrong_rate_spares_the_right_images():
    for number, prompt in enumerate(PROMPTS):
        some = draw(prompt, number, wrong_rate=0.3)
        if not some.facts["altered"]:
            assert np.array_equal(some.image, draw(prompt, number).image)
            assert some.facts["drawn_scene"] == prompt.metadata["shapes_scene"]
        else:
            assert some.facts["drawn_scene"] != prompt.metadata["shapes_scene"]


def test_no_image_is_wrong_at_0_and_every_one_at_1():
    assert {draw(prompt).facts["altered"] for prompt in PROMPTS} == {0}
    assert {draw(prompt, wrong_rate=1.0).facts["altered"] for prompt in PROMPTS} == {1}


def test_a_prompt_of_another_set_is_an_error_in_one_line():
    with pytest.raises(UserError, match="knows no scene for prompt a; it draws only the prompts of --prompts shapes"):
        draw(Prompt("a", "A red circle."))


@pytest.mark.parametrize(("options", "message"), [({"size": 8}, "from 16"), ({"wrong_rate": 1.5}, "from 0 to 1")])
def test_options_out_of_bounds_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        shapes_truth(**options)
