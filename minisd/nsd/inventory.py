"""What is there of each kind of file, what is missing, and what is damaged.

Tables are read and compared with each other; of everything else only the beginning and the end of the files are read,
so that all of NSD is looked at in seconds. Damage between them is met, and named, when a file is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minisd.nsd.files import dataset
from minisd.nsd.headers import read_header
from minisd.nsd.layout import HEMISPHERES, SURFACE, VERSIONS, VOLUMES, Root, as_ranges
from minisd.nsd.stimuli import Stimuli
from minisd.nsd.tables import read_columns
from minisd.nsd.trials import Trials, read_trials

COCO = "it is in COCO's annotations_trainval2017.zip; put it there"

Shapes = dict[str, tuple[int, ...]]
"""Shape of the volumes of a space (key ""), or of a hemisphere's vertices ("lh", "rh")."""


@dataclass(frozen=True)
class Item:
    """One kind of file.

    Attributes
    ----------
    subject : int or None
        None for what belongs to all subjects.
    kind : str
        "subjects", "pictures", "captions", "trials", "regions", "betas" or "maps".
    where : str
        The version and space of betas and maps, the space of regions; else empty.
    found : str
        What is there and sound; empty if nothing is.
    missing, damaged : list of str
        What is not as it must be: a file's path from the root, and what to do.
    """

    subject: int | None
    kind: str
    where: str = ""
    found: str = ""
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """One of "damaged", "missing", "in part" and "there"."""
        if self.damaged:
            return "damaged"
        if not self.found:
            return "missing"
        return "in part" if self.missing else "there"


def advice(subject: int | None, what: str) -> str:
    """Say how to get something."""
    number = "NUMBER" if subject is None else subject
    return f"get it: minisd nsd download ROOT --subject {number} --what {what}"


def look_at_pictures(root: Root) -> Item:
    """Look at the pictures that all subjects share."""
    found, missing, damaged = "", [], []
    with _noting(damaged):
        if root.stimuli.is_file():
            found = f"{len(Stimuli(root)):,}"
        else:
            missing = [_absent(root, root.stimuli, advice(None, "stimuli"))]
    return Item(None, "pictures", "", found, missing, damaged)


def look_at_captions(root: Root) -> Item:
    """Look at COCO's files of captions, as many as the pictures need."""
    found, missing, damaged = [], [], []
    splits, known = ["train2017", "val2017"], False
    with _noting(damaged):
        path = root.stimulus_info  # it says which caption is of which picture
        if path.is_file():
            splits = sorted(set(read_columns(root, path, ["cocoSplit"])["cocoSplit"]))
            known = True
        else:
            missing.append(_absent(root, path, advice(None, "design")))
    for split in splits:
        with _noting(damaged):
            path = root.captions(split)
            if not path.is_file():
                missing.append(_absent(root, path, COCO))
            elif not _is_whole_json(path):
                damaged.append(f"{root.relative(path)} is no JSON, or cut short; {COCO}")
            else:
                found.append(split)
    return Item(None, "captions", "", ", ".join(found) if known else "", missing, damaged)


def look_at_subject(root: Root, subject: int) -> list[Item]:
    """Look at all files of a subject: of betas and maps every version and space that is there."""
    trials, item = _look_at_trials(root, subject)
    items = [item]
    spaces = [space for space in (*VOLUMES, SURFACE) if _has_space(root, subject, space)]
    for space in spaces or VOLUMES[:1]:
        shapes, item = _look_at_regions(root, subject, space)
        items.append(item)
        there = [v for v in VERSIONS if _is_folder(root, _folder(subject, space, v))]
        for version in there or VERSIONS[-1:]:
            items.append(_look_at_betas(root, subject, version, space, shapes, trials))
            items.append(_look_at_maps(root, subject, version, space, shapes))
    return items


def _look_at_trials(root: Root, subject: int) -> tuple[Trials | None, Item]:
    trials, missing, damaged = None, [], []
    with _noting(damaged):
        tables = (root.design, root.stimulus_info, root.responses(subject))
        missing = [_absent(root, p, advice(subject, "design")) for p in tables if not p.is_file()]
        done = root.responses(subject).is_file() or any(
            root.beta_sessions(subject, version, space)
            for version in VERSIONS
            for space in (*VOLUMES, SURFACE)
        )
        if root.design.is_file() and done:
            trials = read_trials(root, subject)
            if root.stimuli.is_file():
                _check_ids(root, trials)
    if trials is None:
        return None, Item(subject, "trials", "", "", missing, damaged)
    sessions = as_ranges(np.unique(trials.session).tolist())
    found = f"{len(trials):,} in the sessions {sessions}"
    return trials, Item(subject, "trials", "", found, missing, damaged)


