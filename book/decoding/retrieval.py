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
# # Retrieval and inversion
#
# **You will be able to**
#
# - name the picture that was seen among many, from handcrafted features;
# - look up decoded features in a gallery, and say what the gallery decides;
# - change a picture until its features match, and say why what comes out is no picture;
# - tell identification, retrieval and reconstruction apart.
#
# **Time** 40 minutes to read; the cells run in about 30 seconds.
#
# **Before this** {doc}`ridge` and {doc}`measuring`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part V, From brain to picture, at the chapter on retrieval and inversion."}, "figure": {"caption": "Where you are: in Part V.", "name": "retrieval-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("retrieval")
plt.show()

# %% [markdown]
# A regression turns a brain's responses into features of the picture. Features are no picture yet. Before there were networks that draw, there were two ways on. *Compare* the decoded features with those of pictures in a database, and show the nearest. Or *optimise*: change a picture step by step until its features are those that were decoded. Both are still in use, and both teach what a drawing network is for. And before deep features there were handcrafted ones, with which it all began.
#
# ## In two dimensions
#
# ### Looking up
#
# Let a picture be a point in the plane, and its two coordinates be its features $f(x)$. A decoder gives $\hat f$, which is the truth and an error. Of a gallery of $G$ pictures $x_1, \dots, x_G$, take
#
# $$
# \hat\imath = \arg\max_{g} \; s\bigl(\hat f, f(x_g)\bigr) ,
# $$ (retrieval-nearest)
#
# with a measure of alikeness $s$: here minus the distance, later a correlation. How good is the picture that comes back?

# %%
import numpy as np

rng = np.random.default_rng(0)
truth = rng.normal(size=(500, 2))
decoded = truth + 0.3 * rng.normal(size=(500, 2))


def nearest(asked, gallery):
    """The place in the gallery of what is nearest to each."""
    return ((asked[:, None] - gallery[None]) ** 2).sum(2).argmin(1)


print(f"what was decoded is off by {np.linalg.norm(decoded - truth, axis=1).mean():.2f}")
for G in (5, 50, 500, 5000):
    gallery = rng.normal(size=(G, 2))
    found = gallery[nearest(decoded, gallery)]
    print(f"gallery of {G:4}: off by {np.linalg.norm(found - truth, axis=1).mean():.2f}")
named = nearest(decoded, truth) == np.arange(500)
print(f"the truth is in the gallery: found in {named.mean():.0%}, chance {1 / 500:.1%}")

# %% [markdown]
# A small gallery has nothing near, and the gallery limits the result. A large one has something near everywhere, and then the decoder's error limits it. In the last line the truths themselves are in the gallery. To find them there is called *identification*. It is a good test of a decoder. It is not a way to a picture that nobody had before.
#
# ### Changing a picture
#
# The other way is an optimisation. Look for a picture whose features $f(x)$ are the decoded ones, and let a *prior* $R$ with the weight $\lambda$ say what pictures are like:
#
# $$
# \min_x \; \lVert f(x) - \hat f \rVert^2 + \lambda R(x) .
# $$ (retrieval-inversion)
#
# A toy again. All pictures of this world lie on a circle of radius 1. There is one feature, the first coordinate. So $f(x) = x_1$ has the same value on a whole vertical line, and of that line two points are pictures. As a prior take $R(x) = (\lVert x \rVert^2 - 1)^2$, which is 0 on the circle. Start near the middle, the grey of this world, and go down the gradient.

# %%
import torch

wanted = 0.6


def descend(weight, start=(0.0, 0.1), steps=400):
    """Walk down the gradient of the loss; give all points on the way."""
    x, path = torch.tensor(start), []
    for _ in range(steps):
        x = x.detach().requires_grad_()
        path.append(x.detach())
        loss = (x[0] - wanted) ** 2 + weight * (x.square().sum() - 1) ** 2
        x = x - 0.05 * torch.autograd.grad(loss, x)[0]
    return torch.stack(path)


