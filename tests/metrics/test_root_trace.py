"""Leaving out groups by one decomposition, against decomposing anew without each."""

import numpy as np
import pytest

import drawbench.metrics.frechet as frechet_module
from drawbench.intervals import jackknife
from drawbench.metrics.frechet import factored, frechet, frechet_features, frechet_moments, moments, without_groups
from drawbench.metrics.root_trace import nodes_for, trace_of_root_without


def features(seed, n, d, decay, shift=0.0):
    """Deviations fall by exp(-decay / 2) from the first to the last, in a basis of its own."""
    rng = np.random.default_rng(seed)
    scale = np.exp(-decay * np.arange(d) / d / 2)
    turn = np.linalg.qr(np.random.default_rng(99).normal(size=(d, d)))[0]
    return ((rng.normal(size=(n, d)) * scale * (1 + shift)) @ turn + shift / 2).astype(np.float32)


def half_width(left_out, n):
    found = jackknife(0.0, np.asarray(left_out), n=n, n_prompts=n).interval
    return (found.high - found.low) / 2


CASES = [
    # d, n, decay: more images than features, as many, fewer; narrow and very wide spectra.
    *[(64, n, decay) for n in (60, 64, 70, 130, 1000) for decay in (0, 8, 25)],
    *[(160, n, decay) for n in (100, 320) for decay in (0, 14)],
]


@pytest.mark.parametrize(("d", "n", "decay"), CASES)
def test_a_jackknife_of_one_decomposition_has_the_exact_width(monkeypatch, d, n, decay):
    rows, other = features(1, n, d, decay, shift=0.2), features(2, 3 * d, d, decay)
    groups, given = np.random.default_rng(3).permutation(n) % 50, factored(other)
    exact = [frechet(rows[groups != group], given) for group in range(50)]
    monkeypatch.setattr(frechet_module, "_DIRECT", 0)
    found = without_groups(rows, groups, given)
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    assert half_width(found, n) == pytest.approx(half_width(exact, n), rel=1e-4)


def test_groups_of_very_different_sizes_and_a_dead_feature(monkeypatch):
    rows, other = features(4, 300, 40, 4), features(5, 200, 40, 4)
    rows[:, 7] = 0.5
    other[:, 9] = 0.0
    groups = np.repeat([0, 1, 2, 3], [1, 150, 99, 50])
    exact = [frechet_features(rows[groups != group], other) for group in range(4)]
    monkeypatch.setattr(frechet_module, "_DIRECT", 0)
    np.testing.assert_allclose(without_groups(rows, groups, factored(other)), exact, rtol=1e-6)


def test_images_that_are_all_equal_have_no_overlap(monkeypatch):
    rows, other = np.ones((20, 6), np.float32), features(6, 30, 6, 1)
    monkeypatch.setattr(frechet_module, "_DIRECT", 0)
    exact = [frechet_features(rows[:15], other)] * 4
    np.testing.assert_allclose(without_groups(rows, np.arange(20) % 4, factored(other)), exact, rtol=1e-12)


def test_a_trace_without_rows_is_that_of_what_is_left():
    values, rows = np.array([1e-6, 0.3, 2.0, 50.0]), np.array([[1e-5, 0.1, 0.4, 3.0], [0.0, 0.2, -0.3, 1.0]])
    left = np.linalg.eigvalsh(np.diag(values) - rows.T @ rows)
    assert left.min() > 0
    found = trace_of_root_without(values, rows, nodes_for(values))
    assert found == pytest.approx(np.sqrt(left).sum(), rel=1e-7)


@pytest.mark.parametrize("rank", [30, 12])
def test_moments_of_any_rank_agree_with_features(rank):
    rng = np.random.default_rng(7)
    one = rng.normal(size=(80, rank)) @ rng.normal(size=(rank, 30))
    two = rng.normal(size=(90, 30)) + 0.1
    traces = np.trace(moments(one).covariance) + np.trace(moments(two).covariance)
    assert abs(frechet_moments(moments(one), moments(two)) - frechet_features(one, two)) <= 1e-7 * traces
    assert abs(frechet_moments(moments(one), moments(one))) <= 1e-7 * 2 * np.trace(moments(one).covariance)


def test_moments_whose_digits_squaring_would_lose_agree_with_features():
    """Deviations over 16 decades: the eigenvalues of a square are rounding long before the last."""
    one, two = (features(seed, 400, 24, 72) for seed in (8, 9))
    traces = np.trace(moments(one).covariance) + np.trace(moments(two).covariance)
    assert abs(frechet_moments(moments(one), moments(two)) - frechet_features(one, two)) <= 1e-7 * traces


def test_moments_without_any_variance_are_as_far_apart_as_their_means():
    one, two = np.ones((4, 3)), np.full((5, 3), 3.0)
    assert frechet_moments(moments(one), moments(two)) == pytest.approx(12.0)
