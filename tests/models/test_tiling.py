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
    """Gives each tile its number, from 0, so that the blend can be seen."""

    def encode(self, x):
        self.seen.append(x.shape)
        z = torch.full_like(F.avg_pool2d(x, 4), len(self.seen) - 1.0)
        return Gaussian(z, z)

    def decode(self, z):
        self.seen.append(z.shape)
        return torch.full_like(F.interpolate(z, scale_factor=4), len(self.seen) - 1.0)


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

    def needed(size):
        count = 1
        while size > tile + (count - 1) * (tile - overlap):
            count += 1
        return count

    for size in ((h, 3), (3, h)):
        decoding, encoding = Local(), Local()
        tiled_decode(decoding, torch.zeros(1, 3, *size), tile, overlap)
        assert decoding.seen == [tuple(min(n, tile) for n in size)] * needed(h) * needed(3)
        tiled_encode(encoding, torch.zeros(1, 3, 4 * size[0], 4 * size[1]), tile, overlap)
        assert encoding.seen == decoding.seen


@pytest.mark.parametrize(("size", "overlap"), [(12, 4), (13, 3), (10, 6)])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_blend_is_linear(size, overlap, axis):
    def run(pixels, shared):
        ramp = (torch.arange(shared) + 0.5) / shared
        flat = (pixels - shared) // 2
        return torch.cat([torch.zeros(flat), ramp, torch.ones(flat)])

    shape = [(size, 2), (2, size)][axis]
    x = tiled_decode(Number(), torch.zeros(1, 3, *shape), tile=8, overlap=3)[0, 0]
    expected = run(4 * size, 4 * overlap)
    torch.testing.assert_close(x, expected.unsqueeze(1 - axis).expand_as(x))
    picture = torch.zeros(1, 3, 4 * shape[0], 4 * shape[1])
    latent = tiled_encode(Number(), picture, tile=8, overlap=3)
    expected = run(size, overlap)
    for z in (latent.mean[0, 0], latent.std[0, 0]):
        torch.testing.assert_close(z, expected.unsqueeze(1 - axis).expand_as(z))


def test_latents_of_512_pixels_are_four_tiles():
    vae = Local()
    tiled_decode(vae, torch.zeros(1, 3, 64, 64))
    assert vae.seen == [(36, 36)] * 4
    vae = Local()
    tiled_encode(vae, torch.zeros(1, 3, 256, 256))
    assert vae.seen == [(36, 36)] * 4


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
