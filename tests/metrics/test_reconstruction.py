import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.ndimage import gaussian_filter

from minisd.metrics import reconstruction as r


def pictures(n=6, size=24, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def features(n=8, d=40, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_pixel_correlation_is_pearsons():
    a, b = pictures(), pictures(seed=1)
    b = 0.5 * a + b
    wanted = [
        stats.pearsonr(x.flatten(), y.flatten())[0]
        for x, y in zip(a.numpy(), b.numpy(), strict=True)
    ]
    np.testing.assert_allclose(r.pixel_correlation(a, b), wanted, atol=1e-6)
    np.testing.assert_allclose(r.pixel_correlation(3 * a + 1, a), 1, atol=1e-6)
    assert (r.pixel_correlation(torch.zeros_like(a), a) == 0).all()


def ssim_by_hand(a, b):
    """Wang et al. 2004, equation 13, over the part that the window of scikit-image covers wholly."""
    a, b = (
        ((x + 1) / 2 * torch.tensor([0.2125, 0.7154, 0.0721])[:, None, None])
        .sum(0)
        .double()
        .numpy()
        for x in (a, b)
    )

    def blur(x):
        return gaussian_filter(x, 1.5, truncate=3.5)

    ma, mb = blur(a), blur(b)
    va, vb, vab = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return found[5:-5, 5:-5].mean()


def test_structural_similarity_is_wangs():
    a = pictures()
    b = 0.7 * a + 0.3 * pictures(seed=1)
    wanted = [ssim_by_hand(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(r.structural_similarity(a, b), wanted, atol=1e-6)
    np.testing.assert_allclose(r.structural_similarity(a, a), 1)


def identified_by_hand(made, seen, distractor):
    n, found = len(made), []
    for i in range(n):
        own, wins = np.corrcoef(made[i], seen[i])[0, 1], 0
        for j in set(range(n)) - {i}:
            other = (made[j], seen[i]) if distractor == "reconstructions" else (made[i], seen[j])
            wins += own > np.corrcoef(*other)[0, 1]
        found.append(wins / (n - 1))
    return found


@pytest.mark.parametrize("distractor", ["reconstructions", "truths"])
def test_identification_counts_the_wins(distractor):
    seen = features()
    made = 0.3 * seen + features(seed=1) * torch.linspace(0.1, 3, 8)[:, None]
    wanted = identified_by_hand(made.numpy(), seen.numpy(), distractor)
    np.testing.assert_allclose(r.identification(made, seen, distractor), wanted)
    other = "truths" if distractor == "reconstructions" else "reconstructions"
    assert not np.allclose(wanted, r.identification(made, seen, other))


def test_identification_of_the_same_picture_for_all_is_chance():
    seen = features()
    same = features(1, seed=3).expand(8, -1)
    np.testing.assert_allclose(r.identification(same, seen), 0.5)
    np.testing.assert_allclose(r.identification(same, seen, "truths").mean(), 0.5)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(0, 1000))
def test_identification_does_not_mind_order_or_scale(n, seed):
    seen, made = features(n, seed=seed), features(n, seed=seed + 1)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    found = r.identification(made, seen)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(
        r.identification(2 * made[order] + 1, seen[order]), found[order.numpy()]
    )


def test_retrieval_is_exact_over_the_whole_gallery_and_chance_for_noise():
    seen, made = features(60), features(60, seed=1)
    near = seen + 0.8 * made
    cosine = torch.nn.functional.cosine_similarity(near[:, None], seen[None], dim=2)
    np.testing.assert_array_equal(
        r.retrieval(near, seen, gallery=60, draws=2), (cosine.argmax(1) == torch.arange(60)).float()
    )
    many, other = features(1000, 30), features(1000, 30, seed=5)
    assert abs(r.retrieval(other, many, gallery=10).mean() - 0.1) < 0.03
    assert (r.retrieval(other, many, gallery=10) == r.retrieval(other, many, gallery=10)).all()


def test_similarity_and_distance():
    a, b = features(), features(seed=1)
    np.testing.assert_allclose(r.similarity(a, b), torch.cosine_similarity(a, b), atol=1e-6)
    wanted = [1 - stats.pearsonr(x, y)[0] for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(r.feature_distance(a, b), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: r.pixel_correlation(pictures(), pictures(5)), "must be the same"),
        (lambda: r.pixel_correlation(features(), features()), r"\[N, 3, H, W\]"),
        (lambda: r.structural_similarity(pictures(size=8), pictures(size=8)), "11 pixels"),
        (lambda: r.identification(features(1), features(1)), "2 or more"),
        (lambda: r.identification(features(), features(), "both"), "distractor is 'both'"),
        (
            lambda: r.identification(features() / 0, features()),
            r"made\[0\] has values that are NaN",
        ),
        (lambda: r.retrieval(features(), features()), "gallery is 300"),
        (lambda: r.retrieval(features(), features(), 4, draws=0), "draws is 0"),
    ],
)
def test_bad_input_is_named(call, told):
    with pytest.raises(ValueError, match=told):
        call()
