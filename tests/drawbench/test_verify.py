import shutil
from dataclasses import replace

import pytest
from runs import Painter, start

from drawbench.journal import now
from drawbench.protocol import make_protocol
from drawbench.runner import generate
from drawbench.scores import ScoreFile, images_digest, scores_path, write_scores
from drawbench.verify import verify


@pytest.fixture
def run(tmp_path):
    made = start(tmp_path / "run")
    generate(made, Painter(extras=True, refuses=["005"]), made.items(), batch_size=4, device="cpu")
    return made


def found(run):
    return [(finding.kind, finding.where) for finding in verify(run)]


def test_a_whole_run_has_no_findings(run):
    assert verify(run) == []


def test_a_missing_image_is_found(run):
    run.image_path("001", 0).unlink()
    (finding,) = verify(run)
    assert finding[:3] == ("missing", "images/001/0.png", "was drawn and is gone")
    assert "repeat the `drawbench generate` command" in finding.remedy
    assert finding.damage


def test_a_truncated_image_is_found(run):
    file = run.image_path("001", 0)
    file.write_bytes(file.read_bytes()[:50])
    assert found(run) == [("truncated", "images/001/0.png")]


def test_an_altered_image_of_the_same_size_is_found(run):
    file = run.image_path("001", 0)
    data = bytearray(file.read_bytes())
    data[60] ^= 1
    file.write_bytes(data)
    assert found(run) == [("altered", "images/001/0.png")]
    assert verify(run)[0].remedy.startswith("delete images/001/0.png")


def test_swapped_images_are_found(run):
    one, two = run.image_path("001", 0), run.image_path("002", 0)
    data = one.read_bytes(), two.read_bytes()
    one.write_bytes(data[1])
    two.write_bytes(data[0])
    assert {where for _, where in found(run)} == {"images/001/0.png", "images/002/0.png"}


def test_surplus_files_are_found_and_leftovers_are_no_damage(run):
    shutil.copy(run.image_path("001", 0), run.image_path("001", 1))
    (run.path / "images" / "stray.txt").touch()
    (run.path / "images" / "001" / ".2.png.elsewhere-1-0.tmp").touch()
    findings = verify(run)
    assert {(f.kind, f.where, f.damage) for f in findings} == {
        ("surplus", "images/001/1.png", True),
        ("surplus", "images/stray.txt", True),
        ("leftover", "images/001/.2.png.elsewhere-1-0.tmp", False),
    }


def test_a_damaged_extra_is_found(run):
    run.extra_path("sketch", "001", 0).write_bytes(b"")
    assert found(run) == [("altered", "extras/sketch/001/0.png")]


def test_what_is_planned_and_not_drawn_is_found(run):
    grown = start(run.path, samples=2)
    assert {kind for kind, _ in found(grown)} == {"missing"}
    assert len(verify(grown)) == 6


def test_failures_are_found_and_refusals_are_none(run):
    grown = start(run.path, samples=2)
    generate(grown, Painter(fails=["003"]), grown.items(), batch_size=4, device="cpu")
    assert found(grown) == [("failed", "images/003/1.png")]


def test_an_image_whose_writer_was_killed_before_its_line_is_found(run):
    (file,) = (run.path / "journal").iterdir()
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], *lines[2:]]))
    assert ("surplus", "images/000/0.png") in found(run)


def test_scores_older_than_the_images_are_told_but_are_no_damage(run):
    protocol = make_protocol({"metric": "m"})
    write_scores(ScoreFile("m", "value", protocol, "0" * 64, [], [], True, now(), scores_path(run.path, "m", protocol)))
    (finding,) = verify(run)
    assert (finding.kind, finding.damage) == ("stale", False)


def test_damaged_scores_and_journals_are_findings_too(run):
    protocol = make_protocol({"metric": "m"})
    path = scores_path(run.path, "m", protocol)
    write_scores(ScoreFile("m", "value", protocol, images_digest(run.drawn()), [], [], True, now(), path, "0" * 64))
    assert [(f.kind, f.where) for f in verify(run)] == [("altered", f"scores/{path.stem}.parquet")]
    path.write_text("{")
    assert [(f.kind, f.where) for f in verify(run)] == [("altered", f"scores/{path.name}")]
    (journal,) = (run.path / "journal").iterdir()
    journal.write_bytes(b"nonsense\n" + journal.read_bytes())
    (finding,) = verify(run)
    assert (finding.kind, finding.damage) == ("altered", True)
    assert "line 1 is damaged" in finding.what


def test_an_image_of_another_seed_is_found(run):
    other = replace(run.manifest, seed=1)
    run.manifest = other
    assert {kind for kind, _ in found(run)} == {"altered"}
