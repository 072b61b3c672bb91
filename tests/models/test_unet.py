"""The U-Net against diffusers, on random weights."""

import diffusers
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisd.models.unet import UNet, UNetConfig

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
SMALL = {
    "sample_size": 16,
    "block_out_channels": [32, 64, 64],
    "down_block_types": [CROSS, CROSS, PLAIN],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "attention_head_dim": 4,
    "cross_attention_dim": 24,
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
    """diffusers' U-Net and ours, with the same random weights."""
    theirs = randomise(diffusers.UNet2DConditionModel(**SMALL | changes))
    ours = UNet(UNetConfig.from_json(theirs.config))
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours.eval()


def error(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("in_channels", [4, 9])
@pytest.mark.parametrize("size", [(16, 16), (13, 9)])
@torch.no_grad()
def test_unet_is_diffusers(in_channels, size):
    theirs, ours = pair(in_channels=in_channels)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, in_channels, *size, generator=generator)
    t = torch.tensor([0.0, 431.0, 999.0])
    context = torch.randn(3, 77, 24, generator=generator)
    expected = theirs(x, t, context).sample
    assert expected.std() > 0.1
    assert error(ours(x, t, context), expected) < 1e-5
    # the text and the time must matter for that to say much
    assert error(ours(x, t, context.roll(1, 0)), expected) > 1e-2
    assert error(ours(x, t.roll(1, 0), context), expected) > 1e-2


@settings(max_examples=10, deadline=None)
@given(
    layers=st.integers(1, 3),
    channels=st.lists(st.sampled_from([8, 16, 32]), min_size=1, max_size=3),
    height=st.integers(4, 11),
    width=st.integers(4, 11),
    data=st.data(),
)
@torch.no_grad()
def test_unet_is_diffusers_in_any_shape(layers, channels, height, width, data):
    kinds = data.draw(st.lists(st.booleans(), min_size=len(channels), max_size=len(channels)))
    heads = data.draw(
        st.lists(st.sampled_from([1, 2, 4]), min_size=len(channels), max_size=len(channels))
    )
    theirs, ours = pair(
        layers_per_block=layers,
        block_out_channels=channels,
        attention_head_dim=heads,
        down_block_types=[CROSS if k else PLAIN for k in kinds],
        up_block_types=["CrossAttnUpBlock2D" if k else "UpBlock2D" for k in reversed(kinds)],
    )
    x, context = torch.randn(2, 4, height, width), torch.randn(2, 5, 24)
    expected = theirs(x, torch.tensor(500.5), context).sample
    assert error(ours(x, torch.tensor(500.5), context), expected) < 1e-5


def test_the_full_size_has_stable_diffusions_keys_shapes_and_parameters():
    with torch.device("meta"):
        ours = UNet().state_dict()
        theirs = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    expected = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in ours.items()} == expected
    assert len(ours) == 686
    assert sum(value.numel() for value in ours.values()) == 859_520_964


def test_time_may_be_one_for_all():
    _, ours = pair()
    x, context = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 24)
    with torch.no_grad():
        one = ours(x, torch.tensor(7.0), context)
        many = ours(x, torch.tensor([7.0, 7.0]), context)
    torch.testing.assert_close(one, many)


def test_gradients_reach_the_latent_and_the_text():
    _, ours = pair()
    ours = ours.double()
    x = torch.randn(1, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    context = torch.randn(1, 2, 24, dtype=torch.float64, requires_grad=True)
    direction = torch.randn_like(x), torch.randn_like(context)
    t = torch.tensor(300.0)

    def loss(step):
        return ours(x + step * direction[0], t, context + step * direction[1]).square().sum()

    loss(0).backward()
    slope = (x.grad * direction[0]).sum() + (context.grad * direction[1]).sum()
    with torch.no_grad():
        difference = (loss(1e-5) - loss(-1e-5)) / 2e-5
    assert slope.item() == pytest.approx(difference.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"use_linear_projection": True}, "use_linear_projection is True"),
        ({"addition_embed_type": "text_time"}, "addition_embed_type is 'text_time'"),
        ({"block_out_channels": [8, 8]}, "down_block_types has 3 entries; there are 2"),
        ({"down_block_types": ["AttnDownBlock2D"] * 3}, "allowed are"),
        ({"attention_head_dim": [2, 2]}, "attention_head_dim has 2 entries"),
    ],
)
def test_another_architecture_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        UNetConfig.from_json(SMALL | changes)


@pytest.mark.parametrize(
    ("x", "t", "context", "words"),
    [
        ((2, 9, 8, 8), (2,), (2, 5, 24), r"x_t has shape \(2, 9, 8, 8\)"),
        ((2, 4, 8, 8), (3,), (2, 5, 24), r"t has shape \(3,\)"),
        ((2, 4, 8, 8), (2,), (2, 5, 32), r"context has shape \(2, 5, 32\)"),
        ((2, 4, 8, 8), (2,), (1, 5, 24), r"must be \[2, M, 24\]"),
    ],
)
def test_shapes_that_do_not_fit_are_named(x, t, context, words):
    unet = UNet(UNetConfig.from_json(SMALL))
    with pytest.raises(ValueError, match=words):
        unet(torch.zeros(x), torch.zeros(t), torch.zeros(context))
