"""From configuration files to a checkpoint that minisd and diffusers sample alike."""

import csv
import re
import shutil
import tomllib
from importlib import import_module

import diffusers
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from PIL import Image
from transformers import CLIPModel
from typer.testing import CliRunner

from minisd.checkpoints import load_clip
from minisd.checkpoints.loading import load_network
from minisd.checkpoints.saving import save_network
from minisd.cli import app
from minisd.metrics import Scorer
from minisd.metrics.scorer import load_classifier
from minisd.pipeline import StableDiffusion
from minisd.training import run
from minisd.training.data import Scenes, SceneSettings, as_input, pictures
from minisd.training.run import TASKS, train_from_file
from tests.training.tiny_configs import CONFIGS, make, write


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("made"))
    yield folder
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def test_what_was_trained_is_loaded(tiny):
    sd = StableDiffusion.from_pretrained(tiny)
    images = sd.text_to_image("a red dog on a beach", steps=4)
    assert images[0].size == (64, 64)
    assert Scorer.from_pretrained(tiny / "scorer").read(torch.zeros(1, 3, 64, 64))
    noisy = load_classifier(tiny / "classifier")
    assert noisy(torch.zeros(1, 4, 16, 16), torch.tensor(3))["category"].shape[0] == 1


@torch.no_grad()
def test_latents_have_a_variance_of_one(tiny):
    sd = StableDiffusion.from_pretrained(tiny)
    data = Scenes(SceneSettings(count=40))
    x = as_input(pictures([data[i] for i in range(len(data))]))
    z = sd.encode_image(x, torch.randn(len(x), 4, 16, 16))
    assert float((z**2).mean()) == pytest.approx(1, abs=0.05)


@torch.no_grad()
def test_diffusers_samples_the_same_picture(tiny):
    ours = StableDiffusion.from_pretrained(tiny)
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(
        tiny, safety_checker=None, dtype=torch.float32
    )
    theirs.set_progress_bar_config(disable=True)
    prompt, seed = "a small blue cat in the snow", 4
    z = ours.text_to_image(
        prompt, seed=seed, steps=10, guidance_scale=5, output="latent", sampler="ddim"
    )
    theirs.scheduler = diffusers.DDIMScheduler.from_config(theirs.scheduler.config)
    wanted = theirs(
        prompt, num_inference_steps=10, guidance_scale=5, output_type="latent",
        height=64, width=64, generator=torch.Generator().manual_seed(seed),
    ).images  # fmt: skip
    assert float((z - wanted).abs().max() / wanted.abs().max()) < 1e-4


def test_transformers_reads_the_clip(tiny):
    theirs, ours = CLIPModel.from_pretrained(tiny / "clip"), load_clip(tiny / "clip")
    assert theirs.logit_scale.item() == pytest.approx(ours.logit_scale.item())
    key = "text_model.embeddings.token_embedding.weight"
    torch.testing.assert_close(theirs.state_dict()[key].float(), ours.state_dict()[key])


def test_the_text_tower_stays_when_the_rest_of_clip_is_trained_on(tiny, tmp_path):
    before = load_clip(tiny / "clip")
    shutil.rmtree(tiny / "training" / "clip-image")
    train_from_file("clip-image", write("clip-image", tmp_path), tiny)
    after = load_clip(tiny / "clip")
    encoder = load_network("text_encoder", tiny).text_model
    for name, wanted in before.text_model.state_dict().items():
        assert torch.equal(after.text_model.state_dict()[name], wanted), name
        assert torch.equal(encoder.state_dict()[name], wanted), name
    assert not torch.equal(after.visual_projection.weight, before.visual_projection.weight)
    assert not torch.equal(after.text_projection.weight, before.text_projection.weight)


def test_a_unet_is_trained_on_from_where_it_is(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "tiny")
    shutil.rmtree(folder / "training" / "unet-pairs")
    there = load_network("unet", folder)
    torch.nn.init.constant_(there.conv_out.bias, 0.25)
    save_network("unet", there, folder, torch.float16)
    config = write("unet-pairs", tmp_path)
    config.write_text(config.read_text().replace("learning_rate = 1e-3", "learning_rate = 1e-9"))
    train_from_file("unet-pairs", config, folder)
    for name, value in load_network("unet", folder).state_dict().items():
        torch.testing.assert_close(value, there.state_dict()[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("name", CONFIGS)
def test_each_run_leaves_a_log_and_its_samples(tiny, name):
    folder = tiny / "training" / name
    with (folder / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [int(line["step"]) for line in lines] == [1, 2, 3]
    if name in ("vae", "unet", "unet-pairs"):
        assert Image.open(folder / "samples" / "000003.png").size == (256, 256)


def test_a_done_run_is_not_run_again(tiny, tmp_path):
    log = tiny / "training" / "scorer" / "log.csv"
    before = log.read_text()
    train_from_file("scorer", write("scorer", tmp_path), tiny)
    assert log.read_text() == before


def test_the_first_weights_come_from_the_seed(tiny, tmp_path):
    config = write("scorer", tmp_path)
    torch.manual_seed(123)
    train_from_file("scorer", config, tmp_path / "again")
    name = "scorer/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "again" / name).read_bytes() == (tiny / name).read_bytes()


def test_latents_are_not_encoded_twice(tiny, tmp_path):
    latents = tiny / "training" / "encoded" / "latents.npy"
    written = latents.stat().st_mtime_ns
    (tiny / "training" / "unet" / "checkpoint.safetensors").unlink()
    train_from_file("unet", write("unet", tmp_path), tiny)
    assert latents.stat().st_mtime_ns == written


@pytest.mark.parametrize("name", TASKS)
def test_the_miniatures_own_configurations_can_be_read(name):
    module, kind = TASKS[name]
    path = run.files("minisd.training") / "miniature" / f"{name}.toml"
    kind = getattr(import_module(f"minisd.training.{module}"), kind)
    settings, parts = run.read_tables(kind, tomllib.loads(path.read_text()))
    assert settings.steps > 500
    assert "data" in parts


@pytest.mark.parametrize(
    ("name", "extra", "named"),
    [
        ("vae", "[other]\n", r"config has \[other\]; allowed are"),
        ("vae", "newcomer = true\n", r"\[data\] has newcomer; allowed are"),
        ("vae", "[loss]\nkl = 'much'\n", r"\[loss\] kl is 'much'; it must be float"),
        ("vae", "two = true\n", r"\[data\] two is True; it must be float"),
        ("vae", "steps", "cannot be read"),
        ("gan", "", "task is 'gan'; it must be one of"),
    ],
)
def test_a_configuration_that_does_not_fit_is_told_in_a_line(tmp_path, name, extra, named):
    config = write("vae", tmp_path, extra)
    arguments = ["train", name, "--config", str(config), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("minisd: ")
    assert result.stderr.count("\n") == 1
    assert re.search(named, result.stderr)
    assert not (tmp_path / "out").exists()


def test_what_a_network_stands_on_must_be_there(tmp_path):
    with pytest.raises(ValueError, match="has no text_encoder"):
        train_from_file("unet", write("unet", tmp_path), tmp_path / "out")
