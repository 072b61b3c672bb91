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
# # The loss
#
# **You will be able to**
#
# - say why the likelihood of a picture cannot be computed, and derive a bound that can, step by step;
# - compute each term of the bound, and say when the bound is exact;
# - turn the bound into a squared error of noise, $L_\text{simple}$, and say what is thrown away on the road;
# - say what a network that minimises it has learned, and how small its loss can get.
#
# **Time** 50 minutes to read; the cells run in about 10 seconds.
#
# **Before this** {doc}`reverse`: the posterior $q(x_{t-1} \mid x_t, x_0)$, the best guess, the true reverse variance.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part I, Diffusion, at its third chapter of five, the loss."}, "figure": {"caption": "Where you are: the third chapter of Part I.", "name": "loss-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("loss")
plt.show()

# %% [markdown]
# As before, formulas count $t$ from 1 to $T$, and the code from 0: `t = 0` is the papers' $t = 1$.
#
# ## A likelihood that is an integral
#
# A model with parameters $\theta$ draws a picture by walking back from noise, as in {doc}`reverse`. It begins with
# $p(x_T) = \mathcal N(0, I)$, and each of its steps is a Gaussian
#
# $$
# p_\theta(x_{t-1} \mid x_t) = \mathcal N\!\left(x_{t-1};\ \mu_\theta(x_t, t),\ \sigma_t^2 I\right),
# $$ (loss-model)
#
# where $\mu_\theta$ is $\tilde\mu_t(x_t, \hat x_0)$ at the $\hat x_0$ that the network guesses, and $\sigma_t^2$ is a variance that you choose.
#
# Which $\theta$ is good? One that gives a high density $p_\theta(x_0)$ to the pictures in your collection: **maximum likelihood**. But the walk
# may have come to $x_0$ along any path, so its density is an integral over all paths $x_{1:T} = x_1, \ldots, x_T$:
#
# $$
# p_\theta(x_0) = \int p(x_T) \prod_{t=1}^{T} p_\theta(x_{t-1} \mid x_t)\; dx_1 \cdots dx_T .
# $$ (loss-likelihood)
#
# ```{admonition} A slip in the report
# :class: note
# Its section 5.4 writes "$\log_p \theta(X)$" for the log-likelihood. It is $\log p_\theta(X)$, and it is the model's. See
# {ref}`the errata <erratum-log-likelihood>`.
# ```
#
# On a line the integral can be done, by a grid: integrate out $x_T$, then $x_{T-1}$, and so on, each time a multiplication with a matrix. The model
# of the cell has $T = 10$ steps, $\sigma_t^2 = \beta_t$, and the perfect denoiser of the two-humped data of the last chapter.

# %%
import math

import torch

from minisd.diffusion import GaussianMixture, NoiseSchedule

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)  # threads do not pay on tensors this small

data = GaussianMixture(
    weights=torch.tensor([0.35, 0.65]),
    means=torch.tensor([[-1.0], [1.0]]),
    covariances=torch.tensor([[[0.09]], [[0.04]]]),
)
schedule = NoiseSchedule.cosine(10)
denoise = data.denoiser(schedule)
variance = schedule.betas


def same(a, b, within=1e-9):
    """Whether two results differ by no more than rounding."""
    return bool(torch.as_tensor(a - b).abs().max() < within)


def log_normal(x, mean, variance):
    variance = torch.as_tensor(variance)
    return -0.5 * ((x - mean) ** 2 / variance + (2 * math.pi * variance).log())


def model_mean(x_t, t):
    """mu_theta, for x_t of shape [B, 1]."""
    eps = denoise(x_t, torch.full(x_t.shape[:1], float(t)))
    guess = schedule.convert(eps, x_t, t, "eps", "x0")
    return schedule.posterior(guess, x_t, t)[0]


grid = torch.linspace(-6, 6, 1201)[:, None]
width = 0.01
p = log_normal(grid, 0, 1.0).exp()  # p(x_T)
for t in range(schedule.T - 1, -1, -1):
    means = model_mean(grid, t).T  # one column for each x_t
    p = log_normal(grid, means, variance[t]).exp() @ p * width
print(f"p(x_0) integrates to 1: {same(p.sum() * width, 1, 1e-6)}")

# %% [markdown]
# A grid in one dimension has 1,201 points. For a picture of $64 \times 64 \times 3$ numbers it would have $1201^{12288}$ of them. So the integral is out of
# reach, and you need something else to make large.
#
# ## A bound
#
# Multiply and divide under the integral {eq}`loss-likelihood` by the probability of the forward path, $q(x_{1:T} \mid x_0)$. The integral becomes an average over
# forward paths, and those you can draw:
#
# $$
# p_\theta(x_0) = \int q(x_{1:T} \mid x_0)\, \frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\, dx_{1:T}
# = \mathbb E_{q(x_{1:T} \mid x_0)}\left[ w \right], \qquad w = \frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)} .
# $$ (loss-weights)
#
# The logarithm is concave: the logarithm of an average is at least the average of the logarithms (Jensen's inequality). Therefore
#
# $$
# -\log p_\theta(x_0) = -\log \mathbb E_q[w] \;\le\; \mathbb E_q\left[-\log w\right] =: L .
# $$ (loss-bound)
#
# $L$ is the **variational bound**. What is lost? Write $p_\theta(x_{0:T}) = p_\theta(x_0)\, p_\theta(x_{1:T} \mid x_0)$ in $w$:
#
# $$
# \begin{aligned}
# L &= -\log p_\theta(x_0) + \mathbb E_q\left[\log \frac{q(x_{1:T} \mid x_0)}{p_\theta(x_{1:T} \mid x_0)}\right] \\
# &= -\log p_\theta(x_0) + D_\text{KL}\big(q(x_{1:T} \mid x_0)\, \Vert\, p_\theta(x_{1:T} \mid x_0)\big) .
# \end{aligned}
# $$ (loss-gap)
#
# The gap is a Kullback-Leibler divergence, which is never negative: it is 0 if the forward paths from $x_0$ are just the paths by which the model comes to $x_0$.
#
# The cell draws 20,000 forward paths from $x_0 = 0.9$. The average of $w$ must be the $p_\theta(x_0)$ of the grid, and the average of $-\log w$ must
# lie above its negative logarithm.

