"""Every way of guidance on one Stable Diffusion, behind one signature, so that they can be laid side by side.

A method makes a denoiser (`minisd.guidance`) of a folder's networks, of what is to be drawn, and of a scale. What is to
be drawn is told as a scene, since methods differ in what they listen to: a caption, or labels.
B pictures, C channels and h w height and width of a latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minisd.checkpoints import load_clip
from minisd.checkpoints.own import load_own
from minisd.diffusion import Denoiser, ImageNoise, sample
from minisd.guidance import (
    classifier,
    clip,
    multi_conditional,
    self_calibrated,
    spatial_map,
    with_map,
)
from minisd.metrics import answers
from minisd.metrics.scorer import load_classifier
from minisd.models.contrastive import CLIP, preprocess
from minisd.models.image_condition import ImageCondition
from minisd.pipeline import StableDiffusion
from minisd.scenes import SceneFactors, caption, thing_captions
from minisd.scenes import draw as draw_scene
from minisd.text_to_embedding import TextToEmbedding
from minisd.training.lora import load_lora
from minisd.training.spatial import load_spatial


class Networks:
    """A folder's networks, each loaded when it is first needed.

    Parameters
    ----------
    folder : path
        Such as ``data_samples/miniature``.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()

    @cached_property
    def sd(self) -> StableDiffusion:
        """The pipeline; its text encoder and U-Net are what most methods stand on."""
        return StableDiffusion.from_pretrained(self.folder)

    @cached_property
    def classifier(self) -> torch.nn.Module:
        """What reads noisy latents."""
        return load_classifier(self.folder / "classifier")

    @cached_property
    def calibrated(self) -> torch.nn.Module:
        """What reads noisy latents, and how likely they are."""
        return load_classifier(self.folder / "calibrated-100")

    @cached_property
    def clip(self) -> CLIP:
        """Both towers, of clean pictures."""
        return load_clip(self.folder / "clip")

    @cached_property
    def noisy_clip(self) -> torch.nn.Module:
        """The image tower for noisy latents."""
        return load_own(self.folder / "noisy_clip")

    @cached_property
    def text_to_embedding(self) -> TextToEmbedding:
        """From words to CLIP's embeddings of pictures."""
        return TextToEmbedding.from_pretrained(self.folder)

    @cached_property
    def spatial(self) -> StableDiffusion:
        """The pipeline with a U-Net that reads maps."""
        sd = StableDiffusion.from_pretrained(self.folder, device=self.sd.device)
        load_spatial(sd.unet, self.folder / "spatial")
        return sd

    @cached_property
    def unclip(self) -> StableDiffusion:
        """The pipeline with a U-Net that reads embeddings, as `condition` puts them into contexts."""
        sd = StableDiffusion.from_pretrained(self.folder, device=self.sd.device)
        load_lora(sd.unet, self.folder / "unclip")
        return sd

    @cached_property
    def condition(self) -> ImageCondition:
        """What puts embeddings into contexts."""
        return load_own(self.folder / "unclip", device=self.sd.device)

    def without_text(self, count: int) -> Denoiser:
        """The U-Net under the empty text."""
        return self.sd.denoiser(self.sd.encode_text([""]).expand(count, -1, -1))

    def clip_text(self, captions: Sequence[str], logit_scale: Tensor) -> Tensor:
        """Directions of texts in CLIP's space, times what the cosine was trained with, [B, D]."""
        ids = self.sd.tokenizer(list(captions))
        return F.normalize(self.clip.encode_text(ids), dim=1) * logit_scale.exp()


Guide = Callable[[Networks, Sequence[SceneFactors], float, Sequence[int]], Denoiser]


@dataclass(frozen=True)
class Method:
    """One way of guidance.

    Attributes
    ----------
    title : str
    needs : tuple of str
        What is trained for it, beside the unconditional model.
    guide : callable
        (networks, scenes, scale, seeds) to a denoiser of as many pictures; the seeds are for what it draws itself.
    """

    title: str
    needs: tuple[str, ...]
    guide: Guide


def by_nothing(
    networks: Networks, scenes: Sequence[SceneFactors], scale: float, seeds: Sequence[int]
) -> Denoiser:
    """No guidance, and no text: what the scale is makes no difference."""
    return networks.without_text(len(scenes))


def by_text(
    networks: Networks, scenes: Sequence[SceneFactors], scale: float, seeds: Sequence[int]
) -> Denoiser:
    """Classifier-free guidance by the captions."""
    text = networks.sd.encode_text([caption(one) for one in scenes])
    null = networks.sd.encode_text([""]).expand_as(text)
    return networks.sd.denoiser(text, null, scale)


def by_classifier(
    networks: Networks, scenes: Sequence[SceneFactors], scale: float, seeds: Sequence[int]
) -> Denoiser:
    """Classifier guidance by all of the scenes' labels."""
    return classifier(
        networks.without_text(len(scenes)),
        networks.classifier,
        answers(scenes),
        scale,
        networks.sd.scheduler.schedule,
    )


def by_noisy_clip(
    networks: Networks, scenes: Sequence[SceneFactors], scale: float, seeds: Sequence[int]
) -> Denoiser:
    """CLIP guidance by the captions, by a CLIP that sees x_t."""
    network = networks.noisy_clip
    return clip(
        networks.without_text(len(scenes)),
        lambda x_t, t: F.normalize(network(x_t, t), dim=1),
        networks.clip_text([caption(one) for one in scenes], network.logit_scale),
        scale,
        networks.sd.scheduler.schedule,
    )


