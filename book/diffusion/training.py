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
# # Training and sampling
#
# **You will be able to**
#
# - write both algorithms of a diffusion model, line by line, and say what each line is for;
# - tell how good a denoiser can get, and why its loss never reaches zero;
# - train a network on numbers, on points and on small pictures, and draw new ones from it;
# - say what averaging the weights buys, and how a diffusion model can memorise;
# - draw the same picture again, whatever batch it is in.
#
# **Time** 45 minutes to read; the cells run in about 45 seconds, most of it training.
#
# **Before this** {doc}`forward`, {doc}`reverse` and {doc}`loss`. You need a little PyTorch: a module, an optimiser, a
# gradient step.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part I, Diffusion, at its fourth chapter of five, training and sampling."}, "figure": {"caption": "Where you are: the fourth chapter of Part I.", "name": "training-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("training")
plt.show()

# %% [markdown]
# ## Algorithm 1, line by line
#
# Ho et al. {cite}`ho2020denoising` train a denoiser $\varepsilon_\theta$ like this:
#
# 1. repeat
# 2. &emsp; draw a clean sample, $x_0 \sim q(x_0)$
# 3. &emsp; draw a time, $t \sim \mathrm{Uniform}\{1, \dots, T\}$
# 4. &emsp; draw noise, $\varepsilon \sim \mathcal N(0, I)$
# 5. &emsp; step down the gradient of $\lVert \varepsilon - \varepsilon_\theta(\sqrt{\bar\alpha_t}\, x_0 + \sqrt{1-\bar\alpha_t}\, \varepsilon,\; t) \rVert^2$
# 6. until converged
#
# Nothing runs through the chain here. Line 5 jumps to time $t$ at once, by the closed form of {doc}`forward`. So one step of
# training costs one pass through the network, however large $T$ is.
#
# ```{admonition} Two slips in the report
# :class: note
# The report prints line 5 with $\alpha_t$ in place of $\bar\alpha_t$ ({ref}`errata <erratum-alpha-bar>`), and its loss as an
# expectation over "$t \sim [1, T] | x_0, \varepsilon$" ({ref}`errata <erratum-simple-loss>`). Time, picture and noise are
# drawn independently of one another: lines 2, 3 and 4 could stand in any order.
# ```
#
# Begin with the smallest data there is: numbers. Half of them lie near $-1.2$, half near $0.8$, and the second half is
# spread wider. It is a mixture of two Gaussians, so the perfect denoiser is known ({doc}`reverse`), and you can see how
# near a trained one comes.

# %%
import math

import torch
from torch import nn

from minisd.diffusion import (
    GaussianMixture,
    ImageNoise,
    NoiseSchedule,
    sample,
    sample_steps,
    simple_loss,
)

threads = torch.get_num_threads()
torch.set_num_threads(1)  # in a tiny network, threads wait for one another
schedule = NoiseSchedule.linear()
numbers = GaussianMixture(
    weights=torch.tensor([0.5, 0.5]),
    means=torch.tensor([[-1.2], [0.8]]),
    covariances=torch.tensor([[[0.01]], [[0.09]]]),
)
line, _ = numbers.sample(20_000, torch.Generator().manual_seed(0))
print(line.shape, schedule.T)

# %% [markdown]
# ### Telling the network the time
#
# One network serves all times, so it must be told $t$. A bare number from 0 to 999 is hard to use: neighbouring times
# differ by little, and large numbers upset the weights. The usual way {cite}`ho2020denoising` is to show $t$ as the hands of many clocks,
# from a fast one to a slow one:
#
# $$
# \mathrm{embed}(t) = \bigl(\cos \omega_0 t, \dots, \cos \omega_{n-1} t,\; \sin \omega_0 t, \dots, \sin \omega_{n-1} t\bigr),
# \qquad \omega_i = 10000^{-i/n} .
# $$ (training-embed)
#
# Each clock is a point on a circle. The cell checks two things that follow: every embedding has the same length, and how
# alike two of them are depends on the distance of the times alone.


