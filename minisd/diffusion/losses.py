"""The loss: each term of the variational bound, and the simple loss that is trained.

Ho et al. 2020 (DDPM, arXiv 2006.11239), equations 5, 8, 12, 13 and 14; Nichol and Dhariwal 2021
(arXiv 2102.09672) for the variances. With t counted from 0, as everywhere here,

    -log p(x_0)  <=  L_T  +  sum over t = 1 .. T-1 of L_t  +  L_0
                     prior_term          denoising_term      reconstruction_term

Each term has the shape [B], in nats, summed over the dimensions of a picture. The reverse step is
p(x_{t-1} | x_t) = N(mu, variance[t] I), where mu is the posterior mean at the x_0 that the denoiser predicts,
and ``variance`` is a table [T]: ``schedule.betas`` and ``schedule.posterior_variance`` are the two of the paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from minisd.diffusion.noise import Noise
from minisd.diffusion.schedule import Denoiser, NoiseSchedule


def simple_loss(
    denoise: Denoiser, x_0: Tensor, t: Tensor, eps: Tensor, schedule: NoiseSchedule
) -> Tensor:
    """Squared error of the predicted noise, the mean over each picture (DDPM, equation 14).

    Parameters
    ----------
    denoise : Denoiser
    x_0, eps : Tensor, shape [B, ...]
        Clean pictures and the standard normal noise to hide them in.
    t : Tensor, shape [B]
    schedule : NoiseSchedule

    Returns
    -------
    Tensor, shape [B]
    """
    predicted = denoise(schedule.q_sample(x_0, t, eps), t)
    return ((predicted - eps) ** 2).flatten(1).mean(dim=1)


def gaussian_kl(
    mean: Tensor, variance: Tensor, other_mean: Tensor, other_variance: Tensor
) -> Tensor:
    """KL(N(mean, variance) || N(other_mean, other_variance)) in nats, element by element."""
    ratio = variance / other_variance
    return 0.5 * (ratio - 1 - ratio.log() + (mean - other_mean) ** 2 / other_variance)


def prior_term(
    x_0: Tensor, schedule: NoiseSchedule, mean: float = 0.0, variance: float = 1.0
) -> Tensor:
    """L_T: what the end of the forward process still tells of x_0, against p(x_T) = N(mean, variance)."""
    a = schedule.alpha_bar[-1]
    prior = torch.tensor([mean, variance], dtype=torch.float64).to(x_0)
    kl = gaussian_kl(float(a.sqrt()) * x_0, (1 - a).to(x_0), prior[0], prior[1])
    return kl.flatten(1).sum(dim=1)


def denoising_term(
    denoise: Denoiser, x_0: Tensor, t: int, eps: Tensor, schedule: NoiseSchedule, variance: Tensor
) -> Tensor:
    """L_t = KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) at one x_t, for t from 1 to T - 1."""
    if not 1 <= t <= schedule.T - 1:
        raise ValueError(f"t is {t}; a denoising term has t from 1 to {schedule.T - 1}")
    p_mean, p_var, x_t = _reverse(denoise, x_0, t, eps, schedule, variance)
    q_mean, q_var = schedule.posterior(x_0, x_t, t)
    return gaussian_kl(q_mean, q_var, p_mean, p_var).flatten(1).sum(dim=1)


def reconstruction_term(
    denoise: Denoiser, x_0: Tensor, eps: Tensor, schedule: NoiseSchedule, variance: Tensor
) -> Tensor:
    """L_0 = -log p(x_0 | x at t = 0), as a density: for data that is not made of grey levels."""
    mean, var, _ = _reverse(denoise, x_0, 0, eps, schedule, variance)
    nll = 0.5 * ((x_0 - mean) ** 2 / var + var.log() + math.log(2 * math.pi))
    return nll.flatten(1).sum(dim=1)


def discretised_reconstruction_term(
    denoise: Denoiser, x_0: Tensor, eps: Tensor, schedule: NoiseSchedule, variance: Tensor
) -> Tensor:
    """L_0 for pictures of 256 grey levels scaled to [-1, 1] (DDPM, equation 13): minus a log-probability."""
    mean, var, _ = _reverse(denoise, x_0, 0, eps, schedule, variance)
    std, half = var.sqrt(), 1 / 255
    upper = torch.where(x_0 > 1 - half, torch.inf, x_0 + half)
    lower = torch.where(x_0 < -1 + half, -torch.inf, x_0 - half)
    # measured from the tail that is nearer, since 1 - cdf keeps no digits far out
    side = torch.where(x_0 > mean, -1.0, 1.0).to(x_0)
    near, far = side * (upper - mean) / std, side * (lower - mean) / std
    high, low = torch.maximum(near, far), torch.minimum(near, far)
    a, b = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    return -(a + torch.log1p(-torch.exp(b - a))).flatten(1).sum(dim=1)


def clipped_posterior_variance(schedule: NoiseSchedule) -> Tensor:
    """beta-tilde, shape [T], its first entry, which is 0, replaced by the second.

    The last reverse step needs a variance above 0 to have a likelihood; the published code of Nichol and Dhariwal 2021
    clips it so.
    """
    variance = schedule.posterior_variance
    if schedule.T < 2:
        raise ValueError("schedule has 1 step; beta-tilde can be clipped from 2 steps on")
    return torch.cat([variance[1:2], variance[1:]])


def true_reverse_variance(schedule: NoiseSchedule, data_variance: float) -> Tensor:
    """Variance of the true q(x_{t-1} | x_t), shape [T], when the data is Gaussian.

    It is beta-tilde plus what x_t leaves open about x_0: beta-tilde for data of one point, beta for data of unit
    variance (DDPM, section 3.2).
    """
    a = schedule.alpha_bar
    before = torch.cat([torch.ones(1, dtype=torch.float64), a[:-1]])
    of_x_0 = data_variance * (1 - a) / (a * data_variance + 1 - a)
    return schedule.posterior_variance + before * (schedule.betas / (1 - a)) ** 2 * of_x_0


@dataclass
class VariationalBound:
    """The terms of the bound, in nats.

    Attributes
    ----------
    prior, reconstruction : Tensor, shape [B]
    denoising : Tensor, shape [T - 1, B]
        For t = 1 .. T - 1.
    """

    prior: Tensor
    denoising: Tensor
    reconstruction: Tensor

    @property
    def total(self) -> Tensor:
        """Upper bound of -log p(x_0), shape [B]."""
        return self.prior + self.denoising.sum(dim=0) + self.reconstruction


def variational_bound(
    denoise: Denoiser,
    x_0: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    variance: Tensor,
    *,
    prior_mean: float = 0.0,
    prior_variance: float = 1.0,
    discretised: bool = False,
) -> VariationalBound:
    """Every term of the bound, each at one x_t: T runs of the denoiser (DDPM, equation 5).

    Parameters
    ----------
    denoise : Denoiser
    x_0 : Tensor, shape [B, ...]
    schedule : NoiseSchedule
    noise : callable
        x to noise like it; called once a term. The terms are averages over this noise.
    variance : Tensor, shape [T]
        Of the reverse steps, each above 0.
    prior_mean, prior_variance : float
        Of p(x_T).
    discretised : bool
        Whether x_0 is a picture of 256 grey levels in [-1, 1], and L_0 a probability.

    Returns
    -------
    VariationalBound
    """
    last = discretised_reconstruction_term if discretised else reconstruction_term
    terms = [
        denoising_term(denoise, x_0, t, noise(x_0), schedule, variance)
        for t in range(1, schedule.T)
    ]
    return VariationalBound(
        prior=prior_term(x_0, schedule, prior_mean, prior_variance),
        denoising=torch.stack(terms) if terms else x_0.new_zeros(0, x_0.shape[0]),
        reconstruction=last(denoise, x_0, noise(x_0), schedule, variance),
    )


def _reverse(
    denoise: Denoiser, x_0: Tensor, t: int, eps: Tensor, schedule: NoiseSchedule, variance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of p(x_{t-1} | x_t) at the x_t made of x_0 and eps; that x_t."""
    if variance.shape != (schedule.T,):
        raise ValueError(f"variance has shape {tuple(variance.shape)}; it must be [{schedule.T}]")
    if not variance[t] > 0:
        raise ValueError(f"variance[{t}] is {variance[t].item()}; it must be above 0")
    x_t = schedule.q_sample(x_0, t, eps)
    predicted = denoise(x_t, torch.full(x_t.shape[:1], t, dtype=torch.float64, device=x_t.device))
    guess = schedule.convert(predicted, x_t, t, "eps", "x0")
    return schedule.posterior(guess, x_t, t)[0], variance[t].to(x_t), x_t
