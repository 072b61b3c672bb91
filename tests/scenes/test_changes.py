from dataclasses import asdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minisd.scenes import SceneFactors, Thing, caption, draw, one_factor_changes, scene_factors

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


@settings(max_examples=60)
@given(st.integers(0, 5000))
def test_each_change_is_one_factor_and_another_caption(index):
    factors = scene_factors(index)
    changes = one_factor_changes(factors)
    assert all(len(differences(factors, change)) == 1 for change in changes)
    captions = [caption(factors), *map(caption, changes)]
    assert len(set(captions)) == len(captions)
    # and from each of them there is a way back
    assert all(factors in one_factor_changes(change) for change in changes[::7])


def test_every_factor_is_changed_in_every_way_that_fits():
    changes = one_factor_changes(DOG)
    by_name = [next(iter(differences(DOG, change))) for change in changes]
    counts = {name: by_name.count(name) for name in set(by_name)}
    assert counts.pop("0 category") >= 5  # who may wear a hat
    assert counts == {"background": 5, "0 colour": 7, "0 size": 1, "place": 2, "0 accessory": 2}


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


def test_changes_can_be_drawn():
    for change in one_factor_changes(DOG)[::5]:
        assert draw(change, np.random.default_rng(0)).image.shape == (64, 64, 3)
