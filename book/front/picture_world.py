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
# # The picture world
#
# **You will be able to**
#
# - draw any number of captioned pictures, each the same whenever you ask for it;
# - change one thing in a picture and leave all else as it is;
# - read off what is in a picture, pixel by pixel;
# - hold back combinations, so that a model can be asked for what it has never seen.
#
# **Time** 20 minutes to read; the cells run in about 15 seconds.
#
# **Before this** {doc}`how_to_use`.

# %% mystnb={"image": {"alt": "The road of the book. You are at its start, at the third of three pages, the picture world."}, "figure": {"caption": "Where you are: the last page of the start.", "name": "picture-world-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt
from matplotlib_inline.backend_inline import set_matplotlib_formats

from minisd.plots import road, use_style

use_style()
road("picture_world")
plt.show()
# Many small pictures side by side are large as PNG.
set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 80})

# %% [markdown]
# ## Why drawn
#
# A diffusion model learns from pictures, and this book ends with the pictures that people saw in a scanner. Those came
# from COCO {cite}`lin2014microsoft`: the Natural Scenes Dataset took its 73,000 pictures there {cite}`allen2022massive`. They are photographs by
# many people, and not ours to hand on. So this book draws its own.
#
# That is a limit: a drawing is less than a photograph, and what works here may fail there. Later chapters
# therefore put the real thing beside it. It is a gain as well:
#
# - there is no end to the pictures, and nothing to download;
# - a picture of $64 \times 64$ is small enough for a laptop;
# - everything in a picture is known: what it is, where, in which colour, and which pixels are its own. So a generated or
#   reconstructed picture can be marked right or wrong, which no collection of photographs allows.
#
# Here are the first 60 scenes.

# %% mystnb={"image": {"alt": "Sixty small drawn scenes in six rows: elephants, boats, birds, benches, horses, clocks, umbrellas, airplanes, buses, kites, cars, cats, teddy bears and potted plants on grass, beaches, snow, streets at night, in rooms and by lakes. Some animals wear sunglasses or a pink hat."}, "figure": {"caption": "The first 60 scenes of the picture world, each $64 \\times 64$ pixels.", "name": "picture-world-grid"}}
from minisd.plots import image_grid
from minisd.scenes import scenes

batch = scenes(range(60))
image_grid(batch.images, columns=10)
plt.show()

# %% [markdown]
# ## One scene
#
# A scene has four parts: the picture, the factors it was drawn from, five captions and a mask for each thing. COCO has
# five captions a picture too {cite}`lin2014microsoft`. Here the first caption tells everything, and the others leave
# something out, as people do.

# %%
from minisd.scenes import scene

one = scene(31)
print("picture:", one.image.shape, one.image.dtype)
print("masks:  ", one.masks.shape, one.masks.dtype)
for caption in one.captions:
    print("-", caption)

# %%
print(one.factors.background, "/", one.factors.relation)
for thing in one.factors.things:
    print(thing)

# %% [markdown]
# A mask says which pixels belong to a thing, as far as they can be seen. Two masks never overlap. You will need them to repaint
# a part of a picture, and to say where in a picture something should be.

# %% mystnb={"image": {"alt": "A scene with two things, then the scene with all but the first thing made pale, then with all but the second made pale."}, "figure": {"caption": "A scene, and the pixels that each of its two things owns.", "name": "picture-world-masks"}}
import numpy as np

shown = [one.image]
for mask in one.masks:
    pale = (0.2 * one.image + 0.8 * 255).astype(np.uint8)
    shown.append(np.where(mask[..., None], one.image, pale))
names = [thing.category for thing in one.factors.things]
image_grid(np.stack(shown), ["scene", *names], columns=3)
plt.show()

# %%
print("pixels of each:", all(mask.sum() > 50 for mask in one.masks))
print("pixels of both:", int((one.masks[0] & one.masks[1]).sum()))

# %% [markdown]
# ## The vocabulary
#
# All words of the world fit on a page. Its categories are COCO's wherever that is possible.

# %%
import textwrap

from minisd.scenes import (
    ACCESSORIES,
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    PLACES,
    RELATIONS,
    SIZES,
    SceneFactors,
    Thing,
    accessories_of,
    backgrounds_of,
    draw,
)

vocabulary = {
    "categories": CATEGORIES,
    "colours": COLOURS,
    "backgrounds": BACKGROUNDS,
    "sizes": SIZES,
    "places": PLACES,
    "accessories": ACCESSORIES,
    "relations": RELATIONS,
}
for name, words in vocabulary.items():
    print(textwrap.fill(f"{len(words)} {name}: {', '.join(words)}", 76))

# %% [markdown]
# Not everything goes with everything. A boat needs water. A car has no place in a room. Only what has a face wears
# sunglasses or a hat. Factors that do not fit are refused, with the reason:

# %%
try:
    SceneFactors("room", (Thing("car", "red"),))
except ValueError as error:
    print(textwrap.fill(str(error), 76))
try:
    Thing("clock", "red", accessory="hat")
except ValueError as error:
    print(error)

# %% [markdown]
# How many different scenes with one thing are there, in words? For each category count the backgrounds and accessories that suit it:
#
# $$
# N = \sum_{\text{categories } c} 8 \text{ colours} \cdot 2 \text{ sizes} \cdot 3 \text{ places} \cdot A_c \cdot B_c ,
# $$ (picture-world-count)
#
# where $A_c$ and $B_c$ are the numbers of its accessories and backgrounds. The cell compares the sum with a list of all that are
# not refused.

# %%
import itertools

N = 0
for c in CATEGORIES:
    N += 8 * 2 * 3 * len(accessories_of(c)) * len(backgrounds_of(c))


def allowed(background, *words):
    try:
        SceneFactors(background, (Thing(*words),))
    except ValueError:
        return False
    return True


words = (BACKGROUNDS, CATEGORIES, COLOURS, SIZES, PLACES, ACCESSORIES)
listed = sum(allowed(*choice) for choice in itertools.product(*words))
print(f"{N} scenes in words; the list says the same: {listed == N}")

# %% [markdown]
# In pixels there are many more. What the words leave open is drawn by chance: the exact position, the pose, the way it
# faces, the hue, the light, the clouds.
#
# ## One factor at a time
#
# `draw` takes the factors and a random generator for what they leave open. Give it the same generator state and other factors, and
# only what you changed is different.


# %%
def picture(background, *things, relation=None, seed=3):
    """A scene of our choice; the same seed gives the same chances."""
    factors = SceneFactors(background, things, relation)
    return draw(factors, np.random.default_rng(seed))


def dog(colour, accessory="sunglasses"):
    return Thing("dog", colour, accessory=accessory)


rows = [picture("grass field", dog(colour)) for colour in COLOURS]
rows += [picture(background, dog("orange")) for background in BACKGROUNDS]
rows += [picture("beach", dog("orange", a)) for a in ("none", "hat")]
for size, place in itertools.product(SIZES, PLACES):
    rows.append(picture("beach", Thing("bird", "purple", size, place)))
rows += [picture("snow", Thing("cat", "red"), seed=seed) for seed in (1, 2)]

# %% mystnb={"image": {"alt": "Three rows of eight scenes. First a dog with sunglasses on grass in eight colours, all else alike. Then an orange dog with sunglasses on six backgrounds, and without sunglasses and with a hat on a beach. Then a purple bird on a beach, small and large, at the left, centre and right, and a red cat in snow twice, in two poses."}, "figure": {"caption": "First row: eight colours. Second: six backgrounds, then two accessories. Third: two sizes at three places, then two chances for the same words.", "name": "picture-world-factors"}}
image_grid(np.stack([row.image for row in rows]), columns=8)
plt.show()

# %% [markdown]
# The cell below takes two colours from the first row. Their masks are equal, and away from the dog no pixel differs. (The
# outline of a thing lies around its mask, and is allowed two pixels.)

# %%
from PIL import Image, ImageFilter

red, blue = rows[0], rows[4]
differs = (red.image != blue.image).any(axis=2)
mask = Image.fromarray(red.masks[0]).convert("L")
grown = np.asarray(mask.filter(ImageFilter.MaxFilter(5))) > 0
print("masks are equal:", bool((red.masks == blue.masks).all()))
print("the rest is equal:", not differs[~grown].any())

# %% [markdown]
# ## The endless index
#
# You rarely choose factors by hand. `scene(index, seed)` is a function: the same two numbers give the same
# scene, in any order, in any process, on any day. The index runs without end, and `seed` chooses another world. A data set
# is then a range of numbers, and a test set is another range. Nothing needs to be stored.

# %%
together, alone = scenes([40, 7, 12]), scene(7)
same = (together.images[1] == alone.image).all()
print("order does not matter:", bool(same))
print("another world:", scene(7, seed=1).captions[0] != alone.captions[0])
print("different among 60:", len({image.tobytes() for image in batch.images}))

# %% [markdown]
# Drawing is fast enough to be done while a model trains. One core draws some 1,500 scenes in a second, captions and masks
# included; `python benchmarks/scenes.py` measures it on your machine. Things and backgrounds are painted once, at four times the
# resolution, and kept; each scene then crops, scales, colours and lights them.
#
# `scene_factors(index)` gives the factors without the drawing. You can search the world with it.
#
# ## The two prompts of the report
#
# The report that this course follows tries its models on "a dog with sunglasses in a grass field" and "a cat with sunglasses on a
# bench". Both are in this world.

