"""Regions of interest, against the labels that were written."""

import numpy as np
import pytest

from minisd.nsd import Root, read_labels, read_roi
from tests.nsd import tiny_nsd


@pytest.fixture
def rois(tmp_path):
    return tiny_nsd.write_rois(tmp_path)


def test_a_region_is_what_is_above_zero(tmp_path, rois):
    volumes, _ = rois
    mask = read_roi(Root(tmp_path), 1, "prf-visualrois")
    assert mask.dtype == bool
    assert mask.shape == tiny_nsd.SHAPE
    assert np.array_equal(mask, volumes[""] > 0)
    assert np.count_nonzero(volumes[""] == -1) > 20  # the trap: `!= 0` would take these
    assert np.count_nonzero(volumes[""] == 0) > 5


def test_labels_are_taken_by_name_and_united(tmp_path, rois):
    volumes, _ = rois
    root = Root(tmp_path)
    assert read_labels(root, 1, "prf-visualrois") == {1: "V1v", 2: "V1d", 3: "V2v", 4: "hV4"}
    for number, label in enumerate(tiny_nsd.LABELS, 1):
        assert np.array_equal(read_roi(root, 1, "prf-visualrois", label), volumes[""] == number)
    both = read_roi(root, 1, "prf-visualrois", ["hV4", "V1v"])
    assert np.array_equal(both, (volumes[""] == 1) | (volumes[""] == 4))
    every = read_roi(root, 1, "prf-visualrois", tiny_nsd.LABELS)
    assert np.array_equal(every, read_roi(root, 1, "prf-visualrois"))


def test_hemispheres_part_the_regions(tmp_path, rois):
    volumes, _ = rois
    root = Root(tmp_path)
    left, right = (read_roi(root, 1, "prf-visualrois", "V1d", side) for side in ("lh", "rh"))
    assert np.array_equal(left, volumes["lh."] == 2)
    assert not left[3:].any()
    assert left.any()
    assert right.any()
    assert np.array_equal(left ^ right, read_roi(root, 1, "prf-visualrois", "V1d"))


def test_the_average_brain_has_the_left_hemisphere_first(tmp_path, rois):
    _, surfaces = rois
    root = Root(tmp_path)
    every = np.concatenate([surfaces["lh"], surfaces["rh"]])
    mask = read_roi(root, 1, "prf-visualrois", space="fsaverage")
    assert np.array_equal(mask, every > 0)
    right = read_roi(root, 1, "prf-visualrois", ["V1v", "hV4"], "rh", "fsaverage")
    assert right.shape == (20,)
    assert not right[:11].any()
    assert np.array_equal(right[11:], np.isin(surfaces["rh"], [1, 4]))


def test_names_of_labels_lie_in_one_of_three_places(tmp_path, rois):
    root = Root(tmp_path)
    own, average, template = root.labels(1, "prf-visualrois")
    text = "# no comment is a label\n\n  0  Unknown\n1 V1 ventral 25 5 25 0\n12 L_V1 30 \n"
    for path in (average, template):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("ventral", path.parent.name))
    assert read_labels(root, 1, "prf-visualrois")[1] == "V1v"
    own.unlink()
    assert read_labels(root, 1, "prf-visualrois") == {1: "V1 label", 12: "L_V1 30"}
    average.unlink()
    assert read_labels(root, 1, "prf-visualrois")[1] == "V1 templates"
    template.unlink()
    assert read_roi(root, 1, "prf-visualrois").any()
    with pytest.raises(
        ValueError, match=r"subj01/label/prf-visualrois.mgz.ctab is not there .*it names the labels"
    ):
        read_roi(root, 1, "prf-visualrois", "V1v")
    own.write_text("0 Unknown\nV1v 1\n")
    with pytest.raises(
        ValueError,
        match=r"prf-visualrois.mgz.ctab line 2 is 'V1v 1'; it must be a number and a name",
    ):
        read_labels(root, 1, "prf-visualrois")


def test_a_region_that_the_subject_does_not_have_is_nowhere(tmp_path):
    tiny_nsd.write_rois(tmp_path, labels=tiny_nsd.LABELS[:2])
    root = Root(tmp_path)
    with root.labels(1, "prf-visualrois")[0].open("a") as file:
        file.write("3 V2v\n")
    assert not read_roi(root, 1, "prf-visualrois", "V2v").any()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"name": "visualrois"}, r"name is 'visualrois'; subject 1 has in func1pt8mm: prf-visualrois \(nsddata/pp"),
        ({"name": "x", "space": "fsaverage"}, r"has in fsaverage: prf-visualrois \(nsddata/freesurfer/fsaverage/label"),
        ({"name": "x", "space": "func1mm"}, "has in func1mm: no regions"),
        ({"name": "prf-visualrois", "labels": "V1"}, r"labels are \['V1'\]; prf-visualrois has V1v, V1d, V2v, hV4"),
        ({"name": "prf-visualrois", "labels": ["V1v", "V9"]}, r"labels are \['V1v', 'V9'\]"),
        ({"name": "prf-visualrois", "labels": []}, r"labels are \[\]"),
        ({"name": "prf-visualrois", "labels": "Unknown"}, r"labels are \['Unknown'\]"),
        ({"name": "prf-visualrois", "hemisphere": "left"}, "hemisphere is 'left'; it must be one of lh, rh"),
        ({"name": "prf-visualrois", "hemisphere": "left", "space": "fsaverage"}, "hemisphere is 'left'"),
        ({"name": "prf-visualrois", "space": "MNI"}, "space is 'MNI'"),
    ],
)  # fmt: skip
def test_unknown_names_list_what_there_is(tmp_path, rois, args, message):
    with pytest.raises(ValueError, match=message):
        read_roi(Root(tmp_path), 1, **args)


def test_a_hemisphere_whose_file_is_missing(tmp_path, rois):
    root = Root(tmp_path)
    root.roi(1, "prf-visualrois", "rh").unlink()
    with pytest.raises(
        ValueError, match=r"roi/rh.prf-visualrois.nii.gz is not there .*get NSD's regions"
    ):
        read_roi(root, 1, "prf-visualrois", hemisphere="rh")


def test_values_that_are_no_labels(tmp_path, rois):
    path = Root(tmp_path).roi(1, "prf-visualrois")
    for bad in (0.5, np.nan):
        tiny_nsd.save_nifti(
            path, np.where(np.arange(5) == 2, bad, np.ones(tiny_nsd.SHAPE)), np.float32
        )
        with pytest.raises(
            ValueError, match=r"roi/prf-visualrois.nii.gz has values that are no whole numbers"
        ):
            read_roi(Root(tmp_path), 1, "prf-visualrois")
