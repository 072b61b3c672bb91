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
# # The traps
#
# **You will be able to**
#
# - recognise nine mistakes with fMRI data that raise no error;
# - name for each the picture or the number that gives it away;
# - write two alarms of your own, and say which mistakes each of them hears;
# - prove that nothing you fitted has seen a test trial;
# - read the report's section on data with its slips put right.
#
# **Time** 45 minutes to read; the cells run in about 30 seconds.
#
# **Before this** {doc}`nsd_files`, {doc}`preparing`; {doc}`betas` for ridge regression.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part IV, The brain's side, at its seventh chapter, The traps."}, "figure": {"caption": "Where you are: the seventh chapter of Part IV.", "name": "traps-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("traps")
plt.show()

# %% [markdown]
# Every mistake of this chapter is a few characters long. None raises an error. Some make a decoder fail, and you lose a week. The worse ones make it *succeed*, and you lose a paper. Here each is made on purpose, on a **simulated** subject in the layout of the Natural Scenes Dataset (NSD) {cite}`allen2022massive`, whose truth is known. Two subjects see drawn scenes three times each; the second stops early.

# %%
import tempfile
from pathlib import Path

import numpy as np

from minisd.nsd import Subject
from minisd.nsd.simulate import SimulationSettings, SubjectSettings, simulate

settings = SimulationSettings(
    seed=6,
    subjects=(
        SubjectSettings(1, (32, 30, 28), sessions=6, kind="hdf5"),
        SubjectSettings(2, (31, 30, 29), sessions=5, kind="nii.gz", quality=0.8),
    ),
    own=200,
    shared=60,
    sessions=6,
    trials=(33, 32) * 2,
)
scratch = tempfile.TemporaryDirectory()
root = simulate(Path(scratch.name) / "NSD", settings, progress=False)
subject = Subject(root, 1)
trials = subject.trials
V1 = subject.roi("prf-visualrois", ["V1v", "V1d"])
print(f"subject 1: {len(trials)} trials of {len(np.unique(trials.nsd_id))} pictures")
print(f"V1: {V1.sum()} voxels, nsdgeneral: {subject.roi('nsdgeneral').sum()}")

# %% [markdown]
# ## Two alarms
#
# You need two numbers that you know how to read.
#
# **The repeat alarm** asks whether a voxel answers alike when a picture comes again. With $b_{p1}$ and $b_{p2}$ a voxel's responses to two repeats of picture $p$,
#
# $$
# r = \frac{\sum_p (b_{p1} - \bar b_1)(b_{p2} - \bar b_2)}
# {\sqrt{\sum_p (b_{p1} - \bar b_1)^2 \, \sum_p (b_{p2} - \bar b_2)^2}} .
# $$ (traps-repeat)
#
# In V1 of NSD's subject 1 it is about 0.3 for single trials. It never looks at a picture.


# %%
def repeat_alarm(betas, ids):
    """Correlation over pictures of two repeats, a number for each voxel."""
    order = np.argsort(ids, kind="stable")
    twice = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    one, two = betas[order[twice]], betas[order[twice + 1]]
    one, two = one - one.mean(axis=0), two - two.mean(axis=0)
    length = np.sqrt((one**2).sum(axis=0) * (two**2).sum(axis=0))
    return (one * two).sum(axis=0) / np.where(length > 0, length, np.inf)


ids = trials.nsd_id[trials.session == 1]
betas = subject.betas(1, V1)
heard = repeat_alarm(betas, ids)
order = np.argsort(ids, kind="stable")
twice = np.flatnonzero(ids[order][1:] == ids[order][:-1])
numpys = np.corrcoef(betas[order[twice], 0], betas[order[twice + 1], 0])[0, 1]
print("numpy agrees:", np.isclose(heard[0], numpys, atol=1e-4))
print(f"V1, session 1: median {np.median(heard):.2f} from {twice.size} pairs")

# %% [markdown]
# **The picture alarm** asks whether responses and pictures belong together. Decode something plain of each picture, here 8 x 8 coloured patches, by ridge regression. With the responses' rows in $X$ and the patches in $Y$, both less their means over the training pictures,
#
# $$
# W = X^\top (X X^\top + \lambda I)^{-1} Y .
# $$ (traps-ridge)
#
# That is the ridge solution $(X^\top X + \lambda I)^{-1} X^\top Y$, with the smaller matrix to invert: pictures by pictures, not voxels by voxels.


# %%
def fit(X, Y, penalty=1000.0):
    """Ridge regression; gives a function from responses to predictions."""
    middle, offset = X.mean(axis=0), Y.mean(axis=0)
    centred = X - middle
    gram = centred @ centred.T + penalty * np.eye(len(X))
    weights = centred.T @ np.linalg.solve(gram, Y - offset)
    return lambda new: (new - middle) @ weights + offset


