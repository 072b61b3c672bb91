"""What is there of each kind of file, what is missing, what is damaged: each with its name and what to do."""

import json
import re
import shutil

import numpy as np
import pytest

from minisd.nsd import Root
from minisd.nsd.inventory import look_at_captions, look_at_pictures, look_at_subject
from tests.nsd import tiny_nsd

RR = "betas_fithrf_GLMdenoise_RR"
FOLDER = f"nsddata_betas/ppdata/subj01/func1pt8mm/{RR}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    root, rng = Root(folder), np.random.default_rng(0)
    tiny_nsd.write_tables(folder)
    tiny_nsd.write_pictures(folder)
    tiny_nsd.write_captions(folder)
    tiny_nsd.write_rois(folder)
    tiny_nsd.save_nifti(root.volume(1, "brainmask"), np.ones(tiny_nsd.SHAPE), np.int16)
    for session in (1, 2, 3):
        data = tiny_nsd.session_of_betas(rng)
        tiny_nsd.write_betas(folder, 1, session, data)
        for side, count in tiny_nsd.VERTICES.items():
            path = root.betas(1, session, space="fsaverage", hemisphere=side)
            tiny_nsd.save_mgh(path, np.zeros((count, 1, 1, 9)))
    for name in ("ncsnr", "meanbeta", "R2"):
        tiny_nsd.save_nifti(root.statistic(1, name), np.ones(tiny_nsd.SHAPE), np.float32)
    return folder


@pytest.fixture
def root(whole, tmp_path):
    return Root(shutil.copytree(whole, tmp_path / "root"))


def looked_at(root, subject=1):
    items = [look_at_pictures(root), look_at_captions(root), *look_at_subject(root, subject)]
    return {f"{item.kind} {item.where}".strip(): item for item in items}


def faults(root, subject=1):
    return [text for item in looked_at(root, subject).values() for text in item.damaged]


def test_a_whole_root(root):
    items = looked_at(root)
    assert {name: item.found for name, item in items.items()} == {
        "pictures": "20",
        "captions": "train2017, val2017",
        "trials": "27 in the sessions 1-3",
        "regions func1pt8mm": "1 kinds, 6x7x5",
        f"betas {RR} func1pt8mm": "sessions 1-3 of 3, hdf5 and nii.gz",
        f"maps {RR} func1pt8mm": "ncsnr, meanbeta, R2",
        "regions fsaverage": "1 kinds, 11 9",
        f"betas {RR} fsaverage": "sessions 1-3 of 3, mgh",
        f"maps {RR} fsaverage": "",
    }
    assert {name for name, item in items.items() if item.state != "there"} == {
        f"maps {RR} fsaverage"
    }
    assert items[f"maps {RR} fsaverage"].state == "missing"
    assert faults(root) == []


def test_an_empty_root(tmp_path):
    items = looked_at(Root(tmp_path))
    assert {item.state for item in items.values()} == {"missing"}
    for item in items.values():
        assert item.missing
        assert all("minisd nsd download" in text or "COCO" in text for text in item.missing)


