"""The command `minisd` is installed, lists what it can do, and passes exit codes on."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from minisd import doctor
from minisd.cli import app
from minisd.images import read_settings
from minisd.pipeline import StableDiffusion
from tests.tiny_diffusion import save_tiny


def test_installed_command_lists_what_it_can_do():
    command = Path(sys.executable).with_name("minisd")
    result = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    assert "doctor" in result.stdout


@pytest.mark.parametrize(("sound", "code"), [(True, 0), (False, 1)])
def test_doctor_prints_and_passes_the_verdict_on(monkeypatch, sound, code):
    monkeypatch.setattr(doctor, "report", lambda: ("what was found", sound))
    result = CliRunner().invoke(app, ["doctor"])
    assert result.output.strip() == "what was found"
    assert result.exit_code == code


# ---- pictures -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("cli") / "tiny")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, with a photo and a mask."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")
    mask = Image.new("L", (56, 40))
    mask.paste(255, (8, 8, 32, 32))
    mask.save("mask.png")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


COMMANDS = {
    "text-to-image": [],
    "image-to-image": ["--image", "photo.png", "--strength", 0.6],
    "inpaint": ["-i", "photo.png", "-m", "mask.png", "--strength", 0.6],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_picture_comes_with_the_settings_that_make_it_again(model, here, command):
    asked = ["--negative-prompt", "dog", "--steps", 3, "--guidance-scale", 4, "--seed", 5]
    asked += ["--size", "48x32", "--sampler", "euler", "--device", "cpu", "--output", "new/a.png"]
    result = run(command, "--model", model, "-p", "a cat", *asked, *COMMANDS[command])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{Path('new/a.png')}\n"
    told = read_settings("new/a.png")
    assert told["task"] == command.replace("-", "_")
    assert (told["model"], told["dtype"]) == (str(model), "float32")
    names = ("prompt", "negative_prompt", "steps", "guidance_scale", "seed", "sampler")
    again = {k: told[k] for k in (*names, "height", "width")}
    assert list(again.values()) == ["a cat", "dog", 3, 4.0, 5, "euler", 32, 48]
    again |= {k: told[k] for k in ("image", "mask", "strength") if k in told}
    task = getattr(StableDiffusion.from_pretrained(model, device="cpu"), told["task"])
    [image] = task(**again, progress=False)
    assert np.array_equal(np.array(image), np.array(Image.open("new/a.png")))


def test_several_pictures_are_numbered_and_have_seeds_of_their_own(model, here):
    result = run("text-to-image", "--model", model, "-p", "cat", "--steps", 1, "--count", 3)
    assert result.exit_code == 0, result.output
    names = [f"text-to-image-0-{i}.png" for i in range(3)]
    assert result.stdout.split() == names
    told = [read_settings(name) for name in names]
    assert [settings["seed"] for settings in told] == [0, 1, 2]
    assert told[0]["sampler"] == "plms"
    assert (
        run("text-to-image", "--model", model, "-p", "cat", "--steps", 1, "--seed", 2).exit_code
        == 0
    )
    single, third = Image.open("text-to-image-2.png"), Image.open(names[2])
    assert np.abs(np.array(single).astype(int) - np.array(third)).max() <= 1


def test_half_precision_and_small_memory(model, here):
    asked = ["--steps", 1, "--dtype", "bfloat16", "--small-memory", "--size", "16x16"]
    result = run("text-to-image", "--model", model, "-p", "cat", *asked)
    assert result.exit_code == 0, result.output
    assert read_settings("text-to-image-0.png")["dtype"] == "bfloat16"


def test_a_warning_is_one_line(model, here):
    result = run("text-to-image", "--model", model, "-p", "dog " * 100, "--steps", 1)
    assert result.exit_code == 0
    lines = [line for line in result.stderr.splitlines() if line.startswith("minisd: ")]
    assert len(lines) == 1
    assert "dog dog" in lines[0]  # what was lost


@pytest.mark.parametrize(
    ("command", "asked", "words"),
    [
        ("text-to-image", ["--steps", 0], "steps is 0"),
        ("text-to-image", ["--size", "64"], "size is '64'; it must be WIDTHxHEIGHT"),
        ("text-to-image", ["--size", "60x64"], "width is 60; it must be a multiple of 8"),
        ("text-to-image", ["--sampler", "best"], "sampler is 'best'"),
        ("text-to-image", ["--guidance-scale", "nan"], "guidance_scale is nan"),
        ("text-to-image", ["--count", 0], "images_per_prompt is 0"),
        ("text-to-image", ["--seed", -1], "seed is -1"),
        ("text-to-image", ["--device", "gpu"], "device is 'gpu'"),
        ("text-to-image", ["--dtype", "int8"], "dtype is 'int8'"),
        ("text-to-image", ["--output", "a.jpg"], "must end in .png"),
        ("text-to-image", ["--output", "photo.png/a.png"], "cannot be written"),
        ("image-to-image", ["--strength", 0], "strength is 0"),
        ("image-to-image", ["--image", "none.png"], "there is no picture none.png"),
        ("inpaint", ["--mask", "small.png"], "mask is 8x8 pixels"),
    ],
)
def test_what_is_refused_is_one_line_and_code_2(model, here, command, asked, words):
    Image.new("L", (8, 8), 255).save("small.png")
    before = sorted(here.iterdir())
    result = run(command, "--model", model, "-p", "cat", *COMMANDS[command], *asked)
    assert result.exit_code == 2
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("minisd: ")
    assert words in line
    assert sorted(here.iterdir()) == before


def test_a_model_that_is_not_there(here):
    result = run("text-to-image", "--model", here / "nothing", "-p", "cat")
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert "nothing" in line


def test_help_loads_no_torch():
    code = (
        "import sys, minisd.cli; print([n for n in ('torch', 'PIL', 'numpy') if n in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
