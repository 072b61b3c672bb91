"""The haemodynamic response: what the BOLD signal of a voxel does in the seconds after a stimulus.

The shape is a difference of two gamma densities (Friston et al. 1998; Glover 1999). A response is sampled every `STEP`
seconds from the onset of the stimulus, S samples, and peaks at 1, so that a beta is the height of the response.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

STEP = 0.1
"""Seconds between two samples of a response."""

LENGTH = 50.0
"""Seconds that a response is followed for; it is back at 0 by then."""

FINE = 10
"""Steps of the running integral in one `STEP`."""


def double_gamma(
    t: ArrayLike,
    peak: float = 5.0,
    undershoot: float = 15.0,
    ratio: float = 1 / 6,
    scale: float = 1.0,
) -> NDArray[np.float64]:
    """Compute the response to a stimulus of no duration: one gamma density, less a later one.

    Parameters
    ----------
    t : float
        Seconds since the stimulus; the response is 0 before it.
    peak, undershoot : float
        Modes of the two densities in seconds, above 0: about when the response is highest and lowest.
    ratio : float
        Area of the undershoot for an area of 1 of the peak, from 0.
    scale : float
        Of both densities, in seconds, above 0. The larger it is, the wider they are: their variance is
        ``scale * (mode + scale)``.

    Returns
    -------
    float64, of t's shape
        Per second. The default is the response that is usual: shapes of 6 and 16, a scale of 1, and a ratio of 1/6.

    Raises
    ------
    ValueError
        If a parameter is outside of its range.
    """
    for name, value in (("peak", peak), ("undershoot", undershoot), ("scale", scale)):
        if not value > 0:
            raise ValueError(f"{name} is {value}; it must be above 0 seconds")
    if not ratio >= 0:
        raise ValueError(f"ratio is {ratio}; it must be 0 or more")
    return _gamma(t, peak, scale) - ratio * _gamma(t, undershoot, scale)


def response(
    duration: float,
    peak: float = 5.0,
    undershoot: float = 15.0,
    ratio: float = 1 / 6,
    scale: float = 1.0,
) -> NDArray[np.float64]:
    """Compute the response to a stimulus that stays for a while.

    A stimulus that stays is one after another of no duration, so its response is the convolution of `double_gamma` with
    a box of that duration: with the running integral F of `double_gamma`, ``F(t) - F(t - duration)``.

    Parameters
    ----------
    duration : float
        Seconds that the stimulus stays, above 0 (3 in NSD).
    peak, undershoot, ratio, scale : float
        As for `double_gamma`.

    Returns
    -------
    float64 [S]
        Every `STEP` seconds from the onset; the highest sample is 1.

    Raises
    ------
    ValueError
        If a parameter is outside of its range.
    """
    if not 0 < duration < LENGTH:
        raise ValueError(f"duration is {duration}; it must be above 0 and below {LENGTH:g} seconds")
    fine = np.arange(round(LENGTH / STEP) * FINE + 1) * (STEP / FINE)
    h = double_gamma(fine, peak, undershoot, ratio, scale)
    integral = np.concatenate([[0.0], np.cumsum((h[1:] + h[:-1]) / 2)])  # the trapezoidal rule
    t = fine[::FINE]
    found = integral[::FINE] - np.interp(t - duration, fine, integral)
    return found / found.max()


def library(duration: float, size: int = 20) -> NDArray[np.float64]:
    """Make a family of responses from early and narrow, with a deep undershoot, to late and wide, with none.

    NSD chooses one of 20 responses for each voxel (Allen et al. 2022, Methods, "GLM analysis"). Theirs were measured:
    for a stimulus of 3 s they peak from 4.2 to 7.7 s, and stay above half of the peak for 3.4 to 5.3 s. These are of
    the form of `double_gamma`, over about the same range: 4.2 to 7.6 s, and 3.1 to 5.4 s.

    Parameters
    ----------
    duration : float
        Seconds that the stimulus stays, above 0.
    size : int
        How many responses, from 2.

    Returns
    -------
    float64 [size, S]
        Each every `STEP` seconds from the onset; the highest sample of each is 1.

    Raises
    ------
    ValueError
        If there are fewer than 2 responses, or the duration is outside of its range.
    """
    if size < 2:
        raise ValueError(f"size is {size}; a library has 2 responses or more")
    late = np.linspace(0, 1, size)  # where each stands between the earliest and the latest
    return np.stack(
        [
            response(duration, 2.5 + 3.5 * s, 7.0 + 9.0 * s, 0.5 * (1 - s) ** 2, 0.5 + 0.25 * s)
            for s in late
        ]
    )


def _gamma(t: ArrayLike, mode: float, scale: float) -> NDArray[np.float64]:
    """Compute a gamma density from its mode."""
    power = mode / scale  # the shape, less 1
    x = np.maximum(np.asarray(t, np.float64), 0) / scale
    return x**power * np.exp(-x - math.lgamma(power + 1)) / scale