# %%
def embed(t, size=32):
    """Times [B] as clock hands [B, size]."""
    omega = 10_000 ** (-torch.arange(size // 2) / (size // 2))
    angle = t[:, None] * omega
    return torch.cat([angle.cos(), angle.sin()], dim=1)


hands = embed(torch.tensor([3.0, 13.0, 700.0, 710.0]))
print(f"same length: {torch.allclose((hands**2).sum(1), torch.tensor(16.0))}")
early, late = hands[0] @ hands[1], hands[2] @ hands[3]
print(f"ten steps apart, early and late: {torch.allclose(early, late, atol=1e-3)}")

# %% [markdown]
# ### The network and the loop
#
# The network is a small perceptron with three hidden layers. Each layer is told the time anew, and adds to what came before it. Its output has the shape of $x_t$.


# %%
class Perceptron(nn.Module):
    """Predicts the noise in points of D dimensions."""

    def __init__(self, D, width=96, depth=3):
        super().__init__()
        self.first = nn.Linear(D, width)
        self.times = nn.ModuleList(nn.Linear(32, width) for _ in range(depth))
        self.mixes = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last = nn.Linear(width, D)

    def forward(self, x_t, t):
        h, hands = self.first(x_t), embed(t)
        for time, mix in zip(self.times, self.mixes, strict=False):
            h = h + mix(nn.functional.silu(h + time(hands)))
        return self.last(nn.functional.silu(h))


# %% [markdown]
# The loop is Algorithm 1. The loss is written out once, to show that it is `minisd.diffusion.simple_loss`; from then on
# the function is used. Line 5's square is averaged over the numbers of a picture, and over the batch: a constant factor,
# which the learning rate absorbs.


# %%
def train(denoise, data, loss, schedule, steps, batch, lr, after=None):
    """Algorithm 1. Returns the loss of each step."""
    g = torch.Generator().manual_seed(1)
    adam = torch.optim.Adam(denoise.parameters(), lr)
    losses = []
    for _ in range(steps):
        x_0 = data[torch.randint(len(data), (batch,), generator=g)]  # line 2
        t = torch.randint(schedule.T, (batch,), generator=g).float()  # 3
        eps = torch.randn(x_0.shape, generator=g)  # line 4
        value = loss(denoise, x_0, t, eps, schedule).mean()  # line 5
        adam.zero_grad()
        value.backward()
        adam.step()
        losses.append(value.item())
        if after:
            after(denoise)
    return losses


torch.manual_seed(0)
net = Perceptron(D=1)
x_0, t = line[:4], torch.tensor([0.0, 100.0, 500.0, 999.0])
eps = torch.randn(4, 1)
a = schedule.alpha_bar_at(t).float()[:, None]
written = (eps - net(a.sqrt() * x_0 + (1 - a).sqrt() * eps, t)) ** 2
ours = simple_loss(net, x_0, t, eps, schedule)
print(f"same as minisd: {torch.allclose(written.mean(1), ours)}")

# %%
losses = train(net, line, simple_loss, schedule, steps=1000, batch=256, lr=2e-3)
print(f"loss, first 20 steps: {sum(losses[:20]) / 20:.1f}")
print(f"last 300 steps below 0.25: {sum(losses[-300:]) / 300 < 0.25}")

# %% [markdown]
# ## What was learned
#
# The network never saw the density, or the perfect denoiser. Compare the two. {numref}`training-learned` shows the noise that
# each predicts, for every $x_t$ and every $t$.

# %% mystnb={"image": {"alt": "Two colour maps over time and x_t that look alike: predicted noise is low below and high above, and at early times it has two steps, one around each hump of the data."}, "figure": {"caption": "The trained network (right) has found the perfect denoiser (left), from samples alone. At early times there are two valleys, one for each hump of the data; late, one.", "name": "training-learned"}}
heights = torch.linspace(-3, 3, 121)[:, None]
times = torch.linspace(0, 999, 120)
exact = numbers.denoiser(schedule)


def chart(denoise):
    """Predicted noise for each height (rows) and time (columns)."""
    with torch.no_grad():
        columns = [denoise(heights, t.expand(121)) for t in times]
    return torch.cat(columns, dim=1)


figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.7), sharey=True)
for axis, name, denoise in zip(axes, ["perfect", "trained"], [exact, net], strict=False):
    mesh = axis.pcolormesh(
        times, heights[:, 0], chart(denoise).clamp(-3, 3), cmap="RdBu", vmin=-3, vmax=3
    )
    axis.set(title=name, xlabel="index $t$")
    axis.grid(False)
axes[0].set_ylabel("$x_t$")
figure.colorbar(mesh, ax=axes, label="predicted noise")
plt.show()

# %% [markdown]
# Where do the two differ? The cell takes the mean squared distance over samples of $q(x_t)$, that is, where the network will be asked.

# %%
g = torch.Generator().manual_seed(2)
x_0, _ = numbers.sample(50_000, g)
t = torch.randint(1000, (50_000,), generator=g).float()
eps = torch.randn(50_000, 1, generator=g)
x_t = schedule.q_sample(x_0, t, eps)
with torch.no_grad():
    gap = (net(x_t, t) - exact(x_t, t)).square().mean()
print(f"mean squared distance from the perfect denoiser < 0.02: {bool(gap < 0.02)}")

# %% [markdown]
# ## The loss that is left
#
# The loss fell to about 0.2 and stayed. It is not the network's fault. From $x_t$ alone nobody can tell exactly which
# noise went into it. The best guess is the mean $\mathbb E[\varepsilon \mid x_t]$ ({doc}`loss`), and for any other guess $f$
#
# $$
# \mathbb E \lVert \varepsilon - f(x_t) \rVert^2
# = \underbrace{\mathbb E \lVert \varepsilon - \mathbb E[\varepsilon \mid x_t] \rVert^2}_{\text{left for everybody}}
# + \underbrace{\mathbb E \lVert \mathbb E[\varepsilon \mid x_t] - f(x_t) \rVert^2}_{\text{the network's own error}} .
# $$ (training-floor)
#
# The mixed term $2\, \mathbb E\bigl[(\varepsilon - \mathbb E[\varepsilon | x_t])^\top (\mathbb E[\varepsilon | x_t] - f(x_t))\bigr]$ is zero: given $x_t$ the right bracket is
# fixed, and the left one has mean zero. The cell measures all three parts.

# %%
with torch.no_grad():
    left = (eps - exact(x_t, t)).square().mean()
    whole = (eps - net(x_t, t)).square().mean()
