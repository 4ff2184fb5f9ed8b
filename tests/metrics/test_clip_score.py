"""CLIP score on a small seeded network that the tests save: plumbing, and agreement with open_clip called by hand."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from drawbench.errors import AssetMissing, UserError
from drawbench.interfaces import Prompt
from drawbench.metrics.clip_score import clip_score
from drawbench.torchvision_ops import declare_missing_ops

declare_missing_ops()
import open_clip  # noqa: E402

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as open_clip reads it with its local-dir scheme."""
    path = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    model = open_clip.CLIP(**json.loads(json.dumps(CONFIG)))
    torch.save(model.state_dict(), path / "open_clip_pytorch_model.bin")
    (path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}})
    )
    return path


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(1)
    return torch.from_numpy(random.integers(0, 256, (6, 3, 40, 56), dtype=np.uint8))


PROMPTS = [
    Prompt(str(n), text) for n, text in enumerate(["a cat", "two dogs", "a cat", "rain", "the sea at night", "ö"])
]


def score(metric, images, prompts):
    return metric.score(images, metric.network(images), prompts).values


def test_it_agrees_with_open_clip_called_by_hand(folder, pictures):
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    with torch.no_grad():
        inputs = torch.stack([preprocess(Image.fromarray(p.permute(1, 2, 0).numpy())) for p in pictures])
        image = torch.nn.functional.normalize(model.encode_image(inputs), dim=-1)
        tokens = open_clip.get_tokenizer(f"local-dir:{folder}")([p.text for p in PROMPTS])
        text = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
        expected = (image * text).sum(-1).numpy()
    values = score(clip_score(model=str(folder)), pictures, PROMPTS)
    assert values["cosine"] == pytest.approx(expected, abs=1e-6)
    assert len(set(np.round(expected, 4))) == 6, "the network tells the pairs apart"


def test_the_three_scales_are_what_their_names_say(folder, pictures):
    metric = clip_score(model=str(folder))
    features = metric.network(pictures)
    features[0] *= -1  # A negative cosine shows where each scale clips.
    values = metric.score(pictures, features, PROMPTS).values
    assert values["cosine"][0] < 0
    assert values["x100"] == pytest.approx(100 * values["cosine"])
    assert {name: output.rescales for name, output in metric.outputs.items()} == {
        "cosine": None,
        "x100": "cosine",
        "clipscore": None,
    }
    assert values["clipscore"] == pytest.approx(2.5 * np.maximum(values["cosine"], 0))


def test_batch_and_order_do_not_move_a_value(folder, pictures):
    metric = clip_score(model=str(folder))
    whole = score(metric, pictures, PROMPTS)["cosine"]
    order = [4, 0, 5, 2, 1, 3]
    one_by_one = [score(clip_score(model=str(folder)), pictures[[i]], [PROMPTS[i]])["cosine"][0] for i in order]
    assert one_by_one == pytest.approx(whole[order], abs=1e-6)


def test_colours_and_brightness_count(folder, pictures):
    metric = clip_score(model=str(folder))
    whole = score(metric, pictures, PROMPTS)["cosine"]
    for other in (pictures.flip(1), 255 - pictures):
        assert np.abs(score(metric, other, PROMPTS)["cosine"] - whole).max() > 1e-3


def test_a_prefix_goes_before_every_text_and_into_the_protocol(folder, pictures):
    plain, prefixed = clip_score(model=str(folder)), clip_score(model=str(folder), prefix="A photo depicts ")
    by_hand = score(plain, pictures, [Prompt(p.id, "A photo depicts " + p.text) for p in PROMPTS])
    assert score(prefixed, pictures, PROMPTS)["cosine"] == pytest.approx(by_hand["cosine"])
    assert prefixed.protocol()["prefix"] == "A photo depicts "
    assert prefixed.protocol() != plain.protocol()
    assert prefixed.network.key == plain.network.key


def test_long_prompts_are_cut_and_counted(folder):
    metric = clip_score(model=str(folder))
    prompts = [Prompt("short", "a cat"), Prompt("full", "cat " * 75), Prompt("long", "cat " * 76)]
    assert metric.remarks(prompts) == ["1 of 3 prompts have over 77 tokens and were cut for CLIP: long"]
    assert metric.remarks(prompts[:2]) == []


