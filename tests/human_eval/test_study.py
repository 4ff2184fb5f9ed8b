"""Studies: what is compared with what, and that nothing a rater receives tells whose it is."""

import io
import json
from collections import Counter

import pytest
from making_studies import make_run
from PIL import Image

from drawbench.errors import UserError
from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import DESIGNS, find_design
from drawbench.human_eval.people import speaks_of_people
from drawbench.human_eval.stimuli import alike
from drawbench.human_eval.study import REFERENCE, Study


def test_a_category_is_a_unit_and_every_prompt_an_item(make_study):
    study = make_study(images_per_set=2)
    assert len(study.items) == 22
    assert list(study.units) == list(dict.fromkeys(item.category for item in study.items))
    assert {tuple(side.system for side in item.sides) for item in study.items} == {("right", "half")}
    assert all(len(side.images) == 2 for item in study.items for side in item.sides)


def test_all_images_are_alike_and_their_names_tell_nothing(make_study):
    study = make_study(images_per_set=2)
    files = sorted((study.path / "images").iterdir())
    assert len(files) == 2 * 2 * 22
    for file in files:
        with Image.open(file) as image:
            assert (image.format, image.size, image.info.keys() & {"exif", "xmp", "icc_profile"}) == (
                "WEBP",
                (256, 256),
                set(),
            )
        for word in ("right", "half", "shapes"):
            assert word not in file.name


def test_the_same_pixels_give_the_same_bytes_whatever_they_came_in():
    picture = Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 20).convert("RGB")
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "made by system A"
    picture.save(stream, "PNG", exif=exif)
    again = Image.open(io.BytesIO(stream.getvalue()))
    assert alike(again, 256) == alike(picture, 256)
    assert b"system A" not in alike(again, 256)
    assert Image.open(io.BytesIO(alike(picture, 256))).size == (256, 171)


def test_a_study_comes_back_and_an_altered_one_is_refused(make_study):
    study = make_study(images_per_set=1)
    assert Study.open(study.path).items == study.items
    file = study.path / "study.json"
    content = json.loads(file.read_text())
    content["design"]["screens"][0]["questions"][0]["text"] = "Which set do you like?"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="was altered since it was made"):
        Study.open(study.path)


def test_the_wording_is_part_of_its_identity(make_study, tmp_path):
    (tmp_path / "own.toml").write_text('base = "drawbench"\ninstructions = "Look well."\n')
    one, two = make_study(images_per_set=1), make_study(find_design(str(tmp_path / "own.toml")), images_per_set=1)
    assert one.digest != two.digest
    assert two.design.instructions == "Look well."


def test_with_three_systems_all_pairs_meet_or_a_balanced_choice_of_them(make_study):
    every = make_study(systems=3, images_per_set=1)
    assert len(every.items) == 66
    balanced = make_study(systems=3, images_per_set=1, pairs="balanced")
    counts = Counter(tuple(side.system for side in item.sides) for item in balanced.items)
    assert sorted(counts.values()) == [7, 7, 8]


def test_too_few_images_are_said(make_study):
    with pytest.raises(UserError, match="right has 2 where 8 images of a prompt are shown"):
        make_study()


def test_a_prompt_that_lacks_images_is_left_out_and_named(runs, tmp_path):
    fewer = make_run(tmp_path / "fewer", "fewer", limit="11")
    study = create(tmp_path / "study", [runs[0], fewer], find_design("drawbench"), images_per_set=1)
    assert len(study.items) == 11
    assert len(study.manifest["left_out"]) == 11
    assert set(study.manifest["left_out"].values()) == {"fewer has 0 where 1 image of a prompt are shown"}


def test_a_reference_design_pairs_each_image_with_the_photograph_and_has_controls(runs, tmp_path):
    study = create(tmp_path / "study", [runs[1]], find_design("coco-fidelity"), reference=runs[0])
    trials = [item for item in study.items if item.control is None]
    controls = [item for item in study.items if item.control is not None]
    assert {tuple(side.system for side in item.sides) for item in trials} == {("half", REFERENCE)}
    assert (len(trials), len(controls)) == (22, 5)
    assert {item.control for item in controls} == {REFERENCE}
    assert all(item.caption == "" for item in study.items)
    assert all(
        (study.path / "images" / name).is_file() for item in study.items for side in item.sides for name in side.images
    )


def test_single_images_are_rated_alone_the_reference_too(runs, tmp_path):
    study = create(tmp_path / "study", [runs[1]], find_design("coco-alignment"), reference=runs[0])
    trials = [item for item in study.items if item.control is None]
    assert Counter(item.sides[0].system for item in trials) == {"half": 22, REFERENCE: 22}
    for item in (item for item in study.items if item.control is not None):
        true = next(one.caption for one in trials if one.prompt == item.prompt)
        assert (item.control, item.caption != true) == ("no", True)


def test_the_questions_of_dalle2_stand_on_screens_of_their_own(make_study):
    study = make_study("dalle2", images_per_set=2)
    assert len(study.items) == 66
    captions = {study.design.screens[item.screen].questions[0].name: bool(item.caption) for item in study.items}
    assert captions == {"photorealism": False, "caption_similarity": True, "diversity": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": [0, 0]}, "two runs have one system name"),
        ({"runs": [0]}, "give at least two runs"),
        ({"runs": [0, 1], "reference": 2}, "takes no reference"),
        ({"runs": [0], "design": "coco-fidelity"}, "needs a reference"),
        ({"runs": [0, 1], "pairs": "some", "systems": 2}, "allowed are all and balanced"),
    ],
)
def test_what_cannot_be_a_study_is_refused(runs, tmp_path, change, message):
    options = {"pairs": change["pairs"]} if "pairs" in change else {}
    reference = runs[change["reference"]] if "reference" in change else None
    with pytest.raises(UserError, match=message):
        create(
            tmp_path / "study",
            [runs[number] for number in change["runs"]],
            find_design(change.get("design", "drawbench")),
            images_per_set=1,
            reference=reference,
            **options,
        )
    assert not (tmp_path / "study").exists()


def test_a_folder_in_use_is_left_alone(runs, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        create(tmp_path, runs[:2], find_design("drawbench"), images_per_set=1)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("raters = 0", "raters must be 1 or more"),
        ('shows = "both"', "'both'; allowed are pair, reference, single"),
        ("rater = 3", "no field is called 'rater'; did you mean 'raters'"),
        ('raters = "many"', "'many'; it must be int"),
        ("screens = []", "asks at least one question"),
        ("= 3", "is not TOML"),
    ],
)
def test_a_design_that_cannot_be_is_refused_in_words(tmp_path, toml, message):
    (tmp_path / "own.toml").write_text(f'base = "drawbench"\n{toml}\n')
    with pytest.raises(UserError, match=message):
        find_design(str(tmp_path / "own.toml"))


def test_an_unknown_design_is_refused_by_name():
    with pytest.raises(UserError, match="did you mean 'drawbench'"):
        find_design("drawbanch")


def test_every_design_names_its_source_and_reads_back():
    from dataclasses import asdict

    from drawbench.human_eval.design import design_from

    for design in DESIGNS.values():
        assert design.source
        assert design_from(json.loads(json.dumps(asdict(design))), "there") == design


def test_captions_that_speak_of_people_are_known():
    assert speaks_of_people("Two Men on a bench")
    assert speaks_of_people("a baseball player")
    assert not speaks_of_people("a mandarin on a chair")
