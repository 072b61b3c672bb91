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
# # Faster samplers
#
# **You will be able to**
#
# - derive DDIM from a family of chains that share one network, and say what $\eta$ does;
# - read a sampler as a solver of an ordinary differential equation, and name its variable, its order and its cost;
# - derive Heun, PLMS and DPM-Solver++(2M), write each in a few lines, and write a sampler of your own;
# - measure an order of convergence, and say why the grids that are shipped lose it;
# - say what a sampler's noise buys and what it costs, and run a sampler backwards.
#
# **Time** 75 minutes to read; the cells run in about 20 seconds.
#
# **Before this** {doc}`reverse`: the step back $q(x_{t-1} \mid x_t, x_0)$, and the score.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part I, Diffusion, at its last chapter of five, faster samplers."}, "figure": {"caption": "Where you are: the last chapter of Part I.", "name": "samplers-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import image_grid, road, use_style

use_style()
road("samplers")
plt.show()

# %% [markdown]
# The reverse chain of the earlier chapters runs the network once a step: a thousand runs for a picture. The report made its
# pictures with 50. Twenty are enough. This chapter derives how, and measures what is lost.
#
# Two conventions. The formulas below hold between any two times $s < t$, with $x_s$ the cleaner one; nothing asks
# that they are neighbours. In the code a time is an index: one less than the papers' $t$, and $-1$ is the clean end.
#
# To see the error of a *sampler*, you need a network without errors of its own. So the data of this chapter are
# mixtures of Gaussians, whose perfect denoiser is known. The first lives in the plane: five blobs, unequally heavy.

# %%
import math
from itertools import pairwise

import torch

from minisd.diffusion import (
    SAMPLERS,
    GaussianMixture,
    NoiseSchedule,
    gaussian_flow,
    sample,
    sample_steps,
)

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)  # the tensors are small: threads would only wait
schedule = NoiseSchedule.scaled_linear()  # Stable Diffusion's

angles = torch.arange(5) * 2 * math.pi / 5 + math.pi / 2
out = torch.stack([angles.cos(), angles.sin()], dim=1)  # from the centre
thin, long = 0.01, 0.06  # variances across and along the radius
along = out[:, :, None] * out[:, None, :]
blobs = GaussianMixture(
    weights=torch.tensor([0.30, 0.25, 0.20, 0.15, 0.10]),
    means=1.3 * out,
    covariances=thin * torch.eye(2) + (long - thin) * along,
)
denoise = blobs.denoiser(schedule)
x_T = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))


def same(a, b, atol=1e-12):
    return torch.allclose(a, b, rtol=0, atol=atol)


def noise(seed):
    """A stream of noise: the same numbers each time it is made."""
    generator = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=generator)


# %% [markdown]
# ## One network, many chains
#
# Look again at what the network was trained on: a picture $x_0$, one time $t$, and
# $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon$. It never saw two times of one chain
# together. So it does not know which chain led from $x_s$ to $x_t$. Any chain with the same $q(x_t \mid x_0)$ at each
# time could have made its training data.
#
# Song et al. {cite}`song2021denoising` write down a family of such chains, by their steps back. Let $\rho$ be any
# number with $0 \le \rho^2 \le 1 - \bar\alpha_s$, a new one for each step (the paper calls it $\sigma$, a letter that
# we need for something else):
#
# $$
# q_\rho(x_s \mid x_t, x_0) = \mathcal N\!\left(x_s;\ \sqrt{\bar\alpha_s}\, x_0
# + \sqrt{1 - \bar\alpha_s - \rho^2}\ \frac{x_t - \sqrt{\bar\alpha_t}\, x_0}{\sqrt{1 - \bar\alpha_t}},\ \ \rho^2 I\right).
# $$ (samplers-family)
#
# The fraction is the noise $\varepsilon$ in $x_t$. A step keeps a part of it, and draws the rest anew with size $\rho$.
#
# **Claim.** Begin with $q(x_T \mid x_0) = \mathcal N(\sqrt{\bar\alpha_T}\, x_0, (1 - \bar\alpha_T) I)$ and step by
# {eq}`samplers-family`. Then at each time $q(x_s \mid x_0) = \mathcal N(\sqrt{\bar\alpha_s}\, x_0, (1 - \bar\alpha_s) I)$,
# whatever the $\rho$'s are.
#
# **Proof**, by induction down the times. At $T$ it holds by assumption. Let it hold at $t$. Then
# $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon$ with $\varepsilon$ standard normal, and
# {eq}`samplers-family` draws, with a $z$ that is standard normal and independent of $\varepsilon$,
#
# $$
# x_s = \sqrt{\bar\alpha_s}\, x_0 + \sqrt{1 - \bar\alpha_s - \rho^2}\ \varepsilon + \rho\, z .
# $$
#
# Given $x_0$, this is Gaussian with mean $\sqrt{\bar\alpha_s}\, x_0$. Independent variances add:
# $(1 - \bar\alpha_s - \rho^2) + \rho^2 = 1 - \bar\alpha_s$. So it holds at $s$. $\blacksquare$
#
# The cell follows mean and variance through 50 strided steps with random $\rho$'s, and compares them with the claim.

# %%
alpha_bar = schedule.alpha_bar_at(schedule.times(50))
generator = torch.Generator().manual_seed(1)
x_0 = torch.tensor(0.7)
mean, variance = alpha_bar[0].sqrt() * x_0, 1 - alpha_bar[0]
worst = 0.0
for a_t, a_s in pairwise(alpha_bar):
    rho2 = torch.rand((), generator=generator) * (1 - a_s)
    keep = ((1 - a_s - rho2) / (1 - a_t)).sqrt()
    mean = a_s.sqrt() * x_0 + keep * (mean - a_t.sqrt() * x_0)
    variance = keep**2 * variance + rho2
    worst = max(worst, abs(mean - a_s.sqrt() * x_0), abs(variance - (1 - a_s)))
print(f"max error < 1e-12: {bool(worst < 1e-12)}")

# %% [markdown]
# ### The dial from noise to none
#
# One number $\eta$ sets all the $\rho$'s:
#
# $$
# \rho^2 = \eta^2\ \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t} \left(1 - \frac{\bar\alpha_t}{\bar\alpha_s}\right),
# \qquad 0 \le \eta \le 1 .
# $$ (samplers-eta)
#
# At $\eta = 1$ the family's step is the posterior of {doc}`reverse`, and the chain is DDPM's. The variance is
# $\tilde\beta$ by its definition. For the mean, insert $\rho^2$ and take out the common factor:
#
# $$
# \begin{aligned}
# 1 - \bar\alpha_s - \rho^2
# &= \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t} \left[(1 - \bar\alpha_t) - 1 + \frac{\bar\alpha_t}{\bar\alpha_s}\right]
#  = \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}\ \bar\alpha_t\, \frac{1 - \bar\alpha_s}{\bar\alpha_s}, \\[4pt]
# \frac{\sqrt{1 - \bar\alpha_s - \rho^2}}{\sqrt{1 - \bar\alpha_t}}
# &= \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t} \sqrt{\frac{\bar\alpha_t}{\bar\alpha_s}} ,
# \end{aligned}
# $$
#
# which is the factor of $x_t$ in the posterior mean. The cell compares both factors, mean and variance, for a step to
# the neighbour and for a stride of 50.

# %%
x_t = torch.tensor([[-1.5], [0.2], [2.0]])
x_0 = torch.tensor([[0.7], [-1.0], [0.1]])
for t, s in [(700, 699), (700, 650)]:
    a_t, a_s = schedule.alpha_bar_at(t), schedule.alpha_bar_at(s)
    rho2 = (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
    eps = (x_t - a_t.sqrt() * x_0) / (1 - a_t).sqrt()
    mean = a_s.sqrt() * x_0 + (1 - a_s - rho2).sqrt() * eps
    posterior_mean, posterior_variance = schedule.posterior(x_0, x_t, t, s)
    print(
        f"{t} to {s}: mean {same(mean, posterior_mean)},",
        f"variance {math.isclose(rho2, posterior_variance, rel_tol=1e-9)}",
    )

# %% [markdown]
# At $\eta = 0$ nothing is drawn anew: given $x_0$ and $x_T$, the whole path is fixed. {numref}`samplers-paths` shows
# paths of the two chains to one and the same $x_0$.

# %% mystnb={"image": {"alt": "Two panels over the time t from 999 down to 0, each with eight paths that end at x_0 = 0.7 and a band that holds 95 percent of them. With eta 1 the paths are jagged and cross each other; with eta 0 they are smooth and never cross. The bands are equal."}, "figure": {"caption": "Both chains fill the same band at each time, so one network serves both. Only the paths differ.", "name": "samplers-paths"}}
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.6), sharey=True)
times = torch.arange(999, -1, -9)
alpha_bar = schedule.alpha_bar_at(times)
x_0, draw_noise = 0.7, noise(2)
for axis, eta in zip(axes, (1, 0), strict=True):
    eps = draw_noise(torch.empty(8))
    x = [alpha_bar[0].sqrt() * x_0 + (1 - alpha_bar[0]).sqrt() * eps]
    for a_t, a_s in pairwise(alpha_bar):
        rho2 = eta**2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
        eps = (x[-1] - a_t.sqrt() * x_0) / (1 - a_t).sqrt()
        fresh = rho2.sqrt() * draw_noise(eps)
        x.append(a_s.sqrt() * x_0 + (1 - a_s - rho2).sqrt() * eps + fresh)
    middle, half = alpha_bar.sqrt() * x_0, 1.96 * (1 - alpha_bar).sqrt()
    axis.fill_between(times, middle - half, middle + half, color="#DDDDDD")
    axis.plot(times, torch.stack(x), lw=0.9, color="C0")
    axis.set(title=rf"$\eta = {eta}$", xlabel="time t", xlim=(999, 0))
axes[0].set_ylabel("$x_t$ given $x_0 = 0.7$")
plt.show()

