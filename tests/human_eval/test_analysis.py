"""From simulated raters whose preferences are known to the numbers, and from another lab's ratings to what it printed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from answering import FEW, answered, by_lot, filled, liking

from drawbench.errors import UserError
from drawbench.human_eval.analysis import NO_PEOPLE, analyse
from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import DRAWBENCH, find_design
from drawbench.human_eval.exchange import import_ratings
from drawbench.human_eval.simulated_raters import simulate
from drawbench.human_eval.simulation import Population, true_shares
from drawbench.human_eval.store import Store
from drawbench.reports.study import write_study_report

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


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
