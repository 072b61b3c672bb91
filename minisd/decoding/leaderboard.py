"""The leaderboard: all systems on all subjects, by all measures, gone on with where it was stopped.

First every system draws, and its pictures are kept; then all pictures are measured. Measures are of the pictures that
all the systems of a table have drawn, so that they can be compared picture by picture.
N pictures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from minisd.checkpoints.saving import write_json
from minisd.decoding.responses import read_responses
from minisd.decoding.systems import RECIPES, SYSTEMS, Models, Task
from minisd.decoding.targets import Seen, digest, image_digest, picture_size
from minisd.metrics.reconstruction import (
    feature_distance,
    identification,
    pixel_correlation,
    retrieval,
    similarity,
    structural_similarity,
)
from minisd.nsd import Prepared, Subject
from minisd.nsd.prepare import PrepareSettings, prepare

Scores = dict[str, dict[int, dict[str, NDArray[np.float64]]]]
"""By system, subject and measure: a number for each picture, the mean over samples."""

Measure = Callable[[Tensor, Tensor], Mapping[str, NDArray[np.float64]]]
"""From reconstructions and truths to numbers [N] by name."""

SETTINGS = "leaderboard.json"


@dataclass(frozen=True)
class LeaderboardSettings:
    """What is run.

    Attributes
    ----------
    subjects : tuple of int
    systems : tuple of str
        Keys of `SYSTEMS`.
    recipe : str
        A key of `RECIPES`.
    samples : int
        Pictures drawn for each response; scores are their mean, never those of the best.
    pictures : int, optional
        So many test pictures, spread evenly over all; if None, all.
    repeats : int, optional
        Trials of a test picture to average; all if None.
    align : int
        Shared pictures that are set apart when a subject is prepared, and are no test pictures.
    sessions : int, optional
        The first so many are prepared; all that the subject did if None.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    subjects: tuple[int, ...] = (1,)
    systems: tuple[str, ...] = tuple(SYSTEMS)
    recipe: str = "paper"
    samples: int = 1
    pictures: int | None = None
    repeats: int | None = None
    align: int = 0
    sessions: int | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.systems if name not in SYSTEMS]
        if unknown or not self.systems:
            raise ValueError(f"systems is {self.systems}; they must be of {tuple(SYSTEMS)}")
        if not self.subjects or len(set(self.subjects)) != len(self.subjects):
            raise ValueError(f"subjects is {self.subjects}; each one once, and one at least")
        if self.recipe not in RECIPES:
            raise ValueError(f"recipe is {self.recipe!r}; it must be one of {tuple(RECIPES)}")
        for name, least in (("samples", 1), ("pictures", 2), ("repeats", 1), ("sessions", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; it must be {least} or more")

    @property
    def preparing(self) -> PrepareSettings:
        """How subjects are prepared."""
        return PrepareSettings(align=self.align, sessions=self.sessions)


def draw_all(
    root: str | Path,
    models: Models,
    settings: LeaderboardSettings,
    out: str | Path,
    progress: bool = True,
) -> None:
    """Fit and draw whatever is not there yet, and keep it in ``out``.

    Parameters
    ----------
    root : path
        In NSD's layout.
    models : Models
    settings : LeaderboardSettings
    out : path
        A folder, which is made if it is not there.
    progress : bool
        Show bars.

    Raises
    ------
    ValueError
        Before long work: if ``out`` was made from other networks, another recipe or other data, or a subject has no
        such data.
    """
    out = Path(out)
    subjects = [Subject(root, number) for number in settings.subjects]
    _claim(out, models, settings, subjects[0])
    for subject in subjects:
        folder = out / f"subj{subject.number:02}"
        prepared = prepare(subject, folder / "prepared", settings.preparing, progress=progress)
        todo = [
            (name, sample)
            for name in settings.systems
            for sample in range(settings.samples if SYSTEMS[name].chance else 1)
            if not _file(folder, name, settings, sample).is_file()
        ]
        if todo:
            _draw_subject(subject, prepared, models, settings, folder, todo, progress)


def read_pictures(
    out: str | Path, name: str, subject: int, settings: LeaderboardSettings
) -> Iterator[Tensor]:
    """Give what a system drew for a subject, sample by sample: [N, 3, H, W] in [-1, 1].

    Raises
    ------
    ValueError
        If it has drawn none.
    """
    folder = Path(out) / f"subj{subject:02}"
    for sample in range(settings.samples if SYSTEMS[name].chance else 1):
        path = _file(folder, name, settings, sample)
        if not path.is_file():
            raise ValueError(f"{path} is not there: {name} has not drawn for subject {subject}")
        with np.load(path) as file:
            yield torch.from_numpy(file["pictures"]).permute(0, 3, 1, 2).float() / 127.5 - 1


def read_truth(
    root: str | Path, out: str | Path, subject: int, settings: LeaderboardSettings, size: int
) -> Tensor:
    """Give the test pictures that the systems were to reconstruct, [N, 3, size, size] in [-1, 1]."""
    one = Subject(root, subject)
    folder = Path(out) / f"subj{subject:02}" / "prepared"
    prepared = prepare(one, folder, settings.preparing, progress=False)
    return Seen(one.pictures, prepared.test.nsd_id[_rows(prepared, settings)]).pictures(size)


def measure(
    root: str | Path,
    out: str | Path,
    settings: LeaderboardSettings,
    size: int,
    measures: Measure,
    progress: bool = True,
) -> Scores:
    """Measure all pictures that `draw_all` has drawn.

    Parameters
    ----------
    root, out, settings
        As they were for `draw_all`.
    size : int
        Height and width of the pictures.
    measures : callable
        Such as `field_measures` makes.

    Returns
    -------
    dict
        By system, subject and measure.
    """
    found: Scores = {}
    truths = {k: read_truth(root, out, k, settings, size) for k in settings.subjects}
    pairs = [(name, k) for name in settings.systems for k in settings.subjects]
    for name, subject in tqdm(pairs, desc="measuring", delay=2, disable=not progress):
        samples = [
            measures(x, truths[subject]) for x in read_pictures(out, name, subject, settings)
        ]
        found.setdefault(name, {})[subject] = {
            key: np.mean([one[key] for one in samples], axis=0) for key in samples[0]
        }
    return found


def field_measures(
    judge: Callable[[Tensor], Tensor] | None = None,
    clip: Callable[[Tensor], Tensor] | None = None,
    layers: Callable[[Tensor], Tensor] | None = None,
) -> Measure:
    """Make the measures of the field.

    Parameters
    ----------
    judge : callable, optional
        From pictures to features [N, D], of a network that no system decodes or optimises.
    clip : callable, optional
        CLIP's embedding: many systems were made by it, so it is no judge.
    layers : callable, optional
        Features of an early layer of the judge.

    Returns
    -------
    callable
        "PixCorr", "SSIM"; by the judge "identification" among reconstructions, "identification (truths)" among
        truths, and "retrieval" of one in 100, or of all if they are fewer; "CLIP", a cosine; "layers", a distance.
    """

    def all_of(made: Tensor, seen: Tensor) -> dict[str, NDArray[np.float64]]:
        found = {
            "PixCorr": pixel_correlation(made, seen),
            "SSIM": structural_similarity(made, seen),
        }
        if judge is not None:
            a, b = judge(made), judge(seen)
            found["identification"] = identification(a, b)
            found["identification (truths)"] = identification(a, b, "truths")
            found["retrieval"] = retrieval(a, b, gallery=min(100, len(a)))
        if clip is not None:
            found["CLIP"] = similarity(clip(made), clip(seen))
        if layers is not None:
            found["layers"] = feature_distance(layers(made), layers(seen))
        return found

    return all_of


def save_scores(scores: Scores, path: str | Path) -> None:
    """Write scores as a compressed .npz of half precision."""
    flat = {
        f"{name}/{subject}/{key}": values.astype(np.float16)
        for name, subjects in scores.items()
        for subject, measures in subjects.items()
        for key, values in measures.items()
    }
    path = Path(path)
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, **flat)
    part.replace(path)


def load_scores(path: str | Path) -> Scores:
    """Read what `save_scores` wrote."""
    found: Scores = {}
    with np.load(path) as file:
        for flat in file.files:
            name, subject, key = flat.split("/", 2)
            values = file[flat].astype(np.float64)
            found.setdefault(name, {}).setdefault(int(subject), {})[key] = values
    return found


def _draw_subject(
    subject: Subject,
    prepared: Prepared,
    models: Models,
    settings: LeaderboardSettings,
    folder: Path,
    todo: Sequence[tuple[str, int]],
    progress: bool,
) -> None:
    rows = _rows(prepared, settings)
    train = read_responses(subject, prepared, "train")
    test = read_responses(subject, prepared, "test", settings.repeats)[rows]
    seen = Seen(subject.pictures, prepared.train.nsd_id)
    truth = Seen(subject.pictures, prepared.test.nsd_id[rows])
    recipe = RECIPES[settings.recipe]
    bar = tqdm(todo, desc=f"subject {subject.number}", delay=2, disable=not progress)
    for name, sample in bar:
        bar.set_postfix_str(name)
        task = Task(models, recipe, train, test, seen, truth, folder / "decoders", sample)
        x = SYSTEMS[name].draw(task)
        as_bytes = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        path = _file(folder, name, settings, sample)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, pictures=as_bytes)
        part.replace(path)


