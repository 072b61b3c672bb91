import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as Peer

from minisd.decoding.checks import make_folds
from minisd.decoding.ridge import Ridge, RidgeSettings, compress, fit_ridge

ALPHAS = (0.1, 1.0, 10.0, 100.0, 1000.0)


def data(p=60, v=90, t=7, noise=1.0, seed=0):
    """Responses and features that depend on them, float64; the features differ in how well."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(p, v)) + 1
    y = x @ rng.normal(size=(v, t)) / v**0.5 + noise * np.linspace(0.1, 3, t) * rng.normal(
        size=(p, t)
    )
    return x, y + 5


def out_of_fold(x, y, splits, alpha):
    """What scikit-learn predicts of each row from the other folds, and the mean there."""
    found, mean = np.empty_like(y), np.empty_like(y)
    for train, test in splits:
        found[test] = Peer(alpha=alpha).fit(x[train], y[train]).predict(x[test])
        mean[test] = y[train].mean(0)
    return found, mean


@pytest.mark.parametrize("batch", [3, 512])
def test_it_is_scikit_learns(batch):
    x, y = data()
    plan = RidgeSettings(alphas=ALPHAS, batch=batch, block=5)
    found = fit_ridge(x, y, plan)
    splits = make_folds(len(x), plan.folds, None, plan.seed)
    tried = [out_of_fold(x, y, splits, alpha) for alpha in ALPHAS]
    error = np.array([[((p - y)[test] ** 2).mean(0) for _, test in splits] for p, _ in tried]).mean(
        1
    )
    for j in range(y.shape[1]):
        best = error[:, j].argmin()
        assert found.alpha[j] == ALPHAS[best]
        peer = Peer(alpha=ALPHAS[best]).fit(x, y[:, j])
        np.testing.assert_allclose(found.weights[:, j], peer.coef_, atol=1e-8)
        np.testing.assert_allclose(
            found.predict(x, rescale=False)[:, j], peer.predict(x), atol=1e-8
        )
        predicted, mean = (part[:, j] for part in tried[best])
        there, said = y[:, j] - mean, predicted - mean
        r2 = 1 - ((there - said) ** 2).sum() / (there**2).sum()
        np.testing.assert_allclose(found.r2[j], r2, atol=1e-8)
        together = (there * said).sum() / np.sqrt((there**2).sum() * (said**2).sum())
        np.testing.assert_allclose(found.correlation[j], together, atol=1e-8)
        wanted = np.sqrt((there**2).sum() / (said**2).sum()) if r2 > 0 else 1
        np.testing.assert_allclose(found.gain[j], wanted, atol=1e-8)
    assert len(set(found.alpha.tolist())) > 1


def test_rescaled_predictions_have_the_spread_of_the_features():
    x, y = data(p=800, v=100)
    found = fit_ridge(x[:400], y[:400], RidgeSettings(alphas=ALPHAS))
    shrunk, full = found.predict(x[400:], rescale=False).std(0), found.predict(x[400:]).std(0)
    there = torch.from_numpy(y[400:]).std(0)
    predictable = found.r2 > 0.05
    assert predictable.sum() >= 4
    assert (shrunk < there)[predictable].all()
    assert shrunk[4] < 0.8 * there[4]
    np.testing.assert_allclose((full / there)[predictable], 1, atol=0.15)


def test_single_precision_is_near():
    x, y = data()
    plan = RidgeSettings(alphas=ALPHAS)
    single, double = fit_ridge(x.astype(np.float32), y, plan), fit_ridge(x, y, plan)
    assert single.left.dtype == torch.float32
    np.testing.assert_allclose(single.predict(x), double.predict(x), atol=1e-3)


def test_features_may_be_mapped_into_memory_and_of_any_shape(tmp_path):
    x, y = data(t=12)
    np.save(tmp_path / "y.npy", y.reshape(60, 3, 4))
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    found = fit_ridge(x, mapped, RidgeSettings(alphas=ALPHAS, block=5))
    same = fit_ridge(x, y, RidgeSettings(alphas=ALPHAS))
    np.testing.assert_allclose(found.predict(x), same.predict(x), atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(0, 99), st.integers(6, 40))
def test_folds_keep_groups_together_and_use_all(folds, seed, count):
    groups = np.random.default_rng(seed).integers(0, 6 + count // 3, size=count + 20)
    if len(np.unique(groups)) < folds:
        return
    splits = make_folds(len(groups), folds, groups, seed)
    tested = np.concatenate([test for _, test in splits])
    assert sorted(tested) == list(range(len(groups)))
    for train, test in splits:
        assert set(train) | set(test) == set(range(len(groups)))
        assert not set(groups[train]) & set(groups[test])


def test_repeats_that_are_parted_look_too_good():
    """Three noisy trials of a picture, and features that nothing predicts: only with groups is that seen."""
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(40, 100))
    x = np.repeat(pictures, 3, axis=0) + 0.3 * rng.normal(size=(120, 100))
    y, ids = np.repeat(rng.normal(size=(40, 20)), 3, axis=0), np.repeat(np.arange(40), 3)
    plan = RidgeSettings(alphas=ALPHAS)
    assert fit_ridge(x, y, plan).r2.mean() > 0.5
    assert fit_ridge(x, y, plan, groups=ids).r2.mean() < 0.05


def test_compressed_is_small_and_the_same():
    rng = np.random.default_rng(0)
    x, _ = data(p=80, v=90)
    y = x[:, :4] @ rng.normal(size=(4, 300)) + 0.01 * rng.normal(size=(80, 300))
    whole = fit_ridge(x, y, RidgeSettings(alphas=(0.1,)))
    small = compress(whole, x)
    assert small.right is not None
    assert small.left.shape[1] <= 12
    new, _ = data(seed=1)
    apart = (small.predict(new) - whole.predict(new)).std() / whole.predict(new).std()
    assert apart < 0.03
    noisy = fit_ridge(x, rng.normal(size=(80, 70)), RidgeSettings(alphas=(1.0,)))
    assert compress(noisy, x, lost=0.0) is noisy


@pytest.mark.parametrize("small", [False, True])
def test_saved_is_loaded(tmp_path, small):
    x, y = data(t=200)
    found = fit_ridge(x, y, RidgeSettings(alphas=ALPHAS))
    found = compress(found, x, lost=0.3) if small else found
    found.save(tmp_path / "ridge.safetensors")
    again = Ridge.load(tmp_path / "ridge.safetensors")
    assert (again.right is not None) == small
    assert torch.equal(again.predict(x), found.predict(x))


def test_what_a_user_had_chosen_stays():
    from himalaya.backend import get_backend, set_backend

    set_backend("numpy")
    fit_ridge(*data(), RidgeSettings(alphas=ALPHAS))
    assert get_backend().name == "numpy"


def spoiled(x, value):
    x = x.copy()
    x[3, 4] = value
    return x


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda x, y: fit_ridge(spoiled(x, np.nan), y), r"fmri\[3, 4\] is NaN"),
        (lambda x, y: fit_ridge(x, spoiled(y, np.inf)), r"features\[3, 4\] is NaN or infinite"),
        (lambda x, y: fit_ridge(x * (np.arange(90) != 8), y), "1 of 90 voxels, such as voxel 8"),
        (lambda x, y: fit_ridge(x[:50], y), "features has the shape .60, 7. for 50"),
        (lambda x, y: fit_ridge(x[:4], y[:4]), "folds is 5, and there are 4 pictures"),
        (lambda x, y: fit_ridge(x, y, groups=np.arange(3)), r"groups has the shape \(3,\)"),
        (lambda x, y: fit_ridge(x[0], y[0]), r"must be \[P, ...\]"),
        (lambda x, y: RidgeSettings(alphas=(0.0, 1.0)), "alphas is"),
        (lambda x, y: RidgeSettings(folds=1), "folds is 1"),
        (lambda x, y: RidgeSettings(batch=0), "batch is 0"),
        (
            lambda x, y: fit_ridge(x, y).predict(x[:, 1:]),
            "89 voxels, and the decoder was fitted on 90",
        ),
        (lambda x, y: fit_ridge(x, y).predict(spoiled(x, np.nan)), r"fmri\[3, 4\] is NaN"),
    ],
)
def test_bad_input_is_named(call, told):
    with pytest.raises(ValueError, match=told):
        call(*data())


def test_a_file_of_something_else_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weights": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no ridge regression"):
        Ridge.load(tmp_path / "other.safetensors")
