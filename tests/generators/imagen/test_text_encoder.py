"""Text encoders and their cache on tiny networks that the tests save: agreement with transformers, padding, kills, errors."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from drawbench.cli.encode import encode as encode_command
from drawbench.errors import AssetMissing, UserError
from drawbench.generators.imagen import encoder_files, text_cache
from drawbench.generators.imagen.layers import Text
from drawbench.generators.imagen.text_cache import TextEmbeddings, embeddings_folder
from drawbench.generators.imagen.text_encoder import TextEncoder, TextEncoderConfig, pad
from drawbench.torchvision_ops import declare_missing_ops

declare_missing_ops()
import transformers  # noqa: E402

WORDS = ["a", "the", "cat", "dog", "two", "red", "blue", "horse", "rides", "on", "under", "over", "sea", "at", "night", "rain", "and", "of", "photo", "painting"]  # fmt: skip
TEXTS = [
    "a cat",
    "two red dog and a blue horse under the sea",
    "rain",
    "a photo of the sea at night",
    "the dog",
    "zebra",
]
KINDS = ["t5", "t5-gated", "byt5", "bert", "clip", "clip-whole"]
PROCESSORS = {
    "t5": processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)]),
    "bert": processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 3), ("[SEP]", 1)]),
    "clip": processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 3), ("</s>", 1)]),
}


def save_tokenizer(folder, family):
    special = {"t5": ["<pad>", "</s>", "<unk>"], "bert": ["[PAD]", "[SEP]", "[UNK]", "[CLS]"]}
    special = special.get(family, ["<pad>", "</s>", "<unk>", "<s>"])
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate([*special, *WORDS])}, unk_token=special[2]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = PROCESSORS[family]
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=special[0], eos_token=special[1], unk_token=special[2]
    ).save_pretrained(folder)


def save_encoder(folder, kind, seed=0):
    """Saves a tiny encoder as transformers saves one."""
    torch.manual_seed(seed)
    t5 = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
    text = {
        "vocab_size": 32,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    }
    tower = {"max_position_embeddings": 12, "bos_token_id": 3, "eos_token_id": 1, "pad_token_id": 0}
    if kind == "t5":  # With its decoder, as published.
        model = transformers.T5ForConditionalGeneration(transformers.T5Config(vocab_size=32, **t5))
    elif kind == "t5-gated":
        gated = transformers.T5Config(vocab_size=32, feed_forward_proj="gated-gelu", tie_word_embeddings=False, **t5)
        model = transformers.T5ForConditionalGeneration(gated)
    elif kind == "byt5":
        model = transformers.T5EncoderModel(transformers.T5Config(vocab_size=259, feed_forward_proj="gated-gelu", **t5))
    elif kind == "bert":  # With its heads, as published.
        model = transformers.BertForPreTraining(transformers.BertConfig(max_position_embeddings=20, **text))
    elif kind == "clip":
        model = transformers.CLIPTextModel(transformers.CLIPTextConfig(**text, **tower))
    else:
        picture = {**text, "num_hidden_layers": 1, "image_size": 8, "patch_size": 4}
        picture.pop("vocab_size")
        model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text | tower, vision_config=picture))
    for parameter in model.parameters():  # Larger than they start, so that layers and positions matter.
        parameter.data = parameter.data + 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    if kind != "byt5":
        save_tokenizer(folder, kind.partition("-")[0])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    for kind in KINDS:
        save_encoder(root / kind, kind)
    return root


def make(folder, dtype="fp32", max_tokens=256, **options):
    return TextEncoder(TextEncoderConfig(str(folder), dtype, max_tokens), **options)


def by_hand(folder, kind, texts):
    """The same by transformers alone, in one padded batch with its mask."""
    if kind == "byt5":
        tokenizer = transformers.ByT5Tokenizer(extra_ids=0)
    else:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = dict(tokenizer(texts, padding="longest", return_tensors="pt"))
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        if kind.startswith("clip"):
            model = transformers.CLIPTextModel.from_pretrained(folder).eval()
            hidden = model(**inputs, output_hidden_states=True).hidden_states[-2]
        elif kind == "bert":
            hidden = transformers.BertModel.from_pretrained(folder).eval()(**inputs).last_hidden_state
        else:
            hidden = transformers.T5EncoderModel.from_pretrained(folder).eval()(**inputs).last_hidden_state
    return hidden, inputs["attention_mask"].bool()


def forwards(encoder, monkeypatch):
    """Returns a list that grows by the number of texts at each pass through the network."""
    passes = []
    forward = encoder._forward
    monkeypatch.setattr(encoder, "_forward", lambda ids, mask: passes.append(len(ids)) or forward(ids, mask))
    return passes


@pytest.mark.parametrize("kind", KINDS)
def test_it_agrees_with_transformers_called_by_hand(folders, kind):
    texts = TEXTS if kind != "clip" else TEXTS[:1] + TEXTS[2:]
    text = make(folders / kind)(texts)
    hidden, mask = by_hand(folders / kind, kind, texts)
    assert isinstance(text, Text)
    assert text.mask.dtype == torch.bool
    assert torch.equal(text.mask, mask)
    torch.testing.assert_close(text.embeddings[mask], hidden[mask], rtol=1e-5, atol=1e-5)
    assert not text.embeddings[~mask].any()
    assert not text.embeddings.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_company_change_no_result(folders, kind):
    encoder = make(folders / kind)
    together = encoder(TEXTS)
    for index, text in enumerate(TEXTS):
        alone = encoder([text]).embeddings[0]
        torch.testing.assert_close(together.embeddings[index, : len(alone)], alone, rtol=1e-5, atol=1e-5)
        assert together.mask[index].sum() == len(alone)
    padded = pad(
        [row.embeddings for row in encoder.padded(TEXTS)]
    )  # By one pass, in which the shorter texts are padded.
    assert torch.equal(padded.mask, together.mask)
    torch.testing.assert_close(padded.embeddings, together.embeddings, rtol=1e-5, atol=1e-5)
    assert encoder.dim == together.embeddings.shape[2]
    backwards = make(folders / kind, batch_size=1)(TEXTS[::-1])
    torch.testing.assert_close(backwards.embeddings.flip(0), together.embeddings, rtol=1e-5, atol=1e-5)


def test_no_batch_that_reaches_the_network_has_padding(folders):
    encoder = make(folders / "t5", batch_size=2)
    encoder(["warm up"])
    seen = []
    encoder._network.register_forward_pre_hook(lambda _, args, given: seen.append(given), with_kwargs=True)
    encoder(TEXTS)
    assert sum(len(given["input_ids"]) for given in seen) == len(TEXTS)
    assert max(len(given["input_ids"]) for given in seen) == 2
    assert all((given["input_ids"] != 0).all() and given["attention_mask"].all() for given in seen)


@pytest.mark.parametrize("kind", ["clip", "clip-whole"])
def test_clip_gives_its_penultimate_layer_and_not_the_last(folders, kind):
    encoder = make(folders / kind)
    assert encoder.identity["layer"] == "penultimate"
    text = encoder(["a cat"])
    model = transformers.CLIPTextModel.from_pretrained(folders / kind).eval()
    with torch.no_grad():
        out = model(torch.tensor([[3, 4, 6, 1]]), output_hidden_states=True)
    torch.testing.assert_close(text.embeddings, out.hidden_states[-2], rtol=1e-5, atol=1e-5)
    for other in (out.last_hidden_state, out.hidden_states[-1], out.hidden_states[-3]):
        assert not torch.allclose(text.embeddings, other, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_twice_the_same_and_in_training_mode_never(folders, kind):
    encoder = make(folders / kind)
    first = encoder(TEXTS)
    assert not encoder._network.training
    assert not any(parameter.requires_grad for parameter in encoder._network.parameters())
    assert torch.equal(first.embeddings, encoder(TEXTS).embeddings)
    encoder.unload()
    assert torch.equal(first.embeddings, encoder(TEXTS).embeddings)
    assert torch.equal(first.embeddings, make(folders / kind)(TEXTS).embeddings)


def test_the_decoder_is_not_loaded(folders):
    encoder = make(folders / "t5")
    encoder(["a cat"])
    assert type(encoder._network).__name__ == "T5EncoderModel"
    assert not [name for name, _ in encoder._network.named_parameters() if "decoder" in name]


def test_cut_texts_keep_their_end_token_and_are_counted(folders):
    encoder = make(folders / "t5", max_tokens=5)
    with pytest.warns(UserWarning, match="2 of 6 texts have over 5 tokens and were cut"):
        text = encoder(TEXTS)
    assert text.mask.sum(1).tolist() == [3, 5, 2, 5, 3, 2]
    shorter = make(folders / "t5")(["a photo of the"]).embeddings[0]
    torch.testing.assert_close(text.embeddings[3], shorter, rtol=1e-5, atol=1e-5)
    embeddings = TextEmbeddings(encoder)
    embeddings.get(TEXTS)
    assert embeddings.cut(TEXTS) == [TEXTS[1], TEXTS[3]]
    assert TextEmbeddings(embeddings.folder).cut(TEXTS) == [TEXTS[1], TEXTS[3]]


@pytest.mark.parametrize(("kind", "limit"), [("clip", 12), ("clip-whole", 12), ("bert", 20), ("t5", 256)])
def test_a_networks_own_limit_counts_too(folders, kind, limit):
    encoder = make(folders / kind)
    assert encoder.limit == limit
    cut = next(encoder.encode([" ".join(["cat"] * 300)]))[1]
    assert (len(cut.embeddings), cut.tokens) == (limit, 301 if kind == "t5" else 302)


def test_too_few_tokens_are_refused(folders):
    with pytest.raises(UserError, match="max_tokens=3: give at least 4"):
        make(folders / "t5", max_tokens=3)


def test_bf16_is_the_dtype_of_the_weights_and_of_what_is_kept(folders):
    encoder = make(folders / "t5", "bf16")
    text = encoder(TEXTS)
    assert text.embeddings.dtype == torch.bfloat16
    kept = TextEmbeddings(encoder).get(TEXTS)
    assert kept.embeddings.dtype == torch.bfloat16
    assert torch.equal(kept.embeddings.view(torch.int16), text.embeddings.view(torch.int16))
    assert {p.dtype for p in encoder._network.parameters()} == {torch.bfloat16}
    assert make(folders / "t5")(["a cat"]).embeddings.dtype == torch.float32


def copy_of(folder, tmp_path, name="copy"):
    target = tmp_path / name
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_the_digest_is_of_all_that_can_move_an_embedding_and_not_of_the_place(folders, tmp_path):
    digest = make(folders / "t5").digest
    copy = copy_of(folders / "t5", tmp_path)
    assert make(copy).digest == digest
    others = [make(copy, "bf16").digest, make(copy, max_tokens=255).digest]
    for name in ("config.json", "tokenizer.json"):
        (copy / name).write_text((copy / name).read_text() + "\n")
        others.append(make(copy).digest)
    save_encoder(tmp_path / "other", "t5", seed=1)
    others.append(make(tmp_path / "other").digest)
    assert len({digest, *others}) == 6


def test_weights_are_read_for_their_digest_only_when_they_changed(folders, tmp_path, monkeypatch):
    copy = copy_of(folders / "t5", tmp_path)
    first = make(copy).digest
    read = []
    sha256_file = encoder_files.sha256_file
    monkeypatch.setattr(encoder_files, "sha256_file", lambda path: read.append(path.name) or sha256_file(path))
    assert make(copy).digest == first
    assert "model.safetensors" not in read
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").write_bytes(weights)
    assert make(copy).digest != first
    assert "model.safetensors" in read


def test_what_is_kept_is_what_was_encoded_and_is_not_computed_again(folders, monkeypatch):
    encoder = make(folders / "t5")
    passes = forwards(encoder, monkeypatch)
    embeddings = TextEmbeddings(encoder)
    first = embeddings.get([*TEXTS, TEXTS[0]])
    assert sum(passes) == len(TEXTS)
    again = embeddings.get([*TEXTS, TEXTS[0]])
    assert torch.equal(first.embeddings, again.embeddings)
    assert torch.equal(first.mask, again.mask)
    assert sum(passes) == len(TEXTS)
    reopened = TextEmbeddings(embeddings.folder)
    assert reopened.encoder is None
    for index, text in enumerate(TEXTS):
        alone = reopened.get([text])
        assert alone.mask.all()
        assert torch.equal(alone.embeddings[0], first.embeddings[index, : alone.mask.shape[1]])
    embeddings.get([*TEXTS, "a horse"])
    assert sum(passes) == len(TEXTS) + 1
    assert len(TextEmbeddings(embeddings.folder)) == len(TEXTS) + 1


def test_only_true_tokens_are_stored(folders):
    embeddings = TextEmbeddings(make(folders / "t5"))
    tokens = int(embeddings.get(TEXTS).mask.sum())
    assert [embeddings.folder / path.name for path in embeddings.folder.glob("*.safetensors")] == embeddings._shards
    with text_cache.safe_open(embeddings._shards[0], "pt") as file:
        assert file.get_slice("embeddings").get_shape() == [tokens, 16]


def test_another_encoder_has_its_own_entries(folders, tmp_path):
    ours = TextEmbeddings(make(folders / "t5"))
    ours.get(TEXTS)
    for other in (make(folders / "t5", "bf16"), make(folders / "t5", max_tokens=9), make(folders / "t5-gated")):
        theirs = TextEmbeddings(other)
        assert theirs.folder != ours.folder
        assert theirs.missing(TEXTS) == TEXTS
    theirs.get(["a cat"])
    stray = theirs._shards[0]
    stray.rename(ours.folder / stray.name)
    with pytest.raises(UserError, match="has embeddings of another encoder"):
        TextEmbeddings(ours.folder)


def test_many_shards_are_read_as_one(folders, monkeypatch):
    whole = make(folders / "t5")(TEXTS)
    monkeypatch.setattr(text_cache, "SHARD_BYTES", 1)
    monkeypatch.setattr(text_cache, "_PORTION", 2)
    embeddings = TextEmbeddings(make(folders / "t5"))
    counted = []
    assert embeddings.add(TEXTS, counted.append) == len(TEXTS)
    assert sum(counted) == len(TEXTS)
    assert len(embeddings._shards) == len(TEXTS)
    text = TextEmbeddings(embeddings.folder).get(TEXTS)
    torch.testing.assert_close(text.embeddings, whole.embeddings, rtol=1e-5, atol=1e-5)


def test_texts_without_embeddings_are_an_error_that_says_how_to_make_them(folders):
    embeddings = TextEmbeddings(make(folders / "clip"))
    embeddings.get(["a cat"])
    alone = TextEmbeddings(embeddings.folder)
    with pytest.raises(UserError) as caught:
        alone.get(["a cat", "rain", "a dog", "rain"])
    assert "2 of 3 texts have no embeddings in" in str(caught.value)
    command = f"drawbench encode --encoder {folders / 'clip'} --dtype fp32 --max-tokens 12 --prompts FILE"
    assert command in str(caught.value)
    with pytest.raises(UserError, match="was opened without an encoder"):
        alone.add(["rain"])


def test_a_folder_without_embeddings_is_an_error(cache):
    with pytest.raises(UserError, match="there are no text embeddings in .*drawbench encode"):
        TextEmbeddings(embeddings_folder("0" * 64))


def test_a_damaged_shard_is_named(folders):
    embeddings = TextEmbeddings(make(folders / "t5"))
    embeddings.get(["a cat"])
    embeddings._shards[0].write_bytes(embeddings._shards[0].read_bytes()[:50])
    with pytest.raises(UserError, match=f"{embeddings._shards[0].name} is damaged"):
        TextEmbeddings(embeddings.folder)


def test_an_interruption_keeps_what_was_encoded(folders, monkeypatch):
    encoder = make(folders / "t5", batch_size=1)
    passes = forwards(encoder, monkeypatch)
    embeddings = TextEmbeddings(encoder)
    encode = encoder.encode

    def interrupted(texts):
        for index, encoded in enumerate(encode(texts)):
            if index == 3:
                raise KeyboardInterrupt
            yield encoded

    monkeypatch.setattr(encoder, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embeddings.add(TEXTS)
    monkeypatch.setattr(encoder, "encode", encode)
    passes.clear()
    assert TextEmbeddings(encoder).add(TEXTS) == len(TEXTS) - 3
    assert sum(passes) == len(TEXTS) - 3


def in_another_process(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_kill_amid_a_write_leaves_a_cache_that_can_be_used(folders):
    script = """
        import os, signal, sys
        from drawbench.generators.imagen import encoder_files, text_cache, text_encoder
        from drawbench import files
        text_cache.SHARD_BYTES = 1
        encoder = text_encoder.TextEncoder(text_encoder.TextEncoderConfig(sys.argv[1], "fp32"))
        replace, shards = os.replace, []
        def replace_or_die(source, target):
            if str(target).endswith(".safetensors"):
                shards.append(target)
                if len(shards) == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)
        files.os.replace = replace_or_die
        text_cache.TextEmbeddings(encoder).add(sys.argv[2:])
    """
    died = in_another_process(script, folders / "t5", *TEXTS)
    assert died.returncode == -signal.SIGKILL, died.stderr
    embeddings = TextEmbeddings(make(folders / "t5"))
    leftovers = list(embeddings.folder.glob(".*.tmp"))
    assert len(embeddings) == 2
    assert len(leftovers) == 1
    assert embeddings.add(TEXTS) == len(TEXTS) - 2
    assert not leftovers[0].exists()
    kept = TextEmbeddings(embeddings.folder).get(TEXTS)
    torch.testing.assert_close(kept.embeddings, make(folders / "t5")(TEXTS).embeddings, rtol=1e-5, atol=1e-5)


def test_two_writers_disturb_each_other_in_nothing(folders):
    one, two = TextEmbeddings(make(folders / "t5")), TextEmbeddings(make(folders / "t5"))
    write, between = one._write, []

    def meanwhile(encoded):  # The other encodes some of the same after the first has looked, and before it writes.
        if not between:
            between.append(two.add(TEXTS[:4]))
        write(encoded)

    one._write = meanwhile
    assert one.add(TEXTS) == len(TEXTS)
    assert between == [4]
    assert two.missing(TEXTS) == []
    assert two.add(TEXTS) == 0
    reopened = TextEmbeddings(one.folder)
    assert len(reopened) == len(TEXTS)
    assert len(reopened._shards) == 2
    assert torch.equal(reopened.get(TEXTS).embeddings, TextEmbeddings(one.folder).get(TEXTS).embeddings)
    assert torch.equal(reopened.get(TEXTS[:4]).embeddings, two.get(TEXTS[:4]).embeddings)


def test_two_processes_fill_one_cache(folders):
    script = """
        import sys
        from drawbench.generators.imagen import encoder_files, text_cache, text_encoder
        text_cache.SHARD_BYTES = 1
        encoder = text_encoder.TextEncoder(text_encoder.TextEncoderConfig(sys.argv[1], "fp32"))
        text_cache.TextEmbeddings(encoder).get(sys.argv[2:])
    """
    arguments = [sys.executable, "-c", textwrap.dedent(script), str(folders / "t5")]
    running = [subprocess.Popen([*arguments, *part]) for part in (TEXTS, TEXTS[::-1])]
    assert [process.wait(120) for process in running] == [0, 0]
    embeddings = TextEmbeddings(embeddings_folder(make(folders / "t5").digest))
    assert embeddings.missing(TEXTS) == []
    hidden = make(folders / "t5")(TEXTS).embeddings
    torch.testing.assert_close(embeddings.get(TEXTS).embeddings, hidden, rtol=1e-5, atol=1e-5)


def test_a_t5_on_bytes_needs_no_tokenizer_and_a_t5_whose_tokenizer_was_forgotten_is_refused(folders, tmp_path):
    assert not list((folders / "byt5").glob("*token*"))
    assert make(folders / "byt5")(["aö"]).mask.shape == (1, 4)
    copy = copy_of(folders / "t5", tmp_path)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="has no tokenizer; it needs one of tokenizer.json, spiece.model"):
        make(copy)


def test_a_published_t5_with_a_sentencepiece_vocabulary_is_read(folders, tmp_path):
    pytest.importorskip("sentencepiece", reason="reads the vocabulary of a published T5 v1.1")
    from sentencepiece import sentencepiece_model_pb2 as proto

    vocabulary = proto.ModelProto()
    vocabulary.trainer_spec.model_type, vocabulary.trainer_spec.unk_id = 1, 2
    pieces = [("<pad>", 3), ("</s>", 3), ("<unk>", 2), ("▁", 1), ("▁a", 1), ("▁cat", 1)]
    for number, (piece, kind) in enumerate(pieces):
        vocabulary.pieces.add(piece=piece, score=-float(number), type=kind)
    torch.manual_seed(0)
    small = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 4}
    transformers.T5EncoderModel(transformers.T5Config(vocab_size=128, **small)).save_pretrained(tmp_path)
    (tmp_path / "spiece.model").write_bytes(vocabulary.SerializeToString())
    encoder = make(tmp_path)
    assert encoder(["a cat"]).mask.shape == (1, 3)
    assert encoder._tokens(["a cat"]) == ([3], [[4, 5, 1]])


def test_a_model_that_is_not_here_is_named_with_its_size_and_its_place(cache):
    with pytest.raises(AssetMissing) as caught:
        TextEncoder(TextEncoderConfig())
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert "the text encoder google/t5-v1_1-xxl (45 GB to fetch; its encoder has 4.6 B parameters" in message
    assert "9.5 GB in bf16" in message
    assert f"put it at {cache / 'weights' / 'google' / 't5-v1_1-xxl'}" in message
    assert "--encoder FOLDER" in message
    with pytest.raises(AssetMissing, match=r"google/flan-t5-xl \(11 GB"):
        TextEncoder(TextEncoderConfig("google/flan-t5-xl"))
    with pytest.raises(AssetMissing, match="some/thing .of unknown size"):
        TextEncoder(TextEncoderConfig("some/thing"))


def test_a_model_in_the_cache_is_found_by_its_name(folders, cache):
    place = cache / "weights" / "google" / "t5-tiny"
    place.mkdir(parents=True)
    for path in (folders / "t5").iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    assert TextEncoder(TextEncoderConfig("google/t5-tiny", "fp32")).digest == make(folders / "t5").digest


def test_a_model_in_the_hubs_cache_is_found_by_its_name(folders, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = "0" * 40
    repository = tmp_path / "models--google--t5-tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).parent.mkdir()
    (repository / "snapshots" / commit).symlink_to(folders / "t5")
    encoder = TextEncoder(TextEncoderConfig("google/t5-tiny", "fp32"))
    assert encoder.digest == make(folders / "t5").digest


def with_older_weights(folder, tmp_path, extra):
    """Returns a copy whose weights are a pickle."""
    from safetensors.torch import load_file

    copy = copy_of(folder, tmp_path)
    torch.save(load_file(copy / "model.safetensors") | extra, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    return copy


def test_weights_of_the_older_kind_are_read(folders, tmp_path):
    older = make(with_older_weights(folders / "t5", tmp_path, {}))
    assert older.digest != make(folders / "t5").digest
    assert torch.equal(older(TEXTS).embeddings, make(folders / "t5")(TEXTS).embeddings)


class Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_weights_of_the_older_kind_is_not_run(folders, tmp_path):
    copy = with_older_weights(folders / "t5", tmp_path, {"code": Code(tmp_path / "it-ran")})
    with pytest.raises(UserError, match="could not be loaded"):
        make(copy)(["a cat"])
    assert not (tmp_path / "it-ran").exists()


def lose_a_tensor(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.block.1.layer.0.SelfAttention.q.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def change_config(**fields):
    def change(folder):
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(settings | fields))

    return change


def lose_a_part(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights: neither model.safetensors nor"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"nothing"), "could not be loaded"),
        (lose_a_part, "lacks 1 of 2 weight files, first model-00002-of-00002.safetensors"),
        (lose_a_tensor, "lack 1 tensors of T5EncoderModel, first encoder.block.1.layer.0.SelfAttention.q.weight"),
        (change_config(model_type="gpt2"), "is of the type 'gpt2'; allowed are T5"),
        (change_config(d_model=8), "could not be loaded"),
        (lambda folder: save_encoder_with_few_rows(folder), "the tokenizer in .* has 23 tokens, the network 10"),
    ],
)
def test_a_folder_that_cannot_be_used_is_an_error_that_says_why(folders, tmp_path, harm, message):
    copy = copy_of(folders / "t5", tmp_path)
    harm(copy)
    with pytest.raises(UserError, match=message):
        make(copy)(["a cat"])


def save_encoder_with_few_rows(folder):
    small = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 4}
    transformers.T5EncoderModel(transformers.T5Config(vocab_size=10, **small)).save_pretrained(folder)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UserError, match="there is no such folder; give one, or a name on the hub"):
        make(tmp_path / "nowhere")


def test_values_that_are_not_finite_are_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = copy_of(folders / "t5", tmp_path)
    tensors = load_file(copy / "model.safetensors")
    tensors["encoder.final_layer_norm.weight"][0] = float("inf")
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="not finite for 'a cat' in fp32"):
        make(copy)(["a cat"])


def command(*arguments):
    return CliRunner().invoke(encode_command, list(map(str, arguments)))


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("id,prompt\n" + "".join(f"p{number},{text}\n" for number, text in enumerate([*TEXTS, TEXTS[0]])))
    return path


def test_the_command_fills_the_cache_and_says_what_it_did(folders, prompts, monkeypatch):
    arguments = ("--encoder", folders / "t5", "--prompts", prompts, "--dtype", "fp32", "--max-tokens", "5")
    done = command(*arguments)
    assert done.exit_code == 0, done.output
    embeddings = TextEmbeddings(make(folders / "t5", max_tokens=5))
    size = f"{embeddings.size() / 1e6:.1f} MB in {embeddings.folder}"
    assert done.stdout == f"6 texts: 6 encoded, 0 were there, 2 cut at 5 tokens; {size}\n"
    assert "note: the encoder did not see the end of 2 texts: p1, p3" in done.stderr
    assert "6/6" in done.stderr
    assert TextEmbeddings(embeddings.folder).get(TEXTS).mask.sum(1).tolist() == [3, 5, 2, 5, 3, 2]

    monkeypatch.setattr(TextEncoder, "_load", lambda self: pytest.fail("the network was loaded again"))
    again = command(*arguments)
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith("6 texts: 0 encoded, 6 were there, 2 cut at 5 tokens;")


def test_the_command_in_a_process_of_its_own_adds_only_what_is_new(folders, prompts, tmp_path):
    more = tmp_path / "more.txt"
    more.write_text("a cat\na red cat\n")
    arguments = ["--encoder", str(folders / "clip"), "--prompts", str(prompts)]
    assert command(*arguments).stdout.startswith("6 texts: 6 encoded, 0 were there, 0 cut at 12 tokens;")
    start = [sys.executable, "-c", "from drawbench.cli.encode import encode; encode()"]
    both = [*start, *arguments, "--prompts", str(more)]
    second = subprocess.run(both, capture_output=True, text=True, timeout=120)
    assert second.stdout.startswith("7 texts: 1 encoded, 6 were there, 0 cut at 12 tokens;")
    assert TextEmbeddings(make(folders / "clip", "bf16")).missing([*TEXTS, "a red cat"]) == []


def test_the_command_gives_a_missing_models_error(prompts):
    done = command("--encoder", "google/t5-v1_1-small", "--prompts", prompts)
    assert isinstance(done.exception, AssetMissing)


def test_importing_the_command_loads_no_torch():
    script = "import sys, drawbench.cli.encode; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert in_another_process(script).stdout == "[]\n"


def test_sampling_from_the_cache_loads_no_transformers(folders):
    embeddings = TextEmbeddings(make(folders / "t5"))
    embeddings.get(TEXTS)
    script = """
        import sys
        from pathlib import Path
        from drawbench.generators.imagen.text_cache import TextEmbeddings
        print(len(TextEmbeddings(Path(sys.argv[1])).get(sys.argv[2:]).mask), "transformers" in sys.modules)
    """
    done = in_another_process(script, embeddings.folder, *TEXTS)
    assert done.stdout == "6 False\n", done.stderr
    assert os.path.isdir(embeddings.folder)
    assert Path(embeddings.folder).name == embeddings.digest[:16]
