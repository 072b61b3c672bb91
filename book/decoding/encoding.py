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
# # From features to voxels and back
#
# **You will be able to**
#
# - tell an encoding model from a decoder, and say why the one is not the other turned round;
# - compute the best decoder from an encoding model, and check it;
# - show with two voxels why a decoder's weights are no map of the brain, and make a map from them;
# - say how well a voxel is predicted, as a share of what is possible;
# - let handcrafted and deep features compete for each voxel, and share the result out between them.
#
# **Time** 45 minutes to read; the cells run in about 25 seconds.
#
# **Before this** {doc}`../brain/noise_ceiling` and {doc}`../brain/preparing`. {doc}`ridge` explains the regression that is used here.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part V, From brain to picture, at its first chapter, Encoding."}, "figure": {"caption": "Where you are: the first chapter of Part V.", "name": "encoding-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("encoding")
plt.show()

# %% [markdown]
# A *feature* is a number that is computed from a picture: how much of it is red, how strong its vertical edges are, the seventeenth entry of a network's last layer. An *encoding model* predicts the response of a voxel from features of the picture. A *decoder* predicts a feature of the picture from the responses of voxels. This part of the book is about decoders. It begins with encoding models, since they are the ones that say something about the brain {cite}`naselaris2011encoding`.
#
# ## Two directions
#
# Take one feature $f$ and one voxel $x$. The voxel answers to the feature with the slope 1, and it has noise of its own.

# %%
import numpy as np

rng = np.random.default_rng(0)
f = rng.normal(size=400)
x = f + rng.normal(size=400)
f, x = f - f.mean(), x - x.mean()

# %% [markdown]
# Encoding regresses $x$ on $f$, decoding $f$ on $x$. Each divides the covariance by the variance of what it starts from:
#
# $$
# b_\text{enc} = \frac{\mathrm{cov}(f, x)}{\mathrm{var}(f)}, \qquad
# b_\text{dec} = \frac{\mathrm{cov}(f, x)}{\mathrm{var}(x)}, \qquad
# b_\text{enc}\, b_\text{dec} = r^2 .
# $$ (encoding-slopes)
#
# If one were the inverse of the other, the product would be 1. It is $r^2$, the squared correlation.

# %%
b_enc, b_dec = np.polyfit(f, x, 1)[0], np.polyfit(x, f, 1)[0]
r = np.corrcoef(f, x)[0, 1]
print(f"encoding {b_enc:.2f}, decoding {b_dec:.2f}, one over encoding {1 / b_enc:.2f}")
print("as in the formula:", np.allclose([b_enc, b_dec], (f @ x) / np.array([f @ f, x @ x])))
print("product is r squared:", np.allclose(b_enc * b_dec, r**2))

# %% mystnb={"image": {"alt": "A scatter of feature and response. The encoding line has the slope 1. The decoding line, drawn in the same axes, is much steeper: for each response it gives a feature nearer to 0."}, "figure": {"caption": "The same points, two lines. Encoding leaves the smallest error upright, decoding the smallest error sideways. From a response of 3 the decoder says 1.5, since half of a large response is luck.", "name": "encoding-two-lines"}}
figure, axes = plt.subplots(figsize=(4.6, 3.4))
axes.plot(f, x, ".", ms=3, color="#9AA5B1")
span = np.array([-3.5, 3.5])
axes.plot(span, b_enc * span, label="encoding: $x$ from $f$")
axes.plot(b_dec * span, span, label="decoding: $f$ from $x$")
axes.set(xlabel="feature $f$", ylabel="response $x$", xlim=(-4, 4), ylim=(-4, 4))
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# The report calls the second "the inverse task" ({ref}`errata <erratum-one-to-one>`). It is the opposite direction, and another problem: the encoder asks what the picture does to the voxel, the decoder what a response says of the picture. The second depends on which pictures there are, and on the noise. Change either, and the best decoder changes, while the voxel stays as it is.
#
# ### Many features, many voxels
#
# Now let a picture have features $f$, a row of $K$ numbers with the covariance $\Sigma_f$, and let $V$ voxels answer with $x = f B + e$. The noise $e$ has the covariance $\Sigma_e$, and voxels may share it. Column $v$ of the $K \times V$ matrix $B$ is what voxel $v$ answers to. The best linear decoder follows:
#
# $$
# W = \Sigma_x^{-1}\, \mathrm{cov}(x, f)
#   = (B^\top \Sigma_f B + \Sigma_e)^{-1} B^\top \Sigma_f .
# $$ (encoding-decoder)
#
# The first form is least squares. In the second, $\Sigma_x$ and the covariance are written out by the encoding model. All three of $B$, $\Sigma_f$ and $\Sigma_e$ are in it.

