"""What is computed once is whole, or made anew."""

import json

import numpy as np
import pytest

from minisd.training.cache import make_once, write_arrays

FIRST, SECOND = {"data": 1}, {"data": 2}


def test_it_is_made_once_for_each_identity(tmp_path):
    made = []
    for identity in (FIRST, FIRST, SECOND, SECOND, FIRST):
        make_once(tmp_path / "arrays", identity, lambda now=identity: made.append(now))
    assert made == [FIRST, SECOND, FIRST]


def test_what_an_interruption_left_half_is_made_anew(tmp_path):
    def broken():
        (tmp_path / "array").write_text("half of the second")
        raise KeyboardInterrupt

    make_once(tmp_path, FIRST, lambda: (tmp_path / "array").write_text("first"))
    with pytest.raises(KeyboardInterrupt):
        make_once(tmp_path, SECOND, broken)
    make_once(tmp_path, FIRST, lambda: (tmp_path / "array").write_text("first, anew"))
    assert (tmp_path / "array").read_text() == "first, anew"
    assert json.loads((tmp_path / "identity.json").read_text()) == FIRST


def test_batches_lie_behind_each_other(tmp_path):
    x = np.arange(14, dtype=np.float16).reshape(7, 2)
    write_arrays(tmp_path, 7, ({"x": x[i : i + 3], "y": -x[i : i + 3]} for i in (0, 3, 6)))
    assert np.array_equal(np.load(tmp_path / "x.npy"), x)
    assert np.array_equal(np.load(tmp_path / "y.npy"), -x)
