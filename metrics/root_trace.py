"""The trace of the square root of LᵀL, with groups of L's rows left out in turn: one decomposition for all of them.

A = LᵀL loses WᵀW, whose rank m is small beside A's. Of the resolvents' determinants (Sylvester's identity) follows, exactly,

    tr √A − tr √(A − WᵀW) = −(1/π) ∫₀^∞ log det(I − W (A + u²)⁻¹ Wᵀ) du

of m x m matrices, and where A is diagonal each costs a product. The integral is taken by the midpoint rule in the variable x of
u = √a · sc(x), which Hale, Higham and Trefethen (2008, section 4) found for the root of a matrix with eigenvalues in [a, b]: its
error falls as exp(−π² nodes / (log(b/a) + 3)) or faster.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

NODES = 24
"""An even number. With these a jackknife's half-width is right to 1e-3 of itself, however many decades the eigenvalues span."""
_FLOOR = 1e-13
"""Of the largest eigenvalue: those below it are rounding, and have no root worth a node."""


class Nodes(NamedTuple):
    """Where the integral is taken, and with what weights."""

    squares: Array
    """``(nodes,)``, u²."""
    weights: Array


def nodes_for(values: Array) -> Nodes:
    """Returns the nodes for a matrix with these eigenvalues, of which at least one is positive."""
    largest = float(values.max())
    smallest = max(float(values.min()), _FLOOR * largest)
    ratio = min(smallest / largest, 0.5)  # Of equal eigenvalues any interval around them will do.
    smallest = ratio * largest
    end = float(special.ellipkm1(ratio))  # The quarter period of the parameter 1 - a/b.
    step = end / NODES
    sine, cosine, delta, _ = special.ellipj((np.arange(NODES // 2) + 0.5) * step, 1 - ratio)
    tangent = sine / cosine
    # The upper half mirrors the lower, u · u' = √(ab): so near the end of the period SciPy's functions lose their digits.
    low, high = np.sqrt(smallest) * tangent, np.sqrt(largest) / tangent
    weights = np.concatenate([np.sqrt(smallest) * delta / cosine**2, np.sqrt(largest) * delta / sine**2]) * step
    return Nodes(np.concatenate([low, high]) ** 2, weights)


def trace_of_root_without(values: Array, rows: Array, nodes: Nodes) -> float:
    """Returns tr √(diag(values) − rowsᵀ rows), of values ``(K,)`` and rows ``(m, K)`` that are part of what they were made of."""
    lost = 0.0
    for square, weight in zip(*nodes, strict=True):
        inner = (rows / (values + square)) @ rows.T
        # What is left is positive; where rounding says otherwise it is nearly 0, and so is the weight of its logarithm.
        lost -= weight * np.linalg.slogdet(np.eye(len(rows)) - inner)[1]
    return float(np.sqrt(values).sum() - lost / np.pi)
