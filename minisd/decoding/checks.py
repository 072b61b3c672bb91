"""What goes into a decoder, checked before long work begins."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def check_inputs(fmri: NDArray | Tensor, features: NDArray | Tensor) -> tuple[Tensor, NDArray]:
    """Refuse responses and features that no decoder can be fitted on.

    Returns
    -------
    fmri : Tensor, shape [P, V]
    features : array [P, T]
        A view, not read yet.

    Raises
    ------
    ValueError
        If they are not as many, a response is NaN or infinite, or a voxel has the same response to all pictures.
    """
    if features.ndim < 2 or len(features) != len(fmri):
        raise ValueError(
            f"features has the shape {tuple(features.shape)} for {len(fmri)} responses; it must be [P, ...]"
        )
    x = check_voxels(fmri)
    still = (x == x[0]).all(0).nonzero().flatten().tolist()
    if still:
        raise ValueError(
            f"fmri has the same response to all pictures in {len(still)} of {x.shape[1]} voxels, such as voxel "
            f"{still[0]}; leave them out"
        )
    return x, features.reshape(len(features), -1)


def check_voxels(fmri: NDArray | Tensor, voxels: int | None = None) -> Tensor:
    """Refuse what is no table of responses, or has other voxels than a decoder was fitted on.

    Raises
    ------
    ValueError
        If it is not [N, V], or has a NaN or an infinite number.
    """
    if fmri.ndim != 2 or 0 in fmri.shape:
        raise ValueError(f"fmri has the shape {tuple(fmri.shape)}; it must be [N, V]")
    if voxels is not None and fmri.shape[1] != voxels:
        raise ValueError(
            f"fmri has {fmri.shape[1]} voxels, and the decoder was fitted on {voxels}; take the voxels of the fit"
        )
    # a memory map that is not to be written to is copied
    x = fmri if isinstance(fmri, Tensor) else torch.from_numpy(np.array(fmri))
    x = x if x.dtype == torch.float64 else x.float()
    if not x.isfinite().all():
        row, column = (~x.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"fmri[{row}, {column}] is NaN or infinite")
    return x


def check_alphas(alphas: Iterable[float]) -> tuple[float, ...]:
    """Refuse penalties that are not above 0; give them in ascending order."""
    found = tuple(sorted(float(alpha) for alpha in alphas))
    if not found or not 0 < found[0] <= found[-1] < float("inf"):
        raise ValueError(f"alphas is {found}; it must hold numbers above 0")
    return found


def check_folds(folds: int) -> None:
    """Refuse a number of folds below 2."""
    if folds < 2:
        raise ValueError(f"folds is {folds}; it must be 2 or more")


def make_folds(
    count: int, folds: int, groups: NDArray | None, seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Part rows by chance into folds that keep groups together.

    Returns
    -------
    list of (int [n], int [m])
        For each fold, the rows to fit on and those to test on.

    Raises
    ------
    ValueError
        If there is not one group for each row, or there are fewer groups than folds.
    """
    groups = np.arange(count) if groups is None else np.asarray(groups)
    if groups.shape != (count,):
        raise ValueError(f"groups has the shape {groups.shape} for {count} rows")
    names, member = np.unique(groups, return_inverse=True)
    if len(names) < folds:
        raise ValueError(f"folds is {folds}, and there are {len(names)} pictures; take fewer folds")
    fold = np.random.default_rng(seed).permutation(len(names)) % folds
    return [
        (np.flatnonzero(fold[member] != k), np.flatnonzero(fold[member] == k)) for k in range(folds)
    ]