# %%
x_0 = 0.9
generator = torch.Generator().manual_seed(0)
path = [torch.full((20_000, 1), x_0)]
for t in range(schedule.T):
    eps = torch.randn(20_000, 1, generator=generator)
    path.append(schedule.q_step(path[-1], t, eps))  # path[i] is x_i

log_q = torch.zeros(20_000, 1)
log_p = log_normal(path[-1], 0, 1.0)
for t in range(schedule.T):
    before, after = path[t], path[t + 1]
    forward_mean = schedule.alphas[t].sqrt() * before
    log_q += log_normal(after, forward_mean, schedule.betas[t])
    log_p += log_normal(before, model_mean(after, t), variance[t])

log_w = log_p - log_q
on_grid = p[torch.searchsorted(grid[:, 0], x_0)]
by_paths = log_w.exp().mean()
print(f"mean of w is p(x_0), to 3 %: {same(by_paths / on_grid, 1, 0.03)}")
print(f"-log p(x_0):                {-on_grid.log().item():.1f}")
print(f"the bound, mean of -log w:  {-log_w.mean():.1f}")

# %% [markdown]
# ## The bound falls apart into steps
#
# Both paths are chains, so $\log w$ is a sum over steps. Pair the model's step *back* with the forward process seen *backwards*. For $t \ge 2$ the
# Markov property and Bayes' rule give
#
# $$
# q(x_t \mid x_{t-1}) = q(x_t \mid x_{t-1}, x_0) = q(x_{t-1} \mid x_t, x_0)\, \frac{q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)} .
# $$
#
# Multiply over $t = 2, \ldots, T$. In the fractions each numerator is the next one's denominator. All cancel but the last numerator and the first denominator:
#
# $$
# \prod_{t=2}^{T} \frac{q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)} = \frac{q(x_T \mid x_0)}{q(x_1 \mid x_0)} .
# $$
#
# The denominator meets the first step, $q(x_1 \mid x_0)$, which was left out of the product, and cancels too. So
#
# $$
# \begin{aligned}
# -\log w
# &= -\log \frac{p(x_T)\, \prod_{t=1}^{T} p_\theta(x_{t-1} \mid x_t)}{q(x_1 \mid x_0) \prod_{t=2}^{T} q(x_t \mid x_{t-1})} \\
# &= -\log \frac{p(x_T)\, \prod_{t=1}^{T} p_\theta(x_{t-1} \mid x_t)}{q(x_T \mid x_0) \prod_{t=2}^{T} q(x_{t-1} \mid x_t, x_0)} \\
# &= \log \frac{q(x_T \mid x_0)}{p(x_T)}
#  + \sum_{t=2}^{T} \log \frac{q(x_{t-1} \mid x_t, x_0)}{p_\theta(x_{t-1} \mid x_t)}
#  - \log p_\theta(x_0 \mid x_1) .
# \end{aligned}
# $$ (loss-telescope)
#
# This is no average yet: it holds for every single path. The cell checks it on each of the 20,000.

# %%
start = torch.full((20_000, 1), x_0)
a_T = schedule.alpha_bar[-1]
regrouped = log_normal(path[-1], a_T.sqrt() * x_0, 1 - a_T)
regrouped -= log_normal(path[-1], 0, 1.0)
for t in range(1, schedule.T):
    before, after = path[t], path[t + 1]
    q_mean, q_variance = schedule.posterior(start, after, t)
    regrouped += log_normal(before, q_mean, q_variance)
    regrouped -= log_normal(before, model_mean(after, t), variance[t])
regrouped -= log_normal(start, model_mean(path[1], 0), variance[0])
print(f"equal on each path: {same(regrouped, -log_w)}")

# %% [markdown]
# Now take the average over paths. In the term of step $t$, average over $x_{t-1}$ first, with $x_t$ and $x_0$ held: the average of $\log(q/p)$ under $q$
# is a Kullback-Leibler divergence. This is equation 5 of Ho et al. {cite}`ho2020denoising`:
#
# $$
# \begin{aligned}
# L ={} & \underbrace{D_\text{KL}\big(q(x_T \mid x_0) \Vert p(x_T)\big)}_{L_T}
# + \mathbb E_{x_1}\underbrace{\left[-\log p_\theta(x_0 \mid x_1)\right]}_{L_0} \\
# & + \sum_{t=2}^{T} \mathbb E_{x_t}\underbrace{D_\text{KL}\big(q(x_{t-1} \mid x_t, x_0) \Vert p_\theta(x_{t-1} \mid x_t)\big)}_{L_{t-1}} .
# \end{aligned}
# $$ (loss-terms)
#
# - $L_T$ asks how much the end of the forward process still tells of $x_0$. There is nothing to learn in it.
# - $L_{t-1}$ asks the model's step back to be the posterior: the step that knows $x_0$.
# - $L_0$ asks for the picture itself, at the last step.
#
# What is won: to train, you need not walk the whole path. Draw one $t$, jump to $x_t$, and look at one term.
#
# Every divergence in it is between two Gaussians, and has a closed form. For $q = \mathcal N(m_q, v_q)$ and $p = \mathcal N(m_p, v_p)$, with $\mathbb E_q[(x - m_q)^2] = v_q$ and
# $\mathbb E_q[(x - m_p)^2] = v_q + (m_q - m_p)^2$,
#
# $$
# \begin{aligned}
# D_\text{KL}(q \Vert p) &= \mathbb E_q[\log q - \log p] \\
# &= \mathbb E_q\left[-\tfrac12 \log v_q - \frac{(x - m_q)^2}{2 v_q} + \tfrac12 \log v_p + \frac{(x - m_p)^2}{2 v_p}\right] \\
# &= \tfrac12 \left[ \frac{v_q}{v_p} - 1 - \log \frac{v_q}{v_p} + \frac{(m_q - m_p)^2}{v_p} \right] .
# \end{aligned}
# $$ (loss-kl)
#
# The first three parts are 0 if the variances agree, the last one if the means do.

# %%
from minisd.diffusion import gaussian_kl

