"""The names of one set of weights in its two layouts: diffusers' folder and CompVis' single file.

The single file names the layers as the first code of Rombach et al. 2022 (github.com/CompVis/stable-diffusion) did: by
their place in flat lists, all networks in one state dict. Inside a residual block or a transformer it is a matter of a
few words; the rest is counting, which `unet_names` and `vae_names` do.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from torch import Tensor

from minisd.models.unet import DOWN, UP, UNetConfig
from minisd.models.vae import VAEConfig

PREFIXES = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "text_encoder": "cond_stage_model.transformer.",
}
EMA = "model_ema."

UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_RESNET = {"conv_shortcut": "nin_shortcut"}
VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def unet_names(config: UNetConfig) -> dict[str, str]:
    """Map the U-Net's modules in diffusers' names to CompVis'; what is inside of one keeps its name."""
    names = dict(UNET_ENDS)

    def resnet(ours: str, theirs: str) -> None:
        names.update({f"{ours}.{a}": f"{theirs}.{b}" for a, b in UNET_RESNET.items()})

    last = len(config.block_out_channels) - 1
    place = count(1)  # 0 is conv_in
    for i, kind in enumerate(config.down_block_types):
        block = f"down_blocks.{i}"
        for j in range(config.layers_per_block):
            theirs = f"input_blocks.{next(place)}"
            resnet(f"{block}.resnets.{j}", f"{theirs}.0")
            if kind == DOWN[0]:
                names[f"{block}.attentions.{j}"] = f"{theirs}.1"
        if i < last:
            names[f"{block}.downsamplers.0.conv"] = f"input_blocks.{next(place)}.0.op"

    resnet("mid_block.resnets.0", "middle_block.0")
    names["mid_block.attentions.0"] = "middle_block.1"
    resnet("mid_block.resnets.1", "middle_block.2")

    place = count()
    for i, kind in enumerate(config.up_block_types):
        block, attends = f"up_blocks.{i}", kind == UP[0]
        for j in range(config.layers_per_block + 1):
            theirs = f"output_blocks.{next(place)}"
            resnet(f"{block}.resnets.{j}", f"{theirs}.0")
            if attends:
                names[f"{block}.attentions.{j}"] = f"{theirs}.1"
        if i < last:  # in the list of the block's last layer, behind its attention if there is one
            names[f"{block}.upsamplers.0.conv"] = f"{theirs}.{1 + attends}.conv"
    return names


def vae_names(config: VAEConfig) -> dict[str, str]:
    """Map the autoencoder's modules in diffusers' names to CompVis'."""
    names = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    last = len(config.block_out_channels) - 1
    sides = (("encoder", "down", 0), ("decoder", "up", 1))
    for side, way, more in sides:
        names |= {f"{side}.conv_in": f"{side}.conv_in", f"{side}.conv_out": f"{side}.conv_out"}
        names[f"{side}.conv_norm_out"] = f"{side}.norm_out"
        for i in range(last + 1):
            # CompVis counts the decoder's levels from the largest picture, against the data's way
            block, theirs = f"{side}.{way}_blocks.{i}", f"{side}.{way}.{last - i if more else i}"
            for j in range(config.layers_per_block + more):
                names[f"{block}.resnets.{j}"] = f"{theirs}.block.{j}"
            names[f"{block}.{way}samplers.0"] = f"{theirs}.{way}sample"
        for j in range(2):
            names[f"{side}.mid_block.resnets.{j}"] = f"{side}.mid.block_{j + 1}"
        for a, b in VAE_ATTENTION.items():
            names[f"{side}.mid_block.attentions.0.{a}"] = f"{side}.mid.attn_1.{b}"
    resnets = {a: b for a, b in names.items() if ".resnets." in a}
    for a, b in resnets.items():
        names |= {f"{a}.{x}": f"{b}.{y}" for x, y in VAE_RESNET.items()}
    return names


def to_compvis(
    states: Mapping[str, Mapping[str, Tensor]], unet: UNetConfig, vae: VAEConfig
) -> dict[str, Tensor]:
    """Put three networks' weights into the names and shapes of one CompVis file.

    Parameters
    ----------
    states : mapping
        The state dicts of "unet", "vae" and "text_encoder", in diffusers' names.
    unet, vae : UNetConfig, VAEConfig

    Returns
    -------
    dict of str to Tensor
        The same memory under other names; 1,130 tensors for Stable Diffusion 1.x.
    """
    tables = {"unet": unet_names(unet), "vae": vae_names(vae), "text_encoder": {}}
    file = {}
    for part, state in states.items():
        for key, value in state.items():
            file[PREFIXES[part] + _rename(key, tables[part])] = (
                value[..., None, None] if _is_convolution_there(part, key) else value
            )
    return file


def from_compvis(
    file: Mapping[str, Tensor], unet: UNetConfig, vae: VAEConfig, ema: bool = False
) -> dict[str, dict[str, Tensor]]:
    """Take three networks' weights out of a CompVis file.

    Parameters
    ----------
    file : mapping
        Its state dict. Buffers of the noise schedule and the like are passed over.
    unet, vae : UNetConfig, VAEConfig
    ema : bool
        Whether to take the U-Net's weights averaged over the training, which some files hold beside the last ones.

    Returns
    -------
    dict of str to dict
        The state dicts of "unet", "vae" and "text_encoder", in diffusers' names. A key that no rule knows keeps its
        name.

    Raises
    ------
    ValueError
        If averaged weights are asked for, and the file has none or lacks some.
    """
    tables = {"unet": unet_names(unet), "vae": vae_names(vae), "text_encoder": {}}
    if ema:
        file = {**file, **_averaged(file)}
    states: dict[str, dict[str, Tensor]] = {}
    for part, prefix in PREFIXES.items():
        back = {theirs: ours for ours, theirs in tables[part].items()}
        states[part] = {}
        for key, value in file.items():
            if key.startswith(prefix):
                name = _rename(key.removeprefix(prefix), back)
                flat = _is_convolution_there(part, name) and value.ndim == 4
                states[part][name] = value.flatten(1) if flat else value
    return states


def _rename(key: str, names: Mapping[str, str]) -> str:
    """Replace the longest beginning of the key that is in the table."""
    words = key.split(".")
    for n in range(len(words), 0, -1):
        head = ".".join(words[:n])
        if head in names:
            return ".".join([names[head], *words[n:]])
    return key


def _is_convolution_there(part: str, key: str) -> bool:
    """Whether a linear layer of diffusers, [C, C], is a 1x1 convolution, [C, C, 1, 1], in CompVis' file."""
    return part == "vae" and ".attentions." in key and key.endswith(".weight") and "norm" not in key


def _averaged(file: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Find the averaged weights, under the names of the last ones: theirs have lost their dots."""
    if not any(key.startswith(EMA) for key in file):
        raise ValueError(
            f"ema is True, and the file has no averaged weights (no key begins with {EMA!r}); "
            "a file called 'emaonly' holds them as its only ones: ema=False"
        )
    keys = [key for key in file if key.startswith(PREFIXES["unet"])]
    found = {key: EMA + key.removeprefix("model.").replace(".", "") for key in keys}
    missing = [theirs for theirs in found.values() if theirs not in file]
    if missing:
        raise ValueError(
            f"{len(missing)} averaged weights are missing in the file: {', '.join(missing[:3])}"
        )
    return {key: file[theirs] for key, theirs in found.items()}
