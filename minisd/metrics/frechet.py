"""How far two sets of pictures are apart, by the mean and the covariance of their features.

Heusel et al. 2017 (arXiv 1706.08500, equation 6), with features of the scorer in place of Inception's.
"""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance of two normal distributions fitted to features.

    It is ``|mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2))``, with A and B the covariances.

    Parameters
    ----------
    a, b : Tensor, shape [N, D] and [M, D]
        N and M well above D: with fewer, the estimate is far too large.

    Returns
    -------
    float
        0 or more.

    Raises
    ------
    ValueError
        If they are not two matrices of the same width with two rows or more.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"a and b have shapes {tuple(a.shape)} and {tuple(b.shape)}; they must be [N, D] and "
            "[M, D] with two rows or more"
        )
    a, b = a.double(), b.double()
    A, B = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(b.shape[1], -1)
    # (A B)^(1/2) has the trace of (A^(1/2) B A^(1/2))^(1/2), which is symmetric
    values, vectors = torch.linalg.eigh(A)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ B @ root).clamp(min=0).sqrt().sum()
    distance = ((a.mean(0) - b.mean(0)) ** 2).sum() + A.trace() + B.trace() - 2 * cross
    return max(0.0, float(distance))
