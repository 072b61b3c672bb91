"""Which picture a subject saw in which trial.

``nsd_expdesign.mat`` plans it, for the sessions of all subjects, with ids that count from 1; ``responses.tsv`` tells
what was done, ``nsd_stim_info_merged.csv`` tells it by picture. All three must agree.
N trials. How many sessions, trials, pictures there are is taken from the files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from minisd.extras import require
from minisd.nsd.layout import SURFACE, VERSIONS, VOLUMES, Root, as_ranges
from minisd.nsd.tables import read_columns, whole_numbers


@dataclass(frozen=True, eq=False)
class Trials:
    """A subject's trials, a session's in the order of its betas. Indexing gives trials, by a mask or by numbers.

    Attributes
    ----------
    session, run, trial : int64 [N]
        Counted from 1; the run within its session, the trial within its run.
    nsd_id : int64 [N]
        The picture's 73k id, from 0.
    repeat : int64 [N]
        How often the subject had seen the picture before, in all sessions of the experiment: 0, 1, 2.
    shared : bool [N]
        Whether it is one of the pictures that all subjects were to see.
    """

    session: NDArray[np.int64]
    run: NDArray[np.int64]
    trial: NDArray[np.int64]
    nsd_id: NDArray[np.int64]
    repeat: NDArray[np.int64]
    shared: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.session)

    def __getitem__(self, which: NDArray | slice) -> Trials:
        return Trials(*(np.atleast_1d(getattr(self, field.name)[which]) for field in fields(self)))


def read_trials(root: Root, subject: int, sessions: Iterable[int] | None = None) -> Trials:
    """Read a subject's trials.

    Parameters
    ----------
    root : Root
    subject : int
        From 1.
    sessions : iterable of int, optional
        From 1; in any order, each once. If None, all that the subject did: those in ``responses.tsv``, and those of
        which betas are there.

    Returns
    -------
    Trials
        In the order of sessions, runs, trials.

    Raises
    ------
    ValueError
        If a file is missing, damaged, or contradicts another; if the design has no such subject; if a session that is
        asked for is not there.
    """
    responses = root.responses(subject)
    design, shared = read_design(root, subject)
    done = _read_responses(root, subject) if responses.is_file() else {}
    chosen = _choose(root, subject, sessions, set(done), int(design.session[-1]))
    trials = design[np.isin(design.session, chosen)]
    for session in chosen:
        if session in done:
            _agree_on_session(root, subject, design[design.session == session], done[session])
    if root.stimulus_info.is_file():
        number = np.flatnonzero(np.isin(design.session, chosen)) + 1
        _agree_with_info(root, subject, trials, number, shared)
    return trials


def read_design(root: Root, subject: int) -> tuple[Trials, NDArray[np.int64]]:
    """Read what was planned, whether or not it was done.

    Parameters
    ----------
    root : Root
    subject : int
        From 1.

    Returns
    -------
    trials : Trials
        Of all sessions.
    shared : int64 [P]
        73k ids, from 0, of the pictures that all subjects were to see.

    Raises
    ------
    ValueError
        If the file is missing or damaged, or the design has no such subject.
    """
    path = root.found(root.design, "it comes with NSD's nsddata folder")
    name = root.relative(path)
    wanted = ("masterordering", "subjectim", "sharedix", "stimpattern")
    loadmat = require("scipy.io", "brain").loadmat
    try:
        content = loadmat(path, variable_names=wanted)
    except Exception as error:  # on a damaged file, scipy raises nearly anything
        raise ValueError(
            f"{name} cannot be read ({error}): it is cut short or damaged; get it again"
        ) from error
    absent = [variable for variable in wanted if variable not in content]
    if absent:
        raise ValueError(f"{name} has no {', '.join(absent)}; get it again")
    # MATLAB may have stored small unsigned numbers: less one, they would run over
    order, pictures, shared, pattern = (content[variable].astype(np.int64) for variable in wanted)
    order, shared = order.ravel() - 1, shared.ravel() - 1
    if pattern.ndim != 3 or pictures.ndim != 2 or np.count_nonzero(pattern) != order.size:
        raise ValueError(
            f"{name}: stimpattern {pattern.shape} must have a 1 for each of the {order.size} trials in masterordering"
        )
    if not 1 <= subject <= len(pictures):
        raise ValueError(f"subject is {subject}; {name} has subjects 1 to {len(pictures)}")
    own = pictures[subject - 1] - 1
    if order.min() < 0 or order.max() >= own.size or own.min() < 0 or shared.min() < 0:
        raise ValueError(
            f"{name}: masterordering must count subjectim's {own.size} columns from 1, "
            "and subjectim and sharedix the pictures from 1"
        )
    session, run, _ = (index + 1 for index in np.nonzero(pattern))
    first_of_run = np.flatnonzero(np.diff(session * (run.max() + 1) + run, prepend=-1))
    length_of_run = np.diff(first_of_run, append=order.size)
    trial = np.arange(order.size) - np.repeat(first_of_run, length_of_run) + 1
    ids = own[order]
    return Trials(session, run, trial, ids, _occurrence(ids), np.isin(ids, shared)), shared


def _occurrence(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count, for each place, how often its id stands before it."""
    by_id = np.argsort(ids, kind="stable")
    _, first, count = np.unique(ids[by_id], return_index=True, return_counts=True)
    occurrence = np.empty_like(ids)
    occurrence[by_id] = np.arange(ids.size) - np.repeat(first, count)
    return occurrence


