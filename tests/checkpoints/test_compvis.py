"""Both layouts hold the same weights, by diffusers' own conversion and by an inverse written from the facts."""

import re

import pytest
import torch
from diffusers import AutoencoderKL as DiffusersVAE
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)

from minisd.checkpoints.compvis import from_compvis, to_compvis
from minisd.models.clip import CLIPTextConfig, CLIPTextEncoder
from minisd.models.unet import UNet, UNetConfig
from minisd.models.vae import AutoencoderKL, VAEConfig

FULL = (UNetConfig(), VAEConfig())
SMALL = (
    UNetConfig(
        in_channels=9, block_out_channels=(8, 16, 16), layers_per_block=1, attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8, norm_num_groups=4,
    ),
    VAEConfig(block_out_channels=(8, 8, 16), layers_per_block=1, norm_num_groups=4),
)  # fmt: skip


def states_of(unet, vae, text, device="meta"):
    torch.manual_seed(0)
    with torch.device(device):
        networks = {
            "unet": UNet(unet),
            "vae": AutoencoderKL(vae),
            "text_encoder": CLIPTextEncoder(text),
        }
    return {part: network.state_dict() for part, network in networks.items()}


@pytest.fixture(scope="module")
def full():
    return states_of(*FULL, CLIPTextConfig())


def inside_resnet(rest):
    """Name what a residual block of the single file holds, place by place."""
    table = [
        (r"in_layers\.0", "norm1"), (r"in_layers\.2", "conv1"), (r"emb_layers\.1", "time_emb_proj"),
        (r"out_layers\.0", "norm2"), (r"out_layers\.3", "conv2"), (r"skip_connection", "conv_shortcut"),
    ]  # fmt: skip
    for pattern, name in table:
        rest = re.sub(rf"^{pattern}\b", name, rest)
    return rest


def unet_key(key):
    """Name one key of the full-size U-Net, with the arithmetic of 3 places a block in place of a table."""
    key = re.sub(
        r"^time_embed\.([02])", lambda m: f"time_embedding.linear_{1 + int(m[1]) // 2}", key
    )
    key = re.sub(r"^input_blocks\.0\.0\.", "conv_in.", key)
    key = re.sub(r"^out\.0\.", "conv_norm_out.", re.sub(r"^out\.2\.", "conv_out.", key))
    match = re.match(r"(input_blocks|middle_block|output_blocks)\.(\d+)\.(.*)", key)
    if not match:
        return key
    place, i, rest = match[1], int(match[2]), match[3]
    if place == "middle_block":
        if i == 1:
            return f"mid_block.attentions.0.{rest}"
        return f"mid_block.resnets.{i // 2}.{inside_resnet(rest)}"
    child, rest = rest.split(".", 1)
    if place == "input_blocks":
        block, layer = divmod(i - 1, 3)
        if rest.startswith("op."):
            return f"down_blocks.{block}.downsamplers.0.conv.{rest.removeprefix('op.')}"
        way = "down_blocks"
    else:
        block, layer = divmod(i, 3)
        if re.match(r"conv\.", rest):
            assert (i, child) in {(2, "1"), (5, "2"), (8, "2")}
            return f"up_blocks.{block}.upsamplers.0.{rest}"
        way = "up_blocks"
    if child == "0":
        return f"{way}.{block}.resnets.{layer}.{inside_resnet(rest)}"
    assert child == "1"
    return f"{way}.{block}.attentions.{layer}.{rest}"


