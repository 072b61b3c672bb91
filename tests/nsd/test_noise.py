"""The ncsnr and the noise ceiling, against NSD's procedure written out and against signals that are known."""

import numpy as np
import pytest

import minisd.nsd.noise
from minisd.nsd import Root, Trials, ncsnr, noise_ceiling, read_ncsnr
from tests.nsd import tiny_nsd


def make_trials(pictures, sessions, repeats=3, seed=0):
    ids = np.random.default_rng(seed).permutation(np.repeat(np.arange(pictures) * 7, repeats))
    session = 1 + np.arange(ids.size) * sessions // ids.size
    ones = np.ones_like(ids)
    return Trials(session, ones, ones, ids, 0 * ones, ids < 0)


def by_hand(betas, trials, repeats=3):
    """The procedure, loop by loop, with what is NaN left out of the mean over pictures."""
    z = np.empty(betas.shape)
    for session in set(trials.session):
        part = betas[trials.session == session]
        z[trials.session == session] = (part - part.mean(0)) / part.std(0, ddof=1)
    found = []
    for voxel in z.T:
        variances = []
        for picture in sorted(set(trials.nsd_id)):
            values = voxel[trials.nsd_id == picture]
            if len(values) == repeats and not np.isnan(values).any():
                variances.append(np.var(values, ddof=1))
        v = np.sqrt(np.mean(variances)) if variances else np.nan
        found.append(np.sqrt(max(1 - v**2, 0)) / v)
    return np.array(found)


@pytest.mark.parametrize("block", [1, 300, 2**21])
def test_it_is_nsds_procedure(block, monkeypatch):
    monkeypatch.setattr(minisd.nsd.noise, "BLOCK", block)
    rng = np.random.default_rng(0)
    trials = make_trials(40, 4)
    trials = trials[np.arange(len(trials)) != 5]  # one picture is left with two
    signal = rng.normal(size=(300, 7))[trials.nsd_id]
    betas = (signal * np.linspace(0, 2, 7) + rng.normal(size=signal.shape)).astype(np.float32)
    betas[trials.session == 2] *= 3
    betas[trials.session == 3] += 5
    expected = by_hand(betas.astype(np.float64), trials)
    assert np.allclose(ncsnr(betas, trials), expected, atol=1e-6)
    assert expected[-1] > 1 > expected[0]


