"""Fine-tuning: what it writes is what diffusers reads, the model stays as it is, and nothing is lost in between."""

import csv
import os
import re
import shutil
import signal
from itertools import pairwise

import diffusers
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from minisd.checkpoints.saving import write_weights
from minisd.cli import app
from minisd.images import read_settings
from minisd.pipeline import StableDiffusion
from minisd.scenes import scene
from minisd.training import finetune as module
from minisd.training.finetune import (
    FinetuneSettings,
    FinetuneTask,
    InTurn,
    finetune,
)
from minisd.training.loop import RunSettings
from minisd.training.lora import FILE, load_lora
from minisd.training.run import train_from_file
from tests.tiny_diffusion import save_tiny
from tests.training.tiny_configs import write

RUN = {"steps": 6, "batch_size": 4, "learning_rate": 1e-2, "warmup": 2, "log_every": 1}
PROMPT = "a red giraffe on a beach"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A miniature that has been trained for three steps."""
    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    for name in ("vae", "clip", "unet"):
        train_from_file(name, write(name, folder), folder / "tiny")
    reset()
    return folder / "tiny"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four pictures with captions."""
    folder = tmp_path_factory.mktemp("data")
    with (folder / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "text"])
        for i in range(4):
            item = scene(i)
            Image.fromarray(item.image).save(folder / f"{i}.png")
            rows.writerow([f"{i}.png", item.captions[0]])
    return folder


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a blue dog\n\n  a cat in the snow \na red bird\n")
    return path


@pytest.fixture(autouse=True)
def own_state(monkeypatch):
    """Accelerate keeps its state for a process; each test has its own. Pictures are drawn in few steps."""
    monkeypatch.setitem(module.SHOWN, "steps", 2)
    yield
    reset()


def reset():
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def tune(model, data, output, keep=None, method="lora", rank=4, on_error="raise", **run):
    settings = FinetuneSettings(method=method, rank=rank, on_error=on_error)
    return finetune(model, data, output, settings, RunSettings(**RUN | run), keep)


def losses(output):
    with (output / "training" / "finetune" / "log.csv").open() as file:
        return [float(line["loss"]) for line in csv.DictReader(file)]


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def ours(sd):
    return sd.text_to_image(
        PROMPT, seed=3, steps=10, guidance_scale=4, output="latent", sampler="ddim", progress=False
    )


def theirs(pipe):
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    return pipe(
        PROMPT, num_inference_steps=10, guidance_scale=4, output_type="latent",
        height=64, width=64, generator=torch.Generator().manual_seed(3),
    ).images  # fmt: skip


def diffusers_pipeline(folder):
    return diffusers.StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, dtype=torch.float32
    )


def assert_close(a, b):
    assert float((a - b).abs().max() / b.abs().max()) < 1e-4


def test_a_lora_file_draws_the_same_in_diffusers(model, data, tmp_path):
    before, out = contents(model), tmp_path / "out"
    assert tune(model, data, out) == out / FILE
    assert contents(model) == before
    assert sorted(p.name for p in out.iterdir()) == [FILE, "training"]
    sd, pipe = StableDiffusion.from_pretrained(model, device="cpu"), diffusers_pipeline(model)
    plain = ours(sd)
    load_lora(sd.unet, out / FILE)
    pipe.load_lora_weights(out)
    changed = ours(sd)
    assert_close(changed, theirs(pipe))
    assert float((changed - plain).abs().max()) > 0.01


def test_a_full_fine_tuning_is_a_whole_checkpoint(model, data, tmp_path):
    before, out = contents(model), tmp_path / "out"
    assert tune(model, data, out, method="full", learning_rate=1e-3) == out
    assert contents(model) == before
    sd, plain = (StableDiffusion.from_pretrained(folder, device="cpu") for folder in (out, model))
    changed = ours(sd)
    assert_close(changed, theirs(diffusers_pipeline(out)))
    assert float((changed - ours(plain)).abs().max()) > 0.01
    saved = load_file(out / "training" / "finetune" / "checkpoint.safetensors")
    for key, value in sd.unet.state_dict().items():
        assert torch.equal(value, saved[f"average.{key}"])
    for part in ("vae", "text_encoder"):
        a, b = (getattr(x, part).state_dict() for x in (sd, plain))
        assert all(torch.equal(a[key], b[key]) for key in b)
    assert sd.tokenizer([PROMPT]).equal(plain.tokenizer([PROMPT]))
    assert sd.scheduler.sampler == plain.scheduler.sampler == "dpmpp_2m"


