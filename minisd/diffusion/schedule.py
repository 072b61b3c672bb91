"""The noise schedule: how much of the picture is left at each time, and all that follows from it.

Sohl-Dickstein et al. 2015 (arXiv 1503.03585), Ho et al. 2020 (DDPM, arXiv 2006.11239), Nichol and Dhariwal 2021
(cosine, arXiv 2102.09672), Salimans and Ho 2022 (v, arXiv 2202.00512), Karras et al. 2022 (sigma, arXiv 2206.00364).

A time t is an index 0 .. T-1 (the papers' t is one more) and may lie between two indices; t = -1 is the clean
picture. x_t is always variance preserving: x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps.
B is the batch; tables are float64 on the CPU, pictures keep their own dtype and device.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
Kind = Literal["eps", "x0", "v", "score"]
Spacing = Literal["leading", "trailing", "linspace"]


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """A schedule of T noise steps, given by its betas.

    Parameters
    ----------
    betas : Tensor or sequence of float, shape [T]
        Variance added at each step, each in (0, 1].

    Attributes
    ----------
    alphas, alpha_bar : Tensor, shape [T], float64
        1 - betas, and its running product: the share of the variance of x_t that is still picture.

    Raises
    ------
    ValueError
        If ``betas`` is not one-dimensional, is empty, or leaves (0, 1].

    Notes
    -----
    DDPM, section 2: alpha_t = 1 - beta_t and alpha_bar_t = prod_{s <= t} alpha_s.
    """

    betas: Tensor
    alphas: Tensor = field(init=False)
    alpha_bar: Tensor = field(init=False)

    def __post_init__(self) -> None:
        betas = torch.as_tensor(self.betas, dtype=torch.float64, device="cpu").detach().clone()
        if betas.ndim != 1 or betas.numel() == 0:
            raise ValueError(
                f"betas has shape {tuple(betas.shape)}; it must be one row of at least one number"
            )
        outside = ~((betas > 0) & (betas <= 1))
        if outside.any():
            i = int(outside.nonzero()[0])
            raise ValueError(f"betas[{i}] is {betas[i].item()}; each beta must lie in (0, 1]")
        object.__setattr__(self, "betas", betas)
        object.__setattr__(self, "alphas", 1 - betas)
        object.__setattr__(self, "alpha_bar", torch.cumprod(1 - betas, dim=0))

    @classmethod
    def linear(
        cls, T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
    ) -> NoiseSchedule:
        """Betas on a straight line (DDPM, section 4)."""
        return cls(torch.linspace(beta_start, beta_end, _whole("T", T, 1), dtype=torch.float64))

    @classmethod
    def scaled_linear(
        cls, T: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012
    ) -> NoiseSchedule:
        """Betas whose square roots lie on a straight line: the schedule of Stable Diffusion 1.x."""
        if beta_start <= 0 or beta_end <= 0:
            raise ValueError(
                f"beta_start and beta_end are {beta_start} and {beta_end}; each must lie in (0, 1]"
            )
        roots = torch.linspace(
            math.sqrt(beta_start), math.sqrt(beta_end), _whole("T", T, 1), dtype=torch.float64
        )
        return cls(roots**2)

    @classmethod
    def cosine(cls, T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> NoiseSchedule:
        """alpha_bar along a squared cosine (Nichol and Dhariwal 2021, equation 17)."""
        u = torch.arange(_whole("T", T, 1) + 1, dtype=torch.float64) / T
        alpha_bar = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
        return cls((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta))

    @property
    def T(self) -> int:
        """Number of steps."""
        return self.betas.numel()

    @property
    def posterior_variance(self) -> Tensor:
        """beta-tilde, the variance of q(x_{t-1} | x_t, x_0), shape [T] (DDPM, equation 7); 0 at t = 0."""
        before = torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bar[:-1]])
        return (1 - before) / (1 - self.alpha_bar) * self.betas

    # ---- noise levels at any time ---------------------------------------------------------------

    def sigma_at(self, t: float | Tensor) -> Tensor:
        """Noise-to-picture ratio sqrt((1 - alpha_bar) / alpha_bar), float64, shaped like ``t``.

        Between two indices sigma is interpolated linearly, as diffusers does for a
        fractional time; sigma at t = -1 is 0.

        Raises
        ------
        ValueError
            If a time lies outside [-1, T - 1].
        """
        t = self._time(t)
        table = torch.cat([torch.zeros(1, dtype=torch.float64), self._sigmas()])
        low = t.floor().clamp(max=self.T - 2)
        share = t - low
        below, above = table[low.long() + 1], table[low.long() + 2]
        between = (1 - share) * below + share * above
        # sigma may be infinite at T - 1 (beta = 1), and 0 * inf is no number
        return torch.where(share == 0, below, torch.where(share == 1, above, between))

    def alpha_bar_at(self, t: float | Tensor) -> Tensor:
        """Share of the variance that is picture, float64 in [0, 1], shaped like ``t``."""
        return 1 / (1 + self.sigma_at(t) ** 2)

    def log_snr_at(self, t: float | Tensor) -> Tensor:
        """log(alpha_bar / (1 - alpha_bar)), float64, shaped like ``t``; infinite at t = -1."""
        return -2 * self.sigma_at(t).log()

    def time_of_sigma(self, sigma: float | Tensor) -> Tensor:
        """Time at which the noise-to-picture ratio is ``sigma``: the inverse of `sigma_at`.

        Raises
        ------
        ValueError
            If a sigma lies outside [0, sigma at T - 1].
        """
        sigma = torch.as_tensor(sigma, dtype=torch.float64, device="cpu")
        table = torch.cat([torch.zeros(1, dtype=torch.float64), self._sigmas()])
        if not ((sigma >= 0) & (sigma <= table[-1])).all():
            raise ValueError(f"sigma is {sigma.tolist()}; it must lie in [0, {table[-1].item():g}]")
        above = torch.searchsorted(table, sigma).clamp(min=1)
        low, high = table[above - 1], table[above]
        return above - 2 + torch.where(sigma == high, 1.0, (sigma - low) / (high - low))

    def times(self, num_steps: int, spacing: Spacing = "trailing", offset: int = 0) -> Tensor:
        """Times that a sampler of ``num_steps`` steps visits, from noisy to clean.

        Parameters
        ----------
        num_steps : int
            1 to T.
        spacing : {"trailing", "leading", "linspace"}
            The three grids of Lin et al. 2023 (arXiv 2305.08891, table 2). *trailing* begins at T - 1;
            *leading* begins at floor((N - 1) T / N) + offset, and ends at ``offset``; *linspace* spreads
            fractional times evenly from T - 1 to 0.
        offset : int
            Shift of the leading grid, 0 to T - 1; Stable Diffusion 1.x ships leading with offset 1.

        Returns
        -------
        Tensor, shape [num_steps], float64
            Strictly descending, within [0, T - 1].

        Raises
        ------
        ValueError
            For a number of steps, a spacing or an offset that is not allowed.
        """
        N, T = _whole("num_steps", num_steps, 1, self.T), self.T
        if spacing not in get_args(Spacing):
            raise ValueError(f"spacing is {spacing!r}; it must be one of {get_args(Spacing)}")
        _whole("offset", offset, 0, T - 1)
        i = torch.arange(N - 1, -1, -1)
        if spacing == "trailing":
            return torch.round((i + 1).double() * T / N) - 1
        if spacing == "linspace":
            return torch.linspace(T - 1, 0, N, dtype=torch.float64)
        # an offset may push the noisiest times over the end: they queue up below it, none twice
        room = T - N + i
        return torch.minimum((i * T) // N + offset, room).double()

    # ---- pictures -------------------------------------------------------------------------------

    def q_sample(self, x_0: Tensor, t: float | Tensor, eps: Tensor) -> Tensor:
        """x_t of q(x_t | x_0) for a given noise (DDPM, equation 4).

        Parameters
        ----------
        x_0, eps : Tensor, shape [B, ...]
            Clean pictures, and standard normal noise of the same shape.
        t : float or Tensor
            One time for all, or one a picture, shape [B].

        Returns
        -------
        Tensor, shape [B, ...]

        Raises
        ------
        ValueError
            If ``eps`` is not shaped like ``x_0``, ``t`` is not shaped [] or [B], or leaves [-1, T - 1].
        """
        _same_shape("eps", eps, "x_0", x_0)
        a = self.alpha_bar_at(t)
        return _like(a.sqrt(), x_0) * x_0 + _like((1 - a).sqrt(), x_0) * eps

    def q_step(self, x_prev: Tensor, t: int | Tensor, eps: Tensor) -> Tensor:
        """One step of the forward chain, x_t of q(x_t | x_{t-1}) (DDPM, equation 2).

        ``t`` is whole, 0 to T - 1: `q_step` at t = 0 takes the clean picture to x at t = 0.
        """
        _same_shape("eps", eps, "x_prev", x_prev)
        t = self._time(t)
        if not ((t >= 0) & (t == t.floor())).all():
            raise ValueError(f"t is {t.tolist()}; a step needs whole times from 0 to {self.T - 1}")
        beta = self.betas[t.long()]
        return _like((1 - beta).sqrt(), x_prev) * x_prev + _like(beta.sqrt(), x_prev) * eps

    def posterior(
        self, x_0: Tensor, x_t: Tensor, t: float | Tensor, t_prev: float | Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of q(x_{t_prev} | x_t, x_0) (DDPM, equations 6 and 7).

        Parameters
        ----------
        x_0, x_t : Tensor, shape [B, ...]
        t, t_prev : float or Tensor, shape [] or [B]
            Two times, t_prev < t; ``t_prev`` is t - 1 unless given (a sampler may stride further).

        Returns
        -------
        mean : Tensor, shape [B, ...]
        variance : Tensor
            Broadcasts against the mean: shape [] (float64) or [B, 1, ...].

        Raises
        ------
        ValueError
            For shapes that differ, times outside the schedule, or t_prev >= t.
        """
        _same_shape("x_t", x_t, "x_0", x_0)
        t = self._time(t)
        t_prev = t - 1 if t_prev is None else self._time(t_prev)
        if not (t_prev < t).all():
            raise ValueError(f"t_prev is {t_prev.tolist()}; it must lie before t = {t.tolist()}")
        a_t, a_prev = self.alpha_bar_at(t), self.alpha_bar_at(t_prev)
        alpha = a_t / a_prev
        on_x_0 = a_prev.sqrt() * (1 - alpha) / (1 - a_t)
        on_x_t = alpha.sqrt() * (1 - a_prev) / (1 - a_t)
        mean = _like(on_x_0, x_0) * x_0 + _like(on_x_t, x_t) * x_t
        variance = (1 - a_prev) / (1 - a_t) * (1 - alpha)
        return mean, variance if variance.ndim == 0 else _like(variance, x_t)

    def convert(
        self, value: Tensor, x_t: Tensor, t: float | Tensor, source: Kind, target: Kind
    ) -> Tensor:
        """Turn one way of saying what is noise in ``x_t`` into another.

        Parameters
        ----------
        value, x_t : Tensor, shape [B, ...]
        t : float or Tensor, shape [] or [B]
        source, target : {"eps", "x0", "v", "score"}
            eps, the noise; x0, the clean picture; v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0
            (Salimans and Ho 2022, appendix D); score = grad log q(x_t) = -eps / sqrt(1 - alpha_bar)
            (Song et al. 2021, arXiv 2011.13456).

        Returns
        -------
        Tensor, shape [B, ...]

        Raises
        ------
        ValueError
            For an unknown kind, shapes that differ, times outside the schedule, and where the target is not
            determined: x_0 from eps at alpha_bar = 0, eps from x_0 and the score at alpha_bar = 1.
        """
        for name, kind in (("source", source), ("target", target)):
            if kind not in get_args(Kind):
                raise ValueError(f"{name} is {kind!r}; it must be one of {get_args(Kind)}")
        _same_shape("value", value, "x_t", x_t)
        if source == target:
            return value
        a_bar = self.alpha_bar_at(t)
        if source in ("eps", "score") and target in ("x0", "v") and (a_bar == 0).any():
            raise ValueError("t is a time with alpha_bar = 0, where eps does not tell x_0")
        if (source == "x0" or target == "score") and (a_bar == 1).any():
            raise ValueError("t is a time with alpha_bar = 1, where there is no noise to tell of")
        a, s = _like(a_bar.sqrt(), x_t), _like((1 - a_bar).sqrt(), x_t)
        if source == "v":
            x_0, eps = a * x_t - s * value, a * value + s * x_t
        elif source == "x0":
            x_0, eps = value, (x_t - a * value) / s
        else:
            eps = value if source == "eps" else -s * value
            x_0 = (x_t - s * eps) / a if target in ("x0", "v") else None
        if target == "x0":
            return x_0
        if target == "v":
            return a * eps - s * x_0
        return eps if target == "eps" else -eps / s

    def as_denoiser(self, network: Denoiser, kind: Kind) -> Denoiser:
        """Make a network that predicts x0, v or the score into a denoiser, which predicts eps."""

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return self.convert(network(x_t, t), x_t, t, kind, "eps")

        return denoise

    # ---- inside ---------------------------------------------------------------------------------

    def _sigmas(self) -> Tensor:
        return ((1 - self.alpha_bar) / self.alpha_bar).sqrt()

    def _time(self, t: float | Tensor) -> Tensor:
        """``t`` as float64 on the CPU, where the tables are; refused outside the schedule."""
        t = torch.as_tensor(t, dtype=torch.float64, device="cpu")
        if not ((t >= -1) & (t <= self.T - 1)).all():
            raise ValueError(f"t is {t.tolist()}; it must lie in [-1, {self.T - 1}]")
        return t


