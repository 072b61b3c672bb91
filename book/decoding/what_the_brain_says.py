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
# # What the brain says
#
# **You will be able to**
#
# - decode each feature from each region, and say what the table shows and what it does not;
# - test the claim that the latent comes from early cortex and the text from ventral cortex;
# - draw decoder weights and activation patterns on slices and on a flat map, and hold both against the truth;
# - count which voxels a selection takes, and compare that with the size of the regions;
# - map by banded ridge which space of features a voxel follows.
#
# **Time** 45 minutes to read; the cells run in about 30 seconds.
#
# **Before this** {doc}`encoding`: activation patterns and banded ridge. {doc}`takagi` and {doc}`mind_diffuser_1`: what $z$ and $c$ are for. {doc}`../brain/regions`: the flat map.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part V, From brain to picture, at the chapter What the brain says."}, "figure": {"caption": "Where you are: in Part V.", "name": "what-the-brain-says-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("what_the_brain_says")
plt.show()

# %% [markdown]
# A system that draws what a person saw has learned something about that person's brain. Or has it? The report asks for it: one should understand "which specific areas of the brain can be mapped to which (extracted) features", and it calls this the neurobiological plausibility of a model. {cite:t}`takagi2023high` take the latent $z$ from early visual cortex and the text embedding $c$ from the ventral stream. {cite:t}`lu2023minddiffuser` draw the weights of MindDiffuser's decoders on the cortex, and read from them which regions serve which feature.
#
# This chapter does what these papers did, and checks it. It can, as the brain is **simulated**: for once it is known what each voxel answers to. That truth lies in the folder `simulation`. No decoder reads it, and this chapter does, to grade the maps. Mind what that is worth. The simulation has early voxels that answer to Gabor energy and higher voxels that answer to what a scene shows, because textbooks say so. To find it again says that a *method* works. It says nothing about brains.
#
# ## The features
#
# One of the four subjects, as prepared in {doc}`encoding`, with every fifth training picture to keep the page short. Decoded are
#
# - $z$, the latent that Stable Diffusion begins from, 1,024 numbers here;
# - $c$, the text embedding, mean over the captions of a picture: of its 4,096 numbers here every fourth;
# - the embedding that the miniature's CLIP has of the picture, 128 numbers;
# - what can be read off the picture: its thing, its background, the place of the thing, one feature for each answer, 1 if that is the answer and 0 otherwise. The answers are those of the scoring network.

# %%
import tempfile
from pathlib import Path

import numpy as np

from minisd.decoding.responses import read_responses
from minisd.decoding.targets import Seen
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare

home = next(p for p in map(Path, (".", "../..")) if (p / "data/nsd").exists())
subject = Subject(home / "data/nsd", 1)
scratch = tempfile.TemporaryDirectory()
prepared = prepare(
    subject, Path(scratch.name) / "subj01", PrepareSettings(align=200), progress=False
)
train, test = (read_responses(subject, prepared, part) for part in ("train", "test"))
train = train[::5]
seen = {part: Seen(subject.pictures, getattr(prepared, part).nsd_id) for part in ("train", "test")}
seen["train"] = seen["train"][::5]
streams = [name for name in train.regions if name != "all"]
print(f"{len(train)} training and {len(test)} test pictures")
print({name: int(train.regions[name].sum()) for name in streams})

# %%
import torch
import torch.nn.functional as F

from minisd.checkpoints import load_clip
from minisd.decoding.targets import image_embeddings, latents, text_embeddings
from minisd.metrics import Scorer
from minisd.pipeline import StableDiffusion

miniature = home / "data_samples/miniature"
sd, clip = StableDiffusion.from_pretrained(miniature), load_clip(miniature / "clip")
scorer = Scorer.from_pretrained(miniature / "scorer")
QUESTIONS = {"object": "category", "background": "background", "place": "place"}


