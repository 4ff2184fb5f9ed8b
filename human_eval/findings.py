"""What an analysis amounts to, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
    bounds = f" [{interval['low']:.3f}, {interval['high']:.3f}]" if interval else ""
    return f"{row['value']:.3f}{bounds}".replace("-", "−")
