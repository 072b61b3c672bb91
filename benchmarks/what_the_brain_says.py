"""Which features are decoded from which region: ``python benchmarks/what_the_brain_says.py SCORES``, some ten minutes.

For each of the book's four simulated subjects (``make subjects``), from all training pictures, SCORES, a JSON file,
gets "voxels", by region, and four tables. "decoded": by region and kind of features, the correlation of decoded and
true features over the 200 test pictures, mean over features; "equal": the same from as many voxels in each region,
drawn by chance. "maps": by kind of features, how decoder weights and activation patterns from all voxels correlate over
the voxels with what the noise-free responses of the simulation give; mean over features. "banded": by region, the
median share of Gabor energy in what banded ridge explains of a voxel, the rest being CLIP's embedding.

The kinds: "z", latents; "c", text embeddings; "embedding", CLIP's of the picture; and what the scorer reads off it,
"object", "background" and "place", one feature an answer.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from minisd.checkpoints import load_clip
from minisd.decoding.encoding import fit_encoding, split_r2
from minisd.decoding.gabor import GaborSettings, gabor_energy
from minisd.decoding.patterns import activation_patterns
from minisd.decoding.responses import WHOLE, Responses, read_responses
from minisd.decoding.ridge import RidgeSettings, fit_ridge
from minisd.decoding.targets import Seen, image_embeddings, latents, text_embeddings
from minisd.metrics import Scorer
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare
from minisd.nsd.prepared import Prepared
from minisd.pipeline import StableDiffusion

ROOT = Path(__file__).resolve().parents[1]
MINIATURE = ROOT / "data_samples/miniature"
QUESTIONS = {"object": "category", "background": "background", "place": "place"}
SETTINGS = RidgeSettings(alphas=tuple(float(f"1e{k}") for k in range(1, 6)))
MIXTURES = np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9], [0.99, 0.01], [0.01, 0.99]])


def features(seen: Seen) -> dict[str, NDArray[np.float32]]:
    """All kinds of features, [P, T] each."""
    sd = StableDiffusion.from_pretrained(MINIATURE)
    scorer = Scorer.from_pretrained(MINIATURE / "scorer")
    said = scorer(seen.pictures(64))
    return {
        "z": latents(sd, seen, progress=False).reshape(len(seen), -1),
        "c": text_embeddings(sd, seen, progress=False).reshape(len(seen), -1),
        "embedding": image_embeddings(load_clip(MINIATURE / "clip"), seen, progress=False),
        **{
            kind: F.one_hot(said[name].argmax(1), said[name].shape[1]).float().numpy()
            for kind, name in QUESTIONS.items()
        },
    }


def alike(a: NDArray, b: NDArray) -> NDArray:
    """Correlations of columns; NaN where one is constant."""
    a, b = a - a.mean(0), b - b.mean(0)
    length = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return (a * b).sum(0) / np.where(length > 1e-6, length, np.nan)


def by_kind(values: NDArray, kinds: dict[str, NDArray]) -> dict[str, float]:
    """Means over the features of each kind."""
    parts = np.split(values, np.cumsum([x.shape[1] for x in kinds.values()])[:-1])
    return {
        name: round(float(np.nanmean(part)), 3) for name, part in zip(kinds, parts, strict=True)
    }


def true_patterns(
    subject: Subject, prepared: Prepared, wanted: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Change of the noise-free responses with a feature, [V, T]; in the units of z-scored betas."""
    truth = np.load(subject.root.path / "simulation" / f"subj{subject.number:02d}.npz")
    index = np.full(truth["brain"].shape, -1)
    index[truth["brain"]] = np.arange(truth["brain"].sum())
    voxels = index[prepared.mask]
    column = np.cumsum(truth["ncsnr"] > 0) - 1
    place = {picture: row for row, picture in enumerate(truth["pictures"].tolist())}
    rows = [place[picture] for picture in prepared.train.nsd_id.tolist()]
    ncsnr = truth["ncsnr"][voxels]
    signal = truth["signal"][rows][:, column[voxels]].astype(float)
    signal *= ncsnr / np.sqrt(1 + ncsnr**2)
    wanted = wanted - wanted.mean(0)
    return (signal - signal.mean(0)).T @ wanted / np.maximum((wanted**2).sum(0), 1e-6)


def decoded(
    train: Responses, test: Responses, masks: dict[str, NDArray], y: NDArray, there: NDArray, kinds
) -> dict[str, dict[str, float]]:
    """How well each kind is decoded from the voxels of each mask."""
    found = {}
    for name, mask in masks.items():
        ridge = fit_ridge(train.betas[:, mask], y, SETTINGS, progress=False)
        said = ridge.predict(test.betas[:, mask], rescale=False).numpy()
        found[name] = by_kind(alike(said, there), kinds)
    return found


def measure(number: int, scratch: Path) -> dict[str, dict]:
    """All tables of a subject."""
    subject = Subject(ROOT / "data/nsd", number)
    prepared = prepare(subject, scratch / str(number), PrepareSettings(align=200), progress=False)
    train, test = (read_responses(subject, prepared, part) for part in ("train", "test"))
    seen = {k: Seen(subject.pictures, getattr(prepared, k).nsd_id) for k in ("train", "test")}
    kinds, there = features(seen["train"]), features(seen["test"])
    y, wanted = (np.concatenate(list(one.values()), axis=1) for one in (kinds, there))

    masks = dict(train.regions)
    masks["early and ventral"] = masks["early"] | masks["ventral"]
    fewest = min(mask.sum() for mask in masks.values())
    rng = np.random.default_rng(number)
    few = {
        name: np.sort(rng.permutation(np.flatnonzero(mask))[:fewest])
        for name, mask in train.regions.items()
    }

    ridge = fit_ridge(train.betas, y, SETTINGS, progress=False)
    maps = {
        "weights": (ridge.weights * ridge.gain).numpy(),
        "patterns": activation_patterns(ridge, train.betas).numpy(),
    }
    true = true_patterns(subject, prepared, y)

    clip = load_clip(MINIATURE / "clip")
    settings = GaborSettings()
    spaces = {
        part: {
            "gabor": torch.cat([gabor_energy(x, settings) for x in one.batches(settings.size)]),
            "clip": image_embeddings(clip, one, progress=False),
        }
        for part, one in seen.items()
    }
    model = fit_encoding(spaces["train"], train.betas, mixtures=MIXTURES, progress=False)
    shares = split_r2(model.parts(spaces["test"]), test.betas)
    whole = shares.sum(0)
    told = whole > 0.05
    return {
        "voxels": {name: int(mask.sum()) for name, mask in masks.items()},
        "decoded": decoded(train, test, masks, y, wanted, kinds),
        "equal": decoded(train, test, few, y, wanted, kinds),
        "maps": {name: by_kind(alike(one, true), kinds) for name, one in maps.items()},
        "banded": {
            name: round(float(np.median((shares[0] / whole)[mask & told])), 3)
            for name, mask in train.regions.items()
            if name != WHOLE
        },
    }


def main(target: Path) -> None:
    """Measure the subjects that are not in the file yet."""
    found = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for number in (1, 2, 3, 4):
            if str(number) not in found:
                found[str(number)] = measure(number, Path(scratch))
                target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
