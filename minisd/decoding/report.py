"""What the leaderboard has found, as tables and as a sheet of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from minisd.decoding.leaderboard import Scores
from minisd.decoding.systems import SYSTEMS
from minisd.metrics.statistics import Interval, interval, paired_test


class Comparison(NamedTuple):
    """Two systems on one subject: the mean difference over pictures, and how likely chance is to make it."""

    subject: int
    difference: float
    p: float


def summarise(scores: Scores, system: str, measure: str) -> Interval:
    """Give the mean over subjects and pictures, with an interval over pictures.

    All subjects have seen the same test pictures, so a picture's scores are averaged over subjects first: to draw
    pictures again is to ask how it would have been with others.

    Raises
    ------
    ValueError
        If there is no such system or measure.
    """
    rows = np.stack([_values(scores, system, k, measure) for k in scores.get(system, {})])
    means = rows.mean(axis=0)
    return interval(means[np.isfinite(means)])


def compare(scores: Scores, a: str, b: str, measure: str) -> list[Comparison]:
    """Compare two systems picture by picture, on each subject that both have: a less b."""
    found = []
    for subject in sorted(set(scores[a]) & set(scores[b])):
        x, y = (_values(scores, name, subject, measure) for name in (a, b))
        both = np.isfinite(x) & np.isfinite(y)
        p = paired_test(x[both], y[both])
        found.append(Comparison(subject, float((x - y)[both].mean()), p))
    return found


def table(scores: Scores, measures: Sequence[str] | None = None) -> str:
    """Write a table in Markdown: a row for each system, means over subjects and pictures with their intervals.

    Parameters
    ----------
    scores : dict
    measures : sequence of str, optional
        Columns; if None, all.
    """
    first = next(iter(next(iter(scores.values())).values()))
    measures = list(measures or first)
    lines = ["| | " + " | ".join(measures) + " |", "|---|" + "---|" * len(measures)]
    for name in scores:
        cells = []
        for measure in measures:
            found = summarise(scores, name, measure)
            cells.append(f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]")
        mark = " (oracle)" if SYSTEMS[name].oracle else ""
        lines.append(f"| {SYSTEMS[name].title}{mark} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def contact_sheet(rows: Mapping[str, Tensor], scale: int = 1) -> Image.Image:
    """Lay pictures out, a labelled row for each system.

    Parameters
    ----------
    rows : mapping of str to Tensor [N, 3, H, W]
        In [-1, 1], by label; all of one shape.
    scale : int
        How often each pixel is repeated, both ways.

    Raises
    ------
    ValueError
        If there are no rows, or they differ in shape.
    """
    shapes = {tuple(x.shape) for x in rows.values()}
    if len(shapes) != 1:
        raise ValueError(f"rows have the shapes {sorted(shapes)}; they must have one")
    count, _, H, W = shapes.pop()
    H, W, gap, line = H * scale, W * scale, 2, 14
    sheet = Image.new("RGB", (count * (W + gap), len(rows) * (H + gap + line)), "white")
    pen = ImageDraw.Draw(sheet)
    for r, (label, x) in enumerate(rows.items()):
        top = r * (H + gap + line)
        pen.text((2, top + 1), label, fill="black")
        x = x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        pixels = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        for i, picture in enumerate(pixels):
            sheet.paste(Image.fromarray(picture), (i * (W + gap), top + line))
    return sheet


def _values(scores: Scores, system: str, subject: int, measure: str) -> np.ndarray:
    try:
        return scores[system][subject][measure]
    except KeyError as error:
        raise ValueError(f"there is no {error} among the scores of {system}") from error
