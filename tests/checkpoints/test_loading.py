import json
import shutil

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from minisd.checkpoints import check_finite, load_components, to_compvis
from minisd.checkpoints import save_file as save_single_file
from tests.tiny_diffusion import save_tiny

PARTS = ("unet", "vae", "text_encoder")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny") / "folder")


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "folder")


@pytest.fixture
def single(tiny, tmp_path):
    return save_single_file(load_components(tiny), tmp_path / "files" / "tiny.safetensors")


def states(components):
    return {part: getattr(components, part).state_dict() for part in PARTS}


def equal(a, b):
    return all(
        a[part].keys() == b[part].keys()
        and all(torch.equal(a[part][key], value) for key, value in b[part].items())
        for part in PARTS
    )


def test_reads_what_diffusers_wrote(tiny):
    parts = load_components(tiny)
    unet = diffusers.UNet2DConditionModel.from_pretrained(tiny / "unet").state_dict()
    vae = diffusers.AutoencoderKL.from_pretrained(tiny / "vae").state_dict()
    text = load_file(tiny / "text_encoder" / "model.safetensors")
    text = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in text.items()}
    assert equal(states(parts), {"unet": unet, "vae": vae, "text_encoder": text})
    assert parts.unet.config.block_out_channels == (16, 32)
    assert parts.scheduler["_class_name"] == "PNDMScheduler"
    assert parts.tokenizer(["cat"])[0, 1] == parts.tokenizer.vocabulary["cat</w>"]
    assert not any(getattr(parts, part).training for part in PARTS)


def test_reads_every_way_in_which_diffusers_writes_a_folder(tiny, tmp_path):
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tiny, safety_checker=None)
    expected = states(load_components(tiny))
    for name, options in {
        "shards": {"max_shard_size": "20KB"},
        "bin": {"safe_serialization": False},
        "variant": {"variant": "fp16"},
        "variant-shards": {"variant": "fp16", "max_shard_size": "20KB"},
    }.items():
        shutil.copytree(tiny, tmp_path / name)
        for part in ("unet", "vae"):
            shutil.rmtree(tmp_path / name / part)
            getattr(pipe, part).save_pretrained(tmp_path / name / part, **options)
        if "variant" in options:
            shutil.move(
                tmp_path / name / "text_encoder" / "model.safetensors",
                tmp_path / name / "text_encoder" / "model.fp16.safetensors",
            )
            with pytest.raises(ValueError, match=r"has no weights .* it has variant \['fp16'\]"):
                load_components(tmp_path / name)
        if "max_shard_size" in options:
            assert len(list((tmp_path / name / "unet").iterdir())) > 4
        parts = load_components(tmp_path / name, variant=options.get("variant"))
        assert equal(states(parts), expected)


def test_old_names_and_half_precision(folder):
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    expected = {key: value.half() for key, value in vae.items()}
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, name in old.items():
        vae = {
            key.replace(f"attentions.0.{new}", f"attentions.0.{name}"): v for key, v in vae.items()
        }
    save_file(vae, folder / "vae" / "diffusion_pytorch_model.safetensors")
    text = load_file(folder / "text_encoder" / "model.safetensors")
    text = {key.removeprefix("text_model."): value for key, value in text.items()}
    text["embeddings.position_ids"] = torch.arange(77)[None]
    save_file(text, folder / "text_encoder" / "model.safetensors")
    parts = load_components(folder, dtype=torch.float16)
    assert {p.dtype for part in PARTS for p in getattr(parts, part).parameters()} == {torch.float16}
    assert all(torch.equal(parts.vae.state_dict()[key], value) for key, value in expected.items())


@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
def test_a_single_file_has_the_same_weights(tiny, single, kind):
    if kind == "ckpt":
        state = load_file(single)
        state["model_ema.decay"] = torch.tensor(0.9999)
        for key, value in load_file(single).items():
            if key.startswith("model.diffusion_model."):
                state["model_ema." + key.removeprefix("model.").replace(".", "")] = value + 1
        single = single.with_suffix(".ckpt")
        torch.save({"state_dict": state, "epoch": 3}, single)
    expected = load_components(tiny)
    parts = load_components(single, config=tiny)
    assert equal(states(parts), states(expected))
    assert parts.scheduler == expected.scheduler
    if kind == "ckpt":
        averaged = load_components(single, config=tiny, ema=True).unet.state_dict()
        for key, value in expected.unet.state_dict().items():
            assert torch.equal(averaged[key], value + 1)
    else:
        with pytest.raises(ValueError, match="no averaged weights"):
            load_components(single, config=tiny, ema=True)