# %%
N, K, V = 200_000, 2, 3
Sigma_f = np.array([[1.0, 0.3], [0.3, 1.0]])
Sigma_e = np.array([[1.0, 0.6, 0.0], [0.6, 1.0, 0.0], [0.0, 0.0, 0.5]])
B = np.array([[1.0, 0.0, 0.7], [0.0, 0.0, 0.7]])  # [K, V]; the middle voxel answers to nothing
features = rng.multivariate_normal(np.zeros(K), Sigma_f, N)
voxels = features @ B + rng.multivariate_normal(np.zeros(V), Sigma_e, N)

W = np.linalg.solve(B.T @ Sigma_f @ B + Sigma_e, B.T @ Sigma_f)
W_fit = np.linalg.lstsq(voxels, features, rcond=None)[0]
B_fit = np.linalg.lstsq(features, voxels, rcond=None)[0]
print("decoder as in the formula:", np.allclose(W, W_fit, atol=0.02))
print("encoder finds B:", np.allclose(B, B_fit, atol=0.02))
print("decoder's weights for the first feature:", np.round(W[:, 0], 1).tolist())

# %% [markdown]
# Look at the weights. The middle voxel answers to nothing, and it has a weight of its own, with a minus. The decoder needs it.
#
# ### No one-to-one map
#
# The report says that for all of this to work, the features have to be "as close as possible to the activity in the visual cortex (allowing for a '1-to-1' mapping)". A linear model needs less ({ref}`errata <erratum-one-to-one>`). In an encoding model each voxel is a weighted *sum* of features. No feature has to look like any voxel, there may be fewer features than voxels or more, and a voxel may hear them all. What is needed is that the part of the response that repeats lies in the span of the features. Mix the features by any
# matrix $M$ that has an inverse, and least squares predicts the same:
#
# $$
# (F M)\, \bigl( M^{-1} B \bigr) = F B .
# $$ (encoding-remix)

# %%
M = np.array([[2.0, -1.0], [0.5, 3.0]])
mixed = features @ M
there = mixed @ np.linalg.lstsq(mixed, voxels, rcond=None)[0]
print("same predictions:", np.allclose(there, features @ B_fit))

# %% [markdown]
# ```{note}
# The report speaks of regression "regularised with Tikhonov". That is ridge regression under its other name, and the same as in {doc}`ridge`. And decoding needs something else than encoding does: not that voxels are sums of features, but that the *feature* is a sum of *voxels*, up to an error. A network's feature can be decoded well and yet be no part of what the brain computes.
# ```
#
# ## Why weights are no map
#
# Strip it down to two voxels. The first has the feature $s$ and a noise, the second has a noise alone. The noises have standard deviation 1 and the correlation $\rho$: a heartbeat that both feel.
#
# $$
# x_1 = s + e_1, \quad x_2 = e_2, \qquad w \propto \begin{pmatrix} 1 \\ -\rho \end{pmatrix} .
# $$ (encoding-cancel)
#
# The decoder subtracts from the first voxel what it can guess of its noise. The more they share, the larger the second weight. A picture of the weights would show two voxels that "represent" $s$. Only one does.
#
# Haufe and colleagues {cite}`haufe2014interpretation` turn the decoder into what it stands for. The *activation pattern* says how the voxels change when the decoded feature $\hat s = x w$ does:
#
# $$
# a = \frac{\Sigma_x w}{w^\top \Sigma_x w} = \frac{\mathrm{cov}(x, \hat s)}{\mathrm{var}(\hat s)} .
# $$ (encoding-pattern)
#
# With several features at once it is $A = \Sigma_x W \Sigma_{\hat s}^{-1}$.