def features(one):
    said = scorer(one.pictures(64))
    return {
        "z": latents(sd, one, progress=False).reshape(len(one), -1),
        "c": text_embeddings(sd, one, progress=False).reshape(len(one), -1)[:, ::4],
        "embedding": image_embeddings(clip, one, progress=False),
        **{
            kind: F.one_hot(said[name].argmax(1), said[name].shape[1]).float().numpy()
            for kind, name in QUESTIONS.items()
        },
    }


kinds = {part: features(one) for part, one in seen.items()}
Y, Y_test = (np.concatenate(list(one.values()), axis=1) for one in kinds.values())
widths = {name: values.shape[1] for name, values in kinds["train"].items()}
edges = np.cumsum([0, *widths.values()])
columns = {name: slice(a, b) for name, a, b in zip(widths, edges, edges[1:], strict=False)}
print(widths)

# %% [markdown]
# ## Which region tells what
#
# Fit a decoder from each region to all features, and correlate what it says with what is there, over the test pictures. For a kind of features the score is the mean over its $T$ features:
#
# $$
# \bar r = \frac1T \sum_{t=1}^{T} \mathrm{corr}(\hat s_t, s_t) .
# $$ (what-the-brain-says-score)

# %%
from minisd.decoding.ridge import RidgeSettings, fit_ridge

settings = RidgeSettings(alphas=tuple(10.0 ** np.arange(1, 6)))


def alike(a, b):
    """Correlation of each column of a with that of b; NaN where one is constant."""
    a, b = a - a.mean(0), b - b.mean(0)
    length = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return (a * b).sum(0) / np.where(length > 1e-6, length, np.nan)


def decode_from(mask):
    ridge = fit_ridge(train.betas[:, mask], Y, settings, progress=False)
    r = alike(ridge.predict(test.betas[:, mask], rescale=False).numpy(), Y_test)
    return ridge, {name: float(np.nanmean(r[where])) for name, where in columns.items()}


table = {name: decode_from(train.regions[name])[1] for name in streams}
ridge, together = decode_from(train.regions["all"])
a, b = np.random.default_rng(0).normal(size=(2, 50, 3))
by_numpy = [np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(3)]
print("formula:", np.allclose(alike(a, b), by_numpy))

# %% mystnb={"image": {"alt": "A table of correlations as colours, seven regions and all of them together by six kinds of features. z is best from early. c and the embedding are about as good from early, ventral and lateral. The object is best from lateral, ventral and parietal, background and place from early. All regions together are best or nearly best in each column."}, "figure": {"caption": "Simulated: how well each kind of features is decoded from each region, mean correlation over test pictures. The latent comes from early cortex. The text embedding comes from everywhere.", "name": "what-the-brain-says-table"}}
values = np.array([list(row.values()) for row in [*table.values(), together]])
figure, axes = plt.subplots(figsize=(6.2, 3.8))
axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
for (i, j), value in np.ndenumerate(values):
    axes.text(
        j,
        i,
        f"{value:.2f}",
        ha="center",
        va="center",
        fontsize=9,
        color="white" if value > 0.6 else "black",
    )
axes.set(xticks=range(len(widths)), yticks=range(len(values)))
axes.set_xticklabels(widths)
axes.set_yticklabels([*streams, "all regions"])
axes.grid(False)
plt.show()

# %% [markdown]
# One subject is no result. `benchmarks/what_the_brain_says.py` has done the same with all training pictures of all four.

# %%
import json

shipped = json.loads((home / "data_samples/decoding/what_the_brain_says.json").read_text())


def over_subjects(kind, region, of="decoded"):
    return np.array([one[of][region][kind] for one in shipped.values()])


print(f"{len(shipped)} subjects, mean correlation")
rows = ("early", "ventral", "lateral", "early and ventral")
print(f"{'':18}" + "".join(f"{kind:>11}" for kind in widths))
for region in rows:
    print(
        f"{region:18}" + "".join(f"{over_subjects(kind, region).mean():11.2f}" for kind in widths)
    )
