"""Latents and text embeddings of all pictures, computed once, so that training runs the U-Net alone."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from minisd.models.clip import CLIPTextEncoder
from minisd.models.tokenizer import Tokenizer
from minisd.models.vae import AutoencoderKL

BATCH = 64
"""Pictures that are encoded at once."""


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
    tokenizer: Tokenizer,
    text_encoder: CLIPTextEncoder,
    vae: AutoencoderKL,
    folder: Path,
    identity: dict[str, Any],
) -> Encoded:
    """Encode pictures and captions, unless it was done before.

    Parameters
    ----------
    pictures : sequence of (Tensor [3, H, W] of uint8, sequence of K str)
    tokenizer, text_encoder, vae
    folder : path
        For ``latents.npy`` and ``texts.npy``, in half precision, and ``identity.json``, which is written last.
    identity : dict
        What the pictures and networks are; if a folder has the same, nothing is done.

    Returns
    -------
    Encoded
    """
    done = folder / "identity.json"
    identity = json.loads(json.dumps(identity))
    if done.exists() and json.loads(done.read_text(encoding="utf-8")) == identity:
        return Encoded(folder)
    done.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    device = next(vae.parameters()).device
    arrays: dict[str, np.ndarray] = {}
    for start in tqdm(range(0, len(pictures), BATCH), desc="latents and texts", delay=2):
        items = [pictures[i] for i in range(start, min(start + BATCH, len(pictures)))]
        x = torch.stack([picture for picture, _ in items]).to(device).float() / 127.5 - 1
        latent = vae.encode(x)
        captions = [text for _, texts in items for text in texts]
        states = text_encoder(tokenizer(captions).to(device)).last_hidden_state
        parts = {
            "latents": torch.stack([latent.mean, latent.std], dim=1) * vae.config.scaling_factor,
            "texts": states.unflatten(0, (len(items), -1)),
        }
        for name, part in parts.items():
            if name not in arrays:
                shape = (len(pictures), *part.shape[1:])
                arrays[name] = open_memmap(folder / f"{name}.npy", "w+", np.float16, shape)
            arrays[name][start : start + len(items)] = part.half().cpu().numpy()
    for array in arrays.values():
        array.flush()
    beside = done.with_name(f".{done.name}.{os.getpid()}")
    beside.write_text(json.dumps(identity), encoding="utf-8")
    beside.replace(done)
    return Encoded(folder)
