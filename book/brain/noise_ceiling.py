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
# # Repeats, noise and the noise ceiling
#
# **You will be able to**
#
# - say what three looks at the same picture tell of a voxel, and what they cannot;
# - compute NSD's `ncsnr` by hand, in three steps, and find the same numbers as in its files;
# - turn it into a noise ceiling for means of one, two or three trials, and of a mixture;
# - get the same ceiling from the correlation between repeats;
# - tell noise that averaging over voxels removes from noise that it does not;
# - choose voxels without a look at the test trials.
#
# **Time** 55 minutes to read; the cells run in about 20 seconds.
#
# **Before this** {doc}`nsd_files` and {doc}`regions`: trials, masks, `Subject`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part IV, The brain's side, at its fifth chapter, The noise ceiling."}, "figure": {"caption": "Where you are: the fifth chapter of Part IV.", "name": "noise-ceiling-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("noise_ceiling")
plt.show()

# %% [markdown]
# Show a person the same picture three times, and a voxel answers with three different numbers. A decoder can use what the three have in common. What differs is noise to it, wherever it comes from: the scanner, the heart, a wandering thought. This chapter measures how much is which.
#
# The brain is **simulated** again, as in {doc}`nsd_files`: one subject in the layout of the Natural Scenes Dataset (NSD) {cite}`allen2022massive`. It sees a thousand drawn scenes, each three times. For once this is more than a stand-in. Nobody knows how much noise is in a real voxel. Here it was put in, so each estimate can be held against the truth, which lies in the folder `simulation`.

# %%
import tempfile
from pathlib import Path

import numpy as np

from minisd.nsd import Subject
from minisd.nsd.simulate import SimulationSettings, SubjectSettings, simulate

settings = SimulationSettings(
    seed=6,
    subjects=(SubjectSettings(1, (24, 26, 22), sessions=4),),
    own=800,
    shared=200,
    sessions=4,
)
scratch = tempfile.TemporaryDirectory()
root = simulate(Path(scratch.name) / "NSD", settings, progress=False)
subject = Subject(root, 1)
trials = subject.trials
visual = subject.roi("nsdgeneral")
V1 = subject.roi("prf-visualrois", ["V1v", "V1d"])[visual]  # among these voxels
betas = np.concatenate([subject.betas(session, visual) for session in subject.sessions])
print(f"{len(trials)} trials, {betas.shape[1]} voxels, {V1.sum()} of them in V1")

# %% [markdown]
# ## What three repeats tell
#
# Sort the trials by picture. Each picture has three, and they can be days apart.

# %%
rows = np.argsort(trials.nsd_id, kind="stable").reshape(-1, 3)  # [pictures, repeats]
print("pictures and repeats:", rows.shape)
print("one picture a row:", bool((np.ptp(trials.nsd_id[rows], axis=1) == 0).all()))
print("in the order in which they were shown:", bool((np.diff(rows, axis=1) > 0).all()))
days = [len(set(sessions)) for sessions in trials.session[rows].tolist()]
print("pictures seen in 1, 2, 3 sessions:", np.bincount(days)[1:].tolist())

# %% [markdown]
# Write $y_{ir}$ for the beta of picture $i$ in its $r$-th trial. The model behind all of this chapter is a sum,
#
# $$
# y_{ir} = \mu + s_i + e_{ir} .
# $$ (noise-ceiling-model)
#
# The *signal* $s_i$ is the same whenever picture $i$ is shown. The *noise* $e_{ir}$ is drawn anew in each trial. Their variances are $\sigma_s^2$, over pictures, and $\sigma_e^2$, over trials. So "signal" is what repeats, no more and no less {cite}`kay2025disentangling`. If a picture makes the person blink each time, the blink is signal.
#
# Two trials of a picture share $s_i$ and nothing else. Their covariance is $\sigma_s^2$, and their correlation over pictures
#
# $$
# \rho = \mathrm{corr}(y_{i1}, y_{i2}) = \frac{\sigma_s^2}{\sigma_s^2 + \sigma_e^2} ,
# $$ (noise-ceiling-repeat)
#
# the share of a trial's variance that is signal.

# %%
rng = np.random.default_rng(0)


