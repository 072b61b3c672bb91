"""Single-trial responses ("betas") of a session, in percent signal change.

In a volume they are stored as 300 times the percentage, rounded to int16 (NSD's data manual). MATLAB wrote the HDF5
files, so that h5py sees their axes turned round: (trials, Z, Y, X). On the average brain they are float32 and in
percent already.
N trials, V voxels of the mask. No more than the result and a small part of the file are in memory at once.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from minisd.extras import require
from minisd.nsd.files import damaged, dataset
from minisd.nsd.headers import check_length
from minisd.nsd.layout import HEMISPHERES, SURFACE, VERSIONS, VOLUMES, Root, as_ranges

if TYPE_CHECKING:
    import h5py

SCALE = 300
"""What a percentage is multiplied by before it is stored as a whole number."""

BLOCK = 2**26
"""Bytes of an HDF5 file that are read at a time, at most, unless one chunk is larger."""


def read_betas(
    root: Root,
    subject: int,
    session: int,
    mask: NDArray[np.bool_],
    version: str = VERSIONS[-1],
    space: str = VOLUMES[0],
    allow_nan: bool = False,
) -> NDArray[np.float32]:
    """Read a session's betas in the voxels of a mask.

    Parameters
    ----------
    root : Root
    subject, session : int
        From 1.
    mask : bool [X, Y, Z] or [vertices]
        Where to read. On the average brain, the vertices of the left hemisphere come first.
    version : {"betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR"}
    space : {"func1pt8mm", "func1mm", "fsaverage"}
        Of a volume, the HDF5 file is read if it is there, since only what the mask asks for is read of it; otherwise
        the NIfTI file, all through.
    allow_nan : bool
        Give vertices that have no number as they are. Volumes always have one.

    Returns
    -------
    float32 [N, V]
        Percent signal change. The trials are in the order of `read_trials`, the voxels in that of ``volume[mask]``.

    Raises
    ------
    ValueError
        If there is no such session; if the file is damaged, is no int16, has its axes in another order, or does not fit
        the mask. On the average brain, also if a vertex of the mask has no number (NaN), unless that is allowed.
    """
    mask = np.asarray(mask)
    axes = 1 if space == SURFACE else 3
    if mask.dtype != bool or mask.ndim != axes or not mask.any():
        raise ValueError(
            f"mask is {mask.dtype} {mask.shape} with {np.count_nonzero(mask)} voxels; "
            f"for {space} it must be bool, with {axes} axes and at least one True"
        )
    paths = beta_files(root, subject, session, version, space)
    if space == SURFACE:
        return _read_surface(root, paths, mask, allow_nan)
    read = _read_hdf5 if paths[0].suffix == ".hdf5" else _read_nifti
    betas = read(root, paths[0], mask)
    betas /= np.float32(SCALE)
    return betas


def beta_files(
    root: Root,
    subject: int,
    session: int,
    version: str = VERSIONS[-1],
    space: str = VOLUMES[0],
) -> tuple[Path, ...]:
    """Find the files that `read_betas` reads: one of a volume, one of each hemisphere.

    Raises
    ------
    ValueError
        If there is no such session.
    """
    if space == SURFACE:
        paths = [
            root.betas(subject, session, version, space, hemisphere=side) for side in HEMISPHERES
        ]
        if all(path.is_file() for path in paths):
            return tuple(paths)
    else:
        paths = [
            root.betas(subject, session, version, space, kind=kind) for kind in ("hdf5", "nii.gz")
        ]
        for path in paths:
            if path.is_file():
                return (path,)
    absent = " and ".join(root.relative(path) for path in paths if not path.is_file())
    raise ValueError(
        f"subject {subject} has of {version} in {space} the sessions "
        f"{as_ranges(root.beta_sessions(subject, version, space))}, and {absent} not (root {root.path}); "
        f"get session {session}, or leave it out"
    )


def _read_hdf5(root: Root, path: Path, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    with dataset(root, path, "betas", "(trials, Z, Y, X)") as found:
        _check_volume(root, path, found.shape[:0:-1], mask, found.dtype, found.shape)
        where = np.stack(np.nonzero(mask))[::-1]  # z, y, x
        stored = np.empty((where.shape[1], len(found)), np.int16)
        # a file that is not in chunks has one trial after the other
        steps, *cell = found.chunks or (1, *found.shape[1:])
        if 2 * len(found) * np.prod(cell) <= BLOCK:
            _read_cells(found, where, np.array(cell)[:, None], stored)
        else:
            for first in range(0, len(found), steps):
                block = found[first : first + steps]
                stored[:, first : first + steps] = block[(slice(None), *where)].T
    betas = np.empty(stored.shape[::-1], np.float32)
    for first in range(0, len(stored), 256):  # turned in parts that fit the processor's cache
        betas[:, first : first + 256] = stored[first : first + 256].T
    return betas


def _read_cells(
    found: h5py.Dataset, where: NDArray[np.intp], cell: NDArray[np.intp], stored: NDArray[np.int16]
) -> None:
    """Read all trials of the chunks with voxels of the mask, in the order in which they lie, and of no others."""
    corner = where // cell
    key = np.ravel_multi_index(tuple(corner), tuple(corner.max(axis=1) + 1))
    order = np.argsort(key, kind="stable")
    if cell.max() == 1:  # NSD's own chunks are one voxel each: the shortest way matters
        # uncompressed and in the machine's own format, a chunk's bytes are the numbers
        plain = found.dtype == np.int16 and not found.id.get_create_plist().get_nfilters()
        plain &= found.chunks == (len(found), 1, 1, 1)
        for voxel, (z, y, x) in zip(order.tolist(), where[:, order].T.tolist(), strict=True):
            try:
                if plain:
                    stored[voxel] = np.frombuffer(
                        found.id.read_direct_chunk((0, z, y, x))[1], np.int16
                    )
                    continue
            except (RuntimeError, ValueError):  # never written, or damaged: h5py tells these apart
                pass
            stored[voxel] = found[:, z, y, x]
        return
    for group in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
        start = corner[:, group[:1]] * cell
        block = found[(slice(None), *map(slice, start[:, 0], (start + cell)[:, 0]))]
        stored[group] = block[(slice(None), *(where[:, group] - start))].T


def _read_nifti(root: Root, path: Path, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    nibabel = require("nibabel", "brain")
    no_header = (nibabel.spatialimages.HeaderDataError, nibabel.wrapstruct.WrapStructError)
    try:
        with gzip.open(path) as stream:
            header = nibabel.Nifti1Header.from_fileobj(stream)
            shape, kind = header.get_data_shape(), header.get_data_dtype()
            if len(shape) != 4:
                raise ValueError(
                    f"{root.relative(path)} has the shape {shape}; it must be (X, Y, Z, trials)"
                )
            _check_volume(root, path, shape[:3], mask, kind, shape)
            if header.get_slope_inter() not in ((None, None), (1, 0)):
                raise ValueError(
                    f"{root.relative(path)} has a header that scales its values by {header.get_slope_inter()}; "
                    "NSD's do not. Get NSD's own file"
                )
            start, size = header.get_data_offset(), 2 * mask.size
            check_length(root, path, start + size * shape[3])
            stream.read(start - stream.tell())
            # X runs fastest in the file, and slowest in the mask
            x, y, z = np.nonzero(mask)
            where = np.ravel_multi_index((z, y, x), shape[2::-1])
            betas = np.empty((shape[3], len(x)), np.float32)
            for trial in betas:
                trial[:] = np.frombuffer(stream.read(size), kind, mask.size)[where]
            stream.read(1)  # at its end, gzip compares the checksum
    except (OSError, EOFError, zlib.error, *no_header) as error:
        raise damaged(root, path, error) from error
    return betas


def _check_volume(
    root: Root,
    path: Path,
    volume: tuple[int, ...],
    mask: NDArray[np.bool_],
    kind: np.dtype,
    shape: tuple[int, ...],
) -> None:
    name = root.relative(path)
    if kind.kind != "i" or kind.itemsize != 2:
        raise ValueError(
            f"{name} holds {kind}; NSD's are int16, of {SCALE} times the percentage. Get NSD's own file"
        )
    if volume == mask.shape:
        return
    told = f"{name} has the shape {shape}, and mask is {mask.shape}"
    if mask.shape in (volume[::-1], shape[:3], shape[1:]):
        raise ValueError(
            f"{told}: the axes of one of them are in another order than NSD's. Its masks are (X, Y, Z), its betas "
            "(X, Y, Z, trials) in NIfTI, and (trials, Z, Y, X) in HDF5 as h5py sees it. If it is the mask, give "
            "mask.T; if it is the file, get NSD's own"
        )
    raise ValueError(f"{told}; take a mask of the same subject and space")


def _read_surface(
    root: Root, paths: tuple[Path, ...], mask: NDArray[np.bool_], allow_nan: bool
) -> NDArray[np.float32]:
    load = require("nibabel", "brain").load
    sides = []
    for path in paths:
        try:
            # mapped into memory, since the file is not compressed
            sides.append(np.asanyarray(load(path).dataobj))
        except Exception as error:  # on a damaged file, nibabel raises nearly anything
            raise damaged(root, path, error) from error
        shape, kind = sides[-1].shape, sides[-1].dtype
        if kind.newbyteorder("=") != np.float32:
            raise ValueError(
                f"{root.relative(path)} holds {kind}; NSD's are float32, in percent. Get NSD's own file"
            )
        if len(shape) != 4 or shape[1:3] != (1, 1):
            raise ValueError(
                f"{root.relative(path)} has the shape {shape}; it must be (vertices, 1, 1, trials)"
            )
    counts, trials = [side.shape[0] for side in sides], [side.shape[3] for side in sides]
    names = " and ".join(root.relative(path) for path in paths)
    if trials[0] != trials[1]:
        raise ValueError(f"{names} have {trials[0]} and {trials[1]} trials; get both again")
    if sum(counts) != mask.size:
        raise ValueError(f"mask has {mask.size} vertices; {names} have {counts[0]} and {counts[1]}")
    betas = []
    for path, side, part in zip(paths, sides, np.split(mask, counts[:1]), strict=True):
        found = np.empty((trials[0], np.count_nonzero(part)), np.float32)
        for trial, row in enumerate(found):
            row[:] = side[part, 0, 0, trial]
        empty = np.flatnonzero(part)[np.isnan(found).any(axis=0)]
        if empty.size and not allow_nan:
            raise ValueError(
                f"{root.relative(path)} has no number (NaN) in {empty.size} vertices of the mask, the first of them "
                f"{empty[:10].tolist()} of this hemisphere; leave them out of the mask"
            )
        betas.append(found)
    return np.concatenate(betas, axis=1)
