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
# # Through a picture's embedding: unCLIP
#
# **You will be able to**
#
# - draw in two stages, from a text to an embedding and from there to a picture, and say why that is no detour;
# - say why the first stage is a diffusion model and not a regression, and measure the difference;
# - make variations of a picture, and find out what CLIP's embedding keeps of it;
# - walk from one picture to another.
#
# **Time** 35 minutes to read; the cells run in about 45 seconds.
#
# **Before this** {doc}`spatial`, where the prior has appeared, and {doc}`classifier_free`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part II, Guidance, at its sixth chapter, unCLIP."}, "figure": {"caption": "Where you are: the sixth chapter of Part II.", "name": "unclip-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("unclip")
plt.show()

# %% [markdown]
# Stable Diffusion goes from a text to a picture in one walk. unCLIP {cite}`ramesh2022hierarchical` takes two. A *prior* draws, for the text $y$, the CLIP embedding $z_i$ of a picture that would fit. A *decoder* draws a picture that has this embedding. It undoes CLIP, hence the name.
#
# For this course the second stage matters most. If an embedding can be read out of a brain, a decoder makes a picture of it. No text is needed on the way.
#
# ## Two stages
#
# Nothing is lost by going over an embedding. A picture has exactly one, $z_i = f(x)$, so
#
# $$
# p(x \mid y) = p(x, z_i \mid y) = p(x \mid z_i, y)\; p(z_i \mid y) .
# $$ (unclip-stages)
#
# Draw from the second factor, then from the first. Try it with numbers. A picture is a pair of numbers, its "embedding" is their sum, and the caption moves their mean. All is Gaussian, so both factors are known; the pairs drawn in two stages must have the covariance of the pairs drawn in one.

# %%
import torch

g = torch.Generator().manual_seed(0)
n, y = 200_000, 1.5
covariance = torch.tensor([[1.0, 0.3], [0.3, 0.5]])
factor = torch.linalg.cholesky(covariance)
at_once = y + torch.randn(n, 2, generator=g) @ factor.T  # p(x | y)

of_sum = covariance.sum()  # variance of the embedding
gain = covariance.sum(1) / of_sum  # of x given its embedding
rest = covariance - torch.outer(gain, gain) * of_sum
z_i = 2 * y + of_sum.sqrt() * torch.randn(n, generator=g)  # the prior
opposite = torch.tensor([1.0, -1.0])  # the one direction that leaves the sum as it is
noise = rest[0, 0].sqrt() * torch.randn(n, 1, generator=g) * opposite
in_two = y + (z_i - 2 * y)[:, None] * gain + noise  # the decoder
print(f"same mean: {torch.allclose(in_two.mean(0), at_once.mean(0), atol=0.02)}")
print(f"same covariance: {torch.allclose(in_two.T.cov(), at_once.T.cov(), atol=0.02)}")
print(f"each has the embedding that was drawn: {torch.allclose(in_two.sum(1), z_i, atol=0.01)}")

# %% [markdown]
# ## The prior
#
# Many pictures fit "a dog on a beach". So many embeddings do, and the prior must draw one of them. A network that is trained to *predict* the embedding cannot: the squared error asks for the mean of all that fit. What the prior is asked is the same error, but with the noisy embedding beside the text:
#
# $$
# \begin{gathered}
# L_\text{prior} = \mathbb E_{t, z_i, \varepsilon}\, \bigl\lVert f_\theta(z_i^{(t)}, t, y) - z_i \bigr\rVert^2 , \\
# z_i^{(t)} = \sqrt{\bar\alpha_t}\, z_i + \sqrt{1 - \bar\alpha_t}\, \varepsilon .
# \end{gathered}
# $$ (unclip-prior)
#
# It predicts the clean embedding, and not the noise; Ramesh et al. found that to be better. To our samplers it makes no difference: `as_denoiser` turns the one into the other ({doc}`../diffusion/loss`). The cell checks that on the miniature's prior.

# %%
from pathlib import Path

from minisd.models.prior import read_text, to_unit_variance
from minisd.steering import Networks

MINIATURE = next(
    p for p in (Path("data_samples/miniature"), Path("../../data_samples/miniature")) if p.exists()
)
networks = Networks(MINIATURE)
imagine, clip = networks.text_to_embedding, networks.clip
prior, schedule = imagine.prior, imagine.schedule
with torch.no_grad():
    context = prior.context(*read_text(clip, imagine.tokenizer(["a dog on a beach"])))
    z_t, t = torch.randn(1, 128, generator=torch.Generator().manual_seed(1)), torch.tensor([400.0])
    clean = prior(z_t, t, context)
    eps = schedule.as_denoiser(lambda x, t: prior(x, t, context), "x0")(z_t, t)
