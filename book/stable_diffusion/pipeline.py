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
# **Time** 50 minutes to read; the cells run in about 45 seconds.
#
# **Before this** {doc}`vae`, {doc}`clip`, {doc}`unet` and {doc}`../diffusion/samplers`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its fifth chapter of ten, the pipeline."}, "figure": {"caption": "Where you are: the fifth chapter of Part III.", "name": "pipeline-road"}} tags=["remove-input"]
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
# The real weights are four gigabytes. The book's own Stable Diffusion, the *miniature*, has the same parts in the same layout and is over a hundred times smaller. It was trained on the captioned scenes of
# {doc}`../front/picture_world`, draws 64 by 64 pixels, and knows nothing else ({doc}`miniature`). Only sizes differ. Its latents are a quarter as high and wide as the picture, where Stable Diffusion's are an eighth, and its texts have 32 places in place of 77.

# %%
import torch

from minisd.pipeline import StableDiffusion

MINIATURE = "../../data_samples/miniature"
sd = StableDiffusion.from_pretrained(MINIATURE, device="cpu")
for part in (sd.text_encoder, sd.unet, sd.vae):
    part.requires_grad_(False)
    count = sum(p.numel() for p in part.parameters())
    print(f"{type(part).__name__:16}{count:>9,}")

# %% [markdown]
# A fourth part has no weights, and is as needed as the others: the settings of the schedule and the sampler. A checkpoint carries them in `scheduler_config.json`. The miniature's noise is that of Stable Diffusion 1.4 and 1.5. They ship PLMS as their sampler; the miniature
# ships DPM-Solver++, which needs fewer steps ({doc}`../diffusion/samplers`). `StableDiffusion` puts the parts together, and refuses parts that do not fit.

# %%
import json
from pathlib import Path

from minisd.models.unet import UNet, UNetConfig

shipped = json.loads(Path(MINIATURE, "scheduler/scheduler_config.json").read_text())
print(json.dumps(shipped, indent=1))
print(sd.scheduler.sampler, sd.scheduler.kind, sd.scheduler.schedule.T)
wide = UNet(UNetConfig(block_out_channels=(32,) * 4, cross_attention_dim=64))
try:
    StableDiffusion(sd.tokenizer, sd.text_encoder, wide, sd.vae, shipped)
except ValueError as error:
    print(error)

# %% [markdown]
# ## From a text to a picture, by hand
#
# Four moves. Each is one cell.
#
# ### The text
#
# Two texts go in: the prompt, and the *empty* one. Why the second is needed comes below. Tokenizer and encoder turn them into $c$ and $\varnothing$, two arrays of 32 rows.

# %%
prompt = "a red dog with sunglasses in a grass field"
ids = sd.tokenizer([prompt, ""])  # [2, 32]
c, null = sd.text_encoder(ids).last_hidden_state.split(1)
print(tuple(ids.shape), tuple(c.shape), tuple(null.shape))
print(sd.tokenizer.decode(ids[0]))

# %% [markdown]
# ### The noise
#
# The walk begins with standard normal noise in the shape of a latent: 4 channels, a quarter as high and wide as the picture. The seed decides it, and it is the only chance in the whole walk if the sampler draws none.
# It is drawn on the CPU in float32, whatever the networks run in: so a seed means the same on every machine.

