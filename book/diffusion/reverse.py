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
# # The reverse process
#
# **You will be able to**
#
# - say what stands between you and the step back $q(x_{t-1} \mid x_t)$, and when that step is close to a Gaussian;
# - derive the step back that knows the clean picture, $q(x_{t-1} \mid x_t, x_0)$, and check it by brute force;
# - name the one function that is missing, and move between its three forms: clean picture, noise, score;
# - run the reverse chain with a perfect denoiser, and say which variance its steps need.
#
# **Time** 50 minutes to read; the cells run in about 15 seconds.
#
# **Before this** {doc}`forward`: one step of noise, and the jump to any step.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part I, Diffusion, at its second chapter of five, the reverse process."}, "figure": {"caption": "Where you are: the second chapter of Part I.", "name": "reverse-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("reverse")
plt.show()

# %% [markdown]
# In formulas $t$ counts from 1 to $T$, as in the papers, and $x_0$ is the data. In the code a time is an index from 0:
# it is one less than the papers' $t$, and $-1$ is the clean end. So `t = 199` in a cell is step 200 of the papers.
#
# ## One number, two humps
#
# You know how to go forward: $q(x_t \mid x_{t-1}) = \mathcal N(x_t; \sqrt{1 - \beta_t}\, x_{t-1}, \beta_t)$.
# To make pictures out of noise you need to go back. What is $q(x_{t-1} \mid x_t)$?
#
# Begin in one dimension, where a computer can try everything. The data is a mixture of two Gaussians: one number in
# three is drawn around $-1$, the others around $+1$. `GaussianMixture` of `minisd` knows its density at every noise
# level, because a Gaussian that is shrunk and blurred is a Gaussian again:
#
# $$
# q(x_t) = \sum_k w_k\, \mathcal N\!\left(x_t;\ \sqrt{\bar\alpha_t}\, m_k,\ \bar\alpha_t v_k + 1 - \bar\alpha_t\right),
# $$ (reverse-marginal)
#
# where $w_k$, $m_k$ and $v_k$ are weight, mean and variance of component $k$, and $\bar\alpha_t$ is the share of the
# variance that is still data. The cell compares {eq}`reverse-marginal` with the integral
# $\int q(x_0)\, q(x_t \mid x_0)\, dx_0$, taken on a grid.

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
grid = torch.linspace(-6, 6, 2401)
width = grid[1] - grid[0]


def normal(x, mean, variance):
    height = 1 / math.sqrt(2 * math.pi * variance)
    return height * torch.exp(-((x - mean) ** 2) / (2 * variance))


def density(alpha_bar):
    return data.log_prob(grid[:, None], alpha_bar).exp()


def same(a, b, within=1e-9):
    """Whether two results differ by no more than rounding."""
    return bool(torch.as_tensor(a - b).abs().max() < within)


q_0 = density(1.0)
for alpha_bar in (0.9, 0.5, 0.01):
    centres = math.sqrt(alpha_bar) * grid
    q_t_given_0 = normal(grid[:, None], centres, 1 - alpha_bar)
    integral = (q_t_given_0 * q_0).sum(dim=1) * width
    agree = same(integral, density(alpha_bar))
    print(f"alpha_bar {alpha_bar}: formula and integral agree: {agree}")

# %% [markdown]
# ## Why the way back is unknown
#
# Bayes' rule turns the step around:
#
# $$
# q(x_{t-1} \mid x_t) = \frac{q(x_t \mid x_{t-1})\; q(x_{t-1})}{q(x_t)} .
# $$ (reverse-bayes)
#
# The first factor is the forward step, and you know it. The other two are densities of noisy *data*:
# $q(x_{t-1}) = \int q(x_0)\, q(x_{t-1} \mid x_0)\, dx_0$ needs $q(x_0)$, the distribution that all pictures in the
# world are drawn from. Nobody has that. You have samples of it.
#
# ```{admonition} A slip in the report
# :class: note
# Its section 5.3 says that $q(x_{t-1} \mid x_t)$ needs "knowledge about the entire trajectory". It does not: the chain is
# Markov, and {eq}`reverse-bayes` has no other steps in it. What is unknown is the distribution of the data. See
# {ref}`the errata <erratum-trajectory>`.
# ```
#
# In one dimension, with a mixture that you chose yourself, you can compute {eq}`reverse-bayes` on the grid. A check
# comes first: if you average the step back over all $x_t$, you must land on $q(x_{t-1})$ again,
#
# $$
# \int q(x_{t-1} \mid x_t)\, q(x_t)\, dx_t = q(x_{t-1}) .
# $$ (reverse-consistent)

# %%
alpha_bar_before = 0.9  # of the variance of x_{t-1}, 90 % is data
q_before = density(alpha_bar_before)


def step_back_on_grid(x_t, beta):
    """q(x_{t-1} | x_t) by Bayes' rule, for every x_{t-1} of the grid."""
    joint = normal(x_t, math.sqrt(1 - beta) * grid, beta) * q_before
    return joint / (joint.sum() * width)


beta = 0.2
q_after = density(alpha_bar_before * (1 - beta))
averaged = torch.zeros_like(grid)
for x_t, q in zip(grid, q_after, strict=True):
    averaged += q * width * step_back_on_grid(x_t, beta)
print(f"lands on q(x_(t-1)): {same(averaged, q_before)}")

# %% [markdown]
# Now look at it. You stand at $x_t = 0.1$, between the humps. Where did you come from, if the last step was large, or
# medium, or small?


# %% mystnb={"image": {"alt": "Three panels, each with the density of x at t minus 1 given x at t equal to 0.1. With beta 0.5 it has two humps, a smaller one left and a larger one right. With beta 0.1 it has one lopsided hump with a shoulder on the left. With beta 0.005 it is a narrow bell that coincides with the dashed Gaussian."}, "figure": {"caption": "A large step has two possible origins. A small step has one, and its density is nearly the dashed Gaussian of the same mean and variance.", "name": "reverse-kernels"}}
def moments(p):
    """Mean, variance and skewness of a density on the grid."""
    mean = (p * grid).sum() * width
    variance = (p * (grid - mean) ** 2).sum() * width
    skewness = (p * (grid - mean) ** 3).sum() * width / variance**1.5
    return mean, variance, skewness


