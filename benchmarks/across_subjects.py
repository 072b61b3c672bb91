"""How much data a new subject needs: ``python benchmarks/across_subjects.py SCORES``, in about two minutes.

Each of the book's four simulated subjects (``make subjects``) is the new one in turn; of the others all pictures are
known. SCORES is a JSON file that is written: by the way that the new brain is read, and by how many pictures it has
looked at, the mean over new subjects (and over the others, where one decoder of theirs is used) with a 95 % interval
over the 200 test pictures; the mean of each new subject; and p of a paired test against "own" after as many pictures.
All is linear. What is decoded is CLIP's image embedding, which is then identified among two, the thing that is there,
in the pictures with one, and the background.

The ways: "own", a decoder from the subject's own pictures; "transfer", another subject's decoder, with the responses
moved by ridge regression on shared pictures; "space", a decoder of the three others in a shared space, which the new
subject joins with shared pictures, and from the 201st picture on with its own pictures beside theirs; "tuned", the
decoder of the three others, and a ridge regression of what it leaves over in all of the new subject's pictures;
"anatomy", another's decoder, where each voxel has the mean of the four that are nearest to it in the new brain, both
brains brought to the same size, with no picture at all.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from minisd.checkpoints import load_clip
from minisd.decoding.across import Shared, fit_transfer, read_shared
from minisd.decoding.checks import make_folds
from minisd.decoding.responses import read_responses
from minisd.decoding.ridge import RidgeSettings, fit_ridge
from minisd.decoding.shared_space import Space, SpaceSettings, fit_pooled, fit_space
from minisd.decoding.targets import Seen, image_embeddings
from minisd.metrics.reconstruction import identification
from minisd.metrics.statistics import interval, paired_test
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = (1, 2, 3, 4)
OWN = (25, 50, 100, 200, 400, 800, 1850)
SHARED = (25, 50, 100, 200)
SETTINGS = RidgeSettings(alphas=tuple(float(f"1e{k}") for k in range(1, 7)))
LARGER = RidgeSettings(alphas=tuple(float(f"1e{k}") for k in range(2, 8)))
SPACE = SpaceSettings(ridge=SETTINGS)


class Task:
    """What is decoded of pictures, [N, T], and how well it was."""

    def __init__(self) -> None:
        with np.load(ROOT / "data/nsd/simulation/pictures.npz") as file:
            named, names = file["named"] > 0, [str(name) for name in file["names"]]
        self.things, self.grounds = (
            named[:, [name.startswith(kind) for name in names]]
            for kind in ("category: ", "background: ")
        )
        self.clip = load_clip(ROOT / "data_samples/miniature/clip")
        self.known: dict[bytes, np.ndarray] = {}

    def of(self, seen: Seen) -> np.ndarray:
        """Embeddings and labels, float32 [N, T]."""
        key = seen.nsd_id.tobytes()
        if key not in self.known:
            parts = (
                image_embeddings(self.clip, seen, progress=False),
                self.things[seen.nsd_id],
                self.grounds[seen.nsd_id],
            )
            self.known[key] = np.concatenate(parts, axis=1).astype(np.float32)
        return self.known[key]

    def score(self, said: Tensor, seen: Seen) -> dict[str, np.ndarray]:
        """For each picture (for the thing, each with one), whether it was right."""
        there, said = torch.from_numpy(self.of(seen)), said.float()
        k = self.things.shape[1]
        d = there.shape[1] - k - self.grounds.shape[1]
        single = there[:, d : d + k].sum(1) == 1

        def named(part: slice) -> np.ndarray:
            chosen = said[:, part].argmax(1, keepdim=True)
            return there[:, part].gather(1, chosen)[:, 0].double().numpy()

        return {
            "identification": identification(said[:, :d], there[:, :d]),
            "thing": named(slice(d, d + k))[single.numpy()],
            "background": named(slice(d + k, None)),
        }


def near(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Find the four voxels of the source that are nearest to each of the target, [V, 4]; a volume is a unit cube."""
    places = [np.argwhere(mask) / mask.shape for mask in (source, target)]
    return cKDTree(places[0]).query(places[1], k=4)[1]


