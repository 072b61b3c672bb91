"""Ridge regression from voxels to features, with a penalty for each feature.

There are fewer pictures than voxels, so it is solved in the dual form: with the kernel K = X X', the weights are X' A,
and A = (K + alpha 1)^-1 Y (Saunders et al. 1998). himalaya (Dupre la Tour et al. 2022) does that, for all penalties and
features at once.

P pictures, V voxels, T features, R rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from minisd.checkpoints.files import read_state_dict
from minisd.checkpoints.saving import write_weights
from minisd.decoding.checks import check_alphas, check_folds, check_inputs, check_voxels, make_folds
from minisd.extras import require


@dataclass(frozen=True)
class RidgeSettings:
    """How a ridge regression is fitted.

    Attributes
    ----------
    alphas : tuple of float
        Penalties to choose from, each above 0. The diagonal of the kernel is about V for z-scored voxels.
    folds : int
        Of the cross-validation that chooses; 2 or more.
    block : int
        How many features are read and solved at once: the kernel is decomposed anew for each block.
    batch : int
        Of how many features the predictions at all penalties are in memory at once.
    device : str
        "cpu" or "cuda".
    seed : int
        Of the folds.
    """

    alphas: tuple[float, ...] = tuple(float(f"1e{k}") for k in range(7))
    folds: int = 5
    block: int = 16384
    batch: int = 512
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alphas", check_alphas(self.alphas))
        check_folds(self.folds)
        for name in ("block", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")


@dataclass(frozen=True, eq=False)
class Ridge:
    """A fitted regression.

    Attributes
    ----------
    center : float [V]
        Means of the training responses.
    left : float [V, R]
    right : float [R, T] or None
        The weights are ``left @ right``; where they are not low-rank, ``left`` [V, T] alone.
    mean : float [T]
        Of the training features.
    gain : float [T]
        What brings predictions back to the spread of the features. Ridge shrinks: out of fold, the predictions of the
        training features vary by 1 / gain as much as these do. It is 1 where nothing could be predicted.
    alpha : float [T]
        Penalty that was chosen.
    r2, correlation : float [T]
        Of the training features with what was predicted out of fold; an r2 below 0 is worse than their mean.
    error : float [T]
        Mean squared error of what was predicted out of fold, with the gain.
    """

    center: Tensor
    left: Tensor
    right: Tensor | None
    mean: Tensor
    gain: Tensor
    alpha: Tensor
    r2: Tensor
    correlation: Tensor
    error: Tensor

    def predict(self, fmri: NDArray | Tensor, rescale: bool = True) -> Tensor:
        """Predict features.

        Parameters
        ----------
        fmri : float [N, V]
        rescale : bool
            Give them the spread of the training features. Nothing of `fmri` but its own row has a part in a prediction.

        Returns
        -------
        Tensor, shape [N, T]

        Raises
        ------
        ValueError
            If it has other voxels than those of the fit, or a number is NaN or infinite.
        """
        x = check_voxels(fmri, len(self.center)).to(self.left) - self.center
        found = x @ self.left
        if self.right is not None:
            found = found @ self.right
        return self.mean + (self.gain * found if rescale else found)

    @property
    def weights(self) -> Tensor:
        """Of each voxel for each feature, without the gain, [V, T]."""
        return self.left if self.right is None else self.left @ self.right

    def save(self, path: str | Path) -> None:
        """Write a safetensors file."""
        parts = {name: value for name, value in vars(self).items() if value is not None}
        write_weights({name: value.contiguous() for name, value in parts.items()}, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Ridge:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            If the file is not there, is damaged, or holds something else.
        """
        state = read_state_dict(Path(path))
        names = set(cls.__dataclass_fields__)
        if not names - {"right"} <= set(state) <= names:
            raise ValueError(
                f"{path} holds {sorted(state)}, which is no ridge regression of minisd"
            )
        # what ships is in half precision
        state = {k: v.float() if v.dtype == torch.float16 else v for k, v in state.items()}
        return cls(**{"right": None, **state})