rng = np.random.default_rng(0)
X, Y = rng.normal(size=(20, 7)), rng.normal(size=(20, 3))
x, y = X - X.mean(axis=0), Y - Y.mean(axis=0)
plain = x @ np.linalg.solve(x.T @ x + 5 * np.eye(7), x.T @ y) + Y.mean(axis=0)
print("the same as the usual form:", np.allclose(fit(X, Y, 5)(X), plain))

# %% [markdown]
# Then score the prediction $\hat y_p$ of each test picture: how often does it correlate ($c$) more with its own picture than with another one?
#
# $$
# I = \frac{1}{P (P - 1)} \sum_{p \ne q}
# \bigl[\, c(\hat y_p, y_p) > c(\hat y_p, y_q) \,\bigr] .
# $$ (traps-identify)
#
# Chance is one half.


# %%
def identify(predicted, true):
    """Two-way identification, in percent."""
    rows = [y - y.mean(axis=1, keepdims=True) for y in (predicted, true)]
    rows = [y / np.linalg.norm(y, axis=1, keepdims=True) for y in rows]
    match = rows[0] @ rows[1].T
    others = ~np.eye(len(match), dtype=bool)
    return 100 * (np.diag(match)[:, None] > match)[others].mean()


P, T = rng.normal(size=(9, 5)), rng.normal(size=(9, 5))
c = np.corrcoef(P, T)[:9, 9:]
won = [c[p, p] > c[p, q] for p in range(9) for q in range(9) if p != q]
print("by loops the same:", np.isclose(identify(P, T), 100 * np.mean(won)))

# %% [markdown]
# Put the data together: all sessions in `nsdgeneral`, z-scored by session on training trials, means over the repeats of a picture. The subject's own pictures are for training, the shared ones for testing. {doc}`nsd_files` has the files, and the chapter before this one has the recipe.

# %%
from minisd.nsd.prepare import z_scale

mask = subject.roi("nsdgeneral")
percent = np.concatenate([subject.betas(session, mask) for session in subject.sessions])
train = ~trials.shared


def z_by_session(betas, fitted_on):
    z = np.empty_like(betas)
    for session in np.unique(trials.session):
        now = trials.session == session
        mean, deviation = z_scale(betas[now], fitted_on[now])
        z[now] = (betas[now] - mean) / np.where(deviation > 0, deviation, np.inf)
    return z


def average(betas, ids):
    """Means over repeats, and the pictures' ids."""
    found, place, count = np.unique(ids, return_inverse=True, return_counts=True)
    total = np.zeros((len(found), betas.shape[1]))
    np.add.at(total, place, betas)
    return total / count[:, None], found


z = z_by_session(percent, train)
X, own = average(z[train], trials.nsd_id[train])
X_test, shared = average(z[~train], trials.nsd_id[~train])
pictures = np.stack([subject.pictures[k] for k in range(len(subject.pictures))])
patches = pictures.reshape(-1, 8, 8, 8, 8, 3).mean(axis=(2, 4)).reshape(len(pictures), -1) / 255
honest = identify(fit(X, patches[own])(X_test), patches[shared])
print(f"{len(own)} training and {len(shared)} test pictures: identification {honest:.0f} %")

# %% [markdown]
# Both alarms are silent: 0.3 and far above 50 %. Now break things.
#
# ## Trap 1: HDF5 with its axes turned round
#
# h5py sees a session as (trials, Z, Y, X), and a mask is (X, Y, Z) ({eq}`nsd-files-axes`). Using the mask as it is fails, for the shapes differ. So one makes the shapes fit: by flat indices, or by `reshape`. Both run.

# %%
import h5py

with h5py.File(root.betas(1, 1)) as file:
    stored = file["betas"][:]
X_, Y_, Z_ = V1.shape
readings = {
    "stored.T[V1]": stored.T[V1].T / 300,
    "flat indices": stored.reshape(len(stored), -1)[:, np.flatnonzero(V1)] / 300,
    "reshape": stored.reshape(X_, Y_, Z_, -1)[V1].T / 300,
}
for name, found in readings.items():
    dead = (found == 0).all(axis=0).mean()
    r = np.median(repeat_alarm(found, ids))
    print(f"{name:<13} {found.shape}  repeat {r:.2f}  always zero: {100 * dead:.0f} %")

# %% [markdown]
# All three have the right shape. The repeat alarm tells them apart at once, and so does a number that costs nothing: a voxel of V1 that is zero in all trials lies outside of the brain. The picture says it best.

# %% mystnb={"image": {"alt": "Three panels. Left, a horizontal slice of mean responses: a brain's outline with a folded bright rim at the back. Middle, the same file read through reshape: slanting stripes without any shape. Right, the axes taken in the wrong order: a cut in another plane, at another place."}, "figure": {"caption": "Simulated: the mean size of a session's responses in one slice, read in three ways. Look at a slice before you fit anything.", "name": "traps-axes"}}
size = np.abs(stored).mean(axis=0) / 300  # [Z, Y, X]
scrambled = np.abs(stored.reshape(X_, Y_, Z_, -1)).mean(axis=3) / 300
views = {
    "(X, Y, Z), right": size.T[:, :, 13].T,
    "through reshape": scrambled[:, :, 13].T,
    "taken for (X, Y, Z)": size[:, :, 13].T,
}
figure, panels = plt.subplots(1, 3, figsize=(6.4, 2.4))
for axes, (name, view) in zip(panels, views.items(), strict=True):
    axes.imshow(view, origin="lower", vmin=0, vmax=4)
    axes.set(title=name, xticks=[], yticks=[])
    axes.grid(False)
