"""The autoencoder tile by tile: placed and blended rightly, and how far it is from the whole."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minisd.models.tiling import tiled_decode, tiled_encode
from minisd.models.vae import AutoencoderKL, Gaussian, VAEConfig

SMALL = VAEConfig(block_out_channels=(16, 32, 32), norm_num_groups=8)


def network():
    torch.manual_seed(0)
    return AutoencoderKL(SMALL).eval()


class Local:
    """Stands in for an autoencoder that looks at no neighbours, so that tiles and whole must agree."""

    config = SimpleNamespace(factor=4, latent_channels=3, out_channels=3)

    def __init__(self):
        self.seen = []

    def check_picture(self, x):
        pass

    def check_latent(self, z):
        pass

    def encode(self, x):
        z = F.avg_pool2d(x, 4)
        self.seen.append(z.shape[2:])
        return Gaussian(z, z.exp())

    def decode(self, z):
        self.seen.append(z.shape[2:])
        return F.interpolate(z, scale_factor=4)


class Number(Local):
    """Paints each tile with its number, from 0, so that the blend can be seen."""

    def decode(self, z):
        self.seen.append(z.shape[2:])
        return torch.full((len(z), 3, 4 * z.shape[2], 4 * z.shape[3]), len(self.seen) - 1.0)


@settings(max_examples=60, deadline=None)
@given(h=st.integers(1, 40), w=st.integers(1, 40), tile=st.integers(1, 16), data=st.data())
def test_nothing_is_moved_left_out_or_counted_twice(h, w, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    z = torch.randn(2, 3, h, w)
    vae = Local()
    torch.testing.assert_close(tiled_decode(vae, z, tile, overlap), vae.decode(z))
    x = torch.randn(2, 3, 4 * h, 4 * w)
    tiled, whole = tiled_encode(vae, x, tile, overlap), vae.encode(x)
    torch.testing.assert_close(tiled.mean, whole.mean)
    torch.testing.assert_close(tiled.std, whole.std)


@settings(max_examples=30, deadline=None)
@given(h=st.integers(1, 40), tile=st.integers(1, 16), data=st.data())
def test_tiles_are_small_and_no_more_than_needed(h, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    vae = Local()
    tiled_decode(vae, torch.zeros(1, 3, h, 3), tile, overlap)
    heights, widths = zip(*vae.seen, strict=True)
    assert set(heights) == {min(h, tile)}
    assert set(widths) == {min(3, tile)}
    down = 1
    while h > tile and tile + (down - 1) * (tile - overlap) < h:
        down += 1
    across = 1
    while tile < 3 and tile + (across - 1) * (tile - overlap) < 3:
        across += 1
    assert len(vae.seen) == down * across


def test_the_blend_is_linear():
    x = tiled_decode(Number(), torch.zeros(1, 3, 2, 12), tile=8, overlap=4)[0, 0]
    ramp = (torch.arange(16) + 0.5) / 16  # 4 latent pixels that both tiles have
    expected = torch.cat([torch.zeros(16), ramp, torch.ones(16)])
    torch.testing.assert_close(x, expected.expand(8, 48))
    x = tiled_decode(Number(), torch.zeros(1, 3, 12, 2), tile=8, overlap=4)[0, 0]
    torch.testing.assert_close(x, expected[:, None].expand(48, 8))


@torch.no_grad()
def test_one_tile_is_the_whole():
    vae = network()
    z = torch.randn(2, 4, 7, 8)
    assert torch.equal(tiled_decode(vae, z, tile=8, overlap=2), vae.decode(z))
    x = torch.randn(2, 3, 28, 32)
    tiled, whole = tiled_encode(vae, x, tile=8, overlap=2), vae.encode(x)
    assert torch.equal(tiled.mean, whole.mean)
    assert torch.equal(tiled.std, whole.std)


@torch.no_grad()
def test_tiles_differ_from_the_whole_and_less_when_larger():
    vae = network()
    z = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(1))
    whole = vae.decode(z)
    small, large = (
        (tiled_decode(vae, z, tile, tile // 4) - whole).square().mean().sqrt() / whole.std()
        for tile in (8, 20)
    )
    # as measured, 0.9 and 0.15 of the picture's standard deviation
    assert 0.05 < large < 0.3 < small


def test_gradients_pass_through():
    vae = network()
    z = torch.randn(1, 4, 5, 9, requires_grad=True)
    tiled_decode(vae, z, tile=4, overlap=1).square().mean().backward()
    assert (z.grad != 0).all()
    x = torch.randn(1, 3, 20, 36, requires_grad=True)
    latent = tiled_encode(vae, x, tile=4, overlap=1)
    (latent.mean.sum() + latent.std.sum()).backward()
    assert (x.grad != 0).any(dim=1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_half_precision_stays(dtype):
    vae = network().to(dtype)
    z = torch.randn(1, 4, 9, 9, dtype=dtype)
    x = tiled_decode(vae, z, tile=6, overlap=2)
    assert x.dtype == dtype
    assert x.isfinite().all()
    latent = tiled_encode(vae, x, tile=6, overlap=2)
    assert latent.mean.dtype == latent.std.dtype == dtype


@pytest.mark.parametrize(
    ("tile", "overlap", "words"),
    [(0, 0, "tile is 0"), (8, 8, "overlap is 8; it must be from 0 to 7"), (8, -1, "overlap is -1")],
)
def test_tiles_that_cannot_be_are_refused(tile, overlap, words):
    vae = network()
    with pytest.raises(ValueError, match=words):
        tiled_decode(vae, torch.zeros(1, 4, 4, 4), tile, overlap)
    with pytest.raises(ValueError, match=words):
        tiled_encode(vae, torch.zeros(1, 3, 16, 16), tile, overlap)


def test_shapes_are_those_of_the_whole():
    vae = network()
    with pytest.raises(ValueError, match=r"x has shape \(1, 3, 130, 16\)"):
        tiled_encode(vae, torch.zeros(1, 3, 130, 16), tile=8)
    with pytest.raises(ValueError, match=r"z has shape \(1, 3, 100, 4\)"):
        tiled_decode(vae, torch.zeros(1, 3, 100, 4), tile=32)
