"""CLIP's embeddings of scenes, and of each of their things by itself, computed once.

What SpaText (Avrahami et al. 2023, arXiv 2211.14305, figure 3) takes of a segment: its embedding, for which it is cut
out of the picture. Here it is moved to the middle, at its own size, and all around it is of the mean colour that CLIP
expects.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from minisd.models.contrastive import CLIP, MEAN, preprocess
from minisd.models.prior import to_unit_variance
from minisd.models.tokenizer import Tokenizer
from minisd.scenes import Scene, thing_captions
from minisd.training.cache import at_once, digest, make_once, write_arrays
from minisd.training.data import Scenes, as_input, pictures

THINGS = 2
"""Of a scene, at most."""


class Embedded(Dataset):
    """Scenes as CLIP sees them; memory-mapped.

    Items are embeddings [1 + 2, D], of the whole and of its things, `to_unit_variance`; ids [1 + 2, 5, M] of the
    captions of each; masks [2, H, W] of bool. What is not there is 0.
    """

    def __init__(self, folder: Path) -> None:
        names = ("embeddings", "ids", "masks")
        self.arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in names]

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, item: int) -> tuple[Tensor, ...]:
        embeddings, ids, packed = (np.array(array[item]) for array in self.arrays)
        masks = np.unpackbits(packed, axis=-1).astype(bool)
        return tuple(torch.from_numpy(part) for part in (embeddings, ids, masks))


def cut_out(picture: Tensor, mask: Tensor) -> Tensor:
    """Move what a mask shows to the middle of a picture, and paint all else in CLIP's mean colour.

    Parameters
    ----------
    picture : Tensor, shape [3, H, W], uint8
    mask : Tensor, shape [H, W], bool

    Returns
    -------
    Tensor, shape [3, H, W], uint8

    Raises
    ------
    ValueError
        If the mask shows nothing, or is of another size.
    """
    if mask.shape != picture.shape[1:] or mask.dtype != torch.bool or not mask.any():
        raise ValueError(
            f"mask is {mask.dtype} of shape {tuple(mask.shape)}, with {int(mask.sum())} pixels; "
            f"it must be bool of shape {tuple(picture.shape[1:])}, and show something"
        )
    shift = []
    for axis, side in enumerate(mask.shape):
        seen = mask.any(dim=1 - axis).nonzero()
        shift.append((side - 1 - int(seen[0] + seen[-1])) // 2)
    ground = (255 * torch.tensor(MEAN)).round().to(torch.uint8)[:, None, None]
    return torch.where(mask, picture, ground).roll(shift, dims=(1, 2))


@torch.no_grad()
def embed(
    scenes: Scenes, clip: CLIP, tokenizer: Tokenizer, folder: Path, identity: dict[str, Any]
) -> Embedded:
    """Embed scenes, unless it was done before.

    Parameters
    ----------
    scenes : Scenes
    clip : CLIP
        On the device where it shall run.
    tokenizer : Tokenizer
        CLIP's.
    folder : path
        For the arrays; see `minisd.training.cache.make_once`.
    identity : dict
        What the scenes are.

    Returns
    -------
    Embedded
    """
    identity = identity | {"clip": digest(clip)}
    batches = _embed(scenes, clip, tokenizer)
    make_once(folder, identity, lambda: write_arrays(folder, len(scenes), batches))
    return Embedded(folder)


def _embed(scenes: Scenes, clip: CLIP, tokenizer: Tokenizer) -> Iterator[dict[str, np.ndarray]]:
    device, side = clip.logit_scale.device, clip.vision_model.config.image_size
    size = at_once(side)
    for start in tqdm(range(0, len(scenes), size), desc="embeddings", delay=2):
        items = [scenes[i] for i in range(start, min(start + size, len(scenes)))]
        views, texts, masks = zip(*(_views(item) for item in items), strict=True)
        x = preprocess(as_input(torch.cat(views)).to(device), side)
        embeddings = to_unit_variance(
            torch.cat([clip.encode_image(part) for part in x.split(size)])
        )
        embeddings = embeddings.unflatten(0, (len(items), -1)).cpu()
        masks = torch.stack(masks)
        embeddings[:, 1:] *= masks.any(dim=(2, 3))[..., None]
        ids = tokenizer([text for of_one in texts for text in of_one])
        yield {
            "embeddings": embeddings.half().numpy(),
            "ids": ids.reshape(len(items), 1 + THINGS, 5, -1).short().numpy(),
            "masks": np.packbits(masks.numpy(), axis=-1),
        }


def _views(scene: Scene) -> tuple[Tensor, list[str], Tensor]:
    """A scene and its things: pictures [3, 3, H, W], five captions of each, masks [2, H, W] of those that are seen."""
    whole = pictures([scene])[0]
    views, texts, masks = [whole], list(scene.captions), []
    for thing, mask in zip(scene.factors.things, torch.from_numpy(scene.masks), strict=True):
        if mask.any():
            views.append(cut_out(whole, mask))
            texts += thing_captions(thing)
            masks.append(mask)
    absent = THINGS - len(masks)
    views += [whole] * absent
    texts += [""] * 5 * absent
    masks += [torch.zeros(whole.shape[1:], dtype=torch.bool)] * absent
    return torch.stack(views), texts, torch.stack(masks)
