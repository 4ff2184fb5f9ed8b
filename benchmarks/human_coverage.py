"""Simulates human studies, and counts how often an interval over raters x prompts holds the true share.

    python benchmarks/human_coverage.py [--studies 4000] [--seed 0] [--cells noise both …] [--sizes 5x10 …] --json FILE

Each row is a kind of study (``KINDS``), a size (raters x prompts, or ``drawbench``: 25 raters for each of its 11 categories, who
judge its 7 to 38 prompts and no other), a strength of A over B, and a number: the share of A, or
its tie-split rate. ``ours`` is ``share_interval``'s rule, a whole batch of studies at once. Beside it are the rules that are not
used: the naive Wilson interval, the same interval with the variance over raters alone and over prompts alone, and the two-way
Wald interval. ``asserted`` rows are those whose coverage is claimed: at least 93 %, less three standard errors. The rest is reported.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from drawbench.human_eval.clustering import cluster_variance, combined, quantile
from drawbench.human_eval.preference import wilson
from drawbench.human_eval.simulation import Population, studies, true_shares

KINDS = {
    "noise": Population(),
    "raters": Population(rater_sd=0.7),
    "prompts": Population(prompt_sd=0.7),
    "both": Population(rater_sd=0.7, prompt_sd=0.7),
    "side": Population(rater_sd=0.3, prompt_sd=0.3, side_bias=0.5, side_sd=0.5),
    "extreme raters": Population(rater_sd=1.5, prompt_sd=0.2),
    "extreme prompts": Population(rater_sd=0.2, prompt_sd=1.5),
    "mostly ties": Population(indifference=2.5, rater_sd=0.7, prompt_sd=0.7),
    "lazy at random": Population(rater_sd=0.5, prompt_sd=0.5, at_random=0.2),
    "lazy first": Population(rater_sd=0.5, prompt_sd=0.5, always_first=0.2),
    "lazy indifferent": Population(rater_sd=0.5, prompt_sd=0.5, always_indifferent=0.05),
}
ASSERTED = ("noise", "raters", "prompts", "both", "side")
SIZES = ("5x10", "25x7", "25x20", "25x200", "5x200", "drawbench")
DRAWBENCH = tuple((25, prompts) for prompts in (25, 10, 19, 20, 20, 10, 10, 20, 7, 38, 21))
REPORTED_SIZES = ("5x200",)
STRENGTHS = (0.0, 0.5, 1.5, 2.5)
REPORTED_STRENGTHS = (2.5,)
LEVEL = 0.95
LEAST = 0.93
_CELLS = 2**21
"""Judgements in memory at a time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=4000, help="simulated studies per cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cells", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    print(f"{'kind':17}{'size':>7}{'strength':>9} {'number':10}{'true':>6}{'ours':>7}{'width':>7}", end="")
    print(f"{'naive':>7}{'raters':>8}{'prompts':>8}{'wald':>7}")
    for row in coverage_rows(given.cells, given.sizes, given.studies, given.seed):
        rows.append(row)
        covered = row["coverage"]
        print(
            f"{row['kind']:17}{row['size']:>7}{row['strength']:9.1f} {row['number']:10}{row['true']:6.3f}"
            f"{covered['ours']:7.3f}{row['width']:7.3f}{covered['naive']:7.3f}{covered['raters']:8.3f}"
            f"{covered['prompts']:8.3f}{covered['wald']:7.3f}{'' if row['holds'] is not False else '  UNDER'}",
            flush=True,
        )
    claimed = [row["coverage"]["ours"] for row in rows if row["asserted"]]
    print(f"{sum(row['holds'] is False for row in rows)} of {len(claimed)} claimed cells are under {LEAST:.0%}", end="")
    print(f"; the lowest covers {min(claimed):.3f}" if claimed else "")
    if given.json:
        result = {
            "studies": given.studies,
            "seed": given.seed,
            "level": LEVEL,
            "least": LEAST,
            "rows": rows,
            "versions": {"python": platform.python_version(), "numpy": np.__version__},
        }
        given.json.write_text(json.dumps(result, indent=1) + "\n")


