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
# # Image to image
#
# **You will be able to**
#
# - change a picture under a text, by starting a sampler in the middle of its walk;
# - say what *strength* is, and how much of the picture it leaves;
# - measure what you trade when you raise it: likeness to your picture against likeness to the data;
# - hand the pipeline any photograph, with its turns, its transparency and its odd size.
#
# **Time** 30 minutes to read; the cells run in about 25 seconds.
#
# **Before this** {doc}`pipeline`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its sixth chapter of eight, image to image."}, "figure": {"caption": "Where you are: the sixth chapter of Part III.", "name": "image_to_image-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("image_to_image")
plt.show()

# %% [markdown]
# ## Start in the middle
#
# Text to image begins with noise at the noisiest time and walks all the way down. Now you have a picture already: a photograph, a sketch, or, in Part V, what was read out of a brain.
# SDEdit {cite}`meng2022sdedit` uses the same sampler for it. It adds noise to the picture up to a time $t$ in the middle, and walks down from there:
#
# $$
# x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\;\varepsilon .
# $$ (image_to_image-start)
#
# That is the forward process of {doc}`../diffusion/forward`, and nothing else is new. The noise drowns details first and the coarse layout last. The walk back puts new details in their place, and they are those of the data and of the text.
#
# The sampler's grid stays what it was. *Strength*, a number from 0 to 1, says how many of its last steps are walked. With $N$ steps and strength $s$ they are
#
# $$
# n = \lfloor N s \rfloor ,
# $$ (image_to_image-steps)
#
# and the walk begins at the first time of the last $n$. The report takes 50 steps and strength 0.7.

# %%
import torch

from minisd.diffusion import ImageNoise, NoiseSchedule, sample
from minisd.settings import steps_walked

torch.set_num_threads(1)  # in small tensors, threads wait for one another
schedule = NoiseSchedule.scaled_linear()
times = schedule.times(50, "leading", offset=1)  # Stable Diffusion's grid
n = steps_walked(50, 0.7)
start = float(times[-n])
g = torch.Generator().manual_seed(0)
x_0, eps = torch.randn(2, 1, 4, 8, 8, generator=g)
a = float(schedule.alpha_bar_at(start))
by_hand = a**0.5 * x_0 + (1 - a) ** 0.5 * eps
print(f"{n} of {len(times)} steps, from t = {start:.0f}")
print(torch.allclose(schedule.q_sample(x_0, start, eps), by_hand))

# %% [markdown]
# Two traps wait in this small formula. A product such as $100 \cdot 0.29$ is a hair under 29 in floating point, and rounding it down would lose a step. And a product under 1 leaves no step at all: the picture would come back as it went in,
# so `minisd` refuses it.

# %%
print(100 * 0.29 < 29, int(100 * 0.29), steps_walked(100, 0.29))
try:
    steps_walked(9, 0.1)
except ValueError as error:
    print(str(error).replace("; ", ";\n"))

# %% [markdown]
# ## What strength is not
#
# ```{admonition} A slip in the report
# :class: note
#
# Section 6.3 calls strength "the noise added to the original input". It is the share of the steps that is walked ({ref}`errata <erratum-strength>`). How much noise that is, the schedule decides.
# ```
#
# The share of the variance of $x_t$ that is still picture is $\bar\alpha_t$ at the start. At strength 0.7 it is a tenth, not 0.3 ({numref}`image_to_image-share`).

# %%
strengths = [i / 50 for i in range(1, 50)]
starts = [float(times[-steps_walked(50, s)]) for s in strengths]
left = [float(schedule.alpha_bar_at(t)) for t in starts]
at = dict(zip(strengths, left, strict=True))
for s in (0.3, 0.5, 0.7, 0.9):
    print(f"strength {s}: {at[s]:.2f} of the variance is picture")

