"""The autoencoder against diffusers, on random weights."""

import diffusers
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from minisd.models.layers import Downsample
from minisd.models.vae import AutoencoderKL, Gaussian, VAEConfig

SMALL = {
    "sample_size": 32,
    "block_out_channels": [16, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 2,
    "norm_num_groups": 8,
}


def randomise(module, seed=0):
    """Give every weight, norm and bias a value of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            spread = p[0].numel() ** -0.5 if p.ndim > 1 else 0.2
            p.copy_(torch.randn(p.shape, generator=generator) * spread)
            if "norm" in name and name.endswith("weight"):
                p.add_(1)
    return module.eval()


def pair(**changes):
    """diffusers' autoencoder and ours, with the same random weights."""
    theirs = randomise(diffusers.AutoencoderKL(**SMALL | changes))
    ours = AutoencoderKL(VAEConfig.from_json(theirs.config))
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours.eval()


def error(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 3)])
@torch.no_grad()
def test_encoder_and_decoder_are_diffusers(size):
    theirs, ours = pair()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 3, 4 * size[0], 4 * size[1], generator=generator).clamp(-1, 1)
    expected, latent = theirs.encode(x).latent_dist, ours.encode(x)
    assert latent.mean.shape == latent.std.shape == (3, 4, *size)
    assert expected.mean.std() > 0.1
    assert expected.std.std() > 0.1
    assert error(latent.mean, expected.mean) < 1e-5
    assert error(latent.std, expected.std) < 1e-5
    assert error(latent.kl(), expected.kl()) < 1e-5
    # the picture must matter for that to say much
    assert error(ours.encode(x.roll(1, 0)).mean, expected.mean) > 1e-2

    z = torch.randn(3, 4, *size, generator=generator)
    expected = theirs.decode(z).sample
    assert expected.std() > 0.1
    assert ours.decode(z).shape == (3, 3, 4 * size[0], 4 * size[1])
    assert error(ours.decode(z), expected) < 1e-5
    assert error(ours.decode(z.roll(1, 0)), expected) > 1e-2


@settings(max_examples=10, deadline=None)
@given(
    layers=st.integers(1, 3),
    channels=st.lists(st.sampled_from([16, 24, 32]), min_size=1, max_size=4),
    latent_channels=st.sampled_from([2, 4]),
    height=st.integers(2, 5),
    width=st.integers(2, 5),
)
@torch.no_grad()
def test_it_is_diffusers_in_any_shape(layers, channels, latent_channels, height, width):
    theirs, ours = pair(
        layers_per_block=layers,
        block_out_channels=channels,
        latent_channels=latent_channels,
        down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels),
    )
    factor = ours.config.factor
    assert factor == 2 ** (len(channels) - 1)
    x = torch.randn(2, 3, height * factor, width * factor)
    assert error(ours.encode(x).mean, theirs.encode(x).latent_dist.mean) < 1e-5
    z = torch.randn(2, latent_channels, height, width)
    assert error(ours.decode(z), theirs.decode(z).sample) < 1e-5


def test_the_full_size_has_stable_diffusions_keys_shapes_and_parameters():
    with torch.device("meta"):
        ours = AutoencoderKL().state_dict()
        theirs = diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
    expected = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in ours.items()} == expected
    assert len(ours) == 248
    assert sum(value.numel() for value in ours.values()) == 83_653_863
    assert VAEConfig().factor == 8


def test_every_group_norm_has_the_small_eps():
    with torch.device("meta"):
        norms = [m for m in AutoencoderKL().modules() if isinstance(m, torch.nn.GroupNorm)]
    assert {norm.eps for norm in norms} == {1e-6}
    assert len(norms) == 52


@torch.no_grad()
def test_the_other_padding_would_be_noticed():
    theirs, ours = pair()
    x = torch.randn(1, 3, 32, 32)
    expected = theirs.encode(x).latent_dist.mean
    for block in ours.encoder.down_blocks[:-1]:
        right = block.downsamplers[0]
        wrong = Downsample(right.conv.in_channels, padding=1)
        wrong.load_state_dict(right.state_dict())
        block.downsamplers[0] = wrong
    moved = ours.encode(x).mean
    assert moved.shape == expected.shape
    assert error(moved, expected) > 0.1


@torch.no_grad()
def test_log_variance_is_clamped():
    _, ours = pair()
    ours.quant_conv.weight.zero_()
    bias = torch.tensor([0.0, 0.0, 0.0, 0.0, -100.0, -30.0, 20.0, 100.0])
    ours.quant_conv.bias.copy_(bias)
    std = ours.encode(torch.zeros(1, 3, 8, 8)).std[0, :, 0, 0]
    expected = torch.tensor([-15.0, -15.0, 10.0, 10.0]).exp()
    torch.testing.assert_close(std, expected)


