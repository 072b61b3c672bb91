"""MindDiffuser (Lu et al. 2023, arXiv 2308.04249): reconstruction in two stages.

Stage 1 is image to image: a latent z and a text embedding c are decoded, z is noised and denoised under c. Stage 2 then
moves z and c until CLIP's view of the picture is the one that was decoded: its features of several layers, which know
where things are, are compared with decoded ones, and the difference goes back through the decoder and the denoiser.

Paper and published code differ; both are here by name, and the defaults say why. L layers, U units of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm

from minisd.decoding.reconstructor import Reconstructor
from minisd.decoding.ridge import RidgeSettings
from minisd.decoding.selected import SelectedSettings
from minisd.decoding.targets import (
    Features,
    Seen,
    digest,
    image_digest,
    latents,
    text_embeddings,
    view_features,
)
from minisd.decoding.view import ViewSettings, best_units, expected_loss, view_loss
from minisd.diffusion import Denoiser, ImageNoise, sample
from minisd.models.contrastive import CLIP
from minisd.pipeline import StableDiffusion
from minisd.settings import steps_walked

Moved = Literal["z and c", "z"]
Without = Literal["", "z", "c"]
Stop = Literal["expected", "never"]


@dataclass(frozen=True)
class MindDiffuserSettings:
    """Of both stages.

    Attributes
    ----------
    steps : int
        Of DDIM, in stage 1 and for the last picture.
    strength : float
        Share of the steps that is walked: the code noises to step 37 of 50. (It denoises from step 35 then, so that a
        little noise is left; here it is denoised from where it was noised to.)
    guidance_scale : float
    tokens : int, optional
        Of the text embedding that is decoded; the code's 15 of 77 hold all but the longest captions. None is all.
    contrast : float
        Of c; see `Reconstructor`. 1 is the paper's.
    without : {"", "z", "c"}
        What is left out, to see what it is for: without z the walk begins at noise alone, with all of its steps;
        without c it is under the empty text.
    view : ViewSettings
        What of CLIP's view is compared.
    moved : {"z and c", "z"}
        The paper moves both, the published code z alone.
    candidates : int
        Noises that stage 2 chooses among before it moves anything: it goes on from the one whose picture fits the
        decoded features best, as in Kneeland et al. 2023 (arXiv 2306.00927). 1 is the paper's and its code's.
    iterations : int
        At most so many; 0 leaves stage 2 out. The iterate that fits the decoded features best is kept: nothing of the
        truth is known.
    stop : {"expected", "never"}
        A picture is moved no more once it fits the decoded features as well as the true picture can be expected to;
        see `minisd.decoding.view.expected_loss`. The published code never stops, the paper's figures stop picture by
        picture.
    inner_steps : int
        Of DDIM in each iteration, before strength is taken. Fewer than `steps` are a coarser picture of the same walk.
    carried : int, optional
        How many of the last inner steps pass the gradient through the U-Net; in those before, the noise that it
        predicts is taken as it is. None is all.
    learning_rate, decay : float
        Of Adam; the rate is multiplied by the decay after each iteration.
    ridge : RidgeSettings or SelectedSettings
    batch_size : int
        Pictures that are drawn and moved at once.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    steps: int = 50
    strength: float = 0.74
    guidance_scale: float = 5.0
    tokens: int | None = 15
    contrast: float = 1.0
    without: Without = ""
    view: ViewSettings = field(default_factory=ViewSettings)
    moved: Moved = "z and c"
    candidates: int = 1
    iterations: int = 300
    stop: Stop = "expected"
    inner_steps: int = 50
    carried: int | None = None
    learning_rate: float = 0.01
    decay: float = 0.999
    ridge: RidgeSettings | SelectedSettings = field(default_factory=RidgeSettings)
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name in ("steps", "inner_steps"):
            steps_walked(getattr(self, name), self.strength)
        if self.moved not in get_args(Moved):
            raise ValueError(f"moved is {self.moved!r}; it must be one of {get_args(Moved)}")
        if self.stop not in get_args(Stop):
            raise ValueError(f"stop is {self.stop!r}; it must be one of {get_args(Stop)}")
        if self.without not in get_args(Without):
            raise ValueError(f"without is {self.without!r}; it must be one of {get_args(Without)}")
        if self.candidates < 1:
            raise ValueError(f"candidates is {self.candidates}; it must be 1 or more")
        if self.iterations < 0 or (self.carried is not None and self.carried < 0):
            raise ValueError(
                f"iterations is {self.iterations} and carried {self.carried}; they must be 0 or more"
            )


