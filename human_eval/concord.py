"""Whether raters agree with one another, and with themselves when they are asked again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np

from drawbench.human_eval.agreement import Distance, fleiss_kappa, krippendorff_alpha, rating_table
from drawbench.human_eval.design import Question, values_of
from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.preference import share_interval
from drawbench.human_eval.rows import plain_interval, plain_share, preferred
from drawbench.human_eval.study import Study

Whole = Callable[[Judgement], bool]
"""Says whether a judgement is of a complete unit, which Fleiss' kappa needs."""


def scale_agreements(
    question: Question, own: Sequence[Judgement], task: Callable[[Judgement], str], whole: Whole
) -> Iterator[dict[str, Any]]:
    """Yields how far raters agree on a scale, by task and system."""
    values = values_of(question)
    groups: dict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for one in own:
        if one.answer in values:
            groups[task(one), one.shown[0]].append(one)
    for (name, system), group in groups.items():
        numbers = [values[one.answer] for one in group]
        about = {"task": name, "system": system, "question": question.name, "mean": float(np.mean(numbers))}
        yield about | _agreement(numbers, group, "ordinal", whole)


def pair_agreements(
    question: Question, own: Sequence[Judgement], task: Callable[[Judgement], str], whole: Whole
) -> Iterator[dict[str, Any]]:
    """Yields how far raters agree on which of two systems is better, by pair."""
    groups: dict[tuple[str, ...], list[Judgement]] = defaultdict(list)
    for one in own:
        groups[tuple(sorted(one.shown))].append(one)
    for pair, group in groups.items():
        codes = {name: float(number) for number, name in enumerate(sorted({preferred(one) for one in group}))}
        about = {"task": task(group[0]), "system": " | ".join(pair), "question": question.name, "mean": None}
        yield about | _agreement([codes[preferred(one)] for one in group], group, "nominal", whole)


def _agreement(values: Sequence[float], group: Sequence[Judgement], level: Distance, whole: Whole) -> dict[str, Any]:
    alpha = krippendorff_alpha(_table(values, group), level)
    kept = [(value, one) for value, one in zip(values, group, strict=True) if whole(one)]
    complete = _table([value for value, _ in kept], [one for _, one in kept]) if kept else None
    kappa = None if complete is None else fleiss_kappa(complete)
    told = {alpha.reason: None} if alpha.value is None and alpha.reason else {}
    if kappa is None:
        told["no unit is complete: Fleiss' kappa needs as many ratings of each item"] = None
    elif kappa.value is None and kappa.reason:
        told[kappa.reason] = None
    return {
        "fleiss_kappa": None if kappa is None else kappa.value,
        "fleiss_kappa_interval": None if kappa is None else plain_interval(kappa.interval),
        "fleiss_kappa_n": 0 if kappa is None else kappa.n,
        "krippendorff_alpha": alpha.value,
        "krippendorff_alpha_interval": plain_interval(alpha.interval),
        "level": level,
        "n": alpha.n,
        "reason": "; ".join(told) or None,
    }


def _table(values: Sequence[float], group: Sequence[Judgement]) -> Any:
    return rating_table(values, [one.rater for one in group], [one.item for one in group])


def retest_row(study: Study, question: Question, judgements: Collection[Judgement]) -> dict[str, Any] | None:
    """Returns the share of second looks, with sides changed, that say the same as the first; None where nobody looked twice."""
    own = [one for one in judgements if one.question == question.name]
    first = {(one.rater, one.item): preferred(one) for one in own if not one.repeat}
    again = [one for one in own if one.repeat and (one.rater, one.item) in first]
    if not again:
        return None
    same = np.array([float(preferred(one) == first[one.rater, one.item]) for one in again])
    prompts = np.array([study.by_id[one.item].prompt for one in again])
    found = share_interval(same, np.array([one.rater for one in again]), prompts)
    return {"question": question.name, **plain_share(found)}
