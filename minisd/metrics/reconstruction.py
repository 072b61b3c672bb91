"""How well pictures that were reconstructed from brain activity match the ones that were seen.

Pictures are told apart by pixels, by structure, and by the features of a network, which is an argument: no measure here
knows what it measures with. N pictures, D features. Every measure gives a number for each picture, so that intervals
and paired tests (`minisd.metrics.statistics`) can be made of them.

The settings are those of the field: Ozcelik and VanRullen 2023 (arXiv 2303.05334), Scotti et al. 2023
(arXiv 2305.18274, section 3.2).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from minisd.extras import require

Distractor = Literal["reconstructions", "truths"]


def pixel_correlation(made: Tensor, seen: Tensor) -> NDArray[np.float64]:
    """Pearson correlation over all pixels and colours (PixCorr).

    Parameters
    ----------
    made, seen : Tensor, shape [N, 3, H, W]
        In any range; the same for both.

    Returns
    -------
    float64 [N]
        In [-1, 1]; 0 for a picture of one colour, which correlates with nothing.

    Raises
    ------
    ValueError
        If the shapes differ, or a value is NaN or infinite.
    """
    _check_pictures(made, seen)
    # one by one: a thousand pictures of 512 pixels are 6 GB in double precision
    return np.concatenate(
        [
            _correlation(_rows(a), _rows(b))
            for a, b in zip(made.split(1), seen.split(1), strict=True)
        ]
    )


def structural_similarity(made: Tensor, seen: Tensor) -> NDArray[np.float64]:
    """SSIM of the grey pictures (Wang et al. 2004), with a Gaussian window of sigma 1.5, by scikit-image.

    Parameters
    ----------
    made, seen : Tensor, shape [N, 3, H, W]
        In [-1, 1]; what is outside is clipped. H and W from 11.

    Returns
    -------
    float64 [N]
        1 for equal pictures.

    Raises
    ------
    ValueError
        If the shapes differ or are too small, or a value is NaN or infinite.
    ImportError
        If scikit-image is not there.
    """
    metrics, color = require("skimage.metrics", "brain"), require("skimage.color", "brain")
    _check_pictures(made, seen)
    if min(made.shape[2:]) < 11:
        raise ValueError(f"made has shape {tuple(made.shape)}; the window needs 11 pixels each way")
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}

    def grey(x: Tensor) -> NDArray[np.float64]:
        x = (x.detach().cpu().double().clamp(-1, 1) + 1) / 2
        return color.rgb2gray(x.permute(1, 2, 0).numpy())

    found = [
        metrics.structural_similarity(grey(a), grey(b), data_range=1.0, **settings)
        for a, b in zip(made, seen, strict=True)
    ]
    return np.array(found, np.float64)


def identification(
    made: Tensor, seen: Tensor, distractor: Distractor = "reconstructions"
) -> NDArray[np.float64]:
    """Two-way identification: how often a pair that belongs together is more alike than one that does not.

    Papers differ in what is exchanged. With ``"reconstructions"``, a truth is held against its own reconstruction and
    against each of the others (Takagi and Nishimoto 2023); with ``"truths"``, a reconstruction is held against the
    truth and each of the other truths. Alikeness is the correlation of features. Chance is 1/2.

    Parameters
    ----------
    made, seen : Tensor, shape [N, ...]
        Features of the reconstructions and of the truths, from the same network.
    distractor : {"reconstructions", "truths"}

    Returns
    -------
    float64 [N]
        For each picture, the share of the N - 1 comparisons that it wins; a tie is half a win.

    Raises
    ------
    ValueError
        If the shapes differ, there are less than two, or a value is NaN or infinite.
    """
    if distractor not in ("reconstructions", "truths"):
        raise ValueError(f"distractor is {distractor!r}; it must be 'reconstructions' or 'truths'")
    _check_features(made, seen, least=2)
    alike = _standard(_rows(seen)) @ _standard(_rows(made)).T  # [truths, reconstructions]
    if distractor == "truths":
        alike = alike.T
    own = alike.diagonal()[:, None]
    # two ways to the same number may differ in the last digits; that is no win
    tied = (alike - own).abs() < 1e-12
    won = ((own > alike) & ~tied).double() + 0.5 * tied.double()
    won.fill_diagonal_(0)
    return (won.sum(1) / (len(alike) - 1)).numpy()


def retrieval(
    made: Tensor, seen: Tensor, gallery: int = 300, draws: int = 30, seed: int = 0
) -> NDArray[np.float64]:
    """Top-1 retrieval: how often a reconstruction is most like its own truth among so many (Scotti et al. 2023).

    Parameters
    ----------
    made, seen : Tensor, shape [N, ...]
        Features; alikeness is their cosine.
    gallery : int
        How many truths it is looked for among, its own one included; 2 to N. Chance is 1 / gallery.
    draws : int
        So often is a gallery drawn for each picture.
    seed : int

    Returns
    -------
    float64 [N]
        Share of the draws in which the own truth comes first; one that is as like as another does not.

    Raises
    ------
    ValueError
        As for `identification`, or if the gallery is larger than the set.
    """
    _check_features(made, seen, least=2)
    if not 2 <= gallery <= len(made):
        raise ValueError(f"gallery is {gallery}; it must be 2 to the {len(made)} pictures")
    if draws < 1:
        raise ValueError(f"draws is {draws}; it must be 1 or more")
    cosine = F.normalize(_rows(made), dim=1) @ F.normalize(_rows(seen), dim=1).T
    better = (cosine >= cosine.diagonal()[:, None] - 1e-12).fill_diagonal_(False).numpy()
    rng = np.random.default_rng(seed)
    found = np.empty((len(better), draws))
    for i, row in enumerate(better):
        others = np.delete(row, i)
        for k in range(draws):
            found[i, k] = not others[rng.choice(len(others), gallery - 1, replace=False)].any()
    return found.mean(axis=1)


def similarity(made: Tensor, seen: Tensor) -> NDArray[np.float64]:
    """Cosine of the features, as CLIP's embeddings are compared: float64 [N].

    Raises
    ------
    ValueError
        If the shapes differ, or a value is NaN or infinite.
    """
    _check_features(made, seen)
    return F.cosine_similarity(_rows(made), _rows(seen)).numpy()


def feature_distance(made: Tensor, seen: Tensor) -> NDArray[np.float64]:
    """One minus the correlation of the features, as the field tells of EffNet and SwAV: float64 [N], less is better.

    Raises
    ------
    ValueError
        If the shapes differ, or a value is NaN or infinite.
    """
    _check_features(made, seen)
    return 1 - _correlation(_rows(made), _rows(seen))


def _rows(x: Tensor) -> Tensor:
    return x.detach().cpu().double().flatten(1)


def _standard(rows: Tensor) -> Tensor:
    """Rows whose inner products are correlations; a constant row becomes 0."""
    return F.normalize(rows - rows.mean(1, keepdim=True), dim=1)


def _correlation(a: Tensor, b: Tensor) -> NDArray[np.float64]:
    return (_standard(a) * _standard(b)).sum(1).numpy()


def _check_pictures(made: Tensor, seen: Tensor) -> None:
    if made.ndim != 4 or made.shape[1] != 3:
        raise ValueError(f"made has shape {tuple(made.shape)}; pictures must be [N, 3, H, W]")
    _check_features(made, seen)


def _check_features(made: Tensor, seen: Tensor, least: int = 1) -> None:
    if made.shape != seen.shape or made.ndim < 2:
        raise ValueError(
            f"made and seen have shapes {tuple(made.shape)} and {tuple(seen.shape)}; they must be the same, [N, ...]"
        )
    if len(made) < least:
        raise ValueError(f"made has {len(made)} entries; {least} or more are needed")
    for name, values in (("made", made), ("seen", seen)):
        if not values.isfinite().all():
            row = int((~values.flatten(1).isfinite().all(1)).nonzero()[0])
            raise ValueError(f"{name}[{row}] has values that are NaN or infinite")
