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
# # The U-Net
#
# **You will be able to**
#
# - say what goes into the U-Net, what comes out, and what each part of it is for;
# - follow a latent down and up again, and keep the books of its twelve skips, at odd sizes too;
# - name the two numbers in its configuration that load without complaint when they are read wrongly;
# - say where 859,520,964 parameters are, what a step costs, and how that grows with the picture;
# - look at what a trained U-Net predicts, what its skips carry, and what the time tells it;
# - see what the text changes, and when;
# - take out of the loop over the steps what is the same at every step.
#
# **Time** 50 minutes to read; the cells run in about 40 seconds, half of it drawing.
#
# **Before this** {doc}`vae`, {doc}`clip`, {doc}`attention`, and the small U-Net of {doc}`../diffusion/training`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its fourth chapter of ten, the U-Net."}, "figure": {"caption": "Where you are: the fourth chapter of Part III.", "name": "unet-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("unet")
plt.show()

# %% [markdown]
# ## What it must do
#
# The autoencoder turns a picture into a latent, and CLIP turns a prompt into 77 rows of numbers. What is left is the denoiser. It has three inputs:
#
# | input | shape in Stable Diffusion | what it is |
# |---|---|---|
# | $x_t$ | `[B, 4, 64, 64]` | the noisy latent |
# | $t$ | `[B]` | the time, one number a latent |
# | $c$ | `[B, 77, 768]` | the text, as CLIP gives it |
#
# Its output is the noise $\hat\varepsilon = \varepsilon_\theta(x_t, t, c)$, of the shape of $x_t$: one number for each number of the latent. From it
# follows the clean latent ({doc}`../diffusion/forward`):
#
# $$
# \hat x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\; \hat\varepsilon}{\sqrt{\bar\alpha_t}} .
# $$ (unet-clean)
#
# How *much* noise there is needs no prediction. It is $\sqrt{1 - \bar\alpha_t}$, the schedule knows it, and it is one number for the whole latent. The cell
# takes a photograph in place of a latent, and puts two answers into {eq}`unet-clean`: the noise itself, and other noise of exactly the right amount.

# %%
import torch
import torch.nn.functional as F
from skimage.data import astronaut
from torch import nn

from minisd.diffusion import NoiseSchedule

schedule = NoiseSchedule.scaled_linear()
photograph = torch.from_numpy(astronaut().copy()).permute(2, 0, 1)[None].float()
x_0 = F.avg_pool2d(photograph / 127.5 - 1, 8)  # [1, 3, 64, 64]
g = torch.Generator().manual_seed(0)
eps, other = torch.randn(2, *x_0.shape, generator=g)
x_t = schedule.q_sample(x_0, 500, eps)
exact = schedule.convert(eps, x_t, 500, "eps", "x0")
amount = schedule.convert(other, x_t, 500, "eps", "x0")
print(f"the noise itself gives the picture: {torch.allclose(exact, x_0, atol=1e-4)}")
print(f"error with the amount alone: {(amount - x_0).std():.1f}")
print(f"spread of the picture itself: {x_0.std():.1f}")

# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 45})

# %% mystnb={"image": {"alt": "Five pictures of 64 by 64 pixels: a photograph of an astronaut; coloured noise; the photograph under so much of it that only her outline is left; the photograph again, clean; and a picture with even more noise."}, "figure": {"caption": "A photograph, noise, and both together at $t = 500$. With the noise itself taken away the photograph is back. With other noise of the right amount taken away it is worse than before.", "name": "unet-target"}}
from minisd.plots import image_grid

titles = ["$x_0$", "$\\varepsilon$", "$x_t$", "noise taken away", "amount known"]
image_grid(torch.cat([x_0, eps, x_t, exact, amount]), titles)
plt.show()

# %% [markdown]
# ```{admonition} Two slips in the report
# :class: note
# The report's section 6.2 says that the U-Net has "to correctly predict the amount of noise that has been added". It predicts the noise itself, a tensor
# shaped like $x_t$ ({ref}`errata <erratum-amount-of-noise>`). The section goes on that the U-Net "receives 4 inputs", the fourth being "the output of the previous iteration".
# There are three. What the sampler made of the previous output *is* the next $x_t$ ({ref}`errata <erratum-unet-inputs>`).
# ```
#
# For this job a network must look at a picture on all scales. Whether a grey pixel is noise or fur depends on its neighbours, and what the neighbours should be depends on
# whether there is a dog. And its answer must be exact to the pixel, since noise is different in every pixel. The U-Net {cite}`ronneberger2015unet` does both: it shrinks the picture level
# by level, works on what is left, grows it again, and on the way up each level also gets what it had on the way down.
#
# The chapter runs it at two sizes. At full size it lives on PyTorch's *meta* device: shapes without numbers, which cost neither memory nor time. For numbers and pictures there is the book's
# *miniature*, a Stable Diffusion for the picture world that was trained beforehand and ships with the book ({doc}`miniature`). `small` is its U-Net: the same layers on three levels in place of four, for latents of 16x16 and texts of 32 tokens.

# %%
from minisd.models.unet import UNet, UNetConfig
from minisd.pipeline import StableDiffusion

FOLDER = "../../data_samples/miniature"
sd = StableDiffusion.from_pretrained(FOLDER, device="cpu")
for part in (sd.unet, sd.vae, sd.text_encoder):
    part.requires_grad_(False)
small = sd.unet
with torch.device("meta"):
    full = UNet().requires_grad_(False)
for name, network in (("full", full), ("small", small)):
    keys = network.state_dict()
    size = sum(value.numel() for value in keys.values())
    print(f"{name:5} {size:11,} parameters in {len(keys)} tensors")

# %%
noisy = torch.randn(2, 4, 16, 16, generator=g)
times = torch.tensor([500.0, 20.0])
report = ["a dog with sunglasses in a grass field", "a cat with sunglasses on a bench"]
text = sd.encode_text(report)
print(list(text.shape), list(small(noisy, times, text).shape))

# %% [markdown]
# What does it say about a picture? Draw a scene, encode it, and add noise of several times. {numref}`unet-predicts` shows what {eq}`unet-clean` makes of the U-Net's answers, once with the scene's caption and once with the empty text. All are decoded by the autoencoder.