def _whole(name: str, value: int, low: int, high: int | None = None) -> int:
    allowed = f"a whole number of at least {low}" if high is None else f"whole, {low} to {high}"
    try:
        whole = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}; it must be {allowed}") from None
    if whole < low or (high is not None and whole > high):
        raise ValueError(f"{name} is {value!r}; it must be {allowed}")
    return whole


def _same_shape(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.shape != other.shape:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}; it must be that of {other_name}, "
            f"{tuple(other.shape)}"
        )


def _like(coefficient: Tensor, x: Tensor) -> float | Tensor:
    """A coefficient of shape [] or [B], made to multiply x of shape [B, ...].

    One for all is a plain number, which costs no transfer to x's device and no digit of a half-precision x.
    """
    if coefficient.ndim == 0:
        return coefficient.item()
    if coefficient.shape != x.shape[:1]:
        raise ValueError(
            f"t has shape {tuple(coefficient.shape)}; it must be one time, or one for each of the "
            f"{x.shape[0] if x.ndim else 0} pictures"
        )
    return coefficient.to(x.dtype).to(x.device).reshape(-1, *[1] * (x.ndim - 1))


def checked_times(schedule: NoiseSchedule, times: Sequence[float] | Tensor) -> Tensor:
    """``times`` as float64, refused unless strictly descending within [0, T - 1]."""
    times = torch.as_tensor(times, dtype=torch.float64, device="cpu")
    if times.ndim != 1 or times.numel() == 0 or not (times.diff() < 0).all():
        raise ValueError(f"times is {times.tolist()}; it must be a row of falling times")
    if times[-1] < 0 or times[0] > schedule.T - 1:
        raise ValueError(f"times is {times.tolist()}; it must lie in [0, {schedule.T - 1}]")
    return times
