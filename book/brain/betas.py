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
# # From BOLD to betas
#
# **You will be able to**
#
# - turn the times at which pictures were shown into a design matrix;
# - estimate the size of each response by least squares, with the drift taken out, and check it three ways;
# - say why betas of single trials are noisy, and by how much;
# - explain the three things that NSD adds (a library of responses, noise regressors, fractional ridge), and measure what each gains;
# - read the names `betas_assumehrf`, `betas_fithrf` and `betas_fithrf_GLMdenoise_RR`, and the numbers in their files.
#
# **Time** 55 minutes to read; the cells run in about 15 seconds.
#
# **Before this** {doc}`fmri`: the haemodynamic response, superposition, drift.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part IV, The brain's side, at its second chapter, From BOLD to betas."}, "figure": {"caption": "Where you are: the second chapter of Part IV.", "name": "betas-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("betas")
plt.show()

# %% [markdown]
# All BOLD signals of this chapter are **simulated**, so that the betas behind them are known, and every estimate can be held against the truth. Real data has no such column. The functions are those of `minisd.nsd`, and they do not know which of the two they get.
#
# ## When pictures are shown
#
# A run of NSD has 75 slots of four seconds: three seconds a picture, one second grey. The first three slots and the last four are blank, and so are five of the others, at random {cite}`allen2022massive`. That leaves 63 trials (62 in every second run). The signal is prepared at one volume every $4/3$ seconds, three to a slot: 226 volumes.

# %%
import numpy as np

TR = 4 / 3


def timing(rng):
    """Onsets in seconds of the 63 trials of a run."""
    return 4.0 * (3 + np.sort(rng.choice(68, 63, replace=False)))


onsets = timing(np.random.default_rng(0))
print("first onsets:", onsets[:6], " last:", onsets[-1])
print(f"226 volumes are {226 * TR:.1f} s, 75 slots {75 * 4} s")
print("every onset is at a volume:", np.allclose(onsets / TR, np.rint(onsets / TR)))

# %% [markdown]
# ## The design matrix
#
# Let $r$ be the response to three seconds, with its peak at 1 ({numref}`fmri-hrf`). If trial $i$ begins at $t_i$ and has the size $b_i$, superposition ({eq}`fmri-superposition`) says that volume $v$, at the time $v \cdot \mathrm{TR}$, gets $b_i\, r(v \cdot \mathrm{TR} - t_i)$. Collect these in a matrix with a row for each volume and a column for each trial:
#
# $$
# X_{vi} = r(v \cdot \mathrm{TR} - t_i), \qquad y = X b .
# $$ (betas-design)
#
# A column is the convolution of the response with one tick at the onset. The cell does that convolution on a grid of a tenth of a second.

# %%
from minisd.nsd.glm import Run, design
from minisd.nsd.hrf import STEP, library, response

canonical = response(3)
pictures = np.arange(63)
empty = Run(1 + np.eye(226)[:, :1], onsets, pictures, TR)  # timing alone
X = design(empty, canonical)

ticks = np.zeros((round(226 * TR / STEP), 63))
ticks[np.rint(onsets / STEP).astype(int), pictures] = 1
convolved = np.array([np.convolve(tick, canonical) for tick in ticks.T]).T
moments = np.arange(226) * TR / STEP
nearest = convolved[np.rint(moments).astype(int)]
print("design:", X.shape)
print("equals the convolution:", bool(np.abs(X - nearest).max() < 0.02))

# %% mystnb={"image": {"alt": "Left, the design matrix: 226 rows of volumes, 63 columns of trials, a bright band along the diagonal with a dark rim below it. Right, four neighbouring columns as curves over time: each a hump that overlaps the next two."}, "figure": {"caption": "Left: the design matrix of a run. Each column is one trial, each row one volume. Right: four columns. Each volume is a mixture of about three trials, and their dips.", "name": "betas-design-figure"}}
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.2), width_ratios=[1, 1.6])
left.imshow(X, aspect="auto", cmap="gray")
left.set(xlabel="trial", ylabel="volume")
left.grid(False)
for column in range(10, 14):
    right.plot(np.arange(226) * TR, X[:, column], "o-", ms=3, label=f"trial {column}")
right.set(xlim=(onsets[10] - 2, onsets[13] + 22), xlabel="seconds")
right.legend(fontsize=7)
plt.show()

# %% [markdown]
# ## Least squares
#
# The signal has more in it: drift, which polynomials $P$ with weights $d$ follow, and noise $e$:
#
# $$
# y = X b + P d + e .
# $$ (betas-model)
#
# NSD takes polynomials up to the degree that is half of the run's minutes, rounded. Write $A = [X\ P]$ for both together and $\hat w$ for the weights with the smallest $\lVert y - A w \rVert^2$. Set the derivative to zero, $-2 A^\top (y - A w) = 0$, and you have the *normal equations*:
#
# $$
# A^\top A\, \hat w = A^\top y .
# $$ (betas-normal)

# %%
from minisd.nsd.glm import clean_data, clean_designs, drifts, least_squares

rng = np.random.default_rng(1)
P = drifts(226, TR)
minutes = 226 * TR / 60
print(f"{minutes:.2f} minutes: degree {P.shape[1] - 1}")

