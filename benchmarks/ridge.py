"""A whole decode by `fit_ridge` beside himalaya called directly: ``python benchmarks/ridge.py FOLDER``.

MindDiffuser's size, subject 1 of NSD in 37 sessions: 8,859 pictures, 15,724 voxels, a text embedding of 15 x 768 =
11,520 targets, 10 penalties, 5 folds, float32; and 982 pictures to predict. The data are made up in the folder (1 GB)
and kept there for the next time. A side reads them, fits and predicts in a fresh process, its imports done before the
clock starts; the sides take turns. All must choose the same penalties and predict the same before a figure is told.
himalaya is run as it comes and in minisd's batches of targets; its faster way counts. Some 10 minutes a side and round
on 2 cores. ``--scale 0.1`` is a tenth in pictures, voxels and targets.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

PICTURES, VOXELS, TARGETS, TESTS = 8_859, 15_724, 11_520, 982
ALPHAS = tuple(float(alpha) for alpha in np.logspace(1, 6, 10))
SLOWEST, LIMIT = 1.1, 8.0
"""What is asked of minisd: as a multiple of himalaya's time, and GB at the peak."""
CHUNK = 512


# the made-up data


def write_data(folder: Path, scale: float) -> None:
    """Write responses and targets, of which each follows from 50 voxels and noise; some chunk by chunk."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    P, V, T, N = (max(60, round(scale * n)) for n in (PICTURES, VOXELS, TARGETS, TESTS))
    weights = rng.standard_normal((50, T), np.float32)
    noise = 10 ** rng.uniform(-1, 1, T).astype(np.float32)  # some follow closely, some less so
    for name, rows in (("train", P), ("test", N)):
        x, y = (
            np.lib.format.open_memmap(folder / f"{name}_{k}.npy", "w+", np.float32, (rows, columns))
            for k, columns in (("x", V), ("y", T))
        )
        for start in range(0, rows, CHUNK):
            some = slice(start, min(start + CHUNK, rows))
            x[some] = rng.standard_normal((some.stop - start, V), np.float32)
            y[some] = x[some, :50] @ weights
            y[some] += noise * rng.standard_normal((some.stop - start, T), np.float32)
    # last: when it is there, all is
    (folder / "scale.json").write_text(json.dumps(scale))


# the sides: what a fresh process does


def by_minisd(folder: Path, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Give the penalties [T] and the predictions [N, T]."""
    from minisd.decoding.ridge import RidgeSettings, fit_ridge

    x, y, test = read(folder)
    ridge = fit_ridge(x, y, RidgeSettings(alphas=ALPHAS, device=device), progress=False)
    return ridge.alpha.numpy(), ridge.predict(test, rescale=False).numpy()


def by_himalaya(
    folder: Path, device: str, batch: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Give the penalties [T] and the predictions [N, T]; minisd's folds."""
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidgeCV

    from minisd.decoding.checks import make_folds

    set_backend("torch_cuda" if device.startswith("cuda") else "torch")
    x, y, test = read(folder)
    model = KernelRidgeCV(
        alphas=ALPHAS,
        cv=make_folds(len(x), 5, None, 0),
        fit_intercept=True,
        solver_params={"n_targets_batch": batch},
        warn=False,
    )
    model.fit(np.array(x), np.array(y))
    return model.best_alphas_.cpu().numpy(), model.predict(np.array(test)).cpu().numpy()


SIDES = {
    "minisd": by_minisd,
    "himalaya": by_himalaya,
    "himalaya, batches": lambda folder, device: by_himalaya(folder, device, 512),
}


def read(folder: Path) -> list[np.ndarray]:
    """Map what is there into memory."""
    return [np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("train_x", "train_y", "test_x")]


def decode(folder: Path, side: str, device: str) -> list[float]:
    """Decode in this process: seconds, and GB at the peak, of memory and of the GPU's."""
    import torch

    for name in ("himalaya.kernel_ridge", "minisd.decoding.ridge"):
        importlib.import_module(name)
    if device.startswith("cuda"):
        torch.zeros(1, device=device)
    start = time.perf_counter()
    alphas, predicted = SIDES[side](folder, device)
    seconds = time.perf_counter() - start
    np.savez(folder / f"{side}.npz", alphas=alphas, predicted=predicted)
    on_gpu = torch.cuda.max_memory_allocated() / 1e9 if device.startswith("cuda") else 0.0
    return [seconds, gigabytes(), on_gpu]


def gigabytes() -> float:
    """Give the most memory that this process had."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024 / 1e9


# the measurements


def measure(folder: Path, side: str, device: str) -> list[float]:
    """What `decode` gives in a fresh process."""
    command = [sys.executable, __file__, str(folder), "--device", device, "--side", side]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    return json.loads(result.stdout.splitlines()[-1])


def compare(folder: Path) -> None:
    """See that all sides give the same: the penalties of all targets but a few that hang in the balance."""
    ours = np.load(folder / "minisd.npz")
    for side in SIDES:
        other = np.load(folder / f"{side}.npz")
        same = np.isclose(ours["alphas"], other["alphas"], rtol=1e-3)
        assert same.mean() > 0.999, f"{side} chooses other penalties"
        a, b = (one["predicted"][:, same] for one in (ours, other))
        # both sum in float32, in another order; where the penalty is least, rounding shows most
        apart = np.abs(a - b) / b.std()
        assert apart.max() < 1e-2, f"{side} predicts something else"
        assert np.sqrt(np.square(apart).mean()) < 2e-4, f"{side} predicts something else"


def spread(values: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main(folder: Path, device: str, scale: float, rounds: int) -> None:
    """Measure all sides in turn, and print a table."""
    done = folder / "scale.json"
    if not done.is_file() or json.loads(done.read_text()) != scale:
        write_data(folder, scale)
    x, y, test = (one.shape for one in read(folder))
    print(f"{x[0]} pictures x {x[1]} voxels x {y[1]} targets, {test[0]} predicted, on {device}")
    found = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            found[side].append(measure(folder, side, device))
            print(f"{side}: {found[side][-1][0]:.1f} s", flush=True)
        compare(folder)
    seconds = {side: statistics.median(row[0] for row in rows) for side, rows in found.items()}
    fastest = min(time for side, time in seconds.items() if side != "minisd")
    for side, rows in found.items():
        times, memory, gpu = zip(*rows, strict=True)
        more = f", {max(gpu):.1f} GB on the GPU" if any(gpu) else ""
        print(
            f"{side:18} {spread(times)} s  {seconds[side] / fastest:5.2f}x  {max(memory):.2f} GB{more}"
        )
    print(f"asked of minisd    {SLOWEST}x and {LIMIT} GB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the made-up data are kept")
    parser.add_argument("--device", default="cpu", help='"cpu" or "cuda"')
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(decode(asked.folder, asked.side, asked.device)))
        sys.exit()
    names = ("numpy", "torch", "himalaya")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}")
    main(asked.folder, asked.device, asked.scale, asked.rounds)
