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
# - measure that error where the right answer is known: for two numbers, and for pictures;
# - make it smaller by going back and walking again;
# - say what the nine input channels of an inpainting U-Net are, and in which order they stand.
#
# **Time** 45 minutes to read; the cells run in about 30 seconds.
#
# **Before this** {doc}`pipeline` and {doc}`image_to_image`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its seventh chapter of eight, inpainting."}, "figure": {"caption": "Where you are: the seventh chapter of Part III.", "name": "inpainting-road"}} tags=["remove-input"]
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

torch.set_num_threads(1)  # in small tensors, threads wait for one another
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
# The U-Net works on latents, an eighth as wide and high ({doc}`vae`). So the mask must shrink by eight, and stay a mask: a latent
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
# and no error tells you. Draw masks generously.

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
# Figure 5 of the report inpaints "a cat sitting on a bench wearing sun glasses". The picture world has that ({doc}`../front/picture_world`), and a model of it can be exact
# without training. Take a *library* of 432 scenes, and let it be all there is: $q(x_0)$ gives each of the $N$ pictures $x_i$ the same probability. Then, by Bayes' rule,
#
# $$
# \mathbb E[x_0 \mid x_t] = \sum_i w_i\, x_i,
# \qquad
# w = \operatorname{softmax}_i\!\left(-\frac{\lVert x_t - \sqrt{\bar\alpha_t}\, x_i \rVert^2}{2\,(1 - \bar\alpha_t)}\right) .
# $$ (inpainting-library)
#
# To be plain: this is a model that has memorised its library, and can draw nothing else. That makes it a good yardstick. Its walk is that of a perfect denoiser, and what it *should* draw can be counted.
#
# All scenes have one seed, so their benches stand at the same place. Each fits a prompt by its factors.

# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 70})

# %%
from itertools import product

import numpy as np

from minisd.scenes import SceneFactors, Thing, draw

COLOURS = ("red", "orange", "yellow", "blue", "purple", "black")
library, labels = [], []
for label in product(
    ("grass field", "beach", "snow", "lake"),
    ("red", "blue"),
    ("cat", "dog", "bird"),
    COLOURS,
    ("none", "sunglasses", "hat"),
):
    background, paint, who, colour, wears = label
    things = (
        Thing(who, colour, "small", "centre", wears),
        Thing("bench", paint),
    )
    scene = SceneFactors(background, things, "on")
    library.append(draw(scene, np.random.default_rng(0)).image)
    labels.append(label)
library = torch.from_numpy(np.stack(library)).permute(0, 3, 1, 2).float() / 127.5 - 1
print(tuple(library.shape))


def which(*words):
    """Numbers of the pictures whose label has all these words."""
    return [i for i, label in enumerate(labels) if set(words) <= set(label)]


def recall(pictures):
    """The exact denoiser of these pictures [n, ...]."""
    X = pictures.flatten(1)

    def denoise(x_t, t):
        a = schedule.alpha_bar_at(t).to(x_t)[:, None]
        x = x_t.flatten(1)
        # the square, without |x_t|^2, which is the same for all
        w = ((a.sqrt() * x @ X.T - a * X.square().sum(1) / 2) / (1 - a)).softmax(1)
        return schedule.convert((w @ X).view_as(x_t), x_t, t, "x0", "eps")

    return denoise


few = library[:, 0, 20::8, 30].double()  # six pixels of each are enough to check it
points = GaussianMixture(torch.ones(432), few, torch.zeros(432, 6, 6))
x_t = torch.randn(2, 6, generator=torch.Generator().manual_seed(5)).double()
t = torch.tensor([200.0, 600.0])
expected = points.denoiser(schedule)(x_t, t)
print(f"as minisd's mixture: {torch.allclose(recall(few)(x_t, t), expected)}")

# %% [markdown]
# The picture to change is a red dog on a red bench. The mask is a box around the dog. It must be wide enough for any animal: {numref}`inpainting-task` has the picture, the mask, and what is left.

# %% mystnb={"image": {"alt": "Three pictures: a red dog on a red bench in a grass field; a mask with a white box at the dog's place; the scene with a grey box in place of the dog."}, "figure": {"caption": "The picture, the mask, and what the model is told: everything but the box.", "name": "inpainting-task"}}
[dog] = which("grass field", "dog", "none", "red")[:1]
picture = library[dog : dog + 1]
box = torch.zeros(1, 1, 64, 64)
box[..., 14:46, 13:47] = 1
image_grid(
    torch.cat([picture, box.expand(-1, 3, -1, -1) * 2 - 1, picture * (1 - box)]),
    ["picture", "mask", "what is known"],
)
plt.show()

