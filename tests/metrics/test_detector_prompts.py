import csv
import re
from collections import Counter

import pytest

from drawbench.interfaces import Prompt
from drawbench.metrics.detector_prompts import (
    COLOURS,
    NOT_READ,
    NOTHING_ASKED,
    ODD_WORDS,
    Request,
    Wanted,
    amount,
    read_prompt,
    read_text,
)
from drawbench.shapes.prompts import scene_of, shapes


@pytest.mark.parametrize(
    ("text", "things", "place"),
    [
        ("A red apple and a green backpack.", [Wanted("apple", None, "red"), Wanted("backpack", None, "green")], None),
        ("A grey colored horse.", [Wanted("horse", None, "grey")], None),
        ("a gray-coloured horse", [Wanted("horse", None, "grey")], None),
        ("An orange.", NOTHING_ASKED, None),
        ("An orange orange.", [Wanted("orange", None, "orange")], None),
        ("Three mice in the kitchen.", [Wanted("mouse", 3)], None),
        ("One fox and four wine glasses sitting on the lawn.", [Wanted("fox", 1), Wanted("wine glass", 4)], None),
        ("One fox, two hens and a pig", [Wanted("fox", 1), Wanted("hen", 2), Wanted("pig")], None),
        ("There are exactly 7 red buses.", [Wanted("bus", 7, "red")], None),
        ("A dozen eggs.", [Wanted("egg", 12)], None),
        ("a photo of a bench left of a bear", [Wanted("bench"), Wanted("bear")], "left of"),
        ("A goat on the right side of a dining table.", [Wanted("goat"), Wanted("dining table")], "right of"),
        ("A goat is to the left of a drum.", [Wanted("goat"), Wanted("drum")], "left of"),
        ("A goat beneath a drum.", [Wanted("goat"), Wanted("drum")], "below"),
        ("A goat over a drum.", [Wanted("goat"), Wanted("drum")], "above"),
        ("A blue cup standing on a red cup.", [Wanted("cup", None, "blue"), Wanted("cup", None, "red")], "on top of"),
        ("A goat inside of a box.", [Wanted("goat"), Wanted("box")], "inside"),
        ("A white cotton tennis shoe.", [Wanted("cotton tennis shoe", None, "white")], None),
    ],
)  # fmt: skip
def test_a_prompt_of_its_form_is_read(text, things, place):
    read = read_text(text)
    assert read == (Request(tuple(things), place, read.unjudged) if isinstance(things, list) else things)


@pytest.mark.parametrize(
    "text",
    [
        "A red dog eating a blue bone.",
        "Two dogs play.",
        "A red dog sleeps.",
        "A red car parked.",
        "Two dogs playing.",
        "A black and white cat.",
        "A dark blue car.",
        "A red car with two wheels.",
        "Three cats. They are red.",
        "A pair of red shoes.",
        "Several red shoes.",
        "Two dozen eggs.",
        "One hundred cats.",
        "Half an apple and a red pear.",
        "0 cats.",
        "Two cats left of a dog.",
        "A cat on top of a field.",
        "A red car on the left.",
        "A goat left of a drum and a pig.",
        "A goat left of a drum above a pig.",
        'A red sign that says "two cats".',
        "A red, round ball.",
        "red",
        "a red",
        "A red green.",
        "",
        ".",
    ],
)
def test_any_other_prompt_is_left_alone(text):
    assert read_text(text) == NOT_READ


def test_what_is_not_judged_is_named():
    read = read_text("Two small red cars and a huge bus in front of a grey wall.")
    assert read.things == (Wanted("car", 2, "red"), Wanted("bus"))
    assert read.unjudged == ("in front of a grey wall", "small", "huge")


def test_a_request_is_said_in_words():
    assert str(read_text("An orange cup and two black mice.")) == "an orange cup and two black mice"
    assert str(read_text("a cup on the left of an axe")) == "a cup left of an axe"
    assert (amount(1, "ox"), amount(13, "ox")) == ("one ox", "13 oxen")


@pytest.mark.parametrize("category", ["Misspellings", "Rare Words"])
def test_words_that_are_odd_on_purpose_are_not_asked_for(category):
    assert read_prompt(Prompt("1", "Two red cars.", category)) == ODD_WORDS
    assert isinstance(read_prompt(Prompt("1", "Two red cars.", None)), Request)


def test_what_is_read_of_the_shapes_prompts_is_what_their_scenes_show():
    read = Counter()
    for prompt in shapes().prompts:
        request, scene = read_prompt(prompt), scene_of(prompt)
        if not isinstance(request, Request):
            continue
        things = [(t.name.split()[-1], t.colour) for t in request.things for _ in range(t.number or 1)]
        assert things == [(thing.shape, thing.colour) for thing in scene.things], prompt.text
        assert [request.place] * bool(request.place) == [relation.place for relation in scene.relations], prompt.text
        read[prompt.category] += 1
    assert (read["Counting"], read["Colors"], read["Positional"]) == (19, 25, 20)


def test_all_of_drawbenchs_counting_colors_and_positional_are_read_right(drawbench_csv):
    rows = list(csv.DictReader(drawbench_csv.read_text("utf-8-sig").splitlines()))
    read = Counter()
    numbers = ["one", "two", "three", "four", "five"]
    for row in rows:
        text, category = row["Prompt"].strip(), row["Category"].strip()
        request, words = read_prompt(Prompt("1", text, category)), re.findall("[a-z]+", text.lower())
        if not isinstance(request, Request):
            continue
        read[category] += 1
        assert [t.number for t in request.things if t.number] == [
            number
            for word in words
            for number, said in enumerate(numbers, 1)
            if word in (said, "single" * (number == 1))
        ]
        assert [t.colour for t in request.things if t.colour] == [word for word in words if word in COLOURS]
        assert all(set(t.name.split()) <= {*words, *(word.removesuffix("s") for word in words)} for t in request.things)
        assert (request.place is not None) == (category == "Positional" or " on a " in text), text
        if category == "Positional":
            side = next(word for word in ("left", "right", "top", "underneath") if word in words)
            assert {"left": "left of", "right": "right of", "top": "on top of", "underneath": "below"}[
                side
            ] == request.place
    assert (read["Counting"], read["Colors"], read["Positional"]) == (19, 25, 20)
    assert sum(read.values()) <= 68


def test_of_photo_captions_few_are_of_the_form(shared):
    with open(shared / "coco" / "coco_30k.csv", encoding="utf-8", newline="") as file:
        captions = [row["prompt"] for row in csv.DictReader(file)][:5000]
    read = [caption for caption in captions if isinstance(read_text(caption), Request)]
    assert 0 < len(read) < 50