plt.show()

# %% [markdown]
# **How minisd guards.** It compares the file's shape with the mask's before it reads a number. Write the session in the other order, and ask for it.

# %%
from minisd.nsd import Root, read_betas

folder = Path(scratch.name) / "turned"
folder.mkdir()
turned = Root(folder)
path = turned.betas(1, 1)
path.parent.mkdir(parents=True)
with h5py.File(path, "w") as file:
    file["betas"] = stored.transpose(0, 3, 2, 1)  # (trials, X, Y, Z)
try:
    read_betas(turned, 1, 1, V1)
except ValueError as error:
    print(error)

# %% [markdown]
# A shape can only tell if the axes differ in length. In NSD they do: in none of the eight volumes is X as long as Z.

# %%
VOLUMES = {  # NSD, func1pt8mm
    1: (81, 104, 83),
    2: (82, 106, 84),
    3: (81, 106, 82),
    4: (85, 99, 80),
    5: (79, 97, 78),
    6: (85, 113, 83),
    7: (78, 95, 81),
    8: (80, 103, 78),
}
print("axes that differ:", all(len(set(shape)) == 3 for shape in VOLUMES.values()))

# %% [markdown]
# ## Trap 2: -1 in masks
#
# In a mask file -1 is no cortex, 0 is cortex without a name, and 1 and more are regions. Three ways to get it wrong, and one of them is new to you: *adding* the hemispheres. A voxel of the left V1 is 1 in `lh` and -1 in `rh`, and the sum is 0.

# %%
from minisd.nsd.files import read_map

labels = read_map(root, root.roi(1, "nsdgeneral"))
lh, rh = (read_map(root, root.roi(1, "nsdgeneral", side)) for side in ("lh", "rh"))
masks = {
    "labels > 0": labels > 0,
    "labels != -1": labels != -1,
    "astype(bool)": labels.astype(bool),
    "lh + rh > 0": lh + rh > 0,
    "(lh > 0) | (rh > 0)": (lh > 0) | (rh > 0),
}
for name, chosen in masks.items():
    told = "nothing to read"
    if chosen.any():
        r = np.median(repeat_alarm(stored.T[chosen].T / 300, ids))
        told = f"median repeat {r:.2f}"
    print(f"{name:<20} {chosen.sum():6} voxels  {told}")

# %% [markdown]
# The number of voxels gives it away: know how large a region is before you read it ({doc}`regions` has the real sizes). The mistake costs more than memory. With all of the cortex in, most columns are noise, and whatever you choose or average over voxels is of other voxels than you say.
#
# **How minisd guards.** `subject.roi` gives a mask of true and false, `> 0`, joined over hemispheres and regions by *or*, and refuses names that are not there.

# %%
print("the same voxels:", np.array_equal(subject.roi("nsdgeneral"), labels > 0))
union = subject.roi("nsdgeneral", hemisphere="lh") | subject.roi("nsdgeneral", hemisphere="rh")
print("both hemispheres:", np.array_equal(union, labels > 0))

# %% [markdown]
# ## Trap 3: 300, once, twice or never
#
# Volumes are stored as 300 times the percentage. The files on the average brain, fsaverage, are in percent already. `meanbeta` lies beside the betas, in a file of floats, and nobody divided it ({eq}`nsd-files-meanbeta`). So there are three ways to be wrong by 300.
#
# No correlation hears it: neither alarm depends on the unit. But a ridge penalty does. Multiply the responses by $k$, and the penalty must go up by $k^2$:
#
# $$
# W_{kX,\ k^2 \lambda} = \frac{1}{k}\, W_{X,\ \lambda} ,
# $$ (traps-scale)
#
# so that the predictions $X W$ stay the same. A penalty chosen in percent is 90,000 times too small for stored numbers, and one chosen for stored numbers 90,000 times too large in percent.

# %%
raw, _ = average(percent[train], trials.nsd_id[train])
raw_test, _ = average(percent[~train], trials.nsd_id[~train])
Y = patches[own]
same = fit(300 * raw, Y, 300**2 * 1e4)(300 * raw_test)
print("the formula:", np.allclose(same, fit(raw, Y, 1e4)(raw_test), atol=1e-8))
for name, k in (("percent", 1), ("never divided", 300), ("divided twice", 1 / 300)):
    predicted = fit(k * raw, Y, 1e4)(k * raw_test)
    spread = predicted.std(axis=0).mean() / Y.std(axis=0).mean()
    print(f"{name:<14} predictions vary {spread:.2f} times as much as the pictures")

