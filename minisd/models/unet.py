"""The conditional U-Net of Stable Diffusion 1.x: noisy latent, time and text in, predicted noise out.

Ronneberger et al. 2015 (arXiv 1505.04597) for the shape, Ho et al. 2020 (arXiv 2006.11239, appendix B) for the residual
blocks and the time, Rombach et al. 2022 (arXiv 2112.10752, section 3.3) for the cross-attention to the text.
B batch, C channels, H W height and width of the latent, M tokens of the text. Attribute names are those of the
diffusers checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisd.models.attention import SpatialTransformer
from minisd.models.config import read_config
from minisd.models.layers import (
    Downsample,
    ResnetBlock,
    TimestepEmbedding,
    Upsample,
)

DOWN = ("CrossAttnDownBlock2D", "DownBlock2D")
UP = ("CrossAttnUpBlock2D", "UpBlock2D")

FIXED = {
    "act_fn": "silu",
    "center_input_sample": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "norm_eps": 1e-5,
    "dropout": 0.0,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "use_linear_projection": False,
    "only_cross_attention": False,
    "dual_cross_attention": False,
    "upcast_attention": False,
    "transformer_layers_per_block": 1,
    "resnet_time_scale_shift": "default",
    "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1.0,
    "time_embedding_type": "positional",
    "attention_type": "default",
    "class_embeddings_concat": False,
    **dict.fromkeys(
        (
            "class_embed_type",
            "num_class_embeds",
            "addition_embed_type",
            "encoder_hid_dim",
            "encoder_hid_dim_type",
            "time_embedding_dim",
            "time_embedding_act_fn",
            "timestep_post_act",
            "time_cond_proj_dim",
            "cross_attention_norm",
            "mid_block_only_cross_attention",
        )
    ),
}
"""What every U-Net of Stable Diffusion 1.x has in common; other models of diffusers differ in one of these."""


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of a U-Net, by their names in ``unet/config.json``; the defaults are Stable Diffusion 1.x.

    Attributes
    ----------
    sample_size : int
        Height and width of the latents it was trained on.
    in_channels : int
        4, or 9 for the inpainting model: latent 4, mask 1, masked picture's latent 4.
    block_out_channels : tuple of int
        Channels of each level, from the largest picture to the smallest.
    down_block_types, up_block_types : tuple of str
        For each level, with ("CrossAttn...") or without attention, in the order in which the data meets them.
    layers_per_block : int
        Residual blocks of a level on the way down; one more on the way up.
    attention_head_dim : int or tuple of int
        The number of **heads** of each level: the name is an old mistake of the format (diffusers issue 2011).
    cross_attention_dim : int
        Width of the text embedding.
    norm_num_groups : int
        Groups of every group norm.

    Raises
    ------
    ValueError
        If the tuples differ in length, or a block type is unknown.
    """

    sample_size: int = 64
    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    down_block_types: tuple[str, ...] = (*[DOWN[0]] * 3, DOWN[1])
    up_block_types: tuple[str, ...] = (UP[1], *[UP[0]] * 3)
    layers_per_block: int = 2
    attention_head_dim: int | tuple[int, ...] = 8
    cross_attention_dim: int = 768
    norm_num_groups: int = 32

    def __post_init__(self) -> None:
        levels = len(self.block_out_channels)
        for name, allowed in (("down_block_types", DOWN), ("up_block_types", UP)):
            kinds = getattr(self, name)
            if len(kinds) != levels:
                raise ValueError(f"{name} has {len(kinds)} entries; there are {levels} levels")
            if not set(kinds) <= set(allowed):
                raise ValueError(f"{name} is {kinds}; allowed are {allowed}")
        if len(self.heads) != levels:
            raise ValueError(
                f"attention_head_dim has {len(self.heads)} entries; there are {levels} levels"
            )

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> UNetConfig:
        """Read the settings of ``unet/config.json``; see `read_config` for the errors."""
        heads = settings.get("num_attention_heads") or settings.get("attention_head_dim")
        return read_config(cls, {**settings, "attention_head_dim": heads}, FIXED)

    @property
    def heads(self) -> tuple[int, ...]:
        """Heads of the attention at each level."""
        heads = self.attention_head_dim
        return heads if isinstance(heads, tuple) else (heads,) * len(self.block_out_channels)


class DownBlock(nn.Module):
    """A level on the way down: residual blocks, each with attention or without, then half the size."""

    def __init__(
        self, channels_in: int, channels: int, heads: int | None, last: bool, config: UNetConfig
    ) -> None:
        super().__init__()
        inputs = [channels_in] + [channels] * (config.layers_per_block - 1)
        self.resnets = nn.ModuleList(_resnet(n, channels, config) for n in inputs)
        self.attentions = nn.ModuleList(
            _transformer(channels, heads, config) for _ in inputs if heads is not None
        )
        self.downsamplers = nn.ModuleList([] if last else [Downsample(channels)])

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> list[Tensor]:
        """Give the output of every layer, [B, C, H, W] and at the end [B, C, H / 2, W / 2]."""
        outputs = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, time)
            if self.attentions:
                x = self.attentions[i](x, context)
            outputs.append(x)
        for downsample in self.downsamplers:
            outputs.append(downsample(outputs[-1]))
        return outputs