# %% mystnb={"image": {"alt": "Three rows of six pictures, for times from 100 to 999. The first row is a dog with sunglasses under more and more noise, up to noise alone. In the second row, with the text, the dog is sharp at first and blurred later, and something of it is left to the end. In the third row, without the text, the last pictures show hardly anything."}, "figure": {"caption": "First row: a noisy latent, decoded. Second row: the clean picture that the U-Net predicts from it with the caption. Third row: without text. With little noise the picture says it all; at the end there is nothing but the text to go by.", "name": "unet-predicts"}}
import numpy as np

from minisd.scenes import SceneFactors, Thing, caption
from minisd.scenes import draw as draw_scene


def latents(scenes, seed=0):
    """Draw scenes, and encode them [B, 4, h, w]."""
    rng = np.random.default_rng(seed)
    images = np.stack([draw_scene(factors, rng).image for factors in scenes])
    return sd.encode_image(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1)


def predict(x_t, t, context, told=None):
    """The clean latent, predicted; the U-Net may be told another time."""
    told = torch.as_tensor(t if told is None else told).float().expand(len(x_t))
    return schedule.convert(small(x_t, told, context), x_t, t, "eps", "x0")


dog = SceneFactors("grass field", (Thing("dog", "orange", accessory="sunglasses"),))
z = latents([dog])
asked = torch.tensor([100, 300, 500, 700, 900, 999])
x_t = schedule.q_sample(z.expand(6, -1, -1, -1), asked, torch.randn(6, 4, 16, 16, generator=g))
with_text, without = sd.encode_text([caption(dog), ""]).unbind(0)
rows = [x_t, *(predict(x_t, asked, c.expand(6, -1, -1)) for c in (with_text, without))]
image_grid(sd.decode(torch.cat(rows)), [*(f"t = {t}" for t in asked), *[""] * 12], columns=6)
plt.show()

# %% [markdown]
# No answer is a finished picture. Where much is open, the U-Net predicts the *mean* of what may have been there ({doc}`../diffusion/loss`), and a mean of scenes is blurred. The sampler goes but a little way in its direction and asks again.

# %% [markdown]
# ## The time
#
# One network serves all times, so it is told the time, as the hands of clocks ({doc}`../diffusion/training`). Here there are 160 clocks, two numbers each
# {cite}`vaswani2017attention,ho2020denoising`:
#
# $$
# \begin{aligned}
# \mathrm{embed}(t) &= (\cos \omega_0 t, \dots, \cos \omega_{159} t,\; \sin \omega_0 t, \dots, \sin \omega_{159} t), \\
# \omega_i &= 10000^{-i/160} .
# \end{aligned}
# $$ (unet-embed)
#
# How alike two times look is then a sum of cosines of their *distance*, $\mathrm{embed}(s)^\top \mathrm{embed}(t) = \sum_i \cos \omega_i (s - t)$. The cell checks both.
# Other models put the sines first, or use another exponent. A checkpoint does not say so in its weights, but its configuration does (`flip_sin_to_cos`, `freq_shift`), and
# `UNetConfig.from_json` refuses what it does not mean.

# %%
from minisd.models.layers import timestep_embedding

omega = 10_000 ** (-torch.arange(160) / 160)
t = torch.tensor([0.0, 3.0, 500.5, 999.0])
angle = t[:, None] * omega
written = torch.cat([angle.cos(), angle.sin()], dim=1)
print(f"same as minisd: {torch.allclose(timestep_embedding(t, 320), written, atol=1e-4)}")
alike = written @ written.T
distance = (t[:, None] - t).abs()
closed = (distance[..., None] * omega).cos().sum(-1)
print(f"alike by the distance alone: {torch.allclose(alike, closed, atol=0.05)}")
turns = omega * 999 / (2 * torch.pi)
print(f"clocks that go round within 1000 steps: {int((turns >= 1).sum())} of 160")

# %% [markdown]
# {numref}`unet-clocks` shows the clocks, and how alike two times look. A neighbour in time looks almost the same, so that what is learned for one time serves the next. The slow clocks keep times far apart from
# looking strange to each other. Two linear layers with a SiLU, $\mathrm{SiLU}(x) = x / (1 + e^{-x})$, then make 1,280 numbers of it, which every residual block is given.

# %% mystnb={"image": {"alt": "Left: six curves of a cosine over time t, one a clock; clock 25 swings over thirty times, clock 50 nine times, clock 75 twice, clock 100 half a time, clocks 125 and 150 hardly move. Right: likeness over distance in time, falling from 1 to about 0.7 at ten steps, 0.4 at a hundred and 0.2 at a thousand."}, "figure": {"caption": "Left: fast clocks tell neighbouring times apart, slow ones early from late. Right: the likeness of two times falls with the logarithm of their distance.", "name": "unet-clocks"}}
waves = timestep_embedding(torch.arange(1000.0), 320)
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.7))
for height, i in enumerate((25, 50, 75, 100, 125, 150)):
    axes[0].plot(waves[:, i] / 2.6 + height, lw=1.2)
axes[0].set(xlabel="index $t$", ylabel="clock $i$", title="$\\cos \\omega_i t$")
axes[0].set_yticks(range(6), (25, 50, 75, 100, 125, 150))
axes[1].semilogx(range(1, 1000), (waves[1:] @ waves[0]) / 160)
axes[1].set(xlabel="distance in time", ylabel="likeness", ylim=(0, 1.05))
plt.show()

# %% [markdown]
# What is the time good for, if the noise can be seen? Take scenes at $t = 500$ and tell the U-Net something else. Told that there is less noise than there is, it takes less away, and leaves the rest in the picture. Told that there is more, it takes away some of the scene, too.

# %% mystnb={"image": {"alt": "Six pictures: a noisy scene, and what the U-Net predicts when it is told the times 100, 300, 500, 700 and 900. At 100 stains cover the scene, at 300 its colours are harsh, at 500 it is cleanest, at 700 and 900 it fades."}, "figure": {"caption": "One noisy latent of $t = 500$, and the clean picture predicted by a U-Net that is told another time. It believes what it is told.", "name": "unet-told"}}
from minisd.scenes import scene_factors

examples = [scene_factors(i) for i in range(8)]
captions = sd.encode_text([caption(x) for x in examples])
z_0 = latents(examples)
x_500 = schedule.q_sample(z_0, 500, torch.randn(z_0.shape, generator=g))
lies = (100, 300, 500, 700, 900)
guesses = torch.stack([predict(x_500, 500, captions, told=t) for t in lies])
shown = torch.cat([x_500[None], guesses])[:, 1]
titles = ["$x_{500}$", *(f"told {t}" for t in lies)]
image_grid(sd.decode(shown), titles)
plt.show()

