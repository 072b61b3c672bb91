import numpy as np
import pytest
import torch
from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search
from himalaya.scoring import r2_score_split
from sklearn.linear_model import Ridge as Peer
from sklearn.model_selection import PredefinedSplit

from minisd.decoding.checks import make_folds
from minisd.decoding.encoding import accuracy, draw_mixtures, fit_encoding, split_r2
from minisd.decoding.gabor import GaborSettings, gabor_energy
from minisd.decoding.ridge import RidgeSettings
from minisd.nsd import noise_ceiling

PLAN = RidgeSettings(alphas=(0.01, 0.1, 1.0, 10.0))


def toy(p=120, v=30, noise=0.5, seed=0):
    """Two spaces; the first third of the voxels answer to the one, the second to the other, the rest to both."""
    rng = np.random.default_rng(seed)
    spaces = {"a": 3 * rng.normal(size=(p, 20)) + 7, "b": 0.1 * rng.normal(size=(p, 2, 15))}
    parts = [
        spaces["a"] @ rng.normal(size=(20, v)),
        spaces["b"].reshape(p, -1) @ rng.normal(size=(30, v)),
    ]
    parts = [x / x.std(0) for x in parts]
    third = np.arange(v) * 3 // v
    y = parts[0] * (third != 1) + parts[1] * (third != 0) + noise * rng.normal(size=(p, v)) + 2
    return spaces, y.astype(np.float32), third


def first(spaces, rows):
    return {name: x[rows] for name, x in spaces.items()}


def test_one_space_is_scikit_learns_ridge_of_standardised_features():
    spaces, y, _ = toy()
    found = fit_encoding({"a": spaces["a"]}, y, PLAN)
    x = (spaces["a"] - spaces["a"].mean(0)) / spaces["a"].std(0) / np.sqrt(20)
    for j in range(y.shape[1]):
        peer = Peer(alpha=float(found.alpha[j])).fit(x, y[:, j])
        np.testing.assert_allclose(
            found.predict({"a": spaces["a"]})[:, j], peer.predict(x), atol=1e-8
        )


def test_units_of_features_do_not_matter_and_constant_ones_are_left_out():
    spaces, y, _ = toy()
    other = {"a": np.concatenate([1000 * spaces["a"] - 5, np.full((len(y), 3), 0.1)], axis=1)}
    one, two = fit_encoding({"a": spaces["a"]}, y, PLAN), fit_encoding(other, y, PLAN)
    assert two.weights["a"].shape == one.weights["a"].shape
    np.testing.assert_allclose(one.predict({"a": spaces["a"]}), two.predict(other), atol=1e-8)


def test_banded_ridge_is_himalayas():
    spaces, y, _ = toy()
    mixtures = draw_mixtures(2, 6)
    found = fit_encoding(spaces, y, PLAN, mixtures)
    assert len(torch.unique(found.mixture, dim=1).T) > 3
    flat = [x.reshape(len(y), -1) for x in spaces.values()]
    flat = [(x - x.mean(0)) / x.std(0) / np.sqrt(x.shape[1]) for x in flat]
    fold = np.empty(len(y), int)
    for k, (_, test) in enumerate(make_folds(len(y), PLAN.folds, None, PLAN.seed)):
        fold[test] = k
    deltas, dual, _, alphas, offset = solve_multiple_kernel_ridge_random_search(
        np.stack([x @ x.T for x in flat]),
        y.astype(float),
        n_iter=mixtures,
        alphas=np.array(PLAN.alphas),
        cv=PredefinedSplit(fold),
        fit_intercept=True,
        return_weights="dual",
        progress_bar=False,
        return_alphas=True,
    )
    np.testing.assert_allclose(found.alpha, alphas, rtol=1e-6)
    np.testing.assert_allclose(found.mixture, np.exp(deltas) * alphas, rtol=1e-8)
    peer = sum(x @ x.T @ (dual * np.exp(d)) for x, d in zip(flat, deltas, strict=True)) + offset
    np.testing.assert_allclose(found.predict(spaces), peer, atol=1e-6)


