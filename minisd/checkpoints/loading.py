"""A whole Stable Diffusion 1.x from wherever it lies: a diffusers folder, a CompVis file, or a name on the hub."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minisd.checkpoints.compvis import PREFIXES, from_compvis
from minisd.checkpoints.files import SUFFIXES, pick_weights, read_json, read_state_dict
from minisd.checkpoints.hub import fetch, is_hub_name
from minisd.checkpoints.weights import Unfilled, current_names, guess, load_into
from minisd.models.clip import CLIPTextConfig, CLIPTextEncoder
from minisd.models.tokenizer import Tokenizer
from minisd.models.unet import UNet, UNetConfig
from minisd.models.vae import AutoencoderKL, VAEConfig

NETWORKS = {
    "unet": (UNet, UNetConfig),
    "vae": (AutoencoderKL, VAEConfig),
    "text_encoder": (CLIPTextEncoder, CLIPTextConfig),
}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
}
"""What ``scheduler_config.json`` of Stable Diffusion 1.4 and 1.5 says, for files that come without."""
BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"


@dataclass(frozen=True)
class Components:
    """The parts of a Stable Diffusion, as `minisd.pipeline.StableDiffusion` takes them.

    Attributes
    ----------
    tokenizer : Tokenizer
    text_encoder : CLIPTextEncoder
    unet : UNet
    vae : AutoencoderKL
    scheduler : dict
        The settings of ``scheduler_config.json``.
    """

    tokenizer: Tokenizer
    text_encoder: CLIPTextEncoder
    unet: UNet
    vae: AutoencoderKL
    scheduler: dict[str, Any]


def load_components(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    variant: str | None = None,
    ema: bool = False,
    tokenizer: str | Path | None = None,
    config: str | Path | None = None,
    revision: str | None = None,
) -> Components:
    """Load a Stable Diffusion 1.x.

    Weights of the CPU that already have ``dtype`` stay in the file, mapped into memory, until they are used.

    Parameters
    ----------
    source : path or str
        A folder in diffusers' layout; a single file in CompVis' layout, ``.safetensors`` or ``.ckpt``; or, where there
        is no such path, a name on the hub: "owner/name" for a folder, "owner/name/file.safetensors" for a file. A name
        on the hub is the one case in which the network is used.
    device, dtype
        Of the networks.
    variant : str, optional
        Of a folder: "fp16" for the weights in half the size, where there are such.
    ema : bool
        Of a single file: take the U-Net's weights averaged over the training.
    tokenizer : path or str, optional
        A tokenizer's folder, OpenAI's ``bpe_simple_vocab_16e6.txt.gz``, or a name on the hub, such as
        "openai/clip-vit-large-patch14". Unless given, a folder's own; for a single file, which has none, what lies
        beside it: ``tokenizer/`` or OpenAI's file.
    config : path, optional
        Of a single file of other sizes than Stable Diffusion 1.x: a folder in diffusers' layout, whose settings and
        tokenizer are taken. The U-Net's input channels (4, or 9 for inpainting) are read off the file without it.
    revision : str, optional
        Of a name on the hub: a branch, tag or commit.

    Returns
    -------
    Components

    Raises
    ------
    ValueError
        If there is no such checkpoint, or a part of it is missing, damaged, or does not fit; nothing is returned then.
        Weights that are not numbers are found by `minisd.checkpoints.check_finite`.
    """
    local = Path(source).expanduser()
    is_file = local.is_file() or (not local.is_dir() and str(source).endswith(SUFFIXES))
    if is_file and variant is not None:
        raise ValueError(f"variant is {variant!r}; {source} is a single file, which has none")
    if not is_file and (ema or config is not None):
        raise ValueError(f"ema and config are for single files; {source} is none")
    if not local.exists():
        if not is_hub_name(str(source)):
            raise ValueError(f"{source} is not there, and is no name on the hub (owner/name)")
        local = fetch(str(source), variant, revision)
    elif revision is not None:
        raise ValueError(
            f"revision is {revision!r}; {source} is a path here, not a name on the hub"
        )

    if not is_file:
        scheduler = _check_folder(local)
        networks = {
            part: load_network(part, local, device=device, dtype=dtype, variant=variant)
            for part in NETWORKS
        }
        return Components(
            read_tokenizer(tokenizer or local / "tokenizer"), scheduler=scheduler, **networks
        )

    settings = {}
    if config is not None:
        folder = Path(config).expanduser()
        settings = {"scheduler": _check_folder(folder)}
        settings |= {part: _read_settings(part, folder) for part in NETWORKS}
    states, settings = _read_file(local, settings, ema)
    words = _find_tokenizer(local, tokenizer, config)
    networks = {
        part: _fill(part, settings[part], states.pop(part), f"{part} of {source}", device, dtype)
        for part in NETWORKS
    }
    return Components(words, scheduler=settings["scheduler"], **networks)


def load_network(
    part: str,
    folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    variant: str | None = None,
) -> Any:
    """Load one network of a folder in diffusers' layout.

    Parameters
    ----------
    part : {"unet", "vae", "text_encoder"}
    folder : path
    device, dtype, variant
        As for `load_components`.

    Returns
    -------
    UNet, AutoencoderKL or CLIPTextEncoder
        In evaluation mode.

    Raises
    ------
    ValueError
        As `load_components`.
    """
    folder = Path(folder)
    if not (folder / part).is_dir():
        raise ValueError(f"{folder} has no {part}")
    settings = _read_settings(part, folder)
    names = {path.name for path in (folder / part).iterdir()}
    chosen = pick_weights(names, str(folder / part), variant)[0]
    state = current_names(part, read_state_dict(folder / part / chosen))
    return _fill(part, settings, state, f"{part} of {folder}", device, dtype)


def _fill(
    part: str,
    settings: Any,
    state: dict[str, Tensor],
    where: str,
    device: str | torch.device,
    dtype: torch.dtype,
) -> Any:
    with torch.device("meta"), Unfilled():
        network = NETWORKS[part][0](settings)
    load_into(network, state, where, device=device, dtype=dtype)
    return network.eval()


def _read_settings(part: str, folder: Path) -> Any:
    return NETWORKS[part][1].from_json(read_json(folder / part / "config.json"))


def _check_folder(folder: Path) -> dict[str, Any]:
    """Look that a diffusers folder is whole, and read the settings of its scheduler."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    parts = [*NETWORKS, "scheduler"]
    absent = [part for part in parts if not (folder / part).is_dir()]
    if absent:
        hint = " (is it the parent folder that is meant?)" if len(absent) == len(parts) else ""
        raise ValueError(
            f"{folder} has no {', no '.join(absent)}; a diffusers folder holds "
            f"{', '.join([*parts, 'tokenizer'])}{hint}"
        )
    return read_json(folder / "scheduler" / "scheduler_config.json")


