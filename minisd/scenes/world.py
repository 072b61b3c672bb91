"""The endless world: every (seed, index) is one scene, the same for ever, whoever asks and in whatever order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from minisd.scenes.draw import Scene, draw
from minisd.scenes.factors import CATEGORIES, SceneFactors, random_factors


@dataclass(frozen=True)
class SceneBatch:
    """Scenes, stacked.

    Attributes
    ----------
    images : ndarray [n, size, size, 3] of uint8
        RGB.
    masks : ndarray [n, 2, size, size] of bool
        Visible pixels of the first and the second thing; the second is empty where there is one thing.
    factors : tuple of SceneFactors
        What was drawn.
    captions : tuple of tuple of str
        Five wordings a scene.
    """

    images: np.ndarray
    masks: np.ndarray
    factors: tuple[SceneFactors, ...]
    captions: tuple[tuple[str, ...], ...]


def scene(
    index: int,
    seed: int = 0,
    size: int = 64,
    two: float = 0.3,
    categories: Sequence[str] = CATEGORIES,
) -> Scene:
    """One scene of the world.

    Parameters
    ----------
    index : int
        Which scene, from 0.
    seed : int
        Which world, from 0.
    size : int
        Height and width in pixels; the factors do not depend on it.
    two, categories
        As in `random_factors`.

    Returns
    -------
    Scene
        With one or two things.

    Raises
    ------
    ValueError
        `index` or `seed` is negative or not whole, or `size`, `two` or `categories` is out of range.
    """
    rng = _rng(index, seed)
    return draw(random_factors(rng, two, categories), rng, size)


def scene_factors(
    index: int, seed: int = 0, two: float = 0.3, categories: Sequence[str] = CATEGORIES
) -> SceneFactors:
    """The factors of `scene(index, seed)`, without drawing it: to choose which scenes to keep.

    Parameters
    ----------
    index, seed, two, categories
        As in `scene`.

    Returns
    -------
    SceneFactors
        What the scene shows.

    Raises
    ------
    ValueError
        `index` or `seed` is negative or not whole, or `two` or `categories` is out of range.
    """
    return random_factors(_rng(index, seed), two, categories)


def scenes(
    indices: Iterable[int],
    seed: int = 0,
    size: int = 64,
    two: float = 0.3,
    categories: Sequence[str] = CATEGORIES,
) -> SceneBatch:
    """Several scenes of the world, stacked.

    Parameters
    ----------
    indices : iterable of int
        Which scenes, for example ``range(64)``; at least one.
    seed, size, two, categories
        As in `scene`.

    Returns
    -------
    SceneBatch
        In the order of `indices`.

    Raises
    ------
    ValueError
        There is no index, one is negative or not whole, or `size`, `two` or `categories` is out of range.
    """
    drawn = [scene(index, seed, size, two, categories) for index in indices]
    if not drawn:
        raise ValueError("indices is empty; allowed is at least one index")
    masks = np.zeros((len(drawn), 2, size, size), bool)
    for row, one in zip(masks, drawn, strict=True):
        row[: len(one.masks)] = one.masks
    return SceneBatch(
        np.stack([one.image for one in drawn]),
        masks,
        tuple(one.factors for one in drawn),
        tuple(one.captions for one in drawn),
    )


def _rng(index: int, seed: int) -> np.random.Generator:
    for name, value in (("index", index), ("seed", seed)):
        if value != int(value) or value < 0:
            raise ValueError(f"{name} is {value}; allowed is a whole number from 0")
    return np.random.Generator(np.random.PCG64([int(seed), int(index)]))