m_q, v_q, m_p, v_p = torch.tensor([0.3, 0.2, -0.1, 0.5])
ratio = v_q / v_p
formula = 0.5 * (ratio - 1 - ratio.log() + (m_q - m_p) ** 2 / v_p)
log_ratio = log_normal(grid, m_q, v_q) - log_normal(grid, m_p, v_p)
integral = (log_normal(grid, m_q, v_q).exp() * log_ratio).sum() * width
drawn = m_q + v_q.sqrt() * torch.randn(400_000, generator=generator)
by_chance = (log_normal(drawn, m_q, v_q) - log_normal(drawn, m_p, v_p)).mean()
print(f"formula and integral:      {same(formula, integral)}")
print(f"formula and draws, to 3 %: {same(by_chance / formula, 1, 0.03)}")
ours = gaussian_kl(m_q, v_q, m_p, v_p)
print(f"formula and minisd:        {same(formula, ours)}")

# %% [markdown]
# `minisd.diffusion.losses` has a function for each term, and `variational_bound` for their sum. Each takes the noise that makes $x_t$ out of $x_0$, so each is a random
# number whose mean is the term. In one dimension you can take the mean over the noise without drawing: by Gauss-Hermite quadrature, a sum over a few
# well-chosen values of $\varepsilon$. The cell does so for many $x_0$, and lays the bound beside the exact $-\log p_\theta(x_0)$ of the grid.

# %%
import numpy as np

from minisd.diffusion import variational_bound

nodes, weights = map(torch.tensor, np.polynomial.hermite_e.hermegauss(40))
weights = weights / weights.sum()

places = grid[400:801:8]  # from -2 to 2
every_x_0 = places.repeat_interleave(40, dim=0)
every_eps = nodes.repeat(len(places))[:, None]
terms = variational_bound(
    denoise, every_x_0, schedule, noise=lambda x: every_eps, variance=variance
)
bound = (terms.total.reshape(-1, 40) * weights).sum(dim=1)
exact = -p[400:801:8, 0].log()
print(f"the bound holds everywhere: {bool((bound >= exact).all())}")
at_x_0 = np.interp(x_0, places[:, 0], bound)
print(f"at 0.9 it is the mean of -log w: {same(at_x_0, -log_w.mean(), 0.03)}")

# %% mystnb={"image": {"alt": "Two curves over x_0 from minus 2 to 2: the exact negative log-likelihood with valleys at minus 1 and plus 1, and the variational bound, which follows the same valleys a little above it."}, "figure": {"caption": "The bound lies above the exact value everywhere, and has its valleys in the same places.", "name": "loss-bound-curve"}}
figure, axes = plt.subplots(figsize=(6.4, 2.9))
axes.plot(places, bound, label="variational bound")
axes.plot(places, exact, "--", label=r"exact $-\log p_\theta(x_0)$")
axes.set(xlabel="$x_0$", ylabel="nats")
axes.legend()
plt.show()

# %% [markdown]
# ## When nothing is lost
#
# The gap {eq}`loss-gap` is 0 if the model's walk back is the true reverse process. For Gaussian data it can be, at any number of steps, since there the true step
# back is a Gaussian: with the perfect denoiser, $\sigma_t^2$ the true reverse variance of {doc}`reverse`, and $p(x_T) = q(x_T)$. Then $p_\theta(x_0) = q(x_0)$,
# and
#
# $$
# L = -\log q(x_0) \quad \text{for every } x_0 .
# $$ (loss-tight)
#
# The check needs averages over $\varepsilon$ without an error. For Gaussian data the perfect denoiser is linear, so each term is a quadratic
# $k_0 + k_1\varepsilon + k_2\varepsilon^2$, whose average is $k_0 + k_2$. And the mean of its values at $\varepsilon = +1$ and $\varepsilon = -1$ is
# $k_0 + k_2$ as well. Two points, chosen well, give the exact average over all noise: they are Gauss-Hermite quadrature with two nodes.

# %%
from minisd.diffusion import true_reverse_variance

c = 0.25
bell = GaussianMixture(torch.ones(1), torch.zeros(1, 1), c * torch.ones(1, 1, 1))


def average_bound(x_0, schedule, variance, **prior):
    """The bound for each x_0 [B, 1], averaged over the noise exactly."""
    perfect, total = bell.denoiser(schedule), 0
    for side in (torch.ones_like(x_0), -torch.ones_like(x_0)):
        terms = variational_bound(
            perfect, x_0, schedule, lambda x, side=side: side, variance, **prior
        )
        total = total + terms.total / 2
    return total


x_0 = torch.tensor([[-1.3], [0.0], [0.2], [2.0]])
for T in (1, 2, 10, 100):
    short = NoiseSchedule.cosine(T)
    q_T = short.alpha_bar[-1] * c + 1 - short.alpha_bar[-1]
    true = true_reverse_variance(short, c)
    bound = average_bound(x_0, short, true, prior_variance=float(q_T))
    print(f"T = {T}: the bound is exact: {same(bound, -bell.log_prob(x_0))}")

# %% [markdown]
# ### What a wrong variance costs
#
# You do not know the true variance $v_t$, and choose $\beta_t$ or $\tilde\beta_t$. With the perfect denoiser, the mean square of $\tilde\mu_t - \mu_\theta$ is what
# the law of total variance added in {doc}`reverse`: $v_t - \tilde\beta_t$. So by {eq}`loss-kl` the average term is
#
# $$
# \mathbb E[L_{t-1}] = \tfrac12 \left[ \frac{\tilde\beta_t}{\sigma_t^2} - 1 - \log \frac{\tilde\beta_t}{\sigma_t^2} + \frac{v_t - \tilde\beta_t}{\sigma_t^2} \right]
# = \tfrac12 \left[ \frac{v_t}{\sigma_t^2} - 1 - \log \frac{\tilde\beta_t}{\sigma_t^2} \right] .
# $$
#
# Take off its value at $\sigma_t^2 = v_t$. What remains is the price of the wrong variance, and it is again a divergence of two Gaussians:
#
# $$
# \text{price}_t = \tfrac12 \left[ \frac{v_t}{\sigma_t^2} - 1 - \log \frac{v_t}{\sigma_t^2} \right]
# = D_\text{KL}\big(\mathcal N(0, v_t) \Vert \mathcal N(0, \sigma_t^2)\big) .
# $$ (loss-price)
#
# So the true reverse variance is the best one. There is one more price, for beginning at $\mathcal N(0, 1)$ and not at $q(x_T)$: the average of $\log q(x_T) - \log p(x_T)$, which
# is $D_\text{KL}(q(x_T) \Vert p(x_T))$. The least that any model can reach on average is the entropy of the data, $\tfrac12 \log(2 \pi e c)$. The cell
# checks that the average bound is the entropy plus all prices. At the last step $\tilde\beta_1 = 0$ would have no density, so its first entry is
# replaced by the second, as in the code that goes with Nichol and Dhariwal {cite}`nichol2021improved`.

