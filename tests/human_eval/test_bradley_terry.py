from itertools import combinations, product

import evalica
import numpy as np
import pytest
import statsmodels.api as sm
from scipy import optimize, stats
from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

from drawbench.errors import UserError
from drawbench.human_eval.bradley_terry import rank_systems
from drawbench.human_eval.comparisons import comparisons
from drawbench.human_eval.davidson import _free, _moments, _probabilities, find_patterns
from drawbench.human_eval.simulation import Population, simulate

POPULATION = Population(rater_sd=0.3, prompt_sd=0.5, side_bias=0.2)
STRENGTHS = {("a", "b"): 0.3, ("a", "c"): 0.5, ("b", "c"): 0.2, ("c", "d"): 0.3}


def study(seed=0, **changes):
    return simulate(
        STRENGTHS, Population(**({"rater_sd": 0.3, "prompt_sd": 0.5, "side_bias": 0.2} | changes)), 12, 9, seed
    )


def values(ranking):
    return np.array([strength.value for strength in sorted(ranking.strengths)])


def spreads(ranking, n=9):
    half = [(s.interval.high - s.interval.low) / 2 for s in sorted(ranking.strengths)]
    return np.array(half) / stats.t.ppf(0.975, n - 1)


def davidson_in_loops(judged, theta, log_tie):
    """The log-likelihood of Davidson (1970) with the order effect of Davidson and Beaver (1977), pi = exp(strength)."""
    systems, total = judged.systems(), 0.0
    for first, second, answer in zip(judged.first, judged.second, judged.answers, strict=True):
        one = np.exp(theta[systems.index(first)] + theta[-1] / 2)
        two = np.exp(theta[systems.index(second)] - theta[-1] / 2)
        tie = np.exp(log_tie) * np.sqrt(one * two)
        total += np.log({1: one, 0: tie, -1: two}[int(answer)] / (one + tie + two))
    return total


@pytest.mark.parametrize("solver", ["naive", "pyo3"])
def test_strengths_and_ties_are_those_of_newmans_algorithm(solver):
    judged = study()
    winners = [{1: evalica.Winner.X, 0: evalica.Winner.Draw, -1: evalica.Winner.Y}[int(a)] for a in judged.answers]
    peer = evalica.newman(judged.first, judged.second, winners, solver=solver, tolerance=1e-12, limit=100_000)
    found = rank_systems(judged, position=False)
    expected = np.log(peer.scores.sort_index().to_numpy())
    assert values(found) == pytest.approx(expected - expected.mean(), abs=1e-7)
    assert found.tie == pytest.approx(2 * peer.v, abs=1e-7)
    assert found.advantage is None


def test_without_ties_strengths_are_those_of_bradley_and_terry():
    judged = study(indifference=0.0)
    winners = [{1: evalica.Winner.X, -1: evalica.Winner.Y}[int(a)] for a in judged.answers]
    peer = evalica.bradley_terry(judged.first, judged.second, winners, tolerance=1e-12, limit=100_000)
    expected = np.log(peer.scores.sort_index().to_numpy())
    found = rank_systems(judged, position=False)
    assert values(found) == pytest.approx(expected - expected.mean(), abs=1e-7)
    assert found.tie == 0


def test_without_ties_all_of_it_is_the_clustered_logit_of_statsmodels():
    judged = study(indifference=0.0)
    found = rank_systems(judged, anchor="d")
    design = np.ones((len(judged), 4))
    for column, system in enumerate("abc"):
        design[:, column] = (judged.first == system).astype(float) - (judged.second == system)
    logit = sm.Logit((judged.answers > 0).astype(float), design).fit(disp=0, tol=1e-12)
    assert values(found)[:3] == pytest.approx(logit.params[:3], abs=1e-8)
    assert found.advantage.value == pytest.approx(logit.params[3], abs=1e-8)
    assert found.log_likelihood == pytest.approx(logit.llf)
    raters, prompts = (np.unique(names, return_inverse=True)[1] for names in (judged.raters, judged.prompts))
    covariances = cov_cluster_2groups(logit, raters, prompts, use_correction=True)
    n, k = design.shape
    expected = np.sqrt(np.max([np.diag(c) for c in covariances], axis=0) * (n - k) / (n - 1))
    half = [(s.interval.high - s.interval.low) / 2 for s in sorted(found.strengths)[:3]]
    half.append((found.advantage.interval.high - found.advantage.interval.low) / 2)
    assert np.array(half) / stats.t.ppf(0.975, 8) == pytest.approx(expected, rel=1e-6)


