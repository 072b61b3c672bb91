"""What is held out is a tenth, and is made of words that are all seen, two by two."""

import hashlib

import pytest

from minisd.scenes import (
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    NEWCOMERS,
    SceneFactors,
    Thing,
    backgrounds_of,
    held_out,
    held_out_combinations,
    scene_factors,
)

EVERY = {(c, k, b) for c in CATEGORIES + NEWCOMERS for k in COLOURS for b in backgrounds_of(c)}


def test_about_a_tenth_of_the_combinations_is_held_out_and_is_listed():
    listed = set(held_out_combinations())
    assert len(listed) == len(held_out_combinations())
    assert listed < EVERY
    assert 0.08 < len(listed) / len(EVERY) < 0.12
    for category, colour, background in EVERY:
        scene = SceneFactors(background, (Thing(category, colour),))
        assert held_out(scene) == ((category, colour, background) in listed)


def test_each_pair_of_words_is_seen_in_training():
    """What is held out is a combination of three; its words occur two by two."""
    seen = EVERY - set(held_out_combinations())
    assert {(c, k) for c, k, _ in seen} == {(c, k) for c, k, _ in EVERY}
    backgrounds = [(c, b) for c, _, b in seen]
    assert all(backgrounds.count((c, b)) >= 5 for c, _, b in EVERY)  # of 8 colours
    coloured = [(k, b) for _, k, b in seen]
    assert all(coloured.count((k, b)) >= 5 for k in COLOURS for b in BACKGROUNDS)  # of 8 to 16


def test_the_split_does_not_change():
    """Weights that were trained on it would have seen what they are tested on."""
    words = "\n".join("/".join(combination) for combination in sorted(held_out_combinations()))
    assert (
        hashlib.sha256(words.encode()).hexdigest()
        == "63184b2e9ebd4f807b625eeb86db412f37a8eaa11b298275010405e3e211716d"
    )


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
