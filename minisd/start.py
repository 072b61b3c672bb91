"""Where a walk from noise to a picture begins, and what it holds on to: nothing, a picture, or a picture with a mask.

Image to image is SDEdit (Meng et al. 2022, arXiv 2108.01073): noise the picture up to a time, and walk back from there.
Inpainting with a U-Net that was not trained for it is Blended Latent Diffusion (Avrahami et al. 2023, arXiv
2206.02779): after each step, what is to be kept is set back to the picture with the noise of that time.
I pictures, one or one for each prompt; B of a batch; H W in pixels, h w of the latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minisd.diffusion import Denoiser, ImageNoise, NoiseSchedule, Step, sample_steps
from minisd.images import Picture, prepare, prepare_mask


@dataclass(frozen=True)
class Start:
    """What is known before the first step.

    Attributes
    ----------
    size : tuple of int
        H and W.
    strength : float
        Share of the steps that is walked; at 1 the walk begins with nothing but noise.
    images : Tensor, shape [I, 3, H, W], optional
    masks : Tensor, shape [I, 1, H, W], optional
        1 is repainted, 0 is kept.
    latents : Tensor, shape [I, 4, h, w], optional
        Scaled; in place of pictures.
    moments, masked : Tensor, shape [I, 2, 4, h, w], optional
        Mean and standard deviation of the scaled latents of the pictures, and of the pictures without what is to be
        repainted: what `encode` adds.
    """

    size: tuple[int, int]
    strength: float = 1.0
    images: Tensor | None = None
    masks: Tensor | None = None
    latents: Tensor | None = None
    moments: Tensor | None = None
    masked: Tensor | None = None

    @classmethod
    def from_images(
        cls,
        images: Picture | Sequence[Picture],
        masks: Picture | Sequence[Picture] | None,
        strength: float,
        height: int | None,
        width: int | None,
        multiple: int,
    ) -> Start:
        """Prepare pictures, and their masks, one for all or one for each."""
        images = _each("image", images)
        x = [prepare(image, height, width, multiple) for image in images]
        sizes = sorted({f"{one.shape[3]}x{one.shape[2]}" for one in x})
        if len(sizes) > 1:
            raise ValueError(f"image has pictures of {' and '.join(sizes)}; give height and width")
        start = cls(tuple(x[0].shape[2:]), strength, torch.cat(x))
        if masks is None:
            return start
        masks = _each("mask", masks)
        if len(masks) not in (1, len(images)):
            raise ValueError(f"mask has {len(masks)} masks to {len(images)} pictures")
        pairs = zip(masks * (len(images) // len(masks)), images, strict=True)
        m = torch.cat([prepare_mask(mask, image, height, width, multiple) for mask, image in pairs])
        seen = F.interpolate(m, [side // multiple for side in start.size], mode="nearest")
        if not seen.any(dim=(1, 2, 3)).all():
            raise ValueError(
                f"mask has nothing left to repaint at the latent's size, 1/{multiple}; make it wider"
            )
        return replace(start, masks=m)

    def __len__(self) -> int:
        return max([1, *map(len, self._tensors().values())])

    def change(self, change: Callable[[Tensor], Tensor]) -> Start:
        """Put every tensor through a function."""
        return replace(self, **{k: change(v) for k, v in self._tensors().items()})

    def _tensors(self) -> dict[str, Tensor]:
        return {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}

    def encode(self, moments: Callable[[Tensor], Tensor], for_inpainting: bool) -> Start:
        """Add the latents that the walk will need.

        Parameters
        ----------
        moments : callable
            Pictures [1, 3, H, W] to mean and standard deviation [1, 2, 4, h, w]; called for one at a time, for memory.
        for_inpainting : bool
            Whether the U-Net is shown mask and masked picture.
        """
        start = self
        if self.images is None:
            return start
        if self.strength < 1 or (self.masks is not None and not for_inpainting):
            start = replace(start, moments=torch.cat([moments(x) for x in self.images.split(1)]))
        if self.masks is not None and for_inpainting:
            shown = self.images * (self.masks == 0)  # grey where it is to be repainted
            start = replace(start, masked=torch.cat([moments(x) for x in shown.split(1)]))
        return start

    def begin(
        self, noise: ImageNoise, like: Tensor, schedule: NoiseSchedule, t: float, sigma: float
    ) -> Begun:
        """Draw the noise of a batch, in the order in which diffusers draws it.

        Parameters
        ----------
        noise : ImageNoise
            Of B images, as many as there are rows here.
        like : Tensor, shape [B, 4, h, w]
            Shape, dtype and device of the latents.
        schedule, t
            The time of the first step.
        sigma : float
            Standard deviation of the noise that a walk of strength 1 begins with.
        """
        x_0 = self.latents if self.moments is None else _sample(self.moments, noise)
        eps = noise(like)
        x_T = sigma * eps if self.strength == 1 else schedule.q_sample(x_0, t, eps)
        if self.masks is None:
            return Begun(x_T, eps)
        repaint = F.interpolate(self.masks, like.shape[2:], mode="nearest")  # [B, 1, h, w]
        if self.masked is None:
            noise(
                like
            )  # diffusers encodes the masked picture here: the steps' noise is what comes after
            return Begun(x_T, eps, x_0=x_0, repaint=repaint)
        return Begun(x_T, eps, beside=torch.cat([repaint, _sample(self.masked, noise)], dim=1))

    def paste(self, x: Tensor) -> Tensor:
        """Cut pictures [B, 3, H, W] to [-1, 1], and set back the pixels that are to be kept."""
        x = x.clamp(-1, 1)
        return x if self.masks is None else torch.where(self.masks == 1, x, self.images)


@dataclass(frozen=True)
class Begun:
    """A batch that has its noise.

    Attributes
    ----------
    x_T, eps : Tensor, shape [B, 4, h, w]
        Where the walk begins, and the noise in it.
    beside : Tensor, shape [B, 5, h, w], optional
        What a U-Net for inpainting sees beside x_t.
    x_0, repaint : Tensor, shape [B, 4, h, w] and [B, 1, h, w], optional
        The picture to hold on to after each step, and where not to.
    """

    x_T: Tensor
    eps: Tensor
    beside: Tensor | None = None
    x_0: Tensor | None = None
    repaint: Tensor | None = None

    def walk(
        self,
        denoise: Denoiser,
        schedule: NoiseSchedule,
        after: Callable[[Step], None],
        **sampling: Any,
    ) -> Tensor:
        """Walk to the latents, shape [B, 4, h, w].

        Parameters
        ----------
        denoise, schedule, **sampling
            As for `sample_steps`.
        after : callable
            Called with each `Step`, once what is to be kept is set back in it.

        Raises
        ------
        FloatingPointError
            If NaN or infinity came out.
        """
        for step in sample_steps(denoise, self.x_T, schedule, **sampling):
            if self.repaint is not None:
                last = step.index == step.total - 1
                known = self.x_0 if last else schedule.q_sample(self.x_0, step.t_next, self.eps)
                step.x_t = (1 - self.repaint) * known + self.repaint * step.x_t
            after(step)
        if not step.x_t.isfinite().all():
            raise FloatingPointError(
                "NaN or infinity came out of the U-Net: look at weights and dtype"
            )
        return step.x_t


def _each(name: str, images: Picture | Sequence[Picture]) -> list[Picture]:
    """Take a batch apart."""
    if isinstance(images, Tensor) and images.ndim == 4:
        images = list(images)
    elif not isinstance(images, list | tuple):
        images = [images]
    if not images:
        raise ValueError(f"{name} is an empty list; give at least one picture")
    return list(images)


def _sample(moments: Tensor, noise: ImageNoise) -> Tensor:
    mean, std = moments.unbind(1)
    return mean + std * noise(mean)