def test_two_systems_have_the_strength_and_the_interval_of_their_log_odds():
    judged = simulate({("a", "b"): 0.4}, POPULATION, 12, 9, seed=3)
    found = rank_systems(judged, anchor="b", position=False)
    answers = judged.of_pair("a", "b").answers
    wins, ties, losses = ((answers == answer).mean() for answer in (1, 0, -1))
    assert values(found) == pytest.approx([np.log(wins / losses), 0])
    assert found.tie == pytest.approx(ties / np.sqrt(wins * losses))
    influence = ((answers == 1) / wins - (answers == -1) / losses) / len(answers)

    def clustered(names):
        sums = {}
        for name, value in zip(names, influence, strict=True):
            sums[name] = sums.get(name, 0.0) + value
        return len(sums) / (len(sums) - 1) * sum(s**2 for s in sums.values())

    raters, prompts = judged.raters.tolist(), judged.prompts.tolist()
    one, two, both = clustered(raters), clustered(prompts), clustered(zip(raters, prompts, strict=True))
    interval = found.strengths[0].interval
    assert (interval.high - interval.low) / 2 / stats.t.ppf(0.975, 8) == pytest.approx(
        np.sqrt(max(one + two - both, one, two, both))
    )


def test_the_fit_is_the_maximum_of_the_likelihood_written_out():
    judged = study()
    found = rank_systems(judged)
    theta = np.append(values(found), found.advantage.value)
    assert found.log_likelihood == pytest.approx(davidson_in_loops(judged, theta, np.log(found.tie)))
    peak = np.append(theta, np.log(found.tie))
    slope = optimize.approx_fprime(peak, lambda x: davidson_in_loops(judged, x[:-1], x[-1]), 1e-6)
    assert np.abs(slope).max() < 0.01  # Of 432 judgements; the difference quotient is no better.
    assert values(found).sum() == pytest.approx(0, abs=1e-12)


def test_the_gradient_and_the_information_are_those_of_differences():
    judged = study()
    patterns = find_patterns(judged, judged.systems(), position=True)
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.5, 6)

    def likelihood(x):
        chosen = _probabilities(patterns.design, x[:-1], np.exp(x[-1]))[
            range(len(patterns.answers)), 1 - patterns.answers
        ]
        return patterns.counts @ np.log(chosen)

    def gradient(x):
        return patterns.counts @ _moments(patterns, x[:-1], np.exp(x[-1]))[0]

    assert gradient(x) == pytest.approx(optimize.approx_fprime(x, likelihood, 1e-7), rel=1e-4, abs=1e-3)
    information = _moments(patterns, x[:-1], np.exp(x[-1]))[1]
    assert -optimize.approx_fprime(x, gradient, 1e-7) == pytest.approx(information, rel=1e-4, abs=1e-3)
    basis = _free(patterns)
    assert basis.T @ basis == pytest.approx(np.eye(5), abs=1e-12)


def test_the_advantage_of_the_side_is_found_and_mirrored():
    judged = study(side_bias=0.5)
    found = rank_systems(judged)
    assert found.advantage.interval.low > 0
    assert found.advantage.p < 0.01
    swapped = comparisons(judged.second, judged.first, -judged.answers, judged.raters, judged.prompts)
    mirrored = rank_systems(swapped)
    assert mirrored.advantage.value == pytest.approx(-found.advantage.value)
    assert values(mirrored) == pytest.approx(values(found))
    assert values(rank_systems(study(side_bias=0.0), position=False)) == pytest.approx(
        values(rank_systems(study(side_bias=0.0))), abs=0.1
    )


def test_the_anchor_is_0_without_an_interval_and_moves_no_difference():
    found, anchored = rank_systems(study()), rank_systems(study(), anchor="c")
    assert values(anchored)[2] == 0
    assert values(anchored) - values(anchored).mean() == pytest.approx(values(found))
    assert [s.system for s in anchored.strengths if s.interval is None] == ["c"]
    assert [(s.system, s.best_rank, s.worst_rank) for s in anchored.strengths] == [
        (s.system, s.best_rank, s.worst_rank) for s in found.strengths
    ]
    with pytest.raises(UserError, match="no judgement is of the anchor 'e'; compared were: a, b, c, d"):
        rank_systems(study(), anchor="e")


