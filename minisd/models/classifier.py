"""A classifier that answers several questions about one picture: half a U-Net, and a few words for each question.

With the time as a second input it reads noisy latents, as classifier guidance wants it (Dhariwal and Nichol 2021,
arXiv 2105.05233, section 4); without, it is the scorer of `minisd.metrics`.
B batch, C channels, h w height and width of the input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisd.models.config import read_config
from minisd.models.layers import Downsample, ResnetBlock, TimestepEmbedding


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes and questions.

    Attributes
    ----------
    labels : dict of str to tuple of str
        The words that answer each question.
    sample_size : int
        Height and width of the input.
    in_channels : int
    block_out_channels : tuple of int
        Channels of each level. Each level but the last halves the size.
    layers_per_block : int
        Residual blocks of a level.
    norm_num_groups : int
    hidden_size : int
        Of the features from which all questions are answered.
    timesteps : bool
        Whether it takes the time.

    Raises
    ------
    ValueError
        If there is no question, or one with fewer than two answers; if the size cannot be halved so often.
    """

    labels: dict[str, tuple[str, ...]]
    sample_size: int = 64
    in_channels: int = 3
    block_out_channels: tuple[int, ...] = (24, 48, 64, 96)
    layers_per_block: int = 1
    norm_num_groups: int = 8
    hidden_size: int = 256
    timesteps: bool = False

    def __post_init__(self) -> None:
        few = [name for name, words in self.labels.items() if len(words) < 2]
        if not self.labels or few:
            raise ValueError(f"labels has {few or 'no questions'}; each question needs two answers")
        if self.sample_size % 2 ** (len(self.block_out_channels) - 1):
            raise ValueError(
                f"sample_size is {self.sample_size}; {len(self.block_out_channels)} levels "
                f"need a multiple of {2 ** (len(self.block_out_channels) - 1)}"
            )

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> ClassifierConfig:
        """Read the settings of ``config.json``; see `read_config` for the errors."""
        labels = {name: tuple(words) for name, words in settings.get("labels", {}).items()}
        return read_config(cls, {**settings, "labels": labels})


class Classifier(nn.Module):
    """Residual blocks on the way down, then one linear layer for all questions.

    The last map is not averaged over its places: where something is, is one of the questions.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        channels, groups = config.block_out_channels, config.norm_num_groups
        width = 4 * channels[0] if config.timesteps else None
        if config.timesteps:
            self.time_embedding = TimestepEmbedding(channels[0], width)
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        self.blocks, inputs = nn.ModuleList(), channels[0]
        for level, outputs in enumerate(channels):
            for _ in range(config.layers_per_block):
                self.blocks.append(ResnetBlock(inputs, outputs, width, groups=groups))
                inputs = outputs
            if level < len(channels) - 1:
                self.blocks.append(Downsample(outputs))
        side = config.sample_size // 2 ** (len(channels) - 1)
        self.norm_out = nn.GroupNorm(groups, inputs)
        self.linear = nn.Linear(inputs * side**2, config.hidden_size)
        self.head = nn.Linear(config.hidden_size, sum(map(len, config.labels.values())))

    def features(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """Map inputs to what the questions are answered from, [B, hidden_size]; see `forward`."""
        size = self.config.sample_size
        if x.ndim != 4 or x.shape[1:] != (self.config.in_channels, size, size):
            raise ValueError(
                f"x has shape {tuple(x.shape)}; it must be [B, {self.config.in_channels}, {size}, {size}]"
            )
        if (t is not None) != self.config.timesteps:
            wanted = (
                "the times, [B]" if self.config.timesteps else "None: this classifier takes none"
            )
            raise ValueError(f"t is {t}; it must be {wanted}")
        time = None if t is None else self.time_embedding(t.expand(len(x)))
        h = self.conv_in(x)
        for block in self.blocks:
            h = block(h) if isinstance(block, Downsample) else block(h, time)
        h = F.silu(self.norm_out(h)).flatten(1)
        return F.silu(self.linear(h))

    def forward(self, x: Tensor, t: Tensor | None = None) -> dict[str, Tensor]:
        """Answer the questions.

        Parameters
        ----------
        x : Tensor, shape [B, C, h, w]
            Pictures in [-1, 1], or noisy latents.
        t : Tensor, shape [B] or []
            Their times, for a classifier that takes them; 0-based.

        Returns
        -------
        dict of str to Tensor [B, answers]
            Logits.

        Raises
        ------
        ValueError
            If the shape is another, or the time is missing or too much.
        """
        logits = self.head(self.features(x, t))
        return dict(zip(self.config.labels, logits.split(self._sizes(), dim=1), strict=True))

    def _sizes(self) -> list[int]:
        return [len(words) for words in self.config.labels.values()]


def answers_loss(logits: Mapping[str, Tensor], answers: Mapping[str, Tensor]) -> Tensor:
    """Sum of the cross-entropies of all questions, mean over the batch; an answer of -100 does not count.

    Parameters
    ----------
    logits : mapping of str to Tensor [B, n]
    answers : mapping of str to Tensor [B], int64
    """
    losses = [
        F.cross_entropy(logits[name], answers[name], reduction="none", ignore_index=-100)
        for name in logits
    ]
    return torch.stack(losses).sum(dim=0).mean()
