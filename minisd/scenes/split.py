"""Which scenes the miniature is not trained on, so that it can be asked for what it has never seen together."""

import zlib

from minisd.scenes.factors import CATEGORIES, COLOURS, NEWCOMERS, SceneFactors, backgrounds_of

Combination = tuple[str, str, str]


def held_out(factors: SceneFactors) -> bool:
    """Whether one of the things, with its colour and background, is a combination that is held out.

    Parameters
    ----------
    factors : SceneFactors
        With no, one or two things; an empty scene is not held out.

    Returns
    -------
    bool
        True for the scenes of tests, False for those that may be trained on.
    """
    return any(
        _is_held_out((thing.category, thing.colour, factors.background)) for thing in factors.things
    )


def held_out_combinations() -> tuple[Combination, ...]:
    """All that is held out, about a tenth of what can be drawn.

    Returns
    -------
    tuple of (str, str, str)
        Category, colour and background, of `CATEGORIES` and `NEWCOMERS`.
    """
    return tuple(
        combination
        for category in CATEGORIES + NEWCOMERS
        for colour in COLOURS
        for background in backgrounds_of(category)
        if _is_held_out(combination := (category, colour, background))
    )


def _is_held_out(combination: Combination) -> bool:
    # A hash that is the same on every machine, unlike Python's own of a string.
    return zlib.crc32("/".join(combination).encode()) % 10 == 0
