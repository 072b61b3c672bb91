"""Early visual voxels: a Gaussian receptive field on the energy of Gabor filters.

The form is that of St-Yves and Naselaris 2018 (feature-weighted receptive fields): one place in the visual field for
all of a voxel's features. Retinotopy follows Benson et al. 2012 in outline: eccentricity grows exponentially along
`rho`, by the cortical magnification of Horton and Hoyt 1991, and the polar angle turns back at each border between
regions.
N pictures, V voxels, F features; degrees of visual angle, x to the right and y up from the point of fixation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minisd.extras import require
from minisd.nsd.simulate.anatomy import LEFT
from minisd.nsd.simulate.regions import EARLY_END, MID_END

EXTENT = 8.4
"""Edge of a picture in degrees, as in the Natural Scenes Dataset."""
GRID = 32
"""Places along an edge at which features are taken."""
FREQUENCIES = (4.0, 8.0, 16.0)
"""Cycles a picture."""
ORIENTATIONS = 4
ENERGIES = len(FREQUENCIES) * ORIENTATIONS
FEATURES = ENERGIES + 3
"""Energy by frequency and orientation; then the surface's own brightness, red against green, blue against yellow."""
BATCH = 128
FARTHEST = 6.0
"""Eccentricity at the end of the early regions."""
FOVEA = 0.75
"""Eccentricity at which magnification is halved (Horton and Hoyt 1991)."""
SIZES = {"V1": (0.25, 0.10), "V2": (0.35, 0.16), "V3": (0.5, 0.22)}
"""Of receptive fields at the fovea, and how they grow with eccentricity; elsewhere `LARGE`."""
LARGE = (0.8, 0.34)

