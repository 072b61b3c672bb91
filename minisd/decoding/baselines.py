"""What a reconstruction has to be better than: pictures that say nothing, or only half, of what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from minisd.decoding.reconstructor import Reconstructor
from minisd.decoding.ridge import RidgeSettings
from minisd.decoding.selected import SelectedSettings
from minisd.decoding.targets import (
    Features,
    Seen,
    digest,
    latents,
    text_embeddings,
)
from minisd.pipeline import StableDiffusion


class Blur(Reconstructor):
    """The decoded latent, as the autoencoder shows it: right in its colours and its layout, and of nothing.

    Parameters
    ----------
    sd : StableDiffusion
    ridge : RidgeSettings or SelectedSettings
    """

    regions: ClassVar = {"z": "all"}

    def __init__(
        self, sd: StableDiffusion, ridge: RidgeSettings | SelectedSettings | None = None
    ) -> None:
        super().__init__()
        self.sd, self.ridge = sd, ridge or RidgeSettings()

    @property
    def checkpoint(self) -> str:
        """Of the autoencoder."""
        return digest(self.sd.vae)

    def features(self, seen: Seen, progress: bool = True) -> dict[str, Features]:
        """Compute z, [P, 4, h, w]."""
        return {"z": latents(self.sd, seen, progress=progress)}

    def draw(self, features: Mapping[str, Tensor], seeds: Sequence[int]) -> Tensor:
        """Decode; chance has no part in it."""
        z = features["z"].to(self.sd.device)
        return torch.cat([self.sd.decode(part) for part in z.split(16)]).clamp(-1, 1)


class TextOnly(Reconstructor):
    """The decoded text embedding, and text to image: what it was, and not where.

    Parameters
    ----------
    sd : StableDiffusion
    steps : int
        Of DDIM.
    guidance_scale : float
    ridge : RidgeSettings or SelectedSettings
    """

    regions: ClassVar = {"c": "all"}

    def __init__(
        self,
        sd: StableDiffusion,
        steps: int = 50,
        guidance_scale: float = 5.0,
        ridge: RidgeSettings | SelectedSettings | None = None,
    ) -> None:
        super().__init__()
        self.sd, self.steps, self.guidance_scale = sd, steps, guidance_scale
        self.ridge = ridge or RidgeSettings()

    @property
    def checkpoint(self) -> str:
        """Of the text encoder."""
        return digest(self.sd.text_encoder)

    def features(self, seen: Seen, progress: bool = True) -> dict[str, Features]:
        """Compute c, [P, M, C]."""
        return {"c": text_embeddings(self.sd, seen, progress=progress)}

    def draw(self, features: Mapping[str, Tensor], seeds: Sequence[int]) -> Tensor:
        """Text to image under c."""
        return self.sd.text_to_image(
            features["c"],
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            seed=list(seeds),
            batch_size=16,
            sampler="ddim",
            output="tensor",
        )


def mean_picture(seen: Seen, size: int, count: int) -> Tensor:
    """Give the mean of the training pictures, again and again: [count, 3, size, size]."""
    total = sum(x.double().sum(0) for x in seen.batches(size))
    return (total / len(seen)).float().expand(count, -1, -1, -1)


def random_pictures(seen: Seen, size: int, count: int, seed: int = 0) -> Tensor:
    """Give training pictures by chance, [count, 3, size, size]: sharp, and of something else."""
    rows = np.random.default_rng(seed).integers(len(seen), size=count)
    return seen[rows].pictures(size)