def _rows(prepared: Prepared, settings: LeaderboardSettings) -> NDArray[np.intp]:
    count = len(prepared.test.nsd_id)
    wanted = settings.pictures or count
    if wanted > count:
        raise ValueError(f"pictures is {wanted}, and there are {count} test pictures")
    return np.linspace(0, count - 1, wanted).round().astype(np.intp)


def _file(folder: Path, name: str, settings: LeaderboardSettings, sample: int) -> Path:
    many = "all" if settings.pictures is None else settings.pictures
    repeats = "" if settings.repeats is None else f"-repeats{settings.repeats}"
    return folder / name / f"pictures-{many}{repeats}-sample{sample}.npz"


def _claim(out: Path, models: Models, settings: LeaderboardSettings, subject: Subject) -> None:
    """Make the folder this leaderboard's, or see that it is."""
    told = {
        "recipe": json.loads(json.dumps(asdict(RECIPES[settings.recipe]))),
        "align": settings.align,
        "sessions": settings.sessions,
        "networks": {
            "sd": digest(models.sd.unet, models.sd.vae, models.sd.text_encoder),
            "clip": image_digest(models.clip),
        },
        "pictures": picture_size(models.sd),
        "version": subject.version,
    }
    path = out / SETTINGS
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8"))
        differ = [key for key in told if there.get(key) != told[key]]
        if differ:
            raise ValueError(f"{out} was made with other {differ}; choose another folder")
        return
    out.mkdir(parents=True, exist_ok=True)
    write_json(told, path)