a = schedule.alpha_bar_at(400)
print(
    f"{prior.config.projection_dim} channels; z_t is made of both: {torch.allclose(a.sqrt() * clean + (1 - a).sqrt() * eps, z_t, atol=1e-4)}"
)

# %% [markdown]
# Now the claim about the mean. Take scenes with one dog on a beach. Their embeddings have all the same length, $\sqrt{D}$. Their mean is shorter, as every mean of different directions is. At full noise nothing but the text is to be seen, so the prior's prediction can be nothing but a mean, and is short. Its draws are something else: as long as embeddings are, and different from each other. (They are more alike than real ones, so this small prior misses a part of the variety.)

# %%
from minisd.models.contrastive import preprocess
from minisd.scenes import scene, scene_factors


@torch.no_grad()
def embed(some):
    """Scenes as CLIP sees them, [n, D]."""
    import numpy as np

    x = torch.from_numpy(np.stack([one.image for one in some])).permute(0, 3, 1, 2) / 127.5 - 1
    return to_unit_variance(clip.encode_image(preprocess(x, 64)))


def is_wanted(factors):
    """One dog, on a beach."""
    return factors.things[0].category == "dog" and factors.background == "beach"


found = [i for i in range(4000) if is_wanted(scene_factors(i, 2, two=0.0))]
dogs = [scene(i, 2, two=0.0) for i in found[:40]]
real = embed(dogs)


def spread(e):
    """Mean cosine of two rows."""
    unit = e / e.norm(dim=1, keepdim=True)
    return float((unit @ unit.T).sum() - len(e)) / len(e) / (len(e) - 1)


with torch.no_grad():
    noise = torch.randn(40, 128, generator=torch.Generator().manual_seed(2))
    guess = prior(noise, torch.full((40,), 999.0), context.expand(40, -1, -1)).mean(0)
draws = imagine(["a dog on a beach"] * 40, range(40), steps=16, draws=1)
D = real.shape[1]
print(
    f"length, in units of sqrt(D): mean of real {real.mean(0).norm() / D**0.5:.1f}, guess at full noise {guess.norm() / D**0.5:.1f}, a draw {draws.norm(dim=1).mean() / D**0.5:.1f}"
)
near = torch.cosine_similarity(guess, draws.mean(0), dim=0)
print(f"the guess is near the mean of the draws: {bool(near > 0.9)}; {near:.1f}")
print(f"cosine of two: real {spread(real):.1f}, draws {spread(draws):.1f}")

# %% [markdown]
# ### How good is it?
#
# 64 captions of scenes that no network was trained on. How near is what the prior draws to the embedding of the very scene? Beside it the text's own embedding, which is what you would have without a prior. unCLIP draws twice, and keeps what is nearer to the text; the cell tries it, and guidance.

# %%
held = [scene(i, 2, two=0.0) for i in range(64)]
pictured, captions = embed(held), [one.captions[0] for one in held]
with torch.no_grad():
    written = read_text(clip, imagine.tokenizer(captions))[1]
ways = {"the text itself": written}
for draws_, scale in ((1, 1.0), (2, 2.0)):
    ways[f"prior, {draws_} draws, scale {scale:.0f}"] = imagine(
        captions, range(64), scale=scale, steps=16, draws=draws_
    )
for name, found in ways.items():
    print(f"{name:25} cosine {torch.cosine_similarity(found, pictured).mean():.2f}")

# %% [markdown]
# The prior is nearer than the text. The squared distance of two directions is $2 - 2\cos$, and the prior's is about a third of the text's. (In {doc}`spatial` the text is much further off. There CLIP looks at things that are cut out, which it never saw in training; here it looks at whole pictures.)
# Two draws, and guidance, add nothing: a full caption of this small world leaves little open.
#
# ## The decoder
#
# The miniature's U-Net reads a text of 24 or so tokens. To tell it of a picture, the embedding is mapped to four tokens $T_1, \dots, T_4$ by one matrix, and these go where the text has nothing but padding, at the end:
#
# $$
# c = \bigl( c_1, \dots, c_{M-4},\; c_{M-3} + T_1,\; \dots,\; c_M + T_4 \bigr), \qquad T = P z_i .
# $$ (unclip-tokens)
#
# With $P = 0$ nothing is changed, and so training begins. unCLIP appends its tokens; here they are added, so that a context stays as long as it was, and goes wherever a text goes.

# %%
condition, decoder = networks.condition, networks.unclip
with torch.no_grad():
    null = decoder.encode_text([""])
    c = condition(null, pictured[:1])
    tokens = (condition.projection.weight @ pictured[0]).reshape(4, -1)
print(
    f"first tokens untouched: {torch.equal(c[:, :-4], null[:, :-4])}; last ones: {torch.allclose(c[0, -4:], null[0, -4:] + tokens, atol=1e-5)}"
)

