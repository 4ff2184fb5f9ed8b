"""Effects that were planted in the answers are found by the analysis, and where nothing was planted nothing is."""

from dataclasses import replace
from random import Random

import pytest
from answering import answered, by_lot, liking

from drawbench.human_eval.analysis import NO_CATEGORY, NO_PEOPLE, analyse
from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import DRAWBENCH, find_design
from drawbench.human_eval.study import REFERENCE, Study
from drawbench.intervals import holm


@pytest.fixture
def study(make_study):
    return make_study(replace(DRAWBENCH, raters=20), images_per_set=1)


def test_all_questions_are_one_family_for_holm(study):
    analysis = analyse(study, answered(study, liking("right", 0.58)))
    for overall, count in ((True, 2), (False, 22)):
        rows = [row for row in analysis["preferences"] if (row["category"] is None) == overall]
        assert len(rows) == count
        assert [row["p_holm"] for row in rows] == pytest.approx(holm([row["p"] for row in rows]))
    effects = [*analysis["sides"], *analysis["order"]]
    assert [row["p_holm"] for row in effects] == pytest.approx(holm([row["p"] for row in effects]))
    assert len(effects) == 2 + 1 + 2


def test_people_who_tire_are_found_once_for_each_screen(study):
    """The later half takes half as long; both questions of a screen share its time."""

    def tiring(showing):
        half = len(study.units[showing.item.unit]) / 2
        return 8.0 if showing.position < half else 4.0

    analysis = analyse(study, answered(study, by_lot, 6, tiring))
    (row,) = [row for row in analysis["order"] if row["question"] is None]
    assert row["measure"] == "seconds, later / earlier half"
    assert row["value"] == pytest.approx(0.5)
    assert row["n_raters"] == 66
    assert row["p_holm"] < 0.01


def test_the_middle_screen_of_an_odd_number_is_of_neither_half(make_study):
    """Eleven screens of 1, 2, 4 … seconds: the last five are 64 times as long, which two rows for each would not give."""
    study = make_study(replace(DRAWBENCH, unit="batch", batch_size=11, raters=3), images_per_set=1)
    analysis = analyse(study, answered(study, by_lot, 3, lambda showing: 2.0**showing.position))
    assert analysis["order"][0]["value"] == pytest.approx(64)


def test_a_slower_half_is_a_ratio_with_an_interval_around_it(study):
    rng = Random(1)
    analysis = analyse(study, answered(study, by_lot, 6, lambda showing: rng.lognormvariate(1 + showing.position, 0.3)))
    (row,) = [row for row in analysis["order"] if row["question"] is None]
    assert 1.5 < row["interval"]["low"] < row["value"] < row["interval"]["high"]


def test_second_looks_are_no_trials_and_tell_how_steady_raters_are(make_study):
    design = replace(DRAWBENCH, unit="batch", batch_size=22, repeats=5, raters=6)
    study = make_study(design, images_per_set=1)

    def turning(showing, question, rng):
        """Prefers right's quality always, and of the captions right first and half at the second look."""
        liked = "half" if showing.repeat and question == "alignment" else "right"
        return "first" if showing.shown[0] == liked else "second"

    analysis = analyse(study, answered(study, turning))
    assert {row["tie_split"]["n"] for row in analysis["preferences"] if row["category"] is None} == {6 * 22}
    assert {row["tie_split"]["value"] for row in analysis["preferences"]} == {1.0}
    assert [(row["question"], row["value"], row["n"]) for row in analysis["retest"]] == [
        ("fidelity", 1.0, 30),
        ("alignment", 0.0, 30),
    ]
    assert analysis["places"] == {"finished": 6, "planned": 6, "begun": 0}
    first_looks = [one for one in answered(study, turning) if not one.repeat]
    assert analyse(study, first_looks)["places"] == {"finished": 0, "planned": 6, "begun": 6}


def with_people(study, ids):
    """The study with captions that speak of people, but for the prompts of these ids."""
    items = [replace(item, no_people=item.prompt in ids) for item in study.items]
    return Study(study.path, study.manifest, items)


