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
# # NSD's files
#
# **You will be able to**
#
# - find your way in the Natural Scenes Dataset's folders, and say which file answers which question;
# - open each kind of file by hand, with h5py, nibabel and scipy, and read the same numbers with `minisd.nsd`;
# - say which picture was seen in which trial, in ids that count from 0 and from 1;
# - turn stored whole numbers into percent, and an HDF5 file's axes into a mask's;
# - tell what -1, 0 and 1 mean in a mask;
# - have a folder looked through by `minisd nsd check`, and read what it says.
#
# **Time** 45 minutes to read; the cells run in about 10 seconds.
#
# **Before this** {doc}`betas`: what a beta is, and how it is stored.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part IV, The brain's side, at its third chapter, NSD's files."}, "figure": {"caption": "Where you are: the third chapter of Part IV.", "name": "nsd-files-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("nsd_files")
plt.show()

# %% [markdown]
# The Natural Scenes Dataset (NSD) {cite}`allen2022massive` is a folder of folders. You need about a dozen kinds of files out of it to go from a picture to the responses that it evoked, and each kind has a habit of its own. This chapter opens every kind once.
#
# NSD itself may not be passed on, so no part of it comes with this book. What you open here is **simulated**: two subjects in NSD's own layout, who see drawn scenes. Names, folders, number formats and habits are NSD's. The pictures, the brains and the numbers are not. The cell makes them in a scratch folder, in some seconds. The
# same code reads your own copy.

# %%
import tempfile
from pathlib import Path

from minisd.nsd.simulate import SimulationSettings, SubjectSettings, simulate

settings = SimulationSettings(
    seed=6,
    subjects=(
        SubjectSettings(1, (32, 30, 28), sessions=2, kind="hdf5"),
        SubjectSettings(2, (31, 30, 29), sessions=1, kind="nii.gz", quality=0.8),
    ),
    own=30,  # pictures that one subject alone sees
    shared=20,  # and that both see
    sessions=2,  # planned; subject 2 stopped after the first
    trials=(13, 12) * 3,  # in a session's six runs
)
scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name) / "NSD"
root = simulate(folder, settings, progress=False)
print(f"{settings.pictures} pictures, of which a subject sees {settings.pictures_each} three times")
print(f"{sum(settings.trials)} trials a session, {settings.sessions} sessions planned")

# %% [markdown]
# On a command line, `minisd nsd simulate FOLDER --size tiny` does nearly the same.
#
# ## The tree
#
# Three folders lie at the top. `nsddata` says who, what, when and where: the experiment's plan, the button presses, the masks. `nsddata_betas` has the responses, and nearly all of the weight. `nsddata_stimuli` has the pictures. Below, it goes by subject and by *space*, the grid of points in which the numbers live.
# This book reads `func1pt8mm`: a volume with voxels of 1.8 mm, another shape for each subject. NSD also has `func1mm`, of 1 mm, and `fsaverage`, the surface of an average brain, on which all subjects have the same points.

# %% mystnb={"image": {"alt": "A tree of folders. From the root NSD hang three folders. nsddata holds experiments/nsd with two files, ppdata/subj01 with behav and func1pt8mm with its folder roi, and freesurfer/subj01/label. nsddata_betas holds ppdata/subj01/func1pt8mm and in it betas_fithrf_GLMdenoise_RR with sessions and maps. nsddata_stimuli holds the pictures and the captions. Beside each file stands the question that it answers, in words."}, "figure": {"caption": "NSD's tree, as far as this book reads it, for subject 1. Folders are in bold. Each file answers one question (right). The captions come from COCO, and you put them there yourself.", "name": "nsd-files-tree"}}
TREE = [
    (0, "NSD/", ""),
    (1, "nsddata/", ""),
    (2, "experiments/nsd/", ""),
    (3, "nsd_expdesign.mat", "which picture in which trial?"),
    (3, "nsd_stim_info_merged.csv", "which photograph of COCO is it?"),
    (2, "ppdata/subj01/", ""),
    (3, "behav/responses.tsv", "what did the person press?"),
    (3, "func1pt8mm/", ""),
    (4, "brainmask.nii.gz, mean.nii.gz ...", "where is the brain?"),
    (4, "prf_angle.nii.gz ...", "where does a voxel look?"),
    (4, "roi/prf-visualrois.nii.gz ...", "which voxels are V1?"),
    (2, "freesurfer/subj01/label/", ""),
    (3, "prf-visualrois.mgz.ctab ...", "what is label 1 called?"),
    (1, "nsddata_betas/", ""),
    (2, "ppdata/subj01/func1pt8mm/", ""),
    (3, "betas_fithrf_GLMdenoise_RR/", ""),
    (4, "betas_session01.hdf5 (or .nii.gz) ...", "what did the brain answer?"),
    (4, "ncsnr.nii.gz", "how reliable is a voxel?"),
    (4, "meanbeta.nii.gz, R2.nii.gz ...", "how large, how well explained?"),
    (1, "nsddata_stimuli/stimuli/nsd/", ""),
    (2, "nsd_stimuli.hdf5", "what was seen?"),
    (2, "annotations/captions_train2017.json ...", "what do people say of it?"),
]
figure, axes = plt.subplots(figsize=(6.4, 4.9))
axes.set(xlim=(0, 32), ylim=(len(TREE) - 0.4, -0.8))
axes.set_axis_off()
above = {}  # the last line of each depth
for line, (depth, name, question) in enumerate(TREE):
    if depth:
        x, top = depth - 0.7, above[depth - 1] + 0.35
        axes.plot([x, x, x + 0.5], [top, line, line], color="#9AA5AD", lw=1)
    weight = "bold" if name.endswith("/") else "normal"
    axes.text(depth, line, name, family="monospace", fontsize=7.5, weight=weight, va="center")
    axes.text(21.5, line, question, fontsize=8, color="C0", va="center")
    above[depth] = line