# %%
height, width, seed = 64, 64, 4
size = (1, 4, height // 4, width // 4)
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
scale, steps = 4.0, 12
times = schedule.times(steps, "leading", offset=1).tolist()
z, both, walked = z_T, torch.cat([null, c]), []
for t, t_next in pairwise([*times, 0]):
    e_null, e_c = sd.unet(torch.cat([z, z]), torch.full((2,), t), both).chunk(2)
    eps = e_null + scale * (e_c - e_null)
    a, a_next = schedule.alpha_bar_at(t), schedule.alpha_bar_at(t_next)
    x_0 = (z - (1 - a).sqrt() * eps) / a.sqrt()
    walked.append((int(t), z, x_0))
    z = a_next.sqrt() * x_0 + (1 - a_next).sqrt() * eps
print([t for t, _, _ in walked], tuple(z.shape))

# %% [markdown]
# Two oddities of the shipped settings are in this cell. The walk begins at 917 and not at 999. And it ends at index 0, one noise step short of clean (`set_alpha_to_one: false`): the noise that is left is 3 % of the latent's spread, and nobody sees it.
#
# ### The picture
#
# The U-Net was trained on latents that were multiplied by a factor $f$, to give them a spread of about 1 ({doc}`vae`). Stable Diffusion's is 0.18215, the miniature's is near 1. The decoder $D$ wants them as they were:
#
# $$
# x = D(z / f) .
# $$ (pipeline-decode)

# %%
x = sd.vae.decode(z / sd.vae.config.scaling_factor).clamp(-1, 1)
made = sd.text_to_image(
    prompt, steps=12, guidance_scale=4, seed=4, sampler="ddim",
    output="tensor", progress=False,
)  # fmt: skip
print(tuple(x.shape), f"same as minisd: {torch.allclose(x, made, atol=1e-3)}")

# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 62})

# %% mystnb={"image": {"alt": "Two rows of six pictures. Above, noise at first, from which a dog in a field comes out step by step. Below, the first guess is a blur of sky and ground with a spot, and by the middle of the walk it is a red dog with sunglasses in a grass field."}, "figure": {"caption": "Drawn by the miniature, every second step. Above: $x_t$, decoded. Below: the clean picture that the step believes in. Where things stand is settled first, the details last.", "name": "pipeline-walk"}}
from minisd.plots import image_grid

shown = [*walked[:10:2], (0, z, z)]
noisy = sd.decode(torch.cat([x_t for _, x_t, _ in shown]))
believed = sd.decode(torch.cat([x_0 for _, _, x_0 in shown]))
titles = [*(f"t = {t}" for t, _, _ in shown), *[""] * 6]
image_grid(torch.cat([noisy, believed]), titles, columns=6)
plt.show()

# %% [markdown]
# That is all there is. `text_to_image` does these moves, in this order, and beside them looks at what it is given before anything runs. `sd.encode_text`, `sd.denoiser`, `sd.encode_image` and `sd.decode` are the pieces
# of the pipeline for loops of your own; gradients run through them. {numref}`pipeline-walk` shows the walk.

# %%
from minisd.diffusion import sample

denoise = sd.denoiser(sd.encode_text(prompt), sd.encode_text(""), scale)
own = sd.decode(sample(denoise, z_T, schedule, times=times, final=0.0))
print(f"same from the pieces: {torch.allclose(own.clamp(-1, 1), made, atol=1e-3)}")

# %% [markdown]
# ### The report's settings
#
# The report draws "A dog with sun glasses in a grass field" (its Figure 4) with 50 steps and a guidance scale of 8, and so does `minisd` where you tell it nothing else. For the miniature, 25 steps and a scale of 4 are enough. {numref}`pipeline-report` has both, from the same four noises.

# %% mystnb={"image": {"alt": "Two rows of four pictures of dogs with sunglasses in grass fields. Those below resemble those above, column by column; the ones above have harsher colours."}, "figure": {"caption": "The report's prompt in the miniature's words, four seeds. Above: the report's settings. Below: half the steps and half the scale.", "name": "pipeline-report"}}
report_prompt = "a dog with sunglasses in a grass field"
quiet = {"output": "tensor", "progress": False, "batch_size": 8}
settings = {"steps": 25, "guidance_scale": 4} | quiet
by_report = sd.text_to_image(report_prompt, images_per_prompt=4, **quiet)
as_shipped = sd.text_to_image(report_prompt, images_per_prompt=4, **settings)
titles = ["50 steps, scale 8"] * 4 + ["25 steps, scale 4"] * 4
image_grid(torch.cat([by_report, as_shipped]), titles, columns=4)
plt.show()

# %% [markdown]
# ## Against diffusers
#
# Do two programs draw the same dog? The cell below is the only one that needs the library diffusers. It loads the same folder, and
# is asked for the same prompts and seeds with each of six samplers. What is compared is the latent at the end of the walk, as a share of its largest number.

# %%
# Parity: this cell alone imports diffusers.
import diffusers
import transformers

diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
peer = diffusers.StableDiffusionPipeline.from_pretrained(
    MINIATURE, safety_checker=None, dtype=torch.float32
)
peer.set_progress_bar_config(disable=True)
prompts = [prompt, "a cat with sunglasses on a bench"]
for sampler, name in {
    "plms": "PNDM", "ddim": "DDIM", "euler": "EulerDiscrete", "heun": "HeunDiscrete",
    "euler_ancestral": "EulerAncestralDiscrete", "dpmpp_2m": "DPMSolverMultistep",
}.items():  # fmt: skip
    kind = getattr(diffusers, f"{name}Scheduler")
    peer.scheduler = kind.from_config(peer.scheduler.config)
    seeds = [torch.Generator().manual_seed(s) for s in (3, 4)]
    theirs = peer(prompts, num_inference_steps=5, guidance_scale=4.0,
                  generator=seeds, output_type="latent").images  # fmt: skip
    ours = sd.text_to_image(prompts, steps=5, guidance_scale=4.0, seed=3, sampler=sampler,
                            output="latent", progress=False)  # fmt: skip
    error = (ours - theirs).abs().max() / theirs.abs().max()
    print(f"{sampler:16} error < 1e-3: {bool(error < 1e-3)}")

# %% [markdown]
# Not the networks alone agree, but everything between the seed and the picture. {doc}`real_weights` has the networks at full size.
#
# How many steps are enough depends on the sampler. {numref}`pipeline-samplers` has the same noise under three of them.

# %% mystnb={"image": {"alt": "Three rows of three pictures of one scene, for DDIM, Heun and DPM-Solver++ with 4, 8 and 16 steps. With 4 steps the scene is blurred or has wrong colours, with 16 steps all three samplers have drawn nearly the same sharp scene."}, "figure": {"caption": "One prompt and one noise. With enough steps the samplers meet, since they follow the same path; Heun asks the U-Net twice a step.", "name": "pipeline-samplers"}}
drawings, titles = [], []
for sampler in ("ddim", "heun", "dpmpp_2m"):
    for count in (4, 8, 16):
        few = settings | {"steps": count, "sampler": sampler, "seed": 4}
        drawings.append(sd.text_to_image(prompt, **few))
        titles.append(f"{sampler}, {count} steps")
image_grid(torch.cat(drawings), titles, columns=3)
plt.show()

# %% [markdown]
# ## What guidance does
#
# ### A classifier that was never trained
#
# Where does {eq}`pipeline-guidance` come from? A denoiser is a score in disguise, $\varepsilon = -\sqrt{1 - \bar\alpha_t}\; \nabla \log q(x_t)$ ({doc}`../diffusion/reverse`). By Bayes' rule
# $\log q(c \mid x_t) = \log q(x_t \mid c) - \log q(x_t) + \log q(c)$, and the last term has no $x_t$ in it. So the *difference* of the two answers of the network is the gradient of a classifier: in which direction does the picture fit the text better?
#
# $$
# \varepsilon_\theta(x_t, t, c) - \varepsilon_\theta(x_t, t, \varnothing) = -\sqrt{1 - \bar\alpha_t}\; \nabla_{x_t} \log q(c \mid x_t) .
# $$ (pipeline-classifier)
#
# Guidance follows this gradient $s$ times as far. That holds for a perfect denoiser, and a trained one comes near to it. A perfect one is known for a mixture of Gaussians ({doc}`../diffusion/reverse`). So let the pictures be points in the plane that come from three clouds, and let the text $c$ name a cloud.
# Then the classifier can be written down, and differentiated by PyTorch. {numref}`pipeline-clouds` draws with it.

# %%
from minisd.diffusion import GaussianMixture
from minisd.guidance import classifier_free

centres = torch.tensor([[0.0, 1.2], [-1.0, -0.6], [1.0, -0.6]])
spread = 0.35 * torch.eye(2).expand(3, 2, 2)
all_clouds = GaussianMixture(torch.ones(3), centres, spread)
first_cloud = GaussianMixture(torch.ones(1), centres[:1], spread[:1])


def clouds_net(x_t, t, context):
    """As a U-Net: the first cloud for a context of ones, any for zeros."""
    told, free = (m.denoiser(schedule)(x_t, t) for m in (first_cloud, all_clouds))
    return torch.where(context[:, 0] > 0, told, free)


t = torch.full((5,), 400.0)
a = schedule.alpha_bar_at(t)
g = torch.Generator().manual_seed(0)
x_t = torch.randn(5, 2, generator=g, dtype=torch.float64).requires_grad_()
log_c = all_clouds.posterior(x_t, a)[:, 0].log()
[gradient] = torch.autograd.grad(log_c.sum(), x_t)
x_t, root = x_t.detach(), (1 - a).sqrt()[:, None]
yes, no = torch.ones(5, 1, 1), torch.zeros(5, 1, 1)
difference = clouds_net(x_t, t, yes) - clouds_net(x_t, t, no)
print(torch.allclose(difference, -root * gradient))
guided = classifier_free(clouds_net, yes, no, 8.0)(x_t, t)
print(torch.allclose(guided, clouds_net(x_t, t, no) - 8 * root * gradient))

# %% mystnb={"image": {"alt": "Three panels with the same three overlapping grey clouds, one above two. Guided points in colour lie on them. At scale 1 they fill the upper cloud, also where it overlaps with the others. At scale 3 they have left the overlap and lie closer together, higher up. At scale 8 they are a small heap at the upper edge of the cloud."}, "figure": {"caption": "Grey: the three clouds. Blue: 300 points drawn for the text \"the upper one\". Guidance leaves what could be another cloud, and at a high scale it draws where hardly any data are.", "name": "pipeline-clouds"}}
grey, _ = all_clouds.sample(1500, g)
starts = torch.randn(300, 2, generator=g)
yes, no = torch.ones(300, 1, 1), torch.zeros(300, 1, 1)
figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.4), sharex=True, sharey=True)
for axis, s in zip(axes, (1, 3, 8), strict=True):
    points = sample(classifier_free(clouds_net, yes, no, s), starts, schedule, steps=50)
    axis.plot(*grey.T, ".", ms=2, color="#BBBBBB")
    axis.plot(*points.T, ".", ms=3)
    axis.set(title=f"scale {s}", aspect="equal")
    axis.set_axis_off()