@pytest.mark.parametrize(("method", "rate", "share"), [("lora", 0.1, 0.95), ("full", 0.01, 0.8)])
def test_the_loss_falls_on_four_pictures(model, data, tmp_path, method, rate, share):
    tune(model, data, tmp_path / "out", method=method, steps=40, batch_size=8, learning_rate=rate)
    found = losses(tmp_path / "out")
    assert np.mean(found[-10:]) < share * np.mean(found[:3])


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_interrupted_run_goes_on_and_ends_the_same(
    model, data, tmp_path, prompts, monkeypatch, method
):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    tune(model, data, whole, prompts, method)
    forward, calls = FinetuneTask.forward, []

    def interrupt(self, *batch):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return forward(self, *batch)

    monkeypatch.setattr(FinetuneTask, "forward", interrupt)
    with pytest.raises(KeyboardInterrupt, match="saved at step 3 of 6"):
        tune(model, data, parted, prompts, method)
    assert len(calls) == 3
    reset()
    tune(model, data, parted, prompts, method)
    assert len(calls) == 6
    assert losses(parted) == losses(whole)
    path = FILE if method == "lora" else "unet/diffusion_pytorch_model.safetensors"
    a, b = load_file(parted / path), load_file(whole / path)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in b)


def test_pictures_to_keep_are_drawn_once_and_trained_on(
    model, data, tmp_path, prompts, monkeypatch
):
    out, seen = tmp_path / "out", []
    monkeypatch.setattr(module, "train", lambda task, *rest: seen.append(task.data))
    tune(model, data, out, prompts, seed=5)
    kept = out / "training" / "finetune" / "kept" / "pictures"
    drawn = sorted(kept.glob("*.png"))
    told = [read_settings(path) for path in drawn]
    assert [t["prompt"] for t in told] == ["a blue dog", "a cat in the snow", "a red bird"]
    assert [t["seed"] for t in told] == [5, 6, 7]
    sd = StableDiffusion.from_pretrained(model, device="cpu")
    [image] = sd.text_to_image("a cat in the snow", seed=6, **module.SHOWN)
    pixels = np.array(Image.open(drawn[1])).astype(int)
    assert np.abs(pixels - np.array(image)).max() <= 1

    [mixed] = seen
    assert len(mixed) == 8
    with torch.no_grad():
        texts = sd.encode_text([t["prompt"] for t in told]).half()
    for i in range(4):
        latent, text = mixed[2 * i + 1]
        assert torch.equal(text[0], texts[i % 3])
        assert torch.equal(latent, mixed.parts[1][i % 3][0])
        assert not any(torch.equal(mixed[2 * i][1][0], other) for other in texts)

    drawn[1].unlink()  # a stop before all are drawn
    before = {path: path.stat().st_mtime_ns for path in drawn if path.exists()}
    tune(model, data, out, prompts, seed=5)
    assert np.array_equal(np.array(Image.open(drawn[1])), pixels)
    before = {path: path.stat().st_mtime_ns for path in drawn}
    tune(model, data, out, prompts, seed=5)
    assert {path: path.stat().st_mtime_ns for path in drawn} == before
    tune(model, data, out, prompts, seed=6)
    assert [read_settings(path)["seed"] for path in drawn] == [6, 7, 8]


def test_sets_go_in_turn_and_the_smaller_one_begins_anew():
    mixed = InTurn("abc", "x")
    assert "".join(mixed[i] for i in range(len(mixed))) == "axbxcx"