# %%
rho = 0.8
Sigma_x = np.array([[2.0, rho], [rho, 1.0]])
w = np.linalg.solve(Sigma_x, [1.0, 0.0])  # cov(x, s) = (1, 0)
a = Sigma_x @ w / (w @ Sigma_x @ w)
print("weights in the ratio 1 to minus rho:", np.allclose(w[1] / w[0], -rho))
print("pattern of the second voxel is 0:", np.allclose(a[1], 0))

# the same from data, by minisd
from minisd.decoding.patterns import activation_patterns
from minisd.decoding.ridge import RidgeSettings, fit_ridge

s = rng.normal(size=1000)
e1 = rng.normal(size=1000)
e2 = rho * e1 + np.sqrt(1 - rho**2) * rng.normal(size=1000)
pair = np.stack([s + e1, e2], axis=1)
decoder = fit_ridge(pair, s[:, None], RidgeSettings(alphas=(1.0,)), progress=False)
print("weights", np.round(decoder.weights[:, 0].numpy(), 1).tolist())
pattern = activation_patterns(decoder, pair)[:, 0]
print(
    "pattern: the second is below a tenth of the first:", bool(abs(pattern[1] / pattern[0]) < 0.1)
)

# %% [markdown]
# Move the correlation. The weight of the silent voxel follows it. Its pattern does not move.

# %%
from minisd.widgets import slider


def draw_cancelling(rho):
    Sigma_x = np.array([[2.0, rho], [rho, 1.0]])
    w = np.linalg.solve(Sigma_x, [1.0, 0.0])
    a = Sigma_x @ w / (w @ Sigma_x @ w)
    figure, panels = plt.subplots(1, 2, figsize=(5.6, 2.5), sharey=True)
    for axes, values, title in zip(
        panels, (w / w[0], a / a[0]), ("weights", "pattern"), strict=True
    ):
        axes.bar([0, 1], values, color=["C0", "C1"], width=0.6)
        axes.axhline(0, color="black", lw=0.8)
        axes.set(title=title, ylim=(-1.1, 1.1), xticks=[0, 1])
        axes.set_xticklabels(["has the feature", "has noise"], fontsize=8)
    return figure


slider(
    draw_cancelling,
    [-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9],
    label="correlation of the noises",
    caption="A decoder of two voxels, the first scaled to 1. The voxel without the feature has a weight wherever the noises are correlated, and never a pattern.",
    alt="Bars of weights and of the pattern of two voxels at a noise correlation of {}.".format,
    start=5,
)

# %% [markdown]
# It also goes the other way: two voxels that both answer to the feature, with the same noise, share one weight between them, and each looks half as important as it is. So a weight says neither that a voxel has the feature nor how much. {doc}`what_the_brain_says` draws both on a brain, beside the truth.
#
# ## A subject
#
# The subject is **simulated**, the first of the book's four, in the layout of the Natural Scenes Dataset (NSD) {cite}`allen2022massive`. It saw drawn scenes. To keep the page short it is fitted on every second training picture.

# %%
import tempfile
from pathlib import Path

from minisd.decoding.responses import read_responses
from minisd.decoding.targets import Seen
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare

home = next(p for p in map(Path, (".", "../..")) if (p / "data/nsd").exists())
subject = Subject(home / "data/nsd", 1)
scratch = tempfile.TemporaryDirectory()
prepared = prepare(
    subject, Path(scratch.name) / "subj01", PrepareSettings(align=200), progress=False
)
train, test = (read_responses(subject, prepared, part) for part in ("train", "test"))
train = train[::2]
seen = {part: Seen(subject.pictures, getattr(prepared, part).nsd_id) for part in ("train", "test")}
seen["train"] = seen["train"][::2]
print(f"{len(train)} training pictures, {len(test)} test pictures, {train.betas.shape[1]} voxels")

# %% [markdown]
# ### Three spaces of features
#
# - **Gabor energy**, handcrafted: how much of a pattern of some orientation and width there is at each place of an 8 by 8 grid. Models of this kind predict early visual cortex, and with them {cite:t}`kay2008identifying` told which of many pictures a person was looking at. The filters are log-Gabor, which the simulation does not use.
# - **Scene**: what the picture shows, by the answers of the network that scores pictures in this book: thing, background, colour, place, size. The semantic models of {cite:t}`huth2012continuous` are of this kind, with labels by hand.
# - **CLIP**: the embedding that the miniature's CLIP has of the picture, learned from pictures and captions {cite}`radford2021learning`. This is a deep feature: nobody chose what it holds.