for kind in widths:
    more = over_subjects(kind, "early") - over_subjects(kind, "ventral")
    said = "early in all" if (more > 0).all() else "ventral in all" if (more < 0).all() else "mixed"
    print(f"{kind:10} better from: {said}")

# %% [markdown]
# The first half of the claim holds. The latent is a small, blurred copy of the picture, and the place to find it is where the picture lies on the cortex point by point.
#
# The second half does not. In no region is $c$ decoded much better than in the others, and early cortex does not stand back. Yet no early voxel of this simulation knows a word. How can it be? A caption names the background, and a beach has other edges and colours than a street. The text embedding holds the background and the place beside the thing, and these two are told by early voxels better than by any others. Only the *thing* itself is told better by the ventral and lateral streams.
#
# So "$c$ from ventral" is half of the truth even where everything was built for it, and a system that reads $c$ from ventral voxels alone gives something away: from both together it is decoded better than from either. That a feature can be decoded from a region does not say that the region *represents* it. It says that something goes on there that differs between pictures that differ in the feature {cite}`kriegeskorte2019interpreting`.
#
# ### A fair race?
#
# Early cortex has more voxels than the other regions, and better ones. Here is the same with as many voxels from each region as the smallest has, 140 in subject 1, drawn by chance:

# %%
print(f"{'as many voxels of':18}" + "".join(f"{kind:>11}" for kind in widths))
for region in ("early", "ventral", "lateral"):
    print(
        f"{region:18}"
        + "".join(f"{over_subjects(kind, region, 'equal').mean():11.2f}" for kind in widths)
    )

# %% [markdown]
# All numbers fall. The latent, the background and the place keep their order, and so does the thing. For $c$ the regions are level. With as many voxels for each, the better signal of the early ones is still in it. There is no way to make regions equal in all respects.
#
# ## Which voxels a selection takes
#
# MindDiffuser chooses for each feature the 450 voxels that correlate with it best ({doc}`ridge`). Count how often a region's voxels are taken. By chance a region with the share $V_R / V$ of the voxels has that share of the choices. What is above is its *enrichment*,
#
# $$
# E_R = \frac{\text{choices in } R \,/\, \text{all choices}}{V_R \,/\, V} .
# $$ (what-the-brain-says-enrichment)

# %%
from minisd.decoding.selected import select

X = np.array(train.betas)


def enrichment(y):
    chosen = select(torch.from_numpy(X), torch.from_numpy(y), 450).flatten()
    counts = np.bincount(chosen.numpy(), minlength=X.shape[1])
    return {name: counts[train.regions[name]].mean() / counts.mean() for name in streams}, counts


print(f"{'':12}" + "".join(f"{kind:>11}" for kind in widths))
enriched = {kind: enrichment(Y[:, where]) for kind, where in columns.items()}
for region in streams:
    print(f"{region:12}" + "".join(f"{enriched[kind][0][region]:11.1f}" for kind in widths))
counts, early = enriched["z"][1], train.regions["early"]
formula = (counts[early].sum() / counts.sum()) / (early.sum() / len(early))
print("formula:", np.isclose(formula, enriched["z"][0]["early"]))

# %% [markdown]
# The count tells the same story as the table, and for a good reason: a voxel is chosen because it correlates with the feature by itself. The selection is a crude map, and an honest one. What is drawn in the papers is what comes after it: the weights.
#
# ## Weights and patterns
#
# {doc}`encoding` showed with two voxels that a decoder's weight is no sign that a voxel has the feature. It also showed the remedy, the activation pattern $a = \mathrm{cov}(x, \hat s) / \mathrm{var}(\hat s)$ {cite}`haufe2014interpretation`. Now on a brain. Take the decoder from all voxels.

# %%
from minisd.decoding.patterns import activation_patterns

W = (ridge.weights * ridge.gain).numpy()  # [voxels, features]
A = activation_patterns(ridge, X).numpy()
print(W.shape, A.shape)

