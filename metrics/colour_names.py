"""The name of a colour, and of the colour of what a box shows: pixels by the nearest of some typical colours in CIELAB.

Approximate by nature: shade, shine and coloured light move pixels from name to name. Where the name of a whole thing is
asked, what most of its pixels are called counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from drawbench.metrics.detector_prompts import COLOURS, Colour

VERSION = "colour names 1"
"""Another one wherever a colour may be named otherwise."""

TYPICAL: Mapping[Colour, Sequence[str]] = {
    "black": ("000000", "141414", "242428", "2a2522", "323234"),
    "grey": ("505050", "707070", "909090", "b0b0b0", "d2d4d2", "7c868c", "5a6268"),
    "white": ("ffffff", "ececec", "e4e6ea", "f4efe6"),
    "red": ("e01020", "b01018", "800c14", "e84a40", "ff0000", "a83030", "600810"),
    "orange": ("f58214", "ffa500", "e06414", "f0a050", "ff7030", "c86a1a"),
    "yellow": ("fadc1e", "f0e678", "c8b41e", "ffff00", "e0c83c", "fff0a0"),
    "green": ("28963c", "145a28", "78c85a", "5a7828", "96dc96", "00ff00", "3c5028", "a0c828", "2e6e50", "c0e8b0"),
    "cyan": ("1ec8cd", "78e1e1", "00969b", "00ffff", "40d0c0", "b4f0f0"),
    "blue": (
        "1e3cbe",
        "14205e",
        "4682d2",
        "8cb9eb",
        "0000ff",
        "3c5a8c",
        "1478dc",
        "b4d2f0",
        "6a8cb4",
        "283c5a",
        "02066f",
        "c8e4fa",
    ),
    "purple": (
        "7828a0",
        "501464",
        "a05ac8",
        "be96dc",
        "a000a0",
        "821e6e",
        "6040b0",
        "3c1e50",
        "82648c",
        "b400ff",
        "c8aaf0",
    ),
    "pink": ("f596b9", "fac3d2", "e65096", "ff69b4", "dc8296", "ff00a0", "f0a0a0", "ff78dc"),
    "brown": ("6e411e", "462814", "966446", "a0703c", "5a3c2d", "b48c64", "7d5535", "32190c"),
}
"""Chosen by hand so that each name's range is covered; sRGB."""

_BASIC = tuple(colour for colour in COLOURS if colour != "cyan")


def to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Returns ``(…, 3)`` sRGB bytes as CIELAB under D65 (CIE 15; IEC 61966-2-1)."""
    share = rgb.astype(np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    relative = linear @ to_xyz.T / to_xyz.sum(1)  # White is (1, 1, 1).
    root = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def name_colours(rgb: NDArray[np.uint8], terms: Sequence[Colour] = _BASIC) -> list[Colour]:
    """Returns the name, of these terms, for each of ``(N, 3)`` sRGB colours. Cyan is blue or green unless it is among them."""
    labs, names = _typical(tuple(terms))
    distance = ((to_lab(rgb)[:, None] - labs[None]) ** 2).sum(-1)
    return [names[nearest] for nearest in distance.argmin(1)]


def colour_of_box(
    image: NDArray[np.uint8], box: tuple[float, float, float, float], terms: Sequence[Colour] = _BASIC
) -> Mapping[Colour, float]:
    """Returns what share of a thing has which colour, largest first, for its box ``left, top, right, bottom`` in pixels.

    Of an ``(H, W, 3) uint8`` image. The thing is taken to be what lies in the box's ellipse, without colours that are
    more common in the band around the box; where that leaves less than a tenth, all of the ellipse.
    """
    height, width = image.shape[:2]
    left, top = max(0, min(width - 1, int(box[0]))), max(0, min(height - 1, int(box[1])))
    right, bottom = max(left + 1, min(width, round(box[2]))), max(top + 1, min(height, round(box[3])))
    step = max(1, int(((right - left) * (bottom - top) / 40_000) ** 0.5))  # Some ten thousand pixels say enough.
    y, x = np.arange(top, bottom, step), np.arange(left, right, step)
    across, down = (x + 0.5 - left) / (right - left) * 2 - 1, (y + 0.5 - top) / (bottom - top) * 2 - 1
    inside = image[np.ix_(y, x)][across[None, :] ** 2 + down[:, None] ** 2 <= 1]
    around = _around(image, (left, top, right, bottom), step)
    thing = inside[~_is_ground(inside, around)] if len(around) else inside
    if len(thing) < 0.1 * len(inside):
        thing = inside
    names = np.array(name_colours(thing, terms))
    shares: dict[Colour, float] = {term: float((names == term).mean()) for term in terms}
    return {term: shares[term] for term in sorted(terms, key=lambda term: -shares[term]) if shares[term]}


def _around(image: NDArray[np.uint8], box: tuple[int, int, int, int], step: int) -> NDArray[np.uint8]:
    """Returns ``(N, 3)`` pixels of a band around a box, a tenth of its size wide, as far as it lies in the image."""
    left, top, right, bottom = box
    band = max(2, round(0.1 * max(right - left, bottom - top)))
    far = image[max(0, top - band) : bottom + band, max(0, left - band) : right + band]
    is_band = np.ones(far.shape[:2], np.bool_)
    is_band[top - max(0, top - band) :, left - max(0, left - band) :][: bottom - top, : right - left] = False
    pixels: NDArray[np.uint8] = far[is_band][::step]
    return pixels


def _is_ground(pixels: NDArray[np.uint8], around: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Says which pixels have a colour that is common around, and no less so than here, in cells of 10 CIELAB units.

    That it is common around is not enough: a black car has its colour, though a twentieth of the street is black as well.
    """
    inside, outside = _cell(pixels), _cell(around)
    cells, which, counts = np.unique(np.concatenate([inside, outside]), return_inverse=True, return_counts=True)
    there = np.bincount(which[len(inside) :], minlength=len(cells))
    here = counts - there
    is_ground = (there >= 0.05 * len(outside)) & (here * len(outside) <= there * len(inside))
    found: NDArray[np.bool_] = is_ground[which[: len(inside)]]
    return found


def _cell(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Returns one number for all colours of a cell."""
    at = np.floor(to_lab(pixels) / 10 + 0.5).astype(np.int64)
    numbers: NDArray[np.int64] = at @ np.array([1, 1000, 1_000_000])
    return numbers


@cache
def _typical(terms: tuple[Colour, ...]) -> tuple[NDArray[np.float64], list[Colour]]:
    rows = [(code, term) for term in terms for code in TYPICAL[term]]
    rgb = np.array([[int(code[at : at + 2], 16) for at in (0, 2, 4)] for code, _ in rows], np.uint8)
    return to_lab(rgb), [term for _, term in rows]
