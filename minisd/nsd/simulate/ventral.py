"""Voxels beyond the early regions: what the scene shows, and as much again that no factor of the scene names.

Each voxel answers to a sum of a scene's factors. Which ones changes smoothly over the cortex (Huth et al. 2012), partly
alike in all subjects; patches prefer faces, bodies, places or clocks (as NSD's prefer words). With each factor goes
something that nobody named: another function of the picture, a random network, from which everything that the factors
can tell linearly is taken away. It varies as much, and voxels answer to the sum of both: half of the reliable variance
is no named factor, and no choice of voxels separates the two.
N pictures, V voxels, K factors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.simulate.early import standardised
from minisd.scenes import (
    ACCESSORIES,
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    PLACES,
    RELATIONS,
    SceneFactors,
)

COMMON = 0.6
"""Share of the tuning that is the same in all subjects."""
SMOOTHNESS = 0.3
"""Over how much of the cortex tuning stays alike, radians."""
PATCH = 1.5
"""How strongly a patch answers to its factor, where other tuning has a standard deviation of 1."""

KINDS = {
    "animal": ("dog", "cat", "bird", "horse", "elephant", "teddy bear"),
    "pet": ("dog", "cat"),
    "hoofed": ("horse", "elephant"),
    "vehicle": ("car", "bus", "boat", "airplane"),
    "flying": ("bird", "airplane", "kite"),
    "furniture": ("bench", "clock", "potted plant", "umbrella"),
    "toy": ("teddy bear", "kite"),
}
"""What categories have in common: most of their tuning is to this, as the categories of one kind are hard to tell
apart in the brain."""

GROUPS = {
    "kind": 0.24,
    "category": 0.20,
    "background": 0.22,
    "colour": 0.10,
    "place": 0.10,
    "size": 0.05,
    "accessory": 0.05,
    "count": 0.04,
}
"""Share of the named variance of a voxel without a patch, about, that a group of factors has."""

PATCHES = {
    "floc-faces": {"animal": 1.0, "sunglasses": 0.3},
    "floc-bodies": {"animal": 0.7, "hoofed": 0.5},
    "floc-places": {"room": 0.7, "night street": 0.6, "grass field": -0.4, "snow": -0.4},
    "floc-words": {"clock": 1.0},
}
"""What the patches of a kind of regions prefer: factors by name."""


def factor_names() -> tuple[tuple[str, str], ...]:
    """The factors that voxels answer to, in order: group and name."""
    words = {
        "kind": tuple(KINDS),
        "category": CATEGORIES,
        "background": BACKGROUNDS,
        "colour": COLOURS,
        "place": PLACES,
        "size": ("large",),
        "accessory": ACCESSORIES[1:],
        "count": ("two", *RELATIONS),
    }
    return tuple((group, name) for group, names in words.items() for name in names)


def named(scenes: Sequence[SceneFactors]) -> NDArray[np.float32]:
    """Describe scenes by their factors.

    Parameters
    ----------
    scenes : sequence of SceneFactors

    Returns
    -------
    float32 [N, K]
        1 where a factor is there, else 0; 0.75 where it is that of a small thing. In the order of `factor_names`.
    """
    column = {key: i for i, key in enumerate(factor_names())}
    found = np.zeros((len(scenes), len(column)), np.float32)
    for row, scene in zip(found, scenes, strict=True):
        row[column["background", scene.background]] = 1
        for thing in scene.things:
            amount = 1.0 if thing.size == "large" else 0.75
            keys = [("category", thing.category), ("colour", thing.colour), ("place", thing.place)]
            keys += [("kind", kind) for kind, members in KINDS.items() if thing.category in members]
            keys += [("accessory", thing.accessory)] * (thing.accessory != "none")
            for key in keys:
                row[column[key]] = max(row[column[key]], amount)
            row[column["size", "large"]] = max(row[column["size", "large"]], thing.size == "large")
        if len(scene.things) == 2:
            row[column["count", "two"]] = row[column["count", scene.relation]] = 1
    return found


def unnamed(
    pictures: NDArray[np.uint8], factors: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Describe pictures by what no factor tells.

    Parameters
    ----------
    pictures : uint8 [N, S, S, 3]
        S a multiple of 8. All of the simulation: what the factors tell is taken away over these.
    factors : float32 [N, K]
    rng : numpy.random.Generator
        Gives the network its weights.

    Returns
    -------
    float32 [N, K]
        With the factors' covariance, and uncorrelated with each of them. With few more pictures than factors there
        is little left, and then it varies less.
    """
    size = pictures.shape[1]
    if size % 8:
        raise ValueError(f"pictures are {size} wide; it must be a multiple of 8")
    parts = pictures.reshape(len(pictures), 8, size // 8, 8, size // 8, 3)
    hidden = standardised(parts.mean(axis=(2, 4), dtype=np.float32).reshape(len(pictures), -1))
    for width in (256, factors.shape[1]):
        weights = rng.standard_normal((hidden.shape[1], width)) / np.sqrt(hidden.shape[1])
        hidden = standardised(np.tanh(2 * hidden @ weights.astype(np.float32)))
    told = np.concatenate([factors, np.ones((len(factors), 1))], axis=1)
    left = hidden - told @ np.linalg.lstsq(told, hidden, rcond=None)[0]
    roots = [
        _power(np.cov(values.T.astype(float)), power)
        for values, power in ((left, -0.5), (factors, 0.5))
    ]
    return (left @ roots[0] @ roots[1]).astype(np.float32)


def _power(covariance: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """A power of a symmetric matrix; what has no variance is left at 0."""
    values, vectors = np.linalg.eigh(covariance)
    alive = values > 1e-6
    return (vectors[:, alive] * values[alive] ** power) @ vectors[:, alive].T


def tuning(
    place: NDArray[np.float32],
    patches: dict[str, NDArray[np.bool_]],
    common: np.random.Generator,
    own: np.random.Generator,
) -> NDArray[np.float32]:
    """Choose what voxels answer to.

    Parameters
    ----------
    place : float32 [V, 3]
        On a sphere of radius 1, each hemisphere mirrored onto the other.
    patches : dict of str to bool [V]
        By kind of regions, whether a voxel lies in one.
    common, own : numpy.random.Generator
        What all subjects have in common must come from the same stream.

    Returns
    -------
    float32 [K, V]
        Weights of the factors, each taken to have a standard deviation of 1.
    """
    keys = factor_names()
    weights = np.sqrt(COMMON) * _smooth(place, len(keys), common)
    weights += np.sqrt(1 - COMMON) * _smooth(place, len(keys), own)
    weights = 0.9 * weights + np.sqrt(1 - 0.9**2) * own.standard_normal(weights.shape)
    for row, (group, _) in zip(weights, keys, strict=True):
        row *= np.sqrt(GROUPS[group] / sum(other == group for other, _ in keys))
    column = {name: i for i, (_, name) in enumerate(keys)}
    for kind, inside in patches.items():
        for name, amount in PATCHES[kind].items():
            weights[column[name], inside] += PATCH * amount
    return weights.astype(np.float32)


def place_on_sphere(rho: NDArray[np.float32], psi: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn the cortex's two angles (degrees, [V]) into points of the unit sphere, [V, 3]."""
    rho, psi = np.radians(rho), np.radians(psi)
    return np.stack([np.sin(rho) * np.cos(psi), np.sin(rho) * np.sin(psi), -np.cos(rho)], axis=1)


def _smooth(
    place: NDArray[np.float32], count: int, rng: np.random.Generator, waves: int = 200
) -> NDArray[np.float64]:
    """Random fields of variance 1 that are smooth over the cortex, [count, V]."""
    direction = rng.standard_normal((3, waves)) / SMOOTHNESS
    phase = rng.uniform(0, 2 * np.pi, waves)
    weights = rng.standard_normal((count, waves)) * np.sqrt(2 / waves)
    return weights @ np.cos(place @ direction + phase).T


def responses(
    named: NDArray[np.float32], unnamed: NDArray[np.float32], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What voxels answer to pictures, without noise.

    Parameters
    ----------
    named, unnamed : float32 [N, K]
    weights : float32 [K, V]
        See `tuning`.

    Returns
    -------
    float32 [N, V]
        Each voxel with mean 0 and standard deviation 1 over the pictures.
    """
    deviation = named.std(axis=0)
    scaled = (named + unnamed) / np.where(deviation > 1e-6, deviation, np.inf)
    return standardised(scaled.astype(np.float32) @ weights)
