"""Each stage on simulated BOLD, against the true betas, fracridge, and what GLMsingle found."""

from itertools import pairwise

import numpy as np
import pytest
from fracridge import fracridge

from minisd.nsd.denoise import (
    FRACTIONS,
    choose_number,
    fractional_ridge,
    glm_single,
    noise_regressors,
    repeat_error,
    repeats_over_runs,
    rescale,
)
from minisd.nsd.glm import (
    Run,
    clean_data,
    clean_designs,
    drifts,
    least_squares,
    mean_signal,
    single_trials,
    without,
)
from minisd.nsd.hrf import library, response
from tests.nsd.glmsingle_reference import PATH, REGRESSORS, THRESHOLD
from tests.nsd.simulated_bold import DURATION, TR, simulate

HRF = response(DURATION)
LIBRARY = library(DURATION)


@pytest.fixture(scope="module")
def noisy():
    made = simulate(runs=6, voxels=80, white=1.5, shared=1.0)
    return made, glm_single(made.runs, LIBRARY, HRF, threshold=2.0, regressors=6)


def error(betas, made):
    return np.mean((betas - made.betas)[:, made.responds] ** 2)


def test_each_stage_is_nearer_to_the_truth_than_the_one_before(noisy):
    made, found = noisy
    assumed = single_trials(made.runs, HRF)[0]
    errors = [error(b, made) for b in (assumed, found.fithrf, found.denoised, found.final)]
    assert all(after < 0.95 * before for before, after in pairwise(errors))
    # by what they say of pictures too, not by size alone
    true = made.betas[:, made.responds]
    r = [
        np.mean(
            [np.corrcoef(a, b)[0, 1] for a, b in zip(x[:, made.responds].T, true.T, strict=True)]
        )
        for x in (assumed, found.fithrf, found.denoised, found.final)
    ]
    assert r == sorted(r)
    assert r[-1] > r[0] + 0.15


def test_as_many_noise_regressors_as_there_are_courses_of_noise(noisy):
    made, found = noisy
    assert found.regressors == 3
    assert len(found.errors) == 7
    assert found.errors[found.regressors] < 0.8 * found.errors[0]
    assert np.array_equal(found.pool, found.on_off_r2 < 2)
    assert np.mean(found.pool[~made.responds]) > 0.7


def test_noisier_voxels_are_shrunk_more(noisy):
    made, found = noisy
    assert set(found.fraction) <= set(FRACTIONS)
    assert found.fraction[made.responds].mean() > found.fraction[~made.responds].mean() + 0.1


def test_the_last_stages_are_what_they_are_written_out(noisy):
    made, found = noisy
    repeats = repeats_over_runs(made.runs)
    noise = noise_regressors(made.runs, found.pool, found.regressors)
    percent = 100 / mean_signal(made.runs)
    for voxel in (0, 1, 2, 7):
        x = clean_designs(made.runs, LIBRARY[found.hrf[voxel]], noise)
        y = [data[:, [voxel]] for data in clean_data(made.runs, noise)]
        plain = least_squares(x, y)
        assert np.allclose(found.denoised[:, voxel], plain[:, 0] * percent[voxel])
        tried, _ = fractional_ridge(x, y, FRACTIONS)
        best = np.argmin([repeat_error(b, plain, repeats)[0] for b in tried])
        assert found.fraction[voxel] == FRACTIONS[best]
        assert np.allclose(
            found.final[:, voxel], rescale(tried[best], plain)[:, 0] * percent[voxel]
        )


def test_without_regressors_and_ridge_nothing_changes():
    made = simulate(voxels=20, white=1.0)
    found = glm_single(made.runs, LIBRARY, HRF, threshold=2.0, regressors=0, fractions=[1])
    assert found.regressors == 0
    assert np.allclose(found.denoised, found.fithrf, atol=1e-10)
    assert np.allclose(found.final, found.fithrf, atol=1e-10)
    assert np.all(found.fraction == 1)


