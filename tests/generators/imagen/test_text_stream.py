"""An endless stream of captions: on a CPU the same bits whatever came before, elsewhere no more memory than allowed."""

import torch
from picture_book import make_encoder

from drawbench.generators.imagen.text_encoder import TextEncoder, TextEncoderConfig
from drawbench.generators.imagen.text_stream import TextStream

CAPTIONS = ["a cat", "two red dogs and a blue horse", "rain", "a cat", "night over the sea"]


def test_a_captions_embeddings_have_the_same_bits_whatever_came_before(tmp_path):
    encoder = TextEncoder(TextEncoderConfig(str(make_encoder(tmp_path)), "fp32", 64))
    fresh = TextStream(encoder)(CAPTIONS)
    assert torch.equal(fresh.embeddings[0], fresh.embeddings[3])
    torch.testing.assert_close(fresh.embeddings, encoder(CAPTIONS).embeddings, rtol=1e-5, atol=1e-5)
    used = TextStream(encoder)
    for text in ("something else", "rain", "a much longer text than any of the others here"):
        used([text, CAPTIONS[1]])
    again = used(CAPTIONS)
    assert torch.equal(again.embeddings, fresh.embeddings)
    assert torch.equal(again.mask, fresh.mask)


def test_it_forgets_what_was_not_asked_for_lately(tmp_path):
    encoder = TextEncoder(TextEncoderConfig(str(make_encoder(tmp_path)), "fp32", 64))
    stream = TextStream(encoder, kept_bytes=2000)
    stream(CAPTIONS)
    assert not stream._kept
    encoder.device = "cpu:0"  # Not "cpu", but as good a place: what a GPU's stream does.
    for number in range(50):
        stream([f"text {number}"])
        assert stream._bytes == sum(one.nbytes for one in stream._kept.values()) <= 2000
    assert list(stream._kept)[-1] == "text 49"
    assert "text 0" not in stream._kept
    assert stream.cut == 0
    stream(["a text of more than sixty-four bytes, which is what this encoder was told to take"])
    assert stream.cut == 1
