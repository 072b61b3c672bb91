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
# # Is it real? (validity)
#
# **You will be able to**
#
# - say in which directions a linear decoder can point at all, and count them;
# - hold a whole category out of training, and tell reconstruction from classification;
# - let leaks into a decoder, and say which check finds which;
# - tell what in a picture came from the generator;
# - say what such decoders cannot do, and what those who lie in the scanner are owed.
#
# **Time** 50 minutes to read; the cells run in about 30 seconds.
#
# **Before this** {doc}`ridge` and {doc}`measuring`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part V, From brain to picture, at the chapter Is it real?"}, "figure": {"caption": "Where you are: in Part V.", "name": "validity-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("validity")
plt.show()

# %% [markdown]
# A person looks at a dog on a beach. Out of the computer comes a sharp picture of a dog on a beach. Where did it come from? From the brain, we hope. There are three other places: the training pictures, the test data, and the network that draws. This chapter looks into each of them.
#
# ## Where a decoder can point
#
# Ridge regression in its dual form ({eq}`ridge-dual`) says a new picture's features as
#
# $$
# \hat y(x) = \bar y + \sum_{i=1}^{P} a_i(x)\, (y_i - \bar y) , \qquad a(x) = (K + \alpha I)^{-1} k(x) .
# $$ (validity-span)
#
# $y_i$ are the features of training picture $i$, $\bar y$ is their mean, $K$ the kernel of the $P$ training responses, and $k(x)$ the inner products of the new response $x$ with each of them; responses are centred. The brain's part is in the numbers $a_i$. The directions are those of the training pictures. What no mixture of them reaches, the decoder cannot say, whatever the brain does.
#
# Here are two features, and a "brain" of 50 voxels. The training pictures lie in two clusters, at the left and at the right, and hardly vary within a cluster. Then the person sees other pictures: a ring of them.

# %%
import numpy as np
from scipy.linalg import solve

rng = np.random.default_rng(0)


def decode(K, k, y, alpha):
    """Features [N, D] of new responses: K [P, P] and k [N, P] are inner products, not yet centred."""
    middle = K.mean(0)
    K = K - middle - middle[:, None] + middle.mean()
    k = k - k.mean(1, keepdims=True) - middle + middle.mean()
    return y.mean(0) + k @ solve(K + alpha * np.eye(len(K)), y - y.mean(0), assume_a="pos")


voxels = 0.3 * rng.normal(size=(2, 50))
angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
side = np.repeat([-1.0, 1.0], 30)
within, noise = rng.normal(size=(60, 2)), rng.normal(size=(120, 50))


def toy(spread):
    """Training pictures in two clusters so wide, and the ring as it is decoded."""
    y = np.stack([side, np.zeros(60)], axis=1) + spread * within
    x, new = y @ voxels + noise[:60], ring @ voxels + 0.3 * noise[60:]
    return y, decode(x @ x.T, new @ x.T, y, alpha=50.0)


y, said = toy(0.0)
print(f"all that is said lies on the line of the two clusters: {np.allclose(said[:, 1], 0)}")
for spread in (0.1, 0.3, 1.0):
    said = toy(spread)[1]
    r = np.corrcoef(said.T, ring.T)[[0, 1], [2, 3]]
    print(f"spread {spread}: size of what is said {said.std(0).round(1)}, correlation {r.round(1)}")

# %% [markdown]
# Move the slider from two points to two wide clouds.

# %%
from minisd.widgets import slider


def draw_ring(spread):
    y, said = toy(spread)
    figure, axes = plt.subplots(1, 2, figsize=(6.2, 3), sharex=True, sharey=True)
    axes[0].plot(*y.T, ".", ms=3, color="#B9C2C9", label="trained on")
    axes[0].scatter(*ring.T, c=angle, cmap="twilight", s=18, label="seen")
    axes[1].scatter(*said.T, c=angle, cmap="twilight", s=18)
    for one, title in zip(axes, ("pictures", "decoded"), strict=True):
        one.set(title=title, xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), aspect="equal")
        one.set(xlabel="feature 1")
    axes[0].set_ylabel("feature 2")
    axes[0].legend(loc="upper right")
    return figure


slider(
    draw_ring,
    (0.0, 0.1, 0.2, 0.3, 0.5, 0.8),
    label="spread within a cluster",
    caption="Simulated: two clusters of training pictures and a ring of new ones (left), and the ring as it is decoded (right). The brain's responses to the ring are the same all the time. What changes is what the decoder was trained on.",
    alt="Two clusters with a spread of {}, a ring of pictures, and the ring as decoded.".format,
    start=1,
)

