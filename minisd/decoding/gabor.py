"""Identification from Gabor features (Kay et al. 2008, Nature 452).

It goes the other way: an encoding model predicts every voxel from a picture, and of a gallery the picture is named
whose predicted pattern is most like the measured one. Its features are handcrafted: the energy of filters of some
orientations and scales at each place of a grid. The filters are log-Gabor (Field 1987), which the simulator of this
package does not use.
P pictures, F features, V voxels, K chosen voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minisd.decoding.reconstructor import Reconstructor, fit_decoder
from minisd.decoding.responses import WHOLE, Responses
from minisd.decoding.ridge import RidgeSettings
from minisd.decoding.targets import Features, Seen


@dataclass(frozen=True)
class GaborSettings:
    """The filters, and the regression.

    Attributes
    ----------
    size : int
        Height and width that pictures are brought to.
    orientations : int
    wavelengths : tuple of float
        In pixels, a scale each.
    grid : int
        Places along a side at which energy is pooled.
    voxels : int
        How many are compared: those that were predicted best out of fold.
    ridge : RidgeSettings
        Energies are far smaller than z-scored voxels, and so are the penalties.
    """

    size: int = 64
    orientations: int = 6
    wavelengths: tuple[float, ...] = (4.0, 8.0, 16.0)
    grid: int = 8
    voxels: int = 500
    ridge: RidgeSettings = field(
        default_factory=lambda: RidgeSettings(alphas=tuple(float(f"1e{k}") for k in range(-2, 4)))
    )


class GaborIdentification(Reconstructor):
    """Voxels are predicted from Gabor energy; the picture that fits the measured ones is given.

    Parameters
    ----------
    gallery : Seen
        Pictures to choose from.
    size : int
        Height and width of the pictures that are given.
    settings : GaborSettings
    """

    regions: ClassVar = {"voxels": WHOLE}

    def __init__(self, gallery: Seen, size: int, settings: GaborSettings | None = None) -> None:
        super().__init__()
        self.gallery, self.size, self.settings = gallery, size, settings or GaborSettings()
        self.ridge = self.settings.ridge

    @property
    def checkpoints(self) -> dict[str, str]:
        """The filters, since nothing is learned."""
        s = self.settings
        return {"voxels": f"log-Gabor {s.size} {s.orientations} {s.wavelengths} {s.grid}"}

    def features(self, seen: Seen, progress: bool = True) -> dict[str, Features]:
        """Compute Gabor energy, [P, F]."""
        parts = [gabor_energy(x, self.settings) for x in seen.batches(self.settings.size)]
        return {"energy": torch.cat(parts).numpy()}

    def fit(self, fmri: Responses, seen: Seen, progress: bool = True) -> Self:
        """Fit an encoding model: features to voxels; see `Reconstructor.fit`."""
        if len(fmri) != len(seen):
            raise ValueError(f"fmri has {len(fmri)} rows, and {len(seen)} pictures were seen")
        energy = self.features(seen, progress)["energy"]
        told = Responses(energy, {}, "energy")
        self.decoders = {"voxels": fit_decoder(told, fmri.betas, WHOLE, self.ridge, progress)}
        self._voxels = fmri.voxels
        return self

    def decode(self, fmri: Responses) -> dict[str, Tensor]:
        """Give the measured voxels as they are: it is their pattern that is looked for."""
        self._check(fmri)
        return {"voxels": torch.from_numpy(np.array(fmri.betas))}

    def find(self, voxels: Tensor) -> Tensor:
        """Give the place in the gallery of the picture whose predicted pattern correlates best, int64 [N]."""
        ridge = self.decoders["voxels"].ridge
        chosen = ridge.correlation.topk(min(self.settings.voxels, len(ridge.correlation))).indices
        predicted = ridge.predict(self.features(self.gallery)["energy"])[:, chosen]
        a, b = (
            F.normalize(x - x.mean(1, keepdim=True), dim=1)
            for x in (voxels[:, chosen].float(), predicted.float())
        )
        return (a @ b.T).argmax(1)

    def draw(
        self, features: Mapping[str, Tensor], seeds: Sequence[int], progress: bool = True
    ) -> Tensor:
        """Look the pictures up; chance has no part in it."""
        return self.gallery[self.find(features["voxels"]).numpy()].pictures(self.size)


def gabor_energy(x: Tensor, settings: GaborSettings) -> Tensor:
    """Energy of log-Gabor filters, and the mean grey, over a grid.

    A filter is a bump in the plane of frequencies: Gaussian in the logarithm of the frequency, with a width of half an
    octave, and in the angle. It has no negative frequencies, so its response is complex, and its magnitude the energy
    whatever the phase.

    Parameters
    ----------
    x : Tensor, shape [B, 3, S, S]
        In [-1, 1].
    settings : GaborSettings

    Returns
    -------
    Tensor, shape [B, F]
        F is the grid's places times one more than the filters.
    """
    grey = x.mean(1)  # [B, S, S]
    frequency = torch.fft.fftfreq(x.shape[-1])
    fy, fx = torch.meshgrid(frequency, frequency, indexing="ij")
    radius, angle = torch.hypot(fx, fy).clamp(min=1e-6), torch.atan2(fy, fx)
    spectrum = torch.fft.fft2(grey)
    maps = [grey]
    for wavelength in settings.wavelengths:
        along = torch.exp(-((radius * wavelength).log2() ** 2) / (2 * 0.5**2))
        for k in range(settings.orientations):
            turned = (
                torch.remainder(
                    angle - torch.pi * k / settings.orientations + torch.pi, 2 * torch.pi
                )
                - torch.pi
            )
            across = torch.exp(-(turned**2) / (2 * (torch.pi / settings.orientations / 1.5) ** 2))
            maps.append(torch.fft.ifft2(spectrum * along * across).abs())
    pooled = F.adaptive_avg_pool2d(torch.stack(maps, dim=1), settings.grid)
    # as the responses of a cortex do, energy grows ever more slowly with contrast
    pooled[:, 1:] = pooled[:, 1:].sqrt()
    return pooled.flatten(1)
