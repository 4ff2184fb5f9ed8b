"""The choices of an FID that papers make differently and seldom name, each as what would have to be set otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

AXES = ("protocol", "pre-step", "filter", "codec", "dtype", "n")
QUALITIES = (95, 75)
FILTERS = ("bicubic", "lanczos", "bilinear", "box")

_PROTOCOLS = {
    "clean": "clean-fid's default: Pillow's bicubic with antialiasing, in float",
    "legacy_pytorch": "pytorch-fid's: bilinear without antialiasing",
    "legacy_tensorflow": "that of the first FID, in TensorFlow's graph, and of torch-fidelity: bilinear without antialiasing",
}


class Variant(NamedTuple):
    """One choice made otherwise."""

    axis: str
    name: str
    words: str
    changes: Mapping[str, str] = {}
    dtype: str | None = None
    quality: int | None = None
    """Of JPEG, for the generated images alone."""
    images_only: bool = False
    """The reference stays as the standard has it: a mistake that is often made, and gives a number all the same."""


def variants(standard: Mapping[str, Any], dtype: str) -> list[Variant]:
    """Returns the choices other than the standard's, which is given by the metric's options and dtype; without those of n."""
    return [*_protocols(standard), *_steps(standard), *_filters(standard), *_codecs(), *_dtypes(standard, dtype)]


def _protocols(standard: Mapping[str, Any]) -> Iterator[Variant]:
    for name, words in _PROTOCOLS.items():
        if name != standard["protocol"]:
            yield Variant("protocol", name, words, {"protocol": name})
            mixed = f"{words}; the reference by the standard"
            yield Variant("protocol", f"{name}, images only", mixed, {"protocol": name}, images_only=True)


def _steps(standard: Mapping[str, Any]) -> Iterator[Variant]:
    before, crop = str(standard["resize_before"]), str(standard.get("crop", "center_crop"))
    if before != "none":  # Its own options go too: without the step they are refused.
        idle = {"crop": "center_crop", "filter": "bicubic", "reference_crop": "same", "reference_filter": "same"}
        changes = {"resize_before": "none"} | {
            key: value for key, value in idle.items() if standard.get(key, value) != value
        }
        yield Variant("pre-step", "none", "straight from the stored size to the network's", changes)
    ways = {
        "center_crop": ("256, centre crop", "the square in the middle to 256x256 first, as GLIDE did"),
        "squeeze": ("256, squeezed", "the whole to 256x256 first, sides not kept, as older work did"),
        "none": ("256, shape kept", "the shorter side to 256 first, the whole kept"),
    }
    for way, (name, words) in ways.items():
        changes = {"resize_before": "256"} | ({} if crop == way else {"crop": way})
        if (before, crop) != ("256", way):
            yield Variant("pre-step", name, words, changes)
        if before == "none" and way == "center_crop":
            mixed = "generated images to 256x256 first, the reference not"
            yield Variant("pre-step", "256, images only", mixed, changes, images_only=True)


def _filters(standard: Mapping[str, Any]) -> Iterator[Variant]:
    mine = str(standard.get("filter", "bicubic"))
    for name in FILTERS if str(standard["resize_before"]) != "none" else ():
        if name != mine:
            yield Variant("filter", name, f"to 256x256 by Pillow's {name}, not {mine}", {"filter": name})


def _codecs() -> Iterator[Variant]:
    for quality in QUALITIES:
        words = f"the generated images as JPEG of quality {quality}, 4:2:0"
        yield Variant("codec", f"JPEG {quality}", words, quality=quality)


def _dtypes(standard: Mapping[str, Any], dtype: str) -> Iterator[Variant]:
    in_bf16 = standard.get("precision") == "bf16"  # Then the network is in bf16 whatever the dtype is.
    mine = "bf16" if in_bf16 else dtype
    changes = {"precision": "exact"} if in_bf16 else {}
    for name in ("fp32", "bf16"):
        if name != mine:
            yield Variant("dtype", name, f"the network in {name}, for images and reference", changes, dtype=name)
            mixed = f"images in {name}, the reference in {mine}"
            yield Variant("dtype", f"{name}, images only", mixed, changes, dtype=name, images_only=True)
