"""A canvas for things: flat parts, each shaded as if it were round, whose colour is left open.

A thing is drawn once, at high resolution, and coloured later: each pixel is `fixed + paint * colour`, where `fixed` is
RGB and `paint` says how much of the thing's own colour shows. Coordinates are in the unit square, y downwards; the
canvas is wider by `MARGIN` on each side, for hats and outlines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Point = tuple[float, float]

MARGIN = 0.14
"""Room on each side of the unit square, in its units."""


@dataclass(frozen=True)
class Ink:
    """What a part is filled with: `fixed` (RGB, 0..1) plus `paint` (0..1) times the thing's colour."""

    paint: float
    fixed: tuple[float, float, float]


def paint(shade: float = 1.0) -> Ink:
    """The thing's own colour: darker for a shade below 1, mixed with white above (2 is white)."""
    white = max(shade - 1, 0.0)
    return Ink(min(shade, 1.0) - white, (white,) * 3)


def ink(red: int, green: int, blue: int) -> Ink:
    """A colour that stays, 0..255 each."""
    return Ink(0.0, (red / 255, green / 255, blue / 255))


class Sketch:
    """A square canvas to which parts are added, back to front.

    Parameters
    ----------
    side : int
        Pixels along an edge of the whole canvas, margins included.

    Attributes
    ----------
    unit : float
        Pixels along an edge of the unit square.
    fixed : ndarray [side, side, 3]
        RGB that does not depend on the thing's colour, times the coverage, 0..1.
    paint, cover : ndarray [side, side]
        How much of the thing's colour shows, and the coverage, 0..1.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.unit = side / (1 + 2 * MARGIN)
        self.fixed = np.zeros((side, side, 3), np.float32)
        self.paint = np.zeros((side, side), np.float32)
        self.cover = np.zeros((side, side), np.float32)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Ink, tilt: float = 0.0
    ) -> None:
        """An ellipse around (x, y), turned clockwise by `tilt` degrees."""
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        u, v = rx * np.cos(angle), ry * np.sin(angle)
        c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        self.polygon(list(zip(x + c * u - s * v, y + s * u + c * v, strict=True)), fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, radius: float, fill: Ink) -> None:
        """A rectangle with round corners."""
        corners = [(x1 - radius, y1 - radius), (x0 + radius, y1 - radius)]
        corners += [(x0 + radius, y0 + radius), (x1 - radius, y0 + radius)]
        points = []
        for quarter, (x, y) in enumerate(corners):
            for angle in np.linspace(quarter, quarter + 1, 6) * np.pi / 2:
                points.append((x + radius * np.cos(angle), y + radius * np.sin(angle)))
        self.polygon(points, fill)

    def blob(self, points: Sequence[Point], fill: Ink) -> None:
        """A smooth closed curve through the points."""
        self.polygon(_smooth(points, closed=True), fill)

    def polygon(self, points: Sequence[Point], fill: Ink) -> None:
        """A filled polygon."""
        xy = (np.asarray(points) + MARGIN) * self.unit
        self._add(xy, lambda pen, local: pen.polygon(local, fill=255), 0.0, fill)

    def line(self, points: Sequence[Point], width: float, fill: Ink) -> None:
        """A smooth line of that width through the points, with round ends."""
        xy = (np.asarray(_smooth(points, closed=False)) + MARGIN) * self.unit
        w = max(round(width * self.unit), 1)

        def stroke(pen: ImageDraw.ImageDraw, local: list[Point]) -> None:
            pen.line(local, fill=255, width=w, joint="curve")
            for x, y in (local[0], local[-1]):
                pen.ellipse((x - w / 2, y - w / 2, x + w / 2, y + w / 2), fill=255)

        self._add(xy, stroke, w / 2, fill)

    def outline(self, width: float) -> np.ndarray:
        """A soft band of that width just outside everything drawn so far, [side, side], 0..1."""
        radius = width * self.unit
        cover = Image.fromarray((self.cover * 255).astype(np.uint8))
        near = np.asarray(cover.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255
        return np.clip(near * 5, 0, 1) * (1 - self.cover)

    def _add(self, xy: np.ndarray, stroke, reach: float, fill: Ink) -> None:  # noqa: ANN001
        # Only the part's own box is touched; the margin leaves room for the shading's blur.
        margin = reach + 0.06 * self.unit
        x0, y0 = np.maximum(np.floor(xy.min(0) - margin), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(xy.max(0) + margin), self.side).astype(int)
        image = Image.new("L", (int(x1 - x0), int(y1 - y0)))
        stroke(ImageDraw.Draw(image), [(x - x0, y - y0) for x, y in xy.tolist()])
        # The thinner the part, the tighter its rounding.
        thickness = min(np.ptp(xy[:, 0]), np.ptp(xy[:, 1])) + 2 * reach
        radius = float(np.clip(thickness / 7, 1.0, 0.05 * self.unit))
        blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255
        mask = np.asarray(image, np.float32) / 255
        slope = np.zeros_like(blurred)  # positive where the surface faces up, towards the light
        shift = max(round(radius), 1)
        slope[shift:-shift] = blurred[2 * shift :] - blurred[: -2 * shift]
        light = 0.42 * np.clip(slope, 0, 1)
        dark = 0.36 * np.clip(-slope, 0, 1)
        region = np.s_[y0:y1, x0:x1]
        # What lies behind the part's edge is in its shade, which tells the parts of one colour apart.
        keep = (1 - mask) * (1 - 0.22 * blurred)
        shaded = (1 - light) * (1 - dark) * mask
        self.paint[region] = self.paint[region] * keep + fill.paint * shaded
        colour = np.asarray(fill.fixed, np.float32) * shaded[..., None] + (light * mask)[..., None]
        self.fixed[region] = self.fixed[region] * keep[..., None] + colour
        self.cover[region] = np.maximum(self.cover[region], mask)


def _smooth(points: Sequence[Point], closed: bool) -> list[Point]:
    """Catmull-Rom spline through the points, eight segments between each pair."""
    p = np.asarray(points, np.float64)
    if len(p) < 3:
        return list(points)
    p = np.vstack([p[-1:], p, p[:2]]) if closed else np.vstack([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    a, b, c, d = p[:-3], p[1:-2], p[2:-1], p[3:]
    curve = 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    )
    points = curve.transpose(1, 0, 2).reshape(-1, 2)
    if not closed:
        points = np.vstack([points, p[-1:]])
    return list(map(tuple, points))
