"""Known betas out of simulated BOLD, and each step against the same thing written out."""

import numpy as np
import pytest

from minisd.nsd.glm import (
    Run,
    clean_data,
    clean_designs,
    design,
    drifts,
    explained,
    fit_hrf,
    least_squares,
    on_off,
    single_trials,
    without,
)
from minisd.nsd.hrf import STEP, double_gamma, library, response
from tests.nsd.simulated_bold import DURATION, simulate

HRF = response(DURATION)


def a_run(volumes=40, onsets=(0.0, 8.0, 20.0), voxels=3, tr=4 / 3, seed=0):
    bold = 100 + np.random.default_rng(seed).normal(size=(volumes, voxels))
    return Run(bold, np.array(onsets), np.arange(len(onsets)), tr)


def test_the_design_is_a_convolution():
    run = a_run(onsets=(0.4, 8.0, 8.9, 31.0), tr=0.7, volumes=100)
    fine = np.arange(0, 70, 0.01)
    kernel = double_gamma(fine)
    expected = np.empty((100, 4))
    for i, onset in enumerate(run.onsets):
        on = ((fine >= onset - 1e-9) & (fine < onset + DURATION - 1e-9)).astype(float)
        expected[:, i] = np.convolve(on, kernel)[np.arange(100) * 70]
    peak = np.convolve(np.ones(300), kernel).max()
    assert np.allclose(design(run, HRF), expected / peak, atol=2e-3)


def test_at_a_stimulus_on_a_volume_the_design_is_the_response_itself():
    x = design(a_run(onsets=(0.0, 4.0), volumes=60, tr=2.0), HRF)
    every = round(2 / STEP)
    assert np.allclose(x[:25, 0], HRF[::every][:25])
    assert np.allclose(x[2:27, 1], HRF[::every][:25])
    assert not x[26:, 0].any()  # it is followed for 50 s


def test_drifts_have_nsds_degree_and_follow_polynomials():
    assert drifts(226, 4 / 3).shape == (226, 4)  # 5.02 minutes
    assert drifts(150, 2.0).shape == (150, 4)  # 5 minutes: a half rounds up
    assert drifts(149, 2.0).shape == (149, 3)
    assert drifts(10, 2.0).shape == (10, 1)
    found = drifts(226, 4 / 3)
    assert np.allclose(found.T @ found, np.eye(4))
    t = np.arange(226.0)[:, None] / 226
    assert np.abs(without(found, 3 - t + 2 * t**2 - 5 * t**3)).max() < 1e-12
    assert np.abs(without(found, t**4)).max() > 1e-3


def test_taking_out_nuisance_first_is_fitting_it_too():
    rng = np.random.default_rng(0)
    run = a_run(volumes=80)
    noise = rng.normal(size=(80, 2))
    x, y = clean_designs([run], HRF, [noise]), clean_data([run], [noise])
    whole = np.hstack([design(run, HRF), drifts(80, run.tr), noise])
    together = np.linalg.lstsq(whole, run.bold)[0]
    assert np.allclose(least_squares(x, y), together[:3], atol=1e-9)
    assert not np.allclose(
        least_squares(clean_designs([run], HRF), clean_data([run])), together[:3]
    )


def test_known_betas_are_found_exactly_without_noise():
    made = simulate()
    exact = made.betas * made.level / np.mean(np.concatenate([r.bold for r in made.runs]), axis=0)
    best, betas, r2 = fit_hrf(made.runs, library(DURATION))
    some = made.responds
    assert np.array_equal(best[some], made.hrf[some])
    assert np.allclose(betas[:, some], exact[:, some], atol=1e-8)
    assert np.abs(betas[:, ~some]).max() < 1e-8
    assert np.allclose(r2[some], 100)


def test_another_response_costs_accuracy_and_the_right_one_gives_it_back():
    made = simulate(white=0.3)
    some = made.responds
    shapes = library(DURATION)
    betas, r2 = single_trials(made.runs, HRF)
    best, fitted, fitted_r2 = fit_hrf(made.runs, shapes)
    assert np.all(np.abs(best[some] - made.hrf[some]) <= 3)
    error = np.mean((betas - made.betas)[:, some] ** 2)
    assert np.mean((fitted - made.betas)[:, some] ** 2) < 0.5 * error
    assert np.mean(fitted_r2[some]) > np.mean(r2[some])
    # and it is the response that explains most
    each = np.array([single_trials(made.runs, h)[1] for h in shapes])
    assert np.array_equal(best, each.argmax(axis=0))
    assert np.array_equal(fitted_r2, each.max(axis=0))
    one = np.flatnonzero(best == best[0])
    assert np.array_equal(single_trials(made.runs, shapes[best[0]])[0][:, one], fitted[:, one])