# %%
errors = (guesses - z_0).square().mean((1, 2, 3, 4))
print(f"best when told the truth: {lies[int(errors.argmin())] == 500}")

# %% [markdown]
# ## The residual block
#
# Most of the network is made of one block, 22 times. It carries its input $x$ past two convolutions and adds what they found {cite}`he2016deep,ho2020denoising`:
#
# $$
# \begin{aligned}
# h &= \mathrm{conv}_1(\mathrm{SiLU}(\mathrm{norm}_1(x))) + W\tau, \\
# y &= \mathrm{shortcut}(x) + \mathrm{conv}_2(\mathrm{SiLU}(\mathrm{norm}_2(h))) ,
# \end{aligned}
# $$ (unet-block)
#
# where $\tau$ is the SiLU of the embedded time, and $W\tau$ one number for each channel, the same at every pixel. The shortcut is the identity, or a 1x1 convolution where the number of
# channels changes. The norm is a *group norm* {cite}`wu2018group`: the channels are dealt into 32 groups, and in each group of each picture, over its channels and all pixels,
#
# $$
# \mathrm{norm}(h) = \gamma\, \frac{h - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta ,
# $$ (unet-norm)
#
# with a $\gamma$ and a $\beta$ for each channel. It does not look at the other pictures of a batch, so a picture does not depend on its company. The cell writes both formulas out.


# %%
def group_norm(h, layer):
    """The formula, for h [B, C, H, W]."""
    B, C, H, W = h.shape
    groups = h.reshape(B, layer.num_groups, -1)
    mean = groups.mean(-1, keepdim=True)
    variance = groups.var(-1, correction=0, keepdim=True)
    groups = (groups - mean) / (variance + layer.eps).sqrt()
    scale, shift = layer.weight[:, None, None], layer.bias[:, None, None]
    return groups.reshape(B, C, H, W) * scale + shift


def block_by_hand(block, x, tau):
    h = block.conv1(F.silu(group_norm(x, block.norm1)))
    h = h + block.time_emb_proj(tau)[:, :, None, None]
    h = block.conv2(F.silu(group_norm(h, block.norm2)))
    return block.conv_shortcut(x) + h


block = small.down_blocks[1].resnets[0]
tau = small.time_embedding(times)
x = torch.randn(2, 64, 8, 8, generator=g)
print(f"tau: {list(tau.shape)}, x: {list(x.shape)}, y: {list(block(x, tau).shape)}")
same = torch.allclose(block_by_hand(block, x, tau), block(x, tau), atol=1e-5)
print(f"same as minisd: {same}")

# %% [markdown]
# The small $\epsilon$ is the first number that can be read wrongly. Stable Diffusion's U-Net has $10^{-5}$ in its residual blocks and $10^{-6}$ before its attention. It stands
# in no weight, so a wrong one loads without complaint. Does it matter? By {eq}`unet-norm` the spread after the norm is $\sigma / \sqrt{\sigma^2 + \epsilon}$. The cell counts
# the norms, and norms a feature map whose values vary by 1, and one whose values vary by 0.01.

# %%
from collections import Counter

norms = [m for m in full.modules() if isinstance(m, nn.GroupNorm)]
for eps_of, count in sorted(Counter(m.eps for m in norms).items()):
    print(f"{count} group norms with {eps_of:.0e}; spread:", end=" ")
    for sigma in (1.0, 0.01):
        flat = sigma * torch.randn(1, 32, 64, 64, generator=g)
        after = F.group_norm(flat, 8, eps=eps_of).std()
        formula = sigma / (sigma**2 + eps_of) ** 0.5
        assert abs(after - formula) < 0.01
        print(f"{sigma} to {after:.3f}", end=" ")
    print()

# %% [markdown]
# Where features vary by 1 there is no difference. In weak features it is four percent, at each of 45 norms. Small faults like this one make pictures that look right and differ from
# everybody else's.
#
# ## Down, bottom and up
#
# There are four levels. On the way down, each has two residual blocks, and all but the lowest then halve the size by a convolution of stride 2. The bottom has two more. On the way up each level has
# three residual blocks, and all but the last then double the size: each pixel is repeated, and a 3x3 convolution smooths the result. The three levels of large size also have attention behind each residual block,
# and so has the bottom.
#
# The books of the skips are a stack. The way down puts the output of each layer on it: the first convolution, each residual block with its attention, each halving. Those are $1 + 3 \cdot 3 + 2 = 12$. The way up takes one
# off for each residual block, and lays it beside its own channels. As there is one block more on each level on the way up, it comes out even: $4 \cdot 3 = 12$.


# %%
def forward(unet, x_t, t, context, note=lambda *_: None, carry=lambda skip: skip):
    """The whole U-Net; `note` is told of each layer's output, `carry` may change a skip."""
    tau = unet.time_embedding(t.expand(len(x_t)))
    x = unet.conv_in(x_t)
    note("conv_in", x)
    skips = [x]
    for level, part in enumerate(unet.down_blocks):
        for i, resnet in enumerate(part.resnets):
            x = resnet(x, tau)
            if part.attentions:
                x = part.attentions[i](x, context)
            note(f"down {level}, block {i}", x)
            skips.append(x)
        for halve in part.downsamplers:
            x = halve(x)
            note(f"down {level}, halve", x)
            skips.append(x)
    middle = unet.mid_block
    x = middle.attentions[0](middle.resnets[0](x, tau), context)
    x = middle.resnets[1](x, tau)
    note("bottom", x)
    for level, part in enumerate(unet.up_blocks):
        for i, resnet in enumerate(part.resnets):
            x = resnet(torch.cat([x, carry(skips.pop())], dim=1), tau)
            if part.attentions:
                x = part.attentions[i](x, context)
            note(f"up {level}, block {i}", x)
        for double in part.upsamplers:
            x = double(x, size=skips[-1].shape[-2:])
            note(f"up {level}, double", x)
    assert not skips
    x = unet.conv_out(F.silu(unet.conv_norm_out(x)))
    note("conv_out", x)
    return x


ours, theirs = forward(small, noisy, times, text), small(noisy, times, text)
print(f"same as minisd: {torch.equal(ours, theirs)}")

