"""CLIPs of transformers: the same weights give the same numbers as in open_clip, and a folder that is not whole is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import save_open_clip, save_transformers

import drawbench.metrics.hf_clip
from drawbench.errors import AssetMissing, UserError
from drawbench.interfaces import Network, Prompt
from drawbench.metrics.clip import load_clip
from drawbench.metrics.clip_score import clip_score
from drawbench.metrics.fd import fd

TEXTS = ["a cat", "two dogs on a sofa, it's ö", "", "cat " * 80, "rain", "A café &  “quotes” 123"]
PROMPTS = [Prompt(str(n), text) for n, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(open_clip folder, its model, transformers folder, its CLIPModel), of the same weights."""
    folder = tmp_path_factory.mktemp("both")
    model = save_open_clip(folder / "open_clip")
    return folder / "open_clip", model, folder / "hf", save_transformers(folder / "hf", model)


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(1)
    return torch.from_numpy(random.integers(0, 256, (6, 3, 47, 64), dtype=np.uint8))


@pytest.fixture
def copy(both, tmp_path):
    shutil.copytree(both[2], tmp_path / "hf")
    return tmp_path / "hf"


def cosines(metric, images, prompts=PROMPTS):
    return metric.score(images, metric.network(images), prompts).values["cosine"]


def test_it_agrees_with_transformers_called_by_hand(both, pictures):
    import transformers

    *_, folder, model = both
    processor = transformers.CLIPImageProcessorPil.from_pretrained(folder)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    with torch.no_grad():
        images = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in pictures]
        image = model.get_image_features(**processor(images=images, return_tensors="pt")).pooler_output
        read = tokenizer(TEXTS, padding=True, truncation=True, max_length=77, return_tensors="pt")
        text = model.get_text_features(**read).pooler_output
        expected = torch.nn.functional.cosine_similarity(image, text).numpy()
    found = cosines(clip_score(model=f"hf:{folder}"), pictures)
    assert found == pytest.approx(expected, abs=1e-5)
    assert len(set(np.round(expected, 3))) == len(TEXTS), "the network tells the pairs apart"


def test_it_agrees_with_open_clip_on_the_same_weights(both, pictures):
    ours, _, theirs, _ = (clip_score(model=str(part)) if n in (0, 2) else part for n, part in enumerate(both))
    even = pictures[:, :, :, :61]  # Margins that need no rounding: the two libraries' centre crops round differently.
    plain = [*PROMPTS[:5], Prompt("5", "A café & 123 cats")]
    assert cosines(theirs, even, plain) == pytest.approx(cosines(ours, even, plain), abs=1e-5)


def test_the_libraries_read_typographic_quotes_differently(both):
    """OpenAI's own tokenizer, and open_clip's, make them plain first; transformers' does not: one model, two numbers."""
    ours, theirs = (load_clip("x", str(folder), None, None, "cpu", "fp32") for folder in (both[0], both[2]))
    (plain,), (typographic,) = ours.token_ids(['"a"']), ours.token_ids(["“a”"])
    assert plain == typographic
    assert theirs.token_ids(['"a"']) != theirs.token_ids(["“a”"])


def test_the_token_that_ends_a_text_is_found_in_old_and_new_configurations(both, copy, pictures):
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2  # As in the published files.
    (copy / "config.json").write_text(json.dumps(config))
    old, new = clip_score(model=str(copy)), clip_score(model=str(both[2]))
    assert cosines(old, pictures) == pytest.approx(cosines(new, pictures), abs=1e-6)


def test_texts_do_not_depend_on_what_they_are_batched_with(both):
    network = load_clip("x", str(both[2]), None, None, "cpu", "fp32")
    together = network.encode_text(TEXTS)
    alone = torch.cat([network.encode_text([text]) for text in TEXTS])
    assert torch.allclose(together, alone, atol=1e-6)
    assert network.tokens(TEXTS[3]) == 82
    assert len(network.token_ids(TEXTS)[3]) == network.context_length == 77


def test_batch_order_and_channels(both, pictures):
    metric = clip_score(model=str(both[2]))
    whole = cosines(metric, pictures)
    order = [4, 0, 5, 2, 1, 3]
    alone = [cosines(metric, pictures[[i]], [PROMPTS[i]])[0] for i in order]
    assert alone == pytest.approx(whole[order], abs=1e-6)
    for other in (pictures.flip(1), 255 - pictures):
        assert np.abs(cosines(metric, other) - whole).max() > 1e-3


def test_floats_are_refused_and_not_divided_twice(both, pictures):
    for folder in (both[0], both[2]):
        with pytest.raises(UserError, match="whose range nobody can know"):
            clip_score(model=str(folder)).network(pictures.float() / 255)


def test_it_is_a_network_and_its_protocol_names_the_weights_and_not_the_place(both, copy):
    first, moved = clip_score(model=str(both[2])), clip_score(model=f"hf:{copy}")
    assert isinstance(first.network, Network)
    assert first.protocol() == moved.protocol()
    assert first.network.key == moved.network.key
    assert len(first.protocol()["model.safetensors sha256"]) == 64
    assert first.protocol()["resize"] == "shortest edge to 32, bicubic, Pillow, uint8; centre crop 32x32"
    settings = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(settings | {"resample": 2}))
    other = clip_score(model=str(copy))
    assert other.network.key != first.network.key


