"""The leaderboard at full size, from the command line: ``python benchmarks/full_size.py``.

Stable Diffusion 1.x and CLIP ViT-B/32 with random weights, and a simulated subject of two sessions in a brain as
large as that of the Natural Scenes Dataset's first, are written to a temporary folder. Then ``minisd leaderboard``
itself runs the recipe "quick" on two test pictures, a system at a time: the pictures say nothing, the shapes are the
real ones. Each part is a process of its own, on Linux. Then what stage 2 keeps for its gradient is counted, by
running it. It takes some 8 GB of disk and 13 GB of memory, and the count at its end 22 GB. ``--small`` is a rehearsal
of a minute, with a small subject and the miniature.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

SAMPLES = Path(__file__).parents[1] / "data_samples"
CHAPTERS = Path(__file__).parents[1] / "book" / "decoding"
SHAPE, SMALL_SHAPE, VOXELS = (81, 104, 83), (22, 24, 20), 15_724
SYSTEMS = ("blur", "takagi", "stage_1", "mind_diffuser")
VIT_B_32 = (
    {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8},
    {
        "patch_size": 32,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    },
)
"""Text tower and image tower; what is not told is as in ViT-L/14."""


# what each part's process does; it prints what is to be told


def write_subject(folder: Path, small: bool) -> str:
    """Simulate two whole sessions of few pictures, each seen 75 times: what takes long is to encode pictures."""
    import nibabel

    from minisd.nsd.simulate import SimulationSettings, SubjectSettings, simulate
    from minisd.nsd.simulate.write import write_map

    subject = SubjectSettings(1, SMALL_SHAPE if small else SHAPE, 2)
    settings = SimulationSettings(subjects=(subject,), own=16, shared=4, repeats=75, sessions=2)
    root = simulate(folder / "nsd", settings, progress=False)
    if not small:
        # the simulated cortex is simpler than a real one, and thicker: of its region, as many voxels as NSD's has
        path = root.roi(1, "nsdgeneral")
        image = nibabel.load(path)
        region = np.asarray(image.dataobj)
        places = np.flatnonzero(region > 0)
        kept = places[np.linspace(0, len(places) - 1, VOXELS).astype(int)]
        region = np.where(np.isin(np.arange(region.size), kept).reshape(region.shape), 1, 0)
        write_map(path, region.astype(np.int16), image.affine)
    return f"volume {'x'.join(map(str, subject.shape))}, {2 * sum(settings.trials):,} trials"


def write_networks(folder: Path, small: bool) -> str:
    """Write both folders, float16 on the disk; networks are made one after the other, so that few are in memory."""
    if small:
        shutil.copytree(SAMPLES / "miniature", folder / "sd")
        shutil.copytree(SAMPLES / "miniature" / "clip", folder / "clip")
        return "the miniature"
    from parity import randomise

    from minisd.checkpoints.loading import SCHEDULER
    from minisd.checkpoints.saving import save_network, save_rest
    from minisd.checkpoints.whole_clip import save_clip
    from minisd.models.clip import CLIPTextConfig, CLIPTextEncoder, CLIPVisionConfig
    from minisd.models.contrastive import CLIP
    from minisd.models.tokenizer import train_tokenizer
    from minisd.models.unet import UNet
    from minisd.models.vae import AutoencoderKL

    tokenizer = train_tokenizer(["a photo of a dog on a beach"], 600)
    words = CLIPTextConfig(eos_token_id=tokenizer.end_id)
    text, vision = VIT_B_32
    towers = CLIPTextConfig(**text, eos_token_id=tokenizer.end_id), CLIPVisionConfig(**vision)
    makers: dict[str, Callable[[], nn.Module]] = {
        "unet": UNet,
        "vae": AutoencoderKL,
        "text_encoder": lambda: CLIPTextEncoder(words),
        "clip": lambda: CLIP(*towers, 512),
    }
    count = {}
    for name, make in makers.items():
        with torch.device("meta"):
            network = make()
        network = randomise(network.to_empty(device="cpu"))
        count[name] = sum(p.numel() for p in network.parameters())
        if name == "clip":
            network.logit_scale.data.fill_(4.6)
            save_clip(network, folder / "clip", torch.float16)
        else:
            save_network(name, network, folder / "sd", torch.float16)
    save_rest(tokenizer, SCHEDULER, folder / "sd")
    return ", ".join(f"{name} {n / 1e6:.0f} M" for name, n in count.items())


def run_leaderboard(folder: Path, small: bool, systems: str) -> str:
    """Call the command."""
    from minisd.cli import app

    words = ["leaderboard", "--recipe", "quick", "--pictures", "2", "--device", "cpu"]
    for name, value in (("nsd", "nsd"), ("model", "sd"), ("clip", "clip"), ("out", "out")):
        words += [f"--{name}", str(folder / value)]
    if small:
        words[2] = "miniature"
    app([*words, "--systems", systems], standalone_mode=False)
    return describe(folder)


def describe(folder: Path) -> str:
    """Say what of the run is on the disk."""
    (train,) = (folder / "out").rglob("prepared/train.npy")
    P, V = np.load(train, mmap_mode="r").shape
    decoders = sum(file.stat().st_size for file in (folder / "out").rglob("*.safetensors"))
    shapes = {np.load(file)["pictures"].shape for file in (folder / "out").rglob("pictures-*.npz")}
    (shape,) = shapes
    return (
        f"{P} training pictures, {V:,} voxels, decoders {decoders / 1e9:.2f} GB, "
        f"pictures {'x'.join(map(str, shape))}"
    )


# what stage 2 keeps


def kept(run: Callable[[], object], networks: list[nn.Module]) -> int:
    """Count the bytes that autograd keeps for the way back while something runs; weights are not counted."""
    weights = {p.untyped_storage().data_ptr() for n in networks for p in n.parameters()}
    # the tensors are held until the end, so that no place in memory is used, and counted, twice
    found: dict[int, tuple[int, Tensor]] = {}

    def keep(x: Tensor) -> Tensor:
        place = x.untyped_storage()
        if place.data_ptr() not in weights:
            found[place.data_ptr()] = place.nbytes(), x
        return x

    with saved_tensors_hooks(keep, lambda x: x):
        run()
    return sum(size for size, _ in found.values())


def count_stage_2(folder: Path, small: bool) -> str:
    """Run what stage 2 differentiates, for one picture, and count what each part keeps for the way back."""
    from minisd.checkpoints import load_clip
    from minisd.decoding.mind_diffuser import MindDiffuser, MindDiffuserSettings
    from minisd.decoding.targets import layers
    from minisd.models.contrastive import preprocess
    from minisd.pipeline import StableDiffusion

    sd = StableDiffusion.from_pretrained(folder / "sd", device="cpu")
    clip = load_clip(folder / "clip")
    networks = [sd.unet, sd.vae, sd.text_encoder, clip]
    system = MindDiffuser(sd, clip, MindDiffuserSettings())
    side = sd.unet.config.sample_size
    z = torch.randn(1, 4, side, side, requires_grad=True)
    with torch.no_grad():
        c = sd.encode_text(["a dog"])[:, :15]
    c.requires_grad_()
    at, null = torch.tensor([1.0]), torch.zeros_like(c)
    denoise = sd.denoiser(c, null, 5.0)
    x = torch.randn(1, 3, *[side * sd.vae.config.factor] * 2, requires_grad=True)
    numbers = tuple(range(1, 4 if small else 7))
    size, numbers = clip.vision_model.config.image_size, tuple(range(1, 4 if small else 7))
    runs = {
        "U-Net": lambda: denoise(z, at),
        "decoder": lambda: sd.decode(z),
        "CLIP": lambda: layers(clip, preprocess(x, size), numbers),
        "two steps, checkpointed, and the decoder": lambda: system.walk(z, c, [0], 3),
    }
    sizes = {name: kept(run, networks) / 1e9 for name, run in runs.items()}
    if not small:
        write_table("full_size_kept", ("part", "gigabytes"), sizes.items())
    weights = sum(p.numel() for n in networks for p in n.parameters()) * 4 / 1e9
    *_, view, walked = sizes.values()
    told = "; ".join(f"{name} {size:.3f} GB" for name, size in sizes.items())
    return f"one picture, float32: {told}; with weights of {weights:.1f} GB {weights + view + walked:.1f} GB"


def write_table(name: str, head: tuple[str, ...], rows: Iterable[tuple[str, float]]) -> None:
    """Write what the chapter on the full size shows."""
    with (CHAPTERS / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        told = ((what, *(f"{value:.3g}" for value in values)) for what, *values in rows)
        csv.writer(file, lineterminator="\n").writerows([head, *told])


NAMES = {
    "blur": "blur, all decoders fitted",
    "takagi": "Takagi, its decoders fitted",
    "stage_1": "stage 1",
    "mind_diffuser": "both stages",
    ",".join(SYSTEMS): "measured, and the table",
    "stage 2": "what stage 2 keeps, counted",
}
PARTS = {"subject": write_subject, "networks": write_networks, "stage 2": count_stage_2}


def work(folder: Path, part: str, small: bool) -> None:
    """Do a part in this process, and print minutes, the processor's too, GB at the peak, and what there is to tell."""
    start = time.perf_counter()
    told = PARTS[part](folder, small) if part in PARTS else run_leaderboard(folder, small, part)
    minutes = [(time.perf_counter() - start) / 60, time.process_time() / 60]
    # VmHWM is the most this process had; `ru_maxrss` may be of the one that began it
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps([*minutes, int(lines["VmHWM"].split()[0]) * 1024 / 1e9, told]))


