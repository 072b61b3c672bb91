"""Encoding models: from the features of a picture to the responses of voxels.

It is a decoder's regression, used the other way round. Where there are several spaces of features, each has a penalty
of its own in each voxel (banded ridge: Nunez-Elizalde et al. 2019, NeuroImage 197). Those are searched for by trying
mixtures: to weigh the spaces' kernels by g is to scale their features by the root of g and to fit ridge regression
(Dupre la Tour et al. 2022, NeuroImage 264).

P pictures, F features, V voxels, S spaces, M mixtures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from minisd.decoding.ridge import Ridge, RidgeSettings, fit_ridge
from minisd.nsd import noise_ceiling

PENALTIES = RidgeSettings(alphas=tuple(float(f"1e{k}") for k in range(-4, 4)))
"""Standardised features of a picture have a squared length of 1 on average, whatever their number."""


@dataclass(frozen=True, eq=False)
class Scale:
    """What brings features to mean 0 and variance 1 / kept over the training pictures.

    Attributes
    ----------
    mean, spread : float [F]
    kept : bool [F]
        Features that are the same in all training pictures are left out.
    """

    mean: Tensor
    spread: Tensor
    kept: Tensor

    def __call__(self, features: NDArray | Tensor, name: str) -> Tensor:
        """Scale features [N, ...], by the training pictures alone: [N, kept].

        Raises
        ------
        ValueError
            If there are not as many features as in training, or one is NaN or infinite.
        """
        x = _table(features, name)
        if x.shape[1] != len(self.mean):
            raise ValueError(
                f"{name} has {x.shape[1]} features, and was fitted with {len(self.mean)}"
            )
        return ((x - self.mean) / self.spread)[:, self.kept]


@dataclass(frozen=True, eq=False)
class Encoding:
    """A fitted encoding model.

    Attributes
    ----------
    scales : mapping of str to Scale
        By the name of a space.
    weights : mapping of str to float [kept, V]
        Of each space's scaled features.
    mean : float [V]
        Of the training responses.
    mixture : float [S, V]
        The one that was chosen for a voxel, in the order of `scales`. A space's penalty is alpha / mixture.
    alpha : float [V]
    r2, correlation : float [V]
        Of the training responses with what was predicted out of fold. They chose mixture and penalty, and are a little
        too good.
    """

    scales: Mapping[str, Scale]
    weights: Mapping[str, Tensor]
    mean: Tensor
    mixture: Tensor
    alpha: Tensor
    r2: Tensor
    correlation: Tensor

    def parts(self, spaces: Mapping[str, NDArray | Tensor]) -> Tensor:
        """Predict what each space adds to the mean, [S, N, V].

        Raises
        ------
        ValueError
            If the spaces are not those of the fit; else as `Scale`.
        """
        if set(spaces) != set(self.scales):
            raise ValueError(f"spaces are {sorted(spaces)}; fitted were {sorted(self.scales)}")
        return torch.stack(
            [scale(spaces[name], name) @ self.weights[name] for name, scale in self.scales.items()]
        )

    def predict(self, spaces: Mapping[str, NDArray | Tensor]) -> Tensor:
        """Predict the responses to pictures by their features [N, ...] of each space: [N, V]."""
        return self.mean + self.parts(spaces).sum(0)


def fit_encoding(
    spaces: Mapping[str, NDArray | Tensor],
    betas: NDArray | Tensor,
    settings: RidgeSettings = PENALTIES,
    mixtures: NDArray | None = None,
    progress: bool = True,
) -> Encoding:
    """Fit a linear model from features to each voxel.

    Parameters
    ----------
    spaces : mapping of str to float [P, ...]
        Features of the training pictures by name; one space gives ridge regression, several give banded ridge. The sums
        are made in float64 where they are, else in float32.
    betas : float [P, V]
        Training responses.
    settings : RidgeSettings
    mixtures : float [M, S], optional
        How much of each space to try, from 0; see `draw_mixtures`, which is asked if there is none.
    progress : bool
        Show bars.

    Raises
    ------
    ValueError
        Before any long work: if there is no space, there are not as many features as responses, a number is NaN or
        infinite, a space has no feature that varies, or a mixture is none.
    """
    if not spaces:
        raise ValueError("spaces is empty; give features by name")
    y = _table(betas, "betas")
    tables = {name: _table(values, name) for name, values in spaces.items()}
    for name, x in tables.items():
        if len(x) != len(y):
            raise ValueError(f"{name} has {len(x)} rows for {len(y)} responses")
    scales = {name: _scale(x, name) for name, x in tables.items()}
    mixtures = _check_mixtures(
        draw_mixtures(len(spaces)) if mixtures is None else mixtures, list(spaces)
    )
    scaled = [scales[name](x, name) for name, x in tables.items()]

    best: dict[str, Tensor] = {}
    for mixture in mixtures:
        roots = mixture.sqrt()
        # a space without weight has no feature that varies, and is left out
        x = torch.cat([r * part for r, part in zip(roots, scaled, strict=True) if r > 0], dim=1)
        found = _by_space(fit_ridge(x, y.numpy(), settings, progress=progress), roots, scaled)
        found["mixture"] = mixture[:, None].expand(-1, y.shape[1]).to(found["r2"])
        better = found["r2"] > best["r2"] if best else None
        best = {
            key: value if better is None else torch.where(better, value, best[key])
            for key, value in found.items()
        }
    sizes = [x.shape[1] for x in scaled]
    weights = dict(zip(scales, best.pop("weights").split(sizes), strict=True))
    return Encoding(scales, weights, **best)


def draw_mixtures(spaces: int, count: int = 8, seed: int = 0) -> NDArray[np.float64]:
    """Draw mixtures to try, [M, S], each of sum 1.

    The first has all spaces alike. The others are from Dirichlet's distribution: every second one spread over all
    mixtures, the rest near to one space alone. Of a single space there is one mixture.
    """
    if spaces == 1:
        return np.ones((1, 1))
    rng = np.random.default_rng(seed)
    drawn = [rng.dirichlet(np.full(spaces, (0.1, 1.0)[k % 2])) for k in range(count - 1)]
    return np.stack([np.full(spaces, 1 / spaces), *drawn])


@dataclass(frozen=True, eq=False)
class Accuracy:
    """How well the responses of voxels are predicted; each is float [V].

    Attributes
    ----------
    correlation
        Of predicted and measured responses over the pictures.
    ceiling
        The largest correlation that any model can have, on average: the root of the share of variance that is signal.
    normalised
        The one by the other, about 1 for a perfect model; NaN where the ceiling is too low to tell.
    """

    correlation: NDArray[np.float64]
    ceiling: NDArray[np.float64]
    normalised: NDArray[np.float64]


def accuracy(
    predicted: NDArray | Tensor,
    measured: NDArray | Tensor,
    ncsnr: ArrayLike,
    averaged: ArrayLike,
    least: float = 0.2,
) -> Accuracy:
    """Compare predicted with measured responses, voxel by voxel.

    Parameters
    ----------
    predicted, measured : float [N, V]
        For test pictures.
    ncsnr : float [V]
        Ratio of signal to noise, best from training trials (`Prepared.ncsnr`).
    averaged : int, or int [N]
        How many trials each measured response is the mean of (`Part.averaged`).
    least : float
        Below this ceiling the normalised accuracy is NaN: noise divided by next to nothing is large.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    a, b = (np.asarray(x, np.float64) for x in (predicted, measured))
    if a.shape != b.shape or a.ndim != 2 or np.shape(ncsnr) != a.shape[1:]:
        raise ValueError(
            f"predicted, measured and ncsnr have the shapes {a.shape}, {b.shape} and {np.shape(ncsnr)}; they must be "
            "[N, V], [N, V] and [V]"
        )
    a, b = a - a.mean(0), b - b.mean(0)
    length = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    correlation = np.divide((a * b).sum(0), length, out=np.zeros(a.shape[1]), where=length > 0)
    ceiling = np.sqrt(np.nan_to_num(noise_ceiling(ncsnr, averaged), nan=0.0) / 100)
    normalised = np.full(len(ceiling), np.nan)
    np.divide(correlation, ceiling, out=normalised, where=ceiling >= max(least, 1e-6))
    return Accuracy(correlation, ceiling, normalised)


