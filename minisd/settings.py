"""What is asked of the pipeline, checked before anything runs."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from minisd.diffusion import SAMPLERS, NoiseSchedule, Step, sample_steps

Prompt = str | Sequence[str] | Tensor
Output = Literal["pil", "tensor", "latent"]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Settings:
    """What text to image, image to image and inpainting have in common.

    Attributes
    ----------
    negative_prompt : str, sequence of str, or Tensor [B, M, D]
        What guidance leads away from: one for all, or one for each prompt.
    steps : int
        Steps of the sampler, 1 to the schedule's T.
    guidance_scale : float
        1 is no guidance, and takes half the time.
    seed : int or sequence of int
        A seed for each picture; one number s stands for s, s + 1, and so on. A seed makes the same noise whatever the
        batch and the device: that of diffusers with a CPU generator of this seed for each picture, in float32.
    sampler : str, optional
        A key of `SAMPLERS`; the checkpoint's own, unless given.
    images_per_prompt : int
        The pictures of one prompt follow each other.
    batch_size : int
        How many pictures go through the networks at once, at most; the pictures are the same.
    callback : callable, optional
        Called with each `Step` of each batch; what it assigns to ``step.x_t`` is gone on with.
    progress : bool
        Show a bar once two seconds have gone by.
    output : {"pil", "tensor", "latent"}
        PIL images; a tensor [B, 3, H, W] in [-1, 1]; or scaled latents [B, 4, h, w], which inpainting does not paste.
    options : mapping
        The sampler's own.

    Raises
    ------
    ValueError
        For a value that is not as above.
    """

    negative_prompt: Prompt = ""
    steps: int = 50
    guidance_scale: float = 8.0
    seed: int | Sequence[int] = 0
    sampler: str | None = None
    images_per_prompt: int = 1
    batch_size: int = 4
    callback: Callable[[Step], None] | None = None
    progress: bool = True
    output: Output = "pil"
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, keywords: Mapping[str, Any]) -> Settings:
        """Take the attributes by name; what is none is an option of the sampler."""
        names = {f.name for f in fields(cls)} - {"options"}
        known = {k: v for k, v in keywords.items() if k in names}
        return cls(**known, options={k: v for k, v in keywords.items() if k not in names})

    def __post_init__(self) -> None:
        for name in ("steps", "images_per_prompt", "batch_size"):
            _whole(name, getattr(self, name), 1)
        if not _number(self.guidance_scale) or not math.isfinite(self.guidance_scale):
            raise ValueError(
                f"guidance_scale is {self.guidance_scale!r}; it must be a finite number"
            )
        if self.sampler is not None and self.sampler not in SAMPLERS:
            raise ValueError(f"sampler is {self.sampler!r}; it must be one of {tuple(SAMPLERS)}")
        if self.callback is not None and not callable(self.callback):
            raise ValueError(f"callback is {self.callback!r}; it must be a function")
        if self.output not in get_args(Output):
            raise ValueError(f"output is {self.output!r}; it must be one of {get_args(Output)}")

    def seeds(self, count: int) -> list[int]:
        """Give a seed for each of ``count`` pictures."""
        if isinstance(self.seed, Sequence) and not isinstance(self.seed, str):
            seeds = [_whole("seed", seed, 0) for seed in self.seed]
        else:
            seeds = [_whole("seed", self.seed, 0) + i for i in range(count)]
        if len(seeds) != count:
            raise ValueError(f"seed has {len(seeds)} numbers to {count} pictures")
        if max(seeds) >= 2**63:
            raise ValueError(f"seed is {max(seeds)}; it must be under 2^63")
        return seeds

    def rehearse(self, sampler: str, schedule: NoiseSchedule, times: Tensor) -> None:
        """Take a first step with nothing in place of the U-Net, to see that the options are those of the sampler."""
        x = torch.zeros(1, 1)
        nothing = torch.zeros_like
        try:
            next(
                sample_steps(
                    lambda x_t, t: nothing(x_t), x, schedule, sampler=sampler, times=times,
                    noise=nothing, **self.options,
                )
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            names = tuple(f.name for f in fields(self) if f.name != "options")
            raise ValueError(f"{error}; what every sampler takes: {names}") from None


def steps_walked(steps: int, strength: float) -> int:
    """How many of the steps image to image walks: their product with the strength, rounded down.

    Raises
    ------
    ValueError
        If the strength is not above 0 and 1 at most, or no step is left.
    """
    if not _number(strength) or not 0 < strength <= 1:
        raise ValueError(f"strength is {strength!r}; it must be above 0, and 1 at most")
    walked = math.floor(steps * strength + 1e-6)  # 100 * 0.29 is 28.999...96
    if walked < 1:
        raise ValueError(
            f"strength {strength} of {steps} steps is less than one step; "
            f"take a strength of {1 / steps:.2g} or more, or more steps"
        )
    return walked


def check_prompt(name: str, prompt: Prompt, width: int) -> list[str] | Tensor:
    """Refuse what is no text, list of texts or embedding [B, M, width]; one text becomes a list."""
    if isinstance(prompt, Tensor):
        if prompt.ndim != 3 or prompt.shape[2] != width or 0 in prompt.shape:
            raise ValueError(
                f"{name} has shape {tuple(prompt.shape)}; embeddings must be [B, M, {width}]"
            )
        if not prompt.isfinite().all():
            raise ValueError(f"{name} has embeddings that are NaN or infinite")
        return prompt
    if isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, Sequence):
        raise ValueError(
            f"{name} is a {type(prompt).__name__}; it must be a string, a list of strings, "
            f"or embeddings [B, M, {width}]"
        )
    if not prompt:
        raise ValueError(f"{name} is an empty list; give at least one text")
    for i, text in enumerate(prompt):
        if not isinstance(text, str):
            raise ValueError(f"{name}[{i}] is a {type(text).__name__}; it must be a string")
    return list(prompt)


def check_device(device: str | torch.device | None) -> torch.device:
    """Refuse a device that is not here; None is the fastest that is."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    here = {"cuda": cuda, "mps": mps, "cpu": True}
    if device is None:
        return torch.device(next(name for name in here if here[name]))
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in here:
        raise ValueError(f"device is {str(device)!r}; it must be one of {tuple(here)}")
    if not here[found.type]:
        raise ValueError(f"device is {str(device)!r}; PyTorch finds none on this machine")
    if cuda and found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {str(device)!r}; this machine has {torch.cuda.device_count()} of them"
        )
    return found


def check_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """Refuse a number format that the networks do not run in."""
    found = DTYPES.get(dtype, dtype) if isinstance(dtype, str) else dtype
    if found not in DTYPES.values():
        raise ValueError(f"dtype is {dtype!r}; it must be one of {tuple(DTYPES)}")
    return found


def _number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _whole(name: str, value: object, low: int) -> int:
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool) or whole < low:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {low}")
    return whole
