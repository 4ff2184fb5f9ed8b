"""The shipped CLIP: whole, as its card says, and loadable as anyone loads one."""

import re
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

import drawbench.shapes
from drawbench.files import sha256_file
from drawbench.interfaces import Prompt
from drawbench.metrics.clip_score import clip_score
from drawbench.shapes.data import held_out_pair

CLIP = Path(drawbench.shapes.__file__).parent / "weights" / "clip"
FILES = {CLIP: "open_clip_model.safetensors"}


@pytest.mark.parametrize("folder", FILES, ids=lambda folder: folder.name)
def test_a_card_tells_of_the_file_beside_it(folder):
    card = (folder / "CARD.md").read_text()
    assert re.findall(r"\| sha256 \| `([0-9a-f]{64})` \|", card) == [sha256_file(folder / FILES[folder])]
    for row in ("Data", "Recipe", "Seed", "Command", "Hardware", "Time", "Licence", "File"):
        assert f"| {row} | " in card
    assert f"{(folder / FILES[folder]).stat().st_size:,} bytes" in card


def test_it_is_small_enough_to_ship():
    assert sum(path.stat().st_size for folder in FILES for path in folder.iterdir()) <= 6_000_000


def test_clip_tells_true_pairs_from_shuffled_ones():
    metric = clip_score(model=str(CLIP))
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
    from drawbench.shapes.prompts import shapes

    assert clip_score(model=str(CLIP)).remarks(shapes().prompts) == []
