import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from drawbench.shapes.data import (
    TRAINING_MIX,
    WORDS_MIX,
    corpus_line,
    held_out_example,
    held_out_pair,
    is_held_out_caption,
    pair,
    training_example,
    words_pair,
)
from drawbench.shapes.font import HELD_OUT_WORDS
from drawbench.shapes.phrases import RARE_COLOURS, RARE_SHAPES
from drawbench.shapes.prompts import shapes
from drawbench.shapes.scene import is_held_out

RARE = [word for words in (*RARE_COLOURS.values(), *RARE_SHAPES.values()) for word in words]


def test_an_index_is_one_scene_and_caption_at_every_size():
    for index in (0, 1, 12345678901):
        small, caption = pair(index, 16)
        large, again = pair(index, 64)
        assert caption == again
        assert (small.size, large.size) == ((16, 16), (64, 64))
        assert np.array_equal(np.asarray(pair(index, 64)[0]), np.asarray(large))
        reduced = np.asarray(large).reshape(16, 4, 16, 4, 3).mean((1, 3))
        assert np.abs(reduced - np.asarray(small)).max() <= 0.5


def test_neighbours_in_the_stream_differ():
    assert len({np.asarray(pair(index, 16)[0]).tobytes() for index in range(200)}) == 200


@pytest.mark.parametrize("shares", [TRAINING_MIX, WORDS_MIX], ids=["training", "words"])
def test_training_never_shows_what_is_held_out(shares):
    captions = {prompt.text for prompt in shapes().prompts}
    for index in range(4000):
        picture, (scene, caption) = training_example(index, shares)
        assert not is_held_out(scene)
        assert scene.word not in HELD_OUT_WORDS
        assert not is_held_out_caption(caption)
        assert caption not in captions
        assert not any(
            (thing.thing.shape, thing.thing.colour) in {("triangle", "blue"), ("ring", "yellow")}
            for thing in picture.things
        )


def test_nearly_half_of_the_stream_of_words_has_a_word():
    written = sum(training_example(index, WORDS_MIX).captioned.scene.word is not None for index in range(2000))
    assert 800 < written < 1000
    assert sum(training_example(index).captioned.scene.word is not None for index in range(2000)) < 700
    image, caption = words_pair(5, 16)
    assert (image.size, caption) == ((16, 16), training_example(5, WORDS_MIX).captioned.caption)


def test_rare_words_are_rare_in_training_and_common_in_the_text():
    captions = [training_example(index).captioned.caption.lower() for index in range(4000)]
    lines = [corpus_line(index).lower() for index in range(2000)]
    assert 0 < sum(any(word in caption for word in RARE) for caption in captions) < 60
    assert sum(any(word in line for word in RARE) for line in lines) > 200


def test_the_text_explains_every_rare_word_and_has_none_of_the_prompts():
    lines = [corpus_line(index) for index in range(6000)]
    text = "\n".join(lines).lower()
    assert all(f"{word} is" in text or f"{word} means" in text for word in RARE)
    assert not {prompt.text for prompt in shapes().prompts} & set(lines)
    assert len(set(lines)) > 3500


def test_held_out_pairs_are_held_out_and_of_every_category():
    kinds = Counter()
    for index in range(400):
        _, (scene, caption) = held_out_example(index)
        held_out = (is_held_out(scene), scene.word in HELD_OUT_WORDS, is_held_out_caption(caption))
        assert any(held_out)
        kinds[held_out] += 1
    assert len(kinds) >= 4
    assert held_out_pair(0, 64)[0].size == (64, 64)


def test_the_world_loads_no_torch():
    code = (
        "import sys, numpy as np\n"
        "from drawbench.shapes.checker import check\nfrom drawbench.shapes.data import pair, training_example\n"
        "check(np.asarray(pair(0, 64)[0]), training_example(0).captioned.scene)\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
