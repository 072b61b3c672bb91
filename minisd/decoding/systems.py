"""All systems by name, as the leaderboard runs them.

A recipe says how long and how strongly they draw: the papers' for Stable Diffusion 1.x, and one for the miniature. The
code is the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from minisd.checkpoints import load_clip
from minisd.checkpoints.own import load_own
from minisd.decoding.baselines import (
    Blur,
    TextOnly,
    blurred_truth,
    mean_picture,
    random_pictures,
)
from minisd.decoding.gabor import GaborIdentification
from minisd.decoding.inversion import FeatureInversion, InversionSettings
from minisd.decoding.mind_diffuser import MindDiffuser, MindDiffuserSettings
from minisd.decoding.reconstructor import MANIFEST, Reconstructor
from minisd.decoding.responses import Responses
from minisd.decoding.retrieval import Retrieval
from minisd.decoding.takagi import TakagiNishimoto, TakagiSettings
from minisd.decoding.targets import Seen, picture_size
from minisd.decoding.unclip import UnCLIP, UnCLIPSettings
from minisd.decoding.view import ViewSettings
from minisd.models.contrastive import CLIP
from minisd.models.image_condition import ImageCondition
from minisd.models.optimize import optimize_for_inference
from minisd.pipeline import StableDiffusion
from minisd.training.lora import load_lora


@dataclass(frozen=True)
class Recipe:
    """How pictures are drawn.

    Attributes
    ----------
    mind_diffuser : MindDiffuserSettings
        The other systems take steps, guidance, contrast, ridge, layers and batch size from it.
    takagi_strength : float
    inversions : int
        Iterations of `FeatureInversion`.
    """

    mind_diffuser: MindDiffuserSettings = field(default_factory=MindDiffuserSettings)
    takagi_strength: float = 0.8
    inversions: int = 200


RECIPES = {
    "paper": Recipe(MindDiffuserSettings(batch_size=1)),
    "quick": Recipe(
        MindDiffuserSettings(steps=4, iterations=2, inner_steps=4, carried=1, batch_size=1),
        inversions=2,
    ),
    "miniature": Recipe(
        MindDiffuserSettings(
            steps=20,
            strength=0.45,
            guidance_scale=2.5,
            tokens=None,
            contrast=1.75,
            view=ViewSettings(layers=(1, 2, 3), weights=(1.5, 1.2, 1.0)),
            candidates=8,
            iterations=12,
            inner_steps=20,
            carried=3,
            batch_size=25,
        ),
        inversions=100,
    ),
}
"""``paper``: Lu et al. 2023, and Takagi and Nishimoto 2023; one picture at a time, so that stage 2 fits on a GPU of 24
GB and each picture stops by itself. ``quick``: the same in few steps, to see whether all runs. ``miniature``: its
latents are small, so the same noise hides more of them, and strength is less. Guidance is less, and the text embedding
bolder instead. Which way to go was first seen on 64 test pictures of subject 1; the values were then taken from its
pictures that are set apart for aligning subjects, as were the candidates. That a rate of .03 is too fast was first seen
on test pictures, too; .01 is the paper's."""


class Models:
    """The networks, each loaded when it is first needed.

    Parameters
    ----------
    sd : path or name
        Of a Stable Diffusion.
    clip : path
        Of a CLIP in a folder of its own.
    unclip : path, optional
        Of what `minisd train unclip` writes.
    device : str, optional
        The fastest there is if None.
    """

    def __init__(
        self,
        sd: str | Path,
        clip: str | Path,
        unclip: str | Path | None = None,
        device: str | None = None,
    ) -> None:
        self._sd, self._clip, self._unclip, self._device = sd, clip, unclip, device

    @cached_property
    def sd(self) -> StableDiffusion:
        """The pipeline, whose U-Net carries gradients."""
        return StableDiffusion.from_pretrained(self._sd, device=self._device)

    @cached_property
    def quick(self) -> StableDiffusion:
        """The pipeline with a U-Net that only draws."""
        return _with_unet(self.sd, optimize_for_inference(self.sd.unet))

    @cached_property
    def unclip(self) -> tuple[StableDiffusion, ImageCondition]:
        """The pipeline with a U-Net that reads embeddings, and what puts them into contexts."""
        if self._unclip is None:
            raise ValueError("unclip is None; the system unclip needs the folder of its decoder")
        sd = StableDiffusion.from_pretrained(self._sd, device=self._device)
        load_lora(sd.unet, self._unclip)
        return _with_unet(sd, optimize_for_inference(sd.unet)), load_own(self._unclip, sd.device)

    @cached_property
    def clip(self) -> CLIP:
        """Both towers."""
        return load_clip(self._clip, device=self.sd.device)


@dataclass(frozen=True, eq=False)
class Task:
    """What a system is given: one subject's data, and networks to work with.

    Attributes
    ----------
    models : Models
    recipe : Recipe
    train, test : Responses
    seen : Seen
        The training pictures.
    truth : Seen
        The test pictures: for upper bounds alone.
    folder : Path
        Where fitted decoders are kept, a folder each.
    seed : int
    """

    models: Models
    recipe: Recipe
    train: Responses
    test: Responses
    seen: Seen
    truth: Seen
    folder: Path
    seed: int = 0

    @property
    def size(self) -> int:
        """Height and width of pictures."""
        return picture_size(self.models.sd)

    def mind_diffuser(self, quick: bool = True, **changes: object) -> MindDiffuser:
        """MindDiffuser by the recipe, with some settings changed; `quick` if no gradients are needed."""
        settings = replace(self.recipe.mind_diffuser, **changes)
        sd = self.models.quick if quick else self.models.sd
        return MindDiffuser(sd, self.models.clip, settings)


