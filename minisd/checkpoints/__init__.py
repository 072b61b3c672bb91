"""Checkpoints of Stable Diffusion 1.x, in both of their layouts, from disk and from the hub."""

from minisd.checkpoints.compvis import from_compvis, to_compvis
from minisd.checkpoints.files import read_state_dict
from minisd.checkpoints.loading import Components, load_components, load_network
from minisd.checkpoints.saving import save_file, save_folder
from minisd.checkpoints.weights import check_finite, load_into
from minisd.checkpoints.whole_clip import load_clip, save_clip

__all__ = [
    "Components",
    "check_finite",
    "from_compvis",
    "load_clip",
    "load_components",
    "load_into",
    "load_network",
    "read_state_dict",
    "save_clip",
    "save_file",
    "save_folder",
    "to_compvis",
]
