"""Write simulated subjects, and the truth about them, as a folder in the layout of the Natural Scenes Dataset.

The truth lies in ``simulation``, beside NSD's own folders. What reads NSD never looks there.
N pictures of a subject, V voxels of its brain, R of them responsive, T trials of a session.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from minisd.nsd.layout import HEMISPHERES, Root
from minisd.nsd.simulate import noise, ventral, write
from minisd.nsd.simulate.anatomy import FLUID, GREY, LEFT, RIGHT, WHITE, Anatomy
from minisd.nsd.simulate.bold import PEAKS, Scanner, bold_runs, onset_volumes, scanner, volumes
from minisd.nsd.simulate.brain import Brain, grow_brain
from minisd.nsd.simulate.card import card
from minisd.nsd.simulate.design import Design, expdesign, plan, responses, stimulus_info
from minisd.nsd.simulate.pictures import coco_captions, draw_picture
from minisd.nsd.simulate.regions import eccentricity_labels, hemisphere_labels
from minisd.nsd.simulate.settings import SimulationSettings, SubjectSettings
from minisd.nsd.simulate.statistics import Statistics

TRUTH = "simulation"
"""The folder in the root with what no decoder may read."""


def simulate(
    root: str | Path, settings: SimulationSettings | None = None, progress: bool = True
) -> Root:
    """Write a simulation.

    What is there already, of the same settings, is kept: an interrupted run goes on where it stopped, and a second run
    does nothing. In memory are all pictures, and of one subject its signal, [N, R], and sums of its responses, [N, V].

    Parameters
    ----------
    root : path
        A folder, which is made if it is not there.
    settings : SimulationSettings, optional
        If None, the book's.
    progress : bool
        Show a bar.

    Returns
    -------
    Root
        For `minisd.nsd.Subject` to read.

    Raises
    ------
    ValueError
        If the folder holds something else, or a simulation of other settings.
    """
    settings = settings or SimulationSettings()
    _claim(Path(root), settings)
    root = Root(root)
    design = plan(settings)
    steps = settings.pictures + sum(subject.sessions for subject in settings.subjects)
    with tqdm(total=steps, disable=not progress, desc="simulating", unit="step") as bar:
        pictures, factors = _write_pictures(root, settings, design, bar)
        for subject in settings.subjects:
            seen = design.pictures[subject.number]
            about = [one[seen] for one in (pictures, *factors)]
            _write_subject(root, settings, design, subject, about, bar)
        # last, for it tells that all is there
        write.write_text(_card(root), card(settings))
    return root


def _card(root: Root) -> Path:
    return root.path / "README.md"


def _truth(root: Root, name: str) -> Path:
    return root.path / TRUTH / name


def _claim(path: Path, settings: SimulationSettings) -> None:
    """Make the folder this simulation's, or see that it is."""
    told = path / TRUTH / "settings.json"
    content = json.loads(json.dumps(asdict(settings)))
    if told.is_file():
        try:
            same = json.loads(told.read_text(encoding="utf-8")) == content
        except ValueError as error:
            raise ValueError(f"root: {told} is damaged ({error}); choose another folder") from error
        if not same:
            raise ValueError(
                f"root {path} holds a simulation of other settings ({told}); choose another folder"
            )
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"root {path} holds something else; choose an empty or a new folder")
    else:
        write.write_json(told, content, indent=1)