# %% [markdown]
# Divided twice, the decoder answers the mean picture, whatever it is shown. Never divided, it has next to no penalty and fits the noise. The number that gives it away is the plainest: the mean of V1. A few percent is right. Some hundreds, or a hundredth, is not.

# %%
ours = {
    "volume / 300": percent[:, V1[mask]].mean(),
    "volume as stored": stored.T[V1].mean(),
    "meanbeta as it lies there": read_map(root, root.statistic(1, "meanbeta"))[V1].mean(),
}
for name, value in ours.items():
    print(f"V1, {name:<26} {value:7.1f}")
limit = np.iinfo(np.int16).max / 300
print(f"and no beta can be beyond {limit:.1f} %: there the whole numbers end")

# %% [markdown]
# Subtract that `meanbeta` from betas in percent, to centre them, and they sit at minus seven hundred.
#
# **How minisd guards.** `read_betas` gives percent in every space, and refuses a volume that is no 16-bit whole number. It never reads `meanbeta`. If you do, divide it.
#
# ## Trap 4: ids off by one
#
# `nsd_expdesign.mat` and `responses.tsv` count pictures from 1, the csv and the picture file from 0 ({doc}`nsd_files`). And the design has two kinds of ids: `masterordering` counts a subject's own 10,000, and only `subjectim` turns that into an id among the 73,000. Decode with each mistake.

# %%
from scipy.io import loadmat

order = loadmat(root.design)["masterordering"].ravel().astype(int)[: len(trials)]


def decode(ids):
    """Identification, with these ids for the trials; the test is on the right ones."""
    X, seen = average(z[train], ids[train])
    return identify(fit(X, patches[seen])(X_test), patches[shared])


attempts = {
    "right": trials.nsd_id,
    "off by one": (trials.nsd_id + 1) % len(patches),
    "masterordering - 1": order - 1,
}
for name, wrong in attempts.items():
    r = np.median(repeat_alarm(z[:, V1[mask]], wrong))
    print(f"{name:<19} repeat alarm {r:.2f}, identification {decode(wrong):.0f} %")

# %% [markdown]
# The repeat alarm hears nothing. Repeats are still repeats when all ids are wrong alike, and so ncsnr and noise ceiling stay fine too. Only what looks at pictures can hear it. If your ceiling is high and your decoder is at chance, try ids one up and one down first.

# %% mystnb={"image": {"alt": "A line of identification against the shift of ids from minus 3 to 3. It is near the chance line of 50 percent everywhere except at 0, where a peak goes far above it."}, "figure": {"caption": "Simulated: identification when the training pictures' ids are shifted. One peak, at the right ids. The dashed line is chance.", "name": "traps-shift"}}
shifts = np.arange(-3, 4)
scores = [decode((trials.nsd_id + shift) % len(patches)) for shift in shifts]
figure, axes = plt.subplots(figsize=(5.2, 2.4))
axes.plot(shifts, scores, "o-")
axes.axhline(50, color="grey", ls="--", lw=1)
axes.set(xlabel="shift of ids", ylabel="identification, %", ylim=(30, 100))
plt.show()

# %% [markdown]
# **How minisd guards.** All ids count from 0 in `Trials`, `Stimuli` and prepared arrays; they are turned at one place, and three files must agree before a trial is given out.
#
# ## Trap 5: z-scoring with test data
#
# A z-score takes away a mean and divides by a standard deviation. They are fitted, as weights are. So they come from training trials:
#
# $$
# z_n = \frac{b_n - m_{\text{train}}}{s_{\text{train}}} , \qquad
# m_{\text{train}} = \frac{1}{N_{\text{train}}} \sum_{n \in \text{train}} b_n .
# $$ (traps-z)

# %%
first = trials.session == 1
fitted = percent[first & train]
by_hand = (percent[first] - fitted.mean(axis=0)) / fitted.std(axis=0, ddof=1)
print("minisd agrees:", np.allclose(by_hand, z[first], atol=1e-3))
everything = z_by_session(percent, np.ones(len(trials), bool))
X_all, _ = average(everything[train], trials.nsd_id[train])
X_all_test, _ = average(everything[~train], trials.nsd_id[~train])
leaky = identify(fit(X_all, patches[own])(X_all_test), patches[shared])
print(f"fitted on training trials {honest:.0f} %, on all trials {leaky:.0f} %")

# %% [markdown]
# The score hardly moves. You cannot find this leak by looking at scores, and on another day, with a session that has mostly test trials, it does move. So do not look. *Prove*: replace the test responses by something absurd. If any fitted array changes by one bit, the test got in.


# %%
def leaks(fitting):
    """Whether arrays that are fitted on responses change when test responses do."""
    before = fitting(percent)
    noise = np.random.default_rng(1).normal(size=percent.shape).astype(np.float32)
    for absurd in (10 * percent + 5, noise):
        after = fitting(np.where(train[:, None], percent, absurd))
        if not np.array_equal(before, after):
            return True
    return False


