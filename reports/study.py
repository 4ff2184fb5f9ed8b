"""What a study says, on disk: HTML with the paper's stacked bars, Markdown, or JSON with everything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.human_eval.analysis import by_question
from drawbench.human_eval.bars import colour, stacked_bars
from drawbench.human_eval.findings import percent, scale, sentences
from drawbench.reports.digits import counted, listed, p_value


def write_study_report(analysis: Mapping[str, Any], out: Path) -> None:
    """Writes an analysis by the name of the file: .json, .md or .html."""
    suffix = out.suffix.lower()
    if suffix == ".json":
        text = json.dumps(analysis, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    elif suffix == ".md":
        text = markdown(analysis)
    elif suffix == ".html":
        text = html(analysis)
    else:
        raise UserError(f"{out}: an analysis is written as .html, .md or .json")
    write_atomic(out, text.encode())


def methods(analysis: Mapping[str, Any]) -> list[str]:
    """Returns how the numbers were made."""
    intervals = (
        "Intervals are 95 % intervals over raters and prompts together: other raters of this kind, other prompts of this "
        "kind (Wilson's interval on the number of judgements that would be as informative if all were independent)."
    )
    ties = (
        "“Ties split” counts an indifferent answer as half for each. p: two-sided against one half, adjusted by Holm over "
        "the overall rows, and over all categories."
    )
    strengths = (
        "Strengths: Davidson's model (Bradley-Terry with ties) with the advantage of the left side; intervals are clustered "
        "likewise."
    )
    left_out = "Controls and second looks are not counted; a changed answer counts as it was last."
    said = [f"Design: {analysis['design']} ({analysis['source']}).", intervals, ties, strengths, left_out]
    remarks = dict.fromkeys(row["remark"] for row in analysis["preferences"] if row["remark"])
    return said + [f"{remark[0].upper()}{remark[1:]}." for remark in remarks]


def markdown(analysis: Mapping[str, Any]) -> str:
    """Returns an analysis as GitHub-flavoured Markdown."""
    parts = ["# " + _plain(_title(analysis)), "\n".join(f"- {_plain(text)}" for text in sentences(analysis))]
    parts += preference_tables(analysis)
    moved = [
        [row["question"], "left side preferred", percent(row["left"]), p_value(row["p"])] for row in analysis["sides"]
    ]
    for row in analysis["order"]:
        value = "–" if row["value"] is None else scale(row)
        moved.append([row["question"], f"{row['measure']}, later − earlier half", value, p_value(row["p"])])
    if moved:
        parts += ["## Side and order", _table(["Question", "", "Value", "p"], moved)]
    if analysis["agreement"]:
        body = [
            [row["task"], row["system"], row["question"], _digits(row["mean"]), _digits(row["fleiss_kappa"]),
             _digits(row["krippendorff_alpha"]), row["level"], str(row["n"]), row["reason"] or ""]
            for row in analysis["agreement"]
        ]  # fmt: skip
        head = ["Task", "System", "Question", "Mean", "Fleiss' κ", "Krippendorff's α", "Level", "n", ""]
        parts += ["## Agreement", _table(head, body)]
    if analysis["flags"]:
        flags = [f"- {_plain(flag['rater'])}: {'; '.join(flag['reasons'])}" for flag in analysis["flags"]]
        parts += ["## Flagged raters, who are counted above", "\n".join(flags)]
        if analysis["without_flagged"]:
            without = sentences({**analysis, **analysis["without_flagged"]})
            parts += ["Without them:", "\n".join(f"- {_plain(text)}" for text in without)]
    parts += ["## Methods", "\n".join(f"- {_plain(text)}" for text in methods(analysis))]
    return "\n\n".join(parts) + "\n"


def preference_tables(analysis: Mapping[str, Any], heading: str = "##") -> list[str]:
    """Returns the preferences as Markdown: for each question a heading and a table."""
    parts = []
    for question, rows in by_question(analysis, "preferences").items():
        body = [
            [row["category"] or "All", row["a"], row["b"], percent(row["prefer_a"]), percent(row["indifferent"]),
             percent(row["prefer_b"]), percent(row["tie_split"]), p_value(row["p_holm"]), str(row["tie_split"]["n"])]
            for row in rows
        ]  # fmt: skip
        head = ["Category", "A", "B", "A preferred", "Neither", "B preferred", "A, ties split", "p (Holm)", "n"]
        parts += [f"{heading} {_plain(question)}", _table(head, body)]
    if analysis["scales"]:
        means = [[row["task"], row["system"], row["question"], scale(row), str(row["n"])] for row in analysis["scales"]]
        parts += [f"{heading} Means", _table(["Task", "System", "Question", "Mean", "n"], means)]
    return parts


def html(analysis: Mapping[str, Any]) -> str:
    """Returns an analysis as one page that needs nothing else."""
    environment = environment_for_pages()
    without = analysis["without_flagged"]
    return environment.get_template("study.html").render(
        analysis=analysis,
        title=_title(analysis),
        sentences=sentences(analysis),
        without=sentences({**analysis, **without}) if without else [],
        preferences=by_question(analysis, "preferences"),
        ranking=by_question(analysis, "ranking"),
        methods=methods(analysis),
        columns={name: number for number, name in enumerate(analysis["systems"])},
    )


def environment_for_pages() -> Environment:
    """Returns what renders pages of judgements: templates here, everything escaped, and how their numbers are written."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"bars": stacked_bars, "colour": colour}
    environment.filters |= {"percent": percent, "digits": _digits, "p_value": p_value, "scale": scale, "listed": listed}
    return environment


def _title(analysis: Mapping[str, Any]) -> str:
    return (
        f"{listed(analysis['systems'])}: {counted(analysis['judgements'], 'judgement')} by "
        f"{counted(analysis['raters'], 'rater')}"
    )


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def _plain(text: str) -> str:
    from drawbench.reports.markdown import escaped

    return escaped(text)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) if cell != "---" else cell for cell in row) + " |" for row in lines)
