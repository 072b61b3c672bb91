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
# # Inpainting
#
# **You will be able to**
#
# - say what a mask means, in pixels and in latents, and why a thin line can get lost between the two;
# - repaint a part of a picture with a model that was never trained for it, and say what its walk gets wrong;
# - measure that error where the right answer is known, for two numbers, and see it at the seam of a picture;
# - make it smaller by going back and walking again;
# - say what the nine input channels of an inpainting U-Net are, and in which order they stand.
#
# **Time** 45 minutes to read; the cells run in about 50 seconds.
#
# **Before this** {doc}`pipeline` and {doc}`image_to_image`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its seventh chapter of ten, inpainting."}, "figure": {"caption": "Where you are: the seventh chapter of Part III.", "name": "inpainting-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("inpainting")
plt.show()

# %% [markdown]
# ## The mask
#
# Inpainting takes a picture, a text and a *mask*: a second picture of the same size, in black and white. **White is
# repainted, black is kept.** `minisd.images.prepare_mask` turns what you give it into zeros and ones, cut at half of white.
# It refuses a mask of another size, since it cannot know which part of the picture you meant.

# %%
import torch
from PIL import Image, ImageDraw
from skimage.data import astronaut

from minisd.images import load_image, prepare, prepare_mask

photo = load_image(astronaut()).crop((96, 0, 352, 256))  # 256 x 256
mask = Image.new("L", photo.size)
ImageDraw.Draw(mask).ellipse((70, 20, 190, 180), fill=255)
pixels = prepare_mask(mask, photo)
print(tuple(pixels.shape), pixels.unique().tolist())
try:
    prepare_mask(mask.resize((128, 128)), photo)
except ValueError as error:
    print(error)

# %% [markdown]
# Stable Diffusion's U-Net works on latents, an eighth as wide and high ({doc}`vae`). So the mask must shrink by eight, and stay a mask: a latent
# pixel is repainted or kept, nothing between. Stable Diffusion does it by *nearest* neighbour: of each 8 by 8 block one pixel decides.
#
# $$
# M_{ij} = m_{8i,\, 8j} .
# $$ (inpainting-nearest)

# %%
import torch.nn.functional as F

small = F.interpolate(pixels, scale_factor=1 / 8, mode="nearest")
print(tuple(small.shape), torch.equal(small, pixels[..., ::8, ::8]))

# %% [markdown]
# One pixel in 64 decides, and you should know what follows. A stroke that is thinner than eight pixels may fall between those that
# are asked. {numref}`inpainting-masks` has one: of a line of five pixels nothing is left. Its latents are all kept, nothing is repainted,
# and no error tells you. Draw masks generously. (The miniature, which fills holes further down, has a factor of four.)

# %% mystnb={"image": {"alt": "Three masks above and what becomes of them in the latents below. An ellipse becomes an ellipse of coarse blocks. A vertical line of five pixels vanishes: its latent mask is all black. A line of twelve pixels becomes a column of one block's width."}, "figure": {"caption": "Masks of 256 by 256 pixels (above) and of 32 by 32 latents (below). A line under eight pixels can vanish on the way.", "name": "inpainting-masks"}}
from minisd.plots import image_grid


def line(width):
    """A mask with one upright line."""
    m = torch.zeros(1, 1, 256, 256)
    m[..., 24:232, 121 : 121 + width] = 1
    return m


def as_picture(m):
    """Zeros and ones [1, 1, h, w] as black and white [1, 3, 256, 256]."""
    return F.interpolate(m, 256, mode="nearest").expand(-1, 3, -1, -1) * 2 - 1


masks = [pixels, line(5), line(12)]
latent_masks = [m[..., ::8, ::8] for m in masks]
image_grid(
    torch.cat([as_picture(m) for m in [*masks, *latent_masks]]),
    ["an ellipse", "a line of 5 pixels", "a line of 12 pixels", "", "", ""],
    columns=3,
)
plt.show()

# %% [markdown]
# ## Set back what you know
#
# Now the walk. The model is the one of {doc}`pipeline`: it has never seen a mask. Call $x_0$ the picture (in Stable Diffusion, its
# latent), and $m$ the mask, 1 where it is to be repainted. After each step from $t$ to $t'$ the sampler has an $x_{t'}$ of its own.
# You keep it where $m = 1$. Everywhere else you know better: there you set back the true picture, with as much noise as belongs to $t'$.
#
# $$
# x_{t'} \;\leftarrow\; m \odot x_{t'} + (1 - m) \odot \bigl(\sqrt{\bar\alpha_{t'}}\, x_0 + \sqrt{1 - \bar\alpha_{t'}}\, \varepsilon\bigr)
# $$ (inpainting-blend)
#
# Song et al. {cite}`song2021score` describe it for pixels; Blended Latent Diffusion {cite}`avrahami2023blended` does it in the latents
# of Stable Diffusion, and so does `minisd`. Three details are in the loop below. The walk begins with the noise $\varepsilon$. The *same* $\varepsilon$ is used
# at every step. And after the last step the clean $x_0$ is set back, without noise.

