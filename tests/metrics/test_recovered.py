"""What is told of a scene is what was drawn."""

import numpy as np
import pytest
import torch

from minisd.metrics import Scorer
from minisd.metrics.recovered import recovered
from minisd.scenes import SceneFactors, Thing, draw
from tests.decoding.conftest import SAMPLES


@pytest.fixture(scope="module")
def scorer():
    return Scorer.from_pretrained(SAMPLES / "miniature" / "scorer")


def drawn(*scenes):
    rng = np.random.default_rng(0)
    images = np.stack([draw(one, rng).image for one in scenes])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def one(background="grass field", **thing):
    return SceneFactors(background, (Thing(**{**DOG, **thing}),))


DOG = {"category": "dog", "colour": "red", "size": "large", "place": "left"}


def test_each_factor_is_told_apart(scorer):
    seen = drawn(*[one()] * 5)
    made = drawn(
        one(category="horse"),
        one(colour="blue"),
        one(size="small"),
        one(place="right"),
        one("snow"),
    )
    found = recovered(scorer, made, seen)
    told = np.stack([found[k] for k in ("object", "colour", "size", "place", "background")])
    np.testing.assert_array_equal(told, 1 - np.eye(5))


def test_of_two_things_only_the_background_is_told(scorer):
    both = SceneFactors("snow", (Thing(**DOG), Thing("cat", "blue", "small", "right")), "left of")
    found = recovered(scorer, drawn(both), drawn(both))
    assert found.pop("background").tolist() == [1]
    assert all(np.isnan(values).all() for values in found.values())


def test_as_many_are_needed(scorer):
    with pytest.raises(ValueError, match="made has 1 pictures and seen 2"):
        recovered(scorer, drawn(one()), drawn(one(), one()))
