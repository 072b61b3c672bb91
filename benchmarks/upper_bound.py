"""Where the bottleneck is: ``python benchmarks/upper_bound.py LEADERBOARD SCORES``, some ten minutes.

LEADERBOARD is the folder of the run whose commands stand in ``data_samples/decoding/README.md``; its decoders are used.
For each of the book's four simulated subjects (``make subjects``), SCORES, a JSON file, gets

- "crossed": what stage 1 draws of the 100 test pictures of stage 2 if latent z or text embedding c is the true one;
- "read off": shares of the 200 test pictures of which a linear read-off, ridge regression from the same responses to
  the scorer's answers, names object, place and background, by the number of training pictures; "read off, few" is of
  the 100 and from all training pictures;
- "features": correlation of decoded and true features over the test pictures, mean over features, likewise;
- "chance": how often a random training picture gives the right answer.

Object and place are of the test pictures that show one thing.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from minisd.decoding.leaderboard import field_measures
from minisd.decoding.mind_diffuser import MindDiffuser
from minisd.decoding.responses import Responses, read_responses
from minisd.decoding.ridge import RidgeSettings, fit_ridge
from minisd.decoding.systems import RECIPES, Models
from minisd.decoding.targets import Seen, image_embeddings, latents, text_embeddings
from minisd.metrics import Scorer
from minisd.metrics.extractors import of_layer
from minisd.metrics.recovered import recovered
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare

ROOT = Path(__file__).resolve().parents[1]
MINIATURE = ROOT / "data_samples/miniature"
QUESTIONS = {"object": "category", "place": "place", "background": "background"}
SETTINGS = RidgeSettings(alphas=tuple(float(f"1e{k}") for k in range(1, 6)))
COUNTS = (200, 400, 800, 1200, 1850)
FEW = 100


def answers(scorer: Scorer, seen: Seen) -> tuple[dict[str, Tensor], NDArray[np.bool_]]:
    """Give the scorer's answers, a number [P] for each question, and which pictures show one thing."""
    told = scorer(seen.pictures(64))
    alone = (told["relation"].argmax(1) == 0).numpy()
    return {name: told[question].argmax(1) for name, question in QUESTIONS.items()}, alone


def right(said: dict[str, Tensor], there: dict[str, Tensor], alone: NDArray) -> dict[str, float]:
    """Share of right answers."""
    found = {}
    for name, answer in there.items():
        same = (said[name] == answer).float().numpy()
        found[name] = round(float((same if name == "background" else same[alone]).mean()), 3)
    return found


def alike(a: NDArray, b: NDArray) -> float:
    """Correlation of columns, mean over them."""
    a, b = a - a.mean(0), b - b.mean(0)
    length = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return round(float(np.mean((a * b).sum(0)[length > 1e-6] / length[length > 1e-6])), 3)


def crossed(
    system: MindDiffuser, test: Responses, truth: Seen, scorer: Scorer
) -> dict[str, dict[str, float]]:
    """Measure what is drawn of one decoded and one true feature."""
    measures = field_measures(scorer.features, None, of_layer(scorer.network, "blocks.2"))
    seen = truth.pictures(64)
    decoded = system.decode(test)
    true = {
        "z": torch.from_numpy(latents(system.sd, truth, progress=False)),
        "c": torch.from_numpy(text_embeddings(system.sd, truth, progress=False)),
    }
    found = {}
    for name in ("z", "c"):
        x = system.draw({**decoded, name: true[name]}, test.seeds(0))
        scores = {**measures(x, seen), **recovered(scorer, x, seen)}
        found[f"true {name}"] = {
            key: round(float(np.nanmean(values)), 3) for key, values in scores.items()
        }
    return found


def by_chance(
    told: dict[str, Tensor], there: dict[str, Tensor], alone: NDArray
) -> dict[str, float]:
    """Share of training pictures that give the right answer, mean over test pictures."""
    found = {}
    for name, answer in there.items():
        same = (told[name][:, None] == answer[None]).float().mean(0).numpy()
        found[name] = round(float((same if name == "background" else same[alone]).mean()), 3)
    return found


def measure(leaderboard: Path, number: int, scratch: Path) -> dict[str, dict]:
    """All tables of a subject."""
    subject = Subject(ROOT / "data/nsd", number)
    prepared = prepare(subject, scratch / str(number), PrepareSettings(align=200), progress=False)
    train, test = (read_responses(subject, prepared, part) for part in ("train", "test"))
    seen = {k: Seen(subject.pictures, getattr(prepared, k).nsd_id) for k in ("train", "test")}
    scorer = Scorer.from_pretrained(MINIATURE / "scorer")
    models = Models(MINIATURE, MINIATURE / "clip")
    sizes = {name: len(scorer.network.config.labels[q]) for name, q in QUESTIONS.items()}

    told, _ = answers(scorer, seen["train"])
    there, alone = answers(scorer, seen["test"])
    kinds = {
        part: {
            "z": latents(models.sd, one, progress=False).reshape(len(one), -1),
            "embedding": image_embeddings(models.clip, one, progress=False),
            **{k: F.one_hot(v, sizes[k]).float().numpy() for k, v in answer.items()},
        }
        for part, one, answer in (("train", seen["train"], told), ("test", seen["test"], there))
    }
    wanted = np.concatenate(list(kinds["train"].values()), axis=1)
    ends = np.cumsum([values.shape[1] for values in kinds["train"].values()])[:-1]
    few = np.linspace(0, len(test) - 1, FEW).round().astype(int)
    order = np.random.default_rng(0).permutation(len(train))
    tables: dict[str, dict] = {"read off": {}, "features": {}}
    for count in COUNTS:
        rows = np.sort(order[:count])
        ridge = fit_ridge(train.betas[rows], wanted[rows], SETTINGS, progress=False)
        parts = np.split(ridge.predict(test.betas, rescale=False).numpy(), ends, axis=1)
        said = dict(zip(kinds["train"], parts, strict=True))
        named = {name: torch.from_numpy(said[name].argmax(1)) for name in QUESTIONS}
        tables["read off"][str(count)] = right(named, there, alone)
        tables["read off, few"] = right(
            *({k: v[few] for k, v in x.items()} for x in (named, there)), alone[few]
        )
        tables["features"][str(count)] = {
            name: alike(said[name], kinds["test"][name]) for name in ("z", "embedding")
        }
    tables["chance"] = by_chance(told, there, alone)

    settings = RECIPES["miniature"].mind_diffuser
    system = MindDiffuser(models.quick, models.clip, replace(settings, iterations=0))
    system.load(leaderboard / f"subj{number:02}" / "decoders" / "all")
    tables["crossed"] = crossed(system, test[few], seen["test"][few], scorer)
    return tables


def main(leaderboard: Path, target: Path) -> None:
    """Measure the subjects that are not in the file yet."""
    found = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for number in (1, 2, 3, 4):
            if str(number) not in found:
                found[str(number)] = measure(leaderboard, number, Path(scratch))
                target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:3]))
