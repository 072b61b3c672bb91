"""The diffusion prior of unCLIP: from a text to CLIP's embeddings of pictures that it may be a caption of.

Ramesh et al. 2022 (arXiv 2204.06125, section 2.2). Many pictures fit a text, so it is a diffusion model, over vectors
in place of pictures: a causal transformer that reads the text and a noisy image embedding, and says what the clean one
is.
B batch, M tokens of a text, D channels of CLIP's shared space, C channels of the transformer. Attribute names are those
of diffusers' ``PriorTransformer``, but for the layers, which are CLIP's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisd.models.clip import Transformer
from minisd.models.config import read_config
from minisd.models.contrastive import CLIP
from minisd.models.layers import timestep_embedding


@dataclass(frozen=True)
class PriorConfig:
    """Sizes of a prior.

    Attributes
    ----------
    projection_dim : int
        D, channels of CLIP's shared space.
    text_hidden_size : int
        Channels of a token of CLIP's text tower.
    num_embeddings : int
        M, the length of a text, in tokens.
    hidden_size, intermediate_size : int
        Channels of a token of the transformer, and within its feed-forward layers.
    num_hidden_layers, num_attention_heads : int
    hidden_act : {"gelu", "quick_gelu"}
    layer_norm_eps : float

    Raises
    ------
    ValueError
        If the heads do not divide the channels, or those are odd.
    """

    projection_dim: int
    text_hidden_size: int
    num_embeddings: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads or self.hidden_size % 2:
            raise ValueError(
                f"hidden_size is {self.hidden_size}; it must be even, and a multiple of num_attention_heads, "
                f"{self.num_attention_heads}"
            )

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> PriorConfig:
        """Read the settings of ``config.json``; see `read_config` for the errors."""
        return read_config(cls, settings)


class Prior(nn.Module):
    """The network that predicts the clean image embedding, x_0.

    `minisd.diffusion.NoiseSchedule.as_denoiser` makes a denoiser of it, with the kind "x0", and `context` is what
    `minisd.guidance.classifier_free` binds it to. So the samplers of pictures draw embeddings.
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        D, C = config.projection_dim, config.hidden_size
        self.encoder_hidden_states_proj = nn.Linear(config.text_hidden_size, C)
        self.embedding_proj = nn.Linear(D, C)
        self.time_embedding = nn.Sequential(nn.Linear(C, C), nn.SiLU(), nn.Linear(C, C))
        self.proj_in = nn.Linear(D, C)
        self.prd_embedding = nn.Parameter(torch.zeros(C))
        self.positional_embedding = nn.Embedding(config.num_embeddings + 4, C)
        self.transformer = Transformer(config, causal=True)
        self.norm_out = nn.LayerNorm(C, config.layer_norm_eps)
        self.proj_to_clip_embeddings = nn.Linear(C, D)
        for learned in (self.prd_embedding, self.positional_embedding.weight):
            nn.init.normal_(learned, std=0.02)

    def context(self, states: Tensor, embedding: Tensor) -> Tensor:
        """What the transformer is told of a text.

        Parameters
        ----------
        states : Tensor, shape [B, M, text_hidden_size]
            Of its tokens.
        embedding : Tensor, shape [B, D]
            Of the whole, as `read_text` gives both.

        Returns
        -------
        Tensor, shape [B, M + 1, C]

        Raises
        ------
        ValueError
            If a shape is another.
        """
        text, M = self.config.text_hidden_size, self.config.num_embeddings
        if states.ndim != 3 or states.shape[1:] != (M, text):
            raise ValueError(f"states has shape {tuple(states.shape)}; it must be [B, {M}, {text}]")
        if embedding.shape != (len(states), self.config.projection_dim):
            raise ValueError(
                f"embedding has shape {tuple(embedding.shape)}; it must be "
                f"[{len(states)}, {self.config.projection_dim}]"
            )
        whole = self.embedding_proj(embedding)[:, None]
        return torch.cat([self.encoder_hidden_states_proj(states), whole], dim=1)

    def forward(self, x_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Predict the clean embedding.

        Parameters
        ----------
        x_t : Tensor, shape [B, D]
            Noisy embeddings; the clean ones are `to_unit_variance`.
        t : Tensor, shape [B] or []
            0-based times.
        context : Tensor, shape [B, M + 1, C]
            Of `context`.

        Returns
        -------
        Tensor, shape [B, D]

        Raises
        ------
        ValueError
            If a shape is another.
        """
        self._check(x_t, t, context)
        waves = timestep_embedding(t.expand(len(x_t)), self.config.hidden_size)
        last = (
            self.time_embedding(waves.to(x_t.dtype)),
            self.proj_in(x_t),
            self.prd_embedding.expand(len(x_t), -1),
        )
        tokens = torch.cat([context, torch.stack(last, dim=1)], dim=1)  # [B, M + 4, C]
        x, _ = self.transformer(tokens + self.positional_embedding.weight, ())
        return self.proj_to_clip_embeddings(self.norm_out(x[:, -1]))

    def _check(self, x_t: Tensor, t: Tensor, context: Tensor) -> None:
        B, D = len(x_t), self.config.projection_dim
        if x_t.ndim != 2 or x_t.shape[1] != D:
            raise ValueError(f"x_t has shape {tuple(x_t.shape)}; it must be [B, {D}]")
        if t.shape not in ((), (B,)):
            raise ValueError(f"t has shape {tuple(t.shape)}; it must be [] or [{B}]")
        wanted = (B, self.config.num_embeddings + 1, self.config.hidden_size)
        if context.shape != wanted:
            raise ValueError(f"context has shape {tuple(context.shape)}; it must be {list(wanted)}")


def to_unit_variance(embedding: Tensor) -> Tensor:
    """Bring embeddings [..., D] to the length sqrt(D), so that the square of a number is 1 on average.

    CLIP compares directions alone, so a length says nothing; and data of a diffusion should be about as large as its
    noise.
    """
    return F.normalize(embedding, dim=-1) * embedding.shape[-1] ** 0.5


def read_text(clip: CLIP, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Read texts as a prior wants them.

    Parameters
    ----------
    clip : CLIP
    ids : Tensor, shape [B, M]
        Tokens, padded to the prior's length.

    Returns
    -------
    states : Tensor, shape [B, M, text_hidden_size]
    embedding : Tensor, shape [B, D]
        `to_unit_variance`.
    """
    text = clip.text_model(ids)
    return text.last_hidden_state, to_unit_variance(clip.text_projection(text.pooled))
