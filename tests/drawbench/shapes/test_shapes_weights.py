"""The weights that ship: whole, as their cards say, small, found by their name, and good for what they are there for."""

import re
from random import Random

import numpy as np
import pytest
import torch

from drawbench.files import sha256_file
from drawbench.generators.imagen.checkpoint import find_checkpoint, open_checkpoint
from drawbench.generators.imagen.config import SHAPES as STAGES
from drawbench.generators.imagen.text_encoder import TextEncoder, TextEncoderConfig
from drawbench.interfaces import Prompt
from drawbench.metrics.clip_score import clip_score
from drawbench.shapes.data import held_out_pair
from drawbench.shapes.phrases import RARE_COLOURS
from drawbench.shapes.prompts import shapes
from drawbench.shapes.shipped import SHAPES, shipped

FILES = {
    "text": ["model.safetensors"],
    "clip": ["open_clip_model.safetensors"],
    "imagen": ["base.safetensors", "sr256.safetensors", "sr1024.safetensors"],
}


@pytest.mark.parametrize("what", FILES)
def test_a_card_tells_of_the_files_beside_it(what):
    folder = shipped(what)
    card = (folder / "CARD.md").read_text()
    files = [folder / name for name in FILES[what]]
    assert re.findall(r"\| sha256 \| `([0-9a-f]{64})` \|", card) == [sha256_file(file) for file in files]
    for row in ("Data", "Recipe", "Seed", "Command", "Hardware", "Time", "Licence", "File"):
        assert f"| {row} | " in card
    for file in files:
        assert f"{file.stat().st_size:,} bytes" in card


def test_together_they_are_small_enough_to_ship():
    assert sum(path.stat().st_size for path in shipped("clip").parent.rglob("*") if path.is_file()) <= 20e6


def test_the_cascade_is_that_of_its_preset_and_was_trained_on_the_text_encoder_beside_it():
    checkpoint = open_checkpoint(find_checkpoint(SHAPES))
    assert checkpoint.stages == STAGES
    assert checkpoint.text_encoder.name == SHAPES
    assert TextEncoder(checkpoint.text_encoder).digest == checkpoint.text_encoder_digest


def test_the_text_encoder_reads_bytes():
    texts = ["A red circle.", 'A sign that says "FOX".']
    text = TextEncoder(TextEncoderConfig(name=SHAPES, dtype="fp32"))(texts)
    assert text.embeddings.shape[-1] == 128
    assert text.mask.sum(1).tolist() == [len(text) + 1 for text in texts]


def test_the_text_encoder_has_rare_colours_near_their_plain_names():
    encoder = TextEncoder(TextEncoderConfig(name=SHAPES, dtype="fp32"))

    def vector(word):
        (encoded,) = encoder.padded([f"A {word} square on a dark background."])
        return encoded.embeddings[2 : 2 + len(word)].mean(0)

    plain = torch.stack([vector(word) for word in RARE_COLOURS])
    middle = plain.mean(0)
    nearest = [
        int(torch.cosine_similarity(vector(rare) - middle, plain - middle, dim=-1).argmax()) == number
        for number, rares in enumerate(RARE_COLOURS.values())
        for rare in rares
    ]
    assert np.mean(nearest) >= 0.6  # One in six by chance.


def test_clip_tells_true_pairs_from_shuffled_ones():
    metric = clip_score(model=SHAPES)
    pairs = [held_out_pair(index, 64) for index in range(40)]
    images = torch.from_numpy(np.stack([np.asarray(picture) for picture, _ in pairs])).permute(0, 3, 1, 2)
    features = metric.network(images)
    captions = [caption for _, caption in pairs]
    others = captions[1:] + captions[:1]
    assert all(one != other for one, other in zip(captions, others, strict=True))

    def cosines(texts):
        return metric.score(images, features, [Prompt(str(n), text) for n, text in enumerate(texts)]).values["cosine"]

    assert (cosines(captions) > cosines(others)).mean() >= 0.95
    assert cosines(captions).mean() > cosines(Random(0).sample(captions, 40)).mean() + 0.2


def test_clip_cuts_no_prompt_of_the_shapes_world():
    assert clip_score(model=SHAPES).remarks(shapes().prompts) == []
