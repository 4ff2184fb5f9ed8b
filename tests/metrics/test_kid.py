"""kid and cmmd: against the pairwise formula and torch-fidelity, whatever the blocks, and what they refuse."""

import numpy as np
import pytest
from set_formulas import cubic, gaussian, mmd

from drawbench.errors import UserError
from drawbench.metrics import kid as kid_module
from drawbench.metrics import mmd as blocked
from drawbench.metrics.cmmd import ClipDiscrepancy, cmmd
from drawbench.metrics.frechet import moments
from drawbench.metrics.kid import KernelDistance, SubsetKernelDistance, kid
from drawbench.metrics.reference import Reference, write_reference
from drawbench.torchvision_ops import declare_missing_ops


def features(n, d=48, scale=0.3, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, d)) * scale + 0.4
    return np.maximum(rows, 0).astype(np.float32)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def reference(rows):
    return Reference(rows, "k", "rows", "s", len(rows))


def metric(rows):
    return KernelDistance(None, {}, reference(rows), rows)


def clip_metric(rows):
    return ClipDiscrepancy(None, {}, reference(rows), rows)


def in_subsets(rows, subsets, size, seed=0):
    return SubsetKernelDistance(None, {}, reference(rows), rows, subsets, size, seed)


@pytest.fixture(params=[1024, 16])
def block(request, monkeypatch):
    monkeypatch.setattr(blocked, "BLOCK", request.param)


def test_kid_is_the_unbiased_formula(block):
    x, y = features(50), features(37, scale=0.33, seed=1)
    found = metric(y).compute(x)
    assert found["kid"] == pytest.approx(mmd(x, y, cubic, unbiased=True), rel=1e-5, abs=1e-9)
    assert found["kid_x1000"] == 1000 * found["kid"]
    assert metric(y).outputs["kid_x1000"].rescales == "kid"


def test_cmmd_is_both_formulas(block):
    x, y = unit(features(50)), unit(features(37, scale=0.4, seed=1))
    found = clip_metric(y).compute(x)
    assert found["cmmd"] == pytest.approx(1000 * mmd(x, y, gaussian, unbiased=False), rel=1e-5)
    assert found["cmmd_unbiased"] == pytest.approx(1000 * mmd(x, y, gaussian, unbiased=True), rel=1e-5)


@pytest.mark.parametrize("make", [metric, clip_metric])
def test_leaving_out_groups_is_computing_without_them(block, make):
    x, y = features(60), features(37, seed=1)
    groups = np.random.default_rng(2).integers(0, 6, 60)
    groups[groups == 4] = 3  # Nobody is in group 4.
    found = make(y).leave_out(x, groups)
    for name in make(y).outputs:
        expected = [make(y).compute(x[groups != group])[name] for group in range(6)]
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-6 if "x1000" in name else 1e-9)


def test_kid_of_torch_fidelity_where_a_subset_is_all():
    declare_missing_ops()
    theirs = pytest.importorskip("torch_fidelity.metric_kid")
    import torch

    x, y = features(200, 256), features(200, 256, scale=0.34, seed=1)
    given = {"kid_subsets": 1, "kid_subset_size": 200, "verbose": False}
    printed = theirs.kid_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), **given)
    ours = in_subsets(y, 1, 200).compute(x)["kid"]
    # Theirs is in float32, and loses a millionth of the kernel's values, of which KID is a difference.
    assert ours == pytest.approx(printed["kernel_inception_distance_mean"], abs=3e-6)
    wide = theirs.kid_features_to_metric(torch.from_numpy(x).double(), torch.from_numpy(y).double(), **given)
    assert ours == pytest.approx(wide["kernel_inception_distance_mean"], rel=1e-6)
    assert metric(y).compute(x)["kid"] == pytest.approx(wide["kernel_inception_distance_mean"], rel=1e-6)


def test_subsets_are_the_mean_over_their_draws(monkeypatch):
    x, y = features(90), features(80, seed=1)
    groups = np.arange(90) % 5
    found = in_subsets(y, 7, 30).compute(x)
    rng = np.random.default_rng(0)
    each = []
    for _ in range(7):
        mine, theirs = rng.choice(90, 30, replace=False), rng.choice(80, 30, replace=False)
        each.append(metric(y[theirs]).compute(x[mine])["kid"])
    assert found["kid"] == pytest.approx(np.mean(each), rel=1e-5, abs=1e-9)
    assert found["kid_subset_std"] == pytest.approx(np.std(each), rel=1e-5)
    assert in_subsets(y, 7, 30, seed=1).compute(x)["kid"] != found["kid"]
    # Both ways of taking them give the same, without groups too.
    apart = in_subsets(y, 7, 30).leave_out(x, groups)
    together = in_subsets(y, 70, 30).leave_out(x, groups)
    for ways, subsets, expected in ((("_at_once",), 7, apart), (("_one_by_one",), 70, together)):
        other = {"_at_once": kid_module._at_once, "_one_by_one": kid_module._one_by_one}[ways[0]]
        with monkeypatch.context() as patch:
            patch.setattr(kid_module, "_at_once", other)
            patch.setattr(kid_module, "_one_by_one", other)
            again = in_subsets(y, subsets, 30).leave_out(x, groups)
        np.testing.assert_allclose(again["kid"], expected["kid"], rtol=1e-5, atol=1e-9)


