"""``drawbench compare``: differences as a report has them, of sets too, and refusals that name what differs."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from making_runs import make_run, prompts, redraw, score

from drawbench import __version__
from drawbench.cli import main
from drawbench.errors import UserError
from drawbench.interfaces import Output
from drawbench.intervals import jackknife_difference
from drawbench.metrics.stream import Loaded, score_run
from drawbench.reports.comparison import compare
from drawbench.reports.two_runs import compare_two, lines, refusal
from drawbench.reports.wording import warnings
from drawbench.scores import write_scores

SET = {"spread": Output(higher_is_better=False, kind="set", main=True)}


def wave(prompt, sample=0):
    return 0.5 + 0.1 * np.sin(int(prompt.id)) + 0.02 * np.cos(3 * int(prompt.id) + sample)


def better(prompt, sample=0):
    return wave(prompt, 2) + 0.1


@pytest.fixture
def toys():
    return prompts()


@pytest.fixture
def two(tmp_path, toys):
    a, b = make_run(tmp_path / "a", toys, "alpha"), make_run(tmp_path / "b", toys, "beta")
    score(a, "faithful", {"share": better})
    score(b, "faithful", {"share": wave})
    return a, b


@pytest.fixture
def drawbench(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["drawbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code, *capsys.readouterr())

    return call


def overall(found, metric="faithful"):
    (row,) = [c for c in found.contrasts if c.subject.metric == metric and c.category is None]
    return row


def test_a_comparison_has_the_numbers_of_a_report(two):
    found = compare_two(two[0].path, two[1].path)
    expected = {(c.category, c.value, c.interval, c.p, c.p_holm, c.better) for c in compare(two).contrasts}
    assert {(c.category, c.value, c.interval, c.p, c.p_holm, c.better) for c in found.contrasts} == {
        (category, *rest) for category, *rest in expected
    }
    assert len(found.contrasts) == 3


def test_who_is_better_is_said_with_interval_and_p(two, drawbench):
    code, out, err = drawbench("compare", two[0].path, two[1].path)
    assert (code, err) == (0, "")
    interval = compare(two).contrasts[0].interval
    assert f"alpha better than beta by 0.101 [{interval.low:.3f}, {interval.high:.3f}], p (Holm) < 0.001" in out
    assert "(24 prompts)" in out
    reverse = drawbench("compare", two[1].path, two[0].path)[1]
    assert f"alpha better than beta by 0.101 [{interval.low:.3f}, {interval.high:.3f}]" in reverse


def test_categories_are_told_on_request(two, drawbench):
    assert "[red]" not in drawbench("compare", two[0].path, two[1].path)[1]
    out = drawbench("compare", two[0].path, two[1].path, "--by-category")[1]
    assert [line.split("  ")[0].rstrip() for line in out.splitlines()] == [
        "faithful share ↑",
        "faithful share ↑ [red]",
        "faithful share ↑ [blue]",
    ]


def test_equal_systems_are_not_distinguishable(tmp_path, two, toys):
    c = make_run(tmp_path / "c", toys, "gamma")
    score(c, "faithful", {"share": lambda p, s: wave(p, 1)})
    (line,) = lines(compare_two(two[1].path, c.path))
    assert "not distinguishable: beta − gamma = " in line


def test_different_protocols_are_refused_with_their_fields_and_the_rest_is_told(tmp_path, two, drawbench):
    for run, resize in zip(two, ("clean", "legacy"), strict=True):
        score(run, "fid", {"spread": lambda p, s: 20.0}, SET, fields={"resize": resize, "dtype": "fp32"})
    code, out, err = drawbench("compare", two[0].path, two[1].path)
    assert code == 2
    assert "alpha better than beta" in out
    assert "fid" not in out
    assert err == (
        "drawbench: fid is not compared, for the protocols differ: resize is clean (alpha) and legacy (beta); score both with "
        "the same options, on equally many images\n"
    )
    assert drawbench("compare", two[0].path, two[1].path, "--metric", "faithful")[0] == 0
    code, out, _ = drawbench("compare", two[0].path, two[1].path, "--metric", "fid", "--json")
    assert (code, json.loads(out)["refused"]) == (2, [{"metric": "fid", "fields": {"resize": ["clean", "legacy"]}}])
    assert json.loads(out)["comparisons"] == []


def test_of_several_protocols_the_common_one_is_compared_and_a_file_names_one(two):
    files = {}
    for run in two:
        for resize in ("clean", "legacy"):
            shift = 0.1 if resize == "legacy" and run is two[0] else 0.0
            files[run.path.name, resize] = score(
                run, "other", {"share": lambda p, s, shift=shift: wave(p) + shift}, fields={"resize": resize}
            )
    found = compare_two(two[0].path, two[1].path, ["other"])
    assert sorted(c.value for c in found.contrasts if c.category is None) == pytest.approx([0.0, 0.1])
    single = compare_two(files["a", "legacy"].path, files["b", "legacy"].path)
    assert overall(single, "other").value == pytest.approx(0.1)
    crossed = compare_two(files["a", "legacy"].path, files["b", "clean"].path)
    assert crossed.contrasts == []
    assert "resize is legacy (alpha) and clean (beta)" in refusal(crossed)


def test_sets_of_two_sizes_are_refused_and_images_of_fewer_prompts_are_compared_on_the_common_ones(tmp_path, two, toys):
    c = make_run(tmp_path / "c", toys, "gamma", skip=["001"])
    score(c, "faithful", {"share": wave})
    for run in (two[0], c):
        score(run, "fid", {"spread": lambda p, s: 20.0}, SET)
    found = compare_two(two[0].path, c.path)
    assert overall(found).n_prompts == 23
    assert [(it.metric, it.fields) for it in found.refused] == [("fid", {"n": ("24", "23")})]
    assert found.remarks == ["alpha has 24 images and gamma 23: differences are over the prompts that both have"]


class Width:
    """A stand-in for an FID: the variance of one feature."""

    outputs = SET
    least = 2

    def protocol(self):
        return {}

    def network(self, images):
        return images.float().mean((1, 2, 3))[:, None]

    network.key = "one number"

    def compute(self, features):
        return {"spread": float(np.var(features, dtype=np.float64))}

    def leave_out(self, features, groups):
        parts = [np.var(features[groups != g], dtype=np.float64) for g in range(groups.max() + 1)]
        return {"spread": np.array(parts)}


def test_the_difference_of_two_sets_has_the_jackknife_of_the_difference(tmp_path, toys):
    import io

    import PIL.Image

    def painted(spread):
        def image(prompt, sample):
            grey = 128 + int(spread * np.sin(7 * int(prompt.id)))
            stream = io.BytesIO()
            PIL.Image.new("RGB", (8, 8), (grey, grey, grey)).save(stream, "PNG")
            return stream.getvalue()

        return image

    runs = [
        make_run(tmp_path / name, toys, name, image=painted(spread)) for name, spread in (("wide", 100), ("slim", 60))
    ]
    metric = Width()
    (wide,), (slim,) = (score_run(run, [Loaded("width", "width", metric)]) for run in runs)
    assert wide.groups_sha256 == slim.groups_sha256
    found = overall(compare_two(runs[0].path, runs[1].path), "width")
    expected = jackknife_difference(
        wide.scores[0].value,
        slim.scores[0].value,
        np.array(wide.left_out["spread"]),
        np.array(slim.left_out["spread"]),
        n_prompts=24,
    )
    assert (found.value, found.interval, found.p) == (expected.value, expected.interval, expected.p)
    assert (found.verdict, found.better) == ("better", "slim")
    alone = sum((row.interval.high - row.interval.low) / 2 for row in (wide.scores[0], slim.scores[0]))
    assert (found.interval.high - found.interval.low) / 2 < 0.6 * alone, "what both share drops out"
    assert compare(runs).contrasts[0].interval == found.interval


def test_without_the_values_of_each_group_a_set_difference_has_no_interval_and_says_so(two):
    for run, value in zip(two, (20.0, 30.0), strict=True):
        score(run, "fid", {"spread": lambda p, s, value=value: value}, SET)
    (line,) = lines(compare_two(two[0].path, two[1].path, ["fid"]))
    assert "alpha − beta = −10" in line
    assert "no interval of the difference: alpha has no values without each group" in line


def test_what_is_not_scored_is_told_with_the_command(tmp_path, two, toys):
    c = make_run(tmp_path / "c", toys, "gamma")
    with pytest.raises(UserError, match=r"/c has no scores; score it: drawbench score .*/c --metric NAME"):
        compare_two(two[0].path, c.path)
    with pytest.raises(UserError, match=r"no scores of 'faithfull'; did you mean 'faithful'\? \(it has: faithful\)"):
        compare_two(two[0].path, two[1].path, ["faithfull"])
    score(c, "pretty", {"share": wave})
    with pytest.raises(UserError, match="scored by faithful and .* by pretty: nothing that both have"):
        compare_two(two[0].path, c.path)
    redraw(two[0], "003")
    with pytest.raises(UserError, match="older than its images; score it: drawbench score .*/a --metric faithful"):
        compare_two(two[0].path, two[1].path)


def test_other_prompts_the_same_run_twice_and_statistics_are_refused(tmp_path, two):
    c = make_run(tmp_path / "c", prompts(name="bricks", count=12), "gamma")
    score(c, "faithful", {"share": wave})
    with pytest.raises(
        UserError, match=r"drawn for toys \(.{8}\) and .* for bricks \(.{8}\): numbers of different prompts"
    ):
        compare_two(two[0].path, c.path)
    with pytest.raises(UserError, match="is given twice"):
        compare_two(two[0].path, two[0].path)
    np.savez(tmp_path / "stats.npz", mu=0)
    with pytest.raises(UserError, match="is a file of statistics and no scored run"):
        compare_two(two[0].path, tmp_path / "stats.npz")


def test_two_runs_of_one_system_are_told_apart_by_their_folders(tmp_path, two, toys):
    again = make_run(tmp_path / "again", toys, "alpha")
    score(again, "faithful", {"share": wave})
    assert "a better than again by" in lines(compare_two(two[0].path, again.path))[0]


def test_a_number_without_an_interval_is_compared_with_one_that_has_one(two, drawbench):
    """Left out on request, or for want of any spread: that is no other protocol."""

    class Left(Width):
        with_interval = False

    for run, metric in zip(two, (Width(), Left()), strict=True):
        score_run(run, [Loaded("width", "width", metric)])
        score(run, "even", {"share": better if run is two[0] else lambda p, s: 0.5})
    found = compare_two(two[0].path, two[1].path)
    assert found.refused == []
    assert "beta has no values without each group" in overall(found, "width").reason
    assert overall(found, "even").better == "alpha"
    assert not [it for section in compare(two).sections for metric in section.metrics for it in metric.mismatches]
    assert drawbench("compare", two[0].path, two[1].path)[0] == 0


def test_intervals_over_seeds_and_over_prompts_are_not_compared_and_both_are_named(tmp_path, toys):
    runs = [make_run(tmp_path / name, toys, name, samples=3) for name in ("alpha", "beta")]
    for run, over in zip(runs, ("prompts", "samples"), strict=True):
        file = score(run, "faithful", {"share": wave})
        rows = [row for row in file.scores if row.interval]
        write_scores(file._replace(scores=[replace(row, interval=row.interval._replace(over=over)) for row in rows]))
    found = compare_two(runs[0].path, runs[1].path)
    assert [it.fields for it in found.refused] == [{"interval over": ("prompts", "samples")}]
    assert warnings(compare(runs)) == [
        "faithful on toys is not compared across protocols: interval over is prompts (alpha), samples (beta)"
    ]


def test_scores_of_two_versions_are_compared_and_said_to_be(two, drawbench):
    write_scores(two[1].score_files()[0]._replace(drawbench="0.0.1"))
    said = f"faithful was scored by drawbench {__version__} (alpha), 0.0.1 (beta); score both again with one version"
    assert compare_two(two[0].path, two[1].path).remarks == [said]
    assert said in drawbench("compare", two[0].path, two[1].path)[2]
    assert warnings(compare(two)) == [
        f"faithful on toys: scored by drawbench {__version__} (alpha), 0.0.1 (beta); score all again with one version"
    ]
