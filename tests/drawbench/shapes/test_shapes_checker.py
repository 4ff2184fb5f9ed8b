"""The checker against pictures whose truth is known: drawn right, spoilt, and drawn wrong in one attribute."""

import io
import json
from random import Random

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from scipy import ndimage

from drawbench.errors import UserError
from drawbench.shapes.altering import altered
from drawbench.shapes.checker import ATTRIBUTES, check
from drawbench.shapes.grammar import CATEGORIES
from drawbench.shapes.layout import DrawnScene, arrange
from drawbench.shapes.reading import read
from drawbench.shapes.renderer import render
from drawbench.shapes.scene import SIGN, Relation, Scene, Thing
from drawbench.shapes.silhouette import NAMES, WEIGHTS, Silhouette, describe

RED, BLUE = Thing("circle", "red"), Thing("square", "blue")


def jpeg(image):
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, "JPEG", quality=75)
    return np.asarray(PIL.Image.open(stream))


def clipped(values):
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


SPOILT = {
    "blurred by one pixel": lambda image: clipped(ndimage.gaussian_filter(image.astype(float), (1, 1, 0))),
    "noisy by 12 steps": lambda image: clipped(image + np.random.default_rng(image.sum()).normal(0, 12, image.shape)),
    "JPEG at quality 75": jpeg,
    "a tenth brighter": lambda image: clipped(image * 1.1),
    "a tenth darker": lambda image: clipped(image * 0.9),
}


def drawn(scene, seed=0, size=64):
    return render(arrange(scene, Random(seed)), size)


def right(category, count, spoil=lambda image: image, size=64):
    """The share of pictures that are judged right."""
    rng = Random(f"right {category}")
    scenes = [CATEGORIES[category](rng).scene for _ in range(count)]
    return np.mean([check(spoil(render(arrange(scene, rng), size)), scene).correct for scene in scenes])


def wrong(category, count):
    """The share of pictures with one attribute changed that are judged wrong."""
    rng = Random(f"wrong {category}")
    scenes = [CATEGORIES[category](rng).scene for _ in range(count)]
    return np.mean([not check(render(arrange(altered(scene, rng), rng), 64), scene).correct for scene in scenes])


@pytest.mark.parametrize("category", list(CATEGORIES))
def test_what_is_drawn_right_is_judged_right_and_what_is_altered_is_judged_wrong(category):
    assert right(category, 60) >= 0.98
    assert wrong(category, 60) >= 0.98


@pytest.mark.parametrize("how", list(SPOILT))
def test_slight_damage_changes_few_verdicts(how):
    assert np.mean([right(category, 12, SPOILT[how]) for category in CATEGORIES]) >= 0.95


@pytest.mark.parametrize("size", [100, 128, 256])
def test_larger_pictures_are_read_too(size):
    assert np.mean([right(category, 8, size=size) for category in CATEGORIES]) >= 0.98


@pytest.mark.long
@pytest.mark.parametrize("category", list(CATEGORIES))
def test_of_2000_pictures_99_in_100_are_judged_rightly(category):
    assert right(category, 2000) >= 0.99
    assert wrong(category, 2000) >= 0.99


@pytest.mark.long
@pytest.mark.parametrize("category", list(CATEGORIES))
@pytest.mark.parametrize("how", list(SPOILT))
def test_of_2000_damaged_pictures_95_in_100_are_judged_rightly(category, how):
    assert right(category, 2000, SPOILT[how]) >= 0.95