figure, panels = plt.subplots(1, 3, figsize=(6.4, 2.5))
steps = ((0.5, 2.2), (0.1, 1.4), (0.005, 0.4))
for axes, (beta, reach) in zip(panels, steps, strict=True):
    p = step_back_on_grid(0.1, beta)
    mean, variance, _ = moments(p)
    axes.fill_between(grid, p, alpha=0.3)
    axes.plot(grid, p, label="exact")
    gaussian = normal(grid, mean, variance)
    axes.plot(grid, gaussian, "k--", lw=1.2, label="Gaussian")
    axes.axvline(0.1, color="grey", lw=1, ls=":")
    axes.set(title=rf"$\beta_t = {beta}$", xlabel="$x_{t-1}$")
    axes.set(xlim=(0.1 - reach, 0.1 + reach), ylim=(0, None), yticks=[])
panels[0].set(ylabel="density")
panels[0].legend(loc="upper left", fontsize=7)
plt.show()

# %% [markdown]
# ### When is the step back a Gaussian?
#
# Take the logarithm of {eq}`reverse-bayes`, as a function of $x = x_{t-1}$:
#
# $$
# \log q(x \mid x_t) = -\frac{(x_t - \sqrt{1-\beta_t}\, x)^2}{2 \beta_t} + \log q(x) + \text{const} .
# $$ (reverse-log-bayes)
#
# The first term keeps $x$ within a few $\sqrt{\beta_t}$ of $x_t$. There you may replace $\ell(x) = \log q(x)$ by its
# Taylor series around $x_t$. Its constant, linear and quadratic terms leave {eq}`reverse-log-bayes` a quadratic, and the
# exponential of a quadratic is a Gaussian. The first term that disturbs is the cubic one. With $x - x_t = \sqrt{\beta_t}\, u$
# it is
#
# $$
# \tfrac16\, \ell'''(x_t)\, (x - x_t)^3 = \tfrac16\, \ell'''(x_t)\, \beta_t^{3/2}\, u^3 .
# $$
#
# A density proportional to $\exp(-u^2/2 + \kappa u^3/6)$ has, for small $\kappa$, the skewness $\kappa$ (since
# $\mathbb E[u^6]/6 - \mathbb E[u^4]\,\mathbb E[u^2]/2 = 15/6 - 3/2 = 1$), and its Kullback-Leibler divergence from the
# Gaussian of the same mean and variance is $\kappa^2/12$. So, as $\beta_t$ falls,
#
# $$
# \text{skewness} \approx \ell'''(x_t)\, \beta_t^{3/2}, \qquad
# \mathrm{KL} \approx \tfrac1{12}\, \ell'''(x_t)^2\, \beta_t^3 .
# $$ (reverse-limit)
#
# Both vanish, but no step of any finite size is exactly Gaussian. The cell measures both and compares them with
# {eq}`reverse-limit`.

# %%
betas = torch.logspace(-4, -0.2, 20)
skewness, divergence = torch.zeros(20), torch.zeros(20)
for i, beta in enumerate(betas):
    p = step_back_on_grid(0.1, beta)
    mean, variance, skewness[i] = moments(p)
    log_gauss = -((grid - mean) ** 2) / (2 * variance)
    log_gauss -= 0.5 * (2 * math.pi * variance).log()
    divergence[i] = (torch.special.xlogy(p, p) - p * log_gauss).sum() * width

h = 0.02  # third derivative of log q by central differences
around = torch.tensor([[0.1 - 2 * h], [0.1 - h], [0.1 + h], [0.1 + 2 * h]])
weights = torch.tensor([-0.5, 1, -1, 0.5])
third = weights @ data.log_prob(around, alpha_bar_before) / h**3
expected_skewness = third * betas**1.5
expected_divergence = third**2 * betas**3 / 12
print(f"skewness, by expected: {skewness[0] / expected_skewness[0]:.1f}")
print(f"KL, by expected:       {divergence[0] / expected_divergence[0]:.1f}")

# %% mystnb={"image": {"alt": "Log-log plot over the step size beta from 0.0001 to 0.6. The size of the skewness rises with slope 1.5 and the KL divergence with slope 3, each along its dashed prediction up to beta about 0.01, then both bend and level off."}, "figure": {"caption": "Each time a small step is made ten times smaller, its divergence from a Gaussian gets a thousand times smaller. Dashed: the expectation for small steps.", "name": "reverse-gaussian-limit"}}
figure, axes = plt.subplots(figsize=(6.4, 3))
axes.loglog(betas, divergence, "o-", ms=4, label="KL from the Gaussian, nats")
axes.loglog(betas, skewness.abs(), "s-", ms=4, label="|skewness|")
axes.loglog(betas, expected_divergence, "k--", lw=1)
axes.loglog(betas, expected_skewness.abs(), "k--", lw=1)
axes.set(xlabel=r"$\beta_t$", ylim=(1e-9, 10))
axes.legend()
plt.show()

# %% [markdown]
# ```{admonition} A slip in the report
# :class: note
# Section 5.3 says that for small $\beta_t$ the step back "will also have a Gaussian distribution". It has one in the limit
# $\beta_t \to 0$ only, which is how Sohl-Dickstein et al. {cite}`sohl2015deep` state it, after Feller {cite}`feller1949theory`.
# For data that is itself Gaussian it holds at every step size. See {ref}`the errata <erratum-gaussian-reverse>`.
# ```
#
# This is why a diffusion model takes many small steps: it may then use a Gaussian for each of them, and a Gaussian is a
# mean and a variance. The rest of this chapter finds both.
#
# ## If you knew the clean picture
#
# Suppose somebody tells you $x_0$. Bayes' rule, with $x_0$ given everywhere:
#
# $$
# q(x_{t-1} \mid x_t, x_0) = \frac{q(x_t \mid x_{t-1}, x_0)\; q(x_{t-1} \mid x_0)}{q(x_t \mid x_0)}
# = \frac{q(x_t \mid x_{t-1})\; q(x_{t-1} \mid x_0)}{q(x_t \mid x_0)} .
# $$ (reverse-bayes-given)
#
# The second equality is the Markov property: once you know $x_{t-1}$, the next step does not care what $x_0$ was. Now all
# three factors are Gaussians that you know from {doc}`forward`. With $\alpha_t = 1 - \beta_t$, and as a function of $x_{t-1}$:
#
# $$
# -2 \log q(x_{t-1} \mid x_t, x_0)
# = \frac{(x_t - \sqrt{\alpha_t}\, x_{t-1})^2}{\beta_t}
# + \frac{(x_{t-1} - \sqrt{\bar\alpha_{t-1}}\, x_0)^2}{1 - \bar\alpha_{t-1}} + \text{const} .
# $$
#
# A sum of two squares in $x_{t-1}$ is a quadratic $a\, x_{t-1}^2 - 2 b\, x_{t-1} + \text{const}$, so the density is a Gaussian,
# whatever the size of the step. Collect what multiplies $x_{t-1}^2$ and $x_{t-1}$:
#
# $$
# a = \frac{\alpha_t}{\beta_t} + \frac{1}{1 - \bar\alpha_{t-1}}, \qquad
# b = \frac{\sqrt{\alpha_t}}{\beta_t}\, x_t + \frac{\sqrt{\bar\alpha_{t-1}}}{1 - \bar\alpha_{t-1}}\, x_0 .
# $$
#
# Complete the square: $a\, x^2 - 2 b\, x = a\,(x - b/a)^2 - b^2/a$. So the variance is $1/a$ and the mean is $b/a$. On
# one denominator,
#
# $$
# \begin{aligned}
# a &= \frac{\alpha_t (1 - \bar\alpha_{t-1}) + \beta_t}{\beta_t (1 - \bar\alpha_{t-1})}
#    = \frac{\alpha_t - \bar\alpha_t + 1 - \alpha_t}{\beta_t (1 - \bar\alpha_{t-1})}
#    = \frac{1 - \bar\alpha_t}{\beta_t (1 - \bar\alpha_{t-1})},
# \end{aligned}
# $$
#
# where $\alpha_t \bar\alpha_{t-1} = \bar\alpha_t$ and $\beta_t = 1 - \alpha_t$. Hence
#
# $$
# \tilde\beta_t = \frac1a = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\, \beta_t, \qquad
# \tilde\mu_t(x_t, x_0) = \frac ba = \frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t}\, x_0
# + \frac{\sqrt{\alpha_t}\,(1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t .
# $$ (reverse-posterior)
#
# These are equations 6 and 7 of Ho et al. {cite}`ho2020denoising`. In many dimensions the noise is independent in each, so
# the same formulas hold pixel by pixel.
#
# The cell multiplies the two Gaussians on a fine grid, takes the mean and the variance, and compares them with
# {eq}`reverse-posterior` and with `NoiseSchedule.posterior`.

