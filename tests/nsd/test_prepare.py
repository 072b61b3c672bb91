"""Preparing a subject: against NumPy on the files by hand, without a leak, and whatever interrupts it."""

import json
import os
import shutil
import subprocess
import sys

import h5py
import nibabel as nib
import numpy as np
import pytest
import scipy.io

from minisd.nsd import Root, Subject, load_prepared, ncsnr, plan
from minisd.nsd import prepare as module
from minisd.nsd.prepare import PrepareSettings, Region, prepare, z_scale
from tests.nsd import tiny_nsd

V1 = Region("prf-visualrois", ("V1v", "V1d"))
HV4 = Region("prf-visualrois", "hV4", "lh")
WORK = "unfinished"


def settings(**changes):
    return PrepareSettings(**{"regions": [V1, HV4]} | changes)


def write_root(root):
    """All of subject 1 (three sessions, the last in NIfTI) and of subject 2 (two), who answer to pictures."""
    plan = tiny_nsd.write_tables(root)
    rng = np.random.default_rng(3)
    for number, done in ((1, 3), (2, 2)):
        tiny_nsd.write_rois(root, number)
        signal = rng.normal(size=(tiny_nsd.PICTURES + 1, *tiny_nsd.SHAPE))
        for session in range(1, done + 1):
            shown = [t[3] for t in tiny_nsd.trials(plan, number) if t[0] == session]
            noise = rng.normal(size=(len(shown), *tiny_nsd.SHAPE))
            percent = session + (1 + 0.3 * session) * (signal[shown] + 0.7 * noise)
            data = np.moveaxis(np.round(300 * percent), 0, 3).astype(np.int16)
            kinds = ["nii.gz"] if session == 3 else ["hdf5"]
            tiny_nsd.write_betas(root, number, session, data, kinds=kinds)
    return root


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_root(tmp_path_factory.mktemp("written") / "root")


@pytest.fixture
def root(written, tmp_path):
    return shutil.copytree(written, tmp_path / "root")


@pytest.fixture(scope="module")
def whole(written, tmp_path_factory):
    """Subject 1 prepared in one run. No test may change it."""
    path = tmp_path_factory.mktemp("prepared") / "one"
    return prepare(Subject(written, 1), path, settings(), progress=False)


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def betas_by_hand(root, subject=1, sessions=(1, 2, 3)):
    """Percent [N, X, Y, Z], 73k ids from 0 [N], sessions [N], and which ids are shared: nothing here is minisd's."""
    design = scipy.io.loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    own = design["subjectim"][subject - 1].astype(int) - 1
    ids = own[design["masterordering"][0].astype(int) - 1]
    folder = root / f"nsddata_betas/ppdata/subj{subject:02}/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    found = []
    for session in sessions:
        path = folder / f"betas_session{session:02}.hdf5"
        if path.is_file():
            with h5py.File(path) as file:
                found.append(file["betas"][:].transpose(0, 3, 2, 1) / 300)
        else:
            image = nib.load(path.with_suffix(".nii.gz"))
            found.append(np.moveaxis(np.asarray(image.dataobj), 3, 0) / 300)
    session = np.repeat(sessions, [len(one) for one in found])
    shared = design["sharedix"][0].astype(int) - 1
    return np.concatenate(found), ids[: len(session)], session, shared


def mask_by_hand(root, subject=1):
    folder = root / f"nsddata/ppdata/subj{subject:02}/func1pt8mm/roi"
    both, left = (
        np.asarray(nib.load(folder / f"{side}prf-visualrois.nii.gz").dataobj)
        for side in ("", "lh.")
    )
    return (both == 1) | (both == 2) | (left == 4)


def scores_by_hand(betas, train, session):
    z = np.empty_like(betas)
    for one in set(session):
        known = betas[train & (session == one)]
        here = session == one
        z[here] = (betas[here] - known.mean(axis=0)) / known.std(axis=0, ddof=1)
    return z