# %%
import torch

from minisd.checkpoints import load_clip
from minisd.decoding.gabor import GaborSettings, gabor_energy
from minisd.decoding.targets import image_embeddings
from minisd.metrics import Scorer

miniature = home / "data_samples/miniature"
settings, scorer = GaborSettings(), Scorer.from_pretrained(miniature / "scorer")
clip = load_clip(miniature / "clip")


def all_spaces(one):
    pictures = one.pictures(64)
    answers = scorer(pictures).values()
    return {
        "Gabor": torch.cat([gabor_energy(part, settings) for part in pictures.split(64)]),
        "scene": torch.cat([logits.softmax(1) for logits in answers], dim=1),
        "CLIP": torch.from_numpy(image_embeddings(clip, one, progress=False)),
    }


spaces = {part: all_spaces(one) for part, one in seen.items()}
print({name: tuple(values.shape) for name, values in spaces["train"].items()})

# %% [markdown]
# An encoding model is the ridge regression of {doc}`ridge` with the two sides changed: features in, voxels out, a penalty for each voxel. `fit_encoding` scales each feature by its mean and spread over the training pictures, and calls `fit_ridge`. Here is the same by hand.

# %%
from minisd.decoding.encoding import fit_encoding

plan = RidgeSettings(alphas=tuple(10.0 ** np.arange(-3, 3)), folds=4)
models = {
    name: fit_encoding({name: values}, train.betas, plan, progress=False)
    for name, values in spaces["train"].items()
}

F, F_test = (spaces[part]["CLIP"].double().numpy() for part in ("train", "test"))
mean, spread = F.mean(0), F.std(0) * np.sqrt(F.shape[1])
F, F_test = (F - mean) / spread, (F_test - mean) / spread
voxel = int(np.argmax(models["CLIP"].r2))
y, alpha = train.betas[:, voxel], float(models["CLIP"].alpha[voxel])
w = np.linalg.solve(F.T @ F + alpha * np.eye(F.shape[1]), F.T @ (y - y.mean()))
said = models["CLIP"].predict({"CLIP": spaces["test"]["CLIP"]})[:, voxel]
print("by hand:", np.allclose(F_test @ w + y.mean(), said, atol=1e-3))

# %% [markdown]
# ## As a share of what is possible
#
# Correlate predicted and measured responses over the test pictures, voxel by voxel. In a noisy voxel the correlation is small, whatever the model. The noise ceiling says how large it can be ({eq}`noise-ceiling-ceiling`): a perfect model explains the share $\mathtt{ncsnr}^2 / (\mathtt{ncsnr}^2 + 1/n)$ of the variance of a mean of $n$ trials, so its correlation is the root of that. Divide by it:
#
# $$
# \tilde r = \frac{r}{r_\text{max}}, \qquad
# r_\text{max} = \sqrt{\frac{\mathtt{ncsnr}^2}{\mathtt{ncsnr}^2 + 1/n}} .
# $$ (encoding-normalised)
#
# First where the truth is known. A model has the signal and as much nonsense again, so it should come to $\sqrt{1/2}$ in every voxel.

# %%
from minisd.decoding.encoding import accuracy

ratios = np.array([0.3, 0.6, 1.2])
signal = rng.normal(size=(100_000, 3)) * ratios
three = signal + rng.normal(size=signal.shape) / np.sqrt(3)
model = signal + rng.normal(size=signal.shape) * ratios
found = accuracy(model, three, ratios, averaged=3)
plain = [np.corrcoef(model[:, k], three[:, k])[0, 1] for k in range(3)]
print("correlation:", np.round(found.correlation, 2).tolist())
print("formula:", np.allclose(found.normalised, plain / np.sqrt(ratios**2 / (ratios**2 + 1 / 3))))
print("root of one half:", np.allclose(found.normalised, np.sqrt(0.5), atol=0.02))

# %% [markdown]
# Now the subject. The `ncsnr` is that of the training trials, and below a ceiling of 0.2 no ratio is given: there it would be one small number divided by another.

