"""The convolutional layers that the U-Net and the autoencoder share.

Residual blocks after Ho et al. 2020 (arXiv 2006.11239, appendix B) as Rombach et al. 2022 (arXiv 2112.10752) use
them; the embedding of the time after Vaswani et al. 2017 (arXiv 1706.03762, section 3.5).
B batch, C channels, H W height and width. Attribute names are those of the diffusers checkpoints.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def timestep_embedding(t: Tensor, channels: int) -> Tensor:
    """Cosines and sines of the time, at frequencies from 1 down to almost 1/10000.

    Parameters
    ----------
    t : Tensor, shape [B]
        0-based times, which may be fractional.
    channels : int
        Even.

    Returns
    -------
    Tensor, shape [B, channels], float32
        Cosines first: ``cos(t w_i)``, then ``sin(t w_i)``, with ``w_i = 10000 ** (-i / (channels / 2))``.
    """
    half = channels // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    frequencies = torch.exp(-math.log(10_000) * steps / half)
    angles = t.float()[:, None] * frequencies  # [B, channels / 2]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimestepEmbedding(nn.Module):
    """What the residual blocks are told of the time: two linear layers on its cosines and sines.

    Each block begins with SiLU of what it is told, so that is done here, once.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(channels, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        """Map times [B] to [B, width]."""
        waves = timestep_embedding(t, self.linear_1.in_features)  # [B, channels]
        h = F.silu(self.linear_1(waves.to(self.linear_1.weight.dtype)))
        return F.silu(self.linear_2(h))


class ResnetBlock(nn.Module):
    """Two convolutions around which the input is carried past.

    Parameters
    ----------
    channels_in, channels : int
        Where they differ, a 1x1 convolution (``conv_shortcut``) fits the input to the sum.
    time_channels : int, optional
        Width of the time embedding that is added between the convolutions; None for the autoencoder, which knows no
        time.
    groups, eps
        Of the two group norms: eps is 1e-5 in Stable Diffusion's U-Net and 1e-6 in its autoencoder.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        time_channels: int | None = None,
        *,
        groups: int = 32,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels_in, eps)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        if time_channels is not None:
            self.time_emb_proj = nn.Linear(time_channels, channels)
        self.norm2 = nn.GroupNorm(groups, channels, eps)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_shortcut = (
            nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        )

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Map ``x`` [B, channels_in, H, W], with the embedded ``time`` [B, time_channels], to [B, channels, H, W]."""
        h = self.conv1(F.silu(self.norm1(x)))
        if time is not None:
            h = h + self.time_emb_proj(time)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return self.conv_shortcut(x) + h


class Downsample(nn.Module):
    """Halve height and width by a 3x3 convolution of stride 2.

    The U-Net pads one pixel on every side. The autoencoder pads on the right and below alone (``padding=0``): with the
    other padding its pictures shift and get a brown border.
    """

    def __init__(self, channels: int, padding: int = 1) -> None:
        super().__init__()
        self.corner_only = padding == 0
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H / 2, W / 2]; an odd size is rounded up with ``padding`` 1, and down with 0."""
        if self.corner_only:
            x = F.pad(x, (0, 1, 0, 1))
        return self.conv(x)


class Upsample(nn.Module):
    """Repeat each pixel to a larger size, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Map [B, C, H, W] to [B, C, 2H, 2W], or to the ``size`` of what comes beside it."""
        if size is None:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        else:
            x = F.interpolate(x, size=size, mode="nearest")
        return self.conv(x)