# %%
schedule = NoiseSchedule.linear()  # 1,000 steps, Ho et al.
betas, alphas = schedule.betas, schedule.alphas
alpha_bars = schedule.alpha_bar
fine = torch.linspace(-4, 4, 400_001)
x_0, x_t = torch.tensor([-0.4]), torch.tensor([0.7])
for t in (1, 10, 199, 999):
    beta, alpha = betas[t], alphas[t]
    a_t, a_before = alpha_bars[t], alpha_bars[t - 1]

    log_p = -((x_t - alpha.sqrt() * fine) ** 2) / (2 * beta)
    log_p -= (fine - a_before.sqrt() * x_0) ** 2 / (2 * (1 - a_before))
    p = log_p.softmax(dim=0)
    grid_mean = (p * fine).sum()
    grid_variance = (p * (fine - grid_mean) ** 2).sum()

    on_x_0 = a_before.sqrt() * beta / (1 - a_t)
    on_x_t = alpha.sqrt() * (1 - a_before) / (1 - a_t)
    mean = on_x_0 * x_0 + on_x_t * x_t
    variance = (1 - a_before) / (1 - a_t) * beta

    bayes = same(mean, grid_mean) and same(variance, grid_variance)
    minisd_mean, minisd_variance = schedule.posterior(x_0, x_t, t)
    package = same(mean, minisd_mean) and same(variance, minisd_variance)
    print(f"t = {t}: equals Bayes: {bayes}, equals minisd: {package}")

# %% [markdown]
# ### The same mean, by way of the noise
#
# From $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon$ follows
# $x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \varepsilon) / \sqrt{\bar\alpha_t}$. Put it into $\tilde\mu_t$, and note that
# $\sqrt{\bar\alpha_{t-1}} / \sqrt{\bar\alpha_t} = 1/\sqrt{\alpha_t}$:
#
# $$
# \begin{aligned}
# \tilde\mu_t &= \frac{\beta_t}{\sqrt{\alpha_t}\,(1 - \bar\alpha_t)} \left(x_t - \sqrt{1 - \bar\alpha_t}\, \varepsilon\right)
#   + \frac{\alpha_t (1 - \bar\alpha_{t-1})}{\sqrt{\alpha_t}\,(1 - \bar\alpha_t)}\, x_t \\
# &= \frac{1}{\sqrt{\alpha_t}} \left( \frac{\beta_t + \alpha_t - \bar\alpha_t}{1 - \bar\alpha_t}\, x_t
#   - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \varepsilon \right)
#  = \frac{1}{\sqrt{\alpha_t}} \left( x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \varepsilon \right) .
# \end{aligned}
# $$ (reverse-mean-eps)
#
# Read it aloud: take away a little of the noise, then undo the shrinking.

# %%
generator = torch.Generator().manual_seed(0)
x_0, eps = torch.randn(2, 8, generator=generator)
for t in (1, 10, 199, 999):
    x_t = schedule.q_sample(x_0, t, eps)
    share = betas[t] / (1 - alpha_bars[t]).sqrt()
    by_eps = (x_t - share * eps) / alphas[t].sqrt()
    by_x_0, _ = schedule.posterior(x_0, x_t, t)
    print(f"t = {t}: the two means agree: {same(by_eps, by_x_0)}")

# %% [markdown]
# ```{admonition} A slip in the report
# :class: note
# Its Algorithm 2 has $\frac{1-\alpha_t}{\sqrt{1-\alpha_t}}$ in this place, without the bar. It is
# $\frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}$, as in {eq}`reverse-mean-eps` with $\beta_t = 1 - \alpha_t$. The last exercise shows
# what the slip does to the samples. See {ref}`the errata <erratum-alpha-bar>`.
# ```
#
# ### Longer strides
#
# Nothing in the derivation needs the two times to be neighbours. For any $s < t$ the jump from $x_s$ to $x_t$ is a step too:
# it shrinks by $\sqrt{\alpha_{t|s}}$ and adds variance $1 - \alpha_{t|s}$, with $\alpha_{t|s} = \bar\alpha_t / \bar\alpha_s$.
# So put $\alpha_{t|s}$ for $\alpha_t$, $1 - \alpha_{t|s}$ for $\beta_t$, and $\bar\alpha_s$ for $\bar\alpha_{t-1}$:
#
# $$
# \begin{aligned}
# \text{mean of } q(x_s \mid x_t, x_0) &= \frac{\sqrt{\bar\alpha_s}\,(1 - \alpha_{t|s})}{1 - \bar\alpha_t}\, x_0
# + \frac{\sqrt{\alpha_{t|s}}\,(1 - \bar\alpha_s)}{1 - \bar\alpha_t}\, x_t, \\
# \text{variance} &= \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}\,(1 - \alpha_{t|s}) .
# \end{aligned}
# $$ (reverse-stride)
#
# A check that uses only single steps: walk from $t$ down to $s$ one by one, with $x_0$ known. Each step is
# $x \leftarrow c_0 x_0 + c_t x + \text{noise}$, so mean and variance can be followed without drawing anything. They must
# arrive at {eq}`reverse-stride`.