# %%
scores = {
    name: accuracy(
        model.predict({name: spaces["test"][name]}),
        test.betas,
        prepared.ncsnr,
        prepared.test.averaged,
    )
    for name, model in models.items()
}
streams = [name for name in train.regions if name != "all"]
print("median normalised accuracy")
print(f"{'':12}" + "".join(f"{name:>8}" for name in scores))
for region in streams:
    inside = train.regions[region]
    medians = [np.nanmedian(one.normalised[inside]) for one in scores.values()]
    print(f"{region:12}" + "".join(f"{m:8.2f}" for m in medians))

# %% mystnb={"image": {"alt": "Two scatters of voxels, the ceiling against the correlation reached, from 0 to 1. Left, early voxels: Gabor points lie just below the diagonal, CLIP points clearly lower. Right, ventral voxels: scene and Gabor points both lie well below the diagonal, the scene ones higher."}, "figure": {"caption": "Simulated: what each voxel could reach and what it reached, for test pictures. In early voxels Gabor energy comes near the ceiling. In ventral voxels no model does.", "name": "encoding-ceiling"}}
figure, panels = plt.subplots(1, 2, figsize=(6.4, 3.1), sharey=True)
for axes, region, pair in zip(
    panels, ("early", "ventral"), (("Gabor", "CLIP"), ("scene", "Gabor")), strict=True
):
    inside = np.flatnonzero(train.regions[region])[::2]
    axes.plot([0, 1], [0, 1], color="grey", lw=1)
    for name, colour in zip(pair, ("C0", "C1"), strict=True):
        one = scores[name]
        axes.plot(
            one.ceiling[inside], one.correlation[inside], ".", ms=2.5, color=colour, label=name
        )
    axes.set(title=region, xlabel="ceiling", xlim=(0, 1), ylim=(-0.2, 1))
    axes.legend(fontsize=8, markerscale=3)
panels[0].set_ylabel("correlation reached")
plt.show()

# %% [markdown]
# In early cortex the Gabor model reaches nearly nine tenths of what can be reached, and CLIP seven. In the ventral stream the scene and CLIP are ahead, and none gets beyond six tenths. We know why: the simulation was built so. Early voxels answer to Gabor energy (of other filters), ventral ones to the factors of the scene, and half of what they repeat is no named factor at all. In a real brain the same table would be a finding. Here it is a test that the method finds what was put in.

# %% mystnb={"image": {"alt": "Two rows of three slices through a simulated brain, from below to above. In the upper row, Gabor, the voxels at the back are bright and those further to the front dim. In the lower row, scene, the back is dimmer, and the voxels at the sides are brighter than in the upper row."}, "figure": {"caption": "Simulated: normalised accuracy on three slices, from low (left) to high, the back of the head at the bottom. Gabor energy predicts the back, what the scene shows predicts the rest better.", "name": "encoding-slices"}}
from minisd.nsd.files import read_map

anatomy = read_map(subject.root, subject.root.volume(1, "T1_to_func1pt8mm"))
figure, panels = plt.subplots(2, 3, figsize=(6.4, 4.2))
for row, name in zip(panels, ("Gabor", "scene"), strict=True):
    volume = prepared.volume(scores[name].normalised)
    for axes, z in zip(row, (7, 11, 15), strict=True):
        axes.imshow(anatomy[:, :, z].T, origin="lower", cmap="gray")
        handle = axes.imshow(volume[:, :, z].T, origin="lower", cmap="magma", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
    row[0].set_ylabel(name)
figure.colorbar(handle, ax=panels, shrink=0.7, label="normalised accuracy")
plt.show()

# %% [markdown]
# ## Handcrafted against deep
#
# Which features does a voxel follow? To compare two accuracies is a beginning. But pictures with a beach differ from pictures with a room in their edges, too, so the spaces overlap, and a voxel that follows the one is partly predicted by the other. Let them compete in one model.
#
# One penalty for all would be unfair: 1,216 numbers of one kind beside 128 of another. *Banded ridge* {cite}`nunezelizalde2019voxelwise` gives each space a penalty of its own, for each voxel:
#
# $$
# \min_{w_1, w_2} \Bigl\lVert y - \sum_s F_s w_s \Bigr\rVert^2 + \sum_s \frac{\alpha}{g_s} \lVert w_s \rVert^2 .
# $$ (encoding-banded)
#
# It takes no new solver. Scale the features of space $s$ by $\sqrt{g_s}$, and it is ridge regression with the penalty $\alpha$ {cite}`latour2022feature`. So one tries mixtures $g$, and keeps for each voxel the one that predicts best out of fold.

# %%
F1, F2, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 9)), rng.normal(size=50)
g, alpha = np.array([0.9, 0.1]), 5.0
both = np.concatenate([F1, F2], axis=1)
penalties = alpha / np.repeat(g, [4, 9])
direct = np.linalg.solve(both.T @ both + np.diag(penalties), both.T @ y)
roots = np.sqrt(np.repeat(g, [4, 9]))
scaled = both * roots
by_scaling = roots * np.linalg.solve(scaled.T @ scaled + alpha * np.eye(13), scaled.T @ y)
print("scaling does it:", np.allclose(direct, by_scaling))

