"""What is to be prepared of a subject's responses: the settings, and all that is known before the betas are read.

Every fault that can be found without reading the betas is found here. N trials.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.betas import beta_files
from minisd.nsd.headers import read_header
from minisd.nsd.inventory import check_betas
from minisd.nsd.layout import HEMISPHERES, SURFACE, as_ranges
from minisd.nsd.prepared import FORMAT, PARTS
from minisd.nsd.subject import Subject
from minisd.nsd.trials import Trials, read_design


@dataclass(frozen=True)
class Region:
    """Voxels by name, as for `minisd.nsd.read_roi`.

    Parameters
    ----------
    name : str
        The kind of regions, for example "nsdgeneral" or "streams".
    labels : sequence of str, optional
        Regions of that kind; if None, all.
    hemisphere : {"lh", "rh"}, optional
        If None, both.
    """

    name: str
    labels: tuple[str, ...] | None = None
    hemisphere: str | None = None

    def __post_init__(self) -> None:
        labels = (self.labels,) if isinstance(self.labels, str) else self.labels
        object.__setattr__(self, "labels", None if labels is None else tuple(labels))

    def __str__(self) -> str:
        side = f"{self.hemisphere}." if self.hemisphere else ""
        return f"{side}{self.name}" + (f":{','.join(self.labels)}" if self.labels else "")


@dataclass(frozen=True)
class PrepareSettings:
    """How responses are prepared. Version and space of the betas are the subject's.

    Parameters
    ----------
    regions : sequence of Region
        Their union is taken.
    sessions : int or sequence of int, optional
        The first so many, or these, from 1. If None, all that the subject did.
    repeats : int
        At most so many trials of a picture are averaged, the first ones; from 1.
    min_ncsnr : float, optional
        Voxels with a smaller ncsnr in the training trials are left out; from 0. If None, none is for that.
    align : int
        How many of the shared pictures, those with the smallest 73k ids, are set apart for aligning subjects. They are
        in neither training nor test, the same pictures for all subjects.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    regions: tuple[Region, ...] = (Region("nsdgeneral"),)
    sessions: int | tuple[int, ...] | None = None
    repeats: int = 3
    min_ncsnr: float | None = None
    align: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", tuple(self.regions))
        if not self.regions:
            raise ValueError("regions are empty; name one at least")
        if _is_whole(self.sessions, 1):
            object.__setattr__(self, "sessions", int(self.sessions))
        elif self.sessions is not None:
            sessions = tuple(self.sessions) if hasattr(self.sessions, "__iter__") else ()
            fits = sessions and all(_is_whole(session, 1) for session in sessions)
            if not fits or len(set(sessions)) != len(sessions):
                raise ValueError(
                    f"sessions are {self.sessions!r}; they must be a number of sessions, or sessions from 1, each once"
                )
            object.__setattr__(self, "sessions", tuple(sorted(map(int, sessions))))
        for name, least in (("repeats", 1), ("align", 0)):
            value = getattr(self, name)
            if not _is_whole(value, least):
                raise ValueError(f"{name} is {value!r}; it must be a whole number from {least}")
        least = self.min_ncsnr
        if least is not None and not (math.isfinite(least) and least >= 0):
            raise ValueError(f"min_ncsnr is {least!r}; it must be at least 0, or None")


@dataclass(frozen=True, eq=False)
class Plan:
    """All that is known before the betas are read.

    Attributes
    ----------
    request : dict
        What must be the same when the work is gone on with: settings, and files with sizes and times. As JSON has it.
    vintage : str
        How many sessions and pictures.
    mask : bool [X, Y, Z] or [vertices]
        The regions' voxels.
    trials : Trials
        Of the chosen sessions, [N].
    parts : dict of str to bool [N]
        Which of them are for what, by the names in `minisd.nsd.prepared.PARTS`.
    """

    request: dict[str, Any]
    vintage: str
    mask: NDArray[np.bool_]
    trials: Trials
    parts: dict[str, NDArray[np.bool_]]

    @property
    def sessions(self) -> list[int]:
        """The chosen sessions, from 1, in order."""
        return self.request["settings"]["sessions"]

    @property
    def repeats(self) -> int | None:
        """How often the pictures were shown from which the ncsnr is estimated; None if none was shown again.

        NSD takes pictures with three repeats. Where a subject did few sessions, most have fewer: then those that tell
        more, by their degrees of freedom.
        """
        _, count = np.unique(self.trials.nsd_id[self.parts["train"]], return_counts=True)
        pictures = np.bincount(count)
        freedom = (np.arange(pictures.size) - 1) * pictures
        return int(freedom.argmax()) if freedom.max() > 0 else None