def by_clean_clip(
    networks: Networks, scenes: Sequence[SceneFactors], scale: float, seeds: Sequence[int]
) -> Denoiser:
    """CLIP guidance by the captions, by CLIP itself, which sees the predicted clean picture."""
    network, size = networks.clip, networks.clip.vision_model.config.image_size

    def encode_image(z: Tensor) -> Tensor:
        return F.normalize(network.encode_image(preprocess(networks.sd.decode(z), size)), dim=1)

    return clip(
        networks.without_text(len(scenes)),
        encode_image,
        networks.clip_text([caption(one) for one in scenes], network.logit_scale),
        scale,
        networks.sd.scheduler.schedule,
        on="clean",
    )


def by_calibrated(
    networks: Networks, scenes: Sequence[SceneFactors], scale: float, seeds: Sequence[int]
) -> Denoiser:
    """Self-calibrated guidance by all of the scenes' labels."""
    return self_calibrated(
        networks.without_text(len(scenes)),
        networks.calibrated,
        answers(scenes),
        scale,
        networks.sd.scheduler.schedule,
    )


def by_map(
    networks: Networks, scenes: Sequence[SceneFactors], scale: float, seeds: Sequence[int]
) -> Denoiser:
    """SpaText: the captions, and a map of what is where, one scale for both.

    The masks are those of a drawing of each scene, its seed the picture's; their embeddings a prior's, from words.
    """
    sd, side = networks.spatial, networks.sd.unet.config.sample_size
    maps = []
    for one, seed in zip(scenes, seeds, strict=True):
        masks = torch.from_numpy(draw_scene(one, np.random.default_rng(seed)).masks)[None]
        words = [thing_captions(thing)[0] for thing in one.things]
        embeddings = networks.text_to_embedding(words, [seed] * len(words))[None]
        maps.append(spatial_map(masks.to(sd.device), embeddings, (side, side)))
    spatial = torch.cat(maps)  # [B, D, h, w]
    text = sd.encode_text([caption(one) for one in scenes])
    nulls = [sd.encode_text([""]).expand_as(text), torch.zeros_like(spatial)]
    guided = multi_conditional(with_map(sd.unet), [text, spatial], nulls, scale)
    return sd.scheduler.schedule.as_denoiser(guided, sd.scheduler.kind)


def by_embedding(
    networks: Networks, scenes: Sequence[SceneFactors], scale: float, seeds: Sequence[int]
) -> Denoiser:
    """unCLIP: a prior draws embeddings for the captions, and the decoder is told these alone."""
    sd = networks.unclip
    embeddings = networks.text_to_embedding([caption(one) for one in scenes], seeds)
    null = sd.encode_text([""]).expand(len(scenes), -1, -1)
    return sd.denoiser(networks.condition(null, embeddings), null, scale)


METHODS: dict[str, Method] = {
    "unguided": Method("unguided", (), by_nothing),
    "classifier_free": Method("classifier-free", ("text in the U-Net",), by_text),
    "classifier": Method("classifier", ("classifier of noisy latents",), by_classifier),
    "clip_noisy": Method("CLIP, on x_t", ("CLIP", "CLIP of noisy latents"), by_noisy_clip),
    "clip_clean": Method("CLIP, on the predicted picture", ("CLIP",), by_clean_clip),
    "self_calibrated": Method(
        "self-calibrated classifier", ("calibrated classifier of noisy latents",), by_calibrated
    ),
    "spatial": Method(
        "spatial", ("text in the U-Net", "CLIP", "prior", "map in the U-Net"), by_map
    ),
    "unclip": Method("unCLIP", ("CLIP", "prior", "embedding in the U-Net"), by_embedding),
}
"""By the names in ``data_samples/guidance``."""


@torch.no_grad()
def draw(
    networks: Networks,
    method: str,
    scenes: Sequence[SceneFactors],
    scale: float,
    seeds: Sequence[int],
    **sampling: Any,
) -> Tensor:
    """Draw one picture of each scene.

    Parameters
    ----------
    networks : Networks
    method : str
        A key of `METHODS`.
    scenes : sequence of SceneFactors
    scale : float
    seeds : sequence of int
        As many.
    **sampling
        ``steps``, 25 unless given, and ``sampler``, the checkpoint's own unless given.

    Returns
    -------
    Tensor, shape [B, 3, H, W], in about [-1, 1]

    Raises
    ------
    ValueError
        If there is no such method, the seeds are not as many as the scenes, or the scale is not finite.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it must be one of {tuple(METHODS)}")
    if len(seeds) != len(scenes) or not scenes:
        raise ValueError(
            f"scenes and seeds are {len(scenes)} and {len(seeds)}; they must be as many, and at least one"
        )
    if not math.isfinite(scale):
        raise ValueError(f"scale is {scale}; it must be a finite number")
    sd = networks.sd
    sampler = sampling.get("sampler", sd.scheduler.sampler)
    noise, side = ImageNoise(seeds), sd.unet.config.sample_size
    z = sample(
        METHODS[method].guide(networks, scenes, scale, seeds),
        noise.draw((sd.vae.config.latent_channels, side, side), sd.device),  # [B, C, h, w]
        sd.scheduler.schedule,
        sampler=sampler,
        times=sd.scheduler.times(sampling.get("steps", 25), sampler),
        final=sd.scheduler.final(sampler),
        noise=noise,
    )
    return sd.decode(z)
