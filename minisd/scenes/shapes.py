"""How each thing looks: one short function per category, drawn into the unit square with its feet at the lower edge.

Things face right; `draw` flips them. `sway` in [-1, 1] is the pose: it moves a head, a tail, a wing or a hand a little.
"""

from collections.abc import Callable

import numpy as np

from minisd.scenes.accessories import Face
from minisd.scenes.sketch import Sketch, ink, paint

NIGHT = ink(38, 34, 48)
CREAM = ink(255, 246, 228)
GLASS = ink(176, 222, 240)
STEEL = ink(150, 156, 168)
TYRE = ink(48, 46, 56)
AMBER = ink(250, 176, 50)
ROSE = ink(255, 140, 160)
WOOD = ink(150, 98, 62)
LEAF = ink(74, 150, 84)


def dog(s: Sketch, sway: float) -> Face:
    """Stands sideways, looks at you, ears hanging."""
    x, y = 0.66, 0.36 + 0.02 * sway
    s.line([(0.12, 0.56), (0.05, 0.44), (0.05 + 0.04 * sway, 0.30)], 0.08, paint(0.85))
    for left in (0.24, 0.64):
        s.box(left, 0.66, left + 0.12, 0.97, 0.05, paint(0.72))
    s.ellipse(0.42, 0.65, 0.35, 0.18, paint())
    for left in (0.10, 0.50):
        s.box(left, 0.64, left + 0.13, 0.98, 0.055, paint(0.95))
    s.ellipse(x, y, 0.27, 0.25, paint())
    s.ellipse(x - 0.27, y + 0.06, 0.09, 0.21, paint(0.72), 12)
    s.ellipse(x + 0.27, y + 0.06, 0.09, 0.21, paint(0.72), -12)
    s.ellipse(x, y + 0.13, 0.16, 0.12, paint(1.65))
    s.ellipse(x, y + 0.215, 0.05, 0.06, ROSE)
    _eyes(s, x, y - 0.03, 0.22, 0.042)
    s.ellipse(x, y + 0.085, 0.065, 0.045, NIGHT)
    return Face(x, y - 0.03, 0.22, y - 0.22)


def cat(s: Sketch, sway: float) -> Face:
    """Sits, ears up, tail around."""
    x, y = 0.46, 0.38
    s.line(
        [(0.62, 0.92), (0.90, 0.88), (0.92, 0.66), (0.82 + 0.06 * sway, 0.50)], 0.085, paint(0.8)
    )
    s.blob(
        [(0.46, 0.52), (0.70, 0.74), (0.72, 0.95), (0.46, 0.98), (0.20, 0.95), (0.22, 0.74)],
        paint(),
    )
    s.ellipse(x, 0.76, 0.11, 0.16, paint(1.6))
    for foot in (0.36, 0.56):
        s.ellipse(foot, 0.94, 0.10, 0.055, paint(1.25))
    for side in (-1, 1):
        s.polygon(
            [(x + side * 0.09, y - 0.18), (x + side * 0.31, y - 0.37), (x + side * 0.31, y)],
            paint(),
        )
        s.polygon(
            [(x + side * 0.16, y - 0.18), (x + side * 0.28, y - 0.29), (x + side * 0.27, y - 0.06)],
            ROSE,
        )
    s.ellipse(x, y, 0.33, 0.25, paint())
    for stripe in (-0.08, 0.0, 0.08):
        s.line([(x + stripe, y - 0.24), (x + stripe, y - 0.15)], 0.035, paint(0.55))
    for side in (-1, 1):
        s.line([(x + side * 0.20, y + 0.09), (x + side * 0.40, y + 0.07)], 0.016, CREAM)
        s.line([(x + side * 0.20, y + 0.13), (x + side * 0.38, y + 0.16)], 0.016, CREAM)
    s.ellipse(x, y + 0.12, 0.11, 0.075, paint(1.7))
    _eyes(s, x, y, 0.26, 0.05)
    s.ellipse(x, y + 0.09, 0.04, 0.028, ROSE)
    return Face(x, y, 0.26, y - 0.22)


