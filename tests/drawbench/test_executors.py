"""Several processes, parts by hand or by torchrun and SLURM, batches that do not fit: the same bytes by every way."""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from runs import Painter, image_bytes, prompt_set, start

from drawbench.cli.workers import device_of, worker_devices
from drawbench.errors import UserError
from drawbench.executors.batch import BatchSize
from drawbench.executors.shard import WHOLE, Shard, claimed, find_shard
from drawbench.image_tar import TarWriter, mend_tars
from drawbench.runner import generate
from drawbench.store import Run
from drawbench.verify import verify

PLUGIN = """
import os, signal
from pathlib import Path
from drawbench.generators.noise import noise

HERE = Path(__file__).parent


class Odd:
    pads = False

    def __init__(self):
        self.noise = noise(size=32, resolution=32)

    def fingerprint(self):
        return {"odd": "1"}

    def generate(self, items):
        for item in items:
            if "fatal" in item.prompt.text or ("once" in item.prompt.text and not (HERE / "died").exists()):
                (HERE / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        most = HERE / "memory"
        if most.exists() and len(items) > int(most.read_text()):
            raise MemoryError("the brush is too small")
        return self.noise.generate(items)


def odd():
    return Odd()
"""


@pytest.fixture
def drawbench(tmp_path):
    (tmp_path / "odd.py").write_text(PLUGIN)
    (tmp_path / "prompts.txt").write_text("".join(f"Prompt number {n}.\n" for n in range(40)))

    def call(output, *arguments, prompts="prompts.txt", environment=None):
        command = [sys.executable, "-m", "drawbench", "generate", "--generator", f"odd={tmp_path / 'odd.py'}:odd"]
        command += ["--prompts", str(tmp_path / prompts), "-o", str(tmp_path / output), *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        )

    return call


def test_processes_parts_and_one_alone_draw_the_same_bytes(drawbench, tmp_path):
    assert drawbench("one").returncode == 0
    calm = image_bytes(tmp_path / "one")
    assert len(calm) == 40

    done = drawbench("three", "--processes", 3, "--batch-size", 4)
    assert done.returncode == 0, done.stderr
    assert image_bytes(tmp_path / "three") == calm
    writers = list((tmp_path / "three" / "journal").glob("*.jsonl"))
    assert len({line.split("-")[-2] for line in (file.name for file in writers)}) == len(writers) > 1
    assert verify(Run.open(tmp_path / "three")) == []

    torchrun = {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1"}
    assert "drawing part 2 of 3 (torchrun)" in drawbench("parts", environment=torchrun).stderr
    assert len(image_bytes(tmp_path / "parts")) == 13
    slurm = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "3", "SLURM_LOCALID": "0"}
    assert "14 drawn of 14" in drawbench("parts", environment=slurm).stdout
    assert len(image_bytes(tmp_path / "parts")) == 27
    assert drawbench("parts", "--shard", "3/3").returncode == 0
    assert image_bytes(tmp_path / "parts") == calm
    assert "complete" in drawbench("parts", "--processes", 2).stdout


def test_a_process_that_dies_is_said_and_its_images_are_drawn(drawbench, tmp_path):
    lines = [f"Prompt number {n}." + (" once" if n == 7 else "") for n in range(20)]
    (tmp_path / "once.txt").write_text("\n".join(lines))
    done = drawbench("out", "--processes", 2, "--batch-size", 5, prompts="once.txt")
    assert done.returncode == 0, done.stderr
    assert re.search(r"died: SIGKILL; its \d+ images are taken again", done.stderr), done.stderr
    assert len(image_bytes(tmp_path / "out")) == 20
    assert verify(Run.open(tmp_path / "out")) == []


def test_an_image_that_kills_every_process_fails_alone(drawbench, tmp_path):
    lines = [f"Prompt number {n}." + (" fatal" if n == 7 else "") for n in range(20)]
    (tmp_path / "fatal.txt").write_text("\n".join(lines))
    done = drawbench("out", "--processes", 2, "--batch-size", 4, prompts="fatal.txt")
    assert done.returncode == 1, done.stderr
    assert "1 FAILED" in done.stdout
    run = Run.open(tmp_path / "out")
    assert len(run.drawn()) == 19
    (failed,) = (record for record in run.records().values() if record.status == "failed")
    assert "the process that drew it died" in failed.reason
    assert "SIGKILL" in failed.reason


