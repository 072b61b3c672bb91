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
# # Measuring a reconstruction
#
# **You will be able to**
#
# - compute the field's measures, and say what each of them does not see;
# - explain why a blur wins the correlation of pixels, and a mean picture wins SSIM over a sharp one;
# - tell a two-way identification of 95 % from a picture that is right;
# - give an interval, and test whether one system beats another;
# - read a published table: which pictures, which betas, which direction, and who ran it.
#
# **Time** 45 minutes to read; the cells run in about 30 seconds.
#
# **Before this** {doc}`ridge`: decoded features, shrunk and rescaled.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part V, From brain to picture, at the chapter on measuring a reconstruction."}, "figure": {"caption": "Where you are: in Part V.", "name": "measuring-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("measuring")
plt.show()

# %% [markdown]
# A picture comes out of a brain, and beside it lies the picture that was seen. How good is it? Every paper answers with numbers. In this chapter you take the numbers apart: in one dimension, in two, on pictures that you spoil on purpose, and then on a simulated brain.
#
# ## Pixels
#
# *PixCorr* is Pearson's correlation over all $D$ pixels and colours of the reconstruction $\hat x$ and the truth $x$:
#
# $$
# r(\hat x, x) = \frac{\sum_{d} (\hat x_d - \bar{\hat x})(x_d - \bar x)}
# {\sqrt{\sum_d (\hat x_d - \bar{\hat x})^2} \sqrt{\sum_d (x_d - \bar x)^2}} .
# $$ (measuring-pixcorr)
#
# The bar is the mean over $d$. A brighter picture, or one of more contrast, has the same $r$.

# %%
import numpy as np
import torch

from minisd.metrics.reconstruction import pixel_correlation
from minisd.scenes import scene

one = torch.from_numpy(scene(3, 3).image / 127.5 - 1).permute(2, 0, 1)[None].float()
noisy = one + 0.5 * torch.randn(one.shape, generator=torch.Generator().manual_seed(0))
by_hand = np.corrcoef(noisy.flatten(), one.flatten())[0, 1]
print(f"formula: {np.allclose(by_hand, pixel_correlation(noisy, one))}")
print(f"of a paler picture: {pixel_correlation(0.3 * one + 0.2, one)[0]:.2f}")

# %% [markdown]
# ### Why a blur wins
#
# Now the toy. The world has one dimension, and in it stands a thing, four pixels wide. You know roughly where: its place is off by up to eight pixels. Two decoders report. The first draws the thing, sharp, where it believes it to be. The second draws the mean over all places that are possible.

# %%
rng = np.random.default_rng(0)
width, off = 64, 8


def thing(at):
    """A row of pixels with one thing in it."""
    return ((np.arange(width) >= at) & (np.arange(width) < at + 4)).astype(float)


blurred = np.mean([thing(30 + d) for d in range(-off, off + 1)], axis=0)
places = 30 + rng.integers(-off, off + 1, size=2000)
for name, guess in (("sharp", thing(30)), ("blurred", blurred)):
    r = np.mean([np.corrcoef(guess, thing(at))[0, 1] for at in places])
    print(f"{name:8} mean correlation {r:.2f}")

# %% [markdown]
# The blur wins by far, and it has drawn nothing that is there. To draw a mean is the best that a decoder can do for its squared error. Whoever is sharp risks to be wrong twice: something is where nothing should be, and nothing where something should. Correlation punishes the courage to say something.
#
# ## Structure
#
# *SSIM* {cite}`wang2004image` looks at the two pictures through a small window, and compares their means $\mu$, variances $\sigma^2$ and covariance there:
#
# $$
# \mathrm{SSIM}(\hat x, x) = \frac{(2 \mu_{\hat x} \mu_x + c_1)\,(2 \sigma_{\hat x x} + c_2)}
# {(\mu_{\hat x}^2 + \mu_x^2 + c_1)\,(\sigma_{\hat x}^2 + \sigma_x^2 + c_2)} .
# $$ (measuring-ssim)
#
# The window moves over the picture, and the mean of what it finds is the result. The field takes the grey picture in [0, 1], a Gaussian window of 1.5 pixels, and $c_1 = 0.01^2$, $c_2 = 0.03^2$. The two small numbers keep the fraction from 0/0.