# %% mystnb={"image": {"alt": "A curve that falls from 1 at strength 0 to nearly 0 at strength 1, and from strength 0.2 on lies well below the straight line from 1 to 0. At strength 0.7 a dot stands at 0.09."}, "figure": {"caption": "Strength is not the amount of noise. On Stable Diffusion's schedule the picture's share of the variance soon falls below one minus the strength: at 0.7 it is 9 percent.", "name": "image_to_image-share"}}
fig, axes = plt.subplots(figsize=(6.4, 2.8))
axes.plot(strengths, left, label=r"$\bar\alpha_t$ at the start")
axes.plot([0, 1], [1, 0], "--", label="one minus strength")
axes.plot([0.7], [at[0.7]], "o", color="black", label="the report's 0.7")
axes.set(xlabel="strength", ylabel="share of the variance")
axes.legend()
plt.show()

# %% [markdown]
# Where no step is left out, there is a choice. At strength 1 diffusers' image-to-image still noises the picture, to $t = 981$ of 50 steps, and keeps
# $\sqrt{\bar\alpha_{981}}$ of it. `minisd` begins with noise alone, so that strength 1 is text to image: the picture does not matter at all.

# %%
first = schedule.alpha_bar_at(times[0]) ** 0.5
print(f"t = {times[0]:.0f}: {first:.3f} of the picture's size")

# %% [markdown]
# ## A world in which you can see it
#
# No weights are trained yet. But a model can be exact without training, if the data is small enough to be known. Take 800 scenes of {doc}`../front/picture_world` as all there is.
#
# As in Stable Diffusion, the diffusion runs in a latent space: here the 64 main directions of the 800 pictures, scaled to variance 1. That is a linear autoencoder ({doc}`vae`).
# It turns 12,288 numbers into 64. The directions follow from the inner products of the pictures, a table of 800 by 800.

# %%
import numpy as np

from minisd.scenes import scenes

world = scenes(range(800))
pixels = torch.from_numpy(np.asarray(world.images))
pictures = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1  # [800, 3, 64, 64]
mean = pictures.flatten(1).mean(0)
centred = (pictures.flatten(1) - mean).double()
power, shares = torch.linalg.eigh(centred @ centred.T)  # smallest first
size = power[-64:].sqrt()
directions = (shares[:, -64:].T @ centred / size[:, None]).float()
scale = (size / 800**0.5).float()


def encode(x):
    """Pictures [B, 3, 64, 64] to latents [B, 64]."""
    return ((x.flatten(1) - mean) @ directions.T) / scale


def linear(z):
    """Latents to blurred pictures."""
    return (z * scale @ directions + mean).view(-1, 3, 64, 64)


library = encode(pictures)
print(tuple(library.shape), f"variance {library.var():.2f}")
print(f"{power[-64:].sum() / power.sum():.0%} of the variance is kept")

# %% [markdown]
# Around each latent $z_i$ put a small Gaussian of width $w = 0.2$, so that there is something between the pictures. Then $x_t$ has a mixture of Gaussians behind it, each with variance
# $v = \bar\alpha_t w^2 + 1 - \bar\alpha_t$. The clean latent to be expected is
#
# $$
# \begin{aligned}
# \mathbb E[x_0 \mid x_t] &= \sum_i p_i \left( z_i + \frac{\sqrt{\bar\alpha_t}\, w^2}{v} \bigl(x_t - \sqrt{\bar\alpha_t}\, z_i\bigr) \right), \\
# p &= \operatorname{softmax}_i\!\left(-\frac{\lVert x_t - \sqrt{\bar\alpha_t}\, z_i \rVert^2}{2 v}\right) .
# \end{aligned}
# $$ (image_to_image-library)
#
# A denoiser follows from it ({doc}`../diffusion/reverse`). With a text, only the pictures that show what it names take part. Be clear what this is: a model that has memorised its 800 pictures. In return, every number below is exact.

# %%
from minisd.diffusion import GaussianMixture

WIDTH = 0.2


