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
# # This here, that there
#
# **You will be able to**
#
# - write a plan of a picture as a map of embeddings, and read one;
# - measure the gap between CLIP's texts and CLIP's pictures, and close it with a prior;
# - give a trained U-Net more inputs without changing what it does;
# - guide by two conditions at once, and say when two scales are right and when one is;
# - draw your own plan, and measure whether the picture keeps to it.
#
# **Time** 40 minutes to read; the cells run in about 50 seconds.
#
# **Before this** {doc}`classifier_free`. The networks come from {doc}`../stable_diffusion/miniature`, and low-rank weights from {doc}`../stable_diffusion/finetuning`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part II, Guidance, at its fifth chapter, in space."}, "figure": {"caption": "Where you are: the fifth chapter of Part II.", "name": "spatial-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("spatial")
plt.show()

# %% [markdown]
# A sentence is a poor way to say *where*. "A red bus on the left, and a dog" leaves the rest open, and a model may not even keep to the left. SpaText {cite}`avrahami2023spatext` lets you draw: a few shapes, and a few words to each. The sentence for the whole stays.
#
# ## A map of embeddings
#
# What can a network read that says "a red bus" at one place and "a dog" at another? A picture with many channels. Where a thing is to be, all of its pixels hold the *CLIP embedding* of that thing; where you say nothing they are 0:
#
# $$
# M_{ij} = \begin{cases} e_k & \text{pixel } ij \text{ lies in mask } m_k \\ 0 & \text{in none.} \end{cases}
# $$ (spatial-map)
#
# The map is as large as the latent, so a cell at the edge of a mask gets as much of the embedding as the mask has of the cell. The cell draws two masks of 4 by 4 pixels, with embeddings of two channels, and lays them out on 2 by 2.

# %%
import torch

from minisd.guidance import spatial_map

masks = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
masks[0, 0, :, 0] = True  # the left column
masks[0, 1, 2:, 2:] = True  # the lower right quarter
embeddings = torch.tensor([[[1.0, 0.0], [0.0, 3.0]]])
laid = spatial_map(masks, embeddings, (2, 2))[0]
print("first channel:", laid[0].tolist())
print("second channel:", laid[1].tolist())
masks[0, 0, 3] = True
try:
    spatial_map(masks, embeddings, (2, 2))
except ValueError as error:
    print(error)

# %% [markdown]
# Half of each left cell is masked, so it holds half of the first embedding. Two things cannot have one pixel, and you are told so.
#
# ## Where embeddings come from
#
# To train such a model you need pictures with their maps, and nobody writes down what is where. SpaText takes the pictures alone. A segmentation network finds the things, each is cut out, and *CLIP's image encoder* embeds it. The picture world knows its masks, so nothing has to be found. The cell cuts a thing out, and shows the map by how near
# each of its cells is to the embedding of each thing.

# %%
from pathlib import Path

from minisd.models.contrastive import preprocess
from minisd.models.prior import to_unit_variance
from minisd.scenes import scene, thing_captions
from minisd.steering import Networks
from minisd.training.embeddings import cut_out

MINIATURE = next(
    p for p in (Path("data_samples/miniature"), Path("../../data_samples/miniature")) if p.exists()
)
networks = Networks(MINIATURE)
clip, imagine = networks.clip, networks.text_to_embedding


@torch.no_grad()
def seen(one):
    """Embeddings of a scene's things as they look, [n, D], and the cut-outs."""
    image = torch.from_numpy(one.image).permute(2, 0, 1)
    cuts = torch.stack([cut_out(image, torch.from_numpy(mask)) for mask in one.masks])
    cuts = cuts / 127.5 - 1
    return to_unit_variance(clip.encode_image(preprocess(cuts, 64))), cuts


example = next(
    s
    for s in (scene(i, 2, two=1.0) for i in range(4, 99))
    if len(s.masks) == 2 and s.masks.any(axis=(1, 2)).all()
)
e, cuts = seen(example)
example_map = spatial_map(torch.from_numpy(example.masks)[None], e[None], (16, 16))
print(example.captions[0])
print("the map:", tuple(example_map.shape))

