"""Checkpoints written, in both layouts, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minisd.checkpoints.compvis import to_compvis
from minisd.checkpoints.loading import Components
from minisd.models.tokenizer import Tokenizer

CLASSES = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
}
"""What diffusers and transformers call the parts."""


def save_folder(components: Components, folder: str | Path) -> Path:
    """Write a folder that minisd and diffusers read.

    Parameters
    ----------
    components : Components
    folder : path
        Not there yet, or empty.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If the folder has something in it.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder is {folder}, which is not empty; give a new name")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        write_parts(components, beside)
        beside.chmod(0o755)  # mkdtemp's is for its owner alone
        if folder.exists():
            folder.rmdir()
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return folder


def save_file(components: Components, path: str | Path) -> Path:
    """Write a single ``.safetensors`` file in CompVis' layout, which has no tokenizer and no settings.

    Raises
    ------
    ValueError
        If the path does not end so.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"path is {path}; it must end with .safetensors")
    parts = {part: getattr(components, part) for part in ("unet", "vae", "text_encoder")}
    states = {part: network.state_dict() for part, network in parts.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_weights(to_compvis(states, parts["unet"].config, parts["vae"].config), path)
    return path


def write_parts(components: Components, folder: Path) -> None:
    """Write all parts into a folder, each over the one that may be there."""
    for part in ("unet", "vae", "text_encoder"):
        save_network(part, getattr(components, part), folder)
    save_rest(components.tokenizer, components.scheduler, folder)


def save_network(
    part: str, network: nn.Module, folder: str | Path, dtype: torch.dtype | None = None
) -> None:
    """Write one network into the folder of a checkpoint, over the one that may be there.

    Parameters
    ----------
    part : {"unet", "vae", "text_encoder"}
    network : Module
    folder : path
    dtype : torch.dtype, optional
        Of the weights in the file; their own unless given.
    """
    library, name = CLASSES[part]
    settings = {"_class_name": name, **asdict(network.config)}
    weights = "diffusion_pytorch_model"
    if library == "transformers":
        settings = {
            "architectures": [name],
            "model_type": "clip_text_model",
            "bos_token_id": network.config.eos_token_id - 1,  # as CLIP's vocabularies end
            **asdict(network.config),
        }
        weights = "model"
    if part == "vae":
        levels = len(network.config.block_out_channels)
        settings["down_block_types"] = ["DownEncoderBlock2D"] * levels
        settings["up_block_types"] = ["UpDecoderBlock2D"] * levels
    folder = Path(folder) / part
    folder.mkdir(parents=True, exist_ok=True)
    write_json(settings, folder / "config.json")
    state = {key: value.to(dtype or value.dtype) for key, value in network.state_dict().items()}
    write_weights(state, folder / f"{weights}.safetensors")


def save_rest(tokenizer: Tokenizer, scheduler: Mapping[str, Any], folder: str | Path) -> None:
    """Write what of a checkpoint is no network: tokenizer, scheduler, and the list of parts."""
    folder = Path(folder)
    tokenizer.save(folder / "tokenizer")
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    write_json(scheduler, folder / "scheduler" / "scheduler_config.json")

    # diffusers' pipeline for inpainting asks for a version: the first with today's layout of its inputs
    index: dict[str, Any] = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.6.0",
    }
    index |= {part: list(names) for part, names in CLASSES.items()}
    index["scheduler"] = ["diffusers", scheduler.get("_class_name", "PNDMScheduler")]
    index |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
    write_json(index | {"requires_safety_checker": False}, folder / "model_index.json")


def write_json(value: Mapping[str, Any], path: Path) -> None:
    """Write an object of settings."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_weights(
    state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write safetensors beside, then rename: never half a file, and a file that is mapped stays as it is.

    Raises
    ------
    OSError
        If the disk is full, for example.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file as write

    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        ready = {key: value.contiguous() for key, value in state.items()}
        write(ready, beside, {"format": "pt", **(metadata or {})})
        beside.replace(path)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    finally:
        beside.unlink(missing_ok=True)
