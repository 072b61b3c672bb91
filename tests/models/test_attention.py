"""Attention against its formula and against diffusers."""

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.transformers import Transformer2DModel

from minisd.models.attention import (
    Attention,
    SpatialTransformer,
    TransformerBlock,
    record_cross_attention,
)
from minisd.models.unet import UNet, UNetConfig


def error(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


@torch.no_grad()
def test_attention_is_its_formula_head_by_head():
    attention = Attention(12, heads=3, context_channels=5)
    x, context = torch.randn(2, 7, 12), torch.randn(2, 4, 5)
    q, k, v = attention.to_q(x), attention.to_k(context), attention.to_v(context)
    heads = []
    for h in range(3):
        own = slice(4 * h, 4 * h + 4)
        weights = torch.softmax(q[..., own] @ k[..., own].mT / 2, dim=-1)
        torch.testing.assert_close(attention.weights(x, context)[:, h], weights)
        heads.append(weights @ v[..., own])
    expected = attention.to_out(torch.cat(heads, -1))
    torch.testing.assert_close(attention(x, context), expected)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@torch.no_grad()
def test_queries_in_chunks_give_the_same(chunk):
    attention = Attention(12, heads=3)
    x = torch.randn(2, 7, 12)
    expected = attention(x)
    attention.query_chunk = chunk
    torch.testing.assert_close(attention(x), expected)


@torch.no_grad()
def test_transformer_block_is_diffusers():
    theirs = BasicTransformerBlock(24, 4, 6, cross_attention_dim=10).eval()
    ours = TransformerBlock(24, 4, 10)
    ours.load_state_dict(theirs.state_dict())
    x, context = torch.randn(2, 9, 24), torch.randn(2, 5, 10)
    assert error(ours(x, context), theirs(x, encoder_hidden_states=context)) < 1e-5


@torch.no_grad()
def test_spatial_transformer_is_diffusers():
    theirs = Transformer2DModel(4, 6, in_channels=24, cross_attention_dim=10, norm_num_groups=8)
    ours = SpatialTransformer(24, 4, 10, groups=8)
    ours.load_state_dict(theirs.eval().state_dict())
    x, context = torch.randn(2, 24, 3, 5), torch.randn(2, 5, 10)
    expected = theirs(x, encoder_hidden_states=context).sample
    assert error(ours(x, context) - x, expected - x) < 1e-5


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="heads is 5; it must divide the 12 channels"):
        Attention(12, heads=5)


@torch.no_grad()
def test_cross_attention_is_recorded_while_the_block_runs():
    unet = UNet(
        UNetConfig(
            block_out_channels=(16, 16),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=5,
            layers_per_block=1,
            norm_num_groups=4,
        )
    )
    x, t, context = torch.randn(2, 4, 6, 8), torch.tensor(3.0), torch.randn(2, 7, 5)
    quiet = unet(x, t, context)
    with record_cross_attention(unet) as maps:
        recorded = unet(x, t, context)
        unet(x, t, context)
    unet(x, t, context)
    torch.testing.assert_close(recorded, quiet)
    assert {name: [tuple(m.shape) for m in kept] for name, kept in maps.items()} == {
        "down_blocks.0.attentions.0.transformer_blocks.0": [(2, 48, 7)] * 2,
        "mid_block.attentions.0.transformer_blocks.0": [(2, 12, 7)] * 2,
        "up_blocks.1.attentions.0.transformer_blocks.0": [(2, 48, 7)] * 2,
        "up_blocks.1.attentions.1.transformer_blocks.0": [(2, 48, 7)] * 2,
    }
    for kept in maps.values():
        torch.testing.assert_close(kept[0].sum(-1), torch.ones(kept[0].shape[:2]))


def test_what_cannot_be_recorded_is_refused():
    with (
        pytest.raises(ValueError, match="no cross-attention"),
        record_cross_attention(Attention(8, 2)),
    ):
        pass
