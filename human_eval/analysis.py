"""What the judgements of a study say: preferences, scales, rankings, agreement, side effects; with and without flagged raters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from drawbench.errors import UserError
from drawbench.human_eval.agreement import Agreement, fleiss_kappa, krippendorff_alpha, rating_table
from drawbench.human_eval.bradley_terry import rank_systems
from drawbench.human_eval.comparisons import Comparisons, comparisons
from drawbench.human_eval.design import Question
from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.position_effect import order_effect, side_effect
from drawbench.human_eval.preference import Share, adjusted, preferences, share_interval
from drawbench.human_eval.study import Study

SCHEMA_VERSION = 1
HASTY = 0.1
"""Share of a rater's answers in less than the design's least time from which the rater is flagged."""
NO_PEOPLE = "no people"


class Flag(NamedTuple):
    """A rater whose answers may not count for much, and why."""

    rater: str
    reasons: tuple[str, ...]


def analyse(study: Study, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Returns everything that the judgements say, as plain data. A number that cannot be had is None, with the reason.

    Raises:
        UserError: there are no judgements.
    """
    if not judgements:
        raise UserError(f"{study.path} has no judgements yet; let people rate it: drawbench rate {study.path}")
    flags = flagged(study, judgements)
    names = {flag.rater for flag in flags}
    kept = [one for one in judgements if one.rater not in names]
    return {
        "schema_version": SCHEMA_VERSION,
        "study": study.digest,
        "design": study.design.name,
        "source": study.design.source,
        "systems": list(study.systems),
        "judgements": len(judgements),
        "raters": len({one.rater for one in judgements}),
        **_said(study, judgements),
        "flags": [{"rater": flag.rater, "reasons": list(flag.reasons)} for flag in flags],
        "without_flagged": _said(study, kept) if flags and kept else None,
    }


def flagged(study: Study, judgements: Sequence[Judgement]) -> list[Flag]:
    """Returns the raters who failed controls or answered faster than a person can look; nobody is left out by this alone."""
    by_rater: dict[str, list[Judgement]] = defaultdict(list)
    for one in judgements:
        by_rater[one.rater].append(one)
    found = []
    for rater, own in sorted(by_rater.items()):
        reasons = []
        controls = [(one, study.by_id[one.item].control) for one in own if study.by_id[one.item].control is not None]
        right = sum(_preferred(one) == expected for one, expected in controls)
        if controls and right / len(controls) < study.design.pass_rate:
            reasons.append(f"{right} of {len(controls)} controls right")
        timed = [one.seconds for one in own if one.seconds is not None]
        hasty = sum(seconds < study.design.least_seconds for seconds in timed)
        if timed and hasty / len(timed) >= HASTY:
            reasons.append(f"{hasty} of {len(timed)} answers in less than {study.design.least_seconds:g} s")
        if reasons:
            found.append(Flag(rater, tuple(reasons)))
    return found


def _preferred(one: Judgement) -> str:
    """Returns the system that an answer prefers, or the answer itself."""
    places = {"first": 0, "second": 1}
    return one.shown[places[one.answer]] if len(one.shown) == 2 and one.answer in places else one.answer