# %%
import math
from itertools import pairwise

from minisd.diffusion import (
    GaussianMixture,
    ImageNoise,
    NoiseSchedule,
    sample,
    sample_steps,
)

schedule = NoiseSchedule.scaled_linear()
times = schedule.times(50, "leading", offset=1)  # Stable Diffusion's


def blend(denoise, x_0, m, eps, times=times, known=None, **sampling):
    """Set back known(t) after each step; x_0, m and eps as in the equation."""
    known = known or (lambda t: schedule.q_sample(x_0, t, eps))
    for step in sample_steps(denoise, eps, schedule, times=times, **sampling):
        last = step.index == step.total - 1
        back = x_0 if last else known(step.t_next)
        step.x_t = m * step.x_t + (1 - m) * back
    return step.x_t


# %% [markdown]
# `step.x_t = ...` changes what the sampler goes on with ({doc}`../diffusion/samplers`). This is the loop of `minisd`. It is called
# `Begun.walk` there, since the pipeline calls it once a batch has its noise. The cell walks both on the smallest picture that has a known and an unknown part: two numbers.

# %%
from minisd.start import Begun

rho, k_0 = 0.9, 1.5
pair = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.tensor([[[1, rho], [rho, 1]]]))
exact = pair.denoiser(schedule)
N = 3000
x_0 = torch.tensor([[k_0, 0.0]]).expand(N, 2)  # the 0 is never looked at
m = torch.tensor([[0.0, 1.0]])
eps = torch.randn(N, 2, generator=torch.Generator().manual_seed(0))
ours = blend(exact, x_0, m, eps)
theirs = Begun(eps, eps, x_0=x_0, repaint=m).walk(exact, schedule, lambda step: None, times=times)
print(f"same as minisd: {torch.allclose(ours, theirs)}")
print(f"the known number is untouched: {torch.equal(ours[:, 0], x_0[:, 0])}")

# %% [markdown]
# ## Two numbers
#
# The pair is Gaussian: both numbers have mean 0 and variance 1, and their correlation is $\rho = 0.9$. You know the first, $k_0 = 1.5$. Then the second
# is a Gaussian again, with a mean and a variance that follow from the density of the pair:
#
# $$
# q(u_0 \mid k_0) = \mathcal N\bigl(\rho\, k_0,\; 1 - \rho^2\bigr) .
# $$ (inpainting-conditional)
#
# That is what inpainting should draw from: everything that fits to what is known, as often as it occurs with it. The cell checks the formula by brute
# force, among a million pairs whose first number lies near 1.5. Then it looks at what the blend has drawn.

# %%
pairs, _ = pair.sample(1_000_000, torch.Generator().manual_seed(1))
near = pairs[(pairs[:, 0] - k_0).abs() < 0.05, 1]
mean, spread = rho * k_0, math.sqrt(1 - rho**2)
print(f"right: mean {mean:.2f}, spread {spread:.2f}")
print(f"brute force: {abs(near.mean() - mean) < 0.02}, {abs(near.std() - spread) < 0.02}")
drawn = ours[:, 1]
print(f"blend: mean {drawn.mean():.1f}, spread {drawn.std():.1f}")

# %% [markdown]
# The denoiser is perfect, and still the blend is far off. Its mean is half of what it should be, and its spread is too wide. So the loop is at fault, and it is worth
# finding out where.
#
# ### What the loop gets wrong
#
# The unknown number walks along the score of what it sees, $\nabla_u \log q(k_t, u_t)$. Since $\log q(k_t, u_t) = \log q(u_t \mid k_t) + \log q(k_t)$, and
# the last term has no $u$ in it, that is the score of $q(u_t \mid k_t)$: the unknown number *given the noisy known one*. But you know more than $k_t$. You know $k_0$.
# For the pair both are Gaussian:
#
# $$
# q(u_t \mid k_t) = \mathcal N\bigl(\bar\alpha_t\, \rho\, k_t,\; 1 - \bar\alpha_t^2 \rho^2\bigr),
# \qquad
# q(u_t \mid k_0) = \mathcal N\bigl(\sqrt{\bar\alpha_t}\, \rho\, k_0,\; 1 - \bar\alpha_t \rho^2\bigr) .
# $$ (inpainting-pull)
#
# On average $k_t$ is $\sqrt{\bar\alpha_t}\, k_0$. So the blend pulls $u_t$ towards $\bar\alpha_t \cdot \sqrt{\bar\alpha_t}\, \rho\, k_0$, and the right
# aim is $1 / \bar\alpha_t$ times as far. Late in the walk the two agree. Early on, when the walk decides about the large things, the known part is
# buried in its noise, and hardly counts. The cell checks both Gaussians: the first against the score of the exact denoiser, the second by brute force.

