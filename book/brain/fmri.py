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
# # What fMRI measures
#
# **You will be able to**
#
# - say what happens between a firing neuron and a brighter voxel, and what of it is measured;
# - read a real run: its header, its affine, its slices, and the time course of a voxel;
# - measure the noise of a voxel, and say what sets its floor;
# - write down the haemodynamic response, and say why seconds blur together;
# - count the neurons of a voxel, and compare fMRI with its neighbours.
#
# **Time** 45 minutes to read; the cells run in about 5 seconds.
#
# **Before this** none of the chapters; what a Gaussian is suffices.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part IV, The brain's side, at its first chapter, What fMRI measures."}, "figure": {"caption": "Where you are: the first chapter of Part IV.", "name": "fmri-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("fmri")
plt.show()

# %% [markdown]
# The rest of this book reads pictures out of brains. What it reads is a table of numbers, one for each picture and each place in the brain. This chapter and the next, {doc}`betas`, say where the numbers come from. Two short real scans come with the package nibabel;
# all else is simulated, and called so wherever it is shown.
#
# ## From a neuron to a number
#
# A scanner does not see neurons fire. It sees water, and blood changes how the water looks. The chain has five links:
#
# 1. Neurons at work use oxygen.
# 2. Within a second or two, small vessels nearby widen, and more fresh blood flows in than the oxygen used would need.
# 3. So the veins that leave the place carry *less* blood without oxygen than before.
# 4. Haemoglobin without oxygen is magnetic (paramagnetic), and with oxygen it is not. Less of it disturbs the magnetic field around the vessel less.
# 5. In an even field the signal of the water fades more slowly. The place looks brighter.
#
# Ogawa and colleagues saw this contrast in rats in 1990, and named it *BOLD*, for blood oxygenation level dependent {cite}`ogawa1990brain`. Two years later it showed human visual cortex at work {cite}`kwong1992dynamic,ogawa1992intrinsic`.
# In recordings from monkeys it follows the local field potential, which is mostly the input to a place and the work inside it, somewhat better than it follows the spikes, its output {cite}`logothetis2001neurophysiological`.
#
# Link 5 is a formula. After a pulse the signal fades, and it is read after the *echo time* $T_E$. With the rate $R_2^*$ at which it fades,
#
# $$
# S = S_0\, e^{-T_E R_2^*}, \qquad
# \frac{\Delta S}{S} = e^{-T_E\, \Delta R_2^*} - 1 \approx -T_E\, \Delta R_2^* .
# $$ (fmri-bold)
#
# So the *relative* change does not depend on how bright the voxel is. This is why responses are given in percent. The *absolute* change is largest at $T_E = 1 / R_2^*$: wait less, and the two states have not drifted apart; wait longer, and nothing is left to compare.
# The cell takes round numbers: an echo time of 25 ms, a rate of 35 a second, and activity that lowers it by 0.4.

# %%
import numpy as np

echo, rate, change = 0.025, 35.0, -0.4


def signal(echo, rate):
    return np.exp(-echo * rate)


exact = signal(echo, rate + change) / signal(echo, rate) - 1
print(f"exact {100 * exact:.2f} %, approximately {-100 * echo * change:.2f} %")

echoes = np.linspace(0.001, 0.1, 100_000)
contrast = signal(echoes, rate + change) - signal(echoes, rate)
best = echoes[contrast.argmax()]
print(f"best echo time {1000 * best:.1f}, 1 / rate {1000 / rate:.1f} thousandths of a second")

# %% [markdown]
# One percent. Large responses to pictures are a few percent, and most are smaller.
#
# ## The words
#
# | word | what it is | in the Natural Scenes Dataset (NSD) {cite}`allen2022massive` |
# |---|---|---|
# | voxel | a small box of brain with one number a volume | 1.8 mm a side, at 7 tesla |
# | volume | one picture of the whole brain, slice by slice | 699,192 voxels for subject 1 |
# | TR | repetition time: seconds from one volume to the next | 1.6 s; resampled to 4/3 s afterwards |
# | trial | one picture shown: 3 s on, 1 s off | 62 or 63 in a run, and blanks between them |
# | run | volumes taken without a pause | 5 minutes |
# | session | runs taken on one day, without leaving the scanner | 12 runs, 750 trials |
# | subject | one person | 8, with 30 to 40 sessions each |
#
# The pictures are taken by *echo-planar imaging* (EPI), which reads a whole slice after one pulse. The word *EPI run* means the numbers of one run. Multiply out what a subject of forty sessions has seen:

