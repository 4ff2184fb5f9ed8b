"""The published heads on published embeddings, to the printed digits; and a head goes with its own CLIP only."""

import hashlib
import shutil

import numpy as np
import pytest
import torch
from tiny_clip import save_open_clip

from drawbench.cli.measure import load_metrics
from drawbench.errors import AssetMissing, UserError
from drawbench.interfaces import ImageMetric, Prompt
from drawbench.metrics.aesthetic import HEADS, Head, aesthetic, read_head

PRINTED = {
    "vit_l_14": [-2.458, -0.138, 1.895, 3.585, 5.100, 6.470, 7.787, 9.048, 10.226, 11.304],
    "vit_b_32": [-1.470, None, None, None, None, None, None, None, None, 11.006],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip")
    save_open_clip(path)
    return path


@pytest.fixture
def own_head(tmp_path):
    state = {"weight": torch.linspace(-1, 1, 16)[None], "bias": torch.tensor([5.0])}
    torch.save(state, tmp_path / "head.pth")
    return tmp_path / "head.pth"


@pytest.mark.parametrize("name", PRINTED)
def test_the_published_embeddings_have_their_published_scores(shared, name):
    folder = shared / "aesthetic"
    head = read_head(folder / f"sa_0_4_{name}_linear.pth")
    embeddings = np.stack([np.load(folder / f"{name}_embeddings" / f"rating{n}.npy").ravel() for n in range(10)])
    scores = head(torch.from_numpy(embeddings)).numpy()
    for found, printed in zip(scores, PRINTED[name], strict=True):
        assert printed is None or round(float(found), 3) == printed
    assert (np.diff(scores) > 0).all(), "they rise with their number"


def test_the_heads_that_are_known_are_the_published_files(shared):
    for row in HEADS:
        assert hashlib.sha256((shared / "aesthetic" / row.file).read_bytes()).hexdigest() == row.sha256


def test_the_score_is_the_heads_of_unit_length_embeddings(folder, own_head):
    metric = aesthetic(model=str(folder), head=own_head)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8))
    features = metric.network(images)
    values = metric.score(images, features, [Prompt(str(n), "") for n in range(4)]).values["aesthetic"]
    assert isinstance(metric, ImageMetric)
    assert torch.allclose(features.norm(dim=-1), torch.ones(4), atol=1e-6)
    assert values == pytest.approx((features.double() @ torch.linspace(-1, 1, 16).double() + 5).numpy(), abs=1e-12)
    assert metric.protocol()["head sha256"] == hashlib.sha256(own_head.read_bytes()).hexdigest()


def test_a_head_of_another_width_is_refused(folder, own_head):
    head = read_head(own_head)
    with pytest.raises(UserError, match="is for embeddings of 16 values and the CLIP gives 512"):
        head(torch.ones(2, 512))
    with pytest.raises(UserError, match="is for embeddings of 16 values and the CLIP gives 64"):
        aesthetic(model="shapes", head=own_head)
    assert Head(torch.ones(2).double(), 1.0)(torch.ones(1, 2)).tolist() == [3.0]


def test_a_published_head_goes_with_its_own_clip_only(shared):
    """ViT-B-16 and ViT-B-32 have the same width: the shape alone would let them be mixed up in silence."""
    head = shared / "aesthetic" / "sa_0_4_vit_b_16_linear.pth"
    with pytest.raises(UserError, match=r"is the published head of ViT-B-16, not of ViT-B-32"):
        aesthetic(model="ViT-B-32", head=head)
    with pytest.raises(AssetMissing, match="CLIP weights ViT-B-16"):
        aesthetic(model="ViT-B-16", head=head)


def test_the_head_is_looked_for_in_the_cache_and_known_by_its_digest(shared, cache):
    with pytest.raises(AssetMissing) as caught:
        aesthetic()
    place = cache / "weights" / "sa_0_4_vit_l_14_linear.pth"
    assert str(place) in str(caught.value)
    place.parent.mkdir()
    shutil.copy(shared / "aesthetic" / place.name, place)
    with pytest.raises(AssetMissing, match="CLIP weights ViT-L-14 'openai'"):
        aesthetic()
    with pytest.raises(AssetMissing, match="CLIP weights openai/clip-vit-large-patch14"):
        aesthetic(model="hf:openai/clip-vit-large-patch14")
    place.chmod(0o644)
    place.write_bytes(b"other")
    with pytest.raises(UserError, match="is not the published file"):
        aesthetic()


def test_weights_that_are_not_openais_have_no_published_head(folder):
    with pytest.raises(UserError, match="has no published head"):
        aesthetic(model=str(folder))
    with pytest.raises(UserError, match="with the tag laion2b_s32b_b82k has no published head"):
        aesthetic(model="ViT-L-14", tag="laion2b_s32b_b82k")


def test_what_is_no_head_is_refused(folder, tmp_path):
    torch.save({"weight": torch.ones(2, 16), "bias": torch.ones(2)}, tmp_path / "two.pth")
    (tmp_path / "text.pth").write_text("no")
    with pytest.raises(UserError, match=r"needed: weight \(1, D\) and bias \(1,\)"):
        aesthetic(model=str(folder), head=tmp_path / "two.pth")
    with pytest.raises(UserError, match="is no file of weights"):
        aesthetic(model=str(folder), head=tmp_path / "text.pth")


def test_with_a_head_of_ones_own_it_is_unverified_also_on_the_clip_that_ships(tmp_path):
    width = 64
    torch.save({"weight": torch.ones(1, width), "bias": torch.zeros(1)}, tmp_path / "head.pth")
    named = {"aesthetic": "aesthetic", "clip_score": "clip_score"}
    settings = {"aesthetic": {"model": "shapes", "head": str(tmp_path / "head.pth")}, "clip_score": {"model": "shapes"}}
    loaded = load_metrics(named, settings, "cpu", "fp32", None)
    assert [one.metric.network.shipped for one in loaded] == [True, True]
    assert {one.alias: one.verified for one in loaded} == {"aesthetic": False, "clip_score": True}