# %%
t, point = 300, torch.tensor([[0.4, -0.7]], dtype=torch.float64)
a = float(schedule.alpha_bar_at(t))
score = pair.score(point, a)[0, 1]
ours_score = -(point[0, 1] - a * rho * point[0, 0]) / (1 - a**2 * rho**2)
print(f"alpha_bar at {t}: {a:.2f}; the score given k_t: {torch.allclose(score, ours_score)}")
g = torch.Generator().manual_seed(2)
u_t = math.sqrt(a) * near + math.sqrt(1 - a) * torch.randn(near.shape, generator=g)
print(f"given k_0, mean: {abs(u_t.mean() - math.sqrt(a) * rho * k_0) < 0.03}, "
      f"variance: {abs(u_t.var() - (1 - a * rho**2)) < 0.03}")  # fmt: skip

# %% [markdown]
# If that is the fault, a denoiser that is told $k_0$ must draw correctly. The second Gaussian of {eq}`inpainting-pull` gives it. It needs no blend.


# %%
def informed(x_t, t):
    """The perfect denoiser of the unknown number [B, 1], told k_0."""
    a = schedule.alpha_bar_at(t).to(x_t)[:, None]
    score = -(x_t - a.sqrt() * rho * k_0) / (1 - a * rho**2)
    return -(1 - a).sqrt() * score


told = sample(informed, eps[:, 1:], schedule, times=times)[:, 0]
print(f"mean {told.mean():.2f}, spread {told.std():.2f}")
print(f"right: {abs(told.mean() - mean) < 0.05}, {abs(told.std() - spread) < 0.05}")

# %% mystnb={"image": {"alt": "Left: three histograms. The right conditional is a narrow bell at 1.35; the informed walk lies on it; the blend is a wide bell around 0.7. Right: two curves of the aim of the walk over the time t. Both start at 1.35 at t = 0. The blend's falls to about 0.2 by t = 500, the right one is still at 0.7 there."}, "figure": {"caption": "Left: the blend misses the right distribution (black), a denoiser that is told the known number meets it. Right: where the two walks pull the unknown number. Early in the walk, at large $t$, the blend hardly pulls.", "name": "inpainting-pair"}}
grid = torch.linspace(-2.5, 3.5, 300)
bell = torch.exp(-((grid - mean) ** 2) / (2 * spread**2)) / (spread * math.sqrt(2 * math.pi))
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.8))
for values, name in ((drawn, "blend"), (told, "told $k_0$")):
    axes[0].hist(
        values,
        bins=60,
        range=(-2.5, 3.5),
        density=True,
        alpha=0.6,
        label=name,
    )
axes[0].plot(grid, bell, color="black", label="right")
axes[0].set(xlabel="unknown number", ylabel="density")
axes[0].legend()
root = schedule.alpha_bar.sqrt()
axes[1].plot(root**3 * mean, label="blend, on average")
axes[1].plot(root * mean, label="right")
axes[1].set(xlabel="index $t$", ylabel="aim of the walk")
axes[1].legend()
plt.show()

# %% [markdown]
# ## Go back and walk again
#
# RePaint {cite}`lugmayr2022repaint` keeps the model and repairs the loop. After a step from $t$ to $t'$ and its blend, the two parts have met, but the unknown one
# has not answered yet. So add noise until you are at $t$ again, and take the step again, and so on for $r$ rounds. The jump back is the forward process, from $t'$ to $t$:
#
# $$
# x_t = \sqrt{\tfrac{\bar\alpha_t}{\bar\alpha_{t'}}}\; x_{t'} + \sqrt{1 - \tfrac{\bar\alpha_t}{\bar\alpha_{t'}}}\; z,
# \qquad z \sim \mathcal N(0, I) .
# $$ (inpainting-back)
#
# It must turn what is right at $t'$ into what is right at $t$. For a number with variance 1 that is quickly seen: what was $\sqrt{\bar\alpha_{t'}}\, x_0$ plus noise becomes
# $\sqrt{\bar\alpha_t}\, x_0$ plus noise, and the variances of the noise add up to $1 - \bar\alpha_t$. The steps are those of DDPM, and all noise is fresh.


# %%
def back(x, s, t, noise):
    """From time s up to the noisier time t."""
    ratio = float(schedule.alpha_bar_at(t) / schedule.alpha_bar_at(s))
    return math.sqrt(ratio) * x + math.sqrt(1 - ratio) * noise(x)


def repaint(denoise, x_0, m, x, times, rounds, noise):
    """RePaint with jumps of one step."""
    for t, s in pairwise([*times.tolist(), -1.0]):
        for again in range(rounds):
            if again:
                x = back(x, s, t, noise)
            x = sample(
                denoise,
                x,
                schedule,
                times=[t],
                final=s,
                sampler="ddpm",
                noise=noise,
            )
            known = x_0 if s < 0 else schedule.q_sample(x_0, s, noise(x))
            x = m * x + (1 - m) * known
    return x


def stream(seed):
    """Noise for whole batches, from one generator."""
    g = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=g)


noise = stream(3)
clean = torch.full((200_000,), 2.0)
there = back(schedule.q_sample(clean, 300, noise(clean)), 300, 500, noise)
signal, left = (
    schedule.alpha_bar_at(500).sqrt(),
    1 - schedule.alpha_bar_at(500),
)
print(f"mean: {abs(there.mean() - 2 * signal) < 0.01}, variance: {abs(there.var() - left) < 0.01}")

