import math

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from minisd.diffusion import GaussianMixture, NoiseSchedule, sample
from minisd.guidance import classifier_free, rescaled, scale_of_w, w_of_scale
from tests.guidance.exact import CONDITIONAL, DATA, SCHEDULE, smallest_p


def network(x_t, t, context):
    return torch.tanh(x_t * context.mean((1, 2))[:, None] + t[:, None] / 1000)


drawn = torch.Generator().manual_seed(0)
c, null = torch.randn(2, 3, 2, 5, generator=drawn)
x, t = torch.randn(3, 4, generator=drawn), torch.tensor([0.0, 10.0, 900.0])


@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.0, 7.5])
def test_the_two_predictions_are_mixed(scale):
    with_c, without = network(x, t, c), network(x, t, null)
    expected = (1 - scale) * without + scale * with_c
    torch.testing.assert_close(classifier_free(network, c, null, scale)(x, t), expected)


@pytest.mark.parametrize("scale", [0.0, 1.0, 8.0])
def test_both_conventions_of_the_scale_agree(scale):
    w = w_of_scale(scale)  # Ho and Salimans, equation 6
    expected = (1 + w) * network(x, t, c) - w * network(x, t, null)
    torch.testing.assert_close(classifier_free(network, c, null, scale)(x, t), expected)
    assert scale_of_w(w) == scale


def test_the_guided_score_is_that_of_the_data_plus_the_gradient_of_what_a_perfect_classifier_says():
    mixture = GaussianMixture(
        [0.3, 0.7], [[-1.0, 0.5], [1.0, 0.0]], [torch.eye(2).tolist(), [[0.5, 0.2], [0.2, 0.4]]]
    )
    one = GaussianMixture([1.0], mixture.means[1:], mixture.covariances[1:])
    schedule = NoiseSchedule.linear()

    def exact(x_t, t, context):
        rows = [
            (one if told else mixture).denoiser(schedule)(x_t[i : i + 1], t[i : i + 1])
            for i, told in enumerate(context.flatten())
        ]
        return torch.cat(rows)

    x_t = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.0, 3.0, 50.0, 300.0, 700.0, 999.0], dtype=torch.float64)
    told, untold = torch.ones(6, 1, 1), torch.zeros(6, 1, 1)
    a_bar = schedule.alpha_bar_at(t)
    (steer,) = torch.autograd.grad(mixture.posterior(x_t, a_bar)[:, 1].log().sum(), x_t)
    for scale in (0.0, 1.0, 4.0):
        eps = classifier_free(exact, told, untold, scale)(x_t, t)
        expected = mixture.score(x_t, a_bar) + scale * steer
        score = schedule.convert(eps, x_t, t, "eps", "score")
        torch.testing.assert_close(score, expected, rtol=1e-5, atol=1e-5)


def test_samples_at_scale_1_follow_the_true_conditional_and_faults_are_seen():
    denoisers = DATA.denoiser(SCHEDULE), CONDITIONAL[1].denoiser(SCHEDULE)

    def exact(x_t, t, context):
        told = context.flatten() > 0
        eps = torch.empty_like(x_t)
        for rows, denoise in zip((~told, told), denoisers, strict=True):
            eps[rows] = denoise(x_t[rows], t[rows])
        return eps

    n, drawn = 1500, torch.Generator().manual_seed(0)
    true, _ = CONDITIONAL[1].sample(n, drawn, dtype=torch.float64)
    x_T = torch.randn(n, 2, generator=drawn, dtype=torch.float64)
    told, untold = torch.ones(n, 1, 1), torch.zeros(n, 1, 1)

    def p(way):
        return smallest_p(sample(way, x_T, SCHEDULE, 30, "dpmpp_2m"), true)

    assert p(classifier_free(exact, told, untold, 1.0)) > 0.05
    # both predictions are mixed, and the mixture is the conditional one
    assert p(classifier_free(exact, told, untold, 1.0 + 1e-9)) > 0.05
    assert p(classifier_free(exact, told, untold, -1.0)) < 1e-6
    assert p(classifier_free(exact, untold, told, 1.0)) < 1e-6
    # the other convention's scale of no guidance, and one taken for the other
    assert p(classifier_free(exact, told, untold, scale_of_w(0.0))) > 0.05
    assert p(classifier_free(exact, told, untold, scale_of_w(1.0))) < 1e-6


@pytest.mark.parametrize("phi", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 5, 5)])
def test_rescaling_is_that_of_diffusers(phi, shape):
    x_t = torch.randn(shape)

    def any_network(x_t, t, context):
        level = context.mean((1, 2)).reshape(-1, *[1] * (x_t.ndim - 1))
        return torch.tanh(x_t * level + 0.3 * level)

    guided = classifier_free(any_network, c, null, 9.0)(x_t, t)
    expected = rescale_noise_cfg(guided, any_network(x_t, t, c), guidance_rescale=phi)
    torch.testing.assert_close(rescaled(any_network, c, null, 9.0, phi)(x_t, t), expected)


def test_rescaled_whole_it_has_the_spread_of_the_conditional_prediction():
    prediction = rescaled(network, c, null, 20.0, phi=1.0)(x, t)
    torch.testing.assert_close(prediction.std(1), network(x, t, c).std(1))
    assert (classifier_free(network, c, null, 20.0)(x, t).std(1) > 1.5 * prediction.std(1)).all()


def test_rescaling_calls_the_network_once():
    seen = []

    def watched(x_t, t, context):
        seen.append(len(x_t))
        return network(x_t, t, context)

    rescaled(watched, c, null, 8.0)(x, t)
    assert seen == [6]


@pytest.mark.parametrize(("scale", "rows"), [(1.0, 3), (8.0, 6)])
def test_the_network_is_called_once(scale, rows):
    seen = []

    def watched(x_t, t, context):
        seen.append((len(x_t), len(t), len(context)))
        return network(x_t, t, context)

    classifier_free(watched, c, null, scale)(x, t)
    assert seen == [(rows, rows, rows)]


@pytest.mark.parametrize("guidance", [classifier_free, rescaled])
def test_it_is_a_denoiser_for_the_samplers(guidance):
    x_0 = sample(guidance(network, c, null, 3.0), x, NoiseSchedule.linear(), steps=3)
    assert x_0.shape == x.shape


@pytest.mark.parametrize("guidance", [classifier_free, rescaled])
def test_bad_input(guidance):
    with pytest.raises(ValueError, match=r"unconditional has shape \(1, 2, 5\)"):
        guidance(network, c, null[:1], 3.0)
    for scale in (math.nan, math.inf):
        with pytest.raises(ValueError, match=f"scale is {scale}"):
            guidance(network, c, null, scale)


def test_bad_rescaling():
    for phi in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=rf"phi is {phi}; it must lie in \[0, 1\]"):
            rescaled(network, c, null, 3.0, phi)
    with pytest.raises(ValueError, match=r"x_t has shape \(3, 1\)"):
        rescaled(network, c, null, 3.0)(x[:, :1], t)
