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
# - measure what you trade when you raise it: what of your picture is kept, and what of the text arrives;
# - hand the pipeline any photograph, with its turns, its transparency and its odd size.
#
# **Time** 30 minutes to read; the cells run in about 50 seconds.
#
# **Before this** {doc}`pipeline`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its sixth chapter of ten, image to image."}, "figure": {"caption": "Where you are: the sixth chapter of Part III.", "name": "image_to_image-road"}} tags=["remove-input"]
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
# ## A scene as the guide
#
# What you noise is the *guide*. The book's own small Stable Diffusion, the *miniature*, can show it: it was trained on {doc}`../front/picture_world`, draws 64 by 64 pixels, and knows nothing else.
# The same schedule runs in its latents, which are 4 by 16 by 16. Its *scorer*, a network that had no part in the drawing, reads off a picture what it shows.

# %%
import numpy as np

from minisd.metrics import Scorer
from minisd.pipeline import StableDiffusion
from minisd.scenes import SceneFactors, Thing, draw

MINIATURE = "../../data_samples/miniature"
sd = StableDiffusion.from_pretrained(MINIATURE, device="cpu")
scorer = Scorer.from_pretrained(f"{MINIATURE}/scorer")
dog = SceneFactors("grass field", (Thing("dog", "red"),))
guide = draw(dog, np.random.default_rng(3)).image
read = scorer.read(torch.from_numpy(guide).permute(2, 0, 1)[None] / 127.5 - 1)
print(read[0]["colour"], read[0]["category"], "/", read[0]["background"])

# %% [markdown]
# The guide is a drawn red dog in a grass field. The text asks for something else, "a cat with sunglasses in the snow". First walk by hand, with the pieces of {doc}`pipeline`: encode, noise up to the time of {eq}`image_to_image-start`,
# walk the last {eq}`image_to_image-steps` steps, decode. `StableDiffusion.image_to_image` does nothing else.

# %%
from minisd.images import prepare

settings = {"steps": 16, "guidance_scale": 4, "progress": False}
settings |= {"output": "tensor", "batch_size": 8}
words = "a cat with sunglasses in the snow"
noise, like = ImageNoise([5]), torch.empty(1, 4, 16, 16)
with torch.no_grad():
    z_0 = sd.encode_image(prepare(guide), noise(like))
    walked = sd.scheduler.times(16, "dpmpp_2m")[-steps_walked(16, 0.7) :]
    z_t = schedule.q_sample(z_0, float(walked[0]), noise(like))
    denoise = sd.denoiser(sd.encode_text(words), sd.encode_text(""), 4)
    z = sample(denoise, z_t, schedule, sampler="dpmpp_2m", times=walked)
    stages = [sd.decode(stage) for stage in (z_0, z_t, z)]
[made] = sd.image_to_image(words, guide, strength=0.7, seed=5, **settings)
same = torch.allclose(stages[-1][0].clamp(-1, 1), made, atol=1e-4)
print(f"{len(walked)} steps; by hand and minisd agree: {same}")

# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 65})

# %% mystnb={"image": {"alt": "Four pictures: a drawn red dog in a grass field; the same, a little softer; the same drowned in coloured noise; and what the miniature has drawn from there."}, "figure": {"caption": "The four stages: the guide, what the autoencoder keeps of it, its latent with the noise of the first step (decoded, to look at), and where the walk ends at strength 0.7.", "name": "image_to_image-stages"}}
from minisd.plots import image_grid

names = ["the guide", "encoded", "noised", "walked"]
image_grid(torch.cat([prepare(guide), *stages]), names)
plt.show()

# %% [markdown]
# A guide need not come from the world. The second one is a sketch of three flat colours: blue above, green below, a red box. No scene looks like it. The text says what is meant: "a large red car in a grass field".
#
# Both guides now go through all strengths, four seeds each. Move the slider, and watch each seed decide. The noise is the same at every strength; only how much of it is laid over the guide changes.

# %%
from functools import cache

from minisd.widgets import slider

sketch = np.full((64, 64, 3), (150, 200, 245), np.uint8)
sketch[40:] = (90, 165, 80)
sketch[30:54, 22:44] = (204, 26, 26)
tasks = [(guide, words), (sketch, "a large red car in a grass field")]
strengths = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 1.0)


