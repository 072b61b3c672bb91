"""Betas that repeat better: noise regressors and fractional ridge, in the order of NSD (GLMsingle, Prince et al. 2022).

Neither can be chosen by how well it fits: more regressors always fit better, and ridge always fits worse. Both are
chosen by how well the betas of a picture in one run foretell its betas in the other runs, so pictures must repeat.
T trials of all runs, in their order; V voxels; K noise regressors; F fractions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.glm import (
    Floats,
    Run,
    clean_data,
    clean_designs,
    fit_hrf,
    least_squares,
    mean_signal,
    on_off,
)

FRACTIONS = tuple(np.arange(20, 0, -1) / 20)
"""Lengths of the betas that are tried, as fractions of the least-squares betas' (20 from 1 to 0.05, as in NSD)."""


def noise_regressors(runs: Sequence[Run], pool: NDArray[np.bool_], number: int) -> list[Floats]:
    """Find what the voxels that do not respond have in common, run by run (GLMdenoise, Kay et al. 2013).

    Their signals are freed of drift and brought to the same length; the first principal components over time follow.

    Parameters
    ----------
    runs : sequence of Run
    pool : bool [V]
        The voxels that do not respond.
    number : int
        K, from 0 to the fewest of the pool's voxels and a run's volumes.

    Returns
    -------
    list of float64 [volumes, K], one a run
        Orthonormal, the strongest first.

    Raises
    ------
    ValueError
        If there cannot be so many.
    """
    most = min(int(pool.sum()), *(len(run.bold) for run in runs))
    if not 0 <= number <= most:
        raise ValueError(
            f"number is {number}; with {pool.sum()} voxels in the pool it must be 0 to {most}"
        )
    found = []
    for y in clean_data(runs):
        y = y[:, pool] / np.linalg.norm(y[:, pool], axis=0)
        found.append(np.linalg.svd(y, full_matrices=False)[0][:, :number])
    return found


