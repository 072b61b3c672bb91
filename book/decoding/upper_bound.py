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
# # The upper bound, and where the bottleneck is
#
# **You will be able to**
#
# - say of a lost detail whether the decoding lost it or the drawing;
# - hold a reconstruction against what a plain linear read-off gets from the same responses;
# - tell the noise in the test responses from everything else that decoding lacks;
# - read a curve over training pictures, and say what more of them would bring;
# - say what an upper bound proves, and what it does not.
#
# **Time** 40 minutes to read; the cells run in about 25 seconds.
#
# **Before this** {doc}`mind_diffuser_2`, {doc}`measuring`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part V, From brain to picture, at the chapter on the upper bound."}, "figure": {"caption": "Where you are: in Part V.", "name": "upper-bound-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("upper_bound")
plt.show()

# %% [markdown]
# From a picture to its reconstruction there are four links: the brain responds, the scanner measures, a regression decodes features, a network draws from them. Each can lose something. If the dog comes out as a cat, which of them was it? One experiment comes to mind: give the last link the *true* features, taken from the picture itself, and see what it draws. That is the *upper bound*.
#
# ## A chain with two leaks
#
# First a toy with two links, in which all is one number. A picture is its feature $f$, with mean 0 and variance 1. The decoder gives $\hat f$, which correlates with $f$ by $r_\text{decode}$. The drawing $y$ correlates with what it was drawn from by $r_\text{draw}$. If the two make their errors independently, then
#
# $$
# \mathrm{corr}(f, y) = r_\text{decode} \cdot r_\text{draw} .
# $$ (upper-chain)

# %%
import numpy as np

rng = np.random.default_rng(0)
N = 100_000
f = rng.normal(size=N)


def leak(x, r):
    """Something of variance 1 that correlates with x by r."""
    return r * x + np.sqrt(1 - r**2) * rng.normal(size=len(x))


def corr(a, b):
    """Pearson's correlation."""
    return np.corrcoef(a, b)[0, 1]


decoded, from_truth = leak(f, 0.6), leak(f, 0.9)
y = leak(decoded, 0.9)
print(
    f"whole chain {corr(f, y):.2f}; decoding {corr(f, decoded):.2f}; upper bound {corr(f, from_truth):.2f}"
)
print(f"the product: {abs(corr(f, y) - corr(f, decoded) * corr(decoded, y)) < 0.01}")

# %% [markdown]
# The upper bound is the second factor. It says what is lost when nothing is lost before. About the first factor it says nothing, and neither does it say why the first is what it is. And it is a bound of *this* drawing from *these* features. Another feature may be decoded better, and drawn worse.
#
# ## The true features
#
# Now to the book's four **simulated** subjects. The system "true features, stage 1" is MindDiffuser's first stage, with the latent $z$ of the true picture and the text embedding $c$ of its true captions. It has seen the answer, and the tables mark it as an oracle. These are the 200 test pictures, with means over subjects and pictures, and intervals over pictures.

# %%
from pathlib import Path

from minisd.decoding.leaderboard import load_scores
from minisd.decoding.report import compare, summarise
from minisd.decoding.systems import SYSTEMS

here = next(p for p in map(Path, (".", "../..")) if (p / "data_samples/decoding").exists())
results = here / "data_samples" / "decoding"
scores = load_scores(results / "scores.npz")
measures = ("object", "place", "background", "identification", "PixCorr", "SSIM")
print(f"{'':30}" + "".join(f"{name:>15}" for name in measures))
for system in ("upper_bound", "stage_1", "unclip", "retrieval", "takagi", "blur", "random_picture"):
    cells = [summarise(scores, system, measure) for measure in measures]
    print(f"{SYSTEMS[system].title:30}" + "".join(f"{one.mean:15.2f}" for one in cells))
best = summarise(scores, "upper_bound", "object")
print(f"\nobject with true features: {best.mean:.3f}, from {best.low:.3f} to {best.high:.3f}")