# %% [markdown]
# Move the slider. Each round costs as much as the whole walk, and brings the blend nearer.

# %%
from minisd.widgets import slider

walks = {}
for rounds in (1, 2, 3, 5, 8, 12):
    walks[rounds] = repaint(exact, x_0[:1000], m, eps[:1000], times[::2], rounds, stream(4))[:, 1]


def draw_rounds(rounds):
    figure, axes = plt.subplots(figsize=(6.4, 2.5))
    axes.hist(
        walks[rounds],
        bins=60,
        range=(-2.5, 3.5),
        density=True,
        alpha=0.7,
        label="RePaint",
    )
    axes.plot(grid, bell, color="black", label="right")
    axes.set(xlabel="unknown number", ylabel="density", ylim=(0, 1.3))
    axes.legend(loc="upper left")
    return figure


slider(
    draw_rounds,
    list(walks),
    label="rounds r",
    caption="The unknown number by RePaint: with every round the walk comes nearer to the right mean.",
    alt="Histogram of the unknown number after {} rounds, beside the right bell.".format,
    start=0,
)

# %% [markdown]
# The mean is repaired, but the spread is now too small. That is the price of only 25 steps: DDPM's large steps are too narrow, and each round takes them again.
# With 100 steps and 5 rounds the spread is nearer.

# %%
means = [float(w.mean()) for w in walks.values()]
finer = schedule.times(100, "leading", offset=1)
fine = repaint(exact, x_0[:1000], m, eps[:1000], finer, 5, stream(4))[:, 1]
print(
    f"more rounds, nearer: {means == sorted(means)}; after twelve off by < 0.1: {mean - means[-1] < 0.1}"
)
print(f"spread: {walks[12].std():.1f} of 25 steps, {fine.std():.1f} of 100, right is {spread:.2f}")

# %% [markdown]
# ## Pictures
#
# Figure 5 of the report inpaints "a cat sitting on a bench wearing sun glasses". The miniature of {doc}`image_to_image` knows such cats from its world, and calls them "a cat with sunglasses on a bench". Its U-Net has four input channels, and no mask took part in
# its training.
#
# The picture to change is drawn: a yellow dog on a red bench. The mask is a box around the dog, a little wider than it. {numref}`inpainting-task` has the picture, the mask, and what is left.

# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 45})

# %% mystnb={"image": {"alt": "Three pictures: a yellow dog on a red bench in a grass field; a mask with a white box at the dog's place; the scene with a grey box in place of the dog, from which the ends of the bench stick out."}, "figure": {"caption": "The picture, the mask, and what is known: everything but the box.", "name": "inpainting-task"}}
import numpy as np

from minisd.scenes import SceneFactors, Thing, draw

things = Thing("dog", "yellow", "small"), Thing("bench", "red")
scene = draw(SceneFactors("grass field", things, "on"), np.random.default_rng(8))
picture = prepare(scene.image)  # [1, 3, 64, 64]
box = torch.zeros(1, 1, 64, 64)
box[..., 16:44, 16:44] = 1
image_grid(
    torch.cat([picture, box.expand(-1, 3, -1, -1) * 2 - 1, picture * (1 - box)]),
    ["picture", "mask", "what is known"],
)
plt.show()

# %% [markdown]
# `StableDiffusion.inpaint` encodes the picture, shrinks the mask, walks with the blend of {eq}`inpainting-blend`, decodes, and pastes what is to be kept over the result. Strength 1 begins with noise alone. A scorer, which had no part in the drawing, reads what came out.

# %%
from minisd.metrics import Scorer
from minisd.pipeline import StableDiffusion

MINIATURE = "../../data_samples/miniature"
sd = StableDiffusion.from_pretrained(MINIATURE, device="cpu")
scorer = Scorer.from_pretrained(f"{MINIATURE}/scorer")
prompt = "a cat with sunglasses on a bench"
settings = {"steps": 16, "guidance_scale": 4, "progress": False}
settings |= {"output": "tensor", "batch_size": 8}
eight = settings | {"images_per_prompt": 8, "seed": 0}
made = sd.inpaint(prompt, picture, box, strength=1, **eight)
outside = box.expand_as(made) == 0
kept = torch.equal(made[outside], picture.expand_as(made)[outside])
print(f"every kept pixel is equal: {kept}")


def cats(x):
    """How many pictures show a cat with sunglasses."""
    read = scorer.read(x)
    return sum((one["category"], one["accessory"]) == ("cat", "sunglasses") for one in read)


print(f"a cat with sunglasses: over 4 of 8: {cats(made) > 4}")

# %% mystnb={"image": {"alt": "Eight pictures of one red bench in one grass field. In the box where the dog was, the miniature has drawn cats with sunglasses, in several colours."}, "figure": {"caption": "The hole filled with \"a cat with sunglasses on a bench\", eight seeds. Around the box, each picture is the given one, pixel for pixel.", "name": "inpainting-cats"}}
image_grid(made, columns=4)
plt.show()

