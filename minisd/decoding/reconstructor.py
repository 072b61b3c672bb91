"""What all systems that turn brain activity into pictures have in common.

A system says which features it decodes, from which region, and what it draws of them. Then it is fitted, saved and
loaded like every other, and its upper bound is what it draws of the true features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

import torch
from torch import Tensor

from minisd.checkpoints.files import read_json
from minisd.checkpoints.saving import write_json
from minisd.decoding.responses import Responses
from minisd.decoding.ridge import Ridge, RidgeSettings, compress, fit_ridge
from minisd.decoding.selected import SelectedRidge, SelectedSettings, fit_selected
from minisd.decoding.targets import Features, Seen

RIDGES = {"Ridge": Ridge, "SelectedRidge": SelectedRidge}

MANIFEST = "decoders.json"

LOST = 1e-5
"""Share of the predictions' variance that a fitted ridge regression may lose to become smaller."""


@dataclass(frozen=True, eq=False)
class Decoder:
    """From a region's voxels to one kind of features.

    Attributes
    ----------
    ridge : Ridge or SelectedRidge
    region : str
    shape : tuple of int
        Of the features of one picture.
    """

    ridge: Ridge | SelectedRidge
    region: str
    shape: tuple[int, ...]

    def __call__(self, fmri: Responses, contrast: float = 1.0) -> Tensor:
        """Decode features, [N, *shape], rescaled; their distance from the training mean times the contrast."""
        found, mean = self.ridge.predict(fmri.of(self.region)), self.ridge.mean
        return (mean + contrast * (found - mean)).float().unflatten(1, self.shape)


def fit_decoder(
    fmri: Responses,
    features: Features,
    region: str,
    settings: RidgeSettings | SelectedSettings,
    progress: bool = True,
) -> Decoder:
    """Fit the regression that the settings are for; see `fit_ridge` and `fit_selected` for the errors."""
    x = fmri.of(region)
    if isinstance(settings, RidgeSettings):
        ridge = compress(fit_ridge(x, features, settings, progress=progress), x, LOST)
    else:
        ridge = fit_selected(x, features, settings, progress=progress)
    return Decoder(ridge, region, features.shape[1:])