def test_one_beta_for_all_trials_is_the_regression_of_them_together():
    made = simulate(white=1.0)
    beta, r2 = on_off(made.runs, HRF)
    x = np.concatenate(
        [without(drifts(len(r.bold), r.tr), design(r, HRF).sum(1)[:, None]) for r in made.runs]
    )[:, 0]
    y = np.concatenate([without(drifts(len(r.bold), r.tr), r.bold) for r in made.runs])
    mean = np.concatenate([r.bold for r in made.runs]).mean(axis=0)
    assert np.allclose(beta, 100 * (x @ y) / (x @ x) / mean)
    assert np.allclose(r2, 100 * (x @ y) ** 2 / (x @ x) / np.sum(y**2, axis=0))
    assert np.median(r2[made.responds]) > 5 * np.median(r2[~made.responds])


def test_what_is_explained_is_the_formula():
    made = simulate(white=1.0, runs=2)
    x, y = clean_designs(made.runs, HRF), clean_data(made.runs)
    rng = np.random.default_rng(0)
    betas = rng.normal(size=made.betas.shape)
    left = np.concatenate([y[0] - x[0] @ betas[:36], y[1] - x[1] @ betas[36:]])
    expected = 100 * (1 - np.sum(left**2, axis=0) / np.sum(np.concatenate(y) ** 2, axis=0))
    assert np.allclose(explained(x, y, betas), expected)
    assert np.allclose(explained(x, y, 0 * betas), 0)


def test_scale_does_not_matter_to_percent():
    made = simulate(white=0.5, runs=2)
    other = [Run(7 * r.bold.astype(np.float32), r.onsets, r.pictures, r.tr) for r in made.runs]
    for one, two in zip(single_trials(made.runs, HRF), single_trials(other, HRF), strict=True):
        assert np.allclose(one, two, atol=1e-2)


def test_a_voxel_that_cannot_be_modelled_is_named():
    run = a_run()
    for value, fault in (
        (np.nan, "has values that are no numbers"),
        (5.0, "never changes"),
        (-run.bold[:, 1], "is not above 0 on average"),
    ):
        bold = run.bold.copy()
        bold[:, 1:] = value if np.isscalar(value) else value[:, None]
        with pytest.raises(ValueError, match=f"voxel 1 of bold {fault}, and so do 1 others"):
            Run(bold, run.onsets, run.pictures)


def test_a_run_that_is_not_one_is_refused():
    run = a_run()
    with pytest.raises(ValueError, match=r"bold has the shape \(40,\)"):
        Run(run.bold[:, 0], run.onsets, run.pictures)
    with pytest.raises(ValueError, match="tr is 0"):
        Run(run.bold, run.onsets, run.pictures, 0)
    with pytest.raises(ValueError, match=r"onsets have the shape \(2,\) and pictures \(3,\)"):
        Run(run.bold, run.onsets[1:], run.pictures)
    for onsets in ([0, 8, 8], [8, 4, 20], [-1, 4, 8], [0, 4, 53.4], []):
        with pytest.raises(ValueError, match=r"they must rise, from 0 to below 53.3333 s"):
            Run(run.bold, np.array(onsets), np.arange(len(onsets)))


def test_what_does_not_fit_together_is_named():
    run = a_run()
    with pytest.raises(ValueError, match=r"hrf has the shape \(20, 501\)"):
        single_trials([run], library(DURATION))
    with pytest.raises(ValueError, match=r"library has the shape \(501,\)"):
        fit_hrf([run], HRF)
    with pytest.raises(ValueError, match=r"runs have \[3, 4\] voxels; all must have the same"):
        single_trials([run, a_run(voxels=4)], HRF)
    with pytest.raises(ValueError, match=r"runs have \[\] voxels; .* there must be a run"):
        single_trials([], HRF)
    late = a_run(onsets=(0.0, 8.0, 52.0))  # its response is 0 at the one volume that is left
    with pytest.raises(
        ValueError, match="run 1 has 3 trials, but its design has rank 2: the onsets"
    ):
        single_trials([run, late], HRF)
