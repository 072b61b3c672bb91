"""Make a subject's responses ready for decoding: choose voxels, z-score, average over repeats, split.

Nothing that is fitted has seen a test response: means and standard deviations are those of a session's training trials,
and the ncsnr that chooses voxels is estimated from training trials (the one that NSD ships has seen all). The split is
NSD's usual one: the pictures that all subjects were to see are for testing, a subject's own for training. What no user
can undo: NSD's third version of the betas was denoised and regularised with the test trials among the others.

N trials of a session, V voxels. One session is in memory at a time.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout
from numpy.typing import NDArray
from tqdm import tqdm

from minisd import __version__
from minisd.nsd.files import whole
from minisd.nsd.layout import as_ranges
from minisd.nsd.noise import ncsnr
from minisd.nsd.plan import Plan, PrepareSettings, Region, make_plan
from minisd.nsd.prepared import (
    BATCH,
    MANIFEST,
    Prepared,
    average_repeats,
    load_prepared,
    read_json,
)
from minisd.nsd.subject import Subject
from minisd.nsd.trials import Trials

__all__ = ["PrepareSettings", "Region", "prepare", "z_scale"]

WORK = "unfinished"
"""The folder beside the results in which they are made, session by session. It is gone when all is there."""

REQUEST = "request.json"
"""The file in `WORK` that says what is being made."""

LOCK = "lock"
"""The file in `WORK` that a run holds, so that no second one writes there."""

BLOCK = 2**24
"""Responses in memory for the ncsnr: some voxels in all training trials."""


def prepare(
    subject: Subject,
    path: str | Path,
    settings: PrepareSettings | None = None,
    progress: bool = True,
) -> Prepared:
    """Prepare a subject's responses.

    A folder that is finished is opened, and nothing is done; one that is not is gone on with, session by session.
    Voxels that do not vary over the training trials of a session, or have no number in one of its trials, are left out.

    Parameters
    ----------
    subject : Subject
    path : path
        A folder for this subject alone, which is made if it is not there. While it is made, it takes about twice the
        space of the result.
    settings : PrepareSettings, optional
        If None, nsdgeneral in all sessions.
    progress : bool
        Show a bar.

    Returns
    -------
    Prepared

    Raises
    ------
    ValueError
        Before any long work: if the folder holds something else, or responses that were prepared with other settings or
        from other files; if another run is at work in it; if a session, a region or a file is missing or damaged at its
        beginning or end; if there is nothing to train or test with. Later: for other damage, and if no voxel is left.
    """
    path, settings = Path(path), settings or PrepareSettings()
    if path.exists() and not path.is_dir():
        raise ValueError(f"path {path} is a file; choose a new folder")
    plan = make_plan(subject, settings)
    if not _is_finished(path, plan.request):
        with _locked(path):
            # another run may have finished it meanwhile
            if not _is_finished(path, plan.request):
                _write_json(path / WORK / REQUEST, plan.request)
                _make(path, subject, settings, plan, progress)
    # the lock goes with it: not before it is released, since Windows removes no open file
    shutil.rmtree(path / WORK, ignore_errors=True)
    return load_prepared(path)


def z_scale(
    betas: NDArray[np.float32], training: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Find what a session's betas are z-scored with.

    Parameters
    ----------
    betas : float32 [N, V]
    training : bool [N]
        The trials that are for training. Of no other trial anything matters but whether it has a number.

    Returns
    -------
    mean, deviation : float32 [V]
        The standard deviation is the unbiased one, as in NSD's own z-scores. Both are 0 where a voxel does not vary
        over the training trials or has no number in any trial of the session.
    """
    rows = betas[training]
    usable = np.isfinite(betas).all(axis=0) & (rows.min(axis=0) < rows.max(axis=0))
    rows = np.where(usable, rows, np.float32(0))
    mean = rows.mean(axis=0, dtype=np.float64)
    deviation = rows.std(axis=0, ddof=1, dtype=np.float64)
    return mean.astype(np.float32), np.where(usable, deviation, 0).astype(np.float32)