paths = {name: descend(weight) for name, weight in (("no prior", 0.0), ("prior", 0.5))}
for name, path in paths.items():
    x = path[-1]
    print(f"{name:8} feature {x[0]:.2f}, distance from the middle {x.norm():.2f}")

# %% mystnb={"image": {"alt": "A plane with a grey circle of pictures and a dashed vertical line on which the feature has the wanted value. The path without a prior goes from the middle straight to the line and stops inside of the circle. The path with a prior ends where line and circle meet."}, "figure": {"caption": "Without a prior the descent ends at a point that has the feature and is no picture. With one it ends on the circle.", "name": "retrieval-circle"}}
figure, axes = plt.subplots(figsize=(3.6, 3.4))
turn = np.linspace(0, 2 * np.pi, 200)
axes.plot(np.cos(turn), np.sin(turn), color="grey", lw=1)
axes.axvline(wanted, color="black", ls="--", lw=1)
for name, path in paths.items():
    (line,) = axes.plot(*path.T, label=name)
    axes.plot(*path[-1], "o", color=line.get_color())
axes.set(aspect="equal", xlabel="first coordinate, the feature", ylabel="second coordinate")
axes.legend(loc="lower left")
plt.show()

# %% [markdown]
# The features match in both cases. But features say little about a picture: thousands of pixels, a hundred features. Everything that they leave open is decided by the start and by the prior. Keep that in mind for the end of this chapter.
#
# ## The subject
#
# The subject is **simulated**, as before; a thousand training pictures are enough.

# %%
import tempfile
from pathlib import Path

from minisd.checkpoints import load_clip
from minisd.decoding.responses import read_responses
from minisd.decoding.targets import Seen
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare

root = next(p for p in map(Path, ("data/nsd", "../../data/nsd")) if p.exists())
MINIATURE = next(
    p for p in (Path("data_samples/miniature"), Path("../../data_samples/miniature")) if p.exists()
)
subject = Subject(root, 1)
scratch = tempfile.TemporaryDirectory()
prepared = prepare(
    subject, Path(scratch.name) / "subj01", PrepareSettings(align=200), progress=False
)
train, test = (read_responses(subject, prepared, part) for part in ("train", "test"))
train, learned = train[:1000], Seen(subject.pictures, prepared.train.nsd_id)[:1000]
tested = Seen(subject.pictures, prepared.test.nsd_id)
seen = tested.pictures(64)

# %% [markdown]
# ## Handcrafted features
#
# In 2008, Kay, Naselaris, Prenger and Gallant named the picture that a person saw out of 120 it had not been trained on, in 92 and in 72 percent of cases for their two subjects {cite}`kay2008identifying`. The features were handcrafted: the energy of Gabor filters. And they went the other way than {doc}`ridge`. An *encoding model* predicts each voxel from a picture's features ({doc}`encoding`). For each candidate picture it predicts the pattern of voxels, and the candidate whose pattern correlates best with the measured one is named.
#
# A filter answers to one orientation $\theta_k$ and one wavelength $\lambda$. Here it is *log-Gabor* {cite}`field1987relations`, a bump in the plane of frequencies with radius $\rho$ and angle $\theta$:
#
# $$
# G(\rho, \theta) = \exp\Bigl( -\frac{(\log_2 \rho \lambda)^2}{2 \cdot 0.5^2} \Bigr)
# \exp\Bigl( -\frac{(\theta - \theta_k)^2}{2 \sigma_\theta^2} \Bigr) .
# $$ (retrieval-gabor)
#
# Its energy is the magnitude of the filtered picture. The simulator's early voxels answer to Gabor energy, too, but of another family of filters. So this model is close to the truth, closer than any would be for a real brain: keep that in mind when you read its numbers. Show the filters gratings, and see which one answers most.

# %%
from minisd.decoding.gabor import GaborIdentification, GaborSettings, gabor_energy

settings = GaborSettings(grid=1)
rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")


