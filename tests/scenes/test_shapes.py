"""Every category has a shape that fills its square, and every face can wear everything."""

import numpy as np
import pytest

from minisd.scenes import ACCESSORIES, CATEGORIES, NEWCOMERS, accessories_of
from minisd.scenes.accessories import WEAR
from minisd.scenes.factors import IN_THE_AIR
from minisd.scenes.shapes import SHAPES
from minisd.scenes.sketch import MARGIN, Sketch


def test_the_tables_are_the_vocabulary():
    assert set(SHAPES) == set(CATEGORIES + NEWCOMERS)
    assert {"none", *WEAR} == set(ACCESSORIES)


@pytest.mark.parametrize("category", CATEGORIES + NEWCOMERS)
@pytest.mark.parametrize("sway", [-1.0, 0.3, 1.0])
def test_a_shape_fills_its_square_and_stands_on_its_edge(category, sway):
    sketch = Sketch(160)
    SHAPES[category](sketch, sway)
    y, x = (index / sketch.unit - MARGIN for index in np.nonzero(sketch.cover))
    assert min(x.min(), y.min()) > -0.08
    assert max(x.max(), y.max()) < 1.08
    assert max(np.ptp(x), np.ptp(y)) > 0.8
    if category not in IN_THE_AIR:
        assert y.max() == pytest.approx(0.98, abs=0.03)
    # Most of it takes the thing's colour.
    assert (sketch.paint > 0.3).sum() > 0.3 * (sketch.cover > 0).sum()


@pytest.mark.parametrize("category", CATEGORIES + NEWCOMERS)
def test_a_pose_changes_the_shape(category):
    drawn = []
    for sway in (-1, 1):
        sketch = Sketch(160)
        SHAPES[category](sketch, sway)
        drawn.append(sketch.fixed)
    assert np.abs(drawn[0] - drawn[1]).max() > 0.1


@pytest.mark.parametrize("category", CATEGORIES + NEWCOMERS)
def test_who_has_a_face_can_wear_everything(category):
    bare = Sketch(160)
    face = SHAPES[category](bare, 0.0)
    assert (face is not None) == (len(accessories_of(category)) > 1)
    if face is None:
        return
    for wear in WEAR.values():
        sketch = Sketch(160)
        SHAPES[category](sketch, 0.0)
        wear(sketch, face)
        assert (np.abs(sketch.fixed - bare.fixed).max(-1) > 0.2).sum() > 150
        # Nothing is cut off at the canvas's edge.
        assert sketch.cover[0].max() == sketch.cover[:, 0].max() == sketch.cover[:, -1].max() == 0
