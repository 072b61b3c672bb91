"""Training the autoencoder: reconstruction and a little of the divergence (Kingma and Welling 2014, arXiv 1312.6114).

Stable Diffusion's was trained with a perceptual and an adversarial loss beside these (Rombach et al. 2022, section G).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minisd.checkpoints.saving import save_network
from minisd.diffusion import ImageNoise
from minisd.models.vae import AutoencoderKL, VAEConfig
from minisd.scenes import Scene
from minisd.training.data import Scenes, SceneSettings, as_input, pictures
from minisd.training.loop import Task


@dataclass(frozen=True)
class AutoencoderLoss:
    """What is minimised: mean squared error + kl * divergence, both for each number of what they are about.

    Attributes
    ----------
    kl : float
        Small: it keeps the latents near 0 without costing sharpness.
    """

    kl: float = 1e-5


class AutoencoderTask(Task):
    """Learn to bring pictures back."""

    def __init__(
        self, output: Path, model: VAEConfig, data: SceneSettings, loss: AutoencoderLoss
    ) -> None:
        super().__init__()
        self.network = AutoencoderKL(model)
        self.data = Scenes(data)
        self.loss = loss

    def collate(self, items: list[Scene]) -> tuple[Tensor, ...]:
        """Pictures alone, [B, 3, H, W]."""
        return (pictures(items),)

    def forward(self, batch: tuple[Tensor, ...], noise: ImageNoise) -> dict[str, Tensor]:
        """Loss, and PSNR in dB."""
        x = as_input(batch[0])
        latent = self.network.encode(x)
        error = ((self.network.decode(latent.sample(noise(latent.mean))) - x) ** 2).mean()
        kl = latent.kl().mean() / latent.mean[0].numel()
        return {"loss": error + self.loss.kl * kl, "psnr": 10 * (4 / error).log10(), "kl": kl}

    def sample(self, network: nn.Module) -> Tensor:
        """Eight pictures, each with what comes back beside it."""
        x = as_input(self.collate([self.data[i] for i in range(8)])[0]).to(_device(network))
        back = network.decode(network.encode(x).mean)
        return torch.stack([x, back], dim=1).flatten(0, 1)

    def export(self, network: nn.Module, output: Path) -> None:
        """Write ``vae/``, with the factor that gives the latents of these scenes a variance of 1."""
        total, count = 0.0, min(1024, len(self.data))
        for start in range(0, count, 64):
            items = [self.data[i] for i in range(start, min(start + 64, count))]
            z = network.encode(as_input(self.collate(items)[0]).to(_device(network)))
            total += float((z.mean**2 + z.std**2).sum())
        scale = (count * z.mean[0].numel() / total) ** 0.5
        network.config = replace(network.config, scaling_factor=round(scale, 5))
        save_network("vae", network, output, torch.float16)


def _device(network: nn.Module) -> Any:
    return next(network.parameters()).device
