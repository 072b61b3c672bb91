"""Training the prior: what CLIP's embedding of a picture is, from a caption and the noise over it.

Ramesh et al. 2022 (arXiv 2204.06125, section 2.2): the squared error of the clean embedding itself, and now and then no
text. Its rows are whole scenes, as unCLIP draws them, and things by themselves, as SpaText puts them into a map.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from minisd.checkpoints import load_clip
from minisd.checkpoints.loading import read_tokenizer
from minisd.checkpoints.own import save_own
from minisd.diffusion import ImageNoise, NoiseSchedule
from minisd.models.prior import Prior, PriorConfig, read_text
from minisd.training.data import Scenes, SceneSettings
from minisd.training.embeddings import embed
from minisd.training.loop import Task, processes


@dataclass(frozen=True)
class PriorSettings:
    """Sizes; the others are those of CLIP.

    Attributes
    ----------
    width, layers : int
    """

    width: int = 128
    layers: int = 3


@dataclass(frozen=True)
class PriorLoss:
    """What the prior is asked.

    Attributes
    ----------
    p_uncond : float
        Share of rows that get the empty text.
    things : float
        Share of rows that are a thing by itself, and not a whole scene.

    Raises
    ------
    ValueError
        If one is out of range.
    """

    p_uncond: float = 0.1
    things: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p_uncond < 1:
            raise ValueError(f"p_uncond is {self.p_uncond}; it must be at least 0 and below 1")
        if not 0 <= self.things <= 1:
            raise ValueError(f"things is {self.things}; it must lie in [0, 1]")


class PriorTask(Task):
    """Learn to draw image embeddings.

    Attributes
    ----------
    schedule : NoiseSchedule
        The cosine one, whose end is nothing but noise, as in the paper's table 3.
    """

    def __init__(
        self, output: Path, model: PriorSettings, data: SceneSettings, loss: PriorLoss
    ) -> None:
        super().__init__()
        self.clip = load_clip(output / "clip", device=processes().device).requires_grad_(False)
        tokenizer = read_tokenizer(output / "tokenizer")
        text, null = self.clip.text_model.config, tokenizer([""])
        self.register_buffer("null", null, persistent=False)  # [1, M]
        self.network = Prior(
            PriorConfig(
                projection_dim=self.clip.text_projection.out_features,
                text_hidden_size=text.hidden_size,
                num_embeddings=null.shape[1],
                hidden_size=model.width,
                intermediate_size=4 * model.width,
                num_hidden_layers=model.layers,
                num_attention_heads=max(1, model.width // 32),
            )
        )
        folder = output / "training" / "embedded"
        self.data = embed(Scenes(data), self.clip, tokenizer, folder, {"data": asdict(data)})
        self.schedule, self.loss = NoiseSchedule.cosine(), loss

    def forward(self, batch: tuple[Tensor, ...], noise: ImageNoise) -> dict[str, Tensor]:
        """Squared error of the clean embedding, and its cosine with the predicted one."""
        embeddings, ids, _ = batch  # [B, 3, D], [B, 3, 5, M]
        when, drop, alone, which, wording = noise.uniform((5,)).to(ids.device).unbind(1)
        rows = torch.arange(len(ids), device=ids.device)
        things = (embeddings[:, 1:] != 0).any(dim=2).sum(dim=1)  # [B]
        part = (1 + which * things).long() * ((alone < self.loss.things) & (things > 0))
        x_0 = embeddings[rows, part].float()
        chosen = ids[rows, part, (wording * ids.shape[2]).long()].int()  # [B, M]
        chosen = torch.where((drop < self.loss.p_uncond)[:, None], self.null.int(), chosen)
        t = (when * self.schedule.T).floor()
        x_t = self.schedule.q_sample(x_0, t, noise(x_0))
        predicted = self.network(x_t, t, self.network.context(*read_text(self.clip, chosen)))
        cosine = torch.cosine_similarity(predicted, x_0)
        return {"loss": ((predicted - x_0) ** 2).mean(), "cosine": cosine.mean()}

    def export(self, network: nn.Module, output: Path) -> None:
        """Write ``prior/``."""
        save_own(network, output / "prior")
