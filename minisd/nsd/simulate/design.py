"""The experiment: which pictures there are, who sees which, when, and what button is pressed.

In the files all is counted as in the Natural Scenes Dataset: from 1 in ``nsd_expdesign.mat`` and ``responses.tsv``, and
``nsdId`` from 0 in ``nsd_stim_info_merged.csv``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.simulate.settings import SimulationSettings, SubjectSettings

BLANK = 12
"""Trials of a run, at most, in which no picture is shown."""
NEAR = 0.5
"""Share of the repeats that come soon after the picture was last seen."""
INFO = (
    "", "cocoId", "cocoSplit", "cropBox", "loss", "nsdId", "flagged", "BOLD5000", "shared1000"
)  # fmt: skip
"""First columns of ``nsd_stim_info_merged.csv``, those that are no subject's; the first has no name."""
RESPONSES = (
    "SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "TIME", "ISOLD", "ISCORRECT", "RT", "CHANGEMIND",
    "MEMORYRECENT", "MEMORYFIRST", "ISOLDCURRENT", "ISCORRECTCURRENT", "TOTAL1", "TOTAL2", "BUTTON", "MISSINGDATA",
)  # fmt: skip
"""Columns of ``responses.tsv``."""


@dataclass(frozen=True, eq=False)
class Design:
    """Who sees what when. All ids and numbers count from 0.

    Attributes
    ----------
    pictures : dict of int to int64 [P]
        By subject, the 73k ids of its pictures; those that all see come first.
    order : int64 [trials]
        Which of a subject's pictures is shown, the same for all.
    pattern : uint8 [sessions, runs, slots]
        1 where a picture is shown.
    shared : int64 [S]
        73k ids of the pictures that all see, in order.
    coco_id : int64 [pictures]
        Made up; there are no such pictures in COCO.
    split : array of str [pictures]
    """

    pictures: dict[int, NDArray[np.int64]]
    order: NDArray[np.int64]
    pattern: NDArray[np.uint8]
    shared: NDArray[np.int64]
    coco_id: NDArray[np.int64]
    split: NDArray[np.str_]

    def shown(self, session: int) -> NDArray[np.int64]:
        """Which of a subject's pictures a session (from 1) shows, in the order of trials."""
        trials = self.pattern.sum(axis=(1, 2))
        start = trials[: session - 1].sum()
        return self.order[start : start + trials[session - 1]]


def plan(settings: SimulationSettings) -> Design:
    """Make the experiment's plan."""
    rng = settings.rng("design")
    ids = rng.permutation(settings.pictures)
    shared = np.sort(ids[: settings.shared])
    own = ids[settings.shared :].reshape(len(settings.subjects), settings.own)
    pictures = {
        subject.number: np.concatenate([shared, mine])
        for subject, mine in zip(settings.subjects, own, strict=True)
    }
    coco = np.sort(rng.choice(10 * settings.pictures, settings.pictures, replace=False)) + 1_000_000
    split = np.where(rng.random(settings.pictures) < 0.9, "train2017", "val2017")
    return Design(pictures, _order(settings, rng), _pattern(settings, rng), shared, coco, split)


def _order(settings: SimulationSettings, rng: np.random.Generator) -> NDArray[np.int64]:
    """Shuffle all repeats of all pictures; half of the repeats come soon after one another."""
    count = settings.pictures_each
    moment = rng.random((count, settings.repeats))
    for repeat in range(1, settings.repeats):
        soon = rng.random(count) < NEAR
        moment[soon, repeat] = moment[soon, repeat - 1] + 0.02 * rng.random(soon.sum())
    order = np.argsort(moment % 1, axis=None, kind="stable") // settings.repeats
    # no picture follows itself: the second of two alike is swapped with another
    for i in np.flatnonzero(order[1:] == order[:-1]) + 1:
        around = order[max(i - 1, 0) : i + 2]
        for j in rng.permutation(order.size):
            beside = order[max(j - 1, 0) : j + 2]
            if order[i] not in beside and order[j] not in around:
                order[i], order[j] = order[j], order[i]
                break
    return order


def _pattern(settings: SimulationSettings, rng: np.random.Generator) -> NDArray[np.uint8]:
    slots = max(settings.trials) + BLANK
    pattern = np.zeros((settings.sessions, len(settings.trials), slots), np.uint8)
    pattern[:, :, 3 : slots - 4] = 1
    for session in pattern:
        for run, trials in zip(session, settings.trials, strict=True):
            shown = np.flatnonzero(run)
            run[rng.choice(shown, shown.size - trials, replace=False)] = 0
    return pattern


