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
# # Preparing a subject
#
# **You will be able to**
#
# - turn forty files into one table for training and one for testing;
# - z-score sessions with numbers from training trials alone, and say what that costs and gains;
# - average repeats, and keep the count of each average;
# - name the vintage of a split, and say why results of two vintages cannot be compared;
# - stop the work half-way and go on, and know what a folder was made from;
# - prove that no test response has reached what is fitted, and say what no such proof covers.
#
# **Time** 45 minutes to read; the cells run in about 25 seconds.
#
# **Before this** {doc}`noise_ceiling`: repeats, the ncsnr, and why the test trials must not choose voxels.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part IV, The brain's side, at its sixth chapter, Preparing a subject."}, "figure": {"caption": "Where you are: the sixth chapter of Part IV.", "name": "preparing-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("preparing")
plt.show()

# %% [markdown]
# A decoder wants a table: a row for each picture, a column for each voxel, and beside it which pictures they are. It wants one table to learn from, and another that it has never seen. Between the files of the Natural Scenes Dataset (NSD) {cite}`allen2022massive` and these tables lie five decisions: which voxels, on which scale, how many repeats, which split, which sessions.
# Each is small. Each can spoil everything that follows, and no later step will notice. So they are made once, in one place, and written down.
#
# The subject is **simulated**, in NSD's layout. Four sessions were planned, and it came to three, as four of NSD's eight subjects missed some.

# %%
import tempfile
from pathlib import Path

import numpy as np

from minisd.nsd import Subject
from minisd.nsd.simulate import SimulationSettings, SubjectSettings, simulate

settings = SimulationSettings(
    seed=6,
    subjects=(SubjectSettings(1, (24, 26, 22), sessions=3),),
    own=400,
    shared=100,
    sessions=4,
    trials=(63, 62) * 3,
)
scratch = tempfile.TemporaryDirectory()
root = simulate(Path(scratch.name) / "NSD", settings, progress=False)
subject = Subject(root, 1)
trials = subject.trials
print(f"{len(trials)} trials of {4 * sum(settings.trials)} planned, sessions {subject.sessions}")
print(
    f"{np.unique(trials.nsd_id).size} of 500 pictures were seen, {trials.shared.sum()} trials of shared ones"
)

# %% [markdown]
# ## Which voxels
#
# By name, as in {doc}`regions`. The columns of the table are the voxels of the mask, in the order of `volume[mask]`; so the mask belongs to the table, and is kept with it.

# %%
mask = subject.roi("nsdgeneral")
betas = np.concatenate([subject.betas(session, mask) for session in subject.sessions])
V1 = subject.roi("prf-visualrois", ["V1v", "V1d"])[mask]
print("trials by voxels:", betas.shape, "percent")
volume = np.full(mask.shape, np.nan)
volume[mask] = betas[0]
print("and back to where they were:", np.array_equal(volume[mask], betas[0]))

# %% [markdown]
# ## Which scale
#
# Sessions differ. In one the person was tired; in another the head lay differently in the coil; and each voxel's responses come out larger or smaller, higher or lower. That has nothing to do with the pictures. So each voxel is put on a scale of its own in each session $k$. {doc}`noise_ceiling` did this with all trials. A decoder may not: let $T_k$ be the session's *training* trials, and
#
# $$
# z_n = \frac{y_n - m_k}{d_k}, \qquad
# m_k = \frac{1}{|T_k|} \sum_{n \in T_k} y_n, \qquad
# d_k^2 = \frac{1}{|T_k| - 1} \sum_{n \in T_k} (y_n - m_k)^2 .
# $$ (preparing-z)
#
# All trials of the session are z-scored, those for testing too. But $m_k$ and $d_k$ come from the training trials.

# %%
from minisd.nsd.prepare import z_scale

