"""CLIP guidance: towards pictures whose embedding agrees with that of the text.

GLIDE (Nichol et al. 2022, arXiv 2112.10741, section 2.4) puts CLIP in the classifier's place: the mean of a step moves
by s Sigma grad (f(x_t) . g(c)), with f the embedding of the picture and g that of the text. The product may be
negative, so it has no logarithm: it stands where the classifier has log p(y | x_t). Here it steers eps, as in
`minisd.guidance.gradient`. f sees either x_t, and must have been trained on noisy pictures, or the clean picture that
the denoiser predicts, as the forward guidance of Bansal et al. 2023 (arXiv 2302.07121) has it.
B batch, D channels of the shared space.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Literal

from torch import Tensor

from minisd.diffusion import Denoiser, NoiseSchedule
from minisd.guidance.gradient import gradient_of, guided_by_gradient


def clip(
    denoise: Denoiser,
    encode_image: Callable[..., Tensor],
    text_embedding: Tensor,
    scale: float,
    schedule: NoiseSchedule,
    on: Literal["noisy", "clean"] = "noisy",
) -> Denoiser:
    """Steer a denoiser by CLIP: eps - scale sqrt(1 - alpha_bar_t) grad (f . g).

    Parameters
    ----------
    denoise : Denoiser
        Called once a step.
    encode_image : callable
        f. On "noisy", (x_t [B, ...], t [B]) to [B, D]; on "clean", x_0 [B, ...] to [B, D]. In latent space it decodes
        first. Nothing is normalized here: embeddings of length 1 make f . g a cosine, and exp(logit_scale) times that
        is what CLIP was trained with, log p(c | x) but for a constant, so that scale 1 is Bayes' rule.
    text_embedding : Tensor, shape [D] or [B, D]
        g, one for all pictures or one for each.
    scale : float
        0 is ``denoise`` itself, and then ``encode_image`` is not called.
    schedule : NoiseSchedule
    on : {"noisy", "clean"}
        What f sees. On "clean" the gradient goes through the denoiser, which costs about two more of its calls, and
        treats the prediction as if it were certain: only for some f is scale 1 then still Bayes' rule, such as a linear
        one on Gaussian data.

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        For an unknown ``on``, a scale that is not finite, an ``encode_image`` that does not take the time where it is
        told it or takes it where it is not, and a text embedding of another shape. At a step, for embeddings that do
        not fit each other, and as `guided_by_gradient`; on "clean" where alpha_bar is 0.
    """
    if on not in ("noisy", "clean"):
        raise ValueError(f"on is {on!r}; it must be 'noisy' or 'clean'")
    if not math.isfinite(scale):
        raise ValueError(f"scale is {scale}; it must be a finite number")
    if text_embedding.ndim not in (1, 2):
        raise ValueError(
            f"text_embedding has shape {tuple(text_embedding.shape)}; it must be [D] or [B, D]"
        )
    if not _takes(encode_image, 2 if on == "noisy" else 1):
        wanted = "x_t and t" if on == "noisy" else "the clean picture alone"
        raise ValueError(f"encode_image is {encode_image}; on {on!r} it must take {wanted}")

    def agreement(features: Tensor) -> Tensor:
        if text_embedding.shape not in (features.shape, features.shape[1:]) or features.ndim != 2:
            raise ValueError(
                f"encode_image returned shape {tuple(features.shape)}; it must be [B, D], with the D of "
                f"text_embedding, {tuple(text_embedding.shape)}"
            )
        return (features * text_embedding.to(features)).sum(1)

    if on == "noisy":
        return guided_by_gradient(
            denoise, lambda x_t, t: agreement(encode_image(x_t, t)), scale, schedule
        )
    if scale == 0:
        return denoise

    def guided(x_t: Tensor, t: Tensor) -> Tensor:
        predicted: list[Tensor] = []  # the same prediction is differentiated and steered

        def log_density(x_t: Tensor, t: Tensor) -> Tensor:
            predicted.append(denoise(x_t, t))
            return agreement(encode_image(schedule.convert(predicted[0], x_t, t, "eps", "x0")))

        uphill = gradient_of(log_density, x_t, t)
        return predicted[0] + scale * schedule.convert(uphill, x_t, t, "score", "eps")

    return guided


def _takes(function: Callable[..., Tensor], count: int) -> bool:
    """Whether a function or a network can be called with so many tensors; True where it does not tell."""
    try:
        signature = inspect.signature(getattr(function, "forward", function))
    except (TypeError, ValueError):  # functions written in C may have none
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