def bird(s: Sketch, sway: float) -> Face:
    """Round, with a beak to the right and a tail to the left."""
    x, y = 0.64, 0.34
    for leg in (0.42, 0.56):
        s.line([(leg, 0.80), (leg, 0.95)], 0.035, AMBER)
        s.line([(leg, 0.95), (leg + 0.10, 0.965)], 0.035, AMBER)
    s.polygon([(0.30, 0.56), (0.01, 0.44 + 0.05 * sway), (0.05, 0.66), (0.26, 0.74)], paint(0.72))
    s.polygon([(x + 0.18, y - 0.09), (0.99, y + 0.03), (x + 0.18, y + 0.12)], AMBER)
    s.blob(
        [(0.52, 0.26), (0.80, 0.44), (0.76, 0.72), (0.50, 0.86), (0.24, 0.74), (0.18, 0.54)],
        paint(),
    )
    s.ellipse(0.62, 0.68, 0.17, 0.15, paint(1.6))
    s.ellipse(x, y, 0.245, 0.23, paint())
    s.ellipse(0.36, 0.60, 0.21, 0.12, paint(0.72), 24 + 10 * sway)
    s.ellipse(0.33, 0.585, 0.14, 0.06, paint(0.9), 24 + 10 * sway)
    _eyes(s, x + 0.06, y - 0.02, 0.19, 0.045)
    return Face(x + 0.06, y - 0.02, 0.19, y - 0.21)


def horse(s: Sketch, sway: float) -> Face:
    """Tall legs, long neck, dark mane and tail."""
    x, y = 0.76, 0.25
    hair = paint(0.42)
    s.line([(0.10, 0.46), (0.03, 0.56), (0.05 + 0.03 * sway, 0.78)], 0.09, hair)
    for left in (0.22, 0.56):
        s.box(left, 0.58, left + 0.085, 0.97, 0.03, paint(0.72))
    s.blob(
        [(0.08, 0.44), (0.36, 0.42), (0.66, 0.40), (0.70, 0.58), (0.40, 0.68), (0.11, 0.64)],
        paint(),
    )
    for left in (0.10, 0.60):
        s.box(left, 0.54, left + 0.10, 0.98, 0.035, paint(0.95))
        s.box(left - 0.005, 0.90, left + 0.105, 0.98, 0.02, NIGHT)
    s.line([(0.60, 0.52), (0.67, 0.36), (0.74, 0.22)], 0.21, paint())
    s.line([(0.54, 0.46), (0.58, 0.28), (0.66, 0.10)], 0.095, hair)
    for ear in (-0.08, 0.04):
        s.polygon(
            [(x + ear - 0.05, y - 0.10), (x + ear + 0.01, y - 0.24), (x + ear + 0.06, y - 0.09)],
            paint(0.8),
        )
    s.blob([(x - 0.13, y - 0.10), (x + 0.08, y - 0.13), (x + 0.22, y + 0.10), (x + 0.17, y + 0.22),
            (x + 0.03, y + 0.17), (x - 0.14, y + 0.10)], paint())  # fmt: skip
    s.ellipse(x + 0.15, y + 0.14, 0.095, 0.085, paint(1.55), 30)
    s.ellipse(x + 0.19, y + 0.12, 0.016, 0.02, NIGHT)
    s.line([(x - 0.08, y - 0.16), (x - 0.02, y - 0.04)], 0.06, hair)
    _eyes(s, x + 0.055, y - 0.015, 0.13, 0.034)
    return Face(x + 0.055, y - 0.015, 0.155, y - 0.14)


def elephant(s: Sketch, sway: float) -> Face:
    """Large ear, trunk to the ground."""
    x, y = 0.66, 0.36
    s.line([(0.08, 0.44), (0.03, 0.58), (0.04, 0.68)], 0.045, paint(0.7))
    for left in (0.24, 0.52):
        s.box(left, 0.62, left + 0.14, 0.97, 0.05, paint(0.72))
    s.ellipse(0.38, 0.52, 0.34, 0.28, paint())
    for left in (0.08, 0.42):
        s.box(left, 0.60, left + 0.17, 0.98, 0.06, paint(0.95))
        for toe in (0.035, 0.085, 0.135):
            s.ellipse(left + toe, 0.96, 0.024, 0.022, CREAM)
    s.ellipse(x, y, 0.25, 0.25, paint())
    trunk = [(x + 0.12, y + 0.06), (0.84, 0.58), (0.84, 0.80), (0.95, 0.86 - 0.05 * sway)]
    s.line(trunk, 0.15, paint())
    s.line([(x + 0.02, y + 0.20), (x + 0.05, y + 0.29), (x + 0.15, y + 0.31)], 0.05, CREAM)
    s.ellipse(x - 0.25, y, 0.19, 0.26, paint(0.72), 8 * sway)
    s.ellipse(x - 0.24, y + 0.02, 0.12, 0.18, ROSE, 8 * sway)
    _eyes(s, x + 0.08, y - 0.04, 0.19, 0.038)
    return Face(x + 0.08, y - 0.04, 0.19, y - 0.21)


