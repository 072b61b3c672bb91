"""A folder of pictures with captions, to fine-tune on: as Hugging Face's ``imagefolder`` has it, or WebDataset shards.

``metadata.csv`` or ``metadata.jsonl`` has a line for each picture: ``file_name``, below the folder, and ``text``. A
shard is a ``.tar`` in which ``000.jpg`` goes with ``000.txt``. It is read where it lies: nothing is unpacked to disk,
so that a name inside it leads nowhere.
S height and width of the pictures that come out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from minisd.images import check_size, load_image

TABLES = ("metadata.csv", "metadata.jsonl")
COLUMNS = ("file_name", "text")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
"""Of the files in a shard, those that are pictures; captions end with .txt."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""What is decoded, whatever a file's name says: for PostScript, Pillow would start another program."""

SHOWN = 10
"""How many faults a message lists."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a picture lies, and what it shows.

    Attributes
    ----------
    name : str
        For messages.
    caption : str
    path : Path
        Of the picture, or of the shard that it is in.
    start, size : int
        Its bytes in that file; a size of -1 is up to the end.
    """

    name: str
    caption: str
    path: Path
    start: int = 0
    size: int = -1


class PictureFolder(Dataset):
    """Pictures of one size with their captions, by index.

    Every picture is decoded once at the start, so that a broken one is known now and not in the third hour of training.

    Parameters
    ----------
    root : path
        With one of `TABLES` in it, or with ``.tar`` shards.
    size : int
        S, a multiple of 8.
    on_error : {"raise", "skip"}
        What to do when a picture is missing, broken or outside of the folder (links are followed), or when a caption is
        missing or empty: refuse the folder, or leave these out with a warning. Both list the first 10 and say how many
        there are.

    Attributes
    ----------
    entries : list of Entry
        In the order of the table; of the shards' names, then of their members.

    Raises
    ------
    ValueError
        As told above; also if the folder or its table cannot be read at all, or no picture is left.
    """

    def __init__(self, root: str | Path, size: int, on_error: str = "raise") -> None:
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error is {on_error!r}; it must be 'raise' or 'skip'")
        self.size = check_size("size", size)
        found = list(_entries(Path(root)))
        entries = [item for item in found if isinstance(item, Entry)]
        with ThreadPoolExecutor() as pool:  # Pillow decodes in parallel
            broken = dict(zip(entries, pool.map(_fault, entries), strict=True))
        faults = [item if isinstance(item, str) else broken[item] for item in found]
        faults = [fault for fault in faults if fault]
        self.entries = [entry for entry in entries if not broken[entry]]
        if faults:
            listed = "; ".join(faults[:SHOWN])
            more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
            count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
            told = f"{root} has {count}: {listed}{more}"
            if on_error == "raise":
                raise ValueError(f"{told}. Mend them, or leave them out with on_error='skip'")
            warnings.warn(f"{told}. They are left out", stacklevel=2)
        if not self.entries:
            raise ValueError(f"{root} has no picture with a caption{' left' if faults else ''}")

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, item: int) -> tuple[Tensor, str]:
        """Read a picture, uint8 [3, S, S], turned as its camera meant, and its caption.

        The shorter side is resized to S by Lanczos, and the middle is kept.
        """
        entry = self.entries[item]
        image = ImageOps.fit(_decode(entry), (self.size, self.size), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), entry.caption

    def digest(self) -> str:
        """Take a fingerprint of all pictures, as their files are, and of all captions."""
        found = hashlib.sha256()
        for entry in self.entries:
            for part in (entry.caption.encode(), _read(entry)):
                found.update(len(part).to_bytes(8, "big") + part)
        return found.hexdigest()


def _fault(entry: Entry) -> str | None:
    try:
        _decode(entry)
    except ValueError as error:
        return str(error)
    return None


def _read(entry: Entry) -> bytes:
    with entry.path.open("rb") as file:
        file.seek(entry.start)
        return file.read(entry.size)


def _decode(entry: Entry) -> Image.Image:
    """Decode a picture to RGB.

    Raises
    ------
    ValueError
        If it cannot be done; it names the picture.
    """
    try:
        return load_image(Image.open(io.BytesIO(_read(entry)), formats=FORMATS))
    except Exception as error:  # on a damaged file, Pillow raises nearly anything
        reason = "it is no picture" if isinstance(error, Image.UnidentifiedImageError) else error
        raise ValueError(f"{entry.name} cannot be read: {reason}") from error