def test_it_is_what_numpy_does_by_hand(written, whole):
    volumes, ids, session, shared = betas_by_hand(written)
    mask = mask_by_hand(written)
    train = ~np.isin(ids, shared)
    z = scores_by_hand(volumes[:, mask], train, session)
    assert np.array_equal(whole.mask, mask)
    for part, rows in ((whole.train, train), (whole.test, ~train)):
        assert part.betas.dtype == part.single.dtype == np.float32
        assert isinstance(part.betas, np.memmap)
        assert not part.betas.flags.writeable
        assert np.allclose(part.single, z[rows], atol=1e-5)
        assert part.trials.nsd_id.tolist() == ids[rows].tolist()
        assert part.trials.session.tolist() == session[rows].tolist()
        assert part.nsd_id.tolist() == sorted(set(ids[rows].tolist()))
        for row, averaged, nsd_id in zip(part.betas, part.averaged, part.nsd_id, strict=True):
            same = z[rows & (ids == nsd_id)]
            assert averaged == len(same) == 3
            assert np.allclose(row, same.mean(axis=0), atol=1e-5)
    assert whole.align is None
    assert whole.sessions == (1, 2, 3)
    known = [volumes[:, mask][train & (session == one)] for one in (1, 2, 3)]
    assert np.allclose(whole.mean, [one.mean(axis=0) for one in known], atol=1e-5)
    assert np.allclose(whole.deviation, [one.std(axis=0, ddof=1) for one in known], atol=1e-5)
    assert whole.vintage == "3 of 3 planned sessions, 5 training and 4 test pictures"


def test_ncsnr_is_of_training_trials_alone(written, whole):
    subject = Subject(written, 1)
    betas = np.concatenate([subject.betas(k, whole.mask) for k in subject.sessions])
    train = ~subject.trials.shared
    assert np.allclose(whole.ncsnr, ncsnr(betas[train], subject.trials[train]), atol=1e-4)
    assert not np.allclose(whole.ncsnr, ncsnr(betas, subject.trials), atol=0.05)


@pytest.mark.parametrize("block", [1, 40])
def test_ncsnr_a_few_voxels_at_a_time(written, whole, tmp_path, monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    found = prepare(Subject(written, 1), tmp_path / "out", settings(), progress=False)
    assert np.allclose(found.ncsnr, whole.ncsnr, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2])