def test_shares_are_himalayas_and_add_up():
    rng = np.random.default_rng(0)
    parts, y = rng.normal(size=(3, 50, 4)) + 1, rng.normal(size=(50, 4)) + 2
    found = split_r2(parts, y)
    p, there = parts - parts.mean(1, keepdims=True), y - y.mean(0)
    np.testing.assert_allclose(found, r2_score_split(there, p), atol=1e-10)
    whole = 1 - ((there - p.sum(0)) ** 2).sum(0) / (there**2).sum(0)
    np.testing.assert_allclose(found.sum(0), whole, atol=1e-10)


def test_a_voxel_is_given_to_the_space_that_it_answers_to():
    spaces, y, third = toy(p=400)
    model = fit_encoding(first(spaces, slice(200)), y[:200], PLAN)
    new = first(spaces, slice(200, None))
    shares = split_r2(model.parts(new), y[200:])
    other = np.where(third == 0, shares[1], shares[0])[third < 2]
    own = np.where(third == 0, shares[0], shares[1])[third < 2]
    assert own.min() > 0.6
    assert np.abs(other).max() < 0.1
    assert shares[:, third == 2].min() > 0.25
    np.testing.assert_allclose(model.parts(new).sum(0) + model.mean, model.predict(new), atol=1e-5)


def test_penalties_of_their_own_beat_a_common_one():
    """Few features that matter beside many that do not."""
    rng = np.random.default_rng(0)
    spaces = {"few": rng.normal(size=(300, 5)), "many": rng.normal(size=(300, 400))}
    y = (spaces["few"] @ rng.normal(size=(5, 10)) + rng.normal(size=(300, 10))).astype(np.float32)
    together = {"all": np.concatenate(list(spaces.values()), axis=1)}
    r2 = {}
    for name, one in (("banded", spaces), ("common", together)):
        model = fit_encoding(first(one, slice(150)), y[:150], PLAN)
        r2[name] = split_r2(model.parts(first(one, slice(150, None))), y[150:]).sum(0).mean()
    assert r2["banded"] > r2["common"] + 0.1


def test_test_pictures_do_not_touch_each_other():
    spaces, y, _ = toy()
    model = fit_encoding(first(spaces, slice(60)), y[:60], PLAN)
    new = first(spaces, slice(60, None))
    alone = model.predict(first(new, slice(3, 4)))
    np.testing.assert_allclose(model.predict(new)[3:4], alone, atol=1e-5)


def test_a_space_without_weight_is_not_used():
    spaces, y, _ = toy()
    both = fit_encoding(spaces, y, PLAN, np.array([[1.0, 0.0]]))
    alone = fit_encoding({"a": spaces["a"]}, y, PLAN)
    assert (both.weights["b"] == 0).all()
    np.testing.assert_allclose(both.predict(spaces), alone.predict({"a": spaces["a"]}), atol=1e-5)


def test_mixtures():
    found = draw_mixtures(3, 40)
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(found[0], 1 / 3)
    assert len(found) == 40
    assert (found.max(1) > 0.95).sum() > 5
    assert (found.max(1) < 0.6).sum() > 5
    np.testing.assert_array_equal(found, draw_mixtures(3, 40))
    assert draw_mixtures(1).tolist() == [[1.0]]