def test_the_lengths_are_exact_and_the_penalties_are_those_of_ridge():
    rng = np.random.default_rng(0)
    for n, p in ((60, 12), (12, 12), (8, 12)):
        x = rng.normal(size=(n, p)) * np.geomspace(1, 0.01, p)
        y = rng.normal(size=(n, 9))
        fractions = np.array([1, 0.999, 0.7, 0.3, 0.05, 1e-4])
        found, alphas = fractional_ridge([x], [y], fractions)
        plain = np.linalg.pinv(x) @ y
        lengths = np.linalg.norm(found, axis=1)
        assert np.allclose(lengths / np.linalg.norm(plain, axis=0), fractions[:, None], rtol=1e-10)
        assert np.allclose(found[0], plain)
        assert np.all(alphas[0] == 0)
        for f, v in np.ndindex(alphas.shape):
            if f:
                ridge = np.linalg.solve(x.T @ x + alphas[f, v] * np.eye(p), x.T @ y[:, v])
                assert np.allclose(found[f, :, v], ridge, rtol=1e-6, atol=1e-12)


def test_blocks_are_one_block_diagonal_regression():
    rng = np.random.default_rng(1)
    x = [rng.normal(size=(20, 5)), rng.normal(size=(30, 8))]
    y = [rng.normal(size=(20, 4)), rng.normal(size=(30, 4))]
    whole = np.zeros((50, 13))
    whole[:20, :5], whole[20:, 5:] = x
    for one, two in zip(
        fractional_ridge(x, y, [0.9, 0.2]),
        fractional_ridge([whole], [np.concatenate(y)], [0.9, 0.2]),
        strict=True,
    ):
        assert np.allclose(one, two, rtol=1e-9)


def test_a_voxel_of_nothing_stays_nothing():
    x = np.random.default_rng(2).normal(size=(9, 3))
    found, alphas = fractional_ridge([x], [np.zeros((9, 2))], [1, 0.5])
    assert not found.any()
    assert np.isfinite(alphas).all()


def test_it_is_fracridge():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(80, 30)), rng.normal(size=(80, 6))
    fractions = np.arange(1, 11) / 10
    expected, alphas = fracridge(x, y, fractions, jit=False)
    found, ours = fractional_ridge([x], [y], fractions[::-1])
    # It interpolates alpha on a grid of fifths of a decade, so its lengths are a little off.
    expected, alphas = expected.transpose(1, 0, 2)[::-1], alphas[::-1]
    assert np.allclose(found, expected, atol=0.01 * np.abs(expected).max())
    assert np.allclose(ours, alphas, rtol=0.1)
    whole = np.linalg.norm(expected[0], axis=0)
    off = np.abs(np.linalg.norm(expected, axis=1) / whole - fractions[::-1, None]).max()
    assert np.abs(np.linalg.norm(found, axis=1) / whole - fractions[::-1, None]).max() < 1e-10 < off


def test_it_is_glmsingle():
    expected = np.load(PATH)
    scan = zip(expected["bold"], expected["onsets"], expected["pictures"], strict=True)
    runs = [Run(bold, onsets, pictures, TR) for bold, onsets, pictures in scan]
    found = glm_single(runs, LIBRARY, HRF, THRESHOLD, REGRESSORS)
    for exactly in ("hrf", "pool", "regressors"):
        assert np.array_equal(getattr(found, exactly), expected[exactly])
    for closely in ("on_off_r2", "errors", "fraction", "fithrf", "denoised"):
        assert np.allclose(getattr(found, closely), expected[closely], rtol=1e-5, atol=1e-4)
    # GLMsingle's ridge is fracridge, which interpolates.
    assert np.allclose(found.final, expected["final"], atol=0.01)
    assert np.abs(found.final - found.denoised).max() > 1
    assert found.regressors == 3
    assert len(set(found.fraction)) > 5


