"""CLIP's two towers: a text encoder and an image encoder, which share their layers.

Radford et al. 2021 (arXiv 2103.00020, section 2.4); the image tower is the vision transformer of Dosovitskiy et al.
2021 (arXiv 2010.11929). Stable Diffusion uses the text tower alone. What makes a pair of them is in
`minisd.models.contrastive`.
B batch, M tokens of a text, S height and width of a picture, P patches along each of them, N tokens of either tower (M,
or 1 + P P), D channels. Attribute names are those of the checkpoint files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minisd.models.config import read_config


def quick_gelu(x: Tensor) -> Tensor:
    """Approximate GELU by ``x * sigmoid(1.702 x)`` (Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2)."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": F.gelu}

FIXED = {"attention_dropout": 0.0, "dropout": 0.0}
"""What every CLIP has in common."""


@dataclass(frozen=True)
class CLIPTextConfig:
    """Sizes of a text tower, by their names in ``config.json``; the defaults are ViT-L/14's, as in Stable Diffusion.

    Attributes
    ----------
    vocab_size : int
        Number of tokens.
    max_position_embeddings : int
        The longest text, in tokens.
    hidden_size, intermediate_size : int
        Channels of a token, and within the feed-forward layer.
    num_hidden_layers, num_attention_heads : int
    hidden_act : {'quick_gelu', 'gelu'}
        OpenAI's models have the first, most of OpenCLIP's the second.
    layer_norm_eps : float
    eos_token_id : int
        The end token, whose state stands for the whole text. 2 is read as "the largest id of the text".

    Raises
    ------
    ValueError
        If the heads do not divide the channels, or the activation is another.
    """

    vocab_size: int = 49408
    max_position_embeddings: int = 77
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    eos_token_id: int = 49407

    def __post_init__(self) -> None:
        _check_sizes(self)

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> CLIPTextConfig:
        """Read the settings of a text tower; see `read_config` for the errors."""
        # A file may leave out what equals transformers' own defaults, and those are ViT-B/32's.
        untold = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
        return read_config(cls, untold | dict(settings), FIXED | {"model_type": "clip_text_model"})


@dataclass(frozen=True)
class CLIPVisionConfig:
    """Sizes of an image tower, by their names in ``config.json``; the defaults are ViT-L/14's.

    Attributes
    ----------
    image_size, patch_size : int
        Height and width of a picture, and of the patches that it is cut into.
    hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, hidden_act, layer_norm_eps
        As in `CLIPTextConfig`.

    Raises
    ------
    ValueError
        If the heads do not divide the channels, or the activation is another.
    """

    image_size: int = 224
    patch_size: int = 14
    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        _check_sizes(self)

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> CLIPVisionConfig:
        """Read the settings of an image tower; see `read_config` for the errors."""
        untold = {
            "patch_size": 32,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        }
        fixed = FIXED | {"model_type": "clip_vision_model", "num_channels": 3}
        return read_config(cls, untold | dict(settings), fixed)


def _check_sizes(config: CLIPTextConfig | CLIPVisionConfig) -> None:
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"num_attention_heads is {config.num_attention_heads}; "
            f"it must divide hidden_size, which is {config.hidden_size}"
        )
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(f"hidden_act is {config.hidden_act!r}; allowed are {tuple(ACTIVATIONS)}")


@dataclass(frozen=True)
class Encoded:
    """What a tower makes of a batch.

    Attributes
    ----------
    last_hidden_state : Tensor, shape [B, N, D]
        The last layer's output; normed in the text tower, not in the image tower.
    pooled : Tensor, shape [B, D]
        One vector for the whole: the normed state of the end token or of the class token.
    hidden_states : dict of int to Tensor, shape [B, N, D]
        Those layers that were asked for, in ascending order: 0 is what enters the first layer, i the output of layer i,
        before any norm that follows the layers.
    """

    last_hidden_state: Tensor
    pooled: Tensor
    hidden_states: dict[int, Tensor]


