"""Judgements in and out: our export read back, and the ratings of others."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from drawbench.errors import UserError
from drawbench.human_eval.analysis import analyse
from drawbench.human_eval.assignment import showings
from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import SINGLE
from drawbench.human_eval.exchange import export, import_ratings, table
from drawbench.human_eval.findings import by_whom, cautions, raters_said
from drawbench.human_eval.simulated_raters import simulate
from drawbench.human_eval.simulation import Population
from drawbench.human_eval.store import Store

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def there(folder):
    return pytest.mark.skipif(not (SHARED / folder).is_dir(), reason=f"the data {folder} is not here")


@pytest.fixture
def answered(make_study):
    """A study in which one rater preferred the left set's quality everywhere, and then changed one answer."""
    study = make_study(images_per_set=1)
    store = Store(study)
    rater, _ = store.invite("ann")
    unit = store.place(rater).unit
    for number, showing in enumerate(showings(study, unit, rater)):
        store.submit(rater, showing, {"fidelity": "first", "alignment": "indifferent"}, 2.0, f"k{number}")
    store.submit(
        rater, showings(study, unit, rater)[0], {"fidelity": "second", "alignment": "indifferent"}, 2.0, "later"
    )
    yield study, store
    store.close()


def test_a_table_names_what_was_preferred_by_system(answered):
    study, store = answered
    frame = table(study, store.judgements())
    fidelity = frame[frame["question"] == "fidelity"]
    left = [shown.split(" | ")[0] for shown in fidelity["shown"]]
    right = [shown.split(" | ")[1] for shown in fidelity["shown"]]
    changed = fidelity["answer"] == "second"
    assert changed.sum() == 1
    expected = [r if turn else one for one, r, turn in zip(left, right, changed, strict=True)]
    assert fidelity["preferred"].tolist() == expected
    assert frame[frame["question"] == "alignment"]["preferred"].isna().all()
    assert "ann" not in frame.to_csv()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_export_is_the_table(answered, tmp_path, suffix):
    study, store = answered
    export(study, store.judgements(), tmp_path / f"out.{suffix}")
    read = pd.read_csv if suffix == "csv" else pd.read_parquet
    assert read(tmp_path / f"out.{suffix}")["answer"].tolist() == [one.answer for one in store.judgements()]


def test_an_export_as_json_comes_back_whole(answered, tmp_path):
    study, store = answered
    export(study, store.judgements(all_rows=True), tmp_path / "out.json")
    assert study.manifest["secret"] not in (tmp_path / "out.json").read_text()
    again = Store(import_ratings(tmp_path / "out.json", "drawbench", tmp_path / "copy"))
    assert again.judgements(all_rows=True) == store.judgements(all_rows=True)
    assert again.judgements() == store.judgements()
    assert again.study.items == study.items
    again.close()


def test_an_export_that_comes_back_says_the_same(answered, tmp_path):
    """Its units are no tasks, and its order effects are there."""
    study, store = answered
    export(study, store.judgements(), tmp_path / "out.json")
    again = Store(import_ratings(tmp_path / "out.json", "drawbench", tmp_path / "copy"))
    before, after = (analyse(one.study, one.judgements()) for one in (store, again))
    assert before["order"]
    assert {**after, "study": None} == {**before, "study": None}
    again.close()


def test_single_sets_of_several_units_come_back_as_one_task(runs, tmp_path):
    study = create(tmp_path / "study", runs[:1], replace(SINGLE, raters=2, batch_size=11))
    store = Store(study)
    simulate(store, {"right": 1.0}, Population())
    export(study, store.judgements(), tmp_path / "out.json")
    again = Store(import_ratings(tmp_path / "out.json", "drawbench", tmp_path / "copy"))
    before, after = (analyse(one.study, one.judgements()) for one in (store, again))
    assert len(after["scales"]) == 2
    assert {**after, "study": None} == {**before, "study": None}
    store.close()
    again.close()