# %% [markdown]
# With true features nearly everything comes back. The object is right in all but one picture of a thousand, and it was asked to be in 95 of 100. From decoded features it is right in six of ten. So in this world, and for these features, the drawing is not what loses the object. All of the gap lies before it.
#
# The best decoder that makes no picture of its own, "nearest by CLIP", is further down. What it finds is a training picture, and no training picture is like the one that was seen in everything.
#
# ## One feature at a time
#
# Two features go in. Replace one of them by the true one, and leave the other decoded. Here on six test pictures of subject 1, the first six of the hundred that stage 2 is scored on.

# %%
import tempfile
from dataclasses import replace

import torch

from minisd.decoding.mind_diffuser import MindDiffuser
from minisd.decoding.responses import read_responses
from minisd.decoding.systems import RECIPES, Models
from minisd.decoding.targets import Seen, latents, text_embeddings
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare

subject = Subject(here / "data/nsd", 1)
scratch = tempfile.TemporaryDirectory()
prepared = prepare(subject, Path(scratch.name) / "1", PrepareSettings(align=200), progress=False)
train, test = (read_responses(subject, prepared, part) for part in ("train", "test"))
seen = {k: Seen(subject.pictures, getattr(prepared, k).nsd_id) for k in ("train", "test")}
miniature = here / "data_samples" / "miniature"
models = Models(miniature, miniature / "clip", device="cpu")
settings = replace(RECIPES["miniature"].mind_diffuser, iterations=0)
system = MindDiffuser(models.quick, models.clip, settings).load(results / "subj01/all")

hundred = np.linspace(0, 199, 100).round().astype(int)
six = hundred[:6]
truth = seen["test"][six].pictures(64)
found = system.decode(test[six])
true = {
    "z": torch.from_numpy(latents(models.sd, seen["test"][six], progress=False)),
    "c": torch.from_numpy(text_embeddings(models.sd, seen["test"][six], progress=False)),
}
seeds = test[six].seeds(0)


@torch.no_grad()
def drawn(**given):
    """What stage 1 draws, of decoded features and those that are given."""
    return system.draw({**found, **given}, seeds)


pictures = {
    "seen": truth,
    "decoded": drawn(),
    "true z": drawn(z=true["z"]),
    "true c": drawn(c=true["c"]),
    "both true": drawn(**true),
}

# %% mystnb={"image": {"alt": "Five rows of six pictures: seen; decoded, with things that are vague; with true z, nearly as seen; with true c, the right things in pale layouts; with both true, as seen."}, "figure": {"caption": "Simulated: seen; then stage 1 from decoded features, with the true z, with the true c, with both. The true c brings the thing, the true z nearly all.", "name": "upper-bound-crossed"}}
from minisd.plots import image_grid

titles = [name for name in pictures for _ in range(6)]
image_grid(torch.cat(list(pictures.values())), titles, columns=6)
plt.show()

# %% [markdown]
# In numbers, over the hundred pictures and all four subjects. `benchmarks/upper_bound.py` drew the two rows in the middle, and measured the rest of what this chapter shows.

# %%
import json

bound = json.loads((results / "upper_bound.json").read_text())
columns = ("object", "place", "background", "identification", "PixCorr", "layers")


def of_hundred(system):
    """Means over the hundred pictures and all subjects."""
    return {
        name: np.mean([np.nanmean(one[name][hundred]) for one in scores[system].values()])
        for name in columns
    }


rows = {"decoded": of_hundred("stage_1")}
for name in ("true z", "true c"):
    rows[name] = {k: np.mean([one["crossed"][name][k] for one in bound.values()]) for k in columns}
rows["both true"] = of_hundred("upper_bound")
print(f"{'':10}" + "".join(f"{name:>15}" for name in columns))
for name, row in rows.items():
    print(f"{name:10}" + "".join(f"{row[k]:15.2f}" for k in columns))

