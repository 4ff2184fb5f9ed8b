import hashlib
from itertools import combinations
from random import Random

import numpy as np
import pytest

from drawbench.shapes.data import held_out_example, training_example
from drawbench.shapes.font import GLYPHS, HELD_OUT_WORDS, WORDS, cells
from drawbench.shapes.layout import DrawnScene, DrawnSign, DrawnThing, arrange
from drawbench.shapes.renderer import VERSION, render
from drawbench.shapes.scene import SHAPES, Relation, Scene, Thing

PICTURES = [training_example(index).picture for index in range(60)] + [held_out_example(i).picture for i in range(30)]
GROUND = (128, 128, 128)


def one(shape, width=8.0, angle=0.0, texture="plain", hole=0.5):
    return DrawnScene(
        (DrawnThing(Thing(shape, "red", None, texture), 8, 8, width, angle, (214, 44, 44), 0, hole),), GROUND
    )


def painted(picture):
    """The share of the picture that is covered, from its red channel."""
    return float((picture[..., 0].astype(float) - 128).mean() / (214 - 128))


def test_every_value_stays_within_four_fifths_of_a_models_range():
    for picture in PICTURES:
        for size in (16, 64):
            pixels = render(picture, size)
            assert pixels.shape == (size, size, 3)
            assert pixels.min() >= 26
            assert pixels.max() <= 229


@pytest.mark.parametrize("size", [8, 16, 32])
def test_a_small_picture_is_the_rounded_mean_of_the_one_at_64(size):
    factor = 64 // size
    for picture in PICTURES:
        blocks = render(picture, 64).reshape(size, factor, size, factor, 3).astype(float)
        assert np.array_equal(render(picture, size), np.floor(blocks.mean((1, 3)) + 0.5).astype(np.uint8))


@pytest.mark.parametrize("size", [16, 24, 50, 64, 100, 256])
def test_at_any_size_it_is_the_same_picture(size):
    for picture in PICTURES[:30]:
        small, large = render(picture, size).astype(float).mean((0, 1)), render(picture, 512).astype(float).mean((0, 1))
        assert np.abs(small - large).max() < 1.0


@pytest.mark.parametrize(
    ("shape", "area"),
    [("circle", np.pi / 4), ("square", 1), ("triangle", 0.45), ("cross", 1 - 0.64**2), ("ring", np.pi / 4 * 0.75)],
)
@pytest.mark.parametrize("angle", [0.0, 5.0, 45.0])
def test_shapes_cover_the_area_that_geometry_gives(shape, area, angle):
    assert painted(render(one(shape, angle=angle), 256)) == pytest.approx(area / 4, rel=0.01)


@pytest.mark.parametrize("texture", ["striped", "dotted"])
def test_a_pattern_darkens_a_third_to_a_half_of_its_thing(texture):
    plain, patterned = render(one("square"), 64), render(one("square", texture=texture), 64)
    darker = (patterned[..., 0] < 150) & (plain[..., 0] > 200)
    assert 0.25 < darker.sum() / (plain[..., 0] > 200).sum() < 0.55


def test_letters_lie_on_the_grid_of_16():
    pixels = render(DrawnScene((), GROUND, DrawnSign("CAT", 1, 4, 216, 38)), 16)[..., 0]
    assert np.array_equal(pixels[5:10, 2:13] == 38, cells("CAT") == 1)
    assert set(pixels.ravel().tolist()) == {128, 216, 38}


def test_any_two_letters_differ_in_two_cells_or_more():
    assert len(GLYPHS) == 26
    assert min(int((GLYPHS[a] != GLYPHS[b]).sum()) for a, b in combinations(GLYPHS, 2)) == 2


def test_words_have_three_letters_and_held_out_ones_are_made_of_known_letters():
    assert {len(word) for word in WORDS + HELD_OUT_WORDS} == {3}
    assert not set(WORDS) & set(HELD_OUT_WORDS)
    assert set("".join(HELD_OUT_WORDS)) <= set("".join(WORDS))


def test_the_bytes_are_those_of_this_version():
    """Where this fails because a picture was meant to change, VERSION changes too: runs of the two are not one system."""
    digest = hashlib.sha256(b"".join(render(picture, 64).tobytes() for picture in PICTURES)).hexdigest()
    assert (VERSION, digest[:16]) == ("shapes 1", "710735938d08a03f")


def test_things_stay_in_the_picture_and_one_cell_apart_where_they_could_merge():
    for seed in range(300):
        rng = Random(seed)
        thing = Thing(rng.choice(SHAPES), "red")
        drawn = arrange(Scene((thing,) * rng.randint(1, 4)), rng).things
        for d in drawn:
            assert d.width >= 5  # Five pixels at 16 x 16.
            assert d.width / 2 <= d.x <= 16 - d.width / 2
            assert d.width / 2 <= d.y <= 16 - d.width / 2
        for a, b in combinations(drawn, 2):
            assert max(abs(a.x - b.x), abs(a.y - b.y)) >= (a.width + b.width) / 2 + 0.9


def test_what_a_caption_leaves_open_is_no_held_out_combination():
    for seed in range(300):
        (thing,) = arrange(Scene((Thing("triangle"),)), Random(seed)).things
        assert thing.thing.colour != "blue"
        assert thing.thing.texture == "plain"


def test_more_than_there_is_room_for_is_refused():
    with pytest.raises(ValueError, match="four at most"):
        arrange(Scene((Thing("circle", "red"),) * 5), Random(0))
    with pytest.raises(ValueError, match="room for one thing"):
        arrange(Scene((Thing("circle", "red"),) * 2, (), None, "SUN"), Random(0))
    with pytest.raises(ValueError, match="no picture"):
        relations = (Relation("left of", 0, 1), Relation("right of", 0, 1))
        arrange(Scene((Thing("circle", "red"),) * 3, relations), Random(0))