# %% [markdown]
# Who fits? The cell counts the pictures of the library that agree with the known pixels: all animals, colours and accessories on this bench in this field. The text narrows them down to
# cats with sunglasses: for a text, the conditional denoiser is that of the pictures which fit it. Then it inpaints 64 times with `blend`, with the text.


# %%
def agree(m):
    """Numbers of the pictures that are equal to ours where m is 0."""
    off = ((library - picture).abs() * (1 - m)).flatten(1).amax(1)
    return set((off == 0).nonzero()[:, 0].tolist())


def drawn_as(x, m):
    """The number of the picture that each of x is, in what was repainted."""
    return torch.cdist((x * m).flatten(1), (library * m).flatten(1)).argmin(1).tolist()


def share(x, m):
    """Share of x that fits the known pixels."""
    fits = agree(m)
    return sum(i in fits for i in drawn_as(x, m)) / len(x)


cats = which("cat", "sunglasses")
ask = recall(library[cats])
print(f"fit the known pixels: {len(agree(box))}; and the text: {len(agree(box) & set(cats))}")
many = picture.expand(64, -1, -1, -1)
eps = ImageNoise(range(64)).draw((3, 64, 64))
asked = blend(ask, many, box, eps)
print(f"cats with sunglasses, all: {set(drawn_as(asked, box)) <= set(cats)}")
print(f"fit: {share(asked, box):.1f}")

# %% mystnb={"image": {"alt": "Two rows of six pictures of one bench in one field. Above, six cats with sunglasses in several colours that fit their bench. Below, six where the box around the cat holds the back of a blue bench, while the rest of the bench is red."}, "figure": {"caption": "Inpainted with \"a cat with sunglasses\". Most fit (above). In the others (below) the box holds a piece of another bench.", "name": "inpainting-cats"}}
fits = torch.tensor([i in agree(box) for i in drawn_as(asked, box)])
image_grid(torch.cat([asked[fits][:6], asked[~fits][:6]]), columns=6)
plt.show()

# %% [markdown]
# All 64 are cats with sunglasses. About one in five sits before a piece of a *blue* bench. It is the fault of the two numbers once more: early in the walk the box
# chose a bench of its own, while the red one around it was buried in noise. You know such seams from inpainted photographs: a horizon that jumps at the mask, a shoulder without an arm.
# {numref}`inpainting-film` shows a walk that ends well, though its first belief is a bench by a lake.

# %% mystnb={"image": {"alt": "Two rows of six pictures along a walk. Above, the noised picture, which clears from left to right until a cat with sunglasses sits on the bench. Below, the model's belief: first a bench with a cat by a lake, then the cat on the red bench in the grass field."}, "figure": {"caption": "One walk: $x_t$ after its blend (above), and the clean picture that the model believes in (below).", "name": "inpainting-film"}}
film, first = [], int(fits.nonzero()[0])
walk = Begun(eps[first, None], eps[first, None], x_0=picture, repaint=box)
walk.walk(ask, schedule, film.append, times=times)
film = [film[i] for i in (0, 9, 19, 29, 39, 49)]
titles = [f"t = {s.t_next:.0f}" for s in film[:-1]] + ["clean"] + [""] * 6
image_grid(
    torch.cat([*(s.x_t for s in film), *(s.x_0 for s in film)]),
    titles,
    columns=6,
)
plt.show()

# %% [markdown]
# ### Against what is right
#
# What fits can be counted, so every method can be judged. The second mask is wide: it leaves the lowest 18 rows, the feet of the bench and grass. Besides the blend and RePaint, the cell runs a denoiser that was *told* what is known, as with
# the two numbers. It is that of the pictures which fit the text and the known pixels.

# %%
wide = torch.ones(1, 1, 64, 64)
wide[..., -18:, :] = 0
shares = {}
for name, m in (("box", box), ("wide", wide)):
    told = recall(library[sorted(agree(m) & set(cats))])
    results = {"blend": blend(ask, many, m, eps)}
    for rounds in (1, 2, 5):
        results[f"RePaint, r = {rounds}"] = repaint(
            ask, many[:24], m, eps[:24], times[::2], rounds, stream(6)
        )
    results["told"] = blend(told, many, m, eps)
    shares[name] = {method: share(x, m) for method, x in results.items()}
for row in shares.values():
    order = list(row.values())
    print(f"five rounds beat one: {order[3] > order[1]}; told, all fit: {order[4] == 1}")

