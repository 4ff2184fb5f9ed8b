"""The command line, as a user types it: exit codes, one line for what is wrong, and what is said when all is well."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from drawbench.cli import main
from drawbench.store import Run

ROOT = Path(__file__).resolve().parents[2]
SIGNS = str(ROOT / "examples" / "signs.csv")
POSTER = f"poster={ROOT / 'examples' / 'poster.py'}:poster"


@pytest.fixture
def drawbench(monkeypatch, capsys):
    """Calls the command line; returns (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["drawbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


def one_line(err):
    """The line of what is wrong, and no other."""
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith("drawbench: ")
    return lines[0]


def loaded_by(*arguments):
    """Returns the heavy modules that a command line imports."""
    code = (
        "import sys\nsys.argv = ['drawbench', *sys.argv[1:]]\nfrom drawbench.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('LOADED', [m for m in ('torch', 'streamlit', 'transformers', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return done.stdout.rpartition("LOADED ")[2].strip()


@pytest.mark.parametrize(
    "command",
    [
        "",
        "run",
        "generate",
        "score",
        "report",
        "compare",
        "sweep",
        "fid-30k",
        "explain-fid",
        "reference make",
        "encode",
        "export",
        "verify",
        "list",
        "doctor",
    ],
)
def test_every_help_teaches_with_an_example(drawbench, command):
    code, out, _ = drawbench(*command.split(), "--help")
    assert code == 0
    assert re.search(r"Examples?:\n\s+drawbench ", out)


def test_the_bare_command_shows_its_help(drawbench):
    code, out, err = drawbench()
    assert (code, err) == (2, "")
    assert out.startswith("Usage: drawbench")


def test_help_list_and_verify_load_nothing_heavy(drawbench, tmp_path):
    drawbench("generate", "--generator", "noise", "--prompts", SIGNS, "--limit", "2", "-o", tmp_path / "run")
    for arguments in (["--help"], ["run", "--help"], ["list", "metrics"], ["verify", tmp_path / "run"]):
        assert loaded_by(*arguments) == "[]", arguments
    done = subprocess.run(
        [sys.executable, "-c", "import sys, drawbench; print('torch' in sys.modules, 'streamlit' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False False"


def test_generating_verifying_and_generating_again(drawbench, tmp_path):
    command = ("generate", "--generator", "noise", "--set", "noise.size=32", "--prompts", SIGNS, "-o", tmp_path / "run")
    code, out, _ = drawbench(*command)
    assert code == 0
    assert "20 drawn of 20" in out
    assert drawbench("verify", tmp_path / "run")[:2] == (0, f"{tmp_path / 'run'}: whole, 20 images planned\n")
    code, out, _ = drawbench(*command)
    assert code == 0
    assert "complete, all 20 images are there" in out
    assert Run.open(tmp_path / "run").manifest.system.options == {"size": 32, "resolution": 32}


def test_damage_is_found_named_and_mended_by_the_same_command(drawbench, tmp_path):
    command = ("generate", "--generator", "noise", "--prompts", SIGNS, "--limit", "4", "-o", tmp_path / "run")
    drawbench(*command)
    (tmp_path / "run" / "images" / "001" / "0.png").unlink()
    code, out, _ = drawbench("verify", tmp_path / "run")
    assert code == 1
    assert "missing: images/001/0.png" in out
    code, out, _ = drawbench("verify", tmp_path / "run", "--json")
    assert json.loads(out)[0]["kind"] == "missing"
    assert drawbench(*command)[0] == 0
    assert drawbench("verify", tmp_path / "run")[0] == 0


def test_failed_items_give_exit_code_1_and_are_tried_again(drawbench, tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(1, 20):
        Image.new("RGB", (8, 8)).save(tmp_path / "in" / f"{number:03d}.png")
    command = ("generate", "--generator", "mine=folder", "--set", f"mine.path={tmp_path / 'in'}", "--prompts", SIGNS)
    code, out, err = drawbench(*command, "-o", tmp_path / "run")
    assert code == 1
    assert "19 drawn, 1 FAILED" in out
    assert "failed: prompt 020, sample 0: no image of prompt 020" in err
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "020.png")
    code, out, _ = drawbench(*command, "-o", tmp_path / "run")
    assert code == 0
    assert "1 drawn, 19 were there of 20" in out


def test_a_larger_limit_and_more_samples_add_to_a_run(drawbench, tmp_path):
    command = ("generate", "--generator", "noise", "--prompts", SIGNS, "-o", tmp_path / "run")
    assert "4 drawn of 4" in drawbench(*command, "--limit", "4")[1]
    assert "6 drawn, 4 were there of 10" in drawbench(*command, "--limit", "0.5")[1]
    assert "10 drawn, 10 were there of 20" in drawbench(*command, "--limit", "0.5", "--samples", "2")[1]
    code, _, err = drawbench(*command, "--samples", "1")
    assert code == 2
    assert "has 2 samples per prompt; --samples 1 takes none away" in one_line(err)
    code, out, _ = drawbench(*command, "--category", "shops")
    assert (code, "of 10" in out) == (0, True), "5 prompts of the category, and the 2 samples that the run has"
    assert Run.open(tmp_path / "run").manifest.plan.samples == 2


def test_several_generators_and_sets_have_a_folder_each(drawbench, tmp_path):
    (tmp_path / "own.txt").write_text("One.\nTwo.\n")
    given = ("--generator", "noise", "--generator", POSTER, "--prompts", SIGNS, "--prompts", tmp_path / "own.txt")
    code, _, _ = drawbench("generate", *given, "-o", tmp_path / "out")
    assert code == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"noise-signs", "noise-own", "poster-signs", "poster-own"}


def test_run_draws_scores_and_reports_and_is_quick_to_repeat(drawbench, tmp_path):
    command = ("run", "--generator", "noise", "--generator", POSTER, "--prompts", SIGNS, "--metric", "image_stats")
    code, out, _ = drawbench(*command, "-o", tmp_path / "out")
    assert code == 0
    assert f"report: {tmp_path / 'out' / 'report.html'}" in out
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")
    code, out, err = drawbench(*command, "-o", tmp_path / "out")
    assert code == 0
    assert out.count("complete, all 20 images are there") == 2
    assert "score" not in err  # no pass over the images


def test_run_skips_a_default_metric_without_weights_aloud_and_ends_with_3(drawbench, tmp_path):
    code, out, err = drawbench(
        "run", "--generator", "noise", "--prompts", SIGNS, "--limit", "3", "-o", tmp_path / "out"
    )
    assert code == 3
    assert "skipped: clip_score: CLIP weights ViT-B-32 'openai'" in err
    assert "text_rendering" in out
    assert "clip_score" in (tmp_path / "out" / "report.html").read_text()


def test_a_metric_that_was_asked_for_and_has_no_weights_ends_the_command_before_anything_is_drawn(
    drawbench, tmp_path, cache
):
    given = ("--generator", "noise", "--prompts", SIGNS, "--metric", "clip_score", "-o", tmp_path / "out")
    code, _, err = drawbench("run", *given)
    assert code == 3
    line = one_line(err)
    assert str(cache / "weights" / "ViT-B-32-openai.safetensors") in line
    assert "--set clip_score.weights=FILE" in line
    assert not (tmp_path / "out").exists()


def test_scores_are_printed_as_json_and_kept(drawbench, tmp_path):
    drawbench("generate", "--generator", POSTER, "--prompts", SIGNS, "--samples", "2", "-o", tmp_path / "run")
    code, out, _ = drawbench("score", tmp_path / "run", "--metric", "shape=image_stats", "--json")
    assert code == 0
    rows = json.loads(out)
    (width,) = [row for row in rows if row["output"] == "width" and row["category"] is None]
    assert (width["metric"], width["value"], width["n"], width["n_prompts"]) == ("shape", 256.0, 40, 20)
    assert width["protocol"]["fields"]["metric"] == "image_stats"
    assert {row["category"] for row in rows} == {None, "Shops", "Streets", "Things", "Plain"}
    assert [row["value"] for row in rows if row["output"] is None and row["category"] is None] == [0.25], (
        "no text, no drawing"
    )
    assert len(list((tmp_path / "run" / "scores").iterdir())) == 2
    code, out, _ = drawbench("score", tmp_path / "run", "--metric", "shape=image_stats", "--over", "samples", "--json")
    assert {row["interval"]["over"] for row in json.loads(out) if row["interval"]} == {"samples"}


def test_runs_of_one_system_are_told_apart_by_their_folders(drawbench, tmp_path):
    for name in ("one", "two"):
        drawbench("generate", "--generator", "noise", "--prompts", "shapes", "--limit", "2", "-o", tmp_path / name)
    code, out, _ = drawbench("score", tmp_path / "one", tmp_path / "two", "--metric", "image_stats")
    assert code == 0
    assert "noise (one)  " in out
    assert "noise (two)  " in out
    _, out, _ = drawbench("score", tmp_path / "one", "--metric", "image_stats")
    assert "(one)" not in out


def test_a_metric_whose_code_or_options_change_is_scored_anew(drawbench, tmp_path):
    drawbench("generate", "--generator", "noise", "--prompts", SIGNS, "--limit", "3", "-o", tmp_path / "run")
    code = (
        "from drawbench.interfaces import Output, Scored\nimport numpy as np\n"
        "class M:\n    outputs = {'v': Output(True, 'mean', True)}\n    network = None\n"
        "    def __init__(self, k): self.k = k\n    def protocol(self): return {}\n"
        "    def score(self, images, features, prompts): return Scored({'v': np.full(len(images), self.k)})\n"
        "def m(*, k: float = 1.0): return M(k)\n"
    )

    def value(*more):
        out = drawbench("score", tmp_path / "run", "--metric", f"m={tmp_path / 'met.py'}:m", "--json", *more)[1]
        return json.loads(out)[0]["value"]

    (tmp_path / "met.py").write_text(code)
    assert value() == 1
    assert value("--set", "m.k=7") == 7
    (tmp_path / "met.py").write_text(code.replace("self.k)", "self.k + 1000)"))
    assert value() == 1001


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("    def score_prompt(self, images, features, prompt): pass\n", "ImageMetric and PromptMetric at once"),
        (
            "    def compute(self, features): pass\n    def leave_out(self, features, groups): pass\n",
            "ImageMetric and SetMetric at once",
        ),
    ],
)
def test_a_metric_of_two_kinds_is_refused(drawbench, tmp_path, more, said):
    drawbench("generate", "--generator", "noise", "--prompts", SIGNS, "--limit", "3", "-o", tmp_path / "run")
    (tmp_path / "met.py").write_text(
        "from drawbench.interfaces import Output\n"
        "class M:\n    outputs = {'v': Output(True, 'mean', True)}\n    network = None\n"
        "    def protocol(self): return {}\n    def score(self, images, features, prompts): pass\n" + more + "m = M\n"
    )
    code, out, err = drawbench("score", tmp_path / "run", "--metric", f"m={tmp_path / 'met.py'}:m")
    assert (code, out) == (2, "")
    assert f"gave M, which is {said}" in err
    assert "make two metrics of it" in err


def test_a_system_of_which_nothing_was_drawn_is_in_the_report(drawbench, tmp_path):
    (tmp_path / "dead.py").write_text(
        "from drawbench.interfaces import Refused\nclass D:\n    pads = False\n    def fingerprint(self): return {}\n"
        "    def generate(self, items): return [Refused('never') for _ in items]\ndef dead(): return D()\n"
    )
    given = ("--generator", "noise", "--generator", f"dead={tmp_path / 'dead.py'}:dead", "--prompts", SIGNS)
    code, _, err = drawbench("run", *given, "--metric", "image_stats", "-o", tmp_path / "out")
    assert code == 0, err
    text = (tmp_path / "out" / "report.html").read_text()
    assert "dead" in text
    assert "never" in text


def test_runs_of_different_seeds_are_compared(drawbench, tmp_path):
    for seed in (0, 1):
        given = (
            "--generator",
            "noise",
            "--name",
            f"noise {seed}",
            "--prompts",
            SIGNS,
            "--limit",
            "4",
            "--seed",
            str(seed),
        )
        drawbench("run", *given, "--metric", "image_stats", "-o", tmp_path / str(seed))
    runs = [tmp_path / str(seed) / "noise-signs" for seed in (0, 1)]
    for suffix in ("html", "md", "json"):
        code, _, err = drawbench("report", *runs, "-o", tmp_path / f"report.{suffix}")
        assert code == 0, err


def test_intervals_of_seeds_and_of_prompts_are_not_compared(drawbench, tmp_path):
    for name, over in (("a", "prompts"), ("b", "samples")):
        given = ("--generator", f"{name}=noise", "--prompts", SIGNS, "--limit", "4", "--samples", "2")
        drawbench("generate", *given, "-o", tmp_path / name)
        drawbench("score", tmp_path / name, "--metric", "image_stats", "--over", over)
    drawbench("report", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "r.md")
    assert "interval over" in (tmp_path / "r.md").read_text()


def test_a_folder_of_other_images_does_not_go_on_with_a_run(drawbench, tmp_path):
    for name, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / name).mkdir()
        for number in range(1, 21):
            Image.new("RGB", (8, 8), colour).save(tmp_path / name / f"{number:03d}.png")

    def call(name, *more):
        given = ("--generator", "mine=folder", "--set", f"mine.path={tmp_path / name}", "--prompts", SIGNS)
        return drawbench("generate", *given, "-o", tmp_path / "run", *more)

    assert call("a", "--limit", "2")[0] == 0
    code, _, err = call("b")
    assert code == 2
    assert "holds other images" in one_line(err)
    assert call("a")[0] == 0


def test_what_the_disk_refuses_is_one_line(drawbench, tmp_path):
    drawbench("generate", "--generator", "noise", "--prompts", SIGNS, "--limit", "2", "-o", tmp_path / "run")
    drawbench("score", tmp_path / "run", "--metric", "image_stats")
    (tmp_path / "file").touch()
    for arguments in (
        ("report", tmp_path / "run", "-o", tmp_path / "file" / "r.html"),
        ("generate", "--generator", "noise", "--prompts", SIGNS, "-o", tmp_path / "file" / "run"),
        ("generate", "--generator", f"{'a' * 64}=noise", "--prompts", SIGNS, "-o", tmp_path / ("b" * 300)),
    ):
        code, _, err = drawbench(*arguments)
        assert code == 2, err
        one_line(err)


def test_report_compares_runs_in_three_forms(drawbench, tmp_path):
    for generator in ("noise", POSTER):
        drawbench("generate", "--generator", generator, "--prompts", SIGNS, "-o", tmp_path / generator.split("=")[0])
    runs = (tmp_path / "noise", tmp_path / "poster")
    drawbench("score", *runs, "--metric", "image_stats")
    for suffix in ("html", "md", "json"):
        code, _, _ = drawbench("report", *runs, "-o", tmp_path / f"report.{suffix}")
        assert code == 0
        assert (tmp_path / f"report.{suffix}").stat().st_size > 1000
    json.loads((tmp_path / "report.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["generate", "--generator", "nose", "--prompts", SIGNS, "-o", "OUT"], 2, "did you mean 'noise'?"),
        (["generate", "--generator", "noise", "--prompts", "drawbnech", "-o", "OUT"], 2, "did you mean 'drawbench'?"),
        (["generate", "--generator", "noise", "--prompts", "drawbench", "-o", "OUT"], 3, "drawbench.csv"),
        (["generate", "--generator", "noise", "--prompts", "nowhere.csv", "-o", "OUT"], 2, "No such file"),
        (
            ["generate", "--generator", "noise", "--prompts", f"drawbench={SIGNS}", "-o", "OUT"],
            2,
            "it has 20 prompts, not 200",
        ),
        (
            ["generate", "--generator", "noise", "--prompts", f"mine={SIGNS}", "-o", "OUT"],
            2,
            "no prompt set is called 'mine'",
        ),
        (
            ["generate", "--generator", "noise", "--prompts", SIGNS, "-o", "OUT", "--set", "nois.size=1"],
            2,
            "did you mean 'noise'?",
        ),
        (
            ["generate", "--generator", "noise", "--prompts", SIGNS, "-o", "OUT", "--set", "noise.sise=1"],
            2,
            "did you mean 'size'?",
        ),
        (
            ["generate", "--generator", "noise", "--prompts", SIGNS, "-o", "OUT", "--set", "noise.size=big"],
            2,
            "not a whole number",
        ),
        (["generate", "--generator", "noise", "--prompts", SIGNS, "-o", "OUT", "--checkpoint", "x"], 2, "takes none"),
        (
            ["generate", "--generator", "noise", "--prompts", SIGNS, "-o", "OUT", "--limit", "0"],
            2,
            "give a number of prompts",
        ),
        (
            ["generate", "--generator", "noise", "--prompts", SIGNS, "-o", "OUT", "--category", "Shop"],
            2,
            "did you mean 'Shops'?",
        ),
        (["generate", "--generator", "noise", "--prompts", SIGNS, "-o", "OUT", "--name", "a/b"], 2, "cannot be used"),
        (
            ["generate", "--generator", "folder", "--set", "folder.path=.", "--prompts", SIGNS, "-o", "OUT"],
            2,
            "need a name of their own",
        ),
        (["generate", "--generator", "m=folder", "--prompts", SIGNS, "-o", "OUT"], 2, "m needs --set m.path=a path"),
        (
            ["generate", "--generator", "m=folder", "--set", "m.path=nowhere", "--prompts", SIGNS, "-o", "OUT"],
            2,
            "is not there",
        ),
        (["generate", "--prompts", SIGNS, "-o", "OUT"], 2, "Missing option '--generator'"),
        (["generate", "--generator", "noise", "--prompts", SIGNS, "-o", "OUT", "--frobnicate"], 2, "No such option"),
        (["score", "nowhere", "--metric", "image_stats"], 2, "is not a run"),
        (["score", "nowhere"], 2, "give at least one --metric"),
        (["report", "nowhere", "-o", "r.html"], 2, "is not a run"),
        (["verify", "nowhere"], 2, "is not a run"),
        (["list", "things"], 2, "'things' is not one of"),
        (["list", "metrics", "clipscore"], 2, "did you mean 'clip_score'?"),
        (["frobnicate"], 2, "No such command"),
        (
            ["generate", "--generator", "noise", "--prompts", SIGNS, "--prompts", SIGNS, "-o", "OUT"],
            2,
            "two prompt sets have one name",
        ),
        (
            ["generate", "--generator", "noise", "--prompts", SIGNS, "-o", "OUT", "--device", "quux"],
            2,
            "--device quux",
        ),
        (["generate", "--generator", " =noise", "--prompts", SIGNS, "-o", "OUT"], 2, "an alias is made of"),
    ],
)
def test_what_is_typed_wrong_is_one_line_and_an_exit_code_and_makes_nothing(
    drawbench, tmp_path, arguments, code, message
):
    output = tmp_path / "out"
    got, _, err = drawbench(*[str(output) if argument == "OUT" else argument for argument in arguments])
    assert got == code
    assert message in one_line(err)
    assert not output.exists()


def test_an_interrupt_ends_with_130_and_says_that_nothing_is_lost(drawbench, tmp_path):
    (tmp_path / "tired.py").write_text(
        "class Tired:\n    pads = False\n    def fingerprint(self): return {}\n"
        "    def generate(self, items): raise KeyboardInterrupt\n"
        "def tired(): return Tired()\n"
    )
    given = ("--generator", f"t={tmp_path / 'tired.py'}:tired", "--prompts", SIGNS, "-o", tmp_path / "out")
    code, _, err = drawbench("generate", *given)
    assert code == 130
    assert "interrupted; what is on disk stays" in err


def test_list_names_what_is_installed_and_its_options(drawbench):
    code, out, _ = drawbench("list", "metrics")
    assert code == 0
    assert "unverified on published weights" in next(line for line in out.splitlines() if line.startswith("clip_score"))
    assert "unverified" not in next(line for line in out.splitlines() if line.startswith("text_rendering"))
    assert {row["name"] for row in json.loads(drawbench("list", "generators", "--json")[1])} >= {"folder", "noise"}
    assert json.loads(drawbench("list", "generators", "noise", "--json")[1])[0]["key"] == "size"
    code, out, _ = drawbench("list", "generators", "noise")
    assert "--set noise.size=a whole number  (default: 256)" in out


def test_doctor_finds_this_installation_well(drawbench):
    code, out, _ = drawbench("doctor")
    assert code == 0
    assert re.search(r"^ok  torch: 2\.", out, re.MULTILINE)
    assert "ok  torch beside torchvision" in out
    assert all(check["ok"] for check in json.loads(drawbench("doctor", "--json")[1]))


def test_doctor_finds_a_cache_that_cannot_be_written(drawbench, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DRAWBENCH_CACHE", str(tmp_path / "file"))
    code, out, _ = drawbench("doctor")
    assert code == 1
    assert "BAD cache" in out
    assert "set DRAWBENCH_CACHE" in out
