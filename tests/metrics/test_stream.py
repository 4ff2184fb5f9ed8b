"""The stream: each image once for all metrics, features once per network, values kept in order, and nothing altered scored."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import drawbench.metrics.stream as stream
from drawbench.errors import UserError
from drawbench.interfaces import Drawn, Output, Prompt, Refused, Scored
from drawbench.metrics.batches import by_size
from drawbench.metrics.stream import Loaded, score_run
from drawbench.prompts import make_prompt_set
from drawbench.runner import generate
from drawbench.store import Manifest, Plan, Run, System

PROMPTS = make_prompt_set("few", [Prompt(f"{n:02d}", f"Prompt {n}.", "ab"[n % 2]) for n in range(10)])


class Greys:
    """One grey per image, of two sizes; prompt 03 is refused."""

    pads = False

    def fingerprint(self):
        return {}

    def generate(self, items):
        return [Refused("no") if i.prompt.id == "03" else Drawn(self.paint(i)) for i in items]

    @staticmethod
    def paint(item):
        side = 8 if int(item.prompt.id) % 3 else 12
        return Image.fromarray(np.full((side, side, 3), 10 * int(item.prompt.id) + item.sample, np.uint8))


class Mean:
    """The mean grey, and whether it is over 40; does not apply to prompt 05."""

    outputs = {"grey": Output(None, "mean", main=True), "over": Output(True, "rate")}
    network = None

    def __init__(self):
        self.calls = 0

    def protocol(self):
        return {"version": "1"}

    def score(self, images, features, prompts):
        self.calls += 1
        grey = images.double().mean((1, 2, 3)).numpy()
        grey[[p.id == "05" for p in prompts]] = np.nan
        return Scored(
            {"grey": grey, "over": np.where(np.isnan(grey), np.nan, grey > 40)}, {"text": [p.text for p in prompts]}
        )


class Net:
    key = "a-network"

    def __init__(self):
        self.seen = 0

    def __call__(self, images):
        assert images.dtype == torch.uint8
        self.seen += len(images)
        return images.float().mean((2, 3))


class OnFeatures(Mean):
    def __init__(self, network, factor=1.0):
        super().__init__()
        self.network, self.factor = network, factor

    def protocol(self):
        return {"factor": str(self.factor)}

    def score(self, images, features, prompts):
        grey = features[:, 0].double().numpy() * self.factor
        return Scored({"grey": grey, "over": grey * 0})


class SetMean:
    outputs = {"mean": Output(False, "set", main=True)}

    def __init__(self, network):
        self.network = network

    def protocol(self):
        return {}

    def compute(self, features):
        return {"mean": float(features[:, 0].astype(float).mean())}

    def leave_out(self, features, groups):
        return {"mean": np.array([features[groups != g, 0].astype(float).mean() for g in np.unique(groups)])}


def loaded(metric, alias="m"):
    return Loaded(alias, "metric", metric)


@pytest.fixture
def run(tmp_path):
    manifest = Manifest(System("greys", "greys", {}, {}), "few", PROMPTS.sha256, 10, 0, "fp32", Plan(None, 2), 4, "now")
    made = Run.start(tmp_path / "run", manifest, PROMPTS)
    generate(made, Greys(), made.items(), batch_size=4, device="cpu")
    return made


def row(file, output, category=None):
    (found,) = [score for score in file.scores if score.output == output and score.category == category]
    return found


def test_values_are_kept_by_prompt_and_sample_whatever_size_the_images_have(run):
    (file,) = score_run(run, [loaded(Mean())], batch_size=3)
    table = file.table()
    assert list(table.columns) == ["prompt", "sample", "category", "grey", "over", "note_text"]
    assert len(table) == 18, "the refused prompt is no value of zero"
    applies = table[table["prompt"] != "05"]
    assert (applies["grey"] == 10 * applies["prompt"].astype(int) + applies["sample"]).all()
    assert table[table["prompt"] == "05"]["grey"].isna().all()
    assert (table["note_text"] == "Prompt " + table["prompt"].astype(int).astype(str) + ".").all()


def test_aggregates_say_how_much_they_rest_on(run):
    (file,) = score_run(run, [loaded(Mean())])
    overall = row(file, "grey")
    numbers = [n for n in range(10) if n not in (3, 5)]
    assert overall.value == pytest.approx(np.mean([10 * n + 0.5 for n in numbers]))
    assert (overall.n, overall.n_prompts, overall.interval.over) == (16, 8, "prompts")
    assert row(file, None) == overall.__class__(
        **{**{f: getattr(overall, f) for f in overall.__dataclass_fields__}, "output": None}
    )
    assert row(file, "grey", "b").n == 2 * len([n for n in numbers if n % 2])
    assert {s.category for s in file.scores} == {None, "a", "b"}
    assert overall.protocol.fields["n"] == "18"
    assert overall.protocol.fields["prompts"] == PROMPTS.sha256


def test_batch_size_does_not_move_a_value(run, tmp_path):
    one, many = Mean(), Mean()
    (first,) = score_run(run, [loaded(one, "one")], batch_size=1)
    (second,) = score_run(run, [loaded(many, "many")], batch_size=64)
    assert one.calls > many.calls
    pd.testing.assert_frame_equal(first.table(), second.table())


def test_what_was_scored_is_not_scored_again_and_new_images_are(run):
    score_run(run, [loaded(Mean())])
    again = Mean()
    (file,) = score_run(run, [loaded(again)], over="samples")
    assert again.calls == 0
    assert row(file, "grey").interval.over == "samples", "another question of the same values reads no image"
    grown = Run.start(run.path, run.manifest.__class__(**{**fields(run.manifest), "plan": Plan(None, 3)}), PROMPTS)
    generate(grown, Greys(), grown.items(), batch_size=4, device="cpu")
    (file,) = score_run(grown, [loaded(again)])
    assert again.calls > 0
    assert row(file, "grey").n == 24


def fields(record):
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def test_features_are_computed_once_for_all_metrics_and_kept(run, monkeypatch):
    network = Net()
    files = score_run(
        run, [loaded(OnFeatures(network), "a"), loaded(OnFeatures(network, 2.0), "b"), loaded(SetMean(network), "c")]
    )
    assert network.seen == 18
    assert row(files[1], "grey").value == pytest.approx(2 * row(files[0], "grey").value)
    other = Net()
    (third,) = score_run(run, [loaded(OnFeatures(other, 3.0), "d")])
    assert other.seen == 0, "they were on disk"
    assert row(third, "grey").value == pytest.approx(3 * row(files[0], "grey").value)


def test_each_image_is_read_once_for_all_metrics(run, monkeypatch):
    reads = []
    original = stream.read_drawn
    monkeypatch.setattr(stream, "read_drawn", lambda run, record: reads.append(record.prompt) or original(run, record))
    score_run(run, [loaded(Mean(), "a"), loaded(OnFeatures(Net()), "b"), loaded(SetMean(Net()), "c")])
    assert len(reads) == 18


def test_a_set_metric_has_a_jackknife_interval_over_prompts_and_no_categories(run):
    (file,) = score_run(run, [loaded(SetMean(Net()))])
    (main, named) = file.scores
    assert (main.output, named.output, main.kind, main.n, main.n_prompts) == (None, "mean", "set", 18, 9)
    assert "9 groups of prompts" in main.interval.method
    means = np.array([10 * n + 0.5 for n in range(10) if n != 3])
    half = (main.interval.high - main.interval.low) / 2
    from scipy import stats

    assert half == pytest.approx(stats.t.ppf(0.975, 8) * means.std(ddof=1) / 3), "of a mean it is the t interval"
    (again,) = score_run(run, [loaded(SetMean(Net()))])
    assert again == file


def test_an_altered_or_missing_image_is_not_scored(run):
    file = run.image_path("01", 0)
    data = file.read_bytes()
    Image.new("RGB", (8, 8)).save(file)
    with pytest.raises(UserError, match=r"01/0\.png is not the file that was drawn; `drawbench verify"):
        score_run(run, [loaded(Mean())])
    file.unlink()
    with pytest.raises(UserError, match="was drawn and is not there"):
        score_run(run, [loaded(Mean())])
    file.write_bytes(data)
    assert score_run(run, [loaded(Mean())])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"grey": [0.0]}, "disagree on over"),
        ({"grey": [0.0], "over": [0.0], "more": [0.0]}, "disagree on more"),
        ({"grey": [0.0, 0.0], "over": [0.0]}, r"grey has shape \(2,\) for 1 images"),
        ({"grey": [np.inf], "over": [0.0]}, "grey is infinite"),
    ],
)
def test_a_metric_that_breaks_its_word_is_named(run, values, message):
    class Wrong(Mean):
        def score(self, images, features, prompts):
            return Scored({name: np.array(column) for name, column in values.items()})

    with pytest.raises(UserError, match=f"metric bad: .*{message}"):
        score_run(run, [loaded(Wrong(), "bad")], batch_size=1)
    assert run.score_files() == []


class Broken(Mean):
    def score(self, images, features, prompts):
        raise ZeroDivisionError("oh")


def test_a_metric_that_fails_is_named_and_the_others_are_kept(run):
    with pytest.raises(RuntimeError, match="metric bad failed: ZeroDivisionError: oh"):
        score_run(run, [loaded(Mean(), "good"), loaded(Broken(), "bad")])
    (kept,) = run.score_files()
    assert kept.metric == "good"


class FailsToCompute(SetMean):
    def compute(self, features):
        raise ZeroDivisionError("oh")


class FailsToLeaveOut(SetMean):
    def leave_out(self, features, groups):
        raise ZeroDivisionError("oh")


class FailsOnFiles(SetMean):
    def from_files(self, files):
        raise ZeroDivisionError("oh")


class FailsToRemark(SetMean):
    def remarks(self, prompts):
        raise ZeroDivisionError("oh")


class Dead(Net):
    key = "a-dead-network"

    def __call__(self, images):
        super().__call__(images)
        if self.seen > 6:
            raise ZeroDivisionError("oh")
        return images.float().mean((2, 3))


@pytest.mark.parametrize(
    "bad",
    [
        FailsToCompute(Net()),
        FailsToLeaveOut(Net()),
        FailsOnFiles(Net()),
        FailsToRemark(Net()),
        SetMean(Dead()),
        OnFeatures(Dead()),
    ],
    ids=lambda metric: f"{type(metric).__name__}-{type(metric.network).__name__}",
)
def test_whatever_of_a_metric_fails_the_others_are_kept(run, bad):
    """In whatever order they are given."""
    others = [loaded(Mean(), "a"), loaded(SetMean(Net()), "z")]
    with pytest.raises(RuntimeError, match="metric bad failed: ZeroDivisionError: oh"):
        score_run(run, [others[0], loaded(bad, "bad"), others[1]], batch_size=2)
    assert [file.metric for file in run.score_files()] == ["a", "z"]


def test_a_network_that_fails_fails_every_metric_on_it_and_what_it_computed_is_counted(run, capsys):
    network = Dead()
    with pytest.raises(RuntimeError, match="metric one failed: ZeroDivisionError: oh"):
        score_run(
            run, [loaded(OnFeatures(network), "one"), loaded(SetMean(network), "two"), loaded(Mean())], batch_size=2
        )
    err = capsys.readouterr().err
    assert "features for one, two: 6 computed, 0 from the cache, 12 not computed" in err
    assert "metric two failed: ZeroDivisionError: oh" in err
    assert [file.metric for file in run.score_files()] == ["m"]
    assert network.seen == 8, "it is not asked again"


def test_two_plug_ins_whose_networks_have_one_key_have_features_of_their_own(run):
    class Other(Net):
        def __call__(self, images):
            return super().__call__(images) + 100

    first, second = (
        Loaded(alias, "metric", SetMean(network), {"source sha256": alias})
        for alias, network in (("one", Net()), ("two", Other()))
    )
    together = score_run(run, [first, second])
    assert row(together[1], "mean").value == pytest.approx(row(together[0], "mean").value + 100)


def test_a_plug_in_that_was_edited_computes_its_features_anew(run):
    before, after, again = Net(), Net(), Net()
    for network, code in ((before, "one"), (after, "two"), (again, "two")):
        score_run(run, [Loaded("m", "metric", OnFeatures(network), {"source sha256": code})])
    assert (before.seen, after.seen, again.seen) == (18, 18, 0)


def test_features_that_are_not_finite_are_refused_and_not_kept(run, cache):
    class Sick(Net):
        def __call__(self, images):
            return super().__call__(images) * np.nan

    with pytest.raises(UserError, match="metric m: the network a-network gave features that are not finite"):
        score_run(run, [loaded(OnFeatures(Sick()))])
    assert not list(cache.rglob("*.npy"))


def test_a_set_value_that_is_not_finite_is_refused_by_name(run):
    class Lost(SetMean):
        def compute(self, features):
            return {"mean": float("nan")}

    with pytest.raises(UserError, match="metric bad: mean is nan"):
        score_run(run, [loaded(Lost(Net()), "bad")])


def test_a_cache_that_cannot_be_written_or_read_costs_no_scores(run, cache, capsys):
    (cache / "features").write_text("a file in the way")
    (first,) = score_run(run, [loaded(OnFeatures(Net()))])
    assert "could not be kept" in capsys.readouterr().err
    (cache / "features").unlink()
    score_run(run, [loaded(OnFeatures(Net(), 2.0), "b")])
    (kept,) = cache.rglob("*.npy")
    kept.write_bytes(kept.read_bytes()[:70])
    network = Net()
    (third,) = score_run(run, [loaded(OnFeatures(network, 1.0), "c")])
    assert network.seen == 18
    assert "computed anew" in capsys.readouterr().err
    assert row(third, "grey").value == row(first, "grey").value


def test_a_damaged_table_is_computed_anew_and_not_read(run):
    (file,) = score_run(run, [loaded(Mean())])
    file.path.with_suffix(".parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="is not the table that was written"):
        run.score_files()[0].table()
    again = Mean()
    score_run(run, [loaded(again)])
    assert again.calls > 0
    assert run.score_files()[0].is_whole()


def test_another_version_of_the_suite_computes_anew(run, monkeypatch):
    score_run(run, [loaded(Mean())])
    monkeypatch.setattr(stream, "__version__", "99.0")
    again = Mean()
    score_run(run, [loaded(again)])
    assert again.calls > 0


def test_the_options_and_code_of_a_third_partys_metric_are_in_its_protocol(run):
    (a,) = score_run(run, [Loaded("m", "metric", Mean(), {"source sha256": "one"})])
    (b,) = score_run(run, [Loaded("m", "metric", Mean(), {"source sha256": "two"})])
    assert a.protocol.hash != b.protocol.hash


def test_huge_images_come_in_smaller_batches():
    assert by_size([(8192, 4096)] * 5, 16) == [[0, 1], [2, 3], [4]]
    assert by_size([(8, 8), (12, 8), (8, 8)], 16) == [[0, 2], [1]]


def test_batches_that_are_left_stay_as_they_were_and_small_remains_are_joined():
    sizes = [(8, 8)] * 7 + [(9, 9)] * 3
    assert by_size(sizes, 3) == [[0, 1, 2], [3, 4, 5], [6], [7, 8, 9]]
    assert by_size(sizes, 3, [3, 4, 5, 6, 8]) == [[3, 4, 5], [6], [8]]
    assert by_size(sizes, 3, [0, 1, 3, 5, 7, 8, 9]) == [[0, 1, 3], [5], [7, 8, 9]]
    assert by_size(sizes, 3, []) == []


def test_a_further_output_is_scored_and_what_needs_files_has_them(run):
    class WithFiles(SetMean):
        outputs = SetMean.outputs | {"files": Output(None, "set"), "none": Output(None, "set")}

        def from_files(self, files):
            return {"files": (float(sum(file.is_file() for file in files)), "no interval"), "none": (None, "no value")}

    score_run(run, [loaded(SetMean(Net()), "mean")])
    (file,) = score_run(run, [loaded(WithFiles(Net()), "mean")])
    found = {row.output: (row.value, row.reason) for row in file.scores}
    assert found["files"] == (18.0, "no interval")
    assert found["none"] == (None, "no value")
    assert "mean" in found


def test_a_run_without_images_is_not_scored(tmp_path):
    manifest = Manifest(System("greys", "greys", {}, {}), "few", PROMPTS.sha256, 10, 0, "fp32", Plan(None, 1), 4, "now")
    made = Run.start(tmp_path / "run", manifest, PROMPTS)
    with pytest.raises(UserError, match="has no images to score"):
        score_run(made, [loaded(Mean())])


def test_scores_on_disk_are_strict_json(run):
    score_run(run, [loaded(Mean())])
    (path,) = (run.path / "scores").glob("*.json")

    def refuse(word):
        raise AssertionError(word)

    assert json.loads(path.read_text(), parse_constant=refuse)["metric"] == "m"
