import pytest

from drawbench.shapes.scene import SIGN, Relation, Scene, Thing, from_json, is_held_out, to_json

FULL = Scene(
    (Thing("circle", "red", "small", "plain"), Thing("ring")),
    (Relation("inside", 0, 1),),
    "dark",
)


@pytest.mark.parametrize(
    "scene", [FULL, Scene((), (), None, "SUN"), Scene((Thing("square"),), (Relation("above", 0, SIGN),), None, "SUN")]
)
def test_a_scene_survives_json_and_what_is_open_takes_no_room(scene):
    assert from_json(to_json(scene)) == scene
    assert "null" not in to_json(scene)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "not json",
        '{"things":[{"shape":"star"}]}',
        '{"things":[{"form":"circle"}]}',
        '{"things":[{"shape":"circle"}],"relations":[["above",0,1]]}',
        '{"things":[{"shape":"circle"}],"relations":[["above",0,-1]]}',
        '{"things":[{"shape":"circle"}],"relations":[["behind",0,0]]}',
        '{"word":"sun"}',
        '{"word":"SUN","mood":"glad"}',
    ],
)
def test_what_no_scene_has_is_refused(text):
    with pytest.raises((ValueError, TypeError, AttributeError)):
        from_json(text)


def test_combinations_are_held_out_by_shape_and_colour_or_pattern():
    assert is_held_out(Scene((Thing("circle", "red"), Thing("triangle", "blue"))))
    assert is_held_out(Scene((Thing("triangle", None, None, "dotted"),)))
    assert not is_held_out(Scene((Thing("circle", "blue"), Thing("triangle", "red", None, "striped"))))
    assert not is_held_out(Scene((Thing(None, "blue"), Thing("triangle"))))
