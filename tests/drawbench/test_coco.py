"""COCO captions as prompt sets. The captions themselves are read from the data beside the checkout, or made up."""

import hashlib
import json
import sys

import pytest

from drawbench.cli import main
from drawbench.cli.options import load_prompts, prompt_owners
from drawbench.coco import COCO_30K_SHA256, coco, coco_30k
from drawbench.errors import AssetMissing, UserError
from drawbench.store import Run

GOLDEN_DRAW = [100, 196, 108, 12, 68, 132]
"""``random.Random(0).sample(range(2, 202, 2), 6)``, as it was when this was written."""


@pytest.fixture(scope="session")
def coco_csv(shared):
    return shared / "coco" / "coco_30k.csv"


@pytest.fixture
def captions(tmp_path):
    """A file in the form of the official one: images 2, 4 … 200, three captions each, the lowest annotation id last."""
    rows = [
        {"image_id": image, "id": 10 * image - turn, "caption": f" Image {image}, caption {turn}.\n"}
        for image in range(200, 0, -2)
        for turn in (1, 2, 3)
    ]
    file = tmp_path / "captions_val2014.json"
    file.write_text(json.dumps({"info": {}, "images": [], "annotations": rows}))
    return file


@pytest.fixture
def drawbench(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["drawbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


def test_the_public_list_has_30000_images_and_stripped_captions(coco_csv):
    found = coco_30k(file=coco_csv)
    assert found.name == "coco-30k"
    assert len({p.id for p in found.prompts}) == len(found.prompts) == 30_000
    assert all(len(p.id) == 12 and p.id.isdigit() for p in found.prompts)
    assert all(p.text == p.text.strip() and p.category is None for p in found.prompts)
    assert len({p.text for p in found.prompts}) == 29_480
    assert found.sha256 == "c45995195f7ffa37ec4a1dfff132e65e3d43e87bf6fb13b25eef94a1ca7b684b"
    assert found.prompts[0].id == "000000203564"


def test_a_list_with_one_letter_changed_is_refused_by_its_digest(coco_csv, tmp_path):
    data = bytearray(coco_csv.read_bytes())
    data[1000] ^= 1
    (tmp_path / "list.csv").write_bytes(data)
    wrong = hashlib.sha256(data).hexdigest()[:12]
    with pytest.raises(UserError, match=rf"its sha256 is {wrong}…, not {COCO_30K_SHA256[:12]}…; to use it as a set of"):
        coco_30k(file=tmp_path / "list.csv")


def test_the_list_is_found_in_the_cache_by_its_name(coco_csv, cache):
    (cache / "prompts").mkdir()
    (cache / "prompts" / "coco-30k.csv").write_bytes(coco_csv.read_bytes())
    assert load_prompts("coco-30k").sha256 == coco_30k(file=coco_csv).sha256


@pytest.mark.parametrize(
    ("make", "name", "place"), [(coco_30k, "coco-30k", "coco-30k.csv"), (coco, "coco", "captions_val2014.json")]
)
def test_a_set_that_is_nowhere_says_where_it_would_lie_and_the_way_round(make, name, place, cache):
    with pytest.raises(AssetMissing) as caught:
        make()
    assert caught.value.exit_code == 3
    assert str(cache / "prompts" / place) in str(caught.value)
    assert f"--prompts {name}=FILE" in str(caught.value)
    assert "MB" in str(caught.value)


def test_a_draw_is_the_sample_of_the_sorted_ids_with_each_images_first_caption(captions):
    found = coco(n=6, file=captions)
    assert [int(p.id) for p in found.prompts] == GOLDEN_DRAW
    assert [p.text for p in found.prompts] == [f"Image {i}, caption 3." for i in GOLDEN_DRAW]
    assert all(len(p.id) == 12 for p in found.prompts)
    assert found.prompts[0].metadata == {
        "annotation_id": str(10 * GOLDEN_DRAW[0] - 3),
        "captions_sha256": hashlib.sha256(captions.read_bytes()).hexdigest(),
    }


def test_draws_differ_by_seed_and_seed_0_is_a_seed(captions):
    draws = [coco(n=20, seed=seed, file=captions).sha256 for seed in (0, 1, 2)]
    assert len(set(draws)) == 3
    assert coco(n=20, seed=0, file=captions).sha256 == draws[0]


def test_a_draw_of_all_images_is_all_of_them_once(captions):
    assert sorted(int(p.id) for p in coco(n=100, file=captions).prompts) == list(range(2, 201, 2))


@pytest.mark.parametrize("n", [0, -1, 101])
def test_a_draw_of_more_than_there_are_is_refused(captions, n):
    with pytest.raises(UserError, match=rf"coco\.n={n}: .* has 100 images with captions; give 1 to 100"):
        coco(n=n, file=captions)


def test_what_a_draw_was_made_from_is_told_as_unverified(captions, capsys):
    coco(n=1, file=captions)
    err = capsys.readouterr().err
    assert "unverified" in err
    assert hashlib.sha256(captions.read_bytes()).hexdigest() in err


@pytest.mark.parametrize(
    "content",
    [
        "not JSON",
        "[]",
        "{}",
        '{"annotations": 7}',
        '{"annotations": [{"image_id": 1, "id": 1}]}',
        '{"annotations": [{"image_id": "1", "id": 1, "caption": "x"}]}',
        '{"annotations": [{"image_id": 1, "id": 1, "caption": null}]}',
        "[" * 100_000,
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match="is not COCO's captions"):
        coco(file=tmp_path / "a.json")


def test_a_path_that_leads_nowhere_is_told(tmp_path):
    for make in (coco, coco_30k):
        with pytest.raises(UserError, match="No such file or directory; give the path of"):
            make(file=tmp_path / "nowhere")


def test_a_draw_is_set_from_the_command_line_and_makes_a_run(drawbench, captions, tmp_path):
    given = ("generate", "--generator", "noise", "--set", "noise.size=32", "--prompts", f"coco={captions}")
    code, _, err = drawbench(*given, "--set", "coco.n=4", "--set", "coco.seed=5", "-o", tmp_path / "run")
    assert (code, "unverified" in err) == (0, True)
    run = Run.open(tmp_path / "run")
    assert run.manifest.prompt_set_sha256 == coco(n=4, seed=5, file=captions).sha256
    assert len(run.drawn()) == 4
    code, _, err = drawbench(*given, "--set", "coco.n=5", "-o", tmp_path / "run")
    assert code == 2
    assert "holds another run: prompts is 'coco" in err


def test_a_wrong_option_of_a_prompt_set_is_told_by_name(drawbench, captions, tmp_path):
    given = ("generate", "--generator", "noise", "--prompts", f"coco={captions}", "-o", tmp_path / "run")
    code, _, err = drawbench(*given, "--set", "coco.sed=5")
    assert code == 2
    assert "--set coco.sed: coco has no option 'sed'; did you mean 'seed'? (it has: n, seed)" in err
    code, _, err = drawbench(*given, "--set", "cocoa.n=5")
    assert "nothing here is called 'cocoa'; did you mean 'coco'?" in err


def test_a_generator_may_have_the_name_of_a_set_that_has_no_options_only(drawbench, captions, tmp_path):
    given = ("generate", "--generator", "shapes=noise", "--set", "shapes.size=32", "--limit", "1")
    code, out, _ = drawbench(*given, "--prompts", "shapes", "-o", tmp_path / "run")
    assert (code, "1 drawn of 1" in out) == (0, True)
    given = ("generate", "--generator", "coco=noise", "--prompts", f"coco={captions}", "-o", tmp_path / "other")
    code, _, err = drawbench(*given)
    assert code == 2
    assert "'coco' names a prompt set and a generator or metric" in err
    assert prompt_owners(["coco", "shapes", "coco-30k", "own.csv"], []) == ["coco"]
