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
# # Side by side
#
# **You will be able to**
#
# - write every way of guidance of this part as one sum, and say what each puts into it;
# - combine two of them, since each yields a denoiser;
# - compare them by faithfulness, diversity, time and what has to be trained, and choose.
#
# **Time** 25 minutes to read; the cells run in about 30 seconds.
#
# **Before this** The chapters of this part.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part II, Guidance, at its last chapter, side by side."}, "figure": {"caption": "Where you are: the last chapter of Part II.", "name": "side-by-side-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("side_by_side")
plt.show()

# %% [markdown]
# ## One algebra
#
# Each method of this part takes a denoiser and gives a denoiser. What it adds is always a correction:
#
# $$
# \hat\varepsilon(x_t, t) = \varepsilon(x_t, t) + s\, \delta(x_t, t) .
# $$ (side-by-side-algebra)
#
# | method | $\delta$ |
# |---|---|
# | {doc}`by a classifier <classifier>` | $-\sqrt{1 - \bar\alpha_t}\; \nabla \log p_\phi(y \mid x_t)$ |
# | {doc}`self-calibrated <self_calibrated>` | the same, by a classifier trained in another way |
# | {doc}`by CLIP <clip_guidance>` | $-\sqrt{1 - \bar\alpha_t}\; \nabla \bigl( f \cdot g \bigr)$ |
# | {doc}`classifier-free <classifier_free>` | $\varepsilon(x_t, c) - \varepsilon(x_t, \varnothing)$ |
# | {doc}`in space <spatial>` | the same, with text and map for $c$ |
# | {doc}`unCLIP <unclip>` | the same, with a picture's embedding for $c$ |
#
# So all of them are linear in $s$. Three scales of one method lie on a line, whatever the networks are. The cell checks it for each, on two scenes and one noisy latent of each.

# %%
from pathlib import Path

import torch

from minisd.diffusion import ImageNoise
from minisd.scenes import scene_factors
from minisd.steering import METHODS, Networks

MINIATURE = next(
    p for p in (Path("data_samples/miniature"), Path("../../data_samples/miniature")) if p.exists()
)
networks = Networks(MINIATURE)
two = [scene_factors(i, 2, two=0.0) for i in (1, 6)]
x_t, t = ImageNoise([0, 1]).draw((4, 16, 16)), torch.full((2,), 600.0)
with torch.no_grad():
    for name, method in METHODS.items():
        at = [method.guide(networks, two, s, [0, 1])(x_t, t) for s in (0.0, 2.0, 4.0)]
        print(
            f"{name:16} linear in the scale: {torch.allclose(at[2] - at[1], at[1] - at[0], atol=1e-2)}"
        )

# %% [markdown]
# ## The same wishes
#
# Three captions whose combination no network was trained on, three seeds, every method at some of its scales. Choose. The sheet was drawn by `python tools/guidance_pictures.py`.

# %%
import json

from minisd.explorer import explorer

GUIDANCE = MINIATURE.parent / "guidance"
told = json.loads((GUIDANCE / "pictures.json").read_text())
explorer(
    GUIDANCE / "pictures.jpg",
    **told,
    caption="The same wishes and seeds by every method, drawn by the miniature in 25 steps. A seed gives every method the same noise.",
)

# %% [markdown]
# ## The same measures
#
# 256 such captions. Of each method the table has the scale, among those that were tried, that gets most of them wholly right. `benchmarks/guidance.py` has drawn and measured them: the share of pictures in which the judge finds all that was asked for, the Fréchet distance to real scenes, the spread of two pictures of one wish, and the processor's seconds for a picture, on one thread of the machine that made the book.

# %%
rows = json.loads((GUIDANCE / "scores.json").read_text())
best = {name: max(rows[name], key=lambda row: row["all"]) for name in METHODS if name in rows}
print("method            scale  object    all  Frechet  spread  time")
for name, row in best.items():
    print(
        f"{name:16}  {row['scale']:5}  {100 * row['object']:4.0f} %  {100 * row['all']:3.0f} %"
        f"  {row['frechet']:7.0f}  {row['spread']:6.2f}  {rows['seconds'][name]:4.1f}"
    )

