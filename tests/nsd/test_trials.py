"""Trials, against the files read by hand; and files that contradict each other."""

import numpy as np
import pytest
import scipy.io

from minisd.nsd import Root, read_trials
from minisd.nsd.trials import read_design
from tests.nsd import tiny_nsd


@pytest.fixture
def plan(tmp_path):
    return tiny_nsd.write_tables(tmp_path)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("subject", [1, 2, 3])
def test_trials_are_those_of_the_design(tmp_path, plan, subject):
    trials = read_trials(Root(tmp_path), subject)
    expected = [t for t in tiny_nsd.trials(plan, subject) if t[0] <= tiny_nsd.DONE[subject]]
    assert len(trials) == len(expected) == 9 * tiny_nsd.DONE[subject]
    seen = []
    for i, (session, run, trial, nsd_id, column) in enumerate(expected):
        assert (trials.session[i], trials.run[i], trials.trial[i]) == (session, run, trial)
        assert trials.nsd_id[i] == nsd_id - 1
        assert trials.repeat[i] == seen.count(nsd_id)
        assert trials.shared[i] == (column <= tiny_nsd.SHARED)
        seen.append(nsd_id)
    assert trials.shared.dtype == bool
    assert {trials.nsd_id.dtype, trials.repeat.dtype} == {np.dtype(np.int64)}


def test_the_shared_pictures_are_the_same_and_the_others_differ(tmp_path, plan):
    one, three = (read_trials(Root(tmp_path), subject) for subject in (1, 3))
    assert set(one.nsd_id[one.shared]) == set(three.nsd_id[three.shared])
    assert len(set(one.nsd_id[one.shared])) == tiny_nsd.SHARED
    assert set(one.nsd_id) != set(three.nsd_id)
    assert np.array_equal(np.bincount(one.repeat), [9, 9, 9])


def test_some_sessions_keep_their_repeats(tmp_path, plan):
    every = read_trials(Root(tmp_path), 1)
    some = read_trials(Root(tmp_path), 1, sessions=[3, 2])
    assert list(some.session) == [2] * 9 + [3] * 9
    assert np.array_equal(some.repeat, every[every.session > 1].repeat)
    assert some.repeat.max() == 2
    assert len(every[:4]) == 4
    assert len(every[5]) == 1


def test_the_design_has_what_was_not_done_too(tmp_path, plan):
    trials, shared = read_design(Root(tmp_path), 2)
    assert trials.nsd_id.tolist() == [t[3] - 1 for t in tiny_nsd.trials(plan, 2)]
    assert np.unique(trials.session).tolist() == [1, 2, 3]
    assert shared.tolist() == (plan["sharedix"][0].astype(int) - 1).tolist()