# %% [markdown]
# Each of the two brings much by itself, and in different columns. The true $c$ names the thing: the object goes from .6 to nearly .9, while pixels and layers hardly change. The true $z$ brings everything, the object too, although $c$ is still the decoded one. It is the picture, after all: at the strength of this recipe the noise leaves so much of it that the thing shows through. So the row "both true" is due to $z$ first of all. Keep that for the end of the chapter.
#
# The decoded features fall short in both. Neither is *the* bottleneck.
#
# ## What a plain read-off gets
#
# Is what decoding loses in the responses at all? Ask them without any picture in between. The scorer, a network that reads scenes, names the object, the place and the background of each training picture. Ridge regression from the responses to one number an answer, fitted on these, is a *linear read-off*: the largest number is its answer. The cell does it for subject 1.

# %%
import torch.nn.functional as F

from minisd.decoding.ridge import RidgeSettings, fit_ridge
from minisd.metrics import Scorer

scorer = Scorer.from_pretrained(miniature / "scorer")
told, there = (scorer(seen[part].pictures(64)) for part in ("train", "test"))
questions = {"object": "category", "place": "place", "background": "background"}
alone = (there["relation"].argmax(1) == 0).numpy()  # one thing: its place and name are clear


def share(same, name):
    """Share of right answers; object and place where one thing is shown."""
    return float(np.mean(same if name == "background" else same[alone]))


wanted = [F.one_hot(told[q].argmax(1), told[q].shape[1]).float() for q in questions.values()]
some = RidgeSettings(alphas=(1e2, 1e3, 1e4), folds=3)
ridge = fit_ridge(train.betas, torch.cat(wanted, 1).numpy(), some, progress=False)
said = ridge.predict(test.betas, rescale=False).split([one.shape[1] for one in wanted], 1)
read_off, chance = {}, {}
for answer, (name, q) in zip(said, questions.items(), strict=True):
    right = there[q].argmax(1)
    read_off[name] = share((answer.argmax(1) == right).numpy(), name)
    chance[name] = share((told[q].argmax(1)[:, None] == right).float().mean(0).numpy(), name)
for name in questions:
    print(f"{name:11} read off {read_off[name]:.2f}, a random training picture {chance[name]:.2f}")

# %% [markdown]
# So the responses hold far more of the object than chance, and a linear map finds it. The comparison is fair to neither side. The read-off is trained for these questions and answers nothing else; MindDiffuser has to draw a picture in which another network then finds the answer, and it was asked no question. That it reaches a part of the read-off is no small thing; how large a part is a number,
#
# $$
# \text{kept} = \frac{A_\text{system} - A_\text{chance}}{A_\text{read-off} - A_\text{chance}} ,
# $$ (upper-kept)
#
# with $A$ the share of right answers, and chance that of a random training picture. For the object 0.8 of it was the aim of this book. Here is what came out, by subject, for stage 1 on all 200 test pictures, and for both stages on the hundred (subjects 1 and 2).

# %%
hundred_scores = load_scores(results / "scores-100.npz")


def kept(system, asked, chance):
    """The share of the read-off's accuracy above chance."""
    return (system - chance) / (asked - chance)


def table(title, source, name, asked):
    """Print the kept shares by subject, and their mean."""
    print(f"{title:28}" + "".join(f"{q:>13}" for q in questions))
    rows = []
    for k, one in source[name].items():
        row = [
            kept(np.nanmean(one[q]), asked(bound[str(k)])[q], bound[str(k)]["chance"][q])
            for q in questions
        ]
        rows.append(row)
        print(f"{'subject ' + str(k):28}" + "".join(f"{value:13.2f}" for value in row))
    print(f"{'mean':28}" + "".join(f"{value:13.2f}" for value in np.mean(rows, 0)) + "\n")


