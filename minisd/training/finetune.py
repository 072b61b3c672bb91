"""Fine-tuning: a Stable Diffusion is trained on, on pictures of your own, with its weights as the first ones.

Its whole U-Net is, or low-rank changes beside frozen weights (see `minisd.training.lora`). What a network knew, it
forgets when it is trained on other things alone. So, as in DreamBooth (Ruiz et al. 2023, arXiv 2208.12242, section
3.2), the model can draw pictures of what is to be kept before it begins, and is trained on these beside the new ones.
M tokens, D width of the text embedding.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from minisd.checkpoints import check_finite, load_components
from minisd.checkpoints.loading import Components
from minisd.checkpoints.saving import write_parts
from minisd.images import check_size, save_png
from minisd.pipeline import StableDiffusion
from minisd.training.cache import at_once, digest, encode
from minisd.training.diffusion import SHOWN, DiffusionLoss, DiffusionTask
from minisd.training.folder import PictureFolder
from minisd.training.loop import RunSettings, check_run, processes, train
from minisd.training.lora import FILE, add_lora, lora_layers, save_lora

METHODS = ("lora", "full")
LEARNING_RATES = {"lora": 1e-4, "full": 1e-5}
"""Where to begin with Stable Diffusion 1.x: those of the example commands that come with diffusers."""


@dataclass(frozen=True)
class FinetuneSettings:
    """How a model is fine-tuned.

    Attributes
    ----------
    method : {"lora", "full"}
        Low-rank changes beside the U-Net's weights, or the weights themselves.
    rank : int
        Of the changes; see `LowRank`.
    size : int, optional
        Height and width of the pictures, a multiple of 8; those that the U-Net was trained on, unless given.
    p_uncond, gamma
        See `DiffusionLoss`.
    on_error : {"raise", "skip"}
        What to do about pictures that cannot be used; see `PictureFolder`.

    Raises
    ------
    ValueError
        If one is out of range.
    """

    method: str = "lora"
    rank: int = 8
    size: int | None = None
    p_uncond: float = 0.1
    gamma: float = math.inf
    on_error: str = "raise"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}; it must be one of {METHODS}")
        if self.rank < 1:
            raise ValueError(f"rank is {self.rank}; it must be 1 or more")
        if self.size is not None:
            check_size("size", self.size)
        self.loss  # noqa: B018, has checks of its own

    @property
    def loss(self) -> DiffusionLoss:
        """What the U-Net is asked."""
        return DiffusionLoss(self.p_uncond, self.gamma)


class FinetuneTask(DiffusionTask):
    """Train a U-Net that is there already: its low-rank weights if it has such, else all of it.

    Parameters
    ----------
    parts : Components
        Whose U-Net, text encoder and autoencoder ``sd`` has.
    sd, data, loss, prompts, size
        As for `DiffusionTask`.
    """

    def __init__(
        self,
        parts: Components,
        sd: StableDiffusion,
        data: Dataset,
        loss: DiffusionLoss,
        prompts: list[str],
        size: int,
    ) -> None:
        super().__init__(sd, data, loss, prompts, size)
        self.parts = parts

    def export(self, network: nn.Module, output: Path) -> None:
        """Write the low-rank weights, or a whole checkpoint; in 32 bits."""
        if lora_layers(network):
            save_lora(network, output / FILE)
        else:
            write_parts(replace(self.parts, unet=network), output)


class Captioned(Sequence):
    """A folder of pictures as `encode` takes them."""

    def __init__(self, pictures: PictureFolder) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, item: int) -> tuple[Tensor, Sequence[str]]:
        picture, caption = self.pictures[item]
        return picture, [caption]


class InTurn(Dataset):
    """An item of each of several data sets in turn; smaller ones begin anew, so that all have as many."""

    def __init__(self, *parts: Dataset) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts) * max(map(len, self.parts))

    def __getitem__(self, item: int) -> Any:
        place, which = divmod(item, len(self.parts))
        return self.parts[which][place % len(self.parts[which])]


def finetune(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    settings: FinetuneSettings,
    run: RunSettings,
    keep: str | Path | None = None,
) -> Path:
    """Train a Stable Diffusion on, from the last checkpoint on if there is one.

    Parameters
    ----------
    model : path or str
        As for `load_components`. It stays as it is.
    data : path
        See `PictureFolder`.
    output : path
        A new folder: for `FILE`, or, with the method "full", for a whole checkpoint. ``training/finetune`` in it holds
        what the run stands on, its log and its samples.
    settings : FinetuneSettings
    run : RunSettings
    keep : path, optional
        A text file of prompts, one a line. The model draws a picture of each, and a row of a batch is one of these as
        often as one of the new ones.

    Returns
    -------
    Path
        What `load_lora`, or `StableDiffusion.from_pretrained`, takes.

    Raises
    ------
    ValueError
        Before anything is written: if the output is the model, or holds what no fine-tuning left; if the pictures, the
        prompts or the model cannot be used; if a checkpoint there is of another run. Then as `train`.
    """
    output = Path(output)
    folder = output / "training" / "finetune"
    _check_output(output, Path(model).expanduser(), folder)
    prompts = read_prompts(Path(keep)) if keep is not None else []
    new = PictureFolder(data, settings.size or 8, settings.on_error)
    parts = load_components(model, device=processes().device)
    sd = StableDiffusion(**vars(parts))
    if sd.unet.config.in_channels != sd.vae.config.latent_channels:
        raise ValueError(f"{model} is one for inpainting; take one that goes from text to image")
    networks = {"unet": sd.unet, "vae": sd.vae, "text_encoder": sd.text_encoder}
    check_finite(**networks)
    # pictures are checked before a model is fetched from the hub, which may take long; only now is their size known
    factor = sd.vae.config.factor
    new.size = check_size("size", settings.size or sd.unet.config.sample_size * factor, factor)

    told = {name: value for name, value in asdict(settings).items() if name != "on_error"}
    told |= {"size": new.size, "data": new.digest()[:12], "model": digest(*networks.values())[:12]}
    told["keep"] = hashlib.sha256(json.dumps(prompts).encode()).hexdigest()[:12] if prompts else ""
    check_run(run, folder, told)

    encoded = encode(Captioned(new), sd, folder / "new", {k: told[k] for k in ("data", "size")})
    if prompts:
        of = {k: told[k] for k in ("model", "keep", "size")} | {"seed": run.seed}
        kept = draw_kept(sd, prompts, new.size, folder / "kept", of)
        encoded = InTurn(encoded, encode(Captioned(kept), sd, folder / "kept", of))
    if settings.method == "lora":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            add_lora(sd.unet, settings.rank)
    captions = list(dict.fromkeys(entry.caption for entry in new.entries))
    shown = [captions[i % len(captions)] for i in range(4)]
    train(
        FinetuneTask(parts, sd, encoded, settings.loss, shown, new.size), run, folder, output, told
    )
    return output / FILE if settings.method == "lora" else output


def read_prompts(path: Path) -> list[str]:
    """Read prompts from a text file, one a line; empty lines are left out.

    Raises
    ------
    ValueError
        If it is no such file, or has none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"keep is {path}, which cannot be read: {error}") from None
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"keep is {path}, which has no prompt")
    return prompts


