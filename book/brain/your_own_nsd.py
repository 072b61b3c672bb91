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
# # Your own copy of NSD
#
# **You will be able to**
#
# - get access to the Natural Scenes Dataset (NSD), and say what you agreed to;
# - work out how many bytes each part is, and how long your line takes for it;
# - fetch the parts that you need with `minisd nsd download`, in an order that lets you begin early;
# - look through the folder with `minisd nsd check`, and read what it says;
# - prepare a subject with `minisd nsd prepare`, whole or from a few sessions;
# - say what one subject is enough for.
#
# **Time** 35 minutes to read; the cells run in about 15 seconds. The download takes from minutes to days.
#
# **Before this** {doc}`nsd_files` for what is in each file, {doc}`traps` for what can go wrong with it.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part IV, The brain's side, at its eighth chapter, Your own NSD."}, "figure": {"caption": "Where you are: the eighth and last chapter of Part IV.", "name": "your-own-nsd-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("your_own_nsd")
plt.show()

# %% [markdown]
# You do not need NSD to read this book. Every chapter runs on simulated subjects. But sooner or later you will want to know what your decoder does on a real brain, and then the same commands read real files.
#
# The cells here never go to the network. They compute sizes from NSD's published shapes, and they fetch, check and prepare a **simulated** folder that plays the part of the bucket.
#
# ## What you agree to
#
# NSD lies in a public bucket of Amazon's cloud, `natural-scenes-dataset`, in the region `us-east-2`. It is listed in the Registry of Open Data on AWS {cite}`nsd2021registry`. Asking for files and fetching them is free of charge {cite}`nsd2021manual`, and takes no account. So no lock keeps you out. What binds you is an agreement:
#
# 1. Read the terms and conditions, which the registry names as the dataset's licence.
# 2. Fill in the *NSD Data Access Agreement*, a form that is linked on <https://naturalscenesdataset.org> and in the registry.
# 3. You then get the link to the *NSD Data Manual*, which says what is in each file. Read at least what it says on the files that you use.
#
# Do it before you fetch. Three things to keep in mind afterwards:
#
# - **Do not pass data on**: not NSD's files, and not arrays made from them, such as prepared responses. Share code and settings; who has access makes the same arrays from them. This is why no file of NSD comes with this book.
# - **The photographs are COCO's** {cite}`lin2014microsoft`, each under the licence that its photographer chose. A figure with a picture and its reconstruction shows a photograph.
# - **Cite** {cite:t}`allen2022massive`, and say which beta version, which sessions, which subjects.
#
# The terms themselves are what counts, not this summary. Read them as they are on the day.
#
# ## What each part is for
#
# | `--what` | what it holds | you need it for |
# |---|---|---|
# | `design` | which picture in which trial, presses of buttons | everything |
# | `rois` | regions, their names, the brain's mask | choosing voxels |
# | `maps` | ncsnr, meanbeta, R2 of one version of betas | looking at data quality |
# | `betas` | single-trial responses of one version in one space | decoding |
# | `stimuli` | all 73,000 pictures | looking at what was seen; targets for training |
#
# Captions are not in it. They are COCO's: fetch `annotations_trainval2017.zip` from <https://cocodataset.org>, and put `captions_train2017.json` and `captions_val2017.json` into `nsddata_stimuli/stimuli/nsd/annotations`.
#
# What this book never touches: the raw data, the time series, the betas at 1 mm (six times as many voxels) and in other versions, diffusion images, eye tracking.
#
# ## How large
#
# A session of betas in a volume of $X \times Y \times Z$ voxels is stored as 16-bit whole numbers ({eq}`nsd-files-bytes`). On the average brain, fsaverage, it is 32-bit floats on $2 \times 163{,}842$ points. The picture file is one byte for each of three colours. With $N$ trials a session:
#
# $$
# \text{volume} = 2\, X Y Z\, N, \qquad
# \text{fsaverage} = 4 \cdot 2 \cdot 163842\, N, \qquad
# \text{pictures} = 3 \cdot 73000 \cdot 425^2 .
# $$ (your-own-nsd-bytes)
#
# These are bytes before compression. Files can be smaller, the `nii.gz` ones are, so take them as *at most*. Check the formula on arrays that have these types:

# %%
import numpy as np

PEOPLE = {  # shape of the 1.8 mm volume, voxels in nsdgeneral, sessions
    1: ((81, 104, 83), 15_724, 40),
    2: ((82, 106, 84), 14_278, 40),
    3: ((81, 106, 82), 15_226, 32),
    4: ((85, 99, 80), 13_153, 30),
    5: ((79, 97, 78), 13_039, 40),
    6: ((85, 113, 83), 17_907, 32),
    7: ((78, 95, 81), 12_682, 40),
    8: ((80, 103, 78), 14_386, 30),
}
TRIALS = 750


def session_bytes(shape):
    return 2 * int(np.prod(shape)) * TRIALS


trial = np.empty(PEOPLE[1][0], np.int16)
print("a volume:", session_bytes(PEOPLE[1][0]) == TRIALS * trial.nbytes)
surface = 4 * 2 * 163_842 * TRIALS
print("fsaverage:", surface == TRIALS * np.empty(2 * 163_842, np.float32).nbytes)
pictures = 3 * 73_000 * 425**2
print("pictures:", pictures == 73_000 * np.empty((425, 425, 3), np.uint8).nbytes)
print(f"a session of subject 1: {session_bytes(PEOPLE[1][0]) / 1e9:.2f} GB at most")
print(f"the same on fsaverage:  {surface / 1e9:.2f} GB")
print(f"all pictures:           {pictures / 1e9:.1f} GB")

# %% [markdown]
# After preparation, responses are 32-bit floats in the region's voxels alone: the single trials of $S$ sessions, and the means over up to three repeats of each picture,
#
# $$
# \text{prepared} = 4\, V\, (750\, S + P) ,
# $$ (your-own-nsd-prepared)
#
# with $V$ voxels and $P$ pictures. Check it later on a real folder; here is what comes of it.

# %%
table = {}
for number, (shape, voxels, sessions) in PEOPLE.items():
    seen = 10_000 if sessions == 40 else 9_000  # at most; fewer in thirty sessions
    betas = session_bytes(shape) * sessions
    prepared = 4 * voxels * (TRIALS * sessions + seen)
    table[number] = betas / 1e9, prepared / 1e9
    print(
        f"subject {number}: betas {betas / 1e9:5.1f} GB at most, prepared {prepared / 1e9:.1f} GB"
    )
print(f"betas of all: {sum(b for b, _ in table.values()):.0f} GB; pictures {pictures / 1e9:.0f} GB")

# %% mystnb={"image": {"alt": "Bars of gigabytes on a logarithmic axis for subject 1: design and masks below 0.1, a session of betas about 1, pictures 40, all forty sessions 42, prepared responses 2.5."}, "figure": {"caption": "What there is to fetch for subject 1, and what stays after preparing, on a logarithmic scale. Betas and pictures are nearly all. (Design and masks: the order of magnitude.)", "name": "your-own-nsd-sizes"}}
parts = {
    "design, rois, maps": 0.05,
    "one session of betas": session_bytes(PEOPLE[1][0]) / 1e9,
    "40 sessions of betas": table[1][0],
    "pictures": pictures / 1e9,
    "prepared, nsdgeneral": table[1][1],
}
figure, axes = plt.subplots(figsize=(6.4, 2.4))
colors = ["C0"] * 4 + ["C2"]
axes.barh(list(parts), list(parts.values()), color=colors)
axes.set(xscale="log", xlim=(0.01, 300), xlabel="GB")
axes.bar_label(axes.containers[0], ["< 0.1", "1.05", "42", "40", "2.5"], padding=3)
axes.invert_yaxis()
plt.show()

# %% [markdown]
# ## How long
#
# A line of $r$ megabits a second brings, at best,
#
# $$
# \text{hours} = \frac{8 \cdot \text{GB} \cdot 1000}{3600\, r} .
# $$ (your-own-nsd-hours)
#
# The cell checks it the slow way, bit by bit of a small file, and the slider tells what it means for you. Real lines give less than their name says; the bucket is in Ohio.


# %%
def hours(gigabytes, megabits):
    return 8 * gigabytes * 1000 / (3600 * megabits)


seconds = 0.0
for _ in range(250):  # a file of 250 MB, by the megabyte
    seconds += 8e6 / (100 * 1e6)