def test_the_two_long_prompts_of_drawbench_are_counted(folder, drawbench_csv):
    from drawbench.prompts import drawbench

    (remark,) = clip_score(model=str(folder)).remarks(drawbench(drawbench_csv).prompts)
    assert remark.startswith("2 of 200 prompts")
    assert remark.endswith(": 112, 114")


def test_the_weights_are_known_by_their_digest(folder):
    metric = clip_score(model=str(folder))
    data = (folder / "open_clip_pytorch_model.bin").read_bytes()
    assert metric.protocol()["weights sha256"] == hashlib.sha256(data).hexdigest()


def test_an_architecture_takes_a_file_of_weights_and_refuses_one_that_does_not_fit(
    folder, tmp_path, monkeypatch, pictures
):
    (tmp_path / "Tiny-8.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(tmp_path / "Tiny-8.json")
    weights = folder / "open_clip_pytorch_model.bin"
    metric = clip_score(model="Tiny-8", weights=weights)
    assert score(metric, pictures, PROMPTS)["cosine"].shape == (6,)
    assert metric.protocol()["network"].startswith("open_clip Tiny-8, configuration ")
    with pytest.raises(UserError, match=r"open_clip_pytorch_model\.bin does not fit RN50"):
        clip_score(model="RN50", weights=weights)


def test_the_architecture_is_part_of_the_protocol_and_a_folders_name_is_not(folder, tmp_path, pictures):
    def copy(name, **vision):
        path = tmp_path / name
        shutil.copytree(folder, path)
        config = json.loads((path / "open_clip_config.json").read_text())
        config["model_cfg"]["vision_cfg"] |= vision
        (path / "open_clip_config.json").write_text(json.dumps(config))
        return clip_score(model=str(path))

    same, other = copy("renamed"), copy("other", head_width=8)
    first = clip_score(model=str(folder))
    assert (same.protocol(), same.network.key) == (first.protocol(), first.network.key)
    assert other.protocol() != first.protocol()
    assert other.network.key != first.network.key
    assert score(other, pictures, PROMPTS)["cosine"] != pytest.approx(
        score(first, pictures, PROMPTS)["cosine"], abs=1e-6
    )


def test_a_file_for_an_architecture_with_several_kinds_of_weights_must_say_whose_it_is(tmp_path):
    """The activation that weights were trained with stands nowhere in the file."""
    torch.manual_seed(0)
    torch.save(open_clip.create_model("ViT-B-32").state_dict(), tmp_path / "w.pt")
    with pytest.raises(UserError, match="say whose these are: --set clip_score.tag=TAG"):
        clip_score(weights=tmp_path / "w.pt")
    quick, own = clip_score(weights=tmp_path / "w.pt", tag="openai"), clip_score(weights=tmp_path / "w.pt", tag="own")
    assert quick.protocol()["activation"] == "QuickGELU"
    assert own.protocol()["activation"] == "of the architecture"


def test_a_tags_activation_is_the_one_it_was_trained_with(folder, tmp_path, cache):
    """open_clip only warns where OpenAI's weights meet an architecture with the wrong GELU."""
    torch.manual_seed(0)
    (cache / "weights").mkdir()
    model = open_clip.create_model("ViT-B-32", force_quick_gelu=True)
    torch.save(model.state_dict(), cache / "weights" / "ViT-B-32-openai.pt")
    metric = clip_score()
    assert metric.protocol()["activation"] == "QuickGELU"
    image = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    preprocess = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg), is_train=False
    )
    with torch.no_grad():
        expected = model.eval().encode_image(
            preprocess(Image.fromarray(image[0].permute(1, 2, 0).numpy()))[None], normalize=True
        )
    assert torch.allclose(metric.network(image), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "ViT-B-33"}, "open_clip has no model 'ViT-B-33'; did you mean 'ViT-B-32'?"),
        ({"tag": "openay"}, "ViT-B-32 has no weights with the tag 'openay'; did you mean 'openai'?"),
        ({"model": "FOLDER", "tag": "openai"}, "is a folder with its own weights"),
        ({"model": "EMPTY"}, "needs open_clip_config.json"),
        ({"weights": "nowhere.pt"}, "nowhere.pt is not there"),
    ],
)
def test_what_is_set_wrong_is_said(folder, tmp_path, options, message):
    from pathlib import Path

    options = {key: {"FOLDER": str(folder), "EMPTY": str(tmp_path)}.get(value, value) for key, value in options.items()}
    if "weights" in options:
        options["weights"] = Path(options["weights"])
    with pytest.raises(UserError) as caught:
        clip_score(**options)
    assert message in str(caught.value)