def test_noise_regressors_are_the_pools_principal_components():
    made = simulate(runs=2, voxels=30, shared=1.0)  # nothing but three courses
    pool = ~made.responds
    found = noise_regressors(made.runs, pool, 5)
    for run, regressors in zip(made.runs, found, strict=True):
        y = without(drifts(len(run.bold), run.tr), run.bold)[:, pool]
        y = y / np.sqrt(np.sum(y**2, axis=0))
        values, vectors = np.linalg.eigh(y @ y.T)
        assert np.allclose(values[:-3], 0)
        same = np.abs(np.sum(vectors[:, :-4:-1] * regressors[:, :3], axis=0))
        assert np.allclose(same, 1)
        assert np.allclose(regressors.T @ regressors, np.eye(5))
    assert noise_regressors(made.runs, pool, 0)[0].shape == (156, 0)
    for number in (-1, 16):
        with pytest.raises(ValueError, match=f"number is {number}; with 15 .* must be 0 to 15"):
            noise_regressors(made.runs, pool, number)


def runs_of(*pictures):
    rng = np.random.default_rng(0)
    return [
        Run(100 + rng.normal(size=(60, 2)), np.arange(len(p)) * 4.0, np.array(p)) for p in pictures
    ]


def test_repeats_are_pairs_over_runs():
    one, other = repeats_over_runs(runs_of([5, 7, 5], [7, 9, 5]))
    pairs = {(0, 5), (2, 5), (1, 3)}
    assert set(zip(one, other, strict=True)) == pairs | {(b, a) for a, b in pairs}
    assert len(one) == 6
    with pytest.raises(ValueError, match="runs share no picture"):
        repeats_over_runs(runs_of([5, 7, 5], [8, 9, 8]))


def test_the_error_of_repeats_written_out():
    rng = np.random.default_rng(0)
    betas, plain = rng.normal(size=(2, 6, 3))
    plain = 5 + 3 * plain
    repeats = repeats_over_runs(runs_of([5, 7, 5], [7, 9, 5]))
    for v in range(3):
        total = 0
        for i, j in ((0, 5), (2, 5), (1, 3)):
            total += (betas[i, v] - plain[j, v]) ** 2 + (betas[j, v] - plain[i, v]) ** 2
        expected = total / np.var(plain[:, v], ddof=1)
        assert repeat_error(betas, plain, repeats)[v] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([10, 9, 8, 7], 3),
        ([10, 11, 12], 0),  # none is the best
        ([10, 12, 8, 8.05], 2),
        ([10, 8.05, 8, 8.5], 1),  # 1.95 of 2 is near enough
        ([10, 8.2, 8, 8.5], 2),
        ([10], 0),
    ],
)
def test_the_smallest_number_that_is_near_the_best(errors, expected):
    assert choose_number(errors) == expected


def test_rescaling_is_the_line_that_fits():
    rng = np.random.default_rng(0)
    betas = rng.normal(size=(30, 3))
    plain = 3 * betas + 2 + rng.normal(size=(30, 3))
    plain[:, 2] *= -1
    found = rescale(betas, plain)
    for v in (0, 1):
        assert np.allclose(
            found[:, v], np.polyval(np.polyfit(betas[:, v], plain[:, v], 1), betas[:, v])
        )
    assert np.array_equal(found[:, 2], betas[:, 2])


def test_bad_input_is_named():
    made = simulate(voxels=20, white=1.0, runs=2)
    with pytest.raises(ValueError, match=r"fractions are .*; the first must be 1"):
        glm_single(made.runs, LIBRARY, HRF, 2.0, fractions=[0.5])
    for threshold in (-1.0, 101.0):
        with pytest.raises(ValueError, match=f"threshold is {threshold}, and the on-off model"):
            glm_single(made.runs, LIBRARY[:1], HRF, threshold, regressors=1)
    x = np.random.default_rng(0).normal(size=(9, 3))
    for fractions in ([], [0.5, 1], [1.1, 1], [1, 0], [0.5, 0.5]):
        with pytest.raises(ValueError, match="they must fall, each above 0 and at most 1"):
            fractional_ridge([x], [x], fractions)
    with pytest.raises(ValueError, match=r"a design of shape \(9, 6\) is not of full rank"):
        fractional_ridge([np.hstack([x, x])], [x], [1])
