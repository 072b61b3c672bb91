"""Every background is painted to the edges, and no two paintings are equal."""

import numpy as np
import pytest

from minisd.scenes import BACKGROUNDS
from minisd.scenes.backgrounds import HORIZON, PAINTERS, Canvas


def painted(name: str, seed: int) -> np.ndarray:
    canvas = Canvas(128)
    PAINTERS[name](canvas, np.random.default_rng(seed))
    return np.asarray(canvas.image, float)


def test_the_table_is_the_vocabulary():
    assert set(PAINTERS) == set(BACKGROUNDS)


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_no_spot_is_left_bare(name):
    assert painted(name, 0).max(-1).min() > 0


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_two_paintings_differ_but_share_their_colours(name):
    one, two = painted(name, 0), painted(name, 1)
    assert (np.abs(one - two).max(-1) > 10).mean() > 0.02
    assert np.abs(one.mean((0, 1)) - two.mean((0, 1))).max() < 12


def test_backgrounds_can_be_told_apart_by_their_grounds():
    grounds = [
        painted(name, 0)[round((HORIZON + 0.25) * 128) :].mean((0, 1)) for name in BACKGROUNDS
    ]
    for i, one in enumerate(grounds):
        for two in grounds[:i]:
            assert np.abs(one - two).max() > 20
