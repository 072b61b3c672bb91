"""What the miniature is trained on: scenes, drawn as they are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from minisd.scenes import (
    CATEGORIES,
    NEWCOMERS,
    Scene,
    SceneFactors,
    held_out,
    scene,
    scene_factors,
)


@dataclass(frozen=True)
class SceneSettings:
    """Which scenes.

    Attributes
    ----------
    count : int
        How many of the world are gone through; those that are held out are then left out.
    seed : int
        Of the world.
    two : float
        Share of scenes with two things.
    newcomers : bool
        Whether the categories that fine-tuning teaches are among them.
    held_out : bool
        Whether the combinations that the tests ask for are among them.
    """

    count: int
    seed: int = 1
    two: float = 0.3
    newcomers: bool = False
    held_out: bool = False


class Scenes(Dataset):
    """Scenes by index; each is the same whenever it is asked for."""

    def __init__(self, settings: SceneSettings) -> None:
        self.world = {
            "seed": settings.seed,
            "two": settings.two,
            "categories": CATEGORIES + NEWCOMERS if settings.newcomers else CATEGORIES,
        }
        self.settings = settings
        self.indices = [
            index
            for index in range(settings.count)
            if self.allows(scene_factors(index, **self.world))
        ]

    def allows(self, factors: SceneFactors) -> bool:
        """Whether such a scene may be trained on."""
        known = all(thing.category in self.world["categories"] for thing in factors.things)
        return known and (self.settings.held_out or not held_out(factors))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> Scene:
        return scene(self.indices[item], **self.world)


def pictures(scenes: list[Scene]) -> Tensor:
    """Stack pictures: uint8, [B, 3, 64, 64]. Networks take `as_input` of it."""
    return torch.stack([torch.from_numpy(scene.image) for scene in scenes]).permute(0, 3, 1, 2)


def as_input(pictures: Tensor) -> Tensor:
    """Map bytes to [-1, 1]."""
    return pictures.float() / 127.5 - 1