def test_weights_that_are_nowhere_are_named_with_their_size_and_place(cache):
    with pytest.raises(AssetMissing) as caught:
        clip_score(model="ViT-L-14")
    message = str(caught.value)
    assert "ViT-L-14 'openai' (about 1.7 GB)" in message
    assert str(cache / "weights" / "ViT-L-14-openai.safetensors") in message
    assert "DRAWBENCH_CACHE" in message


def test_a_folder_with_two_files_of_weights_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "clip")
    shutil.copy(tmp_path / "clip" / "open_clip_pytorch_model.bin", tmp_path / "clip" / "another.bin")
    with pytest.raises(UserError, match=r"2 files of weights \(another.bin, open_clip_pytorch_model.bin\)"):
        clip_score(model=str(tmp_path / "clip"))


def test_what_clip_sees_is_what_open_clips_own_transform_makes_of_it_to_the_last_bit(folder):
    from drawbench.metrics.clip_input import prepare

    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    network = clip_score(model=str(folder)).network
    for height, width in ((40, 57), (33, 32), (512, 300), (32, 32), (20, 31)):
        random = np.random.default_rng(height)
        images = torch.from_numpy(random.integers(0, 256, (3, 3, height, width), dtype=np.uint8))
        by_hand = torch.stack([preprocess(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images])
        assert torch.equal(prepare(images, network._input, "cpu"), by_hand)


def test_a_text_that_is_read_no_further_than_its_end_has_the_same_embedding(folder):
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    texts = ["", "a cat", "two dogs", "a cat " * 20, "cat " * 80, "the end <end_of_text> and on"] + ["rain"] * 40
    with torch.no_grad():
        whole = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(texts), normalize=True)
    found = clip_score(model=str(folder)).network.encode_text(texts)
    assert torch.allclose(found, whole, atol=1e-6)
    apart = torch.cdist(found[:7], found[:7]) + 9 * torch.eye(7)
    assert apart.min() > 1e-3, "the network tells the texts apart"


def test_a_text_encoder_that_sees_ahead_is_given_its_full_length(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "clip")
    config = json.loads((tmp_path / "clip" / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"no_causal_mask": True}
    (tmp_path / "clip" / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{tmp_path / 'clip'}").eval()
    with torch.no_grad():
        whole = model.encode_text(open_clip.get_tokenizer("ViT-B-32")(["a cat", "rain in the sea"]), normalize=True)
    found = clip_score(model=str(tmp_path / "clip")).network.encode_text(["a cat", "rain in the sea"])
    assert torch.allclose(found, whole, atol=1e-6)


def test_the_shapes_worlds_clip_notices_what_was_done_to_an_image():
    """Scores of right pictures fall where channels are swapped or values inverted: the peers' silent faults."""
    from drawbench.generators.shapes_truth import shapes_truth
    from drawbench.interfaces import Item
    from drawbench.shapes.prompts import shapes

    prompts = [prompt for prompt in shapes().prompts if "colo" in (prompt.category or "").lower()][:12]
    drawn = shapes_truth().generate([Item(prompt, 0, n) for n, prompt in enumerate(prompts)])
    images = torch.from_numpy(np.stack([np.asarray(one.image) for one in drawn])).permute(0, 3, 1, 2)
    metric = clip_score(model="shapes")
    right = score(metric, images, prompts)["cosine"].mean()
    for other in (images.flip(1), 255 - images):
        assert score(metric, other, prompts)["cosine"].mean() < right - 0.05


def test_bf16_moves_the_shapes_worlds_score_by_less_than_a_thousandth(pictures):
    images = torch.nn.functional.interpolate(pictures.float(), (64, 64)).byte()
    fp32, bf16 = (score(clip_score(model="shapes", dtype=d), images, PROMPTS)["cosine"] for d in ("fp32", "bf16"))
    assert abs((bf16 - fp32).mean()) < 1e-3
    assert np.abs(bf16 - fp32).max() < 1e-2


def test_an_empty_text_has_a_score(folder, pictures):
    assert np.isfinite(score(clip_score(model=str(folder)), pictures[:1], [Prompt("1", "")])["cosine"]).all()
