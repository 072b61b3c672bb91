"""Guidance by a gradient: what all methods share that have a density to climb.

By Bayes' rule the score of p(x_t | y) is that of p(x_t) plus the gradient of log p(y | x_t) (Song et al. 2021, arXiv
2011.13456, section 5). In eps, which is -sqrt(1 - alpha_bar) times the score, this is the conditional sampling of
Dhariwal and Nichol 2021 (arXiv 2105.05233, algorithm 2; it has no scale, which stands in their algorithm 1).
B is the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minisd.diffusion import Denoiser, NoiseSchedule

LogDensity = Callable[[Tensor, Tensor], Tensor]


def guided_by_gradient(
    denoise: Denoiser, log_density: LogDensity, scale: float, schedule: NoiseSchedule
) -> Denoiser:
    """Steer a denoiser uphill: eps - scale sqrt(1 - alpha_bar_t) grad log_density(x_t, t).

    Gradients are switched on inside, so it runs under ``torch.no_grad()``. Where the caller has them on, the outcome
    can be differentiated in its turn, by x_t and by whatever the two functions are made of; the graph then grows with
    every step, so a plain sampler wants ``no_grad``.

    Parameters
    ----------
    denoise : Denoiser
        Called once a step.
    log_density : callable
        (x_t [B, ...], t [B]) to [B], in nats, up to a constant; such as log p(y | x_t). A row must depend on its own
        x_t alone: a network with batch normalisation has to be in its eval mode.
    scale : float
        1 is Bayes' rule, 0 is ``denoise`` itself, and then ``log_density`` is not called.
    schedule : NoiseSchedule

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        If the scale is not finite. At a step, if ``log_density`` does not return [B], or not as a differentiable
        function of x_t; under ``torch.inference_mode()``, where nothing is.
    """
    if not math.isfinite(scale):
        raise ValueError(f"scale is {scale}; it must be a finite number")
    if scale == 0:
        return denoise

    def guided(x_t: Tensor, t: Tensor) -> Tensor:
        uphill = gradient_of(log_density, x_t, t)
        return denoise(x_t, t) + scale * schedule.convert(uphill, x_t, t, "score", "eps")

    return guided


def gradient_of(log_density: LogDensity, x_t: Tensor, t: Tensor) -> Tensor:
    """Gradient of ``log_density`` by x_t, shape [B, ...]; see `guided_by_gradient` for what it asks and refuses."""
    if torch.is_inference_mode_enabled():
        raise ValueError("inference mode is on, where nothing has a gradient; use torch.no_grad()")
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # a leaf of our own where nobody differentiates, so that the graph of this step dies with it
        x = x_t if again and x_t.requires_grad else x_t.detach().requires_grad_()
        value = log_density(x, t)
        if value.shape != x.shape[:1]:
            raise ValueError(
                f"log_density returned shape {tuple(value.shape)}; it must be one number for "
                f"each of the {len(x)} pictures"
            )
        uphill = None
        if value.requires_grad:
            (uphill,) = torch.autograd.grad(value.sum(), x, create_graph=again, allow_unused=True)
    if uphill is None:
        raise ValueError("log_density returned what has no gradient by x_t; is it under no_grad?")
    return uphill