def test_means_a_few_pictures_at_a_time(written, whole, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(module, "BATCH", batch)
    prepare(Subject(written, 1), tmp_path / "out", settings(), progress=False)
    assert files(tmp_path / "out") == files(whole.path)


def test_voxels_are_chosen_by_it(written, whole, tmp_path):
    least = float(np.sort(whole.ncsnr)[whole.ncsnr.size // 2])  # a voxel's own is enough
    chosen = whole.ncsnr >= least
    found = prepare(
        Subject(written, 1), tmp_path / "out", settings(min_ncsnr=least), progress=False
    )
    assert 0 < chosen.sum() < chosen.size
    assert np.array_equal(found.mask[whole.mask], chosen)
    assert np.array_equal(found.ncsnr, whole.ncsnr[chosen])
    assert np.array_equal(found.train.betas, whole.train.betas[:, chosen])
    assert np.array_equal(found.test.single, whole.test.single[:, chosen])
    assert np.array_equal(found.deviation, whole.deviation[:, chosen])
    told = found.manifest["voxels"]
    assert told["below min_ncsnr"] == chosen.size - told["kept"] == (~chosen).sum()
    with pytest.raises(ValueError, match=r"min_ncsnr is 99, and the highest is .*; choose a lower"):
        prepare(Subject(written, 1), tmp_path / "none", settings(min_ncsnr=99), progress=False)


@pytest.mark.parametrize("kind", ["ten times and five", "noise"])
def test_no_test_response_reaches_anything_that_is_fitted(written, root, tmp_path, kind):
    asked = settings(align=1, min_ncsnr=0.3)
    before = prepare(Subject(written, 1), tmp_path / "before", asked, progress=False)
    test = before.test.nsd_id
    volumes, ids, session, _ = betas_by_hand(root)
    rows = np.isin(ids, test)
    if kind == "noise":
        volumes[rows] = np.random.default_rng(8).normal(0, 50, volumes[rows].shape)
    else:
        volumes[rows] = 10 * volumes[rows] + 5
    for one in (1, 2, 3):
        data = np.clip(np.round(300 * volumes[session == one]), -32768, 32767).astype(np.int16)
        kinds = ["nii.gz"] if one == 3 else ["hdf5"]
        tiny_nsd.write_betas(root, 1, one, np.moveaxis(data, 0, 3), kinds=kinds)
    prepare(Subject(root, 1), tmp_path / "after", asked, progress=False)
    one, two = files(tmp_path / "before"), files(tmp_path / "after")
    assert set(one) == set(two)
    differ = {name for name in one if one[name] != two[name]}
    assert differ == {"test.npy", "test_single.npy", "manifest.json"}
    told = [json.loads(content["manifest.json"]) for content in (one, two)]
    assert {k: v for k, v in told[0].items() if k != "files"} == {
        k: v for k, v in told[1].items() if k != "files"
    }


def test_pictures_set_apart_for_aligning(written, whole, tmp_path, monkeypatch):
    read = plan.read_design
    # in whatever order the file has the shared pictures
    monkeypatch.setattr(plan, "read_design", lambda *a: (read(*a)[0], read(*a)[1][::-1]))
    found = [
        prepare(Subject(written, n), tmp_path / str(n), settings(align=3), progress=False)
        for n in (1, 2)
    ]
    shared = np.sort(betas_by_hand(written)[3])
    for one in found:
        # subject 2 has not seen them all yet
        assert set(one.align.nsd_id) <= set(shared[:3].tolist())
        assert one.test.nsd_id.tolist() == [shared[3]]
    first = found[0]
    assert first.align.nsd_id.tolist() == shared[:3].tolist()
    assert np.array_equal(first.train.betas, whole.train.betas)
    assert np.array_equal(np.concatenate([first.align.betas, first.test.betas]), whole.test.betas)


def test_fewer_repeats(written, whole, tmp_path):
    found = prepare(Subject(written, 1), tmp_path / "out", settings(repeats=1), progress=False)
    first = found.train.trials.repeat == 0
    order = np.argsort(found.train.trials.nsd_id[first])
    assert np.array_equal(found.train.betas, found.train.single[first][order])
    assert set(found.test.averaged.tolist()) == {1}
    assert np.array_equal(found.test.means(3), whole.test.betas)
    assert np.array_equal(whole.test.means(1), found.test.betas)
    assert whole.train.means(99).shape == whole.train.betas.shape
    with pytest.raises(ValueError, match="repeats is 0; it must be 1 or more"):
        whole.test.means(0)


def test_test_pictures_with_few_repeats_are_kept_and_counted(written, tmp_path):
    found = prepare(Subject(written, 2), tmp_path / "out", settings(), progress=False)
    _, ids, _, shared = betas_by_hand(written, 2, (1, 2))
    count = np.array([np.sum(ids == one) for one in found.test.nsd_id])
    assert set(found.test.nsd_id) == set(shared) & set(ids)
    assert found.test.averaged.tolist() == count.tolist()
    assert min(count) < 3
    told = found.manifest["pictures"]["test"]
    assert told["averaged"] == {str(k): int(np.sum(count == k)) for k in sorted(set(count))}
    for row, nsd_id in zip(found.test.betas, found.test.nsd_id, strict=True):
        same = found.test.single[found.test.trials.nsd_id == nsd_id]
        assert np.allclose(row, same.mean(axis=0), atol=1e-6)
    assert "2 of 3 planned sessions" in str(found)


def test_back_to_the_volume(whole):
    values = np.arange(2.0 * whole.ncsnr.size).reshape(2, -1)
    volume = whole.volume(values)
    assert volume.shape == (2, *tiny_nsd.SHAPE)
    assert np.array_equal(volume[:, whole.mask], values)
    assert np.isnan(volume[:, ~whole.mask]).all()
    with pytest.raises(ValueError, match=r"values have the shape \(3,\); the last axis must have"):
        whole.volume(np.zeros(3))


def test_a_second_run_does_nothing(written, whole, monkeypatch):
    before = {p.name: p.stat().st_mtime_ns for p in whole.path.iterdir()}
    monkeypatch.setattr(Subject, "betas", None)
    again = prepare(Subject(written, 1), whole.path, settings(sessions=3), progress=False)
    assert {p.name: p.stat().st_mtime_ns for p in whole.path.iterdir()} == before
    assert np.array_equal(again.train.betas, whole.train.betas)


def stop(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["_write_part", "_counts", "_training_ncsnr"])
def test_an_interrupted_run_goes_on_after_the_betas(written, whole, tmp_path, monkeypatch, where):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(module, where, stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(Subject(written, 1), out, settings(), progress=False)
    assert not (out / "manifest.json").exists()
    with pytest.raises(ValueError, match=r"no manifest.json: .* that was not finished"):
        load_prepared(out)
    monkeypatch.setattr(Subject, "betas", None)  # no session is read again
    prepare(Subject(written, 1), out, settings(), progress=False)
    assert files(out) == files(whole.path)


def test_an_interrupted_run_goes_on_session_by_session(written, whole, tmp_path, monkeypatch):
    out, read = tmp_path / "out", []
    original = Subject.betas

    def betas(self, session, *args, **options):
        read.append(session)
        if read == [1, 2]:
            raise KeyboardInterrupt
        return original(self, session, *args, **options)

    monkeypatch.setattr(Subject, "betas", betas)
    with pytest.raises(KeyboardInterrupt):
        prepare(Subject(written, 1), out, settings(), progress=False)
    assert {p.name for p in out.iterdir()} == {WORK}
    assert {p.name for p in (out / WORK).iterdir()} == {
        *("lock", "request.json", "session01.npy", "scale01.npy")
    }
    with pytest.raises(ValueError, match="prepared otherwise: repeats was 3, and is 2"):
        prepare(Subject(written, 1), out, settings(repeats=2), progress=False)
    (out / WORK / "session01.npy").write_bytes(b"")  # lost in a power cut
    prepare(Subject(written, 1), out, settings(), progress=False)
    assert read == [1, 2, 1, 2, 3]
    assert files(out) == files(whole.path)
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.path.iterdir()}


PAUSED = """
import sys
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, Region, prepare
read = Subject.betas
def betas(self, session, *args, **options):
    if session == 2:
        print("at work", flush=True)
        sys.stdin.readline()
    return read(self, session, *args, **options)
Subject.betas = betas
regions = [Region("prf-visualrois", ("V1v", "V1d")), Region("prf-visualrois", "hV4", "lh")]
prepare(Subject(sys.argv[1], 1), sys.argv[2], PrepareSettings(regions), progress=False)
"""


@pytest.fixture
def run_at_work(written, tmp_path):
    """Another process that prepares subject 1 and waits for a line before it reads the second session."""
    command = [sys.executable, "-c", PAUSED, str(written), str(tmp_path / "out")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "at work\n"
        yield process
        process.kill()


def test_two_runs_in_one_folder(written, whole, tmp_path, run_at_work):
    out = tmp_path / "out"
    before = files(out)
    command = [sys.executable, "-c", "from minisd.cli import app; app()", "nsd", "prepare"]
    regions = ["--region", "prf-visualrois:V1v,V1d", "--region", "lh.prf-visualrois:hV4"]
    second = subprocess.run(
        [*command, str(written), str(out), "--subject", "1", *regions],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert second.stderr == (
        f"minisd: path {out} is being prepared by another run; "
        "wait until that is finished, or choose another folder\n"
    )
    with pytest.raises(ValueError, match="repeats was 3, and is 2 now"):
        prepare(Subject(written, 1), out, settings(repeats=2), progress=False)
    assert files(out) == before
    run_at_work.communicate("go on\n")
    assert run_at_work.returncode == 0
    assert files(out) == files(whole.path)
    assert not (out / WORK).exists()


def test_a_killed_run_blocks_no_other(written, whole, tmp_path, run_at_work):
    out = tmp_path / "out"
    run_at_work.kill()
    run_at_work.wait()
    assert (out / WORK / "session01.npy").exists()
    prepare(Subject(written, 1), out, settings(), progress=False)
    assert files(out) == files(whole.path)
    assert not (out / WORK).exists()


def test_a_folder_that_another_run_finished_meanwhile(written, whole, tmp_path, monkeypatch):
    out, lock = tmp_path / "out", module._locked

    def late(path):
        shutil.copytree(whole.path, path)
        return lock(path)

    monkeypatch.setattr(module, "_locked", late)
    monkeypatch.setattr(Subject, "betas", None)
    found = prepare(Subject(written, 1), out, settings(), progress=False)
    assert np.array_equal(found.test.betas, whole.test.betas)
    assert not (out / WORK).exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"repeats": 2}, "repeats was 3, and is 2 now"),
        ({"sessions": 2}, r"sessions was \[1, 2, 3\], and is \[1, 2\] now"),
        ({"min_ncsnr": 0.1}, "min_ncsnr was None, and is 0.1 now"),
        ({"align": 2}, "align was 0, and is 2 now"),
        ({"regions": [V1]}, "regions was .*hV4.*, and is .*V1d"),
    ],
)
def test_other_settings_are_named(written, whole, changes, told):
    with pytest.raises(ValueError, match=rf"{told}.*Choose another folder, or remove this one"):
        prepare(Subject(written, 1), whole.path, settings(**changes), progress=False)
    assert not (whole.path / WORK).exists()


def test_other_files_are_named(root, tmp_path):
    out = tmp_path / "out"
    prepare(Subject(root, 1), out, settings(), progress=False)
    os.utime(Root(root).betas(1, 2), (1e9, 1e9))
    Root(root).responses(1).unlink()
    with pytest.raises(
        ValueError,
        match=r"subj01/behav/responses.tsv is gone; .*/betas_session02.hdf5 changed\. Ch",
    ):
        prepare(Subject(root, 1), out, settings(), progress=False)
    again = tmp_path / "again"
    labels = next(path for path in Root(root).labels(2, "prf-visualrois") if path.is_file())
    for path in (labels, Root(root).roi(2, "prf-visualrois", hemisphere="lh")):
        shutil.rmtree(again, ignore_errors=True)
        prepare(Subject(root, 2), again, settings(), progress=False)
        os.utime(path, (1e9, 1e9))
        with pytest.raises(ValueError, match=rf"{path.name} changed"):
            prepare(Subject(root, 2), again, settings(), progress=False)
    with pytest.raises(ValueError, match="subject was 1, and is 2 now"):
        prepare(Subject(root, 2), out, settings(), progress=False)


def test_a_folder_of_something_else_is_refused(written, tmp_path):
    subject = Subject(written, 1)
    (tmp_path / "thesis.tex").write_text("mine")
    (tmp_path / "own" / WORK).mkdir(parents=True)
    (tmp_path / "own" / WORK / "novel.tex").write_text("mine")
    for path, name in ((tmp_path, ".*"), (tmp_path / "own", "novel.tex")):
        with pytest.raises(ValueError, match=rf"holds something else \({name}\); choose an empty"):
            prepare(subject, path, settings(), progress=False)
    with pytest.raises(ValueError, match=r"thesis.tex is a file; choose a new folder"):
        prepare(subject, tmp_path / "thesis.tex", settings(), progress=False)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest.json is damaged .*remove its folder"):
        prepare(subject, tmp_path / "bad", settings(), progress=False)
    assert (tmp_path / "own" / WORK / "novel.tex").read_text() == "mine"


@pytest.mark.parametrize("asked", [3, [1, 3]])
def test_more_sessions_than_there_are(written, tmp_path, asked):
    with pytest.raises(
        ValueError,
        match=r"sessions are .*3; subject 2 has betas of 1-2, and not of 3 \(nsddata_betas/ppdata/subj02/.*RR\): get",
    ):
        prepare(Subject(written, 2), tmp_path / "out", settings(sessions=asked), progress=False)
    assert not (tmp_path / "out").exists()


def test_a_missing_session_is_not_left_out_silently(root, tmp_path):
    Root(root).betas(1, 2).unlink()
    with pytest.raises(ValueError, match=r"has betas of 1, 3, and not of 2 .*ask for those that"):
        prepare(Subject(root, 1), tmp_path / "out", settings(), progress=False)
    asked = settings(sessions=[3, 1])
    found = prepare(Subject(root, 1), tmp_path / "out", asked, progress=False)
    assert found.sessions == (1, 3)
    assert set(found.train.trials.session.tolist()) == {1, 3}


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def link_out(path):
    outside = path.parents[7] / "outside"
    shutil.move(path, outside)
    path.symlink_to(outside)


def other_order(path):
    path.unlink()
    tiny_nsd.write_hdf5(path, np.ones((9, 5, 7, 6), np.int16), None)


def other_shape(path):
    tiny_nsd.save_nifti(path, np.full((6, 7, 4), 2), np.int16)


def other_ids(path):
    plan = scipy.io.loadmat(path)
    plan["subjectim"] = plan["subjectim"].astype(np.uint16) + 100
    scipy.io.savemat(path, {name: plan[name] for name in plan if name[0] != "_"})


BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
ROI = "nsddata/ppdata/subj01/func1pt8mm/roi/prf-visualrois.nii.gz"


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        (f"{BETAS}/betas_session02.hdf5", cut, r"\(.* bytes\) cannot be read .*get it again"),
        (f"{BETAS}/betas_session03.nii.gz", cut, "does not end as gzip ends .*get it again"),
        (f"{BETAS}/betas_session03.nii.gz", link_out, "leads out of the root .*; move what it"),
        (
            f"{BETAS}/betas_session02.hdf5",
            other_order,
            rf"has the shape \(6, 7, 5, 9\), and {ROI} \(6, 7, 5\): its axes are in another order .*Get NSD's own",
        ),
        (ROI, cut, "cannot be read .*get it again"),
        (ROI, link_out, "leads out of the root .*; move what it"),
        (
            ROI,
            other_shape,
            rf"{BETAS}/betas_session01.hdf5 has .*, and {ROI} \(6, 7, 4\): one is of .*get them again",
        ),
        (
            "nsddata/experiments/nsd/nsd_expdesign.mat",
            other_ids,
            "responses.tsv disagree on .*get both again",
        ),
    ],
)
def test_bad_input_is_named_from_the_root_before_any_betas_are_read(
    root, tmp_path, monkeypatch, name, damage, told
):
    damage(root / name)
    monkeypatch.setattr(Subject, "betas", None)
    asked = settings(regions=[Region("prf-visualrois", "V1d")])
    with pytest.raises(ValueError, match=told) as caught:
        prepare(Subject(root, 1), tmp_path / "out", asked, progress=False)
    assert name in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_damaged_files_are_named_before_any_work(root, tmp_path):
    path = Root(root).betas(1, 3, kind="nii.gz")
    whole = path.read_bytes()
    for content, told in ((whole[:-40], "cut short"), (b"no", "cannot be read")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"betas_session03.nii.gz .*{told}"):
            prepare(Subject(root, 1), tmp_path / "out", settings(), progress=False)
    tiny_nsd.write_betas(root, 1, 3, np.zeros((5, 7, 6, 9), np.int16), kinds=["nii.gz"])
    with pytest.raises(ValueError, match=r"session03.nii.gz has the shape .* in another order"):
        prepare(Subject(root, 1), tmp_path / "out", settings(), progress=False)
    assert not (tmp_path / "out").exists()


