"""What a CLIP sees of an image: resized and cropped by Pillow in threads, scaled and normalised as one batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor


class Input(NamedTuple):
    """A CLIP's preprocessing."""

    geometry: Callable[[Image.Image], Image.Image]
    """Resize and crop, on 8 bits."""
    mean: Sequence[float]
    """Of values in [0, 1], by channel."""
    std: Sequence[float]


def prepare(images: Tensor, how: Input, device: str) -> Tensor:
    """Returns ``(N, 3, H, W) uint8`` images as a CLIP's input ``(N, 3, h, w) float32`` on a device.

    The values are those of torchvision's ToTensor and Normalize image by image, to the last bit: the same operations, on
    the batch. Pillow lets other threads run while it resizes; bytes go to the device, a quarter of what floats would.

    Raises:
        UserError: floats, which would be divided by 255 a second time.
    """
    import torch

    from drawbench.metrics.guard import check_images

    check_images("CLIP", images)

    def one(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(how.geometry(Image.fromarray(image)))

    pictures = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    with ThreadPoolExecutor(max_workers=min(len(pictures) or 1, os.cpu_count() or 1)) as pool:
        parts = list(pool.map(one, pictures))
    batch = torch.from_numpy(np.stack(parts)).to(device).permute(0, 3, 1, 2).contiguous().float().div_(255)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (how.mean, how.std))
    return batch.sub_(mean).div_(std)