def test_a_perfect_model_has_a_normalised_accuracy_of_1():
    rng = np.random.default_rng(0)
    ncsnr = np.array([0.3, 0.6, 1.0, 2.0])
    signal = rng.normal(size=(40_000, 4)) * ncsnr
    averaged = rng.permutation(np.repeat([1, 2, 3], [10_000, 10_000, 20_000]))
    measured = signal + rng.normal(size=signal.shape) / np.sqrt(averaged)[:, None]
    found = accuracy(signal, measured, ncsnr, averaged)
    np.testing.assert_allclose(found.normalised, 1, atol=0.02)
    np.testing.assert_allclose(found.ceiling**2, noise_ceiling(ncsnr, averaged) / 100, rtol=1e-5)
    for j in range(4):
        peer = np.corrcoef(signal[:, j], measured[:, j])[0, 1]
        np.testing.assert_allclose(found.correlation[j], peer)
    worse = accuracy(signal + ncsnr * rng.normal(size=signal.shape), measured, ncsnr, averaged)
    np.testing.assert_allclose(worse.normalised, 0.5**0.5, atol=0.02)


def test_accuracy_without_signal_or_prediction():
    rng = np.random.default_rng(0)
    predicted, measured = rng.normal(size=(2, 30, 4))
    predicted[:, 3] = 1.0
    found = accuracy(predicted, measured, [0.0, np.nan, 0.05, 1.0], 3)
    assert np.isnan(found.normalised[:3]).all()
    assert found.normalised[3] == found.correlation[3] == 0
    assert not np.isnan(accuracy(predicted, measured, [0.05] * 4, 3, least=0).normalised).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, y: ({}, y), "spaces is empty"),
        (lambda s, y: ({**s, "b": s["b"][1:]}, y), "b has 119 rows for 120 responses"),
        (lambda s, y: ({**s, "b": np.zeros((120, 4))}, y), "b has no feature that varies"),
        (
            lambda s, y: ({**s, "a": np.where(s["a"] > 1, s["a"], np.nan)}, y),
            r"a\[\d+, \d+\] is NaN",
        ),
        (lambda s, y: (s, np.full_like(y, np.inf)), r"betas\[0, 0\] is NaN or infinite"),
        (lambda s, y: ({**s, "a": s["a"][:, 0]}, y), r"a has the shape \(120,\)"),
    ],
)
def test_bad_input_is_refused(change, message):
    spaces, y, _ = toy()
    with pytest.raises(ValueError, match=message):
        fit_encoding(*change(spaces, y), PLAN)


@pytest.mark.parametrize("mixtures", [[[1.0]], [[0, 0]], [[1, -1]], [], [1.0, 1.0], [[np.nan, 1]]])
def test_bad_mixtures_are_refused(mixtures):
    spaces, y, _ = toy()
    with pytest.raises(ValueError, match="mixtures is"):
        fit_encoding(spaces, y, PLAN, np.array(mixtures))


def test_other_features_are_refused():
    spaces, y, _ = toy()
    model = fit_encoding(spaces, y, PLAN)
    with pytest.raises(ValueError, match=r"spaces are \['a'\]; fitted were \['a', 'b'\]"):
        model.predict({"a": spaces["a"]})
    with pytest.raises(ValueError, match="a has 19 features, and was fitted with 20"):
        model.predict({**spaces, "a": spaces["a"][:, 1:]})
    with pytest.raises(ValueError, match="predicted, measured and ncsnr"):
        accuracy(y, y[:, 1:], np.ones(30), 3)
    with pytest.raises(ValueError, match="parts and measured"):
        split_r2(y, y)


def test_early_voxels_are_predicted_from_gabor_energy(shown, prepared):
    """On the simulated subject that ships."""
    settings = GaborSettings(orientations=4, grid=8)
    (train, seen), (test, new) = shown("train"), shown("test")
    energy = [
        torch.cat([gabor_energy(x, settings) for x in part.batches(settings.size)])
        for part in (seen, new)
    ]
    model = fit_encoding({"gabor": energy[0]}, np.array(train.betas), progress=False)
    found = accuracy(
        model.predict({"gabor": energy[1]}), test.betas, prepared.ncsnr, prepared.test.averaged
    )
    early = train.regions["early"]
    assert np.nanmedian(found.normalised[early]) > 0.4
    assert np.nanmedian(found.normalised[early]) > np.nanmedian(found.normalised[~early]) + 0.1