def test_voxels_that_do_not_vary_are_left_out_and_counted(root, whole, tmp_path):
    volumes, ids, session, shared = betas_by_hand(root)
    constant, silent = np.argwhere(whole.mask)[[4, 9]]
    data = np.round(300 * np.moveaxis(volumes[session == 2], 0, 3)).astype(np.int16)
    data[tuple(constant)] = 0
    # varies in test trials alone, which must not matter
    data[tuple(silent)] = np.where(np.isin(ids[session == 2], shared), np.arange(9), 7)
    tiny_nsd.write_betas(root, 1, 2, data, kinds=["hdf5"])
    found = prepare(Subject(root, 1), tmp_path / "out", settings(), progress=False)
    expected = whole.mask.copy()
    expected[tuple(constant)] = expected[tuple(silent)] = False
    assert np.array_equal(found.mask, expected)
    assert found.manifest["voxels"]["constant"] == 2
    keep = expected[whole.mask]
    assert np.array_equal(found.train.betas, whole.train.betas[:, keep])
    assert all(np.isfinite(part.single).all() for part in (found.train, found.test))
    assert f"{keep.sum()} of {keep.size} voxels; left out 2 that did not vary" in str(found)
    data[:] = 0
    tiny_nsd.write_betas(root, 1, 2, data, kinds=["hdf5"])
    with pytest.raises(
        ValueError, match=r"none of the .* voxels varies in each of the sessions 1-3"
    ):
        prepare(Subject(root, 1), tmp_path / "none", settings(), progress=False)


