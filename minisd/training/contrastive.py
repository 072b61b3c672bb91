"""Training CLIP: pictures find their captions, captions their pictures (Radford et al. 2021, arXiv 2103.00020).

A batch is made of families: a scene and others that differ from it in one factor. They are the hard negatives
(Yuksekgonul et al. 2023, arXiv 2210.01936) that make the text encoder heed each word.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from minisd.checkpoints.loading import read_tokenizer
from minisd.checkpoints.saving import save_network
from minisd.checkpoints.whole_clip import load_clip, save_clip
from minisd.diffusion import ImageNoise
from minisd.models.clip import CLIPTextConfig, CLIPTextEncoder, CLIPVisionConfig
from minisd.models.contrastive import CLIP, contrastive_loss, preprocess
from minisd.models.tokenizer import train_tokenizer
from minisd.scenes import Scene, SceneFactors, draw, one_factor_changes
from minisd.training.data import Scenes, SceneSettings, as_input, pictures
from minisd.training.loop import Task


@dataclass(frozen=True)
class CLIPSettings:
    """Sizes of both towers.

    Attributes
    ----------
    vocab_size : int
        At most; the words of the captions may need fewer.
    max_length : int
        Of a text, in tokens.
    text_width, text_layers, image_width, image_layers : int
    patch_size : int
    projection : int
        Channels of the shared space.
    """

    vocab_size: int = 1024
    max_length: int = 32
    text_width: int = 128
    text_layers: int = 3
    image_width: int = 192
    image_layers: int = 4
    patch_size: int = 8
    projection: int = 128


@dataclass(frozen=True)
class FamilySettings:
    """How batches are made.

    Attributes
    ----------
    size : int
        Scenes of a family.
    complete : float
        Share of families whose captions name every factor; the others' are any of a scene's five.
    """

    size: int = 4
    complete: float = 0.5


class Families(Scenes):
    """A scene, and others that differ in one factor, at each index."""

    def __init__(self, settings: SceneSettings, size: int) -> None:
        super().__init__(settings)
        self.size = size

    def __getitem__(self, item: int) -> list[Scene]:
        first = super().__getitem__(item)
        rng = np.random.default_rng((self.world["seed"], self.indices[item], 1))
        allowed = [c for c in one_factor_changes(first.factors) if self.allows(c)]
        changed = list(in_turn(rng, first.factors, allowed))[: self.size - 1]
        return [first, *(draw(factors, rng, len(first.image)) for factors in changed)]


def in_turn(
    rng: np.random.Generator, factors: SceneFactors, changes: list[SceneFactors]
) -> Iterator[SceneFactors]:
    """Change each factor once before any a second time: else categories, of which there are many, crowd out places."""
    kinds: dict[tuple[str, ...], list[SceneFactors]] = {}
    for i in rng.permutation(len(changes)):
        kinds.setdefault(_differing(factors, changes[i]), []).append(changes[i])
    turns = [kinds[name] for name in sorted(kinds)]
    rng.shuffle(turns)
    for turn in zip_longest(*turns):
        yield from (changed for changed in turn if changed is not None)


def _differing(one: SceneFactors, other: SceneFactors) -> tuple[str, ...]:
    """Names of what differs."""
    pairs = enumerate(zip(one.things, other.things, strict=True))
    things = [
        f"{f.name} {i}"
        for i, (a, b) in pairs
        for f in fields(a)
        if getattr(a, f.name) != getattr(b, f.name)
    ]
    scene = [
        name for name in ("background", "relation") if getattr(one, name) != getattr(other, name)
    ]
    return tuple(scene or things)


class ContrastiveTask(Task):
    """Learn which caption belongs to which picture; an item of the batch is a family."""

    def __init__(
        self, output: Path, model: CLIPSettings, data: SceneSettings, family: FamilySettings
    ) -> None:
        super().__init__()
        self.data = Families(data, family.size)
        self.complete = family.complete
        some = (Scenes.__getitem__(self.data, i).captions for i in range(min(4000, len(self.data))))
        texts = [text for five in some for text in five]
        self.tokenizer = train_tokenizer(texts, model.vocab_size, model.max_length)
        text = CLIPTextConfig(
            vocab_size=len(self.tokenizer),
            max_position_embeddings=model.max_length,
            hidden_size=model.text_width,
            intermediate_size=4 * model.text_width,
            num_hidden_layers=model.text_layers,
            num_attention_heads=model.text_width // 32,
            eos_token_id=self.tokenizer.end_id,
        )
        vision = CLIPVisionConfig(
            image_size=64,
            patch_size=model.patch_size,
            hidden_size=model.image_width,
            intermediate_size=4 * model.image_width,
            num_hidden_layers=model.image_layers,
            num_attention_heads=model.image_width // 32,
        )
        self.network = CLIP(text, vision, model.projection)
        # section 2.5 and OpenAI's code; PyTorch's own N(0, 1) would drown the words
        nn.init.normal_(self.network.text_model.embeddings.token_embedding.weight, std=0.02)
        for tower, std in ((self.network.text_model, 0.01), (self.network.vision_model, 0.02)):
            nn.init.normal_(tower.embeddings.position_embedding.weight, std=std)

    def collate(self, items: list[list[Scene]]) -> tuple[Tensor, ...]:
        """Pictures [B, F, 3, H, W] of families of F, and their captions' ids [B, F, 5, M]."""
        scenes = [scene for family in items for scene in family]
        texts = [text for scene in scenes for text in scene.captions]
        ids = self.tokenizer(texts).to(torch.int16)
        B, F = len(items), self.data.size
        return pictures(scenes).unflatten(0, (B, F)), ids.reshape(B, F, 5, -1)

    def forward(self, batch: tuple[Tensor, ...], noise: ImageNoise) -> dict[str, Tensor]:
        """Loss, and the share of captions that find their picture in the batch."""
        images, ids = batch
        draws = noise.uniform((1 + images.shape[1],))  # [B, 1 + F]
        which = (draws[:, 1:] * ids.shape[2]).int() * (draws[:, :1] >= self.complete)
        rows = torch.arange(ids.shape[0])[:, None], torch.arange(ids.shape[1])[None]
        chosen = ids[(*rows, which.long())].flatten(0, 1).int()  # [B F, M]
        pixels = preprocess(as_input(images.flatten(0, 1)), images.shape[-1])
        image, text = self.network.encode_image(pixels), self.network.encode_text(chosen)
        image, text = (of_all_processes(nn.functional.normalize(x, dim=1)) for x in (image, text))
        loss = contrastive_loss(image, text, self.network.logit_scale.clamp(max=math.log(100)))
        own = torch.arange(len(text), device=text.device)
        return {"loss": loss, "found": ((image @ text.T).argmax(dim=0) == own).float().mean()}

    def export(self, network: nn.Module, output: Path) -> None:
        """Write ``clip/``, and what a Stable Diffusion takes of it: ``text_encoder/`` and ``tokenizer/``."""
        save_clip(network, output / "clip", torch.float16)
        encoder = CLIPTextEncoder(network.text_model.config)
        encoder.text_model.load_state_dict(network.text_model.state_dict())
        save_network("text_encoder", encoder, output, torch.float16)
        self.tokenizer.save(output / "tokenizer")


