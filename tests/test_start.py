"""Where a walk begins: what is encoded, what is drawn and in which order, and what is held on to."""

import numpy as np
import pytest
import torch

from minisd.diffusion import ImageNoise, NoiseSchedule
from minisd.start import Start

SCHEDULE = NoiseSchedule.scaled_linear()
PHOTO = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
MASK = np.zeros((16, 24), bool)
MASK[8:, 8:] = True
LIKE = torch.empty(1, 4, 2, 3)


def moments(x):
    """In place of an autoencoder: means of blocks, and a deviation of a half."""
    mean = torch.nn.functional.avg_pool2d(x, 8)
    mean = torch.cat([mean, mean[:, :1]], dim=1)
    return torch.stack([mean, torch.full_like(mean, 0.5)], dim=1)


def start(strength=0.5, masks=None, for_inpainting=False):
    return Start.from_images(PHOTO, masks, strength, None, None, 8).encode(moments, for_inpainting)


def draws(count):
    """What a generator of seed 3 draws, one after the other."""
    noise = ImageNoise([3])
    return [noise(LIKE) for _ in range(count)]


def begin(started, sigma=1.0):
    noise = ImageNoise([3])
    return started.begin(noise, LIKE, SCHEDULE, 500.0, sigma), noise


def test_nothing_is_noise_alone():
    eps, after = draws(2)
    begun, noise = begin(Start((16, 24)), sigma=0.9)
    assert torch.equal(begun.x_T, 0.9 * eps)
    assert torch.equal(noise(LIKE), after)


def test_a_picture_is_sampled_then_noised():
    first, eps, after = draws(3)
    begun, noise = begin(start())
    mean = moments(start().images)[:, 0]
    x_T = SCHEDULE.q_sample(mean + 0.5 * first, 500.0, eps)
    assert torch.allclose(begun.x_T, x_T)
    assert torch.equal(noise(LIKE), after)


def test_given_latents_are_not_sampled():
    z = torch.randn(1, 4, 2, 3)
    eps, after = draws(2)
    begun, noise = begin(Start((16, 24), 0.5, latents=z).encode(moments, False))
    assert torch.allclose(begun.x_T, SCHEDULE.q_sample(z, 500.0, eps))
    assert torch.equal(noise(LIKE), after)


@pytest.mark.parametrize(
    ("strength", "masks", "for_inpainting", "encoded"),
    [
        (0.5, None, False, (True, False)),
        (1.0, None, False, (False, False)),
        (0.5, MASK, False, (True, False)),
        (1.0, MASK, False, (True, False)),
        (0.5, MASK, True, (True, True)),
        (1.0, MASK, True, (False, True)),
    ],
)
def test_only_what_is_needed_is_encoded(strength, masks, for_inpainting, encoded):
    started = start(strength, masks, for_inpainting)
    assert (started.moments is not None, started.masked is not None) == encoded


def test_a_unet_for_inpainting_is_shown_the_mask_and_what_is_kept():
    begun, _ = begin(start(1.0, MASK, True))
    assert begun.repaint is None
    assert begun.beside.shape == (1, 5, 2, 3)
    small = torch.tensor([[0.0, 0, 0], [0, 1, 1]])
    assert torch.equal(begun.beside[0, 0], small)
    _, second = draws(2)
    shown = begun.beside[:, 1:] - 0.5 * second
    assert torch.allclose(shown[0, :, small == 1], torch.zeros(4, 2), atol=1e-6)  # grey
    assert torch.allclose(shown[0, :, small == 0], moments(start().images)[0, 0][:, small == 0])


def test_what_is_kept_is_set_back_after_each_step():
    started = start(0.5, MASK)
    begun, noise = begin(started)
    first, eps, _, after = draws(4)
    assert torch.equal(noise(LIKE), after)
    x_0 = moments(started.images)[:, 0] + 0.5 * first
    kept = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
    seen = []
    z = begun.walk(
        lambda x, t: torch.zeros_like(x), SCHEDULE, seen.append,
        sampler="ddim", times=[500.0, 300.0, 100.0], final=0.0,
    )  # fmt: skip
    for step in seen:
        last = step.index == 2
        known = x_0 if last else SCHEDULE.q_sample(x_0, step.t_next, eps)
        assert torch.allclose(step.x_t[..., kept], known[..., kept])
        assert not torch.allclose(step.x_t[..., ~kept], known[..., ~kept])
    assert torch.equal(z, seen[-1].x_t)


def test_pixels_that_are_kept_are_those_of_the_picture():
    started = start(0.5, MASK)
    x = started.paste(torch.full((1, 3, 16, 24), 7.0))
    assert (x[..., torch.from_numpy(MASK)] == 1).all()
    assert torch.equal(
        x[..., ~torch.from_numpy(MASK)], started.images[..., ~torch.from_numpy(MASK)]
    )


def test_pictures_of_several_sizes_need_one_told():
    with pytest.raises(ValueError, match="pictures of 24x16 and 24x8; give height and width"):
        Start.from_images([PHOTO, PHOTO[:8]], None, 0.5, None, None, 8)
    assert len(Start.from_images([PHOTO, PHOTO[:8]], None, 0.5, 16, 16, 8)) == 2
