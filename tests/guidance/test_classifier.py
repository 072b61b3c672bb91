import math
from itertools import pairwise

import pytest
import torch

from minisd.diffusion import SAMPLERS, ImageNoise, sample
from minisd.guidance import classifier, classifier_log_density, guided_by_gradient
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


def network(x_t, t):
    """Answer two questions."""
    return {"class": logits(x_t, t), "side": torch.stack([x_t[:, 0], x_t[:, 1], 0 * t], dim=1)}


# ---- against Bayes' rule ------------------------------------------------------------------------


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("scale", [0.0, 1.0, 4.0])
def test_the_guided_score_is_the_analytic_one(label, scale):
    eps = classifier(DENOISE, logits, label, scale, SCHEDULE)(POINTS, TIMES)
    a_bar = SCHEDULE.alpha_bar_at(TIMES)
    score, conditional = DATA.score(POINTS, a_bar), CONDITIONAL[label].score(POINTS, a_bar)
    got = SCHEDULE.convert(eps, POINTS, TIMES, "eps", "score")
    torch.testing.assert_close(got, score + scale * (conditional - score), rtol=1e-5, atol=1e-5)


def test_samples_at_scale_1_follow_the_true_conditional_and_faults_are_seen():
    n = 3000
    drawn = torch.Generator().manual_seed(0)
    expected, _ = CONDITIONAL[1].sample(n, drawn, dtype=torch.float64)
    x_T = torch.randn(n, 2, generator=drawn, dtype=torch.float64)

    def no_root(x_t, t):
        root = (1 - SCHEDULE.alpha_bar_at(t)).sqrt()
        return classifier_log_density(logits, 1)(x_t, t) / root

    ways = {
        "right": classifier(DENOISE, logits, 1, 1.0, SCHEDULE),
        "unguided": DENOISE,
        "wrong sign": classifier(DENOISE, logits, 1, -1.0, SCHEDULE),
        "no sqrt(1 - alpha_bar)": guided_by_gradient(DENOISE, no_root, 1.0, SCHEDULE),
        "the other class": classifier(DENOISE, logits, 0, 1.0, SCHEDULE),
        "the probability, not its logarithm": guided_by_gradient(
            DENOISE, lambda x, t: logits(x, t).softmax(1)[:, 1], 1.0, SCHEDULE
        ),
    }
    with torch.no_grad():
        p = {
            name: smallest_p(sample(way, x_T, SCHEDULE, 40, "dpmpp_2m"), expected)
            for name, way in ways.items()
        }
    assert p.pop("right") > 0.05
    assert all(value < 1e-4 for value in p.values()), p


def ddpm_by_algorithm_1(label, scale, steps, x, noise):
    """DDPM whose mean is shifted by scale Sigma grad log p(y | x_t), as in Dhariwal and Nichol."""
    grid = [*SCHEDULE.times(steps).tolist(), -1.0]
    for t, s in pairwise(grid):
        times = torch.full((len(x),), t, dtype=torch.float64)
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            told = logits(x, times).log_softmax(1)[:, label].sum()
        (uphill,) = torch.autograd.grad(told, x)
        x_0 = SCHEDULE.convert(DENOISE(x, times), x, t, "eps", "x0")
        mean, variance = SCHEDULE.posterior(x_0, x, t, s)
        x = mean + variance * (scale * uphill)
        if s >= 0:
            x = x + variance.sqrt() * noise(x)
    return x.detach()


def test_the_two_forms_of_the_paper_agree_as_steps_grow():
    n, apart = 64, []
    for steps in (20, 80, 320):
        noise = ImageNoise(range(n))
        x_T = noise.draw((2,), dtype=torch.float64)
        mean_form = ddpm_by_algorithm_1(1, 2.0, steps, x_T, noise)
        noise = ImageNoise(range(n))
        x_T = noise.draw((2,), dtype=torch.float64)
        with torch.no_grad():
            denoise = classifier(DENOISE, logits, 1, 2.0, SCHEDULE)
            eps_form = sample(denoise, x_T, SCHEDULE, steps, "ddpm", noise=noise)
        apart.append((mean_form - eps_form).abs().mean().item())
    assert apart[1] < apart[0] / 3
    assert apart[2] < apart[1] / 3
    assert apart[2] < 0.01


# ---- questions and answers ----------------------------------------------------------------------


def test_several_questions_add_up():
    both = classifier_log_density(network, {"class": 1, "side": 2})(POINTS, TIMES)
    said = network(POINTS, TIMES)
    expected = said["class"].log_softmax(1)[:, 1] + said["side"].log_softmax(1)[:, 2]
    torch.testing.assert_close(both, expected)


def test_each_picture_may_have_an_answer_of_its_own_or_none():
    said = network(POINTS, TIMES)["side"].log_softmax(1)
    label = torch.tensor([0, 2, -100, 1, 1, -100])
    got = classifier_log_density(network, {"side": label})(POINTS, TIMES)
    none = torch.zeros((), dtype=torch.float64)
    expected = torch.stack([said[0, 0], said[1, 2], none, said[3, 1], said[4, 1], none])
    torch.testing.assert_close(got, expected)
    eps = classifier(DENOISE, network, {"side": label}, 5.0, SCHEDULE)(POINTS, TIMES)
    moved = (eps - DENOISE(POINTS, TIMES)).abs().sum(1) > 0
    assert moved.tolist() == [True, True, False, True, True, False]


