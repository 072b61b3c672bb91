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
# # Regions, retinotopy and where things are
#
# **You will be able to**
#
# - find a region in a brain, slice by slice, and say in millimetres where it is;
# - take regions by name, join them, and part the hemispheres;
# - lay the cortex flat, and read a map of the visual field on it;
# - say how much cortex the centre of gaze gets, by a formula that you have checked;
# - find out from its betas where a voxel looks, and how well that can be done;
# - find a patch that prefers animals, and test it on trials that did not choose it.
#
# **Time** 50 minutes to read; the cells run in about 25 seconds.
#
# **Before this** {doc}`nsd_files`: masks, labels, `Subject`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part IV, The brain's side, at its fourth chapter, Regions."}, "figure": {"caption": "Where you are: the fourth chapter of Part IV.", "name": "regions-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("regions")
plt.show()

# %% [markdown]
# A decoder is handed a table of trials by voxels. Which voxels, decides what it can find. This chapter is about the names that voxels go by, and about what is behind the names.
#
# The brain of this chapter is **simulated**, as in {doc}`nsd_files`: one subject in NSD's layout {cite}`allen2022massive`, with nearly as many voxels in its visual regions as a real one. It sees 375 drawn scenes once each. Its regions lie about the back of the head in the order in which real ones do, and its folds are made up.
# What is known of real brains is said with its source.

# %%
import tempfile
from pathlib import Path

import numpy as np

from minisd.nsd import Subject, read_labels
from minisd.nsd.files import read_map
from minisd.nsd.simulate import SimulationSettings, SubjectSettings, simulate

settings = SimulationSettings(
    seed=6,
    subjects=(SubjectSettings(1, (52, 48, 44), sessions=1),),
    own=300,
    shared=75,
    repeats=1,
    sessions=1,
    trials=(63, 62) * 3,
)
scratch = tempfile.TemporaryDirectory()
root = simulate(Path(scratch.name) / "NSD", settings, progress=False)
subject = Subject(root, 1)
print("kinds of regions:", ", ".join(root.roi_names(1)))

# %% [markdown]
# ## Where a region is
#
# `prf-visualrois` has the early visual regions. Each of V1, V2 and V3 comes in two parts: a ventral one below the calcarine sulcus (`V1v`) and a dorsal one above it (`V1d`). hV4 is one piece.

# %%
labels = read_labels(root, 1, "prf-visualrois")
anatomy = read_map(root, root.volume(1, "T1_to_func1pt8mm"))
visual = read_map(root, root.roi(1, "prf-visualrois"))
for number, name in labels.items():
    sides = [subject.roi("prf-visualrois", name, side).sum() for side in ("lh", "rh")]
    print(
        f"{number} {name:<4} {(visual == number).sum():4} voxels: {sides[0]} left, {sides[1]} right"
    )

# %% mystnb={"image": {"alt": "Three grey slices of a simulated brain with coloured regions: from above, from behind and from the side. The regions follow the folded cortex at the back: V1 on the inner faces of the hemispheres, V2, V3 and hV4 outward from it."}, "figure": {"caption": "Simulated: the early visual regions in three slices. They follow the cortex, which is folded, so a region that is one piece on the surface falls into several in a slice.", "name": "regions-slices"}}
from matplotlib.colors import ListedColormap

COLOURS = ["#0072B2", "#56B4E9", "#009E73", "#8FD694", "#D55E00", "#F0A35E", "#CC79A7"]
MAP = ListedColormap(COLOURS)


def show_slice(axes, cut, title=""):
    axes.imshow(anatomy[cut].T, origin="lower", cmap="gray")
    shown = np.ma.masked_less(visual[cut].T, 1)
    handle = axes.imshow(shown, origin="lower", cmap=MAP, vmin=0.5, vmax=7.5)
    axes.set(title=title, xticks=[], yticks=[])
    axes.grid(False)
    return handle


figure, panels = plt.subplots(1, 3, figsize=(6.4, 2.6), width_ratios=[52, 52, 60])
everything = slice(None)
show_slice(panels[0], (everything, everything, 20), "from above")
show_slice(panels[1], (everything, 10, everything), "from behind")
handle = show_slice(panels[2], (22, everything, everything), "from the side")
panels[0].set_xlabel("L            R")
panels[1].set_xlabel("L            R")
panels[2].set_xlabel("back        front")
bar = figure.colorbar(handle, ax=panels[2], ticks=list(labels))
bar.ax.set_yticklabels(labels.values(), fontsize=7)
plt.show()

# %% [markdown]
# Move from the back of the head to the front.

# %%
from minisd.widgets import slider


def draw_slice(y):
    figure, axes = plt.subplots(figsize=(4.4, 3.1))
    handle = show_slice(axes, (everything, y, everything), f"{1.8 * y:.0f} mm from the back")
    bar = figure.colorbar(handle, ax=axes, ticks=list(labels))
    bar.ax.set_yticklabels(labels.values(), fontsize=7)
    return figure


slider(
    draw_slice,
    list(range(3, 28, 3)),
    label="slice",
    caption="Simulated: upright slices from the back to the front, left on the left. V1 lies inside, between the hemispheres. Below and above it come V2, V3, and below hV4.",
    alt="Upright slice {} of a grey brain with coloured regions.".format,
    start=3,
)

# %% [markdown]
# A place in millimetres comes from the affine, $M v + o$ ({eq}`fmri-affine`). The middle of a region $R$ is the mean of its voxels' places. The affine may come before or after the mean:
#
# $$
# c_R = \frac{1}{|R|} \sum_{v \in R} (M v + o) = M \bar v + o .
# $$ (regions-middle)
#
# The middle of a folded region need not lie in it. The two hemispheres together have theirs between the hemispheres, where there is no cortex at all.

