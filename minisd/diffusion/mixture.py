"""Gaussian mixtures under diffusion: the one kind of data whose perfect denoiser is known.

Under x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps a Gaussian N(m, S) becomes
N(sqrt(alpha_bar) m, alpha_bar S + (1 - alpha_bar) I), and a mixture of them stays a mixture with the same weights.
So density, score and denoiser are known at every noise level, and a sampler or a loss can be checked against them.
B samples of dimension D, K components; alpha_bar is one number or one a sample, shape [B].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minisd.diffusion.schedule import Denoiser, NoiseSchedule


class GaussianMixture:
    """Data drawn from a mixture of K Gaussians in D dimensions.

    Parameters
    ----------
    weights : Tensor, shape [K]
        Positive; made to sum to 1.
    means : Tensor, shape [K, D]
    covariances : Tensor, shape [K, D, D]
        Symmetric, no eigenvalue below 0 (a point mass is allowed where there is noise).

    Raises
    ------
    ValueError
        For shapes that do not fit, weights that are not positive, matrices that are no covariance.
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        weights, means, covariances = (
            torch.as_tensor(a, dtype=torch.float64, device="cpu")
            for a in (weights, means, covariances)
        )
        K, D = means.shape if means.ndim == 2 else (0, 0)
        if K == 0 or weights.shape != (K,) or covariances.shape != (K, D, D):
            raise ValueError(
                f"weights, means and covariances have shapes {tuple(weights.shape)}, "
                f"{tuple(means.shape)} and {tuple(covariances.shape)}; they must be [K], [K, D] and [K, D, D]"
            )
        if not (weights > 0).all():
            raise ValueError(f"weights is {weights.tolist()}; each must be positive")
        if not torch.allclose(covariances, covariances.mT):
            raise ValueError("covariances holds a matrix that is not symmetric")
        # the noise adds to the eigenvalues alone, so one decomposition serves every noise level
        eigenvalues, eigenvectors = torch.linalg.eigh(covariances)
        if eigenvalues.min() < -1e-9 * eigenvalues.abs().max():
            raise ValueError(f"covariances has an eigenvalue {eigenvalues.min().item():g} below 0")
        self.weights, self.means, self.covariances = weights / weights.sum(), means, covariances
        self._eigenvalues, self._eigenvectors = eigenvalues.clamp(min=0), eigenvectors

    def sample(
        self, n: int, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        """Draw n clean samples [n, D], and which component each came from [n]."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64)
        x = (
            self.means[k]
            + (self._eigenvectors[k] @ (self._eigenvalues[k].sqrt() * z)[..., None])[..., 0]
        )
        return x.to(dtype), k

    def log_prob(self, x: Tensor, alpha_bar: float | Tensor = 1.0) -> Tensor:
        """Log q(x_t) in nats, shape [B], at the noise level ``alpha_bar`` in [0, 1]."""
        return torch.logsumexp(self._log_joint(x, alpha_bar), dim=1)

    def posterior(self, x: Tensor, alpha_bar: float | Tensor = 1.0) -> Tensor:
        """p(component | x_t), shape [B, K]: the perfect noisy classifier."""
        return self._log_joint(x, alpha_bar).softmax(dim=1)

    def score(self, x: Tensor, alpha_bar: float | Tensor = 1.0) -> Tensor:
        """Grad log q(x_t), shape [B, D]."""
        away, variance, vectors = self._noised(x, alpha_bar)
        pull = -torch.einsum("kij,bkj->bki", vectors, away / variance)
        return (self.posterior(x, alpha_bar)[..., None] * pull).sum(dim=1)

    def denoiser(self, schedule: NoiseSchedule) -> Denoiser:
        """The perfect denoiser, E[eps | x_t] = -sqrt(1 - alpha_bar) score(x_t)."""

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return schedule.convert(
                self.score(x_t, schedule.alpha_bar_at(t)), x_t, t, "score", "eps"
            )

        return denoise

    def _log_joint(self, x: Tensor, alpha_bar: float | Tensor) -> Tensor:
        away, variance, _ = self._noised(x, alpha_bar)
        log_normal = -0.5 * (away**2 / variance + variance.log() + math.log(2 * math.pi)).sum(dim=2)
        return self.weights.log().to(x) + log_normal

    def _noised(self, x: Tensor, alpha_bar: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distance from each mean and variance along each eigenvector [B, K, D]; the vectors [K, D, D]."""
        if x.ndim != 2 or x.shape[1] != self.means.shape[1]:
            raise ValueError(f"x has shape {tuple(x.shape)}; it must be [B, {self.means.shape[1]}]")
        a = torch.as_tensor(alpha_bar, dtype=torch.float64).to(x).reshape(-1, 1, 1)
        vectors = self._eigenvectors.to(x)
        away = x[:, None, :] - a.sqrt() * self.means.to(x)
        return (
            torch.einsum("kji,bkj->bki", vectors, away),
            a * self._eigenvalues.to(x) + 1 - a,
            vectors,
        )


def gaussian_flow(
    x: Tensor, mean: Tensor, variance: Tensor, alpha_bar: float, alpha_bar_next: float
) -> Tensor:
    """Exact solution of the probability-flow ODE for Gaussian data with independent dimensions.

    The flow keeps each sample's distance from the mean in standard deviations (Song et al. 2021, arXiv 2011.13456,
    section 4.3, worked out for N(mean, variance)).

    Parameters
    ----------
    x : Tensor, shape [B, D]
        Samples at the noise level ``alpha_bar``.
    mean, variance : Tensor, shape [D]
        Of the clean data.
    alpha_bar, alpha_bar_next : float
        Where the flow starts and ends, in [0, 1].

    Returns
    -------
    Tensor, shape [B, D]
    """
    spread = (alpha_bar * variance + 1 - alpha_bar) ** 0.5
    spread_next = (alpha_bar_next * variance + 1 - alpha_bar_next) ** 0.5
    return alpha_bar_next**0.5 * mean + spread_next / spread * (x - alpha_bar**0.5 * mean)
