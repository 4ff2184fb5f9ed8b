"""What the judgements of a study say: preferences, scales, rankings, agreement, side effects; with and without flagged raters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from drawbench.errors import UserError
from drawbench.human_eval.bradley_terry import rank_systems
from drawbench.human_eval.comparisons import Comparisons, comparisons
from drawbench.human_eval.concord import Whole, pair_agreements, retest_row, scale_agreements
from drawbench.human_eval.conduct import conduct, places
from drawbench.human_eval.design import Question, values_of
from drawbench.human_eval.flags import failed_controls, flagged
from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.orders import indifference_row, side_row, speed_row, with_holm
from drawbench.human_eval.preference import Preferences, adjusted, preferences
from drawbench.human_eval.rows import plain_interval, plain_share
from drawbench.human_eval.scales import adjusted_differences, difference_rows, scale_rows
from drawbench.human_eval.study import REFERENCE, Study

SCHEMA_VERSION = 2
NO_PEOPLE = "no people"
NO_CATEGORY = "(no category)"


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
    said = _said(study, judgements)
    return {
        "schema_version": SCHEMA_VERSION,
        "study": study.digest,
        "design": study.design.name,
        "source": study.design.source,
        "systems": list(study.systems),
        "judgements": len(judgements),
        **conduct(study, judgements),
        **said,
        "passed_controls": _passed(study, judgements, said),
        "flags": [{"rater": flag.rater, "reasons": list(flag.reasons)} for flag in flags],
        "without_flagged": _said(study, kept) if flags and kept else None,
    }


def _passed(study: Study, judgements: Sequence[Judgement], said: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the numbers of those alone who passed the controls, where the design's protocol counts nobody else."""
    if not study.design.pass_rate or all(item.control is None for item in study.items):
        return None
    failed = failed_controls(study, judgements)
    kept = [one for one in judgements if one.rater not in failed]
    raters = len({one.rater for one in kept})
    return {"raters": raters, "failed": list(failed), **((_said(study, kept) if failed else said) if kept else {})}


