import json
import os

import numpy as np
import pytest
from PIL import Image
from runs import Painter, image_bytes, prompt_set, start

from drawbench.errors import UserError
from drawbench.interfaces import Drawn, Failed
from drawbench.runner import generate


def draw(run, painter, batch_size=4, items=None):
    return generate(run, painter, items or run.items(), batch_size=batch_size, device="cpu")


def test_every_image_is_drawn_once_and_the_next_call_draws_none(tmp_path):
    run, painter = start(tmp_path / "run", samples=2), Painter()
    summary = draw(run, painter)
    assert (summary.drawn, summary.already, summary.failed) == (12, 0, 0)
    assert draw(run, painter).drawn == 0
    assert sum(map(len, painter.batches)) == 12
    assert "complete, all 12 images are there" in draw(run, painter).line(run)


def test_batch_size_and_order_do_not_change_a_byte(tmp_path):
    first = start(tmp_path / "a", samples=2)
    draw(first, Painter(extras=True), batch_size=5)
    second = start(tmp_path / "b", samples=2)
    draw(second, Painter(extras=True, pads=True), batch_size=3, items=list(reversed(second.items())))
    assert image_bytes(tmp_path / "a") == image_bytes(tmp_path / "b")
    assert len(image_bytes(tmp_path / "a")) == 24


def test_a_padded_batch_is_filled_with_its_last_item_and_the_surplus_dropped(tmp_path):
    run, painter = start(tmp_path / "run"), Painter(pads=True)
    draw(run, painter)
    assert painter.batches == [["000", "001", "002", "003"], ["004", "005", "005", "005"]]
    assert len(run.drawn()) == 6
    unpadded = Painter()
    draw(start(tmp_path / "other"), unpadded)
    assert unpadded.batches[1] == ["004", "005"]


def test_one_bad_prompt_does_not_end_the_run_and_is_tried_again(tmp_path):
    run, painter = start(tmp_path / "run"), Painter(pads=True, fails=["002"])
    summary = draw(run, painter)
    assert (summary.drawn, summary.failed) == (5, 1)
    assert ["002"] * 4 in painter.batches  # alone, and padded
    record = run.records()["002", 0]
    assert (record.status, record.reason) == ("failed", "RuntimeError: the brush broke")
    assert "runs.py" in record.traceback
    assert "1 FAILED" in summary.line(run)
    mended = draw(run, Painter(pads=True))
    assert (mended.drawn, mended.already, mended.failed) == (1, 5, 0)
    assert len(run.drawn()) == 6


class Candid(Painter):
    """Says of each item what became of it, and draws the others of the batch."""

    def __init__(self, failed):
        super().__init__()
        self.failed = failed

    def generate(self, items):
        return [
            self.failed.get(i.prompt.id) or result for i, result in zip(items, super().generate(items), strict=True)
        ]


def test_a_failure_among_the_results_costs_its_batch_mates_nothing(tmp_path):
    run, painter = start(tmp_path / "run"), Candid({"001": Failed("the paint ran out")})
    summary = draw(run, painter, batch_size=3)
    assert (summary.drawn, summary.failed) == (5, 1)
    assert len(painter.batches) == 2  # No batch was asked for again.
    record = run.records()["001", 0]
    assert (record.status, record.reason, record.traceback) == ("failed", "the paint ran out", None)
    assert draw(run, Painter()).drawn == 1


def test_a_failure_that_ends_the_run_leaves_its_batch_mates_on_record(tmp_path):
    run = start(tmp_path / "run")
    painter = Candid({"001": Failed("the shop is shut", ends_run=True), "002": Failed("dry")})
    with pytest.raises(UserError, match="^the shop is shut$"):
        draw(run, painter, batch_size=4)
    assert painter.batches == [["000", "001", "002", "003"]]
    assert {key[0]: record.status for key, record in run.records().items()} == {
        "000": "drawn",
        "002": "failed",
        "003": "drawn",
    }
    assert draw(run, Painter()).drawn == 4


def test_a_refusal_is_counted_apart_and_stands(tmp_path):
    run, painter = start(tmp_path / "run"), Painter(refuses=["001"])
    summary = draw(run, painter)
    assert (summary.drawn, summary.refused, summary.failed) == (5, 1, 0)
    assert run.records()["001", 0].reason == "too bold"
    assert run.lacking(run.items()) == []


def test_an_image_that_vanished_or_was_cut_is_drawn_again(tmp_path):
    run = start(tmp_path / "run")
    draw(run, Painter())
    before = image_bytes(run.path)
    run.image_path("001", 0).unlink()
    cut = run.image_path("003", 0)
    cut.write_bytes(cut.read_bytes()[:-1])
    assert [item.prompt.id for item in run.lacking(run.items())] == ["001", "003"]
    assert draw(run, Painter()).drawn == 2
    assert image_bytes(run.path) == before


def test_more_samples_add_images_and_leave_the_others(tmp_path):
    draw(start(tmp_path / "run"), Painter())
    before = image_bytes(tmp_path / "run")
    summary = draw(start(tmp_path / "run", samples=2), Painter())
    assert (summary.drawn, summary.already) == (6, 6)
    assert before.items() <= image_bytes(tmp_path / "run").items()