def vae_key(key):
    """Name one key of the full-size autoencoder."""
    key = re.sub(r"mid\.block_(\d)", lambda m: f"mid_block.resnets.{int(m[1]) - 1}", key)
    key = re.sub(r"\bdown\.(\d)\.block\.", r"down_blocks.\1.resnets.", key)
    key = re.sub(r"\bup\.(\d)\.block\.", lambda m: f"up_blocks.{3 - int(m[1])}.resnets.", key)
    key = re.sub(r"\bdown\.(\d)\.downsample\.", r"down_blocks.\1.downsamplers.0.", key)
    key = re.sub(
        r"\bup\.(\d)\.upsample\.", lambda m: f"up_blocks.{3 - int(m[1])}.upsamplers.0.", key
    )
    key = key.replace("nin_shortcut", "conv_shortcut").replace("mid.attn_1.", "mid_block.attentions.0.")  # fmt: skip
    key = key.replace("attentions.0.norm.", "attentions.0.group_norm.").replace(
        "proj_out", "to_out.0"
    )
    key = re.sub(r"attentions\.0\.([qkv])\.", r"attentions.0.to_\1.", key)
    return re.sub(r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out.", key)


def by_hand(file):
    """Take a full-size single file apart by the rules above."""
    states = {"unet": {}, "vae": {}, "text_encoder": {}}
    for key, value in file.items():
        if key.startswith("model.diffusion_model."):
            states["unet"][unet_key(key[len("model.diffusion_model.") :])] = value
        elif key.startswith("first_stage_model."):
            name = vae_key(key[len("first_stage_model.") :])
            if value.ndim == 4 and re.search(r"to_(q|k|v|out\.0)\.weight", name):
                value = value[:, :, 0, 0]
            states["vae"][name] = value
        elif key.startswith("cond_stage_model.transformer."):
            states["text_encoder"][key[len("cond_stage_model.transformer.") :]] = value
    return states


def same(state, expected):
    """Say whether names and weights are the same; the four weights that change their shape have that alone."""
    assert shapes(state) == shapes(expected)
    moved = [key for key, value in state.items() if value is not expected[key]]
    return all(".attentions.0.to_" in key and key.endswith(".weight") for key in moved)


def shapes(state):
    return {key: tuple(value.shape) for key, value in state.items()}


def test_full_size_single_file_is_that_of_the_facts(full):
    file = to_compvis(full, *FULL)
    assert len(file) == 686 + 248 + 196
    for key, shape in (
        ("model.diffusion_model.input_blocks.3.0.op.weight", (320, 320, 3, 3)),
        ("model.diffusion_model.output_blocks.2.1.conv.weight", (1280, 1280, 3, 3)),
        ("model.diffusion_model.output_blocks.8.2.conv.bias", (640,)),
        ("model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight", (1280, 768)),
        ("model.diffusion_model.out.2.weight", (4, 320, 3, 3)),
        ("first_stage_model.decoder.up.3.upsample.conv.weight", (512, 512, 3, 3)),
        ("first_stage_model.decoder.up.0.block.0.nin_shortcut.weight", (128, 256, 1, 1)),
        ("first_stage_model.encoder.mid.attn_1.q.weight", (512, 512, 1, 1)),
        ("first_stage_model.quant_conv.weight", (8, 8, 1, 1)),
        ("cond_stage_model.transformer.text_model.final_layer_norm.weight", (768,)),
    ):  # fmt: skip
        assert tuple(file[key].shape) == shape


def test_full_size_comes_back_both_ways_by_an_independent_inverse(full):
    file = to_compvis(full, *FULL)
    for part, state in full.items():
        assert same(by_hand(file)[part], state)
        assert same(from_compvis(file, *FULL)[part], state)
    assert shapes(to_compvis(by_hand(file), *FULL)) == shapes(file)


def test_full_size_is_what_diffusers_makes_of_it(full):
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        vae = DiffusersVAE(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
            down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        )  # fmt: skip
    file = to_compvis(full, *FULL)
    converted = convert_ldm_unet_checkpoint(dict(file), dict(unet.config))
    assert same(converted, full["unet"])
    assert shapes(converted) == shapes(unet.state_dict())
    converted = convert_ldm_vae_checkpoint(dict(file), dict(vae.config))
    assert same(converted, full["vae"])
    assert shapes(converted) == shapes(vae.state_dict())


def test_values_come_back_where_levels_and_layers_are_others():
    text = CLIPTextConfig(
        vocab_size=10, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )  # fmt: skip
    states = states_of(*SMALL, text, device="cpu")
    file = to_compvis(states, *SMALL)
    assert len(file) == sum(map(len, states.values()))
    assert not any(re.search(r"(down|up)_blocks|resnets|attentions", key) for key in file)
    back = from_compvis({"betas": torch.ones(3), **file}, *SMALL)
    levels = {"down_block_types": [None] * 3, "up_block_types": [None] * 3, "layers_per_block": 1}
    theirs = convert_ldm_vae_checkpoint(dict(file), levels)
    assert theirs.keys() == states["vae"].keys()
    assert all(torch.equal(theirs[key], value) for key, value in states["vae"].items())
    for part, state in states.items():
        assert list(back[part]) == list(state)
        assert all(torch.equal(back[part][key], value) for key, value in state.items())
        assert all(back[part][key].data_ptr() == value.data_ptr() for key, value in state.items())


def test_averaged_weights_are_taken_when_asked_for():
    state = UNet(SMALL[0]).state_dict()
    last = to_compvis({"unet": state}, *SMALL)
    averaged = {
        "model_ema." + "".join(key.split(".")[1:]): value + 1 for key, value in last.items()
    }
    file = last | averaged | {"model_ema.decay": torch.tensor(0.9999)}
    theirs = convert_ldm_unet_checkpoint(dict(file), {"layers_per_block": 1}, extract_ema=True)
    ours = from_compvis(file, *SMALL, ema=True)["unet"]
    assert list(ours) == list(state)
    assert all(torch.equal(ours[key], state[key] + 1) for key in state)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert all(
        torch.equal(from_compvis(file, *SMALL)["unet"][key], value) for key, value in state.items()
    )
    with pytest.raises(ValueError, match="no averaged weights"):
        from_compvis(last, *SMALL, ema=True)
    del file["model_ema.diffusion_modelout2bias"]
    with pytest.raises(ValueError, match=r"1 averaged weights are missing.*modelout2bias"):
        from_compvis(file, *SMALL, ema=True)


def test_a_key_that_no_rule_knows_keeps_its_name():
    file = {"model.diffusion_model.label_emb.0.0.weight": torch.zeros(1)}
    assert list(from_compvis(file, *FULL)["unet"]) == ["label_emb.0.0.weight"]