# %%
from scipy.ndimage import gaussian_filter

from minisd.metrics.reconstruction import structural_similarity


def look(x):
    """What a Gaussian window sees."""
    return gaussian_filter(x, 1.5, truncate=3.5)


grey = torch.tensor([0.2125, 0.7154, 0.0721])
a, b = (((x[0].clamp(-1, 1) + 1) / 2 * grey[:, None, None]).sum(0).double() for x in (noisy, one))
a, b = a.numpy(), b.numpy()
ma, mb = look(a), look(b)
va, vb, vab = look(a * a) - ma**2, look(b * b) - mb**2, look(a * b) - ma * mb
c1, c2 = 0.01**2, 0.03**2
found = (2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
inside = found[5:-5, 5:-5].mean()  # where the window lies wholly in the picture
print(f"formula: {np.allclose(inside, structural_similarity(noisy, one)[0], atol=1e-5)}")

# %% [markdown]
# Read the second fraction. A window of sky is flat in both pictures, and $c_2 / c_2 = 1$: full marks. Take a window of grass, with the same mean in both. A reconstruction that leaves the grass out, as an even green, gets $c_2 / (\sigma_x^2 + c_2)$. One that draws grass, but other blades, has $\sigma_{\hat x x} = 0$ just as well, and a larger denominator: $c_2 / (2\sigma_x^2 + c_2)$. So it pays to draw no grass.

# %%
grass, other = 0.5 + 0.1 * rng.normal(size=(2, 1, 1, 64, 64))
grass, other = (torch.from_numpy(g).expand(1, 3, -1, -1) * 2 - 1 for g in (grass, other))
even = torch.zeros_like(grass)
print(f"other grass: {structural_similarity(other, grass)[0]:.2f}")
print(f"no grass:    {structural_similarity(even, grass)[0]:.2f}")

# %% [markdown]
# ## Identification
#
# Neither measure knows what a dog is. So the field lets a network look, and compares what it sees: a picture becomes a row of *features*. Then it asks: is the reconstruction more like its own truth than like another? With $s$ for the correlation of features, picture $i$ gets
#
# $$
# I_i = \frac{1}{N-1} \sum_{j \ne i} \bigl[\, s(x_i, \hat x_i) > s(x_i, \hat x_j) \,\bigr] ,
# $$ (measuring-two-way)
#
# the share of comparisons that it wins. $[\cdot]$ is 1 where the statement is true and 0 elsewhere. This is *two-way identification*. In {eq}`measuring-two-way` the *distractor*, the wrong candidate, is another reconstruction. Many papers exchange the truth instead: $s(x_i, \hat x_i) > s(x_j, \hat x_i)$. Chance is 1/2 in both.

# %%
from minisd.metrics.reconstruction import identification

g = torch.Generator().manual_seed(0)
seen = torch.randn(30, 20, generator=g)  # features of truths
made = seen + 2 * torch.randn(30, 20, generator=g)  # and of reconstructions
s = np.corrcoef(seen, made)[:30, 30:]  # [truths, reconstructions]
own = s.diagonal()
by_hand = {
    "reconstructions": (own[:, None] > s).sum(1) / 29,
    "truths": (own[None, :] > s).sum(0) / 29,
}
for distractor, wins in by_hand.items():
    same = np.allclose(wins, identification(made, seen, distractor))
    print(f"distractors are {distractor:15} formula: {same}")

nothing = [
    identification(*torch.randn(2, 100, 20, generator=g), distractor).mean()
    for distractor in by_hand
    for _ in range(200)
]
print(f"of reconstructions that know nothing: {np.mean(nothing):.2f}")

# %% [markdown]
# ### Two directions
#
# Do the two differ? Look at it in two dimensions. (Three features whose sum is 0 lie in a plane. There the correlation of two rows is the cosine of the angle between them.) Each reconstruction is its truth and some noise. Now add to all reconstructions the same arrow. A blur does so: all blurs are alike.

# %%
plane = torch.tensor([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]])
plane = plane / plane.norm(dim=1, keepdim=True)
seen = torch.randn(300, 2, generator=g)
noise = 0.5 * torch.randn(300, 2, generator=g)
both = {}
for shared in (0, 1, 2, 4):
    made = seen + noise + torch.tensor([float(shared), 0.0])
    both[shared] = made
    won = [identification(made @ plane, seen @ plane, d).mean() for d in by_hand]
    print(f"arrow of length {shared}: reconstructions {won[0]:.2f}, truths {won[1]:.2f}")

