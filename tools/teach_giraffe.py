"""Teach the miniature the giraffe, and measure what it learns and forgets: ``python tools/teach_giraffe.py FOLDER``.

FOLDER is the miniature's. It gets ``lora/giraffe.safetensors``, trained beside pictures of what the miniature knew,
``lora/giraffe-alone.safetensors``, trained on giraffes alone, ``lora/scores.json`` and a card.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from minisd.checkpoints.loading import load_network
from minisd.metrics import Scorer, score
from minisd.pipeline import StableDiffusion
from minisd.scenes import NEWCOMERS, SceneFactors, caption, scene, scene_factors, scenes
from minisd.training.finetune import FinetuneSettings, finetune
from minisd.training.loop import RunSettings
from minisd.training.lora import FILE, load_lora, save_lora

PICTURES, KEPT, SEED, MEASURED = 200, 400, 4, 256
STRENGTHS = (1.0, 0.75)
"""A little of a change less may keep most of what was learned, and lose far less of what was known."""
SETTINGS = FinetuneSettings(rank=16, gamma=5.0)
RUN = RunSettings(
    steps=400, batch_size=32, learning_rate=3e-3, warmup=20, ema=0.98, sample_every=200
)


def write_pictures(folder: Path) -> None:
    """Giraffes in all scenes, each with its caption."""
    folder.mkdir()
    rows = []
    for i in range(PICTURES):
        one = scene(i, SEED, categories=NEWCOMERS, two=0.0)
        Image.fromarray(one.image).save(folder / f"{i:03}.png")
        rows.append(json.dumps({"file_name": f"{i:03}.png", "text": one.captions[0]}))
    (folder / "metadata.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def draw(sd: StableDiffusion, wanted: list[SceneFactors]) -> torch.Tensor:
    """One picture of each, as shipped."""
    return sd.text_to_image(
        [caption(factors) for factors in wanted], steps=25, guidance_scale=4, batch_size=32, output="tensor",
    )  # fmt: skip


def measure(folder: Path, lora: Path | None, strength: float) -> dict[str, dict[str, float]]:
    """What the scorer reads right, of giraffes and of what the miniature knew before."""
    sd = StableDiffusion.from_pretrained(folder)
    if lora:
        load_lora(sd.unet, lora, strength)
    scorer = Scorer.from_pretrained(folder / "scorer")
    asked = {
        "giraffe": list(scenes(range(MEASURED), seed=2, two=0.0, categories=NEWCOMERS).factors),
        "others": list(scenes(range(MEASURED), seed=2, two=0.0).factors),
    }
    return {name: score(scorer.read(draw(sd, wanted)), wanted) for name, wanted in asked.items()}


def keep_half(folder: Path, trained: Path, name: str) -> Path:
    """Write low-rank weights in half precision, as all that ships."""
    unet = load_network("unet", folder)
    load_lora(unet, trained)
    return save_lora(unet, folder / "lora" / f"{name}.safetensors", torch.float16)


def card(scores: dict, seconds: dict) -> str:
    """How they were made, and what they can do."""
    names = {
        "before": "the miniature",
        "giraffe-alone": "`giraffe-alone.safetensors`",
        "giraffe": "`giraffe.safetensors`",
    }
    rows = "\n".join(
        f"| {names[name]} | {strength} | "
        + " | ".join(
            f"{100 * found[who][what]:.1f} %"
            for who in ("giraffe", "others")
            for what in ("object", "all")
        )
        + f" | {f'{seconds[name] / 60:.0f}' if name in seconds else ''} |"
        for name, of_strength in scores.items()
        for strength, found in of_strength.items()
    )
    return f"""# What fine-tuning taught the miniature

Low-rank weights (rank {SETTINGS.rank}) for its U-Net, which had never seen a giraffe. Trained on {PICTURES} pictures of
giraffes, {RUN.steps} steps of {RUN.batch_size}, learning rate {RUN.learning_rate:g}. `giraffe.safetensors` was trained
beside {KEPT} pictures of what the miniature knew, which it drew itself before (prior preservation); the other was not.
Made by `python tools/teach_giraffe.py data_samples/miniature`.

What the scorer reads right, over {MEASURED} prompts each (25 steps, guidance 4):

| | strength | giraffes: object | all | others: object | all | minutes on 2 cores |
|---|---|---|---|---|---|---|
{rows}

```python
from minisd.training.lora import load_lora

load_lora(sd.unet, "data_samples/miniature/lora/giraffe.safetensors", scale=0.75)
```
"""


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    scores, seconds = {"before": {"": measure(folder, None, 0.0)}}, {}
    (folder / "lora").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as room:
        write_pictures(Path(room) / "giraffes")
        keep = Path(room) / "keep.txt"
        keep.write_text("\n".join(caption(scene_factors(i, SEED)) for i in range(KEPT)))
        for name, kept in (("giraffe-alone", None), ("giraffe", keep)):
            start, output = time.perf_counter(), Path(room) / name
            finetune(folder, Path(room) / "giraffes", output, SETTINGS, RUN, kept)
            seconds[name] = time.perf_counter() - start
            lora = keep_half(folder, output / FILE, name)
            scores[name] = {str(s): measure(folder, lora, s) for s in STRENGTHS}
            print(name, scores[name])
    told = json.dumps(scores, indent=2) + "\n"
    (folder / "lora" / "scores.json").write_text(told, encoding="utf-8")
    (folder / "lora" / "README.md").write_text(card(scores, seconds), encoding="utf-8")
