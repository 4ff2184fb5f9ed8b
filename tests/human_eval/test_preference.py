from math import sqrt

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from drawbench.errors import UserError
from drawbench.human_eval.comparisons import comparisons
from drawbench.human_eval.preference import adjusted, preferences, share_interval
from drawbench.human_eval.simulation import Population, simulate

BOTH = Population(rater_sd=0.7, prompt_sd=0.7, side_bias=0.3, side_sd=0.3)


def grid(raters, prompts):
    return np.repeat([f"r{i}" for i in range(raters)], prompts), np.tile([f"p{i}" for i in range(prompts)], raters)


def wins(raters=12, prompts=8, seed=0, share=0.7):
    """Answers 0, 1/2 and 1 of raters who skip some prompts, and who lean one way or the other."""
    rng = np.random.default_rng(seed)
    by_rater, by_prompt = grid(raters, prompts)
    lean = rng.normal(0, 0.2, raters)[np.repeat(np.arange(raters), prompts)]
    values = np.clip(np.round((rng.random(len(by_rater)) + lean + share - 0.5) * 2) / 2, 0, 1)
    kept = rng.random(len(values)) < 0.8
    return values[kept], by_rater[kept], by_prompt[kept]


def by_the_book(values, raters, prompts, level=0.95):
    """The rule of share_interval in loops, and Wilson's interval as the roots of its equation."""
    n, p = len(values), sum(values) / len(values)
    spread = sum((v - p) ** 2 for v in values) / n

    def clustered(names):
        sums = {}
        for name, value in zip(names, values, strict=True):
            sums[name] = sums.get(name, 0) + value - p
        count = len(sums)
        return count / (count - 1) * sum(s**2 for s in sums.values()) / n**2, count

    v_r, r = clustered(raters)
    v_p, q = clustered(prompts)
    v_both, _ = clustered(zip(raters, prompts, strict=True))
    n_eff = min(max(spread / max(v_r + v_p - v_both, v_r, v_p, spread / n), 1), n)
    t = stats.t.ppf(0.5 + level / 2, min(r, q) - 1)
    scale = spread / (p * (1 - p))

    def outside(pi):
        return (p - pi) ** 2 - t**2 * scale * pi * (1 - pi) / n_eff

    return n_eff, optimize.brentq(outside, 0, p, xtol=1e-14), optimize.brentq(outside, p, 1, xtol=1e-14)


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("kind", ["share", "tie-split"])
@pytest.mark.parametrize("seed", range(4))
def test_the_interval_is_that_of_the_rule_written_out(seed, kind, level):
    values, raters, prompts = wins(seed=seed)
    if kind == "share":
        values = (values == 1).astype(float)
    found = share_interval(values, raters, prompts, level)
    expected = by_the_book(values, raters, prompts, level)
    assert (found.n_eff, found.interval.low, found.interval.high) == pytest.approx(expected, rel=1e-9)
    assert (found.value, found.n) == (pytest.approx(values.mean()), len(values))
    assert (found.interval.over, found.interval.level) == ("raters x prompts", level)
    assert ("sample variance" in found.interval.method) == (kind == "tie-split")


def test_the_naive_interval_is_wilsons_and_says_so():
    values, raters, prompts = wins()
    values = (values == 1).astype(float)
    found = share_interval(values, raters, prompts).naive
    expected = proportion_confint(int(values.sum()), len(values), method="wilson")
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)
    assert found.method.startswith("naive")
    assert found.over == "judgements"


