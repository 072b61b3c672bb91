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
# # Guidance by a classifier
#
# **You will be able to**
#
# - derive classifier guidance from Bayes' rule, and check it where every term is known;
# - tell a right sampler from one with a wrong sign or a missing factor, by a test that sees both;
# - say what a scale other than 1 draws from, and what it does not;
# - write both forms of the paper, and show that they agree as the steps get small;
# - find the faults in a listing by running it.
#
# **Time** 40 minutes to read; the cells run in about 30 seconds.
#
# **Before this** {doc}`../diffusion/reverse` and {doc}`../diffusion/samplers`. The last part draws with the networks of
# Part III; you can look at the pictures without having read it.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part II, Guidance, at its first chapter, by a classifier."}, "figure": {"caption": "Where you are: the first chapter of Part II.", "name": "classifier-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("classifier")
plt.show()

# %% [markdown]
# A diffusion model draws *something* from its data. You want to say what: a dog, something red, the left of the two. That is *guidance*, and this part of the book
# has six ways of it. They share one idea. A sampler knows nothing but a denoiser, a function from $x_t$ and $t$ to a guess at the noise ({doc}`../diffusion/samplers`).
# So each way of guidance is a new denoiser, made from the old one. Every sampler then runs it as it is.
#
# This chapter has the oldest way {cite}`dhariwal2021diffusion`: a classifier that looks at the noisy picture, and says at each step in which direction it would look more like a dog.
#
# ## Bayes' rule for scores
#
# Call $y$ what you want to see. Bayes' rule says $p(x_t \mid y) = p(x_t)\, p(y \mid x_t) / p(y)$. Take the logarithm and then the gradient by $x_t$. The last factor has no $x_t$ in it and goes away:
#
# $$
# \nabla_{x_t} \log p(x_t \mid y) = \nabla_{x_t} \log p(x_t) + \nabla_{x_t} \log p(y \mid x_t) .
# $$ (classifier-bayes)
#
# The first term is the score that the model has learned. The second needs a classifier, and it must be one of *noisy* pictures: its input is $x_t$.
#
# You want to see that equation hold. So take data where all three terms are known: four Gaussians in the plane, in three classes. The middle class has two of them. Under noise a mixture stays a mixture
# ({doc}`../diffusion/reverse`), so the perfect classifier of $x_t$ is known too.

# %%
import torch

from minisd.diffusion import GaussianMixture, NoiseSchedule

schedule = NoiseSchedule.linear()
data = GaussianMixture(
    torch.tensor([0.3, 0.2, 0.2, 0.3]),
    torch.tensor([[-1.5, 0.3], [0.0, 1.3], [0.6, -1.2], [1.7, 0.6]]),
    torch.tensor([[[0.30, 0.1], [0.1, 0.2]], [[0.2, 0.0], [0.0, 0.2]], [[0.15, 0.0], [0.0, 0.25]], [[0.2, -0.1], [-0.1, 0.3]]]),
)  # fmt: skip
classes = [[0], [1, 2], [3]]
parts = [GaussianMixture(data.weights[k], data.means[k], data.covariances[k]) for k in classes]
share = torch.stack([data.weights[k].sum() for k in classes])


def log_joint(x_t, a):
    """log p(x_t, y) at the noise level a = alpha_bar_t, [B, 3]."""
    return torch.stack([part.log_prob(x_t, a) for part in parts], dim=1) + share.log().to(x_t)


def logits(x_t, t):
    """The same as a network would be asked; its softmax is p(y | x_t)."""
    return log_joint(x_t, schedule.alpha_bar_at(t))


x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
t = torch.linspace(0, 999, 500, dtype=torch.float64)
a = schedule.alpha_bar_at(t)
x.requires_grad_()
(uphill,) = torch.autograd.grad(logits(x, t).log_softmax(1)[:, 1].sum(), x)
x = x.detach()
both = data.score(x, a) + uphill
print(f"Bayes' rule holds: {torch.allclose(both, parts[1].score(x, a), atol=1e-9)}")

