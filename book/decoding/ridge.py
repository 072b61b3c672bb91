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
# # Ridge at scale
#
# **You will be able to**
#
# - say why least squares fails with more voxels than pictures, and what a penalty does about it;
# - solve ridge regression in the form that is smaller, and for all penalties at once;
# - choose a penalty for each feature without fooling yourself;
# - undo the shrinking that makes decoded pictures grey;
# - count the memory of a decoder of 59,136 features before you fit it.
#
# **Time** 40 minutes to read; the cells run in about 15 seconds.
#
# **Before this** {doc}`../brain/preparing`: a table of responses for training, and one for testing.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part V, From brain to picture, at the chapter on ridge regression."}, "figure": {"caption": "Where you are: in Part V.", "name": "ridge-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("ridge")
plt.show()

# %% [markdown]
# Every system of this part begins in the same way. A linear map takes the responses of some thousand voxels to features of the picture, and the features are made into a picture. The features differ, and the pictures do. The map is always ridge regression {cite}`hoerl1970ridge`. So it gets a chapter of its own.
#
# ## Too many voxels
#
# Let $X$ hold the responses, a row for each of $P$ pictures and a column for each of $V$ voxels, and $Y$ a feature of these pictures. Least squares looks for weights $w$ with the smallest $\lVert Xw - Y \rVert^2$. With more voxels than pictures there are weights that leave no error at all, and they are of no use.

# %%
import numpy as np

rng = np.random.default_rng(0)
P, V = 60, 200
w_true = rng.normal(size=V) / V**0.5
X, X_new = rng.normal(size=(2, P, V))
Y, Y_new = (x @ w_true + rng.normal(size=P) for x in (X, X_new))


def r2(said, there):
    """Share of the variance that is predicted."""
    return 1 - ((said - there) ** 2).sum(0) / ((there - there.mean(0)) ** 2).sum(0)


w = np.linalg.lstsq(X, Y, rcond=None)[0]
print(f"training pictures {r2(X @ w, Y):.2f}, new ones {r2(X_new @ w, Y_new):.2f}")

# %% [markdown]
# ## The penalty
#
# Ridge regression asks for small weights, too:
#
# $$
# \min_w\; \lVert Xw - Y \rVert^2 + \alpha \lVert w \rVert^2
# \qquad\Rightarrow\qquad
# w = (X^\top X + \alpha I)^{-1} X^\top Y .
# $$ (ridge-primal)
#
# At the minimum the gradient is 0. That is the check.

# %%
alpha = 100.0
w = np.linalg.solve(X.T @ X + alpha * np.eye(V), X.T @ Y)
gradient = 2 * X.T @ (X @ w - Y) + 2 * alpha * w
print(f"gradient is 0: {np.abs(gradient).max() < 1e-9}")
print(f"training pictures {r2(X @ w, Y):.2f}, new ones {r2(X_new @ w, Y_new):.2f}")

# %% [markdown]
# The fit to the training pictures is worse, and that to new ones better. What the penalty is worth depends on the noise. If the weights were drawn with variance $\tau^2$, and the noise has variance $\sigma^2$, the best is $\alpha = \sigma^2 / \tau^2$: you meet it in the exercises.
#
# ### The other form
#
# The matrix in {eq}`ridge-primal` is $V \times V$. The same weights come from one that is $P \times P$, the *dual form* {cite}`saunders1998ridge`:
#
# $$
# w = X^\top (K + \alpha I)^{-1} Y, \qquad K = X X^\top .
# $$ (ridge-dual)
#
# Multiply out $(X^\top X + \alpha I) X^\top = X^\top (X X^\top + \alpha I)$, and you have the proof.

# %%
K = X @ X.T
dual = X.T @ np.linalg.solve(K + alpha * np.eye(P), Y)
print(f"same weights: {np.allclose(dual, w)}")