def _check_ids(root: Root, trials: Trials) -> None:
    try:
        pictures = len(Stimuli(root))
    except ValueError:  # told with the pictures
        return
    if trials.nsd_id.max() >= pictures:
        raise ValueError(
            f"{root.relative(root.stimuli)} has {pictures} pictures, and {root.relative(root.design)} shows "
            f"73k id {trials.nsd_id.max()} (from 0): they belong to different datasets; get both again"
        )


def _look_at_regions(root: Root, subject: int, space: str) -> tuple[Shapes, Item]:
    """Look at the regions and the brain's mask; tell also the shapes that all other files must have."""
    missing, damaged, names, headers, bad = [], [], [], {}, set()
    with _noting(damaged):
        names = list(root.roi_names(subject, space))
        if space != SURFACE and root.volume(subject, "brainmask", space).is_file():
            path = root.volume(subject, "brainmask", space)
            headers["", "brainmask", path] = read_header(root, path)[0]
    for name in names:
        for side in HEMISPHERES if space == SURFACE else (None, *HEMISPHERES):
            with _noting(damaged, bad, name):
                path = root.roi(subject, name, side, space)
                if path.is_file():
                    key = side if space == SURFACE else ""
                    headers[key, name, path] = read_header(root, path)[0]
                else:
                    missing.append(_absent(root, path, advice(subject, "rois")))
        with _noting(damaged):
            if not any(path.is_file() for path in root.labels(subject, name)):
                path = root.labels(subject, name)[0]
                missing.append(_absent(root, path, advice(subject, "rois")))
    if not names and not damaged:
        missing.append(f"{_roi_folder(subject, space)} has no regions; {advice(subject, 'rois')}")
    shapes = {}
    for key in ("", *HEMISPHERES):
        told = Counter(shape for (side, *_), shape in headers.items() if side == key)
        if told:
            shapes[key] = told.most_common(1)[0][0]
    for (key, name, path), shape in headers.items():
        with _noting(damaged, bad, name):
            _check_shape(root, path, shape, shapes[key], shape)
    sound = set(names) - bad
    size = " ".join("x".join(str(n) for n in shape if n > 1) for shape in shapes.values())
    found = f"{len(sound)} kinds, {size}" if sound else ""
    return shapes, Item(subject, "regions", space, found, missing, damaged)


def _look_at_betas(
    root: Root, subject: int, version: str, space: str, shapes: Shapes, trials: Trials | None
) -> Item:
    missing, damaged, sound, kinds = [], [], [], set()
    try:
        there = root.beta_sessions(subject, version, space)
    except ValueError as error:
        return Item(subject, "betas", f"{version} {space}", damaged=[str(error)])
    planned = there if trials is None else np.unique(trials.session).tolist()
    for session in there:
        count = None if trials is None else np.count_nonzero(trials.session == session)
        good = set()
        for key, kind in (
            [(side, "mgh") for side in HEMISPHERES]
            if space == SURFACE
            else [("", "hdf5"), ("", "nii.gz")]
        ):
            with _noting(damaged):
                path = root.betas(
                    subject,
                    session,
                    version,
                    space,
                    **({"hemisphere": key} if key else {"kind": kind}),
                )
                if path.is_file():
                    check_betas(root, path, shapes.get(key), count)
                    good.add((key, kind))
                elif space == SURFACE:
                    missing.append(_absent(root, path, advice(subject, "betas")))
        if len(good) == 2 or (good and space != SURFACE):
            sound.append(session)
            kinds |= {kind for _, kind in good}
    absent = [session for session in planned if session not in there]
    if absent or not there:
        which = f"sessions {as_ranges(absent)} of {len(planned)}" if absent else "any session"
        missing.append(
            f"{_folder(subject, space, version)} has not {which}; {advice(subject, 'betas')}"
            f" --version {version} --space {space}"
        )
    found = f"sessions {as_ranges(sound)} of {len(planned)}, {' and '.join(sorted(kinds))}"
    return Item(subject, "betas", f"{version} {space}", found if sound else "", missing, damaged)


