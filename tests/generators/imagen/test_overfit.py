"""The proof that it learns: trained by the real command on a few pictures, it draws the one that is asked for."""

import numpy as np
import pytest
from click.testing import CliRunner
from picture_book import PAGES, make_encoder, picture, print_book

from drawbench.cli import cli
from drawbench.generators.imagen.data import square
from drawbench.generators.imagen.generator import StageOptions, imagen
from drawbench.interfaces import Item, Prompt
from drawbench.store import image_seed

SEEDS = 4


def train(folder, stage, pages, *more):
    data = print_book(folder / "book", pages)
    encoder = folder / "t5" if (folder / "t5").is_dir() else make_encoder(folder / "t5")
    given = [
        "--stage",
        stage,
        "--preset",
        "TINY",
        "--data",
        data,
        "--encoder",
        encoder,
        "--device",
        "cpu",
        "--dtype",
        "fp32",
    ]
    command = ["train", *map(str, [*given, *more]), "-o", str(folder / "cascade")]
    done = CliRunner().invoke(cli, command, catch_exceptions=False, standalone_mode=False)
    assert done.exception is None


def draw(folder, pages, **options):
    """Returns ``(pages, seeds, H, W, 3)`` and the true pictures at that size."""
    items = [
        Item(Prompt(str(n), PAGES[n][0]), seed, image_seed(0, str(n), seed))
        for n in range(pages)
        for seed in range(SEEDS)
    ]
    drawn = imagen(checkpoint=str(folder / "cascade"), **options).generate(items)
    size = drawn[0].image.width
    pictures = np.stack([np.asarray(one.image).astype(float) for one in drawn]).reshape(pages, SEEDS, size, size, 3)
    truth = np.stack([np.asarray(square(picture(n)[0], size)).astype(float) for n in range(pages)])
    return pictures, truth


def right(pictures, truth):
    """Returns how often the nearest of the training pictures is the one that was asked for."""
    distance = ((pictures[:, :, None] - truth[None, None]) ** 2).sum((3, 4, 5))
    return int((distance.argmin(2) == np.arange(len(truth))[:, None]).sum())


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """A base trained on four captioned pictures for a minute."""
    folder = tmp_path_factory.mktemp("four")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRAWBENCH_CACHE", str(folder / "cache"))
        quick = ["--steps", 400, "--decay-steps", 400, "--batch-size", 8, "--lr", 0.002, "--warmup", 20, "--ema", 0.98]
        train(folder, "base", 4, *quick)
        yield folder


def test_a_base_trained_for_a_minute_draws_what_the_caption_says(four):
    way = StageOptions(steps=24, guidance_weight=4.0)
    pictures, truth = draw(four, 4, stop_after="base", base=way)
    assert right(pictures, truth) >= 15
    unguided, _ = draw(four, 4, stop_after="base", base=StageOptions(steps=24, guidance_weight=0.0))
    assert right(unguided, truth) < 12, "weight 0 does not see the text"


def test_dynamic_thresholding_leaves_fewer_saturated_pixels_at_a_high_guidance_weight(four):
    """Section 2.3: static thresholding saturates images at high weights; dynamic thresholding prevents it."""
    saturated = {}
    for kind in ("static", "dynamic"):
        way = StageOptions(steps=24, guidance_weight=10.0, thresholding=kind)
        pictures, truth = draw(four, 4, stop_after="base", base=way)
        saturated[kind] = float(((pictures <= 1) | (pictures >= 254)).mean())
        assert right(pictures, truth) >= 13
    assert saturated["dynamic"] < saturated["static"] / 2
    assert saturated["static"] > 0.005


@pytest.mark.long
def test_a_cascade_trained_on_eight_pictures_draws_the_right_one(tmp_path, monkeypatch):
    monkeypatch.setenv("DRAWBENCH_CACHE", str(tmp_path / "cache"))
    for stage in ("base", "sr256", "sr1024"):
        train(tmp_path, stage, 8)
    way = {name: StageOptions(steps=32, guidance_weight=4.0) for name in ("base", "sr256", "sr1024")}
    pictures, truth = draw(tmp_path, 8, **way)
    assert pictures.shape[2:] == (64, 64, 3)
    assert right(pictures, truth) >= 30