# %% mystnb={"image": {"alt": "Five small pictures: a drawn scene with two things, each thing cut out on a plain ground, and two maps of blocks, each bright where the thing of its title is."}, "figure": {"caption": "A drawn scene, its two things cut out, and its map: how near each cell is to the embedding of the one and of the other.", "name": "spatial-example"}}
figure, axes = plt.subplots(1, 5, figsize=(6.4, 1.6))
for axis, picture in zip(
    axes,
    [torch.from_numpy(example.image), *((c.permute(1, 2, 0) + 1) / 2 for c in cuts)],
    strict=False,
):
    axis.imshow(picture)
for axis, of_one, thing in zip(axes[3:], e, example.factors.things, strict=True):
    near = torch.cosine_similarity(example_map[0], of_one[:, None, None], dim=0)
    axis.imshow(near, vmin=0, vmax=1)
    axis.set_title(f"{thing.colour} {thing.category}", fontsize=7)
for axis in axes:
    axis.set_axis_off()
plt.show()

# %% [markdown]
# ### The gap
#
# That is training. When you *draw*, there is no picture to cut from; you have words. CLIP embeds words into the same space, so why not lay out the text's embedding? Measure how near the texts of 64 things lie to their pictures, by the cosine:
#
# $$
# \cos(a, b) = \frac{a \cdot b}{\lVert a \rVert\, \lVert b \rVert} .
# $$ (spatial-cosine)
#
# And ask the other way round, in how many of 64 cases the right picture is the nearest of all.

# %%
from minisd.models.prior import read_text

things = [scene(i, 2, two=0.0) for i in range(64)]
pictured = torch.cat([seen(one)[0] for one in things])
words = [thing_captions(one.factors.things[0])[0] for one in things]
with torch.no_grad():
    written = read_text(clip, imagine.tokenizer(words))[1]


def compare(a, b=pictured):
    """Mean cosine to the right picture, and share of rows whose nearest picture is the right one."""
    unit_a, unit_b = (x / x.norm(dim=1, keepdim=True) for x in (a, b))
    cosines = unit_a @ unit_b.T
    nearest = (cosines.argmax(dim=1) == torch.arange(len(a))).float().mean()
    return float(cosines.diagonal().mean()), float(nearest)


direct = torch.cosine_similarity(written, pictured).mean()
print(f"by hand and by torch: {abs(compare(written)[0] - float(direct)) < 1e-5}")
print(
    f"text to picture: cosine {compare(written)[0]:.2f}, nearest {100 * compare(written)[1]:.0f} %"
)

# %% [markdown]
# A text lies nearer to its own picture than to another, but not *near* it. CLIP's training compares; it never asks the two to be equal. Pictures lie in one region of the space and texts in another. A U-Net that has learned to read embeddings of pictures has never seen one like a text's.
#
# A *prior* closes the gap. It is a small diffusion model over embeddings: from a text, it draws what the embedding of a fitting picture would be. {doc}`../stable_diffusion/miniature` lists it, and `minisd.text_to_embedding` calls it. Ask it for the same 64 things.

# %%
drawn = imagine(words, range(64), steps=16)
cosine, nearest = compare(drawn)
print(f"prior to picture: cosine {cosine:.2f}, nearest {100 * nearest:.0f} %")

# %% [markdown]
# The report describes SpaText by its training, and stops there. Without the prior, nothing would draw from words ({ref}`errata <erratum-spatext-prior>`).
#
# ## More inputs, nothing changed
#
# The U-Net has to see the map. Its first convolution reads four channels; now it reads four and the map's. The new weights are 0, so at first the map is ignored:
#
# $$
# W' * [x_t,\, M] = W * x_t + 0 * M = W * x_t .
# $$ (spatial-widened)

# %%
import copy

from minisd.diffusion import ImageNoise
from minisd.guidance import widen, with_map

