import math

import pytest
import torch
from diffusers import DDPMScheduler

from minisd.diffusion import SAMPLERS, GaussianMixture, ImageNoise, NoiseSchedule, sample
from minisd.guidance import classifier_free, dynamically_thresholded, in_interval

SCHEDULE = NoiseSchedule.linear()


def told(x_t, t):
    return torch.tanh(x_t)


def guided(x_t, t):
    return 5 * torch.tanh(x_t)


# ---- interval -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.21, 3.0, 3.01, 40.0])
def test_guidance_is_given_within_the_interval_alone(sigma):
    seen = []

    def watched(name, denoise):
        return lambda x_t, t: (seen.append(name), denoise(x_t, t))[1]

    x, t = torch.randn(2, 4), SCHEDULE.time_of_sigma(sigma).expand(2)
    low, high = float(SCHEDULE.sigma_at(SCHEDULE.time_of_sigma(0.2))), 3.005
    eps = in_interval(watched("guided", guided), watched("told", told), low, high, SCHEDULE)(x, t)
    inside = 0.2 < sigma < 3.005
    assert torch.equal(eps, (guided if inside else told)(x, t))
    assert seen == ["guided" if inside else "told"]


def test_the_interval_has_its_upper_end_but_not_its_lower_one():
    x, t = torch.randn(3, 4), torch.tensor([100.0, 200.0, 300.0])
    low, _, high = SCHEDULE.sigma_at(t).tolist()
    eps = in_interval(guided, told, low, high, SCHEDULE)(x, t)
    assert torch.equal(eps, torch.cat([told(x[:1], t), guided(x[1:], t)]))


def test_pictures_of_one_batch_may_be_at_different_times():
    x, t = torch.randn(3, 2, 4, 4), torch.tensor([0.0, 400.0, 999.0])
    eps = in_interval(guided, told, 0.5, 5.0, SCHEDULE)(x, t)
    expected = torch.cat([told(x[:1], t), guided(x[1:2], t), told(x[2:], t)])
    assert torch.equal(eps, expected)


def test_the_widest_interval_is_guidance_throughout():
    end = NoiseSchedule(torch.tensor([0.1, 1.0]))  # no picture is left: sigma is infinite
    x, t = torch.randn(2, 4), torch.tensor([0.0, 1.0])
    assert torch.equal(in_interval(guided, told, 0, math.inf, end)(x, t), guided(x, t))


