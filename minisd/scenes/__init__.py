"""The picture world: an endless, seeded world of captioned 64x64 scenes with ground truth.

Each scene gives the picture, the factors it was drawn from, five captions and a mask for each thing. NumPy and Pillow
are all it needs.
"""

from minisd.scenes.captions import caption, captions, thing_captions
from minisd.scenes.changes import one_factor_changes
from minisd.scenes.draw import COLOUR_RGB, Scene, draw
from minisd.scenes.factors import (
    ACCESSORIES,
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    NEWCOMERS,
    PLACES,
    RELATIONS,
    SIZES,
    SceneFactors,
    Thing,
    accessories_of,
    backgrounds_of,
    categories_of,
    random_factors,
)
from minisd.scenes.split import held_out, held_out_combinations
from minisd.scenes.world import SceneBatch, scene, scene_factors, scenes

__all__ = [
    "ACCESSORIES",
    "BACKGROUNDS",
    "CATEGORIES",
    "COLOURS",
    "COLOUR_RGB",
    "NEWCOMERS",
    "PLACES",
    "RELATIONS",
    "SIZES",
    "Scene",
    "SceneBatch",
    "SceneFactors",
    "Thing",
    "accessories_of",
    "backgrounds_of",
    "caption",
    "captions",
    "categories_of",
    "draw",
    "held_out",
    "held_out_combinations",
    "one_factor_changes",
    "random_factors",
    "scene",
    "scene_factors",
    "scenes",
    "thing_captions",
]