class PicturesToTextsTask(ContrastiveTask):
    """Train all of a CLIP but its text tower, which stays as it is: a U-Net has learned to read it.

    It is the image tower, of which more is asked, that needs longer. Locking a tower is from Zhai et al. 2022 (arXiv
    2111.07991), who lock the other one.
    """

    def __init__(self, output: Path, data: SceneSettings, family: FamilySettings) -> None:
        Task.__init__(self)
        self.data = Families(data, family.size)
        self.complete = family.complete
        self.tokenizer = read_tokenizer(output / "tokenizer")
        self.network = load_clip(output / "clip")
        self.network.text_model.requires_grad_(False)

    def export(self, network: nn.Module, output: Path) -> None:
        """Write ``clip/`` again."""
        save_clip(network, output / "clip", torch.float16)


def of_all_processes(x: Tensor) -> Tensor:
    """Rows of every process, [P B, D]; the gradient of the loss reaches those of this one.

    It is multiplied by P, since the processes' gradients are then averaged: together they are those of one process
    that has all the rows.
    """
    if not torch.distributed.is_initialized():
        return x
    P = torch.distributed.get_world_size()
    parts = [torch.empty_like(x) for _ in range(P)]
    torch.distributed.all_gather(parts, x.detach().contiguous())
    parts[torch.distributed.get_rank()] = P * x - (P - 1) * x.detach()
    return torch.cat(parts)