print(f"left for everybody, about 0.2: {bool((left - 0.2).abs() < 0.02)}")
print(f"own error below a tenth of it: {bool(gap < left / 10)}")
print(f"the parts add up: {bool((whole - left - gap).abs() < 0.01)}")

# %% [markdown]
# So a loss is good or bad only beside its floor, and the floor depends on the time ({numref}`training-floor-figure`). With little noise, the noise
# is lost in the data's own spread. With nothing but noise, $x_t$ *is* the noise. In between the floor rises once more, near $t = 240$: there the two humps of the data flow
# together, and $x_t$ no longer tells which of them it came from.

# %% mystnb={"image": {"alt": "Left: the training loss falls within 200 steps from 0.4 to about 0.2 and stays at the dashed floor. Right: the loss over the time t falls from about 0.9 to 0.36 near t = 80, rises to 0.5 near 240, and falls to nearly 0 beyond 600; the trained network lies on the floor everywhere."}, "figure": {"caption": "The loss cannot fall below its floor (dashed). The floor is high where there is little noise, and where the two humps of the data flow together.", "name": "training-floor-figure"}}
bins = (t / 25).long()
counts = bins.bincount(minlength=40)


def by_time(denoise):
    """Mean loss in 40 bins of the time."""
    with torch.no_grad():
        error = (eps - denoise(x_t, t)).square()[:, 0]
    return torch.zeros(40).index_add(0, bins, error) / counts


smooth = torch.tensor(losses).unfold(0, 25, 5).mean(1)
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.7))
axes[0].plot(12 + 5 * torch.arange(len(smooth)), smooth, label="trained")
axes[0].axhline(left, color="black", ls="--", lw=1.2, label="floor")
axes[0].set(xlabel="training step", ylabel="loss", ylim=(0, 1))
axes[0].legend()
middle = 25 * torch.arange(40) + 12
axes[1].plot(middle, by_time(net), label="trained")
axes[1].plot(middle, by_time(exact), "k--", lw=1.2, label="floor")
axes[1].set(xlabel="index $t$", ylim=(0, 1.1))
axes[1].legend()
plt.show()

# %% [markdown]
# As an error of the clean picture it looks the other way round. Since $\hat x_0 - x_0 = -\sigma (\hat\varepsilon - \varepsilon)$ with $\sigma^2 = (1-\bar\alpha_t)/\bar\alpha_t$,
# an error in $\varepsilon$ weighs little where there is little noise, and much where there is much. The cell multiplies: the best guess of $x_0$ is perfect at the
# start, and at the end it is the mean of the data, whose error is the variance of the data.

# %%
floors = []
for when in (0, 999):
    t_all = torch.full((50_000,), float(when))
    x_when = schedule.q_sample(x_0, t_all, eps)
    error = (eps - exact(x_when, t_all)).square().mean()
    floors.append(float(error * schedule.sigma_at(when) ** 2))
print(f"at t = 0: {floors[0]:.2f}; at t = 999 it is the variance: "
      f"{abs(floors[1] - float(x_0.var())) < 0.05}")  # fmt: skip

# %% [markdown]
# ## Algorithm 2, line by line
#
# Sampling begins with noise and walks back {cite}`ho2020denoising`:
#
# 1. $x_T \sim \mathcal N(0, I)$
# 2. for $t = T, \dots, 1$
# 3. &emsp; $z \sim \mathcal N(0, I)$ if $t > 1$, else $z = 0$
# 4. &emsp; take the step
#
#    $$
#    x_{t-1} = \frac{1}{\sqrt{\alpha_t}} \left(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\, \varepsilon_\theta(x_t, t)\right) + \sigma_t z
#    $$ (training-step)
# 5. return $x_0$
#
# Line 4 is the mean of the posterior, with the predicted noise in place of the true one ({doc}`reverse`), and fresh noise of standard
# deviation $\sigma_t$. The paper tries $\sigma_t^2 = \beta_t$ and $\sigma_t^2 = \tilde\beta_t$; the cell takes the second, and
# the next one the first: with hundreds of steps it makes hardly a difference. The last step, $t = 1$, adds no noise: what it returns is to be looked at.
#
# ```{admonition} A slip in the report
# :class: note
# The report says that sampling starts from "$x_t$ from the end state" and goes on "until $t = 1$". It starts from $x_T$, and the step
# at $t = 1$ is still made: it leads to $x_0$. See {ref}`errata <erratum-sampling-start>`; for the bar that is missing in line 4,
# {ref}`errata <erratum-alpha-bar>`.
# ```


# %%
def algorithm_2(denoise, x, noise):
    """The five lines above, for x of shape [B, D]."""
    variance = schedule.posterior_variance
    for t in range(schedule.T - 1, -1, -1):  # the papers' t is one more
        alpha, alpha_bar = schedule.alphas[t], schedule.alpha_bar[t]
        eps = denoise(x, torch.full((len(x),), float(t)))
        x = (x - (1 - alpha) / (1 - alpha_bar).sqrt() * eps) / alpha.sqrt()
        if t > 0:
            x = x + variance[t].sqrt() * noise(x)
    return x


def stream(seed):
    """Noise for whole batches of points, from one generator."""
    g = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=g)