# %% [markdown]
# A subject of the Natural Scenes Dataset (NSD) {cite}`allen2022massive` has some 15,000 voxels and 9,000 training pictures. The dual form is the smaller one. Its cost hardly grows with the voxels, and the kernel $K$ is the same for every feature.
#
# ### All penalties at once
#
# Take $K$ apart once, $K = U\, \mathrm{diag}(s)\, U^\top$. Then a penalty is a division:
#
# $$
# K (K + \alpha I)^{-1} Y = U\, \mathrm{diag}\Bigl( \frac{s_i}{s_i + \alpha} \Bigr)\, U^\top Y .
# $$ (ridge-spectrum)
#
# Directions with a large $s_i$ are kept, those with a small one are shrunk to nothing. The training predictions are a smoothed $Y$.

# %%
s, U = np.linalg.eigh(K)
smooth = U @ (s / (s + alpha) * (U.T @ Y))
print(f"same predictions: {np.allclose(smooth, X @ w)}")

# %% [markdown]
# ## From a brain
#
# Now a subject. It is **simulated**, the first of the book's four, in NSD's layout; `make subjects` has written it. Prepare it as in {doc}`../brain/preparing`. A thousand of its 1,850 training pictures are enough for this chapter, and what grows with their third power is done sooner.

# %%
import tempfile
from pathlib import Path

from minisd.decoding.responses import read_responses
from minisd.decoding.targets import Seen
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare

root = next(p for p in map(Path, ("data/nsd", "../../data/nsd")) if p.exists())
subject = Subject(root, 1)
scratch = tempfile.TemporaryDirectory()
prepared = prepare(
    subject, Path(scratch.name) / "subj01", PrepareSettings(align=200), progress=False
)
train, test = (read_responses(subject, prepared, part) for part in ("train", "test"))
seen = {part: Seen(subject.pictures, getattr(prepared, part).nsd_id) for part in ("train", "test")}
train, seen["train"] = train[:1000], seen["train"][:1000]
print(
    "training",
    train.betas.shape,
    "test",
    test.betas.shape,
    "early voxels",
    train.regions["early"].sum(),
)

# %% [markdown]
# The features of this chapter are the plainest there are: the picture itself, reduced to 8 by 8 pixels of three colours. That makes 192 features, each a number you can look at.

# %%
import torch

tiny = {
    part: torch.cat(list(one.batches(8))).flatten(1).numpy() for part, one in seen.items()
}  # [pictures, 192]
print(tiny["train"].shape)

# %% [markdown]
# ### Which penalty
#
# Hold out a fifth of the training pictures, fit on the rest, and see how well the fifth is predicted. Do it for each fifth and each penalty. Test pictures take no part. Here it is by {eq}`ridge-dual`, in ten lines.

# %%
from minisd.decoding.checks import make_folds

alphas = 10.0 ** np.arange(0, 7)
folds = make_folds(len(train), 5, None, seed=0)
error = np.zeros((len(alphas), tiny["train"].shape[1]))
for fit, held in folds:
    X, Y = train.betas[fit], tiny["train"][fit]
    mean_x, mean_y = X.mean(0), Y.mean(0)
    X, X_held = X - mean_x, train.betas[held] - mean_x
    s, U = np.linalg.eigh(X @ X.T)
    for a, alpha in enumerate(alphas):
        A = U @ (U.T @ (Y - mean_y) / (s + alpha)[:, None])  # [fit, 192]
        error[a] += ((X_held @ X.T @ A + mean_y - tiny["train"][held]) ** 2).sum(0)
best = alphas[error.argmin(0)]
print(f"all choose between 10 and 1,000: {bool(best.min() >= 10 and best.max() <= 1000)}")

# %% [markdown]
# Each feature takes the penalty that suits it. `fit_ridge` does all of this. himalaya {cite}`latour2022feature` solves it, on a GPU if you have one.

# %%
from minisd.decoding.ridge import RidgeSettings, fit_ridge