def train_z(betas):
    return z_by_session(betas, train)[train]


def all_z(betas):
    return z_by_session(betas, np.ones(len(trials), bool))[train]


print("z-scores from training trials leak:", leaks(train_z))
print("z-scores from all trials leak:     ", leaks(all_z))

# %% [markdown]
# **At the other end.** A ridge decoder shrinks its predictions towards the mean. Some published code puts the spread back: it z-scores the *predictions over the test set*, and gives them the training targets' mean and spread. Brain-Diffuser's does {cite}`ozcelik2023natural`. Then what is decoded from one picture depends on the other test pictures, and a single new picture cannot be decoded at all. Is it needed?

# %%
decoder = fit(X, patches[own], 1e4)
predicted = decoder(X_test)
mean, spread = patches[own].mean(axis=0), patches[own].std(axis=0)


def rescaled(by):
    return (predicted - by.mean(axis=0)) / by.std(axis=0) * spread + mean


seen = decoder(X)
for name, y in (
    ("as predicted", predicted),
    ("by the test predictions", rescaled(predicted)),
    ("by the training predictions", rescaled(seen)),
):
    print(f"{name:<28} identification {identify(y, patches[shared]):.0f} %")

# %% [markdown]
# Rescaling helps this score much, and it helps as much when mean and spread come from the predictions on *training* pictures. There is no need to touch the test.
#
# **How minisd guards.** `minisd nsd prepare` fits means and deviations on each session's training trials, and its tests replace the test responses as you did. It offers no rescaling.
#
# ## Trap 6: choosing voxels by the ncsnr that is shipped
#
# `ncsnr.nii.gz` tells how reliable each voxel is, from all pictures with three repeats, the test pictures among them. Choose voxels by it, and you chose those that happen to do well on the test. How much can that be worth? Take cortex that lies in no visual region. In this simulation it has **no signal at all**.

# %%
from minisd.nsd import ncsnr

kinds = ("nsdgeneral", "streams", "Kastner2015", "floc-faces", "floc-bodies", "floc-places")
visual = np.any([subject.roi(kind) for kind in kinds], axis=0)
silent = (labels >= 0) & ~visual
noise = np.concatenate([subject.betas(session, silent) for session in subject.sessions])
z_noise = z_by_session(noise, train)
shipped = subject.ncsnr(silent)
ours = ncsnr(z_noise[train], trials[train])
print(f"{silent.sum()} voxels without signal")
print("shipped is from all trials:", np.allclose(shipped, ncsnr(noise, trials), atol=0.01))

# %% [markdown]
# Now take the best of them, and ask whether two repeats of a test picture tell which picture it is when the third is shown.

# %%
by_picture = np.argsort(trials.nsd_id[~train], kind="stable")
test = z_noise[~train][by_picture].reshape(len(shared), 3, -1)


def recognise(voxels):
    """Identification of each test picture's third showing by the mean of the first two."""
    return identify(test[:, :2, voxels].mean(axis=1), test[:, 2][:, voxels])


ranked = {"shipped ncsnr": np.argsort(-shipped), "training ncsnr": np.argsort(-ours)}
for name, best in ranked.items():
    print(f"best 100 by {name:<15} {recognise(best[:100]):.0f} %")

# %% [markdown]
# Pure noise recognises pictures, at far more than chance. Voxels were chosen because their three answers to the test pictures agree, by chance, and then they are praised for agreeing {cite}`kriegeskorte2009circular`. Chosen on training trials, they are near chance, as they should be.

# %%
from minisd.widgets import slider

agree = repeat_alarm(z_noise[~train], trials.nsd_id[~train])


def draw_chosen(count):
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 2.6))
    bins = np.linspace(-0.3, 0.4, 29)
    scores = []
    for (name, best), color in zip(ranked.items(), ("C1", "C0"), strict=True):
        left.hist(agree[best[:count]], bins, alpha=0.6, color=color, density=True, label=name)
        scores.append(recognise(best[:count]))
    left.axvline(0, color="black", lw=1)
    left.set(xlabel="repeat correlation on test trials", yticks=[], ylim=(0, 8))
    left.set_title(f"best {count} voxels", loc="left")
    left.legend(fontsize=7, loc="upper left")
    right.bar(["shipped", "training"], scores, color=["C1", "C0"])
    right.bar_label(right.containers[0], [f"{s:.0f}" for s in scores])
    right.axhline(50, color="grey", ls="--", lw=1)
    right.set(ylim=(0, 100), ylabel="recognised, %")
    return figure


slider(
    draw_chosen,
    [25, 50, 75, 100, 150, 200, 300, 450, 600, int(silent.sum())],
    label="voxels chosen",
    caption="Simulated, voxels without signal. Left: how test repeats agree in the voxels that were chosen by the shipped ncsnr (orange) and by training trials alone (blue). Right: how often a test picture is recognised. With all voxels nothing was chosen, and the two are one.",
    alt="Histograms and bars for the best {} voxels by two ways to choose.".format,
    start=3,
)

