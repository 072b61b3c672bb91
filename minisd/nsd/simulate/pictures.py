"""The pictures of a simulation: drawn scenes, with captions in the format of COCO's own files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minisd.nsd.simulate.design import Design
from minisd.nsd.simulate.settings import SimulationSettings
from minisd.scenes import Scene, scene

SIZE = 64
"""Edge of a picture in pixels; NSD's is 425."""
WORLD = 73_000
"""Added to the simulation's seed it gives the world of the scenes, so that no picture is one that a network of the book
was trained on."""


def draw_picture(settings: SimulationSettings, nsd_id: int) -> Scene:
    """Draw the picture of a 73k id."""
    return scene(nsd_id, WORLD + settings.seed, SIZE)


def coco_captions(
    design: Design, captions: Sequence[tuple[str, ...]], split: str
) -> dict[str, Any]:
    """What ``captions_train2017.json`` or ``captions_val2017.json`` holds, of this simulation's pictures.

    Parameters
    ----------
    design : Design
    captions : sequence of tuple of str
        By 73k id.
    split : str
        "train2017" or "val2017".
    """
    mine = [
        (int(coco), captions[i])
        for i, coco in enumerate(design.coco_id)
        if design.split[i] == split
    ]
    images = [
        {"id": coco, "file_name": f"{coco:012}.jpg", "height": SIZE, "width": SIZE, "license": 1}
        for coco, _ in mine
    ]
    annotations = [
        {"image_id": coco, "id": 10 * coco + turn, "caption": text}
        for coco, texts in mine
        for turn, text in enumerate(texts)
    ]
    return {
        "info": {"description": "drawn scenes of a simulated dataset, not COCO", "version": "1.0"},
        "licenses": [{"id": 1, "name": "MIT License", "url": "https://spdx.org/licenses/MIT"}],
        "images": images,
        "annotations": annotations,
    }
