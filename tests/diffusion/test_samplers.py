"""Each sampler against diffusers' scheduler step by step, against exact flows, and in what it refuses."""

import math
from itertools import pairwise

import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisd.diffusion import (
    SAMPLERS,
    GaussianMixture,
    ImageNoise,
    NoiseSchedule,
    gaussian_flow,
    sample,
    sample_steps,
)

STEPS = (1, 3, 10, 27, 50, 999, 1000)
SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SHAPE = (2, 4, 8, 8)


# ---- step by step against diffusers -------------------------------------------------------------


def schedule_of(scheduler: diffusers.SchedulerMixin) -> NoiseSchedule:
    """The schedule whose alpha_bar is the scheduler's own float32 table."""
    alpha_bar = scheduler.alphas_cumprod.double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    return NoiseSchedule(1 - alpha_bar / before)


class Recorded:
    """A denoiser that answers with prepared outputs, in turn, and remembers when it was asked."""

    def __init__(self, outputs: list[torch.Tensor]) -> None:
        self.outputs, self.asked = list(outputs), []

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        self.asked.append(t[0].item())
        return self.outputs.pop(0)


def largest_error(
    scheduler: diffusers.SchedulerMixin,
    sampler: str,
    *,
    evaluations: list[int],
    sigma_space: bool = False,
    noisy: bool = False,
    final: float = -1.0,
    dtype: torch.dtype = torch.float32,
    **options: object,
) -> float:
    """Feed both the same input, model output and noise at each step; the largest relative error.

    ``evaluations`` says how many scheduler steps make one of ours; x goes to sigma space and back for the
    schedulers that live there.
    """
    schedule = schedule_of(scheduler)
    g = torch.Generator().manual_seed(0)
    times = scheduler.timesteps.double().tolist()
    starts = np.cumsum([0, *evaluations[:-1]])
    grid = [times[i] for i in starts]
    outputs = [torch.randn(SHAPE, generator=g, dtype=dtype) for _ in times]
    theirs, ours = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    denoise = Recorded(outputs)
    x = torch.randn(SHAPE, generator=g, dtype=dtype)
    scales = [math.sqrt(1 + float(schedule.sigma_at(t)) ** 2) for t in grid] + [1.0]
    walk = sample_steps(
        denoise,
        x,
        schedule,
        sampler=sampler,
        times=grid,
        final=final,
        noise=(lambda x: torch.randn(x.shape, generator=ours)) if noisy else None,
        **options,
    )
    worst = 0.0
    for i, start in enumerate(starts):
        step = next(walk)
        x_k = x * scales[i] if sigma_space else x
        for j in range(start, start + evaluations[i]):
            extra = {"generator": theirs} if noisy else {}
            if sigma_space:
                scheduler.scale_model_input(x_k, scheduler.timesteps[j])
            x_k = scheduler.step(outputs[j], scheduler.timesteps[j], x_k, **extra).prev_sample
        expected = x_k / scales[i + 1] if sigma_space else x_k
        assert torch.isfinite(expected).all()
        worst = max(worst, float((step.x_t - expected).abs().max() / expected.abs().max()))
        step.x_t = x = expected
    assert len(denoise.asked) == len(times)
    assert denoise.asked == pytest.approx(times, abs=1e-4)
    return worst


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_ddpm_steps_are_those_of_diffusers(steps: int, variance: str) -> None:
    theirs = {"posterior": "fixed_small", "beta": "fixed_large"}[variance]
    scheduler = diffusers.DDPMScheduler(**SD, clip_sample=False, variance_type=theirs)
    scheduler.set_timesteps(steps)
    error = largest_error(scheduler, "ddpm", evaluations=[1] * steps, noisy=True, variance=variance)
    assert error <= 2e-5  # diffusers computes with float32 tables


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_steps_are_those_of_diffusers(steps: int, eta: float) -> None:
    scheduler = diffusers.DDIMScheduler(**SD, clip_sample=False)
    scheduler.set_timesteps(steps)
    schedule = schedule_of(scheduler)
    g = torch.Generator().manual_seed(0)
    ours = torch.Generator().manual_seed(1)
    theirs = torch.Generator().manual_seed(1)
    outputs = [torch.randn(SHAPE, generator=g) for _ in range(steps)]
    x = torch.randn(SHAPE, generator=g)
    walk = sample_steps(
        Recorded(outputs),
        x,
        schedule,
        steps,
        "ddim",
        spacing="leading",
        noise=lambda x: torch.randn(x.shape, generator=ours),
        eta=eta,
    )
    for t, output, step in zip(scheduler.timesteps, outputs, walk, strict=True):
        assert step.t == t
        made = scheduler.step(output, t, x, eta=eta, generator=theirs)
        assert relative(step.x_t, made.prev_sample) <= 1e-6
        assert relative(step.x_0, made.pred_original_sample) <= 1e-6
        step.x_t = x = made.prev_sample


