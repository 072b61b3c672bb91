"""Which scenes the miniature is not trained on, so that it can be asked for what it has never seen together."""

import zlib

from minisd.scenes.factors import CATEGORIES, COLOURS, NEWCOMERS, SceneFactors, backgrounds_of

Combination = tuple[str, str, str]


def held_out(factors: SceneFactors) -> bool:
    """Whether one of the things, with its colour and background, is a combination that is held out."""
    return any(
        _is_held_out((thing.category, thing.colour, factors.background)) for thing in factors.things
    )


def held_out_combinations() -> tuple[Combination, ...]:
    """Category, colour and background of all that is held out: a tenth of what there is, whatever the scene."""
    return tuple(
        combination
        for category in CATEGORIES + NEWCOMERS
        for colour in COLOURS
        for background in backgrounds_of(category)
        if _is_held_out(combination := (category, colour, background))
    )


def _is_held_out(combination: Combination) -> bool:
    return zlib.crc32("/".join(combination).encode()) % 10 == 0
