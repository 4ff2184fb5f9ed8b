"""Davidson's model (1970) of preferences with ties, with an advantage of the side shown first: its fit, and who moves it.

With d = strength of the first - strength of the second + advantage, the three answers stand in the proportions
exp(d/2) : tie : exp(-d/2). Strengths and advantage are log odds among the judgements that prefer one; ``tie`` is Davidson's nu,
and 2 v of Newman (2023). The log-likelihood is concave in the strengths, the advantage and log tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.human_eval.clustering import Floats
from drawbench.human_eval.comparisons import INDIFFERENT, Comparisons


class Patterns(NamedTuple):
    """Judgements that count alike: K distinct triples of first, second and answer."""

    design: Floats
    """(K, M + 1): 1 for the system shown first, -1 for the second, and 1 for the advantage."""
    answers: NDArray[np.int64]
    """(K,): 1, 0, -1."""
    counts: NDArray[np.int64]
    """(K,)"""
    of_judgement: NDArray[np.int64]
    """(N,)"""


class Fit(NamedTuple):
    """The maximum of the likelihood."""

    theta: Floats
    """(M + 1,): the strengths, which sum to 0, and the advantage."""
    tie: float
    log_likelihood: float
    """Without the ridge's penalty."""


def find_patterns(judged: Comparisons, systems: Sequence[str], position: bool) -> Patterns:
    """Returns the judgements' patterns over the sorted ``systems``; without ``position`` the advantage is left out."""
    first, second = (np.searchsorted(systems, names) for names in (judged.first, judged.second))
    triples = np.stack([first, second, judged.answers.astype(np.int64)], axis=1)
    distinct, of_judgement, counts = np.unique(triples, axis=0, return_inverse=True, return_counts=True)
    unit = np.eye(len(systems))
    sides = np.full((len(distinct), 1), float(position))
    design = np.hstack([unit[distinct[:, 0]] - unit[distinct[:, 1]], sides])
    return Patterns(design, distinct[:, 2], counts, of_judgement)


def _probabilities(design: Floats, theta: Floats, tie: float) -> Floats:
    """Returns the ``(K, 3)`` probabilities of the answers 1, 0, -1."""
    half = design @ theta / 2
    with np.errstate(divide="ignore"):
        logits = np.stack([half, np.full_like(half, np.log(tie)), -half], axis=1)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float64)


def _moments(patterns: Patterns, theta: Floats, tie: float) -> tuple[Floats, Floats]:
    """Returns each pattern's score ``(K, M + 2)``, that of log tie last, and the information ``(M + 2, M + 2)``."""
    chance = _probabilities(patterns.design, theta, tie)
    side = chance[:, 0] - chance[:, 2]
    scores = np.hstack(
        [
            ((patterns.answers - side) / 2)[:, None] * patterns.design,
            ((patterns.answers == INDIFFERENT) - chance[:, 1])[:, None],
        ]
    )
    squared = (1 - chance[:, 1] - side**2) / 4
    crossed = -chance[:, 1] * side / 2
    own = chance[:, 1] * (1 - chance[:, 1])
    weighted = patterns.counts[:, None] * patterns.design
    corner = patterns.design.T @ (squared[:, None] * weighted)
    edge = (crossed[:, None] * weighted).sum(0)
    return scores, np.block([[corner, edge[:, None]], [edge[None], np.atleast_2d((patterns.counts * own).sum())]])


def _free(patterns: Patterns) -> Floats:
    """Returns the basis ``(M + 2, F)`` of what the data decide: strengths that sum to 0, the advantage if any, log tie if any."""
    count = patterns.design.shape[1] - 1
    sum_zero = np.linalg.qr(np.hstack([np.ones((count, 1)), np.eye(count)[:, :-1]]))[0][:, 1:]
    basis = np.zeros((count + 2, count + 1))
    basis[:count, : count - 1] = sum_zero
    basis[count, count - 1] = 1
    basis[count + 1, count] = 1
    keep = np.ones(count + 1, np.bool_)
    keep[count - 1] = patterns.design[:, -1].any()
    keep[count] = (patterns.answers == INDIFFERENT).any()
    return basis[:, keep]


def _penalty(patterns: Patterns, ridge: float) -> Floats:
    return ridge * np.append(np.ones(patterns.design.shape[1]), 0.0)


def maximise(patterns: Patterns, ridge: float) -> Fit:
    """Returns the fit. There must be one: ``separation.require_a_maximum``."""
    from scipy import optimize

    basis, penalty = _free(patterns), _penalty(patterns, ridge)
    tied = bool((patterns.answers == INDIFFERENT).any())

    def unpack(x: Floats) -> tuple[Floats, Floats, float]:
        full = basis @ x
        return full, full[:-1], float(np.exp(full[-1])) if tied else 0.0

    def likelihood(theta: Floats, tie: float) -> float:
        chosen = _probabilities(patterns.design, theta, tie)[np.arange(len(patterns.answers)), 1 - patterns.answers]
        with np.errstate(divide="ignore"):
            return float((patterns.counts * np.log(chosen)).sum())

    def loss(x: Floats) -> float:
        full, theta, tie = unpack(x)
        return -likelihood(theta, tie) + float(penalty @ full**2) / 2

    def gradient(x: Floats) -> Floats:
        full, theta, tie = unpack(x)
        scores = patterns.counts @ _moments(patterns, theta, tie)[0]
        return np.asarray(basis.T @ (penalty * full - scores), np.float64)

    def curvature(x: Floats) -> Floats:
        _, theta, tie = unpack(x)
        return np.asarray(basis.T @ (_moments(patterns, theta, tie)[1] + np.diag(penalty)) @ basis, np.float64)

    total = int(patterns.counts.sum())
    found = optimize.minimize(
        loss,
        np.zeros(basis.shape[1]),
        jac=gradient,
        hess=curvature,
        method="trust-exact",
        options={"gtol": 1e-9 * total},
    )
    x = found.x - np.linalg.solve(curvature(found.x), gradient(found.x))  # Newton's last step: to the last digit.
    if np.abs(gradient(x)).max() > 1e-6 * total:
        raise ArithmeticError(f"the likelihood's maximum was not found: {found.message}")
    _, theta, tie = unpack(x)
    return Fit(theta, tie, likelihood(theta, tie))


def influence(patterns: Patterns, fit: Fit, ridge: float) -> Floats:
    """Returns what one judgement of each pattern adds to the error of each strength and of the advantage: ``(K, M + 1)``."""
    basis = _free(patterns)
    scores, information = _moments(patterns, fit.theta, fit.tie)
    bread = basis.T @ (information + np.diag(_penalty(patterns, ridge))) @ basis
    return np.asarray((scores @ basis @ np.linalg.solve(bread, basis.T))[:, :-1], np.float64)
