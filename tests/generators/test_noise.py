import numpy as np
import pytest

from drawbench.errors import UserError
from drawbench.generators.noise import noise
from drawbench.interfaces import Item, Prompt


def draw(seed, **options):
    (drawn,) = noise(**options).generate([Item(Prompt("a", "A"), 0, seed)])
    return np.asarray(drawn.image)


def test_the_seed_is_the_image():
    assert np.array_equal(draw(0), draw(0))
    assert not np.array_equal(draw(0), draw(1))


def test_seed_0_is_a_seed_with_these_values():
    assert draw(0, size=2, resolution=2).tolist() == [
        [[95, 130, 194], [217, 207, 235]],
        [[15, 163, 33], [215, 217, 130]],
    ]


def test_it_is_enlarged_to_squares_and_uses_all_values():
    image = draw(3, size=256, resolution=64)
    assert image.shape == (256, 256, 3)
    assert np.array_equal(image, image[::4, ::4].repeat(4, 0).repeat(4, 1))
    assert (image.min(), image.max()) == (0, 255)


@pytest.mark.parametrize(("size", "resolution"), [(10, 3), (8, 16), (0, 0)])
def test_sizes_that_do_not_divide_are_refused(size, resolution):
    with pytest.raises(UserError, match="must be a multiple"):
        noise(size=size, resolution=resolution)
