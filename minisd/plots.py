"""Pictures for the chapters: one style, grids of images, and the road of the book.

Figures are matplotlib figures on an opaque white ground, so they read the same on a light and on a
dark page. The colours are those of Okabe and Ito, "Color Universal Design" (2008,
https://jfly.uni-koeln.de/color/), which readers with any common colour vision can tell apart.

N images, H W their height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from minisd.extras import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
}
"""Okabe and Ito's colours, in the order in which lines take them."""

DPI = 110
PAGE_WIDTH = 6.4
"""Inches across the text of a page: at `DPI`, 704 pixels."""

ROAD: dict[str, dict[str, str]] = {
    "Start": {
        "how_to_use": "How to use this book",
        "notation": "Notation",
        "picture_world": "The picture world",
    },
    "Diffusion": {
        "forward": "The forward process",
        "reverse": "The reverse process",
        "loss": "The loss",
        "training": "Training and sampling",
        "samplers": "Faster samplers",
    },
    "Guidance": {
        "classifier": "By a classifier",
        "classifier_free": "Classifier-free",
        "clip_guidance": "By CLIP",
        "self_calibrated": "Self-calibrated",
        "spatial": "In space",
        "unclip": "unCLIP",
        "side_by_side": "Side by side",
    },
    "Stable Diffusion": {
        "vae": "The VAE",
        "clip": "CLIP",
        "attention": "Attention",
        "unet": "The U-Net",
        "pipeline": "The pipeline",
        "image_to_image": "Image to image",
        "inpainting": "Inpainting",
        "real_weights": "Real weights",
        "miniature": "The miniature",
        "finetuning": "Fine-tuning",
    },
    "The brain's side": {
        "fmri": "What fMRI measures",
        "betas": "From BOLD to betas",
        "nsd_files": "NSD's files",
        "regions": "Regions",
        "noise_ceiling": "The noise ceiling",
        "preparing": "Preparing a subject",
        "traps": "The traps",
        "your_own_nsd": "Your own NSD",
    },
    "Brain to picture": {
        "encoding": "There and back",
        "ridge": "Ridge at scale",
        "measuring": "How good?",
        "retrieval": "Look it up",
        "takagi": "Takagi",
        "mind_diffuser_1": "Stage 1",
        "mind_diffuser_2": "Stage 2",
        "upper_bound": "Upper bound",
        "what_the_brain_says": "The brain says",
        "across_subjects": "Across subjects",
        "validity": "Is it real?",
        "full_size": "Full size",
    },
    "The road here": {},
}
"""The parts of the book in order, each with its chapters (file name: title); a part without is not
written yet. The first part is the front, the others are Parts I to VI."""


def use_style() -> None:
    """Draw every later figure in the style of the book.

    In a notebook it also turns off the inline backend's cropping, so that a figure has the pixels
    that it asked for.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message says how to install it.
    """
    matplotlib = require("matplotlib", "book")
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(
        {
            "figure.figsize": (PAGE_WIDTH, 3.4),
            "figure.dpi": DPI,
            "savefig.dpi": DPI,
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.labelsize": 10,
            "axes.prop_cycle": matplotlib.cycler(color=list(COLOURS.values())),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#E3E3E3",
            "grid.linewidth": 0.8,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "lines.linewidth": 1.8,
            "image.cmap": "viridis",
        }
    )
    ipython = require("IPython", "book")
    if ipython.get_ipython() is not None:
        require("matplotlib_inline.backend_inline", "book").set_matplotlib_formats(
            "png", bbox_inches=None
        )


def as_uint8(images: torch.Tensor | np.ndarray) -> np.ndarray:
    """Give pictures as bytes, ready to be shown.

    Parameters
    ----------
    images : uint8 [N, H, W, 3], or float Tensor [N, 3, H, W] in [-1, 1]
        Floats outside of [-1, 1] are clipped: noise has no other way onto a screen.

    Returns
    -------
    uint8 array [N, H, W, 3]

    Raises
    ------
    ValueError
        If the shape or the type is neither of these.
    """
    if isinstance(images, torch.Tensor) and images.is_floating_point():
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"images has shape {list(images.shape)}; float images are [N, 3, H, W] in [-1, 1]"
            )
        levels = (images.detach().cpu().clamp(-1, 1) + 1) * 127.5
        return levels.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
        raise ValueError(
            f"images is {array.dtype} of shape {list(array.shape)}; allowed are uint8 [N, H, W, 3] "
            "and a float torch.Tensor [N, 3, H, W]"
        )
    return array


