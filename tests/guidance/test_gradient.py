import math

import pytest
import torch

from minisd.diffusion import SAMPLERS, ImageNoise, NoiseSchedule, sample
from minisd.guidance import guided_by_gradient
from minisd.guidance.gradient import gradient_of
from tests.guidance.exact import CONDITIONAL, DATA, POINTS, SCHEDULE, SHARE, TIMES, logits

DENOISE = DATA.denoiser(SCHEDULE)


def told(x_t, t):
    """Return log p(y = 1 | x_t), exact."""
    return logits(x_t, t).log_softmax(1)[:, 1]


def wavy(x_t, t):
    return (torch.sin(x_t) * (1 + t / 500).reshape(-1, *[1] * (x_t.ndim - 1))).flatten(1).sum(1)


def still(x_t, t):
    return torch.tanh(x_t)


@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.0, 7.5])
def test_the_guided_score_is_the_analytic_one(scale):
    eps = guided_by_gradient(DENOISE, told, scale, SCHEDULE)(POINTS, TIMES)
    a_bar = SCHEDULE.alpha_bar_at(TIMES)
    score, conditional = DATA.score(POINTS, a_bar), CONDITIONAL[1].score(POINTS, a_bar)
    expected = score + scale * (conditional - score)  # Bayes: grad log p(y | x) is the difference
    got = SCHEDULE.convert(eps, POINTS, TIMES, "eps", "score")
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_the_steering_is_that_of_finite_differences(scale):
    x, h = torch.randn(3, 2, 4, dtype=torch.float64), 1e-5
    t = torch.tensor([20.0, 500.0, 900.0], dtype=torch.float64)
    slope = torch.empty_like(x)
    for i in range(x[0].numel()):
        away = torch.zeros_like(x)
        away.view(3, -1)[:, i] = h
        slope.view(3, -1)[:, i] = (wavy(x + away, t) - wavy(x - away, t)) / (2 * h)
    root = (1 - SCHEDULE.alpha_bar_at(t)).sqrt()[:, None, None]
    steered = guided_by_gradient(still, wavy, scale, SCHEDULE)(x, t)
    torch.testing.assert_close(steered, still(x, t) - scale * root * slope, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_goes_where_it_goes_with_the_conditional_denoiser(sampler):
    x_T = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ends = [
        sample(denoise, x_T, SCHEDULE, 12, sampler, noise=ImageNoise(range(6)))
        for denoise in (
            guided_by_gradient(DENOISE, told, 1.0, SCHEDULE),
            CONDITIONAL[1].denoiser(SCHEDULE),
            DENOISE,
        )
    ]
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-5)
    assert (ends[0] - ends[2]).abs().max() > 0.1


def test_guiding_twice_is_guiding_by_both():
    twice = guided_by_gradient(
        guided_by_gradient(DENOISE, told, 2.0, SCHEDULE), wavy, 0.5, SCHEDULE
    )
    both = guided_by_gradient(
        DENOISE, lambda x, t: 2 * told(x, t) + 0.5 * wavy(x, t), 1.0, SCHEDULE
    )
    torch.testing.assert_close(twice(POINTS, TIMES), both(POINTS, TIMES))


def test_at_scale_0_the_density_is_not_asked():
    assert guided_by_gradient(still, None, 0.0, SCHEDULE) is still


# ---- gradients ----------------------------------------------------------------------------------


def test_it_runs_without_gradients_and_leaves_none():
    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    guided = guided_by_gradient(
        lambda x, t: weight * still(x, t), lambda x, t: wavy(weight * x, t), 2.0, SCHEDULE
    )
    with_them = guided(POINTS, TIMES)
    with torch.no_grad():
        without = guided(POINTS, TIMES)
        assert not torch.is_grad_enabled()
    assert torch.equal(with_them, without)
    assert with_them.requires_grad
    assert not without.requires_grad
    assert weight.grad is None
    assert not POINTS.requires_grad


