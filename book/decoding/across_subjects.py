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
# # Across subjects
#
# **You will be able to**
#
# - say why a decoder of one brain means nothing in another, and what the two brains have in common;
# - move a brain's responses into another brain's voxels, and read them there by a decoder that was fitted on somebody else;
# - say which pictures that costs, and catch an alignment that has seen the test;
# - find a space that several subjects share, and let a new one join;
# - read off a curve how much data a new subject needs, and say what a simulated brain cannot tell of it.
#
# **Time** 45 minutes to read; the cells run in about 30 seconds.
#
# **Before this** {doc}`ridge`, for the one method of this chapter.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part V, From brain to picture, at the chapter across subjects."}, "figure": {"caption": "Where you are: in Part V.", "name": "across-subjects-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("across_subjects")
plt.show()

# %% [markdown]
# All decoders so far were of one person. In the Natural Scenes Dataset (NSD) {cite}`allen2022massive` thirty to forty hours in the scanner went into each. The report asks for a model that holds for all: "the same model should be able to deal with individual variations specific to a given subject". Can it?
#
# Not as it stands. A decoder's weights are for voxels, and the voxels of two people are not the same things. They differ in number. They differ in place, and no warping of one cortex onto another brings all the small regions together {cite}`haxby2011common`. And at the same place they answer to somewhat different things. A weight for voxel 1,234 of subject 1 has nothing to say about subject 3.
# So no linear model on voxels can be the same for two brains. What can be the same is all that comes *behind* a map from each brain into common terms.
#
# ## What two brains have in common
#
# The pictures. If both have seen the same ones, their answers can be held side by side, row by row, and the one can be predicted from the other.
#
# Take two brains of two voxels each. A picture is two numbers $s$, and each brain answers with its own mixture of them. In rows for pictures: $X_A = S M_A$ and $X_B = S M_B$.

# %%
import numpy as np

rng = np.random.default_rng(0)
S = rng.normal(size=(300, 2)) * (1.0, 0.5)  # two things that pictures differ in
M_A, M_B = np.array([[1.0, 0.6], [-0.2, 0.9]]), np.array([[0.2, -1.0], [1.1, 0.3]])
X_A, X_B = S @ M_A, S @ M_B
w = np.linalg.lstsq(X_A, S[:, 0], rcond=None)[0]  # a decoder of the first thing, on A
for name, X in (("A", X_A), ("B", X_B)):
    print(f"A's decoder on {name}: correlation {np.corrcoef(X @ w, S[:, 0])[0, 1]:.2f}")

# %% [markdown]
# On B the decoder is lost. But eliminate $S$. If $M_B$ loses nothing of it, $S = X_B M_B^{+}$ with the pseudo-inverse $M_B^{+}$, and so
#
# $$
# X_A = X_B\, T, \qquad T = M_B^{+} M_A .
# $$ (across-subjects-map)
#
# A linear map goes from the one brain to the other. It knows nothing of pictures, and nothing of $S$. Ten shared pictures are more than enough to find it.

# %%
T = np.linalg.lstsq(X_B[:10], X_A[:10], rcond=None)[0]
print(f"formula: {np.allclose(T, np.linalg.pinv(M_B) @ M_A)}")
print(f"the other 290 pictures: {np.allclose(X_B[10:] @ T, X_A[10:])}")
print(f"A's decoder on B, moved: correlation {np.corrcoef(X_B @ T @ w, S[:, 0])[0, 1]:.2f}")

