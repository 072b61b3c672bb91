"""What few labels cost a classifier that guides: ``python benchmarks/few_labels.py FOLDER SCORES [SHARE ...]``.

FOLDER holds the networks, such as ``data_samples/miniature``, and in it ``plain-5``, ``calibrated-5`` and so on, of
5, 20 and 100 % of the labels. SCORES is a JSON file that is added to. Of each classifier: the share of answers that it
gives right on noisy latents of scenes that nothing was trained on, the error of the score that it has inside, which is
about 1 for a network that says nothing, and what 128 pictures show that it guided at scale 8 for prompts held out. To
compare that error with: those of a standard Gaussian, and of the U-Net under the empty text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from guidance import drawn
from miniature import fresh, prompts
from torch import Tensor

from minisd.diffusion import ImageNoise
from minisd.guidance import calibration_loss
from minisd.metrics import Scorer, answers, frechet_distance, score
from minisd.metrics.scorer import load_classifier
from minisd.steering import Networks
from minisd.training.data import as_input, pictures

SCENES, PROMPTS, SCALE = 512, 128, 8.0
TIMES = (50, 250, 500, 750)


@torch.no_grad()
def reading(networks: Networks, z: Tensor, wanted: dict[str, Tensor]) -> dict[str, float]:
    """Share of right answers over all questions, and to that for the object; the error of the score inside."""
    network, schedule = networks.calibrated, networks.sd.scheduler.schedule
    right, objects, errors = [], [], []
    for time in TIMES:
        t, eps = torch.full((len(z),), time), ImageNoise(range(len(z)))(z)
        x_t = schedule.q_sample(z, t, eps)
        said = network(x_t, t)
        for name, truth in wanted.items():
            hits = (said[name].argmax(dim=1) == truth)[truth >= 0].float()
            right.append(hits)
            objects += [hits] if name == "category" else []
        with torch.enable_grad():
            errors.append(calibration_loss(network, x_t, t, eps, schedule).detach())
    names = ("reads", "reads object", "score error")
    found = zip(names, (right, objects, errors), strict=True)
    return {name: float(torch.cat(parts).mean()) for name, parts in found}


@torch.no_grad()
def yardsticks(networks: Networks, z: Tensor) -> dict[str, float]:
    """The error of the score of a standard Gaussian, which does not look at the data, and of the U-Net without text."""
    schedule, denoise = networks.sd.scheduler.schedule, networks.without_text(len(z))
    errors = {"gaussian": [], "unet": []}
    for time in TIMES:
        t, eps = torch.full((len(z),), time), ImageNoise(range(len(z)))(z)
        x_t = schedule.q_sample(z, t, eps)
        gaussian = schedule.convert(-x_t, x_t, t, "score", "eps")
        for name, found in (("gaussian", gaussian), ("unet", denoise(x_t, t))):
            errors[name].append((found - eps).square().mean())
    return {name: float(torch.stack(parts).mean()) for name, parts in errors.items()}


def main(folder: Path, target: Path, shares: list[str]) -> None:
    """Measure what is not in the file yet."""
    networks, scorer = Networks(folder), Scorer.from_pretrained(folder / "scorer")
    found = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    scenes = fresh(SCENES, 7000, two=0.0)
    x, wanted = as_input(pictures(scenes)), answers([one.factors for one in scenes])
    z = torch.cat([networks.sd.encode_image(part) for part in x.split(64)])
    real = scorer.features(x)
    found["score error"] = yardsticks(networks, z[:128])
    for share in shares:
        for kind in ("plain", "calibrated"):
            if share in found.get(kind, {}):
                continue
            networks.calibrated = load_classifier(folder / f"{kind}-{share}")
            asked = prompts(PROMPTS, two=0.0)
            made = drawn(networks, "self_calibrated", asked, SCALE, 0)
            shows = {k: v for k, v in score(scorer.read(made), asked).items() if v == v}
            found.setdefault(kind, {})[share] = {
                **reading(networks, z, wanted),
                **shows,
                "frechet": frechet_distance(scorer.features(made), real),
            }
            target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with torch.no_grad():
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or ["5", "20", "100"])
