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
# # Self-calibrated guidance
#
# **You will be able to**
#
# - read a classifier as an energy, and say what its logits know that its probabilities do not;
# - calibrate that energy with pictures that have no label;
# - measure what few labels cost a classifier that guides, on a toy and on scenes, and whether calibration pays it back;
# - say which of the densities in a sentence about guidance is which.
#
# **Time** 30 minutes to read; the cells run in about 40 seconds.
#
# **Before this** {doc}`classifier`, and {doc}`../diffusion/loss` for denoising score matching.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part II, Guidance, at its fourth chapter, self-calibrated."}, "figure": {"caption": "Where you are: the fourth chapter of Part II.", "name": "self-calibrated-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("self_calibrated")
plt.show()

# %% [markdown]
# A classifier that guides needs labels, and labels are dear. With few of them it overfits: it is sure of itself in places where no labelled point has ever been, and the sampler climbs there. Huang, Chen and Lin {cite}`huang2023score` have an idea how points *without* a label could help. It begins with a
# second look at the classifier.
#
# ## A classifier is an energy model
#
# A classifier ends in a softmax over its logits $f_y(x_t)$. Read $\exp f_y(x_t)$ as the *joint* density $p(x_t, y)$, up to a constant {cite}`grathwohl2020your`. The sum over $y$ is then a density of $x_t$ alone, and its negative logarithm is an *energy*:
#
# $$
# E(x_t) = -\log \sum_y \exp f_y(x_t), \qquad \nabla \log p(x_t) = -\nabla E(x_t) .
# $$ (self-calibrated-energy)
#
# On the mixture of the chapters before the logits $\log p(x_t, y)$ are known. Their energy must be the density, and its gradient the perfect denoiser.

# %%
import torch

from minisd.diffusion import GaussianMixture, NoiseSchedule
from minisd.guidance import energy_denoiser, energy_log_density

schedule = NoiseSchedule.linear()
data = GaussianMixture(
    torch.tensor([0.3, 0.2, 0.2, 0.3]),
    torch.tensor([[-1.5, 0.3], [0.0, 1.3], [0.6, -1.2], [1.7, 0.6]]),
    torch.tensor([[[0.30, 0.1], [0.1, 0.2]], [[0.2, 0.0], [0.0, 0.2]], [[0.15, 0.0], [0.0, 0.25]], [[0.2, -0.1], [-0.1, 0.3]]]),
)  # fmt: skip
classes = [[0], [1, 2], [3]]
parts = [GaussianMixture(data.weights[k], data.means[k], data.covariances[k]) for k in classes]


def logits(x_t, t):
    """log p(x_t, y), [B, 3]."""
    a = schedule.alpha_bar_at(t)
    share = torch.stack([data.weights[k].sum() for k in classes])
    return torch.stack([part.log_prob(x_t, a) for part in parts], dim=1) + share.log().to(x_t)


x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
t = torch.linspace(0, 999, 500, dtype=torch.float64)
density = energy_log_density(logits)(x, t)
print(f"energy: {torch.allclose(density, data.log_prob(x, schedule.alpha_bar_at(t)))}")
apart = energy_denoiser(logits, schedule)(x, t) - data.denoiser(schedule)(x, t)
print(f"denoiser, to 1e-5: {bool(apart.abs().max() < 1e-5)}")

# %% [markdown]
# ### What training leaves open
#
# A trained classifier's energy is another matter. Cross-entropy looks at the probabilities alone. Add any function $h(x_t)$ to all logits, and they stay as they are:
#
# $$
# \frac{\exp(f_y + h)}{\sum_{k} \exp(f_k + h)} = \frac{\exp f_y}{\sum_{k} \exp f_k}, \qquad E \;\to\; E - h .
# $$ (self-calibrated-freedom)
#
# So the energy is whatever training happened to leave there. It costs nothing to ask for the right one.


# %%
def shifted(x_t, t):
    """Other logits of the same classifier."""
    return logits(x_t, t) + torch.sin(3 * x_t[:, :1]) + x_t[:, 1:] ** 2


same = torch.allclose(shifted(x, t).softmax(1), logits(x, t).softmax(1))
moved = (energy_log_density(shifted)(x, t) - density).abs().max() > 1
print(f"same probabilities: {same}; another energy: {bool(moved)}")

