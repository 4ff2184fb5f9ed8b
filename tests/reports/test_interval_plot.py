import xml.etree.ElementTree as ET

import pytest
from making_runs import make_run, prompts, score

from drawbench.interfaces import Output
from drawbench.reports.comparison import compare
from drawbench.reports.interval_plot import interval_plot


def plot(tmp_path, value, kind="mean", categories=("red", "<blue>")):
    run = make_run(tmp_path / "a", prompts(12, categories), "alpha & co")
    score(run, "faithful", {"share": value}, {"share": Output(higher_is_better=True, kind=kind, main=True)})
    (section,) = compare([run]).sections
    return interval_plot(section, section.metrics[0].outputs[0], "a <title>", {"alpha & co": 0})


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_a_plot_is_well_formed_with_ticks_and_a_mark_for_each_row(tmp_path, scale):
    root = ET.fromstring(plot(tmp_path, lambda p, s: scale * int(p.id)))
    marks = [node for node in root.iter("circle") if node.get("class") == "s0"]
    ticks = [node.text for node in root.iter("text") if node.get("class") == "tick"]
    assert len(marks) == 3
    assert len(set(ticks)) == len(ticks) >= 2
    assert root.get("aria-label") == "a <title>"


def test_values_that_are_all_equal_still_have_an_axis(tmp_path):
    root = ET.fromstring(plot(tmp_path, lambda p, s: 512.0))
    assert len([node for node in root.iter("text") if node.get("class") == "tick"]) >= 2


def test_marks_and_intervals_lie_within_the_picture(tmp_path):
    root = ET.fromstring(plot(tmp_path, lambda p, s: float(int(p.id) == 1), "rate"))
    width = float(root.get("viewBox").split()[2])
    assert all(0 < float(node.get("cx")) < width for node in root.iter("circle"))


def test_nothing_to_plot_is_no_plot(tmp_path):
    assert plot(tmp_path, lambda p, s: float("nan")) == ""