def test_what_speaks_of_nobody_has_a_row_of_its_own(runs, tmp_path):
    design = replace(find_design("coco-fidelity"), raters=4)
    study = create(tmp_path / "study", [runs[1]], design, reference=runs[0])
    nobody = set(list(runs[0].manifest.plan.prompt_ids)[:8])
    study = with_people(study, nobody)

    def answer(showing, question, rng):
        liked = "half" if showing.item.prompt in nobody else REFERENCE
        liked = showing.item.control or liked
        return "first" if showing.shown[0] == liked else "second"

    rows = {row["category"]: row for row in analyse(study, answered(study, answer, 4))["preferences"]}
    assert (rows[NO_PEOPLE]["prefer_a"]["value"], rows[NO_PEOPLE]["prefer_a"]["n"]) == (1.0, 4 * 8)
    assert rows[None]["prefer_a"]["value"] == pytest.approx(8 / 22)


def test_a_system_is_held_against_the_reference_on_the_same_captions(runs, tmp_path):
    """Strict raters and hard captions move both alike: the difference is sharper than either mean."""
    design = replace(find_design("coco-alignment"), raters=6, batch_size=11)
    study = create(tmp_path / "study", [runs[1]], design, reference=runs[0])
    prompts = list(runs[0].manifest.plan.prompt_ids)
    hard = set(prompts[::2])
    study = with_people(study, set(prompts[:10]))

    def answer(showing, question, rng):
        if showing.item.control is not None:
            return "no"
        good = (showing.item.prompt not in hard) + (showing.shown[0] == REFERENCE and rng.random() < 0.9)
        return ["no", "somewhat", "yes"][good]

    analysis = analyse(study, answered(study, answer))
    rows = {row["category"]: row for row in analysis["differences"]}
    assert {(row["a"], row["b"]) for row in rows.values()} == {("half", REFERENCE)}
    assert rows[None]["value"] == pytest.approx(-45, abs=8)
    assert rows[None]["p_holm"] < 0.001
    assert set(rows) == {None, NO_PEOPLE}
    assert rows[NO_PEOPLE]["prompts"] == 10
    means = {(row["system"], row["category"]): row for row in analysis["scales"]}
    assert means[REFERENCE, None]["value"] - means["half", None]["value"] == pytest.approx(-rows[None]["value"])
    assert means[REFERENCE, NO_PEOPLE]["n"] == 60

    def width(row):
        return row["interval"]["high"] - row["interval"]["low"]

    assert width(rows[None]) < width(means["half", None])


def test_of_two_questions_a_wrong_caption_decides_one_and_honest_raters_pass(runs, tmp_path):
    design = replace(find_design("single"), controls=5, pass_rate=0.8, batch_size=11, raters=3)
    study = create(tmp_path / "study", runs[:1], design, images_per_set=1)

    def honest(showing, question, rng):
        return "1" if question == "alignment" and showing.item.control is not None else "5"

    assert analyse(study, answered(study, honest))["flags"] == []
    failed = analyse(study, answered(study, lambda *_: "5"))["flags"]
    assert {flag["reasons"][0] for flag in failed} == {"0 of 5 controls right"}


def test_an_older_study_with_one_code_for_several_questions_flags_nobody(runs, tmp_path):
    design = replace(find_design("single"), controls=5, pass_rate=0.8, batch_size=11, raters=3)
    study = create(tmp_path / "study", runs[:1], design, images_per_set=1)
    items = [replace(item, control="1" if item.control else None) for item in study.items]
    study = Study(study.path, study.manifest, items)
    assert analyse(study, answered(study, lambda *_: "5"))["flags"] == []


def test_a_category_without_a_name_is_not_a_second_whole(study):
    study = Study(
        study.path,
        study.manifest,
        [replace(i, category="" if i.category == "Colors" else i.category) for i in study.items],
    )
    rows = analyse(study, answered(study, by_lot, 2))["preferences"]
    assert [row["category"] for row in rows].count(None) == 2
    assert NO_CATEGORY in [row["category"] for row in rows]
