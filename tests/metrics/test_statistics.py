import numpy as np
import pytest

from minisd.metrics.statistics import interval, paired_test


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(200):
        found = interval(rng.exponential(size=60), resamples=999, seed=seed)
        assert found.low <= found.mean <= found.high
        inside += found.low <= 1 <= found.high
    assert 178 <= inside <= 199  # 95 % of 200 is 190, and it is off by 3 or so


def test_interval_of_equal_values_is_a_point():
    assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0, 2.0)
    assert str(interval([2.0, 2.0])) == "2.000 [2.000, 2.000]"


def test_paired_test_sees_a_small_difference_that_is_the_same_everywhere():
    rng = np.random.default_rng(0)
    a = rng.normal(size=200)
    better = a + 0.1 + 0.2 * rng.normal(size=200)
    assert paired_test(better, a) < 0.001
    assert paired_test(a, better) < 0.001
    assert paired_test(rng.permutation(better), a) > 0.05


def test_paired_test_of_few_counts_all_exchanges():
    # of the 8 signs of three differences only all plus and all minus are as extreme
    assert paired_test([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]) == pytest.approx(2 / 8)


def test_paired_test_is_rarely_wrong_where_there_is_nothing():
    rng = np.random.default_rng(1)
    found = [paired_test(*rng.normal(size=(2, 30)), resamples=199, seed=k) for k in range(200)]
    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.06)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: interval([1.0]), "two or more"),
        (lambda: interval([1.0, np.nan]), r"values\[1\] is NaN"),
        (lambda: paired_test([1.0, 2.0], [1.0, 2.0, 3.0]), "2 and 3 values"),
    ],
)
def test_bad_input_is_named(call, told):
    with pytest.raises(ValueError, match=told):
        call()
