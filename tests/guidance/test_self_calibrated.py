import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minisd.diffusion import GaussianMixture, sample, simple_loss
from minisd.guidance.self_calibrated import (
    calibration_loss,
    energy_denoiser,
    energy_log_density,
    self_calibrated,
)
from minisd.models.classifier import Classifier, ClassifierConfig
from tests.guidance.exact import (
    CONDITIONAL,
    DATA,
    POINTS,
    SCHEDULE,
    TIMES,
    logits,
    smallest_p,
)

DENOISE = DATA.denoiser(SCHEDULE)


def batch(n, seed=0, data=DATA):
    """Clean points with their classes, times, noise and noisy points."""
    drawn = torch.Generator().manual_seed(seed)
    x_0, k = data.sample(n, drawn, dtype=torch.float64)
    t = torch.randint(0, SCHEDULE.T, (n,), generator=drawn).double()
    eps = torch.randn(n, 2, generator=drawn, dtype=torch.float64)
    return x_0, (k > 0).long(), t, eps, SCHEDULE.q_sample(x_0, t, eps)


# ---- an exact energy ----------------------------------------------------------------------------


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("scale", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("denoise", [None, DENOISE], ids=["alone", "as in the paper"])
def test_with_an_exact_energy_the_guided_score_is_the_analytic_one(denoise, label, scale):
    eps = self_calibrated(denoise, logits, label, scale, SCHEDULE)(POINTS, TIMES)
    a_bar = SCHEDULE.alpha_bar_at(TIMES)
    score, conditional = DATA.score(POINTS, a_bar), CONDITIONAL[label].score(POINTS, a_bar)
    got = SCHEDULE.convert(eps, POINTS, TIMES, "eps", "score")
    torch.testing.assert_close(got, score + scale * (conditional - score), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("denoise", [None, DENOISE], ids=["alone", "as in the paper"])
def test_samples_at_scale_1_follow_the_true_conditional_and_faults_are_seen(denoise):
    drawn = torch.Generator().manual_seed(0)
    true, _ = CONDITIONAL[1].sample(1500, drawn, dtype=torch.float64)
    x_T = torch.randn(1500, 2, generator=drawn, dtype=torch.float64)
    guided = self_calibrated(denoise, logits, 1, 1.0, SCHEDULE)

    def without_root(x_t, t):
        eps, root = DENOISE(x_t, t), (1 - SCHEDULE.alpha_bar_at(t)).sqrt()[:, None]
        return eps + (guided(x_t, t) - eps) / root

    ways = [guided, self_calibrated(denoise, logits, 1, -1.0, SCHEDULE), without_root]
    with torch.no_grad():
        right, *faulty = (
            smallest_p(sample(way, x_T, SCHEDULE, 30, "dpmpp_2m"), true) for way in ways
        )
    assert right > 0.05
    assert max(faulty) < 1e-6


def test_an_exact_energy_is_the_density_and_the_denoiser():
    density = energy_log_density(logits)(POINTS, TIMES)
    torch.testing.assert_close(density, DATA.log_prob(POINTS, SCHEDULE.alpha_bar_at(TIMES)))
    eps = energy_denoiser(logits, SCHEDULE)(POINTS, TIMES)
    torch.testing.assert_close(eps, DENOISE(POINTS, TIMES))


def test_of_several_questions_the_energies_add():
    # the two coordinates are independent, and each question is about one of them
    one = GaussianMixture([0.4, 0.6], [[-1.0], [0.5]], [[[0.2]], [[0.3]]])
    two = GaussianMixture([0.7, 0.3], [[0.0], [2.0]], [[[0.1]], [[0.5]]])

    def joint(data, x, t):
        a_bar = SCHEDULE.alpha_bar_at(t)
        return data.posterior(x, a_bar).log() + data.log_prob(x, a_bar)[:, None]

    def network(x_t, t):
        return {"one": joint(one, x_t[:, :1], t), "two": joint(two, x_t[:, 1:], t)}

    eps = energy_denoiser(network, SCHEDULE)(POINTS, TIMES)
    parts = [
        one.denoiser(SCHEDULE)(POINTS[:, :1], TIMES),
        two.denoiser(SCHEDULE)(POINTS[:, 1:], TIMES),
    ]
    torch.testing.assert_close(eps, torch.cat(parts, dim=1))


# ---- the loss -----------------------------------------------------------------------------------


def tilted(x_t, t):
    """Answer as `logits` does, and have another energy."""
    return logits(x_t, t) + torch.sin(2 * x_t).sum(1, keepdim=True)


def test_the_loss_is_the_squared_distance_of_the_scores():
    x_0, _, t, eps, x_t = batch(50)
    x = x_t.clone().requires_grad_()
    (score,) = torch.autograd.grad(tilted(x, t).exp().sum(1).log().sum(), x)
    rest = 1 - SCHEDULE.alpha_bar_at(t)[:, None]
    expected = (rest * (score + eps / rest.sqrt()) ** 2).mean(1)
    got = calibration_loss(tilted, x_t, t, eps, SCHEDULE)
    torch.testing.assert_close(got, expected)
    same = simple_loss(energy_denoiser(tilted, SCHEDULE), x_0, t, eps, SCHEDULE)
    torch.testing.assert_close(got, same)


def test_the_loss_exceeds_that_of_the_true_energy_by_the_error_of_the_score():
    # denoising score matching: against the noise, and yet it measures the distance to the true score
    _, _, t, eps, x_t = batch(100_000)
    with torch.no_grad():
        least = calibration_loss(logits, x_t, t, eps, SCHEDULE)
        more = calibration_loss(tilted, x_t, t, eps, SCHEDULE)
        error = ((energy_denoiser(tilted, SCHEDULE)(x_t, t) - DENOISE(x_t, t)) ** 2).mean(1)
    assert error.mean() > 0.1
    assert (more - least).mean().item() == pytest.approx(error.mean().item(), rel=0.02)


def test_the_answers_do_not_see_the_energy():
    torch.testing.assert_close(
        tilted(POINTS, TIMES).log_softmax(1), logits(POINTS, TIMES).log_softmax(1)
    )
    _, _, t, eps, x_t = batch(50)
    two = [calibration_loss(net, x_t, t, eps, SCHEDULE) for net in (tilted, logits)]
    assert (two[0] - two[1]).abs().mean() > 0.1


def test_the_loss_teaches_the_weights():
    _, _, t, eps, x_t = batch(8)
    weight = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)

    def loss(weight):
        return calibration_loss(lambda x, t: torch.tanh(x @ weight) * 3, x_t, t, eps, SCHEDULE)

    assert torch.autograd.gradcheck(loss, weight)


def test_the_classifier_of_latents_can_be_calibrated():
    torch.manual_seed(0)
    labels = {"colour": ("red", "blue", "green"), "size": ("small", "large")}
    net = Classifier(ClassifierConfig(labels, 8, 4, (8, 16), 1, 4, 8, timesteps=True)).double()
    z_t, eps = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)
    t = torch.tensor([10.0, 500.0, 999.0])

    def loss():
        return calibration_loss(net, z_t, t, eps, SCHEDULE).mean()

    weights = list(net.parameters())
    slope = torch.autograd.grad(loss(), weights)
    assert all(one.abs().max() > 0 for one in slope)
    steepest = sum((one**2).sum() for one in slope)
    h, ends = 1e-3 / steepest.sqrt().item(), []
    with torch.no_grad():
        for step in (h, -2 * h):  # to one side, and to the other
            for weight, one in zip(weights, slope, strict=True):
                weight += step * one
            ends.append(loss())
    torch.testing.assert_close((ends[0] - ends[1]) / (2 * h), steepest, rtol=1e-4, atol=0)