@pytest.mark.parametrize("steps", [n for n in STEPS if n < 1000])  # diffusers raises at 1000
def test_sd_ddim_grid_and_end_are_those_of_diffusers(steps: int) -> None:
    scheduler = diffusers.DDIMScheduler(
        **SD, clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    scheduler.set_timesteps(steps)
    schedule = schedule_of(scheduler)
    ours = schedule.times(steps, "leading", offset=1)
    assert ours.tolist() == scheduler.timesteps.tolist()
    assert largest_error(scheduler, "ddim", evaluations=[1] * steps, final=0.0) <= 1e-6


@pytest.mark.parametrize("steps", [n for n in STEPS if n < 1000])  # diffusers raises at 1000
def test_plms_steps_are_those_of_diffusers(steps: int) -> None:
    scheduler = diffusers.PNDMScheduler(
        **SD, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1
    )
    scheduler.set_timesteps(steps)
    counts = [1] if steps == 1 else [2] + [1] * (steps - 1)
    assert largest_error(scheduler, "plms", evaluations=counts, final=0.0) <= 1e-6


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_euler_steps_are_those_of_diffusers(steps: int, spacing: str) -> None:
    scheduler = diffusers.EulerDiscreteScheduler(**SD, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    assert largest_error(scheduler, "euler", evaluations=[1] * steps, sigma_space=True) <= 1e-6


@pytest.mark.parametrize("steps", STEPS)
def test_euler_ancestral_steps_are_those_of_diffusers(steps: int) -> None:
    scheduler = diffusers.EulerAncestralDiscreteScheduler(**SD)
    scheduler.set_timesteps(steps)
    error = largest_error(
        scheduler, "euler_ancestral", evaluations=[1] * steps, sigma_space=True, noisy=True
    )
    # diffusers subtracts squares of sigmas in float32, which lie close to each other at 1000 steps
    assert error <= (1e-6 if steps < 999 else 2e-6)


@pytest.mark.parametrize("steps", STEPS)
def test_heun_steps_are_those_of_diffusers(steps: int) -> None:
    scheduler = diffusers.HeunDiscreteScheduler(**SD)
    scheduler.set_timesteps(steps)
    counts = [2] * (steps - 1) + [1]
    # one step of ours is two of theirs, whose rounding in float32 adds up to 1.1e-6
    error = largest_error(
        scheduler, "heun", evaluations=counts, sigma_space=True, dtype=torch.float64
    )
    assert error <= 1e-6


@pytest.mark.parametrize("steps", [n for n in STEPS if n < 1000])  # diffusers gives NaN at 1000
def test_dpmpp_2m_steps_are_those_of_diffusers(steps: int) -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(**SD)
    scheduler.set_timesteps(steps)
    assert largest_error(scheduler, "dpmpp_2m", evaluations=[1] * steps) <= 1e-6


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


# ---- the perfect denoiser of Gaussian data ------------------------------------------------------


@pytest.fixture(scope="module")
def schedule() -> NoiseSchedule:
    return NoiseSchedule.scaled_linear()


MEAN, VARIANCE = torch.tensor([0.5, -1.0]).double(), torch.tensor([0.3, 2.0]).double()
GAUSSIAN = GaussianMixture([1.0], MEAN[None], VARIANCE.diag()[None])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_have_the_mean_and_covariance_of_the_data(
    sampler: str, schedule: NoiseSchedule
) -> None:
    n = 4000
    noise = ImageNoise(range(n))
    x_T = noise.draw((2,), dtype=torch.float64)
    x = sample(GAUSSIAN.denoiser(schedule), x_T, schedule, 250, sampler, noise=noise)
    # four standard errors of the estimate, and 2 % for steps that are not infinitely short
    assert torch.all((x.mean(0) - MEAN).abs() <= 4 * (VARIANCE / n).sqrt() + 0.02)
    covariance = torch.cov(x.T)
    assert torch.all((covariance.diag() / VARIANCE - 1).abs() <= 4 * math.sqrt(2 / n) + 0.02)
    assert covariance[0, 1].abs() <= 4 * math.sqrt(float(VARIANCE.prod()) / n)


def errors_on_a_log_snr_grid(
    sampler: str, schedule: NoiseSchedule, counts: tuple[int, ...]
) -> list[float]:
    """Largest distance from the exact flow, from sigma 10 to 0.05 in equal steps of log-SNR."""
    x_T = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None].expand(-1, 2).contiguous()
    errors = []
    for n in counts:
        sigmas = torch.logspace(1, math.log10(0.05), n + 1, dtype=torch.float64)
        times = schedule.time_of_sigma(sigmas)
        x = sample(
            GAUSSIAN.denoiser(schedule),
            x_T,
            schedule,
            sampler=sampler,
            times=times[:-1],
            final=float(times[-1]),
        )
        a, b = (float(schedule.alpha_bar_at(t)) for t in (times[0], times[-1]))
        errors.append(float((x - gaussian_flow(x_T, MEAN, VARIANCE, a, b)).abs().max()))
    return errors


@pytest.mark.parametrize(
    ("sampler", "order"), [("euler", 1), ("ddim", 1), ("heun", 2), ("dpmpp_2m", 2)]
)
def test_order_of_convergence(sampler: str, order: int, schedule: NoiseSchedule) -> None:
    coarse, fine = errors_on_a_log_snr_grid(sampler, schedule, (160, 320))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.05)