# %% [markdown]
# ### The step
#
# Sampling does not know $x_0$. As in DDPM, put in the guess that the network makes. With $\hat\varepsilon$ for the
# network's output at $(x_t, t)$,
#
# $$
# \hat x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\, \hat\varepsilon}{\sqrt{\bar\alpha_t}}, \qquad
# x_s = \sqrt{\bar\alpha_s}\, \hat x_0 + \sqrt{1 - \bar\alpha_s - \rho^2}\ \hat\varepsilon + \rho\, z .
# $$ (samplers-ddim)
#
# This is DDIM, the denoising diffusion *implicit* model. The cell runs {eq}`samplers-ddim` by hand for 20 steps at
# $\eta = 1/2$, and compares it with `sample`. The formula asks nowhere that $s = t - 1$: a step may
# be as long as you like.


# %%
def ddim_step(x_t, t, s, eta, draw_noise):
    a_t, a_s = schedule.alpha_bar_at(t), schedule.alpha_bar_at(s)
    eps = denoise(x_t, t.expand(len(x_t)))
    x_0 = (x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt()
    rho2 = eta**2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
    x_s = a_s.sqrt() * x_0 + (1 - a_s - rho2).sqrt() * eps
    return x_s + rho2.sqrt() * draw_noise(x_t) if rho2 > 0 else x_s


x, draw_noise = x_T, noise(3)
for t, s in pairwise([*schedule.times(20), torch.tensor(-1.0)]):
    x = ddim_step(x, t, s, eta=0.5, draw_noise=draw_noise)
ours = sample(denoise, x_T, schedule, 20, "ddim", eta=0.5, noise=noise(3))
print(f"equal to minisd's: {same(x, ours)}")

# %% [markdown]
# ## Without noise: an ODE
#
# Set $\eta = 0$ and divide {eq}`samplers-ddim` by $\sqrt{\bar\alpha_s}$. Two shorthands make the result short:
#
# $$
# \tilde x_t = \frac{x_t}{\sqrt{\bar\alpha_t}}, \qquad
# \sigma_t = \sqrt{\frac{1 - \bar\alpha_t}{\bar\alpha_t}} .
# $$
#
# $\tilde x_t$ is the picture at its full size with noise of size $\sigma_t$ on it: $\tilde x_t = x_0 + \sigma_t
# \varepsilon$. From {eq}`samplers-ddim`, $\tilde x_t = \hat x_0 + \sigma_t \hat\varepsilon$ and $\tilde x_s = \hat x_0 +
# \sigma_s \hat\varepsilon$. Subtract:
#
# $$
# \tilde x_s = \tilde x_t + (\sigma_s - \sigma_t)\, \hat\varepsilon(x_t, t) .
# $$ (samplers-euler)
#
# That is a step of Euler's method. You stand at $\tilde x_t$, you know a slope $\hat\varepsilon$, and you follow it
# from $\sigma_t$ to $\sigma_s$. `minisd` has both forms, as `ddim` and as `euler`. They are one sampler:

# %%
names = "ddim", "euler"
walks = [sample_steps(denoise, x_T, schedule, 20, name) for name in names]
worst = max((a.x_t - b.x_t).abs().max() for a, b in zip(*walks, strict=True))
print(f"DDIM is Euler in sigma, max error < 1e-12: {bool(worst < 1e-12)}")

# %% [markdown]
# Let the steps shrink to nothing. What Euler's method then follows exactly is an ordinary differential equation (ODE):
#
# $$
# \frac{d \tilde x}{d \sigma} = \hat\varepsilon .
# $$ (samplers-ode)
#
# Each start $x_T$ has one path and one picture, and the paths never cross. The cell doubles the number of steps again and again.
# The results move by half as much each time: they settle on the one solution of {eq}`samplers-ode`.

# %%
few = x_T[:100]
for n in (25, 50, 100):
    grids = (schedule.times(steps, "linspace") for steps in (n, 2 * n))
    x, y = (sample(denoise, few, schedule, times=times) for times in grids)
    gap = float((x - y).square().mean().sqrt())
    print(f"{n:3} to {2 * n:3} steps: moved by {gap:.3f}")

# %% [markdown]
# ### Why its paths lead to the data
#
# You saw that DDIM's chain *given* $x_0$ keeps the marginals. But {eq}`samplers-ode` has a guess in the place of
# $x_0$. Here is why its paths still end in the right distribution. It takes three facts.
#
# **The density spreads like heat.** Let $p_\sigma$ be the density of $\tilde x = x_0 + \sigma \varepsilon$: the data,
# blurred with a Gaussian $\varphi_\sigma \propto \sigma^{-D} e^{-r^2 / 2 \sigma^2}$, where $D$ is the dimension and $r$
# the distance. Differentiate: $\partial_\sigma \varphi_\sigma = (r^2/\sigma^3 - D/\sigma)\, \varphi_\sigma$, and the
# Laplacian (the sum of the second derivatives) is
# $\Delta \varphi_\sigma = (r^2/\sigma^4 - D/\sigma^2)\, \varphi_\sigma$. The first is $\sigma$ times the second.
# A blurred density is a sum of shifted $\varphi_\sigma$'s, so it inherits this:
#
# $$
# \frac{\partial p_\sigma}{\partial \sigma} = \sigma\, \Delta p_\sigma .
# $$ (samplers-heat)
#
# **Moving particles change a density.** If each particle at $\tilde x$ moves with velocity $u$ as $\sigma$ changes,
# then what flows in and out changes the density by $\partial_\sigma p = -\nabla \cdot (p\, u)$. No particle is lost.
#
# **So choose the velocity.** Take $u = -\sigma \nabla \log p_\sigma = -\sigma\, \nabla p_\sigma / p_\sigma$. Then
# $-\nabla \cdot (p_\sigma u) = \sigma\, \nabla \cdot \nabla p_\sigma = \sigma\, \Delta p_\sigma$, which is
# {eq}`samplers-heat`. Particles that start from $p_{\sigma_T}$ and follow
#
# $$
# \frac{d \tilde x}{d \sigma} = -\sigma\, \nabla \log p_\sigma(\tilde x)
# $$ (samplers-flow)
#
# have the density $p_\sigma$ at each $\sigma$ on the way. Song et al. call {eq}`samplers-flow` the *probability flow
# ODE* {cite}`song2021score`; in $\sigma$ it is the form of Karras et al. {cite}`karras2022elucidating`.
#
# It remains to see that {eq}`samplers-flow` and {eq}`samplers-ode` are the same. The perfect network gives
# $\mathbb E[\varepsilon \mid x_t]$, and the score is the mean of the score of each $q(x_t \mid x_0)$,
#
# $$
# \nabla \log q(x_t) = \mathbb E\!\left[\nabla_{x_t} \log q(x_t \mid x_0) \,\middle|\, x_t\right]
# = \mathbb E\!\left[\frac{-\varepsilon}{\sqrt{1 - \bar\alpha_t}} \,\middle|\, x_t\right]
# = \frac{-\hat\varepsilon}{\sqrt{1 - \bar\alpha_t}} .
# $$
#
# A change of $\tilde x$ by 1 is a change of $x$ by $\sqrt{\bar\alpha}$, so $\nabla \log p_\sigma(\tilde x) =
# \sqrt{\bar\alpha}\, \nabla \log q(x_t)= -\hat\varepsilon / \sigma$. Insert that into {eq}`samplers-flow`, and it
# reads {eq}`samplers-ode`.
#
# The cell checks {eq}`samplers-heat` by finite differences, and that $-\sigma \nabla \log p_\sigma$ is the network's
# output, for two humps on a line. In one dimension it can check the flow as a whole, too: paths that do not cross keep
# their order, so the share of the density that lies below a particle must not change on its way.

# %%
humps = GaussianMixture(
    weights=torch.tensor([0.3, 0.7]),
    means=torch.tensor([[-1.0], [1.0]]),
    covariances=torch.tensor([[[0.04]], [[0.09]]]),
)
line = torch.linspace(-4, 4, 801)


def p(sigma, x=line):
    a = 1 / (1 + torch.as_tensor(sigma) ** 2)
    return (humps.log_prob(a.sqrt() * x[:, None], a) + a.log() / 2).exp()


sigma, d, h = 0.5, 1e-4, line[1] - line[0]
by_sigma = (p(sigma + d) - p(sigma - d)) / (2 * d)
laplacian = (p(sigma)[2:] - 2 * p(sigma)[1:-1] + p(sigma)[:-2]) / h**2
print(f"heat: {torch.allclose(by_sigma[1:-1], sigma * laplacian, atol=1e-3)}")

slope = (p(sigma)[2:].log() - p(sigma)[:-2].log()) / (2 * h)
t = schedule.time_of_sigma(sigma)
eps = humps.denoiser(schedule)(line[:, None] / math.sqrt(1 + sigma**2), t)
print(f"score: {torch.allclose(-sigma * slope, eps[1:-1, 0], atol=1e-3)}")


# %%
def below(x, t):
    """The share of q(x_t) that lies below x, for two humps."""
    a = schedule.alpha_bar_at(t)
    spread = (a * humps.covariances[:, 0, 0] + 1 - a).sqrt()
    z = (x - a.sqrt() * humps.means[:, 0]) / spread
    return (humps.weights * torch.special.ndtr(z)).sum(dim=1, keepdim=True)


start = torch.linspace(-2, 2, 9)[:, None]
flow = {"sampler": "heun", "times": range(999, 0, -6), "final": 0}
end = sample(humps.denoiser(schedule), start, schedule, **flow)
drift = (below(end, 0) - below(start, 999)).abs().max()
print(f"share below each particle moves by < 0.01: {bool(drift < 0.01)}")

# %% [markdown]
# ### The same with noise
#
# How does DDPM look in these coordinates? Put $\bar\alpha = 1 / (1 + \sigma^2)$ into {eq}`samplers-eta` at $\eta = 1$.
# Then $1 - \bar\alpha_t / \bar\alpha_s = (\sigma_t^2 - \sigma_s^2) / (1 + \sigma_t^2)$ and
# $1 - \bar\alpha_t = \sigma_t^2 / (1 + \sigma_t^2)$, so that $\rho^2 / \bar\alpha_s = \sigma_s^2\, (1 - \sigma_s^2 /
# \sigma_t^2)$. What is left for the old noise is $\sigma_s^2$ less that, $(\sigma_s^2/\sigma_t)^2$, and
# {eq}`samplers-ddim` becomes
#
# $$
# \tilde x_s = \tilde x_t - \left(1 - \frac{\sigma_s^2}{\sigma_t^2}\right) \sigma_t\, \hat\varepsilon
# + \sigma_s \sqrt{1 - \frac{\sigma_s^2}{\sigma_t^2}}\ z .
# $$ (samplers-ancestral)
#
# Practitioners know {eq}`samplers-ancestral` as *Euler ancestral*: a step of Euler to $\sigma_s^2 / \sigma_t$, below
# where you want to be, and noise to come back up to $\sigma_s$. So three names of the trade are one sampler. The cell
# gives all three the same noise.

# %%
names = ("ddpm", {}), ("ddim", {"eta": 1}), ("euler_ancestral", {})
runs = []
for name, options in names:
    settings = {"noise": noise(4), **options}
    runs.append(sample(denoise, x_T, schedule, 20, name, **settings))
worst = max((run - runs[0]).abs().max() for run in runs)
print(f"three names, one sampler, max error < 1e-12: {bool(worst < 1e-12)}")

# %% [markdown]
# For a small step $h = \sigma_t - \sigma_s$ the factor before $\hat\varepsilon$ in {eq}`samplers-ancestral` is about
# $2 h$, and the variance of the noise is about $2 \sigma h$. In the limit this is a stochastic differential equation,
# in which $w$ is a random walk:
#
# $$
# d \tilde x = 2\, \hat\varepsilon\, d\sigma + \sqrt{2 \sigma}\, dw \qquad (\sigma \text{ falling}).
# $$ (samplers-sde)
#
# Anderson {cite}`anderson1982reverse` found reverse equations of this kind; Song et al. {cite}`song2021score` made
# samplers of them. The stochastic sampler walks twice as fast towards the data as the ODE, and lets fresh noise
# throw it back by half. The cell looks at the two factors as the step shrinks.

# %%
sigma = 2.0
for h in (0.5, 0.1, 0.02):
    fall = 1 - (sigma - h) ** 2 / sigma**2
    drift, fresh = fall * sigma / h, (sigma - h) ** 2 * fall / (sigma * h)
    print(f"h = {h:4}:  drift / h {drift:.2f}, variance / (sigma h) {fresh:.2f}")

# %% mystnb={"image": {"alt": "Two panels over the noise level sigma from 14 down to 0.03, grey where the density is high: one broad hill at the left that splits into two narrow ones at the right. In the left panel the paths of the ODE are smooth, and each stays on its side: three lower starts, in red, end in the lower hump, four upper ones, in blue, in the upper hump. In the right panel the paths of DDPM from the same starts are jagged, cross, and end in either hump."}, "figure": {"caption": "The ODE (left) and DDPM (right) move particles through the same densities. The ODE's paths are smooth, which is what allows long steps, and never cross; with noise, a path's start does not say where it ends.", "name": "samplers-flow-figure"}}
times = schedule.times(100, "linspace")
sigmas = schedule.sigma_at(times)
heights = torch.linspace(-2.6, 2.6, 200)[:, None]
alpha_bar = schedule.alpha_bar_at(times)
shade = torch.stack([humps.log_prob(heights, a).exp() for a in alpha_bar])
start = torch.linspace(-1.8, 1.8, 7)[:, None]
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.8), sharey=True)
both = {"ddim": {}, "ddpm": {"noise": noise(5)}}
for axis, (name, options) in zip(axes, both.items(), strict=True):
    settings = {"sampler": name, "times": times, **options}
    walk = sample_steps(humps.denoiser(schedule), start, schedule, **settings)
    path = torch.stack([start, *(step.x_t for step in walk)])[:-1]
    tones = torch.linspace(0, 1.6, 9)
    axis.contourf(sigmas, heights[:, 0], shade.sqrt().T, tones, cmap="Greys")
    for i, one in enumerate(path[..., 0].T):
        axis.plot(sigmas, one, lw=1.0, color="C0" if i > 2 else "C1")
    axis.set(xscale="log", xlim=(14.6, 0.03), xlabel=r"noise level $\sigma$")
    axis.set_title("ODE (DDIM)" if name == "ddim" else "with noise (DDPM)")
    axis.grid(False)