print("formula:", np.isclose(seconds / 3600, hours(0.25, 100)))
print(f"a session at 100 megabits a second: {60 * hours(table[1][0] / 40, 100):.1f} minutes")

# %%
from minisd.widgets import slider

plans = {
    "begin: one session": parts["one session of betas"] + 0.05,
    "ten sessions": 10 * parts["one session of betas"] + 0.05,
    "a subject's betas": table[1][0] + 0.05,
    "... and pictures": table[1][0] + pictures / 1e9 + 0.05,
    "1, 2, 5, 7, pictures": sum(table[k][0] for k in (1, 2, 5, 7)) + pictures / 1e9,
    "all eight, pictures": sum(b for b, _ in table.values()) + pictures / 1e9,
}


def as_time(h):
    return f"{60 * h:.0f} min" if h < 1 else f"{h:.0f} h" if h < 48 else f"{h / 24:.0f} days"


def draw_hours(megabits):
    figure, axes = plt.subplots(figsize=(6.2, 2.5))
    took = [hours(gigabytes, megabits) for gigabytes in plans.values()]
    names = [f"{name} ({gigabytes:.0f} GB)" for name, gigabytes in plans.items()]
    axes.barh(names, took, color="C0")
    axes.bar_label(axes.containers[0], [as_time(h) for h in took], padding=3)
    axes.set(xscale="log", xlim=(0.001, 3000), xlabel="hours")
    axes.set_title(f"{megabits} megabits a second", loc="left")
    axes.invert_yaxis()
    return figure


slider(
    draw_hours,
    [5, 10, 20, 50, 100, 200, 500, 1000],
    label="megabits a second",
    caption="How long parts of NSD take at least, over lines of different speed; volumes of 1.8 mm, one version of betas.",
    alt="Bars of hours for six plans at {} megabits a second.".format,
    start=4,
)

# %% [markdown]
# ## In which order
#
# Begin small. The tables and masks come first; they take a minute and show that the way is open. Then one session, and you can run everything once. Then the rest, overnight.
#
# ```
# minisd nsd download NSD --subject 1 --what design,rois,maps
# minisd nsd download NSD --subject 1 --what betas --sessions 1
# minisd nsd check NSD
# minisd nsd prepare NSD prepared/subj01-s1 --subject 1 --sessions 1
# minisd nsd download NSD --subject 1 --what betas
# minisd nsd download NSD --subject 1 --what stimuli
# ```
#
# Each `download` asks the bucket what there is, prints every file with its true size, the sum, and where the terms are, and asks you. `--yes` leaves out the question. Stop it whenever you like: the same command goes on where it stopped, and what is there already is not fetched again. (The tests of this book run it against a server on the same machine that speaks the bucket's protocol, never against Amazon's.) Choose
#
# - `--kind hdf5` (the default) if you read regions: of an HDF5 file only the region is read. `--kind nii.gz` is smaller on some disks, and has to be read all through each time;
# - `--version` for another version of the betas; the default is the third, `betas_fithrf_GLMdenoise_RR`;
# - `--space fsaverage` for the average brain;
# - `--sessions 1-10` for a part.
#
# ### Rehearse it
#
# A simulated folder plays the bucket. The client that fetches from Amazon, obstore, can also read a folder on the disk as if it were a bucket, so what runs here are the same functions as behind the command.

# %%
import tempfile
from pathlib import Path

from minisd.nsd.simulate import SimulationSettings, SubjectSettings, simulate

settings = SimulationSettings(
    seed=6,
    subjects=(
        SubjectSettings(1, (24, 26, 22), sessions=4, kind="hdf5"),
        SubjectSettings(2, (25, 24, 22), sessions=3, kind="nii.gz", quality=0.8),
    ),
    own=90,
    shared=30,
    sessions=4,
    trials=(23, 22) * 2,
)
scratch = tempfile.TemporaryDirectory()
there = simulate(Path(scratch.name) / "bucket", settings, progress=False)

# %% [markdown]
# First, what do the words of `--what` stand for? Folders, and forms that a file's name must have.

# %%
from minisd.nsd.download import bytes_left, download, list_files, missing, wanted

