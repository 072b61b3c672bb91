"""The codebook of a VQ-VAE: every latent vector becomes the nearest of a few learnt ones.

Van den Oord et al. 2017 (arXiv 1711.00937, section 3). Stable Diffusion has no codebook: its autoencoder is the one in
`minisd.models.vae`.
B batch, D length of a vector, h w height and width of the latent, K entries of the codebook. Attribute names are those
of the diffusers checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True)
class Quantised:
    """What the codebook makes of latents.

    Attributes
    ----------
    z : Tensor, shape [B, D, h, w]
        The nearest entries. Its gradient is passed on to the latents as if nothing had happened.
    indices : LongTensor, shape [B, h, w]
        Which entries these are, from 0 to K - 1.
    loss : Tensor, shape []
        What is added to the loss of the reconstruction.
    """

    z: Tensor
    indices: Tensor
    loss: Tensor


class VectorQuantiser(nn.Module):
    """Replace each latent vector by the nearest entry of a codebook.

    Parameters
    ----------
    entries : int
        K, how many.
    channels : int
        D, the length of each.
    commitment : float
        Weight of the part of the loss that keeps the encoder near its entries; 0.25 in the paper.
    """

    def __init__(self, entries: int, channels: int, commitment: float = 0.25) -> None:
        super().__init__()
        self.commitment = commitment
        self.embedding = nn.Embedding(entries, channels)
        nn.init.uniform_(self.embedding.weight, -1 / entries, 1 / entries)

    def forward(self, z: Tensor) -> Quantised:
        """Quantise latents.

        The nearest entry is a jump, through which no gradient passes. So the output is ``z + (entry - z)`` with the
        bracket held constant: the decoder sees the entry, the encoder the decoder's gradient (straight through). The
        entries learn from the loss alone (equation 3): ``mean((constant(z) - entry)^2)`` draws them to the latents and
        ``commitment * mean((z - constant(entry))^2)`` the latents to them.

        Parameters
        ----------
        z : Tensor, shape [B, D, h, w]

        Returns
        -------
        Quantised

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        wanted = self.embedding.embedding_dim
        if z.ndim != 4 or z.shape[1] != wanted:
            raise ValueError(f"z has shape {tuple(z.shape)}; it must be [B, {wanted}, h, w]")
        vectors = rearrange(z, "b d h w -> b (h w) d")
        distances = torch.cdist(vectors, self.embedding.weight)  # [B, h w, K]
        indices = distances.argmin(dim=-1).view(len(z), *z.shape[2:])  # [B, h, w]
        entries = self.look_up(indices)
        loss = F.mse_loss(entries, z.detach())
        loss = loss + self.commitment * F.mse_loss(z, entries.detach())
        return Quantised(z + (entries - z).detach(), indices, loss)

    def look_up(self, indices: Tensor) -> Tensor:
        """Map indices [B, h, w] to their entries [B, D, h, w]."""
        return rearrange(self.embedding(indices), "b h w d -> b d h w")