def test_the_tables_beside_the_design_may_be_missing(tmp_path, plan):
    root = Root(tmp_path)
    expected = read_trials(root, 2)
    root.stimulus_info.unlink()
    root.responses(2).unlink()
    with pytest.raises(
        ValueError, match=r"nothing tells which sessions subject 2 did: nsddata/ppdata/subj02/behav"
    ):
        read_trials(root, 2)
    assert np.array_equal(read_trials(root, 2, [1, 2]).nsd_id, expected.nsd_id)
    for session in (1, 2):
        path = root.betas(2, session, "betas_fithrf", kind="nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert np.array_equal(read_trials(root, 2).nsd_id, expected.nsd_id)


def test_betas_prove_a_session_that_the_responses_lack(tmp_path, plan):
    root = Root(tmp_path)
    path = root.betas(2, 3)
    path.parent.mkdir(parents=True)
    path.touch()
    assert len(read_trials(root, 2)) == 27


@pytest.mark.parametrize(
    ("subject", "sessions", "message"),
    [
        (2, range(1, 4), r"subject 2 has no session 3; there are 1-2$"),
        (2, [1, 5, 6, 8], r"subject 2 has no session 5-6, 8; there are 1-2$"),
        (1, [0, 1], "subject 1 has no session 0; there are 1-3"),
        (1, [], r"sessions are \[\]"),
        (1, [2, 2], "each once"),
        (4, None, r"subject is 4; nsddata/experiments/nsd/nsd_expdesign.mat has subjects 1 to 3"),
        (0, None, "subject is 0"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, plan, subject, sessions, message):
    with pytest.raises(ValueError, match=message):
        read_trials(Root(tmp_path), subject, sessions)


def test_sessions_beyond_the_design(tmp_path, plan):
    root = Root(tmp_path)
    root.responses(1).unlink()
    with pytest.raises(ValueError, match=r"session 4: .*nsd_expdesign.mat has sessions 1 to 3"):
        read_trials(root, 1, [3, 4])


def test_ids_off_by_one_are_seen(tmp_path, plan):
    shifted = plan | {"subjectim": plan["subjectim"] % 20 + 1}
    tiny_nsd.write_design(tmp_path, shifted)
    with pytest.raises(
        ValueError,
        match=r"responses.tsv disagree on \d+ trials of session 1: number 1 shows 73k id",
    ):
        read_trials(Root(tmp_path), 1)
    Root(tmp_path).responses(1).unlink()
    with pytest.raises(
        ValueError, match=r"nsd_stim_info_merged.csv disagree on \d+ trials: 73k id"
    ):
        read_trials(Root(tmp_path), 1, [1])


def test_responses_with_another_picture_or_a_missing_trial(tmp_path, plan):
    path = Root(tmp_path).responses(1)
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    path.write_text("".join(lines[:12] + lines[13:]))
    with pytest.raises(ValueError, match="session 2 has 9 trials and 8 trials"):
        read_trials(Root(tmp_path), 1)
    assert len(read_trials(Root(tmp_path), 1, [1])) == 9
    path.write_text("".join(lines[:12]) + lines[12].replace("\t", " ", 3))
    with pytest.raises(
        ValueError, match=r"responses.tsv line 13 has 16 fields, and the header 19: it is cut short"
    ):
        read_trials(Root(tmp_path), 1)
    path.write_text(whole.replace("1\t1\t1\t1\t", "1\t1\t1\tx\t", 1))
    with pytest.raises(
        ValueError, match=r"responses.tsv: TRIAL is 'x' in line 2; it must be a whole number"
    ):
        read_trials(Root(tmp_path), 1)
    path.write_text(whole.replace("\n1\t", "\n2\t", 1))
    with pytest.raises(ValueError, match="has trials of subject 2"):
        read_trials(Root(tmp_path), 1)
    path.write_text(whole.replace("73KID", "72KID"))
    with pytest.raises(ValueError, match="has no column 73KID; it has SUBJECT, SESSION"):
        read_trials(Root(tmp_path), 1)


def test_rows_of_the_responses_may_stand_in_any_order(tmp_path, plan):
    path = Root(tmp_path).responses(1)
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *lines[::-1]]))
    assert len(read_trials(Root(tmp_path), 1)) == 27


def test_shared_pictures_must_be_the_same_in_both_files(tmp_path, plan):
    edit(Root(tmp_path).stimulus_info, "True", "False")
    with pytest.raises(ValueError, match=r"on whether 73k id .* are shared"):
        read_trials(Root(tmp_path), 1)


def test_a_picture_without_a_line(tmp_path, plan):
    path = Root(tmp_path).stimulus_info
    text = path.read_text().splitlines(keepends=True)
    gone = int(plan["sharedix"][0, 0]) - 1
    path.write_text("".join(text[: gone + 1] + text[gone + 2 :]))
    with pytest.raises(ValueError, match=rf"73k id {gone} \(from 0\) and 0 more have no line"):
        read_trials(Root(tmp_path), 1)


def test_a_damaged_design(tmp_path, plan):
    path = Root(tmp_path).design
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"nsd_expdesign.mat .*get it again"):
        read_trials(Root(tmp_path), 1)
    path.write_bytes(b"not a mat file, but long enough to be looked at" * 9)
    with pytest.raises(ValueError, match=r"nsd_expdesign.mat cannot be read .*get it again"):
        read_trials(Root(tmp_path), 1)
    scipy.io.savemat(path, {k: v for k, v in plan.items() if k != "stimpattern"})
    with pytest.raises(ValueError, match="has no stimpattern"):
        read_trials(Root(tmp_path), 1)
    scipy.io.savemat(path, plan | {"stimpattern": plan["stimpattern"][:2]})
    with pytest.raises(
        ValueError, match=r"stimpattern \(2, 2, 6\) must have a 1 for each of the 27"
    ):
        read_trials(Root(tmp_path), 1)
    scipy.io.savemat(path, plan | {"masterordering": plan["masterordering"] - 1})
    with pytest.raises(ValueError, match="must count subjectim's 9 columns from 1"):
        read_trials(Root(tmp_path), 1)
    path.unlink()
    with pytest.raises(
        ValueError, match=r"nsd_expdesign.mat is not there .*it comes with NSD's nsddata folder"
    ):
        read_trials(Root(tmp_path), 1)
