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

_LETTERS = "".join(GLYPHS)
_SHAPES = np.array([GLYPHS[letter].ravel() for letter in _LETTERS], np.float32)


def read_word(tone: NDArray[np.float32], left: int, top: int) -> str | None:
    """Returns the three letters on a plate whose corner lies at ``left``, ``top`` of a ``(64, 64)`` grey picture, or None."""
    best: tuple[float, str] = (np.inf, "")
    means = _cell_means(tone.astype(np.float32))
    for y in range(top + _CELL - _REACH, top + _CELL + _REACH + 1):
        for x in range(left + _CELL - _REACH, left + _CELL + _REACH + 1):
            patch = _patch(means, y, x)
            if patch is not None:
                best = min(best, _letters(patch))
    return best[1] if best[0] < _LEGIBLE else None


def _cell_means(tone: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the mean of the cell whose first pixel is each pixel."""
    windows = np.lib.stride_tricks.sliding_window_view(tone, (_CELL, _CELL))
    means: NDArray[np.float32] = windows.mean(axis=(2, 3))
    return means


def _patch(means: NDArray[np.float32], y: int, x: int) -> NDArray[np.float32] | None:
    """Returns 7 x 13 cells with the word in the middle, or None where they leave the picture."""
    if y < _CELL or x < _CELL or y + 5 * _CELL >= len(means) or x + 11 * _CELL >= len(means):
        return None
    return means[y - _CELL : y + 6 * _CELL : _CELL, x - _CELL : x + 12 * _CELL : _CELL]


def _letters(patch: NDArray[np.float32]) -> tuple[float, str]:
    """Returns the mean squared error of the best word in a patch, and the word."""
    rim = np.concatenate([patch[0], patch[-1], patch[1:-1, 0], patch[1:-1, -1]])
    contrast = np.abs(patch - np.median(rim))
    contrast /= max(float(np.percentile(contrast, 90)), 20.0)
    contrast = np.minimum(contrast, 1.2)
    error = float((contrast**2).sum() - (contrast[1:6, 1:12] ** 2).sum())
    error += float((contrast[1:6, 4] ** 2).sum() + (contrast[1:6, 8] ** 2).sum())
    word = ""
    for start in (1, 5, 9):
        cells = contrast[1:6, start : start + 3].ravel()
        errors = ((_SHAPES - cells) ** 2).sum(1)
        word += _LETTERS[int(errors.argmin())]
        error += float(errors.min())
    return error / patch.size, word
