"""Where NSD's files lie, and what a root refuses."""

import pytest

from minisd.nsd import Root
from minisd.nsd.layout import as_ranges

PPDATA = "nsddata/ppdata/subj03"
BETAS = "nsddata_betas/ppdata/subj03"
RR = "betas_fithrf_GLMdenoise_RR"


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path)


def touch(root, *names):
    for name in names:
        path = root.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_lie_where_the_manual_says(root):
    expected = {
        root.design: "nsddata/experiments/nsd/nsd_expdesign.mat",
        root.stimulus_info: "nsddata/experiments/nsd/nsd_stim_info_merged.csv",
        root.stimuli: "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5",
        root.captions(
            "val2017"
        ): "nsddata_stimuli/stimuli/nsd/annotations/captions_val2017.json",
        root.responses(3): f"{PPDATA}/behav/responses.tsv",
        root.volume(3, "brainmask"): f"{PPDATA}/func1pt8mm/brainmask.nii.gz",
        root.roi(3, "floc-faces"): f"{PPDATA}/func1pt8mm/roi/floc-faces.nii.gz",
        root.roi(3, "streams", "rh"): f"{PPDATA}/func1pt8mm/roi/rh.streams.nii.gz",
        root.roi(3, "streams", "lh", "fsaverage"): "nsddata/freesurfer/fsaverage/label/lh.streams.mgz",
        root.labels(3, "streams")[0]: "nsddata/freesurfer/subj03/label/streams.mgz.ctab",
        root.labels(3, "streams")[1]: "nsddata/freesurfer/fsaverage/label/streams.mgz.ctab",
        root.labels(3, "thalamus")[2]: "nsddata/templates/thalamus.ctab",
        root.betas(3, 7): f"{BETAS}/func1pt8mm/{RR}/betas_session07.hdf5",
        root.betas(
            3, 40, "betas_assumehrf", "func1mm", kind="nii.gz"
        ): f"{BETAS}/func1mm/betas_assumehrf/betas_session40.nii.gz",
        root.betas(
            3, 1, space="fsaverage", hemisphere="lh"
        ): f"{BETAS}/fsaverage/{RR}/lh.betas_session01.mgh",
        root.statistic(3, "ncsnr"): f"{BETAS}/func1pt8mm/{RR}/ncsnr.nii.gz",
        root.statistic(
            3, "ncsnr", space="fsaverage", hemisphere="rh"
        ): f"{BETAS}/fsaverage/{RR}/rh.ncsnr.mgh",
        root.statistic(3, "R2_session01", "betas_fithrf"): f"{BETAS}/func1pt8mm/betas_fithrf/R2_session01.nii.gz",
    }  # fmt: skip
    assert {root.relative(path): name for path, name in expected.items()} == {
        name: name for name in expected.values()
    }


def test_what_is_there_is_listed(root):
    assert root.subjects() == root.beta_sessions(1) == root.roi_names(1) == ()
    touch(
        root,
        f"{PPDATA}/behav/responses.tsv",
        "nsddata/ppdata/subj11/x",
        "nsddata/ppdata/readme.txt",
        *(f"{BETAS}/func1pt8mm/{RR}/{name}" for name in (
            "betas_session02.hdf5", "betas_session02.nii.gz", "betas_session11.nii.gz",
            "meanbeta_session03.nii.gz", "betas_session04.hdf5.part", "betas_session05.mgh",
        )),
        f"{BETAS}/fsaverage/{RR}/rh.betas_session06.mgh",
        *(f"{PPDATA}/func1pt8mm/roi/{name}.nii.gz" for name in (
            "streams", "lh.streams", "rh.streams", "rh.floc-faces",
        )),
        "nsddata/freesurfer/fsaverage/label/lh.HCP_MMP1.mgz",
        "nsddata/freesurfer/fsaverage/label/HCP_MMP1.mgz.ctab",
    )  # fmt: skip
    assert root.subjects() == (3, 11)
    assert root.beta_sessions(3) == (2, 11)
    assert root.beta_sessions(3, space="fsaverage") == (6,)
    assert root.beta_sessions(3, "betas_fithrf") == ()
    root.betas(3, 12).symlink_to(root.path / "gone")
    root.betas(3, 13).mkdir()
    assert root.beta_sessions(3) == (2, 11)
    assert root.roi_names(3) == ("floc-faces", "streams")
    assert root.roi_names(3, "fsaverage") == ("HCP_MMP1",)


