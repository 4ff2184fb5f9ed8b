"""Nearest neighbours and distances below a radius, in blocks: decided in float64, found in float32.

A block of float32 products gives a lower and an upper bound of every squared distance. What they decide is decided; the few
pairs between them are computed again as Σ(x - y)² in float64, so that duplicates are at distance 0 and ties are ties.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Index = NDArray[np.int64]

BLOCK = 2048
"""Rows and columns of a block."""
_PAIRS = 32
"""Pairs whose differences are float64 at a time: 0.5 MiB at 2048 features, which stays in a core's cache."""
_KEPT = 256
"""Rows whose distances from all others are kept at most."""


class Points(NamedTuple):
    """Features made ready for distances."""

    exact: NDArray[np.float32]
    """``(N, D)``, as given; may be memory-mapped."""
    rest: Tensor
    """``(N, D)`` float32, without a shift that all sets have in common."""
    squares: Tensor
    """``(N,)`` float32: |rest|²."""


class Neighbours(NamedTuple):
    """The nearest of each row among the others, nearest first."""

    at: Index
    """``(N, K)``."""
    squared: Array
    """``(N, K)``: squared distances."""
    beyond: Array
    """``(N,)``: no row that is not listed is nearer, squared; infinite where all are listed."""


class Near(NamedTuple):
    """Pairs of one block, each at or below a radius of its row or its column, or not far above."""

    rows: Index
    columns: Index
    squared: Array
    """-inf where the distance is below the radius for sure, else exact."""


def points(features: NDArray[np.float32], shift: NDArray[np.float32]) -> Points:
    """Makes ``(N, D)`` features ready; sets that are compared have one shift, which moves no distance."""
    rest = torch.empty(features.shape, dtype=torch.float32)
    squares = torch.empty(len(features))
    for first in range(0, len(features), BLOCK):
        part = torch.from_numpy(np.asarray(features[first : first + BLOCK], np.float32) - shift)
        rest[first : first + BLOCK] = part
        squares[first : first + BLOCK] = torch.linalg.vector_norm(part, dim=1, dtype=torch.float64).square()
    return Points(features, rest, squares)


def nearest(x: Points, count: int) -> Neighbours:
    """Returns the ``count`` nearest other rows of each row, or all others where there are fewer."""
    n = len(x.exact)
    count = min(count, n - 1)
    lower, index = torch.full((n, count), torch.inf), torch.zeros((n, count), dtype=torch.int64)
    for one in blocks(n):
        for two in blocks(n, one.start):
            bound = lower_bounds(x, one, x, two)
            if one == two:
                bound.fill_diagonal_(torch.inf)
            _merge(lower, index, one, two, bound)
            if one != two:
                _merge(lower, index, two, one, bound.T)
    found = index.numpy()
    squared = exact_squared(x.exact, np.repeat(np.arange(n), count), x.exact, found.ravel()).reshape(n, count)
    order = np.argsort(squared, 1, kind="stable")
    beyond = lower[:, -1].double().numpy() if count < n - 1 else np.full(n, np.inf)
    return Neighbours(np.take_along_axis(found, order, 1), np.take_along_axis(squared, order, 1), beyond)


def radii(x: Points, found: Neighbours, k: int) -> Array:
    """Returns ``(N,)`` squared distances to the k-th nearest other row."""
    squared, whole = found.squared[:, k - 1].copy(), _Whole(x)
    for row in np.flatnonzero(~_sure(squared, found.beyond)):
        squared[row] = np.partition(whole.others(int(row)), k - 1)[k - 1]
    return squared


class Grown(NamedTuple):
    """Radii that grow where a group is left out: of each row, for each group among its k nearest but its own."""

    rows: Index
    groups: Index
    squared: Array
    """Infinite where fewer than k others stay."""


def grown_radii(x: Points, found: Neighbours, k: int, groups: Index) -> Grown:
    """Returns the squared distances to the k-th nearest other row without each group that moves it, rows in rising order."""
    n, whole = len(groups), _Whole(x)
    near = groups[found.at]
    rows, which, squared = [], [], []
    for row in range(n):
        for group in np.unique(near[row, :k]):
            if group == groups[row]:
                continue
            stay = found.squared[row][near[row] != group]
            value = stay[k - 1] if len(stay) >= k else np.inf
            if not (value <= found.beyond[row] or value == 0):
                others = whole.others(row)[groups != group]
                value = np.partition(others, k - 1)[k - 1] if len(others) > k else np.inf
            rows.append(row)
            which.append(group)
            squared.append(value)
    return Grown(np.array(rows, np.int64), np.array(which, np.int64), np.array(squared, np.float64))