x_T = torch.randn(1500, 1, generator=torch.Generator().manual_seed(3))
with torch.no_grad():
    drawn = algorithm_2(net, x_T, stream(4))
    theirs = sample(net, x_T, schedule, 1000, "ddpm", noise=stream(4))
print(f"same as minisd: {torch.allclose(drawn, theirs, atol=1e-3)}")

# %%
with torch.no_grad():
    wider = sample(net, x_T, schedule, 250, "ddpm", noise=stream(4), variance="beta")
print(f"spread with beta, within 5 % of that with beta-tilde: "
      f"{bool((wider.std() / drawn.std() - 1).abs() < 0.05)}")  # fmt: skip

# %% [markdown]
# `minisd.diffusion.sample` with `sampler="ddpm"` and all $T$ steps is Algorithm 2. {numref}`training-drawn` shows that it works.

# %% mystnb={"image": {"alt": "Histogram of 1500 drawn numbers with two humps, near minus 1.2 and 0.8. The density of the data, drawn as a line, follows it."}, "figure": {"caption": "Numbers drawn from noise follow the density of the data, which the network was never shown.", "name": "training-drawn"}}
grid = torch.linspace(-2.2, 2.4, 300)[:, None]
figure, axis = plt.subplots(figsize=(6.4, 2.4))
axis.hist(drawn[:, 0].numpy(), bins=80, range=(-2.2, 2.4), density=True, label="drawn")
axis.plot(grid, numbers.log_prob(grid).exp(), color="black", label="data")
axis.set(xlabel="$x_0$", ylabel="density")
axis.legend()
plt.show()

# %% [markdown]
# ## Points in the plane
#
# Now a shape without a formula: two spiral arms. The code does not change, only the data and $D$.

# %%
g = torch.Generator().manual_seed(5)


def spirals(n):
    """Points [n, 2] on two spiral arms, with a little jitter."""
    turn = 0.6 + 3.4 * torch.rand(n, generator=g).sqrt() * math.pi / 2
    sign = torch.randint(2, (n,), generator=g) * 2.0 - 1
    points = torch.stack([turn * turn.cos(), turn * turn.sin()], dim=1)
    return sign[:, None] * points / 3 + 0.04 * torch.randn(n, 2, generator=g)


plane = spirals(20_000)

# %% [markdown]
# ### Averaging the weights
#
# While you train, also keep a slow average $\bar\theta$ of the weights, and sample with the average. After each step $k$
#
# $$
# \bar\theta_k = d\, \bar\theta_{k-1} + (1 - d)\, \theta_k , \qquad\text{so}\qquad
# \bar\theta_n = d^n\, \bar\theta_0 + (1-d) \sum_{k=1}^{n} d^{\,n-k}\, \theta_k .
# $$ (training-ema)
#
# It is the *exponential moving average*, EMA: the last $1/(1-d)$ steps count, and older ones fade. Noise from the random batches averages out.
# What must fade most is the beginning, so $d$ grows from 0.1 to its final value in the first steps.


# %%
class Average:
    """Exponential moving average of a network's weights."""

    def __init__(self, network, d):
        self.d, self.steps = d, 0
        self.weights = {k: v.clone() for k, v in network.state_dict().items()}

    def __call__(self, network):
        d = min(self.d, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, value in network.state_dict().items():
            self.weights[name].lerp_(value, 1 - d)


d, walk = 0.9, torch.randn(30, generator=torch.Generator().manual_seed(0))
one = nn.Linear(1, 1, bias=False).requires_grad_(False)
one.weight.fill_(5.0)
average = Average(one, d)
average.steps = 1000  # past the first steps, d stays as it is
for value in walk:
    one.weight.fill_(value)
    average(one)
powers = d ** torch.arange(29, -1, -1)
closed = d**30 * 5.0 + (1 - d) * (powers * walk).sum()
print(f"closed form: {torch.allclose(average.weights['weight'].squeeze(), closed)}")

# %% [markdown]
# To see what it buys, train the network for points, and compare its last weights with their average on fresh points.

# %%
torch.manual_seed(0)
net_2d = Perceptron(D=2)
average = Average(net_2d, d=0.995)
train(net_2d, plane, simple_loss, schedule, 1600, batch=512, lr=3e-3, after=average)
averaged = Perceptron(D=2)
averaged.load_state_dict(average.weights)

x_0 = spirals(50_000)
t = torch.randint(1000, (50_000,), generator=g).float()
eps = torch.randn(50_000, 2, generator=g)
with torch.no_grad():
    raw, mean = (simple_loss(n, x_0, t, eps, schedule).mean() for n in (net_2d, averaged))
print(f"the average has the lower loss: {bool(mean < raw)}")

# %% [markdown]
# ### How near are the samples?
#
# The eye says that they look alike. A number is better. The *energy distance* of two distributions compares distances between them with
# distances within them {cite}`rizzo2016energy`,
#
# $$
# \mathcal E(X, Y) = 2\, \mathbb E\lVert X - Y \rVert - \mathbb E\lVert X - X' \rVert - \mathbb E\lVert Y - Y' \rVert ,
# $$ (training-energy)
#
# where $X'$ and $Y'$ are further draws. It is zero for equal distributions and positive for all others. In one dimension it is $2 \int (F - G)^2$, with the two
# distribution functions $F$ and $G$; the cell checks that.


# %%
def energy_distance(x, y):
    """Energy distance of two sets of points, [N, D] and [M, D]."""
    within_x, within_y = torch.cdist(x, x).mean(), torch.cdist(y, y).mean()
    return float(2 * torch.cdist(x, y).mean() - within_x - within_y)


x, y = line[:500], line[500:1000] + 0.3
edges, _ = torch.cat([x, y])[:, 0].sort()
F, G = ((z <= edges).double().mean(0) for z in (x, y))
integral = 2 * ((F - G)[:-1] ** 2 * edges.diff()).sum()
print(f"equals the integral: {abs(energy_distance(x, y) - float(integral)) < 1e-4}")

# %%
x_T = torch.randn(2000, 2, generator=torch.Generator().manual_seed(6))
with torch.no_grad():
    points = sample(averaged, x_T, schedule, 150, "ddpm", noise=stream(7))
floor = energy_distance(plane[:2000], plane[2000:4000])
near, far = (energy_distance(cloud, plane[:2000]) for cloud in (points, x_T))
print(f"data against data < 0.005: {floor < 0.005}")
print(f"drawn against data < 5 times that: {near < 5 * floor}")
print(f"noise against data > 15 times that: {far > 15 * floor}")

# %% mystnb={"image": {"alt": "Three clouds of points. Left, the data: two thin spiral arms. Middle, drawn points: the same two arms with a few strays between them. Right: twelve curved paths from a round cloud of noise to the arms."}, "figure": {"caption": "Points drawn from noise (middle) lie on the arms of the data (left). Right: the paths of twelve of them, from a cross to a dot.", "name": "training-spirals"}}
walk = sample_steps(averaged, x_T[:12], schedule, 100, "ddim")
with torch.no_grad():
    paths = torch.stack([x_T[:12], *(step.x_t for step in walk)])
figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.4), sharex=True, sharey=True)
for axis, cloud, title in zip(
    axes, [plane[:2000], points, points], ["data", "drawn", "paths"], strict=False
):
    axis.scatter(*cloud.T, s=1, alpha=0.5 if title != "paths" else 0.1)
    axis.set(title=title, xlim=(-2.3, 2.3), ylim=(-2.3, 2.3), aspect="equal")
