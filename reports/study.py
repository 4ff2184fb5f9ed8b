"""What a study says, on disk: HTML with the paper's stacked bars, Markdown, or JSON with everything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.human_eval.analysis import by_question
from drawbench.reports.digits import counted, listed, p_value

WIDTH, LABELS, BAR, PITCH = 640, 130, 16, 30
"""Of a plot, in pixels: the whole, the names on the left, a bar's height, from bar to bar."""


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


def sentences(analysis: Mapping[str, Any]) -> list[str]:
    """Returns the main findings in words: for each question and pair who is preferred, by how much, or that nobody can say."""
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
    return said + [f"{row['task']}, {row['question']}: {row['system']} {scale(row)}" for row in analysis["scales"]]


def percent(share: Mapping[str, Any]) -> str:
    """Returns ``58.1 % [53.0, 63.1]``."""
    if share["value"] is None:
        return "–"
    interval = share["interval"]
    bounds = f" [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]" if interval else ""
    return f"{100 * share['value']:.1f} %{bounds}"


def scale(row: Mapping[str, Any]) -> str:
    """Returns a mean on its own scale, with its interval."""
    interval = row["interval"]
    return f"{row['value']:.3f}" + (f" [{interval['low']:.3f}, {interval['high']:.3f}]" if interval else "")


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
    for question, rows in by_question(analysis, "preferences").items():
        body = [
            [row["category"] or "All", row["a"], row["b"], percent(row["prefer_a"]), percent(row["indifferent"]),
             percent(row["prefer_b"]), percent(row["tie_split"]), p_value(row["p_holm"]), str(row["tie_split"]["n"])]
            for row in rows
        ]  # fmt: skip
        head = ["Category", "A", "B", "A preferred", "Neither", "B preferred", "A, ties split", "p (Holm)", "n"]
        parts += [f"## {_plain(question)}", _table(head, body)]
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


def html(analysis: Mapping[str, Any]) -> str:
    """Returns an analysis as one page that needs nothing else."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "digits": _digits, "p_value": p_value, "scale": scale, "listed": listed}
    without = analysis["without_flagged"]
    return environment.get_template("study.html").render(
        analysis=analysis,
        title=_title(analysis),
        sentences=sentences(analysis),
        without=sentences({**analysis, **without}) if without else [],
        preferences=by_question(analysis, "preferences"),
        ranking=by_question(analysis, "ranking"),
        methods=methods(analysis),
        bars=stacked_bars,
    )


def stacked_bars(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Returns a pair's shares as stacked bars, a row for each category; whiskers are the intervals of both preferences."""
    room = WIDTH - LABELS - 12
    height = PITCH * len(rows) + 26
    label = f"{rows[0]['a']} against {rows[0]['b']}: shares by category; the table has the numbers"
    parts = [
        Markup('<svg class="plot bars" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, height, label)
    ]
    for number, row in enumerate(rows):
        top, left = PITCH * number + 4, float(LABELS)
        name = row["category"] or "All"
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end"{}>{}</text>').format(
                LABELS - 8, top + BAR - 4, Markup(' class="whole"') if row["category"] is None else "", name
            )
        )
        for kind, share in (("a", row["prefer_a"]), ("none", row["indifferent"]), ("b", row["prefer_b"])):
            width = room * (share["value"] or 0.0)
            parts.append(
                Markup('<rect class="{}" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>').format(
                    kind, left, top, width, BAR
                )
            )
            left += width
        for share, start in ((row["prefer_a"], 0.0), (row["prefer_b"], 1.0)):
            if share["interval"]:
                ends = [share["interval"]["low"], share["interval"]["high"]]
                low, high = sorted(LABELS + room * (end if start == 0 else 1 - end) for end in ends)
                y = top + BAR / 2
                parts.append(
                    Markup('<path class="whisker" d="M{:.1f} {}H{:.1f}m0-4v8M{:.1f} {}v8"/>').format(
                        low, y, high, low, y - 4
                    )
                )
    for tick in range(0, 101, 25):
        x = LABELS + room * tick / 100
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="middle" class="tick">{} %</text>').format(x, height - 6, tick)
        )
    middle = LABELS + room / 2
    parts.append(Markup('<path class="middle" d="M{:.1f} 0V{}"/></svg>').format(middle, height - 20))
    return Markup("").join(parts)


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
