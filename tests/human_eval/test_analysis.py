"""From simulated raters whose preferences are known to the numbers, and from another lab's ratings to what it printed."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from making_studies import make_run

from drawbench.errors import UserError
from drawbench.human_eval.analysis import NO_CATEGORY, NO_PEOPLE, analyse
from drawbench.human_eval.assignment import showings
from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import DRAWBENCH, find_design
from drawbench.human_eval.exchange import import_ratings
from drawbench.human_eval.findings import cautions, left_out, sentences
from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.session import Session
from drawbench.human_eval.simulated_raters import simulate
from drawbench.human_eval.simulation import Population, true_shares
from drawbench.human_eval.store import Store
from drawbench.human_eval.study import REFERENCE, Study
from drawbench.intervals import holm
from drawbench.reports.study import write_study_report

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


PLAIN = Population()
FEW = "few raters: the interval is approximate"


def filled(study, strengths, population=PLAIN, seed=0):
    """The judgements of simulated raters."""
    store = Store(study)
    simulate(store, strengths, population, seed)
    judgements = store.judgements()
    store.close()
    return judgements


@pytest.fixture
def study(make_study):
    return make_study(replace(DRAWBENCH, raters=20), images_per_set=1)


def test_known_preferences_are_found_again(study):
    population = Population(indifference=0.5)
    judgements = filled(study, {"right": 0.8, "half": 0.0}, population)
    assert len(judgements) == 20 * 22 * 2
    analysis = analyse(study, judgements)
    true = true_shares(0.8, population)
    for row in (row for row in analysis["preferences"] if row["category"] is None):
        assert (row["a"], row["b"]) == ("right", "half")
        for share, expected in (
            (row["prefer_a"], true.a),
            (row["indifferent"], true.indifferent),
            (row["prefer_b"], true.b),
        ):
            low, high = share["interval"]["low"], share["interval"]["high"]
            assert abs(share["value"] - expected) < high - low, "sides and order are dealt by lot: four standard errors"
        assert row["p_holm"] < 0.01
    assert all(side["p_holm"] > 0.001 for side in analysis["sides"])
    # Simulated raters neither tire nor learn.
    assert [(row["question"], row["measure"].partition(",")[0]) for row in analysis["order"]] == [
        (None, "seconds"),
        ("fidelity", "share indifferent"),
        ("alignment", "share indifferent"),
    ]
    assert all(row["p_holm"] > 0.001 and row["n_raters"] == 220 for row in analysis["order"])
    assert [row["system"] for row in analysis["ranking"]] == ["right", "half"] * 2


def test_a_planted_side_bias_is_found_and_moves_no_preference_between_equals(study):
    judgements = filled(study, {"right": 0.0, "half": 0.0}, Population(side_bias=0.8))
    analysis = analyse(study, judgements)
    for side in analysis["sides"]:
        assert side["p"] < 0.01
        assert side["left"]["interval"]["low"] > 0.5
    overall = [row for row in analysis["preferences"] if row["category"] is None]
    assert all(row["p_holm"] > 0.001 for row in overall)


def test_hasty_raters_are_flagged_and_the_numbers_are_given_without_them_too(study):
    judgements = filled(study, {"right": 1.0, "half": 0.0}, Population(at_random=0.3))
    analysis = analyse(study, judgements)
    assert 20 < len(analysis["flags"]) < 120
    assert all("answers in less than 0.7 s" in flag["reasons"][0] for flag in analysis["flags"])
    with_all = analysis["preferences"][0]["tie_split"]["value"]
    without = analysis["without_flagged"]["preferences"][0]["tie_split"]["value"]
    assert without > with_all + 0.02


def test_who_fails_the_controls_is_flagged(runs, tmp_path):
    design = replace(find_design("coco-fidelity"), raters=10)
    study = create(tmp_path / "study", [runs[1]], design, reference=runs[0])
    judgements = filled(study, {"half": 0.0, "reference": 0.5}, Population(indifference=0.0, always_first=0.4), seed=3)
    analysis = analyse(study, judgements)
    failed = [flag for flag in analysis["flags"] if "controls right" in flag["reasons"][0]]
    assert 1 <= len(failed) <= 8
    assert len({one.rater for one in judgements}) == 10
    row = analysis["preferences"][0]
    assert (row["a"], row["b"], row["tie_split"]["n"]) == ("half", "reference", 10 * 22)
    assert NO_PEOPLE not in [row["category"] for row in analysis["preferences"]], "here nobody is spoken of at all"


def test_single_images_have_means_on_the_scale_of_their_question(runs, tmp_path):
    design = replace(find_design("coco-alignment"), raters=6, batch_size=44)
    study = create(tmp_path / "study", [runs[2]], design, reference=runs[0])
    analysis = analyse(study, filled(study, {"wrong": -0.5, "reference": 1.5}))
    means = {row["system"]: row for row in analysis["scales"]}
    assert means["reference"]["value"] > means["wrong"]["value"] + 20
    for row in means.values():
        assert 0 <= row["interval"]["low"] < row["value"] < row["interval"]["high"] <= 100
    assert {row["level"] for row in analysis["agreement"]} == {"ordinal"}


def answered(study, answer, raters=6, seconds=lambda showing: 3.0, questions=None):
    """The judgements of raters who go through every unit; ``answer(showing, question, rng)`` gives an option's code."""
    rng = Random(7)
    judgements = []
    for unit in study.units:
        for _ in range(raters):
            rater = f"r{len(judgements):08d}"
            for showing in showings(study, unit, rater):
                taken = seconds(showing)
                for question in study.screen(showing.item).questions:
                    code = answer(showing, question.name, rng)
                    judgements.append(judged(study, showing, rater, question.name, code, taken, len(judgements)))
    return judgements


