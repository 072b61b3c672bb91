"""What voxels answer to in a scene, and what goes with it unnamed."""

import numpy as np
import pytest

from minisd.nsd.simulate import ventral
from minisd.scenes import SceneFactors, Thing, scene_factors

KEYS = ventral.factor_names()


@pytest.fixture(scope="module")
def described():
    rng = np.random.default_rng(0)
    named = ventral.named([scene_factors(i, 5) for i in range(900)])
    pictures = rng.integers(0, 256, (900, 16, 16, 3)).astype(np.uint8)
    return named, ventral.unnamed(pictures, named, rng)


def tuned(count=300, subject=1, patches=None):
    rho, psi = np.random.default_rng(3).uniform([[0], [-180]], [[100], [180]], (2, count))
    place = ventral.place_on_sphere(rho, psi)
    own = np.random.default_rng(subject)
    return ventral.tuning(place, patches or {}, np.random.default_rng(0), own)


def test_factors_of_a_scene():
    things = (
        Thing("dog", "red", "small", "left", "sunglasses"),
        Thing("bus", "blue", "large", "right"),
    )
    (row,) = ventral.named([SceneFactors("beach", things, "left of")])
    found = {key: value for key, value in zip(KEYS, row.tolist(), strict=True) if value}
    assert found == {
        **{("kind", name): 0.75 for name in ("animal", "pet")},
        ("kind", "vehicle"): 1,
        **{("category", "dog"): 0.75, ("category", "bus"): 1, ("background", "beach"): 1},
        **{("colour", "red"): 0.75, ("colour", "blue"): 1},
        **{("place", "left"): 0.75, ("place", "right"): 1, ("size", "large"): 1},
        **{("accessory", "sunglasses"): 0.75, ("count", "two"): 1, ("count", "left of"): 1},
    }


def test_no_factor_tells_the_unnamed(described):
    named, unnamed = described
    both = np.corrcoef(named.T, unnamed.T)[: len(KEYS), len(KEYS) :]
    assert np.abs(both).max() < 1e-4
    assert np.allclose(np.cov(unnamed.T), np.cov(named.T), atol=1e-4)


def test_the_unnamed_has_half_of_the_reliable_variance(described):
    named, unnamed = described
    signal = ventral.responses(named, unnamed, tuned())
    assert signal.std(axis=0) == pytest.approx(1, abs=1e-3)
    told = np.concatenate([named, np.ones((len(named), 1))], axis=1)
    left = signal - told @ np.linalg.lstsq(told, signal, rcond=None)[0]
    assert left.var(axis=0) == pytest.approx(0.5, abs=0.01)


def test_few_pictures_leave_nothing_unnamed():
    named = ventral.named([scene_factors(i, 5) for i in range(8)])
    pictures = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    unnamed = ventral.unnamed(pictures, named, np.random.default_rng(0))
    assert np.abs(unnamed).max() < 1e-3


def test_tuning_is_alike_in_all_subjects_and_not_the_same():
    one, other = tuned(subject=1), tuned(subject=2)
    assert 0.3 < np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.7


def test_patches_prefer_what_they_are_for(described):
    named, unnamed = described
    inside = np.arange(300) < 40
    signal = ventral.responses(named, unnamed, tuned(patches={"floc-places": inside}))
    room = named[:, KEYS.index(("background", "room"))] == 1
    difference = signal[room].mean(axis=0) - signal[~room].mean(axis=0)
    assert difference[inside].mean() > 0.5
    assert abs(difference[~inside].mean()) < 0.2


def test_pictures_of_another_width_are_refused():
    with pytest.raises(ValueError, match="pictures are 12 wide"):
        ventral.unnamed(
            np.zeros((2, 12, 12, 3), np.uint8), np.zeros((2, 4)), np.random.default_rng(0)
        )
