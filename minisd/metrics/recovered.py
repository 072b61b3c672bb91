"""What of a scene was recovered: what the scorer reads off a reconstruction, against what it reads off the picture.

The scorer reads scenes nearly without a mistake (data_samples/miniature/README.md), so the truth needs no labels.
N pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from minisd.metrics.scorer import Scorer

QUESTIONS = {
    "object": "category",
    "colour": "colour",
    "size": "size",
    "place": "place",
    "background": "background",
}
"""What is told, by the scorer's questions. But for the background, they are of pictures that show one thing."""


def recovered(scorer: Scorer, made: Tensor, seen: Tensor) -> dict[str, NDArray[np.float64]]:
    """Say for each picture what of it is right in its reconstruction.

    Parameters
    ----------
    scorer : Scorer
    made, seen : Tensor, shape [N, 3, 64, 64]
        In [-1, 1].

    Returns
    -------
    dict of str to float64 [N]
        For each of `QUESTIONS`, 1 if the answers are the same and 0 if not; NaN where the picture that was seen shows
        two things, of which it would have to be said which is which.

    Raises
    ------
    ValueError
        If they are not as many.
    """
    if len(made) != len(seen):
        raise ValueError(
            f"made has {len(made)} pictures and seen {len(seen)}; they must be as many"
        )
    told, there = scorer(made), scorer(seen)
    alone = there["relation"].argmax(1).numpy() == 0  # no relation: one thing
    found = {}
    for name, question in QUESTIONS.items():
        same = (told[question].argmax(1) == there[question].argmax(1)).numpy().astype(np.float64)
        found[name] = same if name == "background" else np.where(alone, same, np.nan)
    return found
