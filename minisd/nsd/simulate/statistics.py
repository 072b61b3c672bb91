"""What the Natural Scenes Dataset tells of betas beside them: their mean, R2 and ncsnr, gathered session by session.

V voxels of the brain, T trials of a session.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.simulate.write import SCALE

RESIDUAL = 3.0
"""What is taken for the standard deviation of a time series about its model, percent."""


class Statistics:
    """Gathers, and forgets the betas; of each picture it keeps their sum.

    The ncsnr is NSD's: betas are z-scored within a session, and the variance over a picture's repeats is noise; only
    pictures that were shown as often as they were to be count. R2 is made up: there is no time series that a model
    could explain, so each is taken to have the same residual.

    Parameters
    ----------
    shown : int [trials]
        Which picture is shown, in all sessions that were done.
    repeats : int
    voxels : int
        V.
    """

    def __init__(self, shown: NDArray[np.int64], repeats: int, voxels: int) -> None:
        self._complete = np.bincount(shown) == repeats
        self._repeats = repeats
        self._sum = np.zeros((self._complete.size, voxels), np.float32)
        self._square = np.zeros(voxels)
        self._maps: dict[str, list[NDArray[np.float32]]] = {"meanbeta": [], "R2": []}

    def add(self, shown: NDArray[np.int64], betas: NDArray[np.int16]) -> None:
        """Look at a session: the pictures of its trials [T], and the betas as they are stored [T, V]."""
        values = betas.astype(np.float32)
        power = np.mean((values / SCALE) ** 2, axis=0)
        self._maps["R2"].append(100 * power / (power + RESIDUAL**2))
        self._maps["meanbeta"].append(values.mean(axis=0))
        values -= self._maps["meanbeta"][-1]
        values /= np.maximum(values.std(axis=0, ddof=1), 1e-6)
        np.add.at(self._sum, shown, values)
        self._square += (values[self._complete[shown]] ** 2).sum(axis=0, dtype=np.float64)

    def maps(self) -> dict[str, NDArray[np.float32]]:
        """Maps by name, float32 [V]: of all sessions and of each.

        As in NSD, meanbeta is the mean of the stored numbers, 300 times the percentage. There is no ncsnr if no
        picture was repeated as often as it was to be.
        """
        found = {}
        for name, sessions in self._maps.items():
            found[name] = np.mean(sessions, axis=0)
            for session, values in enumerate(sessions, start=1):
                found[f"{name}_session{session:02}"] = values
        pictures = np.count_nonzero(self._complete)
        if pictures and self._repeats > 1:
            sums = (self._sum[self._complete] ** 2).sum(axis=0, dtype=np.float64)
            within = self._square - sums / self._repeats
            variance = np.maximum(within / (pictures * (self._repeats - 1)), 1e-12)
            found["ncsnr"] = np.sqrt(np.maximum(1 - variance, 0) / variance)
        return {name: values.astype(np.float32) for name, values in found.items()}