# %% [markdown]
# ## Calibrate it
#
# You know how to teach a score without knowing the density: denoising score matching ({doc}`../diffusion/loss`). Take the classifier's own score in the place of a network's output, and ask it for the noise. No label is in it:
#
# $$
# \begin{gathered}
# L_\text{cal} = \mathbb E_{t, x_0, \varepsilon}\, \Bigl\lVert \sqrt{1 - \bar\alpha_t}\; \nabla_{x_t} E(x_t) - \varepsilon \Bigr\rVert^2 , \\
# L = L_\text{cross-entropy} + \lambda\, L_\text{cal} .
# \end{gathered}
# $$ (self-calibrated-loss)
#
# The cross-entropy is over the points that have a label, the calibration over all. A gradient stands in the loss, and the optimizer takes the gradient of that: training costs about three times as much. The cell checks that the loss is the one you know, of `energy_denoiser`.

# %%
from minisd.guidance import calibration_loss

g = torch.Generator().manual_seed(1)
x_0, _ = data.sample(500, g, torch.float64)
eps = torch.randn(500, 2, generator=g, dtype=torch.float64)
x_t = schedule.q_sample(x_0, t, eps)
ours = calibration_loss(logits, x_t, t, eps, schedule)
own = energy_denoiser(logits, schedule)(x_t, t)
print(f"same: {torch.allclose(ours, (own - eps).square().mean(1))}")

# %% [markdown]
# ## Few labels
#
# Now measure. 400 points are given. Of 5, 20 or 100 % of them, that is 20, 80 or 400, you know the class. For each, a small classifier of noisy points is trained twice: plain, with $\lambda = 0$, and calibrated, with $\lambda = 1$. Chance plays a part with twenty labels, so there are four of each, on other points. All twelve of a kind are
# trained at once, as one network whose layers hold twelve matrices.

# %%
from itertools import pairwise

from torch import nn

from minisd.models.layers import timestep_embedding

SHARES, SEEDS, POINTS = (0.05, 0.2, 1.0), 4, 400
E = len(SHARES) * SEEDS


class Twelve(nn.Module):
    """E classifiers side by side: rows [E * B] belong to them in turn."""

    def __init__(self, width=64):
        super().__init__()
        sizes = (18, width, width, 3)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(E, a, b) / a**0.5) for a, b in pairwise(sizes)
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(E, 1, b)) for b in sizes[1:])

    def forward(self, x_t, t):
        h = torch.cat([x_t, timestep_embedding(t, 16)], dim=1).float().unflatten(0, (E, -1))
        for weight, bias in zip(self.weights, self.biases, strict=True):
            h = torch.baddbmm(bias, h, weight)
            h = nn.functional.silu(h) if weight.shape[2] > 3 else h
        return h.flatten(0, 1).to(x_t)


given = [data.sample(POINTS, torch.Generator().manual_seed(10 + k)) for k in range(SEEDS)]
points = torch.stack([x for x, _ in given]).repeat(len(SHARES), 1, 1)  # [E, 400, 2]
labels = torch.tensor([0, 1, 1, 2])[torch.stack([k for _, k in given])].repeat(len(SHARES), 1)
known = torch.tensor([int(s * POINTS) for s in SHARES]).repeat_interleave(SEEDS)  # [E]


def batch(size, limit, g):
    """Noisy points of each of the E, among the first ones up to a limit: x_t, t, eps, labels."""
    rows = (torch.rand(E, size, generator=g) * limit[:, None]).long()
    x_0 = points.gather(1, rows[..., None].expand(-1, -1, 2)).flatten(0, 1)
    t = torch.randint(1000, (E * size,), generator=g).float()
    eps = torch.randn(x_0.shape, generator=g)
    return schedule.q_sample(x_0, t, eps), t, eps, labels.gather(1, rows).flatten()


def train(weight, steps=1200, size=64):
    torch.manual_seed(0)
    net, g = Twelve(), torch.Generator().manual_seed(2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, steps)
    every = torch.full((E,), POINTS)
    for _ in range(steps):
        x_t, t, _, label = batch(size, known, g)
        loss = nn.functional.cross_entropy(net(x_t, t), label)
        if weight:
            x_t, t, eps, _ = batch(size, every, g)
            loss = loss + weight * calibration_loss(net, x_t, t, eps, schedule).mean()
        optimizer.zero_grad()
        (E * loss).backward()
        optimizer.step()
        plan.step()
    return net.requires_grad_(False)


nets = {"plain": train(0.0), "calibrated": train(1.0)}

