"""BOLD runs of a simulated session: what a scanner might have measured, before anybody estimates betas.

Each trial adds its beta times the voxel's own haemodynamic response; over that lie a slow drift and noise. The timing
is that of NSD's prepared data of 1.8 mm: a slot of 4 s for each trial, a picture for 3 s, a volume every 4/3 s.
T trials of a session, V voxels of the brain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.hrf import STEP, response

SLOT, SHOWN, TR = 4.0, 3.0, 4 / 3
"""Seconds: of a trial, of its picture, and from one volume to the next."""

PEAKS = np.linspace(3.5, 6.5, 25)
"""Of the responses to a stimulus of no duration, in seconds; NSD's own library has about this range."""

DRIFT, WHITE = 1.0, 1.0
"""Standard deviations in percent: of what drifts over a run, and of each volume's own noise."""


@dataclass(frozen=True, eq=False)
class Scanner:
    """How voxels show what they do.

    Attributes
    ----------
    hrf : int64 [V]
        Which of `PEAKS` a voxel's response has.
    level : float64 [V]
        Of the signal, in units that mean nothing.
    """

    hrf: NDArray[np.int64]
    level: NDArray[np.float64]


def scanner(voxels: int, rng: np.random.Generator) -> Scanner:
    """Draw how so many voxels show what they do."""
    return Scanner(rng.integers(len(PEAKS), size=voxels), rng.uniform(500, 1500, voxels))


def onset_volumes(slots: NDArray[np.uint8]) -> NDArray[np.int64]:
    """In which volume of a run each trial begins, from 0; ``slots`` has 1 where a picture is shown."""
    return np.rint(np.flatnonzero(slots) * SLOT / TR).astype(np.int64)


def volumes(slots: NDArray[np.uint8]) -> int:
    """How many volumes a run has: 226 for NSD's 75 slots."""
    return round(len(slots) * SLOT / TR) + 1


def bold_runs(
    betas: NDArray[np.float32],
    pattern: NDArray[np.uint8],
    seen_by: Scanner,
    rng: np.random.Generator,
) -> Iterator[NDArray[np.int16]]:
    """Make a session's runs.

    Parameters
    ----------
    betas : float32 [T, V]
        In percent.
    pattern : uint8 [runs, slots]
        1 where a picture is shown; T in all.
    seen_by : Scanner
    rng : numpy.random.Generator

    Yields
    ------
    int16 [volumes, V]
    """
    shapes = [response(SHOWN, peak, peak + 10) for peak in PEAKS]
    done = 0
    for slots in pattern:
        onsets, count = onset_volumes(slots) * TR, volumes(slots)
        trials = betas[done : done + len(onsets)]
        done += len(onsets)
        since = np.arange(count)[:, None] * TR - onsets
        signal = np.empty((count, len(seen_by.hrf)), np.float32)
        for number, shape in enumerate(shapes):
            mine = seen_by.hrf == number
            design = np.interp(since, np.arange(len(shape)) * STEP, shape, left=0, right=0)
            signal[:, mine] = design.astype(np.float32) @ trials[:, mine]
        t = np.linspace(-1, 1, count, dtype=np.float32)[:, None]
        signal += DRIFT * 3**0.5 * t * rng.standard_normal(signal.shape[1], np.float32)
        signal += WHITE * rng.standard_normal(signal.shape, np.float32)
        yield np.rint(seen_by.level * (1 + signal / 100)).astype(np.int16)