plt.show()

# %% [markdown]
# `Root` knows these names. It gives a path whether or not a file is there, and never one outside of the folder.

# %%
print(root.relative(root.betas(1, 2)))
print(root.relative(root.roi(1, "prf-visualrois", "lh")))
print(root.relative(root.betas(1, 2, "betas_fithrf", "fsaverage", hemisphere="rh")))
there = {path for path in folder.rglob("*") if path.is_file()}
print(f"files here: {len(there)}; betas of subject 1: sessions {root.beta_sessions(1)}")

# %% [markdown]
# ```{admonition} A slip in the report
# :class: note
#
# Section 4 draws `func1pt8mm` and `betas_fithrf_GLMdenoise_RR` side by side in `subj01`. The betas lie *in* the space: `nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR`. The text above the drawing calls them `betas_fithri_GLMdenoise_RR`; it is `fithrf`, for the fitted haemodynamic response function. And the drawing stops at `nsddata_betas`,
# without which nobody could say what was seen: that is in `nsddata` and `nsddata_stimuli` ({ref}`errata <erratum-nsd-tree>`).
# ```
#
# Does it matter? Build the report's tree, and ask for its sessions. Files that lie one folder too high are not found.

# %%
from minisd.nsd import Root

wrong = Path(scratch.name) / "report" / "nsddata_betas" / "ppdata" / "subj01"
for name in ("func1pt8mm", "betas_fithrf_GLMdenoise_RR"):
    (wrong / name).mkdir(parents=True)
(wrong / "betas_fithrf_GLMdenoise_RR" / "betas_session01.hdf5").touch()
misplaced = Root(Path(scratch.name) / "report")
print("sessions in the report's tree:", misplaced.beta_sessions(1))
try:
    root.betas(1, 1, version="betas_fithri_GLMdenoise_RR")
except ValueError as error:
    print(error)

# %% [markdown]
# ## The pictures
#
# All pictures are in one HDF5 file, `nsd_stimuli.hdf5`, in a dataset named `imgBrick`. An HDF5 file is a folder of arrays in a single file. h5py opens it without reading it: you get a shape and a number format, and a part is read when you index it.

# %%
import h5py
import numpy as np

with h5py.File(root.stimuli) as file:
    bricks = file["imgBrick"]
    print(list(file), bricks.shape, bricks.dtype)
    sixth = bricks[5]
print("one picture:", sixth.shape, "values", sixth.min(), "to", sixth.max())
print(f"NSD's own: {73_000 * 425 * 425 * 3 / 1e9:.1f} GB")

# %% [markdown]
# In NSD the shape is 73000 x 425 x 425 x 3. `bricks[:]` would read all of it into memory, 39.6 GB. The place of a picture in this dataset, counted from 0, is its *73k id*. `minisd.nsd` reads by that id, one picture or a batch at a time.

# %%
from minisd.nsd import Subject

subject = Subject(root, 1)
print(len(subject.pictures), "pictures")
print("the same:", np.array_equal(subject.pictures[5], sixth))

# %% [markdown]
# ## Which picture in which trial
#
# `nsd_expdesign.mat` is a MATLAB file, and MATLAB counts from 1. scipy opens it.

# %%
from scipy.io import loadmat