def test_the_order_of_the_judgements_and_the_names_of_the_systems_do_not_matter():
    judged = study()
    order = np.random.default_rng(0).permutation(len(judged))
    columns = [getattr(judged, name)[order] for name in ("first", "second", "answers", "raters", "prompts")]
    assert rank_systems(comparisons(*columns)) == rank_systems(judged)
    renamed = {"a": "z", "b": "y", "c": "x", "d": "w"}
    columns[:2] = [[renamed[name] for name in column] for column in columns[:2]]
    found = rank_systems(comparisons(*columns))
    assert values(found)[::-1] == pytest.approx(values(rank_systems(judged)))
    assert spreads(found)[::-1] == pytest.approx(spreads(rank_systems(judged)))


def test_ranks_are_sure_where_strengths_are_far_apart_and_open_where_they_are_equal():
    far = simulate({("a", "b"): 0.8, ("b", "c"): 0.8, ("a", "c"): 1.4}, Population(), 15, 20, seed=0)
    assert [(s.system, s.best_rank, s.worst_rank) for s in rank_systems(far).strengths] == [
        ("a", 1, 1),
        ("b", 2, 2),
        ("c", 3, 3),
    ]
    equal = simulate({("a", "b"): 0.0, ("b", "c"): 0.9, ("a", "c"): 0.9}, Population(), 15, 20, seed=0)
    assert {s.system: (s.best_rank, s.worst_rank) for s in rank_systems(equal).strengths} == {
        "a": (1, 2),
        "b": (1, 2),
        "c": (3, 3),
    }


# What cannot be ranked


def judged_as(*rows):
    """One rater's (first, second, answer) on prompts of their own."""
    first, second, answers = zip(*rows, strict=True)
    return comparisons(first, second, answers, ["r"] * len(rows), [f"p{i}" for i in range(len(rows))])


def test_systems_that_no_comparison_connects_are_named_by_part():
    judged = judged_as(*product("a", "b", (1, -1)), *product("c", "d", (1, 0, -1)))
    with pytest.raises(UserError, match=r"do not connect the systems, which fall into 2 parts: a, b \| c, d;"):
        rank_systems(judged)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("a", "b", 1), ("b", "a", -1)], "a above b"),
        ([("a", "b", 1), ("b", "a", 0), ("b", "a", -1)], "a above b"),  # Ties do not help: a never loses.
        ([("a", "b", 1), ("b", "a", 1), ("a", "c", 1), ("c", "b", -1), ("c", "a", -1), ("b", "c", 1)], "a, b above c"),
        ([("a", "b", 1), ("b", "c", 1), ("b", "a", -1), ("c", "b", -1)], "a above b above c"),
    ],
)
def test_perfect_separation_names_the_systems(rows, said):
    with pytest.raises(UserError, match=rf"separate perfectly \({said}\), .* are infinite: .*ridge=0\.1"):
        rank_systems(judged_as(*rows))
    ranking = rank_systems(judged_as(*rows), ridge=0.1)
    assert ranking.ridge == 0.1
    assert ranking.strengths[0].system == "a" or said == "a, b above c"
    assert ranking.strengths[-1].system == said[-1]
    assert np.isfinite(values(ranking)).all()


def test_a_side_that_is_always_preferred_separates_too():
    with pytest.raises(UserError, match=r"separate perfectly \(the side shown first is preferred always\)"):
        rank_systems(judged_as(("a", "b", 1), ("b", "a", 1), ("a", "b", 0)))
    rank_systems(judged_as(("a", "b", 1), ("b", "a", 1), ("a", "b", 0)), position=False)


def separates_by_search(judged):
    """Whether the likelihood keeps growing far out: its maximum within 12 is above that within 6."""

    def best(reach):
        def loss(x):
            return -davidson_in_loops(judged, x[:-1], x[-1])

        bounds = [(-reach, reach)] * (len(judged.systems()) + 2)
        exactly = {"ftol": 1e-14, "gtol": 1e-10, "maxiter": 5000}
        return -optimize.minimize(loss, np.zeros(len(bounds)), bounds=bounds, method="L-BFGS-B", options=exactly).fun

    return best(12) - best(6) > 1e-6