b = rng.normal(2, 1.5, 63)
y = 700 + X @ b + P @ rng.normal(0, 20, 4) + rng.normal(0, 1, 226)
A = np.hstack([X, P])
w = np.linalg.solve(A.T @ A, A.T @ y)
print("normal equations and lstsq agree:", np.allclose(w, np.linalg.lstsq(A, y)[0]))
left_over = A.T @ (y - A @ w)
print("what is left is at a right angle to all columns:", np.allclose(left_over, 0, atol=1e-6))

# %% [markdown]
# The weights of the drift are of no interest. There is a way not to compute them: take out of $y$, and out of each column of $X$, what $P$ can follow, and fit what is left. With $M = I - P (P^\top P)^{-1} P^\top$,
#
# $$
# \hat b = \bigl( (MX)^\top MX \bigr)^{-1} (MX)^\top M y ,
# $$ (betas-fwl)
#
# the same betas as in the fit of all together. This is the theorem of Frisch, Waugh and Lovell {cite}`lovell1963seasonal`. `clean_designs` and `clean_data` do it for each run.

# %%
run = Run(y[:, None], onsets, pictures, TR)
M = np.eye(226) - P @ np.linalg.solve(P.T @ P, P.T)
MX, My = M @ X, M @ y
by_hand = np.linalg.solve(MX.T @ MX, MX.T @ My)
print("by hand:", np.allclose(by_hand, w[:63]))
package = least_squares(clean_designs([run], canonical), clean_data([run]))
print("minisd:", np.allclose(package[:, 0], w[:63]))
skipped = np.linalg.lstsq(X, My)[0]  # the design was not cleaned
print("cleaning the data alone will not do:", not np.allclose(skipped, w[:63], atol=0.1))

# %% mystnb={"image": {"alt": "Two panels. Above, a simulated noisy signal of a voxel over a run with a drift, and the fit through it. Below, 63 true betas as circles and the estimates as crosses, which follow them with scatter."}, "figure": {"caption": "Simulated: a voxel's signal and the fit (above), and its true and estimated betas (below). The fit looks good. The betas show how much of it is noise.", "name": "betas-fit"}}
figure, (above, below) = plt.subplots(2, 1, figsize=(6.4, 4))
above.plot(np.arange(226) * TR, y, ".", ms=4, color="grey", label="signal")
above.plot(np.arange(226) * TR, A @ w, lw=1.2, label="fit")
above.set(xlabel="seconds", ylabel="scanner's unit")
above.legend(ncols=2)
below.plot(b, "o", ms=5, mfc="none", color="black", label="true")
below.plot(w[:63], "x", ms=5, color="C1", label="estimated")
below.vlines(pictures, b, w[:63], color="C1", lw=0.7)
below.set(xlabel="trial", ylabel="beta")
below.legend(ncols=2)
plt.show()

# %% [markdown]
# ### Percent
#
# A beta in the scanner's unit means nothing by itself. Divide by the voxel's mean signal $\bar y$:
#
# $$
# b^{\%} = 100\, \frac{b}{\bar y} .
# $$ (betas-percent)
#
# This is *percent signal change*, the unit of NSD's betas.

# %%
from minisd.nsd.glm import single_trials

estimated, r2 = single_trials([run], canonical)
print("formula:", np.allclose(estimated[:, 0], 100 * w[:63] / y.mean()))
louder = Run(7 * y[:, None], onsets, pictures, TR)
print("no matter how loud:", np.allclose(single_trials([louder], canonical)[0], estimated))

# %% [markdown]
# ## Why single betas are noisy
#
# Put {eq}`betas-model` into {eq}`betas-fwl`: $\hat b = b + \bigl((MX)^\top MX\bigr)^{-1} (MX)^\top e$. If the noise is independent from volume to volume with variance $\sigma^2$, the estimates are right on average, and their covariance is
#
# $$
# \mathrm{Cov}[\hat b] = \sigma^2 \bigl( (MX)^\top MX \bigr)^{-1} .
# $$ (betas-covariance)
#
# It does not depend on the brain, but on the timing alone. You can know how good the betas will be before anybody lies in the scanner.

# %%
from minisd.nsd.glm import without

covariance = np.linalg.inv(MX.T @ MX)
noise = without(P, rng.normal(size=(226, 20_000)))
off = least_squares([MX], [noise])
ratio = off.var(axis=1) / covariance.diagonal()
print("as simulated, to 5 %:", bool(np.abs(ratio - 1).max() < 0.05))

deviation = np.sqrt(covariance.diagonal())
lengths = np.linalg.norm(MX, axis=0)
overlap = (MX.T @ MX / np.outer(lengths, lengths)).diagonal(1)
print(f"neighbouring columns correlate by {overlap.mean():.2f}")
print(f"error of a trial, if it were alone: {1 / lengths.mean():.2f} sigma")
print(f"among the others: {deviation.mean():.2f} sigma")
print(f"of the mean of all 63 betas: {np.sqrt(covariance.mean()):.2f} sigma")

# %% [markdown]
# A trial alone in its run would have an error of $0.58\,\sigma$. Among its neighbours it has 1.7 times as much, since the columns overlap. This is *collinearity*: least squares must tell trials apart by what they do not share. Two things are hard to tell. One is a little more of trial 11 and a little less of trial 12. The other is all betas
# a little larger and the baseline a little lower, for the run or for a part of it: 63 independent errors would leave an eighth of $0.97\,\sigma$ in the mean, and there is more than twice that. The blanks are there for the second.
#
# Move the slider to see what more time between trials would buy. A scanner's hour is expensive, though: with 20 seconds a trial, a session would show fewer than 200 pictures in place of 750.