# %%
t, s = 700, 640
x_0, x_t = torch.tensor([-0.4]), torch.tensor([0.7])
mean, variance = x_t, torch.tensor(0.0)
for i in range(t, s, -1):
    slope, _ = schedule.posterior(torch.zeros(1), torch.ones(1), i)  # c_t
    mean, step_variance = schedule.posterior(x_0, mean, i)
    variance = slope**2 * variance + step_variance
stride_mean, stride_variance = schedule.posterior(x_0, x_t, t, t_prev=s)
print(f"60 steps, one stride: same mean:     {same(mean, stride_mean)}")
print(f"60 steps, one stride: same variance: {same(variance, stride_variance)}")

# %% [markdown]
# ## What is missing
#
# You do not know $x_0$; it is what you want to make. You only have a distribution of clean pictures that might have led
# to $x_t$, namely $q(x_0 \mid x_t)$. The step back averages over them:
#
# $$
# q(x_{t-1} \mid x_t) = \int q(x_{t-1} \mid x_t, x_0)\; q(x_0 \mid x_t)\; dx_0 .
# $$ (reverse-average)
#
# Its mean is the average of the means, and $\tilde\mu_t$ is linear in $x_0$, so the average moves inside:
#
# $$
# \mathbb E[x_{t-1} \mid x_t] = \mathbb E\big[\tilde\mu_t(x_t, x_0) \mid x_t\big]
# = \tilde\mu_t\big(x_t,\ \mathbb E[x_0 \mid x_t]\big) .
# $$ (reverse-mean)
#
# So one function of $x_t$ and $t$ is missing, and no more: $\mathbb E[x_0 \mid x_t]$, the average of all clean pictures that
# could hide behind this noisy one. The cell computes it on the grid and checks {eq}`reverse-mean` against the exact step back.


# %%
def clean_on_grid(x_t, alpha_bar):
    """q(x_0 | x_t) for every x_0 of the grid."""
    joint = q_0 * normal(x_t, math.sqrt(alpha_bar) * grid, 1 - alpha_bar)
    return joint / (joint.sum() * width)


beta = 0.1
two_steps = NoiseSchedule([1 - alpha_bar_before, beta])  # to 0.9, then beta
for x_t in (-1.5, 0.1, 0.8):
    average, _, _ = moments(clean_on_grid(x_t, two_steps.alpha_bar[1]))
    by_average, _ = two_steps.posterior(average[None], torch.tensor([x_t]), 1)
    exact, _, _ = moments(step_back_on_grid(x_t, beta))
    print(f"x_t = {x_t}: same mean: {same(by_average, exact)}")

# %% [markdown]
# ### It is also the best guess
#
# How would you learn such a function from samples? Ask for the guess $c$ with the smallest expected squared error. Write
# $m = \mathbb E[x_0 \mid x_t]$, and put it in between:
#
# $$
# \begin{aligned}
# \mathbb E\big[(x_0 - c)^2 \mid x_t\big]
# &= \mathbb E\big[(x_0 - m + m - c)^2 \mid x_t\big] \\
# &= \mathbb E\big[(x_0 - m)^2 \mid x_t\big] + 2 (m - c)\, \underbrace{\mathbb E\big[x_0 - m \mid x_t\big]}_{=\,0} + (m - c)^2 \\
# &= \mathrm{Var}[x_0 \mid x_t] + (m - c)^2 .
# \end{aligned}
# $$ (reverse-best-guess)
#
# The first term does not depend on $c$, so the best guess is $c = m$. Squared error has the conditional mean as its minimum:
# this is why a network trained by squared error learns exactly what {eq}`reverse-mean` asks for.

# %%
p = clean_on_grid(0.1, 0.5)
m, variance, _ = moments(p)
for c in (-1.0, float(m), 0.3):
    error = (p * (grid - c) ** 2).sum() * width
    print(f"error is Var + (m - c)^2: {same(error, variance + (m - c) ** 2)}")

# %% [markdown]
# The best guess is not a likely picture. At $x_t = 0.1$ it lies between the humps, where hardly any data is: it is an average of
# two kinds of data, and in pictures an average looks blurred. {numref}`reverse-guesses` shows it for every $x_t$.

# %% mystnb={"image": {"alt": "Five curves of the best guess of x_0 over x_t from minus 3 to 3. With little noise the curve follows the diagonal near minus 1 and plus 1 and jumps between them; with more noise the jump is a gentle slope; with most noise the curve is almost flat at 0.3, the mean of the data."}, "figure": {"caption": "The less noise, the more decided the guess: from the mean of all data (flat) to a choice between the humps (a staircase).", "name": "reverse-guesses"}}
denoise = data.denoiser(schedule)  # perfect: x_t, t -> E[eps | x_t]
x_t = torch.linspace(-3, 3, 301)[:, None]


def guess(x_t, t):
    """E[x_0 | x_t] by the mixture's perfect denoiser."""
    eps = denoise(x_t, torch.full(x_t.shape[:1], float(t)))
    return schedule.convert(eps, x_t, t, "eps", "x0")


figure, axes = plt.subplots(figsize=(6.4, 3.2))
for i, t in enumerate((60, 150, 300, 500, 900)):
    label = rf"t = {t}, $\bar\alpha$ = {alpha_bars[t]:.2f}"
    axes.plot(x_t, guess(x_t, t), color=plt.cm.viridis(i / 4.6), label=label)
axes.set(xlabel="$x_t$", ylabel=r"best guess $\mathbb{E}[x_0 \mid x_t]$")
axes.set(ylim=(-2, 2))
axes.legend()
plt.show()

