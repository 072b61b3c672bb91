"""Where each file of the Natural Scenes Dataset lies, below one folder.

After the data manual of Allen et al. 2022. Paths are given whether or not the file is there, so that who writes a
simulated dataset names its files by the same methods; `Root.found` asks for the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

VOLUMES = ("func1pt8mm", "func1mm")
"""Spaces in which data are a volume [X, Y, Z]."""

SURFACE = "fsaverage"
"""The space in which data are the vertices of FreeSurfer's average brain, left hemisphere first."""

VERSIONS = ("betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR")
"""NSD's three estimates of the single-trial responses, b1 to b3."""

HEMISPHERES = ("lh", "rh")

TOP = ("nsddata", "nsddata_betas", "nsddata_stimuli")
"""The folders in a root."""

NAME = re.compile(r"\w[\w.-]*")


class Root:
    """A folder in NSD's layout.

    Parameters
    ----------
    path : path
        The folder in which `TOP` lie. It must be there; what is in it is not looked at yet.

    Attributes
    ----------
    path : Path
        Absolute, links followed.

    Raises
    ------
    ValueError
        If it is no folder. Each method that gives a path raises it for a subject, session, space, version, hemisphere
        or name that cannot be, and for a path that a symbolic link leads out of the root.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        if not self.path.is_dir():
            kind = "is a file" if self.path.exists() else "is not there"
            raise ValueError(
                f"root {path} {kind}; it must be the folder in which {', '.join(TOP)} lie"
            )

    def __repr__(self) -> str:
        return f"Root({str(self.path)!r})"

    # what belongs to all subjects

    @property
    def design(self) -> Path:
        """``nsd_expdesign.mat``: which picture stood in which trial."""
        return self.inside("nsddata/experiments/nsd/nsd_expdesign.mat")

    @property
    def stimulus_info(self) -> Path:
        """``nsd_stim_info_merged.csv``: a line for each picture."""
        return self.inside("nsddata/experiments/nsd/nsd_stim_info_merged.csv")

    @property
    def stimuli(self) -> Path:
        """``nsd_stimuli.hdf5``: all pictures."""
        return self.inside("nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5")

    def captions(self, split: str) -> Path:
        """COCO's own file of captions for a split, for example ``"train2017"``.

        NSD does not bring it. It is expected where nsd_access puts it.
        """
        name = f"captions_{_named('split', split)}.json"
        return self.inside(f"nsddata_stimuli/stimuli/nsd/annotations/{name}")

    # what belongs to one subject

    def responses(self, subject: int) -> Path:
        """``responses.tsv``: a line for each trial that the subject did."""
        return self.inside(f"nsddata/ppdata/{_subject(subject)}/behav/responses.tsv")

    def volume(self, subject: int, name: str, space: str = VOLUMES[0]) -> Path:
        """One of the maps beside the regions, for example ``"brainmask"``, ``"mean"`` or ``"prf_angle"``."""
        folder = f"nsddata/ppdata/{_subject(subject)}/{_one_of('space', space, VOLUMES)}"
        return self.inside(f"{folder}/{_named('name', name)}.nii.gz")

    def roi(
        self, subject: int, name: str, hemisphere: str | None = None, space: str = VOLUMES[0]
    ) -> Path:
        """Regions of interest of one kind, for example ``"prf-visualrois"``.

        A volume's lie with the subject, in one file for both hemispheres and one for each; those of `SURFACE` belong
        to all subjects, in a file for each hemisphere.
        """
        name, side = _named("name", name), _side(hemisphere, space)
        kind = "mgz" if space == SURFACE else "nii.gz"
        return self.inside(f"{_roi_folder(subject, space)}/{side}{name}.{kind}")

    def labels(self, subject: int, name: str) -> tuple[Path, ...]:
        """Where the names of a kind of region may lie: with the subject, with fsaverage, with the templates."""
        name = _named("name", name)
        return (
            self.inside(f"nsddata/freesurfer/{_subject(subject)}/label/{name}.mgz.ctab"),
            self.inside(f"nsddata/freesurfer/fsaverage/label/{name}.mgz.ctab"),
            self.inside(f"nsddata/templates/{name}.ctab"),
        )

    def betas(
        self,
        subject: int,
        session: int,
        version: str = VERSIONS[-1],
        space: str = VOLUMES[0],
        *,
        hemisphere: str | None = None,
        kind: str = "hdf5",
    ) -> Path:
        """Single-trial responses of a session (counted from 1): ``kind`` "hdf5" or "nii.gz"; `SURFACE` has "mgh"."""
        kind = "mgh" if space == SURFACE else _one_of("kind", kind, ("hdf5", "nii.gz"))
        side = _surface_side(hemisphere, space)
        session = _whole("session", session)
        folder = _beta_folder(subject, version, space)
        return self.inside(f"{folder}/{side}betas_session{session:02}.{kind}")

    def statistic(
        self,
        subject: int,
        name: str,
        version: str = VERSIONS[-1],
        space: str = VOLUMES[0],
        *,
        hemisphere: str | None = None,
    ) -> Path:
        """A map that lies with the responses: "ncsnr", "meanbeta", "R2", "R2_session01" ..."""
        kind = "mgh" if space == SURFACE else "nii.gz"
        name, side = _named("name", name), _surface_side(hemisphere, space)
        return self.inside(f"{_beta_folder(subject, version, space)}/{side}{name}.{kind}")

    # what is there

    def subjects(self) -> tuple[int, ...]:
        """Subjects that have a folder in ``nsddata/ppdata``, in order."""
        return _numbers(self.inside("nsddata/ppdata").glob("*"), r"subj(\d+)")

    def beta_sessions(
        self, subject: int, version: str = VERSIONS[-1], space: str = VOLUMES[0]
    ) -> tuple[int, ...]:
        """Sessions of which there is a file of responses, in order."""
        folder = self.inside(_beta_folder(subject, version, space))
        kinds = r"(?:lh|rh)\.betas_session(\d+)\.mgh"
        return _numbers(
            _files(folder), kinds if space == SURFACE else r"betas_session(\d+)\.(?:hdf5|nii\.gz)"
        )

    def timeseries(self, subject: int, session: int, run: int, space: str = VOLUMES[0]) -> Path:
        """What was measured in a run (session and run counted from 1)."""
        folder, name = _run(subject, session, run, space)
        return self.inside(f"{folder}/timeseries/timeseries_{name}.nii.gz")

    def run_design(self, subject: int, session: int, run: int, space: str = VOLUMES[0]) -> Path:
        """What was shown in a run: a line for each volume."""
        folder, name = _run(subject, session, run, space)
        return self.inside(f"{folder}/design/design_{name}.tsv")

    def runs(self, subject: int, session: int, space: str = VOLUMES[0]) -> tuple[int, ...]:
        """Runs of a session of which there is a series, in order."""
        folder = self.timeseries(subject, session, 1, space).parent
        return _numbers(_files(folder), rf"timeseries_session{session:02}_run(\d+)\.nii\.gz")

    def roi_names(self, subject: int, space: str = VOLUMES[0]) -> tuple[str, ...]:
        """Kinds of regions of which there is a file, sorted, hemispheres not told apart."""
        kind = r"\.mgz" if space == SURFACE else r"\.nii\.gz"
        form = re.compile(rf"(?:(?:lh|rh)\.)?(.+){kind}")
        folder = self.inside(_roi_folder(subject, space))
        names = (form.fullmatch(path.name) for path in folder.glob("*"))
        return tuple(sorted({match[1] for match in names if match}))

    def found(self, path: Path, advice: str = "") -> Path:
        """Give a path back if a file is there.

        Raises
        ------
        ValueError
            If it is not; the message ends with the advice, on what to do.
        """
        if path.is_file():
            return path
        kind = "is no file" if path.exists() else "is not there"
        if not any((self.path / name).is_dir() for name in TOP):
            advice = f"the root has none of {', '.join(TOP)}: is it the right folder?"
        raise ValueError(
            f"{self.relative(path)} {kind} (root {self.path})" + (f"; {advice}" if advice else "")
        )

    def inside(self, name: str) -> Path:
        """Give the path of a name from the root.

        Raises
        ------
        ValueError
            If it leads out of the root, by itself or by a symbolic link.
        """
        path = self.path / name
        try:
            real = path.resolve()
        except (OSError, RuntimeError) as error:  # a circle of links
            raise ValueError(
                f"{name} cannot be followed ({error}); mend the link (root {self.path})"
            ) from error
        if not real.is_relative_to(self.path):
            raise ValueError(
                f"{name} leads out of the root {self.path}, to {real}; "
                "move what it leads to into the root, or mount it there"
            )
        return path

    def relative(self, path: Path) -> str:
        """Name a path for a message, from the root."""
        return path.relative_to(self.path).as_posix()


def as_ranges(sessions: Sequence[int]) -> str:
    """Write whole numbers in order as ranges, for a message: 1-30, 33."""
    if not sessions:
        return "none"
    cuts = [i for i in range(1, len(sessions)) if sessions[i] != sessions[i - 1] + 1]
    parts = [sessions[a:b] for a, b in zip([0, *cuts], [*cuts, len(sessions)], strict=True)]
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _beta_folder(subject: int, version: str, space: str) -> str:
    version = _one_of("version", version, VERSIONS)
    space = _one_of("space", space, (*VOLUMES, SURFACE))
    return f"nsddata_betas/ppdata/{_subject(subject)}/{space}/{version}"


def _run(subject: int, session: int, run: int, space: str) -> tuple[str, str]:
    folder = f"nsddata_timeseries/ppdata/{_subject(subject)}/{_one_of('space', space, VOLUMES)}"
    return folder, f"session{_whole('session', session):02}_run{_whole('run', run):02}"


def _roi_folder(subject: int, space: str) -> str:
    who = _subject(subject)
    if _one_of("space", space, (*VOLUMES, SURFACE)) == SURFACE:
        return f"nsddata/freesurfer/{SURFACE}/label"
    return f"nsddata/ppdata/{who}/{space}/roi"


def _side(hemisphere: str | None, space: str) -> str:
    if hemisphere is None and space != SURFACE:
        return ""
    return f"{_one_of('hemisphere', hemisphere, HEMISPHERES)}."


def _surface_side(hemisphere: str | None, space: str) -> str:
    if hemisphere is not None and space != SURFACE:
        raise ValueError(
            f"hemisphere is {hemisphere!r}; in {space} both are in one file: it must be None"
        )
    return _side(hemisphere, space)


def _subject(subject: int) -> str:
    return f"subj{_whole('subject', subject):02}"


def _whole(name: str, value: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 1 <= int(value) <= 99:
        raise ValueError(f"{name} is {value!r}; it must be a whole number from 1 to 99")
    return int(value)


def _one_of(name: str, value: str | None, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
    return value


def _named(name: str, value: str) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError(
            f"{name} is {value!r}; it must be a name of letters, digits, '.', '_' and '-'"
        )
    return value


def _files(folder: Path) -> Iterator[Path]:
    # a link that leads nowhere is no file
    return (path for path in folder.glob("*") if path.is_file())


def _numbers(paths: Iterable[Path], form: str) -> tuple[int, ...]:
    matches = (re.fullmatch(form, path.name) for path in paths)
    return tuple(sorted({int(match[1]) for match in matches if match}))