def test_a_known_ratio_is_recovered():
    rng = np.random.default_rng(1)
    trials = make_trials(1500, 6)
    true = np.linspace(0.1, 1.2, 40)
    signal = rng.normal(size=(1500, 40))[trials.nsd_id // 7]
    found = ncsnr(signal * true + rng.normal(size=signal.shape), trials)
    assert np.median(np.abs(found - true)) < 0.03
    assert abs(np.polyfit(true, found, 1)[0] - 1) < 0.05


def test_units_and_sessions_do_not_matter():
    rng = np.random.default_rng(2)
    trials = make_trials(30, 3)
    betas = rng.normal(size=(90, 4)) + rng.normal(size=(30, 4))[trials.nsd_id // 7]
    gain = rng.uniform(1, 9, (4, 4))[trials.session]
    offset = rng.normal(size=(4, 4))[trials.session]
    assert np.allclose(ncsnr(betas, trials), ncsnr(betas * gain + offset, trials), rtol=1e-5)


def test_pure_noise_has_no_signal_and_no_negative_one():
    trials = make_trials(2, 1)
    # repeats that differ more than the pictures do
    betas = np.where(np.arange(6)[:, None] % 2, 1.0, -1.0)
    order = np.argsort(trials.nsd_id, kind="stable")
    placed = np.empty_like(betas)
    placed[order] = betas
    assert ncsnr(placed, trials).tolist() == [0]


def test_a_session_without_numbers_is_left_out_for_its_voxel():
    rng = np.random.default_rng(3)
    trials = make_trials(40, 5)
    betas = rng.normal(size=(120, 3)) + rng.normal(size=(40, 3))[trials.nsd_id // 7]
    whole = ncsnr(betas, trials)
    betas[trials.session == 2, 1] = 0  # as NSD stores a voxel that was cut off in a session
    betas[:, 2] = np.nan
    found = ncsnr(betas, trials)
    with np.errstate(invalid="ignore"):
        expected = by_hand(betas, trials)
    assert found[0] == whole[0]
    assert found[1] == pytest.approx(expected[1], rel=1e-6)
    assert found[1] != pytest.approx(whole[1], rel=1e-3)
    assert np.isnan(found[2])


def test_other_numbers_of_repeats():
    rng = np.random.default_rng(4)
    trials = make_trials(30, 2, repeats=2)
    betas = rng.normal(size=(60, 3)) + rng.normal(size=(30, 3))[trials.nsd_id // 7]
    assert np.allclose(ncsnr(betas, trials, repeats=2), by_hand(betas, trials, 2), rtol=1e-6)
    with pytest.raises(
        ValueError, match="no picture is 3 times in these 60 trials, but at most 2 times; take more"
    ):
        ncsnr(betas, trials)
    with pytest.raises(ValueError, match="repeats is 1"):
        ncsnr(betas, trials, repeats=1)
    with pytest.raises(ValueError, match=r"betas have the shape \(59, 3\); .* of 60 trials"):
        ncsnr(betas[1:], trials)


def test_the_ceiling_is_the_formula():
    assert noise_ceiling([0, 1, 2], 1) == pytest.approx([0, 50, 80])
    assert noise_ceiling(1.0, 3) == pytest.approx(75)
    # A pictures of one trial, B of two, C of three: 1/n is (A + B/2 + C/3) / (A + B + C)
    mixed = noise_ceiling([0.7], [1] * 2 + [2] * 3 + [3] * 5)
    assert mixed == pytest.approx(100 * 0.49 / (0.49 + (2 + 3 / 2 + 5 / 3) / 10))
    assert np.isnan(noise_ceiling([np.nan], 3)).all()
    for bad in (0, [3, 0], []):
        with pytest.raises(ValueError, match="every mean must be of 1 trial or more"):
            noise_ceiling([1.0], bad)


def test_the_ceiling_is_what_the_true_signal_explains():
    rng = np.random.default_rng(5)
    counts = rng.integers(1, 4, 200_000)
    signal = 0.8 * rng.normal(size=counts.size)
    mean = signal + rng.normal(size=counts.size) / np.sqrt(counts)
    explained = 100 * np.corrcoef(signal, mean)[0, 1] ** 2
    assert explained == pytest.approx(noise_ceiling([0.8], counts)[0], abs=0.5)


def test_nsds_own_map_is_read(tmp_path):
    root = Root(tmp_path)
    values = np.random.default_rng(0).random(tiny_nsd.SHAPE).astype(np.float32)
    values[0] = np.nan
    tiny_nsd.save_nifti(root.statistic(1, "ncsnr", "betas_fithrf"), values, np.float32)
    mask = np.random.default_rng(1).random(tiny_nsd.SHAPE) < 0.5
    found = read_ncsnr(root, 1, mask, "betas_fithrf")
    assert found.dtype == np.float32
    assert np.array_equal(found, values[mask], equal_nan=True)
    with pytest.raises(
        ValueError,
        match=r"GLMdenoise_RR/ncsnr.nii.gz is not there .*; it lies with the betas; get it",
    ):
        read_ncsnr(root, 1, mask)
    with pytest.raises(
        ValueError,
        match=r"mask is bool \(5, 7, 6\); for .*fithrf/ncsnr.nii.gz it must be bool \(6, 7",
    ):
        read_ncsnr(root, 1, mask.T, "betas_fithrf")
    for side, n in tiny_nsd.VERTICES.items():
        path = root.statistic(1, "ncsnr", space="fsaverage", hemisphere=side)
        tiny_nsd.save_mgh(path, np.arange(n)[:, None, None])
    mask = np.arange(20) % 3 == 0
    expected = np.r_[np.arange(11), np.arange(9)][mask]
    assert np.array_equal(read_ncsnr(root, 1, mask, space="fsaverage"), expected)