def recall(z):
    """The exact denoiser of latents z [n, D], each with a little width."""

    def denoise(x_t, t):
        a = schedule.alpha_bar_at(t).to(x_t)[:, None]  # [B, 1]
        v = a * WIDTH**2 + 1 - a
        off = x_t[:, None] - a.sqrt()[:, None] * z  # [B, n, D]
        p = torch.softmax(-(off**2).sum(-1) / (2 * v), dim=1)
        near = p @ z
        x_0 = near + a.sqrt() * WIDTH**2 / v * (x_t - a.sqrt() * near)
        return (x_t - a.sqrt() * x_0) / (1 - a).sqrt()

    return denoise


few = library[:5, :3].double()
spread = WIDTH**2 * torch.eye(3).double().expand(5, 3, 3)
known = GaussianMixture(torch.ones(5).double() / 5, few, spread)
x_t = torch.randn(4, 3, generator=g).double()
t = torch.tensor([1.0, 300.0, 600.0, 999.0])
ours, theirs = recall(few)(x_t, t), known.denoiser(schedule)(x_t, t)
print(f"the known mixture's: {torch.allclose(ours, theirs, atol=1e-9)}")

# %% [markdown]
# Stable Diffusion's decoder paints details that no latent holds: it has learned what belongs there. Ours looks them up. Where a latent lies near a picture of the library, what the linear part lost of that picture is added. Far from all of them, nothing is.


# %%
lost = (pictures - linear(library)).flatten(1)


def decode(z):
    """Latents to pictures, sharp where the library knows the details."""
    near = torch.cdist(z, library) ** 2 / (2 * WIDTH**2)  # about 32 within
    far = torch.full((len(z), 1), 64.0)
    p = torch.softmax(-torch.cat([near, far], dim=1), dim=1)[:, :-1]
    return linear(z) + (p @ lost).view(-1, 3, 64, 64)


back = torch.allclose(decode(library[:9]), pictures[:9], atol=1e-3)
print(f"a scene comes back: {back}")

# %% [markdown]
# The guide is a sketch of three flat colours: blue above, green below, a red box. No scene looks like it. Its latent is where the walk begins.
# The noise is that of a picture, seen along the 64 directions: such noise is Gaussian too, and it stays the same if a direction is turned around, which the table above leaves open.

# %%
guide = torch.zeros(1, 3, 64, 64)
guide[0] = torch.tensor([-0.6, 0.0, 0.8])[:, None, None]
guide[0, :, 40:] = torch.tensor([-0.5, 0.2, -0.5])[:, None, None]
guide[0, :, 30:54, 22:44] = torch.tensor([0.6, -0.8, -0.8])[:, None, None]
sketch = encode(guide)


def edit(z_0, strength, seeds, among=library):
    """Image to image on latents z_0 [1 or B, 64], one result a seed."""
    walked = times[-steps_walked(50, strength) :]
    eps = ImageNoise(seeds).draw((3, 64, 64)).flatten(1) @ directions.T
    z = schedule.q_sample(z_0.expand_as(eps), float(walked[0]), eps)
    if strength == 1:
        z = eps
    walk = {"sampler": "ddim", "times": walked, "final": 0}
    return sample(recall(among), z, schedule, **walk)


# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 75})

# %% mystnb={"image": {"alt": "Eighteen pictures in three rows of six. The first of each row is a sketch of a red box on green under blue. At strengths 0.1 and 0.3 it is a blurred box on a blurred meadow. At 0.5 sharp scenes stand there: an orange car, a red elephant with a pink hat and again an orange car, all on a meadow under a blue sky. At 0.7 they are a red plane over a lake, a purple bear on the meadow and a yellow dog on a beach. At 1 they are a bear beside a flower pot, a kite over a pot in the snow, and a boat."}, "figure": {"caption": "One sketch, three seeds (rows), five strengths. Up to 0.3 the latent is too far from the world for its details, and the decoder blurs. At 0.5 sharp scenes share the sketch's layout and colours. At 1 nothing of the sketch is left.", "name": "image_to_image-strengths"}}
from minisd.plots import image_grid