@pytest.mark.parametrize(
    ("asked", "shown", "attribute", "reason"),
    [
        (Scene((RED,) * 2), Scene((RED,) * 3), "count", "two circles asked, three circles seen"),
        (Scene((RED,)), Scene((Thing("circle", "green"),)), "colour", "a red circle asked, green seen"),
        (Scene((RED,)), Scene((Thing("square", "red"),)), "shape", "a red circle asked, square seen"),
        (
            Scene((Thing("circle", "red", "large"),)),
            Scene((Thing("circle", "red", "small"),)),
            "size",
            "a large red circle asked, small seen",
        ),
        (
            Scene((Thing("square", "red", None, "striped"),)),
            Scene((Thing("square", "red", None, "dotted"),)),
            "texture",
            "a striped red square asked, dotted seen",
        ),
        (
            Scene((RED, BLUE), (Relation("left of", 0, 1),)),
            Scene((RED, BLUE), (Relation("right of", 0, 1),)),
            "relation",
            "a red circle is not left of a blue square",
        ),
        (
            Scene((RED, BLUE), (Relation("on top of", 0, 1),)),
            Scene((RED, BLUE), (Relation("on top of", 1, 0),)),
            "relation",
            "a red circle is not on top of a blue square",
        ),
        (
            Scene((RED, BLUE), (Relation("inside", 0, 1),)),
            Scene((RED, BLUE), (Relation("above", 0, 1),)),
            "relation",
            "a red circle is not inside a blue square",
        ),
        (
            Scene((RED,), (), "dark"),
            Scene((RED,), (), "light"),
            "background",
            "a dark background asked, a light one seen",
        ),
        (Scene((), (), None, "SUN"), Scene((), (), None, "RUN"), "word", "the word SUN asked, RUN seen"),
        (Scene((), (), "dark", "SUN"), Scene((RED,), (), "dark"), "word", "the word SUN asked, no sign seen"),
        (
            Scene((RED,), (Relation("above", 0, SIGN),), None, "SUN"),
            Scene((RED,), (Relation("below", 0, SIGN),), None, "SUN"),
            "relation",
            "a red circle is not above the sign",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words_and_by_attribute(asked, shown, attribute, reason):
    for seed in range(5):
        verdict = check(drawn(shown, seed), asked)
        assert not verdict.correct
        assert verdict.attributes[attribute] is False
        assert reason in verdict.reason
        assert check(drawn(asked, seed), asked) == (True, check(drawn(asked, seed), asked).attributes, "")


def test_an_attribute_that_nothing_promises_does_not_apply():
    verdict = check(drawn(Scene((RED,))), Scene((RED,)))
    assert list(verdict.attributes) == list(ATTRIBUTES)
    applies = {name for name, found in verdict.attributes.items() if found is not None}
    assert applies == {"count", "colour", "shape"}


def test_a_swapped_pair_is_wrong_in_its_colours_alone():
    swapped = Scene((Thing("circle", "blue"), Thing("square", "red")))
    for seed in range(20):
        verdict = check(drawn(swapped, seed), Scene((RED, BLUE)))
        assert not verdict.correct
        assert [name for name, found in verdict.attributes.items() if found is False] == ["colour"]


def test_too_few_of_a_kind_is_an_error_of_number_and_not_of_colour():
    verdict = check(drawn(Scene((RED,) * 2)), Scene((RED,) * 3))
    assert (verdict.attributes["count"], verdict.attributes["colour"]) == (False, True)


def test_a_missing_kind_is_wrong_in_all_that_it_promises():
    verdict = check(drawn(Scene((RED,))), Scene((RED, BLUE), (Relation("above", 0, 1),)))
    assert {verdict.attributes[name] for name in ("count", "colour", "shape", "relation")} == {False}


def test_a_thing_or_a_sign_too_many_is_wrong():
    both = Scene((RED,), (), None, "SUN")
    assert check(drawn(both), Scene((RED,))).reason == "a sign seen that was not asked for"
    assert check(drawn(both), Scene((), (), None, "SUN")).reason == "one circle seen that nobody asked for"


def test_what_an_attribute_applies_to_follows_from_the_scene_alone():
    sign, both = Scene((), (), None, "SUN"), Scene((RED,), (), None, "SUN")
    for scene in (sign, Scene((RED,)), both, Scene((RED, BLUE), (Relation("above", 0, 1),), "dark")):
        verdicts = [check(drawn(shown, 3), scene) for shown in (sign, both, Scene((RED,)), Scene((BLUE,) * 3))]
        assert len({tuple(n for n, found in v.attributes.items() if found is None) for v in verdicts}) == 1


def painted(draw, ground=(208, 208, 208)):
    """A picture that somebody else drew: the ground, and what ``draw`` adds at four times the size."""
    image = PIL.Image.new("RGB", (256, 256), ground)
    draw(PIL.ImageDraw.Draw(image))
    return np.asarray(image.resize((64, 64), PIL.Image.Resampling.BOX))


RED_PAINT, CYAN_PAINT = (200, 40, 40), (50, 190, 210)


def test_a_diamond_and_an_x_are_none_of_the_shapes():
    diamond = painted(lambda draw: draw.polygon([(128, 40), (216, 128), (128, 216), (40, 128)], RED_PAINT))
    cross = painted(
        lambda draw: [draw.line(ends, RED_PAINT, 40) for ends in ([(60, 60), (196, 196)], [(60, 196), (196, 60)])]
    )
    for image in (diamond, cross):
        for shape in ("square", "cross", "circle"):
            assert not check(image, Scene((Thing(shape, "red"),))).correct


def test_a_shade_on_one_side_is_no_pattern():
    def draw(draw):
        draw.rectangle((60, 60, 196, 196), RED_PAINT)
        draw.rectangle((60, 130, 196, 196), (110, 20, 20))

    for texture in ("striped", "dotted"):
        assert not check(painted(draw), Scene((Thing("square", "red", None, texture),))).correct


def test_a_thin_rim_is_no_second_thing():
    image = painted(lambda draw: draw.ellipse((60, 60, 196, 196), RED_PAINT, (30, 30, 30), 8))
    assert check(image, Scene((RED,))).correct


def test_a_small_thing_too_many_is_seen():
    def draw(draw):
        draw.ellipse((100, 100, 220, 220), RED_PAINT)
        draw.ellipse((20, 20, 52, 52), RED_PAINT)

    assert check(painted(draw), Scene((RED,))).reason == "one circle asked, two things seen"


def test_what_touches_the_edge_of_its_container_is_inside_it():
    def draw(draw):
        draw.rectangle((40, 40, 216, 216), RED_PAINT)
        draw.rectangle((42, 90, 122, 170), CYAN_PAINT)

    inside = Scene((Thing("square", "cyan"), Thing("square", "red")), (Relation("inside", 0, 1),))
    assert check(painted(draw), inside).attributes["relation"]


def test_a_circle_whose_paint_stops_short_of_the_thing_on_it_is_no_ring():
    def draw(draw):
        draw.ellipse((30, 30, 226, 226), CYAN_PAINT)
        draw.ellipse((66, 66, 190, 190), (208, 208, 208))
        draw.rectangle((80, 80, 176, 176), RED_PAINT)

    inside = (Relation("inside", 0, 1),)
    assert check(painted(draw), Scene((Thing("square", "red"), Thing("circle", "cyan")), inside)).correct
    assert not check(painted(draw), Scene((Thing("square", "red"), Thing("ring", "cyan")), inside)).correct


def test_a_ring_with_a_small_hole_is_a_ring():
    def draw(draw):
        draw.ellipse((50, 50, 206, 206), RED_PAINT)
        draw.ellipse((104, 104, 152, 152), (208, 208, 208))

    assert check(painted(draw), Scene((Thing("ring", "red"),))).correct


def test_a_small_ring_whose_middle_is_tinged_with_its_colour_is_a_ring():
    def draw(draw):
        draw.ellipse((80, 80, 176, 176), RED_PAINT)
        draw.ellipse((116, 116, 140, 140), (205, 150, 150))

    assert check(painted(draw), Scene((Thing("ring", "red"),))).correct


def test_a_circle_paler_in_its_middle_is_no_ring():
    def draw(draw):
        draw.ellipse((80, 80, 176, 176), RED_PAINT)
        draw.ellipse((112, 112, 144, 144), (202, 75, 75))

    assert check(painted(draw), Scene((RED,))).correct


def test_short_dark_lines_are_no_dots():
    def draw(draw):
        draw.rectangle((60, 60, 196, 196), RED_PAINT)
        for left in (84, 124, 164):
            draw.rectangle((left, 76, left + 12, 112), (110, 20, 20))
            draw.rectangle((left, 132, left + 12, 176), (110, 20, 20))

    assert not check(painted(draw), Scene((Thing("square", "red", None, "dotted"),))).correct


def test_a_striped_triangle_with_steps_for_flanks_is_a_triangle():
    def draw(draw):
        for step in range(5):
            top, half = 40 + 32 * step, 30 + 18 * step
            draw.rectangle((128 - half, top, 128 + half, top + 15), RED_PAINT)
            draw.rectangle((148 - half, top + 16, 108 + half, top + 31), (100, 20, 20))

    assert check(painted(draw, (40, 42, 40)), Scene((Thing("triangle", "red", None, "striped"),))).correct


def test_stripes_that_part_a_triangle_leave_it_one_thing():
    def draw(draw):
        for step in range(5):
            top, half = 40 + 32 * step, 24 + 18 * step
            draw.rectangle((128 - half, top, 128 + half, top + 17), RED_PAINT)

    verdict = check(painted(draw, (46, 46, 46)), Scene((Thing("triangle", "red", None, "striped"),)))
    assert verdict.attributes["count"], verdict.reason
    assert verdict.attributes["texture"], verdict.reason
    two = painted(lambda draw: [draw.rectangle((90, top, 166, top + 76), RED_PAINT) for top in (20, 110)])
    assert check(two, Scene((Thing("square", "red"), Thing("square", "red")))).correct, "two squares stay two"


def test_a_letter_that_could_be_another_is_not_read():
    image = drawn(Scene((), (), None, "FLY"))
    sign = read(image).sign
    left, top = round(sign.box[0] * 4), round(sign.box[1] * 4)
    assert sign.word == "FLY"
    spoilt = image.copy()
    cell = np.s_[top + 4 : top + 8, left + 12 : left + 16]  # F without its top right cell is as near to P.
    spoilt[cell] = image[top + 1, left + 1]
    assert read(spoilt).sign.word == "?LY"
    assert "the word FLY asked, ?LY seen" in check(spoilt, Scene((), (), None, "FLY")).reason


def test_a_thing_of_the_hue_that_tinges_its_ground_is_seen():
    tinged = painted(lambda draw: draw.rectangle((80, 80, 176, 176), CYAN_PAINT), (30, 66, 68))
    assert read(tinged).things[0].colour == "cyan"
    assert check(tinged, Scene((Thing("square", "cyan"),))).correct


def test_what_the_weights_of_silhouettes_are_for_is_what_is_described():
    stored = json.loads(WEIGHTS.read_text("utf-8"))
    names = list(describe(Silhouette(np.ones((20, 20), np.bool_), "plain", False, False)))
    assert [list(stored[name]) for name in ("mean", "scale")] == [names, names]
    assert {name: list(slope) for name, slope in stored["slope"].items()} == dict.fromkeys(NAMES, names)
    assert list(stored["bias"]) == list(NAMES)


def test_a_silhouette_is_described_alike_when_mirrored_but_for_its_sides():
    rows, columns = np.mgrid[:64, :64]
    mask = (rows > 10) & (rows < 40) & (abs(columns - 26) < (rows - 8) / 2.2) & (rows + columns < 74)
    one, other = (describe(Silhouette(seen, "plain", False, False)) for seen in (mask, mask[:, ::-1]))
    assert one["left quarter"] == other["right quarter"] != other["left quarter"] == one["right quarter"]
    for name in one.keys() - {"left quarter", "right quarter"}:
        assert one[name] == pytest.approx(other[name], abs=1e-6), name
    assert one["wave 3 at the top"] > 0 > describe(Silhouette(mask[::-1], "plain", False, False))["wave 3 at the top"]


def test_a_plank_of_the_same_colour_beside_a_thing_is_a_thing_too():
    def planks(paint):
        paint.rectangle((60, 84, 164, 188), RED_PAINT)
        paint.rectangle((60, 44, 164, 72), RED_PAINT)

    for ground in ((255, 255, 255), (46, 46, 46)):
        assert "two things seen" in check(painted(planks, ground), Scene((Thing("square", "red"),))).reason


@pytest.mark.parametrize("shape", ["square", "triangle"])
def test_a_frame_is_no_shape(shape):
    def frame(draw):
        if shape == "square":
            draw.rectangle((58, 58, 198, 198), RED_PAINT)
            draw.rectangle((82, 82, 174, 174), (208, 208, 208))
        else:
            draw.polygon([(128, 30), (226, 210), (30, 210)], RED_PAINT)
            draw.polygon([(128, 96), (176, 184), (80, 184)], (208, 208, 208))

    assert not check(painted(frame), Scene((Thing(shape, "red"),))).correct


def test_a_tinged_ground_that_is_lighter_at_one_end_is_no_thing():
    ramp = np.linspace((20, 50, 52), (50, 150, 155), 64).astype(np.uint8)
    image = np.repeat(ramp[:, None], 64, axis=1)
    image[22:42, 22:42] = RED_PAINT
    assert [thing.colour for thing in read(image).things] == ["red"]


@pytest.mark.parametrize("place", [np.s_[10:34, 19:63], np.s_[43:64, 2:46]])
def test_a_plate_that_leaves_the_picture_has_no_word(place):
    image = np.full((64, 64, 3), 40, np.uint8)
    image[place] = 235
    assert read(image).sign.word is None


def test_a_faint_tint_of_the_ground_is_no_thing_and_a_small_thing_of_full_colour_is_one():
    def draw(paint):
        return lambda draw: [draw.ellipse((100, 100, 220, 220), RED_PAINT), draw.ellipse((20, 20, 52, 52), paint)]

    assert check(painted(draw((170, 215, 170))), Scene((RED,))).correct
    assert not check(painted(draw((40, 160, 40))), Scene((RED,))).correct


def test_a_thing_on_the_middle_of_a_circle_makes_it_no_ring():
    def draw(draw):
        draw.ellipse((40, 40, 216, 216), RED_PAINT)
        draw.ellipse((84, 84, 172, 172), CYAN_PAINT)

    inside = (Relation("inside", 0, 1),)
    assert check(painted(draw), Scene((Thing("circle", "cyan"), RED), inside)).correct


@pytest.mark.parametrize("ground", [(208, 208, 208), (40, 42, 40)])
def test_a_dotted_circle_with_a_dot_in_its_middle_is_no_ring(ground):
    def draw(draw):
        draw.ellipse((60, 60, 196, 196), RED_PAINT)
        for x in (88, 128, 168):
            for y in (88, 128, 168):
                draw.ellipse((x - 12, y - 12, x + 12, y + 12), (100, 20, 20))

    assert check(painted(draw, ground), Scene((Thing("circle", "red", None, "dotted"),))).correct


def test_three_dots_among_long_lines_are_not_dotted():
    def draw(draw):
        draw.rectangle((60, 60, 196, 196), RED_PAINT)
        for left in (80, 108, 136):
            draw.rectangle((left, 76, left + 14, 152), (110, 20, 20))
        for x in (84, 124, 164):
            draw.ellipse((x - 8, 166, x + 8, 182), (110, 20, 20))

    assert not check(painted(draw), Scene((Thing("square", "red", None, "dotted"),))).correct


def test_what_is_too_small_to_be_told_from_another_shape_has_none():
    def draw(draw):
        draw.ellipse((120, 120, 220, 220), RED_PAINT)
        draw.rectangle((20, 20, 56, 56), RED_PAINT)

    seen = {thing.shape for thing in read(painted(draw)).things}
    assert seen == {"circle", None}


def test_a_small_thing_on_another_is_seen_but_not_where_two_colours_mix():
    def dot(draw):
        draw.ellipse((40, 40, 200, 200), RED_PAINT)
        draw.rectangle((108, 108, 140, 140), (50, 70, 210))

    def mixed(draw):
        draw.ellipse((70, 30, 170, 130), RED_PAINT)
        draw.rectangle((80, 140, 170, 230), CYAN_PAINT)
        draw.rectangle((104, 120, 140, 148), (150, 50, 200))

    assert check(painted(dot), Scene((RED,))).reason == "one circle asked, two things seen"
    assert [thing.colour for thing in read(painted(mixed)).things].count("purple") == 0


def test_a_spot_of_a_near_hue_belongs_to_its_thing():
    def draw(draw):
        draw.polygon([(128, 60), (190, 180), (66, 180)], (170, 30, 160))
        draw.ellipse((130, 140, 172, 174), (190, 30, 70))

    assert check(painted(draw, (40, 42, 40)), Scene((Thing("triangle", "purple"),))).correct


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64, 3), np.uint8),
        np.full((64, 64, 3), 255, np.uint8),
        np.full((64, 64, 3), (200, 20, 20), np.uint8),
        np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8),
        np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1),
        np.random.default_rng(0).integers(0, 2, (300, 200, 1), dtype=np.uint8).repeat(3, 2) * 255,
    ],
)
def test_pictures_of_nothing_are_wrong_and_break_nothing(image):
    for scene in (Scene((RED,)), Scene((RED, BLUE), (Relation("inside", 0, 1),)), Scene((), (), None, "SUN")):
        verdict = check(image, scene)
        assert not verdict.correct
        assert verdict.reason


