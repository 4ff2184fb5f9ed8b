"""Features by image: what is kept of any set serves any other, damage is told, and writers do not harm one another."""

import hashlib
import os
import time

import numpy as np
import pytest
import torch

import drawbench.metrics.features as features_module
from drawbench.errors import UserError
from drawbench.metrics.feature_files import read_features, write_features
from drawbench.metrics.features import Features


class Double:
    key = "double"

    def __init__(self):
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        return images.float().mean((2, 3)) * 2


def names(numbers):
    return [hashlib.sha256(bytes([number])).hexdigest() for number in numbers]


def pictures(numbers):
    return torch.stack([torch.full((3, 4, 4), number, dtype=torch.uint8) for number in numbers])


def filled(numbers, network, close=True):
    """The features of images that are called by their grey."""
    features = Features(network.key, names(numbers))
    at = range(len(numbers))
    for first in range(0, len(numbers), 3):
        part = list(at[first : first + 3])
        given = features.of(part, pictures([numbers[index] for index in part]), network)
        assert given[:, 0].tolist() == [2.0 * numbers[index] for index in part]
    if close:
        features.close()
    return features


def files(cache):
    return sorted((cache / "features").rglob("*.npy"))


def test_what_is_kept_is_read_back_memory_mapped_in_the_order_of_the_set(cache):
    filled([5, 3, 9, 1], Double())
    network = Double()
    again = filled([5, 3, 9, 1], network)
    assert network.seen == 0
    assert again.whole
    assert isinstance(again.array.base, np.memmap)
    assert again.array[:, 0].tolist() == [10, 6, 18, 2]
    assert np.load(files(cache)[0])[:, 1].tolist() == [10, 6, 18, 2], "a file that NumPy reads too"


def test_a_set_that_grew_or_shares_images_computes_what_is_new(cache):
    filled([5, 3, 9, 1], Double())
    network = Double()
    grown = filled([5, 7, 3, 8, 9, 1], network)
    assert network.seen == 2
    assert grown.array[:, 0].tolist() == [10, 14, 6, 16, 18, 2]
    other = Double()
    assert filled([1, 7], other).array[:, 0].tolist() == [2, 14]
    assert other.seen == 0
    assert len(files(cache)) == 3, "nothing but a file for each set is left"


def test_another_network_has_features_of_its_own(cache):
    filled([1, 2], Double())
    other = Double()
    other.key = "another"
    filled([1, 2], other)
    assert other.seen == 2


@pytest.mark.parametrize(
    ("one", "two"),
    [("inception-v3 of 2015, legacy", "inception-v3 of 2021, clean"), ("a/../b", "b"), ("../../outside", "outside")],
)
def test_a_key_may_be_any_text_and_another_one_with_the_same_beginning_has_features_of_its_own(cache, one, two):
    for key in (one, two):
        network = Double()
        network.key = key
        filled([1, 2], network)
        assert network.seen == 2
    assert [file.parent.parent for file in files(cache)] == [cache / "features"] * 2
    assert not (cache.parent / "outside").exists()


def test_other_code_that_gives_the_same_key_and_another_version_have_features_of_their_own(cache, monkeypatch):
    whose = [{}, {"source sha256": "one"}, {"source sha256": "two"}]
    folders = {Features("double", names([1]), identity).folder for identity in whose}
    monkeypatch.setattr(features_module, "__version__", "99.0")
    folders.add(Features("double", names([1])).folder)
    assert len(folders) == 4


def test_an_image_that_is_there_twice_is_computed_once_and_counts_twice(cache):
    network = Double()
    assert filled([4, 4, 2, 4], network).array[:, 0].tolist() == [8, 8, 4, 8]
    assert network.seen == 2
    assert filled([4, 4, 2, 4], network).whole
    assert network.seen == 2


def test_rows_go_to_the_disk_while_others_are_computed_and_are_joined_at_the_end(cache, monkeypatch):
    monkeypatch.setattr(features_module, "MOST_ROWS", 3)
    filled([1, 2, 3, 4, 5, 6, 7], Double(), close=False)  # As if killed here: the last one is not on disk.
    assert len(files(cache)) == 2
    network = Double()
    filled([1, 2, 3, 4, 5, 6, 7], network)
    assert network.seen == 1
    assert [file.name for file in files(cache)] == [Features("double", names([1, 2, 3, 4, 5, 6, 7])).path.name]


def test_two_writers_of_one_set_do_not_harm_each_other(cache, monkeypatch):
    monkeypatch.setattr(features_module, "MOST_ROWS", 2)
    images = [1, 2, 3, 4]
    a, b = Features("double", names(images)), Features("double", names(images))
    network = Double()
    for at in ([0, 1], [2, 3]):
        for one in (a, b):
            one.of(at, pictures([images[index] for index in at]), network)
    a.close()
    b.close()
    assert a.array.tolist() == b.array.tolist() == filled(images, Double()).array.tolist()
    assert len(files(cache)) == 1