design = loadmat(root.design)
for name in ("masterordering", "subjectim", "sharedix", "stimpattern", "basiccnt"):
    values = design[name]
    print(f"{name:<15} {values.shape!s:<12} {values.min():g} to {values.max():g}")

# %% [markdown]
# | variable | here | in NSD | what it says |
# |---|---|---|---|
# | `masterordering` | 1 x 150 | 1 x 30000 | for each trial of the whole experiment, *which of the subject's pictures*: the same order for all subjects |
# | `subjectim` | 2 x 50 | 8 x 10000 | for each subject, the 73k ids of its pictures |
# | `sharedix` | 1 x 20 | 1 x 1000 | the 73k ids of the pictures that all subjects were to see |
# | `stimpattern` | 2 x 6 x 25 | 40 x 12 x 75 | by session, run and slot: 1 where a picture is shown, 0 where the screen stays grey |
# | `basiccnt` | 3 x 2 | 3 x 40 | by session, how many pictures are shown in it once, twice, three times |
#
# The first thousand columns of `subjectim` are the shared pictures, the same in each row: an entry of `masterordering` of 1000 or less means a shared one. Here it is the first twenty.
#
# Put the two together. The picture of trial $n$ of subject $s$ has the 73k id, counted from 0,
#
# $$
# \mathrm{id}_s(n) = \mathtt{subjectim}\bigl[s,\ \mathtt{masterordering}[n]\bigr] - 1 ,
# $$ (nsd-files-id)
#
# where the brackets count from 1, as MATLAB does. In Python, take off 1 inside and outside.

# %%
order = design["masterordering"].ravel().astype(int)
ids = design["subjectim"][0, order - 1].astype(int) - 1
trials = subject.trials
print("first ids by hand:", ids[:6].tolist())
print("minisd agrees:", np.array_equal(ids, trials.nsd_id))
shared = np.isin(ids, design["sharedix"] - 1)
print("shared:", np.array_equal(shared, trials.shared), np.array_equal(shared, order <= 20))

# %% [markdown]
# When was a trial? The ones of `stimpattern` in order are the trials in order: slot after slot, run after run, session after session.

# %%
session, run, slot = (where + 1 for where in np.nonzero(design["stimpattern"]))
print("as many ones as trials:", session.size == ids.size)
print("minisd agrees:", np.array_equal(session, trials.session), np.array_equal(run, trials.run))
print("trials in the first session's runs:", np.bincount(run[session == 1])[1:].tolist())

# %% mystnb={"image": {"alt": "A scatter of 150 trials against 50 pictures, in the order of subject 1's pictures. Each picture has three marks: a circle where it is seen first, a square the second time, a triangle the third. Often two marks of a picture lie close together. A dashed line parts the two sessions, and a grey band marks the lowest twenty pictures, which are shared."}, "figure": {"caption": "Subject 1's plan, simulated: each row is a picture, and it is seen three times. Half of the repeats come soon after the last time. The grey rows are shared with subject 2. The dashed line parts the sessions.", "name": "nsd-files-plan"}}
figure, axes = plt.subplots(figsize=(6.4, 3.2))
axes.axhspan(0, 20.5, color="#E8E8E8")
axes.axvline(75.5, color="grey", ls="--", lw=1)
for repeat, marker in enumerate("os^"):
    now = np.flatnonzero(trials.repeat == repeat)
    axes.plot(now + 1, order[now], marker, ms=3.5, label=f"repeat {repeat}")
axes.set(xlabel="trial of the experiment", ylabel="masterordering", ylim=(0, 51))
axes.legend(ncols=3, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0))
plt.show()

# %% [markdown]
# ### The other way round: by picture
#
# `nsd_stim_info_merged.csv` has a line for each picture, and here **ids count from 0**: the column `nsdId`. `cocoId` and `cocoSplit` say which photograph of COCO {cite}`lin2014microsoft` it is, and `cropBox` what was cut off to make it square. `subject1_rep0` and the like say in which trial of the experiment, from 1, subject 1 saw it first; 0 means never.

# %%
import csv

with open(root.stimulus_info, newline="") as file:
    lines = list(csv.DictReader(file))
print(len(lines), "lines; columns:", ", ".join(list(lines[0])[1:9]), "...")
line = lines[ids[0]]
print("first trial's picture:", {k: line[k] for k in ("nsdId", "cocoId", "cocoSplit")})
print("seen by subject 1 in trials", [int(line[f"subject1_rep{k}"]) for k in range(3)])
print("the design says", (np.flatnonzero(ids == ids[0]) + 1).tolist())

