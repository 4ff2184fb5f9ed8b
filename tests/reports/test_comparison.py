import numpy as np
import pytest
from making_runs import FAITHFUL, make_run, prompts, redraw, score

from drawbench.errors import UserError
from drawbench.interfaces import Output
from drawbench.intervals import holm, paired_difference
from drawbench.reports.comparison import compare
from drawbench.reports.pairs import Contrast, Subject, judged
from drawbench.reports.wording import methods, sentence, warnings


def number(prompt):
    return int(prompt.id)


def wave(prompt, sample=0):
    return 0.5 + 0.1 * np.sin(number(prompt))


def wobble(prompt, sample=0):
    return wave(prompt) + 0.02 * np.cos(3 * number(prompt))


@pytest.fixture
def toys():
    return prompts()


def overall(comparison, metric="faithful"):
    (found,) = [c for c in comparison.contrasts if c.subject.metric == metric and c.category is None and c.subject.main]
    return found


def two(tmp_path, toys, of_a, of_b, outputs=FAITHFUL, **fields):
    a, b = make_run(tmp_path / "a", toys, "alpha"), make_run(tmp_path / "b", toys, "beta")
    score(a, "faithful", {"share": of_a}, outputs)
    score(b, "faithful", {"share": of_b}, outputs, fields=fields)
    return [a, b]


def test_a_known_difference_is_found_with_its_size_and_winner(tmp_path, toys):
    runs = two(tmp_path, toys, lambda p, s: wobble(p) + 0.1, wave)
    comparison = compare(runs)
    found = overall(comparison)
    expected = paired_difference(
        {p.id: wobble(p) + 0.1 for p in toys.prompts}, {p.id: wave(p) for p in toys.prompts}, "mean"
    )
    assert (found.value, found.interval, found.p) == (expected.value, expected.interval, expected.p)
    assert found.value == pytest.approx(0.1, abs=0.01)
    assert (found.verdict, found.better, found.n_prompts) == ("better", "alpha", 24)
    assert {c.category: c.better for c in comparison.contrasts if c.category} == {"red": "alpha", "blue": "alpha"}
    said = sentence(comparison)
    assert said.startswith(
        "On the 24 prompts of toys (24 images each), alpha is better than beta by 0.0992 [0.0929, 0.1055]"
    )
    assert said.endswith("in faithful.")
    assert warnings(comparison) == []


def test_where_less_is_better_the_lower_system_wins(tmp_path, toys):
    outputs = {"share": Output(higher_is_better=False, kind="mean", main=True)}
    comparison = compare(two(tmp_path, toys, lambda p, s: wobble(p) + 0.1, wave, outputs))
    assert overall(comparison).better == "beta"
    assert "beta is better than alpha by 0.0992 [0.0929, 0.1055] in faithful" in sentence(comparison)
    assert "(less is better)" in sentence(comparison)


def test_where_neither_direction_is_better_systems_only_differ(tmp_path, toys):
    outputs = {"share": Output(higher_is_better=None, kind="mean", main=True)}
    found = overall(compare(two(tmp_path, toys, lambda p, s: wobble(p) + 0.1, wave, outputs)))
    assert (found.verdict, found.better) == ("differ", None)


def test_a_tie_is_not_distinguishable(tmp_path, toys):
    comparison = compare(two(tmp_path, toys, wobble, wave))
    assert overall(comparison).verdict == "not distinguishable"
    assert "alpha and beta are not distinguishable in faithful" in sentence(comparison)


def test_identical_values_are_not_distinguishable(tmp_path, toys):
    comparison = compare(two(tmp_path, toys, wave, wave))
    assert overall(comparison).verdict == "not distinguishable"


def test_metrics_that_disagree_are_said_to(tmp_path, toys):
    runs = two(tmp_path, toys, lambda p, s: wobble(p) + 0.1, wave)
    for run, shift in zip(runs, (0.0, 0.1), strict=True):
        score(run, "pretty", {"share": lambda p, s, shift=shift: (wobble if shift else wave)(p) + shift})
    assert "the metrics disagree: alpha is better than beta by" in sentence(compare(runs))


