"""Regions of interest, by the names of NSD's atlases and localisers.

A file gives each voxel a label: -1 where it is not in the cortex (of the hemisphere), 0 where it is cortex without a
label, 1 and more for the regions, whose names stand in a ``.ctab`` file. So a region is what is above 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.files import read_map
from minisd.nsd.layout import HEMISPHERES, SURFACE, VOLUMES, Root


def read_roi(
    root: Root,
    subject: int,
    name: str,
    labels: str | Sequence[str] | None = None,
    hemisphere: str | None = None,
    space: str = VOLUMES[0],
) -> NDArray[np.bool_]:
    """Read where regions are.

    Parameters
    ----------
    root : Root
    subject : int
        From 1.
    name : str
        The kind of regions, for example "nsdgeneral", "prf-visualrois", "streams", "Kastner2015", "floc-faces".
    labels : str or sequence of str, optional
        Names of regions of that kind, for example ``["V1v", "V1d"]``: their union. If None, all of them.
    hemisphere : {"lh", "rh"}, optional
        If None, both.
    space : str
        In ``fsaverage``, only the kinds that NSD has for the average brain are there.

    Returns
    -------
    bool [X, Y, Z] or [V]
        True in the regions. V counts the vertices of both hemispheres, whichever is asked for. A region that this
        subject does not have is nowhere True.

    Raises
    ------
    ValueError
        If there is no such kind, or no such label of it: the message lists those that there are. If a file is damaged.
    """
    values = _read_values(root, subject, name, hemisphere, space)
    if labels is None:
        return values > 0
    wanted = [labels] if isinstance(labels, str) else list(labels)
    known = read_labels(root, subject, name)
    number_of = {label: number for number, label in known.items()}
    unknown = [label for label in wanted if label not in number_of]
    if unknown or not wanted:
        raise ValueError(f"labels are {wanted}; {name} has {', '.join(known.values())}")
    return np.isin(values, [number_of[label] for label in wanted])


def read_labels(root: Root, subject: int, name: str) -> dict[int, str]:
    """Read the names of a kind of regions, by their numbers, from 1.

    Raises
    ------
    ValueError
        If there is no ``.ctab`` file for it, or if it is none.
    """
    places = root.labels(subject, name)
    path = next((path for path in places if path.is_file()), places[0])
    root.found(
        path, f"it names the labels of {name}, and comes with NSD's nsddata/freesurfer folder"
    )
    labels = {}
    for line, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = text.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 2 or not words[0].isdecimal():
            raise ValueError(
                f"{root.relative(path)} line {line} is {text!r}; it must be a number and a name"
            )
        # FreeSurfer may put a colour after the name: red, green, blue, transparency
        coloured = len(words) >= 6 and all(word.isdecimal() for word in words[-4:])
        labels[int(words[0])] = " ".join(words[1:-4] if coloured else words[1:])
    labels.pop(0, None)  # "Unknown": cortex without a label
    return labels


def _read_values(
    root: Root, subject: int, name: str, hemisphere: str | None, space: str
) -> NDArray:
    there = root.roi_names(subject, space)
    if name not in there:
        raise ValueError(
            f"name is {name!r}; subject {subject} has in {space}: {', '.join(there) or 'no regions'} "
            f"({root.relative(root.roi(subject, 'NAME', 'lh', space).parent)})"
        )
    if space != SURFACE:
        return _checked(root, root.roi(subject, name, hemisphere, space))
    if hemisphere not in (None, *HEMISPHERES):
        raise ValueError(
            f"hemisphere is {hemisphere!r}; it must be one of {', '.join(HEMISPHERES)}, or None"
        )
    parts = []
    for side in HEMISPHERES:
        values = _checked(root, root.roi(subject, name, side, space))
        parts.append(values if hemisphere in (None, side) else np.zeros_like(values))
    return np.concatenate(parts)


def _checked(root: Root, path: Path) -> NDArray:
    values = read_map(root, path, "get NSD's regions of this subject, both hemispheres and each")
    if not np.array_equal(values, np.round(values)):
        raise ValueError(
            f"{root.relative(path)} has values that are no whole numbers; labels are. Get it again"
        )
    return values
