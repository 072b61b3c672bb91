"""The book's four subjects, at their full size: are they as they are said to be?

They take a minute to make, once: ``make test`` does it before, and without it the first test here.
"""

from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from minisd.nsd import Subject, ncsnr
from minisd.nsd.prepare import PrepareSettings, prepare
from minisd.nsd.simulate import simulate

FOLDER = Path(__file__).resolve().parents[2] / "data" / "nsd"
NUMBERS = (1, 2, 3, 4)
REPEATS = ((0, 1), (0, 2), (1, 2))


@pytest.fixture(scope="module")
def root():
    FOLDER.parent.mkdir(exist_ok=True)
    with FileLock(FOLDER.with_suffix(".lock")):  # tests run in several processes
        return simulate(FOLDER)


def betas(subject, mask):
    return np.concatenate([subject.betas(session, mask) for session in subject.sessions])


def truth(number, mask):
    with np.load(FOLDER / "simulation" / f"subj{number:02}.npz") as file:
        put_in = np.full(mask.shape, np.nan)
        put_in[file["brain"]] = file["ncsnr"]
    return put_in[mask]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_datasets_procedure_finds_the_ncsnr_that_was_put_in(root, number):
    subject = Subject(root, number)
    mask = subject.roi("nsdgeneral")
    put_in, found = truth(number, mask), ncsnr(betas(subject, mask), subject.trials)
    assert np.median(abs(found - put_in)) <= 0.03
    assert abs(np.polyfit(put_in, found, 1)[0] - 1) <= 0.05


def test_v1_of_the_first_subject_is_near_that_of_the_dataset(root):
    """Subject 1 of the Natural Scenes Dataset: mean 2.2 %, deviation 3.3 %, repeats correlated by .30."""
    subject = Subject(root, 1)
    found = betas(subject, subject.roi("prf-visualrois", ["V1v", "V1d"]))
    assert found.mean() == pytest.approx(2.2, abs=0.2)
    assert found.std() == pytest.approx(3.3, abs=0.2)
    shown = np.argsort(subject.trials.nsd_id, kind="stable").reshape(-1, 3)
    z = (found[shown] - found[shown].mean(0)) / found[shown].std(0)
    assert np.mean([(z[:, i] * z[:, j]).mean() for i, j in REPEATS]) == pytest.approx(0.3, abs=0.03)


def test_a_linear_read_off_names_most_things_and_not_all(root, tmp_path):
    subject = Subject(root, 1)
    ready = prepare(subject, tmp_path / "ready", PrepareSettings(align=200), progress=False)
    with np.load(FOLDER / "simulation" / "pictures.npz") as file:
        kinds = [str(name).startswith("category: ") for name in file["names"]]
        shows = file["named"][:, kinds] > 0
    train, test = (shows[part.nsd_id].astype(float) for part in (ready.train, ready.test))
    X, mean = ready.train.betas - ready.train.betas.mean(0), ready.train.betas.mean(0)
    dual = np.linalg.solve(X @ X.T + 1e4 * np.eye(len(X)), train - train.mean(0))
    named = ((ready.test.betas - mean) @ (X.T @ dual)).argmax(axis=1)
    one = test.sum(axis=1) == 1
    right = test[one, named[one]].mean()
    assert one.sum() > 80
    assert 0.7 <= right <= 0.85
