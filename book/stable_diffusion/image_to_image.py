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
# **Time** 30 minutes to read; the cells run in about 15 seconds.
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
x_0, eps = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
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
    print(error)

# %% [markdown]
# ## What strength is not
#
# ```{admonition} A slip in the report
# :class: note
#
# Section 6.3 calls strength "the noise added to the original input". It is the share of the steps that is walked ({ref}`errata <erratum-strength>`). How much noise that is, the schedule decides.
# ```
#
# The share of the variance of $x_t$ that is still picture is $\bar\alpha_t$ at the start. At strength 0.7 it is a tenth, not 0.3.

# %%
strengths = [i / 50 for i in range(1, 50)]
left = [float(schedule.alpha_bar_at(float(times[-steps_walked(50, s)]))) for s in strengths]
for s in (0.3, 0.5, 0.7, 0.9):
    print(f"strength {s}: {left[strengths.index(s)]:.2f} of the variance is picture")

# %% mystnb={"image": {"alt": "A curve that falls from 1 at strength 0 to nearly 0 at strength 1, and from strength 0.2 on lies well below the straight line from 1 to 0. At strength 0.7 a dot stands at 0.09."}, "figure": {"caption": "Strength is not the amount of noise. On Stable Diffusion's schedule the picture's share of the variance soon falls below one minus the strength: at 0.7 it is 9 percent.", "name": "image_to_image-share"}}
fig, axes = plt.subplots(figsize=(6.4, 2.8))
axes.plot(strengths, left, label=r"$\bar\alpha_t$ at the start")
axes.plot([0, 1], [1, 0], "--", label="one minus strength")
axes.plot([0.7], [left[strengths.index(0.7)]], "o", color="black", label="the report's 0.7")
axes.set(xlabel="strength", ylabel="share of the variance")
axes.legend()
plt.show()

# %% [markdown]
# Where no step is left out, there is a choice. At strength 1 diffusers' image-to-image still noises the picture, to $t = 981$ of 50 steps, and keeps
# $\sqrt{\bar\alpha_{981}}$ of it. `minisd` begins with noise alone, so that strength 1 is text to image: the picture does not matter at all.

# %%
print(
    f"t = {times[0]:.0f}: {float(schedule.alpha_bar_at(times[0])) ** 0.5:.3f} of the picture's size"
)

# %% [markdown]
# ## A world in which you can see it
#
# No weights are trained yet. But a model can be exact without training, if the data is small enough to be known. Take 800 scenes of {doc}`../front/picture_world` as all there is.
#
# As in Stable Diffusion, the diffusion runs in a latent space: here the 64 main directions of the 800 pictures, found by a singular value decomposition and scaled to variance 1. That is a linear autoencoder ({doc}`vae`).
# It turns 12,288 numbers into 64, and back into a blurred picture.

# %%
import numpy as np

from minisd.scenes import scenes

world = scenes(range(800))
pictures = torch.from_numpy(np.asarray(world.images)).permute(0, 3, 1, 2).float() / 127.5 - 1
mean = pictures.flatten(1).mean(0)
_, size, directions = torch.linalg.svd(pictures.flatten(1) - mean, full_matrices=False)
directions, scale = directions[:64], size[:64] / 800**0.5


def encode(x):
    return ((x.flatten(1) - mean) @ directions.T) / scale


def decode(z):
    return (z * scale @ directions + mean).view(-1, 3, 64, 64)


library = encode(pictures)
print(tuple(library.shape), f"variance {library.var():.2f}")
kept = (scale**2).sum() / (size**2 / 800).sum()
print(f"{kept:.0%} of the pictures' variance is kept")

# %% [markdown]
# Around each latent $z_i$ put a small Gaussian of width $w = 0.3$, so that there is something between the pictures. Then $x_t$ has a mixture of Gaussians behind it, each with variance
# $v = \bar\alpha_t w^2 + 1 - \bar\alpha_t$, and the clean latent to be expected is
#
# $$
# \mathbb E[x_0 \mid x_t] = \sum_i p_i \left( z_i + \frac{\sqrt{\bar\alpha_t}\, w^2}{v} \bigl(x_t - \sqrt{\bar\alpha_t}\, z_i\bigr) \right),
# \qquad
# p = \operatorname{softmax}_i\!\left(-\frac{\lVert x_t - \sqrt{\bar\alpha_t}\, z_i \rVert^2}{2 v}\right) .
# $$ (image_to_image-library)
#
# A denoiser follows from it ({doc}`../diffusion/reverse`). With a text, only the pictures whose caption fits take part. Be clear what this is: a model that has memorised its 800 pictures. In return, every number below is exact.