# %% [markdown]
# The truth: how the noise-free response of each voxel changes with the feature, over the same pictures,
#
# $$
# a^\ast_v = \frac{\mathrm{cov}(\sigma_v\, g_v,\ s)}{\mathrm{var}(s)}, \qquad
# \sigma_v = \frac{\mathtt{ncsnr}_v}{\sqrt{1 + \mathtt{ncsnr}_v^2}} ,
# $$ (what-the-brain-says-truth)
#
# where $g_v$ is the signal of voxel $v$, with a standard deviation of 1, and $\sigma_v$ its standard deviation in units of the z-scored betas.

# %%
truth = np.load(subject.root.path / "simulation" / "subj01.npz")
index = np.full(truth["brain"].shape, -1)
index[truth["brain"]] = np.arange(truth["brain"].sum())
voxels = index[prepared.mask]  # their places among the voxels of the brain
row_of = {picture: row for row, picture in enumerate(truth["pictures"].tolist())}
rows = [row_of[picture] for picture in seen["train"].nsd_id.tolist()]
ncsnr = truth["ncsnr"][voxels]
column = np.cumsum(truth["ncsnr"] > 0) - 1  # the signal has the responsive voxels alone
signal = truth["signal"][np.ix_(rows, column[voxels])].astype(np.float32)
signal *= ncsnr / np.sqrt(1 + ncsnr**2)

centred = Y - Y.mean(0)
A_true = (signal - signal.mean(0)).T @ centred / np.maximum((centred**2).sum(0), 1e-6)
some = int(np.argmax(Y[:, columns["background"]].mean(0))) + columns["background"].start
slope = np.polyfit(Y[:, some], signal[:, 7], 1)[0]
print("formula:", np.allclose(slope, A_true[7, some], atol=1e-3))

print("correlation over voxels with the truth, mean over features")
for kind, where in columns.items():
    graded = [np.nanmean(alike(one[:, where], A_true[:, where])) for one in (W, A)]
    print(f"{kind:10} weights {graded[0]:.2f}, patterns {graded[1]:.2f}")

# %% [markdown]
# This is the chapter in two columns. A map of weights has little to do with where the feature is. The patterns of the *same decoder* find it nearly perfectly. In all four subjects:

# %%
for name in ("weights", "patterns"):
    found = np.array([[one["maps"][name][kind] for kind in widths] for one in shipped.values()])
    print(f"{name:8} lowest {found.min():.2f}, highest {found.max():.2f}")

# %% [markdown]
# To see it, lay the cortex flat as in {doc}`../brain/regions`: the simulated brain is grown again from its seed, and each pixel of the map takes the voxel whose place is nearest. (The simulated cortex has a seam, where many voxels lie on one line. It shows as a striped column in each hemisphere.)

# %%
from scipy.spatial import cKDTree

from minisd.nsd.simulate import SIZES
from minisd.nsd.simulate.anatomy import grow

plan = SIZES["book"]
brain = grow(plan.subjects[0].shape, plan.rng("anatomy", 1))
print("the same brain:", np.array_equal(brain.brain, truth["brain"]))
mask = prepared.mask
side = brain.hemisphere[mask]  # 1 left, 2 right
rho, psi = brain.rho[mask], np.radians(brain.psi[mask])
across, up = rho * np.cos(psi), rho * np.sin(psi)
across = np.where(side == 1, across, -across)
pixels = np.stack(np.meshgrid(np.arange(-105, 106, 3), np.arange(-105, 106, 3)), axis=-1)
nearest, levels = [], plt.get_cmap("RdBu_r", 9)
for one in (1, 2):
    mine = np.flatnonzero(side == one)
    distance, place = cKDTree(np.stack([across, up], axis=1)[mine]).query(pixels)
    nearest.append(np.where(distance < 6, mine[place], -1))