axes[0].set_ylabel("$x_t$")
plt.show()

# %% [markdown]
# ### An exact solution to measure against
#
# For one Gaussian $\mathcal N(m, v)$ the ODE can be solved by hand. There $p_\sigma = \mathcal N(m, v + \sigma^2)$, so
# {eq}`samplers-flow` reads $d(\tilde x - m)/d\sigma = \sigma\, (\tilde x - m) / (v + \sigma^2)$. Separate the variables:
# $d \log |\tilde x - m| = d\, \tfrac12 \log(v + \sigma^2)$. Hence
#
# $$
# \frac{\tilde x_s - m}{\sqrt{v + \sigma_s^2}} = \frac{\tilde x_t - m}{\sqrt{v + \sigma_t^2}} :
# $$ (samplers-gauss)
#
# a particle keeps its distance from the mean, counted in standard deviations. `gaussian_flow` is {eq}`samplers-gauss`,
# written for $x$. The cell checks that its slope is the network's output, and that 1000 steps of DDIM come near to it.
# The data have four independent dimensions, from narrow to wide.

# %%
m = torch.tensor([1.0, -0.5, 0.0, 2.0])
v = torch.tensor([0.04, 0.25, 1.0, 4.0])
z = torch.randn(64, 4, generator=torch.Generator().manual_seed(6))


def gauss_denoise(x_t, t):
    a = schedule.alpha_bar_at(t)[..., None]
    return (1 - a).sqrt() * (x_t - a.sqrt() * m) / (a * v + 1 - a)


def noised(t):
    """64 samples of q(x_t), each z standard deviations from the mean."""
    a = schedule.alpha_bar_at(t)
    return a.sqrt() * m + (a * v + 1 - a).sqrt() * z


sigma, d, a = 2.0, 1e-4, 1 / (1 + 2.0**2)
near = [1 / (1 + (sigma + shift) ** 2) for shift in (d, -d)]
x = math.sqrt(a) * m + z
ahead, behind = (gaussian_flow(x, m, v, a, b) / math.sqrt(b) for b in near)
slope = gauss_denoise(x, schedule.time_of_sigma(sigma))
print(f"slope: {same((ahead - behind) / (2 * d), slope, 1e-6)}")

one = GaussianMixture(torch.ones(1), m[None], v.diag()[None])
t = torch.full((64,), 300.0)
print(f"denoiser: {same(one.denoiser(schedule)(x, t), gauss_denoise(x, t))}")

x_0 = sample(gauss_denoise, noised(999), schedule, 1000, "ddim")
worst = (x_0 - (m + v.sqrt() * z)).abs().max()
print(f"1000 steps of DDIM, max error < 0.02: {bool(worst < 0.02)}")

# %% [markdown]
# ## Where to step: the grid
#
# A sampler of $N$ steps needs $N$ times. Three ways to choose them from the $T$ that the network knows are in use; Lin
# et al. {cite}`lin2024common` compare them.
#
# - *leading*: multiples of $T/N$, from 0 up. Stable Diffusion 1.x shifts them by an offset of 1.
# - *trailing*: multiples of $T/N$, from the last time down.
# - *linspace*: evenly from the last time to the first. Its times are fractions.
#
# A fourth spaces $\log \sigma$ evenly. As $\log(\bar\alpha / (1 - \bar\alpha)) = -2 \log \sigma$ is the log of the
# signal-to-noise ratio (SNR), it is uniform in log-SNR. You give it by `times`, which takes any falling row of numbers;
# `time_of_sigma` turns a noise level into a time. A fractional time lies between two steps that the network was
# trained on. A network takes it without a murmur, since its input is a smooth function of time.

# %%
SIGMA_MAX, SIGMA_MIN = (float(schedule.sigma_at(t)) for t in (999, 0))


def log_snr_times(steps, high=SIGMA_MAX, low=SIGMA_MIN):
    """Times whose noise levels fall from high to low by equal factors."""
    sigmas = torch.linspace(math.log(high), math.log(low), steps).exp()
    return schedule.time_of_sigma(sigmas.clamp(low, high))


grids = {
    "leading, offset 1": lambda n: schedule.times(n, "leading", offset=1),
    "trailing": lambda n: schedule.times(n, "trailing"),
    "linspace": lambda n: schedule.times(n, "linspace"),
    "log-SNR": log_snr_times,
}
for name, times in grids.items():
    print(f"{name:18}", *(f"{t:5.0f}" for t in times(10).tolist()))

sigmas = torch.tensor([0.05, 0.5, 5.0])
there_and_back = schedule.sigma_at(schedule.time_of_sigma(sigmas))
print(f"time_of_sigma inverts sigma_at: {same(there_and_back, sigmas)}")

# %% mystnb={"image": {"alt": "Three panels with ten marks for each of four grids. Over the time t the first three grids are even and the log-SNR grid crowds near t = 0. Over the noise level sigma all crowd at small sigma, leading, trailing and linspace less so. Over the log-SNR the first three grids leave a wide gap between their last two marks, trailing ends early, and the log-SNR grid is even."}, "figure": {"caption": "Ten steps of each grid. Even steps in $t$ are large where the noise is large, and leave most of the log-SNR axis to the last few steps.", "name": "samplers-grids"}}
figure, axes = plt.subplots(1, 3, figsize=(6.4, 1.9), sharey=True)
for row, times in enumerate(grids.values()):
    t = times(10)
    places = t, schedule.sigma_at(t), schedule.log_snr_at(t)
    for axis, place in zip(axes, places, strict=True):
        axis.plot(place, torch.full((10,), -row), "o", ms=4)