# %%
from minisd.diffusion import clipped_posterior_variance

zero = torch.tensor(0.0)
entropy = 0.5 * math.log(2 * math.pi * math.e * c)
both_sides = torch.tensor([[c**0.5], [-(c**0.5)]])  # two points for x_0 too


def excess(short, variance):
    """How far the average bound lies above the entropy, in nats."""
    return average_bound(both_sides, short, variance).mean() - entropy


short = NoiseSchedule.cosine(20)
q_T = short.alpha_bar[-1] * c + 1 - short.alpha_bar[-1]
true = true_reverse_variance(short, c)
for name, variance in {
    "true": true,
    "beta": short.betas,
    "beta-tilde": clipped_posterior_variance(short),
}.items():
    prices = gaussian_kl(zero, true, zero, variance).sum()
    prices += gaussian_kl(zero, q_T, zero, torch.tensor(1.0))
    above = excess(short, variance)
    print(f"{name:<10} {above:.2f} nats above, all prices: {same(above, prices)}")

# %% [markdown]
# Does it help to take more steps?

# %% mystnb={"image": {"alt": "Log-log plot of the bound above the entropy over the number of steps from 2 to 200. The line for beta falls steadily, at last with slope minus 1, from 0.2 to 0.003 nats. The line for beta-tilde dips and then rises to about 0.9 near 35 steps, and is still at 0.7 with 200."}, "figure": {"caption": "With $\\beta_t$ the price halves when the steps are doubled. With the clipped $\\tilde\\beta_t$ more steps do not help. Gaussian data of variance 0.25, cosine schedule.", "name": "loss-price-over-steps"}}
numbers = [2, 5, 10, 20, 35, 60, 100, 200]
shorts = [NoiseSchedule.cosine(T) for T in numbers]
with_beta = [excess(s, s.betas) for s in shorts]
with_tilde = [excess(s, clipped_posterior_variance(s)) for s in shorts]
print(f"beta, 100 steps / 200 steps: {with_beta[-2] / with_beta[-1]:.1f}")

figure, axes = plt.subplots(figsize=(6.4, 2.9))
axes.loglog(numbers, with_beta, "o-", ms=4, label=r"$\beta_t$")
axes.loglog(numbers, with_tilde, "s-", ms=4, label=r"$\tilde\beta_t$, clipped")
axes.set(xlabel="number of steps T", ylabel="nats above the entropy")
axes.legend()
plt.show()

# %% [markdown]
# The reason stands at the clean end. There $\tilde\beta_t / \beta_t = (1 - \bar\alpha_{t-1}) / (1 - \bar\alpha_t)$ is far from 1 at the first few steps, however fine the steps
# are, and data that is spread out has a true variance near $\beta_t$. Samples look alike with both, as Ho et al. {cite}`ho2020denoising` found at 1,000 steps; the likelihood sees
# the difference, and Nichol and Dhariwal {cite}`nichol2021improved` learn the variance to gain there.
#
# ### Play
#
# Move the variance of the data. Where does each choice pay?

# %%
from minisd.widgets import slider


def draw(c):
    true = true_reverse_variance(short, c)
    figure, axes = plt.subplots(figsize=(6.4, 2.8))
    for name, variance, marker in (
        (r"$\beta_t$", short.betas, "o-"),
        (r"$\tilde\beta_t$, clipped", clipped_posterior_variance(short), "s-"),
    ):
        price = gaussian_kl(zero, true, zero, variance)
        label = f"{name}: {price.sum():.2f} nats in all"
        axes.plot(price, marker, ms=4, label=label)
    axes.set(xlabel="t", ylabel="price, nats", ylim=(1e-7, 100))
    axes.set(yscale="log", xticks=range(0, 20, 3))
    axes.legend(loc="upper right")
    return figure


slider(
    draw,
    [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0],
    label="data variance",
    caption="The price of a wrong variance, step by step, on a log scale. For data "
    "of unit variance $\\beta_t$ costs nothing. For data of variance 0.01 and less "
    "$\\tilde\\beta_t$ is the cheaper one.",
    alt="Price of both variances over t, for data of variance {:g}.".format,
    start=5,
)

# %% [markdown]
# ## From a divergence to a squared error of noise
#
# Now the mean. With $\sigma_t^2$ chosen and fixed, only the last part of {eq}`loss-kl` depends on the network. In as many dimensions as a picture has, the parts of the
# dimensions add up:
#
# $$
# L_{t-1} = \frac{1}{2 \sigma_t^2} \left\Vert \tilde\mu_t(x_t, x_0) - \mu_\theta(x_t, t) \right\Vert^2 + C_t ,
# $$ (loss-means)
#
# where $C_t$ does not depend on $\theta$. The last chapter wrote $\tilde\mu_t$ by the noise $\varepsilon$ that made $x_t$. The network predicts noise too, and $\mu_\theta$ has the same
# form:
#
# $$
# \tilde\mu_t = \frac{1}{\sqrt{\alpha_t}}\left(x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \varepsilon\right), \qquad
# \mu_\theta = \frac{1}{\sqrt{\alpha_t}}\left(x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \varepsilon_\theta(x_t, t)\right) .
# $$
#
# In the difference $x_t$ drops out, and this is equation 12 of Ho et al. {cite}`ho2020denoising`:
#
# $$
# L_{t-1} = \underbrace{\frac{\beta_t^2}{2 \sigma_t^2\, \alpha_t\, (1 - \bar\alpha_t)}}_{\lambda_t}\;
# \left\Vert \varepsilon - \varepsilon_\theta(x_t, t) \right\Vert^2 + C_t .
# $$ (loss-eps)
#
# The cell takes a network that is wrong on purpose, and compares {eq}`loss-eps` with the divergence that `denoising_term` computes.

# %%
from minisd.diffusion import denoising_term


def crooked(x_t, t):
    return 0.8 * x_t + 0.3 * torch.sin(3 * x_t)


long = NoiseSchedule.linear()  # 1,000 steps
x_0, eps = torch.randn(2, 16, 3, generator=generator)
tilde = long.posterior_variance
clipped = clipped_posterior_variance(long)
for name, variance in (("beta", long.betas), ("beta-tilde", clipped)):
    weight = long.betas**2 / (2 * variance * long.alphas * (1 - long.alpha_bar))
    for t in (1, 300, 999):
        x_t = long.q_sample(x_0, t, eps)
        error = ((eps - crooked(x_t, t)) ** 2).sum(dim=1)
        constant = 3 * gaussian_kl(zero, tilde[t], zero, variance[t])
        term = denoising_term(crooked, x_0, t, eps, long, variance)
        agree = same(weight[t] * error + constant, term)
        print(f"{name}, t = {t}: the same: {agree}")

# %% [markdown]
# So the long way round, by likelihoods, paths and divergences, ends at a task that you can hand to any network: here is a noisy picture, tell the noise.
#
# ## Dropping the weight
#
# Ho et al. {cite}`ho2020denoising` found that samples get better if the weight is left out:
#
# $$
# L_\text{simple} = \mathbb E_{t,\, x_0,\, \varepsilon}
# \left[ \left\Vert \varepsilon - \varepsilon_\theta\big(\sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon,\ t\big) \right\Vert^2 \right] ,
# $$ (loss-simple)
#
# with $t$ uniform on $1, \ldots, T$, $x_0$ from the data, and $\varepsilon$ standard normal, each drawn independently of the others.
#
# ```{admonition} Slips in the report
# :class: note
# Its $L_t^\text{simple}$ has an expectation "$t \sim [1, T] \mid x_0, \epsilon$", as if $x_0$ and $\epsilon$ were given, and a constant $C$, which belongs to {eq}`loss-eps` and not
# here. What is left out is the *weighting* term. See {ref}`the errata <erratum-simple-loss>`. And its $\alpha_t$ is $\bar\alpha_t$: see
# {ref}`the errata <erratum-alpha-bar>`.
# ```
#
# In code it is three lines. `simple_loss` of `minisd` takes the mean over the numbers of a picture in place of the sum, so that a loss does not
# grow with the size of the pictures.

# %%
from minisd.diffusion import simple_loss


def simple(denoise, x_0, t, eps, schedule):
    a = schedule.alpha_bar[t][:, None]
    x_t = a.sqrt() * x_0 + (1 - a).sqrt() * eps
    return ((eps - denoise(x_t, t)) ** 2).mean(dim=1)


t = torch.randint(1000, (16,), generator=generator)
ours, theirs = (f(crooked, x_0, t, eps, long) for f in (simple, simple_loss))
print(f"the same as minisd's: {same(ours, theirs)}")

# %% [markdown]
# ### What the weight was
#
# Dropping it changes what the network cares for. The weight $\lambda_t$ is largest at the last steps before the clean picture, and $L_\text{simple}$ takes that attention
# away from them and gives it to the noisy steps {cite}`ho2020denoising`.
#
# There is a way to see why the weight is what it is. Choose $\sigma_t^2 = \tilde\beta_t$, and use the form of $\tilde\mu_t$ that has $x_0$ in it. The difference of the means is
# $\frac{\sqrt{\bar\alpha_{t-1}} \beta_t}{1 - \bar\alpha_t} (x_0 - \hat x_0)$, so
#
# $$
# L_{t-1} = \frac{1}{2 \tilde\beta_t} \cdot \frac{\bar\alpha_{t-1} \beta_t^2}{(1 - \bar\alpha_t)^2} \left\Vert x_0 - \hat x_0 \right\Vert^2
# = \frac{\bar\alpha_{t-1} \beta_t}{2\, (1 - \bar\alpha_{t-1})(1 - \bar\alpha_t)} \left\Vert x_0 - \hat x_0 \right\Vert^2 .
# $$
#
# Let $\mathrm{SNR}(t) = \bar\alpha_t / (1 - \bar\alpha_t)$ be the signal-to-noise ratio. Since $\bar\alpha_{t-1} \beta_t = \bar\alpha_{t-1} - \bar\alpha_t$,
#
# $$
# \mathrm{SNR}(t-1) - \mathrm{SNR}(t)
# = \frac{\bar\alpha_{t-1} (1 - \bar\alpha_t) - \bar\alpha_t (1 - \bar\alpha_{t-1})}{(1 - \bar\alpha_{t-1})(1 - \bar\alpha_t)}
# = \frac{\bar\alpha_{t-1} - \bar\alpha_t}{(1 - \bar\alpha_{t-1})(1 - \bar\alpha_t)} ,
# $$
#
# and therefore, as Kingma et al. {cite}`kingma2021variational` found,
#
# $$
# L_{t-1} = \tfrac12 \big(\mathrm{SNR}(t-1) - \mathrm{SNR}(t)\big) \left\Vert x_0 - \hat x_0 \right\Vert^2 .
# $$ (loss-snr)
#
# Each term pays for the signal that its step brings back. In noise the same error is
# $\Vert x_0 - \hat x_0 \Vert^2 = \Vert \varepsilon - \varepsilon_\theta \Vert^2 / \mathrm{SNR}(t)$, so the weight of the noise error is
#
# $$
# \lambda_t = \tfrac12 \left( \frac{\mathrm{SNR}(t-1)}{\mathrm{SNR}(t)} - 1 \right)
# \approx \tfrac12 \big( \log \mathrm{SNR}(t-1) - \log \mathrm{SNR}(t) \big) ,
# $$ (loss-log-snr)
#
# the last for small steps. In words: the bound gives the same weight to every unit of log-SNR. It does not matter how the noise schedule divides the units among the steps.

# %%
snr = long.alpha_bar / (1 - long.alpha_bar)
weight = long.betas**2 / (2 * tilde * long.alphas * (1 - long.alpha_bar))
by_snr = 0.5 * (snr[:-1] / snr[1:] - 1)
print(f"half the relative gain of SNR: {same(weight[1:] / by_snr, 1)}")
by_log = 0.5 * (snr[:-1].log() - snr[1:].log())
late = (weight[1:] / by_log)[99:]
print(f"half the step in log-SNR, t >= 100, to 3 %: {same(late, 1, 0.03)}")