axes[2].plot(*paths.unbind(-1), lw=1)
axes[2].scatter(*paths[0].T, marker="x", s=14, color="black", zorder=3)
axes[2].scatter(*paths[-1].T, s=10, color="black", zorder=3)
plt.show()

# %% [markdown]
# ### A denoiser that remembers
#
# Suppose that you have eight points, and train until nothing more can be learned. Then the network has found the perfect denoiser of *those eight points*,
# and the perfect denoiser leads back to them: it copies. You can see it without training, since eight points are a mixture of eight
# Gaussians without spread.

# %%
eight = plane[:8]
memory = GaussianMixture(torch.ones(8), eight, torch.zeros(8, 2, 2))
copies = sample(memory.denoiser(schedule), x_T[:500], schedule, 250, "ddim")
nearest = torch.cdist(copies, eight).min(dim=1)
print(f"largest distance from a training point < 0.05: {bool(nearest.values.max() < 0.05)}")
print(f"training points that were copied: {len(nearest.indices.unique())} of 8")

t = torch.randint(1000, (4000,), generator=g).float()
eps = torch.randn(4000, 2, generator=g)
recall = memory.denoiser(schedule)
seen = simple_loss(recall, eight.repeat(500, 1), t, eps, schedule).mean()
fresh = simple_loss(recall, spirals(4000), t, eps, schedule).mean()
print(f"its loss on fresh points is over 20 times that on its own: {bool(fresh > 20 * seen)}")

# %% [markdown]
# So the lowest training loss of all belongs to a model that can draw nothing new. What keeps real models from it is that they have far more data than they can
# remember, and a network that prefers smooth answers. With few pictures and long training they do copy
# {cite}`somepalli2023diffusion,carlini2023extracting,kadkhodaie2024generalization`. The loss on samples that were held out gives it away, as in the last line of the cell.
#
# ## Small pictures
#
# The same loop learns pictures. The data are 2,000 scenes of one kind from {doc}`../front/picture_world`: an umbrella in one of six colours, on grass or on snow, shrunk to 16 by 16 pixels. That is 768 numbers
# a picture, and as much as two CPU cores learn in half a minute. The book's miniature, in Part III, is trained for hours on all of the picture world.

# %%
import numpy as np

from minisd.plots import image_grid
from minisd.scenes import SceneFactors, Thing, draw

rng = np.random.default_rng(0)
drawings = []
for _ in range(2000):
    colour = rng.choice(["red", "orange", "yellow", "blue", "purple", "white"])
    background = rng.choice(["grass field", "snow"])
    factors = SceneFactors(str(background), (Thing("umbrella", str(colour)),))
    drawings.append(draw(factors, rng).image)
pictures = torch.from_numpy(np.stack(drawings)).permute(0, 3, 1, 2).float()
pictures = nn.functional.avg_pool2d(pictures / 127.5 - 1, 4)
print(pictures.shape, f"in [-1, 1]: {bool(pictures.abs().max() <= 1)}")

