"""How much of a voxel's response is signal: NSD's noise-ceiling signal-to-noise ratio (ncsnr), and the ceiling.

After Allen et al. 2022, Methods, "Noise ceiling estimation", and NSD's own code for it. Responses are taken in units in
which a voxel's variance over all trials of a session is 1. The variance over the repeats of a picture is noise, v^2;
what is left is signal, 1 - v^2; ncsnr = sqrt(max(1 - v^2, 0)) / v.
N trials, V voxels, P pictures, R repeats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minisd.nsd.files import read_map
from minisd.nsd.layout import HEMISPHERES, SURFACE, VERSIONS, VOLUMES, Root
from minisd.nsd.trials import Trials

BLOCK = 2**21
"""Responses that are looked at at a time: some voxels in all trials."""


def ncsnr(betas: NDArray[np.floating], trials: Trials, repeats: int = 3) -> NDArray[np.float32]:
    """Estimate the ratio of signal to noise, as standard deviations, from repeated pictures.

    Parameters
    ----------
    betas : float [N, V]
        Single-trial responses, as they were read, of whole sessions.
    trials : Trials
        Of these responses.
    repeats : int
        R. Only pictures that are R times in these trials count, as in NSD; from 2.

    Returns
    -------
    float32 [V]
        From 0. A session in which a voxel does not vary (or has no number) tells nothing of the voxel, and the pictures
        with a repeat in it are left out for it; NaN where none is left.

    Raises
    ------
    ValueError
        If the trials are not those of the responses, or no picture is R times in them.
    """
    if betas.ndim != 2 or len(betas) != len(trials):
        raise ValueError(
            f"betas have the shape {betas.shape}; they must be [trials, voxels] of {len(trials)} trials"
        )
    if repeats < 2:
        raise ValueError(f"repeats is {repeats}; the variance over repeats needs 2 or more")
    by_picture = np.argsort(trials.nsd_id, kind="stable")
    _, first, count = np.unique(trials.nsd_id[by_picture], return_index=True, return_counts=True)
    if not np.any(count == repeats):
        raise ValueError(
            f"no picture is {repeats} times in these {len(trials)} trials, but at most {count.max(initial=0)} times; "
            "take more sessions"
        )
    where = by_picture[first[count == repeats, None] + np.arange(repeats)]  # [P, R]
    found = np.empty(betas.shape[1], np.float32)
    step = max(1, BLOCK // len(trials))
    for start in range(0, len(found), step):
        z = betas[:, start : start + step].astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            for session in np.unique(trials.session):
                rows = trials.session == session
                z[rows] = (z[rows] - z[rows].mean(axis=0)) / z[rows].std(axis=0, ddof=1)
            variance = z[where].var(axis=1, ddof=1)  # [P, voxels]
            known = ~np.isnan(variance)
            noise = np.where(known, variance, 0).sum(axis=0) / known.sum(axis=0)
            found[start : start + step] = np.sqrt(np.maximum(1 - noise, 0) / noise)
    return found


def noise_ceiling(ncsnr: ArrayLike, averaged: ArrayLike) -> NDArray[np.float32]:
    """Find the most that a model can explain of the variance of averaged responses.

    Parameters
    ----------
    ncsnr : float [V]
        From 0.
    averaged : int, or int [P]
        How many trials each response is the mean of; one number for all pictures, or each picture's own.

    Returns
    -------
    float32 [V]
        Percent of the variance: 100 ncsnr^2 / (ncsnr^2 + m), where m is the mean of 1 / averaged over the pictures.

    Raises
    ------
    ValueError
        If a number of trials is below 1.
    """
    averaged = np.asarray(averaged, np.float64)
    if averaged.size == 0 or not np.all(averaged >= 1):
        raise ValueError(f"averaged is {averaged}; every mean must be of 1 trial or more")
    power = np.asarray(ncsnr, np.float64) ** 2
    return (100 * power / (power + np.mean(1 / averaged))).astype(np.float32)


def read_ncsnr(
    root: Root,
    subject: int,
    mask: NDArray[np.bool_],
    version: str = VERSIONS[-1],
    space: str = VOLUMES[0],
) -> NDArray[np.float32]:
    """Read the ncsnr that NSD gives. It was found from all trials, those for testing among them.

    Parameters
    ----------
    root : Root
    subject : int
        From 1.
    mask : bool [X, Y, Z] or [vertices]
    version, space : str
        As for `read_betas`: each has its own.

    Returns
    -------
    float32 [V]
        In the order of ``volume[mask]``; NaN or 0 outside of the brain.

    Raises
    ------
    ValueError
        If the file is not there, is damaged, or has another shape than the mask.
    """
    sides = HEMISPHERES if space == SURFACE else (None,)
    paths = [root.statistic(subject, "ncsnr", version, space, hemisphere=side) for side in sides]
    advice = "it lies with the betas; get it, or estimate it with minisd.nsd.ncsnr"
    maps = [read_map(root, path, advice) for path in paths]
    whole = maps[0] if space != SURFACE else np.concatenate(maps)
    if mask.dtype != bool or mask.shape != whole.shape:
        names = " and ".join(root.relative(path) for path in paths)
        raise ValueError(
            f"mask is {mask.dtype} {mask.shape}; for {names} it must be bool {whole.shape}"
        )
    return whole[mask].astype(np.float32)
