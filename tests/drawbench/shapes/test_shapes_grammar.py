from collections import Counter
from random import Random

import pytest

from drawbench.prompts import DRAWBENCH_COUNTS
from drawbench.shapes.font import HELD_OUT_WORDS
from drawbench.shapes.grammar import CATEGORIES, swapped
from drawbench.shapes.phrases import RARE_COLOURS, RARE_SHAPES, misspelt, phrase
from drawbench.shapes.sampling import Captioned
from drawbench.shapes.scene import COLOURS, SHAPES, Scene, Thing, is_held_out


def many(category, count=300):
    rng = Random(category)
    return [CATEGORIES[category](rng) for _ in range(count)]


def test_the_categories_are_drawbenchs_in_its_order():
    assert list(CATEGORIES) == list(DRAWBENCH_COUNTS)


@pytest.mark.parametrize("category", ["Colors", "Counting", "Positional"])
def test_a_plain_caption_names_all_that_its_scene_promises(category):
    for scene, caption in many(category):
        for thing in scene.things:
            assert (thing.shape or "") in caption.lower()
            assert (thing.colour or "") in caption.lower()
            assert (thing.size or "") in caption.lower()
        for colour in COLOURS:
            assert (colour in caption.lower()) == any(thing.colour == colour for thing in scene.things)


def test_captions_count_one_to_four_of_one_or_two_kinds():
    words = ("one", "two", "three", "four")
    seen = Counter()
    for scene, caption in many("Counting"):
        kinds = Counter(scene.things)
        named = [words.index(word) + 1 for word in caption.lower().replace(".", "").split() if word in words]
        assert sorted(named) == sorted(kinds.values())
        seen[len(kinds), len(scene.things)] += 1
    assert set(seen) == {(1, 1), (1, 2), (1, 3), (1, 4), (2, 2), (2, 3), (2, 4)}


def test_every_caption_of_conflicting_is_held_out_and_no_other_is():
    for category in CATEGORIES:
        held_out = {is_held_out(captioned.scene) for captioned in many(category)}
        assert held_out == {category == "Conflicting"}, category


def test_described_shapes_are_not_named():
    for _, caption in many("Descriptions"):
        assert not set(SHAPES) & set(caption.lower().replace(".", "").split())


def test_rare_words_are_rare_words():
    rare = [word for words in (*RARE_COLOURS.values(), *RARE_SHAPES.values()) for word in words]
    for _, caption in many("Rare Words"):
        assert any(word in caption.lower() for word in rare)


def test_a_word_is_quoted_and_held_out_words_come_too():
    words = set()
    for scene, caption in many("Text"):
        assert f'"{scene.word}"' in caption
        words.add(scene.word)
    assert set(HELD_OUT_WORDS) <= words


def test_marcus_tells_it_in_sentences_and_reddit_at_length():
    assert all(caption.count(".") >= 2 for _, caption in many("Gary Marcus et al."))
    assert min(len(caption) for _, caption in many("Reddit")) > 60


@pytest.mark.parametrize("category", list(CATEGORIES))
def test_captions_begin_with_a_capital_end_with_a_stop_and_vary(category):
    captions = {caption for _, caption in many(category)}
    assert len(captions) > 30
    for caption in captions:
        assert caption[0].isupper()
        assert caption[-1] == "."
        assert "  " not in caption
        assert " a a" not in caption
        assert "None" not in caption


def test_misspelt_words_keep_their_first_letter_and_short_words_stay():
    for seed in range(200):
        wrong = misspelt("A red triangle.", Random(seed), 2)
        assert wrong != "A red triangle."
        assert wrong.startswith("A red t")
        assert wrong.endswith(".")


def test_articles_follow_the_sound():
    assert phrase(Thing("circle", "red")) == "a red circle"
    assert phrase(Thing("ring"), shape="annulus") == "an annulus"


def test_swapping_exchanges_colours_in_scene_and_caption():
    before = Captioned(
        Scene((Thing("circle", "green"), Thing("square", "red"))), "A picture of a green circle and a red square."
    )
    after = swapped(before)
    assert after.caption == "A picture of a red circle and a green square."
    assert after.scene.things == (Thing("circle", "red"), Thing("square", "green"))
    assert swapped(after) == before
