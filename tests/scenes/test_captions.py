"""The captions say what is in the picture, in five ways."""

import re
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minisd.scenes import SceneFactors, Thing, caption, captions, random_factors, thing_captions

WORDS_OF_BACKGROUND = {
    "grass field": "grass field",
    "beach": "beach",
    "snow": "snow",
    "night street": "night",
    "room": "room",
    "lake": "lake",
}


def test_complete_captions_read_well():
    dog = Thing("dog", "red", accessory="sunglasses", place="left")
    assert (
        caption(SceneFactors("grass field", (dog,)))
        == "a large red dog with sunglasses on the left of a grass field"
    )
    cat, bench = Thing("cat", "white", "small"), Thing("bench", "orange")
    assert (
        caption(SceneFactors("snow", (cat, bench), "on"))
        == "a small white cat on a large orange bench in the centre of a snowy field"
    )
    car, bus = Thing("car", "blue", "small", "right"), Thing("bus", "green", place="left")
    assert (
        caption(SceneFactors("night street", (car, bus), "right of"))
        == "a small blue car right of a large green bus on a street at night"
    )
    assert caption(SceneFactors("lake")) == "an empty scene by a lake"


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_first_caption_names_every_factor(seed):
    rng = np.random.default_rng(seed)
    factors = random_factors(rng, two=0.5)
    five = captions(factors, rng)
    assert len(set(five)) == 5
    assert five[0] == caption(factors)
    for thing in factors.things:
        words = f"{thing.size} {thing.colour} {thing.category}"
        if thing.accessory != "none":
            words += f" with {'a hat' if thing.accessory == 'hat' else 'sunglasses'}"
        assert words in five[0]
        if factors.relation not in ("left of", "right of"):
            assert thing.place in five[0]
    assert factors.relation is None or f" {factors.relation} " in five[0]
    assert WORDS_OF_BACKGROUND[factors.background] in five[0]


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_no_caption_names_what_is_not_there(seed):
    rng = np.random.default_rng(seed)
    (thing,) = (factors := random_factors(rng, two=0)).things
    for text in captions(factors, rng):
        words = text.replace(",", "").split()
        assert not re.search(r"^(a picture of|a drawing of|there is) (?!an? )", text)
        assert thing.category in text
        others = {"red", "orange", "yellow", "green", "blue", "purple", "white", "black"}
        assert not (others - {thing.colour, "green"}) & set(words)
        assert ("sunglasses" in words) <= (thing.accessory == "sunglasses")
        assert ("hat" in words) <= (thing.accessory == "hat")
        assert not {"large": {"small", "little"}, "small": {"large", "big"}}[thing.size] & set(
            words
        )
        assert all((b[0] in "aeiou") == (a == "an") for a, b in pairwise(words) if a in ("a", "an"))


def test_an_empty_scene_has_five_captions_too():
    assert len(set(captions(SceneFactors("room"), np.random.default_rng(0)))) == 5


def test_a_thing_by_itself_has_five_wordings_of_what_it_is_alone():
    dog = Thing("dog", "orange", "small", accessory="sunglasses", place="left")
    assert thing_captions(dog) == (
        "a small orange dog with sunglasses",
        "a little orange dog wearing sunglasses",
        "an orange dog in sunglasses",
        "a small dog wearing sunglasses",
        "a dog with sunglasses",
    )
    assert thing_captions(Thing("bus", "red", "large"))[2:] == ("a red bus", "a large bus", "a bus")


@given(st.integers(0, 10_000))
def test_a_things_wordings_differ(seed):
    for thing in random_factors(np.random.default_rng(seed)).things:
        texts = thing_captions(thing)
        assert len(set(texts)) == 5
        assert all(thing.category in text for text in texts)
        assert all((thing.accessory in text) == (thing.accessory != "none") for text in texts)
