"""A brain's back end, folded: a volume with grey and white matter, and where on the cortex each voxel lies.

Axes are those of the Natural Scenes Dataset: x from left to right, y from back to front, z from bottom to top. Each
hemisphere is half an ellipsoid that folds dent; its anterior end lies outside of the field of view. The cortex is the
layer below its surface. It is described by two angles about the hemisphere's middle: `rho` from the occipital pole, and
`psi` around the pole, from medial (0) to dorsal (90), lateral (180) and ventral (-90 degrees).
[X, Y, Z] voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minisd.extras import require

VOXEL = 1.8
"""Edge of a voxel, mm."""
THICKNESS = 1.6
"""Of the cortex, in voxels."""
SULCI = 13.0
"""Wavelength of the field whose zeros are the sulci, in voxels."""
DEPTH = 3.5
"""Of a sulcus, in voxels."""
FINE = 3
"""Points along a voxel's edge where the surface is looked for."""
WAVES = 24

OUTSIDE, FLUID, GREY, WHITE = range(4)
"""What is in a voxel: values of `Anatomy.tissue`."""
LEFT, RIGHT = 1, 2
"""Values of `Anatomy.hemisphere`."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A brain, voxel by voxel.

    Attributes
    ----------
    tissue : uint8 [X, Y, Z]
        `OUTSIDE`, `FLUID`, `GREY` or `WHITE`.
    hemisphere : uint8 [X, Y, Z]
        `LEFT` or `RIGHT` in grey and white matter, else 0.
    rho, psi : float32 [X, Y, Z]
        Where on the cortex, in degrees; in white matter, below which place of it. NaN elsewhere.
    """

    tissue: NDArray[np.uint8]
    hemisphere: NDArray[np.uint8]
    rho: NDArray[np.float32]
    psi: NDArray[np.float32]

    @property
    def brain(self) -> NDArray[np.bool_]:
        """Where grey or white matter is, bool [X, Y, Z]."""
        return self.tissue >= GREY

    @property
    def cortex(self) -> NDArray[np.bool_]:
        """Where grey matter is, bool [X, Y, Z]."""
        return self.tissue == GREY

    @property
    def affine(self) -> NDArray[np.float64]:
        """Turns voxels into mm to the right, the front and the top of the volume's middle, float64 [4, 4]."""
        affine = np.diag([VOXEL, VOXEL, VOXEL, 1.0])
        affine[:3, 3] = -VOXEL * (np.array(self.tissue.shape) - 1) / 2
        return affine


def grow(shape: tuple[int, int, int], rng: np.random.Generator) -> Anatomy:
    """Grow a brain that fills a volume of that shape; chance folds it."""
    depth = np.full(shape, -np.inf, np.float32)
    hemisphere = np.zeros(shape, np.uint8)
    rho, psi = np.full((2, *shape), np.nan, np.float32)
    for side in (LEFT, RIGHT):
        below, one_rho, one_psi = _half(shape, side, rng)
        mine = below > depth
        depth[mine], hemisphere[mine] = below[mine], side
        rho[mine], psi[mine] = one_rho[mine], one_psi[mine]
    tissue = np.select(
        [depth > THICKNESS, depth > 0, depth > -1.5], [WHITE, GREY, FLUID], OUTSIDE
    ).astype(np.uint8)
    outside = tissue < GREY
    hemisphere[outside], rho[outside], psi[outside] = 0, np.nan, np.nan
    return Anatomy(tissue, hemisphere, rho, psi)


def _half(
    shape: tuple[int, int, int], side: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """One hemisphere: depth, rho and psi [X, Y, Z]."""
    ndimage = require("scipy.ndimage", "brain")
    edges = [(np.arange(FINE * n, dtype=np.float32) + 0.5) / FINE - 0.5 for n in shape]
    x, y, z = np.meshgrid(*edges, indexing="ij", sparse=True)
    # from the midline outwards, from the middle of the hemisphere forwards and upwards
    x = (-1 if side == LEFT else 1) * (x - (shape[0] - 1) / 2)
    axes = np.array([shape[0] / 4 - 1, 0.75 * shape[1], shape[2] / 2 - 1.5], np.float32)
    u = (x - 0.5 - axes[0]) / axes[0]
    v = (y - 1 - axes[1]) / axes[1]
    w = (z - (shape[2] - 1) / 2) / axes[2]
    radius = np.maximum(np.sqrt(u**2 + v**2 + w**2), 1e-6)
    slope = np.sqrt((u / axes[0]) ** 2 + (v / axes[1]) ** 2 + (w / axes[2]) ** 2) / radius
    rho = np.degrees(np.arccos(np.clip(-v / radius, -1, 1)))
    psi = np.degrees(np.arctan2(w, -u)) + 0 * v
    # sulci are where a random field is about zero; one is the calcarine's, from the pole along the medial side
    dent = np.exp(-((_waves(x, y, z, rng) / 0.3) ** 2))
    calcarine = np.exp(-((w * axes[2] / 0.8) ** 2)) * (np.abs(psi) < 90) * (rho < 75)
    # the surface, to first order in the distance from the ellipsoid; below 0 is inside
    surface = (radius - 1) / np.maximum(slope, 1 / axes.max())
    surface = np.maximum(surface, 0.5 - x) + DEPTH * np.maximum(dent, calcarine)
    # beyond the field of view the brain goes on
    inside = np.pad(surface < 0, ((0, 0), (0, 20), (0, 0)), mode="edge")
    below = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    below = (below[:, : surface.shape[1]] - np.sign(below[:, : surface.shape[1]]) / 2) / FINE
    middle = (slice(FINE // 2, None, FINE),) * 3
    averaged = below.reshape(*(k for n in shape for k in (n, FINE))).mean(axis=(1, 3, 5))
    return averaged.astype(np.float32), rho[middle], psi[middle]


def _waves(
    x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """A smooth random field of variance 1 with one wavelength."""
    direction = rng.standard_normal((WAVES, 3)).astype(np.float32)
    direction *= 2 * np.pi / SULCI / np.linalg.norm(direction, axis=1, keepdims=True)
    phase = rng.uniform(0, 2 * np.pi, WAVES).astype(np.float32)
    field = 0
    for (a, b, c), shift in zip(direction, phase, strict=True):
        field = field + np.cos(a * x + b * y + c * z + shift)
    return field * np.float32(np.sqrt(2 / WAVES))
