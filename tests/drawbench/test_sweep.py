"""`drawbench sweep` as a user types it: a grid of runs, their scores and curves, what is wrong, and going on."""

import json
import os
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from drawbench.cli import main
from drawbench.errors import UserError
from drawbench.intervals import holm
from drawbench.reports.two_runs import compare_two
from drawbench.store import Run, image_seed

TRUTH = ("--generator", "shapes_truth", "--prompts", "shapes", "--limit", "22", "--metric", "shapes_accuracy")
SLOW = """
import time
from drawbench.generators.noise import noise


class Slow:
    pads = False

    def __init__(self, size):
        self.noise = noise(size=size, resolution=8)

    def fingerprint(self):
        return {"slow": "1"}

    def generate(self, items):
        time.sleep(0.02)
        return self.noise.generate(items)


def slow(*, size: int = 16):
    return Slow(size)
"""
FAILS = """
import PIL.Image
from drawbench.interfaces import Drawn


class Fails:
    pads = False

    def __init__(self, k):
        self.k = k

    def fingerprint(self):
        return {}

    def generate(self, items):
        if abs(self.k) == 2:
            raise RuntimeError("not at 2")
        return [Drawn(PIL.Image.new("RGB", (8 * self.k, 8))) for _ in items]


def fails(*, k: int = 1):
    return Fails(k)
"""
MANY = """
from drawbench.generators.noise import noise


def many(
    *,
    a_long_name_of_an_option: float = 1,
    another_name_of_an_option: float = 1,
    still_another_name_of_one: float = 1,
    the_last_of_them_all: float = 1,
):
    return noise(size=16, resolution=4)
"""
TINY = ("--generator", "noise", "--prompts", "shapes", "--metric", "image_stats")


