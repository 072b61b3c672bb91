"""From words to CLIP's embedding of a picture that they may be a caption of: unCLIP's prior at work.

Ramesh et al. 2022 (arXiv 2204.06125, section 2.2): the prior is a diffusion over embeddings, guided as pictures are; of
two draws the one that is nearer to the text is taken. SpaText puts such embeddings into a map, unCLIP's decoder makes
pictures of them, and a decoder of brains may take them for a reading.
B texts, k draws, D channels of CLIP's shared space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from minisd.checkpoints import load_clip
from minisd.checkpoints.loading import read_tokenizer
from minisd.checkpoints.own import load_own
from minisd.diffusion import ImageNoise, NoiseSchedule, sample
from minisd.guidance import classifier_free
from minisd.models.contrastive import CLIP
from minisd.models.prior import Prior, read_text
from minisd.models.tokenizer import Tokenizer


class TextToEmbedding:
    """A prior with what it needs to read texts.

    Parameters
    ----------
    prior : Prior
    clip : CLIP
        The one that the prior was trained with.
    tokenizer : Tokenizer

    Examples
    --------
    >>> imagine = TextToEmbedding.from_pretrained("data_samples/miniature")
    >>> imagine(["a red dog"], seeds=[0]).shape
    torch.Size([1, 64])
    """

    def __init__(self, prior: Prior, clip: CLIP, tokenizer: Tokenizer) -> None:
        self.prior, self.clip, self.tokenizer = prior.eval(), clip.eval(), tokenizer
        self.schedule = NoiseSchedule.cosine()

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu"
    ) -> TextToEmbedding:
        """Load ``prior``, ``clip`` and ``tokenizer`` of a folder; errors as `load_own` and `load_clip`."""
        folder = Path(folder).expanduser()
        return cls(
            load_own(folder / "prior", device=device),
            load_clip(folder / "clip", device=device),
            read_tokenizer(folder / "tokenizer"),
        )

    @torch.no_grad()
    def __call__(
        self,
        texts: Sequence[str],
        seeds: Sequence[int],
        *,
        scale: float = 1.0,
        steps: int = 25,
        draws: int = 2,
    ) -> Tensor:
        """Draw an embedding for each text.

        Parameters
        ----------
        texts : sequence of str
            B of them.
        seeds : sequence of int
            As many; a row is the same for its seed, whatever is beside it.
        scale : float
            Of classifier-free guidance; 1 is none.
        steps : int
            Of the sampler, at least 1.
        draws : int
            How many the nearest is taken of; the paper's are 2.

        Returns
        -------
        Tensor, shape [B, D]
            `minisd.models.prior.to_unit_variance`, as far as the prior keeps to it.

        Raises
        ------
        ValueError
            If there is no text, the seeds are not as many, the scale is not finite, or there is no draw.
        """
        if len(seeds) != len(texts):
            raise ValueError(
                f"seeds and texts are {len(seeds)} and {len(texts)}; they must be as many"
            )
        if not math.isfinite(scale):
            raise ValueError(f"scale is {scale}; it must be a finite number")
        if draws < 1:
            raise ValueError(f"draws is {draws}; it must be at least 1")
        device = next(self.prior.parameters()).device
        read = [read_text(self.clip, self.tokenizer(t).to(device)) for t in (list(texts), [""])]
        (states, text), null = read[0], self.prior.context(*read[1])  # [B, M, C], [B, D]
        context = self.prior.context(states, text)
        guided = classifier_free(self.prior, context, null.expand_as(context), scale)
        denoise = self.schedule.as_denoiser(guided, "x0")
        noise = ImageNoise(seeds)
        drawn = torch.stack(
            [
                sample(denoise, noise.draw((text.shape[1],), device), self.schedule, steps)
                for _ in range(draws)
            ]
        )  # [k, B, D]
        nearest = torch.cosine_similarity(drawn, text[None], dim=2).argmax(dim=0)  # [B]
        return drawn[nearest, torch.arange(len(text), device=device)]
