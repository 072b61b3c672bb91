"""Receptive fields on Gabor energy."""

import numpy as np
import pytest

from minisd.nsd.simulate.anatomy import LEFT, RIGHT
from minisd.nsd.simulate.early import (
    ENERGIES,
    EXTENT,
    FEATURES,
    FREQUENCIES,
    ORIENTATIONS,
    ReceptiveFields,
    features,
    receptive_fields,
    responses,
)


def fields(rho, psi, side, part="V1", seed=0):
    count = len(rho)
    return receptive_fields(
        np.array(rho, np.float32),
        np.array(psi, np.float32),
        np.full(count, side, np.uint8),
        np.full(count, part),
        np.random.default_rng(seed),
    )


def grating(cycles, turn):
    """A grating that varies in the direction of the turn, counter-clockwise from the right."""
    y, x = -np.mgrid[:64, :64] / 64
    wave = np.cos(2 * np.pi * cycles * (-x * np.cos(turn) + y * np.sin(turn)))
    return np.repeat((127.5 + 100 * wave)[None, :, :, None], 3, axis=3).astype(np.uint8)


def test_each_hemisphere_sees_the_other_side_and_upside_down():
    rho = np.full(40, 40.0)
    for side, sign in ((LEFT, 1), (RIGHT, -1)):
        dorsal, ventral = fields(rho, [17] * 40, side), fields(rho, [-17] * 40, side)
        assert np.all(sign * dorsal.x > 0)
        assert np.all(dorsal.y < 0)
        assert np.all(ventral.y > 0)


def test_fields_lie_farther_out_and_grow_away_from_the_pole():
    near, far = (fields(np.full(200, rho), [0] * 200, LEFT) for rho in (10, 60))
    eccentricity = [np.median(np.hypot(one.x, one.y)) for one in (near, far)]
    assert eccentricity[0] < 0.6
    assert eccentricity[1] > 3.5
    assert np.median(far.size) > 1.5 * np.median(near.size)
    assert np.median(fields([10] * 200, [0] * 200, LEFT, "V3").size) > np.median(near.size)


def test_a_profile_lies_where_its_field_is():
    one = np.array([2.0], np.float32)
    field = ReceptiveFields(one, one, one / 4, np.zeros((1, FEATURES), np.float32))
    row, column = np.unravel_index(field.profiles()[:, 0].argmax(), (32, 32))
    assert column == pytest.approx((2 / EXTENT + 0.5) * 32, abs=1)
    assert row == pytest.approx((0.5 - 2 / EXTENT) * 32, abs=1)
    assert field.profiles().sum() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("turn", range(ORIENTATIONS))
@pytest.mark.parametrize("frequency", range(len(FREQUENCIES)))
def test_energy_tells_frequency_and_orientation(frequency, turn):
    picture = grating(FREQUENCIES[frequency], turn * np.pi / ORIENTATIONS)
    energy = features(picture)[0, :ENERGIES, 8:-8, 8:-8].mean(axis=(1, 2))
    assert energy.argmax() == frequency * ORIENTATIONS + turn


def test_energy_does_not_tell_the_phase_and_the_surface_tells_colour():
    light = grating(8, 0)
    energies = features(light)[0, :ENERGIES, 8:-8, 8:-8].mean(axis=(1, 2))
    turned = features(255 - light)[0, :ENERGIES, 8:-8, 8:-8].mean(axis=(1, 2))
    assert np.allclose(energies, turned, atol=0.02)
    red = np.zeros((1, 64, 64, 3), np.uint8)
    red[..., 0] = 255
    brightness, redness, blueness = features(red)[0, ENERGIES:].mean(axis=(1, 2))
    assert redness > 1
    assert blueness < 0
    assert brightness < 0


def test_a_voxel_answers_to_what_is_in_its_field_alone():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (60, 64, 64, 3)).astype(np.uint8)
    one //= rng.integers(1, 9, (60, 1, 1, 1)).astype(np.uint8)
    other = one[rng.permutation(60)]
    other[:, :32, :32] = one[:, :32, :32]  # upper left
    where = np.array([-2.4, 2.4], np.float32)
    field = ReceptiveFields(where, -where, np.full(2, 0.3, np.float32), np.ones((2, FEATURES)))
    answers = responses(one, field), responses(other, field)
    for answer in answers:
        assert answer.mean(axis=0) == pytest.approx([0, 0], abs=1e-4)
        assert answer.std(axis=0) == pytest.approx([1, 1], abs=1e-4)
    upper_left, lower_right = (answers[0] * answers[1]).mean(axis=0)
    assert upper_left > 0.98
    assert abs(lower_right) < 0.4


def test_a_voxel_that_sees_nothing_answers_nothing():
    pictures = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3)).astype(np.uint8)
    far = np.array([20.0], np.float32)
    field = ReceptiveFields(far, far, far / 40, np.ones((1, FEATURES)))
    assert not responses(pictures, field).any()


def test_pictures_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"pictures have the shape \(1, 60, 60, 3\)"):
        features(np.zeros((1, 60, 60, 3), np.uint8))