plt.show()

# %% [markdown]
# Two conventions are about. Here, in Stable Diffusion and in GLIDE {cite}`nichol2022glide`, $s = 1$ is the plain conditional answer and $s = 0$ the unconditional one. Ho and Salimans {cite}`ho2022classifier` write $w = s - 1$: their 0 is our 1.
# At $s = 1$ the second question is not needed, and `minisd` does not ask it: a walk without guidance takes half the time.
#
# ### More fitting, less different
#
# Now the miniature. It draws the same eight noises at six scales, and its *scorer* says how many of them fit: a network that had no part in the drawing, and reads off a picture what it shows.

# %%
from minisd.metrics import Scorer

scorer = Scorer.from_pretrained(f"{MINIATURE}/scorer")
wanted = {"category": "dog", "accessory": "sunglasses", "background": "grass field"}


def fitting(x, wanted=wanted):
    """For each picture whether it shows what is wanted."""
    return [all(one[key] == word for key, word in wanted.items()) for one in scorer.read(x)]


scales = (0, 1, 2, 4, 8, 14)
eight = settings | {"steps": 12, "images_per_prompt": 8}
drawn = {s: sd.text_to_image(report_prompt, **eight | {"guidance_scale": s}) for s in scales}
fits = {s: sum(fitting(x)) for s, x in drawn.items()}
print(f"more fit at 4 than at 0: {fits[4] > fits[0]}")
print(f"most fit at 4: {fits[4] > 4}")