def test_parts_that_start_at_once_on_a_new_folder_all_draw(drawbench, tmp_path):
    (tmp_path / "many.txt").write_text("".join(f"Prompt number {n}.\n" for n in range(8000)))
    with ThreadPoolExecutor() as pool:
        done = list(
            pool.map(lambda n: drawbench("out", "--shard", f"{n}/4", "--limit", 40, prompts="many.txt"), (1, 2, 3, 4))
        )
    assert [one.returncode for one in done] == [0] * 4, [one.stderr for one in done]
    assert len(image_bytes(tmp_path / "out")) == 40
    assert verify(Run.open(tmp_path / "out")) == []


def test_a_start_that_was_killed_between_its_files_is_taken_up(drawbench, tmp_path):
    assert drawbench("out", "--limit", 3).returncode == 0
    (tmp_path / "out" / "prompts.jsonl").unlink()
    assert drawbench("out", "--limit", 3).returncode == 0
    (tmp_path / "out" / "run.json").unlink()
    assert "is not empty and not a run" in drawbench("out", "--limit", 3).stderr


def test_the_processes_of_a_killed_parent_draw_no_further(drawbench, tmp_path):
    (tmp_path / "odd.py").write_text(PLUGIN.replace("most =", "import time; time.sleep(0.3); most ="))
    command = [sys.executable, "-m", "drawbench", "generate", "--generator", f"odd={tmp_path / 'odd.py'}:odd"]
    command += ["--prompts", str(tmp_path / "prompts.txt"), "-o", str(tmp_path / "out"), "--batch-size", "1"]
    begun = subprocess.Popen([*command, "--processes", "2"], stderr=subprocess.DEVNULL)
    while len(list((tmp_path / "out").glob("images/*/*.png"))) < 3:
        assert begun.poll() is None
        time.sleep(0.05)
    begun.kill()
    begun.wait()
    time.sleep(1)  # Their death is a matter of moments.
    there = len(image_bytes(tmp_path / "out"))
    time.sleep(1.5)
    assert len(image_bytes(tmp_path / "out")) == there
    assert drawbench("out").returncode == 0
    records = [line for file in (tmp_path / "out" / "journal").iterdir() for line in file.read_text().splitlines()]
    assert sum('"status":"drawn"' in line for line in records) in (40, 41, 42)  # What was on its way is drawn again.


def test_what_the_processes_generators_remark_is_told(drawbench, tmp_path):
    talking = PLUGIN.replace(
        "def generate", "def remarks(self, items):\n        return ['it rained']\n\n    def generate"
    )
    (tmp_path / "odd.py").write_text(talking)
    assert drawbench("out", "--processes", 2).stderr.count("note: it rained (of one process)") == 1


def test_a_fault_that_sets_in_later_stops_the_run(tmp_path):
    run = start(tmp_path / "run", prompt_set(60))
    summary = generate(run, Painter(fails=[f"{n:03d}" for n in range(10, 60)]), run.items(), batch_size=5, device="cpu")
    assert summary.stopped
    assert summary.drawn == 10
    assert 20 <= summary.failed < 40
    assert "20 in a row failed alike" in summary.line(run)