def test_raters_who_disagree_with_one_another_count_for_less_than_their_judgements():
    raters, prompts = grid(20, 10)
    split = np.repeat([0.0, 1.0], 100)
    found = share_interval(split, raters, prompts)
    assert found.n_eff == pytest.approx(19)
    assert share_interval(np.tile([0.0, 1.0], 100), raters, prompts).n_eff == pytest.approx(
        9
    )  # All agree on each prompt.
    mixed = (np.arange(200) // 10 + np.arange(200)) % 2.0
    assert share_interval(mixed, raters, prompts).n_eff == 200


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_where_all_answers_are_equal_they_count_as_the_fewer_of_raters_and_prompts(value):
    raters, prompts = grid(25, 7)
    found = share_interval(np.full(175, value), raters, prompts)
    t = stats.t.ppf(0.975, 6)
    assert found.n_eff == 7
    assert found.interval.low <= value <= found.interval.high
    if value == 0:
        assert found.interval.low == 0
        assert found.interval.high == pytest.approx(t**2 / (7 + t**2))
    if value == 0.5:
        assert found.interval.high - 0.5 == pytest.approx(t / 2 / sqrt(7 + t**2))


def test_a_share_mirrors_that_of_the_other_answer():
    values, raters, prompts = wins()
    found, mirrored = (share_interval(v, raters, prompts) for v in (values, 1 - values))
    assert (1 - mirrored.interval.high, 1 - mirrored.interval.low) == pytest.approx(found.interval[:2], abs=1e-12)
    assert mirrored.p == pytest.approx(found.p)


def test_the_order_of_the_judgements_does_not_move_a_digit():
    values, raters, prompts = wins()
    order = np.random.default_rng(1).permutation(len(values))
    assert share_interval(values[order], raters[order], prompts[order]) == share_interval(values, raters, prompts)


@pytest.mark.parametrize("seed", range(20))
def test_p_is_small_exactly_where_the_interval_leaves_a_half_out(seed):
    found = share_interval(*wins(seed=seed, share=0.63))
    assert (found.p <= 0.05) == (not found.interval.low <= 0.5 <= found.interval.high)


def test_at_the_level_1_minus_p_the_interval_ends_at_a_half():
    values, raters, prompts = wins(share=0.63)
    found = share_interval(values, raters, prompts)
    assert found.value > 0.5
    assert share_interval(values, raters, prompts, 1 - found.p).interval.low == pytest.approx(0.5, abs=1e-9)


def test_one_rater_one_prompt_and_no_answer_are_reasons_without_an_interval():
    one = share_interval(np.array([0.0, 1.0]), np.array(["r", "r"]), np.array(["p", "q"]))
    assert (one.value, one.interval, one.reason) == (0.5, None, "only one rater: an interval over raters needs two")
    assert one.naive is not None
    one = share_interval(np.array([0.0, 1.0]), np.array(["r", "s"]), np.array(["p", "p"]))
    assert (one.interval, one.p, one.reason) == (None, None, "only one prompt: an interval over prompts needs two")
    none = share_interval(np.array([]), np.array([], str), np.array([], str))
    assert (none.value, none.reason, none.n) == (None, "there is no answer", 0)


@pytest.mark.parametrize("value", [-0.5, 2.0, float("nan")])
def test_a_value_outside_0_and_1_is_refused(value):
    with pytest.raises(UserError, match=r"answer 1 has the value .*: give numbers from 0 to 1"):
        share_interval(np.array([1.0, value]), np.array(["r", "s"]), np.array(["p", "q"]))


def test_a_level_that_is_no_share_is_refused():
    values, raters, prompts = wins()
    with pytest.raises(UserError, match=r"the level of an interval is 95: .* such as 0\.95"):
        share_interval(values, raters, prompts, 95)


# Preferences of a pair


def test_the_three_shares_sum_to_1_and_half_of_the_ties_goes_to_each():
    judged = simulate({("new", "old"): 0.4}, BOTH, 12, 9, seed=1)
    (found,) = preferences(judged, "new", "old")
    assert found.prefer_a.value + found.indifferent.value + found.prefer_b.value == pytest.approx(1)
    assert found.tie_split.value == pytest.approx(found.prefer_a.value + found.indifferent.value / 2)
    (mirrored,) = preferences(judged, "old", "new")
    assert mirrored.prefer_b == found.prefer_a
    assert mirrored.tie_split.p == pytest.approx(found.tie_split.p)
    assert (found.category, found.remark) == (None, None)


def test_categories_come_in_order_after_the_whole_and_count_only_their_own():
    judged = comparisons(
        *(["new"] * 6, ["old"] * 6, [1, 0, -1, 1, 1, 1]),
        *(["r", "s", "r", "s", "r", "s"], ["p", "p", "q", "q", "a", "a"]),
        ["Text", "Text", "Text", "Text", "Colors", "Colors"],
    )
    found = preferences(judged, "new", "old")
    assert [(row.category, row.prefer_a.n, row.prefer_a.value) for row in found] == [
        (None, 6, pytest.approx(4 / 6)),
        ("Text", 4, 0.5),
        ("Colors", 2, 1.0),
    ]
    assert found[2].prefer_a.reason == "only one prompt: an interval over prompts needs two"
    assert found[0].remark == "few raters: the interval is approximate"


def test_the_categories_are_one_family_for_holm_and_two_questions_a_wider_one():
    questions = []
    for seed in (1, 2):
        judged = simulate({("new", "old"): 0.2}, BOTH, 12, 30, seed)
        names = np.array([f"c{int(name[6:]) % 3}" for name in judged.prompts])
        columns = (judged.first, judged.second, judged.answers, judged.raters, judged.prompts)
        questions.append(preferences(comparisons(*columns, names), "new", "old"))
    p = [[row.tie_split.p for row in rows] for rows in questions]
    for rows, of in zip(questions, p, strict=True):
        assert rows[0].p_holm == of[0]
        assert [row.p_holm for row in rows[1:]] == pytest.approx(multipletests(of[1:], method="holm")[1])
    wide = adjusted(questions[0] + questions[1])
    assert [wide[i].p_holm for i in (0, 4)] == pytest.approx(multipletests([p[0][0], p[1][0]], method="holm")[1])
    expected = multipletests(p[0][1:] + p[1][1:], method="holm")[1]
    assert [row.p_holm for row in wide if row.category] == pytest.approx(expected)
