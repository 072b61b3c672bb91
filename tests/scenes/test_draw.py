"""What is drawn is where, and as, the factors say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisd.scenes import (
    BACKGROUNDS,
    CATEGORIES,
    COLOUR_RGB,
    COLOURS,
    NEWCOMERS,
    PLACES,
    SceneFactors,
    Thing,
    accessories_of,
    backgrounds_of,
    categories_of,
    draw,
    random_factors,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def one(category: str, colour: str = "red", seed: int = 0, background: str | None = None, **words):
    factors = SceneFactors(
        background or backgrounds_of(category)[0], (Thing(category, colour, **words),)
    )
    return draw(factors, rng(seed))


def centroid(mask: np.ndarray) -> tuple[float, float]:
    y, x = np.nonzero(mask)
    return x.mean(), y.mean()


def categories_and_newcomers(background: str) -> tuple[str, ...]:
    return categories_of(background) + tuple(
        c for c in NEWCOMERS if background in backgrounds_of(c)
    )


@pytest.mark.parametrize("category", CATEGORIES + NEWCOMERS)
def test_the_mask_is_where_the_thing_changes_the_picture(category):
    for seed in range(4):
        scene = one(category, seed=seed)
        # The light over all is drawn last, so it differs a little; and the shadow is not the thing.
        empty = draw(SceneFactors(scene.factors.background), rng(seed)).image.astype(float)
        changed = np.abs(scene.image - empty).max(-1) > 30
        (mask,) = scene.masks
        assert mask.sum() > 60
        assert changed[mask].mean() > 0.85
        assert changed[~mask].mean() < 0.15


@pytest.mark.parametrize("category", CATEGORIES + NEWCOMERS)
def test_size_can_be_read_from_the_mask(category):
    small = [one(category, seed=s, size="small").masks[0].sum() for s in range(12)]
    large = [one(category, seed=s, size="large").masks[0].sum() for s in range(12)]
    assert max(small) * 1.5 < min(large)


@pytest.mark.parametrize("category", CATEGORIES + NEWCOMERS)
@pytest.mark.parametrize("size", ["small", "large"])
def test_place_can_be_read_from_the_mask(category, size):
    left, centre, right = (
        [centroid(one(category, seed=s, size=size, place=p).masks[0])[0] for s in range(12)]
        for p in PLACES
    )
    assert max(left) + 1 < min(centre)
    assert max(centre) + 1 < min(right)


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("colour", COLOURS)
def test_colour_can_be_read_from_the_picture(background, colour):
    names = list(COLOUR_RGB)
    table = np.array([COLOUR_RGB[name] for name in names], float)
    for category in categories_and_newcomers(background):
        scene = one(category, colour, background=background)
        pixels = scene.image[scene.masks[0]].astype(float)
        nearest = np.linalg.norm(pixels[:, None] - table, axis=-1).argmin(1)
        counts = np.bincount(nearest, minlength=len(names))
        # Tyres and windows, whites of eyes, highlights and shades are black, white or a shade further;
        # of the colours proper, the thing's own leads.
        proper = [n for n in names if n not in ("white", "black")] + [colour]
        if category == "potted plant":
            proper = [n for n in proper if n != "green" or colour == "green"]
        if colour in ("white", "black"):
            assert counts[names.index(colour)] == counts.max(), category
        else:
            assert max(proper, key=lambda n: counts[names.index(n)]) == colour, category


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("size", ["small", "large"])
def test_everything_stands_out_from_its_background(background, colour, size):
    for category in categories_and_newcomers(background):
        scene = one(category, colour, background=background, size=size)
        empty = draw(SceneFactors(background), rng()).image.astype(float)
        difference = np.linalg.norm(scene.image - empty, axis=-1)[scene.masks[0]]
        assert np.median(difference) > 32, category


@pytest.mark.parametrize(
    "category", [c for c in CATEGORIES + NEWCOMERS if len(accessories_of(c)) > 1]
)
def test_accessories_show(category):
    bare, glasses, hat = (
        one(category, "white", accessory=a, size="small").image.astype(float)
        for a in accessories_of(category)
    )
    assert (np.abs(glasses - bare).max(-1) > 40).sum() >= 8
    pink = (hat[..., 0] - hat[..., 1] > 60) & (hat[..., 2] - hat[..., 1] > 20)
    assert pink.sum() >= 12
    assert ((bare[..., 0] - bare[..., 1] > 60) & (bare[..., 2] - bare[..., 1] > 20)).sum() < 12


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_two_things_stand_in_their_relation(seed):
    generator = rng(seed)
    factors = random_factors(generator, two=1)
    scene = draw(factors, generator)
    first, second = scene.masks
    assert not (first & second).any()
    assert min(first.sum(), second.sum()) > 40
    (x1, y1), (x2, y2) = centroid(first), centroid(second)
    if factors.relation == "left of":
        assert x1 + 10 < x2
    elif factors.relation == "right of":
        assert x1 > x2 + 10
    else:
        assert abs(x1 - x2) < 10
        assert y1 < y2


def test_on_a_bench_is_on_the_seat_and_in_front_of_the_back():
    for seed in range(8):
        things = (Thing("cat", "red", "small"), Thing("bench", "blue"))
        cat, bench = draw(SceneFactors("snow", things, "on"), rng(seed)).masks
        feet = np.nonzero(cat.any(1))[0].max()
        rows = np.nonzero(bench.any(1))[0]
        assert rows.min() < feet < rows.max() - 4
        columns = np.nonzero(bench.any(0))[0]
        assert columns.min() <= np.nonzero(cat.any(0))[0].min()
        assert columns.max() >= np.nonzero(cat.any(0))[0].max()


def test_what_flies_is_in_the_sky_and_what_stands_is_on_the_ground():
    for seed in range(8):
        for category in CATEGORIES + NEWCOMERS:
            bottom = np.nonzero(one(category, seed=seed, size="small").masks[0].any(1))[0].max()
            if category in ("airplane", "kite"):
                assert bottom < 32
            elif category != "boat":
                assert bottom > 52


def test_an_empty_scene_has_no_masks():
    assert draw(SceneFactors("lake"), rng()).masks.shape == (0, 64, 64)


def test_the_same_scene_at_twice_the_size():
    for seed in range(5):
        factors = random_factors(rng(seed))
        small = draw(factors, rng(seed)).image.astype(float)
        large = draw(factors, rng(seed), size=128).image.astype(float)
        assert np.abs(large.reshape(64, 2, 64, 2, 3).mean((1, 3)) - small).mean() < 6


@pytest.mark.parametrize("size", [0, 15, 257])
def test_a_size_out_of_range_is_refused(size):
    with pytest.raises(ValueError, match=f"size is {size}; allowed is 16 to 256"):
        draw(SceneFactors("snow"), rng(), size)
