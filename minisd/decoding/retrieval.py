"""Retrieval: the picture of a gallery whose features are most like the decoded ones.

The simplest way to turn features into a picture: it is sharp, and it was never seen. B rows, D features, G pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from minisd.decoding.reconstructor import Reconstructor
from minisd.decoding.ridge import RidgeSettings
from minisd.decoding.selected import SelectedSettings
from minisd.decoding.targets import Features, Seen, image_digest, image_embeddings
from minisd.models.contrastive import CLIP


class Retrieval(Reconstructor):
    """CLIP's image embedding is decoded, and looked for in a gallery.

    Parameters
    ----------
    clip : CLIP
    gallery : Seen
        Pictures to choose from; without those of the test, unless identification is what you want.
    size : int
        Height and width of the pictures that are given.
    ridge : RidgeSettings or SelectedSettings
    """

    regions: ClassVar = {"embedding": "all"}

    def __init__(
        self,
        clip: CLIP,
        gallery: Seen,
        size: int,
        ridge: RidgeSettings | SelectedSettings | None = None,
    ) -> None:
        super().__init__()
        self.clip, self.gallery, self.size = clip, gallery, size
        self.ridge = ridge or RidgeSettings()
        self._known: Tensor | None = None

    @property
    def checkpoints(self) -> dict[str, str]:
        """Of CLIP's image tower."""
        return {"embedding": image_digest(self.clip)}

    def features(self, seen: Seen, progress: bool = True) -> dict[str, Features]:
        """Compute CLIP's embeddings, [P, D]."""
        return {"embedding": image_embeddings(self.clip, seen, progress=progress)}

    def find(self, embedding: Tensor, progress: bool = True) -> Tensor:
        """Give the place in the gallery of what is most alike, int64 [B].

        Alike by the correlation of how each differs from the gallery's mean: all embeddings share much that tells none
        from another.
        """
        if self._known is None:
            self._known = torch.from_numpy(
                image_embeddings(self.clip, self.gallery, progress=progress)
            )
        mean = self._known.mean(0)
        known, asked = (F.normalize(e - mean, dim=1) for e in (self._known, embedding))
        return (asked @ known.T).argmax(1)

    def draw(
        self, features: Mapping[str, Tensor], seeds: Sequence[int], progress: bool = True
    ) -> Tensor:
        """Look the pictures up; chance has no part in it."""
        return self.gallery[self.find(features["embedding"], progress).numpy()].pictures(self.size)