by_hand = (np.nanmean(scores["stage_1"][1]["object"]) - chance["object"]) / (
    read_off["object"] - chance["object"]
)
table("stage 1, 200 pictures", scores, "stage_1", lambda one: one["read off"]["1850"])
table("stage 1, 100 pictures", hundred_scores, "stage_1", lambda one: one["read off, few"])
table(
    "both stages, 100 pictures", hundred_scores, "mind_diffuser", lambda one: one["read off, few"]
)
stored = bound["1"]["read off"]["1850"]["object"]
same = (
    abs(
        by_hand
        - kept(np.nanmean(scores["stage_1"][1]["object"]), stored, bound["1"]["chance"]["object"])
    )
    < 0.1
)
print(f"object of subject 1 by the cells above: the same within .1: {same}")

# %% [markdown]
# Stage 1 keeps four fifths of what the read-off has for the place, nearly all for the background, and **only seven tenths for the object: there the aim is missed**, in each subject. Both stages bring the place to all of it, and in subject 1 above: the read-off is no ceiling for a system that compares other features. The object rises to .84 in subject 2, and not in subject 1: with three quarters on average **the aim is missed** there, too. And for the place of subject 4 stage 1 is short of the aim as well; there the read-off is the worst of the four, too.
#
# Contrast of $c$, guidance and strength were varied on the 200 pictures of subject 1 that are set apart, after a first look at 64 of its test pictures ({doc}`mind_diffuser_1` has the table, `benchmarks/recipe.py` makes it). Over contrasts of 1.4 to 2.25, guidance of 1.5 to 4 and strengths of .25 to .55 the object was right in .63 to .67 of them. To choose among eight noises by the decoded features brought .70 there ({doc}`mind_diffuser_2`). So it is no matter of a better setting, as far as was searched.
#
# Then where is the object lost? On the way from the responses to $c$, or when the U-Net reads $c$? Ask the decoded $c$ itself. Fit a regression from *true* text embeddings of training pictures to the name of the thing, and apply it to the decoded ones. The first token is the same for all texts, and is left out.

# %%
half = slice(None, None, 2)  # of the training pictures, to be quick
texts = text_embeddings(models.sd, seen["train"][half], progress=False)[:, 1:]
names = F.one_hot(told["category"].argmax(1), told["category"].shape[1]).float().numpy()
probe = fit_ridge(
    texts.reshape(len(texts), -1),
    names[half],
    RidgeSettings(alphas=(1.0, 10.0, 100.0, 1000.0), folds=3),
    progress=False,
)
right = there["category"].argmax(1)
print(f"from the responses:       {read_off['object']:.2f}")
for what, c in (
    ("true", torch.from_numpy(text_embeddings(models.sd, seen["test"], progress=False))),
    ("decoded", system.decode(test)["c"]),
):
    answer = probe.predict(c[:, 1:].flatten(1).numpy(), rescale=False).argmax(1)
    print(f"from the {what + ' c:':17}{share((answer == right).numpy(), 'object'):.2f}")
print(f"from stage 1's picture:   {np.nanmean(scores['stage_1'][1]['object']):.2f}")

# %% [markdown]
# At both. The responses of this subject name the thing in .82, the decoded $c$ still in .75, and the picture in .60. So a smaller part is lost by the regression to 4,096 numbers, of which the name fills few, and a larger part when the U-Net reads them. The probe takes the most likely name, whatever else lies in $c$. The U-Net was trained on the texts of captions. Where $c$ lies between a dog and a cat it draws something between.
#
# ## Noise in the test responses
#
# A test picture was shown three times, and the responses were averaged. How much better would decoding be with thirty repeats, and how much worse is it with one? This is the part of the loss that is the scanner's. Let $\rho_1$ be the correlation of what is decoded from one trial with what is decoded from another of the same picture. If all that differs between trials is independent noise, then means of $n$ trials have the reliability of Spearman and Brown {cite}`spearman1910correlation,brown1910some`, which you met in {doc}`../brain/noise_ceiling`, and the correlation $r_n$ with the true feature follows from $r_1$:
#
# $$
# \rho_n = \frac{n \rho_1}{1 + (n - 1) \rho_1}, \qquad r_n = r_\infty \sqrt{\rho_n} .
# $$ (upper-repeats)
#
# $r_\infty$ is what no repeat can pass: there the test responses hold no noise, and what is missing was lost elsewhere. Measure $r_1$ and $\rho_1$, predict $r_2$ and $r_3$, and compare.

