"""Letters of 3 x 5 cells that lie on the grid of a 16 x 16 picture, and the words that signs carry."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_ROWS = """
A 010 101 111 101 101   B 110 101 110 101 110   C 011 100 100 100 011   D 110 101 101 101 110   E 111 100 110 100 111
F 111 100 110 100 100   G 011 100 101 101 011   H 101 101 111 101 101   I 111 010 010 010 111   J 001 001 001 101 010
K 101 110 100 110 101   L 100 100 100 100 111   M 101 111 101 101 101   N 110 101 101 101 101   O 010 101 101 101 010
P 110 101 110 100 100   Q 010 101 101 111 011   R 110 101 110 110 101   S 011 100 010 001 110   T 111 010 010 010 010
U 101 101 101 101 111   V 101 101 101 101 010   W 101 101 101 111 101   X 101 101 010 101 101   Y 101 101 010 010 010
Z 111 001 010 100 111
"""
_FIELDS = _ROWS.split()

GLYPHS: Mapping[str, NDArray[np.uint8]] = {
    letter: np.array([[int(cell) for cell in row] for row in rows], np.uint8)
    for letter, *rows in (_FIELDS[start : start + 6] for start in range(0, len(_FIELDS), 6))
}
"""Letter → (5, 3) cells of 0 and 1. Any two letters differ in at least two cells."""

WORDS: tuple[str, ...] = (
    *("ANT", "BED", "BOX", "CAT", "COW", "CUP", "DOG", "EGG", "FLY", "GAS", "HAT", "ICE", "INK", "JAR"),
    *("KEY", "LEG", "NET", "OWL", "RUG", "RUN", "SKY", "SUN", "TOP", "VAN", "ZOO"),
)
"""Words that training shows. None has an M, which 3 x 5 cells show badly beside H and N."""
HELD_OUT_WORDS: tuple[str, ...] = ("BUS", "CAP", "FOX", "HOT", "PEN", "TEA")
"""Words that training never shows; each of their letters stands in others."""


def cells(word: str) -> NDArray[np.uint8]:
    """Returns a word as ``(5, 4 * letters - 1)`` cells of 0 and 1: letters with an empty column between them."""
    gap = np.zeros((5, 1), np.uint8)
    parts = [part for letter in word for part in (GLYPHS[letter], gap)]
    return np.concatenate(parts[:-1], axis=1)
