"""The third kind of metric: one value per prompt, its mean over prompts, and the comparison of systems prompt by prompt."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from streams import Net, Noise, Spread, draw, metrics, prompt_set

import drawbench.metrics.stream as stream
from drawbench.cli import main
from drawbench.errors import UserError
from drawbench.interfaces import PromptMetric
from drawbench.metrics.scoring import Loaded
from drawbench.metrics.stream import score_run
from drawbench.reports.comparison import compare
from drawbench.reports.write import write_report


def expected(noise, prompts, samples):
    """The spread of each prompt, of the images themselves."""
    greys = {p.id: [np.asarray(noise.paint(p.id, s), float).mean() for s in range(samples)] for p in prompts}
    return pd.Series({prompt: np.std(values) for prompt, values in greys.items()})


def scored(run, metric=None, **given):
    (file,) = score_run(run, [Loaded("spread", "spread", metric or Spread())], **given)
    return file


def row(file, output=None, category=None):
    (found,) = [score for score in file.scores if (score.output, score.category) == (output, category)]
    return found


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_each_prompt_has_one_value_of_all_its_images_in_order(tmp_path, mixed, batch_size):
    noise = Noise(mixed=mixed)
    run = draw(tmp_path / "run", samples=3, noise=noise)
    assert isinstance(Spread(), PromptMetric)
    table = scored(run, batch_size=batch_size).table()
    assert list(table.columns) == ["prompt", "samples", "category", "spread", "first"]
    assert table["samples"].tolist() == [3] * 12
    wanted = expected(noise, prompt_set().prompts, 3)
    assert table["prompt"].tolist() == list(wanted.index)
    np.testing.assert_allclose(table["spread"], wanted.to_numpy(), rtol=1e-12)
    firsts = [np.asarray(noise.paint(prompt, 0), float).mean() for prompt in wanted.index]
    np.testing.assert_allclose(table["first"], firsts, rtol=1e-12)


def test_images_are_read_once_with_those_of_other_metrics_where_prompts_have_one_size(tmp_path, monkeypatch):
    reads = []
    original = stream.read_drawn
    monkeypatch.setattr(stream, "read_drawn", lambda run, record: reads.append(record.prompt) or original(run, record))
    score_run(draw(tmp_path / "run", samples=3), metrics())
    assert len(reads) == 36
    reads.clear()
    score_run(draw(tmp_path / "mixed", samples=3, noise=Noise(mixed=True)), metrics(only=["spread"]))
    assert len(reads) == 36


def test_the_mean_is_over_prompts_with_a_t_interval_by_category_too(tmp_path):
    noise = Noise()
    file = scored(draw(tmp_path / "run", samples=3, noise=noise))
    wanted = expected(noise, prompt_set().prompts, 3)
    overall = row(file)
    assert overall.value == pytest.approx(wanted.mean())
    assert (overall.n, overall.n_prompts, overall.interval.over) == (36, 12, "prompts")
    half = stats.t.ppf(0.975, 11) * wanted.std() / 12**0.5
    assert (overall.interval.low, overall.interval.high) == pytest.approx((overall.value - half, overall.value + half))
    odd = row(file, "spread", "b")
    assert odd.value == pytest.approx(wanted.iloc[1::2].mean())
    assert (odd.n, odd.n_prompts) == (18, 6)


def test_over_samples_there_is_a_reason_and_no_interval(tmp_path):
    run = draw(tmp_path / "run", samples=3)
    overall = row(scored(run, over="samples"))
    assert overall.interval is None
    assert overall.value is not None
    assert "one value per prompt" in overall.reason
    assert row(scored(run)).interval.over == "prompts"


def test_where_every_prompt_has_a_single_image_no_prompt_has_a_value(tmp_path):
    overall = row(scored(draw(tmp_path / "run", samples=1)))
    assert (overall.value, overall.interval, overall.reason, overall.n) == (None, None, "no prompt has a value", 0)


def test_a_metric_with_a_network_is_given_features_and_no_images_and_these_are_cached(tmp_path):
    run = draw(tmp_path / "run", samples=3)
    network = Net()
    first = scored(run, Spread(network))
    assert network.seen == 36
    assert first.table()["spread"].gt(0).all()
    score_run(run, metrics(network, only=["set"]))
    assert network.seen == 36


def test_a_value_that_breaks_its_word_is_named(tmp_path):
    class Infinite(Spread):
        def score_prompt(self, images, features, prompt):
            return {"spread": np.inf, "first": 0.0}

    class Lacking(Spread):
        def score_prompt(self, images, features, prompt):
            return {"spread": 1.0}

    run = draw(tmp_path / "run")
    with pytest.raises(UserError, match="metric spread: spread is infinite"):
        scored(run, Infinite())
    with pytest.raises(UserError, match="its values and its outputs disagree on first"):
        scored(run, Lacking())
    assert run.score_files() == []


def test_reports_compare_systems_prompt_by_prompt(tmp_path):
    class Duller(Noise):
        def paint(self, prompt, sample):
            return super().paint(prompt, 0).point(lambda value: value // 2 + sample)

    lively, dull = (
        draw(tmp_path / "a", samples=3, name="lively"),
        draw(tmp_path / "b", samples=3, noise=Duller(), name="dull"),
    )
    tables = [scored(run).table().set_index("prompt")["spread"] for run in (lively, dull)]
    comparison = compare([lively, dull])
    (overall,) = [c for c in comparison.contrasts if c.subject.output == "spread" and c.category is None]
    difference = tables[0] - tables[1]
    assert overall.value == pytest.approx(difference.mean())
    assert overall.n_prompts == 12
    half = stats.t.ppf(0.975, 11) * difference.std() / 12**0.5
    assert overall.interval.high - overall.value == pytest.approx(half)
    assert {c.category for c in comparison.contrasts if c.subject.output == "spread"} == {None, "a", "b"}
    for suffix in ("html", "md", "json"):
        write_report([lively, dull], tmp_path / f"report.{suffix}")
        assert "spread" in (tmp_path / f"report.{suffix}").read_text()


def test_scored_over_samples_and_over_prompts_two_systems_are_compared_for_the_value_is_the_same(tmp_path):
    runs = [draw(tmp_path / name, samples=3, name=name) for name in ("one", "two")]
    for run, over in zip(runs, ("prompts", "samples"), strict=True):
        scored(run, over=over)
    assert all(c.reason is None or "protocols" not in c.reason for c in compare(runs).contrasts)
    assert [c.value for c in compare(runs).contrasts if c.category is None] == [0.0, 0.0]


PLUGIN = """
from drawbench.interfaces import Output