# %% mystnb={"image": {"alt": "Two plots of a plane with some truths as blue dots, each joined by a grey line to its reconstruction, an orange dot. On the left the orange dots lie near the blue ones, all around the centre. On the right all orange dots are moved to the right, and seen from the centre they lie in nearly the same direction."}, "figure": {"caption": "Truths (blue) and reconstructions (orange), as directions from the centre. With a shared arrow all reconstructions lie in about the same direction (right), and are nearest to the same few truths.", "name": "measuring-directions"}}
figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.0), sharex=True, sharey=True)
for panel, shared in zip(axes, (0, 4), strict=True):
    for x, y in zip(seen[:25], both[shared][:25], strict=True):
        panel.plot([x[0], y[0]], [x[1], y[1]], color="grey", lw=0.6)
    panel.plot(*seen[:25].T, "o", ms=4)
    panel.plot(*both[shared][:25].T, "o", ms=4, color="C4")
    panel.plot(0, 0, "k+", ms=9)
    panel.set(title=f"arrow of length {shared}", aspect="equal")
plt.show()

# %% [markdown]
# Hold a truth against all reconstructions: the arrow is in each of them, and nearly cancels. Hold a reconstruction against all truths: those that lie along the arrow are alike to every reconstruction, and win. So a system whose pictures are all of one kind looks better in the first direction than in the second. A table that does not name its direction is hard to compare with another.
#
# ### What 95 % hides
#
# Winning a share $I_i$ of $N - 1$ comparisons is the same as a *rank*: how many candidates come before the right one, and one more,
#
# $$
# \mathrm{rank}_i = N - (N - 1)\, I_i .
# $$ (measuring-rank)

# %%
rank = 1 + (s > own[:, None]).sum(1)
print(f"formula: {np.allclose(rank, 30 - 29 * by_hand['reconstructions'])}")
for N in (50, 200, 982):
    print(f"95 % of {N:3} pictures: rank {N - (N - 1) * 0.95:.0f} on average")

# %% [markdown]
# Of the 982 test pictures that NSD's studies share, 95 % leave some fifty candidates before the right one. And most wrong candidates are of another kind altogether. To know a beach from a street wins most comparisons, and it names no dog.
#
# *Top-1 retrieval* is stricter: the own truth has to be the first of a gallery. MindEye takes 300 pictures {cite}`scotti2023reconstructing`; the number depends on that choice, and chance is one over it.
#
# ## Spoil a picture
#
# Now pictures. Draw forty scenes with one thing in each, and spoil them in ways that you know. What it takes is ground truth: the world of scenes can be drawn again with one fact changed. Here they are; two of the ways need no drawing.

# %%
from dataclasses import replace

from minisd.scenes import (
    CATEGORIES,
    COLOURS,
    PLACES,
    SceneFactors,
    backgrounds_of,
    draw,
    scene_factors,
)

facts = [scene_factors(i, 3, two=0.0) for i in range(40)]


def drawn(scenes, seed=0):
    """Draw scenes, each from its own seed: [N, 3, 64, 64]."""
    made = [draw(f, np.random.default_rng([seed, i])).image for i, f in enumerate(scenes)]
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2) / 127.5 - 1


def change(factors, part, words):
    """Give one fact of the only thing another word that is possible."""
    thing = factors.things[0]
    for word in rng.permutation([w for w in words if w != getattr(thing, part)]).tolist():
        try:
            plain = {"accessory": "none"} if part == "category" else {}
            return replace(factors, things=(replace(thing, **{part: word}, **plain),))
        except ValueError:  # not at home in this background
            continue


