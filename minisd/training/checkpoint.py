"""What a run leaves behind: its state in one file that is never half, and its losses, line by line."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minisd.checkpoints.files import read_state_dict


def save_checkpoint(
    path: Path,
    step: int,
    identity: Mapping[str, Any],
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write weights, their average and the optimizer's moments; until all is written, the last file stays.

    Raises
    ------
    OSError
        If the disk is full, for example. The last file is still there then, and nothing half beside it.
    """
    from safetensors.torch import save_file

    tensors = {f"network.{k}": v for k, v in trained_parameters(network).items()}
    tensors |= {f"average.{k}": v for k, v in trained_parameters(average).items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
    told = {"format": "pt", "step": str(step), "identity": json.dumps(identity, sort_keys=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, beside, told)
        beside.replace(path)
    except Exception as error:  # safetensors has an error of its own for what the disk refuses
        raise OSError(f"{path} cannot be written at step {step}: {error}") from error
    finally:
        beside.unlink(missing_ok=True)


def load_checkpoint(
    path: Path,
    identity: Mapping[str, Any],
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Fill the networks and the optimizer, and return the step; 0, and nothing is filled, if there is no file.

    Raises
    ------
    ValueError
        If the file is damaged, or of another run; what differs is named.
    """
    tensors, step = read_checkpoint(path, identity)
    if not step:
        return 0
    for module, prefix in ((network, "network."), (average, "average.")):
        _fill(trained_parameters(module), _part(tensors, prefix), path)
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in _part(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    return step


def read_checkpoint(path: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], int]:
    """Map the tensors of a file that `save_checkpoint` wrote, and read its step; none and 0 if there is no file.

    Raises
    ------
    ValueError
        If the file is damaged, or of another run; what differs is named.
    """
    if not path.exists():
        return {}, 0
    from safetensors import safe_open

    tensors = read_state_dict(path)
    with safe_open(path, "pt") as file:
        told = file.metadata() or {}
    if "identity" not in told:
        raise ValueError(f"{path} is no checkpoint of a training run")
    other = json.loads(told["identity"])
    same = json.loads(json.dumps(identity))
    if differing := sorted(k for k in other.keys() | same.keys() if other.get(k) != same.get(k)):
        changes = "; ".join(f"{k} was {other.get(k)}, is {same.get(k)}" for k in differing)
        raise ValueError(
            f"{path} is of another run ({changes}); go on with its settings, or give another output"
        )
    return tensors, int(told["step"])


def trained_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that have a gradient, by name; the networks here have nothing else that changes."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


@torch.no_grad()
def _fill(parameters: dict[str, nn.Parameter], values: dict[str, Tensor], path: Path) -> None:
    if parameters.keys() != values.keys():
        raise ValueError(f"{path} has other weights than the network that is trained")
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    # cloned: the file is mapped into memory, and will be replaced
    return {k.removeprefix(prefix): v.clone() for k, v in tensors.items() if k.startswith(prefix)}


class Log:
    """Losses in a CSV file, a line at a time, with the seconds since the beginning of the run, without its pauses.

    Parameters
    ----------
    path : path
    step : int
        Lines after it, of a run that went on and was not saved, are dropped.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() and step else []
        kept = [line for i, line in enumerate(lines) if i == 0 or int(line.split(",")[0]) <= step]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        before = float(kept[-1].rpartition(",")[2]) if len(kept) > 1 else 0.0
        self.start = time.perf_counter() - before

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line; the first one names the columns."""
        seconds = time.perf_counter() - self.start
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if not file.tell():
                writer.writerow(["step", *values, "seconds"])
            told = (f"{value:.9g}" for value in values.values())
            writer.writerow([step, *told, f"{seconds:.1f}"])