# %% [markdown]
# With all voxels the score is a little above 50 % still. Nothing was chosen, so what is it? Drift makes trials that are near in time alike, *whatever they show*, and repeats of a picture often come soon after one another. Compare patterns of different pictures, some trials apart.

# %%
patterns = z_noise - z_noise.mean(axis=1, keepdims=True)
patterns /= np.linalg.norm(patterns, axis=1, keepdims=True)
for apart in (1, 5, 60):
    early, late = np.arange(len(trials) - apart), np.arange(apart, len(trials))
    fair = trials.session[early] == trials.session[late]
    fair &= trials.nsd_id[early] != trials.nsd_id[late]
    r = (patterns[early] * patterns[late]).sum(axis=1)[fair].mean()
    print(f"different pictures, {apart:2} trials apart: {r:.2f}")

# %% [markdown]
# It is small, and it adds up over voxels. A decoder of repeats within a session partly decodes *when*. Test on pictures whose neighbours in time are not in training, or on means over days, as the shared pictures' are for the most part.
#
# **How minisd guards.** `prepare` computes an ncsnr from training trials, and `min_ncsnr` means that one.

# %%
from minisd.nsd.prepare import PrepareSettings, prepare

prepared = prepare(
    subject,
    Path(scratch.name) / "prepared",
    PrepareSettings(min_ncsnr=0.2),
    progress=False,
)
print(prepared.manifest["ncsnr"], prepared.manifest["voxels"])
kept = prepared.mask[mask]
print("the z-scores of this chapter:", np.allclose(prepared.train.betas, X[:, kept], atol=1e-3))
print("ncsnr from training trials:", np.all(prepared.ncsnr >= 0.2))

# %% [markdown]
# One leak remains, and no user can close it. The third version of NSD's betas was denoised, and its ridge fractions chosen, on all trials of a session together, test trials among them ({doc}`betas`). Say so when you report.
#
# ## Trap 7: a picture on both sides
#
# Each picture was shown three times. Split *trials* at random into training and test, and most test pictures are in training too, in another trial. A decoder then need not read: it recognises the response and recalls the picture.
#
# To see recall alone, destroy everything there is to read. Give every picture the patches of another, at random: responses and targets have nothing to do with one another. Honest identification is 50 %.

# %%
rows = np.flatnonzero(train)
z_own, id_own, repeat_own = z[rows], trials.nsd_id[rows], trials.repeat[rows]
rng = np.random.default_rng(0)
tested = rng.permutation(own)[:80]


def split_score(share, targets):
    """Test on third showings of 80 pictures; of a share of them, two others are in training."""
    known = tested[: round(share * len(tested))]
    test = np.isin(id_own, tested) & (repeat_own == 2)
    fitted = ~np.isin(id_own, tested) | (np.isin(id_own, known) & (repeat_own < 2))
    predicted = fit(z_own[fitted], targets[id_own[fitted]], 300)(z_own[test])
    return identify(predicted, targets[id_own[test]])


shares = np.linspace(0, 1, 6)
shuffles = [patches[rng.permutation(len(patches))] for _ in range(6)]
real = [split_score(share, patches) for share in shares]
recalled = [np.mean([split_score(share, one) for one in shuffles]) for share in shares]
for share, a, b in zip(shares, real, recalled, strict=True):
    print(f"{100 * share:3.0f} % on both sides: true pictures {a:.0f} %, shuffled {b:.0f} %")

# %% mystnb={"image": {"alt": "Two rising lines of identification against the share of test pictures that are in training too. True pictures start well above chance and rise; shuffled pictures start at the dashed chance line and rise above it."}, "figure": {"caption": "Simulated: identification of single trials, when other showings of the test pictures are in training. With shuffled pictures there is nothing to decode; all that is above the dashed line is recall.", "name": "traps-both-sides"}}
figure, axes = plt.subplots(figsize=(5.2, 2.6))
axes.plot(100 * shares, real, "o-", label="true pictures")
axes.plot(100 * shares, recalled, "s-", label="shuffled pictures")
axes.axhline(50, color="grey", ls="--", lw=1)
axes.set(xlabel="test pictures on both sides, %", ylabel="identification, %", ylim=(40, 100))
axes.legend(loc="center left")
plt.show()

# %% [markdown]
# Shuffled targets are a good habit: whatever a pipeline scores with them is what it leaks, or its chance level.
#
# **How minisd guards.** It splits by picture: shared pictures for testing, a subject's own for training. Check yours with one line.

# %%
both = np.intersect1d(prepared.train.trials.nsd_id, prepared.test.trials.nsd_id)
print("pictures on both sides, minisd:", both.size)
at_random = np.random.default_rng(0).random(len(trials)) < 0.8
both = np.intersect1d(trials.nsd_id[at_random], trials.nsd_id[~at_random])
print(f"split by trial: {both.size} of {np.unique(trials.nsd_id[~at_random]).size} test pictures")

