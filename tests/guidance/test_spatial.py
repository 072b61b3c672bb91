import math

import pytest
import torch
from scipy.stats import ks_2samp

from minisd.diffusion import SAMPLERS, GaussianMixture, ImageNoise, NoiseSchedule, sample
from minisd.guidance import classifier_free, multi_conditional, spatial_map, widen, with_map
from minisd.models.unet import UNet, UNetConfig

# ---- the map ------------------------------------------------------------------------------------


def plan():
    masks = torch.zeros(2, 2, 8, 8, dtype=torch.bool)
    masks[0, 0, :4, :4], masks[0, 1, 4:, 2:8] = True, True
    masks[1, 0, 0:1, 0:2] = True
    embeddings = torch.randn(2, 2, 5)
    embeddings[1, 1] = 0
    return masks, embeddings


def test_each_cell_has_the_embedding_of_what_is_there():
    masks, embeddings = plan()
    found = spatial_map(masks, embeddings, (8, 8))
    assert found.shape == (2, 5, 8, 8)
    torch.testing.assert_close(found[0, :, 1, 3], embeddings[0, 0])
    torch.testing.assert_close(found[0, :, 7, 2], embeddings[0, 1])
    assert not found[0, :, ~masks[0].any(0)].any()
    torch.testing.assert_close(found[1, :, 0, 1], embeddings[1, 0])


def test_a_cell_on_the_edge_has_its_share():
    masks, embeddings = plan()
    found = spatial_map(masks, embeddings, (2, 4))
    torch.testing.assert_close(found[0, :, 0, 0], embeddings[0, 0])
    torch.testing.assert_close(found[1, :, 0, 0], embeddings[1, 0] * 2 / 8)
    torch.testing.assert_close(found[0, :, 1, 1], embeddings[0, 1])


def test_it_can_be_differentiated_by_what_is_said():
    masks, embeddings = plan()
    wanted = embeddings[:1].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda e: spatial_map(masks[:1], e, (3, 3)), (wanted,))


def test_plans_that_cannot_be_are_named():
    masks, embeddings = plan()
    with pytest.raises(ValueError, match=r"masks is torch\.float32"):
        spatial_map(masks.float(), embeddings, (4, 4))
    with pytest.raises(
        ValueError, match=r"embeddings has shape \(2, 1, 5\); it must be \[2, 2, D\]"
    ):
        spatial_map(masks, embeddings[:, 1:], (4, 4))
    overlapping = masks.clone()
    overlapping[1, 1, 0, 1] = True
    with pytest.raises(ValueError, match=r"masks overlap in rows \[1\]"):
        spatial_map(overlapping, embeddings, (4, 4))
    outside = masks.clone()
    outside[0, 1] = False
    with pytest.raises(ValueError, match=r"masks at \[\[0, 1\]\] .* fell outside"):
        spatial_map(outside, embeddings, (4, 4))
    embeddings[0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="embeddings holds NaN"):
        spatial_map(masks, embeddings, (4, 4))


# ---- the U-Net ----------------------------------------------------------------------------------

SMALL = UNetConfig(
    8, 4, 4, (8, 16), ("CrossAttnDownBlock2D", "DownBlock2D"),
    ("UpBlock2D", "CrossAttnUpBlock2D"), 1, 2, 12, 4,
)  # fmt: skip


def test_widened_it_computes_the_same_until_it_is_trained():
    torch.manual_seed(0)
    unet, x, t, text = (
        UNet(SMALL),
        torch.randn(2, 4, 8, 8),
        torch.tensor(3.0),
        torch.randn(2, 3, 12),
    )
    before = unet(x, t, text)
    widen(unet, 5)
    assert unet.config.in_channels == 9
    network, spatial = with_map(unet), torch.randn(2, 5, 8, 8)
    torch.testing.assert_close(network(x, t, text, spatial), before)
    network(x, t, text, spatial).sum().backward()
    assert unet.conv_in.weight.grad[:, 4:].abs().max() > 0
    with torch.no_grad():
        unet.conv_in.weight[:, 4:] += 0.1
        assert (network(x, t, text, spatial) - before).abs().max() > 1e-3


