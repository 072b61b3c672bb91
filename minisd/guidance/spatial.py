"""Spatial guidance: this here, that there. SpaText, Avrahami et al. 2023 (arXiv 2211.14305).

A picture's plan is a map that holds, wherever a thing is to be, the CLIP image embedding of that thing, and 0 where
nothing is said (section 3.1 and figure 3). While training it is that of the thing as it looks, while sampling that
which a prior (`minisd.models.prior`) draws for a few words. The U-Net reads the map beside the noisy latent. So there
are two conditions, a text for the whole and the map, and classifier-free guidance for several (section 3.3).
B batch, n things, H W height and width of the masks, h w of the latent, D channels of an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisd.diffusion import Denoiser

ConditionedNetwork = Callable[..., Tensor]


def spatial_map(masks: Tensor, embeddings: Tensor, size: tuple[int, int]) -> Tensor:
    """Lay embeddings out where their things are to be.

    Parameters
    ----------
    masks : Tensor, shape [B, n, H, W], bool
        Where each thing is; no pixel has two.
    embeddings : Tensor, shape [B, n, D]
        Of each thing; 0 for one that is not there, which may have an empty mask.
    size : (int, int)
        h, w of the map. A cell on the edge of a mask gets the share of the embedding that the mask has of the cell.

    Returns
    -------
    Tensor, shape [B, D, h, w]

    Raises
    ------
    ValueError
        If the shapes do not fit, masks overlap, a thing's mask is empty since it fell outside, or an embedding is not
        finite.
    """
    if masks.ndim != 4 or masks.dtype != torch.bool:
        raise ValueError(
            f"masks is {masks.dtype} of shape {tuple(masks.shape)}; it must be bool, [B, n, H, W]"
        )
    if embeddings.ndim != 3 or embeddings.shape[:2] != masks.shape[:2]:
        raise ValueError(
            f"embeddings has shape {tuple(embeddings.shape)}; "
            f"it must be [{masks.shape[0]}, {masks.shape[1]}, D], one for each mask"
        )
    if not embeddings.isfinite().all():
        raise ValueError("embeddings holds NaN or infinity")
    if rows := (masks.sum(dim=1) > 1).any(dim=(1, 2)).nonzero().flatten().tolist():
        raise ValueError(f"masks overlap in rows {rows}; a pixel can belong to one thing alone")
    outside = (embeddings != 0).any(dim=2) & ~masks.any(dim=(2, 3))
    if lost := outside.nonzero().tolist():
        raise ValueError(f"masks at {lost} (row, thing) are empty: those things fell outside")
    cover = F.adaptive_avg_pool2d(masks.to(embeddings.dtype), size)
    return torch.einsum("bnhw,bnd->bdhw", cover, embeddings)


@torch.no_grad()
def widen(unet: nn.Module, extra: int) -> None:
    """Give a U-Net more input channels, in place.

    The weights for them are 0, as those of Brooks et al. 2023 (arXiv 2211.09800, section 3.2), so the network computes
    what it did before, whatever is in them, until it is trained.

    Parameters
    ----------
    unet : UNet
    extra : int
        How many more, behind those that are there.

    Raises
    ------
    ValueError
        If it is not 1 or more.
    """
    if isinstance(extra, bool) or not isinstance(extra, int) or extra < 1:
        raise ValueError(f"extra is {extra!r}; it must be a whole number, 1 or more")
    old = unet.conv_in
    kind = {"device": old.weight.device, "dtype": old.weight.dtype}
    new = nn.Conv2d(
        old.in_channels + extra, old.out_channels, old.kernel_size, padding=old.padding, **kind
    )
    new.weight.zero_()
    new.weight[:, : old.in_channels] = old.weight
    new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.config = replace(unet.config, in_channels=new.in_channels)


def with_map(unet: nn.Module) -> ConditionedNetwork:
    """Call a widened U-Net with its map apart: (x_t, t, context, map [B, D, h, w]) to a prediction like x_t."""
    dtype = next(unet.parameters()).dtype

    def network(x_t: Tensor, t: Tensor, context: Tensor, spatial: Tensor) -> Tensor:
        x = torch.cat([x_t.to(dtype), spatial.to(dtype)], dim=1)
        return unet(x, t, context.to(dtype)).to(x_t.dtype)

    return network


def multi_conditional(
    network: ConditionedNetwork,
    conditions: Sequence[Tensor],
    nulls: Sequence[Tensor],
    scale: float | Sequence[float],
) -> Denoiser:
    """Classifier-free guidance for several conditions (SpaText, section 3.3).

    With one scale each: eps(null) + sum of scale_i (eps(c_i alone) - eps(null)), where in eps(c_i alone) the others are
    null (equation 3). It is Bayes' rule at scales of 1 if the conditions are independent given x_t, and costs as many
    predictions as there are conditions, and one. With one scale for all: eps(null) + scale (eps(all) - eps(null)), two
    predictions, and Bayes' rule at scale 1 whatever the conditions (equation 4).

    Parameters
    ----------
    network : callable
        (x_t [B, ...], t [B], and each condition) to a prediction shaped like x_t. It is called once a step, on all
        that it is asked stacked.
    conditions : sequence of Tensor [B, ...]
        Such as a text's embedding and a map.
    nulls : sequence of Tensor
        What stands for each where it is not told; shaped like it.
    scale : float or sequence of float
        One for all, or one each.

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        If there is no condition, there are not as many nulls or scales, a null differs in shape, or a scale is not
        finite.
    """
    if not conditions or len(conditions) != len(nulls):
        raise ValueError(
            f"conditions and nulls are {len(conditions)} and {len(nulls)}; "
            "they must be as many, and at least one"
        )
    for i, (told, null) in enumerate(zip(conditions, nulls, strict=True)):
        if told.shape != null.shape:
            raise ValueError(
                f"nulls[{i}] has shape {tuple(null.shape)}; it must be that of the condition, {tuple(told.shape)}"
            )
    scales = list(scale) if isinstance(scale, Sequence) else [scale]
    if isinstance(scale, Sequence) and len(scales) != len(conditions):
        raise ValueError(f"scale has {len(scales)} numbers; there are {len(conditions)} conditions")
    if not all(math.isfinite(s) for s in scales):
        raise ValueError(f"scale is {scale}; it must be finite")

    together = [True] * len(conditions)
    each = [[i == j for j in range(len(conditions))] for i in range(len(conditions))]
    asked = each if isinstance(scale, Sequence) else [together]
    if asked == [together] and scales == [1]:
        return lambda x_t, t: network(x_t, t, *conditions)
    looks = [[False] * len(conditions), *asked]
    stacked = [
        torch.cat([told if look[i] else null for look in looks])
        for i, (told, null) in enumerate(zip(conditions, nulls, strict=True))
    ]

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        k = len(looks)
        null, *found = network(torch.cat([x_t] * k), torch.cat([t] * k), *stacked).chunk(k)
        return null + sum(s * (one - null) for s, one in zip(scales, found, strict=True))

    return denoise
