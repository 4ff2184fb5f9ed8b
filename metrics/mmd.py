"""The maximum mean discrepancy of two sets of features (Gretton et al. 2012), squared: what KID and CMMD are.

Kernel matrices are never whole: they are taken in blocks, and summed in float64 by row and within groups of rows, from which
the values without any one group follow without a second pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps inner products ``(B, C)``, which it may overwrite, and squares ``(B, 1)`` and ``(1, C)`` of the rows to kernel values."""

BLOCK = 1024
"""Rows and columns of a block. One takes 1024² x (4 + 3 x 8) bytes: 28 MiB."""


class Rows(NamedTuple):
    """Features made ready for inner products."""

    rest: Tensor
    """``(N, D)`` float32: without the shift. Smaller numbers, so that float32 products lose less."""
    along: Tensor
    """``(N,)`` float64: x·μ - |μ|²/2, so that x·y = rest·rest + along + along."""
    squares: Tensor
    """``(N,)`` float64: |x|²."""


class Own(NamedTuple):
    """Kernel sums of a set with itself, a row with itself left out, for each of S draws of its rows."""

    rows: Array
    """``(N, S)``: of a row with all others that are drawn."""
    within: Array
    """``(G, S)``: of ordered pairs within a group, both drawn."""
    diagonal: Array
    """``(N,)``: of a row with itself."""


def cubic(d: int) -> Kernel:
    """Returns KID's kernel, (x·y / d + 1)³ (Bińkowski et al. 2018, section 4)."""

    def kernel(products: Tensor, _one: Tensor, _two: Tensor) -> Tensor:
        products.div_(d).add_(1)
        return (products * products).mul_(products)

    return kernel


def gaussian(sigma: float) -> Kernel:
    """Returns exp(-|x - y|² / 2σ²)."""

    def kernel(products: Tensor, one: Tensor, two: Tensor) -> Tensor:
        return products.mul_(-2).add_(one).add_(two).div_(-2 * sigma**2).exp_()

    return kernel


def prepare(features: NDArray[np.float32], shift: NDArray[np.float32]) -> Rows:
    """Makes ``(N, D)`` features ready; sets that are compared have one shift, near the mean of either."""
    wide = shift.astype(np.float64)
    middle = wide @ wide / 2
    rest = torch.empty(features.shape, dtype=torch.float32)
    along, squares = np.empty(len(features)), np.empty(len(features))
    for first in range(0, len(features), BLOCK):
        part = np.asarray(features[first : first + BLOCK], np.float32)
        rest[first : first + BLOCK] = torch.from_numpy(part - shift)
        exact = part.astype(np.float64)
        along[first : first + BLOCK] = exact @ wide - middle
        squares[first : first + BLOCK] = np.einsum("nd,nd->n", exact, exact)
    return Rows(rest, torch.from_numpy(along), torch.from_numpy(squares))


def own_sums(x: Rows, kernel: Kernel, groups: NDArray[np.int64], draws: Array) -> Own:
    """Returns the kernel sums of a set with itself: half the matrix, for it is symmetric.

    ``groups`` are numbers ``0 … G-1`` in rising order: the rows of a group lie together. ``draws`` are ``(N, S)`` of 0 and 1.
    """
    n, count = len(x.rest), int(groups[-1]) + 1
    edges = np.searchsorted(groups, np.arange(count + 1))
    rows, within = np.zeros(draws.shape), np.zeros((count, draws.shape[1]))
    for one in _blocks(n):
        for two in _blocks(n, one.start):
            tensor = _values(x, one, x, two, kernel)
            if one == two:
                tensor.fill_diagonal_(0)
            values = tensor.numpy()
            rows[one] += values @ draws[two]
            if one != two:
                rows[two] += values.T @ draws[one]
            for group in range(int(groups[two.start]), int(groups[one.stop - 1]) + 1):
                left, right = _clip(edges, group, one), _clip(edges, group, two)
                sums = values[left, right] @ draws[two][right]
                within[group] += (1 if one == two else 2) * np.einsum("ns,ns->s", draws[one][left], sums)
    diagonal = kernel(x.squares[:, None].clone(), x.squares[:, None], x.squares[:, None])[:, 0].numpy()
    return Own(rows, within, diagonal)