# %% mystnb={"image": {"alt": "Three clouds of points, coloured from blue to red by the first thing in the picture. In A's voxels the colours change along one direction, across a line. In B's voxels they change along another one, and the line runs along the colours. B moved has the same cloud as A."}, "figure": {"caption": "A toy: answers of two brains to the same 300 pictures, coloured by the first thing. The line is where A's decoder says 0. In A it parts blue from red; in B it does not; in B, moved into A's voxels, it does again.", "name": "across-subjects-toy"}}
figure, panels = plt.subplots(1, 3, figsize=(6.4, 2.8), sharex=True, sharey=True)
for axes, X, title in zip(panels, (X_A, X_B, X_B @ T), ("A", "B", "B, moved"), strict=True):
    axes.scatter(*X.T, c=S[:, 0], cmap="coolwarm", s=5, vmin=-2, vmax=2)
    axes.axline((0, 0), (-w[1], w[0]), color="black", lw=1)
    axes.set(title=title, xlabel="voxel 1", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal")
panels[0].set_ylabel("voxel 2")
plt.show()

# %% [markdown]
# Real responses are noisy, and there are more voxels than shared pictures. That is the problem of {doc}`ridge`, with voxels where features were: predict each voxel of A from all voxels of B, with a penalty for each ({eq}`ridge-dual`). {cite:t}`ferrante2024through` do just this on NSD.
#
# ## Two simulated brains
#
# Subject 1 is A, the known one; subject 3 is B, the new one. Both are **simulated**, in NSD's layout.

# %%
import tempfile
from pathlib import Path

from minisd.decoding.across import fit_transfer, read_shared
from minisd.decoding.responses import read_responses
from minisd.decoding.targets import Seen
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare

data = next(p for p in map(Path, ("data/nsd", "../../data/nsd")) if p.exists())
scratch = tempfile.TemporaryDirectory()
subjects = {name: Subject(data, number) for name, number in (("A", 1), ("B", 3), ("C", 2))}
prepared = {
    name: prepare(one, Path(scratch.name) / name, PrepareSettings(align=200), progress=False)
    for name, one in subjects.items()
}
fmri = {
    (name, part): read_responses(one, prepared[name], part)
    for name, one in subjects.items()
    for part in ("train", "test")
}
V_A, V_B = (fmri[name, "train"].betas.shape[1] for name in "AB")
same = {
    part: np.intersect1d(*(getattr(prepared[name], part).nsd_id for name in "AB")).size
    for part in ("train", "align", "test")
}
print(f"A has {V_A} voxels, B {V_B}; pictures that both saw: {same}")

# %% [markdown]
# ### Which pictures?
#
# Training pictures are a subject's own. The pictures that all of NSD's subjects saw are the thousand that everybody tests on. Whoever aligns on them has used up the test set: the map has seen the test's responses, and of the other subject those to the very pictures that are to be decoded. So the shared pictures are split. `PrepareSettings(align=200)` sets some apart, by their ids, the same for all subjects ({doc}`../brain/preparing`); the rest is for testing, and smaller than that of other papers.
#
# How large is the mistake otherwise? The decoder of A reads CLIP's image embedding. Score it by two-way identification ({doc}`measuring`): is the decoded embedding more like its own picture's than like another's? Chance is a half.

# %%
import torch

from minisd.checkpoints import load_clip
from minisd.decoding.across import Shared
from minisd.decoding.retrieval import Retrieval
from minisd.decoding.targets import image_embeddings
from minisd.metrics.reconstruction import identification
from minisd.metrics.statistics import interval, paired_test

clip = load_clip(
    next(p for p in map(Path, ("data_samples", "../../data_samples")) if p.exists())
    / "miniature/clip"
)
seen = {
    (name, part): Seen(one.pictures, getattr(prepared[name], part).nsd_id)
    for name, one in subjects.items()
    for part in ("train", "test")
}
gallery = seen["A", "train"][:400]
learned = torch.from_numpy(image_embeddings(clip, gallery, progress=False))
of_A = Retrieval(clip, gallery, 64).fit(fmri["A", "train"], seen["A", "train"], progress=False)
there = torch.from_numpy(image_embeddings(clip, seen["B", "test"], progress=False))

align = {name: read_shared(one, prepared[name]) for name, one in subjects.items()}
transfer = fit_transfer(align["B"], align["A"], progress=False)
moved = transfer(fmri["B", "test"])


def identified(embedding):
    """Share of comparisons won, a number for each test picture."""
    return identification(embedding, there)


def say(values):
    """Give the mean and its 95 % interval."""
    return "{:.2f} [{:.2f} to {:.2f}]".format(*interval(values))


honest = identified(of_A.decode(moved)["embedding"])
test = {k: Shared(fmri[k, "test"], prepared[k].test.nsd_id) for k in "AB"}
leaking = fit_transfer(test["B"], test["A"], progress=False)
reads_itself = identified(of_A.decode(fmri["A", "test"])["embedding"])
leaked = identified(of_A.decode(leaking(fmri["B", "test"]))["embedding"])
print(f"A reads B, aligned on 200 other pictures: {say(honest)}")
for name, values in (
    ("A reads A", reads_itself),
    ("A reads B, aligned on 200 other pictures", honest),
    ("A reads B, aligned on the test pictures", leaked),
):
    print(f"{name:41} loses {100 * (1 - values.mean()):.0f} of 100 comparisons")

# %% [markdown]
# A reads B well. Aligned on the test pictures it would seem to read B as well as itself. It does not: the map was told what A's voxels answer to these very pictures, and hands it on. Both numbers come from the same A, the same B and the same 200 test pictures. Only the first one is a result.
#
# Nothing of `of_A` was changed or fitted again. Its decoders are for A's voxels, and refuse others. What `transfer` gives are responses *in A's voxels*, regions and all, so every system of this part that was fitted on A takes them.

# %%
try:
    of_A.decode(fmri["B", "test"])
except ValueError as error:
    print(str(error).split(",")[0])
print("moved are of:", moved.voxels.split(",")[0])
early = [one.of("early").shape[1] for one in (fmri["B", "test"], moved)]
print(f"early voxels: {early[0]} in B, {early[1]} when moved")
rank = transfer.ridge.left.shape[1]
print(f"{len(align['B'])} pictures, so the map has rank {rank}")

# %% [markdown]
# ### What is lost on the way
#
# The map predicts, so it shrinks, as every ridge regression does ({eq}`ridge-gain`). Moved responses vary less than A's own. They may be rescaled, voxel by voxel. Should they?

# %%
spread = {
    "A's own": fmri["A", "test"].betas,
    "moved": moved.betas,
    "moved and rescaled": transfer(fmri["B", "test"], rescale=True).betas,
}
for name, betas in spread.items():
    print(f"{name:18} spread of a voxel over pictures {betas.std(0).mean():.2f}")
rescaled = identified(of_A.decode(transfer(fmri["B", "test"], rescale=True))["embedding"])
fewer, p = rescaled.mean() < honest.mean(), paired_test(rescaled, honest)
print(f"rescaled, fewer comparisons are won: {bool(fewer)}; p below .05: {p < 0.05}")
r = transfer.ridge.correlation.numpy()
for region in ("early", "ventral", "parietal"):
    print(f"{region:9} predicted out of fold: correlation {r[transfer.regions[region]].mean():.2f}")

# %% [markdown]
# Not for this. A voxel that was predicted badly is small in the moved responses, and that is how the decoder comes to trust it less. Blown up to full size it brings its noise along. So `Transfer` does not rescale unless it is told to. The decoded *features* come out smaller instead. Where a network is to draw from them, give them their size back at the end.
#
# ### In pictures
#
# The plainest pictures come by {doc}`retrieval`: of 400 training pictures of A, the one whose embedding is most like the decoded one. B saw none of them. How many pictures does B have to look at until something fitting is found?

# %%
from torch.nn.functional import normalize

from minisd.decoding.reconstructor import fit_decoder
from minisd.plots import as_uint8
from minisd.widgets import slider

shown = np.array([5, 14, 40, 77, 120, 161])
truth = seen["B", "test"][shown].pictures(64)
own_embeddings = image_embeddings(clip, seen["B", "train"][:200], progress=False)


def look_up(embedding):
    """Give the pictures of the gallery whose embeddings differ from its mean in the same direction."""
    mean = learned.mean(0)
    alike = normalize(embedding - mean, dim=1) @ normalize(learned - mean, dim=1).T
    return gallery[alike.argmax(1).numpy()].pictures(64)


def draw_count(n):
    n = int(n)
    decoder = fit_decoder(
        fmri["B", "train"][:n], own_embeddings[:n], "all", of_A.ridge, progress=False
    )
    own = decoder(fmri["B", "test"])
    moved = fit_transfer(align["B"][:n], align["A"][:n], progress=False)(fmri["B", "test"])
    other = of_A.decode(moved)["embedding"]
    rows = {
        "seen by B": truth,
        f"own, {identified(own).mean():.2f}": look_up(own[shown]),
        f"A's, {identified(other).mean():.2f}": look_up(other[shown]),
    }
    figure, panels = plt.subplots(3, 6, figsize=(6.4, 3.3))
    for axes, (name, pictures) in zip(panels, rows.items(), strict=True):
        for axis, picture in zip(axes, as_uint8(pictures), strict=True):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            axis.spines[:].set_visible(False)
        axes[0].set_ylabel(name, fontsize=8)
    return figure


slider(
    draw_count,
    (25, 50, 100, 200),
    label="pictures that B has looked at",
    caption="Simulated: six test pictures that B saw, and the most similar training pictures of A, by a decoder of B's own from so many pictures, and by A's decoder after aligning on as many. The numbers are shares of comparisons won, over all 200 test pictures.",
    alt="Six pictures, and six that were found by each of two decoders, after {} pictures.".format,
    start=0,
)

# %% [markdown]
# ## A space that all share
#
# With three subjects there are six maps, with eight fifty-six. And why should A be the yardstick? The other way is to find dimensions that all subjects have, and to give each subject one map into them.
#
# What is a dimension that all have? A number $g_p$ for each shared picture $p$, with mean 0 and length 1, which every subject's responses can say. How well subject $i$ can say it is what ridge regression makes of it: with the responses $X_i$ (columns at mean 0), $K_i = X_i X_i^\top$, the training predictions are $K_i (K_i + \alpha I)^{-1} g$ ({eq}`ridge-spectrum`). So ask for the $g$ with the largest
#
# $$
# \sum_i g^\top K_i (K_i + \alpha I)^{-1} g .
# $$ (across-subjects-space)
#
# The answer is the first eigenvector of the sum of these matrices, the second one is the next, and so on. With $\alpha = 0$ and few voxels this is *generalised canonical correlation* {cite}`kettenring1971canonical`. With more voxels than pictures each subject can then say anything, and the penalty is what gives the question a sense {cite}`bilenko2016pyrcca`.

# %%
from minisd.decoding.shared_space import SpaceSettings, fit_pooled, fit_space

known = fit_space([align["A"], align["C"]], SpaceSettings(dimensions=60, alpha=1000.0))
total = 0
for name in "AC":
    X = align[name].fmri.betas.astype(float)
    X = X - X.mean(0)
    K = X @ X.T
    total = total + np.linalg.solve(K + 1000.0 * np.eye(200), K)
values, vectors = np.linalg.eigh((total + total.T) / 2)
g = vectors[:, ::-1][:, :60]
print(f"formula for the first g: {np.isclose(g[:, 0] @ total @ g[:, 0], values[-1])}")
turn = np.abs(g[:, :5].T @ known.axes[:, :5]) / 200**0.5
print(f"minisd, up to the sign: {np.allclose(turn, np.eye(5), atol=1e-3)}")
first, last = known.agreement[[0, -1]]
print(f"agreement {first:.1f} on the first dimension, {last:.1f} on the last")

# %% [markdown]
# B joins. It needs one map, by ridge regression from its own voxels to the dimensions; those stay as they were. Then one decoder is fitted for all, on the training pictures of A and of C below each other. No picture is in both.

# %%
space = known.join(align["B"])
few = 600  # of each, to save time
told = {k: image_embeddings(clip, seen[k, "train"][:few], progress=False) for k in "AC"}
pooled = fit_pooled([space(fmri[k, "train"][:few]) for k in "AC"], [told[k] for k in "AC"])
together = identified(pooled.predict(space(fmri["B", "test"]).betas))
print(f"{2 * few} pictures of A and C; B identified: {say(together)}")
print(f"A's decoder, B moved:             {say(honest)}")

# %% [markdown]
# The one decoder reads a brain that it was not fitted on, about as well as A's own does after a transfer. It had fewer pictures, and sixty dimensions in place of A's voxels.
#
# MindEye2 {cite}`scotti2024mindeye2` has this shape: one linear layer a subject into 4,096 shared dimensions, and behind it one network for all. But it differs in two things. The network is deep. And the layers are trained *with* it, on the embeddings of whatever pictures each subject saw, so that no shared pictures are needed. When a new subject comes, all of it is tuned on that subject's pictures.
#
# ## How much data does a new subject need?
#
# Each of the four simulated subjects is the new one in turn, and the other three are known with all of their pictures. All of that takes two minutes; `python benchmarks/across_subjects.py data_samples/decoding/across_subjects.json` did it beforehand. Beside identification it reads off two things that a person would name, by ridge regression on labels: the thing, in the pictures that show one, and the background.
# The ways to read the new brain:
#
# - *own*: a decoder from $n$ of its own pictures.
# - *transfer*: another's decoder, through a map fitted on $n$ shared pictures.
# - *space*: the decoder of the other three, in a shared space; up to 200 pictures are shared ones, for the map, and what comes after are own pictures, added to the others'.
# - *tuned*: the decoder of the other three, and what it leaves over in all of the new subject's pictures is fitted by one more ridge regression from the new subject's voxels.
# - *anatomy*: no picture at all. Both brains are brought to the same size, and each voxel of the known one gets the mean of the four nearest of the new one.

# %%
import json

found = json.loads(
    (
        next(p for p in map(Path, ("data_samples", "../../data_samples")) if p.exists())
        / "decoding/across_subjects.json"
    ).read_text()
)
kinds = ("identification", "thing", "background")
print("way       pictures" + "".join(f"{kind:>16}" for kind in kinds))
for way in ("anatomy", "own", "transfer", "space", "tuned"):
    for row in found[way]:
        means = "".join(f"{row[kind][0]:16.2f}" for kind in kinds)
        print(f"{way:9} {row['pictures']:8}{means}")

# %% mystnb={"image": {"alt": "Three panels of curves against the number of pictures, from 25 to 1,850 on a logarithmic axis, with bands. Identification: transfer and space begin at .84, own at .75, and they meet at 100 pictures near .95; own and tuned go on to .99, space stays at .98. Thing: all begin near .2; at 100 pictures transfer and space are above own; from 400 on own and tuned rise to .83, space stays near .6. Background: own is above from 50 pictures on. A grey line for anatomy lies at .76, .20 and .30."}, "figure": {"caption": "Simulated: how well a new subject is read, by how many pictures it has looked at. Means over four subjects, with 95 % intervals over the 200 test pictures. Another brain helps where there are few pictures. From 200 on a decoder of its own is as good, and soon better.", "name": "across-subjects-curves"}}
figure, panels = plt.subplots(1, 3, figsize=(7.2, 3.0))
looks = {
    "own": ("C0", "-", "o"),
    "transfer": ("C1", "--", "s"),
    "space": ("C2", ":", "^"),
    "tuned": ("C3", "-.", "v"),
}
for axes, kind in zip(panels, kinds, strict=True):
    for way, (colour, style, marker) in looks.items():
        n = [row["pictures"] for row in found[way]]
        mean, low, high = np.array([row[kind] for row in found[way]]).T
        axes.fill_between(n, low, high, color=colour, alpha=0.15, lw=0)
        axes.plot(n, mean, color=colour, ls=style, marker=marker, ms=4, label=way)
    axes.axhline(found["anatomy"][0][kind][0], color="grey", lw=1, label="anatomy")
    axes.set(xscale="log", xlabel="pictures of the new subject", title=kind)
    axes.set_xticks([25, 100, 400, 1850], ["25", "100", "400", "1850"], minor=False)
    axes.minorticks_off()
panels[0].set_ylabel("right")
panels[2].legend(fontsize=7)
plt.show()

# %% [markdown]
# Read the curves from the left.
#
# - **No picture.** Anatomy alone identifies as well as a decoder of 25 own pictures. It says little of what is there.
# - **Few pictures.** This is where another brain helps. With 25 pictures the transfer identifies .84, an own decoder .75; with 50 it is .90 and .87. With 100 it names more things.
# - **200 pictures.** Even. And not in everything: an own decoder has named backgrounds better from 50 pictures on.
# - **More.** The own decoder goes on rising. The shared space stays where it is: its map was fitted on 200 pictures, and what the map has lost no decoder behind it finds again. Tuned, it is as good as an own decoder, and no better.
#
# The next cell compares transfer and own, with a paired test over pictures ({doc}`measuring`).

# %%
print("pictures  transfer less own: identification, thing, background")
own_rows = {row["pictures"]: row for row in found["own"]}
for row in found["transfer"]:
    base = own_rows[row["pictures"]]
    parts = []
    for kind in kinds:
        each = np.array(row[f"{kind} by subject"]) - base[f"{kind} by subject"]
        gain, p = row[kind][0] - base[kind][0], row[f"{kind} p"]
        parts.append(f"{gain:+.2f} (p {p:.3f}, more in {(each > 0).sum()} of 4)")
    print(f"{row['pictures']:8}  " + ", ".join(parts))

# %% [markdown]
# Why is the gain not larger? Look at what is fitted. A ridge regression on 200 pictures of B has weights $X_B^\top a$ ({eq}`ridge-dual`): a mixture of B's 200 answers, whatever it predicts. A map to A followed by A's decoder is such a mixture, too. Neither can use what B's voxels do outside of these directions. All that A can give is a better choice *within* them. With 25 directions that counts; with 200, B's own features choose as well.
# A deep network behind the maps has more to learn from other people than a ridge regression has. That is where MindEye2 looks for its gain.
#
# ## What a simulated brain cannot tell
#
# How good all of this looks was decided when the subjects were made.

# %%
from minisd.nsd.simulate.ventral import COMMON, factor_names

print(f"share of the smooth tuning that is the same in all simulated subjects: {COMMON}")
print(
    f"factors of a scene that voxels answer to: {len(factor_names())}, and as many without a name"
)
kernels = []
for name in "AB":
    X = align[name].fmri.betas - align[name].fmri.betas.mean(0)
    kernels.append((X @ X.T)[np.triu_indices(200, 1)])
alike = np.corrcoef(*kernels)[0, 1]
print(f"how alike are the responses to two pictures? A and B agree: correlation {alike:.1f}")

# %% [markdown]
# - **Anatomy.** Beyond the early regions, what a voxel prefers changes smoothly over the cortex, and three fifths of that is a function of the place, the same for all. The maps of the visual field are much the same, too. That is why the grey line is above chance. In real brains the share is whatever it is.
# - **Linear.** All simulated brains are mixtures of the same numbers: energies of Gabor filters, factors with and without a name. So a linear map from one to the other exists, but for what few voxels miss. People attend to different things and know different things. Nobody has promised that their responses are linear functions of each other's.
# - **Few dimensions.** Drawn scenes are made of few factors, and 200 shared pictures go a long way. Photographs differ in more ways.
# - **Alike.** All four did all sessions, with the same kind of noise. They differ in how much of it they have, by a fifth at most.
#
# So the order of the methods, and where the curves cross, are facts about this simulation. What carries over is how it is measured: the same number of the new subject's pictures on the axis for every way, test pictures in no map, and intervals.
#
# On real data a fifth thing comes in. Four of NSD's subjects missed sessions, so that not all have seen all shared pictures. `minisd.decoding.across.in_common` keeps those that all have.
#
# ## Exercises
#
# ```{exercise} Turn and do not stretch
# :label: across-subjects-procrustes
#
# Hyperalignment {cite}`haxby2011common` allows a map to turn and to mirror, but not to stretch: $\lVert X_B R - X_A \rVert$ is made small over matrices with orthonormal columns. With $X_B^\top X_A = P D Q^\top$ the answer is $R = P Q^\top$ {cite}`schonemann1966generalized`. Move B so, and compare with ridge. (The matrix of all voxels by all voxels has rank 199 at most: take both apart first.)
# ```
#
# ```{solution-start} across-subjects-procrustes
# :class: dropdown
# ```
#
# Let $X_B = U_B S_B V_B^\top$, and A alike. Then $X_B^\top X_A = V_B\,(S_B U_B^\top U_A S_A)\,V_A^\top$, and only the small matrix in the middle is taken apart.


# %%
def taken_apart(name):
    X = align[name].fmri.betas.astype(float)
    U, s, Vt = np.linalg.svd(X - X.mean(0), full_matrices=False)
    return X.mean(0), U[:, :199], s[:199], Vt[:199].T


(mean_B, U_B, s_B, V_B), (mean_A, U_A, s_A, V_A) = taken_apart("B"), taken_apart("A")
P, D, Qt = np.linalg.svd((s_B[:, None] * (U_B.T @ U_A)) * s_A)
R = (V_B @ P) @ (V_A @ Qt.T).T
x = (V_B @ P)[:, :5]
print(f"orthonormal: {np.allclose(x.T @ x, np.eye(5))}")
turned = (fmri["B", "test"].betas - mean_B) @ R + mean_A
by_turning = identified(of_A.decoders["embedding"].ridge.predict(turned.astype(np.float32)))
p = paired_test(by_turning, honest)
print(f"turned {by_turning.mean():.2f}, ridge {honest.mean():.2f}; p below .05: {p < 0.05}")

# %% [markdown]
# Turning is nearly as good here, and it has no penalty that must be chosen. But it cannot make weak directions weaker: noise is turned along with the rest. {cite:t}`ferrante2024through` found the same order on real brains.
#
# ```{solution-end}
# ```
#
# ```{exercise} The wrong pictures
# :label: across-subjects-wrong
#
# Give `fit_transfer` B's responses in another order than A's, with and without their ids. What happens, and what would have happened had nobody looked?
# ```
#
# ```{solution-start} across-subjects-wrong
# :class: dropdown
# ```
#
# With the ids in the same disorder it is refused. With ids that lie, there is nothing that one response could tell of the other, and A's decoder falls to chance.

# %%
mixed = np.random.default_rng(1).permutation(200)
try:
    fit_transfer(align["B"][mixed], align["A"], progress=False)
except ValueError as error:
    print(str(error).split(":")[0])
lying = Shared(align["B"].fmri[mixed], align["B"].nsd_id)
wrong = identified(
    of_A.decode(fit_transfer(lying, align["A"], progress=False)(fmri["B", "test"]))["embedding"]
)
print(f"with ids that lie: {wrong.mean():.1f}, where chance is 0.5")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Which parts of the brain
# :label: across-subjects-regions
#
# Of the moved responses keep those of A's early voxels, and put all others at their mean. Then keep the ventral ones alone. Which does A's decoder live on?
# ```
#
# ```{solution-start} across-subjects-regions
# :class: dropdown
# ```
#
# A voxel that stays at its mean over the training pictures says nothing.

# %%
from dataclasses import replace

for region in ("early", "ventral", "all"):
    kept = np.where(moved.regions[region], moved.betas, of_A.decoders["embedding"].ridge.center)
    part = identified(of_A.decode(replace(moved, betas=kept.astype(np.float32)))["embedding"])
    print(f"{region:8} {say(part)}")

# %% [markdown]
# Mostly on the early ones, and both together are better than either. What simulated early voxels answer to, edges and colours at a place, says much about a drawn scene.
#
# ```{solution-end}
# ```
#
# ## What the literature says
#
# The simplest alignment is by anatomy: warp one brain or one cortex onto another, and hope that the same place does the same thing. {cite:t}`haxby2011common` showed for the ventral temporal cortex how much finer one can be by function. They turned the responses of each subject to a film into common dimensions, and classifiers that were trained on other people then did as well as a person's own. {cite:t}`chen2015reduced` reduced the dimensions at the same time (the *shared response model*).
# {cite:t}`ferrante2024through` compared ridge regression, hyperalignment and anatomy on NSD, decoding one subject by the decoder of another. Ridge regression was best, with the 982 shared pictures nearly as good as a person's own decoder, and a little less good with a half or a quarter of them. {cite:t}`thual2023aligning` align by optimal transport on the cortex, which keeps neighbours together, and gain most where the new subject has given little data.
# MindEye2 {cite}`scotti2024mindeye2` trains on seven subjects and tunes on one hour of the eighth, where models of one subject had used up to forty.
#
# All of these need the new person to lie still and look at pictures. That a decoder of somebody else is of no use without such data is also a protection; {doc}`validity` comes back to it.
#
# ## The way on
#
# {doc}`validity`: are the pictures read from the brain, or from what all pictures have in common?