# %% [markdown]
# ### What the person did
#
# In each trial the person says whether the picture was seen before. `responses.tsv` has a line for each trial that was *done*, with 19 columns, parted by tabs. Its `73KID` counts **from 1**.

# %%
with open(root.responses(1), newline="") as file:
    pressed = list(csv.DictReader(file, delimiter="\t"))
print(len(pressed), "lines,", len(pressed[0]), "columns:")
print(", ".join(pressed[0]))
told = np.array([int(row["73KID"]) for row in pressed])
print("73KID - 1 is the id:", np.array_equal(told - 1, ids))
for old, kind in ((0, "new"), (1, "old")):
    right = [row["ISCORRECT"] for row in pressed if int(row["ISOLD"]) == old]
    print(f"{kind} pictures: {right.count('1')} right of {len(right)}")

# %% [markdown]
# Three files, and they count from 1, from 0 and from 1. An id that is off by one raises no error: there is a picture there too. Look at what you would train on.

# %%
from minisd.plots import image_grid

pairs = [ids[0], ids[0] + 1, ids[1], ids[1] + 1]
titles = ["seen", "off by one"] * 2
for title, nsd_id in zip(titles, pairs, strict=True):
    print(f"{title}: {subject.captions(nsd_id)[0]}")

# %% mystnb={"image": {"alt": "Four small drawn scenes in a row. Under seen a green bench at a beach; under off by one a green umbrella and a red cat at night; then another such pair."}, "figure": {"caption": "Simulated: the pictures of the first two trials, each beside the one that an id off by one gives. Nothing warns you.", "name": "nsd-files-off-by-one"}}
image_grid(np.stack([subject.pictures[nsd_id] for nsd_id in pairs]), titles, 4)
plt.show()

# %% [markdown]
# `minisd.nsd` uses ids from 0 everywhere, converts once at the edge, and lets the three files check one another. It stops when they disagree. Take a line of `responses.tsv` and move its id by one:

# %%
from minisd.nsd import read_trials

path = root.responses(1)
sound = path.read_text()
first = sound.splitlines()[1].split("\t")
first[4] = str(int(first[4]) + 1)
path.write_text(sound.replace(sound.splitlines()[1], "\t".join(first), 1))
try:
    read_trials(root, 1)
except ValueError as error:
    print(error)
path.write_text(sound)  # mended
print("mended:", len(read_trials(root, 1)), "trials")

# %% [markdown]
# ### What people say of it
#
# NSD has no captions. They are COCO's, about five a photograph, in COCO's own `captions_train2017.json` and `captions_val2017.json`, by COCO's id. (Here: the picture world's.)

# %%
import json

captions = json.loads(root.captions(line["cocoSplit"]).read_text())
print("parts:", ", ".join(captions))
by_hand = [
    entry["caption"]
    for entry in captions["annotations"]
    if entry["image_id"] == int(line["cocoId"])
]
for caption in by_hand:
    print("-", caption)
print("minisd agrees:", by_hand == list(subject.captions(ids[0])))

# %% [markdown]
# ## The betas
#
# A session is one file. With $X \times Y \times Z$ voxels, $N$ trials and 16-bit whole numbers it holds
#
# $$
# \text{bytes} = 2\, X\, Y\, Z\, N .
# $$ (nsd-files-bytes)

# %%
path = root.betas(1, 1)
with h5py.File(path) as file:
    stored = file["betas"]
    shape, chunks, size = stored.shape, stored.chunks, stored.nbytes
    everything = stored[:]
print("h5py sees", shape, everything.dtype, "in chunks of", chunks)
X, Y, Z = settings.subjects[0].shape
N = sum(settings.trials)
print("bytes by the formula:", size == 2 * X * Y * Z * N)
print("on the disk it is smaller:", path.stat().st_size < size)
print(f"NSD's subject 1: {2 * 81 * 104 * 83 * 750 / 1e9:.2f} GB a session")

# %% [markdown]
# On the disk it is smaller, since chunks outside of the brain are all zero and are not written. A chunk is one voxel in all trials: reading a region touches that region's chunks and nothing else.
#
# ### The axes are turned round
#
# The mask says (X, Y, Z) = (32, 30, 28). h5py says (75, 28, 30, 32). Nothing is wrong: MATLAB wrote X x Y x Z x trials with the *first* index running fastest, and h5py reads the same bytes with the *last* running fastest. A NIfTI file, which nibabel shows as (X, Y, Z, trials), lies on the disk in that order too. With $b_n(x, y, z)$ in percent:
#
# $$
# q^{\text{HDF5}}[n, z, y, x] = q^{\text{NIfTI}}[x, y, z, n] = \mathrm{round}\bigl(300\, b_n(x, y, z)\bigr) ,
# $$ (nsd-files-axes)
#
# and the number's place in the file, counted from the first, is $x + X \bigl(y + Y (z + Z n)\bigr)$.
#
# Check it on subject 2, whose session is NIfTI: once through nibabel, once in the raw bytes.