def check_betas(
    root: Root,
    path: Path,
    expected: tuple[int, ...] | None,
    trials: int | None,
    regions: str = "the subject's regions",
) -> None:
    """Look at the beginning and the end of a file of betas.

    Parameters
    ----------
    root : Root
    path : Path
        In the root.
    expected : tuple of int, optional
        The shape of its volume (X, Y, Z), or of its vertices (vertices, 1, 1).
    trials : int, optional
        How many it must have.
    regions : str
        What the expected shape is of, for the message.

    Raises
    ------
    ValueError
        If it is cut short or damaged, holds other numbers than NSD's, or has another shape.
    """
    if path.suffix == ".hdf5":
        with dataset(root, path, "betas", "(trials, Z, Y, X)") as found:
            stored, dtype = found.shape, found.dtype
        volume, count = stored[:0:-1], stored[0]
    else:
        stored, dtype = read_header(root, path)
        if len(stored) != 4:
            raise ValueError(
                f"{root.relative(path)} has the shape {stored}; it must have a fourth axis, of trials. Get it again"
            )
        volume, count = stored[:3], stored[3]
    kind = np.float32 if path.suffix == ".mgh" else np.int16
    if dtype.newbyteorder("=") != kind:
        raise ValueError(
            f"{root.relative(path)} holds {dtype}; NSD's are {np.dtype(kind)}. Get NSD's own file"
        )
    if expected is not None:
        _check_shape(root, path, volume, expected, stored, regions)
    if trials is not None and count != trials:
        raise ValueError(
            f"{root.relative(path)} has {count} trials, and by {root.relative(root.design)} {trials}; get both again"
        )


def _look_at_maps(root: Root, subject: int, version: str, space: str, shapes: Shapes) -> Item:
    missing, damaged, sound = [], [], []
    for name in ("ncsnr", "meanbeta", "R2"):
        before = len(missing) + len(damaged)
        for side in HEMISPHERES if space == SURFACE else (None,):
            with _noting(damaged):
                path = root.statistic(subject, name, version, space, hemisphere=side)
                if path.is_file():
                    shape = read_header(root, path)[0]
                    _check_shape(root, path, shape, shapes.get(side or "", shape), shape)
                else:
                    text = f"{advice(subject, 'maps')} --version {version} --space {space}"
                    missing.append(_absent(root, path, text))
        sound += [name] if len(missing) + len(damaged) == before else []
    return Item(subject, "maps", f"{version} {space}", ", ".join(sound), missing, damaged)


def _check_shape(
    root: Root,
    path: Path,
    volume: tuple[int, ...],
    expected: tuple[int, ...],
    stored: tuple[int, ...],
    regions: str = "the subject's regions",
) -> None:
    if volume == expected:
        return
    told = f"{root.relative(path)} has the shape {stored}, and {regions} {expected}"
    if expected in (volume[::-1], stored[:3], stored[1:]):
        raise ValueError(
            f"{told}: its axes are in another order than NSD's, which are (X, Y, Z, trials), and turned round in HDF5 "
            "as h5py sees it. Get NSD's own file"
        )
    raise ValueError(f"{told}: one is of another subject or space; get them again")


def _is_whole_json(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(64).lstrip()[:1]
        file.seek(max(0, path.stat().st_size - 64))
        return (start, file.read().rstrip()[-1:]) == (b"{", b"}")


def _has_space(root: Root, subject: int, space: str) -> bool:
    # the average brain's regions belong to all, and say nothing of a subject
    own = () if space == SURFACE else (_roi_folder(subject, space),)
    return any(_is_folder(root, name) for name in (*own, _folder(subject, space)))


def _is_folder(root: Root, name: str) -> bool:
    try:
        return root.inside(name).is_dir()
    except ValueError:  # there is something, and it will be told what
        return True


def _folder(subject: int, space: str, version: str = "") -> str:
    return f"nsddata_betas/ppdata/subj{subject:02}/{space}/{version}".rstrip("/")


def _roi_folder(subject: int, space: str) -> str:
    if space == SURFACE:
        return f"nsddata/freesurfer/{SURFACE}/label"
    return f"nsddata/ppdata/subj{subject:02}/{space}/roi"


def _absent(root: Root, path: Path, what_to_do: str) -> str:
    return f"{root.relative(path)} is not there; {what_to_do}"


@contextmanager
def _noting(damaged: list[str], bad: set[str] | None = None, name: str = "") -> Iterator[None]:
    """Write an error down, and the name of what it befell; go on with the next file."""
    try:
        yield
    except ValueError as error:
        damaged.append(str(error))
        if bad is not None:
            bad.add(name)