def _read_responses(root: Root, subject: int) -> dict[int, tuple[NDArray, NDArray]]:
    """Read by session, in the order of trials: the runs, and the pictures' 73k ids, from 0."""
    path = root.responses(subject)
    columns = ("SUBJECT", "SESSION", "RUN", "TRIAL", "73KID")
    texts = read_columns(root, path, columns, delimiter="\t")
    name = root.relative(path)
    who, session, run, trial, ids = (whole_numbers(f"{name}: {c}", texts[c]) for c in columns)
    if np.any(who != subject):
        raise ValueError(f"{name} has trials of subject {who[who != subject][0]}; get it again")
    order = np.lexsort((trial, run, session))
    session, run, ids = session[order], run[order], ids[order] - 1
    return {int(s): (run[session == s], ids[session == s]) for s in np.unique(session)}


def _choose(
    root: Root, subject: int, sessions: Iterable[int] | None, done: set[int], planned: int
) -> list[int]:
    # betas of any kind prove that a session was done
    there = done.union(
        *(root.beta_sessions(subject, v, s) for v in VERSIONS for s in (*VOLUMES, SURFACE))
    )
    if sessions is None:
        if not there:
            raise ValueError(
                f"nothing tells which sessions subject {subject} did: {root.relative(root.responses(subject))} "
                f"is not there, nor are betas (root {root.path}); get one of them"
            )
        chosen = sorted(there)
    else:
        chosen = sorted(sessions)
        if not chosen or len(set(chosen)) != len(chosen):
            raise ValueError(f"sessions are {chosen}; name at least one, each once")
        absent = [session for session in chosen if session not in there]
        if absent and there:
            raise ValueError(
                f"subject {subject} has no session {as_ranges(absent)}; there are {as_ranges(sorted(there))}"
            )
    beyond = [session for session in chosen if not 1 <= session <= planned]
    if beyond:
        raise ValueError(
            f"session {as_ranges(beyond)}: {root.relative(root.design)} has sessions 1 to {planned}"
        )
    return chosen


def _agree_on_session(
    root: Root, subject: int, design: Trials, done: tuple[NDArray, NDArray]
) -> None:
    run, ids = done
    files = f"{root.relative(root.design)} and {root.relative(root.responses(subject))} disagree"
    where = f"session {design.session[0]}"
    if len(run) != len(design):
        raise ValueError(
            f"{files}: {where} has {len(design)} trials and {len(run)} trials; get both again"
        )
    wrong = np.flatnonzero((run != design.run) | (ids != design.nsd_id))
    if wrong.size:
        i = wrong[0]
        raise ValueError(
            f"{files} on {wrong.size} trials of {where}: number {i + 1} shows 73k id {design.nsd_id[i]} "
            f"in run {design.run[i]} by the one, {ids[i]} in run {run[i]} by the other (ids from 0); get both again"
        )


def _agree_with_info(
    root: Root, subject: int, trials: Trials, number: NDArray[np.int64], shared: NDArray[np.int64]
) -> None:
    name = root.relative(root.stimulus_info)
    texts = read_columns(
        root, root.stimulus_info, ("nsdId",), also=rf"subject{subject}_rep\d+|shared1000"
    )
    files = f"{root.relative(root.design)} and {name} disagree"
    ids = whole_numbers(f"{name}: nsdId", texts.pop("nsdId"))
    unknown = np.setdiff1d(trials.nsd_id, ids)
    if unknown.size:
        raise ValueError(
            f"{files}: 73k id {unknown[0]} (from 0) and {unknown.size - 1} more have no line; get both again"
        )
    if "shared1000" in texts:
        marked = ids[np.array(texts.pop("shared1000")) == "True"]
        wrong = np.setxor1d(marked, shared)
        if wrong.size:
            raise ValueError(
                f"{files} on whether 73k id {wrong[0]} (from 0) and {wrong.size - 1} more are shared; get both again"
            )
    by_id = np.argsort(ids)
    line = by_id[np.searchsorted(ids[by_id], trials.nsd_id)]
    for column, text in texts.items():  # the trial's number in the whole experiment, from 1
        told = whole_numbers(f"{name}: {column}", text)[line]
        repeat = int(column.rpartition("rep")[2])
        wrong = np.flatnonzero((trials.repeat == repeat) & (told != number))
        if wrong.size:
            i = wrong[0]
            raise ValueError(
                f"{files} on {wrong.size} trials: 73k id {trials.nsd_id[i]} (from 0) has {column} {told[i]}, "
                f"and the design {number[i]}; get both again"
            )