def near_pairs(x: Points, one: slice, y: Points, two: slice, bound: Tensor, low: Array, high: Array) -> Near:
    """Returns the pairs of a block at or below ``high (B,)`` of their row of x; see `Near`, where ``low`` is the radius.

    ``bound`` are the block's `lower_bounds`, transposed where the radii are those of y's rows.
    """
    reach = torch.from_numpy(high).float().mul_(1 + 1e-6)  # float32 must not round a radius down.
    at = np.flatnonzero((bound <= reach[:, None]).numpy())
    rows, columns = np.divmod(at, bound.shape[1])
    below = bound.numpy()[rows, columns].astype(np.float64)
    slack = 2 * _unsure(x) * (x.squares[one].numpy()[rows].astype(np.float64) + y.squares[two].numpy()[columns])
    squared = np.full(len(at), -np.inf)
    open_ = below + slack * (1 + 1e-6) > low[rows]
    squared[open_] = exact_squared(x.exact, rows[open_] + one.start, y.exact, columns[open_] + two.start)
    return Near(rows, columns, squared)


def lower_bounds(x: Points, one: slice, y: Points, two: slice) -> Tensor:
    """Returns a block ``(B, C)`` float32 of what squared distances are not below, within twice the slack of `_unsure`."""
    keep = 1 - _unsure(x)
    # NumPy takes half the time for a block on the diagonal, and no more than torch for others.
    bound = torch.from_numpy(x.rest[one].numpy() @ y.rest[two].numpy().T)
    return bound.mul_(-2).add_(x.squares[one, None] * keep).add_(y.squares[None, two] * keep)


def exact_squared(x: NDArray[np.float32], rows: Index, y: NDArray[np.float32], columns: Index) -> Array:
    """Returns Σ(x - y)² in float64 of pairs of rows: the same digits for the same two rows in either order."""
    found = np.empty(len(rows))
    for first in range(0, len(rows), _PAIRS):
        part = slice(first, first + _PAIRS)
        difference = np.subtract(x[rows[part]], y[columns[part]], dtype=np.float64)
        found[part] = np.einsum("pd,pd->p", difference, difference)
    return found


def blocks(n: int, first: int = 0) -> Iterator[slice]:
    """Yields rows by `BLOCK`."""
    for start in range(first, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def working_bytes(n: int, m: int, d: int, count: int) -> int:
    """Returns what two sets ``(N, D)``, ``(M, D)`` take at most: as given and shifted, blocks, and lists of neighbours.

    A block is held as bounds, as Booleans, and once more as its nearest are sought.
    """
    sets = (n + m) * (2 * 4 * d + 4)
    block = BLOCK**2 * (4 + 4 + 1)
    return sets + block + (n + m) * count * (4 + 8 + 8 + 8 + 8) + _PAIRS * d * (4 + 4 + 8)


def _unsure(x: Points) -> float:
    """Returns the share of |x|² + |y|² by which a squared distance by float32 products may be wrong, in any order of sums."""
    return (x.rest.shape[1] + 32) * 2.0**-24


def _merge(lower: Tensor, index: Tensor, one: slice, two: slice, bound: Tensor) -> None:
    """Puts a block's nearest columns into the lists of its rows."""
    count = lower.shape[1]
    values, at = bound.topk(min(count, bound.shape[1]), 1, largest=False)
    together, places = torch.cat([lower[one], values], 1), torch.cat([index[one], at + two.start], 1)
    lower[one], chosen = together.topk(count, 1, largest=False)
    index[one] = places.gather(1, chosen)


def _sure(squared: Array, beyond: Array) -> NDArray[np.bool_]:
    """Says whether what is not listed cannot be nearer. Nothing is nearer than 0."""
    sure: NDArray[np.bool_] = (squared <= beyond) | (squared == 0)
    return sure


class _Whole:
    """All exact squared distances of a row, where its list does not say enough: duplicates, which are computed once."""

    def __init__(self, x: Points) -> None:
        self._x = x
        self._known: dict[bytes, Array] = {}

    def others(self, row: int) -> Array:
        """Returns ``(N,)`` squared distances; infinite from itself."""
        exact, n = self._x.exact, len(self._x.exact)
        key = exact[row].tobytes()
        if key not in self._known:
            if len(self._known) == _KEPT:
                self._known.clear()
            self._known[key] = exact_squared(exact, np.full(n, row), exact, np.arange(n))
        squared = self._known[key].copy()
        squared[row] = np.inf
        return squared
