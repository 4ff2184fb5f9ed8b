"""Statistics files, named references and lists of images, with a network that is cheap: what a set metric may be given."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from drawbench.cli import main
from drawbench.errors import AssetMissing, UserError
from drawbench.files import host
from drawbench.interfaces import Prompt
from drawbench.metrics.cmmd import cmmd
from drawbench.metrics.frechet import Moments, moments
from drawbench.metrics.frechet_metric import FrechetDistance
from drawbench.metrics.named_reference import check_coco, matched, named_file
from drawbench.metrics.reference import find_reference, read_reference, save_reference, write_reference
from drawbench.prompts import make_prompt_set
from drawbench.protocol import digest

COUNT = 6
IDS = [f"{number:012d}" for number in (42, 73, 74, 133, 136, 139)]

TINY = """
from drawbench.metrics.frechet_metric import FrechetDistance
from drawbench.metrics.reference import find_reference
from test_reference import Means

def tiny(*, reference: str | None = None, shift: int = 0) -> FrechetDistance:
    network = Means(shift)
    return FrechetDistance("tiny", network, network.fields, find_reference(str(reference), network, "tiny", 3))
"""


class Means:
    """The mean of each channel: three features."""

    def __init__(self, shift=0):
        self.shift, self.fields = shift, {"network": "means of channels", "shift": str(shift)}
        self.key = digest(self.fields)

    def __call__(self, images):
        return images.to(torch.float32).mean((2, 3)) + self.shift


def command(arguments):
    """Calls the command line and returns its exit code."""
    before, sys.argv = sys.argv, ["drawbench", *map(str, arguments)]
    try:
        main()
    except SystemExit as ended:
        return ended.code or 0
    finally:
        sys.argv = before


@pytest.fixture
def folder(tmp_path):
    """Photographs by COCO's names, of random pixels; two sizes."""
    path = tmp_path / "val2014"
    path.mkdir()
    rng = np.random.default_rng(0)
    for number, name in enumerate(IDS):
        pixels = rng.integers(0, 256, (20 + number % 2, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"COCO_val2014_{name}.jpg")
    return path


@pytest.fixture
def tiny(tmp_path):
    """A third party's set metric, as a file."""
    (tmp_path / "tiny.py").write_text(TINY)
    return f"tiny={tmp_path / 'tiny.py'}:tiny"


@pytest.fixture
def run(tmp_path):
    """A run of prompts whose ids are COCO's image ids."""
    (tmp_path / "prompts.csv").write_text("id,text\n" + "".join(f"{name},a picture\n" for name in IDS[1:4]))
    (tmp_path / "drawn").mkdir()
    for number, name in enumerate(IDS[1:4]):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / "drawn" / f"{name}.png")
    given = ["generate", "--generator", "sd=folder", "--set", f"sd.path={tmp_path / 'drawn'}"]
    assert command([*given, "--prompts", tmp_path / "prompts.csv", "-o", tmp_path / "run"]) == 0
    return tmp_path / "run"


@pytest.fixture
def rows(folder):
    """The features that the photographs must have, in the order of their files' content."""
    found = find_reference(str(folder), Means(), "tiny")
    by_hand = [np.asarray(Image.open(file), np.float64).mean((0, 1)) for file in sorted(folder.iterdir())]
    np.testing.assert_allclose(sorted(map(tuple, found.given)), sorted(map(tuple, by_hand)), rtol=1e-5)
    return np.array(found.given)


