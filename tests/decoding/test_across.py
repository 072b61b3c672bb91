"""A decoder of one subject that reads another: in a noise-free toy, and on two simulated subjects that see little."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from minisd.decoding.across import Shared, fit_transfer, in_common, read_shared
from minisd.decoding.responses import Responses, read_responses
from minisd.decoding.retrieval import Retrieval
from minisd.decoding.ridge import RidgeSettings, fit_ridge
from minisd.decoding.shared_space import SpaceSettings, fit_pooled, fit_space
from minisd.decoding.targets import Seen
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare
from minisd.nsd.simulate import SubjectSettings, simulate
from tests.nsd.simulate.tiny import tiny

EXACT = RidgeSettings(alphas=(1e-8, 1e-6))
FEW = RidgeSettings(alphas=(1e2, 1e4), folds=2)
VOXELS = {1: 40, 2: 30, 3: 50}


def brains(p=60, noise=0.0, seed=0):
    """Responses of three subjects to p pictures: linear maps, a subject's own, of four things in a picture."""
    maps = np.random.default_rng(7)
    rng = np.random.default_rng(seed)
    things = rng.normal(size=(p, 4))
    found = []
    for number, v in VOXELS.items():
        clean = things @ maps.normal(size=(4, v)) + maps.normal(size=v)
        betas = clean + noise * rng.normal(size=(p, v))
        early = {"early": np.arange(v) < v // 2}
        fmri = Responses(betas, early, f"subject {number}, voxels {v}")
        found.append(Shared(fmri, np.arange(100, 100 + p)))
    return things, found


def test_without_noise_the_other_brain_is_found():
    _, (a, b, _) = brains()
    _, (new_a, new_b, _) = brains(20, seed=1)
    moved = fit_transfer(b, a, EXACT, progress=False)(new_b.fmri)
    np.testing.assert_allclose(moved.betas, new_a.fmri.betas, atol=1e-3)
    assert moved.voxels == a.fmri.voxels
    np.testing.assert_array_equal(moved.of("early"), moved.betas[:, :20])


def test_it_is_ridge_and_small():
    _, (a, b, _) = brains(noise=0.5)
    plan = RidgeSettings(alphas=(1.0, 100.0))
    transfer, ridge = (
        fit_transfer(b, a, plan, progress=False),
        fit_ridge(b.fmri.betas, a.fmri.betas, plan, progress=False),
    )
    _, (_, new, _) = brains(10, noise=0.5, seed=1)
    for rescale in (False, True):
        there = ridge.predict(new.fmri.betas, rescale=rescale)
        np.testing.assert_allclose(transfer(new.fmri, rescale).betas, there, atol=1e-2)
    few = fit_transfer(b[:6], a[:6], replace(plan, folds=2), progress=False)
    assert few.ridge.left.shape == (30, 5)
    assert few.ridge.right.shape == (5, 40)


def test_a_decoder_reads_who_was_moved():
    things, (a, b, _) = brains()
    decoder = fit_ridge(a.fmri.betas, things, EXACT, progress=False)
    there, (_, new, _) = brains(20, seed=1)
    moved = fit_transfer(b, a, EXACT, progress=False)(new.fmri)
    np.testing.assert_allclose(decoder.predict(moved.betas), there, atol=1e-3)


def test_without_noise_all_agree_in_the_shared_space():
    things, subjects = brains()
    space = fit_space(subjects[:2], SpaceSettings(4, alpha=1e-6, ridge=EXACT))
    np.testing.assert_allclose(space.agreement, 1, atol=1e-4)
    np.testing.assert_allclose(space.axes.T @ space.axes / 60, np.eye(4), atol=1e-4)
    np.testing.assert_allclose(space.axes.mean(0), 0, atol=1e-4)
    # a third one joins with a part of the pictures, in another order
    space = space.join(subjects[2][np.arange(30)[::-1]])
    there, new = brains(20, seed=1)
    found = [space(one.fmri) for one in new]
    for one in found:
        assert one.voxels == space.voxels
        np.testing.assert_allclose(one.betas, found[0].betas, atol=2e-3)
    # the space is that of the four things, turned
    design = np.column_stack([things, np.ones(60)])
    turned, *_ = np.linalg.lstsq(design, space.axes, rcond=None)
    np.testing.assert_allclose(
        found[0].betas, np.column_stack([there, np.ones(20)]) @ turned, atol=2e-3
    )


def test_dimensions_come_in_the_order_of_agreement():
    """What one subject alone answers to, however strongly, is left out."""
    things, subjects = brains(200, noise=0.3)
    rng = np.random.default_rng(2)
    alone = 20 * rng.normal(size=(200, 1)) @ rng.normal(size=(1, 40))
    first = replace(subjects[0].fmri, betas=subjects[0].fmri.betas + alone)
    space = fit_space(
        [Shared(first, subjects[0].nsd_id), *subjects[1:]], SpaceSettings(8, alpha=20.0)
    )
    assert (np.diff(space.agreement) <= 0).all()
    assert space.agreement[3] > space.agreement[4] + 0.1
    design = np.column_stack([things, np.ones(200)])
    for k in range(4):
        left = space.axes[:, k] - design @ np.linalg.lstsq(design, space.axes[:, k], rcond=None)[0]
        assert left.var() < 0.1


def test_pooled_is_ridge():
    """Solved the other way about, it is what `fit_ridge` gives for the same rows."""
    things, subjects = brains(noise=0.5)
    space = fit_space(subjects, SpaceSettings(6, alpha=1.0))
    parts = [space(one.fmri) for one in subjects]
    rng = np.random.default_rng(3)
    noise = np.array([0.0, 1.0, 10.0, 100.0])  # a feature is predicted well or not at all
    features = [np.c_[things + noise * rng.normal(size=(60, 4)), np.full(60, 2.0)] for _ in parts]
    plan = RidgeSettings(alphas=(0.1, 1.0, 10.0, 1000.0))
    found = fit_pooled(parts, features, plan)
    rows = np.concatenate([one.betas for one in parts]).astype(float)
    there = fit_ridge(rows, np.concatenate(features), plan, progress=False)
    for name in ("center", "mean", "weights", "r2", "correlation", "gain", "error"):
        np.testing.assert_allclose(getattr(found, name), getattr(there, name), atol=1e-3)
    # any penalty is as good for what never varies
    np.testing.assert_allclose(found.alpha[:4], there.alpha[:4])
    assert len(set(found.alpha.tolist())) > 1


@pytest.fixture(scope="module")
def plan():
    """Two tiny subjects, whose files may be changed."""
    subjects = (
        SubjectSettings(1, (20, 24, 18), 2),
        SubjectSettings(2, (21, 22, 18), 2, quality=0.8),
    )
    return tiny(subjects=subjects)


def prepared(folder, settings, change=None):
    root = simulate(folder / "nsd", settings, progress=False)
    found = {}
    for number in (1, 2):
        subject = Subject(root, number)
        if change:
            change(subject)
        ready = prepare(subject, folder / f"subj{number}", PrepareSettings(align=6), progress=False)
        found[number] = subject, ready
    return found


@pytest.fixture(scope="module")
def two(plan, tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("two"), plan)


def spoil(subject):
    """Replace the responses to the pictures of the test in the files."""
    shared = np.unique(subject.trials.nsd_id[subject.trials.shared])
    test = np.isin(subject.trials.nsd_id, shared[6:])
    rng = np.random.default_rng(0)
    for session in subject.sessions:
        rows = test[subject.trials.session == session]
        (path,) = subject.root.path.rglob(
            f"subj{subject.number:02}/**/betas_session{session:02}.hdf5"
        )
        with h5py.File(path, "r+") as file:
            betas = file["betas"][()]
            brain = betas.any(axis=0)
            betas[np.ix_(rows.nonzero()[0], *map(np.arange, brain.shape))] = np.where(
                brain, rng.integers(-900, 900, (rows.sum(), *brain.shape)), 0
            )
            file["betas"][...] = betas


def fitted(both):
    """All arrays that are fitted on two subjects, and the second subject's test responses, moved."""
    a, b = (read_shared(*both[number]) for number in (1, 2))
    transfer = fit_transfer(b, a, FEW, progress=False)
    space = fit_space([a, b], SpaceSettings(3, alpha=100.0, ridge=FEW))
    train = [space(read_responses(*both[number], "train")) for number in (1, 2)]
    rng = np.random.default_rng(0)
    pooled = fit_pooled(train, [rng.normal(size=(len(one), 3)) for one in train], FEW)
    ridges = {"transfer": transfer.ridge, "pooled": pooled, **space.maps}
    arrays = {
        (k, name): value for k, ridge in ridges.items() for name, value in vars(ridge).items()
    }
    return arrays | {"axes": torch.from_numpy(space.axes)}, transfer


def test_no_array_depends_on_a_test_response(two, plan, tmp_path):
    again = prepared(tmp_path, plan, spoil)
    for number in (1, 2):
        before, after = (both[number][1].test.betas for both in (two, again))
        assert not np.allclose(before, after)
    (before, _), (after, _) = fitted(two), fitted(again)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert value is after[name] is None or torch.equal(value, after[name]), name


def test_a_system_of_one_subject_reads_another_unchanged(two, clip):
    (one, ready), (other, ready_b) = two[1], two[2]
    seen = Seen(one.pictures, ready.train.nsd_id)
    system = Retrieval(clip, seen, 64, FEW)
    system.fit(read_responses(one, ready, "train"), seen, progress=False)
    fmri = read_responses(other, ready_b, "test")
    with pytest.raises(ValueError, match="fmri is of subject 2"):
        system.reconstruct(fmri)
    _, transfer = fitted(two)
    whole = system.decode(transfer(fmri))["embedding"]
    assert system.reconstruct(transfer(fmri)).shape == (len(fmri), 3, 64, 64)
    alone = system.decode(transfer(fmri[1:2]))["embedding"]
    torch.testing.assert_close(alone, whole[1:2], atol=1e-4, rtol=1e-4)
    early = one.roi("streams", "early")[ready.mask]
    assert transfer(fmri).of("early").shape == (len(fmri), early.sum())


def test_who_missed_sessions_keeps_what_is_common():
    _, (a, b, _) = brains()
    mixed = np.random.default_rng(0).permutation(60)[:50]
    found = in_common([a, b[mixed]])
    for one, whole in zip(found, (a, b), strict=True):
        np.testing.assert_array_equal(one.nsd_id, np.sort(mixed) + 100)
        np.testing.assert_array_equal(one.fmri.betas, whole.fmri.betas[np.sort(mixed)])


def other_ids(one, ids):
    return Shared(one.fmri, np.asarray(ids))


def with_nan(one):
    betas = one.fmri.betas.copy()
    betas[2, 3] = np.nan
    return Shared(replace(one.fmri, betas=betas), one.nsd_id)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda a, b, c: fit_transfer(b, b), "subject 2 is there twice"),
        (lambda a, b, c: fit_transfer(b[1:], a[:-1]), "2 have one of them alone, such as 73k id 100 of subject 1"),
        (lambda a, b, c: fit_transfer(b[:-1], a), "1 have one of them alone.*in_common"),
        (lambda a, b, c: fit_transfer(b[::-1], a), "row 0 is 73k id 159 and 100"),
        (lambda a, b, c: fit_transfer(b[[0, 0, 1]], a[:2]), "as often: they have 3 and 2 rows"),
        (lambda a, b, c: fit_transfer(b[:4], a[:4]), "folds is 5, and there are 4 pictures"),
        (lambda a, b, c: fit_transfer(with_nan(b), a), r"fmri\[2, 3\] is NaN"),
        (lambda a, b, c: fit_transfer(b, a, EXACT, False)(a.fmri), "fmri is of subject 1.*from subject 2"),
        (lambda a, b, c: Shared(a.fmri, b.nsd_id[:3]), r"nsd_id has the shape \(3,\) for 60"),
        (lambda a, b, c: in_common([a[:5], b[5:]]), "no picture in common"),
        (lambda a, b, c: in_common([a[[0, 0]], b]), "subject 1 has a picture in two rows"),
        (lambda a, b, c: fit_space([a]), r"subjects are \['subject 1'\]; two or more"),
        (lambda a, b, c: fit_space([a, b, a]), "subject 1 is there twice"),
        (lambda a, b, c: fit_space([a, b]), "dimensions is 100; 60 pictures have 59 at most"),
        (lambda a, b, c: fit_space([a, with_nan(b)], SpaceSettings(3)), "NaN"),
        (lambda a, b, c: fit_space([a[:4], b[:4]], SpaceSettings(3)), "folds is 5, and there are 4"),
        (lambda a, b, c: SpaceSettings(0), "dimensions is 0"),
        (lambda a, b, c: SpaceSettings(alpha=0.0), "alpha is 0.0"),
        (lambda a, b, c: fit_space([a, b], SpaceSettings(3))(c.fmri), "fmri is of subject 3.*maps from"),
        (lambda a, b, c: fit_space([a, b], SpaceSettings(3)).join(b), "subject 2, who is there already"),
        (
            lambda a, b, c: fit_space([a, b], SpaceSettings(3)).join(other_ids(c, np.arange(60) + 110)),
            "10 pictures that the space does not have, such as 73k id 160",
        ),
        (lambda a, b, c: fit_pooled([], []), "of 0 and 0 subjects"),
        (lambda a, b, c: fit_pooled([a.fmri, b.fmri], [np.zeros((60, 1))] * 2), "bring all into one"),
        (lambda a, b, c: fit_pooled([a.fmri], [np.zeros((59, 1))]), r"\(59, 1\) for 60 responses"),
        (lambda a, b, c: fit_pooled([a.fmri], [np.full((60, 1), np.nan)]), r"infinite at \[0, 0\]"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, told):
    with pytest.raises(ValueError, match=told):
        call(*brains()[1])


def test_prepared_without_shared_pictures_is_refused(two, tmp_path):
    subject, _ = two[1]
    ready = prepare(subject, tmp_path / "without", progress=False)
    with pytest.raises(ValueError, match="part is 'align'"):
        read_shared(subject, ready)