class Greys:
    outputs = {"greys": Output(None, "mean", main=True)}
    network = None

    def protocol(self):
        return {}

    def score_prompt(self, images, features, prompt):
        return {"greys": float(sum(image.mean() for image in images))}


def greys():
    return Greys()
"""


@pytest.fixture
def score(tmp_path, monkeypatch, capsys):
    """Calls the command line; returns (exit code, standard output, standard error)."""
    (tmp_path / "greys.py").write_text(PLUGIN)

    def call(*more):
        metric = f"greys={tmp_path / 'greys.py'}:greys"
        monkeypatch.setattr(sys, "argv", ["drawbench", "score", str(tmp_path / "run"), "--metric", metric, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


def test_on_the_command_line_it_is_scored_in_parts_and_printed(tmp_path, score):
    draw(tmp_path / "run", samples=2)
    code, out, _ = score("--shard", "1/2")
    assert code == 0
    assert "part 1 of 2 (--shard) is measured; 12 images remain for the other parts" in out
    code, out, err = score("--shard", "2/2", "--json")
    assert (code, out) == (0, "[]\n")
    assert "nothing remains: the command without --shard joins them" in err
    code, out, err = score()
    assert "greys greys" in out
    assert "n = 24" in out
    assert "0 of 24 images were read; greys went on from 12 values that were kept" in err
    assert score("--shard", "3/2")[0] == 2
    assert score("--shard", "1/2", "--processes", "2")[0] == 2