# %%
import gzip

import nibabel

path = root.betas(2, 1, kind="nii.gz")
image = nibabel.load(path)
print("nibabel sees", image.shape, image.get_data_dtype())
print("voxel in mm, then 4/3:", [round(float(v), 3) for v in image.header.get_zooms()])
stored = np.asarray(image.dataobj)  # int16; get_fdata() would make float64 of it
raw = np.frombuffer(gzip.decompress(path.read_bytes())[352:], "<i2")
x, y, z, n = 9, 6, 14, 33
X2, Y2, Z2 = settings.subjects[1].shape
place = x + X2 * (y + Y2 * (z + Z2 * n))
print("same number:", raw[place] == stored[x, y, z, n])
turned = raw.reshape(image.shape[::-1])  # as h5py would show it
print("HDF5's axes:", np.array_equal(turned[n, z, y, x], stored[x, y, z, n]))
print("all of it:", np.array_equal(turned.T, stored))

# %% [markdown]
# The 1.333 in the header's time slot is the repetition time in seconds, left over from the scan. The fourth axis is trials, not time. nibabel's `get_fdata` makes 64-bit floats of everything, four times the file's size: 4.2 GB for a session of NSD.
#
# Now read V1 by hand from subject 1's HDF5, and then with `minisd.nsd`. The mask is (X, Y, Z), so it is the array that gets turned.

# %%
labels = nibabel.load(root.roi(1, "prf-visualrois")).get_fdata()
V1 = (labels == 1) | (labels == 2)  # V1v and V1d
by_hand = everything.T[V1].T / 300  # [trials, voxels], in percent
read = subject.betas(1, subject.roi("prf-visualrois", ["V1v", "V1d"]))
print(read.shape, read.dtype)
print("by hand the same:", np.allclose(by_hand, read, atol=1e-5))
print(f"mean {read.mean():.1f} %, standard deviation {read.std():.1f} %")
print(f"without the 300: mean {everything.T[V1].mean():.0f}")
try:
    subject.betas(1, V1.T)
except ValueError as error:
    print(error)

# %% [markdown]
# `subject.betas` reads the HDF5 file where there is one, and of it what the mask needs; otherwise the NIfTI file, one volume after the other. A whole session is never in memory. The rows are in the order of `subject.trials`, the columns in that of `volume[mask]`.
#
# On the average brain betas are in another form: `lh.betas_session01.mgh` and `rh.betas_session01.mgh`, 163,842 points each, 32-bit floats, and *already in percent*. `Subject(root, 1, space="fsaverage")` reads these, the left hemisphere first.
#
# Move the slider through the first trials: what was seen, and what a slice through the back of the brain answered.

# %%
from minisd.widgets import slider

brain = nibabel.load(root.volume(1, "brainmask")).get_fdata() > 0
percent = np.where(brain, everything.transpose(0, 3, 2, 1) / 300, np.nan)


def draw_trial(n):
    figure, (left, right) = plt.subplots(1, 2, figsize=(5.6, 2.5), width_ratios=[1, 1.3])
    left.imshow(subject.pictures[ids[n]])
    left.set(title=f"trial {n + 1}, id {ids[n]}", xticks=[], yticks=[])
    shown = right.imshow(percent[n, :, :, 13].T, origin="lower", cmap="RdBu_r", vmin=-10, vmax=10)
    right.set(title="one slice", xticks=[], yticks=[], xlabel="L                    R")
    for axes in (left, right):
        axes.grid(False)
    figure.colorbar(shown, ax=right, label="percent", shrink=0.8)
    return figure


slider(
    draw_trial,
    list(range(12)),
    label="trial",
    show=lambda n: str(n + 1),
    caption="Simulated: the pictures of the first twelve trials, and the betas of a horizontal slice. The back of the head is at the bottom. Responses stand out along the folded rim, the cortex. Much of what changes from trial to trial is noise.",
    alt=lambda n: (
        f"Trial {n + 1}: a drawn scene, and a slice of betas, red above and blue below zero."
    ),
)

# %% [markdown]
# ## Masks
#
# A mask file gives each voxel a whole number. Look at what numbers there are, in the file for both hemispheres and in those for each.

