"""What differs in one factor: nothing else, all of it, and each with words of its own."""

from dataclasses import asdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minisd.scenes import (
    BACKGROUNDS,
    CATEGORIES,
    NEWCOMERS,
    SceneFactors,
    Thing,
    caption,
    draw,
    one_factor_changes,
    scene_factors,
)

DOG = SceneFactors("beach", (Thing("dog", "red", "large", "left", "hat"),))


def differences(a: SceneFactors, b: SceneFactors) -> set[str]:
    """Names of the factors that differ; a relation counts for the places that it binds."""
    found = set()
    if a.background != b.background:
        found.add("background")
    if a.relation != b.relation:
        return found | {"relation"}
    for i, (one, other) in enumerate(zip(a.things, b.things, strict=True)):
        one, other = asdict(one), asdict(other)
        for name in one:
            if one[name] != other[name]:
                found.add(name if name == "place" else f"{i} {name}")
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5000), st.sampled_from([0.0, 1.0]))
def test_each_change_is_one_factor_and_another_caption(index, two):
    factors = scene_factors(index, two=two, categories=CATEGORIES + NEWCOMERS)
    changes = one_factor_changes(factors)
    assert all(len(differences(factors, change)) == 1 for change in changes)
    captions = [caption(factors), *map(caption, changes)]
    assert len(set(captions)) == len(captions)
    # From each of them there is a way back.
    assert all(factors in one_factor_changes(change) for change in changes[::7])


def test_every_factor_is_changed_in_every_way_that_fits():
    changes = one_factor_changes(DOG)
    by_name = [next(iter(differences(DOG, change))) for change in changes]
    counts = {name: by_name.count(name) for name in set(by_name)}
    others = {c.things[0].category for c in changes} - {"dog"}
    assert others == {"cat", "bird", "horse", "elephant", "teddy bear", "giraffe"}
    assert counts == {
        "background": 5,
        "0 category": 6,
        "0 colour": 7,
        "0 size": 1,
        "place": 2,
        "0 accessory": 2,
    }


def test_relations_turn_round_and_move_together():
    pair = (Thing("dog", "red", "small", "left"), Thing("car", "blue", "large", "right"))
    turned = [
        c
        for c in one_factor_changes(SceneFactors("beach", pair, "left of"))
        if c.relation == "right of"
    ]
    assert [[thing.place for thing in c.things] for c in turned] == [["right", "left"]]
    kite = (Thing("kite", "red", "small", "left"), Thing("car", "blue", "large", "left"))
    places = {c.things[0].place for c in one_factor_changes(SceneFactors("beach", kite, "above"))}
    assert places == {"left", "centre", "right"}


def test_what_no_longer_fits_is_left_out():
    boat = SceneFactors("lake", (Thing("boat", "red", "small"),))
    assert {c.background for c in one_factor_changes(boat)} == {"lake", "beach"}
    things = (Thing("cat", "white", "small", accessory="hat"), Thing("bench", "red"))
    seated = one_factor_changes(SceneFactors("room", things, "on"))
    assert {c.things[0].category for c in seated} == {"cat", "dog", "bird", "teddy bear"}
    assert {(c.things[0].size, c.things[1].size) for c in seated} == {("small", "large")}


def test_an_empty_scene_changes_its_background():
    changes = one_factor_changes(SceneFactors("snow"))
    assert {c.background for c in changes} == set(BACKGROUNDS) - {"snow"}
    assert len(changes) == 5


def test_changes_can_be_drawn():
    for change in one_factor_changes(DOG)[::5]:
        assert draw(change, np.random.default_rng(0)).image.shape == (64, 64, 3)