shown = (0.1, 0.3, 0.5, 0.7, 1.0)
results = [decode(edit(sketch, s, (3, 4, 7))) for s in shown]
rows = torch.stack([guide.expand(3, -1, -1, -1), *results], dim=1)
titles = ["the guide", *(f"strength {s}" for s in shown)]
image_grid(rows.flatten(0, 1), titles + [""] * 12, columns=6)
plt.show()

# %% [markdown]
# Move the slider, and watch each seed decide. The noise is the same at every strength; only how much of it is laid over the sketch changes.

# %%
from minisd.widgets import slider

grid = [i / 10 for i in range(1, 11)]
frames = {s: decode(edit(sketch, s, (2, 3, 5, 7))) for s in grid}


def draw_strength(strength):
    made = torch.cat([guide, frames[strength]])
    return image_grid(made, ["the guide", *["result"] * 4])


slider(
    draw_strength,
    grid,
    label="strength",
    caption="Image to image from a sketch, four seeds. Low strengths keep "
    "the sketch, high ones the world.",
    alt="A sketch of a red box, and four pictures that image to image makes "
    "of it at strength {}.".format,
    start=4,
)

# %% [markdown]
# ## Likeness against likelihood
#
# A result should look like your picture, and it should look like a picture. These are two distances, and strength trades one for the other {cite}`meng2022sdedit`. In this world both can be computed.
#
# - *Likeness to the guide*: the distance of the latents.
# - *Likelihood*: the log-density of the result under the world, $\log \sum_i \frac{1}{800}\, \mathcal N(z;\, z_i,\, w^2 I)$.


# %%
def log_density(z):
    squared = torch.cdist(z, library) ** 2
    each = -squared / (2 * WIDTH**2) - 32 * np.log(2 * np.pi * WIDTH**2)
    return torch.logsumexp(each, dim=1) - np.log(800)


spread = WIDTH**2 * torch.eye(64).double().expand(800, 64, 64)
even = torch.ones(800).double() / 800
whole = GaussianMixture(even, library.double(), spread)
z = library[:3] + 0.1
ours, theirs = log_density(z).double(), whole.log_prob(z.double())
print(f"the known mixture's: {torch.allclose(ours, theirs, rtol=1e-3)}")

away, density = [], []
for s in grid:
    z = edit(sketch, s, range(20))
    away.append(float((z - sketch).norm(dim=1).mean()))
    density.append(float(log_density(z).mean()))
print(f"further from the guide with every strength: {away == sorted(away)}")
gain = (density[4] - density[0]) / (density[-1] - density[0])
print(f"over 90 % of the gain in density by 0.5: {gain > 0.9}")

# %% mystnb={"image": {"alt": "Two panels. Left: the distance to the guide rises steadily with strength. Right: the log-density rises steeply up to strength 0.5 and is nearly flat after that."}, "figure": {"caption": "What strength trades. Left: the distance to the guide grows all the way. Right: the log-density has nearly all of its gain by 0.5. The middle is where both are good.", "name": "image_to_image-trade"}}
fig, (one, two) = plt.subplots(1, 2, figsize=(6.4, 2.7))
one.plot(grid, away, "o-", markersize=3)
one.set(xlabel="strength", ylabel="distance to the guide", ylim=(0, None))
two.plot(grid, density, "o-", markersize=3, color="C1")
two.set(xlabel="strength", ylabel="log-density (nats)")
plt.show()

# %% [markdown]
# ## The text decides what the noise left open
#
# With a text, only fitting pictures take part in the denoiser. The sketch says where and, roughly, which colour; the text says what ({numref}`image_to_image-words`). To see that the sketch still pulls, compare the distance to it with that of the text alone, which is strength 1.


