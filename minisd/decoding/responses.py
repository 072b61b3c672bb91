"""Responses of a subject's voxels, with the regions that they lie in."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minisd.nsd import Prepared, Subject, read_labels

WHOLE = "all"
"""The region of all voxels."""


@dataclass(frozen=True, eq=False)
class Responses:
    """Rows of responses, and what their columns are. Indexing gives rows.

    Attributes
    ----------
    betas : float32 [N, V]
        z-scored, a row for each picture.
    regions : mapping of str to bool [V]
        Which voxels are in a region, by name. `WHOLE` is always there.
    voxels : str
        Stands for the subject and its V voxels: a decoder is for responses with the same alone.

    Raises
    ------
    ValueError
        If a region has another number of voxels than the responses.
    """

    betas: NDArray[np.float32]
    regions: Mapping[str, NDArray[np.bool_]]
    voxels: str

    def __post_init__(self) -> None:
        if self.betas.ndim != 2:
            raise ValueError(f"betas has the shape {self.betas.shape}; it must be [N, V]")
        everywhere = {WHOLE: np.ones(self.betas.shape[1], bool)}
        object.__setattr__(self, "regions", {**everywhere, **self.regions})
        for name, mask in self.regions.items():
            if mask.shape != self.betas.shape[1:] or mask.dtype != bool:
                raise ValueError(
                    f"regions[{name!r}] is {mask.dtype} {mask.shape}; it must be bool {self.betas.shape[1:]}"
                )

    def __len__(self) -> int:
        return len(self.betas)

    def __getitem__(self, rows: slice | NDArray) -> Responses:
        return replace(self, betas=self.betas[rows])

    def of(self, region: str) -> NDArray[np.float32]:
        """Give the responses of a region's voxels, [N, v].

        Raises
        ------
        ValueError
            If there is no such region, or no voxel is in it.
        """
        if region not in self.regions:
            raise ValueError(f"region is {region!r}; it must be one of {tuple(self.regions)}")
        mask = self.regions[region]
        if not mask.any():
            raise ValueError(f"region {region!r} is empty: none of the {mask.size} voxels is in it")
        return self.betas[:, mask]

    def seeds(self, seed: int) -> list[int]:
        """Give each row a seed of its own, which depends on the row and on ``seed`` alone.

        So a picture is drawn from the same noise whatever rows are beside it, and two pictures from different noise.
        """
        keys = [(seed, zlib.crc32(np.ascontiguousarray(row).tobytes())) for row in self.betas]
        return [int(np.random.SeedSequence(key).generate_state(1)[0]) for key in keys]


def read_responses(
    subject: Subject,
    prepared: Prepared,
    part: Literal["train", "align", "test"],
    repeats: int | None = None,
) -> Responses:
    """Read prepared responses, with the regions of NSD's ``streams``: "early", "ventral" and so on.

    Parameters
    ----------
    subject : Subject
    prepared : Prepared
        Of this subject.
    part : {"train", "align", "test"}
    repeats : int, optional
        Average the first so many trials of each picture; if None, as many as it was prepared with.

    Raises
    ------
    ValueError
        If it was prepared from another subject, or without such a part.
    """
    if prepared.manifest["subject"] != subject.number:
        raise ValueError(
            f"prepared is of subject {prepared.manifest['subject']}, and subject is {subject.number}"
        )
    found = getattr(prepared, part, None)
    if found is None:
        raise ValueError(
            f"part is {part!r}, and {prepared.path} has no such; `align` sets pictures apart when it is prepared"
        )
    mask, names = prepared.mask, read_labels(subject.root, subject.number, "streams").values()
    regions = {name: subject.roi("streams", name)[mask] for name in names}
    digest = hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()[:16]
    betas = found.betas if repeats is None else found.means(repeats)
    return Responses(np.asarray(betas), regions, f"subject {subject.number}, voxels {digest}")
