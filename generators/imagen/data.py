"""Training data: captioned images from a folder or a Python function, and what is drawn at random for each of them.

A sample has a position in an endless stream and a random generator of its own, seeded by it: neither the batch nor the
number of processes changes what is drawn for it, and a position is all that a restart needs. Data that cannot be used is
passed on as `Bad`, never trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from drawbench.errors import UserError
from drawbench.generators.imagen.captions import Row
from drawbench.images import read_foreign
from drawbench.plugins import Plugin, source
from drawbench.protocol import digest


class Bad(NamedTuple):
    """What was not trained on."""

    what: str
    """A file, or a number in the stream."""
    reason: str
    fatal: bool = False
    """A function that fails would fail again: training ends."""


class Found(NamedTuple):
    """A captioned image as its source has it."""

    name: str
    image: Image.Image
    caption: str


class Source(Protocol):
    """Where captioned images come from."""

    @property
    def size(self) -> int | None: ...  # None: endless.
    def digest(self) -> str: ...
    def read(self, position: int) -> Found | Bad: ...


class Folder:
    """Images beside a file of captions, in another order each epoch."""

    def __init__(self, rows: Sequence[Row], seed: int) -> None:
        self.rows, self.seed, self.size = rows, seed, len(rows)

    def digest(self) -> str:
        return digest([[row.name, row.caption] for row in self.rows])

    def read(self, position: int) -> Found | Bad:
        epoch, place = divmod(position, self.size)
        row = self.rows[int(_order(self.size, self.seed, epoch)[place])]
        try:
            return Found(row.name, read_foreign(row.path).image, row.caption)
        except UserError as error:
            return Bad(row.name, str(error))
        except OSError as error:
            return Bad(row.name, error.strerror or str(error))


class Function:
    """``function(position, size) -> (image, caption)``: the same position must always give the same."""

    size = None

    def __init__(self, plugin: Plugin, image_size: int) -> None:
        self.plugin, self.image_size = plugin, image_size
        self._loaded: Callable[[int, int], object] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_loaded": None}  # Worker processes load it themselves.

    def digest(self) -> str:
        file = source(self.plugin)
        return digest([self.plugin.target, file])

    def read(self, position: int) -> Found | Bad:
        if self._loaded is None:
            self._loaded = self.plugin.load()
        try:
            made = self._loaded(position, self.image_size)
        except Exception as error:  # noqa: BLE001 (said, and it ends the training)
            return Bad(str(position), f"{type(error).__name__}: {error}", fatal=True)
        match made:
            case (Image.Image() as image, str(caption)):
                return Found(str(position), image.convert("RGB"), caption)
        return Bad(str(position), f"it gave {type(made).__name__}, not (PIL image, caption)", fatal=True)


class Batch(NamedTuple):
    """Samples and all that is random about them; tensors are on the CPU, their first axis the sample."""

    positions: Tensor
    images: Tensor
    """``(B, 3, S, S)`` in [-1, 1]."""
    low_res: Tensor | None
    """``(B, 3, s, s)`` in [-1, 1], not yet noised."""
    captions: tuple[str, ...]
    t: Tensor
    """``(B,)`` in [0, 1)."""
    eps: Tensor
    aug_level: Tensor
    """``(B,)`` in [0, 1); as many for the base, which does not use them."""
    aug_noise: Tensor | None
    drop: Tensor
    """``(B,)`` in [0, 1): the text is dropped where it is under the recipe's rate."""
    bad: tuple[Bad, ...] = ()


class Samples(Dataset[Batch | Bad]):
    """Maps a position to a batch of one, or to what is bad about it."""

    def __init__(
        self, data: Source, size: int, low_res_size: int | None, crop: int | None, seed: int, captioned: bool
    ) -> None:
        self.data, self.size, self.low_res_size = data, size, low_res_size
        self.crop, self.seed, self.captioned = crop, seed, captioned

    def __getitem__(self, position: int) -> Batch | Bad:
        found = self.data.read(position)
        if isinstance(found, Bad):
            return found
        name, image, caption = found
        if self.captioned and not caption.strip():
            return Bad(name, "its caption is empty")
        if min(image.size) < self.size:
            return Bad(name, f"{image.width}x{image.height} is smaller than the stage's {self.size}x{self.size}")
        high = to_tensor(square(image, self.size))
        low = None if self.low_res_size is None else to_tensor(square(image, self.low_res_size))
        generator = torch.Generator().manual_seed(_seed(self.seed, position))
        t, level, drop, x, y = torch.rand(5, generator=generator).tolist()
        if self.crop is not None:
            high, low = crop_together(high, low, self.crop, x, y)
        eps = torch.randn(high.shape, generator=generator)
        noise = None if low is None else torch.randn(low.shape, generator=generator)
        return Batch(
            torch.tensor([position]),
            high[None],
            None if low is None else low[None],
            (caption,),
            torch.tensor([t]),
            eps[None],
            torch.tensor([level]),
            None if noise is None else noise[None],
            torch.tensor([drop]),
        )


