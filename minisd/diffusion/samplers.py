"""Samplers: from noise to a picture, one short generator each, all driven by `sample_steps`.

DDPM (Ho et al. 2020, arXiv 2006.11239), DDIM (Song et al. 2020, arXiv 2010.02502), PLMS (Liu et al. 2022, arXiv
2202.09778), Euler, Euler ancestral and Heun (Karras et al. 2022, arXiv 2206.00364; ancestral as k-diffusion has it),
DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095).

A sampler is a generator over (denoise, x, schedule, grid): it walks from each time of the grid to the next, yields the
new x and the x_0 it believes in, and is sent back the x to go on with. The grid falls from noisy to clean; its last
time is where the walk ends. x is variance preserving, shape [B, ...]; a sampler that thinks in
sigma = sqrt((1 - alpha_bar) / alpha_bar) scales inside, to x / sqrt(alpha_bar).
Gradients are the caller's affair: nothing here switches them off.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from tqdm.auto import tqdm

from minisd.diffusion.noise import Noise
from minisd.diffusion.schedule import Denoiser, NoiseSchedule, Spacing, checked_times

Walk = Generator[tuple[Tensor, Tensor], Tensor, None]


# ---- the samplers -------------------------------------------------------------------------------


def ddpm(
    denoise: Denoiser,
    x: Tensor,
    schedule: NoiseSchedule,
    grid: list[float],
    noise: Noise,
    variance: str = "posterior",
) -> Walk:
    """Ancestral sampling, DDPM algorithm 2; ``variance`` is "posterior" (beta-tilde) or "beta"."""
    if variance not in ("posterior", "beta"):
        raise ValueError(f"variance is {variance!r}; it must be 'posterior' or 'beta'")
    for t, s in pairwise(grid):
        x_0 = schedule.convert(_predict(denoise, x, t), x, t, "eps", "x0")
        mean, var = schedule.posterior(x_0, x, t, s)
        if variance == "beta":
            var = 1 - schedule.alpha_bar_at(t) / schedule.alpha_bar_at(s)
        x = mean if s < 0 else mean + math.sqrt(var) * noise(x)
        x = yield x, x_0


def ddim(
    denoise: Denoiser,
    x: Tensor,
    schedule: NoiseSchedule,
    grid: list[float],
    noise: Noise,
    eta: float = 0.0,
) -> Walk:
    """DDIM equation 12; ``eta`` in [0, 1] goes from the ODE (0) to the variance of DDPM (1)."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta}; it must lie in [0, 1]")
    for t, s in pairwise(grid):
        eps = _predict(denoise, x, t)
        x_0 = schedule.convert(eps, x, t, "eps", "x0")
        a_t, a_s = float(schedule.alpha_bar_at(t)), float(schedule.alpha_bar_at(s))
        var = eta**2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
        x = math.sqrt(a_s) * x_0 + math.sqrt(1 - a_s - var) * eps
        if var > 0:
            x = x + math.sqrt(var) * noise(x)
        x = yield x, x_0


def plms(denoise: Denoiser, x: Tensor, schedule: NoiseSchedule, grid: list[float]) -> Walk:
    """Pseudo linear multistep as Stable Diffusion 1.x ships it (no Runge-Kutta start).

    The eps of up to four steps are blended by the Adams-Bashforth weights (Liu et al. 2022, equation 12); the first
    step has no past and averages with a second look at the time where it arrives.
    """
    past: list[Tensor] = []
    for t, s in pairwise(grid):
        past = [_predict(denoise, x, t), *past[:3]]
        e = past
        if len(past) == 1 and s != grid[-1]:
            there, _ = _follow(schedule, x, e[0], t, s)
            eps = (e[0] + _predict(denoise, there, s)) / 2
        elif len(past) == 1:
            eps = e[0]
        elif len(past) == 2:
            eps = (3 * e[0] - e[1]) / 2
        elif len(past) == 3:
            eps = (23 * e[0] - 16 * e[1] + 5 * e[2]) / 12
        else:
            eps = (55 * e[0] - 59 * e[1] + 37 * e[2] - 9 * e[3]) / 24
        x = yield _follow(schedule, x, eps, t, s)


def euler(denoise: Denoiser, x: Tensor, schedule: NoiseSchedule, grid: list[float]) -> Walk:
    """Euler's method on dx/dsigma = eps (Karras et al. 2022, algorithm 1 without its correction)."""
    for t, s in pairwise(grid):
        sigma_t, sigma_s = _sigmas(schedule, t, s)
        eps = _predict(denoise, x, t)
        x_0 = schedule.convert(eps, x, t, "eps", "x0")
        x_sigma = _to_sigma(x, sigma_t) + (sigma_s - sigma_t) * eps
        x = yield _from_sigma(x_sigma, sigma_s), x_0