def test_order_does_not_move_it_and_noise_does():
    x, y = features(300), features(300, seed=1)
    noise = np.random.default_rng(3).normal(size=x.shape).astype(np.float32)
    for make in (metric, clip_metric):
        name = next(iter(make(y).outputs))
        noisy = [make(y).compute(x + size * noise)[name] for size in (0.0, 0.2, 0.5, 1.0)]
        assert noisy == sorted(noisy)
        assert make(y).compute(x[::-1])[name] == pytest.approx(noisy[0], rel=1e-6, abs=1e-9)


def test_two_halves_of_one_set_are_at_0_within_their_interval_and_the_v_statistic_is_not():
    x, y = features(400), features(400, seed=1)
    groups = np.arange(400) % 20
    found = metric(y).compute(x)["kid"]
    left = metric(y).leave_out(x, groups)["kid"]
    error = np.sqrt(19 / 20 * np.sum((left - left.mean()) ** 2))
    assert abs(found) < 4 * error
    both = clip_metric(unit(y)).compute(unit(x))
    assert both["cmmd"] > 0
    assert abs(both["cmmd_unbiased"]) < both["cmmd"] / 4
    # With itself the unbiased estimate is below 0 (each image meets itself across only), the V-statistic is 0.
    assert metric(x).compute(x)["kid"] < 0
    assert clip_metric(x).compute(x)["cmmd"] == pytest.approx(0, abs=1e-9)


def test_images_all_alike_have_a_finite_distance():
    same = np.repeat(features(1), 20, 0)
    assert metric(same).compute(same)["kid"] == pytest.approx(0, abs=1e-9)
    assert metric(features(30)).compute(same)["kid"] > 0


def fids(peer, *options):
    from drawbench.metrics.fid import networks

    return networks("fid", peer.file, *options, device="cpu", dtype="fp32")


def test_what_cannot_be_compared_is_said(peer, tmp_path, photographs):
    with pytest.raises(UserError, match="kid needs a reference"):
        kid(weights=peer.file)
    with pytest.raises(UserError, match="2 images or more"):
        kid(weights=peer.file, subsets=3, subset_size=1)
    with pytest.raises(UserError, match="there are none .kid.subsets=0"):
        kid(weights=peer.file, subset_size=50, reference="x")
    network = fids(peer, "clean", "none", "center_crop", "bicubic").images
    write_reference(tmp_path / "stats.npz", moments(features(5, 2048)), network.key, "five")
    with pytest.raises(UserError, match="reference make DIR -o STATS --features"):
        kid(weights=peer.file, reference=str(tmp_path / "stats.npz"))
    (tmp_path / "two").mkdir()
    for file in photographs[:2]:
        (tmp_path / "two" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="has 2 images, and kid needs 5 at least"):
        kid(weights=peer.file, reference=str(tmp_path / "two"), subsets=1, subset_size=5)


def test_cmmd_runs_on_the_shapes_clip_and_is_refused_without_a_reference(tmp_path):
    from PIL import Image

    for number in range(3):
        Image.fromarray(np.full((8, 8, 3), 80 * number, np.uint8)).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError, match="cmmd needs a reference"):
        cmmd(model="shapes")
    found = cmmd(model="shapes", reference=str(tmp_path))
    rows = found._theirs
    assert found.compute(rows)["cmmd"] == pytest.approx(0, abs=1e-6)
    assert found.protocol()["scale"] == "1000"
    assert "open_clip" in found.protocol()["network"]


def test_kid_shares_the_features_of_fid(peer, photographs, tmp_path):
    (tmp_path / "set").mkdir()
    for file in photographs[:2]:
        (tmp_path / "set" / file.name).write_bytes(file.read_bytes())
    options = {"protocol": "legacy_pytorch", "resize_before": "256", "crop": "squeeze", "filter": "box"}
    mine = kid(weights=peer.file, reference=str(tmp_path / "set"), **options, reference_crop="center_crop")
    theirs = fids(peer, *options.values(), "center_crop")
    assert mine.network.key == theirs.images.key
    assert mine.reference.network == theirs.reference.key != theirs.images.key
    assert "squeezed by Pillow box" in mine.protocol()["resize before"]
    assert "centre crop" in mine.protocol()["reference resize before"]