def _entries(root: Path) -> Iterator[Entry | str]:
    """List what a folder has: pictures that are there, and faults in words."""
    if not root.is_dir():
        raise ValueError(f"{root} is no folder")
    shards = sorted(root.glob("*.tar"))
    tables = [root / name for name in TABLES if (root / name).is_file()]
    kinds = [path.name for path in tables] + (["shards (.tar)"] if shards else [])
    if len(kinds) != 1:
        raise ValueError(
            f"{root} has {' and '.join(kinds) or 'neither a table nor shards'}; "
            f"it must have one of {', '.join(TABLES)} with the columns {' and '.join(COLUMNS)}, or .tar shards"
        )
    if shards:
        for shard in shards:
            yield from _shard(shard)
        return
    table = tables[0]
    for line, row in _csv(table) if table.suffix == ".csv" else _json_lines(table):
        yield _row(root, f"{table.name} line {line}", row)


def _row(root: Path, where: str, row: object) -> Entry | str:
    if not isinstance(row, dict):
        return f"{where} is no JSON object"
    if None in row:
        return f"{where} has more fields than columns: quote a caption that has commas"
    name, text = (row.get(column) for column in COLUMNS)
    if not isinstance(name, str) or not name.strip():
        return f"{where} has no file_name"
    if not isinstance(text, str) or not text.strip():
        return f"{name} ({where}) has no caption"
    try:
        path = (root / name).resolve()
        if not path.is_relative_to(root.resolve()):
            return f"{name} ({where}) lies outside of the folder"
        if not path.is_file():
            return f"{name} ({where}) is not there"
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, a circle of links
        return f"{name!r} ({where}) cannot be a file: {error}"
    return Entry(name, text.strip(), path)


def _csv(table: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Read a table's rows, with the number of the line at which each ends."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:  # Excel writes a mark in front
            reader = csv.DictReader(file, strict=True)
            absent = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if absent:
                raise ValueError(f"{table} has no column {' and no column '.join(absent)}")
            for row in reader:
                yield reader.line_num, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{table} is no table in UTF-8: {error}") from error


def _json_lines(table: Path) -> Iterator[tuple[int, object]]:
    """Read an object a line, with the line's number; None where there is none."""
    for line, text in enumerate(table.read_bytes().splitlines(), start=1):
        if text.strip():
            try:
                yield line, json.loads(text)
            except (ValueError, RecursionError):
                yield line, None


def _shard(shard: Path) -> Iterator[Entry | str]:
    """List a shard's pictures. Only headers and captions are read."""
    samples: dict[str, dict[str, Any]] = {}
    damage = []
    with shard.open("rb") as file:
        try:
            # "r:" is uncompressed: pictures are read out of the middle
            with tarfile.open(fileobj=file, mode="r:", errors="replace") as archive:
                for member in archive:
                    # a sample's files have one name up to the first dot, as in WebDataset
                    folder, _, base = member.name.rpartition("/")
                    stem, _, kind = base.partition(".")
                    part = "caption" if kind.lower() == "txt" else "picture"
                    if not stem or (part == "picture" and f".{kind.lower()}" not in PICTURES):
                        continue
                    name = "/".join(filter(None, (shard.name, folder, stem)))
                    sample = samples.setdefault(name, {})
                    if not member.isreg() or member.issparse():
                        sample["fault"] = f"{shard.name}/{member.name} is no ordinary file"
                    elif part in sample:
                        sample["fault"] = f"{name} has two {part}s"
                    else:
                        sample[part] = member.offset_data, member.size
                file.seek(archive.offset)
                if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError("it has no end")
        except tarfile.TarError as error:
            damage.append(f"{shard.name} is damaged, cut short or compressed: {error}")
        for name, sample in samples.items():
            yield _sample(name, sample, shard, file)
    yield from damage


def _sample(name: str, sample: dict[str, Any], shard: Path, file: BinaryIO) -> Entry | str:
    if "fault" in sample:
        return sample["fault"]
    for part in ("picture", "caption"):
        if part not in sample:
            return f"{name} has no {part}"
    start, size = sample["caption"]
    file.seek(start)
    data = file.read(size)
    if len(data) < size:
        return f"{name} has a caption that is cut short"
    try:
        caption = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        return f"{name} has a caption that is no UTF-8: {error}"
    return Entry(name, caption, shard, *sample["picture"]) if caption else f"{name} has no caption"
