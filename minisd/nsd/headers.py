"""What a NIfTI or MGH file says of itself at its beginning and its end, without reading what lies between."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import IO

import numpy as np

from minisd.extras import require
from minisd.nsd.files import AGAIN, damaged
from minisd.nsd.layout import Root


def read_header(root: Root, path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape and the number format of a file, and see that it is as long as they need.

    Parameters
    ----------
    root : Root
    path : Path
        ``.nii.gz``, ``.mgh`` or ``.mgz``, in the root.

    Returns
    -------
    shape : tuple of int
    dtype : numpy.dtype

    Raises
    ------
    ValueError
        If the file is not there, is none of that kind, or is cut short.
    """
    root.found(path)
    nibabel = require("nibabel", "brain")
    surface = path.name.endswith((".mgh", ".mgz"))
    kind = nibabel.MGHImage.header_class if surface else nibabel.Nifti1Header
    try:
        with _opened(path) as stream:
            header = kind.from_fileobj(stream)
        shape, dtype = tuple(map(int, header.get_data_shape())), header.get_data_dtype()
    except Exception as error:  # on a damaged file, nibabel and gzip raise nearly anything
        raise damaged(root, path, error) from error
    end = header.get_data_offset() + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if not surface:
        check_length(root, path, end)
    elif path.name.endswith("mgh") and path.stat().st_size < end:  # there may be more behind
        raise ValueError(
            f"{root.relative(path)} has {path.stat().st_size:,} bytes, and {shape} needs {end:,}: {AGAIN}"
        )
    return shape, dtype


def check_length(root: Root, path: Path, expected: int) -> None:
    """Compare the length that gzip notes at the end, which takes no time, before all is read.

    Parameters
    ----------
    root : Root
    path : Path
        ``.gz``, in the root.
    expected : int
        Bytes when unpacked.

    Raises
    ------
    ValueError
        If it is another.
    """
    with path.open("rb") as file:
        file.seek(-4, 2)
        noted = int.from_bytes(file.read(), "little")
    if noted != expected % 2**32:
        raise ValueError(
            f"{root.relative(path)} does not end as gzip ends {expected:,} bytes: {AGAIN}; "
            "if another program packed it, unpack it and pack it with gzip"
        )


def _opened(path: Path) -> IO[bytes]:
    if path.name.endswith(
        "mgz"
    ):  # with labels, which are few bytes: unpacked, so that gzip checks them all
        return io.BytesIO(gzip.decompress(path.read_bytes()))
    return gzip.open(path) if path.name.endswith("gz") else path.open("rb")