# %%
def about(word):
    """Latents of the pictures that show a thing."""
    has = [any(word == x.category for x in f.things) for f in world.factors]
    return library[torch.tensor(has)]


words = ("dog", "bus", "boat", "cat", "car")
for word in words:
    both, alone = (
        (edit(sketch, s, range(20), about(word)) - sketch).norm(dim=1).mean()
        for s in (0.5, 1)
    )  # fmt: skip
    print(f"{word}: {both:.0f} from the sketch, by text alone {alone:.0f}")

# %% mystnb={"image": {"alt": "Six pictures: the sketch of a red box; a red dog with a pink hat at a lake; a yellow bus on a meadow; a purple boat on the lake; an orange cat at the lake; an orange car on the meadow. Each thing stands in the lower middle, where the box was."}, "figure": {"caption": "The same sketch, the same seed and strength 0.5 under five words. The thing is the word's. It stands where the box stood, mostly in a colour not far from its red.", "name": "image_to_image-words"}}
told = [decode(edit(sketch, 0.5, (3,), about(word))) for word in words]
image_grid(torch.cat([guide, *told]), ["the guide", *words])
plt.show()

# %% [markdown]
# ## Photographs
#
# Pictures come in many kinds: turned by a note in the file (EXIF), grey, with transparency, in sizes that no factor of 8 divides. `minisd.images.prepare` makes each of them a tensor in $[-1, 1]$.
# It turns what is to be turned, lays transparency over white, and resizes an odd size down to the next multiple of 8.

# %%
from PIL import Image
from skimage.data import astronaut, chelsea, coffee

from minisd.images import prepare

cat = Image.fromarray(chelsea()).resize((225, 150))
turned = cat.transpose(Image.Transpose.ROTATE_90)
turned.getexif()[0x0112] = 6  # "turn me a quarter to the right"
glass = Image.fromarray(coffee()).resize((150, 100)).convert("RGBA")
glass.putalpha(Image.linear_gradient("L").resize((150, 100)))
grey = Image.fromarray(astronaut()).convert("L").resize((99, 99))
kinds = {"odd size": cat, "turned": turned, "RGBA": glass, "grey": grey}
for name, image in kinds.items():
    x = prepare(image)
    print(f"{name}: {image.mode} {image.size} becomes {tuple(x.shape)}")
upright = torch.equal(prepare(turned), prepare(cat))
print(f"the turned one stands upright: {upright}")

# %% [markdown]
# ## The pipeline
#
# `StableDiffusion.image_to_image` encodes the picture, noises its latent, walks, and decodes. The cell builds a small Stable Diffusion of **random weights**, so what comes out is noise of the right shape. The call is the one that you will use with trained ones.

# %%
from minisd.models.clip import CLIPTextConfig, CLIPTextEncoder
from minisd.models.tokenizer import train_tokenizer
from minisd.models.unet import UNet, UNetConfig
from minisd.models.vae import AutoencoderKL, VAEConfig
from minisd.pipeline import StableDiffusion

captions = [options[0] for options in world.captions[:200]]
tokenizer = train_tokenizer(captions, 600)
torch.manual_seed(0)
parts = (
    CLIPTextEncoder(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            eos_token_id=tokenizer.end_id,
        )
    ),
    UNet(
        UNetConfig(
            sample_size=16,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            attention_head_dim=2,
            cross_attention_dim=32,
            norm_num_groups=8,
        )
    ),
    AutoencoderKL(
        VAEConfig(
            block_out_channels=(8, 8, 16, 16),
            layers_per_block=1,
            norm_num_groups=4,
        )
    ),
)
scheduler = {
    "_class_name": "PNDMScheduler",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "clip_sample": False,
}
sd = StableDiffusion(tokenizer, *parts, scheduler)
prompt = "a cat with sunglasses on a bench"
[result] = sd.image_to_image(
    prompt,
    cat,
    strength=0.7,
    steps=10,
    guidance_scale=8,
    seed=1,
    progress=False,
)
print(cat.size, "becomes", result.size)