# %%
import nibabel
from nibabel.affines import apply_affine

affine = nibabel.load(root.volume(1, "brainmask")).affine
for name, side in (("V1v", "lh"), ("V1v", "rh"), ("V1v", None), ("hV4", "lh")):
    region = subject.roi("prf-visualrois", name, side)
    where = np.argwhere(region)
    middle = apply_affine(affine, where).mean(axis=0)
    same = np.allclose(middle, apply_affine(affine, where.mean(axis=0)))
    inside = bool(region[tuple(np.rint(where.mean(axis=0)).astype(int))])
    print(
        f"{name} {side or 'both':<5}",
        np.round(middle).astype(int).tolist(),
        same,
        "inside:",
        inside,
    )

# %% [markdown]
# In this volume x grows to the right, so the left hemisphere has negative x.
#
# ## What the names mean
#
# NSD brings several kinds of regions, and they were found in different ways {cite}`allen2022massive`. It matters which: some were seen in the subject itself, others were carried over from other people's brains.
#
# | kind | regions | how they were found |
# |---|---|---|
# | `prf-visualrois` | V1v to hV4 | in the subject: an experiment with moving apertures, borders drawn by hand |
# | `prf-eccrois` | five bands of eccentricity | the same experiment: how far from the point of gaze |
# | `floc-faces`, `-bodies`, `-places`, `-words` | patches such as FFA-1, EBA, PPA | in the subject: an experiment that compares categories {cite}`stigliani2015temporal` |
# | `nsdgeneral` | one | drawn by hand on the average brain, around what responds to the pictures at the back of the head, and carried over to each subject |
# | `streams` | early, midventral ... parietal | drawn on the average brain, by its folds, and carried over to each subject |
# | `Kastner2015` | V1v to FEF, 25 of them | an atlas of other people {cite}`wang2015probabilistic` |
# | `HCP_MMP1` | 180 in each hemisphere | an atlas of other people {cite}`glasser2016multi` |
#
# The simulation has all but the last. An atlas gives every brain each region, at a place where it often is. What was found in a subject can be missing in another: the simulated one has no patch aTL-faces. And what lies outside of the scan is empty, as FEF is here.

# %%
for kind in ("Kastner2015", "floc-faces", "floc-places", "streams"):
    found = {
        name: int(subject.roi(kind, name).sum()) for name in read_labels(root, 1, kind).values()
    }
    absent = [name for name, count in found.items() if not count]
    print(f"{kind}: {len(found)} names, largest {max(found, key=found.get)}, empty: {absent}")
try:
    subject.roi("prf-visualrois", "V1")
except ValueError as error:
    print(error)

# %% [markdown]
# Ask for regions by name, not by number. The number 1 is V1v in one file and OFA in another. The published script of Brain-Diffuser {cite}`ozcelik2023natural` means to collect V1 to V4 as the numbers 1 to 7, and opens `floc-faces` to do it: it gets face patches under the names of early visual regions. No error is raised.

# %%
faces = read_map(root, root.roi(1, "floc-faces"))
mistaken = np.isin(faces, [1, 2])
V1 = subject.roi("prf-visualrois", ["V1v", "V1d"])
print("labels 1 and 2 of floc-faces:", [read_labels(root, 1, "floc-faces")[k] for k in (1, 2)])
print(f"{mistaken.sum()} voxels, of which in V1: {(mistaken & V1).sum()}")

# %% [markdown]
# ### Unions, hemispheres, overlaps
#
# A union of regions is all voxels that are in any of them. Within a kind a voxel has one label, so regions do not overlap and sizes add. Between kinds they do overlap:
#
# $$
# |A \cup B| = |A| + |B| - |A \cap B| .
# $$ (regions-union-size)

# %%
parts = [subject.roi("prf-visualrois", name) for name in ("V1v", "V1d")]
print("within a kind:", V1.sum() == parts[0].sum() + parts[1].sum())
left, right = (subject.roi("prf-visualrois", ["V1v", "V1d"], side) for side in ("lh", "rh"))
print("hemispheres:", np.array_equal(left | right, V1), "in both:", (left & right).sum())
A, B = subject.roi("streams", "ventral"), subject.roi("floc-faces")
print("between kinds:", (A | B).sum() == A.sum() + B.sum() - (A & B).sum())
print(f"ventral {A.sum()}, faces {B.sum()}, either {(A | B).sum()}, adding up {A.sum() + B.sum()}")

# %% mystnb={"image": {"alt": "An eight by eight matrix of percentages: how much of the row's kind of region lies in the column's. All of prf-visualrois lies in nsdgeneral, and most of the floc kinds; a quarter of nsdgeneral lies in prf-visualrois."}, "figure": {"caption": "Simulated: how much, in percent, of the kind in a row lies in the kind in a column. nsdgeneral is nearly all of the visual regions. Kinds cut the same cortex in different ways, so two of them together hold fewer voxels than their sizes add up to.", "name": "regions-overlap"}}
kinds = [name for name in root.roi_names(1) if name != "prf-eccrois"]
masks = np.stack([subject.roi(kind).ravel() for kind in kinds]).astype(float)
overlap = 100 * (masks @ masks.T) / masks.sum(axis=1)[:, None]
figure, axes = plt.subplots(figsize=(5.2, 4.2))
axes.imshow(overlap, cmap="Blues", vmin=0, vmax=130)
for (i, j), value in np.ndenumerate(overlap):
    axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8)