def correlation(a, b):
    """Of each column of a with that of b."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))


s, e = 0.7, rng.normal(size=(2, 200_000))
drawn = 5 + s * rng.normal(size=200_000) + e
rho = correlation(drawn[0], drawn[1])
print("as in the formula:", bool(abs(rho - s**2 / (s**2 + 1)) < 0.01))

pairs = [(0, 1), (0, 2), (1, 2)]
between = [correlation(betas[rows[:, i]], betas[rows[:, j]])[V1].mean() for i, j in pairs]
first = subject.betas(1, subject.roi("prf-visualrois", ["V1v", "V1d"]))
print("simulated V1, between repeats:", [f"{r:.2f}" for r in between])
print(f"mean of its betas {first.mean():.1f} %, standard deviation {first.std():.1f} %")

# %% [markdown]
# Two thirds of what a V1 voxel does in a trial is noise. In NSD this is what remains after all that {doc}`betas` does against it: in subject 1, V1's single trials correlate by about 0.30 between repeats, with a mean of 2.2 % and a standard deviation of 3.3 %. The simulation was set after these three numbers.
#
# ## NSD's number, step by step
#
# NSD gives the ratio of the two standard deviations for each voxel, $\sigma_s / \sigma_e$, and calls it *noise-ceiling signal-to-noise ratio*, `ncsnr` {cite}`allen2022massive`. It is made in three steps.
#
# **Step 1: make sessions alike.** From day to day the size of all responses changes: another position of the head, another cup of coffee. So each voxel is z-scored within each session $k$, over its trials,
#
# $$
# z_n = \frac{y_n - m_k}{d_k} ,
# $$ (noise-ceiling-z)
#
# with the mean $m_k$ and the unbiased standard deviation $d_k$ of that session. Now signal and noise together have the variance 1.

# %%
z = np.empty_like(betas)
for session in subject.sessions:
    mine = trials.session == session
    z[mine] = (betas[mine] - betas[mine].mean(axis=0)) / betas[mine].std(axis=0, ddof=1)
level = [betas[trials.session == session][:, V1].mean() for session in subject.sessions]
print("V1's mean by session, percent:", [f"{x:.1f}" for x in level])
print("variance 1 in each:", np.allclose(z[trials.session == 2].var(axis=0, ddof=1), 1, atol=1e-4))

# %% [markdown]
# **Step 2: what differs between repeats is noise.** Take the unbiased variance over the $R = 3$ trials of each picture, and average over the $P$ pictures:
#
# $$
# \hat\sigma_e^2 = \frac1P \sum_{i=1}^{P} \frac{1}{R-1} \sum_{r=1}^{R} (z_{ir} - \bar z_i)^2 .
# $$ (noise-ceiling-noise)
#
# One picture's variance, from three numbers, is worth little. The mean of a thousand is worth a lot. Mind the $R - 1$: dividing by 3 would call a third of the noise signal.

# %%
noise = z[rows].var(axis=1, ddof=1).mean(axis=0)
spelled = ((z[rows] - z[rows].mean(axis=1, keepdims=True)) ** 2).sum(axis=(0, 1)) / 2 / len(rows)
print("formula:", np.allclose(noise, spelled, rtol=1e-4))
known = rng.normal(scale=0.8, size=(20_000, 3))
print(f"true variance 0.64, estimated {known.var(axis=1, ddof=1).mean():.2f}")
print(f"with 3 in place of 2: {known.var(axis=1).mean():.2f}")

# %% [markdown]
# **Step 3: the rest is signal.** Variances add, and the whole is 1:
#
# $$
# \hat\sigma_s^2 = \max(1 - \hat\sigma_e^2,\ 0), \qquad
# \mathtt{ncsnr} = \frac{\hat\sigma_s}{\hat\sigma_e} .
# $$ (noise-ceiling-ncsnr)
#
# In a voxel without any signal, chance makes $\hat\sigma_e^2$ larger than 1 as often as smaller. A variance cannot be negative, so it is cut off at 0.

# %%
from minisd.nsd import ncsnr

found = np.sqrt(np.maximum(1 - noise, 0)) / np.sqrt(noise)
print("minisd:", np.allclose(found, ncsnr(betas, trials), atol=1e-3))
print("the file that lies with the betas:", np.allclose(found, subject.ncsnr(visual), atol=1e-3))
low, middle, high = np.percentile(found, [10, 50, 90])
print(f"a tenth of the voxels below {low:.2f}, half below {middle:.2f}, a tenth above {high:.2f}")

# %% [markdown]
# ## Does it find what was put in?
#
# The simulator gave each voxel its ratio before it drew a single trial.

# %%
truth = np.load(root.path / "simulation" / "subj01.npz")
volume = np.zeros(visual.shape)
volume[truth["brain"]] = truth["ncsnr"]
put_in = volume[visual]
slope, offset = np.polyfit(put_in, found, 1)
print(f"median absolute error {np.median(np.abs(found - put_in)):.3f}")
print(f"line: slope {slope:.2f}, offset {offset:.2f}")

# %% mystnb={"image": {"alt": "A scatter of 2,695 voxels: the ratio that was put in against the one that was found, both from 0 to 2. The points follow the diagonal within about 0.1, and lie a little above it at the lower left."}, "figure": {"caption": "Simulated: the ncsnr that was put into each voxel, and what NSD's three steps find. Below 0.5 the points lie a little too high.", "name": "noise-ceiling-recovered"}}
figure, axes = plt.subplots(figsize=(4.2, 3.6))
axes.plot([0, 2], [0, 2], color="grey", lw=1)
axes.plot(put_in, found, ".", ms=2.5)
axes.set(xlabel="put in", ylabel="found", xlim=(0, 2), ylim=(0, 2), aspect="equal")
plt.show()

# %% [markdown]
# The procedure works: a median error of 0.03 and a slope near 1. But good is not perfect, and the error has a direction. Weak voxels are called a little better than they are. Why? Look at pairs of repeats. Their product estimates the signal's share without any cutting off,
#
# $$
# \mathbb E[z_{ir}\, z_{ir'}] = \frac{\sigma_s^2}{\sigma_s^2 + \sigma_e^2} = \frac{\mathtt{ncsnr}^2}{\mathtt{ncsnr}^2 + 1} ,
# $$ (noise-ceiling-product)
#
# if the noise of the two trials has nothing in common. Take pairs from different sessions, and pairs from the same.

# %%
share = put_in**2 / (put_in**2 + 1)
two = np.concatenate([rows[:, pair] for pair in pairs])  # [pairs, 2]
together = trials.session[two[:, 0]] == trials.session[two[:, 1]]
soon = np.ptp(two, axis=1) < 20
for name, chosen in [
    ("different sessions", ~together),
    ("the same session", together),
    ("within 20 trials", soon),
]:
    product = (z[two[chosen, 0]] * z[two[chosen, 1]]).mean(axis=0)
    print(f"{name:<18} {chosen.sum():4} pairs: {(product - share).mean():+.3f}")

# %% [markdown]
# Repeats of one session share more than the picture. The simulator lets each voxel drift through a session, as real ones do. Half of NSD's repeats come soon after the last time ({numref}`nsd-files-plan`), when the drift is still where it was. What two trials share by the clock is counted as signal. The bias is two or three hundredths of the variance: small in a good voxel, and
# a quarter of the "signal" in a weak one. With your own data you can do the same check, as it needs no truth.
#
# ## The noise ceiling
#
# Suppose somebody builds a perfect model: for each picture it predicts $s_i$ exactly. How much of the variance of measured responses does it explain? If each response is the mean of $n$ trials, its noise has the variance $\sigma_e^2 / n$. So the model explains, in percent,
#
# $$
# \mathrm{NC}_n = 100\, \frac{\sigma_s^2}{\sigma_s^2 + \sigma_e^2 / n}
# = 100\, \frac{\mathtt{ncsnr}^2}{\mathtt{ncsnr}^2 + 1/n} .
# $$ (noise-ceiling-ceiling)
#
# This is the *noise ceiling*. No model gets above it, except by luck or by a leak. In the simulation the perfect model exists. It is the truth.

# %%
from minisd.nsd import noise_ceiling

# the truth has the responsive voxels of the brain, and the pictures in its own order
responsive = np.zeros(visual.shape, int)
inside = np.argwhere(truth["brain"])[truth["ncsnr"] > 0]
responsive[tuple(inside.T)] = np.arange(len(inside))
order = np.argsort(truth["pictures"])  # by 73k id, as in rows
perfect = truth["signal"][order][:, responsive[visual]].astype(np.float32)

repeats = z[rows]  # [pictures, 3, voxels]
for n in (1, 2, 3):
    explained = 100 * correlation(perfect, repeats[:, :n].mean(axis=1)) ** 2
    ceiling = 100 * put_in**2 / (put_in**2 + 1 / n)
    same = np.allclose(noise_ceiling(put_in, n), ceiling, rtol=1e-4)
    print(
        f"means of {n}: perfect model {np.median(explained):.0f} %, "
        f"ceiling {np.median(ceiling):.0f} %, minisd agrees: {same}"
    )

# %% [markdown]
# In the middle voxel a perfect model explains a fifth of what a single trial does. Averaging is worth a lot: with three trials it is two fifths. It never makes up for a voxel without signal.
#
# Averaging over repeats is what remains of the report's phrase that each measurement is "temporally averaged" ({ref}`errata <erratum-temporally-averaged>`). Time within a trial went into the beta long before. Averaged are trials of the same picture, from minutes or months apart.
#
# Move the slider from a bad voxel to a good one.

# %%
from minisd.widgets import slider

ranking = np.argsort(put_in)


def draw_voxel(percentile):
    voxel = ranking[min(int(percentile / 100 * len(ranking)), len(ranking) - 1)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 2.8))
    left.plot(repeats[:, 0, voxel], repeats[:, 1, voxel], ".", ms=2)
    left.set(xlabel="first trial", ylabel="second trial", title=f"ncsnr {put_in[voxel]:.2f}")
    right.plot(perfect[:, voxel], repeats[:, :, voxel].mean(axis=1), ".", ms=2, color="C1")
    right.set(xlabel="signal", ylabel="mean of three")
    right.set_title(f"ceiling {noise_ceiling(put_in[voxel], 3):.0f} %")
    for axes in (left, right):
        axes.set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), aspect="equal")
    return figure


slider(
    draw_voxel,
    [1, 10, 25, 50, 75, 90, 99],
    label="percentile",
    caption="Simulated: a voxel's first and second trial of each picture (left), and the true signal against the mean of three trials (right). How close the points on the right come to a line is what the ceiling says, before anybody has built a model.",
    alt="Two scatters of a thousand pictures for the voxel at percentile {}.".format,
    start=3,
)

# %% [markdown]
# ### Not all pictures have three
#
# Subjects who stopped early saw many pictures once or twice. Let $A$ pictures have one trial, $B$ two and $C$ three. The noise of the means then differs from picture to picture, and its mean variance is $\sigma_e^2$ times
#
# $$
# \frac1n \;\to\; \frac{A/1 + B/2 + C/3}{A + B + C} ,
# $$ (noise-ceiling-mixed)
#
# which takes the place of $1/n$ in {eq}`noise-ceiling-ceiling`. `noise_ceiling` takes the number of trials of each picture.

# %%
counts = rng.permutation(np.repeat([1, 2, 3], [300, 300, 400]))
mixed = np.stack([repeats[i, :n].mean(axis=0) for i, n in enumerate(counts)])
explained = 100 * correlation(perfect, mixed) ** 2
by_formula = (300 / 1 + 300 / 2 + 400 / 3) / 1000
ceiling = noise_ceiling(put_in, counts)
print("formula:", np.allclose(ceiling, 100 * put_in**2 / (put_in**2 + by_formula), rtol=1e-4))
print(f"perfect model {np.median(explained):.0f} %, ceiling {np.median(ceiling):.0f} %")
print(f"by the mean number of trials, {counts.mean():.1f}, it would be", end=" ")
print(f"{np.median(noise_ceiling(put_in, counts.mean())):.0f} %")

# %% [markdown]
# The mean of $1/n$ is not one over the mean of $n$. Whoever takes the second promises too much.
#
# ### Where is signal?

# %%
parts = {"V1": V1}
for name, labels in [("V2", ["V2v", "V2d"]), ("V3", ["V3v", "V3d"]), ("hV4", ["hV4"])]:
    parts[name] = subject.roi("prf-visualrois", labels)[visual]
for name in ("ventral", "lateral", "parietal"):
    parts[name] = subject.roi("streams", name)[visual]
for name, part in parts.items():
    one, three = (np.median(noise_ceiling(found[part], n)) for n in (1, 3))
    print(
        f"{name:<9} {part.sum():4} voxels: ncsnr {np.median(found[part]):.2f}, "
        f"ceiling {one:.0f} % of a trial, {three:.0f} % of three"
    )

# %% mystnb={"image": {"alt": "Left, three curves of the ceiling against ncsnr, rising from 0 and flattening, for one, two and three trials; at ncsnr 0.5 they are at 20, 33 and 43 percent. Right, histograms of the ceiling for three trials in V1, V2, ventral and parietal voxels: broad, V1 reaching highest."}, "figure": {"caption": "Left: the ceiling by ncsnr. Right: the ceilings of the simulated voxels for means of three trials. Regions differ, but voxels within a region differ more. The low end of V1 and V2 is voxels that look beyond the picture.", "name": "noise-ceiling-curves"}}
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.8))
ratio = np.linspace(0, 2, 101)
for n, style in zip((1, 2, 3), (":", "--", "-"), strict=True):
    left.plot(ratio, noise_ceiling(ratio, n), style, color="C0", label=f"{n}")
left.set(xlabel="ncsnr", ylabel="ceiling, percent")
left.legend(title="trials", fontsize=8)
for name, style in zip(("V1", "V2", "ventral", "parietal"), ("-", "--", "-.", ":"), strict=True):
    heights, edges = np.histogram(
        noise_ceiling(found[parts[name]], 3), bins=np.arange(0, 101, 8), density=True
    )
    right.plot(edges[:-1] + 4, heights, style, label=name)
right.set(xlabel="ceiling, percent", ylabel="density of voxels", xlim=(0, 100), ylim=(0, 0.036))
right.legend(fontsize=8, ncols=2, loc="upper center")
plt.show()

# %% [markdown]
# A ceiling is about variance, that is, about a squared correlation. The highest *correlation* of a perfect model with the measured means is $\sqrt{\mathrm{NC}_n / 100}$. Papers divide by one or by the other. Find out by which before you compare.
#
# ## Another way to the same number
#
# {eq}`noise-ceiling-repeat` gives the ceiling of a single trial directly: it is the correlation between two trials. For means of $n$ trials there is a formula from 1910, by Spearman and by Brown {cite}`spearman1910correlation,brown1910some`, who asked how much better a longer test is:
#
# $$
# \rho_n = \frac{n \rho}{1 + (n - 1) \rho} .
# $$ (noise-ceiling-spearman-brown)
#
# Put in $\rho = \mathtt{ncsnr}^2 / (\mathtt{ncsnr}^2 + 1)$ and you get {eq}`noise-ceiling-ceiling`. This is the *split-half* estimate: split the repeats, correlate the parts, and step up by the formula.

# %%
half = np.mean([correlation(repeats[:, i], repeats[:, j]) for i, j in pairs], axis=0)
stepped = 100 * 3 * half / (1 + 2 * half)
exact = ratio**2 / (ratio**2 + 1)
print(
    "formula:", np.allclose(3 * exact / (1 + 2 * exact), noise_ceiling(ratio, 3) / 100, atol=1e-6)
)
by_ncsnr = noise_ceiling(found, 3)
far = np.abs(stepped - by_ncsnr)
print(f"split-half and ncsnr: apart by {np.median(far):.1f} points in the middle voxel")
print(f"correlation over voxels {np.corrcoef(stepped, by_ncsnr)[0, 1]:.3f}")

longer = correlation(repeats[:, :2].mean(axis=1), repeats[:, 2])  # two against one
expected = half * np.sqrt(2 / (1 + half))
print(f"two against one: {longer.mean():.2f}, expected from the formula {expected.mean():.2f}")

# %% [markdown]
# The two estimates agree, since they look at the same variances. Neither sees more than the other: what all repeats share by the clock fools both. They part where repeats are few or sessions differ, and {cite:t}`lage2019methods` compare such estimates for fMRI.
#
# ## Noise that voxels share
#
# So far each voxel stood alone. A decoder reads thousands at once, and averaging over voxels removes noise as averaging over trials does. Or does it? Take $V$ voxels with the same signal, noise of variance $\sigma^2$ each, and a correlation $c$ between the noise of any two. Their mean has noise of the variance
#
# $$
# \mathrm{Var}\Bigl[\tfrac1V \sum_v e_v\Bigr] = \sigma^2 \Bigl( c + \frac{1 - c}{V} \Bigr) .
# $$ (noise-ceiling-shared)
#
# With $c = 0$ it goes to nothing. With any other $c$ it goes to $c\, \sigma^2$ and stays: past $1/c$ voxels, more of them hardly help. Zohary, Shadlen and Newsome counted this for neurons in 1994 {cite}`zohary1994correlated`.

# %%
c = 0.1
for V in (1, 10, 100, 1000):
    common = rng.normal(size=(20_000, 1))
    mean = np.sqrt(c) * common[:, 0] + np.sqrt((1 - c) / V) * rng.normal(size=20_000)
    print(f"{V:4} voxels: formula {c + (1 - c) / V:.2f}, simulated {mean.var():.2f}")
few = np.sqrt(c) * common + np.sqrt(1 - c) * rng.normal(size=(20_000, 10))
print(
    f"each of ten drawn: {few.mean(axis=1).var():.2f}, correlation {np.corrcoef(few.T)[0, 1]:.1f}"
)

# %% [markdown]
# But a decoder may give voxels weights of both signs. If noise moves all voxels up together, and the quantity that you want moves half of them up and half down, the noise cancels. So what counts is not how much noise is shared, but *along which direction* {cite}`moreno2014information`. Let a quantity $q$ of variance 1 enter the voxels with the weights $w$, and let $\Sigma$ be the noise's covariance. The best linear
# read-off has the ratio of signal to noise, in variances, and the correlation with $q$
#
# $$
# d^2 = w^\top \Sigma^{-1} w , \qquad r^2 = \frac{d^2}{1 + d^2} .
# $$ (noise-ceiling-readoff)
#
# Now let some of the noise look exactly like signal, $\Sigma = \sigma^2 I + a\, w w^\top$: as if, on top of the picture that is shown, a faint second picture were seen that nobody chose. Then
#
# $$
# d^2 = \frac{\lVert w \rVert^2}{\sigma^2 + a \lVert w \rVert^2} \;\le\; \frac1a , \qquad r^2 \le \frac{1}{1 + a} .
# $$ (noise-ceiling-cap)
#
# However many voxels you measure, $\lVert w \rVert$ grows and $d^2$ stays below $1/a$. If the noise is in any *other* direction, orthogonal to $w$, it costs nothing at all.

# %%
a, V = 1.5, 50
w, other = rng.normal(size=(2, V))
other -= w * (other @ w) / (w @ w)
other *= np.linalg.norm(w) / np.linalg.norm(other)


def readoff(direction):
    """The best r of q from voxels with noise along a direction: by the formula, and by regression."""
    covariance = np.eye(V) + a * np.outer(direction, direction)
    d2 = w @ np.linalg.solve(covariance, w)
    q = rng.normal(size=40_000)
    x = np.outer(q, w) + rng.normal(size=(q.size, V))
    x += np.sqrt(a) * np.outer(rng.normal(size=q.size), direction)
    fit = x @ np.linalg.lstsq(x, q)[0]
    return np.sqrt(d2 / (1 + d2)), np.corrcoef(fit, q)[0, 1]


for name, direction in (("along the signal", w), ("across it", other)):
    formula, regression = readoff(direction)
    print(f"noise {name}: r {formula:.2f}, by regression {regression:.2f}")
print(f"the cap: {np.sqrt(1 / (1 + a)):.2f}")

# %% [markdown]
# ### Taking the two apart
#
# Which directions does a brain's noise have? With repeats one can tell, by the same idea as for one voxel. What differs between repeats has the covariance $\Sigma_e$. The means over $R$ repeats vary with the signal's covariance and what is left of the noise's. Subtract:
#
# $$
# \hat\Sigma_s = \mathrm{Cov}[\bar z] - \frac1R\, \hat\Sigma_e .
# $$ (noise-ceiling-gsn)
#
# This is the heart of GSN, *generative modelling of signal and noise* {cite}`kay2025disentangling`; the published method adds shrinkage, and makes sure that $\hat\Sigma_s$ is a covariance.


# %%
def take_apart(responses):
    """Covariances of signal and of noise, from responses [pictures, repeats, voxels]."""
    P, R, _ = responses.shape
    means = responses.mean(axis=1)
    left = (responses - means[:, None]).reshape(P * R, -1)
    of_noise = left.T @ left / (P * (R - 1))
    return np.cov(means.T) - of_noise / R, of_noise


mixing = rng.normal(size=(2, 5, 5))  # a signal and a noise of known covariance
shown = rng.normal(size=(20_000, 1, 5)) @ mixing[0] + rng.normal(size=(20_000, 3, 5)) @ mixing[1]
for name, estimate, m in zip(("signal", "noise"), take_apart(shown), mixing, strict=True):
    error = np.abs(estimate - m.T @ m).max() / np.abs(m.T @ m).max()
    print(f"{name}: within 5 %: {bool(error < 0.05)}")

# %% [markdown]
# Now the simulated brain. Find the signal's directions (principal components) on one half of the pictures, and measure on the other half how much signal and how much noise lies along each. For comparison, shuffle the noise: give each voxel the noise of another trial than its neighbours. Each voxel by itself stays as noisy as it was.

# %%
some = rng.choice(repeats.shape[2], 400, replace=False)
left_half = rng.permutation(len(repeats)) < len(repeats) // 2
directions = np.linalg.eigh(take_apart(repeats[left_half][..., some])[0])[1][:, ::-1][:, :20]

gain = (perfect * repeats.mean(axis=1)).mean(axis=0) / (perfect**2).mean(axis=0)
signal = (gain * perfect)[:, None]
shuffled = (repeats - signal).reshape(-1, repeats.shape[2])
shuffled = signal + rng.permuted(shuffled, axis=0).reshape(repeats.shape)


def along(responses):
    """Variance of signal and of noise along each direction."""
    return [
        ((m @ directions) * directions).sum(axis=0)
        for m in take_apart(responses[~left_half][..., some])
    ]


spectra = {"as it is": along(repeats), "shuffled": along(shuffled)}
for name, (of_signal, of_noise) in spectra.items():
    times = (of_noise[:8] / of_signal[:8]).mean()
    print(f"noise {name}: {times:.1f} times the signal's variance, on average of 8 directions")

# %% mystnb={"image": {"alt": "Two panels against the number of the direction, 1 to 20, on a logarithmic axis of variance. Left, noise as it is: the noise's curve lies a little above the signal's and falls in parallel with it, from 21 to 2. Right, shuffled: the noise is flat at 0.7, and the signal lies up to twenty times above it."}, "figure": {"caption": "Simulated: variance of signal and noise along the signal's own directions. Left: the noise follows the signal, so there is no direction in which the signal stands out. Right: the same noise in each voxel, but independent between voxels. Now 400 voxels would do to read the first directions from a single trial.", "name": "noise-ceiling-spectra"}}
figure, panels = plt.subplots(1, 2, figsize=(6.4, 2.8), sharey=True)
for axes, (name, (of_signal, of_noise)) in zip(panels, spectra.items(), strict=True):
    axes.semilogy(range(1, 21), of_signal, "o-", ms=3, label="signal")
    axes.semilogy(range(1, 21), of_noise, "s--", ms=3, label="noise")
    axes.set(xlabel="direction of the signal", title=f"noise {name}", ylim=(0.3, 40))
panels[0].set_ylabel("variance")
panels[0].legend(fontsize=8)
plt.show()

# %% [markdown]
# The simulator was made so: along the signal's directions it puts in noise of 1.5 times the signal's variance, and each voxel's own comes on top. How this is in real brains, GSN can tell for each data set. With independent noise a simulated brain is far too good, as you will see now.
#
# ### What that does to decoding
#
# Take the quantity that varies most, the first principal component of the true signal. Read it off by ridge regression, trained on 800 pictures and tested on 200 others, from more and more voxels. By {eq}`noise-ceiling-cap` a single trial allows at most $1/\sqrt{1 + 1.5} = 0.63$, and the mean of three, whose noise has a third of the variance, $1/\sqrt{1 + 0.5} = 0.82$.

# %%
u = np.linalg.svd(perfect - perfect.mean(axis=0), full_matrices=False)[0]
wanted = np.sqrt(len(u)) * u[:, 0]
training = rng.permutation(len(wanted)) < 800


def decoded(responses, voxels, n):
    """Correlation on test pictures, from means of n trials; trained on single trials."""
    x = responses[training][..., voxels].reshape(-1, len(voxels))
    middle = x.mean(axis=0)
    x = x - middle
    target = np.repeat(wanted[training], 3)
    weights = np.linalg.solve(x.T @ x + 1000 * np.eye(len(voxels)), x.T @ target)
    test = responses[~training][:, :n].mean(axis=1)[:, voxels] - middle
    return np.corrcoef(test @ weights, wanted[~training])[0, 1]


sizes = [3, 10, 30, 100, 300, 1000]
usual = np.flatnonzero(found < 0.65)  # see below
result = {}
for name, responses in (("as it is", repeats), ("shuffled", shuffled)):
    for n in (1, 3):
        result[name, n] = [
            np.mean([decoded(responses, rng.choice(usual, size, replace=False), n) for _ in "abc"])
            for size in sizes
        ]
for (name, n), values in result.items():
    print(f"noise {name}, {n} trial(s): 100 voxels {values[3]:.2f}, 1000 voxels {values[5]:.2f}")

# %% mystnb={"image": {"alt": "Four curves of correlation against the number of voxels, 3 to 1000, on a logarithmic axis. With shuffled noise both curves go up to 0.98. With the noise as it is they flatten from 100 voxels on, near 0.6 for one trial and 0.75 for three, below two dashed lines at 0.63 and 0.82."}, "figure": {"caption": "Simulated: how well one quantity is read off, by number of voxels. Noise that voxels have each for themselves (orange) is averaged away. Noise along the signal (blue) is not: from 100 voxels on, more of them help little, and more trials much. Dashed: the caps of the formula.", "name": "noise-ceiling-decoded"}}
figure, axes = plt.subplots(figsize=(5.6, 3.2))
for (name, n), values in result.items():
    style = {"color": "C0" if name == "as it is" else "C1", "ls": "-" if n == 3 else ":"}
    axes.semilogx(sizes, values, "o", ms=4, **style, label=f"{name}, {n} trial{'s' * (n > 1)}")
for n in (1, 3):
    axes.axhline(1 / np.sqrt(1 + 1.5 / n), color="grey", ls="--", lw=1)
axes.set(xlabel="voxels", ylabel="correlation", ylim=(0, 1))
axes.legend(fontsize=7, title="noise", title_fontsize=7)
plt.show()

# %% [markdown]
# A ceiling for each voxel does not tell this. By {eq}`noise-ceiling-ceiling` all is the same in both cases: shuffling changes no voxel. Decoding depends on what voxels share.
#
# One caution about this figure. The voxels in it have an ncsnr below 0.65. In better ones the simulator keeps at least a tenth of the noise for the voxel alone, so there the noise is less than 1.5 times the signal, and a decoder that combines good and bad voxels gets past the caps. Exact proportion is a limiting case, in brains as well. {cite:t}`moreno2014information` argue that a small
# part of the noise, exactly along the signal, limits large populations of neurons, and that it is hard to see beside the rest.
#
# ## Whose trials?
#
# `ncsnr.nii.gz` is made from all trials. Those of the shared pictures, on which decoders are tested, are among them. So whoever keeps the voxels with an ncsnr above 0.2, say, has looked at test responses. Does it matter? Compute it from training trials alone.

# %%
own = ~trials.shared
training_only = ncsnr(betas[own], trials[own])
difference = training_only - found
print(f"{own.sum()} of {len(trials)} trials")
print(f"correlation over voxels {np.corrcoef(training_only, found)[0, 1]:.2f}")
print(f"apart by {np.median(np.abs(difference)):.3f} in the middle voxel")

# %% [markdown]
# For visual voxels it hardly matters. It does where there is little to find. Cortex outside of the visual regions has no signal in this simulation. Choose there the hundred voxels with the largest ncsnr, by all trials and by training trials, and ask whether repeats of the *test* pictures agree.

# %%
silent = np.zeros(visual.shape, bool)
silent[truth["brain"]] = truth["part"] == "cortex"
quiet = np.concatenate([subject.betas(session, silent) for session in subject.sessions])
shared_rows = rows[trials.shared[rows[:, 0]]]


def agreement(values):
    return np.mean(
        [correlation(values[shared_rows[:, i]], values[shared_rows[:, j]]) for i, j in pairs]
    )


for name, chosen in [("all", slice(None)), ("training", own)]:
    best = ncsnr(quiet[chosen], trials[chosen]).argsort()[-100:]
    print(f"chosen by {name} trials: test repeats correlate by {agreement(quiet[:, best]):.2f}")
print(f"all {quiet.shape[1]} voxels without signal: {agreement(quiet):.2f}")

# %% [markdown]
# Chosen by all trials, voxels without any signal look more reliable on the test pictures than they are, because that is what they were chosen for. Chosen by training trials they are like any others; what little agreement is left is the drift. So `minisd.nsd.prepare` estimates the ncsnr anew, from training trials, and the next chapter checks that it does.
#
# ## Exercises
#
# ```{exercise} Two repeats
# :label: noise-ceiling-two
#
# A subject stopped early and saw each picture twice: drop the third trial of every picture. Estimate the ncsnr from what is left, and compare it with what was put in. Is the estimate biased? How much wider is it off than with three?
# ```
#
# ```{solution-start} noise-ceiling-two
# :class: dropdown
# ```
#
# The estimate is as right on average, up to the drift that we know. It scatters more: each picture tells of the noise with $R - 1 = 1$ degree of freedom in place of 2. For voxels with an ncsnr of a half or more:

# %%
kept = np.sort(rows[:, :2].ravel())
by_two = ncsnr(betas[kept], trials[kept], repeats=2)
good = put_in > 0.5
for name, estimate in (("three", found), ("two", by_two)):
    off = (estimate - put_in)[good]
    print(f"{name:<5} repeats: mean error {off.mean():+.2f}, scatter {off.std():.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The usual test set
# :label: noise-ceiling-test-set
#
# With 37 sessions a subject of NSD has 982 of the shared pictures, in 2,770 test trials. That is two equations for $A$, $B$ and $C$. Between which bounds does the mean of $1/n$ lie? What does it mean for the ceiling of a voxel with an ncsnr of 0.5?
# ```
#
# ```{solution-start} noise-ceiling-test-set
# :class: dropdown
# ```
#
# $A + B + C = 982$ and $A + 2B + 3C = 2770$ leave one number free. Three times the first less the second: $2A + B = 176$, so $A$ is between 0 and 88. The ceiling hardly depends on it: 39 to 41 %, where three trials of each would give 43 %.

# %%
for A in (0, 88):
    B = 176 - 2 * A
    C = 982 - A - B
    counts = np.repeat([1, 2, 3], [A, B, C])
    print(A, B, C, "trials:", counts.sum(), end=" ")
    print(f"mean of 1/n {(1 / counts).mean():.3f}, ceiling {noise_ceiling(0.5, counts):.1f} %")
print(f"three of each: {noise_ceiling(0.5, 3):.1f} %")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Nothing, or little?
# :label: noise-ceiling-least
#
# How large an ncsnr comes out of voxels without any signal, by chance alone? Draw independent noise for 250, 1,000 and 4,000 pictures with three trials, and look at the 95th percentile. How does it fall with the number of pictures?
# ```
#
# ```{solution-start} noise-ceiling-least
# :class: dropdown
# ```
#
# In units of the noise, the signal's variance is estimated by a third of a difference: three times the variance of the pictures' means, less the variance within pictures. The first scatters by $\sqrt{2/P}$ about 1, the second by $\sqrt{1/P}$, so the estimate by $\sqrt{3/P} / 3 = 1/\sqrt{3P}$ about 0. Its 95th percentile is $1.64 / \sqrt{3P}$, and the ncsnr is near its root, $0.97\, P^{-1/4}$. It falls
# with the *fourth* root: four times the pictures for 0.7 of the threshold. With a thousand pictures an ncsnr below 0.2 can be nothing.

# %%
for P in (250, 1000, 4000):
    nothing = rng.normal(size=(P * 3, 1000))
    nothing = (nothing - nothing.mean(axis=0)) / nothing.std(axis=0, ddof=1)
    variance = nothing.reshape(P, 3, -1).var(axis=1, ddof=1).mean(axis=0)
    chance = np.sqrt(np.maximum(1 - variance, 0) / variance)
    print(f"{P:4} pictures: 95th percentile {np.percentile(chance, 95):.2f}", end=", ")
    print(f"expected {0.97 * P**-0.25:.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`allen2022massive` define the ncsnr and give maps of it. {cite:t}`lage2019methods` derive noise ceilings and compare ways to estimate them. {cite:t}`kay2025disentangling` model signal and noise over all voxels at once, and show that principal components of raw responses mix the two. {cite:t}`zohary1994correlated` found that weakly correlated neurons soon stop adding up, and
# {cite:t}`moreno2014information` which correlations are to blame. {cite:t}`prince2022improving` measure how much each step of GLMsingle gains in reliability.
#
# ## The way on
#
# You know what a voxel is worth, and that the answer must come from training trials. {doc}`preparing` makes a table for decoders out of all of this, and keeps the test trials out of it.

# %%
scratch.cleanup()