def flat_picture(axes, values, **style):
    """Both hemispheres of a map side by side, with early cortex outlined."""
    parts = [np.where(one >= 0, values[one], np.nan) for one in nearest]
    handle = axes.imshow(
        np.concatenate(parts, axis=1), origin="lower", interpolation="nearest", **style
    )
    inside = [np.where(one >= 0, train.regions["early"][one], False) for one in nearest]
    axes.contour(np.concatenate(inside, axis=1), [0.5], colors="black", linewidths=0.7)
    axes.set(xticks=[], yticks=[], frame_on=False)
    axes.grid(False)
    return handle


# %% [markdown]
# Two features to look at: whether there is an *animal*, which is read off the thing, and one number of the latent, in the left half of the picture. All get the same penalty, so that their maps can be compared.

# %%
from minisd.metrics.labels import LABELS

ANIMALS = ("dog", "cat", "bird", "horse", "elephant", "teddy bear")
labels = {kind: LABELS[name] for kind, name in QUESTIONS.items()}
member = np.isin(labels["object"], ANIMALS)
r2 = ridge.r2[columns["z"]].reshape(4, 16, 16).clone()
off = torch.ones(16, 16, dtype=torch.bool)
off[4:8, 2:6] = False  # level with the gaze, to the left
r2[:, off] = -1
number = int(r2.argmax())
channel, high, left = np.unravel_index(number, r2.shape)
print(f"latent: channel {channel}, {high} of 16 from the top, {left} of 16 from the left")

wanted = {
    "animal": Y[:, columns["object"]][:, member].sum(1),
    "latent, left": Y[:, number],
    "room": Y[:, columns["background"].start + labels["background"].index("room")],
    "beach": Y[:, columns["background"].start + labels["background"].index("beach")],
    "thing on the left": Y[:, columns["place"].start + labels["place"].index("left")],
}
few = np.stack(list(wanted.values()), axis=1)
reader = fit_ridge(X, few, RidgeSettings(alphas=(1e3,)), progress=False)
centred = few - few.mean(0)
maps = {
    "weights": reader.weights.numpy(),
    "pattern": activation_patterns(reader, X).numpy(),
    "truth": (signal - signal.mean(0)).T @ centred / (centred**2).sum(0),
}
for k, name in enumerate(wanted):
    graded = [np.corrcoef(maps[one][:, k], maps["truth"][:, k])[0, 1] for one in maps]
    print(f"{name:18} weights {graded[0]:.2f}, pattern {graded[1]:.2f}")

# %% mystnb={"image": {"alt": "Two rows of three flat maps, weights, pattern and truth. The maps of weights are speckle without form. In the upper row, animal, pattern and truth both show the same red and blue patches outside of early cortex. In the lower row, a latent on the left, both show one strong spot in the early cortex of the right hemisphere."}, "figure": {"caption": "Simulated, both hemispheres laid flat, early cortex outlined: a decoder's weights, its activation patterns, and the truth, for two features. The weights show nothing that could be read. The patterns show patches for animals outside of early cortex, and for the latent on the left a place in the right early cortex.", "name": "what-the-brain-says-flat"}}
figure, panels = plt.subplots(2, 3, figsize=(6.6, 2.9))
for k, (row, name) in enumerate(zip(panels, ("animal", "latent, left"), strict=True)):
    for axes, (title, one) in zip(row, maps.items(), strict=True):
        limit = np.percentile(np.abs(one[:, k]), 99)
        flat_picture(axes, one[:, k], cmap=levels, vmin=-limit, vmax=limit)
        if k == 0:
            axes.set_title(title)
    row[0].set_ylabel(name)
plt.show()

# %% mystnb={"image": {"alt": "Three slices through the brain, seen from above, with the animal decoder: weights as speckle of red and blue all over the cortex, the pattern with coherent red and blue stretches, and the truth with the same stretches as the pattern."}, "figure": {"caption": "Simulated: the animal decoder on one slice, the back of the head at the bottom. The weights (left) look like noise, pattern (middle) and truth (right) agree.", "name": "what-the-brain-says-slices"}}
from minisd.nsd.files import read_map