def split_r2(parts: NDArray | Tensor, measured: NDArray | Tensor) -> NDArray[np.float64]:
    """Share the explained variance out among spaces, so that the shares add up to it: float [S, V].

    By the product measure (Dupre la Tour et al. 2022, section 2.5): space s has the sum over pictures of
    p_s (2 y - p) by that of y^2, where p is the sum of all p_s. What two spaces predict alike is parted between them;
    a space that makes the prediction worse has a negative share.

    Parameters
    ----------
    parts : float [S, N, V]
        Of `Encoding.parts`. Parts and responses are taken less their means over the pictures.
    measured : float [N, V]

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    p, y = np.asarray(parts, np.float64), np.asarray(measured, np.float64)
    if p.ndim != 3 or p.shape[1:] != y.shape:
        raise ValueError(
            f"parts and measured have the shapes {p.shape} and {y.shape}; they must be [S, N, V] and [N, V]"
        )
    p, y = p - p.mean(1, keepdims=True), y - y.mean(0)
    return (p * (2 * y - p.sum(0))).sum(1) / (y**2).sum(0)


def _table(features: NDArray | Tensor, name: str) -> Tensor:
    if features.ndim < 2 or len(features) == 0:
        raise ValueError(f"{name} has the shape {tuple(features.shape)}; it must be [N, ...]")
    # a memory map that is not to be written to is copied
    x = features if isinstance(features, Tensor) else torch.from_numpy(np.array(features))
    x = (x if x.dtype == torch.float64 else x.float()).flatten(1)
    if not x.isfinite().all():
        row, column = (~x.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"{name}[{row}, {column}] is NaN or infinite")
    return x


def _scale(x: Tensor, name: str) -> Scale:
    mean, spread = x.mean(0), x.std(0, correction=0)
    # a feature that is constant may vary by rounding
    kept = spread > 1e-5 * (mean.abs() + spread.max())
    if not kept.any():
        raise ValueError(f"{name} has no feature that varies over the {len(x)} pictures")
    return Scale(mean, spread * kept.sum().sqrt(), kept)


def _check_mixtures(mixtures: NDArray, names: list[str]) -> Tensor:
    found = np.asarray(mixtures, np.float64)
    right = found.ndim == 2 and len(found) > 0 and found.shape[1] == len(names)
    if not (right and np.isfinite(found).all() and (found >= 0).all() and found.any(1).all()):
        raise ValueError(
            f"mixtures is {found.tolist()}; each row must have a number from 0 for each of {names}, not all 0"
        )
    return torch.from_numpy(found)


def _by_space(ridge: Ridge, roots: Tensor, scaled: list[Tensor]) -> dict[str, Tensor]:
    """Give the weights of unmixed features, [F, V], and what else is kept of a fit."""
    sizes = [part.shape[1] for part in scaled]
    scale = torch.cat([r.expand(size) for r, size in zip(roots, sizes, strict=True)])
    scale = scale.to(ridge.weights)
    weights = scale.new_zeros(len(scale), len(ridge.mean))
    weights[scale > 0] = ridge.weights
    return {
        "weights": scale[:, None] * weights,
        "mean": ridge.mean - ridge.center @ ridge.weights,
        "alpha": ridge.alpha,
        "r2": ridge.r2,
        "correlation": ridge.correlation,
    }
