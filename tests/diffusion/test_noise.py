"""An image's noise is its own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minisd.diffusion import ImageNoise


@given(seeds=st.lists(st.integers(0, 2**40), min_size=1, max_size=5), data=st.data())
def test_noise_is_the_same_in_any_batch(seeds: list[int], data: st.DataObject) -> None:
    i = data.draw(st.integers(0, len(seeds) - 1))
    together, alone = ImageNoise(seeds), ImageNoise([seeds[i]])
    for _ in range(3):
        assert torch.equal(together.draw((3, 5))[i : i + 1], alone.draw((3, 5)))


def test_noise_is_the_same_in_any_dtype_up_to_its_rounding() -> None:
    single = ImageNoise([4]).draw((8, 8))
    assert torch.equal(ImageNoise([4]).draw((8, 8), dtype=torch.float64), single.double())
    assert torch.equal(ImageNoise([4])(torch.zeros(1, 8, 8).half()), single.half())


def test_each_draw_is_new_and_standard_normal() -> None:
    noise = ImageNoise(range(200))
    first, second = noise.draw((50,)), noise.draw((50,))
    assert not torch.equal(first, second)
    both = torch.stack([first, second])
    assert abs(float(both.mean())) < 4 / both.numel() ** 0.5
    assert float(both.var()) == pytest.approx(1, abs=4 * (2 / both.numel()) ** 0.5)
    assert abs(float((first * second).mean())) < 4 / first.numel() ** 0.5


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="seeds is empty"):
        ImageNoise([])
    with pytest.raises(ValueError, match=r"x has shape \(3, 2\).*number of seeds, 2"):
        ImageNoise([1, 2])(torch.zeros(3, 2))


def test_uniform_numbers_belong_to_their_image_too() -> None:
    together, alone = ImageNoise([3, 8, 5]), ImageNoise([8])
    assert together.uniform().shape == (3,)
    alone.uniform()
    assert torch.equal(together.uniform((2,))[1:2], alone.uniform((2,)))
    many = ImageNoise(range(500)).uniform((20,))
    assert 0 <= float(many.min()) < 0.01
    assert 0.99 < float(many.max()) < 1
    assert abs(float(many.mean()) - 0.5) < 4 * (1 / 12 / many.numel()) ** 0.5