def make_plan(subject: Subject, settings: PrepareSettings) -> Plan:
    """Find out what is to be done, and look at all files that it needs.

    Raises
    ------
    ValueError
        If a session, a region or a file is missing, or damaged at its beginning or end, or if there is nothing to train
        or test with.
    """
    root, number = subject.root, subject.number
    sessions = _choose_sessions(subject, settings.sessions)
    mask = _mask(subject, settings.regions)
    design, shared = read_design(root, number)
    trials = subject.trials[np.isin(subject.trials.session, sessions)]
    if settings.align >= len(shared):
        raise ValueError(
            f"align is {settings.align}; {root.relative(root.design)} has {len(shared)} shared pictures, and some must "
            "be left for testing"
        )
    aligning = np.isin(trials.nsd_id, np.sort(shared)[: settings.align])
    parts = {
        "train": ~trials.shared,
        "align": aligning,
        "test": trials.shared & ~aligning,
    }
    parts = {name: parts[name] for name in PARTS if name != "align" or settings.align}
    for name, part in parts.items():
        if not part.any():
            raise ValueError(
                f"sessions {as_ranges(sessions)} of subject {number} show no picture for {name}; take more sessions"
            )
    for session in sessions:
        count = np.count_nonzero(parts["train"] & (trials.session == session))
        if count < 2:
            raise ValueError(
                f"session {session} of subject {number} has {count} training trials; z-scores need 2: leave it out"
            )
    files = list(_tables_and_masks(subject, settings.regions))
    # one of a volume, one of each hemisphere, as those of betas are
    rois = list(_roi_files(subject, settings.regions[0]))
    shapes = [read_header(root, path)[0] for path in rois]
    for session in sessions:
        planned = np.count_nonzero(trials.session == session)
        found = beta_files(root, number, session, subject.version, subject.space)
        for file, roi, shape in zip(found, rois, shapes, strict=True):
            check_betas(root, file, shape, planned, root.relative(roi))
            files.append(file)
    told = asdict(settings) | {"sessions": sessions}
    request = {
        "format": FORMAT,
        "subject": number,
        "version": subject.version,
        "space": subject.space,
        "settings": told,
        "files": {root.relative(file): _stamp(file) for file in files},
    }
    counts = [len(np.unique(trials.nsd_id[parts[name]])) for name in ("train", "test")]
    vintage = (
        f"{len(sessions)} of {len(np.unique(design.session))} planned sessions, "
        f"{counts[0]} training and {counts[1]} test pictures"
    )
    # as it comes back from the file that it is compared with
    plan = Plan(json.loads(json.dumps(request)), vintage, mask, trials, parts)
    if settings.min_ncsnr is not None and plan.repeats is None:
        raise ValueError(
            f"min_ncsnr is {settings.min_ncsnr}, and in the sessions {as_ranges(sessions)} no training picture is "
            "repeated: give None, or take more sessions"
        )
    return plan


def _choose_sessions(subject: Subject, asked: int | tuple[int, ...] | None) -> list[int]:
    there = subject.sessions
    if asked is None:
        chosen = np.unique(subject.trials.session).tolist()
    else:
        chosen = list(range(1, asked + 1)) if isinstance(asked, int) else list(asked)
    absent = [session for session in chosen if session not in there]
    if absent or not chosen:
        path = subject.root.betas(
            subject.number,
            (absent or [1])[0],
            subject.version,
            subject.space,
            hemisphere=HEMISPHERES[0] if subject.space == SURFACE else None,
        )
        raise ValueError(
            f"sessions are {as_ranges(chosen)}; subject {subject.number} has betas of {as_ranges(there)}, and not of "
            f"{as_ranges(absent)} ({subject.root.relative(path.parent)}): get them, or ask for those that are there"
        )
    return chosen


def _mask(subject: Subject, regions: tuple[Region, ...]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] | None = None
    for region in regions:
        mask = subject.roi(region.name, region.labels, region.hemisphere)
        if not mask.any():
            raise ValueError(
                f"region {region} has no voxel in subject {subject.number} ({subject.space}); leave it out"
            )
        if found is not None and mask.shape != found.shape:
            names = [
                subject.root.relative(next(_roi_files(subject, one)))
                for one in (region, regions[0])
            ]
            raise ValueError(
                f"{names[0]} has the shape {mask.shape}, and {names[1]} {found.shape}; get both again"
            )
        found = mask if found is None else found | mask
    return found


def _roi_files(subject: Subject, region: Region) -> Iterator[Path]:
    sides = HEMISPHERES if subject.space == SURFACE else (region.hemisphere,)
    for side in sides:
        yield subject.root.roi(subject.number, region.name, side, subject.space)


def _tables_and_masks(subject: Subject, regions: tuple[Region, ...]) -> Iterator[Path]:
    root, number = subject.root, subject.number
    tables = (root.design, root.stimulus_info, root.responses(number))
    yield from (path for path in tables if path.is_file())
    for region in regions:
        yield from _roi_files(subject, region)
        if region.labels:
            yield next(path for path in root.labels(number, region.name) if path.is_file())


def _stamp(path: Path) -> dict[str, int]:
    about = path.stat()
    return {"bytes": about.st_size, "modified_ns": about.st_mtime_ns}


def _is_whole(value: Any, least: int) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool) and int(value) >= least