def _is_finished(path: Path, request: dict[str, Any]) -> bool:
    """Tell whether all is there; refuse a folder that is not this request's."""
    # in the order other than that of writing, so that a run that ends just now is seen
    begun, finished = read_json(path / WORK / REQUEST), read_json(path / MANIFEST)
    if (told := finished or begun) is None:
        # a run that was killed at once has left no more than the lock and the request, not yet renamed
        others = [file.name for file in path.glob("*") if file.name != WORK]
        others += [
            file.name
            for file in path.glob(f"{WORK}/*")
            if file.name != LOCK and REQUEST not in file.name
        ]
        if others:
            raise ValueError(
                f"path {path} holds something else ({sorted(others)[0]}); choose an empty or a new folder"
            )
        return False
    if changed := _differences(told, request):
        more = f", and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ValueError(
            f"path {path} holds responses prepared otherwise: {'; '.join(changed[:3])}{more}. "
            "Choose another folder, or remove this one"
        )
    return finished is not None


def _locked(path: Path) -> AcquireReturnProxy:
    """Hold the folder's lock. The system releases it when a run ends, however it does: none is left over."""
    (path / WORK).mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(path / WORK / LOCK).acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"path {path} is being prepared by another run; wait until that is finished, or choose another folder"
        ) from error


def _differences(told: dict[str, Any], request: dict[str, Any]) -> list[str]:
    """Name what is asked for otherwise or, if nothing is, the files that are not as they were."""
    old, new = (one | one.get("settings", {}) for one in (told, request))
    names = [name for name in new if name not in ("settings", "files")]
    changed = [
        f"{name} was {old.get(name)}, and is {new[name]} now"
        for name in names
        if old.get(name) != new[name]
    ]
    if changed:
        return changed
    before, now = old.get("files", {}), new["files"]
    return [
        f"{name} {'is gone' if name not in now else 'changed' if name in before else 'is new'}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def _make(
    path: Path, subject: Subject, settings: PrepareSettings, plan: Plan, progress: bool
) -> None:
    work, steps = path / WORK, len(plan.sessions) + len(plan.parts)
    with tqdm(total=steps, disable=not progress, desc="preparing", unit="step") as bar:
        for session in plan.sessions:
            if not _is_done(work, session, plan):
                _write_session(work, subject, session, plan)
            bar.update()
        scale = np.stack([np.load(_scale_file(work, session)) for session in plan.sessions])
        found, varying, chosen = _choose_voxels(work, plan, settings.min_ncsnr, scale[:, 1])
        mask = plan.mask.copy()
        mask[plan.mask] = chosen
        arrays = {"mask": mask, "ncsnr": found[chosen]}
        arrays |= {"mean": scale[:, 0, chosen], "deviation": scale[:, 1, chosen]}
        for name, values in arrays.items():
            _save(work / f"{name}.npy", np.ascontiguousarray(values))
        names = [f"{name}.npy" for name in arrays]
        for name in plan.parts:
            names += _write_part(work, name, plan, chosen, settings.repeats)
            bar.update()
    for name in names:
        os.replace(work / name, path / name)
    made = {
        "minisd": __version__,
        "vintage": plan.vintage,
        "z-scores": "by session, with mean and unbiased standard deviation of its training trials",
        "ncsnr": {"from": "training trials", "repeats": plan.repeats},
        "voxels": {
            "asked": varying.size,
            "constant": int((~varying).sum()),
            "below min_ncsnr": int((varying & ~chosen).sum()),
            "kept": int(chosen.sum()),
        },
        "pictures": {name: _counts(plan, name, settings.repeats) for name in plan.parts},
    }
    # last: when it is there, all is
    _write_json(path / MANIFEST, plan.request | made)


def _is_done(work: Path, session: int, plan: Plan) -> bool:
    shape = np.count_nonzero(plan.trials.session == session), np.count_nonzero(plan.mask)
    try:
        return np.load(_session_file(work, session), mmap_mode="r").shape == shape
    except (OSError, ValueError, EOFError):  # not there, or lost when the machine went off
        return False


