"""CLIP's image embedding, decoded and drawn by unCLIP's decoder: the family of Brain-Diffuser and MindEye.

Ozcelik and VanRullen 2023 (arXiv 2303.05334) decode an embedding of the picture and begin at a decoded blur of it;
Scotti et al. 2023 (arXiv 2305.18274) do so with a diffusion prior in between. Here a ridge regression decodes both, and
the decoder is that of `minisd train unclip`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from minisd.decoding.reconstructor import Reconstructor
from minisd.decoding.ridge import RidgeSettings
from minisd.decoding.selected import SelectedSettings
from minisd.decoding.targets import Features, Seen, digest, image_digest, image_embeddings, latents
from minisd.models.contrastive import CLIP
from minisd.models.image_condition import ImageCondition
from minisd.models.prior import to_unit_variance
from minisd.pipeline import StableDiffusion


@dataclass(frozen=True)
class UnCLIPSettings:
    """How the pictures are drawn.

    Attributes
    ----------
    steps : int
        Of DDIM.
    strength : float
        Share of the steps that is walked from the decoded latent on; 1 leaves the latent out.
    guidance_scale : float
    contrast : float
        Of the embedding; see `Reconstructor`.
    ridge : RidgeSettings or SelectedSettings
    batch_size : int
        Pictures that are drawn at once.
    """

    steps: int = 50
    strength: float = 0.8
    guidance_scale: float = 3.0
    contrast: float = 1.0
    ridge: RidgeSettings | SelectedSettings = field(default_factory=RidgeSettings)
    batch_size: int = 16


class UnCLIP(Reconstructor):
    """z and CLIP's embedding of the picture, and image to image under the embedding.

    Parameters
    ----------
    sd : StableDiffusion
        With a U-Net that reads embeddings, such as `minisd.steering.Networks.unclip`.
    condition : ImageCondition
        What puts them into contexts.
    clip : CLIP
    settings : UnCLIPSettings
    """

    def __init__(
        self,
        sd: StableDiffusion,
        condition: ImageCondition,
        clip: CLIP,
        settings: UnCLIPSettings | None = None,
    ) -> None:
        super().__init__()
        self.sd, self.condition, self.clip = sd, condition, clip
        self.settings = settings or UnCLIPSettings()
        self.ridge = self.settings.ridge
        self.contrast = {"embedding": self.settings.contrast}
        self.regions = {"z": "all", "embedding": "all"}

    @property
    def checkpoints(self) -> dict[str, str]:
        """Of the autoencoder and CLIP's image tower."""
        return {"z": digest(self.sd.vae), "embedding": image_digest(self.clip)}

    def features(self, seen: Seen, progress: bool = True) -> dict[str, Features]:
        """Compute z, [P, 4, h, w], and the embedding, [P, D]."""
        return {
            "z": latents(self.sd, seen, progress=progress),
            "embedding": image_embeddings(self.clip, seen, progress=progress),
        }

    def draw(
        self, features: Mapping[str, Tensor], seeds: Sequence[int], progress: bool = True
    ) -> Tensor:
        """Image to image from z under the embedding."""
        null = self.sd.encode_text([""]).expand(len(seeds), -1, -1)
        embedding = to_unit_variance(features["embedding"]).to(null)
        return self.sd.image_to_image(
            self.condition(null, embedding),
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
