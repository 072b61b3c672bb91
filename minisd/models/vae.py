"""The autoencoder of Stable Diffusion 1.x: pictures to latents an eighth as wide and high, and back.

Kingma and Welling 2014 (arXiv 1312.6114) for the variational autoencoder, Rombach et al. 2022 (arXiv 2112.10752,
sections 3.1 and G) for this one. Its latents are numbers of a Gaussian, not entries of a codebook: that is the other
kind, in `minisd.models.quantiser`.
B batch, C channels, H W height and width of the picture, h w of the latent. Attribute names are those of the diffusers
checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minisd.models.attention import Attention
from minisd.models.config import read_config
from minisd.models.layers import Downsample, ResnetBlock, Upsample

EPS = 1e-6
"""Of every group norm here; the U-Net's residual blocks have 1e-5."""

FIXED = {
    "act_fn": "silu",
    "mid_block_add_attention": True,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    **dict.fromkeys(("shift_factor", "latents_mean", "latents_std")),
}
"""What every autoencoder of Stable Diffusion 1.x has in common."""


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of an autoencoder, by their names in ``vae/config.json``; the defaults are Stable Diffusion 1.x.

    Attributes
    ----------
    sample_size : int
        Height and width of the pictures it was trained on.
    in_channels, out_channels : int
        Of the picture.
    latent_channels : int
    block_out_channels : tuple of int
        Channels of each level, from the largest picture to the smallest. Each level but the last halves the size.
    layers_per_block : int
        Residual blocks of a level of the encoder; one more in the decoder.
    norm_num_groups : int
        Groups of every group norm.
    scaling_factor : float
        What a latent is multiplied with for the U-Net, so that its variance is about 1. The autoencoder itself neither
        multiplies nor divides.
    """

    sample_size: int = 512
    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    scaling_factor: float = 0.18215

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> VAEConfig:
        """Read the settings of ``vae/config.json``; see `read_config` for the errors."""
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        levels = len(settings.get("block_out_channels") or cls.block_out_channels)
        blocks = {
            "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels,
        }
        return read_config(cls, settings, FIXED | blocks)

    @property
    def factor(self) -> int:
        """How many times smaller a latent is than its picture in height and in width, 8 in Stable Diffusion."""
        return 2 ** (len(self.block_out_channels) - 1)


@dataclass(frozen=True)
class Gaussian:
    """Independent normal distributions, one for each number of the latents.

    Attributes
    ----------
    mean, std : Tensor, shape [B, latent_channels, h, w]
    """

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Draw ``mean + std * noise``, for standard normal ``noise`` of the same shape.

        With the noise drawn apart, gradients reach mean and std (Kingma and Welling 2014, section 2.4).
        """
        return self.mean + self.std * noise

    def kl(self) -> Tensor:
        """Divergence from the standard normal, summed over each latent; shape [B], float32 or wider.

        It is ``sum((mean^2 + std^2 - 1) / 2 - log(std))`` (Kingma and Welling 2014, appendix B).
        """
        mean, std = self.mean, self.std
        if mean.itemsize < 4:  # a sum over a whole latent does not fit into half precision
            mean, std = mean.float(), std.float()
        return ((mean**2 + std**2 - 1) / 2 - std.log()).sum(dim=(1, 2, 3))


class PixelAttention(Attention):
    """Self-attention of one head over the pixels of a feature map, which is carried past it."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__(channels, heads=1, bias=True)
        self.group_norm = nn.GroupNorm(groups, channels, EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        h = rearrange(self.group_norm(x), "b c h w -> b (h w) c")
        h = super().forward(h)
        return x + rearrange(h, "b (h w) c -> b c h w", h=x.shape[2])


class DownBlock(nn.Module):
    """A level of the encoder: residual blocks, then half the size."""

    def __init__(self, channels_in: int, channels: int, last: bool, config: VAEConfig) -> None:
        super().__init__()
        inputs = [channels_in] + [channels] * (config.layers_per_block - 1)
        self.resnets = nn.ModuleList(_resnet(n, channels, config) for n in inputs)
        self.downsamplers = nn.ModuleList([] if last else [Downsample(channels, padding=0)])

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C', H / 2, W / 2], or to [B, C', H, W] on the last level."""
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x)
        return x


