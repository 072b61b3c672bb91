"""The pictures that the subjects saw, and what people wrote of them.

The pictures lie in one HDF5 file of some 40 GB, and are read by their 73k id, from 0. Their captions are COCO's, in
COCO's own files: NSD gives the id that each picture has there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.files import dataset
from minisd.nsd.layout import Root
from minisd.nsd.tables import read_columns, whole_numbers

if TYPE_CHECKING:
    import h5py


class Stimuli:
    """Pictures and captions by 73k id. Nothing is read before it is asked for.

    ``stimuli[i]`` is a picture, uint8 [H, W, 3]; a loop over ``stimuli`` has few in memory at once. An id that is no
    whole number from 0 to ``len(stimuli) - 1`` is a ValueError.

    Parameters
    ----------
    root : Root
    """

    def __init__(self, root: Root) -> None:
        self.root = root

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, nsd_id: int) -> NDArray[np.uint8]:
        return next(self.batches([nsd_id], 1))[0]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for batch in self.batches(range(len(self))):
            yield from batch

    def batches(
        self, ids: Sequence[int] | NDArray[np.integer], size: int = 64
    ) -> Iterator[NDArray[np.uint8]]:
        """Read pictures, some at a time.

        Parameters
        ----------
        ids : sequence of int
            73k ids from 0, in any order, also more than once.
        size : int
            How many pictures are in memory at once.

        Yields
        ------
        uint8 [B, H, W, 3]
            In the order of the ids; B is ``size``, or less at the end.

        Raises
        ------
        ValueError
            If an id is out of range, before any picture is read; if the file is not there or is damaged.
        """
        if size < 1:
            raise ValueError(f"size is {size}; it must be 1 or more")
        ids = self._checked(ids)
        return self._read(ids, size)

    def captions(self, nsd_id: int) -> tuple[str, ...]:
        """Give the captions of a picture, about five, in the order of COCO's file.

        COCO's file of a split is read as a whole when it is first needed, and what NSD has of it is kept.

        Raises
        ------
        ValueError
            If the id is out of range; if a file is not there, is damaged, or has no caption for the picture.
        """
        name = self.root.relative(self.root.stimulus_info)
        if nsd_id not in self._coco:
            raise ValueError(
                f"73k id {nsd_id!r} is not in {name}; ids count from 0, and it has {len(self._coco)}"
            )
        split, coco_id = self._coco[nsd_id]
        if split not in self._captions:
            wanted = {coco for other, coco in self._coco.values() if other == split}
            self._captions[split] = _read_captions(self.root, self.root.captions(split), wanted)
        found = self._captions[split].get(coco_id)
        if not found:
            where = self.root.relative(self.root.captions(split))
            raise ValueError(
                f"{where} has no caption for COCO's picture {coco_id} (73k id {nsd_id}); get it again"
            )
        return found

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        with _pictures(self.root) as found:
            if found.dtype != np.uint8 or found.shape[3] != 3:
                raise ValueError(
                    f"{self.root.relative(self.root.stimuli)}: imgBrick is {found.dtype} {found.shape}; "
                    "it must be uint8 (pictures, H, W, 3) as h5py sees it. Get NSD's own file"
                )
            return found.shape

    @cached_property
    def _coco(self) -> dict[int, tuple[str, int]]:
        path = self.root.stimulus_info
        columns = ("nsdId", "cocoId", "cocoSplit")
        texts = read_columns(self.root, path, columns)
        name = self.root.relative(path)
        ids, coco = (
            whole_numbers(f"{name}: {column}", texts[column]).tolist() for column in columns[:2]
        )
        return dict(zip(ids, zip(texts["cocoSplit"], coco, strict=True), strict=True))

    @cached_property
    def _captions(self) -> dict[str, dict[int, tuple[str, ...]]]:
        return {}

    def _checked(self, ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
        found = np.asarray(ids)
        if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
            raise ValueError(f"73k ids are {ids!r}; they must be whole numbers in a row")
        outside = found[(found < 0) | (found >= len(self))]
        if outside.size:
            raise ValueError(
                f"73k id {outside[0]} is out of range: {self.root.relative(self.root.stimuli)} has {len(self)} "
                "pictures, counted from 0"
            )
        return found.astype(np.int64)

    def _read(self, ids: NDArray[np.int64], size: int) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(ids), size):
            # in the order in which they lie on the disk; the file is closed while the caller works
            places, back = np.unique(ids[start : start + size], return_inverse=True)
            with _pictures(self.root) as found:
                batch = np.stack([found[place] for place in places.tolist()])
            yield batch[back]


def _pictures(root: Root) -> AbstractContextManager[h5py.Dataset]:
    advice = "it comes with NSD's nsddata_stimuli folder"
    return dataset(root, root.stimuli, "imgBrick", "(pictures, H, W, 3)", advice)


def _read_captions(root: Root, path: Path, wanted: set[int]) -> dict[int, tuple[str, ...]]:
    root.found(path, "it is in COCO's annotations_trainval2017.zip; put it there")
    found: dict[int, list[str]] = {}
    try:
        for entry in json.loads(path.read_bytes())["annotations"]:
            if entry["image_id"] in wanted:
                found.setdefault(entry["image_id"], []).append(entry["caption"].strip())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{root.relative(path)} is none of COCO's files of captions ({error!r}); get it again"
        ) from error
    return {image: tuple(captions) for image, captions in found.items()}