# at psi, the borders and middles of regions: the polar angle, from the horizontal upwards
_TURNS = {
    -122: -90, -112: -90, -78: 90, -57: 0, -34: 90, 0: 0,
    34: -90, 57: 0, 78: -90, 120: 90, 179: -90, 238: 90,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class ReceptiveFields:
    """Where voxels look, and at what.

    Attributes
    ----------
    x, y, size : float32 [V]
        Centre and standard deviation, degrees.
    weights : float32 [V, F]
        Of the features, each taken to have a standard deviation of 1 over pictures and places.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    size: NDArray[np.float32]
    weights: NDArray[np.float32]

    def profiles(self) -> NDArray[np.float32]:
        """Each field on the grid of a picture, float32 [GRID * GRID, V]; sums to what of it is on the picture."""
        step = EXTENT / GRID
        places = (np.arange(GRID, dtype=np.float32) + 0.5) * step - EXTENT / 2
        size = np.maximum(self.size, step / 2)
        across = np.exp(-(((places[:, None] - self.x) / size) ** 2) / 2)
        upright = np.exp(-(((-places[:, None] - self.y) / size) ** 2) / 2)
        whole = (upright[:, None] * across).reshape(GRID * GRID, -1)
        whole[whole < 1e-6] = 0  # and no number so small that products with it are slow
        return whole * (step**2 / (2 * np.pi * size**2))


def receptive_fields(
    rho: NDArray[np.float32],
    psi: NDArray[np.float32],
    hemisphere: NDArray[np.uint8],
    part: NDArray[np.str_],
    rng: np.random.Generator,
) -> ReceptiveFields:
    """Give voxels their receptive fields by where they lie on the cortex.

    Parameters
    ----------
    rho, psi : float32 [V]
        As `regions.Regions` has them.
    hemisphere : uint8 [V]
        `anatomy.LEFT` sees the right of the visual field.
    part : array of str [V]
        "V1", "V2", "V3", or another, whose fields are larger.
    rng : numpy.random.Generator
        Scatters them a little, and chooses the features.
    """
    count = len(rho)
    along = rho / np.where(np.isin(part, list(SIZES)), EARLY_END, MID_END)
    eccentricity = FOVEA * (np.exp(along * np.log1p(FARTHEST / FOVEA)) - 1)
    eccentricity *= np.exp(0.08 * rng.standard_normal(count))
    turns = list(_TURNS)
    # counted from the ventral end, so that the angles from there on do not jump
    angle = np.interp((psi - turns[0]) % 360 + turns[0], turns, list(_TURNS.values()))
    angle = np.radians(np.clip(angle + 5 * rng.standard_normal(count), -100, 100))
    x = eccentricity * np.cos(angle) * np.where(hemisphere == LEFT, 1, -1)
    smallest, growth = np.array([SIZES.get(name, LARGE) for name in part]).reshape(-1, 2).T
    size = (smallest + growth * eccentricity) * np.exp(0.15 * rng.standard_normal(count))
    values = (x, eccentricity * np.sin(angle), size, _weights(eccentricity, rng))
    return ReceptiveFields(*(value.astype(np.float32) for value in values))


def _weights(eccentricity: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """What voxels respond to: finer patterns at the fovea, an orientation a little more than others."""
    count = len(eccentricity)
    best = 3.6 - 0.3 * eccentricity + 0.4 * rng.standard_normal(count)  # octaves
    frequency = np.exp(-((np.log2(FREQUENCIES) - best[:, None]) ** 2) / 2)
    turned = np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS - rng.uniform(0, np.pi, (count, 1))
    orientation = 1 + rng.uniform(0.2, 0.8, (count, 1)) * np.cos(2 * turned)
    energy = (frequency[:, :, None] * orientation[:, None]).reshape(count, ENERGIES)
    energy /= np.linalg.norm(energy, axis=1, keepdims=True)
    surface = 0.4 * rng.standard_normal((count, FEATURES - ENERGIES))
    return np.concatenate([energy, surface], axis=1)


def features(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Filter pictures.

    Parameters
    ----------
    pictures : uint8 [N, S, S, 3]
        S a multiple of `GRID`. They are seen on grey.

    Returns
    -------
    float32 [N, F, GRID, GRID]
        See `FEATURES`. Energies are amplitudes, divided by those about them (normalisation; Carandini and Heeger 2012).
    """
    size = pictures.shape[1]
    if pictures.shape[1:] != (size, size, 3) or size % GRID:
        raise ValueError(
            f"pictures have the shape {pictures.shape}; it must be (N, S, S, 3), S a multiple of {GRID}"
        )
    red, green, blue = np.moveaxis(pictures.astype(np.float32) / 127.5 - 1, 3, 0)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    found = np.empty((len(pictures), FEATURES, GRID, GRID), np.float32)
    pad = size // 8
    padded = np.pad(grey, ((0, 0), (pad, pad), (pad, pad)))
    spectrum = np.fft.fft2(padded).astype(np.complex64)
    for row, one in enumerate(_gabors(padded.shape[1], padded.shape[1] / size)):
        found[:, row] = _pooled(np.abs(np.fft.ifft2(spectrum * one))[:, pad:-pad, pad:-pad])
    about = require("scipy.ndimage", "brain").uniform_filter(
        found[:, :ENERGIES].mean(axis=1, keepdims=True), (0, 0, 7, 7)
    )
    found[:, :ENERGIES] /= about + 0.1  # what is faint stays so
    for row, plane in enumerate((grey, red - green, blue - (red + green) / 2), start=ENERGIES):
        found[:, row] = _pooled(plane)
    return found


def _pooled(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    step = plane.shape[1] // GRID
    return plane.reshape(len(plane), GRID, step, GRID, step).mean(axis=(2, 4))


def _gabors(size: int, pictures: float) -> list[NDArray[np.float32]]:
    """Gabor filters in the frequency domain, one-sided, so that the amplitude of what they give is the energy's root.

    The plane is ``size`` pixels wide, which are so many ``pictures``.
    """
    cycles = np.fft.fftfreq(size) * size / pictures
    frequency = np.hypot(cycles[:, None], cycles)
    angle = np.arctan2(-cycles[:, None], cycles)
    octave = np.log2(np.maximum(frequency, 1e-3))
    made = []
    for best in FREQUENCIES:
        for turn in np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS:
            away = np.angle(np.exp(1j * (angle - turn))) / (np.pi / 7)
            one = np.exp(-(((octave - np.log2(best)) / 0.7) ** 2) / 2 - away**2 / 2)
            made.append((2 * one * (frequency > 0)).astype(np.float32))
    return made


def responses(pictures: NDArray[np.uint8], fields: ReceptiveFields) -> NDArray[np.float32]:
    """What voxels answer to pictures, without noise.

    Parameters
    ----------
    pictures : uint8 [N, S, S, 3]
    fields : ReceptiveFields

    Returns
    -------
    float32 [N, V]
        Each voxel with mean 0 and standard deviation 1 over the pictures; 0 if it sees nothing of them.
    """
    profiles = fields.profiles()
    found = np.zeros((len(pictures), profiles.shape[1]), np.float32)
    # how much each feature varies, to weigh them alike
    deviation = features(pictures[:BATCH]).std(axis=(0, 2, 3))
    weights = fields.weights / np.maximum(deviation, 1e-6)
    for start in range(0, len(pictures), BATCH):
        batch = features(pictures[start : start + BATCH])
        part = found[start : start + BATCH]
        for feature in range(FEATURES):
            part += (batch[:, feature].reshape(len(batch), -1) @ profiles) * weights[:, feature]
    return standardised(found)


def standardised(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give each column mean 0 and standard deviation 1; 0 if it varies by no more than rounding does."""
    signal = signal - signal.mean(axis=0)
    deviation = signal.std(axis=0)
    return signal / np.where(deviation > 1e-3, deviation, np.inf)
