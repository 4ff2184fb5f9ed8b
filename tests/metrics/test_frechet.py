"""The Fréchet distance against 50-digit arithmetic and against known cases."""

import tracemalloc

import mpmath
import numpy as np
import pytest

from drawbench.metrics.frechet import factored, frechet, frechet_features, moments, without_groups


def features(seed, n, d, rank=None, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, rank or d)) @ rng.normal(size=(rank or d, d)) + shift


def exact(one, two):
    """The definition in 50 digits: tr √(Σ₁Σ₂) by the eigenvalues of the product."""
    with mpmath.workdps(50):
        parts = []
        for rows in (one, two):
            matrix = mpmath.matrix(rows.tolist())
            mean = [mpmath.fsum(matrix[i, j] for i in range(matrix.rows)) / matrix.rows for j in range(matrix.cols)]
            centred = mpmath.matrix([[matrix[i, j] - mean[j] for j in range(matrix.cols)] for i in range(matrix.rows)])
            parts.append((mean, centred.T * centred / (matrix.rows - 1)))
        (mean1, cov1), (mean2, cov2) = parts
        roots = mpmath.eig(cov1 * cov2, left=False, right=False)
        overlap = mpmath.fsum(mpmath.sqrt(abs(value)) for value in roots)
        step = mpmath.fsum((a - b) ** 2 for a, b in zip(mean1, mean2, strict=True))
        traces = mpmath.fsum(cov1[i, i] + cov2[i, i] for i in range(cov1.rows))
        return float(step + traces - 2 * overlap), float(traces)


CASES = {
    "more images than features": (features(0, 40, 6), features(1, 30, 6, shift=0.3)),
    "fewer images than features": (features(2, 5, 8), features(3, 6, 8)),
    "one set of lower rank": (features(4, 30, 6, rank=3), features(5, 20, 6)),
}


@pytest.mark.parametrize("case", CASES)
def test_features_agree_with_fifty_digits(case):
    one, two = CASES[case]
    value, traces = exact(one, two)
    assert abs(frechet_features(one, two) - value) <= 1e-12 * traces


@pytest.mark.parametrize("case", CASES)
def test_moments_agree_with_fifty_digits(case):
    one, two = CASES[case]
    value, traces = exact(one, two)
    assert abs(frechet(one, moments(two)) - value) <= 1e-7 * traces


def test_a_set_is_at_no_distance_from_itself():
    rows = features(6, 50, 12)
    traces = 2 * np.trace(moments(rows).covariance)
    assert abs(frechet_features(rows, rows)) <= 1e-12 * traces
    assert abs(frechet(rows, moments(rows))) <= 1e-7 * traces


def test_a_shift_counts_squared_and_a_scale_by_its_deviations():
    rows = features(7, 100, 5)
    assert frechet_features(rows + 2.0, rows) == pytest.approx(5 * 2.0**2)
    wider = rows.mean(0) + 3 * (rows - rows.mean(0))
    assert frechet_features(wider, rows) == pytest.approx((3 - 1) ** 2 * np.trace(moments(rows).covariance))


def test_it_is_the_same_both_ways_and_in_any_order():
    one, two = CASES["more images than features"]
    assert frechet_features(one, two) == pytest.approx(frechet_features(two, one), rel=1e-12)
    assert frechet_features(one[::-1], two) == pytest.approx(frechet_features(one, two), rel=1e-12)


@pytest.mark.parametrize("n", [60, 9], ids=["many", "few"])
def test_leaving_out_groups_is_computing_without_them(n):
    rows, reference = features(8, n, 7, shift=100.0), moments(features(9, 80, 7, shift=101.0))
    groups = np.arange(n) % 4
    expected = [frechet(rows[groups != group], reference) for group in range(4)]
    np.testing.assert_allclose(without_groups(rows, groups, reference), expected, rtol=1e-6)


@pytest.mark.parametrize("n", [5, 700], ids=["few", "many"])
def test_a_factor_squared_is_the_covariance(n):
    rows = features(10, n, 6, shift=100.0).astype(np.float32)
    for given in (rows, moments(rows)):
        mean, factor = factored(given)
        np.testing.assert_allclose(mean, rows.mean(0, dtype=np.float64), rtol=1e-12)
        np.testing.assert_allclose(factor.T @ factor, np.cov(rows.astype(np.float64), rowvar=False), atol=1e-9)


def test_leaving_out_groups_of_few_images_is_exact():
    rows, others = features(11, 12, 40), features(12, 9, 40)
    groups = np.arange(12) % 5
    expected = [frechet_features(rows[groups != group], others) for group in range(5)]
    np.testing.assert_allclose(without_groups(rows, groups, factored(others)), expected, rtol=1e-11)
    from_moments = without_groups(rows, groups, moments(others))
    np.testing.assert_allclose(from_moments, expected, rtol=1e-6)


def test_moments_hold_one_covariance_and_a_few_rows():
    rows = np.random.default_rng(13).normal(size=(4000, 1024)).astype(np.float32)
    tracemalloc.start()
    moments(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1024**2 + 8 * 1024 * 600