# %% mystnb={"image": {"alt": "Eight scenes. Four show a dog with sunglasses in a grass field, in red, yellow, white and purple; four show a cat with sunglasses sitting on a bench, on four backgrounds."}, "figure": {"caption": "A dog with sunglasses in a grass field; a cat with sunglasses on a bench.", "name": "picture-world-prompts"}}
prompts = []
for seed, colour in enumerate(("red", "yellow", "white", "purple")):
    prompts.append(picture("grass field", dog(colour), seed=seed))
places = ("grass field", "lake", "snow", "night street")
for seed, colour in enumerate(("orange", "blue", "black", "white")):
    cat = Thing("cat", colour, "small", accessory="sunglasses")
    bench = Thing("bench", COLOURS[(seed + 3) % 8], "large")
    prompts.append(picture(places[seed], cat, bench, relation="on", seed=seed))
image_grid(np.stack([prompt.image for prompt in prompts]), columns=4)
plt.show()

# %% [markdown]
# ## How often is what?
#
# The endless world draws its factors by chance: with probability 0.3 two things, else one. With one thing, the category comes
# first, each as probable as the other, then a background that suits it, then the rest. So a colour has the probability
# $\frac18$. Count a colour among $n$ scenes: the share you find has, by the binomial distribution, the standard deviation
#
# $$
# \operatorname{std} = \sqrt{\frac{p\,(1 - p)}{n}} , \qquad p = \tfrac18 .
# $$ (picture-world-binomial)
#
# No count should lie more than four of them off. The cell checks this for each factor that is drawn evenly.

# %%
from collections import Counter

from minisd.scenes import scene_factors

world = [scene_factors(index) for index in range(10_000)]
single = [factors for factors in world if len(factors.things) == 1]


def far_off(counts, p, n):
    """The largest distance from p, in standard deviations."""
    std = (p * (1 - p) / n) ** 0.5
    return max(abs(count / n - p) / std for count in counts)


two = len(world) - len(single)
print("two things:", far_off([two], 0.3, len(world)) < 4)
for name, options in (
    ("category", CATEGORIES),
    ("colour", COLOURS),
    ("size", SIZES),
    ("place", PLACES),
):
    counts = Counter(getattr(factors.things[0], name) for factors in single)
    even = far_off(counts.values(), 1 / len(options), len(single)) < 4
    print(f"{name}: {len(counts)} of {len(options)} seen, evenly: {even}")

# %% mystnb={"image": {"alt": "A table of colours: 15 categories down, 6 backgrounds across; brighter cells are more frequent. The boat has only the beach and the lake, at about 3.3 percent each. Things that may be indoors have all six, at about 1.1 percent each. The others have five, at 1.3 percent."}, "figure": {"caption": "Scenes with one thing, in percent. Each category is equally frequent; a boat has two backgrounds only, so it meets each of them more often.", "name": "picture-world-table"}}
table = np.zeros((len(CATEGORIES), len(BACKGROUNDS)))
for factors in single:
    row = CATEGORIES.index(factors.things[0].category)
    table[row, BACKGROUNDS.index(factors.background)] += 100 / len(single)

figure, axes = plt.subplots(figsize=(6.4, 4.2))
image = axes.imshow(table, aspect="auto")
axes.set_xticks(range(len(BACKGROUNDS)), BACKGROUNDS)
axes.set_yticks(range(len(CATEGORIES)), CATEGORIES)
axes.grid(visible=False)
figure.colorbar(image, label="percent of scenes")
plt.show()

# %% [markdown]
# ## Combinations held back
#
# A model that has seen red dogs and blue cats: can it draw a blue dog? To ask this, some combinations must be missing from what it
# learns from, while each part of them is there. The CLEVR data set asked it of models that answer questions about pictures
# {cite}`johnson2017clevr`, and {cite:t}`okawa2023compositional` of diffusion models.
#
# Here it takes one function over the factors. Each category loses one colour:


# %%
def held_back(factors):
    """Whether a thing has the colour that its category is to lack."""
    for thing in factors.things:
        lacking = COLOURS[CATEGORIES.index(thing.category) % 8]
        if thing.colour == lacking:
            return True
    return False


kept = [factors for factors in single if not held_back(factors)]
categories = {factors.things[0].category for factors in kept}
colours = {factors.things[0].colour for factors in kept}
gone = len(single) - len(kept)
red_dog = SceneFactors("snow", (Thing("dog", "red"),))
print("each category is left: ", categories == set(CATEGORIES))
print("each colour is left:   ", colours == set(COLOURS))
print("one eighth is gone:    ", far_off([gone], 1 / 8, len(single)) < 4)
print("a red dog is held back:", held_back(red_dog))

# %% [markdown]
# A model trained on what is kept is then asked for a red dog, an orange cat, a yellow bird. A later part of the book does this.
#
# ## Play
#
# Move the slider through twelve more scenes. Below each stands its complete caption. In Jupyter, change the seed in
# `draw_scene` to see another world.

