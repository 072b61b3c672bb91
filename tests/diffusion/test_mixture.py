"""Exact densities, scores and denoisers, against finite differences, SciPy and brute force."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from minisd.diffusion import GaussianMixture, NoiseSchedule, gaussian_flow

WEIGHTS = torch.tensor([0.2, 0.5, 0.3])
MEANS = torch.tensor([[0.0, 1.0], [-1.0, -1.0], [2.0, 0.5]])
COVARIANCES = torch.tensor(
    [[[0.5, 0.2], [0.2, 0.3]], [[1.0, -0.3], [-0.3, 0.4]], [[0.1, 0.0], [0.0, 0.1]]]
)
MIXTURE = GaussianMixture(WEIGHTS, MEANS, COVARIANCES)
X = torch.randn(7, 2, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("alpha_bar", [1.0, 0.6, 0.0])
def test_log_prob_is_scipys(alpha_bar: float) -> None:
    expected = sum(
        float(w)
        * multivariate_normal(
            (alpha_bar**0.5 * m).numpy(), (alpha_bar * c + (1 - alpha_bar) * torch.eye(2)).numpy()
        ).pdf(X.numpy())
        for w, m, c in zip(WEIGHTS, MEANS.double(), COVARIANCES.double(), strict=True)
    )
    assert np.allclose(MIXTURE.log_prob(X, alpha_bar).numpy(), np.log(expected), atol=1e-6)


@pytest.mark.parametrize("alpha_bar", [1.0, 0.6, 0.01])
def test_score_is_the_gradient_of_log_prob(alpha_bar: float) -> None:
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(MIXTURE.log_prob(x, alpha_bar).sum(), x)
    assert torch.allclose(MIXTURE.score(X, alpha_bar), gradient, atol=1e-12)


def test_one_noise_level_a_sample() -> None:
    levels = torch.linspace(0.1, 0.9, 7).double()
    together = MIXTURE.score(X, levels)
    for i in range(7):
        assert torch.allclose(together[i], MIXTURE.score(X[i : i + 1], float(levels[i]))[0])


def test_denoiser_is_the_mean_of_the_noise() -> None:
    schedule = NoiseSchedule.linear(100, 1e-3, 0.1)
    g = torch.Generator().manual_seed(1)
    x_0, k = MIXTURE.sample(400_000, g, dtype=torch.float64)
    assert x_0.shape == (400_000, 2)
    assert torch.allclose(k.bincount() / 400_000, WEIGHTS, atol=4e-3)
    x_t = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    a = schedule.alpha_bar_at(60)
    # importance weights: how likely each clean sample is to have become x_t
    log_weight = -((x_t - a.sqrt() * x_0) ** 2).sum(1) / (2 * (1 - a))
    eps = (x_t - a.sqrt() * x_0) / (1 - a).sqrt()
    by_hand = (log_weight.softmax(0)[:, None] * eps).sum(0)
    got = MIXTURE.denoiser(schedule)(x_t, torch.tensor([60.0]))[0]
    assert torch.allclose(got, by_hand, atol=0.02)


def test_posterior_names_the_component() -> None:
    p = MIXTURE.posterior(MEANS.double())
    assert p.shape == (3, 3)
    assert torch.allclose(p.sum(1), torch.ones(3).double())
    assert p.argmax(1).tolist() == [0, 1, 2]


def test_point_masses_have_a_score_where_there_is_noise() -> None:
    points = GaussianMixture(torch.ones(2), torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1, 1))
    assert float(points.score(torch.zeros(1, 1), 0.5)) == pytest.approx(0, abs=1e-6)
    assert points.weights.tolist() == [0.5, 0.5]


def test_flow_solves_the_probability_flow_ode() -> None:
    mean, variance = torch.tensor([0.5, -1.0]).double(), torch.tensor([0.3, 2.0]).double()
    data = GaussianMixture([1.0], mean[None], variance.diag()[None])
    x = torch.tensor([[0.2, 0.9]], dtype=torch.float64)
    sigmas = torch.linspace(3.0, 0.1, 20_001, dtype=torch.float64)
    x_sigma = x * (1 + sigmas[0] ** 2).sqrt()
    for now, then in pairwise(sigmas):
        middle = (now + then) / 2
        a = 1 / (1 + middle**2)

        def slope(
            y: torch.Tensor, a: torch.Tensor = a, sigma: torch.Tensor = middle
        ) -> torch.Tensor:
            return -sigma / (1 + sigma**2).sqrt() * data.score(y * a.sqrt(), a)

        half = x_sigma + slope(x_sigma) * (then - now) / 2
        x_sigma = x_sigma + slope(half) * (then - now)
    ends = [float(1 / (1 + sigmas[i] ** 2)) for i in (0, -1)]
    expected = gaussian_flow(x, mean, variance, *ends)
    assert torch.allclose(x_sigma * ends[1] ** 0.5, expected, atol=1e-3)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes \(2,\), \(3, 2\) and \(3, 2, 2\)"):
        GaussianMixture(WEIGHTS[:2], MEANS, COVARIANCES)
    with pytest.raises(ValueError, match="weights is"):
        GaussianMixture([0.0, 1.0, 1.0], MEANS, COVARIANCES)
    with pytest.raises(ValueError, match="not symmetric"):
        GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]])
    with pytest.raises(ValueError, match="eigenvalue -1 below 0"):
        GaussianMixture([1.0], [[0.0]], [[[-1.0]]])
    with pytest.raises(ValueError, match=r"x has shape \(7,\)"):
        MIXTURE.score(X[:, 0])
