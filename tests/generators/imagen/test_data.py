"""Training data: captions, order, crops, and what becomes of data that cannot be used."""

import json

import pytest
import torch
from picture_book import print_book
from PIL import Image

from drawbench.errors import UserError
from drawbench.generators.imagen.captions import read_folder
from drawbench.generators.imagen.data import (
    Bad,
    Folder,
    Function,
    Samples,
    batches,
    crop_together,
    square,
    to_tensor,
)
from drawbench.plugins import Plugin

ROWS = [("0.png", "a, red one"), ("1.png", 'a "blue" one')]


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return print_book(tmp_path_factory.mktemp("book"))


def samples(folder, size=16, low=None, crop=None, seed=0, captioned=True):
    return Samples(Folder(read_folder(folder, None, captioned).rows, seed), size, low, crop, seed, captioned)


def take(stream, count):
    return [next(stream) for _ in range(count)]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json"])
def test_captions_are_read_from_each_kind_of_file(book, tmp_path, kind):
    print_book(tmp_path, 2)
    (tmp_path / "captions.csv").unlink()
    file = tmp_path / f"captions.{kind}"
    if kind == "csv":
        file.write_text('\ufefffile_name,caption\n0.png,"a, red one"\n1.png,"a ""blue"" one"\n')
    elif kind == "tsv":
        file.write_text('image\ttext\n0.png\ta, red one\n1.png\t"a ""blue"" one"\n')
    elif kind == "jsonl":
        file.write_text("".join(json.dumps({"file_name": n, "prompt": c}) + "\n" for n, c in ROWS))
    else:
        images = [{"id": 7 + n, "file_name": name} for n, (name, _) in enumerate(ROWS)]
        notes = [{"image_id": 7 + n, "caption": caption} for n, (_, caption) in enumerate(ROWS)]
        file.write_text(json.dumps({"images": images, "annotations": notes}))
    assert [(row.name, row.caption) for row in read_folder(tmp_path, None, True).rows] == ROWS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("captions.csv", "file,words\na,b\n", "line 2: it has file, words; it needs one of caption, text, prompt"),
        ("captions.csv", 'file,text\n"a,b\n', "unexpected end of data"),
        ("captions.jsonl", "{", "line 1 is not JSON"),
        ("captions.jsonl", "[]", "line 1 is not a JSON object"),
        ("captions.json", "[]", "is not a captions file of COCO"),
        ("captions.json", '{"images": [], "annotations": [{"image_id": 3, "caption": "a"}]}', "KeyError: 3"),
        (
            "captions.csv",
            "file,text\ngone.png,a\nalso.png,\n",
            r"nothing to train on \(1 rows: image file not there; 1 rows: empty caption\)",
        ),
        ("other.csv", "file,text\n", "has no captions file; say which: --captions FILE"),
    ],
)
def test_a_captions_file_that_cannot_be_used_is_told_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_folder(tmp_path, None, True)


def test_two_captions_files_are_not_chosen_from(tmp_path):
    print_book(tmp_path, 1)
    (tmp_path / "metadata.csv").write_text("file_name,text\n0.png,a\n")
    with pytest.raises(UserError, match=r"several captions files: captions.csv, metadata.csv"):
        read_folder(tmp_path, None, True)
    assert len(read_folder(tmp_path, tmp_path / "metadata.csv", True).rows) == 1


def test_rows_without_caption_or_image_are_counted(tmp_path):
    print_book(tmp_path, 2)
    with open(tmp_path / "captions.csv", "a") as file:
        file.write("0.png,  \n1.png,\ngone.png,a picture\n")
    read = read_folder(tmp_path, None, True)
    assert len(read.rows) == 2
    assert read.faults == {"empty caption": 2, "image file not there": 1}
    assert read.examples == {"empty caption": "0.png", "image file not there": "gone.png"}


def test_an_unconditional_stage_needs_no_captions(tmp_path):
    print_book(tmp_path, 2)
    (tmp_path / "captions.csv").unlink()
    assert [row.name for row in read_folder(tmp_path, None, False).rows] == ["0.png", "1.png"]


