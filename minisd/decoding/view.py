"""How far CLIP's view of a picture is from the view that was decoded; gradients run through to the picture.

MindDiffuser's loss (Lu et al. 2023, arXiv 2308.04249, equation 4, with the weights of its code). U units of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minisd.decoding.reconstructor import Decoder
from minisd.decoding.targets import layers
from minisd.models.contrastive import CLIP, preprocess


@dataclass(frozen=True)
class ViewSettings:
    """What is compared.

    Attributes
    ----------
    layers : tuple of int
        Of CLIP, from 1. The paper's are the first six of twelve.
    weights : tuple of float
        As many; each is divided by the length of what was decoded for its layer.
    units : float
        Share of a layer's units that is compared: those that were decoded best out of fold.
    semantic : float
        Weight of the embedding's distance, lambda, from 0 to 1. The paper's code does not say which it was.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    layers: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    weights: tuple[float, ...] = (1.5, 1.2, 1.0, 1.0, 1.0, 1.0)
    units: float = 0.25
    semantic: float = 0.5

    def __post_init__(self) -> None:
        if len(self.layers) != len(self.weights) or not self.layers:
            raise ValueError(
                f"layers and weights have {len(self.layers)} and {len(self.weights)} entries; "
                "they must be as many, and at least one"
            )
        if not 0 < self.units <= 1:
            raise ValueError(f"units is {self.units}; it must be above 0, and 1 at most")
        if not 0 <= self.semantic <= 1:
            raise ValueError(f"semantic is {self.semantic}; it must be 0 to 1")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features that are compared, as a system decodes them."""
        return ("embedding", *(f"layer {k}" for k in self.layers))


def best_units(decoders: Mapping[str, Decoder], settings: ViewSettings) -> dict[int, Tensor]:
    """Find for each layer the units that were decoded best out of fold: the test pictures have no part in it."""
    found = {}
    for k in settings.layers:
        correlation = decoders[f"layer {k}"].ridge.correlation
        found[k] = correlation.topk(max(1, round(settings.units * len(correlation)))).indices
    return found


def expected_loss(
    decoders: Mapping[str, Decoder],
    features: Mapping[str, Tensor],
    units: Mapping[int, Tensor],
    settings: ViewSettings,
) -> Tensor:
    """Say what the loss of the very picture that was seen would be, [B], from training pictures alone.

    Decoded features miss the true ones by the decoders' error out of fold, and so does whatever has the true ones. Less
    loss than this is made by fitting that error: Morozov's discrepancy principle, here as a rule of when to stop.
    """
    far = torch.zeros(len(features["embedding"]), device=features["embedding"].device)
    for k, weight in zip(settings.layers, settings.weights, strict=True):
        wanted = features[f"layer {k}"][:, units[k].to(far.device)]
        error = decoders[f"layer {k}"].ridge.error[units[k]].mean().to(far)
        far = far + weight / wanted.norm(dim=1) * error
    # two vectors of one length, so far apart, have this cosine
    embedding = features["embedding"]
    apart = decoders["embedding"].ridge.error.sum().to(far) / (2 * embedding.square().sum(1))
    return (1 - settings.semantic) * far + 0.1 * settings.semantic * apart


def view_loss(
    clip: CLIP,
    x: Tensor,
    features: Mapping[str, Tensor],
    units: Mapping[int, Tensor],
    settings: ViewSettings,
) -> Tensor:
    """Compare CLIP's view of pictures with decoded features.

    Parameters
    ----------
    clip : CLIP
    x : Tensor, shape [B, 3, H, W]
        In about [-1, 1].
    features : mapping of str to Tensor
        "embedding" [B, D], and "layer 1" [B, U] and so on, as many as the settings have.
    units : mapping of int to int64 [u]
        Of each layer, those that are compared.
    settings : ViewSettings

    Returns
    -------
    Tensor, shape [B]
    """
    seen = layers(clip, preprocess(x, clip.vision_model.config.image_size), settings.layers)
    far = torch.zeros(len(x), device=x.device)
    for k, weight in zip(settings.layers, settings.weights, strict=True):
        chosen = units[k].to(x.device)
        wanted, found = features[f"layer {k}"][:, chosen], seen[k].flatten(1)[:, chosen]
        far = far + weight / wanted.norm(dim=1) * (found - wanted).square().mean(1)
    apart = 1 - F.cosine_similarity(seen[0], features["embedding"])
    return (1 - settings.semantic) * far + 0.1 * settings.semantic * apart
