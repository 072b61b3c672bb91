"""Self-calibrated classifier guidance: a classifier that also knows how likely the picture is.

Huang et al. 2023 (arXiv 2307.04081) hold that a classifier with few labels overfits, since nothing ties it to how the
pictures are distributed. They read it as an energy-based model, as Grathwohl et al. 2020 do (arXiv 1912.03263):
exp(logit of y) is p(x_t, y) up to a constant, so the energy is E(x_t) = -logsumexp(logits), and -grad E is a score of
p(x_t) that the classifier has inside. Denoising score matching calibrates that score, and needs no label, so that
pictures without one teach too. The loss is cross-entropy + weight * `calibration_loss`. What is calibrated is the sum
over the answers; how much of that reaches grad log p(y | x_t), which steers, is to be measured.
B batch, K answers to a question.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from minisd.diffusion import Denoiser, NoiseSchedule
from minisd.guidance.classifier import Answers, NoisyClassifier, classifier
from minisd.guidance.gradient import LogDensity, gradient_of


def self_calibrated(
    denoise: Denoiser | None,
    network: NoisyClassifier,
    answers: Answers,
    scale: float,
    schedule: NoiseSchedule,
) -> Denoiser:
    """Guide by a calibrated classifier: classifier guidance, by a network that was trained in another way.

    Parameters
    ----------
    denoise : Denoiser or None
        The unconditional model, as in the paper. Without one, the classifier's own score takes its place
        (`energy_denoiser`).
    network, answers, scale, schedule
        As for `minisd.guidance.classifier`; a network trained with `calibration_loss`.

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        As `minisd.guidance.classifier`.
    """
    if denoise is None:
        denoise = energy_denoiser(network, schedule)
    return classifier(denoise, network, answers, scale, schedule)


def energy_log_density(network: NoisyClassifier) -> LogDensity:
    """Log p(x_t) that the classifier has inside, -E(x_t) = logsumexp(logits), in nats, up to a constant, [B].

    With several questions exp(a logit of each, summed) is p(x_t, all answers); the sum of that over all answers is the
    product of the sums, and so the energies add.
    """

    def log_density(x_t: Tensor, t: Tensor) -> Tensor:
        said = network(x_t, t)
        questions = list(said.values()) if isinstance(said, Mapping) else [said]
        for logits in questions:
            if logits.ndim != 2 or len(logits) != len(x_t):
                raise ValueError(
                    f"network returned logits of shape {tuple(logits.shape)}; they must be [{len(x_t)}, K]"
                )
        return torch.stack([logits.logsumexp(dim=1) for logits in questions]).sum(dim=0)

    return log_density


def energy_denoiser(network: NoisyClassifier, schedule: NoiseSchedule) -> Denoiser:
    """The classifier as an unconditional model: eps = sqrt(1 - alpha_bar_t) grad E(x_t)."""
    log_density = energy_log_density(network)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return schedule.convert(gradient_of(log_density, x_t, t), x_t, t, "score", "eps")

    return denoise


def calibration_loss(
    network: NoisyClassifier, x_t: Tensor, t: Tensor, eps: Tensor, schedule: NoiseSchedule
) -> Tensor:
    """Denoising score matching of the classifier's own score; it needs no labels.

    The score of q(x_t | x_0) is -eps / sqrt(1 - alpha_bar_t). The squared distance to it is weighted by 1 - alpha_bar_t
    and averaged over the picture, as in `minisd.diffusion.simple_loss`: this is that loss of `energy_denoiser`.

    Parameters
    ----------
    network : callable
        (x_t [B, ...], t [B]) to logits [B, K], or to a mapping of questions to such logits; differentiable by x_t, and
        then by its weights.
    x_t, eps : Tensor, shape [B, ...]
        Noisy pictures, and the noise in them: x_t is ``schedule.q_sample(x_0, t, eps)``.
    t : Tensor, shape [B]
    schedule : NoiseSchedule

    Returns
    -------
    Tensor, shape [B]
        Add its mean, times a weight, to the cross-entropy of the pictures that have a label.

    Raises
    ------
    ValueError
        If ``eps`` is not shaped like ``x_t``, the logits are not [B, K], or have no gradient by x_t.
    """
    if eps.shape != x_t.shape:
        raise ValueError(
            f"eps has shape {tuple(eps.shape)}; it must be that of x_t, {tuple(x_t.shape)}"
        )
    own = energy_denoiser(network, schedule)(x_t, t)
    return ((own - eps) ** 2).flatten(1).mean(dim=1)
