"""The same numbers whatever the batches, order, parts and processes, and after any kill; what is known is not computed again."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import streams
from streams import Net, Noise, OnSet, draw, metrics, on_disk, prompt_set

import drawbench.metrics.features as features_module
import drawbench.metrics.stream as stream
from drawbench.executors.shard import Shard
from drawbench.metrics.score_processes import measure_in_processes
from drawbench.metrics.scoring import Loaded
from drawbench.metrics.stream import score_part, score_run


@pytest.fixture
def run(tmp_path):
    return draw(tmp_path / "run", samples=3, noise=Noise(twins=("004",)))


def calls(loaded):
    """How many images or prompts each metric was asked for, and each network."""
    counts = {one.alias: getattr(one.metric, "calls", 0) for one in loaded}
    counts = {alias: len(count) if isinstance(count, list) else count for alias, count in counts.items()}
    return {
        **counts,
        "network": sum(
            {id(one.metric.network): one.metric.network.seen for one in loaded if one.metric.network}.values()
        ),
    }


def no_cache(monkeypatch, folder):
    monkeypatch.setenv("DRAWBENCH_CACHE", str(folder))


@pytest.fixture
def plain(run, tmp_path, monkeypatch):
    """What an undisturbed command makes of the same images."""
    twin = draw(tmp_path / "twin" / "run", samples=3, noise=Noise(twins=("004",)))
    with monkeypatch.context() as patch:
        no_cache(patch, tmp_path / "twin" / "cache")
        score_run(twin, metrics())
    return on_disk(twin)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_the_batch_size_moves_nothing(run, plain, batch_size):
    score_run(run, metrics(), batch_size=batch_size)
    assert on_disk(run) == plain


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_two_parts_in_any_order_joined_give_what_one_command_gives(run, plain, order):
    for index in order:
        score_part(run, metrics(), Shard(index, 2, "--shard"))
    assert run.score_files() == []
    joining = metrics()
    score_run(run, joining)
    assert calls(joining) == {"features": 0, "images": 0, "set": 0, "spread": 0, "apart": 0, "network": 0}
    assert on_disk(run) == plain
    assert not list((run.path / "scores").glob(".*")), "what was kept for the join is gone"


def test_a_part_does_its_prompts_only_and_says_what_remains(run):
    loaded = metrics()
    assert score_part(run, loaded, Shard(0, 5, "--shard")) == 9 * 3, "3 of 12 prompts are done"
    assert calls(loaded) == {"features": 9, "images": 9, "set": 0, "spread": 3, "apart": 3, "network": 9}
    left = [score_part(run, metrics(), Shard(index, 5, "--shard")) for index in (1, 2, 3, 4)]
    assert left == [18, 12, 6, 0]


def test_parts_that_are_missing_are_done_by_whoever_joins(run, plain):
    score_part(run, metrics(), Shard(1, 3, "--shard"))
    joining = metrics()
    score_run(run, joining)
    assert calls(joining)["images"] == 24
    assert on_disk(run) == plain


def test_a_part_of_what_is_scored_has_nothing_to_do(run):
    score_run(run, metrics())
    loaded = metrics()
    assert score_part(run, loaded, Shard(0, 2, "--shard")) == 0
    assert set(calls(loaded).values()) == {0}


def make(only, device):
    return metrics(only=only)


def test_processes_give_what_one_command_gives_and_leave_nothing_to_do(run, plain):
    joining = metrics()
    share = partial(measure_in_processes, run, partial(make, None), ["cpu", "cpu"])
    score_run(run, joining, share=share)
    assert set(calls(joining).values()) == {0}
    assert on_disk(run) == plain


def breaking(device):
    if device == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("no such thing")


def test_what_processes_did_not_do_is_done_by_their_parent(run, plain, capsys):
    score_run(run, metrics(), share=partial(measure_in_processes, run, breaking, ["dies", "fails"]))
    err = capsys.readouterr().err
    assert "died: SIGKILL; what it left is done here" in err
    assert "a process could not do its part: ValueError: no such thing" in err
    assert on_disk(run) == plain


def test_a_repeat_reads_no_image_and_asks_no_network(run, monkeypatch, capsys):
    score_run(run, metrics())
    monkeypatch.setattr(stream, "read_drawn", lambda *given: pytest.fail("an image was read"))
    monkeypatch.setattr(features_module, "read_features", lambda *given: pytest.fail("features were read"))
    capsys.readouterr()
    again = metrics()
    shared = []
    score_run(run, again, share=shared.append)
    assert set(calls(again).values()) == {0}
    assert shared == [], "no process is started for nothing"
    assert capsys.readouterr().err == "noise: nothing to do: all is known of its 36 images\n"


def test_a_second_metric_on_the_same_network_computes_nothing_and_reads_no_image(run, monkeypatch, capsys):
    score_run(run, metrics(only=["features"]))
    monkeypatch.setattr(stream, "read_drawn", lambda *given: pytest.fail("an image was read"))
    capsys.readouterr()
    more = metrics(only=["set", "apart"])
    score_run(run, more)
    assert calls(more)["network"] == 0
    err = capsys.readouterr().err
    assert "0 of 36 images were read; features for set, apart: 0 computed, 35 from the cache" in err


def test_a_run_that_grew_computes_the_features_of_its_new_images_only(tmp_path, capsys):
    run = draw(tmp_path / "run", samples=2)
    score_run(run, metrics(only=["set"]))
    grown = draw(tmp_path / "run", samples=3)
    loaded = metrics(only=["set"])
    score_run(grown, loaded)
    assert calls(loaded)["network"] == 12
    assert "12 of 36 images were read; features for set: 12 computed, 24 from the cache" in capsys.readouterr().err


def test_another_run_of_the_same_images_computes_no_features(run, tmp_path):
    score_run(run, metrics(only=["set"]))
    other = draw(tmp_path / "other", samples=3, noise=Noise(twins=("004",)), name="other")
    loaded = metrics(only=["set"])
    score_run(other, loaded)
    assert calls(loaded)["network"] == 0


def test_a_metric_that_fails_half_way_goes_on_from_there(run):
    class Weary(streams.OnImages):
        def score(self, images, features, prompts):
            if self.calls >= 8:
                raise MemoryError("too much")
            return super().score(images, features, prompts)

    weary, fresh = Weary(), streams.OnImages()
    with pytest.raises(RuntimeError, match="too much"):
        score_run(run, [streams.Loaded("images", "images", weary)], batch_size=4)
    score_run(run, [streams.Loaded("images", "images", fresh)], batch_size=4)
    assert weary.calls + fresh.calls == 36


def test_damaged_values_of_a_killed_command_are_told_and_computed_anew(run, plain, capsys):
    score_part(run, metrics(only=["images"]), Shard(0, 1, "--shard"))
    (kept,) = (run.path / "scores" / ".unfinished").iterdir()
    lines = kept.read_bytes().split(b"\n")
    lines[3] = lines[3].replace(b"0.", b"1.", 1).replace(b"1", b"2", 1)
    lines[4] = b"not a line at all"
    kept.write_bytes(b"\n".join(lines[:-1]) + b"\n" + lines[5][:20])  # And the last line is torn: of a killed writer.
    loaded = metrics(only=["images"])
    score_run(run, loaded)
    assert loaded[0].metric.calls == 2
    assert "2 of its values are damaged: they are computed anew" in capsys.readouterr().err
    assert on_disk(run)["images"] == plain["images"]


def test_values_of_another_protocol_are_not_taken(run):
    score_part(run, metrics(only=["images"]), Shard(0, 1, "--shard"))
    other = streams.OnImages()
    other.protocol = lambda: {"of": "images", "otherwise": "yes"}
    score_run(run, [streams.Loaded("images", "images", other)])
    assert other.calls == 36


def test_values_left_by_a_command_that_was_killed_after_its_last_step_are_deleted_by_the_next(run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(stream, "delete_unfinished", lambda *given: None)
        score_run(run, metrics(only=["images", "spread"]))
    unfinished = run.path / "scores" / ".unfinished"
    assert len(list(unfinished.iterdir())) == 2
    (unfinished / "another.jsonl").write_bytes(b"")
    score_run(run, metrics(only=["images", "spread"]))
    assert [file.name for file in unfinished.iterdir()] == ["another.jsonl"]


def test_a_part_that_others_overtake_says_that_nothing_remains_and_leaves_nothing(run, plain):
    class Overtaken(streams.OnImages):
        def score(self, images, features, prompts):
            if self.calls == 0:
                score_run(run, metrics(only=["images"]))  # As if on another machine.
            return super().score(images, features, prompts)

    part = [streams.Loaded("images", "images", Overtaken())]
    assert score_part(run, part, Shard(0, 3, "--shard"), batch_size=4) == 0
    assert not (run.path / "scores" / ".unfinished").exists()
    assert on_disk(run)["images"] == plain["images"]


SLOW = """
import sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}]
import streams
import drawbench.metrics.features as features
from drawbench.metrics.stream import score_run
from drawbench.store import Run

