"""Activation patterns: where in the brain a decoded feature shows, which a decoder's weights do not say.

After Haufe et al. 2014, NeuroImage 87. A decoder gives a voxel weight if that makes the decoded feature better. It may
do so because the voxel answers to the feature, or because it carries noise that can be taken off another voxel. The
pattern is how the voxels change when the decoded feature does.

N pictures, V voxels, T features.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minisd.decoding.checks import check_voxels
from minisd.decoding.ridge import Ridge
from minisd.decoding.selected import SelectedRidge


def activation_patterns(
    ridge: Ridge | SelectedRidge, fmri: NDArray | Tensor, joint: bool = False
) -> Tensor:
    """Turn a decoder into patterns (their equation 6).

    With responses X of covariance C and decoded features S = X W, the patterns are A = C W cov(S)^-1. C, which is
    V x V, is never formed: C W is the covariance of X with S.

    Parameters
    ----------
    ridge : Ridge or SelectedRidge
    fmri : float [N, V]
        Training responses, of the voxels of the fit.
    joint : bool
        Take all features together: the pattern of one is what it adds while the others stay. Otherwise each feature is
        taken alone, cov(X, s) / var(s), which there are always pictures enough for.

    Returns
    -------
    Tensor, shape [V, T]
        Change of a voxel's response for a change of 1 in the decoded feature, rescaled as `Ridge.predict` gives it.
        0 for a feature that is decoded as a constant.

    Raises
    ------
    ValueError
        If there are fewer than 2 pictures, other voxels than those of the fit, or a NaN; with `joint`, if the decoded
        features depend on each other linearly, as more features than pictures or voxels always do.
    """
    x = check_voxels(fmri, len(ridge.center))
    if len(x) < 2:
        raise ValueError(f"fmri has {len(x)} rows; a covariance needs 2 or more")
    s = ridge.predict(x).to(x)
    x, s = x - x.mean(0), s - s.mean(0)
    if not joint:
        power = s.square().sum(0)
        varies = power > power.max() * torch.finfo(s.dtype).eps
        return torch.where(varies, x.T @ s / power.clamp(min=torch.finfo(s.dtype).tiny), 0.0)
    spread = s.norm(dim=0)
    rank = int(np.linalg.matrix_rank((s / spread.clamp(min=1e-12)).double().numpy(), tol=1e-4))
    if rank < s.shape[1]:
        raise ValueError(
            f"{s.shape[1]} decoded features vary in {rank} directions; take joint=False, or fewer features"
        )
    # regressing the responses on the decoded features is the same, and loses fewer digits
    return torch.linalg.lstsq(s.double(), x.double()).solution.T.to(x)
