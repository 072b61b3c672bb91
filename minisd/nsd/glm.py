"""From BOLD to betas: a linear model of a voxel's signal, one regressor a trial, one response for each voxel.

A run is modelled as ``y = X b + P d + noise``: y the BOLD signal, X the design (column i is the response to trial i), b
the betas, P slow polynomials that follow the drift of the scanner, d their weights. Least squares, run by run (Allen et
al. 2022, Methods, "GLM analysis"; Prince et al. 2022). Stages of NSD that need repeats are in `minisd.nsd.denoise`.
T trials of all runs, in their order; V voxels; S samples of a response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.hrf import STEP

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Run:
    """What was measured in one run of a scan, and what was shown in it.

    Parameters
    ----------
    bold : float [volumes, V]
        As the scanner gives it: above 0 on average, in units that mean nothing by themselves.
    onsets : float [trials]
        Seconds from the first volume to the onset of each trial, rising.
    pictures : int [trials]
        What each trial showed; repeats have the same number.
    tr : float
        Seconds from one volume to the next; 4/3 in NSD's prepared data.

    Raises
    ------
    ValueError
        If shapes or values are not so, or a voxel cannot be modelled: it has a value that is no number, never changes,
        or is not above 0 on average.
    """

    bold: Floats
    onsets: Floats
    pictures: NDArray[np.integer]
    tr: float = 4 / 3

    def __post_init__(self) -> None:
        if self.bold.ndim != 2:
            raise ValueError(f"bold has the shape {self.bold.shape}; it must be [volumes, voxels]")
        if not self.tr > 0:
            raise ValueError(f"tr is {self.tr}; it must be above 0 seconds")
        if self.onsets.ndim != 1 or self.onsets.shape != self.pictures.shape:
            raise ValueError(
                f"onsets have the shape {self.onsets.shape} and pictures {self.pictures.shape}; "
                "both must be [trials]"
            )
        end = len(self.bold) * self.tr
        if (
            not len(self.onsets)
            or not np.all(np.diff(self.onsets) > 0)
            or self.onsets[0] < 0
            or self.onsets[-1] >= end
        ):
            raise ValueError(f"onsets are {self.onsets}; they must rise, from 0 to below {end:g} s")
        for fault, which in (
            ("has values that are no numbers", ~np.isfinite(self.bold).all(axis=0)),
            ("never changes", np.ptp(self.bold, axis=0) == 0),
            ("is not above 0 on average", ~(self.bold.mean(axis=0) > 0)),
        ):
            if which.any():
                first = np.flatnonzero(which)[0]
                raise ValueError(
                    f"voxel {first} of bold {fault}, and so do {which.sum() - 1} others; leave them out"
                )


def design(run: Run, hrf: Floats) -> NDArray[np.float64]:
    """Make the design matrix of a run: what each trial adds to the signal, volume by volume, at a beta of 1.

    It is the convolution of a unit pulse at each onset with the response, and onsets may lie between volumes.

    Parameters
    ----------
    run : Run
    hrf : float [S]
        The response every `minisd.nsd.hrf.STEP` seconds from the onset, to a stimulus as long as the trials'.

    Returns
    -------
    float64 [volumes, trials]

    Raises
    ------
    ValueError
        If the response is not one response.
    """
    if hrf.ndim != 1:
        raise ValueError(f"hrf has the shape {hrf.shape}; it must be [samples]")
    t = np.arange(len(run.bold))[:, None] * run.tr - run.onsets
    return np.interp(t, np.arange(len(hrf)) * STEP, hrf, left=0, right=0)


def drifts(volumes: int, tr: float) -> NDArray[np.float64]:
    """Make the polynomials that follow a run's drift, up to the degree that is half of its minutes, rounded.

    Parameters
    ----------
    volumes : int
        From 1.
    tr : float
        Seconds from one volume to the next.

    Returns
    -------
    float64 [volumes, degree + 1]
        Orthonormal; the first is constant. A run of NSD (226 volumes of 4/3 s) has degree 3.
    """
    degree = floor(volumes * tr / 60 / 2 + 0.5)
    powers = np.linspace(-1, 1, volumes)[:, None] ** np.arange(degree + 1)
    return np.linalg.qr(powers)[0]


def without(nuisance: Floats, x: Floats) -> NDArray[np.float64]:
    """Take out of each column of x [n, m] what the columns of nuisance [n, k] can follow.

    A least-squares fit of both together gives the same betas as a fit of what this leaves of the design to what it
    leaves of the data (the Frisch-Waugh-Lovell theorem).
    """
    q = np.linalg.qr(nuisance)[0]
    return x - q @ (q.T @ x)


def clean_data(runs: Sequence[Run], noise: Sequence[Floats] | None = None) -> list[Floats]:
    """Take the drift, and what a run's noise regressors [volumes, K] follow, out of the signals of each run."""
    return [without(n, run.bold) for n, run in zip(_nuisance(runs, noise), runs, strict=True)]


def clean_designs(
    runs: Sequence[Run], hrf: Floats, noise: Sequence[Floats] | None = None
) -> list[Floats]:
    """Take the drift, and what a run's noise regressors [volumes, K] follow, out of the design of each run."""
    return [without(n, design(r, hrf)) for n, r in zip(_nuisance(runs, noise), runs, strict=True)]


