"""explain-fid and fid-30k on few real images and an untrained Inception: known truths, and what they say and refuse."""

import json
import shutil
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from drawbench.cli import main
from drawbench.cli.fid_30k import table
from drawbench.metrics import fid_30k
from drawbench.metrics.explain_fid import Choice, Explanation, Reencoded, Skipped, explain
from drawbench.metrics.fid_variants import variants
from drawbench.metrics.frechet_metric import FrechetDistance
from drawbench.metrics.reference import find_reference
from drawbench.reports.explain import render_html, render_markdown, summary_lines
from drawbench.reports.explain_plot import Move, plot
from drawbench.store import Run

COUNT = 8


@pytest.fixture(scope="module")
def folder(photographs, tmp_path_factory):
    path = tmp_path_factory.mktemp("photographs")
    for file in photographs[:COUNT]:
        Image.open(file).convert("RGB").resize((200, 150)).save(path / f"{file.stem}.png")
    return path


@pytest.fixture(scope="module")
def run(drawn, tmp_path_factory):
    place = tmp_path_factory.mktemp("run")
    (place / "images").mkdir()
    for number, file in enumerate(drawn[:COUNT], 1):
        Image.open(file).resize((160, 160)).save(place / "images" / f"{number:03d}.png")
    (place / "prompts.csv").write_text("text\n" + "".join(f"picture {n}\n" for n in range(COUNT)), "utf-8")
    given = ["generate", "--generator", "sd=folder", "--set", f"sd.path={place / 'images'}"]
    command([*given, "--prompts", place / "prompts.csv", "-o", place / "run"])
    return place / "run"


def command(arguments):
    """Calls the command line and returns its exit code."""
    before, sys.argv = sys.argv, ["drawbench", *map(str, arguments)]
    try:
        main()
    except SystemExit as ended:
        return ended.code or 0
    finally:
        sys.argv = before


@pytest.fixture(scope="module")
def explained(run, folder, peer, tmp_path_factory):
    """What the command writes of JPEG and n, in JSON; the run's own score; and the cache of both."""
    place = tmp_path_factory.mktemp("explained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRAWBENCH_CACHE", str(place / "cache"))
        given = ["--reference", folder, "--set", f"fid.weights={peer.file}"]
        only = ["--only", "codec", "--only", "n"]
        assert command(["explain-fid", run, *given, *only, "-o", place / "explain.json"]) == 0
        assert command(["score", run, "--metric", "fid", *given]) == 0
    (file,) = Run.open(run).score_files()
    return json.loads((place / "explain.json").read_text()), file.scores[0], place / "cache", given


def test_the_standard_is_what_score_says_with_its_interval(explained):
    found, score, _, _ = explained
    assert found["value"] == pytest.approx(score.value, rel=1e-9)
    assert found["interval"]["low"] == pytest.approx(score.interval.low, rel=1e-9)
    assert found["interval"]["high"] == pytest.approx(score.interval.high, rel=1e-9)


