"""What is installed: one package with its four linked parts, their templates, and nothing of the tests."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import drawbench

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source") / "drawbench"
    left_out = shutil.ignore_patterns(".*", "build", "dist", "demo", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, symlinks=True, ignore=left_out)  # A build leaves files beside its source.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_every_source_file_template_and_weight_once(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    expected = set()
    for folder in ("drawbench", "generators", "metrics", "human_eval", "reports"):
        for suffix in ("py", "html", "css", "js", "typed"):
            for file in (ROOT / folder).rglob(f"*.{suffix}"):
                path = file.relative_to(ROOT).as_posix()
                expected.add(path if folder == "drawbench" else f"drawbench/{path}")
    weights = ROOT / "drawbench" / "shapes" / "weights"
    expected |= {file.relative_to(ROOT).as_posix() for file in weights.glob("*/*")}
    assert len(names) == len(set(names))
    assert set(names) == expected
    assert "drawbench/reports/report.html" in names
    assert not any(name.split("/")[0] in ("generators", "metrics", "human_eval", "reports", "tests") for name in names)


def test_the_four_parts_are_relative_links():
    for name in ("generators", "metrics", "human_eval", "reports"):
        link = ROOT / "drawbench" / name
        assert link.is_symlink()
        assert link.readlink() == Path("..") / name


def test_there_is_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == drawbench.__version__
    assert f"version: {drawbench.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_every_dependency_is_pinned_in_the_constraints():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {dependency.split(">=")[0].lower().replace("_", "-") for dependency in wanted}
    assert names - pinned == set()
