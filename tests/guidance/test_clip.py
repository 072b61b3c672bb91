import math

import pytest
import torch
from scipy.stats import ks_2samp

from minisd.diffusion import SAMPLERS, GaussianMixture, ImageNoise, NoiseSchedule, sample
from minisd.guidance import classifier_free, clip, in_interval
from tests.guidance.exact import CONDITIONAL, DATA, POINTS, SCHEDULE, TIMES, logits

DENOISE = DATA.denoiser(SCHEDULE)

# a shared space that is turned, so that each of its channels matters; the text is the second class
TURN = torch.linalg.qr(
    torch.randn(2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
)[0]
TEXT = TURN[1]


def exact(x_t, t):
    """Embed noisy points so that f . g is log p(c | x_t)."""
    return logits(x_t, t).log_softmax(1) @ TURN


def exact_on_clean(x_0):
    return exact(x_0, torch.full(x_0.shape[:1], -1.0, dtype=x_0.dtype))


def still(x_t, t):
    return torch.tanh(x_t) * (1 - t / 2000).reshape(-1, *[1] * (x_t.ndim - 1)).to(x_t)


def embed(x):
    x = x.flatten(1)
    return torch.stack([torch.sin(x).sum(1), (x**2).mean(1), torch.cos(2 * x).sum(1)], dim=1)


def embed_noisy(x_t, t):
    return embed(x_t) * (1 + t / 1000)[:, None].to(x_t)


WORDS = torch.tensor([0.5, -1.0, 0.3], dtype=torch.float64)
ENCODERS = {"noisy": embed_noisy, "clean": embed}


# ---- what it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.0, 7.5])
def test_with_an_exact_embedding_the_guided_score_is_the_analytic_one(scale):
    eps = clip(DENOISE, exact, TEXT, scale, SCHEDULE)(POINTS, TIMES)
    a_bar = SCHEDULE.alpha_bar_at(TIMES)
    score, conditional = DATA.score(POINTS, a_bar), CONDITIONAL[1].score(POINTS, a_bar)
    got = SCHEDULE.convert(eps, POINTS, TIMES, "eps", "score")
    torch.testing.assert_close(got, score + scale * (conditional - score), rtol=1e-5, atol=1e-5)


def test_on_clean_a_linear_embedding_of_gaussian_data_is_exact_too():
    # exp(w . x_0) tilts N(m, S) to N(m + S w, S)
    m, S = torch.tensor([[0.5, -1.0]]).double(), torch.tensor([[[0.5, 0.2], [0.2, 0.4]]]).double()
    maps, g = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 0.5]]).double(), WORDS
    tilted = GaussianMixture([1.0], m + (S[0] @ maps @ g), S)
    prior = GaussianMixture([1.0], m, S).denoiser(SCHEDULE)
    eps = clip(prior, lambda x_0: x_0 @ maps, g, 1.0, SCHEDULE, on="clean")(POINTS, TIMES)
    torch.testing.assert_close(eps, tilted.denoiser(SCHEDULE)(POINTS, TIMES), rtol=1e-5, atol=1e-5)
    assert (eps - prior(POINTS, TIMES)).abs().max() > 0.1


@pytest.mark.parametrize("on", ["noisy", "clean"])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_the_steering_is_that_of_finite_differences(on, scale):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    t, h = torch.tensor([20.0, 500.0, 900.0], dtype=torch.float64), 1e-5

    def product(x):
        if on == "noisy":
            return embed_noisy(x, t) @ WORDS
        return embed(SCHEDULE.convert(still(x, t), x, t, "eps", "x0")) @ WORDS

    slope = torch.empty_like(x)
    for i in range(x[0].numel()):
        away = torch.zeros_like(x)
        away.view(3, -1)[:, i] = h
        slope.view(3, -1)[:, i] = (product(x + away) - product(x - away)) / (2 * h)
    root = (1 - SCHEDULE.alpha_bar_at(t)).sqrt()[:, None, None]
    steered = clip(still, ENCODERS[on], WORDS, scale, SCHEDULE, on=on)(x, t)
    expected = still(x, t) - scale * root * slope
    torch.testing.assert_close(steered, expected, rtol=1e-5, atol=1e-6)


def test_the_product_may_be_negative():
    assert (exact(POINTS, TIMES) @ TEXT < 0).all()  # it has no logarithm
    assert clip(DENOISE, exact, TEXT, 2.0, SCHEDULE)(POINTS, TIMES).isfinite().all()


# ---- where its samples go -----------------------------------------------------------------------


