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
from drawbench.metrics.fd import fd
from drawbench.metrics.image_stats import image_stats
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
    ("build", "takes_reference", "fewest"),
    [
        (lambda given: clip_score(model="shapes"), False, 17),
        (lambda given: fd(reference=given), True, 19),
        (lambda given: image_stats(), False, 12),
        (lambda given: shapes_accuracy(), False, 17),
    ],
    ids=["clip_score", "fd", "image_stats", "shapes_accuracy"],
)
def test_ours_pass(build, takes_reference, fewest, tmp_path):
    checks = examine(build, reference=None, takes_reference=takes_reference, folder=tmp_path, side=SIDE)
    assert [it for it in checks if it.state == "BAD"] == []
    assert sum(it.state == "ok" for it in checks) >= fewest
    assert len(checks) == 20 - takes_reference  # Prompts are no matter of a set metric.


@pytest.mark.parametrize("metric", ["Faithful", "Distance", "DeclaredGrey"])
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
    assert classes - {"Faithful", "Distance", "DeclaredGrey"} == BAD.keys()


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
