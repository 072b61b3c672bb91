"""A scheduler's settings mean here what they mean in diffusers."""

import warnings

import diffusers
import numpy as np
import pytest
import torch

from minisd.checkpoints.scheduler import CLASSES, SchedulerSettings
from tests.tiny_diffusion import SCHEDULER

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SPACINGS = [None, "leading", "trailing", "linspace"]


def settings_of(name="PNDMScheduler", **changes):
    return SCHEDULER | {"_class_name": name} | changes


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_times_and_first_noise_are_those_of_diffusers(name, spacing):
    changes = {} if spacing is None else {"timestep_spacing": spacing}
    ours = SchedulerSettings.from_json(settings_of(name, **changes))
    sampler = CLASSES[name]
    assert ours.sampler == sampler
    theirs = getattr(diffusers, name).from_config(settings_of(name, **changes))
    theirs.set_timesteps(10)
    expected = theirs.timesteps.double()
    if sampler == "plms":  # looks twice at its second time
        expected = torch.cat([expected[:1], expected[2:]])
    elif sampler == "heun":  # and twice at all but the first
        expected = torch.cat([expected[:1], expected[1::2]])
    times = ours.times(10, sampler)
    # we stride by T / N, rounded down each time; diffusers by the rounded-down stride: 91 here against 90.9
    near = 10 if (sampler, spacing) == ("dpmpp_2m", "leading") else 1e-4
    if sampler in ("ddim", "ddpm", "plms") and spacing == "linspace":
        near = 0.5  # diffusers rounds these times to whole ones
    assert (times - expected).abs().max() <= near
    x_T = ours.first_sigma(times, sampler)
    sigma = getattr(theirs, "sigmas", [None])[0]
    variance_preserving = sampler in ("plms", "ddpm", "ddim", "dpmpp_2m")
    scale = 1 if variance_preserving else float(1 + sigma**2) ** 0.5
    assert x_T == pytest.approx(float(theirs.init_noise_sigma) / scale, rel=1e-5)


@pytest.mark.parametrize("steps", [1, 10, 333, 999, 1000])
def test_a_solver_of_second_order_has_its_times_at_any_number(steps):
    ours = SchedulerSettings.from_json(settings_of())
    times = ours.times(steps, "dpmpp_2m")
    assert len(times) == steps
    assert (times.diff() < 0).all()
    assert times[0] == 999


@pytest.mark.parametrize(
    ("name", "changes", "final"),
    [
        ("PNDMScheduler", {}, 0),
        ("PNDMScheduler", {"set_alpha_to_one": True}, -1),
        ("DDIMScheduler", {}, 0),
    ],
)
def test_where_the_walk_ends(name, changes, final):
    ours = SchedulerSettings.from_json(settings_of(name, **changes))
    assert ours.final("ddim") == ours.final("plms") == final
    for sampler in ("ddpm", "euler", "euler_ancestral", "heun", "dpmpp_2m"):
        assert ours.final(sampler) == -1


@pytest.mark.parametrize(("name", "final"), [("PNDMScheduler", 0), ("DDIMScheduler", -1)])
def test_where_it_ends_by_default(name, final):
    settings = settings_of(name)
    del settings["set_alpha_to_one"]
    assert SchedulerSettings.from_json(settings).final("ddim") == final


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2", "trained"])
def test_the_schedule_is_that_of_diffusers(kind):
    changes = {"beta_schedule": kind, "num_train_timesteps": 50}
    if kind == "trained":
        changes["trained_betas"] = np.linspace(0.01, 0.3, 50).tolist()
    theirs = diffusers.DDIMScheduler.from_config(settings_of("DDIMScheduler", **changes))
    ours = SchedulerSettings.from_json(settings_of("DDIMScheduler", **changes)).schedule
    assert torch.allclose(ours.alpha_bar, theirs.alphas_cumprod.double(), rtol=1e-5)


@pytest.mark.parametrize(
    ("said", "kind"), [("epsilon", "eps"), ("v_prediction", "v"), ("sample", "x0"), (None, "eps")]
)
def test_what_the_unet_predicts(said, kind):
    assert SchedulerSettings.from_json(settings_of(prediction_type=said)).kind == kind


@pytest.mark.parametrize(
    "changes",
    [
        {"_class_name": "UniPCMultistepScheduler"},
        {"_class_name": None},
        {"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True},
        {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"},
        {"skip_prk_steps": False},
    ],
)
def test_a_sampler_that_we_lack_is_told(changes):
    with pytest.warns(UserWarning, match=r"is not in minisd; 'ddim' stands in for it"):
        assert SchedulerSettings.from_json(settings_of(**changes)).sampler == "ddim"


def test_stable_diffusions_own_settings_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = SchedulerSettings.from_json(SCHEDULER)
    assert (ours.sampler, ours.kind, ours.offset) == ("plms", "eps", 1)
    assert ours.times(10, "plms").tolist() == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"beta_schedule": "sigmoid"}, "beta_schedule is 'sigmoid'"),
        ({"beta_schedule": None}, "beta_schedule is None"),
        ({"beta_end": None}, "beta_end is missing"),
        ({"prediction_type": "flow"}, "prediction_type is 'flow'"),
        ({"timestep_spacing": "karras"}, "timestep_spacing is 'karras'"),
        ({"clip_sample": True}, "clip_sample is True in the scheduler; it must be False"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr is True"),
    ],
)
def test_settings_that_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        SchedulerSettings.from_json(settings_of(**changes))