def coverage_rows(kinds: list[str], sizes: list[str], count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yields a row for each kind, size, strength and number. A cell's seed is its own: it is the same in any selection."""
    for kind in kinds:
        for size in sizes:
            blocks = blocks_of(size)
            raters, prompts = (sum(block[axis] for block in blocks) for axis in (0, 1))
            for strength in STRENGTHS:
                cell = [seed, list(KINDS).index(kind), raters, prompts, int(10 * strength)]
                rng = np.random.default_rng(cell)
                for number, (truth, covered, width) in cover(KINDS[kind], strength, blocks, count, rng).items():
                    asserted = _is_asserted(kind, size, strength)
                    error = (covered["ours"] * (1 - covered["ours"]) / count) ** 0.5
                    yield {
                        "kind": kind,
                        "size": size,
                        "strength": strength,
                        "number": number,
                        "true": truth,
                        "coverage": covered,
                        "width": width,
                        "asserted": asserted,
                        "holds": covered["ours"] + 3 * error >= LEAST if asserted else None,
                    }


def _is_asserted(kind: str, size: str, strength: float) -> bool:
    return kind in ASSERTED and size not in REPORTED_SIZES and strength not in REPORTED_STRENGTHS


def blocks_of(size: str) -> tuple[tuple[int, int], ...]:
    """Returns (raters, prompts) of each part of a study: all raters of a part judge all its prompts, and no other."""
    if size == "drawbench":
        return DRAWBENCH
    raters, prompts = map(int, size.split("x"))
    return ((raters, prompts),)


def cover(
    population: Population,
    strength: float,
    blocks: tuple[tuple[int, int], ...],
    count: int,
    rng: np.random.Generator,
) -> dict[str, tuple[float, dict[str, float], float]]:
    """Returns for each number its true value, each rule's coverage of it, and the mean width of ours."""
    true = true_shares(strength, population)
    truths = {"share": true.a, "tie-split": true.a + true.indifferent / 2}
    hits = {number: dict.fromkeys(("ours", "naive", "raters", "prompts", "wald"), 0) for number in truths}
    widths = dict.fromkeys(truths, 0.0)
    step = max(1, _CELLS // sum(raters * prompts for raters, prompts in blocks))
    for start in range(0, count, step):
        made = min(step, count - start)
        answers = [studies(strength, population, raters, prompts, rng, made).answers for raters, prompts in blocks]
        for number in truths:
            found = bounds(*[(a > 0).astype(float) if number == "share" else (a + 1) / 2 for a in answers])
            for rule, (low, high) in found.items():
                hits[number][rule] += int(np.count_nonzero((low <= truths[number]) & (truths[number] <= high)))
            widths[number] += float((found["ours"][1] - found["ours"][0]).sum())
    return {
        number: (truths[number], {rule: hit / count for rule, hit in hits[number].items()}, widths[number] / count)
        for number in truths
    }


def bounds(*blocks: NDArray[np.float64]) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Returns each rule's (low, high) for the ``(S, R, P)`` answers of S studies, in one part or several."""
    raters, prompts = (sum(block.shape[axis] for block in blocks) for axis in (1, 2))
    n = sum(block[0].size for block in blocks)
    p = np.asarray(sum(block.sum((1, 2)) for block in blocks)) / n
    errors = [(block - p[:, None, None]) / n for block in blocks]
    by_rater = cluster_variance(np.concatenate([part.sum(2) for part in errors], 1))
    by_prompt = cluster_variance(np.concatenate([part.sum(1) for part in errors], 1))
    both = cluster_variance(np.concatenate([part.reshape(len(p), -1) for part in errors], 1))
    spread = p * (1 - p) - np.asarray(sum((block * (1 - block)).sum((1, 2)) for block in blocks)) / n
    size = (raters, prompts)
    t, z = quantile(LEVEL, raters, prompts), float(special.ndtri(0.5 + LEVEL / 2))
    zero = np.zeros_like(p)
    wald = z * np.sqrt(np.maximum(by_rater + by_prompt - both, 0))
    return {
        "ours": wilson(p, spread, combined(by_rater, by_prompt, both, zero), n, size, t)[:2],
        "naive": wilson(p, spread, zero, n, (n, n), z)[:2],
        "raters": wilson(p, spread, by_rater, n, size, quantile(LEVEL, raters, raters))[:2],
        "prompts": wilson(p, spread, by_prompt, n, size, quantile(LEVEL, prompts, prompts))[:2],
        "wald": (p - wald, p + wald),
    }


if __name__ == "__main__":
    main()