def grating(k, wavelength):
    """Stripes across the orientation that filter k is for."""
    angle = torch.pi * torch.tensor(k / settings.orientations)
    along = columns * angle.cos() + rows * angle.sin()
    return torch.cos(2 * torch.pi * along / wavelength).expand(1, 3, -1, -1)


right = 0
for i, wavelength in enumerate(settings.wavelengths):
    for k in range(settings.orientations):
        energy = gabor_energy(grating(k, wavelength), settings)[0, 1:]  # the first is the mean grey
        right += int(energy.argmax()) == i * settings.orientations + k
print(f"{right} of {len(settings.wavelengths) * settings.orientations} gratings go to their filter")
across = {
    octaves: torch.exp(torch.tensor(-(octaves**2) / (2 * 0.5**2))) for octaves in (0.0, 0.5, 1.0)
}
print("half an octave, and one, away:", *(f"{v:.2f}" for v in across.values()))

# %% mystnb={"image": {"alt": "A scene, and three maps of energy of it: for a short wavelength thin lines along the contours, for the longer ones ever broader blobs."}, "figure": {"caption": "Simulated: a scene that was shown, and the energy of one orientation's filters at three wavelengths, over a grid of 32 by 32 places.", "name": "retrieval-energy"}}
fine = GaborSettings(grid=32)
energy = gabor_energy(seen[:1], fine).reshape(-1, 32, 32)[1:]
figure, axes = plt.subplots(1, 4, figsize=(6.4, 1.8))
axes[0].imshow((seen[0].permute(1, 2, 0) + 1) / 2)
axes[0].set_title("seen")
for panel, i in zip(axes[1:], range(3), strict=True):
    panel.imshow(energy[i * fine.orientations])
    panel.set_title(f"{fine.wavelengths[i]:.0f} pixels")
for panel in axes:
    panel.set_axis_off()
plt.show()

# %% [markdown]
# Fit the encoding model, and let it name each of the 200 test pictures among the 200. The model has seen none of them. Chance is one in 200.

# %%
kay = GaborIdentification(tested, 64).fit(train, learned, progress=False)
named = kay.find(kay.decode(test)["voxels"])
print(f"named: {(named == torch.arange(200)).float().mean():.2f}")
single = read_responses(subject, prepared, "test", repeats=1)
named = kay.find(kay.decode(single)["voxels"])
print(f"from one trial each: {(named == torch.arange(200)).float().mean():.2f}")

# %% [markdown]
# Not one dog was needed for that. Which lines are where is enough to tell one picture from 199 others.
#
# ## Deep features
#
# Now the direction of {doc}`ridge`, and CLIP's embedding as the feature. `Retrieval` decodes it and looks it up by {eq}`retrieval-nearest`. Its $s$ is the cosine of how two embeddings differ from the mean of the gallery, since all embeddings share much that tells none from another. The decoder comes with the book: `minisd leaderboard` has fitted it to all 1,850 training pictures of this subject. First let it name the test pictures, too.

# %%
from minisd.decoding.retrieval import Retrieval
from minisd.decoding.targets import image_embeddings

DECODERS = MINIATURE.parent / "decoding" / "subj01" / "all"
clip = load_clip(MINIATURE / "clip")
among = Retrieval(clip, tested, 64).load(DECODERS)
embedding = among.decode(test)["embedding"]
place = among.find(embedding, progress=False)


def directions(known, asked):
    """How embeddings differ from the mean of a gallery, as directions."""
    mean = known.mean(0)
    return [torch.nn.functional.normalize(e - mean, dim=1) for e in (known, asked)]


known, asked = directions(
    torch.from_numpy(image_embeddings(clip, tested, progress=False)), embedding
)
print(f"formula: {torch.equal((asked @ known.T).argmax(1), place)}")
print(f"named among the 200: {(place == torch.arange(200)).float().mean():.2f}")

# %% [markdown]
# CLIP's features name fewer pictures than the handcrafted ones do. An embedding of 128 numbers holds what a scene is about, and many scenes are about the same. Contours are each picture's own.
#
# Now take the test pictures out of the gallery. A thousand training pictures are left to choose from.

# %%
import copy