def _read_file(
    path: Path, settings: dict[str, Any], ema: bool
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Map the weights of a CompVis file, and complete its settings with those of Stable Diffusion 1.x."""
    file = read_state_dict(path)
    for part, prefix in PREFIXES.items():
        if not any(key.startswith(prefix) for key in file):
            raise ValueError(
                f"{path} has no {part}: no key of its {len(file)} begins with {prefix!r}{guess(file)}"
            )
    if not settings:
        settings = {part: config() for part, (_, config) in NETWORKS.items()}
        settings["scheduler"] = dict(SCHEDULER)
        first = file.get(PREFIXES["unet"] + "input_blocks.0.0.weight")
        if first is not None and first.ndim == 4:
            settings["unet"] = replace(settings["unet"], in_channels=first.shape[1])
    states = from_compvis(file, settings["unet"], settings["vae"], ema)
    return {part: current_names(part, state) for part, state in states.items()}, settings


def _find_tokenizer(
    path: Path, tokenizer: str | Path | None, config: str | Path | None
) -> Tokenizer:
    """Read the tokenizer that goes with a single file."""
    if tokenizer is not None:
        return read_tokenizer(tokenizer)
    places = [path.parent / "tokenizer", path.parent / BPE_FILE]
    if config is not None:
        places.insert(0, Path(config).expanduser() / "tokenizer")
    for place in places:
        if place.exists():
            return read_tokenizer(place)
    raise ValueError(
        f"{path} is a single file, and such files hold no tokenizer; beside it there is neither tokenizer/ nor "
        f"{BPE_FILE}. Give tokenizer=: a folder, that file, or, to fetch it, 'openai/clip-vit-large-patch14'"
    )


def read_tokenizer(source: str | Path) -> Tokenizer:
    """Read a tokenizer from a folder, from OpenAI's file or, by its name, from the hub."""
    local = Path(source).expanduser()
    if local.is_file():
        return Tokenizer.from_bpe_file(local)
    if not local.exists() and isinstance(source, str) and is_hub_name(source):
        local = fetch(source)
        local = local if (local / "merges.txt").exists() else local / "tokenizer"
    try:
        return Tokenizer.from_folder(local)
    except FileNotFoundError as error:
        raise ValueError(str(error)) from error
