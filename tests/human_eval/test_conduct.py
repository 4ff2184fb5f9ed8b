"""How a study was carried out stands beside its numbers: by whom, how far, what is left out, which protocol."""

from dataclasses import replace

import pytest
from answering import PLAIN, answered, by_lot, filled
from making_studies import make_run

from drawbench.errors import UserError
from drawbench.human_eval.analysis import analyse
from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import DRAWBENCH, find_design
from drawbench.human_eval.findings import cautions, left_out, sentences
from drawbench.human_eval.session import Session
from drawbench.human_eval.simulated_raters import simulate
from drawbench.human_eval.store import Store
from drawbench.human_eval.study import REFERENCE
from drawbench.reports.study import write_study_report


@pytest.fixture
def study(make_study):
    return make_study(replace(DRAWBENCH, raters=20), images_per_set=1)


def test_a_protocol_that_filters_by_controls_has_its_numbers_by_controls_alone(runs, tmp_path):
    """Of four raters one fails the controls, another is hasty: the paper's filter drops the first only."""
    design = replace(find_design("coco-fidelity"), raters=4)
    study = create(tmp_path / "study", [runs[1]], design, reference=runs[0])
    judgements = answered(
        study, lambda showing, *_: "first" if showing.shown[0] == (showing.item.control or REFERENCE) else "second", 4
    )
    names = list(dict.fromkeys(one.rater for one in judgements))
    other = {"first": "second", "second": "first"}
    judgements = [replace(one, answer=other[one.answer]) if one.rater == names[0] else one for one in judgements]
    judgements = [replace(one, seconds=0.2) if one.rater == names[1] else one for one in judgements]
    analysis = analyse(study, judgements)
    assert [flag["rater"] for flag in analysis["flags"]] == sorted(names[:2])
    passed = analysis["passed_controls"]
    assert (passed["raters"], passed["failed"]) == (3, [names[0]])
    assert passed["preferences"][0]["prefer_b"]["value"] == 1.0
    assert passed["preferences"][0]["tie_split"]["n"] == 3 * 22
    assert analysis["preferences"][0]["prefer_b"]["value"] == pytest.approx(0.75)
    for suffix in ("html", "md"):
        write_study_report(analysis, tmp_path / f"study.{suffix}")
        assert "3 of 4 raters passed the controls" in (tmp_path / f"study.{suffix}").read_text()


def test_simulated_raters_are_said_wherever_numbers_are(study, tmp_path):
    judgements = filled(study, {"right": 0.5, "half": 0.0})
    assert all(one.rater.startswith("sim") for one in judgements)
    analysis = analyse(study, judgements)
    assert (analysis["raters"], analysis["simulated"]) == (220, 220)
    assert next(cautions(analysis)).startswith("simulated raters: nobody has looked")
    for suffix in ("html", "md"):
        write_study_report(analysis, tmp_path / f"study.{suffix}")
        assert "880 judgements by 220 simulated raters" in (tmp_path / f"study.{suffix}").read_text()
    people = [replace(one, rater="r00000001") if one.rater == judgements[0].rater else one for one in judgements]
    mixed = analyse(study, people)
    assert mixed["simulated"] == 219
    assert next(cautions(mixed)).startswith("219 of the 220 raters are simulated")


def test_simulated_raters_do_not_go_beside_people(study):
    store = Store(study)
    rater, _ = store.invite()
    session = Session(store, rater)
    showing = session.state().order[0]
    session.answer(0, showing.item.id, {"fidelity": "first", "alignment": "first"}, 2.0, "key")
    with pytest.raises(UserError, match=r"has answers of people \(1\), and simulated ones do not go beside them"):
        simulate(store, {"right": 1.0, "half": 0.0}, PLAIN)
    store.close()


def test_an_unfinished_study_is_interim_and_one_more_rater_takes_no_kappa_away(study):
    judgements = answered(study, by_lot, 20)
    whole = analyse(study, judgements)
    assert whole["places"] == {"finished": 220, "planned": 220, "begun": 0}
    assert list(cautions(whole)) == []
    kappa = whole["agreement"][0]
    assert kappa["fleiss_kappa"] is not None
    late = replace(judgements[0], id=10**6, rater="r99999999", key="late")
    more = analyse(study, [*judgements, late])
    assert more["places"]["begun"] == 1
    assert more["agreement"][0]["fleiss_kappa"] == kappa["fleiss_kappa"]
    assert more["agreement"][0]["n"] == kappa["n"] + 1
    fewer = analyse(study, judgements[: len(judgements) // 2])
    assert next(cautions(fewer)).startswith("interim: 11")
    assert "of 220 places are finished" in sentences(fewer)[0]


def test_prompts_that_are_left_out_are_told_with_the_reason(runs, tmp_path):
    fewer = make_run(tmp_path / "fewer", "fewer", limit="20")
    study = create(tmp_path / "study", [runs[0], fewer], replace(DRAWBENCH, raters=2), images_per_set=1)
    analysis = analyse(study, answered(study, by_lot, 2))
    assert len(analysis["left_out"]) == 2
    (text,) = left_out(analysis)
    assert text.startswith("2 prompts left out (fewer has 0 where 1 image of a prompt are shown): ")
    write_study_report(analysis, tmp_path / "study.html")
    assert text in (tmp_path / "study.html").read_text()


def test_a_report_tells_the_studys_own_protocol_and_where_it_departs_from_the_papers(study, tmp_path):
    analysis = analyse(study, answered(study, by_lot, 2))
    assert analysis["protocol"][:2] == ["22 prompts in 11 units, 20 raters for each", "images per set: 1"]
    assert analysis["departs"] == ["raters (20, not 25)", "images per set (1, not 8)"]
    for suffix in ("html", "md"):
        write_study_report(analysis, tmp_path / f"study.{suffix}")
        text = (tmp_path / f"study.{suffix}").read_text()
        assert "departs from it in: raters (20, not 25), images per set (1, not 8)" in text
        assert "22 prompts in 11 units, 20 raters for each" in text