@cache
def edits(strength):
    """Four results of the scene, four of the sketch."""
    tasks = [(words, guide), ("a large red car in a grass field", sketch)]
    four = settings | {"seed": 5, "images_per_prompt": 4}
    return [sd.image_to_image(*task, strength=strength, **four) for task in tasks]


def draw_strength(strength):
    scene, box = edits(strength)
    rows = torch.cat([prepare(guide), scene, prepare(sketch), box])
    titles = ["guide", *(f"seed {i}" for i in range(5, 9)), *[""] * 5]
    return image_grid(rows, titles, columns=5)


slider(
    draw_strength,
    strengths,
    label="strength",
    caption="A scene under “a cat with sunglasses in the snow”, and a sketch "
    "under “a large red car in a grass field”, drawn by the miniature. Low "
    "strengths keep the guide, high ones follow the text alone.",
    alt="Above, a red dog in a grass field and four pictures made from it; "
    "below, a sketch of a red box and four made from it; at strength {}.".format,
    start=3,
)

# %% [markdown]
# At the low end you get the guide back, sketch or scene. At the high end nothing of it is left, and the text alone decides. Between them lie pictures that have the layout of the one and the contents of the other.
#
# ## Likeness against likelihood
#
# A result should look like your guide, and it should look like a picture. These are two distances, and strength trades one for the other {cite}`meng2022sdedit`. For the sketch both can be measured.
#
# - *Likeness to the guide*: the root of the mean squared difference of the pixels.
# - *Likeness to what the text asks for*: the distance to the nearest of 150 drawn large red cars in grass fields. Pixels say little about that, so it is taken between the scorer's features. Other drawn red cars show how near is near enough.

# %%
from minisd.scenes import PLACES, SIZES


def cars(seed, count):
    """Scorer's features of drawn large red cars in grass fields, in all places."""
    drawn = []
    for i in range(count):
        thing = Thing("car", "red", "large", PLACES[i % 3])
        rng = np.random.default_rng((seed, i))
        drawn.append(prepare(draw(SceneFactors("grass field", (thing,)), rng).image))
    return scorer.features(torch.cat(drawn))


def far(features):
    """Mean distance to the nearest of the red cars."""
    return float(torch.cdist(features, world).min(1).values.mean())


world = cars(1, 150)
near_enough = far(cars(2, 50))
away = [float((edits(s)[1] - prepare(sketch)).square().mean().sqrt()) for s in strengths]
odd = [far(scorer.features(edits(s)[1])) for s in strengths]
print(f"from the guide, over twice as far at 1 as at 0.1: {away[-1] > 2 * away[0]}")
print(f"from red cars, under half as far at 0.8 as at 0.1: {odd[-2] < odd[0] / 2}")

# %% mystnb={"image": {"alt": "Two panels over the strength. Left: the distance to the sketch rises. Right: the distance to the nearest drawn red car falls towards that of other drawn ones, a dashed line."}, "figure": {"caption": "What strength trades, on the sketch. Left: the distance to the guide grows. Right: the distance to drawn red cars falls. In the middle both are bearable.", "name": "image_to_image-trade"}}
fig, (one, two) = plt.subplots(1, 2, figsize=(6.4, 2.6))
one.plot(strengths, away, "o-", markersize=3)
one.set(xlabel="strength", ylabel="distance to the guide", ylim=(0, None))
two.plot(strengths, odd, "o-", markersize=3, color="C1")
two.axhline(near_enough, color="black", ls="--", lw=1.2, label="other drawn cars")
two.set(xlabel="strength", ylabel="distance to a red car", ylim=(0, None))
two.legend()
plt.show()

# %% [markdown]
# ## What is kept, and what changes
#
# "Likeness" is one number for many things. The scorer can tell them apart. Twelve guides show a dog in a grass field, in six colours, two sizes and three places. The text says "a cat in the snow". It asks for another animal and another background, and says nothing of colour, size and place.
# The cell reads off each result what arrived of the text, and what stayed of the guide.

# %%
from itertools import product

looks = product(("red", "orange", "yellow", "blue", "purple", "black"), SIZES)
dogs = [Thing("dog", *look, place) for look, place in zip(looks, PLACES * 4, strict=True)]
guides = [
    draw(SceneFactors("grass field", (dog,)), np.random.default_rng(i)).image
    for i, dog in enumerate(dogs)
]
asked = {"category": "cat", "background": "snow"}
left_open = ("colour", "size", "place")
tried = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
shares = {name: [] for name in (*asked, *left_open)}
for s in tried:
    read = scorer.read(sd.image_to_image("a cat in the snow", guides, strength=s, **settings))
    for name, word in asked.items():
        shares[name].append(np.mean([one[name] == word for one in read]))
    for name in left_open:
        stays = [one[name] == getattr(dog, name) for one, dog in zip(read, dogs, strict=True)]
        shares[name].append(np.mean(stays))
low, high = ({k: row[i] for k, row in shares.items()} for i in (0, -1))
print("at 0.1 most is the guide's:", all(low[k] > 0.6 for k in left_open))
print("at 0.1 little is the text's:", all(low[k] < 0.4 for k in asked))
print("at 1 most is the text's:", all(high[k] > 0.6 for k in asked))
print("at 1 the colour is forgotten:", high["colour"] < 0.5)

# %% mystnb={"image": {"alt": "Two panels over the strength. Left: the shares of cats and of snow rise from near 0 to near 1. Right: the shares of kept colours, sizes and places fall from near 1 to about chance."}, "figure": {"caption": "What the scorer reads in twelve results at each strength. Left: what the text asks for arrives. Right: what the text leaves open is the guide's at first, and goes; by chance a colour is right once in eight, a size every second time, a place once in three.", "name": "image_to_image-kept"}}
fig, (one, two) = plt.subplots(1, 2, figsize=(6.4, 2.8), sharey=True)
for name, marker in zip(asked, "os", strict=True):
    one.plot(tried, shares[name], f"{marker}-", label=f"{asked[name]}")
for name, marker in zip(left_open, "^vD", strict=True):
    two.plot(tried, shares[name], f"{marker}-", label=f"the guide's {name}")
one.set(xlabel="strength", ylabel="share of the results", ylim=(-0.05, 1.05))
two.set(xlabel="strength")
one.legend()
two.legend()
plt.show()

# %% [markdown]
# ## The text decides what the noise left open
#
# Now keep the sketch and the seed, and change the word ({numref}`image_to_image-words`). The sketch says where and in which colour; the text says what. No word names a colour.

# %%
nouns = ("dog", "bus", "horse", "umbrella", "car")
texts = [f"a {noun} in a grass field" for noun in nouns]
told = sd.image_to_image(texts, sketch, strength=0.5, seed=[5] * 5, **settings)
read = scorer.read(told)
right = [one["category"] == noun for one, noun in zip(read, nouns, strict=True)]
red = [one["colour"] == "red" for one in read]
print(f"the word's thing, and red, over 3 of 5: {sum(right) > 3}, {sum(red) > 3}")

# %% mystnb={"image": {"alt": "Six pictures: the sketch of a red box, and a dog, a bus, a horse, an umbrella and a car that the miniature has drawn from it in a grass field."}, "figure": {"caption": "The same sketch, the same seed and strength 0.5 under five words. The thing is the word's; where it stands and what colour it has comes from the box.", "name": "image_to_image-words"}}
image_grid(torch.cat([prepare(sketch), told]), ["the guide", *nouns])
plt.show()

# %% [markdown]
# ## Photographs
#
# Pictures come in many kinds: turned by a note in the file (EXIF), grey, with transparency, in sizes that no factor of 8 divides. `minisd.images.prepare` makes each of them a tensor in $[-1, 1]$.
# It turns what is to be turned, lays transparency over white, and resizes an odd size down to the next multiple of 8.

# %%
from PIL import Image
from skimage.data import astronaut, chelsea, coffee

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
# What does the miniature make of photographs? It has never seen one. {numref}`image_to_image-photo` shows two, cut to 64 pixels: a cat's face under "an orange cat in a room", and a cup under "a red potted plant in a room".

# %%
face = Image.fromarray(chelsea()).crop((75, 0, 375, 300)).resize((64, 64))
cup = Image.fromarray(coffee()).crop((100, 0, 500, 400)).resize((64, 64))
texts = ["an orange cat in a room", "a red potted plant in a room"]
x = torch.cat([prepare(face), prepare(cup)])
with torch.no_grad():
    through = sd.decode(sd.encode_image(x))
