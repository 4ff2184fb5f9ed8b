"""fid on real images: against clean-fid's own features, whatever the batches and the kind of reference, and what it refuses."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from drawbench.cli import main
from drawbench.cli.draw import default_metrics
from drawbench.errors import UserError
from drawbench.interfaces import Prompt
from drawbench.metrics.fid import InceptionFeatures, fid
from drawbench.metrics.frechet import moments
from drawbench.metrics.inception_weights import load_inception
from drawbench.metrics.reference import find_reference, write_reference
from drawbench.store import System

COUNT = 9
"""Images of each set: few, for one takes a third of a second."""


@pytest.fixture(scope="module")
def folder(photographs, tmp_path_factory):
    """Photographs of many sizes, in folders; one with an EXIF orientation, one grey."""
    path = tmp_path_factory.mktemp("reference")
    (path / "more").mkdir()
    for file in photographs[: COUNT - 2]:
        shutil.copy(file, path / "more" / file.name)
    turned, grey = Image.open(photographs[COUNT - 2]), Image.open(photographs[COUNT - 1]).convert("L")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(path / "turned.jpg", exif=exif)
    grey.save(path / "grey.png")
    return path


@pytest.fixture(scope="module")
def run(drawn, tmp_path_factory):
    """Images of Stable Diffusion, imported as people do."""
    place = tmp_path_factory.mktemp("run")
    (place / "images").mkdir()
    for number, file in enumerate(drawn[:COUNT], 1):
        shutil.copy(file, place / "images" / f"{number:03d}.jpg")
    (place / "prompts.csv").write_text("text\n" + "".join(f"picture {n}\n" for n in range(COUNT)), "utf-8")
    arguments = ["generate", "--generator", "sd=folder", "--set", f"sd.path={place / 'images'}"]
    command([*arguments, "--prompts", place / "prompts.csv", "-o", place / "run"])
    return place / "run"


@pytest.fixture(scope="module")
def network(peer):
    return InceptionFeatures(load_inception("fid", peer.file, "cpu", torch.float32), "clean", "cpu", "fp32")


@pytest.fixture(scope="module")
def features(network, run):
    """Ours, image by image."""
    return np.concatenate([network(pixels(file)).numpy() for file in images_of(run)])


def command(arguments):
    """Calls the command line and returns its exit code."""
    before, sys.argv = sys.argv, ["drawbench", *map(str, arguments)]
    try:
        main()
    except SystemExit as ended:
        return ended.code
    finally:
        sys.argv = before


def images_of(run):
    return sorted((run / "images").rglob("*.png"))


def pixels(file):
    return torch.from_numpy(np.asarray(Image.open(file)).transpose(2, 0, 1).copy())[None]


def exact(one, two):
    """The definition for fewer images than features: tr √(Σ₁Σ₂) from the eigenvalues of a small product."""
    one, two = np.asarray(one, np.float64), np.asarray(two, np.float64)
    a, b = ((part - part.mean(0)) / np.sqrt(len(part) - 1) for part in (one, two))
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh((a @ b.T) @ (a @ b.T).T), 0)).sum()
    return np.square(one.mean(0) - two.mean(0)).sum() + np.square(a).sum() + np.square(b).sum() - 2 * overlap


def test_fid_is_the_exact_value_of_clean_fids_own_features(peer, run, folder, features):
    from cleanfid.fid import get_folder_features

    theirs = [
        get_folder_features(str(path), peer.features, 0, batch_size=4, device=torch.device("cpu"), verbose=False)
        for path in (run / "images", folder)
    ]
    assert [len(part) for part in theirs] == [COUNT, COUNT]
    found = fid(reference=str(folder), weights=peer.file).compute(features)["fid"]
    assert found == pytest.approx(exact(*theirs), rel=1e-6)


def test_batches_and_order_do_not_move_it(network, run, features, folder):
    rows = network(torch.cat([pixels(file) for file in images_of(run)])).numpy()
    np.testing.assert_allclose(rows, features, rtol=1e-4, atol=1e-5)
    metric = fid(reference=str(folder), weights=network.weights.file)
    value = metric.compute(features)["fid"]
    assert metric.compute(rows)["fid"] == pytest.approx(value, rel=1e-5)
    assert metric.compute(features[::-1])["fid"] == pytest.approx(value, rel=1e-9)


def test_leaving_out_groups_is_computing_without_them(network, features, folder):
    metric = fid(reference=str(folder), weights=network.weights.file)
    groups = np.arange(COUNT) % 3
    expected = [metric.compute(features[groups != group])["fid"] for group in range(3)]
    np.testing.assert_allclose(metric.leave_out(features, groups)["fid"], expected, rtol=1e-9)


def test_a_folder_a_run_and_statistics_of_the_same_images_are_one_reference(network, run, features, tmp_path):
    other = features + np.random.default_rng(0).normal(0, 0.1, features.shape).astype(np.float32)
    write_reference(tmp_path / "ours.npz", moments(features), network.key, "the run")
    np.savez(tmp_path / "theirs.npz", mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    references = [run, run / "images", tmp_path / "ours.npz", tmp_path / "theirs.npz"]
    metrics = [fid(reference=str(path), weights=network.weights.file) for path in references]
    values = [metric.compute(other)["fid"] for metric in metrics]
    assert values == pytest.approx([values[0]] * 4, rel=1e-6)
    assert metrics[0].protocol()["reference sha256"] == metrics[1].protocol()["reference sha256"]
    assert [metric.protocol()["reference n"] for metric in metrics] == ["9", "9", "9", "not said"]
    prompts = [Prompt("1", "one")]
    assert [len(metric.remarks(prompts)) for metric in metrics] == [2, 2, 2, 3]
    told = [
        "a run: sd on prompts",
        "a folder of images (png), as stored",
        "compared with the run",
        "mu and sigma, of what",
    ]
    assert all(words in " ".join(metric.remarks(prompts)) for words, metric in zip(told, metrics, strict=True))


def test_equal_images_are_one_reference_whatever_they_are_called(network, run, tmp_path):
    """As a run, as a run whose system has another name, and as a folder of the same files."""
    renamed = shutil.copytree(run, tmp_path / "renamed")
    manifest = json.loads((renamed / "run.json").read_text())
    system = {**manifest["system"], "name": "another"}
    del system["digest"]
    manifest["system"] = {**system, "digest": System(**system).digest}
    (renamed / "run.json").write_text(json.dumps(manifest))
    protocols = [fid(reference=str(p), weights=network.weights.file).protocol() for p in (run, renamed, run / "images")]
    assert protocols[0] == protocols[1] == protocols[2]
    images_of(renamed)[0].unlink()
    fewer = fid(reference=str(renamed / "images"), weights=network.weights.file).protocol()
    assert fewer["reference sha256"] != protocols[0]["reference sha256"]


def test_the_step_before_is_a_centre_crop_and_256_pixels_on_both_sides(network, run, folder, tmp_path):
    """As if the photographs and the images had been brought to 256 x 256 by hand, with Pillow, and saved."""
    given = {"weights": network.weights.file}
    for place in (folder, run / "images"):
        for number, file in enumerate(sorted(place.rglob("*.*"))):
            image = Image.open(file).convert("RGB")
            side, (width, height) = min(image.size), image.size
            left, top = (width - side) // 2, (height - side) // 2
            small = image.crop((left, top, left + side, top + side)).resize((256, 256), Image.Resampling.BICUBIC)
            (tmp_path / place.name).mkdir(exist_ok=True)
            small.save(tmp_path / place.name / f"{number}.png")
    step = fid(reference=str(folder), resize_before="256", **given)
    by_hand = fid(reference=str(tmp_path / folder.name), **given)
    images, small = ([pixels(file) for file in sorted(p.rglob("*.png"))] for p in (run / "images", tmp_path / "images"))
    ours = np.concatenate([step.network(one).numpy() for one in images])
    theirs = np.concatenate([by_hand.network(one).numpy() for one in small])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert step.compute(ours)["fid"] == pytest.approx(by_hand.compute(theirs)["fid"], rel=1e-6)
    np.testing.assert_array_equal(step.network(small[0]).numpy(), by_hand.network(small[0]).numpy())
    assert "centre crop" in step.protocol()["resize before"]
    assert step.network.key != by_hand.network.key
    with pytest.raises(UserError, match="clean-fid reads the files as they are"):
        fid(reference=str(folder), resize_before="256", check="clean-fid", **given)


def test_a_reference_is_computed_once_and_known_by_its_content(network, folder, tmp_path):
    class Counting:
        key = network.key
        seen = 0

        def __call__(self, images):
            self.seen += len(images)
            return network(images)

    counting = Counting()
    first = find_reference(str(folder), counting, "fid")
    for number, file in enumerate(sorted(folder.rglob("*.*"))):
        shutil.copy(file, tmp_path / f"{number}{file.suffix}")
    again = find_reference(str(tmp_path), counting, "fid")
    assert counting.seen == COUNT
    np.testing.assert_array_equal(first.given, again.given)
    assert first.sha256 == again.sha256


def test_what_is_no_picture_is_left_out_aloud_and_a_damaged_one_is_named(network, folder, tmp_path, capsys):
    shutil.copy(folder / "grey.png", tmp_path)
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / ".ipynb_checkpoints" / "more").mkdir(parents=True)
    shutil.copy(folder / "grey.png", tmp_path / ".ipynb_checkpoints" / "more" / "grey.png")
    with pytest.raises(UserError, match="has 1 images; a reference needs two"):
        find_reference(str(tmp_path), network, "fid")
    assert "left out (1 .txt)" in capsys.readouterr().err
    (tmp_path / "broken.jpg").write_bytes((folder / "turned.jpg").read_bytes()[:2000])
    with pytest.raises(UserError, match="broken.jpg cannot be read"):
        find_reference(str(tmp_path), network, "fid")


def test_statistics_that_do_not_fit_are_refused(network, tmp_path):
    weights = network.weights.file
    with pytest.raises(UserError, match="fid needs a reference"):
        fid(weights=weights)
    np.savez(tmp_path / "small.npz", mu=np.zeros(64), sigma=np.eye(64))
    with pytest.raises(UserError, match="has statistics of 64 features; fid has 2048"):
        fid(weights=weights, reference=str(tmp_path / "small.npz"))
    write_reference(tmp_path / "other.npz", moments(np.random.default_rng(0).normal(size=(3, 2048))), "b" * 64, "none")
    with pytest.raises(UserError, match="statistics of another network"):
        fid(weights=weights, reference=str(tmp_path / "other.npz"))


def test_the_protocol_names_what_moves_the_number(network, folder):
    protocol = fid(reference=str(folder), weights=network.weights.file).protocol()
    assert protocol["protocol"] == "clean"
    assert protocol["reference n"] == str(COUNT)
    assert protocol["weights sha256"] == network.weights.sha256
    assert {"resize before", "resize", "input", "dtype", "layer"} <= protocol.keys()


def score_and_check(place, folder, peer, capsys):
    """Scores a run twice, the second time with clean-fid beside; returns the rows of both by output."""
    arguments = [
        "score",
        place,
        "--metric",
        "fid",
        "--reference",
        folder,
        "--set",
        f"fid.weights={peer.file}",
        "--json",
    ]
    found = []
    for more in ([], ["--set", "fid.check=clean-fid"]):  # Scored before: the check is made all the same.
        assert command([*arguments, *more]) in (0, None)
        found.append({row["output"]: row for row in json.loads(capsys.readouterr().out)})
    return found


def test_the_command_line_scores_and_has_clean_fid_beside_it(peer, run, folder, tmp_path, capsys, monkeypatch):
    import cleanfid.fid

    given = []
    monkeypatch.setattr(cleanfid.fid, "frechet_distance", lambda *moments: given.append(moments) or 1.5)
    shutil.copytree(run, tmp_path / "run")
    plain, checked = score_and_check(tmp_path / "run", folder, peer, capsys)
    assert plain.keys() == {None, "fid"}
    assert plain["fid"]["interval"]["method"] == f"delete-a-group jackknife, {COUNT} groups of prompts"
    assert not plain["fid"]["verified"]
    assert checked["fid"] == plain["fid"]
    assert checked["clean_fid"]["value"] == pytest.approx(plain["fid"]["value"], rel=1e-6)
    assert checked["clean_fid_printed"]["value"] == 1.5
    assert [part.shape for part in given[0]] == [(2048,), (2048, 2048)] * 2


@pytest.mark.long
def test_what_clean_fid_prints_is_near(peer, run, folder, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    plain, checked = score_and_check(tmp_path / "run", folder, peer, capsys)
    assert checked["clean_fid_printed"]["value"] == pytest.approx(plain["fid"]["value"], rel=1e-3)


def test_clean_fid_that_gives_no_number_is_told(peer, run, folder, monkeypatch):
    import cleanfid.fid

    def fails(*moments):
        raise ValueError("Imaginary component 0.1")

    monkeypatch.setattr(cleanfid.fid, "frechet_distance", fails)
    found = fid(reference=str(folder), weights=peer.file, check="clean-fid").from_files(images_of(run)[:2])
    assert found["clean_fid_printed"] == (None, "clean-fid gives none: Imaginary component 0.1")
    with pytest.raises(UserError, match="compares in fp32"):
        fid(reference=str(folder), weights=peer.file, check="clean-fid", dtype="bf16")


def test_without_weights_the_exit_code_is_three(run, folder, tmp_path, monkeypatch, capsys):
    import drawbench.metrics.inception_weights as inception_weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(inception_weights, "_CLEAN_FID_FOLDER", tmp_path)
    assert command(["score", run, "--metric", "fid", "--reference", folder]) == 3
    assert "pt_inception-2015-12-05-6726825d.pth" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("specs", "reference", "expected"),
    [
        (["coco-30k"], "dir", ("clip_score", "fid")),
        (["coco=captions.json", "coco-30k"], "dir", ("clip_score", "fid")),
        (["coco-30k=file.csv"], None, ("clip_score",)),
        (["coco", "drawbench"], None, ("clip_score", "text_rendering", "image_stats")),
        (["shapes"], None, ("shapes_accuracy", "clip_score", "fd")),
    ],
)
def test_what_a_run_measures_follows_from_the_prompt_sets(specs, reference, expected):
    assert default_metrics(specs, reference) == expected