# %% [markdown]
# Run it at full size on the meta device, and note down each skip: who made it, who takes it, and its shape, for a latent of 64x64 and for one of 45x61, that is, a picture of 360x488 pixels.


# %%
def shapes(size):
    """Every layer of the full U-Net with the shape of its output."""
    rows = []
    with torch.device("meta"):
        x, t, c = torch.empty(1, 4, *size), torch.empty(1), torch.empty(1, 77, 768)
        forward(full, x, t, c, lambda name, x: rows.append((name, list(x.shape[1:]))))
    return rows


def is_skip(name):
    return name == "conv_in" or name.startswith("down")


square, odd = shapes((64, 64)), shapes((45, 61))
makers = [row for row in square if is_skip(row[0])]
takers = [name for name, _ in square if name.startswith("up") and "block" in name]
print(f"{'made by':16}{'taken by':16}{'channels':10}{'64x64':10}45x61")
for (maker, shape), taker, (_, other) in zip(makers, takers[::-1], odd, strict=False):
    C, H, W = shape
    print(f"{maker:16}{taker:16}{C:<10}{f'{H}x{W}':10}{other[1]}x{other[2]}")
C, H, W = dict(square)["bottom"]
print(f"bottom: {C} x {H}x{W} = {C * H * W:,} numbers; the latent has {4 * 64 * 64:,}")

# %% [markdown]
# {numref}`unet-shape` draws the same table. The bottom is no needle's eye: it has five times as many numbers as the latent. What the skips save is not room but the way. Exact places need not
# survive three halvings and a dozen norms; they go straight across.

# %% mystnb={"image": {"alt": "The layers of the U-Net from left to right as bars. Their height is the size of the latent: 64, then 32, 16 and 8 at the bottom in the middle, and back up to 64. Bars with attention are blue, others grey. Arcs above join each layer on the left to the one on the right that takes its skip, nested like a rainbow."}, "figure": {"caption": "The U-Net's layers in order. A bar is as high as the latent is large; blue ones have attention. Each arc is a skip: last made, first taken.", "name": "unet-shape"}}
from matplotlib.patches import Arc

from minisd.plots import COLOURS

names = [name for name, _ in square]
figure, axes = plt.subplots(figsize=(6.4, 3.4))
for i, (name, (_, H, _)) in enumerate(square):
    levels = ("down 0", "down 1", "down 2", "up 1", "up 2", "up 3")
    attends = name == "bottom" or (name.startswith(levels) and "block" in name)
    colour = COLOURS["blue"] if attends else "#AAAAAA"
    axes.bar(i, H, bottom=-H / 2, width=0.8, color=colour)
for (maker, _), taker in zip(makers, takers[::-1], strict=True):
    a, b = names.index(maker), names.index(taker)
    arc = Arc(((a + b) / 2, 34), b - a, 2.2 * (b - a), theta2=180, color="#D55E00")
    axes.add_patch(arc)
for name in ("down 0, block 0", "down 1, block 0", "down 2, block 0", "bottom",
             "up 1, block 1", "up 2, block 1", "up 3, block 1"):  # fmt: skip
    i, (C, H, _) = names.index(name), dict(square)[name]
    axes.text(i, -H / 2 - 2, f"{C}\n{H}x{H}", ha="center", va="top", fontsize=8)
axes.set(xlim=(-1, len(square)), ylim=(-48, 68), xlabel="layer", yticks=[])
axes.grid(False)
axes.spines["left"].set_visible(False)
plt.show()

# %% [markdown]
# What do the layers hold? {numref}`unet-features` colours the feature maps of the miniature by their three main directions, over eight scenes: where two places have the same colour, the layer says much the same of them.

# %% mystnb={"image": {"alt": "Two rows of eight pictures: a scene, and maps of seven layers in false colours. On the way down the maps get coarser, 16, 8 and 4 squares wide, and on the way up finer again. Of those on the way up, the one of 8 squares shows the parts of the scene in colours of their own, and the last one is grainy."}, "figure": {"caption": "Two scenes at $t = 300$, and the main directions of the U-Net's feature maps as red, green and blue. Half-way up the layout of the scene is there. The last map is grainy, since what it is about to say is the noise.", "name": "unet-features"}}
layers = {}
x_300 = schedule.q_sample(z_0, 300, torch.randn(z_0.shape, generator=g))
forward(small, x_300, torch.tensor(300.0), captions, layers.__setitem__)
wanted = ["down 0, block 0", "down 1, block 0", "down 2, block 0", "bottom"]
wanted += ["up 0, block 1", "up 1, block 1", "up 2, block 1"]
columns = [sd.decode(z_0[1:3])]
for name in wanted:
    h = layers[name]
    points = h.permute(0, 2, 3, 1).flatten(0, 2)
    points = points - points.mean(0)
    main = points @ torch.linalg.svd(points, full_matrices=False).Vh[:3].T
    main = (main / main.std(0) / 2.5).clamp(-1, 1).unflatten(0, (8, *h.shape[2:]))
    columns.append(F.interpolate(main[1:3].permute(0, 3, 1, 2), 64))
titles = ["scene", *(name.replace(", block", ",") for name in wanted), *[""] * 8]
image_grid(torch.stack(columns, dim=1).flatten(0, 1), titles, columns=8)
plt.show()

# %% [markdown]
# And what goes straight across? Take from the skips all that says *where*: on one level or on all, let each channel be its mean over all places.


# %% mystnb={"image": {"alt": "Two rows of five pictures of two scenes at t = 300, as predicted. With the skips of 4x4 or 8x8 levelled a scene changes a little. With those of 16x16 levelled, or all, it is covered by stains of noise."}, "figure": {"caption": "The predicted clean picture when skips no longer say where. Noise differs from place to place: without the skips of full size the U-Net cannot point to it, and it stays in the picture.", "name": "unet-skips"}}
def level(*widths):
    """Let skips of these widths be the same at every place."""

    def carry(skip):
        mean = skip.mean((2, 3), keepdim=True).expand_as(skip)
        return mean if skip.shape[-1] in widths else skip

    return carry


columns = []
for widths in ((), (4,), (8,), (16,), (4, 8, 16)):
    eps = forward(small, x_300, torch.tensor(300.0), captions, carry=level(*widths))
    columns.append(schedule.convert(eps, x_300, 300, "eps", "x0"))
titles = ["as it is", "4x4 levelled", "8x8 levelled", "16x16 levelled", "all", *[""] * 5]
image_grid(sd.decode(torch.stack(columns, dim=1)[1:3].flatten(0, 1)), titles, columns=5)
plt.show()