# %% [markdown]
# ## Trap 8: subjects who did not finish
#
# Of NSD's eight subjects, four did all 40 sessions. The others did 30 or 32, and so have seen fewer pictures three times, and some never. Of the 1,000 pictures that all were to see, all eight saw 515 three times, 766 at least twice and 907 at least once. Here subject 2 left out the last session.

# %%
people = {1: subject, 2: Subject(root, 2)}
shown = {}
for number, person in people.items():
    t = person.trials
    shown[number], count = np.unique(t.nsd_id[t.shared], return_counts=True)
    often = {k: int((count == k).sum()) for k in (1, 2, 3)}
    print(
        f"subject {number}: {len(t)} trials, {count.size} of {len(shared)} shared; by times seen {often}"
    )
common = np.intersect1d(*shown.values())
rows = min(len(ids) for ids in shown.values())
agree = np.mean(shown[1][:rows] == shown[2][:rows])
print(f"seen by both: {common.size}; rows that are the same picture: {100 * agree:.0f} %")

# %% [markdown]
# The last line is the trap. Row 20 of one subject's test array is not row 20 of the other's. Averaging over subjects by row mixes pictures, and nothing in the shapes need say so: cut both to the shorter, and they fit. Match by id.
#
# The other half of the trap is the *vintage*. Until August 2023 the last three sessions were held back. Papers from before have 37 sessions, 8,859 training and 982 test pictures; with all 40 it is 9,000 and 1,000. Scores of different vintages, and scores of means over different numbers of trials, are not comparable.
#
# **How minisd guards.** Every count comes from the files. `prepare` writes the vintage and the numbers of repeats into its manifest, and a session that is not there is named.

# %%
print(prepared)
try:
    prepare(people[2], Path(scratch.name) / "two", PrepareSettings(sessions=6), progress=False)
except ValueError as error:
    print(error)

# %% [markdown]
# ## The report's section 4, put right
#
# | printed | right | more |
# |---|---|---|
# | "over the course of 30–40 sessions in which three repetitions of 10,000 images were shown to each of the 8 subjects" | 10,000 pictures three times take all 40 sessions. Subjects 1, 2, 5 and 7 did 40; 3 and 6 did 32, 4 and 8 did 30. A session has 750 trials; the three repeats are spread over the whole experiment, not within "sessions in which" | {doc}`fmri` |
# | "each fMRI measurement is temporally averaged" | no average over time: a beta for each trial, fitted by a linear model; then the mean over the trials of one picture | {doc}`betas` |
# | "each fMRI signal associated with a distinct image constitutes a three-dimensional data array" | each *trial* has one. A picture has up to three | {doc}`nsd_files` |
# | a mask of "voxels pertinent to the task with acceptable SNR levels" | two steps: a region's mask knows places, not noise. A threshold on ncsnr is another choice, and is fitted: trap 6 | {doc}`regions` |
# | "betas_fithri_GLMdenoise_RR" | `betas_fithrf_GLMdenoise_RR` | {doc}`nsd_files` |
# | `func1pt8mm` beside the betas' folder, and `nsddata_betas` alone | the betas lie in the space's folder; `nsddata` and `nsddata_stimuli` are needed too | {doc}`nsd_files` |
# | (section 2) fMRI is "the least invasive" | fMRI, EEG and MEG are all non-invasive | {doc}`fmri` |
#
# {doc}`../appendix/errata` has them with what is printed where. Two are a matter of arithmetic. How many trials do three repetitions of 10,000 pictures take? And what does averaging do? If each trial is signal plus noise of variance $\sigma^2$, then the mean of $R$ trials has
#
# $$
# \operatorname{Var}\bigl(\text{noise of the mean}\bigr) = \frac{\sigma^2}{R} .
# $$ (traps-average)

# %%
for sessions, who in ((40, "1, 2, 5, 7"), (32, "3, 6"), (30, "4, 8")):
    done = 750 * sessions
    print(f"subjects {who}: {done:,} trials, {100 * done / 30_000:.0f} % of three times 10,000")

b = z[:, V1[mask]].astype(float)
three = np.argsort(trials.nsd_id, kind="stable").reshape(-1, 3)
three = np.random.default_rng(0).permuted(three, axis=1)  # not by time: drift
sigma2 = b[three].var(axis=1, ddof=1).mean()
halved = (b[three[:, 0]] + b[three[:, 1]]) / 2 - b[three[:, 2]]
print(f"mean of 2 less a third trial: {halved.var() / sigma2:.2f} sigma^2; 1/2 + 1 = 1.50")

