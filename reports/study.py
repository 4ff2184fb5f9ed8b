"""What a study says, on disk: HTML with the paper's stacked bars, Markdown, or JSON with everything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.human_eval.analysis import by_question
from drawbench.human_eval.bars import colour, stacked_bars
from drawbench.human_eval.findings import by_whom, found, left_out, naive, percent, scale, sentences
from drawbench.reports.digits import listed, p_value


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
    """Returns how the numbers were made: how this study was laid out and carried out, then how it was counted."""
    intervals = (
        "Intervals are 95 % intervals over raters and prompts together: other raters of this kind, other prompts of this "
        "kind (Wilson's interval on the number of judgements that would be as informative if all were independent). “Naive” "
        "is the binomial interval as if they were independent, which papers print and which is too narrow."
    )
    ties = (
        "“Ties split” counts an indifferent answer as half for each. p: two-sided against one half, adjusted by Holm over "
        "the overall rows of all questions, and over all categories of all questions; of sides and order over both together."
    )
    strengths = (
        "Strengths: Davidson's model (Bradley-Terry with ties) with the advantage of the left side; intervals are clustered "
        "likewise."
    )
    not_counted = "Controls and second looks are not counted; a changed answer counts as it was last."
    said = [*_layout(analysis), intervals, ties, strengths, not_counted]
    rows = [row for name in ("preferences", "scales", "differences", "ranking") for row in analysis[name]]
    remarks = dict.fromkeys(row["remark"] for row in rows if row["remark"])
    return said + [f"{remark[0].upper()}{remark[1:]}." for remark in remarks]


def _layout(analysis: Mapping[str, Any]) -> Iterator[str]:
    yield f"Design: {analysis['design']}, after {analysis['source']}."
    if analysis["protocol"]:
        departs = ", ".join(analysis["departs"])
        own = f"It departs from it in: {departs}." if departs else ""
        yield f"This study: {'; '.join(analysis['protocol'])}. {own}".strip()
    if places := analysis["places"]:
        begun = f", {places['begun']} begun and not finished" if places["begun"] else ""
        yield f"Places finished: {places['finished']} of {places['planned']}{begun}."
    yield from (f"{text[0].upper()}{text[1:]}." for text in (*left_out(analysis), *analysis["notes"]))


def passed_controls(analysis: Mapping[str, Any]) -> str | None:
    """Returns how many raters passed the controls, where the design counts only them; None: it has no such rule."""
    passed = analysis["passed_controls"]
    if passed is None:
        return None
    return (
        f"{passed['raters']} of {analysis['raters']} raters passed the controls. The design's protocol counts them alone, "
        "whatever their speed; above, everybody counts."
    )


def markdown(analysis: Mapping[str, Any]) -> str:
    """Returns an analysis as GitHub-flavoured Markdown."""
    parts = ["# " + _plain(title(analysis)), "\n".join(f"- {_plain(text)}" for text in sentences(analysis))]
    parts += preference_tables(analysis)
    parts += passed_tables(analysis)
    moved = [
        [row["question"], "left side preferred", percent(row["left"]), p_value(row["p_holm"])]
        for row in analysis["sides"]
    ]
    moved += [
        [row["question"], "left side's advantage, log odds", scale(row), f"{p_value(row['p'])} (not adjusted)"]
        for row in analysis["advantage"]
    ]
    for row in analysis["order"]:
        value = "–" if row["value"] is None else scale(row)
        moved.append([row["question"] or "all", row["measure"], value, p_value(row["p_holm"])])
    if moved:
        parts += ["## Side and order", _table(["Question", "", "Value", "p (Holm)"], moved)]
    if analysis["agreement"]:
        body = [
            [row["task"], row["system"], row["question"], _digits(row["mean"]), coefficient(row, "fleiss_kappa"),
             coefficient(row, "krippendorff_alpha"), row["level"], str(row["n"]), row["reason"] or ""]
            for row in analysis["agreement"]
        ]  # fmt: skip
        head = ["Task", "System", "Question", "Mean", "Fleiss' κ", "Krippendorff's α", "Level", "n", ""]
        parts += ["## Agreement", _table(head, body)]
    if analysis["retest"]:
        again = [[row["question"], percent(row), str(row["n"])] for row in analysis["retest"]]
        parts += ["## Second looks", _table(["Question", "Same answer as at first", "n"], again)]
    if analysis["flags"]:
        flags = [f"- {_plain(flag['rater'])}: {'; '.join(flag['reasons'])}" for flag in analysis["flags"]]
        parts += ["## Flagged raters, who are counted above", "\n".join(flags)]
        if analysis["without_flagged"]:
            without = found({**analysis, **analysis["without_flagged"]})
            parts += ["Without them:", "\n".join(f"- {_plain(text)}" for text in without)]
    parts += ["## Methods", "\n".join(f"- {_plain(text)}" for text in methods(analysis))]
    return "\n\n".join(parts) + "\n"


def preference_tables(analysis: Mapping[str, Any], heading: str = "##") -> list[str]:
    """Returns the preferences as Markdown, for each question a heading and a table; then means, and their differences."""
    parts = []
    for question, rows in by_question(analysis, "preferences").items():
        body = [
            [row["category"] or "All", row["a"], row["b"], percent(row["prefer_a"]), percent(row["indifferent"]),
             percent(row["prefer_b"]), percent(row["tie_split"]), naive(row["tie_split"]), p_value(row["p_holm"]),
             str(row["tie_split"]["n"])]
            for row in rows
        ]  # fmt: skip
        head = [
            "Category",
            "A",
            "B",
            "A preferred",
            "Neither",
            "B preferred",
            "A, ties split",
            "naive",
            "p (Holm)",
            "n",
        ]
        parts += [f"{heading} {_plain(question)}", _table(head, body)]
    if analysis["scales"]:
        means = [
            [
                row["category"] or "All",
                row["task"],
                row["system"],
                row["question"],
                scale(row),
                naive(row, 3, 1),
                str(row["n"]),
            ]
            for row in analysis["scales"]
        ]
        head = ["Prompts", "Task", "System", "Question", "Mean", "naive", "n"]
        parts += [f"{heading} Means", _table(head, means)]
    if analysis["differences"]:
        apart = [
            [row["category"] or "All", row["question"], f"{row['a']} − {row['b']}", scale(row), p_value(row["p_holm"]),
             str(row["n"])]
            for row in analysis["differences"]
        ]  # fmt: skip
        parts += [f"{heading} Differences", _table(["Prompts", "Question", "", "Difference", "p (Holm)", "n"], apart)]
    return parts


def passed_tables(analysis: Mapping[str, Any], heading: str = "##") -> list[str]:
    """Returns the numbers of those who passed the controls as Markdown, where the design counts only them."""
    told, passed = passed_controls(analysis), analysis["passed_controls"]
    if told is None:
        return []
    tables = preference_tables(passed, f"{heading}#") if passed["raters"] else []
    return [f"{heading} Raters who passed the controls", _plain(told), *tables]


def html(analysis: Mapping[str, Any]) -> str:
    """Returns an analysis as one page that needs nothing else."""
    environment = environment_for_pages()
    without = analysis["without_flagged"]
    return environment.get_template("study.html").render(
        analysis=analysis,
        title=title(analysis),
        sentences=sentences(analysis),
        without=found({**analysis, **without}) if without else [],
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
    environment.globals |= {"bars": stacked_bars, "colour": colour, "by_question": by_question}
    environment.globals |= {"passed_controls": passed_controls, "coefficient": coefficient}
    environment.filters |= {"percent": percent, "digits": _digits, "p_value": p_value, "scale": scale, "listed": listed}
    environment.filters |= {"naive": naive}
    return environment


def title(analysis: Mapping[str, Any]) -> str:
    """Returns what was judged, by whom and how often."""
    return f"{listed(analysis['systems'])}: {by_whom(analysis)}"


def coefficient(row: Mapping[str, Any], name: str) -> str:
    """Returns a coefficient of agreement with its interval over items."""
    interval = row[f"{name}_interval"]
    bounds = f" [{interval['low']:.3f}, {interval['high']:.3f}]" if interval else ""
    return f"{_digits(row[name])}{bounds}".replace("-", "−")


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def _plain(text: str) -> str:
    from drawbench.reports.markdown import escaped

    return escaped(text)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) if cell != "---" else cell for cell in row) + " |" for row in lines)