# %%
trials = 6 * (63 + 62)
print(f"{trials} trials a session, {40 * trials:,} in 40: {40 * trials // 3:,} pictures, 3 times")
print(f"30 sessions: {30 * trials:,} trials")
print(f"subject 1: {81 * 104 * 83:,} voxels a volume")
print(f"a run: {75 * 4} s of 75 slots, {300 / 1.6:.0f} volumes of 1.6 s")

# %% [markdown]
# ```{admonition} A slip in the report
# :class: note
#
# Section 4 says that "three repetitions of 10,000 images were shown to each of the 8 subjects" in "30–40 sessions". Both cannot be: that takes all 40 sessions, and four subjects did 40, numbers 1, 2, 5 and 7. The others saw fewer pictures three times {cite}`allen2022massive` ({ref}`errata <erratum-eight-subjects>`).
# ```
#
# ## One voxel, twenty volumes
#
# nibabel reads the usual file formats of brain imaging. It carries a small real run for its own tests, `functional.nii`. Find it by the package's path.

# %%
from pathlib import Path

import nibabel

data = Path(nibabel.__file__).parent / "tests" / "data"
scan = nibabel.load(data / "functional.nii")
run = scan.get_fdata()
TR = float(scan.header.get_zooms()[3])
print("shape:", run.shape)
print("voxel, mm:", [float(x) for x in scan.header.get_zooms()[:3]], " TR, s:", TR)
print("made by:", scan.header["descrip"].item().decode())

# %% [markdown]
# The first three axes are space, the last is time: 20 volumes, 40 seconds. The description says that it was *normalised*: moved and stretched onto an average brain, with voxels of 4 x 4 x 8 mm. Only a slab of three slices around the middle is kept.
# Nothing is known about what the person did, so there is no response to look for. There is noise to look at. Take one voxel, and then bring it to percent of its own mean,
#
# $$
# p_v(t) = 100 \left( \frac{y_v(t)}{\bar y_v} - 1 \right), \qquad
# \bar y_v = \frac1n \sum_t y_v(t) .
# $$ (fmri-percent)

# %%
mean = run.mean(axis=3)
percent = 100 * (run / mean[..., None] - 1)
print("zero on average:", bool(np.abs(percent.mean(axis=3)).max() < 1e-9))
twice = 100 * (2 * run / (2 * run).mean(axis=3, keepdims=True) - 1)
print("the scanner's unit does not matter:", np.allclose(percent, twice))

# %% mystnb={"image": {"alt": "Two panels over 40 seconds. Left, the raw signal of one voxel, about 3,850 with jumps of some tens. Right, three voxels in percent: two stay within two or three percent of zero, the third jumps by up to eighteen."}, "figure": {"caption": "A real run. Left: one voxel, in the scanner's units. Right: the same voxel and two others in percent. Voxels go up and down by about one percent from volume to volume. At bad places, here near the lower edge of the slab, it can be more than ten.", "name": "fmri-voxel"}}
seconds = TR * np.arange(run.shape[3])
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.5))
left.plot(seconds, run[12, 5, 1], "o-", ms=3)
left.axhline(mean[12, 5, 1], color="grey", lw=1)
left.set(xlabel="seconds", ylabel="signal", title="one voxel")
for voxel, marker in zip([(12, 5, 1), (4, 9, 2), (8, 1, 0)], "os^", strict=True):
    right.plot(seconds, percent[voxel], marker + "-", ms=3, lw=1.2, label=str(voxel))
right.set(xlabel="seconds", ylabel="percent of the mean", title="three voxels")
right.legend(fontsize=7, title="voxel", title_fontsize=7)
plt.show()

# %% [markdown]
# ### Temporal signal-to-noise ratio
#
# How good is a voxel? Divide its mean by its standard deviation over time:
#
# $$
# \mathrm{tSNR}_v = \frac{\bar y_v}{s_v}, \qquad s_v^2 = \frac{1}{n-1} \sum_t \bigl(y_v(t) - \bar y_v\bigr)^2 .
# $$ (fmri-tsnr)
#
# Its inverse is the size of the noise, as a share of the signal. At a tSNR of 100, a response of 1 % is as large as one standard deviation of a single volume.

# %%
tsnr = mean / run.std(axis=3, ddof=1)
print("100 / tSNR is the noise in percent:", np.allclose(100 / tsnr, percent.std(axis=3, ddof=1)))
low, middle, high = np.percentile(tsnr, [5, 50, 95])
print(f"5 % of the voxels are below {low:.0f}, half below {middle:.0f}, 5 % above {high:.0f}")