def test_an_empty_background_is_read_with_its_tone():
    for tone, name in ((46, "dark"), (128, "grey"), (208, "light")):
        assert read(render(DrawnScene((), (tone, tone, tone)), 64)) == ((), name, None)
    assert read(np.full((64, 64, 3), (200, 20, 20), np.uint8)).background is None


def test_a_thing_without_colour_is_no_red_circle():
    image = np.full((64, 64, 3), 208, np.uint8)
    rows, columns = np.mgrid[:64, :64]
    image[(rows - 32) ** 2 + (columns - 32) ** 2 < 200] = 20
    verdict = check(image, Scene((RED,)))
    assert (verdict.attributes["shape"], verdict.attributes["colour"]) == (True, False)
    assert "a thing without colour seen" in verdict.reason


def test_a_picture_that_is_too_small_to_read_is_refused():
    with pytest.raises(UserError, match="read at 64x64 or more; this one is 32x32"):
        check(drawn(Scene((RED,)), size=32), Scene((RED,)))


def test_an_altered_scene_differs_and_can_always_be_drawn():
    for category, make in CATEGORIES.items():
        rng = Random(category)
        for _ in range(100):
            scene = make(rng).scene
            changed = altered(scene, rng)
            assert changed != scene
            arrange(changed, rng)