guess = torch.randn(16, 3, generator=generator)
for t in (1, 300, 999):
    half_gain = 0.5 * (snr[t - 1] - snr[t])
    network = long.as_denoiser(lambda x_t, t: guess, "x0")
    term = denoising_term(network, x_0, t, eps, long, clipped)
    error = half_gain * ((x_0 - guess) ** 2).sum(dim=1)
    print(f"t = {t}: half the gain, times the error: {same(term / error, 1)}")

# %% [markdown]
# A check of the last sentence: take the bound between two noise levels, for the Gaussian data and its perfect denoiser, on two schedules. The error left over is
# $\mathbb E \Vert \varepsilon - \varepsilon_\theta \Vert^2 = \bar\alpha_t c / (\bar\alpha_t c + 1 - \bar\alpha_t)$ (you will meet it again below), which is $c\,e^\ell / (c\,e^\ell + 1)$ for
# log-SNR $\ell$. The sum of the weighted errors goes to an integral that does not know the schedule:
#
# $$
# \sum_t \lambda_t\, \mathbb E \Vert \varepsilon - \varepsilon_\theta \Vert^2
# \approx \tfrac12 \int_{-6}^{6} \frac{c\,e^\ell}{c\,e^\ell + 1}\, d\ell
# = \tfrac12 \log \frac{1 + c\,e^{6}}{1 + c\,e^{-6}} .
# $$ (loss-integral)

# %%
integral = 0.5 * math.log((1 + c * math.exp(6)) / (1 + c * math.exp(-6)))
print(f"integral: {integral:.1f} nats")
cosine = NoiseSchedule.cosine(10_000)
linear = NoiseSchedule.linear(10_000, beta_start=1e-5, beta_end=2e-3)
for name, s in (("linear", linear), ("cosine", cosine)):
    level = (s.alpha_bar / (1 - s.alpha_bar)).log()
    weight = 0.5 * (level[:-1] - level[1:]).expm1()
    left = s.alpha_bar * c / (s.alpha_bar * c + 1 - s.alpha_bar)
    inside = (level[1:] > -6) & (level[1:] < 6)
    print(f"{name}:   {(weight * left[1:])[inside].sum():.1f} nats")

# %% mystnb={"image": {"alt": "Left: the weight of the bound over t on a log scale, for beta and beta-tilde. The two coincide: they begin near 1, fall to about 0.005 near t equal to 200 and rise slowly to 0.01. The simple loss is a flat line. Right: share of the steps per unit of log-SNR. The bound is flat. The simple loss with the linear schedule has its hump near minus 1 and a long tail to the left; with the cosine schedule its hump is taller, narrower and centred on 0."}, "figure": {"caption": "The bound treats every unit of log-SNR alike (right, flat). $L_\\text{simple}$ looks where its schedule spends its steps: the linear one at noisier pictures than the cosine one.", "name": "loss-weights-figure"}}
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3))
for name, variance in ((r"$\beta_t$", long.betas), (r"$\tilde\beta_t$", clipped)):
    weight = long.betas**2 / (2 * variance * long.alphas * (1 - long.alpha_bar))
    left.semilogy(weight, label=rf"bound, $\sigma_t^2$ = {name}")
left.axhline(0.01, color="k", ls="--", lw=1, label=r"$L_{simple}$ (any height)")
left.set(xlabel="t", ylabel="weight of the squared error")
left.legend(fontsize=7.5)

for name, s in (("linear", long), ("cosine", NoiseSchedule.cosine())):
    level = (s.alpha_bar / (1 - s.alpha_bar)).log()
    middle = (level[1:] + level[:-1]) / 2
    share = 1 / (1000 * (level[:-1] - level[1:]))
    right.plot(middle, share, label=f"$L_{{simple}}$, {name}")
right.axhline(0.05, color="k", ls="--", lw=1, label="bound (any height)")
right.set(xlabel="log-SNR", ylabel="share of the steps")
right.set(xlim=(-10, 10), ylim=(0, 0.25))
right.legend(fontsize=7.5)
plt.show()

# %% [markdown]
# So $L_\text{simple}$ is a bound with other weights, and the weights are the noise schedule's. The network that is best for every $t$ is the same for any weights, since
# each $t$ can be made best by itself. A network that has not enough parameters for that must choose, and the weights tell it where.
#
# ## The gradient
#
# Training follows the gradient of {eq}`loss-simple`. For the smallest network there is, $\varepsilon_\theta(x_t) = w x_t + b$, you can write it down:
#
# $$
# \frac{\partial L_\text{simple}}{\partial w} = -2\, \mathbb E\big[(\varepsilon - w x_t - b)\, x_t\big], \qquad
# \frac{\partial L_\text{simple}}{\partial b} = -2\, \mathbb E\big[\varepsilon - w x_t - b\big] .
# $$ (loss-gradient)
#
# The cell compares it with automatic differentiation, and with finite differences, which ask no calculus at all.


# %%
def loss_of(theta):
    w, b = theta
    return simple_loss(lambda x_t, t: w * x_t + b, x_0, t, eps, long).mean()


x_0, eps = torch.randn(2, 64, 1, generator=generator)
t = torch.randint(1000, (64,), generator=generator)
theta = torch.tensor([0.4, -0.1], requires_grad=True)
(automatic,) = torch.autograd.grad(loss_of(theta), theta)

w, b = theta.detach()
x_t = long.q_sample(x_0, t, eps)
miss = eps - w * x_t - b
by_hand = torch.stack([-2 * (miss * x_t).mean(), -2 * miss.mean()])

h = 1e-5
differences = []
for direction in torch.eye(2):
    up, down = (loss_of(theta.detach() + sign * h * direction) for sign in (1, -1))
    differences.append((up - down) / (2 * h))
differences = torch.stack(differences)
print(f"by hand and automatic:            {same(by_hand, automatic)}")
print(f"finite differences and automatic: {same(differences, automatic)}")

