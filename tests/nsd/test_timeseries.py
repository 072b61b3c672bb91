"""BOLD runs: the simulated ones, read by other code and by minisd, and back to the betas that they were made from."""

import shutil

import nibabel
import numpy as np
import pytest

from minisd.nsd import Subject
from minisd.nsd.glm import Run, clean_data, clean_designs, design, least_squares
from minisd.nsd.hrf import response
from minisd.nsd.simulate import bold, simulate
from minisd.nsd.timeseries import read_runs
from tests.nsd.simulate.tiny import tiny

FOLDER = "nsddata_timeseries/ppdata/subj01/func1pt8mm"


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    settings = tiny(bold=1)
    return Subject(simulate(tmp_path_factory.mktemp("bold") / "nsd", settings, progress=False), 1)


@pytest.fixture
def copy(subject, tmp_path):
    return Subject(shutil.copytree(subject.root.path, tmp_path / "nsd"), 1)


def correlation(a, b):
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0))


def test_only_what_was_asked_for_is_there(subject):
    assert subject.root.runs(1, 1) == (1, 2, 3, 4)
    assert subject.root.runs(1, 2) == ()


def test_other_code_reads_the_same(subject):
    mask = subject.roi("nsdgeneral")
    for number, run in enumerate(read_runs(subject.root, 1, 1, mask), start=1):
        path = subject.root.path / FOLDER / f"timeseries/timeseries_session01_run{number:02}.nii.gz"
        image = nibabel.load(path)
        slots = max(tiny().trials) + 12
        assert image.shape == (*mask.shape, 3 * slots + 1)
        assert image.header.get_zooms()[3] == pytest.approx(4 / 3)
        assert np.array_equal(run.bold, image.get_fdata()[mask].T)


def test_each_trial_begins_where_the_table_has_its_picture(subject):
    runs = read_runs(subject.root, 1, 1, subject.roi("nsdgeneral"))
    shown = np.concatenate([run.pictures for run in runs])
    assert np.array_equal(shown, subject.trials.nsd_id[subject.trials.session == 1])
    for run in runs:
        assert np.allclose(run.onsets % 4, 0)


def test_betas_come_back_from_the_runs(subject):
    mask = subject.roi("nsdgeneral")
    with np.load(subject.root.path / "simulation" / "subj01.npz") as file:
        peaks = np.full(mask.shape, np.nan)
        peaks[file["brain"]] = file["hrf_peak"]
    peaks, told = peaks[mask], subject.betas(1, mask)
    runs = read_runs(subject.root, 1, 1, mask)
    peak = np.median(peaks)
    mine = peaks == peak
    some = [Run(run.bold[:, mine], run.onsets, run.pictures, run.tr) for run in runs]
    shape = response(3.0, peak, peak + 10)
    found = least_squares(clean_designs(some, shape), clean_data(some))
    found = 100 * found / np.concatenate([run.bold for run in some]).mean(0)
    assert mine.sum() > 10
    assert np.median(correlation(found, told[:, mine])) > 0.9


def test_without_noise_they_come_back_as_they_were(monkeypatch):
    monkeypatch.setattr(bold, "WHITE", 0.0)
    monkeypatch.setattr(bold, "DRIFT", 0.0)
    rng = np.random.default_rng(0)
    pattern = np.tile(np.array([0, 0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0], np.uint8), (2, 2))
    betas = rng.normal(2, 3, (pattern.sum(), 4)).astype(np.float32)
    seen_by = bold.Scanner(np.array([3, 3, 20, 20]), np.full(4, 20000.0))
    series = list(bold.bold_runs(betas, pattern, seen_by, rng))
    for peak, voxels in ((bold.PEAKS[3], slice(0, 2)), (bold.PEAKS[20], slice(2, 4))):
        designs = []
        for one, slots in zip(series, pattern, strict=True):
            onsets = bold.onset_volumes(slots) * bold.TR
            run = Run(one[:, voxels].astype(float), onsets, np.arange(len(onsets)))
            designs.append(run)
        shape = response(3.0, peak, peak + 10)
        x = [design(run, shape) for run in designs]
        data = [100 * (run.bold / 20000 - 1) for run in designs]
        assert np.allclose(least_squares(x, data), betas[:, voxels], atol=0.03)


def test_a_second_run_of_the_simulator_does_nothing(subject):
    files = {path: path.stat().st_mtime_ns for path in subject.root.path.rglob("*.nii.gz")}
    simulate(subject.root.path, tiny(bold=1), progress=False)
    assert files == {path: path.stat().st_mtime_ns for path in files}


def test_faults_are_named(copy):
    mask = copy.roi("nsdgeneral")
    with pytest.raises(ValueError, match=r"session02_run01.nii.gz is not there; get the runs of"):
        read_runs(copy.root, 1, 2, mask)
    with pytest.raises(
        ValueError, match=r"run01.nii.gz has the shape .*, and the mask \(3, 3, 3\)"
    ):
        read_runs(copy.root, 1, 1, np.ones((3, 3, 3), bool))
    table = copy.root.run_design(1, 1, 2)
    table.write_text(table.read_text()[:-2])
    with pytest.raises(
        ValueError, match=r"design_session01_run02.tsv has \d+ lines, and .* volumes"
    ):
        read_runs(copy.root, 1, 1, mask)
    table.write_text("0\nx\n")
    with pytest.raises(ValueError, match=r"design_session01_run02.tsv \(4 bytes\) cannot be read"):
        read_runs(copy.root, 1, 1, mask)
    table.unlink()
    with pytest.raises(
        ValueError, match=r"design_session01_run02.tsv is not there .*; it tells what"
    ):
        read_runs(copy.root, 1, 1, mask)
    series = copy.root.timeseries(1, 1, 1)
    series.write_bytes(series.read_bytes()[:-4000])
    with pytest.raises(
        ValueError, match=r"timeseries_session01_run01.nii.gz \(.* bytes\) cannot be read"
    ):
        read_runs(copy.root, 1, 1, mask)