# %%
for hemisphere in (None, "lh", "rh"):
    values = nibabel.load(root.roi(1, "prf-visualrois", hemisphere)).get_fdata()
    kinds, counts = np.unique(values, return_counts=True)
    told = {int(k): int(c) for k, c in zip(kinds, counts, strict=True)}
    print(f"{hemisphere or 'both'}: {told}")
print(root.labels(1, "prf-visualrois")[0].read_text().split())

# %% [markdown]
# - **-1**: not cortex; in a hemisphere's own file, also the other hemisphere.
# - **0**: cortex, in none of the regions.
# - **1 and more**: a region. Its name stands in the `.ctab` file.
#
# So with $\ell(v)$ the number of voxel $v$, the union of the regions with the numbers $A$ is
#
# $$
# R_A = \{ v : \ell(v) \in A \} , \qquad R = \{ v : \ell(v) > 0 \} .
# $$ (nsd-files-mask)
#
# To NumPy each number but 0 is true: `labels.astype(bool)` keeps the regions and all that is *not* cortex, and drops the rest of the cortex. Writing `!= -1` keeps all of the cortex. The published code of Mind Reader {cite}`lin2022mind` does that to `nsdgeneral`, and so keeps 107,104 voxels, where the region has some 15,000.

# %%
regions = labels > 0
print("> 0:        ", np.count_nonzero(regions), "voxels")
print("!= -1:      ", np.count_nonzero(labels != -1), "voxels: all of the cortex")
print("astype(bool):", np.count_nonzero(labels.astype(bool)), "voxels: what is no cortex, too")
print("minisd:     ", np.count_nonzero(subject.roi("prf-visualrois")))
print("V1:         ", np.count_nonzero(np.isin(labels, [1, 2])), np.count_nonzero(V1))

# %% mystnb={"image": {"alt": "Two panels. Left, an upright slice through the back of the head, coloured by mask value: a dark surround of minus one, grey folded ribbons of zero, and coloured stretches along them, labelled V1v to hV4. Right, bars: 1,281 voxels for greater than zero, several times as many for the two mistaken masks."}, "figure": {"caption": "Simulated. Left: what the numbers of prf-visualrois mean in a slice through the back of the head, seen from behind: V1 between the hemispheres, the others above and below it. Right: how many voxels each way of writing the mask keeps. Only the first is right.", "name": "nsd-files-mask-figure"}}
from matplotlib.colors import BoundaryNorm, ListedColormap

names = ["not cortex", "cortex", "V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"]
colours = ["#20262B", "#B9C2C9", *plt.cm.tab10.colors[:6], "#E0C22E"]
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.8), width_ratios=[1.5, 1])
shown = left.imshow(
    labels[:, 7, :].T,
    origin="lower",
    cmap=ListedColormap(colours),
    norm=BoundaryNorm(np.arange(-1.5, 8), 9),
)
left.set(xticks=[], yticks=[], title="values in a slice")
left.grid(False)
bar = figure.colorbar(shown, ax=left, ticks=range(-1, 8))
bar.ax.set_yticklabels(names, fontsize=7)
ways = ["> 0", "!= -1", "astype\n(bool)"]
kept = [(labels > 0).sum(), (labels != -1).sum(), labels.astype(bool).sum()]
right.bar(ways, kept, color=["C2", "C1", "C1"])
right.bar_label(right.containers[0], [f"{k:,}" for k in kept], fontsize=7)
right.set(ylabel="voxels kept")
plt.show()

# %% [markdown]
# ## The maps beside the betas
#
# With each version of the betas lie maps: one number a voxel, for all sessions and for each. `ncsnr` says how much of a voxel's response is signal; a later chapter derives it. `R2` says how much of the time course the model explained. `meanbeta` is the mean beta of the stored numbers, and **nobody divided it by 300**:
#
# $$
# \mathtt{meanbeta}(v) = \frac1N \sum_n q_n(v) = 300\, \bar b(v) .
# $$ (nsd-files-meanbeta)

# %%
maps = {
    name: nibabel.load(root.statistic(1, name)).get_fdata() for name in ("meanbeta", "R2", "ncsnr")
}
first = nibabel.load(root.statistic(1, "meanbeta_session01")).get_fdata()
mean = everything.T[brain].mean(axis=1)
print("mean of the stored numbers:", np.allclose(first[brain], mean, atol=1e-2))
print(f"in V1: {maps['meanbeta'][V1].mean():.0f}, so {maps['meanbeta'][V1].mean() / 300:.1f} %")
print("ncsnr, minisd agrees:", np.allclose(maps["ncsnr"][V1], subject.ncsnr(V1)))
print("outside of the brain no number:", bool(np.isnan(maps["ncsnr"][~brain]).all()))