# %%
true_all = {
    "z": latents(models.sd, seen["test"], progress=False).reshape(200, -1),
    "c": text_embeddings(models.sd, seen["test"], progress=False).reshape(200, -1),
}


def alike(a, b):
    """Correlation over pictures, for each feature that varies."""
    a, b = a - a.mean(0), b - b.mean(0)
    length = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return (a * b).sum(0) / np.where(length > 1e-6, length, np.nan)


means = [read_responses(subject, prepared, "test", repeats=n).betas for n in (1, 2, 3)]
trials = [means[0], 2 * means[1] - means[0], 3 * means[2] - 2 * means[1]]
print("     r1    r2  predicted    r3  predicted    endless")
endless = {}
for name, wanted in true_all.items():
    decode = system.decoders[name].ridge.predict
    single = [decode(x).numpy() for x in trials]
    varies = np.isfinite(alike(single[0], wanted)) & (wanted.std(0) > 1e-3)
    rho = np.mean([alike(single[i], single[j])[varies].mean() for i, j in ((0, 1), (0, 2), (1, 2))])
    r1 = np.mean([alike(x, wanted)[varies].mean() for x in single])
    r2, r3 = (alike(decode(x).numpy(), wanted)[varies].mean() for x in means[1:])
    endless[name] = r1 / np.sqrt(rho)
    p2, p3 = (endless[name] * np.sqrt(n * rho / (1 + (n - 1) * rho)) for n in (2, 3))
    print(
        f"{name}  {r1:.2f}  {r2:.2f}    {p2:.2f}     {r3:.2f}    {p3:.2f}        {endless[name]:.2f}"
    )

# %% [markdown]
# Two numbers from one trial predict what two and three give. So the noise of different trials is independent here, as the formula asks. On average over features, $z$ would gain from endless repeats, and $c$ would gain more. But even then the correlations stay well below 1. Most of what is missing in $z$ is not the noise of the test responses.
#
# Move through the repeats, and beyond them to the true features.

# %%
from minisd.widgets import slider

by_repeats = {}
for n in (1, 2):
    some_trials = read_responses(subject, prepared, "test", repeats=n)[six]
    with torch.no_grad():
        by_repeats[f"{n} of 3"] = system.draw(system.decode(some_trials), seeds)
by_repeats["all 3"] = pictures["decoded"]
by_repeats["true features"] = pictures["both true"]


def draw_repeats(which):
    return image_grid(torch.cat([truth, by_repeats[which]]), columns=6)


slider(
    draw_repeats,
    tuple(by_repeats),
    label="trials averaged",
    caption="Simulated: seen (above), and stage 1 from the mean of so many trials, or from true features (below); noise of the walk held fixed.",
    alt="Six scenes, and what is drawn of them from: {}.".format,
)

# %% [markdown]
# ## More training pictures
#
# The rest of the loss in decoding is that the regression was fitted on few pictures, that it is linear, and that the voxels may not hold the feature. The first can be told from the others by a curve.