# %% mystnb={"image": {"alt": "Two pictures: the photograph of a cat's face, and a field of coloured noise of the same size."}, "figure": {"caption": "A photograph, and what image to image makes of it with random weights: noise of the right shape.", "name": "image_to_image-photo"}}
both = torch.cat([prepare(cat), prepare(result)])
image_grid(both, ["photograph", "random weights"])
plt.show()

# %% [markdown]
# ### Parity with diffusers
#
# The same weights and the same seed go through diffusers' image-to-image pipeline. This cell and the next are the ones that need the peer library.

# %%
import diffusers
import transformers

transformers.utils.logging.set_verbosity_error()
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
peer_vae = diffusers.AutoencoderKL(
    down_block_types=["DownEncoderBlock2D"] * 4,
    up_block_types=["UpDecoderBlock2D"] * 4,
    block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4,
)  # fmt: skip
peer_vae.load_state_dict(sd.vae.state_dict())
peer_unet = diffusers.UNet2DConditionModel(**vars(sd.unet.config))
peer_unet.load_state_dict(sd.unet.state_dict())
peer = diffusers.StableDiffusionImg2ImgPipeline(
    peer_vae, None, None, peer_unet,
    diffusers.DDIMScheduler.from_config(scheduler),
    safety_checker=None, feature_extractor=None,
    requires_safety_checker=False,
)  # fmt: skip
peer.set_progress_bar_config(disable=True)
small = cat.resize((224, 144))
with torch.no_grad():
    text, nothing = sd.encode_text(prompt), sd.encode_text("")
for strength in (0.3, 0.7):
    expected = peer(
        prompt_embeds=text, negative_prompt_embeds=nothing, image=small,
        strength=strength, num_inference_steps=10, guidance_scale=8.0,
        output_type="latent", generator=[torch.Generator().manual_seed(1)],
    ).images  # fmt: skip
    latent = sd.image_to_image(
        prompt, small, strength=strength, steps=10, guidance_scale=8,
        seed=1, sampler="ddim", output="latent", progress=False,
    )  # fmt: skip
    error = (latent - expected).abs().max() / expected.abs().max()
    print(f"strength {strength}: relative error < 1e-4: {bool(error < 1e-4)}")

# %% [markdown]
# ### A step out of step
#
# Stable Diffusion's own sampler is PLMS ({doc}`../diffusion/samplers`). In diffusers its list of times holds one time twice, since the first step looks twice: 901, 801, 801, 701, ... for 10 steps. Image to image cuts the front of that list off, and with it
# the pair, or the time before it. The sampler still believes that the second time is a second look. From then on the network is told a time that is one step too clean.
#
# It shows on data with one picture alone, and that picture 0. There the perfect noise is known, and Stable Diffusion's walk, which ends at $t = 0$, must leave exactly $\sqrt{1 - \bar\alpha_0}$ of noise.


# %%
def noise_of(t):
    """Standard deviation of the noise at time t."""
    return float((1 - schedule.alpha_bar_at(float(t))).sqrt())


def perfect(x_t, t):
    """The noise in x_t, where the one picture is 0."""
    return x_t / noise_of(t)


def theirs(steps, n):
    plms = diffusers.PNDMScheduler.from_config(scheduler)
    plms.set_timesteps(steps)
    walked = plms.timesteps[steps - n :]
    x = noise_of(walked[0]) * torch.ones(1, 1)
    for t in walked:
        x = plms.step(perfect(x, t), t, x).prev_sample
    return x.item()


def ours(steps, n):
    walked = schedule.times(steps, "leading", offset=1)[-n:]
    x = noise_of(walked[0]) * torch.ones(1, 1)
    walk = {"sampler": "plms", "times": walked, "final": 0}
    return sample(lambda x, t: perfect(x, t[0]), x, schedule, **walk).item()


