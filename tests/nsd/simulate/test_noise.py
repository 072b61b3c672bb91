"""Noise: as much as is told, and as correlated."""

import numpy as np
import pytest

from minisd.nsd import Trials, ncsnr
from minisd.nsd.simulate import Level, NoiseSettings
from minisd.nsd.simulate.noise import along_share, betas, draw_voxels

VOXELS, PICTURES = 120, 1000
LEVELS = {"V1": Level(0.6, 2.0, 3.0), "cortex": Level(0.0, 0.0, 1.5)}
PART = np.array(["V1"] * 100 + ["cortex"] * 20)
QUIET = NoiseSettings(session_gain=0)


def subject(seed=0, levels=LEVELS, quality=1.0):
    """Voxels, and their signal: 10 dimensions."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((PICTURES, 10)) @ rng.standard_normal((10, 100))
    signal = ((signal - signal.mean(0)) / signal.std(0)).astype(np.float32)
    position = rng.uniform(0, 20, (VOXELS, 3)).astype(np.float32)
    reach = (PART == "V1").astype(np.float32)
    return draw_voxels(levels, PART, position, signal, reach, quality, rng), signal


def sessions(voxels, signal, settings=NoiseSettings()):  # noqa: B008
    """Each picture three times, in three sessions."""
    return np.concatenate(
        [betas(voxels, signal, settings, np.random.default_rng(10 + k)) for k in range(3)]
    )


def test_levels_set_the_middle():
    voxels, _ = subject()
    assert np.median(voxels.ncsnr[:100]) == pytest.approx(0.6, rel=0.2)
    assert not voxels.ncsnr[100:].any()
    assert voxels.mean[:100].mean() == pytest.approx(2.0, abs=0.4)
    assert np.median(voxels.deviation[100:]) == pytest.approx(1.5, rel=0.2)
    worse, _ = subject(quality=0.5)
    assert np.allclose(worse.ncsnr, voxels.ncsnr / 2)


def test_the_datasets_own_procedure_finds_the_ncsnr_that_was_put_in():
    voxels, signal = subject()
    found = sessions(voxels, signal)
    ids = np.tile(np.arange(PICTURES), 3)
    session = np.repeat([1, 2, 3], PICTURES)
    trials = Trials(session, session, ids, ids, session - 1, ids < 0)
    estimate = ncsnr(found, trials)
    true = voxels.ncsnr
    assert np.median(np.abs(estimate - true)[:100]) < 0.04
    slope, _ = np.polyfit(true[:100], estimate[:100], 1)
    assert slope == pytest.approx(1, abs=0.1)


def test_betas_have_the_mean_and_the_deviation_that_were_put_in():
    voxels, signal = subject()
    found = sessions(voxels, signal, QUIET)
    within = found.reshape(3, PICTURES, VOXELS).std(axis=1).mean(axis=0)
    assert np.median(within / voxels.deviation) == pytest.approx(1, abs=0.05)
    assert np.abs(found.mean(axis=0) - voxels.mean).mean() < 0.15 * voxels.deviation.mean()


def test_voxels_share_noise_as_is_told():
    voxels, _ = subject()
    settings = NoiseSettings(along=1.0, regional=0.2, drift=0.1, session_gain=0)
    no_signal = np.zeros((6000, 100), np.float32)
    found = betas(voxels, no_signal, settings, np.random.default_rng(0))
    along = np.zeros((300, VOXELS))
    along[:, :100] = voxels.along
    along *= np.sqrt(along_share(voxels.ncsnr, settings))
    regional, slow = np.sqrt(0.2) * voxels.regional, np.sqrt(0.1) * voxels.slow
    expected = sum(one.T @ one for one in (along, regional))
    np.fill_diagonal(expected, 1 - (slow**2).sum(axis=0))
    # of few slow courses, chance correlates some: only what is common to all trials alike is looked at
    fast = np.diff(found, axis=0) / (voxels.deviation / np.sqrt(1 + voxels.ncsnr**2)) / np.sqrt(2)
    assert np.abs(np.cov(fast.T) - expected).mean() < 0.02
    assert np.corrcoef(np.cov(fast.T).ravel(), expected.ravel())[0, 1] > 0.98


def test_noise_along_the_signal_looks_like_signal():
    voxels, signal = subject()
    only = NoiseSettings(along=1.0, regional=0, drift=0, session_gain=0)
    found = betas(voxels, np.zeros((4000, 100), np.float32), only, np.random.default_rng(0))
    noise = np.corrcoef(found[:, :100].T)
    of_signal = np.corrcoef(signal.T)
    upper = np.triu_indices(100, 1)
    assert np.corrcoef(noise[upper], of_signal[upper])[0, 1] > 0.8
    alone = NoiseSettings(along=0, regional=0, drift=0, session_gain=0)
    found = betas(voxels, np.zeros((4000, 100), np.float32), alone, np.random.default_rng(0))
    # but that good trials and bad are common to all
    assert np.abs(np.corrcoef(found[:, :100].T)[upper]).mean() < 0.02


def test_noise_along_the_signal_is_in_proportion_to_it_and_leaves_some_of_its_own():
    share = along_share(np.array([0, 0.2, 0.4, 2.0]), NoiseSettings(1.5, 0.1, 0.05))
    assert share == pytest.approx([0, 0.06, 0.24, 0.75])
    assert along_share(np.array([1.0]), NoiseSettings(1.5, 0.5, 0.5)) == pytest.approx([0])


def test_tails_are_heavy():
    voxels, _ = subject()
    settings = NoiseSettings(along=0, regional=0, drift=0, tails=8, session_gain=0)
    found = betas(voxels, np.zeros((8000, 100), np.float32), settings, np.random.default_rng(0))
    z = (found - found.mean(axis=0)) / found.std(axis=0)
    assert (z**4).mean() - 3 == pytest.approx(1.5, abs=0.4)  # 6 / (8 - 4)


def test_sessions_differ_in_their_gain():
    voxels, signal = subject()
    apart = sessions(voxels, signal, NoiseSettings(session_gain=0.5)).reshape(3, PICTURES, VOXELS)
    alike = sessions(voxels, signal, QUIET).reshape(3, PICTURES, VOXELS)
    spread = [np.log(one.std(axis=1)).std(axis=0).mean() for one in (apart, alike)]
    assert spread[0] > 3 * spread[1]