@pytest.fixture
def surface(root):
    """Percent [27, 20] on the average brain; the first two of the right have none, two more not in one trial."""
    percent = np.random.default_rng(0).normal(2.2, 3.3, (27, 20)).astype(np.float32)
    percent[:, 11:13] = percent[12, 13] = percent[12, 14] = np.nan
    for session in (1, 2, 3):
        rows = percent[9 * session - 9 : 9 * session].T
        for side, data in zip(tiny_nsd.VERTICES, np.split(rows, [11]), strict=True):
            path = Root(root).betas(1, session, space="fsaverage", hemisphere=side)
            tiny_nsd.save_mgh(path, data[:, None, None])
    return percent


def test_vertices_without_numbers_are_left_out(root, surface, tmp_path):
    subject = Subject(root, 1, space="fsaverage")
    asked = PrepareSettings(regions=[Region("prf-visualrois")])
    found = prepare(subject, tmp_path / "out", asked, progress=False)
    expected = subject.roi("prf-visualrois")
    lost = np.count_nonzero(expected[11:15])
    expected[11:15] = False
    # percent as they are, not divided, and all from the same vertices
    _, ids, session, shared = betas_by_hand(root)
    train = ~np.isin(ids, shared)
    z = scores_by_hand(surface[:, expected], train, session)
    assert np.allclose(found.train.single, z[train], atol=1e-5)
    assert np.allclose(found.test.single, z[~train], atol=1e-5)
    known = surface[train & (session == 1)][:, expected]
    assert np.allclose(found.mean[0], known.mean(axis=0), atol=1e-5)
    assert lost > 0
    assert np.array_equal(found.mask, expected)
    assert found.manifest["voxels"]["constant"] == lost
    assert np.isfinite(found.test.single).all()
    assert found.volume(found.ncsnr).shape == (20,)


