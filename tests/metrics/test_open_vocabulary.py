"""Boxes of OWLv2 and Grounding DINO, on tiny ones with random weights and real preprocessing."""

import json
import shutil

import numpy as np
import pytest
import tiny_detectors
import torch
from PIL import Image

from drawbench.errors import AssetMissing, UserError
from drawbench.metrics.open_vocabulary import TransformersDetector, to_pixels

NAMES = ["red circle", "cell phone", "zebra"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detectors")
    tiny_detectors.save_owlv2(folder / "owlv2")
    tiny_detectors.save_grounding_dino(folder / "grounding-dino")
    return folder


@pytest.fixture(scope="module", params=["owlv2", "grounding-dino"])
def loaded(request, folders):
    return TransformersDetector("detector", str(folders / request.param), "cpu", "fp32")


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (60, 100), (120, 48)])
def test_boxes_lie_within_the_image_and_have_names_that_were_asked_for(loaded, size):
    found = loaded.detect(picture(*size), NAMES)
    assert found
    assert {one.name for one in found} <= set(NAMES)
    for one in found:
        left, top, right, bottom = one.box
        assert 0 <= left < right <= size[1]
        assert 0 <= top < bottom <= size[0]
        assert 0 <= one.score <= 1


def test_what_is_found_is_the_same_again_and_after_a_reload(loaded, folders):
    image = picture(70, 90)
    again = TransformersDetector("detector", str(folders / loaded.kind), "cpu", "fp32")
    assert loaded.detect(image, NAMES) == loaded.detect(image, NAMES) == again.detect(image, NAMES)
    assert loaded.fields() == again.fields()
    assert loaded.detect(image, NAMES) != loaded.detect(picture(70, 90, seed=1), NAMES)


def test_boxes_and_scores_are_those_of_transformers_own_reading(loaded):
    image = Image.fromarray(picture(60, 100))
    if loaded.kind == "owlv2":
        inputs = loaded._processor(images=image, text=[[f"a photo of a {n}" for n in NAMES]], return_tensors="pt")
    else:
        inputs = loaded._processor(images=image, text=[NAMES], return_tensors="pt")
    with torch.no_grad():
        told = loaded._network(**inputs)
    if loaded.kind == "owlv2":
        (theirs,) = loaded._processor.image_processor.post_process_object_detection(told, 0, torch.tensor([[60, 100]]))
    else:
        (theirs,) = loaded._processor.post_process_grounded_object_detection(
            told, inputs["input_ids"], 0, 0, [(60, 100)]
        )
    limits = torch.tensor([100, 60, 100, 60])
    boxes = torch.minimum(theirs["boxes"].clamp(min=0), limits).double()
    ours = loaded.detect(np.asarray(image), NAMES)
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    assert len(ours) == kept.sum() > 3
    assert np.allclose([one.box for one in ours], boxes[kept], atol=1e-3)
    scores = [one.score for one in ours]
    if loaded.kind == "owlv2":
        assert np.allclose(scores, theirs["scores"][kept], atol=1e-6)
        assert [one.name for one in ours] == [NAMES[label] for label in theirs["labels"][kept]]
    else:  # Theirs may be that of a full stop, ours is of a name.
        assert (np.array(scores) <= theirs["scores"][kept].numpy() + 1e-6).all()
        assert np.isclose(scores, theirs["scores"][kept], atol=1e-6).any()


@pytest.mark.parametrize("size", [(48, 120), (120, 48), (90, 90)])
def test_a_square_drawn_into_an_image_is_found_where_it_was_drawn(loaded, size):
    """What lies where in the network's input, taken as a box in shares of it, comes back to the pixels of the image."""
    image = np.zeros((*size, 3), np.uint8)
    left, top, right, bottom = 14, 8, 38, 40
    image[top:bottom, left:right] = 255
    pixels = loaded._processor.image_processor(images=Image.fromarray(image), return_tensors="pt")["pixel_values"][0]
    light = pixels.mean(0) - pixels.mean(0)[0, 0] > 0.5 * (pixels.mean(0).max() - pixels.mean(0)[0, 0])
    rows, columns = light.nonzero().T
    high, wide = light.shape
    y, x = (rows.min(), rows.max() + 1), (columns.min(), columns.max() + 1)
    share = [sum(x) / 2 / wide, sum(y) / 2 / high, (x[1] - x[0]) / wide, (y[1] - y[0]) / high]
    (found,) = to_pixels(torch.tensor([share], dtype=torch.float64), size, padded=loaded._is_padded)
    assert np.allclose(found, [left, top, right, bottom], atol=2)