class SelfAttention(nn.Module):
    """Every token asks all tokens of its own text or picture, or, if ``causal``, those up to itself."""

    def __init__(self, channels: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, N, D] to the same shape."""
        q, k, v = (
            rearrange(project(x), "b n (heads d) -> b heads n d", heads=self.heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        h = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out_proj(rearrange(h, "b heads n d -> b n (heads d)"))


class MLP(nn.Module):
    """Two linear layers with an activation between."""

    def __init__(self, channels: int, inner: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.fc1 = nn.Linear(channels, inner)
        self.fc2 = nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., D] to the same shape."""
        return self.fc2(self.activation(self.fc1(x)))


class Layer(nn.Module):
    """Self-attention, then the feed-forward layer; each normed before and added on."""

    def __init__(self, config: CLIPTextConfig | CLIPVisionConfig, causal: bool) -> None:
        super().__init__()
        channels, eps = config.hidden_size, config.layer_norm_eps
        self.layer_norm1 = nn.LayerNorm(channels, eps)
        self.self_attn = SelfAttention(channels, config.num_attention_heads, causal)
        self.layer_norm2 = nn.LayerNorm(channels, eps)
        self.mlp = MLP(channels, config.intermediate_size, config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, N, D] to the same shape."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Transformer(nn.Module):
    """The layers, one after the other, of either tower."""

    def __init__(self, config: CLIPTextConfig | CLIPVisionConfig, causal: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config, causal) for _ in range(config.num_hidden_layers))

    def forward(
        self, x: Tensor, layers: Iterable[int] | Literal["all"]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Map [B, N, D] to the same shape, and keep what was asked for on the way."""
        known = range(len(self.layers) + 1)
        wanted = set(known) if layers == "all" else set(layers)
        if not wanted <= set(known):
            raise ValueError(
                f"layers holds {sorted(wanted - set(known), key=str)}; "
                f"there are 0 (the embedding) to {len(self.layers)}"
            )
        states = {0: x} if 0 in wanted else {}
        for i, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if i in wanted:
                states[i] = x
        return x, states


class TextEmbedding(nn.Module):
    """A vector for each token and one for its place, added."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids [B, M] to [B, M, D]."""
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class TextTower(nn.Module):
    """All of the text encoder but the name ``text_model`` that the files put before its keys."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = TextEmbedding(config)
        self.encoder = Transformer(config, causal=True)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, ids: Tensor, layers: Iterable[int] | Literal["all"] = ()) -> Encoded:
        """Encode texts; see `CLIPTextEncoder`."""
        self._check(ids)
        end = self._end(ids)
        x = self.embeddings(ids)
        # No mask for the padding: it comes last, so the causal mask hides it from all before.
        x, states = self.encoder(x, layers)
        x = self.final_layer_norm(x)
        return Encoded(x, x[torch.arange(len(x), device=x.device), end], states)

    def _end(self, ids: Tensor) -> Tensor:
        """Place of the first end token of each text, [B]."""
        # Stable Diffusion's config.json says that the end token is 2. It is 49407: the largest id there is, and so the
        # one that argmax finds, as in OpenAI's own code. Files that were put right tell the id.
        if self.config.eos_token_id == 2:
            return ids.argmax(dim=1)
        found = ids == self.config.eos_token_id
        if not found.any(dim=1).all():
            rows = (~found.any(dim=1)).nonzero().flatten().tolist()
            raise ValueError(f"ids has no end token {self.config.eos_token_id} in rows {rows}")
        return found.int().argmax(dim=1)

    def _check(self, ids: Tensor) -> None:
        longest, vocabulary = self.config.max_position_embeddings, self.config.vocab_size
        if ids.ndim != 2 or not ids.numel() or ids.shape[1] > longest:
            raise ValueError(
                f"ids has shape {tuple(ids.shape)}; it must be [B, M] with M from 1 to {longest}"
            )
        if ids.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"ids is of type {ids.dtype}; it must be torch.int64 or torch.int32")
        low, high = (value.item() for value in ids.aminmax())
        if low < 0 or high >= vocabulary:
            raise ValueError(
                f"ids reaches from {low} to {high}; the vocabulary has 0 to {vocabulary - 1}"
            )


class ImageEmbedding(nn.Module):
    """A vector for each patch, one for the whole before them, and one for each place, added."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        channels, patch = config.hidden_size, config.patch_size
        places = 1 + (config.image_size // patch) ** 2
        whole = nn.init.normal_(torch.empty(channels), std=channels**-0.5)
        self.class_embedding = nn.Parameter(whole)
        self.patch_embedding = nn.Conv2d(3, channels, patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding(places, channels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels [B, 3, S, S] to [B, 1 + P P, D], the class token first."""
        patches = rearrange(self.patch_embedding(pixels), "b d h w -> b (h w) d")
        whole = self.class_embedding.expand(len(pixels), 1, -1)
        return torch.cat([whole, patches], dim=1) + self.position_embedding.weight


class ImageTower(nn.Module):
    """All of the image encoder but the name ``vision_model`` that the files put before its keys."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.config = config
        channels, eps = config.hidden_size, config.layer_norm_eps
        self.embeddings = ImageEmbedding(config)
        self.pre_layrnorm = nn.LayerNorm(channels, eps)  # the misspelling is in the files
        self.encoder = Transformer(config, causal=False)
        self.post_layernorm = nn.LayerNorm(channels, eps)

    def forward(self, pixels: Tensor, layers: Iterable[int] | Literal["all"] = ()) -> Encoded:
        """Encode pictures; see `CLIPImageEncoder`."""
        size = self.config.image_size
        if pixels.ndim != 4 or pixels.shape[1:] != (3, size, size):
            raise ValueError(
                f"pixels has shape {tuple(pixels.shape)}; it must be [B, 3, {size}, {size}]"
            )
        x = self.pre_layrnorm(self.embeddings(pixels))
        x, states = self.encoder(x, layers)
        return Encoded(x, self.post_layernorm(x[:, 0]), states)


class CLIPTextEncoder(nn.Module):
    """The text tower alone, as Stable Diffusion has it.

    Parameters
    ----------
    config : CLIPTextConfig
        The default is ViT-L/14's: 123,060,480 parameters in 196 tensors.
    """

    def __init__(self, config: CLIPTextConfig = CLIPTextConfig()) -> None:
        super().__init__()
        self.config = config
        self.text_model = TextTower(config)

    def forward(self, ids: Tensor, layers: Iterable[int] | Literal["all"] = ()) -> Encoded:
        """Encode texts.

        Parameters
        ----------
        ids : Tensor, shape [B, M], int64 or int32
            Tokens, from the start token to the end token and any padding.
        layers : iterable of int or 'all'
            Whose states to return: 0 to ``num_hidden_layers``.

        Returns
        -------
        Encoded
            A state depends on the tokens up to its own place alone.

        Raises
        ------
        ValueError
            If the ids are too many, outside the vocabulary or without an end token, or there is no such layer.
        """
        return self.text_model(ids, layers)


class CLIPImageEncoder(nn.Module):
    """The image tower alone, a vision transformer.

    Parameters
    ----------
    config : CLIPVisionConfig
        The default is ViT-L/14's: 303,179,776 parameters in 391 tensors.
    """

    def __init__(self, config: CLIPVisionConfig = CLIPVisionConfig()) -> None:
        super().__init__()
        self.config = config
        self.vision_model = ImageTower(config)

    def forward(self, pixels: Tensor, layers: Iterable[int] | Literal["all"] = ()) -> Encoded:
        """Encode pictures.

        Parameters
        ----------
        pixels : Tensor, shape [B, 3, image_size, image_size]
            As `preprocess` makes them.
        layers : iterable of int or 'all'
            Whose states to return: 0 to ``num_hidden_layers``. The first token of each is the class token; the
            patches follow row by row.

        Returns
        -------
        Encoded

        Raises
        ------
        ValueError
            If the pictures have another size, or there is no such layer.
        """
        return self.vision_model(pixels, layers)