axes.set(xticks=range(len(kinds)), yticks=range(len(kinds)), ylabel="of this ...")
axes.set_xticklabels(kinds, rotation=40, ha="right")
axes.set_yticklabels(kinds)
axes.set_title("... so much lies in this, percent")
axes.grid(False)
plt.show()

# %% [markdown]
# ### Which voxels do decoders take?
#
# Takagi and Nishimoto decode the latent from `early` and the text from `ventral`, both of `streams` {cite}`takagi2023high`. MindDiffuser takes eleven groups, VO, V1, V2, V3, V3ab, PHC, MT, MST, LO, IPS and hV4 {cite}`lu2023minddiffuser`; the names are those of `Kastner2015`. Mind Reader takes `nsdgeneral` {cite}`lin2022mind`. In the simulated subject these are:

# %%
groups = [
    "V1v",
    "V1d",
    "V2v",
    "V2d",
    "V3v",
    "V3d",
    "hV4",
    "VO1",
    "VO2",
    "PHC1",
    "PHC2",
    "MST",
    "hMT",
    "LO2",
    "LO1",
    "V3b",
    "V3a",
]
choices = {
    "Takagi, latent": subject.roi("streams", "early"),
    "Takagi, text": subject.roi("streams", "ventral"),
    "MindDiffuser": subject.roi("Kastner2015", groups + [f"IPS{k}" for k in range(6)]),
    "Mind Reader": subject.roi("nsdgeneral"),
}
for name, mask in choices.items():
    print(f"{name:<15} {mask.sum():6,} voxels, of which in V1 {(mask & V1).sum():,}")

# %% [markdown]
# ### Real sizes
#
# How large are real regions? These are voxels of 1.8 mm in NSD's own files.

# %% mystnb={"image": {"alt": "Two panels. Left, pairs of bars for V1v to hV4: the real subject 1 has between 541 and 834 voxels in each; the simulated has more in V1 and fewer in the others. Right, bars of nsdgeneral's size for the eight real subjects, from 12,682 to 17,907, and a dashed line for the simulated one at 14,729."}, "figure": {"caption": "Left: voxels in the early regions, NSD's subject 1 and the simulated one. The simulated V1 is too large for its V2 and V3. Right: nsdgeneral in NSD's eight subjects; the dashed line is the simulated one.", "name": "regions-sizes"}}
REAL = dict(zip(labels.values(), (594, 756, 834, 599, 646, 541, 687), strict=True))
GENERAL = [15_724, 14_278, 15_226, 13_153, 13_039, 17_907, 12_682, 14_386]
ours = [int((visual == number).sum()) for number in labels]
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.7), width_ratios=[1.3, 1])
place = np.arange(7)
left.bar(place - 0.2, REAL.values(), 0.4, label="NSD, subject 1")
left.bar(place + 0.2, ours, 0.4, label="simulated")
left.set(xticks=place, ylabel="voxels")
left.set_xticklabels(labels.values())
left.legend(fontsize=7)
right.bar(range(1, 9), GENERAL, color="C0")
right.axhline(subject.roi("nsdgeneral").sum(), color="C1", ls="--")
right.set(xlabel="NSD's subject", title="nsdgeneral", xticks=range(1, 9))
plt.show()

# %% [markdown]
# NSD's `streams` have, in subject 1 and in the order of their labels, 5,917, 986, 834, 950, 7,604, 7,799 and 3,548 voxels. People differ much: by manual drawing in 181 of them, the area of V1 varies more than threefold {cite}`benson2022variability`. So there is no voxel of one brain that *is* a voxel of another, and a table of voxels is never a table of two subjects.
#
# ## Laying the cortex flat
#
# Cortex is a sheet. Two voxels that touch in a slice can be far apart on it, across a sulcus. So one would like to see the sheet itself. For real brains FreeSurfer {cite}`fischl2012freesurfer` finds the sheet in the anatomy, inflates it and cuts it, and tools such as pycortex {cite}`gao2015pycortex` and nilearn {cite}`abraham2014machine` draw numbers on it. NSD brings these surfaces for each subject.
#
# The simulated brain was grown the other way round: each voxel of its cortex got two angles first. $\rho$ is how far it is from the pole at the back, and $\psi$ the direction around that pole: 0 to the inside, 90 degrees up, 180 to the outside, -90 down. So a flat map is at hand. Draw $\rho$ as the distance from the middle, and $\psi$ as the direction:
#
# $$
# (u, v) = \rho\, (\cos \psi, \sin \psi) .
# $$ (regions-flat)
#
# No flat map of a ball keeps everything. This one keeps distances from the pole, and stretches areas by $\rho / \sin \rho$. The cell grows the brain again from its seed, finds that it is the same, and measures the stretching with small squares.

# %%
from minisd.nsd.simulate.anatomy import grow
from minisd.nsd.simulate.regions import place as place_regions

brain = grow(settings.subjects[0].shape, settings.rng("anatomy", 1))
print(
    "the same brain:", np.array_equal(brain.brain, read_map(root, root.volume(1, "brainmask")) > 0)
)
placed = place_regions(brain, settings.rng("regions", 1))
print("the same regions:", np.array_equal(placed.labels["prf-visualrois"], visual))


def flat(rho, psi):
    """Angles in radians to the plane."""
    return np.stack([rho * np.cos(psi), rho * np.sin(psi)], axis=-1)


