"""Files, read back by nibabel, h5py and scipy by hand."""

import h5py
import nibabel as nib
import numpy as np
import pytest
import scipy.io

from minisd.nsd.simulate import write

AFFINE = np.diag([1.8, 1.8, 1.8, 1.0])


@pytest.fixture
def session():
    rng = np.random.default_rng(0)
    brain = rng.random((4, 5, 3)) < 0.6
    betas = rng.integers(-32768, 32768, (7, brain.sum())).astype(np.int16)
    whole = np.zeros((7, 4, 5, 3), np.int16)
    whole[:, brain] = betas
    return brain, betas, whole


def test_nifti_betas(tmp_path, session):
    brain, betas, whole = session
    write.write_series(tmp_path / "b.nii.gz", betas, brain, AFFINE)
    image = nib.load(tmp_path / "b.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert np.array_equal(np.moveaxis(np.asarray(image.dataobj), 3, 0), whole)
    assert np.allclose(image.affine, AFFINE)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")  # NSD's LPI: from left, back, bottom
    assert image.header.get_zooms() == pytest.approx((1.8, 1.8, 1.8, 4 / 3))


def test_hdf5_betas_have_their_axes_turned_round(tmp_path, session):
    brain, betas, whole = session
    write.write_series(tmp_path / "b.hdf5", betas, brain, AFFINE)
    with h5py.File(tmp_path / "b.hdf5") as file:
        found = file["betas"]
        assert found.dtype == np.int16
        assert found.chunks == (7, 1, 1, 1)
        assert np.array_equal(found[:], whole.transpose(0, 3, 2, 1))


def test_percentages_become_whole_numbers_as_in_matlab():
    values = np.array([[0, 1, -1, 0.5 / 300, -0.5 / 300, 0.4 / 300, 200, -200]], np.float32)
    assert write.to_int16(values).tolist() == [[0, 300, -300, 1, -1, 0, 32767, -32768]]


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_maps(tmp_path, kind):
    data = np.arange(60).reshape(3, 4, 5).astype(kind)
    write.write_map(tmp_path / "deep" / "m.nii.gz", data, AFFINE)
    image = nib.load(tmp_path / "deep" / "m.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj), data)
    assert image.get_data_dtype() == kind


def test_matlab_files_are_the_same_bytes_whenever_they_are_written(tmp_path, monkeypatch):
    content = {"order": np.arange(6.0)[None]}
    times = iter(["Mon Jan  1 00:00:00 2024", "Tue Jan  2 00:00:00 2024"])
    monkeypatch.setattr("time.asctime", lambda *_: next(times, "Wed Jan  3 00:00:00 2024"))
    for name in ("a.mat", "b.mat"):
        write.write_mat(tmp_path / name, content)
    assert (tmp_path / "a.mat").read_bytes() == (tmp_path / "b.mat").read_bytes()
    assert np.array_equal(scipy.io.loadmat(tmp_path / "a.mat")["order"], content["order"])


def test_pictures(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    write.write_pictures(tmp_path / "p.hdf5", pictures)
    with h5py.File(tmp_path / "p.hdf5") as file:
        assert np.array_equal(file["imgBrick"][:], pictures)
    assert np.array_equal(write.read_pictures(tmp_path / "p.hdf5"), pictures)


def test_tables_and_labels(tmp_path):
    write.write_table(tmp_path / "t.tsv", [["A", "B"], [1, "x"]], "\t")
    assert (tmp_path / "t.tsv").read_bytes() == b"A\tB\n1\tx\n"
    write.write_labels(tmp_path / "l.ctab", ["V1v", "V1d"])
    assert (tmp_path / "l.ctab").read_text() == "0 Unknown\n1 V1v\n2 V1d\n"


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "t.txt"
    write.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write.write_text(path, "half \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