# %% [markdown]
# Move the slider. Each place keeps its seed, and so its noise. A tick stands over the pictures that fit.

# %%
from minisd.widgets import slider


def panel(s):
    """Eight seeds at one scale."""
    ticks = ["\N{CHECK MARK}" if fit else "" for fit in fitting(drawn[s])]
    return image_grid(drawn[s], ticks, columns=8)


slider(
    panel,
    scales,
    label="guidance scale",
    caption='"a dog with sunglasses in a grass field", eight seeds, drawn by the miniature. At 0 the text does not count. The higher the scale, the more fits, and the harsher the colours.',
    alt=lambda s: f"Eight pictures drawn at guidance scale {s}; {fits[s]} of them fit the text.",
    start=3,
)

# %% [markdown]
# The price is variety. That is the bargain of every scale above 1 {cite}`ho2022classifier,dhariwal2021diffusion`. At a high scale there is a second one: the guided answer is larger than any that the network gave in training, and the colours run into their ends {cite}`lin2024common`. The report's "scale from 1 to 14" is a habit and no bound: any finite number runs, below 1 and below 0 too.
#
# ### The negative prompt
#
# In the formula {eq}`pipeline-guidance` nothing says that the second text must be empty. Put in what you do *not* want, and guidance leads away from it. That is a *negative prompt*. It costs nothing: the second question was asked anyway.
# Ask for a bus, without a word on its size or place. Then say what it must not be ({numref}`pipeline-negative`).