def test_a_widened_one_of_half_precision_answers_in_the_latents_own():
    unet = UNet(SMALL).bfloat16()
    widen(unet, 2)
    assert unet.conv_in.weight.dtype == torch.bfloat16
    x, spatial = torch.randn(1, 4, 8, 8), torch.randn(1, 2, 8, 8)
    assert with_map(unet)(x, torch.tensor(3.0), torch.randn(1, 3, 12), spatial).dtype == x.dtype


@pytest.mark.parametrize("extra", [0, -1, 2.0, True])
def test_no_channels_cannot_be_added(extra):
    with pytest.raises(ValueError, match="extra is"):
        widen(UNet(SMALL), extra)


# ---- guidance by several conditions -------------------------------------------------------------


def network(x_t, t, text, spatial):
    level = text.mean((1, 2))[:, None] + spatial.mean((1, 2, 3))[:, None] ** 2
    return torch.tanh(x_t * level + t[:, None] / 1000 * spatial.mean((1, 2, 3))[:, None])


drawn = torch.Generator().manual_seed(0)
text, no_text = torch.randn(2, 3, 2, 5, generator=drawn)
plan_, no_plan = torch.randn(2, 3, 5, 2, 2, generator=drawn)
x, t = torch.randn(3, 4, generator=drawn), torch.tensor([0.0, 10.0, 900.0])


def test_one_scale_each_adds_the_directions():
    null = network(x, t, no_text, no_plan)
    towards_text = network(x, t, text, no_plan) - null
    towards_plan = network(x, t, no_text, plan_) - null
    found = multi_conditional(network, [text, plan_], [no_text, no_plan], (2.0, 5.0))(x, t)
    torch.testing.assert_close(found, null + 2 * towards_text + 5 * towards_plan)


@pytest.mark.parametrize("scale", [0.0, 1.0, 4.0])
def test_one_scale_for_all_goes_towards_all_at_once(scale):
    null, both = network(x, t, no_text, no_plan), network(x, t, text, plan_)
    found = multi_conditional(network, [text, plan_], [no_text, no_plan], scale)(x, t)
    torch.testing.assert_close(found, null + scale * (both - null))


@pytest.mark.parametrize("scale", [3.0, (3.0,)])
def test_with_one_condition_it_is_classifier_free_guidance(scale):
    def plain(x_t, t, text):
        return network(x_t, t, text, torch.zeros(len(x_t), 5, 2, 2))

    found = multi_conditional(plain, [text], [no_text], scale)(x, t)
    assert torch.equal(found, classifier_free(plain, text, no_text, 3.0)(x, t))


@pytest.mark.parametrize(("scale", "rows"), [(1.0, 3), (4.0, 6), ((1.0, 4.0), 9)])
def test_the_network_is_called_once(scale, rows):
    seen = []

    def watched(x_t, t, *conditions):
        seen.append([len(part) for part in (x_t, t, *conditions)])
        return network(x_t, t, *conditions)

    multi_conditional(watched, [text, plan_], [no_text, no_plan], scale)(x, t)
    assert seen == [[rows] * 4]


# a world of two coordinates, each of two kinds: what is told of one says nothing of the other
SCHEDULE = NoiseSchedule.linear()
MEANS, SPREADS, WEIGHTS = (-1.0, 0.8), (0.2, 0.4), (0.3, 0.7)


def world(first, second):
    """Data with the first and the second coordinate of the kinds that are told; None is either."""
    chosen = [
        (i, j) for i in range(2) for j in range(2) if first in (None, i) and second in (None, j)
    ]
    return GaussianMixture(
        [WEIGHTS[i] * WEIGHTS[j] for i, j in chosen],
        [[MEANS[i], MEANS[j]] for i, j in chosen],
        [[[SPREADS[i], 0], [0, SPREADS[j]]] for i, j in chosen],
    )


