"""Draw the same wishes with every way of guidance, onto one sheet: ``python tools/guidance_pictures.py``.

Writes ``data_samples/guidance/pictures.jpg`` and, beside it, what its rows and columns are, as `minisd.explorer` wants
it. It takes some minutes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from minisd.plots import as_uint8
from minisd.scenes import caption, held_out, scene_factors
from minisd.steering import METHODS, Networks, draw

SAMPLES = Path(__file__).resolve().parents[1] / "data_samples"
SCALES = {
    "unguided": (1.0,),
    "classifier": (1.0, 8.0, 32.0),
    "classifier_free": (1.0, 4.0, 8.0),
    "clip_noisy": (1.0, 4.0, 16.0),
    "clip_clean": (1.0, 4.0),
    "self_calibrated": (1.0, 8.0, 32.0),
    "spatial": (1.0, 4.0),
    "unclip": (1.0, 2.0, 4.0),
}
SEEDS, WISHES = (0, 1, 2), 3


def main() -> None:
    """Draw all, then write both files."""
    networks = Networks(SAMPLES / "miniature")
    wishes = [f for f in (scene_factors(i, 2, two=0.0) for i in range(200)) if held_out(f)]
    wishes = wishes[:WISHES]
    rows = []
    choices = [(m, s, k) for m, scales in SCALES.items() for s in scales for k in SEEDS]
    for method, scale, seed in tqdm(choices):
        pictures = draw(networks, method, wishes, scale, [seed] * WISHES)
        rows.append(torch.cat(list(pictures), dim=2))  # [3, H, WISHES * W]
    sheet = as_uint8(torch.cat(rows, dim=1)[None])[0]
    told = {
        "methods": {METHODS[name].title: list(scales) for name, scales in SCALES.items()},
        "seeds": list(SEEDS),
        "asked": [caption(one) for one in wishes],
    }
    target = SAMPLES / "guidance"
    target.mkdir(exist_ok=True)
    Image.fromarray(sheet).save(target / "pictures.jpg", quality=75)
    text = json.dumps(told, indent=2) + "\n"
    (target / "pictures.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