# %%
from minisd.widgets import slider


def draw_spacing(gap):
    chance = np.random.default_rng(2)
    starts = 12 + gap * np.arange(20.0)
    volumes = 330  # a little over seven minutes, whatever the gap
    plan = Run(1 + np.eye(volumes)[:, :1], starts, np.arange(20), TR)
    x = without(drifts(volumes, TR), design(plan, canonical))
    true = chance.normal(2, 1.5, 20)
    error = np.linalg.lstsq(x, chance.normal(size=volumes))[0]
    c = np.linalg.inv(x.T @ x)
    sd, neighbours = np.sqrt(c[10, 10]), c[10, 11] / c[10, 10]

    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.7), width_ratios=[1.5, 1])
    t = np.arange(0, 60, 0.2)
    for i in range(5):
        late = np.interp(t - i * gap, np.arange(canonical.size) * STEP, canonical, left=0)
        left.plot(t, late, lw=1.3)
    left.set(xlim=(0, 60), xlabel="seconds", title=f"five trials, {gap:g} s apart")
    right.plot(true, true + error, "o", ms=4)
    right.plot([-3, 7], [-3, 7], color="grey", lw=1)
    right.set(xlim=(-3, 7), ylim=(-3, 7), xlabel="true beta", ylabel="estimated")
    right.set_title(rf"error {sd:.2f} $\sigma$, neighbours {neighbours:.2f}", fontsize=9)
    return figure


slider(
    draw_spacing,
    [2, 2.5, 3, 3.5, 4, 5, 6, 8, 12, 20],
    label="seconds between onsets",
    caption="Simulated: twenty trials, their overlap (left), and their betas with noise of one percent a volume (right). The title gives the error of a beta and the correlation of two "
    "neighbours' errors. Below four seconds errors grow fast. Above five, little is gained.",
    alt="Responses of trials {} seconds apart, and estimated against true betas.".format,
    start=4,
)

# %% [markdown]
# ## A whole session, simulated
#
# One voxel and one run are not enough for what follows. Make six runs of NSD's timing with 126 pictures, each shown three times in different runs, and 120 voxels. Half of the voxels respond to pictures, each with its own tuning and its own haemodynamic response. The noise has two parts:
# each voxel has its own, and three slow courses, such as breath and small movements make, go through all of them with different weights.
#
# Here the cell makes them, so that you see how. `minisd nsd simulate --bold 1` writes a session's runs as files in NSD's layout, and `minisd.nsd.timeseries.read_runs` reads those and NSD's own.

# %%
LIBRARY = library(3)
DEVIATION, SHARED = 2.0, 1.0  # percent: a voxel's own noise, and the shared


def session(seed, runs=6, voxels=120):
    rng = np.random.default_rng(seed)
    responds = np.arange(voxels) % 2 == 0
    shown = runs * 63 // 3
    tuning = np.where(responds, rng.normal(2, 1.5, (shown, voxels)), 0)
    hrf = rng.integers(len(LIBRARY), size=voxels)
    level = rng.uniform(500, 1500, voxels)
    weights = rng.normal(size=(3, voxels))
    made, truth = [], []
    for number in range(runs):
        which = rng.permutation(np.arange(63 * number, 63 * (number + 1)) % shown)
        plan = Run(1 + np.eye(226)[:, :1], timing(rng), which, TR)
        signal = np.empty((226, voxels))
        for h, shape in enumerate(LIBRARY):
            signal[:, hrf == h] = design(plan, shape) @ tuning[which][:, hrf == h]
        t = np.linspace(-1, 1, 226)[:, None]
        signal += 2 * (t * rng.normal(size=voxels) + t**2 * rng.normal(size=voxels))
        courses = [np.convolve(c, np.ones(4) / 2, "same") for c in rng.normal(size=(3, 226))]
        signal += SHARED * np.transpose(courses) @ weights
        signal += DEVIATION * rng.normal(size=signal.shape)
        made.append(Run(level * (1 + signal / 100), plan.onsets, which, TR))
        truth.append(tuning[which])
    return made, np.concatenate(truth), hrf, responds


runs, truth, true_hrf, responds = session(seed=1)
print(f"{len(runs)} runs of {runs[0].bold.shape}, {len(truth)} trials")

# %% [markdown]
# Two numbers will say how good betas are. The first needs the truth: the correlation of a voxel's estimated betas with its true ones, averaged over the voxels that respond. The second can be had on real data as well: the correlation between repeats of the same pictures, the *reliability*.
#
# They are tied to each other. If an estimate is the truth plus an independent error, with variances $s^2$ and $\varepsilon^2$, then
#
# $$
# \mathrm{corr}(\hat b, b) = \sqrt{\frac{s^2}{s^2 + \varepsilon^2}} = \sqrt{\mathrm{corr}(\hat b, \hat b')} ,
# $$ (betas-reliability)
#
# with $\hat b'$ from another trial of the same picture.

# %%
from minisd.nsd.denoise import repeats_over_runs

one, other = repeats_over_runs(runs)


