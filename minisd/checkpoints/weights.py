"""Weights into networks, and everything that can be wrong with them said before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

OTHERS = {
    r"^conditioner\.embedders\.|^add_embedding\.": "Stable Diffusion XL",
    r"^cond_stage_model\.model\.": "Stable Diffusion 2",
    r"joint_blocks|double_blocks|^transformer_blocks\.": "Stable Diffusion 3 or Flux",
    r"^lora_|lora_(up|down|A|B)|\.lora\.|\.alpha$": "a LoRA: small changes to a network, not a network",
    r"^control_model\.|controlnet_": "a ControlNet",
    r"^(string_to_param|emb_params)": "a textual inversion: one word's embedding",
    r"^time_embedding\.linear_1": "a U-Net alone, in diffusers' names: give the folder that it lies in",
    r"^(encoder|decoder)\.conv_in": "an autoencoder alone",
    r"^text_model\.": "a CLIP alone",
}
"""What a file is, by a key that only files of that kind have."""


def guess(keys: Collection[str]) -> str:
    """Say what a file that is no Stable Diffusion 1.x probably is, to be put behind a message; "" if unknown."""
    for pattern, kind in OTHERS.items():
        if any(re.search(pattern, key) for key in keys):
            return f". These are the keys of {kind}"
    return ""


def current_names(part: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring the names of older files of diffusers and transformers up to date.

    Parameters
    ----------
    part : {"unet", "vae", "text_encoder"}
    state : mapping

    Returns
    -------
    dict of str to Tensor
        The same memory.
    """
    if part == "vae":
        old = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
        pattern = re.compile(rf"(\.attentions\.\d+)\.({'|'.join(old)})\.")
        named = {pattern.sub(lambda m: f"{m[1]}.{old[m[2]]}.", k): v for k, v in state.items()}
        linear = re.compile(r"\.attentions\.\d+\.to_(q|k|v|out\.0)\.weight$")
        return {
            k: v.flatten(1) if linear.search(k) and v.ndim == 4 else v for k, v in named.items()
        }
    if part == "text_encoder":
        # position_ids is 0 to 76, which the network knows
        return {
            key if key.startswith("text_model.") else f"text_model.{key}": value
            for key, value in state.items()
            if not key.endswith("position_ids")
        }
    return dict(state)


class Unfilled(TorchFunctionMode):
    """Leaves out the first values of weights, for networks that get their weights from a file.

    On the device "meta" those values cost no memory, but to draw them there PyTorch loads its compiler, for seconds.
    """

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, unless it is one of `torch.nn.init`."""
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    where: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> None:
    """Make a state dict's tensors the weights of a network.

    What already has the right type and place is not copied, so that a mapped file stays mapped. Anything else is
    converted one tensor at a time.

    Parameters
    ----------
    module : nn.Module
        Best made on the device "meta", where it holds no memory of its own.
    state : mapping
        A tensor for each of its keys.
    where : str
        What to call the file and the part in an error.
    device, dtype
        Of the network afterwards.

    Raises
    ------
    ValueError
        If keys are missing, unknown or of another shape; the network is then as it was.
    """
    check_keys(module, state, where)
    ready = {key: value.to(device, dtype) for key, value in state.items()}
    module.load_state_dict(ready, assign=True)


def check_keys(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Compare names and shapes, without touching a weight.

    Raises
    ------
    ValueError
        If there is any difference.
    """
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in state]
    extra = [key for key in state if key not in wanted]
    shaped = [
        f"{key} is {list(state[key].shape)} and must be {list(value.shape)}"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    faults = [
        f"{len(found)} {what}: {', '.join(found[:3])}{', ...' if len(found) > 3 else ''}"
        for what, found in (
            ("missing", missing),
            ("unknown", extra),
            ("of another shape", shaped),
        )
        if found
    ]
    if not faults:
        return
    hint = guess(extra)
    if not hint and any("proj_in" in fault or "proj_out" in fault for fault in shaped):
        hint = guess(["cond_stage_model.model."]) + ", whose proj_in and proj_out are linear layers"
    elif not hint and not missing and not extra:
        hint = ". Its settings (config.json) are of another network"
    raise ValueError(
        f"{where} does not fit; of {len(wanted)} weights there are " + "; ".join(faults) + hint
    )


def check_finite(**modules: nn.Module) -> None:
    """Look for weights that are not numbers.

    This reads every weight once, about as long as it takes to read the file from memory; loading does not, so that it
    stays quick. `minisd.pipeline` does it before its first picture.

    Parameters
    ----------
    **modules : nn.Module
        By the names that an error shall give them.

    Raises
    ------
    ValueError
        If a weight holds NaN or infinity; it names the first of them, and how many there are.
    """
    for part, module in modules.items():
        faults = [key for key, value in module.state_dict().items() if not _is_finite(value)]
        if faults:
            raise ValueError(
                f"{len(faults)} weights of {part} hold NaN or infinity: {', '.join(faults[:3])}"
                f"{', ...' if len(faults) > 3 else ''}. The file is spoilt: fetch it again, or take another"
            )


def _is_finite(x: Tensor) -> bool:
    # A sum is one pass without a copy. It can only be finite if every summand is; where it is not, it may have
    # overflowed, and the slow way tells.
    return bool(x.sum(dtype=torch.float32).isfinite()) or bool(x.isfinite().all())
