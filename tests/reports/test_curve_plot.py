"""Curves as SVG: what stands where, and that nothing a name holds can break it."""

import re
from xml.etree import ElementTree as ET

import pytest

from drawbench.interfaces import Interval
from drawbench.reports.curve_plot import (
    CURVES,
    PLOT,
    WIDTH,
    Curve,
    Reading,
    Spot,
    alone,
    banded,
    curve_plot,
    standalone,
)

SVG = "{http://www.w3.org/2000/svg}"


def within(low, high):
    return Interval(low, high, "t", "prompts")


def spot(label, x, y, wide=True):
    return Spot(label, Reading(x, within(x - 1, x + 1) if wide else None), Reading(y, within(y - 2, y + 2)))


def drawn(curves, **given):
    return curve_plot(curves, "gain ↑", "loss ↓", "loss & gain", "two <curves>", **given)


def of_class(root, name):
    return [node for node in root.iter() if name in node.get("class", "").split()]


def test_a_plot_is_well_formed_and_tells_its_title_and_description_first():
    root = ET.fromstring(drawn([Curve("a & <b>", [spot("1", 3, 4), spot("2", 5, 9)]), Curve("c", [spot("1", 2, 3)])]))
    assert root.get("role") == "img"
    assert [node.tag for node in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert (root[0].text, root[1].text) == ("loss & gain", "two <curves>")
    texts = [node.text for node in root.iter(f"{SVG}text")]
    assert {"a & <b>", "c", "gain ↑", "loss ↓"} <= set(texts)
    assert len(of_class(root, "cross")) == 3
    assert len(of_class(root, "curve")) == 2


def test_where_x_is_exact_the_uncertainty_is_a_band():
    curve = Curve("", [spot(str(n), n, n * n, wide=False) for n in range(4)])
    root = ET.fromstring(drawn([curve], exact=True))
    assert len(of_class(root, "band")) == 3
    assert not of_class(root, "cross")
    single = ET.fromstring(drawn([Curve("", [spot("1", 1, 1, wide=False)])], exact=True))
    assert len(of_class(single, "cross")) == 1, "a point alone has a whisker"


def test_a_measured_x_is_no_exact_one_though_nothing_is_known_of_its_spread():
    curve = Curve("", [spot(str(n), n, n * n, wide=False) for n in range(4)])
    root = ET.fromstring(drawn([curve]))
    assert not of_class(root, "band")
    assert len(of_class(root, "cross")) == 4


def test_an_interval_between_neighbours_without_one_is_a_whisker():
    spots = [Spot("", Reading(n), Reading(n, within(n - 1, n + 1) if n in (1, 3, 4) else None)) for n in range(5)]
    root = ET.fromstring(drawn([Curve("", spots)], exact=True))
    assert len(of_class(root, "band")) == 1
    (whisker,) = of_class(root, "cross")
    dots = list(root.iter(f"{SVG}circle"))
    assert whisker.get("d").startswith(f"M{dots[1].get('cx')} ")


def test_where_x_falls_or_stays_there_is_no_band_that_crosses_itself():
    spots = [spot("", x, x, wide=False) for x in (1, 3, 3, 2, 4)]
    assert [(one.x.value, two.x.value) for one, two in banded(Curve("", spots))] == [(1, 3), (2, 4)]
    assert [it.x.value for it in alone(Curve("", spots))] == [3]


def test_a_line_and_a_band_break_where_a_point_between_has_no_value():
    spots = [spot("", n, n, wide=False)._replace(joined=n != 3) for n in (1, 2, 3, 4)]
    root = ET.fromstring(drawn([Curve("", spots)], exact=True))
    (line,) = of_class(root, "curve")
    assert (line.get("d").count("M"), line.get("d").count("L")) == (2, 2)
    assert len(of_class(root, "band")) == 2


def test_as_many_curves_as_are_allowed_differ_in_colour_or_mark_and_one_more_is_refused():
    many = [Curve(f"c{n}", [spot("", n, n), spot("", n + 1, n)]) for n in range(CURVES + 1)]
    root = ET.fromstring(drawn(many[:CURVES]))
    lines = of_class(root, "curve")
    looks = {(line.get("class"), line.get("stroke-dasharray")) for line in lines}
    assert len(looks) == len(lines) == CURVES
    marks = [group[-1] for group in root.iter(f"{SVG}g")]
    shapes = {(mark.get("class"), mark.tag, re.sub(r"M[\d.]+ [\d.]+", "", mark.get("d", ""))) for mark in marks}
    assert len(shapes) == CURVES
    with pytest.raises(ValueError, match="33 curves: 32 can be told apart"):
        drawn(many)


def test_an_anchor_is_a_star_that_no_curve_joins_and_without_an_x_stands_right_of_them():
    curve = Curve("", [spot("", 1, 1), spot("", 2, 5)])
    inside = Spot("truth", Reading(4, within(3, 5)), Reading(20, within(18, 22)), joined=False)
    root = ET.fromstring(drawn([curve], anchors=[inside]))
    (line,) = of_class(root, "curve")
    assert line.get("d").count("L") == 1
    star, whiskers = sorted(of_class(root, "anchor"), key=lambda node: node.get("class"))
    assert whiskers.get("class") == "anchor cross"
    assert (whiskers.get("d").count("H"), whiskers.get("d").count("V")) == (1, 1)
    assert "truth" in [node.text for node in root.iter(f"{SVG}text")]
    outside = ET.fromstring(drawn([curve], exact=True, anchors=[inside._replace(x=None)]))
    right = max(float(node.get("cx")) for node in outside.iter(f"{SVG}circle"))
    star = next(node for node in of_class(outside, "anchor") if node.get("class") == "anchor")
    assert right < float(re.match(r"M([\d.]+)", star.get("d"))[1]) < WIDTH


def test_larger_values_are_further_right_and_higher_up_and_all_lie_within_the_picture():
    spots = [spot("a", 0.1, -5), spot("b", 40, 0), spot("c", 90, 12)]
    root = ET.fromstring(drawn([Curve("", spots)]))
    places = [(float(node.get("cx")), float(node.get("cy"))) for node in root.iter(f"{SVG}circle")]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == sorted((y for _, y in places), reverse=True)
    ends = [float(n) for node in of_class(root, "cross") for n in re.findall(r"-?[\d.]+", node.get("d"))]
    assert all(0 <= end <= max(WIDTH, PLOT) for end in ends)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e7])