# %% mystnb={"image": {"alt": "Two rows of three small maps of 17 by 21 voxels, the slices of the slab. Upper row, the mean in grey, symmetric, with dark and bright patches. Lower row, the temporal signal-to-noise ratio: 100 to 150 in most places, and below 50 in patches along the middle and at the lower edge."}, "figure": {"caption": "The three slices of the run: mean signal (above) and tSNR (below). Most voxels are near 100. Bad ones lie together, along the middle line and at the lower edge, where fluid and vessels move with each heartbeat.", "name": "fmri-tsnr-map"}}
figure, panels = plt.subplots(2, 3, figsize=(6.4, 4.6))
for k, (above, below) in enumerate(panels.T):
    above.imshow(mean[:, :, k].T, origin="lower", cmap="gray")
    shown = below.imshow(tsnr[:, :, k].T, origin="lower", vmin=20, vmax=180)
    above.set_title(f"slice {k}")
    above.axis("off"), below.axis("off")
figure.colorbar(panels[0, 0].images[0], ax=panels[0], label="mean signal", shrink=0.8)
figure.colorbar(shown, ax=panels[1], label="tSNR", shrink=0.8)
plt.show()

# %% [markdown]
# ### Where the noise comes from
#
# Two kinds add up. *Thermal* noise, of the body and the coil, has the same size $\sigma_0$ everywhere. *Physiological* noise, of breath, heartbeat, small movements, and all the brain does besides looking at your pictures, grows with the signal: it is $\lambda S$ {cite}`kruger2001physiological`. Independent variances add:
#
# $$
# s^2 = \sigma_0^2 + \lambda^2 S^2
# \quad\Longrightarrow\quad
# \mathrm{tSNR} = \frac{S}{s} = \frac{\mathrm{SNR}_0}{\sqrt{1 + \lambda^2\, \mathrm{SNR}_0^2}}, \qquad \mathrm{SNR}_0 = \frac{S}{\sigma_0} .
# $$ (fmri-kruger)
#
# A stronger magnet or a larger voxel raises $\mathrm{SNR}_0$. But the tSNR never passes $1 / \lambda$. Triantafyllou et al. measured it at 1.5, 3 and 7 tesla: with voxels of 3 mm the strong magnet gained little, and with small ones much {cite}`triantafyllou2005comparison`.
# This is what the field of 7 tesla buys in NSD: small voxels, for which the thermal noise still counts.

# %%
rng = np.random.default_rng(0)
LAMBDA = 0.008


def limited(snr_0):
    return snr_0 / np.sqrt(1 + (LAMBDA * snr_0) ** 2)


for snr_0 in (30, 100, 1000):
    S = snr_0 * (1 + LAMBDA * rng.normal(size=200_000)) + rng.normal(size=200_000)
    measured = S.mean() / S.std()
    right = bool(abs(measured / limited(snr_0) - 1) < 0.02)
    print(f"SNR_0 {snr_0:4}: tSNR {limited(snr_0):5.1f}, as simulated: {right}")
print(f"the floor of the noise: tSNR {1 / LAMBDA:.0f}")

# %% [markdown]
# ### Drift
#
# Over minutes the signal of a scanner creeps up or down: the machine is not quite stable, the head sinks into its cushion, breath and blood change slowly {cite}`liu2016noise`. Are the 40 seconds of the real run long enough to see it? Fit a straight line to each voxel. A line takes a share of the variance of any $n$ numbers, even of independent ones; on average
#
# $$
# \mathbb E\, \frac{\text{variance along the line}}{\text{variance}} = \frac{1}{n - 1} ,
# $$ (fmri-line)
#
# since the line is one of the $n - 1$ directions that are left when the mean is gone.


# %%
def line_share(y):
    """Share of the variance over time (first axis) that a straight line takes."""
    t = np.linspace(-1, 1, len(y))
    y = y - y.mean(axis=0)
    return (t @ y) ** 2 / (t @ t) / (y**2).sum(axis=0)


n = run.shape[3]
chance = line_share(rng.normal(size=(n, 100_000))).mean()
print(f"formula {1 / (n - 1):.3f}, noise {chance:.3f}")
print(f"the real run {line_share(run.reshape(-1, n).T).mean():.3f}")

# %% [markdown]
# The line takes a little more in the real run than in independent noise: 40 seconds show hardly any drift. A run of five minutes is another matter. The next figure is simulated, with a drift and a tSNR of usual size, and no response.