def test_a_graph_of_the_callers_is_not_kept_alive_under_no_grad():
    x = (2 * torch.randn(2, 3, requires_grad=True)).tanh()
    seen = []
    with torch.no_grad():
        gradient_of(lambda x, t: (seen.append(x.is_leaf), wavy(x, t))[1], x, torch.zeros(2))
    assert seen == [True]


def test_it_can_be_differentiated():
    guided = guided_by_gradient(DENOISE, told, 3.0, SCHEDULE)
    x = POINTS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: guided(x, TIMES), x)
    # and in the middle of a graph, as a later step of a sampler is
    assert torch.autograd.gradcheck(lambda x: guided(x.sin() * 2, TIMES), x)


def test_it_can_be_differentiated_by_what_the_density_is_made_of():
    target = torch.randn(2, dtype=torch.float64, requires_grad=True)

    def steered(target):
        near = guided_by_gradient(
            DENOISE, lambda x, t: -torch.cosh(x - target).sum(1), 1.5, SCHEDULE
        )
        return near(POINTS, TIMES)

    assert torch.autograd.gradcheck(steered, target)


def test_a_whole_walk_can_be_differentiated():
    guided = guided_by_gradient(DENOISE, told, 2.0, SCHEDULE)
    x_T = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sample(guided, x, SCHEDULE, 4), x_T)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_it_keeps_the_dtype(dtype):
    x, t = torch.randn(2, 3, 4, 4).to(dtype), torch.tensor([3.0, 900.0])
    eps = guided_by_gradient(still, lambda x, t: -(x**2).sum((1, 2, 3)), 2.0, SCHEDULE)(x, t)
    assert eps.dtype == dtype


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf])
def test_a_scale_that_is_no_number_is_refused(scale):
    with pytest.raises(ValueError, match=f"scale is {scale}; it must be a finite number"):
        guided_by_gradient(still, told, scale, SCHEDULE)


@pytest.mark.parametrize(
    ("value", "shape"),
    [(lambda x, t: x, (6, 2)), (lambda x, t: x.sum(), ()), (lambda x, t: x[:3].sum(1), (3,))],
)
def test_a_density_that_is_not_one_number_a_picture_is_refused(value, shape):
    with pytest.raises(ValueError, match=rf"returned shape \({str(shape)[1:-1]}\).* 6 pictures"):
        guided_by_gradient(still, value, 1.0, SCHEDULE)(POINTS, TIMES)


@pytest.mark.parametrize(
    "value",
    [
        torch.no_grad()(told),
        lambda x, t: told(x.detach(), t),
        lambda x, t: torch.ones(6, requires_grad=True) * 2,
    ],
)
def test_a_density_without_a_gradient_is_refused(value):
    with pytest.raises(ValueError, match="log_density returned what has no gradient by x_t"):
        guided_by_gradient(still, value, 1.0, SCHEDULE)(POINTS, TIMES)


def test_inference_mode_is_refused():
    with torch.inference_mode(), pytest.raises(ValueError, match=r"use torch.no_grad\(\)"):
        guided_by_gradient(still, told, 1.0, SCHEDULE)(POINTS, TIMES)


def test_the_end_without_a_picture_is_steered_too():
    end = NoiseSchedule(torch.tensor([0.1, 1.0]))
    x, t = torch.randn(2, 3, dtype=torch.float64), torch.tensor([1.0, 1.0], dtype=torch.float64)
    steered = guided_by_gradient(still, wavy, 1.0, end)(x, t)
    torch.testing.assert_close(steered, still(x, t) - x.cos() * (1 + t / 500)[:, None])


def test_the_exact_classifier_sums_to_what_it_should():
    a_bar = SCHEDULE.alpha_bar_at(TIMES)
    torch.testing.assert_close(logits(POINTS, TIMES).logsumexp(1), DATA.log_prob(POINTS, a_bar))
    assert sum(SHARE) == pytest.approx(1)
