"""The loss of the U-Net, against the formulas written out."""

import math

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import nn

from minisd.diffusion import ImageNoise
from minisd.pipeline import StableDiffusion
from minisd.training.cache import encode
from minisd.training.diffusion import DiffusionLoss, DiffusionTask
from tests.training.tiny_configs import make


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    yield StableDiffusion.from_pretrained(make(tmp_path_factory.mktemp("made")))
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


class Recorder(nn.Module):
    """Predicts nothing but remembers what it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, x_t, t, context):
        self.asked.append((x_t, t, context))
        return torch.zeros_like(x_t)


def task_of(sd, **loss):
    return DiffusionTask(sd, [0], DiffusionLoss(**loss), ["a dog"])


def batch_of(rows, captions=5):
    torch.manual_seed(0)
    mean, std = torch.randn(rows, 4, 16, 16), torch.rand(rows, 4, 16, 16)
    return torch.stack([mean, std], dim=1).half(), torch.randn(rows, captions, 40, 32).half()


@torch.no_grad()
def test_it_is_the_weighted_error_of_the_formula(sd):
    task, (latents, texts) = task_of(sd, p_uncond=0.4, gamma=5.0), batch_of(16)
    found = task((latents, texts), ImageNoise(range(16)))
    noise = ImageNoise(range(16))
    draws = noise.uniform((3,))
    t = (draws[:, 0] * 1000).floor().long()
    z = latents[:, 0].float() + latents[:, 1].float() * noise.draw((4, 16, 16))
    eps = noise.draw((4, 16, 16))
    alpha_bar = sd.scheduler.schedule.alpha_bar[t].float()[:, None, None, None]
    x_t = alpha_bar.sqrt() * z + (1 - alpha_bar).sqrt() * eps
    null = sd.encode_text("")
    text = torch.stack(
        [
            null[0] if d < 0.4 else c[int(k * 5)]
            for d, k, c in zip(draws[:, 1], draws[:, 2], texts.float(), strict=True)
        ]
    )
    error = ((sd.unet(x_t, t, text) - eps) ** 2).mean(dim=(1, 2, 3))
    snr = (alpha_bar / (1 - alpha_bar)).flatten()
    torch.testing.assert_close(found["mse"], error.mean())
    torch.testing.assert_close(found["loss"], (error * snr.clamp(max=5) / snr).mean())
    assert 0 < int((draws[:, 1] < 0.4).sum()) < 16


def test_without_gamma_all_times_count_the_same(sd):
    found = task_of(sd, gamma=math.inf)(batch_of(4), ImageNoise(range(4)))
    torch.testing.assert_close(found["loss"], found["mse"])


def test_times_and_captions_are_spread_and_the_text_is_dropped_at_its_rate(sd):
    task = task_of(sd, p_uncond=0.25)
    task.network = recorder = Recorder()
    rows = 800
    texts = torch.arange(5.0)[None, :, None, None].expand(rows, 5, 40, 32).half()
    task((batch_of(1)[0].expand(rows, -1, -1, -1, -1), texts), ImageNoise(range(rows)))
    ((_, t, context),) = recorder.asked
    null = (context == sd.encode_text("")).all(dim=(1, 2))
    assert abs(float(null.float().mean()) - 0.25) < 4 * (0.25 * 0.75 / rows) ** 0.5
    counts = torch.bincount(context[~null][:, 0, 0].long(), minlength=5)
    assert counts.min() > 0.7 * counts.max()
    assert 0 <= int(t.min()) < 15
    assert 985 < int(t.max()) < 1000
    assert abs(float(t.mean()) - 499.5) < 4 * 289 / rows**0.5


def test_only_the_unet_learns(sd):
    task = task_of(sd)
    task(batch_of(2), ImageNoise(range(2)))["loss"].backward()
    assert all(p.grad is not None for p in task.network.parameters())
    others = [*sd.vae.parameters(), *sd.text_encoder.parameters()]
    assert all(p.grad is None for p in others)


@pytest.mark.parametrize(("name", "value"), [("p_uncond", 1.0), ("p_uncond", -0.1), ("gamma", 0.0)])
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        DiffusionLoss(**{name: value})


def pictures(count=70):
    torch.manual_seed(1)
    made = torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8)
    return [(x, (f"a dog {i}", "a cat")) for i, x in enumerate(made)]


@torch.no_grad()
def test_what_is_cached_is_what_the_pipeline_computes(sd, tmp_path):
    data = encode(pictures(), sd, tmp_path, {"data": 1})
    assert len(data) == 70  # more than one batch
    latent, texts = data[67]
    picture, captions = pictures()[67]
    x = picture[None].float() / 127.5 - 1
    torch.testing.assert_close(latent[:1].float(), sd.encode_image(x), rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(texts.float(), sd.encode_text(captions), rtol=2e-3, atol=2e-3)
    std = sd.encode_image(x, torch.ones(1, 4, 16, 16)) - sd.encode_image(x)
    torch.testing.assert_close(latent[1:].float(), std, rtol=2e-3, atol=2e-3)


def test_the_cache_is_made_anew_when_something_differs(sd, tmp_path):
    def stamp():
        return (tmp_path / "latents.npy").stat().st_mtime_ns

    few = pictures(3)
    encode(few, sd, tmp_path, {"data": 1})
    first = stamp()
    encode(few, sd, tmp_path, {"data": 1})
    assert stamp() == first
    encode(few, sd, tmp_path, {"data": 2})
    second = stamp()
    assert second != first
    (tmp_path / "identity.json").unlink()  # as an interruption leaves it
    encode(few, sd, tmp_path, {"data": 2})
    assert stamp() != second
    third, weight = stamp(), sd.vae.quant_conv.bias
    with torch.no_grad():
        weight += 1
        encode(few, sd, tmp_path, {"data": 2})
        weight -= 1
    assert stamp() != third
