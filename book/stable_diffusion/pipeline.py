# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The pipeline
#
# **You will be able to**
#
# - say what goes into each part of Stable Diffusion for each of its three tasks, and what comes out;
# - walk from a text to a picture by hand, piece by piece, and get the picture of `StableDiffusion` to the last bit;
# - say what the guidance scale does, what a negative prompt does, and what both cost;
# - draw the same picture again, in any batch;
# - watch a walk, change it on its way, and run it from the command line.
#
# **Time** 50 minutes to read; the cells run in about 25 seconds.
#
# **Before this** {doc}`vae`, {doc}`clip`, {doc}`unet` and {doc}`../diffusion/samplers`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its fifth chapter of eight, the pipeline."}, "figure": {"caption": "Where you are: the fifth chapter of Part III.", "name": "pipeline-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("pipeline")
plt.show()

# %% [markdown]
# ## What goes in where
#
# Stable Diffusion {cite}`rombach2022high` is three networks and a loop. {numref}`pipeline-inputs` shows who hands what to whom. Four things can come in from outside. Three of them are given for all tasks, and
# the fourth for inpainting alone.

# %% mystnb={"image": {"alt": "A diagram. Input 1, the latent x_t, enters the U-Net from the left. Input 2, the prompt, goes through tokenizer and text encoder and enters as c from above. Input 3, the time t, enters from below. Input 4, mask and picture, is dashed and joins input 1. The U-Net's noise goes to the sampler, whose new x_t goes back to the U-Net in a loop, and at the end through the decoder to the picture."}, "figure": {"caption": "Stable Diffusion with its four inputs. The loop is walked once a step; everything outside of it is done once. Dashed: inpainting alone.", "name": "pipeline-inputs"}} tags=["hide-input"]
from minisd.plots import COLOURS


def box(x, y, width, text, colour="black", dashed=False):
    """A box of this width around (x, y)."""
    style = {"boxstyle": "round,pad=0.02", "fc": "white", "ec": COLOURS[colour]}
    corner = (x - width / 2, y - 0.32)
    line = "--" if dashed else "-"
    axes.add_patch(plt.matplotlib.patches.FancyBboxPatch(
        corner, width, 0.64, lw=1.6, ls=line, **style))  # fmt: skip
    axes.text(x, y, text, ha="center", va="center", fontsize=8)


def arrow(start, end, text="", at=(0, 0), bend=0.0, dashed=False):
    """An arrow with a word beside its middle."""
    shape = f"arc3,rad={bend}"
    look = {"arrowstyle": "-|>", "connectionstyle": shape, "lw": 1.3}
    axes.annotate(
        "", end, start, arrowprops=look | {"ls": "--" if dashed else "-", "color": "black"}
    )
    middle = [(a + b) / 2 + d for a, b, d in zip(start, end, at, strict=True)]
    axes.text(*middle, text, ha="center", va="center", fontsize=9)


figure, axes = plt.subplots(figsize=(6.4, 3.5))
axes.set(xlim=(-0.1, 9.7), ylim=(-0.3, 4.7))
axes.set_axis_off()
box(1, 2.2, 1.8, "1  noise, or\nnoised latent", "vermillion")
box(1, 4.2, 1.8, "2  prompt", "vermillion")
box(1, 0.2, 1.8, "3  time", "vermillion")
box(1, 1.2, 1.8, "4  mask and\npicture", "vermillion", dashed=True)
box(4, 4.2, 2.2, "tokenizer,\ntext encoder", "blue")
box(4, 2.2, 1.6, "U-Net", "blue")
box(6.6, 2.2, 1.4, "sampler")
box(8.8, 2.2, 1.4, "decoder", "blue")
box(8.8, 4.2, 1.4, "picture", "green")
arrow((1.95, 4.2), (2.85, 4.2))
arrow((1.95, 2.2), (3.15, 2.2), "$x_t$", (0, 0.22))
arrow((4, 3.83), (4, 2.57), "$c$", (-0.22, 0))
arrow((1.95, 0.2), (3.7, 1.83), "$t$", (0.25, -0.15))
arrow((1.95, 1.25), (3.15, 1.95), dashed=True)
arrow((4.85, 2.2), (5.85, 2.2), r"$\hat\varepsilon$", (0, 0.22))
arrow((6.6, 1.85), (4.2, 1.85), "$x_t$, once a step", (0.15, -0.98), bend=-0.5)
arrow((7.35, 2.2), (8.05, 2.2), r"$x_0$", (0, 0.22))
arrow((8.8, 2.57), (8.8, 3.83))
plt.show()