class MindDiffuser(Reconstructor):
    """Both stages.

    Parameters
    ----------
    sd : StableDiffusion
    clip : CLIP
        Whose layers are decoded; the paper's is ViT-B/32.
    settings : MindDiffuserSettings
    """

    def __init__(
        self, sd: StableDiffusion, clip: CLIP, settings: MindDiffuserSettings | None = None
    ) -> None:
        super().__init__()
        self.sd, self.clip, self.settings = sd, clip, settings or MindDiffuserSettings()
        self.ridge = self.settings.ridge
        self.contrast = {"c": self.settings.contrast}
        self.regions = dict.fromkeys(("z", "c", *self.settings.view.names), "all")

    @property
    def checkpoints(self) -> dict[str, str]:
        """Of the autoencoder, the text encoder and CLIP's image tower."""
        return {
            **dict.fromkeys(self.settings.view.names, image_digest(self.clip)),
            "z": digest(self.sd.vae),
            "c": digest(self.sd.text_encoder),
        }

    def features(self, seen: Seen, progress: bool = True) -> dict[str, Features]:
        """Compute z [P, 4, h, w], c [P, M, C], CLIP's embedding [P, D], and each layer [P, U]."""
        return {
            "z": latents(self.sd, seen, progress=progress),
            "c": text_embeddings(self.sd, seen, self.settings.tokens, progress=progress),
            **view_features(self.clip, seen, self.settings.view.layers, progress),
        }

    def draw(
        self, features: Mapping[str, Tensor], seeds: Sequence[int], progress: bool = True
    ) -> Tensor:
        """Stage 1, and stage 2 unless there are no iterations."""
        parts, size = [], self.settings.batch_size
        for at in range(0, len(seeds), size):
            rows = slice(at, at + size)
            some = {name: values[rows].to(self.sd.device) for name, values in features.items()}
            if self.settings.without:
                some = self.leave_out(some)
            z, c, noises = some["z"], some["c"], seeds[rows]
            if self.settings.iterations:
                noises = self.choose(some, noises, progress)
                z, c = self.move(some, noises, progress)
            with torch.no_grad():
                parts.append(self.walk(z, c, noises, self.settings.steps))
        return torch.cat(parts).clamp(-1, 1)

    def leave_out(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Put what says nothing in the place of z or c."""
        if self.settings.without == "z":
            return {**features, "z": torch.zeros_like(features["z"])}
        c = features["c"]
        return {**features, "c": self.sd.encode_text([""])[:, : c.shape[1]].expand_as(c)}

    def walk(
        self, z: Tensor, c: Tensor, seeds: Sequence[int], steps: int, carried: int | None = None
    ) -> Tensor:
        """Stage 1: noise z, denoise it under c, and decode it; gradients run through.

        Parameters
        ----------
        z : Tensor, shape [B, 4, h, w]
        c : Tensor, shape [B, M, C]
        seeds : sequence of int
            Of the noise; the same in each iteration, so that what is moved is one picture.
        steps : int
            Of DDIM, before strength is taken.
        carried : int, optional
            How many of the last steps pass the gradient through the U-Net.

        Returns
        -------
        Tensor, shape [B, 3, H, W], in about [-1, 1]
        """
        scheduler = self.sd.scheduler
        strength = 1.0 if self.settings.without == "z" else self.settings.strength
        times = scheduler.times(steps, "ddim")[-steps_walked(steps, strength) :]
        null = self.sd.encode_text([""])[:, : c.shape[1]].expand_as(c)
        denoise = self.sd.denoiser(c, null, self.settings.guidance_scale)
        if torch.is_grad_enabled():
            first = float(times[-min(carried, len(times))]) if carried else -1.0
            denoise = _carrying(denoise, first if carried is not None else float("inf"))
        start = times[:1].expand(len(z)).to(z.device)
        x_t = scheduler.schedule.q_sample(z, start, ImageNoise(seeds)(z))
        found = sample(
            denoise, x_t, scheduler.schedule, sampler="ddim", times=times,
            final=scheduler.final("ddim"),
        )  # fmt: skip
        return self.sd.decode(found)

    @torch.no_grad()
    def choose(
        self, features: Mapping[str, Tensor], seeds: Sequence[int], progress: bool = True
    ) -> list[int]:
        """Stage 2's first look: the seed, of each picture's `candidates`, whose picture fits the decoded features best.

        A picture's candidates are its seed and those that follow it.
        """
        settings = self.settings
        if settings.candidates == 1:
            return list(seeds)
        units, losses = best_units(self.decoders, settings.view), []
        tried = range(settings.candidates)
        for n in tqdm(tried, desc="candidates", delay=2, disable=not progress):
            noises = [seed + n for seed in seeds]
            x = self.walk(features["z"], features["c"], noises, settings.inner_steps)
            losses.append(view_loss(self.clip, x, features, units, settings.view))
        best = torch.stack(losses).argmin(0).tolist()
        return [seed + n for seed, n in zip(seeds, best, strict=True)]

    def move(
        self, features: Mapping[str, Tensor], seeds: Sequence[int], progress: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Stage 2: move z and c until the picture has the decoded features.

        Returns
        -------
        z, c : Tensor
            Of the iterate with the least loss, picture by picture.
        """
        settings = self.settings
        z, c = (features[name].detach().clone() for name in ("z", "c"))
        units = best_units(self.decoders, settings.view)
        enough = torch.zeros(len(z), device=z.device)
        if settings.stop == "expected":
            enough = expected_loss(self.decoders, features, units, settings.view)
        moved = [z, c] if settings.moved == "z and c" else [z]
        best, least = [z.clone(), c.clone()], torch.full((len(z),), float("inf"), device=z.device)
        optimizer = torch.optim.Adam(
            [part.requires_grad_() for part in moved], settings.learning_rate
        )
        rate = torch.optim.lr_scheduler.ExponentialLR(optimizer, settings.decay)
        left = torch.arange(len(z), device=z.device)
        for _ in tqdm(range(settings.iterations), desc="stage 2", delay=2, disable=not progress):
            wanted = {name: values[left] for name, values in features.items()}
            noises = [seeds[k] for k in left.tolist()]
            with torch.enable_grad():
                x = self.walk(z[left], c[left], noises, settings.inner_steps, settings.carried)
                loss = view_loss(self.clip, x, wanted, units, settings.view)
                grads = torch.autograd.grad(loss.sum(), moved)
            better = left[loss.detach() < least[left]]
            least[left] = torch.minimum(least[left], loss.detach())
            for kept, now in zip(best, (z, c), strict=True):
                kept[better] = now.detach()[better]
            left = (least > enough).nonzero().flatten()
            if not len(left):
                break
            for part, grad in zip(moved, grads, strict=True):
                part.grad = grad
            optimizer.step()
            rate.step()
        return best[0], best[1]


def _carrying(denoise: Denoiser, first: float) -> Denoiser:
    """Pass gradients from time `first` down, and keep of these steps no more than their inputs in memory.

    Before, the predicted noise is a constant. A DDIM step is linear in x_t then, so the gradient still reaches z.
    """

    def denoise_partly(x_t: Tensor, t: Tensor) -> Tensor:
        if float(t[0]) > first:
            with torch.no_grad():
                return denoise(x_t, t)
        return checkpoint(denoise, x_t, t, use_reentrant=False)

    return denoise_partly