def test_hemispheres_of_another_size_are_named_before_any_work(root, surface, tmp_path):
    """The sizes of both together would fit."""
    subject = Subject(root, 1, space="fsaverage")
    asked = PrepareSettings(regions=[Region("prf-visualrois")])
    for side, count in (("lh", 10), ("rh", 10)):
        path = subject.root.betas(1, 3, space="fsaverage", hemisphere=side)
        tiny_nsd.save_mgh(path, np.ones((count, 1, 1, 9)))
    with pytest.raises(
        ValueError,
        match=r"lh.betas_session03.mgh has the shape \(10, 1, 1, 9\), and .*/lh.prf-visualrois.mgz \(11, 1, 1\)",
    ):
        prepare(subject, tmp_path / "out", asked, progress=False)
    assert not (tmp_path / "out").exists()


def test_a_region_without_voxels(root, tmp_path):
    volume = np.zeros(tiny_nsd.SHAPE)
    tiny_nsd.save_nifti(Root(root).roi(1, "nsdgeneral"), volume, np.int16)
    with pytest.raises(ValueError, match=r"region nsdgeneral has no voxel in subject 1 \(func1pt8"):
        prepare(Subject(root, 1), tmp_path / "out", progress=False)
    tiny_nsd.save_nifti(Root(root).roi(1, "nsdgeneral"), np.ones((7, 6, 5)), np.int16)
    with pytest.raises(
        ValueError,
        match=r"roi/nsdgeneral.nii.gz has the shape \(7, 6, 5\), and .*prf-vis.*get both",
    ):
        prepare(
            Subject(root, 1),
            tmp_path / "out",
            settings(regions=[V1, Region("nsdgeneral")]),
            progress=False,
        )
    one = settings(regions=[Region("prf-visualrois", ["V9"])])
    with pytest.raises(ValueError, match=r"labels are .*V9.*; prf-visualrois has V1v"):
        prepare(Subject(root, 1), tmp_path / "out", one, progress=False)


