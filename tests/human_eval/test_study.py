"""Studies: what is compared with what, and that nothing a rater receives tells whose it is."""

import io
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from making_studies import make_run, run_of
from PIL import Image

from drawbench.errors import UserError
from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import DESIGNS, find_design
from drawbench.human_eval.people import speaks_of_people
from drawbench.human_eval.stimuli import alike, middle_square
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


def test_the_middle_square_is_the_middle():
    wide = Image.new("RGB", (40, 30), "red")
    wide.paste("blue", (5, 0, 35, 30))
    assert middle_square(wide).size == (30, 30)
    assert middle_square(wide).getcolors() == [(900, (0, 0, 255))]
    assert middle_square(wide.rotate(90, expand=True)).getcolors() == [(900, (0, 0, 255))]


def imported(path, name, size, run):
    """A run of images of one size, imported from a folder."""
    from drawbench.generators.folder import folder

    files = path / f"{name}-files"
    files.mkdir(parents=True)
    ids = list(run.manifest.plan.prompt_ids)
    for number in ids:
        Image.effect_noise(size, 50).convert("RGB").save(files / f"{number}.png")
    return run_of(path / name, name, folder(path=files), ids)


def sizes_of(study):
    sizes = set()
    for file in (study.path / "images").iterdir():
        with Image.open(file) as image:
            sizes.add(image.size)
    return sizes


def test_a_photograph_of_another_shape_is_not_known_by_it(runs, tmp_path):
    """640 x 480 beside square samples: all are cut to the same square, and the record says so."""
    photographs = imported(tmp_path, "photos", (64, 48), runs[1])
    study = create(tmp_path / "study", [runs[1]], find_design("coco-fidelity"), reference=photographs)
    assert sizes_of(study) == {(256, 256)}
    told = study.manifest["images"]
    assert told["crop"] == "the middle square"
    assert told["native sizes"] == {"half": {"64x64": 22}, REFERENCE: {"64x48": 22}}


def test_a_shape_that_all_have_is_kept(runs, tmp_path):
    both = [imported(tmp_path, name, (64, 48), runs[1]) for name in ("one", "two")]
    study = create(tmp_path / "study", both, find_design("drawbench"), images_per_set=1)
    assert sizes_of(study) == {(256, 192)}
    assert study.manifest["images"]["crop"].startswith("none")
    tall = imported(tmp_path, "tall", (48, 64), runs[1])
    mixed = create(tmp_path / "mixed", [both[0], tall], find_design("drawbench"), images_per_set=1)
    assert sizes_of(mixed) == {(256, 256)}


def test_when_a_file_was_written_tells_nothing(make_study):
    study = make_study(images_per_set=1)
    assert len({file.stat().st_mtime_ns for file in (study.path / "images").iterdir()}) == 1


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
        assert (item.control, item.caption != true) == ({"alignment": "no"}, True)


def test_in_no_unit_a_prompt_comes_twice_and_controls_are_of_other_prompts(runs, tmp_path):
    """What stands beside two systems, or comes under one caption twice, would be known for the photograph."""
    for number, (name, systems) in enumerate((("coco-fidelity", runs[1:]), ("coco-alignment", runs[1:]))):
        design = replace(find_design(name), batch_size=11, controls=3)
        study = create(tmp_path / str(number), systems, design, reference=runs[0])
        assert study.manifest["notes"] == []
        for unit in study.units.values():
            trials = [item.prompt for item in unit if item.control is None]
            controls = [item.prompt for item in unit if item.control is not None]
            assert (len(trials), len(controls)) == (11, 3)
            assert len(set(trials + controls)) == 14


def test_where_there_are_no_other_prompts_for_controls_the_study_says_so(runs, tmp_path):
    study = create(tmp_path / "study", [runs[1]], find_design("coco-fidelity"), reference=runs[0])
    (note,) = study.manifest["notes"]
    assert note.startswith("5 controls in 1 units are made of the unit's own prompts")


def test_of_pairs_either_sides_images_are_spoilt(make_study):
    study = make_study(replace(find_design("drawbench"), controls=3), images_per_set=1)
    controls = [item for item in study.items if item.control is not None]
    assert len(controls) == 33
    kept = Counter(item.control for item in controls)
    assert set(kept) == {"right", "half"}
    assert min(kept.values()) >= 5
    for item in controls:
        whole, broken = item.sides
        assert (whole.system, broken.system) == (item.control, "spoilt")
        assert whole.images != broken.images
        first, second = (
            np.asarray(Image.open(study.image_path(side.images[0])).convert("RGB"), float) for side in item.sides
        )
        assert np.abs(first - second).mean() > 20


@pytest.mark.parametrize("name", ["spoilt", "reference"])
def test_a_name_that_means_something_is_refused(runs, tmp_path, name):
    other = make_run(tmp_path / name, name, 0.5, limit="2")
    with pytest.raises(UserError, match=f"a system is called '{name}'"):
        create(tmp_path / "study", [runs[0], other], find_design("drawbench"), images_per_set=1)


def test_a_wrong_caption_has_a_right_answer_for_the_question_that_is_about_it(runs, tmp_path):
    single = find_design("single")
    study = create(tmp_path / "study", runs[:1], replace(single, controls=3), images_per_set=1)
    assert [item.control for item in study.items if item.control] == [{"alignment": "1"}] * 3
    (screen,) = single.screens
    undecided = replace(screen, questions=tuple(replace(question, controlled=False) for question in screen.questions))
    with pytest.raises(
        UserError, match="which of the questions fidelity, alignment that decides, with controlled = true"
    ):
        create(tmp_path / "other", runs[:1], replace(single, controls=3, screens=(undecided,)))


def test_answers_about_single_sets_need_values(runs, tmp_path):
    single = find_design("single")
    (screen,) = single.screens
    questions = tuple(
        replace(question, options=tuple(replace(option, value=None) for option in question.options))
        for question in screen.questions
    )
    with pytest.raises(UserError, match="the question 'fidelity' is of single sets, and its options need a value each"):
        create(tmp_path / "study", runs[:1], replace(single, screens=(replace(screen, questions=questions),)))


def test_the_questions_of_dalle2_stand_on_screens_of_their_own(make_study):
    study = make_study("dalle2", images_per_set=2)
    assert len(study.items) == 66
    captions = {study.design.screens[item.screen].questions[0].name: bool(item.caption) for item in study.items}
    assert captions == {"photorealism": False, "caption_similarity": True, "diversity": True}
    assert [screen.images_per_set for screen in study.design.screens] == [1, 1, 2], "only what is more is made less"


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
