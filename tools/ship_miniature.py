"""Put what was trained into ``data_samples/miniature``, with its card: ``python tools/ship_miniature.py FOLDER``.

Weights, configurations, logs of the losses, samples of the U-Net on its way, and ``scores.json`` of
``benchmarks/miniature.py``; no checkpoints. What FOLDER did not train stays as it is.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

from PIL import Image
from safetensors import safe_open

TARGET = Path(__file__).resolve().parents[1] / "data_samples" / "miniature"
TASKS = {
    "vae": ("autoencoder, 64x64 pictures to 4x16x16 latents", ["vae"]),
    "clip": ("CLIP, both towers; its text tower is the text encoder", ["clip", "text_encoder"]),
    "clip-image": ("CLIP without its text tower, trained on", ["clip"]),
    "unet": ("U-Net, conditioned on the text", ["unet"]),
    "unet-pairs": ("U-Net, trained on, mostly on pictures of two things", ["unet"]),
    "scorer": ("reads scenes; the judge", ["scorer"]),
    "classifier": ("reads noisy latents, for classifier guidance", ["classifier"]),
    "noisy-clip": ("CLIP's image tower for noisy latents, for CLIP guidance", ["noisy_clip"]),
    "calibrated": (
        "small, reads noisy latents; with all labels and with few, calibrated and plain",
        [f"{kind}-{share}" for kind in ("calibrated", "plain") for share in (100, 20, 5)],
    ),
    "prior": ("draws CLIP image embeddings for texts", ["prior"]),
    "spatial": ("what is to be where: LoRA of the U-Net, and the map's convolution", ["spatial"]),
    "unclip": ("the U-Net as decoder of CLIP image embeddings: LoRA, and tokens", ["unclip"]),
}
"""What each command trains, and the folders that it writes, some of them with other settings."""


def ship(source: Path) -> None:
    """Copy what was trained there, and write the card."""
    trained = {name: source / "training" / name / "log.csv" for name in TASKS}
    trained = {
        name: log
        for name, log in trained.items()
        if log.exists() and any((source / folder).exists() for folder in TASKS[name][1])
    }
    for name, log in trained.items():
        for folder in (told for told in TASKS[name][1] if (source / told).exists()):
            shutil.copytree(source / folder, TARGET / folder, dirs_exist_ok=True)
        lines = log.read_text(encoding="utf-8").splitlines()
        some = [lines[0], *lines[3:-1:3], lines[-1]]
        (TARGET / "logs").mkdir(parents=True, exist_ok=True)
        (TARGET / "logs" / f"{name}.csv").write_text("\n".join(some) + "\n", encoding="utf-8")
    if "unet" in trained:
        for name in ("model_index.json", "scheduler", "tokenizer", "scores.json"):
            if (source / name).is_dir():
                shutil.copytree(source / name, TARGET / name, dirs_exist_ok=True)
            else:
                shutil.copy(source / name, TARGET / name)
        ship_samples(sorted((source / "training" / "unet" / "samples").glob("*.png")))
    scores = json.loads((TARGET / "scores.json").read_text(encoding="utf-8"))
    (TARGET / "README.md").write_text(card(scores), encoding="utf-8")
    size = sum(path.stat().st_size for path in TARGET.rglob("*") if path.is_file())
    print(f"{', '.join(trained)} to {TARGET}, now {size / 1e6:.1f} MB")


def ship_samples(sheets: list[Path]) -> None:
    """Copy six of the sheets that the U-Net's training drew, each after about twice the steps of the one before."""
    (TARGET / "samples").mkdir(exist_ok=True)
    for i in range(6):
        sheet = sheets[round(len(sheets) / 2**i) - 1]
        Image.open(sheet).save(TARGET / "samples" / f"unet-{sheet.stem}.jpg", quality=85)