def teddy_bear(s: Sketch, sway: float) -> Face:
    """Sits with its legs out, round ears."""
    x, y = 0.50, 0.32
    s.ellipse(0.50, 0.72, 0.25, 0.25, paint())
    s.ellipse(0.50, 0.73, 0.155, 0.17, paint(1.55))
    for side in (-1, 1):
        s.ellipse(0.50 + side * 0.27, 0.64, 0.10, 0.17, paint(0.85), -side * (38 + 12 * sway))
        s.ellipse(0.50 + side * 0.25, 0.87, 0.155, 0.125, paint(0.95))
        s.ellipse(0.50 + side * 0.27, 0.87, 0.085, 0.075, paint(1.55))
        s.ellipse(x + side * 0.24, y - 0.18, 0.125, 0.125, paint(0.9))
        s.ellipse(x + side * 0.24, y - 0.17, 0.07, 0.07, paint(1.55))
    s.ellipse(x, y, 0.31, 0.275, paint())
    s.ellipse(x, y + 0.11, 0.145, 0.115, paint(1.7))
    _eyes(s, x, y - 0.02, 0.24, 0.042)
    s.ellipse(x, y + 0.06, 0.055, 0.038, NIGHT)
    s.line([(x, y + 0.09), (x, y + 0.15)], 0.02, NIGHT)
    return Face(x, y - 0.02, 0.24, y - 0.23)


def car(s: Sketch, sway: float) -> None:
    """Low, two windows, two wheels."""
    roof = 0.36 + 0.02 * sway
    s.blob([(0.20, 0.60), (0.28, roof), (0.46, roof - 0.04), (0.64, roof), (0.80, 0.60)], paint())
    s.polygon([(0.28, 0.58), (0.33, roof + 0.05), (0.46, roof + 0.02), (0.46, 0.58)], GLASS)
    s.polygon([(0.51, 0.58), (0.51, roof + 0.02), (0.62, roof + 0.05), (0.71, 0.58)], GLASS)
    s.blob([(0.02, 0.84), (0.03, 0.62), (0.22, 0.56), (0.74, 0.56), (0.95, 0.64), (0.98, 0.84), (0.80, 0.88),
            (0.20, 0.88)], paint())  # fmt: skip
    s.box(0.03, 0.78, 0.97, 0.86, 0.03, paint(0.72))
    s.line([(0.485, 0.60), (0.485, 0.78)], 0.016, paint(0.5))
    s.line([(0.52, 0.65), (0.58, 0.65)], 0.022, CREAM)
    s.ellipse(0.92, 0.69, 0.045, 0.045, ink(255, 240, 160))
    s.ellipse(0.06, 0.68, 0.03, 0.04, ink(235, 80, 70))
    _wheels(s, (0.24, 0.76), 0.855, 0.125)


def bus(s: Sketch, sway: float) -> None:
    """Tall, a row of windows."""
    s.box(0.01, 0.22, 0.99, 0.90, 0.09, paint())
    s.box(0.04, 0.17, 0.94, 0.27, 0.045, paint(0.8))
    for left in (0.06, 0.25, 0.44):
        s.box(left, 0.34, left + 0.155, 0.55, 0.03, GLASS)
    s.box(0.64, 0.34, 0.77, 0.84, 0.03, GLASS)
    s.line([(0.705, 0.36), (0.705, 0.82)], 0.016, paint(0.6))
    s.box(0.83, 0.32, 0.985, 0.60, 0.04, GLASS)
    s.box(0.02, 0.62, 0.61, 0.685, 0.03, CREAM)
    s.box(0.01, 0.80, 0.99, 0.90, 0.04, paint(0.6))
    s.ellipse(0.95, 0.74, 0.035, 0.04, ink(255, 240, 160))
    _wheels(s, (0.22 + 0.02 * sway, 0.78), 0.87, 0.11)