def test_jpeg_moves_the_number_as_images_that_were_kept_as_jpeg(
    explained, run, folder, peer, tmp_path, capsys, monkeypatch
):
    """The same images, saved by hand as JPEG of quality 75 and imported as another run."""
    found, _, cache, given = explained
    by_name = {choice["name"]: choice for choice in found["choices"]}
    assert by_name["JPEG 75"]["delta"] != 0
    assert by_name["JPEG 75"]["low"] <= by_name["JPEG 75"]["delta"] <= by_name["JPEG 75"]["high"]
    assert by_name["JPEG 75"]["changed"]["codec"][1].startswith("JPEG 75, 4:2:0")
    (tmp_path / "images").mkdir()
    for number, file in enumerate(sorted((run / "images").rglob("*.png")), 1):
        Image.open(file).save(tmp_path / "images" / f"{number:03d}.jpg", quality=75, subsampling="4:2:0")
    prompts = run.parent / "prompts.csv"
    imported = ["generate", "--generator", "sd=folder", "--set", f"sd.path={tmp_path / 'images'}", "--prompts", prompts]
    monkeypatch.setenv("DRAWBENCH_CACHE", str(cache))
    command([*imported, "-o", tmp_path / "run"])
    capsys.readouterr()
    assert command(["score", tmp_path / "run", "--metric", "fid", *given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["value"] == pytest.approx(by_name["JPEG 75"]["value"], rel=1e-6)


def test_of_fewer_images_the_mean_of_draws_lies_between_them(explained):
    found = explained[0]
    of_n = {choice["name"]: choice for choice in found["choices"] if choice["axis"] == "n"}
    assert of_n["n/2"]["n"] == COUNT // 2
    assert of_n["n/4"]["n"] == COUNT // 4
    assert all(choice["low"] < choice["delta"] < choice["high"] for choice in of_n.values())
    assert ["n", "n/8"] in [[it["axis"], it["name"]] for it in found["skipped"]]


def test_the_same_command_again_computes_no_features(explained, run, monkeypatch, capsys):
    import drawbench.metrics.fid as fid

    _, _, cache, given = explained

    def never(*_):
        raise AssertionError("a network ran")

    monkeypatch.setenv("DRAWBENCH_CACHE", str(cache))
    monkeypatch.setattr(fid.InceptionFeatures, "__call__", never)
    assert command(["explain-fid", run, *given, "--only", "codec"]) == 0
    assert "codec: JPEG 95" in capsys.readouterr().out


class Flat:
    """Means and spreads of the channels: what JPEG leaves of an image of one grey is that image."""

    key, fields = "a" * 64, {"features": "means and spreads"}

    def __call__(self, images):
        wide = images.double()
        return torch.cat([wide.mean((2, 3)), wide.std((2, 3))], 1).float()


def explained_by(network, place, pictures):
    """Explains a run of these pictures, each of a prompt of its own, by a distance of the network's features."""
    (place / "images").mkdir()
    for number, picture in enumerate(pictures, 1):
        Image.fromarray(picture).save(place / "images" / f"{number:03d}.png")
    (place / "prompts.csv").write_text("text\n" + "".join(f"picture {n}\n" for n in range(len(pictures))), "utf-8")
    given = ["generate", "--generator", "sd=folder", "--set", f"sd.path={place / 'images'}"]
    assert command([*given, "--prompts", place / "prompts.csv", "-o", place / "run"]) == 0
    reference = place / "reference"
    reference.mkdir()
    for number, grey in enumerate((0, 90, 255)):
        Image.new("RGB", (16, 16), (grey, 255 - grey, 80)).save(reference / f"{number}.png")

    def build(changes, dtype, given):
        return FrechetDistance("fid", network, network.fields, find_reference(given, network, "fid"))

    options = {"protocol": "clean", "resize_before": "none"}
    return explain(Run.open(place / "run"), build, options, "fp32", str(reference), only=["codec"])


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DRAWBENCH_CACHE", str(tmp_path / "cache"))


def test_equal_choices_move_nothing_and_have_no_interval(own_cache, tmp_path):
    """JPEG leaves an image of one grey as it is: the difference is 0, and no group makes one."""
    greys = [np.full((16, 16, 3), grey, np.uint8) for grey in (10, 60, 128, 200, 250)]
    found = explained_by(Flat(), tmp_path, greys)
    assert found.value > 100
    assert found.interval is not None
    assert [choice.name for choice in found.choices] == ["JPEG 95", "JPEG 75"]
    for choice in found.choices:
        assert (choice.value, choice.delta, choice.relative) == (found.value, 0.0, 0.0)
        assert (choice.low, choice.high) == (None, None)
        assert choice.spread.startswith("no group of prompts makes a difference")
        assert set(choice.changed) == {"codec"}


def test_the_same_choices_of_noise_move_it_with_an_interval(own_cache, tmp_path):
    rng = np.random.default_rng(0)
    found = explained_by(Flat(), tmp_path, [rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(5)])
    for choice in found.choices:
        assert choice.delta == choice.value - found.value != 0
        assert choice.low < choice.delta < choice.high
        assert choice.spread.startswith("95 % interval of the difference")


def test_each_quality_is_a_network_of_its_own():
    noise = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert not np.array_equal(Reencoded(Flat(), 75)(noise), Flat()(noise))
    assert len({Flat().key, Reencoded(Flat(), 75).key, Reencoded(Flat(), 95).key}) == 3


def test_statistics_leave_what_needs_their_images_out_aloud(
    explained, run, folder, peer, tmp_path, monkeypatch, capsys
):
    _, _, cache, given = explained
    monkeypatch.setenv("DRAWBENCH_CACHE", str(cache))
    stats = tmp_path / "stats.npz"
    assert command(["reference", "make", folder, "--set", f"fid.weights={peer.file}", "-o", stats]) == 0
    capsys.readouterr()
    again = ["explain-fid", run, "--reference", stats, *given[2:], "--only", "pre-step", "--only", "codec", "--json"]
    assert command(again) == 0
    found = json.loads(capsys.readouterr().out)
    skipped = {it["name"]: it["reason"] for it in found["skipped"]}
    assert "resize before is 'none' there" in skipped["256, centre crop"]
    assert {"256, images only", "JPEG 75"} <= {choice["name"] for choice in found["choices"]}
    assert found["value"] == pytest.approx(explained[0]["value"], rel=1e-6)
    assert not list((cache / "references").glob("stand-in*"))


def test_filters_of_a_step_that_is_not_made_are_named_as_not_tried(run, folder, peer, capsys):
    assert (
        command(
            [
                "explain-fid",
                run,
                "--reference",
                folder,
                "--set",
                f"fid.weights={peer.file}",
                "--only",
                "filter",
                "--json",
            ]
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["choices"] == []
    assert "--set fid.resize_before=256" in found["skipped"][0]["reason"]
    assert any("unverified on published weights" in remark for remark in found["remarks"])


def test_every_choice_but_the_standards_is_made():
    names = {(it.axis, it.name) for it in variants({"protocol": "clean", "resize_before": "none"}, "fp32")}
    assert {("protocol", "legacy_pytorch"), ("pre-step", "256, squeezed"), ("dtype", "bf16")} <= names
    assert not names & {("protocol", "clean"), ("pre-step", "none"), ("dtype", "fp32")}
    assert "filter" not in {axis for axis, _ in names}
    standard = {"protocol": "legacy_pytorch", "resize_before": "256", "crop": "squeeze", "filter": "lanczos"}
    names = {(it.axis, it.name): it.changes for it in variants(standard, "bf16")}
    assert names["pre-step", "256, centre crop"] == {"resize_before": "256", "crop": "center_crop"}
    assert ("pre-step", "256, squeezed") not in names
    assert {name for axis, name in names if axis == "filter"} == {"bicubic", "bilinear", "box"}
    assert ("dtype", "fp32") in names


def an_explanation(**more):
    choice = Choice("codec", "JPEG <75>", "a | b", 12.0, 2.0, 0.2, 1.5, 2.5, "95 %", 8, {})
    none = Choice("n", "n/2", "half", 10.0, 0.0, 0.0, None, None, "no group makes a difference", 4, {})
    fields = dict.fromkeys(("run", "system", "prompt_set", "reference", "reference_sha256"), "x & y")
    numbers = {"n": 8, "n_run": 8, "n_prompts": 8, "reference_n": 9, "value": 10.0}
    rest = {"interval": None, "reason": "one prompt", "fields": {"resize": "<clean>"}, "choices": [choice, none]}
    told = {"skipped": [Skipped("protocol", "legacy", "why not")], "remarks": ["few"], "created": "2026-01-01T00:00:00"}
    return replace(Explanation(**fields, **numbers, **rest, **told), **more)


def test_the_page_has_every_number_once_escaped():
    page = render_html(an_explanation())
    assert "JPEG &lt;75&gt;" in page
    assert "<75>" not in page
    assert "+2.00" in page
    assert "[+1.50, +2.50]" in page
    assert "why not" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "codec JPEG &lt;75&gt; moves it most, by +2.00 [+1.50, +2.50] (+20 %)" in page


def test_markdown_and_terminal_say_the_same():
    for text in (render_markdown(an_explanation()), "\n".join(summary_lines(an_explanation()))):
        assert "+2.00" in text
        assert "[+1.50, +2.50]" in text
        assert "why not" in text
    assert render_html(an_explanation(choices=[]))


def test_the_plot_is_well_formed_and_keeps_order_over_five_magnitudes():
    moves = [
        Move(f"m{n}", "x", delta, delta - 0.0001, delta + 0.0001)
        for n, delta in enumerate((-50.0, -0.01, 0.0, 0.5, 200.0))
    ]
    root = ET.fromstring(str(plot([moves])))
    places = [float(node.get("cx")) for node in root.iter("circle")]
    assert places == sorted(places)
    assert len(set(places)) == 5
    assert all(0 < x < float(root.get("viewBox").split()[2]) for x in places)
    assert plot([[Move("none", "x", 0.0, None, None)]]) == ""


def test_a_file_of_another_kind_is_refused_before_the_work(run, folder, capsys):
    assert command(["explain-fid", run, "--reference", folder, "-o", "explain.pdf"]) == 2
    assert ".html, .md or .json" in capsys.readouterr().err


def test_fid_30k_says_what_a_run_lacks(run, folder, peer, capsys):
    given = ["fid-30k", run, "--reference", folder, "--set", f"fid.weights={peer.file}"]
    assert command(given) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "its prompts are prompts, not coco-30k or coco; it has 8 prompts, not 30000" in told[0]
    assert "called fid-8" in told[0]


def test_a_run_that_is_not_30k_is_called_by_its_n(explained, run, tmp_path, monkeypatch, capsys):
    _, _, cache, given = explained
    monkeypatch.setenv("DRAWBENCH_CACHE", str(cache))
    place = shutil.copytree(run, tmp_path / "run")
    assert command(["fid-30k", place, *given, "--not-30k", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == "FID-8"
    assert {row["metric"] for row in found["scores"]} == {"fid-8"}
    assert "centre crop" in found["scores"][0]["protocol"]["fields"]["resize before"]
    verdicts = {row["what"]: row["verdict"] for row in found["against_paper"]}
    assert verdicts["n"] == verdicts["reference"] == verdicts["images drawn at"] == "differs"
    assert verdicts["resize to 299x299"] == "not said"
    assert verdicts["left out"] == "same"
    assert len(table([fid_30k.Row(**row) for row in found["against_paper"]])) > len(verdicts)


def test_a_whole_run_of_the_public_list_is_fid_30k(run, monkeypatch):
    """With counts and digest as if the list had eight captions."""
    opened = Run.open(run)
    monkeypatch.setattr(fid_30k, "COUNT", COUNT)
    monkeypatch.setattr(fid_30k, "COCO_30K_PROMPTS", opened.manifest.prompt_set_sha256)
    opened.manifest = replace(opened.manifest, prompt_set="coco-30k")
    assert fid_30k.lacking(opened) == []
    assert fid_30k.name_of(opened) == "fid-30k"
    monkeypatch.setattr(fid_30k, "COCO_30K_PROMPTS", "0" * 64)
    assert fid_30k.lacking(opened) == ["its prompts are called coco-30k and are another list"]
    opened.manifest = replace(opened.manifest, prompt_set="coco")
    monkeypatch.setattr(opened, "records", dict)
    assert fid_30k.lacking(opened) == [f"of its {COUNT} images {COUNT} not drawn"]
    opened.manifest = replace(opened.manifest, plan=replace(opened.manifest.plan, samples=2))
    assert "it has 2 samples of a prompt, not one" in fid_30k.lacking(opened)


def test_the_digest_of_the_public_list_is_that_of_its_file(shared):
    from drawbench.coco import coco_30k

    assert coco_30k(file=shared / "coco" / "coco_30k.csv").sha256 == fid_30k.COCO_30K_PROMPTS


def test_images_that_were_jpeg_already_are_told_of(run, drawn, folder, peer, tmp_path, capsys):
    """Their codec moves little, because it was paid for before."""
    (tmp_path / "images").mkdir()
    for number in range(1, 4):
        shutil.copy(drawn[number], tmp_path / "images" / f"{number:03d}.jpg")
    (tmp_path / "prompts.csv").write_text("text\none\ntwo\nthree\n", "utf-8")
    given = ["generate", "--generator", "sd=folder", "--set", f"sd.path={tmp_path / 'images'}"]
    command([*given, "--prompts", tmp_path / "prompts.csv", "-o", tmp_path / "run"])
    capsys.readouterr()
    measured = ["--reference", folder, "--set", f"fid.weights={peer.file}", "--images", "2", "--only", "n", "--json"]
    assert command(["explain-fid", tmp_path / "run", *measured]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "2 of the images were JPEG before" in " ".join(found["remarks"])
    assert found["n"] == found["reference_n"] == 2
    assert found["n_run"] == 3