def batches(samples: Samples, start: int, step: int, size: int, workers: int) -> Iterator[Batch]:
    """Yields batches of ``size`` good samples from the positions start, start + step, …, with the bad ones between them.

    Raises:
        UserError: a function failed, or nothing that can be used was found.
    """
    portion = min(size, 32)
    loader = DataLoader(
        samples,
        batch_sampler=_Positions(start, step, portion),
        num_workers=workers,
        collate_fn=_join_portion,
        persistent_workers=workers > 0,
        prefetch_factor=max(2, 2 * size // (portion * max(workers, 1))) if workers else None,
    )
    enough = max(samples.data.size or 0, 64)
    waiting: list[Batch] = []
    bad: list[Bad] = []
    useless = count = 0
    for good, found in loader:
        for one in found:
            if one.fatal:
                raise UserError(f"the data function failed at {one.what}: {one.reason}")
        bad += found
        useless = useless + len(found) if good is None else 0
        if useless >= enough:
            raise UserError(
                f"no usable data: the last {useless} samples were bad, such as {found[-1].what}: {found[-1].reason}"
            )
        if good is None:
            continue
        waiting.append(good)
        count += len(good.positions)
        while count >= size:
            whole = join(waiting)
            yield take(whole, 0, size)._replace(bad=tuple(bad))
            waiting, bad, count = [take(whole, size, count)], [], count - size


def join(parts: Sequence[Batch]) -> Batch:
    """Returns batches as one."""

    def tensors(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    upscales = parts[0].low_res is not None
    return Batch(
        tensors("positions"),
        tensors("images"),
        tensors("low_res") if upscales else None,
        tuple(caption for part in parts for caption in part.captions),
        tensors("t"),
        tensors("eps"),
        tensors("aug_level"),
        tensors("aug_noise") if upscales else None,
        tensors("drop"),
    )


def take(batch: Batch, first: int, last: int) -> Batch:
    """Returns the samples from ``first`` up to ``last``."""
    of = slice(first, last)
    return Batch(
        batch.positions[of],
        batch.images[of],
        None if batch.low_res is None else batch.low_res[of],
        batch.captions[of],
        batch.t[of],
        batch.eps[of],
        batch.aug_level[of],
        None if batch.aug_noise is None else batch.aug_noise[of],
        batch.drop[of],
    )


def square(image: Image.Image, size: int) -> Image.Image:
    """Returns the middle square of an image at a size (bicubic, antialiased).

    Cropping as GLIDE does for evaluation; what the paper's training data went through is not in it.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    if side == size:
        return image.crop(box)
    return image.resize((size, size), Image.Resampling.BICUBIC, box)


def to_tensor(image: Image.Image) -> Tensor:
    """Returns an RGB image as ``(3, H, W)`` in [-1, 1]."""
    pixels = torch.from_numpy(np.array(image))
    return pixels.permute(2, 0, 1).float().div(127.5).sub(1)


def crop_together(high: Tensor, low: Tensor | None, side: int, x: float, y: float) -> tuple[Tensor, Tensor | None]:
    """Crops an image to ``side`` and its low-resolution image to the same place; x and y in [0, 1) say which.

    The place is a whole number of low-resolution pixels, so that the two show the same.
    """
    times = 1 if low is None else high.shape[-1] // low.shape[-1]
    places = (high.shape[-1] - side) // times + 1
    left, top, small = int(x * places), int(y * places), side // times
    if low is not None:
        low = low[:, top : top + small, left : left + small]
    return high[:, top * times : top * times + side, left * times : left * times + side], low


class _Positions:
    """Endless lists of positions."""

    def __init__(self, start: int, step: int, portion: int) -> None:
        self.start, self.step, self.portion = start, step, portion

    def __iter__(self) -> Iterator[list[int]]:
        position = self.start
        while True:
            yield [position + n * self.step for n in range(self.portion)]
            position += self.portion * self.step


def _join_portion(found: Sequence[Batch | Bad]) -> tuple[Batch | None, list[Bad]]:
    good = [one for one in found if isinstance(one, Batch)]
    return join(good) if good else None, [one for one in found if isinstance(one, Bad)]


def _seed(seed: int, position: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{position}".encode()).digest()[:8], "big") >> 1


@lru_cache(2)
def _order(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(_seed(seed, -1 - epoch)))