# %% [markdown]
# {numref}`inpainting-film` shows one of the walks. The latent $x_t$ is decoded, so that you can look at it; so is the clean latent that the model believes in.

# %% mystnb={"image": {"alt": "Two rows of six pictures along a walk. Above, a noisy picture that clears from left to right, around the box and in it alike, until a cat sits on the bench. Below, the model's belief: a blurred scene at first, which sharpens into the same picture."}, "figure": {"caption": "One walk: $x_t$ after its blend (above), and the clean picture that the model believes in (below), both decoded.", "name": "inpainting-film"}}
film = []
sd.inpaint(prompt, picture, box, strength=1, seed=0, callback=film.append, **settings)
film = [film[i] for i in (0, 3, 6, 9, 12, 15)]
titles = [f"t = {s.t_next:.0f}" for s in film[:-1]] + ["clean"] + [""] * 6
with torch.no_grad():
    decoded = sd.decode(torch.cat([*(s.x_t for s in film), *(s.x_0 for s in film)]))
image_grid(decoded, titles, columns=6)
plt.show()

# %% [markdown]
# ### The seam
#
# The two numbers told you what to expect. Early in the walk, when the large things are decided, the surroundings are buried in their noise. So the box may choose a bench of its own, and the choice shows where it meets the real one. You know such seams from inpainted photographs: a horizon that jumps at the mask, a shoulder without an arm.
#
# Five ways to fill the same hole, with the same six seeds:
#
# - *nothing set back*: text to image, pasted into the box;
# - *blend*: the pictures above;
# - *blend, wide*: the same with a mask that leaves the lowest quarter alone, the feet of the bench;
# - *RePaint*: four rounds of {eq}`inpainting-back`, around the same U-Net;
# - *told in words*: the blend, with a text that says what stands around the hole.

# %%
wide = torch.ones(1, 1, 64, 64)
wide[..., 48:, :] = 0
six = settings | {"images_per_prompt": 6, "seed": 0}
whole = "a cat with sunglasses on a large red bench in the centre of a grass field"
alone = sd.text_to_image(prompt, **six)


@torch.no_grad()
def guided(count):
    """The miniature under the prompt, for so many latents at once."""
    return sd.denoiser(sd.encode_text([prompt] * count), sd.encode_text([""] * count), 4)


with torch.no_grad():
    z_0 = sd.encode_image(picture).expand(6, -1, -1, -1)
    M = box[..., ::4, ::4]
    noise = ImageNoise(range(6))
    grid_16 = schedule.times(16, "leading", offset=1)
    z = repaint(guided(6), z_0, M, noise(z_0), grid_16, 4, noise)
    again = sd.decode(z).clamp(-1, 1)
ways = {
    "nothing set back": torch.where(box == 1, alone, picture),
    "blend": made[:6],
    "blend, wide": sd.inpaint(prompt, picture, wide, strength=1, **six),
    "RePaint": torch.where(box == 1, again, picture),
    "told in words": sd.inpaint(whole, picture, box, strength=1, **six),
}

# %% mystnb={"image": {"alt": "Five rows of six pictures, one row for each way to fill the hole. In the first row a square of another scene is pasted over the bench. In the others the filling continues the meadow and the bench, more or less well."}, "figure": {"caption": "The same hole and seeds, five ways. RePaint takes four rounds; the last row's text names the surroundings.", "name": "inpainting-ways"}}
titles = [text for name in ways for text in (name, *[""] * 5)]
image_grid(torch.cat([*ways.values()]), titles, columns=6)
plt.show()

# %% [markdown]
# The blend is far better than nothing set back, and its pieces of other benches betray it. With the wide mask little is known, and the text names no background: so the walk decides early for one, and it ends where the given meadow begins. RePaint and the longer text both help.
#
# A seam is a jump. The cell measures it for the box: the mean difference between a kept pixel and its repainted neighbour, all along the edge, beside that of the drawn picture, which has no seam.


# %%
def jump(x, m):
    """Mean difference of neighbours across the edge of m, one for each of x."""
    steps = []
    for d in (2, 3):
        edge = (m.diff(dim=d) != 0).expand(1, 3, -1, -1)[0]
        steps.append(x.diff(dim=d).abs()[:, edge])
    return torch.cat(steps, dim=1).mean(1)


seams = {name: jump(x, box) for name, x in ways.items() if name != "blend, wide"}
smooth = float(jump(picture, box))
middle = {name: float(values.mean()) for name, values in seams.items()}
under = all(middle[name] < middle["nothing set back"] for name in list(middle)[1:])
print(f"the other three under nothing set back: {under}")

# %% mystnb={"image": {"alt": "Dots for six pictures and four ways: the jump at the edge of the box. They are highest where nothing is set back, and lower for the blend, for RePaint and for the blend with all told in words. A dashed line marks the drawn picture itself."}, "figure": {"caption": "The jump across the edge of the box, six seeds each. What sets back the known part has a smaller one than a pasted square.", "name": "inpainting-jump"}}
figure, axes = plt.subplots(figsize=(6.4, 2.6))
for place, values in enumerate(seams.values()):
    axes.plot([place] * len(values), values, "o", color="C0", alpha=0.6)