def test_a_folder_with_both_configurations_is_open_clips_unless_it_says_hf(both, copy):
    shutil.copy(both[0] / "open_clip_config.json", copy)
    shutil.copy(both[0] / "open_clip_pytorch_model.bin", copy)
    (copy / "model.safetensors").rename(copy.parent / "kept.safetensors")
    assert clip_score(model=str(copy)).protocol()["network"].startswith("open_clip")
    (copy.parent / "kept.safetensors").rename(copy / "model.safetensors")
    assert clip_score(model=f"hf:{copy}").protocol()["network"].startswith("transformers")


def test_bf16_stays_near_for_both_libraries(both, pictures):
    for folder in (both[0], both[2]):
        fp32, bf16 = clip_score(model=str(folder)), clip_score(model=str(folder), dtype="bf16")
        assert cosines(bf16, pictures) == pytest.approx(
            cosines(fp32, pictures), abs=0.08
        )  # Weights three times too large.
        assert bf16.network.key != fp32.network.key


def test_weights_that_are_nowhere_are_named_with_their_size_and_place(cache):
    with pytest.raises(AssetMissing) as caught:
        clip_score(model="hf:openai/clip-vit-base-patch32")
    message = str(caught.value)
    assert "openai/clip-vit-base-patch32 (about 0.6 GB)" in message
    assert str(cache / "weights" / "openai" / "clip-vit-base-patch32") in message
    assert caught.value.exit_code == 3


def test_what_the_hubs_client_has_without_its_weights_is_missing_too(both, tmp_path, monkeypatch):
    """An encoder of texts that was fetched by name leaves a folder with a tokenizer and no weights of a whole CLIP."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(tmp_path))
    shutil.copy(both[2] / "config.json", tmp_path)
    with pytest.raises(AssetMissing, match="openai/clip-vit-large-patch14 .about 1.7 GB."):
        clip_score(model="hf:openai/clip-vit-large-patch14")
    for name in ("model.safetensors", "vocab.json", "merges.txt", "preprocessor_config.json", "tokenizer_config.json"):
        shutil.copy(both[2] / name, tmp_path)
    assert clip_score(model="hf:openai/clip-vit-large-patch14").network.context_length == 77


def test_the_cache_is_looked_in_by_the_hubs_name(both, cache, pictures):
    shutil.copytree(both[2], cache / "weights" / "me" / "clip")
    assert cosines(clip_score(model="hf:me/clip"), pictures) == pytest.approx(
        cosines(clip_score(model=str(both[2])), pictures)
    )


def test_a_set_metric_takes_it_too(both, tmp_path):
    for n in range(3):
        Image.new("RGB", (40, 40), (80 * n, 0, 0)).save(tmp_path / f"{n}.png")
    metric = fd(model=f"hf:{both[2]}", reference=str(tmp_path))
    assert metric.network.key == clip_score(model=str(both[2])).network.key


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "preprocessor_config.json").unlink(), "lacks preprocessor_config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
        (lambda f: [(f / name).unlink() for name in ("vocab.json", "merges.txt")], "has no tokenizer"),
        (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
        (lambda f: _set(f / "config.json", model_type="siglip"), "of the type 'siglip'"),
        (lambda f: _set(f / "preprocessor_config.json", image_processor_type="ViTImageProcessor"), "ViTImageProcessor"),
        (lambda f: _set(f / "preprocessor_config.json", do_rescale=False), "in a way of its own"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), "could not be loaded"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(copy, harm, message):
    harm(copy)
    with pytest.raises(UserError, match=message):
        clip_score(model=f"hf:{copy}")


def test_weights_that_lack_a_tensor_are_refused_and_not_filled_with_noise(copy):
    from safetensors.torch import load_file, save_file

    state = load_file(copy / "model.safetensors")
    del state["text_projection.weight"]
    save_file(state, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lack 1 tensors of its config.json, first text_projection.weight"):
        clip_score(model=str(copy))


def test_a_tokenizer_of_another_model_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 49000
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="are not of one model"):
        clip_score(model=str(copy))


def test_loading_says_nothing(both, capfd):
    clip_score(model=str(both[2]))
    assert capfd.readouterr() == ("", "")


def test_a_tag_or_a_file_with_it_is_refused(both):
    with pytest.raises(UserError, match="give no tag, no weights"):
        clip_score(model=f"hf:{both[2]}", tag="openai")
    with pytest.raises(UserError, match="there is no such folder"):
        clip_score(model="hf:nowhere")


def _set(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_library_that_hands_over_a_tensor_is_understood():
    """transformers 4 gave the embedding itself, 5 gives an object that holds it."""
    rows = torch.tensor([[3.0, 4.0]])
    assert torch.equal(drawbench.metrics.hf_clip._unit(rows), torch.tensor([[0.6, 0.8]]))