def test_a_box_in_the_padding_is_no_box():
    below = torch.tensor([[0.5, 0.9, 0.2, 0.1]], dtype=torch.float64)
    assert to_pixels(below, (50, 100), padded=True).tolist() == [[40.0, 50.0, 60.0, 50.0]]
    assert to_pixels(below, (50, 100), padded=False)[0].tolist() == pytest.approx([40, 42.5, 60, 47.5])


def test_a_token_belongs_to_the_name_that_it_is_in(folders):
    loaded = TransformersDetector("detector", str(folders / "grounding-dino"), "cpu", "fp32")
    tokens = loaded._processor.tokenizer("red circle. zebra. cat.")["input_ids"]
    assert loaded._name_of_token(tokens, 3) == [None, 0, 0, None, 1, 1, 1, 1, 1, None, 2, None, None]


def test_half_precision_finds_about_the_same(folders):
    image, exact = picture(64, 64), TransformersDetector("detector", str(folders / "owlv2"), "cpu", "fp32")
    half = TransformersDetector("detector", str(folders / "owlv2"), "cpu", "bf16")
    assert half.fields()["dtype"] == "bf16"
    best = {one.box: one.score for one in exact.detect(image, NAMES)}
    assert np.mean(list(best.values())) == pytest.approx(
        np.mean([one.score for one in half.detect(image, NAMES)]), abs=0.1
    )


def test_its_fields_name_weights_and_settings(folders, tmp_path):
    first = TransformersDetector("detector", str(folders / "owlv2"), "cpu", "fp32").fields()
    tiny_detectors.save_owlv2(tmp_path / "other", seed=1)
    other = TransformersDetector("detector", str(tmp_path / "other"), "cpu", "fp32").fields()
    assert {key for key in first if first[key] != other[key]} == {"weights sha256"}
    settings = json.loads((tmp_path / "other" / "processor_config.json").read_text())
    settings["image_processor"]["size"] = {"height": 64, "width": 64}
    (tmp_path / "other" / "processor_config.json").write_text(json.dumps(settings))
    assert (
        TransformersDetector("detector", str(tmp_path / "other"), "cpu", "fp32").fields()["network"] != first["network"]
    )


def test_a_folder_that_holds_no_detector_is_refused(folders, tmp_path):
    def load(folder):
        return TransformersDetector("detector", str(folder), "cpu", "fp32")

    with pytest.raises(UserError, match="there is no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="has no config.json"):
        load(tmp_path)
    folder = tmp_path / "owlv2"
    shutil.copytree(folders / "owlv2", folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no model.safetensors"):
        load(folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="'bert'; allowed are owlv2 and grounding-dino"):
        load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        load(folder)


def test_weights_that_lack_a_part_are_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(folders / "owlv2", tmp_path / "owlv2")
    weights = load_file(tmp_path / "owlv2" / "model.safetensors")
    del weights["class_head.dense0.weight"]
    save_file(weights, tmp_path / "owlv2" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"do not fit config.json: 1 are missing.*class_head.dense0.weight"):
        TransformersDetector("detector", str(tmp_path / "owlv2"), "cpu", "fp32")
    (tmp_path / "owlv2" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="cannot be loaded"):
        TransformersDetector("detector", str(tmp_path / "owlv2"), "cpu", "fp32")


def test_a_model_that_is_nowhere_is_named_with_its_size_and_place(cache):
    with pytest.raises(
        AssetMissing, match=r"owlv2-base-patch16-ensemble \(0.6 GB\).*--set detector.model=FOLDER"
    ) as told:
        TransformersDetector("detector", "google/owlv2-base-patch16-ensemble", "cpu", "fp32")
    assert str(cache / "weights" / "google" / "owlv2-base-patch16-ensemble") in str(told.value)


def test_a_model_in_the_cache_is_found_by_its_name(folders, cache):
    shutil.copytree(folders / "owlv2", cache / "weights" / "some" / "owlv2")
    assert TransformersDetector("detector", "some/owlv2", "cpu", "fp32").kind == "owlv2"
