"""Noise like that of the Natural Scenes Dataset's betas, and how it joins the signal.

Each voxel's ratio of signal to noise is given. The noise is partly common to voxels: along the dimensions in which the
signal varies (Kay et al. 2024, generative modelling of signal and noise), which no averaging over voxels removes; with
neighbours; slowly over a session. Some trials are worse than others, which gives it heavy tails; and sessions differ in
their gain.
T trials of a session, V voxels of the brain, R of them responsive, that is, with a signal; N pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.simulate.settings import Level, NoiseSettings

MIXTURES = 300
"""Random mixtures of pictures, whose responses span the noise along the signal's dimensions."""
OWN = 0.1
"""Share of a voxel's noise that no other voxel has, at least, unless the settings leave less."""
REGIONAL = 40
SLOW = 4


@dataclass(frozen=True, eq=False)
class Voxels:
    """What a subject's voxels are like.

    Attributes
    ----------
    ncsnr : float32 [V]
        Standard deviation of the signal over pictures, by that of the noise in a trial; above 0 in the responsive ones.
    mean, deviation : float32 [V]
        Over trials, percent.
    along : float32 [MIXTURES, R]
        Patterns of the noise along the signal's dimensions, each voxel's of a sum of squares of 1.
    regional : float32 [REGIONAL, V]
        Patterns of the noise that neighbours have in common, likewise.
    slow : float32 [SLOW, V]
        Patterns of the drift, likewise.
    """

    ncsnr: NDArray[np.float32]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    along: NDArray[np.float32]
    regional: NDArray[np.float32]
    slow: NDArray[np.float32]


def draw_voxels(
    levels: dict[str, Level],
    part: NDArray[np.str_],
    position: NDArray[np.float32],
    signal: NDArray[np.float32],
    reach: NDArray[np.float32],
    quality: float,
    rng: np.random.Generator,
) -> Voxels:
    """Choose what voxels are like.

    Parameters
    ----------
    levels : dict of str to Level
    part : array of str [V]
        Keys of `levels`.
    position : float32 [V, 3]
        In the volume, in voxels.
    signal : float32 [N, R]
        Responses to pictures, of mean 0 and standard deviation 1.
    reach : float32 [V]
        How much of a voxel's receptive field is on the picture, from 0 to 1; above 0 in the responsive ones alone.
    quality : float
        Multiplies the ncsnr.
    rng : numpy.random.Generator
    """
    count = len(part)
    middle = {name: (one.ncsnr, one.mean, one.deviation) for name, one in levels.items()}
    ncsnr, mean, deviation = np.array([middle[name] for name in part]).T
    # good and bad voxels lie in patches, as veins do
    patchy = rng.standard_normal(REGIONAL) @ _near(position, REGIONAL, 6.0, rng)
    ncsnr = ncsnr * quality * reach * np.exp(0.3 * patchy + 0.35 * rng.standard_normal(count))
    deviation = deviation * np.exp(0.3 * rng.standard_normal(count))
    mean = mean + (0.4 * mean + 0.4) * rng.standard_normal(count)
    return Voxels(
        np.minimum(ncsnr, 2.5).astype(np.float32),
        mean.astype(np.float32),
        deviation.astype(np.float32),
        _unit(_normal(rng, MIXTURES, len(signal)) @ signal),
        _unit(_near(position, REGIONAL, 5.0, rng)),
        _unit(_near(position, SLOW, 12.0, rng)),
    )


def betas(
    voxels: Voxels,
    signal: NDArray[np.float32],
    settings: NoiseSettings,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Simulate a session.

    Parameters
    ----------
    voxels : Voxels
    signal : float32 [T, R]
        Responses to the pictures of the session's trials, in standard deviations over all pictures.
    settings : NoiseSettings
    rng : numpy.random.Generator
        The session's own.

    Returns
    -------
    float32 [T, V]
        Percent signal change.
    """
    trials, count = len(signal), len(voxels.ncsnr)
    responsive = voxels.ncsnr > 0
    along = along_share(voxels.ncsnr, settings)
    noise = _normal(rng, trials, count) * _root(1 - along - settings.regional - settings.drift)
    common = _normal(rng, trials, len(voxels.along)) @ voxels.along
    noise[:, responsive] += common * _root(along[responsive])
    common = _normal(rng, trials, len(voxels.regional)) @ voxels.regional
    noise += common * _root(settings.regional)
    # a trial's badness is common to the brain; its square has mean 1, so that variances stay
    noise *= _root((settings.tails - 2) / rng.chisquare(settings.tails, (trials, 1)))
    noise += (_drift(trials, len(voxels.slow), rng) @ voxels.slow) * _root(settings.drift)
    noise[:, responsive] += voxels.ncsnr[responsive] * signal
    noise *= voxels.deviation / np.sqrt(1 + voxels.ncsnr**2)
    noise += voxels.mean + np.float32(0.15) * voxels.deviation * _normal(rng, count)
    gain = rng.standard_normal() + 0.4 * rng.standard_normal(count)
    noise *= np.exp(settings.session_gain * gain).astype(np.float32)
    return noise


def along_share(ncsnr: NDArray[np.float32], settings: NoiseSettings) -> NDArray[np.float32]:
    """How much of the noise's variance is along the signal's dimensions, by voxel, float32 [V].

    It is in proportion to the signal's variance, so that no weighting of voxels tells the one from the other; but at
    least `OWN` of a voxel's noise is its own.
    """
    most = max(0.0, 1 - OWN - settings.regional - settings.drift)
    return np.minimum(settings.along * ncsnr**2, most).astype(np.float32)


def _normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape, np.float32)


def _root(variance: float | NDArray) -> NDArray[np.float32]:
    return np.sqrt(np.maximum(variance, 0)).astype(np.float32)


def _drift(trials: int, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Slow courses over a session, [trials, count], each with mean 0 and standard deviation 1."""
    time = np.arange(trials)[:, None] / trials
    turns = np.arange(1, 6)[:, None, None]
    phase = rng.uniform(0, 2 * np.pi, (5, 1, count))
    waves = rng.standard_normal((5, 1, count)) / turns * np.cos(np.pi * turns * time + phase)
    course = waves.sum(axis=0)
    course -= course.mean(axis=0)
    return (course / np.maximum(course.std(axis=0), 1e-6)).astype(np.float32)


def _near(
    position: NDArray[np.float32], count: int, scale: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Random patterns that are alike in voxels nearer than the scale, [count, V], of variance 1 / count."""
    direction = rng.standard_normal((3, count)) / scale
    phase = rng.uniform(0, 2 * np.pi, count)
    return (np.cos(position @ direction + phase) * np.sqrt(2 / count)).T.astype(np.float32)


def _unit(patterns: NDArray[np.float32]) -> NDArray[np.float32]:
    return patterns / np.maximum(np.linalg.norm(patterns, axis=0), 1e-6).astype(np.float32)