def test_nothing_to_train_test_or_choose_with(written, tmp_path, monkeypatch):
    subject = Subject(written, 1)
    with pytest.raises(ValueError, match=r"align is 4; .*expdesign.mat has 4 shared pictures, and"):
        prepare(subject, tmp_path / "out", settings(align=4), progress=False)
    trials = subject.trials
    every = np.ones(len(trials), bool)
    second = trials.session == 2
    one_is_left = np.flatnonzero(second & ~trials.shared)[1:]
    for shared, told in (
        (every, "show no picture for train"),
        (~every, "show no picture for test"),
        (trials.shared | second, "session 2 of subject 1 has 0 training trials; z-scores need 2"),
        (
            trials.shared | np.isin(np.arange(len(trials)), one_is_left),
            "2 of subject 1 has 1 train",
        ),
    ):
        vars(subject)["trials"] = type(trials)(
            *(trials.session, trials.run, trials.trial, trials.nsd_id, trials.repeat, shared)
        )
        with pytest.raises(ValueError, match=told):
            prepare(subject, tmp_path / "out", settings(), progress=False)
    once = np.arange(len(trials)) + 100
    vars(subject)["trials"] = type(trials)(
        *(trials.session, trials.run, trials.trial, once, trials.repeat, trials.shared)
    )
    with pytest.raises(
        ValueError, match=r"min_ncsnr is 0.1, and .* no training picture is repeated"
    ):
        prepare(subject, tmp_path / "out", settings(min_ncsnr=0.1), progress=False)
    assert not (tmp_path / "out").exists()
    found = prepare(subject, tmp_path / "out", settings(), progress=False)
    assert np.isnan(found.ncsnr).all()
    assert np.array_equal(found.train.betas, found.train.single)