# %%
from minisd.diffusion import GaussianMixture

WIDTH = 0.3


def recall(z):
    """The exact denoiser of latents z [n, 64], each with a little width."""

    def denoise(x_t, t):
        a = schedule.alpha_bar_at(t).float()[:, None]  # [B, 1]
        v = a * WIDTH**2 + 1 - a
        off = x_t[:, None] - a.sqrt()[:, None] * z  # [B, n, 64]
        p = torch.softmax(-(off**2).sum(-1) / (2 * v), dim=1)
        x_0 = p @ z + a.sqrt() * WIDTH**2 / v * (x_t - a.sqrt() * (p @ z))
        return (x_t - a.sqrt() * x_0) / (1 - a).sqrt()

    return denoise


few = library[:5, :3].double()
peer = GaussianMixture(torch.ones(5) / 5, few, WIDTH**2 * torch.eye(3).expand(5, 3, 3))
x_t, t = torch.randn(4, 3).double(), torch.tensor([1.0, 300.0, 600.0, 999.0])
print(torch.allclose(recall(few)(x_t, t), peer.denoiser(schedule)(x_t, t).double(), atol=1e-5))

# %% [markdown]
# The guide is a sketch of three flat colours: blue above, green below, a red box. No scene looks like it. Its latent is where the walk begins.

# %%
guide = torch.full((1, 3, 64, 64), 0.0)
guide[0] = torch.tensor([-0.6, 0.0, 0.8])[:, None, None]
guide[0, :, 40:] = torch.tensor([-0.5, 0.2, -0.5])[:, None, None]
guide[0, :, 30:54, 22:44] = torch.tensor([0.6, -0.8, -0.8])[:, None, None]


def edit(z_0, strength, seeds, among=library):
    """Image to image on latents z_0 [1, 64], one result a seed."""
    walked = times[-steps_walked(50, strength) :]
    eps = ImageNoise(seeds).draw((64,))
    z = eps if strength == 1 else schedule.q_sample(z_0.expand_as(eps), float(walked[0]), eps)
    return sample(recall(among), z, schedule, sampler="ddim", times=walked, final=0)


# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 75})

# %% mystnb={"image": {"alt": "Eighteen pictures in three rows of six. The first of the first row is a sketch of a red box on green under blue. With strength the box grows a shape and a background, turns at 0.5 in one row into a yellow animal on a beach, and at 1 each row shows another scene that has nothing to do with the sketch."}, "figure": {"caption": "One sketch, three seeds (rows), five strengths. Up to 0.3 the sketch is blurred into the world. From 0.5 on scenes appear that share its layout and colours. At 1 nothing of it is left.", "name": "image_to_image-strengths"}}
from minisd.plots import image_grid

shown = (0.1, 0.3, 0.5, 0.7, 1.0)
results = {s: decode(edit(encode(guide), s, (0, 1, 2))) for s in shown}
rows = [torch.cat([guide, *(results[s][i : i + 1] for s in shown)]) for i in range(3)]
titles = ["the guide", *(f"strength {s}" for s in shown)]
image_grid(torch.cat(rows), titles + [""] * 12, columns=6)
plt.show()

# %% [markdown]
# Move the slider, and watch one seed decide. The noise is the same at every strength; only how much of it is laid over the sketch changes.

# %%
from minisd.widgets import slider

grid = [i / 10 for i in range(1, 11)]
frames = {s: decode(edit(encode(guide), s, (1, 3, 4, 5))) for s in grid}


def draw_strength(strength):
    return image_grid(torch.cat([guide, frames[strength]]), ["the guide", *["result"] * 4])


