"""A real third-party package, installed, and used from the command line by the names that it brings."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder that the package is installed in."""
    source = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(SOURCE, source)  # A build leaves files beside its source.
    target = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        target,
        source,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return target


@pytest.fixture
def drawbench(site, cache):
    def call(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(site)}
        command = [sys.executable, "-m", "drawbench", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    return call


def test_its_parts_are_listed_with_their_package(drawbench):
    listed = drawbench("list", "generators").stdout
    assert "stripes" in listed
    assert "[drawbench-plugin-example 1.2]" in listed
    assert "redness" in drawbench("list", "metrics").stdout
    assert "trio" in drawbench("list", "prompts").stdout


def test_its_options_are_told(drawbench):
    told = drawbench("list", "generators", "stripes").stdout
    assert "--set stripes.direction=across|down  (default: across)" in told
    assert "--set stripes.ink.green=a whole number  (default: 0)" in told
    assert "device" not in told


def test_its_generator_metrics_and_prompts_make_a_report(drawbench, tmp_path):
    done = drawbench(
        *("run", "--generator", "red=stripes", "--generator", "blue=stripes", "--prompts", "trio"),
        *(
            "--set",
            "red.direction=down",
            "--set",
            "blue.ink.red=0",
            "--set",
            "blue.ink.blue=200",
            "--checkpoint",
            "red=w.bin",
        ),
        *("--metric", "redness", "--metric", "mean_colour", "--reference", "0.25", "-o", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "out" / "red-trio" / "run.json").read_text())
    assert manifest["system"]["options"] == {
        "width": 4,
        "opacity": 1.0,
        "direction": "down",
        "noisy": False,
        "ink.red": 255,
        "ink.green": 0,
        "ink.blue": 0,
    }
    assert manifest["system"]["fingerprint"] == {"checkpoint": "w.bin"}
    done = drawbench(
        "score", tmp_path / "out" / "blue-trio", "--metric", "mean_colour", "--reference", "0.25", "--json"
    )
    (row,) = [row for row in json.loads(done.stdout) if row["output"] is None]
    assert row["value"] == pytest.approx((255 * 3 + 200) / 6 / 255 - 0.25)
    assert row["interval"] is None
    assert row["reason"].startswith("no group of prompts makes a difference")


def test_a_plug_in_that_cannot_be_loaded_is_an_error_that_names_its_package(drawbench, tmp_path):
    done = drawbench("generate", "--generator", "broken", "--prompts", "trio", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "generator 'broken' of drawbench-plugin-example 1.2 could not be loaded" in done.stderr
    assert "No module named 'a_library_that_nobody_has'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