# %% mystnb={"image": {"alt": "A simulated time course of 300 seconds in percent. The noisy signal climbs by about two percent and bends down again; a smooth curve, a cubic polynomial, follows it."}, "figure": {"caption": "Simulated: five minutes of a voxel without any response. The drift is larger than most responses. A cubic polynomial (line) follows it; the next chapter takes it out.", "name": "fmri-drift"}}
t = np.arange(226) * 4 / 3
u = t / 300
drifting = 4 * u - 2.5 * u**3 + rng.normal(scale=0.8, size=t.size)
figure, axes = plt.subplots(figsize=(6.4, 2.5))
axes.plot(t, drifting, ".", ms=4, color="grey", label="signal")
axes.plot(t, np.polyval(np.polyfit(u, drifting, 3), u), label="cubic polynomial")
axes.set(xlabel="seconds", ylabel="percent")
axes.legend()
plt.show()

# %% [markdown]
# ## A whole head
#
# The other file, `example4d.nii.gz`, has two volumes of a head, in voxels as small as NSD's. First its header.

# %%
head = nibabel.load(data / "example4d.nii.gz")
zooms = [float(f"{z:.3g}") for z in head.header.get_zooms()]
print("shape:", head.shape, " stored as", head.get_data_dtype())
print("voxel, mm, and TR:", zooms)
print("units:", head.header.get_xyzt_units())

# %% [markdown]
# A TR of 2,000 seconds? The number was written in thousandths of a second, and the unit was set to seconds. Headers are filled in by people and programs, and nothing checks them. Compare each one with what you know of the scan before you trust it. NSD's files have a trap of the same kind, and {doc}`nsd_files` opens them one by one.
#
# ### Where a voxel is
#
# The array says nothing about left and right. The *affine* does: a matrix $M$ and an offset $o$ that take array indices to millimetres,
#
# $$
# \begin{pmatrix} x \\ y \\ z \end{pmatrix}
# = M \begin{pmatrix} i \\ j \\ k \end{pmatrix} + o ,
# $$ (fmri-affine)
#
# with $x$ to the person's right, $y$ to the front and $z$ up. Column $j$ of $M$ is one step along axis $j$, so its length is the edge of a voxel, and $|\det M|$ is the voxel's volume.

# %%
M, o = head.affine[:3, :3], head.affine[:3, 3]
index = np.array([40, 30, 12])
print(
    "nibabel agrees:", np.allclose(M @ index + o, nibabel.affines.apply_affine(head.affine, index))
)
edges = np.linalg.norm(M, axis=0)
print("edges, mm:", [float(f"{e:.3g}") for e in edges])
print(f"volume {abs(np.linalg.det(M)):.1f}, product of the edges {edges.prod():.1f} cubic mm")
print("axes point to:", nibabel.aff2axcodes(head.affine))
tilt = np.degrees(np.arctan2(M[2, 1], M[1, 1]))
print(f"slices are tilted by {tilt:.0f} degrees")

# %% [markdown]
# "L" says that the first index grows towards the person's left. Tools differ in what such letters mean: nibabel names the directions in which the indices grow, others the corner where they begin. NSD's volumes are called LPI, since the first voxel is left, posterior and inferior; to nibabel they are RAS. Mix these up and left becomes right, and no error is raised. The figure uses the affine to put "left" where it belongs.

# %% mystnb={"image": {"alt": "Three grey slices of a head: seen from above with the fluid spaces in the middle and the folded cortex at the rim, seen from the back, and seen from the side. The back and side views are low and wide, as the scan covers 53 millimetres of height."}, "figure": {"caption": "A real volume, cut three ways. The folded rim is cortex, the bright spaces are fluid. The scan covers 53 mm of height, in 24 slices. R and L are the person's.", "name": "fmri-cuts"}}
first = head.get_fdata()[..., 0]
i, j, k = 60, 44, 14
cuts = [
    (first[103:23:-1, :, k].T, edges[1] / edges[0], "from above"),
    (first[103:23:-1, j, :].T, edges[2] / edges[0], "from the back"),
    (first[i, :, :].T, edges[2] / edges[1], "from the side"),
]
figure, panels = plt.subplots(1, 3, figsize=(6.4, 3.1), width_ratios=[80, 80, 96])
for axes, (cut, aspect, title) in zip(panels, cuts, strict=True):
    axes.imshow(cut, origin="lower", cmap="gray", aspect=aspect, vmax=800)
    axes.set(title=title, xticks=[], yticks=[])
    axes.grid(False)
panels[0].set_xlabel("L            R")
panels[1].set_xlabel("L            R")
panels[2].set_xlabel("back         front")
plt.show()

# %% [markdown]
# Move through it. At the lowest slices the front is torn and dark: there is air behind the nose, and where air meets tissue the field is uneven, the signal fades before it is read, and {eq}`fmri-bold` has nothing left to change.

# %%
from minisd.widgets import slider


