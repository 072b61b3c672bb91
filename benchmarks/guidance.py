"""What each way of guidance is worth, over its scale: ``python benchmarks/guidance.py FOLDER SCORES [METHOD ...]``.

FOLDER holds the networks, such as ``data_samples/miniature``. SCORES is a JSON file that is added to, a row at a time,
so that a run that was stopped goes on. A row is a method at a scale, over 256 prompts with one thing whose combination
of object, colour and background was held out of training: what the scorer reads right, how far the pictures are from
real scenes, and how far apart two pictures of one prompt are. "real" has the distance of real scenes of the same
prompts, which is the best that can be had. "seconds" is the processor's time for a picture, measured for all methods
in turn, so that they can be compared. Run it on one thread (``OMP_NUM_THREADS=1``); a row takes some minutes.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from miniature import fresh, prompts
from torch import Tensor
from tqdm import tqdm

from minisd.metrics import Scorer, frechet_distance, score
from minisd.scenes import SceneFactors
from minisd.scenes import draw as draw_scene
from minisd.steering import METHODS, Networks, draw
from minisd.training.data import as_input, pictures

PROMPTS, TWICE, BATCH = 256, 32, 32
SCALES = {
    "unguided": (1,),
    "classifier_free": (1, 2, 4, 8),
    "classifier": (1, 4, 8, 16, 32),
    "clip_noisy": (1, 4, 16),
    "clip_clean": (1, 4),
    "self_calibrated": (1, 4, 8, 16, 32),
    "spatial": (1, 2, 4),
    "unclip": (1, 2, 4),
}
"""Of each method; one that climbs a gradient wants larger ones."""


def rows(found: dict[str, list[dict]], method: str, scale: float) -> bool:
    """Whether a row is there already."""
    return any(row["scale"] == scale for row in found.get(method, []))


def drawn(
    networks: Networks, method: str, scenes: list[SceneFactors], scale: float, first: int
) -> Tensor:
    """Pictures, a seed each."""
    parts = []
    for at in tqdm(range(0, len(scenes), BATCH), desc=f"{method} {scale}", delay=2):
        some = scenes[at : at + BATCH]
        seeds = range(first + at, first + at + len(some))
        parts.append(draw(networks, method, some, scale, seeds))
    return torch.cat(parts)


def seconds(networks: Networks, rounds: int = 2, count: int = 8) -> dict[str, float]:
    """The processor's time for a picture by each method, at a scale other than 1; the least of some rounds."""
    found = dict.fromkeys(SCALES, float("inf"))
    scenes = prompts(count, two=0.0)
    for _ in range(rounds + 1):  # the first one loads the networks
        for method in found:
            start = time.process_time()
            draw(networks, method, scenes, 2.0, range(count))
            found[method] = min(found[method], (time.process_time() - start) / count)
    return found


def row_of(
    networks: Networks, scorer: Scorer, real: Tensor, method: str, scale: float
) -> dict[str, float]:
    """Draw, and measure."""
    scenes = prompts(PROMPTS, two=0.0)
    x = drawn(networks, method, scenes, scale, 0)
    again = drawn(networks, method, scenes[:TWICE], scale, PROMPTS)
    right = score(scorer.read(x), scenes)
    apart = (x[:TWICE].clamp(-1, 1) - again.clamp(-1, 1)).square().flatten(1).mean(dim=1).sqrt()
    return {
        "scale": scale,
        **{name: value for name, value in right.items() if value == value},
        "frechet": frechet_distance(scorer.features(x), real),
        "spread": float(apart.mean()),
    }


def main(folder: Path, target: Path, methods: list[str]) -> None:
    """Measure what is not in the file yet."""
    networks, scorer = Networks(folder), Scorer.from_pretrained(folder / "scorer")
    found = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    scenes = as_input(pictures(fresh(PROMPTS, 5000, two=0.0)))
    # the best that can be had: real scenes of the very prompts
    asked = [
        draw_scene(one, np.random.default_rng(i)) for i, one in enumerate(prompts(PROMPTS, two=0.0))
    ]
    others = as_input(pictures(asked))
    real = scorer.features(scenes)
    found["real"] = {
        "frechet": frechet_distance(scorer.features(others), real),
        "spread": float((scenes - others).square().flatten(1).mean(dim=1).sqrt().mean()),
    }
    for method in methods:
        for scale in SCALES[method]:
            if not rows(found, method, scale):
                row = row_of(networks, scorer, real, method, scale)
                found.setdefault(method, []).append(row)
                write(target, found)
    if "seconds" not in found:
        found["seconds"] = seconds(networks)
    write(target, found)


def write(target: Path, found: dict) -> None:
    """Write the file whole, or not at all."""
    part = target.with_suffix(".part")
    part.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    part.replace(target)


if __name__ == "__main__":
    chosen = sys.argv[3:] or [name for name in METHODS if name in SCALES]
    if unknown := [name for name in chosen if name not in SCALES]:
        sys.exit(f"there is no method {', '.join(unknown)}; allowed are {', '.join(SCALES)}")
    with torch.no_grad():
        main(Path(sys.argv[1]), Path(sys.argv[2]), chosen)