def _write_pictures(
    root: Root, settings: SimulationSettings, design: Design, bar: tqdm
) -> tuple[NDArray[np.uint8], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Write what all subjects have in common; give the pictures [pictures, S, S, 3], and what they show.

    That is the named factors and what goes with them unnamed, each [pictures, K].
    """
    truth = _truth(root, "pictures.npz")
    if truth.is_file():
        bar.update(settings.pictures)
        with np.load(truth) as file:
            factors = file["named"], file["unnamed"]
        return write.read_pictures(root.stimuli), factors
    scenes = []
    for nsd_id in range(settings.pictures):
        scenes.append(draw_picture(settings, nsd_id))
        bar.update()
    pictures = np.stack([one.image for one in scenes])
    captions = [one.captions for one in scenes]
    write.write_pictures(root.stimuli, pictures)
    for split in ("train2017", "val2017"):
        write.write_json(root.captions(split), coco_captions(design, captions, split))
    write.write_mat(root.design, expdesign(design, settings))
    write.write_table(root.stimulus_info, stimulus_info(design, settings))
    named = ventral.named([one.factors for one in scenes])
    unnamed = ventral.unnamed(pictures, named, settings.rng("unnamed"))
    names = np.array([f"{group}: {name}" for group, name in ventral.factor_names()])
    # last: when the truth is there, all is
    write.write_arrays(truth, {"named": named, "unnamed": unnamed, "names": names})
    return pictures, (named, unnamed)


def _write_subject(
    root: Root,
    settings: SimulationSettings,
    design: Design,
    subject: SubjectSettings,
    about: list[NDArray],
    bar: tqdm,
) -> None:
    """Write a subject's files, but those that are there; ``about`` its pictures, their named and unnamed factors."""
    number, sessions = subject.number, range(1, subject.sessions + 1)
    if _truth(root, f"subj{number:02}.npz").is_file():
        bar.update(len(sessions))
        return
    brain = grow_brain(settings, number, *about)
    inside, affine = brain.anatomy.brain, brain.anatomy.affine
    write.write_table(root.responses(number), responses(design, settings, subject), "\t")
    _write_maps(root, settings, number, brain)
    shown = [design.shown(session) for session in sessions]
    seen_by = scanner(np.count_nonzero(inside), settings.rng("scanner", number))
    statistics = Statistics(np.concatenate(shown), settings.repeats, np.count_nonzero(inside))
    for session, pictures in zip(sessions, shown, strict=True):
        rng = settings.rng("session", number, session)
        betas = noise.betas(brain.voxels, brain.signal[pictures], settings.noise, rng)
        stored = write.to_int16(betas)
        path = root.betas(number, session, kind=subject.kind)
        if not path.is_file():
            write.write_series(path, stored, inside, affine)
        if session <= settings.bold:
            _write_runs(root, settings, design, subject, session, betas, seen_by, brain)
        statistics.add(pictures, stored)
        bar.update()
    for name, values in statistics.maps().items():
        write.write_map(root.statistic(number, name), brain.volume(values), affine)
    # last: when the truth is there, all is
    truth = _subject_truth(brain) | {
        "pictures": design.pictures[number],
        "hrf_peak": PEAKS[seen_by.hrf],
    }
    write.write_arrays(_truth(root, f"subj{number:02}.npz"), truth)


def _write_runs(
    root: Root,
    settings: SimulationSettings,
    design: Design,
    subject: SubjectSettings,
    session: int,
    betas: NDArray[np.float32],
    seen_by: Scanner,
    brain: Brain,
) -> None:
    """Write a session's BOLD runs, and what was shown in each volume."""
    number, pattern = subject.number, design.pattern[session - 1]
    ids = design.pictures[number][design.shown(session)] + 1
    rng = settings.rng("bold", number, session)
    inside, affine = brain.anatomy.brain, brain.anatomy.affine
    for run, series in enumerate(bold_runs(betas, pattern, seen_by, rng), start=1):
        begins = onset_volumes(pattern[run - 1])
        lines = np.zeros(volumes(pattern[run - 1]), np.int64)
        lines[begins], ids = ids[: len(begins)], ids[len(begins) :]
        table = ([one] for one in lines.tolist())
        write.write_table(root.run_design(number, session, run), table, "\t")
        path = root.timeseries(number, session, run)
        if not path.is_file():
            write.write_series(path, series, inside, affine)


def _write_maps(root: Root, settings: SimulationSettings, number: int, brain: Brain) -> None:
    """Write the anatomy, the retinotopy as another experiment found it, and the regions."""
    anatomy, regions, fields = brain.anatomy, brain.regions, brain.fields
    rng = settings.rng("maps", number)
    reliable = brain.voxels.ncsnr[brain.retinotopic] ** 2
    reliable = reliable / (reliable + 0.1)
    error = 0.3 * np.sqrt(1 - reliable) * fields.size * rng.standard_normal((3, reliable.size))
    x, y = fields.x + error[0], fields.y + error[1]
    measured = {
        "prf_angle": np.degrees(np.arctan2(y, x)) % 360,
        "prf_eccentricity": np.hypot(x, y),
        "prf_size": np.maximum(fields.size + error[2], 0.1),
        "prf_R2": 100 * reliable,
    }
    maps = {name: brain.volume(values, brain.retinotopic) for name, values in measured.items()}
    maps["brainmask"] = anatomy.brain.astype(np.int16)
    maps["T1_to_func1pt8mm"] = _contrast(anatomy, {FLUID: 250, GREY: 700, WHITE: 1000}, rng)
    maps["mean"] = _contrast(anatomy, {FLUID: 1300, GREY: 1000, WHITE: 800}, rng)
    for name, values in maps.items():
        write.write_map(root.volume(number, name), values, anatomy.affine)

    drawn = regions.labels["prf-visualrois"] > 0
    eccentricity = np.where(drawn, maps["prf_eccentricity"], np.nan)
    bands, names = eccentricity_labels(anatomy, eccentricity)
    labels = regions.labels | {"prf-eccrois": bands}
    names = regions.names | {"prf-eccrois": names}
    for name, label in labels.items():
        write.write_map(root.roi(number, name), label, anatomy.affine)
        for side, value in zip(HEMISPHERES, (LEFT, RIGHT), strict=True):
            one = hemisphere_labels(label, anatomy, value)
            write.write_map(root.roi(number, name, side), one, anatomy.affine)
        write.write_labels(root.labels(number, name)[0], names[name])


def _contrast(
    anatomy: Anatomy, bright: dict[int, int], rng: np.random.Generator
) -> NDArray[np.int16]:
    """A picture of the anatomy: brightness by tissue, and the scanner's noise."""
    volume = 30 * np.abs(rng.standard_normal(anatomy.tissue.shape))
    for tissue, value in bright.items():
        volume[anatomy.tissue == tissue] += value
    return volume.astype(np.int16)


def _subject_truth(brain: Brain) -> dict[str, NDArray]:
    inside, fields, voxels = brain.anatomy.brain, brain.fields, brain.voxels
    return {
        "brain": inside,
        "part": brain.regions.part[inside],
        "ncsnr": voxels.ncsnr,
        "mean": voxels.mean,
        "deviation": voxels.deviation,
        "retinotopic": brain.retinotopic,
        "x": fields.x,
        "y": fields.y,
        "size": fields.size,
        "feature_weights": fields.weights,
        "semantic": brain.semantic,
        "factor_weights": brain.weights,
        # in standard deviations, which half of the usual precision tells well enough
        "signal": brain.signal.astype(np.float16),
    }
