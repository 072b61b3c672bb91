"""Files of the Natural Scenes Dataset, written beside and renamed, so that none is ever there by half.

[X, Y, Z] voxels, T trials, V voxels of the brain.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minisd.extras import require
from minisd.nsd.files import whole

SCALE = 300
"""What a percentage is multiplied by before it is stored as a whole number."""
REPETITION_TIME = 4 / 3
"""Stands in the header of files with several volumes, in seconds, though their volumes are trials."""


def write_map(path: Path, data: NDArray, affine: NDArray[np.float64]) -> None:
    """Write a volume, one number a voxel, as NIfTI in the array's own number format."""
    with whole(path) as beside, _packed(beside) as file:
        file.write(_header(data.shape, data.dtype, affine))
        file.write(data.tobytes(order="F"))


def to_int16(betas: NDArray[np.float32]) -> NDArray[np.int16]:
    """Store percentages as NSD does: 300 times as much, cut to whole numbers, at most what int16 holds."""
    limits = np.iinfo(np.int16)
    # MATLAB's int16() rounds to the nearest, halves away from zero
    scaled = betas * np.float32(SCALE)
    scaled += np.copysign(np.float32(0.5), scaled)
    return np.clip(scaled, limits.min, limits.max).astype(np.int16)


def write_series(
    path: Path, betas: NDArray[np.int16], brain: NDArray[np.bool_], affine: NDArray[np.float64]
) -> None:
    """Write a session's betas, or a run's volumes, as NIfTI or HDF5 by the path's name.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz`` or ``.hdf5``.
    betas : int16 [T, V]
        As `to_int16` gives them; of a run, what was measured.
    brain : bool [X, Y, Z]
        Where they are; elsewhere the file has 0.
    affine : float64 [4, 4]
        Voxels to mm. HDF5 has no place for it.
    """
    with whole(path) as beside:
        if path.suffix == ".hdf5":
            _write_hdf5(beside, betas, brain)
        else:
            _write_nifti(beside, betas, brain, affine)


def _write_nifti(
    path: Path, betas: NDArray[np.int16], brain: NDArray[np.bool_], affine: NDArray[np.float64]
) -> None:
    # X runs fastest in the file
    places = np.ravel_multi_index(np.nonzero(brain), brain.shape, order="F")
    volume = np.zeros(brain.size, np.int16)
    with _packed(path) as file:
        file.write(_header((*brain.shape, len(betas)), betas.dtype, affine))
        for trial in betas:
            volume[places] = trial
            file.write(volume.tobytes())


def _write_hdf5(path: Path, betas: NDArray[np.int16], brain: NDArray[np.bool_]) -> None:
    # MATLAB wrote [X, Y, Z, T] in chunks of one voxel; in h5py's order the axes are turned round
    shape = (len(betas), *brain.shape[::-1])
    courses = np.ascontiguousarray(betas.T, "<i2")
    with require("h5py", "brain").File(path, "w", libver="latest") as file:
        found = file.create_dataset("betas", shape, "<i2", chunks=(len(betas), 1, 1, 1))
        for (x, y, z), course in zip(np.argwhere(brain).tolist(), courses, strict=True):
            found.id.write_direct_chunk((0, z, y, x), course.data)


def _header(shape: tuple[int, ...], kind: np.dtype, affine: NDArray[np.float64]) -> bytes:
    nibabel = require("nibabel", "brain")
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(kind)
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1)
    zooms = (*np.diag(affine)[:3], REPETITION_TIME)
    header.set_zooms(zooms[: len(shape)])
    header.set_xyzt_units("mm", "sec")
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    header["scl_slope"], header["scl_inter"] = 1, 0
    # four bytes say that nothing stands between header and data
    return header.binaryblock + bytes(4)


@contextmanager
def _packed(path: Path) -> Iterator[gzip.GzipFile]:
    # without name and time, the same numbers are the same bytes
    with path.open("wb") as file, gzip.GzipFile("", "wb", 1, file, mtime=0) as packed:
        yield packed


def write_pictures(path: Path, pictures: NDArray[np.uint8]) -> None:
    """Write ``nsd_stimuli.hdf5``.

    Parameters
    ----------
    path : Path
    pictures : uint8 [N, S, S, 3]
    """
    with whole(path) as beside, require("h5py", "brain").File(beside, "w") as file:
        chunks = (1, *pictures.shape[1:])
        file.create_dataset("imgBrick", data=pictures, chunks=chunks, compression="gzip")


def read_pictures(path: Path) -> NDArray[np.uint8]:
    """Read all of what `write_pictures` wrote."""
    with require("h5py", "brain").File(path, "r") as file:
        return file["imgBrick"][:]


def write_table(path: Path, lines: Iterable[list[Any]], delimiter: str = ",") -> None:
    """Write a table of text; the first line is its header."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(lines)
    write_text(path, text.getvalue())


def write_labels(path: Path, names: Iterable[str]) -> None:
    """Write a ``.ctab`` file: the names of labels 1, 2, ..."""
    lines = [f"{number} {name}" for number, name in enumerate(("Unknown", *names))]
    write_text(path, "\n".join(lines) + "\n")


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write JSON."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8."""
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def write_mat(path: Path, content: dict[str, NDArray]) -> None:
    """Write a MATLAB file."""
    packed = io.BytesIO()
    require("scipy.io", "brain").savemat(packed, content, do_compression=True)
    # its first 116 bytes are text, where scipy tells the time: the same numbers would not be the same bytes
    told = b"MATLAB 5.0 MAT-file, simulated".ljust(116)
    with whole(path) as beside:
        beside.write_bytes(told + packed.getvalue()[116:])


def write_arrays(path: Path, content: dict[str, NDArray]) -> None:
    """Write several arrays by name, ``.npz``."""
    with whole(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **content)