for what in ("design", "rois", "maps", "betas", "stimuli"):
    print(what)
    for folder, form in wanted([what], subject=1, sessions=[1, 2]).items():
        print(f"   {folder}/  {form}")

# %% [markdown]
# Now the plan: what of this is in the bucket, and how many bytes. On the real bucket the same lines tell the real sizes, before anything is fetched.

# %%
from obstore.store import LocalStore

from minisd.nsd import Root

bucket = LocalStore(str(there.path))
folder = Path(scratch.name) / "NSD"
folder.mkdir()
mine = Root(folder)


def plan(what, **more):
    files = list_files(bucket, wanted(what, subject=1, **more))
    left = missing(mine, files)
    size = bytes_left(mine, left) / 1e6
    print(f"{','.join(what):<18} {len(left)} of {len(files)} files, at most {np.ceil(size):.0f} MB")
    return left


tables = plan(["design", "rois", "maps"])
everything = plan(["betas"])
photographs = plan(["stimuli"])
one = plan(["betas"], sessions=[1])
print(one[0].key)

# %% [markdown]
# Fetch the tables, and ask again: nothing is left of them.

# %%
download(mine, bucket, tables, progress=False)
again = plan(["design", "rois", "maps"])
arrived = sum(path.is_file() for path in folder.rglob("*"))
print(f"{arrived} files arrived")

# %% [markdown]
# Then a session, with the line cut in the middle. A piece of 8 MB is asked for at a time, and what has come lies beside in a file that ends in `.part`. The file gets its name when it is whole: so a file that is there *is* whole.

# %%
import re