axes.axhline(smooth, color="black", ls="--", lw=1.2, label="the drawn picture")
axes.set_xticks(range(len(seams)), seams)
axes.set(ylabel="jump at the edge", ylim=(0, None), xlim=(-0.5, 3.5))
axes.legend()
plt.show()

# %% [markdown]
# ### Strength
#
# `inpaint` has a strength, as {doc}`image_to_image` has: the share of the steps that is walked. Under 1 the walk begins with the noised *picture*, inside the mask as well.
# So something of what you want to be rid of is still there. The dog is yellow, and the text asks for a cat of any colour. Watch what the cats inherit.

# %%
from functools import cache


@cache
def filled(strength):
    four = settings | {"images_per_prompt": 4, "seed": 0}
    return sd.inpaint(prompt, picture, box, strength=strength, **four)


def draw_filled(strength):
    row = torch.cat([picture, filled(strength)])
    return image_grid(row, ["picture", *["inpainted"] * 4])


slider(
    draw_filled,
    (0.3, 0.5, 0.7, 1.0),
    label="strength",
    caption="A cat in place of the dog, four seeds, drawn by the miniature. At low strengths "
    "the dog's shape and colour shine through; only at 1 does nothing of it take part.",
    alt="A yellow dog on a red bench, and four pictures in which the box around it was repainted "
    "at strength {}.".format,
    start=2,
)

# %% [markdown]
# The report inpaints with 0.7. That is a good value to change a thing, and a bad one to replace it. To put something else there, take 1.
#
# ```{admonition} Two slips in the report
# :class: note
# The report calls the strength of 0.7 "the noise added to the original input". It is the share of the steps that is walked
# ({ref}`errata <erratum-strength>`). Its fourth input to the U-Net, picture and mask, does not exist in this kind of inpainting: the blend happens outside of the network
# ({ref}`errata <erratum-figure-inputs>`). A U-Net that has such an input comes below.
# ```
#
# ## Three details, one at a time
#
# **The same noise.** Does $\varepsilon$ have to be the same at every step? RePaint draws afresh. On the two numbers fresh noise gives the same mean, and a spread that is a little nearer to the right one. What the same noise
# buys is that the walk has a limit. With DDIM and one $\varepsilon$, nothing is random after the start, so more steps come nearer and nearer to *one* picture for a seed. With fresh noise every number of steps
# gives another. The cell compares 100 steps with 50.

# %%
half, full = times, schedule.times(100, "leading", offset=1)


def afresh(seed, x_0):
    """What is set back, with noise that is new at each call."""
    noise = stream(seed)
    return lambda t: schedule.q_sample(x_0, t, noise(x_0))


same = [blend(exact, x_0, m, eps, times=g)[:, 1] for g in (half, full)]
fresh = [blend(exact, x_0, m, eps, times=g, known=afresh(7, x_0))[:, 1] for g in (half, full)]
nearer = same[0].std() > fresh[0].std() > spread
print(
    f"same mean: {bool((same[0].mean() - fresh[0].mean()).abs() < 0.05)}; nearer spread: {bool(nearer)}"
)
gap, gap_fresh = ((a - b).abs().mean() for a, b in (same, fresh))
print(
    f"mean change, same noise: {gap:.2f}; fresh noise over twice that: {bool(gap_fresh > 2 * gap)}"
)

# %% [markdown]
# **The right amount of noise.** What if the known part is set back clean at every step? A trained network has never seen half a picture without noise at a noisy time. What it answers there, nobody trained it to, and whether it goes well is luck. {numref}`inpainting-details` has all three: the same noise, fresh noise, and none.

# %%
grid_m = sd.scheduler.times(16, "dpmpp_2m")
start = ImageNoise(range(20, 26)).draw((4, 16, 16))
knowns = [None, afresh(8, z_0), lambda t: z_0]
with torch.no_grad():
    rows = []
    for known in knowns:
        z = blend(guided(6), z_0, M, start, times=grid_m, known=known, sampler="dpmpp_2m")
        rows.append(torch.where(box == 1, sd.decode(z).clamp(-1, 1), picture))

# %% mystnb={"image": {"alt": "Three rows of six pictures of the red bench with its box filled: the same noise, fresh noise, and no noise in what is set back. The rows differ in details."}, "figure": {"caption": "What is set back at every step: the picture with the same noise (above), with fresh noise (middle), and without noise (below).", "name": "inpainting-details"}}
image_grid(torch.cat(rows), columns=6)
plt.show()

# %% [markdown]
# **The clean one last.** Stable Diffusion's own walk ends at time 0, not at the clean picture ({doc}`pipeline`). The noise of time 0 is small, but it would stay in the result for ever. So the last step sets back $x_0$ itself.

# %%
left = 1 - schedule.alpha_bar_at(0)
almost = schedule.q_sample(z_0, 0, start)
print(f"noise left at time 0: {left.sqrt():.3f}")
print(f"measured, within 5 %: {abs((almost - z_0).std() / left.sqrt() - 1) < 0.05}")

