"""prdc: against plain loops, also with duplicates and ties, against torch-fidelity, and what it costs."""

import numpy as np
import pytest
from set_formulas import prdc as formula

from drawbench.errors import UserError
from drawbench.metrics import neighbours
from drawbench.metrics.prdc import SPARE, SPARE_OF_GROUPS, PrecisionRecall, prdc
from drawbench.metrics.reference import Reference
from drawbench.torchvision_ops import declare_missing_ops

N, M, D = 60, 45, 12


def metric(real, k=3, k_density=5):
    return PrecisionRecall(None, {}, Reference(real, "k", "rows", "s", len(real)), real, k, k_density)


def sets(kind):
    """Drawn and real features of one kind."""
    rng = np.random.default_rng(0)
    drawn, real = (rng.normal(size=(count, D)).astype(np.float32) for count in (N, M))
    if kind == "some the same":
        drawn[:30] = real[:30]
    elif kind == "the same set":
        drawn = real.copy()
    elif kind == "one image":
        drawn[:] = drawn[0]
    elif kind == "two images":
        drawn[:] = drawn[np.arange(N) % 2]
    elif kind == "on a grid":  # Distances that are equal, in plenty.
        drawn, real = np.round(drawn), np.round(real)
        drawn[:, 3:] = real[:, 3:] = 0
    elif kind == "far from 0":
        drawn, real = drawn + 300, real + 300
    elif kind == "apart":
        real = real + 50
    elif kind == "constant":
        drawn[:], real[:] = 1, 1
    return drawn, real


KINDS = [
    "plain",
    "some the same",
    "the same set",
    "one image",
    "two images",
    "on a grid",
    "far from 0",
    "apart",
    "constant",
]


@pytest.fixture(params=[2048, 16])
def block(request, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_the_four_are_the_formulas(kind, block):
    drawn, real = sets(kind)
    found, expected = metric(real).compute(drawn), formula(drawn, real, 3, 5)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_out_groups_is_computing_without_them(kind, block):
    drawn, real = sets(kind)
    groups = np.sort(
        np.random.default_rng(1).integers(0, 4, len(drawn))
    )  # As runs have them: a prompt's images side by side.
    found = metric(real).leave_out(drawn, groups)
    for group in range(4):
        expected = formula(drawn[groups != group], real, 3, 5)
        assert {name: values[group] for name, values in found.items()} == pytest.approx(expected, rel=1e-12)


def test_a_prompt_whose_images_are_all_alike_does_not_spoil_the_radii():
    """A list of neighbours that are all of one group says nothing of the radius without it."""
    drawn, real = sets("plain")
    drawn[:30] = drawn[0] + np.random.default_rng(2).normal(size=(30, D)).astype(np.float32) * 1e-4
    groups = np.where(np.arange(N) < 29, 0, 1 + np.arange(N) % 3)
    found = metric(real).leave_out(drawn, groups)
    for group in range(4):
        expected = formula(drawn[groups != group], real, 3, 5)
        assert {name: values[group] for name, values in found.items()} == pytest.approx(expected, rel=1e-12)


def test_other_ks_are_other_balls():
    drawn, real = sets("plain")
    assert metric(real, 1, 2).compute(drawn) == pytest.approx(formula(drawn, real, 1, 2), rel=1e-12)
    assert metric(real, 7, 2).compute(drawn) == pytest.approx(formula(drawn, real, 7, 2), rel=1e-12)


def test_precision_and_recall_are_torch_fidelitys():
    declare_missing_ops()
    theirs = pytest.importorskip("torch_fidelity.metric_prc")
    import torch

    rng = np.random.default_rng(0)
    drawn, real = rng.normal(size=(300, 64)).astype(np.float32), 1.1 * rng.normal(size=(280, 64)).astype(np.float32)
    given = {"prc_neighborhood": 3, "prc_batch_size": 100, "save_cpu_ram": True, "verbose": False}
    printed = theirs.prc_features_to_metric(torch.from_numpy(drawn), torch.from_numpy(real), **given)
    found = metric(real).compute(drawn)
    assert found["precision"] == pytest.approx(printed["precision"], abs=1e-6)
    assert found["recall"] == pytest.approx(printed["recall"], abs=1e-6)
    assert 0.2 < found["precision"] < 1


def test_a_set_with_itself_is_precise_and_whole():
    _, real = sets("plain")
    found = metric(real).compute(real)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)


def test_order_does_not_move_them_and_noise_lowers_them():
    drawn, real = sets("plain")
    noise = np.random.default_rng(3).normal(size=drawn.shape).astype(np.float32)
    order = np.random.default_rng(4).permutation(N)
    assert metric(real[::-1].copy()).compute(drawn[order]) == metric(real).compute(drawn)
    noisy = [metric(real).compute(drawn + size * noise) for size in (0.0, 1.0, 3.0)]
    for name in ("precision", "density", "coverage"):
        values = [found[name] for found in noisy]
        assert values == sorted(values, reverse=True)
        assert values[0] > values[-1]


def test_float32_bounds_hold_the_exact_distances():
    rng = np.random.default_rng(5)
    rows = (rng.normal(size=(40, 2048)) * rng.exponential(size=2048) + 5).astype(np.float32)
    rows[20:] = rows[:20] + rng.normal(size=(20, 2048)).astype(np.float32) * 1e-3
    ready = neighbours.points(rows, rows.mean(0))
    whole = slice(0, 40)
    lower = neighbours.lower_bounds(ready, whole, ready, whole).numpy()
    exact = np.array([[np.sum((a.astype(np.float64) - b) ** 2) for b in rows] for a in rows])
    squares = ready.squares.numpy()
    slack = 2 * neighbours._unsure(ready) * (squares[:, None] + squares)
    assert (lower <= exact).all()
    assert (lower + slack >= exact).all()


def test_thirty_thousand_images_against_as_many_fit_in_2_gib():
    n, count = 30_000, 3 + SPARE_OF_GROUPS
    assert count > 5 + SPARE
    bytes_ = neighbours.working_bytes(n, n, 2048, count)
    assert bytes_ < 1.3 * 2**30  # The rest is for Python and torch.
    assert neighbours.BLOCK**2 * 9 < 40 * 2**20


def test_what_has_no_balls_is_said(peer, photographs, tmp_path):
    for file in photographs[:3]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="give 1 or more"):
        prdc(weights=peer.file, reference=str(tmp_path), k=0)
    with pytest.raises(UserError, match="has 3 images, and prdc needs 6 at least"):
        prdc(weights=peer.file, reference=str(tmp_path))
    found = prdc(weights=peer.file, reference=str(tmp_path), k=1, k_density=2)
    assert found.least == 2
    assert found.protocol()["precision, recall"] == "k = 1, closed balls"
    assert "compare equal n only" in found.remarks([])[0]
