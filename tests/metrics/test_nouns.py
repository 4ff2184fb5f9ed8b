import pytest

from drawbench.metrics.nouns import is_participle, is_plural, may_describe, plural, singular

PAIRS = """car cars, glass glasses, bus buses, house houses, horse horses, box boxes, dish dishes, church churches, tomato tomatoes,
shoe shoes, cherry cherries, toy toys, tie ties, person people, mouse mice, knife knives, cross crosses, vase vases, rose roses,
giraffe giraffes, octopus octopuses, child children, sheep sheep, key keys, axe axes""".replace("\n", " ")


@pytest.mark.parametrize("pair", PAIRS.split(", "))
def test_one_and_several_lead_to_each_other(pair):
    one, several = pair.split()
    assert (singular(several), plural(one)) == (one, several)
    assert singular(one) == one
    assert is_plural(several)
    assert is_plural(one) == (one == several)


def test_only_the_last_word_of_a_name_changes():
    assert plural("cell phone") == "cell phones"
    assert plural("wine glass") == "wine glasses"


@pytest.mark.parametrize("word", ["bus", "glass", "tennis", "cactus", "lens", "gas"])
def test_a_singular_that_ends_in_s_is_no_plural(word):
    assert not is_plural(word)


def test_verbs_are_told_from_nouns():
    assert all(map(is_participle, ["playing", "parked", "dressed", "eating"]))
    assert not any(map(is_participle, ["ring", "building", "bed", "sled", "seed", "king", "car"]))
    assert may_describe("dining", 0)
    assert not may_describe("eating", 1)
    assert may_describe("tennis", 0)
    assert may_describe("sports", 0)
    assert not may_describe("dogs", 0)