def repeats_over_runs(runs: Sequence[Run]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List all pairs of trials that show the same picture in different runs, each pair both ways round.

    Parameters
    ----------
    runs : sequence of Run

    Returns
    -------
    one, other : int [pairs]
        Numbers of trials, 0 to T - 1.

    Raises
    ------
    ValueError
        If there is none.
    """
    picture = np.concatenate([run.pictures for run in runs])
    run_of = np.repeat(np.arange(len(runs)), [len(run.onsets) for run in runs])
    one, other = np.nonzero((picture[:, None] == picture) & (run_of[:, None] != run_of))
    if not len(one):
        raise ValueError("runs share no picture; noise regressors and ridge are chosen by repeats")
    return one, other


def repeat_error(
    betas: Floats, plain: Floats, repeats: tuple[NDArray[np.integer], NDArray[np.integer]]
) -> NDArray[np.float64]:
    """Measure how badly betas foretell the plain betas of the same pictures in other runs.

    The plain ones are what is foretold, whatever is tried: else betas of 0 would foretell best.

    Parameters
    ----------
    betas : float [T, V]
        The ones to judge.
    plain : float [T, V]
        Those of the same voxels by least squares.
    repeats : pair of int [pairs]
        From `repeats_over_runs`.

    Returns
    -------
    float64 [V]
        Summed squared error over the pairs, in units in which the plain betas of a voxel have a variance of 1.
    """
    one, other = repeats
    return np.sum((betas[one] - plain[other]) ** 2, axis=0) / np.var(plain, axis=0, ddof=1)


def choose_number(errors: Floats, slack: float = 1.05) -> int:
    """Choose the smallest number of noise regressors whose gain over none, times the slack, is the best gain or more.

    Parameters
    ----------
    errors : float [K + 1]
        With 0, 1, ... K noise regressors.
    slack : float
        From 1; NSD's is 1.05.

    Returns
    -------
    int
        From 0 to K.
    """
    gain = errors[0] - np.asarray(errors)
    return int(np.argmax(slack * gain >= gain.max()))


def fractional_ridge(
    designs: Sequence[Floats], data: Sequence[Floats], fractions: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit ridge regressions whose coefficients have given lengths (Rokem and Kay 2020).

    A penalty means little by itself: 10 may be much for one voxel and nothing for another. The length of the
    coefficients, as a fraction of the least-squares ones', means the same for all. With the singular values s of the
    design, and c the least-squares coefficients along its right singular vectors, those of ridge are
    ``c s^2 / (s^2 + alpha)``, and they get shorter as alpha grows. Rokem and Kay interpolate alpha from a grid. Here it
    is solved for by Newton's method on one over the length, as in a trust region (Moré and Sorensen 1983); that is
    concave in alpha, so that steps from below never overshoot.

    Parameters
    ----------
    designs : float [n, p], one a block
        Of full rank; the blocks of a block-diagonal design, as the runs of a session are. One block is any regression.
    data : float [n, V], one a block
    fractions : sequence of float
        F, falling, each above 0 and at most 1.

    Returns
    -------
    coefficients : float64 [F, P, V]
        P is the sum of all p.
    alphas : float64 [F, V]
        The penalties; one for all blocks.

    Raises
    ------
    ValueError
        If the fractions are not so, or a design is not of full rank.
    """
    fractions = np.asarray(fractions, np.float64)
    if not (
        len(fractions)
        and np.all(np.diff(fractions) < 0)
        and fractions[-1] > 0
        and fractions[0] <= 1
    ):
        raise ValueError(f"fractions are {fractions}; they must fall, each above 0 and at most 1")
    singular, rotated, back = [], [], []
    for x, y in zip(designs, data, strict=True):
        u, s, vt = np.linalg.svd(x, full_matrices=False)
        if s[-1] <= np.finfo(np.float64).eps * max(x.shape) * s[0]:
            raise ValueError(f"a design of shape {x.shape} is not of full rank")
        singular.append(s)
        rotated.append(u.T @ y / s[:, None])
        back.append(vt.T)
    power, plain = np.concatenate(singular)[:, None] ** 2, np.concatenate(rotated)  # [P, 1], [P, V]
    alphas = _penalties(power, plain, fractions)
    ends = np.cumsum([len(s) for s in singular])[:-1]
    coefficients = []
    for alpha in alphas:
        blocks = np.split(plain * power / (power + alpha), ends)
        coefficients.append(np.concatenate([v @ c for v, c in zip(back, blocks, strict=True)]))
    return np.stack(coefficients), alphas


def _penalties(power: Floats, plain: Floats, fractions: Floats) -> NDArray[np.float64]:
    """Find the alpha of each fraction and voxel [F, V]; see `fractional_ridge`."""
    whole = np.linalg.norm(plain, axis=0)
    whole[whole == 0] = np.inf  # nothing to shorten
    alphas = np.empty((len(fractions), len(whole)))
    alpha = np.zeros(len(whole))
    for i, fraction in enumerate(fractions):
        alpha = np.maximum(
            alpha, power.min() * (1 / fraction - 1)
        )  # all are shrunk less than this one
        for _ in range(100):
            shrunk = plain * power / (power + alpha)
            squared = np.sum(shrunk**2, axis=0)
            excess = np.sqrt(squared) / (fraction * whole) - 1
            if np.all(excess <= 1e-12):
                break
            slope = np.sum(shrunk**2 / (power + alpha), axis=0)  # -1/2 of the derivative of squared
            alpha = alpha + np.divide(
                squared * excess, slope, out=np.zeros_like(slope), where=excess > 0
            )
        alphas[i] = alpha
    return alphas


def rescale(betas: Floats, plain: Floats) -> NDArray[np.float64]:
    """Bring shortened betas back to the plain ones' scale and mean: the line through both that fits best, by voxel.

    Parameters
    ----------
    betas, plain : float [T, V]

    Returns
    -------
    float64 [T, V]
        As they were where the line would fall.
    """
    mean, spread = plain.mean(axis=0), betas - betas.mean(axis=0)
    slope = np.sum(spread * (plain - mean), axis=0) / np.sum(spread**2, axis=0)
    return np.where(slope < 0, betas, mean + slope * spread)


@dataclass(frozen=True, eq=False)
class SingleTrials:
    """Betas of single trials after each stage, and what was chosen on the way.

    Parameters
    ----------
    on_off_r2 : float64 [V]
        Percent of the variance that one beta for all trials explains (stage A).
    hrf : int [V]
        Which response of the library each voxel has (stage B).
    pool : bool [V]
        Voxels that the noise regressors were taken from.
    errors : float64 [K + 1]
        How badly betas foretell their repeats with 0, 1, ... K noise regressors, as `repeat_error` has it: the median
        over the voxels that respond.
    regressors : int
        How many noise regressors were chosen.
    fraction : float64 [V]
        Which length of the betas each voxel has (stage D).
    fithrf, denoised, final : float64 [T, V]
        Betas of the stages B, C and D, percent of the mean signal. B is NSD's ``betas_fithrf`` and D its
        ``betas_fithrf_GLMdenoise_RR``.
    """

    on_off_r2: Floats
    hrf: NDArray[np.integer]
    pool: NDArray[np.bool_]
    errors: Floats
    regressors: int
    fraction: Floats
    fithrf: Floats
    denoised: Floats
    final: Floats


def glm_single(
    runs: Sequence[Run],
    library: Floats,
    assumed: Floats,
    threshold: float,
    regressors: int = 10,
    fractions: Sequence[float] = FRACTIONS,
) -> SingleTrials:
    """Estimate the betas of one session in NSD's four stages.

    A: one beta for all trials says which voxels respond. B: each voxel gets the response of the library that fits best.
    C: noise regressors from voxels that do not respond join the model. D: fractional ridge shortens the betas of each
    voxel; a line then brings them back to the scale and mean of C's.

    Parameters
    ----------
    runs : sequence of Run
        Two or more, with pictures that occur in more than one.
    library : float [H, S]
        Responses to choose from.
    assumed : float [S]
        The response of stage A.
    threshold : float
        Percent of the variance in stage A. Voxels below it are noise, and voxels above it respond. (GLMsingle finds it
        by a mixture of two Gaussians; look at a histogram of ``on_off(runs, assumed)[1]``.)
    regressors : int
        K, the most noise regressors that are tried, from 0.
    fractions : sequence of float
        Falling from 1, all above 0.

    Returns
    -------
    SingleTrials

    Raises
    ------
    ValueError
        If no picture repeats over runs, or the threshold leaves no voxel on one of its sides.
    """
    fractions = np.asarray(fractions, np.float64)
    if not len(fractions) or fractions[0] != 1:
        raise ValueError(f"fractions are {fractions}; the first must be 1")
    repeats = repeats_over_runs(runs)
    r2 = on_off(runs, assumed)[1]
    best, fithrf, _ = fit_hrf(runs, library)

    mean = mean_signal(runs)
    pool = (r2 < threshold) & (
        mean > 0.1 * np.percentile(mean, 99)
    )  # GLMsingle's rule for the brain
    responds = r2 > threshold
    if not pool.any() or not responds.any():
        raise ValueError(
            f"threshold is {threshold}, and the on-off model explains {r2.min():.3g} to {r2.max():.3g} percent; there "
            "must be voxels of the brain below it, and voxels above it"
        )
    noise = noise_regressors(runs, pool, regressors)
    plain = _fit(runs, library, best, noise, 0)
    errors = np.array(
        [
            np.median(repeat_error(_fit(runs, library, best, noise, k), plain, repeats)[responds])
            for k in range(regressors + 1)
        ]
    )
    chosen = choose_number(errors)
    denoised = _fit(runs, library, best, noise, chosen)

    final = np.empty_like(denoised)
    fraction = np.empty(len(r2))
    for voxels, x, y in _groups(runs, library, best, noise, chosen):
        shorter, _ = fractional_ridge(x, y, fractions)
        error = [repeat_error(betas, denoised[:, voxels], repeats) for betas in shorter]
        which = np.argmin(error, axis=0)
        fraction[voxels] = fractions[which]
        picked = np.take_along_axis(shorter, which[None, None], axis=0)[0]
        final[:, voxels] = rescale(picked, denoised[:, voxels])
    to_percent = 100 / mean
    return SingleTrials(
        on_off_r2=r2,
        hrf=best,
        pool=pool,
        errors=errors,
        regressors=chosen,
        fraction=fraction,
        fithrf=fithrf,
        denoised=denoised * to_percent,
        final=final * to_percent,
    )


def _fit(
    runs: Sequence[Run], library: Floats, best: NDArray[np.integer], noise: Sequence[Floats], k: int
) -> NDArray[np.float64]:
    """Fit betas [T, V], in the data's units, each voxel with its own response and k noise regressors."""
    betas = np.empty((sum(len(run.onsets) for run in runs), len(best)))
    for voxels, x, y in _groups(runs, library, best, noise, k):
        betas[:, voxels] = least_squares(x, y)
    return betas


def _groups(
    runs: Sequence[Run], library: Floats, best: NDArray[np.integer], noise: Sequence[Floats], k: int
) -> Iterator[tuple[NDArray[np.bool_], list[Floats], list[Floats]]]:
    """Go through the voxels by their response: which they are [V], and the clean designs and data of the runs."""
    first = [n[:, :k] for n in noise]
    data = clean_data(runs, first)
    for h in np.unique(best):
        voxels = best == h
        yield voxels, clean_designs(runs, library[h], first), [y[:, voxels] for y in data]
