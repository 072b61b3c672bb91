"""What is decoded: features of the pictures that were seen, from Stable Diffusion's networks and from CLIP's.

P pictures, H W their height and width, h w those of a latent, M tokens, C channels of a token, D channels of CLIP's
shared space. All are computed some pictures at a time. 8,859 pictures of six layers of ViT-B/32 take 8 GB: what is
large lies in a temporary file, or in one that a path names, and is mapped into memory.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from minisd.models.contrastive import CLIP, preprocess
from minisd.nsd import Stimuli
from minisd.pipeline import StableDiffusion

Features = NDArray[np.float32]

BATCH = 32
PIXELS = 2**19
"""So many are with an autoencoder at once: two pictures of 512 pixels, whose widest features take 0.3 GB each."""
LARGE = 10**9
"""Bytes from which on features are on the disk, and no longer in memory."""


@dataclass(frozen=True, eq=False)
class Seen:
    """The pictures that responses are to, in their order.

    Attributes
    ----------
    stimuli : Stimuli
    nsd_id : int64 [P]
        73k ids, from 0.
    """

    stimuli: Stimuli
    nsd_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.nsd_id)

    def __getitem__(self, rows: slice | NDArray) -> Seen:
        return Seen(self.stimuli, self.nsd_id[rows])

    def batches(self, size: int, count: int = BATCH) -> Iterator[Tensor]:
        """Give pictures [B, 3, size, size] in [-1, 1], some at a time; NSD's are square, of 425 pixels."""
        for batch in self.stimuli.batches(self.nsd_id, count):
            x = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 127.5 - 1
            if x.shape[2:] != (size, size):
                x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(-1, 1)
            yield x

    def pictures(self, size: int) -> Tensor:
        """Give all pictures, [P, 3, size, size] in [-1, 1]."""
        return torch.cat(list(self.batches(size)))


def latents(
    sd: StableDiffusion, seen: Seen, path: Path | None = None, progress: bool = True
) -> Features:
    """Encode pictures into scaled latents z, the mean of the autoencoder's distribution: float32 [P, 4, h, w]."""
    size = picture_size(sd)
    parts = (sd.encode_image(x).float() for x in seen.batches(size, at_once(size)))
    return _collect(parts, len(seen), path, "latents", progress)


def text_embeddings(
    sd: StableDiffusion,
    seen: Seen,
    tokens: int | None = None,
    path: Path | None = None,
    progress: bool = True,
) -> Features:
    """Embed the captions of each picture, and take the mean over them: c, float32 [P, M, C].

    Parameters
    ----------
    tokens : int, optional
        How many there are, from the first on; if None, all that the text encoder has. A caption that is longer ends
        before. MindDiffuser decodes 15 of 77.

    Raises
    ------
    ValueError
        If there are not so many.
    """
    most = sd.text_encoder.config.max_position_embeddings
    if tokens is not None and not 2 <= tokens <= most:
        raise ValueError(f"tokens is {tokens}; it must be 2 to {most}")

    def parts() -> Iterator[Tensor]:
        for start in range(0, len(seen), BATCH):
            told = [seen.stimuli.captions(int(i)) for i in seen.nsd_id[start : start + BATCH]]
            text = sd.encode_text([one for captions in told for one in captions])[:, :tokens]
            of_each = text.float().split([len(captions) for captions in told])
            yield torch.stack([one.mean(0) for one in of_each])  # [B, M, C]

    return _collect(parts(), len(seen), path, "text embeddings", progress)


def image_embeddings(
    clip: CLIP, seen: Seen, path: Path | None = None, progress: bool = True
) -> Features:
    """Embed pictures in CLIP's shared space, not normalised: float32 [P, D]."""
    size, device = clip.vision_model.config.image_size, clip.logit_scale.device
    parts = (clip.encode_image(preprocess(x.to(device), size)) for x in seen.batches(size))
    return _collect(parts, len(seen), path, "image embeddings", progress)