def test_a_gpu_for_each_process_of_torchrun_and_slurm(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    rank = find_shard(None, {"RANK": "6", "WORLD_SIZE": "8", "LOCAL_RANK": "6"})
    assert device_of(rank, "auto") == "cuda:2"
    assert device_of(rank, "cpu") == "cpu"
    assert device_of(rank, "cuda:1") == "cuda:1"
    assert device_of(WHOLE, "auto") == "auto"
    assert worker_devices("auto", "cuda") == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert worker_devices("6", "cuda")[4:] == ["cuda:0", "cuda:1"]
    assert worker_devices("2", "cuda:3") == ["cuda:3", "cuda:3"]
    assert worker_devices("auto", "cpu") == ["cpu"]


def test_ctrl_c_ends_all_processes_and_the_same_command_goes_on(drawbench, tmp_path):
    (tmp_path / "odd.py").write_text(PLUGIN.replace("most =", "import time; time.sleep(0.4); most ="))
    command = [sys.executable, "-m", "drawbench", "generate", "--generator", f"odd={tmp_path / 'odd.py'}:odd"]
    command += ["--prompts", str(tmp_path / "prompts.txt"), "-o", str(tmp_path / "out"), "--processes", "2"]
    begun = subprocess.Popen(
        [*command, "--batch-size", "1"],
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # A test in the background ignores it.
    )
    while not list((tmp_path / "out").glob("images/*/*.png")):
        assert begun.poll() is None
        time.sleep(0.05)
    os.killpg(begun.pid, signal.SIGINT)
    assert begun.wait(30) == 130
    run = Run.open(tmp_path / "out")
    assert 0 < len(run.drawn()) < 40
    assert subprocess.run([*command, "--batch-size", "8"], capture_output=True).returncode == 0
    assert verify(run) == []


def test_batches_are_halved_until_they_fit(drawbench, tmp_path):
    (tmp_path / "memory").write_text("3")
    done = drawbench("fixed", "--batch-size", 8)
    assert done.returncode == 2
    assert "out of memory with 8 images at once (the brush is too small)" in done.stderr
    assert "--batch-size 4" in done.stderr
    for output, more in (("auto", ()), ("processes", ("--processes", 2))):
        done = drawbench(output, "--batch-size", "auto", *more)
        assert done.returncode == 0, done.stderr
        run = Run.open(tmp_path / output)
        assert run.manifest.batch_size == 2
        assert len(run.drawn()) == 40
        lines = [json.loads(line) for file in (run.path / "journal").iterdir() for line in file.open()]
        halved = [(line["from"], line["batch_size"]) for line in lines if "event" in line]
        assert halved == [(8, 4), (4, 2)]
    assert image_bytes(tmp_path / "auto") == image_bytes(tmp_path / "processes")
    assert "batch" not in drawbench("auto", "--batch-size", "auto").stderr


@pytest.mark.parametrize(
    ("given", "environment", "found"),
    [
        (None, {}, (0, 1)),
        ("2/4", {"RANK": "0", "WORLD_SIZE": "8"}, (1, 4)),
        (None, {"RANK": "3", "WORLD_SIZE": "4"}, (3, 4)),
        (None, {"RANK": "0", "WORLD_SIZE": "1"}, (0, 1)),
        # The script of a batch job is one process, whatever number of tasks was asked for.
        (None, {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (0, 1)),
        (None, {"SLURM_STEP_ID": "2", "SLURM_PROCID": "5", "SLURM_NTASKS": "8"}, (5, 8)),
        (None, {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "4"}, (2, 4)),
        (
            None,
            {
                "SLURM_ARRAY_TASK_ID": "10",
                "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_MAX": "10",
                "SLURM_ARRAY_TASK_STEP": "5",
                "SLURM_STEP_ID": "0",
                "SLURM_PROCID": "1",
                "SLURM_NTASKS": "2",
            },
            (5, 6),
        ),
    ],
)
def test_parts_as_they_are_said(given, environment, found):
    shard = find_shard(given, environment)
    assert (shard.index, shard.count) == found


@pytest.mark.parametrize("given", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4"])
def test_a_part_that_cannot_be_is_refused(given):
    with pytest.raises(UserError, match="counted from 1"):
        find_shard(given, {})


def test_an_array_with_gaps_is_refused():
    array = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "7"}
    with pytest.raises(UserError, match="gaps"):
        find_shard(None, {**array, "SLURM_ARRAY_TASK_COUNT": "3"})


def test_parts_are_disjoint_and_together_all():
    items = list(range(103))
    parts = [Shard(index, 7).of(items) for index in range(7)]
    assert sorted(one for part in parts for one in part) == items


def test_nobody_draws_what_another_process_is_drawing(tmp_path):
    with claimed(tmp_path, Shard(0, 2)):
        with claimed(tmp_path, Shard(1, 2)):
            pass
        for other in (Shard(0, 2), WHOLE, Shard(1, 3)):
            with pytest.raises(UserError, match="part 1 of 2"), claimed(tmp_path, other):
                pass
    with claimed(tmp_path, WHOLE), pytest.raises(UserError, match="is drawing this run"), claimed(tmp_path, WHOLE):
        pass


def test_a_batch_that_another_process_halved_is_not_halved_again(tmp_path):
    run = start(tmp_path / "run")

    class Log:
        events = []

        def tell(self, event):
            self.events.append(event)

    batch = BatchSize(8, auto=True)
    batch.halve(run, Log(), 8, "full")
    batch.halve(run, Log(), 8, "full")
    assert (batch.size, len(Log.events)) == (4, 1)


def test_tars_hold_the_same_images_and_stand_any_stop(drawbench, tmp_path):
    assert drawbench("png").returncode == 0
    assert drawbench("tar", "--store", "tar", "--shard", "1/2").returncode == 0
    assert drawbench("tar", "--processes", 2).returncode == 0  # As the run was begun: in tars.
    assert drawbench("tar", "--store", "png").returncode == 2
    files, tars = Run.open(tmp_path / "png"), Run.open(tmp_path / "tar")
    assert [one.sha256 for one in files.drawn()] == [one.sha256 for one in tars.drawn()]
    assert [files.place(one).read() for one in files.drawn()] == [tars.place(one).read() for one in tars.drawn()]
    assert verify(tars) == []
    assert not list((tars.path / "images").glob("*/"))
    found = {}
    for file in (tars.path / "images").iterdir():
        with tarfile.open(file) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}
    assert len(found) == 80
    assert found["007_0.txt"] == b"Prompt number 6."
    assert found["007_0.png"] == files.place(files.records()["007", 0]).read()


def orphaned(file):
    """Renames a tar so that a process wrote it that is no more, in the journals too."""
    name = file.name.split("-")
    name[-3] = str(2**22 + 1)
    renamed = file.rename(file.with_name("-".join(name)))
    for journal in (file.parent.parent / "journal").iterdir():
        journal.write_text(journal.read_text().replace(file.name, renamed.name))
    return renamed


def test_a_torn_tar_is_cut_behind_its_last_image_on_record(tmp_path):
    run = start(tmp_path / "run", store="tar")
    generate(run, Painter(), run.items()[:4], batch_size=2, device="cpu")
    (file,) = (run.path / "images").iterdir()
    torn = orphaned(file)
    # As it was left by a process that was killed: a whole image that no journal has, half of another, and no end.
    half = TarWriter(tmp_path / "other")
    half.add("004", 0, b"x" * 2000, "whole")
    half.add("005", 0, b"x" * 2000, "half")
    half.sync()
    (other,) = (tmp_path / "other" / "images").iterdir()
    torn.write_bytes(torn.read_bytes()[:-1024] + other.read_bytes()[:-1500])
    assert generate(run, Painter(), run.items(), batch_size=4, device="cpu").already == 4
    found = []
    for tar in (run.path / "images").iterdir():
        with tarfile.open(tar) as opened:
            found += [name for name in opened.getnames() if name.endswith(".png")]
    assert sorted(found) == [f"00{n}_0.png" for n in range(6)]  # Each once.
    assert verify(run) == []


def test_a_tar_that_somebody_is_writing_is_left_alone(tmp_path):
    run = start(tmp_path / "run", store="tar")
    writer = TarWriter(run.path)
    writer.add("000", 0, b"x" * 100, "text")
    writer.sync()
    (file,) = (run.path / "images").iterdir()
    torn = orphaned_name = file.with_name(file.name.replace(f"-{os.getpid()}-", f"-{2**22 + 1}-"))
    file.rename(orphaned_name)
    size = torn.stat().st_size
    assert mend_tars(run.path, {}) == []
    assert torn.stat().st_size == size


def test_a_tar_whose_journal_is_lost_keeps_its_images(tmp_path):
    run = start(tmp_path / "run", store="tar")
    generate(run, Painter(), run.items()[:4], batch_size=2, device="cpu")
    (file,) = (run.path / "images").iterdir()
    lost = orphaned(file)
    lost.write_bytes(lost.read_bytes()[:-1024] + b"half of a header")
    for journal in (run.path / "journal").iterdir():
        journal.unlink()
    assert generate(run, Painter(), run.items(), batch_size=4, device="cpu").drawn == 6
    with tarfile.open(lost) as opened:
        assert len(opened.getnames()) == 8
    assert {finding.where for finding in verify(run)} == {f"images/{lost.name}"}


def test_an_image_that_was_drawn_again_is_told_of_its_tar(tmp_path):
    run = start(tmp_path / "run", store="tar")
    generate(run, Painter(), run.items(), batch_size=4, device="cpu")
    (journal,) = (run.path / "journal").iterdir()
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    generate(run, Painter(), run.items(), batch_size=4, device="cpu")
    (finding,) = verify(run)
    assert (finding.kind, finding.damage) == ("surplus", False)
    assert "1 images that no journal has, or that were drawn again since" in finding.what


def test_damage_in_a_tar_is_found_and_drawn_again(tmp_path):
    run = start(tmp_path / "run", store="tar")
    generate(run, Painter(), run.items(), batch_size=4, device="cpu")
    record = run.drawn()[2]
    place = run.place(record)
    data = bytearray(place.file.read_bytes())
    data[place.offset + 20] ^= 1
    place.file.write_bytes(data)
    (finding,) = verify(run)
    assert (finding.kind, finding.damage) == ("altered", True)
    place.file.unlink()
    assert len(run.lacking(run.items())) == 6
    assert generate(run, Painter(), run.items(), batch_size=4, device="cpu").drawn == 6
    assert verify(run) == []