# %% [markdown]
# ### Variations
#
# Take a picture, embed it, decode it several times. What stays is what CLIP's embedding holds. What changes is what it leaves out.

# %%
from minisd.diffusion import ImageNoise, sample


@torch.no_grad()
def decode(embeddings, seeds, scale=3.0, steps=10):
    """Pictures [n, 3, 64, 64] of embeddings [n, D], without a text."""
    null = decoder.encode_text([""]).expand(len(embeddings), -1, -1)
    z = sample(
        decoder.denoiser(condition(null, embeddings), null, scale),
        ImageNoise(seeds).draw((4, 16, 16)),
        decoder.scheduler.schedule,
        sampler="dpmpp_2m",
        times=decoder.scheduler.times(steps, "dpmpp_2m"),
        final=decoder.scheduler.final("dpmpp_2m"),
    )
    return decoder.decode(z)


def as_pictures(some):
    """Scenes as pictures in [-1, 1]."""
    return (
        torch.stack([torch.from_numpy(one.image) for one in some]).permute(0, 3, 1, 2) / 127.5 - 1
    )


shown = [held[i] for i in (0, 3, 8)]
varied = decode(embed(shown).repeat_interleave(4, 0), range(12))

# %% mystnb={"image": {"alt": "Three rows: a drawn scene and four variations of it. Thing, colour and background mostly stay; pose and details change."}, "figure": {"caption": "Left: a drawn scene. Right: four pictures decoded from its CLIP embedding, from four seeds.", "name": "unclip-variations"}}
from minisd.plots import image_grid

rows = torch.cat(
    [
        torch.cat([one[None], four])
        for one, four in zip(as_pictures(shown), varied.split(4), strict=True)
    ]
)
image_grid(rows, ["scene", *["variation"] * 4, *[""] * 10], columns=5)
plt.show()

# %% [markdown]
# In numbers, over 16 scenes, by the judge. "By chance" is a scene put beside another's wish.

# %%
from minisd.metrics import Scorer, score

scorer = Scorer.from_pretrained(MINIATURE / "scorer")
originals, again = held[:16], decode(pictured[:16], range(100, 116))
wishes = [one.factors for one in originals]
kinds = ("object", "colour", "background", "size", "place", "accessory")
print("right of 16      " + "".join(f"{kind:>11}" for kind in kinds))
for name, pictures, asked in (
    ("variations", again, wishes),
    ("by chance", as_pictures(originals), wishes[1:] + wishes[:1]),
):
    right = score(scorer.read(pictures), asked)
    print(f"{name:17}" + "".join(f"{round(16 * right[kind]):11}" for kind in kinds))

# %% [markdown]
# The background stays always. Thing, colour, size and place stay in most. What CLIP holds least of is the detail: look at the faces above, and at the cat whose head is drawn twice. An embedding is a short summary, and where it is vague the decoder makes something up.
#
# ### From one picture to another
#
# Embeddings are directions, so the way between two of them goes along the sphere. With $\theta$ the angle between them,
#
# $$
# z(u) = \frac{\sin((1 - u)\, \theta)}{\sin \theta}\; z_0 + \frac{\sin(u\, \theta)}{\sin \theta}\; z_1 .
# $$ (unclip-slerp)

# %%
from functools import cache

from minisd.widgets import slider

ends = embed([held[0], held[8]])
angle = torch.cosine_similarity(ends[0], ends[1], dim=0).arccos()


def between(u):
    """The point at u in [0, 1] of the way."""
    return ((angle * (1 - u)).sin() * ends[0] + (angle * u).sin() * ends[1]) / angle.sin()


lengths = torch.stack([between(u).norm() for u in (0.0, 0.3, 0.5, 1.0)])
print(f"the length stays: {torch.allclose(lengths, lengths[:1].expand(4), rtol=1e-4)}")
halfway = torch.cosine_similarity(between(0.5), ends[0], dim=0).arccos()
print(f"halfway is half of the angle: {torch.allclose(halfway, angle / 2, atol=1e-3)}")


@cache
def walk(u):
    return decode(between(u).expand(2, -1), (7, 8))


slider(
    lambda u: image_grid(
        torch.cat([as_pictures([held[0]]), walk(u), as_pictures([held[8]])]),
        ["from", "between", "between", "to"],
    ),
    (0.0, 0.25, 0.5, 0.75, 1.0),
    label="way u",
    caption="Between two drawn scenes (outside): pictures decoded from embeddings on the way, two seeds.",
    alt="Two pictures at {:.0%} of the way between two scenes.".format,
    start=2,
)