def _choose_voxels(
    work: Path, plan: Plan, least: float | None, deviation: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Give the training trials' ncsnr, which voxels vary in each session, and which of them are kept, each [V]."""
    varying = (deviation > 0).all(axis=0)
    if not varying.any():
        raise ValueError(
            f"none of the {varying.size} voxels varies in each of the sessions {as_ranges(plan.sessions)}; "
            "take other regions or sessions"
        )
    found = _training_ncsnr(work, plan, varying)
    chosen = varying if least is None else varying & (found >= least)
    if not chosen.any():
        raise ValueError(
            f"min_ncsnr is {least}, and the highest is {np.nanmax(found):.3g}; choose a lower one"
        )
    return found, varying, chosen


def _write_session(work: Path, subject: Subject, session: int, plan: Plan) -> None:
    training = plan.parts["train"][plan.trials.session == session]
    betas = subject.betas(session, plan.mask, allow_nan=True)
    mean, deviation = z_scale(betas, training)
    betas -= mean
    betas /= np.where(deviation > 0, deviation, np.float32(np.inf))
    _save(_scale_file(work, session), np.stack([mean, deviation]))
    # last: when it is there, the session is done
    _save(_session_file(work, session), betas)


def _training_ncsnr(work: Path, plan: Plan, varying: NDArray[np.bool_]) -> NDArray[np.float32]:
    found = np.full(varying.size, np.nan, np.float32)
    if plan.repeats is None:
        return found
    training = plan.trials[plan.parts["train"]]
    step = max(1, BLOCK // len(training))
    for start in range(0, varying.size, step):
        part = slice(start, start + step)
        z = np.concatenate([file[:, part][rows] for file, rows in _rows(work, plan, "train")])
        found[part] = ncsnr(z, training, plan.repeats)
    return np.where(varying, found, np.float32(np.nan))


def _write_part(
    work: Path, name: str, plan: Plan, chosen: NDArray[np.bool_], repeats: int
) -> list[str]:
    """Write a part's trials and means; give the files' names."""
    names = [f"{name}_single.npy", f"{name}.npy", f"{name}_trials.npz"]
    trials, voxels = plan.trials[plan.parts[name]], np.count_nonzero(chosen)
    with _array(work / names[0], (len(trials), voxels)) as file:
        for session, rows in _rows(work, plan, name):
            file.write(np.ascontiguousarray(session[rows][:, chosen]).data)
    pictures = np.unique(trials.nsd_id)
    with _array(work / names[1], (len(pictures), voxels)) as file:
        for start in range(0, len(pictures), BATCH):
            rows = np.flatnonzero(np.isin(trials.nsd_id, pictures[start : start + BATCH]))
            single = _read_rows(work / names[0], rows, voxels)
            means = average_repeats(single, trials.nsd_id[rows], repeats)
            file.write(np.ascontiguousarray(means).data)
    columns = {field.name: getattr(trials, field.name) for field in fields(Trials)}
    with whole(work / names[2]) as beside, beside.open("wb") as file:
        np.savez(file, **columns)
    return names


def _rows(work: Path, plan: Plan, name: str) -> Iterator[tuple[np.memmap, NDArray[np.intp]]]:
    """Give each session's z-scores, mapped into memory, and which of its trials belong to a part.

    Each is mapped anew and for a short time, since what was read of a mapped file counts as memory.
    """
    for session in plan.sessions:
        rows = np.flatnonzero(plan.parts[name][plan.trials.session == session])
        yield np.load(_session_file(work, session), mmap_mode="r"), rows


def _counts(plan: Plan, name: str, repeats: int) -> dict[str, Any]:
    ids = plan.trials.nsd_id[plan.parts[name]]
    _, count = np.unique(ids, return_counts=True)
    averaged, pictures = np.unique(np.minimum(count, repeats), return_counts=True)
    by_number = {str(k): n for k, n in zip(averaged.tolist(), pictures.tolist(), strict=True)}
    return {"pictures": len(count), "trials": len(ids), "averaged": by_number}


@contextmanager
def _array(path: Path, shape: tuple[int, int]) -> Iterator[BinaryIO]:
    """Open a file for an array of float32 whose rows are written one after the other."""
    # NumPy's own whole numbers would be spelled out in the file's header
    shape = tuple(int(length) for length in shape)
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False}
    with whole(path) as beside, beside.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header | {"shape": shape})
        yield file


def _read_rows(path: Path, rows: NDArray[np.intp], voxels: int) -> NDArray[np.float32]:
    """Read rows of what `_array` wrote; of a mapped file, those around them would count as memory too."""
    found = np.empty((rows.size, voxels), np.float32)
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        start = file.tell()
        for row, values in zip(rows.tolist(), found, strict=True):
            file.seek(start + row * values.nbytes)
            file.readinto(values.data)
    return found


def _save(path: Path, values: NDArray) -> None:
    with whole(path) as beside, beside.open("wb") as file:
        np.save(file, values)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with whole(path) as beside:
        beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _session_file(work: Path, session: int) -> Path:
    return work / f"session{session:02}.npy"


def _scale_file(work: Path, session: int) -> Path:
    return work / f"scale{session:02}.npy"
