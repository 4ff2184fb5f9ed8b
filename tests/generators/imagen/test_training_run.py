"""Trainings on disk and from the command line: stopped, taken up again, shared by processes, and told no."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from picture_book import make_encoder, print_book
from PIL import Image
from safetensors.torch import load_file

from drawbench.cli import cli
from drawbench.errors import UserError
from drawbench.generators.imagen.generator import imagen

HERE = Path(__file__).parent
QUICK = ("--device", "cpu", "--dtype", "fp32", "--preset", "TINY", "--warmup", "2", "--batch-size", "4")


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return print_book(tmp_path_factory.mktemp("book"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("t5"))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DRAWBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def train(*given):
    """Runs the command in this process; returns its output, or raises what it tells."""
    done = CliRunner().invoke(cli, ["train", *QUICK, *map(str, given)], catch_exceptions=False, standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.output


def on_disk(folder, stage="base"):
    """Returns every tensor of a training, the published ones too, and the state."""
    state = torch.load(folder / "training" / stage / "state.pt", weights_only=True)
    published = load_file(folder / f"{stage}.safetensors")
    assert same(published, state["ema"]), "the average is what is published"
    tensors = {f"network {name}": value for name, value in state["network"].items()}
    return tensors | {f"ema {name}": value for name, value in state["ema"].items()}, state


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("stage", ["base", "sr256", "sr1024"])
def test_stopped_and_taken_up_again_it_ends_in_the_same_bits(book, encoder, tmp_path, stage):
    given = ("--stage", stage, "--data", book, "--encoder", encoder)
    train(*given, "--steps", 7, "-o", tmp_path / "whole")
    for steps in (3, 4, 7):
        out = train(*given, "--steps", steps, "-o", tmp_path / "parts")
    assert "step 7 of 7, 12 images" in out
    (whole, a), (parts, b) = on_disk(tmp_path / "whole", stage), on_disk(tmp_path / "parts", stage)
    assert same(whole, parts)
    assert a["step"] == b["step"] == 7
    assert a["positions"] == b["positions"] == [28]
    for one, other in zip(a["optimizer"]["state"].values(), b["optimizer"]["state"].values(), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def start(tmp_path, *given, **env):
    """Starts the command as a process."""
    command = [sys.executable, "-m", "drawbench", "train", *QUICK, *map(str, given)]
    environment = {**os.environ, **env}
    return subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_ctrl_c_saves_and_the_same_command_goes_on_to_the_same_bits(encoder, tmp_path):
    data = f"{HERE / 'picture_book.py'}:page"
    given = ("--stage", "base", "--data", data, "--encoder", encoder, "--decay-steps", 0)
    process = start(tmp_path, *given, "--steps", 100_000, "-o", tmp_path / "out", PYTHONUNBUFFERED="1")
    log = tmp_path / "out" / "training" / "base" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and log.read_text()) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopping after this step" in err
    assert "the same command goes on" in out
    _, state = on_disk(tmp_path / "out")
    assert state["step"] >= 50
    train(*given, "--steps", state["step"] + 5, "-o", tmp_path / "out")
    train(*given, "--steps", state["step"] + 5, "-o", tmp_path / "whole")
    assert same(on_disk(tmp_path / "out")[0], on_disk(tmp_path / "whole")[0])
    logs = [(tmp_path / name / "training" / "base" / "log.jsonl").read_text().splitlines() for name in ("out", "whole")]
    losses = [{json.loads(line)["step"]: json.loads(line)["loss"] for line in lines} for lines in logs]
    assert losses[0] == losses[1], "as if it had never been stopped"


def test_two_processes_train_what_one_trains(book, encoder, tmp_path):
    """Up to rounding: a sample's noise, time and dropped text are its own, whoever has it."""
    given = ("--stage", "base", "--data", book, "--encoder", encoder, "--steps", 4, "--warmup", "1")
    train(*given, "-o", tmp_path / "one")
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(AT_EXIT)
    out = torchrun(*given, "-o", tmp_path / "two", PYTHONPATH=os.pathsep.join([str(hook), *sys.path]))
    assert out.count("step 4 of 4, 16 images") == 1
    assert out.count("at exit of rank") == 2
    assert "gloo" not in out, "a thread that outlives its group can abort the process as Python ends"
    one, two = on_disk(tmp_path / "one")[1], on_disk(tmp_path / "two")[1]
    assert (one["positions"], two["positions"]) == ([16], [16, 17])
    train(
        *given[:-4], "--steps", 1, "--warmup", "1", "-o", tmp_path / "start"
    )  # The first step of a warm-up moves nothing.
    first = on_disk(tmp_path / "start")[1]["network"]

    def distance(x, y):
        return float(torch.stack([(x[name] - y[name]).square().sum() for name in x]).sum().sqrt())

    assert distance(one["network"], two["network"]) < 0.05 * distance(one["network"], first)