def test_an_interval_keeps_the_modes_that_guidance_throughout_loses():
    # as the paper's figure 2: c has two modes, and the rest of the data lies near one of them
    spread = torch.full((3, 1, 1), 0.05)
    wanted = GaussianMixture([0.5, 0.5], [[-1.5], [1.5]], spread[:2])
    data = GaussianMixture([0.25, 0.25, 0.5], [[-1.5], [1.5], [3.0]], spread)

    def network(x_t, t, context):
        null, c = x_t.chunk(2)
        return torch.cat(
            [
                data.denoiser(SCHEDULE)(null, t[: len(null)]),
                wanted.denoiser(SCHEDULE)(c, t[: len(c)]),
            ]
        )

    n = 400
    context = torch.zeros(n, 1, 1)
    always = classifier_free(network, context, context, 6.0)
    middle = in_interval(always, wanted.denoiser(SCHEDULE), 0.0, 1.0, SCHEDULE)
    x_T = torch.randn(n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    right = {
        name: (sample(denoise, x_T, SCHEDULE, steps=40) > 0).double().mean().item()
        for name, denoise in (("always", always), ("middle", middle))
    }
    assert right["always"] < 0.01
    assert 0.35 < right["middle"] < 0.65


@pytest.mark.parametrize(
    ("low", "high"), [(-0.1, 1), (1, 1), (2, 1), (math.nan, 1), (0, math.nan), (math.inf, math.inf)]
)
def test_an_interval_that_is_none_is_refused(low, high):
    with pytest.raises(ValueError, match=f"low and high are {low} and {high}"):
        in_interval(guided, told, low, high, SCHEDULE)


# ---- dynamic thresholding -----------------------------------------------------------------------


def x_0_of(denoise, x_t, t):
    return SCHEDULE.convert(denoise(x_t, t), x_t, t, "eps", "x0")


@pytest.mark.parametrize("ratio", [0.9, 0.995, 1.0])
def test_the_clean_picture_is_thresholded_as_in_diffusers(ratio):
    x_t, t = 2 * torch.randn(3, 3, 8, 8, dtype=torch.float64), torch.tensor([5.0, 300.0, 800.0])
    reference = DDPMScheduler(
        thresholding=True, dynamic_thresholding_ratio=ratio, sample_max_value=math.inf
    )
    expected = reference._threshold_sample(x_0_of(guided, x_t, t))
    limited = dynamically_thresholded(guided, SCHEDULE, 100 * ratio)
    torch.testing.assert_close(x_0_of(limited, x_t, t), expected)


def test_each_picture_has_a_threshold_of_its_own_and_stays_in_range():
    x_t = torch.randn(4, 3, 8, 8) * torch.tensor([0.01, 1.0, 5.0, 50.0]).reshape(4, 1, 1, 1)
    t = torch.full((4,), 500.0)
    limited = dynamically_thresholded(guided, SCHEDULE, 95)
    together = x_0_of(limited, x_t, t)
    assert together.abs().max() <= 1 + 1e-4
    alone = torch.cat([x_0_of(limited, x_t[i : i + 1], t[:1]) for i in range(4)])
    torch.testing.assert_close(together, alone)


def test_what_is_in_range_stays_to_the_last_digit():
    x_t, t = torch.randn(2, 16), torch.tensor([0.0, 10.0])
    assert torch.equal(dynamically_thresholded(told, SCHEDULE, bound=100.0)(x_t, t), told(x_t, t))


def test_another_bound_is_another_unit_of_the_same_thing():
    x_t, t = 2 * torch.randn(2, 64, dtype=torch.float64), torch.tensor([200.0, 600.0])

    def in_threes(y_t, t):
        return SCHEDULE.convert(3 * x_0_of(guided, x_t, t), y_t, t, "x0", "eps")

    one = x_0_of(dynamically_thresholded(guided, SCHEDULE, 90), x_t, t)
    three = x_0_of(dynamically_thresholded(in_threes, SCHEDULE, 90, bound=3.0), x_t, t)
    torch.testing.assert_close(three, 3 * one)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half(dtype):
    x_t, t = torch.randn(2, 3, 8, 8).to(dtype), torch.tensor([300.0, 600.0])
    eps = dynamically_thresholded(guided, SCHEDULE)(x_t, t)
    assert eps.dtype == dtype
    assert eps.isfinite().all()


@pytest.mark.parametrize("percentile", [0, -1, 100.1, math.nan])
def test_a_percentile_that_is_none_is_refused(percentile):
    with pytest.raises(ValueError, match=f"percentile is {percentile}"):
        dynamically_thresholded(guided, SCHEDULE, percentile)


@pytest.mark.parametrize("bound", [0, -1.0, math.nan, math.inf])
def test_a_bound_that_is_none_is_refused(bound):
    with pytest.raises(ValueError, match=f"bound is {bound}"):
        dynamically_thresholded(guided, SCHEDULE, bound=bound)


# ---- both ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_they_compose_with_each_other_and_with_every_sampler(sampler):
    both = dynamically_thresholded(in_interval(guided, told, 0.2, 5.0, SCHEDULE), SCHEDULE)
    x_T = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    x_0 = sample(both, x_T, SCHEDULE, steps=6, sampler=sampler, noise=ImageNoise([0, 1]))
    assert x_0.isfinite().all()
    if sampler != "plms":  # which blends predictions beyond what they are
        assert x_0.abs().max() < 1.5


def test_gradients_flow_through_both():
    both = dynamically_thresholded(in_interval(guided, told, 0.2, 5.0, SCHEDULE), SCHEDULE, 90)
    x_t, t = torch.randn(2, 12, dtype=torch.float64), torch.tensor([400.0, 900.0])
    assert torch.autograd.gradcheck(lambda x: both(x, t), x_t.requires_grad_())
