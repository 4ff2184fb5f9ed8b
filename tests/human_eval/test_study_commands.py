"""``drawbench study`` as a user types it."""

import csv
import socket
import sys

import pytest
from filelock import FileLock
from making_studies import make_run

from drawbench.cli import main
from drawbench.human_eval.store import Store
from drawbench.human_eval.study import Study


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


def test_from_runs_to_links_to_answers(drawbench, runs, tmp_path):
    study = tmp_path / "study"
    code, out, _ = drawbench(
        *("study", "create", "--runs", runs[0].path, runs[1].path, "--design", "drawbench"),
        *("--images-per-set", 2, "--raters", 3, "-o", study),
    )
    assert code == 0
    assert "22 items in 11 units, 3 raters for each" in out
    assert drawbench("study", "invite", study, "-o", tmp_path / "links.csv")[:2] == (
        0,
        f"{tmp_path}/links.csv: 33 links\n",
    )
    with open(tmp_path / "links.csv", newline="") as file:
        links = list(csv.DictReader(file))
    store = Store(Study.open(study))
    assert store.rater_of(links[0]["link"].rpartition("/")[2]) == links[0]["rater"]
    store.close()
    assert drawbench("study", "export", study, "-o", tmp_path / "a.json")[1].endswith("0 judgements of 0 raters\n")
    assert drawbench("study", "forget", study, links[0]["rater"])[0] == 0
    store = Store(Study.open(study))
    assert store.rater_of(links[0]["link"].rpartition("/")[2]) is None
    store.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "nowhere", "-o", "a.csv"), "nowhere is not a study"),
        (("forget", "nowhere", "r1"), "nowhere is not a study"),
        (("import", "nowhere", "-o", "x"), "is not an export of a study"),
    ],
)
def test_what_is_typed_wrong_is_one_line(drawbench, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = drawbench("study", *arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["create", "invite", "export", "import", "forget"])
def test_every_help_teaches_with_an_example(drawbench, command):
    code, out, _ = drawbench("study", command, "--help")
    assert code == 0
    assert "Example:" in out


def test_an_altered_image_ends_a_study_before_it_begins(drawbench, tmp_path):
    made = [make_run(tmp_path / name, name, limit="11", samples=1) for name in ("one", "two")]
    file = made[0].place(made[0].drawn()[0]).file
    file.write_bytes(file.read_bytes()[:-9])
    arguments = (
        "study",
        "create",
        "--runs",
        made[0].path,
        made[1].path,
        "--design",
        "drawbench",
        "--images-per-set",
        1,
    )
    code, _, err = drawbench(*arguments, "-o", tmp_path / "study")
    assert code == 2
    assert f"{file} is not the file that was drawn" in err
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("strengths", [("right=nan",), ("right=1", "right=2"), ("right=inf",), ("right",)])
def test_a_strength_that_cannot_be_is_refused(drawbench, make_study, strengths):
    study = make_study(images_per_set=1)
    code, _, err = drawbench(
        "study", "simulate", study.path, *(part for one in strengths for part in ("--strength", one))
    )
    assert code == 2
    assert "give each system once, as SYSTEM=NUMBER" in err


def test_a_study_that_lost_images_is_not_served(drawbench, make_study):
    study = make_study(images_per_set=1)
    next((study.path / "images").iterdir()).unlink()
    code, _, err = drawbench("rate", study.path, "--port", 8799)
    assert code == 2
    assert "1 of its images are gone" in err


def test_one_process_serves_a_study_and_a_port(drawbench, make_study):
    study = make_study(images_per_set=1)
    with FileLock(study.path / ".rate.lock"):
        code, _, err = drawbench("rate", study.path, "--port", 8799)
    assert code == 2
    assert "is being served already" in err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = drawbench("rate", study.path, "--port", taken.getsockname()[1])
    assert code == 2
    assert "Address already in use; give another" in err


def test_judgements_that_cannot_be_read_are_one_line(drawbench, make_study):
    study = make_study(images_per_set=1)
    (study.path / "judgements.sqlite").write_bytes(b"no database" * 1000)
    code, _, err = drawbench("study", "analyse", study.path, "-o", study.path / "out.md")
    assert code == 2
    assert "cannot be read (file is not a database)" in err
