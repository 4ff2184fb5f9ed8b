"""The conformance kit: every metric of ours that runs offline passes, and each bad one fails where it is bad."""

import json
import sys
import textwrap

import bad_metrics
import pytest
from bad_metrics import SIDE

from drawbench.cli import main
from drawbench.metrics.clip_score import clip_score
from drawbench.metrics.conformance import examine
from drawbench.metrics.conformance_images import pictures
from drawbench.metrics.diversity import diversity
from drawbench.metrics.fd import fd
from drawbench.metrics.fid_infinity import ExtrapolatedDistance
from drawbench.metrics.full_reference import find_full_reference
from drawbench.metrics.image_stats import image_stats
from drawbench.metrics.kid import SubsetKernelDistance
from drawbench.metrics.reference import find_reference
from drawbench.metrics.shapes_accuracy import shapes_accuracy


def examined(metric, folder):
    """Examines a class of bad_metrics."""
    takes = isinstance(metric, type) and issubclass(metric, bad_metrics.Distance)
    build = (lambda given: metric(folder)) if takes else lambda given: metric()
    return {it.name: it for it in examine(build, reference=None, takes_reference=takes, folder=folder, side=SIDE)}


@pytest.fixture
def drawbench(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["drawbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code, *capsys.readouterr())

    return call


@pytest.mark.parametrize(
    ("build", "takes_reference", "fewest", "of_all"),
    [
        (lambda given: clip_score(model="shapes"), False, 18, 21),
        (lambda given: diversity(model="shapes"), False, 15, 19),
        (lambda given: fd(reference=given), True, 19, 20),  # Prompts are no matter of a set metric.
        (lambda given: image_stats(), False, 12, 21),
        (lambda given: shapes_accuracy(), False, 17, 21),
    ],
    ids=["clip_score", "diversity", "fd", "image_stats", "shapes_accuracy"],
)
def test_ours_pass(build, takes_reference, fewest, of_all, tmp_path):
    checks = examine(build, reference=None, takes_reference=takes_reference, folder=tmp_path, side=SIDE)
    assert [it for it in checks if it.state == "BAD"] == []
    assert sum(it.state == "ok" for it in checks) >= fewest
    assert len(checks) == of_all


GOOD = ["AlsoOfFiles", "Apart", "DeclaredGrey", "Distance", "DrawsByPlace", "Faithful", "Looks", "SaysLaterIsMore"]


@pytest.mark.parametrize("metric", GOOD)
def test_the_good_ones_among_the_bad_pass(metric, tmp_path):
    checks = examined(getattr(bad_metrics, metric), tmp_path)
    assert {name: it for name, it in checks.items() if it.state == "BAD"} == {}


BAD = {
    "WrapsAround": ("inversion", "score better when changed"),
    "Truncates": ("channel order", "no value changes"),
    "DividesAgain": ("float in [0, 1]", "taken in silence for another image"),
    "BlueFirst": ("channel order", "score better when changed"),
    "FirstThird": ("order", "near moves by"),
    "DropsBlack": ("values", "near has shape"),
    "Counts": ("repeats", "scored twice, near moves by"),
    "Draws": ("repeats", "scored twice, near moves by"),
    "NormalisesByBatch": ("batch size", "in batches of 3 instead of 16, near moves by"),
    "Paints": ("values", "it alters the images"),
    "TooLarge": ("values", r"near is a rate and has values outside [0, 1]"),
    "Infinite": ("values", "near is not finite"),
    "NoMain": ("outputs", "not exactly one output is main"),
    "AnotherName": ("values", "its values and its outputs disagree on far"),
    "NamesItselfAnew": ("protocol", "made twice it names itself differently (made)"),
    "WrongWay": ("noise", "scores better than the step before"),
    "Grey": ("channel order", "no value changes"),
    "Sharp": ("noise", "step 1 of 3 scores better than the step before"),
    "TakesEmpty": ("no image", "gives a value, [0.], of what has none"),
    "OtherPath": ("identity", "far of the same images is"),
    "PreviousPath": ("channel order", "no value changes"),
    "KeepsTheGroup": ("without a group", "computed anew"),
    "NeedsTwo": ("too few images", "of 1 images, the fewest that it says have a value"),
    "Nameless": ("protocol", "names neither its key nor the sha256 of its weights"),
    "PeeksAtPixels": ("features only", "bright applies to other images"),
    "AsksForTheSize": ("features only", "it fails (UserError: it takes images"),
    "LacksAnOutput": ("values", "its values and its outputs disagree on near"),
    "HidesThatItDraws": ("order", "far moves by"),
    "Constant": ("copies", "as many copies of one image have the value of different images"),
    "OnlyTheFirst": ("copies", "as many copies of one image have the value of different images"),
    "ReadsThePrompt": ("copies", "as many copies of one image have the value of different images"),
    "LaterIsMore": ("order", "with a prompt's images reversed, apart moves by"),
    "ColourBlindApart": ("channel order", "no value changes with red and blue exchanged"),
    "CountsSamples": ("noise", "no value changes with one of two images noise"),
    "ZeroOfNone": ("no image", "gives a value, [0.], of what has none"),
    "FailsOnOne": ("values", "it fails on ordinary images (ValueError"),
    "PaintsSamples": ("values", "it alters the images"),
    "OtherNameOfPrompt": ("values", "its values and its outputs disagree on apart, distance"),
}


@pytest.mark.parametrize("metric", BAD)
def test_each_bad_metric_fails_where_it_is_bad_and_is_told_what_to_do(metric, tmp_path):
    name, said = BAD[metric]
    checks = examined(getattr(bad_metrics, metric), tmp_path)
    assert checks[name].state == "BAD", checks[name]
    assert said in checks[name].found
    assert len(checks[name].remedy) > 20


def test_every_bad_metric_is_examined():
    classes = {name for name, it in vars(bad_metrics).items() if isinstance(it, type) and hasattr(it, "protocol")}
    assert classes - {*GOOD, "NeedsMany", "FewShort"} == BAD.keys()


def test_a_metric_that_needs_more_images_than_are_shown_is_not_called_bad(tmp_path):
    checks = examined(bad_metrics.NeedsMany, tmp_path)
    assert {it.state for it in checks.values()} == {"ok", "n.a."}
    assert checks["values"].found == "it needs 5014 images, and 35 are shown here: lower what asks for so many by --set"
    assert checks["float in [0, 1]"].state == "ok"
    assert checks["too few images"].state == "n.a."
    assert "order" not in checks


def test_where_too_few_stay_without_a_group_it_is_not_tried(tmp_path):
    checks = examined(bad_metrics.FewShort, tmp_path)
    assert [it for it in checks.values() if it.state == "BAD"] == []
    assert checks["without a group"].state == "n.a."
    assert checks["without a group"].found.startswith("it needs 30 images, and 26 stay")
    assert checks["too few images"].found.startswith("of 30, the fewest")


def _of_subsets(given):
    network = bad_metrics.Net()
    reference, features = find_full_reference(given, network, "kid")
    return SubsetKernelDistance(network, {"weights sha256": network.key}, reference, features, 4, 12, 0)


def _to_infinity(given):
    network = bad_metrics.Net()
    reference = find_reference(given, network, "fid_infinity")
    return ExtrapolatedDistance(network, {"weights sha256": network.key}, reference, 3, 10, 0)


@pytest.mark.parametrize("build", [_of_subsets, _to_infinity])
def test_ours_that_draw_by_place_say_so_and_are_not_called_bad_for_it(build, tmp_path, monkeypatch):
    monkeypatch.setenv("DRAWBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    checks = examine(build, reference=None, takes_reference=True, folder=tmp_path / "images", side=SIDE)
    found = {it.name: it for it in checks}
    assert found["order"].found.startswith("declared: ")
    assert {found[name].state for name in ("order", "without a group")} == {"n.a."}
    assert [it for it in checks if it.state == "BAD"] == []


def test_what_is_declared_or_does_not_apply_says_so(tmp_path):
    assert examined(bad_metrics.Faithful, tmp_path)["features only"].state == "n.a."
    assert examined(bad_metrics.Looks, tmp_path)["features only"].state == "ok"
    of_prompts = examined(bad_metrics.Apart, tmp_path)
    assert {of_prompts[name].state for name in ("copies", "order", "noise", "no image")} == {"ok"}
    assert of_prompts["channel order"].found == "declared: the metric does not look at it"
    assert examined(bad_metrics.SaysLaterIsMore, tmp_path)["order"].found.startswith("declared: ")
    assert examined(bad_metrics.DrawsByPlace, tmp_path)["without a group"].state == "n.a."


def test_the_images_are_the_same_each_time_and_of_two_sizes():
    one, two = pictures(), pictures()
    assert all((a.pixels == b.pixels).all() and a.prompt == b.prompt for a, b in zip(one, two, strict=True))
    assert {it.pixels.shape for it in one} == {(3, 256, 256), (3, 160, 224)}
    assert len({it.prompt.id for it in one}) == len(one) == 35
    assert len({it.prompt.category for it in one if it.scene}) == 11


PLUGIN = """
    import numpy as np
    from drawbench.interfaces import Output, Scored

    def brightness(*, gain: float = 1.0):
        return Brightness(gain)

    class Brightness:
        outputs = {"mean": Output(None, "mean", main=True)}
        network = None

        def __init__(self, gain):
            self.gain = gain

        def protocol(self):
            return {"gain": str(self.gain)}

        def score(self, images, features, prompts):
            return Scored({"mean": self.gain * (images.double().mean((1, 2, 3)).numpy() / 255)})
"""


def test_the_command_examines_a_file_of_ones_own(drawbench, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(textwrap.dedent(PLUGIN))
    code, out, err = drawbench("doctor", "--metric", f"{file}:brightness", "--set", "brightness.gain=2")
    assert (code, err) == (1, "")
    lines = out.splitlines()
    bad = [line for line in lines if line.startswith("BAD")]
    assert [line.split(":")[0] for line in bad] == ["BAD  float in [0, 1]", "BAD  channel order"]
    assert all(" -> " in line for line in bad)
    assert lines[-1].startswith("brightness: ")
    assert "2 BAD" in lines[-1]
    code, out, _ = drawbench("doctor", "--metric", "image_stats", "--json")
    assert code == 0
    assert {row["state"] for row in json.loads(out)} == {"ok", "n.a."}


def test_what_does_not_fit_is_one_line(drawbench, tmp_path):
    for arguments, said in (
        (["--metric", "fidd"], "no metric is called 'fidd'; did you mean 'fid'?"),
        (["--metric", "image_stats", "--reference", "x"], "--reference x: image_stats takes none"),
        (["--set", "fid.protocol=clean"], "--reference and --set are of a metric; say which"),
        (["--metric", "image_stats", "--set", "image_stats.tolerence=3"], "did you mean 'tolerance'?"),
    ):
        code, out, err = drawbench("doctor", *arguments)
        assert (code, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1