photos = [x, through]
for s in (0.3, 0.5, 0.7, 1.0):
    photos.append(sd.image_to_image(texts, [face, cup], strength=s, seed=2, **settings))

# %% mystnb={"image": {"alt": "Two rows of six. The photographs of a cat's face and of a cup of coffee; both through the autoencoder, in other colours; and what the miniature makes of them at strengths 0.3, 0.5, 0.7 and 1, where they turn into drawn scenes."}, "figure": {"caption": "Two photographs, what the miniature's autoencoder keeps of them, and image to image at four strengths. The miniature knows its drawn world alone: what it repaints of a photograph is a drawing.", "name": "image_to_image-photo"}}
titles = ["photograph", "encoded", *(f"strength {s}" for s in (0.3, 0.5, 0.7, 1))]
rows = torch.stack(photos, dim=1).flatten(0, 1)  # a photograph's row together
image_grid(rows, titles + [""] * 6, columns=6)
plt.show()

# %% [markdown]
# The real weights have seen hundreds of millions of photographs, and repaint one as a photograph. The call is the same ({doc}`real_weights`).
#
# ### Parity with diffusers
#
# diffusers loads the same folder. Its image-to-image pipeline gets the same text, guide and seed. This cell and the next are the ones that need the peer library.

# %%
import diffusers
import transformers

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
peer = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(MINIATURE, dtype=torch.float32)
peer.set_progress_bar_config(disable=True)
for strength in (0.3, 0.7):
    expected = peer(
        words, image=Image.fromarray(guide), strength=strength,
        num_inference_steps=16, guidance_scale=4.0, output_type="latent",
        generator=[torch.Generator().manual_seed(1)],
    ).images  # fmt: skip
    asks = settings | {"seed": 1, "output": "latent"}
    latent = sd.image_to_image(words, guide, strength=strength, **asks)
    error = (latent - expected).abs().max() / expected.abs().max()
    print(f"strength {strength}: relative error < 1e-3: {bool(error < 1e-3)}")

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
    plms = diffusers.PNDMScheduler.from_config(peer.scheduler.config)
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
# Each run moves a little away. But half of the schedule does not leave enough noise to get away from the layout, and the second run meets the same limit as the first. So two runs at 0.5 stay nearer to the guide than one at 0.9.

# %%
four = settings | {"images_per_prompt": 4, "seed": 5}
once = sd.image_to_image(words, guide, strength=0.5, **four)
again = settings | {"seed": 100}
twice = sd.image_to_image([words] * 4, list(once), strength=0.5, **again)
far = sd.image_to_image(words, guide, strength=0.9, **four)
off = [float((x - prepare(guide)).square().mean().sqrt()) for x in (once, twice, far)]
print(f"0.5 < 0.5 twice < 0.9: {off[0] < off[1] < off[2]}")

# %% mystnb={"image": {"alt": "Three rows of four pictures, made from a red dog in a grass field: at strength 0.5, at 0.5 twice, and at 0.9."}, "figure": {"caption": "From the same guide: strength 0.5 (above), 0.5 twice (middle), 0.9 once (below).", "name": "image_to_image-twice"}}
image_grid(torch.cat([once, twice, far]), columns=4)
plt.show()

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Without a text
# :label: image-to-image-own
#
# Take the guide, and no text at all. Up to which strength does it come back as a red dog in a grass field?
# ```
#
# ```{solution-start} image-to-image-own
# :class: dropdown
# ```
#
# An empty text and no guidance: then the walk knows nothing but the noised guide. Let the scorer count over six seeds. At 0.3 the guide comes back, at 1 nothing is left of it, and where in between it is lost differs from seed to seed.

# %%
free = settings | {"guidance_scale": 1, "images_per_prompt": 6, "seed": 40}
back = {}
for s in (0.3, 0.6, 1.0):
    read = scorer.read(sd.image_to_image("", guide, strength=s, **free))
    back[s] = sum(
        (one["colour"], one["category"], one["background"]) == ("red", "dog", "grass field")
        for one in read
    )
print(f"at 0.3 over 4 of 6: {back[0.3] > 4}; at 1 under 2: {back[1.0] < 2}")
print(f"never more at a higher strength: {list(back.values()) == sorted(back.values())[::-1]}")

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