class MidBlock(nn.Module):
    """The bottom of either half: residual block, attention, residual block."""

    def __init__(self, channels: int, config: VAEConfig) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_resnet(channels, channels, config) for _ in range(2))
        self.attentions = nn.ModuleList([PixelAttention(channels, config.norm_num_groups)])

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class UpBlock(nn.Module):
    """A level of the decoder: residual blocks, then twice the size."""

    def __init__(self, channels_in: int, channels: int, last: bool, config: VAEConfig) -> None:
        super().__init__()
        inputs = [channels_in] + [channels] * config.layers_per_block
        self.resnets = nn.ModuleList(_resnet(n, channels, config) for n in inputs)
        self.upsamplers = nn.ModuleList([] if last else [Upsample(channels)])

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C', 2H, 2W], or to [B, C', H, W] on the last level."""
        for layer in (*self.resnets, *self.upsamplers):
            x = layer(x)
        return x


class Encoder(nn.Module):
    """Pictures to twice the channels of a latent: halve, widen, and at the bottom let all pixels look at each other."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        channels = config.block_out_channels
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        inputs = (channels[0], *channels[:-1])
        self.down_blocks = nn.ModuleList(
            DownBlock(before, n, i == len(channels) - 1, config)
            for i, (before, n) in enumerate(zip(inputs, channels, strict=True))
        )
        self.mid_block = MidBlock(channels[-1], config)
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, channels[-1], EPS)
        self.conv_out = nn.Conv2d(channels[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in_channels, H, W] to [B, 2 * latent_channels, h, w]."""
        h = self.conv_in(x)
        for block in self.down_blocks:
            h = block(h)
        h = self.mid_block(h)
        return self.conv_out(F.silu(self.conv_norm_out(h)))


class Decoder(nn.Module):
    """Latents to pictures: the encoder's way backwards, with one more residual block a level."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        channels = config.block_out_channels[::-1]
        self.conv_in = nn.Conv2d(config.latent_channels, channels[0], 3, padding=1)
        self.mid_block = MidBlock(channels[0], config)
        inputs = (channels[0], *channels[:-1])
        self.up_blocks = nn.ModuleList(
            UpBlock(before, n, i == len(channels) - 1, config)
            for i, (before, n) in enumerate(zip(inputs, channels, strict=True))
        )
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, channels[-1], EPS)
        self.conv_out = nn.Conv2d(channels[-1], config.out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Map [B, latent_channels, h, w] to [B, out_channels, H, W]."""
        h = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            h = block(h)
        return self.conv_out(F.silu(self.conv_norm_out(h)))


class AutoencoderKL(nn.Module):
    """The variational autoencoder; KL is for the divergence in its loss.

    Parameters
    ----------
    config : VAEConfig
        The default is Stable Diffusion 1.x: 83,653,863 parameters in 248 tensors.
    """

    def __init__(self, config: VAEConfig = VAEConfig()) -> None:
        super().__init__()
        self.config = config
        n = config.latent_channels
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * n, 2 * n, 1)
        self.post_quant_conv = nn.Conv2d(n, n, 1)

    def encode(self, x: Tensor) -> Gaussian:
        """Tell which latents a picture may have.

        Parameters
        ----------
        x : Tensor, shape [B, in_channels, H, W]
            Pictures in [-1, 1]. ``H`` and ``W`` are multiples of ``config.factor``.

        Returns
        -------
        Gaussian
            Mean and standard deviation, [B, latent_channels, H / factor, W / factor], unscaled. The logarithm of the
            variance is kept within [-30, 20].

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        self.check_picture(x)
        moments = self.quant_conv(self.encoder(x))  # [B, 2 * latent_channels, h, w]
        mean, log_variance = moments.chunk(2, dim=1)
        return Gaussian(mean, (log_variance.clamp(-30, 20) / 2).exp())

    def decode(self, z: Tensor) -> Tensor:
        """Draw the picture of a latent.

        Parameters
        ----------
        z : Tensor, shape [B, latent_channels, h, w]
            Unscaled: what comes from the U-Net is divided by ``config.scaling_factor`` first.

        Returns
        -------
        Tensor, shape [B, out_channels, factor * h, factor * w]
            In about [-1, 1], not clamped.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        self.check_latent(z)
        return self.decoder(self.post_quant_conv(z))

    def check_picture(self, x: Tensor) -> None:
        """Raise ValueError unless ``x`` has a shape that can be encoded."""
        wanted, factor = self.config.in_channels, self.config.factor
        if x.ndim != 4 or x.shape[1] != wanted or x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; "
                f"it must be [B, {wanted}, H, W] with H and W multiples of {factor}"
            )

    def check_latent(self, z: Tensor) -> None:
        """Raise ValueError unless ``z`` has a shape that can be decoded."""
        wanted = self.config.latent_channels
        if z.ndim != 4 or z.shape[1] != wanted:
            raise ValueError(f"z has shape {tuple(z.shape)}; it must be [B, {wanted}, h, w]")


def _resnet(channels_in: int, channels: int, config: VAEConfig) -> ResnetBlock:
    return ResnetBlock(channels_in, channels, groups=config.norm_num_groups, eps=EPS)