def image_grid(
    images: torch.Tensor | np.ndarray,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
) -> Figure:
    """Lay pictures out in rows, each pixel a whole number of screen pixels.

    Parameters
    ----------
    images : uint8 [N, H, W, 3], or float Tensor [N, 3, H, W] in [-1, 1]
    titles : N strings, optional
        One above each picture; an empty string leaves the place free.
    columns : int, optional
        Pictures in a row; all N, up to 8, if not given.

    Returns
    -------
    matplotlib Figure
        As wide as the page or a little wider (the page scales it to fit). Pictures whose row does
        not fit at their own size are scaled down.

    Raises
    ------
    ValueError
        If `images` are no images, or `titles` or `columns` do not fit them.
    """
    pictures = as_uint8(images)
    count, height, width = pictures.shape[:3]
    if count == 0:
        raise ValueError("images is empty; at least one picture is needed")
    columns = min(count, 8) if columns is None else columns
    if columns < 1:
        raise ValueError(f"columns is {columns}; at least 1 is needed")
    if titles is not None and len(titles) != count:
        raise ValueError(f"titles has {len(titles)} entries for {count} images; one each is needed")

    page, gap = PAGE_WIDTH * DPI, 6
    scale = (page - gap * (columns + 1)) / (columns * width)
    scale = round(scale) if scale > 1 else scale
    cell_width, cell_height = round(width * scale), round(height * scale)
    rows = -(-count // columns)
    total_width = columns * (cell_width + gap) + gap
    shrink = max(1.0, total_width / page)  # by which the page will scale the figure down
    head = round(18 * shrink) if titles is not None else 0
    total_height = rows * (cell_height + head + gap) + gap

    pyplot = require("matplotlib.pyplot", "book")
    # Axes at exact pixels: a layout engine would shift them by fractions, which blurs the pictures.
    figure = pyplot.figure(figsize=(total_width / DPI, total_height / DPI), dpi=DPI, layout="none")
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        left = gap + column * (cell_width + gap)
        top = gap + head + row * (cell_height + head + gap)
        axes = figure.add_axes(
            (
                left / total_width,
                1 - (top + cell_height) / total_height,
                cell_width / total_width,
                cell_height / total_height,
            )
        )
        axes.imshow(picture, interpolation="nearest" if scale >= 1 else "auto", aspect="auto")
        axes.set_axis_off()
        if titles is not None:
            axes.set_title(titles[index], fontsize=8.5 * shrink, pad=3)
    return figure


def road(here: str) -> Figure:
    """Draw the road of the book and where on it the reader is.

    Parameters
    ----------
    here : str
        A chapter's file name, a key in one of the parts of `ROAD`.

    Returns
    -------
    matplotlib Figure
        The parts are stations on a line, pale where they are not written yet; below this part's
        station its chapters, with `here` filled in.

    Raises
    ------
    ValueError
        If no part of the road has a chapter `here`.
    """
    known = [chapter for chapters in ROAD.values() for chapter in chapters]
    if here not in known:
        raise ValueError(f"here is {here!r}; the chapters on the road are {', '.join(known)}")
    parts = list(ROAD)
    station = next(i for i, chapters in enumerate(ROAD.values()) if here in chapters)
    chapters = ROAD[parts[station]]

    pyplot = require("matplotlib.pyplot", "book")
    figure = pyplot.figure(figsize=(PAGE_WIDTH, 1.85), dpi=DPI, layout="none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.6, len(parts) - 0.4), ylim=(-1.75, 1.1))
    axes.set_axis_off()

    ink, pale = COLOURS["blue"], "#B9C2C9"
    written = [bool(ROAD[part]) for part in parts]
    axes.plot([0, len(parts) - 1], [0, 0], color=pale, lw=3, zorder=1)
    axes.plot([0, station], [0, 0], color=ink, lw=3, zorder=2)
    for i, part in enumerate(parts):
        colour = ink if written[i] else pale
        fill = ink if i == station else "white"
        axes.scatter(i, 0, s=190, color=fill, edgecolors=colour, linewidths=2.2, zorder=3)
        numeral = ("", "I", "II", "III", "IV", "V", "VI")[i]
        axes.text(
            i, 0, numeral, color="white" if i == station else colour, fontsize=8,
            fontweight="bold", ha="center", va="center", zorder=4,
        )  # fmt: skip
        axes.text(
            i, 0.42, _two_lines(part), linespacing=1.1, color="#222222" if written[i] else "#6B757C", fontsize=8,
            fontweight="bold" if i == station else "normal", ha="center", va="bottom",
        )  # fmt: skip

    step = min(1.25, (len(parts) - 0.4) / len(chapters))
    first = np.clip(
        station - step * (len(chapters) - 1) / 2, 0, len(parts) - 1 - step * (len(chapters) - 1)
    )
    places = first + step * np.arange(len(chapters))
    axes.plot([station, station], [-0.32, -0.85], color=ink, lw=1.2, zorder=1)
    axes.plot(places[[0, -1]], [-0.85, -0.85], color=ink, lw=1.2, zorder=1)
    for (name, title), x in zip(chapters.items(), places, strict=True):
        axes.scatter(
            x, -0.85, s=75, zorder=3, linewidths=1.6, edgecolors=COLOURS["vermillion"]
            if name == here else ink, color=COLOURS["vermillion"] if name == here else "white",
        )  # fmt: skip
        axes.text(
            x, -1.12, _two_lines(title), color="#222222", fontsize=7.5, ha="center", va="top",
            fontweight="bold" if name == here else "normal", linespacing=1.1,
        )  # fmt: skip
    return figure


def _two_lines(title: str) -> str:
    """Break a title at the space nearest to its middle."""
    spaces = [i for i, letter in enumerate(title) if letter == " "]
    if not spaces:
        return title
    middle = min(spaces, key=lambda i: abs(i - len(title) / 2))
    return title[:middle] + "\n" + title[middle + 1 :]