# %% mystnb={"image": {"alt": "Three rows of six pictures of buses in the snow. In the first row they are of both sizes, to the left, in the middle and to the right. In the second row all are small. In the third row fewer stand on the left."}, "figure": {"caption": "\"a bus in the snow\", six seeds, drawn by the miniature. First row: no negative prompt. Second: \"a large bus in the snow\". Third: \"on the left, a bus\".", "name": "pipeline-negative"}}
six = settings | {"steps": 15, "images_per_prompt": 6}
buses = {
    negative: sd.text_to_image("a bus in the snow", negative_prompt=negative, **six)
    for negative in ("", "a large bus in the snow", "on the left, a bus")
}
image_grid(torch.cat([*buses.values()]), columns=6)
plt.show()

# %%
for negative, x in buses.items():
    read = scorer.read(x)
    large = sum(one["size"] == "large" for one in read)
    left = sum(one["place"] == "left" for one in read)
    print(f"{negative or 'none':24} large: {large}, left: {left}")

# %% [markdown]
# At scale 1 the second answer drops out of the formula. Then `minisd` does not ask for it, and a step costs half.

# %%
asked = []
hook = sd.unet.register_forward_pre_hook(lambda module, given: asked.append(len(given[0])))
for s in (1.0, 8.0):
    sd.text_to_image(prompt, guidance_scale=s, sampler="ddim", steps=3, progress=False)
hook.remove()
print("rows in each call, without and with guidance:", asked[:3], asked[3:])

# %% [markdown]
# ## Between two texts
#
# A prompt may be given as an embedding, so you can take one that no text has. With $c_\lambda = (1 - \lambda)\, c_0 + \lambda\, c_1$ you walk from one text to another, and the noise stays ({numref}`pipeline-texts`).

# %% mystnb={"image": {"alt": "Seven pictures. The first ones are of red cars in the snow, the last ones of a blue elephant on a beach. The change comes between two of them, at once."}, "figure": {"caption": "From \"a red car in the snow\" to \"a blue elephant on a beach\", one noise, drawn by the miniature. Above each: $\\lambda$.", "name": "pipeline-texts"}}
one, two = sd.encode_text(["a red car in the snow", "a blue elephant on a beach"]).split(1)
shares = torch.linspace(0, 1, 7)
mixed = torch.cat([(1 - w) * one + w * two for w in shares])
between = sd.text_to_image(mixed, **settings | {"steps": 15, "seed": [1] * 7})
image_grid(between, [f"{w:.2f}" for w in shares], columns=7)
plt.show()