for degrees in (10, 44, 68, 90):
    rho, psi, small = np.radians(degrees), 0.4, 1e-4
    corner = flat(rho, psi)
    along, across = flat(rho + small, psi) - corner, flat(rho, psi + small) - corner
    area = abs(along[0] * across[1] - along[1] * across[0])
    measured = area / (small * np.sin(rho) * small)  # by the area on the ball
    right = bool(abs(measured / (rho / np.sin(rho)) - 1) < 1e-3)
    print(f"rho {degrees}: areas {rho / np.sin(rho):.2f} times as large, as measured: {right}")

# %% [markdown]
# To draw, give each pixel of the map the number of the voxel whose place is nearest.

# %%
from scipy.spatial import cKDTree

cortex = brain.cortex
side = brain.hemisphere[cortex]  # 1 left, 2 right
across, up = np.degrees(flat(np.radians(brain.rho[cortex]), np.radians(brain.psi[cortex]))).T
across = np.where(side == 1, across, -across)  # the left hemisphere's inside is on its right
pixels = np.stack(np.meshgrid(np.arange(-120, 121), np.arange(-120, 121)), axis=-1)
nearest = []
for one in (1, 2):
    mine = np.flatnonzero(side == one)
    distance, index = cKDTree(np.stack([across, up], axis=1)[mine]).query(pixels)
    nearest.append(np.where(distance < 4, mine[index], -1))


def flat_picture(axes, values, one, **style):
    """Draw numbers, one for each voxel of the cortex, on hemisphere `one`."""
    picture = np.where(nearest[one] >= 0, values[nearest[one]], np.nan)
    axes.set(xticks=[], yticks=[], frame_on=False)
    axes.grid(False)
    return axes.imshow(
        picture, origin="lower", extent=(-120, 120, -120, 120), interpolation="nearest", **style
    )


def outline(axes, where, one, **style):
    """Draw the border of some of the cortex's voxels."""
    inside = np.where(nearest[one] >= 0, where[nearest[one]], 0)
    axes.contour(pixels[..., 0], pixels[..., 1], inside, [0.5], **style)


print(
    f"{side.size:,} voxels of cortex, {100 * np.mean([n >= 0 for n in nearest]):.0f} % of the pixels"
)

# %% mystnb={"image": {"alt": "Two round flat maps side by side, left and right hemisphere, mirror images, grey where nothing is named. In the middle the pole. From it wedges open inwards: V1 level with it, V2 above and below, then V3, and hV4 straight down. Patches for faces, bodies and words lie on the lower outer side, places below and on the inner side."}, "figure": {"caption": "Simulated: both hemispheres laid flat, seen from behind. The pole is in the middle of each, the inner sides face each other. Early regions are wedges that open from the pole. Patches that prefer a category lie farther out.", "name": "regions-flat-figure"}}
PATCHES = {
    "floc-faces": "#E69F00",
    "floc-bodies": "#8C510A",
    "floc-places": "#6A3D9A",
    "floc-words": "#222222",
}
seen = visual[cortex]
shown = np.maximum(seen, 0)
for number, kind in enumerate(PATCHES, start=8):
    shown = np.where(subject.roi(kind)[cortex], number, shown)
names = [*labels.values(), *PATCHES]
colours = [*COLOURS, *PATCHES.values()]
figure, panels = plt.subplots(1, 2, figsize=(6.4, 3.6))
for one, axes in enumerate(panels):
    style = {"cmap": ListedColormap(["#DDDDDD", *colours]), "vmin": -0.5, "vmax": 11.5}
    flat_picture(axes, shown, one, **style)
    axes.set_title(["left hemisphere", "right hemisphere"][one])
handles = [plt.Line2D([], [], marker="o", ls="", ms=5, color=c) for c in colours]
figure.legend(handles, names, ncols=6, fontsize=7, loc="outside lower center")
plt.show()

# %% [markdown]
# ## Retinotopy
#
# Early visual cortex is a map of what you look at: neighbours in the picture have neighbours on the sheet. NSD found for each voxel where it looks, in an experiment of its own, and gives it as maps: `prf_eccentricity` $E$, the distance from the point of gaze in degrees of visual angle; `prf_angle` $\theta$, the direction, from the right horizontal counter-clockwise; `prf_size`, how wide a part of the visual field it sees. In $x$ to the right and $y$ up:
#
# $$
# x = E \cos \theta, \qquad y = E \sin \theta .
# $$ (regions-polar)
#
# A picture of NSD is 8.4 degrees wide, so its edge is 4.2 degrees from the point of gaze. The simulation writes these maps too, with some error, as another experiment would have. The true places lie in the folder `simulation`, which no decoder may read, and which you may, to see how good your estimates are.

# %%
maps = {
    name: read_map(root, root.volume(1, f"prf_{name}"))
    for name in ("eccentricity", "angle", "size", "R2")
}
E, theta = maps["eccentricity"], np.radians(maps["angle"])
x, y = E * np.cos(theta), E * np.sin(theta)
print("polar and back:", np.allclose(np.hypot(x[V1], y[V1]), E[V1], atol=1e-5))

truth = np.load(root.path / "simulation" / "subj01.npz")
index = np.full(truth["brain"].shape, -1)
index[truth["brain"]] = np.where(truth["retinotopic"], truth["retinotopic"].cumsum() - 1, -1)
true = np.stack([truth["x"], truth["y"], truth["size"]], axis=1)[index[V1]]
error = np.hypot(x[V1] - true[:, 0], y[V1] - true[:, 1])
print(f"the map's error in V1: median {np.median(error):.2f} degrees")
for name, side_name in (("V1v", "lh"), ("V1d", "lh"), ("V1v", "rh"), ("V1d", "rh")):
    one = subject.roi("prf-visualrois", name, side_name)
    half = "right" if np.median(x[one]) > 0 else "left"
    height = "upper" if np.median(y[one]) > 0 else "lower"
    print(f"{name} {side_name}: {half} {height} quarter of the field")

