"""What stage 2 does, part by part: ``python benchmarks/stage_2.py LEADERBOARD SCORES``, some twenty minutes.

LEADERBOARD is the folder of the run whose commands stand in ``data_samples/decoding/README.md``. SCORES, a JSON file,
gets

- "parts": on the hundred test pictures of subjects 1 and 2, drawn by stage 1, with the noise that stage 2 chose, and by
  both stages: for each step from one to the next, and for both together, and for each measure, the mean difference
  and its p; and how many pictures were not moved;
- "candidates": what the noise that fits best is worth, by how many there are to choose from: mean scores on the 200
  pictures of subject 1 that are set apart for aligning subjects, over groups of eight noises;
- "ways": for each way to run stage 2 the mean scores of what it draws, the loss of that, and the losses that the true
  pictures have and are expected to have, on the first 24 of those 200.

No test picture has a part in the last two, from which settings were chosen.
"""

from __future__ import annotations

import json
import sys
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
from minisd.decoding.responses import Responses, read_responses
from minisd.decoding.systems import RECIPES, Models
from minisd.decoding.targets import Seen
from minisd.decoding.view import best_units, expected_loss, view_loss
from minisd.metrics import Scorer
from minisd.metrics.extractors import of_layer
from minisd.metrics.recovered import recovered
from minisd.nsd import Subject, load_prepared

ROOT = Path(__file__).resolve().parents[1]
MINIATURE = ROOT / "data_samples/miniature"
PICTURES, NOISES = 24, 8
RECIPE = replace(RECIPES["miniature"].mind_diffuser, batch_size=PICTURES)
ONE = replace(RECIPE, candidates=1)
WAYS: dict[str, MindDiffuserSettings] = {
    "stage 1": replace(RECIPE, iterations=0),
    "moved": ONE,
    "never stopped": replace(ONE, stop="never", learning_rate=0.05, iterations=16, carried=1),
    "chosen": replace(RECIPE, iterations=1),  # the first iterate is where it begins
    "both": RECIPE,
}
SCORER = Scorer.from_pretrained(MINIATURE / "scorer")
MEASURES = field_measures(SCORER.features, None, of_layer(SCORER.network, "blocks.2"))


def score(x: torch.Tensor, truth: torch.Tensor) -> dict[str, np.ndarray]:
    """All measures of each picture."""
    return {**MEASURES(x, truth), **recovered(SCORER, x, truth)}


@torch.no_grad()
def draw_chosen(
    system: MindDiffuser, features: dict[str, torch.Tensor], seeds: list[int]
) -> torch.Tensor:
    """Draw with the noise that stage 2 chooses, and move nothing."""
    parts = []
    for at in range(0, len(seeds), PICTURES):
        some = {name: values[at : at + PICTURES] for name, values in features.items()}
        noises = system.choose(some, seeds[at : at + PICTURES])
        parts.append(system.walk(some["z"], some["c"], noises, RECIPE.steps).clamp(-1, 1))
    return torch.cat(parts)


def compare_parts(leaderboard: Path, models: Models, number: int) -> dict[str, object]:
    """Compare stage 1, the noise that was chosen, and both stages, picture by picture."""
    one = LeaderboardSettings((number,), ("stage_1",), "miniature", 1, align=200)
    few = replace(one, systems=("mind_diffuser",), pictures=100)
    truth = read_truth(ROOT / "data/nsd", leaderboard, number, few, 64)
    before = next(read_pictures(leaderboard, "stage_1", number, one))
    rows = np.linspace(0, len(before) - 1, few.pictures).round().astype(int)
    folder = leaderboard / f"subj{number:02}"
    subject = Subject(ROOT / "data/nsd", number)
    test = read_responses(subject, load_prepared(folder / "prepared"), "test")[rows]
    system = MindDiffuser(models.quick, models.clip, RECIPE).load(folder / "decoders" / "all")
    drawn = {
        "stage 1": before[rows],
        "chosen": draw_chosen(system, system.decode(test), test.seeds(0)),
        "both": next(read_pictures(leaderboard, "mind_diffuser", number, few)),
    }
    scores = {name: {number: score(x, truth)} for name, x in drawn.items()}
    apart = (drawn["chosen"] - drawn["both"]).abs().flatten(1).mean(1)
    found: dict[str, object] = {"not moved": int((apart < 0.01).sum())}
    for first, then in (("stage 1", "chosen"), ("chosen", "both"), ("stage 1", "both")):
        found[f"{first} to {then}"] = {
            key: [round(pair.difference, 4), round(pair.p, 4)]
            for key in scores[first][number]
            for pair in compare(scores, then, first, key)
        }
    return found


@torch.no_grad()
def compare_candidates(
    system: MindDiffuser, fmri: Responses, truth: torch.Tensor
) -> dict[str, dict[str, float]]:
    """Mean scores by the number of noises, each noise in one group of every size."""
    features, units = system.decode(fmri), best_units(system.decoders, RECIPE.view)
    scores, losses = [], []
    for n in range(NOISES):
        x = system.draw(features, fmri.seeds(n))
        scores.append(score(x, truth))
        losses.append(view_loss(system.clip, x, features, units, RECIPE.view).numpy())
    found, rows = {}, np.arange(len(truth))
    for size in (1, 2, 4, 8):
        groups = [slice(at, at + size) for at in range(0, NOISES, size)]
        best = [np.argmin(losses[group], axis=0) for group in groups]
        found[str(size)] = {
            key: round(
                float(
                    np.mean(
                        [
                            np.nanmean(np.stack([one[key] for one in scores[group]])[chosen, rows])
                            for group, chosen in zip(groups, best, strict=True)
                        ]
                    )
                ),
                3,
            )
            for key in scores[0]
        }
    return found


def main(leaderboard: Path, target: Path) -> None:
    """Measure what is not in the file yet."""
    found = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {"ways": {}}
    models = Models(MINIATURE, MINIATURE / "clip")

    def keep() -> None:
        target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    if "parts" not in found:
        found["parts"] = {str(k): compare_parts(leaderboard, models, k) for k in (1, 2)}
        keep()
    subject, folder = Subject(ROOT / "data/nsd", 1), leaderboard / "subj01"
    prepared = load_prepared(folder / "prepared")
    fmri = read_responses(subject, prepared, "align")
    truth = Seen(subject.pictures, prepared.align.nsd_id).pictures(64)
    if "candidates" not in found:
        system = MindDiffuser(models.quick, models.clip, WAYS["stage 1"])
        found["candidates"] = compare_candidates(
            system.load(folder / "decoders" / "all"), fmri, truth
        )
        keep()
    fmri, truth = fmri[:PICTURES], truth[:PICTURES]
    for way, settings in WAYS.items():
        if way in found["ways"]:
            continue
        sd = models.sd if settings.iterations else models.quick
        system = MindDiffuser(sd, models.clip, settings)
        system.load(folder / "decoders" / "all")
        features, view = system.decode(fmri), settings.view
        x = system.draw(features, fmri.seeds(0))
        units = best_units(system.decoders, view)
        with torch.no_grad():
            losses = {
                "loss": view_loss(models.clip, x, features, units, view),
                "loss of the truth": view_loss(models.clip, truth, features, units, view),
                "expected loss": expected_loss(system.decoders, features, units, view),
            }
        found["ways"][way] = {
            **{key: round(float(np.nanmean(values)), 3) for key, values in score(x, truth).items()},
            **{name: round(float(values.mean()), 4) for name, values in losses.items()},
        }
        keep()


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:3]))
