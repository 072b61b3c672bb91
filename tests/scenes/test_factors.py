"""The vocabulary, what fits together, and that chance reaches all of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisd.scenes import (
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


def test_the_world_is_as_rich_as_promised():
    assert len(CATEGORIES) >= 12
    assert len(COLOURS) >= 8
    assert len(BACKGROUNDS) >= 6


def test_every_factor_is_reached():
    rng = np.random.default_rng(0)
    drawn = [random_factors(rng) for _ in range(4000)]
    things = [thing for factors in drawn for thing in factors.things]
    assert {t.category for t in things} == set(CATEGORIES)
    assert {t.colour for t in things} == set(COLOURS)
    assert {t.size for t in things} == set(SIZES)
    assert {t.place for t in things} == set(PLACES)
    assert {t.accessory for t in things} == set(ACCESSORIES)
    assert {f.relation for f in drawn} == {None, *RELATIONS}
    assert {(t.category, f.background) for f in drawn for t in f.things} == {
        (c, b) for c in CATEGORIES for b in backgrounds_of(c)
    }


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), two=st.sampled_from([0.0, 1.0]))
def test_two_says_how_many_things(seed, two):
    assert len(random_factors(np.random.default_rng(seed), two).things) == 1 + two


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    two=st.sampled_from([0.0, 1.0]),
    categories=st.lists(st.sampled_from(CATEGORIES + NEWCOMERS), min_size=1, unique=True),
)
def test_only_what_is_asked_for_is_drawn(seed, two, categories):
    factors = random_factors(np.random.default_rng(seed), two, categories)
    assert len(factors.things) == 1 + two
    assert {thing.category for thing in factors.things} <= set(categories)


def test_newcomers_are_drawn_when_asked_for():
    rng = np.random.default_rng(0)
    drawn = [random_factors(rng, 0.5, CATEGORIES + NEWCOMERS) for _ in range(2000)]
    newcomers = [t for f in drawn for t in f.things if t.category in NEWCOMERS]
    assert {t.colour for t in newcomers} == set(COLOURS)
    assert {t.accessory for t in newcomers} == set(ACCESSORIES)
    assert {f.relation for f in drawn} == {None, *RELATIONS}


@pytest.mark.parametrize(
    ("categories", "message"),
    [((), "categories is empty"), (("dog", "dragon"), "category is 'dragon'; allowed is one of")],
)
def test_what_cannot_be_drawn_is_refused(categories, message):
    with pytest.raises(ValueError, match=message):
        random_factors(np.random.default_rng(0), categories=categories)


def test_categories_and_backgrounds_are_one_table():
    for background in BACKGROUNDS:
        for category in CATEGORIES:
            assert (category in categories_of(background)) == (
                background in backgrounds_of(category)
            )


def test_the_prompts_of_the_report_are_in_the_world():
    SceneFactors("grass field", (Thing("dog", "black", accessory="sunglasses"),))
    cat = Thing("cat", "orange", "small", accessory="sunglasses")
    SceneFactors("grass field", (cat, Thing("bench", "red")), "on")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("category", "dragon"),
        ("colour", "beige"),
        ("size", "huge"),
        ("place", "top"),
        ("accessory", "scarf"),
    ],
)
def test_an_unknown_word_is_named(field, value):
    words = {"category": "dog", "colour": "red", field: value}
    with pytest.raises(ValueError, match=rf"{field} is '{value}'; allowed is one of"):
        Thing(**words)


def test_what_has_no_face_wears_nothing():
    assert accessories_of("car") == ("none",)
    with pytest.raises(ValueError, match=r"accessory is 'hat'; allowed is one of \('none',\)"):
        Thing("car", "red", accessory="hat")


DOG, KITE = Thing("dog", "red", "small", "left"), Thing("kite", "blue", "small", "right")
CAT = Thing("cat", "red", "small", "right")


@pytest.mark.parametrize(
    ("background", "things", "relation", "message"),
    [
        ("moon", (DOG,), None, "background is 'moon'"),
        ("snow", [DOG], None, "allowed is a tuple"),
        ("snow", (DOG, CAT, KITE), "left of", "0, 1 or 2 things"),
        ("snow", (Thing("boat", "red"),), None, "background of a boat is 'snow'"),
        ("room", (Thing("bus", "red"),), None, "background of a bus is 'room'"),
        ("snow", (DOG,), "on", "without two things, allowed is None"),
        ("snow", (DOG, CAT), None, "relation is None"),
        ("snow", (DOG, CAT), "right of", "places of 'right of'"),
        ("snow", (DOG, CAT), "above", "places of 'above'"),
        ("snow", (Thing("dog", "red"), Thing("kite", "red")), "above", "both 'large'"),
        (
            "snow",
            (Thing("dog", "red", "small"), Thing("kite", "red")),
            "above",
            "things of 'above' are",
        ),
        (
            "snow",
            (Thing("horse", "red", "small"), Thing("bench", "red")),
            "on",
            "thing on a bench is 'horse'",
        ),
        (
            "snow",
            (Thing("cat", "red"), Thing("bench", "red", "small")),
            "on",
            "size of the thing on a bench",
        ),
        (
            "snow",
            (Thing("cat", "red", "small"), Thing("car", "red")),
            "on",
            "below 'on' is 'car'",
        ),
        (
            "snow",
            (Thing("cat", "red", "small"), Thing("bench", "red", "small")),
            "on",
            "size of the bench",
        ),
    ],
)
def test_factors_that_do_not_fit_are_refused(background, things, relation, message):
    with pytest.raises(ValueError, match=message):
        SceneFactors(background, things, relation)


@pytest.mark.parametrize("two", [-0.1, 1.1, float("nan")])
def test_a_probability_is_asked_for(two):
    with pytest.raises(ValueError, match="two is"):
        random_factors(np.random.default_rng(0), two)
