"""Feature inversion (Shen et al. 2019, PLOS Comp. Biol. 15): a picture is changed until CLIP sees what was decoded.

No model of pictures has a part in it but a weak one: neighbours are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from minisd.decoding.reconstructor import Reconstructor
from minisd.decoding.ridge import RidgeSettings
from minisd.decoding.selected import SelectedSettings
from minisd.decoding.targets import BATCH, Features, Seen, image_digest, view_features
from minisd.decoding.view import ViewSettings, best_units, view_loss
from minisd.models.contrastive import CLIP


@dataclass(frozen=True)
class InversionSettings:
    """How the picture is changed.

    Attributes
    ----------
    view : ViewSettings
        What of CLIP's view is compared.
    iterations : int
        Of Adam, from grey on.
    learning_rate : float
    smoothness : float
        Weight of the total variation, the mean step from pixel to pixel.
    ridge : RidgeSettings or SelectedSettings
    """

    view: ViewSettings = field(default_factory=ViewSettings)
    iterations: int = 200
    learning_rate: float = 0.05
    smoothness: float = 0.02
    ridge: RidgeSettings | SelectedSettings = field(default_factory=RidgeSettings)


class FeatureInversion(Reconstructor):
    """CLIP's embedding and layers are decoded, and a picture is found that has them.

    Parameters
    ----------
    clip : CLIP
    size : int
        Height and width of the pictures.
    settings : InversionSettings
    """

    def __init__(self, clip: CLIP, size: int, settings: InversionSettings | None = None) -> None:
        super().__init__()
        self.clip, self.size, self.settings = clip, size, settings or InversionSettings()
        self.ridge = self.settings.ridge
        self.regions = dict.fromkeys(self.settings.view.names, "all")

    @property
    def checkpoints(self) -> dict[str, str]:
        """Of CLIP's image tower."""
        return dict.fromkeys(self.regions, image_digest(self.clip))

    def features(self, seen: Seen, progress: bool = True) -> dict[str, Features]:
        """Compute CLIP's embedding, [P, D], and layers, [P, U]."""
        return view_features(self.clip, seen, self.settings.view.layers, progress)

    def draw(
        self, features: Mapping[str, Tensor], seeds: Sequence[int], progress: bool = True
    ) -> Tensor:
        """Change grey pictures, some at a time; chance has no part in it."""
        parts, device = [], self.clip.logit_scale.device
        for at in range(0, len(seeds), BATCH):
            some = {name: values[at : at + BATCH].to(device) for name, values in features.items()}
            parts.append(self._invert(some, min(BATCH, len(seeds) - at), progress))
        return torch.cat(parts)

    def _invert(self, features: Mapping[str, Tensor], count: int, progress: bool) -> Tensor:
        units, size = best_units(self.decoders, self.settings.view), self.size
        raw = torch.zeros(
            count, 3, size, size, requires_grad=True, device=self.clip.logit_scale.device
        )
        optimizer = torch.optim.Adam([raw], self.settings.learning_rate)
        rounds = range(self.settings.iterations)
        for _ in tqdm(rounds, desc="inversion", delay=2, disable=not progress):
            with torch.enable_grad():
                x = raw.tanh()
                rough = F.l1_loss(x[..., 1:], x[..., :-1], reduction="none").mean((1, 2, 3))
                rough = rough + F.l1_loss(x[..., 1:, :], x[..., :-1, :], reduction="none").mean(
                    (1, 2, 3)
                )
                loss = view_loss(self.clip, x, features, units, self.settings.view)
                loss = (loss + self.settings.smoothness * rough).sum()
                raw.grad = torch.autograd.grad(loss, raw)[0]
            optimizer.step()
        return raw.detach().tanh()
