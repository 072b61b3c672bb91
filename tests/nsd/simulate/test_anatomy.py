"""A volume with a folded ribbon of cortex."""

import numpy as np
from scipy import ndimage

from minisd.nsd.simulate.anatomy import FLUID, LEFT, RIGHT, WHITE, grow
from tests.nsd.simulate.tiny import tiny

SHAPE = (24, 24, 20)


def brain(seed=0):
    return grow(SHAPE, tiny(seed=seed).rng("anatomy", 1))


def test_cortex_is_a_layer_about_white_matter():
    anatomy = brain()
    outside = anatomy.tissue <= FLUID
    white = anatomy.tissue == WHITE
    assert white.any()
    # the field of view cuts the brain's front off
    touching = ndimage.binary_dilation(outside, iterations=1) & white
    assert touching.sum() < 0.05 * white.sum()
    assert anatomy.cortex.sum() > white.sum()


def test_it_is_folded():
    anatomy = brain()
    filled = ndimage.binary_closing(np.pad(anatomy.brain, 6), iterations=5)[6:-6, 6:-6, 6:-6]
    assert (filled & ~anatomy.brain).sum() > 0.05 * anatomy.brain.sum()


def test_the_left_hemisphere_is_left():
    anatomy = brain()
    x = np.arange(SHAPE[0])[:, None, None] + np.zeros(SHAPE)
    assert np.all(x[anatomy.hemisphere == LEFT] < SHAPE[0] / 2)
    assert np.all(x[anatomy.hemisphere == RIGHT] >= SHAPE[0] / 2 - 0.5)
    right, front, top, _ = anatomy.affine @ [SHAPE[0] - 1, SHAPE[1] - 1, SHAPE[2] - 1, 1]
    assert min(right, front, top) > 0


def test_angles_point_from_the_pole_and_to_the_sides():
    anatomy = brain()
    x, y, z = np.indices(SHAPE)
    mine = anatomy.cortex & (anatomy.hemisphere == LEFT)
    rho, psi = anatomy.rho[mine], anatomy.psi[mine]
    assert np.corrcoef(rho, y[mine])[0, 1] > 0.9
    dorsal, lateral = np.sin(np.radians(psi)), -np.cos(np.radians(psi))
    assert np.corrcoef(dorsal, z[mine])[0, 1] > 0.8
    assert np.corrcoef(lateral, -x[mine])[0, 1] > 0.8
    assert np.all(np.isnan(anatomy.rho[~anatomy.brain]))


def test_chance_folds_it():
    assert np.array_equal(brain().tissue, brain().tissue)
    assert not np.array_equal(brain(0).tissue, brain(1).tissue)