axes[0].set(xlabel="time t", xlim=(1030, -30), ylim=(-3.6, 0.6))
axes[0].set_yticks(range(0, -4, -1), grids)
axes[1].set(xlabel=r"$\sigma$", xlim=(15.5, -0.8))
axes[2].set(xlabel="log-SNR", xlim=(-6, 7.6))
plt.show()

# %% [markdown]
# ### Two flaws at the noisy end
#
# You start from $\mathcal N(0, I)$. Is that what stands at the first time of the grid? The forward process says that a
# share of $\sqrt{\bar\alpha}$ of the picture is still there. The cell prints it for Stable Diffusion's schedule, at
# its last time, and at the first time of its own grid of 50 steps.

# %%
shipped = schedule.times(50, "leading", offset=1)
print(shipped[:3].long().tolist(), "...", shipped[-2:].long().tolist())
for t in (999, shipped[0]):
    share = schedule.alpha_bar_at(t).sqrt()
    print(f"t = {t:3.0f}: share of the picture {share:.3f}")

# %% [markdown]
# So the schedule does not reach pure noise, and *leading* does not even begin where the schedule ends. The network was
# shown 7 % or 8 % of a picture at that time, and finds none when you sample.
#
# Does so little matter? It does for what many pixels share. Take $D$ pixels with one common brightness
# of variance $v_b$. Along the unit vector $(1, \dots, 1)/\sqrt D$ the data then have the variance $D v_b$, and the noise
# still has variance 1. At the last time the brightness has the signal-to-noise ratio
# $\bar\alpha_T D v_b / (1 - \bar\alpha_T)$, however small it is in each pixel. By {eq}`samplers-gauss` the sampler
# multiplies the spread of what you start from by $\sqrt{D v_b} / \sqrt{\bar\alpha_T D v_b + 1 - \bar\alpha_T}$. If you
# start from spread 1, the brightness of what comes out has the share
#
# $$
# \frac{1}{\sqrt{\bar\alpha_T D v_b + 1 - \bar\alpha_T}}
# $$ (samplers-brightness)
#
# of the spread that it should have. The cell compares {eq}`samplers-brightness` with sampled brightness for the
# $64 \times 64$ values of a Stable Diffusion latent.

# %%
D, v_b = 64 * 64, 0.1


def brightness_denoise(x_t, t):
    a = schedule.alpha_bar_at(t)[:, None]
    return (1 - a).sqrt() * x_t / (a * D * v_b + 1 - a)


start = torch.randn(2000, 1, generator=torch.Generator().manual_seed(7))
for name, times in [("trailing", schedule.times(200)), ("shipped", shipped)]:
    a = schedule.alpha_bar_at(times[0])
    share = 1 / (a * D * v_b + 1 - a).sqrt()
    times = torch.cat([times[:1], log_snr_times(100, high=10)])
    x_0 = sample(brightness_denoise, start, schedule, sampler="heun", times=times)
    off = abs(x_0.std() / math.sqrt(D * v_b) - share)
    print(f"{name:9} share {share:.2f}, as sampled: {bool(off < 0.03)}")

# %% [markdown]
# Pictures show it. A collection of pictures has a perfect denoiser, too: the clean picture to expect is the mean of
# all of them, each weighed by how likely it is to have become $x_t$. (It is a mixture of Gaussians without width, and
# the cell checks that.) Here are twelve scenes of `minisd`, 24 pixels wide. Each should come up once in twelve times.

# %%
from minisd.scenes import scenes

pictures = torch.tensor(scenes(range(12), size=24).images) / 127.5 - 1
flat = pictures.permute(0, 3, 1, 2).flatten(1).double()  # [12, D]


def expected_picture(x_t, t, pictures=flat):
    a = schedule.alpha_bar_at(t)[:, None]
    fit = a.sqrt() * x_t @ pictures.T - a * (pictures**2).sum(dim=1) / 2
    return (fit / (1 - a)).softmax(dim=1) @ pictures


see = schedule.as_denoiser(expected_picture, "x0")

few = flat[:, :8]  # eight values of each picture
widthless = GaussianMixture(torch.ones(12), few, torch.zeros(12, 8, 8))
x, t = x_T[:8].reshape(2, 8), torch.full((2,), 700.0)
eps = widthless.denoiser(schedule)(x, t)
x_0 = schedule.convert(eps, x, t, "eps", "x0")
print(f"as the mixture: {same(expected_picture(x, t, few), x_0, 1e-9)}")

from_noise = noise(10)(torch.empty(600, flat.shape[1]))
a = schedule.alpha_bar_at(999)
from_truth = a.sqrt() * flat.repeat(50, 1) + (1 - a).sqrt() * from_noise
counts = []
for start in (from_noise, from_truth):
    x_0 = sample(see, start, schedule, 20, "dpmpp_2m")
    nearest = torch.cdist(x_0, flat).argmin(dim=1)
    counts.append(nearest.bincount(minlength=12))
for name, count in zip(("noise", "q(x_T)"), counts, strict=True):
    near_50 = bool(((count > 25) & (count < 80)).all())
    print(f"from {name}: each came up 25 to 80 times: {near_50}")

# %% mystnb={"image": {"alt": "Twelve small scenes in order of how often they came up. The two at night come up more than a hundred times each, the bright ones in the snow about twenty times."}, "figure": {"caption": "How often each scene came up in 600 samples from pure noise; 50 each would be right. The dark scenes, which are nearest to grey, crowd out the bright ones.", "name": "samplers-crowded-out"}}
order = counts[0].argsort(descending=True)
images = (pictures[order] * 127.5 + 127.5).round().byte().numpy()
image_grid(images, [f"{counts[0][i]} times" for i in order], columns=6)
plt.show()

# %% [markdown]
# Every sampled picture is drawn towards the average brightness. That is the flaw that Lin et al. {cite}`lin2024common`
# found behind Stable Diffusion's trouble with very dark and very bright pictures. Their remedy is a schedule that ends in
# pure noise, and the *trailing* grid. `minisd` starts there: `spacing="trailing"` is its default, and you ask for
# Stable Diffusion's own with `spacing="leading", offset=1, final=0`.
#
# ## Better steps
#
# The ODE {eq}`samplers-ode` has a century of methods waiting for it. The book of Hairer et al.
# {cite}`hairer1993solving` has those of this section, for ODEs of any kind.
#
# ### Heun: look where you arrive
#
# Integrate {eq}`samplers-ode` from $\sigma_t$ to $\sigma_s$. The step is the area under $\hat\varepsilon$ along
# the path. Euler takes a rectangle with the height at its beginning. *Heun's method* {cite}`karras2022elucidating`
# takes a trapezium: go with Euler, look at the slope there, and go with the mean of both.
#
# $$
# \tilde x_s = \tilde x_t + (\sigma_s - \sigma_t)\,
# \tfrac12 \left[\hat\varepsilon(x_t, t) + \hat\varepsilon(x_s^{\text{Euler}}, s)\right]
# $$ (samplers-heun)
#
# It costs two runs of the network a step. A step to $\sigma = 0$ cannot look ahead, where there is no noise to predict,
# and stays Euler's.
#
# Here you also see what a sampler is in `minisd`: a generator that walks a grid, yields the new $x$ and the $\hat x_0$
# that it believes in, and is sent the $x$ to go on with. Put it into `SAMPLERS`, and everything else works with it.


# %%
def my_heun(denoise, x, schedule, grid):
    for t, s in pairwise(grid):
        sigma_t, sigma_s = schedule.sigma_at(t), schedule.sigma_at(s)
        eps = denoise(x, torch.full((len(x),), t))
        x_0 = schedule.convert(eps, x, t, "eps", "x0")
        full = x * (1 + sigma_t**2).sqrt()  # x-tilde
        there = (full + (sigma_s - sigma_t) * eps) / (1 + sigma_s**2).sqrt()
        if sigma_s > 0:
            eps = (eps + denoise(there, torch.full((len(x),), s))) / 2
        end = full + (sigma_s - sigma_t) * eps
        x = yield end / (1 + sigma_s**2).sqrt(), x_0


SAMPLERS["my_heun"] = my_heun
mine = sample(denoise, x_T, schedule, 10, "my_heun")
theirs = sample(denoise, x_T, schedule, 10, "heun")
print(f"equal to minisd's: {same(mine, theirs)}")

# %% [markdown]
# ### PLMS: remember where you were
#
# Heun pays for a second look. A *multistep* method uses looks that it has paid for already. Through the
# last $k$ outputs of the network goes one polynomial of degree $k - 1$; extend it over the next step, and integrate.
# With equal steps the integral is a sum of the old outputs with fixed weights, those of Adams and Bashforth:
#
# $$
# w_j = \int_0^1 \prod_{i \ne j} \frac{u + i}{i - j}\ du, \qquad i, j = 0, \dots, k - 1 .
# $$ (samplers-adams)
#
# Here $u = 0$ is now, $u = 1$ is where you go, and $u = -j$ is where you were $j$ steps ago. The product is the
# polynomial that is 1 at $-j$ and 0 at the other points. The cell integrates {eq}`samplers-adams` exactly, in fractions.

# %%
from fractions import Fraction


def adams_bashforth(k):
    weights = []
    for j in range(k):
        polynomial = [Fraction(1)]  # coefficients, lowest power first
        for i in set(range(k)) - {j}:
            times_i = [i * c for c in polynomial] + [0]
            times_u = [0, *polynomial]
            both = zip(times_i, times_u, strict=True)
            polynomial = [(a + b) / (i - j) for a, b in both]
        weights.append(sum(c / (n + 1) for n, c in enumerate(polynomial)))
    return weights


