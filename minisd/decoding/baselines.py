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
    at_once,
    digest,
    latents,
    picture_size,
    text_embeddings,
)
from minisd.extras import require
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
    def checkpoints(self) -> dict[str, str]:
        """Of the autoencoder."""
        return {"z": digest(self.sd.vae)}

    def features(self, seen: Seen, progress: bool = True) -> dict[str, Features]:
        """Compute z, [P, 4, h, w]."""
        return {"z": latents(self.sd, seen, progress=progress)}

    def draw(
        self, features: Mapping[str, Tensor], seeds: Sequence[int], progress: bool = True
    ) -> Tensor:
        """Decode; chance has no part in it."""
        z = features["z"].to(self.sd.device)
        parts = z.split(at_once(picture_size(self.sd)))
        return torch.cat([self.sd.decode(part) for part in parts]).clamp(-1, 1)


class TextOnly(Reconstructor):
    """The decoded text embedding, and text to image: what it was, and not where.

    Parameters
    ----------
    sd : StableDiffusion
    steps : int
        Of DDIM.
    guidance_scale : float
    contrast : float
        Of c; see `Reconstructor`.
    ridge : RidgeSettings or SelectedSettings
    tokens : int, optional
        Of c; all if None.
    """

    regions: ClassVar = {"c": "all"}

    def __init__(
        self,
        sd: StableDiffusion,
        steps: int = 50,
        guidance_scale: float = 5.0,
        contrast: float = 1.0,
        ridge: RidgeSettings | SelectedSettings | None = None,
        tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.sd, self.steps, self.guidance_scale = sd, steps, guidance_scale
        self.contrast = {"c": contrast}
        self.ridge = ridge or RidgeSettings()

    @property
    def checkpoints(self) -> dict[str, str]:
        """Of the text encoder."""
        return {"c": digest(self.sd.text_encoder)}

    def features(self, seen: Seen, progress: bool = True) -> dict[str, Features]:
        """Compute c, [P, M, C]."""
        return {"c": text_embeddings(self.sd, seen, self.tokens, progress=progress)}

    def draw(
        self, features: Mapping[str, Tensor], seeds: Sequence[int], progress: bool = True
    ) -> Tensor:
        """Text to image under c."""
        c = features["c"].to(self.sd.device)
        null = self.sd.encode_text([""])[:, : c.shape[1]].expand_as(c)
        return self.sd.text_to_image(
            c,
            negative_prompt=null,
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            seed=list(seeds),
            batch_size=at_once(picture_size(self.sd)),
            sampler="ddim",
            output="tensor",
            progress=progress,
        )


def mean_picture(seen: Seen, size: int, count: int) -> Tensor:
    """Give the mean of the training pictures, again and again: [count, 3, size, size]."""
    total = sum(x.double().sum(0) for x in seen.batches(size))
    return (total / len(seen)).float().expand(count, -1, -1, -1)


def random_pictures(seen: Seen, size: int, count: int, seed: int = 0) -> Tensor:
    """Give training pictures by chance, [count, 3, size, size]: sharp, and of something else."""
    rows = np.random.default_rng(seed).integers(len(seen), size=count)
    return seen[rows].pictures(size)


def blurred_truth(seen: Seen, size: int, width: float = 0.1) -> Tensor:
    """Blur the very pictures, by a Gaussian whose standard deviation is a share of the picture's width.

    This is no system: it has seen what it is to reconstruct.
    """
    filters = require("scipy.ndimage", "brain")
    sigma = (0, 0, width * size, width * size)
    return torch.from_numpy(filters.gaussian_filter(seen.pictures(size).numpy(), sigma))
