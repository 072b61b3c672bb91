"""Where guidance is given, and how far it may go: two refinements that take any denoiser and give one.

Guidance in an interval of noise levels (Kynkäänniemi et al. 2024, arXiv 2404.07724) and dynamic thresholding (Imagen,
Saharia et al. 2022, arXiv 2205.11487, section 2.3). Rescaled guidance looks at both predictions of classifier-free
guidance and stands beside it, in `minisd.guidance.classifier_free`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minisd.diffusion import Denoiser, NoiseSchedule


def in_interval(
    guided: Denoiser, unguided: Denoiser, low: float, high: float, schedule: NoiseSchedule
) -> Denoiser:
    """Guide at noise levels in (low, high] alone.

    At high noise guidance throws out modes of the data, at low noise it changes next to nothing (Kynkäänniemi et al.
    2024). A step outside of the interval costs one prediction of ``unguided``.

    Parameters
    ----------
    guided, unguided : Denoiser
        For classifier-free guidance of scale s, and as the paper has it, the one of scale s and the one of scale 1.
    low, high : float
        The interval in sigma = sqrt((1 - alpha_bar) / alpha_bar), see `NoiseSchedule.sigma_at`; 0 <= low < high.
        (0.28, 5.42] is the paper's for Stable Diffusion XL. ``high`` may be infinite.
    schedule : NoiseSchedule

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        If the interval is empty, not a number, or begins below 0.
    """
    if not 0 <= low < high:
        raise ValueError(f"low and high are {low} and {high}; they must be 0 <= low < high")

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        sigma = schedule.sigma_at(t)
        inside = (low < sigma) & (sigma <= high)
        if inside.all():
            return guided(x_t, t)
        if not inside.any():
            return unguided(x_t, t)
        inside = inside.to(x_t.device).reshape(-1, *[1] * (x_t.ndim - 1))
        return torch.where(inside, guided(x_t, t), unguided(x_t, t))

    return denoise


def dynamically_thresholded(
    denoise: Denoiser, schedule: NoiseSchedule, percentile: float = 99.5, bound: float = 1.0
) -> Denoiser:
    """Pull the predicted clean picture back into the range of the data, each picture by what it needs.

    Imagen, section 2.3: with m the percentile of abs(x_0), or ``bound`` if that is more, x_0 is cut to [-m, m] and
    divided by m / bound. So a picture whose values left the range keeps its contrasts, where a cut at the bound alone
    (static thresholding) would saturate them.

    Parameters
    ----------
    denoise : Denoiser
        Commonly one with a large scale.
    schedule : NoiseSchedule
    percentile : float
        In percent, over 0 to 100; at 100 nothing is cut and all is divided. The paper names no value; 99.5 is the
        default of diffusers.
    bound : float
        Largest absolute value of the data: 1 for pictures in [-1, 1], as in the paper. Latents have no bound of
        their own; measure one.

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        If ``percentile`` leaves (0, 100] or ``bound`` is not a positive number.
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile is {percentile}; it must lie in (0, 100]")
    if not 0 < bound < float("inf"):
        raise ValueError(f"bound is {bound}; it must be a positive number")

    def thresholded(x_t: Tensor, t: Tensor) -> Tensor:
        eps = denoise(x_t, t)
        x_0 = schedule.convert(eps, x_t, t, "eps", "x0")
        flat = x_0.flatten(1).abs()
        wide = flat if flat.dtype == torch.float64 else flat.float()  # quantile takes no half
        m = torch.quantile(wide, percentile / 100, dim=1).clamp(min=bound).to(x_0.dtype)
        m = m.reshape(-1, *[1] * (x_0.ndim - 1))
        moved = x_0.clamp(-m, m) * (bound / m) - x_0
        # converting the difference leaves eps as it was, to the last digit, where nothing is moved
        return eps + schedule.convert(moved, torch.zeros_like(x_t), t, "x0", "eps")

    return thresholded