def moved(factors):
    """Give another background."""
    home = [b for b in backgrounds_of(factors.things[0].category) if b != factors.background]
    return SceneFactors(str(rng.choice(home)), factors.things)


def blur(x, sigma):
    """A Gaussian, over rows and columns."""
    return torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, sigma, sigma)))


scenes = drawn(facts)
spoiled = {
    "as it was": scenes,
    "blurred": blur(scenes, 4),
    "shifted": torch.nn.functional.pad(scenes, (6, 0, 0, 0), mode="replicate")[..., :64],
    "drawn anew": drawn(facts, seed=1),
    "elsewhere": drawn([change(f, "place", PLACES) for f in facts]),
    "other colour": drawn([change(f, "colour", COLOURS) for f in facts]),
    "other thing": drawn([change(f, "category", CATEGORIES) for f in facts]),
    "other background": drawn([moved(f) for f in facts]),
}

# %% mystnb={"image": {"alt": "Eight pictures of the same scene: as it was, blurred, shifted by six pixels, drawn anew with other details, with the thing at another place, in another colour, with another thing in its place, and before another background."}, "figure": {"caption": "A scene, and seven ways to spoil it.", "name": "measuring-spoiled"}}
from minisd.plots import image_grid

image_grid(torch.stack([x[2] for x in spoiled.values()]), titles=list(spoiled), columns=4)
plt.show()

# %% [markdown]
# Who looks? Two networks. CLIP, which the decoders of the next chapters decode from and optimise. And the *judge*: the classifier of scenes that reads objects, colours and places off a picture. No system ever sees it, and that makes it a judge. A system that is measured by the network that it optimises grades its own paper.

# %%
from pathlib import Path

from minisd.checkpoints import load_clip
from minisd.metrics.extractors import of_clip
from minisd.metrics.reconstruction import feature_distance, retrieval, similarity
from minisd.metrics.scorer import Scorer

MINIATURE = next(
    p for p in (Path("data_samples/miniature"), Path("../../data_samples/miniature")) if p.exists()
)
network = load_clip(MINIATURE / "clip")
clip = of_clip(network)
judge = Scorer.from_pretrained(MINIATURE / "scorer")
NAMES = ("PixCorr", "SSIM", "2-way", "top-1", "CLIP", "distance")
FACTS = ("object", "colour", "size", "place", "background")


QUESTIONS = dict(zip(FACTS, ("category", "colour", "size", "place", "background"), strict=True))


@torch.no_grad()
def see(x):
    """What the judge makes of pictures: features, and its answers, in one pass. And CLIP's embeddings."""
    by_judge, labels = judge.features(x), judge.network.config.labels
    logits = judge.network.head(by_judge).split([len(words) for words in labels.values()], dim=1)
    answers = dict(zip(labels, (one.argmax(1) for one in logits), strict=True))
    return by_judge, answers, clip(x)


def measure(made, seen, of_truth):
    """A number for each picture, by each measure; NaN for facts of scenes with two things."""
    by_judge, answers, by_clip = see(made)
    features, true_answers, true_clip = of_truth
    alone = (true_answers["relation"] == 0).numpy()  # no relation: one thing
    right = {
        name: (answers[question] == true_answers[question]).numpy().astype(float)
        for name, question in QUESTIONS.items()
    }
    return {
        "PixCorr": pixel_correlation(made, seen),
        "SSIM": structural_similarity(made, seen),
        "2-way": identification(by_judge, features, "truths"),
        "top-1": retrieval(by_judge, features, gallery=40),
        "CLIP": similarity(by_clip, true_clip),
        "distance": feature_distance(by_judge, features),
        **{k: v if k == "background" else np.where(alone, v, np.nan) for k, v in right.items()},
    }


def row(name, found):
    """A line of a table."""
    print(f"{name:17}", *(f"{np.nanmean(found[k]):8.2f}" for k in (*NAMES, *FACTS)))


print(f"{'':17}", *(f"{k[:8]:>8}" for k in (*NAMES, *FACTS)))
of_scenes = see(scenes)
for name, made in spoiled.items():
    row(name, measure(made, scenes, of_scenes))

