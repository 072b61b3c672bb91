"""One subject, by the face over all the readers, against what was written by hand."""

import numpy as np
import pytest

from minisd.nsd import Root, Subject
from tests.nsd import tiny_nsd


@pytest.fixture
def brain(tmp_path):
    """A whole dataset of subject 2, with two sessions."""
    rng = np.random.default_rng(0)
    written = {
        "plan": tiny_nsd.write_tables(tmp_path),
        "roi": tiny_nsd.write_rois(tmp_path, subject=2)[0][""],
        "pictures": tiny_nsd.write_pictures(tmp_path),
        "captions": tiny_nsd.write_captions(tmp_path),
        "betas": [tiny_nsd.session_of_betas(rng) for _ in range(2)],
        "ncsnr": rng.random(tiny_nsd.SHAPE).astype(np.float32),
    }
    for session, (data, kind) in enumerate(
        zip(written["betas"], ("hdf5", "nii.gz"), strict=True), 1
    ):
        tiny_nsd.write_betas(tmp_path, 2, session, data, kinds=[kind])
    tiny_nsd.save_nifti(Root(tmp_path).statistic(2, "ncsnr"), written["ncsnr"], np.float32)
    return written


def test_everything_of_a_subject_fits_together(tmp_path, brain):
    subject = Subject(tmp_path, 2)
    assert subject.sessions == (1, 2)
    mask = subject.roi("prf-visualrois", ["V1v", "V1d"])
    assert np.array_equal(mask, np.isin(brain["roi"], [1, 2]))
    betas = np.concatenate([subject.betas(session, mask) for session in subject.sessions])
    assert betas.shape == (len(subject.trials), mask.sum())
    expected = np.concatenate([data[mask].T for data in brain["betas"]]) / 300
    assert np.allclose(betas, expected, rtol=1e-6)
    # the picture of the last trial, found without minisd
    *_, last = (t for t in tiny_nsd.trials(brain["plan"], 2) if t[0] <= 2)
    shown = subject.trials.nsd_id[-1]
    assert np.array_equal(subject.pictures[shown], brain["pictures"][last[3] - 1])
    assert subject.captions(shown) == tuple(brain["captions"][1000 + 7 * (last[3] - 1)])
    values = brain["ncsnr"][mask]
    assert np.array_equal(subject.ncsnr(mask), values)
    assert np.allclose(subject.noise_ceiling(mask), 100 * values**2 / (values**2 + 1 / 3))
    assert np.allclose(subject.noise_ceiling(mask, 1), 100 * values**2 / (values**2 + 1))


def test_version_and_space_are_the_subjects(tmp_path, brain):
    root = Root(tmp_path)
    data = tiny_nsd.session_of_betas(np.random.default_rng(9))
    tiny_nsd.write_betas(tmp_path, 2, 2, data, "betas_fithrf")
    subject = Subject(root, 2, "betas_fithrf")
    mask = subject.roi("prf-visualrois", hemisphere="lh")
    assert subject.sessions == (2,)
    assert np.allclose(subject.betas(2, mask), data[mask].T / 300, rtol=1e-6)
    with pytest.raises(ValueError, match=r"betas_fithrf/ncsnr.nii.gz is not there"):
        subject.ncsnr(mask)
    average = Subject(root, 2, space="fsaverage")
    assert average.sessions == ()
    assert average.roi("prf-visualrois").shape == (20,)
    assert repr(average) == f"Subject('{tmp_path}', 2, 'betas_fithrf_GLMdenoise_RR', 'fsaverage')"


def test_vertices_without_numbers(tmp_path, brain):
    """Outside of what was measured, NSD's files of the average brain have NaN."""
    percent = np.random.default_rng(0).normal(2.2, 3.3, (9, 20)).astype(np.float32)
    percent[:, [3, 11, 19]] = np.nan
    for side, data in zip(tiny_nsd.VERTICES, np.split(percent.T, [11]), strict=True):
        path = Root(tmp_path).betas(2, 1, space="fsaverage", hemisphere=side)
        tiny_nsd.save_mgh(path, data[:, None, None])
    subject = Subject(tmp_path, 2, space="fsaverage")
    assert subject.sessions == (1,)
    every = np.ones(20, bool)
    assert np.array_equal(subject.betas(1, every, allow_nan=True), percent, equal_nan=True)
    with pytest.raises(
        ValueError,
        match=r"^nsddata_betas/.*/lh.betas_session01.mgh has no number \(NaN\) in 1 .*leave them out",
    ):
        subject.betas(1, every)
    there = np.isfinite(percent).all(axis=0)
    assert np.array_equal(subject.betas(1, there), percent[:, there])


def test_betas_with_another_number_of_trials(tmp_path, brain):
    data = tiny_nsd.session_of_betas(np.random.default_rng(0), trials=8)
    tiny_nsd.write_betas(tmp_path, 2, 2, data, kinds=["nii.gz"])
    subject = Subject(tmp_path, 2)
    mask = subject.roi("prf-visualrois")
    assert len(subject.betas(1, mask)) == 9
    with pytest.raises(
        ValueError,
        match=r"betas of 8 trials in session 2 .* and by .*nsd_expdesign.mat 9; get both",
    ):
        subject.betas(2, mask)
    with pytest.raises(
        ValueError, match=r"subject 2 has of .* the sessions 1-2, and .*get session 3"
    ):
        subject.betas(3, mask)


def test_nothing_is_read_too_early(tmp_path, brain):
    root = Root(tmp_path)
    root.design.unlink()
    root.stimuli.unlink()
    subject = Subject(root, 2)
    assert subject.roi("prf-visualrois").any()
    with pytest.raises(ValueError, match=r"nsd_expdesign.mat is not there"):
        subject.trials  # noqa: B018


def test_a_subject_that_is_not_there(tmp_path, brain):
    with pytest.raises(
        ValueError, match=r"number is 4; .* has the subjects 1-3 \(nsddata/ppdata\)"
    ):
        Subject(tmp_path, 4)
    with pytest.raises(ValueError, match="subject is 'subj01'"):
        Subject(tmp_path, "subj01")
    with pytest.raises(ValueError, match="version is 'b3'"):
        Subject(tmp_path, 1, "b3")
    with pytest.raises(ValueError, match="space is 'MNI'"):
        Subject(tmp_path, 1, space="MNI")
    with pytest.raises(ValueError, match=r"root .*nowhere is not there"):
        Subject(tmp_path / "nowhere", 1)
