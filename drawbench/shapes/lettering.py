"""Reads the word on a sign, letter by letter, against all 26 letters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drawbench.shapes.font import GLYPHS

_CELL = 4
_REACH = 6
"""Pixels that the word may stand off from its place on the plate."""
_LEGIBLE = 0.13
"""Mean squared error of contrast between the picture and the word that was read, from 0 to 1."""
_CLEAR = 0.45
"""A letter reads where its error is less than this share of the next best letter's. Of 312 signs that the shipped cascade drew
the checker then agrees with the eye on .923, at .95 on .878, for most letters with one wrong cell are called wrong."""
_UNCLEAR = "?"

_LETTERS = "".join(GLYPHS)
_SHAPES = np.array([GLYPHS[letter].ravel() for letter in _LETTERS], np.float32)


def read_word(tone: NDArray[np.float32], left: int, top: int) -> str | None:
    """Returns the three letters on a plate whose corner lies at ``left``, ``top`` of a ``(64, 64)`` grey picture, or None.

    A letter that could as well be another is a question mark.
    """
    patches = _patches(tone.astype(np.float32), left, top)
    if not len(patches):
        return None  # It leaves the picture.
    contrast = _contrast(patches)
    rows = slice(1, 6)
    empty = contrast.copy()
    numbers = []
    error = np.zeros(len(contrast))
    for start in (1, 5, 9):
        columns = slice(start, start + 3)
        cells = contrast[:, rows, columns].reshape(len(contrast), -1)
        errors = (cells**2).sum(1)[:, None] - 2 * cells @ _SHAPES.T + (_SHAPES**2).sum(1)
        order = np.sort(errors, axis=1)
        numbers.append(np.where(order[:, 0] < _CLEAR * order[:, 1], errors.argmin(1), len(_LETTERS)))
        error += order[:, 0]
        empty[:, rows, columns] = 0
    error += (empty**2).sum((1, 2))
    best = int(error.argmin())
    legible = error[best] < _LEGIBLE * contrast[best].size
    word = "".join((_LETTERS + _UNCLEAR)[found[best]] for found in numbers)
    return word if legible and word.strip(_UNCLEAR) else None


def _patches(tone: NDArray[np.float32], left: int, top: int) -> NDArray[np.float32]:
    """Returns the means of 7 x 13 cells ``(N, 7, 13)`` for every place near by that the plate may have in the picture."""
    windows = np.lib.stride_tricks.sliding_window_view(tone, (_CELL, _CELL))
    means = windows.mean(axis=(2, 3))
    patches = [
        means[y : y + 7 * _CELL : _CELL, x : x + 13 * _CELL : _CELL]
        for y in range(max(0, top - _REACH), min(top + _REACH, len(tone) - 7 * _CELL) + 1)
        for x in range(max(0, left - _REACH), min(left + _REACH, len(tone) - 13 * _CELL) + 1)
    ]
    return np.array(patches, np.float32).reshape(-1, 7, 13)


def _contrast(patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns how far each cell is on the way from the plate's tone, 0, to the letters', 1."""
    rim = np.concatenate([patches[:, 0], patches[:, -1], patches[:, 1:-1, 0], patches[:, 1:-1, -1]], axis=1)
    contrast = np.abs(patches - np.median(rim, axis=1)[:, None, None])
    most = np.maximum(np.percentile(contrast, 90, axis=(1, 2)), 20.0)
    shares: NDArray[np.float32] = np.minimum(contrast / most[:, None, None], 1.2).astype(np.float32)
    return shares