# %% [markdown]
# With narrow clusters the ring becomes a line. The brain told both features. The decoder never saw a reason to listen to the second. This is *output dimension collapse* {cite}`shirakawa2025spurious`.
#
# ### Count the dimensions
#
# How many directions does a set of points fill? Let $\lambda_d$ be the variances along its principal axes. The *participation ratio* {cite}`gao2017theory` is
#
# $$
# \mathrm{PR} = \frac{\bigl( \sum_d \lambda_d \bigr)^2}{\sum_d \lambda_d^2} .
# $$ (validity-ratio)
#
# If $k$ of them are equal and the rest is 0, it is $k$. Axes that hardly vary hardly count.


# %%
def participation(points):
    """Directions that points [N, D] fill."""
    variance = np.linalg.svd(points - points.mean(0), compute_uv=False) ** 2
    return variance.sum() ** 2 / (variance**2).sum()


flat = rng.normal(size=(20_000, 5)) @ np.linalg.qr(rng.normal(size=(30, 30)))[0][:5]
print(f"5 equal directions of 30: {participation(flat):.1f}")
print(
    f"the decoded ring: {participation(toy(0.1)[1]):.1f} of 2, with wide clusters {participation(toy(1.0)[1]):.1f}"
)

# %% [markdown]
# ### On the simulated subject
#
# Now the book's first subject, **simulated**, and CLIP's embeddings of the pictures, 128 numbers each. `scorer` reads off every picture what it shows. The 200 pictures that are set apart for aligning subjects are new to the decoder too. With the test pictures that makes 400.

# %%
import tempfile
from pathlib import Path

import torch

from minisd.decoding.responses import read_responses
from minisd.decoding.targets import Seen, image_embeddings
from minisd.metrics import Scorer
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare
from minisd.steering import Networks

root = next(p for p in map(Path, ("data/nsd", "../../data/nsd")) if p.exists())
MINIATURE = next(
    p for p in (Path("data_samples/miniature"), Path("../../data_samples/miniature")) if p.exists()
)
subject, networks = Subject(root, 1), Networks(MINIATURE)
scratch = tempfile.TemporaryDirectory()
prepared = prepare(
    subject, Path(scratch.name) / "subj01", PrepareSettings(align=200), progress=False
)

# %%
scorer = Scorer.from_pretrained(MINIATURE / "scorer")
fmri, seen, embedding, told = {}, {}, {}, {}
for part in ("train", "align", "test"):
    fmri[part] = read_responses(subject, prepared, part).betas
    seen[part] = Seen(subject.pictures, getattr(prepared, part).nsd_id)
    embedding[part] = image_embeddings(networks.clip, seen[part], progress=False).astype(float)
    told[part] = scorer.read(seen[part].pictures(64))
x, y = fmri["train"], embedding["train"]
new, truth = (np.concatenate([one["align"], one["test"]]) for one in (fmri, embedding))
told["new"] = told["align"] + told["test"]
print("training", x.shape, y.shape, "new", new.shape, truth.shape)

# %% [markdown]
# All fits of this chapter need the same inner products, so they are computed once. The penalty is chosen on a fifth of the training pictures.

# %%
K, k = ((one @ x.T).astype(float) for one in (x, new))
held = np.arange(len(x)) % 5 == 0
guess = {a: decode(K[~held][:, ~held], K[held][:, ~held], y[~held], a) for a in (1e2, 1e3, 1e4)}
alpha = min(guess, key=lambda a: ((guess[a] - y[held]) ** 2).mean())
said = decode(K, k, y, alpha)
print(f"penalty {alpha:g}")
print(f"true embeddings of new pictures fill {participation(truth):.0f} directions of 128")
print(f"decoded ones fill {participation(said):.0f}")

# %% [markdown]
# The pictures themselves fill some 17 directions: this is a small world. The decoder says 14 of them. That is little of a collapse, and the reason lies in the training set. It shows all categories on all backgrounds, as the new pictures do. So train the same decoder on less variety: always on 60 pictures with one thing in them, but from few *clusters*. A cluster is a category on a background, such as dogs on a beach. Each line is a mean over ten draws of clusters. How good the answers are is told by the cosine of decoded and true embedding, each less the training mean.

# %%
from minisd.scenes import CATEGORIES

mean, words = y.mean(0), np.array(CATEGORIES)
shows = {
    part: np.array([np.isin(words, [one["category"], one.get("other_category")]) for one in some])
    for part, some in told.items()
}  # [pictures, 15]
alone = {part: np.array([one["relation"] == "none" for one in some]) for part, some in told.items()}
cluster = np.array([one["category"] + " on " + one["background"] for one in told["train"]])
cluster[~alone["train"]] = ""


def unit(e):
    """Directions from the training mean."""
    return (e - mean) / np.linalg.norm(e - mean, axis=1, keepdims=True)


