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

Network = Callable[[Tensor, Tensor, Tensor], Tensor]


def scale_of_w(w: float) -> float:
    """Scale of `classifier_free` that is the w of Ho and Salimans 2022, equation 6: (1 + w) eps(c) - w eps(null)."""
    return w + 1


def w_of_scale(scale: float) -> float:
    """The w of Ho and Salimans that is a scale of `classifier_free`: the inverse of `scale_of_w`."""
    return scale - 1


def classifier_free(
    network: Network, conditional: Tensor, unconditional: Tensor, scale: float
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
    predict = _both(network, conditional, unconditional, scale)
    if scale == 1:
        return lambda x_t, t: network(x_t, t, conditional)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        null, c = predict(x_t, t)
        return null + scale * (c - null)

    return denoise


def rescaled(
    network: Network,
    conditional: Tensor,
    unconditional: Tensor,
    scale: float,
    phi: float = 0.7,
) -> Denoiser:
    """Classifier-free guidance whose prediction keeps the spread that it has without guidance.

    A large scale blows the prediction up, and the picture is overexposed. Lin et al. 2024 (arXiv 2305.08891) divide the
    guided prediction by its standard deviation over the picture, multiply it by that of the conditional one
    (equation 15), and blend the outcome with the guided prediction (equation 16).

    Parameters
    ----------
    network, conditional, unconditional, scale
        As for `classifier_free`. What is rescaled is what the network predicts, which in the paper is v: rescaling eps
        mends nothing, since a smaller eps leaves more of the noise in.
    phi : float
        Share of the rescaled prediction, 0 to 1; 0 is classifier-free guidance. The paper takes 0.7.

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        As `classifier_free`; if ``phi`` leaves [0, 1]; at a step, if a picture is a single number, which has no spread.
    """
    predict = _both(network, conditional, unconditional, scale)
    if not 0 <= phi <= 1:
        raise ValueError(f"phi is {phi}; it must lie in [0, 1]")

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        if x_t[0].numel() < 2:
            raise ValueError(
                f"x_t has shape {tuple(x_t.shape)}; a picture must be more than one number to have a spread"
            )
        null, c = predict(x_t, t)
        guided = null + scale * (c - null)
        picture = tuple(range(1, x_t.ndim))
        ratio = c.std(picture, keepdim=True) / guided.std(picture, keepdim=True)
        return phi * ratio * guided + (1 - phi) * guided

    return denoise


def _both(
    network: Network, conditional: Tensor, unconditional: Tensor, scale: float
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Predict without and with the text, in one call of the network."""
    if conditional.shape != unconditional.shape:
        raise ValueError(
            f"unconditional has shape {tuple(unconditional.shape)}; "
            f"it must be that of conditional, {tuple(conditional.shape)}"
        )
    if not math.isfinite(scale):
        raise ValueError(f"scale is {scale}; it must be a finite number")
    both = torch.cat([unconditional, conditional])  # [2B, M, D]

    def predict(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        null, c = network(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)
        return null, c

    return predict
