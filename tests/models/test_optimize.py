"""The U-Net for sampling gives what the U-Net gives that it was made from."""

import pytest
import torch

from minisd.models.optimize import optimize_for_inference
from minisd.models.unet import UNet, UNetConfig

CONFIG = UNetConfig(
    block_out_channels=(16, 32, 32),
    down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    attention_head_dim=4,
    cross_attention_dim=12,
    norm_num_groups=8,
)


def inputs(size=(9, 12), B=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    x, context = torch.randn(B, 4, *size, generator=g), torch.randn(B, 7, 12, generator=g)
    return x, torch.full((B,), 500.0), context


def close(a, b):
    return ((a - b).abs().max() / b.abs().max()).item() < 1e-5


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return UNet(CONFIG).eval()


@torch.no_grad()
def test_it_gives_the_same_for_whatever_comes(unet):
    fast = optimize_for_inference(unet)
    x, t, context = inputs()
    assert close(fast(x, t, context), unet(x, t, context))
    for other in (t * 0, torch.tensor([1.0, 999.0]), torch.tensor(3.5), t):
        assert close(fast(x, other, context), unet(x, other, context))
    assert close(fast(x, t, context * 2), unet(x, t, context * 2))
    assert close(fast(x, t, context), unet(x, t, context))
    for size, B in (((16, 16), 2), ((16, 16), 3), ((5, 7), 1), ((9, 12), 2)):
        x, t, context = inputs(size, B, seed=B)
        assert close(fast(x, t, context), unet(x, t, context))


@torch.no_grad()
def test_a_text_that_is_changed_in_place_is_seen(unet):
    fast = optimize_for_inference(unet)
    x, t, context = inputs()
    before = fast(x, t, context)
    context.mul_(-1)
    after = fast(x, t, context)
    assert not close(after, before)
    assert close(after, unet(x, t, context))


@torch.no_grad()
def test_the_text_is_projected_once(unet):
    fast = optimize_for_inference(unet)
    calls = []
    keys = [m for name, m in fast.named_modules() if name.endswith("attn2.attention.to_k")]
    for layer in keys:
        layer.register_forward_hook(lambda *_: calls.append(1))
    x, t, context = inputs()
    for step in range(4):
        fast(x, t - step, context)
    assert len(calls) == len(keys) > 0


@torch.no_grad()
def test_the_original_is_untouched_and_shared(unet):
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    fast = optimize_for_inference(unet)
    x, t, context = inputs()
    fast(x, t, context)
    after = unet.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    mine = {p.data_ptr() for p in unet.parameters()}
    assert {p.data_ptr() for p in fast.parameters()} <= mine


def test_it_says_that_it_has_no_gradients(unet):
    fast = optimize_for_inference(unet)
    x, t, context = inputs()
    with pytest.raises(RuntimeError, match="differentiate the U-Net it was made from"):
        fast(x.requires_grad_(), t, context)
    with pytest.raises(RuntimeError, match="differentiate the U-Net it was made from"):
        fast(x.detach(), t, context.requires_grad_())
    assert unet(x, t, context).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision(unet, dtype):
    unet = unet.to(dtype)
    x, t, context = inputs()
    x, context = x.to(dtype), context.to(dtype)
    ours, expected = optimize_for_inference(unet)(x, t, context), unet(x, t, context)
    assert ours.dtype == dtype
    assert (ours - expected).abs().max() < 0.05 * expected.abs().max()