# %% [markdown]
# ## What the minimum is
#
# At one $t$, {eq}`loss-simple` asks for the function of $x_t$ with the smallest squared distance to $\varepsilon$. By the argument of the last chapter it is the conditional mean:
#
# $$
# \varepsilon_\theta(x_t, t) = \mathbb E[\varepsilon \mid x_t] = -\sqrt{1 - \bar\alpha_t}\; \nabla \log q(x_t) .
# $$ (loss-minimiser)
#
# The network never sees the score, nor a best guess. It sees noise that it could not have known, and the average that it learns *is* the score
# {cite}`vincent2011connection`. For Gaussian data of mean $m$ and variance $c$ the score is $-(x_t - \sqrt{\bar\alpha_t}\, m) / (\bar\alpha_t c + 1 - \bar\alpha_t)$, a straight line. So
# fit the line $w x_t + b$ to pairs $(x_t, \varepsilon)$ by least squares, and compare. What remains at the minimum is the part of $\varepsilon$ that $x_t$ does not tell:
#
# $$
# \min L = \mathrm{Var}[\varepsilon \mid x_t] = \frac{\bar\alpha_t\, c}{\bar\alpha_t\, c + 1 - \bar\alpha_t} .
# $$ (loss-floor)
#
# (The pair $(\varepsilon, x_t)$ is Gaussian with $\mathrm{Cov}[\varepsilon, x_t] = \sqrt{1 - \bar\alpha_t}$, and
# $\mathrm{Var}[\varepsilon \mid x_t] = 1 - \mathrm{Cov}^2 / \mathrm{Var}[x_t]$.)

# %%
m, n = 0.5, 400_000
x_0, eps = (
    m + c**0.5 * torch.randn(n, 1, generator=generator),
    torch.randn(n, 1, generator=generator),
)
for t in (50, 300, 700):
    x_t = long.q_sample(x_0, t, eps)
    columns = torch.cat([x_t, torch.ones_like(x_t)], dim=1)
    w, b = torch.linalg.lstsq(columns, eps).solution
    a = long.alpha_bar[t]
    slope = (1 - a).sqrt() / (a * c + 1 - a)
    fitted = same(w, slope, 0.01) and same(b, -slope * a.sqrt() * m, 0.01)
    left = ((eps - w * x_t - b) ** 2).mean()
    floor = a * c / (a * c + 1 - a)
    print(f"t = {t}: line {fitted}; floor {floor:.2f}, reached {left:.2f}")

# %% [markdown]
# Remember the floor when you train: a perfect network has a loss above 0, and near $\bar\alpha_t = 1$ it is near 1, since there $x_t$ tells almost nothing of its noise. A loss curve that
# flattens out is no sign of failure.
#
# For data that is not Gaussian the curve is not straight. Cut the $x_t$ axis into bins, average $\varepsilon$ in each, and the perfect denoiser appears out of
# nothing but pairs:

# %% mystnb={"image": {"alt": "A cloud of 3,000 grey points, the noise over x_t. Over it bin averages as dots, which lie on the exact curve of the perfect denoiser: a wave that rises, falls between the two humps, and rises again."}, "figure": {"caption": "Averages of the true noise in bins of $x_t$ (dots) lie on $\\mathbb{E}[\\varepsilon \\mid x_t]$ (line). Squared error makes a network find this line.", "name": "loss-bins"}}
x_0, _ = data.sample(n, generator, dtype=torch.float64)
t = 150
x_t = long.q_sample(x_0, t, eps)
edges = torch.linspace(-2.2, 2.2, 45)
bins = torch.bucketize(x_t[:, 0], edges)
averages = torch.stack([eps[bins == i].mean() for i in range(1, 45)])
centres = (edges[1:] + edges[:-1]) / 2
curve = data.denoiser(long)(centres[:, None], torch.full((44,), float(t)))
print(f"averages on the curve, to 0.1: {same(averages, curve[:, 0], 0.1)}")

figure, axes = plt.subplots(figsize=(6.4, 3.2))
axes.scatter(x_t[:3000], eps[:3000], s=2, color="#BBBBBB")
axes.plot(centres, curve, label=r"$E[\varepsilon\,|\,x_t]$, exact")
axes.plot(centres, averages, "o", ms=4, label="averages in bins")
axes.set(xlabel="$x_t$", ylabel=r"$\varepsilon$", xlim=(-2.2, 2.2))
axes.set(ylim=(-3, 3))
axes.legend()
plt.show()

# %% [markdown]
# ## Grey levels and bits
#
# One term is left, $L_0$. A picture is no density: each of its numbers is one of 256 levels, $x = -1 + 2k/255$ in the range $[-1, 1]$. Ho et al. {cite}`ho2020denoising` (equation 13) give
# each level the probability that the Gaussian of the last step puts into its bin, which reaches half way to the neighbours; the two outermost bins reach to infinity:
#
# $$
# p_\theta(x_0 \mid x_1) = \Phi\!\left(\frac{x_0 + \tfrac{1}{255} - \mu_\theta}{\sigma_1}\right) - \Phi\!\left(\frac{x_0 - \tfrac{1}{255} - \mu_\theta}{\sigma_1}\right) ,
# $$ (loss-decoder)
#
# with $\Phi$ the distribution function of the standard normal, 0 at $-\infty$ and 1 at $+\infty$. So the probabilities of the 256 levels add up to 1.

# %%
from torch.special import ndtr  # the function Phi

from minisd.diffusion import discretised_reconstruction_term

levels = torch.linspace(-1, 1, 256)[:, None]
upper, lower = levels + 1 / 255, levels - 1 / 255
upper[-1], lower[0] = torch.inf, -torch.inf
for mean, std in ((0.3, 0.02), (-0.995, 0.1), (1.0, 0.5)):
    formula = ndtr((upper - mean) / std) - ndtr((lower - mean) / std)
    # a network that always guesses `mean`: at the last step that is the mean
    guess = torch.full_like(levels, mean)
    network = long.as_denoiser(lambda x_t, t, guess=guess: guess, "x0")
    variance, eps = torch.full((1000,), std**2), torch.zeros(256, 1)
    nats = discretised_reconstruction_term(network, levels, eps, long, variance)
    agree = same((-nats).exp(), formula[:, 0])
    total = (-nats).exp().sum()
    print(f"mean {mean}, std {std}: agree: {agree}, sum is 1: {same(total, 1)}")