def exact(x_t, t, first, second):
    told = [
        [None if k < 0 else int(k) for k in part.flatten().tolist()] for part in (first, second)
    ]
    out = torch.empty_like(x_t)
    for kinds in set(zip(*told, strict=True)):
        rows = [k for k, kind in enumerate(zip(*told, strict=True)) if kind == kinds]
        out[rows] = world(*kinds).denoiser(SCHEDULE)(x_t[rows], t[rows])
    return out


def guided(rows, scale):
    none = torch.full((rows, 1), -1.0)
    return multi_conditional(exact, [0 * none, -none], [none, none], scale)


@pytest.mark.parametrize("scale", [1.0, (1.0, 1.0), (2.0, 0.5)])
def test_the_guided_score_is_the_analytic_one(scale):
    points = torch.randn(6, 2, dtype=torch.float64, generator=drawn)
    times = torch.tensor([0.0, 3.0, 50.0, 300.0, 700.5, 999.0], dtype=torch.float64)
    a_bar = SCHEDULE.alpha_bar_at(times)
    first, second = scale if isinstance(scale, tuple) else (scale, scale)
    free = world(None, None).score(points, a_bar)
    expected = (
        free
        + first * (world(0, None).score(points, a_bar) - free)
        + second * (world(None, 1).score(points, a_bar) - free)
    )
    eps = guided(6, scale)(points, times)
    score = SCHEDULE.convert(eps, points, times, "eps", "score")
    torch.testing.assert_close(score, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, (1.0, 1.0)])
def test_samples_at_scale_1_follow_the_true_conditional(scale):
    x_T = torch.randn(1500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    true, _ = world(0, 1).sample(1500, torch.Generator().manual_seed(1), torch.float64)

    def least(scale):
        x_0 = sample(guided(1500, scale), x_T, SCHEDULE, 25, "dpmpp_2m")
        return min(ks_2samp(a, b).pvalue for a, b in zip(x_0.T, true.T, strict=True))

    assert least(scale) > 0.01
    assert least((1.0, 0.0)) < 1e-6
    assert least((-1.0, 1.0)) < 1e-6


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_it_composes_with_every_sampler(sampler):
    denoise = multi_conditional(network, [text, plan_], [no_text, no_plan], (2.0, 3.0))
    x_0 = sample(denoise, x, SCHEDULE, 4, sampler, noise=ImageNoise(range(3)))
    assert x_0.shape == x.shape
    assert x_0.isfinite().all()


def test_it_can_be_differentiated():
    inputs = [part.double().requires_grad_() for part in (x, text, plan_)]

    def steered(x_t, text, plan_):
        nulls = [no_text.double(), no_plan.double()]
        return multi_conditional(network, [text, plan_], nulls, (2.0, 3.0))(x_t, t.double())

    assert torch.autograd.gradcheck(steered, inputs)


def test_bad_input():
    def guidance(conditions=(text, plan_), nulls=(no_text, no_plan), scale=2.0):
        return multi_conditional(network, conditions, nulls, scale)

    with pytest.raises(ValueError, match="conditions and nulls are 0 and 0"):
        guidance((), ())
    with pytest.raises(ValueError, match="conditions and nulls are 2 and 1"):
        guidance(nulls=(no_text,))
    with pytest.raises(ValueError, match=r"nulls\[1\] has shape \(1, 5, 2, 2\)"):
        guidance(nulls=(no_text, no_plan[:1]))
    with pytest.raises(ValueError, match="scale has 1 numbers; there are 2 conditions"):
        guidance(scale=(2.0,))
    for scale in (math.nan, (1.0, math.inf)):
        with pytest.raises(ValueError, match=r"scale is .*; it must be finite"):
            guidance(scale=scale)
