"""Noise that belongs to an image: the same for a seed, in any batch and on any device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

Noise = Callable[[Tensor], Tensor]


class ImageNoise:
    """A stream of standard normal noise for each image, one seed and one generator an image.

    The noise is drawn on the CPU in float32 and then moved, so it is bit for bit the same whatever
    batch the image is in, and whatever device and dtype it is wanted on. Each call draws on: the first
    is commonly x_T, the next ones the noise of the sampler's steps.

    Parameters
    ----------
    seeds : iterable of int
        One seed an image.

    Raises
    ------
    ValueError
        If there is no seed.

    Examples
    --------
    >>> noise = ImageNoise([7, 8])
    >>> x_T = noise.draw((3, 64, 64))
    >>> x_T.shape
    torch.Size([2, 3, 64, 64])
    """

    def __init__(self, seeds: Iterable[int]) -> None:
        self.seeds = tuple(int(seed) for seed in seeds)
        if not self.seeds:
            raise ValueError("seeds is empty; give one seed for each image")
        self._generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]

    def draw(
        self,
        shape: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Draw the next noise: ``shape`` is that of one image; the result is [B, ...]."""
        noise = torch.stack([torch.randn(*shape, generator=g) for g in self._generators])
        return noise.to(device=device, dtype=dtype)

    def uniform(self, shape: Sequence[int] = ()) -> Tensor:
        """Draw the next numbers in [0, 1), on the CPU: ``shape`` is that of one image; the result is [B, ...]."""
        return torch.stack([torch.rand(tuple(shape), generator=g) for g in self._generators])

    def __call__(self, x: Tensor) -> Tensor:
        """Draw the next noise with the shape, dtype and device of ``x``, shape [B, ...]."""
        if x.shape[:1] != (len(self.seeds),):
            raise ValueError(
                f"x has shape {tuple(x.shape)}; its first dimension must be the number of seeds, "
                f"{len(self.seeds)}"
            )
        return self.draw(x.shape[1:], device=x.device, dtype=x.dtype)
