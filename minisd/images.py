"""Pictures in and out: from files, Pillow and arrays to tensors in [-1, 1], and back to PNGs that tell how they came.

H W height and width in pixels. A picture tensor is [1, 3, H, W], RGB, -1 black and 1 white; a mask is [1, 1, H, W], 1
where the picture is to be repainted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

Picture = str | Path | Image.Image | np.ndarray | Tensor

KEY = "minisd"
"""Name of the PNG text that holds a picture's settings."""


def load_image(image: Picture) -> Image.Image:
    """Open any picture as 8-bit RGB, the way up that its camera meant.

    Parameters
    ----------
    image : path, PIL image, ndarray or Tensor
        An array is uint8, [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; a tensor as in `to_tensor`. Grey, palette, CMYK
        and 16-bit pictures become 8-bit RGB; what is transparent shows white behind it.

    Returns
    -------
    PIL image, mode RGB

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no picture or is cut short, or the array or tensor is not as above.
    """
    if isinstance(image, Tensor):
        return to_pil(_checked(image))[0]
    if isinstance(image, str | Path):
        image = _open(Path(image))
    elif isinstance(image, np.ndarray):
        shape = image.shape
        grey = len(shape) == 2 or (len(shape) == 3 and shape[2] == 1)
        if image.dtype != np.uint8 or not (grey or (len(shape) == 3 and shape[2] in (3, 4))):
            raise ValueError(
                f"image is an array of {image.dtype}, shape {shape}; it must be uint8, "
                "[H, W], [H, W, 3] or [H, W, 4]"
            )
        image = Image.fromarray(image.reshape(shape[:2]) if grey else image)
    elif not isinstance(image, Image.Image):
        raise ValueError(
            f"image is a {type(image).__name__}; "
            "it must be a path, a PIL image, a uint8 array or a tensor"
        )
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("image has mode 'F'; its range is not known: convert it to 8 bits first")
    if image.mode.startswith("I"):
        # Pillow's own conversion cuts 16 bits off at 255
        grey = np.asarray(image, dtype=np.float64) * (255 / 65535)
        image = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no picture {path}") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} is no picture that Pillow can read") from None
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return image


def to_tensor(image: Picture) -> Tensor:
    """Turn a picture into a tensor in [-1, 1].

    Parameters
    ----------
    image : path, PIL image, ndarray or Tensor
        As for `load_image`; a tensor is floats in [-1, 1], [3, H, W] or [1, 3, H, W], and keeps its precision.

    Returns
    -------
    Tensor, shape [1, 3, H, W], float32

    Raises
    ------
    ValueError
        As `load_image`; also for a tensor of another shape, out of range, or with a NaN.
    """
    if isinstance(image, Tensor):
        return _checked(image)
    pixels = torch.from_numpy(np.array(load_image(image)))  # [H, W, 3]
    return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1


def _checked(image: Tensor) -> Tensor:
    x = image[None] if image.ndim == 3 else image
    if x.ndim != 4 or x.shape[:2] != (1, 3) or not x.is_floating_point():
        raise ValueError(
            f"image is a tensor of {image.dtype}, shape {tuple(image.shape)}; "
            "it must be floats, [3, H, W] or [1, 3, H, W]"
        )
    x = x.detach().float()
    if not x.isfinite().all():
        raise ValueError("image has pixels that are NaN or infinite")
    if x.abs().max() > 1 + 1e-3:
        raise ValueError(
            f"image lies in [{x.min().item():g}, {x.max().item():g}]; it must lie in [-1, 1]"
        )
    return x


