"""Numbers of an analysis as plain data, and what an answer prefers."""

from __future__ import annotations

from typing import Any

from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.preference import Share
from drawbench.interfaces import Interval


def preferred(one: Judgement) -> str:
    """Returns the system that an answer prefers, or the answer itself."""
    places = {"first": 0, "second": 1}
    return one.shown[places[one.answer]] if len(one.shown) == 2 and one.answer in places else one.answer


def plain_share(share: Share, scale: float = 1.0, shift: float = 0.0) -> dict[str, Any]:
    """Returns a share as plain data; ``scale`` and ``shift`` take it back to a scale's own units."""
    return {
        "value": None if share.value is None else shift + scale * share.value,
        "interval": plain_interval(share.interval, scale, shift),
        "naive": plain_interval(share.naive, scale, shift),
        "reason": share.reason,
        "n": share.n,
        "raters": share.n_raters,
        "prompts": share.n_prompts,
        "n_eff": share.n_eff,
    }


def plain_interval(interval: Interval | None, scale: float = 1.0, shift: float = 0.0) -> dict[str, Any] | None:
    """Returns an interval as plain data, taken back to a scale's own units."""
    if interval is None:
        return None
    return {**interval._asdict(), "low": shift + scale * interval.low, "high": shift + scale * interval.high}
