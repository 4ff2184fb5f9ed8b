"""The coverage of intervals over raters x prompts, as benchmarks/human_coverage.py simulates it."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from drawbench.human_eval.preference import share_interval
from drawbench.human_eval.simulation import Population, simulate, studies, true_shares

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "human_coverage.py"


def load_script():
    spec = importlib.util.spec_from_file_location("human_coverage", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


human_coverage = load_script()


@pytest.mark.parametrize("kind", ["noise", "both", "lazy first"])
@pytest.mark.parametrize("strength", [0.0, 2.5])
def test_what_is_simulated_by_the_thousand_is_what_share_interval_gives(kind, strength):
    population = human_coverage.KINDS[kind]
    answers = studies(strength, population, 6, 9, np.random.default_rng(0), 12).answers
    raters, prompts = np.repeat(np.arange(6), 9).astype(str), np.tile(np.arange(9), 6).astype(str)
    for values in ((answers > 0).astype(float), (answers + 1) / 2):
        found = human_coverage.bounds(values)
        for study in range(12):
            expected = share_interval(values[study].ravel(), raters, prompts)
            for rule, interval in (("ours", expected.interval), ("naive", expected.naive)):
                assert [end[study] for end in found[rule]] == pytest.approx(interval[:2], rel=1e-9, abs=1e-12)


def assert_cells_hold(kinds, sizes, count):
    rows = list(human_coverage.coverage_rows(kinds, sizes, count, seed=0))
    assert len(rows) == len(kinds) * len(sizes) * 4 * 2
    claimed = [row for row in rows if row["asserted"]]
    assert len(claimed) == len(rows) * 3 // 4  # At a strength of 2.5 it is only reported.
    assert [row for row in claimed if not row["holds"]] == []
    return rows


def test_shares_are_covered_whatever_raters_and_prompts_are_like_and_naive_ones_are_not():
    """4,000 studies in a cell have an SE of .4 points: under 91.8 % fails, which one-way clustering and the naive rule do."""
    rows = assert_cells_hold(["noise", "raters", "prompts", "both", "side"], ["5x10", "25x7"], 4000)
    for rule in ("naive", "raters", "prompts", "wald"):
        assert any(row["coverage"][rule] < 0.85 for row in rows if row["asserted"]), "a worse rule would be noticed"
    naive = {kind: min(row["coverage"]["naive"] for row in rows if row["kind"] == kind) for kind in ("noise", "both")}
    assert naive["noise"] > 0.9
    assert naive["both"] < 0.7


def test_a_study_whose_raters_judge_one_category_each_is_covered_too():
    rows = assert_cells_hold(["both"], ["drawbench"], 1000)
    assert all(row["coverage"]["ours"] < 0.98 for row in rows), "nor is it wide for nothing"
    assert max(row["coverage"]["naive"] for row in rows) < 0.7


@pytest.mark.parametrize("value", [0, 1])
def test_parts_of_a_study_are_counted_as_share_interval_counts_them(value):
    answers = [
        studies(0.5, human_coverage.KINDS["both"], raters, prompts, np.random.default_rng(raters), 3).answers == value
        for raters, prompts in ((4, 7), (5, 3), (4, 6))
    ]
    found = human_coverage.bounds(*[part.astype(float) for part in answers])["ours"]
    for study in range(3):
        columns = [
            (float(part[study, r, p]), f"{number}r{r}", f"{number}p{p}")
            for number, part in enumerate(answers)
            for r, p in np.ndindex(part.shape[1:])
        ]
        values, raters, prompts = map(np.array, zip(*columns, strict=True))
        expected = share_interval(values, raters, prompts).interval
        assert [end[study] for end in found] == pytest.approx(expected[:2], rel=1e-9, abs=1e-12)


def test_the_committed_table_holds_and_what_is_said_of_it_is_what_it_says():
    rows = json.loads((SCRIPT.parent / "results" / "human_coverage.json").read_text())["rows"]
    assert all(row["holds"] for row in rows if row["asserted"])
    assert {row["size"] for row in rows} == set(human_coverage.SIZES)

    def least(keep):
        return min(row["coverage"]["ours"] for row in rows if keep(row))

    moderate = human_coverage.ASSERTED
    told = [
        least(lambda row: row["asserted"]),
        least(lambda row: row["strength"] == 2.5 and row["kind"] in moderate and row["size"] != "5x200"),
        least(lambda row: row["size"] == "5x200" and row["kind"] in moderate),
        least(lambda row: row["kind"] == "extreme prompts"),
        least(lambda row: row["kind"] == "extreme raters"),
        least(lambda row: row["kind"].startswith("lazy")),
    ]
    figures = [float(text) for text in re.findall(r"(\d+\.\d) %", share_interval.__doc__)]
    assert figures == pytest.approx([100 * value for value in told], abs=0.051)


def test_a_cell_is_the_same_in_any_selection():
    alone = list(human_coverage.coverage_rows(["both"], ["5x10"], 50, seed=1))
    among = list(human_coverage.coverage_rows(["noise", "both"], ["25x7", "5x10"], 50, seed=1))
    assert among[-len(alone) :] == alone


def test_a_study_in_the_long_form_is_covered_too():
    """There a rater's side and laziness hold for all pairs, has the same truth."""
    population = Population(rater_sd=0.5, prompt_sd=0.5, side_bias=0.3, side_sd=0.3)
    truth, held = true_shares(0.5, population).a, 0
    for seed in range(200):
        judged = simulate({("x", "y"): 0.0, ("a", "b"): 0.5}, population, 8, 8, seed)
        answers, rows = judged.of_pair("a", "b")
        interval = share_interval(answers == 1, judged.raters[rows], judged.prompts[rows]).interval
        held += interval.low <= truth <= interval.high
    assert held / 200 >= 0.93 - 3 * np.sqrt(0.93 * 0.07 / 200)


def test_the_script_prints_its_table_and_writes_it(tmp_path):
    file = tmp_path / "coverage.json"
    command = [
        sys.executable,
        str(SCRIPT),
        "--studies",
        "20",
        "--cells",
        "both",
        "--sizes",
        "5x10",
        "--json",
        str(file),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = json.loads(file.read_text())
    assert (written["studies"], len(written["rows"])) == (20, 8)
    assert len(done.stdout.splitlines()) == 10
    assert set(written["rows"][0]["coverage"]) == {"ours", "naive", "raters", "prompts", "wald"}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["noise", "raters", "prompts", "both", "side"])
def test_claimed_cells_are_covered_in_4000_studies(kind):
    assert_cells_hold([kind], ["5x10", "25x7", "25x20", "25x200", "drawbench"], 4000)