def euler_ancestral(
    denoise: Denoiser, x: Tensor, schedule: NoiseSchedule, grid: list[float], noise: Noise
) -> Walk:
    """Euler to a lower sigma than wanted, then noise up to the one wanted (k-diffusion)."""
    for t, s in pairwise(grid):
        sigma_t, sigma_s = _sigmas(schedule, t, s)
        up = math.sqrt(sigma_s**2 * (sigma_t**2 - sigma_s**2) / sigma_t**2)
        down = math.sqrt(sigma_s**2 - up**2)
        eps = _predict(denoise, x, t)
        x_0 = schedule.convert(eps, x, t, "eps", "x0")
        x_sigma = _to_sigma(x, sigma_t) + (down - sigma_t) * eps
        if up > 0:
            x_sigma = x_sigma + up * noise(x)
        x = yield _from_sigma(x_sigma, sigma_s), x_0


def heun(denoise: Denoiser, x: Tensor, schedule: NoiseSchedule, grid: list[float]) -> Walk:
    """Heun's method on dx/dsigma = eps: two looks a step, one where sigma ends at 0."""
    for t, s in pairwise(grid):
        sigma_t, sigma_s = _sigmas(schedule, t, s)
        eps = _predict(denoise, x, t)
        x_0 = schedule.convert(eps, x, t, "eps", "x0")
        x_sigma = _to_sigma(x, sigma_t) + (sigma_s - sigma_t) * eps
        if sigma_s > 0:
            there = _predict(denoise, _from_sigma(x_sigma, sigma_s), s)
            x_sigma = _to_sigma(x, sigma_t) + (sigma_s - sigma_t) * (eps + there) / 2
        x = yield _from_sigma(x_sigma, sigma_s), x_0


def dpmpp_2m(denoise: Denoiser, x: Tensor, schedule: NoiseSchedule, grid: list[float]) -> Walk:
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2; a step to sigma = 0 is of first order."""
    x_0_before = h_before = None
    for t, s in pairwise(grid):
        sigma_t, sigma_s = _sigmas(schedule, t, s)
        x_0 = schedule.convert(_predict(denoise, x, t), x, t, "eps", "x0")
        if sigma_s == 0:
            x = yield x_0, x_0
            continue
        h = math.log(sigma_t / sigma_s)
        guess = x_0 if h_before is None else x_0 + h / (2 * h_before) * (x_0 - x_0_before)
        # in x / sqrt(alpha_bar) the exponential integrator is a blend of x and x_0
        x_sigma = math.exp(-h) * _to_sigma(x, sigma_t) - math.expm1(-h) * guess
        x_0_before, h_before = x_0, h
        x = yield _from_sigma(x_sigma, sigma_s), x_0


SAMPLERS: dict[str, Callable[..., Walk]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "plms": plms,
    "euler": euler,
    "euler_ancestral": euler_ancestral,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
}


# ---- the one step generator under all of them ---------------------------------------------------


@dataclass
class Step:
    """What one sampler step made.

    Attributes
    ----------
    index, total : int
        Number of this step, from 0, and of all.
    t, t_next : float
        The step's two times; ``x_t`` stands at ``t_next``.
    x_t : Tensor, shape [B, ...]
        The picture after the step. Assign to it, and the sampler goes on from what was assigned.
    x_0 : Tensor, shape [B, ...]
        The clean picture that the step believed in: a preview.
    """

    index: int
    total: int
    t: float
    t_next: float
    x_t: Tensor
    x_0: Tensor


def sample_steps(
    denoise: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    steps: int = 50,
    sampler: str = "ddim",
    *,
    spacing: Spacing = "trailing",
    offset: int = 0,
    times: Sequence[float] | Tensor | None = None,
    final: float = -1.0,
    noise: Noise | None = None,
    **options: float | str,
) -> Iterator[Step]:
    """Walk from noise to a picture, and yield each `Step`.

    Parameters
    ----------
    denoise : Denoiser
        (x_t [B, ...], t [B]) to the predicted noise, shaped like x_t.
    x_T : Tensor, shape [B, ...]
        The picture at the first time of the grid; standard normal noise to begin from nothing. It is not changed.
    schedule : NoiseSchedule
    steps, spacing, offset
        The grid, see `NoiseSchedule.times`.
    sampler : str
        A key of `SAMPLERS`.
    times : sequence of float, optional
        Falling times in [0, T - 1], in place of ``steps``, ``spacing`` and ``offset``.
    final : float
        The time where the walk ends: -1, clean, or a time before the last of the grid. Stable Diffusion 1.x ships 0
        (``set_alpha_to_one: false``). A grid that comes down to ``final`` by itself goes on to -1.
    noise : callable, optional
        x to noise shaped like it, such as `ImageNoise`; samplers that draw noise need it.
    **options
        The sampler's own: ``eta`` of ddim, ``variance`` of ddpm.

    Yields
    ------
    Step

    Raises
    ------
    ValueError
        At the call, before the denoiser is run: an unknown sampler or option, a grid that is not allowed, noise that is
        missing.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler is {sampler!r}; it must be one of {tuple(SAMPLERS)}")
    own = list(inspect.signature(SAMPLERS[sampler]).parameters)[4:]
    for name in options:
        if name == "noise" or name not in own:
            allowed = tuple(o for o in own if o != "noise") or "none"
            raise ValueError(f"{name} is no option of {sampler!r}; allowed: {allowed}")
    draws = sampler in ("ddpm", "euler_ancestral") or options.get("eta", 0) > 0
    if draws and noise is None:
        raise ValueError(f"noise is None; {sampler!r} draws noise: pass noise=ImageNoise(seeds)")
    if not x_T.is_floating_point() or x_T.ndim == 0:
        raise ValueError(
            f"x_T is {x_T.dtype} of shape {tuple(x_T.shape)}; it must be floats [B, ...]"
        )
    if times is None:
        times = schedule.times(steps, spacing, offset)
    times = checked_times(schedule, times).tolist()
    if not -1 <= final <= schedule.T - 1:
        raise ValueError(f"final is {final}; it must lie in [-1, {schedule.T - 1}]")
    grid = [*times, float(final) if final < times[-1] else -1.0]
    if "noise" in own:
        options["noise"] = noise
    walk = SAMPLERS[sampler](denoise, x_T, schedule, grid, **options)
    return _drive(walk, grid)