# %% [markdown]
# The last five columns say whether the judge reads the same off the picture as off the truth. *Distance* is one minus the correlation of the judge's features, so less is better. The gallery of top-1 has 40 pictures. (`minisd.metrics.recovered` reads these facts, too; here one pass of the judge gives both.)
#
# Go through the table.
#
# - **Drawn anew**: every fact is right, and so says the judge. SSIM and PixCorr put it far below the blur.
# - **Blurred**: of the objects one in four can still be read. Two-way identification hardly falls.
# - **Other colour**: for SSIM the nearest of all spoiled pictures. It compares in grey.
# - **Other thing**: no object is right, and two-way identification says 96 %. The background and the colour win the comparisons. Top-1 and CLIP notice.
# - **Other background**: PixCorr is at its lowest, and the judge's features hardly move, though its answer to the question is wrong each time. No network weighs all facts alike.
#
# So no column will do alone. What one is blind to, another sees.

# %%
from minisd.widgets import slider

SIGMAS = (0, 1, 2, 4, 8)
curves = [measure(blur(scenes, s), scenes, of_scenes) for s in SIGMAS]
shown_here = ("PixCorr", "SSIM", "2-way", "top-1", "CLIP", "object")
curves = {k: [one[k].mean() for one in curves] for k in shown_here}


def draw_blur(sigma):
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.7), width_ratios=(1, 1.9))
    left.imshow((blur(scenes[2:3], sigma)[0].permute(1, 2, 0).clamp(-1, 1) + 1) / 2)
    left.set(xticks=[], yticks=[])
    for name, curve in curves.items():
        right.plot(SIGMAS, curve, label=name)
    right.axvline(sigma, color="grey", lw=0.8)
    right.set(xlabel="blur, pixels", ylim=(0, 1.02))
    right.legend(ncols=2, fontsize=8, loc="lower left")
    return figure


slider(
    draw_blur,
    SIGMAS,
    label="blur",
    caption="Truths, more and more blurred. Which object it is gets lost long before two-way identification and PixCorr fall.",
    alt="A scene, blurred by {} pixels, and five measures as curves over the blur.".format,
    start=3,
)

# %% [markdown]
# ## A simulated brain
#
# Now reconstructions. The subject is **simulated**, as in {doc}`ridge`; a hundred of its test pictures are enough here. Its decoders come with the book, fitted to 1,850 training pictures by `minisd leaderboard`. Take that of the autoencoder's latent $z$, and show what it says: `Blur` of `minisd.decoding.baselines`. It knows of colours and layout, and no network was asked what could be in the picture. As decoded, it is rescaled to full spread; you also keep the shrunk one. For a sharp rival, decode CLIP's embedding and look up the picture with the most similar one, of 600 training pictures. And there are two baselines that need no brain at all: the mean of these pictures, and one of them drawn by chance.

# %%
import tempfile

from minisd.decoding.baselines import Blur, mean_picture, random_pictures
from minisd.decoding.responses import read_responses
from minisd.decoding.retrieval import Retrieval
from minisd.decoding.targets import Seen
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare
from minisd.pipeline import StableDiffusion

root = next(p for p in map(Path, ("data/nsd", "../../data/nsd")) if p.exists())
subject = Subject(root, 1)
scratch = tempfile.TemporaryDirectory()
prepared = prepare(
    subject, Path(scratch.name) / "subj01", PrepareSettings(align=200), progress=False
)
test, looked_at = read_responses(subject, prepared, "test")[:100], prepared.test.nsd_id[:100]
learned = Seen(subject.pictures, prepared.train.nsd_id)[:600]
truth = Seen(subject.pictures, looked_at).pictures(64)

DECODERS = MINIATURE.parent / "decoding" / "subj01" / "all"
system = Blur(StableDiffusion.from_pretrained(MINIATURE)).load(DECODERS)
decoder = system.decoders["z"]
shrunk = decoder.ridge.predict(test.betas, rescale=False).unflatten(1, decoder.shape)
lookup = Retrieval(network, learned, 64).load(DECODERS)
systems = {
    "mean picture": mean_picture(learned, 64, len(truth)),
    "random picture": random_pictures(learned, 64, len(truth)),
    "blur": system.reconstruct(test),
    "blur, shrunk": system.draw({"z": shrunk.float()}, []),
    "looked up": lookup.reconstruct(test, progress=False),
}

