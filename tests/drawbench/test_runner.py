import json

import pytest
from PIL import Image
from runs import Painter, image_bytes, prompt_set, start

from drawbench.interfaces import Drawn
from drawbench.runner import generate, pending


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


def test_a_refusal_is_counted_apart_and_stands(tmp_path):
    run, painter = start(tmp_path / "run"), Painter(refuses=["001"])
    summary = draw(run, painter)
    assert (summary.drawn, summary.refused, summary.failed) == (5, 1, 0)
    assert run.records()["001", 0].reason == "too bold"
    assert pending(run, run.items()) == []


def test_an_image_that_vanished_or_was_cut_is_drawn_again(tmp_path):
    run = start(tmp_path / "run")
    draw(run, Painter())
    before = image_bytes(run.path)
    run.image_path("001", 0).unlink()
    cut = run.image_path("003", 0)
    cut.write_bytes(cut.read_bytes()[:-1])
    assert [item.prompt.id for item in pending(run, run.items())] == ["001", "003"]
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
    line = json.loads(file.read_text())
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