def test_time_that_is_up_ends_it_with_a_checkpoint(book, tmp_path):
    out = train("--stage", "base", "--data", book, "--encoder", "none", "--max-minutes", "0.0001", "-o", tmp_path)
    assert "step 1 of 1500" in out
    assert (tmp_path / "base.safetensors").is_file()
    assert json.loads((tmp_path / "config.json").read_text())["text_encoder"] is None


def test_what_was_trained_draws(book, encoder, tmp_path):
    for stage in ("base", "sr256", "sr1024"):
        train("--stage", stage, "--data", book, "--encoder", encoder, "--steps", 2, "-o", tmp_path)
        assert Image.open(tmp_path / "training" / stage / "samples" / "0000002.png").width > 8 * 16
    (tmp_path / "prompts.txt").write_text("a red disc\n")
    few = [part for stage in ("base", "sr256", "sr1024") for part in ("--set", f"imagen.{stage}.steps=2")]
    given = [
        "--generator",
        "imagen",
        "--checkpoint",
        tmp_path,
        "--prompts",
        tmp_path / "prompts.txt",
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(cli, ["generate", *map(str, given), *few, "-o", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    (image,) = (tmp_path / "run" / "images").rglob("*.png")
    assert Image.open(image).size == (64, 64)


def test_before_all_stages_are_trained_the_missing_one_is_named(book, tmp_path):
    train("--stage", "base", "--data", book, "--encoder", "none", "--steps", 1, "-o", tmp_path)
    with pytest.raises(
        UserError, match=r"lacks sr256.safetensors, .* train it, or stop before it \(--set imagen.stop_after=base\)"
    ):
        imagen(checkpoint=str(tmp_path))
    assert imagen(checkpoint=str(tmp_path), stop_after="base")


def spoil(folder):
    """Makes two of a book's pictures unusable, and adds a row without a caption."""
    (folder / "1.png").write_bytes(b"no picture")
    Image.new("RGB", (9, 9)).save(folder / "2.png")
    with open(folder / "captions.csv", "a") as file:
        file.write("0.png,\n")
    return folder


def test_bad_data_is_counted_and_told_at_the_end(encoder, tmp_path):
    folder = spoil(print_book(tmp_path / "book", 5))
    given = ("--stage", "base", "--data", folder, "--encoder", encoder)
    for steps in (3, 6):
        out = train(*given, "--steps", steps, "-o", tmp_path / "out")
        assert "not trained on: 2 bad samples" in out
    lines = [
        json.loads(line)
        for line in (tmp_path / "out" / "training" / "base" / "bad_data.jsonl").read_text().splitlines()
    ]
    assert sorted(line["what"] for line in lines) == ["1.png", "2.png"], "each once, also after a restart"
    train(*given, "--steps", 6, "-o", tmp_path / "whole", "--workers", 2)
    assert same(on_disk(tmp_path / "out")[0], on_disk(tmp_path / "whole")[0])


AT_EXIT = """
import atexit, os, pathlib
def tell():
    if "RANK" in os.environ:
        names = sorted({file.read_text().strip() for file in pathlib.Path("/proc/self/task").glob("*/comm")})
        print(f"at exit of rank {os.environ['RANK']}: {names}", flush=True)
atexit.register(tell)
"""


def torchrun(*given, **env):
    """Runs the command as two processes."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "drawbench",
        "train",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    done = subprocess.run(
        [*command, *QUICK, *map(str, given)], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.long
def test_two_processes_with_bad_data_go_on_to_the_same_bits(encoder, tmp_path):
    folder = spoil(print_book(tmp_path / "book", 8))
    given = ("--stage", "base", "--data", folder, "--encoder", encoder)
    torchrun(*given, "--steps", 3, "-o", tmp_path / "parts")
    out = torchrun(*given, "--steps", 7, "-o", tmp_path / "parts")
    torchrun(*given, "--steps", 7, "-o", tmp_path / "whole")
    assert "not trained on: 2 bad samples" in out
    (parts, a), (whole, b) = on_disk(tmp_path / "parts"), on_disk(tmp_path / "whole")
    assert same(parts, whole)
    assert a["positions"] == b["positions"]


def test_how_it_is_run_reaches_the_network(book, tmp_path, monkeypatch):
    """bf16, gradient checkpointing, compilation and micro-batches, as the command sets them."""
    from drawbench.generators.imagen import training

    seen, made = {"dtypes": set(), "sizes": set()}, []
    whole = training.Trainer.__init__

    def note(module, given, out):
        seen["dtypes"].add(out.dtype)
        seen["sizes"].add(len(out))

    def watched(self, *given, **options):
        whole(self, *given, **options)
        made.append(options)
        self.network.first.register_forward_hook(note)
        seen["recompute"] = self.network.recompute

    monkeypatch.setattr(training.Trainer, "__init__", watched)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: seen.update(compiled=True))
    given = ("--stage", "base", "--data", book, "--encoder", "none", "--steps", 1, "-o", tmp_path)
    train(*given, "--dtype", "bf16", "--gradient-checkpointing", "--compile", "--micro-batch", 2)
    assert torch.bfloat16 in seen["dtypes"]
    assert 2 in seen["sizes"]
    assert seen["recompute"]
    assert seen["compiled"]


def test_a_second_training_of_the_same_stage_is_kept_out(book, tmp_path):
    from filelock import FileLock

    (tmp_path / "training" / "base").mkdir(parents=True)
    with (
        FileLock(tmp_path / "training" / "base" / ".lock"),
        pytest.raises(UserError, match="is being trained by another process"),
    ):
        train("--stage", "base", "--data", book, "--encoder", "none", "--steps", 1, "-o", tmp_path)


def test_a_training_that_was_never_saved_stands_in_nobodys_way(book, tmp_path):
    given = ("--stage", "base", "--data", book, "--encoder", "none", "-o", tmp_path)
    with pytest.raises(UserError, match="not finite"):
        train(*given, "--steps", 2, "--warmup", "1", "--lr", "1e39")
    assert "step 1 of 1" in train(*given, "--steps", 1)


def test_weights_without_the_state_to_go_on_from_are_not_written_over(book, tmp_path):
    given = ("--stage", "base", "--data", book, "--encoder", "none", "-o", tmp_path)
    train(*given, "--steps", 2)
    (tmp_path / "training" / "base" / "state.pt").unlink()
    before = (tmp_path / "base.safetensors").read_bytes()
    with pytest.raises(
        UserError, match=r"base.safetensors is there, but not the state .*state.pt to go on from; bring the state back"
    ):
        train(*given, "--steps", 3)
    assert (tmp_path / "base.safetensors").read_bytes() == before


def test_the_log_of_a_training_that_was_stopped_is_that_of_one_that_was_not(book, tmp_path):
    given = ("--stage", "base", "--data", book, "--encoder", "none")
    for steps in (20, 60):
        train(*given, "--steps", steps, "-o", tmp_path / "parts")
    train(*given, "--steps", 60, "-o", tmp_path / "whole")
    logs = []
    for name in ("parts", "whole"):
        lines = (tmp_path / name / "training" / "base" / "log.jsonl").read_text().splitlines()
        logs.append({json.loads(line)["step"]: json.loads(line)["loss"] for line in lines})
    assert logs[0][60] == logs[1][60]
    assert logs[1].keys() == {50, 60}


def test_a_full_disk_is_told_in_one_line(book, tmp_path, monkeypatch):
    def full(state, file):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"state.pt could not be written; is the disk full\?"):
        train("--stage", "base", "--data", book, "--encoder", "none", "--steps", 1, "-o", tmp_path)
    assert not list((tmp_path / "training" / "base").glob("*.tmp"))


def test_a_file_of_code_is_the_same_data_wherever_it_lies(encoder, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    for folder in (tmp_path, tmp_path / "elsewhere"):
        (folder / "pages.py").write_text((HERE / "picture_book.py").read_text())
    monkeypatch.chdir(tmp_path)
    given = ("--stage", "base", "--encoder", encoder, "-o", tmp_path / "out")
    train(*given, "--data", "pages.py:page", "--steps", 1)
    train(*given, "--data", tmp_path / "elsewhere" / "pages.py:page", "--steps", 2)
    with open(tmp_path / "pages.py", "a") as file:
        file.write("# Changed.\n")
    with pytest.raises(UserError, match="data is function page, .* there, function page, .* here"):
        train(*given, "--data", "pages.py:page", "--steps", 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--lr", "0.01"), r"holds another training: learning_rate is 0.002 there, 0.01 here"),
        (("--batch-size", "5"), "batch_size is 4 there, 5 here"),
        (("--data", "OTHER"), "data is .* there, .* here"),
        (("--encoder", "none"), "is a cascade with the text encoder .* not none"),
        (("--preset", "SMALL"), "is a cascade with other networks than this preset's"),
        (("--seed", "1"), "seed is 0 there, 1 here"),
    ],
)
def test_another_training_is_not_mixed_in(book, encoder, tmp_path, change, message):
    given = ["--stage", "base", "--data", book, "--encoder", encoder, "--steps", 1, "-o", tmp_path / "out"]
    train(*given)
    before = (tmp_path / "out" / "base.safetensors").read_bytes()
    change = [print_book(tmp_path / "other", 3) if part == "OTHER" else part for part in change]
    with pytest.raises(UserError, match=message):
        train(*given, *change)
    assert (tmp_path / "out" / "base.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--data", "nowhere", "--encoder", "none"), "--data nowhere: there is no such folder"),
        (("--data", "gone.py:page", "--encoder", "none"), "there is no file gone.py"),
        (("--data", "BOOK", "--encoder", "nowhere/t5"), "nowhere/t5"),
        (("--data", "BOOK"), "the preset TINY has no text encoder of its own: --encoder NAME|FOLDER, or none"),
        (("--data", "BOOK", "--encoder", "none", "--crop", "8"), "--crop is for super-resolution"),
        (
            ("--data", "BOOK", "--encoder", "none", "--stage", "sr1024", "--crop", "30"),
            "allowed are multiples of 4 up to 64",
        ),
        (
            ("--data", f"{HERE / 'picture_book.py'}:page", "--captions", "x.csv", "--encoder", "none"),
            "--captions goes with a folder",
        ),
    ],
)
def test_what_cannot_be_trained_is_told_before_the_first_step(book, tmp_path, given, message):
    given = [book if part == "BOOK" else part for part in given]
    with pytest.raises(UserError, match=message):
        train("--stage", "base", *given, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_state_is_named(book, tmp_path):
    given = ("--stage", "base", "--data", book, "--encoder", "none", "-o", tmp_path)
    train(*given, "--steps", 1)
    file = tmp_path / "training" / "base" / "state.pt"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"state.pt cannot be read .* restore it, or train into another folder"):
        train(*given, "--steps", 2)


def test_a_loss_that_is_not_finite_ends_it_and_keeps_what_was_saved(book, tmp_path):
    given = ("--stage", "base", "--data", book, "--encoder", "none", "-o", tmp_path, "--lr", "1e30")
    with pytest.raises(UserError, match=r"the loss is not finite at step 20: give a smaller --lr"):
        train(*given, "--steps", 20)
    assert not (tmp_path / "base.safetensors").exists()


def test_weights_that_are_not_finite_are_not_saved_though_the_loss_before_them_is(book, tmp_path):
    given = ("--stage", "base", "--data", book, "--encoder", "none", "-o", tmp_path, "--warmup", "1", "--lr", "1e39")
    with pytest.raises(UserError, match=r"the network is not finite at step 2: give a smaller --lr"):
        train(*given, "--steps", 2)
    assert not (tmp_path / "base.safetensors").exists()


def test_embeddings_alone_serve_for_training_where_the_encoder_is_not(book, encoder, tmp_path, monkeypatch):
    given = ("--stage", "base", "--data", book, "--steps", 2)
    train(*given, "--encoder", encoder, "-o", tmp_path / "a")
    (folder,) = (Path(os.environ["DRAWBENCH_CACHE"]) / "features" / "text").glob("*")
    train(*given, "--encoder", folder, "-o", tmp_path / "b")
    assert same(on_disk(tmp_path / "a")[0], on_disk(tmp_path / "b")[0])
    with pytest.raises(UserError, match="an endless stream of captions needs the text encoder itself"):
        train(
            "--stage", "base", "--data", f"{HERE / 'picture_book.py'}:page", "--encoder", folder, "-o", tmp_path / "c"
        )


def test_a_training_may_start_from_another_checkpoints_weights(book, encoder, tmp_path):
    given = ("--stage", "base", "--data", book, "--encoder", encoder)
    train(*given, "--steps", 3, "-o", tmp_path / "first")
    train(*given, "--steps", 1, "--warmup", 50, "--init", tmp_path / "first", "-o", tmp_path / "second")
    first, second = (load_file(tmp_path / name / "base.safetensors") for name in ("first", "second"))
    assert same(first, second), "the first step of a warm-up moves nothing"
    train(*given, "--steps", 2, "--warmup", 50, "-o", tmp_path / "second")  # It goes on without being told again.
    with pytest.raises(UserError, match="gone is not an Imagen checkpoint"):
        train(*given, "--steps", 2, "--init", tmp_path / "gone", "-o", tmp_path / "fourth")
    assert not (tmp_path / "fourth").exists()
    with pytest.raises(UserError, match="has no stage 'base' with this preset's network and text encoder"):
        train(
            "--stage",
            "base",
            "--data",
            book,
            "--encoder",
            "none",
            "--init",
            tmp_path / "first",
            "-o",
            tmp_path / "third",
        )
