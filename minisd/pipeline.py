"""Stable Diffusion as a whole: text to image, image to image, inpainting (Rombach et al. 2022, arXiv 2112.10752).

B batch, H W height and width of the picture, h w of the latent (an eighth), M tokens, D width of the text embedding.
Latents are float32, and scaled to a variance of about 1, whatever the dtype of the networks.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from minisd.checkpoints import check_finite, load_components
from minisd.checkpoints.scheduler import SchedulerSettings
from minisd.diffusion import Denoiser, ImageNoise, Step
from minisd.guidance import classifier_free
from minisd.images import Picture, check_size, to_pil
from minisd.models.clip import CLIPTextEncoder
from minisd.models.tiling import tiled_decode, tiled_encode
from minisd.models.tokenizer import Tokenizer
from minisd.models.unet import UNet
from minisd.models.vae import AutoencoderKL
from minisd.settings import Prompt, Settings, check_device, check_dtype, check_prompt, steps_walked
from minisd.start import Start


class StableDiffusion:
    """A text encoder, a U-Net and an autoencoder that work together.

    Parameters
    ----------
    tokenizer : Tokenizer
    text_encoder : CLIPTextEncoder
    unet : UNet
        With as many input channels as a latent has, or, for inpainting, twice as many and one.
    vae : AutoencoderKL
    scheduler : mapping
        What the checkpoint's ``scheduler_config.json`` says.

    Attributes
    ----------
    scheduler : SchedulerSettings
        The noise schedule and the sampler that the checkpoint ships with.

    Raises
    ------
    ValueError
        If the parts do not fit together, or the scheduler's settings are not of Stable Diffusion 1.x.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        text_encoder: CLIPTextEncoder,
        unet: UNet,
        vae: AutoencoderKL,
        scheduler: Mapping[str, Any],
    ) -> None:
        latent, channels = vae.config.latent_channels, unet.config.in_channels
        if channels not in (latent, 2 * latent + 1):
            raise ValueError(
                f"unet has {channels} input channels; to latents of {latent} channels it must have "
                f"{latent}, or {2 * latent + 1} for inpainting"
            )
        text, wanted = text_encoder.config.hidden_size, unet.config.cross_attention_dim
        if text != wanted:
            raise ValueError(f"text_encoder gives text of width {text}; unet takes {wanted}")
        self.tokenizer, self.text_encoder = tokenizer, text_encoder.eval()
        self.unet, self.vae = unet.eval(), vae.eval()
        self.scheduler = SchedulerSettings.from_json(scheduler)
        self._tiled, self._checked = False, set()

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str = torch.float32,
        **loading: Any,
    ) -> StableDiffusion:
        """Load a checkpoint.

        Parameters
        ----------
        source : path or str
            A folder or a single file, or a name on the hub, such as "CompVis/stable-diffusion-v1-4".
        device : {"cpu", "cuda", "mps"}, optional
            The fastest that is there, unless given.
        dtype : torch.dtype or {"float32", "float16", "bfloat16"}
            Of the networks.
        **loading
            Passed on to `load_components`: ``variant``, ``ema``, ``tokenizer``, ``config``, ``revision``.

        Raises
        ------
        ValueError
            Before anything is loaded for a device that is not there or another dtype; then as `load_components`.
        """
        device, dtype = check_device(device), check_dtype(dtype)
        parts = load_components(source, device=device, dtype=dtype, **loading)
        return cls(parts.tokenizer, parts.text_encoder, parts.unet, parts.vae, parts.scheduler)

    @property
    def device(self) -> torch.device:
        """Where the U-Net is."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the U-Net."""
        return next(self.unet.parameters()).dtype

    # ---- the pieces: gradients run through them ---------------------------------------------------

    def encode_text(self, prompt: Prompt) -> Tensor:
        """Embed texts; embeddings are passed through.

        Parameters
        ----------
        prompt : str, sequence of str, or Tensor [B, M, D]

        Returns
        -------
        Tensor, shape [B, M, D], in the dtype and on the device of the U-Net

        Raises
        ------
        ValueError
            If it is none of these, or empty.
        """
        prompt = check_prompt("prompt", prompt, self.unet.config.cross_attention_dim)
        if isinstance(prompt, Tensor):
            return prompt.to(self.device, self.dtype)
        return self.text_encoder(self.tokenizer(prompt).to(self.device)).last_hidden_state

    def encode_image(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Map pictures [B, 3, H, W] in [-1, 1] to scaled latents [B, 4, h, w].

        They are the mean of the autoencoder's distribution, or with ``noise`` [B, 4, h, w] a sample of it.
        """
        mean, std = self._moments(x).unbind(1)
        return mean if noise is None else mean + std * noise.to(mean)

    def decode(self, z: Tensor) -> Tensor:
        """Map scaled latents [B, 4, h, w] to pictures [B, 3, H, W], float32, in about [-1, 1].

        Where float16 overflows, float32 decodes again.
        """
        z = z / self.vae.config.scaling_factor
        x = self._decode(self.vae, z.to(_dtype(self.vae))).float()
        if _dtype(self.vae) == torch.float16 and not x.isfinite().all():
            x = self._decode(copy.deepcopy(self.vae).float(), z.float())
        return x

    def denoiser(
        self,
        conditional: Tensor,
        unconditional: Tensor | None = None,
        guidance_scale: float = 1.0,
        beside: Tensor | None = None,
    ) -> Denoiser:
        """Bind the U-Net to a text: (x_t [B, 4, h, w], t [B]) to the predicted noise.

        Parameters
        ----------
        conditional, unconditional : Tensor, shape [B, M, D]
            Of the text, and of the empty or negative one, which is needed unless the scale is 1.
        guidance_scale : float
            1 is no guidance.
        beside : Tensor, shape [B, 5, h, w], optional
            What a U-Net for inpainting sees beside x_t: mask, then latent of the masked picture.
        """

        def network(x_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
            x = x_t
            if beside is not None:
                x = torch.cat([x, beside.repeat(len(x) // len(beside), 1, 1, 1)], dim=1)
            return self.unet(x.to(self.dtype), t, context).to(x_t.dtype)

        if unconditional is None:
            if guidance_scale != 1:
                raise ValueError(
                    f"unconditional is None; guidance_scale {guidance_scale} needs one"
                )
            unconditional = conditional
        guided = classifier_free(network, conditional, unconditional, guidance_scale)
        return self.scheduler.schedule.as_denoiser(guided, self.scheduler.kind)

    def reduce_memory(self) -> None:
        """Let attention take 1024 queries at a time, and the autoencoder one tile of a large picture.

        The first changes nothing but the time; tiles change the picture a little, see `minisd.models.tiling`.
        """
        for module in (*self.unet.modules(), *self.vae.modules()):
            if hasattr(module, "query_chunk"):
                module.query_chunk = 1024
        self._tiled = True

    # ---- the three tasks --------------------------------------------------------------------------

    @torch.no_grad()
    def text_to_image(
        self,
        prompt: Prompt,
        *,
        height: int | None = None,
        width: int | None = None,
        **settings: Any,
    ) -> list[Image.Image] | Tensor:
        """Make pictures from texts.

        Parameters
        ----------
        prompt : str, sequence of str, or Tensor [B, M, D]
            Texts or their embeddings.
        height, width : int, optional
            Multiples of 8; the size that the U-Net was trained on, unless given.
        **settings
            The attributes of `Settings`, and the sampler's own options: ``eta`` of ddim, ``variance`` of ddpm.

        Returns
        -------
        list of PIL images, or Tensor

        Raises
        ------
        ValueError
            Before the networks run, for every argument that is not as it must be, and for weights that are NaN.
        FloatingPointError
            If the U-Net returned NaN or infinity.
        """
        factor = self.vae.config.factor
        side = self.unet.config.sample_size * factor
        height = check_size("height", side if height is None else height, factor)
        width = check_size("width", side if width is None else width, factor)
        return self._generate(prompt, Start((height, width)), settings)

    @torch.no_grad()
    def image_to_image(
        self,
        prompt: Prompt,
        image: Picture | Sequence[Picture],
        *,
        strength: float = 0.7,
        height: int | None = None,
        width: int | None = None,
        **settings: Any,
    ) -> list[Image.Image] | Tensor:
        """Noise pictures up to a time, and walk back from there under texts; returns as `text_to_image`.

        Parameters
        ----------
        prompt, **settings
            As for `text_to_image`.
        image : path, PIL image, ndarray or Tensor, or a sequence of these
            One for all prompts, or one for each. A tensor is [B, 3, H, W] in [-1, 1], or scaled latents [B, 4, h, w].
        strength : float
            Above 0, and 1 at most: the share of the steps that is walked. 1 begins with nothing but noise.
        height, width : int, optional
            Multiples of 8 that the picture is resized to; its own, down to the next multiple, unless given.

        Raises
        ------
        ValueError, FloatingPointError
            As `text_to_image`; also if ``steps`` times ``strength`` is under 1.
        """
        factor, channels = self.vae.config.factor, self.vae.config.latent_channels
        if isinstance(image, Tensor) and image.ndim == 4 and image.shape[1] == channels:
            if not image.isfinite().all() or height is not None or width is not None:
                raise ValueError("image is latents; they must be finite, and cannot be resized")
            h, w = image.shape[2:]
            start = Start((h * factor, w * factor), strength, latents=image.float())
        else:
            start = Start.from_images(image, None, strength, height, width, factor)
        return self._generate(prompt, start, settings)

    @torch.no_grad()
    def inpaint(
        self,
        prompt: Prompt,
        image: Picture | Sequence[Picture],
        mask: Picture | Sequence[Picture],
        *,
        strength: float = 0.7,
        height: int | None = None,
        width: int | None = None,
        **settings: Any,
    ) -> list[Image.Image] | Tensor:
        """Repaint pictures where a mask is white; every other pixel stays as it is. Returns as `text_to_image`.

        A U-Net for inpainting is shown the mask and the masked picture. With any other, what is to be kept is set back
        after each step to the picture with the noise of that time.

        Parameters
        ----------
        prompt, image, strength, height, width, **settings
            As for `image_to_image`; no latents. A picture that is resized comes back resized. Below a strength of 1,
            what was under the mask still shows in colour and shape.
        mask : path, PIL image, ndarray or Tensor, or a sequence of these
            One for all pictures, or one for each, as large as its picture; see `prepare_mask`.

        Raises
        ------
        ValueError, FloatingPointError
            As `image_to_image`; also for a mask of another size, without white, or too thin for the latent.
        """
        factor = self.vae.config.factor
        start = Start.from_images(image, mask, strength, height, width, factor)
        return self._generate(prompt, start, settings)

    # ---- inside -----------------------------------------------------------------------------------

    def _generate(
        self, prompt: Prompt, start: Start, keywords: Mapping[str, Any]
    ) -> list[Image.Image] | Tensor:
        settings, schedule = Settings.read(keywords), self.scheduler.schedule
        latent, D = self.vae.config.latent_channels, self.unet.config.cross_attention_dim
        for_inpainting = self.unet.config.in_channels != latent
        if for_inpainting and start.masks is None:
            raise ValueError("unet is one for inpainting: call inpaint, or take another checkpoint")
        prompt = check_prompt("prompt", prompt, D)
        negative = check_prompt("negative_prompt", settings.negative_prompt, D)
        items, copies = max(len(prompt), len(start)), settings.images_per_prompt
        for name, given in (("prompt", prompt), ("negative_prompt", negative), ("image", start)):
            if len(given) not in (1, items):
                allowed = "1" if items == 1 else f"1 or {items}"
                raise ValueError(f"{name} has length {len(given)}; it must be {allowed}")
        seeds = settings.seeds(items * copies)
        sampler = settings.sampler or self.scheduler.sampler
        times = self.scheduler.times(settings.steps, sampler)
        times = times[-steps_walked(settings.steps, start.strength) :]
        settings.rehearse(sampler, schedule, times)
        self._check_weights(start.images is not None)

        text = null = _spread(self.encode_text(prompt), items, copies)
        if settings.guidance_scale != 1:
            null = _spread(self.encode_text(negative), items, copies)
        if text.shape != null.shape:
            raise ValueError(f"negative_prompt has {null.shape[1]} tokens to {text.shape[1]}")
        if not (text.isfinite().all() and null.isfinite().all()):
            check_finite(text_encoder=self.text_encoder)
        start = start.change(lambda x: x.to(self.device)).encode(self._moments, for_inpainting)
        start = start.change(lambda x: _spread(x, items, copies))

        size = (latent, *(side // self.vae.config.factor for side in start.size))
        sigma = self.scheduler.first_sigma(times, sampler)
        sampling = {"sampler": sampler, "times": times, "final": self.scheduler.final(sampler)}
        made, firsts = [], range(0, len(seeds), settings.batch_size)
        total = len(firsts) * len(times)
        with tqdm(total=total, desc=sampler, delay=2, disable=not settings.progress) as bar:

            def after(step: Step) -> None:
                if settings.callback:
                    settings.callback(step)
                bar.update()

            for first in firsts:
                rows = slice(first, first + settings.batch_size)
                here, noise = start.change(lambda x, rows=rows: x[rows]), ImageNoise(seeds[rows])
                like = torch.empty(len(noise.seeds), *size, device=self.device)
                begun = here.begin(noise, like, schedule, float(times[0]), sigma)
                denoise = self.denoiser(
                    text[rows], null[rows], settings.guidance_scale, begun.beside
                )
                sampling |= {"noise": noise, **settings.options}
                z = begun.walk(denoise, schedule, after, **sampling)
                made.append(z if settings.output == "latent" else here.paste(self.decode(z)))
        if settings.output == "pil":
            return [image for x in made for image in to_pil(x)]
        return torch.cat(made)

    def _check_weights(self, with_encoder: bool) -> None:
        """Look once for NaN in what will run; mapped weights that will not run are not read."""
        parts = {"unet": self.unet, "vae.decoder": self.vae.decoder}
        if with_encoder:
            parts["vae.encoder"] = self.vae.encoder
        check_finite(**{name: part for name, part in parts.items() if name not in self._checked})
        self._checked |= parts.keys()

    def _moments(self, x: Tensor) -> Tensor:
        """Mean and standard deviation of scaled latents, [B, 2, 4, h, w]."""
        x = x.to(self.device, _dtype(self.vae))
        latent = tiled_encode(self.vae, x) if self._tiled else self.vae.encode(x)
        moments = torch.stack([latent.mean, latent.std], dim=1).float()
        return moments * self.vae.config.scaling_factor

    def _decode(self, vae: AutoencoderKL, z: Tensor) -> Tensor:
        return tiled_decode(vae, z) if self._tiled else vae.decode(z)


def _spread(x: Tensor, items: int, copies: int) -> Tensor:
    """One row for all, or one for each of the items, to ``copies`` rows for each that follow each other."""
    return x.expand(items, *x.shape[1:]).repeat_interleave(copies, dim=0)


def _dtype(module: nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype
