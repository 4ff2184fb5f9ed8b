import numpy as np
import pytest
from PIL import ImageColor

from drawbench.metrics.detector_prompts import read_text
from drawbench.metrics.detector_rules import Found, judge, kept, overlap, rules_protocol, stands


def box(name, left, top, width=20, height=20, score=0.9):
    return Found(name, score, (left, top, left + width, top + height))


def scene(*things, size=(100, 200), ground="white"):
    """An image with a coloured rectangle for each ``(name, colour, left, top)``, and their boxes."""
    image = np.full((*size, 3), ImageColor.getrgb(ground), np.uint8)
    found = [box(name, left, top) for name, _, left, top in things]
    for one, (_, colour, _, _) in zip(found, things, strict=True):
        left, top, right, bottom = map(int, one.box)
        image[top:bottom, left:right] = ImageColor.getrgb(colour)
    return found, image


def verdict(text, *things):
    return judge(read_text(text), *scene(*things))


def test_a_number_is_right_where_exactly_so_many_are_seen():
    cats = [("cat", "grey", 30 * n, 10) for n in range(4)]
    assert verdict("Two cats.", *cats[:2]) == (True, {"counting": True, "colors": None, "positional": None}, "")
    assert verdict("Two cats.", *cats[:3]).reason == "two cats asked, three seen"
    assert verdict("Two cats.", cats[0]).attributes["counting"] is False
    assert verdict("Two cats.").reason == "two cats asked, none seen"
    assert verdict("One cat.", *cats[:2]).reason == "one cat asked, two seen"


def test_each_kind_of_thing_has_its_number():
    things = [("cat", "grey", 0, 10), ("dog", "brown", 40, 10), ("dog", "brown", 80, 10)]
    assert verdict("One cat and two dogs on the grass.", *things).correct
    assert verdict("Two cats and one dog on the grass.", *things).reason == (
        "two cats asked, one seen; one dog asked, two seen"
    )
    assert verdict("One cat and a dog.", *things).correct  # "A dog" counts nothing,
    assert verdict("One cat and a pig.", *things).reason == "no pig seen"  # but it must be there.


def test_an_article_is_no_number():
    assert verdict("A red car.", ("car", "red", 0, 0), ("car", "blue", 50, 0)).correct


def test_a_colour_is_that_of_the_thing_that_it_stands_with():
    right = [("cup", "green", 10, 10), ("book", "blue", 60, 50)]
    assert verdict("A green cup and a blue book.", *right).correct
    swapped = verdict("A blue cup and a green book.", *right)
    assert swapped.attributes == {"counting": None, "colors": False, "positional": None}
    assert swapped.reason == "a blue cup asked, green seen; a green book asked, blue seen"
    assert verdict("A green cup and a blue book.", right[0]).reason == "no book seen"


def test_a_number_of_coloured_things_has_two_verdicts():
    reds = [("car", "red", 30 * n, 10) for n in range(3)]
    assert verdict("Two red cars.", *reds[:2]).attributes == {"counting": True, "colors": True, "positional": None}
    assert verdict("Two red cars.", *reds).attributes == {"counting": False, "colors": True, "positional": None}
    assert verdict("Three red cars.", *reds[:2]).attributes == {"counting": False, "colors": True, "positional": None}
    mixed = verdict("Two red cars.", reds[0], ("car", "blue", 100, 10))
    assert mixed.attributes == {"counting": True, "colors": False, "positional": None}
    assert mixed.reason == "two red cars asked, blue seen"


def test_two_colours_of_one_name_are_counted_together_and_named_apart():
    things = [("ball", "red", 0, 10), ("ball", "red", 40, 10), ("ball", "blue", 80, 10)]
    assert verdict("Two red balls and one blue ball.", *things).correct
    assert verdict("One red ball and two blue balls.", *things).attributes["counting"] is True
    assert verdict("One red ball and two blue balls.", *things).attributes["colors"] is False