@pytest.fixture
def drawbench(monkeypatch, capsys):
    """Calls the command line; returns (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["drawbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


def read(folder):
    return json.loads((folder / "sweep.json").read_text())


def values(content, metric="shapes_accuracy"):
    """Point → the main output over all prompts."""
    return {
        point["label"]: row["value"]
        for point in content["points"]
        for row in point["scores"]
        if row["metric"] == metric and row["output"] is None and row["category"] is None
    }


def times(folder):
    return {
        file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.suffix in (".png", ".parquet", ".jsonl")
    }


def test_a_known_truth_falls_along_the_swept_option_and_is_written_in_three_forms(drawbench, tmp_path):
    code, out, err = drawbench("sweep", *TRUTH, "--set", "shapes_truth.wrong_rate=1,0,.5", "-o", tmp_path / "s")
    assert code == 0, err
    content = read(tmp_path / "s")
    assert content["swept"] == {"wrong_rate": ["0", "0.5", "1"]}, "numbers are put in order"
    right = list(values(content).values())
    assert right[0] == 1
    assert right[0] > right[1] > right[2]
    assert right[2] == 0, "at a wrong rate of 1 each picture has an attribute changed"
    assert "point 3 of 3: wrong_rate=1" in err
    assert "1.000 [" in out
    (plot,) = content["plots"]
    assert [point["x"]["value"] for point in plot["curves"][0]["points"]] == [0, 0.5, 1]
    assert all(point["y"]["interval"]["over"] == "prompts" for point in plot["curves"][0]["points"])
    root = ET.fromstring((tmp_path / "s" / "sweep.svg").read_text())
    assert root.find("{http://www.w3.org/2000/svg}title").text == "shapes_accuracy correct ↑ against wrong_rate"
    page = (tmp_path / "s" / "sweep.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", ""), "the page needs nothing else"
    assert "src=" not in page


def test_every_point_has_the_same_seeds_and_is_a_run_of_its_own(drawbench, tmp_path):
    drawbench("sweep", *TRUTH, "--set", "shapes_truth.wrong_rate=0,1", "--seed", "7", "-o", tmp_path / "s")
    runs = [Run.open(tmp_path / "s" / name) for name in ("wrong_rate-0", "wrong_rate-1")]
    assert [run.manifest.system.options["wrong_rate"] for run in runs] == [0.0, 1.0]
    assert runs[0].manifest.system.name != runs[1].manifest.system.name
    seeds = [[record.seed for record in run.drawn()] for run in runs]
    assert seeds[0] == seeds[1]
    first = runs[0].drawn()[0]
    assert first.seed == image_seed(7, first.prompt, first.sample)


def test_a_second_option_makes_a_curve_for_each_of_its_values(drawbench, tmp_path):
    given = ("--set", "shapes_truth.wrong_rate=0,1", "--set", "shapes_truth.size=96,64")
    code, _, err = drawbench("sweep", *TRUTH, *given, "-o", tmp_path / "s")
    assert code == 0, err
    content = read(tmp_path / "s")
    labels = [point["label"] for point in content["points"]]
    assert labels == ["size=64 wrong_rate=0", "size=64 wrong_rate=1", "size=96 wrong_rate=0", "size=96 wrong_rate=1"]
    curves = content["plots"][0]["curves"]
    assert [(curve["name"], len(curve["points"])) for curve in curves] == [("size=64", 2), ("size=96", 2)]
    with Image.open(next((tmp_path / "s" / "size-96_wrong_rate-1" / "images").rglob("*.png"))) as image:
        assert image.size == (96, 96)


def test_by_default_the_distance_is_plotted_against_the_clip_score_with_crosses(drawbench, tmp_path):
    given = ("--generator", "shapes_truth", "--prompts", "shapes", "--limit", "22")
    code, _, err = drawbench("sweep", *given, "--set", "shapes_truth.wrong_rate=0,1", "-o", tmp_path / "s")
    assert code == 0, err
    content = read(tmp_path / "s")
    first = content["plots"][0]
    assert (first["x"]["metric"], first["y"]["metric"]) == ("clip_score", "fd")
    spots = first["curves"][0]["points"]
    assert [spot["label"] for spot in spots] == ["0", "1"]
    assert spots[0]["x"]["value"] > spots[1]["x"]["value"], "wrong pictures are further from their texts"
    assert all(spot[axis]["interval"]["low"] < spot[axis]["value"] for spot in spots for axis in "xy")
    root = ET.fromstring((tmp_path / "s" / "sweep.svg").read_text())
    assert len([node for node in root.iter() if "cross" in node.get("class", "")]) == 2
    assert set(content["protocols"]) == {row["protocol"] for point in content["points"] for row in point["scores"]}


def test_the_same_command_draws_and_scores_nothing_again_and_more_values_only_add(drawbench, tmp_path):
    given = ("sweep", *TRUTH, "-o", tmp_path / "s")
    drawbench(*given, "--set", "shapes_truth.wrong_rate=0,1")
    before, said = times(tmp_path / "s"), (tmp_path / "s" / "sweep.json").read_bytes()
    assert before
    drawbench(*given, "--set", "shapes_truth.wrong_rate=0.0,1.0")
    assert times(tmp_path / "s") == before
    assert (tmp_path / "s" / "sweep.json").read_bytes() == said
    drawbench(*given, "--set", "shapes_truth.wrong_rate=0,.5,1")
    after = times(tmp_path / "s")
    assert {file: after[file] for file in before} == before
    assert {file.relative_to(tmp_path / "s").parts[0] for file in after.keys() - before.keys()} == {"wrong_rate-0.5"}


def test_killed_in_the_middle_it_goes_on_and_draws_nothing_twice(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "prompts.txt").write_text("".join(f"Prompt number {n}.\n" for n in range(30)))
    command = [
        *(sys.executable, "-m", "drawbench", "sweep", "--generator", f"slow={tmp_path / 'slow.py'}:slow"),
        *("--prompts", str(tmp_path / "prompts.txt"), "--set", "slow.size=16,24,32", "--batch-size", "2"),
        *("--metric", "image_stats", "-o", str(tmp_path / "s")),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    second = tmp_path / "s" / "size-24" / "images"
    for _ in range(6000):
        if process.poll() is not None or (second.is_dir() and len(list(second.rglob("[0-9]*.png"))) >= 4):
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "s" / "size-16").rglob("*.png")}
    assert len(before) == 30
    so_far = read(tmp_path / "s")
    assert not so_far["finished"]
    assert [point["label"] for point in so_far["points"]] == ["size=16"], "what is known is written after each point"
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert [point["drawn"] for point in read(tmp_path / "s")["points"]] == [30, 30, 30]
    assert read(tmp_path / "s")["finished"]


def test_fewer_samples_than_a_later_point_has_are_refused_before_anything_is_drawn(drawbench, tmp_path):
    given = ("sweep", *TINY, "--limit", "2", "--set", "noise.resolution=8", "-o", tmp_path / "s")
    assert drawbench(*given, "--set", "noise.size=24,32", "--samples", "2")[0] == 0
    code, _, err = drawbench(*given, "--set", "noise.size=16,24,32", "--samples", "1")
    assert code == 2
    assert "size-24 has 2 samples per prompt; --samples 1 takes none away" in err
    assert not (tmp_path / "s" / "size-16").exists()


def test_other_prompts_in_a_file_of_the_same_name_are_refused_before_anything_is_drawn(drawbench, tmp_path):
    for folder, text in (("a", "a cat\n"), ("b", "a dog\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.txt").write_text(text)
    given = (
        "sweep",
        "--generator",
        "noise",
        "--metric",
        "image_stats",
        "--set",
        "noise.resolution=8",
        "-o",
        tmp_path / "s",
    )
    assert drawbench(*given, "--prompts", tmp_path / "a" / "mine.txt", "--set", "noise.size=24,32")[0] == 0
    code, _, err = drawbench(*given, "--prompts", tmp_path / "b" / "mine.txt", "--set", "noise.size=16,24")
    assert code == 2
    assert "size-24 holds another run: prompts is" in err
    assert not (tmp_path / "s" / "size-16").exists()


def test_a_point_that_draws_nothing_is_kept_without_scores_and_the_rest_is_drawn(drawbench, tmp_path):
    (tmp_path / "fails.py").write_text(FAILS)
    (tmp_path / "p.txt").write_text("a\nb\nc\n")
    given = ("sweep", "--generator", f"fails={tmp_path / 'fails.py'}:fails", "--prompts", tmp_path / "p.txt")
    given = (*given, "--metric", "image_stats", "-o", tmp_path / "s", "--plot", "x=k,y=image_stats.width")
    code, out, err = drawbench(*given, "--set", "fails.k=1,2,3,4")
    assert code == 1
    assert "warning: not one image was drawn here" in err
    content = read(tmp_path / "s")
    assert [point["drawn"] for point in content["points"]] == [3, 0, 3, 3]
    assert content["points"][1]["scores"] == []
    assert [spot["label"] for spot in content["plots"][0]["curves"][0]["points"]] == ["1", "3", "4"]
    assert "1 point without a value left out" in content["plots"][0]["caption"]
    assert any(text.startswith("k=2: not one image is drawn") for text in content["warnings"])
    assert "not scored" in out
    root = ET.fromstring((tmp_path / "s" / "sweep.svg").read_text())
    (line,) = [node.get("d") for node in root.iter() if "curve" in node.get("class", "").split()]
    assert (line.count("M"), line.count("L")) == (2, 1), "no line leads past the point that is not there"
    code, _, err = drawbench(*given[:-4], "-o", tmp_path / "t", "--set", "fails.k=2,-2")
    assert code == 2
    assert "not one image was drawn at any point" in err


def test_the_order_of_the_options_moves_the_curves_and_draws_nothing_again(drawbench, tmp_path):
    one, two = ("--set", "noise.size=16,24"), ("--set", "noise.resolution=4,8")
    given = ("sweep", *TINY, "--limit", "2", "-o", tmp_path / "s")
    assert drawbench(*given, *one, *two)[0] == 0
    before = times(tmp_path / "s")
    assert [curve["name"] for curve in read(tmp_path / "s")["plots"][0]["curves"]] == ["resolution=4", "resolution=8"]
    assert drawbench(*given, *two, *one)[0] == 0
    assert times(tmp_path / "s") == before
    assert [curve["name"] for curve in read(tmp_path / "s")["plots"][0]["curves"]] == ["size=16", "size=24"]


def test_points_that_were_named_in_an_order_once_given_are_found_in_any(drawbench, tmp_path):
    for size, resolution in ((16, 4), (24, 4), (16, 8)):
        chosen = ("--set", f"noise.size={size}", "--set", f"noise.resolution={resolution}", "--limit", "2")
        folder = tmp_path / "s" / f"size-{size}_resolution-{resolution}"
        name = f"noise size={size} resolution={resolution}"
        drawbench("generate", *TINY[:4], *chosen, "--name", name, "-o", folder)
    before = {file: it for file, it in times(tmp_path / "s").items() if file.suffix == ".png"}
    assert len(before) == 6
    given = ("--set", "noise.resolution=4,8", "--set", "noise.size=16,24", "--limit", "2")
    code, _, err = drawbench("sweep", *TINY, *given, "-o", tmp_path / "s")
    assert code == 0, err
    after = {file: it for file, it in times(tmp_path / "s").items() if file.suffix == ".png"}
    assert {file: after[file] for file in before} == before
    assert {file.relative_to(tmp_path / "s").parts[0] for file in after.keys() - before.keys()} == {
        "resolution-8_size-24"
    }


def test_many_swept_options_have_names_that_are_cut_and_still_differ(drawbench, tmp_path):
    (tmp_path / "many.py").write_text(MANY)
    (tmp_path / "p.txt").write_text("a\n")
    keys = (
        "a_long_name_of_an_option",
        "another_name_of_an_option",
        "still_another_name_of_one",
        "the_last_of_them_all",
    )
    given = [text for key in keys for text in ("--set", f"many.{key}=1.25,2.75")]
    command = ("sweep", "--generator", f"many={tmp_path / 'many.py'}:many", "--prompts", tmp_path / "p.txt")
    code, _, err = drawbench(*command, *given, "--metric", "image_stats", "-o", tmp_path / "s")
    assert code == 0, err
    points = read(tmp_path / "s")["points"]
    assert len({point["run"] for point in points}) == 16
    names = {Run.open(tmp_path / "s" / point["run"]).manifest.system.name for point in points}
    assert len(names) == 16
    assert max(map(len, names)) == 100
    assert all(key in points[0]["label"] for key in keys), "the label is whole"


def test_curves_are_subtracted_at_every_value_and_all_tests_are_one_family(drawbench, tmp_path):
    given = ("--set", "shapes_truth.wrong_rate=0,.5,1", "--set", "shapes_truth.size=64,96", "--metric", "image_stats")
    code, out, err = drawbench("sweep", *TRUTH, *given, "-o", tmp_path / "s")
    assert code == 0, err
    content = read(tmp_path / "s")
    rows = content["comparisons"]
    assert [(row["differ_in"], row["at"], row["metric"]) for row in rows] == [
        (differ_in, at, metric)
        for differ_in, at in (
            *(("size", {"wrong_rate": rate}) for rate in ("0", "0.5", "1")),
            *(("wrong_rate", {"size": size}) for size in ("64", "96") for _ in range(3)),
        )
        for metric in ("shapes_accuracy", "image_stats")
    ]
    assert (rows[0]["a"], rows[0]["b"]) == ("size=96 wrong_rate=0", "size=64 wrong_rate=0")
    tested = [row["p"] for row in rows]
    assert [row["p_holm"] for row in rows] == holm(tested)
    assert content["comparisons_are"]["tested_together"] == sum(p is not None for p in tested)
    run = {point["label"]: tmp_path / "s" / point["run"] for point in content["points"]}
    known = set(content["protocols"])
    for row in rows:
        alone = compare_two(run[row["a"]], run[row["b"]], [row["metric"]])
        (same,) = [it for it in alone.contrasts if it.category is None and it.subject.main]
        interval = same.interval._asdict() if same.interval else None
        assert (row["value"], row["interval"], row["p"]) == (same.value, interval, same.p)
        assert set(row["protocol"].values()) <= known
    page = (tmp_path / "s" / "sweep.html").read_text()
    assert f"over all {content['comparisons_are']['tested_together']} comparisons here, which are one family" in page
    assert "picked out of 6 points after looking needs correction" in page
    assert "stand after Holm over all of them" in out


def test_on_a_single_curve_every_point_is_held_against_every_other(drawbench, tmp_path):
    drawbench("sweep", *TRUTH, "--set", "shapes_truth.wrong_rate=0,.5,1", "-o", tmp_path / "s")
    content = read(tmp_path / "s")
    rows = content["comparisons"]
    assert [(row["a"], row["b"], row["at"]) for row in rows] == [
        ("wrong_rate=0.5", "wrong_rate=0", {}),
        ("wrong_rate=1", "wrong_rate=0", {}),
        ("wrong_rate=1", "wrong_rate=0.5", {}),
    ]
    assert rows[1]["value"] == -1
    assert (rows[1]["verdict"], rows[1]["better"]) == ("better", "wrong_rate=0")
    assert [row["p_holm"] for row in rows] == holm([row["p"] for row in rows])
    assert "Every pair of points, in the main output" in content["comparisons_are"]["design"]


def test_an_anchor_is_scored_alike_and_stands_beside_the_curves(drawbench, tmp_path):
    shapes = ("--prompts", "shapes", "--limit", "22")
    drawbench("generate", "--generator", "shapes_truth", *shapes, "--name", "the truth", "-o", tmp_path / "truth")
    given = ("sweep", *TRUTH, "--metric", "image_stats", "--set", "shapes_truth.wrong_rate=.5,1")
    plots = ("--plot", "x=wrong_rate,y=shapes_accuracy", "--plot", "x=shapes_accuracy,y=shapes_accuracy.colour")
    code, out, err = drawbench(*given, *plots, "--anchor", tmp_path / "truth", "-o", tmp_path / "s")
    assert code == 0, err
    content = read(tmp_path / "s")
    (anchor,) = content["anchors"]
    assert (anchor["label"], anchor["generator"], anchor["drawn"]) == ("the truth", "shapes_truth", 22)
    assert {row["metric"] for row in anchor["scores"]} == {"shapes_accuracy", "image_stats"}
    for axis, plot in zip((None, 1), content["plots"], strict=True):
        (star,) = plot["anchors"]
        assert (star["x"]["value"] if axis else star["x"]) == axis
        assert star["y"]["interval"]
        assert star["y"]["protocol"] in content["protocols"]
        assert "Star: the truth" in plot["caption"]
    root = ET.fromstring((tmp_path / "s" / "sweep.svg").read_text())
    stars = [node for node in root.iter() if "anchor" in node.get("class", "").split()]
    assert len([node for node in stars if "cross" in node.get("class")]) == 1
    assert len(stars) == 2
    assert "the truth" in out
    assert len(content["points"]) == 2


def test_an_anchor_of_other_prompts_or_an_unfinished_one_is_refused_before_anything_is_drawn(drawbench, tmp_path):
    (tmp_path / "p.txt").write_text("a\nb\n")
    drawbench("generate", "--generator", "noise", "--prompts", tmp_path / "p.txt", "-o", tmp_path / "other")
    whole = ("generate", "--generator", "noise", "--set", "noise.size=32", "--prompts", "shapes")
    drawbench(*whole, "--limit", "11", "-o", tmp_path / "part")
    drawbench(*whole, "--limit", "22", "-o", tmp_path / "lost")
    next((tmp_path / "lost" / "images").rglob("*.png")).unlink()
    given = ("sweep", *TRUTH, "--set", "shapes_truth.wrong_rate=0,1", "-o", tmp_path / "s")
    for name, message in (
        ("other", "numbers of different prompts are not held against each other"),
        ("part", "has 11 of the prompts of shapes and the sweep 22"),
        ("lost", "is not finished: 1 of 22 images are not drawn"),
        ("none", "is not a run"),
    ):
        code, _, err = drawbench(*given, "--anchor", tmp_path / name)
        assert code == 2
        assert message in err
        assert len([line for line in err.splitlines() if line.strip()]) == 1
    drawbench(*whole, "--limit", "22", "-o", tmp_path / "lost")
    twice = ("--anchor", tmp_path / "lost", "--anchor", tmp_path / "part" / ".." / "lost")
    assert "lost is given twice" in drawbench(*given, *twice)[2]
    assert not (tmp_path / "s").exists()


def test_a_measured_x_without_intervals_is_no_swept_one_and_every_number_names_its_protocol(drawbench, tmp_path):
    (tmp_path / "p.txt").write_text("a\nb\nc\n")
    given = ("sweep", "--generator", "noise", "--prompts", tmp_path / "p.txt", "--metric", "image_stats")
    code, _, err = drawbench(
        *given, "--set", "noise.size=32,64", "-o", tmp_path / "s", "--plot", "x=image_stats.width,y=image_stats.black"
    )
    assert code == 0, err
    content = read(tmp_path / "s")
    (plot,) = content["plots"]
    assert "bars: 95 % intervals of image_stats black; image_stats width has none" in plot["caption"]
    svg = (tmp_path / "s" / "sweep.svg").read_text()
    root = ET.fromstring(svg)
    assert not [node for node in root.iter() if "band" in node.get("class", "").split()]
    assert len([node for node in root.iter() if "cross" in node.get("class", "").split()]) == 2
    shown = " ".join(node.text for node in root.iter() if node.tag.endswith("}text") and node.text)
    assert "bars: 95 % intervals of image_stats black" in shown, "in sight, not in <desc> alone"
    for spot in plot["curves"][0]["points"]:
        for axis in "xy":
            assert spot[axis]["n"] == 3
            assert content["protocols"][spot[axis]["protocol"]]["fields"]["n"] == "3"


def test_a_distance_says_what_it_is_from_and_that_few_images_make_it_large(drawbench, tmp_path):
    given = ("--generator", "shapes_truth", "--prompts", "shapes", "--limit", "11", "--metric", "fd")
    code, _, err = drawbench(
        "sweep", *given, "--set", "shapes_truth.wrong_rate=0,1", "--set", "fd.model=shapes", "-o", tmp_path / "s"
    )
    assert code == 0, err
    said = read(tmp_path / "s")["plots"][0]["caption"]
    assert "compared with the first 5000 pictures" in said
    assert "a Fréchet distance is too large: compare equal n only" in said
    assert said in (tmp_path / "s" / "sweep.html").read_text().replace("&#39;", "'")


def test_points_that_would_end_with_unequal_prompts_are_refused_before_anything_is_drawn(drawbench, tmp_path):
    given = ("sweep", *TINY, "--set", "noise.resolution=8", "-o", tmp_path / "s")
    assert drawbench(*given, "--limit", "4", "--set", "noise.size=16,32")[0] == 0
    code, _, err = drawbench(*given, "--limit", "2", "--set", "noise.size=16,24")
    assert code == 2
    assert "size-16 with 4 and" in err
    assert "size-24 with 2, and could not be held against each other" in err
    assert len([line for line in err.splitlines() if line.strip()]) == 1
    assert not (tmp_path / "s" / "size-24").exists()
    code, out, _ = drawbench(*given, "--limit", "2", "--set", "noise.size=16,32")
    assert (code, "must not be held" in out) == (0, False), "nothing is added where all have more"
    code, out, err = drawbench(*given, "--limit", "5", "--set", "noise.size=16,24,32")
    assert code == 0, err
    assert [point["planned"] for point in read(tmp_path / "s")["points"]] == [5, 5, 5]


def test_going_on_without_samples_takes_as_many_as_there_are(drawbench, tmp_path):
    given = ("sweep", *TINY, "--limit", "2", "--set", "noise.resolution=8", "-o", tmp_path / "s")
    assert drawbench(*given, "--set", "noise.size=16,24", "--samples", "2")[0] == 0
    code, _, err = drawbench(*given, "--set", "noise.size=16,24,32")
    assert code == 0
    assert "note: 2 samples of each prompt" in err
    assert [point["drawn"] for point in read(tmp_path / "s")["points"]] == [4, 4, 4]


def test_killed_before_the_last_it_writes_what_is_drawn_and_never_less_than_was_there(drawbench, tmp_path, monkeypatch):
    given = ("sweep", *TINY, "--limit", "2", "--set", "noise.resolution=8", "-o", tmp_path / "s")
    assert drawbench(*given, "--set", "noise.size=16,24,32")[0] == 0
    whole = (tmp_path / "s" / "sweep.json").read_bytes()

    def killed(*_):
        raise UserError("killed")

    monkeypatch.setattr("drawbench.reports.sweep.write_sweep", killed)
    assert drawbench(*given, "--set", "noise.size=16,24,32")[0] == 2
    assert (tmp_path / "s" / "sweep.json").read_bytes() == whole
    (tmp_path / "s" / "sweep.json").unlink()
    assert drawbench(*given, "--set", "noise.size=16,24,32")[0] == 2
    content = read(tmp_path / "s")
    assert not content["finished"]
    assert [point["label"] for point in content["points"]] == ["size=16", "size=24"], "though nothing was drawn now"


def test_what_is_plotted_can_be_chosen_and_a_word_can_be_swept(drawbench, tmp_path):
    (tmp_path / "ink.py").write_text(
        "from typing import Literal\nimport PIL.Image\nfrom drawbench.interfaces import Drawn\n"
        "class Ink:\n    pads = False\n    def __init__(self, c): self.c = c\n    def fingerprint(self): return {'c': self.c}\n"
        "    def generate(self, items): return [Drawn(PIL.Image.new('RGB', (8, 8), self.c)) for _ in items]\n"
        "def ink(*, colour: Literal['black', 'white'] = 'black', note: str = ''): return Ink(colour)\n"
    )
    (tmp_path / "p.txt").write_text("a\nb\nc\n")
    given = (
        "--generator",
        f"ink={tmp_path / 'ink.py'}:ink",
        "--prompts",
        tmp_path / "p.txt",
        "--metric",
        "image_stats",
    )
    code, _, err = drawbench(
        *("sweep", *given, "--set", "ink.colour=white,black", "--set", r"ink.note=a\,b", "-o", tmp_path / "s"),
        *("--plot", "x=colour,y=image_stats.black", "--plot", "x=image_stats.width,y=image_stats.black"),
    )
    assert code == 0, err
    content = read(tmp_path / "s")
    assert list(content["swept"]) == ["colour"], "a comma with a backslash before it belongs to the value"
    assert Run.open(tmp_path / "s" / "colour-white").manifest.system.options["note"] == "a,b"
    assert [spot["y"]["value"] for spot in content["plots"][0]["curves"][0]["points"]] == [0, 1]
    svg = (tmp_path / "s" / "sweep.svg").read_text()
    assert ">white</text>" in svg
    assert ">black</text>" in svg


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--set", "shapes_truth.wrong_rate=0.5"], "nothing is swept"),
        (["--set", "shapes_truht.wrong_rate=0,1"], "did you mean 'shapes_truth'?"),
        (["--set", "shapes_truth.wrong_rat=0,1"], "did you mean 'wrong_rate'?"),
        (["--set", "shapes_truth.wrong_rate=0,high"], "wrong_rate=high: 'high' is not a number"),
        (["--set", "shapes_truth.wrong_rate=0,0.5,7"], "point 3 of 3 (wrong_rate=7): shapes_truth.wrong_rate=7.0"),
        (["--set", "shapes_truth.wrong_rate=0,,1"], "a value between commas is empty"),
        (["--set", "shapes_truth.wrong_rate=1,1.0"], "1 is given twice"),
        (["--set", "shapes_truth.wrong_rate=0,1", "--generator", "noise"], "a sweep has one --generator, not 2"),
        (["--set", "shapes_truth.wrong_rate=0,1", "--shard", "1/2"], "sweep scores whole runs"),
        (["--set", "shapes_truth.wrong_rate=0,1", "--plot", "fd"], "write x=OUTPUT,y=OUTPUT"),
        (["--set", "shapes_truth.wrong_rate=0,1", "--plot", "x=shapes_acuracy,y=wrong_rate"], "did you mean 'shapes_accuracy'?"),
        (["--set", "shapes_truth.wrong_rate=0,1", "--plot", "x=shapes_accuracy,y=wrong_rate"], "y is what a metric gave"),
        (["--set", "shapes_truth.wrong_rate=0,1", "--metric", "shapes_acc"], "did you mean 'shapes_accuracy'?"),
    ],
)  # fmt: skip
def test_what_is_typed_wrong_is_one_line_before_anything_is_drawn(drawbench, tmp_path, changed, message):
    code, _, err = drawbench("sweep", *TRUTH, *changed, "-o", tmp_path / "s")
    assert code == 2
    assert message in err
    assert len([line for line in err.splitlines() if line.strip()]) == 1
    assert not (tmp_path / "s").exists()


def test_a_run_is_not_taken_for_a_sweeps_folder(drawbench, tmp_path):
    drawbench("generate", "--generator", "shapes_truth", "--prompts", "shapes", "--limit", "1", "-o", tmp_path / "run")
    code, _, err = drawbench("sweep", *TRUTH, "--set", "shapes_truth.wrong_rate=0,1", "-o", tmp_path / "run")
    assert code == 2
    assert "is a run; give a new folder" in err


def test_a_later_points_folder_that_holds_something_else_is_said_before_anything_is_drawn(drawbench, tmp_path):
    given = ("sweep", *TRUTH, "--set", "shapes_truth.wrong_rate=0,1", "-o", tmp_path / "s")
    (tmp_path / "s" / "wrong_rate-1").mkdir(parents=True)
    (tmp_path / "s" / "wrong_rate-1" / "thesis.tex").touch()
    code, _, err = drawbench(*given)
    assert code == 2
    assert "wrong_rate-1 is not empty and not a run" in err
    assert not (tmp_path / "s" / "wrong_rate-0").exists()
    (tmp_path / "s" / "wrong_rate-1" / "thesis.tex").unlink()
    assert drawbench(*given)[0] == 0
    code, _, err = drawbench(*given, "--seed", "3")
    assert code == 2
    assert "holds another run: seed is 0 there, 3 here" in err


def test_the_aug_level_of_super_resolution_can_be_swept_and_the_bases_is_refused(drawbench, tmp_path):
    """Figure A.11's option: with it the shipped cascade's images change, and all else stays."""
    given = ("--generator", "imagen", "--checkpoint", "shapes", "--prompts", "shapes", "--limit", "2")
    quick = [text for stage in ("base", "sr256", "sr1024") for text in ("--set", f"imagen.{stage}.steps=1")]
    rest = (*given, *quick, "--metric", "image_stats")
    code, _, err = drawbench("sweep", *rest, "--set", "imagen.sr256.aug_level=0,0.3", "-o", tmp_path / "s")
    assert code == 0, err
    levels = [Run.open(tmp_path / "s" / f"sr256.aug_level-{level}") for level in ("0", "0.3")]
    images = [[np.asarray(Image.open(run.place(record).file)) for record in run.drawn()] for run in levels]
    assert not any(np.array_equal(a, b) for a, b in zip(*images, strict=True))
    code, _, err = drawbench("sweep", *rest, "--set", "imagen.base.aug_level=0,0.3", "-o", tmp_path / "t")
    assert code == 2
    assert "point 1 of 2 (base.aug_level=0): imagen.base.aug_level=0.0: the base has no smaller image" in err