# %%
from minisd.decoding.encoding import split_r2

mixtures = np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9], [0.99, 0.01], [0.01, 0.99]])
chosen = ("Gabor", "CLIP")
pair = {part: {name: one[name] for name in chosen} for part, one in spaces.items()}
banded = fit_encoding(pair["train"], train.betas, plan, mixtures, progress=False)
print("parts", tuple(banded.parts(pair["test"]).shape), "spaces, pictures, voxels")

# %% [markdown]
# The prediction is a sum of two parts, $\hat y = \hat y_1 + \hat y_2$. Its explained variance can be shared out among them so that the shares add up to it:
#
# $$
# R^2_s = \frac{\sum_i \hat y_{si}\, (2 y_i - \hat y_i)}{\sum_i y_i^2}, \qquad
# \sum_s R^2_s = 1 - \frac{\sum_i (y_i - \hat y_i)^2}{\sum_i y_i^2} ,
# $$ (encoding-split)
#
# with sums over pictures $i$, all taken less their means. A space that makes things worse has a negative share.

# %%
parts = banded.parts(pair["test"]).double().numpy()
shares = split_r2(parts, test.betas)
y = test.betas - test.betas.mean(0)
p = parts - parts.mean(1, keepdims=True)
whole = 1 - ((y - p.sum(0)) ** 2).sum(0) / (y**2).sum(0)
print("they add up:", np.allclose(shares.sum(0), whole, atol=1e-4))

told = whole > 0.05
ceiling = scores["Gabor"].ceiling
for region in streams:
    inside = train.regions[region] & told
    print(
        f"{region:12} of what is explained, Gabor has {np.median((shares[0] / whole)[inside]):.2f}"
    )

# %% mystnb={"image": {"alt": "Stacked bars for seven regions. Early has the tallest bar, nearly all of it Gabor, two thirds as high as its mark for the ceiling. In the three mid regions both shares are visible, and the bars reach about half of their marks. In ventral, lateral and parietal most is CLIP, and the bars reach about a third."}, "figure": {"caption": "Simulated: explained variance of test responses, shared between the two spaces, median over voxels; the black mark is the ceiling. Gabor energy has the early voxels, CLIP the ventral, lateral and parietal ones, and in between they share.", "name": "encoding-shares"}}
figure, axes = plt.subplots(figsize=(6.4, 3.0))
heights = np.array(
    [[np.median(shares[k][train.regions[name]]) for name in streams] for k in (0, 1)]
)
marks = [np.median(ceiling[train.regions[name]] ** 2) for name in streams]
place = np.arange(len(streams))
axes.bar(place, heights[0], label="Gabor")
axes.bar(place, heights[1], bottom=np.maximum(heights[0], 0), label="CLIP")
axes.plot(place, marks, "_", color="black", ms=22, label="ceiling")
axes.set(xticks=place, ylabel="share of the variance")
axes.set_xticklabels(streams, fontsize=8)
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# So is CLIP "in" the ventral stream? No. CLIP holds much of what a scene shows, and these voxels were made to answer to that. A space that predicts well has the information in a linear form, more of it than its rivals in the race, and nothing follows about who was not in the race.
#
# ## Exercises
#
# ```{exercise} The wrong way back
# :label: encoding-wrong-way
#
# Decode $f$ of the first section from $x$ in two ways: by $b_\text{dec}\, x$, and by turning the encoding model round, $x / b_\text{enc}$. Which has the smaller squared error, and which has the spread of $f$?
# ```
#
# ```{solution-start} encoding-wrong-way
# :class: dropdown
# ```
#
# The decoder has the smaller error: that is what least squares is. It is too timid, with a spread of $r$ times that of $f$. The inverted encoder is too bold, with $1/r$ times that spread. Neither has the spread of $f$ itself; {doc}`ridge` scales for that.