ridge = fit_ridge(train.betas, tiny["train"], RidgeSettings(alphas=tuple(alphas)), progress=False)
print(f"same penalties: {(ridge.alpha.numpy() == best).mean() > 0.99}")
print(f"predicted out of fold: {ridge.r2.mean():.2f} of the variance")
print(
    f"of the test pictures:  {r2(ridge.predict(test.betas, rescale=False).numpy(), tiny['test']).mean():.2f}"
)

# %% [markdown]
# What the folds promised is what the test pictures give. That need not be so. Two mistakes make the promise too good.
#
# ### Repeats belong together
#
# The subject saw each picture three times. Take single trials as rows, and let a fold part the trials of a picture. Then the held-out trial has a sister among those that were fitted on, and who knows the sister knows the answer. To see it, take features that nothing can predict: fifty random numbers for each picture, the same for its three trials.

# %%
first = 200
trials = prepared.train.trials
rows = np.flatnonzero(np.isin(trials.nsd_id, prepared.train.nsd_id[:first]))
single, picture = np.array(prepared.train.single[rows]), trials.nsd_id[rows]
nothing = dict(
    zip(prepared.train.nsd_id[:first].tolist(), rng.normal(size=(first, 50)), strict=True)
)
nothing = np.stack([nothing[k] for k in picture.tolist()])
for name, groups in (("parted", None), ("together", picture)):
    found = fit_ridge(single, nothing, RidgeSettings(alphas=(1e4,)), groups, progress=False)
    print(f"repeats {name:8} correlation out of fold: {found.correlation.mean():5.2f}")

# %% [markdown]
# With the repeats parted, noise seems to be decoded. Give the groups whenever rows are trials.
#
# ### Choose inside the fold
#
# MindDiffuser {cite}`lu2023minddiffuser` decodes each feature from the few hundred voxels that correlate with it best. To choose is to fit: the voxels must be chosen anew in each fold, without the pictures held out. Again features of nothing, and twenty voxels for each.

# %%
from minisd.decoding.selected import SelectedSettings, fit_selected, select

few, nothing = train.betas[:150], rng.normal(size=(150, 20)).astype(np.float32)
settings = SelectedSettings(voxels=20, alphas=(10.0,))
inside = fit_selected(few, nothing, settings, progress=False)
chosen = select(torch.from_numpy(np.array(few)), torch.from_numpy(nothing), 20)
before = [
    fit_selected(few[:, chosen[j].numpy()], nothing[:, [j]], settings, progress=False).r2
    for j in range(20)
]
print(f"chosen inside the fold: {inside.r2.mean():5.2f}")
print(f"chosen before:          {torch.cat(before).mean():5.2f}")

# %% [markdown]
# Chosen inside, nothing is found: a negative share is worse than to say the mean. Chosen before, a fifth of the variance of pure noise is "predicted".
#
# ## The grey of it
#
# Look at what was decoded. Ridge regression hedges: where it is unsure it stays near the mean. Out of fold, predictions vary less than the features do. `fit_ridge` keeps by how much,
#
# $$
# g = \frac{\mathrm{std}(Y)}{\mathrm{std}(\hat Y_\text{out of fold})}, \qquad \hat Y_\text{rescaled} = \bar Y + g\,(\hat Y - \bar Y) .
# $$ (ridge-gain)
#
# It is found from training pictures alone. To take the spread of the *test* predictions, as published code does, would let the test pictures look at each other.

# %%
shrunk = ridge.predict(test.betas, rescale=False)
full = ridge.predict(test.betas)
mean, gain = ridge.mean, ridge.gain
print(f"formula: {torch.allclose(full, mean + gain * (shrunk - mean), atol=1e-5)}")
there = tiny["test"].std(0)
for name, said in (("shrunk", shrunk), ("rescaled", full)):
    print(
        f"{name:8} spread {float((said.numpy().std(0) / there).mean()):.2f} of the features', r2 {r2(said.numpy(), tiny['test']).mean():5.2f}"
    )

