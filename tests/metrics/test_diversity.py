"""Diversity within a prompt: what is known of it beforehand, and LPIPS against its own package called by hand."""

import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from drawbench.errors import AssetMissing, UserError
from drawbench.interfaces import Prompt, PromptMetric
from drawbench.metrics.diversity import diversity, mean_distance
from drawbench.metrics.lpips_diversity import lpips_diversity
from drawbench.torchvision_ops import declare_missing_ops

declare_missing_ops()

PROMPT = Prompt("1", "a cat")


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_distances_that_are_known():
    assert mean_distance(unit([[1, 0], [0, 1]])) == pytest.approx(1, abs=1e-12)
    assert mean_distance(unit([[1, 0], [-1, 0]])) == pytest.approx(2, abs=1e-12)
    assert mean_distance(unit([[1, 0], [1, 0], [0, 1]])) == pytest.approx(2 / 3, abs=1e-12)


def test_equal_images_have_none_and_one_image_has_no_value():
    row = np.random.default_rng(0).standard_normal((1, 512))
    assert mean_distance(unit(np.repeat(row, 5, 0))) == 0
    assert np.isnan(mean_distance(unit(row)))


def test_it_is_the_mean_of_one_minus_cosine_in_any_order():
    rows = unit(np.random.default_rng(1).standard_normal((6, 32)))
    cosine = rows.astype(np.float64) @ rows.astype(np.float64).T
    expected = np.mean([1 - cosine[i, j] for i in range(6) for j in range(i)])
    assert mean_distance(rows) == pytest.approx(expected, abs=1e-6)
    assert mean_distance(rows[::-1]) == pytest.approx(mean_distance(rows), abs=1e-12)


def test_the_shapes_worlds_clip_sees_more_variety_in_different_prompts_than_in_copies():
    metric = diversity(model="shapes")
    assert isinstance(metric, PromptMetric)
    flat = torch.stack([torch.full((3, 64, 64), value, dtype=torch.uint8) for value in (10, 120, 240)])
    copies = metric.network(flat[[0, 0, 0]]).numpy()
    assert metric.score_prompt([], copies, PROMPT)["diversity"] < 1e-9
    assert metric.score_prompt([], metric.network(flat).numpy(), PROMPT)["diversity"] > 1e-3


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """AlexNet's and SqueezeNet's shapes with seeded weights, as torchvision saves them."""
    from torchvision import models

    path = tmp_path_factory.mktemp("backbones")
    torch.manual_seed(0)
    for name in ("alexnet", "squeezenet1_1"):
        state = {
            key: value for key, value in getattr(models, name)(weights=None).state_dict().items() if "features" in key
        }
        torch.save(state, path / f"{name}.pth")
    return path


@pytest.fixture
def images():
    random = np.random.default_rng(3)
    return [random.integers(0, 256, (3, 80, 100 + n), dtype=np.uint8) for n in range(3)]


@pytest.mark.parametrize(("net", "name"), [("alex", "alexnet"), ("squeeze", "squeezenet1_1")])
def test_lpips_is_what_its_package_gives_called_by_hand(backbone, images, net, name):
    lpips = pytest.importorskip("lpips")
    metric = lpips_diversity(net=net, backbone=backbone / f"{name}.pth", size=64)
    assert isinstance(metric, PromptMetric)
    model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    state = torch.load(backbone / f"{name}.pth", weights_only=True)
    for number in range(model.net.N_slices):
        part = getattr(model.net, f"slice{number + 1}")
        for key in part.state_dict():
            part.state_dict()[key].copy_(state[f"features.{key}"])

    def tensor(image):
        small = Image.fromarray(image.transpose(1, 2, 0)).resize((64, 64), Image.Resampling.BICUBIC)
        return lpips.im2tensor(np.asarray(small))

    with torch.no_grad():
        pairs = [(0, 1), (0, 2), (1, 2)]
        expected = np.mean([model(tensor(images[i]), tensor(images[j])).item() for i, j in pairs])
    found = metric.score_prompt(images, None, PROMPT)["lpips_diversity"]
    assert expected > 1e-4
    assert found == pytest.approx(expected, rel=1e-5)
    assert metric.score_prompt(images[::-1], None, PROMPT)["lpips_diversity"] == pytest.approx(found, rel=1e-6)


def test_lpips_of_copies_is_nothing_and_of_one_image_undefined(backbone, images):
    metric = lpips_diversity(net="squeeze", backbone=backbone / "squeezenet1_1.pth", size=64)
    assert metric.score_prompt([images[0]] * 3, None, PROMPT)["lpips_diversity"] == 0
    assert np.isnan(metric.score_prompt(images[:1], None, PROMPT)["lpips_diversity"])


def test_lpips_names_its_choices_and_refuses_images_of_different_sizes(backbone, images):
    resized = lpips_diversity(net="squeeze", backbone=backbone / "squeezenet1_1.pth")
    as_they_are = lpips_diversity(net="squeeze", backbone=backbone / "squeezenet1_1.pth", size=None)
    assert resized.protocol()["resize"] == "squash to 256x256, bicubic, Pillow, uint8"
    assert as_they_are.protocol()["resize"] == "none"
    assert len(resized.protocol()["backbone sha256"]) == 64
    with pytest.raises(UserError, match=r"have different sizes.*--set lpips_diversity.size=256"):
        as_they_are.score_prompt(images, None, PROMPT)


def test_lpips_without_a_backbone_names_the_file_and_does_not_take_another(backbone, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(AssetMissing) as caught:
        lpips_diversity()
    assert "alexnet-owt-7be5be79.pth (233 MB)" in str(caught.value)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    shutil.copy(backbone / "alexnet.pth", tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth")
    with pytest.raises(UserError, match="is not the published file, whose sha256 begins with 7be5be79"):
        lpips_diversity()
    with pytest.raises(UserError, match="does not fit net=alex: features.0.weight"):
        lpips_diversity(backbone=backbone / "squeezenet1_1.pth")
    with pytest.raises(UserError, match="give at least 32"):
        lpips_diversity(size=8)


def test_without_the_package_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(UserError, match=r"pip install 'drawbench\[lpips\]'"):
        lpips_diversity()