for k in (1, 2, 3, 4):
    print(*adams_bashforth(k))
known = [Fraction(n, 24) for n in (55, -59, 37, -9)]
print(f"the weights of PLMS: {known == adams_bashforth(4)}")

# %% [markdown]
# PLMS {cite}`liu2022pseudo` blends $\hat\varepsilon$ with these weights, and makes a DDIM step {eq}`samplers-euler` with
# the blend. As Stable Diffusion ships it, the first step has no past and takes Heun's mean instead; then two,
# three, and from the fourth step on four outputs are blended. So 10 steps cost 11 runs. *Pseudo* is there for a
# reason: the weights hold for equal steps, and no grid above has equal steps in $\sigma$.
#
# ### DPM-Solver++: solve the easy part exactly
#
# Near the data $\hat x_0$ hardly changes from step to step, but $\hat\varepsilon = (\tilde x - \hat x_0)/\sigma$ does.
# Write the ODE with $\hat x_0$, and with $\lambda = -\log \sigma$ in the place of $\sigma$ (half of the log-SNR). As
# $d\sigma = -\sigma\, d\lambda$,
#
# $$
# \frac{d \tilde x}{d \lambda} = -\sigma\, \hat\varepsilon = \hat x_0 - \tilde x .
# $$ (samplers-lambda)
#
# The term $-\tilde x$ is linear and known; only $\hat x_0$ needs the network. Bring $-\tilde x$ to the
# left and multiply by $e^\lambda$; the left side is then one derivative, $\frac{d}{d\lambda}(e^\lambda \tilde x) =
# e^\lambda \hat x_0$. Integrate over a step of length $h = \lambda_s - \lambda_t$, and divide by $e^{\lambda_s}$:
#
# $$
# \tilde x_s = e^{-h}\, \tilde x_t + \int_{\lambda_t}^{\lambda_s} e^{-(\lambda_s - \lambda)}\, \hat x_0(\lambda)\, d\lambda .
# $$ (samplers-exponential)
#
# This is exact. It is called an *exponential integrator*. What remains is to guess $\hat x_0$ under the integral.
#
# *First order.* Keep $\hat x_0$ constant. The integral is $(1 - e^{-h})\, \hat x_0$, where $e^{-h} = \sigma_s / \sigma_t$.
# That is DDIM again: insert $\hat\varepsilon = (\tilde x_t - \hat x_0) / \sigma_t$ into {eq}`samplers-euler`.
#
# *Second order, multistep: 2M.* Draw a line through $\hat x_0$ now and one step ago, $h'$ before, and follow it to the middle
# of the step {cite}`lu2022dpmpp`:
#
# $$
# \tilde x_s = e^{-h}\, \tilde x_t + (1 - e^{-h}) \left[\hat x_0 + \frac{h}{2 h'} \left(\hat x_0 - \hat x_0'\right)\right].
# $$ (samplers-2m)
#
# The line's exact weight would be $\int_0^h e^{-(h - u)}\, u\, du = h - 1 + e^{-h}$ in place of $(1 - e^{-h})\, h / 2$. They
# differ by about $h^3 / 12$ a step, which the order can bear. The first cell checks this, that the integrator is exact
# where $\hat x_0$ is constant (data of one point: one step suffices), and the slope {eq}`samplers-lambda` on the
# exact flow. The second writes {eq}`samplers-2m` out.

# %%
for h in (0.4, 0.2, 0.1):
    difference = (h - 1 + math.exp(-h)) - (1 - math.exp(-h)) * h / 2
    print(f"h = {h}:  difference / h^3 = {difference / h**3:.3f}")

point = torch.tensor([0.3, -0.8])
sees_point = schedule.as_denoiser(lambda x, t: point.expand_as(x), "x0")
one_step = {"sampler": "dpmpp_2m", "times": [999], "final": 500}
x = sample(sees_point, x_T, schedule, **one_step)
a, b = schedule.alpha_bar_at(999), schedule.alpha_bar_at(500)
exact = gaussian_flow(x_T, point, torch.zeros(2), a, b)
print(f"constant x_0 in one step: {same(x, exact)}")

lam, d = -math.log(2.0), 1e-4
a, b, c = (1 / (1 + math.exp(-2 * at)) for at in (lam, lam + d, lam - d))
x = math.sqrt(a) * m + z
ahead, behind = (gaussian_flow(x, m, v, a, s) / math.sqrt(s) for s in (b, c))
t = schedule.time_of_sigma(2.0)
x_0 = schedule.convert(gauss_denoise(x, t), x, t, "eps", "x0")
slope = x_0 - x / math.sqrt(a)
print(f"slope in lambda: {same((ahead - behind) / (2 * d), slope, 1e-6)}")


# %%
def my_2m(denoise, x, schedule, grid):
    x_0_before = h_before = None
    for t, s in pairwise(grid):
        sigma_t, sigma_s = schedule.sigma_at(t), schedule.sigma_at(s)
        eps = denoise(x, torch.full((len(x),), t))
        x_0 = schedule.convert(eps, x, t, "eps", "x0")
        h = (sigma_t / sigma_s).log()  # infinite where sigma_s is 0
        guess = x_0
        if h_before and s >= 0:
            guess = x_0 + h / (2 * h_before) * (x_0 - x_0_before)
        full = x * (1 + sigma_t**2).sqrt()
        full = (-h).exp() * full + (1 - (-h).exp()) * guess
        x_0_before, h_before = x_0, h
        x = yield full / (1 + sigma_s**2).sqrt(), x_0


SAMPLERS["my_2m"] = my_2m
mine = sample(denoise, x_T, schedule, 10, "my_2m")
theirs = sample(denoise, x_T, schedule, 10, "dpmpp_2m")
print(f"equal to minisd's: {same(mine, theirs, 1e-10)}")

# %% [markdown]
# ### What each costs
#
# The network is all of the time. So count its runs:


# %%
class Counting:
    """A denoiser that counts how often it is run."""

    def __init__(self, denoise):
        self.denoise, self.runs = denoise, 0

    def __call__(self, x_t, t):
        self.runs += 1
        return self.denoise(x_t, t)


for name in ("ddim", "euler", "heun", "plms", "dpmpp_2m", "ddpm"):
    counting = Counting(denoise)
    sample(counting, x_T[:1], schedule, 10, name, noise=noise(8))
    print(f"{name:16} 10 steps: {counting.runs} runs")

# %% [markdown]
# | sampler | idea | runs a step | order | noise |
# |---|---|---|---|---|
# | `ddim` with $\eta = 0$, `euler` | rectangle in $\sigma$ | 1 | 1 | no |
# | `heun` | trapezium in $\sigma$ | 2 | 2 | no |
# | `plms` | polynomial through past $\hat\varepsilon$ | 1 | 2 to 4 (see below) | no |
# | `dpmpp_2m` | exact in $\tilde x$, line through past $\hat x_0$ | 1 | 2 | no |
# | `ddpm`, `euler_ancestral`, `ddim` with $\eta = 1$ | the chain's own step | 1 | — | yes |
#
# ## One walk for all
#
# `sample` returns the last picture. `sample_steps` gives every step as it is made, with the picture `x_t`, the guess
# `x_0` (a preview), the times, and its number. If you assign to `step.x_t`, the sampler goes on from there: later chapters
# paint into a picture that way. A `callback` of `sample` is given the same step.

# %%
for step in sample_steps(denoise, x_T[:1], schedule, 4, "dpmpp_2m"):
    number = f"{step.index + 1} of {step.total}"
    print(f"{number}: t {step.t:.0f} to {step.t_next:.0f}", step.x_0.shape)


def stop_moving(step):
    step.x_t = torch.zeros_like(step.x_t)


x = sample(denoise, x_T, schedule, 4, callback=stop_moving)
print(f"all assigned: {bool((x == 0).all())}")


# %% mystnb={"image": {"alt": "Two rows of eight pictures. Above, x_t: noise in which a scene appears from about the fourth step on. Below, the guess of x_0: first a blur of all twelve scenes, then a blend of two, then one sharp scene, before it can be seen above."}, "figure": {"caption": "Eight steps of DPM-Solver++(2M) with previews. Above $x_t$, below the guess $\\hat x_0$: a mean of all the scenes that are still possible. The sampler has decided long before the noise is gone.", "name": "samplers-previews"}}
walk = list(sample_steps(see, from_noise[3:4], schedule, 8, "dpmpp_2m"))
rows = [step.x_t for step in walk] + [step.x_0 for step in walk]
titles = [f"t = {step.t_next:.0f}" for step in walk]
titles = [*titles[:-1], "clean", *[""] * 8]
image_grid(torch.cat(rows).reshape(16, 3, 24, 24).float(), titles, columns=8)
plt.show()

# %% [markdown]
# ## The order of convergence
#
# A method has *order* $p$ if $N$ steps leave an error of about $C / N^p$. On paper with two logarithmic axes that is a
# line of slope $-p$. To measure it you need three things: a known solution, which {eq}`samplers-gauss` is; numbers with
# enough digits, so float64; and a grid that is refined evenly, with no step that stays long. Here: from $\sigma = 10$
# to $\sigma = 0.05$, even in log-SNR. `final` says where the walk ends. It must not end at $\sigma = 0$: you will see why.


# %%
def levels(steps, high=10.0, low=0.05):
    return torch.linspace(math.log(high), math.log(low), steps + 1).exp()


def flow_error(sampler, sigmas):
    """Root mean square distance from the exact flow at the last level."""
    t = schedule.time_of_sigma(sigmas)
    settings = {"sampler": sampler, "times": t[:-1], "final": float(t[-1])}
    x = sample(gauss_denoise, noised(t[0]), schedule, **settings)
    return float((x - noised(t[-1])).square().mean().sqrt())


