"""The canvas: coverage, colours left open, and rounding."""

import numpy as np
import pytest

from minisd.scenes.sketch import MARGIN, Sketch, ink, paint


def test_a_box_covers_its_area():
    sketch = Sketch(256)
    sketch.box(0.25, 0.25, 0.75, 0.75, 0.01, paint())
    assert sketch.cover.sum() / sketch.unit**2 == pytest.approx(0.25, rel=0.03)
    y, x = np.nonzero(sketch.cover)
    assert x.mean() / sketch.unit - MARGIN == pytest.approx(0.5, abs=0.01)
    assert y.mean() / sketch.unit - MARGIN == pytest.approx(0.5, abs=0.01)


def test_paint_takes_the_colour_and_ink_does_not():
    sketch = Sketch(128)
    sketch.box(0.0, 0.0, 0.4, 1.0, 0.01, paint())
    sketch.box(0.6, 0.0, 1.0, 1.0, 0.01, ink(255, 0, 0))
    middle, left, right = (round((MARGIN + v) * sketch.unit) for v in (0.5, 0.2, 0.8))
    assert sketch.paint[middle, left] > 0.9
    assert sketch.fixed[middle, left].max() < 0.1
    assert sketch.paint[middle, right] == 0
    assert sketch.fixed[middle, right] == pytest.approx([1, 0, 0], abs=0.1)


def test_a_shade_above_one_mixes_with_white():
    assert paint(0.5).paint == 0.5
    assert paint(0.5).fixed == (0, 0, 0)
    assert paint(2).paint == 0
    assert paint(2).fixed == (1, 1, 1)


def test_the_upper_edge_is_lighter_than_the_lower():
    sketch = Sketch(128)
    sketch.ellipse(0.5, 0.5, 0.4, 0.4, paint())
    column = round(0.5 * 128)
    rows = np.flatnonzero(sketch.cover[:, column])
    brightness = (sketch.fixed.mean(-1) + 0.5 * sketch.paint)[:, column]
    assert brightness[rows[2]] > brightness[64] > brightness[rows[-3]]


def test_the_outline_is_outside():
    sketch = Sketch(128)
    sketch.ellipse(0.5, 0.5, 0.3, 0.3, paint())
    outline = sketch.outline(0.03)
    assert outline[sketch.cover == 1].max() == 0
    assert outline.max() > 0.9
    assert outline[:5].max() == 0