# ---- without labels -----------------------------------------------------------------------------


class Small(nn.Module):
    """Two hidden layers over a point and its noise level."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)
        ).double()

    def forward(self, x_t, t):
        a_bar = SCHEDULE.alpha_bar_at(t)
        return self.layers(torch.cat([x_t, torch.stack([a_bar, a_bar.sqrt()], 1)], dim=1))


@torch.enable_grad()
def trained(weight, labelled=12, steps=200):
    """Teach a network with few labels, and, if the weight is more than 0, with many points that have none."""
    torch.manual_seed(0)
    net = Small()
    by = torch.optim.Adam(net.parameters(), lr=5e-3)
    x_few, y, *_ = batch(labelled, seed=3)
    x_many, *_ = batch(2000, seed=4)
    for step in range(steps):
        drawn = torch.Generator().manual_seed(step)
        pick = torch.randint(0, len(x_many), (128,), generator=drawn)
        x_0 = torch.cat([x_few, x_many[pick]])
        t = torch.randint(0, SCHEDULE.T, (len(x_0),), generator=drawn).double()
        eps = torch.randn(x_0.shape, generator=drawn, dtype=torch.float64)
        x_t = SCHEDULE.q_sample(x_0, t, eps)
        loss = F.cross_entropy(net(x_t[:labelled], t[:labelled]), y)
        if weight > 0:
            loss = loss + weight * calibration_loss(net, x_t, t, eps, SCHEDULE).mean()
        by.zero_grad()
        loss.backward()
        by.step()
    return net.requires_grad_(False)


def test_points_without_a_label_teach_the_classifier_its_own_score():
    _, _, t, _, x_t = batch(4000, seed=5)
    with torch.no_grad():
        plain, calibrated = (
            ((energy_denoiser(trained(weight), SCHEDULE)(x_t, t) - DENOISE(x_t, t)) ** 2).mean()
            for weight in (0.0, 1.0)
        )
    assert calibrated < 0.1 * plain


# ---- what is refused ----------------------------------------------------------------------------


def test_bad_input():
    _, _, t, eps, x_t = batch(6)
    with pytest.raises(
        ValueError, match=r"eps has shape \(5, 2\); it must be that of x_t, \(6, 2\)"
    ):
        calibration_loss(logits, x_t, t, eps[:5], SCHEDULE)
    with pytest.raises(ValueError, match=r"logits of shape \(6,\); they must be \[6, K\]"):
        calibration_loss(lambda x, t: x[:, 0], x_t, t, eps, SCHEDULE)
    with pytest.raises(ValueError, match="no gradient by x_t"):
        calibration_loss(lambda x, t: x.detach(), x_t, t, eps, SCHEDULE)
    for denoise in (None, DENOISE):
        with pytest.raises(ValueError, match="scale is nan"):
            self_calibrated(denoise, logits, 0, math.nan, SCHEDULE)
        with pytest.raises(ValueError, match=r"cannot be called with \(x_t, t\)"):
            self_calibrated(denoise, lambda x: x, 0, 1.0, SCHEDULE)
        with pytest.raises(ValueError, match="the answer to the label is 2"):
            self_calibrated(denoise, logits, 2, 1.0, SCHEDULE)(x_t, t)