def agreement_with_the_class(denoise):
    """Return the least p-value of two-sample tests along four directions, of guided samples and true ones."""
    x_T = torch.randn(1500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    true, _ = CONDITIONAL[1].sample(1500, torch.Generator().manual_seed(1), torch.float64)
    with torch.no_grad():
        x_0 = sample(denoise, x_T, SCHEDULE, 25, "dpmpp_2m")
    directions = torch.tensor([[1, 0, 1, 1], [0, 1, 1, -1]], dtype=torch.float64)
    return min(
        ks_2samp(a, b).pvalue
        for a, b in zip((x_0 @ directions).T, (true @ directions).T, strict=True)
    )


def test_samples_at_scale_1_follow_the_true_conditional():
    guided = clip(DENOISE, exact, TEXT, 1.0, SCHEDULE)

    def without_root(x_t, t):
        eps, root = DENOISE(x_t, t), (1 - SCHEDULE.alpha_bar_at(t)).sqrt()[:, None]
        return eps + (guided(x_t, t) - eps) / root

    assert agreement_with_the_class(guided) > 0.01
    # and the test would see what may go wrong
    assert agreement_with_the_class(clip(DENOISE, exact, TEXT, -1.0, SCHEDULE)) < 1e-6
    assert agreement_with_the_class(without_root) < 1e-6


@pytest.mark.parametrize(
    "other",
    [
        clip(DENOISE, exact, TEXT, 2.0, SCHEDULE),
        clip(DENOISE, exact_on_clean, TEXT, 1.0, SCHEDULE, on="clean"),
    ],
    ids=["scale 2", "a perfect reader of clean points"],
)
def test_at_other_scales_and_on_the_predicted_clean_point_they_do_not(other):
    assert agreement_with_the_class(other) < 1e-6


# ---- how it composes ----------------------------------------------------------------------------


@pytest.mark.parametrize("on", ["noisy", "clean"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_it_composes_with_every_sampler(on, sampler):
    encode = {"noisy": exact, "clean": exact_on_clean}[on]
    x_T = torch.randn(8, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        ends = [
            sample(denoise, x_T, SCHEDULE, 12, sampler, noise=ImageNoise(range(8)))
            for denoise in (DENOISE, clip(DENOISE, encode, TEXT, 1.0, SCHEDULE, on=on))
        ]
    free, guided = (exact_on_clean(x_0) @ TEXT for x_0 in ends)
    assert guided.mean() > free.mean() + 0.5


def test_it_composes_with_the_other_ways():
    def network(x_t, t, context):
        return still(x_t, t) * context.mean((1, 2))[:, None]

    c, null = torch.ones(6, 1, 1), torch.zeros(6, 1, 1)
    free = classifier_free(network, c, null, 3.0)
    for on in ("noisy", "clean"):
        guided = clip(free, ENCODERS[on], WORDS, 2.0, SCHEDULE, on=on)
        both = in_interval(guided, free, 0.0, 1.0, SCHEDULE)(POINTS, TIMES)
        low = SCHEDULE.sigma_at(TIMES) <= 1
        assert torch.equal(both[low], guided(POINTS, TIMES)[low])
        assert torch.equal(both[~low], free(POINTS, TIMES)[~low])


@pytest.mark.parametrize("on", ["noisy", "clean"])
def test_the_denoiser_is_called_once_a_step(on):
    calls = []
    guided = clip(
        lambda x, t: (calls.append(1), still(x, t))[1], ENCODERS[on], WORDS, 2.0, SCHEDULE, on=on
    )
    guided(POINTS, TIMES)
    assert len(calls) == 1


@pytest.mark.parametrize("on", ["noisy", "clean"])
def test_at_scale_0_nothing_is_encoded(on):
    def never(*x):
        raise AssertionError

    assert clip(still, never, WORDS, 0.0, SCHEDULE, on=on) is still


@pytest.mark.parametrize("on", ["noisy", "clean"])
def test_each_picture_may_have_its_own_text(on):
    texts = torch.randn(6, 3, dtype=torch.float64)
    guided = clip(still, ENCODERS[on], texts, 2.0, SCHEDULE, on=on)(POINTS, TIMES)
    alone = [
        clip(still, ENCODERS[on], texts[i], 2.0, SCHEDULE, on=on)(
            POINTS[i : i + 1], TIMES[i : i + 1]
        )
        for i in range(6)
    ]
    torch.testing.assert_close(guided, torch.cat(alone))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("on", ["noisy", "clean"])
def test_it_keeps_the_dtype(on, dtype):
    x, t = torch.randn(2, 3, 4, 4).to(dtype), torch.tensor([3.0, 900.0])
    assert clip(still, ENCODERS[on], WORDS, 2.0, SCHEDULE, on=on)(x, t).dtype == dtype


# ---- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("on", ["noisy", "clean"])
def test_it_runs_without_gradients_and_leaves_none(on):
    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    guided = clip(lambda x, t: weight * still(x, t), ENCODERS[on], WORDS, 2.0, SCHEDULE, on=on)
    with_them = guided(POINTS, TIMES)
    with torch.no_grad():
        without = guided(POINTS, TIMES)
        assert not torch.is_grad_enabled()
    assert torch.equal(with_them, without)
    assert with_them.requires_grad
    assert not without.requires_grad
    assert weight.grad is None


@pytest.mark.parametrize("on", ["noisy", "clean"])
def test_it_can_be_differentiated_by_the_picture_and_by_the_text(on):
    def steered(x, words):
        return clip(still, ENCODERS[on], words, 1.5, SCHEDULE, on=on)(x, TIMES[:2])

    inputs = POINTS[:2].clone().requires_grad_(), WORDS.clone().requires_grad_()
    assert torch.autograd.gradcheck(steered, inputs)
    # and in the middle of a graph, as a later step of a sampler is
    assert torch.autograd.gradcheck(lambda x, words: steered(x.sin() * 2, words), inputs)


# ---- what is refused ----------------------------------------------------------------------------


class Reader(torch.nn.Module):
    """A network, whose signature is that of its forward."""

    def forward(self, pixels):
        return embed(pixels)


def test_an_encoder_that_does_not_take_the_time_is_refused():
    for encode in (embed, Reader()):
        with pytest.raises(ValueError, match="on 'noisy' it must take x_t and t"):
            clip(still, encode, WORDS, 1.0, SCHEDULE)
    with pytest.raises(ValueError, match="on 'clean' it must take the clean picture alone"):
        clip(still, embed_noisy, WORDS, 1.0, SCHEDULE, on="clean")
    clip(still, Reader(), WORDS, 1.0, SCHEDULE, on="clean")
    clip(still, torch.add, WORDS, 1.0, SCHEDULE)  # written in C, it tells no signature


@pytest.mark.parametrize("on", ["noisy", "clean"])
@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf])
def test_a_scale_that_is_no_number_is_refused(on, scale):
    with pytest.raises(ValueError, match=f"scale is {scale}; it must be a finite number"):
        clip(still, ENCODERS[on], WORDS, scale, SCHEDULE, on=on)


def test_another_place_to_look_is_refused():
    with pytest.raises(ValueError, match="on is 'dirty'; it must be 'noisy' or 'clean'"):
        clip(still, embed, WORDS, 1.0, SCHEDULE, on="dirty")


@pytest.mark.parametrize("on", ["noisy", "clean"])
def test_shapes_that_do_not_fit_are_refused(on):
    with pytest.raises(ValueError, match=r"text_embedding has shape \(1, 1, 3\)"):
        clip(still, ENCODERS[on], WORDS[None, None], 1.0, SCHEDULE, on=on)
    for words in (WORDS[:2], WORDS.expand(5, 3), WORDS.expand(1, 3)):
        with pytest.raises(ValueError, match=r"encode_image returned shape \(6, 3\)"):
            clip(still, ENCODERS[on], words, 1.0, SCHEDULE, on=on)(POINTS, TIMES)
    flat = {"noisy": lambda x, t: x.sum(1), "clean": lambda x: x.sum(1)}[on]
    with pytest.raises(ValueError, match=r"encode_image returned shape \(6,\)"):
        clip(still, flat, torch.ones(6), 1.0, SCHEDULE, on=on)(POINTS, TIMES)


@pytest.mark.parametrize("on", ["noisy", "clean"])
def test_inference_mode_is_refused(on):
    with torch.inference_mode(), pytest.raises(ValueError, match=r"use torch.no_grad\(\)"):
        clip(still, ENCODERS[on], WORDS, 1.0, SCHEDULE, on=on)(POINTS, TIMES)


def test_a_time_without_any_picture_left_is_refused_on_clean():
    end = NoiseSchedule(torch.tensor([0.1, 1.0]))
    with pytest.raises(ValueError, match="alpha_bar = 0"):
        clip(still, embed, WORDS, 1.0, end, on="clean")(POINTS, torch.ones(6))