def _said(study: Study, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Returns the numbers, of trials only: controls and second looks speak of raters, not of systems."""
    trials = [one for one in judgements if study.by_id[one.item].control is None and not one.repeat]
    named = ("scales", "differences", "ranking", "advantage", "agreement", "retest")
    said: dict[str, list[Any]] = {name: [] for name in named}
    found: list[tuple[str, Preferences]] = []
    sides: list[dict[str, Any]] = []
    order = [speed_row(trials)] if study.format is None else []  # Others do not say in which order they rated.
    whole = _whole(study, judgements)
    for question in [question for screen in study.design.screens for question in screen.questions]:
        own = [one for one in trials if one.question == question.name]
        if not own:
            continue
        said["retest"].append(retest_row(study, question, judgements))
        if study.design.shows == "single":
            for name, rows in _scales(study, question, own, whole).items():
                said[name] += rows
            continue
        judged = _comparisons(study, own)
        found += [(question.name, row) for row in _preferences(study, own, judged)]
        ranking, advantage = _ranking(question, judged)
        said["ranking"] += ranking
        said["advantage"] += advantage
        said["agreement"] += pair_agreements(question, own, lambda _: study.design.name, whole)
        sides.append(side_row(question, judged))
        order += [indifference_row(question, own)] if study.format is None else []
    said["retest"] = [row for row in said["retest"] if row is not None]
    said["differences"] = adjusted_differences(said["differences"])
    # One family of all questions' overall rows, and one of all categories of all questions.
    families = adjusted([row for _, row in found])
    told = [_preference(study, name, row) for (name, _), row in zip(found, families, strict=True)]
    effects = with_holm({"sides": sides, "order": [row for row in order if row is not None]})
    return {"preferences": told, **said, **effects}


def _whole(study: Study, judgements: Sequence[Judgement]) -> Whole:
    """Returns what says whether a judgement is of a complete unit: of a rater who finished it, and of the number wanted.

    Where no unit has its number yet, all who finished one count.
    """
    if study.format is not None:
        return lambda _: True
    finished = places(study, judgements).finished
    full = {unit: raters for unit, raters in finished.items() if len(raters) >= study.design.raters} or finished
    return lambda one: one.rater in full.get(study.by_id[one.item].unit, frozenset())


def _scales(
    study: Study, question: Question, own: Sequence[Judgement], whole: Whole
) -> dict[str, list[dict[str, Any]]]:
    if len(set(values_of(question).values())) < 2:
        return {}

    def task(one: Judgement) -> str:
        """What is analysed together: of others' ratings their task, else the design."""
        return study.by_id[one.item].unit if study.format is not None else study.design.name

    parts: list[tuple[str | None, Sequence[Judgement]]] = [(None, own)]
    nobody = [one for one in own if study.by_id[one.item].no_people]
    if REFERENCE in study.systems and 0 < len(nobody) < len(own):
        parts.append((NO_PEOPLE, nobody))
    # Others' tasks are prompts of their own, with systems of their own.
    differences = [] if study.format is not None else parts
    return {
        "scales": [row for name, part in parts for row in scale_rows(study, question, part, task, name)],
        "differences": [row for name, part in differences for row in difference_rows(study, question, part, name)],
        "agreement": list(scale_agreements(question, own, task, whole)),
    }


def _comparisons(study: Study, own: Sequence[Judgement]) -> Comparisons:
    answers = [{"first": 1, "second": -1}.get(one.answer, 0) for one in own]
    items = [study.by_id[one.item] for one in own]
    categories = [item.category or NO_CATEGORY for item in items]
    return comparisons(
        [one.shown[0] for one in own],
        [one.shown[1] for one in own],
        answers,
        [one.rater for one in own],
        [item.prompt for item in items],
        categories if any(item.category for item in items) else None,
    )


def _preferences(study: Study, own: Sequence[Judgement], judged: Comparisons) -> Iterator[Preferences]:
    met = {tuple(sorted(one.shown)) for one in own}
    for a, b in combinations(study.systems, 2):
        if tuple(sorted((a, b))) not in met:
            continue
        yield from preferences(judged, a, b)
        if study.design.shows == "reference":
            of_pair = [one for one in own if set(one.shown) == {a, b}]
            nobody = [one for one in of_pair if study.by_id[one.item].no_people]
            if 0 < len(nobody) < len(of_pair):
                yield preferences(_comparisons(study, nobody), a, b)[0]._replace(category=NO_PEOPLE)


def _preference(study: Study, question: str, row: Preferences) -> dict[str, Any]:
    return {
        "task": study.design.name,
        "question": question,
        "a": row.a,
        "b": row.b,
        "category": row.category,
        "prefer_a": plain_share(row.prefer_a),
        "indifferent": plain_share(row.indifferent),
        "prefer_b": plain_share(row.prefer_b),
        "tie_split": plain_share(row.tie_split),
        "p": row.tie_split.p,
        "p_holm": row.p_holm,
        "remark": row.remark,
    }


def _ranking(question: Question, judged: Comparisons) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the systems' strengths, and the left side's advantage; where the model has no answer, why."""
    try:
        found = rank_systems(judged)
    except UserError as error:
        return [{"question": question.name, "system": None, "value": None, "reason": str(error), "remark": None}], []
    strengths = [
        {
            "question": question.name,
            "system": one.system,
            "value": one.value,
            "interval": plain_interval(one.interval),
            "ranks": None if one.best_rank is None else [one.best_rank, one.worst_rank],
            "reason": found.reason,
            "n": found.n,
            "remark": found.remark,
        }
        for one in found.strengths
    ]
    if (left := found.advantage) is None:
        return strengths, []
    told = {"question": question.name, "value": left.value, "interval": plain_interval(left.interval), "p": left.p}
    return strengths, [told]


def by_question(analysis: Mapping[str, Any], name: str) -> dict[str, list[dict[str, Any]]]:
    """Returns the rows of one of an analysis's lists, by question."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in analysis[name]:
        rows[row["question"]].append(row)
    return dict(rows)