# %% mystnb={"image": {"alt": "A bar chart of the share of pictures that fit, for two masks and five methods. Blend and RePaint with one round are lowest, and lower for the wide mask than for the box; more rounds raise the share; the told denoiser stands at 1 for both."}, "figure": {"caption": "Share of the inpainted pictures that fit what is known. The blend fails more often where less is known; rounds of RePaint help; a model that is told what is known makes no mistake.", "name": "inpainting-shares"}}
figure, axes = plt.subplots(figsize=(6.4, 2.8))
for shift, (name, row) in zip((-0.2, 0.2), shares.items(), strict=True):
    axes.bar(
        torch.arange(5) + shift,
        row.values(),
        width=0.38,
        label=f"mask: {name}",
    )
axes.set_xticks(range(5), [n.replace(", ", "\n") for n in row])
axes.set(ylabel="share that fits", ylim=(0, 1.25), yticks=[0, 0.5, 1])
axes.legend(ncols=2, loc="upper left")
plt.show()

# %% [markdown]
# ### Strength
#
# `inpaint` has a strength, as {doc}`image_to_image` has: the share of the steps that is walked. Under 1 the walk begins with the noised *picture*, inside the mask as well.
# So something of what you want to be rid of is still there. The dog is red. The text asks for a cat of any colour, so one in six should be red.

# %%
strengths, red = (0.3, 0.5, 0.7, 0.8, 0.9, 1.0), []
for strength in strengths:
    walked = times[-round(50 * strength) :]
    x = eps[:24] if strength == 1 else schedule.q_sample(many[:24], float(walked[0]), eps[:24])
    begun = Begun(x, eps[:24], x_0=many[:24], repaint=box)
    x = begun.walk(ask, schedule, lambda step: None, times=walked)
    red.append(sum(labels[i][3] == "red" for i in drawn_as(x, box)) / len(x))
print(f"at 0.7 most are red: {red[2] > 0.6}; at 1 few: {red[-1] < 0.3}")

# %% mystnb={"image": {"alt": "A curve of the share of red cats over the strength: 1 up to 0.5, over 0.8 at 0.7, then falling to about one in six at strength 1."}, "figure": {"caption": "In place of a red dog, cats of any colour were asked for. Up to a strength of 0.7 they inherit its red.", "name": "inpainting-strength"}}
figure, axes = plt.subplots(figsize=(6.4, 2.6))
axes.plot(strengths, red, "o-", label="share of red cats")
axes.axhline(1 / 6, color="black", ls="--", lw=1.2, label="right: one in six")
axes.set(xlabel="strength", ylim=(0, 1.05))
axes.legend()
plt.show()

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
eps_2 = torch.randn(N, 2, generator=torch.Generator().manual_seed(0))
half, full = times, schedule.times(100, "leading", offset=1)


def afresh(seed):
    """What is set back, with noise that is new at each call."""
    noise = stream(seed)
    return lambda t: schedule.q_sample(x_0, t, noise(x_0))


m_2 = torch.tensor([[0.0, 1.0]])
kept = [blend(exact, x_0, m_2, eps_2, times=g)[:, 1] for g in (half, full)]
fresh = [blend(exact, x_0, m_2, eps_2, times=g, known=afresh(7))[:, 1] for g in (half, full)]
nearer = kept[0].std() > fresh[0].std() > spread
print(
    f"same mean: {bool((kept[0].mean() - fresh[0].mean()).abs() < 0.05)}; nearer spread: {bool(nearer)}"
)
gap, gap_fresh = ((a - b).abs().mean() for a, b in (kept, fresh))
print(
    f"mean change, same noise: {gap:.2f}; fresh noise over twice that: {bool(gap_fresh > 2 * gap)}"
)

# %% [markdown]
# **The right amount of noise.** What if the known part is set back clean at every step? A trained network has never seen half a picture without noise. In 12,288 numbers the length of $x_t$ is all but fixed, and a clean half sticks out.
# The cell measures by how many standard deviations the known part is too short at $t = 601$. What a network answers there, nobody trained it to.

# %%
known = (1 - box).expand(1, 3, -1, -1) == 1
noised = schedule.q_sample(
    picture.expand(100, -1, -1, -1),
    601,
    torch.randn(100, 3, 64, 64, generator=g),
)
lengths = noised[:, known[0]].norm(dim=1)
off = (lengths.mean() - picture[known].norm()) / lengths.std()
print(f"off by over 30 standard deviations: {bool(abs(off) > 30)}")