# %% mystnb={"image": {"alt": "Three maps of the same horizontal slice. meanbeta in thousands of stored units with high values along the rear rim, R2 in percent and ncsnr, both high at the same places."}, "figure": {"caption": "Simulated: three maps that lie with the betas, in one slice. meanbeta is in 300ths of a percent: a value of 900 is 3 %. High at the back, where vision is; the rest of the brain does not care for pictures.", "name": "nsd-files-maps"}}
figure, panels = plt.subplots(1, 3, figsize=(6.4, 2.3))
limits = {"meanbeta": 1200, "R2": 60, "ncsnr": 1}
for axes, (name, values) in zip(panels, maps.items(), strict=True):
    shown = axes.imshow(values[:, :, 13].T, origin="lower", vmin=0, vmax=limits[name])
    axes.set(title=name, xticks=[], yticks=[])
    axes.grid(False)
    figure.colorbar(shown, ax=axes, shrink=0.75)
plt.show()

# %% [markdown]
# Beside the masks, in `nsddata/ppdata/subj01/func1pt8mm`, are maps that belong to no version: `brainmask`, the mean signal `mean`, the anatomy `T1_to_func1pt8mm`, and what another experiment found about where each voxel looks, `prf_angle`, `prf_eccentricity`, `prf_size`. {doc}`regions` uses these.
#
# The header tells which way the axes run. The affine has positive entries on its diagonal: the first index grows to the right, the second to the front, the third to the top. nibabel calls that RAS, by where the axes go. NSD's manual calls the same order LPI, by the corner where the first voxel is: left, posterior, inferior.

# %%
anatomy = nibabel.load(root.volume(1, "T1_to_func1pt8mm"))
print("axes grow to:", nibabel.aff2axcodes(anatomy.affine))
print("first voxel, mm:", np.round(anatomy.affine[:3, 3], 1).tolist())
same = [nibabel.load(root.volume(1, name)).affine for name in ("brainmask", "mean", "prf_angle")]
print("one grid for all:", all(np.array_equal(anatomy.affine, other) for other in same))
print("so the left hemisphere has the lower first index:")
for hemisphere in ("lh", "rh"):
    x = np.nonzero(subject.roi("nsdgeneral", hemisphere=hemisphere))[0]
    print(f"  {hemisphere}: {x.min()} to {x.max()} of 0 to {labels.shape[0] - 1}")

# %% [markdown]
# ## All of it in one place
#
# You have opened every kind of file. From here on `Subject` does it, and knows nothing of whether the folder is real.

# %%
V1 = subject.roi("prf-visualrois", ["V1v", "V1d"])
for session in subject.sessions:
    betas = subject.betas(session, V1)  # percent, [trials, voxels]
    mine = subject.trials[subject.trials.session == session]
    print(f"session {session}: {betas.shape}, pictures {np.unique(mine.nsd_id).size}")
print(subject.pictures[mine.nsd_id[0]].shape, "-", subject.captions(mine.nsd_id[0])[0])
print(f"median ncsnr {np.median(subject.ncsnr(V1)):.1f}")

# %% [markdown]
# | you want | by hand | `minisd.nsd` |
# |---|---|---|
# | ids of the trials | `subjectim[s - 1, masterordering - 1] - 1` | `subject.trials.nsd_id` |
# | a picture | `file["imgBrick"][id]` | `subject.pictures[id]` |
# | captions | by `cocoId` in the csv, then COCO's JSON | `subject.captions(id)` |
# | a region | `(labels == 1) + (labels == 2)` | `subject.roi("prf-visualrois", ["V1v", "V1d"])` |
# | betas in percent | `file["betas"][:].T[mask].T / 300` | `subject.betas(session, mask)` |
# | reliability | `ncsnr.nii.gz` | `subject.ncsnr(mask)` |
#
# ## Is it all there?
#
# A download of hundreds of gigabytes breaks off, disks fill, a folder is moved. `minisd nsd check FOLDER` looks through a folder and says what is there, what is missing or damaged, and what can be run with what is sound. It reads the tables whole and of large files the beginning and the end, so all of NSD takes it seconds. From Python:

# %%
from minisd.nsd.check import check

report = check(root)
print("\n".join(str(report).splitlines()[1:]))  # the first line is the path

# %% [markdown]
# Now harm it as the world would: cut a file short, lose another.

