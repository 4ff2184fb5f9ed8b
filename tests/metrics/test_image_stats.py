import numpy as np
import pytest
import torch

from drawbench.errors import UserError
from drawbench.interfaces import Prompt
from drawbench.metrics.image_stats import image_stats


def flat(*channels, size=(6, 4)):
    return torch.tensor(channels, dtype=torch.uint8).reshape(3, 1, 1).expand(3, *size)


def score(*images, **options):
    return image_stats(**options).score(torch.stack(images), None, [Prompt("a", "A")] * len(images))


def test_black_constant_grey_and_real_images_are_told_apart():
    noise = torch.randint(0, 256, (3, 6, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ramp = torch.arange(24, dtype=torch.uint8).reshape(1, 6, 4).expand(3, 6, 4)
    scored = score(flat(0, 0, 0), flat(200, 10, 10), ramp, noise)
    assert scored.values["black"].tolist() == [1, 0, 0, 0]
    assert scored.values["constant"].tolist() == [1, 1, 0, 0]
    assert scored.values["greyscale"].tolist() == [1, 0, 1, 0]
    assert scored.notes["problem"] == ["black image", "constant image", "", ""]


def test_width_and_height_are_not_swapped():
    scored = score(flat(1, 2, 3, size=(6, 4)))
    assert (scored.values["width"].tolist(), scored.values["height"].tolist()) == ([4.0], [6.0])


def test_what_jpeg_does_to_black_is_within_the_tolerance_and_one_step_more_is_not():
    nearly = flat(0, 0, 0).clone()
    nearly[:, 0, 0] = torch.tensor([2, 1, 0])
    assert score(nearly).values["black"].tolist() == [1]
    nearly[0, 0, 0] = 3
    assert score(nearly).values["black"].tolist() == [0]
    assert score(nearly).values["constant"].tolist() == [0]
    assert score(nearly, tolerance=3).values["constant"].tolist() == [1]


def test_one_bright_pixel_at_the_end_of_the_range_does_not_wrap_around():
    image = flat(255, 255, 255).clone()
    image[:, 2, 2] = 0
    assert score(image).values["constant"].tolist() == [0]
    assert score(image).values["greyscale"].tolist() == [1]


def test_the_tolerance_is_part_of_the_protocol_and_has_bounds():
    assert image_stats(tolerance=1).protocol() != image_stats().protocol()
    with pytest.raises(UserError, match="from 0 to 255"):
        image_stats(tolerance=-1)
    assert all(np.isfinite(values).all() for values in score(flat(1, 1, 1)).values.values())
