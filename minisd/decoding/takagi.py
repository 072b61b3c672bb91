"""Takagi and Nishimoto 2023 (CVPR; bioRxiv 2022.11.18.517004): the first reconstruction by Stable Diffusion.

A latent z is decoded from early visual cortex, a text embedding c from the ventral stream. z is noised and denoised
under c: image to image, with both of its inputs read from the brain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from minisd.decoding.reconstructor import Reconstructor
from minisd.decoding.ridge import RidgeSettings
from minisd.decoding.selected import SelectedSettings
from minisd.decoding.targets import Features, Seen, digest, latents, text_embeddings
from minisd.pipeline import StableDiffusion


@dataclass(frozen=True)
class TakagiSettings:
    """The paper's, but for the ridge.

    Attributes
    ----------
    steps : int
        Of DDIM.
    strength : float
        Share of the steps that is walked; 1 makes nothing of z.
    guidance_scale : float
    contrast : float
        Of c; see `Reconstructor`. 1 is the paper's.
    ridge : RidgeSettings or SelectedSettings
    batch_size : int
        Pictures that are drawn at once.
    """

    steps: int = 50
    strength: float = 0.8
    guidance_scale: float = 5.0
    contrast: float = 1.0
    ridge: RidgeSettings | SelectedSettings = field(default_factory=RidgeSettings)
    batch_size: int = 16


class TakagiNishimoto(Reconstructor):
    """z from early visual cortex, c from the ventral stream, and image to image.

    The paper passes the pictures through 320 pixels and through the autoencoder twice before z is taken; here z is the
    latent of the picture itself.

    Parameters
    ----------
    sd : StableDiffusion
    settings : TakagiSettings
    """

    regions: ClassVar = {"z": "early", "c": "ventral"}

    def __init__(self, sd: StableDiffusion, settings: TakagiSettings | None = None) -> None:
        super().__init__()
        self.sd, self.settings = sd, settings or TakagiSettings()
        self.ridge = self.settings.ridge
        self.contrast = {"c": self.settings.contrast}

    @property
    def checkpoints(self) -> dict[str, str]:
        """Of the autoencoder and the text encoder."""
        return {"z": digest(self.sd.vae), "c": digest(self.sd.text_encoder)}

    def features(self, seen: Seen, progress: bool = True) -> dict[str, Features]:
        """Compute z, [P, 4, h, w], and c, [P, M, C]."""
        return {
            "z": latents(self.sd, seen, progress=progress),
            "c": text_embeddings(self.sd, seen, progress=progress),
        }

    def draw(
        self, features: Mapping[str, Tensor], seeds: Sequence[int], progress: bool = True
    ) -> Tensor:
        """Image to image from z under c."""
        return self.sd.image_to_image(
            features["c"],
            features["z"],
            strength=self.settings.strength,
            steps=self.settings.steps,
            guidance_scale=self.settings.guidance_scale,
            batch_size=self.settings.batch_size,
            seed=list(seeds),
            sampler="ddim",
            output="tensor",
            progress=progress,
        )