# %% [markdown]
# With probabilities in place of densities the bound has a meaning that anybody can check: it is the length of a code. A picture of probability $P$ can be stored in $-\log_2 P$ bits. A nat is
# $1/\log 2$ bits, and so that pictures of different sizes compare, one divides by their number $D$ of numbers:
#
# $$
# \text{bits per dimension} = \frac{L}{D \log 2} .
# $$ (loss-bits)
#
# A model that knows nothing gives every level $1/256$, and needs $\log 256 / \log 2 = 8$ bits a number: the size of the file before compression.

# %%
D = 64 * 64 * 3
nats = D * math.log(256)  # -log of (1/256)^D
print(f"bits per dimension: {nats / (D * math.log(2)):.1f}")

# %% [markdown]
# ## Exercises
#
# ```{exercise} What the other targets weigh
# :label: loss-targets
#
# Some networks predict $x_0$, others $v = \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 - \bar\alpha_t}\, x_0$. Show that at the same $x_t$ their squared errors are the squared error of the noise
# divided by $\mathrm{SNR}(t)$ and by $\bar\alpha_t$. What does a loss that is uniform in $v$ look at, compared with $L_\text{simple}$?
# ```
#
# ```{solution-start} loss-targets
# :class: dropdown
# ```
#
# At a given $x_t$, guess and noise hang together: $\hat x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \varepsilon_\theta) / \sqrt{\bar\alpha_t}$. The true pair obeys the same, so
# $x_0 - \hat x_0 = -\sqrt{(1 - \bar\alpha_t)/\bar\alpha_t}\; (\varepsilon - \varepsilon_\theta)$. Square it for the first claim. For the second,
# $v - \hat v = \sqrt{\bar\alpha_t}\, (\varepsilon - \varepsilon_\theta) - \sqrt{1 - \bar\alpha_t}\, (x_0 - \hat x_0)
# = \big(\sqrt{\bar\alpha_t} + \tfrac{1 - \bar\alpha_t}{\sqrt{\bar\alpha_t}}\big) (\varepsilon - \varepsilon_\theta) = (\varepsilon - \varepsilon_\theta) / \sqrt{\bar\alpha_t}$. Dividing by
# $\bar\alpha_t$ raises the weight where $\bar\alpha_t$ is small: a $v$ loss {cite}`salimans2022progressive` looks more at the noisiest steps.

# %%
x_0, eps = torch.randn(2, 5, 1, generator=generator)
for t in (20, 300, 900):
    a, x_t = long.alpha_bar[t], long.q_sample(x_0, t, eps)
    wrong = crooked(x_t, t)
    eps_error = (eps - wrong) ** 2
    x_0_error = (x_0 - long.convert(wrong, x_t, t, "eps", "x0")) ** 2
    v, wrong_v = (long.convert(e, x_t, t, "eps", "v") for e in (eps, wrong))
    of_x_0 = same(x_0_error / (eps_error * (1 - a) / a), 1)
    of_v = same((v - wrong_v) ** 2 / (eps_error / a), 1)
    print(f"t = {t}: x_0: {of_x_0}, v: {of_v}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A tighter bound
# :label: loss-tighter
#
# Average $k$ weights of {eq}`loss-weights` *before* you take the logarithm. Why is $-\mathbb E\big[\log \tfrac1k \sum_i w_i\big]$ still a bound, and why does it get tighter with $k$? Use the 20,000 weights
# of the first part.
# ```
#
# ```{solution-start} loss-tighter
# :class: dropdown
# ```
#
# The average of $k$ weights has the same mean, $p_\theta(x_0)$, so Jensen's inequality gives a bound again. The average scatters less than one weight, and what Jensen's inequality loses is due to the
# scatter: it would lose nothing on a constant. For $k \to \infty$ the average *is* the constant $p_\theta(x_0)$. Burda et al. {cite}`burda2016importance` train VAEs so.

# %%
print(f"-log p(x_0): {-on_grid.log().item():.2f}")
for k in (1, 5, 50):
    groups = log_w.reshape(-1, k)
    log_average = torch.logsumexp(groups, dim=1) - math.log(k)
    print(f"k = {k:>2}: {-log_average.mean():.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The price of being sure
# :label: loss-sure
#
# Your network's last guess of a number is off by 3 levels, always. Which standard deviation $\sigma_1$ in {eq}`loss-decoder` costs the fewest bits? What does half a level cost?
# ```
#
# ```{solution-start} loss-sure
# :class: dropdown
# ```
#
# By {eq}`loss-kl`, the best variance for an error $e$ is $e^2$, as for any Gaussian whose mean is off: about 3 levels. A model that is surer than it should be pays dearly, and one that is less sure pays a little.

# %%
level = 2 / 255
truth, eps = torch.tensor([[-1 + 2 * 130 / 255]]), torch.zeros(1, 1)
guess = truth + 3 * level
network = long.as_denoiser(lambda x_t, t: guess, "x0")


def bits(levels):
    variance = torch.full((1000,), (levels * level) ** 2)
    nats = discretised_reconstruction_term(network, truth, eps, long, variance)
    return float(nats / math.log(2))


choices = [0.1 * k for k in range(5, 100)]
print(f"best: {min(choices, key=bits):.1f} levels")
for levels in (0.5, 3.0, 10.0):
    print(f"std {levels:>4} levels: {bits(levels):.1f} bits")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# The bound is that of a variational autoencoder {cite}`kingma2014auto` with many layers and a fixed encoder; Luo {cite}`luo2022understanding` derives it at length. Sohl-Dickstein et al.
# {cite}`sohl2015deep` first trained with it, Ho et al. {cite}`ho2020denoising` found the noise prediction, the simple loss and the connection to score matching
# {cite}`hyvarinen2005estimation,vincent2011connection,song2019generative`. Nichol and Dhariwal {cite}`nichol2021improved` add a little of the bound back in, to learn variances. Kingma et al.
# {cite}`kingma2021variational` write it by the SNR alone, and show that it does not depend on the schedule between its ends.
#
# ## The way on
#
# You have a loss that any network can follow, and you know its minimum. The next chapter, {doc}`training`, follows it: on a line, in the plane, and on small pictures.
