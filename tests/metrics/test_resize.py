"""The resizes of the FID protocols against those of the packages that they are named after."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from drawbench.metrics.resize import legacy_pytorch, legacy_tensorflow, reduced
from drawbench.torchvision_ops import declare_missing_ops

SIZES = [(512, 512), (333, 500), (64, 40), (299, 299)]


def images(size, count=2):
    """(N, 3, H, W) uint8: noise with an edge."""
    made = np.random.default_rng(0).integers(0, 256, (count, 3, *size), dtype=np.uint8)
    made[:, :, :20] = 255
    return torch.from_numpy(made)


@pytest.mark.parametrize("size", SIZES)
def test_legacy_pytorch_is_clean_fids(size):
    build_resizer = pytest.importorskip("cleanfid.resize").build_resizer
    given = images(size)
    expected = np.stack([build_resizer("legacy_pytorch")(one.permute(1, 2, 0).numpy()) for one in given])
    np.testing.assert_allclose(legacy_pytorch(given, 299), expected.transpose(0, 3, 1, 2), atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_legacy_tensorflow_is_torch_fidelitys(size):
    declare_missing_ops()
    pytest.importorskip("torch_fidelity")
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    given = images(size)
    expected = interpolate_bilinear_2d_like_tensorflow1x(given.float(), size=(299, 299), align_corners=False)
    np.testing.assert_allclose(legacy_tensorflow(given, 299), expected, atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_legacy_tensorflow_samples_from_the_corners(size):
    """As a grid of places: pixel i at i · H / 299, between its neighbours, the border repeated."""
    height, width = size
    rows, columns = (torch.arange(299, dtype=torch.float64) * (n / 299) for n in size)
    grid = torch.stack(
        [
            ((2 * columns + 1) / width - 1).expand(299, 299),
            ((2 * rows + 1) / height - 1)[:, None].expand(299, 299),
        ],
        -1,
    )
    given = images(size)
    expected = functional.grid_sample(
        given.double(), grid.expand(2, -1, -1, -1), mode="bilinear", padding_mode="border", align_corners=False
    )
    np.testing.assert_allclose(legacy_tensorflow(given, 299), expected, atol=0.02)  # Ours are float32.


def test_squeeze_and_keep_are_pillows():
    given = images((60, 91), count=1)
    picture = Image.fromarray(given[0].permute(1, 2, 0).numpy())
    squeezed = picture.resize((32, 32), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(reduced(given, 32, "squeeze", "lanczos")[0], np.asarray(squeezed).transpose(2, 0, 1))
    kept = picture.resize((48, 32), Image.Resampling.BOX)  # 91 · 32 / 60 = 48.5
    np.testing.assert_array_equal(reduced(given, 32, "none", "box")[0], np.asarray(kept).transpose(2, 0, 1))
    middle = picture.crop((15, 0, 75, 60)).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(
        reduced(given, 32, "center_crop", "bilinear")[0], np.asarray(middle).transpose(2, 0, 1)
    )


@pytest.mark.parametrize("crop", ["center_crop", "squeeze", "none"])
def test_a_square_that_has_the_size_stays_as_it_is(crop):
    given = images((64, 64))
    assert torch.equal(reduced(given, 64, crop, "lanczos"), given)
