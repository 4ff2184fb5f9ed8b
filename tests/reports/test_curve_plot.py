"""Curves as SVG: what stands where, and that nothing a name holds can break it."""

import re
from xml.etree import ElementTree as ET

import pytest

from drawbench.interfaces import Interval
from drawbench.reports.curve_plot import PLOT, WIDTH, Curve, Reading, Spot, curve_plot, standalone

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
    root = ET.fromstring(drawn([curve]))
    assert len(of_class(root, "band")) == 3
    assert not of_class(root, "cross")
    alone = ET.fromstring(drawn([Curve("", [spot("1", 1, 1, wide=False)])]))
    assert len(of_class(alone, "cross")) == 1, "a point alone has a whisker"


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