sd = networks.sd
D = e.shape[1]
wide = copy.deepcopy(sd.unet)
widen(wide, D)
z, when = ImageNoise([0]).draw((4, 16, 16)), torch.tensor([500.0])
with torch.no_grad():
    text = sd.encode_text(["a red bus"])
    before, after = sd.unet(z, when, text), with_map(wide)(z, when, text, example_map)
print(f"same prediction, whatever the map: {torch.allclose(before, after, atol=1e-5)}")

# %% [markdown]
# Then it is trained, as U-Nets are, with the map of each scene beside its latent. Only the first convolution and low-rank weights beside attention learn. Now and then the text is left out, now and then the map, now and then one thing of the map: so each can be guided by, and you may leave any of them empty.
#
# ## Two conditions
#
# Classifier-free guidance had one condition. Here are two, the text $c_1$ and the map $c_2$. SpaText has two ways. One scale for each:
#
# $$
# \hat\varepsilon = \varepsilon(\varnothing) + \sum_i s_i \bigl( \varepsilon(c_i) - \varepsilon(\varnothing) \bigr) ,
# $$ (spatial-each)
#
# where in $\varepsilon(c_i)$ the other one is left out. Or one scale for both together:
#
# $$
# \hat\varepsilon = \varepsilon(\varnothing) + s\, \bigl( \varepsilon(c_1, c_2) - \varepsilon(\varnothing) \bigr) .
# $$ (spatial-all)
#
# Both are one line each. Which is right at scale 1? Bayes' rule says: the second, always. The first is so only if, given $x_t$, the two conditions tell nothing about each other. The cell has four Gaussians at the corners of a square. Condition one says left or right, condition two says up or down.

# %%
from minisd.diffusion import GaussianMixture, NoiseSchedule
from minisd.guidance import multi_conditional

schedule = NoiseSchedule.linear()
corners = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
sides, heights = (corners[:, 0] > 0).long(), (corners[:, 1] > 0).long()


def world(weights):
    """A perfect network that takes two conditions [B, 1], each 0, 1 or -1 for nothing."""

    def network(x_t, t, one, two):
        rows = []
        for i in range(len(x_t)):
            a, b = int(one[i]), int(two[i])
            k = [j for j in range(4) if a in (-1, int(sides[j])) and b in (-1, int(heights[j]))]
            mixture = GaussianMixture(
                torch.tensor(weights)[k], corners[k], 0.15 * torch.eye(2).repeat(len(k), 1, 1)
            )
            rows.append(mixture.denoiser(schedule)(x_t[i : i + 1], t[i : i + 1]))
        return torch.cat(rows)

    return network


x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
t = torch.linspace(0, 999, 60, dtype=torch.float64)
right, nothing = torch.ones(60, 1), -torch.ones(60, 1)
for name, weights in (("independent", [0.25] * 4), ("dependent", [0.45, 0.05, 0.05, 0.45])):
    network = world(weights)
    wanted = network(x, t, right, right)
    each = multi_conditional(network, [right, right], [nothing, nothing], [1.0, 1.0])(x, t)
    both = multi_conditional(network, [right, right], [nothing, nothing], 1.0)(x, t)
    verdicts = [bool((way - wanted).abs().max() < 1e-5) for way in (each, both)]
    print(f"{name:12} one scale each: {verdicts[0]}   one for both: {verdicts[1]}")

# %% [markdown]
# In a picture text and map are anything but independent: both speak of the dog. Yet one scale each is useful, since you can turn the one up and the other down. It costs three predictions, and the other way two; `multi_conditional` makes them in one call.
#
# ## Draw
#
# Now the trained one. A plan is a list of words and shapes, and here the shapes are ellipses: middle, width and height, in pixels of 64. Change them as you like.

# %%
from minisd.diffusion import sample

reader = networks.spatial


