import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as Peer

from minisd.decoding.checks import make_folds
from minisd.decoding.selected import SelectedRidge, SelectedSettings, fit_selected, select

ALPHAS = (0.1, 10.0, 1000.0)


def data(p=60, v=40, t=5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(p, v)) * rng.uniform(0.5, 2, v) + 1
    y = x @ (rng.normal(size=(v, t)) * (rng.random((v, t)) < 0.2)) + np.linspace(
        0.3, 4, t
    ) * rng.normal(size=(p, t))
    return x, y + 5


def chosen_by_hand(x, y, k):
    alike = [abs(np.corrcoef(x[:, v], y)[0, 1]) for v in range(x.shape[1])]
    return np.sort(np.argsort(alike)[::-1][:k])


def test_it_is_scikit_learns_with_the_selection_inside_the_fold():
    x, y = data()
    plan = SelectedSettings(voxels=8, alphas=ALPHAS, batch=2)
    found = fit_selected(x, y, plan)
    splits = make_folds(len(x), plan.folds, None, plan.seed)
    other = False
    for j in range(y.shape[1]):
        sums = np.zeros((3, len(ALPHAS)))
        for train, test in splits:
            k = chosen_by_hand(x[train], y[train, j], 8)
            other |= not np.array_equal(k, found.chosen[j])
            for a, alpha in enumerate(ALPHAS):
                peer = Peer(alpha=alpha).fit(x[train][:, k], y[train, j])
                said = peer.predict(x[test][:, k]) - y[train, j].mean()
                there = y[test, j] - y[train, j].mean()
                sums[:, a] += ((said - there) ** 2).sum(), (there**2).sum(), (said**2).sum()
        best = sums[0].argmin()
        assert found.alpha[j] == ALPHAS[best]
        np.testing.assert_allclose(found.r2[j], 1 - sums[0, best] / sums[1, best], atol=1e-8)
        k = chosen_by_hand(x, y[:, j], 8)
        np.testing.assert_array_equal(found.chosen[j], k)
        peer = Peer(alpha=ALPHAS[best]).fit(x[:, k], y[:, j])
        np.testing.assert_allclose(found.weights[j], peer.coef_, atol=1e-8)
        np.testing.assert_allclose(
            found.predict(x, rescale=False)[:, j], peer.predict(x[:, k]), atol=1e-8
        )
    assert other  # some fold chooses others than all of the data do, or this test could not fail


def test_selection_outside_the_fold_would_look_too_good():
    """Features that no voxel predicts: chosen with the tested rows in view, some voxels seem to."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 800)), rng.normal(size=(60, 20))
    plan = SelectedSettings(voxels=10, alphas=(10.0,))
    assert fit_selected(x, y, plan).r2.mean() < 0
    k = select(torch.from_numpy(x), torch.from_numpy(y), 10)
    leaked = [fit_selected(x[:, k[j]], y[:, [j]], plan).r2 for j in range(20)]
    assert torch.cat(leaked).mean() > 0.3


def test_with_all_voxels_it_is_ridge():
    from minisd.decoding.ridge import RidgeSettings, fit_ridge

    x, y = data()
    all_of_them = fit_selected(x, y, SelectedSettings(voxels=40, alphas=ALPHAS))
    whole = fit_ridge(x, y, RidgeSettings(alphas=ALPHAS))
    np.testing.assert_allclose(all_of_them.predict(x), whole.predict(x), atol=1e-8)


def test_saved_is_loaded(tmp_path):
    x, y = data()
    found = fit_selected(x, y.reshape(60, 5, 1), SelectedSettings(voxels=8, alphas=ALPHAS))
    found.save(tmp_path / "it.safetensors")
    assert torch.equal(SelectedRidge.load(tmp_path / "it.safetensors").predict(x), found.predict(x))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda x, y: fit_selected(x, y, SelectedSettings(voxels=41)),
            "voxels is 41, and fmri has 40",
        ),
        (lambda x, y: SelectedSettings(voxels=0), "voxels is 0"),
        (lambda x, y: SelectedSettings(alphas=()), "alphas is"),
        (lambda x, y: SelectedSettings(folds=1), "folds is 1"),
        (lambda x, y: fit_selected(x, y / 0, SelectedSettings(voxels=8)), "features.* is NaN"),
    ],
)
def test_bad_input_is_named(call, told):
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=told):
        call(*data())