def test_z_scale_knows_training_trials_alone():
    rng = np.random.default_rng(0)
    betas = rng.normal(3, 2, (20, 4)).astype(np.float32)
    training = np.arange(20) % 3 > 0
    betas[:, 2] = np.float32(0.1)  # whose mean is not exactly it
    betas[4, 3] = np.nan
    mean, deviation = z_scale(betas, training)
    assert np.allclose(mean[:2], betas[training, :2].mean(axis=0), atol=1e-6)
    assert np.allclose(deviation[:2], betas[training, :2].std(axis=0, ddof=1), atol=1e-6)
    assert deviation[2:].tolist() == mean[3:].tolist() * 2 == [0, 0]
    other = betas.copy()
    other[~training] = 1e6
    assert np.array_equal(z_scale(other, training), (mean, deviation))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"regions": []}, "regions are empty"),
        ({"sessions": 0}, "sessions are 0; they must be"),
        ({"sessions": []}, r"sessions are \[\]; they must be"),
        ({"sessions": [1, 1]}, r"sessions are \[1, 1\]"),
        ({"sessions": "1-3"}, "sessions are '1-3'"),
        ({"repeats": 0}, "repeats is 0; it must be a whole number from 1"),
        ({"repeats": 1.5}, "repeats is 1.5"),
        ({"align": -1}, "align is -1; it must be a whole number from 0"),
        ({"min_ncsnr": -0.1}, "min_ncsnr is -0.1; it must be at least 0, or None"),
        ({"min_ncsnr": float("nan")}, "min_ncsnr is nan"),
    ],
)
def test_settings_that_cannot_be(changes, told):
    with pytest.raises(ValueError, match=told):
        settings(**changes)


def test_a_bar(written, tmp_path, capsys):
    prepare(Subject(written, 2), tmp_path / "out", settings())
    assert "preparing: 100%" in capsys.readouterr().err