@there("human/imagenhub")
def test_others_ratings_stay_theirs_through_an_export_of_ours(tmp_path):
    once = Store(import_ratings(SHARED / "human" / "imagenhub", "imagenhub", tmp_path / "once"))
    export(once.study, once.judgements(), tmp_path / "out.json")
    twice = Store(import_ratings(tmp_path / "out.json", "drawbench", tmp_path / "twice"))
    assert (once.study.format, twice.study.format) == ("imagenhub", "imagenhub")
    assert analyse(twice.study, twice.judgements())["order"] == []
    once.close()
    twice.close()


@there("drawbench/gpt4v_verdicts")
def test_a_models_verdicts_are_not_peoples(tmp_path):
    store = Store(import_ratings(SHARED / "drawbench" / "gpt4v_verdicts", "gpt4v", tmp_path / "study"))
    analysis = analyse(store.study, store.judgements())
    store.close()
    assert next(cautions(analysis)) == "the ratings are a model's, not people's"
    assert by_whom(analysis).endswith("by 1 model, not people")
    assert raters_said(analysis) == "a model"


def test_a_file_of_another_kind_is_refused(answered, tmp_path):
    study, store = answered
    with pytest.raises(UserError, match=r"\.csv, \.parquet or \.json"):
        export(study, store.judgements(), tmp_path / "out.xlsx")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(UserError, match="is not an export of a study"):
        import_ratings(tmp_path / "x.json", "drawbench", tmp_path / "copy")


@there("human/imagenhub")
def test_another_labs_ratings_are_read_whole(tmp_path):
    store = Store(import_ratings(SHARED / "human" / "imagenhub", "imagenhub", tmp_path / "study"))
    frame = table(store.study, store.judgements())
    assert set(frame["rater"]) == {"rater1", "rater2", "rater3"}
    published = json.loads((SHARED / "human" / "imagenhub" / "published.json").read_text())
    for task, systems in published.items():
        for system, of in systems.items():
            rows = frame[(frame["unit"] == task) & (frame["shown"] == system)]
            for question, name in (("SC", "SC_mean"), ("PQ", "PR_mean")):
                mean = rows[rows["question"] == question]["answer"].astype(float).mean()
                assert abs(mean - of[name]) <= 0.0051, (task, system, question)
    store.close()


def test_a_cell_that_is_no_rating_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "T_rater1.tsv").write_text("uid\tA\nx.jpg\t[0, 2]\n")
    with pytest.raises(UserError, match=r"x\.jpg, A: '\[0, 2\]' is no rating"):
        import_ratings(tmp_path / "in", "imagenhub", tmp_path / "study")
    with pytest.raises(UserError, match="has no <task>_rater<n>.tsv"):
        import_ratings(tmp_path, "imagenhub", tmp_path / "study")


@there("drawbench/gpt4v_verdicts")
def test_verdicts_are_counted_by_drawbenchs_own_lines(tmp_path):
    """Two of the three files count the prompts from 0: the altered ones are lines 154 and 168 all the same."""
    store = Store(import_ratings(SHARED / "drawbench" / "gpt4v_verdicts", "gpt4v", tmp_path / "study"))
    frame = table(store.study, store.judgements())
    right = frame["answer"] == "yes"
    overall = {system: right[frame["shown"] == system].mean() for system in ("2", "3", "sdxl")}
    assert overall == pytest.approx({"2": 0.490, "3": 0.704, "sdxl": 0.469}, abs=5e-4)
    as_published = frame["unit"] == "drawbench"
    assert set(frame[~as_published]["prompt"].str[:3]) == {"154", "168"}
    kept = {system: right[as_published & (frame["shown"] == system)].mean() for system in ("2", "3", "sdxl")}
    assert kept == pytest.approx({"2": 390 / 792, "3": 555 / 792, "sdxl": 369 / 792}, abs=1e-12)
    store.close()