def draw_slice(k):
    k = int(k)
    figure, axes = plt.subplots(figsize=(3.4, 3.2))
    axes.imshow(first[103:23:-1, :, k].T, origin="lower", cmap="gray", vmax=800)
    axes.set(title=f"{k * edges[2]:.0f} mm above the lowest", xticks=[], yticks=[])
    axes.grid(False)
    return figure


slider(
    draw_slice,
    list(range(0, 24, 3)),
    label="slice",
    caption="Slices of a real head from low to high. The front is up, the person's left is on the left.",
    alt="Horizontal slice {} of a head in grey.".format,
    start=5,
)

# %% [markdown]
# ## The haemodynamic response
#
# Show a flash. What does a voxel of visual cortex do? For a second, nothing; then it rises, is highest after about five seconds, comes back after twelve, and dips below its baseline for ten more. This is the *haemodynamic response function* (HRF). No law of nature gives its shape. The usual choice is a difference of two
# gamma densities {cite}`friston1998event,glover1999deconvolution`:
#
# $$
# h(t) = g_6(t) - \tfrac16\, g_{16}(t), \qquad g_k(t) = \frac{t^{\,k-1} e^{-t}}{(k-1)!}, \quad t \ge 0 \text{ in seconds.}
# $$ (fmri-double-gamma)
#
# A gamma density has area 1 and is highest at $k - 1$. So $h$ has area $5/6$, rises to its peak at five seconds, and is lowest at about fifteen.

# %%
from math import factorial

from scipy.stats import gamma

from minisd.nsd.hrf import STEP, double_gamma, response

t = np.arange(0, 50, 0.01)


def g(k):
    return t ** (k - 1) * np.exp(-t) / factorial(k - 1)


h = g(6) - g(16) / 6
print("scipy's densities:", np.allclose(h, gamma.pdf(t, 6) - gamma.pdf(t, 16) / 6))
print("minisd's:", np.allclose(h, double_gamma(t)))
print(
    f"area {h.sum() * 0.01:.3f}, highest at {t[h.argmax()]:.1f} s, lowest at {t[h.argmin()]:.1f} s"
)

# %% [markdown]
# NSD's pictures stay for three seconds. If the system is *linear*, three seconds are many flashes one after another, and their responses add up:
#
# $$
# r(t) = \int_0^{d} h(t - u)\, du , \qquad d = 3 \text{ s} .
# $$ (fmri-long)
#
# `minisd` divides by the maximum, so that a response peaks at 1, and the size of a response in percent is the percentage at its peak.

# %%
flashes = np.zeros_like(t)
flashes[:300] = 1  # three seconds of hundredths
r = np.convolve(flashes, h)[: t.size]
r = r / r.max()
every = round(STEP / 0.01)
print("minisd's, within a hundredth:", bool(np.abs(r[::every] - response(3)[:-1]).max() < 0.01))
wide = t[r > 0.5]
print(f"highest at {t[r.argmax()]:.1f} s, above half from {wide[0]:.1f} to {wide[-1]:.1f} s")

# %% mystnb={"image": {"alt": "Two curves over 30 seconds. The response to a flash peaks at 5 seconds and dips below zero around 15. The response to three seconds is a little later and wider, with its peak at 6.6 seconds and a dip of one tenth. A grey bar marks the stimulus from 0 to 3 seconds."}, "figure": {"caption": "The response to a flash, and to a picture of three seconds (grey bar). When the picture goes off, its response has reached a fifth of its peak.", "name": "fmri-hrf"}}
figure, axes = plt.subplots(figsize=(6.4, 2.7))
axes.axvspan(0, 3, color="#DDDDDD")
axes.plot(t, h / h.max(), "--", label="to a flash")
axes.plot(t, r, label="to three seconds")
axes.axhline(0, color="grey", lw=0.8)
axes.set(xlim=(0, 30), xlabel="seconds", ylabel="share of the peak")
axes.legend()
plt.show()

# %% [markdown]
# ### Responses add up
#
# Let picture $i$ begin at $t_i$ and have a response of size $b_i$. By linearity the signal is
#
# $$
# y(t) = \sum_i b_i\, r(t - t_i) .
# $$ (fmri-superposition)
#
# Boynton et al. tested this in V1: responses to long stimuli could be foretold from those to short ones {cite}`boynton1996linear`. It is not exact. When two flashes of a checkerboard follow each other within six seconds, the second adds less than the first, the less the closer they are {cite}`huettel2000evidence`. Most analyses, and all in this book, take it as true.
#
# The cell checks {eq}`fmri-superposition` against a convolution that knows nothing of single trials.

