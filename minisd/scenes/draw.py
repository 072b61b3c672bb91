"""From factors to pixels: where each thing stands, how light and chance vary it, and which pixels are its own.

Backgrounds and things are painted once at high resolution and kept. A scene crops one background, then resizes and
colours its things, at fractions of a pixel. So a scene costs about a millisecond, and no two are equal.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from minisd.scenes import accessories, backgrounds, shapes
from minisd.scenes.captions import captions
from minisd.scenes.factors import IN_THE_AIR, ON_WATER, SceneFactors, Thing
from minisd.scenes.sketch import MARGIN, Sketch

COLOUR_RGB = {
    "red": (222, 52, 50),
    "orange": (250, 138, 34),
    "yellow": (255, 212, 46),
    "green": (52, 166, 74),
    "blue": (50, 104, 214),
    "purple": (142, 70, 178),
    "white": (246, 246, 250),
    "black": (56, 54, 64),
}
"""The middle of each colour, RGB 0..255; a scene's differ a little."""
SIDE = {"small": 0.36, "large": 0.60}
"""Edge of the square that a thing fills, in picture heights."""
CENTRE = {
    "small": {"left": 0.21, "centre": 0.5, "right": 0.79},
    "large": {"left": 0.34, "centre": 0.5, "right": 0.66},
}
"""Middle of a thing from left (0) to right (1)."""

_POSES = 6
_VARIANTS = 6
_SEAT = 0.67  # a bench's seat, from the top of its square
_LAMP_LIGHT = np.array((255, 226, 190), np.float32)


@dataclass(frozen=True)
class Scene:
    """One picture with its ground truth.

    Attributes
    ----------
    image : ndarray [size, size, 3] of uint8
        RGB.
    masks : ndarray [n, size, size] of bool
        The visible pixels of each of the `n` things, in the order of `factors.things`; they do not overlap.
    factors : SceneFactors
        What was drawn.
    captions : tuple of str
        Five wordings; the first is complete.
    """

    image: np.ndarray
    masks: np.ndarray
    factors: SceneFactors
    captions: tuple[str, ...]


@dataclass(frozen=True)
class _Spot:
    """Where a thing's square is, in picture heights, and whether the thing faces left."""

    x: float
    foot: float
    width: float
    height: float
    flip: bool


def draw(factors: SceneFactors, rng: np.random.Generator, size: int = 64) -> Scene:
    """Draw a scene with these factors; what they leave open comes from `rng`.

    Parameters
    ----------
    factors : SceneFactors
        What is in the picture.
    rng : numpy.random.Generator
        Gives view, light, positions, poses, hues and wordings; only `rng.random` is used.
    size : int
        Height and width in pixels, from 16 to 256.

    Returns
    -------
    Scene
        The picture, its masks, factors and captions.

    Raises
    ------
    ValueError
        `size` is out of range.
    """
    if not 16 <= size <= 256:
        raise ValueError(f"size is {size}; allowed is 16 to 256")
    canvas, waterline = _background(factors.background, rng, size)
    spots = _layout(factors, rng, waterline)
    night = factors.background == "night street"
    covers = np.zeros((len(factors.things), size, size), bool)
    # What stands lower in the picture is nearer, and is drawn later; so is what sits on a bench.
    order = sorted(
        range(len(spots)), key=lambda i: (factors.relation == "on" and i == 0, spots[i].foot)
    )
    for i in order:
        cover = _place(canvas, factors.things[i], spots[i], rng, night)
        covers &= ~cover
        covers[i] = cover
    tint = [_between(rng, 0.98, 1.02) for _ in range(3)]
    canvas *= np.array(tint, np.float32) * _between(rng, 0.96, 1.05)
    image = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    return Scene(image, covers, factors, captions(factors, rng))


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _background(name: str, rng: np.random.Generator, size: int) -> tuple[np.ndarray, float]:
    """A window of a background, float32 [size, size, 3] in 0..255, and the height of its waterline."""
    wide = _painted(name, int(rng.random() * _VARIANTS), size)
    view = 2 * size * _between(rng, 0.94, 1.04)  # the painting has two pixels to one of the scene's
    left = _between(rng, 0, wide.width - view)
    top = _between(rng, 0, 0.8 * (wide.height - view))
    box = (left, top, left + view, top + view)
    window = np.asarray(wide.resize((size, size), Image.Resampling.BOX, box), np.float32)
    if rng.random() < 0.5:
        window = window[:, ::-1]
    return window.copy(), (2 * size * backgrounds.WATERLINE - top) / view


@lru_cache(maxsize=40)
def _painted(name: str, variant: int, size: int) -> Image.Image:
    canvas = backgrounds.Canvas(4 * size)
    backgrounds.PAINTERS[name](canvas, np.random.default_rng(variant))
    return canvas.image.reduce(2)


def _layout(factors: SceneFactors, rng: np.random.Generator, waterline: float) -> list[_Spot]:
    # One above the other stand as far from the edge as the larger of them.
    stacked = "large" if any(thing.size == "large" for thing in factors.things) else "small"
    spots = []
    for thing in factors.things:
        side = SIDE[thing.size] * _between(rng, 0.95, 1.05)
        stretch = _between(rng, 0.96, 1.04)
        reach = stacked if factors.relation == "above" else thing.size
        x = CENTRE[reach][thing.place] + _between(rng, -0.02, 0.02)
        if thing.category in IN_THE_AIR:
            high = 0.20 if factors.relation == "above" else 0.27
            foot = (
                {"small": high, "large": 0.31}[thing.size] + side / 2 + _between(rng, -0.02, 0.02)
            )
        elif thing.category in ON_WATER:
            foot = waterline + _between(rng, -0.03, 0.01)
        else:
            foot = _between(rng, 0.88, 0.95)
        spots.append(_Spot(x, foot, side * stretch, side / stretch, rng.random() < 0.5))
    if factors.relation == "on":
        rider, bench = spots
        foot = bench.foot - (1 - _SEAT) * bench.height
        x = bench.x + _between(rng, -0.08, 0.08)
        spots[0] = _Spot(x, foot, rider.width, rider.height, rider.flip)
    return spots