@settings(deadline=None, max_examples=25)
@given(steps=st.integers(1, 60), seed=st.integers(0, 2**31), sigma=st.booleans())
def test_euler_in_sigma_and_ddim_are_the_same_step(steps: int, seed: int, sigma: bool) -> None:
    schedule = NoiseSchedule.scaled_linear()
    x_T = ImageNoise([seed]).draw((2,), dtype=torch.float64)
    spacing = "linspace" if sigma else "leading"
    a, b = (
        sample(GAUSSIAN.denoiser(schedule), x_T, schedule, steps, name, spacing=spacing)
        for name in ("euler", "ddim")
    )
    assert relative(a, b) <= 1e-12


def test_ddim_at_eta_1_and_ddpm_are_the_same_step(schedule: NoiseSchedule) -> None:
    a, b = ImageNoise(range(5)), ImageNoise(range(5))
    denoise = GAUSSIAN.denoiser(schedule)
    x = sample(denoise, a.draw((2,), dtype=torch.float64), schedule, 20, "ddpm", noise=a)
    y = sample(denoise, b.draw((2,), dtype=torch.float64), schedule, 20, "ddim", noise=b, eta=1.0)
    assert relative(x, y) <= 1e-12


@settings(deadline=None, max_examples=40)
@given(
    T=st.integers(1, 60),
    data=st.data(),
    sampler=st.sampled_from(sorted(SAMPLERS)),
    spacing=st.sampled_from(["leading", "trailing", "linspace"]),
    final=st.sampled_from([-1.0, 0.0]),
)
def test_any_number_of_steps_ends_in_finite_pictures(
    T: int, data: st.DataObject, sampler: str, spacing: str, final: float
) -> None:
    schedule = NoiseSchedule.linear(T, 1e-3, 0.2)
    steps = data.draw(st.integers(1, T))
    offset = data.draw(st.integers(0, min(1, T - 1)))
    noise = ImageNoise([3])
    walk = list(
        sample_steps(
            GAUSSIAN.denoiser(schedule),
            noise.draw((2,)),
            schedule,
            steps,
            sampler,
            spacing=spacing,
            offset=offset,
            final=final,
            noise=noise,
        )
    )
    assert len(walk) == steps
    assert all(step.total == steps and step.index == i for i, step in enumerate(walk))
    assert all(a.t_next == b.t and b.t < a.t for a, b in pairwise(walk))
    assert walk[-1].t_next in (-1.0, final)
    assert torch.isfinite(walk[-1].x_t).all()


# ---- noise, batches, callbacks, gradients -------------------------------------------------------


