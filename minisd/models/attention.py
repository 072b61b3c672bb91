"""Attention: every position asks all positions of a context, and takes a weighted mean of what they say.

Vaswani et al. 2017 (arXiv 1706.03762, equation 1); the transformer block inside a U-Net is that of Rombach et al. 2022
(arXiv 2112.10752, section 3.3), its feed-forward layer Shazeer's GEGLU (2020, arXiv 2002.05202).
B batch, N queries, M positions of the context, C channels, H W height and width. Attribute names are those of the
diffusers checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Attention(nn.Module):
    """Attention with several heads.

    Parameters
    ----------
    channels : int
        Of the input and of the output; each head has ``channels / heads`` of them.
    heads : int
    context_channels : int, optional
        Of the context; ``channels`` if not given, for self-attention.
    bias : bool
        Whether queries, keys and values have one: not in the U-Net, but in the autoencoder.

    Attributes
    ----------
    query_chunk : int or None
        At most so many queries at a time, for small memory. The result is the same.

    Raises
    ------
    ValueError
        If ``heads`` does not divide ``channels``.
    """

    def __init__(
        self, channels: int, heads: int, context_channels: int | None = None, bias: bool = False
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"heads is {heads}; it must divide the {channels} channels")
        self.heads = heads
        self.query_chunk: int | None = None
        self.to_q = nn.Linear(channels, channels, bias=bias)
        self.to_k = nn.Linear(context_channels or channels, channels, bias=bias)
        self.to_v = nn.Linear(context_channels or channels, channels, bias=bias)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``x`` [B, N, C], asking ``context`` [B, M, context_channels] or itself, to [B, N, C]."""
        context = x if context is None else context
        return self.attend(self.to_q(x), self.to_k(context), self.to_v(context))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Mix values [B, M, C] for queries [B, N, C] that look at keys [B, M, C]; [B, N, C]."""
        q, k, v = self.split(q), self.split(k), self.split(v)  # [B, heads, N or M, C / heads]
        parts = [q] if self.query_chunk is None else q.split(self.query_chunk, dim=2)
        parts = [F.scaled_dot_product_attention(part, k, v) for part in parts]
        h = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
        return self.to_out(rearrange(h, "b heads n c -> b n (heads c)"))

    def split(self, x: Tensor) -> Tensor:
        """Give each head its own channels: [B, N, C] to [B, heads, N, C / heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def weights(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Attention weights softmax(q k' / sqrt(d)), shape [B, heads, N, M]; each row sums to 1."""
        context = x if context is None else context
        q, k = self.split(self.to_q(x)), self.split(self.to_k(context))
        return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1)


class GEGLU(nn.Module):
    """Linear layer whose one half opens and closes the other."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., channels] to [..., inner]."""
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    """Two linear layers with a GEGLU between, four times as wide inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # the middle entry was a dropout while training: it keeps the checkpoint's numbering
        self.net = nn.Sequential(
            GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., C] to [..., C]."""
        return self.net(x)


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention to the text, feed-forward; each normed before and added on."""

    def __init__(self, channels: int, heads: int, context_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = Attention(channels, heads, context_channels)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map ``x`` [B, N, C] under ``context`` [B, M, context_channels] to [B, N, C]."""
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A transformer block over the pixels of a feature map, which is carried past it."""

    def __init__(self, channels: int, heads: int, context_channels: int, groups: int = 32) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(
            [TransformerBlock(channels, heads, context_channels)]
        )
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map ``x`` [B, C, H, W] under ``context`` [B, M, context_channels] to [B, C, H, W]."""
        h = self.proj_in(self.norm(x))
        h = rearrange(h, "b c h w -> b (h w) c")
        for block in self.transformer_blocks:
            h = block(h, context)
        h = rearrange(h, "b (h w) c -> b c h w", h=x.shape[2])
        return x + self.proj_out(h)


@contextmanager
def record_cross_attention(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Keep the weights of every cross-attention that runs inside the block.

    Parameters
    ----------
    model : nn.Module
        A network with `TransformerBlock` in it, such as the U-Net; not one that `optimize_for_inference` made.

    Yields
    ------
    dict of list of Tensor
        For each block, by its name in ``model``, one tensor a run: [B, N, M], the mean over the heads of how much each
        of N pixels looks at each of M tokens. Pixels run row by row.

    Raises
    ------
    ValueError
        If there is no cross-attention in the model.
    """
    blocks = {name: m for name, m in model.named_modules() if isinstance(m, TransformerBlock)}
    blocks = {name: m for name, m in blocks.items() if isinstance(m.attn2, Attention)}
    if not blocks:
        raise ValueError("model has no cross-attention that can be recorded")
    maps: dict[str, list[Tensor]] = {name: [] for name in blocks}

    def keep(name: str, attention: Attention, inputs: tuple[Tensor, Tensor]) -> None:
        maps[name].append(attention.weights(*inputs).mean(dim=1))

    hooks = [
        block.attn2.register_forward_pre_hook(
            lambda attention, inputs, name=name: keep(name, attention, inputs)
        )
        for name, block in blocks.items()
    ]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