# %%
x = f + rng.normal(size=400)  # new responses to the same pictures
errors = {}
for name, said in (("decoder", b_dec * x), ("encoder inverted", x / b_enc)):
    errors[name] = np.mean((said - f) ** 2)
    print(f"{name:17} error {errors[name]:.1f}, spread {said.std() / f.std():.1f} of the feature's")
print("decoder is better:", errors["decoder"] < errors["encoder inverted"])

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Which picture was it?
# :label: encoding-identify
#
# An encoding model can decode, too. Predict the responses to all 200 test pictures with the Gabor model. For each measured pattern of responses find the prediction that it correlates with best, over the 200 voxels that were predicted best in training. How often is it the right picture?
# ```
#
# ```{solution-start} encoding-identify
# :class: dropdown
# ```
#
# Nine times in ten, where chance is 1 in 200. This is how {cite:t}`kay2008identifying` did it, and retrieval makes a system of it. No feature was decoded, and no picture drawn: it can name only what is in the gallery.

# %%
best = models["Gabor"].r2.topk(200).indices.numpy()
said = models["Gabor"].predict({"Gabor": spaces["test"]["Gabor"]}).numpy()[:, best]
rows = [one - one.mean(1, keepdims=True) for one in (test.betas[:, best], said)]
rows = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in rows]
named = (rows[0] @ rows[1].T).argmax(1)
print(f"right: {(named == np.arange(len(test))).mean():.1f} of the pictures")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Does remixing matter to ridge?
# :label: encoding-remix-ridge
#
# Least squares does not care which way the features are mixed ({eq}`encoding-remix`). Does ridge regression? Try an orthogonal $M$, a rotation, and one that stretches.
# ```
#
# ```{solution-start} encoding-remix-ridge
# :class: dropdown
# ```
#
# A rotation changes nothing: it keeps the length of the weights, which is all that the penalty sees. A stretch does: a feature that is made larger needs a smaller weight, and is punished less. This is what banded ridge uses. And it is why features are scaled before.

# %%
F, y = rng.normal(size=(40, 5)), rng.normal(size=40)


def ridge_says(F):
    return F @ np.linalg.solve(F.T @ F + 10 * np.eye(5), F.T @ y)


turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
stretch = np.diag([10.0, 1, 1, 1, 1])
print("rotated, the same:", np.allclose(ridge_says(F), ridge_says(F @ turn)))
print("stretched, the same:", np.allclose(ridge_says(F), ridge_says(F @ stretch)))

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`naselaris2011encoding` set encoding and decoding side by side, and argue that an encoding model with good features can be turned into a decoder but hardly the other way; {cite:t}`kriegeskorte2019interpreting` say what neither shows. {cite:t}`kay2008identifying` identified photographs by a Gabor model of early visual cortex. {cite:t}`huth2012continuous` mapped what a scene shows over the whole cortex. {cite:t}`guclu2015deep` predicted the ventral stream from layers of a deep network, early layers
# for early regions and late layers for late ones. {cite:t}`wang2023better` did so with CLIP on NSD, and found it ahead of a network trained on pictures with labels in high-level regions; {cite:t}`conwell2024large` compared 224 networks there, and found that very different ones predict nearly equally well, so that a good prediction singles out no network. {cite:t}`haufe2014interpretation` have the patterns, {cite:t}`weichwald2015causal` what may and may not be concluded from each direction. {cite:t}`nunezelizalde2019voxelwise` brought banded ridge, and {cite:t}`latour2022feature` made it fast and share the explained variance out. {cite:t}`schoppe2016measuring` compare ways to normalise by the noise.
#
# ## The way on
#
# From here on it goes from voxels to features. {doc}`ridge` makes the regression fit for tens of thousands of them.

# %%
scratch.cleanup()
