"""What a checkpoint's ``scheduler_config.json`` says: the noise schedule, what the U-Net predicts, how to sample.

The defaults of what a file leaves out are those of diffusers, so that one file means one thing in both.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from minisd.diffusion import SAMPLERS, Kind, NoiseSchedule, Spacing

CLASSES = {
    "DDPMScheduler": "ddpm",
    "DDIMScheduler": "ddim",
    "PNDMScheduler": "plms",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_ancestral",
    "HeunDiscreteScheduler": "heun",
    "DPMSolverMultistepScheduler": "dpmpp_2m",
}
"""Samplers by what diffusers calls them."""
KINDS: dict[str, Kind] = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
FIXED = {"clip_sample": False, "thresholding": False, "rescale_betas_zero_snr": False}
"""Settings that every sampler would have to follow, with the one value that minisd knows."""
VARIANTS = {
    "skip_prk_steps": True,
    "variance_type": "fixed_small",
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "solver_type": "midpoint",
    "final_sigmas_type": "zero",
    "interpolation_type": "linear",
    **dict.fromkeys(
        (
            "use_karras_sigmas",
            "use_exponential_sigmas",
            "use_beta_sigmas",
            "use_lu_lambdas",
            "use_flow_sigmas",
        ),
        False,
    ),
}
"""Settings of one sampler, with the value of that sampler which minisd has."""


@dataclass(frozen=True)
class SchedulerSettings:
    """How a checkpoint wants to be sampled.

    Attributes
    ----------
    schedule : NoiseSchedule
    kind : {"eps", "x0", "v"}
        What the U-Net predicts.
    sampler : str
        The one it ships with, a key of `SAMPLERS`.
    spacing : {"leading", "trailing", "linspace"} or None
        Of the times; None is each sampler's own: linspace for euler, euler_ancestral, heun and dpmpp_2m, leading for
        ddpm, ddim and plms.
    offset : int
        Of the leading spacing.
    clean : bool
        Whether ddim and plms end at the clean picture, or at time 0 (``set_alpha_to_one: false``).
    """

    schedule: NoiseSchedule
    kind: Kind
    sampler: str
    spacing: Spacing | None = None
    offset: int = 0
    clean: bool = True

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> SchedulerSettings:
        """Read the settings.

        Raises
        ------
        ValueError
            If one is missing, or is not one that minisd knows.

        Warns
        -----
        UserWarning
            If the sampler itself is not among minisd's: ``"ddim"`` then stands in for it.
        """
        for key, value in FIXED.items():
            if settings.get(key) not in (None, value):
                raise ValueError(f"{key} is {settings[key]!r} in the scheduler; it must be {value}")
        prediction = settings.get("prediction_type") or "epsilon"
        if prediction not in KINDS:
            raise ValueError(
                f"prediction_type is {prediction!r} in the scheduler; "
                f"it must be one of {tuple(KINDS)}"
            )
        spacing = settings.get("timestep_spacing")
        if spacing not in (None, *get_args(Spacing)):
            raise ValueError(
                f"timestep_spacing is {spacing!r} in the scheduler; "
                f"it must be one of {get_args(Spacing)}"
            )
        return cls(
            schedule=_schedule(settings),
            kind=KINDS[prediction],
            sampler=_sampler(settings),
            spacing=spacing,
            offset=settings.get("steps_offset") or 0,
            clean=settings.get("set_alpha_to_one", settings.get("_class_name") != "PNDMScheduler"),
        )

    def spacing_of(self, sampler: str) -> Spacing:
        """Give the spacing of a sampler's times."""
        return self.spacing or ("leading" if sampler in ("ddpm", "ddim", "plms") else "linspace")

    def times(self, steps: int, sampler: str) -> Tensor:
        """Times of a sampler of so many steps, falling, shape [steps], float64."""
        spacing = self.spacing_of(sampler)
        if sampler != "dpmpp_2m" or spacing == "trailing" or steps == self.schedule.T:
            return self.schedule.times(steps, spacing, self.offset)
        # it ships with one step more, whose time is the cleanest, and that one is left out
        times = self.schedule.times(steps + 1, spacing, self.offset)[:-1]
        return times.round()

    def final(self, sampler: str) -> float:
        """Time where a sampler ends: -1 is the clean picture."""
        return -1.0 if self.clean or sampler not in ("ddim", "plms") else 0.0

    def first_sigma(self, times: Tensor, sampler: str) -> float:
        """Standard deviation of the noise that a sampler begins with: 1, or a little less.

        k-diffusion's samplers begin with sigma times noise, in their own scale, where the noised picture's deviation
        would be sqrt(1 + sigma^2). With SD 1.x's 14.6 that is a matter of 0.2 %.
        """
        k_diffusion = sampler in ("euler", "euler_ancestral", "heun")
        if not k_diffusion or self.spacing_of(sampler) == "leading":
            return 1.0
        return float((1 - self.schedule.alpha_bar_at(times[0])).sqrt())


def _schedule(settings: Mapping[str, Any]) -> NoiseSchedule:
    if settings.get("trained_betas") is not None:
        return NoiseSchedule(torch.tensor(settings["trained_betas"], dtype=torch.float64))
    kinds = {"linear": NoiseSchedule.linear, "scaled_linear": NoiseSchedule.scaled_linear}
    kind = settings.get("beta_schedule")
    T = settings.get("num_train_timesteps", 1000)
    if kind == "squaredcos_cap_v2":
        return NoiseSchedule.cosine(T)
    if kind not in kinds:
        raise ValueError(
            f"beta_schedule is {kind!r} in the scheduler; "
            f"it must be one of {(*kinds, 'squaredcos_cap_v2')}"
        )
    missing = [key for key in ("beta_start", "beta_end") if settings.get(key) is None]
    if missing:
        raise ValueError(f"{missing[0]} is missing in the scheduler")
    return kinds[kind](T, settings["beta_start"], settings["beta_end"])


def _sampler(settings: Mapping[str, Any]) -> str:
    name = settings.get("_class_name")
    other = [
        f"{key} = {settings[key]!r}"
        for key, value in VARIANTS.items()
        if settings.get(key) not in (None, value)
    ]
    if name in CLASSES and not other:
        return CLASSES[name]
    told = ", ".join([str(name), *other])
    warnings.warn(
        f"the checkpoint's own sampler ({told}) is not in minisd; 'ddim' stands in for it, and "
        f"sampler= chooses among {tuple(SAMPLERS)}",
        stacklevel=2,
    )
    return "ddim"
