"""How each background looks: one function per background, painted once on a wide canvas from which scenes are cropped.

Coordinates are in picture heights: a canvas is `WIDTH` x `HEIGHT`, a scene is a window of about 1 x 1 in it. The ground
begins at `HORIZON`. Colours are paler than the things', so that the things stand out.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT, HORIZON = 1.6, 1.12, 0.58
WATERLINE = 0.76
"""Where boats float, on the backgrounds that have water."""

Colour = tuple[int, int, int]


class Canvas:
    """A wide picture with soft brushes.

    Parameters
    ----------
    unit : int
        Pixels of a picture height.
    """

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self.image = Image.new("RGB", (round(WIDTH * unit), round(HEIGHT * unit)))

    def gradient(self, top: float, bottom: float, first: Colour, last: Colour) -> None:
        """A band across the canvas, from one colour to another."""
        y0, y1 = round(top * self.unit), round(bottom * self.unit)
        ramp = np.linspace(0, 1, y1 - y0)[:, None, None]
        band = np.asarray(first) * (1 - ramp) + np.asarray(last) * ramp
        band = np.broadcast_to(band, (y1 - y0, self.image.width, 3))
        self.image.paste(Image.fromarray(band.astype(np.uint8)), (0, y0))

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        """A filled polygon."""
        pen = ImageDraw.Draw(self.image)
        pen.polygon([(x * self.unit, y * self.unit) for x, y in points], fill=colour)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """A filled rectangle."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def dot(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """A filled ellipse."""
        x, y, rx, ry = (v * self.unit for v in (x, y, rx, ry))
        ImageDraw.Draw(self.image).ellipse((x - rx, y - ry, x + rx, y + ry), fill=colour)

    def glow(
        self, dots: list[tuple[float, ...]], colour: Colour, strength: float, blur: float
    ) -> None:
        """Ellipses (x, y, rx, ry) of light or dark, blurred together."""
        mask = Image.new("L", self.image.size)
        pen = ImageDraw.Draw(mask)
        for x, y, rx, ry in dots:
            x, y, rx, ry = (v * self.unit for v in (x, y, rx, ry))
            pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=round(255 * strength))
        mask = mask.filter(ImageFilter.GaussianBlur(blur * self.unit))
        self.image.paste(colour, (0, 0), mask)

    def hills(
        self, rng: np.random.Generator, y: float, rise: float, low: Colour, high: Colour
    ) -> None:
        """A soft ridge whose crest lies between y - rise and y, filled to the horizon and below."""
        x = np.linspace(0, WIDTH, 60)
        phase = 2 * np.pi * np.array([rng.random() for _ in range(3)])
        crest = (
            sum(np.sin(x * f + p) for f, p in zip((3.1, 5.3, 8.9), phase, strict=True)) / 6 + 0.5
        )
        ridge = list(zip(x, y - rise * crest, strict=True))
        mask = Image.new("L", self.image.size)
        ends = [(WIDTH, HEIGHT), (0, HEIGHT)]
        points = [(u * self.unit, v * self.unit) for u, v in ridge + ends]
        ImageDraw.Draw(mask).polygon(points, fill=255)
        cover = self.image.copy()
        self.gradient(y - rise, y + 0.1, high, low)
        cover.paste(self.image, (0, 0), mask)
        self.image = cover

    def speckle(self, rng: np.random.Generator, y: float, amount: float) -> None:
        """Grain below y: brightness that varies from spot to spot, wider than tall."""
        top = round(y * self.unit)
        w, h = self.image.width, self.image.height - top
        # As many spots whatever the size, so that the size does not change what is drawn next.
        spots = rng.random((round(85 * (HEIGHT - y)), round(32 * WIDTH)))
        noise = Image.fromarray((255 * spots).astype(np.uint8))
        noise = np.asarray(noise.resize((w, h), Image.Resampling.BICUBIC), np.float32)[..., None]
        pixels = np.asarray(self.image, np.float32).copy()
        pixels[top:] *= 1 + amount * (noise / 127.5 - 1)
        self.image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def grass_field(c: Canvas, rng: np.random.Generator) -> None:
    """Hills, clouds, tufts and small flowers."""
    c.gradient(0, HORIZON, (138, 200, 238), (226, 244, 246))
    _clouds(c, rng, (255, 255, 255))
    c.hills(rng, HORIZON, 0.15, (150, 200, 170), (126, 184, 172))
    c.hills(rng, HORIZON + 0.02, 0.08, (152, 208, 132), (128, 190, 118))
    c.gradient(HORIZON + 0.02, HEIGHT, (156, 208, 120), (104, 170, 92))
    c.speckle(rng, HORIZON + 0.02, 0.07)
    for x, y, depth in _scatter(rng, 46, HORIZON + 0.05):
        h = 0.02 + 0.03 * depth
        for lean in (-0.5, 0.0, 0.5):
            c.polygon([(x - 0.008, y), (x + lean * h, y - h), (x + 0.008, y)], (84, 152, 80))
    for i, (x, y, depth) in enumerate(_scatter(rng, 18, HORIZON + 0.06)):
        r = 0.006 + 0.008 * depth
        c.dot(x, y, r, r, ((255, 250, 240), (255, 226, 130), (250, 196, 210))[i % 3])


def beach(c: Canvas, rng: np.random.Generator) -> None:
    """Sea with a line of foam, sand with shells."""
    c.gradient(0, HORIZON - 0.06, (150, 214, 236), (254, 232, 208))
    _clouds(c, rng, (255, 250, 244))
    c.gradient(HORIZON - 0.06, WATERLINE + 0.04, (58, 160, 186), (136, 214, 210))
    for x, y, depth in _scatter(rng, 26, HORIZON - 0.04, WATERLINE - 0.02):
        c.box(x, y, x + 0.04 + 0.07 * depth, y + 0.008, (196, 236, 234))
    edge = [
        (x, WATERLINE + 0.012 * np.sin(9 * x + 6 * rng.random())) for x in np.linspace(0, WIDTH, 30)
    ]
    c.polygon([*edge, (WIDTH, HEIGHT), (0, HEIGHT)], (246, 252, 248))
    c.polygon([*((x, y + 0.028) for x, y in edge), (WIDTH, HEIGHT), (0, HEIGHT)], (226, 200, 152))
    c.polygon([*((x, y + 0.07) for x, y in edge), (WIDTH, HEIGHT), (0, HEIGHT)], (244, 220, 170))
    c.speckle(rng, WATERLINE + 0.05, 0.05)
    for i, (x, y, depth) in enumerate(_scatter(rng, 26, WATERLINE + 0.1)):
        r = 0.005 + 0.008 * depth
        c.dot(x, y, 1.4 * r, r, ((214, 184, 136), (255, 244, 226), (240, 180, 160))[i % 3])


def snow(c: Canvas, rng: np.random.Generator) -> None:
    """Mountains, firs, flakes."""
    c.gradient(0, HORIZON, (170, 198, 226), (232, 238, 246))
    for x, h in _ridge(rng, 7, 0.16, 0.32):
        peak = HORIZON - h
        c.polygon([(x - h, HORIZON), (x, peak), (x + h, HORIZON)], (158, 178, 206))
        c.polygon([(x - 0.35 * h, peak + 0.35 * h), (x, peak), (x + 0.35 * h, peak + 0.35 * h),
                   (x + 0.12 * h, peak + 0.28 * h), (x - 0.06 * h, peak + 0.4 * h)], (246, 250, 254))  # fmt: skip
    c.gradient(HORIZON, HORIZON + 0.06, (236, 242, 250), (226, 234, 246))
    for x, h in _ridge(rng, 14, 0.13, 0.22):
        foot = HORIZON + 0.04
        for step in range(3):
            w, y = (0.36 - 0.09 * step) * h, foot - 0.27 * step * h
            c.polygon([(x - w, y), (x, y - 0.46 * h), (x + w, y)], (92, 134, 140))
            c.polygon(
                [(x - 0.4 * w, y - 0.27 * h), (x, y - 0.46 * h), (x + 0.4 * w, y - 0.27 * h)],
                (240, 246, 250),
            )
    c.gradient(HORIZON + 0.05, HEIGHT, (226, 234, 246), (206, 219, 238))
    c.glow(
        [(x, y, 0.16, 0.012) for x, y, _ in _scatter(rng, 9, HORIZON + 0.1)],
        (178, 198, 228),
        0.8,
        0.012,
    )
    c.speckle(rng, HORIZON + 0.03, 0.03)
    for _ in range(80):
        r = 0.005 + 0.006 * rng.random()
        c.dot(WIDTH * rng.random(), HEIGHT * rng.random(), r, r, (255, 255, 255))


def night_street(c: Canvas, rng: np.random.Generator) -> None:
    """Lit windows, lamps, moon and stars over a road."""
    c.gradient(0, HORIZON, (40, 42, 98), (124, 92, 150))
    for _ in range(50):
        r = 0.004 + 0.004 * rng.random()
        c.dot(WIDTH * rng.random(), 0.4 * rng.random(), r, r, (236, 232, 255))
    moon = 0.2 + (WIDTH - 0.4) * rng.random()
    c.glow([(moon, 0.14, 0.10, 0.10)], (180, 170, 220), 0.6, 0.04)
    c.dot(moon, 0.14, 0.055, 0.055, (255, 244, 214))
    x = -0.1 * rng.random()
    while x < WIDTH:
        width, height = 0.17 + 0.12 * rng.random(), 0.16 + 0.24 * rng.random()
        wall = ((58, 54, 104), (70, 58, 112), (50, 58, 112))[int(3 * rng.random())]
        c.box(x, HORIZON - height, x + width, HORIZON + 0.02, wall)
        for u in np.arange(x + 0.03, x + width - 0.04, 0.06):
            for v in np.arange(HORIZON - height + 0.03, HORIZON - 0.06, 0.07):
                lit = rng.random() < 0.45
                c.box(u, v, u + 0.03, v + 0.035, (255, 214, 122) if lit else (84, 78, 138))
        x += width
    c.gradient(HORIZON + 0.01, HORIZON + 0.10, (150, 136, 176), (138, 124, 168))
    c.gradient(HORIZON + 0.10, HEIGHT, (98, 92, 142), (84, 80, 128))
    c.box(0, HORIZON + 0.10, WIDTH, HORIZON + 0.115, (176, 164, 198))
    for x in np.arange(-0.2 * rng.random(), WIDTH, 0.3):
        c.polygon(
            [(x, 0.9), (x + 0.13, 0.9), (x + 0.12, 0.925), (x - 0.01, 0.925)], (222, 206, 186)
        )
    lamps = np.arange(0.1 + 0.2 * rng.random(), WIDTH, 0.52)
    c.glow([(x, HORIZON + 0.22, 0.24, 0.09) for x in lamps], (236, 186, 150), 0.7, 0.06)
    for x in lamps:
        c.box(x - 0.009, 0.26, x + 0.009, HORIZON + 0.07, (44, 40, 72))
    c.glow([(x, 0.25, 0.08, 0.08) for x in lamps], (255, 214, 140), 0.75, 0.03)
    for x in lamps:
        c.dot(x, 0.25, 0.032, 0.036, (255, 246, 214))
    c.speckle(rng, HORIZON + 0.1, 0.05)


def room(c: Canvas, rng: np.random.Generator) -> None:
    """A wall with a window and pictures, a wooden floor, a rug."""
    floor = HORIZON + 0.06
    c.gradient(0, floor, (246, 226, 204), (238, 210, 188))
    for x in np.arange(0.04, WIDTH, 0.08):
        c.box(x, 0, x + 0.03, floor, (241, 217, 195))
    left = 0.1 + 0.5 * rng.random()
    for x in (left, left + 0.8):
        c.box(x, 0.10, x + 0.30, 0.38, (168, 214, 232))
        c.polygon([(x, 0.38), (x, 0.30), (x + 0.1, 0.26), (x + 0.2, 0.31), (x + 0.3, 0.28), (x + 0.3, 0.38)],
                  (150, 200, 160))  # fmt: skip
        for frame in (0.0, 0.15, 0.30):
            c.box(x + frame - 0.012, 0.09, x + frame + 0.012, 0.39, (255, 250, 240))
        c.box(x - 0.012, 0.085, x + 0.312, 0.11, (255, 250, 240))
        c.box(x - 0.04, 0.38, x + 0.34, 0.41, (255, 250, 240))
        c.box(x + 0.46, 0.14, x + 0.64, 0.36, (176, 128, 98))
        c.box(x + 0.48, 0.16, x + 0.62, 0.34, (250, 240, 222))
        c.dot(x + 0.55, 0.24, 0.045, 0.045, (234, 170, 140))
        c.box(x + 0.48, 0.29, x + 0.62, 0.34, (140, 176, 168))
    c.gradient(floor, HEIGHT, (214, 172, 134), (196, 150, 112))
    for y in floor + np.cumsum([0.07, 0.09, 0.12, 0.16]):
        c.box(0, y, WIDTH, y + 0.008, (184, 138, 104))
    c.speckle(rng, floor, 0.05)
    c.box(0, floor - 0.05, WIDTH, floor, (255, 248, 236))
    c.box(0, floor, WIDTH, floor + 0.012, (176, 130, 98))
    rug = WIDTH * rng.random()
    for x in (rug - WIDTH, rug):
        for grow, colour in (
            (0.0, (196, 126, 118)),
            (0.035, (244, 222, 196)),
            (0.06, (206, 150, 138)),
        ):
            c.dot(x, 0.93, 0.52 - grow, 0.13 - 0.5 * grow, colour)


def lake(c: Canvas, rng: np.random.Generator) -> None:
    """Mountains and autumn trees mirrored in still water, a shore with leaves."""
    shore = HORIZON - 0.10
    c.gradient(0, shore, (176, 206, 226), (252, 234, 214))
    _clouds(c, rng, (255, 248, 240))
    for x, h in _ridge(rng, 6, 0.16, 0.30):
        c.polygon([(x - 1.1 * h, shore), (x, shore - h), (x + 1.1 * h, shore)], (158, 160, 196))
        c.polygon([(x, shore - h), (x + 1.1 * h, shore), (x + 0.2 * h, shore)], (142, 144, 184))
    crowns = ((214, 134, 74), (226, 172, 92), (190, 98, 76), (150, 156, 96))
    trees = _ridge(rng, 24, 0.07, 0.15)
    for i, (x, h) in enumerate(trees):
        c.dot(x, shore - 0.4 * h, 0.055, 0.7 * h, crowns[i % 4])
    c.gradient(shore, WATERLINE + 0.06, (120, 168, 190), (70, 136, 168))
    c.glow([(x, shore + 0.4 * h, 0.05, 0.5 * h) for x, h in trees], (150, 120, 104), 0.6, 0.015)
    c.box(0, shore - 0.006, WIDTH, shore + 0.012, (126, 116, 92))
    for x, y, depth in _scatter(rng, 22, shore + 0.05, WATERLINE):
        c.box(x, y, x + 0.06 + 0.08 * depth, y + 0.007, (158, 198, 210))
    c.hills(rng, WATERLINE + 0.06, 0.04, (186, 168, 122), (204, 188, 140))
    c.gradient(WATERLINE + 0.06, HEIGHT, (192, 174, 126), (160, 142, 100))
    c.speckle(rng, WATERLINE + 0.06, 0.08)
    for i, (x, y, depth) in enumerate(_scatter(rng, 34, WATERLINE + 0.08)):
        r = 0.007 + 0.008 * depth
        c.dot(x, y, 1.3 * r, 0.8 * r, crowns[i % 3])


PAINTERS: dict[str, Callable[[Canvas, np.random.Generator], None]] = {
    painter.__name__.replace("_", " "): painter
    for painter in (grass_field, beach, snow, night_street, room, lake)
}
"""Background to the function that paints it."""


def _clouds(c: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    puffs = []
    for _ in range(6):
        x, y, r = WIDTH * rng.random(), 0.05 + 0.24 * rng.random(), 0.035 + 0.03 * rng.random()
        puffs += [
            (x - 1.3 * r, y + 0.3 * r, r, 0.6 * r),
            (x + 1.3 * r, y + 0.3 * r, r, 0.6 * r),
            (x, y, 1.2 * r, r),
        ]
    c.glow(puffs, colour, 0.9, 0.01)


def _scatter(
    rng: np.random.Generator, count: int, top: float, bottom: float = HEIGHT
) -> list[tuple[float, float, float]]:
    """Random points between two heights, and how near each is (0 at the top, 1 at the bottom)."""
    points = []
    for _ in range(count):
        depth = rng.random()
        points.append((WIDTH * rng.random(), top + (bottom - top) * depth, depth))
    return points


def _ridge(
    rng: np.random.Generator, count: int, low: float, high: float
) -> list[tuple[float, float]]:
    """Positions along the canvas, evenly spread and then moved, each with a height."""
    return [
        (WIDTH * (i + rng.random()) / count, low + (high - low) * rng.random())
        for i in range(count)
    ]
