"""How sure a mean over pictures is, and whether one system is better than another: resampling, by scipy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minisd.extras import require


class Interval(NamedTuple):
    """A mean, and the bounds that hold it with 95 % confidence."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(values: ArrayLike, resamples: int = 9999, seed: int = 0) -> Interval:
    """Bootstrap the mean over pictures (Efron 1987: bias-corrected and accelerated).

    Parameters
    ----------
    values : array [N]
        A number for each picture; two or more.
    resamples, seed : int

    Returns
    -------
    Interval
        A single point if all values are the same.

    Raises
    ------
    ValueError
        If there are less than two, or one is NaN or infinite.
    """
    values = _checked("values", values)
    mean = float(values.mean())
    if np.ptp(values) == 0:
        return Interval(mean, mean, mean)
    stats = require("scipy.stats", "brain")
    rng = np.random.default_rng(seed)
    found = stats.bootstrap((values,), np.mean, n_resamples=resamples, rng=rng, batch=1000)
    return Interval(mean, *(float(bound) for bound in found.confidence_interval))


def paired_test(a: ArrayLike, b: ArrayLike, resamples: int = 9999, seed: int = 0) -> float:
    """Test whether two systems are equally good on the same pictures, by exchanging them picture by picture.

    Parameters
    ----------
    a, b : array [N]
        A number for each picture from the one and from the other; two or more.
    resamples, seed : int
        Of N below 14, all exchanges are counted instead.

    Returns
    -------
    float
        Two-sided p: how often chance makes a mean difference as large as this. At least 1 / (resamples + 1).

    Raises
    ------
    ValueError
        If they are not as many, are less than two, or one is NaN or infinite.
    """
    a, b = _checked("a", a), _checked("b", b)
    if len(a) != len(b):
        raise ValueError(
            f"a and b have {len(a)} and {len(b)} values; they must be of the same pictures"
        )
    stats = require("scipy.stats", "brain")
    found = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
        batch=1000,
    )
    return float(found.pvalue)


def _checked(name: str, values: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or len(found) < 2:
        raise ValueError(f"{name} has the shape {found.shape}; it must be a row of two or more")
    if not np.isfinite(found).all():
        raise ValueError(
            f"{name}[{int(np.flatnonzero(~np.isfinite(found))[0])}] is NaN or infinite"
        )
    return found