def test_a_missing_file_is_named_from_the_root(root):
    with pytest.raises(
        ValueError,
        match=r"^nsddata/experiments.*nsd_expdesign.mat is not there .*has none of nsddata",
    ):
        root.found(root.design, "fetch it")
    touch(root, "nsddata/x")
    with pytest.raises(ValueError, match=r"^nsddata/experiments.* is not there .*; fetch it$"):
        root.found(root.design, "fetch it")
    root.design.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"nsd_expdesign.mat is no file"):
        root.found(root.design)
    touch(root, "nsddata/experiments/nsd/nsd_stim_info_merged.csv")
    assert root.found(root.stimulus_info).is_file()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.betas(0, 1), "subject is 0; it must be a whole number from 1 to 99"),
        (lambda r: r.betas(True, 1), "subject is True"),
        (lambda r: r.responses("subj01"), "subject is 'subj01'"),
        (lambda r: r.betas(1, 100), "session is 100"),
        (lambda r: r.betas(1, 1, "betas_fithri"), "version is 'betas_fithri'; it must be one of betas_assumehrf"),
        (lambda r: r.betas(1, 1, space="MNI"), "space is 'MNI'; it must be one of func1pt8mm"),
        (lambda r: r.betas(1, 1, kind="mat"), "kind is 'mat'"),
        (lambda r: r.betas(1, 1, space="fsaverage"), "hemisphere is None; it must be one of lh, rh"),
        (lambda r: r.betas(1, 1, hemisphere="lh"), "hemisphere is 'lh'; in func1pt8mm both are in one file"),
        (lambda r: r.statistic(1, "R2", hemisphere="lh"), "hemisphere is 'lh'; in func1pt8mm"),
        (lambda r: r.roi(1, "streams", "left"), "hemisphere is 'left'"),
        (lambda r: r.roi(1, "../streams"), "name is '../streams'; it must be a name of letters"),
        (lambda r: r.captions("a/b"), "split is 'a/b'"),
        (lambda r: r.volume(1, "mean", "fsaverage"), "space is 'fsaverage'"),
        (lambda r: r.roi_names(1, "MNI"), "space is 'MNI'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(root, call, message):
    with pytest.raises(ValueError, match=message):
        call(root)


def test_a_root_is_a_folder(tmp_path):
    with pytest.raises(ValueError, match="is not there; it must be the folder in which nsddata,"):
        Root(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file; it must be the folder"):
        Root(tmp_path / "file")


def test_links_may_not_leave_the_root(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "nsd"
    (inside / "disk").mkdir(parents=True)
    outside.mkdir()
    root = Root(inside)
    (inside / "nsddata").symlink_to(outside)
    with pytest.raises(
        ValueError, match=rf"nsd_expdesign.mat leads out of the root .*{outside}.*; move what it"
    ):
        root.design  # noqa: B018
    (inside / "nsddata").unlink()
    (inside / "nsddata").symlink_to(inside / "disk")
    assert root.relative(root.design) == "nsddata/experiments/nsd/nsd_expdesign.mat"
    (inside / "nsddata_stimuli").symlink_to(inside / "nsddata_stimuli")
    with pytest.raises(ValueError, match=r"nsd_stimuli.hdf5 (cannot be followed|is not there)"):
        root.found(root.stimuli)
    # a root that is itself reached by a link is none that leaves itself
    (tmp_path / "alias").symlink_to(inside)
    assert Root(tmp_path / "alias").path == root.path


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((), "none"), ((4,), "4"), ((1, 2, 3), "1-3"), ((1, 2, 4, 6, 7), "1-2, 4, 6-7")],
)
def test_numbers_are_told_as_ranges(numbers, text):
    assert as_ranges(numbers) == text
