"""What a scene is made of: the vocabulary, and the factors of one scene.

A scene is a background and up to two things, each with a category, a colour, a size, a place and perhaps an
accessory; two things stand in a relation. The categories are COCO's (Lin et al. 2014, arXiv:1405.0312), since
the pictures of the Natural Scenes Dataset are COCO's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Option = TypeVar("Option")

CATEGORIES = (
    "dog",
    "cat",
    "bird",
    "horse",
    "elephant",
    "teddy bear",
    "car",
    "bus",
    "boat",
    "airplane",
    "kite",
    "umbrella",
    "bench",
    "clock",
    "potted plant",
)
NEWCOMERS = ("giraffe",)
"""What can be drawn as well, but is in no scene unless asked for: fine-tuning teaches it."""
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
SIZES = ("small", "large")
PLACES = ("left", "centre", "right")
ACCESSORIES = ("none", "sunglasses", "hat")
BACKGROUNDS = ("grass field", "beach", "snow", "night street", "room", "lake")
RELATIONS = ("left of", "right of", "above", "on")

WITH_FACE = ("dog", "cat", "bird", "horse", "elephant", "teddy bear", "giraffe")
"""Who may wear an accessory."""
IN_THE_AIR = ("airplane", "kite")
"""What is drawn in the sky; only these can be 'above' another thing."""
ON_WATER = ("boat",)
"""What floats, and so needs a background with water."""
SITTERS = ("dog", "cat", "bird", "teddy bear", "clock", "potted plant")
"""What can be 'on' a bench."""

_WATER = ("beach", "lake")
_INDOORS = ("dog", "cat", "bird", "teddy bear", "umbrella", "bench", "clock", "potted plant")


@dataclass(frozen=True)
class Thing:
    """One thing of a scene.

    Parameters
    ----------
    category : str
        One of `CATEGORIES` or `NEWCOMERS`.
    colour : str
        One of `COLOURS`.
    size : str
        One of `SIZES`.
    place : str
        One of `PLACES`: where the thing is from left to right.
    accessory : str
        One of `ACCESSORIES`; other than 'none' only for `WITH_FACE`.

    Raises
    ------
    ValueError
        A word is not in the vocabulary, or a thing without a face has an accessory.
    """

    category: str
    colour: str
    size: str = "large"
    place: str = "centre"
    accessory: str = "none"

    def __post_init__(self) -> None:
        _check("category", self.category, CATEGORIES + NEWCOMERS)
        _check("colour", self.colour, COLOURS)
        _check("size", self.size, SIZES)
        _check("place", self.place, PLACES)
        _check("accessory", self.accessory, accessories_of(self.category))


@dataclass(frozen=True)
class SceneFactors:
    """The ground truth of a scene.

    Parameters
    ----------
    background : str
        One of `BACKGROUNDS`.
    things : tuple of Thing
        None (an empty background), one or two. Each must be at home in the background (`backgrounds_of`).
    relation : str, optional
        One of `RELATIONS`, read from the first thing to the second; given exactly when there are two.
        'left of' wants the places left and right, 'right of' the places right and left, 'above' and 'on'
        twice the same place. 'above' wants a first thing from `IN_THE_AIR` and a second that is not;
        'on' wants a small one of `SITTERS` on a large bench. Two things are never both large.

    Raises
    ------
    ValueError
        A factor is not in the vocabulary, or the factors do not fit together.
    """

    background: str
    things: tuple[Thing, ...] = ()
    relation: str | None = None

    def __post_init__(self) -> None:
        _check("background", self.background, BACKGROUNDS)
        if not isinstance(self.things, tuple) or len(self.things) > 2:
            raise ValueError(f"things is {self.things!r}; allowed is a tuple of 0, 1 or 2 things")
        for thing in self.things:
            allowed = backgrounds_of(thing.category)
            if self.background not in allowed:
                raise ValueError(
                    f"background of a {thing.category} is {self.background!r}; allowed is one of {allowed}"
                )
        if len(self.things) == 2:
            _check("relation", self.relation, RELATIONS)
            _check_relation(*self.things, self.relation)
        elif self.relation is not None:
            raise ValueError(f"relation is {self.relation!r}; without two things, allowed is None")


def accessories_of(category: str) -> tuple[str, ...]:
    """Accessories that a thing of this category may wear."""
    return ACCESSORIES if category in WITH_FACE else ("none",)


def backgrounds_of(category: str) -> tuple[str, ...]:
    """Backgrounds in which a thing of this category is at home."""
    if category in ON_WATER:
        return _WATER
    return BACKGROUNDS if category in _INDOORS else tuple(b for b in BACKGROUNDS if b != "room")


def categories_of(background: str) -> tuple[str, ...]:
    """Those of `CATEGORIES` that are at home in this background."""
    return tuple(c for c in CATEGORIES if background in backgrounds_of(c))


def random_factors(
    rng: np.random.Generator, two: float = 0.3, categories: Sequence[str] = CATEGORIES
) -> SceneFactors:
    """Draw the factors of a scene.

    Categories, then the backgrounds that suit them, then each other factor uniformly; a thing with a face
    has each accessory as often as none. Only `rng.random` is used, whose stream NumPy keeps from version
    to version.

    Parameters
    ----------
    rng : numpy.random.Generator
        Advanced by the draw.
    two : float
        Probability of two things, in [0, 1].
    categories : sequence of str
        What may be drawn, of `CATEGORIES` and `NEWCOMERS`; at least one. Two things stand in a relation that
        these allow: nothing is 'above' where none of them flies.

    Returns
    -------
    SceneFactors
        With one or two things.

    Raises
    ------
    ValueError
        `two` is outside [0, 1], there is no category, or one is unknown.
    """
    if not 0 <= two <= 1:
        raise ValueError(f"two is {two}; allowed is a probability in [0, 1]")
    if not categories:
        raise ValueError("categories is empty; allowed is at least one category")
    for category in categories:
        _check("category", category, CATEGORIES + NEWCOMERS)
    if rng.random() < two:
        return _random_pair(rng, categories)
    category = pick(rng, categories)
    background = pick(rng, backgrounds_of(category))
    thing = _random_thing(rng, category, pick(rng, SIZES), pick(rng, PLACES))
    return SceneFactors(background, (thing,))


def pick(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    """One of the options, each as probable as the other."""
    return options[int(rng.random() * len(options))]


def _random_pair(rng: np.random.Generator, categories: Sequence[str]) -> SceneFactors:
    flying = tuple(c for c in IN_THE_AIR if c in categories)
    grounded = tuple(c for c in categories if c not in IN_THE_AIR)
    sitting = tuple(c for c in SITTERS if c in categories)
    can_be = {"above": flying and grounded, "on": sitting and "bench" in categories}
    relation = pick(rng, [r for r in RELATIONS if can_be.get(r, True)])
    if relation == "on":
        first, second = pick(rng, sitting), "bench"
        sizes = ("small", "large")
    else:
        first = pick(rng, flying if relation == "above" else categories)
        second = pick(rng, grounded if relation == "above" else categories)
        sizes = pick(rng, (("small", "small"), ("small", "large"), ("large", "small")))
    if relation in ("left of", "right of"):
        places = ("left", "right") if relation == "left of" else ("right", "left")
    else:
        places = (pick(rng, PLACES),) * 2
    homes = [b for b in backgrounds_of(first) if b in backgrounds_of(second)]
    things = (
        _random_thing(rng, first, sizes[0], places[0]),
        _random_thing(rng, second, sizes[1], places[1]),
    )
    return SceneFactors(pick(rng, homes), things, relation)


def _random_thing(rng: np.random.Generator, category: str, size: str, place: str) -> Thing:
    return Thing(category, pick(rng, COLOURS), size, place, pick(rng, accessories_of(category)))


def _check(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed is one of {tuple(allowed)}")


def _check_relation(first: Thing, second: Thing, relation: str) -> None:
    places = (first.place, second.place)
    allowed = {"left of": (("left", "right"),), "right of": (("right", "left"),)}.get(
        relation, tuple((p, p) for p in PLACES)
    )
    if places not in allowed:
        raise ValueError(f"places of {relation!r} are {places}; allowed is one of {allowed}")
    if first.size == second.size == "large":
        raise ValueError("sizes of two things are both 'large'; allowed is at most one 'large'")
    if relation == "above" and (first.category not in IN_THE_AIR or second.category in IN_THE_AIR):
        raise ValueError(
            f"things of 'above' are {first.category!r} and {second.category!r}; "
            f"allowed is one of {IN_THE_AIR} above one that is not"
        )
    if relation == "on":
        _check("category of the thing on a bench", first.category, SITTERS)
        _check("size of the thing on a bench", first.size, ("small",))
        _check("category of the thing below 'on'", second.category, ("bench",))
        _check("size of the bench below 'on'", second.size, ("large",))
