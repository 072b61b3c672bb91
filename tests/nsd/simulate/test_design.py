"""Who sees what when."""

import numpy as np

from minisd.nsd.simulate import SubjectSettings
from minisd.nsd.simulate.design import RESPONSES, expdesign, plan, responses, stimulus_info
from tests.nsd.simulate.tiny import SUBJECTS, tiny


def test_shared_pictures_are_shared_and_others_are_not():
    design = plan(tiny())
    for (
        ids
    ) in design.pictures.values():  # as in NSD, the first of each subject's, in the same order
        assert np.array_equal(ids[:10], design.shared)
    first, second = (set(ids.tolist()) for ids in design.pictures.values())
    assert first & second == set(design.shared.tolist())
    assert first | second == set(range(50))
    assert len(first) == len(second) == 30


def test_every_picture_is_repeated_and_none_follows_itself():
    order = plan(tiny()).order
    assert np.array_equal(np.bincount(order), np.full(30, 3))
    assert np.all(np.diff(order) != 0)


def test_half_of_the_repeats_come_soon():
    order = plan(tiny(own=280, shared=20, trials=(90,) * 5)).order
    when = np.argsort(order, kind="stable").reshape(300, 3)
    soon = np.mean(np.diff(when, axis=1) < 0.03 * order.size)
    assert 0.4 < soon < 0.65


def test_runs_have_the_trials_that_they_were_to_have():
    design = plan(tiny())
    assert np.array_equal(design.pattern.sum(axis=2), [[12, 11, 11, 11]] * 2)
    shown = [design.shown(session) for session in (1, 2)]
    assert [len(one) for one in shown] == [45, 45]
    assert np.array_equal(np.concatenate(shown), design.order)


def test_the_matlab_file_counts_from_one():
    settings = tiny(subjects=[SUBJECTS[0], SubjectSettings(4, sessions=1)])
    design = plan(settings)
    content = expdesign(design, settings)
    assert content["masterordering"].min() == 1
    assert content["masterordering"].max() == 30
    assert content["subjectim"].shape == (4, 30)
    assert np.array_equal(content["subjectim"][3] - 1, design.pictures[4])
    assert np.array_equal(content["sharedix"][0] - 1, design.shared)
    times, counted = np.arange(1, 4), content["basiccnt"]
    assert np.array_equal(times @ counted, [45, 45])


def test_the_table_of_pictures_tells_each_trial_once():
    settings = tiny()
    design = plan(settings)
    header, *lines = stimulus_info(design, settings)
    assert [line[header.index("nsdId")] for line in lines] == list(range(50))
    for number in (1, 2):
        columns = [header.index(f"subject{number}_rep{k}") for k in range(3)]
        told = np.array([[line[column] for column in columns] for line in lines])
        seen = np.array([line[header.index(f"subject{number}")] for line in lines])
        assert np.array_equal(np.sort(told[seen == 1].ravel()), np.arange(1, 91))
        assert not told[seen == 0].any()
        assert np.all(np.diff(told[seen == 1], axis=1) > 0)


def test_responses_tell_what_was_seen_before():
    settings = tiny()
    design = plan(settings)
    header, *lines = responses(design, settings, SUBJECTS[0])
    assert header == list(RESPONSES)
    table = {name: [line[i] for line in lines] for i, name in enumerate(header)}
    assert len(lines) == 90
    assert table["10KID"] == (design.order + 1).tolist()
    assert table["ISOLD"].count(0) == 30
    for n, column in enumerate(table["10KID"]):
        before = [k for k in range(n) if table["10KID"][k] == column]
        assert table["ISOLD"][n] == bool(before)
        assert table["MEMORYRECENT"][n] == (n - before[-1] - 1 if before else "NaN")
        assert table["MEMORYFIRST"][n] == (n - before[0] - 1 if before else "NaN")
        assert table["ISOLDCURRENT"][n] == any(
            table["SESSION"][k] == table["SESSION"][n] for k in before
        )
        if table["BUTTON"][n] != "NaN":
            says_old = table["BUTTON"][n] == 2
            assert table["ISCORRECT"][n] == (says_old == table["ISOLD"][n])
            assert table["ISCORRECTCURRENT"][n] == (says_old == table["ISOLDCURRENT"][n])
    assert np.all(np.diff(np.array(table["TIME"], float)) > 0)
    assert len(list(responses(design, settings, SUBJECTS[1]))) == 1 + 45