def test_a_single_file_finds_its_tokenizer_beside_it_or_where_it_is_told(tiny, single, tmp_path):
    settings = shutil.copytree(tiny, tmp_path / "settings")
    shutil.rmtree(settings / "tokenizer")
    with pytest.raises(ValueError, match=r"hold no tokenizer.*Give tokenizer=.*clip-vit-large"):
        load_components(single, config=settings)
    assert (
        len(load_components(single, config=settings, tokenizer=tiny / "tokenizer").tokenizer) == 195
    )
    shutil.copytree(tiny / "tokenizer", single.parent / "tokenizer")
    assert len(load_components(single, config=settings).tokenizer) == 195
    with pytest.raises(ValueError, match=r"neither vocab\.json with merges\.txt"):
        load_components(single, config=settings, tokenizer=settings)


def test_input_channels_are_read_off_the_file(tiny, single):
    state = load_file(single)
    state["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(320, 9, 3, 3)
    state["model.diffusion_model.out.2.weight"] = torch.zeros(4, 320, 1, 1)
    save_file(state, single)
    with pytest.raises(ValueError, match=r"unet of .* does not fit") as error:
        load_components(single, tokenizer=tiny / "tokenizer")
    assert "conv_in.weight is" not in str(error.value)


def test_a_part_that_is_missing_is_named(folder):
    with pytest.raises(
        ValueError, match=r"has no unet, no vae, no text_encoder, no scheduler.*parent"
    ):
        load_components(folder / "unet")
    shutil.rmtree(folder / "scheduler")
    shutil.rmtree(folder / "vae")
    with pytest.raises(
        ValueError, match=r"has no vae, no scheduler; a diffusers folder holds unet"
    ):
        load_components(folder)


def test_settings_that_are_missing_or_of_another_network_are_told(folder):
    path = folder / "unet" / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"use_linear_projection": True}))
    with pytest.raises(ValueError, match="use_linear_projection is True"):
        load_components(folder)
    path.write_text(json.dumps(settings | {"in_channels": 9}))
    told = r"unet of .*1 of another shape: conv_in\.weight is \[16, 4,.* must be \[16, 9,.*\]\. Its settings"
    with pytest.raises(ValueError, match=told):
        load_components(folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"unet.config\.json is not there"):
        load_components(folder)


def test_a_missing_and_an_unknown_key_are_named(folder):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    state["more"] = state.pop("decoder.conv_in.bias")
    save_file(state, path)
    with pytest.raises(ValueError, match=r"1 missing: decoder\.conv_in\.bias; 1 unknown: more"):
        load_components(folder)


def test_files_of_other_models_are_recognised(single):
    for keys, told in (
        (["conditioner.embedders.0.x", "model.diffusion_model.x"], "Stable Diffusion XL"),
        (["cond_stage_model.model.x", "model.diffusion_model.x"], "Stable Diffusion 2"),
        (["lora_te_x.alpha"], "a LoRA"),
        (["down_blocks.0.x", "time_embedding.linear_1.weight"], "a U-Net alone"),
        (["encoder.conv_in.weight"], "an autoencoder alone"),
    ):
        save_file({key: torch.ones(1) for key in keys}, single)
        with pytest.raises(ValueError, match=rf"has no .*no key.*These are the keys of {told}"):
            load_components(single)


def test_nan_weights_are_found_before_they_are_used(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    state["mid_block.resnets.0.conv1.weight"][0, 0] = float("nan")
    save_file(state, path)
    with pytest.raises(
        ValueError, match=r"1 weights of unet .*mid_block\.resnets\.0\.conv1\.weight"
    ):
        check_finite(unet=load_components(folder).unet)


@pytest.mark.parametrize(
    ("source", "options", "told"),
    [
        ("nowhere/at/all", {}, "is not there, and is no name on the hub"),
        ("models/sd.safetensors", {}, "is not there, and is no name on the hub"),
        ("./models", {}, "is not there, and is no name on the hub"),
        ("sd.ckpt", {"variant": "fp16"}, "variant is 'fp16'.*a single file"),
        ("owner/name", {"ema": True}, "ema and config are for single files"),
    ],
)
def test_what_is_asked_wrongly_is_said_at_once(source, options, told):
    with pytest.raises(ValueError, match=told):
        load_components(source, **options)


def test_a_revision_is_of_the_hub(tiny):
    with pytest.raises(ValueError, match="revision is 'main'"):
        load_components(tiny, revision="main")


def test_compvis_layout_of_the_tiny_one_is_small_and_whole(tiny, single):
    parts = load_components(tiny)
    written = load_file(single)
    made = to_compvis(states(parts), parts.unet.config, parts.vae.config)
    assert written.keys() == made.keys()
    assert all(torch.equal(written[key], value) for key, value in made.items())