# %% [markdown]
# ### The score: a third name for the same function
#
# The gradient of the log-density, $\nabla \log q(x_t)$, is called the **score**. It points to where noisy data is denser. Differentiate
# $q(x_t) = \int q(x_0)\, \mathcal N(x_t; \sqrt{\bar\alpha_t}\, x_0, 1 - \bar\alpha_t)\, dx_0$ by $x_t$, under the integral:
#
# $$
# \begin{aligned}
# \nabla q(x_t) &= -\int q(x_0)\, \mathcal N(\ldots)\, \frac{x_t - \sqrt{\bar\alpha_t}\, x_0}{1 - \bar\alpha_t}\, dx_0 , \\
# \nabla \log q(x_t) = \frac{\nabla q(x_t)}{q(x_t)}
# &= -\frac{x_t - \sqrt{\bar\alpha_t}\, \mathbb E[x_0 \mid x_t]}{1 - \bar\alpha_t} ,
# \end{aligned}
# $$
#
# because $q(x_0)\, \mathcal N(\ldots) / q(x_t)$ is $q(x_0 \mid x_t)$. Solve for the guess, and then for the noise
# $\varepsilon = (x_t - \sqrt{\bar\alpha_t}\, x_0) / \sqrt{1 - \bar\alpha_t}$:
#
# $$
# \mathbb E[x_0 \mid x_t] = \frac{x_t + (1 - \bar\alpha_t)\, \nabla \log q(x_t)}{\sqrt{\bar\alpha_t}}, \qquad
# \mathbb E[\varepsilon \mid x_t] = -\sqrt{1 - \bar\alpha_t}\; \nabla \log q(x_t) .
# $$ (reverse-tweedie)
#
# The left one is **Tweedie's formula** {cite}`robbins1956empirical,efron2011tweedie`. It says that a denoiser and a score are
# the same thing; Vincent {cite}`vincent2011connection` made it a way to train. The cell takes the score by finite differences of
# `log_prob`, the averages on the grid, and compares.

# %%
h = 1e-5
for t in (20, 200, 600):
    a = alpha_bars[t]
    x_t = torch.tensor([[-1.2], [0.1], [0.9]])
    score = (data.log_prob(x_t + h, a) - data.log_prob(x_t - h, a)) / (2 * h)
    x_0 = torch.stack([moments(clean_on_grid(x, a))[0] for x in x_t[:, 0]])
    eps = (x_t[:, 0] - a.sqrt() * x_0) / (1 - a).sqrt()
    tweedie = (x_t[:, 0] + (1 - a) * score) / a.sqrt()
    x_0_agrees = same(tweedie, x_0, 1e-7)
    eps_agrees = same(-(1 - a).sqrt() * score, eps, 1e-7)
    minisd_eps = denoise(x_t, torch.full((3,), float(t)))[:, 0]
    minisd_score = data.score(x_t, a)[:, 0]
    package = same(minisd_score, score, 1e-7) and same(minisd_eps, eps)
    print(f"t = {t}: x_0 {x_0_agrees}, eps {eps_agrees}, minisd {package}")

# %% [markdown]
# Three networks could be trained: one that guesses the clean picture, one that guesses the noise, one that guesses the score.
# Knowing one you know all, by {eq}`reverse-tweedie`; `NoiseSchedule.convert` does the arithmetic, and
# `NoiseSchedule.as_denoiser` turns any of them into the kind that the samplers of this book take, the noise.
#
# ## How wide is the step?
#
# The mean is settled. What about the variance of $q(x_{t-1} \mid x_t)$? By the law of total variance it is the average of the
# variance given $x_0$, plus the variance of the mean given $x_0$:
#
# $$
# \begin{aligned}
# \mathrm{Var}[x_{t-1} \mid x_t]
# &= \mathbb E\big[\tilde\beta_t \mid x_t\big] + \mathrm{Var}\big[\tilde\mu_t(x_t, x_0) \mid x_t\big] \\
# &= \tilde\beta_t + \left(\frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t}\right)^{\!2} \mathrm{Var}[x_0 \mid x_t] .
# \end{aligned}
# $$ (reverse-variance)
#
# In the second line, $\tilde\beta_t$ is a constant, and $\tilde\mu_t$ moves with $x_0$ by the factor that {eq}`reverse-posterior` gives it.
# So $\tilde\beta_t$ is a lower bound. What comes on top is what $x_t$ leaves open about $x_0$.
#
# For Gaussian data of variance $c$ you can work it out. Knowing $x_t$ adds precision $\bar\alpha_t / (1 - \bar\alpha_t)$ to the
# precision $1/c$ that the data has by itself:
#
# $$
# \mathrm{Var}[x_0 \mid x_t] = \left(\frac1c + \frac{\bar\alpha_t}{1 - \bar\alpha_t}\right)^{-1}
# = \frac{c\,(1 - \bar\alpha_t)}{\bar\alpha_t\, c + 1 - \bar\alpha_t} .
# $$ (reverse-open)
#
# Two special cases are the two choices of Ho et al. {cite}`ho2020denoising`. For $c = 0$, data that is one point, nothing is open, and
# the variance is $\tilde\beta_t$. For $c = 1$ the denominator of {eq}`reverse-open` is 1, and {eq}`reverse-variance` becomes
#
# $$
# \frac{\beta_t}{1 - \bar\alpha_t} \big( 1 - \bar\alpha_{t-1} + \bar\alpha_{t-1} \beta_t \big)
# = \frac{\beta_t}{1 - \bar\alpha_t} \big( 1 - \bar\alpha_{t-1} (1 - \beta_t) \big) = \beta_t .
# $$ (reverse-variance-one)
#
# Between them, for $0 < c < 1$, the truth lies between $\tilde\beta_t$ and $\beta_t$; for data wider than the noise it lies above
# $\beta_t$. The cell takes the variance by Bayes' rule on the grid and compares it with {eq}`reverse-variance` and with
# `true_reverse_variance`.

# %%
from minisd.diffusion import true_reverse_variance

x_t, t = 0.3, 199
beta, a_t, a_before = betas[t], alpha_bars[t], alpha_bars[t - 1]
beta_tilde = schedule.posterior_variance[t]
for c in (0.04, 0.25, 1.0, 4.0):
    log_p = -((x_t - (1 - beta).sqrt() * fine) ** 2) / (2 * beta)
    log_p -= fine**2 / (2 * (a_before * c + 1 - a_before))  # q(x_{t-1})
    p = log_p.softmax(dim=0)
    brute = (p * fine**2).sum() - (p * fine).sum() ** 2

    still_open = c * (1 - a_t) / (a_t * c + 1 - a_t)
    formula = beta_tilde + a_before * (beta / (1 - a_t)) ** 2 * still_open
    package = true_reverse_variance(schedule, c)[t]
    agree = same(formula, brute) and same(package, brute)
    between = bool(beta_tilde < formula) and bool(formula <= beta + 1e-12)
    print(f"c = {c}: agrees: {agree}, between beta-tilde and beta: {between}")

