"""The command ``minisd``.

What a command needs is imported when it runs, so that ``minisd --help`` is quick.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from minisd import __version__
from minisd import doctor as _doctor

app = typer.Typer(no_args_is_help=True, add_completion=False)

Model = Annotated[
    str, typer.Option(help="Folder or file of a checkpoint, or a name on the Hugging Face hub.")
]
Prompt = Annotated[str, typer.Option("--prompt", "-p", help="What the picture is to show.")]
NegativePrompt = Annotated[str, typer.Option(help="What it is not to show.")]
Steps = Annotated[int, typer.Option(help="Steps of the sampler.")]
GuidanceScale = Annotated[float, typer.Option(help="How much the prompt counts; 1: no guidance.")]
Strength = Annotated[float, typer.Option(help="Share of the steps that is walked, above 0 to 1.")]
Seed = Annotated[int, typer.Option(help="Of the first picture; the next one has the next.")]
Sampler = Annotated[
    str | None, typer.Option(help="Such as ddim; the checkpoint's own if not told.")
]
Size = Annotated[
    str | None, typer.Option(help="WIDTHxHEIGHT in pixels; by default the model's, or the image's.")
]
Count = Annotated[int, typer.Option(help="How many pictures.")]
Output = Annotated[
    Path | None,
    typer.Option(
        help="PNG to write, numbered if there are several; named by task and seed if not told."
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or mps; the fastest if not told.")]
Dtype = Annotated[str, typer.Option(help="float32, float16 or bfloat16.")]
Tokenizer = Annotated[
    str | None, typer.Option(help="Folder or file of the tokenizer, for a single-file checkpoint.")
]
SmallMemory = Annotated[bool, typer.Option("--small-memory", help="Slower, in less memory.")]
InputImage = Annotated[Path, typer.Option("--image", "-i", help="Picture to begin with.")]
Mask = Annotated[
    Path, typer.Option("--mask", "-m", help="Picture of the same size: white is repainted.")
]


@app.callback()
def minisd() -> None:
    """Diffusion models, from one noise step to reading pictures out of brains."""


@app.command()
def doctor() -> None:
    """Print versions and device, and what is missing with the command that mends it."""
    text, sound = _doctor.report()
    typer.echo(text)
    raise typer.Exit(0 if sound else 1)


@app.command()
def text_to_image(
    model: Model,
    prompt: Prompt,
    negative_prompt: NegativePrompt = "",
    steps: Steps = 50,
    guidance_scale: GuidanceScale = 8.0,
    seed: Seed = 0,
    sampler: Sampler = None,
    size: Size = None,
    count: Count = 1,
    output: Output = None,
    device: Device = None,
    dtype: Dtype = "float32",
    tokenizer: Tokenizer = None,
    small_memory: SmallMemory = False,
) -> None:
    """Make pictures from a text."""
    _generate("text_to_image", locals())


@app.command()
def image_to_image(
    model: Model,
    prompt: Prompt,
    image: InputImage,
    strength: Strength = 0.7,
    negative_prompt: NegativePrompt = "",
    steps: Steps = 50,
    guidance_scale: GuidanceScale = 8.0,
    seed: Seed = 0,
    sampler: Sampler = None,
    size: Size = None,
    count: Count = 1,
    output: Output = None,
    device: Device = None,
    dtype: Dtype = "float32",
    tokenizer: Tokenizer = None,
    small_memory: SmallMemory = False,
) -> None:
    """Change a picture by a text."""
    _generate("image_to_image", locals())


@app.command()
def inpaint(
    model: Model,
    prompt: Prompt,
    image: InputImage,
    mask: Mask,
    strength: Strength = 0.7,
    negative_prompt: NegativePrompt = "",
    steps: Steps = 50,
    guidance_scale: GuidanceScale = 8.0,
    seed: Seed = 0,
    sampler: Sampler = None,
    size: Size = None,
    count: Count = 1,
    output: Output = None,
    device: Device = None,
    dtype: Dtype = "float32",
    tokenizer: Tokenizer = None,
    small_memory: SmallMemory = False,
) -> None:
    """Repaint a picture where a mask is white."""
    _generate("inpaint", locals())


@app.command()
def train(
    network: Annotated[str, typer.Argument(help="vae, clip, unet, classifier or scorer.")],
    output: Annotated[Path, typer.Option(help="Folder of the checkpoint that is being made.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML; the miniature's own if not told.")
    ] = None,
) -> None:
    """Train a network, or go on where a run was stopped."""
    with _one_line_errors():
        from minisd.training.run import train_from_file

        try:
            train_from_file(network, config, output)
        except KeyboardInterrupt as stop:
            typer.echo(f"minisd: {stop}; the same command goes on", err=True)
            raise typer.Exit(130) from None


def _generate(task: str, told: dict[str, Any]) -> None:
    """Run a task and save its pictures, each with the settings that make it again."""
    with _one_line_errors():
        from minisd.images import check_png, load_image, prepare_mask, save_png
        from minisd.pipeline import StableDiffusion
        from minisd.settings import Settings, check_device, check_dtype, steps_walked

        name = f"{task.replace('_', '-')}-{told['seed']}.png"
        output = _writable(check_png(told.pop("output") or name))
        model, tokenizer = told.pop("model"), told.pop("tokenizer")
        device, dtype = check_device(told.pop("device")), check_dtype(told.pop("dtype"))
        small_memory, count = told.pop("small_memory"), told.pop("count")
        width, height = _size(told.pop("size"))
        # everything that can be refused without the model, before it is loaded
        Settings(images_per_prompt=count, **{k: told[k] for k in _SETTINGS}).seeds(count)
        steps_walked(told["steps"], told.get("strength", 1))
        pictures = {k: load_image(told[k]) for k in ("image", "mask") if k in told}
        if "mask" in pictures:
            prepare_mask(pictures["mask"], pictures["image"], multiple=1)

        loading = {} if tokenizer is None else {"tokenizer": tokenizer}
        pipeline = StableDiffusion.from_pretrained(model, device=device, dtype=dtype, **loading)
        if small_memory:
            pipeline.reduce_memory()
        made = getattr(pipeline, task)(
            **told | pictures, height=height, width=width, images_per_prompt=count
        )
        own = {k: v.name if isinstance(v, Path) else v for k, v in told.items()}
        own |= {
            "sampler": told["sampler"] or pipeline.scheduler.sampler,
            "task": task,
            "model": model,
            "dtype": str(dtype).removeprefix("torch."),
            "minisd": __version__,
        }
        for i, picture in enumerate(made):
            path = output if count == 1 else output.with_stem(f"{output.stem}-{i}")
            where = {"width": picture.width, "height": picture.height}
            save_png(picture, path, own | where | {"seed": told["seed"] + i})
            typer.echo(str(path))


_SETTINGS = ("negative_prompt", "steps", "guidance_scale", "seed", "sampler")


def _size(size: str | None) -> tuple[int | None, int | None]:
    if size is None:
        return None, None
    parts = size.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise ValueError(f"size is {size!r}; it must be WIDTHxHEIGHT, such as 512x512")
    return int(parts[0]), int(parts[1])


def _writable(path: Path) -> Path:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"{path} cannot be written")
    return path


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Tell errors and warnings in a line each, without the code they come from."""

    def tell(message: object, *_: object, **__: object) -> None:
        typer.echo("minisd: " + " ".join(str(message).split()), err=True)

    with warnings.catch_warnings():
        warnings.showwarning = tell
        try:
            yield
        except (ValueError, OSError, ImportError, FloatingPointError) as error:
            tell(error)
            raise typer.Exit(2) from None