training = ~trials.shared
z = np.empty_like(betas)
for session in subject.sessions:
    mine = trials.session == session
    m, d = z_scale(betas[mine], training[mine])
    rows = betas[mine & training]
    print(f"session {session}: formula {np.allclose(m, rows.mean(axis=0), atol=1e-5)}", end=" ")
    print(np.allclose(d, rows.std(axis=0, ddof=1), rtol=1e-4), end=", ")
    z[mine] = (betas[mine] - m) / d
    test = z[mine & ~training]
    print(
        f"{len(rows)} training trials; test trials are not at mean 0: {bool(np.abs(test.mean(axis=0)).max() > 0.1)}"
    )

# %% [markdown]
# The test trials' mean is not 0 and their variance not 1, and that is right. What they are is a result, and results do not go into the making of themselves.
#
# Does the scaling gain anything? Repeats of a picture in *different* sessions should agree better.

# %% mystnb={"image": {"alt": "Two panels of one voxel's responses over 1,125 trials, with dashed lines between the three sessions. Left, in percent: the clouds of the three sessions lie at different heights, the first lowest. Right, z-scored: the three clouds are alike around zero. Training trials are small grey dots, test trials larger orange dots."}, "figure": {"caption": "Simulated: one voxel over three sessions, before (left) and after (right). The scale of each session comes from the grey trials, and the orange ones, for testing, are only moved by it.", "name": "preparing-sessions"}}
spread = np.stack([betas[trials.session == k].mean(axis=0) for k in subject.sessions])
voxel = int((spread.std(axis=0) / betas.std(axis=0)).argmax())
figure, panels = plt.subplots(1, 2, figsize=(6.4, 2.6))
for axes, values, unit in zip(panels, (betas, z), ("percent", "z-score"), strict=True):
    for part, style in (
        (training, {"ms": 2, "color": "#9AA5AD"}),
        (~training, {"ms": 3, "color": "C1"}),
    ):
        axes.plot(np.flatnonzero(part), values[part, voxel], ".", **style)
    for border in np.flatnonzero(np.diff(trials.session)) + 0.5:
        axes.axvline(border, color="grey", ls="--", lw=1)
    axes.set(xlabel="trial", ylabel=unit)
panels[0].plot([], [], ".", color="C1", label="test")
panels[0].legend(fontsize=7)
plt.show()