def cross_sums(x: Rows, y: Rows, kernel: Kernel, draws: Array) -> Array:
    """Returns ``(N, S)`` kernel sums of each row of x with those of y that ``draws``, ``(M, S)``, have."""
    sums = np.zeros((len(x.rest), draws.shape[1]))
    for one in _blocks(len(x.rest)):
        for two in _blocks(len(y.rest)):
            sums[one] += _values(x, one, y, two, kernel).numpy() @ draws[two]
    return sums


class Draws(NamedTuple):
    """Which rows of either set are compared, S times."""

    x: Array
    """``(N, S)`` of 0 and 1."""
    y: Array
    """``(M, S)``."""


class Estimates(NamedTuple):
    """Estimates of MMD², ``(1 + G, S)``: of the whole, then without each of the groups, for each draw."""

    unbiased: Array
    """Gretton et al. 2012, eq. 3: no row is compared with itself; below 0 for sets that are alike."""
    biased: Array
    """Their eq. 5, a V-statistic: never below 0, and too large by the order of 1/n."""


def discrepancy(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    kernel: Kernel,
    groups: NDArray[np.int64] | None = None,
    draws: Draws | None = None,
) -> Estimates:
    """Returns MMD² of ``(N, D)`` and ``(M, D)`` features, and without each of the groups ``0 … G-1`` of x.

    Takes N²/2 + M²/2 + NM inner products, however many groups and draws there are; without draws all rows are compared, once.
    Where a group leaves fewer than two rows it is NaN.
    """
    known = np.zeros(len(x), np.int64) if groups is None else groups
    of_x, of_y = Draws(np.ones((len(x), 1)), np.ones((len(y), 1))) if draws is None else draws
    order = np.argsort(known, kind="stable")
    known, of_x = known[order], of_x[order]
    count = int(known[-1]) + 1
    shift = np.asarray(y.mean(0, dtype=np.float64), np.float32)
    one, two = prepare(x[order], shift), prepare(y, shift)
    own, other = own_sums(one, kernel, known, of_x), own_sums(two, kernel, np.zeros(len(y), np.int64), of_y)
    cross = cross_sums(one, two, kernel, of_y)

    def without(rows: Array) -> Array:
        """Returns sums over the rows that are drawn: of all, then without each of the groups."""
        parts = np.zeros((count, of_x.shape[1]))
        np.add.at(parts, known, of_x * rows)
        total = parts.sum(0)
        return np.concatenate([total[None], total - parts])

    n, m = without(np.ones(of_x.shape)), of_y.sum(0)
    n[n < 2] = np.nan
    pairs = without(own.rows)
    pairs[1:] = 2 * pairs[1:] - pairs[0] + own.within  # A group's pairs with the others go twice, those within it once.
    across = 2 * without(cross) / (n * m)
    theirs = (of_y * other.rows).sum(0)
    biased = (pairs + without(own.diagonal[:, None])) / n**2 + (theirs + of_y.T @ other.diagonal) / m**2
    return Estimates(pairs / (n * (n - 1)) + theirs / (m * (m - 1)) - across, biased - across)


def _values(x: Rows, one: slice, y: Rows, two: slice, kernel: Kernel) -> Tensor:
    # NumPy takes half the time for a block on the diagonal, and no more than torch for others.
    products = torch.from_numpy(x.rest[one].numpy() @ y.rest[two].numpy().T).double()
    products.add_(x.along[one, None]).add_(y.along[None, two])
    return kernel(products, x.squares[one, None], y.squares[None, two])


def _blocks(n: int, first: int = 0) -> Iterator[slice]:
    for start in range(first, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def _clip(edges: NDArray[np.int64], group: int, block: slice) -> slice:
    """Returns which rows of a block are a group's."""
    low, high = np.clip(edges[group : group + 2], block.start, block.stop) - block.start
    return slice(int(low), int(high))
