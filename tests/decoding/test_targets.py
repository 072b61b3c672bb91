"""Features are the same wherever they lie, and few pictures are with an autoencoder at once."""

import numpy as np
import pytest

from minisd.decoding import targets
from minisd.decoding.targets import at_once, latents, view_features


def test_large_features_lie_on_the_disk_and_are_the_same(shown, sd, clip, monkeypatch):
    seen = shown("train")[1][:40]  # more than a batch

    def both():
        return {"z": latents(sd, seen, progress=False), **view_features(clip, seen, (1, 3), False)}

    here = both()
    monkeypatch.setattr(targets, "LARGE", 1000)
    there = both()
    assert set(here) == {"z", "embedding", "layer 1", "layer 3"}
    for name, values in here.items():
        assert not isinstance(values, np.memmap)
        assert isinstance(there[name], np.memmap)
        np.testing.assert_array_equal(there[name], values)
        assert np.abs(values).sum(axis=tuple(range(1, values.ndim))).min() > 0  # no row is left out


@pytest.mark.parametrize(("size", "count"), [(64, 32), (512, 2), (768, 1), (2048, 1)])
def test_how_many_pictures_are_encoded_at_once(size, count):
    assert at_once(size) == count