# %% mystnb={"image": {"alt": "Three fields of arrows over the same four blobs of points: a blue one at the left, two orange ones above and below in the middle, a green one at the right. Left: arrows towards the middle of all. Middle: arrows from blue and green towards the orange ones. Right: the sum, arrows towards the orange blobs."}, "figure": {"caption": "At one noise level: the score of all data, the gradient of the classifier for the middle class, and their sum, which is the score of that class.", "name": "classifier-fields"}}
level = 350
side = torch.linspace(-2.4, 2.4, 15, dtype=torch.float64)
grid = torch.cartesian_prod(side, side)
when = torch.full((len(grid),), float(level), dtype=torch.float64)
a = schedule.alpha_bar_at(when)
unconditional, conditional = data.score(grid, a), parts[1].score(grid, a)
fields = {
    r"$\nabla\log p(x_t)$": unconditional,
    r"$\nabla\log p(y \mid x_t)$": conditional - unconditional,
    r"$\nabla\log p(x_t \mid y)$": conditional,
}
dots, component = data.sample(600, torch.Generator().manual_seed(1))
colours = ["C0" if k == 0 else "C2" if k == 3 else "C1" for k in component.tolist()]
figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.5), sharey=True)
for axis, (name, field) in zip(axes, fields.items(), strict=True):
    axis.scatter(*dots.T, s=2, c=colours, alpha=0.4)
    axis.quiver(*grid.T, *field.T, width=0.006)
    axis.set(title=name, xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal")
plt.show()

# %% [markdown]
# ## The guided denoiser
#
# Our denoisers predict noise. Noise and score are the same thing in two scales, $\varepsilon = -\sqrt{1 - \bar\alpha_t}\, \nabla \log p(x_t)$ ({doc}`../diffusion/loss`). Multiply {eq}`classifier-bayes` by that factor, and put a
# *scale* $s$ before the classifier:
#
# $$
# \hat\varepsilon(x_t, t) = \varepsilon_\theta(x_t, t) - s\, \sqrt{1 - \bar\alpha_t}\; \nabla_{x_t} \log p_\phi(y \mid x_t) .
# $$ (classifier-eps)
#
# At $s = 1$ it is Bayes' rule. That is all of `minisd.guidance.classifier`: it takes a denoiser and returns one. The cell compares it with the perfect denoiser of the class.

# %%
from minisd.guidance import classifier

exact = data.denoiser(schedule)
guided = classifier(exact, logits, 1, 1.0, schedule)
wanted = parts[1].denoiser(schedule)
print(f"largest difference below 1e-5: {bool((guided(x, t) - wanted(x, t)).abs().max() < 1e-5)}")

# %% [markdown]
# ## Does it draw from the right distribution?
#
# A picture can look right and be wrong. So test the samples. You have 1500 points that the guided sampler drew, and as many true points of the class. If both come from one distribution, it makes no difference which
# point is called which. The *energy distance* {cite}`szekely2013energy` measures how far two sets are apart:
#
# $$
# D = 2\,\mathbb E\lVert X - Y\rVert - \mathbb E\lVert X - X'\rVert - \mathbb E\lVert Y - Y'\rVert .
# $$ (classifier-energy)
#
# Compute it for the true labelling and for 200 random ones. The share of random ones that are at least as far apart is the p-value.

# %%
import numpy as np
from scipy.spatial.distance import cdist


def p_value(drawn, true, rounds=200):
    """Permutation test of the energy distance; small where the two differ."""
    both, n = np.concatenate([drawn, true]), len(drawn)
    apart = cdist(both, both)
    rng = np.random.default_rng(0)
    sign = np.concatenate([np.full(n, 1 / n), np.full(len(true), -1 / len(true))])
    labellings = np.stack([sign, *(rng.permutation(sign) for _ in range(rounds))])
    distance = -((labellings @ apart) * labellings).sum(axis=1)
    return float((distance >= distance[0]).mean())


N = 1500
true = [parts[1].sample(N, torch.Generator().manual_seed(k), torch.float64)[0] for k in (2, 3)]
moved = true[1] + torch.tensor([0.2, 0.0])
print(f"two true sets: p > 0.05 {p_value(*true) > 0.05}")
print(f"one of them moved by 0.2: p < 0.01 {p_value(true[0], moved) < 0.01}")

# %% [markdown]
# The test sees a shift of 0.2. Now the guided samples, and three faults that are easily made: the wrong sign, a forgotten $\sqrt{1 - \bar\alpha_t}$, and no guidance at all.

# %%
from minisd.diffusion import sample

x_T = torch.randn(N, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def without_root(x_t, t):
    """The equation without its root."""
    return (
        exact(x_t, t)
        + (guided(x_t, t) - exact(x_t, t)) / (1 - schedule.alpha_bar_at(t)).sqrt()[:, None]
    )


ways = {
    "right": guided,
    "wrong sign": classifier(exact, logits, 1, -1.0, schedule),
    "no root": without_root,
    "unguided": exact,
}
with torch.no_grad():
    drawn = {name: sample(way, x_T, schedule, 60, "dpmpp_2m") for name, way in ways.items()}
for name, points in drawn.items():
    print(f"{name:10} p {'> 0.05' if p_value(points, true[0]) > 0.05 else '< 0.01'}")

# %% [markdown]
# The right one passes, and every fault is seen, even the missing root: at small $t$ the root is small, so without it the classifier pulls too hard there.
#
# ## The scale is no temperature
#
# What does a scale of 4 draw? It is tempting to read it off the formula: $\nabla \log p(x_t) + s\, \nabla \log p(y \mid x_t)$ is the score of something proportional to $p(x_t)\, p(y \mid x_t)^s$. At each $t$ that is so.
# But samples at $s$ would follow
#
# $$
# p_s(x_0) \propto p(x_0)\, p(y \mid x_0)^s
# $$ (classifier-tilted)
#
# only if the densities at larger $t$ were this one with noise added. They are not: to add noise and to take a power do not commute, but for $s = 1$ and $s = 0$. The cell computes $p_s$ on a fine grid, draws from it, and
# compares.

# %%
fine = torch.linspace(-4, 4, 401, dtype=torch.float64)
points = torch.cartesian_prod(fine, fine)
clean = torch.full((len(points),), -1.0, dtype=torch.float64)
log_p, log_y = data.log_prob(points), logits(points, clean).log_softmax(1)[:, 1]


def tilted(s, n=N):
    """Draw from p(x) p(y | x)^s, within a cell of the grid."""
    g = torch.Generator().manual_seed(5)
    chosen = torch.multinomial((log_p + s * log_y).softmax(0), n, replacement=True, generator=g)
    return points[chosen] + 0.02 * (torch.rand(n, 2, generator=g, dtype=torch.float64) - 0.5)


def at_scale(s, label=1):
    """Guided samples."""
    with torch.no_grad():
        return sample(classifier(exact, logits, label, s, schedule), x_T, schedule, 60, "dpmpp_2m")


for s in (1.0, 4.0, 10.0):
    print(f"s = {s:2.0f}: same as the tilted density: {p_value(at_scale(s), tilted(s)) > 0.05}")

# %% [markdown]
# At 1 the two agree, and at 4 they no longer do. Move the slider: the guided samples (orange) run further out, away from the other classes, than the tilted density (grey). What a large scale gives you is typical, exaggerated members of
# the class, and less variety. It is a knob, and not a distribution with a name.

# %%
from minisd.widgets import slider

scales = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def draw_scale(s):
    figure, axis = plt.subplots(figsize=(4.2, 3.4))
    density = (log_p + s * log_y).softmax(0).reshape(401, 401).T
    axis.contourf(fine, fine, density / density.max(), levels=8, cmap="Greys", alpha=0.7)
    axis.scatter(*at_scale(s)[:500].T, s=4, color="C1")
    axis.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    return figure


slider(
    draw_scale,
    scales,
    label="scale s",
    caption="The middle class at different scales. Grey: the density $p(x)\\,p(y \\mid x)^s$, computed. Orange: what the guided sampler draws. They agree at 0 and at 1.",
    alt="Samples of the two middle blobs at scale {}, over the tilted density.".format,
    start=2,
)

# %% [markdown]
# ## The other form: move the mean
#
# Dhariwal and Nichol give two algorithms. The second is {eq}`classifier-eps`, for DDIM. The first is for DDPM, whose step is a Gaussian with mean $\mu$ and variance $\Sigma$ ({doc}`../diffusion/reverse`). It shifts the mean:
#
# $$
# x_{t'} \sim \mathcal N\bigl(\mu + s\, \Sigma\, \nabla_{x_t} \log p_\phi(y \mid x_t),\; \Sigma\bigr) .
# $$ (classifier-mean)
#
# The reason is a Taylor expansion: within a small step $\log p(y \mid x)$ is nearly a straight line, and a Gaussian times the exponential of a line is a Gaussian with a shifted mean. Where steps are strided, $\Sigma$ is that of the stride
# from $t$ to $t'$, not that of one of the thousand steps. The cell writes it out, and runs both forms with the same noise.

# %%
from itertools import pairwise

from minisd.diffusion import ImageNoise


def mean_form(steps, scale=2.0, n=100):
    """DDPM with the mean moved: algorithm 1 of the paper."""
    noise = ImageNoise(range(n))
    x = noise.draw((2,), dtype=torch.float64)
    for t, s in pairwise([*schedule.times(steps).tolist(), -1.0]):
        when = torch.full((n,), t, dtype=torch.float64)
        x.requires_grad_()
        (uphill,) = torch.autograd.grad(logits(x, when).log_softmax(1)[:, 1].sum(), x)
        x = x.detach()
        x_0 = schedule.convert(exact(x, when), x, when, "eps", "x0")
        mean, variance = schedule.posterior(x_0, x, t, s)
        x = mean + scale * variance * uphill
        x = x if s < 0 else x + variance.sqrt() * noise(x)
    return x


def eps_form(steps, scale=2.0, n=100):
    """DDPM on the guided denoiser."""
    noise = ImageNoise(range(n))
    x = noise.draw((2,), dtype=torch.float64)
    way = classifier(exact, logits, 1, scale, schedule)
    with torch.no_grad():
        return sample(way, x, schedule, steps, "ddpm", noise=noise)


counts = (10, 40, 160, 320)
gaps = [float((mean_form(n) - eps_form(n)).abs().median()) for n in counts]
print("less and less:", all(b < a for a, b in pairwise(gaps)))
print(f"at 320 steps below 0.01: {gaps[-1] < 0.01}")

# %% mystnb={"image": {"alt": "A falling curve on two logarithmic axes: the median difference of the two forms over the number of steps, from 10 to 320."}, "figure": {"caption": "The two forms of classifier guidance differ by less and less as the steps get smaller.", "name": "classifier-forms"}}
figure, axis = plt.subplots(figsize=(4.2, 2.4))
axis.loglog(counts, gaps, "o-")
axis.set(xlabel="steps", ylabel="median difference")
plt.show()

# %% [markdown]
# The form in $\hat\varepsilon$ is the more useful one. It needs no $\Sigma$, so every sampler can run it, also those that have no noise. In `minisd` it is the only one.
#
# ## A listing, fault by fault
#
# The report that this book follows gives the algorithm twice: as Dhariwal and Nichol's figure, and as a listing of its own. In the figure a scale $s$ is among the inputs, and then no line uses it ({ref}`errata <erratum-unused-scale>`). It is so
# in the paper too, whose scale stands in its other algorithm. The listing has faults that you learn from. Here are its lines, one at a time.
#
# **A gradient that was never switched on.** It calls `class_prob.backward()` and reads `x_t.grad`. Nobody asked for a gradient by `x_t`.

# %%
net = torch.nn.Linear(2, 3)
x_t = torch.randn(1, 2, generator=torch.Generator().manual_seed(6))
x_t = x_t - 0.01 * x_t  # the listing's step; without a gradient, nothing is kept
torch.softmax(net(x_t), dim=1)[:, 1].backward()
print("x_t.grad is", x_t.grad)

# %% [markdown]
# So the next line, `guidance_scale * class_grad`, multiplies with `None` and stops. The right form makes a leaf, `x_t.detach().requires_grad_()`, and asks for the one gradient that is needed with `torch.autograd.grad`. Then the weights of the classifier
# get none, and `zero_grad` has nothing to do.
#
# **The probability in place of its logarithm.** Suppose the gradient were there. The listing takes that of the softmax. By the chain rule
#
# $$
# \nabla p(y \mid x_t) = p(y \mid x_t)\; \nabla \log p(y \mid x_t) ,
# $$ (classifier-probability)
#
# so the push is multiplied with the probability itself. Where the picture is far from the class, and the push is most needed, it is nearly 0.

# %%
spots = torch.tensor([[-2.0, 0.3], [-1.0, 0.5], [0.0, 1.0]], dtype=torch.float64).requires_grad_()
early = torch.full((3,), 100.0, dtype=torch.float64)
p = logits(spots, early).softmax(1)[:, 1]
(of_p,) = torch.autograd.grad(p.sum(), spots, retain_graph=True)
(of_log,) = torch.autograd.grad(p.log().sum(), spots)
print(f"chain rule: {torch.allclose(of_p, p[:, None] * of_log)}")
for i, where in enumerate(("far", "nearer", "inside")):
    print(
        f"{where:7} p {p[i]:.3f}  push by log p {of_log[i].norm():.2f}  by p {of_p[i].norm():.3f}"
    )

# %% [markdown]
# **A step that is not DDPM's.** The listing steps with `x_t - predicted_noise * noise_schedule[t]`. Read `noise_schedule` as $\beta_t$. DDPM's mean divides by $\sqrt{\alpha_t}$, takes $\beta_t / \sqrt{1 - \bar\alpha_t}$ times the noise, and adds fresh noise. The cell runs the listing's step on the perfect
# denoiser, with no guidance at all.
#
# **The last step is missing.** `reversed(range(1, T))` never comes to $t = 0$. **The classifier is asked without a time**, and after the step. **And the push has no factor**: neither $\Sigma$ nor $\sqrt{1 - \bar\alpha_t}$, at every step. The cell adds these one by one, each on
# top of a repaired rest. To save you time it takes a schedule of 500 steps, with twice the betas.

# %%
short = NoiseSchedule.linear(500, 2e-4, 0.04)
denoise = data.denoiser(short)


def listing(step="ddpm", push="log", factor=True, timed=True, last=0, n=800):
    """The report's loop, with each of its faults to be switched on."""
    g = torch.Generator().manual_seed(7)
    x = torch.randn(n, 2, generator=g, dtype=torch.float64)
    for t in reversed(range(last, short.T)):
        when = torch.full((n,), float(t), dtype=torch.float64)
        seen, eps = x.detach().requires_grad_(), denoise(x, when)
        if step == "ddpm":
            x_0 = short.convert(eps, x, when, "eps", "x0")
            mean, variance = short.posterior(x_0, x, t, t - 1)
            x = mean + variance.sqrt() * torch.randn(n, 2, generator=g, dtype=torch.float64)
        else:
            x, variance = x - eps * short.betas[t], short.betas[t]
        read = log_joint(seen, short.alpha_bar_at(when if timed else 0 * when)).softmax(1)[:, 1]
        (uphill,) = torch.autograd.grad((read.log() if push == "log" else read).sum(), seen)
        x = x + uphill * (variance if factor else 1.0)
    return x


faults = {
    "all repaired": {},
    "the listing's step": {"step": "listing"},
    "probability, no logarithm": {"push": "p"},
    "no time for the classifier": {"timed": False},
    "no factor": {"factor": False},
}
runs = {name: listing(**fault) for name, fault in faults.items()}
for name, points in runs.items():
    verdict = "p > 0.05" if p_value(points, true[0]) > 0.05 else "p < 0.01"
    print(f"{name:26} {verdict}")

# %% mystnb={"image": {"alt": "Five panels of points. Repaired: the two middle blobs. With the listing's step: all points in one tight clump. With the probability: points on all four blobs. Without a time: the middle blobs, nearly as they should be. Without a factor: two clumps, above and below, further out than the blobs."}, "figure": {"caption": "What each fault of the listing draws, with all others repaired. Grey: the data; the middle class is wanted.", "name": "classifier-faults"}}
figure, axes = plt.subplots(1, 5, figsize=(6.4, 1.7))
for axis, (name, points) in zip(axes, runs.items(), strict=True):
    axis.scatter(*dots.T, s=1, color="0.75")
    axis.scatter(*points[:400].T, s=2, color="C1")
    axis.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
    axis.set_title(
        name.replace(", ", ",\n").replace(" for", "\nfor").replace("listing's ", "listing's\n"),
        fontsize=7,
    )
plt.show()

# %% [markdown]
# Without a time the picture looks right, and the test still sees it. The missing step at $t = 0$ is the smallest fault: it leaves the noise of that time in the sample, which is $\sqrt{1 - \bar\alpha_0}$. These blobs are far wider than that, so here the test finds nothing. Pictures are not so soft: a wall has one colour. Take the extreme, data that is one point, of which every step knows $x_0 = 0$.

# %%
cut = p_value(listing(last=1), true[0])
print(f"without the last step: p {'> 0.05' if cut > 0.05 else '< 0.01'}")


def one_point(last, n=800):
    """DDPM for data that is one point, down to the time `last`."""
    g = torch.Generator().manual_seed(8)
    x = torch.randn(n, 2, generator=g, dtype=torch.float64)
    for t in reversed(range(last, short.T)):
        mean, variance = short.posterior(torch.zeros_like(x), x, t, t - 1)
        x = mean + variance.sqrt() * torch.randn(n, 2, generator=g, dtype=torch.float64)
    return x


root = (1 - short.alpha_bar_at(0)).sqrt()
print(f"one point, to the end: {one_point(0).std():.3f} from it")
print(f"without the last step: {one_point(1).std():.3f} from it, predicted {root:.3f}")

# %% [markdown]
# All of them are in the {ref}`errata <erratum-classifier-listing>`. The right listing is the function {eq}`classifier-eps`, and a sampler.
#
# ## On scenes
#
# Now the real thing, in small. The miniature ({doc}`../stable_diffusion/miniature`) is a complete Stable Diffusion for the picture world. With the empty text it draws scenes that nobody asked for. Beside it lies a classifier that was trained on noisy latents, at all times. It answers questions:
# which object, which colour, what is behind it, and so on. Several answers are several classifiers; taken as independent, their logarithms add.
#
# `minisd.steering` has every method of this part behind one function. A picture takes 16 steps here.

# %%
from pathlib import Path

from minisd.scenes import caption, scene_factors
from minisd.steering import Networks, draw

MINIATURE = next(
    p for p in (Path("data_samples/miniature"), Path("../../data_samples/miniature")) if p.exists()
)
networks = Networks(MINIATURE)
asked = [scene_factors(i, 2, two=0.0) for i in (1, 4, 6)]
for one in asked:
    print(caption(one))

# %%
from functools import cache

from minisd.plots import image_grid


@cache
def steered(scale):
    """Each scene with two seeds."""
    twice = [one for one in asked for _ in range(2)]
    method = "classifier" if scale else "unguided"
    return draw(networks, method, twice, scale, range(6), steps=16)


short = [f"{one.things[0].colour} {one.things[0].category}" for one in asked for _ in range(2)]
slider(
    lambda scale: image_grid(steered(scale), short, columns=6),
    (0.0, 2.0, 8.0, 32.0),
    label="scale s",
    caption="Three scenes, two seeds each, drawn by the miniature without a text and steered by its classifier. At scale 0 nothing is asked for.",
    alt="Six drawn scenes at scale {}.".format,
    start=2,
)

# %% [markdown]
# The background obeys first, then the colour. The object comes last. One reason you have seen in {doc}`../diffusion/training`: large, coarse things are decided early in the walk, fine ones late. What tells a dog from a cat is a handful of latent pixels, and the
# classifier sees them only when little can be changed any more.
#
# ### Faithful or diverse
#
# How well does it work? `benchmarks/guidance.py` has drawn 256 scenes at each scale, for captions whose combination of object, colour and background no network was trained on. A judge reads them: the scorer, which no method uses. Three numbers tell the story.
# The share of pictures that show what was asked for. The Fréchet distance to real scenes, which is less where pictures are better. And the spread, how far two pictures of the same wish are apart.

# %%
import json

rows = json.loads((MINIATURE.parent / "guidance" / "scores.json").read_text())
free, steps = rows["unguided"][0], sorted(rows["classifier"], key=lambda row: row["scale"])
print(f"Fréchet distance of real scenes of the same wishes: {rows['real']['frechet']:.0f}")
print("scale  object  colour  background  all    Frechet  spread")
for row in [free | {"scale": 0}, *steps]:
    shares = [f"{100 * row[key]:3.0f} %" for key in ("object", "colour", "background", "all")]
    print(
        f"{row['scale']:5}  {shares[0]:6}  {shares[1]:6}  {shares[2]:10}  {shares[3]}  {row['frechet']:7.0f}  {row['spread']:.2f}"
    )

# %% mystnb={"image": {"alt": "Left: shares of pictures with the right background, colour and object over the scale; all rise, background first, object last. Right: the Fréchet distance and the spread against each other: with the scale the spread falls."}, "figure": {"caption": "Left: what the judge reads right, over the scale. Right: each scale as a point. More scale is less spread; the Fréchet distance falls first.", "name": "classifier-tradeoff"}}
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.6))
line = [free | {"scale": 0.5}, *steps]
for key in ("background", "colour", "object"):
    axes[0].semilogx(
        [r["scale"] for r in line], [100 * r[key] for r in line], "o-", base=2, label=key
    )