features.MOST_ROWS = 4


class Slow(streams.Net):
    def __call__(self, images):
        time.sleep(0.02 * len(images))
        return super().__call__(images)


if __name__ == "__main__":
    loaded = streams.metrics(Slow())
    score_run(Run.open(Path(sys.argv[1])), loaded, batch_size=2)
    print(loaded[0].metric.network.seen, loaded[1].metric.calls)
"""


def test_killed_at_any_moment_scoring_goes_on_and_the_bytes_are_those_of_an_undisturbed_run(
    run, plain, tmp_path, cache
):
    (tmp_path / "slow.py").write_text(SLOW.format(tests=str(Path(__file__).parent)))
    command = [sys.executable, str(tmp_path / "slow.py"), str(run.path)]
    unfinished = run.path / "scores" / ".unfinished"

    def lines():
        return sum(file.read_bytes().count(b"\n") for file in unfinished.glob("*")) if unfinished.is_dir() else 0

    for _ in range(2):
        before = lines()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
        deadline = time.monotonic() + 60
        while child.poll() is None and lines() < before + 10 and time.monotonic() < deadline:
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL, "it ended before it could be killed: make it slower"
        assert run.score_files() == []
        assert lines() >= before + 10
    left = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    features, images = map(int, left.stdout.split())
    assert 0 < features <= 35 - 8, "whole files of four rows were on disk"
    assert 0 < images <= 36 - 10
    assert "went on from" in left.stderr
    assert on_disk(run) == plain
    assert not unfinished.exists()
    assert [file.name.startswith("rows-") for file in cache.rglob("*.npy")] == [False]


def test_the_prompts_of_the_whole_run_are_given_once_and_move_the_protocol(run):
    class Among(streams.OnImages):
        given = []

        def __init__(self, prompts=None):
            super().__init__()
            self.prompts = prompts

        def for_prompts(self, prompts):
            Among.given.append(len(prompts))
            return Among(prompts)

        def protocol(self):
            return {"among": str(len(self.prompts or []))}

        def score(self, images, features, prompts):
            assert self.prompts is not None
            return super().score(images, features, prompts)

    (file,) = score_run(run, [streams.Loaded("among", "among", Among())])
    assert Among.given == [12]
    assert file.protocol.fields["among"] == "12"
    score_run(run, [streams.Loaded("among", "among", Among())])
    assert len(run.score_files()) == 1


def test_a_network_asked_by_nobody_else_rests_when_its_metric_has_failed(tmp_path):
    run = draw(tmp_path / "run", prompts=prompt_set(6))
    network = Net()

    class Broken(streams.OnFeatures):
        features_only = False

        def score(self, images, features, prompts):
            raise ZeroDivisionError("oh")

    with pytest.raises(RuntimeError, match="oh"):
        score_run(run, [streams.Loaded("bad", "bad", Broken(network))], batch_size=2)
    assert network.seen == 2


def test_for_a_set_metric_that_needs_more_images_no_feature_is_computed(tmp_path):
    run, network = draw(tmp_path / "run"), Net()
    metric = OnSet(network)
    metric.least = 1000
    (file,) = score_run(run, [Loaded("norm", "norm", metric)])
    assert network.seen == 0
    assert {(row.value, row.reason) for row in file.scores} == {(None, "it needs at least 1000 images")}
    assert score_run(run, [Loaded("norm", "norm", metric)]) == [file]
