"""Prepared responses of a subject, mapped into memory: what a decoder is fitted on and tested with.

`minisd.nsd.prepare` writes them, and says how they were made.
P pictures, N trials, V voxels, S sessions.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.trials import Trials

FORMAT = 1
"""Of the folder; another one is not read."""

MANIFEST = "manifest.json"
"""Tells what a folder was made from. It is written last: where it is, all is."""

PARTS = ("train", "align", "test")

BATCH = 256
"""Pictures of which all trials are in memory at once."""


@dataclass(frozen=True, eq=False)
class Part:
    """Responses to the pictures for training, for aligning subjects, or for testing.

    Attributes
    ----------
    betas : float32 [P, V]
        Means over a picture's repeats, z-scored; mapped into memory, not to be written to.
    nsd_id : int64 [P]
        73k ids from 0, ascending.
    averaged : int64 [P]
        How many trials each mean is of.
    single : float32 [N, V]
        The single trials, z-scored; mapped into memory.
    trials : Trials
        What the single trials are, [N], in the order in which they were done.
    """

    betas: NDArray[np.float32]
    nsd_id: NDArray[np.int64]
    averaged: NDArray[np.int64]
    single: NDArray[np.float32]
    trials: Trials

    def means(self, repeats: int) -> NDArray[np.float32]:
        """Average the first so many trials of each picture, or all if there are fewer: float32 [P, V], in memory."""
        return average_repeats(self.single, self.trials.nsd_id, repeats)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What `load_prepared` gives.

    ``subject.roi("streams", "early")[prepared.mask]`` tells which of the V voxels are in a region.

    Attributes
    ----------
    path : Path
    train, test : Part
    align : Part or None
        None if no picture was set apart for aligning subjects.
    mask : bool [X, Y, Z] or [vertices]
        Where the V voxels are, in this order.
    ncsnr : float32 [V]
        Ratio of signal to noise, from the training trials alone; NaN if no training picture was repeated.
    mean, deviation : float32 [S, V]
        Of the training trials of each session, in percent: a z-score times the one plus the other is a beta.
    manifest : dict
        As it stands in the file: settings, files, counts.
    """

    path: Path
    train: Part
    align: Part | None
    test: Part
    mask: NDArray[np.bool_]
    ncsnr: NDArray[np.float32]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    manifest: dict[str, Any]

    @property
    def sessions(self) -> tuple[int, ...]:
        """The S sessions, from 1."""
        return tuple(self.manifest["settings"]["sessions"])

    @property
    def vintage(self) -> str:
        """Say how many sessions and pictures, since only results of the same vintage are to be compared."""
        return self.manifest["vintage"]

    def volume(self, values: NDArray) -> NDArray[np.float32]:
        """Put values [..., V] back to where they were measured: float32 [..., X, Y, Z] or [..., vertices], else NaN."""
        values = np.asarray(values)
        if values.shape[-1:] != (np.count_nonzero(self.mask),):
            raise ValueError(
                f"values have the shape {values.shape}; the last axis must have {np.count_nonzero(self.mask)} voxels"
            )
        whole = np.full((*values.shape[:-1], *self.mask.shape), np.nan, np.float32)
        whole[..., self.mask] = values
        return whole

    def __str__(self) -> str:
        told = self.manifest
        voxels = told["voxels"]
        lines = [
            f"subject {told['subject']}, {told['version']}, {told['space']}: {self.vintage}",
            f"{voxels['kept']} of {voxels['asked']} voxels; left out {voxels['constant']} that did not vary in a "
            f"session or had no number, {voxels['below min_ncsnr']} below the least ncsnr",
        ]
        for name, counts in told["pictures"].items():
            averaged = " and ".join(f"{n} over {k}" for k, n in counts["averaged"].items())
            lines.append(
                f"{name}: {counts['pictures']} pictures in {counts['trials']} trials; "
                f"averaged over the trials: {averaged}"
            )
        return "\n".join(lines)


