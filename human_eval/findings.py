"""What an analysis amounts to, in words: first what limits it, then what was found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any


def sentences(analysis: Mapping[str, Any]) -> list[str]:
    """Returns the cautions and the main findings in words."""
    return [*cautions(analysis), *found(analysis)]


def cautions(analysis: Mapping[str, Any]) -> Iterator[str]:
    """Yields what must be known before any number: that raters are no people, that the study is not finished."""
    simulated, raters = analysis["simulated"], analysis["raters"]
    if simulated == raters:
        yield "simulated raters: nobody has looked at these images, and the numbers tell nothing of the systems"
    elif simulated:
        yield f"{simulated} of the {raters} raters are simulated, and counted: the numbers are not those of people"
    if analysis["models"]:
        yield "the ratings are a model's, not people's"
    places = analysis["places"]
    if places and places["finished"] < places["planned"]:
        begun = f", {places['begun']} begun" if places["begun"] else ""
        yield f"interim: {places['finished']} of {places['planned']} places are finished{begun}"


def found(analysis: Mapping[str, Any]) -> list[str]:
    """Returns the main findings: for each question and pair who is preferred, by how much, or that nobody can say."""
    said = []
    for row in analysis["preferences"]:
        if row["category"] is not None:
            continue
        share, interval = row["tie_split"]["value"], row["tie_split"]["interval"]
        if interval is None:
            said.append(f"{row['question']}: {row['a']} against {row['b']} {percent(row['tie_split'])}")
            continue
        decided = row["p_holm"] is not None and row["p_holm"] < 0.05 and not interval["low"] <= 0.5 <= interval["high"]
        if not decided:
            of_a = f"{row['a']} {percent(row['tie_split'])} with ties split"
            said.append(f"{row['question']}: {row['a']} and {row['b']} are not distinguishable ({of_a})")
            continue
        winner = row["a"] if share > 0.5 else row["b"]
        shown = row["prefer_a"] if share > 0.5 else row["prefer_b"]
        other = row["prefer_b"] if share > 0.5 else row["prefer_a"]
        said.append(
            f"{row['question']}: {winner} is preferred in {percent(shown)} of the judgements, "
            f"{row['b'] if share > 0.5 else row['a']} in {percent(other)}"
        )
    overall = [row for row in analysis["scales"] if row["category"] is None]
    said += [f"{row['task']}, {row['question']}: {row['system']} {scale(row)}" for row in overall]
    for row in analysis["differences"]:
        if row["category"] is None:
            known = row["p_holm"] is not None and row["p_holm"] < 0.05
            verdict = "" if known else ", not distinguishable"
            said.append(f"{row['question']}: {row['a']} less {row['b']} {scale(row)}{verdict}")
    return said


def raters_said(analysis: Mapping[str, Any]) -> str:
    """Returns who said it: ``people``, ``simulated raters``, ``people and simulated raters``, ``a model``."""
    if analysis["models"]:
        return "a model"
    if analysis["simulated"]:
        return "simulated raters" if analysis["simulated"] == analysis["raters"] else "people and simulated raters"
    return "people"


def by_whom(analysis: Mapping[str, Any]) -> str:
    """Returns ``264 judgements by 66 raters``, and says where they are no people."""
    count, raters, simulated = analysis["judgements"], analysis["raters"], analysis["simulated"]
    plural = "" if raters == 1 else "s"
    if analysis["models"]:
        who = f"{raters} model{plural}, not people"
    elif simulated == raters:
        who = f"{raters:,} simulated rater{plural}"
    else:
        who = f"{raters:,} rater{plural}" + (f", {simulated:,} of them simulated" if simulated else "")
    return f"{count:,} judgement{'' if count == 1 else 's'} by {who}"


def left_out(analysis: Mapping[str, Any]) -> list[str]:
    """Returns which prompts a study does not have, by reason."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for prompt, reason in analysis["left_out"].items():
        reasons[reason].append(prompt)
    return [
        f"{len(prompts)} prompt{'' if len(prompts) == 1 else 's'} left out ({reason}): {', '.join(prompts)}"
        for reason, prompts in reasons.items()
    ]


def percent(share: Mapping[str, Any]) -> str:
    """Returns ``58.1 % [53.0, 63.1]``."""
    if share["value"] is None:
        return "–"
    return f"{100 * share['value']:.1f} %{_bounds(share['interval'], 1, 100)}"


def naive(share: Mapping[str, Any], digits: int = 1, times: float = 100) -> str:
    """Returns the interval as if all judgements were independent, of a share in per cent: ``[56.0, 60.2]``."""
    return _bounds(share["naive"], digits, times).strip().replace("-", "−")


def scale(row: Mapping[str, Any]) -> str:
    """Returns a mean on its own scale, with its interval."""
    return f"{row['value']:.3f}{_bounds(row['interval'], 3)}".replace("-", "−")


def _bounds(interval: Mapping[str, Any] | None, digits: int, times: float = 1.0) -> str:
    if not interval:
        return ""
    return f" [{times * interval['low']:.{digits}f}, {times * interval['high']:.{digits}f}]"