def correlation(a, b):
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))


def quality(betas):
    """With the truth, and between repeats, in voxels that respond."""
    found = betas[:, responds]
    with_truth = correlation(found, truth[:, responds]).mean()
    return with_truth, correlation(found[one], found[other]).mean()


s, e = 1.5, 2.0
clean = rng.normal(scale=s, size=200_000)
first, second = clean + e * rng.normal(size=(2, clean.size))
right = np.sqrt(s**2 / (s**2 + e**2))
print(f"formula {right:.2f}, with the truth {correlation(first, clean):.2f}, ", end="")
print(f"root of the reliability {np.sqrt(correlation(first, second)):.2f}")

# %% [markdown]
# Start with what you have: one response for all voxels, least squares. In NSD these are `betas_assumehrf`, or b1 for short.

# %%
assumed, r2 = single_trials(runs, canonical)
stages = {"b1: one response for all": assumed}
with_truth, between = quality(assumed)
print(f"with the truth {with_truth:.2f}, between repeats {between:.2f}")

# %% [markdown]
# That is poor. Three things are wrong with it, and each has a remedy.
#
# ## First remedy: a response of its own for each voxel
#
# Haemodynamic responses differ: between people, between regions, and between voxels with and without a vein {cite}`handwerker2012continuing`. What does a wrong one cost? Suppose that the data comes from a design $X_\text{true}$, and you fit $X_\text{assumed}$ (both cleaned of drift). Without noise the estimate is
#
# $$
# \hat b = X_\text{assumed}^{+}\, X_\text{true}\, b ,
# $$ (betas-mismatch)
#
# with $X^{+} = (X^\top X)^{-1} X^\top$. Row $i$ of this matrix says which trials beta $i$ is really made of. With the right response it is the identity.

# %%
mixing = {}
for h in (0, 10, 19):
    true_design = without(P, design(empty, LIBRARY[h]))
    mixing[h] = np.linalg.pinv(MX) @ true_design
    quiet = Run(500 + 5 * design(empty, LIBRARY[h]) @ b[:, None], onsets, pictures, TR)
    found = least_squares(clean_designs([quiet], canonical), clean_data([quiet]))
    print(
        f"response {h:2}: formula holds {np.allclose(found[:, 0], mixing[h] @ (5 * b))}", end=", "
    )
    print(f"correlation with the truth {correlation(found[:, 0], b):.2f}")
own = np.linalg.pinv(MX) @ MX
print("the right response gives the identity:", np.allclose(own, np.eye(63)))

# %% mystnb={"image": {"alt": "Left, twenty response curves from an early narrow one with a deep dip to a late wide one. Right, weights of the trials around trial 30 in its estimated beta for three true responses. For a middle and for the latest response it is about 0.9 at trial 30, with weights of either sign on trials 29 and 31. For the earliest response it is near zero at trial 30, minus 0.6 at trial 29 and 0.8 at trial 31."}, "figure": {"caption": "Left: the 20 responses of minisd's library, from early (dark) to late (light). Right: what the beta of trial 30 is made of when the usual response is assumed and the voxel's own is the earliest, a middle or the latest. A wrong response mixes in the neighbours, with both signs. With the earliest, the beta of a trial is made of the trials before and after it.", "name": "betas-mismatch-figure"}}
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.9))
seconds = np.arange(LIBRARY.shape[1]) * STEP
for shape, colour in zip(LIBRARY, plt.cm.viridis(np.linspace(0, 0.95, 20)), strict=True):
    left.plot(seconds, shape, color=colour, lw=1)
left.set(xlim=(0, 25), xlabel="seconds", title="library")
for (h, matrix), marker in zip(mixing.items(), "sov", strict=True):
    right.plot(
        np.arange(24, 37), matrix[30, 24:37], marker + "-", ms=4, lw=1.2, label=f"response {h}"
    )
right.set(xlabel="trial", title="weight in the beta of trial 30")
right.legend(fontsize=7)
plt.show()

# %% [markdown]
# NSD fits each voxel with each of 20 measured responses, and keeps the one that explains most of the variance {cite}`allen2022massive`. All have the same number of columns, so the best fit is a fair choice. `fit_hrf` does this, with a library over about the same range. The result is `betas_fithrf`, b2.

# %%
from minisd.nsd.glm import explained, fit_hrf

best, fitted, fitted_r2 = fit_hrf(runs, LIBRARY)
voxel = 4
each = []
for shape in LIBRARY:
    x, data = clean_designs(runs, shape), [d[:, [voxel]] for d in clean_data(runs)]
    each.append(explained(x, data, least_squares(x, data))[0])
print("the best of twenty:", int(np.argmax(each)) == best[voxel])
apart = np.abs(best - true_hrf)[responds]
print(f"within 3 of the true response: {100 * (apart <= 3).mean():.0f} % of those that respond")
lost = np.flatnonzero(responds)[apart.argmax()]
print(f"the worst: response {best[lost]} for {true_hrf[lost]}, ", end="")
moved = (LIBRARY[best[lost]].argmax() - LIBRARY[true_hrf[lost]].argmax()) * STEP
print(f"{moved:.1f} s too late")
stages["b2: own response"] = fitted
with_truth, between = quality(fitted)
print(f"with the truth {with_truth:.2f}, between repeats {between:.2f}")