# %% mystnb={"image": {"alt": "Five rows of eight pictures. From above: scenes that were seen; blurs with the right colours and layout and no things that could be named; the same, paler; pictures from the training set that are sharp, often with the right background and sometimes with the right thing; and the mean picture, the same grey haze eight times."}, "figure": {"caption": "Simulated: seen (above), decoded blur, shrunk blur, looked up, and the mean of the training pictures.", "name": "measuring-systems"}}
rows = [truth, *(systems[k] for k in ("blur", "blur, shrunk", "looked up", "mean picture"))]
image_grid(torch.cat([x[:8] for x in rows]), columns=8)
plt.show()

# %%
of_truth = see(truth)
scores = {name: measure(x, truth, of_truth) for name, x in systems.items()}
print(f"{'':17}", *(f"{k[:8]:>8}" for k in (*NAMES, *FACTS)))
for name, found in scores.items():
    row(name, found)

# %% [markdown]
# The facts but for the background are of scenes that show one thing.
#
# - By SSIM, **a mean picture that is the same for all hundred** beats the pictures that were looked up. These are sharp, have the right background seven times in ten, and have nearly twice as many objects right as any other row.
# - By PixCorr and SSIM the winner is the shrunk blur. In one of five the object can be read.
# - By two-way identification the blur is as good as what was looked up.
# - Shrunk against rescaled: pixels and structure want the shrunk one, top-1 and CLIP the rescaled one. {doc}`ridge` asked which is better. It depends on what you ask for.
#
# So print the baselines beside every result, and read a number against them, not against 0. A similarity of CLIP's or an SSIM has no zero of its own: what a random training picture gets is the zero.
#
# ### How sure is a mean?
#
# There are 100 test pictures, and another 100 would give other means. An interval says how much. *Bootstrap*: draw 100 of the 100 values, with repeats, take their mean, and do so many times. The middle 95 % of these means is the interval. `interval` does that, with a correction for skewness {cite}`efron1987better`.

# %%
from minisd.metrics.statistics import interval, paired_test

values = scores["looked up"]["SSIM"]
means = rng.choice(values, size=(9999, len(values))).mean(axis=1)
plain, better = np.percentile(means, [2.5, 97.5]), interval(values)
print(f"by hand {plain[0]:.2f} to {plain[1]:.2f}, interval {better.low:.2f} to {better.high:.2f}")

# %% [markdown]
# Two systems see the same pictures, so compare them picture by picture. If there were no difference between systems A and B, their names could be exchanged on any picture, and nothing would change. Exchange them by chance, $R$ times, and count how often the mean difference $\Delta$ is as large as the one found:
#
# $$
# p = \frac{1 + \#\{\, r : |\Delta_r| \ge |\Delta| \,\}}{1 + R} .
# $$ (measuring-permutation)

# %%
a, b = scores["blur, shrunk"]["PixCorr"], scores["blur"]["PixCorr"]
signs = rng.choice([-1, 1], size=(9999, len(a)))
count = (np.abs((signs * (a - b)).mean(axis=1)) >= np.abs((a - b).mean())).sum()
p = (1 + count) / 10_000
for name, one in (("shrunk", a), ("rescaled", b)):
    found = interval(one)
    print(f"{name:9} {found.low:.2f} to {found.high:.2f}")
print(f"formula: p below .01: {p < 0.01}, paired_test as well: {paired_test(a, b) < 0.01}")

# %% [markdown]
# The intervals overlap, and yet the difference is sure. What makes the intervals wide is that some pictures are harder than others. In a paired test this cancels.
#
# ### Several samples
#
# A generative system draws another picture from each seed. Draw five, score each, and take the mean. Never keep the best of the five *by the truth*: whoever can do so has the truth already. What does it bring? A two-way score of something that knows nothing is spread evenly over 0 to 1, and the largest of $n$ such numbers is, on average,
#
# $$
# \mathbb E \max(u_1, \dots, u_n) = \frac{n}{n + 1} ,
# $$ (measuring-best)
#
# which is $5/6$ for $n = 5$. Try it on training pictures drawn by chance.

