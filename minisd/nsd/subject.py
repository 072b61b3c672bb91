"""One subject of the Natural Scenes Dataset, real or simulated: all that can be read of it, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minisd.nsd.betas import read_betas
from minisd.nsd.layout import VERSIONS, VOLUMES, Root, as_ranges
from minisd.nsd.noise import noise_ceiling, read_ncsnr
from minisd.nsd.roi import read_roi
from minisd.nsd.stimuli import Stimuli
from minisd.nsd.trials import Trials, read_trials


class Subject:
    """What is known of one subject. Nothing is read before it is asked for, and the betas of no two sessions at once.

    Parameters
    ----------
    root : path or Root
        The folder in NSD's layout.
    number : int
        Of the subject, from 1.
    version : {"betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR"}
        Which estimates of the responses.
    space : {"func1pt8mm", "func1mm", "fsaverage"}
        Where they are: in a volume, [X, Y, Z], or on the average brain, [vertices]. Masks are for this space.

    Attributes
    ----------
    root : Root
    number : int
    version, space : str

    Raises
    ------
    ValueError
        If the root is no folder, or has no such subject. Everything that is read raises it for files that are missing,
        damaged, or contradict each other.
    """

    def __init__(
        self,
        root: str | Path | Root,
        number: int,
        version: str = VERSIONS[-1],
        space: str = VOLUMES[0],
    ) -> None:
        self.root = root if isinstance(root, Root) else Root(root)
        self.number, self.version, self.space = number, version, space
        # names a version or space that cannot be
        self.sessions  # noqa: B018
        there = self.root.subjects()
        if number not in there:
            raise ValueError(
                f"number is {number}; {self.root.path} has the subjects {as_ranges(there)} (nsddata/ppdata)"
            )

    def __repr__(self) -> str:
        return f"Subject({str(self.root.path)!r}, {self.number}, {self.version!r}, {self.space!r})"

    @property
    def sessions(self) -> tuple[int, ...]:
        """The sessions of which there are betas, from 1, in order."""
        return self.root.beta_sessions(self.number, self.version, self.space)

    @cached_property
    def trials(self) -> Trials:
        """All trials that the subject did; see `read_trials`."""
        return read_trials(self.root, self.number)

    @cached_property
    def pictures(self) -> Stimuli:
        """The pictures of all subjects, by 73k id."""
        return Stimuli(self.root)

    def captions(self, nsd_id: int) -> tuple[str, ...]:
        """What people wrote of a picture; see `Stimuli.captions`."""
        return self.pictures.captions(nsd_id)

    def roi(
        self, name: str, labels: str | Sequence[str] | None = None, hemisphere: str | None = None
    ) -> NDArray[np.bool_]:
        """Where regions are, bool [X, Y, Z] or [vertices]; see `read_roi`."""
        return read_roi(self.root, self.number, name, labels, hemisphere, self.space)

    def betas(
        self, session: int, mask: NDArray[np.bool_], allow_nan: bool = False
    ) -> NDArray[np.float32]:
        """Responses of a session in percent, [N, V], in the order of `trials`; see `read_betas`.

        Raises
        ------
        ValueError
            As `read_betas`, and if the session has another number of trials.
        """
        planned = np.count_nonzero(self.trials.session == session)
        found = read_betas(
            self.root, self.number, session, mask, self.version, self.space, allow_nan
        )
        if len(found) != planned:
            raise ValueError(
                f"subject {self.number} has betas of {len(found)} trials in session {session} ({self.version}, "
                f"{self.space}), and by {self.root.relative(self.root.design)} {planned}; get both again"
            )
        return found

    def ncsnr(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """NSD's own ratio of signal to noise, [V], found from all trials; see `read_ncsnr`."""
        return read_ncsnr(self.root, self.number, mask, self.version, self.space)

    def noise_ceiling(
        self, mask: NDArray[np.bool_], averaged: ArrayLike = 3
    ) -> NDArray[np.float32]:
        """The most that can be explained of means over so many trials, in percent, [V]; see `noise_ceiling`."""
        return noise_ceiling(self.ncsnr(mask), averaged)