# %%
onsets, sizes = np.array([0.0, 4.0, 8.0, 16.0]), np.array([1.0, 2.0, 0.5, 1.5])
added = sum(b * np.interp(t - s, t, r, left=0) for b, s in zip(sizes, onsets, strict=True))
train = np.zeros_like(t)
train[np.rint(onsets / 0.01).astype(int)] = sizes
print("the same:", np.allclose(added, np.convolve(train, r)[: t.size], atol=1e-6))


# %% [markdown]
# Move the second picture away from the first. Both have a response of 1 %. When do you see two?


# %%
def draw_pair(gap):
    one, two = r, np.interp(t - gap, t, r, left=0)
    figure, axes = plt.subplots(figsize=(6.4, 2.6))
    axes.axvspan(0, 3, color="#DDDDDD")
    axes.axvspan(gap, gap + 3, color="#DDDDDD")
    axes.plot(t, one, "--", lw=1.2, label="first")
    axes.plot(t, two, ":", lw=1.6, label="second")
    axes.plot(t, one + two, color="black", label="measured")
    axes.set(xlim=(0, 40), ylim=(-0.4, 2.1), xlabel="seconds", ylabel="percent")
    axes.legend(loc="upper right")
    return figure


slider(
    draw_pair,
    [3, 4, 5, 6, 8, 10, 14, 20],
    label="seconds between onsets",
    caption="Two pictures (grey bars), their responses, and the sum, which alone is measured. At NSD's four seconds there is one hump. Two are told apart from about six on, and "
    "the second is not free of the first before twenty.",
    alt="Two responses with onsets {} seconds apart, and their sum.".format,
    start=1,
)

# %% [markdown]
# ### Why seconds blur together
#
# The sum in {eq}`fmri-superposition` is a convolution, and a convolution is a filter. How much of a rhythm in the brain comes through? Let activity go up and down $f$ times a second. The signal follows with the amplitude $|H(f)|$, where $H$ is the Fourier transform of $h$. For a gamma density it is known in closed form, so
#
# $$
# H(f) = \int_0^\infty h(t)\, e^{-2\pi i f t}\, dt = (1 + 2\pi i f)^{-6} - \tfrac16\, (1 + 2\pi i f)^{-16} .
# $$ (fmri-filter)


# %%
def H(f):
    return (1 + 2j * np.pi * f) ** -6.0 - (1 + 2j * np.pi * f) ** -16.0 / 6


frequencies = np.array([0.005, 0.02, 0.05, 0.125, 0.25])
integral = np.exp(-2j * np.pi * np.outer(frequencies, t)) @ h * 0.01
print("formula and integral agree:", bool(np.abs(integral - H(frequencies)).max() < 1e-6))
for period in (40, 16, 8, 4, 1):
    kept = abs(H(1 / period)) / abs(H(0))
    print(f"one cycle in {period:2} s: {100 * kept:.3g} % of a very slow one")

# %% mystnb={"image": {"alt": "Amplitude that comes through, on a logarithmic axis, over the period of a rhythm from 100 seconds to 1 second. It is about 1 down to 30 seconds, falls to a tenth near 6 seconds, and to two hundred-thousandths at 1 second."}, "figure": {"caption": "What the haemodynamic response lets through. A rhythm slower than half a minute passes; of one at NSD's rate of pictures, once in four seconds (dashed), three percent do; of one a second, two hundred-thousandths.", "name": "fmri-filter-figure"}}
periods = np.geomspace(100, 1, 300)
figure, axes = plt.subplots(figsize=(6.4, 2.7))
axes.loglog(periods, np.abs(H(1 / periods)) / abs(H(0)))
axes.axvline(4, color="grey", ls="--", lw=1)
axes.set(xlabel="seconds in a cycle", ylabel="share that comes through")
axes.set(xlim=(100, 1), xticks=[100, 30, 10, 4, 1], xticklabels=["100", "30", "10", "4", "1"])
plt.show()

# %% [markdown]
# A faster scanner does not help: the blood is the filter, not the camera. What is fast in the brain is gone. What is left is that each picture pulls the slow curve up by its own amount. The timing of pictures is known exactly, and the next chapter uses that to get the amounts back.
#
# ## How many neurons is a voxel?
#
# A box of 1.8 mm holds $1.8^3$ cubic millimetres. Logothetis counts 5.5 million neurons for a voxel of 55 cubic millimetres of cortex {cite}`logothetis2008what`. In human V1 Garcia-Marin et al. found 79,000 in a cubic millimetre {cite}`garciamarin2024neuronal`. With a density $\rho$ and edge $a$,
#
# $$
# N = \rho\, a^3 .
# $$ (fmri-neurons)