class TinyNetwork(torch.nn.Module):
    """A small convolutional network with a time, random and fixed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = torch.nn.Sequential(
            torch.nn.Conv2d(4, 32, 3, padding=1),
            torch.nn.GroupNorm(8, 32),
            torch.nn.SiLU(),
            torch.nn.Conv2d(32, 3, 3, padding=1),
        )

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        time = (t / 1000).reshape(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:]).to(x)
        return self.inner(torch.cat([x, time], dim=1))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_picture_does_not_depend_on_its_batch(sampler: str, schedule: NoiseSchedule) -> None:
    network = TinyNetwork()

    def pictures(seeds: list[int]) -> torch.Tensor:
        noise = ImageNoise(seeds)
        with torch.no_grad():
            return sample(network, noise.draw((3, 16, 16)), schedule, 20, sampler, noise=noise)

    together = pictures([5, 6, 7])
    alone = pictures([6])
    assert relative(alone[0], together[1]) <= 1e-5  # measured: below 2e-6


def test_callback_sees_each_step_and_may_change_it(schedule: NoiseSchedule) -> None:
    seen = []

    def callback(step: object) -> None:
        seen.append((step.index, step.t, step.t_next))
        if step.index == 3:
            step.x_t = torch.zeros_like(step.x_t)

    x_T = torch.ones(1, 2)
    x = sample(lambda x, t: torch.zeros_like(x), x_T, schedule, 5, "euler", callback=callback)
    assert [i for i, _, _ in seen] == [0, 1, 2, 3, 4]
    assert seen[0][1] == 999
    assert seen[-1][2] == -1
    assert torch.equal(x, torch.zeros(1, 2))
    assert torch.equal(x_T, torch.ones(1, 2))


def test_progress_counts_to_the_number_of_steps(
    schedule: NoiseSchedule, capsys: pytest.CaptureFixture
) -> None:
    sample(lambda x, t: x, torch.ones(1, 2), schedule, 7, "heun", progress=True)
    assert "7/7" in capsys.readouterr().err


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_gradients_flow_through_a_sampler(sampler: str, schedule: NoiseSchedule) -> None:
    noise = ImageNoise([1])
    x_T = noise.draw((2,), dtype=torch.float64).requires_grad_()

    def last(x_T: torch.Tensor) -> torch.Tensor:
        fixed = ImageNoise([9])
        return sample(GAUSSIAN.denoiser(schedule), x_T, schedule, 6, sampler, noise=fixed).sum()

    (gradient,) = torch.autograd.grad(last(x_T), x_T)
    step = torch.tensor([[1e-6, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        slope = (last(x_T + step) - last(x_T - step)) / 2e-6
    assert float(gradient[0, 0]) == pytest.approx(float(slope), rel=1e-6)


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sampler": "dimm"}, "sampler is 'dimm'.*ddim"),
        ({"steps": 0}, "num_steps is 0.*1 to 1000"),
        ({"steps": 1001}, "num_steps is 1001.*1 to 1000"),
        ({"steps": 2.5}, "num_steps is 2.5"),
        ({"spacing": "even"}, "spacing is 'even'.*leading"),
        ({"spacing": "leading", "offset": 1000}, "offset is 1000.*0 to 999"),
        ({"sampler": "ddpm"}, "noise is None"),
        ({"eta": 0.5}, "noise is None"),
        ({"eta": 1.5, "noise": torch.randn_like}, "eta is 1.5.*0, 1"),
        ({"sampler": "euler", "eta": 0.0}, "eta is no option of 'euler'"),
        ({"sampler": "ddpm", "noise": torch.randn_like, "variance": "x"}, "variance is 'x'"),
        ({"times": [5.0, 5.0]}, r"times is \[5.0, 5.0\]"),
        ({"times": [1000.0]}, r"0, 999"),
        ({"times": []}, r"times is \[\]"),
        ({"final": 2000.0}, "final is 2000"),
        ({"final": float("nan")}, "final is nan"),
    ],
)
def test_bad_settings_are_refused(
    settings: dict[str, object], words: str, schedule: NoiseSchedule
) -> None:
    def never(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the denoiser was run")

    with pytest.raises(ValueError, match=words):
        sample(never, torch.zeros(1, 2), schedule, **settings)


def test_refused_at_the_call_not_at_the_first_step(schedule: NoiseSchedule) -> None:
    with pytest.raises(ValueError, match="num_steps is 0"):
        sample_steps(lambda x, t: x, torch.zeros(1, 2), schedule, 0)


def test_bad_pictures_are_refused(schedule: NoiseSchedule) -> None:
    with pytest.raises(ValueError, match=r"x_T is torch\.int64"):
        sample(lambda x, t: x, torch.zeros(1, 2, dtype=torch.int64), schedule)
    with pytest.raises(ValueError, match=r"denoise returned shape \(1,\)"):
        sample(lambda x, t: x[:, 0], torch.zeros(1, 2), schedule)


def test_a_time_without_any_picture_left_is_refused() -> None:
    schedule = NoiseSchedule(torch.tensor([0.1, 0.5, 1.0]))
    with pytest.raises(ValueError, match="alpha_bar = 0"):
        sample(lambda x, t: x, torch.zeros(1, 2), schedule, 3)