# %% [markdown]
# Three measures, each against the truth. The error of the classifier's own score, in the noise. The error of what steers, $\sqrt{1 - \bar\alpha_t}\, \nabla \log p(y \mid x_t)$, over all classes. And the energy distance of guided samples from the true class, where the perfect denoiser is steered at scale 1, so that all of the fault is the classifier's.

# %%
from scipy.spatial.distance import cdist

from minisd.diffusion import sample
from minisd.guidance import classifier, classifier_log_density
from minisd.guidance.gradient import gradient_of

N = 250
g = torch.Generator().manual_seed(3)
clean, _ = data.sample(N, g, torch.float64)
when = torch.randint(1000, (N,), generator=g).double()
seen = schedule.q_sample(clean, when, torch.randn(N, 2, generator=g, dtype=torch.float64))
x_T = torch.randn(N, 2, generator=g, dtype=torch.float64)
exact = data.denoiser(schedule)
true = [part.sample(1000, g)[0] for part in parts]
root = (1 - schedule.alpha_bar_at(when)).sqrt()[:, None]


def measure(net):
    """Errors of own score and of guidance, and distance of the samples, [3, E]."""
    x, at = seen.repeat(E, 1), when.repeat(E)
    own = energy_denoiser(net, schedule)(x, at) - exact(seen, when).repeat(E, 1)
    push, far = 0, torch.zeros(E)
    for y, part in enumerate(parts):
        right = root * (
            part.score(seen, schedule.alpha_bar_at(when))
            - data.score(seen, schedule.alpha_bar_at(when))
        )
        found = root.repeat(E, 1) * gradient_of(classifier_log_density(net, y), x, at)
        push = push + (found - right.repeat(E, 1)).square().mean(1) / 3
        drawn = sample(
            classifier(exact, net, y, 1.0, schedule), x_T.repeat(E, 1), schedule, 30, "dpmpp_2m"
        )
        for e, points in enumerate(drawn.unflatten(0, (E, N))):
            a, b = points.float(), true[y]
            far[e] += 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()
    return torch.stack(
        [
            own.square().mean(1).unflatten(0, (E, N)).mean(1),
            push.unflatten(0, (E, N)).mean(1),
            far / 3,
        ]
    )


with torch.no_grad():
    found = {name: measure(net).unflatten(1, (len(SHARES), SEEDS)) for name, net in nets.items()}
print("labels  kind        own score  guidance      samples")
for s, share in enumerate(SHARES):
    for name, value in found.items():
        own, push, far = value[:, s].mean(1).tolist()
        print(f"{100 * share:4.0f} %  {name:10}  {own:9.1f}  {push:8.2f}  {far:11.2f}")

# %% mystnb={"image": {"alt": "Two panels of dots over the share of labels, four dots for each kind. Left, the error of the guidance; right, the distance of the samples. Both fall from 5 to 100 percent of labels. The calibrated classifiers lie no lower than the plain ones, and at 100 percent their guidance has the larger error."}, "figure": {"caption": "What few labels cost, four runs each. Left: the error of the guidance. Right: the distance of guided samples from the true class.", "name": "self-calibrated-labels"}}
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.6))
for shift, (name, value) in enumerate(found.items()):
    for axis, row in zip(axes, value[1:], strict=True):
        for s in range(len(SHARES)):
            axis.plot(
                [s + 0.2 * shift - 0.1] * SEEDS,
                row[s],
                "o",
                color=f"C{shift}",
                alpha=0.7,
                label=name if s == 0 else None,
            )
for axis, what in zip(axes, ("error of the guidance", "distance of the samples"), strict=True):
    axis.set_xticks(range(len(SHARES)), [f"{100 * s:.0f} %" for s in SHARES])
    axis.set(xlabel="labels", ylabel=what, yscale="log")
axes[0].legend()
plt.show()

# %% [markdown]
# Read the table by columns. Calibration does what it promises: the plain classifier's own score is useless, with an error of 1, as of a network that always says 0, and the calibrated one is nearly perfect. Few labels cost what you would expect: the error of the guidance grows, and the samples lie further off. But calibration does not pay that back. What steers is no better at
# 5 and 20 %, and a little worse with all labels, where the network has to serve two losses. The distances of the samples overlap. The last exercise says why a good energy need not make good guidance. The paper reports gains on pictures; in two dimensions, with the truth at hand, we find none.
#
# The slider shows where the classifiers push, towards the middle class, at one noise level. The arrows of the truth are small in the middle, where every classifier knows the answer, and long outside.