def _drive(walk: Walk, grid: list[float]) -> Iterator[Step]:
    x_t = None
    for index, (t, t_next) in enumerate(pairwise(grid)):
        step = Step(index, len(grid) - 1, t, t_next, *walk.send(x_t))
        yield step
        x_t = step.x_t


def sample(
    denoise: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    steps: int = 50,
    sampler: str = "ddim",
    *,
    callback: Callable[[Step], None] | None = None,
    progress: bool = False,
    **settings: object,
) -> Tensor:
    """Walk from noise to a picture; the last x of `sample_steps`, whose settings it takes.

    Parameters
    ----------
    callback : callable, optional
        Called with each `Step`; what it assigns to ``step.x_t`` is gone on with.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Tensor, shape [B, ...]
    """
    walk = sample_steps(denoise, x_T, schedule, steps, sampler, **settings)
    x = x_T
    with tqdm(total=None, desc=sampler, disable=not progress) as bar:
        for step in walk:
            bar.total = step.total
            bar.update()
            if callback:
                callback(step)
            x = step.x_t
    return x


# ---- shared -------------------------------------------------------------------------------------


def _predict(denoise: Denoiser, x: Tensor, t: float) -> Tensor:
    # float32 holds a time to 1 part in 10^7, but an order of convergence wants all of float64
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    eps = denoise(x, torch.full(x.shape[:1], t, dtype=dtype, device=x.device))
    if eps.shape != x.shape:
        raise ValueError(
            f"denoise returned shape {tuple(eps.shape)}; it must be that of x_t, {tuple(x.shape)}"
        )
    return eps


def _follow(
    schedule: NoiseSchedule, x: Tensor, eps: Tensor, t: float, s: float
) -> tuple[Tensor, Tensor]:
    """Go from time t to s with one eps kept all the way (DDIM, eta = 0); x and x_0."""
    x_0 = schedule.convert(eps, x, t, "eps", "x0")
    a_s = float(schedule.alpha_bar_at(s))
    return math.sqrt(a_s) * x_0 + math.sqrt(1 - a_s) * eps, x_0


def _sigmas(schedule: NoiseSchedule, t: float, s: float) -> tuple[float, float]:
    return float(schedule.sigma_at(t)), float(schedule.sigma_at(s))


def _to_sigma(x: Tensor, sigma: float) -> Tensor:
    return x * math.sqrt(1 + sigma**2)


def _from_sigma(x_sigma: Tensor, sigma: float) -> Tensor:
    return x_sigma / math.sqrt(1 + sigma**2)
