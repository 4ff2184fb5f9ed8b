"""The resizes before an Inception: they are part of FID, and move it by more than systems differ (Parmar et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Crop = Literal["center_crop", "squeeze", "none"]
Filter = Literal["bicubic", "lanczos", "bilinear", "box"]

_T = TypeVar("_T")

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}


def reduced(images: Tensor, size: int, crop: Crop = "center_crop", filter: Filter = "bicubic") -> Tensor:  # noqa: A002
    """Returns ``(N, 3, H, W) uint8`` images with a side of ``size``, uint8, as if they had been prepared so and saved as PNG.

    ``center_crop``: the square in the middle. ``squeeze``: the whole image as a square, whatever its shape was. ``none``:
    the whole image with its shape, the shorter side ``size``, the longer one cut down to whole pixels; the network's own
    resize then makes a square of it. Pillow's filters, which widen with the reduction, in 8 bits.
    """
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    if crop == "center_crop":
        images = images[:, :, top : top + side, left : left + side]
    to = (size * width // side, size * height // side) if crop == "none" else (size, size)

    def one(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(image).resize(to, _FILTERS[filter]))

    parts = _in_threads(one, images.permute(0, 2, 3, 1).contiguous().numpy())
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2)


def clean(images: Tensor, size: int) -> Tensor:
    """Returns ``(N, 3, H, W) uint8`` images as ``(N, 3, size, size) float32`` in [0, 255], as clean-fid resizes them.

    Pillow's bicubic filter, which widens with the reduction and so leaves no aliases, on each channel in float32: nothing is
    rounded to whole values in between, and what the filter overshoots is clipped. An image that has this size stays as it is.
    """

    def one(channel: NDArray[np.uint8]) -> NDArray[np.float32]:
        wide = Image.fromarray(channel.astype(np.float32))
        return np.asarray(wide.resize((size, size), Image.Resampling.BICUBIC)).clip(0, 255)

    count, channels = images.shape[:2]
    parts = _in_threads(one, images.flatten(0, 1).numpy())
    return torch.from_numpy(np.stack(parts)).reshape(count, channels, size, size)


def legacy_pytorch(images: Tensor, size: int) -> Tensor:
    """Returns what `clean` does as pytorch-fid resizes: bilinear between pixel centres, without antialiasing, in float32."""
    return F.interpolate(images.float(), size=(size, size), mode="bilinear", align_corners=False)


def legacy_tensorflow(images: Tensor, size: int) -> Tensor:
    """Returns what `clean` does as TensorFlow 1 resizes in Inception's graph: bilinear between corners, without antialiasing.

    Pixel i of the result lies at i · H / size of the image, whose corner and not its middle is the origin; beyond the last
    pixel it repeats. So the result is shifted up and to the left.
    """
    return _like_tensorflow(_like_tensorflow(images.float(), size, 3), size, 2)


def _like_tensorflow(images: Tensor, size: int, dim: int) -> Tensor:
    last = images.shape[dim] - 1
    # The places are float32, as they are there: it moves FID by a millionth.
    at = torch.arange(size, dtype=torch.float32) * torch.tensor(images.shape[dim] / size, dtype=torch.float32)
    low = at.floor()
    shape = [-1 if d == dim else 1 for d in range(4)]
    part = (at - low).reshape(shape)
    below = images.index_select(dim, low.long().clamp(max=last))
    above = images.index_select(dim, (low.long() + 1).clamp(max=last))
    return below + (above - below) * part


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="resize")


def _in_threads(one: Callable[[Any], _T], parts: Iterable[Any]) -> list[_T]:
    """Calls a function of Pillow, which lets go of the interpreter while it works, on each part."""
    return list(_threads().map(one, parts))