@pytest.mark.parametrize(
    ("place", "opposite", "second"),
    [("left of", "right of", (60, 10)), ("above", "below", (10, 60)), ("below", "above", (10, -60))],
)
def test_a_place_is_told_by_the_middles_of_boxes(place, opposite, second):
    one, two = box("cat", 10, 10), box("dog", *second)
    assert stands(place, one, two)
    assert not stands(place, two, one)
    assert stands(opposite, two, one)


@pytest.mark.parametrize(("apart", "holds"), [(3.9, False), (4.1, True), (0, False), (-30, False)])
def test_middles_within_a_tenth_of_both_widths_are_not_beside_each_other(apart, holds):
    assert stands("left of", box("cat", 10, 10), box("dog", 10 + apart, 70)) is holds
    assert stands("above", box("cat", 10, 10), box("dog", 70, 10 + apart)) is holds


def test_on_top_of_is_above_and_touching():
    base = box("box", 40, 60, width=40)
    assert stands("on top of", box("cat", 50, 40), base)
    assert stands("on top of", box("cat", 50, 45), base)  # Its box reaches into the other's.
    assert not stands("on top of", box("cat", 50, 10), base)  # It hovers.
    assert not stands("on top of", box("cat", 75, 40), base)  # It would fall.
    assert not stands("on top of", base, box("cat", 50, 40))


def test_inside_is_four_fifths_of_a_smaller_box():
    outer = box("box", 0, 0, width=60, height=60)
    assert stands("inside", box("cat", 20, 20), outer)
    assert not stands("inside", box("cat", 52, 20), outer)
    assert not stands("inside", outer, box("cat", 20, 20))


def test_a_place_is_judged_by_the_most_certain_box_of_the_right_colour():
    image = scene(("cup", "red", 0, 0), ("cup", "blue", 150, 0), ("book", "blue", 80, 0))
    request = read_text("A red cup left of a book.")
    assert judge(request, *image).correct
    wrong = judge(read_text("A blue cup left of a book."), *image)
    assert wrong.attributes == {"counting": None, "colors": True, "positional": False}
    assert wrong.reason == "the cup is not left of the book"
    green = judge(read_text("A green cup left of a book."), *image)
    assert green.attributes == {"counting": None, "colors": False, "positional": True}


def test_two_of_one_name_are_told_apart_by_colour_or_not_at_all():
    things = [("cup", "red", 10, 10), ("cup", "blue", 120, 10)]
    assert verdict("A red cup left of a blue cup.", *things).correct
    assert not verdict("A blue cup left of a red cup.", *things).correct
    assert verdict("A cup left of a cup.", *things).correct
    assert verdict("A cup above a cup.", *things).reason == "the cup is not above the cup"
    assert verdict("A cup left of a cup.", things[0]).reason == "only one cup seen"


def test_what_is_not_there_is_said_once():
    lost = verdict("A cat on the left of a red dog.", ("cat", "grey", 10, 10))
    assert lost == (False, {"counting": None, "colors": False, "positional": False}, "no dog seen")


def test_of_boxes_that_overlap_the_most_certain_is_kept():
    boxes = [box("cat", 0, 0, score=0.5), box("cat", 1, 1, score=0.8), box("cat", 50, 0, score=0.3)]
    assert [one.score for one in kept(boxes, 0.3)] == [0.8, 0.3]
    assert [one.score for one in kept(boxes, 0.31)] == [0.8]
    assert kept([], 0.1) == []


def test_one_thing_has_one_name_but_things_of_two_names_may_overlap():
    assert [one.name for one in kept([box("cat", 0, 0, score=0.5), box("dog", 1, 0)], 0.1)] == ["dog"]
    assert len(kept([box("man", 0, 0, height=40), box("horse", 0, 10, height=40)], 0.1)) == 2


def test_the_order_of_boxes_does_not_move_a_verdict():
    boxes = [box("cat", 10 * n, 5 * n, score=0.5) for n in range(8)]
    assert kept(boxes, 0.1) == kept(boxes[::-1], 0.1)


def test_overlap_is_the_intersection_over_the_union():
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_the_rules_are_named():
    assert rules_protocol()["rules"] == "detector rules 1"