axes[0].set(xlabel="scale (unguided at the left)", ylabel="read right (%)", ylim=(0, 103))
axes[0].legend(loc="lower right", fontsize=7, handlelength=1.2)
axes[1].plot([r["spread"] for r in line], [r["frechet"] for r in line], "o-")
for row in line:
    name = "none" if row["scale"] == 0.5 else f"s = {row['scale']}"
    where = {16: (-10, -14), 32: (-20, 6)}.get(row["scale"], (5, -9))
    place = {"xytext": where, "textcoords": "offset points", "fontsize": 7}
    axes[1].annotate(name, (row["spread"], row["frechet"]), **place)
axes[1].set(xlabel="spread", ylabel="Fréchet distance", xlim=(0.31, 0.62), ylim=(350, 800))
plt.show()

# %% [markdown]
# Read the columns against each other. Each step up the scale makes the pictures more faithful and less diverse. The unguided ones are far from real scenes: under the empty text, which it saw in a tenth of its training, the miniature draws poorly, so guidance repairs pictures too. The best come about as near as real scenes of the same wishes do. There is no best scale, only the one for your purpose.
#
# ## Exercises
#
# ```{exercise} Two wishes
# :label: classifier-two
#
# Steer the toy to "not the left class", without a new classifier. Does the sampler draw from the right distribution?
# ```
#
# ```{solution-start} classifier-two
# :class: dropdown
# ```
#
# The probability of "not left" is one minus that of left, or the sum of the other two. Its logarithm goes into `guided_by_gradient`, which takes any log-density. At scale 1 it is Bayes' rule again, so the samples must pass.

