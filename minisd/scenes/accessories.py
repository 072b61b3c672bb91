"""What a thing with a face may wear; everything is measured from the face."""

from collections.abc import Callable
from dataclasses import dataclass

from minisd.scenes.sketch import Sketch, ink

FRAME = ink(255, 246, 228)
LENS = ink(24, 22, 34)
GLINT = ink(176, 222, 240)
PINK = ink(244, 110, 176)
BAND = ink(112, 40, 96)


@dataclass(frozen=True)
class Face:
    """Where accessories go: the middle between the eyes, the distance between the eyes, and the top of the head."""

    x: float
    y: float
    gap: float
    top: float


def sunglasses(s: Sketch, face: Face) -> None:
    """Dark lenses in a light frame, so that they show on any fur."""
    lens = 0.56 * face.gap
    for side in (-1, 1):
        x = face.x + side * face.gap / 2
        s.ellipse(x, face.y + 0.01, lens + 0.022, 0.82 * lens + 0.022, FRAME)
    s.line([(face.x - face.gap, face.y - 0.03), (face.x + face.gap, face.y - 0.03)], 0.045, FRAME)
    for side in (-1, 1):
        x = face.x + side * face.gap / 2
        s.ellipse(x, face.y + 0.01, lens - 0.008, 0.82 * lens - 0.008, LENS)
        s.line([(x - 0.4 * lens, face.y + 0.02), (x - 0.05 * lens, face.y - 0.05)], 0.028, GLINT)


def hat(s: Sketch, face: Face) -> None:
    """A pink hat with a dark band; nothing else in the world is pink."""
    left, right = face.x - 0.77 * face.gap, face.x + 0.77 * face.gap
    s.box(left, face.top - 0.18, right, face.top + 0.06, 0.06, PINK)
    s.box(left, face.top - 0.045, right, face.top + 0.03, 0.01, BAND)
    s.ellipse(face.x, face.top + 0.05, 1.4 * face.gap, 0.055, PINK)


WEAR: dict[str, Callable[[Sketch, Face], None]] = {"sunglasses": sunglasses, "hat": hat}
"""Accessory to the function that draws it."""