# %%
five = [judge.features(random_pictures(learned, 64, len(truth), seed)) for seed in range(5)]
won = np.stack([identification(one, of_truth[0]) for one in five])  # [samples, pictures]
print(f"mean of five:                {won.mean():.2f}")
print(f"best of five, by the truth:  {won.max(axis=0).mean():.2f}")
print(f"formula: {np.isclose(rng.random((5, 100_000)).max(axis=0).mean(), 5 / 6, atol=0.01)}")

# %% [markdown]
# From 0.5 to more than 0.8, out of nothing at all.
#
# ## Published figures
#
# Here are figures from the literature, so that you can read a table of that kind. **They are never comparable with those above**: other brains, other pictures, other networks. Simulated figures of this book stand in tables of their own. Nor are the two tables below comparable with each other.
#
# Both are on NSD, in betas of the version `betas_fithrf_GLMdenoise_RR` ({doc}`../brain/betas`). The first is Table 1 of {cite:t}`scotti2024mindeye2`, means over subjects 1, 2, 5 and 7. All 40 sessions: 9,000 pictures for training and 1,000 for the test. Identification is in percent, with truths as distractors. EffNet and SwAV are distances.
#
# | system | PixCorr | SSIM | AlexNet(2) | AlexNet(5) | Inception | CLIP | EffNet ↓ | SwAV ↓ | run by |
# |---|---|---|---|---|---|---|---|---|---|
# | MindEye2 | .322 | .431 | 96.1 | 98.6 | 95.4 | 93.0 | .619 | .344 | its authors |
# | MindEye1 {cite}`scotti2023reconstructing` | .319 | .360 | 92.8 | 96.9 | 94.6 | 93.3 | .648 | .377 | MindEye2's authors |
# | Brain-Diffuser {cite}`ozcelik2023natural` | .273 | .365 | 94.4 | 96.6 | 91.3 | 90.9 | .728 | .421 | MindEye2's authors |
# | Takagi and Nishimoto {cite}`takagi2023high` | .246 | .410 | 78.9 | 85.6 | 83.8 | 82.1 | .811 | .504 | MindEye2's authors |
# | MindEye2, low-level part alone | .399 | .539 | 70.5 | 65.1 | 52.9 | 57.2 | .984 | .673 | its authors |
#
# Look at the last row. It is a blur: the best PixCorr and the best SSIM of the table, by far, and near chance in what Inception and CLIP see. What you found in one dimension is in the field's own table.
#
# The second is Table 2 of {cite:t}`lu2023minddiffuser`. 37 sessions: 8,859 pictures for training and 982 for the test. CLIP is the similarity of embeddings, so that there is no direction.
#
# | system | CLIP | SSIM | PixCorr | run by |
# |---|---|---|---|---|
# | MindDiffuser | .765 | .354 | .278 | its authors |
# | without stage 2 ("control") | .597 | .253 | .183 | its authors |
# | without z | .616 | .292 | .066 | its authors |
# | Takagi and Nishimoto | .642 | .300 | .175 | MindDiffuser's authors |
# | IC-GAN | .546 | .135 | .126 | MindDiffuser's authors |
#
# Takagi and Nishimoto's system stands in both tables, with an SSIM of .410 in the one and .300 in the other. Somebody else ran it each time, in another way. A re-run is a measurement of the one who ran it, too.
#
# The networks of the first table are not in this repository. If you have their weights, `minisd.metrics.extractors` makes them feature extractors as `clip` is one here, each with the layer, size and colours that the field uses. Its AlexNet needs torchvision and the file:
#
# ```python
# from minisd.metrics.extractors import extractor
#
# features = extractor("AlexNet(5)", "alexnet-owt-7be5be79.pth")(pictures)
# ```
#
# ## Exercises
#
# ```{exercise} A picture that says one thing
# :label: measuring-background
#
# Suppose that a decoder can tell the background, and nothing else. It answers with the mean of the training pictures with that background. What does it get by PixCorr, SSIM and two-way identification, in both directions? Take the true background, so this is the best that such a decoder can do.
# ```
#
# ```{solution-start} measuring-background
# :class: dropdown
# ```
#
# There are six backgrounds, so there are six pictures in all, and less than three bits are told of each truth. If the judge saw the background and nothing else, two-way identification would be $5/6 + 1/2 \cdot 1/6 = 0.92$: five of six distractors lose, and a tie is half a win.

