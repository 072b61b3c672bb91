"""Responses against scipy's densities, and against a convolution written out."""

import numpy as np
import pytest
from scipy.stats import gamma

from minisd.nsd.hrf import LENGTH, STEP, double_gamma, library, response


def width(y):
    return np.ptp(np.flatnonzero(y > 0.5)) * STEP


def test_it_is_two_gamma_densities():
    t = np.linspace(-5, 40, 200)
    assert np.allclose(double_gamma(t), gamma.pdf(t, 6) - gamma.pdf(t, 16) / 6)
    expected = gamma.pdf(t, 1 + 4 / 0.8, scale=0.8) - 0.3 * gamma.pdf(t, 1 + 9 / 0.8, scale=0.8)
    assert np.allclose(double_gamma(t, peak=4, undershoot=9, ratio=0.3, scale=0.8), expected)
    assert t[double_gamma(t, ratio=0).argmax()] == pytest.approx(5, abs=0.2)


def test_a_long_stimulus_is_many_short_ones():
    for duration in (0.5, 3, 3.14):
        # pulses of 10 ms, one after another
        t = np.arange(len(response(duration))) * STEP
        pulses = np.arange(0.005, duration, 0.01)
        expected = double_gamma(t[:, None] - pulses).sum(axis=1)
        assert np.allclose(response(duration), expected / expected.max(), atol=1e-3)
    assert np.allclose(response(1e-3), double_gamma(t) / double_gamma(t).max(), atol=5e-3)


def test_a_response_starts_and_ends_at_nothing_and_peaks_at_one():
    for y in (*library(3), response(3), response(0.1)):
        assert y.shape == (round(LENGTH / STEP) + 1,)
        assert y[0] == 0
        assert abs(y[-1]) < 1e-4
        assert y.max() == 1


def test_the_library_runs_from_early_and_narrow_to_late_and_wide():
    found = library(3)
    assert found.shape == (20, 501)
    assert np.all(np.diff(found.argmax(axis=1)) > 0)
    assert np.all(np.diff([width(y) for y in found]) > -1e-9)
    assert np.all(np.diff(found.min(axis=1)) > 0)
    ends = found[[0, -1]]
    assert ends.argmax(axis=1) * STEP == pytest.approx([4.2, 7.6])  # as the docstring says
    assert [width(y) for y in ends] == pytest.approx([3.1, 5.4])
    assert library(3, 5)[0] == pytest.approx(ends[0])


def test_bad_input_is_named():
    for name in ("peak", "undershoot", "scale"):
        with pytest.raises(ValueError, match=f"{name} is 0; it must be above 0 seconds"):
            double_gamma(1.0, **{name: 0})
    with pytest.raises(ValueError, match="ratio is -1; it must be 0 or more"):
        response(3, ratio=-1)
    for duration in (0, -1, 50, np.nan):
        with pytest.raises(ValueError, match=r"duration is .* above 0 and below 50 seconds"):
            response(duration)
    with pytest.raises(ValueError, match="size is 1; a library has 2"):
        library(3, 1)