def test_samples_of_a_prompt_are_averaged_before_the_difference(tmp_path, toys):
    a, b = make_run(tmp_path / "a", toys, "alpha", samples=3), make_run(tmp_path / "b", toys, "beta", samples=3)
    score(a, "faithful", {"share": lambda p, s: wobble(p) + 0.1 + (s - 1) / 5})
    score(b, "faithful", {"share": lambda p, s: wave(p) - (s - 1) / 7})
    found = overall(compare([a, b]))
    assert found.n_prompts == 24
    assert found.value == pytest.approx(np.mean([wobble(p) + 0.1 - wave(p) for p in toys.prompts]))


def test_different_protocols_are_refused_and_named(tmp_path, toys):
    runs = two(tmp_path, toys, lambda p, s: wobble(p) + 0.1, wave, resize="area")
    comparison = compare(runs)
    found = overall(comparison)
    assert (found.value, found.verdict) == (None, "not compared")
    assert found.reason == "the protocols differ in resize"
    assert not [c for c in comparison.contrasts if c.value is not None]
    (mismatch,) = comparison.sections[0].metrics[0].mismatches
    assert (mismatch.refused, mismatch.fields) == (True, {"resize": (None, "area")})
    assert warnings(comparison) == [
        "faithful on toys is not compared across protocols: resize is not set (alpha), area (beta)"
    ]
    assert "alpha and beta cannot be compared: the protocols differ in resize (faithful)" in sentence(comparison)


def test_another_number_of_images_is_compared_on_the_common_prompts_and_said(tmp_path, toys):
    a, b = make_run(tmp_path / "a", toys, "alpha"), make_run(tmp_path / "b", toys, "beta", skip=["001", "002"])
    score(a, "faithful", {"share": lambda p, s: 99.0 if p.id == "001" else wobble(p) + 0.1})
    score(b, "faithful", {"share": wave})
    comparison = compare([a, b])
    assert overall(comparison).n_prompts == 22
    assert overall(comparison).value == pytest.approx(0.1, abs=0.01)
    assert warnings(comparison) == [
        "faithful on toys: the number of images is 24 (alpha), 22 (beta); differences are over the prompts that both have",
        "beta on toys: 2 not drawn of 24 planned images",
    ]
    assert "(24 and 22 images)" in sentence(comparison)


def test_images_without_a_value_are_left_out(tmp_path, toys):
    runs = two(tmp_path, toys, lambda p, s: np.nan if number(p) > 12 else wobble(p) + 0.1, wave)
    comparison = compare(runs)
    assert overall(comparison).n_prompts == 12
    assert {c.category for c in comparison.contrasts} == {None, "red"}


def test_a_value_of_a_whole_set_whose_groups_were_not_kept_has_no_test(tmp_path, toys):
    outputs = {"share": Output(higher_is_better=False, kind="set", main=True)}
    comparison = compare(two(tmp_path, toys, lambda p, s: 20.0, lambda p, s: 30.0, outputs))
    found = overall(comparison)
    assert (found.value, found.interval, found.p, found.verdict) == (-10.0, None, None, "not compared")
    assert found.reason.startswith("no interval of the difference: alpha has no values without each group of prompts")
    assert comparison.sections[0].metrics[0].outputs[0].scores["beta"][None].value == 30.0


def test_stale_scores_are_not_shown_and_named(tmp_path, toys):
    runs = two(tmp_path, toys, lambda p, s: wobble(p) + 0.1, wave)
    redraw(runs[0], "003")
    comparison = compare(runs)
    assert list(comparison.sections[0].metrics[0].files) == ["beta"]
    assert comparison.sections[0].stale == [("alpha", "faithful")]
    assert warnings(comparison) == [
        "alpha: the scores of faithful on toys are older than the images; repeat `drawbench score RUN --metric faithful`"
    ]
    score(runs[0], "faithful", {"share": wave}, fields={"n": "24"})
    assert compare(runs).sections[0].stale == []


def test_a_system_that_a_metric_did_not_score_is_named(tmp_path, toys):
    runs = two(tmp_path, toys, wobble, wave)
    score(runs[1], "pretty", {"share": wave})
    comparison = compare(runs)
    assert overall(comparison, "pretty").reason == "alpha has no scores of it"
    assert "pretty on toys: alpha was not scored by it" in warnings(comparison)