# %% mystnb={"image": {"alt": "Three rows of eight pictures of 8 by 8 pixels. Above, scenes that were seen, reduced. In the middle, decoded and shrunk: the same layouts of colour in pale, greyish tones. Below, rescaled: in full colour, and noisier."}, "figure": {"caption": "Simulated: seen (above), decoded (middle), decoded and rescaled (below), at 8 by 8 pixels.", "name": "ridge-grey"}}
from minisd.plots import image_grid

shown = [torch.from_numpy(tiny["test"]), shrunk, full]
rows = torch.cat([one[:8] for one in shown]).unflatten(1, (3, 8, 8)).clamp(-1, 1)
image_grid(rows.repeat_interleave(6, dim=2).repeat_interleave(6, dim=3), columns=8)
plt.show()

# %% [markdown]
# The shrunk predictions vary by four fifths of what there is, the rescaled ones by all of it. By $R^2$ the rescaled ones are worse: they are bolder, and pay for each mistake. But the networks of the next chapters were trained on features of full spread. A text embedding at half its length says little to a U-Net, and it draws something generic. Which of the two is better is no question for $R^2$ but for the pictures, and {doc}`measuring` asks it.
#
# Where is a picture decoded well? Move through the penalties, the same for all features, and look at the map of what new pictures give.

# %%
from minisd.widgets import slider

X = torch.from_numpy(np.array(train.betas)).double()
Y = torch.from_numpy(tiny["train"]).double()
center, middle = X.mean(0), Y.mean(0)
s, U = torch.linalg.eigh((X - center) @ (X - center).T)
across = (torch.from_numpy(np.array(test.betas)).double() - center) @ (X - center).T @ U
right = U.T @ (Y - middle)


def draw_penalty(power):
    said = (across @ (right / (s + 10.0**power)[:, None]) + middle).float()
    found = r2(said.numpy(), tiny["test"]).reshape(3, 8, 8).mean(0)
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.6), width_ratios=(1, 1.6))
    drawn = axes[0].imshow(found, vmin=-0.8, vmax=0.8, cmap="RdBu")
    figure.colorbar(drawn, ax=axes[0], shrink=0.8)
    axes[0].set(title=f"$R^2$, mean {found.mean():.2f}", xticks=[], yticks=[])
    pictures = said[:3].unflatten(1, (3, 8, 8)).clamp(-1, 1).permute(2, 0, 3, 1).flatten(1, 2)
    axes[1].imshow((pictures + 1) / 2)
    axes[1].set(title="three test pictures, decoded", xticks=[], yticks=[])
    return figure


slider(
    draw_penalty,
    (0, 1, 2, 3, 4, 5, 6),
    label="penalty, a power of 10",
    caption="Simulated: how well each place of a test picture is predicted (left), and three of them, not rescaled (right).",
    alt="A map of eight by eight places and three small decoded pictures, at a penalty of 10 to the power {}.".format,
    start=3,
)

# %% [markdown]
# Too small a penalty gives noise in loud colours, too large a one gives the mean picture. Between them lies a plain: from 100 to 1,000 hardly anything changes.
#
# ## At full size
#
# MindDiffuser decodes a text embedding of $77 \times 768 = 59{,}136$ numbers, a latent of 16,384, and 38,400 units in each of six layers of CLIP. Count before you fit.

# %%
V, P = 15_724, 8_859  # subject 1 of NSD, 37 sessions
for name, T in (
    ("text embedding", 77 * 768),
    ("latent", 4 * 64 * 64),
    ("six layers", 6 * 50 * 768),
):
    features, weights = P * T * 4 / 1e9, V * T * 4 / 1e9
    print(
        f"{name:15} {T:7} features: their table {features:5.1f} GB, the weights {weights:5.1f} GB"
    )
print(f"kernel {P**2 * 4 / 1e9:.1f} GB, responses {P * V * 4 / 1e9:.1f} GB")

# %% [markdown]
# The kernel is small, and it is taken apart once for a block of features (`RidgeSettings.block`), whose table may stay on the disk. The weights are the large part. They are never more than rank $P$, and features that are alike share directions. `compress` keeps the directions in which predictions vary, and drops the rest.

# %%
from minisd.decoding.ridge import compress

