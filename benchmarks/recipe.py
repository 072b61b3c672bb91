"""What strength, contrast and guidance do to stage 1, on pictures that no system is tested on.

The 200 pictures of simulated subject 1 that are set apart for aligning subjects, by the decoders that ship:
``python benchmarks/recipe.py``, six minutes on one core. The chapters on Takagi and Nishimoto and on MindDiffuser's
first stage have tables of what it finds.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from minisd.decoding.mind_diffuser import MindDiffuser
from minisd.decoding.responses import read_responses
from minisd.decoding.systems import RECIPES, Models
from minisd.decoding.takagi import TakagiNishimoto
from minisd.decoding.targets import Seen
from minisd.metrics import Scorer
from minisd.metrics.reconstruction import pixel_correlation
from minisd.metrics.recovered import recovered
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare

TRIED = (
    ("takagi", 8, 0.8, 1.0, 2.5),
    ("takagi", 8, 0.8, 1.75, 2.5),
    ("stage_1", 12, 0.74, 1.0, 5.0),
    ("stage_1", 12, 0.74, 1.5, 3.0),
    ("stage_1", 12, 0.65, 1.75, 2.5),
    ("stage_1", 12, 0.55, 1.75, 2.5),
    ("stage_1", 12, 0.45, 1.75, 2.5),
    ("stage_1", 12, 0.34, 1.75, 2.5),
    ("stage_1", 12, 0.25, 1.75, 2.5),
    ("stage_1", 12, 0.45, 1.0, 2.5),
    ("stage_1", 12, 0.45, 1.4, 2.5),
    ("stage_1", 12, 0.45, 2.25, 2.5),
    ("stage_1", 12, 0.45, 1.75, 1.5),
    ("stage_1", 12, 0.45, 1.75, 4.0),
)
"""System, steps of DDIM, strength, contrast of c, guidance."""


@torch.no_grad()
def main() -> None:
    """Draw and score, and print a row for each of `TRIED`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, default=Path("data_samples"))
    parser.add_argument("--nsd", type=Path, default=Path("data/nsd"))
    options = parser.parse_args()

    subject = Subject(options.nsd, 1)
    with tempfile.TemporaryDirectory() as scratch:
        settings = PrepareSettings(align=200)
        prepared = prepare(subject, Path(scratch) / "subj01", settings, progress=False)
        fmri = read_responses(subject, prepared, "align")
        seen = Seen(subject.pictures, prepared.align.nsd_id).pictures(64)

    miniature, fitted = options.samples / "miniature", options.samples / "decoding" / "subj01"
    models = Models(miniature, miniature / "clip", device="cpu")
    judge = Scorer.from_pretrained(miniature / "scorer")
    recipe = replace(RECIPES["miniature"].mind_diffuser, iterations=0)
    systems = {
        "stage_1": MindDiffuser(models.quick, models.clip, recipe).load(fitted / "all"),
        "takagi": TakagiNishimoto(models.quick).load(fitted / "takagi"),
    }
    print(
        "system   steps  strength  contrast  guidance  object  colour  place  background  PixCorr"
    )
    for name, steps, strength, contrast, guidance in TRIED:
        decoders = systems[name].decoders
        made = models.quick.image_to_image(
            decoders["c"](fmri, contrast),
            decoders["z"](fmri),
            strength=strength,
            steps=steps,
            guidance_scale=guidance,
            batch_size=25,
            seed=fmri.seeds(0),
            sampler="ddim",
            output="tensor",
            progress=False,
        )
        found = {key: np.nanmean(values) for key, values in recovered(judge, made, seen).items()}
        print(
            f"{name:8} {steps:5}  {strength:8}  {contrast:8}  {guidance:8}  {found['object']:6.2f}  "
            f"{found['colour']:6.2f}  {found['place']:5.2f}  {found['background']:10.2f}  "
            f"{pixel_correlation(made, seen).mean():7.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