by_gabor = copy.copy(kay)
by_gabor.gallery = learned
known, asked = directions(
    torch.from_numpy(image_embeddings(clip, learned, progress=False)), embedding
)
training_pictures = learned.pictures(64)
made = {
    "Gabor, training": by_gabor.reconstruct(test, progress=False),
    "CLIP, training": training_pictures[(asked @ known.T).argmax(1)],
    "CLIP, test": tested[place.numpy()].pictures(64),
}

# %% mystnb={"image": {"alt": "Four rows of five pictures. From above: what was seen; training pictures found by Gabor energy, with contours at similar places; training pictures found by CLIP, often with the same background or the same kind of thing; and pictures from the test set, of which most are those that were seen."}, "figure": {"caption": "Simulated: seen (above), looked up by Gabor energy and by CLIP among the training pictures, and named by CLIP among the test pictures (below).", "name": "retrieval-pictures"}}
from minisd.plots import image_grid

image_grid(torch.cat([x[:5] for x in (seen, *made.values())]), columns=5)
plt.show()

# %% [markdown]
# Only the last row holds what was seen, because it was in the gallery. The rows above it are sharp pictures of something else. Score the first 80 as in {doc}`measuring`: the correlation of pixels, two-way identification by the judge with truths as distractors, and what the judge reads off. A random training picture is the floor.

# %%
from minisd.decoding.baselines import random_pictures
from minisd.metrics.reconstruction import identification, pixel_correlation
from minisd.metrics.recovered import recovered
from minisd.metrics.scorer import Scorer

judge = Scorer.from_pretrained(MINIATURE / "scorer")
by_judge = judge.features(seen[:80])
FACTS = ("object", "colour", "size", "place", "background")
made["random, training"] = random_pictures(learned, 64, 80)
print(f"{'':16}", *(f"{k:>10}" for k in ("PixCorr", "2-way", *FACTS)))
for name, x in made.items():
    x, there = x[:80], seen[:80]
    right = recovered(judge, x, there)
    two = identification(judge.features(x), by_judge, "truths").mean()
    numbers = [pixel_correlation(x, there).mean(), two, *(np.nanmean(right[k]) for k in FACTS)]
    print(f"{name:16}", *(f"{v:10.2f}" for v in numbers))

# %% [markdown]
# Both kinds of features find the background, the place and the size. Gabor energy knows nothing of colour: it gets no more colours right than a picture drawn by chance, and of objects it gets less than a third. CLIP gets about two thirds of the colours and half of the objects. With the test pictures in the gallery all shares are high, and that says little about these facts: where the very picture is found, all of it is right.
#
# How much does the gallery decide? Draw it smaller.

# %%
from minisd.widgets import slider

GALLERIES = (5, 100, 1000)
chosen = {G: (asked @ known[:G].T).argmax(1) for G in GALLERIES}
right = {G: recovered(judge, training_pictures[at[:80]], seen[:80]) for G, at in chosen.items()}


def draw_gallery(G):
    figure, axes = plt.subplots(2, 5, figsize=(5.4, 2.5))
    for j, (upper, lower) in enumerate(axes.T):
        upper.imshow((seen[j].permute(1, 2, 0) + 1) / 2)
        lower.imshow((training_pictures[chosen[G][j]].permute(1, 2, 0) + 1) / 2)
    for panel in axes.flat:
        panel.set_axis_off()
    told = (f"{k} {np.nanmean(right[G][k]):.2f}" for k in ("object", "colour", "background"))
    figure.suptitle(", ".join(told), fontsize=10)
    return figure


slider(
    draw_gallery,
    GALLERIES,
    label="pictures in the gallery",
    caption="Simulated: seen (above), and looked up by CLIP in a gallery of training pictures (below). The shares are of 80 test pictures. The decoder is the same throughout.",
    alt="Five pictures that were seen, and below each the picture that was looked up in a gallery of {}.".format,
    start=1,
)