# %% [markdown]
# ## Paste
#
# Setting back the latents does not keep the *pixels*. The autoencoder is lossy ({doc}`vae`): what goes in and out of it has changed, everywhere. A photograph shows it best, since the miniature's autoencoder has seen drawings alone.
# The last step of inpainting therefore happens in the picture: what is to be kept is pasted over the result, at full resolution and exactly.
#
# $$
# x \;\leftarrow\; m \odot x + (1 - m) \odot x_\text{picture} .
# $$ (inpainting-paste)

# %%
from minisd.start import Start

x = prepare(photo.resize((64, 64)))
oval = prepare_mask(mask.resize((64, 64)), x)
with torch.no_grad():
    there = sd.decode(sd.encode_image(x))
pasted = Start((64, 64), images=x, masks=oval).paste(there)
by_hand = oval * there.clamp(-1, 1) + (1 - oval) * x
print(f"equation and minisd agree: {torch.allclose(pasted, by_hand)}")
outside = oval.expand_as(x) == 0
loss = (there - x)[outside].square().mean()
print(f"without the paste, the kept pixels have lost: PSNR {10 * math.log10(4 / loss):.0f} dB")
print(f"with it they are equal: {torch.equal(pasted[outside], x[outside])}")

# %% mystnb={"image": {"alt": "Four pictures: a photograph of an astronaut; the same from the autoencoder, softer and in other colours; the same again with everything but the face as in the photograph; and the untouched photograph with something drawn in place of the face."}, "figure": {"caption": "A photograph, what the miniature's autoencoder keeps of it, and the same with the kept pixels pasted back: nothing was repainted there. Last, \"a teddy bear with sunglasses in a room\" in the oval. The miniature knows only its drawn world; every pixel outside is the photograph's.", "name": "inpainting-paste-figure"}}
bear = sd.inpaint("a teddy bear with sunglasses in a room", x, oval, strength=1, seed=3, **settings)
print(f"outside of the oval equal: {torch.equal(bear[outside], x[outside])}")
image_grid(torch.cat([x, there, pasted, bear]), ["photograph", "encoded", "pasted", "inpainted"])
plt.show()

# %% [markdown]
# ## A U-Net that is shown the mask
#
# The clean way is the denoiser that is *told*. A network can learn to be one: give it the known part as an input, and train it on masked pictures. Stable Diffusion's inpainting checkpoint is such a U-Net.
# It has nine input channels, in this order:
#
# | channels | what | values |
# |---|---|---|
# | 0 to 3 | $x_t$, the noisy latent | about $\mathcal N(0, 1)$ |
# | 4 | the mask, shrunk as above | 1 is repainted |
# | 5 to 8 | the latent of the *masked picture* | the encoder's |
#
# The masked picture is grey, 0 in $[-1, 1]$, where the mask is white. Nothing else differs from the U-Net of {doc}`unet`: only its first convolution is wider. Training began with a finished model, and, as the
# [model card](https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-inpainting) tells, with zeros for the five new channels. A convolution is a sum over its input channels, so at that moment the new network is the old one:
#
# $$
# W' * [x_t,\, M,\, z] = W * x_t + 0 * M + 0 * z = W * x_t .
# $$ (inpainting-zero)
#
# No trained one ships with the book. The cell makes such a network from the miniature, as it is before the first step of that training.

# %%
from dataclasses import replace

from minisd.checkpoints import load_components
from minisd.models.unet import UNet

parts = load_components(MINIATURE)
four, nine = parts.unet, UNet(replace(parts.unet.config, in_channels=9)).eval()
state = four.state_dict()
weight = state["conv_in.weight"]
state["conv_in.weight"] = torch.cat([weight, torch.zeros(64, 5, 3, 3)], dim=1)
nine.load_state_dict(state)
print(tuple(weight.shape), tuple(nine.conv_in.weight.shape))
with torch.no_grad():
    text = sd.encode_text(prompt)
    masked = sd.encode_image(picture * (1 - box))
    seen = four(start[:1], torch.tensor([500.0]), text)
    shown = torch.cat([start[:1], M, masked], dim=1)
    widened = nine(shown, torch.tensor([500.0]), text)
print(f"same prediction: {torch.allclose(seen, widened, atol=1e-4)}")

# %% [markdown]
# Once such a network is trained the order matters, and no error guards it: nine channels in another order have the same shape. After each step there is nothing to set back.
# The paste at the end stays.
#
# `StableDiffusion.inpaint` looks at how many channels its U-Net takes. With four it blends, with nine it shows. Ours does not look at what it is shown yet: in the hole it draws what text to image draws from the same seed.

# %%
for_nine = StableDiffusion(**vars(replace(parts, unet=nine)))
blind = for_nine.inpaint(prompt, picture, box, strength=1, seed=0, **settings)
inside = box.expand_as(blind) == 1
print(f"text to image, pasted: {torch.allclose(blind[inside], alone[:1][inside], atol=1e-2)}")