anatomy = read_map(subject.root, subject.root.volume(1, "T1_to_func1pt8mm"))
figure, panels = plt.subplots(1, 3, figsize=(6.4, 2.5))
for axes, (title, one) in zip(panels, maps.items(), strict=True):
    limit = np.percentile(np.abs(one[:, 0]), 99)
    axes.imshow(anatomy[:, :, 7].T, origin="lower", cmap="gray")
    volume = prepared.volume(one[:, 0])
    axes.imshow(volume[:, :, 7].T, origin="lower", cmap=levels, vmin=-limit, vmax=limit)
    axes.set(title=title, xticks=[], yticks=[])
    axes.grid(False)
plt.show()

# %% [markdown]
# Why are the weights so bad? There are ten times as many voxels as pictures. Neighbours tell nearly the same, and what they tell is drowned in noise that they share. The decoder spreads small weights over all of them, in whatever combination cancels most noise. Such a combination is nothing that one could read.
#
# Try other features.

# %%
from minisd.widgets import slider


def draw_feature(name):
    k = list(wanted).index(name)
    figure, panels = plt.subplots(3, 1, figsize=(3.2, 4.6))
    for axes, (title, one) in zip(panels, maps.items(), strict=True):
        limit = np.percentile(np.abs(one[:, k]), 99)
        flat_picture(axes, one[:, k], cmap=levels, vmin=-limit, vmax=limit)
        axes.set_title(title, fontsize=9)
    return figure


slider(
    draw_feature,
    list(wanted),
    label="feature",
    caption="Simulated: weights, pattern and truth of five features on the flat map, early cortex outlined. Red: the response grows with the feature. A room shows most in patches outside of early cortex, a beach most within.",
    alt="Three flat maps, weights, pattern and truth, for the feature: {}.".format,
    start=3,
)

# %% [markdown]
# ### What would have been concluded
#
# Suppose you had only maps of weights, and did what is often done: take the size of the weights in each region as its importance. Here are the mean squares, each map divided by its mean over all voxels, all features brought to the same spread. Features that cannot be decoded are left out: a pattern belongs to the *decoded* feature, and where the decoder fails, that is a number of its own.

# %%
spread = np.maximum(Y.std(0), 1e-6)
known = ridge.r2.numpy() > 0.1  # features that are decoded at all
power = {
    "weights": (W / np.where(Y.std(0) > 1e-4, spread, np.inf)) ** 2,
    "patterns": (A * spread) ** 2,
    "truth": (A_true * spread) ** 2,
}
for kind in ("z", "object", "background"):
    where = columns[kind]
    print(kind)
    for name, one in power.items():
        each = one[:, where][:, known[where]].sum(1)
        told = {r: each[train.regions[r]].mean() / each.mean() for r in streams}
        print(f"  {name:9}" + "".join(f"{r} {v:4.1f}  " for r, v in told.items()))

# %% [markdown]
# By the weights every region is about as important as every other: for the thing, early cortex and the ventral stream are level. The patterns tell the ventral and lateral streams from the rest, as the truth does. MindDiffuser's figure shows weights of decoders on the cortex of NSD's subjects {cite}`lu2023minddiffuser`. There each feature has weights in its selected voxels alone, so the map is a mixture of the count above, which means something, and of the weights, which may mean anything. That its picture
# is plausible may be the work of the count. It takes one line to draw patterns instead, and no new fit.
#
# ## What a pattern does not say
#
# Look at *beach* again. Its pattern is strongest in early cortex, and the pattern is right: these voxels do answer differently when there is a beach. They answer to its edges and its colours. A pattern shows all that goes along with a feature, be it cause, part or company. To ask what a voxel follows, let explanations compete. That is banded ridge ({eq}`encoding-banded`), with Gabor energy against CLIP's embedding.