# %% [markdown]
# | input | text to image | image to image | inpainting |
# |---|---|---|---|
# | 1, where the walk begins | noise | the picture's latent, with the noise of the first time | the same; noise alone at strength 1 |
# | 2, the prompt | what to draw | what it is to become | what is to stand in the hole |
# | 3, the time $t$ | each time of the walk | the later ones | the later ones |
# | 4, mask and picture | none | none | the mask, and the picture where it is to be kept |
#
# ```{admonition} Slips in the report
# :class: note
# The report's Figure 3 has the same four inputs, and its section 6.2 tells them differently. Input 1 of image to image and inpainting is not "the original image": it is the picture's latent *with noise*.
# Input 3 is not "the sinusoidal embedding" but the time, one number; the sinusoids are made inside the U-Net. See {ref}`the errata <erratum-figure-inputs>`. The arrow of the loop brings no
# fourth input to the U-Net either: it is $x_t$ again ({ref}`errata <erratum-unet-inputs>`).
# ```
#
# This chapter is about the first column. {doc}`image_to_image` and {doc}`inpainting` begin elsewhere, and walk the same loop.
#
# ## The parts
#
# The real weights are four gigabytes. To see how the parts work together you do not need them: a Stable Diffusion a thousand times smaller, with random weights, has the same parts, the same shapes and the same
# settings. Its pictures are noise, since nobody has trained it. Its tokenizer is a real one, trained on the captions of the picture world ({doc}`clip`).

# %%
import numpy as np
import torch

from minisd.models.clip import CLIPTextConfig, CLIPTextEncoder
from minisd.models.tokenizer import train_tokenizer
from minisd.models.unet import UNet, UNetConfig
from minisd.models.vae import AutoencoderKL, VAEConfig
from minisd.scenes import captions, scene_factors

torch.set_num_threads(1)  # in small networks, threads wait for one another
texts = []
for i in range(300):
    texts += captions(scene_factors(i), np.random.default_rng(i))
tokenizer = train_tokenizer(texts, vocab_size=800)
text_encoder = CLIPTextEncoder(CLIPTextConfig(
    vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96,
    num_hidden_layers=2, num_attention_heads=4, eos_token_id=tokenizer.end_id,
))  # fmt: skip
unet = UNet(UNetConfig(
    sample_size=8, block_out_channels=(32, 64), layers_per_block=1,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    attention_head_dim=4, cross_attention_dim=48, norm_num_groups=8,
))  # fmt: skip
vae = AutoencoderKL(VAEConfig(
    sample_size=64, block_out_channels=(16, 16, 32, 32),
    layers_per_block=1, norm_num_groups=8,
))  # fmt: skip


