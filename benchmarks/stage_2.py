"""Ways to run stage 2, beside each other: ``python benchmarks/stage_2.py LEADERBOARD SCORES``, ten minutes.

LEADERBOARD is the folder of the run whose commands stand in ``data_samples/decoding/README.md``. SCORES, a JSON file,
gets

- "same noise": stage 2 less stage 1 on the hundred test pictures of subjects 1 and 2, stage 1 drawn from the noise that
  stage 2 began with: for each measure the mean difference and its p, and how many pictures were not moved;
- "ways": for each way to run it the mean scores of what it draws, the loss of that, and the losses that the true
  pictures have and are expected to have. The pictures are the first 24 of subject 1 that are set apart for aligning
  subjects: no test picture has a part in what is chosen here.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from minisd.decoding.leaderboard import (
    LeaderboardSettings,
    field_measures,
    read_pictures,
    read_truth,
)
from minisd.decoding.mind_diffuser import MindDiffuser, MindDiffuserSettings
from minisd.decoding.report import compare
from minisd.decoding.responses import read_responses
from minisd.decoding.systems import RECIPES, Models
from minisd.decoding.targets import Seen
from minisd.decoding.view import best_units, expected_loss, view_loss
from minisd.metrics import Scorer
from minisd.metrics.extractors import of_layer
from minisd.metrics.recovered import recovered
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare

ROOT = Path(__file__).resolve().parents[1]
MINIATURE = ROOT / "data_samples/miniature"
PICTURES = 24
RECIPE = replace(RECIPES["miniature"].mind_diffuser, batch_size=PICTURES)
WAYS: dict[str, MindDiffuserSettings] = {
    "stage 1": replace(RECIPE, iterations=0),
    "never stopped": replace(RECIPE, stop="never", learning_rate=0.05, iterations=16, carried=1),
    "z and c": RECIPE,
}


def same_noise(leaderboard: Path, number: int) -> dict[str, object]:
    """Compare both stages with the first alone, picture by picture."""
    scorer = Scorer.from_pretrained(MINIATURE / "scorer")
    measures = field_measures(scorer.features, None, of_layer(scorer.network, "blocks.2"))
    one = LeaderboardSettings((number,), ("stage_1",), "miniature", 1, align=200)
    few = replace(one, systems=("mind_diffuser",), pictures=100)
    truth = read_truth(ROOT / "data/nsd", leaderboard, number, few, 64)
    before = next(read_pictures(leaderboard, "stage_1", number, one))
    rows = np.linspace(0, len(before) - 1, few.pictures).round().astype(int)
    drawn = {
        "stage_1": before[rows],
        "mind_diffuser": next(read_pictures(leaderboard, "mind_diffuser", number, few)),
    }
    scores = {
        name: {number: {**measures(x, truth), **recovered(scorer, x, truth)}}
        for name, x in drawn.items()
    }
    apart = (drawn["stage_1"] - drawn["mind_diffuser"]).abs().flatten(1).mean(1)
    found: dict[str, object] = {"not moved": int((apart < 0.01).sum())}
    for key in scores["stage_1"][number]:
        (one_subject,) = compare(scores, "mind_diffuser", "stage_1", key)
        found[key] = [round(one_subject.difference, 4), round(one_subject.p, 4)]
    return found


def main(leaderboard: Path, target: Path) -> None:
    """Measure what is not in the file yet."""
    found = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {"ways": {}}
    if "same noise" not in found:
        found["same noise"] = {str(k): same_noise(leaderboard, k) for k in (1, 2)}
    subject = Subject(ROOT / "data/nsd", 1)
    with tempfile.TemporaryDirectory() as scratch:
        prepared = prepare(subject, Path(scratch) / "1", PrepareSettings(align=200), progress=False)
        fmri = read_responses(subject, prepared, "align")[:PICTURES]
    truth = Seen(subject.pictures, prepared.align.nsd_id[:PICTURES]).pictures(64)
    scorer = Scorer.from_pretrained(MINIATURE / "scorer")
    models = Models(MINIATURE, MINIATURE / "clip")
    measures = field_measures(scorer.features, None, of_layer(scorer.network, "blocks.2"))
    for way, settings in WAYS.items():
        if way in found["ways"]:
            continue
        sd = models.sd if settings.iterations else models.quick
        system = MindDiffuser(sd, models.clip, settings)
        system.load(leaderboard / "subj01" / "decoders" / "all")
        features, view = system.decode(fmri), settings.view
        x = system.draw(features, fmri.seeds(0))
        units = best_units(system.decoders, view)
        with torch.no_grad():
            losses = {
                "loss": view_loss(models.clip, x, features, units, view),
                "loss of the truth": view_loss(models.clip, truth, features, units, view),
                "expected loss": expected_loss(system.decoders, features, units, view),
            }
        scores = {**measures(x, truth), **recovered(scorer, x, truth)}
        found["ways"][way] = {
            **{name: round(float(np.nanmean(values)), 3) for name, values in scores.items()},
            **{name: round(float(values.mean()), 4) for name, values in losses.items()},
        }
        target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:3]))