def check_size(name: str, size: int, multiple: int = 8) -> int:
    """Refuse a height or width, called ``name``, that is no multiple of 8, and say which ones are near."""
    if isinstance(size, bool) or not isinstance(size, int):
        raise ValueError(f"{name} is {size!r}; it must be a whole number of pixels")
    if size < multiple or size % multiple:
        below = max(size // multiple, 1) * multiple
        near = f"{below} or {below + multiple}"
        raise ValueError(f"{name} is {size}; it must be a multiple of {multiple}, such as {near}")
    return size


def prepare(
    image: Picture, height: int | None = None, width: int | None = None, multiple: int = 8
) -> Tensor:
    """Turn a picture into a tensor of a size that the autoencoder takes.

    Parameters
    ----------
    image : path, PIL image, ndarray or Tensor
        As for `to_tensor`.
    height, width : int, optional
        Each is that of the picture, down to the next multiple of 8, unless given. Resized by Lanczos.
    multiple : int
        Pixels that one latent pixel stands for, across: 8 in Stable Diffusion.

    Returns
    -------
    Tensor, shape [1, 3, height, width], float32 in [-1, 1]

    Raises
    ------
    ValueError
        As `to_tensor`; also for a size that is no multiple of 8, or a picture under 8 pixels.
    """
    image = to_tensor(image) if isinstance(image, Tensor) else load_image(image)
    size = _target(_size(image), height, width, multiple)
    if _size(image) == size:
        return to_tensor(image)
    if isinstance(image, Tensor):
        # Pillow's filter on each channel as floats, so that no digit is lost
        channels = [Image.fromarray(channel.numpy()) for channel in image[0].cpu()]
        channels = [np.array(c.resize(size[::-1], Image.Resampling.LANCZOS)) for c in channels]
        return torch.from_numpy(np.stack(channels))[None].clamp(-1, 1).to(image.device)
    return to_tensor(image.resize(size[::-1], Image.Resampling.LANCZOS))


def prepare_mask(
    mask: Picture,
    image: Picture,
    height: int | None = None,
    width: int | None = None,
    multiple: int = 8,
) -> Tensor:
    """Turn a mask into zeros and ones of the size that `prepare` gives the picture it belongs to.

    Parameters
    ----------
    mask : path, PIL image, ndarray or Tensor
        White where the picture is to be repainted: at half of white and above. An array is bool or uint8 (0 to 255); a
        tensor is bool, or floats in [0, 1], shape [H, W], [1, H, W] or [1, 1, H, W].
    image : path, PIL image, ndarray or Tensor
    height, width, multiple
        As given to `prepare`.

    Returns
    -------
    Tensor, shape [1, 1, height, width], float32
        1 is repainted, 0 is kept.

    Raises
    ------
    ValueError
        As `load_image`; also for a mask of another size than the picture's, or without white.
    """
    image = image if isinstance(image, Tensor) else load_image(image)
    if isinstance(mask, Tensor):
        mask = _mask_array(mask)
    if isinstance(mask, np.ndarray) and mask.dtype == bool:
        mask = mask.astype(np.uint8) * 255
    grey = load_image(mask).convert("L")
    own, wanted = _size(grey), _size(image)
    if own != wanted:
        raise ValueError(
            f"mask is {own[1]}x{own[0]} pixels; it must be as large as its picture, "
            f"{wanted[1]}x{wanted[0]}"
        )
    size = _target(wanted, height, width, multiple)
    if size != own:
        grey = grey.resize(size[::-1], Image.Resampling.LANCZOS)
    ones = torch.from_numpy(np.array(grey) >= 127.5)[None, None].float()
    if not ones.any():
        raise ValueError("mask has no white pixel; what is white is repainted")
    return ones


def _mask_array(mask: Tensor) -> np.ndarray:
    values = mask.detach().float().cpu()
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 2 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"mask is a tensor of shape {tuple(mask.shape)}; it must be [H, W], [1, H, W] or "
            "[1, 1, H, W], between 0 and 1"
        )
    return (values >= 0.5).numpy()


def _size(image: Image.Image | Tensor) -> tuple[int, int]:
    """Height and width."""
    return tuple(image.shape[-2:]) if isinstance(image, Tensor) else image.size[::-1]


def _target(
    size: tuple[int, int], height: int | None, width: int | None, multiple: int
) -> tuple[int, int]:
    if min(size) < multiple:
        least = f"{multiple}x{multiple}"
        raise ValueError(f"image is {size[1]}x{size[0]} pixels; it must be {least} or more")
    return (
        size[0] // multiple * multiple
        if height is None
        else check_size("height", height, multiple),
        size[1] // multiple * multiple if width is None else check_size("width", width, multiple),
    )


def to_pil(x: Tensor) -> list[Image.Image]:
    """Turn tensors [B, 3, H, W] in [-1, 1] into B PIL images; beyond that range they are cut off."""
    pixels = ((x.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return [Image.fromarray(p) for p in pixels.permute(0, 2, 3, 1).cpu().numpy()]


def save_png(image: Image.Image, path: str | Path, settings: Mapping[str, Any]) -> None:
    """Save a picture with the settings that made it, as JSON in a PNG text; the file is whole or not there.

    Parameters
    ----------
    image : PIL image
    path : path
        Ends in .png; its folder is made.
    settings : mapping
        What JSON can hold.

    Raises
    ------
    ValueError
        If the path does not end in .png.
    """
    path = check_png(path)
    info = PngImagePlugin.PngInfo()
    info.add_itxt(KEY, json.dumps(dict(settings), ensure_ascii=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        image.save(part, format="PNG", pnginfo=info)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_png(path: str | Path) -> Path:
    """Refuse a path that does not end in .png."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"path is {str(path)!r}; it must end in .png")
    return path


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read the settings that `save_png` wrote.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it carries none.
    """
    text = _open(Path(path)).info.get(KEY)
    if text is None:
        raise ValueError(f"{path} carries no settings of minisd")
    return json.loads(text)