@pytest.mark.parametrize("seed", range(16))
def test_separation_is_found_exactly_where_the_likelihood_has_no_maximum(seed):
    rng = np.random.default_rng(seed)
    rows = [(*rng.permutation(list("abc"))[:2], int(rng.integers(-1, 2))) for _ in range(11)]
    rows += [("a", "b", 0), ("b", "c", 0)]  # Connected, and with ties.
    judged = judged_as(*rows)
    if separates_by_search(judged):
        with pytest.raises(UserError, match="separate perfectly"):
            rank_systems(judged)
    else:
        assert np.isfinite(values(rank_systems(judged))).all()


def test_strengths_and_a_side_that_separate_only_together_are_both_named():
    """On the left a always wins; on the right it wins and loses, so its strength and the left's advantage rise together."""
    with pytest.raises(UserError, match=r"separate perfectly \(a above b, together with the side shown first\)"):
        rank_systems(judged_as(("a", "b", 1), ("b", "a", 1), ("b", "a", -1)))


def test_an_advantage_that_no_order_tells_from_strength_is_refused():
    rows = [("a", "b", 1), ("a", "b", -1), ("a", "b", 0)]
    with pytest.raises(UserError, match="each pair was shown in one order only"):
        rank_systems(judged_as(*rows))
    assert values(rank_systems(judged_as(*rows), position=False)) == pytest.approx([0, 0])


def test_nothing_but_ties_and_nothing_at_all_rank_nobody():
    with pytest.raises(UserError, match="every judgement is indifferent"):
        rank_systems(judged_as(("a", "b", 0), ("b", "a", 0)))
    with pytest.raises(UserError, match="there is no judgement"):
        rank_systems(comparisons([], [], [], [], []))
    with pytest.raises(UserError, match="the ridge is -1"):
        rank_systems(study(), ridge=-1)


def test_a_ridge_is_the_penalised_maximum_and_is_named():
    judged = study()
    found = rank_systems(judged, ridge=5.0)
    peak = np.append(values(found), [found.advantage.value, np.log(found.tie)])
    slope = optimize.approx_fprime(peak, lambda x: davidson_in_loops(judged, x[:-1], x[-1]), 1e-6)
    assert slope == pytest.approx(5.0 * np.append(peak[:-1], 0), abs=0.01)
    assert found.strengths[0].interval.method.endswith("ridge 5")
    assert np.abs(values(found)).max() < np.abs(values(rank_systems(judged))).max()


def test_one_rater_ranks_without_intervals():
    found = rank_systems(judged_as(*product("a", "b", (1, 0, -1, 1)), *product("b", "a", (1, 0, -1))))
    assert found.reason == "only one rater: an interval over raters needs two"
    assert [(s.interval, s.best_rank, s.worst_rank) for s in found.strengths] == [(None, None, None)] * 2
    assert (found.advantage.interval, found.advantage.p) == (None, None)
    assert found.remark == "few raters: the interval is approximate"


# Coverage


def covered(studies, raters, prompts):
    """Of three equals: how often the strengths' intervals hold 0, and how often every rank range is open."""
    pairs = dict.fromkeys(combinations("abc", 2), 0.0)
    population = Population(rater_sd=0.5, prompt_sd=0.5, side_bias=0.3)
    held, open_ranks = 0, 0
    for seed in range(studies):
        found = rank_systems(simulate(pairs, population, raters, prompts, seed)).strengths
        held += sum(s.interval.low <= 0 <= s.interval.high for s in found)
        open_ranks += all((s.best_rank, s.worst_rank) == (1, 3) for s in found)
    return held / studies / 3, open_ranks / studies


def test_three_equals_are_covered_and_seldom_ranked():
    held, open_ranks = covered(150, 10, 12)
    assert held >= 0.93 - 3 * np.sqrt(0.93 * 0.07 / 150)
    assert open_ranks >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 150)


@pytest.mark.long
@pytest.mark.parametrize(("raters", "prompts"), [(5, 10), (25, 7), (25, 20)])
def test_three_equals_are_covered_and_seldom_ranked_in_many_studies(raters, prompts):
    held, open_ranks = covered(2000, raters, prompts)
    assert held >= 0.93 - 3 * np.sqrt(0.93 * 0.07 / 2000)
    assert open_ranks >= 0.93 - 3 * np.sqrt(0.93 * 0.07 / 2000)
