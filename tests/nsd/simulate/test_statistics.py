"""The maps beside the betas, against minisd.nsd's own estimate and by hand."""

import numpy as np
import pytest

from minisd.nsd import Trials, ncsnr
from minisd.nsd.simulate.statistics import Statistics


@pytest.fixture(scope="module")
def gathered():
    rng = np.random.default_rng(0)
    shown = np.concatenate([rng.permutation(np.repeat(np.arange(20), 3)), [20, 20]])
    picture = rng.normal(0, 300, (21, 5))
    betas = np.round(600 + picture[shown] + rng.normal(0, 500, (62, 5))).astype(np.int16)
    statistics = Statistics(shown, 3, 5)
    for rows in (slice(0, 30), slice(30, 62)):
        statistics.add(shown[rows], betas[rows])
    return shown, betas, statistics.maps()


def test_ncsnr_is_the_datasets(gathered):
    shown, betas, maps = gathered
    session = np.repeat([1, 2], [30, 32])
    trials = Trials(session, session, shown, shown, shown, shown < 0)
    assert np.allclose(maps["ncsnr"], ncsnr(betas / 300, trials), atol=1e-4)


def test_meanbeta_is_in_the_stored_units(gathered):
    _, betas, maps = gathered
    sessions = [betas[:30].mean(axis=0), betas[30:].mean(axis=0)]
    assert np.allclose(maps["meanbeta_session01"], sessions[0], rtol=1e-4)
    assert np.allclose(maps["meanbeta"], np.mean(sessions, axis=0), rtol=1e-4)


def test_r2_is_a_percentage_and_higher_where_betas_are(gathered):
    _, betas, maps = gathered
    assert set(maps) == {"ncsnr", "meanbeta", "R2"} | {
        f"{name}_session{k:02}" for name in ("meanbeta", "R2") for k in (1, 2)
    }
    power = (betas[:30] / 300.0) ** 2
    assert np.allclose(maps["R2_session01"], 100 * power.mean(0) / (power.mean(0) + 9), rtol=1e-3)


def test_without_a_complete_picture_there_is_no_ncsnr():
    statistics = Statistics(np.arange(4), 3, 2)
    statistics.add(np.arange(4), np.ones((4, 2), np.int16))
    assert "ncsnr" not in statistics.maps()
