"""Draws a scene at any size, anti-aliased: each shape's coverage of a pixel comes from its distance to the shape's edge.

A small picture is the mean of a large one (of 64 pixels or more), taken in whole numbers: what stands there at 16 x 16 is
the reduction of what stands there at 64 x 64, to the byte.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from drawbench.shapes.font import cells
from drawbench.shapes.layout import (
    SIGN_HEIGHT,
    SIGN_WIDTH,
    DrawnScene,
    DrawnSign,
    DrawnThing,
    cosine_sine,
)
from drawbench.shapes.placing import CELLS, TRIANGLE_HEIGHT
from drawbench.shapes.scene import Shape

Floats = NDArray[np.float32]

VERSION = "shapes 1"
"""Of the pixels: another one wherever a picture's bytes change."""

_FINE = 64
_LOWEST, _HIGHEST = 26, 229
_ARM = 0.36
"""Width of a cross's arms in its own."""
_STRIPES = 2.5
"""Cells from one stripe to the next."""
_DOTS = 2.5
_DOT = 0.78
"""A dot's radius in cells."""
_SHADE = 0.5
"""Of a pattern's dark part."""


def render(scene: DrawnScene, size: int) -> NDArray[np.uint8]:
    """Returns the picture as ``(size, size, 3) uint8``, every value in 26 to 229."""
    factor = -(-_FINE // size)
    fine = _render(scene, size * factor)
    if factor == 1:
        return fine
    blocks = fine.reshape(size, factor, size, factor, 3).astype(np.uint32)
    total = blocks.sum(axis=(1, 3), dtype=np.uint32)
    mean: NDArray[np.uint8] = ((2 * total + factor * factor) // (2 * factor * factor)).astype(np.uint8)
    return mean


def _render(scene: DrawnScene, size: int) -> NDArray[np.uint8]:
    picture = np.empty((size, size, 3), np.float32)
    picture[:] = scene.background
    if scene.sign is not None:
        _paint_sign(picture, scene.sign)
    for thing in sorted(scene.things, key=lambda thing: -thing.width):
        _paint(picture, thing)
    np.clip(picture, _LOWEST, _HIGHEST, out=picture)
    return (picture + np.float32(0.5)).astype(np.uint8)


def _paint(picture: Floats, thing: DrawnThing) -> None:
    size = len(picture)
    scale = size / CELLS
    reach = 0.75 * thing.width * scale + 1  # A square's corner lies 0.71 widths away.
    left, right = (_clamp(thing.x * scale + side * reach, size) for side in (-1, 1))
    top, bottom = (_clamp(thing.y * scale + side * reach, size) for side in (-1, 1))
    x = (_centres(size)[left:right] - np.float32(thing.x))[None, :]
    y = (_centres(size)[top:bottom] - np.float32(thing.y))[:, None]
    cosine, sine = (np.float32(value) for value in cosine_sine(thing.angle))
    inside = coverage(thing.thing.shape or "square", cosine * x + sine * y, cosine * y - sine * x, thing, scale)
    window = picture[top:bottom, left:right]
    colour = np.array(thing.rgb, np.float32)
    if thing.thing.texture == "striped":
        dark = np.broadcast_to(_stripes(y, thing.phase, scale), inside.shape)
    elif thing.thing.texture == "dotted":
        dark = _dots(x, y, thing.phase, scale)
    else:
        window += inside[..., None] * (colour - window)
        return
    shaded = colour * (1 - np.float32(1 - _SHADE) * dark[..., None])
    window += inside[..., None] * (shaded - window)


def coverage(shape: Shape, u: Floats, v: Floats, thing: DrawnThing, scale: float) -> Floats:
    """Returns how much of each pixel a shape covers, 0 to 1, at places ``u`` and ``v`` in cells from its middle, turned."""
    half = np.float32(thing.width / 2)
    distance: Floats
    if shape == "square":
        distance = np.maximum(np.abs(u), np.abs(v)) - half
    elif shape == "cross":
        wide, high = np.abs(u), np.abs(v)
        arm = np.float32(_ARM) * half
        distance = np.minimum(np.maximum(wide - half, high - arm), np.maximum(wide - arm, high - half))
    elif shape == "triangle":
        height = np.float32(TRIANGLE_HEIGHT) * 2 * half
        slant = np.sqrt(height * height + half * half)
        flank = (np.abs(u) * height - (v + height / 2) * half) / slant
        distance = np.maximum(v - height / 2, flank)
    else:
        radius = np.sqrt(u * u + v * v)
        distance = radius - half
        if shape == "ring":
            distance = np.maximum(distance, np.float32(thing.hole) * half - radius)
    return _filled(distance, scale)


def _filled(distance: Floats, scale: float) -> Floats:
    covered: Floats = np.clip(np.float32(0.5) - distance * np.float32(scale), 0, 1)
    return covered


def _stripes(y: Floats, phase: float, scale: float) -> Floats:
    """Returns the dark part of level stripes, 0 to 1."""
    turns = y / np.float32(_STRIPES) + np.float32(phase)
    return _filled((np.abs(turns - np.floor(turns) - np.float32(0.5)) - np.float32(0.25)) * np.float32(_STRIPES), scale)


def _dots(x: Floats, y: Floats, phase: float, scale: float) -> Floats:
    """Returns the dark part of dots on a square grid, 0 to 1."""
    u, v = _to_nearest(x, phase), _to_nearest(y, phase)
    return _filled(np.sqrt(u * u + v * v) - np.float32(_DOT), scale)


def _to_nearest(x: Floats, phase: float) -> Floats:
    turns = x / np.float32(_DOTS) + np.float32(phase)
    offset: Floats = (turns - np.floor(turns) - np.float32(0.5)) * np.float32(_DOTS)
    return offset


def _paint_sign(picture: Floats, sign: DrawnSign) -> None:
    size = len(picture)
    plate = _spans(size, sign.row, SIGN_HEIGHT, SIGN_HEIGHT) @ _spans(size, sign.column, SIGN_WIDTH, SIGN_WIDTH).T
    picture += plate[..., None] * (np.float32(sign.plate) - picture)
    word = cells(sign.word).astype(np.float32)
    rows = _spans(size, sign.row + 1, word.shape[0], 1)
    columns = _spans(size, sign.column + 1, word.shape[1], 1)
    picture += (rows @ word @ columns.T)[..., None] * (np.float32(sign.letters) - picture)


@lru_cache(maxsize=256)
def _spans(size: int, start: int, length: int, step: int) -> Floats:
    """Returns ``(size, length / step)``: how much of each pixel row lies in each span of ``step`` cells from ``start``."""
    scale = size / CELLS
    edges = (start + np.arange(0, length + 1, step)) * scale
    pixels = np.arange(size)[:, None]
    shared = np.minimum(pixels + 1, edges[None, 1:]) - np.maximum(pixels, edges[None, :-1])
    spans: Floats = np.clip(shared, 0, 1).astype(np.float32)
    return spans


@lru_cache(maxsize=16)
def _centres(size: int) -> Floats:
    centres: Floats = ((np.arange(size) + 0.5) * (CELLS / size)).astype(np.float32)
    return centres


def _clamp(value: float, size: int) -> int:
    return min(max(int(value), 0), size)