# %% [markdown]
# Left sees right, and below sees above: the eye's lens turns the picture round, and the nerves sort it by halves.

# %% mystnb={"image": {"alt": "Two panels of the visual field. Left, dots for voxels of V1: those of the left hemisphere lie to the right, V1v above and V1d below, and the other way round; dots crowd at the centre and reach beyond a dashed square, the picture. Right, receptive field size against eccentricity for V1, V2 and V3 with fitted lines: all rise, V3's the steepest."}, "figure": {"caption": "Simulated. Left: where every second voxel of V1 looks; the square is the picture. They crowd at the point of gaze. Right: fields grow with eccentricity, and from V1 to V3; the lines are fits.", "name": "regions-field"}}
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.1))
for number, (name, marker) in enumerate((("V1v", "o"), ("V1d", "s"))):
    for side_name, filled in (("lh", True), ("rh", False)):
        one = subject.roi("prf-visualrois", name, side_name)
        face = f"C{number}" if filled else "none"
        left.plot(
            x[one][::2],
            y[one][::2],
            marker,
            ms=2.4,
            mfc=face,
            mec=f"C{number}",
            mew=0.6,
            label=f"{name} {side_name}",
        )
left.plot([-4.2, 4.2, 4.2, -4.2, -4.2], [-4.2, -4.2, 4.2, 4.2, -4.2], "k--", lw=1)
left.set(
    aspect="equal", xlim=(-6.5, 6.5), ylim=(-6.5, 6.5), xlabel="x, degrees", ylabel="y, degrees"
)
left.legend(fontsize=6, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.22))
lines = {}
for colour, name in enumerate(("V1", "V2", "V3")):
    one = subject.roi("prf-visualrois", [name + "v", name + "d"]) & (maps["R2"] > 60)
    lines[name] = np.polyfit(E[one], maps["size"][one], 1)
    right.plot(E[one][::4], maps["size"][one][::4], ".", ms=2, color=f"C{colour}")
    right.plot([0, 6], np.polyval(lines[name], [0, 6]), color=f"C{colour}", lw=2, label=name)
right.set(xlabel="eccentricity, degrees", ylabel="size, degrees", ylim=(0, 2.5), xlim=(0, 6.3))
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# The lines on the right say
#
# $$
# \sigma = a + b\, E ,
# $$ (regions-size)
#
# with other numbers for each region. In real brains it is so as well: fields grow with eccentricity and from V1 to V3 {cite}`dumoulin2008population`.

# %%
from minisd.nsd.simulate.early import SIZES

for name, (slope, start) in lines.items():
    a, b = SIZES[name]
    near = bool(abs(start - a) < 0.05 and abs(slope - b) < 0.05)
    print(f"{name}: size = {start:.2f} + {slope:.2f} E, near what was put in: {near}")

# %% [markdown]
# On the flat map the field is laid out twice over: eccentricity runs from the pole outwards, and the angle runs around it.

# %% mystnb={"image": {"alt": "Two flat maps of the left hemisphere's early regions. Left, eccentricity: dark at the pole, brighter outwards, in rings. Right, the angle above or below the horizontal as colours: pale in the middle of V1; towards its upper border it goes to minus 90, blue, and turns back in V2 to pale, then to blue again in V3; below likewise with plus 90, red. Black lines are the regions' borders."}, "figure": {"caption": "Simulated, left hemisphere. Left: eccentricity grows outwards from the pole. Right: the angle above (red) or below (blue) the horizontal. It turns back at each border between regions: red and blue ends are the vertical, pale parts the horizontal.", "name": "regions-retinotopy"}}
from matplotlib.colors import LogNorm

early = (seen > 0) & (seen < 7)
elevation = np.degrees(np.arctan2(y[cortex], np.abs(x[cortex])))
figure, panels = plt.subplots(1, 2, figsize=(6.4, 3.4))
for axes, values, ticks, style, label in (
    (
        panels[0],
        E[cortex],
        [0.3, 1, 3, 6],
        {"norm": LogNorm(0.3, 6), "cmap": plt.get_cmap("viridis", 12)},
        "eccentricity, degrees",
    ),
    (
        panels[1],
        elevation,
        [-90, -45, 0, 45, 90],
        {"cmap": plt.get_cmap("RdBu_r", 12), "vmin": -90, "vmax": 90},
        "above the horizontal, degrees",
    ),
):
    handle = flat_picture(axes, np.where(early, values, np.nan), 0, **style)
    for number, name in list(labels.items())[:6]:
        region = (seen == number) & (side == 1)
        outline(axes, seen == number, 0, colors="black", linewidths=0.8)
        place = 1.75 * across[region].mean(), 1.75 * up[region].mean()
        axes.text(*place, name, fontsize=8, ha="center", va="center")
    axes.set(xlim=(-12, 95), ylim=(-85, 85))
    bar = figure.colorbar(handle, ax=axes, shrink=0.8, label=label, ticks=ticks)
    bar.ax.set_yticklabels(ticks)
    bar.ax.minorticks_off()
plt.show()

