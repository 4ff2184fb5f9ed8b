"""fd_dinov2: a tiny network of transformers' own class, loaded from a folder, and what is said where there is none."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from drawbench.errors import AssetMissing, UserError
from drawbench.metrics.dinov2 import Dinov2, fd_dinov2
from drawbench.torchvision_ops import declare_missing_ops


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    declare_missing_ops()
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dinov2")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=518)
        Dinov2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        rows = rng.integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(rows).save(tmp_path / f"{number}.png")
    return tmp_path


def test_its_features_are_the_class_token_of_224_pixels(tiny, pictures):
    from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize, ToTensor
    from transformers import Dinov2Model

    picture = Image.open(pictures / "0.png")
    prepare = Compose(
        [
            Resize((224, 224), InterpolationMode.BICUBIC),
            ToTensor(),
            Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    with torch.no_grad():
        expected = Dinov2Model.from_pretrained(tiny).eval()(prepare(picture)[None]).last_hidden_state[:, 0]
    network = Dinov2("fd_dinov2", str(tiny), "cpu", "fp32")
    found = network(torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert "squeezed to 224x224" in network.fields["resize"]


def test_a_set_is_at_0_from_itself(tiny, pictures):
    metric = fd_dinov2(reference=str(pictures), model=str(tiny))
    assert metric.compute(metric.reference.given)["fd_dinov2"] == pytest.approx(0, abs=1e-9)
    assert metric.protocol()["reference n"] == "4"


def test_what_is_no_dinov2_is_said(tiny, tmp_path, pictures):
    given = {"reference": str(pictures)}
    with pytest.raises(UserError, match="needs a reference"):
        fd_dinov2(model=str(tiny))
    with pytest.raises(UserError, match=r"has no config\.json and no model\.safetensors"):
        fd_dinov2(model=str(pictures), **given)
    with pytest.raises(UserError, match="not a folder here, nor a hub's name"):
        fd_dinov2(model="./nowhere", **given)
    other = tmp_path / "other"
    other.mkdir()
    config = json.loads((tiny / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    (other / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="missing keys: "):
        fd_dinov2(model=str(other), **given)


def test_without_the_weights_it_says_where_they_would_lie(pictures, cache):
    with pytest.raises(AssetMissing, match="facebook/dinov2-large") as error:
        fd_dinov2(reference=str(pictures))
    assert str(cache / "weights" / "dinov2-large" / "model.safetensors") in str(error.value)
    assert "fd_dinov2.model=DIR" in str(error.value)