def test_a_file_of_statistics_is_known_by_its_images_as_the_folder_is(folder, tiny, rows, tmp_path, capsys):
    assert command(["reference", "make", folder, "--metric", tiny, "-o", tmp_path / "s.npz"]) == 0
    back = read_reference(tmp_path / "s.npz", Means().key, "tiny")
    np.testing.assert_allclose(back.given.mean, rows.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(back.given.covariance, np.cov(rows, rowvar=False), rtol=1e-9)
    assert back.given.mean.dtype == back.given.covariance.dtype == np.float64
    from_folder = find_reference(str(folder), Means(), "tiny")
    assert (back.n, back.sha256, back.fields) == (COUNT, from_folder.sha256, Means().fields)
    metrics = [FrechetDistance("tiny", Means(), Means().fields, found) for found in (back, from_folder)]
    assert metrics[0].protocol() == metrics[1].protocol()
    values = [metric.compute(rows[::-1] + 1)["tiny"] for metric in metrics]
    assert values[0] == pytest.approx(values[1], rel=1e-7)
    assert "network: means of channels" in capsys.readouterr().out


def test_features_that_are_kept_come_back(folder, tiny, rows, tmp_path):
    given = ["reference", "make", folder, "--metric", tiny, "-o", tmp_path / "s.npz"]
    command(given)
    assert isinstance(read_reference(tmp_path / "s.npz", Means().key, "tiny").given, Moments)
    command([*given, "--features"])
    np.testing.assert_array_equal(read_reference(tmp_path / "s.npz", Means().key, "tiny").given, rows)


def test_a_file_of_other_options_is_refused_with_the_field_that_differs(folder, tiny, tmp_path):
    command(["reference", "make", folder, "--metric", tiny, "--set", "tiny.shift=2", "-o", tmp_path / "s.npz"])
    with pytest.raises(UserError, match="another network.*shift is '2' there, '0' here"):
        find_reference(str(tmp_path / "s.npz"), Means(), "tiny")


def test_a_file_that_was_altered_or_cut_is_refused(folder, tiny, tmp_path, capsys):
    file = tmp_path / "s.npz"
    command(["reference", "make", folder, "--metric", tiny, "-o", file])
    assert command(["reference", "show", file]) == 0
    assert "state: whole" in capsys.readouterr().out
    content = dict(np.load(file))
    content["mean"][0] += 1e-9
    np.savez(tmp_path / "altered.npz", **content)
    assert command(["reference", "show", tmp_path / "altered.npz"]) == 2
    assert "was altered: its arrays are not those that were written" in capsys.readouterr().err
    (tmp_path / "cut.npz").write_bytes(file.read_bytes()[:-200])
    with pytest.raises(UserError, match="not a statistics file"):
        find_reference(str(tmp_path / "cut.npz"), Means(), "tiny")
    damaged = bytearray(file.read_bytes())
    damaged[damaged.index(content["covariance"].tobytes()[:8])] ^= 1
    (tmp_path / "damaged.npz").write_bytes(damaged)
    with pytest.raises(UserError, match="not a statistics file|was altered"):
        find_reference(str(tmp_path / "damaged.npz"), Means(), "tiny")


def test_show_says_what_a_file_is(folder, tiny, tmp_path, capsys):
    command(["reference", "make", folder, "--metric", tiny, "--features", "--name", "photos"])
    capsys.readouterr()
    assert command(["reference", "show", "photos", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["n"] == COUNT
    assert row["name"] == "photos"
    assert row["keeps"] == "features and moments"
    assert row["fields"] == Means().fields
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(3), sigma=np.eye(3))
    assert command(["reference", "show", tmp_path / "theirs.npz"]) == 0
    assert "network: not said" in capsys.readouterr().out
    assert command(["reference", "show", "nobody"]) == 2


def test_a_named_reference_is_found_by_name_and_network(folder, tiny, rows):
    with pytest.raises(AssetMissing, match="drawbench reference make DIR --name photos"):
        find_reference("photos", Means(), "tiny")
    assert AssetMissing.exit_code == 3
    command(["reference", "make", folder, "--metric", tiny, "--name", "photos"])
    assert named_file("photos", Means().key).is_file()
    np.testing.assert_allclose(
        find_reference("photos", Means(), "tiny").given.mean, rows.mean(0, dtype=np.float64), rtol=1e-12
    )
    with pytest.raises(AssetMissing, match="only others: shift is '0' there, '5' here"):
        find_reference("photos", Means(5), "tiny")
    shutil.copytree(folder, folder.parent / "here")
    assert command(["reference", "make", folder, "--metric", tiny, "--name", "../up"]) == 2


def test_what_lies_on_the_disk_goes_before_a_name(folder, tiny, monkeypatch):
    command(["reference", "make", folder, "--metric", tiny, "--name", "val2014"])
    monkeypatch.chdir(folder.parent)
    next(folder.iterdir()).unlink()
    assert find_reference("val2014", Means(), "tiny").n == COUNT - 1


def test_a_list_of_images_is_a_reference_by_its_content(folder, tmp_path):
    files = sorted(folder.iterdir())
    (tmp_path / "list.txt").write_text("".join(f"val2014/{file.name}\n" for file in files[::-1]))
    from_list, from_folder = (find_reference(str(p), Means(), "tiny") for p in (tmp_path / "list.txt", folder))
    np.testing.assert_array_equal(from_list.given, from_folder.given)
    assert from_list.sha256 == from_folder.sha256
    (tmp_path / "list.txt").write_text(f"val2014/{files[0].name}\nval2014/gone.jpg\n")
    with pytest.raises(UserError, match="1 of 2 files are not there, the first is .*gone.jpg"):
        find_reference(str(tmp_path / "list.txt"), Means(), "tiny")
    (tmp_path / "list.txt").write_text(f"val2014/{files[0].name}\n" * 2)
    with pytest.raises(UserError, match="more than once"):
        find_reference(str(tmp_path / "list.txt"), Means(), "tiny")


def test_cocos_name_is_given_to_its_photographs_only(folder, tiny, capsys):
    assert command(["reference", "make", folder, "--metric", tiny, "--name", "coco-val2014"]) == 2
    assert "6 photographs (6 files); the set has 40504" in capsys.readouterr().err
    (folder / "COCO_val2014_42.jpg").write_bytes(b"")
    assert command(["reference", "make", folder, "--metric", tiny, "--name", "coco-val2014"]) == 2
    assert "the first is COCO_val2014_42.jpg" in capsys.readouterr().err


def test_cocos_names_are_unverified_until_their_digest_is_known(folder, tiny, monkeypatch, capsys, tmp_path):
    from drawbench.metrics import named_reference

    monkeypatch.setattr(named_reference, "COCO_COUNT", COUNT)
    assert command(["reference", "make", folder, "--metric", tiny, "--name", "coco-val2014"]) == 0
    capsys.readouterr()
    command(["reference", "show", "coco-val2014", "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert "unverified" in row["images"]
    files = sorted(folder.iterdir())
    assert row["names_sha256"] == check_coco(files[::-1]).names_sha256
    monkeypatch.setattr(named_reference, "COCO_NAMES_SHA256", row["names_sha256"])
    assert "unverified" not in check_coco(files).words
    with pytest.raises(UserError, match="not those of the official list"):
        check_coco([*files[:-1], tmp_path / "COCO_val2014_000000000999.jpg"])
    with pytest.raises(UserError, match=f"5 photographs \\({COUNT} files\\)"):
        check_coco([*files[:-1], files[0]])


def test_matching_takes_the_photographs_of_a_runs_prompts(folder, run, tiny, tmp_path, capsys, cache):
    given = ["reference", "make", folder, "--metric", tiny, "--matching", run]
    assert command([*given, "-o", tmp_path / "matched.npz"]) == 0
    found = read_reference(tmp_path / "matched.npz", Means().key, "tiny")
    by_hand = [np.asarray(Image.open(folder / f"COCO_val2014_{name}.jpg")).mean((0, 1)) for name in IDS[1:4]]
    assert found.n == 3
    np.testing.assert_allclose(found.given.mean, np.mean(by_hand, 0), rtol=1e-5)
    assert "COCO photographs of the prompts of a run on prompts" in found.images
    assert not list((cache / "references").glob("*.txt"))
    assert command([*given, "--name", "coco-val2014"]) == 2
    (folder / f"COCO_val2014_{IDS[2]}.jpg").unlink()
    capsys.readouterr()
    assert command([*given, "-o", tmp_path / "matched.npz"]) == 2
    assert f"1 of 3 prompts have no photograph: {IDS[2]}" in capsys.readouterr().err


def test_only_image_ids_are_matched(run, tmp_path):
    from drawbench.store import Run

    opened = Run.open(run)
    files = [tmp_path / "a" / f"{IDS[1]}.jpg", tmp_path / "b" / f"COCO_val2014_{IDS[1]}.jpg"]
    with pytest.raises(UserError, match="have one image id"):
        matched(files, opened)
    with pytest.raises(UserError, match="2 of 3 prompts have no photograph"):
        matched(files[:1], opened)

    class Other:
        path, prompt_set = run, make_prompt_set("mine", [Prompt("001", "one")])

        def drawn(self):
            return [type("Record", (), {"prompt": "001"})()]

    with pytest.raises(UserError, match="its prompt '001' is none"):
        matched(files, Other())


def test_statistics_are_not_made_of_statistics(tmp_path, rows):
    found = read_reference_of(tmp_path, rows)
    with pytest.raises(UserError, match="a statistics file already"):
        save_reference(tmp_path / "again.npz", found, features=False)


def read_reference_of(tmp_path, rows):
    from drawbench.metrics.reference import write_reference

    write_reference(tmp_path / "first.npz", moments(rows), Means().key, "some")
    return find_reference(str(tmp_path / "first.npz"), Means(), "tiny")


def test_the_same_images_give_the_same_bytes(folder, tiny, tmp_path):
    for name in ("one.npz", "two.npz"):
        assert command(["reference", "make", folder, "--metric", tiny, "-o", tmp_path / name]) == 0
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "say where to"),
        (["-o", "stats.npy"], "is called .npz"),
        (["--metric", "image_stats", "-o", "s.npz"], "takes"),
    ],
)
def test_what_is_typed_wrong_is_told(folder, given, message, capsys):
    assert command(["reference", "make", folder, *given]) == 2
    assert message in capsys.readouterr().err


def test_folders_that_are_links_are_read_too_and_once(folder, tmp_path):
    parent = tmp_path / "parent"
    parent.mkdir()
    (parent / "linked").symlink_to(folder, target_is_directory=True)
    (parent / "round").symlink_to(parent, target_is_directory=True)
    assert find_reference(str(parent), Means(), "tiny").sha256 == find_reference(str(folder), Means(), "tiny").sha256


@pytest.mark.parametrize("how", ["negative", "triangular"])
def test_what_is_no_covariance_is_refused(tmp_path, how):
    sigma = np.cov(np.random.default_rng(0).normal(size=(50, 6)), rowvar=False)
    if how == "negative":
        sigma[2, 2] = -1
    else:
        sigma = np.triu(sigma)
    np.savez(tmp_path / "s.npz", mu=np.zeros(6), sigma=sigma)
    with pytest.raises(UserError, match="its covariance is none"):
        read_reference(tmp_path / "s.npz", "any", "fid", 6)


def test_a_covariance_in_float32_of_few_images_is_one(tmp_path):
    rows = np.random.default_rng(0).normal(size=(20, 64))
    np.savez(tmp_path / "s.npz", mu=rows.mean(0), sigma=np.cov(rows, rowvar=False).astype(np.float32))
    assert read_reference(tmp_path / "s.npz", "any", "fid", 64).n is None


def test_statistics_for_a_metric_that_compares_images_are_made_by_its_name(folder, tmp_path):
    made = tmp_path / "s.npz"
    given = ["reference", "make", folder, "--metric", "cmmd", "--set", "cmmd.model=shapes", "--features", "-o", made]
    assert command(given) == 0
    whole, kept = (cmmd(model="shapes", reference=str(place)) for place in (folder, made))
    assert kept.protocol() == whole.protocol()
    np.testing.assert_array_equal(kept.reference.given, whole.reference.given)


def test_what_a_killed_command_left_of_a_statistics_file_goes_with_the_next_one(tmp_path):
    dead = tmp_path / f".stats.npz.{host()}-{2**22 + 1}-0.tmp"
    dead.write_bytes(b"half of it")
    write_reference(tmp_path / "stats.npz", moments(np.eye(3, dtype=np.float32)), "a network", "a few")
    assert not dead.exists()


def test_of_what_is_not_there_no_reference_is_made(tmp_path, capsys):
    assert command(["reference", "make", tmp_path / "nodir", "-o", tmp_path / "s.npz"]) == 2
    assert "nodir: there is nothing; give a folder of images" in capsys.readouterr().err