def order(steps, errors):
    """Minus the slope of the line through the last three points, in logs."""
    x, y = (torch.tensor(row[-3:]).double().log() for row in (steps, errors))
    x, y = x - x.mean(), y - y.mean()
    return -float((x * y).sum() / (x * x).sum())


a, b = schedule.alpha_bar_at(900), schedule.alpha_bar_at(20)
exact = gaussian_flow(noised(900), m, v, a, b)
print(f"noised() moves with the flow: {same(exact, noised(20))}")

solvers = {
    "ddim": ("DDIM = Euler", "o-"),
    "heun": ("Heun", "s-"),
    "dpmpp_2m": ("DPM-Solver++(2M)", "^-"),
    "plms": ("PLMS", "v-"),
}
refined = [10, 20, 40, 80, 160]
errors = {}
for name in (*solvers, "euler"):
    errors[name] = [flow_error(name, levels(n)) for n in refined]
for name, row in errors.items():
    print(f"{name:9} order {order(refined, row):.1f}")

# %% mystnb={"image": {"alt": "Two plots of the error on logarithmic axes. Left, over the number of steps: DDIM falls with slope 1; Heun, DPM-Solver++(2M) and PLMS fall in parallel with slope 2, Heun above the two others. Right, over the number of network runs: Heun's line is shifted to the right by a factor of two, further away from the two multistep methods."}, "figure": {"caption": "On an even grid that ends at $\\sigma = 0.05$ each solver has its order. Left: a step of Heun is good. Right: it is paid for twice, and the multistep methods win.", "name": "samplers-order"}}
figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.1), sharey=True)
for name, (label, style) in solvers.items():
    slope = f" (order {order(refined, errors[name]):.1f})"
    cost = {"heun": lambda n: 2 * n, "plms": lambda n: n + 1}.get(name, int)
    axes[0].loglog(refined, errors[name], style, ms=4, label=label + slope)
    axes[1].loglog([cost(n) for n in refined], errors[name], style, ms=4)
axes[0].set(xlabel="steps", ylabel="error against the exact flow")
axes[1].set(xlabel="network runs")
axes[0].legend(fontsize=7.5)
plt.show()

# %% [markdown]
# DDIM has order 1: twice the steps, half the error. Heun and DPM-Solver++(2M) have order 2: a quarter.
#
# PLMS blends four outputs and should do better. Why 2? Its weights hold for equal steps, and here each step in $\sigma$
# is shorter than the one before by a constant factor. Think of the outputs as a function of the step's number $u$, and of
# $\sigma(u)$ as a smooth curve. A step should add $\int \hat\varepsilon\, \sigma'\, du$. PLMS adds
# $\int \hat\varepsilon\, du \cdot \int \sigma'\, du$, the blend times the whole length. For a step of length $h$ in $u$ the two
# differ, in lowest order, by $\hat\varepsilon'\, \sigma''\, h^3 / 12$. That is an error of order 2 in total, and it is there
# unless $\sigma'' = 0$. So give PLMS equal steps in $\sigma$, and it should come into its own:

# %%
grids_even = [torch.linspace(10.0, 0.05, n + 1) for n in refined]
even = [flow_error("plms", sigmas) for sigmas in grids_even]
print(f"order above 3: {order(refined, even) > 3}")
print(f"with 10 steps a larger error: {even[0] > 5 * errors['plms'][0]}")

# %% [markdown]
# It does. And it does not help you: even steps in $\sigma$ waste most of them on noise, and with few steps the error is larger.
# *The order says how fast the error falls, not how large it is.*
#
# ## The grids that are shipped
#
# Now the grids in use. They end with a step to $\sigma = 0$. The plots below refine each of the four, for Gaussian data with
# the perfect denoiser, as before.


# %%
def grid_error(sampler, times):
    settings = {"sampler": sampler, "times": times}
    x_0 = sample(gauss_denoise, noised(times[0]), schedule, **settings)
    return float((x_0 - (m + v.sqrt() * z)).square().mean().sqrt())


def last_step_error(times):
    """The error of a walk that is exact but for its last step, to 0."""
    sigma = schedule.sigma_at(times[-1])
    error = v.sqrt() * (1 - (v / (v + sigma**2)).sqrt()) * z
    return float(error.square().mean().sqrt())


many = [10, 20, 50, 120]
shipped_errors = {
    (grid, name): [grid_error(name, times(n)) for n in many]
    for grid, times in grids.items()
    for name in solvers
}
last = {}
for grid, times in grids.items():
    last[grid] = [last_step_error(times(n)) for n in many]
for name in ("heun", "dpmpp_2m"):
    row = shipped_errors["trailing", name]
    print(f"trailing, {name:9} order {order(many, row):.1f}")
for name in ("heun", "dpmpp_2m"):
    ratio = grid_error(name, log_snr_times(160)) / last["log-SNR"][-1]
    print(f"log-SNR, {name:9} error of 160 steps / of the last: {ratio:.1f}")

# %% mystnb={"image": {"alt": "Four plots of the error over the number of steps, one for each grid, with a dashed line for the error of the last step alone. On the trailing grid all solvers fall with about slope 1, parallel to the dashed line. On the leading, linspace and log-SNR grids the dashed line is flat, at 0.001 to 0.002; the solvers come down to it, and some dip below it on the way. On the log-SNR grid DPM-Solver++(2M) and PLMS reach it with about 50 steps."}, "figure": {"caption": "On grids that end at $\\sigma = 0$ no solver keeps its order. The dashed line is the error of the last step alone: it does not fall, or falls like $1/N$. (A dip below it is a place where two errors cancel.)", "name": "samplers-shipped"}}
figure, axes = plt.subplots(1, 4, figsize=(6.4, 2.8), sharey=True)
for axis, grid in zip(axes, grids, strict=True):
    for name, (label, style) in solvers.items():
        row = shipped_errors[grid, name]
        axis.loglog(many, row, style, ms=3, lw=1.2, label=label)
    axis.loglog(many, last[grid], "k--", lw=1, label="last step alone")
    axis.set_title(grid, fontsize=9)
    axis.set(xlabel="steps", xticks=[10, 100])
axes[0].set_ylabel("error")
labels = axes[0].get_legend_handles_labels()
figure.legend(*labels, fontsize=7.5, ncols=3, loc="outside lower center")
plt.show()

# %% [markdown]
# What happened? Look at the last step, from some $\sigma$ to 0. Every solver takes it alike, and its result is $\hat x_0$: the
# mean of all clean pictures that fit $\tilde x$. The flow would go to one of them. For Gaussian data both are known: the flow
# ends $\sqrt v\, z$ from the mean if it was $\sqrt{v + \sigma^2}\, z$ away at $\sigma$, and $\hat x_0$ keeps the share
# $v / (v + \sigma^2)$ of that distance. So the last step alone leaves the error
#
# $$
# \sqrt v\, |z| \left(1 - \sqrt{\frac{v}{v + \sigma^2}}\right) \approx \frac{\sigma^2}{2 \sqrt v}\, |z| .
# $$ (samplers-floor)
#
# - *leading*, *linspace* and *log-SNR* end at a noise level that does not depend on $N$ (0.04 or 0.03). Refine them as you
#   like: the last step stays long, and the error stops at {eq}`samplers-floor`.
# - *trailing* ends at $t = T/N$ in the papers' count, where $\sigma^2 \approx \beta_1 T / N$. So the last step's error falls like $1/N$, and
#   the order of everything is 1. For the same reason the steps before it do not get shorter in log-SNR: the last but one always
#   goes from about $2T/N$ to $T/N$.
#
# The cell compares both sides of {eq}`samplers-floor`, and halves the last noise level of the trailing grid.

# %%
sigma = schedule.sigma_at(0)
exact = (v.sqrt() * (1 - (v / (v + sigma**2)).sqrt()))[1:]
near = torch.allclose(exact, sigma**2 / (2 * v[1:].sqrt()), rtol=0.01)
print(f"approximation within 1 %: {near}")
ends = [schedule.sigma_at(schedule.times(n)[-1]) for n in (100, 200)]
print(f"sigma^2 at the end, 100 over 200 steps: {(ends[0] / ends[1]) ** 2:.1f}")

# %% [markdown]
# What to do about it:
#
# - **Mostly nothing at the end.** One grey level of a picture in $[-1, 1]$ is $2/255 = 0.0078$. The floor of about 0.001 is below it.
#   The order matters on the way there.
# - **Spend the steps evenly in log-SNR** (or with more weight on the large noise: exercise {ref}`samplers-rho`). With 20 steps
#   the multistep solvers then come nearer than on any grid that is even in $t$.
# - **If you need the flow itself**, to invert it or to measure something, do not go to 0. Stop at the first level that the network
#   knows, with `final=0`.
#
# The cell puts numbers on the first two points. DDIM gains nothing from the grid.

# %%
for name in ("ddim", "dpmpp_2m"):
    print(name)
    for grid, times in grids.items():
        print(f"  {grid:18} {grid_error(name, times(20)):.3f}")
print(f"floor {last['log-SNR'][0]:.4f}, one grey level {2 / 255:.4f}")

# %% [markdown]
# ## Five blobs
#
# Gaussian data flatter a solver: one hill, paths without a bend. Back to the five blobs, and to the question that counts: do
# the samples look like the data? A distance between two clouds of points $X$ and $Y$ says it in one number, the *energy distance*
# {cite}`szekely2013energy`:
#
# $$
# d(X, Y)^2 = 2\, \mathbb E |X - Y| - \mathbb E |X - X'| - \mathbb E |Y - Y'| ,
# $$ (samplers-energy)
#
# with $X'$, $Y'$ drawn again from the same clouds. It is 0 only if the distributions are equal. Two single points $\delta$ apart have
# $d^2 = 2\delta$, as nothing is subtracted. On a line $d^2$ is twice the area under the squared difference of the distribution
# functions. The cell checks {eq}`samplers-energy` on both, and prints what two clouds of true data differ by.