# %% [markdown]
# ### From words
#
# Both stages together draw from a text. Twelve captions, through the prior and the decoder, which is told nothing but the embedding; beside it the miniature's own way.

# %%
from minisd.steering import draw

few = [one.factors for one in held[24:36]]
both = decode(imagine([one.captions[0] for one in held[24:36]], range(12), steps=16), range(12))
direct = draw(networks, "classifier_free", few, 4.0, range(12), steps=10)
print("right of 12      " + "".join(f"{kind:>11}" for kind in kinds))
for name, pictures in (("unCLIP", both), ("classifier-free", direct)):
    right = score(scorer.read(pictures), few)
    print(f"{name:17}" + "".join(f"{round(12 * right[kind]):11}" for kind in kinds))

# %% [markdown]
# On these twelve the two are alike, and the decoder has never been told a word. But twelve are few, and of most of them the combination of object, colour and background was in training. The measurement of {doc}`classifier`, over 256 captions whose combination was held out, sees what the way over the embedding costs:

# %%
import json

rows = json.loads((MINIATURE.parent / "guidance" / "scores.json").read_text())
print("method            scale  object  colour   all")
for name in ("unclip", "classifier_free"):
    for row in sorted(rows[name], key=lambda row: row["scale"]):
        shares = "  ".join(f"{100 * row[kind]:4.0f} %" for kind in ("object", "colour", "all"))
        print(f"{name:16}  {row['scale']:5}  {shares}")

# %% [markdown]
# Something is lost, most of it in the thing and its colour: an embedding of 128 numbers is a summary, for captions that nobody has drawn most of all. A larger scale wins back a part.
#
# ## What the report says
#
# The report calls unCLIP "an alternative approach (which is also adopted in MindDiffuser)". It is not. MindDiffuser {cite}`lu2023minddiffuser` decodes the *text* embedding that Stable Diffusion reads, and a latent, from fMRI, and lets Stable Diffusion draw; then it optimises against CLIP's image features. There is neither a prior nor a decoder of image embeddings in it.
# Brain-Diffuser {cite}`ozcelik2023natural` is nearer to this chapter: it decodes CLIP embeddings of picture and text, and draws from them. And in the report's account CLIP is trained "throughout". In unCLIP it is trained before, and does not change while prior and decoder learn. Both stand in the {ref}`errata <erratum-unclip-minddiffuser>`.
#
# ## Exercises
#
# ```{exercise} A mean picture
# :label: unclip-mean
#
# Decode the mean of the dogs' embeddings, brought to full length. What does the judge see?
# ```
#
# ```{solution-start} unclip-mean
# :class: dropdown
# ```
#
# A dog. What the dogs have in common survives the mean; the rest is whatever the decoder makes of a direction between all.

# %%
middle = decode(to_unit_variance(real.mean(0, keepdim=True)).expand(6, -1), range(6))
print("dogs:", sum(one["category"] == "dog" for one in scorer.read(middle)), "of 6")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Arithmetic
# :label: unclip-arithmetic
#
# Take a scene's embedding, add the text "a beach" and subtract the text of its own background. unCLIP's paper calls that a text diff. Why is it not a good idea to take the texts' own embeddings, and what could you take?
# ```
#
# ```{solution-start} unclip-arithmetic
# :class: dropdown
# ```
#
# Texts lie elsewhere ({doc}`spatial`); their *difference* may still point the right way, since what separates texts from pictures cancels in it. Or draw both by the prior, and take the difference of the draws. The cell compares both directions with the true one, between real scenes.

# %%
from dataclasses import replace

import numpy as np

from minisd.scenes import caption
from minisd.scenes import draw as draw_scene

one = next(s.factors for s in held if s.factors.background == "grass field")
other = replace(one, background="snow")
pair = [draw_scene(f, np.random.default_rng(0)) for f in (one, other)]
true = embed(pair[1:])[0] - embed(pair[:1])[0]
texts = [caption(f) for f in (one, other)]
with torch.no_grad():
    a, b = read_text(clip, imagine.tokenizer(texts))[1]
p, q = imagine(texts, [0, 0], steps=16)
for name, way in (("texts", b - a), ("prior", q - p)):
    print(
        f"{name}: cosine with the true direction over 0.5: {bool(torch.cosine_similarity(way, true, dim=0) > 0.5)}"
    )

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`ramesh2022hierarchical` compare three ways to feed the decoder: the text alone, the text's CLIP embedding, and the prior's. The prior wins, and pictures are more diverse at the same fidelity than those of GLIDE. They try an autoregressive prior too, and prefer the diffusion.
# The same split has become common in reading brains, since embeddings can be predicted from fMRI by linear regression {cite}`ozcelik2023natural`.
#
# ## The way on
#
# {doc}`side_by_side` lays all methods of this part beside each other.
