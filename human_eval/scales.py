"""Answers on a scale: means of systems, and the difference of two on the same prompts, over raters and prompts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from drawbench.human_eval.clustering import (
    OVER,
    clusters,
    few_raters,
    no_interval,
    quantile,
    two_sided_p,
    two_way_variance,
)
from drawbench.human_eval.design import Question, values_of
from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.preference import share_interval
from drawbench.human_eval.rows import plain_share
from drawbench.human_eval.study import REFERENCE, Study
from drawbench.intervals import holm

LEVEL = 0.95


def scale_rows(
    study: Study, question: Question, own: Sequence[Judgement], task: Callable[[Judgement], str], category: str | None
) -> Iterator[dict[str, Any]]:
    """Yields the means of a scale by task and system, with intervals over raters x prompts."""
    values = values_of(question)
    low, high = min(values.values()), max(values.values())
    groups: dict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for one in own:
        if one.answer in values:
            groups[task(one), one.shown[0]].append(one)
    for (name, system), group in groups.items():
        shares = np.array([(values[one.answer] - low) / (high - low) for one in group])
        raters = np.array([one.rater for one in group])
        prompts = np.array([study.by_id[one.item].prompt for one in group])
        found = share_interval(shares, raters, prompts)
        about = {"task": name, "system": system, "question": question.name, "category": category}
        yield {**about, **plain_share(found, high - low, low), "remark": few_raters(found.n_raters)}


def difference_rows(
    study: Study, question: Question, own: Sequence[Judgement], category: str | None
) -> Iterator[dict[str, Any]]:
    """Yields each system less the reference, or where there is none each pair, on the prompts that both have answers for.

    A judgement's influence is (y - mean) / N of its own system, with the sign of its side: prompts that are hard for both, and
    raters who are strict with both, cancel.
    """
    values = values_of(question)
    answers: dict[str, list[Judgement]] = defaultdict(list)
    for one in own:
        if one.answer in values:
            answers[one.shown[0]].append(one)
    with_reference = [(name, REFERENCE) for name in study.systems if name != REFERENCE]
    for a, b in with_reference if REFERENCE in study.systems else combinations(study.systems, 2):
        prompts = [{study.by_id[one.item].prompt for one in answers[name]} for name in (a, b)]
        both = prompts[0] & prompts[1]
        sides = [[one for one in answers[name] if study.by_id[one.item].prompt in both] for name in (a, b)]
        if not both:
            continue
        numbers = [np.array([values[one.answer] for one in side]) for side in sides]
        value = float(numbers[0].mean() - numbers[1].mean())
        influence = np.concatenate([sign * (y - y.mean()) / len(y) for sign, y in zip((1, -1), numbers, strict=True)])
        judged = [one for side in sides for one in side]
        by = clusters(
            np.array([one.rater for one in judged], np.str_),
            np.array([study.by_id[one.item].prompt for one in judged], np.str_),
        )
        reason, interval, p = no_interval(by.n_raters, by.n_prompts), None, None
        deviation = float(np.sqrt(two_way_variance(influence[:, None], by)[0]))
        if reason is None and not deviation:
            reason = "all answers are equal: the spread cannot be estimated"
        if reason is None:
            reach = quantile(LEVEL, by.n_raters, by.n_prompts) * deviation
            method = "difference of means, clustered by raters and by prompts, t"
            interval = {"low": value - reach, "high": value + reach, "method": method, "over": OVER, "level": LEVEL}
            p = float(two_sided_p(value / deviation, by.n_raters, by.n_prompts))
        yield {
            "question": question.name,
            "a": a,
            "b": b,
            "category": category,
            "value": value,
            "interval": interval,
            "reason": reason,
            "p": p,
            "n": len(judged),
            "raters": by.n_raters,
            "prompts": by.n_prompts,
            "remark": few_raters(by.n_raters),
        }


def adjusted_differences(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns differences with Holm's p-values: one family of all the overall rows, another of the rest."""
    for overall in (True, False):
        family = [row for row in rows if (row["category"] is None) == overall]
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = p
    return list(rows)
