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
# # The forward process
#
# **You will be able to**
#
# - say what one step of noise does to a number, and why it has a square root in it;
# - jump to any step of a thousand at once, prove that the jump is right, and check the proof by brute force;
# - read a noise schedule by its signal-to-noise ratio, and say where the one of Stable Diffusion falls short;
# - say why a large picture needs more noise than a small one;
# - turn noise, picture, velocity and score into one another.
#
# **Time** 50 minutes to read; the cells run in about 15 seconds.
#
# **Before this** {doc}`../front/notation` and {doc}`../front/picture_world`. You need the mean, the variance and the
# density of a Gaussian.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part I, Diffusion, at its first chapter of five, the forward process."}, "figure": {"caption": "Where you are: the first chapter of Part I.", "name": "forward-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("forward")
plt.show()

# %% [markdown]
# ## Three kinds of generative model
#
# A generative model learns from examples to draw new ones. Its examples come from a distribution $q(x_0)$, say that of
# all photographs, which nobody can write down. Three kinds of model have been used most for pictures:
#
# | kind | how it draws | what it is trained with | its weakness |
# |---|---|---|---|
# | GAN {cite}`goodfellow2014generative` | one pass through a generator | a game against a second network | the game may not settle, and samples lack variety {cite}`dhariwal2021diffusion` |
# | VAE {cite}`kingma2014auto` | one pass through a decoder | a bound on the log-likelihood | one pass has to do everything |
# | diffusion model {cite}`sohl2015deep,ho2020denoising` | many small steps from noise to picture | a bound on the log-likelihood, cut up into one regression a step | many steps are many passes |
#
# {cite:t}`dhariwal2021diffusion` were the first to show diffusion models ahead of GANs on ImageNet.
#
# ```{admonition} A slip in the report
# :class: note
# The report's section 5.1 names GAN, VAE and diffusion models as three types of *diffusion* model. They are three kinds
# of *generative* model, as in the table. See {ref}`the errata <erratum-three-kinds>`.
# ```
#
# A diffusion model rests on two processes. The **forward process** destroys a picture with noise, step by step. It is
# fixed: nothing in it is learned. The **reverse process** goes back, and is learned. This chapter is about the first,
# and it can be known completely.
#
# ## One step
#
# Begin on a line. The "picture" is a single number. One step takes the number $x_{t-1}$, shrinks it a little, and adds
# a little noise $\varepsilon \sim \mathcal N(0, 1)$:
#
# $$
# x_t = \sqrt{1 - \beta_t}\; x_{t-1} + \sqrt{\beta_t}\; \varepsilon ,
# \qquad 0 < \beta_t \le 1 .
# $$ (forward-step)
#
# The number $\beta_t$ is the variance of the noise that step $t$ adds. A known number plus a Gaussian is a Gaussian.
# So {eq}`forward-step` says the same as
#
# $$
# q(x_t \mid x_{t-1}) = \mathcal N\!\left(x_t;\; \sqrt{1 - \beta_t}\, x_{t-1},\; \beta_t\right) ,
# $$ (forward-kernel)
#
# where $\mathcal N(x; \mu, \sigma^2)$ is the density of a Gaussian with mean $\mu$ and variance $\sigma^2$ at the point
# $x$. For a picture each of its numbers does this on its own, and the variance is written $\beta_t I$, with $I$ the
# identity matrix {cite}`ho2020denoising`. The cell takes a million steps from the same number, and compares.

# %%
import torch


def step(x, beta, eps):
    """One step of noise."""
    return (1 - beta) ** 0.5 * x + beta**0.5 * eps


generator = torch.Generator().manual_seed(0)


