"""The U-Net made ready for sampling: the same numbers from fewer and better-fed operations.

What a sampler repeats at every step is done once: queries, keys and values of self-attention become one matrix, keys
and values of the text are kept for as long as the text is the same, the projections of a time for when that time comes
again; and on the CPU the weights of the convolutions are laid out as oneDNN's convolution wants them.
All of these are copies. Training, LoRA and the state dict belong to the U-Net that they were made from.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisd.models.attention import Attention, TransformerBlock
from minisd.models.layers import ResnetBlock
from minisd.models.unet import UNet


def optimize_for_inference(unet: UNet) -> UNet:
    """Make a U-Net for sampling out of a U-Net.

    Parameters
    ----------
    unet : UNet
        It is not changed. What is changed in it later, the other one does not see.

    Returns
    -------
    UNet
        Called like ``unet``, under `torch.no_grad`: it has no gradients. It stays on its device and in its dtype. What
        is not rearranged it shares with ``unet``; what is rearranged, most of the weights, is held a second time.

    Raises
    ------
    RuntimeError
        When it is called to be differentiated.
    """
    # the parameters are shared, the modules around them are new
    memo = {id(tensor): tensor for tensor in [*unet.parameters(), *unet.buffers()]}
    fast = copy.deepcopy(unet, memo)
    with torch.no_grad():
        fast.time_embedding = _TimeTable(fast)
        for module in list(fast.modules()):
            if isinstance(module, TransformerBlock):
                module.attn1 = _SelfAttention(module.attn1)
                module.attn2 = _TextAttention(module.attn2)
        for module in list(fast.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Conv2d):
                    setattr(module, name, _Convolution(child))
    return fast.eval()


class _TimeTable(nn.Module):
    """The time's projections of all residual blocks, each time computed when it first comes."""

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        blocks = [m for m in unet.modules() if isinstance(m, ResnetBlock)]
        self.embedding = unet.time_embedding
        self.projections = [block.time_emb_proj for block in blocks]
        self.table: dict[float, Tensor] = {}
        start = 0
        for block in blocks:
            stop = start + block.time_emb_proj.out_features
            block.time_emb_proj = _Columns(start, stop)
            start = stop

    def forward(self, t: Tensor) -> Tensor:
        """Map times [B] to [B, channels of all residual blocks]."""
        times = t.tolist()
        for time in set(times) - set(self.table):
            embedded = self.embedding(t.new_tensor([time]))
            self.table[time] = torch.cat([project(embedded) for project in self.projections], 1)
        return torch.cat([self.table[time] for time in times])


class _Columns(nn.Module):
    """One residual block's part of the `_TimeTable`."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, time: Tensor) -> Tensor:
        return time[:, self.start : self.stop]


class _SelfAttention(nn.Module):
    """Self-attention with one matrix for queries, keys and values."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention
        layers = (attention.to_q, attention.to_k, attention.to_v)
        self.weight = torch.cat([layer.weight for layer in layers])  # [3 C, C]

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = F.linear(x, self.weight).chunk(3, dim=-1)
        return self.attention.attend(q, k, v)


class _TextAttention(nn.Module):
    """Cross-attention that keeps the keys and values of the last text it was given."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention
        self.context: Tensor | None = None

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        _refuse_gradients(x, context)
        if self.context is not context or self.version != context._version:
            self.context, self.version = context, context._version
            self.k, self.v = self.attention.to_k(context), self.attention.to_v(context)
        return self.attention.attend(self.attention.to_q(x), self.k, self.v)


class _Convolution(nn.Module):
    """A convolution whose weight lies in memory as it will be read.

    On the CPU the best layout depends on the size of the picture: the weight is laid out when a new size comes.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.size: torch.Size | None = None

    def forward(self, x: Tensor) -> Tensor:
        _refuse_gradients(x)
        conv = self.conv
        if not _can_be_laid_out(x):
            return conv(x)
        shape = conv.padding, conv.stride, conv.dilation, conv.groups
        if self.size != x.shape:
            self.packed = torch.ops.mkldnn._reorder_convolution_weight(conv.weight, *shape, x.shape)
            self.size = x.shape
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.packed, conv.bias, *shape, "none", [], ""
        )


def _can_be_laid_out(x: Tensor) -> bool:
    if x.device.type != "cpu":
        return False
    # processors without AVX-512 have no bfloat16 convolution in oneDNN
    half = x.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return half or x.dtype == torch.float32


def _refuse_gradients(*tensors: Tensor) -> None:
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        raise RuntimeError(
            "optimize_for_inference's U-Net has no gradients; differentiate the U-Net it was made from"
        )
