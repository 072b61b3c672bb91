"""The training loop, the same for every network: a task says what the loss is, the loop does the rest.

It runs on Accelerate: alone, or on several processes with ``accelerate launch``. What is random in row r of step s
comes from (seed, s, r) alone, so neither a stop, nor the number of processes, nor the accumulation changes what is
computed; the last two change the order of summation.
B batch, over all processes.
"""

from __future__ import annotations

import copy
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from minisd.diffusion import ImageNoise
from minisd.extras import require
from minisd.images import save_png, to_pil
from minisd.training.checkpoint import (
    Log,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    trained_parameters,
)
from minisd.training.optimizer import make_optimizer


@dataclass(frozen=True)
class RunSettings:
    """How long and how fast.

    Attributes
    ----------
    steps : int
        Steps of the optimizer.
    batch_size : int
        Items a step, over all processes and all parts that are accumulated.
    learning_rate : float
        The highest. It rises to it in a line over ``warmup`` steps, and falls to 0 on a cosine.
    warmup : int
    optimizer : {"adamw", "muon"}
        AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), or `Muon`, which needs fewer steps to train from nothing.
    weight_decay : float
        For matrices and kernels; biases, norms and scales have none.
    max_norm : float
        What the gradient's norm is cut to.
    ema : float
        Decay of the average of the weights, which is what is shown and shipped.
    accumulate : int
        Into how many parts a batch is cut, for small memory.
    mixed_precision : {"no", "bf16"}
    seed : int
    log_every, sample_every, save_every : int
        Steps from one line of the log, picture of samples, and checkpoint to the next.
    workers : int
        Processes that prepare items.

    Raises
    ------
    ValueError
        If one is out of range.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int = 100
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    max_norm: float = 1.0
    ema: float = 0.999
    accumulate: int = 1
    mixed_precision: str = "no"
    seed: int = 0
    log_every: int = 10
    sample_every: int = 500
    save_every: int = 250
    workers: int = 0

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "accumulate",
            "log_every",
            "sample_every",
            "save_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("warmup", "weight_decay", "seed", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("learning_rate", "max_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0 and finite")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it must be at least 0 and below 1")
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"optimizer is {self.optimizer!r}; it must be adamw or muon")
        if self.mixed_precision not in ("no", "bf16"):
            raise ValueError(f"mixed_precision is {self.mixed_precision!r}; it must be no or bf16")


CHECKPOINT = "checkpoint.safetensors"

FREE = ("log_every", "sample_every", "save_every", "workers")
"""Settings that a run may change when it is taken up again: they do not touch what is computed."""


class Task(nn.Module):
    """What is trained, and on what.

    Attributes
    ----------
    network : Module
        What is averaged, saved and exported. Its parameters that require a gradient are trained.
    data : Dataset
        Items by index.
    """

    network: nn.Module
    data: Dataset

    def collate(self, items: list[Any]) -> tuple[Tensor, ...]:
        """Stack items into tensors [B, ...]; runs in the worker processes."""
        return torch.utils.data.default_collate(items)

    def forward(self, batch: tuple[Tensor, ...], noise: ImageNoise) -> dict[str, Tensor]:
        """Give the ``"loss"``, a mean over the rows, and whatever else is to be logged.

        ``noise`` has a stream for each row; nothing random may come from elsewhere.
        """
        raise NotImplementedError

    def sample(self, network: nn.Module) -> Tensor | None:
        """Give pictures [N, 3, H, W] in [-1, 1], a square number, that show what the averaged network can do."""
        return None

    def export(self, network: nn.Module, output: Path) -> None:
        """Write the trained network into the folder where it is loaded from."""
        raise NotImplementedError


def train(
    task: Task, settings: RunSettings, folder: Path, output: Path, told: dict[str, Any]
) -> None:
    """Train, from the last checkpoint on if there is one, and export the average of the weights.

    Parameters
    ----------
    task : Task
    settings : RunSettings
    folder : path
        For ``checkpoint.safetensors``, ``log.csv`` and ``samples/``.
    output : path
        For what `Task.export` writes.
    told : dict
        Whatever else makes the run what it is, as JSON has it; a checkpoint of another run is refused.

    Raises
    ------
    ValueError
        If the batch cannot be shared out, there are no data, or the checkpoint is of another run.
    FloatingPointError
        If the loss is not a number; the last checkpoint is from before.
    KeyboardInterrupt
        On SIGINT, after the step is done and saved; the next call goes on from there.
    """
    accelerator = require("accelerate", "train").Accelerator(
        mixed_precision=settings.mixed_precision,
        gradient_accumulation_steps=settings.accumulate,
    )
    identity = check_run(settings, folder, told)
    if not len(task.data):
        raise ValueError("there are no data to train on")
    path, lead = folder / CHECKPOINT, accelerator.is_main_process

    task.to(accelerator.device, memory_format=torch.channels_last)  # quicker convolutions
    average = copy_to_average(task.network)
    optimizer = make_optimizer(
        task.network, settings.optimizer, settings.learning_rate, settings.weight_decay
    )
    step = load_checkpoint(path, identity, task.network, average, optimizer)
    model, optimizer = accelerator.prepare(task, optimizer)
    rows = _rows(settings, accelerator.process_index, accelerator.num_processes)
    loader = DataLoader(
        task.data,
        batch_sampler=_order(len(task.data), rows, step, settings),
        collate_fn=task.collate,
        num_workers=settings.workers,
    )
    log = Log(folder / "log.csv", step) if lead else None
    bar = tqdm(total=settings.steps, initial=step, desc=folder.name, delay=2, disable=not lead)
    batches, sums, since = iter(loader), {}, 0

    with _interruption() as interrupted, bar:
        while step < settings.steps:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, settings)
            for part in rows:
                batch = [x.to(accelerator.device) for x in next(batches)]
                noise = ImageNoise(row_seed(settings.seed, step, row) for row in part)
                with accelerator.accumulate(model):
                    with accelerator.autocast():
                        losses = model(batch, noise)
                    accelerator.backward(losses["loss"])
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(model.parameters(), settings.max_norm)
                    optimizer.step()
                    optimizer.zero_grad()
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0) + value.detach().float() / len(rows)
            step, since = step + 1, since + 1
            bar.update()
            update_average(average, task.network, min(settings.ema, step / (step + 9)))

            stop = _any(interrupted, accelerator)
            last = stop or step == settings.steps
            if step % settings.log_every == 0 or last:
                means = {
                    name: float(accelerator.reduce(value, "mean")) / since
                    for name, value in sums.items()
                }
                sums, since = {}, 0
                if not math.isfinite(means["loss"]):
                    raise FloatingPointError(
                        f"the loss is {means['loss']} at step {step}; take a lower learning_rate"
                    )
                if lead:
                    log.write(step, {**means, "learning_rate": learning_rate(step - 1, settings)})
                    bar.set_postfix({name: f"{value:.4g}" for name, value in means.items()})
            if lead and (step % settings.save_every == 0 or last):
                save_checkpoint(path, step, identity, task.network, average, optimizer)
            if lead and (step % settings.sample_every == 0 or step == settings.steps):
                _save_sample(task, average, folder / "samples" / f"{step:06}.png")
            if stop:
                accelerator.wait_for_everyone()
                raise KeyboardInterrupt(f"saved at step {step} of {settings.steps}")
    if lead:
        with torch.no_grad():
            task.export(average, output)
    accelerator.wait_for_everyone()


def processes() -> Any:
    """Find this process among those that were launched, and its device: Accelerate's ``PartialState``.

    `train` runs on what the first call finds. Accelerate itself takes the variable ``ACCELERATE_USE_CPU`` into account
    in its ``Accelerator`` alone, and, asked before that, would see one process where ``torchrun`` started several.
    """
    accelerate = require("accelerate", "train")
    cpu = accelerate.utils.parse_flag_from_env("ACCELERATE_USE_CPU")
    return accelerate.PartialState(cpu=cpu)


def check_run(settings: RunSettings, folder: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Refuse what `train` refuses, to be called before the long work of preparing data.

    Parameters
    ----------
    settings, folder, told
        As for `train`.

    Returns
    -------
    dict
        What makes the run what it is.

    Raises
    ------
    ValueError
        If the batch cannot be shared out, or the folder's checkpoint is damaged or of another run.
    """
    shares = processes().num_processes * settings.accumulate
    if settings.batch_size % shares:
        raise ValueError(
            f"batch_size is {settings.batch_size}; it must be a multiple of processes times accumulate, {shares}"
        )
    identity = {k: v for k, v in asdict(settings).items() if k not in FREE} | told
    read_checkpoint(folder / CHECKPOINT, identity)
    return identity


