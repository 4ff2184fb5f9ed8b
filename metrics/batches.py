"""Images in batches of one size, read ahead in threads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drawbench.images import decode_rgb
from drawbench.journal import Record
from drawbench.store import Run

if TYPE_CHECKING:
    from torch import Tensor

Size = tuple[int, int]
"""Width and height."""


def by_size(sizes: Sequence[Size], batch_size: int, chosen: Collection[int] | None = None) -> list[list[int]]:
    """Returns positions in batches of one size, of fewer than asked for where three batches would fill the memory.

    Where some are ``chosen``, a batch of all positions that is chosen whole stays as it is, for the last digits of a network's
    features hang on the batch: so what a killed command left is done as it would have done it. Small remains are joined.
    """
    order = sorted(range(len(sizes)), key=lambda index: (*sizes[index], index))
    left = set(range(len(sizes)) if chosen is None else chosen)
    parts = []
    for (width, height), same in groupby(order, key=lambda index: sizes[index]):
        group, most = list(same), max(1, min(batch_size, 2**26 // max(1, width * height)))
        remains: list[int] = []
        for first in range(0, len(group), most):
            batch = group[first : first + most]
            part = [index for index in batch if index in left]
            if len(part) == len(batch):
                parts.append(part)
                continue
            remains += part
            if len(remains) >= most:
                parts.append(remains[:most])
                remains = remains[most:]
        if remains:
            parts.append(remains)
    return parts


def read_ahead(
    parts: Sequence[Sequence[int]], read: Callable[[int], NDArray[np.uint8]]
) -> Iterator[tuple[Sequence[int], Tensor]]:
    """Gives each batch of positions with its images ``(N, 3, H, W) uint8``; two batches are read ahead."""
    import torch

    with ThreadPoolExecutor() as pool:
        ahead = [[pool.submit(read, index) for index in part] for part in parts[:2]]
        for number, part in enumerate(parts):
            if number + 2 < len(parts):
                ahead.append([pool.submit(read, index) for index in parts[number + 2]])
            yield part, torch.from_numpy(np.stack([job.result() for job in ahead.pop(0)]))


def sizes_of(records: Sequence[Record]) -> list[Size]:
    """Returns the sizes of drawn images."""
    return [(record.width or 0, record.height or 0) for record in records]


def read_drawn(run: Run, record: Record) -> NDArray[np.uint8]:
    """Returns the pixels ``(3, H, W)`` of an image of a run, or says that it is not the file that was drawn."""
    return decode_rgb(run.read(record))