def test_lost_per_image_values_are_named(tmp_path, toys):
    a, b = make_run(tmp_path / "a", toys, "alpha"), make_run(tmp_path / "b", toys, "beta")
    score(a, "faithful", {"share": wave})
    score(b, "faithful", {"share": wave}, table=False)
    assert any("the per-image values of beta are gone" in text for text in warnings(compare([a, b])))


def test_skipped_metrics_are_named(tmp_path, toys):
    comparison = compare(two(tmp_path, toys, wobble, wave), {"clip_score": "its weights are missing"})
    assert "clip_score was skipped: its weights are missing" in warnings(comparison)


def test_few_prompts_are_named(tmp_path):
    few = prompts(6)
    assert any(
        "few prompts on toys: faithful (6 prompts)" in text
        for text in warnings(compare(two(tmp_path, few, wobble, wave)))
    )


def test_refused_failed_and_missing_images_are_counted_apart(tmp_path, toys):
    run = make_run(tmp_path / "a", toys, refuse={"001": "unsafe"}, fail={"002": "out of memory"}, skip=["003", "004"])
    comparison = compare([run])
    (facts,) = comparison.sections[0].runs
    assert (facts.planned, facts.drawn, facts.refused, facts.failed, facts.undrawn) == (24, 20, 1, 1, 2)
    lost = [(it.prompt, it.status, it.category, it.text, it.reason) for it in comparison.sections[0].lost]
    assert lost == [
        ("001", "refused", "red", "toy number 1", "unsafe"),
        ("002", "failed", "red", "toy number 2", "out of memory"),
    ]
    assert warnings(comparison) == ["alpha on toys: 2 not drawn, 1 failed, 1 refused of 24 planned images"]


def test_one_metric_under_two_protocols_stands_apart(tmp_path, toys):
    runs = two(tmp_path, toys, lambda p, s: wobble(p) + 0.1, wave, resize="area")
    area = score(runs[0], "faithful", {"share": wobble}, fields={"resize": "area"})
    metrics = {metric.label: list(metric.files) for metric in compare(runs).sections[0].metrics}
    assert sorted(metrics.values()) == [["alpha"], ["alpha", "beta"]]
    assert metrics[f"faithful {area.protocol.hash[:8]}"] == ["alpha", "beta"]


def test_three_systems_are_compared_pair_by_pair_in_one_family(tmp_path, toys):
    runs = [make_run(tmp_path / name, toys, name) for name in ("alpha", "beta", "gamma")]
    for run, value in zip(runs, (lambda p, s: wobble(p) + 0.1, wave, wobble), strict=True):
        score(run, "faithful", {"share": value})
    comparison = compare(runs)
    found = [c for c in comparison.contrasts if c.category is None]
    assert [(c.a, c.b, c.verdict) for c in found] == [
        ("alpha", "beta", "better"),
        ("alpha", "gamma", "better"),
        ("beta", "gamma", "not distinguishable"),
    ]
    assert [c.p_holm for c in found] == holm([c.p for c in found])
    assert "alpha is better in faithful than beta by" in sentence(comparison)
    assert "1 of 3 comparisons are not distinguishable" in sentence(comparison)


def test_beyond_four_systems_each_is_held_against_the_first(tmp_path):
    few = prompts(8)
    runs = [make_run(tmp_path / str(i), few, f"s{i}") for i in range(5)]
    for run in runs:
        score(run, "faithful", {"share": wave})
    found = [(c.a, c.b) for c in compare(runs).contrasts if c.category is None]
    assert found == [("s0", "s1"), ("s0", "s2"), ("s0", "s3"), ("s0", "s4")]


def test_categories_are_a_family_of_their_own():
    subject = Subject("set", "faithful", "share", True, "mean", True)
    parts = [
        Contrast(subject, "a", "b", category, 0.1, None, None, 0.02) for category in (None, "red", "blue", "green")
    ]
    assert [c.p_holm for c in judged(parts)] == pytest.approx([0.02, 0.06, 0.06, 0.06])
    assert [c.verdict for c in judged(parts)] == ["better"] + ["not distinguishable"] * 3