# %% mystnb={"image": {"alt": "Two panels with one curve for each method. Left: the share of wholly right pictures over the scale. The spatial method and classifier-free guidance are high from a scale of 1 on, unCLIP follows; the methods that climb a gradient begin near the unguided ones and rise slowly. Right: the same share over the spread. The faithful methods lie at the upper left; CLIP on the predicted picture spreads more than no guidance at all."}, "figure": {"caption": "All that was asked for is right: left over the scale, right over the spread of pictures of one wish. Each point is a scale; dashed, no guidance.", "name": "side-by-side-tradeoff"}}
figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.8), sharey=True)
for i, name in enumerate(best):
    line = sorted(rows[name], key=lambda row: row["scale"])
    scales, spread, right = ([row[key] for row in line] for key in ("scale", "spread", "all"))
    right, colour = [100 * share for share in right], f"C{i - 1}" if i else "0.6"
    if i:
        axes[0].plot(scales, right, "o-", c=colour)
    else:
        axes[0].axhline(right[0], c=colour, ls="--")
    axes[1].plot(spread, right, "o-", c=colour, label=METHODS[name].title)
axes[0].set_xscale("log", base=2)
axes[0].set_xticks((1, 2, 4, 8, 16, 32), ("1", "2", "4", "8", "16", "32"))
axes[0].set(xlabel="scale", ylabel="all right (%)", ylim=(-2, 103))
axes[1].set(xlabel="spread")
figure.legend(fontsize=7, ncols=4, loc="outside lower center")
plt.show()

# %% [markdown]
# Read the left panel from left to right. What the U-Net was trained to be told is there at a scale of 1, and guidance adds to it. A gradient alone does little at the scale of Bayes' rule, and needs ten times as much. The calibrated classifier is the smaller one of the two, and stays below the other at every scale.
#
# Two remarks. The spatial method is told more than the others: the true outline of the thing, which nearly gives the thing away. And unCLIP hears the caption only through an embedding of 128 numbers.
#
# What has to be trained, beside a model that draws without any wish:

# %%
for method in METHODS.values():
    print(f"{method.title:31} {', '.join(method.needs) or 'nothing'}")

# %% [markdown]
# The methods that climb a gradient need a network for what is asked, and they are the weaker ones. Their strength is that the model itself is left alone: whatever can be differentiated can steer, today. The conditional ones need the model to be trained for their condition, and then they are faithful, at two predictions a step.
#
# ## Together
#
# A denoiser in, a denoiser out: so methods go into each other. The text says which scene; the classifier adds what the text does not say. Here the text asks for "a dog", and the classifier for the colour alone, in blue.
#
# $$
# \hat\varepsilon = \hat\varepsilon_{\text{text}} - s\, \sqrt{1 - \bar\alpha_t}\; \nabla \log p_\phi(\text{blue} \mid x_t) .
# $$ (side-by-side-together)

# %%
from minisd.diffusion import sample
from minisd.guidance import classifier
from minisd.metrics import LABELS, Scorer

sd = networks.sd
schedule, n = sd.scheduler.schedule, 8
text = sd.encode_text(["a dog"]).expand(n, -1, -1).detach()
null = sd.encode_text([""]).expand(n, -1, -1).detach()
by_text = sd.denoiser(text, null, 4.0)
blue = {"colour": LABELS["colour"].index("blue")}
scorer = Scorer.from_pretrained(MINIATURE / "scorer")