def judged(study, showing, rater, question, code, seconds, number):
    return Judgement(
        id=number,
        study=study.digest,
        item=showing.item.id,
        rater=rater,
        question=question,
        answer=code,
        shown=showing.shown,
        position=showing.position,
        seconds=seconds,
        at=f"2026-01-01T00:00:00.{number:09d}",
        key=f"k{number}",
        repeat=showing.repeat,
    )


def by_lot(showing, question, rng):
    return rng.choice(["first", "indifferent", "second"])


def liking(system, share=1.0):
    """Answers that prefer a system in so many cases, and else the other."""

    def answer(showing, question, rng):
        left = showing.shown[0] == system
        return "first" if left == (rng.random() < share) else "second"

    return answer


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


def test_a_category_without_a_name_is_not_a_second_whole(study):
    study = Study(
        study.path,
        study.manifest,
        [replace(i, category="" if i.category == "Colors" else i.category) for i in study.items],
    )
    rows = analyse(study, answered(study, by_lot, 2))["preferences"]
    assert [row["category"] for row in rows].count(None) == 2
    assert NO_CATEGORY in [row["category"] for row in rows]


def test_few_raters_are_remarked_of_scales_and_rankings_too(runs, tmp_path, make_study):
    single = create(tmp_path / "study", runs[:2], replace(find_design("single"), raters=3), images_per_set=1)
    analysis = analyse(single, answered(single, lambda showing, question, rng: rng.choice("12345"), 2))
    assert {row["remark"] for row in (*analysis["scales"], *analysis["differences"])} == {FEW}
    write_study_report(analysis, tmp_path / "study.md")
    assert f"{FEW[0].upper()}{FEW[1:]}." in (tmp_path / "study.md").read_text()
    pairs = make_study(replace(DRAWBENCH, unit="batch", batch_size=22, raters=4), images_per_set=1)
    assert {row["remark"] for row in analyse(pairs, answered(pairs, by_lot, 4))["ranking"]} == {FEW}


def test_naive_intervals_and_the_left_sides_advantage_stand_beside_the_others(study, tmp_path):
    analysis = analyse(study, answered(study, liking("right", 0.7), 6))
    row = analysis["preferences"][0]
    naive = row["tie_split"]["naive"]
    assert len(analysis["advantage"]) == 2
    for suffix in ("html", "md"):
        write_study_report(analysis, tmp_path / f"study.{suffix}")
        text = (tmp_path / f"study.{suffix}").read_text()
        assert f"[{100 * naive['low']:.1f}, {100 * naive['high']:.1f}]" in text
        interval = analysis["agreement"][0]["krippendorff_alpha_interval"]
        assert f"[{interval['low']:.3f}, {interval['high']:.3f}]".replace("-", "−") in text
        advantage = analysis["advantage"][0]["interval"]
        assert f"[{advantage['low']:.3f}, {advantage['high']:.3f}]".replace("-", "−") in text


def test_no_judgements_are_said(study):
    with pytest.raises(UserError, match="has no judgements yet"):
        analyse(study, [])


def test_strengths_must_be_of_the_studys_systems(study):
    store = Store(study)
    with pytest.raises(UserError, match="strengths are needed of right, half; wrong or missing: half, other"):
        simulate(store, {"right": 1.0, "other": 0.0}, Population())
    store.close()


@pytest.mark.skipif(not (SHARED / "human").is_dir(), reason="the ratings of imagenhub are not here")
def test_another_labs_ratings_give_what_it_printed(tmp_path):
    store = Store(import_ratings(SHARED / "human" / "imagenhub", "imagenhub", tmp_path / "study"))
    analysis = analyse(store.study, store.judgements())
    store.close()
    published = json.loads((SHARED / "human" / "imagenhub" / "published.json").read_text())
    rows = {(row["task"], row["system"], row["question"]): row for row in analysis["agreement"]}
    assert len(rows) == 28
    for (task, system, question), row in rows.items():
        name = {"SC": "SC", "PQ": "PR"}[question]
        of = published[task][system]
        found = {
            f"{name}_mean": row["mean"],
            f"{name}_fleiss_kappa": row["fleiss_kappa"],
            f"{name}_krippendorff_alpha_ordinal": row["krippendorff_alpha"],
        }
        assert {key: None if value is None else round(value, 2) for key, value in found.items()} == {
            key: of[key] for key in found
        }
        assert (row["reason"] is None) == (row["fleiss_kappa"] is not None and row["krippendorff_alpha"] is not None)


@pytest.mark.parametrize("suffix", ["html", "md", "json"])
def test_a_report_has_every_number_and_breaks_on_no_name(study, tmp_path, suffix):
    analysis = analyse(study, filled(study, {"right": 0.5, "half": 0.0}, Population(at_random=0.2)))
    analysis["systems"] = ["<script>alert(1)</script>", "half"]
    for row in (*analysis["preferences"], *analysis["without_flagged"]["preferences"]):
        row["a"] = "<script>alert(1)</script>"
    out = tmp_path / f"study.{suffix}"
    write_study_report(analysis, out)
    text = out.read_text()
    if suffix == "json":
        assert json.loads(text) == json.loads(json.dumps(analysis))
        return
    assert "<script>" not in text
    first = analysis["preferences"][0]
    assert f"{100 * first['prefer_a']['value']:.1f} %" in text
    assert "Gary Marcus et al." in text
    assert text.count("<svg") == (2 if suffix == "html" else 0)


def test_a_report_of_another_kind_is_refused(study, tmp_path):
    with pytest.raises(UserError, match=r"\.html, \.md or \.json"):
        write_study_report({}, tmp_path / "study.pdf")