# %% [markdown]
# The decoder never changed. A larger gallery has the right things in more combinations. MindEye looks its pictures up in billions {cite}`scotti2023reconstructing`. But a scene that nobody has photographed is in no gallery.
#
# ## Inversion
#
# So make the picture. `FeatureInversion` decodes CLIP's embedding and the MLP outputs of some of its layers, the structural features of {doc}`mind_diffuser_2`, and minimises {eq}`retrieval-inversion` over the pixels. As $R$ it has *total variation*, the mean step between neighbours:
#
# $$
# R(x) = \frac{1}{n} \sum_{\text{neighbours } a, b} \lvert x_a - x_b \rvert .
# $$ (retrieval-variation)
#
# Before the brain has a say, give it the *true* features of three pictures, as if decoding were perfect. First without a prior, then with one.

# %%
from dataclasses import replace

from minisd.decoding.inversion import FeatureInversion, InversionSettings
from minisd.decoding.systems import RECIPES

three = slice(0, 3)
view = RECIPES["miniature"].mind_diffuser.view  # three layers of the miniature's CLIP
inversion = FeatureInversion(clip, 64, InversionSettings(view, iterations=60)).load(DECODERS)
true = {
    k: torch.from_numpy(v) for k, v in inversion.features(tested[three], progress=False).items()
}


def invert(features, smoothness):
    """Change grey pictures until they have the features."""
    inversion.settings = replace(inversion.settings, smoothness=smoothness)
    return inversion.draw(features, [0] * 3, progress=False)


inverted = {"true, no prior": invert(true, 0.0), "true, smooth": invert(true, 0.2)}
step = (inverted["true, smooth"][..., 1:] - inverted["true, smooth"][..., :-1]).abs().mean()
rough = (inverted["true, no prior"][..., 1:] - inverted["true, no prior"][..., :-1]).abs().mean()
print(f"the prior makes smaller steps: {bool(step < 0.5 * rough)}")

# %% [markdown]
# Then with the features that were decoded.

# %%
decoded_features = inversion.decode(test[three])
inverted["decoded, smooth"] = invert(decoded_features, 0.2)

# %% mystnb={"image": {"alt": "Four rows of three pictures. From above: what was seen; coloured noise in which the place of the thing can be made out; soft pictures with the right background and a blotch of the right colour where the thing was; and the same from decoded features, with fainter and more uncertain blotches."}, "figure": {"caption": "Simulated: seen (above); inverted from the true features, without a prior and with a smooth one; inverted from the decoded features (below).", "name": "retrieval-inverted"}}
image_grid(torch.cat([seen[three], *inverted.values()]), columns=3)
plt.show()

# %%
from minisd.metrics.reconstruction import feature_distance, similarity
from minisd.models.contrastive import preprocess

print(f"{'':16}", *(f"{k:>10}" for k in ("CLIP", "judge", "PixCorr")))
for name, x in inverted.items():
    with torch.no_grad():
        has = clip.encode_image(preprocess(x, 64))
    wanted = (decoded_features if name.startswith("decoded") else true)["embedding"]
    numbers = (
        similarity(has, wanted).mean(),
        1 - feature_distance(judge.features(x), by_judge[three]).mean(),
        pixel_correlation(x, seen[three]).mean(),
    )
    print(f"{name:16}", *(f"{v:10.2f}" for v in numbers))

# %% [markdown]
# *CLIP* is the similarity to the embedding that was asked for, *judge* the correlation of the judge's features with those of what was seen. By CLIP's own account all three are nearly perfect, the noise included. The judge does not agree, and neither do you. There are many more pictures with these features than there are pictures that anybody would take. Descent finds the nearest one, and from grey that is noise: many small changes of pixels that each move CLIP a little, as in the attacks that are called *adversarial* {cite}`szegedy2014intriguing`. The smooth prior forbids such changes. What comes out is soft, with backgrounds and blotches in the right places. The features were the same: the prior made the difference.
#
# This is the second half of the lesson of {doc}`measuring`: the network that was optimised cannot be the judge. And with decoded features, less is right than with the true ones.
#
# ## Exercises
#
# ```{exercise} How little it takes
# :label: retrieval-adversarial
#
# Start from another picture in place of grey: the ninth that was seen. Change it until CLIP's embedding is that of the first. How much does the picture change, and what does the judge see?
# ```
#
# ```{solution-start} retrieval-adversarial
# :class: dropdown
# ```

