"""fid_infinity: nearer to the truth than FID of all images, its line, its values without a group."""

import numpy as np
import pytest

from drawbench.errors import UserError
from drawbench.metrics.fid_infinity import ExtrapolatedDistance, fid_infinity
from drawbench.metrics.frechet import frechet_features
from drawbench.metrics.reference import Reference

D = 12
SCALE, STEP = 1.3, 0.2
TRUTH = D * (STEP**2 + (SCALE - 1) ** 2)
RNG = np.random.default_rng(0)
REAL = (RNG.normal(size=(40_000, D)) * SCALE + STEP).astype(np.float32)


def drawn(n, seed=1):
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


def metric(points=8, smallest=100, real=REAL):
    return ExtrapolatedDistance(None, {}, Reference(real, "k", "rows", "s", len(real)), points, smallest, 0)


def test_it_lies_nearer_to_the_truth_than_fid_of_all_images():
    found = [metric(smallest=60).compute(drawn(300, seed)) for seed in range(40)]
    infinity, plain = (np.mean([each[name] for each in found]) for name in ("fid_infinity", "fid_n"))
    assert plain - TRUTH > 0.1
    assert abs(infinity - TRUTH) < (plain - TRUTH) / 2
    assert all(each["fid_slope"] > 0 for each in found)


def test_its_line_is_numpys_through_the_named_points():
    rows = drawn(500)
    rng = np.random.default_rng(0)
    sizes = np.linspace(100, 500, 8).astype(int)
    values = [frechet_features(rows[rng.choice(500, size, replace=False)], REAL) for size in sizes]
    slope, at_0 = np.polyfit(1 / sizes, values, 1)
    found = metric().compute(rows)
    assert found["fid_infinity"] == pytest.approx(at_0, rel=1e-9)
    assert found["fid_slope"] == pytest.approx(slope, rel=1e-7)
    assert found["fid_n"] == pytest.approx(frechet_features(rows, REAL), rel=1e-9)


def test_groups_are_left_out_as_by_recomputing():
    rows, groups, real = drawn(900), np.arange(900) % 30, REAL
    found = metric(3, 600).leave_out(rows, groups)
    sizes = np.linspace(600, 900, 3).astype(int)
    rng = np.random.default_rng(0)
    draws = [np.sort(rng.choice(900, size, replace=False)) for size in sizes]
    for group in (0, 17):
        kept = [draw[groups[draw] != group] for draw in draws]
        _, at_0 = np.polyfit([1 / len(draw) for draw in kept], [frechet_features(rows[draw], real) for draw in kept], 1)
        assert found["fid_infinity"][group] == pytest.approx(at_0, rel=1e-4)


def test_of_fewer_images_than_features_groups_are_left_out_exactly():
    rng = np.random.default_rng(3)
    rows, real = rng.normal(size=(40, 64)).astype(np.float32), rng.normal(size=(50, 64)).astype(np.float32)
    groups = np.arange(40) % 4
    found = metric(3, 10, real)
    left = found.leave_out(rows, groups)["fid_n"]
    expected = [frechet_features(rows[groups != group], real) for group in range(4)]
    np.testing.assert_allclose(left, expected, rtol=1e-9)


def test_too_few_points_are_refused_and_few_images_have_no_value(peer):
    assert metric(15, 5000).least == 5014
    with pytest.raises(UserError, match="a line needs 2 points"):
        fid_infinity(weights=peer.file, reference="x", points=1)
    with pytest.raises(UserError, match="fid_infinity needs a reference"):
        fid_infinity(weights=peer.file)
