"""Every part at the full size of Stable Diffusion 1.x against its peer: ``python benchmarks/parity.py``.

Random weights, float32, held once: both sides read the same tensors. The table goes into the chapter on the real
weights, `book/stable_diffusion/full_size_parity.csv`. It takes some 6 minutes and 10 GB.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import diffusers
import skimage.data
import torch
import transformers
from PIL import Image
from torch import Tensor, nn

from minisd.images import prepare
from minisd.models.clip import CLIPImageEncoder, CLIPTextConfig, CLIPTextEncoder
from minisd.models.tokenizer import train_tokenizer
from minisd.models.unet import UNet, UNetConfig
from minisd.models.vae import AutoencoderKL
from minisd.pipeline import StableDiffusion

TABLE = Path(__file__).parents[1] / "book" / "stable_diffusion" / "full_size_parity.csv"
TEXT = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
}
VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
}
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "clip_sample": False,
}
LEVELS = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every weight, norm and bias a value of its own, so large that no part's signal dies out."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.normal_(0, p[0].numel() ** -0.5 if p.ndim > 1 else 0.1, generator=generator)
            if "norm" in name and name.endswith("weight"):
                p.add_(1)
    return module.eval().requires_grad_(False)


def share(theirs: nn.Module, make: type[nn.Module], *config: object, prefix: str = "") -> nn.Module:
    """Make our module of the peer's own tensors."""
    with torch.device("meta"):
        ours = make(*config)
    state = {prefix + name: value for name, value in theirs.state_dict().items()}
    ours.load_state_dict(state, assign=True)
    return ours.eval().requires_grad_(False)


def unets(in_channels: int = 4) -> tuple[nn.Module, UNet]:
    """Diffusers' U-Net and ours, with the same random weights."""
    theirs = randomise(
        diffusers.UNet2DConditionModel(
            sample_size=64, in_channels=in_channels, cross_attention_dim=768
        )
    )
    return theirs, share(theirs, UNet, UNetConfig(in_channels=in_channels))


def vaes() -> tuple[nn.Module, AutoencoderKL]:
    """Diffusers' autoencoder and ours."""
    theirs = randomise(diffusers.AutoencoderKL(**LEVELS, sample_size=512))
    return theirs, share(theirs, AutoencoderKL)


def text_encoders(end: int = 49407) -> tuple[nn.Module, CLIPTextEncoder]:
    """Transformers' text encoder and ours, for a vocabulary with this end token."""
    config = transformers.CLIPTextConfig(**TEXT, eos_token_id=end)
    theirs = randomise(transformers.CLIPTextModel(config))
    ours = CLIPTextConfig(eos_token_id=end)
    return theirs, share(theirs, CLIPTextEncoder, ours, prefix="text_model.")


def image_encoders() -> tuple[nn.Module, CLIPImageEncoder]:
    """Transformers' image encoder (ViT-L/14) and ours."""
    theirs = randomise(transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**VISION)))
    prefix = (
        "" if any(n.startswith("vision_model.") for n in theirs.state_dict()) else "vision_model."
    )
    return theirs, share(theirs, CLIPImageEncoder, prefix=prefix)


