"""BOLD runs with betas that are known."""

from typing import NamedTuple

import numpy as np

from minisd.nsd.glm import Run, design
from minisd.nsd.hrf import library

DURATION = 3.0
TR = 4 / 3


class Simulation(NamedTuple):
    runs: list[Run]
    betas: np.ndarray  # [T, V], percent of `level`
    level: np.ndarray  # [V]
    hrf: np.ndarray  # [V], of library(3)
    responds: np.ndarray  # bool [V]


def simulate(seed=0, runs=4, trials=36, voxels=60, white=0.0, shared=0.0, drift=3.0):
    """Half of the voxels respond. A quarter of NSD's slots of 4 s is blank; each picture is shown in two runs or more.

    Noise is in percent: white is every voxel's own, and shared is what three slow courses bring to all of them.
    """
    rng = np.random.default_rng(seed)
    responds = np.arange(voxels) % 2 == 0
    pictures = trials * 2 // 3
    tuning = np.where(responds, rng.normal(2, 2, (pictures, voxels)), 0)
    level = rng.uniform(500, 1500, voxels)
    hrf = rng.integers(20, size=voxels)
    slots = trials * 4 // 3
    volumes = 3 * slots + 12
    made, betas = [], []
    for _ in range(runs):
        slot = np.sort(rng.permutation(slots)[:trials])
        shown = rng.permutation(np.arange(trials) % pictures)
        own = tuning[shown]
        blank = Run(1.0 + np.eye(volumes)[:, :1], 4.0 * slot, shown, TR)
        signal = np.empty((volumes, voxels))
        for h, response in enumerate(library(DURATION)):
            signal[:, hrf == h] = design(blank, response) @ own[:, hrf == h]
        t = np.linspace(-1, 1, volumes)[:, None]
        signal += drift * (t * rng.normal(size=voxels) + t**2 * rng.normal(size=voxels))
        signal += white * rng.normal(size=signal.shape)
        courses = np.array(
            [np.convolve(c, np.ones(4) / 2, "same") for c in rng.normal(size=(3, volumes))]
        )
        signal += shared * courses.T @ rng.normal(size=(3, voxels))
        made.append(Run(level * (1 + signal / 100), blank.onsets, shown, TR))
        betas.append(own)
    return Simulation(made, np.concatenate(betas), level, hrf, responds)
