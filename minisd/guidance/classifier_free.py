"""Classifier-free guidance: away from what the network says without the text, towards what it says with it.

Ho and Salimans 2022 (arXiv 2207.12598); the scale is that of Stable Diffusion and of GLIDE (Nichol et al. 2022,
arXiv 2112.10741, equation 8): 1 is the conditional prediction, 0 the unconditional one. Ho and Salimans's own w is one
less: 0 is the conditional prediction.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minisd.diffusion import Denoiser


def classifier_free(
    network: Callable[[Tensor, Tensor, Tensor], Tensor],
    conditional: Tensor,
    unconditional: Tensor,
    scale: float,
) -> Denoiser:
    """Bind a network to its conditioning: eps = eps(null) + scale (eps(c) - eps(null)).

    Parameters
    ----------
    network : callable
        (x_t [B, ...], t [B], context [B, M, D]) to a prediction shaped like x_t. It is called once a step, on both
        conditions stacked; at scale 1, on the conditional one alone.
    conditional, unconditional : Tensor, shape [B, M, D]
        Embedding of the text, and of the empty or the negative text.
    scale : float

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        If the two conditions differ in shape, or the scale is not finite.
    """
    if conditional.shape != unconditional.shape:
        raise ValueError(
            f"unconditional has shape {tuple(unconditional.shape)}; "
            f"it must be that of conditional, {tuple(conditional.shape)}"
        )
    if not math.isfinite(scale):
        raise ValueError(f"scale is {scale}; it must be a finite number")
    if scale == 1:
        return lambda x_t, t: network(x_t, t, conditional)
    both = torch.cat([unconditional, conditional])  # [2B, M, D]

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        null, c = network(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)
        return null + scale * (c - null)

    return denoise
