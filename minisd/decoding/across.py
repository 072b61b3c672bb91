"""Across subjects: another brain read by a decoder that was fitted on somebody else's.

Voxels differ between people in number, in place and in what they answer to, so a decoder's weights mean nothing in
another brain. The pictures are the same. What two brains answer to the same pictures says how to go from the one to the
other: `fit_transfer` moves a subject's responses into another subject's voxels by ridge regression (Ferrante et al.
2024, Imaging Neuroscience 2, who found it better than hyperalignment and than anatomy). Whatever was fitted there reads
them unchanged. For more than two, see `minisd.decoding.shared_space`.

The shared pictures are the ``align`` part of what `minisd.nsd.prepare` gives: the same for all subjects, and none of
the test's. P shared pictures, N rows, V voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from minisd.decoding.responses import Responses, read_responses
from minisd.decoding.ridge import Ridge, RidgeSettings, compress, fit_ridge
from minisd.nsd import Prepared, Subject


@dataclass(frozen=True, eq=False)
class Shared:
    """A subject's responses to pictures that others have seen, too. Indexing gives rows.

    Attributes
    ----------
    fmri : Responses
        P rows.
    nsd_id : int64 [P]
        The pictures, 73k ids from 0.

    Raises
    ------
    ValueError
        If they are not as many.
    """

    fmri: Responses
    nsd_id: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.nsd_id.shape != (len(self.fmri),):
            raise ValueError(
                f"nsd_id has the shape {self.nsd_id.shape} for {len(self.fmri)} responses; it must be one id a row"
            )

    def __len__(self) -> int:
        return len(self.nsd_id)

    def __getitem__(self, rows: slice | NDArray) -> Shared:
        return Shared(self.fmri[rows], self.nsd_id[rows])

    @property
    def who(self) -> str:
        """The subject, whatever the voxels."""
        return who_of(self.fmri.voxels)


def who_of(voxels: str) -> str:
    """Name the subject of `Responses.voxels`."""
    return voxels.partition(", voxels ")[0]


def read_shared(subject: Subject, prepared: Prepared, repeats: int | None = None) -> Shared:
    """Read the responses that are for aligning; see `read_responses`, also for the errors."""
    fmri = read_responses(subject, prepared, "align", repeats)
    return Shared(fmri, prepared.align.nsd_id)


def in_common(subjects: Sequence[Shared]) -> list[Shared]:
    """Keep the pictures that all have seen, in ascending order: who missed sessions missed pictures.

    Raises
    ------
    ValueError
        If no picture is left, or a subject has one in two rows.
    """
    for one in subjects:
        if len(np.unique(one.nsd_id)) < len(one):
            raise ValueError(f"{one.who} has a picture in two rows; average its repeats")
    ids = reduce(np.intersect1d, [one.nsd_id for one in subjects])
    if not ids.size:
        raise ValueError(f"{[one.who for one in subjects]} have no picture in common")
    return [one[np.argsort(one.nsd_id)[np.isin(np.sort(one.nsd_id), ids)]] for one in subjects]


@dataclass(frozen=True, eq=False)
class Transfer:
    """From one subject's voxels to another's; `fit_transfer` makes it.

    Attributes
    ----------
    ridge : Ridge
        Its correlations say how well each voxel of the target was predicted out of fold.
    source, target : str
        `Responses.voxels` of the two.
    regions : mapping of str to bool [V]
        Of the target.
    """

    ridge: Ridge
    source: str
    target: str
    regions: Mapping[str, NDArray[np.bool_]]

    def __call__(self, fmri: Responses, rescale: bool = False) -> Responses:
        """Move responses.

        Parameters
        ----------
        fmri : Responses
            Of the source.
        rescale : bool
            Give each voxel the spread that it had in the target. What ridge is unsure of it shrinks; as a decoder sums
            over voxels, the shrunk ones are the better guess, and the decoded features shrink with them.

        Returns
        -------
        Responses
            As if the target had answered: with its voxels and regions, so that its decoders take them.

        Raises
        ------
        ValueError
            If they are of somebody else, or of other voxels.
        """
        if fmri.voxels != self.source:
            raise ValueError(f"fmri is of {fmri.voxels}; this map is from {self.source}")
        moved = self.ridge.predict(fmri.betas, rescale=rescale).float().numpy()
        return Responses(moved, self.regions, self.target)


def fit_transfer(
    source: Shared,
    target: Shared,
    settings: RidgeSettings | None = None,
    progress: bool = True,
) -> Transfer:
    """Fit a map from one subject's voxels to another's, with a penalty for each voxel of the other.

    Parameters
    ----------
    source : Shared
        The subject whose brain is to be read.
    target : Shared
        The subject on whom the decoders were fitted, and the same pictures in the same order.
    settings : RidgeSettings, optional
    progress : bool
        Show a bar.

    Returns
    -------
    Transfer
        Of rank P - 1 at most, and kept so.

    Raises
    ------
    ValueError
        If it is the same subject, the pictures differ, or there are fewer than folds. Else as `fit_ridge`.
    """
    check_subjects([source, target])
    ridge = fit_ridge(
        source.fmri.betas, target.fmri.betas, settings or RidgeSettings(), progress=progress
    )
    ridge = compress(ridge, source.fmri.betas, lost=1e-8)
    return Transfer(ridge, source.fmri.voxels, target.fmri.voxels, target.fmri.regions)


def check_subjects(subjects: Sequence[Shared]) -> None:
    """Refuse a subject that is there twice or alone, and rows that are of other pictures."""
    names = [one.who for one in subjects]
    if len(names) < 2:
        raise ValueError(f"subjects are {names}; two or more are needed")
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ValueError(f"{name} is there twice; take another subject")
    first = subjects[0]
    for one in subjects[1:]:
        if np.array_equal(one.nsd_id, first.nsd_id):
            continue
        told = f"{first.who} and {one.who} must have seen the same pictures"
        alone = np.setxor1d(first.nsd_id, one.nsd_id)
        if alone.size:
            who = first.who if alone[0] in first.nsd_id else one.who
            raise ValueError(
                f"{told}: {alone.size} have one of them alone, such as 73k id {alone[0]} of {who}; "
                "`in_common` keeps those that both have"
            )
        if len(one) != len(first):
            raise ValueError(f"{told} as often: they have {len(first)} and {len(one)} rows")
        row = int(np.flatnonzero(one.nsd_id != first.nsd_id)[0])
        raise ValueError(
            f"{told} in the same order: row {row} is 73k id {first.nsd_id[row]} and {one.nsd_id[row]}"
        )