# %%
def energy_distance(a, b):
    pairs = (a, b), (a, a), (b, b)
    between, in_a, in_b = (torch.cdist(x, y).mean() for x, y in pairs)
    return float((2 * between - in_a - in_b).clamp(min=0).sqrt())


two_points = torch.zeros(1, 1), torch.full((1, 1), 2.0)
print(energy_distance(*two_points))
a, b = x_T[:50, :1], x_T[50:120, :1] + 0.5
ends = torch.cat([a, b])[:, 0].sort().values
below_a, below_b = ((x <= ends[:-1]).double().mean(dim=0) for x in (a, b))
area = 2 * ((below_a - below_b) ** 2 * ends.diff()).sum()
print(f"area: {math.isclose(energy_distance(a, b) ** 2, area, rel_tol=1e-9)}")


def draw_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return blobs.sample(n, generator, torch.float64)


truth, _ = draw_data(1500, 11)
others = (draw_data(1000, seed)[0] for seed in range(100, 110))
chance = [energy_distance(other, truth) for other in others]
print(f"truth against truth: {min(chance):.2f} to {max(chance):.2f}")

# %%
names = "ddim", "plms", "heun", "dpmpp_2m", "ddpm"
budget = [5, 10, 20, 50]
distances = {}
for name in names:
    for runs in budget:
        steps = {"heun": (runs + 1) // 2, "plms": runs - 1}.get(name, runs)
        settings = {"times": log_snr_times(steps), "noise": noise(13)}
        x_0 = sample(denoise, x_T, schedule, sampler=name, **settings)
        distances[name, runs] = energy_distance(x_0, truth)
print("network runs", *(f"{runs:6}" for runs in budget))
for name in names:
    print(f"{name:12}", *(f"{distances[name, runs]:6.2f}" for runs in budget))

# %% [markdown]
# Read the columns. With five runs the multistep solvers are there: chance alone would put true data as far off. Heun has only
# three steps for five runs, and its trapezium is far too long for the bend. With twenty runs every solver of the ODE is there, and
# DDPM comes to the edge of chance with fifty. {numref}`samplers-trajectories` shows why.

# %% mystnb={"image": {"alt": "Three panels in the plane with five grey blobs and seven paths from a circle. The exact flow: smooth, slightly bent paths that end in the blobs. DDIM with 8 steps: the same paths cut into straight pieces, most of which end close to the same places. DDPM with 50 steps: jagged paths that end in other blobs than the flow."}, "figure": {"caption": "Seven starts on a circle (red: where they end). DDIM cuts the exact flow's paths into chords, and paths that are nearly straight can bear long ones. DDPM's paths are rough at every scale.", "name": "samplers-trajectories"}}
figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.6), sharey=True)
turn = torch.arange(7) * 2 * math.pi / 7
starts = 1.5 * torch.stack([turn.cos(), turn.sin()], dim=1)
runs = [
    ("exact flow", "heun", 200, {}, "-"),
    ("DDIM, 8 steps", "ddim", 8, {}, "o-"),
    ("DDPM, 50 steps", "ddpm", 50, {"noise": noise(14)}, "-"),
]
for axis, run in zip(axes, runs, strict=True):
    title, name, steps, options, style = run
    times = log_snr_times(steps)
    settings = {"sampler": name, "times": times, **options}
    walk = sample_steps(denoise, starts, schedule, **settings)
    path = torch.stack([starts, *(step.x_t for step in walk)])
    axis.scatter(*truth[:600].T, s=2, color="#CCCCCC")
    axis.plot(*path.movedim(-1, 0), style, lw=0.9, ms=2, color="C0")
    axis.plot(*path[-1].T, "o", ms=4, color="C1")
    axis.set(title=title, xlabel="$x_1$", aspect="equal")
    axis.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
axes[0].set_ylabel("$x_2$")
plt.show()

# %% [markdown]
# ## Play
#
# Move the slider from 2 steps to 50. All three begin with the same noise. Watch which cloud is in its place first, and
# what is wrong with the others. (The distances are larger than in the table, as there are fewer points.)

# %%
from minisd.widgets import slider

shown = [
    ("DDIM", "ddim"),
    ("DPM-Solver++(2M)", "dpmpp_2m"),
    ("DDPM", "ddpm"),
]


def draw(steps):
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.8), sharey=True)
    for axis, (title, name) in zip(axes, shown, strict=True):
        settings = {"times": log_snr_times(steps), "noise": noise(15)}
        x_0 = sample(denoise, x_T[:500], schedule, sampler=name, **settings)
        far = energy_distance(x_0, truth[:500])
        axis.plot(*truth[:300].T, ".", ms=2, color="#BBBBBB")
        axis.plot(*x_0[:300].T, ".", ms=2)
        axis.set(xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), aspect="equal")
        axis.set_title(f"{title}\ndistance {far:.2f}", fontsize=9)
    return figure


slider(
    draw,
    [2, 3, 4, 5, 7, 10, 15, 25, 50],
    label="steps",
    caption="Samples on the data (grey): DPM-Solver++(2M) is in place first.",
    alt="Samples of three samplers with {} steps, on five blobs of data.".format,
    start=3,
)

# %% [markdown]
# ## What noise buys
#
# So far noise only costs steps. Karras et al. {cite}`karras2022elucidating` show what it is good for: it forgets. The
# ODE carries each error to the end; by {eq}`samplers-gauss` a particle that is two standard deviations off stays two standard deviations
# off. Fresh noise takes the place of old noise, errors included, and {eq}`samplers-sde` pulls twice as hard towards the data.
#
# Begin with a wrong start, noise of half its size, and give the sampler 50 steps:

# %%
for eta in (0, 0.5, 1):
    settings = {"eta": eta, "noise": noise(16), "times": log_snr_times(50)}
    x_0 = sample(denoise, 0.5 * x_T, schedule, **settings)
    far = energy_distance(x_0, truth)
    print(f"eta = {eta:3}: distance {far:.2f}")

# %% [markdown]
# And a wrong network? The second denoiser below finds 10 % too little noise where $\sigma > 1$; the third sees a
# shift that is not there where $\sigma < 0.3$.


# %%
def wrong_early(x_t, t):
    factor = torch.where(schedule.sigma_at(t) > 1, 0.9, 1.0)
    return denoise(x_t, t) * factor[:, None]


def wrong_late(x_t, t):
    size = torch.where(schedule.sigma_at(t) < 0.3, 0.2, 0.0)
    return denoise(x_t, t) + size[:, None] * torch.tensor([1.0, 0.0])


networks = {
    "perfect": denoise,
    "wrong where σ > 1": wrong_early,
    "wrong where σ < 0.3": wrong_late,
}
step_counts = [5, 10, 20, 50]
far = {}
for title, network in networks.items():
    for eta in (0, 1):
        for steps in step_counts:
            settings = {"eta": eta, "noise": noise(17)}
            settings["times"] = log_snr_times(steps)
            x_0 = sample(network, x_T, schedule, **settings)
            far[title, eta, steps] = energy_distance(x_0, truth)
early = "wrong where σ > 1"
print(f"5 steps, the ODE is nearer: {far[early, 0, 5] < far[early, 1, 5]}")
print(f"50 steps, noise is: {far[early, 1, 50] < 0.8 * far[early, 0, 50]}")

# %% mystnb={"image": {"alt": "Three plots of the distance to the data over the number of steps, without and with noise. A grey band marks what chance allows. Perfect network: both fall into the band with 20 steps. Wrong at large sigma: the ODE stays at about 0.09 however many steps it takes; with noise the distance is larger for 5 steps and falls to 0.03 for 50. Wrong at small sigma: with noise the distance is the larger one throughout."}, "figure": {"caption": "Noise repairs errors that were made early (middle) if there are steps enough for it. It cannot repair what is made late (right), and it costs accuracy where steps are few. Grey: what chance allows.", "name": "samplers-noise-buys"}}
figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.7), sharey=True)
for axis, title in zip(axes, networks, strict=True):
    for eta, style in ((0, "o-"), (1, "s--")):
        row = [far[title, eta, steps] for steps in step_counts]
        label = "ODE, η = 0" if eta == 0 else "with noise, η = 1"
        axis.loglog(step_counts, row, style, ms=4, label=label)
    axis.axhspan(min(chance), max(chance), color="#DDDDDD")
    axis.set_title(title, fontsize=9)
    axis.set(xlabel="steps", xticks=[10, 100], yticks=[0.03, 0.1, 0.3])
    axis.set_yticklabels(["0.03", "0.1", "0.3"])
    axis.minorticks_off()
axes[0].set_ylabel("distance to the data")
axes[0].legend(fontsize=7.5)
plt.show()

# %% [markdown]
# Early errors are forgotten, late ones are not: after them comes too little fresh noise. So there is no best $\eta$. Few
# steps and a good network want the ODE; many steps and a network with errors at large noise want some noise.
#
# ## Backwards: a picture's own noise
#
# An ODE can be run in both directions. Run {eq}`samplers-euler` *up* in $\sigma$, from a picture, and you find the noise that it comes from:
# *DDIM inversion* {cite}`song2021denoising`.
#
# $$
# \tilde x_t = \tilde x_s + (\sigma_t - \sigma_s)\, \hat\varepsilon(x_s, s)
# $$ (samplers-inversion)
#
# On the way up the slope is taken at the clean end $s$, on the way down at the noisy end $t$. They differ, so the round
# trip misses by an error of order 1. The cell takes {eq}`samplers-inversion` up from 0, and the sampler down.


# %%
def encode(x, times):
    """Up along falling times, from the last to the first."""
    full = x / schedule.alpha_bar_at(times[-1]).sqrt()
    for t, s in reversed(list(pairwise(times))):
        x = full * schedule.alpha_bar_at(s).sqrt()
        slope = denoise(x, s.expand(len(x)))
        full = full + (schedule.sigma_at(t) - schedule.sigma_at(s)) * slope
    return full * schedule.alpha_bar_at(times[0]).sqrt()


