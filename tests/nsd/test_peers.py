"""The simulated dataset as nsd_access reads it, the package by which many read NSD: the same numbers as ours.

It is on GitHub alone: ``pip install --no-deps git+https://github.com/tknapen/nsd_access pycocotools``. (nsdcode, of
NSD's authors, maps data between spaces, and reads no betas.)
"""

import shutil

import nibabel as nib
import numpy as np
import pytest

from minisd.nsd import Root, Subject, read_labels

peer = pytest.importorskip(
    "nsd_access",
    reason="pip install --no-deps git+https://github.com/tknapen/nsd_access pycocotools",
)


@pytest.fixture
def root(tiny_root, tmp_path):
    """The simulation, with the names of labels where nsd_access looks for them."""
    root = Root(shutil.copytree(tiny_root.path, tmp_path / "root"))
    for path in root.labels(2, "streams")[0].parent.glob("*.ctab"):
        to = root.labels(2, path.name.removesuffix(".mgz.ctab"))[1]
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    return root


@pytest.fixture
def access(root, monkeypatch):
    # nibabel 5 took away what nsd_access calls; so it was in nibabel 4
    monkeypatch.setattr(nib.Nifti1Image, "get_data", lambda image: np.asanyarray(image.dataobj))
    return peer.NSDAccess(str(root.path))


def test_regions_and_their_labels(root, access):
    subject = Subject(root, 2)
    for name in root.roi_names(2):
        for side, prefix in ((None, ""), ("lh", "lh."), ("rh", "rh.")):
            values, number_of = access.read_atlas_results("subj02", prefix + name, "func1pt8mm")
            assert np.array_equal(values > 0, subject.roi(name, hemisphere=side))
            number_of.pop("Unknown")
            assert read_labels(root, 2, name) == {n: label for label, n in number_of.items()}
            for label, number in number_of.items():
                assert np.array_equal(values == number, subject.roi(name, label, side))


def test_betas(root, access):
    subject = Subject(root, 2)
    mask = subject.roi("nsdgeneral")
    whole = access.read_betas("subj02", 1, data_format="func1pt8mm")
    assert whole.shape == (*mask.shape, 45)
    assert np.array_equal(subject.betas(1, mask), whole[mask].T / np.float32(300))


def test_trials_pictures_and_captions(root, access):
    trials = Subject(root, 1).trials
    for session in (1, 2):
        behaviour = access.read_behavior("subj01", session)
        ours = trials[trials.session == session]
        assert behaviour["73KID"].tolist() == (ours.nsd_id + 1).tolist()
        assert behaviour["RUN"].tolist() == ours.run.tolist()
        assert behaviour["ISOLD"].tolist() == (ours.repeat > 0).astype(int).tolist()
    ids, pictures = [0, 7, 31], Subject(root, 1).pictures
    assert np.array_equal(access.read_images(ids), np.stack([pictures[i] for i in ids]))
    for nsd_id, told in zip(ids, access.read_image_coco_info(ids), strict=True):
        assert [one["caption"].strip() for one in told] == list(pictures.captions(nsd_id))
