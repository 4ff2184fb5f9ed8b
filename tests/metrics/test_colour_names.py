import re

import numpy as np
import pytest
from PIL import Image, ImageColor, ImageDraw

from drawbench.metrics.colour_names import COLOURS, TYPICAL, colour_of_box, name_colours, to_lab


def rgb(*colours):
    return np.array([ImageColor.getrgb(colour) for colour in colours], np.uint8)


def test_cielab_agrees_with_known_values():
    lab = to_lab(rgb("white", "black", "red", "lime", "blue", "#777777"))
    known = [
        [100, 0, 0],
        [0, 0, 0],
        [53.24, 80.09, 67.20],
        [87.73, -86.18, 83.18],
        [32.30, 79.19, -107.86],
        [50.03, 0, 0],
    ]
    assert lab == pytest.approx(np.array(known), abs=0.05)


def test_the_plain_colours_have_their_names():
    names = ["black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink"]
    assert name_colours(rgb(*names)) == names
    assert name_colours(rgb("saddlebrown", "sienna")) == ["brown", "brown"]


def test_four_of_five_colours_of_css_are_named_as_they_are_called():
    called = {}
    for name, code in ImageColor.colormap.items():
        if isinstance(code, str) and (
            found := re.search(r"(black|white|grey|red|orange|yellow|green|blue|purple|pink)$", name)
        ):
            called[name] = found.group(1)
    named = name_colours(rgb(*called))
    assert len(called) > 50
    assert np.mean([a == b for a, b in zip(named, called.values(), strict=True)]) > 0.8


def test_cyan_is_named_only_where_it_is_asked_for():
    assert name_colours(rgb("cyan"), COLOURS) == ["cyan"]
    assert name_colours(rgb("cyan"))[0] in ("blue", "green")
    assert set(TYPICAL) == set(COLOURS)


def picture(thing, ground, box=(30, 20, 70, 60), shape="ellipse", size=(100, 80)):
    image = Image.new("RGB", size, ground)
    getattr(ImageDraw.Draw(image), shape)(box, fill=thing)
    return np.asarray(image)


@pytest.mark.parametrize("ground", ["white", "darkgreen", "black"])
def test_a_box_has_the_colour_of_its_thing_and_not_of_the_ground(ground):
    image = picture("red", ground)
    found = colour_of_box(image, (30, 20, 71, 61))
    assert next(iter(found)) == "red"
    assert sum(found.values()) == pytest.approx(1)
    ring = image.copy()
    ring[28:53, 38:63] = ImageColor.getrgb(ground)  # Hollow: the middle shows the ground.
    assert next(iter(colour_of_box(ring, (30, 20, 71, 61)))) == "red"


def test_a_thing_coloured_like_the_ground_has_that_colour():
    assert next(iter(colour_of_box(picture("white", "white"), (30, 20, 70, 60)))) == "white"


def test_a_box_of_the_whole_image_has_no_ground():
    assert next(iter(colour_of_box(picture("blue", "blue"), (0, 0, 100, 80)))) == "blue"


@pytest.mark.parametrize("box", [(-20, -20, 3, 3), (99.6, 79.7, 140, 90), (50, 40, 50.2, 40.1)])
def test_a_box_at_the_edge_or_of_one_pixel_has_a_colour(box):
    assert next(iter(colour_of_box(picture("red", "green"), box))) in ("red", "green")


def test_a_large_box_is_sampled_with_the_same_result():
    small, large = picture("purple", "white"), picture("purple", "white", (600, 400, 1400, 1200), size=(2000, 1600))
    assert next(iter(colour_of_box(large, (600, 400, 1400, 1200)))) == next(
        iter(colour_of_box(small, (30, 20, 70, 60)))
    )


OF_DRAWN = [
    (1, (55, 158, 252, 243), "red"), (2, (0, 124, 210, 237), "black"), (3, (58, 135, 256, 238), "pink"),
    (4, (0, 8, 60, 245), "black"), (5, (30, 0, 256, 252), "red"), (7, (38, 14, 165, 250), "green"),
    (9, (0, 8, 48, 235), "black"), (15, (65, 0, 256, 256), "brown"), (16, (108, 186, 212, 238), "red"),
    (17, (28, 97, 128, 256), "blue"), (17, (36, 0, 250, 250), "brown"), (18, (0, 5, 75, 238), "green"),
    (19, (60, 92, 148, 250), "green"), (19, (0, 30, 44, 190), "black"), (20, (155, 145, 207, 243), "red"),
    (21, (44, 134, 256, 228), "white"), (21, (164, 66, 256, 132), "red"), (22, (32, 0, 250, 230), "brown"),
    (23, (0, 15, 75, 238), "green"), (24, (0, 30, 44, 190), "black"), (25, (110, 115, 198, 245), "red"),
]  # fmt: skip
"""Boxes of one-coloured things in drawn images, by eye and in 256ths of the image, and what colour a person sees."""


def test_of_21_things_in_drawn_images_20_have_the_colour_that_a_person_sees(drawn):
    right = 0
    for number, box, colour in OF_DRAWN:
        image = np.asarray(Image.open(next(path for path in drawn if path.stem == f"{number:03d}")).convert("RGB"))
        scale = image.shape[0] / 256
        right += next(iter(colour_of_box(image, tuple(edge * scale for edge in box)))) == colour
    assert right >= 20