slider(
    draw_strength,
    grid,
    label="strength",
    caption="Image to image from a sketch, four seeds. Low strengths keep the sketch and high ones the world.",
    alt="A sketch of a red box and four pictures that image to image makes of it at strength {}.".format,
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
    per_picture = -squared / (2 * WIDTH**2) - 32 * np.log(2 * np.pi * WIDTH**2)
    return torch.logsumexp(per_picture, 1) - np.log(800)


own = GaussianMixture(
    torch.ones(800) / 800, library.double(), WIDTH**2 * torch.eye(64).double().expand(800, 64, 64)
)
z = library[:3] + 0.1
print(torch.allclose(log_density(z).double(), own.log_prob(z.double()), rtol=1e-3))

away, density = [], []
for s in grid:
    z = edit(encode(guide), s, range(20))
    away.append(float((z - encode(guide)).norm(dim=1).mean()))
    density.append(float(log_density(z).mean()))
print(f"further from the guide with every strength: {away == sorted(away)}")

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
# With a text, only fitting pictures take part in the denoiser. The sketch says where and which colour, the text says what.


# %%
def about(word):
    return [i for i, f in enumerate(world.factors) if any(word == x.category for x in f.things)]


words = ("dog", "bus", "boat", "umbrella")
print({word: len(about(word)) > 20 for word in words})
told = [decode(edit(encode(guide), 0.5, (6,), among=library[about(w)])) for w in words]

# %% mystnb={"image": {"alt": "Five pictures: the sketch of a red box, and what becomes of it under the words dog, bus, boat and umbrella: four blurred scenes at the sea with a red, orange or purple thing in the middle."}, "figure": {"caption": "The same sketch, the same seed and strength 0.5 under four words. The place and mostly the colour are the sketch's, the thing is the word's.", "name": "image_to_image-words"}}
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
for name, image in {"odd size": cat, "turned": turned, "RGBA": glass, "grey": grey}.items():
    x = prepare(image)
    print(f"{name}: {image.mode} {image.size} becomes {tuple(x.shape)}")
print(f"the turned one stands upright: {torch.allclose(prepare(turned), prepare(cat))}")

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

tokenizer = train_tokenizer([options[0] for options in world.captions[:200]], 600)
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
        VAEConfig(block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4)
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
    prompt, cat, strength=0.7, steps=10, guidance_scale=8, seed=1, progress=False
)
print(cat.size, "becomes", result.size)

# %% mystnb={"image": {"alt": "Two pictures: the photograph of a cat's face, and a field of coloured noise of the same size."}, "figure": {"caption": "A photograph, and what image to image makes of it with random weights: noise of the right shape.", "name": "image_to_image-photo"}}
image_grid(torch.cat([prepare(cat), prepare(result)]), ["photograph", "random weights"])
plt.show()

# %% [markdown]
# ### Parity with diffusers
#
# The same weights and the same seed go through diffusers' image-to-image pipeline. This cell is the one that needs the peer library.

# %%
import diffusers
import transformers

transformers.utils.logging.set_verbosity_error()
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
peer_vae = diffusers.AutoencoderKL(
    down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
    block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4,
)  # fmt: skip
peer_vae.load_state_dict(sd.vae.state_dict())
peer_unet = diffusers.UNet2DConditionModel(**vars(sd.unet.config))
peer_unet.load_state_dict(sd.unet.state_dict())
peer = diffusers.StableDiffusionImg2ImgPipeline(
    peer_vae, None, None, peer_unet, diffusers.DDIMScheduler.from_config(scheduler),
    safety_checker=None, feature_extractor=None, requires_safety_checker=False,
)  # fmt: skip
peer.set_progress_bar_config(disable=True)
small = cat.resize((224, 144))
with torch.no_grad():
    words, nothing = sd.encode_text(prompt), sd.encode_text("")
for strength in (0.3, 0.7):
    expected = peer(
        prompt_embeds=words, negative_prompt_embeds=nothing, image=small, strength=strength,
        num_inference_steps=10, guidance_scale=8.0, output_type="latent",
        generator=[torch.Generator().manual_seed(1)],
    ).images  # fmt: skip
    ours = sd.image_to_image(
        prompt, small, strength=strength, steps=10, guidance_scale=8, seed=1,
        sampler="ddim", output="latent", progress=False,
    )  # fmt: skip
    error = (ours - expected).abs().max() / expected.abs().max()
    print(f"strength {strength}: relative error < 1e-4: {bool(error < 1e-4)}")

