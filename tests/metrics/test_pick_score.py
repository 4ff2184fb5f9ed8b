"""PickScore's arithmetic on a small CLIP of transformers, and what it says where its weights are not."""

import numpy as np
import pytest
import torch
from tiny_clip import save_open_clip, save_transformers

from drawbench.errors import AssetMissing
from drawbench.interfaces import ImageMetric, Prompt
from drawbench.metrics.pick_score import pick_score


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pick")
    model = save_open_clip(path / "open_clip")
    model.logit_scale.data.fill_(4.2)
    save_transformers(path / "hf", model)
    return path / "hf"


def test_the_score_is_what_the_model_itself_gives_as_logit(folder):
    import transformers

    model = transformers.CLIPModel.from_pretrained(folder).eval()
    processor = transformers.CLIPImageProcessorPil.from_pretrained(folder)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 40, 40), dtype=np.uint8))
    texts = ["a cat", "rain", "two dogs on a sofa"]
    with torch.no_grad():
        out = model(
            **processor(images=list(images), return_tensors="pt"), **tokenizer(texts, padding=True, return_tensors="pt")
        )
    metric = pick_score(model=f"hf:{folder}")
    prompts = [Prompt(str(n), text) for n, text in enumerate(texts)]
    values = metric.score(images, metric.network(images), prompts).values
    assert isinstance(metric, ImageMetric)
    assert values["score"] == pytest.approx(out.logits_per_image.diagonal().numpy(), abs=1e-3)
    assert values["score"] == pytest.approx(np.exp(4.2) * values["cosine"], rel=1e-6)
    assert metric.protocol()["scale"] == "66.6863"


def test_its_weights_are_named_where_they_are_not(cache):
    with pytest.raises(AssetMissing) as caught:
        pick_score()
    assert "yuvalkirstain/PickScore_v1 (about 3.9 GB)" in str(caught.value)
    assert "--set pick_score.model=hf:FOLDER" in str(caught.value)