# %% [markdown]
# **The clean one last.** Stable Diffusion's own walk ends at time 0, not at the clean picture ({doc}`pipeline`). The noise of time 0 is small, but it would stay in the result for ever. So the last step sets back $x_0$ itself.

# %%
left = 1 - schedule.alpha_bar_at(0)
almost = schedule.q_sample(picture, 0, eps[:1])
print(f"noise left at time 0: {left.sqrt():.3f}")
print(f"measured, within 2 %: {abs((almost - picture).std() / left.sqrt() - 1) < 0.02}")

# %% [markdown]
# ## Paste
#
# Setting back the latents does not keep the *pixels*. The autoencoder is lossy ({doc}`vae`): what goes in and out of it has changed, everywhere. To see how much, take the linear autoencoder of that chapter, which keeps
# four numbers of each 8 by 8 patch. The last step of inpainting therefore happens in the picture: what is to be kept is pasted over the result, at full resolution and exactly.
#
# $$
# x \;\leftarrow\; m \odot x + (1 - m) \odot x_\text{picture} .
# $$ (inpainting-paste)

# %%
from minisd.start import Start

x = prepare(photo)
patches = F.unfold(x, 8, stride=8)[0].T  # [1024, 192]
centre = patches.mean(0)
basis = torch.linalg.svd(patches - centre, full_matrices=False).Vh[:4]
codes = (patches - centre) @ basis.T  # the latent: 32 x 32 x 4
there = F.fold(((codes @ basis) + centre).T[None], 256, 8, stride=8)
begun = Start((256, 256), images=x, masks=pixels)
pasted = begun.paste(there)
by_hand = pixels * there.clamp(-1, 1) + (1 - pixels) * x
print(f"equation and minisd agree: {torch.allclose(pasted, by_hand)}")
outside = pixels.expand_as(x) == 0
loss = (there - x)[outside].square().mean()
print(f"without the paste, the kept pixels have lost: PSNR {10 * math.log10(4 / loss):.0f} dB")
print(f"with it they are equal: {torch.equal(pasted[outside], x[outside])}")

# %% mystnb={"image": {"alt": "Three photographs of an astronaut. The first is sharp. In the second, from the autoencoder, everything is blocky. In the third only the ellipse around the face is blocky, and all else is as sharp as in the first."}, "figure": {"caption": "A photograph, what four numbers a patch leave of it, and the same with the kept pixels pasted back. Nothing was repainted here: this is the loss of the autoencoder alone.", "name": "inpainting-paste-figure"}}
image_grid(
    torch.cat([x, there, pasted]),
    ["photograph", "through a linear latent", "pasted"],
)
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

# %%
from dataclasses import replace

from minisd.models.unet import UNet, UNetConfig

torch.manual_seed(0)
config = UNetConfig(
    sample_size=32,
    block_out_channels=(16, 32),
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    layers_per_block=1,
    attention_head_dim=2,
    cross_attention_dim=32,
    norm_num_groups=8,
)
four, nine = UNet(config), UNet(replace(config, in_channels=9))
state = four.state_dict()
weight = state["conv_in.weight"]
state["conv_in.weight"] = torch.cat([weight, torch.zeros(16, 5, 3, 3)], dim=1)
nine.load_state_dict(state)
print(tuple(weight.shape), tuple(nine.conv_in.weight.shape))
g = torch.Generator().manual_seed(8)
x_t, z = torch.randn(2, 1, 4, 32, 32, generator=g)
text = torch.randn(1, 7, 32, generator=g)
with torch.no_grad():
    seen = four(x_t, torch.tensor([500.0]), text)
    widened = nine(torch.cat([x_t, small, z], dim=1), torch.tensor([500.0]), text)
print(f"same prediction: {torch.allclose(seen, widened, atol=1e-5)}")

# %% [markdown]
# Once such a network is trained the order matters, and no error guards it: nine channels in another order have the same shape. After each step there is nothing to set back.
# The paste at the end stays.
#
# ## The pipeline
#
# `StableDiffusion.inpaint` does all of this. It looks at how many channels its U-Net takes. With four it blends, with nine it shows. No weights ship with this chapter, so the cell builds a small Stable Diffusion with **random weights**: what it paints into the ellipse
# is noise of the right shape. What it keeps is real ({numref}`inpainting-photo`).

# %%
from minisd.models.clip import CLIPTextConfig, CLIPTextEncoder
from minisd.models.tokenizer import train_tokenizer
from minisd.models.vae import AutoencoderKL, VAEConfig
from minisd.pipeline import StableDiffusion
from minisd.scenes import caption, scene_factors