# %% [markdown]
# The mixture is not the mean of two pictures. Cross-attention takes a softmax ({doc}`attention`), and the walk asks again and again: so the change is fast at some $\lambda$ and slow at others.
#
# ## The same picture again
#
# A seed belongs to a picture, and not to a batch. `seed=5` with three pictures means 5, 6 and 7. The third of them is the picture of seed 7, in whatever company it is drawn.

# %%
brief = {"steps": 4, "output": "latent", "progress": False}
three = sd.text_to_image(prompt, seed=5, images_per_prompt=3, **brief)
alone = sd.text_to_image(prompt, seed=7, **brief)
print(torch.allclose(three[2:], alone, atol=1e-3))

# %% [markdown]
# Not bit for bit: a network may sum in another order in a larger batch. The noise itself is the same to the last bit. Devices and number formats differ by their rounding, and not by their noise.
#
# ## Long prompts
#
# The miniature's text encoder has 32 places (Stable Diffusion's has 77), two of them for the start and the end. What does not fit is cut off, and a warning says what was lost. The end token stays. The report's prompt is long for the miniature: its
# tokenizer never saw "cinematic", and must spell it in pieces ({doc}`clip`).

# %%
import warnings

long = ("A dog with sun glasses in a grass field, highly detailed, "
        "ultra sharp, cinematic, 100mm lens, 8k resolution.")  # fmt: skip
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    ids = sd.tokenizer([long])
print(tuple(ids.shape), f"ends with the end token: {ids[0, -1].item() == sd.tokenizer.end_id}")
print(caught[0].message)

# %% [markdown]
# ## Watch, and interfere
#
# A callback sees every step: the time, the latent, and the clean latent that the step believes in. What it assigns to `step.x_t` is gone on with. Everything that changes a walk, inpainting among it, is built like that. Here is a callback that makes the right half the mirror of the left, after every step ({numref}`pipeline-mirror`).

# %% mystnb={"image": {"alt": "Four pictures of umbrellas on beaches that are nearly their own mirror images: the latents are, and the decoder spoils a little of it."}, "figure": {"caption": "Four seeds with a mirror at work after every step. The network goes along, and draws things that look well from both sides.", "name": "pipeline-mirror"}}
seen = []


def mirror(step):
    """Make the right half the mirror of the left."""
    seen.append(int(step.t))
    left = step.x_t.chunk(2, dim=-1)[0]
    step.x_t = torch.cat([left, left.flip(-1)], dim=-1)


four = settings | {"steps": 15, "images_per_prompt": 4}
symmetric = sd.text_to_image("an umbrella on a beach", callback=mirror, **four)
image_grid(symmetric, columns=4)
plt.show()

# %%
print(len(seen), "steps; falling times:", seen == sorted(seen, reverse=True))
off = (symmetric - symmetric.flip(-1)).abs().mean()
print(f"symmetric: {bool(off < 0.1)}")

# %% [markdown]
# ## Precision and memory
#
# `StableDiffusion.from_pretrained(..., dtype="bfloat16")` runs the networks in half precision. The latent stays in float32 between the steps, since each step adds a little and half precision would lose it. `sd.reduce_memory()` lets attention take some queries at a time, which changes nothing but the time,
# and the autoencoder one tile at a time, which changes the picture a little ({doc}`vae`). And on a CPU, `optimize_for_inference` makes a U-Net for sampling ({doc}`unet`). It takes the U-Net's place:

# %%
from minisd.models.optimize import optimize_for_inference