# %% mystnb={"image": {"alt": "Two panels with curves that rise with the number of training pictures and flatten. Left, correlations of decoded z and CLIP embedding. Right, shares of objects, places and backgrounds that a linear read-off names."}, "figure": {"caption": "Simulated: decoding of test pictures by the number of training pictures, mean over the four subjects. Left: features. Right: the read-off. What is far from flat would gain from more pictures.", "name": "upper-bound-training"}}
figure, axes = plt.subplots(1, 2, figsize=(7, 2.8))
for panel, key, names in (
    (axes[0], "features", ("z", "embedding")),
    (axes[1], "read off", tuple(questions)),
):
    for name in names:
        counts = [int(n) for n in bound["1"][key]]
        curve = [np.mean([one[key][str(n)][name] for one in bound.values()]) for n in counts]
        panel.plot(counts, curve, marker="o", label=name)
    panel.set(xlabel="training pictures", ylim=(0, 1))
    panel.legend(fontsize=8)
axes[0].set(ylabel="correlation")
axes[1].set(ylabel="share right")
plt.show()

# %%
for key, names in (("features", ("z", "embedding")), ("read off", tuple(questions))):
    for name in names:
        half, all_ = (
            np.mean([one[key][n][name] for one in bound.values()]) for n in ("800", "1850")
        )
        print(f"{name:11} 800 pictures {half:.2f}, 1850 {all_:.2f}")

# %% [markdown]
# More than twice as many pictures bring little, and still something: the curves rise, and ever more slowly. What remains when they are flat, and when the repeats are endless, is what a linear map cannot find in these voxels. Of a real brain nobody knows how much that is. Here the simulator could say, since it knows what the voxels were given ({doc}`what_the_brain_says`).
#
# ## A blur may win
#
# One more bound, of the measures themselves. A picture that is the truth, blurred, is an oracle too, and the decoded $z$ through the autoencoder is a blur without one. How do they stand in SSIM beside the systems?

# %%
order = sorted(scores, key=lambda name: -summarise(scores, name, "SSIM").mean)
for name in order:
    row = [summarise(scores, name, k).mean for k in ("SSIM", "PixCorr", "identification", "object")]
    mark = " (oracle)" if SYSTEMS[name].oracle else ""
    print(
        f"{SYSTEMS[name].title + mark:38} SSIM {row[0]:.2f}  PixCorr {row[1]:.2f}  identification {row[2]:.2f}  object {row[3]:.2f}"
    )

# %%
for k in ("SSIM", "PixCorr", "identification"):
    found_k = compare(scores, "blur", "stage_1", k)
    print(
        f"blur less stage 1, {k:15}"
        + "  ".join(f"{one.difference:+.2f} (p {one.p:.4f})" for one in found_k)
    )

# %% [markdown]
# In this world no blur *from the brain* wins: the blur of the decoded $z$ has less of everything than stage 1, in each subject. But look at the oracle. The true picture, blurred, has the SSIM of stage 1 and a better PixCorr, and a scorer finds the object in it in one of five. And the mean picture, the same for all, has a better SSIM than Takagi's pictures, than text alone and than retrieval, each of which wins about nine of ten identifications. Whoever ranks by SSIM ranks a picture of nothing above a picture of something. At full size, where photographs have more grass than these scenes, a plain blur was reported to win PixCorr and SSIM over whole systems {cite}`scotti2024mindeye2`.
#
# ## What an upper bound proves
#
# MindDiffuser's authors show pictures drawn from true features, which come close to what was seen {cite}`lu2023minddiffuser`. The report takes this up: it "proves that the model produced achieves a very high reconstruction ability and suggests that the bottleneck, at this point, might be represented by the accuracy in encoding the brain activity in the latent space". Go through it with what you have measured.
#
# - It shows that features of this kind *suffice*, for this network: what is in them can be drawn. That is the second factor of {eq}`upper-chain`, no more.
# - It does not prove a "reconstruction ability" of the model that reads brains. Nothing was read. With $z$ true, the autoencoder alone, without any diffusion, returns nearly the picture.
# - That the bottleneck is before the drawing follows, as a suggestion, and here it holds. Where before, it does not say. It may be the noise of the test responses, the number of training pictures, the linear map, or a brain that does not hold the feature. These you have separated with repeats, with training pictures, and with the read-off.
# - It is no bound of what can be reconstructed from a brain. Other features, decoded better, may lead to better pictures, and stage 2 uses some.
# - And errors are not independent. A decoded $z$ and $c$ lie where no true ones do, and the U-Net never met such. What it makes of those, the bound cannot show.
# - Last, it goes from the brain to features; "encoding the brain activity" is the other direction ({doc}`encoding`).
#
# It stands in the {ref}`errata <erratum-upper-bound-proves>`.
#
# ## Exercises
#
# ```{exercise} The autoencoder alone
# :label: upper-bound-autoencoder
#
# Decode the true $z$ of the six pictures with the autoencoder, without noise and without U-Net. How does its PixCorr compare with that of the upper bound? What follows for the sentence "the upper bound resembles the original"?
# ```
#
# ```{solution-start} upper-bound-autoencoder
# :class: dropdown
# ```
#
# It is nearer to the picture than the upper bound is: noising and denoising only take away. So that an upper bound with true $z$ resembles the original is a property of the autoencoder first of all.