def randomise(module, seed):
    """Draw every weight, norm and bias."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            spread = p[0].numel() ** -0.5 if p.ndim > 1 else 0.2
            p.copy_(torch.randn(p.shape, generator=g) * spread)
            if "norm" in name and name.endswith("weight"):
                p.add_(1)
    return module.eval()


for seed, part in enumerate((text_encoder, unet, vae)):
    count = sum(p.numel() for p in randomise(part, seed).parameters())
    print(f"{type(part).__name__:16}{count:>9,}")

# %% [markdown]
# A fourth part has no weights, and is as needed as the others: the settings of the schedule and the sampler. A checkpoint carries them in `scheduler_config.json`. This is what Stable Diffusion 1.4 and 1.5
# ship, and `StableDiffusion` puts the parts together. It refuses parts that do not fit.

# %%
from minisd.pipeline import StableDiffusion

shipped = {
    "_class_name": "PNDMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
}
sd = StableDiffusion(tokenizer, text_encoder, unet, vae, shipped)
print(sd.scheduler.sampler, sd.scheduler.kind, sd.scheduler.schedule.T)
wide = UNet(UNetConfig(block_out_channels=(32,) * 4, cross_attention_dim=64))
try:
    StableDiffusion(tokenizer, text_encoder, wide, vae, shipped)
except ValueError as error:
    print(error)

# %% [markdown]
# ## From a text to a picture, by hand
#
# Four moves. Each is one cell.
#
# ### The text
#
# Two texts go in: the prompt, and the *empty* one. Why the second is needed comes below. Tokenizer and encoder turn them into $c$ and $\varnothing$, two arrays of 77 rows.

# %%
prompt = "a red dog with sunglasses in a grass field"
with torch.no_grad():
    ids = tokenizer([prompt, ""])  # [2, 77]
    c, null = text_encoder(ids).last_hidden_state.split(1)
print(tuple(ids.shape), tuple(c.shape), tuple(null.shape))
print(tokenizer.decode(ids[0]))

# %% [markdown]
# ### The noise
#
# The walk begins with standard normal noise in the shape of a latent: 4 channels, an eighth as high and wide as the picture. The seed decides it, and it is the only chance in the whole walk if the sampler draws none.
# It is drawn on the CPU in float32, whatever the networks run in: so a seed means the same on every machine.

# %%
height, width, seed = 64, 64, 7
size = (1, 4, height // 8, width // 8)
z_T = torch.randn(size, generator=torch.Generator().manual_seed(seed))
print(tuple(z_T.shape))

# %% [markdown]
# ### The walk
#
# At each time the U-Net is asked twice, with the text and without. **Classifier-free guidance** {cite}`ho2022classifier` goes from the second answer through the first, and on:
#
# $$
# \hat\varepsilon = \varepsilon_\theta(x_t, t, \varnothing) + s \bigl(\varepsilon_\theta(x_t, t, c) - \varepsilon_\theta(x_t, t, \varnothing)\bigr) .
# $$ (pipeline-guidance)
#
# The number $s$ is the *guidance scale*. Both questions go through the U-Net in one call, as a batch of two. Then DDIM takes its step ({doc}`../diffusion/samplers`): guess the clean latent, and go to the next time with the same noise.
#
# $$
# \hat x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\; \hat\varepsilon}{\sqrt{\bar\alpha_t}},
# \qquad
# x_{t'} = \sqrt{\bar\alpha_{t'}}\; \hat x_0 + \sqrt{1 - \bar\alpha_{t'}}\; \hat\varepsilon .
# $$ (pipeline-step)

# %%
from itertools import pairwise

schedule = sd.scheduler.schedule
scale, steps = 8.0, 10
times = schedule.times(steps, "leading", offset=1).tolist()
z, both = z_T, torch.cat([null, c])
with torch.no_grad():
    for t, t_next in pairwise([*times, 0]):
        e_null, e_c = unet(torch.cat([z, z]), torch.full((2,), t), both).chunk(2)
        eps = e_null + scale * (e_c - e_null)
        a, a_next = schedule.alpha_bar_at(t), schedule.alpha_bar_at(t_next)
        x_0 = (z - (1 - a).sqrt() * eps) / a.sqrt()
        z = a_next.sqrt() * x_0 + (1 - a_next).sqrt() * eps
print([int(t) for t in times], tuple(z.shape))

# %% [markdown]
# Two oddities of the shipped settings are in this cell. The walk begins at 901 and not at 999. And it ends at index 0, one noise step short of clean (`set_alpha_to_one: false`): the noise that is left is 3 % of the latent's spread, and nobody sees it.
#
# ### The picture
#
# The U-Net was trained on latents that were multiplied by a factor $f = 0.18215$, to give them a spread of about 1 ({doc}`vae`). The decoder $D$ wants them as they were:
#
# $$
# x = D(z / f) .
# $$ (pipeline-decode)

# %%
with torch.no_grad():
    x = vae.decode(z / vae.config.scaling_factor).clamp(-1, 1)
made = sd.text_to_image(
    prompt, steps=10, guidance_scale=8.0, seed=7, sampler="ddim",
    output="tensor", progress=False,
)  # fmt: skip
print(tuple(x.shape), f"same as minisd: {torch.allclose(x, made, atol=1e-4)}")

# %% [markdown]
# That is all there is. `text_to_image` does these moves, in this order, and beside them looks at what it is given before anything runs. `sd.encode_text`, `sd.denoiser`, `sd.encode_image` and `sd.decode` are the pieces
# of the pipeline for loops of your own; gradients run through them.

# %%
from minisd.diffusion import sample

with torch.no_grad():
    denoise = sd.denoiser(sd.encode_text(prompt), sd.encode_text(""), scale)
    own = sd.decode(sample(denoise, z_T, schedule, times=times, final=0.0))
print(f"same from the pieces: {torch.allclose(own.clamp(-1, 1), made, atol=1e-4)}")

# %% [markdown]
# ### The report's settings
#
# The report draws with 50 steps and a guidance scale of 8, and so does `minisd` where you tell it nothing else. Here is its own prompt (its Figure 4). The weights are random, so what you see is noise of the right shape: four seeds, four pictures of nothing.

# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 70})

# %% mystnb={"image": {"alt": "Four pictures of 64 by 64 pixels that show coloured texture and no object."}, "figure": {"caption": "The report's prompt and settings on random weights, for seeds 0 to 3: noise, shaped like pictures.", "name": "pipeline-random"}}
from minisd.plots import image_grid

report_prompt = (
    "A dog with sun glasses in a grass field, highly detailed, "
    "ultra sharp, cinematic, 100mm lens, 8k resolution."
)
noise_pictures = sd.text_to_image(report_prompt, images_per_prompt=4, output="tensor")
image_grid(noise_pictures, [f"seed {i}" for i in range(4)], columns=4)
plt.show()

# %% [markdown]
# ## Against diffusers
#
# Noise is as good as a dog for one purpose: to see whether two programs do the same. The cell below is the only one that needs the library diffusers. It saves the parts to a folder, which both programs read, and
# asks both for the same prompts and seeds with each of six samplers. What is compared is the latent at the end of the walk, as a share of its largest number.

# %%
# Parity: this cell alone imports diffusers.
import tempfile
from pathlib import Path

import diffusers
import transformers

from minisd.checkpoints import Components, save_folder

diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
room = tempfile.TemporaryDirectory()
folder = Path(room.name) / "tiny"
save_folder(Components(tokenizer, text_encoder, unet, vae, shipped), folder)
peer = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
peer.set_progress_bar_config(disable=True)
prompts = [prompt, "two boats"]
for sampler, name in {
    "plms": "PNDM", "ddim": "DDIM", "euler": "EulerDiscrete", "heun": "HeunDiscrete",
    "euler_ancestral": "EulerAncestralDiscrete", "dpmpp_2m": "DPMSolverMultistep",
}.items():  # fmt: skip
    kind = getattr(diffusers, f"{name}Scheduler")
    peer.scheduler = kind.from_config(peer.scheduler.config)
    seeds = [torch.Generator().manual_seed(s) for s in (3, 4)]
    theirs = peer(prompts, num_inference_steps=10, guidance_scale=8.0,
                  generator=seeds, output_type="latent").images  # fmt: skip
    ours = sd.text_to_image(prompts, steps=10, seed=3, sampler=sampler, output="latent")
    error = (ours - theirs).abs().max() / theirs.abs().max()
    print(f"{sampler:16} error < 1e-4: {bool(error < 1e-4)}")

# %% [markdown]
# Not the networks alone agree, but everything between the seed and the picture. {doc}`real_weights` has the networks at full size.

# %% [markdown]
# ## What guidance does
#
# Random weights cannot show what the guidance scale does. A trained U-Net is a black box of 860 million numbers. In between stands a toy whose denoiser is exact. Take 432 scenes of the picture world, one for each combination of
# animal, colour, accessory, place and background, and let them be all the pictures there are.
#
# It needs a latent space too. Pictures of 64 by 64 pixels are 12,288 numbers, but 432 pictures differ in 431 directions at most: the axes $V$ of the linear autoencoder of {doc}`vae`. Take away the mean picture, turn into those axes,
# and scale to a spread of 1, as `scaling_factor` does. That loses nothing.

# %%
from itertools import product

from minisd.scenes import SceneFactors, Thing, caption, draw

library, told = [], []
for place, who, colour, wears, background in product(
    ("left", "centre", "right"),
    ("dog", "cat", "bird"),
    ("red", "orange", "blue", "white"),
    ("none", "sunglasses", "hat"),
    ("grass field", "beach", "snow", "lake"),
):
    scene = SceneFactors(background, (Thing(who, colour, "large", place, wears),))
    library.append(draw(scene, np.random.default_rng(0)).image)
    told.append(caption(scene))
pictures = torch.from_numpy(np.stack(library)).permute(0, 3, 1, 2).float() / 127.5 - 1
mean = pictures.flatten(1).mean(0)
V = torch.linalg.svd(pictures.flatten(1) - mean, full_matrices=False).Vh
factor = 1 / ((pictures.flatten(1) - mean) @ V.T).std()
Z = (pictures.flatten(1) - mean) @ V.T * factor  # [432, 432]


def show(z):
    """Latents [B, 432] as pictures [B, 3, 64, 64]."""
    return (z / factor @ V + mean).unflatten(1, (3, 64, 64))


print(told[0])
print(tuple(Z.shape), f"nothing is lost: {torch.allclose(show(Z), pictures, atol=1e-2)}")

# %% [markdown]
# Now the text. In the world at large, texts and pictures are collected from web pages, and many texts say little about their picture. So let a text $c$ be right half of the time: with probability one half it belongs to one of the
# $n_c$ pictures that fit it, otherwise to any of all $N$.
#
# $$
# q(x_i \mid c) = \frac{1}{2} \cdot \frac{[\,x_i \text{ fits } c\,]}{n_c} + \frac{1}{2} \cdot \frac{1}{N} .
# $$ (pipeline-text)
#
# The empty text says nothing: $q(x_i \mid \varnothing) = 1/N$. For such a library the perfect denoiser is known. It is a mean of the pictures, each weighted by how well it explains what is seen, and by what the text says of it:
#
# $$
# \mathbb E[x_0 \mid x_t, c] = \sum_i w_i x_i,
# \qquad
# w = \operatorname{softmax}_i\!\left(\log q(x_i \mid c) - \frac{\lVert x_t - \sqrt{\bar\alpha_t}\, x_i \rVert^2}{2 (1 - \bar\alpha_t)}\right) .
# $$ (pipeline-library)
#
# To be plain: this is a model that has memorised its library, and can draw nothing else. But it takes a noisy latent, a time and a text, as the U-Net does, and so everything around the U-Net works on it unchanged. The cell checks its noise
# against the exact mixture of {doc}`../diffusion/reverse`.

# %%
from minisd.diffusion import GaussianMixture, ImageNoise


def library_net(z_t, t, context):
    """As the U-Net: (z_t [B, 432], t [B], context [B, 1, 432]) to the noise."""
    a = schedule.alpha_bar_at(t).to(z_t)[:, None]
    Y = Z.to(z_t)
    # the square of the distance, without |z_t|^2, which is the same for all
    fit = (a.sqrt() * z_t @ Y.T - a * Y.square().sum(1) / 2) / (1 - a)
    w = (fit + context[:, 0]).softmax(1)
    return schedule.convert(w @ Y, z_t, t, "x0", "eps")


def fits(text):
    """Which pictures have every one of these words in their caption, [432]."""
    words = text.split(", ")
    return torch.tensor([all(word in line for word in words) for line in told])


def read(text):
    """As the text encoder: log q(x_i | c), [1, 1, 432]."""
    fit = fits(text).float()
    return (0.5 * fit / fit.sum() + 0.5 / len(fit)).log()[None, None]


few = Z[::40, :3].double()
points = GaussianMixture(torch.ones(len(few)), few, torch.zeros(len(few), 3, 3))
z, t = torch.ones(2, 3).double(), torch.tensor([300.0, 900.0])
everything, Z = Z, few
print(
    torch.allclose(library_net(z, t, torch.zeros(2, 1, len(few))), points.denoiser(schedule)(z, t))
)
Z = everything
print(int(fits("dog").sum()), int(fits("dog, sunglasses, grass field").sum()))

# %% [markdown]
# ### Guidance is a classifier that was never trained
#
# Where does {eq}`pipeline-guidance` come from? A denoiser is a score in disguise, $\varepsilon = -\sqrt{1 - \bar\alpha_t}\; \nabla \log q(x_t)$ ({doc}`../diffusion/reverse`). By Bayes' rule
# $\log q(c \mid x_t) = \log q(x_t \mid c) - \log q(x_t) + \log q(c)$, and the last term has no $x_t$ in it. So the *difference* of the two answers of the network is the gradient of a classifier: in which direction does the picture fit the text better?
#
# $$
# \varepsilon_\theta(x_t, t, c) - \varepsilon_\theta(x_t, t, \varnothing) = -\sqrt{1 - \bar\alpha_t}\; \nabla_{x_t} \log q(c \mid x_t) .
# $$ (pipeline-classifier)
#
# Guidance follows this gradient $s$ times as far. In the library the classifier can be written down, and differentiated by PyTorch. The cell does both.

# %%
from minisd.guidance import classifier_free

t, g = torch.tensor([700.0]), torch.Generator().manual_seed(0)
a = schedule.alpha_bar_at(t)
dog, empty = read("dog").double(), read("").double()
z = torch.randn(1, 432, generator=g, dtype=torch.float64).requires_grad_()
squares = (z - a.sqrt() * Z.double()).square().sum(1)
seen = -squares / (2 * (1 - a))  # log q(z_t | x_i), but for a constant
log_c = (seen + dog[0, 0]).logsumexp(0) - (seen + empty[0, 0]).logsumexp(0)
[gradient] = torch.autograd.grad(log_c, z)
z = z.detach()
difference = library_net(z, t, dog) - library_net(z, t, empty)
print(torch.allclose(difference, -(1 - a).sqrt() * gradient))
guided = classifier_free(library_net, dog, empty, 8.0)(z, t)
by_classifier = library_net(z, t, empty) - 8 * (1 - a).sqrt() * gradient
print(torch.allclose(guided, by_classifier))

# %% [markdown]
# Two conventions are about. Here, in Stable Diffusion and in GLIDE {cite}`nichol2022glide`, $s = 1$ is the plain conditional answer and $s = 0$ the unconditional one. Ho and Salimans {cite}`ho2022classifier` write $w = s - 1$: their 0 is our 1.
# At $s = 1$ the second question is not needed, and `minisd` does not ask it: a walk without guidance takes half the time.
#
# ### More fitting, less different
#
# The library now draws 200 pictures for the report's dog: "dog, sunglasses, grass field". Twelve of the 432 pictures fit. Which picture came out is told by the nearest one of the library. {numref}`pipeline-scales` counts.


# %%
V_noise = ImageNoise(range(200)).draw((3, 64, 64)).flatten(1) @ V.T  # turned, it stays normal


def walk(text, negative="", scale=8.0, z_T=V_noise, spacing=("leading", 1), steps=50):
    """Latents [B, 432] from noise, by DDIM."""
    wanted, unwanted = (read(words).expand(len(z_T), -1, -1) for words in (text, negative))
    denoise = classifier_free(library_net, wanted, unwanted, scale)
    return sample(denoise, z_T, schedule, times=schedule.times(steps, *spacing))


def found(z):
    """Number of the picture that each latent is."""
    return torch.cdist(z, Z).argmin(1)


text = "dog, sunglasses, grass field"
scales = (0, 1, 2, 3, 5, 8, 11, 14)
drawn = {s: found(walk(text, scale=s)) for s in scales}
share = [fits(text)[i].float().mean().item() for i in drawn.values()]
different = [len(i.unique()) for i in drawn.values()]
for s in (0, 1, 8):
    print(f"scale {s}: {share[scales.index(s)]:.1f} fit")
print(f"fewer different ones at 14 than at 1: {different[-1] < different[1] / 2}")

# %% mystnb={"image": {"alt": "Two curves over the guidance scale from 0 to 14. Left: the share of pictures that fit rises from almost 0 through 0.4 at scale 1 to over 0.9 at scale 8. Right: the number of different pictures among 200 falls from about 160 to under 40."}, "figure": {"caption": "With a higher scale more pictures fit the text (left), and there are fewer different ones among 200 (right).", "name": "pipeline-scales"}}
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.7))
for axis, values, name in zip(
    axes, (share, different), ("share that fits", "different pictures"), strict=True
):
    axis.plot(scales, values, "o-")
    axis.axvline(8, color="grey", ls=":")
    axis.set(xlabel="guidance scale $s$", ylabel=name, ylim=(0, None))
plt.show()

# %% [markdown]
# At scale 1 the library does what its texts taught it: too often it draws what does not fit, since half of the texts are of no use. Guidance makes up for that. The price is variety. That is the bargain of every scale
# above 1 {cite}`ho2022classifier,dhariwal2021diffusion`. The dotted line is the report's 8. Its "scale from 1 to 14" is a habit and no bound: any finite number runs, below 1 and below 0 too.
#
# Move the slider. Each place keeps its seed, and so its noise.

# %%
from minisd.widgets import slider


def panel(s):
    """Twelve seeds at one scale."""
    z = walk(text, scale=s, z_T=V_noise[:12])
    return image_grid(show(z), columns=6)


slider(
    panel,
    scales,
    label="guidance scale",
    caption='"dog, sunglasses, grass field", twelve seeds. At 0 the text does not count. The higher the scale, the more dogs, glasses and grass.',
    alt="Twelve small scenes drawn at guidance scale {}.".format,
    start=1,
)

# %% [markdown]
# ### The negative prompt
#
# In the formula {eq}`pipeline-guidance` nothing says that the second text must be empty. Put in what you do *not* want, and guidance leads away from it. That is a *negative prompt*. It costs nothing: the second question was asked anyway.

# %%
with torch.no_grad():
    same = sd.text_to_image(prompt, negative_prompt="", steps=4, output="latent", progress=False)
    plain = sd.text_to_image(prompt, steps=4, output="latent", progress=False)
    away = sd.text_to_image(
        prompt, negative_prompt="a hat", steps=4, output="latent", progress=False
    )
print(f"empty is the default: {torch.equal(same, plain)}")
print(f"another text is another picture: {not torch.allclose(away, plain, atol=1e-3)}")

# %% [markdown]
# The library shows what it is good for. Ask for a dog, and then for a dog with "red" as the negative prompt.

# %%
counts = []
for negative in ("", "red"):
    dogs = found(walk("dog", negative, scale=3.0))
    counts.append((int(fits("dog")[dogs].sum()), int(fits("red")[dogs].sum())))
(dogs, red), (other_dogs, other_red) = counts
print(f"nearly all are dogs both times: {min(dogs, other_dogs) > 160}")
print(f"fewer are red under the negative prompt: {other_red < 0.7 * red}")

# %% [markdown]
# At scale 1 the second answer drops out of the formula. Then `minisd` does not ask for it, and a step costs half.

# %%
asked = []
hook = unet.register_forward_pre_hook(lambda module, given: asked.append(len(given[0])))
for s in (1.0, 8.0):
    sd.text_to_image(prompt, guidance_scale=s, sampler="ddim", steps=3, progress=False)
hook.remove()
print("rows in each call, without and with guidance:", asked[:3], asked[3:])

# %% [markdown]
# ## The same picture again
#
# A seed belongs to a picture, and not to a batch. `seed=5` with three pictures means 5, 6 and 7. The third of them is the picture of seed 7, in whatever company it is drawn.

# %%
three = sd.text_to_image(
    prompt, seed=5, images_per_prompt=3, steps=4, output="latent", progress=False
)
alone = sd.text_to_image(prompt, seed=7, steps=4, output="latent", progress=False)
print(torch.allclose(three[2:], alone, atol=1e-4))

# %% [markdown]
# Not bit for bit: a network may sum in another order in a larger batch. The noise itself is the same to the last bit. Devices and number formats differ by their rounding, and not by their noise.
#
# ## Long prompts
#
# The text encoder has 77 places, two of them for the start and the end. What does not fit is cut off, and a warning says what was lost. The end token stays.

# %%
import warnings

long = "a red dog with sunglasses in a grass field " * 12 + "and one small umbrella"
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    ids = tokenizer([long])
print(tuple(ids.shape), f"ends with the end token: {ids[0, -1].item() == tokenizer.end_id}")
print(f"the warning names what was lost: {'umbrella' in str(caught[0].message)}")

# %% [markdown]
# ## Watch, and interfere
#
# A callback sees every step: the time, the latent, and the clean latent that the step believes in. What it assigns to `step.x_t` is gone on with. Everything that changes a walk, inpainting among it, is built like that.

# %%
seen = []


def watch(step):
    seen.append((step.index, int(step.t), step.x_0))
    if step.index == 2:
        step.x_t = torch.zeros_like(step.x_t)


changed = sd.text_to_image(
    prompt, steps=4, sampler="ddim", output="latent", callback=watch, progress=False
)
print([(i, t) for i, t, _ in seen])
print(f"the walk went another way: {not torch.allclose(changed, plain, atol=1e-2)}")

# %% [markdown]
# ## Precision and memory
#
# `StableDiffusion.from_pretrained(..., dtype="bfloat16")` runs the networks in half precision. The latent stays in float32 between the steps, since each step adds a little and half precision would lose it. `sd.reduce_memory()` lets attention take some queries at a time, which changes nothing but the time,
# and the autoencoder one tile at a time, which changes the picture a little ({doc}`vae`). And on a CPU, `optimize_for_inference` makes a U-Net for sampling ({doc}`unet`). It takes the U-Net's place:

# %%
from minisd.models.optimize import optimize_for_inference

sd.unet = optimize_for_inference(unet)
fast = sd.text_to_image(prompt, steps=4, output="latent", progress=False)
sd.unet = unet
print(f"the same latent: {torch.allclose(fast, plain, atol=1e-3)}")

# %% [markdown]
# ## What is refused
#
# Mistakes are told before anything runs. On a CPU a picture of the full size takes minutes, and you want to know at once.

# %%
for wrong in (
    {"height": 500},
    {"steps": 0},
    {"sampler": "dpm"},
    {"stpes": 20},
):
    try:
        sd.text_to_image(prompt, **wrong)
    except ValueError as error:
        print(str(error).split(";")[0])
try:
    sd.text_to_image(["a dog", 7])
except ValueError as error:
    print(error)

# %% [markdown]
# ## On the command line
#
# ```
# minisd text-to-image --model stable-diffusion-v1-5/stable-diffusion-v1-5 \
#     --prompt "a red dog with sunglasses in a grass field" --seed 7 --output dog.png
# ```
#
# The PNG carries its settings. The cell runs the command on the folder from above, and reads them back.

# %%
from typer.testing import CliRunner

from minisd.cli import app
from minisd.images import read_settings

file = Path(room.name) / "dog.png"
given = ["--model", str(folder), "--prompt", prompt, "--seed", "7", "--steps", "4"]
result = CliRunner().invoke(app, ["text-to-image", *given, "--output", str(file)])
kept = read_settings(file)
print(result.exit_code, {name: kept[name] for name in ("prompt", "seed", "steps")})
room.cleanup()

# %% [markdown]
# ## Exercises
#
# ```{exercise} Two conventions
# :label: pipeline-conventions
#
# Ho and Salimans write $\hat\varepsilon = (1 + w)\, \varepsilon_c - w\, \varepsilon_\varnothing$. Which $w$ is the report's scale of 8? Check it on the U-Net.
# ```
#
# ```{solution-start} pipeline-conventions
# :class: dropdown
# ```
#
# Sort by the two answers: $\varepsilon_\varnothing + s(\varepsilon_c - \varepsilon_\varnothing) = s\, \varepsilon_c - (s - 1)\, \varepsilon_\varnothing$. So $w = s - 1 = 7$.

# %%
t = torch.tensor([500.0])
with torch.no_grad():
    e_c, e_null = unet(z_T, t, c), unet(z_T, t, null)
    ours = sd.denoiser(c, null, 8.0)(z_T, t)
print(torch.allclose(ours, (1 + 7) * e_c - 7 * e_null, atol=1e-4))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} How many questions
# :label: pipeline-questions
#
# How often is the U-Net called in 10 steps of each sampler? Count with a hook.
# ```
#
# ```{solution-start} pipeline-questions
# :class: dropdown
# ```
#
# Once a step, but for two. PLMS looks twice at its first step. Heun looks twice at every step but the last.

# %%
calls = []
hook = unet.register_forward_pre_hook(lambda module, given: calls.append(1))
for sampler in ("ddim", "plms", "heun", "dpmpp_2m"):
    calls.clear()
    sd.text_to_image(prompt, sampler=sampler, steps=10, output="latent", progress=False)
    print(sampler, len(calls))
hook.remove()

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Between two texts
# :label: pipeline-between
#
# A prompt may be given as an embedding. Draw halfway between two prompts, and compare the latent with the mean of the two latents. Is the pipeline linear in the text?
# ```
#
# ```{solution-start} pipeline-between
# :class: dropdown
# ```
#
# No: cross-attention takes a softmax, and the walk asks again and again.

# %%
with torch.no_grad():
    one, two = sd.encode_text(["a red dog", "two boats"]).split(1)
settings = {"steps": 4, "output": "latent", "progress": False, "seed": 1}
halfway = sd.text_to_image((one + two) / 2, **settings)
mean_latent = (sd.text_to_image(one, **settings) + sd.text_to_image(two, **settings)) / 2
print(f"linear: {torch.allclose(halfway, mean_latent, atol=1e-3)}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`rombach2022high` put diffusion into the latent space of an autoencoder and let text in through cross-attention. Guidance without a classifier is by {cite:t}`ho2022classifier`; that it beats guidance by CLIP for text was found by {cite:t}`nichol2022glide`. The sampler that Stable Diffusion ships is due to {cite:t}`liu2022pseudo`.
# {cite:t}`lin2024common` show what the two oddities of the shipped schedule cost.
#
# ## The way on
#
# The walk need not begin with noise. {doc}`image_to_image` begins with a picture of yours.