# %% [markdown]
# This turning back is how the borders were found in real brains: at the border of V1 and V2 lies the vertical of the visual field, and beyond it the map runs the other way {cite}`sereno1995borders,wandell2007visual`. In {ref}`regions-border` you find such a border yourself.
#
# ### Magnification
#
# The point of gaze gets more cortex than the rest. How many millimetres of V1 a degree of the visual field gets is the *magnification* $M$. Horton and Hoyt found for people {cite}`horton1991representation`
#
# $$
# M(E) = \frac{17.3\ \text{mm}}{E + 0.75^\circ}, \qquad
# d(E) = \int_0^E M(e)\, de = 17.3\ \text{mm} \cdot \ln\!\left(1 + \frac{E}{0.75^\circ}\right) ,
# $$ (regions-magnification)
#
# where $d$ is the distance along V1 from the place of the point of gaze. Turned round, eccentricity grows exponentially along the cortex: $E = 0.75^\circ\, (e^{d / 17.3\,\text{mm}} - 1)$. The simulation uses this form, with its own length.

# %%
e = np.linspace(0, 6, 60_001)
M = 17.3 / (e + 0.75)
d = np.concatenate([[0], np.cumsum((M[1:] + M[:-1]) / 2 * np.diff(e))])
print("the integral:", np.allclose(d, 17.3 * np.log(1 + e / 0.75), atol=1e-4))
print("and back:", np.allclose(0.75 * (np.exp(d / 17.3) - 1), e, atol=1e-4))
for degrees in (0, 0.75, 2, 6):
    print(f"at {degrees} degrees: {17.3 / (degrees + 0.75):.1f} mm a degree")
half = 0.75 * (np.sqrt(1 + 6 / 0.75) - 1)
print(f"half of the way to 6 degrees is at {half:.1f} degrees")

along = placed.rho[V1] / placed.rho[V1].max()
formula = 0.75 * ((1 + E[V1].max() / 0.75) ** along - 1)
print(f"simulated V1 follows it: correlation {np.corrcoef(formula, E[V1])[0, 1]:.2f}")
inner = (E[V1] < half).mean()
print(
    f"inner {half:.1f} of 6 degrees: {100 * (half / 6) ** 2:.0f} % of the field, {100 * inner:.0f} % of V1's voxels"
)

# %% [markdown]
# Half of V1's *length* belongs to the inner 1.5 degrees. Of its voxels it is fewer, since V1 is a wedge, narrow at the pole ({numref}`regions-flat-figure`). Either way the centre is far ahead of its share of the field. What stands at the middle of a picture, where the person looks, fills the more voxels of V1. A decoder gets its detail there.
#
# ## Where does a voxel look?
#
# You need no experiment of its own to find that out: NSD's thousands of pictures will do. Model a voxel as a window onto the picture, a Gaussian at $(x, y)$ of the size $\sigma$: its *population receptive field* (pRF) {cite}`dumoulin2008population`. What it answers to picture $n$ is the contrast $C_n$ that it sees through the window,
#
# $$
# r(n) = \sum_p C_n(p)\, g(p), \qquad
# g(p) = \frac1Z \exp\!\left( -\frac{(p_x - x)^2 + (p_y - y)^2}{2 \sigma^2} \right) ,
# $$ (regions-prf)
#
# with $Z$ such that $g$ sums to 1 over the picture. For $C_n(p)$ take the standard deviation of the brightness around $p$: much at edges and texture, none on a plain sky. Try many windows, and keep for each voxel the one whose answers correlate best with the betas. A Gaussian is a product of one in $x$ and one in $y$, which the cell uses, and checks.

# %%
from scipy.ndimage import uniform_filter

trials = subject.trials
pictures = np.concatenate(list(subject.pictures.batches(trials.nsd_id)))
grey = pictures.mean(axis=3) / 255
around = uniform_filter(grey, (0, 5, 5))
contrast = np.sqrt(np.maximum(uniform_filter(grey**2, (0, 5, 5)) - around**2, 0))
contrast = contrast.reshape(-1, 32, 2, 32, 2).mean(axis=(2, 4)).reshape(-1, 32 * 32)

middles = (np.arange(32) + 0.5) * 8.4 / 32 - 4.2  # degrees


def windows(x, y, size):
    """Gaussians on the picture, [32 * 32, windows], each of sum 1."""
    across = np.exp(-((middles[:, None] - x) ** 2) / (2 * size**2))
    upright = np.exp(-((-middles[:, None] - y) ** 2) / (2 * size**2))  # rows go down
    g = (upright[:, None] * across).reshape(32 * 32, -1)
    return g / g.sum(axis=0)


tried = np.array(
    [
        (x0, y0, size)
        for size in (0.3, 0.5, 0.8, 1.2)
        for x0 in np.arange(-4.8, 4.9, 0.4)
        for y0 in np.arange(-4.8, 4.9, 0.4)
    ]
)
g = windows(*tried.T)
px, py = np.meshgrid(middles, -middles)
x0, y0, size = tried[1000]
whole = np.exp(-((px - x0) ** 2 + (py - y0) ** 2) / (2 * size**2)).ravel()
print("formula:", np.allclose(g[:, 1000], whole / whole.sum()))
print(f"{len(tried):,} windows, {len(pictures)} pictures")


def unit(columns):
    """Mean 0 and length 1, so that products are correlations."""
    columns = columns - columns.mean(axis=0)
    return columns / np.linalg.norm(columns, axis=0)


betas = subject.betas(1, V1)
answers = contrast @ g  # [trials, windows]
match = unit(answers).T @ unit(betas)  # [windows, voxels]
best = tried[match.argmax(axis=0)]
on_picture = np.hypot(true[:, 0], true[:, 1]) < 4
off = np.hypot(*(best[:, :2] - true[:, :2]).T)[on_picture]
print(f"V1 voxels that look at the picture: {on_picture.sum()} of {len(true)}")
print(f"position: median error {np.median(off):.2f} degrees")
print(f"size: median error {np.median(np.abs(best[:, 2] - true[:, 2])[on_picture]):.2f} degrees")
print(f"correlation with the betas: median {np.median(match.max(axis=0)):.2f}")

