"""inception_score: against the formula and torch-fidelity, its splits, and the classes of its network."""

import numpy as np
import pytest
import torch
from set_formulas import inception_score as formula

from drawbench.errors import UserError
from drawbench.metrics.inception_score import InceptionScore, inception_score
from drawbench.torchvision_ops import declare_missing_ops

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(30, 16))
ROWS = RNG.normal(size=(200, 16)).astype(np.float32)


def metric(splits=1, seed=0, bias=0.0):
    return InceptionScore(None, {}, WEIGHT, np.full(30, bias), "unbiased", splits, seed)


def test_it_is_the_formula():
    assert metric().compute(ROWS)["inception_score"] == pytest.approx(formula(ROWS @ WEIGHT.T), rel=1e-9)


def test_splits_are_means_over_parts_and_the_seed_says_which():
    order = np.random.default_rng(7).permutation(200)
    each = [formula(ROWS[order[first : first + 20]] @ WEIGHT.T) for first in range(0, 200, 20)]
    found = metric(10, 7).compute(ROWS)
    assert found["inception_score"] == pytest.approx(np.mean(each), rel=1e-9)
    assert found["inception_score_split_std"] == pytest.approx(np.std(each), rel=1e-9)
    assert metric(10, 8).compute(ROWS) != found


def test_it_is_torch_fidelitys():
    declare_missing_ops()
    theirs = pytest.importorskip("torch_fidelity.metric_isc")
    logits = torch.from_numpy(ROWS.astype(np.float64) @ WEIGHT.T)
    printed = theirs.isc_features_to_metric(logits, splits=1, shuffle=False)
    assert metric().compute(ROWS)["inception_score"] == pytest.approx(printed["inception_score_mean"], rel=1e-9)


def test_leaving_out_groups_is_computing_without_them():
    groups = RNG.integers(0, 5, 200)
    found = metric().leave_out(ROWS, groups)["inception_score"]
    expected = [metric().compute(ROWS[groups != group])["inception_score"] for group in range(5)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    ten = metric(10).leave_out(ROWS, groups)
    order = np.random.default_rng(0).permutation(200)
    parts = [order[first : first + 20] for first in range(0, 200, 20)]
    expected = np.mean([formula(ROWS[part[groups[part] != 2]] @ WEIGHT.T) for part in parts])
    assert ten["inception_score"][2] == pytest.approx(expected, rel=1e-9)


def test_equal_images_have_the_least_and_one_of_each_class_the_most():
    assert metric().compute(np.repeat(ROWS[:1], 50, 0))["inception_score"] == pytest.approx(1, rel=1e-9)
    sure = InceptionScore(None, {}, 1000 * np.eye(16), np.zeros(16), "unbiased", 1, 0)
    assert sure.compute(np.eye(16, dtype=np.float32))["inception_score"] == pytest.approx(16, rel=1e-9)


def test_the_last_layer_is_that_of_the_weights(peer, photographs):
    from test_fid import pixels

    found = inception_score(weights=peer.file, splits=1)
    rows = np.concatenate(
        [found.network(pixels(file)).numpy() for file in photographs[:3] if pixels(file).shape[1] == 3]
    )
    state = torch.load(peer.file, weights_only=True)
    logits = rows.astype(np.float64) @ state["fc.weight"].double().numpy().T
    assert logits.shape[1] == 1008
    assert found.compute(rows)["inception_score"] == pytest.approx(formula(logits), rel=1e-9)
    biased = inception_score(weights=peer.file, splits=1, logits="biased").compute(rows)["inception_score"]
    assert biased == pytest.approx(formula(logits + state["fc.bias"].double().numpy()), rel=1e-9)
    assert "1008 logits" in found.protocol()["classes"]
    assert "legacy" in found.remarks([])[0]


def test_no_split_is_refused(peer):
    with pytest.raises(UserError, match=r"inception_score\.splits=0"):
        inception_score(weights=peer.file, splits=0)