# %%
from minisd.widgets import slider


def draw_scene(index):
    drawn = scene(index, seed=0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(5, 2.7))
    left.imshow(drawn.image, interpolation="nearest")
    right.imshow(drawn.masks.any(axis=0), cmap="gray")
    for axes in (left, right):
        axes.set_axis_off()
    figure.supxlabel(drawn.captions[0], fontsize=8.5)
    return figure


slider(
    draw_scene,
    range(60, 72),
    label="scene",
    caption="A scene, the pixels of its things, and its first caption.",
    alt=lambda index: scene(index).captions[0],
)

# %% [markdown]
# ## Exercises
#
# ```{exercise} From words to a picture
# :label: picture-world-draw
#
# Draw "a small white cat with a hat on a large red bench on the left of a night street", and check by the masks that the cat is above
# the middle of the bench.
# ```
#
# ```{solution-start} picture-world-draw
# :class: dropdown
# ```
#
# "On" is a relation of two things at the same place. Rows count downwards, so "above" is a smaller mean row.

# %% mystnb={"image": {"alt": "Five scenes of a small white cat with a pink hat that sits on a large red bench at the left of a street at night; poses, lamps and windows differ."}, "figure": {"caption": "A small white cat with a hat on a large red bench, five times.", "name": "picture-world-cat"}}
cat = Thing("cat", "white", "small", "left", "hat")
bench = Thing("bench", "red", "large", "left")
images, higher = [], []
for seed in range(5):
    drawn = picture("night street", cat, bench, relation="on", seed=seed)
    cat_row, bench_row = [np.argwhere(mask)[:, 0].mean() for mask in drawn.masks]
    higher.append(bool(cat_row < bench_row))
    images.append(drawn.image)
print("the cat is above the bench:", all(higher))
image_grid(np.stack(images))
plt.show()

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} How rare is a prompt?
# :label: picture-world-rare
#
# How probable is it that a scene of the endless world shows one thing, namely a dog with sunglasses in a grass field? Work
# it out, then count.
# ```
#
# ```{solution-start} picture-world-rare
# :class: dropdown
# ```
#
# One thing: 0.7. A dog: 1/15. A dog is at home in all six backgrounds: 1/6. Sunglasses are one of three accessories: 1/3. The product
# is 0.0026, one scene in 386. A model that is trained on 100,000 scenes sees this prompt some 260 times.

# %%
p = 0.7 / 15 / 6 / 3


def fits(factors):
    (thing, *others) = factors.things
    wanted = ("dog", "sunglasses", "grass field")
    found = (thing.category, thing.accessory, factors.background)
    return not others and found == wanted


found = [index for index, factors in enumerate(world) if fits(factors)]
print(f"one in {1 / p:.0f}; the first is scene {found[0]}:")
print(scene(found[0]).captions[0])
print("the count fits:", far_off([len(found)], p, len(world)) < 4)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Read the colour
# :label: picture-world-colour
#
# `COLOUR_RGB` gives the middle of each colour. Write a function that reads the colour of a thing from its pixels, and find how often
# it is right on the first 200 scenes.
# ```
#
# ```{solution-start} picture-world-colour
# :class: dropdown
# ```
#
# Let each pixel of the mask vote for the nearest colour. Shading, eyes, wheels and pink hats mislead some of them, but rarely most. A
# scorer of this kind, trained and sharper, will later mark generated pictures.

# %%
from minisd.scenes import COLOUR_RGB

middles = np.array([COLOUR_RGB[colour] for colour in COLOURS], dtype=float)


def read_colour(image, mask):
    distance = ((image[mask][:, None, :] - middles) ** 2).sum(axis=2)
    votes = np.bincount(distance.argmin(axis=1), minlength=len(COLOURS))
    return COLOURS[votes.argmax()]


first, right = scenes(range(200)), 0
for i, factors in enumerate(first.factors):
    colour = read_colour(first.images[i], first.masks[i, 0])
    right += colour == factors.things[0].colour
print("right in more than nine of ten:", right > 180)

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# - COCO {cite}`lin2014microsoft` has photographs of everyday scenes, with a mask for each thing and five captions a
#   picture. A scene of this world has the same parts.
# - The Natural Scenes Dataset {cite}`allen2022massive` showed such photographs to eight people in a scanner, some 10,000 to each.
# - CLEVR {cite}`johnson2017clevr` made a drawn world with known factors a tool to take models apart with.
# - {cite:t}`okawa2023compositional` did so for diffusion models, and found that a model combines things only once it has
#   learned each of them.
#
# ## The way on
#
# You have pictures. {doc}`../diffusion/forward` destroys them, step by step, and keeps the books.
