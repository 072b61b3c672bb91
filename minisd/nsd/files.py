"""Maps out of NIfTI and MGH files, datasets out of HDF5: damage is named, and nothing is written by half."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from minisd.extras import require
from minisd.nsd.layout import Root

if TYPE_CHECKING:
    import h5py

AGAIN = "it is cut short or damaged; get it again"


def read_map(root: Root, path: Path, advice: str = "") -> NDArray:
    """Read a file with one number a voxel or vertex.

    Parameters
    ----------
    root : Root
    path : Path
        ``.nii.gz``, ``.mgh`` or ``.mgz``, in the root.
    advice : str
        What to do if it is not there.

    Returns
    -------
    array [X, Y, Z] or [V]
        In the units of the file, in its own number format unless its header scales.

    Raises
    ------
    ValueError
        If the file is not there, is damaged, or has more than one number a voxel or vertex.
    """
    root.found(path, advice)
    nibabel = require("nibabel", "brain")
    surface = path.name.endswith((".mgh", ".mgz"))
    kind = nibabel.MGHImage if surface else nibabel.Nifti1Image
    try:
        # unpacked whole, unlike nibabel does it: so gzip compares its checksum
        content = path.read_bytes()
        if path.name.endswith("gz"):
            content = gzip.decompress(content)
        data = np.asarray(kind.from_bytes(content).dataobj)
    except Exception as error:  # on a damaged file, nibabel and gzip raise nearly anything
        raise damaged(root, path, error) from error
    if surface:
        shape, data = data.shape, data.reshape(-1)
        if shape[0] != data.size:
            raise ValueError(
                f"{root.relative(path)} has the shape {shape}; it must have one number a vertex"
            )
    elif data.ndim != 3:
        raise ValueError(
            f"{root.relative(path)} has the shape {data.shape}; it must be a volume of three axes"
        )
    return data


@contextmanager
def dataset(
    root: Root, path: Path, name: str, axes: str, advice: str = ""
) -> Iterator[h5py.Dataset]:
    """Open a dataset of an HDF5 file, to be read in part.

    Parameters
    ----------
    root : Root
    path : Path
        In the root.
    name : str
        Of the dataset.
    axes : str
        What its four axes are, for the message.
    advice : str
        What to do if the file is not there.

    Raises
    ------
    ValueError
        If the file is not there or is damaged, or if it has no such dataset, or one with another number of axes. Also
        if damage is met in what the caller reads.
    """
    root.found(path, advice)
    file_of = require("h5py", "brain").File
    try:
        with file_of(path, "r") as file:
            if name not in file:
                raise ValueError(
                    f"{root.relative(path)} has no dataset {name!r}, but {list(file)}; get it again"
                )
            found = file[name]
            if getattr(found, "ndim", 0) != 4:
                shape = getattr(found, "shape", "no numbers")
                raise ValueError(
                    f"{root.relative(path)}: {name} has the shape {shape}; it must be {axes}"
                )
            yield found
    except OSError as error:
        raise damaged(root, path, error) from error


def damaged(root: Root, path: Path, error: Exception) -> ValueError:
    """Make the error for a file that cannot be read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ValueError(
        f"{root.relative(path)} ({path.stat().st_size:,} bytes) cannot be read ({reason}): {AGAIN}"
    )


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path to write to; what stands there becomes the file when all went well.

    Parameters
    ----------
    path : Path
        Its folder is made if it is not there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