data, blob = draw_data(600, 18)
there_and_back = [10, 20, 40, 80]
misses = []
for steps in there_and_back:
    times = log_snr_times(steps + 1)
    code = encode(data, times)
    back = sample(denoise, code, schedule, times=times[:-1], final=0)
    misses.append(float((back - data).square().mean().sqrt()))
print(f"order of the round trip: {order(there_and_back, misses):.1f}")
print(f"mean of the code is 0: {same(code.mean(dim=0), torch.zeros(2), 0.1)}")
print(f"covariance is I: {same(code.T.cov(), torch.eye(2), 0.15)}")

# %% mystnb={"image": {"alt": "Left: the codes of 600 data points, one colour for each blob; together they form a round Gaussian cloud, cut into five sectors like a cake. Right: the error of the round trip over the number of steps on logarithmic axes, falling with slope 1 from 0.27 to 0.04."}, "figure": {"caption": "Left: where the five blobs come from in the noise. The flow shares the Gaussian out like a cake. Right: up and down again, the error falls with order 1.", "name": "samplers-inverted"}}
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.9))
for k in range(5):
    left.plot(*code[blob == k].T, ".", ms=3, label=f"blob {k + 1}")
left.set(xlabel="$x_{T,1}$", ylabel="$x_{T,2}$", aspect="equal")
left.legend(fontsize=7, markerscale=2, bbox_to_anchor=(1, 1))
right.loglog(there_and_back, misses, "o-")
right.set(xlabel="steps each way", ylabel="error of the round trip")
right.set(xticks=there_and_back, xticklabels=there_and_back)
right.set(yticks=[0.05, 0.1, 0.2], yticklabels=["0.05", "0.1", "0.2"])
right.minorticks_off()
plt.show()

# %% [markdown]
# Inversion is how a given picture is edited: encode it, change what the network is told, decode. It needs a sampler without
# noise. It also says what $x_T$ is: a code for the picture, whose neighbours decode to its neighbours (exercise {ref}`samplers-between`).
#
# ## Exercises
#
# ```{exercise} Weights that fit any steps
# :label: samplers-own
#
# PLMS's weights assume equal steps. Write a sampler that draws a line through the last two outputs *over $\sigma$* and
# integrates it from $\sigma_t$ to $\sigma_s$, whatever the steps are. Begin with a step of Euler. Register it, and measure its
# order on the even grid in log-SNR.
# ```
#
# ```{solution-start} samplers-own
# :class: dropdown
# ```
#
# With $\Delta = \sigma_s - \sigma_t$ and $\Delta'$ for the step before, the line has the slope
# $(\hat\varepsilon - \hat\varepsilon') / \Delta'$, and its integral is $\Delta\, [\hat\varepsilon + \frac{\Delta}{2 \Delta'}
# (\hat\varepsilon - \hat\varepsilon')]$.


# %%
def two_step(denoise, x, schedule, grid):
    eps_before = fall_before = None
    for t, s in pairwise(grid):
        sigma_t, sigma_s = schedule.sigma_at(t), schedule.sigma_at(s)
        eps = denoise(x, torch.full((len(x),), t))
        x_0 = schedule.convert(eps, x, t, "eps", "x0")
        fall, blend = sigma_s - sigma_t, eps
        if fall_before is not None:
            blend = eps + fall / (2 * fall_before) * (eps - eps_before)
        end = x * (1 + sigma_t**2).sqrt() + fall * blend
        eps_before, fall_before = eps, fall
        x = yield end / (1 + sigma_s**2).sqrt(), x_0


SAMPLERS["two_step"] = two_step
row = [flow_error("two_step", levels(n)) for n in refined]
print(f"order {order(refined, row):.1f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Too little contrast
# :label: samplers-contrast
#
# Take data of unit variance, $\mathcal N(0, 1)$. Its perfect denoiser is $\hat\varepsilon = \sqrt{1 - \bar\alpha}\, x$. Show that each
# step of DDIM multiplies $\tilde x$ by a number, and compute the standard deviation of the samples of 5, 10 and 50 trailing steps from
# these numbers. Compare with `sample`. Which way are pictures of too few steps wrong?
# ```
#
# ```{solution-start} samplers-contrast
# :class: dropdown
# ```
#
# As $x = \tilde x / \sqrt{1 + \sigma^2}$ and $\sqrt{1 - \bar\alpha} = \sigma / \sqrt{1 + \sigma^2}$, the step {eq}`samplers-euler` is
# $\tilde x_s = \tilde x_t\, [1 + (\sigma_s - \sigma_t)\, \sigma_t / (1 + \sigma_t^2)]$. The start has $\tilde x_T = \sqrt{1 + \sigma_T^2}\,
# x_T$. The product is below 1: few steps make the samples too flat, with too little contrast.


# %%
def unit(x, t):
    return (1 - schedule.alpha_bar_at(t)).sqrt()[:, None] * x


start = torch.ones(1, 1)
for n in (5, 10, 50):
    sigmas = torch.cat([schedule.sigma_at(schedule.times(n)), torch.zeros(1)])
    here, there = sigmas[:-1], sigmas[1:]
    factors = 1 + (there - here) * here / (1 + here**2)
    spread = (1 + sigmas[0] ** 2).sqrt() * factors.prod()
    x = sample(unit, start, schedule, n)
    print(f"{n:2} steps: {spread:.2f}, as sampled: {same(x[0, 0], spread)}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} More steps where it is noisy
# :label: samplers-rho
#
# Karras et al. {cite}`karras2022elucidating` space $\sigma^{1/\rho}$ evenly, with $\rho = 7$. Write that grid. Which grids do
# $\rho = 1$ and $\rho \to \infty$ give? With 10 steps of Heun and of DPM-Solver++(2M), is it better than even log-SNR on the Gaussian data?
# ```
#
# ```{solution-start} samplers-rho
# :class: dropdown
# ```
#
# $\rho = 1$ is even in $\sigma$. For large $\rho$, $\sigma^{1/\rho} = e^{\log \sigma / \rho} \approx 1 + \log\sigma / \rho$, so the limit is even in
# $\log \sigma$. In between the grid takes some of the steps from the small noise and gives them to the large.


# %%
def karras_times(steps, rho=7.0):
    roots = (SIGMA_MAX ** (1 / rho), SIGMA_MIN ** (1 / rho))
    sigmas = torch.linspace(*roots, steps) ** rho
    return schedule.time_of_sigma(sigmas.clamp(SIGMA_MIN, SIGMA_MAX))


limit = same(karras_times(10, rho=1e6), log_snr_times(10), 0.1)
print(f"large rho is log-SNR: {limit}")
for name in ("heun", "dpmpp_2m"):
    even = grid_error(name, log_snr_times(10))
    karras = grid_error(name, karras_times(10))
    print(f"{name:9} log-SNR {even:.3f}, rho = 7: {karras:.3f}")

# %% [markdown]
# Better for Heun, which lives in $\sigma$ and has its longest steps at large noise; worse for DPM-Solver++(2M), whose own variable is the log-SNR.
#
# ```{solution-end}
# ```
#
# ```{exercise} Between two pictures
# :label: samplers-between
#
# Take a data point of the first blob and one of the third. Encode both, walk between their codes, and decode. How likely is what you get,
# compared with the straight line between the points? Walk on the arc $\sin((1 - u)\theta)\, a / \sin\theta + \sin(u\theta)\, b /
# \sin\theta$, with $\theta$ the angle between the codes $a$ and $b$.
# ```
#
# ```{solution-start} samplers-between
# :class: dropdown
# ```
#
# The decoded walk stays where data is, but for a quick change from blob to blob; the straight line spends its middle in the empty centre.
# "Likely" is here the log-density at the first noise level.

# %%
times = log_snr_times(101)
pair = torch.stack([data[blob == 0][0], data[blob == 2][0]])
a, b = encode(pair, times)
theta = torch.acos(a @ b / (a.norm() * b.norm()))
u = torch.linspace(0, 1, 41)[:, None]
arc = (((1 - u) * theta).sin() * a + (u * theta).sin() * b) / theta.sin()
decoded = sample(denoise, arc, schedule, times=times[:-1], final=0)
straight = (1 - u) * pair[0] + u * pair[1]
a_0 = schedule.alpha_bar_at(0)
for name, walk in [("decoded", decoded), ("straight", straight)]:
    likely = blobs.log_prob(walk, a_0) > -4
    print(f"{name}: share that is likely {likely.double().mean():.1f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# Song et al. {cite}`song2021denoising` gave the family, the step and the inversion. Song et al. {cite}`song2021score` put
# DDPM {cite}`ho2020denoising` and score matching {cite}`song2019generative` into one theory of stochastic differential equations, with the probability flow ODE; the reverse
# equation is Anderson's {cite}`anderson1982reverse`. Karras et al. {cite}`karras2022elucidating` took the parts apart, wrote the
# ODE in $\sigma$, and chose Heun and the grid of exercise {ref}`samplers-rho`. Liu et al. {cite}`liu2022pseudo` made PLMS.
# The exponential integrator in log-SNR is DPM-Solver's {cite}`lu2022dpm`, the form with $\hat x_0$ DPM-Solver++'s {cite}`lu2022dpmpp`;
# exponential integrators themselves are older {cite}`hochbruck2005explicit`. Lin et al. {cite}`lin2024common` found what is wrong
# with the shipped grids. Salimans and Ho {cite}`salimans2022progressive` go further than any solver: they train a network to make two steps in one.
#
# ## The way on
#
# You have the whole of unguided diffusion: the way into noise, the way back, the loss, training, and a sampler of twenty steps. What is missing
# is a say in *which* picture comes out. Part II, Guidance, bends the slope $\hat\varepsilon$ towards what you ask for, and everything here
# goes on working, because a guided network is a denoiser like any other. Until then, {doc}`../appendix/errata` collects the slips of the report that Part I set right.
