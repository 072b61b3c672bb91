"""Latents and text embeddings of all pictures, computed once, so that training runs the U-Net alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from minisd.pipeline import StableDiffusion
from minisd.training.loop import processes

PIXELS = 2**18
"""How many are encoded at once: 64 pictures of the miniature, or one of Stable Diffusion."""


class Encoded(Dataset):
    """Pictures with their captions, as the U-Net takes them; memory-mapped.

    Items are latents, [2, 4, h, w], mean and standard deviation, scaled, and texts, [K, M, D], of K captions.
    """

    def __init__(self, folder: Path) -> None:
        self.latents = np.load(folder / "latents.npy", mmap_mode="r")
        self.texts = np.load(folder / "texts.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        return tuple(torch.from_numpy(np.array(part[item])) for part in (self.latents, self.texts))


@torch.no_grad()
def encode(
    pictures: Sequence[tuple[Tensor, Sequence[str]]],
    sd: StableDiffusion,
    folder: Path,
    identity: dict[str, Any],
) -> Encoded:
    """Encode pictures and captions, unless it was done before; of several processes, one does it.

    Parameters
    ----------
    pictures : sequence of (Tensor [3, H, W] of uint8, sequence of K str)
    sd : StableDiffusion
        Whose text encoder and autoencoder are taken, on the device where they are.
    folder : path
        For ``latents.npy`` and ``texts.npy``, in half precision, and ``identity.json``, which is written last.
    identity : dict
        What the pictures are. If the folder has it, with the same networks, nothing is done.

    Returns
    -------
    Encoded
    """
    identity = identity | {"vae": digest(sd.vae), "text_encoder": digest(sd.text_encoder)}
    make_once(folder, identity, lambda: write_arrays(folder, len(pictures), _encode(pictures, sd)))
    return Encoded(folder)


def _encode(
    pictures: Sequence[tuple[Tensor, Sequence[str]]], sd: StableDiffusion
) -> Iterator[dict[str, np.ndarray]]:
    size = at_once(pictures[0][0].shape[-1])
    for start in tqdm(range(0, len(pictures), size), desc="latents and texts", delay=2):
        items = [pictures[i] for i in range(start, min(start + size, len(pictures)))]
        x = torch.stack([picture for picture, _ in items]).to(sd.device).float() / 127.5 - 1
        latent = sd.vae.encode(x)
        texts = sd.encode_text([text for _, captions in items for text in captions])
        parts = {
            "latents": torch.stack([latent.mean, latent.std], dim=1) * sd.vae.config.scaling_factor,
            "texts": texts.unflatten(0, (len(items), -1)),
        }
        yield {name: part.half().cpu().numpy() for name, part in parts.items()}


def make_once(folder: Path, identity: dict[str, Any], make: Callable[[], None]) -> None:
    """Fill a folder, unless it was done before for the same identity; of several processes, one does it.

    ``identity.json`` is written last, so that what was interrupted is made anew.
    """
    with processes().main_process_first():
        done = folder / "identity.json"
        if not done.exists() or done.read_text(encoding="utf-8") != json.dumps(identity):
            done.unlink(missing_ok=True)
            folder.mkdir(parents=True, exist_ok=True)
            make()
            done.write_text(json.dumps(identity), encoding="utf-8")


def write_arrays(folder: Path, count: int, batches: Iterable[dict[str, np.ndarray]]) -> None:
    """Write arrays of ``count`` rows, a batch at a time, as NumPy's files that can be mapped into memory."""
    arrays: dict[str, np.ndarray] = {}
    start = 0
    for parts in batches:
        for name, part in parts.items():
            if name not in arrays:
                shape = (count, *part.shape[1:])
                arrays[name] = open_memmap(folder / f"{name}.npy", "w+", part.dtype, shape)
            arrays[name][start : start + len(part)] = part
        start += len(part)
    for array in arrays.values():
        array.flush()


def at_once(side: int) -> int:
    """How many square pictures go through a network together."""
    return max(1, PIXELS // side**2)


def digest(*networks: nn.Module) -> str:
    """A fingerprint of the weights."""
    found = hashlib.sha256()
    for network in networks:
        for value in network.state_dict().values():
            found.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return found.hexdigest()
