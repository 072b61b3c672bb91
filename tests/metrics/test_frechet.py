import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisd.metrics import frechet_distance


@settings(max_examples=30)
@given(st.integers(2, 8), st.integers(0, 1000))
def test_it_is_the_formula_with_scipys_square_root(D, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(50, D)) @ rng.normal(size=(D, D)), 0.7 * rng.normal(size=(40, D)) + 1
    A, B = np.cov(a.T), np.cov(b.T)
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(
        A + B - 2 * scipy.linalg.sqrtm(A @ B).real
    )
    found = frechet_distance(torch.from_numpy(a), torch.from_numpy(b))
    assert found == pytest.approx(wanted, rel=1e-6)


def test_known_cases():
    x = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 2) == pytest.approx(16)  # a shift by 2 in each of 4 dimensions
    # along one axis it is the squared difference of the standard deviations
    assert frechet_distance(x[:, :1], 3 * x[:, :1] - 2 * x[:, :1].mean()) == pytest.approx(
        4 * float(x[:, 0].var()), rel=1e-5
    )


def test_fewer_rows_than_columns_are_no_fault():
    x = torch.randn(5, 20, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shapes", [((3, 2), (3, 3)), ((1, 2), (3, 2)), ((3,), (3,))])
def test_shapes_that_do_not_fit_are_named(shapes):
    with pytest.raises(ValueError, match="a and b have shapes"):
        frechet_distance(*(torch.zeros(shape) for shape in shapes))