def _place(
    canvas: np.ndarray, thing: Thing, spot: _Spot, rng: np.random.Generator, night: bool
) -> np.ndarray:
    """Draw a thing onto the canvas, in place; returns its cover, bool [size, size]."""
    size = len(canvas)
    sprite = _sprite(thing.category, thing.accessory, int(rng.random() * _POSES), thing.size, size)
    scale_x, scale_y = spot.width * size / sprite.unit, spot.height * size / sprite.unit
    width, height = scale_x * sprite.side, scale_y * sprite.side
    # The sprite's corner in pixels of the picture, then what of it lies within the picture.
    left, top = spot.x * size - width / 2, spot.foot * size - scale_y * (1 + MARGIN) * sprite.unit
    x0, x1 = max(math.ceil(left), 0), min(math.floor(left + width), size)
    y0, y1 = max(math.ceil(top), 0), min(math.floor(top + height), size)
    from_left, to_right = (
        (left + width - x1, left + width - x0) if spot.flip else (x0 - left, x1 - left)
    )
    box = (from_left / scale_x, (y0 - top) / scale_y, to_right / scale_x, (y1 - top) / scale_y)
    layers = [
        np.asarray(layer.resize((x1 - x0, y1 - y0), Image.Resampling.BOX, box))
        for layer in sprite.layers
    ]
    layers = np.concatenate(layers, axis=2).astype(np.float32) / 255
    if spot.flip:
        layers = layers[:, ::-1]
    jitter = np.array([_between(rng, -1, 1) for _ in range(3)], np.float32)
    colour = np.array(COLOUR_RGB[thing.colour], np.float32) * (1 + 0.02 * jitter) + 4 * jitter[::-1]
    tone = (0.96, 0.95, 1.0) if night else (1.0, 1.0, 1.0)
    light = np.array(tone, np.float32) * _between(rng, 0.97, 1.05)
    rim = 0.45 * colour + 0.55 * _LAMP_LIGHT if night else 0.32 * colour
    recipe = np.zeros((7, 3), np.float32)  # by channel, as in _Sprite
    recipe[:3] = 255 * np.diag(light)
    recipe[4] = colour * light
    recipe[5] = rim
    solid = layers[..., 3:4] + layers[..., 5:6]
    region = canvas[y0:y1, x0:x1]
    region *= (1 - solid) * (1 - 0.38 * layers[..., 6:7])
    region += layers @ recipe
    cover = np.zeros((size, size), bool)
    cover[y0:y1, x0:x1] = layers[..., 3] > 0.5
    return cover


@dataclass(frozen=True)
class _Sprite:
    """A thing at high resolution, its colour open.

    Two images: of fixed red, green, blue and cover, and of paint, outline and shadow. The first has Pillow's mode
    CMYK, its one mode whose four channels are resized without regard to each other.
    """

    layers: tuple[Image.Image, Image.Image]
    side: int
    unit: float


@lru_cache(maxsize=400)
def _sprite(category: str, accessory: str, pose: int, thing_size: str, size: int) -> _Sprite:
    # Small pictures need finer steps at the edges, large ones would fill the memory.
    supersample = max(256 // size, 2)
    unit = supersample * SIDE[thing_size] * size
    sketch = Sketch(round((1 + 2 * MARGIN) * unit))
    face = shapes.SHAPES[category](sketch, 2 * pose / (_POSES - 1) - 1)
    if face is not None and accessory != "none":
        accessories.WEAR[accessory](sketch, face)
    outline = sketch.outline(0.6 * supersample * size / 64 / unit)
    first = np.concatenate([sketch.fixed, sketch.cover[..., None]], axis=2)
    shadow = 0 * sketch.cover if category in IN_THE_AIR else _shadow(sketch)
    second = np.stack([sketch.paint, outline, shadow], axis=2)
    layers = tuple(
        Image.frombytes(
            mode, (sketch.side,) * 2, np.clip(255 * c, 0, 255).astype(np.uint8).tobytes()
        )
        for mode, c in (("CMYK", first), ("RGB", second))
    )
    return _Sprite(layers, sketch.side, sketch.unit)


def _shadow(sketch: Sketch) -> np.ndarray:
    """A soft ellipse under the feet, as wide as they stand, [side, side], 0..1."""
    rows = slice(round((MARGIN + 0.85) * sketch.unit), None)
    columns = np.flatnonzero(sketch.cover[rows].any(0))
    soft = Sketch(sketch.side)
    middle = (columns[0] + columns[-1]) / 2 / sketch.unit - MARGIN
    reach = (columns[-1] - columns[0]) / 2 / sketch.unit + 0.04
    soft.ellipse(middle, 0.96, reach, 0.06, shapes.NIGHT)
    image = Image.fromarray((255 * soft.cover).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(0.025 * sketch.unit)), np.float32) / 255