# %%
start, goal = seen[8:9], true["embedding"][:1]
x = start.clone().requires_grad_()
optimizer = torch.optim.Adam([x], 0.01)
for _ in range(60):
    has = clip.encode_image(preprocess(x.clamp(-1, 1), 64))
    loss = -torch.nn.functional.cosine_similarity(has, goal).sum()
    x.grad = torch.autograd.grad(loss, x)[0]
    optimizer.step()
x = x.detach().clamp(-1, 1)
with torch.no_grad():
    before = clip.encode_image(preprocess(start, 64))
    after = clip.encode_image(preprocess(x, 64))
print(f"CLIP: similarity to the first picture {similarity(before, goal)[0]:.2f} before", end=", ")
print(f"{similarity(after, goal)[0]:.2f} after")
print(f"correlation of pixels with the start: {pixel_correlation(x, start)[0]:.2f}")
told = [
    {k: one[k] for k in ("category", "background")}
    for one in judge.read(torch.cat([start, x, seen[:1]]))
]
for name, one in zip(("start", "changed", "goal"), told, strict=True):
    print(f"the judge sees in the {name:8}: {one['category']}, {one['background']}")

# %% [markdown]
# CLIP is convinced, and the picture is the one that it was, with some grain. The judge, which nobody optimised, sees what you see.
#
# ```{solution-end}
# ```
#
# ```{exercise} Which voxels name a picture?
# :label: retrieval-regions
#
# Identify the test pictures by Gabor energy from the early voxels alone, and from the ventral ones alone. The encoding model is a regression for each voxel, so `kay` need not be fitted again.
# ```
#
# ```{solution-start} retrieval-regions
# :class: dropdown
# ```

# %%
ridge = kay.decoders["voxels"].ridge
energy = kay.features(tested, progress=False)["energy"]
said, measured = ridge.predict(energy), torch.from_numpy(np.array(test.betas))
for region in ("early", "ventral"):
    inside = torch.from_numpy(test.regions[region])
    best = torch.where(inside, ridge.correlation, -1.0).topk(500).indices
    a, b = (
        torch.nn.functional.normalize(x[:, best] - x[:, best].mean(1, keepdim=True), dim=1)
        for x in (measured, said)
    )
    named = (a @ b.T).argmax(1) == torch.arange(200)
    print(f"{region:8} named {named.float().mean():.2f}")

# %% [markdown]
# The early voxels alone do as well as all of them. The ventral ones follow contours only as far as what a scene shows goes with its contours, and that is still some thirty times chance.
#
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`kay2008identifying` identified pictures from Gabor features, and {cite:t}`naselaris2009bayesian` made a reconstruction of it: the same encoding model, and as a prior a gallery of six million photographs. {cite:t}`horikawa2017generic` decoded deep features and looked up categories that the decoder was never trained on. {cite:t}`mahendran2015understanding` inverted the features of networks with total variation as the prior. {cite:t}`shen2019deep` did it with features decoded from the brain, and found that a network that draws makes the better prior. That small changes of pixels move a network's features anywhere is an old finding {cite}`szegedy2014intriguing`.
#
# The report that this course follows calls for features "as close as possible to the activity in the visual cortex (allowing for a '1-to-1' mapping)" (section 3.3). A regression needs less. Each feature is a weighted sum of some thousand voxels, and each voxel takes part in all features. What it needs is that the features can be read off *linearly*. The Gabor energy of this chapter is no voxel's response, and it names most of the pictures.
#
# ## The way on
#
# Retrieval has real pictures and no freedom. Inversion has all the freedom and no idea of pictures. What is wanted is a prior that knows what pictures are like and can draw each of them: {doc}`takagi` takes Stable Diffusion.