# %% [markdown]
# A quarter of a degree: less than a thirtieth of the picture's width, from single trials of 375 pictures. The model is not the one that made the data. The simulation's voxels answer to Gabor filters of some orientations, fine patterns near the gaze and coarse ones away from it, and to colour. Contrast is a stand-in, and good enough to find *where*. How the voxel's answer depends on *what* is there
# is another matter, which feature-weighted receptive fields take up {cite}`styves2018feature`.
#
# How many trials does it take? Move the slider.

# %%
chosen = int(np.flatnonzero(on_picture)[match.max(axis=0)[on_picture].argsort()[-60]])


def draw_trials(count):
    few = slice(0, int(count))
    found = unit(answers[few]).T @ unit(betas[few])
    guess = tried[found.argmax(axis=0)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 2.8))
    field = found[:, chosen].reshape(4, 25, 25)[1].T  # windows of half a degree
    left.imshow(field, origin="lower", extent=(-5, 5, -5, 5), vmin=-0.3, vmax=0.8)
    left.plot(*true[chosen, :2], "x", color="white", ms=9, mew=2)
    left.set(title=f"one voxel, {count} trials", xlabel="x, degrees", ylabel="y, degrees")
    left.grid(False)
    right.plot(true[on_picture, 0][::3], guess[on_picture, 0][::3], ".", ms=2.5)
    right.plot([-5, 5], [-5, 5], color="grey", lw=1)
    apart = np.median(np.hypot(*(guess - true)[on_picture, :2].T))
    right.set(title=f"median error {apart:.1f} degrees", xlabel="true x", ylabel="found x")
    right.set(xlim=(-5, 5), ylim=(-5, 5), aspect="equal")
    return figure


slider(
    draw_trials,
    [10, 20, 40, 80, 150, 250, 375],
    label="trials",
    caption="Simulated. Left: how well windows of half a degree at each place match one voxel's betas (yellow: best), with the true place as a cross. Right: a third of V1's voxels that look at the picture, found against true horizontal place. With few trials some window always matches by chance.",
    alt="Map of matches for a voxel, and found against true places, from {} trials.".format,
    start=3,
)

# %% [markdown]
# ## Patches for things
#
# Farther from the pole a voxel's place in the picture counts less, and what is shown counts more. Some patches of cortex answer more to faces than to anything else {cite}`kanwisher1997fusiform`, others to scenes {cite}`epstein1998cortical` or to bodies {cite}`downing2001cortical`. NSD's `floc` regions are such patches. They were found by a *contrast*: take trials with faces and trials with other things, and divide the difference of the means by its own uncertainty. Welch's form is
#
# $$
# t = \frac{\bar b_1 - \bar b_0}{\sqrt{s_1^2 / n_1 + s_0^2 / n_0}} ,
# $$ (regions-welch)
#
# with the means, variances and numbers of trials of the two groups. The drawn scenes have no people. Their faces and bodies are those of animals, and the simulated face patches prefer animals.

# %%
from scipy.stats import ttest_ind

scenes = np.load(root.path / "simulation" / "pictures.npz")
column = {name: k for k, name in enumerate(scenes["names"].tolist())}


def shows(*names):
    """Whether a trial's picture has any of these in it."""
    return scenes["named"][trials.nsd_id][:, [column[name] for name in names]].any(axis=1)


def welch(b, group):
    one, rest = b[group], b[~group]
    spread = one.var(axis=0, ddof=1) / len(one) + rest.var(axis=0, ddof=1) / len(rest)
    return (one.mean(axis=0) - rest.mean(axis=0)) / np.sqrt(spread)


animals = shows("kind: animal")
indoors = shows("background: room", "background: night street")
b = subject.betas(1, cortex)
t = {"animals": welch(b, animals), "rooms and streets": welch(b, indoors)}
scipys = ttest_ind(b[animals], b[~animals], equal_var=False).statistic
print("scipy agrees:", np.allclose(t["animals"], scipys, rtol=1e-3, atol=1e-3))
print(f"{animals.sum()} trials with animals, {indoors.sum()} with rooms or streets")
for name, values in t.items():
    print(name)
    for kind in (*PATCHES, "streams"):
        inside = subject.roi(kind, "ventral" if kind == "streams" else None)[cortex]
        print(
            f"   {kind if kind != 'streams' else 'ventral':<12} mean t {values[inside].mean():5.1f}"
        )

# %% mystnb={"image": {"alt": "Two flat maps of the left hemisphere. Left, animals against the rest: dark red at the lower outer side, within the black outlines of floc-faces and beside them. Right, rooms and streets against the rest: dark red in other places, below and on the inner side, within the outlines of floc-places. Early regions are faintly red and blue."}, "figure": {"caption": "Simulated, left hemisphere: t of two contrasts on the flat map, each kind of picture against all others. Outlined: the patches of floc-faces (left) and floc-places (right), which were placed before any trial was simulated. The red beside the face patches is floc-bodies.", "name": "regions-contrasts"}}
figure, panels = plt.subplots(1, 2, figsize=(6.4, 3.2))
levels = plt.get_cmap("RdBu_r", 9)
for axes, (name, values), kind in zip(
    panels, t.items(), ("floc-faces", "floc-places"), strict=True
):
    handle = flat_picture(axes, values, 0, cmap=levels, vmin=-9, vmax=9)
    outline(axes, subject.roi(kind)[cortex], 0, colors="black", linewidths=0.9)
    axes.set_title(name)