def least_squares(designs: Sequence[Floats], data: Sequence[Floats]) -> NDArray[np.float64]:
    """Find each trial's beta in each voxel, in the data's units.

    Parameters
    ----------
    designs : float [volumes, trials], one a run
        Without drift: `clean_designs`.
    data : float [volumes, V], one a run
        Likewise: `clean_data`.

    Returns
    -------
    float64 [T, V]

    Raises
    ------
    ValueError
        If the trials of a run cannot be told apart in it.
    """
    betas = []
    for i, (x, y) in enumerate(zip(designs, data, strict=True)):
        found, _, rank, _ = np.linalg.lstsq(x, y)
        if rank < x.shape[1]:
            raise ValueError(
                f"run {i} has {x.shape[1]} trials, but its design has rank {rank}: the onsets are too close together "
                "or too late, or there are too few volumes"
            )
        betas.append(found)
    return np.concatenate(betas)


def explained(
    designs: Sequence[Floats], data: Sequence[Floats], betas: Floats
) -> NDArray[np.float64]:
    """Find what percentage of the variance of the data, all runs together, the betas explain.

    Parameters
    ----------
    designs : float [volumes, trials], one a run
        Without drift: `clean_designs`.
    data : float [volumes, V], one a run
        Likewise: `clean_data`.
    betas : float [T, V]
        In the data's units.

    Returns
    -------
    float64 [V]
        R^2, up to 100; below 0 if the betas are worse than none.
    """
    left = total = 0.0
    first = 0
    for x, y in zip(designs, data, strict=True):
        left = left + np.sum((y - x @ betas[first : first + x.shape[1]]) ** 2, axis=0)
        total = total + np.sum(y**2, axis=0)
        first += x.shape[1]
    return 100 * (1 - left / total)


def mean_signal(runs: Sequence[Run]) -> NDArray[np.float64]:
    """Average each voxel over all volumes of all runs [V]; a beta of 1 % is a hundredth of it."""
    volumes = sum(len(run.bold) for run in runs)
    return sum(run.bold.sum(axis=0, dtype=np.float64) for run in runs) / volumes


def on_off(runs: Sequence[Run], hrf: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit one beta for all trials of all runs, which tells whether a voxel responds to pictures at all.

    Parameters
    ----------
    runs : sequence of Run
    hrf : float [S]
        The response that all voxels are taken to have.

    Returns
    -------
    beta : float64 [V]
        Percent of the mean signal.
    r2 : float64 [V]
        Percent of the variance that it explains.
    """
    x = np.concatenate([x.sum(axis=1, keepdims=True) for x in clean_designs(runs, hrf)])
    y = np.concatenate(clean_data(runs))
    beta = least_squares([x], [y])
    return 100 * beta[0] / mean_signal(runs), explained([x], [y], beta)


def single_trials(
    runs: Sequence[Run], hrf: Floats
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a beta for each trial, with one response for all voxels: NSD's ``betas_assumehrf``.

    Parameters
    ----------
    runs : sequence of Run
    hrf : float [S]

    Returns
    -------
    betas : float64 [T, V]
        Percent of the mean signal.
    r2 : float64 [V]
        Percent of the variance that they explain.
    """
    x, y = clean_designs(runs, hrf), clean_data(runs)
    betas = least_squares(x, y)
    return 100 * betas / mean_signal(runs), explained(x, y, betas)


def fit_hrf(
    runs: Sequence[Run], library: Floats
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Fit a beta for each trial with each response, and keep each voxel's best: NSD's ``betas_fithrf``.

    The response that explains most of the variance is the best; all have the same number of regressors.

    Parameters
    ----------
    runs : sequence of Run
    library : float [H, S]
        The responses to choose from.

    Returns
    -------
    hrf : int [V]
        Which response, from 0.
    betas : float64 [T, V]
        Percent of the mean signal.
    r2 : float64 [V]
        Percent of the variance that they explain.
    """
    if library.ndim != 2 or not len(library):
        raise ValueError(f"library has the shape {library.shape}; it must be [responses, samples]")
    y = clean_data(runs)
    r2 = np.full(y[0].shape[1], -np.inf)
    best = np.zeros(len(r2), np.int64)
    betas = np.empty((sum(len(run.onsets) for run in runs), len(r2)))
    for h, hrf in enumerate(library):
        x = clean_designs(runs, hrf)
        found = least_squares(x, y)
        explains = explained(x, y, found)
        better = explains > r2
        best[better], r2[better], betas[:, better] = h, explains[better], found[:, better]
    return best, 100 * betas / mean_signal(runs), r2


def _nuisance(runs: Sequence[Run], noise: Sequence[Floats] | None) -> list[Floats]:
    """Gather each run's drifts and noise regressors."""
    if len({run.bold.shape[1] for run in runs}) != 1:
        raise ValueError(
            f"runs have {[run.bold.shape[1] for run in runs]} voxels; all must have the same, and there must be a run"
        )
    found = [drifts(len(run.bold), run.tr) for run in runs]
    if noise is not None:
        found = [np.hstack([d, n]) for d, n in zip(found, noise, strict=True)]
    return found