def outside(known: Space, newcomer: Shared) -> np.ndarray:
    """Give the newcomer's shared pictures in the space, by a map that was fitted without them, [P, K]."""
    found = np.empty((len(newcomer), known.axes.shape[1]), np.float32)
    for fit, held in make_folds(len(newcomer), 5, None, 0):
        found[held] = known.join(newcomer[fit])(newcomer.fmri[held]).betas
    return found


def main(target: Path) -> None:
    """Measure, and write the file."""
    task, scratch = Task(), tempfile.TemporaryDirectory()
    subjects = {k: Subject(ROOT / "data/nsd", k) for k in NUMBERS}
    ready = {
        k: prepare(one, Path(scratch.name) / str(k), PrepareSettings(align=200), progress=False)
        for k, one in subjects.items()
    }
    fmri = {
        (k, part): read_responses(subjects[k], ready[k], part)
        for k in NUMBERS
        for part in ("train", "test")
    }
    align = {k: read_shared(subjects[k], ready[k]) for k in NUMBERS}
    seen = {k: Seen(subjects[k].pictures, ready[k].train.nsd_id) for k in NUMBERS}
    tested = Seen(subjects[1].pictures, ready[1].test.nsd_id)
    labels = {k: task.of(one) for k, one in seen.items()}
    aligned = task.of(Seen(subjects[1].pictures, ready[1].align.nsd_id))

    def own(k: int, n: int) -> object:
        return fit_ridge(fmri[k, "train"].betas[:n], labels[k][:n], SETTINGS, progress=False)

    whole = {k: own(k, OWN[-1]) for k in NUMBERS}
    found: dict[tuple[str, int], dict[int, list]] = defaultdict(lambda: defaultdict(list))

    def keep(way: str, n: int, new: int, said: Tensor) -> None:
        found[way, n][new].append(task.score(said, tested))

    for new in NUMBERS:
        others = [k for k in NUMBERS if k != new]
        test = fmri[new, "test"]
        for n in OWN:
            keep("own", n, new, (whole[new] if n == OWN[-1] else own(new, n)).predict(test.betas))
        for k in others:
            moved = test.betas[:, near(ready[new].mask, ready[k].mask)].mean(2)
            keep("anatomy", 0, new, whole[k].predict(moved))
            for n in SHARED:
                transfer = fit_transfer(align[new][:n], align[k][:n], SETTINGS, progress=False)
                keep("transfer", n, new, whole[k].predict(transfer(test).betas))
        known = fit_space([align[k] for k in others], SPACE)
        theirs = [known(fmri[k, "train"]) for k in others], [labels[k] for k in others]
        pooled = fit_pooled(*theirs, SETTINGS)
        for n in SHARED:
            space = known.join(align[new][:n])
            keep("space", n, new, pooled.predict(space(test).betas))
        for total in OWN[OWN.index(SHARED[-1]) + 1 :]:
            n = total - SHARED[-1]
            mine, told = fmri[new, "train"][:n], labels[new][:n]
            joint = fit_pooled([*theirs[0], space(mine)], [*theirs[1], told], SETTINGS)
            keep("space", total, new, joint.predict(space(test).betas))
            inside = np.concatenate([outside(known, align[new]), space(mine).betas])
            rows = np.concatenate([align[new].fmri.betas, mine.betas])
            left = np.concatenate([aligned, told]) - pooled.predict(inside, rescale=False).numpy()
            rest = fit_ridge(rows, left, LARGER, progress=False).predict(test.betas, rescale=False)
            base = pooled.predict(space(test).betas, rescale=False)
            keep("tuned", total, new, base + rest)
        print("subject", new, flush=True)

    pictures = {
        key: {
            kind: np.stack([np.mean([one[kind] for one in runs], 0) for runs in by_new.values()])
            for kind in ("identification", "thing", "background")
        }
        for key, by_new in found.items()
    }  # [new subjects, pictures]
    told: dict[str, list] = defaultdict(list)
    for (way, n), kinds in sorted(pictures.items()):
        row: dict[str, object] = {"pictures": n}
        for kind, values in kinds.items():
            row[kind] = [round(x, 4) for x in interval(values.mean(0))]
            row[f"{kind} by subject"] = [round(float(x), 4) for x in values.mean(1)]
            base = pictures.get(("own", n))
            if base and way != "own":
                row[f"{kind} p"] = round(paired_test(values.mean(0), base[kind].mean(0)), 4)
        told[way].append(row)
    target.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