def expdesign(design: Design, settings: SimulationSettings) -> dict[str, NDArray[np.float64]]:
    """What ``nsd_expdesign.mat`` holds, in MATLAB's double precision and counted from 1.

    Parameters
    ----------
    design : Design
    settings : SimulationSettings

    Returns
    -------
    dict of str to array
        masterordering [1, trials], subjectim [subjects, P], sharedix [1, S], basiccnt [3, sessions] (how many pictures
        a session shows once, twice, three times) and stimpattern [sessions, runs, slots]. subjectim has a row for each
        number up to the highest; that of a number that no subject has repeats the first subject's.
    """
    highest = max(design.pictures)
    first = next(iter(design.pictures.values()))
    rows = [design.pictures.get(number, first) + 1 for number in range(1, highest + 1)]
    counts = np.zeros((3, settings.sessions))
    for session in range(settings.sessions):
        _, times = np.unique(design.shown(session + 1), return_counts=True)
        counts[:, session] = [(times == k).sum() for k in (1, 2, 3)]
    return {
        "masterordering": design.order[None] + 1.0,
        "subjectim": np.array(rows, float),
        "sharedix": design.shared[None] + 1.0,
        "basiccnt": counts,
        "stimpattern": design.pattern.astype(float),
    }


def stimulus_info(design: Design, settings: SimulationSettings) -> Iterator[list[object]]:
    """The lines of ``nsd_stim_info_merged.csv``, the header first.

    Parameters
    ----------
    design : Design
    settings : SimulationSettings

    Yields
    ------
    list
        A line's fields. ``subjectK_rep0`` and so on number the subject's trials from 1 in the whole experiment; 0 for
        pictures that it does not see.
    """
    numbers = list(design.pictures)
    subjects = [f"subject{number}" for number in numbers]
    repeats = [f"{one}_rep{k}" for one in subjects for k in range(settings.repeats)]
    yield [*INFO, *subjects, *repeats]
    # in each row the trials of one of a subject's pictures, in order
    when = np.argsort(design.order, kind="stable").reshape(-1, settings.repeats) + 1
    trials = np.zeros((len(numbers), settings.pictures, settings.repeats), int)
    for row, number in enumerate(numbers):
        trials[row, design.pictures[number]] = when
    shared = np.isin(np.arange(settings.pictures), design.shared)
    for i in range(settings.pictures):
        coco = design.coco_id[i], design.split[i], "(0.0, 0.0, 0.0, 0.0)", 0.0
        seen = trials[:, i].any(axis=1).astype(int)
        yield [i, *coco, i, False, False, bool(shared[i]), *seen, *trials[:, i].ravel()]


def responses(
    design: Design, settings: SimulationSettings, subject: SubjectSettings
) -> Iterator[list[object]]:
    """The lines of a subject's ``responses.tsv``, the header first; one for each trial that was done.

    Parameters
    ----------
    design : Design
    settings : SimulationSettings
    subject : SubjectSettings

    Yields
    ------
    list
        A line's fields, those of `RESPONSES`. Whether the picture was seen before is answered rightly more often the
        sooner it comes back.
    """
    rng = settings.rng("responses", subject.number)
    yield list(RESPONSES)
    seen: dict[int, list[tuple[int, int]]] = {}  # by picture, its trials and their sessions
    place, trial = None, 0
    where = np.argwhere(design.pattern[: subject.sessions]).tolist()
    for n, (session, run, slot) in enumerate(where):
        trial = trial + 1 if (session, run) == place else 1
        place = session, run
        column = int(design.order[n])
        before = seen.setdefault(column, [])
        old = bool(before)
        current = any(one == session for _, one in before)
        # how many trials ago it was seen last, and first
        recent, first = (n - before[k][0] - 1 if old else "NaN" for k in (-1, 0))
        before.append((n, session))
        right = bool(rng.random() < (0.55 + 0.4 * np.exp(-recent / 500) if old else 0.85))
        button = 1 + (old == right)  # 1 for new, 2 for old
        told = [int(right), round(rng.gamma(9, 100) + 250), int(rng.random() < 0.02)]
        told_current, presses = int(right == (old == current)), [2 - button, button - 1, button]
        if rng.random() > 0.99:  # no button was pressed
            told, told_current, presses = ["NaN"] * 3, "NaN", [0, 0, "NaN"]
        # a week between sessions, 5.5 minutes between runs, four seconds between trials
        time = f"{7 * session + 0.4 + (330 * run + 4 * slot) / 86400:.8f}"
        who = [subject.number, session + 1, run + 1, trial]
        what = [design.pictures[subject.number][column] + 1, column + 1, time, int(old)]
        yield [*who, *what, *told, recent, first, int(current), told_current, *presses, 0]