def run(folder: Path, small: bool) -> Iterator[tuple]:
    """Do all parts that are not done yet, print a line for each, and give name, minutes, processor's and GB."""
    for part in ("subject", "networks", *SYSTEMS, ",".join(SYSTEMS), "stage 2"):
        command = [sys.executable, "-W", "ignore", __file__, "--folder", folder, "--part", part]
        done = folder / f"{part}.txt"
        if not done.is_file():
            result = subprocess.run(command + ["--small"] * small, capture_output=True, text=True)
            if result.returncode:
                sys.exit(result.stdout + result.stderr)
            done.write_text(result.stdout, encoding="utf-8")
        *shown, last = done.read_text(encoding="utf-8").splitlines()
        if "," in part:
            print("\n".join(shown), flush=True)
        name, (minutes, busy, peak, told) = NAMES.get(part, part), json.loads(last)
        print(
            f"{name:30}{minutes:7.1f} min, {busy:6.1f} of a processor{peak:7.2f} GB  {told}",
            flush=True,
        )
        yield name, minutes, busy, peak


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="rehearse with small sizes")
    parser.add_argument(
        "--folder", type=Path, help="kept, and gone on with; a temporary one if not told"
    )
    parser.add_argument("--part", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        work(asked.folder, asked.part, asked.small)
        sys.exit()
    with nullcontext(asked.folder) if asked.folder else tempfile.TemporaryDirectory() as folder:
        Path(folder).mkdir(exist_ok=True)
        rows = list(run(Path(folder), asked.small))
    if not asked.small:
        write_table("full_size_run", ("part", "minutes", "processor_minutes", "gigabytes"), rows)