# %% [markdown]
# One voxel went badly wrong: its response is the earliest, and it was given the latest. They are 3.4 seconds apart, nearly the four from one trial to the next. So what belongs to a trial was credited to the one before it, and the fit was hardly worse. In fast designs a response and its neighbour's can be mistaken for each other.
#
# ## Second remedy: noise regressors
#
# The shared courses are in every voxel. In voxels that do not respond to pictures there is nothing else, so their principal components show what the courses were. Put those beside the drift, and least squares takes them out. This is GLMdenoise {cite}`kay2013glmdenoise`.
#
# First find voxels that do not respond. Stage A fits *one* beta to all trials, and asks what share of the variance it explains, $R^2$. A low $R^2$ puts a voxel into the *noise pool*.

# %%
from minisd.nsd.denoise import noise_regressors
from minisd.nsd.glm import on_off

on_off_r2 = on_off(runs, canonical)[1]
THRESHOLD = 1.0
pool = on_off_r2 < THRESHOLD
print(f"in the pool: {100 * pool[~responds].mean():.0f} % of the voxels that do not respond,")
print(f"and {100 * pool[responds].mean():.0f} % of those that do")

regressors = noise_regressors(runs, pool, 8)
cleaned = clean_data(runs)[0][:, pool]
lengths = np.linalg.norm(cleaned, axis=0)
share = np.linalg.svd(cleaned / lengths, compute_uv=False) ** 2
print("orthonormal:", np.allclose(regressors[0].T @ regressors[0], np.eye(8)))
print("shares of the first six, %:", (100 * share / share.sum()).round(0)[:6])

# %% [markdown]
# Three stand out: there were three courses. How many should be used? Not as many as fit best. *Any* regressor makes a fit better, even pure chance:

# %%
x, data = clean_designs(runs, canonical), clean_data(runs)
chance = [rng.normal(size=(226, 30)) for _ in runs]
x_more, data_more = clean_designs(runs, canonical, chance), clean_data(runs, chance)
before = sum(((d - m @ np.linalg.lstsq(m, d)[0]) ** 2).sum() for m, d in zip(x, data, strict=True))
after = sum(
    ((d - m @ np.linalg.lstsq(m, d)[0]) ** 2).sum() for m, d in zip(x_more, data_more, strict=True)
)
print(f"30 columns of chance take away {100 * (1 - after / before):.0f} % of what was left over")
print("and the betas get worse:", end=" ")
worse = 100 * least_squares(x_more, data_more) / np.concatenate([r.bold for r in runs]).mean(axis=0)
print(f"{quality(assumed)[0]:.2f} to {quality(worse)[0]:.2f}")

# %% [markdown]
# So choose by prediction. Pictures repeat in other runs; good betas foretell their repeats. For each number $k$ of regressors take the betas $\hat b^{(k)}$, and compare with the plain ones of the other trials of the same picture:
#
# $$
# E_k = \sum_{(i, j)} \bigl( \hat b^{(k)}_i - \hat b^{(0)}_j \bigr)^2 ,
# $$ (betas-repeat-error)
#
# over all pairs of trials $i, j$ with the same picture in different runs, in units of the plain betas' variance. The target stays the same for all $k$, else betas of zero would win. The median of $E_k$ over the responding voxels decides. The smallest number whose gain comes within 5 % of the best gain is chosen.

# %%
from minisd.nsd.denoise import repeat_error

plain, shorter = rng.normal(size=(2, len(truth), 3))
by_hand = np.zeros(3)
for i, j in zip(one, other, strict=True):
    by_hand += (shorter[i] - plain[j]) ** 2
by_hand /= plain.var(axis=0, ddof=1)
print("formula:", np.allclose(repeat_error(shorter, plain, (one, other)), by_hand))

# %% [markdown]
# ## Third remedy: fractional ridge
#
# What is left is the collinearity. Least squares pays for a small misfit with large betas of opposite signs. *Ridge regression* asks for small betas as well {cite}`hoerl1970ridge`: it minimises $\lVert y - X b \rVert^2 + \alpha \lVert b \rVert^2$. Take the singular value decomposition $X = U S V^\top$, with singular values $s_k$. Along the direction $v_k$ (column $k$ of $V$), ridge shrinks the least-squares estimate by a factor:
#
# $$
# v_k^\top \hat b_\alpha = \frac{s_k^2}{s_k^2 + \alpha}\; v_k^\top \hat b_0 .
# $$ (betas-ridge)
#
# By {eq}`betas-covariance` the error along $v_k$ has the variance $\sigma^2 / s_k^2$. So the directions that are shrunk most are those that are known worst.

# %%
U, S, Vt = np.linalg.svd(MX, full_matrices=False)
plain = np.linalg.lstsq(MX, My)[0]
alpha = 2.0
direct = np.linalg.solve(MX.T @ MX + alpha * np.eye(63), MX.T @ My)
along = Vt.T @ (S**2 / (S**2 + alpha) * (Vt @ plain))
print("closed form and direct solution agree:", np.allclose(along, direct))
print("variance along each direction:", np.allclose(Vt @ covariance @ Vt.T, np.diag(1 / S**2)))
print(f"singular values from {S[0]:.1f} to {S[-1]:.1f}")
turns = [int((np.diff(np.sign(v)) != 0).sum()) for v in (Vt[-1], Vt[-2], Vt[-4])]
print(f"changes of sign along the worst, second and fourth worst: {turns}")