def test_an_image_of_another_mode_fails_by_name(tmp_path):
    class Grey(Painter):
        def paint(self, seed):
            return Image.new("L", (4, 4))

    run = start(tmp_path / "run")
    assert draw(run, Grey()).failed == 6
    assert "mode 'L'; allowed is 'RGB'" in run.records()["000", 0].reason


def test_a_generator_that_miscounts_fails_by_name(tmp_path):
    class Short(Painter):
        def generate(self, items):
            return []

    run = start(tmp_path / "run")
    assert draw(run, Short()).failed == 6
    assert "returned 0 results for 1 items" in run.records()["000", 0].reason


def test_what_is_known_of_an_image_is_in_the_journal(tmp_path):
    class Talkative(Painter):
        def generate(self, items):
            return [Drawn(self.paint(i.seed), prompt_used=i.prompt.text.lower(), facts={"cost": 0.02}) for i in items]

    run = start(tmp_path / "run", prompt_set(1))
    draw(run, Talkative())
    (file,) = (run.path / "journal").iterdir()
    header, line = map(json.loads, file.read_text().splitlines())
    assert (header["batch_size"], header["device"]) == (4, "cpu")
    assert {"drawbench", "python", "numpy", "pillow", "torch"} <= header.keys()
    assert {
        key: line[key] for key in ("prompt", "sample", "status", "width", "height", "device", "prompt_used", "facts")
    } == {
        "prompt": "000",
        "sample": 0,
        "status": "drawn",
        "width": 8,
        "height": 8,
        "device": "cpu",
        "prompt_used": "prompt 0.",
        "facts": {"cost": 0.02},
    }
    assert len(line["sha256"]) == 64
    assert line["bytes"] == run.image_path("000", 0).stat().st_size


def test_a_lost_extra_is_drawn_again(tmp_path):
    run = start(tmp_path / "run")
    draw(run, Painter(extras=True))
    before = image_bytes(run.path)
    run.extra_path("sketch", "002", 0).unlink()
    assert draw(run, Painter(extras=True)).drawn == 1
    assert image_bytes(run.path) == before


@pytest.mark.parametrize(
    "drawn",
    [
        lambda image: Drawn(image, facts={"x": np.float32(1)}),
        lambda image: Drawn(image, facts={"x": float("nan")}),
        lambda image: Drawn(image, facts={"x": "\udcff"}),
        lambda image: Drawn(image, extras={"../../escaped": image}),
        lambda image: Drawn(image, extras={"grey": image.convert("L")}),
        lambda image: "not an image",
    ],
)
def test_what_cannot_be_written_down_fails_alone_and_leaves_no_file(tmp_path, drawn):
    class Odd(Painter):
        def generate(self, items):
            return [drawn(self.paint(i.seed)) if i.prompt.id == "001" else Drawn(self.paint(i.seed)) for i in items]

    run = start(tmp_path / "run")
    summary = draw(run, Odd())
    assert (summary.drawn, summary.failed) == (5, 1)
    assert not run.image_path("001", 0).exists()
    assert not list(tmp_path.rglob("*escaped*"))


def test_refusals_are_told_in_a_complete_run(tmp_path):
    run = start(tmp_path / "run")
    draw(run, Painter(refuses=["001"]))
    assert "complete, 5 images are there, 1 were refused" in draw(run, Painter()).line(run)


def test_when_twenty_in_a_row_fail_for_one_reason_the_rest_is_not_tried(tmp_path):
    run = start(tmp_path / "run", prompt_set(60))
    summary = draw(run, Painter(fails=[f"{n:03d}" for n in range(60)]))
    assert (summary.failed, summary.stopped) == (20, True)
    assert "stopped: 20 in a row failed alike" in summary.line(run)
    other = start(tmp_path / "other", prompt_set(60))
    assert draw(other, Painter(fails=[f"{n:03d}" for n in range(60) if n % 15])).failed == 56


def test_files_are_synced_before_the_journal_says_that_they_are_there(tmp_path, monkeypatch):
    """Extras, then the image, then the line, each on disk before the next."""
    done = []
    replace_, sync = os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda a, b: done.append(("renamed", str(b))) or replace_(a, b))
    monkeypatch.setattr(os, "fsync", lambda fd: done.append(("synced", os.readlink(f"/proc/self/fd/{fd}"))) or sync(fd))
    run = start(tmp_path / "run", prompt_set(1))
    done.clear()
    draw(run, Painter(extras=True))
    kinds = [
        (what, next(part for part in ("journal", "extras", "images") if f"/{part}" in path), path.endswith(".jsonl"))
        for what, path in done
    ]
    file_then_folder = [("synced", False), ("renamed", False), ("synced", False)]
    assert [(w, j) for w, part, j in kinds if part == "extras"] == file_then_folder
    assert [(w, j) for w, part, j in kinds if part == "images"] == file_then_folder
    assert [part for _, part, _ in kinds] == ["extras"] * 3 + ["images"] * 3 + ["journal"] * 2
    assert kinds[-1] == ("synced", "journal", True)


def test_an_interrupt_leaves_what_was_drawn(tmp_path):
    class Tired(Painter):
        def generate(self, items):
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().generate(items)

    run = start(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        draw(run, Tired(), batch_size=2)
    assert len(run.drawn()) == 4
    assert draw(run, Painter(), batch_size=2).drawn == 2