def test_axes_have_round_ticks_at_every_scale(scale):
    spots = [Spot("", Reading(n * scale), Reading(3 + n * scale)) for n in (1, 2, 3)]
    root = ET.fromstring(drawn([Curve("", spots)]))
    ticks = [node.text for node in of_class(root, "tick")]
    assert len(ticks) >= 4
    assert not any("e" in text for text in ticks)


def test_labels_do_not_lie_on_one_another():
    spots = [spot(f"{n}.25", 1 + n / 50, 1 + n / 50) for n in range(4)]
    root = ET.fromstring(drawn([Curve("", spots), Curve("other", [spot("9.75", 60, 60)])]))
    places = [(float(node.get("x")), float(node.get("y"))) for node in of_class(root, "halo")]
    assert len(places) == 5
    for number, (x, y) in enumerate(places):
        assert all(abs(x - u) > 20 or abs(y - v) > 9 for u, v in places[:number])


def test_words_stand_on_the_axis_in_place_of_numbers():
    root = ET.fromstring(drawn([Curve("", [spot("", n, n, wide=False) for n in (0, 1)])], x_names=["none", "dynamic"]))
    assert {"none", "dynamic"} <= {node.text for node in of_class(root, "tick")}


def test_without_any_point_there_is_no_plot():
    assert drawn([]) == ""
    assert drawn([Curve("empty", [])]) == ""


def test_a_file_of_its_own_has_its_colours_for_light_and_dark_and_the_same_marks():
    plot = drawn([Curve("", [spot("1", 3, 4), spot("2", 5, 9)])])
    root = ET.fromstring(standalone(plot))
    style = root.find(f"{SVG}style").text
    assert "prefers-color-scheme: dark" in style
    assert set(re.findall(r"var\((--[a-z0-9]+)\)", style)) <= set(re.findall(r"(--[a-z0-9]+):", style)), (
        "all are defined"
    )
    assert [node.tag for node in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert len(of_class(root, "cross")) == len(of_class(ET.fromstring(plot), "cross")) == 2


def test_a_file_of_its_own_has_its_caption_in_sight_below_the_plot():
    plot = drawn([Curve("", [spot("1", 3, 4), spot("2", 5, 9)])])
    said = "crosses: 95 % intervals in both directions & more; " * 4
    inline, root = ET.fromstring(plot), ET.fromstring(standalone(plot, said))
    before, after = (float(it.get("viewBox").split()[3]) for it in (inline, root))
    own = [node.text for node in inline.iter(f"{SVG}text")]
    added = [node for node in root.iter(f"{SVG}text") if node.text not in own]
    assert " ".join(node.text for node in added) == said.strip()
    assert all(before < float(node.get("y")) < after for node in added)