# %% [markdown]
# ### The network
#
# A *U-Net* {cite}`ronneberger2015unet` looks at a picture on several scales: it shrinks it twice, works on what is left, and grows it again, and each scale on the way up also sees
# what it had on the way down. Part III builds the one of Stable Diffusion. This one has its skeleton: residual blocks with a time, and skip connections.


# %%
class Block(nn.Module):
    """Two convolutions beside a shortcut; the time is added between them."""

    def __init__(self, channels_in, channels):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.time = nn.Linear(96, channels)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(channels_in, channels, 1)

    def forward(self, x, time):
        h = self.conv1(nn.functional.silu(self.norm1(x)))
        h = h + self.time(time)[:, :, None, None]
        h = self.conv2(nn.functional.silu(self.norm2(h)))
        return h + self.shortcut(x)


class SmallUNet(nn.Module):
    """Pictures [B, 3, 16, 16] and times [B] to pictures."""

    def __init__(self, c=24):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(32, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU())
        self.first = nn.Conv2d(3, c, 3, padding=1)
        self.down1, self.down2 = Block(c, c), Block(c, 2 * c)
        self.middle1, self.middle2 = Block(2 * c, 2 * c), Block(2 * c, 2 * c)
        self.up2, self.up1 = Block(4 * c, 2 * c), Block(3 * c, c)
        self.last = nn.Sequential(nn.GroupNorm(8, c), nn.SiLU(), nn.Conv2d(c, 3, 3, padding=1))

    def forward(self, x, t):
        time = self.time(embed(t))
        fine = self.down1(self.first(x), time)  # 16 x 16
        half = self.down2(nn.functional.avg_pool2d(fine, 2), time)  # 8 x 8
        h = self.middle1(nn.functional.avg_pool2d(half, 2), time)  # 4 x 4
        h = grown(self.middle2(h, time))  # 8 x 8
        h = grown(self.up2(torch.cat([h, half], dim=1), time))  # 16 x 16
        return self.last(self.up1(torch.cat([h, fine], dim=1), time))


def grown(x):
    """Twice as wide and high."""
    return nn.functional.interpolate(x, scale_factor=2.0)


# %% [markdown]
# ### Ask for $v$
#
# There is one more choice. To draw a picture, $\varepsilon$ is turned into a guess of $x_0$, and at noisy times a small error becomes a large one:
#
# $$
# \hat x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\, \hat\varepsilon}{\sqrt{\bar\alpha_t}}
# \quad\Longrightarrow\quad
# \hat x_0 - x_0 = -\sqrt{\tfrac{1-\bar\alpha_t}{\bar\alpha_t}}\; (\hat\varepsilon - \varepsilon) .
# $$ (training-amplify)
#
# With the other target of {doc}`forward`, $v = \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1-\bar\alpha_t}\, x_0$, the error of $\hat x_0$ is
# $\sqrt{1-\bar\alpha_t}$ times that of $\hat v$ {cite}`salimans2022progressive`, and never larger than it. The cell disturbs both by the same amount.

# %%
g = torch.Generator().manual_seed(8)
clean, eps = pictures[:1], torch.randn(1, 3, 16, 16, generator=g)
slip = 0.01 * torch.randn(1, 3, 16, 16, generator=g)
for t in (200, 999):
    x_t = schedule.q_sample(clean, t, eps)
    v = schedule.convert(eps, x_t, t, "eps", "v")
    growth = []
    for value, kind in ((eps, "eps"), (v, "v")):
        guess = schedule.convert(value + slip, x_t, t, kind, "x0")
        growth.append(float((guess - clean).norm() / slip.norm()))
    print(f"t = {t}: an error in eps grows by {growth[0]:.1f}, in v by {growth[1]:.1f}")
print(f"ratio sigma at t = 999: {schedule.sigma_at(999):.1f}")

# %% [markdown]
# A network that has all day learns $\varepsilon$ well enough. Ours has half a minute, so it predicts $v$. It also takes the cosine schedule of {cite:t}`nichol2021improved`, which spends more of its times where small pictures are decided.
# The loop stays: only the loss has another target. For the samplers nothing changes, since `as_denoiser` turns the network into a denoiser.


# %%
def v_loss(network, x_0, t, eps, schedule):
    """Squared error of the predicted v, the mean over each picture."""
    x_t = schedule.q_sample(x_0, t, eps)
    v = schedule.convert(eps, x_t, t, "eps", "v")
    return (network(x_t, t) - v).square().flatten(1).mean(1)


torch.set_num_threads(threads)
torch.manual_seed(0)
cosine = NoiseSchedule.cosine()
unet = SmallUNet()
average = Average(unet, d=0.98)
losses = train(unet, pictures, v_loss, cosine, steps=400, batch=32, lr=2e-3, after=average)
unet.load_state_dict(average.weights)
denoise = cosine.as_denoiser(unet, "v")
size = sum(p.numel() for p in unet.parameters())
print(f"{size:,} numbers in the network")
print(f"loss of the last 50 steps below 0.15: {sum(losses[-50:]) / 50 < 0.15}")

# %% [markdown]
# {numref}`training-pictures` is what it has learned: sky, grass, snow, and umbrellas of several colours. None of the pictures is in the data; the cell after it checks that.

