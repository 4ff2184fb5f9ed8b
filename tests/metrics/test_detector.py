"""Verdicts on the shapes world, whose truth is known, by a stub that reads its boxes; and a tiny OWLv2 through the command line."""

import json
from dataclasses import replace
from random import Random

import numpy as np
import pandas as pd
import pytest
import tiny_detectors
import torch
from click.testing import CliRunner

from drawbench.cli import cli
from drawbench.errors import AssetMissing, UserError
from drawbench.interfaces import ImageMetric, Prompt
from drawbench.metrics.detector import DetectorVerdicts, detector
from drawbench.metrics.detector_rules import Found
from drawbench.shapes.layout import arrange
from drawbench.shapes.prompts import scene_of, shapes
from drawbench.shapes.reading import read
from drawbench.shapes.renderer import render
from drawbench.shapes.scene import COLOURS, OPPOSITE, Relation

PROMPTS = [prompt for prompt in shapes().prompts if prompt.category in ("Counting", "Colors", "Positional")]


class Reading:
    """Finds shapes by the shapes world's own reading, with some uncertain boxes besides."""

    def __init__(self):
        self.asked = []

    def fields(self):
        return {"network": "none"}

    def detect(self, image, names):
        self.asked.append(list(names))
        side = image.shape[0] / 16
        found = [(thing.shape, tuple(edge * side for edge in thing.box)) for thing in read(image).things]
        sure = [Found(name, 0.9, box) for shape, box in found for name in names if name.split()[-1] in (shape, "shape")]
        return [
            *sure,
            *(Found(name, 0.1, (0.0, 0.0, 5.0, 5.0)) for name in names),
            *(one._replace(score=0.5) for one in sure),
        ]


def stub():
    return DetectorVerdicts(Reading(), 0.3)


def draw(scenes, seed=0):
    pictures = [render(arrange(scene, Random(f"{seed}/{n}")), 96) for n, scene in enumerate(scenes)]
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy())


def score(scenes, prompts, seed=0):
    return stub().score(draw(scenes, seed), None, prompts)


def asked(output):
    """The prompts that ask for an aspect, and their scenes."""
    values = score([scene_of(prompt) for prompt in PROMPTS], PROMPTS).values[output]
    prompts = [prompt for prompt, value in zip(PROMPTS, values, strict=True) if np.isfinite(value)]
    return prompts, [scene_of(prompt) for prompt in prompts]


def test_it_is_a_metric_with_rates_for_the_whole_and_for_three_aspects():
    metric = stub()
    assert isinstance(metric, ImageMetric)
    assert {name: (out.kind, out.main) for name, out in metric.outputs.items()} == {
        "correct": ("rate", True), "counting": ("rate", False), "colors": ("rate", False), "positional": ("rate", False),
    }  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
def test_the_truth_is_right_in_97_of_100_images(seed):
    values = score([scene_of(prompt) for prompt in PROMPTS], PROMPTS, seed).values
    assert len(values["correct"]) == 64
    assert np.isfinite(values["correct"]).all()
    for name, least in (("counting", 19), ("colors", 40), ("positional", 20)):
        assert np.isfinite(values[name]).sum() >= least
        assert np.nanmean(values[name]) >= 0.97


def test_another_number_is_wrong():
    prompts, scenes = asked("counting")
    more = [replace(scene, things=(*scene.things, scene.things[-1])) for scene in scenes if len(scene.things) < 4]
    fewer = [replace(scene, things=scene.things[:-1]) for scene in scenes if len(scene.things) > 1]
    for altered, of in (
        (more, [p for p, scene in zip(prompts, scenes, strict=True) if len(scene.things) < 4]),
        (fewer, [p for p, scene in zip(prompts, scenes, strict=True) if len(scene.things) > 1]),
    ):
        scored = score(altered, of)
        assert len(of) >= 10
        assert scored.values["counting"].mean() <= 0.03
        assert scored.values["correct"].mean() <= 0.03
        assert all(" asked, " in note for note in scored.notes["wrong"])


def test_another_colour_is_wrong_and_its_number_is_not():
    prompts, scenes = asked("colors")
    altered = []
    for scene in scenes:
        first = scene.things[0]
        taken = {
            "cyan",
            *(thing.colour for thing in scene.things),
        }  # Who asks for blue is shown cyan as a kind of blue.
        free = [colour for colour in COLOURS if colour not in taken]
        altered.append(
            replace(scene, things=(replace(first, colour=free[len(altered) % len(free)]), *scene.things[1:]))
        )
    values = score(altered, prompts).values
    assert np.nanmean(values["colors"]) <= 0.03
    assert np.nanmean(values["correct"]) <= 0.03
    assert np.nanmean(values["counting"]) >= 0.97


def test_the_opposite_place_is_wrong_and_its_colours_are_not():
    prompts, scenes = asked("positional")
    altered = []
    for scene in scenes:
        (relation,) = scene.relations
        place = OPPOSITE.get(relation.place, "left of")
        altered.append(replace(scene, relations=(Relation(place, relation.first, relation.second),)))
    scored = score(altered, prompts)
    assert scored.values["positional"].mean() <= 0.03
    assert np.nanmean(scored.values["colors"]) >= 0.97
    assert all(note.startswith("the ") and " is not " in note for note in scored.notes["wrong"] if note)