# %% [markdown]
# ### A step out of step
#
# Stable Diffusion's own sampler is PLMS ({doc}`../diffusion/samplers`). In diffusers its list of times holds one time twice, since the first step looks twice: 901, 801, 801, 701, ... for 10 steps. Image to image cuts the front of that list off, and with it
# the pair. The sampler still believes that the second time is a second look. From then on the network is told a time that is one step too clean.
#
# It shows on data with one picture alone. There the perfect noise is known, and Stable Diffusion's walk, which ends at $t = 0$, must leave exactly $\sqrt{1 - \bar\alpha_0}$ of noise.

# %%
only = torch.zeros(1, 1)  # the one picture is 0, so x_t is nothing but noise


def perfect(x_t, t):
    return x_t / (1 - schedule.alpha_bar_at(t)).sqrt()


def theirs(steps, strength):
    plms = diffusers.PNDMScheduler.from_config(scheduler)
    plms.set_timesteps(steps)
    walked = plms.timesteps[steps - steps_walked(steps, strength) :]
    x = (1 - schedule.alpha_bar_at(float(walked[0]))).sqrt() * torch.ones(1, 1)
    for t in walked:
        x = plms.step(perfect(x, float(t)), t, x).prev_sample
    return x.item()


def ours(steps, strength):
    walked = schedule.times(steps, "leading", offset=1)[-steps_walked(steps, strength) :]
    x = (1 - schedule.alpha_bar_at(float(walked[0]))).sqrt() * torch.ones(1, 1)
    walk = {"sampler": "plms", "times": walked, "final": 0}
    return sample(lambda x_t, t: perfect(x_t, float(t[0])), x.float(), schedule, **walk).item()


right = float((1 - schedule.alpha_bar_at(0)) ** 0.5)
print(f"right: {right:.4f}")
for steps, strength in ((10, 0.3), (10, 0.7), (50, 0.7)):
    print(
        f"{steps} steps, strength {strength}: diffusers {theirs(steps, strength):.4f}, "
        f"minisd {ours(steps, strength):.4f}"
    )

# %% [markdown]
# `minisd` walks the last steps of its grid as if they were all there is. So with PLMS its pictures from image to image differ from diffusers', and with every other sampler they agree.
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
for name, other in (("Stable Diffusion", schedule), ("linear", NoiseSchedule.linear())):
    walk = other.times(50, "leading", offset=1)
    half = next(i for i in range(1, 51) if other.alpha_bar_at(float(walk[-i])) < 0.5)
    print(f"{name}: strength {half / 50}")

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
# Each run moves a little away. But the second one begins near a picture of the world, and half of the schedule rarely leaves enough noise to get away from it. So two runs at 0.5 stay nearer to the guide than one at 0.9.

# %%
once = edit(encode(guide), 0.5, range(12))
twice = torch.cat([edit(z[None], 0.5, (100 + i,)) for i, z in enumerate(once)])
far = edit(encode(guide), 0.9, range(12))
for name, z in (("0.5", once), ("0.5 twice", twice), ("0.9", far)):
    print(f"{name}: {(z - encode(guide)).norm(dim=1).mean():.0f} from the guide")

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
# Count over eight seeds how often the nearest picture of the library is still the one that went in. At one half it nearly always is. At 0.7, where a tenth of the variance is left, it seldom is, and above that never.

# %%
for s in (0.5, 0.7, 0.9, 1.0):
    z = edit(library[7:8], s, range(8))
    print(f"strength {s}: {int((torch.cdist(z, library).argmin(1) == 7).sum())} of 8")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`meng2022sdedit` introduced the method, named the trade between realism and faithfulness, and found the best strengths for strokes in the middle of the range. Stable Diffusion's first scripts brought it to latents {cite}`rombach2022high`.
# Takagi and Nishimoto {cite}`takagi2023high` start it from a latent that was decoded from fMRI, at strength 0.8; MindDiffuser's first stage {cite}`lu2023minddiffuser` does the same. So a decoded brain is one more kind of guide, and Part V comes back to this chapter.
#
# ## The way on
#
# Image to image changes all of a picture. {doc}`inpainting` changes a part, and keeps every other pixel.
