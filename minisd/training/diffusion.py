"""Training the U-Net: predict the noise, at a random time, with the text or, now and then, without.

Ho et al. 2020 (arXiv 2006.11239, algorithm 1), on latents as Rombach et al. 2022 (arXiv 2112.10752, equation 3); the
text is dropped as in Ho and Salimans 2022 (arXiv 2207.12598, algorithm 1), the times weighted as in Hang et al. 2023
(arXiv 2303.09556).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from minisd.checkpoints.loading import SCHEDULER, load_network, read_tokenizer
from minisd.checkpoints.saving import save_network, save_rest
from minisd.checkpoints.scheduler import SchedulerSettings
from minisd.diffusion import ImageNoise, simple_loss
from minisd.models.unet import UNet, UNetConfig
from minisd.pipeline import StableDiffusion
from minisd.training.cache import encode
from minisd.training.data import Scenes, SceneSettings
from minisd.training.loop import Task

MINIATURE = SCHEDULER | {"_class_name": "DPMSolverMultistepScheduler"}
"""Stable Diffusion's noise, and a sampler for few steps."""
SCHEDULE = SchedulerSettings.from_json(MINIATURE).schedule


@dataclass(frozen=True)
class DiffusionLoss:
    """What the U-Net is asked.

    Attributes
    ----------
    p_uncond : float
        Share of rows that get the empty text.
    gamma : float
        The signal-to-noise ratio from which on a time counts less: its squared error is multiplied by
        min(SNR, gamma) / SNR (Hang et al. 2023, equation 5). Infinite: every time counts the same.

    Raises
    ------
    ValueError
        If one is out of range.
    """

    p_uncond: float = 0.1
    gamma: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.p_uncond < 1:
            raise ValueError(f"p_uncond is {self.p_uncond}; it must be at least 0 and below 1")
        if not self.gamma > 0:
            raise ValueError(f"gamma is {self.gamma}; it must be above 0")


class CaptionedScenes(Sequence):
    """Scenes as `encode` takes them."""

    def __init__(self, scenes: Scenes) -> None:
        self.scenes = scenes

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, item: int) -> tuple[Tensor, Sequence[str]]:
        scene = self.scenes[item]
        return torch.from_numpy(scene.image).permute(2, 0, 1), scene.captions


class DiffusionTask(Task):
    """Learn to see the noise in a latent."""

    def __init__(
        self, output: Path, model: UNetConfig, data: SceneSettings, loss: DiffusionLoss
    ) -> None:
        super().__init__()
        self.network, self.loss = UNet(model), loss
        self.tokenizer = read_tokenizer(output / "tokenizer")
        self.text_encoder = load_network("text_encoder", output).requires_grad_(False)
        self.vae = load_network("vae", output).requires_grad_(False)
        files = [*(output / "vae").glob("*"), *(output / "text_encoder").glob("*")]
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)]
        scenes = CaptionedScenes(Scenes(data))
        self.prompts = [scenes[i][1][0] for i in range(16)]
        self.data = encode(
            scenes,
            self.tokenizer,
            self.text_encoder,
            self.vae,
            output / "training" / "encoded",
            {"data": asdict(data), "networks": digests},
        )
        self.register_buffer("null", self._embed([""]), persistent=False)  # [1, M, D]

    def _embed(self, texts: list[str]) -> Tensor:
        with torch.no_grad():
            return self.text_encoder(self.tokenizer(texts)).last_hidden_state

    def forward(self, batch: tuple[Tensor, ...], noise: ImageNoise) -> dict[str, Tensor]:
        """Weighted squared error of the predicted noise; ``mse`` is the same without weights."""
        latents, texts = (part.float() for part in batch)
        mean, std = latents.unbind(1)
        when, drop, which = noise.uniform((3,)).unbind(1)  # each [B]
        t = (when * SCHEDULE.T).floor().to(mean.device)
        text = texts[torch.arange(len(texts)), (which * texts.shape[1]).long()]
        dropped = (drop < self.loss.p_uncond).to(mean.device)
        text = torch.where(dropped[:, None, None], self.null, text)
        z = mean + std * noise(mean)
        eps = noise(z)
        error = simple_loss(lambda x, t: self.network(x, t, text), z, t, eps, SCHEDULE)  # [B]
        snr = SCHEDULE.log_snr_at(t).exp()
        weight = (snr.clamp(max=self.loss.gamma) / snr).to(error)
        return {"loss": (weight * error).mean(), "mse": error.mean()}

    def sample(self, network: nn.Module) -> Tensor:
        """Sixteen pictures of sixteen captions."""
        parts = (self.tokenizer, self.text_encoder, network, self.vae, MINIATURE)
        return StableDiffusion(*parts).text_to_image(
            self.prompts, steps=25, guidance_scale=4.0, output="tensor", progress=False
        )

    def export(self, network: nn.Module, output: Path) -> None:
        """Write ``unet/``, and what makes the folder a whole checkpoint."""
        save_network("unet", network, output, torch.float16)
        save_rest(self.tokenizer, MINIATURE, output)
