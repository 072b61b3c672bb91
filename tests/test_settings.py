"""What is asked of the pipeline is as the report has it by default, and is refused in words."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minisd.diffusion import NoiseSchedule
from minisd.settings import Settings, check_device, check_dtype, check_prompt, steps_walked


def test_the_defaults_are_the_reports():
    settings = Settings()
    assert (settings.steps, settings.guidance_scale) == (50, 8.0)
    assert settings.sampler is None


def test_what_is_no_attribute_is_an_option_of_the_sampler():
    settings = Settings.read({"steps": 3, "eta": 0.5})
    assert settings.steps == 3
    assert settings.options == {"eta": 0.5}


def test_options_are_tried_on_the_sampler():
    schedule = NoiseSchedule.linear(10)
    times = schedule.times(3)
    Settings.read({"eta": 0.5}).rehearse("ddim", schedule, times)
    Settings.read({"variance": "beta"}).rehearse("ddpm", schedule, times)
    for options, sampler in (({"eta": 0.5}, "plms"), ({"eta": "x"}, "ddim"), ({"eta": -1}, "ddim")):
        with pytest.raises(ValueError, match="what every sampler takes"):
            Settings.read(options).rehearse(sampler, schedule, times)


@given(st.integers(1, 1000), st.integers(1, 100))
def test_steps_times_strength_is_exact(steps, percent):
    exact = Fraction(steps * percent, 100)
    if exact < 1:
        with pytest.raises(ValueError, match="less than one step"):
            steps_walked(steps, percent / 100)
    else:
        assert steps_walked(steps, percent / 100) == int(exact)


@pytest.mark.parametrize("strength", [0, -0.1, 1.01, float("nan"), "0.7", None, True])
def test_strength_lies_above_0_and_1_at_most(strength):
    with pytest.raises(ValueError, match="strength is"):
        steps_walked(50, strength)


def test_one_seed_stands_for_those_that_follow_it():
    assert Settings(seed=5).seeds(3) == [5, 6, 7]
    assert Settings(seed=range(2, 4)).seeds(2) == [2, 3]
    for seed in ([1], [], [1, -1], 2**63 - 1, "5", 1.0, True, None):
        with pytest.raises(ValueError, match="seed"):
            Settings(seed=seed).seeds(2)


def test_prompts():
    assert check_prompt("prompt", "cat", 8) == ["cat"]
    assert check_prompt("prompt", ("cat", ""), 8) == ["cat", ""]
    embeddings = torch.zeros(2, 5, 8)
    assert check_prompt("prompt", embeddings, 8) is embeddings
    for wrong in (b"cat", {"cat"}, [], torch.zeros(5, 8), torch.zeros(0, 5, 8)):
        with pytest.raises(ValueError, match="negative_prompt"):
            check_prompt("negative_prompt", wrong, 8)


def test_devices_and_dtypes():
    assert check_device("cpu") == torch.device("cpu")
    assert check_device(None).type in ("cpu", "cuda", "mps")
    assert check_dtype("float16") == check_dtype(torch.float16) == torch.float16
    for dtype in ("half", torch.int8, None, 16):
        with pytest.raises(ValueError, match="dtype is"):
            check_dtype(dtype)
    for device in ("tpu", "cpu:x", 7.5, "cuda:99"):
        with pytest.raises(ValueError, match="device is"):
            check_device(device)