# %%
def correlation(a, b):
    """Of each column of a with that of b."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))


by_picture = np.argsort(trials.nsd_id, kind="stable")
ids = trials.nsd_id[by_picture]
pairs = [(by_picture[i], by_picture[i + 1]) for i in np.flatnonzero(ids[1:] == ids[:-1])]
one, other = np.array([(a, b) for a, b in pairs if trials.session[a] != trials.session[b]]).T
print(f"{one.size} pairs of repeats in different sessions, V1's mean correlation:")
for name, values in (("percent", betas), ("z-scores", z)):
    print(f"  {name:<8} {correlation(values[one], values[other])[V1].mean():.3f}")

# %% [markdown]
# A gain, and a small one here: V1 answers to each picture strongly, and sessions differ little. But it is free, and some voxels need it badly, as the figure shows. It has a price as well. Whatever differed between sessions *because of the pictures* is gone too. In NSD pictures are spread over sessions at random, so nothing is lost.
#
# ## How many repeats
#
# The mean over a picture's $n$ trials has the signal of one trial and $1/n$ of the noise's variance ({eq}`noise-ceiling-ceiling`):
#
# $$
# x_i = \frac{1}{n_i} \sum_{r=1}^{n_i} z_{ir}, \qquad
# \mathrm{Var}[x_i] = \sigma_s^2 + \frac{\sigma_e^2}{n_i} .
# $$ (preparing-mean)
#
# So means over different numbers of trials are not on the same scale: they vary less the more trials they have. The table keeps $n_i$ for each row.

# %%
from minisd.nsd.prepared import average_repeats

seen, count = np.unique(trials.nsd_id, return_counts=True)
means = average_repeats(z, trials.nsd_id, 3)  # in the order of ascending ids
i = int(np.flatnonzero(count == 3)[0])
print("formula:", np.allclose(means[i], z[trials.nsd_id == seen[i]].mean(axis=0), atol=1e-6))
print("pictures with 1, 2, 3 trials:", np.bincount(count)[1:].tolist())

signal = np.mean((z[[a for a, _ in pairs]] * z[[b for _, b in pairs]])[:, V1])
for n in (1, 2, 3):
    expected = signal + (1 - signal) / n
    print(
        f"{n} trials: variance in V1 {means[count == n][:, V1].var(axis=0).mean():.2f}, expected {expected:.2f}"
    )

# %% [markdown]
# Which is better to train on: single trials, or means? A mean has less noise, and there are fewer of them. {doc}`noise_ceiling` trained on single trials and tested on means, as Takagi and Nishimoto do {cite}`takagi2023high`. The prepared folder has both.
#
# Follow some test pictures from beta to mean.

# %%
from minisd.widgets import slider

level = int(np.argmax(mask.sum(axis=(0, 1))))
chosen = [int(k) for k in seen[(count == 3) & np.isin(seen, trials.nsd_id[~training])][:8]]


def draw_picture(nsd_id):
    rows = np.flatnonzero(trials.nsd_id == nsd_id)
    figure, panels = plt.subplots(1, 4, figsize=(6.4, 2.1), width_ratios=[1, 1.1, 1.1, 1.1])
    panels[0].imshow(subject.pictures[nsd_id])
    panels[0].set_title(f"picture {nsd_id}", fontsize=8)
    steps = {
        "one trial, percent": (betas[rows[0]], 12),
        "one trial, z-score": (z[rows[0]], 3),
        f"mean of {rows.size}": (z[rows].mean(axis=0), 3),
    }
    for axes, (title, (values, most)) in zip(panels[1:], steps.items(), strict=True):
        whole = np.full(mask.shape, np.nan)
        whole[mask] = values
        colours = plt.get_cmap("RdBu_r", 13)
        axes.imshow(whole[:, :, level].T, origin="lower", cmap=colours, vmin=-most, vmax=most)
        axes.set_title(title, fontsize=8)
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
    return figure


slider(
    draw_picture,
    chosen,
    label="picture",
    caption="Simulated: test pictures, and a slice through nsdgeneral: the beta of the first trial, its z-score, and the mean z-score over the repeats. In percent most is positive; z-scores tell what is more or less than usual. The mean is paler, since the noise has shrunk.",
    alt="Picture {} and three slices of responses, red above and blue below zero.".format,
    start=0,
)

# %% [markdown]
# ## Which split, and of what vintage
#
# NSD's split is built in: a thousand pictures were for all subjects, and these are for testing. All others were shown to one subject alone, and train. The split is by picture. Had it been by trial, the same picture would be in both, and a decoder could look it up.
#
# The last three sessions were held back at first, and released in August 2023. Papers from before have 37 sessions of a subject with forty {cite}`takagi2023high,ozcelik2023natural`, later ones often all:
#
# | vintage | training pictures | test pictures | test trials |
# |---|---|---|---|
# | 37 sessions | 8,859 | 982 | 2,770 |
# | 40 sessions | 9,000 | 1,000 | 3,000 |
#
# A figure from the one cannot be compared with one from the other: other test pictures, and other means. The test means of 37 sessions are of 2.8 trials on average, and a model that is exactly as good scores lower on them ({ref}`noise-ceiling-test-set`). What the vintage does to our subject, by its plan:

# %% mystnb={"image": {"alt": "Two panels of stacked bars for one to four sessions: training pictures, up to 400, and test pictures, up to 100. With one session half of the pictures have one trial; with four all have three."}, "figure": {"caption": "Simulated: how many pictures have one, two or three trials after so many sessions, by the plan. More sessions mean more pictures and better means, for training (left) and for testing (right).", "name": "preparing-vintage"}}
from minisd.nsd.trials import read_design

planned, _ = read_design(root, 1)
figure, panels = plt.subplots(1, 2, figsize=(6.4, 2.6))
for axes, part, title in (
    (panels[0], ~planned.shared, "training"),
    (panels[1], planned.shared, "test"),
):
    heights = np.zeros((4, 3), int)
    for sessions in range(1, 5):
        _, times = np.unique(
            planned.nsd_id[part & (planned.session <= sessions)], return_counts=True
        )
        heights[sessions - 1] = np.bincount(times, minlength=4)[1:]
    below = np.zeros(4)
    for n, hatch in zip(range(3), ("", "//", "xx"), strict=True):
        axes.bar(
            range(1, 5),
            heights[:, n],
            bottom=below,
            hatch=hatch,
            edgecolor="white",
            label=f"{n + 1}",
        )
        below += heights[:, n]
    axes.set(xlabel="sessions", ylabel="pictures", title=title, xticks=range(1, 5))
panels[0].legend(title="trials", fontsize=7, title_fontsize=7)
plt.show()

# %% [markdown]
# ## All of it at once
#
# `prepare` takes a subject, a new folder, and settings. Below, two kinds of regions are joined, and voxels with a training ncsnr under 0.15 are left out. `align=20` sets twenty of the shared pictures apart: they are in neither training nor test, and later parts will use them to align subjects, which would otherwise use up test pictures.

# %%
from minisd.nsd.prepare import PrepareSettings, Region, prepare

asked = PrepareSettings(
    regions=(Region("nsdgeneral"), Region("floc-places")),
    repeats=3,
    min_ncsnr=0.15,
    align=20,
)
folder = Path(scratch.name) / "prepared"
prepared = prepare(subject, folder, asked, progress=False)
print(prepared)

# %% [markdown]
# Here is the folder:

# %%
for path in sorted(folder.iterdir()):
    kind = ""
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r")
        kind = f"{array.dtype} {array.shape}"
    print(f"{path.name:<18} {kind}")

# %% [markdown]
# - `train.npy`, `align.npy`, `test.npy`: means over repeats, a row for each picture.
# - `*_single.npy`: the single trials. `*_trials.npz`: which picture, session and run each is.
# - `mask.npy`: where the columns are. `mean.npy`, `deviation.npy`: $m_k$ and $d_k$, a row for each session. With them a z-score can be turned back into percent.
# - `ncsnr.npy`: from the training trials.
# - `manifest.json`: what it was made from.
#
# The large arrays are *mapped into memory*: opening them reads a header, and a row is read from the disk when it is asked for. NSD's subject 1 has 15,724 voxels in `nsdgeneral` and 27,000 training trials, 1.7 GB as 32-bit floats. It need not fit into memory.

# %%
train = prepared.train
print(type(train.betas).__name__, train.betas.shape, "writable:", train.betas.flags.writeable)
print("ids ascend:", bool((np.diff(train.nsd_id) > 0).all()), " first:", train.nsd_id[:4].tolist())
print("no picture in two parts:", end=" ")
parts = [set(part.nsd_id.tolist()) for part in (prepared.train, prepared.align, prepared.test)]
print(not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2]))

# the same by hand, for the voxels that were kept
columns = prepared.mask[mask]
in_general = mask[prepared.mask]
by_hand = means[np.isin(seen, train.nsd_id)][:, columns]
print("as by hand:", np.allclose(train.betas[:, in_general], by_hand, atol=1e-5))
print("means of the first two trials:", train.means(2).shape)

# %% [markdown]
# The manifest is a text file. It names the settings, every file that was read with its size and time, the vintage, and how many voxels were left out and why. If you find the folder in a year, you know what it is.

# %%
manifest = prepared.manifest
print("vintage:", prepared.vintage)
print("settings:", manifest["settings"])
print(
    "files:", len(manifest["files"]), "of them", [n for n in manifest["files"] if "session02" in n]
)
print("voxels:", manifest["voxels"])
print("ncsnr:", manifest["ncsnr"])

# %% [markdown]
# ### Once is enough
#
# Forty sessions take a while. A second run finds that all is done:

# %%
times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
again = prepare(subject, folder, asked, progress=False)
print("untouched:", times == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()})
try:
    prepare(subject, folder, PrepareSettings(repeats=2), progress=False)
except ValueError as error:
    print(str(error).replace(str(folder), "PREPARED"))

# %% [markdown]
# And an interrupted one goes on. Pull the plug in the middle of session 3: this subject raises an error when its third session is to be read, and notes which ones were.


# %%
class Counting(Subject):
    def betas(self, session, *args, **options):
        if session == 3 and not plugged_in:
            raise KeyboardInterrupt
        read.append(session)
        return super().betas(session, *args, **options)


plugged_in, read = False, []
counting = Counting(root, 1)
second = Path(scratch.name) / "interrupted"
try:
    prepare(counting, second, asked, progress=False)
except KeyboardInterrupt:
    print("interrupted; there is:", [path.name for path in second.iterdir()])
    print(sorted(path.name for path in (second / "unfinished").glob("*.npy")))
plugged_in = True
prepare(counting, second, asked, progress=False)
print("sessions read, in both runs:", read)


def same_arrays(one, other):
    """Which files hold the same bytes, and which do not."""
    names = sorted(path.name for path in one.glob("*.np*"))
    equal = {name: (one / name).read_bytes() == (other / name).read_bytes() for name in names}
    return [name for name in names if equal[name]], [name for name in names if not equal[name]]


print("other than the uninterrupted:", same_arrays(folder, second)[1])

# %% [markdown]
# No session is read twice. The manifest is written last: where it is, all is. Until then the folder has no name that a decoder would open.
#
# ### On a command line
#
# The same, for those who do not write Python:

# %%
import subprocess
import sys

out = Path(scratch.name) / "by command"
command = ["nsd", "prepare", root.path, out, "--subject", 1, "--region", "nsdgeneral"]
command += ["--region", "floc-places", "--min-ncsnr", 0.15, "--align", 20]
done = subprocess.run(
    [sys.executable, "-m", "minisd", *map(str, command)], capture_output=True, text=True, check=True
)
print("minisd", *[{root.path: "NSD", out: "OUT"}.get(word, word) for word in command])
print(done.stdout.replace(str(out), "OUT"), end="")
print("other than from Python:", same_arrays(folder, out)[1])

# %% [markdown]
# ## Has anything leaked?
#
# *Leakage* is that something fitted has seen what it is tested on. {cite:t}`kapoor2023leakage` found it in seventeen fields of science, where it made results look better than they were. A look at the code is no proof. Here is one: **change the test responses, and see whether anything else changes.** If $F$ makes all that is fitted, from training responses $A$ and test responses $B$, then nothing has leaked if and only if
#
# $$
# F(A, B) = F(A, B') \quad \text{for all } B' .
# $$ (preparing-leak)
#
# Not "nearly": bit by bit. For all $B'$ nobody can try. Two will do, chosen to upset everything that looks at them: ten times the response plus five, and noise. Write them into copies of the data set.

# %%
import shutil

import h5py


def spoil(kind):
    """A copy of the root with other responses in the test trials."""
    copy = Path(shutil.copytree(root.path, Path(scratch.name) / kind))
    rng = np.random.default_rng(8)
    for session in subject.sessions:
        shown = trials.nsd_id[trials.session == session]
        rows = np.flatnonzero(np.isin(shown, prepared.test.nsd_id))
        with h5py.File(copy / root.relative(root.betas(1, session)), "r+") as file:
            stored = file["betas"][:].astype(float)  # 300ths of a percent
            worse = 10 * stored + 5 * 300 if kind != "noise" else rng.normal(0, 3000, stored.shape)
            stored[rows] = worse[rows]
            file["betas"][:] = np.clip(np.rint(stored), -32768, 32767).astype(np.int16)
    return copy


for kind in ("ten times, plus five", "noise"):
    spoiled = Path(scratch.name) / f"prepared, {kind}"
    prepare(Subject(spoil(kind), 1), spoiled, asked, progress=False)
    kept, changed = same_arrays(folder, spoiled)
    print(f"{kind}:")
    print("  changed:  ", *changed)
    print("  identical:", *kept)

# %% [markdown]
# Mask, ncsnr, scales, training and aligning responses are identical to the last bit. Only the test responses are others. The tests of this package do the same, so that it stays so.
#
# Does this test find a leak where there is one? {ref}`preparing-break` makes one on purpose.
#
# ## What no user can undo
#
# The proof begins with the betas. It says nothing about what was done before them. NSD's third version (b3, `betas_fithrf_GLMdenoise_RR`) was made from all trials of a session together ({doc}`betas`):
#
# - each voxel's *haemodynamic response* was chosen by the fit to all trials;
# - the *noise regressors* were counted by how well repeats agree, those of test pictures among them;
# - the *fraction* of the ridge was chosen by the same agreement;
# - neighbouring trials were estimated together, and where the model is not exact, a test trial leaves a trace in the training trial before it.
#
# The masks have seen the test pictures too: `nsdgeneral` was drawn where voxels answer to the experiment. And the `ncsnr.nii.gz` that ships is from all trials.
#
# Real data cannot show how much this matters, since nobody can show test pictures with other responses. Simulated BOLD can. Take four runs, as in {doc}`betas`, with 84 pictures three times each, and twelve of them for testing. Then exchange the responses to the twelve for others of the same kind, keep all the noise, and estimate again.

# %%
from minisd.nsd.denoise import glm_single
from minisd.nsd.glm import Run, design, single_trials
from minisd.nsd.hrf import library, response

TR, LIBRARY, usual = 4 / 3, library(3), response(3)
rng = np.random.default_rng(4)
pictures, voxels, runs = 84, 60, range(4)
responds = np.arange(voxels) % 2 == 0
hrf, level = rng.integers(len(LIBRARY), size=voxels), rng.uniform(500, 1500, voxels)
order = [rng.permutation(np.arange(63 * run, 63 * run + 63) % pictures) for run in runs]
onsets = [4.0 * (3 + np.sort(rng.choice(68, 63, replace=False))) for _ in runs]
noise = []
for _ in runs:
    courses = [np.convolve(c, np.ones(4) / 2, "same") for c in rng.normal(size=(3, 226))]
    shared = np.transpose(courses) @ rng.normal(size=(3, voxels))
    noise.append(2 * rng.normal(size=(226, voxels)) + shared)


def scan(tuning):
    """BOLD of all runs, from responses [pictures, voxels]; the noise is always the same."""
    made = []
    for which, start, signal in zip(order, onsets, noise, strict=True):
        plan = Run(1 + np.eye(226)[:, :1], start, which, TR)
        for h, shape in enumerate(LIBRARY):
            signal = signal + design(plan, shape) @ np.where(hrf == h, tuning[which], 0)
        made.append(Run(level * (1 + signal / 100), start, which, TR))
    return made


tested = np.arange(pictures) % 7 == 0
draw = np.where(responds, rng.normal(2, 1.5, (2, pictures, voxels)), 0)
first, exchanged = draw[0], np.where(tested[:, None], draw[1], draw[0])
fits = [glm_single(scan(t), LIBRARY, usual, threshold=1.5) for t in (first, exchanged)]
b1 = [single_trials(scan(t), usual)[0] for t in (first, exchanged)]

learning = ~tested[np.concatenate(order)]
stages = {"b1": b1, "b2": [fit.fithrf for fit in fits], "b3": [fit.final for fit in fits]}
for name, (before, after) in stages.items():
    a, b = (betas_of[learning][:, responds] for betas_of in (before, after))
    change = np.sqrt(np.mean((a - b) ** 2)) / a.std()
    print(
        f"{name}: training betas the same: {np.array_equal(a, b)}, changed by {change:.2f} of their spread"
    )
fractions = [fit.fraction[responds] for fit in fits]
print(f"voxels with another fraction of the ridge: {(fractions[0] != fractions[1]).mean():.0%}")

# %% [markdown]
# The training betas are not what they were. Even b1 moves: it has the wrong haemodynamic response for most voxels, and what it cannot explain of one trial it gives to the neighbours. b3 moves most, with ridge and regressors chosen by all repeats.
#
# Is this a scandal? No. None of it tells a decoder what the test pictures show: regressors and fractions know nothing of pictures but which trials are the same. Everybody who uses b3 shares it, so comparisons stay fair. But "never seen" is not quite true of any decoder on b3, and a page that reports one can say so in a sentence. Who wants none of it has to estimate betas from NSD's time series, with the test runs apart.
#
# ## Exercises
#
# ```{exercise} Break it
# :label: preparing-break
#
# A test must be able to fail. Write z-scores that use all trials of a session, and run the leakage test on them: prepare the training table from the data and from one of the spoiled copies. How many numbers of the training table change?
# ```
#
# ```{solution-start} preparing-break
# :class: dropdown
# ```
#
# All of them. With `training` in place of all trials, none.

# %%
spoiled = Subject(Path(scratch.name) / "noise", 1)


def training_table(someone, only_training):
    table = []
    for session in someone.sessions:
        mine = trials.session == session
        responses = someone.betas(session, mask)
        m, d = z_scale(responses, training[mine] | (not only_training))
        table.append(((responses - m) / d)[training[mine]])
    return np.concatenate(table)


for only_training in (False, True):
    differ = training_table(subject, only_training) != training_table(spoiled, only_training)
    print(f"scaled by training trials alone: {only_training}, changed: {differ.mean():.0%}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} One scale for all sessions
# :label: preparing-one-scale
#
# Z-score over all three sessions at once, with one mean and one standard deviation for each voxel. What happens to the correlation between repeats of different sessions, in the tenth of the voxels whose sessions differ most?
# ```
#
# ```{solution-start} preparing-one-scale
# :class: dropdown
# ```
#
# It is what it was in percent: a shift and a factor that are the same for all trials change no correlation. Only scales that differ between sessions do.

# %%
overall = (betas - betas[training].mean(axis=0)) / betas[training].std(axis=0, ddof=1)
differing = spread.std(axis=0) / betas.std(axis=0)
worst = differing > np.percentile(differing, 90)
for name, values in (("percent", betas), ("one scale", overall), ("by session", z)):
    print(f"{name:<10} {correlation(values[one], values[other])[worst].mean():.3f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Percent again
# :label: preparing-back
#
# Someone wants the test means of `prepared` in percent. Can they be had from the folder alone, without NSD's files? Do it for one picture, and compare with the mean of its betas.
# ```
#
# ```{solution-start} preparing-back
# :class: dropdown
# ```
#
# Yes, from the single trials: $y_n = z_n d_k + m_k$, each with its session's numbers. From the mean of z-scores alone it cannot be done when the repeats are from different sessions.

# %%
part = prepared.test
nsd_id = part.nsd_id[0]
rows = np.flatnonzero(part.trials.nsd_id == nsd_id)
k = np.searchsorted(prepared.sessions, part.trials.session[rows])
percent = (part.single[rows] * prepared.deviation[k] + prepared.mean[k]).mean(axis=0)
raw = np.concatenate([subject.betas(session, prepared.mask) for session in subject.sessions])
print("repeats in sessions", part.trials.session[rows].tolist())
print("the same:", np.allclose(percent, raw[trials.nsd_id == nsd_id].mean(axis=0), atol=1e-3))

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`allen2022massive` z-score within sessions before they compare them. MindDiffuser {cite}`lu2023minddiffuser`, Brain-Diffuser {cite}`ozcelik2023natural` and Takagi and Nishimoto {cite}`takagi2023high` all test on the shared pictures, and differ in voxels, scaling and averages. {cite:t}`kapoor2023leakage` sort leaks into eight kinds, and {cite:t}`kriegeskorte2009circular` did it for neuroscience.
#
# ## The way on
#
# You have tables that you can trust, and a proof. {doc}`traps` shows what happens without: each of the usual mistakes, made on purpose.

# %%
scratch.cleanup()