# %%
from minisd.metrics.reconstruction import pixel_correlation

with torch.no_grad():
    direct = models.quick.decode(true["z"]).clamp(-1, 1)
for name, x in (("autoencoder alone", direct), ("upper bound", pictures["both true"])):
    print(f"{name:18} PixCorr {pixel_correlation(x, truth).mean():.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} How many repeats
# :label: upper-bound-how-many
#
# By {eq}`upper-repeats`, how many repeats of a test picture would bring the decoded $z$ to 95 % of $r_\infty$?
# ```
#
# ```{solution-start} upper-bound-how-many
# :class: dropdown
# ```
#
# $\sqrt{\rho_n} \ge 0.95$ means $\rho_n \ge 0.9025$. Solve {eq}`upper-repeats` for $n$: $n = \rho_n (1 - \rho_1) / (\rho_1 (1 - \rho_n))$.

# %%
for name in true_all:
    decode = system.decoders[name].ridge.predict
    single = [decode(x).numpy() for x in trials]
    varies = true_all[name].std(0) > 1e-3
    rho = np.nanmean([alike(single[i], single[j])[varies] for i, j in ((0, 1), (0, 2), (1, 2))])
    n = 0.9025 * (1 - rho) / (rho * (1 - 0.9025))
    print(f"{name}: reliability of one trial {rho:.1f}; {int(np.ceil(n))} repeats")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A bound that is none
# :label: upper-bound-none
#
# In the toy, let the drawing correct the decoder: it knows that $f$ is $-1$ or $+1$, and draws the nearer one of what it is given. Is the chain still the product of its links?
# ```
#
# ```{solution-start} upper-bound-none
# :class: dropdown
# ```
#
# No. A drawing that knows what pictures are like can repair what it is given, as a U-Net does, and the whole chain is then better than its first link. A product of correlations never is. But it must be given something good. From a poor decoder it decides wrongly, and a decision hedges nothing: the chain is worse.

# %%
signs = np.sign(rng.normal(size=N))
for r in (0.6, 0.9):
    noisy = leak(signs, r)
    print(f"decoded {corr(signs, noisy):.2f}, the nearer one {corr(signs, np.sign(noisy)):.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`lu2023minddiffuser` show the upper bound as pictures. {cite:t}`takagi2023high` ask a related question from the other end, and predict voxels from the features of each part of Stable Diffusion. {cite:t}`scotti2023reconstructing` report retrieval beside reconstruction, which tells what an embedding holds before anything is drawn of it. {cite:t}`shirakawa2025spurious` hold that a generator that only knows the training set's clusters can look like a reconstruction, which no upper bound shows; {doc}`validity` is about that.
#
# ## The way on
#
# {doc}`what_the_brain_says`: which part of the brain said it.
