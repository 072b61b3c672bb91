"""The pictures that ship are those that the code draws."""

import numpy as np
import pytest
from PIL import Image

from tools import welcome_pictures


def coarse(image: Image.Image) -> np.ndarray:
    """Mean colours of 32x32 squares, alpha among them."""
    return np.asarray(image.convert("RGBA").resize((32, 32), Image.Resampling.BOX)).astype(float)


@pytest.mark.parametrize("name", ["cover", "forward"])
def test_the_stored_picture_is_what_is_drawn_today(name):
    drawn = getattr(welcome_pictures, name)()
    stored = Image.open(welcome_pictures.IMAGES / f"{name}.png")
    assert stored.size == drawn.size
    # the stored one has 256 colours, and processors differ in a last digit
    assert np.abs(coarse(stored) - coarse(drawn)).mean() < 4


def test_another_picture_is_told_apart():
    a, b = coarse(welcome_pictures.cover()), coarse(welcome_pictures.forward())
    assert np.abs(a - b).mean() > 12