def draw(*shape: int, seed: int = 1) -> Tensor:
    """Standard normal numbers, the same in every run."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, as a share of the largest number."""
    assert theirs.isfinite().all()
    assert theirs.std() > 1e-3
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@torch.no_grad()
def table() -> Iterator[tuple[str, str, float]]:
    """Yield part, input and relative error."""
    photo = torch.cat(
        [prepare(image, 512, 512) for image in (skimage.data.astronaut(), skimage.data.chelsea())]
    )

    theirs, ours = text_encoders()
    ids = torch.randint(49406, (3, 77), generator=torch.Generator().manual_seed(1))
    ids[:, 0] = 49406
    for row, end in enumerate((5, 40, 76)):
        ids[row, end:] = 49407
    expected, got = theirs(ids), ours(ids)
    yield (
        "text encoder, all 77 states",
        "3 texts",
        error(got.last_hidden_state, expected.last_hidden_state),
    )
    yield "text encoder, pooled", "3 texts", error(got.pooled, expected.pooler_output)

    theirs, ours = image_encoders()
    pixels = draw(2, 3, 224, 224)
    expected, got = theirs(pixels, output_hidden_states=True), ours(pixels, layers="all")
    layers = [error(got.hidden_states[i], h) for i, h in enumerate(expected.hidden_states)]
    yield "image encoder, worst of 25 layers", "2 pictures, 224x224", max(layers)
    yield "image encoder, pooled", "2 pictures, 224x224", error(got.pooled, expected.pooler_output)

    theirs, ours = vaes()
    expected, got = theirs.encode(photo).latent_dist, ours.encode(photo)
    yield "VAE, mean of the latent", "2 photographs, 512x512", error(got.mean, expected.mean)
    yield "VAE, its deviation", "2 photographs, 512x512", error(got.std, expected.std)
    z = draw(1, 4, 64, 64)
    yield "VAE, decoding", "latent 64x64", error(ours.decode(z), theirs.decode(z).sample)

    for channels in (4, 9):
        theirs, ours = unets(channels)
        for size in ((64, 64), (33, 47)):
            x, t = draw(2, channels, *size), torch.tensor([981.0, 1.0])
            context = draw(2, 77, 768, seed=2)
            expected = theirs(x, t, context).sample
            what = f"2 latents {size[0]}x{size[1]}"
            yield f"U-Net, {channels} channels", what, error(ours(x, t, context), expected)

    yield from tasks(*unets(), *vaes())


def tasks(their_unet: nn.Module, unet: UNet, their_vae: nn.Module, vae: AutoencoderKL) -> Iterator:
    """Yield the latents of the three tasks after 10 steps of DDIM at guidance 8, from the same seed."""
    tokenizer = train_tokenizer(["a photo of a dog"], 600)
    their_text, text_encoder = text_encoders(tokenizer.end_id)
    sd = StableDiffusion(tokenizer, text_encoder, unet, vae, SCHEDULER)
    scheduler = diffusers.DDIMScheduler(**SCHEDULER)
    image, mask = (
        Image.fromarray(skimage.data.astronaut()).resize((256, 256)),
        Image.new("L", (256, 256)),
    )
    mask.paste(255, (64, 64, 192, 192))
    text, null = draw(1, 77, 768, seed=2), draw(1, 77, 768, seed=3)
    own = {"steps": 10, "sampler": "ddim", "output": "latent", "negative_prompt": null, "seed": 5}
    common = {
        "num_inference_steps": 10, "guidance_scale": 8.0, "output_type": "latent",
        "prompt_embeds": text, "negative_prompt_embeds": null,
    }  # fmt: skip
    for task, kind, given in (
        ("text to image", diffusers.StableDiffusionPipeline, {"height": 256, "width": 256}),
        ("image to image", diffusers.StableDiffusionImg2ImgPipeline, {"image": image, "strength": 0.7}),
        ("inpainting", diffusers.StableDiffusionInpaintPipeline,
         {"image": image, "mask_image": mask, "height": 256, "width": 256, "strength": 0.7}),
    ):  # fmt: skip
        pipe = kind(
            their_vae,
            their_text,
            None,
            their_unet,
            scheduler,
            None,
            None,
            requires_safety_checker=False,
        )
        pipe.set_progress_bar_config(disable=True)
        expected = pipe(generator=[torch.Generator().manual_seed(5)], **given, **common).images
        ours = {"mask" if k == "mask_image" else k: v for k, v in given.items()}
        got = getattr(sd, task.replace(" ", "_").replace("ing", ""))(text, **ours, **own)
        yield f"{task}, 10 steps", "256x256, seed 5", error(got, expected)


if __name__ == "__main__":
    rows = []
    for part, given, value in table():
        print(f"{part:36}{given:26}{value:10.1e}", flush=True)
        rows.append((part, given, f"{value:.1e}"))
    with TABLE.with_suffix(".tmp").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [("part", "input", "relative_error"), *rows]
        )
    TABLE.with_suffix(".tmp").replace(TABLE)
