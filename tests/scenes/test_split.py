import pytest

from minisd.scenes import (
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    SceneFactors,
    Thing,
    backgrounds_of,
    held_out,
    held_out_combinations,
    scene_factors,
)


def test_about_a_tenth_of_the_combinations_is_held_out_and_is_listed():
    every = [(c, k, b) for c in CATEGORIES for k in COLOURS for b in backgrounds_of(c)]
    listed = set(held_out_combinations())
    assert 0.07 < len(listed & set(every)) / len(every) < 0.13
    for category, colour, background in every:
        scene = SceneFactors(background, (Thing(category, colour),))
        assert held_out(scene) == ((category, colour, background) in listed)


def test_each_pair_of_words_is_seen_in_training():
    """What is held out is a combination of three; its words occur two by two."""
    listed = set(held_out_combinations())
    every = {(c, k, b) for c in CATEGORIES for k in COLOURS for b in backgrounds_of(c)} - listed
    assert {(c, k) for c, k, _ in every} == {(c, k) for c in CATEGORIES for k in COLOURS}
    assert {(k, b) for _, k, b in every} == {(k, b) for k in COLOURS for b in BACKGROUNDS}
    assert {(c, b) for c, _, b in every} == {(c, b) for c in CATEGORIES for b in backgrounds_of(c)}


def test_either_of_two_things_counts():
    category, colour, background = next(c for c in held_out_combinations() if c[0] == "dog")
    listed = set(held_out_combinations())
    other = next(k for k in COLOURS if ("bench", k, background) not in listed)
    things = (Thing("bench", other, "large", "left"), Thing(category, colour, "small", "right"))
    assert held_out(SceneFactors(background, things, "left of"))
    assert not held_out(SceneFactors(background, things[:1]))


@pytest.mark.parametrize("seed", [0, 1])
def test_most_of_the_world_may_be_trained_on(seed):
    kept = [not held_out(scene_factors(i, seed)) for i in range(1000)]
    assert 0.8 < sum(kept) / 1000 < 0.95
