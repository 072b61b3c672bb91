import numpy as np
import pytest
import torch

from minisd.decoding.patterns import activation_patterns
from minisd.decoding.ridge import Ridge, RidgeSettings, fit_ridge
from minisd.decoding.selected import SelectedSettings, fit_selected

PLAN = RidgeSettings(alphas=(1e-4,))


def test_a_voxel_that_cancels_noise_has_a_weight_and_no_pattern():
    """Haufe et al. 2014, section 1: one voxel has signal and noise, the other the noise alone."""
    rng = np.random.default_rng(0)
    s, noise = rng.normal(size=(2, 1000))
    x = np.stack([s + noise, noise], axis=1)
    ridge = fit_ridge(x, s[:, None], PLAN)
    np.testing.assert_allclose(ridge.weights[:, 0], [1, -1], atol=1e-5)
    np.testing.assert_allclose(activation_patterns(ridge, x)[:, 0], [1, 0], atol=0.1)
    # and where signal and noise are uncorrelated in the sample, it is exact
    noise -= noise.mean()
    s -= s.mean()
    noise -= s * (s @ noise) / (s @ s)
    x = np.stack([s + noise, noise], axis=1)
    found = activation_patterns(fit_ridge(x, s[:, None], PLAN), x)
    np.testing.assert_allclose(found[:, 0], [1, 0], atol=1e-6)


def data(p=300, v=8, t=3, seed=0):
    """Responses x = s A' + noise, with noise that voxels share."""
    rng = np.random.default_rng(seed)
    s = rng.normal(size=(p, t)) @ np.array([[1, 0.6, 0], [0, 1, 0.5], [0, 0, 1]])[:t, :t]
    true = rng.normal(size=(v, t))
    return (
        s @ true.T
        + rng.normal(size=(p, 2)) @ rng.normal(size=(2, v))
        + 0.3 * rng.normal(size=(p, v)),
        s,
        true,
    )


@pytest.mark.parametrize("rescaled", [False, True])
def test_it_is_the_formula_with_the_covariance_of_voxels(rescaled):
    x, s, _ = data()
    ridge = fit_ridge(x, s, RidgeSettings(alphas=(50.0,)))
    if not rescaled:
        ridge = Ridge(**{**vars(ridge), "gain": torch.ones(3, dtype=torch.float64)})
    w = (ridge.weights * ridge.gain).numpy()
    c = np.cov(x.T)
    joint = c @ w @ np.linalg.inv(w.T @ c @ w)
    np.testing.assert_allclose(activation_patterns(ridge, x, joint=True), joint, atol=1e-9)
    alone = c @ w / np.diag(w.T @ c @ w)
    np.testing.assert_allclose(activation_patterns(ridge, x), alone, atol=1e-9)


def test_the_joint_patterns_find_what_was_put_in():
    x, s, true = data(p=1000)
    ridge = fit_ridge(x, s, PLAN)
    found = activation_patterns(ridge, x, joint=True).numpy()
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.97
    assert np.corrcoef(ridge.weights.numpy().ravel(), true.ravel())[0, 1] < 0.8


def test_one_feature_is_the_same_either_way():
    x, s, _ = data(t=1)
    ridge = fit_ridge(x, s, PLAN)
    alone, joint = activation_patterns(ridge, x), activation_patterns(ridge, x, joint=True)
    np.testing.assert_allclose(alone, joint, atol=1e-10)


def test_more_voxels_than_pictures():
    rng = np.random.default_rng(0)
    x, s = rng.normal(size=(40, 500)).astype(np.float32), rng.normal(size=(40, 2))
    ridge = fit_ridge(x, s, RidgeSettings(alphas=(100.0,)))
    w = (ridge.weights * ridge.gain).double().numpy()
    c = np.cov(x.T.astype(float))
    np.testing.assert_allclose(
        activation_patterns(ridge, x), c @ w / np.diag(w.T @ c @ w), rtol=1e-3, atol=1e-4
    )


def test_decoders_from_selected_voxels_have_patterns_in_all_voxels():
    x, s, _ = data()
    ridge = fit_selected(x, s, SelectedSettings(voxels=3, alphas=(1.0,)))
    found = activation_patterns(ridge, x)
    decoded = ridge.predict(x).numpy()
    for j in range(3):
        slope = np.polyfit(decoded[:, j], x, 1)[0]
        np.testing.assert_allclose(found[:, j], slope, atol=1e-8)
    assert found.shape == (8, 3)


def test_features_that_are_decoded_as_constants_have_no_pattern():
    x, s, _ = data()
    ridge = fit_ridge(x, np.concatenate([s[:, :1], np.ones((300, 1))], axis=1), PLAN)
    found = activation_patterns(ridge, x)
    assert (found[:, 1] == 0).all()
    assert (found[:, 0] != 0).all()


def test_bad_input_is_refused():
    x, s, _ = data()
    ridge = fit_ridge(x, np.concatenate([s, s[:, :1]], axis=1), PLAN)
    assert activation_patterns(ridge, x).shape == (8, 4)
    with pytest.raises(ValueError, match="4 decoded features vary in 3 directions"):
        activation_patterns(ridge, x, joint=True)
    with pytest.raises(ValueError, match="fmri has 7 voxels"):
        activation_patterns(ridge, x[:, 1:])
    with pytest.raises(ValueError, match="fmri has 1 rows"):
        activation_patterns(ridge, x[:1])
    with pytest.raises(ValueError, match="NaN"):
        activation_patterns(ridge, np.full_like(x, np.nan))