# %%
from minisd.decoding.encoding import fit_encoding, split_r2
from minisd.decoding.gabor import GaborSettings, gabor_energy

gabor = GaborSettings()
spaces = {
    part: {
        "Gabor": torch.cat([gabor_energy(x, gabor) for x in one.batches(gabor.size)]),
        "CLIP": torch.from_numpy(kinds[part]["embedding"]),
    }
    for part, one in seen.items()
}
mixtures = np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9], [0.99, 0.01], [0.01, 0.99]])
penalties = RidgeSettings(alphas=tuple(10.0 ** np.arange(-3, 3)), folds=4)
banded = fit_encoding(spaces["train"], X, penalties, mixtures, progress=False)
shares = split_r2(banded.parts(spaces["test"]), test.betas)
explained = shares.sum(0)
told = explained > 0.05
gabor_share = np.where(told, shares[0] / np.maximum(explained, 0.05), np.nan)

put_in = {
    "receptive field alone": truth["retinotopic"] & ~truth["semantic"],
    "both": truth["retinotopic"] & truth["semantic"],
    "scene alone": truth["semantic"] & ~truth["retinotopic"],
}
for name, where in put_in.items():
    mine = where[voxels]
    low, middle, high = np.nanpercentile(gabor_share[mine], [25, 50, 75])
    print(f"{name:22} {mine.sum():5} voxels: Gabor has {middle:.1f} ({low:.1f} to {high:.1f})")

# %% mystnb={"image": {"alt": "A flat map of both hemispheres. Within the outline of early cortex nearly all is yellow, Gabor. Beyond it comes a rim of mixed colours, and then dark blue and green, CLIP, with white gaps where too little is explained."}, "figure": {"caption": "Simulated: which space each voxel follows, by its share of what both explain of the test responses, where that is at least 5 % of the variance. Gabor energy has early cortex (outlined), CLIP most of what lies beyond, with a rim between them.", "name": "what-the-brain-says-banded"}}
figure, axes = plt.subplots(figsize=(6.2, 3.0))
handle = flat_picture(
    axes, np.clip(gabor_share, 0, 1), cmap=plt.get_cmap("viridis", 5), vmin=0, vmax=1
)
figure.colorbar(handle, ax=axes, shrink=0.8, label="Gabor's share")
plt.show()

# %% [markdown]
# This finds what was put in. Voxels with a receptive field go to Gabor energy, voxels that answer to the scene go to CLIP, and the middle regions, made of both, lie between. The early voxels that decode the background so well turn out to have no use for CLIP. That was not visible from the decoder in any way.
#
# It is still a race between two horses. Half of what the higher voxels repeat is neither, by construction, and the race does not tell you so. The noise ceiling does ({numref}`encoding-shares`).
#
# ## What may be said
#
# - *Decoding from a region* says that the region has information on the feature, in a linear form, in this set of pictures.
# - *Selected voxels* say where single voxels correlate with it.
# - *Weights* say how to decode. They say nothing about where.
# - *Patterns* say how responses change with the decoded feature, whatever the reason.
# - *Encoding models* in competition say which of the given features a voxel follows.
# - None of them says that the brain *uses* it {cite}`weichwald2015causal`. For that one has to interfere.
#
# And all of this chapter is about a simulation. On real data the same cells run, but for those that read the truth. Their answers may differ.
#
# ## Exercises
#
# ```{exercise} Patterns without a decoder
# :label: what-the-brain-says-univariate
#
# With more voxels than pictures and a small penalty the decoder fits the training features exactly, $\hat s = s$. What is its pattern then? Compare with the map that regresses each voxel on the feature. What becomes of weights and pattern when the penalty grows?
# ```
#
# ```{solution-start} what-the-brain-says-univariate
# :class: dropdown
# ```
#
# It becomes $\mathrm{cov}(x, s) / \mathrm{var}(s)$, the encoding model of one feature, voxel by voxel. So this pattern needs no decoder at all. With a larger penalty $\hat s$ keeps the directions in which responses vary most, and the pattern changes little. The weights do: with a huge penalty $w \approx X^\top s / \alpha$ ({eq}`ridge-dual`), which is the same map once more. How far weights mislead depends on a penalty that was chosen for another purpose.

