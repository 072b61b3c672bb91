"""A space that several subjects share, with one linear map a subject, and one decoder for all of them.

That is the shape of MindEye2 (Scotti et al. 2024, arXiv 2403.11207), all of it linear, and made in two steps: first the
space from responses to shared pictures, then a decoder on everybody's own pictures. In MindEye2 the maps and a deep
network behind them are trained together on the features of the pictures.

P shared pictures, N rows, V voxels, K dimensions, T features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minisd.decoding.across import Shared, check_subjects, who_of
from minisd.decoding.checks import check_inputs, check_voxels, make_folds
from minisd.decoding.responses import Responses
from minisd.decoding.ridge import Ridge, RidgeSettings, fit_ridge, skill


@dataclass(frozen=True)
class SpaceSettings:
    """How a shared space is found.

    Attributes
    ----------
    dimensions : int
        K; fewer than shared pictures.
    alpha : float
        Penalty on each subject's part, above 0. Near 0 every subject can say anything of P pictures, and all agree on
        nothing; where it is far above V, the largest responses decide alone.
    ridge : RidgeSettings
        Of the maps.
    """

    dimensions: int = 100
    alpha: float = 1e3
    ridge: RidgeSettings = field(default_factory=RidgeSettings)

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise ValueError(f"dimensions is {self.dimensions}; it must be 1 or more")
        if not 0 < self.alpha < float("inf"):
            raise ValueError(f"alpha is {self.alpha}; it must be above 0")


@dataclass(frozen=True, eq=False)
class Space:
    """Dimensions that subjects have in common; `fit_space` makes it.

    Attributes
    ----------
    axes : float32 [P, K]
        Where the shared pictures lie: uncorrelated, mean 0, standard deviation 1.
    agreement : float32 [K]
        How well the subjects' penalised regressions reproduce a dimension, in [0, 1], mean over subjects.
    nsd_id : int64 [P]
    maps : dict of str to Ridge
        From voxels, by `Responses.voxels`, to the dimensions.
    settings : SpaceSettings
    """

    axes: NDArray[np.float32]
    agreement: NDArray[np.float32]
    nsd_id: NDArray[np.int64]
    maps: Mapping[str, Ridge]
    settings: SpaceSettings

    @property
    def voxels(self) -> str:
        """Stands for the dimensions, as for a subject's voxels. Who joins changes nothing of it."""
        digest = hashlib.sha256(self.axes.tobytes() + self.nsd_id.tobytes()).hexdigest()[:16]
        return f"shared space, dimensions {digest}"

    def __call__(self, fmri: Responses) -> Responses:
        """Give a subject's responses in the shared dimensions, not rescaled; they lie in no region but "all".

        Raises
        ------
        ValueError
            If the subject has no map, or one from other voxels.
        """
        if fmri.voxels not in self.maps:
            raise ValueError(f"fmri is of {fmri.voxels}; there are maps from {tuple(self.maps)}")
        found = self.maps[fmri.voxels].predict(fmri.betas, rescale=False)
        return Responses(found.float().numpy(), {}, self.voxels)

    def join(self, newcomer: Shared) -> Space:
        """Fit a map for one more subject; the dimensions stay as they are.

        Parameters
        ----------
        newcomer : Shared
            Some or all of the shared pictures, in any order.

        Raises
        ------
        ValueError
            If the subject is there already, or saw another picture. Else as `fit_ridge`.
        """
        if newcomer.who in {who_of(voxels) for voxels in self.maps}:
            raise ValueError(f"newcomer is {newcomer.who}, who is there already")
        alien = newcomer.nsd_id[~np.isin(newcomer.nsd_id, self.nsd_id)]
        if alien.size:
            raise ValueError(
                f"newcomer saw {alien.size} pictures that the space does not have, such as 73k id {alien[0]}"
            )
        row = {int(k): i for i, k in enumerate(self.nsd_id)}
        there = self.axes[[row[int(k)] for k in newcomer.nsd_id]]
        ridge = fit_ridge(newcomer.fmri.betas, there, self.settings.ridge, progress=False)
        return replace(self, maps={**self.maps, newcomer.fmri.voxels: ridge})