large = np.concatenate([tiny["train"][:, rng.permutation(192)] for _ in range(6)], axis=1)
large = large + 0.01 * rng.normal(size=large.shape).astype(np.float32)
whole = fit_ridge(train.betas, large, RidgeSettings(alphas=(1e3,)), progress=False)
small = compress(whole, train.betas, lost=1e-3)
a, b = whole.predict(test.betas), small.predict(test.betas)
print(f"{large.shape[1]} features, rank below 200: {small.left.shape[1] < 200}")
print(
    f"predictions correlate above .99: {float(np.corrcoef(a.flatten(), b.flatten())[0, 1]) > 0.99}"
)

# %% [markdown]
# ## Exercises
#
# ```{exercise} Where the penalty comes from
# :label: ridge-prior
#
# Let the weights be drawn from a normal distribution of variance $\tau^2$ and the noise from one of variance $\sigma^2$. Show by simulation that no penalty predicts new pictures better than $\alpha = \sigma^2 / \tau^2$.
# ```
#
# ```{solution-start} ridge-prior
# :class: dropdown
# ```
#
# The most probable weights maximise $-\lVert Xw - Y\rVert^2 / 2\sigma^2 - \lVert w \rVert^2 / 2\tau^2$, which is {eq}`ridge-primal` with this $\alpha$. For normal distributions the most probable is the mean, and no other guess has a smaller squared error on average.

# %%
tau, sigma = 0.1, 1.0
lost = []
for _ in range(200):
    X, X_new = rng.normal(size=(2, 40, 60))
    w = tau * rng.normal(size=60)
    Y = X @ w + sigma * rng.normal(size=40)
    lost.append(
        [
            ((X_new @ (X.T @ np.linalg.solve(X @ X.T + a * np.eye(40), Y) - w)) ** 2).mean()
            for a in (1, 10, 100, 1000, 10000)
        ]
    )
print(f"best of 1, 10, ... is 100 = sigma^2 / tau^2: {np.argmin(np.mean(lost, 0)) == 2}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} What early cortex knows
# :label: ridge-early
#
# Decode the 8 by 8 pixels from the early stream alone, and from the ventral stream alone. Which is better? And are all voxels together better still?
# ```
#
# ```{solution-start} ridge-early
# :class: dropdown
# ```
#
# Voxels of early visual cortex each see a small place, so together they tell what colour and edges are where. In the simulation, as we know since we made it, the ventral stream follows what the scene shows, and tells of pixels only through that.

# %%
few = RidgeSettings(alphas=(1e2, 1e3))
fitted = {
    name: fit_ridge(train.of(name), tiny["train"], few, progress=False)
    for name in ("early", "ventral")
}
for region, one in {**fitted, "all": ridge}.items():
    found = r2(one.predict(test.of(region), rescale=False).numpy(), tiny["test"]).mean()
    print(f"{region:8} {train.of(region).shape[1]:5} voxels, R2 of the test pictures {found:.2f}")

# %% [markdown]
# All voxels together do worse than the early ones alone. One penalty is for all voxels alike, so it cannot favour those that know. Each of the others adds a little noise. To name a region is to tell the regression what it cannot find out from 1,000 pictures. So {doc}`takagi` reads the layout from early cortex and the meaning from the ventral stream, and {doc}`what_the_brain_says` lets each group of voxels have a penalty of its own.
#
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`hoerl1970ridge` brought ridge regression into statistics, {cite:t}`saunders1998ridge` the dual form with kernels. {cite:t}`latour2022feature` fit a penalty for each voxel, or for each pair of voxel and group of features, at the size of whole brains, and gave himalaya to the field. {cite:t}`rokem2020fractional` name penalties by how far they shrink, which is one scale for all voxels.
# Decoders of MindDiffuser's kind choose voxels for each feature first {cite}`lu2023minddiffuser`; {cite:t}`takagi2023high` take whole streams.
#
# ## The way on
#
# {doc}`measuring`: pictures come out of brains, and it has to be said how good they are.