def randn(*shape):
    """Standard normal noise, the same at each run of this chapter."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


x_prev, beta = 1.5, 0.2
x = step(x_prev, beta, randn(1_000_000))
print(f"mean     {x.mean():.2f}, expected {(1 - beta) ** 0.5 * x_prev:.2f}")
print(f"variance {x.var():.2f}, expected {beta:.2f}")

# %% mystnb={"image": {"alt": "Four bell curves of where a step from 1.5 may land. For beta 0.02 the curve is narrow at 1.49; for 0.2 it is wider at 1.34; for 0.6 wider still at 0.95; for 1 it is the standard bell curve at 0."}, "figure": {"caption": "Where one step from $x_{t-1} = 1.5$ lands. A small $\\beta$ hardly moves it. At $\\beta = 1$ nothing of it is left.", "name": "forward-one-step"}}
grid = torch.linspace(-3.5, 3.5, 701, dtype=torch.float64)


def normal(x, mean, variance):
    """Density of a Gaussian."""
    height = (2 * torch.pi * variance) ** -0.5
    return height * torch.exp(-((x - mean) ** 2) / (2 * variance))


figure, axes = plt.subplots(figsize=(6.4, 2.8))
for beta in (0.02, 0.2, 0.6, 1.0):
    landing = normal(grid, (1 - beta) ** 0.5 * 1.5, beta)
    axes.plot(grid, landing, label=rf"$\beta = {beta:g}$")
axes.axvline(1.5, color="grey", linestyle=":")
axes.set(xlabel="$x_t$", ylabel="density")
axes.legend()
plt.show()

# %% [markdown]
# ## Why the square root
#
# Noise adds variance. Without shrinking, the numbers would grow without end. The two roots in {eq}`forward-step` are
# chosen so that the growth and the shrinking balance. Since $\varepsilon$ is independent of $x_{t-1}$, variances add,
# and a factor comes out squared:
#
# $$
# \begin{aligned}
# \operatorname{Var}[x_t]
#   &= \left(\sqrt{1 - \beta_t}\right)^2 \operatorname{Var}[x_{t-1}]
#      + \left(\sqrt{\beta_t}\right)^2 \operatorname{Var}[\varepsilon] \\
#   &= (1 - \beta_t) \operatorname{Var}[x_{t-1}] + \beta_t .
# \end{aligned}
# $$ (forward-variance)
#
# Take both sides from 1:
#
# $$
# 1 - \operatorname{Var}[x_t] = (1 - \beta_t) \left(1 - \operatorname{Var}[x_{t-1}]\right) .
# $$ (forward-gap)
#
# If the variance is 1 it stays 1: the process is **variance preserving** {cite}`song2021score`. If it is not, the gap to 1
# shrinks with every step. The mean shrinks too, by $\sqrt{1 - \beta_t}$. So whatever you begin with, the chain is drawn
# towards mean 0 and variance 1.
#
# The cell runs 20,000 chains of 100 steps from numbers with a variance of 4, and compares their variance with
# {eq}`forward-gap`. It runs two other rules beside it: noise without shrinking, and shrinking by $1 - \beta$ without the
# root.

# %%
beta = 0.02
rules = {
    r"$\sqrt{1-\beta}$, as in the text": (1 - beta) ** 0.5,
    "1, no shrinking": 1.0,
    r"$1-\beta$, no root": 1 - beta,
}
variances = {}
for name, factor in rules.items():
    x = 2 * randn(20_000)
    variances[name] = [x.var()]
    for _ in range(100):
        x = factor * x + beta**0.5 * randn(20_000)
        variances[name].append(x.var())
    variances[name] = torch.stack(variances[name])

with_root = variances[r"$\sqrt{1-\beta}$, as in the text"]
gap = (1 - with_root) / (1 - 4)
expected = (1 - beta) ** torch.arange(101)
error = (gap - expected).abs().max()
print("the gap to 1 shrinks by 1 - beta a step:", bool(error < 0.05))

# %% mystnb={"image": {"alt": "Variance over 100 steps for three rules, all starting at 4. With the root it falls towards 1. Without shrinking it rises in a line to 6. Without the root it falls below 1, towards one half."}, "figure": {"caption": "Only the root leads to variance 1. Without shrinking the variance grows without end; without the root it falls to about one half.", "name": "forward-three-rules"}}
figure, axes = plt.subplots(figsize=(6.4, 2.8))
for name, values in variances.items():
    axes.plot(values, label=name)
axes.axhline(1, color="grey", linestyle=":")
axes.set(xlabel="steps", ylabel="variance", ylim=(0, 6.5))
axes.legend(title="factor on $x_{t-1}$")
plt.show()

# %% [markdown]
# ```{admonition} A slip in the report
# :class: note
# The report's equation (1) writes the mean as $\sqrt{1 - \beta_{t-1}}$. Two things differ from {eq}`forward-kernel`. The
# index is $t$, the one of the step's own noise. And $x_{t-1}$ is missing, so that the mean knows nothing of the picture.
# The next cell runs the equation as it is printed. See {ref}`the errata <erratum-forward-mean>`.
# ```
#
# As printed, every $x_t$ is drawn afresh around a number near 1. Two chains that begin far apart are alike after one
# step. And the end is no noise at all: mean 0.99 and a standard deviation of 0.14, where 0 and 1 are wanted.

# %%
from minisd.diffusion import NoiseSchedule

schedule = NoiseSchedule.linear()  # a thousand betas from 0.0001 to 0.02
x = torch.tensor([-1.5, 1.5], dtype=torch.float64).repeat(10_000, 1)
for t in range(1, schedule.T):
    before, now = schedule.betas[t - 1], schedule.betas[t]
    x = (1 - before) ** 0.5 + now**0.5 * randn(*x.shape)
    if t in (1, schedule.T - 1):
        print(f"after step {t + 1}:")
        for k, start in enumerate((-1.5, 1.5)):
            mean, std = x[:, k].mean(), x[:, k].std()
            print(f"  from {start:4.1f}: mean {mean:.2f}, std {std:.2f}")

# %% [markdown]
# ```{admonition} Counting steps
# :class: note
# The mathematics counts steps as the papers do: $t = 1, \dots, T$, and $x_0$ is the clean picture. The code counts from
# 0, as Python does: `schedule.betas[t]` is the papers' $\beta_{t+1}$. Cells and figures use the code's `t`, from 0 to
# 999. In `minisd` the clean picture is at `t = -1`.
# ```
#
# ## A chain of steps
#
# Now take $T$ steps, one after the other. Each step looks at the last number and at nothing before it. A chain of this
# kind is a **Markov chain**. Write $x_{1:T}$ for the whole path $x_1, x_2, \dots, x_T$. The product rule of probability
# gives the density of a path; the Markov property then drops all but the last number from each condition:
#
# $$
# \begin{aligned}
# q(x_{1:T} \mid x_0)
#   &= q(x_1 \mid x_0)\, q(x_2 \mid x_1, x_0) \cdots q(x_T \mid x_{T-1}, \dots, x_0) \\
#   &= \prod_{t=1}^{T} q(x_t \mid x_{t-1}) .
# \end{aligned}
# $$ (forward-chain)
#
# You can check this without using it. A path is built from its noises by sums and multiples, so the whole path is one
# Gaussian in $T$ dimensions. Equation {eq}`forward-step` for all $t$ at once reads $(I - L)\, x_{1:T} = b + D\,
# \varepsilon_{1:T}$. Here $L$ has the factors $\sqrt{1 - \beta_t}$ below its diagonal, $D$ has $\sqrt{\beta_t}$ on its
# diagonal, and $b$ holds $\sqrt{1 - \beta_1}\, x_0$ in its first place. Solve for $x_{1:T}$ to get the mean and the
# covariance of the path, and its density from those:

# %%
betas = torch.tensor([0.1, 0.3, 0.05, 0.5, 0.2], dtype=torch.float64)
x_0 = 1.5
path, x = [], torch.tensor(x_0, dtype=torch.float64)
for beta in betas:
    x = step(x, beta, randn(1)[0])
    path.append(x)
path = torch.stack(path)

# the product of the steps, as a sum of logarithms
before = torch.cat([torch.tensor([x_0]).double(), path[:-1]])
by_steps = normal(path, (1 - betas).sqrt() * before, betas).log().sum()

# the whole path as one Gaussian in five dimensions
lower = torch.diag((1 - betas[1:]).sqrt(), -1)  # L
solve = torch.linalg.inv(torch.eye(5).double() - lower)
b = torch.zeros(5).double()
b[0] = (1 - betas[0]).sqrt() * x_0
covariance = solve @ torch.diag(betas) @ solve.T
gaussian = torch.distributions.MultivariateNormal(solve @ b, covariance)
error = (by_steps - gaussian.log_prob(path)).abs()
print("the two densities agree to 1e-12:", bool(error < 1e-12))

# %% [markdown]
# ## All steps at once
#
# A thousand steps for each training picture would be slow. They are not needed: $x_t$ can be drawn from $x_0$ in one
# jump. Write
#
# $$
# \alpha_t = 1 - \beta_t ,
# \qquad
# \bar\alpha_t = \prod_{s=1}^{t} \alpha_s .
# $$ (forward-alpha-bar)
#
# The bar matters: $\alpha_t$ belongs to one step, $\bar\alpha_t$ to all steps up to it. The cell multiplies them up one
# by one, and compares with the table of `minisd`.

# %%
product, worst = 1.0, 0.0
for t in range(schedule.T):
    product = product * (1 - schedule.betas[t])
    worst = max(worst, abs(product - schedule.alpha_bar[t]))
print("alpha_bar is the running product:", bool(worst < 1e-14))

# %% [markdown]
# The proof needs one fact about Gaussians.
#
# ```{prf:lemma} Two noises are one
# :label: forward-lemma
#
# If $\varepsilon_1, \varepsilon_2 \sim \mathcal N(0, 1)$ are independent, then $a\, \varepsilon_1 + b\, \varepsilon_2$
# has the distribution of $\sqrt{a^2 + b^2}\; \varepsilon$ with a single $\varepsilon \sim \mathcal N(0, 1)$.
# ```
#
# ````{dropdown} Proof
# The pair $(\varepsilon_1, \varepsilon_2)$ has the density $\frac{1}{2\pi} e^{-(\varepsilon_1^2 + \varepsilon_2^2)/2}$. It depends only on the
# distance from the origin, so it looks the same from every direction. Now $a \varepsilon_1 + b \varepsilon_2$ is
# $\sqrt{a^2 + b^2}$ times the coordinate of the pair along the unit vector $(a, b)/\sqrt{a^2 + b^2}$. Along every unit vector that
# coordinate is distributed as along the first axis, where it is $\varepsilon_1 \sim \mathcal N(0, 1)$.
# ````
#
# The density of a sum of independent numbers is the convolution of their densities. The cell convolves two Gaussians on
# a fine grid, and compares with {prf:ref}`forward-lemma`.

# %%
a, b = 0.6, 1.1
u = torch.arange(-8, 8.001, 0.02, dtype=torch.float64)
first, second = normal(u, 0, a**2), normal(u, 0, b**2)
convolve = torch.nn.functional.conv1d
convolved = convolve(first[None, None], second[None, None], padding=400)
error = (0.02 * convolved[0, 0] - normal(u, 0, a**2 + b**2)).abs().max()
print("the sum is a Gaussian of variance a² + b²:", bool(error < 1e-9))

# %% [markdown]
# ````{prf:theorem} The jump
# :label: forward-theorem
#
# For every $t \ge 1$
#
# $$
# x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\; \varepsilon ,
# \qquad \varepsilon \sim \mathcal N(0, I) ,
# $$ (forward-jump)
#
# and this is to say $q(x_t \mid x_0) = \mathcal N\!\left(x_t;\; \sqrt{\bar\alpha_t}\, x_0,\; (1 - \bar\alpha_t) I\right)$.
# ````
#
# ````{prf:proof}
# By induction over $t$. For $t = 1$, $\bar\alpha_1 = \alpha_1 = 1 - \beta_1$, and {eq}`forward-jump` is
# {eq}`forward-step`.
#
# Let it hold for $t - 1$, with a noise $\varepsilon'$. Take one step {eq}`forward-step` from there, and put the jump in for
# $x_{t-1}$:
#
# $$
# \begin{aligned}
# x_t &= \sqrt{\alpha_t}\; x_{t-1} + \sqrt{1 - \alpha_t}\; \varepsilon_t \\
#     &= \sqrt{\alpha_t} \left( \sqrt{\bar\alpha_{t-1}}\; x_0 + \sqrt{1 - \bar\alpha_{t-1}}\; \varepsilon' \right)
#        + \sqrt{1 - \alpha_t}\; \varepsilon_t \\
#     &= \sqrt{\alpha_t \bar\alpha_{t-1}}\; x_0
#        + \sqrt{\alpha_t (1 - \bar\alpha_{t-1})}\; \varepsilon' + \sqrt{1 - \alpha_t}\; \varepsilon_t .
# \end{aligned}
# $$ (forward-induction)
#
# The first factor is $\sqrt{\bar\alpha_t}$, by {eq}`forward-alpha-bar`. The noise $\varepsilon_t$ is independent of all before
# it, so of $\varepsilon'$ too. By {prf:ref}`forward-lemma` the two noises are one, with the variance
#
# $$
# \alpha_t (1 - \bar\alpha_{t-1}) + 1 - \alpha_t = 1 - \alpha_t \bar\alpha_{t-1} = 1 - \bar\alpha_t .
# $$ (forward-variances-add)
# ````
#
# The picture's factor $\sqrt{\bar\alpha_t}$ and the noise's factor $\sqrt{1 - \bar\alpha_t}$ have squares that sum to 1: what
# the picture loses, the noise gains. First check the step of the proof, {eq}`forward-variances-add`, and with it the whole
# induction, for a thousand steps:

# %%
factor, variance, worst = 1.0, 0.0, 0.0
for t in range(schedule.T):
    alpha, alpha_bar = schedule.alphas[t], schedule.alpha_bar[t]
    factor = alpha.sqrt() * factor  # on x_0, after this step
    variance = alpha * variance + 1 - alpha  # of all the noise so far
    worst = max(worst, abs(factor - alpha_bar.sqrt()))
    worst = max(worst, abs(variance - (1 - alpha_bar)))
print("jump and recursion agree to 1e-12:", bool(worst < 1e-12))

# %% [markdown]
# Then by brute force: 10,000 chains from $x_0 = 1.5$, each walked through all thousand steps.

# %%
chains = torch.empty(schedule.T, 10_000, dtype=torch.float64)
x = torch.full((10_000,), 1.5, dtype=torch.float64)
for t in range(schedule.T):
    x = step(x, schedule.betas[t], randn(10_000))
    chains[t] = x

mean = schedule.alpha_bar.sqrt() * 1.5
std = (1 - schedule.alpha_bar).sqrt()
print("means agree:     ", bool((chains.mean(1) - mean).abs().max() < 0.04))
print("deviations agree:", bool((chains.std(1) - std).abs().max() < 0.03))
inside = ((chains - mean[:, None]).abs() < 2 * std[:, None]).double().mean()
gaussian = torch.erf(torch.tensor(2**0.5))
print(f"within two deviations: {inside:.2f}, a Gaussian {gaussian:.2f}")

# %% mystnb={"image": {"alt": "Twelve random paths over a thousand steps. They all begin at 1.5 and spread out; a shaded band and its middle line fall to a band from -2 to 2 around 0, which holds nearly all paths."}, "figure": {"caption": "Twelve of the chains. The jump {eq}`forward-jump` knows their mean (line) and two standard deviations (band) at each step, without walking.", "name": "forward-paths"}}
t = range(schedule.T)
figure, axes = plt.subplots()
axes.plot(t[::8], chains[::8, :12], color="#999999", linewidth=0.5)
axes.fill_between(t, mean - 2 * std, mean + 2 * std, alpha=0.2)
axes.plot(mean, label=r"$\sqrt{\bar\alpha_t}\, x_0$")
axes.set(xlabel="t", ylabel="$x_t$")
axes.legend()
plt.show()

# %% [markdown]
# You have built what `minisd` has. `q_step` is the step and `q_sample` is the jump, and each works on numbers and on
# batches of pictures:

# %%
x_0, eps = randn(4, 3, 8, 8), randn(4, 3, 8, 8)
t = torch.tensor([0, 10, 500, 999])
a = schedule.alpha_bar[t][:, None, None, None]  # one for each picture
jump = a.sqrt() * x_0 + (1 - a).sqrt() * eps
print("jump:", torch.allclose(schedule.q_sample(x_0, t, eps), jump))
one_step = step(x_0, schedule.betas[500], eps)
print("step:", torch.allclose(schedule.q_step(x_0, 500, eps), one_step))

# %% [markdown]
# ```{admonition} A slip in the report
# :class: note
# The report's equation (3) has $\alpha_t$ where {eq}`forward-jump` has $\bar\alpha_t$, and so have its loss and its two
# algorithms. With $\alpha_t = 1 - \beta_t$ the noise of one step is then taken for the noise of all. (Some papers, such as
# {cite:t}`song2021denoising`, write $\alpha_t$ for what is $\bar\alpha_t$ here, on purpose.) See
# {ref}`the errata <erratum-alpha-bar>`.
# ```
#
# How large is the difference? At the last step a factor of 0.99 in place of 0.006. Further below you see what
# that does to a picture.

# %%
print("factor on the picture at the last step")
print(f"  with alpha:     {schedule.alphas[-1].sqrt():.2f}")
print(f"  with alpha-bar: {schedule.alpha_bar[-1].sqrt():.3f}")

# %% [markdown]
# ## What happens to a distribution
#
# So far $x_0$ was one number. Let it be drawn from a distribution $q(x_0)$ with two humps, a mixture of two Gaussians
# with weights $w_k$, means $m_k$ and variances $s_k^2$. The density of $x_t$ averages the jump over all beginnings:
#
# $$
# \begin{aligned}
# q(x_t) &= \int q(x_t \mid x_0)\, q(x_0)\, dx_0 \\
#        &= \sum_k w_k\, \mathcal N\!\left(x_t;\; \sqrt{\bar\alpha_t}\, m_k,\; \bar\alpha_t s_k^2 + 1 - \bar\alpha_t\right) .
# \end{aligned}
# $$ (forward-marginal)
#
# The second form is {prf:ref}`forward-lemma` again: a Gaussian $x_0$, scaled by $\sqrt{\bar\alpha_t}$, plus Gaussian noise.
# `GaussianMixture.log_prob` is its logarithm. The cell works the integral out on a grid, and compares the two. Then it
# walks 20,000 samples through the chain.

# %%
from minisd.diffusion import GaussianMixture

weights = torch.tensor([0.4, 0.6])
means = torch.tensor([-1.5, 0.8])[:, None]
variances = torch.tensor([0.3**2, 0.2**2])[:, None, None]
humps = GaussianMixture(weights, means, variances)
grid = torch.linspace(-4, 4, 801, dtype=torch.float64)


def density(t):
    """q(x_t) on the grid."""
    return humps.log_prob(grid[:, None], schedule.alpha_bar_at(t)).exp()


t = 200
a = schedule.alpha_bar[t]
# q(x_t | x_0) with x_t down and x_0 across; t = -1 is clean
jump = normal(grid[:, None], a.sqrt() * grid[None, :], 1 - a)
integral = (jump * density(-1)[None, :]).sum(1) * 0.01
error = (integral - density(t)).abs().max()
print("integral and mixture agree:", bool(error < 1e-6))

x, _ = humps.sample(20_000, generator, dtype=torch.float64)
x, samples = x[:, 0], {}
for t in range(schedule.T):
    x = step(x, schedule.betas[t], randn(20_000))
    if t in (0, 100, 250, 999):
        samples[t] = x
        counts = torch.histc(x, bins=80, min=-4, max=4) / (20_000 * 0.1)
        error = (counts - density(t)[5::10]).abs().max()
        print(f"t = {t}: histogram and density agree:", bool(error < 0.1))

# %% mystnb={"image": {"alt": "Four histograms of 20,000 numbers with the exact density as a line. At t = 0 two sharp humps; at 100 two lower humps; at 250 one hill with a shoulder; at 999 a bell curve around zero."}, "figure": {"caption": "Two humps melt into one. The exact density {eq}`forward-marginal` (line) lies on the histogram of the chains at each step; at the end it is the standard Gaussian (dotted).", "name": "forward-humps"}}
figure, panels = plt.subplots(1, 4, figsize=(7.2, 2.4), sharey=True)
for axes, (t, x) in zip(panels, samples.items(), strict=True):
    axes.hist(x, bins=80, range=(-4, 4), density=True, alpha=0.4)
    axes.plot(grid, density(t), color="black", linewidth=1)
    axes.plot(grid, normal(grid, 0, 1), ":", color="grey", linewidth=1)
    axes.set(title=f"t = {t}", xlabel="$x_t$")
panels[0].set_ylabel("density")
plt.show()

# %% mystnb={"image": {"alt": "Heat picture: t from left to right, x upwards, brightness is density. Two bright bands at -1.5 and 0.8 widen, drift towards zero and merge near t = 300; from t = 600 the picture no longer changes. Four thin white paths wander through it."}, "figure": {"caption": "The density of $x_t$ at every $t$, and four chains. Two humps become one near $t = 300$; after $t = 600$ hardly anything changes.", "name": "forward-heat"}}
times = range(0, schedule.T, 5)
heat = torch.stack([density(t) for t in times], dim=1)
x, paths = torch.tensor([-1.5, -1.5, 0.8, 0.8]), []
for t in range(schedule.T):
    x = step(x, schedule.betas[t], randn(4))
    paths.append(x)

figure, axes = plt.subplots()
axes.contourf(times, grid, heat.sqrt(), 8, cmap="magma")
axes.plot(times, torch.stack(paths[::5]), color="white", linewidth=0.6)
axes.set(xlabel="t", ylabel="$x_t$", ylim=(-3.2, 3.2))
axes.grid(visible=False)
plt.show()

# %% [markdown]
# "Pure noise" can be given a number. The Kullback-Leibler divergence
#
# $$
# \operatorname{KL}\!\left(q(x_t) \,\|\, \mathcal N(0, 1)\right) = \int q(x_t) \log \frac{q(x_t)}{\mathcal N(x_t; 0, 1)}\, dx_t
# $$ (forward-kl)
#
# says how far the density of $x_t$ is from that of noise, in nats. It is 0 only if the two are equal, and the loss of a diffusion
# model will be a sum of such divergences. The cell computes it on the grid, and once more as an average over the
# samples.

# %%
for t, x in samples.items():
    q, noise = density(t), normal(grid, 0, 1)
    on_grid = (q * (q / noise).log()).sum() * 0.01
    log_q = humps.log_prob(x[:, None], schedule.alpha_bar[t])
    average = (log_q - normal(x, 0, 1).log()).mean()
    agree = bool((on_grid - average).abs() < 0.03)
    print(f"t = {t}: {on_grid:.2f} nats; the samples say the same: {agree}")

# %% [markdown]
# ## Schedules
#
# The thousand numbers $\beta_1, \dots, \beta_T$ are the **schedule**. They are chosen by hand, and three choices are common.
# Let $u = (t - 1)/(T - 1)$ run from 0 to 1.
#
# $$
# \begin{aligned}
# \text{linear:} &\quad \beta_t = (1 - u)\, \beta_1 + u\, \beta_T \\
# \text{scaled-linear:} &\quad \beta_t = \left( (1 - u) \sqrt{\beta_1} + u \sqrt{\beta_T} \right)^2 \\
# \text{cosine:} &\quad \bar\alpha_t = \frac{f(t)}{f(0)} ,
#    \quad f(t) = \cos^2\!\left( \frac{t/T + 0.008}{1.008} \cdot \frac{\pi}{2} \right)
# \end{aligned}
# $$ (forward-schedules)
#
# The linear schedule is that of {cite:t}`ho2020denoising`, with $\beta_1 = 0.0001$ and $\beta_T = 0.02$. The scaled-linear one, with
# $\beta_1 = 0.00085$ and $\beta_T = 0.012$, is what the released Stable Diffusion 1.x was trained with {cite}`rombach2022high`.
# The cosine comes from {cite:t}`nichol2021improved`, who also hold $\beta_t$ at 0.999 or below.

# %%
T = 1000
u = torch.linspace(0, 1, T, dtype=torch.float64)
share = torch.arange(T + 1, dtype=torch.float64) / T
f = torch.cos((share + 0.008) / 1.008 * torch.pi / 2) ** 2
schedules = {
    "linear": NoiseSchedule.linear(),
    "scaled-linear": NoiseSchedule.scaled_linear(),
    "cosine": NoiseSchedule.cosine(),
}
linear = (1 - u) * 1e-4 + u * 0.02
scaled_linear = ((1 - u) * 0.00085**0.5 + u * 0.012**0.5) ** 2
formulas = {
    "linear": torch.cumprod(1 - linear, 0),
    "scaled-linear": torch.cumprod(1 - scaled_linear, 0),
    "cosine": f[1:] / f[0],
}
for name, s in schedules.items():
    # without the last step, where the cosine's beta is held at 0.999
    same = torch.allclose(s.alpha_bar[:-1], formulas[name][:-1], rtol=1e-9)
    print(f"{name}: formula and minisd agree: {same}")

# %% [markdown]
# To compare schedules, look at how much picture there is for each part of noise, not at $\beta$. The **signal-to-noise ratio** of
# {eq}`forward-jump` is the ratio of its two variances, for a picture of variance 1. Its logarithm runs evenly
# through the orders of magnitude. Its inverse root is the **noise level** $\sigma_t$, which the samplers will use:
#
# $$
# \operatorname{SNR}_t = \frac{\bar\alpha_t}{1 - \bar\alpha_t} ,
# \qquad
# \sigma_t = \sqrt{\frac{1 - \bar\alpha_t}{\bar\alpha_t}} ,
# \qquad
# \log \operatorname{SNR}_t = -2 \log \sigma_t .
# $$ (forward-snr)

# %%
s = schedules["scaled-linear"]
t = torch.arange(T)
x_0, eps = randn(100_000), randn(100_000)
a = s.alpha_bar
signal, noise = a[300].sqrt() * x_0, (1 - a[300]).sqrt() * eps
snr, sigma = a / (1 - a), s.sigma_at(t)
off = signal.var() / noise.var() / snr[300] - 1
print("SNR is a ratio of variances:", bool(off.abs() < 0.05))
print("its log, by sigma:", torch.allclose(snr.log(), -2 * sigma.log()))
print("minisd has the same:", torch.allclose(s.log_snr_at(t), snr.log()))
print(f"Stable Diffusion's alpha-bar: {a[0]:.5f} to {a[-1]:.5f}")
print(f"Stable Diffusion's sigma:     {sigma[0]:.5f} to {sigma[-1]:.4f}")
for name, other in schedules.items():
    first, last = other.log_snr_at(0), other.log_snr_at(999)
    print(f"log SNR from {first:4.1f} to {last:5.1f}: {name}")

# %% mystnb={"image": {"alt": "Two panels over t for three schedules. Left, alpha-bar falls from 1 to 0: linear is first to fall, then scaled-linear, then cosine, which is nearly straight in the middle. Right, log SNR falls from about 8 to -5 for scaled-linear, -10 for linear and steeply to -20 for cosine at the very end."}, "figure": {"caption": "The cosine spends its steps most evenly. Stable Diffusion's schedule ends earliest, at a log SNR of $-5.4$.", "name": "forward-schedules-figure"}}
figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3))
for name, s in schedules.items():
    left.plot(s.alpha_bar, label=name)
    right.plot(s.log_snr_at(t), label=name)
left.set(xlabel="t", ylabel=r"$\bar\alpha_t$")
right.set(xlabel="t", ylabel="log SNR")
left.legend()
plt.show()

# %% [markdown]
# ### The end that is not quite noise
#
# A sampler begins from pure noise, $\mathcal N(0, I)$. The end of Stable Diffusion's forward process is not that: its last
# signal factor is $\sqrt{\bar\alpha_T} = 0.068$. This sounds like nothing, and in a single number it *is* nothing. A picture has
# thousands of numbers, and they can join forces. Take a white picture, all $+1$, and average its $n$ noisy numbers at the
# last step:
#
# $$
# \frac1n \sum_{i=1}^{n} x_T^{(i)} \;\sim\; \mathcal N\!\left( \sqrt{\bar\alpha_T},\; \frac{1 - \bar\alpha_T}{n} \right) .
# $$ (forward-brightness)
#
# For $n = 3 \cdot 64 \cdot 64$ the standard deviation is 0.009, and the mean lies more than seven of them from 0. Whoever
# looks at the average knows how bright the picture was. So a network that was trained with this schedule can rely on the
# average being right. At sampling time the average of pure noise is near 0, and the network takes that as news: medium
# brightness. {cite:t}`lin2024common` found that Stable Diffusion cannot draw very dark or very bright pictures for this
# reason. Their cure is a schedule whose **terminal SNR is zero**; you build it in {ref}`an exercise <forward-zero>`.

# %%
n = 3 * 64 * 64
for name, s in schedules.items():
    white = torch.ones(200, n, dtype=torch.float64)
    average = s.q_sample(white, 999, randn(200, n)).mean(1)
    mean, std = s.alpha_bar[-1].sqrt(), ((1 - s.alpha_bar[-1]) / n).sqrt()
    mean_right = bool((average.mean() - mean).abs() < 0.004)
    std_right = bool((average.std() / std - 1).abs() < 0.25)
    print(f"{name}: mean {mean_right}, deviation {std_right};", end=" ")
    print(f"{mean / std:.1f} deviations from 0")

# %% [markdown]
# ## In two dimensions
#
# Before pictures, points in a plane. Each of the two coordinates gets its own noise. If the points $x_0$ have the mean $m$
# and the covariance $\Sigma$, then the points $x_t$ have
#
# $$
# \operatorname{E}[x_t] = \sqrt{\bar\alpha_t}\, m ,
# \qquad
# \operatorname{Cov}[x_t] = \bar\alpha_t\, \Sigma + (1 - \bar\alpha_t)\, I ,
# $$ (forward-covariance)
#
# by the same rules as in {eq}`forward-variance`. The cell draws points on a spiral, and checks this.

# %%
along = torch.rand(20_000, generator=generator, dtype=torch.float64).sqrt()
angle = 4 * torch.pi * (0.15 + 0.85 * along)
spiral = torch.stack([angle * angle.cos(), angle * angle.sin()], dim=1) / 7
for t in (50, 300, 700):
    x = schedule.q_sample(spiral, t, randn(20_000, 2))
    a = schedule.alpha_bar[t]
    mean = a.sqrt() * spiral.mean(0)
    covariance = a * torch.cov(spiral.T) + (1 - a) * torch.eye(2)
    mean_right = torch.allclose(x.mean(0), mean, atol=0.05)
    covariance_right = torch.allclose(torch.cov(x.T), covariance, atol=0.1)
    print(f"t = {t}: mean {mean_right}, covariance {covariance_right}")

# %% mystnb={"image": {"alt": "Four panels of 1,000 points, coloured along a spiral. At t = 0 a sharp spiral; at 30 a blurred one; at 150 a cloud without arms, its colours still apart; at 999 a round cloud with all colours mixed."}, "figure": {"caption": "Fine structure goes first, coarse structure last: at $t = 150$ the arms are gone, but the colours are not yet mixed.", "name": "forward-spiral"}}
figure, panels = plt.subplots(1, 4, figsize=(6.8, 2.1), sharey=True)
turn = plt.get_cmap("turbo", 8)
for axes, t in zip(panels, (0, 30, 150, 999), strict=True):
    x = schedule.q_sample(spiral[:1000], t, randn(1000, 2))
    axes.scatter(*x.T, s=1.2, c=angle[:1000], cmap=turn, antialiased=False)
    limits = (-3.2, 3.2)
    axes.set(title=f"t = {t}", xlim=limits, ylim=limits, aspect="equal")
plt.show()

# %% [markdown]
# ## Pictures
#
# A picture is a list of numbers, and {eq}`forward-jump` treats each of them on its own. Its bytes
# $p \in \{0, \dots, 255\}$ are first brought to the range of the noise:
#
# $$
# x_0 = \frac{p}{127.5} - 1 \;\in\; [-1, 1] .
# $$ (forward-scaling)
#
# The scenes come from {doc}`../front/picture_world`. A figure of pictures clips what lies outside of $[-1, 1]$; the
# numbers themselves are not clipped. And noise does not compress: from here on the figures are JPEG, as photographs are.

# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches="tight", pil_kwargs={"quality": 60})

# %%
from minisd.scenes import scenes


def to_x(pictures):
    """Bytes [N, H, W, 3] as x_0, a float tensor [N, 3, H, W] in [-1, 1]."""
    x = torch.as_tensor(pictures).double() / 127.5 - 1
    return x.permute(0, 3, 1, 2)


pictures = scenes([22, 6]).images
x_0 = to_x(pictures)
back = ((x_0 + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
print(tuple(x_0.shape), "and back:", bool((back.numpy() == pictures).all()))

# %% mystnb={"image": {"alt": "Two rows of five pictures: a scene on a beach and a scene on a street at night, at t = -1, 50, 120, 250 and 600. The noise grows from left to right; at 250 the cat can still be seen and the horse barely, at 600 there is only noise."}, "figure": {"caption": "Two scenes on their way to noise, with the linear schedule. At $t = 250$ you still see that there is something; at $t = 600$ you do not.", "name": "forward-scenes"}}
from minisd.plots import image_grid

steps = (-1, 50, 120, 250, 600)
rows = [schedule.q_sample(x_0, t, randn(*x_0.shape)) for t in steps]
titles = [f"t = {t}" for t in steps] + [""] * len(steps)
image_grid(torch.stack(rows, 1).flatten(0, 1), titles, columns=5)
plt.show()

# %% [markdown]
# Now you can see what the two slips do. All three pictures below are "the last step" of the same scene: one by
# {eq}`forward-jump`, one by the report's equation (1) as printed, one by its equation (3) as printed. Equation (1) forgets the
# picture and ends at white with a little noise. Equation (3) never gets to noise: a model trained on such pictures
# would learn to remove a light grain, and would not know what to do with the pure noise that sampling begins with.

# %% mystnb={"image": {"alt": "Three pictures. By the right formula, pure noise. By equation 1 as printed, a nearly white square with a faint grain. By equation 3 as printed, the scene, clearly seen under a light grain."}, "figure": {"caption": "The last step, right and as printed. Only the first is the pure noise that sampling begins with.", "name": "forward-slips"}}
eps, last = randn(*x_0[:1].shape), schedule.T - 1
alpha, beta = schedule.alphas[last], schedule.betas[last]
right = schedule.q_sample(x_0[:1], last, eps)
equation_1 = (1 - schedule.betas[last - 1]).sqrt() + beta.sqrt() * eps
equation_3 = alpha.sqrt() * x_0[:1] + (1 - alpha).sqrt() * eps
titles = ["right", "(1) as printed", "(3) as printed"]
image_grid(torch.cat([right, equation_1, equation_3]), titles, columns=5)
plt.show()

# %% [markdown]
# ## A photograph, and why large pictures need more noise
#
# scikit-image {cite}`vanderwalt2014scikit` carries a photograph of the astronaut Eileen Collins, 512 pixels high and wide, taken by
# NASA. Nothing changes in the formula.

# %%
from skimage import data

photograph = to_x(data.astronaut()[None])
print(tuple(photograph.shape))


# %% mystnb={"image": {"alt": "A portrait of an astronaut in an orange suit before a flag, at t = -1, 100, 250 and 500. The noise grows, but even at 500 the shape of the person can be made out."}, "figure": {"caption": "The same noise on a real photograph. At $t = 500$ the astronaut can still be made out.", "name": "forward-astronaut"}}
def noised(x_0, t):
    """x_t with fresh noise."""
    return schedule.q_sample(x_0, t, randn(*x_0.shape))


steps = (-1, 100, 250, 500)
noisy = torch.cat([noised(photograph, t) for t in steps])
image_grid(noisy, [f"t = {t}" for t in steps])
plt.show()

# %% [markdown]
# The photograph holds out longer than the scenes do. Each of its numbers has lost as much as each number of a scene. But
# there are more of them, and neighbours are alike. Average a square of $s \times s$ neighbours. If the picture is smooth there, its
# value stays what it is. The noise does not: the average of $s^2$ independent noises has the variance
#
# $$
# \operatorname{Var}\!\left[ \frac{1}{s^2} \sum_{i=1}^{s^2} \varepsilon_i \right]
#   = \frac{1}{s^4} \sum_{i=1}^{s^2} \operatorname{Var}[\varepsilon_i] = \frac{1}{s^2} .
# $$ (forward-pooled)
#
# Your eye does this, and so does a figure that draws 512 pixels in the width of 170. A network does it too.

# %%
import math

from torch.nn.functional import avg_pool2d

eps = randn(*photograph.shape)
for side in (2, 4, 8):
    noise = avg_pool2d(eps, side).std()
    picture = avg_pool2d(photograph, side).std() / photograph.std()
    right = bool((noise * side - 1).abs() < 0.02)
    print(f"{side} x {side}: noise 1/{side}: {right}; picture {picture:.1f}")

# %% [markdown]
# So an average over $s \times s$ leaves the picture and lowers the noise level by the factor $s$. To hide the coarse structure of a
# picture that is $s$ times as large as well as before, the noise level must be $s$ times as high:
#
# $$
# \sigma_{t'} = s\, \sigma_t ,
# \qquad
# \log \operatorname{SNR}_{t'} = \log \operatorname{SNR}_t - 2 \log s .
# $$ (forward-shift)
#
# {cite:t}`hoogeboom2023simple` shift their schedule by this much when they train on larger pictures, and
# {cite:t}`chen2023importance` finds by experiment that larger pictures do best with noisier schedules. The cell noises the photograph
# at a quarter of a megapixel, averages it to $64 \times 64$, and compares with the photograph that was made small
# first. `time_of_sigma` finds the time $t'$ of {eq}`forward-shift`.

# %%
t, side = 250, 8
t_shifted = schedule.time_of_sigma(side * schedule.sigma_at(t))
moved = schedule.log_snr_at(t) - schedule.log_snr_at(t_shifted)
error = (moved - 2 * math.log(side)).abs()
print("log SNR moves by 2 log s:", bool(error < 1e-9))
print(f"t = {t} becomes t' = {t_shifted:.0f}")

small = avg_pool2d(photograph, side)
seen = {
    "small": noised(small, t),
    "large, same t": avg_pool2d(noised(photograph, t), side),
    "large, shifted t'": avg_pool2d(noised(photograph, t_shifted), side),
}
for name, time in zip(seen, (t, t, t_shifted), strict=True):
    seen[name] = seen[name] / schedule.alpha_bar_at(time).sqrt()
    print(f"{name}: noise level {(seen[name] - small).std():.2f}")

# %% mystnb={"image": {"alt": "Three pictures of the astronaut at 64 by 64. The small photograph noised at t = 250 is hard to make out. The large photograph noised at the same t and averaged is clear, with a light grain. The large photograph noised at the shifted time and averaged is as noisy as the first."}, "figure": {"caption": "Noised small; noised large at the same $t$, then averaged; noised large at the shifted $t'$, then averaged. The same $t$ hides far less of a large picture.", "name": "forward-pooling"}}
fade = schedule.alpha_bar_at(t).sqrt()  # all three as pale as x_t
image_grid(fade * torch.cat(list(seen.values())), list(seen), columns=5)
plt.show()

# %% [markdown]
# ## Four ways of saying the same
#
# Stand at a noisy picture $x_t$, at a known $t$. Whoever tells you its noise $\varepsilon$ also tells you the clean picture, because
# {eq}`forward-jump` can be solved for it. Networks have been trained to tell one of four things. Write
# $a = \sqrt{\bar\alpha_t}$ and $b = \sqrt{1 - \bar\alpha_t}$, so that $a^2 + b^2 = 1$:
#
# $$
# \begin{aligned}
# \text{noise} \quad & \varepsilon &&= \frac{x_t - a\, x_0}{b} , \\
# \text{clean picture} \quad & x_0 &&= \frac{x_t - b\, \varepsilon}{a} , \\
# \text{velocity} \quad & v &&= a\, \varepsilon - b\, x_0 , \\
# \text{score} \quad & \nabla_{x_t} \log q(x_t \mid x_0) &&= - \frac{\varepsilon}{b} .
# \end{aligned}
# $$ (forward-four)
#
# The **score** is the slope of the log-density: it points to where $x_t$ would be more probable. Its form follows from the
# logarithm of the Gaussian, $-\lVert x_t - a\, x_0 \rVert^2 / (2 b^2)$ plus a constant. Its slope is $-(x_t - a\, x_0) / b^2$, and
# $x_t - a\, x_0$ is $b\, \varepsilon$. It is the quantity of score-based models {cite}`song2019generative,song2021score`.
#
# The **velocity** {cite}`salimans2022progressive` has a picture. Since $a^2 + b^2 = 1$, there is an angle $\varphi$ with
# $a = \cos\varphi$ and $b = \sin\varphi$. The forward process turns $x_0$ into $\varepsilon$ along a quarter of a circle, and $v$ says
# how $x_t$ moves along it:
#
# $$
# x_t = \cos\varphi\; x_0 + \sin\varphi\; \varepsilon ,
# \qquad
# v = \frac{d x_t}{d \varphi} = \cos\varphi\; \varepsilon - \sin\varphi\; x_0 .
# $$ (forward-velocity)
#
# So $(x_t, v)$ is $(x_0, \varepsilon)$ turned by $\varphi$. To get back, turn by $-\varphi$:
#
# $$
# x_0 = \cos\varphi\; x_t - \sin\varphi\; v ,
# \qquad
# \varepsilon = \sin\varphi\; x_t + \cos\varphi\; v .
# $$ (forward-turn-back)
#
# The cell checks each line: the score by automatic differentiation, the velocity by a small step along the circle, and the way
# back by arithmetic. Then it compares all twelve ways from one to another with `minisd`.

# %%
import itertools

t, eps = 400, randn(*x_0.shape)
a, b = schedule.alpha_bar[t].sqrt(), (1 - schedule.alpha_bar[t]).sqrt()
x_t = schedule.q_sample(x_0, t, eps)
v, score = a * eps - b * x_0, -eps / b
print("eps:", torch.allclose((x_t - a * x_0) / b, eps))
print("x_0:", torch.allclose((x_t - b * eps) / a, x_0))

free = x_t.clone().requires_grad_()
log_q = normal(free, a * x_0, b**2).log().sum()
print("score:", torch.allclose(torch.autograd.grad(log_q, free)[0], score))

angle, h = torch.atan2(b, a), 1e-5
ahead = torch.cos(angle + h) * x_0 + torch.sin(angle + h) * eps
behind = torch.cos(angle - h) * x_0 + torch.sin(angle - h) * eps
print("velocity:", torch.allclose((ahead - behind) / (2 * h), v, atol=1e-8))
print("x_0 back:", torch.allclose(a * x_t - b * v, x_0))
print("eps back:", torch.allclose(b * x_t + a * v, eps))

values = {"eps": eps, "x0": x_0, "v": v, "score": score}
agree = 0
for source, target in itertools.permutations(values, 2):
    converted = schedule.convert(values[source], x_t, t, source, target)
    agree += torch.allclose(converted, values[target])
print(f"minisd agrees in {agree} of 12 conversions")

# %% mystnb={"image": {"alt": "Three pictures at t = 150. The noisy scene; the noise; and the velocity, which is noise with a negative of the scene in it."}, "figure": {"caption": "One moment, $t = 150$. The velocity is noise with a negative of the scene in it.", "name": "forward-velocity-picture"}}
t, eps = 150, eps[:1]
x_t = schedule.q_sample(x_0[:1], t, eps)
v = schedule.convert(eps, x_t, t, "eps", "v")
titles = ["$x_t$", r"noise $\varepsilon$", "velocity $v$"]
image_grid(torch.cat([x_t, eps, v]), titles, columns=5)
plt.show()

# %% [markdown]
# If they say the same, why does it matter which one a network learns? Because it errs, and the error changes size on the way. Let a network
# miss by $\delta$. Then the clean picture that follows from {eq}`forward-four` and {eq}`forward-turn-back` is off by
#
# $$
# \text{from } \varepsilon:\; - \frac{b}{a}\, \delta = - \sigma_t\, \delta ,
# \qquad
# \text{from } v:\; - b\, \delta .
# $$ (forward-errors)
#
# At small $t$ there is no difference. Near the end $\sigma_t$ is large: an error in the noise is multiplied by more than a hundred,
# while the velocity never makes an error larger. And a network that tells $x_0$ itself has its error as it is; but {cite:t}`ho2020denoising` saw worse samples with it early on, and stayed with the noise. {doc}`loss` shows where the noise comes from as a target.

# %%
x_0, eps, delta = randn(1000), randn(1000), 0.01
for t in (10, 500, 999):
    x_t = schedule.q_sample(x_0, t, eps)
    sigma, b = schedule.sigma_at(t), (1 - schedule.alpha_bar[t]).sqrt()
    v = schedule.convert(eps, x_t, t, "eps", "v")
    from_eps = schedule.convert(eps + delta, x_t, t, "eps", "x0") - x_0
    from_v = schedule.convert(v + delta, x_t, t, "v", "x0") - x_0
    right = ((from_eps + sigma * delta).abs() < 1e-9).all()
    right &= ((from_v + b * delta).abs() < 1e-9).all()
    print(f"t = {t}: as in the formula: {bool(right)};", end=" ")
    print(f"times {sigma:.2f} from eps, {b:.2f} from v")

# %% [markdown]
# ## Play
#
# Move the slider. Left is a scene; right are its numbers. Where is the last $t$ at which you can say what is in
# it, and what does the histogram look like there?

# %%
from minisd.widgets import slider

scene = to_x(scenes([0]).images)
eps = randn(*scene.shape)


def draw(t):
    x_t = schedule.q_sample(scene, t, eps)
    picture = (x_t[0].clamp(-1, 1).permute(1, 2, 0) + 1) / 2
    picture = (31 * picture).round() / 31  # fewer colours, a smaller page
    figure = plt.figure(figsize=(5.4, 2.1), layout="none")
    large = picture.repeat_interleave(3, 0).repeat_interleave(3, 1)
    figure.figimage(large, 12, 20)
    axes = figure.add_axes((0.47, 0.24, 0.5, 0.7))
    axes.hist(x_t.flatten(), 60, range=(-4, 4), density=True, alpha=0.5)
    axes.plot(grid, normal(grid, 0, 1), color="black", linewidth=1)
    axes.set(ylim=(0, 1.2), xlabel="numbers of $x_t$", ylabel="density")
    return figure


slider(
    draw,
    (-1, 40, 100, 200, 350, 600, 999),
    label="step t",
    caption="A scene and its numbers. They approach the Gaussian (line).",
    alt="A scene and the histogram of its numbers at step {}.".format,
    start=2,
)

# %% [markdown]
# ## Exercises
#
# ```{exercise} Half gone
# :label: forward-half
#
# For each of the three schedules: from which code `t` on is at least half of the variance of $x_t$ noise? What are SNR and $\sigma$ there?
# ```
#
# ```{solution-start} forward-half
# :class: dropdown
# ```
#
# Half of the variance is noise where $\bar\alpha_t = \frac12$. There the SNR is 1, its logarithm 0, and $\sigma = 1$. The
# cosine gets there half way, the others earlier.

# %%
for name, s in schedules.items():
    t = int((s.alpha_bar <= 0.5).nonzero()[0])
    snr, sigma = s.log_snr_at(t).exp(), s.sigma_at(t)
    print(f"{name}: t = {t}, SNR {snr:.2f}, sigma {sigma:.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} From anywhere to anywhere
# :label: forward-between
#
# Show that for $s < t$
#
# $$
# q(x_t \mid x_s) = \mathcal N\!\left(x_t;\; \sqrt{\bar\alpha_t / \bar\alpha_s}\; x_s,\; \left(1 - \bar\alpha_t / \bar\alpha_s\right) I\right) ,
# $$
#
# and check it with two jumps in a row.
# ```
#
# ```{solution-start} forward-between
# :class: dropdown
# ```
#
# The proof of {prf:ref}`forward-theorem` does not ask where a chain begins. Begin it at $x_s$: the product then runs over
# $\alpha_{s+1}, \dots, \alpha_t$, and that is $\bar\alpha_t / \bar\alpha_s$. Two jumps in a row, $0 \to s \to t$, must have the mean and
# the variance of one, $0 \to t$:

# %%
s, t = 200, 600
ratio = schedule.alpha_bar[t] / schedule.alpha_bar[s]
factor = ratio.sqrt() * schedule.alpha_bar[s].sqrt()
variance = ratio * (1 - schedule.alpha_bar[s]) + 1 - ratio
print("mean:    ", torch.allclose(factor, schedule.alpha_bar[t].sqrt()))
print("variance:", torch.allclose(variance, 1 - schedule.alpha_bar[t]))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The same process, not shrinking
# :label: forward-exploding
#
# Many papers write the forward process as $\tilde x_t = x_0 + \sigma_t\, \varepsilon$: the picture keeps its size, and the noise grows. {cite:t}`song2021score` call it *variance exploding*. What must you do to $x_t$ to get it, and what is its SNR?
# ```
#
# ```{solution-start} forward-exploding
# :class: dropdown
# ```
#
# Divide {eq}`forward-jump` by $\sqrt{\bar\alpha_t}$. The factor on $\varepsilon$ becomes $\sigma_t$. Dividing by a known number loses
# nothing, so the SNR is the same, $1 / \sigma_t^2$. The two are one process in two units. Many samplers are written in this one; `minisd`
# keeps $x_t$ and divides inside.

# %%
x_0, eps, t = randn(1000), randn(1000), 700
x_t, sigma = schedule.q_sample(x_0, t, eps), schedule.sigma_at(t)
divided = x_t / schedule.alpha_bar[t].sqrt()
print("the same:", torch.allclose(divided, x_0 + sigma * eps))
print("SNR:", torch.allclose(sigma**-2, schedule.log_snr_at(t).exp()))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} An end that is noise
# :label: forward-zero
#
# {cite:t}`lin2024common` mend a schedule like this: take $\sqrt{\bar\alpha_t}$, subtract its last value from all, and stretch
# the result so that its first value is what it was. Do this to Stable Diffusion's schedule. What is the last $\beta$? Can a network
# that predicts $\varepsilon$ do anything at the last step?
# ```
#
# ```{solution-start} forward-zero
# :class: dropdown
# ```
#
# From the new $\bar\alpha_t$ the betas follow as $\beta_t = 1 - \bar\alpha_t / \bar\alpha_{t-1}$. The last one is 1: the last step forgets
# everything. There $x_T$ is $\varepsilon$, so a network that predicts $\varepsilon$ has to copy its input, and $x_0$ does not follow from that.
# This is why Lin et al. let the network predict $v$, which at the end is $-x_0$.

# %%
root = schedules["scaled-linear"].alpha_bar.sqrt()
mended = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
before = torch.cat([torch.ones(1, dtype=torch.float64), mended[:-1]])
zero = NoiseSchedule(1 - mended / before)
first, last = zero.alpha_bar[0], zero.alpha_bar[-1]
print(f"alpha-bar {first:.5f} to {last:.5f}; last beta {zero.betas[-1]:.2f}")
try:
    zero.convert(eps, eps, 999, "eps", "x0")
except ValueError as error:
    print("from eps:", error)
v = zero.convert(x_0, zero.q_sample(x_0, 999, eps), 999, "x0", "v")
print("v is -x_0 at the end:", torch.allclose(v, -x_0))

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# - {cite:t}`sohl2015deep` introduced the process, with the tools of thermodynamics: destroy the structure of the data
#   slowly, and learn to bring it back.
# - {cite:t}`ho2020denoising` fixed the schedule, wrote the jump as {eq}`forward-jump`, and made it work for pictures.
# - {cite:t}`song2021score` let the steps become infinitely small: the chain becomes a stochastic differential equation, and
#   "variance preserving" is their word.
# - {cite:t}`kingma2021variational` describe a schedule by its SNR alone, and show that in continuous time the bound depends only on its
#   two ends.
# - {cite:t}`nichol2021improved` found the linear schedule to destroy small pictures too fast, and made the cosine; {cite:t}`chen2023importance` and {cite:t}`hoogeboom2023simple` found what large pictures need; {cite:t}`lin2024common` looked at the end.
#
# ## The way on
#
# The forward process makes noise of any picture, and you know all of it. {doc}`reverse` asks what it takes to walk the same way
# back.
