"""The autoencoder tile by tile, for small memory.

Tiles overlap, and the results are blended linearly where they do. The result is **not** that of the whole: each group
norm takes mean and variance over its tile alone, the attention sees no further, and convolutions meet padding at the
tile's edges. Smaller tiles take less memory and differ more.
B batch, H W height and width of the picture, h w of the latent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from minisd.models.vae import AutoencoderKL, Gaussian


def tiled_encode(vae: AutoencoderKL, x: Tensor, tile: int = 36, overlap: int = 8) -> Gaussian:
    """Encode pictures tile by tile.

    Parameters
    ----------
    vae : AutoencoderKL
    x : Tensor, shape [B, 3, H, W]
        As for `AutoencoderKL.encode`.
    tile, overlap : int
        In latent pixels: the largest height and width of a tile, and how much neighbours share at least. The defaults
        cut the latents of a picture of 512x512 into four.

    Returns
    -------
    Gaussian
        Mean and standard deviation, both blended.

    Raises
    ------
    ValueError
        If ``tile`` is not positive, or ``overlap`` is not within [0, tile - 1]; or as `AutoencoderKL.encode`.
    """
    factor = vae.config.factor
    vae.check_picture(x)
    _check(tile, overlap)
    h, w = (n // factor for n in x.shape[2:])
    moments = x.new_zeros(2, len(x), vae.config.latent_channels, h, w)
    for top, bottom, rows in _spans(h, tile, overlap, 1):
        for left, right, columns in _spans(w, tile, overlap, 1):
            weights = (rows[:, None] * columns).to(x)
            piece = x[:, :, top * factor : bottom * factor, left * factor : right * factor]
            latent = vae.encode(piece)
            moments[..., top:bottom, left:right] += weights * torch.stack([latent.mean, latent.std])
    return Gaussian(*moments)


def tiled_decode(vae: AutoencoderKL, z: Tensor, tile: int = 36, overlap: int = 8) -> Tensor:
    """Decode latents tile by tile.

    Parameters
    ----------
    vae : AutoencoderKL
    z : Tensor, shape [B, 4, h, w]
        As for `AutoencoderKL.decode`.
    tile, overlap : int
        As for `tiled_encode`.

    Returns
    -------
    Tensor, shape [B, 3, H, W]

    Raises
    ------
    ValueError
        If ``tile`` is not positive, or ``overlap`` is not within [0, tile - 1]; or as `AutoencoderKL.decode`.
    """
    factor = vae.config.factor
    vae.check_latent(z)
    _check(tile, overlap)
    h, w = z.shape[2:]
    x = z.new_zeros(len(z), vae.config.out_channels, h * factor, w * factor)
    for top, bottom, rows in _spans(h, tile, overlap, factor):
        for left, right, columns in _spans(w, tile, overlap, factor):
            weights = (rows[:, None] * columns).to(z)
            place = x[:, :, top * factor : bottom * factor, left * factor : right * factor]
            place += weights * vae.decode(z[:, :, top:bottom, left:right])
    return x


def _check(tile: int, overlap: int) -> None:
    if tile < 1:
        raise ValueError(f"tile is {tile}; it must be at least 1")
    if not 0 <= overlap < tile:
        raise ValueError(f"overlap is {overlap}; it must be from 0 to {tile - 1}, less than a tile")


def _spans(size: int, tile: int, overlap: int, factor: int) -> Iterator[tuple[int, int, Tensor]]:
    """Cut an axis into spread-out tiles: start, end, and a weight for each of its pixels after scaling by ``factor``.

    A weight is the distance to the tile's nearer edge, over the sum of those of all tiles. So it falls linearly to 0
    where one neighbour takes over, and edges of the picture itself do not count.
    """
    count = max(1, math.ceil((size - overlap) / (tile - overlap)))
    starts = [i * (size - tile) // max(1, count - 1) for i in range(count)]
    pixels = torch.arange(size * factor) + 0.5
    distances = []
    for start in starts:
        before = pixels - start * factor if start > 0 else pixels + size * factor
        after = (start + tile) * factor - pixels
        after = after if start + tile < size else after + size * factor
        distances.append(torch.minimum(before, after).clamp(min=0))
    total = torch.stack(distances).sum(dim=0)
    for start, distance in zip(starts, distances, strict=True):
        inside = slice(start * factor, (start + tile) * factor)
        yield start, start + tile, (distance / total)[inside]