@pytest.mark.parametrize("label", [1, torch.tensor(1), torch.ones(6, dtype=torch.int32)])
def test_one_label_for_all_in_any_form(label):
    expected = logits(POINTS, TIMES).log_softmax(1)[:, 1]
    torch.testing.assert_close(classifier_log_density(logits, label)(POINTS, TIMES), expected)


def test_it_can_be_differentiated():
    guided = classifier(DENOISE, network, {"class": 1, "side": 0}, 2.0, SCHEDULE)
    assert torch.autograd.gradcheck(
        lambda x: guided(x, TIMES), POINTS.clone().requires_grad_(), atol=1e-4
    )


# ---- with the network of minisd.models ----------------------------------------------------------


def small(timesteps=True):
    labels = {"colour": ("red", "blue", "green"), "size": ("small", "large")}
    config = ClassifierConfig(labels, 8, 4, (8, 16), 1, 4, 8, timesteps)
    return Classifier(config).eval().requires_grad_(False)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_classifier_of_latents_steers_every_sampler_towards_its_answers(sampler):
    torch.manual_seed(0)
    reads = small()
    noise = ImageNoise([0, 1])
    z_T = noise.draw((4, 8, 8))
    wanted = {"colour": torch.tensor([2, 0]), "size": 1}
    told = classifier_log_density(reads, wanted)
    ends = []
    for scale in (0.0, 20.0):
        denoise = classifier(lambda z, t: z / 2, reads, wanted, scale, SCHEDULE)
        with torch.no_grad():
            z = sample(denoise, z_T, SCHEDULE, 8, sampler, noise=ImageNoise([2, 3]))
            ends.append(told(z, torch.zeros(2)))
    assert (ends[1] > ends[0] + 0.1).all()


def test_a_classifier_that_takes_no_time_is_refused():
    z = torch.randn(2, 4, 8, 8)
    guided = classifier(lambda z, t: z, small(timesteps=False), {"size": 1}, 1.0, SCHEDULE)
    with pytest.raises(ValueError, match="this classifier takes none"):
        guided(z, torch.zeros(2))
    for timeless in (lambda x: x, torch.nn.Linear(2, 2), 3):
        with pytest.raises(ValueError, match=r"network cannot be called with \(x_t, t\)"):
            classifier(DENOISE, timeless, 1, 1.0, SCHEDULE)


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (-1, "is -1; it must be 0 or more"),
        (-100, "is -100; it must be 0 or more"),
        (torch.tensor([0, -2, 1]), "is -2; it must be 0 or more"),
        (1.0, "is 1.0; it must be whole"),
        (True, "is True; it must be whole"),
        (torch.tensor([0.5]), "must be whole"),
        (torch.zeros(2, 2, dtype=torch.long), r"shape \(2, 2\); they must be one, or \[B\]"),
        (torch.zeros(0, dtype=torch.long), r"shape \(0,\)"),
    ],
)
def test_an_answer_that_is_none_is_refused_at_once(answer, message):
    with pytest.raises(ValueError, match=f"to the label .*{message}"):
        classifier(DENOISE, logits, answer, 1.0, SCHEDULE)
    with pytest.raises(ValueError, match=f"to class .*{message}"):
        classifier(DENOISE, network, {"class": answer}, 1.0, SCHEDULE)


@pytest.mark.parametrize(
    ("reads", "answers", "message"),
    [
        (logits, 2, "the answer to the label is 2; it must be 0 to 1"),
        (network, {"side": torch.tensor([0, 1, 2, 3, 0, 0])}, "to side is 3; it must be 0 to 2"),
        (logits, torch.zeros(5, dtype=torch.long), "5 answers to the label for 6 pictures"),
        (network, {"class": torch.zeros(1, dtype=torch.long)}, "1 answers to class for 6"),
        (network, {"colour": 0}, r"\['colour'\]; the network answers \['class', 'side'\]"),
        (network, 0, "for one question; the network answers several by name"),
        (logits, {"class": 0}, "for several by name; the network answers one question"),
        (lambda x, t: logits(x, t)[:, 0], 0, r"have shape \(6,\); they must be \[6, K\]"),
        (lambda x, t: logits(x, t)[:4], 0, r"have shape \(4, 2\); they must be \[6, K\]"),
    ],
)
def test_answers_that_do_not_fit_the_network_are_refused_at_a_step(reads, answers, message):
    with pytest.raises(ValueError, match=message):
        classifier(DENOISE, reads, answers, 1.0, SCHEDULE)(POINTS, TIMES)


def test_nothing_asked_and_a_scale_that_is_no_number_are_refused():
    with pytest.raises(ValueError, match="answers is empty"):
        classifier(DENOISE, network, {}, 1.0, SCHEDULE)
    with pytest.raises(ValueError, match="scale is nan"):
        classifier(DENOISE, network, {"class": 1}, math.nan, SCHEDULE)
