"""What a simulation is made from: a seed, an experiment, subjects, and how strong signal and noise are.

A miniature of seconds and a subject as large as one of the Natural Scenes Dataset differ in these numbers alone.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np

SMALLEST = (18, 20, 16)
"""Voxels in which a brain still has all its regions."""


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check(right: bool, name: str, value: object, allowed: str) -> None:
    if not right:
        raise ValueError(f"{name} is {value!r}; it must be {allowed}")


@dataclass(frozen=True)
class Level:
    """How the voxels of a part of the cortex respond: the middle of their distribution.

    Parameters
    ----------
    ncsnr : float
        Median ratio of signal to noise, as standard deviations; 0 for no signal.
    mean, deviation : float
        Mean response, and standard deviation over trials, in percent.
    early : float
        Share of the reliable variance that comes from receptive fields on Gabor energy, in [0, 1]; the rest follows
        what the scene shows.
    """

    ncsnr: float
    mean: float
    deviation: float
    early: float = 0.0

    def __post_init__(self) -> None:
        _check(self.ncsnr >= 0, "ncsnr", self.ncsnr, "at least 0")
        _check(self.deviation > 0, "deviation", self.deviation, "above 0")
        _check(0 <= self.early <= 1, "early", self.early, "from 0 to 1")


LEVELS = {
    "V1": Level(0.68, 2.2, 2.7, 1.0),
    "V2": Level(0.64, 2.0, 2.1, 1.0),
    "V3": Level(0.60, 1.9, 2.0, 1.0),
    "midventral": Level(0.56, 1.8, 1.9, 0.6),
    "midlateral": Level(0.52, 1.6, 1.8, 0.5),
    "midparietal": Level(0.46, 1.4, 1.8, 0.6),
    "ventral": Level(0.48, 1.3, 1.7),
    "lateral": Level(0.46, 1.2, 1.7),
    "parietal": Level(0.34, 0.9, 1.7),
    "cortex": Level(0.0, 0.1, 1.5),
    "white matter": Level(0.0, 0.0, 1.1),
}
"""By part of the brain, as `regions.Regions.part` names it.

