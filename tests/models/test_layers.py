"""The shared layers against their formulas and against diffusers."""

import math

import torch
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.resnet import ResnetBlock2D

from minisd.models.layers import Downsample, ResnetBlock, Upsample, timestep_embedding


def test_timestep_embedding_is_its_formula_and_diffusers():
    t = torch.tensor([0.0, 1.0, 37.5, 999.0])
    ours = timestep_embedding(t, 320)
    for b, time in enumerate(t.tolist()):
        for i in (0, 1, 80, 159):
            angle = time * 10_000 ** (-i / 160)
            assert abs(ours[b, i].item() - math.cos(angle)) < 1e-4
            assert abs(ours[b, 160 + i].item() - math.sin(angle)) < 1e-4
    theirs = get_timestep_embedding(t, 320, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@torch.no_grad()
def test_resnet_block_is_diffusers():
    for channels_in, channels in ((8, 8), (8, 16)):
        theirs = ResnetBlock2D(
            in_channels=channels_in, out_channels=channels, temb_channels=12, groups=4, eps=1e-5
        )
        ours = ResnetBlock(channels_in, channels, 12, groups=4)
        ours.load_state_dict(theirs.state_dict())
        x, time = torch.randn(2, channels_in, 5, 7), torch.randn(2, 12)
        expected = theirs(x, time)
        torch.testing.assert_close(
            ours(x, torch.nn.functional.silu(time)), expected, rtol=0, atol=1e-5
        )


def test_the_two_paddings_look_at_different_pixels():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    for padding, corner in (
        (1, [[0, 0, 0], [0, 0, 1], [0, 4, 5]]),
        (0, [[0, 1, 2], [4, 5, 6], [8, 9, 10]]),
    ):
        down = Downsample(1, padding)
        with torch.no_grad():
            down.conv.weight.copy_(torch.arange(9.0).view(1, 1, 3, 3))
            down.conv.bias.zero_()
        expected = sum(
            w * p for w, p in zip(range(9), [p for row in corner for p in row], strict=True)
        )
        y = down(x)
        assert y.shape == (1, 1, 2, 2)
        assert y[0, 0, 0, 0].item() == expected


def test_odd_sizes():
    x = torch.randn(1, 2, 5, 7)
    assert Downsample(2)(x).shape == (1, 2, 3, 4)
    assert Upsample(2)(x).shape == (1, 2, 10, 14)
    assert Upsample(2)(x, size=(9, 13)).shape == (1, 2, 9, 13)
