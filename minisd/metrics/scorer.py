"""What a picture of the scenes' world shows, read off by a network, and held against what it was to show.

In the manner of GenEval (Ghosh et al. 2023, arXiv 2310.11513), with a classifier of scenes in place of a detector.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from minisd.checkpoints.files import pick_weights, read_json, read_state_dict
from minisd.checkpoints.weights import Unfilled, load_into
from minisd.metrics.labels import labels_of
from minisd.models.classifier import Classifier, ClassifierConfig
from minisd.scenes import SceneFactors

BATCH = 128


class Scorer:
    """Reads background, things, colours, sizes, places, accessories and the relation off 64x64 pictures."""

    def __init__(self, network: Classifier) -> None:
        self.network = network.eval()

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> Scorer:
        """Load ``config.json`` and weights from a folder.

        Raises
        ------
        ValueError
            If a file is missing, damaged, or does not fit.
        """
        return cls(load_classifier(folder, device))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Give the logits of every question, [B, answers], for pictures [B, 3, 64, 64] in [-1, 1]."""
        parts = [self.network(part) for part in self._parts(images)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Give features for `frechet_distance`, [B, D]."""
        return torch.cat([self.network.features(part) for part in self._parts(images)])

    def read(self, images: Tensor) -> list[dict[str, str]]:
        """Say in words what each picture shows; of the other thing only if there seem to be two."""
        labels = self.network.config.labels
        chosen = {name: logits.argmax(dim=1).tolist() for name, logits in self(images).items()}
        found = []
        for i in range(len(images)):
            one = {name: labels[name][chosen[name][i]] for name in labels}
            alone = one["relation"] == "none"
            found.append({k: v for k, v in one.items() if not (alone and k.startswith("other_"))})
        return found

    def _parts(self, images: Tensor) -> tuple[Tensor, ...]:
        device = next(self.network.parameters()).device
        return images.to(device, torch.float32).clamp(-1, 1).split(BATCH)


def load_classifier(folder: str | Path, device: str | torch.device = "cpu") -> Classifier:
    """Load a `Classifier` from ``config.json`` and ``diffusion_pytorch_model.safetensors``."""
    folder = Path(folder).expanduser()
    with torch.device("meta"), Unfilled():
        network = Classifier(ClassifierConfig.from_json(read_json(folder / "config.json")))
    names = [path.name for path in folder.iterdir()]
    state = read_state_dict(folder / pick_weights(names, str(folder))[0])
    load_into(network, state, str(folder), device=device)
    return network.eval()


GROUPS = {
    "object": ("category", "other_category"),
    "colour": ("colour", "other_colour"),
    "background": ("background",),
    "size": ("size", "other_size"),
    "place": ("place", "other_place"),
    "accessory": ("accessory", "other_accessory"),
    "relation": ("relation", "category", "other_category"),
}
"""What has to be right for a factor to be right: of every thing, and for the relation the things too."""


def score(read: Sequence[dict[str, str]], wanted: Sequence[SceneFactors]) -> dict[str, float]:
    """Shares of pictures that show what they were to show.

    Parameters
    ----------
    read : sequence of dict
        Of `Scorer.read`.
    wanted : sequence of SceneFactors
        As many.

    Returns
    -------
    dict of str to float
        For each of `GROUPS`, and for ``"all"`` of them together. Where the number of things is wrong, only the
        background can be right. ``"relation"`` is of scenes with two things, and NaN if there are none.

    Raises
    ------
    ValueError
        If they are not as many, or none.
    """
    if len(read) != len(wanted) or not wanted:
        raise ValueError(
            f"read and wanted have {len(read)} and {len(wanted)} entries; they must be as many"
        )
    told = [labels_of(factors) for factors in wanted]
    right = {
        name: [
            all(one.get(question) == truth.get(question) for question in group)
            for one, truth in zip(read, told, strict=True)
        ]
        for name, group in GROUPS.items()
    }
    right["all"] = [all(row) for row in zip(*right.values(), strict=True)]
    pairs = [i for i, factors in enumerate(wanted) if len(factors.things) == 2]
    right["relation"] = [right["relation"][i] for i in pairs]
    return {name: sum(row) / len(row) if row else float("nan") for name, row in right.items()}