# %% [markdown]
# The directions that are known worst are those named above: slow waves that trials share with the drift, and betas that go up and down from one trial to the next.
#
# But what is a good $\alpha$? Its unit depends on the design and on the voxel. *Fractional* ridge {cite}`rokem2020fractional` says instead how long the betas shall be, as a fraction $\gamma$ of the least-squares ones:
#
# $$
# \frac{\lVert \hat b_\alpha \rVert}{\lVert \hat b_0 \rVert}
# = \sqrt{ \frac{\sum_k \left( \frac{s_k^2}{s_k^2 + \alpha} \right)^2 c_k^2}{\sum_k c_k^2} } = \gamma ,
# \qquad c_k = v_k^\top \hat b_0 .
# $$ (betas-fraction)
#
# The left side falls steadily from 1 to 0 as $\alpha$ grows, so each $\gamma$ has one $\alpha$. The fraction means the same for every voxel: 1 is least squares, 0.05 hardly anything is left.

# %%
from minisd.nsd.denoise import FRACTIONS, fractional_ridge

found, alphas = fractional_ridge([MX], [My[:, None]], FRACTIONS)
lengths = np.linalg.norm(found[:, :, 0], axis=1) / np.linalg.norm(plain)
print("as long as asked for:", np.allclose(lengths, FRACTIONS))
c = Vt @ plain
formula = np.sqrt(((S**2 / (S**2 + alphas)) ** 2 * c**2).sum(axis=1) / (c**2).sum())
print("formula:", np.allclose(formula, FRACTIONS))
for gamma in (0.9, 0.5, 0.1):
    print(f"fraction {gamma}: alpha {alphas[FRACTIONS.index(gamma), 0]:.2g}")

# %% [markdown]
# Each voxel gets the one of 20 fractions whose betas foretell their repeats best, by {eq}`betas-repeat-error`. Shrinking makes all betas too small, so a line fitted through them and the unshrunk ones brings back scale and mean; GLMsingle calls this *autoscale*. {numref}`betas-fraction-figure` below shows the choice for a voxel whose repeats agree and for one whose repeats do not.
#
# ## All four stages
#
# GLMsingle {cite}`prince2022improving` puts these together in a fixed order:
#
# | stage | what it does | in NSD's files |
# |---|---|---|
# | A | one beta for all trials: which voxels respond? | – |
# | – | a beta for each trial, one response for all | `betas_assumehrf` (b1) |
# | B | the best of 20 responses for each voxel | `betas_fithrf` (b2), `HRFindex` |
# | C | B with noise regressors from the pool | – |
# | D | C with fractional ridge | `betas_fithrf_GLMdenoise_RR` (b3), `FRACvalue` |
#
# The order matters. C needs A's pool, and B's responses, since a wrong response leaves signal behind that looks like noise. D comes last, since its fraction weighs what noise is left. C and D need pictures that repeat. `glm_single` runs them all. (`minisd`'s tests hold it against what GLMsingle itself found on such a simulated scan.)

# %%
from minisd.nsd.denoise import glm_single

fit = glm_single(runs, LIBRARY, canonical, threshold=THRESHOLD, regressors=8)
print("B is fit_hrf:", np.allclose(fit.fithrf, fitted))
print("noise regressors chosen:", fit.regressors)
print("errors, relative to none:", (fit.errors / fit.errors[0]).round(2).tolist())
stages["C: noise regressors"] = fit.denoised
stages["b3: fractional ridge"] = fit.final
for name, betas in stages.items():
    with_truth, between = quality(betas)
    rms = np.sqrt(np.mean((betas - truth)[:, responds] ** 2))
    print(f"{name:<25} truth {with_truth:.2f}  repeats {between:.2f}  error {rms:.1f} %")

# %% mystnb={"image": {"alt": "Two panels of bars for four stages. Left, correlation with the truth rises from stage to stage. Right, reliability between repeats rises likewise, and black marks, the square of the correlation with the truth, lie above the first bars and on the last."}, "figure": {"caption": "Simulated: what each stage gains. Left: correlation with the true betas. Right: reliability between repeats, which real data has too; dashes show the square of the correlation with the truth. In b1 the errors of a run move all its betas together, which the formula does not count with, and the bar stays below.", "name": "betas-gains"}}
names = [name.split(":")[0] for name in stages]
scores = np.array([quality(betas) for betas in stages.values()])
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.7), sharey=True)
left.bar(names, scores[:, 0], color="C0")
right.bar(names, scores[:, 1], color="C2")
squares = [
    (correlation(betas[:, responds], truth[:, responds]) ** 2).mean() for betas in stages.values()
]
right.plot(names, squares, "_", ms=30, color="black")
left.set(title="with the truth", ylabel="correlation", ylim=(0, 0.9))
right.set(title="between repeats")
plt.show()

# %% [markdown]
# Every stage gains, in the order in which they come. How much each gains depends on the data: on how far responses differ, how much noise is shared, how close trials are. In this simulation all three were put in. GLMsingle reports gains in reliability on NSD, BOLD5000 and a study of sounds {cite}`prince2022improving`.
#
# Gain voxel by voxel, and the ridge's choice:

# %% mystnb={"image": {"alt": "Left, a scatter of 60 voxels: correlation with the truth after all stages against that of the first estimate. All but one lie above the diagonal, most between 0.5 and 0.7; one stays at zero. Right, the repeat error over the fraction for two voxels, with a marked minimum: at 0.9 for a voxel whose repeats agree, at 0.05 for the voxel whose repeats do not."}, "figure": {"caption": "Simulated. Left: each responding voxel before (b1) and after (b3). The one at zero is the voxel with the mistaken response. Right: how badly the betas of two voxels foretell their repeats, over the fraction. The one whose repeats do not agree is shrunk to almost nothing.", "name": "betas-fraction-figure"}}
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3))
before = correlation(assumed[:, responds], truth[:, responds])
after = correlation(fit.final[:, responds], truth[:, responds])
left.plot(before, after, "o", ms=4)
left.plot([-0.2, 1], [-0.2, 1], color="grey", lw=1)
left.set(xlabel="b1, with the truth", ylabel="b3, with the truth", xlim=(-0.2, 1), ylim=(-0.2, 1))
noise = [n[:, : fit.regressors] for n in noise_regressors(runs, fit.pool, 8)]
signal_to_noise = np.where(responds, correlation(fit.denoised[one], fit.denoised[other]), np.nan)
for voxel, marker in (
    (int(np.nanargmax(signal_to_noise)), "o"),
    (int(np.nanargmin(signal_to_noise)), "s"),
):
    x = clean_designs(runs, LIBRARY[fit.hrf[voxel]], noise)
    d = [data[:, [voxel]] for data in clean_data(runs, noise)]
    tried, _ = fractional_ridge(x, d, FRACTIONS)
    errors = [repeat_error(betas, tried[0], (one, other))[0] for betas in tried]
    label = f"repeats correlate {signal_to_noise[voxel]:.2f}"
    right.plot(FRACTIONS, np.array(errors) / errors[0], marker + "-", ms=3, lw=1, label=label)
    lowest = int(np.argmin(errors))
    right.plot(FRACTIONS[lowest], errors[lowest] / errors[0], "*", ms=12, color="black")
right.set(xlabel="fraction", ylabel="error / that of least squares")
right.legend(fontsize=7)
plt.show()

# %% [markdown]
# ### What no user can undo
#
# Stages C and D choose their numbers by all repeats of a session, those of the pictures that later serve as the *test set* included. Nothing of a picture's content enters, and only a handful of numbers is chosen. Still, b3 has seen the test trials. b2 has not, but for the choice of the response. When you compare systems, compare them on the same version.
#
# ## "Temporally averaged"
#
# ```{admonition} A slip in the report
# :class: note
#
# Section 4 says that "each fMRI measurement is temporally averaged". That would be the mean over some volumes after the picture. NSD's numbers are none: they are betas of a linear model, one for each trial. What is averaged, later, are the betas of the up to three *repeats* of a picture ({ref}`errata <erratum-temporally-averaged>`).
# ```
#
# How much does the difference matter? Average the volumes from 4 to 8 seconds after each onset, in percent of the run's mean, and compare. Then average repeats: for independent errors of variance $\varepsilon^2$,
#
# $$
# \mathrm{Var}\Bigl[ \tfrac1n \sum_{m=1}^n \hat b_m - b \Bigr] = \frac{\varepsilon^2}{n} .
# $$ (betas-average)

# %%
windows = []
for run in runs:
    percent = 100 * (run.bold / run.bold.mean(axis=0) - 1)
    start = np.rint(run.onsets / TR).astype(int)
    windows.append(np.mean([percent[start + k] for k in (3, 4, 5, 6)], axis=0))
with_truth, between = quality(np.concatenate(windows))
print(f"mean of a window: with the truth {with_truth:.2f}, between repeats {between:.2f}")
with_truth, between = quality(fitted)
print(f"b2:               with the truth {with_truth:.2f}, between repeats {between:.2f}")

which = np.concatenate([run.pictures for run in runs])
order = np.argsort(which, kind="stable").reshape(-1, 3)  # three trials of each picture
errors = (fitted - truth)[:, responds]
for n in (1, 2, 3):
    variance = errors[order[:, :n]].mean(axis=1).var(axis=0).mean()
    print(
        f"{n} trials: error variance {variance / errors.var(axis=0).mean():.2f}, formula {1 / n:.2f}"
    )
averaged = fit.final[order].mean(axis=1)[:, responds]
print(f"b3, three averaged: {correlation(averaged, truth[order[:, 0]][:, responds]).mean():.2f}")

# %% [markdown]
# The window's mean mixes each trial with those before it, and still it is *better* than b1, which got the response wrong. Taking trials apart costs variance, and it pays when the model is right: b2 is better than the window, and b3 by far. Averaging repeats comes after, and takes down what error is left. It can do so
# for the errors that differ from repeat to repeat, and for no others.
#
# ## How betas are stored
#
# NSD writes a beta as a whole number of 16 bits: 300 times the percentage, rounded. On reading, divide by 300:
#
# $$
# q = \mathrm{round}(300\, b^{\%}), \qquad \lvert q / 300 - b^{\%} \rvert \le \tfrac{1}{600} \ \text{ while } \lvert b^{\%} \rvert \le 109.2 .
# $$ (betas-int16)
#
# Outside of that range a 16-bit number ends, and the value stays at the end.

