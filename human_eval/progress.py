"""How far a rater is on their way through a unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from drawbench.human_eval.assignment import Showing
from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.study import Study


class Progress(NamedTuple):
    """What is answered, and what comes next."""

    position: int
    """Of the first showing without all its answers; the number of showings where there is none."""
    answers: Mapping[int, Mapping[str, str]]
    """Position → question → what counts now."""


def progress(study: Study, order: Sequence[Showing], judgements: Sequence[Judgement]) -> Progress:
    """Returns how far a rater is, from the judgements of theirs that count."""
    given: dict[tuple[str, bool], dict[str, str]] = {}
    for one in judgements:
        given.setdefault((one.item, one.repeat), {})[one.question] = one.answer
    answers: dict[int, dict[str, str]] = {}
    first = len(order)
    for showing in order:
        of_showing = given.get((showing.item.id, showing.repeat), {})
        if of_showing:
            answers[showing.position] = of_showing
        if len(of_showing) < len(study.screen(showing.item).questions):
            first = min(first, showing.position)
    return Progress(first, answers)