# %%
from minisd.widgets import slider

side = torch.linspace(-2.4, 2.4, 13, dtype=torch.float64)
grid = torch.cartesian_prod(side, side)
level = torch.full((len(grid),), 250.0, dtype=torch.float64)
dots = points[0]


def pushes(net):
    """Gradients for the middle class of all E classifiers, [E, n, 2]."""
    field = gradient_of(classifier_log_density(net, 1), grid.repeat(E, 1), level.repeat(E))
    return field.unflatten(0, (E, -1))


with torch.no_grad():
    fields = {name: pushes(net) for name, net in nets.items()}
a = schedule.alpha_bar_at(level)
truth = parts[1].score(grid, a) - data.score(grid, a)


def draw_share(share):
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.4), sharey=True)
    which = SHARES.index(share) * SEEDS
    for axis, (name, field) in zip(
        axes, [*((k, v[which]) for k, v in fields.items()), ("truth", truth)], strict=True
    ):
        axis.scatter(*dots.T, s=2, color="0.75")
        axis.scatter(
            *dots[: int(share * POINTS)].T,
            s=5,
            c=[f"C{k}" for k in labels[0, : int(share * POINTS)].tolist()],
        )
        axis.quiver(*grid.T, *field.T, width=0.006, scale=60)
        axis.set(title=name, xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal")
    return figure


slider(
    draw_share,
    SHARES,
    label="share of labels",
    show=lambda share: f"{100 * share:.0f} %",
    caption="Where a plain and a calibrated classifier push, and where the true one does. Coloured: the points whose class was told.",
    alt="Three fields of arrows with {:.0%} of the labels: plain, calibrated and true.".format,
)

# %% [markdown]
# ## On scenes
#
# The paper is about pictures, so ask pictures. Here $x_t$ is a noisy latent of a scene, and a small classifier of 230,000 numbers answers the questions of {doc}`classifier`. Of 60,000 scenes 5, 20 or 100 % are labelled. Each classifier was trained for 600 steps, plain and calibrated; then each guided 128 pictures at scale 8. `minisd train calibrated` trains them, with `labels` and `weight` in a
# settings file, and `benchmarks/few_labels.py` measures. The file tells what came out.

# %%
import json
from pathlib import Path

SAMPLES = next(p for p in map(Path, ("data_samples", "../../data_samples")) if p.exists())
scenes = json.loads((SAMPLES / "guidance" / "few_labels.json").read_text())
names = ("reads", "reads object", "score error", "background", "object", "all")
print("              right answers           found in pictures")
print("                all  object   score  background  object  all")
for share in ("5", "20", "100"):
    for kind in ("plain", "calibrated"):
        row = scenes[kind][share]
        told = [f"{row[n]:.3f}" if n == "score error" else f"{100 * row[n]:.0f} %" for n in names]
        widths = zip(told, (6, 8, 8, 12, 8, 6), strict=True)
        print(f"{share:>3} %  {kind:11}" + "".join(f"{one:>{width}}" for one, width in widths))

# %% [markdown]
# Left of the score error stand right answers on noisy latents, right of it what the judge finds in the guided pictures. Two things are seen.
#
# Labels matter little: 5 % of this world are still 3,000 scenes. With 20 % nothing is gained; from all labels the classifier reads better, and its guidance finds the object more often.
#
# Calibration does not matter. In each pair the two rows are alike, but for a few pictures of 128, which is chance. And the reason stands in the third column: the score inside stays as wrong as that of a network that always says 0. Is that hard to avoid? Compare it with two others, on latents of the same scenes: the score of a standard Gaussian, which knows nothing of scenes, and that of the miniature's U-Net without a text.

# %%
for name, error in scenes["score error"].items():
    print(f"{name:9} {error:.2f}")

# %% [markdown]
# So the classifier is further off than a density that takes no training at all. Where does it fail? Most of the energy of noisy things is their length, $\lVert x_t \rVert^2 / 2$. The last layer of features is normalised before it is read, which takes the length away. Make noise longer by a fifth, and ask the Gaussian and the calibrated classifier by how many nats it became less likely.

# %%
from minisd.metrics.scorer import load_classifier

network = load_classifier(SAMPLES / "miniature" / "calibrated-100")
noise = torch.randn(8, 4, 16, 16, generator=torch.Generator().manual_seed(4))
late = torch.full((8,), 900.0)
with torch.no_grad():
    short, long = (energy_log_density(network)(size * noise, late).mean() for size in (1.0, 1.2))
gaussian = (1.2**2 - 1) * noise.square().flatten(1).sum(1).mean() / 2
print(f"Gaussian {gaussian:.0f}, classifier {abs(short - long):.0f}")

# %% [markdown]
# On the toy the calibration worked, and the guidance did not need it; here it was never reached, and this network hardly sees what most of the energy is made of. So this is no test of the paper's claim at its own size. It tells you what to look at first, when calibration does not help you: the score error, beside that of a Gaussian.
#
# ## Which density is which
#
# The report describes this method in one sentence: "Given a conditional model $p(x_t \mid y)$, the gradients from an extra score model $p(y \mid x_t)$ are used". Take it apart. What is *given* is the unconditional model, $p(x_t)$; it is the one that is a score model. What is *extra* is the classifier, $p(y \mid x_t)$, whose gradient steers. The conditional $p(x_t \mid y)$ is what comes
# out. The cell has all three, and Bayes' rule between them.

# %%
given_score = data.score(x, schedule.alpha_bar_at(t))
with torch.no_grad():
    extra = gradient_of(classifier_log_density(logits, 1), x, t)
comes_out = parts[1].score(x, schedule.alpha_bar_at(t))
print(f"given + extra = what comes out: {torch.allclose(given_score + extra, comes_out)}")

# %% [markdown]
# The names are put right in the {ref}`errata <erratum-score-model-guidance>`.
#
# ## Exercises
#
# ```{exercise} A model of its own
# :label: self-calibrated-alone
#
# A calibrated classifier has a score inside. So it can draw without any other model: `self_calibrated` with `None` for the denoiser. How good are its samples, with all labels, against those of the perfect denoiser that it steers?
# ```
#
# ```{solution-start} self-calibrated-alone
# :class: dropdown
# ```
#
# The last four of the twelve have all labels. Their samples lie further from the true class, since now both terms of Bayes' rule are learned.

# %%
from minisd.guidance import self_calibrated

with torch.no_grad():
    alone = self_calibrated(None, nets["calibrated"], 1, 1.0, schedule)
    drawn = sample(alone, x_T.repeat(E, 1), schedule, 30, "dpmpp_2m").unflatten(0, (E, N))
    helped = self_calibrated(exact, nets["calibrated"], 1, 1.0, schedule)
    steered = sample(helped, x_T.repeat(E, 1), schedule, 30, "dpmpp_2m").unflatten(0, (E, N))


def distance(a, b):
    return 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()


pairs = [
    (distance(a, true[1]), distance(b, true[1]))
    for a, b in zip(drawn[-SEEDS:], steered[-SEEDS:], strict=True)
]
print("alone is further off in", sum(a > b for a, b in pairs), "of", len(pairs))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Why it need not help
# :label: self-calibrated-why
#
# What steers is $\nabla \log p(y \mid x_t) = \nabla f_y - \nabla \log \sum_k \exp f_k$. Calibration is about the second term. Say why a perfect second term does not make the difference right.
# ```
#
# ```{solution-start} self-calibrated-why
# :class: dropdown
# ```
#
# Take the freedom of {eq}`self-calibrated-freedom` away: the sum is fixed to the right density. The parts of the sum may still be anything. Split the same density differently among the classes: the energy is perfect, and the classifier wrong.

# %%
wrong = torch.tensor([[-1.0, 0.0, 1.0]], dtype=torch.float64)


def other_split(x_t, t):
    """The right density, shared out among the classes by a rule of its own."""
    share = (x_t[:, :1] * wrong).log_softmax(1)
    return data.log_prob(x_t, schedule.alpha_bar_at(t))[:, None] + share


print(f"perfect energy: {torch.allclose(energy_log_density(other_split)(x, t), density)}")
print(f"same classifier: {torch.allclose(other_split(x, t).softmax(1), logits(x, t).softmax(1))}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`grathwohl2020your` read classifiers as energy models, and train both readings at once. {cite:t}`huang2023score` calibrate a classifier for guidance by denoising score matching, and report better conditional pictures on small data sets, most of all where few of them are labelled; the comparison is with plain classifier guidance and with classifier-free guidance on the same few labels.
# The question behind it is older than guidance: points without a label tell where the classes can be parted, if the gaps between dense regions are where the labels change.
#
# ## The way on
#
# {doc}`spatial` leaves classes behind: it says what is to be where.