def ellipse(x, y, width, height):
    """A mask [64, 64]."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    return ((columns - x) / (width / 2)) ** 2 + ((rows - y) / (height / 2)) ** 2 <= 1


@torch.no_grad()
def picture_of(plan, prompt, seeds, scale=4.0, steps=12):
    """Draw a plan, {words: mask}, under a text, once for each seed."""
    n = len(seeds)
    told = imagine(list(plan), range(len(plan)), steps=16)[None]
    laid = spatial_map(torch.stack(list(plan.values()))[None], told, (16, 16)).expand(n, -1, -1, -1)
    text = reader.encode_text([prompt]).expand(n, -1, -1)
    nulls = [reader.encode_text([""]).expand(n, -1, -1), torch.zeros_like(laid)]
    guided = multi_conditional(with_map(reader.unet), [text, laid], nulls, scale)
    z = sample(
        reader.scheduler.schedule.as_denoiser(guided, reader.scheduler.kind),
        ImageNoise(seeds).draw((4, 16, 16)),
        reader.scheduler.schedule,
        sampler="dpmpp_2m",
        times=reader.scheduler.times(steps, "dpmpp_2m"),
        final=reader.scheduler.final("dpmpp_2m"),
    )
    return reader.decode(z)


plan = {"a large red bus": ellipse(17, 40, 30, 24), "a small blue dog": ellipse(49, 46, 18, 18)}
made = picture_of(plan, "a bus and a dog on a grass field", range(4))

# %% mystnb={"image": {"alt": "A plan with a red ellipse at the left and a blue one at the right, and four drawn scenes with a red bus at the left and a dog at the right, blue in three of them."}, "figure": {"caption": "A plan of two ellipses, and four pictures of it by the miniature, from four seeds.", "name": "spatial-plan"}}
from minisd.plots import image_grid

sketch = torch.full((3, 64, 64), 0.8)
for mask, colour in zip(plan.values(), ((0.8, 0.1, 0.1), (0.1, 0.2, 0.8)), strict=True):
    sketch[:, mask] = torch.tensor(colour)[:, None] * 2 - 1
image_grid(torch.cat([sketch[None], made]), ["plan", *["picture"] * 4])
plt.show()

# %% [markdown]
# Move the bus. Seed, words and all else stay.

# %%
from functools import cache

from minisd.widgets import slider


@cache
def with_bus_at(x):
    """Two seeds, the bus at a place."""
    return picture_of({"a red bus": ellipse(x, 42, 26, 22)}, "a bus on a grass field", (0, 1))


slider(
    lambda x: image_grid(with_bus_at(x)),
    (14, 26, 38, 50),
    label="middle of the bus, in pixels",
    caption='The plan has one ellipse, "a red bus", which moves from left to right. Two seeds, drawn by the miniature.',
    alt="Two scenes with a bus, from a plan whose ellipse is at column {}.".format,
    start=1,
)

# %% [markdown]
# ### Does it keep to the plan?
#
# Twelve scenes of two things that nobody has trained on. Draw them from the text alone, from text and map, and from the map alone. The map has the true masks; its embeddings come from words, through the prior. The judge reads them.

# %%
import numpy as np

from minisd.metrics import Scorer, score
from minisd.scenes import caption

scorer = Scorer.from_pretrained(MINIATURE / "scorer")
planned = [
    s
    for s in (scene(i, 5, two=1.0) for i in range(40))
    if len(s.masks) == 2 and s.masks.sum(axis=(1, 2)).min() > 60
][:12]
asked = [one.factors for one in planned]
ways = {"text alone": (4.0, 0.0), "text and map": 4.0, "map alone": (0.0, 4.0)}


@torch.no_grad()
def follow(scale):
    """A picture of each planned scene."""
    n = len(planned)
    told = imagine(
        [thing_captions(t)[0] for one in asked for t in one.things], range(2 * n), steps=16
    )
    laid = spatial_map(
        torch.from_numpy(np.stack([one.masks for one in planned])),
        told.unflatten(0, (n, 2)),
        (16, 16),
    )
    text = reader.encode_text([caption(one) for one in asked])
    nulls = [reader.encode_text([""]).expand_as(text), torch.zeros_like(laid)]
    guided = multi_conditional(with_map(reader.unet), [text, laid], nulls, scale)
    z = sample(
        reader.scheduler.schedule.as_denoiser(guided, reader.scheduler.kind),
        ImageNoise(range(n)).draw((4, 16, 16)), reader.scheduler.schedule, sampler="dpmpp_2m",
        times=reader.scheduler.times(10, "dpmpp_2m"), final=reader.scheduler.final("dpmpp_2m"),
    )  # fmt: skip
    return reader.decode(z)


followed = {name: follow(scale) for name, scale in ways.items()}
kinds = ("object", "colour", "place", "relation", "background")
print("right of 12    " + "".join(f"{kind:>12}" for kind in kinds))
for name, pictures in followed.items():
    right = score(scorer.read(pictures), asked)
    print(f"{name:15}" + "".join(f"{round(12 * right[kind]):12}" for kind in kinds))

# %% mystnb={"image": {"alt": "Four rows of six scenes of two things: the true ones, and those drawn from the text alone, from text and map, and from the map alone. Those with a map have the things where the true ones have them."}, "figure": {"caption": "From above: the true scenes, from the text alone, from text and map, from the map alone.", "name": "spatial-followed"}}
truth = (
    torch.from_numpy(np.stack([one.image for one in planned[:6]])).permute(0, 3, 1, 2) / 127.5 - 1
)
image_grid(torch.cat([truth, *(x[:6] for x in followed.values())]), columns=6)
plt.show()

# %% [markdown]
# The map does what words do not: every thing is where it should be, and text and map together leave hardly anything wrong. From the map alone the background is left to chance, of course, since the map says nothing about it. Half of the colours are wrong, too: the miniature has learned to take things from the map, and colours mostly from the text.
#
# ## Exercises
#
# ```{exercise} Who wins?
# :label: spatial-who
#
# Let text and map contradict each other: the text asks for a blue cat on a beach, the map for a red bus. Draw it with scales of (6, 1), (3, 3) and (1, 6).
# ```
#
# ```{solution-start} spatial-who
# :class: dropdown
# ```
#
# The larger scale has the larger say. At (1, 6) something large and red sits where the ellipse was, though it is no proper bus: two conditions pull at one spot in different directions. The background is the text's in any case, since the map says nothing about it.

# %% mystnb={"image": {"alt": "Three beach scenes. At 6 and 1 a blue cat. At 3 and 3 a blue cat with something beside it. At 1 and 6 a large red thing."}, "figure": {"caption": "The text says a blue cat on a beach, the map a red bus. Scales of text and map: (6, 1), (3, 3), (1, 6).", "name": "spatial-who-figure"}}
bus = {"a large red bus": ellipse(32, 40, 34, 28)}
settled = [
    picture_of(bus, "a large blue cat on a beach", (3,), scale)
    for scale in ((6.0, 1.0), (3.0, 3.0), (1.0, 6.0))
]
image_grid(torch.cat(settled), ["(6, 1)", "(3, 3)", "(1, 6)"])
plt.show()

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Without the prior
# :label: spatial-without
#
# Put the texts' own embeddings into the map. How near are they to what the U-Net has learned to read?
# ```
#
# ```{solution-start} spatial-without
# :class: dropdown
# ```
#
# The nearest picture of the 64 things, to each text, is no nearer than a wrong picture is to a right one.

# %%
unit = pictured / pictured.norm(dim=1, keepdim=True)
among = (unit @ unit.T - torch.eye(64)).sum() / 64 / 63
print(f"a text and its picture: {compare(written)[0]:.2f}; two different pictures: {among:.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`avrahami2023spatext` fine-tune two large models in this way, one in pixels and one in latents, and compare with models that take a fixed list of labels for their maps: words can say more than a list. They widen the first convolution, and convert texts by the prior of unCLIP {cite}`ramesh2022hierarchical`, as here.
#
# ## The way on
#
# The prior can do more than fill maps: in {doc}`unclip` it draws whole pictures. {doc}`../stable_diffusion/inpainting` has another way to say where, a mask on a picture that is there already.
