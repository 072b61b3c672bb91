"""What the miniature can do, on scenes and captions that it has not seen: ``python benchmarks/miniature.py FOLDER``.

It writes ``scores.json`` into the folder, from which the card takes its figures. It takes some 10 minutes on 2 cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize
from tqdm import tqdm

from minisd.checkpoints import load_clip
from minisd.checkpoints.loading import read_tokenizer
from minisd.metrics import Scorer, frechet_distance, score
from minisd.models.contrastive import preprocess
from minisd.pipeline import StableDiffusion
from minisd.scenes import (
    CATEGORIES,
    NEWCOMERS,
    Scene,
    SceneFactors,
    caption,
    held_out,
    one_factor_changes,
    scene,
    scene_factors,
)
from minisd.training.data import as_input, pictures

SEED = 2
"""Of a world of which nothing is trained on."""


def fresh(count: int, first: int = 0, **world: object) -> list[Scene]:
    """Scenes that nothing was trained on."""
    return [scene(i, SEED, **world) for i in range(first, first + count)]


def measure_scorer(scorer: Scorer) -> dict[str, float]:
    """Factors read right, on scenes with one thing and with two."""
    found = {}
    for name, two in (("one", 0.0), ("two", 1.0)):
        scenes = fresh(2000, two=two, categories=CATEGORIES + NEWCOMERS)
        read = scorer.read(as_input(pictures(scenes)))
        found[name] = score(read, [s.factors for s in scenes])
    return found


def measure_vae(sd: StableDiffusion) -> dict[str, float]:
    """Mean of the PSNR of pictures, in dB, of values in [0, 1]."""
    x = as_input(pictures(fresh(1000)))
    back = torch.cat([sd.decode(sd.encode_image(part)) for part in x.split(100)]).clamp(-1, 1)
    error = ((back - x) ** 2).flatten(1).mean(dim=1) / 4
    return {"psnr": float(-10 * error.log10().mean())}


def measure_clip(folder: Path) -> dict[str, float]:
    """The right one of 100 captions, and of the pictures and captions of 1,000 scenes."""
    clip, tokenizer = load_clip(folder / "clip"), read_tokenizer(folder / "tokenizer")

    def texts(captions: list[str]) -> torch.Tensor:
        return normalize(clip.encode_text(tokenizer(captions)), dim=1)

    scenes = fresh(1000)
    x = preprocess(as_input(pictures(scenes)), 64)
    images = torch.cat([normalize(clip.encode_image(part), dim=1) for part in x.split(100)])
    right, near = [], []
    for i, one in enumerate(tqdm(scenes[:500], desc="captions")):
        others = distractors(one.factors, np.random.default_rng(i))
        near.append(sum(o in one_factor_changes(one.factors) for o in others))
        likeness = texts([caption(f) for f in (one.factors, *others)]) @ images[i]
        right.append(int(likeness.argmax()) == 0)
    likeness = images @ texts([caption(s.factors) for s in scenes]).T
    factors = [s.factors for s in scenes]
    recall = {
        "picture to caption": likeness.argmax(dim=1).tolist(),
        "caption to picture": likeness.argmax(dim=0).tolist(),
    }
    return {
        "right of 100": float(np.mean(right)),
        "of these in one factor": float(np.mean(near)),
        **{
            f"recall at 1 of 1000, {name}": float(
                np.mean([factors[i] == factors[j] for i, j in enumerate(found)])
            )
            for name, found in recall.items()
        },
    }


def distractors(factors: SceneFactors, rng: np.random.Generator) -> list[SceneFactors]:
    """99 other scenes: those that differ in one factor, and where they are fewer, some that differ in two."""
    near = list(one_factor_changes(factors))
    rng.shuffle(near)
    chosen = dict.fromkeys(near[:99])
    while len(chosen) < 99:
        further = one_factor_changes(near[rng.integers(len(near))])
        chosen.setdefault(further[rng.integers(len(further))])
        chosen.pop(factors, None)
    return list(chosen)


def prompts(count: int, two: float) -> list[SceneFactors]:
    """Scenes with a combination of object, colour and background that was held out of training."""
    found, i = [], 0
    while len(found) < count:
        factors = scene_factors(i, SEED, two=two)
        found += [factors] if held_out(factors) else []
        i += 1
    return found


def measure_pictures(sd: StableDiffusion, scorer: Scorer) -> dict[str, dict[str, float]]:
    """Whether pictures of held-out prompts show what was asked for, and how far they are from real scenes."""
    found, made = {}, []
    for name, count, two in (("one", 512, 0.0), ("two", 256, 1.0)):
        wanted = prompts(count, two)
        x = sd.text_to_image(
            [caption(factors) for factors in wanted], steps=25, guidance_scale=GUIDANCE,
            seed=0, batch_size=32, output="tensor",
        )  # fmt: skip
        found[name] = score(scorer.read(x), wanted)
        made.append(scorer.features(x))
    real = scorer.features(as_input(pictures(fresh(768, 5000))))
    other = scorer.features(as_input(pictures(fresh(768, 9000))))
    found["frechet"] = frechet_distance(torch.cat(made), real)
    found["frechet of real pictures"] = frechet_distance(other, real)
    return found


def measure_seconds(sd: StableDiffusion) -> dict[str, float]:
    """Median time of 25 guided steps and the decoding."""
    found = {}
    for count in (1, 16):
        seconds = []
        for seed in range(5):
            start = time.perf_counter()
            sd.text_to_image(
                ["a red dog on a beach"] * count, steps=25, guidance_scale=GUIDANCE, seed=seed,
                batch_size=16, progress=False,
            )  # fmt: skip
            seconds.append(time.perf_counter() - start)
        found[str(count)] = sorted(seconds)[2]
    return found


def measure_cold_start(folder: Path) -> float:
    """Median time from a new Python to its first picture, saved."""
    code = (
        "import sys; from minisd.pipeline import StableDiffusion;"
        "sd = StableDiffusion.from_pretrained(sys.argv[1]);"
        f"sd.text_to_image('a red dog on a beach', steps=25, guidance_scale={GUIDANCE}, progress=False)[0]"
        ".save(sys.argv[2])"
    )
    seconds = []
    with tempfile.TemporaryDirectory() as room:
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code, folder, f"{room}/dog.png"], check=True)
            seconds.append(time.perf_counter() - start)
    return sorted(seconds)[2]


GUIDANCE = 4.0
"""As shipped."""

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    sd, scorer = StableDiffusion.from_pretrained(folder), Scorer.from_pretrained(folder / "scorer")
    with torch.no_grad():
        scores = {
            "scorer": measure_scorer(scorer),
            "vae": measure_vae(sd),
            "clip": measure_clip(folder),
            "pictures": measure_pictures(sd, scorer),
            "seconds": {**measure_seconds(sd), "cold start": measure_cold_start(folder)},
        }
    text = json.dumps(scores, indent=2) + "\n"
    (folder / "scores.json").write_text(text, encoding="utf-8")
    print(text)
