"""One guided U-Net step and one VAE decode beside diffusers, at full size: ``python benchmarks/speed.py``.

One process, the same random tensors in both, float32, parity asserted before the clock starts. Ways take turns,
which spreads what else the machine does over all of them; each figure is a median, with the fastest and the slowest.
Diffusers' tuned form is its own: fused projections and channels-last. Ours is `optimize_for_inference`.
It takes some 10 minutes and 12 GB.
"""

from __future__ import annotations

import copy
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import diffusers
import torch
from parity import draw, error, unets, vaes
from torch import Tensor, nn

from minisd.guidance import classifier_free
from minisd.models.optimize import optimize_for_inference

SCALE = 8.0


def take_turns(ways: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one round that does not count; every way must give the same."""
    results = [way() for way in ways.values()]
    for result in results[1:]:
        # guidance multiplies the 4e-6 by which two orders of summation differ
        assert error(result, results[0]) < 5e-5
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def guided(unet: nn.Module, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
    """Classifier-free guidance around diffusers' U-Net, as its pipeline has it."""
    eps = unet(torch.cat([x] * 2), t, encoder_hidden_states=text, return_dict=False)[0]
    null, c = eps.chunk(2)
    return null + SCALE * (c - null)


def report(what: str, seconds: dict[str, list[float]]) -> None:
    """Print a line for each way, as a share of the first."""
    base = statistics.median(next(iter(seconds.values())))
    for name, times in seconds.items():
        median = statistics.median(times)
        spread = f"{min(times):.2f} to {max(times):.2f}"
        print(f"{what:22}{name:20}{median:7.2f} s  {median / base:5.2f}x  ({spread})", flush=True)


def measure_steps() -> None:
    """Measure the U-Net."""
    theirs, ours = unets()
    tuned = copy.deepcopy(theirs)
    tuned.fuse_qkv_projections()
    tuned.to(memory_format=torch.channels_last)
    text, null = draw(1, 77, 768, seed=2), draw(1, 77, 768, seed=3)
    both, t = torch.cat([null, text]), torch.tensor([501.0])
    default = classifier_free(ours, text, null, SCALE)
    optimized = classifier_free(optimize_for_inference(ours), text, null, SCALE)
    for side, rounds in ((64, 5), (32, 9), (16, 15)):
        x = draw(1, 4, side, side)
        ways = {
            "diffusers": partial(guided, theirs, x, t[0], both),
            "minisd": partial(default, x, t),
            "diffusers, tuned": partial(guided, tuned, x, t[0], both),
            "minisd, optimized": partial(optimized, x, t),
        }
        report(f"step, {side}x{side} latents", take_turns(ways, rounds))


def measure_decode() -> None:
    """Measure the decoder."""
    theirs, ours = vaes()
    z = draw(1, 4, 64, 64)
    ways = {"diffusers": lambda: theirs.decode(z).sample, "minisd": lambda: ours.decode(z)}
    report("decode, 64x64 latents", take_turns(ways, 7))


if __name__ == "__main__":
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"diffusers {diffusers.__version__}")  # fmt: skip
    with torch.no_grad():
        measure_steps()
        measure_decode()
