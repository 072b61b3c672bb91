"""Draw the pictures of the welcome page and the README, into book/images.

``python tools/welcome_pictures.py`` draws them again; the same code gives the same pictures.
"""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from minisd.diffusion import ImageNoise, NoiseSchedule
from minisd.pipeline import StableDiffusion
from minisd.plots import as_uint8
from minisd.scenes import caption, scene_factors

IMAGES = Path(__file__).resolve().parents[1] / "book" / "images"
MINIATURE = Path(__file__).resolve().parents[1] / "data_samples" / "miniature"
ROWS, GAP = 5, 4
COVER_WORLD = 5
COVER_STEPS = (0, 4, 8, 11, 14, 18, *[25] * 6)
"""After how many steps of the walk each column of the cover stands; the right half is done."""
PHOTO_TIMES = (-1, 50, 150, 300, 500, 999)
PHOTO_SIZE = 192


def noised(images: np.ndarray, times: torch.Tensor, seed: int) -> np.ndarray:
    """Pictures uint8 [N, H, W, 3], each at its time [N] of DDPM's schedule, for looking at."""
    x_0 = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    noise = ImageNoise(range(seed, seed + len(images)))
    return as_uint8(NoiseSchedule.linear().q_sample(x_0, times, noise(x_0)))


def tiled(images: np.ndarray, columns: int) -> Image.Image:
    """Pictures uint8 [N, H, W, 3] in rows, with transparent gaps."""
    n, height, width, _ = images.shape
    rows = n // columns
    sheet = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 4), np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * (height + GAP), i % columns * (width + GAP)
        sheet[y : y + height, x : x + width, :3] = image
        sheet[y : y + height, x : x + width, 3] = 255
    return Image.fromarray(sheet)


def cover() -> Image.Image:
    """What the miniature draws, each column after more steps of the walk than the one before."""
    sd = StableDiffusion.from_pretrained(MINIATURE)
    number = ROWS * len(COVER_STEPS)
    prompts = [caption(scene_factors(i, seed=COVER_WORLD)) for i in range(number)]
    walk = [ImageNoise(range(number)).draw((4, 16, 16))]
    sd.text_to_image(
        prompts, steps=COVER_STEPS[-1], guidance_scale=4, batch_size=number, output="latent",
        callback=lambda step: walk.append(step.x_t),
    )  # fmt: skip
    columns = list(COVER_STEPS) * ROWS
    latents = torch.stack([walk[steps][i] for i, steps in enumerate(columns)])
    with torch.no_grad():
        images = as_uint8(sd.decode(latents))
    return tiled(np.repeat(np.repeat(images, 2, axis=1), 2, axis=2), len(COVER_STEPS))


def forward() -> Image.Image:
    """One photograph at six times of the forward process."""
    from skimage.data import astronaut

    photo = np.asarray(Image.fromarray(astronaut()).resize((PHOTO_SIZE, PHOTO_SIZE), Image.LANCZOS))
    copies = np.repeat(photo[None], len(PHOTO_TIMES), axis=0)
    return tiled(noised(copies, torch.tensor(PHOTO_TIMES).double(), seed=0), len(PHOTO_TIMES))


def save(image: Image.Image, name: str) -> None:
    """Write beside and rename, so that no picture is ever half there."""
    path = IMAGES / name
    image.quantize(256, Image.Quantize.FASTOCTREE).save(
        path.with_suffix(".part"), "PNG", optimize=True
    )
    os.replace(path.with_suffix(".part"), path)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    save(cover(), "cover.png")
    save(forward(), "forward.png")