def test_the_rows_of_a_writer_that_lives_are_left_to_it(cache, monkeypatch):
    monkeypatch.setattr(features_module, "MOST_ROWS", 1)
    filled([1, 2], Double(), close=False)
    monkeypatch.setattr(features_module, "alive", lambda pid: True)
    filled([1, 2], Double())
    assert len(files(cache)) == 2


def test_the_rows_of_another_machine_are_left_to_it_for_a_day(cache, monkeypatch):
    monkeypatch.setattr(features_module, "MOST_ROWS", 1)
    with monkeypatch.context() as patch:
        patch.setattr(features_module, "host", lambda: "elsewhere")
        filled([1, 2, 3, 4], Double(), close=False)
    young, old = (file for file in files(cache) if "elsewhere" in file.name)
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    filled([1, 2, 3, 4], Double())
    assert young.exists()
    assert not old.exists()


def test_what_a_killed_writer_left_half_written_is_deleted(cache):
    folder = Features("double", names([1])).folder
    folder.mkdir(parents=True)
    dead = folder / f".set.npy.{features_module.host()}-{2**22 + 1}-0.tmp"
    elsewhere = folder / ".set.npy.elsewhere-1-0.tmp"
    for path in (dead, elsewhere):
        path.write_bytes(b"half a set")
    filled([1], Double())
    assert not dead.exists()
    assert elsewhere.exists()


@pytest.mark.parametrize("place", ["row", "name", "checksum"])
def test_a_damaged_row_is_told_and_computed_anew_and_the_others_are_not(cache, capsys, place):
    filled([5, 3, 9, 1], Double())
    (file,) = files(cache)
    data = bytearray(file.read_bytes())
    behind = {"row": -(4 * 36) - 12, "name": -36, "checksum": -4}[place]  # All of the last row, which is image 1.
    data[behind] ^= 1
    file.write_bytes(data)
    network = Double()
    assert filled([5, 3, 9, 1], network).array[:, 0].tolist() == [10, 6, 18, 2]
    assert network.seen == 1
    assert "1 of its rows are damaged: they are computed anew" in capsys.readouterr().err
    mended = Double()
    assert filled([5, 3, 9, 1], mended).whole
    assert mended.seen == 0


@pytest.mark.parametrize("left", [0, 5, 70, 130, 200])
def test_a_file_that_is_cut_off_is_told_and_computed_anew(cache, capsys, left):
    filled([5, 3, 9, 1], Double())
    (file,) = files(cache)
    file.write_bytes(file.read_bytes()[:left])
    network = Double()
    filled([5, 3, 9, 1], network)
    assert network.seen == 4
    assert "is damaged" in capsys.readouterr().err


def test_a_file_of_something_else_is_told_once_and_deleted(cache, capsys):
    filled([5], Double())
    stranger = files(cache)[0].with_name("stranger.npy")
    np.save(stranger, np.zeros((3, 3)))
    filled([6], Double())
    assert f"{stranger} is damaged" in capsys.readouterr().err
    assert not stranger.exists()
    filled([7], Double())
    assert not capsys.readouterr().err


def test_features_of_another_width_under_one_key_are_refused(cache):
    filled([5, 6], Double())

    class Wide(Double):
        def __call__(self, images):
            return super().__call__(images).repeat(1, 2)

    with pytest.raises(UserError, match=r"shape \(1, 6\) where \(N, 3\) are kept of it: its key must say"):
        filled([5, 7], Wide())


@pytest.mark.parametrize("shape", [(1,), (2, 3), (1, 3, 1)])
@pytest.mark.parametrize("before", [[], [5]])
def test_features_that_are_no_row_for_each_image_are_refused(cache, shape, before):
    if before:
        filled(before, Double())

    def network(images):
        return torch.zeros(shape)

    network.key = "double"
    with pytest.raises(UserError, match=r"gave features of shape .* for 1 images; needed is \(1, D\)"):
        filled([6], network)


def test_a_disk_that_is_full_costs_no_features(cache, monkeypatch, capsys):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features_module, "write_features", full)
    monkeypatch.setattr(features_module, "MOST_ROWS", 2)
    assert filled([5, 3, 9, 1], Double()).array[:, 0].tolist() == [10, 6, 18, 2]
    err = capsys.readouterr().err
    assert err.count("could not be kept") == 1
    assert "those that are not on disk yet are computed again by the next command" in err
    assert "No space left" in err


def test_a_file_is_whole_or_not_written(tmp_path):
    images = [bytes([number]) * 32 for number in range(3)]
    with pytest.raises(ValueError, match="2 rows for 3 images"):
        write_features(tmp_path / "f.npy", images, 4, [np.zeros((2, 4), np.float32)])
    assert list(tmp_path.iterdir()) == []
    write_features(tmp_path / "f.npy", images, 4, [np.ones((2, 4), np.float32), np.zeros((1, 4), np.float32)])
    file = read_features(tmp_path / "f.npy")
    assert file.images == images
    assert file.rows.sum() == 8
    assert all(file.is_sound(row) for row in range(3))