# %% mystnb={"image": {"alt": "Two rows of eight small pictures each. Above, umbrellas from the data: sharp, each of one colour, on grass or snow. Below, drawn ones: umbrellas on grass or snow, a little blurred, some of mixed colour."}, "figure": {"caption": "Pictures of the data (above) and pictures drawn from noise after half a minute of training (below): the scenes are there, the sharp edges not yet.", "name": "training-pictures"}}
noise = ImageNoise(range(8))
with torch.no_grad():
    drawn = sample(denoise, noise.draw((3, 16, 16)), cosine, 50, "ddim")
image_grid(torch.cat([pictures[:8], drawn]), columns=8)
plt.show()

# %%
nearest = torch.cdist(drawn.flatten(1), pictures.flatten(1)).min(dim=1).values
typical = torch.cdist(pictures[:100].flatten(1), pictures[100:].flatten(1)).min(dim=1).values
print(
    f"as far from the data as the data from each other: {bool(nearest.median() > 0.5 * typical.median())}"
)

# %% [markdown]
# ### Watch one appear
#
# `sample_steps` gives each step as it is made, with the picture $x_t$ and the clean picture that the network believes in. {numref}`training-film` lays some of
# them out. The belief comes first: a mean of all pictures; then one umbrella; then its details.

# %% mystnb={"image": {"alt": "Two rows of eight pictures. Above, noise that turns into an umbrella from left to right. Below, the predicted clean picture: first a grey blur, then a blurred umbrella, then the umbrella."}, "figure": {"caption": "From noise to an umbrella: $x_t$ above, and below it the $\\hat x_0$ that the network believes in at that time.", "name": "training-film"}}
noise = ImageNoise([2])
walk = sample_steps(denoise, noise.draw((3, 16, 16)), cosine, 50, "ddim")
with torch.no_grad():
    film = [step for step in walk if step.index % 7 == 0]
strip = [*(s.x_t for s in film), *(s.x_0.clamp(-1, 1) for s in film)]
titles = [f"t = {s.t_next:.0f}" for s in film[:-1]] + ["clean"] + [""] * len(film)
image_grid(torch.cat(strip), titles, columns=len(film))
plt.show()

# %% [markdown]
# ### The same picture again
#
# A picture is made of its noise. `ImageNoise` gives each image a generator of its own, by its seed, and draws on the CPU. So the noise of an image is the same, bit for bit,
# in any batch and on any device. The pictures then agree as far as float32 arithmetic does: sums are taken in another order in another batch.

# %%
together, alone = ImageNoise(range(8)), ImageNoise([5])
start, single = together.draw((3, 16, 16)), alone.draw((3, 16, 16))
print(f"noise equal bit for bit: {torch.equal(start[5:6], single)}")
with torch.no_grad():
    of_eight = sample(denoise, start, cosine, 50, "ddpm", noise=together)
    of_one = sample(denoise, single, cosine, 50, "ddpm", noise=alone)
difference = float((of_eight[5:6] - of_one).abs().max())
print(f"pictures differ by less than 1e-5: {difference < 1e-5}")

# %% [markdown]
# On the machine where this page was made they differed by $2 \cdot 10^{-7}$ at most, on a scale from $-1$ to $1$. One grey level is $8 \cdot 10^{-3}$.
#
# ## The same two algorithms, after hours
#
# Half a minute gives blurred umbrellas. What do hours give? The book ships a network that was trained for that long, on all of {doc}`../front/picture_world`: the *miniature*. Algorithm 1 trained it, and nothing in the loop is new.
# Two things come with Part III: it works on *latents*, small arrays that an autoencoder turns into pictures ({doc}`../stable_diffusion/vae`), and it listens to a text. Here it gets none. So to you it is a denoiser like any other: $x_t$ and $t$ go in, $\hat\varepsilon$ comes out.

# %% mystnb={"image": {"alt": "Eight small, sharp pictures, each of one or two things such as animals, vehicles or furniture, on grass, a beach, snow, a lake, a room or at night."}, "figure": {"caption": "Drawn by the miniature from noise alone, without a text: Algorithm 2 in 100 of its steps.", "name": "training-miniature"}}
from minisd.pipeline import StableDiffusion

sd = StableDiffusion.from_pretrained("../../data_samples/miniature")
nothing = sd.encode_text("")


def by_itself(x_t, t):
    """The U-Net without a text."""
    return sd.unet(x_t, t, nothing.expand(len(x_t), -1, -1))


noise = ImageNoise(range(8))
with torch.no_grad():
    z = sample(by_itself, noise.draw((4, 16, 16)), sd.scheduler.schedule, 100, "ddpm", noise=noise)
    image_grid(sd.decode(z).clamp(-1, 1), columns=8)
plt.show()

# %% [markdown]
# Is its loss lower than that of a network that has learned nothing but the size of the noise? The best guess of such a network is $\hat\varepsilon = \sqrt{1-\bar\alpha_t}\, x_t$, if the latents have variance 1. The cell compares, time by time, on fresh scenes.

# %%
from minisd.scenes import scenes