# %% mystnb={"image": {"alt": "The true variance of the step back divided by beta, over t, for a schedule of 20 steps. The curve for c equal to 1 is flat at 1. Those for c equal to 0.25 and 0.04 dip below 1, to 0.89 and 0.69, and come back. The dashed curve of beta-tilde begins at 0 for t equal to 0 and rises towards 1."}, "figure": {"caption": "The choices part at the last steps before the clean picture, where $\\tilde\\beta_t$ says 0 and the data says otherwise. 20 steps, cosine schedule.", "name": "reverse-variances"}}
short = NoiseSchedule.cosine(20)
figure, axes = plt.subplots(figsize=(6.4, 2.8))
for c in (1.0, 0.25, 0.04):
    ratio = true_reverse_variance(short, c) / short.betas
    axes.plot(ratio, "o-", ms=3, label=f"true, data variance {c:g}")
ratio = short.posterior_variance / short.betas
axes.plot(ratio, "k--", label=r"$\tilde\beta_t$, true for one point")
axes.set(xlabel="t", ylabel=r"variance / $\beta_t$")
axes.set(ylim=(0, 1.1), xticks=range(0, 20, 3))
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# ## Walk back
#
# You have a mean and a variance, so you can walk. Start at noise, $x_T \sim \mathcal N(0, 1)$, and step back $T$ times. This is Algorithm 2 of
# Ho et al. {cite}`ho2020denoising`, with $\sigma_t^2 = \tilde\beta_t$, and with the perfect denoiser of the mixture in place of a
# network. At the last step $\tilde\beta_1 = 0$, so no noise is added there.


# %%
def draw_from(seed):
    """Standard normal noise shaped like what is asked for."""
    generator = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=generator)


noise = draw_from(1)
x = noise(torch.empty(2000, 1))
path = [x]
for t in range(999, -1, -1):
    eps = denoise(x, torch.full((2000,), float(t)))
    share = betas[t] / (1 - alpha_bars[t]).sqrt()
    x = (x - share * eps) / alphas[t].sqrt()
    if t > 0:
        x = x + schedule.posterior_variance[t].sqrt() * noise(x)
    path.append(x)
path = torch.stack(path)[:, :, 0]  # [1001, 2000], from noise to clean

# %% [markdown]
# `minisd.diffusion.sample` with the sampler `"ddpm"` takes the same steps. And the samples must have the density of the data: compare the
# share of samples below each value with the exact one.

# %%
from minisd.diffusion import sample

noise = draw_from(1)
x_T = noise(torch.empty(2000, 1))
ours = sample(denoise, x_T, schedule, 1000, "ddpm", noise=noise)
print(f"the same samples: {same(ours[:, 0], path[-1], 1e-6)}")

exact_below = torch.cumsum(q_0, dim=0) * width
share_below = torch.searchsorted(path[-1].sort().values, grid) / 2000
print(f"shares agree to 5 %: {same(exact_below, share_below, 0.05)}")

# %% mystnb={"image": {"alt": "Left: eight paths from noise at t equal to 1000 to clean at t equal to 0, over a shaded density that is one wide band at the left and splits into two narrow bands at minus 1 and plus 1 at the right. Right: histogram of the 2,000 end points, which fills the exact two-humped density."}, "figure": {"caption": "The paths wander through the noise, choose a hump in the last third, and end in the density of the data (black line).", "name": "reverse-paths"}}
figure, panels = plt.subplots(
    1, 2, figsize=(6.4, 3), sharey=True, gridspec_kw={"width_ratios": (3, 1)}
)
left, right = panels
steps_back = torch.arange(1000, -1, -1)  # the papers' t
levels = schedule.alpha_bar_at(steps_back[::10] - 1)
heat = torch.stack([density(alpha_bar) for alpha_bar in levels], dim=1)
middle = slice(600, 1801, 6)  # from -3 to 3
colour = heat[middle].sqrt()
left.pcolormesh(steps_back[::10], grid[middle], colour, cmap="Blues")
left.plot(steps_back, path[:, :8], lw=0.7, color="#D55E00")
left.set(xlabel="papers' t", ylabel="$x_t$", xlim=(1000, 0), ylim=(-3, 3))
left.grid(False)
bars = {"bins": 60, "range": (-3, 3), "density": True, "color": "#E8B08A"}
right.hist(path[-1].numpy(), orientation="horizontal", **bars)
right.plot(q_0, grid, "k", lw=1.2)
right.set(xlabel="density")
plt.show()

# %% [markdown]
# ### In two dimensions
#
# The same code walks in the plane. The data is six slanted blades; a clean sample is two numbers. The slider shows the cloud at each time,
# and beside it what the denoiser believes.


# %%
def directions(angles):
    return torch.stack([torch.cos(angles), torch.sin(angles)], dim=1)


angles = torch.arange(6) * (2 * math.pi / 6)
points = directions(angles + 0.9)  # where each blade points
thin = points[:, :, None] * points[:, None, :]
blades = GaussianMixture(
    weights=torch.ones(6),
    means=1.3 * directions(angles),
    covariances=0.12 * thin + 0.004 * torch.eye(2),
)

# %%
from minisd.diffusion import sample_steps
from minisd.widgets import slider

noise = draw_from(2)
x_T = noise(torch.empty(400, 2))
perfect = blades.denoiser(schedule)
steps = list(sample_steps(perfect, x_T, schedule, 1000, "ddpm", noise=noise))
blade = blades.posterior(steps[-1].x_t).argmax(dim=1)  # where each path ends


def show(t):
    step = steps[999 - t]
    figure, panels = plt.subplots(1, 2, figsize=(6.4, 3.1))
    panels[0].set(title="the cloud after this step")
    panels[1].set(title="best guess of $x_0$ at this step")
    for axes, cloud in zip(panels, (step.x_t, step.x_0), strict=True):
        axes.scatter(*cloud.T, c=blade, s=5, cmap="Dark2", vmax=7)
        axes.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal")
    return figure


slider(
    show,
    [999, 700, 500, 400, 300, 220, 150, 100, 60, 30, 0],
    label="t",
    caption="400 paths, coloured by the blade that each will end in. At first "
    "every best guess is near the middle of the data. The guesses reach the "
    "blades long before the cloud does.",
    alt="Two scatter plots at t = {}: the cloud on its way from noise to six "
    "blades, and the best guess of the clean point for each point.".format,
    start=4,
)