# %%
for name, density in (("Logothetis", 5.5e6 / 55), ("human V1", 79_000)):
    for edge in (3.0, 1.8, 0.8):
        print(f"{name}: {edge} mm holds {density * edge**3:,.0f} neurons")

# %% [markdown]
# Half a million neurons, if the voxel is all cortex. Cortex is about as thick as the voxel is wide, so many voxels are part cortex, part white matter or fluid. One number stands for all of them, every 1.6 seconds. That pictures can be read from such numbers at all is because neighbours in cortex do similar work, and there are many voxels.
#
# ### The blood is wider than the voxel
#
# Activity at a point lights up a patch, since blood leaves by veins that are shared. Shmuel et al. measured the width of this *point-spread function* at 7 tesla: 2.34 mm at half its height, and they estimate that in grey matter, without the larger vessels, it is below 2 mm {cite}`shmuel2007spatio`. Take a Gaussian of standard deviation $\sigma$. Its full width at half maximum, and the
# correlation that it gives two points at a distance $d$ whose neurons have nothing in common, are
#
# $$
# \mathrm{FWHM} = 2 \sqrt{2 \ln 2}\; \sigma , \qquad
# \mathrm{corr}(d) = e^{-d^2 / (4 \sigma^2)} .
# $$ (fmri-spread)
#
# The second is the Gaussian convolved with itself. The cell blurs white noise along a line, and looks at points one voxel of NSD apart.

# %%
fwhm, voxel, fine = 2.34, 1.8, 0.1  # mm
sigma = fwhm / (2 * np.sqrt(2 * np.log(2)))
x = np.arange(-6, 6 + fine, fine)
spread = np.exp(-(x**2) / (2 * sigma**2))
print(f"width at half height: {np.ptp(x[spread > 0.5]) + fine:.1f} mm")

neural = rng.normal(size=400_000)
blurred = np.convolve(neural, spread, "same")
step = round(voxel / fine)
measured = np.corrcoef(blurred[:-step], blurred[step:])[0, 1]
formula = np.exp(-(voxel**2) / (4 * sigma**2))
print(f"neighbours: formula {formula:.2f}, measured {measured:.2f}")

# %% mystnb={"image": {"alt": "Three square panels of 36 millimetres. Left, a fine random pattern of patches of about one millimetre. Middle, the same pattern blurred into soft blobs. Right, the blobs sampled in 20 by 20 coarse squares."}, "figure": {"caption": "Simulated: a pattern of neural activity (left), what the blood makes of it (middle), and what voxels of 1.8 mm see (right). Small patches are lost, larger ones stay.", "name": "fmri-spread-figure"}}
from scipy.ndimage import gaussian_filter

plane = np.random.default_rng(3).normal(size=(360, 360))
plane = gaussian_filter(plane, 0.5 / fine)  # patches of about a millimetre
blood = gaussian_filter(plane, sigma / fine)
voxels = blood.reshape(20, step, 20, step).mean(axis=(1, 3))
figure, panels = plt.subplots(1, 3, figsize=(6.4, 2.4))
for axes, picture, title in zip(
    panels, (plane, blood, voxels), ("neurons", "blood", "voxels"), strict=True
):
    axes.imshow(picture, cmap="gray")
    axes.set(title=title, xticks=[], yticks=[])
    axes.grid(False)
plt.show()

# %% [markdown]
# ## What fMRI is not
#
# ```{admonition} A slip in the report
# :class: note
#
# Section 2 calls fMRI "the least invasive and most informative technology available". *Invasive* means that something enters the body. Nothing does in fMRI, and nothing does in EEG or MEG: all three are non-invasive, and none of them is less so than the others.
# Which is the most informative depends on the question ({ref}`errata <slip-least-invasive>`).
# ```
#
# | | measures | sensors | in time | in space | reach |
# |---|---|---|---|---|---|
# | fMRI | oxygen in blood | none on the body | seconds | millimetres | the whole brain |
# | EEG | voltage of many neurons together | on the scalp | milliseconds | centimetres | mostly cortex |
# | MEG | their magnetic field | in a helmet | milliseconds | about a centimetre | mostly cortex |
# | ECoG, depth electrodes | voltage nearby | on or in the brain: **invasive** | milliseconds | millimetres | where the electrodes are |
#
# Electrodes in the brain give millimetres and milliseconds at once, in patients who have them for the sake of their treatment, and only at the places that the treatment needs {cite}`parvizi2018human`. EEG can be worn on a walk. MEG is fast: Benchetrit et al. decode pictures from it with the aim of doing it in real time, find mostly what a picture shows, and
# more of its low-level look when the same method reads fMRI at 7 tesla {cite}`benchetrit2024brain`. fMRI gives the best map of a whole healthy brain, and no moments.
#
# Nor is non-invasive the same as nothing. Metal in the body can forbid a scan, it is loud and narrow, the head must not move, and at 7 tesla a third of 101 people were dizzy as they were moved in, though 3 % called the whole unpleasant {cite}`versluis2013subject`. It is expensive, and the machine does not come to you. A person who does not want
# to be read moves their head.
#
# ## Exercises
#
# ```{exercise} The middle of the head
# :label: fmri-middle
#
# Which voxel of `example4d.nii.gz` is nearest to the point $x = y = z = 0$ of the scanner? Invert {eq}`fmri-affine`. Is it inside the scan?
# ```
#
# ```{solution-start} fmri-middle
# :class: dropdown
# ```
#
# The inverse is $M^{-1}(\text{point} - o)$, rounded. Inside means that each index is from 0 to the size of its axis less one.