def layers(clip: CLIP, pixels: Tensor, numbers: Sequence[int]) -> dict[int, Tensor]:
    """Give what the MLPs of some layers add to the patches, before it is added; gradients run through.

    MindDiffuser's structural features: of ViT-B/32 those of the first six layers, 50 x 768 numbers each.

    Parameters
    ----------
    clip : CLIP
    pixels : Tensor, shape [B, 3, S, S]
        As `minisd.models.contrastive.preprocess` makes them.
    numbers : sequence of int
        From 1.

    Returns
    -------
    dict of int to Tensor, shape [B, 1 + patches, C]
        And with the key 0 the embedding in the shared space, [B, D].

    Raises
    ------
    ValueError
        If there is no such layer.
    """
    blocks = clip.vision_model.encoder.layers
    if not numbers or not all(1 <= k <= len(blocks) for k in numbers):
        raise ValueError(f"numbers is {tuple(numbers)}; layers are 1 to {len(blocks)}")
    found: dict[int, Tensor] = {}
    hooks = [
        blocks[k - 1].mlp.register_forward_hook(lambda _, __, out, k=k: found.update({k: out}))
        for k in numbers
    ]
    try:
        whole = clip.encode_image(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return {0: whole, **found}


def view_features(
    clip: CLIP, seen: Seen, numbers: Sequence[int], progress: bool = True
) -> dict[str, Features]:
    """Compute "embedding", float32 [P, D], and "layer 1" and so on, [P, U] each, flattened; see `layers`."""
    size, device = clip.vision_model.config.image_size, clip.logit_scale.device
    found: dict[str, Features] = {}
    start = 0
    with (
        tqdm(total=len(seen), desc="layers", delay=2, disable=not progress) as bar,
        torch.no_grad(),
    ):
        for x in seen.batches(size):
            for k, values in layers(clip, preprocess(x.to(device), size), numbers).items():
                name = f"layer {k}" if k else "embedding"
                rows = values.flatten(1).cpu().numpy()
                if name not in found:
                    found[name] = _table((len(seen), rows.shape[1]))
                found[name][start : start + len(x)] = rows
            start += len(x)
            bar.update(len(x))
    return found


def picture_size(sd: StableDiffusion) -> int:
    """Height and width of the pictures that the pipeline was trained on."""
    return sd.unet.config.sample_size * sd.vae.config.factor


def at_once(size: int) -> int:
    """How many pictures of a height and width an autoencoder encodes or decodes at once."""
    return min(BATCH, max(1, PIXELS // size**2))


def digest(*networks: nn.Module) -> str:
    """Stand for the weights of networks: features of other weights are other features."""
    found = hashlib.sha256()
    for network in networks:
        for name, value in network.state_dict().items():
            found.update(name.encode())
            found.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def image_digest(clip: CLIP) -> str:
    """Stand for the weights that embed pictures: CLIP's image tower and what projects it."""
    return digest(clip.vision_model, clip.visual_projection)


@torch.no_grad()
def _collect(
    parts: Iterable[Tensor], count: int, path: Path | None, name: str, progress: bool
) -> Features:
    out, start = None, 0
    with tqdm(total=count, desc=name, delay=2, disable=not progress) as bar, torch.no_grad():
        for part in parts:
            if out is None:
                out = _table((count, *part.shape[1:]), path)
            out[start : start + len(part)] = part.cpu().numpy()
            start += len(part)
            bar.update(len(part))
    if out is None:
        raise ValueError("seen has no pictures")
    return out


def _table(shape: tuple[int, ...], path: Path | None = None) -> Features:
    """Make room for features: in a file of the path, or in memory, or if they are large in a file that is nowhere."""
    if path is not None:
        return np.lib.format.open_memmap(path, "w+", np.float32, shape)
    if 4 * math.prod(shape) < LARGE:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=shape)