# %% [markdown]
# At large $t$ a best guess is the mean of all data, and it is of no use as a picture; as a direction for one small step it is right. That is the whole
# trick of diffusion: many small steps, each towards an average, none of which goes there.
#
# ## Few steps, and which variance
#
# A thousand steps are slow. Take 5 or 20 strides, by {eq}`reverse-stride`, and the choice of the variance begins to matter.
#
# A stride is a step of a shorter schedule, whose steps have $\beta = 1 - \bar\alpha_t / \bar\alpha_s$. So all formulas of this
# chapter hold for the short schedule. For Gaussian data of variance $c$ every step back is linear, since
#
# $$
# \mathbb E[\varepsilon \mid x_t] = \frac{\sqrt{1 - \bar\alpha_t}}{\bar\alpha_t c + 1 - \bar\alpha_t}\; x_t ,
# $$ (reverse-gaussian-eps)
#
# by {eq}`reverse-tweedie` with the score $-x_t / (\bar\alpha_t c + 1 - \bar\alpha_t)$. So you can follow the variance of the samples exactly, without
# drawing any: a step with slope $A$ and noise $\sigma^2$ takes variance $v$ to $A^2 v + \sigma^2$. The first cell checks this against the sampler.


# %%
def strided(steps):
    """The schedule of every so many steps of the long one."""
    kept = alpha_bars[schedule.times(steps).long().flip(0)]
    return NoiseSchedule(1 - kept / torch.cat([torch.ones(1), kept[:-1]]))


def final_variance(short, variance, c):
    """Variance of what the reverse chain makes of N(0, 1), data variance c."""
    v = torch.tensor(1.0)
    for t in range(short.T - 1, -1, -1):
        a = short.alpha_bar[t]
        slope = (1 - short.betas[t] / (a * c + 1 - a)) / short.alphas[t].sqrt()
        v = slope**2 * v + variance[t]
    return v


c, short = 0.25, strided(20)
bell = GaussianMixture(torch.ones(1), torch.zeros(1, 1), c * torch.ones(1, 1, 1))
bell_denoise = bell.denoiser(schedule)

x_t, a = torch.tensor([[0.7]]), alpha_bars[300]
slope = (1 - a).sqrt() / (a * c + 1 - a)
eps = bell_denoise(x_t, torch.tensor([300.0]))
print(f"the perfect eps is this line: {same(eps, slope * x_t)}")

noise = draw_from(3)
x_T = noise(torch.empty(40_000, 1))
drawn = sample(bell_denoise, x_T, schedule, 20, "ddpm", noise=noise)
followed = final_variance(short, short.posterior_variance, c)
print(f"variance as drawn, to 3 %: {same(drawn.var() / followed, 1, 0.03)}")


# %%
def choices(short, c):
    """Three variances; the first two add no noise at the last step."""
    no_noise_last = (torch.arange(short.T) > 0).double()
    return {
        "beta-tilde": short.posterior_variance,
        "beta": short.betas * no_noise_last,
        "true": true_reverse_variance(short, c),
    }


print("standard deviation of the samples / that of the data")
for steps in (5, 20, 1000):
    short = strided(steps)
    for name, variance in choices(short, c).items():
        ratio = (final_variance(short, variance, c) / c).sqrt()
        print(f"{steps:>5} steps, {name:<10} {ratio:.2f}")

# %% mystnb={"image": {"alt": "Spread of the samples relative to the data over the number of steps, from 2 to 1000. The true variance gives exactly 1 everywhere. Beta-tilde rises from about 0.15 at 2 steps to 0.8 at 20 and 0.99 at 1000. Beta rises from about 0.15, passes 1 near 11 steps, overshoots by 3 per cent and comes back to 1."}, "figure": {"caption": "With the true variance the spread is right at any number of steps. $\\tilde\\beta_t$ is always too narrow; $\\beta_t$ is too narrow with few steps and a little too wide with more. Gaussian data of variance 0.25.", "name": "reverse-few-steps"}}
numbers = [2, 3, 5, 8, 12, 20, 35, 60, 100, 200, 500, 1000]
figure, axes = plt.subplots(figsize=(6.4, 3))
for name, marker in (("true", "o"), ("beta", "s"), ("beta-tilde", "^")):
    spread = []
    for n in numbers:
        short = strided(n)
        variance = choices(short, c)[name]
        spread.append((final_variance(short, variance, c) / c).sqrt())
    axes.semilogx(numbers, spread, marker + "-", ms=4, label=name)
axes.set(xlabel="number of steps", ylabel="spread / right spread")
axes.set(ylim=(0, 1.15))
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# The right variance depends on the data, so nobody can know it beforehand. Two ways out: learn it, between $\tilde\beta_t$ and $\beta_t$
# {cite}`nichol2021improved`, or estimate it from the score: averaged over $x_t$, the best variance is a formula
# in the mean squared score {cite}`bao2022analytic`.
#
# For data that is not Gaussian there is a second loss: with large strides the step back has humps, as in {numref}`reverse-kernels`, and no single
# Gaussian has. So the two-humped data comes out wrong with few steps whatever the variance:

# %% mystnb={"image": {"alt": "Three histograms of samples of the two-humped data with 5, 20 and 1000 steps, over the exact density. With 5 steps there is a tall thin spike at plus 1, and samples lie all over the empty place between the humps. With 20 steps both humps are in place but too narrow. With 1000 steps histogram and density agree."}, "figure": {"caption": "The same denoiser, which is perfect, with 5, 20 and 1000 steps and the variance $\\tilde\\beta_t$: only small steps give back the data (black line).", "name": "reverse-few-steps-mixture"}}
figure, panels = plt.subplots(1, 3, figsize=(6.4, 2.4), sharey=True)
for axes, steps in zip(panels, (5, 20, 1000), strict=True):
    noise = draw_from(4)
    x_T = noise(torch.empty(2000, 1))
    drawn = sample(denoise, x_T, schedule, steps, "ddpm", noise=noise)
    bars = {"bins": 80, "range": (-2, 2), "density": True, "color": "#8DB9D9"}
    axes.hist(drawn[:, 0].numpy(), **bars)
    axes.plot(grid, q_0, "k", lw=1.2)
    axes.set(title=f"{steps} steps", xlabel="$x_0$", xlim=(-2, 2))
panels[0].set(ylabel="density")
plt.show()