def test_every_image_comes_once_an_epoch_in_another_order(book):
    stream = batches(samples(book), 0, 1, 8, 0)
    epochs = [batch.captions for batch in take(stream, 3)]
    assert all(len(set(captions)) == 8 for captions in epochs)
    assert len({tuple(captions) for captions in epochs}) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_drawn_for_a_sample_does_not_depend_on_batches_processes_or_workers(book, workers):
    data = samples(book, 32, 16)
    one = {
        int(b.positions[n]): (b.captions[n], b.t[n], b.eps[n], b.aug_noise[n], b.drop[n], b.images[n])
        for b in take(batches(data, 0, 1, 12, 0), 2)
        for n in range(12)
    }
    for rank in (0, 1):
        for b in take(batches(data, rank, 2, 5, workers), 2):
            for n, position in enumerate(b.positions.tolist()):
                caption, *tensors = one[position]
                assert caption == b.captions[n]
                assert all(
                    torch.equal(x, y)
                    for x, y in zip(tensors, (b.t[n], b.eps[n], b.aug_noise[n], b.drop[n], b.images[n]), strict=True)
                )
    other = take(batches(samples(book, 32, 16, seed=1), 0, 1, 12, 0), 1)[0]
    assert not torch.equal(other.eps[0], one[0][2])


def test_bad_images_are_left_out_and_told(tmp_path):
    print_book(tmp_path, 4)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:80])
    Image.new("RGB", (200, 15)).save(tmp_path / "2.png")
    Image.new("RGBA", (64, 64), (0, 0, 0, 10)).save(tmp_path / "3.png")
    batch = next(batches(samples(tmp_path), 0, 1, 6, 0))
    assert set(batch.captions) == {"a red disc"}
    reasons = {one.what: one.reason for one in batch.bad}
    assert set(reasons) == {"1.png", "2.png", "3.png"}
    assert reasons["2.png"] == "200x15 is smaller than the stage's 16x16"
    assert "transparent" in reasons["3.png"]


def test_data_without_a_usable_image_ends_with_what_was_wrong(tmp_path):
    print_book(tmp_path, 2)
    with pytest.raises(
        UserError, match=r"no usable data: the last \d+ samples were bad, such as .\.png: 96x96 is smaller"
    ):
        next(batches(samples(tmp_path, size=128), 0, 1, 2, 0))


def stop_short(position, size):
    if position >= 3:
        raise ValueError("no more ink")
    return Image.new("RGB", (size, size)), "a"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_function_that_fails_is_named_with_the_place(workers):
    plugin = Plugin("datasets", "stop_short", f"{__file__}:stop_short", "a file")
    stream = batches(Samples(Function(plugin, 8), 8, None, None, 0, True), 0, 1, 2, workers)
    with pytest.raises(UserError, match=r"the data function failed at 3: ValueError: no more ink"):
        take(stream, 3)


def wrong_kind(position, size):
    return "no image", "a caption"


def test_a_data_function_that_gives_something_else_is_told():
    data = Samples(Function(Plugin("datasets", "wrong", f"{__file__}:wrong_kind", "a file"), 8), 8, None, None, 0, True)
    assert data[0] == Bad("0", "it gave tuple, not (PIL image, caption)", fatal=True)


def test_crops_of_both_resolutions_show_the_same():
    """The low-resolution image is the mean of each 4x4 block, wherever the crop lies."""
    high = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    low = torch.nn.functional.avg_pool2d(high, 4)
    places = set()
    for x, y in torch.rand(200, 2, generator=torch.Generator().manual_seed(1)).tolist():
        a, b = crop_together(high, low, 16, x, y)
        assert a.shape == (3, 16, 16)
        assert torch.allclose(torch.nn.functional.avg_pool2d(a, 4), b, atol=1e-6)
        places.add(float(b[0, 0, 0]))
    assert len(places) > 80
    corner, _ = crop_together(high, low, 16, 0.9999, 0.9999)
    assert torch.equal(corner, high[:, 48:, 48:])


def test_images_become_their_middle_square():
    image = Image.new("RGB", (30, 10), (255, 0, 0))
    image.paste((0, 0, 255), (10, 0, 20, 10))
    pixels = to_tensor(square(image, 10))
    assert torch.equal(pixels, torch.tensor([-1.0, -1.0, 1.0])[:, None, None].expand(3, 10, 10))
    assert to_tensor(square(image, 5)).shape == (3, 5, 5)