# %%
from minisd.nsd.betas import SCALE


def store(percent):
    return np.clip(np.rint(SCALE * percent), -32768, 32767).astype(np.int16)


stored = store(fit.final)
print(
    "largest rounding error below 1 / 600:",
    bool(np.abs(stored / SCALE - fit.final).max() <= 1 / 600),
)
print(f"range: {-32768 / SCALE:.1f} to {32767 / SCALE:.1f} %")
print(f"stored values here: {stored.min()} to {stored.max()}")
print(f"150 % comes back as {store(np.array(150.0)) / SCALE:.1f} %")
loss = np.var(stored / SCALE - fit.final) / np.var((fit.final - truth)[:, responds])
print("rounding is a millionth of the error, or less:", bool(loss < 1e-6))

# %% [markdown]
# Forget the 300, and responses are of hundreds of percent. `minisd.nsd` divides for you; the file `meanbeta` beside them is the mean of the *undivided* numbers. {doc}`nsd_files` opens both.
#
# ## Exercises
#
# ```{exercise} What the blanks are for
# :label: betas-blanks
#
# Five of the 68 middle slots of a run are blank. Fill them all, with 68 trials. By {eq}`betas-covariance`, what happens to the error of a single beta? And to the error of the *mean* of all betas of a run? Explain.
# ```
#
# ```{solution-start} betas-blanks
# :class: dropdown
# ```
#
# The mean of all betas gets an error eight times as large. When a picture comes every four seconds, the sum of all columns is a plateau that the constant and the slow polynomials follow almost entirely, and only the quiet slots at both ends tell the level of the responses from the baseline. The error of a single beta contains that of the level, and nearly triples. Blanks give
# the fit a look at the baseline in between.

# %%
full = 4.0 * np.arange(3, 71)
for name, times in (("with blanks", onsets), ("without", full)):
    plan = Run(1 + np.eye(226)[:, :1], times, np.arange(times.size), TR)
    x = without(P, design(plan, canonical))
    c = np.linalg.inv(x.T @ x)
    single, mean = np.sqrt(c.diagonal().mean()), np.sqrt(c.mean())
    print(f"{name:<12} single {single:.2f} sigma, mean {mean:.3f} sigma")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} One against the rest
# :label: betas-separate
#
# Mumford et al. {cite}`mumford2012deconvolving` fit each trial in a model of its own with two columns: this trial, and the sum of all others. Do this for the responding voxels of the session, with the usual response for all. Is it better than least squares with all trials at once (b1)? Is it a remedy like ridge?
# ```
#
# ```{solution-start} betas-separate
# :class: dropdown
# ```
#
# It is: with both columns cleaned of drift, the trial's beta is a regression on what the sum of the others cannot explain. The others share one beta, so the neighbours cannot trade size against one another. Like ridge it accepts a bias, as part of what is a neighbour's goes to the trial, for much less variance. Unlike ridge it has nothing to be chosen by repeats.

# %%
separate = []
for x, d in zip(clean_designs(runs, canonical), clean_data(runs), strict=True):
    rest = x.sum(axis=1, keepdims=True) - x
    for column, others in zip(x.T, rest.T, strict=True):
        separate.append(np.linalg.lstsq(np.stack([column, others], axis=1), d)[0][0])
separate = 100 * np.array(separate) / np.concatenate([r.bold for r in runs]).mean(axis=0)
for name, betas in (("all at once", assumed), ("one by one", separate)):
    print(
        f"{name}: with the truth {quality(betas)[0]:.2f}, between repeats {quality(betas)[1]:.2f}"
    )

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A reliable mistake
# :label: betas-reliable
#
# Higher reliability is not always nearer to the truth. Add to all betas of a voxel a number that depends on the picture alone, but is no response, such as 3 % for every second picture. What do the two columns of `quality` say? What in a real scan could do this?
# ```
#
# ```{solution-start} betas-reliable
# :class: dropdown
# ```
#
# Reliability goes up, and the correlation with the truth goes down. Whatever repeats with the picture counts as signal: eye movements that a picture draws, or a head that moves when it is startling. Formula {eq}`betas-reliability` assumed that errors are independent.

# %%
mistaken = fit.final + 3 * (which % 2)[:, None]
for name, betas in (("b3", fit.final), ("with a mistake", mistaken)):
    print(
        f"{name}: with the truth {quality(betas)[0]:.2f}, between repeats {quality(betas)[1]:.2f}"
    )

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`allen2022massive` describe the three versions of NSD's betas. {cite:t}`prince2022improving` made the procedure into a toolbox, GLMsingle, and measured what it gains. {cite:t}`kay2013glmdenoise` introduced the noise pool, and {cite:t}`rokem2020fractional` the fractions. {cite:t}`mumford2012deconvolving` compared eight ways to estimate single trials when they come fast.
# {cite:t}`handwerker2012continuing` review how haemodynamic responses vary. MindDiffuser {cite}`lu2023minddiffuser` starts from b3.
#
# ## The way on
#
# A session of NSD is now a table: 750 trials, and a number for each voxel. Forty such tables, the masks that say which voxel is where, and the lists that say which picture was which, lie in folders. {doc}`nsd_files` opens them.
