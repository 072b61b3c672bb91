"""The command ``minisd``.

What a command needs is imported when it runs, so that ``minisd --help`` is quick.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from minisd import __version__, cli_leaderboard, cli_nsd
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
Lora = Annotated[
    Path | None, typer.Option(help="Low-rank weights of a fine-tuning, a .safetensors file.")
]
LoraScale = Annotated[float, typer.Option(help="How strongly they act; 0: not at all.")]
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
    lora: Lora = None,
    lora_scale: LoraScale = 1.0,
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
    lora: Lora = None,
    lora_scale: LoraScale = 1.0,
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
    lora: Lora = None,
    lora_scale: LoraScale = 1.0,
    small_memory: SmallMemory = False,
) -> None:
    """Repaint a picture where a mask is white."""
    _generate("inpaint", locals())


@app.command()
def train(
    network: Annotated[
        str,
        typer.Argument(
            help="vae, clip, clip-image, unet, unet-pairs, classifier or scorer; "
            "for guidance also prior, spatial, unclip, noisy-clip or calibrated."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the checkpoint that is being made.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML; the miniature's own if not told.")
    ] = None,
) -> None:
    """Train a network, or go on where a run was stopped."""
    with _one_line_errors(), _goes_on():
        from minisd.training.run import train_from_file

        train_from_file(network, config, output)


@app.command()
def finetune(
    model: Model,
    data: Annotated[
        Path, typer.Option(help="Folder with metadata.csv or .jsonl (file_name, text), or shards.")
    ],
    output: Annotated[Path, typer.Option(help="New folder for what is made.")],
    method: Annotated[
        str, typer.Option(help="lora: small changes beside the weights; full: the weights.")
    ] = "lora",
    rank: Annotated[int, typer.Option(help="Of the small changes.")] = 8,
    steps: Annotated[int, typer.Option(help="Steps of the optimizer.")] = 400,
    batch_size: Annotated[int, typer.Option(help="Pictures a step.")] = 8,
    learning_rate: Annotated[
        float | None, typer.Option(help="1e-4 for lora and 1e-5 for full if not told.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Text file of prompts, one a line, of what is not to be forgotten."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    mixed_precision: Annotated[str, typer.Option(help="no or bf16.")] = "no",
    accumulate: Annotated[int, typer.Option(help="Parts of a batch, for small memory.")] = 1,
    size: Annotated[
        int | None, typer.Option(help="Of the pictures, in pixels; the model's if not told.")
    ] = None,
    skip_faults: Annotated[
        bool, typer.Option("--skip-faults", help="Leave out pictures that cannot be used.")
    ] = False,
) -> None:
    """Teach a model what is on your pictures, or go on where that was stopped."""
    with _one_line_errors(), _goes_on():
        from minisd.training.finetune import LEARNING_RATES, FinetuneSettings
        from minisd.training.finetune import finetune as start
        from minisd.training.loop import RunSettings

        on_error = "skip" if skip_faults else "raise"
        settings = FinetuneSettings(method=method, rank=rank, size=size, on_error=on_error)
        run = RunSettings(
            steps=steps,
            batch_size=batch_size,
            learning_rate=LEARNING_RATES[method] if learning_rate is None else learning_rate,
            warmup=min(100, steps // 10),
            mixed_precision=mixed_precision,
            accumulate=accumulate,
            seed=seed,
        )
        typer.echo(str(start(model, data, output, settings, run, keep)))


def _generate(task: str, told: dict[str, Any]) -> None:
    """Run a task and save its pictures, each with the settings that make it again."""
    with _one_line_errors():
        from minisd.images import check_png, load_image, prepare_mask, save_png
        from minisd.pipeline import StableDiffusion
        from minisd.settings import Settings, check_device, check_dtype, steps_walked
        from minisd.training.lora import load_lora

        name = f"{task.replace('_', '-')}-{told['seed']}.png"
        output = _writable(check_png(told.pop("output") or name))
        model, tokenizer = told.pop("model"), told.pop("tokenizer")
        device, dtype = check_device(told.pop("device")), check_dtype(told.pop("dtype"))
        small_memory, count = told.pop("small_memory"), told.pop("count")
        width, height = _size(told.pop("size"))
        lora, lora_scale = told.pop("lora"), told.pop("lora_scale")
        # everything that can be refused without the model, before it is loaded
        if lora is not None and not lora.exists():
            raise ValueError(f"lora is {lora}, which is not there")
        if lora is None and lora_scale != 1:
            raise ValueError(f"lora_scale is {lora_scale}; it needs lora")
        Settings(images_per_prompt=count, **{k: told[k] for k in _SETTINGS}).seeds(count)
        steps_walked(told["steps"], told.get("strength", 1))
        pictures = {k: load_image(told[k]) for k in ("image", "mask") if k in told}
        if "mask" in pictures:
            prepare_mask(pictures["mask"], pictures["image"], multiple=1)

        loading = {} if tokenizer is None else {"tokenizer": tokenizer}
        pipeline = StableDiffusion.from_pretrained(model, device=device, dtype=dtype, **loading)
        if lora is not None:
            load_lora(pipeline.unet, lora, lora_scale)
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
        if lora is not None:
            own |= {"lora": str(lora), "lora_scale": lora_scale}
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
def _goes_on() -> Iterator[None]:
    """Tell an interruption in a line; 130 is what a shell gives to it."""
    try:
        yield
    except KeyboardInterrupt as stop:
        typer.echo(f"minisd: {str(stop) or 'stopped'}; the same command goes on", err=True)
        raise typer.Exit(130) from None


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


class _OneLineErrors(TyperGroup):
    """Commands of another file, whose errors and interruptions are told as those here are."""

    def invoke(self, context: typer.Context) -> Any:
        with _one_line_errors(), _goes_on():
            return super().invoke(context)


app.add_typer(cli_nsd.app, name="nsd", cls=_OneLineErrors)


@app.command()
@wraps(cli_leaderboard.leaderboard)
def leaderboard(**told: Any) -> None:  # noqa: D103
    with _one_line_errors(), _goes_on():
        cli_leaderboard.leaderboard(**told)