def test_gaussian_samples_and_its_divergence():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64)
    std = torch.rand(2, 4, 3, 5, generator=generator, dtype=torch.float64) + 0.1
    latent = Gaussian(mean, std)
    expected = kl_divergence(Normal(mean, std), Normal(0, 1)).sum(dim=(1, 2, 3))
    torch.testing.assert_close(latent.kl(), expected)
    noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close((latent.sample(noise) - mean) / std, noise)
    half = Gaussian(mean.half() * 100, std.half()).kl()
    assert half.dtype == torch.float32
    wide = Gaussian(mean.half().double() * 100, std.half().double()).kl()
    torch.testing.assert_close(half.double(), wide, rtol=1e-3, atol=0)
    assert (Gaussian(torch.zeros(3, 4, 2, 2), torch.ones(3, 4, 2, 2)).kl() == 0).all()


def test_gradients_reach_picture_and_latent():
    _, ours = pair()
    ours = ours.double()
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(1, 4, 2, 2, dtype=torch.float64)
    z = torch.randn(1, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    direction = torch.randn_like(x), torch.randn_like(z)

    def loss(step):
        latent = ours.encode(x + step * direction[0])
        picture = ours.decode(z + step * direction[1] + latent.sample(noise))
        return picture.square().sum() + latent.kl().sum()

    loss(0).backward()
    slope = (x.grad * direction[0]).sum() + (z.grad * direction[1]).sum()
    with torch.no_grad():
        difference = (loss(1e-5) - loss(-1e-5)) / 2e-5
    assert slope.item() == pytest.approx(difference.item(), rel=1e-6)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 0.02), (torch.bfloat16, 0.1)])
@torch.no_grad()
def test_half_precision_stays_near(dtype, bound):
    _, ours = pair()
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 3, 32, 32, generator=generator).clamp(-1, 1)
    latent = ours.encode(x)
    picture = ours.decode(latent.mean)
    ours = ours.to(dtype)
    half = ours.encode(x.to(dtype))
    assert half.mean.dtype == half.std.dtype == dtype
    assert error(half.mean.float(), latent.mean) < bound
    again = ours.decode(latent.mean.to(dtype))
    assert again.dtype == dtype
    assert error(again.float(), picture) < bound


@torch.no_grad()
def test_attention_in_chunks_is_the_same():
    _, ours = pair()
    z = torch.randn(1, 4, 5, 7)
    whole = ours.decode(z)
    ours.decoder.mid_block.attentions[0].query_chunk = 8
    torch.testing.assert_close(ours.decode(z), whole)


def test_settings_that_a_file_leaves_out_are_those_of_stable_diffusion():
    config = VAEConfig.from_json(
        {
            "_class_name": "AutoencoderKL",
            "act_fn": "silu",
            "block_out_channels": [128, 256, 512, 512],
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "layers_per_block": 2,
            "shift_factor": None,
            "force_upcast": True,
        }
    )
    assert config == VAEConfig()
    assert config.scaling_factor == 0.18215
    assert VAEConfig.from_json({"scaling_factor": 0.5}).scaling_factor == 0.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shift_factor": 0.1159}, "shift_factor is 0.1159"),
        ({"latents_mean": [0.0]}, "latents_mean is"),
        ({"use_quant_conv": False}, "use_quant_conv is False"),
        ({"act_fn": "relu"}, "act_fn is 'relu'"),
        ({"mid_block_add_attention": False}, "mid_block_add_attention is False"),
        ({"down_block_types": ["AttnDownEncoderBlock2D"] * 3}, "down_block_types is"),
        ({"up_block_types": ["UpDecoderBlock2D"] * 4}, "up_block_types is"),
    ],
)
def test_another_architecture_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        VAEConfig.from_json(SMALL | changes)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8), (1, 3, 8, 10), (1, 3, 9, 8)])
def test_pictures_that_do_not_fit_are_named(shape):
    vae = AutoencoderKL(VAEConfig.from_json(SMALL))
    words = f"x has shape {shape}; it must be [B, 3, H, W] with H and W multiples of 4"
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        vae.encode(torch.zeros(shape))
    assert str(caught.value) == words


@pytest.mark.parametrize("shape", [(4, 8, 8), (1, 3, 8, 8)])
def test_latents_that_do_not_fit_are_named(shape):
    vae = AutoencoderKL(VAEConfig.from_json(SMALL))
    with pytest.raises(ValueError, match=r"z has shape .*; it must be \[B, 4, h, w\]"):
        vae.decode(torch.zeros(shape))
