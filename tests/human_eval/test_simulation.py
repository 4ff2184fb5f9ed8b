import numpy as np
import pytest

from drawbench.errors import UserError
from drawbench.human_eval.simulation import Population, simulate, studies, true_shares

POPULATIONS = [
    Population(),
    Population(indifference=0.0),
    Population(rater_sd=0.8, prompt_sd=0.6),
    Population(side_bias=0.7, side_sd=0.5),
    Population(rater_sd=0.3, at_random=0.2, always_indifferent=0.1, always_first=0.15),
]


@pytest.mark.parametrize("population", POPULATIONS)
@pytest.mark.parametrize("strength", [0.0, 1.2])
def test_the_shares_of_many_studies_are_the_true_ones(population, strength):
    answers = studies(strength, population, 10, 10, np.random.default_rng(0), count=4000).answers
    for answer, share in zip((1, 0, -1), true_shares(strength, population), strict=True):
        by_study = (answers == answer).mean((1, 2))
        assert abs(by_study.mean() - share) <= 4 * by_study.std() / np.sqrt(4000) + 1e-12
    assert sum(true_shares(strength, population)) == pytest.approx(1)


def test_equals_are_preferred_alike_and_swapping_the_pair_swaps_the_shares():
    shares = true_shares(0.0, POPULATIONS[4])
    assert shares.a == pytest.approx(shares.b)
    there, back = true_shares(0.9, POPULATIONS[3]), true_shares(-0.9, POPULATIONS[3])
    assert (there.a, there.indifferent, there.b) == pytest.approx((back.b, back.indifferent, back.a))


def variance_of_means(population, axis):
    answers = studies(0.3, population, 30, 30, np.random.default_rng(1), 50).answers
    return answers.mean(axis).var(1).mean()


def test_raters_and_prompts_differ_only_where_they_are_said_to():
    noise = variance_of_means(Population(), 1), variance_of_means(Population(), 2)
    assert noise == pytest.approx((0.02, 0.02), rel=0.25)
    raters = Population(rater_sd=0.7)
    assert variance_of_means(raters, 2) > 5 * noise[1]
    assert variance_of_means(raters, 1) < 1.5 * noise[0]
    prompts = Population(prompt_sd=0.7)
    assert variance_of_means(prompts, 1) > 5 * noise[0]
    assert variance_of_means(prompts, 2) < 1.5 * noise[1]


def test_lazy_raters_answer_as_their_kind_does():
    first = studies(2.0, Population(always_first=1.0), 4, 50, np.random.default_rng(0))
    assert ((first.answers == 1) == first.a_first).all()
    assert not studies(2.0, Population(always_indifferent=1.0), 4, 50, np.random.default_rng(0)).answers.any()
    half = studies(9.0, Population(always_indifferent=0.5), 400, 20, np.random.default_rng(0)).answers[0]
    assert set((half == 0).mean(1)) == {0.0, 1.0}  # A rater is lazy throughout, or never.


def test_a_study_is_its_seeds_and_each_rater_judges_each_pair_on_each_prompt_once():
    strengths = {("a", "b"): 0.5, ("b", "c"): 0.2}
    judged, again, other = (simulate(strengths, POPULATIONS[2], 3, 11, seed) for seed in (0, 0, 1))
    assert (judged.answers == again.answers).all()
    assert (judged.first == again.first).all()
    assert (judged.answers != other.answers).any()
    pairs = ["".join(sorted(pair)) for pair in zip(judged.first.tolist(), judged.second.tolist(), strict=True)]
    judgements = set(zip(pairs, judged.raters.tolist(), judged.prompts.tolist(), strict=True))
    assert (len(judged), len(judgements), set(pairs)) == (66, 66, {"ab", "bc"})


def test_strength_and_side_reach_the_judgements_with_the_right_sign():
    judged = simulate({("a", "b"): 1.0}, Population(), 20, 20, seed=0)
    assert judged.of_pair("a", "b").answers.mean() > 0.4
    assert simulate({("a", "b"): 0.0}, Population(side_bias=1.0), 20, 20, seed=0).answers.mean() > 0.4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rater_sd": -0.1}, r"standard deviations are at least 0, and one is -0\.1"),
        ({"at_random": 0.6, "always_first": 0.5}, "give shares that sum to at most 1"),
        ({"always_indifferent": -0.5}, "give shares that sum to at most 1"),
    ],
)
def test_a_population_that_cannot_be_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        Population(**given)
