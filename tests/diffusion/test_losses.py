"""The bound where it is exact, its terms against Monte Carlo and closed forms, and what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisd.diffusion import (
    GaussianMixture,
    NoiseSchedule,
    clipped_posterior_variance,
    denoising_term,
    discretised_reconstruction_term,
    gaussian_kl,
    prior_term,
    reconstruction_term,
    simple_loss,
    true_reverse_variance,
    variational_bound,
)

SCHEDULE = NoiseSchedule.linear(50, 1e-3, 0.2)


def gaussian(mean: float, variance: float) -> GaussianMixture:
    return GaussianMixture([1.0], [[mean]], [[[variance]]])


def expected_bound(
    data: GaussianMixture,
    x_0: torch.Tensor,
    schedule: NoiseSchedule,
    variance: torch.Tensor,
    **prior: float,
) -> torch.Tensor:
    """The bound averaged over the noise: its terms are quadratic in eps, so -1 and +1 average exactly."""
    return (
        sum(
            variational_bound(
                data.denoiser(schedule),
                x_0,
                schedule,
                lambda x, sign=sign: torch.full_like(x, sign),
                variance,
                **prior,
            ).total
            for sign in (-1.0, 1.0)
        )
        / 2
    )


@settings(deadline=None, max_examples=15)
@given(mean=st.floats(-2, 2), variance=st.floats(0.05, 4), T=st.integers(1, 60))
def test_bound_is_the_log_likelihood_when_the_reverse_is_exact(
    mean: float, variance: float, T: int
) -> None:
    schedule = NoiseSchedule.linear(T, 1e-3, 0.2)
    data = gaussian(mean, variance)
    x_0 = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    a = float(schedule.alpha_bar[-1])
    bound = expected_bound(
        data,
        x_0,
        schedule,
        true_reverse_variance(schedule, variance),
        prior_mean=math.sqrt(a) * mean,
        prior_variance=a * variance + 1 - a,
    )
    assert torch.allclose(bound, -data.log_prob(x_0), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("choice", ["beta", "beta_tilde", "prior"])
def test_bound_is_loose_for_any_other_reverse(choice: str) -> None:
    data = gaussian(0.5, 0.3)
    x_0, _ = data.sample(500, torch.Generator().manual_seed(0), dtype=torch.float64)
    a = float(SCHEDULE.alpha_bar[-1])
    variance = {
        "beta": SCHEDULE.betas,
        "beta_tilde": clipped_posterior_variance(SCHEDULE),
        "prior": true_reverse_variance(SCHEDULE, 0.3),
    }[choice]
    exact = {"prior_mean": math.sqrt(a) * 0.5, "prior_variance": a * 0.3 + 1 - a}
    bound = expected_bound(data, x_0, SCHEDULE, variance, **({} if choice == "prior" else exact))
    gap = float((bound + data.log_prob(x_0)).mean())
    assert gap > (1e-5 if choice == "prior" else 1e-3)


def test_true_reverse_variance_between_its_two_limits() -> None:
    assert torch.allclose(true_reverse_variance(SCHEDULE, 1.0), SCHEDULE.betas, atol=1e-14)
    assert torch.allclose(
        true_reverse_variance(SCHEDULE, 0.0), SCHEDULE.posterior_variance, atol=1e-14
    )


def test_true_reverse_variance_is_bayes_rule_on_a_grid() -> None:
    t, variance, x_t = 20, 0.3, 0.8
    grid = torch.linspace(-10, 10, 400_001, dtype=torch.float64)
    a = float(SCHEDULE.alpha_bar[t - 1])
    alpha = float(SCHEDULE.alphas[t])
    before = -(grid**2) / (2 * (a * variance + 1 - a))
    step = -((x_t - math.sqrt(alpha) * grid) ** 2) / (2 * (1 - alpha))
    weight = (before + step).softmax(0)
    mean = (weight * grid).sum()
    by_hand = float((weight * (grid - mean) ** 2).sum())
    assert float(true_reverse_variance(SCHEDULE, variance)[t]) == pytest.approx(by_hand, abs=1e-9)


@given(m=st.floats(-2, 2), v=st.floats(0.1, 3), m_other=st.floats(-2, 2), v_other=st.floats(0.1, 3))
def test_kl_is_that_of_torch(m: float, v: float, m_other: float, v_other: float) -> None:
    args = [torch.tensor(a, dtype=torch.float64) for a in (m, v, m_other, v_other)]
    p = torch.distributions.Normal(args[0], args[1].sqrt())
    q = torch.distributions.Normal(args[2], args[3].sqrt())
    assert float(gaussian_kl(*args)) == pytest.approx(
        float(torch.distributions.kl_divergence(p, q)), abs=1e-10
    )


def test_terms_sum_over_a_picture_and_keep_the_batch() -> None:
    x_0 = torch.rand(3, 2, 4, 4).double() * 2 - 1
    eps = torch.randn_like(x_0)

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return 0.3 * x

    args = (denoise, x_0, 7, eps, SCHEDULE, SCHEDULE.betas)
    together = denoising_term(*args)
    assert together.shape == (3,)
    alone = denoising_term(denoise, x_0[1:2], 7, eps[1:2], SCHEDULE, SCHEDULE.betas)
    assert torch.allclose(together[1:2], alone)
    assert prior_term(x_0, SCHEDULE).shape == (3,)
    bound = variational_bound(denoise, x_0, SCHEDULE, torch.randn_like, SCHEDULE.betas)
    assert bound.denoising.shape == (49, 3)
    assert torch.allclose(bound.total, bound.prior + bound.denoising.sum(0) + bound.reconstruction)


def test_denoising_term_is_the_weighted_squared_error_of_the_noise() -> None:
    # DDPM, equation 12: beta^2 / (2 sigma^2 alpha (1 - alpha_bar)) |eps - eps_theta|^2
    t, x_0 = 13, torch.randn(4, 5).double()
    eps, wrong = torch.randn_like(x_0), torch.randn_like(x_0)
    variance = SCHEDULE.posterior_variance
    term = denoising_term(lambda x, t: wrong, x_0, t, eps, SCHEDULE, variance)
    b, a, a_bar = SCHEDULE.betas[t], SCHEDULE.alphas[t], SCHEDULE.alpha_bar[t]
    weight = float(b**2 / (2 * variance[t] * a * (1 - a_bar)))
    assert torch.allclose(term, weight * ((eps - wrong) ** 2).sum(1), rtol=1e-9)


def test_simple_loss_is_the_mean_squared_error() -> None:
    x_0, eps = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    t = torch.tensor([0, 10, 20, 49])
    loss = simple_loss(lambda x, t: torch.zeros_like(x), x_0, t, eps, SCHEDULE)
    assert torch.allclose(loss, (eps**2).mean(dim=(1, 2, 3)))
    x_t = SCHEDULE.q_sample(x_0, t, eps)
    loss = simple_loss(lambda x, t: x, x_0, t, eps, SCHEDULE)
    assert torch.allclose(loss, ((x_t - eps) ** 2).mean(dim=(1, 2, 3)))


@pytest.mark.parametrize("guess", [-0.97, 0.1, 0.45, 1.2])
def test_discretised_term_is_a_probability_over_the_grey_levels(guess: float) -> None:
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64)[:, None]
    a = SCHEDULE.alpha_bar[0]

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return (x - a.sqrt() * guess) / (1 - a).sqrt()  # always believes in the same x_0

    eps = torch.zeros_like(levels)
    nll = discretised_reconstruction_term(
        denoise, levels, eps, SCHEDULE, torch.full((50,), 1e-4, dtype=torch.float64)
    )
    assert torch.isfinite(nll).all()
    assert float(torch.exp(-nll).sum()) == pytest.approx(1, abs=1e-9)
    assert int(nll.argmin()) == round((min(max(guess, -1), 1) + 1) * 127.5)


def test_reconstruction_term_is_the_gaussian_density() -> None:
    x_0, eps = torch.randn(3, 2).double(), torch.randn(3, 2).double()
    variance = torch.full((50,), 0.2, dtype=torch.float64)
    x_t = SCHEDULE.q_sample(x_0, 0, eps)
    mean = SCHEDULE.convert(0.5 * x_t, x_t, 0, "eps", "x0")
    expected = -torch.distributions.Normal(mean, math.sqrt(0.2)).log_prob(x_0).sum(1)
    got = reconstruction_term(lambda x, t: 0.5 * x, x_0, eps, SCHEDULE, variance)
    assert torch.allclose(got, expected)


def test_what_is_refused() -> None:
    x = torch.zeros(2, 3).double()
    for t in (0, 50):
        with pytest.raises(ValueError, match=f"t is {t}.*from 1 to 49"):
            denoising_term(lambda x, t: x, x, t, x, SCHEDULE, SCHEDULE.betas)
    with pytest.raises(ValueError, match=r"variance\[0\] is 0.0; it must be above 0"):
        reconstruction_term(lambda x, t: x, x, x, SCHEDULE, SCHEDULE.posterior_variance)
    with pytest.raises(ValueError, match=r"variance has shape \(3,\); it must be \[50\]"):
        reconstruction_term(lambda x, t: x, x, x, SCHEDULE, torch.ones(3))
    with pytest.raises(ValueError, match=r"eps has shape \(3,\)"):
        simple_loss(lambda x, t: x, x, torch.tensor([1, 2]), torch.zeros(3), SCHEDULE)
    with pytest.raises(ValueError, match="schedule has 1 step"):
        clipped_posterior_variance(NoiseSchedule([0.5]))
