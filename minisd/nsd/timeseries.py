"""BOLD runs of a session, with what was shown in them, for the linear model of `minisd.nsd.glm`.

A run is a NIfTI file, a volume every 4/3 s (at 1.8 mm) or every second (at 1 mm), and beside it a table with a line for
each volume: the 73k id, from 1, of the picture whose trial begins there, or 0 (NSD's data manual, "Time-series data").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minisd.extras import require
from minisd.nsd.files import damaged
from minisd.nsd.glm import Run
from minisd.nsd.layout import VOLUMES, Root

TR = {"func1pt8mm": 4 / 3, "func1mm": 1.0}
"""Seconds from one volume to the next."""


def read_runs(
    root: Root, subject: int, session: int, mask: NDArray[np.bool_], space: str = VOLUMES[0]
) -> list[Run]:
    """Read a session's runs in the voxels of a mask.

    Parameters
    ----------
    root : Root
    subject, session : int
        From 1.
    mask : bool [X, Y, Z]
    space : {"func1pt8mm", "func1mm"}

    Returns
    -------
    list of Run
        Their pictures are 73k ids from 0.

    Raises
    ------
    ValueError
        If the session has no runs, a file is missing or damaged, or table, series and mask do not fit each other.
    """
    numbers = root.runs(subject, session, space)
    if not numbers:
        path = root.timeseries(subject, session, 1, space)
        raise ValueError(
            f"{root.relative(path)} is not there; get the runs of session {session}, "
            "or simulate some with --bold"
        )
    return [_read_run(root, subject, session, number, mask, space) for number in numbers]


def _read_run(
    root: Root, subject: int, session: int, number: int, mask: NDArray[np.bool_], space: str
) -> Run:
    path = root.timeseries(subject, session, number, space)
    plan = root.run_design(subject, session, number, space)
    root.found(plan, "it tells what was shown in the run")
    try:
        series = np.asarray(require("nibabel", "brain").load(path).dataobj)
    except Exception as error:  # on a damaged file, nibabel and gzip raise nearly anything
        raise damaged(root, path, error) from error
    if series.shape[:3] != mask.shape or series.ndim != 4:
        raise ValueError(
            f"{root.relative(path)} has the shape {series.shape}, and the mask {mask.shape}; get both again"
        )
    bold = series[mask].T.astype(np.float32)
    try:
        shown = np.loadtxt(plan, dtype=np.int64, ndmin=1)
    except ValueError as error:
        raise damaged(root, plan, error) from error
    if len(shown) != len(bold):
        raise ValueError(
            f"{root.relative(plan)} has {len(shown)} lines, and {root.relative(path)} {len(bold)} volumes; "
            "get both again"
        )
    begins = np.flatnonzero(shown)
    return Run(bold, begins * TR[space], shown[begins] - 1, TR[space])