print(f"right: {noise_of(0):.4f}")
for steps, strength in ((10, 0.3), (10, 0.7), (50, 0.7)):
    n = steps_walked(steps, strength)
    print(f"{steps} steps, strength {strength}: "
          f"diffusers {theirs(steps, n):.4f}, "
          f"minisd {ours(steps, n):.4f}")  # fmt: skip

# %% [markdown]
# `minisd` walks the last steps of its grid as if they were all there is. So with PLMS its pictures from image to image differ from diffusers', and with every other sampler, below strength 1, they agree.
#
# ## Exercises
#
# ```{exercise} The strength for half
# :label: image-to-image-half
#
# At which strength is half of the variance still picture, with 50 steps? And with DDPM's linear schedule?
# ```
#
# ```{solution-start} image-to-image-half
# :class: dropdown
# ```
#
# Look for the first strength at which $\bar\alpha_t$ falls below one half. The linear schedule destroys the picture sooner, so it needs less.

# %%
both = {"Stable Diffusion": schedule, "linear": NoiseSchedule.linear()}
for name, other in both.items():
    upwards = other.times(50, "leading", offset=1).flip(0)
    n = int((other.alpha_bar_at(upwards) >= 0.5).sum()) + 1
    print(f"{name}: strength {n / 50}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Twice a little, or once a lot
# :label: image-to-image-twice
#
# Run image to image at strength 0.5, and then again on its result with another seed. Is that nearer to the guide than one run at 0.9, or further? Measure.
# ```
#
# ```{solution-start} image-to-image-twice
# :class: dropdown
# ```
#
# Each run moves a little away. But the second one begins near a picture of the world, and half of the schedule rarely leaves enough noise to get away from it: it goes deeper into the same picture. So two runs at 0.5 stay nearer to the guide than one at 0.9.

# %%
once = edit(sketch, 0.5, range(12))
twice = edit(once, 0.5, range(100, 112))
far = edit(sketch, 0.9, range(12))
for name, z in (("0.5", once), ("0.5 twice", twice), ("0.9", far)):
    nearest = torch.cdist(z, library).min(1).values.mean()
    print(f"{name}: {(z - sketch).norm(dim=1).mean():.0f} from the guide, "
          f"{nearest:.1f} from a picture")  # fmt: skip
first, second = (torch.cdist(z, library).argmin(1) for z in (once, twice))
print(f"the same picture over 8 times of 12: {(first == second).sum() > 8}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A picture of the world itself
# :label: image-to-image-own
#
# Take a scene of the library as the guide. Up to which strength does it come back as itself?
# ```
#
# ```{solution-start} image-to-image-own
# :class: dropdown
# ```
#
# Count over 16 seeds how often the nearest picture of the library is still the one that went in. Up to one half it nearly always is. At 0.7, where a tenth of the variance is left, it is every second time, and at 1 never: the picture is forgotten.

# %%
for s in (0.3, 0.5, 0.7, 1.0):
    z = edit(library[7:8], s, range(16))
    same = torch.cdist(z, library).argmin(1) == 7
    print(f"strength {s}: {same.sum()} of 16")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`meng2022sdedit` introduced the method, named the trade between realism and faithfulness, and found the best strengths for strokes in the middle of the range. Stable Diffusion's first scripts brought it to latents {cite}`rombach2022high`.
# Takagi and Nishimoto {cite}`takagi2023high` start it from a picture that was decoded from fMRI, and [their code](https://github.com/yu-takagi/StableDiffusionReconstruction) takes strength 0.8 of 50 steps; MindDiffuser's first stage {cite}`lu2023minddiffuser` starts from a decoded latent. So a decoded brain is one more kind of guide, and Part V comes back to this chapter.
#
# ## The way on
#
# Image to image changes all of a picture. {doc}`inpainting` changes a part, and keeps every other pixel.
