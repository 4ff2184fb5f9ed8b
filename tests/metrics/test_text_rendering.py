"""Text that was rendered for the test is read back by the models that come in rapidocr's wheel."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from drawbench.errors import AssetMissing, UserError
from drawbench.interfaces import Prompt
from drawbench.metrics.text_rendering import compare, quoted, text_rendering


@pytest.fixture(scope="module")
def metric():
    return text_rendering()


def card(text, size=256, ink=(0, 0, 0), paper=(255, 255, 255)):
    image = Image.new("RGB", (size, size), paper)
    points = size // 7
    lines = text.split("\n")
    for number, line in enumerate(lines):
        place = (size // 16, size // 2 + (number - len(lines) / 2) * points * 1.5)
        ImageDraw.Draw(image).text(place, line, ink, ImageFont.load_default(points))
    return torch.from_numpy(np.array(image).transpose(2, 0, 1))


def score(metric, *pairs):
    images = torch.stack([image for image, _ in pairs])
    scored = metric.score(images, None, [Prompt(str(n), text) for n, (_, text) in enumerate(pairs)])
    return {name: values.tolist() for name, values in scored.values.items()}, scored.notes


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A sign that says 'Slow Down'.", ["Slow Down"]),
        ('A board with "Fresh Fish" and "Salt" on it', ["Fresh Fish", "Salt"]),
        ("A door with “Push” on it, next to ‘Pull’", ["Push", "Pull"]),
        ("A bar called 'Tom's Diner', at night", ["Tom's Diner"]),
        ("A mug that says ‘Don’t Panic’", ["Don’t Panic"]),
        ("('Open')", ["Open"]),
        ("'Stop'", ["Stop"]),
        ("He says 'yes', she says 'no'", ["yes", "no"]),
        ("It's a dog's life in a kid's room", []),
        ("The dogs' bowls and the cats' toys", []),
        ("Rock 'n' roll of the '50s and '60s", []),
        ("A 6' 2\" tall man", []),
        ('A cake of 5" by 7" that says "Yum"', ["Yum"]),
        ("A toy from the '90s in the kids' room", []),
        ("Fish 'n' chips under a board that says 'Open'", ["Open"]),
        ("A bar called 'Stop 'n' Shake'", ["Stop 'n' Shake"]),
        ("A bar called ‘Stop ’n’ Shake’", ["Stop ’n’ Shake"]),
        ('A wooden letter that says "N"', ["N"]),
        ("A wooden letter that says 'n'", ["n"]),
        ("A cat's 'Purr!', a dog's 'Woof?'", ["Purr!", "Woof?"]),
        ("A sign that says ''.", []),
        ('A sign that says " ".', []),
        ("No quotes at all", []),
    ],
)
def test_quotes_quote_and_apostrophes_do_not(text, found):
    assert quoted(text) == found


@pytest.mark.parametrize("size", [64, 256, 512])
def test_text_that_is_there_is_read_to_the_letter(metric, size):
    values, notes = score(metric, (card("Warm Bread", size), "A board that says 'Warm Bread'"))
    assert values == {name: [1.0] for name in metric.outputs}
    assert notes["text_wanted"] == ["Warm Bread"]
    assert "".join(notes["text_read"][0].split()) == "WarmBread"


def test_letters_that_fill_a_large_image_are_read(metric):
    image = Image.new("RGB", (512, 512), (20, 60, 160))
    ImageDraw.Draw(image).multiline_text((256, 256), "Zoo", "white", ImageFont.load_default(260), anchor="mm")
    values, _ = score(metric, (torch.from_numpy(np.array(image).transpose(2, 0, 1)), "A sign that says 'Zoo'"))
    assert values["exact"] == [1.0]


def test_lines_are_joined_in_reading_order(metric):
    values, notes = score(metric, (card("Long\nWay\nHome"), "A road sign: 'Long Way Home'"))
    assert values["exact"] == [1.0]
    assert notes["text_read"] == ["Long / Way / Home"]


def test_a_wrong_letter_is_not_exact_and_nearly_similar(metric):
    values, _ = score(metric, (card("Warm Braed"), "A board that says 'Warm Bread'"))
    assert values["exact"] == [0.0]
    assert values["similarity"] == [pytest.approx(1 - 2 / 9)]


def test_capitals_count_in_one_pair_of_outputs_and_not_in_the_other(metric):
    values, _ = score(metric, (card("WARM BREAD"), "A board that says 'Warm Bread'"))
    assert (values["exact"], values["exact_ignore_case"]) == ([0.0], [1.0])
    assert values["similarity"][0] < 0.5
    assert values["similarity_ignore_case"] == [1.0]


def test_an_empty_image_is_wrong_and_a_prompt_without_quotes_has_no_value(metric):
    blank = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    values, notes = score(metric, (blank, "A sign that says 'Stop'"), (blank, "A sign"))
    assert (values["exact"][0], values["similarity"][0]) == (0.0, 0.0)
    assert all(math.isnan(column[1]) for column in values.values())
    assert notes["text_read"] == ["", ""]


def test_of_several_strings_all_must_be_exact_and_similarity_is_their_mean(metric):
    prompt = "Two signs: 'Stop' and 'Go Home'"
    values, _ = score(metric, (card("Stop\nGo Home"), prompt), (card("Stop"), prompt))
    assert values["exact"] == [1.0, 0.0]
    assert values["similarity"][0] == 1.0
    assert 0.5 <= values["similarity"][1] < 0.8


def test_red_and_blue_are_not_swapped_on_the_way_to_the_reader(metric):
    """A text of a hue that differs from its ground in one channel only is given to the reader as BGR."""
    seen = []
    engine = metric.reader._engine
    metric.reader._engine = lambda array: seen.append(array) or engine(array)
    try:
        score(metric, (card("Stop", ink=(255, 0, 0), paper=(0, 0, 0)), "'Stop'"))
    finally:
        metric.reader._engine = engine
    assert seen[0][..., 2].max() == 255
    assert seen[0][..., 0].max() == 0


def test_a_reading_does_not_depend_on_what_else_is_in_the_batch(metric):
    pairs = [(card(text), f"'{text}'") for text in ("Stop", "Fresh Fish Daily", "Slow\nDown", "Mind the Gap")]
    together = score(metric, *pairs)
    backwards = score(metric, *reversed(pairs))
    alone = [score(metric, pair)[1]["text_read"][0] for pair in pairs]
    assert together[1]["text_read"] == alone == list(reversed(backwards[1]["text_read"]))


def test_blanks_and_kinds_of_quotes_do_not_count_and_letters_do():
    assert compare(["Go Home"], ["GoHome"]).exact == 1
    assert compare(["Don’t"], ["Don't"]).exact == 1
    assert compare(["Go"], ["Go", "Home"]).exact == 1
    assert compare(["GoHome"], ["Home", "Go"]).exact == 0
    assert compare(["Straße"], ["STRASSE"]).exact_ignore_case == 1
    assert compare(["abcd"], ["abxd"]).similarity == 0.75
    assert compare(["ab"], []) == (0, 0, 0, 0)
    assert compare(["Go Home"], ["Go"], ["Go", "Home"]).exact == 1
    assert compare(["Go Home"], ["Go"], ["Home"]).exact == 0  # Two looks are not joined.


def test_the_protocol_names_reader_models_and_threshold(metric):
    protocol = metric.protocol()
    assert "rapidocr" in protocol["reader"]
    assert protocol["models"].count(".onnx ") == 2
    assert text_rendering(min_confidence=0.9).protocol() != protocol
    with pytest.raises(UserError, match="from 0 to 1"):
        text_rendering(min_confidence=2)


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A folder that passes for rapidocr's own, with links to its settings and models."""
    import rapidocr

    real = Path(rapidocr.__file__).parent
    (tmp_path / "models").mkdir()
    for path in (real / "config.yaml", *(real / "models").glob("*.onnx")):
        (tmp_path / path.relative_to(real)).symlink_to(path)
    monkeypatch.setattr(rapidocr, "__file__", str(tmp_path / "__init__.py"))
    return tmp_path


def test_a_wheel_without_its_models_is_named_and_nothing_is_fetched(installed):
    model = next((installed / "models").glob("*_det_*.onnx"))
    model.unlink()
    with pytest.raises(AssetMissing, match=model.name):
        text_rendering()
    model.write_bytes(b"cut off")
    with pytest.raises(AssetMissing, match="no sound"):
        text_rendering()


def test_another_model_beside_the_shipped_one_is_not_taken(metric, installed):
    (installed / "models" / "AA_det_AA.onnx").write_bytes(b"not a model")
    assert text_rendering().protocol() == metric.protocol()