# %%
from minisd.guidance import guided_by_gradient


def not_left(x_t, t):
    """log p(not the left class | x_t)."""
    said = logits(x_t, t)
    return said[:, 1:].logsumexp(1) - said.logsumexp(1)


with torch.no_grad():
    points = sample(
        guided_by_gradient(exact, not_left, 1.0, schedule), x_T, schedule, 60, "dpmpp_2m"
    )
rest = GaussianMixture(data.weights[1:], data.means[1:], data.covariances[1:])
print(p_value(points, rest.sample(N, torch.Generator().manual_seed(8), torch.float64)[0]) > 0.05)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A classifier of clean pictures
# :label: classifier-clean
#
# Somebody gives you a perfect classifier of *clean* points. Use it at every $t$, as if the time were $-1$. What goes wrong, and where in the walk?
# ```
#
# ```{solution-start} classifier-clean
# :class: dropdown
# ```
#
# At large $t$ the classes overlap, and a point between them says little. The clean classifier is sure there, and its gradient is large and points to borders that do not exist yet. The samples fail the test.

# %%
with torch.no_grad():
    clean_reader = classifier(exact, lambda x, t: logits(x, 0 * t - 1), 1, 1.0, schedule)
    points = sample(clean_reader, x_T, schedule, 60, "dpmpp_2m")
print(f"p < 0.01: {p_value(points, true[0]) < 0.01}")
here = torch.tensor([[-0.5, 0.5]], dtype=torch.float64)
for time in (10.0, 300.0, 600.0):
    when = torch.tensor([time], dtype=torch.float64)
    with torch.no_grad():
        clean, noisy = (way(here, when) - exact(here, when) for way in (clean_reader, guided))
    print(
        f"t = {time:3.0f}: the clean one pushes {float(clean.norm() / noisy.norm()):.1f} times as hard"
    )

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`sohl2015deep` multiplied the steps of a diffusion with a second distribution, in the paper that introduced these models. {cite:t}`song2021score` wrote {eq}`classifier-bayes` for scores, and drew classes with a classifier that sees the noise.
# {cite:t}`dhariwal2021diffusion` trained it on ImageNet, found that a scale above 1 is needed, and traded diversity for fidelity by it; their diffusion models were the first to beat GANs there.
# What a large scale cannot do was soon asked too: {cite:t}`ho2022classifier` note that a gradient which pleases a classifier may do it as an adversarial attack does, and show a way without one.
#
# ## The way on
#
# A classifier has to be trained, on noise, for each thing that you may want to ask. {doc}`classifier_free` has it all in the denoiser itself.