# %%
errors = [float((x - z_0).square().mean()) for x in columns]
print(f"the skips of 16x16 matter most: {max(errors[:4]) == errors[3]}")

# %% [markdown]
# An odd size shows what the books are for. 45 is halved upwards, to 23, 12 and 6. Doubling gives 12, 24: one too many for the skip of 23. So the way up asks the next skip for its size, as `forward` does. A U-Net that always doubles
# stops here:

# %%
sizes = [45]
while len(sizes) < 4:
    sizes.append(-(-sizes[-1] // 2))
print(f"down: {sizes}, doubled: {[2 * n for n in sizes[:0:-1]]}")
double = small.up_blocks[0].upsamplers[0]
try:
    torch.cat([double(torch.randn(1, 128, 12, 12)), torch.randn(1, 96, 23, 23)], dim=1)
except RuntimeError as error:
    print(str(error).split(".")[0])

# %% [markdown]
# ## Attention, and a number with a wrong name
#
# The 16 blocks of attention are those of {doc}`attention`: self-attention over the pixels, cross-attention to the text, a feed-forward layer. Each works with several heads, and here is the second number that can be
# read wrongly. The configuration says `attention_head_dim: 8`. It does not mean heads of 8 channels. It means **8 heads**: the name is a mistake that was kept, since the files of many models
# already had it ([diffusers, issue 2011](https://github.com/huggingface/diffusers/issues/2011)). The number of heads is in no weight's shape, so the
# other reading loads the same checkpoint, and draws something else.

# %%
from minisd.models.attention import Attention, SpatialTransformer

attentions = {m.to_q.in_features: m.heads for m in full.modules() if isinstance(m, Attention)}
for channels, heads in attentions.items():
    print(f"{channels} channels: {heads} heads of {channels // heads}; not {channels // 8} of 8")

misread = {"attention_head_dim": tuple(n // 4 for n in small.config.block_out_channels)}
wrong = UNet(UNetConfig(**vars(small.config) | misread)).eval().requires_grad_(False)
print(wrong.load_state_dict(small.state_dict()))
off = (wrong(noisy, times, text) - theirs).abs().max() / theirs.abs().max()
print(f"and the output is off by more than 1 %: {bool(off > 0.01)}")

# %% [markdown]
# The miniature's file says `attention_head_dim: 4`. {numref}`unet-heads` shows what it draws with 4 heads, and what with heads of 4 channels.

# %% mystnb={"image": {"alt": "Two rows of four pictures. Above a dog with sunglasses in a grass field, a cat with sunglasses on a bench, a red car in the snow and a blue kite on a beach. Below the same noises and prompts came out otherwise, with mistakes."}, "figure": {"caption": "Drawn by the miniature from four prompts: with 4 heads (above), and by the same weights read as heads of 4 channels (below). Both load without complaint.", "name": "unet-heads"}}
import copy

prompts = [*report, "a large red car in the snow", "a blue kite on a beach"]
shipped = {"steps": 25, "guidance_scale": 4, "output": "tensor", "progress": False}
misreader = copy.copy(sd)
misreader.unet = wrong
drawings = [who.text_to_image(prompts, **shipped) for who in (sd, misreader)]
image_grid(torch.cat(drawings), columns=4)
plt.show()

# %% [markdown]
# ## Against diffusers
#
# A network with faults like these still gives tensors of the right shape. What tells is a peer. The cell below is the only one that needs diffusers, which the book's readers need not have in order to use `minisd`. diffusers loads the same folder, and both get the same latents, at an even and at an odd size.

# %%
# Parity: this cell alone imports diffusers.
import diffusers

diffusers.utils.logging.set_verbosity_error()
peer = diffusers.UNet2DConditionModel.from_pretrained(FOLDER, subfolder="unet").eval()
for size in ((16, 16), (13, 19)):
    x = torch.randn(2, 4, *size, generator=g)
    with torch.no_grad():
        expected, got = peer(x, times, text).sample, small(x, times, text)
    error = (got - expected).abs().max() / expected.abs().max()
    print(f"{size}: error < 1e-4: {bool(error < 1e-4)}")

# %% [markdown]
# The full size has been through the same comparison; {doc}`real_weights` has its table.
#
# ## How far a pixel sees
#
# Which pixels of $x_t$ can change one pixel of a feature map? Take the convolutions alone first. If neighbours in a map are $j$ latent pixels apart, a convolution of width $k$ adds $k - 1$
# such steps to the width $r$ that is seen, and a stride $s$ makes the steps longer:
#
# $$
# r \leftarrow r + (k - 1)\, j, \qquad j \leftarrow s\, j .
# $$ (unet-field)
#
# The cell takes norms and attention out and computes $r$ by the formula for every layer down to the bottom. Then it measures $r$: differentiate one pixel of the map by the latent, and see how wide the gradient
# is. A network of 8 channels that nobody trained will do, as widths depend neither on channels nor on training.


# %%
class Passed(nn.Module):
    """Stands where attention was, and does nothing."""

    def forward(self, x, context):
        return x


def convolutions_alone(network):
    """The network without norms and attention."""
    bare = copy.deepcopy(network)
    for parent in list(bare.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(parent, name, nn.Identity())
            elif isinstance(child, SpatialTransformer):
                setattr(parent, name, Passed())
    return bare


torch.manual_seed(0)
narrow = UNet(UNetConfig(block_out_channels=(8,) * 4, norm_num_groups=4, attention_head_dim=1))
bare = convolutions_alone(narrow)
r, j, formula = 1, 1, {}
for name in [*(maker for maker, _ in makers), "bottom"]:
    convolutions = 4 if name == "bottom" else 2 if "block" in name else 1
    r += convolutions * (3 - 1) * j
    if name.endswith("halve"):
        j *= 2
    formula[name] = r
x = torch.randn(1, 4, 256, 256, generator=g, requires_grad=True)
layers, width = {}, {}
forward(bare, x, torch.tensor(500.0), torch.zeros(1, 77, 768), layers.__setitem__)
for name in formula:
    h = layers[name]
    middle = h[0, :, h.shape[2] // 2, h.shape[3] // 2].sum()
    (slope,) = torch.autograd.grad(middle, x, retain_graph=True)
    width[name] = int((slope[0].abs().sum((0, 1)) > 0).sum())
print(f"formula and gradient agree in all {len(formula)} layers: {width == formula}")
for name in ("down 0, block 1", "down 1, block 1", "down 2, block 1", "down 3, block 1", "bottom"):
    print(f"{name}: {width[name]} latent pixels across")

# %% [markdown]
# On the third level a pixel sees 65 latent pixels across, as much as there are: the levels are what lets small convolutions see the whole picture. On one level alone the eight blocks of the way down would see 35, in place of 137.
#
# That is where a pixel *can* look. How strongly it does is another matter {cite}`luo2016understanding`. And two things look further at once: attention asks all pixels, and a group norm takes its mean over all of them.
# So ask the trained miniature: which places of the noisy latent move the predicted clean latent in its middle? Move the slider through the times. With little noise it is the place itself. With more, the answer is gathered from further and further around.


# %%
from minisd.widgets import slider

noise = torch.randn(z.shape, generator=g)


def draw_asked(t):
    x = schedule.q_sample(z, t, noise).requires_grad_()
    guess = predict(x, t, with_text[None])
    (slope,) = torch.autograd.grad(guess[0, :, 8, 8].sum(), x)
    strength = slope[0].abs().sum(0)
    pictures = (sd.decode(torch.cat([x, guess]).detach()).clamp(-1, 1) + 1) / 2
    figure, axes = plt.subplots(1, 3, figsize=(5.4, 1.9), width_ratios=[1, 1, 1.25])
    axes[0].imshow(pictures[0].permute(1, 2, 0))
    axes[1].imshow(pictures[1].permute(1, 2, 0))
    image = axes[2].imshow((strength / strength.max()).clamp(min=1e-3).log10(), vmin=-3, vmax=0)
    for axis, title in zip(axes, ("noisy", "predicted", "asked for the middle"), strict=True):
        axis.set(title=title, xticks=[], yticks=[])
        axis.grid(False)
    figure.colorbar(image, ax=axes[2], label="power of ten")
    return figure


slider(
    draw_asked,
    [10, 150, 350, 550, 750, 980],
    label="t",
    caption="How strongly each place of the noisy latent moves the predicted clean latent in the middle, as a share of the strongest.",
    alt="At t = {}: the noisy picture, the predicted clean one, and a map of the places that the middle asks.".format,
    start=2,
)

# %% tags=["remove-input"]
set_matplotlib_formats("png", bbox_inches=None)

# %% [markdown]
# ## Where the parameters are
#
# The full U-Net has 859,520,964 of them, in 686 tensors. Their names say where they are and what they do, so they can be sorted in two ways at once.

# %% mystnb={"image": {"alt": "Stacked horizontal bars of millions of parameters. The levels of 1280 channels have most: up 1 258, up 0 162, down 2 140, the bottom 97, down 3 62. The levels of 320 channels have 11 and 19. Convolutions of residual blocks are the largest share nearly everywhere, feed-forward layers the next."}, "figure": {"caption": "Most parameters sit where the latent is small. Convolutions hold the most, and the way up more than the way down, since its blocks also read the skips.", "name": "unet-parameters"}}
KINDS = {
    "resnets": "convolutions of residual blocks",
    "time": "time",
    "attn1": "self-attention",
    "attn2": "cross-attention",
    "ff": "feed-forward",
    "proj_": "1x1 around attention",
    "samplers": "halving and doubling",
    "": "the rest",
}


def kind(key):
    if "time" in key:
        return "time"
    return next(name for part, name in KINDS.items() if part in key)


def place(key):
    parts = key.split(".")
    where = parts[0].removesuffix("_blocks").removesuffix("_block")
    if where in ("down", "up"):
        return f"{where} {parts[1]}"
    return "bottom" if where == "mid" else where


sorted_by = Counter()
for key, value in full.state_dict().items():
    sorted_by[place(key), kind(key)] += value.numel()
places = [*(f"down {i}" for i in range(4)), "bottom", *(f"up {i}" for i in range(4))]
colours = ["#AAAAAA", *COLOURS.values()]
figure, axes = plt.subplots(figsize=(6.4, 3.6))
left = [0.0] * len(places)
for name, colour in zip(KINDS.values(), colours, strict=True):
    widths = [sorted_by[where, name] / 1e6 for where in places]
    axes.barh(places, widths, left=left, label=name, color=colour)
    left = [a + b for a, b in zip(left, widths, strict=True)]
axes.set(xlabel="million parameters")
axes.invert_yaxis()
axes.legend(loc="upper right", fontsize=8)
plt.show()

# %%
total = sum(sorted_by.values())
print(f"{total:,} in all: {total == 859_520_964}")
for name in KINDS.values():
    share = sum(n for (_, k), n in sorted_by.items() if k == name) / total
    print(f"{name:34}{share:6.1%}")
readers = ("attn2.to_k.weight", "attn2.to_v.weight")
text_in = sum(v.numel() for k, v in full.state_dict().items() if k.endswith(readers))
print(f"of them, what reads the text: {text_in / total:.1%}")

# %% [markdown]
# ## What a step costs
#
# Count multiplications and additions, two operations for each pair. A convolution of width $k$ makes $H W$ numbers for each of $C_\text{out}$ channels, each from $k^2 C_\text{in}$; a linear layer does the same for $N$ rows; attention multiplies queries with keys and weights with
# values:
#
# $$
# 2\, k^2\, C_\text{in} C_\text{out}\, H W, \qquad 2\, N\, C_\text{in} C_\text{out}, \qquad 4\, N M\, C .
# $$ (unet-cost)
#
# For self-attention $N = M = HW$: its cost grows with the square of the number of pixels, the others' with the number itself. The cell counts by {eq}`unet-cost`, with a hook on each layer, and PyTorch's own counter checks the sum.

# %%
from torch.utils.flop_counter import FlopCounterMode


def cost(network, size):
    """Operations of one step for one latent, by kind, and PyTorch's own count of all."""
    counts = Counter()

    def convolution(layer, inputs, out):
        name = "convolutions 3x3" if layer.kernel_size == (3, 3) else "linear layers"
        counts[name] += 2 * layer.weight.numel() * out.shape[2] * out.shape[3]

    def linear(layer, inputs, out):
        counts["linear layers"] += 2 * layer.weight.numel() * (out.numel() // out.shape[-1])

    def attention(layer, inputs, out):
        name = "self-attention" if len(inputs) == 1 else "cross-attention"
        counts[name] += 4 * inputs[0].shape[1] * inputs[-1].shape[1] * out.shape[-1]

    counters = {nn.Conv2d: convolution, nn.Linear: linear, Attention: attention}
    hooks = []
    for module in network.modules():
        if type(module) in counters:
            hooks.append(module.register_forward_hook(counters[type(module)]))
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        x, t, c = torch.empty(1, 4, size, size), torch.empty(1), torch.empty(1, 77, 768)
        network(x, t, c)
    for hook in hooks:
        hook.remove()
    return counts, counter.get_total_flops()


costs = {size: cost(full, size) for size in (32, 64, 96, 128)}
print(f"equal to PyTorch's count: {all(n.total() == all_ for n, all_ in costs.values())}")
by_kind, all_ = costs[64]
print(f"a step at 64x64: {all_ / 1e9:.0f} thousand million operations")
for name, count in by_kind.most_common():
    print(f"{name:18}{count / all_:6.1%}")

# %% mystnb={"image": {"alt": "Stacked bars of operations a step for pictures of 256, 512, 768 and 1024 pixels. The total grows from 0.17 to about 5 million million; self-attention is hardly visible at 256, a seventh at 512 and the largest part at 1024."}, "figure": {"caption": "Twice the side costs four times as much in convolutions and sixteen times as much in self-attention, which is the largest part at 1024 pixels.", "name": "unet-cost-figure"}}
figure, axes = plt.subplots(figsize=(6.4, 3))
bottom = [0.0] * 4
labels = [f"{8 * size} pixels" for size in costs]
for name in by_kind:
    heights = [counts[name] / 1e12 for counts, _ in costs.values()]
    axes.bar(labels, heights, 0.6, bottom=bottom, label=name)
    bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
axes.set(ylabel="operations a step ($10^{12}$)")
axes.legend()
plt.show()

# %% [markdown]
# Guidance doubles all of this: each step asks with the text and without it ({doc}`pipeline`). Where the parameters are and where the work is are two different places. A weight of the level at 8x8 is used for 64 pixels, one of the first level for 4,096.
#
# ## What the text changes
#
# The text enters in 16 places and nowhere else: the cross-attentions. Two things follow from how attention works. The U-Net does not know the order of the 77 rows, since a sum has no order: what it knows of the order of words, CLIP has written into the
# rows. And a batch is a batch of strangers: each latent reads its own text.

# %%
order = torch.randperm(32, generator=torch.Generator().manual_seed(3))
with torch.no_grad():
    usual = small(noisy, times, text)
    shuffled = small(noisy, times, text[:, order])
    exchanged = small(noisy, times, text.flip(0))
    single = small(noisy[:1], times[:1], text[:1])
print(f"rows in another order, same output: {torch.allclose(usual, shuffled, atol=1e-4)}")
print(f"another text, same output: {torch.allclose(usual, exchanged, atol=1e-2)}")
print(f"alone or in a batch, same output: {torch.allclose(usual[:1], single, atol=1e-4)}")

# %% [markdown]
# Let the miniature draw two noises under each of eight texts. {numref}`unet-texts` shows the result: the words are obeyed, and the noise decides the rest.

# %% tags=["remove-input"]
set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 45})

# %% mystnb={"image": {"alt": "Two rows of eight small pictures of an umbrella. From left to right red, yellow, blue and white on grass, then the same colours in snow. Within a row the pictures are alike but for what the text says."}, "figure": {"caption": "The same noise under eight texts, drawn by the miniature: an umbrella in four colours on grass, and in four in snow. A row is one noise.", "name": "unet-texts"}}
colour_words = ["red", "yellow", "blue", "white"]
umbrellas = [
    SceneFactors(ground, (Thing("umbrella", colour),))
    for ground in ("grass field", "snow")
    for colour in colour_words
]
prompts = [caption(x) for x in umbrellas]
print(prompts[0])
drawn = sd.text_to_image(prompts * 2, seed=[1] * 8 + [2] * 8, batch_size=8, **shipped)
image_grid(drawn, [*(colour_words * 2), *[""] * 8], columns=8)
plt.show()

# %%
means = drawn.reshape(2, 2, 4, 3, 64, 64)
red, _, blue = means[..., 20:40, 20:44].mean((0, 1, -2, -1)).unbind(1)  # of each colour word
print(f"'red' is redder than 'blue': {bool(red[0] - blue[0] > red[2] - blue[2] + 0.3)}")
below = means[..., 52:, :].mean((0, 2, -2, -1))
print(f"'grass' is greener than 'snow': {bool((below[0, 1] > below[0, 2] + 0.2).all())}")

# %% [markdown]
# *When* does the text matter? Take noised scenes at many times, change one word, and see how much the predicted clean latent moves. {numref}`unet-when` shows it. With little noise the picture itself tells its colour, and the word adds
# little. The more noise, the more the word counts: it does most in the first steps of sampling. And a word acts in its place: the colour word moves the umbrella, the other one the ground.


# %% mystnb={"image": {"alt": "Left: two curves of how much the clean latent moves over the time t; both are near 0 at small t and rise towards large t. Right: two maps of 16 by 16 places. The colour word changes the middle, in the form of an umbrella; the ground word changes what is around it."}, "figure": {"caption": "Change one word. Left: the noisier the latent, the more the word moves the predicted clean one. Right: where it does, at $t = 800$ (bright: much).", "name": "unet-when"}}
z_u = latents(umbrellas)
told = sd.encode_text(prompts)


def moved(t, changed):
    """Change in the predicted clean latent [16, 16], mean square."""
    rows = [i for i in range(8) if prompts[i] != changed[i]]
    g = torch.Generator().manual_seed(2)
    x_t = schedule.q_sample(z_u, t, torch.randn(z_u.shape, generator=g))[rows]
    other = sd.encode_text([changed[i] for i in rows])
    difference = predict(x_t, t, told[rows]) - predict(x_t, t, other)
    return difference.square().mean((0, 1))


grid = [*range(0, 1000, 100), 950, 999]
colours = [x.things[0].colour for x in umbrellas]
changes = {
    "colour to blue": [a.replace(b, "blue") for a, b in zip(prompts, colours, strict=True)],
    "ground to snow": [a.replace("grass", "snowy") for a in prompts],
}
figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.4), width_ratios=[1.5, 1, 1])
for axis, (name, changed) in zip(axes[1:], changes.items(), strict=True):
    axes[0].plot(grid, [moved(t, changed).mean().sqrt() for t in grid], label=name)
    axis.imshow(moved(800, changed).sqrt())
    axis.set(title=name, xticks=[], yticks=[])
    axis.grid(False)
axes[0].set(xlabel="index $t$", ylabel="move of $\\hat x_0$")
axes[0].legend()
plt.show()

# %% [markdown]
# ## Made ready for sampling
#
# A sampler calls the U-Net fifty times, and much of what it asks is the same each time. The text does not change: its keys and values, two matrices in each of 16 places, are the same at every step. The time's
# projections, 22 of them and two layers before, depend on the time alone, and the next picture visits the same times. In self-attention, queries, keys and values are three matrices on one input, and could be one. `optimize_for_inference` makes a second U-Net that does each of
# these once. The cell counts linear layers as they are called.

# %%
from torch.overrides import TorchFunctionMode

from minisd.models.optimize import optimize_for_inference


class CountLinears(TorchFunctionMode):
    """Counts the calls of F.linear, wherever they come from."""

    count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += function is F.linear
        return function(*args, **(kwargs or {}))


def linears(network, t):
    with torch.no_grad(), CountLinears() as counter:
        network(noisy, torch.full((2,), t), text)
    return counter.count


fast = optimize_for_inference(small)
print(f"as trained:                   {linears(small, 901.0)}")
print(f"made ready, first step:       {linears(fast, 901.0)}")
print(f"the next step, another time:  {linears(fast, 881.0)}")
print(f"next picture, the same time:  {linears(fast, 901.0)}")

# %% [markdown]
# All of this is exact: no approximation, the same numbers up to rounding. The cell checks it over five steps of a sampler, and what the rearranged network is not: something to train.

# %%
from minisd.diffusion import ImageNoise, sample

start = ImageNoise([0, 1]).draw((4, 16, 16))
with torch.no_grad():
    both = [
        sample(lambda x, t, u=u: u(x, t, text), start, schedule, 5, "ddim") for u in (small, fast)
    ]
print(f"error < 1e-4: {bool((both[0] - both[1]).abs().max() < 1e-4 * both[0].abs().max())}")
try:
    fast(noisy.clone().requires_grad_(), times, text)
except RuntimeError as error:
    print(error)

# %% [markdown]
# Fewer operations are not yet a gain: the linear layers that go are small ones. On a CPU most of it comes from a fourth thing. The weights of the convolutions are laid out once as the CPU's library wants them, and no longer at each call. How much time it saves
# depends on machine and size; [the measurements](https://github.com/minisd-book/minisd/blob/main/benchmarks/README.md) say on which it was measured. The price is memory: what is rearranged is held a second time.
#
# ## Exercises
#
# ```{exercise} A shift that does nothing
# :label: unet-shift
#
# The time enters a residual block as one number for each channel, right before the second norm. Suppose that $W\tau$ is the same number for all channels of a group. What does the block learn of the time? Check it.
# ```
#
# ```{solution-start} unet-shift
# :class: dropdown
# ```
#
# Nothing. By {eq}`unet-norm` the norm takes the mean of each group away, and with it the shift. The time acts by *differences* between the channels of a group: it raises some above the others, and SiLU then lets those through.

# %%
h = torch.randn(2, 96, 8, 8, generator=g)
norm = block.norm2  # 16 groups of 6 channels
by_group = torch.randn(16, generator=g).repeat_interleave(6)
by_channel = torch.randn(96, generator=g)
for name, shift in (("group", by_group), ("channel", by_channel)):
    change = (norm(h + shift[:, None, None]) - norm(h)).abs().max()
    print(f"one number a {name}: seen behind the norm: {bool(change > 1e-3)}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Nine channels
# :label: unet-nine
#
# The inpainting U-Net has 9 input channels in place of 4. How many parameters more has it? It was trained from the other one's weights: what must the new ones be, so that on the first day it does what the old one did?
# ```
#
# ```{solution-start} unet-nine
# :class: dropdown
# ```
#
# Only `conv_in` changes: $5 \cdot 9 \cdot 320 = 14{,}400$ weights more. With zeros in them the new channels are not heard.

# %%
with torch.device("meta"):
    nine = UNet(UNetConfig(in_channels=9))
print(sum(p.numel() for p in nine.parameters()) - total)

wide = UNet(UNetConfig(**vars(small.config) | {"in_channels": 9})).eval()
grown = dict(small.state_dict())
grown["conv_in.weight"] = F.pad(grown["conv_in.weight"], (0, 0, 0, 0, 0, 5))
wide.load_state_dict(grown)
more = torch.randn(2, 5, 16, 16, generator=g)
with torch.no_grad():
    got = wide(torch.cat([noisy, more], dim=1), times, text)
print(f"does what it did: {torch.allclose(got, usual, atol=1e-4)}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} When attention overtakes
# :label: unet-overtakes
#
# From which picture size on does self-attention cost more than the 3x3 convolutions? Compute it from the costs at 64x64, then count at both sides of your answer.
# ```
#
# ```{solution-start} unet-overtakes
# :class: dropdown
# ```
#
# With the side multiplied by $a$, convolutions cost $a^2$ times as much and self-attention $a^4$. They are equal at $a^2 = $ the ratio of their costs at 64x64.

# %%
ratio = by_kind["convolutions 3x3"] / by_kind["self-attention"]
print(f"equal at a latent of side {64 * ratio**0.5:.0f}: {512 * ratio**0.5:.0f} pixels")
for size in (112, 120):
    counts, _ = cost(full, size)
    more = counts["self-attention"] > counts["convolutions 3x3"]
    print(f"{8 * size} pixels: self-attention costs more: {more}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`ronneberger2015unet` drew the U for cells under a microscope. {cite:t}`ho2020denoising` made it a denoiser: residual blocks {cite}`he2016deep`, group norms {cite}`wu2018group`, the time by cosines and sines, and self-attention at one size. {cite:t}`dhariwal2021diffusion` compare depths, widths, heads and
# sizes with attention. {cite:t}`rombach2022high` moved it into the latent space and gave it cross-attention, through which it reads a text, or anything else that can be written as rows of numbers. That will matter again when the rows come from a brain.
#
# ## The way on
#
# You have all the parts now: tokenizer and text encoder, autoencoder, U-Net, schedule and sampler. {doc}`pipeline` puts them together.