class Reconstructor(ABC):
    """A system: ``fit``, then ``reconstruct``.

    Attributes
    ----------
    regions : mapping of str to str
        Of each kind of features that it decodes, the region that it decodes it from.
    ridge : RidgeSettings or SelectedSettings
    contrast : mapping of str to float
        How far decoded features are taken from the training mean, as a multiple, by kind; 1 where nothing is told. A
        prediction with the spread of the features holds their signal at less than its full size, the rest is error.
    decoders : dict of str to Decoder
        Empty until it is fitted or loaded.
    """

    regions: Mapping[str, str]
    contrast: Mapping[str, float] = MappingProxyType({})
    ridge: RidgeSettings | SelectedSettings

    def __init__(self) -> None:
        self.decoders: dict[str, Decoder] = {}
        self._voxels = ""

    @abstractmethod
    def features(self, seen: Seen, progress: bool = True) -> dict[str, Features]:
        """Compute the true features of pictures, float32 [P, ...] each."""

    @abstractmethod
    def draw(
        self, features: Mapping[str, Tensor], seeds: Sequence[int], progress: bool = True
    ) -> Tensor:
        """Draw a picture for each row of features, [N, 3, H, W] in [-1, 1]; each from a seed of its own."""

    @property
    @abstractmethod
    def checkpoints(self) -> Mapping[str, str]:
        """Of each kind of features, what stands for the weights that it is of."""

    def fit(self, fmri: Responses, seen: Seen, progress: bool = True) -> Self:
        """Fit the decoders.

        Parameters
        ----------
        fmri : Responses
            A row for each training picture.
        seen : Seen
            These pictures.
        progress : bool
            Show bars.

        Raises
        ------
        ValueError
            Before any long work: if they are not as many, or a region is not there or empty. Then as `fit_ridge`.
        """
        if len(fmri) != len(seen):
            raise ValueError(f"fmri has {len(fmri)} rows, and {len(seen)} pictures were seen")
        for region in set(self.regions.values()):
            fmri.of(region)
        self.decoders = {
            name: fit_decoder(fmri, values, self.regions[name], self.ridge, progress)
            for name, values in self.features(seen, progress).items()
        }
        self._voxels = fmri.voxels
        return self

    def decode(self, fmri: Responses) -> dict[str, Tensor]:
        """Decode all features of each row.

        Raises
        ------
        ValueError
            If it is not fitted, or was fitted on another subject or on other voxels.
        """
        self._check(fmri)
        return {
            name: decoder(fmri, self.contrast.get(name, 1.0))
            for name, decoder in self.decoders.items()
        }

    def _check(self, fmri: Responses) -> None:
        if not self.decoders:
            raise ValueError("there are no decoders yet: call fit or load first")
        if fmri.voxels != self._voxels:
            raise ValueError(
                f"fmri is of {fmri.voxels}; the decoders were fitted on {self._voxels}, and fit no other"
            )

    @torch.no_grad()
    def reconstruct(self, fmri: Responses, seed: int = 0, progress: bool = True) -> Tensor:
        """Draw what was seen.

        A picture depends on its own row and on the seed, not on the rows beside it.

        Parameters
        ----------
        fmri : Responses
            N rows.
        seed : int
            Another one gives another sample.
        progress : bool
            Show bars.

        Returns
        -------
        Tensor, shape [N, 3, H, W], in [-1, 1]
        """
        return self.draw(self.decode(fmri), fmri.seeds(seed), progress)

    def save(self, folder: str | Path) -> None:
        """Write the decoders into a folder, which is made if it is not there."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not self.decoders:
            raise ValueError("there are no decoders yet: call fit first")
        for name, decoder in self.decoders.items():
            decoder.ridge.save(folder / f"{name}.safetensors")
        checkpoints = self.checkpoints
        told = {
            name: {
                "kind": type(d.ridge).__name__,
                "region": d.region,
                "shape": list(d.shape),
                "checkpoint": checkpoints[name],
            }
            for name, d in self.decoders.items()
        }
        # the last: where it is, all is
        write_json({"voxels": self._voxels, "decoders": told}, folder / MANIFEST)

    def load(self, folder: str | Path) -> Self:
        """Take the decoders that `save` wrote, of this system or of another one that decodes the same and more.

        Raises
        ------
        ValueError
            If they are not there or damaged, are from another region, or were fitted to features of other weights.
        """
        folder = Path(folder).expanduser()
        told = read_json(folder / MANIFEST)
        kinds, checkpoints = told.get("decoders"), self.checkpoints
        if not isinstance(kinds, dict) or not set(self.regions) <= set(kinds):
            found = sorted(kinds) if isinstance(kinds, dict) else kinds
            raise ValueError(f"{folder} decodes {found}; this system needs {sorted(self.regions)}")
        decoders = {}
        for name, region in self.regions.items():
            one = kinds[name]
            for key, wanted in (("region", region), ("checkpoint", checkpoints[name])):
                if one.get(key) != wanted:
                    raise ValueError(
                        f"{folder}: the {key} of {name} is {one.get(key)!r}, and this system's is {wanted!r}; "
                        "fit it again"
                    )
            kind = RIDGES.get(one.get("kind"))
            if kind is None:
                raise ValueError(
                    f"{folder}: {name} is of kind {one.get('kind')!r}; known are {tuple(RIDGES)}"
                )
            ridge = kind.load(folder / f"{name}.safetensors")
            decoders[name] = Decoder(ridge, region, tuple(one["shape"]))
        self.decoders, self._voxels = decoders, str(told.get("voxels"))
        return self