def boat(s: Sketch, sway: float) -> None:
    """A sailing boat: hull and main sail in its colour, a cream jib."""
    mast = 0.47
    s.line([(mast, 0.04), (mast, 0.78)], 0.035, WOOD)
    s.blob(
        [(mast - 0.05, 0.06), (mast - 0.05, 0.66), (0.06, 0.66), (0.20 + 0.04 * sway, 0.36)],
        paint(1.2),
    )
    s.polygon([(mast + 0.05, 0.16), (0.90, 0.66), (mast + 0.05, 0.66)], CREAM)
    s.polygon([(mast, 0.02), (mast + 0.17, 0.06), (mast, 0.10)], ink(226, 74, 70))
    s.blob(
        [(0.02, 0.73), (0.50, 0.75), (0.99, 0.71), (0.84, 0.94), (0.50, 0.98), (0.16, 0.95)],
        paint(),
    )
    s.line([(0.07, 0.79), (0.50, 0.81), (0.93, 0.78)], 0.04, CREAM)


def airplane(s: Sketch, sway: float) -> None:
    """A jet from the side, its nose to the right and a little up."""

    def at(x: float, y: float) -> tuple[float, float]:
        angle = np.radians(-8 - 5 * sway)
        c, n = np.cos(angle), np.sin(angle)
        return 0.5 + c * (x - 0.5) - n * (y - 0.5), 0.5 + n * (x - 0.5) + c * (y - 0.5)

    def part(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [at(*p) for p in points]

    s.polygon(part([(0.52, 0.46), (0.36, 0.22), (0.46, 0.22), (0.68, 0.46)]), paint(0.6))
    s.polygon(part([(0.06, 0.44), (0.01, 0.20), (0.13, 0.20), (0.26, 0.44)]), paint(0.7))
    s.blob(part([(0.03, 0.44), (0.30, 0.40), (0.78, 0.39), (0.94, 0.46), (0.99, 0.53), (0.90, 0.60),
                 (0.40, 0.62), (0.12, 0.54)]), paint())  # fmt: skip
    s.line(part([(0.20, 0.555), (0.50, 0.585), (0.86, 0.58)]), 0.045, CREAM)
    for window in np.linspace(0.30, 0.76, 7):
        s.ellipse(*at(window, 0.475), 0.022, 0.026, NIGHT)
    s.blob(part([(0.84, 0.43), (0.92, 0.46), (0.95, 0.50), (0.85, 0.50)]), GLASS)
    s.polygon(part([(0.64, 0.55), (0.28, 0.84), (0.40, 0.85), (0.74, 0.57)]), paint(0.78))
    s.box(*at(0.44, 0.70), *at(0.60, 0.77), 0.03, STEEL)
    s.polygon(part([(0.02, 0.46), (0.00, 0.58), (0.08, 0.58), (0.20, 0.49)]), paint(0.7))


def kite(s: Sketch, sway: float) -> None:
    """A diamond in two tones, a tail with bows."""
    top, right, bottom, left = (0.56, 0.01), (0.88, 0.28), (0.48, 0.70), (0.18, 0.24)
    middle = (0.53, 0.27)
    tail = [
        bottom,
        (0.40 + 0.06 * sway, 0.79),
        (0.52 - 0.04 * sway, 0.87),
        (0.42 + 0.06 * sway, 0.97),
    ]
    s.line(tail, 0.03, CREAM)
    for x, y in tail[1:]:
        s.polygon([(x, y), (x - 0.10, y - 0.055), (x - 0.10, y + 0.055)], paint())
        s.polygon([(x, y), (x + 0.10, y - 0.055), (x + 0.10, y + 0.055)], paint(0.7))
    for corner, following, shade in (
        (left, top, 1.0),
        (top, right, 0.72),
        (right, bottom, 1.0),
        (bottom, left, 0.72),
    ):
        s.polygon([middle, corner, following], paint(shade))
    for end in (top, right, bottom, left):
        s.line([middle, end], 0.022, CREAM)


def umbrella(s: Sketch, sway: float) -> None:
    """Open, stuck into the ground, its panels in two tones."""
    s.line([(0.5, 0.10), (0.5, 0.90), (0.55, 0.97), (0.63, 0.95), (0.64, 0.88)], 0.045, WOOD)
    s.line([(0.5, 0.02), (0.5, 0.10)], 0.04, WOOD)
    edges = (
        np.array([-0.49, -0.30, -0.10, 0.10, 0.30, 0.49])
        + np.array([0, 1, 1, 1, 1, 0]) * 0.03 * sway
    )
    for i, shade in enumerate((0.86, 1.0, 0.86, 1.0, 0.86)):
        a, b = edges[i], edges[i + 1]
        arc = [(0.5 + e * np.sin(u), 0.52 - 0.45 * np.cos(u)) for e, us in
               ((a, np.linspace(0, np.pi / 2, 12)), (b, np.linspace(np.pi / 2, 0, 12))) for u in us]  # fmt: skip
        # The lower edge of a panel hangs between two ribs.
        middle = len(arc) // 2
        hang = [
            (0.5 + a + (b - a) * u, 0.52 - 0.06 * np.sin(np.pi * u)) for u in np.linspace(0, 1, 8)
        ]
        s.polygon(arc[:middle] + hang + arc[middle:], paint(shade))


def bench(s: Sketch, sway: float) -> None:
    """Slats in its colour on dark iron legs, seen from the front."""
    seat = 0.68
    for x in (0.12, 0.88):
        s.line([(x, 0.36), (x, 0.94)], 0.06, TYRE)
        s.line([(x - 0.07, 0.95), (x + 0.07, 0.95)], 0.05, TYRE)
    for y, shade in ((0.38, 1.0), (0.51, 0.9)):
        s.box(0.02, y - 0.05, 0.98, y + 0.05, 0.03, paint(shade))
    s.box(0.01, seat - 0.035, 0.99, seat + 0.035, 0.03, paint(1.15))
    s.box(0.0, seat + 0.035, 1.0, seat + 0.12, 0.03, paint(0.75))
    for x in (0.07, 0.93):
        s.line([(x, 0.54 + 0.01 * sway), (x, seat + 0.02)], 0.055, TYRE)


def clock(s: Sketch, sway: float) -> None:
    """An alarm clock: two bells, a rim in its colour."""
    for side in (-1, 1):
        s.line([(0.5 + side * 0.24, 0.82), (0.5 + side * 0.32, 0.96)], 0.09, paint(0.6))
        s.ellipse(0.5 + side * 0.25, 0.19, 0.17, 0.12, paint(0.85), side * 35)
    s.line([(0.5, 0.06), (0.5, 0.20)], 0.05, STEEL)
    s.ellipse(0.5, 0.07, 0.07, 0.05, STEEL)
    s.ellipse(0.5, 0.57, 0.40, 0.39, paint())
    s.ellipse(0.5, 0.57, 0.29, 0.28, CREAM)
    for hour in range(0, 12, 3):
        c, n = np.cos(hour * np.pi / 6), np.sin(hour * np.pi / 6)
        s.line([(0.5 + 0.20 * c, 0.57 + 0.19 * n), (0.5 + 0.24 * c, 0.57 + 0.23 * n)], 0.035, NIGHT)
    minute, hour = np.pi * (0.28 + 0.3 * sway), np.pi * (-0.75 + 0.2 * sway)
    s.line([(0.5, 0.57), (0.5 + 0.20 * np.cos(minute), 0.57 - 0.19 * np.sin(minute))], 0.035, NIGHT)
    s.line([(0.5, 0.57), (0.5 + 0.13 * np.cos(hour), 0.57 + 0.12 * np.sin(hour))], 0.05, NIGHT)


def potted_plant(s: Sketch, sway: float) -> None:
    """Green leaves, a pot and three flowers in its colour."""
    for tip, width in ((-0.40, 0.085), (0.40, 0.085), (-0.24, 0.09), (0.24, 0.09), (0.0, 0.095)):
        lean = tip + 0.05 * sway
        x, y = 0.5 + 0.55 * lean, 0.36 + 0.45 * abs(tip)
        s.ellipse(x, y, width, 0.24 - 0.1 * abs(tip), LEAF, 95 * lean)
    for x, y in ((0.22, 0.26), (0.78, 0.26), (0.50, 0.12)):
        x += 0.04 * sway
        for petal in range(5):
            angle = 2 * np.pi * petal / 5 - np.pi / 2
            s.ellipse(
                x + 0.075 * np.cos(angle), y + 0.075 * np.sin(angle), 0.062, 0.062, paint(1.1)
            )
        s.ellipse(x, y, 0.045, 0.045, AMBER)
    s.polygon([(0.24, 0.64), (0.76, 0.64), (0.68, 0.98), (0.32, 0.98)], paint())
    s.box(0.19, 0.57, 0.81, 0.69, 0.03, paint(0.82))


def giraffe(s: Sketch, sway: float) -> Face:
    """A long steep neck, patches, two horns with knobs."""
    x, y = 0.70 + 0.01 * sway, 0.21
    coat, patch, hair = paint(1.15), paint(0.66), paint(0.42)
    s.line([(0.19, 0.58), (0.11, 0.64), (0.10 + 0.04 * sway, 0.76)], 0.04, coat)
    s.ellipse(0.10 + 0.04 * sway, 0.79, 0.035, 0.06, hair)
    for left in (0.27, 0.46):
        s.box(left, 0.62, left + 0.075, 0.97, 0.03, paint(0.72))
    s.blob(
        [(0.16, 0.60), (0.30, 0.54), (0.52, 0.48), (0.63, 0.56), (0.56, 0.71), (0.20, 0.72)], coat
    )
    for left in (0.17, 0.53):
        s.box(left, 0.60, left + 0.085, 0.98, 0.03, coat)
        s.box(left - 0.005, 0.92, left + 0.09, 0.98, 0.02, NIGHT)
    s.line([(0.45, 0.52), (0.53, 0.32), (0.60, 0.12)], 0.07, hair)
    s.blob(
        [(0.42, 0.58), (0.53, 0.34), (0.60, 0.13), (0.73, 0.18), (0.68, 0.40), (0.63, 0.62)], coat
    )
    for u, v, r in ((0.64, 0.32, 0.05), (0.56, 0.41, 0.045), (0.63, 0.47, 0.05), (0.52, 0.53, 0.05),
                    (0.58, 0.62, 0.055), (0.44, 0.63, 0.06), (0.32, 0.60, 0.05), (0.22, 0.68, 0.055)):  # fmt: skip
        s.ellipse(u, v, r, 0.85 * r, patch, 30)
    for side in (-1, 1):
        s.line([(x + 0.055 * side, y - 0.08), (x + 0.055 * side, y - 0.19)], 0.035, coat)
        s.ellipse(x + 0.055 * side, y - 0.20, 0.038, 0.032, hair)
        s.ellipse(x + 0.16 * side, y - 0.06, 0.07, 0.038, paint(0.8), 16 * side)
    s.blob([(x - 0.11, y - 0.07), (x + 0.08, y - 0.11), (x + 0.20, y + 0.06), (x + 0.19, y + 0.17),
            (x + 0.06, y + 0.14), (x - 0.11, y + 0.07)], coat)  # fmt: skip
    s.ellipse(x + 0.16, y + 0.11, 0.085, 0.07, paint(1.6), 30)
    s.ellipse(x + 0.20, y + 0.09, 0.015, 0.018, NIGHT)
    _eyes(s, x + 0.045, y - 0.01, 0.13, 0.034)
    return Face(x + 0.045, y - 0.01, 0.155, y - 0.13)


SHAPES: dict[str, Callable[[Sketch, float], Face | None]] = {
    shape.__name__.replace("_", " "): shape
    for shape in (
        dog,
        cat,
        bird,
        horse,
        elephant,
        teddy_bear,
        car,
        bus,
        boat,
        airplane,
        kite,
        umbrella,
        bench,
        clock,
        potted_plant,
        giraffe,
    )
}
"""Category to the function that draws it; a function returns a `Face` where there is one."""


def _eyes(s: Sketch, x: float, y: float, gap: float, radius: float) -> None:
    for side in (-1, 1):
        s.ellipse(x + side * gap / 2, y, 1.2 * radius, 1.3 * radius, CREAM)
        s.ellipse(x + side * gap / 2, y, radius, 1.1 * radius, NIGHT)
        s.ellipse(
            x + side * gap / 2 - 0.3 * radius, y - 0.4 * radius, 0.35 * radius, 0.35 * radius, CREAM
        )


def _wheels(s: Sketch, xs: tuple[float, ...], y: float, radius: float) -> None:
    for x in xs:
        s.ellipse(x, y, radius, radius, TYRE)
        s.ellipse(x, y, 0.5 * radius, 0.5 * radius, STEEL)