def learning_rate(step: int, settings: RunSettings) -> float:
    """Rise in a line, then fall on half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5)."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2


def copy_to_average(network: nn.Module) -> nn.Module:
    """Copy a network; what is not trained is shared, so that a few trained weights cost no second network."""
    frozen = {id(p): p for p in network.parameters() if not p.requires_grad}
    return copy.deepcopy(network, frozen).eval()


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average towards the weights, in place: decay * average + (1 - decay) * weights."""
    old, new = (list(trained_parameters(module).values()) for module in (average, network))
    torch._foreach_lerp_(old, new, 1 - decay)


def _rows(settings: RunSettings, process: int, processes: int) -> list[range]:
    """Rows of a batch that one process takes, part by part."""
    size = settings.batch_size // (processes * settings.accumulate)
    starts = ((part * processes + process) * size for part in range(settings.accumulate))
    return [range(start, start + size) for start in starts]


def _order(n: int, rows: list[range], step: int, settings: RunSettings) -> Iterator[list[int]]:
    """Items of each part of each step: the data in a new order for each time that they are gone through."""
    orders: dict[int, np.ndarray] = {}
    for now in range(step, settings.steps):
        for part in rows:
            items = []
            for row in part:
                epoch, place = divmod(now * settings.batch_size + row, n)
                if epoch not in orders:
                    orders = {k: v for k, v in orders.items() if k == epoch - 1}
                    orders[epoch] = np.random.default_rng((settings.seed, epoch)).permutation(n)
                items.append(int(orders[epoch][place]))
            yield items


def row_seed(seed: int, step: int, row: int) -> int:
    """Seed of one row of one step: of all that is random in it."""
    return int(np.random.SeedSequence((seed, step, row)).generate_state(1, np.uint64)[0])


def _save_sample(task: Task, average: nn.Module, path: Path) -> None:
    with torch.no_grad():
        pictures = task.sample(average)
    if pictures is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        side = math.isqrt(len(pictures))
        sheet = rearrange(pictures, "(r c) k h w -> 1 k (r h) (c w)", c=side)
        save_png(to_pil(sheet)[0], path, {})


def _any(interrupted: threading.Event, accelerator: Any) -> bool:
    """Whether one of the processes was interrupted: all stop after the same step."""
    if accelerator.num_processes == 1:
        return interrupted.is_set()
    flag = torch.tensor([float(interrupted.is_set())], device=accelerator.device)
    return bool(accelerator.reduce(flag, "sum"))


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """Let SIGINT set an event; a second one interrupts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def note(*_: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
