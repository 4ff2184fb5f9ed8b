"""Runs laid out for other tools, and read again: the same bytes and the same pixels, whatever the layout."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from errno import EXDEV

import pytest
from runs import Painter, image_bytes, manifest, start

from drawbench.cli import main
from drawbench.errors import UserError
from drawbench.export import LAYOUTS, export
from drawbench.files import host
from drawbench.generators.folder import folder
from drawbench.interfaces import Prompt
from drawbench.prompts import make_prompt_set, read_prompt_file
from drawbench.runner import generate
from drawbench.store import Run

WORDS = [
    Prompt("000000000042", 'A "quoted", comma.', "odd"),
    Prompt("cat_on_mat", "Two\nlines.", None),
    Prompt("twin.a", "Said twice."),
    Prompt("twin.b", "Said twice.", "odd"),
]


def drawn(path, prompts=None, painter=None, **options):
    run = start(path, make_prompt_set("words", WORDS) if prompts is None else prompts, **options)
    generate(run, painter or Painter(), run.items(), batch_size=4, device="cpu")
    return run


@pytest.fixture
def drawbench(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["drawbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_exported_comes_in_again_with_the_same_bytes_and_pixels(tmp_path, layout, samples, link):
    run = drawn(tmp_path / "run", samples=samples)
    done = export(run, tmp_path / "out", layout, link=link)
    assert (done.images, done.refused, done.missing) == (4 * samples, 0, 0)
    mapping = tmp_path / "out" / "mapping.csv" if layout == "csv" else None
    again = Run.start(tmp_path / "again", manifest(run.prompt_set, samples=samples, name="again"), run.prompt_set)
    summary = generate(again, folder(path=tmp_path / "out", mapping=mapping), again.items(), batch_size=4, device="cpu")
    assert (summary.drawn, summary.failed, summary.remarks) == (4 * samples, 0, [])
    assert [r.facts["source_sha256"] for r in again.drawn()] == [r.sha256 for r in run.drawn()]
    assert image_bytes(again.path) == image_bytes(run.path)


def test_a_mapping_is_set_from_the_command_line_and_is_no_part_of_the_system(tmp_path, drawbench):
    run = drawn(tmp_path / "run")
    export(run, tmp_path / "out", "csv")
    (tmp_path / "own.jsonl").write_text("".join(json.dumps({"id": p.id, "prompt": p.text}) + "\n" for p in WORDS))
    given = ("generate", "--generator", "mine=folder", "--prompts", tmp_path / "own.jsonl", "-o", tmp_path / "again")
    settings = (f"mine.path={tmp_path / 'out'}", f"mine.mapping={tmp_path / 'out' / 'mapping.csv'}")
    code, out, _ = drawbench(*given, "--set", settings[0], "--set", settings[1])
    assert (code, "4 drawn of 4" in out) == (0, True)
    again = Run.open(tmp_path / "again")
    assert again.manifest.system.options == {}
    assert [r.sha256 for r in again.drawn()] == [r.sha256 for r in run.drawn()]


def test_flat_files_have_the_prompts_ids_for_names(tmp_path):
    export(drawn(tmp_path / "run"), tmp_path / "out", "flat")
    names = {f"{prompt.id}.png" for prompt in WORDS}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    export(drawn(tmp_path / "two", samples=2), tmp_path / "more", "flat")
    assert {file.name for file in (tmp_path / "more").iterdir()} == {f"{p.id}_{s}.png" for p in WORDS for s in (0, 1)}


def test_genevals_own_prompts_come_back_as_its_own_metadata(tmp_path):
    lines = [
        {"tag": "counting", "include": [{"class": "bench", "count": 2}], "exclude": [], "prompt": "two benches"},
        {"tag": "colors", "include": [{"class": "cow", "count": 1, "color": "red"}], "prompt": "a red cow"},
    ]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    prompts, _ = read_prompt_file(tmp_path / "own.jsonl")
    export(drawn(tmp_path / "run", prompts, samples=2), tmp_path / "out", "geneval")
    files = sorted(str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert files == [
        f"{n}/{name}" for n in ("00000", "00001") for name in ("metadata.jsonl", "samples/0000.png", "samples/0001.png")
    ]
    for number, (line, prompt) in enumerate(zip(lines, prompts.prompts, strict=True)):
        about = json.loads((tmp_path / "out" / f"{number:05d}" / "metadata.jsonl").read_text())
        assert about == {**line, "id": prompt.id}


def test_geneval_numbers_are_places_in_the_set_and_the_tag_is_the_category(tmp_path):
    prompts = make_prompt_set("words", WORDS)
    run = drawn(tmp_path / "run", prompts, ids=("twin.b",))
    export(run, tmp_path / "out", "geneval")
    (only,) = (tmp_path / "out").iterdir()
    assert only.name == "00003"
    assert json.loads((only / "metadata.jsonl").read_text()) == {"tag": "odd", "prompt": "Said twice.", "id": "twin.b"}


def test_a_column_that_has_genevals_name_and_is_no_json_stays_text(tmp_path):
    prompts = make_prompt_set("own", [Prompt("a", "A.", metadata={"include": "two cats"})])
    export(drawn(tmp_path / "run", prompts), tmp_path / "out", "geneval")
    assert json.loads((tmp_path / "out" / "00000" / "metadata.jsonl").read_text())["include"] == "two cats"


def test_the_table_says_all_of_each_image(tmp_path):
    run = drawn(tmp_path / "run", samples=2)
    export(run, tmp_path / "out", "csv")
    with open(tmp_path / "out" / "mapping.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_id = {prompt.id: prompt for prompt in WORDS}
    assert len(rows) == 8
    for row, record in zip(rows, run.drawn(), strict=True):
        prompt = by_id[row["id"]]
        assert (row["prompt"], row["category"]) == (prompt.text, prompt.category or "")
        assert (row["sample"], row["seed"], row["sha256"]) == (str(record.sample), str(record.seed), record.sha256)
        assert hashlib.sha256((tmp_path / "out" / row["file"]).read_bytes()).hexdigest() == record.sha256


def test_refused_and_failed_images_are_counted_aloud(tmp_path, drawbench):
    run = drawn(tmp_path / "run", painter=Painter(refuses=["twin.a"]))
    code, out, _ = drawbench("export", run.path, "--layout", "flat", "-o", tmp_path / "out")
    assert (code, "3 images" in out, out.rstrip().endswith("left out: 1 refused")) == (0, True, True)
    run = drawn(tmp_path / "failed", painter=Painter(refuses=["twin.a"], fails=["twin.b"]))
    code, out, _ = drawbench("export", run.path, "--layout", "csv", "-o", tmp_path / "other")
    assert (code, "2 images" in out, out.rstrip().endswith("left out: 1 refused, 1 NOT DRAWN")) == (1, True, True)


def test_a_linked_export_shares_the_files_and_a_copied_one_does_not(tmp_path, drawbench):
    run = drawn(tmp_path / "run")
    source = run.image_path("twin.a", 0)
    for flags, shared in ((["--link"], True), ([], False)):
        out = tmp_path / f"out{shared}"
        assert drawbench("export", run.path, "--layout", "flat", "-o", out, *flags)[0] == 0
        assert os.path.samefile(source, out / "twin.a.png") is shared


def test_a_link_to_another_file_system_is_refused_by_name(tmp_path, monkeypatch):
    def link(source, target):
        raise OSError(EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(UserError, match="is on another file system than .*; leave --link out"):
        export(drawn(tmp_path / "run"), tmp_path / "out", "flat", link=True)
    assert {file.name for file in tmp_path.iterdir()} == {"run"}


def test_an_altered_or_missing_image_stops_the_export_and_nothing_is_left(tmp_path):
    run = drawn(tmp_path / "run")
    file = run.image_path("twin.b", 0)
    file.write_bytes(file.read_bytes()[:-1])
    for _ in range(2):
        with pytest.raises(
            UserError,
            match=r"twin\.b/0\.png (is not the file that was drawn|was drawn and is not there); `drawbench verify",
        ):
            export(run, tmp_path / "out", "geneval")
        assert {file.name for file in tmp_path.iterdir()} == {"run"}
        file.unlink(missing_ok=True)


def test_what_a_killed_export_left_is_swept_by_the_next_one(tmp_path):
    run = drawn(tmp_path / "run")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    running = f".out.{host()}-{os.getppid()}.partial"
    old, elsewhere, other = (
        tmp_path / name
        for name in (
            f".out.{host()}-{ended.pid}.partial",
            f".out.elsewhere-{ended.pid}.partial",
            f".in.{host()}-1.partial",
        )
    )
    for path in (old, elsewhere, other, tmp_path / running):
        (path / "images").mkdir(parents=True)
        (path / "images" / "1.png").touch()
    export(run, tmp_path / "out", "csv")
    assert not old.exists()
    assert all(path.exists() for path in (elsewhere, other, tmp_path / running, tmp_path / "out"))


def test_where_an_export_may_not_go(tmp_path, drawbench):
    run = drawn(tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").touch()
    for place, message in (
        (tmp_path / "full", "is not empty; give a new folder"),
        (tmp_path / "full" / "kept", "is not empty; give a new folder"),
        (run.path / "flat", "lies within the run"),
    ):
        code, _, err = drawbench("export", run.path, "--layout", "flat", "-o", place)
        assert (code, message in err) == (2, True)
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["kept"]
    (tmp_path / "empty").mkdir()
    assert drawbench("export", run.path, "--layout", "flat", "-o", tmp_path / "empty")[0] == 0
    assert len(list((tmp_path / "empty").iterdir())) == 4


def test_a_run_without_images_has_nothing_to_export(tmp_path):
    with pytest.raises(UserError, match="has no images to export"):
        export(start(tmp_path / "run"), tmp_path / "out", "flat")


@pytest.mark.parametrize(
    ("ids", "samples", "name"),
    [(("a", "a_0"), 1, "a"), (("a", "a_1"), 2, "a_1"), ((".a", "b"), 1, ".a")],
)
def test_ids_that_flat_names_would_mix_up_are_refused_there_only(tmp_path, ids, samples, name):
    run = drawn(tmp_path / "run", make_prompt_set("own", [Prompt(i, f"{i}!") for i in ids]), samples=samples)
    with pytest.raises(UserError, match=rf"the prompt id '{name}' does not tell .*; use --layout csv"):
        export(run, tmp_path / "out", "flat")
    export(run, tmp_path / "out", "csv")


def test_a_name_that_is_free_for_a_refusal_only_is_not_used(tmp_path):
    """Else the import would take the second sample of 'a' for the first of 'a_1'."""
    prompts = make_prompt_set("own", [Prompt("a", "A."), Prompt("a_1", "B.")])
    run = drawn(tmp_path / "run", prompts, Painter(refuses=["a_1"]), samples=2)
    with pytest.raises(UserError, match="the prompt id 'a_1' does not tell"):
        export(run, tmp_path / "out", "flat")


def test_images_in_tars_are_copied_and_cannot_be_linked(tmp_path):
    run = drawn(tmp_path / "run", store="tar")
    with pytest.raises(UserError, match="can have no second name; leave --link out"):
        export(run, tmp_path / "out", "flat", link=True)
    assert export(run, tmp_path / "out", "flat").images == 4
    found = {hashlib.sha256(file.read_bytes()).hexdigest() for file in (tmp_path / "out").iterdir()}
    assert found == {record.sha256 for record in run.drawn()}