# %% [markdown]
# ## All on one page
#
# | trap | what you see | what gives it away | guard |
# |---|---|---|---|
# | axes turned round | noise | a slice; dead voxels; repeat alarm | shapes compared |
# | -1 in masks | too many voxels, or none | count them | `roi` gives `> 0` |
# | 300 | a decoder that answers the mean, or overfits | the mean of V1 | percent everywhere |
# | `meanbeta` | hundreds of percent | the mean of V1 | never read |
# | ids off by one | chance, with a fine ceiling | picture alarm only | ids from 0, three files agree |
# | z-scores from test | nothing | absurd test responses | training trials only |
# | shipped ncsnr | good news | voxels without signal | ncsnr from training |
# | a picture on both sides | very good news | shuffled pictures; ids on both sides | split by picture |
# | unfinished subjects | rows that fit by shape | compare ids, print counts | counts from files, vintage |
#
# ## Exercises
#
# ```{exercise} Whose pictures?
# :label: traps-lag
#
# A folder was copied by hand, and the six session files got mixed up. The ids are right for some order of the sessions: `scrambled_ids` below. Which alarms hear it? For each file, find the session whose pictures it answers to.
# ```
#
# ```{solution-start} traps-lag
# :class: dropdown
# ```
#
# Both hear it: most repeats come in another session. To sort the files, take one file and try each session's pictures. Decode the second half of its trials by the first half. Only with the right pictures is there anything to decode.

# %%
sessions = [np.flatnonzero(trials.session == session) for session in subject.sessions]
turn = np.random.default_rng(3).permutation(6)
scrambled_ids = np.concatenate([trials.nsd_id[sessions[k]] for k in turn])
for name, told in (("right", trials.nsd_id), ("scrambled", scrambled_ids)):
    print(f"{name:<9} repeat alarm {np.median(repeat_alarm(z[:, V1[mask]], told)):.2f}")


def belongs(rows, told):
    """Identification of a session's later trials by its earlier ones, with these ids."""
    half = len(rows) // 2
    decoder = fit(z[rows[:half]], patches[told[:half]])
    return identify(decoder(z[rows[half:]]), patches[told[half:]])


scores = [[belongs(rows, scrambled_ids[guess]) for guess in sessions] for rows in sessions]
found = [int(np.argmax(row)) for row in scores]
print("files sorted out:", [int(turn[k]) for k in found] == list(range(6)))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A leak in the middle
# :label: traps-pca
#
# Somebody reduces the responses to 50 principal components before the regression, and fits these on all pictures, "since no labels are used". Does `leaks` hear it? Does the score move? Repair it.
# ```
#
# ```{solution-start} traps-pca
# :class: dropdown
# ```
#
# Components are fitted, labels or not. `leaks` hears it, and here the score does move: components that know the test pictures' responses keep directions that the test needs. Those five points are not yours.


# %%
def components(responses):
    centred = responses - responses.mean(axis=0)
    return np.linalg.svd(centred, full_matrices=False)[2][:50].T


def from_all(betas):
    return components(average(z_by_session(betas, train), trials.nsd_id)[0])


def from_training(betas):
    return components(average(z_by_session(betas, train)[train], trials.nsd_id[train])[0])


for name, fitting in (("all pictures", from_all), ("training pictures", from_training)):
    basis = fitting(percent)
    score = identify(fit(X @ basis, patches[own])(X_test @ basis), patches[shared])
    print(f"{name:<18} leaks: {leaks(fitting)!s:<6} identification {score:.0f} %")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Is the last session a fair test?
# :label: traps-session
#
# "We train on sessions 1 to 5 and test on session 6, so nothing is shared." How many of the last session's pictures were shown before? What does a decoder score on those that were, and on those that were not, with true and with shuffled pictures?
# ```
#
# ```{solution-start} traps-session
# :class: dropdown
# ```
#
# Three of four were. A new day is no new picture: with shuffled pictures, where nothing can be read, those shown before are still recalled.

# %%
late = trials.session == 6
before = np.isin(trials.nsd_id, trials.nsd_id[~late])
new = np.unique(trials.nsd_id[late & ~before]).size
print(f"{np.unique(trials.nsd_id[late]).size} pictures in session 6, {new} of them new")
scores = []
for targets in shuffles:
    predicted = fit(z[~late], targets[trials.nsd_id[~late]], 300)(z[late & before])
    scores.append(identify(predicted, targets[trials.nsd_id[late & before]]))
print(f"shuffled pictures, those shown before: {np.mean(scores):.0f} % (chance 50)")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`kriegeskorte2009circular` counted how many papers chose and tested on the same data: 42 % of 134 fMRI papers in five leading journals had at least one such analysis. {cite:t}`kapoor2023leakage` list the kinds of leakage in seventeen fields that use machine learning. {cite:t}`shirakawa2025spurious` ask what reconstructions of NSD's pictures owe to test pictures that resemble training pictures, a leak by *likeness* that no id shows. Some decoders
# were also tuned, without labels, on the fMRI of the test set itself {cite}`beliy2019voxels,chen2023seeing`; who compares with them should say so.
#
# ## The way on
#
# You know the files, the regions, the noise and the traps. {doc}`your_own_nsd` is about getting the real thing: what you sign, how large it is, and what to do with a part of it.

# %%
scratch.cleanup()
