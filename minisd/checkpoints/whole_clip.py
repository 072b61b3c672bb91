"""A whole CLIP, both towers and their projections, in the files that transformers writes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from minisd.checkpoints.files import pick_weights, read_json, read_state_dict
from minisd.checkpoints.saving import write_json, write_weights
from minisd.checkpoints.weights import Unfilled, load_into
from minisd.models.contrastive import CLIP


def load_clip(
    folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> CLIP:
    """Load a CLIP.

    Parameters
    ----------
    folder : path
        Such as a download of "openai/clip-vit-large-patch14".
    device, dtype
        Of the model.

    Returns
    -------
    CLIP
        In evaluation mode.

    Raises
    ------
    ValueError
        If the folder is not there, or a file is missing, damaged, or does not fit.
    """
    folder = Path(folder).expanduser()
    with torch.device("meta"), Unfilled():
        model = CLIP.from_json(read_json(folder / "config.json"))
    names = [path.name for path in folder.iterdir()]
    state = read_state_dict(folder / pick_weights(names, str(folder))[0])
    # position_ids are 0, 1, 2, ...: files of old carry them
    state = {key: value for key, value in state.items() if not key.endswith("position_ids")}
    load_into(model, state, str(folder), device=device, dtype=dtype)
    return model.eval()


def save_clip(model: CLIP, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write a CLIP that `load_clip` and transformers read; ``dtype`` is that of the file."""
    folder = Path(folder)
    text, vision = model.text_model.config, model.vision_model.config
    settings = {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": model.text_projection.out_features,
        "text_config": {
            "model_type": "clip_text_model",
            "bos_token_id": text.eos_token_id - 1,
            **asdict(text),
        },
        "vision_config": {"model_type": "clip_vision_model", **asdict(vision)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(settings, folder / "config.json")
    state = {key: value.to(dtype or value.dtype) for key, value in model.state_dict().items()}
    write_weights(state, folder / "model.safetensors")