class _Outside:
    """Himalaya's score, the negative squared error; on the way it keeps sums over what lies out of fold.

    It goes through folds, in each through penalties [A], and with each through batches of features [T].
    """

    def __init__(self, folds: int, penalties: int, features: int, dtype: torch.dtype) -> None:
        # one place for all: small tensors between large ones that come and go would leave holes in memory
        self.sums, self.at = torch.empty(3, folds, penalties, features, dtype=dtype), 0

    def __call__(self, y: Tensor, predicted: Tensor) -> Tensor:
        """Score features [n, t] by predictions at a penalty [1, n, t], both less the mean of the fold's rest."""
        error = (predicted - y).square_().sum(1)
        start, self.at = self.at, self.at + y.shape[1]
        sums = error[0], y.square().sum(0), predicted.square().sum(1)[0]
        for kept, one in zip(self.sums, sums, strict=True):
            kept.view(-1)[start : self.at] = one
        return -error / len(y)

    def total(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over folds: squared errors [A, T], squared features [T], squared predictions [A, T]."""
        error, power, predicted = self.sums.sum(1)
        return error, power[0], predicted


def fit_ridge(
    fmri: NDArray | Tensor,
    features: NDArray | Tensor,
    settings: RidgeSettings = RidgeSettings(),
    groups: NDArray | None = None,
    progress: bool = True,
) -> Ridge:
    """Fit a ridge regression, with a penalty for each feature by cross-validation.

    Parameters
    ----------
    fmri : float32 or float64 [P, V]
        Training responses; the sums are made in this precision.
    features : float [P, ...]
        What to predict; all but the first axis are flattened. It may be mapped into memory: ``settings.block`` features
        are read at a time.
    settings : RidgeSettings
    groups : [P], optional
        Rows that belong to the same picture have the same group, and are never parted by a fold.
    progress : bool
        Show a bar over the blocks.

    Returns
    -------
    Ridge

    Raises
    ------
    ValueError
        Before any long work: if the shapes do not fit, a response is NaN or infinite, a voxel is constant, or there are
        fewer pictures than folds. For features that are NaN or infinite, when they are read.
    ImportError
        If himalaya is not there.
    """
    require("himalaya", "brain")
    x, features = check_inputs(fmri, features)
    splits = make_folds(len(x), settings.folds, groups, settings.seed)
    x = x.to(settings.device)
    center = x.mean(0)
    x = x - center
    kernel = x @ x.T
    T = features.shape[1]
    starts = range(0, T, settings.block)
    blocks = tqdm(
        _blocks(features, starts, settings.block, x.dtype),
        total=len(starts),
        desc="ridge",
        delay=2,
        disable=not progress,
    )
    whole: dict[str, Tensor] = {}  # filled block by block, for the weights are large
    for start, y in zip(starts, blocks, strict=True):
        for name, part in _fit_block(x, kernel, y, settings, splits).items():
            room = whole.setdefault(name, part.new_empty(*part.shape[:-1], T))
            room[..., start : start + y.shape[1]] = part
    return Ridge(center.cpu(), right=None, **whole)


def compress(ridge: Ridge, fmri: NDArray | Tensor, lost: float = 1e-4) -> Ridge:
    """Keep the directions of the features in which the predictions vary, and drop the rest.

    Neighbouring features are much alike, so few directions have all of the variance.

    Parameters
    ----------
    ridge : Ridge
    fmri : float [P, V]
        Training responses.
    lost : float
        Share of the predictions' variance that may be lost, features being taken on a scale of their own each.

    Returns
    -------
    Ridge
        The same one, if it would not become smaller.
    """
    x = check_voxels(fmri, len(ridge.center)).to(ridge.left) - ridge.center
    weights = ridge.weights
    predicted = x @ weights
    spread = predicted.std(0).clamp(min=1e-12)
    predicted /= spread
    values, vectors = torch.linalg.eigh((predicted @ predicted.T).double())  # ascending
    values = values.clamp(min=0)
    left_out = values.cumsum(0) / values.sum()
    rank = int((left_out > lost).sum())
    V, T = weights.shape
    if rank * (V + T) >= V * T:
        return ridge
    # the top directions of the features, from those of the pictures
    top = predicted.T @ vectors[:, -rank:].to(predicted) / values[-rank:].sqrt().to(predicted)
    left = weights @ (top / spread[:, None])
    return Ridge(**{**vars(ridge), "left": left, "right": (top.T * spread).contiguous()})


def _fit_block(
    x: Tensor, kernel: Tensor, y: Tensor, settings: RidgeSettings, splits: list
) -> dict[str, Tensor]:
    from himalaya.kernel_ridge import solve_kernel_ridge_cv_eigenvalues

    y = y.to(x.device)
    mean = y.mean(0)
    alphas = torch.tensor(settings.alphas, dtype=x.dtype)
    outside = _Outside(settings.folds, len(alphas), y.shape[1], x.dtype)
    with _backend(settings.device):
        best, dual, _, _ = solve_kernel_ridge_cv_eigenvalues(
            kernel,
            y,
            alphas=alphas.to(x.device),
            score_func=outside,
            cv=splits,
            fit_intercept=True,
            n_targets_batch=settings.batch,
            n_alphas_batch=1,  # himalaya holds a matrix of pictures by pictures for each
        )
    best = best.cpu()
    chosen = (best[:, None] - alphas).abs().argmin(1)[None]  # [1, T]
    error, power, predicted = outside.total()
    error, predicted = error.gather(0, chosen)[0], predicted.gather(0, chosen)[0]
    return {
        "left": (x.T @ dual.to(x)).cpu(),
        "mean": mean.cpu(),
        "alpha": alphas[chosen[0]],
        **skill(error, power, predicted, len(y)),
    }


def skill(error: Tensor, power: Tensor, predicted: Tensor, count: int) -> dict[str, Tensor]:
    """Say how well features are predicted, and by what to rescale.

    Parameters
    ----------
    error, power, predicted : Tensor, shape [T]
        Sums over what lies out of fold, of the squares of errors, features and predictions.
    count : int
        Of how many pictures.

    Returns
    -------
    dict of Tensor, shape [T]
        "r2", "correlation", "gain" and "error" of `Ridge`. A feature that never varies has 0, 0, 1 and 0.
    """
    tiny = torch.finfo(error.dtype).tiny
    r2 = torch.where(power > tiny, 1 - error / power.clamp(min=tiny), torch.zeros_like(power))
    both = (power * predicted).sqrt()
    known = both > tiny
    product = (power + predicted - error) / 2  # of features and predictions
    correlation = torch.where(known, product / both.clamp(min=tiny), 0.0)
    gain = torch.where(known & (r2 > 0), (power / predicted.clamp(min=tiny)).sqrt(), 1.0)
    bold = (gain.square() * predicted - 2 * gain * product + power).clamp(min=0) / count
    return {"r2": r2, "correlation": correlation, "gain": gain, "error": bold}


def _blocks(
    features: NDArray | Tensor, starts: range, size: int, dtype: torch.dtype
) -> Iterator[Tensor]:
    for start in starts:
        y = torch.as_tensor(np.array(features[:, start : start + size])).to(dtype)
        if not y.isfinite().all():
            row, column = (~y.isfinite()).nonzero()[0].tolist()
            raise ValueError(f"features[{row}, {start + column}] is NaN or infinite")
        yield y


@contextmanager
def _backend(device: str) -> Iterator[Any]:
    """Himalaya computes with torch; what the user had chosen is put back."""
    from himalaya.backend import get_backend, set_backend

    before = get_backend().name
    try:
        yield set_backend("torch_cuda" if device.startswith("cuda") else "torch")
    finally:
        set_backend(before)
