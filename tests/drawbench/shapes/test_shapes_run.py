"""The first command that anybody runs, in small: a trained cascade, guided and plain, beside the truth."""

import json
import sys

import pytest

from drawbench.cli import main


def call(*arguments):
    """Calls the command line and returns its exit code."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["drawbench", *map(str, arguments)])
        main()
    return ended.value.code


DEMO = [
    *("run", "--prompts", "shapes", "--limit", "44", "--batch-size", "44", "--dtype", "auto"),
    *("--generator", "guided=imagen", "--checkpoint", "guided=shapes"),
    *("--generator", "plain=imagen", "--checkpoint", "plain=shapes", "--set", "plain.base.guidance_weight=1"),
    *("--set", "plain.sr256.guidance_weight=1", "--set", "plain.sr1024.guidance_weight=1"),
    *("--generator", "shapes_truth"),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Runs it once; returns the folder and its report as JSON."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    assert call(*DEMO, "-o", folder) == 0
    runs = [folder / f"{name}-shapes" for name in ("guided", "plain", "shapes_truth")]
    assert call("report", *runs, "-o", folder / "report.json") == 0
    return folder, json.loads((folder / "report.json").read_text())


def values(report, metric):
    rows = [r for r in report["scores"] if r["metric"] == metric and r["output"] is None and r["category"] is None]
    return {row["system"]: row["value"] for row in rows}


def test_clip_and_checker_rank_the_truth_above_the_guided_above_the_plain(demo):
    """fd does so on all 200 prompts; of 44 images in 64 dimensions it is mostly bias."""
    _, report = demo
    of = values(report, "clip_score")
    assert of["shapes_truth"] > of["guided"] > of["plain"]
    assert set(values(report, "fd")) == {"guided", "plain", "shapes_truth"}
    accuracy = values(report, "shapes_accuracy")
    assert accuracy["shapes_truth"] == 1.0
    assert accuracy["guided"] > accuracy["plain"]


def test_guided_images_fit_their_own_prompts_and_not_others(demo, tmp_path):
    """The same images against other prompts: what CLIP's score is there to tell."""
    from drawbench.metrics.clip_score import clip_score
    from drawbench.metrics.stream import _batches
    from drawbench.store import Run

    folder, _ = demo
    run, metric = Run.open(folder / "guided-shapes"), clip_score(model="shapes")
    own, other = [], []
    for batch in _batches(run, run.drawn(), 44):
        features = metric.network(batch.images)
        shifted = [*batch.prompts[1:], batch.prompts[0]]
        own.extend(metric.score(batch.images, features, batch.prompts).values["cosine"])
        other.extend(metric.score(batch.images, features, shifted).values["cosine"])
    assert sum(own) / len(own) > sum(other) / len(other) + 0.1


def test_the_report_says_that_it_is_the_shapes_world_on_every_page(demo, capsys):
    folder, report = demo
    assert report["about"].startswith("This is the shapes world")
    assert "--prompts drawbench" in report["about"]
    assert "This is the shapes world" in (folder / "report.html").read_text()
    assert call("report", folder / "guided-shapes", "-o", folder / "report.md") == 0
    assert "This is the shapes world" in (folder / "report.md").read_text()
    assert "This is the shapes world" in capsys.readouterr().out


def test_the_same_command_again_draws_nothing_and_keeps_its_dtype(demo, capsys, monkeypatch):
    folder, _ = demo
    dtype = json.loads((folder / "guided-shapes" / "run.json").read_text())["dtype"]
    monkeypatch.setattr("drawbench.cli.options.fastest_dtype", lambda device: "fp16")
    before = sorted(path.stat().st_mtime_ns for path in folder.rglob("*.png"))
    assert call(*DEMO, "-o", folder) == 0
    assert sorted(path.stat().st_mtime_ns for path in folder.rglob("*.png")) == before
    assert f"dtype: {dtype} (as the run was begun)" in capsys.readouterr().err


def test_no_metric_of_the_shapes_world_is_unverified(demo):
    _, report = demo
    assert all(file["verified"] for file in report["protocols"])


TRUTH = ["run", "--prompts", "shapes", "--generator", "truth=shapes_truth"]


@pytest.mark.parametrize(
    ("limit", "reason"),
    [(1, "it needs at least 2 images"), (2, "it needs at least 2 images without any group of prompts")],
)
def test_one_or_two_images_are_scored_as_far_as_that_goes(tmp_path, capsys, limit, reason):
    assert call(*TRUTH, "--limit", limit, "-o", tmp_path / "out") == 0
    assert f"({reason})" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_scene_that_was_altered_on_disk_changes_no_verdict(tmp_path, capsys):
    assert call(*TRUTH, "--limit", 11, "--metric", "shapes_accuracy", "-o", tmp_path / "out") == 0
    run = tmp_path / "out" / "truth-shapes"
    text = (run / "prompts.jsonl").read_text()
    (run / "prompts.jsonl").write_text(text.replace("yellow\\", "blue\\").replace("red\\", "cyan\\"))
    assert (run / "prompts.jsonl").read_text() != text
    for file in (run / "scores").iterdir():
        file.unlink()
    capsys.readouterr()
    assert call("score", run, "--metric", "shapes_accuracy", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["value"] for row in rows if row["output"] == "correct" and row["category"] is None} == {1.0}


def test_auto_follows_this_run_and_no_other(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("drawbench.cli.options.fastest_dtype", lambda device: "fp32")
    options = ["--prompts", "shapes", "--limit", "1", "--generator", "imagen", "--checkpoint", "shapes"]
    short = ["--set", "imagen.base.steps=1", "--set", "imagen.sr256.steps=1", "--set", "imagen.sr1024.steps=1"]
    assert call("generate", *options, *short, "--dtype", "bf16", "-o", tmp_path / "dir" / "other") == 0
    capsys.readouterr()
    assert call("generate", *options, *short, "--dtype", "auto", "-o", tmp_path / "dir" / "own") == 0
    assert "dtype: fp32 (the faster one on this cpu)" in capsys.readouterr().err
    assert call("generate", *options, *short, "--dtype", "auto", "-o", tmp_path / "dir" / "other") == 0
    assert "dtype: bf16 (as the run was begun)" in capsys.readouterr().err


def test_a_clip_that_is_named_by_hand_is_not_replaced_by_the_shipped_one(tmp_path, capsys):
    assert call(*TRUTH, "--limit", 2, "--set", "clip_score.model=RN5O", "-o", tmp_path / "out") == 2
    assert "open_clip has no model 'RN5O'" in capsys.readouterr().err