def _said(study: Study, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Returns the numbers, of trials only: controls and second looks speak of raters, not of systems."""
    trials = [one for one in judgements if study.by_id[one.item].control is None and not one.repeat]
    questions = [question for screen in study.design.screens for question in screen.questions]
    said: dict[str, Any] = {"preferences": [], "scales": [], "ranking": [], "agreement": []}
    said |= {"sides": [], "order": []}
    for question in questions:
        own = [one for one in trials if one.question == question.name]
        if not own:
            continue
        if "imported" not in study.manifest:  # Elsewhere's ratings do not say in which order they were made.
            said["order"] += _orders(study, question, own)
        if study.design.shows == "single":
            said["scales"] += _scales(study, question, own)
            said["agreement"] += _agreements(study, question, own)
            continue
        judged = _comparisons(study, own)
        said["preferences"] += _preferences(study, question, own, judged)
        said["ranking"] += _ranking(question, judged)
        said["agreement"] += _pair_agreements(study, question, own)
        effect = side_effect(judged)
        share = _share(effect.share)
        said["sides"].append({"question": question.name, "left": share, "p": effect.p, "p_method": effect.p_method})
    return said


def _orders(study: Study, question: Question, own: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Returns how the later half of a rater's answers differs from the earlier one: in seconds, and of pairs in indifference."""
    measures = {"seconds": [(one, one.seconds) for one in own if one.seconds is not None]}
    if study.design.shows != "single" and {option.code for option in question.options} - {"first", "second"}:
        measures["share indifferent"] = [(one, float(one.answer not in ("first", "second"))) for one in own]
    rows = []
    for measure, pairs in measures.items():
        made = sorted(pairs, key=lambda pair: (pair[0].at, pair[0].id))
        values = np.array([value for _, value in made], np.float64)
        found = order_effect(values, np.array([one.rater for one, _ in made], np.str_), np.arange(len(made)))
        told = {**found._asdict(), "interval": None if found.interval is None else found.interval._asdict()}
        rows.append({"question": question.name, "measure": measure, **told})
    return rows


def _task(study: Study, item: str) -> str:
    """Returns what is analysed together: of ratings from elsewhere their task, else the design."""
    return study.by_id[item].unit if "imported" in study.manifest else study.design.name


def _comparisons(study: Study, own: Sequence[Judgement]) -> Comparisons:
    answers = [{"first": 1, "second": -1}.get(one.answer, 0) for one in own]
    items = [study.by_id[one.item] for one in own]
    categories = [item.category or "" for item in items]
    return comparisons(
        [one.shown[0] for one in own],
        [one.shown[1] for one in own],
        answers,
        [one.rater for one in own],
        [item.prompt for item in items],
        categories if any(categories) else None,
    )


def _preferences(
    study: Study, question: Question, own: Sequence[Judgement], judged: Comparisons
) -> list[dict[str, Any]]:
    rows = []
    met = {tuple(sorted(one.shown)) for one in own}
    for a, b in combinations(study.systems, 2):
        if tuple(sorted((a, b))) not in met:
            continue
        found = preferences(judged, a, b)
        if study.design.shows == "reference":
            nobody = [one for one in own if study.by_id[one.item].no_people and set(one.shown) == {a, b}]
            if 0 < len(nobody) < len(own):
                found += [
                    row._replace(category=NO_PEOPLE) for row in preferences(_comparisons(study, nobody), a, b)[:1]
                ]
        rows += found
    return [
        {
            "task": study.design.name,
            "question": question.name,
            "a": row.a,
            "b": row.b,
            "category": row.category,
            "prefer_a": _share(row.prefer_a),
            "indifferent": _share(row.indifferent),
            "prefer_b": _share(row.prefer_b),
            "tie_split": _share(row.tie_split),
            "p": row.tie_split.p,
            "p_holm": row.p_holm,
            "remark": row.remark,
        }
        for row in adjusted(rows)
    ]


def _share(share: Share, scale: float = 1.0, shift: float = 0.0) -> dict[str, Any]:
    """Returns a share as plain data; ``scale`` and ``shift`` take it back to a scale's own units."""

    def back(value: float | None) -> float | None:
        return None if value is None else shift + scale * value

    def bounds(interval: Any) -> dict[str, Any] | None:
        if interval is None:
            return None
        return {**interval._asdict(), "low": back(interval.low), "high": back(interval.high)}

    return {
        "value": back(share.value),
        "interval": bounds(share.interval),
        "naive": bounds(share.naive),
        "reason": share.reason,
        "n": share.n,
        "raters": share.n_raters,
        "prompts": share.n_prompts,
        "n_eff": share.n_eff,
    }


def _scales(study: Study, question: Question, own: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Returns the means of a scale by task and system, with intervals over raters x prompts."""
    value_of = {option.code: option.value for option in question.options if option.value is not None}
    low, high = min(value_of.values()), max(value_of.values())
    groups: dict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for one in own:
        if one.answer in value_of:
            groups[_task(study, one.item), one.shown[0]].append(one)
    rows = []
    for (task, system), group in groups.items():
        values = np.array([(value_of[one.answer] - low) / (high - low) for one in group])
        raters, prompts = (
            np.array([one.rater for one in group]),
            np.array([study.by_id[one.item].prompt for one in group]),
        )
        share = _share(share_interval(values, raters, prompts), high - low, low)
        rows.append({"task": task, "system": system, "question": question.name, **share})
    return rows


def _agreements(study: Study, question: Question, own: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Returns how far raters agree on a scale, by task and system."""
    value_of = {option.code: option.value for option in question.options if option.value is not None}
    groups: dict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for one in own:
        if one.answer in value_of:
            groups[_task(study, one.item), one.shown[0]].append(one)
    return [
        {
            "task": task,
            "system": system,
            "question": question.name,
            **_agreement([value_of[one.answer] or 0.0 for one in group], group, "ordinal"),
        }
        for (task, system), group in groups.items()
    ]


def _pair_agreements(study: Study, question: Question, own: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Returns how far raters agree on which of two systems is better, by pair."""
    groups: dict[tuple[str, ...], list[Judgement]] = defaultdict(list)
    for one in own:
        groups[tuple(sorted(one.shown))].append(one)
    rows = []
    for pair, group in groups.items():
        codes = {name: float(number) for number, name in enumerate(sorted({_preferred(one) for one in group}))}
        values = [codes[_preferred(one)] for one in group]
        told = _agreement(values, group, "nominal") | {"mean": None}
        rows.append({"task": study.design.name, "system": " | ".join(pair), "question": question.name, **told})
    return rows


def _agreement(values: Sequence[float], group: Sequence[Judgement], level: Any) -> dict[str, Any]:
    ratings = rating_table(values, [one.rater for one in group], [one.item for one in group])
    kappa, alpha = fleiss_kappa(ratings), krippendorff_alpha(ratings, level)
    reasons = dict.fromkeys(found.reason for found in (kappa, alpha) if found.value is None and found.reason)

    def interval(found: Agreement) -> dict[str, Any] | None:
        return None if found.interval is None else found.interval._asdict()

    return {
        "mean": float(np.mean(values)),
        "fleiss_kappa": kappa.value,
        "fleiss_kappa_interval": interval(kappa),
        "krippendorff_alpha": alpha.value,
        "krippendorff_alpha_interval": interval(alpha),
        "level": level,
        "n": alpha.n,
        "reason": "; ".join(reasons) or None,
    }


def _ranking(question: Question, judged: Comparisons) -> list[dict[str, Any]]:
    """Returns the systems' strengths; where the model has no answer, why."""
    try:
        found = rank_systems(judged)
    except UserError as error:
        return [{"question": question.name, "system": None, "value": None, "reason": str(error)}]
    return [
        {
            "question": question.name,
            "system": one.system,
            "value": one.value,
            "interval": None if one.interval is None else one.interval._asdict(),
            "ranks": None if one.best_rank is None else [one.best_rank, one.worst_rank],
            "reason": found.reason,
            "n": found.n,
        }
        for one in found.strengths
    ]


def by_question(analysis: Mapping[str, Any], name: str) -> dict[str, list[dict[str, Any]]]:
    """Returns the rows of one of an analysis's lists, by question."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in analysis[name]:
        rows[row["question"]].append(row)
    return dict(rows)
