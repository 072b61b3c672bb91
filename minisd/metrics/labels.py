"""The questions that can be asked about a scene, and their answers.

Of two things, the first is the one further left, or the upper one: a picture does not tell which one its caption names
first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from minisd.scenes import (
    ACCESSORIES,
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    NEWCOMERS,
    PLACES,
    SIZES,
    SceneFactors,
)

THING = {
    "category": CATEGORIES + NEWCOMERS,
    "colour": COLOURS,
    "size": SIZES,
    "place": PLACES,
    "accessory": ACCESSORIES,
}
LABELS: dict[str, tuple[str, ...]] = {
    "background": BACKGROUNDS,
    "relation": ("none", "beside", "above", "on"),
    **THING,
    **{f"other_{name}": words for name, words in THING.items()},
}
"""Answers by question. Those about the other thing have none where there is one thing, which the relation tells."""


def labels_of(factors: SceneFactors) -> dict[str, str]:
    """Answers to all questions that a scene has an answer to."""
    things, relation = factors.things, factors.relation or "none"
    if relation == "right of":
        things = things[::-1]
    if relation in ("left of", "right of"):
        relation = "beside"
    found = {"background": factors.background, "relation": relation}
    for prefix, thing in zip(("", "other_"), things, strict=False):
        found |= {f"{prefix}{name}": getattr(thing, name) for name in THING}
    return found


def answers(scenes: Sequence[SceneFactors]) -> dict[str, Tensor]:
    """Answers by their places in `LABELS`, [B] each, int64; -100 where a scene has none."""
    told = [labels_of(factors) for factors in scenes]
    return {
        name: torch.tensor([words.index(one[name]) if name in one else -100 for one in told])
        for name, words in LABELS.items()
    }
