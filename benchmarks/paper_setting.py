"""MindDiffuser as its paper sets it, on eight pictures: ``python benchmarks/paper_setting.py DECODERS TARGET``.

Strength .74 of 50 steps, guidance 5, the text embedding as it was decoded, one noise, all steps carrying gradient,
Adam at .01 with decay .999, up to 300 iterations; a picture is moved no more once it fits as the true one is expected
to. The networks are the miniature's, so there are three layers of CLIP in place of six, and all 32 tokens. DECODERS
is ``subj01/decoders/all`` of the leaderboard; TARGET gets ``paper_setting.json`` and ``paper_setting.jpg``. It takes
eight minutes on one core.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch

from minisd.decoding.mind_diffuser import MindDiffuser, MindDiffuserSettings
from minisd.decoding.report import contact_sheet
from minisd.decoding.responses import read_responses
from minisd.decoding.systems import RECIPES, Models
from minisd.decoding.targets import Seen
from minisd.decoding.view import best_units, expected_loss, view_loss
from minisd.metrics import Scorer
from minisd.metrics.extractors import of_layer
from minisd.metrics.reconstruction import feature_distance, pixel_correlation, structural_similarity
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare

NSD, MINIATURE, COUNT = Path("data/nsd"), Path("data_samples/miniature"), 8


def main(decoders: Path, target: Path) -> None:
    """Draw by both stages, measure, and write."""
    subject = Subject(NSD, 1)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(subject, Path(folder) / "subj01", PrepareSettings(align=200))
        test = read_responses(subject, prepared, "test")[:COUNT]
        seen = Seen(subject.pictures, prepared.test.nsd_id[:COUNT])
    models = Models(MINIATURE, MINIATURE / "clip")
    view = RECIPES["miniature"].mind_diffuser.view
    settings = MindDiffuserSettings(tokens=None, view=view, batch_size=COUNT)
    system = MindDiffuser(models.sd, models.clip, settings).load(decoders)
    features, seeds, truth = system.decode(test), test.seeds(0), seen.pictures(64)
    units = best_units(system.decoders, settings.view)

    def walked(z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return system.walk(z, c, seeds, settings.steps).clamp(-1, 1)

    made = {
        "stage 1": walked(features["z"], features["c"]),
        "both stages": walked(*system.move(features, seeds)),
    }
    layers = of_layer(Scorer.from_pretrained(MINIATURE / "scorer").network, "blocks.2")
    found: dict[str, object] = {
        "expected loss": float(
            expected_loss(system.decoders, features, units, settings.view).mean()
        )
    }
    for name, x in made.items():
        with torch.no_grad():
            loss = view_loss(models.clip, x, features, units, settings.view)
        found[name] = {
            "loss": float(loss.mean()),
            "PixCorr": float(pixel_correlation(x, truth).mean()),
            "SSIM": float(structural_similarity(x, truth).mean()),
            "layers": float(feature_distance(layers(x), layers(truth)).mean()),
        }
    (target / "paper_setting.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    contact_sheet({"seen": truth, **made}, scale=1).save(target / "paper_setting.jpg", quality=88)


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:3]))
