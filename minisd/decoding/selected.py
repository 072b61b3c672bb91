"""Ridge regression in which each feature has voxels of its own: those that correlate with it best.

Lu et al. 2023 (MindDiffuser, arXiv 2308.04249, section 3.2) decode from a few hundred voxels a feature. Then there are
fewer voxels than pictures, and the primal form is the smaller one: (G + alpha 1) w = X' y, where G = X' X. There is one
such G for all features; each takes its rows and columns out of it, and solves by Cholesky.

P pictures, V voxels, T features, K voxels a feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from minisd.checkpoints.files import read_state_dict
from minisd.checkpoints.saving import write_weights
from minisd.decoding.checks import check_alphas, check_folds, check_inputs, check_voxels, make_folds
from minisd.decoding.ridge import skill


@dataclass(frozen=True)
class SelectedSettings:
    """How a regression from selected voxels is fitted.

    Attributes
    ----------
    voxels : int
        For each feature.
    alphas : tuple of float
        Penalties to choose from, each above 0.
    folds : int
        Of the cross-validation that chooses, and that says how well each feature is predicted; 2 or more. Voxels are
        selected anew in each, from the rest alone.
    batch : int
        How many features are solved at once.
    device : str
        "cpu" or "cuda".
    seed : int
        Of the folds.
    """

    voxels: int = 450
    alphas: tuple[float, ...] = (10.0, 100.0, 1000.0, 10000.0)
    folds: int = 5
    batch: int = 64
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alphas", check_alphas(self.alphas))
        check_folds(self.folds)
        for name in ("voxels", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")


@dataclass(frozen=True, eq=False)
class SelectedRidge:
    """A fitted regression; what it shares with `minisd.decoding.ridge.Ridge` means the same there.

    Attributes
    ----------
    center : float [V]
    chosen : int64 [T, K]
        The voxels of each feature.
    weights : float [T, K]
    mean, gain, alpha, r2, correlation, error : float [T]
    """

    center: Tensor
    chosen: Tensor
    weights: Tensor
    mean: Tensor
    gain: Tensor
    alpha: Tensor
    r2: Tensor
    correlation: Tensor
    error: Tensor

    def predict(self, fmri: NDArray | Tensor, rescale: bool = True) -> Tensor:
        """Predict features, [N, T]; see `minisd.decoding.ridge.Ridge.predict`."""
        x = check_voxels(fmri, len(self.center)).to(self.weights) - self.center
        found = torch.stack(
            [x[:, voxels] @ w for voxels, w in zip(self.chosen, self.weights, strict=True)], dim=1
        )
        return self.mean + (self.gain * found if rescale else found)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file."""
        write_weights(dict(vars(self)), Path(path))

    @classmethod
    def load(cls, path: str | Path) -> SelectedRidge:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            If the file is not there, is damaged, or holds something else.
        """
        state = read_state_dict(Path(path))
        if set(state) != set(cls.__dataclass_fields__):
            raise ValueError(
                f"{path} holds {sorted(state)}, which is no regression from selected voxels"
            )
        return cls(**state)


def fit_selected(
    fmri: NDArray | Tensor,
    features: NDArray | Tensor,
    settings: SelectedSettings = SelectedSettings(),
    groups: NDArray | None = None,
    progress: bool = True,
) -> SelectedRidge:
    """Fit a regression from the best voxels of each feature, with a penalty for each by cross-validation.

    Parameters
    ----------
    fmri : float32 or float64 [P, V]
        Training responses; the sums are made in this precision.
    features : float [P, ...]
        What to predict; all but the first axis are flattened. It may be mapped into memory: ``settings.batch`` features
        are read at a time.
    settings : SelectedSettings
    groups : [P], optional
        Rows that belong to the same picture have the same group, and are never parted by a fold.
    progress : bool
        Show a bar over the batches.

    Returns
    -------
    SelectedRidge

    Raises
    ------
    ValueError
        Before any long work: if the shapes do not fit, a response is NaN or infinite, a voxel is constant, or there are
        fewer voxels than asked for or fewer pictures than folds. For features that are NaN or infinite, when they are
        read.
    """
    x, features = check_inputs(fmri, features)
    if settings.voxels > x.shape[1]:
        raise ValueError(f"voxels is {settings.voxels}, and fmri has {x.shape[1]}; take fewer")
    splits = make_folds(len(x), settings.folds, groups, settings.seed)
    x = x.to(settings.device)
    rows = [*splits, (np.arange(len(x)), np.arange(0))]  # the last fits on all
    grams = [_gram(x[train]) for train, _ in rows]
    parts = []
    for start in tqdm(
        range(0, features.shape[1], settings.batch), desc="ridge", delay=2, disable=not progress
    ):
        y = torch.as_tensor(np.array(features[:, start : start + settings.batch])).to(x)
        if not y.isfinite().all():
            row, column = (~y.isfinite()).nonzero()[0].tolist()
            raise ValueError(f"features[{row}, {start + column}] is NaN or infinite")
        parts.append(_fit_batch(x, y, rows, grams, settings))
    whole = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    return SelectedRidge(x.mean(0).cpu(), **whole)


def select(x: Tensor, y: Tensor, voxels: int) -> Tensor:
    """Find the K voxels of x [P, V] that correlate most, of either sign, with each of y [P, T]: int64 [T, K]."""
    x, y = x - x.mean(0), y - y.mean(0)
    alike = (y.T @ x) / x.norm(dim=0).clamp(min=1e-12)  # y's own length changes no order
    return alike.abs().topk(voxels, dim=1).indices.sort(dim=1).values


def _gram(x: Tensor) -> Tensor:
    x = x - x.mean(0)
    return x.T @ x


def _fit_batch(
    x: Tensor, y: Tensor, rows: list, grams: list[Tensor], settings: SelectedSettings
) -> dict[str, Tensor]:
    sums: list = [0, 0, 0]
    for (train, test), gram in zip(rows[:-1], grams[:-1], strict=True):
        chosen, solve = _prepare(x[train], y[train], gram, settings.voxels)
        seen = (x[test] - x[train].mean(0))[:, chosen].transpose(0, 1)  # [t, n, K]
        there = (y[test] - y[train].mean(0)).T  # [t, n]
        said = torch.stack([torch.einsum("tnk,tk->tn", seen, solve(a)) for a in settings.alphas])
        errors = ((said - there) ** 2).sum(2)
        for k, more in enumerate((errors, there.square().sum(1), said.square().sum(2))):
            sums[k] = sums[k] + more
    error, power, predicted = sums
    best = error.argmin(0)[None]  # [1, t]
    chosen, solve = _prepare(x, y, grams[-1], settings.voxels)
    weights = torch.stack([solve(a) for a in settings.alphas])  # [A, t, K]
    weights = weights[best[0], torch.arange(len(chosen), device=x.device)]
    alphas = torch.tensor(settings.alphas, dtype=x.dtype, device=x.device)[best[0]]
    return {
        "chosen": chosen,
        "weights": weights,
        "mean": y.mean(0),
        "alpha": alphas,
        **skill(error.gather(0, best)[0], power, predicted.gather(0, best)[0], len(y)),
    }


def _prepare(x: Tensor, y: Tensor, gram: Tensor, voxels: int):  # noqa: ANN202
    """Select voxels, and give what solves for the weights [t, K] at a penalty."""
    chosen = select(x, y, voxels)
    block = gram[chosen[:, :, None], chosen[:, None, :]]  # [t, K, K]
    both = ((y - y.mean(0)).T @ (x - x.mean(0))).gather(1, chosen)  # [t, K]
    unit = torch.eye(voxels, dtype=x.dtype, device=x.device)

    def solve(alpha: float) -> Tensor:
        factor = torch.linalg.cholesky(block + alpha * unit)
        return torch.cholesky_solve(both[..., None], factor)[..., 0]

    return chosen, solve