@dataclass(frozen=True)
class System:
    """A way to come to pictures.

    Attributes
    ----------
    title : str
    draw : callable
        From a `Task` to pictures [N, 3, H, W] in [-1, 1].
    chance : bool
        Whether another seed gives other pictures.
    oracle : bool
        Whether it has seen the test pictures: then it is no system, but a bound.
    """

    title: str
    draw: Callable[[Task], Tensor]
    chance: bool = True
    oracle: bool = False


def fitted(system: Reconstructor, task: Task, name: str) -> Reconstructor:
    """Load a system's decoders from the task's folder; fit and keep them there first, if there are none yet."""
    folder = task.folder / name
    if not (folder / MANIFEST).is_file():
        whole = task.mind_diffuser(quick=False) if name == "all" else system
        whole.fit(task.train, task.seen).save(folder)
    return system.load(folder)


def _from_all(make: Callable[[Task], Reconstructor]) -> Callable[[Task], Tensor]:
    """Draw by decoders that MindDiffuser has, too: they are fitted once for all."""
    return lambda task: fitted(make(task), task, "all").reconstruct(task.test, task.seed)


def _stage_2(task: Task) -> Tensor:
    return fitted(task.mind_diffuser(quick=False), task, "all").reconstruct(task.test, task.seed)


def _text_only(task: Task) -> Reconstructor:
    s = task.recipe.mind_diffuser
    return TextOnly(task.models.quick, s.steps, s.guidance_scale, s.contrast, s.ridge, s.tokens)


def _unclip(task: Task) -> Reconstructor:
    s = task.recipe.mind_diffuser
    settings = UnCLIPSettings(
        s.steps, s.strength, s.guidance_scale, s.contrast, s.ridge, s.batch_size
    )
    return UnCLIP(*task.models.unclip, task.models.clip, settings)


def _inversion(task: Task) -> Reconstructor:
    s = task.recipe.mind_diffuser
    settings = InversionSettings(s.view, task.recipe.inversions, ridge=s.ridge)
    return FeatureInversion(task.models.clip, task.size, settings)


def _retrieval(task: Task) -> Reconstructor:
    return Retrieval(task.models.clip, task.seen, task.size, task.recipe.mind_diffuser.ridge)


def _gabor(task: Task) -> Tensor:
    system = fitted(GaborIdentification(task.seen, task.size), task, "gabor")
    return system.reconstruct(task.test, task.seed)


def _takagi(task: Task) -> Tensor:
    s = task.recipe.mind_diffuser
    settings = TakagiSettings(
        s.steps, task.recipe.takagi_strength, s.guidance_scale, s.contrast, s.ridge, s.batch_size
    )
    system = fitted(TakagiNishimoto(task.models.quick, settings), task, "takagi")
    return system.reconstruct(task.test, task.seed)


@torch.no_grad()
def _upper_bound(task: Task) -> Tensor:
    system = task.mind_diffuser(iterations=0)
    true = {k: torch.from_numpy(v) for k, v in system.features(task.truth).items()}
    return system.draw(true, task.test.seeds(task.seed))


SYSTEMS: dict[str, System] = {
    "mean_picture": System(
        "mean picture",
        lambda task: mean_picture(task.seen, task.size, len(task.test)),
        chance=False,
    ),
    "random_picture": System(
        "random training picture",
        lambda task: random_pictures(task.seen, task.size, len(task.test), task.seed),
    ),
    "blur": System(
        "blur: z through the VAE",
        _from_all(lambda task: Blur(task.models.quick, task.recipe.mind_diffuser.ridge)),
        chance=False,
    ),
    "text_only": System("text only (stage 1 without z)", _from_all(_text_only)),
    "gabor": System("Kay: nearest by Gabor energy", _gabor, chance=False),
    "retrieval": System("nearest by CLIP", _from_all(_retrieval), chance=False),
    "inversion": System("feature inversion", _from_all(_inversion), chance=False),
    "takagi": System("Takagi and Nishimoto", _takagi),
    "mind_diffuser": System("MindDiffuser", _stage_2),
    "stage_1": System(
        "MindDiffuser without stage 2",
        _from_all(lambda task: task.mind_diffuser(iterations=0)),
    ),
    "without_c": System(
        "stage 1 without c", _from_all(lambda task: task.mind_diffuser(iterations=0, without="c"))
    ),
    "unclip": System("CLIP embedding and unCLIP", _from_all(_unclip)),
    "upper_bound": System("true features, stage 1", _upper_bound, oracle=True),
    "blurred_truth": System(
        "the picture itself, blurred",
        lambda task: blurred_truth(task.truth, task.size),
        chance=False,
        oracle=True,
    ),
}
"""In the order of the tables."""


def _with_unet(sd: StableDiffusion, unet: torch.nn.Module) -> StableDiffusion:
    """The same pipeline with another U-Net; the rest is shared."""
    found = copy.copy(sd)
    found.unet = unet
    return found