def average_repeats(
    single: NDArray[np.float32], nsd_id: NDArray[np.int64], repeats: int
) -> NDArray[np.float32]:
    """Average the responses to each picture.

    Parameters
    ----------
    single : float32 [N, V]
    nsd_id : int64 [N]
        The pictures.
    repeats : int
        At most so many trials of a picture count, the first ones; from 1.

    Returns
    -------
    float32 [P, V]
        In the order of ascending ids.

    Raises
    ------
    ValueError
        If repeats is below 1, or there is not one picture for each response.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; it must be 1 or more")
    if len(single) != len(nsd_id):
        raise ValueError(f"nsd_id has {len(nsd_id)} pictures for {len(single)} responses")
    order = np.argsort(nsd_id, kind="stable")
    _, first, count = np.unique(nsd_id[order], return_index=True, return_counts=True)
    out = np.empty((len(first), single.shape[1]), np.float32)
    for start in range(0, len(first), BATCH):
        begin, shown = first[start : start + BATCH], count[start : start + BATCH]
        total = single[order[begin]]
        for repeat in range(1, min(repeats, shown.max())):
            more = shown > repeat
            total[more] += single[order[begin[more] + repeat]]
        out[start : start + BATCH] = total / np.minimum(shown, repeats)[:, None].astype(np.float32)
    return out


def load_prepared(path: str | Path) -> Prepared:
    """Open a folder that `minisd.nsd.prepare.prepare` wrote; its large arrays are mapped into memory.

    Raises
    ------
    ValueError
        If it is none, is not finished, was written in another format, or is damaged.
    """
    path = Path(path)
    manifest = read_json(path / MANIFEST)
    if manifest is None:
        raise ValueError(
            f"path {path} has no {MANIFEST}: it is no folder of prepared responses, or one that was not finished; "
            "run minisd nsd prepare"
        )
    if manifest.get("format") != FORMAT:
        raise ValueError(
            f"path {path} has the format {manifest.get('format')!r}, and this minisd reads {FORMAT}; prepare it again"
        )
    try:
        parts = {name: _load_part(path, manifest, name) for name in manifest["pictures"]}
        names = ("mask", "ncsnr", "mean", "deviation")
        mask, ncsnr, mean, deviation = (np.load(path / f"{name}.npy") for name in names)
        found = Prepared(
            path,
            parts["train"],
            parts.get("align"),
            parts["test"],
            mask,
            ncsnr,
            mean,
            deviation,
            manifest,
        )
        voxels, sessions = np.count_nonzero(mask), len(found.sessions)
        _expect("ncsnr", ncsnr, (voxels,))
        for name, values in (("mean", mean), ("deviation", deviation)):
            _expect(name, values, (sessions, voxels))
        for name, part in parts.items():
            _expect(name, part.betas, (len(part.nsd_id), voxels))
            _expect(f"{name}_single", part.single, (len(part.trials), voxels))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"path {path} is damaged ({error}); remove it and prepare it again"
        ) from error
    return found


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a file that tells what a folder was made from; None if it is not there.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"holds a {type(content).__name__}")
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); remove its folder and prepare it again"
        ) from error
    return content


def _load_part(path: Path, manifest: dict[str, Any], name: str) -> Part:
    with np.load(path / f"{name}_trials.npz") as file:
        trials = Trials(*(file[field.name] for field in fields(Trials)))
    nsd_id, count = np.unique(trials.nsd_id, return_counts=True)
    averaged = np.minimum(count, manifest["settings"]["repeats"])
    betas, single = (np.load(path / f"{n}.npy", mmap_mode="r") for n in (name, f"{name}_single"))
    return Part(betas, nsd_id, averaged, single, trials)


def _expect(name: str, values: NDArray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise ValueError(f"{name} has the shape {values.shape}, and {shape} belongs there")