def draw_kept(
    sd: StableDiffusion, prompts: list[str], size: int, folder: Path, identity: dict[str, Any]
) -> PictureFolder:
    """Let a model draw a picture of each prompt, unless it was done before; several processes share the work.

    Parameters
    ----------
    sd : StableDiffusion
    prompts : list of str
    size : int
        Height and width of the pictures.
    folder : path
        For ``pictures/``.
    identity : dict
        What the pictures are made of; its ``"seed"`` is that of the first. Pictures of another identity are deleted.

    Returns
    -------
    PictureFolder
    """
    state = processes()
    pictures, done = folder / "pictures", folder / "pictures" / "identity.json"
    files = [f"{i:06}.png" for i in range(len(prompts))]
    with state.main_process_first():
        if not done.exists() or done.read_text(encoding="utf-8") != json.dumps(identity):
            shutil.rmtree(pictures, ignore_errors=True)
            pictures.mkdir(parents=True)
            rows = ({"file_name": f, "text": t} for f, t in zip(files, prompts, strict=True))
            table = "".join(json.dumps(row) + "\n" for row in rows)
            (pictures / "metadata.jsonl").write_text(table, encoding="utf-8")
            done.write_text(json.dumps(identity), encoding="utf-8")
    # what is drawn together is drawn anew together, so that the pictures do not depend on a stop
    count = at_once(size)
    groups = [slice(start, start + count) for start in range(0, len(prompts), count)]
    mine = groups[state.process_index :: state.num_processes]
    for group in tqdm(mine, desc="pictures to keep", delay=2, disable=not state.is_main_process):
        paths = [pictures / file for file in files[group]]
        if all(path.exists() for path in paths):
            continue
        asked = {"height": size, "width": size, **SHOWN}
        seeds = [identity["seed"] + i for i in range(len(prompts))[group]]
        images = sd.text_to_image(
            prompts[group], seed=seeds, batch_size=count, progress=False, **asked
        )
        for image, path, prompt, seed in zip(images, paths, prompts[group], seeds, strict=True):
            save_png(image, path, {"prompt": prompt, "seed": seed, **asked})
    state.wait_for_everyone()
    return PictureFolder(pictures, size)


def _check_output(output: Path, model: Path, folder: Path) -> None:
    """Refuse to write over anything but what an earlier call with this output left."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"output is {output}, which is no folder")
    if output.exists() and model.exists() and output.samefile(model):
        raise ValueError(f"output is {output}, the model itself; give a new folder")
    if output.exists() and not folder.exists() and any(output.iterdir()):
        raise ValueError(f"output is {output}, which holds something else; give a new folder")
