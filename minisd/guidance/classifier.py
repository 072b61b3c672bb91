"""Classifier guidance: uphill towards what a classifier of noisy pictures takes for the answer.

Dhariwal and Nichol 2021 (arXiv 2105.05233, section 4), in the form of their algorithm 2; their algorithm 1 shifts the
mean of DDPM's step by scale Sigma grad log p(y | x_t), which is the same where steps are small.
B batch, K answers to a question.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from minisd.diffusion import Denoiser, NoiseSchedule
from minisd.guidance.gradient import LogDensity, guided_by_gradient

Logits = Tensor | Mapping[str, Tensor]
NoisyClassifier = Callable[[Tensor, Tensor], Logits]
Answers = int | Tensor | Mapping[str, int | Tensor]

NOT_ASKED = -100
"""The answer that does not count, as in PyTorch's cross-entropy."""


def classifier(
    denoise: Denoiser,
    network: NoisyClassifier,
    answers: Answers,
    scale: float,
    schedule: NoiseSchedule,
) -> Denoiser:
    """Steer a denoiser to a class: eps - scale sqrt(1 - alpha_bar_t) grad log p(y | x_t).

    Parameters
    ----------
    denoise : Denoiser
        Unconditional, or conditional on something else.
    network, answers
        See `classifier_log_density`.
    scale : float
        1 is Bayes' rule; more is more faithful and less diverse.
    schedule : NoiseSchedule

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        As `guided_by_gradient` and `classifier_log_density`.
    """
    return guided_by_gradient(denoise, classifier_log_density(network, answers), scale, schedule)


def classifier_log_density(network: NoisyClassifier, answers: Answers) -> LogDensity:
    """Log-probability that a classifier gives to the wanted answers, as a function of x_t and t.

    Parameters
    ----------
    network : callable
        (x_t [B, ...], t [B]) to logits [B, K], or to a mapping of questions to such logits, as
        `minisd.models.classifier.Classifier` returns it. It must have learned to read noisy pictures.
    answers : int or Tensor [B], or a mapping of questions to those
        0-based; one for all pictures, or one each. What is not asked has no say: other questions, and in a Tensor an
        answer of -100. The answers to several questions are taken as independent given x_t, so their logarithms add.

    Returns
    -------
    callable
        (x_t [B, ...], t [B]) to [B], in nats.

    Raises
    ------
    ValueError
        If the network does not take the time, if nothing is asked, if an answer is not whole or negative. At the call,
        if it is K or more, if there is none for each picture, if the classifier is not asked that question.
    """
    _must_take_time(network)
    several = isinstance(answers, Mapping)
    if several and not answers:
        raise ValueError("answers is empty; ask at least one question")
    named = answers if several else {"the label": answers}
    wanted = {name: _whole(name, answer) for name, answer in named.items()}

    def log_density(x_t: Tensor, t: Tensor) -> Tensor:
        said = network(x_t, t)
        if isinstance(said, Mapping) != several:
            kinds = ("one question", "several by name")
            raise ValueError(
                f"answers is for {kinds[several]}; the network answers {kinds[not several]}"
            )
        logits = said if several else {"the label": said}
        unknown = [name for name in wanted if name not in logits]
        if unknown:
            raise ValueError(f"answers has {unknown}; the network answers {sorted(logits)}")
        return sum(_log_likelihood(name, logits[name], wanted[name], len(x_t)) for name in wanted)

    return log_density


def _log_likelihood(name: str, logits: Tensor, answer: Tensor, B: int) -> Tensor:
    if logits.ndim != 2 or len(logits) != B:
        raise ValueError(
            f"the logits of {name} have shape {tuple(logits.shape)}; they must be [{B}, K]"
        )
    K = logits.shape[1]
    if answer.max() >= K:
        raise ValueError(f"the answer to {name} is {int(answer.max())}; it must be 0 to {K - 1}")
    if answer.ndim == 1 and len(answer) != B:
        raise ValueError(f"there are {len(answer)} answers to {name} for {B} pictures")
    each = answer.expand(B).to(logits.device)
    return -F.cross_entropy(logits, each, reduction="none", ignore_index=NOT_ASKED)


def _whole(name: str, answer: int | Tensor) -> Tensor:
    """One answer [] or one a picture [B], int64 on the CPU, where looking at it keeps no device waiting."""
    whole = torch.as_tensor(answer, device="cpu")
    if whole.is_floating_point() or whole.is_complex() or whole.dtype == torch.bool:
        raise ValueError(f"the answer to {name} is {answer}; it must be whole")
    if whole.ndim > 1 or whole.numel() == 0:
        raise ValueError(
            f"the answers to {name} have shape {tuple(whole.shape)}; they must be one, or [B]"
        )
    whole = whole.long()
    if ((whole < 0) & (whole != NOT_ASKED)).any() or (whole.ndim == 0 and whole < 0):
        raise ValueError(f"the answer to {name} is {int(whole.min())}; it must be 0 or more")
    return whole


def _must_take_time(network: NoisyClassifier) -> None:
    # a module's own __call__ takes everything: its forward tells
    try:
        inspect.signature(getattr(network, "forward", network)).bind(None, None)
    except TypeError as error:
        raise ValueError(
            f"network cannot be called with (x_t, t): {error}; a classifier of noisy pictures takes the time"
        ) from None
