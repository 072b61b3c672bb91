"""Ship what a leaderboard of the book's subjects has found: ``python tools/ship_leaderboard.py LEADERBOARD TARGET``.

LEADERBOARD is the folder of the run whose commands stand in ``data_samples/decoding/README.md``; TARGET is
``data_samples/decoding``. Of subject 1 the fitted decoders ship, made low-rank and halved, so that a chapter needs not
fit them; of all subjects the scores of each picture, and of subject 1 a sheet of pictures.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from minisd.checkpoints import load_clip
from minisd.checkpoints.saving import write_weights
from minisd.decoding.leaderboard import (
    LeaderboardSettings,
    Scores,
    field_measures,
    read_pictures,
    read_truth,
    save_scores,
)
from minisd.decoding.reconstructor import MANIFEST
from minisd.decoding.report import contact_sheet, summarise, table
from minisd.decoding.responses import read_responses
from minisd.decoding.ridge import Ridge
from minisd.decoding.systems import SYSTEMS
from minisd.metrics import Scorer
from minisd.metrics.extractors import of_clip, of_layer
from minisd.metrics.recovered import recovered
from minisd.nsd import Subject, load_prepared

RANK = {"z": 72, "c": 48, "embedding": 40, "layer 1": 20, "layer 2": 20, "layer 3": 20}
"""Directions that are kept of each kind of features."""

NSD, MINIATURE = Path("data/nsd"), Path("data_samples/miniature")
ALIGN, SAMPLES = 200, {1: 2, 2: 2, 3: 1, 4: 1}
SLOW, FEW = ("inversion", "mind_diffuser"), 100
"""What is drawn of a part of the test pictures, one sample each, of subjects 1 and 2; and of how many."""
PAGE = (
    ("PixCorr", "SSIM", "layers", "CLIP"),
    ("identification", "identification (truths)", "retrieval"),
    ("object", "colour", "size", "place", "background"),
)
"""Columns of the tables on the page; a table is as wide as a page is."""
REPEATED = ("PixCorr", "identification", "object", "place", "background")
SHOWN = 12
"""Pictures on the sheet."""


def reduce_rank(ridge: Ridge, x: torch.Tensor, rank: int) -> Ridge:
    """Keep the directions in which predictions of training pictures vary most, features on a scale of their own."""
    x = x - ridge.center
    predicted = x @ ridge.weights
    spread = predicted.std(0).clamp(min=1e-12)
    _, values, top = torch.svd_lowrank(predicted / spread, q=rank + 20, niter=4)
    top = top[:, :rank]
    kept = float(values[:rank].square().sum() / (predicted / spread).square().sum())
    print(f"  rank {rank} keeps {kept:.4f} of the variance of the predictions")
    left, right = (ridge.weights / spread) @ top, (top.T * spread).contiguous()
    return replace(ridge, left=left, right=right)


def ship(source: Path, target: Path, responses: dict[str, torch.Tensor]) -> None:
    """Write one system's decoders, reduced and in half precision."""
    told = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    target.mkdir(parents=True, exist_ok=True)
    for name, one in told["decoders"].items():
        print(source.name, name)
        ridge = Ridge.load(source / f"{name}.safetensors")
        small = reduce_rank(ridge, responses[one["region"]], RANK[name])
        state = {key: value.half().contiguous() for key, value in vars(small).items()}
        write_weights(state, target / f"{name}.safetensors")
    shutil.copyfile(source / MANIFEST, target / MANIFEST)


def pictures(leaderboard: Path, system: str, subject: int, few: bool) -> list[torch.Tensor]:
    """What a system drew, sample by sample; if `few`, for the test pictures of stage 2 alone."""
    samples = 1 if system in SLOW else SAMPLES[subject]
    settings = LeaderboardSettings((subject,), (system,), "miniature", samples, align=ALIGN)
    if system in SLOW:
        return list(read_pictures(leaderboard, system, subject, replace(settings, pictures=FEW)))
    found = list(read_pictures(leaderboard, system, subject, settings))
    return [x[few_rows(len(x))] for x in found] if few else found