# %%
from minisd.nsd.simulate import SIZES
from minisd.nsd.simulate.pictures import draw_picture

shown = [draw_picture(SIZES["book"], int(i)).factors for i in looked_at]
of_training = [draw_picture(SIZES["book"], int(i)).factors.background for i in learned.nsd_id]
pictures, of_training = learned.pictures(64), np.array(of_training)
means = {b: pictures[of_training == b].mean(0) for b in np.unique(of_training)}
guess = torch.stack([means[f.background] for f in shown])
print(f"PixCorr {pixel_correlation(guess, truth).mean():.2f}", end=", ")
print(f"SSIM {structural_similarity(guess, truth).mean():.2f}")
by_judge = judge.features(guess)
for distractor in ("truths", "reconstructions"):
    found = identification(by_judge, of_truth[0], distractor).mean()
    print(f"2-way {found:.2f} with {distractor} as distractors")

# %% [markdown]
# Nearly the SSIM and the PixCorr of the best row of the table. With reconstructions as distractors, identification is near to what you expect. With truths it falls by more than a quarter: all six pictures are hazes, and to the judge every haze is like the haziest of the truths. That is the shared arrow from above, and it makes quite a difference between two papers.
#
# ```{solution-end}
# ```
#
# ```{exercise} Top-1, of how many?
# :label: measuring-gallery
#
# Compute top-1 retrieval of the rescaled blur by the judge for galleries of 10, 50 and 100 pictures. Then divide by chance. Which number would you put into an abstract?
# ```
#
# ```{solution-start} measuring-gallery
# :class: dropdown
# ```

# %%
by_judge = judge.features(systems["blur"])
for size in (10, 50, 100):
    found = retrieval(by_judge, of_truth[0], gallery=size).mean()
    print(f"gallery of {size:3}: top-1 {found:.2f}, {found * size:.0f} times chance")

# %% [markdown]
# The same pictures, judged in the same way. The small gallery gives the large share, the large gallery the large factor. So no such number means anything without the size of its gallery.
#
# ```{solution-end}
# ```
#
# ```{exercise} Is the interval honest?
# :label: measuring-coverage
#
# An interval of 95 % has to hold the true mean in 95 of 100 cases. For reconstructions that know nothing, the true two-way score is 1/2. Count how often `interval` holds it, for 100 pictures. The pictures share their distractors, so the values are not independent of each other: does that do harm?
# ```
#
# ```{solution-start} measuring-coverage
# :class: dropdown
# ```

# %%
held = []
for _ in range(200):
    found = interval(identification(*torch.randn(2, 100, 20, generator=g)), resamples=499)
    held.append(found.low <= 0.5 <= found.high)
print(f"at least 90 of 100: {np.mean(held) >= 0.9}, and not all: {np.mean(held) < 1}")

# %% [markdown]
# About as often as it promises. The interval covers chance over pictures. It does not cover chance over subjects: for that, a result has to hold in each subject.
#
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`wang2004image` made SSIM to measure the quality of a picture after compression, where both show the same thing at the same place. {cite:t}`kay2008identifying` named pictures from brain activity among up to a thousand, and gave top-1. Two-way identification is what most later studies report {cite}`shen2019deep,ozcelik2023natural,scotti2023reconstructing`. {cite:t}`takagi2023high` exchange reconstructions, the code of Brain-Diffuser and of MindEye exchanges truths. {cite:t}`shirakawa2025spurious` warn that a high identification may come from a few clusters that training and test share, and {doc}`validity` tests for it.
#
# ## The way on
#
# {doc}`retrieval`: the two oldest ways from features to a picture.
