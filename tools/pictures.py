"""Draw the two pictures of the welcome page and the README: `make pictures`.

`book/images/cover.png` is a grid of scenes under less and less noise from left to right;
`book/images/forward.png` is a photograph on its way into noise.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

from minisd.diffusion import ImageNoise, NoiseSchedule
from minisd.plots import as_uint8
from minisd.scenes import scenes

IMAGES = Path(__file__).resolve().parent.parent / "book" / "images"
SCHEDULE = NoiseSchedule.scaled_linear()
ROWS, COLUMNS, GAP = 5, 12, 4
COVER_TIMES = [999, 600, 400, 250, 120, 40, *[-1] * 6]
PHOTOGRAPH_TIMES = [-1, 50, 150, 300, 500, 999]
"""Times as the code counts them; -1 is clean."""


def noised(pictures: np.ndarray, times: list[int]) -> np.ndarray:
    """Put each picture, uint8 [N, H, W, 3], at its time."""
    x_0 = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    eps = ImageNoise(range(len(x_0)))(x_0)
    return as_uint8(SCHEDULE.q_sample(x_0, torch.tensor(times), eps))


def grid(pictures: np.ndarray, columns: int) -> Image.Image:
    """Lay pictures out in rows with a white gap between them."""
    N, H, W, _ = pictures.shape
    rows = N // columns
    page = np.full((rows * (H + GAP) - GAP, columns * (W + GAP) - GAP, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (H + GAP), i % columns * (W + GAP)
        page[top : top + H, left : left + W] = picture
    return Image.fromarray(page)


def save(image: Image.Image, name: str) -> None:
    """Write in 256 colours, beside its place, and rename."""
    beside = IMAGES / f".{name}"
    few = image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
    few.save(beside, format="png", optimize=True)
    beside.replace(IMAGES / name)


if __name__ == "__main__":
    drawn = scenes(range(ROWS * COLUMNS), size=96).images
    save(grid(noised(drawn, COVER_TIMES * ROWS), COLUMNS), "cover.png")
    photograph = np.array(
        Image.fromarray(data.astronaut()).resize((192, 192), Image.Resampling.BOX)
    )
    strip = noised(np.stack([photograph] * 6), PHOTOGRAPH_TIMES)
    save(grid(strip, 6), "forward.png")