def fit_space(subjects: Sequence[Shared], settings: SpaceSettings | None = None) -> Space:
    """Find what subjects have in common: generalised canonical correlation, penalised.

    Of subject i's responses X_i, with K_i = X_i X_i', ridge regression makes K_i (K_i + alpha 1)^-1 g of a dimension g
    over the pictures. Those directions are taken that all subjects together reproduce best: the first eigenvectors of
    the sum of these matrices (MAXVAR, Kettenring 1971, Biometrika 58; with a penalty, Bilenko and Gallant 2016,
    Frontiers in Neuroinformatics 10). Then each subject gets a map by ridge regression, as a newcomer does.

    Parameters
    ----------
    subjects : sequence of Shared
        Two or more, with the same pictures in the same order.
    settings : SpaceSettings, optional

    Returns
    -------
    Space

    Raises
    ------
    ValueError
        If there is one subject alone, one is there twice, pictures differ, or there are too few for the dimensions or
        the folds. Else as `fit_ridge`.
    """
    settings = settings or SpaceSettings()
    check_subjects(subjects)
    P = len(subjects[0])
    if settings.dimensions >= P:
        raise ValueError(f"dimensions is {settings.dimensions}; {P} pictures have {P - 1} at most")
    total = torch.zeros(P, P, dtype=torch.float64)
    for one in subjects:
        x = check_voxels(one.fmri.betas).double()
        x = x - x.mean(0)
        kernel = x @ x.T
        total += torch.linalg.solve(kernel + settings.alpha * torch.eye(P), kernel)
    values, vectors = torch.linalg.eigh((total + total.T) / 2)  # ascending
    axes = vectors.flip(1)[:, : settings.dimensions] * P**0.5
    # an eigenvector has no sign: the largest entry is made positive, on every machine
    axes = axes * axes.gather(0, axes.abs().argmax(0)[None]).sign()
    agreement = values.flip(0)[: settings.dimensions] / len(subjects)
    space = Space(axes.float().numpy(), agreement.float().numpy(), subjects[0].nsd_id, {}, settings)
    for one in subjects:
        space = space.join(one)
    return space


def fit_pooled(
    fmri: Sequence[Responses],
    features: Sequence[NDArray],
    settings: RidgeSettings | None = None,
) -> Ridge:
    """Fit one decoder on several subjects' pictures, which need not be the same.

    There are many rows and few dimensions, so it is solved as it stands: (X'X + alpha 1)^-1 X'Y.

    Parameters
    ----------
    fmri : sequence of Responses
        Each subject's, in the same shared space.
    features : sequence of float [N, T]
        Of the pictures that each subject saw.
    settings : RidgeSettings, optional
        Its block, batch and device have no part in it.

    Returns
    -------
    Ridge

    Raises
    ------
    ValueError
        If there is nothing, a subject's responses and features are not as many, or responses are in other voxels. Else
        as `fit_ridge`.
    """
    settings = settings or RidgeSettings()
    if not fmri or len(fmri) != len(features):
        raise ValueError(
            f"fmri and features are of {len(fmri)} and {len(features)} subjects; they must be of the same, one at least"
        )
    others = {one.voxels for one in fmri} - {fmri[0].voxels}
    if others:
        raise ValueError(
            f"fmri[0] is of {fmri[0].voxels}, and others are of {sorted(others)}: bring all into one shared space"
        )
    pairs = [check_inputs(one.betas, values) for one, values in zip(fmri, features, strict=True)]
    x = torch.cat([one for one, _ in pairs]).double()
    y = torch.from_numpy(np.concatenate([values for _, values in pairs])).double()
    if not y.isfinite().all():
        row, column = (~y.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"features, one below the other, have NaN or infinite at [{row}, {column}]"
        )
    alphas = torch.tensor(settings.alphas, dtype=torch.float64)
    error, predicted = torch.zeros(2, len(alphas), y.shape[1], dtype=torch.float64)
    power = torch.zeros(y.shape[1], dtype=torch.float64)
    for fit, held in make_folds(len(x), settings.folds, None, settings.seed):
        center, mean, values, vectors, right = _normal_equations(x[fit], y[fit])
        inside, there = (x[held] - center) @ vectors, y[held] - mean
        power += there.square().sum(0)
        for a, alpha in enumerate(alphas):
            said = inside @ (right / (values + alpha)[:, None])
            error[a] += (said - there).square().sum(0)
            predicted[a] += said.square().sum(0)
    best = error.argmin(0, keepdim=True)  # [1, T]
    center, mean, values, vectors, right = _normal_equations(x, y)
    alpha = alphas[best[0]]
    weights = vectors @ (right / (values[:, None] + alpha))
    about = skill(error.gather(0, best)[0], power, predicted.gather(0, best)[0], len(y))
    parts = {"center": center, "left": weights, "mean": mean, "alpha": alpha, **about}
    return Ridge(right=None, **{name: value.float() for name, value in parts.items()})


def _normal_equations(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Means of both, X'X taken apart into values and vectors, and vectors' X'Y."""
    center, mean = x.mean(0), y.mean(0)
    x = x - center
    values, vectors = torch.linalg.eigh(x.T @ x)
    return center, mean, values, vectors, vectors.T @ (x.T @ (y - mean))
