"""Opening what was prepared, and averaging."""

import json
import shutil

import numpy as np
import pytest

from minisd.nsd import Subject, load_prepared
from minisd.nsd import prepared as module
from minisd.nsd.prepare import PrepareSettings, prepare
from minisd.nsd.prepared import average_repeats


@pytest.fixture(scope="module")
def folder(tiny_root, tmp_path_factory):
    path = tmp_path_factory.mktemp("prepared") / "one"
    prepare(Subject(tiny_root, 1), path, PrepareSettings(align=4), progress=False)
    return path


def test_everything_of_a_simulated_subject(tiny_root, folder):
    found, subject = load_prepared(folder), Subject(tiny_root, 1)
    assert np.array_equal(found.mask, subject.roi("nsdgeneral"))
    assert (len(found.train.nsd_id), len(found.align.nsd_id), len(found.test.nsd_id)) == (20, 4, 6)
    parts = (found.train, found.align, found.test)
    assert sum(len(part.trials) for part in parts) == len(subject.trials)
    for part in parts:
        assert part.betas.shape == (len(part.nsd_id), found.ncsnr.size)
        assert part.single.shape == (len(part.trials), found.ncsnr.size)
        assert not part.single.flags.writeable
        assert not part.betas.flags.writeable
    v1 = subject.roi("prf-visualrois", "V1v")[found.mask]
    assert v1.sum() == np.count_nonzero(subject.roi("prf-visualrois", "V1v"))
    # single trials go back to percent
    row, trial = found.test.single[0], found.test.trials[0]
    session = int(trial.session[0])
    same = subject.trials[subject.trials.session == session]
    index = np.flatnonzero((same.run == trial.run) & (same.trial == trial.trial))[0]
    at = found.sessions.index(session)
    percent = row * found.deviation[at] + found.mean[at]
    assert np.allclose(percent, subject.betas(session, found.mask)[index], atol=1e-4)
    told = str(found).splitlines()
    assert told[0].endswith("2 of 2 planned sessions, 20 training and 6 test pictures")
    assert told[-1] == "test: 6 pictures in 18 trials; averaged over the trials: 6 over 3"


def by_hand(single, ids, repeats):
    return np.array([single[ids == one][:repeats].mean(axis=0) for one in sorted(set(ids))])


@pytest.mark.parametrize("batch", [1, 7, 256])
@pytest.mark.parametrize("repeats", [1, 2, 3, 9])
def test_averages(monkeypatch, batch, repeats):
    monkeypatch.setattr(module, "BATCH", batch)
    rng = np.random.default_rng(0)
    ids = rng.permutation(np.repeat(np.arange(30), rng.integers(1, 5, 30)) * 11)
    single = rng.normal(size=(len(ids), 6)).astype(np.float32)
    found = average_repeats(single, ids, repeats)
    assert found.dtype == np.float32
    assert np.allclose(found, by_hand(single, ids, repeats), atol=1e-6)
    with pytest.raises(
        ValueError, match=rf"nsd_id has {len(ids) - 1} pictures for {len(ids)} resp"
    ):
        average_repeats(single, ids[1:], repeats)


def spoil(path, change):
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_what_is_damaged_is_named(folder, tmp_path):
    for i, (name, content) in enumerate(
        {
            "train.npy": b"",
            "test_single.npy": (folder / "test_single.npy").read_bytes()[:-4],
            "align_trials.npz": b"PK",
            "mask.npy": None,
            "ncsnr.npy": (folder / "mean.npy").read_bytes(),
            "deviation.npy": (folder / "ncsnr.npy").read_bytes(),
            "train_single.npy": (folder / "test_single.npy").read_bytes(),
            "test.npy": (folder / "train.npy").read_bytes(),
        }.items()
    ):
        path = shutil.copytree(folder, tmp_path / str(i))
        if content is None:
            (path / name).unlink()
        else:
            (path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"path .*{i} is damaged \(.*remove it and prepare"):
            load_prepared(path)
    path = shutil.copytree(folder, tmp_path / "format")
    spoil(path, lambda manifest: manifest.update(format=0))
    with pytest.raises(ValueError, match="has the format 0, and this minisd reads 1; prepare it"):
        load_prepared(path)
    with pytest.raises(ValueError, match=r"nowhere has no manifest.json: it is no folder of prep"):
        load_prepared(tmp_path / "nowhere")
    (path / "manifest.json").write_text("[]")
    with pytest.raises(ValueError, match=r"manifest.json is damaged \(holds a list\)"):
        load_prepared(path)