# %%
exact = fit_ridge(X, few[:, :1], RidgeSettings(alphas=(1e-2,)), progress=False)
pattern = activation_patterns(exact, X)[:, 0].numpy()
regressed = (X - X.mean(0)).T @ centred[:, 0] / (centred[:, 0] ** 2).sum()
print("the same map:", bool(np.corrcoef(pattern, regressed)[0, 1] > 0.999))
for alpha in (1e-2, 1e3, 1e7):
    one = fit_ridge(X, few[:, :1], RidgeSettings(alphas=(alpha,)), progress=False)
    both = one.weights[:, 0].numpy(), activation_patterns(one, X)[:, 0].numpy()
    graded = [np.corrcoef(two, maps["truth"][:, 0])[0, 1] for two in both]
    print(f"penalty {alpha:.0e}, with the truth: weights {graded[0]:.1f}, pattern {graded[1]:.1f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} One feature while the others stay
# :label: what-the-brain-says-joint
#
# `activation_patterns(..., joint=True)` gives $\Sigma_x W \Sigma_{\hat s}^{-1}$: what one decoded feature adds while the others stay. Take *animal* and *room* together. Does the pattern of *animal* change? Why is there an error if you ask it for all six backgrounds?
# ```
#
# ```{solution-start} what-the-brain-says-joint
# :class: dropdown
# ```
#
# Hardly: whether there is an animal has little to do with the background, so taking the one into account changes little in the other. The six backgrounds are answers to one question. They add up to 1, and so do their decoded values, up to a constant: none can change while the other five stay.

# %%
two = fit_ridge(X, few[:, [0, 2]], settings, progress=False)
joint = activation_patterns(two, X, joint=True)[:, 0].numpy()
alone = activation_patterns(two, X)[:, 0].numpy()
print("nearly the same:", bool(np.corrcoef(joint, alone)[0, 1] > 0.9))
common = RidgeSettings(alphas=(1e4,))
six = fit_ridge(X, Y[:, columns["background"]], common, progress=False)
try:
    unscaled = type(six)(**{**vars(six), "gain": torch.ones(6)})
    activation_patterns(unscaled, X, joint=True)
except ValueError as error:
    print(error)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Leave a region out
# :label: what-the-brain-says-without
#
# Decode the object from all regions but the ventral stream. How much is lost? What does that say of a claim that the object "is in" the ventral stream?
# ```
#
# ```{solution-start} what-the-brain-says-without
# :class: dropdown
# ```
#
# Next to nothing: the lateral and parietal streams have it too. A region may be sufficient and not necessary, and a table of regions, each alone, does not show which.

# %%
without = decode_from(~train.regions["ventral"])[1]["object"]
alone = table["ventral"]["object"]
print(f"all {together['object']:.2f}, without ventral {without:.2f}, ventral alone {alone:.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`takagi2023high` also went the other way, and predicted voxels from $z$, from $c$ and from the noised latents of each step, by encoding models: there they found $z$ to predict early regions and $c$ higher ones. {cite:t}`lu2023minddiffuser` show decoder weights. {cite:t}`haufe2014interpretation` say why weights are not to be read, and how to make patterns. {cite:t}`kriegeskorte2019interpreting` and {cite:t}`weichwald2015causal` set out what each kind of model allows one to conclude. {cite:t}`latour2022feature` map spaces of
# features by banded ridge. {cite:t}`naselaris2011encoding` argue for encoding models wherever the question is about the brain.
#
# ## The way on
#
# One brain was read. {doc}`across_subjects` asks what of it is good for another.

# %%
scratch.cleanup()