They and `NoiseSettings` were set once, on the first of the book's subjects: betas in V1 have a mean of 2.2 % and a
standard deviation of 3.3 % there, and single trials of a picture are correlated by .29 (2.2 %, 3.3 % and about .30 in
subject 1 of the Natural Scenes Dataset); ridge regression from the mean of three trials in nsdgeneral names the thing
in 78 % of the test pictures that show one.
"""


@dataclass(frozen=True)
class NoiseSettings:
    """What the noise of a trial is made of; the rest is each voxel's own.

    Parameters
    ----------
    along : float
        Variance along the signal's own dimensions, as if other pictures were seen as well (Kay et al. 2024), where the
        signal has 1: decoding from single trials has this much against it, however many voxels there are.
    regional : float
        Common to neighbouring voxels, share of the noise's variance.
    drift : float
        Slow, over a session, share of the noise's variance.
    tails : float
        Degrees of freedom of Student's t distribution that the noise of a voxel has, above 4. It is the trials that
        are good or bad.
    session_gain : float
        Standard deviation of the logarithm of a session's gain.
    """

    along: float = 1.5
    regional: float = 0.1
    drift: float = 0.05
    tails: float = 8.0
    session_gain: float = 0.12

    def __post_init__(self) -> None:
        for name in ("along", "regional", "drift", "session_gain"):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        both = self.regional + self.drift
        _check(both <= 1, "regional + drift", both, "at most 1, the whole of the noise")
        _check(self.tails > 4, "tails", self.tails, "above 4")


@dataclass(frozen=True)
class SubjectSettings:
    """One subject.

    Parameters
    ----------
    number : int
        From 1 to 99.
    shape : tuple of int
        Voxels from left to right, from back to front, from bottom to top; at least `SMALLEST`.
    sessions : int
        How many of the planned sessions were done.
    kind : {"hdf5", "nii.gz"}
        Of the files with betas.
    quality : float
        What the ncsnr of all voxels is multiplied by.
    """

    number: int
    shape: tuple[int, int, int] = (32, 30, 28)
    sessions: int = 9
    kind: str = "hdf5"
    quality: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        _check(
            _whole(self.number) and 1 <= self.number <= 99, "number", self.number, "from 1 to 99"
        )
        large = len(self.shape) == 3 and all(
            _whole(n) and n >= least for n, least in zip(self.shape, SMALLEST, strict=True)
        )
        _check(large, "shape", self.shape, f"three whole numbers, at least {SMALLEST}")
        _check(self.kind in ("hdf5", "nii.gz"), "kind", self.kind, "'hdf5' or 'nii.gz'")
        _check(self.quality > 0, "quality", self.quality, "above 0")


@dataclass(frozen=True)
class SimulationSettings:
    """A whole simulation: by default the book's, of four subjects.

    Parameters
    ----------
    seed : int
        From 0; everything follows from it.
    subjects : tuple of SubjectSettings
        In the order of their numbers.
    own, shared : int
        Pictures that only one subject sees, and that all see.
    repeats : int
        How often a subject sees each.
    sessions : int
        Planned for each subject, at most 99.
    trials : tuple of int
        Of a session's runs.
    bold : int
        Of how many sessions, the first ones, the runs are written too, as a scanner gives them.
    noise : NoiseSettings
    levels : dict of str to Level
        As `LEVELS`.

    Raises
    ------
    ValueError
        If the trials are not as many as the pictures need, a subject did more sessions than planned, or a value is out
        of range.
    """

    seed: int = 0
    subjects: tuple[SubjectSettings, ...] = (
        SubjectSettings(1, (32, 30, 28), 9, "hdf5", 1.0),
        SubjectSettings(2, (33, 31, 29), 9, "nii.gz", 0.95),
        SubjectSettings(3, (31, 31, 28), 9, "hdf5", 0.88),
        SubjectSettings(4, (32, 29, 29), 9, "nii.gz", 0.8),
    )
    own: int = 1850
    shared: int = 400
    repeats: int = 3
    sessions: int = 9
    trials: tuple[int, ...] = (63, 62) * 6
    bold: int = 0
    noise: NoiseSettings = NoiseSettings()
    levels: dict[str, Level] = field(default_factory=lambda: dict(LEVELS))

    def __post_init__(self) -> None:
        object.__setattr__(self, "subjects", tuple(self.subjects))
        object.__setattr__(self, "trials", tuple(self.trials))
        _check(_whole(self.seed) and self.seed >= 0, "seed", self.seed, "a whole number from 0")
        for name in ("own", "shared", "repeats", "sessions"):
            value = getattr(self, name)
            _check(_whole(value) and value >= 1, name, value, "a whole number from 1")
        bold = _whole(self.bold) and 0 <= self.bold <= self.sessions
        _check(bold, "bold", self.bold, f"from 0 to the {self.sessions} sessions")
        _check(self.sessions <= 99, "sessions", self.sessions, "at most 99")
        runs = bool(self.trials) and all(_whole(n) and n >= 1 for n in self.trials)
        _check(runs, "trials", self.trials, "a whole number from 1 for each run")
        numbers = [subject.number for subject in self.subjects]
        ordered = bool(numbers) and numbers == sorted(set(numbers))
        _check(ordered, "subjects", numbers, "one at least, each number once and in order")
        _check(set(self.levels) == set(LEVELS), "levels", list(self.levels), f"of {list(LEVELS)}")
        needed, planned = self.repeats * self.pictures_each, self.sessions * sum(self.trials)
        if needed != planned:
            raise ValueError(
                f"own + shared is {self.pictures_each}, which with repeats {self.repeats} takes {needed} trials; "
                f"sessions {self.sessions} with the trials {self.trials} have {planned}: they must be as many"
            )
        for subject in self.subjects:
            done, name = subject.sessions, f"sessions of subject {subject.number}"
            fits = _whole(done) and 1 <= done <= self.sessions
            _check(fits, name, done, f"from 1 to the {self.sessions} that are planned")

    @property
    def pictures_each(self) -> int:
        """How many pictures a subject sees."""
        return self.own + self.shared

    @property
    def pictures(self) -> int:
        """How many pictures there are."""
        return self.shared + self.own * len(self.subjects)

    def rng(self, *names: str | int) -> np.random.Generator:
        """A stream of chance for one purpose, which no other purpose changes."""
        keys = [zlib.crc32(name.encode()) if isinstance(name, str) else name for name in names]
        return np.random.Generator(np.random.PCG64([self.seed, *keys]))


SIZES: dict[str, SimulationSettings] = {
    "book": SimulationSettings(),
    "sample": SimulationSettings(
        subjects=(SubjectSettings(1, (22, 24, 20), 2),),
        own=120,
        shared=30,
        sessions=2,
        trials=(75, 75, 75),
    ),
    "tiny": SimulationSettings(
        subjects=(
            SubjectSettings(1, (20, 24, 18), 2),
            SubjectSettings(2, (21, 22, 18), 1, "nii.gz", 0.8),
        ),
        own=20,
        shared=10,
        sessions=2,
        trials=(12, 11, 11, 11),
    ),
}
"""The book's four subjects; the one of two sessions that ships; two that take seconds, to try things out."""
