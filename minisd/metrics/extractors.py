"""The networks that the field measures reconstructions with, as functions from pictures to features.

Which layer of which network is compared, and at what size, is MindEye's choice (Scotti et al. 2023, arXiv 2305.18274),
after Brain-Diffuser's (Ozcelik and VanRullen 2023, arXiv 2303.05334). The weights are not minisd's: fetch the file that
`NETWORKS` names, and give its path. Nothing is downloaded here, and nothing in a file is run.
N pictures, D features.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisd.checkpoints.files import read_state_dict
from minisd.models.contrastive import CLIP, preprocess

Extractor = Callable[[Tensor], Tensor]
"""From pictures [N, 3, H, W] in [-1, 1] to features [N, D]."""

BATCH = 32
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours in [0, 1], as all of torchvision's networks were trained."""

_PYTORCH = "https://download.pytorch.org/models/"
_SWAV = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"


class Network(NamedTuple):
    """A layer of one of torchvision's networks, the size of its pictures, and the address of the weights."""

    architecture: str
    layer: str
    size: int
    weights: str


NETWORKS = {
    "AlexNet(2)": Network("alexnet", "features.4", 256, _PYTORCH + "alexnet-owt-7be5be79.pth"),
    "AlexNet(5)": Network("alexnet", "features.11", 256, _PYTORCH + "alexnet-owt-7be5be79.pth"),
    "Inception": Network("inception_v3", "avgpool", 342, _PYTORCH + "inception_v3_google-0cc3c7bd.pth"),
    "EffNet-B1": Network("efficientnet_b1", "avgpool", 255, _PYTORCH + "efficientnet_b1-c27df63c.pth"),
    "SwAV": Network("resnet50", "avgpool", 224, _SWAV),
}  # fmt: skip
"""By the names of the columns in the field's tables. SwAV's file has to be renamed, to end with ``.pth``."""

UNUSED = ("fc.", "classifier.", "AuxLogits.")
"""What comes after the layers above, and may be missing from a file."""


def extractor(
    name: str, weights: str | Path, device: str | torch.device = "cpu", batch: int = BATCH
) -> Extractor:
    """Make one of `NETWORKS` an extractor.

    `weights` is the path of its file. Pictures are resized by antialiased bilinear interpolation (torchvision's since
    0.17), `batch` at once.

    Raises
    ------
    ValueError
        If there is no such network, or the file is missing, damaged or of another network.
    ImportError
        If torchvision is not there.
    """
    if name not in NETWORKS:
        raise ValueError(f"name is {name!r}; it must be one of {tuple(NETWORKS)}")
    wanted, models = NETWORKS[name], _torchvision()
    # the published weights are for another scale of colours; so the network brings ImageNet's there
    special = {"transform_input": True, "init_weights": False} if name == "Inception" else {}
    network = getattr(models, wanted.architecture)(weights=None, **special)
    state = {k.removeprefix("module."): v for k, v in read_state_dict(weights).items()}
    try:
        missing, _ = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{weights} does not fit {wanted.architecture}: {error}") from error
    missing = [key for key in missing if not key.startswith(UNUSED)]
    if missing:
        raise ValueError(f"{weights} has no {missing[0]}; it is not of {wanted.architecture}")
    network = network.to(device).eval()
    return of_layer(network, wanted.layer, lambda x: normalised(x, wanted.size), batch)


def of_layer(
    network: nn.Module, layer: str, prepare: Extractor = lambda x: x, batch: int = BATCH
) -> Extractor:
    """Take what a layer of a network gives, flattened; `prepare` brings pictures into the network's form.

    Raises
    ------
    ValueError
        If the network has no such layer.
    """
    modules, device = dict(network.named_modules()), next(network.parameters()).device
    if layer not in modules:
        raise ValueError(f"layer is {layer!r}; {type(network).__name__} has {tuple(modules)[1:]}")

    @torch.no_grad()
    def extract(pictures: Tensor) -> Tensor:
        found: list[Tensor] = []
        # a copy, since the next layer may write over it
        keep = modules[layer].register_forward_hook(lambda *given: found.append(given[2].clone()))
        try:
            for part in pictures.split(batch):
                network(prepare(part.to(device)))
        finally:
            keep.remove()
        return torch.cat(found).flatten(1).float().cpu()

    return extract


def of_clip(clip: CLIP, batch: int = BATCH) -> Extractor:
    """Take CLIP's image embedding: the field's is of ViT-L/14, which `minisd.checkpoints.load_clip` loads."""
    size, device = clip.vision_model.config.image_size, next(clip.parameters()).device

    @torch.no_grad()
    def extract(pictures: Tensor) -> Tensor:
        parts = [clip.encode_image(preprocess(x.to(device), size)) for x in pictures.split(batch)]
        return torch.cat(parts).float().cpu()

    return extract


def normalised(pictures: Tensor, size: int) -> Tensor:
    """Bring the shorter side of pictures [N, 3, H, W] in [-1, 1] to a size, and their colours to ImageNet's scale."""
    H, W = pictures.shape[2:]
    shape = (size * H // min(H, W), size * W // min(H, W))
    x = F.interpolate(pictures.clamp(-1, 1), shape, mode="bilinear", antialias=True)
    mean, deviation = (torch.tensor(v, device=x.device)[:, None, None] for v in (MEAN, DEVIATION))
    return ((x + 1) / 2 - mean) / deviation


def _torchvision() -> ModuleType:
    try:
        return importlib.import_module("torchvision.models")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("torchvision"):
            raise
        raise ImportError(
            "torchvision is not installed; install the version that goes with your torch: pip install torchvision"
        ) from error