# %%
cut = root.betas(2, 1, kind="nii.gz")
whole = cut.read_bytes()
cut.write_bytes(whole[: len(whole) // 2])
root.statistic(1, "ncsnr").unlink()
report = check(root)
text = str(report)
print("damaged:", report.damaged)
print(text[text.index("\ndamaged") + 1 :].replace("; ", ";\n    "))
for use in report.uses:
    if use.lacking:
        print(f"subject {use.subject} cannot {use.name}: needs {', '.join(use.lacking)}")
_ = cut.write_bytes(whole)

# %% [markdown]
# A wrong folder is told apart from a missing file:

# %%
try:
    read_trials(Root(root.path / "nsddata"), 1)
except ValueError as error:
    print(str(error).replace(str(root.path), "NSD"))

# %% [markdown]
# ## Exercises
#
# ```{exercise} One trial, by hand
# :label: nsd-files-one-trial
#
# Which picture did **subject 2** see in the fifth trial of the fourth run of its first session? Find the 73k id from `nsd_expdesign.mat` alone, and then in `responses.tsv`.
# ```
#
# ```{solution-start} nsd-files-one-trial
# :class: dropdown
# ```
#
# Count the ones of `stimpattern` before that run: those of runs 1 to 3. The fifth trial of the run comes four after. `masterordering` is the same for all subjects; take the second row of `subjectim`.

# %%
before = int(design["stimpattern"][0, :3].sum())
n = before + 4
found = int(design["subjectim"][1, order[n] - 1]) - 1
with open(root.responses(2), newline="") as file:
    rows = list(csv.DictReader(file, delimiter="\t"))
row = next(r for r in rows if (r["SESSION"], r["RUN"], r["TRIAL"]) == ("1", "4", "5"))
print(f"design: id {found}, responses: id {int(row['73KID']) - 1}")
print("of the simulation,", subject.captions(found)[0])

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} How long ago?
# :label: nsd-files-lag
#
# From the columns `subject1_rep0` to `subject1_rep2` of the csv alone: how many trials lie between two showings of a picture? Compare with `MEMORYRECENT` in `responses.tsv`, which tells for each old picture how many trials came in between.
# ```
#
# ```{solution-start} nsd-files-lag
# :class: dropdown
# ```
#
# The differences of the columns, less one, for the pictures that the subject saw. `MEMORYRECENT` has the same numbers, in the order of trials.

# %%
when = np.array([[int(line[f"subject1_rep{k}"]) for k in range(3)] for line in lines])
when = when[when[:, 0] > 0]
between = np.diff(when, axis=1) - 1
recent = [float(row["MEMORYRECENT"]) for row in pressed if row["ISOLD"] == "1"]
print(f"{between.size} repeats; half of them after {np.median(between):.0f} trials or fewer")
print("MEMORYRECENT agrees:", np.array_equal(np.sort(between.ravel()), np.sort(recent)))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Will it fit?
# :label: nsd-files-fit
#
# The four subjects with 40 sessions have volumes of 81 x 104 x 83 (1), 82 x 106 x 84 (2), 79 x 97 x 78 (5) and 78 x 95 x 81 (7), and 15,724, 14,278, 13,039 and 12,682 voxels in `nsdgeneral`. How much is a subject's betas in one version, by {eq}`nsd-files-bytes`? How much are its 30,000 trials in `nsdgeneral` as 32-bit floats, and their means over three repeats?
# ```
#
# ```{solution-start} nsd-files-fit
# :class: dropdown
# ```
#
# The whole volumes are some 30 to 45 GB a subject, most of it outside of the brain or of visual cortex. In the region, single trials are about 2 GB, and means over repeats fit into any laptop. This is why a subject is prepared once.

# %%
people = {
    1: ((81, 104, 83), 15_724),
    2: ((82, 106, 84), 14_278),
    5: ((79, 97, 78), 13_039),
    7: ((78, 95, 81), 12_682),
}
for number, (volume, voxels) in people.items():
    whole = 2 * np.prod(volume) * 750 * 40 / 1e9
    region = 4 * voxels * 30_000 / 1e9
    print(f"subject {number}: {whole:.0f} GB; region {region:.1f} GB, means {region / 3:.1f} GB")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`allen2022massive` describe the experiment and the files, and NSD's data manual, on the dataset's site, says what is in each. {cite:t}`lin2014microsoft` collected the photographs and the captions. Decoding papers differ in what they take from these files: MindDiffuser reads betas of the third version in eleven regions {cite}`lu2023minddiffuser`,
# Takagi and Nishimoto take the regions of `streams` {cite}`takagi2023high`, and Mind Reader takes `nsdgeneral` {cite}`lin2022mind`.
#
# ## The way on
#
# You can read a number for each trial and each voxel, and say which voxels are called V1. {doc}`regions` says where these are, what they are called after, and what each of them sees.

# %%
scratch.cleanup()