# %% [markdown]
# ## In continuous time
#
# Let the steps become infinitely many and infinitely small. The forward chain becomes a stochastic differential equation,
# $dx = -\tfrac12 \beta(t)\, x\, dt + \sqrt{\beta(t)}\, dW$, where $dW$ is the increment of a Wiener process. Anderson {cite}`anderson1982reverse` showed in
# 1982 that such a process, run backwards, is again one of the same kind. Song et al. {cite}`song2021score` found in it the reverse process of
# diffusion models. For one small step back of size 1 it says
#
# $$
# x_{t-1} \approx x_t + \tfrac12 \beta_t\, x_t + \beta_t\, \nabla \log q(x_t) + \sqrt{\beta_t}\; z , \qquad z \sim \mathcal N(0, 1) .
# $$ (reverse-anderson)
#
# Our mean {eq}`reverse-mean-eps`, with the score for the noise, is $(x_t + \beta_t \nabla \log q(x_t)) / \sqrt{1 - \beta_t}$. Since
# $1/\sqrt{1 - \beta} = 1 + \beta/2 + \ldots$, the two differ by terms of order $\beta_t^2$: half the step must leave a quarter of the difference.

# %%
x_t = torch.tensor([[0.4]])
score = data.score(x_t, 0.5)
apart = []
for beta in (0.002, 0.001):
    chain = (x_t + beta * score) / math.sqrt(1 - beta)
    equation = x_t + beta / 2 * x_t + beta * score
    apart.append(float((chain - equation).abs()))
print(f"difference at beta / at half of it: {apart[0] / apart[1]:.1f}")

# %% [markdown]
# The last chapter of this part, {doc}`samplers`, comes back to the score, and goes down without any noise at all.
#
# ## Exercises
#
# ```{exercise} Two points
# :label: reverse-two-points
#
# Let the data be $-1$ or $+1$, with equal chance. Derive $\mathbb E[x_0 \mid x_t]$, and check it against `GaussianMixture` with covariances of 0.
# ```
#
# ```{solution-start} reverse-two-points
# :class: dropdown
# ```
#
# By Bayes' rule the chance of $+1$ is proportional to $\exp(-(x_t - \sqrt{\bar\alpha_t})^2 / (2 (1 - \bar\alpha_t)))$, and that of $-1$ has a plus sign inside.
# What they do not share is $\exp(\pm \sqrt{\bar\alpha_t}\, x_t / (1 - \bar\alpha_t))$. So the mean, chance of $+1$ minus chance of $-1$, is
# $(e^u - e^{-u}) / (e^u + e^{-u}) = \tanh u$ with $u = \sqrt{\bar\alpha_t}\, x_t / (1 - \bar\alpha_t)$.

# %%
two = GaussianMixture(
    weights=torch.ones(2),
    means=torch.tensor([[-1.0], [1.0]]),
    covariances=torch.zeros(2, 1, 1),
)
x_t, t = torch.linspace(-2, 2, 9)[:, None], 300
eps = two.denoiser(schedule)(x_t, torch.full((9,), float(t)))
u = alpha_bars[t].sqrt() * x_t / (1 - alpha_bars[t])
print(same(schedule.convert(eps, x_t, t, "eps", "x0"), torch.tanh(u)))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Wider than beta
# :label: reverse-wider
#
# Show that the true variance of the step back exceeds $\beta_t$ exactly where $\mathrm{Var}[x_0 \mid x_t] > 1 - \bar\alpha_t$. Find the $x_t$ for which this
# happens for the two-humped data at $\bar\alpha_{t-1} = 0.9$, $\beta_t = 0.1$, and check with the exact step back.
# ```
#
# ```{solution-start} reverse-wider
# :class: dropdown
# ```
#
# {eq}`reverse-variance` rises with $\mathrm{Var}[x_0 \mid x_t]$. For $c = 1$ it is $\beta_t$, by {eq}`reverse-variance-one`, and there
# $\mathrm{Var}[x_0 \mid x_t] = 1 - \bar\alpha_t$, by {eq}`reverse-open`. More than that gives more than $\beta_t$. It happens between the humps, where $x_t$ leaves open which of the
# two it came from.

# %%
a_t = alpha_bar_before * (1 - 0.1)
places = torch.linspace(-2, 2, 81)
left_open = torch.stack([moments(clean_on_grid(x, a_t))[1] for x in places])
back = torch.stack([moments(step_back_on_grid(x, 0.1))[1] for x in places])
open_enough, too_wide = left_open > 1 - a_t, back > 0.1
print(f"the same places: {torch.equal(open_enough, too_wide)}")
print(f"from {places[too_wide].min():.2f} to {places[too_wide].max():.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} What a missing bar costs
# :label: reverse-missing-bar
#
# Run the chain of the report's Algorithm 2 as it is printed, with $\frac{1 - \alpha_t}{\sqrt{1 - \alpha_t}}$ before the noise, and the perfect denoiser. What do the
# samples look like? Why?
# ```
#
# ```{solution-start} reverse-missing-bar
# :class: dropdown
# ```
#
# The printed factor is $\sqrt{\beta_t}$ instead of $\beta_t / \sqrt{1 - \bar\alpha_t}$: too large by $\sqrt{1 - \bar\alpha_t} / \sqrt{\beta_t}$, 7 at the
# start of the walk, 10 in its middle, 1 at its end. Most steps take away many times the noise that they should. The cloud is pulled to where the denoiser finds no noise, and
# stays much too narrow: nearly all samples end on a few values.

# %%
noise = draw_from(1)
x = noise(torch.empty(2000, 1))
for t in range(999, -1, -1):
    eps = denoise(x, torch.full((2000,), float(t)))
    share = (1 - alphas[t]) / (1 - alphas[t]).sqrt()  # as printed
    x = (x - share * eps) / alphas[t].sqrt()
    if t > 0:
        x = x + schedule.posterior_variance[t].sqrt() * noise(x)
left, right = x[x < 0], x[x > 0]
print(f"spread of the left hump:  {left.std():.2f}, it should be 0.30")
print(f"spread of the right hump: {right.std():.2f}, it should be 0.20")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# Sohl-Dickstein et al. {cite}`sohl2015deep` built a generative model out of the reverse of a diffusion, with Feller's {cite}`feller1949theory` result that small
# steps have a reverse of the same form. Ho et al. {cite}`ho2020denoising` predict the noise, and found $\beta_t$ and $\tilde\beta_t$ to give similar samples with
# 1,000 steps. Nichol and Dhariwal {cite}`nichol2021improved` learn a variance between the two, which pays when steps are few, and Bao et al. {cite}`bao2022analytic` compute the best one.
# That the posterior mean is a matter of the score is known to statisticians as Tweedie's formula, which Robbins {cite}`robbins1956empirical` reported and Efron
# {cite}`efron2011tweedie` put to use. Song and Ermon {cite}`song2019generative` sampled with learned scores.
#
# ## The way on
#
# One function is missing: the best guess. The next chapter, {doc}`loss`, asks for the likelihood of the data, meets an integral that nobody can do, and comes out at
# the squared error that you saw here.
