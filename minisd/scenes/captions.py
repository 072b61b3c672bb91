"""Five wordings of a scene, as COCO has five captions a picture.

The first wording is always `caption`, the complete one; the other four are drawn from a pool, are shorter, leave some
factors out and use other words for the same thing.
"""

import numpy as np

from minisd.scenes.factors import SceneFactors, Thing, pick

_IN = {
    "grass field": ("in a grass field", "in a green field", "in a meadow"),
    "beach": ("on a beach", "by the sea", "at the beach"),
    "snow": ("in the snow", "on a snowy day", "in a snowy field"),
    "night street": ("on a street at night", "on a city street at night", "in a night street"),
    "room": ("in a room", "inside a house", "in a living room"),
    "lake": ("by a lake", "at a lake", "by a lake with mountains"),
}
_OF = {"snow": "a snowy field", "lake": "a lake shore"}
_SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}
_ACCESSORY_WORDS = {
    "none": ("",),
    "sunglasses": (" with sunglasses", " wearing sunglasses", " in sunglasses"),
    "hat": (" with a hat", " wearing a hat", " in a pink hat"),
}
_PLACE = {"left": "on the left", "centre": "in the centre", "right": "on the right"}
_RELATION_WORDS = {
    "left of": ("left of", "to the left of", "on the left side of"),
    "right of": ("right of", "to the right of", "on the right side of"),
    "above": ("above", "over", "high above"),
    "on": ("on", "sitting on", "on top of"),
}
_OPENINGS = ("", "a picture of ", "a drawing of ", "there is ")


def caption(factors: SceneFactors) -> str:
    """The complete wording, every factor in it; the same factors give the same words.

    Parameters
    ----------
    factors : SceneFactors
        A scene with one or two things.

    Returns
    -------
    str
        For example 'a large red dog with sunglasses on the left of a grass field', or 'a small white cat on
        a large red bench in the centre of a beach'. 'left of' and 'right of' tell the places already.
    """
    background = _OF.get(factors.background, _a(factors.background))
    things = [_full(thing) for thing in factors.things]
    if not things:
        return f"an empty scene {_IN[factors.background][0]}"
    text = f" {factors.relation} ".join(things)
    if factors.relation in ("left of", "right of"):
        return f"{text} {_IN[factors.background][0]}"
    return f"{text} {_PLACE[factors.things[0].place]} of {background}"


def captions(factors: SceneFactors, rng: np.random.Generator) -> tuple[str, ...]:
    """Five different wordings of a scene.

    Parameters
    ----------
    factors : SceneFactors
        A scene with no, one or two things.
    rng : numpy.random.Generator
        Chooses words and wordings; only `rng.random` is used.

    Returns
    -------
    tuple of str
        Five strings in lower case; the first is `caption(factors)` and names every factor.
    """
    wordings = [caption(factors)]
    write = {0: _about_none, 1: _about_one, 2: _about_two}[len(factors.things)]
    while len(wordings) < 5:
        text = write(factors, rng)
        if text not in wordings:
            wordings.append(text)
    return tuple(wordings)


def thing_captions(thing: Thing) -> tuple[str, ...]:
    """Five wordings of a thing by itself, without its place and what is behind it.

    Parameters
    ----------
    thing : Thing

    Returns
    -------
    tuple of str
        For example 'a large red dog with sunglasses', which names all, and 'a red dog in sunglasses'. The same thing
        has the same words.
    """
    sizes, wears = _SIZE_WORDS[thing.size], _ACCESSORY_WORDS[thing.accessory]
    noun, colour = thing.category, thing.colour
    return (
        _full(thing),
        f"{_a(sizes[1])} {colour} {noun}{wears[len(wears) // 2]}",
        f"{_a(colour)} {noun}{wears[-1]}",
        f"{_a(sizes[0])} {noun}{wears[len(wears) // 2]}",
        f"{_a(noun)}{wears[0]}",
    )


def _about_none(factors: SceneFactors, rng: np.random.Generator) -> str:
    subject = pick(rng, ("an empty scene", "nothing", "nobody", "no one"))
    return f"{subject} {pick(rng, _IN[factors.background])}"


def _about_one(factors: SceneFactors, rng: np.random.Generator) -> str:
    (thing,) = factors.things
    where, place = pick(rng, _IN[factors.background]), _PLACE[thing.place]
    size, wears = pick(rng, _SIZE_WORDS[thing.size]), pick(rng, _ACCESSORY_WORDS[thing.accessory])
    opening, noun, colour = pick(rng, _OPENINGS), thing.category, thing.colour
    texts = (
        f"{opening}{_a(noun)}{wears} {where}",
        f"{opening}{_a(colour)} {noun}{wears} {where}",
        f"{opening}{_a(size)} {noun}{wears} {where}",
        f"{opening}{_a(size)} {colour} {noun}{wears} {where}",
        f"{opening}{_a(noun)} that is {colour} and {size}, {where}",
        f"{where}, {_a(colour)} {noun}{wears} {place}",
        f"{place}, {_a(size)} {colour} {noun}{wears}",
    )
    return pick(rng, texts)


def _about_two(factors: SceneFactors, rng: np.random.Generator) -> str:
    where = pick(rng, _IN[factors.background])
    relation = pick(rng, _RELATION_WORDS[factors.relation])
    first, second = factors.things
    short = [_a(t.category) + pick(rng, _ACCESSORY_WORDS[t.accessory]) for t in factors.things]
    coloured = [
        f"{_a(t.colour)} {t.category}" + pick(rng, _ACCESSORY_WORDS[t.accessory])
        for t in factors.things
    ]
    texts = (
        f"{short[0]} {relation} {short[1]} {where}",
        f"{coloured[0]} {relation} {coloured[1]} {where}",
        f"{coloured[0]} {relation} {_a(second.category)}",
        f"{coloured[0]} and {coloured[1]} {where}",
        f"{_a(first.category)} {relation} {_a(second.category)}, {where}",
    )
    return pick(rng, _OPENINGS) + pick(rng, texts)


def _full(thing: Thing) -> str:
    return f"{_a(thing.size)} {thing.colour} {thing.category}{_ACCESSORY_WORDS[thing.accessory][0]}"


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
