"""How many raters: against simulated studies, and where no number is enough."""

from dataclasses import replace

import numpy as np
import pytest

from drawbench.human_eval.designs import DRAWBENCH
from drawbench.human_eval.power import naive_half_width, precision, raters_for, scarcest_pair
from drawbench.human_eval.preference import share_interval


def test_without_clusters_it_is_the_naive_width_but_for_t():
    found = precision(1000, 1, 1000, rater_sd=0.0, prompt_sd=0.0)
    assert found.half_width == pytest.approx(naive_half_width(found.judgements), rel=0.01)


def test_papers_widths_are_naive():
    """Imagen's ± .75 % of 200 images with 73 ratings, at 39.5 %, is this within rounding."""
    assert 100 * naive_half_width(200 * 73, 0.395) == pytest.approx(0.79, abs=0.005)


def test_it_foresees_what_intervals_of_such_studies_turn_out_to_be():
    rng = np.random.default_rng(0)
    raters, prompts, rater_sd, prompt_sd = 25, 20, 0.1, 0.15
    widths = []
    for _ in range(200):
        share = 0.5 + rng.normal(0, rater_sd, (raters, 1)) + rng.normal(0, prompt_sd, (1, prompts))
        answers = (rng.random((raters, prompts)) < share).astype(float)
        people, texts = np.indices(answers.shape).astype(str).reshape(2, -1)
        interval = share_interval(answers.ravel(), people, texts).interval
        widths.append((interval.high - interval.low) / 2)
    foreseen = precision(raters, 1, prompts, rater_sd=rater_sd, prompt_sd=prompt_sd).half_width
    assert np.mean(widths) == pytest.approx(foreseen, rel=0.15)


def test_the_fewest_raters_reach_the_width_and_one_less_does_not():
    wanted = raters_for(0.05, 11, 200)
    assert wanted.half_width <= 0.05 < precision(wanted.raters - 1, 11, 200).half_width


def test_few_prompts_cannot_be_made_up_for_by_raters():
    assert raters_for(0.03, 1, 20, prompt_sd=0.2) is None


def test_with_balanced_pairs_a_pair_has_its_own_prompts_only(make_study):
    """Of 22 prompts in three pairs one has 7; in batches of 11 with all pairs each has all, in as many batches as have some."""
    balanced = make_study(systems=3, images_per_set=1, pairs="balanced")
    found = scarcest_pair(balanced)
    assert found.prompts == 7
    assert found.units == len(
        {i.unit for i in balanced.items if tuple(side.system for side in i.sides) == found.systems}
    )
    batches = make_study(replace(DRAWBENCH, unit="batch", batch_size=11), systems=3, images_per_set=1)
    assert scarcest_pair(batches).prompts == 22
    assert 3 <= scarcest_pair(batches).units <= 6
