import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

from drawbench.human_eval.clustering import clusters, combined, few_raters, two_way_variance


def unbalanced(seed, n=300):
    rng = np.random.default_rng(seed)
    raters, prompts = rng.integers(0, 9, n), rng.integers(0, 14, n)
    values = rng.normal(0, 1, n) + rng.normal(0, 1, 9)[raters] + rng.normal(0, 1, 14)[prompts]
    return values, raters, prompts


@pytest.mark.parametrize("seed", range(5))
def test_the_variance_of_a_mean_is_that_of_statsmodels_two_way_clustering(seed):
    values, raters, prompts = unbalanced(seed)
    fit = sm.OLS(values, np.ones(len(values))).fit()
    both, by_rater, by_prompt = cov_cluster_2groups(fit, raters, prompts)
    expected = max(both.item(), by_rater.item(), by_prompt.item())
    influence = ((values - values.mean()) / len(values))[:, None]
    assert two_way_variance(influence, clusters(raters, prompts)) == pytest.approx(expected, rel=1e-12)


def test_the_variance_is_never_under_that_of_independent_judgements():
    """Raters and prompts that balance out: V_R and V_P are 0."""
    values = np.array([1.0, -1.0, -1.0, 1.0])
    by = clusters(np.array(["r", "r", "s", "s"]), np.array(["p", "q", "p", "q"]))
    assert two_way_variance(values[:, None], by) == pytest.approx(4 / 3 * 4)
    assert combined(*map(np.array, (1.0, 2.0, 4.0, 0.5))) == 2
    assert combined(*map(np.array, (1.0, 2.0, 0.5, 0.1))) == 2.5


def test_ten_raters_are_not_few():
    assert few_raters(9) == "few raters: the interval is approximate"
    assert few_raters(10) is None
