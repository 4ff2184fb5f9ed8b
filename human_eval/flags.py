"""Raters whose answers may not count for much: who failed the controls, and who answered faster than a person can look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.rows import preferred
from drawbench.human_eval.study import Item, Study

HASTY = 0.1
"""Share of a rater's answers in less than the design's least time from which the rater is flagged."""


class Flag(NamedTuple):
    """A rater, and why nobody should rely on them."""

    rater: str
    reasons: tuple[str, ...]


def flagged(study: Study, judgements: Sequence[Judgement]) -> list[Flag]:
    """Returns the raters who failed controls or were hasty; nobody is left out by this alone."""
    failed = failed_controls(study, judgements)
    found = []
    for rater, own in sorted(_by_rater(judgements).items()):
        reasons = [failed[rater]] if rater in failed else []
        timed = [one.seconds for one in own if one.seconds is not None]
        hasty = sum(seconds < study.design.least_seconds for seconds in timed)
        if timed and hasty / len(timed) >= HASTY:
            reasons.append(f"{hasty} of {len(timed)} answers in less than {study.design.least_seconds:g} s")
        if reasons:
            found.append(Flag(rater, tuple(reasons)))
    return found


def failed_controls(study: Study, judgements: Sequence[Judgement]) -> dict[str, str]:
    """Returns who answered fewer controls right than the design wants, and in words how many."""
    failed = {}
    for rater, own in sorted(_by_rater(judgements).items()):
        answered = [(one, right_answer(study, study.by_id[one.item], one.question)) for one in own]
        controls = [preferred(one) == expected for one, expected in answered if expected is not None]
        if controls and sum(controls) / len(controls) < study.design.pass_rate:
            failed[rater] = f"{sum(controls)} of {len(controls)} controls right"
    return failed


def right_answer(study: Study, item: Item, question: str) -> str | None:
    """Returns what is right of a control: a system's name or an option's code; None: nothing is."""
    if item.control is None:
        return None
    if not isinstance(item.control, str):
        return item.control.get(question)
    # An older study's single set has one code: with several questions nobody knows which of them it was right for.
    return item.control if len(item.sides) == 2 or len(study.screen(item).questions) == 1 else None


def _by_rater(judgements: Sequence[Judgement]) -> dict[str, list[Judgement]]:
    by_rater: dict[str, list[Judgement]] = defaultdict(list)
    for one in judgements:
        by_rater[one.rater].append(one)
    return by_rater