plain_unet, sd.unet = sd.unet, optimize_for_inference(sd.unet)
fast = sd.text_to_image(prompt, seed=7, **brief)
sd.unet = plain_unet
print(f"the same latent: {torch.allclose(fast, alone, atol=1e-3)}")

# %% [markdown]
# ## What is refused
#
# Mistakes are told before anything runs. On a CPU a picture of the full size takes minutes, and you want to know at once.

# %%
for wrong in (
    {"height": 501},
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
# minisd text-to-image --model data_samples/miniature --prompt "a red dog with sunglasses in a grass field" \
#     --steps 25 --guidance-scale 4 --seed 7 --output dog.png
# ```
#
# With `--model stable-diffusion-v1-5/stable-diffusion-v1-5` the same line draws at full size. The PNG carries its settings. The cell runs the command on the miniature, with fewer steps, and reads them back.

# %%
import tempfile

from typer.testing import CliRunner

from minisd.cli import app
from minisd.images import read_settings

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "dog.png"
    given = ["--model", MINIATURE, "--prompt", prompt, "--seed", "7", "--steps", "4"]
    result = CliRunner().invoke(app, ["text-to-image", *given, "--output", str(file)])
    kept = read_settings(file)
print(result.exit_code, {name: kept[name] for name in ("prompt", "seed", "steps")})

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
e_c, e_null = sd.unet(z_T, t, c), sd.unet(z_T, t, null)
ours = sd.denoiser(c, null, 8.0)(z_T, t)
print(torch.allclose(ours, (1 + 7) * e_c - 7 * e_null, atol=1e-3))

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
hook = sd.unet.register_forward_pre_hook(lambda module, given: calls.append(1))
for sampler in ("ddim", "plms", "heun", "dpmpp_2m"):
    calls.clear()
    sd.text_to_image(prompt, sampler=sampler, **brief | {"steps": 10})
    print(sampler, len(calls))
hook.remove()

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Between two noises
# :label: pipeline-between
#
# Walk from the picture of one seed to that of another, over noises $z_\lambda$ between $z_0$ and $z_1$. Which is the better way, the straight line $(1 - \lambda) z_0 + \lambda z_1$, or the arc $\cos(\lambda\pi/2)\, z_0 + \sin(\lambda\pi/2)\, z_1$? First compute the variance of either.
# ```
#
# ```{solution-start} pipeline-between
# :class: dropdown
# ```
#
# The noises are independent with variance 1. On the line the variance is $(1 - \lambda)^2 + \lambda^2$, a half in the middle; on the arc it is $\cos^2 + \sin^2 = 1$ throughout. The U-Net was trained on noise of variance 1 at the first time. With less it is asked something that it never met. Stable Diffusion's pictures get flat and poor in detail there; the miniature's small world forgives it. The arc is right in both.

# %% mystnb={"image": {"alt": "Two rows of five pictures of a bird. The first and the last picture of both rows are the same. Between them the small bird becomes a large one that looks the other way, in both rows nearly alike."}, "figure": {"caption": "Between two seeds, drawn by the miniature. Above: along the line. Below: along the arc.", "name": "pipeline-noises"}}
from minisd.diffusion import ImageNoise

z_0, z_1 = ImageNoise([1, 2]).draw((4, 16, 16)).split(1)
w = torch.linspace(0, 1, 5)[:, None, None, None]
line, arc = (1 - w) * z_0 + w * z_1, (w * torch.pi / 2).cos() * z_0 + (w * torch.pi / 2).sin() * z_1
for z in (line, arc):
    print("variance", [f"{v:.1f}" for v in z.var(dim=(1, 2, 3))])
c_bird, c_none = sd.encode_text(["a bird in the snow", ""]).split(1)
denoise = sd.denoiser(c_bird.expand(10, -1, -1), c_none.expand(10, -1, -1), 4.0)
walk = {"sampler": "dpmpp_2m", "times": sd.scheduler.times(15, "dpmpp_2m")}
image_grid(sd.decode(sample(denoise, torch.cat([line, arc]), schedule, **walk)), columns=5)
plt.show()

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