def test_an_output_that_is_another_one_times_a_constant_is_no_further_test(tmp_path, toys):
    declared = {
        **FAITHFUL,
        "x100": Output(higher_is_better=True, kind="mean", rescales="share"),
        "other": Output(higher_is_better=True, kind="mean"),
    }
    runs = [make_run(tmp_path / name, toys, name) for name in ("alpha", "beta")]
    for run, lead in zip(runs, (0.012, 0.0), strict=True):
        own = (lambda p, s, lead=lead: wobble(p) + lead) if lead else wave
        of = {
            "share": own,
            "x100": lambda p, s, own=own: 100 * own(p, s),
            "other": lambda p, s, own=own: own(p, s) ** 3,
        }
        score(run, "faithful", of, declared)
    comparison = compare(runs)
    found = {(c.subject.output, c.category): c for c in comparison.contrasts}
    assert len(found) == 9
    for category in (None, "red", "blue"):
        share, x100 = found["share", category], found["x100", category]
        assert x100.value == pytest.approx(100 * share.value)
        assert (x100.p_holm, x100.verdict, x100.better) == (share.p_holm, share.verdict, share.better)
    assert found["other", None].p_holm == found["other", None].p, "it is alone in its family"
    assert "times a constant" in " ".join(methods(comparison))


def test_a_rescaled_output_whose_own_is_not_there_is_a_test_of_its_own():
    subject = Subject("set", "faithful", "x100", False, "mean", True, "share")
    (found,) = judged([Contrast(subject, "a", "b", None, 10.0, None, None, 0.02)])
    assert (found.p_holm, found.verdict) == (0.02, "better")


def test_two_prompt_sets_are_two_sections_of_one_column(tmp_path, toys):
    other = prompts(20, (), name="captions")
    runs = two(tmp_path, toys, lambda p, s: wobble(p) + 0.1, wave)
    runs += [make_run(tmp_path / "c", other, "alpha"), make_run(tmp_path / "d", other, "beta")]
    for run in runs[2:]:
        score(run, "faithful", {"share": wave})
    comparison = compare(runs)
    assert [system.name for system in comparison.systems] == ["alpha", "beta"]
    assert [(section.label, section.categories) for section in comparison.sections] == [
        ("toys", ("red", "blue")),
        ("captions", ()),
    ]
    assert "; on the 20 prompts of captions (20 images each), alpha and beta are not distinguishable" in sentence(
        comparison
    )


def test_two_prompt_sets_of_one_name_are_kept_apart_aloud(tmp_path, toys):
    other = prompts(25)
    comparison = compare([make_run(tmp_path / "a", toys, "alpha"), make_run(tmp_path / "b", other, "beta")])
    assert [section.label for section in comparison.sections] == [f"toys {toys.sha256[:8]}", f"toys {other.sha256[:8]}"]
    assert "are different prompt sets of one name" in warnings(comparison)[0]


def test_one_run_is_reported_without_a_comparison(tmp_path, toys):
    run = make_run(tmp_path / "a", toys)
    score(run, "faithful", {"share": wave})
    comparison = compare([run])
    assert comparison.contrasts == []
    assert sentence(comparison).startswith("On the 24 prompts of toys (24 images), alpha reaches 0.5")


def test_no_scores_at_all_is_said(tmp_path, toys):
    said = sentence(compare([make_run(tmp_path / "a", toys)]))
    assert said.startswith(
        "There are 24 images and no scores of them yet: give every run its scores with `drawbench score"
    )


def test_no_run_is_an_error():
    with pytest.raises(UserError, match="give at least one run"):
        compare([])


def test_two_systems_of_one_name_are_an_error_that_names_the_difference(tmp_path, toys):
    a, b = make_run(tmp_path / "a", toys), make_run(tmp_path / "b", toys, options={"steps": 5})
    with pytest.raises(UserError, match=r"different systems of one name, 'alpha' \(options.steps: None and 5\)"):
        compare([a, b])


def test_a_run_given_twice_is_an_error(tmp_path, toys):
    run = make_run(tmp_path / "a", toys)
    with pytest.raises(UserError, match="is given twice"):
        compare([run, run])


def test_a_system_with_two_runs_of_one_prompt_set_is_an_error(tmp_path, toys):
    with pytest.raises(UserError, match="are both 'alpha' on 'toys'"):
        compare([make_run(tmp_path / "a", toys), make_run(tmp_path / "b", toys)])
