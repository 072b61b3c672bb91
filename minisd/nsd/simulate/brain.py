"""A simulated subject as a whole: its anatomy, what each voxel answers to pictures, and how noisy it is.

V voxels of the brain, in the order of ``volume[anatomy.brain]``, R of them responsive; N pictures of the subject.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.simulate import early, ventral
from minisd.nsd.simulate.anatomy import Anatomy, grow
from minisd.nsd.simulate.early import ReceptiveFields, receptive_fields, standardised
from minisd.nsd.simulate.noise import Voxels, draw_voxels
from minisd.nsd.simulate.regions import CATEGORY_KINDS, Regions, place
from minisd.nsd.simulate.settings import SimulationSettings


@dataclass(frozen=True, eq=False)
class Brain:
    """A subject, and what it answers to its pictures.

    Attributes
    ----------
    anatomy : Anatomy
    regions : Regions
    retinotopic, semantic : bool [V]
        Voxels with a receptive field, and voxels that answer to what a scene shows; some are both.
    fields : ReceptiveFields
        Of the retinotopic ones.
    weights : float32 [K, semantic]
        Of the factors, and of what goes with them unnamed; see `ventral.tuning`.
    signal : float32 [N, R]
        Responses without noise of the responsive voxels, mean 0 and standard deviation 1 over the pictures.
    voxels : Voxels
        Those with an ncsnr above 0 are responsive.
    """

    anatomy: Anatomy
    regions: Regions
    retinotopic: NDArray[np.bool_]
    semantic: NDArray[np.bool_]
    fields: ReceptiveFields
    weights: NDArray[np.float32]
    signal: NDArray[np.float32]
    voxels: Voxels

    def volume(self, values: NDArray, which: NDArray[np.bool_] | None = None) -> NDArray:
        """Put numbers into a volume, float32 [X, Y, Z]: one a voxel, or one for each of some (NaN in the others).

        Outside of the brain there is NaN.
        """
        volume = np.full(self.anatomy.brain.shape, np.nan, np.float32)
        inside = np.argwhere(self.anatomy.brain)
        volume[tuple((inside if which is None else inside[which]).T)] = values
        return volume


def grow_brain(
    settings: SimulationSettings,
    number: int,
    pictures: NDArray[np.uint8],
    named: NDArray[np.float32],
    unnamed: NDArray[np.float32],
) -> Brain:
    """Make a subject.

    Parameters
    ----------
    settings : SimulationSettings
    number : int
        Of the subject.
    pictures : uint8 [N, S, S, 3]
        Those that it sees.
    named, unnamed : float32 [N, K]
        Of these pictures; see `ventral`.
    """
    subject = next(one for one in settings.subjects if one.number == number)
    anatomy = grow(subject.shape, settings.rng("anatomy", number))
    regions = place(anatomy, settings.rng("regions", number))
    brain = anatomy.brain
    part, rho, psi = regions.part[brain], regions.rho[brain], regions.psi[brain]
    share = np.array([settings.levels[name].early for name in part], np.float32)
    responsive = np.array([settings.levels[name].ncsnr > 0 for name in part])
    retinotopic, semantic = responsive & (share > 0), responsive & (share < 1)

    fields = receptive_fields(
        rho[retinotopic],
        psi[retinotopic],
        anatomy.hemisphere[brain][retinotopic],
        part[retinotopic],
        settings.rng("fields", number),
    )
    weights = ventral.tuning(
        ventral.place_on_sphere(rho[semantic], psi[semantic]),
        {kind: (regions.labels[kind] > 0)[brain][semantic] for kind in CATEGORY_KINDS},
        settings.rng("tuning"),
        settings.rng("tuning", number),
    )
    signal = np.zeros((len(pictures), np.count_nonzero(responsive)), np.float32)
    share = share[responsive]
    signal[:, share < 1] = ventral.responses(named, unnamed, weights) * np.sqrt(
        1 - share[share < 1]
    )
    signal[:, share > 0] += early.responses(pictures, fields) * np.sqrt(share[share > 0])
    signal = standardised(signal)

    # a voxel that looks beyond the picture has no signal after all
    reach = responsive.astype(np.float32)
    reach[retinotopic] = np.clip(fields.profiles().sum(axis=0), 0, 1)
    reach[responsive] *= signal.any(axis=0)
    voxels = draw_voxels(
        settings.levels,
        part,
        np.argwhere(brain).astype(np.float32),
        signal[:, reach[responsive] > 0],
        reach,
        subject.quality,
        settings.rng("voxels", number),
    )
    signal = signal[:, reach[responsive] > 0]
    return Brain(anatomy, regions, retinotopic, semantic, fields, weights, signal, voxels)