# %% [markdown]
# ### Parity with diffusers
#
# diffusers loads the same folder. Its inpainting pipeline gets the same text, picture and seed, for both kinds of U-Net. With zeros in the new channels an error in their order would not show, so for this cell they hold random numbers. It is the one that needs the peer library.

# %%
import diffusers
import transformers

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
new = torch.randn(64, 5, 3, 3, generator=torch.Generator().manual_seed(8)) / 10
state["conv_in.weight"] = torch.cat([weight, new], dim=1)
nine.load_state_dict(state)
peer_unet = diffusers.UNet2DConditionModel(**vars(nine.config))
peer_unet.load_state_dict(state)
peer_sd = diffusers.StableDiffusionPipeline.from_pretrained(MINIATURE, dtype=torch.float32)
peer_parts = peer_sd.components
peer_parts["requires_safety_checker"] = False
here, there = Image.fromarray(scene.image), Image.fromarray(255 * box[0, 0].byte().numpy())
for pipe, others in ((sd, {}), (for_nine, {"unet": peer_unet})):
    peer = diffusers.StableDiffusionInpaintPipeline(**peer_parts | others)
    peer.set_progress_bar_config(disable=True)
    expected = peer(
        prompt, image=here, mask_image=there, height=64, width=64, strength=0.7,
        num_inference_steps=16, guidance_scale=4.0, output_type="latent",
        generator=[torch.Generator().manual_seed(3)],
    ).images  # fmt: skip
    asks = settings | {"seed": 3, "output": "latent"}
    latent = pipe.inpaint(prompt, here, there, strength=0.7, **asks)
    error = (latent - expected).abs().max() / expected.abs().max()
    print(f"{pipe.unet.config.in_channels} channels: relative error < 1e-3: {bool(error < 1e-3)}")

# %% [markdown]
# ## Exercises
#
# ```{exercise} No line is lost
# :label: inpainting-line
#
# Write a rule for the latent mask by which a line of any width is repainted. What does it repaint too much?
# ```
#
# ```{solution-start} inpainting-line
# :class: dropdown
# ```
#
# A latent pixel is repainted if any of its 64 pixels is. That is the maximum of each block. It repaints up to seven pixels more on each side. The paste at the end takes them back, so only the latent knows.

# %%
grown = F.max_pool2d(line(5), 8)
print(
    int(line(5)[..., ::8, ::8].sum()),
    "latents by the nearest pixel,",
    int(grown.sum()),
    "by the maximum",
)
print(
    f"all of the line is in it: {bool((F.interpolate(grown, scale_factor=8.0) >= line(5)).all())}"
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} All white
# :label: inpainting-white
#
# What is the blend when the whole mask is white? And how right is it for two numbers with correlation 0?
# ```
#
# ```{solution-start} inpainting-white
# :class: dropdown
# ```
#
# With nothing to keep, nothing is set back, and it is sampling: text to image. With correlation 0 the known number tells nothing of the unknown one. Then there is nothing that the blend could miss: mean 0, spread 1.

# %%
with torch.no_grad():
    walk = {"times": grid_m, "sampler": "dpmpp_2m"}
    by_blend = blend(guided(1), z_0[:1], torch.ones(1, 1, 16, 16), start[:1], **walk)
    print(torch.equal(by_blend, sample(guided(1), start[:1], schedule, **walk)))
loose = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
u = blend(loose.denoiser(schedule), x_0, m, eps)[:, 1]
print(f"mean 0: {bool(abs(u.mean()) < 0.1)}, spread 1: {bool(abs(u.std() - 1) < 0.1)}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Which sampler?
# :label: inpainting-sampler
#
# Blend the two numbers with DDPM in place of DDIM, at the same cost. Which is nearer to the right mean, and why?
# ```
#
# ```{solution-start} inpainting-sampler
# :class: dropdown
# ```
#
# DDPM. DDIM keeps to what it decided early, when the known number was buried in noise. DDPM adds fresh noise at each step, and so forgets a part of its early decisions. RePaint forgets on purpose.

# %%
for name in ("ddim", "ddpm"):
    u = blend(exact, x_0, m, eps, sampler=name, noise=stream(10))[:, 1]
    print(f"{name}: mean {u.mean():.1f}, right is {mean:.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# Setting back the known part was proposed for diffusion models by {cite:t}`song2021score`. Lugmayr et al. {cite}`lugmayr2022repaint` saw its seams, and repaired them by going back;
# they jump ten steps at a time, and take ten rounds. {cite:t}`trippe2023diffusion` name the error that you have measured, and show that it does not go away with more steps; their repair is a particle filter.
# Blended Latent Diffusion {cite}`avrahami2023blended` carries the blend to latents, and treats what goes wrong there: thin masks, and the loss of the autoencoder in what is to be kept.
# {cite:t}`nichol2022glide` train a network for inpainting by four more input channels, masked picture and mask; {cite:t}`rombach2022high` do so for latents.
#
# ## The way on
#
# Every part of the machine has run now, in small. {doc}`real_weights` loads the weights that others have trained at full size.