def card(scores: dict) -> str:
    """How the weights were made, and what they can do."""
    rows = [
        network_row(name, *told)
        for name, told in TASKS.items()
        if (TARGET / "logs" / f"{name}.csv").exists()
    ]
    one, two = scores["pictures"]["one"], scores["pictures"]["two"]
    shares = ("object", "colour", "background", "size", "place", "accessory", "relation", "all")
    read = scores["scorer"]["one"], scores["scorer"]["two"]
    judged = "\n".join(
        f"| {name} | " + " | ".join(percent(part[name]) for part in (*read, one, two)) + " |"
        for name in shares
    )
    near = scores["clip"]["of these in one factor"]
    clip = "\n".join(
        f"- {name}: {percent(value)}"
        for name, value in scores["clip"].items()
        if name != "of these in one factor"
    )
    return f"""# The miniature

A complete Stable Diffusion at 64x64, of the same classes as the full one, for a laptop's CPU. It draws the world of
`minisd.scenes` and nothing else.

```python
from minisd.pipeline import StableDiffusion

sd = StableDiffusion.from_pretrained("data_samples/miniature")
sd.text_to_image("a dog with sunglasses in a grass field", steps=25, guidance_scale=4)[0]
```

The folder has diffusers' layout, and diffusers loads it too (with `dtype=torch.float32`, since the weights are in half
precision). Licence: MIT, as the rest.

## How it was made

Trained on scenes that are drawn by code (`minisd.scenes`, world 1; the scorer: world 3); no photograph, no data of
anybody. A tenth of the combinations of object, colour and background is held out of all but the scorer
(`minisd.scenes.held_out`). The giraffe is known to CLIP and scorer, and not to the U-Net: fine-tuning teaches it.

| | parameters | batch | steps | hours | command |
|---|---|---|---|---|---|
{chr(10).join(rows)}

Machine: 2 cores of an Intel Xeon, other work beside. The settings are `minisd/training/miniature/*.toml`, with every
seed; the losses are in `logs/`. One command needs what the ones above it wrote.

## What it can do

On scenes of world 2, of which nothing was trained on: `python benchmarks/miniature.py data_samples/miniature`.

Autoencoder: {scores["vae"]["psnr"]:.1f} dB (mean PSNR over 1,000 scenes).

CLIP, over 500 pictures (100 captions each) and 1,000 pairs:
{clip}

Of the 99 wrong captions {near:.0f} differ from the right one in one factor, which is all that there are; the others in
two.

What the scorer reads right off real scenes, and off pictures drawn for prompts whose combination was held out (512
prompts with one thing, 256 with two; 25 steps, guidance 4):

| | scorer, one thing | scorer, two | drawn, one thing | drawn, two |
|---|---|---|---|---|
{judged}

"Relation" is both things and how they stand. Squared Fréchet distance of the scorer's features to real scenes:
{scores["pictures"]["frechet"]:.2f}; between two sets of real scenes:
{scores["pictures"]["frechet of real pictures"]:.2f}.

25 guided steps and the decoding: {scores["seconds"]["1"]:.2f} s for one picture,
{scores["seconds"]["16"]:.1f} s for sixteen. The first picture of a new Python, import and loading with it:
{scores["seconds"]["cold start"]:.1f} s.
"""


def network_row(name: str, what: str, folders: list[str]) -> str:
    """One row of the table."""
    text = (files("minisd.training") / "miniature" / f"{name}.toml").read_text(encoding="utf-8")
    run = tomllib.loads(text)["run"]
    with (TARGET / "logs" / f"{name}.csv").open(encoding="utf-8") as file:
        seconds = float(list(csv.DictReader(file))[-1]["seconds"])
    return (
        f"| {what} | {parameters(TARGET / folders[0]):,} | {run['batch_size']} | {run['steps']:,} "
        f"| {seconds / 3600:.1f} | `minisd train {name} --output miniature` |"
    )


def parameters(folder: Path) -> int:
    """Count the numbers in a folder's weights."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            total += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118 - no mapping
    return total


def percent(share: float) -> str:
    """Write a share; nothing where there is none."""
    return "" if share != share else f"{100 * share:.1f} %"


if __name__ == "__main__":
    ship(Path(sys.argv[1]))
