"""``drawbench study`` as a user types it."""

import csv
import sys

import pytest

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