@pytest.mark.parametrize(
    ("gone", "kind", "found", "told"),
    [
        (
            f"{FOLDER}/betas_session02.*",
            f"betas {RR} func1pt8mm",
            "sessions 1, 3 of 3, hdf5 and nii.gz",
            r"has not sessions 2 of 3; get it: .*--what betas",
        ),
        (
            f"{FOLDER}/betas_session*.hdf5",
            f"betas {RR} func1pt8mm",
            "sessions 1-3 of 3, nii.gz",
            None,
        ),
        (
            "nsddata_betas/*/*/fsaverage/*/lh.betas_session03*",
            f"betas {RR} fsaverage",
            "sessions 1-2 of 3, mgh",
            "lh.betas_session03.mgh is not there",
        ),
        (
            f"{FOLDER}/ncsnr*",
            f"maps {RR} func1pt8mm",
            "meanbeta, R2",
            "ncsnr.nii.gz is not there; get it: .*--what maps",
        ),
        (
            "nsddata/ppdata/subj01/func1pt8mm/roi/lh.*",
            "regions func1pt8mm",
            "1 kinds, 6x7x5",
            r"roi/lh.prf-visualrois.nii.gz is not there; .* rois",
        ),
        (
            "nsddata/freesurfer/*/label/*.ctab",
            "regions func1pt8mm",
            "1 kinds, 6x7x5",
            r"subj01/label/prf-visualrois.mgz.ctab is not there",
        ),
        (
            "nsddata/ppdata/subj01/behav/responses.tsv",
            "trials",
            "27 in the sessions 1-3",
            "responses.tsv is not there; .* design",
        ),
        ("nsddata/experiments/nsd/*.mat", "trials", "", "nsd_expdesign.mat is not there"),
        ("nsddata/experiments/nsd/*.csv", "captions", "", "nsd_stim_info_merged.csv is not there"),
        (
            "nsddata_stimuli/stimuli/nsd/annotations/*val2017*",
            "captions",
            "train2017",
            "captions_val2017.json is not there; it is in COCO's",
        ),
        (
            "nsddata_stimuli/stimuli/nsd/*.hdf5",
            "pictures",
            "",
            "nsd_stimuli.hdf5 is not there; .* stimuli",
        ),
    ],
)
def test_what_is_missing_is_told_and_no_damage(root, gone, kind, found, told):
    paths = list(root.path.glob(gone))
    assert paths
    for path in paths:
        path.unlink()
    item = looked_at(root)[kind]
    assert item.found == found
    if told is None:
        assert item.state == "there"
    else:
        [text] = item.missing
        assert re.search(told, text)
        assert item.state == ("in part" if found else "missing")
    assert faults(root) == []


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def transposed(path):
    path.unlink()
    data = np.ones((*tiny_nsd.SHAPE, 9), np.int16)
    tiny_nsd.write_hdf5(path, data.transpose(3, 2, 1, 0), chunks=None)


def hdf5_of(shape, dtype=np.int16):
    def write(path):
        path.unlink()
        tiny_nsd.write_hdf5(path, np.ones(shape, dtype), chunks=None)

    return write


def nifti_of(shape):
    return lambda path: tiny_nsd.save_nifti(path, np.ones(shape), np.int16)


def mgh_of(shape, dtype=np.float32):
    return lambda path: tiny_nsd.save_mgh(path, np.ones(shape), dtype)


def pictures_of(count):
    def write(path):
        path.unlink()
        data = np.zeros((3, 6, 6, count), np.uint8)
        tiny_nsd.write_hdf5(path, data, chunks=None, name="imgBrick")

    return write