class MidBlock(nn.Module):
    """The bottom: residual block, attention, residual block."""

    def __init__(self, channels: int, heads: int, config: UNetConfig) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_resnet(channels, channels, config) for _ in range(2))
        self.attentions = nn.ModuleList([_transformer(channels, heads, config)])

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        x = self.resnets[0](x, time)
        x = self.attentions[0](x, context)
        return self.resnets[1](x, time)


class UpBlock(nn.Module):
    """A level on the way up: each residual block takes one output of the way down beside its own."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        skips: list[int],
        heads: int | None,
        last: bool,
        config: UNetConfig,
    ) -> None:
        super().__init__()
        inputs = [channels_in] + [channels] * (len(skips) - 1)
        self.resnets = nn.ModuleList(
            _resnet(n + skip, channels, config) for n, skip in zip(inputs, skips, strict=True)
        )
        self.attentions = nn.ModuleList(
            _transformer(channels, heads, config) for _ in inputs if heads is not None
        )
        self.upsamplers = nn.ModuleList([] if last else [Upsample(channels)])

    def forward(self, x: Tensor, skips: list[Tensor], time: Tensor, context: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C', 2H, 2W], taking its skips off the end of the list."""
        for i, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips.pop()], dim=1), time)
            if self.attentions:
                x = self.attentions[i](x, context)
        for upsample in self.upsamplers:
            # an odd size was halved upwards: the skip knows what it was
            x = upsample(x, size=skips[-1].shape[-2:])
        return x


class UNet(nn.Module):
    """The network that predicts the noise.

    Parameters
    ----------
    config : UNetConfig
        The default is Stable Diffusion 1.x: 859,520,964 parameters in 686 tensors.
    """

    def __init__(self, config: UNetConfig = UNetConfig()) -> None:
        super().__init__()
        self.config = config
        channels = config.block_out_channels
        last = len(channels) - 1

        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(channels[0], 4 * channels[0])

        self.down_blocks = nn.ModuleList()
        skips = [channels[0]]
        for i, n in enumerate(channels):
            heads = config.heads[i] if config.down_block_types[i] == DOWN[0] else None
            self.down_blocks.append(DownBlock(channels[max(i - 1, 0)], n, heads, i == last, config))
            skips += [n] * (config.layers_per_block + (i < last))

        self.mid_block = MidBlock(channels[-1], config.heads[-1], config)

        self.up_blocks = nn.ModuleList()
        before = channels[-1]
        for i, n in enumerate(reversed(channels)):
            heads = config.heads[last - i] if config.up_block_types[i] == UP[0] else None
            taken = [skips.pop() for _ in range(config.layers_per_block + 1)]
            self.up_blocks.append(UpBlock(before, n, taken, heads, i == last, config))
            before = n

        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, channels[0], eps=1e-5)
        self.conv_out = nn.Conv2d(channels[0], config.out_channels, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Predict the noise.

        Parameters
        ----------
        x_t : Tensor, shape [B, in_channels, H, W]
            Noisy latents; any height and width.
        t : Tensor, shape [B] or []
            0-based times.
        context : Tensor, shape [B, M, cross_attention_dim]
            Text embeddings.

        Returns
        -------
        Tensor, shape [B, out_channels, H, W]

        Raises
        ------
        ValueError
            If a shape does not fit.
        """
        self._check(x_t, t, context)
        time = self.time_embedding(t.expand(x_t.shape[0]))  # [B, 4 C]

        x = self.conv_in(x_t)
        skips = [x]
        for block in self.down_blocks:
            skips += block(skips[-1], time, context)
        x = self.mid_block(skips[-1], time, context)
        for block in self.up_blocks:
            x = block(x, skips, time, context)
        return self.conv_out(F.silu(self.conv_norm_out(x)))

    def _check(self, x_t: Tensor, t: Tensor, context: Tensor) -> None:
        B, wanted = x_t.shape[0], self.config.in_channels
        if x_t.ndim != 4 or x_t.shape[1] != wanted:
            raise ValueError(f"x_t has shape {tuple(x_t.shape)}; it must be [B, {wanted}, H, W]")
        if t.shape not in ((), (B,)):
            raise ValueError(f"t has shape {tuple(t.shape)}; it must be [] or [{B}]")
        if context.ndim != 3 or context.shape[::2] != (B, self.config.cross_attention_dim):
            raise ValueError(
                f"context has shape {tuple(context.shape)}; "
                f"it must be [{B}, M, {self.config.cross_attention_dim}]"
            )


def _resnet(channels_in: int, channels: int, config: UNetConfig) -> ResnetBlock:
    width = 4 * config.block_out_channels[0]
    return ResnetBlock(channels_in, channels, width, groups=config.norm_num_groups)


def _transformer(channels: int, heads: int, config: UNetConfig) -> SpatialTransformer:
    return SpatialTransformer(channels, heads, config.cross_attention_dim, config.norm_num_groups)