figure.colorbar(handle, ax=panels, label="t value", ticks=range(-9, 10, 6), shrink=0.8)
plt.show()

# %% [markdown]
# Early regions show up too, though no voxel there knows what an animal is. Animals differ from other things in where edges are, how fine they are, which colours there are. A contrast of pictures finds *any* voxel for which the two groups differ. This is why a localiser uses pictures made for it, and why a patch is not a meaning.
#
# And look at the claim that patches prefer their category: those of NSD come from another experiment, as they must. Choose the best voxels by these trials, and then tell how well they do on the same trials, and you find a preference in pure noise. {ref}`regions-twice` shows it.
#
# ## Exercises
#
# ```{exercise} A region of your own
# :label: regions-own
#
# Make a mask of the face and body patches of the right hemisphere that lie in the ventral stream. How many voxels has it, and how many of these would a decoder that reads `nsdgeneral` not see? Where is its middle?
# ```
#
# ```{solution-start} regions-own
# :class: dropdown
# ```
#
# Regions are boolean arrays of one shape: `|` joins them, `&` keeps what is in both, `~` turns them round.

# %%
patches = subject.roi("floc-faces", hemisphere="rh") | subject.roi("floc-bodies", hemisphere="rh")
own = patches & subject.roi("streams", "ventral")
unseen = own & ~subject.roi("nsdgeneral")
print(f"{own.sum()} voxels, {unseen.sum()} of them outside of nsdgeneral")
middle = apply_affine(affine, np.argwhere(own)).mean(axis=0)
print("middle, mm to the right, front, top:", np.round(middle).astype(int).tolist())

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Find a border
# :label: regions-border
#
# Where does V1v end and V2v begin? Without looking at the labels: take voxels of the left hemisphere with $\psi$ between -70 and 0 degrees and $\rho$ below 60 (`placed.psi`, `placed.rho`), and draw the angle above the horizontal against $\psi$. Where does it turn back? Compare with the labels.
# ```
#
# ```{solution-start} regions-border
# :class: dropdown
# ```
#
# From the middle of V1 the angle climbs from the horizontal to the upper vertical, and turns back in V2. The turning point is the border, at the labels' border to within the width of a bin. At -57 degrees it turns again, at the horizontal: there V2v and V3v meet.

# %% mystnb={"image": {"alt": "Dots and a line of medians: the angle above the horizontal against psi from minus 70 to 0. It falls to 0 at minus 56, rises to about 85 near minus 33 and falls back to 0 at psi 0. A dashed line at the labels' border goes through the peak."}, "figure": {"caption": "Simulated: the angle turns back where V1v and V2v meet. Dashed: the border by the labels.", "name": "regions-border-figure"}}
psi, rho = placed.psi[cortex], placed.rho[cortex]
strip = (side == 1) & (psi > -70) & (psi < 0) & (rho < 60) & np.isfinite(elevation)
bins = np.arange(-70, 1, 4)
middle = [np.median(elevation[strip & (psi >= lo) & (psi < lo + 4)]) for lo in bins[:-1]]
turn = bins[int(np.argmax(middle))] + 2
border = psi[strip & (seen == 1)].min()
figure, axes = plt.subplots(figsize=(5.2, 2.5))
axes.plot(psi[strip], elevation[strip], ".", ms=2, color="#B9C2C9")
axes.plot(bins[:-1] + 2, middle, "o-", ms=4)
axes.axvline(border, color="black", ls="--", lw=1)
axes.set(xlabel="psi, degrees", ylabel="above the horizontal")
plt.show()
print(f"turns back near {turn}, border by the labels near {border:.0f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Do not ask the same trials twice
# :label: regions-twice
#
# Cortex outside of all visual regions has no signal in this simulation. Choose there the 100 voxels with the largest $t$ for animals. What is their mean $t$? And on trials that did not choose them? Do the same in the ventral stream: choose by the first half of the trials, and test on the second.
# ```
#
# ```{solution-start} regions-twice
# :class: dropdown
# ```
#
# Of thousands of $t$ without signal the largest hundred are large: that is what largest means. On new trials they are zero on average. In the ventral stream the chosen do less well on new trials too, but they keep what is real {cite}`kriegeskorte2009circular`.

# %%
silent = placed.part[cortex] == "cortex"
ventral = subject.roi("streams", "ventral")[cortex]
halves = [np.arange(len(trials)) < len(trials) // 2, np.arange(len(trials)) >= len(trials) // 2]
for name, where in (("no signal", silent), ("ventral", ventral)):
    first, second = (welch(b[half][:, where], animals[half]) for half in halves)
    top = first.argsort()[-100:]
    print(
        f"{name:<10} choosing trials: mean t {first[top].mean():.1f}, new: {second[top].mean():.1f}"
    )

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`wandell2007visual` review the maps of the visual field in human cortex, and {cite:t}`sereno1995borders` found their borders by the angle's turning back. {cite:t}`dumoulin2008population` brought the population receptive field. {cite:t}`horton1991representation` have the magnification from patients with injuries, and {cite:t}`benson2022variability` how much people differ.
# {cite:t}`kanwisher1997fusiform`, {cite:t}`epstein1998cortical` and {cite:t}`downing2001cortical` found the face, place and body areas; {cite:t}`stigliani2015temporal` made the localiser that NSD used. {cite:t}`kriegeskorte2009circular` count how often results were chosen and tested on the same data.
#
# ## The way on
#
# You know where voxels are and what they are for. {doc}`nsd_files` showed a map of `ncsnr`, how reliable each of them is. {doc}`noise_ceiling` takes that number apart: how much of what a voxel does can be explained at all.

# %%
scratch.cleanup()
