"""Columns out of NSD's two tables of text, ``nsd_stim_info_merged.csv`` and ``responses.tsv``."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.layout import Root


def read_columns(
    root: Root, path: Path, columns: Sequence[str], delimiter: str = ",", also: str | None = None
) -> dict[str, list[str]]:
    """Read some columns of a table with a header.

    Parameters
    ----------
    root : Root
    path : Path
        The table, in the root.
    columns : sequence of str
        Names that the header must have.
    delimiter : str
    also : str, optional
        A regular expression: columns whose whole name it matches are read too, however many there are.

    Returns
    -------
    dict of str to list of str
        By column, in the header's order; a text for each line below the header.

    Raises
    ------
    ValueError
        If the table is not there, is no such table, lacks a column, or has a line with too few or too many fields.
    """
    root.found(path, "it comes with NSD's nsddata folder")
    name = root.relative(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = next(reader, [])
            absent = [column for column in columns if column not in header]
            if absent:
                raise ValueError(
                    f"{name} has no column {', '.join(absent)}; it has {', '.join(header) or 'none'}"
                )
            wanted = [
                (i, column)
                for i, column in enumerate(header)
                if column in columns or (also and re.fullmatch(also, column))
            ]
            rows = []
            for row in reader:
                if len(row) != len(header):
                    raise ValueError(
                        f"{name} line {reader.line_num} has {len(row)} fields, and the header {len(header)}: "
                        "it is cut short or damaged; get it again"
                    )
                rows.append([row[i] for i, _ in wanted])
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{name} is no table in UTF-8 ({error}); get it again") from error
    return {column: [row[i] for row in rows] for i, (_, column) in enumerate(wanted)}


def whole_numbers(name: str, texts: Sequence[str]) -> NDArray[np.int64]:
    """Read whole numbers, which a table may have written with a decimal point.

    Parameters
    ----------
    name : str
        The table and the column, for the message.
    texts : sequence of str
        A text for each line below the header.

    Raises
    ------
    ValueError
        If one is no whole number; the message names its line.
    """
    try:
        values = np.array(texts, dtype=str).astype(np.float64)
    except ValueError:
        values = np.array([_number(text) for text in texts])
    bad = np.flatnonzero(~np.isfinite(values) | (values != np.round(values)))
    if bad.size:
        raise ValueError(
            f"{name} is {texts[bad[0]]!r} in line {bad[0] + 2}; it must be a whole number"
        )
    return values.astype(np.int64)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