tokenizer = train_tokenizer((caption(scene_factors(i)) for i in range(200)), 600)
text_encoder = CLIPTextEncoder(
    CLIPTextConfig(
        vocab_size=len(tokenizer.vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        eos_token_id=len(tokenizer.vocabulary) - 1,
    )
)
vae = AutoencoderKL(
    VAEConfig(
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
    )
)
scheduler = {
    "_class_name": "PNDMScheduler",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
}
g = torch.Generator().manual_seed(9)
with torch.no_grad():
    for p in (*four.parameters(), *nine.parameters(), *vae.parameters()):
        spread = p[0].numel() ** -0.5 if p.ndim > 1 else 0.2
        p.copy_(torch.randn(p.shape, generator=g) * spread + (p.ndim == 1))
for_four = StableDiffusion(tokenizer, text_encoder, four, vae, scheduler)
for_nine = StableDiffusion(tokenizer, text_encoder, nine, vae, scheduler)

prompt = "a cat sitting on a bench wearing sunglasses"
settings = {"strength": 1.0, "steps": 10, "seed": 3, "progress": False}
results = [sd.inpaint(prompt, photo, mask, **settings) for sd in (for_four, for_nine)]
outside = np.asarray(mask) == 0
for [result] in results:
    untouched = np.asarray(result)[outside] == np.asarray(photo)[outside]
    print(result.size, f"every kept pixel is equal: {untouched.all()}")

# %% mystnb={"image": {"alt": "Three pictures: the photograph of an astronaut; the same with the ellipse over her face in grey, as a nine-channel U-Net is shown it; the photograph with coloured noise in the ellipse and everything else untouched."}, "figure": {"caption": "The photograph, the masked picture that a nine-channel U-Net is shown, and what comes out. The weights are random, so inside the ellipse is noise; outside, every pixel is kept.", "name": "inpainting-photo"}}
shown = x * (1 - pixels)
[result] = results[0]
image_grid(
    torch.cat([x, shown, prepare(result)]),
    ["photograph", "masked", "inpainted"],
)
plt.show()

# %% [markdown]
# ### Parity with diffusers
#
# The same weights, the same seed and the same photograph go through diffusers' inpainting pipeline, for both kinds of U-Net. This cell is the one that needs the peer library.

# %%
import diffusers
import transformers

transformers.utils.logging.set_verbosity_error()
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
shape = {
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "block_out_channels": (8, 8, 16, 16),
}
down, up = ["DownEncoderBlock2D"] * 4, ["UpDecoderBlock2D"] * 4
peer_vae = diffusers.AutoencoderKL(
    latent_channels=4, down_block_types=down, up_block_types=up, **shape
)
peer_vae.load_state_dict(vae.state_dict())
with torch.no_grad():
    words, nothing = for_four.encode_text(prompt), for_four.encode_text("")
for sd in (for_four, for_nine):
    peer_unet = diffusers.UNet2DConditionModel(**vars(sd.unet.config))
    peer_unet.load_state_dict(sd.unet.state_dict())
    peer = diffusers.StableDiffusionInpaintPipeline(
        peer_vae, None, None, peer_unet, diffusers.DDIMScheduler.from_config(scheduler | {"clip_sample": False}),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    peer.set_progress_bar_config(disable=True)
    expected = peer(
        prompt_embeds=words, negative_prompt_embeds=nothing, image=photo, mask_image=mask,
        height=256, width=256, strength=0.7, num_inference_steps=10, guidance_scale=2.0,
        generator=[torch.Generator().manual_seed(3)], output_type="latent",
    ).images  # fmt: skip
    latent = sd.inpaint(
        prompt, photo, mask, strength=0.7, sampler="ddim", output="latent",
        steps=10, guidance_scale=2.0, seed=3, progress=False,
    )  # fmt: skip
    error = (latent - expected).abs().max() / expected.abs().max()
    print(f"{sd.unet.config.in_channels} channels: relative error < 1e-3: {bool(error < 1e-3)}")

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
everything = torch.ones(1, 1, 64, 64)
by_blend = blend(ask, many[:4], everything, eps[:4])
print(torch.equal(by_blend, sample(ask, eps[:4], schedule, times=times)))
loose = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
u = blend(loose.denoiser(schedule), x_0, m_2, eps_2)[:, 1]
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
    u = blend(exact, x_0, m_2, eps_2, sampler=name, noise=stream(10))[:, 1]
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
# Every part of the machine has run now, on random weights. {doc}`real_weights` loads those that others have trained.
