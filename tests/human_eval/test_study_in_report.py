"""What people said stands beside the metrics, with what it does not share with the runs."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
from making_studies import make_run

from drawbench.cli import main
from drawbench.human_eval.analysis import analyse
from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import DRAWBENCH, find_design
from drawbench.human_eval.simulated_raters import simulate
from drawbench.human_eval.simulation import Population
from drawbench.human_eval.store import Store
from drawbench.human_eval.study import study_digest
from drawbench.reports.write import summary_lines, write_report
from drawbench.store import Run


@pytest.fixture
def study(make_study):
    made = make_study(replace(DRAWBENCH, raters=6), images_per_set=1)
    store = Store(made)
    simulate(store, {"right": 1.5, "half": 0.0}, Population())
    store.close()
    return made


def test_a_report_has_the_numbers_of_a_study(runs, study, tmp_path):
    for kind in ("json", "html", "md"):
        comparison = write_report(runs[:2], tmp_path / f"report.{kind}", studies=[study.path])
    store = Store(study)
    analysis = analyse(study, store.judgements())
    store.close()
    (told,) = json.loads((tmp_path / "report.json").read_text("utf-8"))["studies"]
    assert told["analysis"] == json.loads(json.dumps(analysis))
    assert told["remarks"] == []
    assert "simulated raters: nobody has looked" in told["sentences"][0]
    overall = [row for row in analysis["preferences"] if row["category"] is None]
    assert [row["question"] for row in overall] == ["fidelity", "alignment"]
    page, text = ((tmp_path / f"report.{kind}").read_text("utf-8") for kind in ("html", "md"))
    for row in overall:
        share = f"{100 * row['prefer_a']['value']:.1f} % [{100 * row['prefer_a']['interval']['low']:.1f}"
        assert page.count(share) >= 2  # In the first table and in the study's own.
        assert share in text
    assert 'class="plot bars"' in page
    assert "What simulated raters said. Intervals are 95 % intervals over raters and prompts" in page
    assert "What people said" not in page + text
    lines = "\n".join(summary_lines(comparison))
    assert "264 judgements by 66 simulated raters" in lines
    assert "! the study" in lines
    assert "simulated raters: nobody has looked at these images" in lines
    assert "alignment: right is preferred in" in lines


def test_what_a_study_does_not_share_with_the_runs_is_said(runs, study, tmp_path):
    other = make_run(tmp_path / "other", "right", 0.25)
    assert other.manifest.system.digest != runs[0].manifest.system.digest
    comparison = write_report([other], tmp_path / "report.html", studies=[study.path])
    (told,) = comparison.studies
    assert "also judged half, of which no run is given here" in told.remarks[0]
    assert "other systems under the names right" in told.remarks[1]
    page = (tmp_path / "report.html").read_text("utf-8")
    assert all(remark in page for remark in told.remarks)


def remarks(runs, study, out):
    (told,) = write_report(runs, out / "report.json", studies=[study.path]).studies
    return list(told.remarks)


def test_a_run_of_another_seed_or_with_other_images_was_not_judged(runs, study, tmp_path):
    assert remarks(runs[:2], study, tmp_path) == []
    reseeded = make_run(tmp_path / "reseeded", "right", seed=99)
    (remark,) = remarks([reseeded, runs[1]], study, tmp_path)
    assert "judged images of right drawn with seed 0" in remark
    assert "drawn with seed 99" in remark
    shutil.copytree(runs[1].path, tmp_path / "copy")
    copy = Run.open(tmp_path / "copy")
    assert remarks([runs[0], copy], study, tmp_path) == []
    for journal in (tmp_path / "copy" / "journal").iterdir():
        for record in copy.drawn():
            text = journal.read_text()
            journal.write_text(text.replace(record.sha256, record.sha256[::-1]))
    (remark,) = remarks([runs[0], Run.open(tmp_path / "copy")], study, tmp_path)
    assert "judged other images of half than those of the run given here" in remark


def test_of_an_older_study_it_is_said_that_nobody_can_tell(runs, study, tmp_path):
    content = json.loads((study.path / "study.json").read_text())
    del content["sources"]
    content["digest"] = study_digest(content, study.items)
    (study.path / "study.json").write_text(json.dumps(content))
    (remark,) = remarks(runs[:2], study, tmp_path)
    assert "judged these very images of right and half cannot be checked" in remark


def test_a_report_shows_the_protocols_filter_too(runs, tmp_path):
    design = replace(find_design("coco-fidelity"), raters=6)
    made = create(tmp_path / "study", [runs[1]], design, reference=runs[0])
    store = Store(made)
    simulate(store, {"half": 0.0, "reference": 0.5}, Population(indifference=0.0))
    store.close()
    for kind in ("html", "md"):
        write_report(runs[1:2], tmp_path / f"report.{kind}", studies=[made.path])
        assert "6 of 6 raters passed the controls" in (tmp_path / f"report.{kind}").read_text("utf-8")


def test_a_report_wants_runs_and_a_study_with_judgements(runs, study, tmp_path, monkeypatch, capsys):
    def drawbench(*arguments):
        monkeypatch.setattr(sys, "argv", ["drawbench", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    code, said = drawbench(study.path, "-o", tmp_path / "report.html")
    assert code == 2
    assert "only studies are given" in said
    code, said = drawbench(runs[0].path, study.path, study.path, "-o", tmp_path / "report.html")
    assert code == 2
    assert "a study is given twice" in said
    empty = create(tmp_path / "empty", runs[:2], DRAWBENCH, images_per_set=1)
    code, said = drawbench(runs[0].path, runs[1].path, empty.path, "-o", tmp_path / "report.html")
    assert code == 2
    assert "has no judgements yet" in said
    assert not (tmp_path / "report.html").exists()
