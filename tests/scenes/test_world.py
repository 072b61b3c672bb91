"""The world is the same for whoever asks, and does not change behind our back."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisd.scenes import CATEGORIES, NEWCOMERS, scene, scene_factors, scenes

# The mean colours of 8 x 8 squares of four scenes, in hexadecimal, and their first captions. Means, since another
# version of Pillow may round a pixel otherwise.
WORLD = {
    "a small black elephant with sunglasses on the right of a grass field": (
        "e1f1fbd9eef9cfe9f7add9f2a1d3f0a1d3f0aad8f1acd9f2c1e3f4bae0f3b4ddf1b4ddf1bde1f3e3f3fae9f5fbf5fafe"
        "c7e6f3c7e6f3c7e6f3c7e6f3c7e6f3c7e6f3c7e7f3cbe8f4c4e4d9cde9e5bedfdcabd4c9a0ceb8a3d1b1a5d2ae9dcdab"
        "92c97498ce7895cb7697cd7897cc777da0667d816e7ea06d8ac26e89c26d88c06d8bc36f80b7684a42457f5a6251624d"
        "7cb86682bd6b7bb6667eb9677fb76934383931333745534370b06071ae6170ad6173b3626fad6063975764985869a55b"
    ),
    "a large orange boat on the left of a lake shore": (
        "e3e5edbbcfe4c5d5e7bfd2e5b9cee3b9cee3b9cee3b9cee3bbc2d7c9d1dac29e8ad2c5c6ced6e1cbd3dfcdd6e0cdd6e0"
        "a597afcb9979d18c4ed5c8beb3b1c7aaa5bed6c4aed8d2c9aa855af29f52cc8748f7efe3b89573b28065bf905ea48260"
        "948473d3945ab38153b79d83c39a7381898a7c8c9878909f648797a6723ab57535b47433947550588eac5892b25d95b4"
        "939e90929d8f949e8e9fa28ca9a68aaca88ba4a48b98a090b29c70b19d73b19a71b29e74b39e73b39c71b09c72b39e73"
    ),
    "a small yellow airplane right of a small green bird with sunglasses on a beach": (
        "a8d8e1a8d8e1b3dce3aad9e1a8d8e1aedae2b6dee4e4f0ecc1dcdac2dddae6efe9dbeae5c5dbd5d7d6b7aead7da8ab7f"
        "dae1d3dbe1d3e0e4d6e0e5d7d4d6bdc0b378b3a15ec7bb83b6d0c8b2cec6b2cec6b2cec6b2cec6b3cec69fb8a6b2cec6"
        "59a4a355a18d5db6c15cb6c262b9c461b8c35cb6c25bb6c1729575478d5547926596c4b6acd6cab4d4c3a9d3c6a6d2c6"
        "d0c999628a539cab76ead7a3ecd8a4eddaa6ecd9a6ecd9a5edd9a6d9ca99edd8a6edd9a6eedba7eddaa6ead7a4eddba7"
    ),
    "a small purple bench on the left of a beach": (
        "dbebe6badcddb9dbdcbdddded2e7e4cee5e3c3e1e0b9dbdcd0e0d6d0dfd6d1e0d7edf0e5f0f2e7e8ede2e8ede2d8e4da"
        "e8e4d0e8e4d0e8e4d0e8e4d0e8e4d0e8e4d0e8e4d0e8e4d076b9be76b9be76b9be76b9be7ebdc17cbcc076b9be7cbcc0"
        "66bdc46cc1c66dc1c667bec466bdc363bcc264bcc363bcc2887e9a725697715696a7b1aac6d9c1cbdac0d2dabbcedabf"
        "856b76765379694971c4ae92f1dca7f0dba7f1dca7efdaa5cab793d0bc90c3b18be2ce9eefdaa5f1dba6eed8a4f1d9a6"
    ),
}
# SHA-256 of the factors of a thousand scenes, and of the captions of some.
WORDS = "cfbc1992a5c27399d2d61e49bdda00d6931748ae23d6059cfcb3977e77bfe3dc"


@settings(max_examples=25, deadline=None)
@given(indices=st.lists(st.integers(0, 2**40), min_size=1, max_size=5), seed=st.integers(0, 2**40))
def test_a_scene_does_not_depend_on_order_or_batch(indices, seed):
    batch = scenes(indices, seed)
    for i in reversed(range(len(indices))):
        alone = scene(indices[i], seed)
        assert np.array_equal(batch.images[i], alone.image)
        assert np.array_equal(batch.masks[i, : len(alone.masks)], alone.masks)
        assert not batch.masks[i, len(alone.masks) :].any()
        assert batch.factors[i] == alone.factors == scene_factors(indices[i], seed)
        assert batch.captions[i] == alone.captions


def test_a_scene_does_not_depend_on_the_process():
    code = "from minisd.scenes import scene; import sys; sys.stdout.buffer.write(scene(7, 3).image.tobytes())"
    scene(0, 3)
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert other == scene(7, 3).image.tobytes()


def test_no_two_scenes_are_equal():
    images = scenes(range(400)).images
    other = scenes(range(400), seed=1).images
    assert len({image.tobytes() for image in [*images, *other]}) == 800


def test_shapes_and_types():
    batch = scenes([5, 2], size=32)
    assert batch.images.shape == (2, 32, 32, 3)
    assert batch.images.dtype == np.uint8
    assert batch.masks.shape == (2, 2, 32, 32)
    assert batch.masks.dtype == bool
    assert scene_factors(5) == scene(5, size=128).factors


def test_the_world_has_not_changed():
    batch = scenes(range(len(WORLD)))
    assert [five[0] for five in batch.captions] == list(WORLD)
    means = batch.images.reshape(-1, 8, 8, 8, 8, 3).mean((2, 4))
    stored = np.frombuffer(bytes.fromhex("".join(WORLD.values())), np.uint8)
    np.testing.assert_allclose(means, stored.reshape(means.shape), atol=1.5)


def test_no_word_of_the_world_has_changed():
    factors = [scene_factors(index, seed) for seed in (0, 1) for index in range(500)]
    words = repr([factors, scenes(range(20), size=16).captions])
    assert hashlib.sha256(words.encode()).hexdigest() == WORDS


def test_two_and_categories_say_what_is_in_the_scenes():
    batch = scenes(range(12), two=1, categories=CATEGORIES + NEWCOMERS)
    assert all(len(factors.things) == 2 for factors in batch.factors)
    assert any(t.category in NEWCOMERS for factors in batch.factors for t in factors.things)
    for index, factors in enumerate(batch.factors):
        asked = {"two": 1, "categories": CATEGORIES + NEWCOMERS}
        assert scene_factors(index, **asked) == scene(index, **asked).factors == factors


@pytest.mark.parametrize("bad", [-1, 0.5])
def test_bad_numbers_are_refused(bad):
    with pytest.raises(ValueError, match=f"index is {bad}; allowed is a whole number from 0"):
        scene(bad)
    with pytest.raises(ValueError, match=f"seed is {bad}"):
        scene_factors(0, bad)
    with pytest.raises(ValueError, match="indices is empty"):
        scenes([])
    with pytest.raises(ValueError, match="size is 8"):
        scenes([0], size=8)