large, sizes = np.unique(cluster[alone["train"]], return_counts=True)
for count in (4, 12, 60):
    found = []
    for _ in range(10):
        if count < 60:
            chosen = rng.choice(large[sizes >= 60 // count], count, replace=False)
            some = [np.flatnonzero(cluster == one) for one in chosen]
            rows = np.concatenate([rng.choice(one, 60 // count, replace=False) for one in some])
        else:
            rows = rng.choice(np.flatnonzero(alone["train"]), 60, replace=False)
        narrow = decode(K[np.ix_(rows, rows)], k[:, rows], y[rows], alpha)
        found.append((participation(narrow), (unit(narrow) * unit(truth)).sum(1).mean()))
    filled, right = np.mean(found, 0)
    which = f"{count} clusters" if count < 60 else "any"
    print(
        f"60 pictures, {which:11} fill {filled:.1f} directions, cosine with the truth {right:.2f}"
    )

# %% [markdown]
# The same brain, the same number of pictures. What is not varied in training is not said afterwards.
#
# ## A category that was never seen
#
# The new pictures of NSD are new, and yet not. For a picture of a train in the test set there are a hundred of trains in the training set. In our world it is the same. How like is the nearest training picture to a new one? As a measure, take the cosine of two embeddings, less the training mean. Then let an oracle answer: it looks at the new picture itself, and may say nothing but a training picture.

# %%
from minisd.metrics.reconstruction import identification


def two_way(made, seen):
    """Mean two-way identification of embeddings, less what all have in common."""
    return identification(*(torch.from_numpy(e - mean) for e in (made, seen))).mean()


alike = unit(truth) @ unit(y).T
nearest = y[alike.argmax(1)]
print(
    f"cosine with the nearest training picture {alike.max(1).mean():.2f}, with all: about 0,",
    end=" ",
)
print(np.isclose(alike.mean(), 0, atol=0.01))
print(
    f"two-way identification of the oracle {two_way(nearest, truth):.3f}, of the decoder {two_way(said, truth):.3f}"
)

# %% [markdown]
# The oracle never says anything new, and is identified nearly always. So a high identification does not prove that anything was reconstructed. Choosing among things that were seen before is enough.
#
# ### Hold it out
#
# To find out, make the test one of something new. Leave every picture with a bus out of training, also those where the bus is only the second thing. Then decode new pictures of a bus. Do so for each of the 15 categories. For comparison, a decoder that lost 150 pictures by chance.
#
# Three questions. *Named*: is the decoded embedding nearest to the mean embedding of its category? What a bus looks like to CLIP is known without any brain, so the name is among the choices, for both decoders. *Among others*: two-way identification against new pictures without a bus. *Among its own*: against the other new pictures of a bus.

# %%
looks = np.stack([y[alone["train"] & shows["train"][:, j]].mean(0) for j in range(15)])


def name(e):
    """The category whose mean embedding is nearest, as a number."""
    return (unit(e) @ unit(looks).T).argmax(1)


def ask(e, j):
    """Named, among others, among its own: of new pictures with one thing, of category j."""
    mine = np.flatnonzero(alone["new"] & shows["new"][:, j])
    s = unit(e[mine]) @ unit(truth).T
    own = s[np.arange(len(mine)), mine][:, None]
    others, same = s[:, ~shows["new"][:, j]], s[:, mine]
    within = (own > same).sum(1).mean() / (len(mine) - 1)
    return (name(e[mine]) == j).mean(), (own > others).mean(), within


some = rng.permutation(len(x)) >= 150
knows = decode(K[some][:, some], k[:, some], y[some], alpha)
without = {}
for j in range(15):
    left = ~shows["train"][:, j]
    without[j] = decode(K[left][:, left], k[:, left], y[left], alpha)
known, unseen = (
    np.array([ask(e, j) for j, e in enumerate(decoders)])
    for decoders in ([knows] * 15, without.values())
)  # [15, 3]

# %% [markdown]
# Every category gives one number to each question. So the intervals are over categories: what would it be with another one?

# %%
from minisd.metrics.statistics import interval, paired_test

mine = alone["new"]
right = name(truth[mine]) == shows["new"][mine].argmax(1)
print(f"from the true embedding, named {right.mean():.2f}; by chance {1 / 15:.2f}")
for q, question in enumerate(("named", "among others", "among its own")):
    a, b = interval(known[:, q]), interval(unseen[:, q])
    p = paired_test(known[:, q], unseen[:, q])
    print(
        f"{question:14} known {a.mean:.2f} [{a.low:.2f}, {a.high:.2f}], "
        f"never seen {b.mean:.2f} [{b.low:.2f}, {b.high:.2f}], p < .01: {p < 0.01}"
    )

# %% mystnb={"image": {"alt": "Two panels with a row for each of fifteen categories. Left, the share that is named: decoders that know the category lie between 0.2 and 0.9, those that never saw it at 0 for most. Right, two-way identification: the first at 1.0, the second between 0.95 and 0.99."}, "figure": {"caption": "Simulated: the category is named only if it was in the training set (left). Two-way identification hardly notices (right).", "name": "validity-held-out"}}
from minisd.plots import COLOURS

order = known[:, 0].argsort()
figure, axes = plt.subplots(1, 2, figsize=(6.4, 4.2), sharey=True)
for q, one in enumerate(axes):
    one.hlines(range(15), unseen[order, q], known[order, q], color="#B9C2C9")
    one.plot(known[order, q], range(15), "o", color=COLOURS["blue"], label="in training")
    one.plot(unseen[order, q], range(15), "o", color=COLOURS["vermillion"], label="never seen")
    chance = (1 / 15, 0.5)[q]
    one.axvline(chance, color="black", lw=1, ls=":", label="chance")
    one.set(xlim=(-0.05, 1.05), xlabel=("named", "identified among others")[q])
axes[0].set_yticks(range(15), words[order])
axes[1].legend(loc="lower left", bbox_to_anchor=(0.08, 0))
plt.show()

# %% [markdown]
# A decoder that never saw a category names it no more often than chance would. It has the picture of it before it, and says what is nearest among the things it knows. Yet it is still identified 97 times of 100. How can both be? An embedding tells of the background, of colours, of where something stands. All of that is decoded as before, and it is enough to tell two pictures apart: the third question shows how little the thing is needed. So when you read "97 % identified", ask what was among the choices, and whether its like was in the training set.
#
# Look at it. For each new airplane, the training picture that is most like what was decoded. The gallery has airplanes in it, for both.

# %% mystnb={"image": {"alt": "Three rows of seven pictures. Above, scenes with an airplane. In the middle, found by a decoder that knows airplanes: mostly airplanes. Below, found by one that never saw any: a yellow umbrella in place of the yellow airplane, kites, a bench, mostly on the same backgrounds."}, "figure": {"caption": "Simulated: new pictures of an airplane (above), what a decoder finds that was trained with airplanes (middle), and without (below). Background and colour are mostly right. The airplane becomes something that was in training.", "name": "validity-airplanes"}}
from minisd.plots import image_grid

plane = CATEGORIES.index("airplane")
some = np.flatnonzero(alone["new"] & shows["new"][:, plane])[:7]
everything = Seen(subject.pictures, np.concatenate([seen[p].nsd_id for p in ("align", "test")]))
rows = [everything[some].pictures(64)]
for e in (knows, without[plane]):
    found = (unit(e[some]) @ unit(y).T).argmax(1)
    rows.append(seen["train"][found].pictures(64))
image_grid(torch.cat(rows), columns=7)
plt.show()

# %% [markdown]
# Is that a reconstruction? In part. Background and colour were read. The thing was classified, into one of 14 classes, and a picture of that class was put in its place. If a diffusion model draws it instead of a gallery, nothing changes but the looks: classification and generation {cite}`shirakawa2025spurious`. To reconstruct means to get right what training did not show. Only a split that holds it out can tell the two apart. It costs a second fit, and it is rarely done.
#
# Be fair to the decoder. To generalise to words or pictures of a new kind is possible in principle, if features are shared between old and new {cite}`palatucci2009zero`: a zebra is striped, and other things are. And the simulated brain is a hard case. A part of each voxel's tuning is to the category as such, and that part nobody can learn without the category.
#
# ## Leaks
#
# The third place that an answer can come from is the test data. Four systems stand in a row, each with the decoder from above:
#
# - **honest** has statistics of training trials alone;
# - **z-scored**: the test responses are z-scored by their own mean and spread;
# - **renormalised**: the predictions get the spread of all predictions set right, from the test set, as Brain-Diffuser's code does {cite}`ozcelik2023natural`;
# - **told**: the category comes from the truth, as in DCNN-GAN's second stage {cite}`lin2019dcnn`.
#
# And three checks. *Shuffle* the test responses among the pictures: an honest decoder falls to chance. *Replace* the test responses by noise, and see whether anything that was fitted changes, in a single bit. *Halve* the test set: is a picture decoded the same in the company of others?

# %%
test, there = fmri["test"], embedding["test"]
category = shows["test"].argmax(1)  # the first of two things


middle = K.mean(0)
A = solve(K - middle - middle[:, None] + middle.mean() + alpha * np.eye(len(K)), y - mean)
weights = ((x - x.mean(0)).T @ A.astype(np.float32)).astype(float)  # [voxels, features]


def honest(responses):
    return {}, mean + (responses - x.mean(0)) @ weights


def z_scored(responses):
    fitted = {"mean": responses.mean(0), "deviation": responses.std(0)}
    z = (responses - fitted["mean"]) / fitted["deviation"] * x.std(0) + x.mean(0)
    return fitted, honest(z)[1]


def renormalised(responses):
    e = honest(responses)[1]
    fitted = {"mean": e.mean(0), "deviation": e.std(0)}
    return fitted, (e - fitted["mean"]) / fitted["deviation"] * y.std(0) + mean


def was_told(responses):
    e = honest(responses)[1]
    return {}, e + looks[category[: len(e)]] - mean


noise = rng.normal(size=test.shape).astype(np.float32)
mixed = rng.permutation(len(test))
print(f"{'':14}identified  shuffled  same arrays  same in half")
for system in (honest, z_scored, renormalised, was_told):
    fitted, e = system(test)
    again = system(noise)[0]
    arrays = all(np.array_equal(value, again[key]) for key, value in fitted.items())
    half = np.allclose(system(test[:100])[1], e[:100], atol=1e-2)
    shuffled = two_way(system(test[mixed])[1], there)
    print(
        f"{system.__name__:14}{two_way(e, there):10.2f}{shuffled:10.2f}{arrays!s:>13}{half!s:>14}"
    )

# %% [markdown]
# Read the table row by row.
#
# The z-scored and the renormalised system pass the shuffle: to chance, as the honest one. They do not even gain. (Here. Our test trials are from the same sessions as the training trials, and were z-scored by session already. Had something changed in between, the one who looks would win; an exercise shows it.) The score tells nothing, the shuffle tells nothing. The replaced responses tell. {doc}`../brain/preparing` put it as a rule, and it is why the test of this package replaces them *in the files*, prepares and fits everything again, and compares each fitted array bit for bit (`tests/decoding/test_reconstructor.py`). It does not ask how much a leak helps. It asks whether there is a way from the test responses to the decoder.
#
# The system that was told passes the replacement: its leak is in the truth and not in the responses. With shuffled responses it is still identified far above chance, and so it is found out. The shuffle is necessary, and the replacement is, and neither is sufficient. No check sees a researcher who looked at the test score twenty times.
#
# These leaks are in published systems, and known for being in their code or their text:
#
# | system | what it knew of the test |
# |---|---|
# | Beliy et al. {cite}`beliy2019voxels` | trained without labels on fMRI, and that fMRI is the test fMRI |
# | MinD-Vis {cite}`chen2023seeing` | its stage A2 tunes the encoder on test fMRI |
# | DCNN-GAN {cite}`lin2019dcnn` | its second network takes the category from the truth |
# | Brain-Diffuser {cite}`ozcelik2023natural` | predictions are renormalised by statistics of the test set |
#
# To learn from test responses without their pictures can be a fair experiment, if it says which question it answers: how well a decoder does once all test responses lie on the table. It is another question than what a person sees now. {cite:t}`kapoor2023leakage` found leaks in seventeen fields of science. In brain imaging, to choose and to test on the same data is called double dipping {cite}`kriegeskorte2009circular`.
#
# ## What the generator adds
#
# Now take the brain away. Each test picture was seen three times. The difference of two of these responses holds no picture at all, since what the picture evoked is in both and goes out. What remains is the brain's own noise, with all its correlations:
#
# $$
# n_i = \frac{x_{i1} - x_{i2}}{\sqrt 6} .
# $$ (validity-noise)
#
# With $\sqrt 6$ it varies like the noise in a mean of three, whose variance is a third: $2 \sigma^2 / 6 = \sigma^2 / 3$.

# %%
part = prepared.test
order = np.argsort(part.trials.nsd_id, kind="stable").reshape(-1, 3)
trials = np.array(part.single)[order]  # [pictures, 3, voxels]
empty = (trials[:, 0] - trials[:, 1]) / np.sqrt(6)
inside = trials.var(1, ddof=1).mean() / 3
print(f"varies like the noise of the mean: {np.isclose(empty.var(), inside, rtol=0.05)}")

# %% [markdown]
# Decode it, and let unCLIP's decoder ({doc}`../guidance/unclip`) draw. Beside it the same with real responses. As a judge of looks the scorer: how sure is it of the thing that it sees? Its surety is the probability of its first answer.

# %%
from minisd.diffusion import ImageNoise, sample
from minisd.models.prior import to_unit_variance

unclip, condition = networks.unclip, networks.condition
gain = y[held].std(0) / guess[alpha].std(0)  # undoes the shrinking, from training pictures


@torch.no_grad()
def draw(e, steps=10, contrast=1.75):
    """Pictures of embeddings, each from a seed of its own."""
    bold = torch.from_numpy(mean + contrast * (e - mean)).float()
    null = unclip.encode_text([""]).expand(len(e), -1, -1)
    z = sample(
        unclip.denoiser(condition(null, to_unit_variance(bold)), null, 3.0),
        ImageNoise(range(len(e))).draw((4, 16, 16)),
        unclip.scheduler.schedule,
        sampler="dpmpp_2m",
        times=unclip.scheduler.times(steps, "dpmpp_2m"),
        final=unclip.scheduler.final("dpmpp_2m"),
    )
    return unclip.decode(z).clamp(-1, 1)


drawn = {}
for source, responses in (("responses", test), ("noise", empty)):
    e = mean + gain * (honest(responses)[1] - mean)
    drawn[source] = draw(e[:7])
    sure = scorer(drawn[source])["category"].softmax(1).max(1).values.mean()
    far = np.linalg.norm(e - mean, axis=1).mean() / np.linalg.norm(there - mean, axis=1).mean()
    print(
        f"from {source:10} sure of the thing, over 0.8: {bool(sure > 0.8)}; embeddings {far:.1f} as far from the mean as true ones"
    )

# %% mystnb={"image": {"alt": "Three rows of seven pictures: scenes that were seen; pictures drawn from responses to them, with the right background and often another thing; and pictures drawn from noise, which are scenes just as well."}, "figure": {"caption": "Simulated: seen (above), drawn from the responses (middle), and drawn from noise of the same brain that holds no picture (below). The two lower rows look equally real.", "name": "validity-noise-drawn"}}
image_grid(
    torch.cat([seen["test"][:7].pictures(64), drawn["responses"], drawn["noise"]]),
    columns=7,
)
plt.show()

# %% [markdown]
# Nothing in the lower row was seen by anybody. The scorer is as sure of its things as of those above. That a picture is sharp and plausible is no evidence that it was in the brain: it is evidence of a good generator. Evidence is a comparison with what was seen, over all pictures, not over the best four.
#
# One thing gives the noise away. Its embeddings lie half as far from the mean as true ones do: the decoder has little to say. The generator then takes the direction alone, brings it to the usual length, and draws with full conviction. So look at what was decoded before you look at what was drawn.
#
# ## What such decoders cannot do
#
# "Reading pictures out of brains" is a headline. What happens is narrower. A person lies still for many hours and looks at thousands of pictures. A map is fitted to that person. Then the same person looks, with open eyes, at further pictures of the same kind, and each is recovered in part. Take away any of these and less is left.
#
# **Imagined pictures.** Imagery drives visual cortex too. Seen and imagined objects can be told apart by the same decoders, with imagined ones well below seen ones {cite}`horikawa2017generic`; deep features give imagined simple shapes, and hardly imagined photographs {cite}`shen2019deep`. The signal is weaker, and it is a signal of another make: imagery in early areas looks like something seen further up, with larger receptive fields {cite}`breedlove2020generative`. On NSD's own imagery session, how well a system decodes seen pictures says little about how well it decodes imagined ones {cite}`kneeland2025nsd`. In an exercise you turn the signal down.
#
# **Thoughts at rest.** Nothing here was fitted to a mind that wanders. There is no truth to fit it to. A decoder fed with such responses still answers, as you have just seen, and the answer looks fine.
#
# **Somebody who will not.** The best studied case is language. {cite:t}`tang2023semantic` decode the meaning of stories from fMRI, after about 16 hours of listening for each person. A decoder made from other people's brains did hardly better than chance. And when listeners named animals in their heads, or told themselves another story, decoding got worse in every region. Countermeasures defeat lie detection by fMRI, too: from all right to a third {cite}`ganis2011lying`. A head that moves by a voxel is a countermeasure as well.
#
# All of this is so *today, by these methods*. {doc}`across_subjects` asks how few hours of a new person are enough, and each year finds fewer. "It takes cooperation" is a measurement, not a law of nature.
#
# ### Consent
#
# The eight people of NSD agreed to be scanned, and to share what was measured, under terms that bind you ({doc}`../brain/your_own_nsd`): do not pass the data on, and keep to what the agreement allows. Whatever a form says, do not try to find out who they are. And think of what they did *not* agree to, since nobody knew of it in time. A new decoder can read from old data what nobody could read when the form was signed.
#
# Does the law need new words for it? {cite:t}`ienca2017towards` ask for four new rights: to cognitive liberty, mental privacy, mental integrity and psychological continuity. {cite:t}`yuste2017four` name privacy and consent, agency and identity, augmentation, and bias as what has to be looked after. Others answer that the human rights that exist are enough, if they are developed, and that new ones do harm {cite}`bublitz2022novel`. You need not settle this. But whoever can decode should be able to say what can be decoded, with numbers that hold. Overstating it helps neither side.
#
# ## An outlook on video
#
# The report says of video that "the core approach remains the same" ({ref}`errata <slip-video>`). Some of it does. There is a linear map from voxels to features and a generator that draws: MinD-Video {cite}`chen2023cinematic` stretches Stable Diffusion over time, where MinD-Vis drew single pictures. {cite:t}`nishimoto2011reconstructing` had no generator, and looked through 18 million seconds of clips for those whose predicted responses fit.
#
# What does not remain is time. A voxel answers over ten seconds and more ({doc}`../brain/betas`), and the answers add up. Let $s_k$ be a voxel's response to the picture that flashes up at time $k\Delta$, $h$ the haemodynamic response and $e$ noise of standard deviation $\sigma$:
#
# $$
# b(t) = \sum_k s_k\, h(t - k \Delta) + e(t) , \qquad \mathrm{cov}(\hat s) = \sigma^2 (H^\top H)^{-1} .
# $$ (validity-mixture)
#
# $H$ has a column for each picture, $h$ shifted by $k\Delta$, and a row for each volume. The second half is what least squares makes of it. First check it, with noise drawn 4,000 times.

# %%
from minisd.nsd.hrf import double_gamma

times = np.arange(0, 330, 4 / 3)  # seconds; a volume every 4/3, as in NSD


def shifted(gap):
    """Responses to flashes every so many seconds, for five minutes: [volumes, pictures]."""
    return double_gamma(times[:, None] - np.arange(0, 300, gap))


H = shifted(4.0)
s = rng.normal(size=H.shape[1])
b = (H @ s)[:, None] + 0.1 * rng.normal(size=(len(times), 4000))
estimates = np.linalg.lstsq(H, b, rcond=None)[0]
formula = 0.1**2 * np.diag(np.linalg.inv(H.T @ H))
print(f"unbiased: {np.allclose(estimates.mean(1), s, atol=0.05)}")
print(f"variance as in the formula: {np.allclose(estimates.var(1), formula, rtol=0.15)}")

# %% mystnb={"image": {"alt": "Left, two haemodynamic responses one second apart over 25 seconds: nearly the same curve. Right, the noise of a picture's estimate against the seconds between pictures, on a logarithmic axis: 1 at 8 seconds, 1.3 at 4, 6 at 2 and 29 at 1.3."}, "figure": {"caption": "Two flashes a second apart evoke nearly the same (left). So the noise of what is estimated for each of them grows without bound as they come closer (right; 1 is a picture on its own).", "name": "validity-video"}}
alone_noise = 1 / np.sqrt((double_gamma(np.arange(0, 30, 4 / 3)) ** 2).sum())
gaps = (8, 6, 4, 3, 2, 1.5, 4 / 3)
grows = []
for gap in gaps:
    H = shifted(gap)
    noise_of = np.sqrt(np.diag(np.linalg.inv(H.T @ H)))
    middle = len(noise_of) // 4
    grows.append(noise_of[middle:-middle].mean() / alone_noise)
t = np.arange(0, 25, 0.1)
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.8))
axes[0].plot(t, double_gamma(t), t, double_gamma(t - 1))
axes[0].set(xlabel="seconds", ylabel="response", yticks=[])
axes[1].semilogy(gaps, grows, "o-")
axes[1].set(xlabel="seconds between pictures", ylabel="noise of an estimate")
axes[1].set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
plt.show()

# %%
for gap in (1, 4):
    a, b = double_gamma(t), double_gamma(t - gap)
    print(f"responses {gap} s apart correlate by {np.corrcoef(a, b)[0, 1]:.2f}")
for gap, noise_of in zip(gaps, grows, strict=True):
    if gap in (8, 4, 2):
        print(f"a picture every {gap} s: {noise_of:.1f} times the noise")

# %% [markdown]
# NSD's four seconds cost little. A picture every two seconds costs six times the noise, a film's 24 a second cannot be taken apart at all, and its pictures are alike anyway. So systems for video do not decode frames. They decode what stays for seconds: the scene, what is in it, the energy of motion {cite}`nishimoto2011reconstructing`. The frames in between are drawn by the generator, from what it knows of how things move. All of this chapter's questions come back, one dimension larger: which of these motions was in the brain?
#
# ## Exercises
#
# ```{exercise} A penalty for each feature
# :label: validity-penalties
#
# {eq}`validity-span` has one penalty for all features. `fit_ridge` takes one for each. Fit 60 training pictures with one, and then with a penalty of 100 for half of the features and of 10,000 for the others. Do the decoded embeddings still lie in the span of the training embeddings?
# ```
#
# ```{solution-start} validity-penalties
# :class: dropdown
# ```
#
# With one penalty they do, to the last digit. With more than one they leave it, since $a(x)$ differs between features. That is no way out of the collapse. Each half of the features is still in a span of its own, and what leaves the common span is no news from the brain.

# %%
few = np.arange(60)
basis = np.linalg.svd(y[few] - y[few].mean(0), full_matrices=False)[2][:59]
one, other = (decode(K[:60, :60], k[:, :60], y[few], a) - y[few].mean(0) for a in (1e2, 1e4))
both = np.where(np.arange(128) < 64, one, other)
for case, e in (("one penalty", one), ("two", both)):
    outside = e - e @ basis.T @ basis
    print(f"{case:12} outside of the span: {(outside**2).sum() / (e**2).sum():.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Turn the signal down
# :label: validity-weak
#
# Imagery evokes a weaker signal under the same noise. Mix test responses $x_i$ and empty ones $n_i$, $a\, x_i + \sqrt{1 - a^2}\, n_i$, so that the noise stays as large as it is and the signal becomes $a$ times as large. How much is left of two-way identification, and of naming, at a half and a quarter?
# ```
#
# ```{solution-start} validity-weak
# :class: dropdown
# ```
#
# The noises of the mean of three and of the difference of two are uncorrelated, so their variances add up: $a^2 + (1 - a^2) = 1$ times the noise.

# %%
single = alone["new"][-200:]
for a in (1.0, 0.5, 0.25, 0.0):
    e = honest(a * test + np.sqrt(1 - a**2) * empty)[1]
    named = (name(e[single]) == category[single]).mean()
    print(f"signal {a:4}: identified {two_way(e, there):.2f}, named {named:.2f}")

# %% [markdown]
# And the simulation is kind. Its "imagery" keeps the make of what is seen.
#
# ```{solution-end}
# ```
#
# ```{exercise} Best of twenty
# :label: validity-best
#
# A generator gives another picture for every seed. Somebody draws 20 for each response, and shows the one that is most like the truth. Imitate it: add noise to what was decoded, 20 times, and keep the best by the truth. Which of the three checks finds it?
# ```
#
# ```{solution-start} validity-best
# :class: dropdown
# ```
#
# The truth was asked, so the shuffle finds it: with responses that belong to other pictures, the best of twenty is still above chance. Nothing fitted depends on a response, and each picture is drawn on its own, so the other two do not.


# %%
def best_of(e, draws, seed=0):
    """Of so many noisy versions the one that is most like the truth."""
    jitter = np.random.default_rng(seed).normal(size=(draws, *e.shape)) * y.std(0)
    versions = e + jitter
    s = np.stack([(unit(v) * unit(there)).sum(1) for v in versions])  # [draws, pictures]
    return versions[s.argmax(0), np.arange(len(e))]


for draws in (1, 20):
    scores = [two_way(best_of(honest(r)[1], draws), there) for r in (test, test[mixed])]
    print(f"best of {draws:2}: identified {scores[0]:.2f}, with shuffled responses {scores[1]:.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Another day
# :label: validity-day
#
# Let the scanner change between training and test: give all test responses of a voxel the same shift, drawn for each voxel with three times the spread of its responses. What does it do to the honest system, and what to the one that z-scores the test set? Then repair the honest one, with data that one may use.
# ```
#
# ```{solution-start} validity-day
# :class: dropdown
# ```
#
# Now the leak is worth something. The repair: show some pictures that are no test pictures on the same day, and z-score by the responses to these. Here the 200 pictures for aligning subjects stand in, shifted as the test responses are.

# %%
shift = 3 * x.std(0) * rng.normal(size=x.shape[1]).astype(np.float32)
day, same_day = test + shift, fmri["align"] + shift
repaired = (day - same_day.mean(0)) / same_day.std(0) * x.std(0) + x.mean(0)
for case, e in (
    ("honest", honest(day)[1]),
    ("z-scored by the test set", z_scored(day)[1]),
    ("by other pictures of that day", honest(repaired)[1]),
):
    named = (name(e[single]) == category[single]).mean()
    print(f"{case:30} named {named:.2f}, identified {two_way(e, there):.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`shirakawa2025spurious` rerun text-guided systems on a second data set whose test categories are not in training, where they fail; show that NSD's training and test pictures share their clusters; and give output dimension collapse its name and its formula. {cite:t}`otsuka2025overcoming` work out when choosing voxels for each feature, as MindDiffuser does, gets past it. {cite:t}`palatucci2009zero` named words from fMRI that the decoder had no example of.
# {cite:t}`kneeland2025nsd` test published decoders on imagined pictures. {cite:t}`tang2023semantic` measured whether a decoder works against a person's will, before somebody else asked.
#
# ## The way on
#
# {doc}`full_size`: the same commands at the size of NSD and of Stable Diffusion, and what they need.

# %%
scratch.cleanup()