fresh = torch.from_numpy(scenes(range(32), seed=2).images).permute(0, 3, 1, 2) / 127.5 - 1
noise, theirs = ImageNoise(range(32)), sd.scheduler.schedule
with torch.no_grad():
    z_0 = sd.encode_image(fresh)
    eps = noise(z_0)
    for t in (50, 200, 400, 600):
        z_t = theirs.q_sample(z_0, t, eps)
        a = float(theirs.alpha_bar_at(t))
        trained = (by_itself(z_t, torch.full((32,), float(t))) - eps).square().mean()
        plain = ((1 - a) ** 0.5 * z_t - eps).square().mean()
        print(
            f"t = {t}: less than two thirds of the plain guess's loss: {bool(trained < plain / 1.5)}"
        )

# %% [markdown]
# Towards the end of time the latent is all noise, and there the plain guess is nearly the best that can be done.
#
# How it was trained, what its loss looked like meanwhile, and how one knows that its pictures are right, is told in {doc}`../stable_diffusion/miniature`.
#
# ## Play
#
# Move the slider through the fifty steps, and watch eight pictures come out of their noise.


# %%
noise = ImageNoise(range(8))
with torch.no_grad():
    x_T = noise.draw((3, 16, 16))
    reverse = list(sample_steps(denoise, x_T, cosine, 50, "ddim"))


def frame(k):
    step = reverse[k - 1]
    return image_grid(torch.cat([step.x_t, step.x_0.clamp(-1, 1)]), columns=8)


from minisd.widgets import slider

slider(
    frame,
    [1, 8, 15, 22, 29, 36, 43, 50],
    label="steps taken",
    caption="Eight pictures $x_t$ (above) and what the network believes they will be (below).",
    alt="Eight pictures and their predicted clean versions after {} of 50 steps.".format,
    start=4,
)

# %% [markdown]
# ## Exercises
#
# ```{exercise} A network that is not told the time
# :label: training-blind
#
# Train the network for numbers again, with $t = 0$ in place of the true time. How much worse is its loss, and why is it not hopeless?
# ```
#
# ```{solution-start} training-blind
# :class: dropdown
# ```
#
# Without the time the best guess is the mean over all noise levels that could have led to $x_t$. A large $|x_t|$ still tells
# that there is much noise, so the network learns something; near the data it cannot know whether a number is clean.


# %%
class Blind(Perceptron):
    def forward(self, x_t, t):
        return super().forward(x_t, torch.zeros_like(t))


torch.set_num_threads(1)
torch.manual_seed(0)
blind = Blind(D=1)
blind_losses = train(blind, line, simple_loss, schedule, 300, batch=256, lr=3e-3)
last = sum(blind_losses[-100:]) / 100
print(f"loss without the time is at least 0.1 higher: {last > left + 0.1}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The network says x_0
# :label: training-x0
#
# Let the network for numbers predict $x_0$, with the squared error of $x_0$ as its loss, and draw from it. Which method of the schedule makes it a denoiser?
# ```
#
# ```{solution-start} training-x0
# :class: dropdown
# ```
#
# `as_denoiser(network, "x0")`. Only the loss and this wrapper change. The error is now weighted towards noisy times, which decide about the broad shape.


# %%
def x_0_loss(network, x_0, t, eps, schedule):
    return (network(schedule.q_sample(x_0, t, eps), t) - x_0).square().mean(1)


torch.manual_seed(0)
guesser = Perceptron(D=1)
train(guesser, line, x_0_loss, schedule, 600, batch=256, lr=3e-3)
x_T = torch.randn(2000, 1, generator=torch.Generator().manual_seed(3))
with torch.no_grad():
    drawn = sample(schedule.as_denoiser(guesser, "x0"), x_T, schedule, 100, "ddim")
print(f"energy distance to the data < 0.1: {energy_distance(drawn, line[:2000]) < 0.1}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Where the time is spent
# :label: training-times
#
# {numref}`training-floor-figure` shows that late times have almost no loss. Would it help to draw fewer of them? Check with equation {eq}`training-floor`
# where the *network's own* error is largest.
# ```
#
# ```{solution-start} training-times
# :class: dropdown
# ```
#
# The floor is not what can be learned; the own error is. It is largest at early times here, so drawing more of those would help this network. Nichol and Dhariwal
# {cite}`nichol2021improved` draw times by how much they contribute to the bound.

# %%
g = torch.Generator().manual_seed(9)
x_0, _ = numbers.sample(50_000, g)
t = torch.randint(1000, (50_000,), generator=g).float()
x_t = schedule.q_sample(x_0, t, torch.randn(50_000, 1, generator=g))
with torch.no_grad():
    own = (net(x_t, t) - exact(x_t, t)).square()[:, 0]
early = own[t < 300].mean()
print(f"own error before t = 300 is above the average: {bool(early > own.mean())}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# Both algorithms are those of Ho et al. {cite}`ho2020denoising`, who also sample with averaged weights. That the regression finds the score of the noised data goes back to denoising
# score matching {cite}`vincent2011connection`, and training one network for all noise levels to {cite:t}`song2019generative`. The target $v$ is due to {cite:t}`salimans2022progressive`;
# {cite:t}`karras2022elucidating` work out how a network's inputs, outputs and loss are best scaled at each noise level. {cite:t}`nichol2021improved` improve schedule and loss.
#
# ## The way on
#
# A thousand passes through the network for one picture are many, and you have already used fifty. {doc}`samplers` shows why fewer are enough, and which fifty to take.
