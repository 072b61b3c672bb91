"""Scenes that differ from a scene in one factor: what a reader of pictures or captions has to tell apart."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from minisd.scenes.factors import (
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    NEWCOMERS,
    PLACES,
    SIZES,
    SceneFactors,
    Thing,
    accessories_of,
)


def one_factor_changes(factors: SceneFactors) -> tuple[SceneFactors, ...]:
    """All scenes that differ in one factor.

    A factor is the background, the relation, or the category, colour, size, place or accessory of a thing. Places that
    a relation binds change with it: 'right of' instead of 'left of' swaps them, and two things of 'above' or 'on' move
    together. No other relation can be had without a second change, of things or of where they are.

    Parameters
    ----------
    factors : SceneFactors
        With no, one or two things.

    Returns
    -------
    tuple of SceneFactors
        Each once, and each can be drawn; categories are of `CATEGORIES` and `NEWCOMERS`.
    """
    return tuple(_valid(_candidates(factors)))


def _candidates(factors: SceneFactors) -> Iterator[dict[str, Any]]:
    """Settings of `SceneFactors`, valid or not."""
    swapped = {"left of": "right of", "right of": "left of"}
    scene = {
        "background": factors.background,
        "things": factors.things,
        "relation": factors.relation,
    }
    for background in BACKGROUNDS:
        if background != factors.background:
            yield scene | {"background": background}
    for i, thing in enumerate(factors.things):
        for changed in _changed_things(thing):
            things = (*factors.things[:i], changed, *factors.things[i + 1 :])
            yield scene | {"things": things}
    if len(factors.things) == 2:
        if factors.relation in ("above", "on"):
            for place in PLACES:
                if place != factors.things[0].place:
                    things = tuple(replace(thing, place=place) for thing in factors.things)
                    yield scene | {"things": things}
        elif factors.relation in swapped:
            first, second = factors.things
            things = replace(first, place=second.place), replace(second, place=first.place)
            yield scene | {"things": things, "relation": swapped[factors.relation]}


def _changed_things(thing: Thing) -> Iterator[Thing]:
    options = {
        "colour": COLOURS,
        "size": SIZES,
        "place": PLACES,
        "accessory": accessories_of(thing.category),
    }
    for name, words in options.items():
        for word in words:
            if word != getattr(thing, name):
                yield replace(thing, **{name: word})
    for category in CATEGORIES + NEWCOMERS:
        if category != thing.category and thing.accessory in accessories_of(category):
            yield replace(thing, category=category)


def _valid(candidates: Iterator[dict[str, Any]]) -> Iterator[SceneFactors]:
    for candidate in candidates:
        try:
            yield SceneFactors(**candidate)
        except ValueError:  # such a scene cannot be drawn: a boat in a room, two large things
            continue
