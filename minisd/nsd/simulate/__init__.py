"""Simulated subjects, written in the layout of the Natural Scenes Dataset.

Nothing in them was measured: drawn pictures go through a model of the visual cortex that shares nothing with the
decoders, and noise is added. How much is set after the dataset's own statistics.
"""

from minisd.nsd.simulate.dataset import simulate
from minisd.nsd.simulate.settings import (
    LEVELS,
    SIZES,
    Level,
    NoiseSettings,
    SimulationSettings,
    SubjectSettings,
)

__all__ = [
    "LEVELS",
    "SIZES",
    "Level",
    "NoiseSettings",
    "SimulationSettings",
    "SubjectSettings",
    "simulate",
]
