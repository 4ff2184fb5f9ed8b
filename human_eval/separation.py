"""Whether comparisons can be ranked at all: that they connect the systems, and that the likelihood has a maximum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.human_eval.clustering import Floats
from drawbench.human_eval.comparisons import INDIFFERENT

_ROUNDING = 1e-6


def require_a_maximum(
    systems: Sequence[str], design: Floats, answers: NDArray[np.int64], position: bool, ridge: bool
) -> None:
    """Raises a UserError where Davidson's likelihood has no single, finite maximum, and says which systems are the reason.

    ``design`` (K, M + 1) and ``answers`` (K,) are those of ``davidson.Patterns``. A ridge cures separation, and nothing else.
    """
    if not len(answers):
        raise UserError("there is no judgement to rank systems by")
    _require_connection(systems, design)
    if (answers == INDIFFERENT).all():
        raise UserError("every judgement is indifferent: there is no preference to rank systems by")
    if position and np.linalg.matrix_rank(design) < len(systems):
        raise UserError(
            "each pair was shown in one order only, so the advantage of the side shown first cannot be told from the "
            "strengths: show pairs both ways round, or fit without it (position=False)"
        )
    if not ridge and (direction := _separating_direction(design, answers)) is not None:
        raise UserError(
            f"the judgements separate perfectly ({_say(systems, direction)}), and the most likely strengths are infinite: "
            "collect more judgements, or give a ridge, such as ridge=0.1, which draws them together"
        )


def _require_connection(systems: Sequence[str], design: Floats) -> None:
    from scipy.sparse import csgraph

    met = design[:, :-1].T @ design[:, :-1] != 0
    count, part = csgraph.connected_components(met, directed=False)
    if count > 1:
        parts = (", ".join(name for name, of in zip(systems, part, strict=True) if of == i) for i in range(count))
        raise UserError(
            f"the comparisons do not connect the systems, which fall into {count} parts: {' | '.join(parts)}; "
            "compare systems of different parts, or rank each part by itself"
        )


def _separating_direction(design: Floats, answers: NDArray[np.int64]) -> Floats | None:
    """Returns changes of strengths and advantage that make no judgement less likely and some more, or None.

    Albert and Anderson 1984, as a linear program: each answer's logit less that of each other answer may not fall. The advantage
    alone is tried first, then the strengths alone, so that what is named is needed.
    """
    from scipy import optimize

    half = np.hstack([design / 2, np.zeros((len(design), 1))])
    tie = np.eye(half.shape[1])[-1:].repeat(len(design), axis=0)
    tied = (answers == INDIFFERENT)[:, None]
    given = np.where(tied, tie, answers[:, None] * half)
    rises = np.vstack([given - other for other in ([half, -half, tie] if tied.any() else [half, -half])])
    count, strengths = len(rises), design.shape[1] - 1
    rising = np.hstack([-rises, np.eye(count)])  # Each rise is at least its gain, and gains lie in [0, 1].
    gains = np.append(np.zeros(rises.shape[1]), np.ones(count))
    for free in ([0] * strengths + [1, 1], [1] * strengths + [0, 1], [1] * (strengths + 2)):
        bounds = [(-4 * strengths * of, 4 * strengths * of) for of in free] + [(0, 1)] * count
        found = optimize.linprog(-gains, A_ub=rising, b_ub=np.zeros(count), bounds=bounds, method="highs")
        if -found.fun > _ROUNDING:
            return np.asarray(found.x[: strengths + 1], np.float64)
    return None


def _say(systems: Sequence[str], direction: Floats) -> str:
    levels, advantage = np.round(direction[:-1], 6), direction[-1]
    ordered = sorted(set(levels.tolist()), reverse=True)
    said = " above ".join(
        ", ".join(name for name, of in zip(systems, levels, strict=True) if of == level) for level in ordered
    )
    if abs(advantage) <= _ROUNDING:
        return said
    side = f"the side shown {'first' if advantage > 0 else 'second'}"
    return f"{side} is preferred always" if len(ordered) == 1 else f"{said}, together with {side}"