def test_low_rank_weights_begin_with_the_seed_alone(model, data, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(
        module, "train", lambda task, *rest: found.append(task.network.state_dict())
    )
    state = torch.get_rng_state()
    for i, seed in enumerate((1, 1, 2)):
        tune(model, data, tmp_path / str(i), seed=seed)
        torch.manual_seed(i)
    torch.set_rng_state(state)
    [key, *_] = [key for key in found[0] if "lora_A" in key]
    assert torch.equal(found[0][key], found[1][key])
    assert not torch.equal(found[0][key], found[2][key])


def test_half_precision_and_parts_of_a_batch(model, data, tmp_path):
    tune(model, data, tmp_path / "out", mixed_precision="bf16", accumulate=2, steps=2)
    assert all(v.dtype == torch.float32 for v in load_file(tmp_path / "out" / FILE).values())


# ---- the command --------------------------------------------------------------------------------


def command(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command_makes_what_the_other_commands_take(model, data, tmp_path, prompts):
    out, picture = tmp_path / "out", tmp_path / "a.png"
    asked = ["--model", model, "--data", data, "--output", out, "--keep", prompts, "--seed", 4]
    asked += ["--steps", 3, "--batch-size", 4, "--learning-rate", 0.1, "--rank", 2, "--size", 32]
    result = command("finetune", *asked)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == str(out / FILE)
    assert Image.open(out / "training" / "finetune" / "kept" / "pictures" / "000000.png").size == (
        32,
        32,
    )
    assert Image.open(out / "training" / "finetune" / "samples" / "000003.png").size == (64, 64)

    asked = ["--model", model, "-p", PROMPT, "--steps", 2, "--output", picture, "--device", "cpu"]
    photo, mask = tmp_path / "photo.png", tmp_path / "mask.png"
    Image.fromarray(scene(0).image).save(photo)
    Image.new("L", (64, 64), 255).save(mask)
    images = {
        "text-to-image": [],
        "image-to-image": ["-i", photo],
        "inpaint": ["-i", photo, "-m", mask],
    }
    for task, more in images.items():
        seen = []
        for lora in ([], ["--lora", out / FILE], ["--lora", out / FILE, "--lora-scale", 0.5]):
            result = command(task, *asked, *more, *lora)
            assert result.exit_code == 0, result.output
            told = read_settings(picture)
            seen.append((np.array(Image.open(picture)), told.get("lora"), told.get("lora_scale")))
        pictures, files, scales = zip(*seen, strict=True)
        assert files == (None, str(out / FILE), str(out / FILE))
        assert scales == (None, 1.0, 0.5)
        assert not any(np.array_equal(a, b) for a, b in pairwise(pictures))
    sd = StableDiffusion.from_pretrained(model, device="cpu")
    load_lora(sd.unet, out / FILE, 0.5)
    assert "lora" not in told.get("prompt")
    [image] = sd.inpaint(PROMPT, photo, mask, steps=2, progress=False)
    assert np.array_equal(np.array(image), pictures[-1])


def test_an_interrupted_command_says_how_to_go_on(model, data, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train", stop)
    result = command("finetune", "--model", model, "--data", data, "--output", tmp_path / "out")
    assert result.exit_code == 130
    assert result.stderr == "minisd: stopped; the same command goes on\n"


@pytest.fixture
def ours_to_spoil(model, data, tmp_path):
    for source, name in ((model, "model"), (data, "data")):
        shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("training"))
    return tmp_path


def spoil_picture(here):
    (here / "data" / "2.png").write_bytes(b"no picture")


def spoil_caption(here):
    path = here / "data" / "metadata.csv"
    path.write_text(re.sub(r"1\.png,.*", "1.png,", path.read_text()))


def spoil_weights(here):
    path = here / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    state["conv_in.bias"][0] = float("nan")
    write_weights(state, path)


def spoil_unet(here):
    (here / "model" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"short")


def use_output(here):
    (here / "out").mkdir()
    (here / "out" / "mine.txt").write_text("kept")


def file_as_output(here):
    (here / "out").write_text("kept")


def no_prompts(here):
    (here / "empty.txt").write_text("\n \n")


@pytest.mark.parametrize(
    ("spoil", "asked", "words"),
    [
        (spoil_picture, [], "1 fault: 2.png cannot be read: it is no picture. Mend them"),
        (spoil_caption, [], "1.png (metadata.csv line 3) has no caption"),
        (spoil_weights, [], "1 weights of unet hold NaN or infinity: conv_in.bias"),
        (spoil_unet, [], "not a whole file of weights"),
        (use_output, [], "out, which holds something else; give a new folder"),
        (file_as_output, [], "out, which is no folder"),
        (None, ["--output", "model"], "output is model, the model itself"),
        (None, ["--output", "data"], "output is data, which holds something else"),
        (None, ["--model", "nothing"], "nothing is not there"),
        (None, ["--data", "nothing"], "nothing is no folder"),
        (None, ["--keep", "nothing"], "keep is nothing, which cannot be read"),
        (no_prompts, ["--keep", "empty.txt"], "keep is empty.txt, which has no prompt"),
        (None, ["--method", "quick"], "method is 'quick'; it must be one of ('lora', 'full')"),
        (None, ["--rank", 0], "rank is 0; it must be 1 or more"),
        (None, ["--size", 60], "size is 60; it must be a multiple of 8"),
        (None, ["--steps", 0], "steps is 0"),
        (None, ["--learning-rate", "nan"], "learning_rate is nan"),
        (None, ["--mixed-precision", "fp8"], "mixed_precision is 'fp8'"),
        (None, ["--batch-size", 6, "--accumulate", 4], "batch_size is 6; it must be a multiple"),
        (None, ["--seed", -1], "seed is -1"),
    ],
)
def test_what_is_refused_is_one_line_and_code_2(ours_to_spoil, monkeypatch, spoil, asked, words):
    monkeypatch.chdir(ours_to_spoil)
    for work in ("encode", "draw_kept", "train"):  # what takes long
        monkeypatch.delattr(module, work)
    if spoil:
        spoil(ours_to_spoil)
    before = contents(ours_to_spoil)
    result = command("finetune", "--model", "model", "--data", "data", "--output", "out", *asked)
    assert result.exit_code == 2, result.output
    [line] = result.stderr.splitlines()
    assert line.startswith("minisd: ")
    assert words in line
    assert contents(ours_to_spoil) == before


def test_faults_are_skipped_if_asked(ours_to_spoil, monkeypatch):
    monkeypatch.chdir(ours_to_spoil)
    spoil_picture(ours_to_spoil)
    spoil_caption(ours_to_spoil)
    asked = ["--steps", 1, "--batch-size", 2, "--skip-faults"]
    result = command("finetune", "--model", "model", "--data", "data", "--output", "out", *asked)
    assert result.exit_code == 0, result.output
    assert "data has 2 faults: 1.png" in result.stderr
    latents = np.load("out/training/finetune/new/latents.npy")
    assert latents.shape == (2, 2, 4, 16, 16)


def test_another_run_does_not_touch_what_is_there(model, data, tmp_path, prompts):
    out = tmp_path / "out"
    tune(model, data, out)
    before = contents(out)
    other = tmp_path / "other"
    shutil.copytree(data, other)
    path = other / "metadata.csv"
    path.write_text(path.read_text().replace("0.png,", "0.png,changed "))
    for source, changed, words in (
        (other, {}, "data was"),
        (data, {"keep": prompts}, "keep was"),
        (data, {"rank": 2}, "rank was 4, is 2"),
        (data, {"method": "full"}, "method was lora, is full"),
        (data, {"learning_rate": 0.1}, "learning_rate was 0.01, is 0.1"),
    ):
        with pytest.raises(ValueError, match=f"another run .*{words}"):
            tune(model, source, out, **changed)
    with pytest.raises(ValueError, match="model was"):
        tune(save_tiny(tmp_path / "model"), data, out)
    assert contents(out) == before
    assert tune(model, data, out) == out / FILE  # the same again: nothing is left to do
    assert contents(out).keys() == before.keys()


def test_a_fine_tuned_model_is_not_written_over_by_the_next(model, data, tmp_path):
    out = tune(model, data, tmp_path / "out", method="full", steps=1)
    with pytest.raises(ValueError, match="the model itself"):
        tune(out, data, out, method="full", steps=2)


def test_a_network_for_inpainting_is_refused(data, tmp_path):
    folder = save_tiny(tmp_path / "model", in_channels=9)
    with pytest.raises(ValueError, match="is one for inpainting"):
        tune(folder, data, tmp_path / "out")


def test_a_lora_for_the_pictures_must_be_there_and_fit(model, data, tmp_path):
    asked = ["--model", model, "-p", "a cat", "--output", tmp_path / "a.png"]
    wrong = tmp_path / "wrong.safetensors"
    write_weights({"x": torch.ones(1)}, wrong)
    for lora, words in (
        (["--lora", tmp_path / "none"], "none, which is not there"),
        (["--lora-scale", 2], "lora_scale is 2.0; it needs lora"),
        (["--lora", wrong], "those are no low-rank matrices"),
        (["--lora", wrong, "--lora-scale", "nan"], "scale is nan"),
    ):
        result = command("text-to-image", *asked, *lora)
        assert result.exit_code == 2, result.output
        [line] = result.stderr.splitlines()
        assert words in line
    assert not (tmp_path / "a.png").exists()
