"""CLIP whole: pictures and their captions in one space, and the loss that brings them there.

Radford et al. 2021 (arXiv 2103.00020, sections 2.3 to 2.5 and figure 3). The towers are those of `minisd.models.clip`.
B batch, M tokens of a text, H W height and width of a picture, S those that the image tower takes, D channels of the
shared space. Attribute names are those of the checkpoint files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisd.models.clip import CLIPTextConfig, CLIPVisionConfig, ImageTower, TextTower


class CLIP(nn.Module):
    """Both towers, each with a linear map into the shared space.

    Parameters
    ----------
    text : CLIPTextConfig
    vision : CLIPVisionConfig
    projection : int
        Channels of the shared space; 768 for ViT-L/14.

    Attributes
    ----------
    logit_scale : Parameter, shape []
        Logarithm of what multiplies the cosines; starts at ln(1 / 0.07) (section 2.5).
    """

    def __init__(self, text: CLIPTextConfig, vision: CLIPVisionConfig, projection: int) -> None:
        super().__init__()
        self.text_model = TextTower(text)
        self.vision_model = ImageTower(vision)
        self.text_projection = nn.Linear(text.hidden_size, projection, bias=False)
        self.visual_projection = nn.Linear(vision.hidden_size, projection, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> CLIP:
        """Make the model that the ``config.json`` of a whole CLIP tells of; see `read_config` for the errors."""
        towers = {}
        for part in ("text_config", "vision_config"):
            # where OpenAI's files have both, the second name is the one that counts
            told = settings.get(f"{part}_dict") or settings.get(part)
            if told is None:
                raise ValueError(f"{part} is missing in the settings of a CLIP")
            towers[part] = told
        return cls(
            CLIPTextConfig.from_json(towers["text_config"]),
            CLIPVisionConfig.from_json(towers["vision_config"]),
            settings.get("projection_dim") or 512,
        )

    def encode_text(self, ids: Tensor) -> Tensor:
        """Map ids [B, M], as `CLIPTextEncoder` takes them, to the shared space [B, projection], not normalized."""
        return self.text_projection(self.text_model(ids).pooled)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Map pixels [B, 3, S, S], as `preprocess` makes them, to the shared space [B, projection], not normalized."""
        return self.visual_projection(self.vision_model(pixels).pooled)


def similarity(image_embeddings: Tensor, text_embeddings: Tensor, logit_scale: Tensor) -> Tensor:
    """Scaled cosine of every picture with every text (Radford et al. 2021, figure 3).

    Parameters
    ----------
    image_embeddings : Tensor, shape [B, D]
        In the shared space, of any length.
    text_embeddings : Tensor, shape [K, D]
    logit_scale : Tensor, shape []
        Logarithm of the scale.

    Returns
    -------
    Tensor, shape [B, K]
        Its softmax along a row is how well each text fits that picture.

    Raises
    ------
    ValueError
        If the embeddings are not two matrices of the same width.
    """
    shapes = tuple(image_embeddings.shape), tuple(text_embeddings.shape)
    if not len(shapes[0]) == len(shapes[1]) == 2 or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            f"image_embeddings and text_embeddings have shapes {shapes[0]} and {shapes[1]}; "
            "they must be [B, D] and [K, D]"
        )
    images = F.normalize(image_embeddings, dim=1)
    texts = F.normalize(text_embeddings, dim=1)
    return logit_scale.exp() * images @ texts.T


def contrastive_loss(
    image_embeddings: Tensor, text_embeddings: Tensor, logit_scale: Tensor
) -> Tensor:
    """How badly pictures find their own texts among the batch, and texts their pictures (figure 3).

    Parameters
    ----------
    image_embeddings, text_embeddings : Tensor, shape [B, D]
        In the shared space, of any length; row i of one belongs to row i of the other.
    logit_scale : Tensor, shape []
        Logarithm of the scale. Training keeps it from passing ln 100 (section 2.5).

    Returns
    -------
    Tensor, shape []
        Mean of both cross-entropies; ln B if the embeddings say nothing.

    Raises
    ------
    ValueError
        If the two are not as many and as wide.
    """
    if image_embeddings.shape != text_embeddings.shape:
        raise ValueError(
            f"image_embeddings has shape {tuple(image_embeddings.shape)} and text_embeddings "
            f"{tuple(text_embeddings.shape)}; they must be the same"
        )
    logits = similarity(image_embeddings, text_embeddings, logit_scale)  # [B, B]
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of red, green and blue in [0, 1], over CLIP's training pictures."""


def preprocess(images: Tensor, size: int = 224) -> Tensor:
    """Bring pictures into the form that the image encoder takes; differentiable.

    The shorter side is resized to ``size`` by antialiased bicubic interpolation, the middle is cut out, and each colour
    is normalized by CLIP's mean and standard deviation. Pillow, which transformers uses on pictures of 8 bits, rounds
    where this does not: they differ by at most about 1 grey level of 255, and by 0.3 on average. (Pillow 13 resizes
    pictures more than twice as tall as wide in another order than those before it, and so differs by more there.)

    Parameters
    ----------
    images : Tensor, shape [B, 3, H, W]
        In [-1, 1]; what lies outside, in or after the resizing, is clipped, as a saved picture would be.
    size : int
        The encoder's ``image_size``.

    Returns
    -------
    Tensor, shape [B, 3, size, size]

    Raises
    ------
    ValueError
        If the shape is another.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
        raise ValueError(f"images has shape {tuple(images.shape)}; it must be [B, 3, H, W]")
    H, W = images.shape[2:]
    height, width = size * H // min(H, W), size * W // min(H, W)
    x = images.clamp(-1, 1)
    for shape in ((H, width), (height, width)):  # Pillow clips after each of the two
        x = F.interpolate(x, shape, mode="bicubic", antialias=True).clamp(-1, 1)
    top, left = (height - size) // 2, (width - size) // 2
    x = (x[:, :, top : top + size, left : left + size] + 1) / 2
    mean, std = (x.new_tensor(value)[:, None, None] for value in (MEAN, STD))
    return (x - mean) / std