def together(scale):
    """Eight dogs, and how many the judge takes for blue, and for dogs."""
    way = classifier(by_text, networks.classifier, blue, scale, schedule)
    with torch.no_grad():
        z = sample(
            way, ImageNoise(range(n)).draw((4, 16, 16)), schedule, sampler="dpmpp_2m",
            times=sd.scheduler.times(12, "dpmpp_2m"), final=sd.scheduler.final("dpmpp_2m"),
        )  # fmt: skip
        x = sd.decode(z)
    read = scorer.read(x)
    return (
        x,
        sum(one["colour"] == "blue" for one in read),
        sum(one["category"] == "dog" for one in read),
    )


made = {scale: together(scale) for scale in (0.0, 4.0, 16.0)}
for scale, (_, right, dogs) in made.items():
    print(f"scale {scale:4.1f}: blue {right} of {n}, dogs {dogs} of {n}")

# %%
from minisd.plots import image_grid
from minisd.widgets import slider

slider(
    lambda scale: image_grid(made[scale][0] if scale in made else together(scale)[0], columns=8),
    tuple(made),
    label="scale of the classifier",
    caption='"A dog" by classifier-free guidance at scale 4, and "blue" by the classifier on top of it. Drawn by the miniature.',
    alt="Eight dogs with the classifier for blue at scale {}.".format,
    start=1,
)

# %% [markdown]
# ## Which one?
#
# - You can train the model, or somebody has, for the condition that you have: classifier-free guidance. Start with a scale of 2 to 8.
# - You want to say where: a map.
# - You have no words, but a picture, or an embedding out of a brain: unCLIP's decoder.
# - You have a network that judges what you want, and a model that you cannot train: its gradient, on noisy inputs if it knows them, else on the predicted picture. Expect less, and judge it by another network.
# - You want two of these at once: put one into the other.
#
# ## Exercises
#
# ```{exercise} Order
# :label: side-by-side-order
#
# Above, the classifier steers the text-guided denoiser. Does it matter which goes into which?
# ```
#
# ```{solution-start} side-by-side-order
# :class: dropdown
# ```
#
# Not to the prediction at one $x_t$: corrections add. The classifier's correction does not look at the denoiser, so it is the same in any order. (With CLIP on the *predicted* picture it would matter, since its gradient goes through the denoiser.)

# %%
z = ImageNoise(range(n)).draw((4, 16, 16))
when = torch.full((n,), 600.0)
with torch.no_grad():
    outside = classifier(by_text, networks.classifier, blue, 4.0, schedule)(z, when)
    free = sd.denoiser(null)
    inside = classifier(free, networks.classifier, blue, 4.0, schedule)(z, when)
    swapped = inside + by_text(z, when) - free(z, when)
print(torch.allclose(outside, swapped, atol=1e-4))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Cost
# :label: side-by-side-cost
#
# Count how often the U-Net looks at a picture in one step of each of the conditional methods, at a scale other than 1. Check one by a hook.
# ```
#
# ```{solution-start} side-by-side-cost
# :class: dropdown
# ```
#
# Classifier-free guidance and unCLIP: two. A map with one scale for all: two; with a scale for each of two conditions: three.

# %%
looks = []
handle = sd.unet.register_forward_hook(lambda module, inputs, output: looks.append(len(inputs[0])))
with torch.no_grad():
    by_text(z, when)
handle.remove()
print(sum(looks) // n)

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# That guidance is Bayes' rule with a knob was clear to its inventors {cite}`dhariwal2021diffusion,ho2022classifier`. GLIDE {cite}`nichol2022glide` compared CLIP guidance with classifier-free guidance by asking people, and the field has followed its verdict. Universal guidance {cite}`bansal2023universal` shows how far the other way reaches: segmentations, faces and boxes, with no training at all.
# For reading brains all of it is at hand, and MindDiffuser {cite}`lu2023minddiffuser` uses two: classifier-free guidance by a decoded text, and a gradient through the denoiser, against decoded features of CLIP.
#
# ## The way on
#
# Until here the Stable Diffusion of these pages was a thing that worked. {doc}`../stable_diffusion/vae` begins to build it.
