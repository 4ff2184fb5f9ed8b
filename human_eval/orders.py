"""Side and order of a study's judgements: whether the left side wins, and whether raters become quicker, or more indifferent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from drawbench.human_eval.comparisons import Comparisons
from drawbench.human_eval.design import Question
from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.position_effect import order_effect, side_effect
from drawbench.human_eval.rows import plain_interval, plain_share
from drawbench.intervals import holm

LEAST_SECONDS = 0.01
"""Of an answer, where its logarithm is taken."""


def side_row(question: Question, judged: Comparisons) -> dict[str, Any]:
    """Returns how often the left side is preferred, where one is."""
    effect = side_effect(judged)
    return {"question": question.name, "left": plain_share(effect.share), "p": effect.p, "p_method": effect.p_method}


def speed_row(trials: Sequence[Judgement]) -> dict[str, Any] | None:
    """Returns how much longer the later half of a rater's screens take than the earlier, as a ratio of geometric means.

    The questions of a screen share its time, so it counts once; None where no time is on record.
    """
    seconds: dict[tuple[str, str], tuple[Judgement, float]] = {}
    for one in trials:
        if one.seconds is not None:
            seconds.setdefault((one.rater, one.item), (one, one.seconds))
    if not seconds:
        return None
    row = _order([(one, float(np.log(max(taken, LEAST_SECONDS)))) for one, taken in seconds.values()])
    if row["value"] is not None:
        row["value"] = float(np.exp(row["value"]))
    if row["interval"] is not None:
        row["interval"] |= {
            "low": float(np.exp(row["interval"]["low"])),
            "high": float(np.exp(row["interval"]["high"])),
        }
    return {"question": None, "measure": "seconds, later / earlier half", **row}


def indifference_row(question: Question, own: Sequence[Judgement]) -> dict[str, Any] | None:
    """Returns how much more often the later half of a rater's answers is indifferent; None where they cannot be."""
    if not {option.code for option in question.options} - {"first", "second"}:
        return None
    row = _order([(one, float(one.answer not in ("first", "second"))) for one in own])
    return {"question": question.name, "measure": "share indifferent, later − earlier half", **row}


def _order(pairs: Sequence[tuple[Judgement, float]]) -> dict[str, Any]:
    made = sorted(pairs, key=lambda pair: (pair[0].at, pair[0].id))
    values = np.array([value for _, value in made], np.float64)
    found = order_effect(values, np.array([one.rater for one, _ in made], np.str_), np.arange(len(made)))
    return {**found._asdict(), "interval": plain_interval(found.interval)}


def with_holm(rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Returns lists of rows with ``p_holm``: all of them are one family."""
    family = [row for of_kind in rows.values() for row in of_kind]
    for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
        row["p_holm"] = p
    return dict(rows)
