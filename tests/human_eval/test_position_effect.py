import numpy as np
import pytest

from drawbench.errors import UserError
from drawbench.human_eval.comparisons import comparisons
from drawbench.human_eval.position_effect import order_effect, side_effect
from drawbench.human_eval.simulation import Population, simulate


def test_a_favoured_side_is_found_though_no_system_is_better():
    judged = simulate({("new", "old"): 0.0}, Population(side_bias=0.5), 12, 20, seed=0)
    found = side_effect(judged)
    assert found.share.value > 0.6
    assert found.share.interval.low > 0.5
    assert found.p < 0.01


def test_a_better_system_is_no_side_effect():
    judged = simulate({("new", "old"): 1.5}, Population(rater_sd=0.5, prompt_sd=0.5), 12, 20, seed=0)
    found = side_effect(judged)
    assert found.share.interval.low < 0.5 < found.share.interval.high
    assert found.p > 0.05


def test_the_p_value_counts_the_flips_of_whole_raters():
    """Surpluses 2, 2 and 1: of 8 flips, 2 reach 5 in size, so p = 2/8, however many judgements there are."""
    answers = [1, 1, 1, 1, 1, 0]
    judged = comparisons(["a"] * 6, ["b"] * 6, answers, list("rrssts"), list("pqpqpr"))
    found = side_effect(judged)
    assert (found.share.value, found.share.n) == (1.0, 5)
    assert (found.p, found.p_method) == (0.25, "sign flips, all 8, by rater")


def test_without_a_favoured_side_the_test_keeps_its_level_whatever_raters_and_prompts_are_like():
    of = Population(rater_sd=0.7, prompt_sd=0.7)
    p = [side_effect(simulate({("a", "b"): 0.5}, of, 10, 8, seed)).p for seed in range(300)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(np.array(p) <= 0.5) > 0.35


def test_the_order_effect_is_the_later_half_less_the_earlier():
    values = np.array([0, 0, 9, 1, 1, 1, 0, 5], float)
    raters = np.array(["r"] * 5 + ["s"] * 2 + ["t"])
    found = order_effect(values, raters, np.array([1, 2, 3, 4, 5, 20, 10, 1]))
    assert (found.value, found.n_raters) == (1.0, 2)  # 9 stands in the middle of r's five; t has one judgement.
    assert found.reason.startswith("all raters differ alike")


def test_growing_indifference_is_found_and_a_shuffle_undoes_it():
    rng = np.random.default_rng(0)
    raters, positions = np.repeat([f"r{i}" for i in range(12)], 20), np.tile(np.arange(20), 12)
    indifferent = (rng.random(240) < 0.1 + 0.03 * positions).astype(float)
    found = order_effect(indifferent, raters, positions)
    assert found.interval.low > 0
    assert found.interval.over == "raters"
    assert found.p < 0.05
    assert order_effect(indifferent, raters, np.concatenate([rng.permutation(20) for _ in range(12)])).p > 0.05


def test_two_judgements_in_one_position_are_refused_and_single_ones_have_no_order():
    with pytest.raises(UserError, match="rater 'r' has two judgements in one position"):
        order_effect(np.zeros(2), np.array(["r", "r"]), np.array([1, 1]))
    found = order_effect(np.zeros(2), np.array(["r", "s"]), np.array([1, 1]))
    assert (found.value, found.reason) == (None, "no rater has two judgements")
