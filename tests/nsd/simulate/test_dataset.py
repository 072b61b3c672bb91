"""A tiny simulation as a whole, read back by every reader of minisd.nsd."""

import hashlib
import json
import shutil
from dataclasses import replace

import h5py
import nibabel as nib
import numpy as np
import pytest

from minisd.nsd import Root, Subject, ncsnr, noise_ceiling, read_labels
from minisd.nsd.files import read_map
from minisd.nsd.simulate import SimulationSettings, simulate, write
from minisd.nsd.tables import read_columns
from minisd.scenes import scene
from tests.nsd.simulate.tiny import SUBJECTS, tiny


def files(folder):
    """What every file below a folder holds, by name."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha1(p.read_bytes()).digest() for p in found}


def truth(root, number):
    return np.load(root.path / "simulation" / f"subj{number:02}.npz")


def test_layout(tiny_root):
    assert tiny_root.subjects() == (1, 2)
    assert tiny_root.beta_sessions(1) == (1, 2)
    assert tiny_root.beta_sessions(2) == (1,)
    assert {"nsdgeneral", "prf-visualrois", "streams", "floc-faces"} < set(tiny_root.roi_names(1))
    assert {path.name for path in tiny_root.path.iterdir()} == {
        *("nsddata", "nsddata_betas", "nsddata_stimuli", "simulation", "README.md")
    }


def test_trials_of_all_three_files_agree(tiny_root):
    first, second = Subject(tiny_root, 1).trials, Subject(tiny_root, 2).trials
    assert (len(first), len(second)) == (90, 45)
    assert np.array_equal(np.unique(first.nsd_id, return_counts=True)[1], np.full(30, 3))
    shared = [set(one.nsd_id[one.shared].tolist()) for one in (first, second)]
    assert len(shared[0]) == 10
    assert shared[1] <= shared[0]
    assert not set(first.nsd_id[~first.shared]) & set(second.nsd_id[~second.shared])
    info = read_columns(tiny_root, tiny_root.stimulus_info, ["shared1000"])
    assert info["shared1000"].count("True") == 10


def test_betas_are_the_signal_and_noise_in_percent(tiny_root):
    for number in (1, 2):
        subject, known = Subject(tiny_root, number), truth(tiny_root, number)
        brain = read_map(tiny_root, tiny_root.volume(number, "brainmask")) == 1
        assert np.array_equal(brain, known["brain"])
        found = np.concatenate([subject.betas(k, brain) for k in subject.sessions])
        assert found.dtype == np.float32
        assert np.median(found.std(axis=0) / known["deviation"]) == pytest.approx(1, abs=0.15)
        column = {nsd_id: i for i, nsd_id in enumerate(known["pictures"].tolist())}
        shown = [column[nsd_id] for nsd_id in subject.trials.nsd_id.tolist()]
        responsive = known["ncsnr"] > 0
        signal = known["signal"][shown].astype(np.float32)
        z = (found[:, responsive] - found[:, responsive].mean(0)) / found[:, responsive].std(0)
        agreement = (z * signal).mean(axis=0)
        expected = known["ncsnr"] / np.sqrt(1 + known["ncsnr"] ** 2)
        assert agreement.mean() == pytest.approx(expected[responsive].mean(), abs=0.12)


def test_each_session_has_noise_of_its_own(tiny_root):
    known = truth(tiny_root, 1)
    silent = known["brain"].copy()
    silent[silent] = known["ncsnr"] == 0
    one, two = (Subject(tiny_root, 1).betas(k, silent) for k in (1, 2))
    together = np.corrcoef((one - one.mean(axis=0)).ravel(), (two - two.mean(axis=0)).ravel())
    assert abs(together[0, 1]) < 0.2


def test_both_kinds_of_files_hold_the_same(tiny_root, tmp_path):
    subject = replace(SUBJECTS[0], kind="nii.gz")
    other = simulate(tmp_path / "root", tiny(subjects=[subject, SUBJECTS[1]]), progress=False)
    mask = Subject(tiny_root, 1).roi("nsdgeneral")
    for session in (1, 2):
        one, two = (Subject(root, 1).betas(session, mask) for root in (tiny_root, other))
        assert np.array_equal(one, two)
    # and independent code reads the same
    volume = np.asarray(nib.load(other.betas(1, 1, kind="nii.gz")).dataobj)
    with h5py.File(tiny_root.betas(1, 1)) as file:
        assert np.array_equal(file["betas"][:], volume.T)
    assert np.array_equal(volume[mask].T, np.round(Subject(other, 1).betas(1, mask) * 300))


def test_regions(tiny_root):
    for number in (1, 2):
        subject = Subject(tiny_root, number)
        v1 = subject.roi("prf-visualrois", ["V1v", "V1d"])
        sides = [subject.roi("prf-visualrois", ["V1v", "V1d"], side) for side in ("lh", "rh")]
        assert all(side.any() for side in sides)
        assert np.array_equal(v1, sides[0] | sides[1])
        assert not (sides[0] & sides[1]).any()
        assert not (v1 & ~subject.roi("streams", "early")).any()
        assert subject.roi("nsdgeneral")[v1].all()
        part = np.full(v1.shape, "", "U12")
        part[truth(tiny_root, number)["brain"]] = truth(tiny_root, number)["part"]
        assert np.array_equal(part == "V1", v1)
        for name in tiny_root.roi_names(number):
            assert read_labels(tiny_root, number, name)


def test_noise_ceilings(tiny_root):
    subject, known = Subject(tiny_root, 1), truth(tiny_root, 1)
    brain = known["brain"]
    given = subject.ncsnr(brain)
    found = np.concatenate([subject.betas(k, brain) for k in subject.sessions])
    assert np.allclose(given, ncsnr(found, subject.trials), atol=1e-3)
    assert np.allclose(subject.noise_ceiling(brain, 3), noise_ceiling(given, 3))
    assert np.corrcoef(given, known["ncsnr"])[0, 1] > 0.6
    assert np.median(known["ncsnr"][known["part"] == "V1"]) == pytest.approx(0.68, rel=0.3)
    responsive = known["ncsnr"] > 0
    assert np.median(given[responsive]) == pytest.approx(
        np.median(known["ncsnr"][responsive]), abs=0.1
    )


def test_meanbeta_is_in_its_odd_units(tiny_root):
    brain = truth(tiny_root, 1)["brain"]
    stored = read_map(tiny_root, tiny_root.statistic(1, "meanbeta_session01"))[brain]
    percent = Subject(tiny_root, 1).betas(1, brain).mean(axis=0)
    assert np.allclose(stored, 300 * percent, atol=0.1)


def test_retinotopy_is_near_the_truth(tiny_root):
    known = truth(tiny_root, 1)
    v1 = (known["part"] == "V1")[known["retinotopic"]]
    inside = known["brain"].copy()
    inside[inside] = known["part"] == "V1"
    maps = {
        name: read_map(tiny_root, tiny_root.volume(1, f"prf_{name}"))[inside]
        for name in ("angle", "eccentricity", "size", "R2")
    }
    assert np.corrcoef(maps["eccentricity"], np.hypot(known["x"], known["y"])[v1])[0, 1] > 0.9
    angle = np.degrees(np.arctan2(known["y"], known["x"]))[v1]
    apart = np.abs((maps["angle"] - angle + 180) % 360 - 180)
    assert np.median(apart) < 20
    assert np.all((maps["R2"] >= 0) & (maps["R2"] <= 100))


def test_pictures_and_captions(tiny_root):
    subject = Subject(tiny_root, 1)
    assert len(subject.pictures) == 50
    for nsd_id in (0, 17, 49):
        drawn = scene(nsd_id, 73_000)
        assert np.array_equal(subject.pictures[nsd_id], drawn.image)
        assert subject.captions(nsd_id) == tuple(drawn.captions)
    captions = json.loads(tiny_root.captions("train2017").read_text())
    assert {"info", "licenses", "images", "annotations"} == set(captions)
    assert len({one["id"] for one in captions["annotations"]}) == len(captions["annotations"])


def test_the_card_tells_the_settings(tiny_root):
    card = (tiny_root.path / "README.md").read_text()
    told = json.loads(card.partition("```json\n")[2].partition("```")[0])
    assert told["own"] == 20
    assert (
        "2 subjects see drawn scenes of 64x64 pixels, 3 times each: 20 that no other subject sees"
        in card
    )


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tiny_root, tmp_path):
    again = simulate(tmp_path / "again", tiny(), progress=False)
    assert files(again.path) == files(tiny_root.path)
    other = files(simulate(tmp_path / "other", tiny(seed=1), progress=False).path)
    assert set(other) == set(files(tiny_root.path))
    changed = {name for name, content in files(tiny_root.path).items() if content != other[name]}
    assert {name for name in changed if "betas_session" in name}
    assert "nsddata/experiments/nsd/nsd_expdesign.mat" in changed


def test_an_interrupted_run_leaves_nothing_half_and_goes_on(tiny_root, tmp_path, monkeypatch):
    whole = files(tiny_root.path)
    folder = tmp_path / "root"
    told = []
    original = write.write_series

    def interrupt(path, *args):
        told.append(path)
        if len(told) == 2:
            with write.whole(path) as beside:
                beside.write_bytes(b"half")
                raise KeyboardInterrupt
        original(path, *args)

    monkeypatch.setattr(write, "write_series", interrupt)
    with pytest.raises(KeyboardInterrupt):
        simulate(folder, tiny(), progress=False)
    left = files(folder)
    assert "README.md" not in left
    assert 20 < len(left) < len(whole)
    assert all(whole[name] == content for name, content in left.items())
    simulate(folder, tiny(), progress=False)
    assert len(told) == 4  # the one that was there is not written again
    assert files(folder) == whole


def test_a_second_run_does_nothing(tiny_root, monkeypatch):
    def refuse(*_):
        raise AssertionError

    for name in ("write_series", "write_pictures", "write_map", "write_arrays", "write_table"):
        monkeypatch.setattr(write, name, refuse)
    simulate(tiny_root.path, tiny(), progress=False)


def test_a_folder_of_something_else_is_refused(tiny_root, tmp_path):
    with pytest.raises(ValueError, match=r"holds a simulation of other settings \(.*settings.json"):
        simulate(tiny_root.path, tiny(seed=1), progress=False)
    (tmp_path / "thesis.tex").write_text("mine")
    for root in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(ValueError, match="holds something else"):
            simulate(root, SimulationSettings(), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_readers_do_not_need_the_truth(tiny_root, tmp_path):
    shutil.copytree(tiny_root.path, tmp_path / "copy", ignore=shutil.ignore_patterns("simulation"))
    subject = Subject(Root(tmp_path / "copy"), 2)
    mask = subject.roi("nsdgeneral")
    assert subject.betas(1, mask).shape == (len(subject.trials), mask.sum())
