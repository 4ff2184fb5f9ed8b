"""The resize of an Inception's input: it is part of FID, and moves it by more than systems differ (Parmar et al. 2022)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def centred(images: Tensor, size: int) -> Tensor:
    """Returns ``(N, 3, H, W) uint8`` images as ``(N, 3, size, size) uint8``: the square in the middle, resized.

    Pillow's bicubic filter with antialiasing, in 8 bits: as if the images had been prepared and saved as PNG.
    """

    def one(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))

    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[:, :, top : top + side, left : left + side].permute(0, 2, 3, 1).contiguous().numpy()
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(one, square))
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
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(one, images.flatten(0, 1).numpy()))
    return torch.from_numpy(np.stack(parts)).reshape(count, channels, size, size)