def test_images_against_the_prompts_of_others_are_wrong():
    scenes = [scene_of(prompt) for prompt in PROMPTS]
    assert score(scenes[20:] + scenes[:20], PROMPTS).values["correct"].mean() < 0.1


def test_batch_and_order_do_not_move_a_value():
    prompts = PROMPTS[20:32]
    images = draw([scene_of(prompt) for prompt in prompts])
    whole, backwards = stub().score(images, None, prompts), stub().score(images.flip(0), None, prompts[::-1])
    alone = [stub().score(images[n : n + 1], None, [prompt]) for n, prompt in enumerate(prompts)]
    for name, values in whole.values.items():
        assert np.array_equal(values, backwards.values[name][::-1], equal_nan=True)
        assert np.array_equal(values, np.concatenate([one.values[name] for one in alone]), equal_nan=True)
    assert list(whole.notes["seen"]) == list(backwards.notes["seen"])[::-1]


def test_what_was_asked_and_seen_and_is_wrong_is_noted_in_words():
    image = draw([scene_of(PROMPTS[0])])
    prompts = [Prompt("a", "Two large red squares on the floor.")]
    scored = stub().score(image, None, prompts)
    assert scored.notes["asked"] == ["two red squares"]
    assert scored.notes["wrong"] == ["two squares asked, one seen; two red squares asked, blue seen"]
    assert scored.notes["seen"][0].startswith("square 0.90 at ")
    assert scored.notes["not_judged"] == ["on the floor, large"]


def test_a_prompt_that_asks_for_something_else_has_no_value_and_its_image_is_not_looked_at():
    metric = stub()
    prompts = [
        Prompt("a", "A dog playing chess.", "Games"),
        Prompt("b", "A circle.", "Shapes"),
        Prompt("c", "Tw ored squares.", "Misspellings"),
        Prompt("d", "Two red squares on the floor.", "Counting"),
    ]
    scored = metric.score(draw([scene_of(PROMPTS[0])] * 4), None, prompts)
    assert np.isfinite(scored.values["correct"]).tolist() == [False, False, False, True]
    assert metric.detector.asked == [["square"]]
    assert all(scored.notes["not_judged"][:3])
    assert metric.remarks(prompts) == [
        "judged are 1 of 4 prompts: Counting 1 of 1",
        "1 of 4 prompts have no value: it is not of a form that is read here",
        "1 of 4 prompts have no value: it asks for no number, colour or place",
        "1 of 4 prompts have no value: its words are misspelt or rare on purpose, and a detector cannot be asked for them",
        "1 of 4 prompts ask for a size or a setting too, which is not judged",
    ]


def test_prompts_without_a_category_are_counted_as_they_are():
    assert stub().remarks([Prompt("a", "Two dogs."), Prompt("b", "A dog.")])[0] == "judged are 1 of 2 prompts"


def test_all_prompts_of_drawbenchs_three_categories_are_judged(drawbench_csv):
    from drawbench.prompts import drawbench

    assert (
        stub()
        .remarks(drawbench(file=drawbench_csv).prompts)[0]
        .endswith("Colors 25 of 25, Conflicting 1 of 10, Counting 19 of 19, DALL-E 3 of 20, Positional 20 of 20")
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("owlv2")
    tiny_detectors.save_owlv2(folder)
    return folder


def test_its_protocol_holds_all_that_moves_a_verdict(folder):
    fields = detector(model=str(folder)).protocol()
    assert fields["threshold"] == "0.2"
    assert detector(model=str(folder), threshold=0.4).protocol() == {**fields, "threshold": "0.4"}
    assert {"network", "weights sha256", "resize", "dtype", "rules", "prompts read by", "colours"} <= set(fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.2}, "threshold=1.2: give a number from 0 to 1"),
        ({"dtype": "int8"}, "dtype int8 is not offered; allowed are fp32, bf16 and fp16"),
        ({"model": "./nowhere"}, "there is no such folder"),
    ],
)
def test_what_is_set_wrong_is_said(folder, options, message):
    with pytest.raises(UserError, match=message):
        detector(**{"model": str(folder), **options})


def test_without_weights_it_says_which_are_missing():
    with pytest.raises(AssetMissing, match="google/owlv2-base-patch16-ensemble"):
        detector()


def test_a_tiny_owlv2_scores_a_run_by_the_command_line(folder, tmp_path):
    def run(*given):
        return CliRunner().invoke(cli, list(map(str, given)), standalone_mode=False, catch_exceptions=False)

    run(
        "generate",
        "--generator",
        "shapes_truth",
        "--prompts",
        "shapes",
        "--category",
        "Counting",
        "-o",
        tmp_path / "run",
    )
    options = ["--metric", "detector", "--set", f"detector.model={folder}", "--json"]
    done = run("score", tmp_path / "run", *options)
    rows = json.loads(done.stdout)
    assert {row["output"] for row in rows} == {None, "correct", "counting", "colors", "positional"}
    main = next(row for row in rows if row["output"] is None and row["category"] is None)
    assert (main["n"], main["kind"]) == (19, "rate")
    (table,) = (tmp_path / "run" / "scores").glob("detector.*.parquet")
    notes = pd.read_parquet(table)
    assert len(notes) == 19
    assert notes["note_asked"].str.len().gt(0).all()