def other_id(path):
    lines = path.read_text().splitlines()
    fields = lines[1].split("\t")
    fields[4] = str(int(fields[4]) % 20 + 1)
    path.write_text("\n".join([lines[0], "\t".join(fields), *lines[2:]]) + "\n")


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        (
            f"{FOLDER}/betas_session02.nii.gz",
            cut,
            "betas_session02.nii.gz does not end as gzip ends .*get it again",
        ),
        (
            f"{FOLDER}/betas_session02.hdf5",
            cut,
            r"betas_session02.hdf5 \(.*bytes\) cannot be read .*truncated.*get it again",
        ),
        (
            f"{FOLDER}/betas_session02.hdf5",
            transposed,
            r"betas_session02.hdf5 has the shape \(6, 7, 5, 9\).*axes are in another order.*Get NSD's own",
        ),
        (
            f"{FOLDER}/betas_session02.hdf5",
            hdf5_of((6, 7, 4, 9)),
            r"has the shape \(9, 4, 7, 6\), and the subject's regions \(6, 7, 5\): one is of another subject",
        ),
        (
            f"{FOLDER}/betas_session02.hdf5",
            hdf5_of((6, 7, 5, 8)),
            "betas_session02.hdf5 has 8 trials, and by .*nsd_expdesign.mat 9",
        ),
        (
            f"{FOLDER}/betas_session02.hdf5",
            hdf5_of((6, 7, 5, 9), np.float32),
            "betas_session02.hdf5 holds float32; NSD's are int16",
        ),
        (
            f"{FOLDER}/betas_session02.nii.gz",
            nifti_of((6, 7, 5)),
            r"must have a fourth axis, of trials",
        ),
        (
            "nsddata_betas/ppdata/subj01/fsaverage/" + RR + "/rh.betas_session01.mgh",
            halve,
            r"rh.betas_session01.mgh has \d+ bytes, and .* needs",
        ),
        (
            "nsddata_betas/ppdata/subj01/fsaverage/" + RR + "/rh.betas_session01.mgh",
            mgh_of((9, 1, 1, 9), np.int16),
            "rh.betas_session01.mgh holds >i2; NSD's are float32. Get NSD's own",
        ),
        (
            "nsddata_betas/ppdata/subj01/fsaverage/" + RR + "/rh.betas_session01.mgh",
            mgh_of((10, 1, 1, 9)),
            r"has the shape \(10, 1, 1, 9\), and the subject's regions \(9, 1, 1\): one is of another",
        ),
        (f"{FOLDER}/ncsnr.nii.gz", cut, "ncsnr.nii.gz does not end"),
        (
            f"{FOLDER}/ncsnr.nii.gz",
            nifti_of((5, 7, 6)),
            "ncsnr.nii.gz has the shape .*another order",
        ),
        (
            "nsddata/ppdata/subj01/func1pt8mm/roi/rh.prf-visualrois.nii.gz",
            nifti_of((6, 7, 4)),
            "rh.prf-visualrois.nii.gz has the shape",
        ),
        (
            "nsddata/ppdata/subj01/func1pt8mm/roi/rh.prf-visualrois.nii.gz",
            cut,
            "rh.prf-visualrois.nii.gz does not end",
        ),
        ("nsddata/ppdata/subj01/func1pt8mm/brainmask.nii.gz", cut, "brainmask.nii.gz does not end"),
        ("nsddata/ppdata/subj01/behav/responses.tsv", other_id, "responses.tsv"),
        ("nsddata/experiments/nsd/nsd_expdesign.mat", halve, "nsd_expdesign.mat cannot be read"),
        ("nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", cut, "nsd_stimuli.hdf5 .* cannot be read"),
        (
            "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5",
            pictures_of(5),
            r"nsd_stimuli.hdf5 has 5 pictures, and .*nsd_expdesign.mat shows 73k id \d+",
        ),
        (
            "nsddata_stimuli/stimuli/nsd/annotations/captions_val2017.json",
            cut,
            "captions_val2017.json is no JSON, or cut short; it is in COCO's",
        ),
    ],
)
def test_what_is_damaged_is_told_with_what_to_do(root, name, damage, told):
    damage(root.path / name)
    [text] = faults(root)
    assert text.startswith("nsd")
    assert re.search(told, text), text
    # one file's damage does not hide the rest
    items = looked_at(root)
    assert sum(item.state == "damaged" for item in items.values()) == 1
    if "betas_session02.nii.gz" in name:
        assert items[f"betas {RR} func1pt8mm"].found == "sessions 1-3 of 3, hdf5 and nii.gz"
    if "rh.prf" in name:
        assert items["regions func1pt8mm"].found == ""


def test_sessions_that_both_files_spoil_do_not_count(root):
    for kind in ("hdf5", "nii.gz"):
        cut(root.path / f"{FOLDER}/betas_session02.{kind}")
    item = looked_at(root)[f"betas {RR} func1pt8mm"]
    assert item.found == "sessions 1, 3 of 3, hdf5 and nii.gz"
    assert len(item.damaged) == 2


@pytest.mark.parametrize(
    "name", ["nsddata", "nsddata_betas", "nsddata_stimuli", FOLDER, f"{FOLDER}/ncsnr.nii.gz"]
)
def test_links_that_leave_the_root_are_told(root, tmp_path, name):
    shutil.move(root.path / name, tmp_path / "elsewhere")
    (root.path / name).symlink_to(tmp_path / "elsewhere")
    told = faults(root)
    assert told
    assert all("leads out of the root" in text and "move what it leads to" in text for text in told)


def test_a_subject_with_fewer_sessions_lacks_none(root):
    for session in (1, 2):
        data = tiny_nsd.session_of_betas(np.random.default_rng(1))
        tiny_nsd.write_betas(root.path, 2, session, data)
    item = looked_at(root, 2)[f"betas {RR} func1pt8mm"]
    assert (item.state, item.found) == ("there", "sessions 1-2 of 2, hdf5 and nii.gz")


def test_captions_are_looked_for_in_the_splits_that_the_pictures_have(root):
    path = root.stimulus_info
    path.write_text(path.read_text().replace("val2017", "test2015"))
    assert "captions_test2015.json is not there" in looked_at(root)["captions"].missing[0]
    other = root.captions("train2017")
    other.write_text(json.dumps([1]))
    assert looked_at(root)["captions"].state == "damaged"