def few_rows(count: int) -> np.ndarray:
    """Rows of the test pictures of which stage 2 was drawn."""
    return np.linspace(0, count - 1, FEW).round().astype(int)


def scores_of(
    leaderboard: Path, systems: Sequence[str], subjects: Sequence[int], few: bool
) -> Scores:
    """Measure pictures; a picture's score is the mean over its samples."""
    scorer, clip = Scorer.from_pretrained(MINIATURE / "scorer"), load_clip(MINIATURE / "clip")
    field = field_measures(scorer.features, of_clip(clip), of_layer(scorer.network, "blocks.2"))
    found: Scores = {name: {} for name in systems}
    for subject in subjects:
        settings = LeaderboardSettings((subject,), align=ALIGN)
        truth = read_truth(NSD, leaderboard, subject, settings, 64)
        truth = truth[few_rows(len(truth))] if few else truth
        for name in systems:
            each = [
                {**field(x, truth), **recovered(scorer, x, truth)}
                for x in pictures(leaderboard, name, subject, few)
            ]
            found[name][subject] = {key: np.mean([e[key] for e in each], axis=0) for key in each[0]}
    return found


def repeats_table(leaderboard: Path) -> str:
    """How good the first stage is from one, two and three trials of a test picture, in Markdown."""
    scorer, measures = Scorer.from_pretrained(MINIATURE / "scorer"), REPEATED
    field = field_measures(scorer.features)
    lines = ["| trials averaged | " + " | ".join(measures) + " |", "|---|" + "---|" * len(measures)]
    for repeats in (1, 2, None):
        found: Scores = {"stage_1": {}}
        for subject in (1, 2):
            settings = LeaderboardSettings(
                (subject,), ("stage_1",), "miniature", align=ALIGN, repeats=repeats
            )
            truth = read_truth(NSD, leaderboard, subject, settings, 64)
            x = next(read_pictures(leaderboard, "stage_1", subject, settings))
            found["stage_1"][subject] = {**field(x, truth), **recovered(scorer, x, truth)}
        cells = [
            f"{one.mean:.2f} [{one.low:.2f}, {one.high:.2f}]"
            for one in (summarise(found, "stage_1", measure) for measure in measures)
        ]
        lines.append(f"| {repeats or 3} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(leaderboard: Path, target: Path) -> None:
    """Ship decoders, scores and a sheet."""
    torch.manual_seed(0)
    subject = Subject(NSD, 1)
    prepared = load_prepared(leaderboard / "subj01" / "prepared")
    train = read_responses(subject, prepared, "train")
    regions = {
        name: torch.from_numpy(np.array(train.of(name))) for name in ("all", "early", "ventral")
    }
    for system in ("all", "takagi"):
        ship(leaderboard / "subj01" / "decoders" / system, target / "subj01" / system, regions)

    quick = [name for name in SYSTEMS if name not in SLOW]
    for name, systems, subjects in (
        ("scores", quick, (1, 2, 3, 4)),
        ("scores-100", list(SYSTEMS), (1, 2)),
    ):
        scores = scores_of(leaderboard, systems, subjects, few=name == "scores-100")
        save_scores(scores, target / f"{name}.npz")
        pages = "\n".join(table(scores, columns) for columns in PAGE)
        (target / f"{name}.md").write_text(pages, encoding="utf-8")

    (target / "repeats.md").write_text(repeats_table(leaderboard), encoding="utf-8")

    settings = LeaderboardSettings((1,), align=ALIGN)
    truth = read_truth(NSD, leaderboard, 1, settings, 64)
    rows = {"seen": truth[few_rows(len(truth))][:SHOWN]}
    for name, system in SYSTEMS.items():
        rows[system.title] = pictures(leaderboard, name, 1, few=True)[0][:SHOWN]
    contact_sheet(rows).save(target / "sheet.jpg", quality=88)


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:3]))