session = one[0]
source = there.betas(1, 1).read_bytes()
version = re.sub(r"\W", "", session.etag)  # changes when the file in the bucket does
part = folder / f"{session.key}.{version}.part"
part.parent.mkdir(parents=True, exist_ok=True)
part.write_bytes(source[: len(source) // 3])  # as an interruption leaves it
print("is the session there?", mine.betas(1, 1).is_file())
left = bytes_left(mine, [session])
print(f"left of it: {100 * left / session.size:.0f} %")
download(mine, bucket, [session], progress=False)
print("whole, and the same:", mine.betas(1, 1).read_bytes() == source)
print("parts left lying about:", len(list(folder.rglob("*.part"))))

# %% [markdown]
# ## Check it
#
# `minisd nsd check NSD` looks through the folder. It reads the tables whole, and of large files the beginning and the end. Run the command itself:

# %%
import shlex

from typer.testing import CliRunner

from minisd.cli import app


def minisd(line):
    """Run a command line; print what it prints."""
    line = line.replace("NSD", str(folder)).replace("prepared/", f"{scratch.name}/")
    result = CliRunner().invoke(app, shlex.split(line))
    told = result.stdout.replace(str(folder), "NSD")
    print(told.replace(f"{scratch.name}/", "prepared/").rstrip())
    return result.exit_code


code = minisd("nsd check NSD")

# %% [markdown]
# So with one session and no pictures you can prepare and fit, and you can show nothing. Missing files are no damage: the exit code, which scripts look at, is 0. Cut a file short, as a full disk does:

# %%
print("exit code before:", code)
sound = mine.betas(1, 1).read_bytes()
mine.betas(1, 1).write_bytes(sound[:-5000])
report = CliRunner().invoke(app, ["nsd", "check", str(folder)])
print("exit code now:", report.exit_code)
told = report.stdout.partition("\ndamaged")[2].split()[0]
print("damaged:", told)
mine.betas(1, 1).write_bytes(sound)

# %% [markdown]
# ## Prepare it
#
# `minisd nsd prepare` takes the voxels of a region, z-scores each session by its training trials, averages over repeats, splits by picture, and writes arrays that are mapped into memory. From one session:

# %%
code = minisd("nsd prepare NSD prepared/subj01-s1 --subject 1 --sessions 1")

# %% [markdown]
# Read the last two lines. In one session many pictures were seen once, and their means are of one trial. Now fetch the rest, and prepare that. A folder of prepared responses belongs to one choice of settings; another choice gets another folder.

# %%
download(mine, bucket, plan(["betas"]), progress=False)
download(mine, bucket, plan(["stimuli"]), progress=False)
code = minisd("nsd prepare NSD prepared/subj01 --subject 1 --min-ncsnr 0.2")

# %% [markdown]
# The second time nothing is done. With other settings the folder is refused, not overwritten:

# %%
code = minisd("nsd prepare NSD prepared/subj01 --subject 1 --min-ncsnr 0.2")
told = CliRunner().invoke(
    app, ["nsd", "prepare", str(folder), f"{scratch.name}/subj01", "--subject", "1"]
)
print("exit code:", told.exit_code)

# %% [markdown]
# From Python, `load_prepared` opens it, and here is the check of {eq}`your-own-nsd-prepared`.

# %%
from minisd.nsd import load_prepared

prepared = load_prepared(f"{scratch.name}/subj01")
V = prepared.train.betas.shape[1]
trials = sum(len(part.trials) for part in (prepared.train, prepared.test))
shown = sum(len(part.nsd_id) for part in (prepared.train, prepared.test))
arrays = ("train", "test", "train_single", "test_single")
size = sum((prepared.path / f"{name}.npy").stat().st_size for name in arrays)
print("formula, but for headers of 128 bytes:", size - 4 * 128 == 4 * V * (trials + shown))
print(prepared.vintage)

# %% [markdown]
# ## What it took here
#
# No cell can measure your machine. On one core of an Intel Xeon, with files of NSD's size made up for the purpose (81 x 104 x 83 voxels, 750 trials, of which 15,724 voxels were read, the file in the system's cache):
#
# | step | time | memory |
# |---|---|---|
# | read a session, HDF5 | 0.2 seconds | 0.1 GB |
# | read a session, nii.gz | 4 seconds | 0.1 GB |
# | z-score, average and write ten sessions | 8 seconds | 0.3 GB |
#
# So 40 sessions of HDF5 are prepared in about half a minute, and of nii.gz in about three minutes, if the disk keeps up. Of nii.gz every byte is read. Of HDF5 it is the region alone, 2 % of the volume, but in small pieces from all over the file: on a disk that turns, or one across a network, that can take much longer than it did here. Memory does not grow with the number of sessions.
#
# ## With one subject, or less
#
# You do not need eight brains, nor forty sessions. {cite:t}`takagi2023high` decode four subjects, each by a model of its own. What a part is good for:
#
# | you have | you can | you cannot |
# |---|---|---|
# | tables and masks | plan, count, draw regions | see a response |
# | one session | run every step; see V1 answer; find errors in your code | get averages of three; report anything |
# | ten sessions | fit decoders, compare choices of your own | compare with papers |
# | a whole subject of 1, 2, 5, 7 | all of this book; compare with papers *on that subject* | say anything of people in general |
# | those four | what most papers do | tell what eight would say |
#
# How much do you lose with fewer sessions? Pictures, and repeats of them. Count it on the simulated plan. (NSD's own is in `nsd_expdesign.mat`: `basiccnt` tells it by session.)

# %%
from minisd.nsd import read_trials

planned = read_trials(there, 1)
last = int(planned.session.max())
often = np.zeros((last, 3), int)
for sessions in range(1, last + 1):
    _, count = np.unique(planned.nsd_id[planned.session <= sessions], return_counts=True)
    often[sessions - 1] = [(count == k).sum() for k in (1, 2, 3)]
    print(f"sessions 1 to {sessions}: seen once, twice, three times {often[sessions - 1]}")
for some in ((1, 2), (1, 4)):
    _, count = np.unique(planned.nsd_id[np.isin(planned.session, some)], return_counts=True)
    print(f"sessions {some}: {(count > 1).sum()} of {count.size} pictures repeated")

# %% mystnb={"image": {"alt": "Stacked bars for one to four sessions. The number of pictures grows to 120 by the last session; the part seen three times is small at first and is all of them at the end."}, "figure": {"caption": "Simulated: how many pictures subject 1 has seen once, twice and three times after so many sessions. Repeats are complete only at the end: half of the sessions give far fewer than half of the three-fold means.", "name": "your-own-nsd-repeats"}}
figure, axes = plt.subplots(figsize=(5.4, 2.5))
bottom = np.zeros(last)
names = ("three times", "twice", "once")
for k, (name, hatch) in enumerate(zip(names, ("", "//", ".."), strict=True)):
    height = often[:, 2 - k]
    axes.bar(np.arange(1, last + 1), height, bottom=bottom, label=name, hatch=hatch, edgecolor="w")
    bottom += height
axes.set(xlabel="sessions fetched", ylabel="pictures", xticks=range(1, last + 1))
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# If you can fetch only a part, fetch sessions from the first on: those that follow one another hold more repeats than those far apart, and `--sessions 1-10` can be named in a paper.
#
# Which subject? One of 1, 2, 5 and 7, who did all sessions. Papers often show pictures of number 1; what you see on it is not what you will see on the others.
#
# ## Exercises
#
# ```{exercise} Fit it onto a disk
# :label: your-own-nsd-disk
#
# You have 100 GB free, a line of 50 megabits a second, and want two subjects with as many sessions each as possible, the same number, and all pictures. How many sessions? How long does it take? (Prepared arrays must fit as well: two times their size while they are made.)
# ```
#
# ```{solution-start} your-own-nsd-disk
# :class: dropdown
# ```
#
# Take subjects 5 and 7, whose volumes are the smallest. Pictures first, then count sessions until the next would not fit.

# %%
free, two = 100e9 - pictures, (5, 7)
best = 0
for sessions in range(1, 41):
    need = sum(session_bytes(PEOPLE[k][0]) * sessions for k in two)
    need += sum(2 * 4 * PEOPLE[k][1] * (TRIALS * sessions + 10_000) for k in two)
    best = sessions if need <= free else best
fetched = (sum(session_bytes(PEOPLE[k][0]) for k in two) * best + pictures) / 1e9
print(f"{best} sessions each; {fetched:.0f} GB in {hours(fetched, 50):.1f} hours at best")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} What can be run?
# :label: your-own-nsd-check
#
# Remove the file of regions `nsdgeneral.nii.gz` and the table `nsd_expdesign.mat` from your copy. Before you run it: what will `check` say can no longer be run? Use `minisd.nsd.check.check` from Python. Then get both back without fetching anything twice.
# ```
#
# ```{solution-start} your-own-nsd-check
# :class: dropdown
# ```
#
# Without the design nobody knows what was seen: no trials, no preparing. A single missing region does not stop reading, since others are there. `missing` names what is not there, and `download` fetches that alone.

# %%
from minisd.nsd.check import check

mine.design.unlink()
mine.roi(1, "nsdgeneral").unlink()
for use in check(mine).uses:
    print(f"{use.name}: {'yes' if not use.lacking else 'needs ' + ', '.join(use.lacking)}")
download(mine, bucket, plan(["design", "rois"]), progress=False)
print("mended:", mine.design.is_file(), mine.roi(1, "nsdgeneral").is_file())

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A smaller test
# :label: your-own-nsd-vintage
#
# Prepare sessions 1 to 3 of the rehearsed copy, and all 4. How many test pictures has each, and over how many trials is a test mean taken on average? Which one would score higher, and why is that no progress?
# ```
#
# ```{solution-start} your-own-nsd-vintage
# :class: dropdown
# ```
#
# With fewer sessions, means are over fewer trials, and noisier. The same decoder scores lower on them. A difference between papers of 37 and of 40 sessions can come from this alone: name the vintage.

# %%
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare

for sessions in (3, 4):
    out = Path(scratch.name) / f"first{sessions}"
    made = prepare(Subject(mine, 1), out, PrepareSettings(sessions=sessions), progress=False)
    print(f"{made.vintage}; trials a test mean: {made.test.averaged.mean():.1f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`allen2022massive` describe the dataset, and the registry's entry {cite}`nsd2021registry` says where it is, who keeps it and under which terms. The manual's page on how to get the data has the same for Amazon's own command line {cite}`nsd2021manual`. {cite:t}`lin2014microsoft` have the photographs and captions. Decoding papers differ in what they fetched: MindDiffuser's code has 37 sessions, 8,859 training and 982 test pictures {cite}`lu2023minddiffuser`, and others have 40. When you compare, compare that first.
#
# ## The way on
#
# This is the end of Part IV. You have pictures on one side and prepared responses on the other, simulated or your own. The next part joins them. Look once more at where a response comes from ({doc}`betas`), and at what would make a score too good ({doc}`traps`): both come back with every decoder.

# %%
scratch.cleanup()