# %%
nearest = np.rint(np.linalg.solve(M, -o)).astype(int)
inside = bool(np.all((nearest >= 0) & (nearest < head.shape[:3])))
print("voxel", nearest.tolist(), "inside:", inside)
print("its place, mm:", np.round(M @ nearest + o, 1).tolist())

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Two pictures or one
# :label: fmri-two-or-one
#
# Two pictures of one second each, one second apart from onset to onset, or a single one of two seconds: how different are the signals, at most, in percent of the peak? Compare with a tSNR of 100 and a response of 1 %. And how does the answer change if the second picture is not seen at once but two seconds later?
# ```
#
# ```{solution-start} fmri-two-or-one
# :class: dropdown
# ```
#
# The first two are the same to the last digit: by linearity two seconds *are* two times one second. The model cannot tell them apart, though a brain surely does. With a pause of two seconds the curves differ by a third of the peak at most: for a response of 1 % a third of a percent, in noise of 1 % a volume.


# %%
def shown(intervals):
    on = np.zeros_like(t)
    for start, stop in intervals:
        on[round(start / 0.01) : round(stop / 0.01)] = 1
    return np.convolve(on, h)[: t.size]


single = shown([(0, 2)])
for name, pair in (("at once", [(0, 1), (1, 2)]), ("later", [(0, 1), (3, 4)])):
    later = shown(pair)
    shift = max(np.corrcoef(np.roll(later, -s), single)[0, 1] for s in range(0, 300, 10))
    apart = np.abs(later - single).max() / single.max()
    print(f"{name}: differ by {100 * apart:.0f} %; correlation when shifted {shift:.2f}")

# %% [markdown]
# The difference of the later pair is mostly a shift. If responses of different voxels may begin at different times, as they do, even that difference says little.
#
# ```{solution-end}
# ```
#
# ```{exercise} Half the edge
# :label: fmri-half
#
# A voxel of 1.8 mm has $\mathrm{SNR}_0 = 100$, and $\lambda = 0.008$. Thermal SNR is proportional to volume. What is the tSNR at 0.9 mm, and after averaging the eight small voxels that fill the large one, if their physiological noise is independent? And if it is shared?
# ```
#
# ```{solution-start} fmri-half
# :class: dropdown
# ```
#
# The signal of a small voxel is an eighth, so $\mathrm{SNR}_0 = 12.5$, and {eq}`fmri-kruger` gives about as much. Averaging divides independent variances by 8 and leaves shared ones. With independent physiological noise the average of eight is $\sqrt 8$ times one small voxel, which is worse than the large voxel, since thermal noise of the scanner comes in with each. If it
# is shared it is a little worse still.

# %%
small = limited(100 / 8)
thermal, physiological = 1 / 12.5**2 / 8, LAMBDA**2
shared = 1 / np.sqrt(thermal + physiological)
print(f"large {limited(100):.0f}, small {small:.1f}")
print(f"eight small ones: {np.sqrt(8) * small:.1f} if independent, {shared:.1f} if shared")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`ogawa1990brain` found the contrast. {cite:t}`kwong1992dynamic` and {cite:t}`ogawa1992intrinsic` saw human visual cortex with it in the same year, and the second paper shows that the change shrinks with a shorter echo time, as {eq}`fmri-bold` has it. {cite:t}`logothetis2001neurophysiological` recorded neurons and BOLD at once; {cite:t}`logothetis2008what` says at length what can and cannot be concluded from fMRI.
# {cite:t}`boynton1996linear` tested linearity. {cite:t}`allen2022massive` describe NSD.
#
# ## The way on
#
# You have a signal in which the responses to hundreds of pictures lie on top of one another, under a drift and in noise as large as themselves. {doc}`betas` takes them apart.
