"""Import, load and peak memory beside diffusers, at full size: ``python benchmarks/startup.py``.

Each figure is of a fresh process on Linux; the two sides take turns. A random checkpoint of full size is written first
(4.3 GB, float32, in diffusers' layout), read once so that the disk does not count, and removed at the end. Accelerate
is installed, without which diffusers initialises each network before it loads it. It takes some 6 minutes.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from parity import SCHEDULER, text_encoders, unets, vaes

from minisd.checkpoints import Components, save_folder
from minisd.models.tokenizer import train_tokenizer

IMPORTS = {
    "diffusers": "from diffusers import StableDiffusionPipeline",
    "minisd": "from minisd.pipeline import StableDiffusion",
}
LOADS = {
    "diffusers": "sd = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)",
    "minisd": "sd = StableDiffusion.from_pretrained(folder, device='cpu')",
}
RUNS = {
    "diffusers": "sd.set_progress_bar_config(disable=True)\n"
    "sd('a dog', num_inference_steps=1, height=512, width=512, output_type='np')",
    "minisd": "sd.text_to_image('a dog', steps=1, height=512, width=512, progress=False)",
}
PROBE = """
import json, sys, time
folder = sys.argv[1]
begun = time.perf_counter()
{imports}
imported = time.perf_counter()
{loads}
loaded = time.perf_counter()
{runs}
done = time.perf_counter()
lines = dict(line.split(":") for line in open("/proc/self/status"))
peak = int(lines["VmHWM"].split()[0]) / 2**20
print(json.dumps([imported - begun, loaded - imported, done - imported, peak]))
"""
TEXTS = {
    "diffusers": "sd.encode_prompt('a dog', 'cpu', 1, False)",
    "minisd": "sd.encode_text('a dog')",
}
"""Done at the end of loading as well: mapped weights are read when they are first used."""


def write_checkpoint(folder: Path) -> None:
    """Write random weights at the size of Stable Diffusion 1.x."""
    tokenizer = train_tokenizer(["a photo of a dog"], 600)
    text = text_encoders(tokenizer.end_id)[1]
    scheduler = SCHEDULER | {"_class_name": "PNDMScheduler", "skip_prk_steps": True}
    save_folder(Components(tokenizer, text, unets()[1], vaes()[1], scheduler), folder)


def measure(side: str, runs: str, folder: Path) -> list[float]:
    """Seconds to import, to load, and to load and run, and GB at the peak, of a fresh process."""
    code = PROBE.format(imports=IMPORTS[side], loads=LOADS[side], runs=runs)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(folder)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(result.stdout.splitlines()[-1])


def report(what: str, unit: str, figures: dict[str, list[float]]) -> None:
    """Print a line for each side, as a share of diffusers' median."""
    base = statistics.median(figures["diffusers"])
    for side, values in figures.items():
        median = statistics.median(values)
        print(f"{what:34}{side:12}{median:7.2f} {unit}  {median / base:5.2f}x  "
              f"({min(values):.2f} to {max(values):.2f})", flush=True)  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "checkpoint"
        write_checkpoint(folder)
        for file in folder.rglob("*.safetensors"):
            file.read_bytes()
        loads = {side: [] for side in IMPORTS}
        for _ in range(5):
            for side in IMPORTS:
                loads[side].append(measure(side, TEXTS[side], folder))
        runs = {side: [] for side in IMPORTS}
        for _ in range(3):
            for side in IMPORTS:
                runs[side].append(measure(side, RUNS[side], folder))
    for what, i in (("import", 0), ("load", 1), ("load and encode a text", 2)):
        report(what, "s ", {side: [row[i] for row in rows] for side, rows in loads.items()})
    report(
        "peak, one step and decode, 512x512", "GB", {s: [r[3] for r in v] for s, v in runs.items()}
    )
