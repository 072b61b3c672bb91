"""Every method of steering draws what it says, and refuses what it must."""

from pathlib import Path

import pytest
import torch

from minisd.diffusion import ImageNoise
from minisd.guidance import classifier_log_density
from minisd.metrics import answers
from minisd.scenes import caption, scene
from minisd.steering import METHODS, Networks, draw

MINIATURE = Path(__file__).parents[1] / "data_samples" / "miniature"
SCENES = [scene(i, 3, two=0.0).factors for i in range(2)]
CLIMBERS = ("classifier", "clip_noisy", "clip_clean", "self_calibrated")
SEEDS = [3, 4]


@pytest.fixture(scope="module")
def networks():
    return Networks(MINIATURE)


def test_classifier_free_is_text_to_image(networks):
    found = draw(networks, "classifier_free", SCENES, 4.0, SEEDS, steps=4)
    texts = [caption(one) for one in SCENES]
    wanted = networks.sd.text_to_image(
        texts, seed=SEEDS, guidance_scale=4.0, steps=4, progress=False, output="tensor"
    )
    torch.testing.assert_close(found.clamp(-1, 1), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", CLIMBERS)
def test_a_climber_at_scale_0_is_unguided(networks, method):
    free = draw(networks, "unguided", SCENES, 1.0, SEEDS, steps=3)
    torch.testing.assert_close(
        draw(networks, method, SCENES, 0.0, SEEDS, steps=3), free, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_does_not_depend_on_those_beside_it(networks, method):
    both = draw(networks, method, SCENES, 2.0, SEEDS, steps=3)
    alone = draw(networks, method, SCENES[1:], 2.0, SEEDS[1:], steps=3)
    torch.testing.assert_close(both[1:], alone, atol=1e-3, rtol=0)
    assert (both[0] - both[1]).abs().max() > 0.1


def test_the_classifier_is_pleased_by_what_it_guided(networks):
    log_probability = classifier_log_density(networks.classifier, answers(SCENES))
    z = ImageNoise(SEEDS).draw((4, 16, 16), torch.device("cpu"))
    denoise = METHODS["classifier"].guide(networks, SCENES, 1.0, SEEDS)
    free = networks.without_text(2)
    t = torch.full((2,), 300)
    uphill = free(z, t) - denoise(z, t)
    step = 0.01 * uphill / uphill.flatten(1).norm(dim=1)[:, None, None, None]
    with torch.no_grad():
        up, here, down = (log_probability(x, t) for x in (z + step, z, z - step))
    assert (up > here).all()
    assert (here > down).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "magic"}, "method is 'magic'; it must be one of"),
        ({"seeds": [1]}, "scenes and seeds are 2 and 1"),
        ({"scenes": [], "seeds": []}, "at least one"),
        ({"scale": float("nan")}, "scale is nan"),
    ],
)
def test_bad_input_is_named(networks, change, message):
    given = {"method": "classifier", "scenes": SCENES, "scale": 1.0, "seeds": SEEDS} | change
    with pytest.raises(ValueError, match=message):
        draw(networks, **given)
