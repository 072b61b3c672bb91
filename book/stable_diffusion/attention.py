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
# # Attention and cross-attention
#
# **You will be able to**
#
# - say what a query, a key and a value are, and compute attention by hand;
# - say why the scores are divided by $\sqrt d$, and measure what happens if they are not;
# - build the transformer block of Stable Diffusion's U-Net, and show that it is the one in diffusers;
# - say what self-attention over pixels costs, and how to fit it into memory;
# - read an attention map word by word, and say what it does not tell you.
#
# **Time** 40 minutes to read; the cells run in about 25 seconds, most of it training.
#
# **Before this** {doc}`clip`, which turns a prompt into a row of vectors, one a token.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its third chapter of eight, attention."}, "figure": {"caption": "Where you are: the third chapter of Part III.", "name": "attention-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("attention")
plt.show()

# %% [markdown]
# ## A soft lookup
#
# A dictionary finds the key that equals the query, and returns its value. Attention {cite}`vaswani2017attention` is a dictionary for vectors, where
# nothing is ever quite equal. It compares the *query* $q$ with every *key* $k_j$ by a dot product, turns the scores into weights $a_j$ that are positive and sum to 1, and returns the weighted mean
# of the *values* $v_j$:
#
# $$
# a_j = \frac{e^{s_j}}{\sum_{i=1}^{M} e^{s_i}}, \qquad s_j = \frac{q \cdot k_j}{\sqrt d}, \qquad
# \mathrm{attend}(q) = \sum_{j=1}^{M} a_j\, v_j .
# $$ (attention-lookup)
#
# Here $d$ is the number of entries of a query and of a key, and $M$ the number of keys. The first formula is the *softmax* of the scores. Take three keys in the plane, and let each have a number as its value.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(1)  # in small tensors, threads wait for one another
keys = 4 * torch.tensor([[1.0, 0.0], [-0.5, 0.866], [-0.5, -0.866]])
values = torch.tensor([1.0, 2.0, 6.0])


def lookup(query):
    """Weights [3] and the value, for one query [2]: one key at a time."""
    scores = [sum(query * key) / math.sqrt(2) for key in keys]
    total = sum(math.exp(s) for s in scores)
    weights = [math.exp(s) / total for s in scores]
    return weights, sum(weights[j] * float(values[j]) for j in range(3))


for query in ([1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]):
    weights, answer = lookup(torch.tensor(query))
    print(query, "weights", [f"{a:.2f}" for a in weights], f"answer {answer:.2f}")

# %% [markdown]
# The first query points along the first key and gets its value, almost. The second lies halfway between the other two and gets their mean. The third
# is the zero vector: it asks nothing, and gets the mean of everything. {numref}`attention-three` turns the query once around the circle.

# %% mystnb={"image": {"alt": "Left: three keys in the plane as dots at angles 0, 120 and 240 degrees, inside them a circle of queries. Right: three curves of weights over the query's angle; each is a smooth hill centred on its own key, and where two cross, both are one half."}, "figure": {"caption": "Each key takes the queries that point its way; between two keys the answer passes smoothly from one to the other.", "name": "attention-three"}}
angles = torch.linspace(0, 2 * math.pi, 121)
circle = torch.stack([angles.cos(), angles.sin()], dim=1)
weights = (circle @ keys.T / math.sqrt(2)).softmax(dim=1)
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.7), width_ratios=[1, 1.7])
axes[0].plot(*circle.T, color="black", lw=1)
for j, marker in enumerate("osD"):
    axes[0].plot(*keys[j], marker, ms=8)
    axes[0].annotate(f"key {j + 1}", keys[j], (6, 8), textcoords="offset points")
    axes[1].plot(angles.rad2deg(), weights[:, j], label=f"key {j + 1}")
    axes[1].plot(angles[15::30].rad2deg(), weights[15::30, j], marker, color=f"C{j}")
axes[0].set(xlim=(-4, 6.5), ylim=(-5, 5.5), aspect="equal", title="keys and queries")
axes[1].set(xlabel="angle of the query in degrees", ylabel="weight")
axes[1].set(xticks=range(0, 361, 60), ylim=(-0.05, 1.3))
axes[1].legend(ncols=3, loc="upper center")
plt.show()

# %% [markdown]
# Unlike a dictionary it has a slope everywhere: turn the query a little, and the answer changes a little. So a network can *learn* what to look up.
#
# All queries can be asked at once. Write them as the rows of $Q$ [N, d], the keys as those of $K$ [M, d], and the values as those of $V$ [M, C]:
#
# $$
# \mathrm{attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt d}\right) V ,
# $$ (attention-matrix)
#
# with the softmax along each row. PyTorch has it as one call, `scaled_dot_product_attention`, which never stores the $N \times M$ weights where it can help it. The cell
# compares the two with the loop above.


# %%
def attention(Q, K, V):
    """Attention as its formula says; [N, d], [M, d], [M, C] to [N, C]."""
    weights = (Q @ K.mT / math.sqrt(Q.shape[-1])).softmax(dim=-1)
    return weights @ V


ours = attention(circle, keys, values[:, None])
one_by_one = torch.tensor([lookup(query)[1] for query in circle])
fast = F.scaled_dot_product_attention(circle, keys, values[:, None])
print(f"as the loop: {torch.allclose(ours[:, 0], one_by_one, atol=1e-5)}")
print(f"as PyTorch:  {torch.allclose(ours, fast, atol=1e-5)}")

# %% [markdown]
# ## Why the square root
#
# Let the entries of $q$ and $k$ be independent, with mean 0 and variance 1. Each product $q_i k_i$ then has mean 0 and variance 1, and the sum of $d$ of them has
#
# $$
# \mathrm{Var}[q \cdot k] = \sum_{i=1}^{d} \mathrm{Var}[q_i k_i] = d .
# $$ (attention-variance)
#
# So scores grow like $\sqrt d$, and dividing by it brings them back to variance 1, whatever the width.

# %%
g = torch.Generator().manual_seed(0)
for d in (4, 40, 160):
    q, k = torch.randn(2, 20_000, d, generator=g)
    variance = (q * k).sum(1).var()
    print(f"d = {d}: variance / d = {variance / d:.1f}")

# %% [markdown]
# What is wrong with large scores? The softmax of large scores is nearly 1 in one place and 0 elsewhere: the lookup becomes hard. Its slope is then nearly 0 everywhere, and nothing is learned from it.
# With $\partial a_j / \partial s_i = a_j (\delta_{ij} - a_i)$, where $\delta_{ij}$ is 1 for $i = j$ and 0 otherwise, a gradient $g_j = \partial L / \partial a_j$ becomes
#
# $$
# \frac{\partial L}{\partial s_i} = \sum_j g_j\, a_j (\delta_{ij} - a_i) = a_i \Bigl(g_i - \sum_j a_j g_j\Bigr) ,
# $$ (attention-gradient)
#
# which vanishes for each $a_i$ near 0, and for an $a_i$ near 1 as well, since the bracket is then near 0. The cell checks the formula against autograd and against finite differences.

# %%
scores = torch.randn(6, generator=g, dtype=torch.float64, requires_grad=True)
target = torch.randn(6, generator=g, dtype=torch.float64)


def L(s):
    return s.softmax(0) @ target


(automatic,) = torch.autograd.grad(L(scores), scores)
a = scores.detach().softmax(0)
formula = a * (target - a @ target)
steps = 1e-5 * torch.eye(6, dtype=torch.float64)
s = scores.detach()
finite = torch.stack([(L(s + e) - L(s - e)) / 2e-5 for e in steps])
print(f"as autograd:           {torch.allclose(formula, automatic)}")
print(f"as finite differences: {torch.allclose(formula, finite, atol=1e-8)}")

# %% mystnb={"image": {"alt": "Two panels over the width d from 1 to 1024. Left, the largest of 16 weights: without the division it rises from about 0.25 to nearly 1, with it it stays at about 0.25. Right, the size of the gradient: without the division it falls to a small fraction, with it it stays level."}, "figure": {"caption": "Without the division by $\\sqrt d$, a wide layer looks at one key alone (left) and learns little (right).", "name": "attention-saturation"}}
widths = 2 ** torch.arange(11)
largest, slope = torch.zeros(2, 2, len(widths))
for i, d in enumerate(widths.tolist()):
    q, k = torch.randn(400, 1, d, generator=g), torch.randn(400, 16, d, generator=g)
    for j, scale in enumerate((1.0, d**-0.5)):
        a = ((q * k).sum(-1) * scale).softmax(-1)
        largest[j, i] = a.max(-1).values.mean()
        slope[j, i] = (a * (1 - a)).sum(-1).mean()  # trace of the slope matrix
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.6))
titles = ("largest of 16 weights", "size of the slope")
for axis, curves, name in zip(axes, (largest, slope), titles, strict=True):
    axis.semilogx(widths, curves[0], "o-", base=2, label="scores as they are")
    axis.semilogx(widths, curves[1], "s--", base=2, label=r"divided by $\sqrt{d}$")
    axis.set(xlabel="width d", title=name, ylim=(0, 1.05))
axes[0].legend()
plt.show()

# %% [markdown]
# The same knob is known as a *temperature*: $\mathrm{softmax}(s / \tau)$ is hard for small $\tau$ and level for large. Here $\tau = \sqrt d$. CLIP learns its own for its contrastive loss ({doc}`clip`).
#
# ## The layer
#
# In a network, queries come from $x$ [B, N, C] and keys and values from a *context* [B, M, C'], each through a learned matrix: $Q = x W_q$, $K = c W_k$, $V = c W_v$. A last matrix, with a bias, goes over the result.
#
# - In **self-attention** the context is $x$ itself: every pixel asks all pixels.
# - In **cross-attention** the context is something else: every pixel asks all words.
#
# One lookup returns one mixture. To look for several things at once, the $C$ channels are dealt out to *heads*. Each head is a lookup of its own with $C / \text{heads}$ channels, and the answers are laid side by side:
#
# $$
# \mathrm{head}_h = \mathrm{attention}(x W_q^h,\; c W_k^h,\; c W_v^h), \qquad
# \mathrm{layer}(x, c) = [\mathrm{head}_1, \dots, \mathrm{head}_H]\, W_o + b .
# $$ (attention-heads)
#
# The cell writes it out head by head, and compares it with `minisd.models.attention.Attention`, which asks all heads in one call.

# %%
from minisd.models.attention import Attention

torch.manual_seed(0)
layer = Attention(channels=24, heads=3, context_channels=10)
x, c = torch.randn(2, 50, 24), torch.randn(2, 7, 10)
with torch.no_grad():
    Q, K, V = layer.to_q(x), layer.to_k(c), layer.to_v(c)
    heads = []
    for h in range(3):
        own = slice(8 * h, 8 * h + 8)  # the channels of head h
        heads.append(attention(Q[..., own], K[..., own], V[..., own]))
    by_hand = layer.to_out(torch.cat(heads, dim=-1))
    print(f"{list(x.shape)} asks {list(c.shape)}: {list(by_hand.shape)}")
    print(f"same as minisd: {torch.allclose(by_hand, layer(x, c), atol=1e-5)}")
    print(f"weights {list(layer.weights(x, c).shape)}: batch, heads, queries, keys")

# %% [markdown]
# The number of heads costs nothing: the matrices have the same size, and each head has fewer channels. Stable Diffusion 1.x has 8 heads everywhere, with 40, 80 or 160 channels each. Its configuration
# file calls the number 8 `attention_head_dim`, which is the wrong name for it: {doc}`unet` says what happens to those who believe it.
#
# ### Order does not matter
#
# Nothing in {eq}`attention-matrix` knows where a key stands in its list. Let $P$ shuffle the rows of $x$, and $P'$ those of the context. Then
#
# $$
# \mathrm{layer}(P x,\; P' c) = P\, \mathrm{layer}(x, c) .
# $$ (attention-order)
#
# Shuffled queries get their answers shuffled in the same way, and a shuffled context changes nothing at all.

# %%
P, P_ = torch.randperm(50, generator=g), torch.randperm(7, generator=g)
with torch.no_grad():
    shuffled = layer(x[:, P], c[:, P_])
    expected = layer(x, c)[:, P]
print(f"order does not matter: {torch.allclose(shuffled, expected, atol=1e-5)}")

# %% [markdown]
# So to attention a picture is a bag of pixels, and a sentence a bag of words. "A red dog, a blue car" would be the same as "a blue dog, a red car". What tells them apart must stand *in* the vectors. CLIP adds a position to each
# token, and its own self-attention writes into each word what stood before it. In the U-Net no position is added: the convolutions before and after, with their borders, bring it in.
#
# ## Self-attention over pixels
#
# A feature map [B, C, H, W] becomes a list of $N = H W$ pixels, row by row, and each asks all of them. A convolution sees only its neighbours; here one layer joins the two ends of a picture. To see what such a lookup can find, no training is needed. Let
# queries and keys be the pixels of a photograph themselves, each with the colours of its 3 by 3 neighbourhood.

# %% mystnb={"image": {"alt": "Four pictures. First a photograph of a tabby cat's face, shrunk to 50 by 50 pixels, with three numbered dots: on a pupil, on the ridge of the nose, and on the forehead. Then three maps of weights: the first dot lights up both pupils and a few spots near the nostrils, the second the ridge and tip of the nose, the third the light fur all over the picture."}, "figure": {"caption": "Three pixels of a photograph and what each looks at. Nothing was trained: the one pupil finds the other, the nose the nose, fur the fur.", "name": "attention-cat"}}
from skimage.data import chelsea

face = torch.from_numpy(chelsea()[:300, 75:375].copy())
photo = face.permute(2, 0, 1)[None] / 127.5 - 1
small = F.avg_pool2d(photo, 6)  # 50 x 50 pixels
padded = F.pad(small, (1, 1, 1, 1), mode="replicate")
patches = F.unfold(padded, 3)[0].T  # [2500, 27]
patches = (patches - patches.mean(0)) / patches.std()
ask = {"1": (17, 16), "2": (34, 31), "3": (2, 40)}  # row, column
distance = torch.cdist(patches, patches)
figure, axes = plt.subplots(1, 4, figsize=(6.4, 1.9))
axes[0].imshow((small[0].permute(1, 2, 0) + 1) / 2)
for axis, (name, (row, column)) in zip(axes[1:], ask.items(), strict=True):
    # -|q - k|^2 = 2 q.k - |k|^2 - |q|^2: a dot product with one more entry
    weights = (-(distance[50 * row + column] ** 2) / 4).softmax(0).view(50, 50)
    axis.imshow(weights.sqrt())
    axis.plot(column, row, "o", mfc="none", mec="white")
    axis.set_title(f"pixel {name} looks at")
    axes[0].plot(column, row, "o", ms=9, color="white", mec="black")
    axes[0].text(column, row, name, fontsize=6.5, ha="center", va="center_baseline")
for axis in axes:
    axis.set_axis_off()
plt.show()

# %% [markdown]
# ### What it costs
#
# Every pixel asks every pixel, so the weights are $N^2$ numbers for each head and each picture. Double the height and the width, and they become sixteen times as many. The cell counts for Stable Diffusion's U-Net at its first level.

# %%
for pixels in (256, 512, 1024):
    N = (pixels // 8) ** 2
    self_weights, cross_weights = 8 * N * N * 4, 8 * N * 77 * 4  # 8 heads, 4 bytes
    print(
        f"{pixels} x {pixels}: N = {N}, self-attention {self_weights / 2**20:,.0f} MiB,"
        f" cross-attention {cross_weights / 2**20:,.0f} MiB"
    )

# %% [markdown]
# Cross-attention is cheap, since there are only 77 words. For self-attention the way out is not to hold the weights all at once {cite}`rabe2021selfattention`. A query does not need the others' weights, so ask some queries at a time:
# `Attention.query_chunk` says how many. The answer is the same. Fused kernels go further and walk over the keys in blocks too {cite}`dao2022flashattention`: `scaled_dot_product_attention` has such kernels.

# %%
wide = Attention(channels=32, heads=4)
x = torch.randn(1, 600, 32, generator=g)
with torch.no_grad():
    whole = wide(x)
    wide.query_chunk = 128
    print(f"in chunks, the same: {torch.allclose(wide(x), whole, atol=1e-6)}")

# %% [markdown]
# ## The transformer block
#
# In the U-Net attention comes as a block of three layers, each with a LayerNorm before it, and each *added* to what comes in:
#
# $$
# x \leftarrow x + \mathrm{self}(\mathrm{norm}_1 x), \qquad
# x \leftarrow x + \mathrm{cross}(\mathrm{norm}_2 x,\; c), \qquad
# x \leftarrow x + \mathrm{ff}(\mathrm{norm}_3 x) .
# $$ (attention-block)
#
# The third, the *feed-forward* layer, works on each pixel alone. It is a GEGLU {cite}`shazeer2020glu`: one linear layer makes two halves, $u$ and $w$, each four times as wide as $x$; the second opens and closes the first; another linear layer leads back:
#
# $$
# \mathrm{ff}(x) = \bigl(u \odot \mathrm{gelu}(w)\bigr) W_2 + b_2, \qquad [u, w] = x W_1 + b_1, \qquad
# \mathrm{gelu}(w) = w\, \Phi(w) ,
# $$ (attention-geglu)
#
# with the standard normal distribution function $\Phi$. Around it all, the *spatial transformer* norms the feature map in groups, passes through a 1 by 1 convolution, makes a list of the pixels, runs the block, and goes the way back; the feature map is carried past and added. You have all the parts, so write it out.

# %%
from einops import rearrange

from minisd.models.attention import SpatialTransformer


def spatial_transformer(m, x, c):
    """What `SpatialTransformer` does, with the layers of m."""
    block = m.transformer_blocks[0]
    h = m.proj_in(m.norm(x))
    h = rearrange(h, "b c h w -> b (h w) c")
    h = h + block.attn1(block.norm1(h))  # pixels ask pixels
    h = h + block.attn2(block.norm2(h), c)  # pixels ask words
    n = block.norm3(h)  # each pixel by itself
    u, w = block.ff.net[0].proj(n).chunk(2, dim=-1)
    Phi = (1 + torch.erf(w / math.sqrt(2))) / 2
    h = h + block.ff.net[2](u * w * Phi)
    h = rearrange(h, "b (h w) c -> b c h w", h=x.shape[2])
    return x + m.proj_out(h)


torch.manual_seed(0)
transformer = SpatialTransformer(32, heads=4, context_channels=10, groups=8)
x, c = torch.randn(2, 32, 6, 9), torch.randn(2, 7, 10)
with torch.no_grad():
    difference = spatial_transformer(transformer, x, c) - transformer(x, c)
print(f"{list(x.shape)} under {list(c.shape)}: {list(transformer(x, c).shape)}")
print(f"same as minisd: {bool(difference.abs().max() < 1e-5)}")

# %% [markdown]
# ### The same as diffusers
#
# Being equal to your own text is not enough. The next cell is the only one in this chapter that needs `diffusers`. It makes a transformer there at the width of Stable Diffusion's first level, moves its weights over, and compares what the two add to $x$. All weights are
# drawn anew, since a fresh norm layer multiplies by 1 and adds 0, and would hide a mistake.

# %%
# Parity cell: needs diffusers, which the course's tests install.
import diffusers
from diffusers.models.transformers import Transformer2DModel

diffusers.utils.logging.set_verbosity_error()
theirs = Transformer2DModel(8, 40, in_channels=320, cross_attention_dim=768).eval()
for p in theirs.parameters():
    nn.init.normal_(p, std=1 / math.sqrt(p.shape[-1]) if p.ndim > 1 else 1)
ours = SpatialTransformer(channels=320, heads=8, context_channels=768)
ours.load_state_dict(theirs.state_dict())
x, c = torch.randn(2, 320, 6, 9), torch.randn(2, 77, 768)
with torch.no_grad():
    expected = theirs(x, encoder_hidden_states=c, return_dict=False)[0] - x
    error = (ours(x, c) - x - expected).abs().max() / expected.abs().max()
print(f"{sum(p.numel() for p in ours.parameters()):,} parameters")
print(f"relative error < 1e-5: {bool(error < 1e-5)}")

# %% [markdown]
# ## Maps of words
#
# The weights of a cross-attention say how much each pixel looks at each word. Take one word's column, lay it out as a picture, and you have that word's *map*. `record_cross_attention` keeps the weights of every block that runs inside its `with`, as means over the heads.
# Here it listens to a small U-Net with the real one's skeleton. Its weights are random and so are the words' vectors, so the maps in {numref}`attention-random` mean nothing yet: they have the right shapes, and they show where a map without meaning lies, near $1/M$.

# %% mystnb={"image": {"alt": "Six maps of 16 by 16 pixels in nearly the same middle shade with faint blotches; no shape can be made out in any of them."}, "figure": {"caption": "Maps of six words in a U-Net with random weights: each pixel looks at all words about equally.", "name": "attention-random"}}
from minisd.models.attention import record_cross_attention
from minisd.models.unet import UNet, UNetConfig

words = ["a", "dog", "with", "sun", "glasses", "running"]
torch.manual_seed(0)
unet = UNet(
    UNetConfig(
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=24,
    )
).requires_grad_(False)
x_t, context = torch.randn(1, 4, 16, 16), torch.randn(1, len(words), 24)
with record_cross_attention(unet) as maps:
    unet(x_t, torch.tensor(500.0), context)

last = maps["up_blocks.1.attentions.2.transformer_blocks.0"][0][0]  # [256, 6]
figure, axes = plt.subplots(1, 6, figsize=(6.4, 1.4))
for j, (axis, word) in enumerate(zip(axes, words, strict=True)):
    axis.imshow(last[:, j].view(16, 16), vmin=0, vmax=2 / len(words))
    axis.set_title(word)
    axis.set_axis_off()
plt.show()

# %%
for name, (weights,) in maps.items():
    short = name.removesuffix(".transformer_blocks.0")
    print(f"{short:26} {list(weights.shape)}, sums to 1: "
          f"{torch.allclose(weights.sum(-1), torch.tensor(1.0))}")  # fmt: skip

# %% [markdown]
# Each level has maps of its own size: 256 pixels at the top, 64 in the middle. In a trained model, maps of several blocks and steps are enlarged and added {cite}`tang2023daam`.
#
# ## A layer that learns to read
#
# Now maps that do mean something. The task is to colour a grey picture from its caption, such as "purple dog right of white umbrella". Only the caption knows the colours, so the picture must ask it. That is the U-Net's situation on a
# small scale: what the pixels do not say comes in through cross-attention. Nobody tells the layer which pixel belongs to which word. The loss sees colours only.
#
# The data are 1,000 scenes of the picture world, of two things each, 32 by 32 pixels. The colour is asked for at half that resolution, as television sends it.

# %%
import numpy as np

from minisd.scenes import SceneFactors, Thing, draw

KINDS = ("dog", "elephant", "bus", "umbrella")
HUES = ("red", "yellow", "green", "blue", "purple", "white")
HOMES = ("grass field", "snow", "beach")
rng = np.random.default_rng(0)


def two_things():
    """Factors of a random scene: two kinds, two colours, side by side."""
    kinds = rng.choice(KINDS, 2, replace=False)
    hues = rng.choice(HUES, 2, replace=False)
    sizes = (("small", "small"), ("small", "large"), ("large", "small"))[rng.integers(3)]
    sides = (("left", "right"), ("right", "left"))[rng.integers(2)]
    parts = zip(kinds, hues, sizes, sides, strict=True)
    things = tuple(Thing(str(k), str(h), s, p) for k, h, s, p in parts)
    return SceneFactors(str(rng.choice(HOMES)), things, f"{sides[0]} of")


def words_of(factors):
    """Six words: colour, kind, "left" or "right", "of", colour, kind."""
    one, two = factors.things
    side = factors.relation.split()
    return [one.colour, one.category, *side, two.colour, two.category]


factors = [two_things() for _ in range(1064)]
drawn = [draw(f, rng, 32) for f in factors]
images = torch.from_numpy(np.stack([s.image for s in drawn]))
pictures = images.permute(0, 3, 1, 2) / 127.5 - 1
grey = pictures.mean(1, keepdim=True)
colour = F.avg_pool2d(pictures - grey, 2)  # [N, 3, 16, 16]
masks = torch.from_numpy(np.stack([s.masks for s in drawn])).float()
masks = F.avg_pool2d(masks, 2)  # [N, 2, 16, 16]
captions = [words_of(f) for f in factors]
vocabulary = sorted({word for caption in captions for word in caption})
ids = torch.tensor([[vocabulary.index(w) for w in caption] for caption in captions])
print(len(vocabulary), "words;", list(ids.shape), list(grey.shape), list(colour.shape))

# %% [markdown]
# Each word gets a vector, and to it is added a linear map of the word before. So the vector of "dog" knows that the dog is purple, while the vector of "purple" does not know what is purple. It is the least of what CLIP does, whose tokens see all that stood before them.
# The picture goes through three convolutions, so that a pixel knows what it is part of. Then comes the one cross-attention, with one head, and then two layers that see one pixel at a time.


# %%
class Colourist(nn.Module):
    """Grey pictures [B, 1, 32, 32] and words [B, 6] to colour [B, 3, 16, 16]."""

    def __init__(self, c=24):
        super().__init__()
        self.words, self.before = nn.Embedding(len(vocabulary), c), nn.Linear(c, c)
        self.fine = nn.Conv2d(1, c, 4, stride=2, padding=1)
        self.coarse = nn.Conv2d(c, 2 * c, 4, stride=2, padding=1)
        self.around = nn.Conv2d(2 * c, 2 * c, 3, padding=1)
        self.join = nn.Conv2d(3 * c, 2 * c, 1)
        self.cross = Attention(2 * c, heads=1, context_channels=c)
        self.inner, self.last = nn.Linear(2 * c, 2 * c), nn.Linear(2 * c, 3)

    def read(self, ids):
        """Words [B, 6] to vectors [B, 6, c]."""
        w = self.words(ids)
        return w + F.pad(self.before(w)[:, :-1], (0, 0, 1, 0))

    def look(self, x):
        """Grey pictures to pixels [B, 256, 2c]."""
        fine = F.silu(self.fine(x))
        coarse = F.silu(self.around(F.silu(self.coarse(fine))))
        coarse = F.interpolate(coarse, scale_factor=2.0)
        return self.join(torch.cat([fine, coarse], dim=1)).flatten(2).mT

    def forward(self, x, ids):
        h = self.look(x)
        h = h + self.cross(h, self.read(ids))  # pixels ask words
        return self.out(h)

    def out(self, h):
        """Pixels [B, 256, 2c] to colour [B, 3, 16, 16]."""
        h = self.last(F.silu(self.inner(F.silu(h))))
        return h.mT.unflatten(2, (16, 16))


def squared_error(guess, i, weight):
    """Mean squared error of the colour over pixels that count by their weight."""
    return ((guess - colour[i]) ** 2 * weight).sum() / weight.sum() / 3


torch.manual_seed(0)
colourist, g = Colourist(), torch.Generator().manual_seed(0)
adam = torch.optim.Adam(colourist.parameters())
weight = 0.1 + masks.sum(1, keepdim=True)  # the things count most
for step in range(360):
    adam.param_groups[0]["lr"] = 6e-3 * min(1, (step + 1) / 30) * (1 - step / 360)
    i = torch.randint(1000, (24,), generator=g)
    loss = squared_error(colourist(grey[i], ids[i]), i, weight[i])
    adam.zero_grad()
    loss.backward()
    adam.step()

test = slice(1000, 1064)  # scenes that it was not trained on
things = masks[test].sum(1, keepdim=True)
with torch.no_grad():
    guess = colourist(grey[test], ids[test])
    error = squared_error(guess, test, things)
    error_of_grey = squared_error(0 * guess, test, things)
print(f"below a quarter of grey's error: {bool(error < error_of_grey / 4)}")

# %% [markdown]
# It has learned to colour scenes that it never saw. Look at what each pixel looked at ({numref}`attention-words`).

# %% mystnb={"image": {"alt": "Three rows. Each begins with a grey scene and its coloured version, and goes on with six maps, one a word of the caption. the maps of the nouns light up on the things that they name: green elephant and yellow umbrella, purple dog, red bus. Those of the white umbrella and the white elephant stay dark. The map of the word of lights up on sky and ground; the colour words stay mostly dark."}, "figure": {"caption": "Grey scene, what the layer makes of it, and the map of each word. A noun lights up on its thing, unless the thing is white; and yet only colours were ever asked for.", "name": "attention-words"}}
with torch.no_grad():
    h, c = colourist.look(grey[test]), colourist.read(ids[test])
    word_maps = colourist.cross.weights(h, c)
word_maps = word_maps[:, 0]  # the one head: [64, 256, 6]


def as_picture(k, colours):
    """Scene k of the new ones in some colours, as [32, 32, 3] in [0, 1]."""
    large = F.interpolate(colours[k : k + 1], scale_factor=2.0, mode="bilinear")
    return ((grey[1000 + k] + large[0]).clamp(-1, 1).permute(1, 2, 0) + 1) / 2


figure, axes = plt.subplots(3, 8, figsize=(6.4, 2.9))
for row, k in zip(axes, (4, 0, 2), strict=True):
    row[0].imshow(as_picture(k, 0 * guess))
    row[1].imshow(as_picture(k, guess))
    for j, axis in enumerate(row[2:]):
        axis.imshow(word_maps[k, :, j].view(16, 16), vmin=0, vmax=1)
        axis.set_title(captions[1000 + k][j], fontsize=8)
    for axis in row:
        axis.set_axis_off()
plt.show()

# %% [markdown]
# Three things are worth noticing.
#
# - **The noun is read, and not the colour word.** The colour is in the noun's vector, by way of the word before. The vector of "purple" cannot say whose colour it is. A map shows where the *vector* of a word is used, and in CLIP as well that vector holds more than the word.
# - **Pixels that need nothing rest on some word.** The weights must sum to 1, so those of the sky must go somewhere. Here they go mostly to "of".
# - **What looks the same in grey and in colour does not ask.** The white umbrella and the white elephant stay dark in their own maps: bright grey says "white" by itself.
#
# The eye picks good cases, so count over all 64 scenes. On whose pixels is how much of the weight on each word?

# %%
pixels = masks[test].flatten(2)  # [64, 2, 256]
table = torch.einsum("bkn,bnm->km", pixels, word_maps) / pixels.sum((0, 2))[:, None]
names = ("colour 1", "noun 1", "left/right", "of", "colour 2", "noun 2")
for thing, row in enumerate(table, 1):
    best = names[int(row.argmax())]
    print(f"thing {thing}: most on {best}, over a third: {bool(row.max() > 1 / 3)}")

# %% [markdown]
# ## Play
#
# Move the slider from word to word. The map lies over the coloured scene: bright where the pixels look at the word.

# %%
from minisd.widgets import slider

lit = 4
sentence = captions[1000 + lit]


def one_word(j):
    """The scene, dimmed where it does not look at word j."""
    weights = word_maps[lit, :, j].view(1, 1, 16, 16)
    light = F.interpolate(weights, scale_factor=2.0, mode="bilinear")[0, 0]
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.1))
    axes[0].imshow(as_picture(lit, guess) * (0.15 + 0.85 * light[..., None]))
    image = axes[1].imshow(weights[0, 0], vmin=0, vmax=1)
    figure.colorbar(image, ax=axes[1], label="weight")
    for axis in axes:
        axis.set_axis_off()
    marked = [f"[{w}]" if i == j else w for i, w in enumerate(sentence)]
    figure.suptitle(" ".join(marked))
    return figure


slider(
    one_word,
    range(6),
    label="word",
    show=lambda j: f"{j + 1}: {sentence[j]}",
    caption="Where the pixels look at each word of the caption.",
    alt=lambda j: f"The scene, lit where it looks at word {j + 1}, {sentence[j]}.",
    start=1,
)

# %% [markdown]
# ## Change a word
#
# A map says where a pixel looked. What it would have *done* with another word is a better question, and you can ask it: give the grey dog of above another caption ({numref}`attention-change`). Nothing of the picture has changed, and yet one thing changes its colour, and only that one. How bright it is stays as it was, so a dark dog turns a dark yellow.

# %% mystnb={"image": {"alt": "The same scene five times. Its dog is coloured purple, red, yellow, green and blue, following the word in the caption, while the other thing keeps its colour."}, "figure": {"caption": "One word of the caption changed: the thing that it describes follows, the other stays.", "name": "attention-change"}}
scene = 0
hues = ("purple", "red", "yellow", "green", "blue")
swapped = ids[1000 + scene].repeat(len(hues), 1)
swapped[:, 0] = torch.tensor([vocabulary.index(hue) for hue in hues])
with torch.no_grad():
    repainted = colourist(grey[1000 + scene].expand(len(hues), -1, -1, -1), swapped)
figure, axes = plt.subplots(1, len(hues), figsize=(6.4, 1.6))
for axis, hue, colours in zip(axes, hues, repainted, strict=True):
    axis.imshow(as_picture(scene, colours.expand(64, -1, -1, -1)))
    axis.set_title(f"{hue} {captions[1000][1]}", fontsize=9)
    axis.set_axis_off()
plt.show()

# %%
change = (repainted[1:] - repainted[:1]).abs().sum(1).mean(0).flatten()
one, two = (mask > 0.5 for mask in masks[1000 + scene].flatten(1))
more = change[one].mean() > 5 * change[two].mean()
print(f"the thing named changes over 5 times as much: {bool(more)}")

# %% [markdown]
# Prompt-to-prompt edits pictures with this {cite}`hertz2023prompt`: it draws a picture twice from the same noise, the second time with the changed prompt and the *first* run's maps, so that the new word lands where the old one was.
#
# ## Exercises
#
# ```{exercise} Hard and soft
# :label: attention-hard
#
# Divide the scores of the three keys by a temperature $\tau$ before the softmax. Which answer does the query $(1, 0)$ get for $\tau \to 0$ and for $\tau \to \infty$?
# ```
#
# ```{solution-start} attention-hard
# :class: dropdown
# ```
#
# For $\tau \to 0$ the best key takes all: the dictionary is back, and the answer is 1. For $\tau \to \infty$ all weights become equal, and the answer is the mean of the values, 3.

# %%
scores = torch.tensor([1.0, 0.0]) @ keys.T / math.sqrt(2)
for tau in (0.1, 1.0, 10.0, 1000.0):
    print(f"tau = {tau:g}: answer {float((scores / tau).softmax(0) @ values):.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A mask
# :label: attention-causal
#
# CLIP's text tower lets a word see only itself and what stood before. How can {eq}`attention-matrix` do that, with every row still summing to 1?
# ```
#
# ```{solution-start} attention-causal
# :class: dropdown
# ```
#
# Put $-\infty$ in place of the scores that must not count, *before* the softmax: $e^{-\infty} = 0$, and the others share the whole. Setting weights to 0 after the softmax would leave rows that sum to less than 1.

# %%
g = torch.Generator().manual_seed(0)
Q, K, V = torch.randn(3, 5, 8, generator=g)
later = torch.ones(5, 5).triu(1).bool()
weights = (Q @ K.T / math.sqrt(8)).masked_fill(later, -math.inf).softmax(-1)
theirs = F.scaled_dot_product_attention(Q[None], K[None], V[None], is_causal=True)[0]
print(f"rows sum to 1: {torch.allclose(weights.sum(1), torch.ones(5))}")
print(f"as PyTorch: {torch.allclose(weights @ V, theirs, atol=1e-6)}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Who carries the colour?
# :label: attention-carry
#
# The list above claims that the noun's vector carries the colour. Test it: let the layer read the caption as before, but then put into the first *noun's* vector the one that it has in a caption with another colour. Then do the same with the *colour word's* vector. Which of the two repaints the thing?
# ```
#
# ```{solution-start} attention-carry
# :class: dropdown
# ```
#
# The noun's. The colour word's own vector does hardly anything, although it is the only word that differs between the captions.

# %%
with torch.no_grad():
    before, after = colourist.read(swapped[[0, 1]])
    mixed = before.repeat(3, 1, 1)
    mixed[1, 1], mixed[2, 0] = after[1], after[0]  # the noun's, the colour word's
    h = colourist.look(grey[1000 + scene].expand(3, -1, -1, -1))
    painted = colourist.out(h + colourist.cross(h, mixed))
inside = masks[1000 + scene, 0] > 0.5
noun, hue = (painted[1:] - painted[:1])[..., inside].abs().mean((1, 2))
print(f"the noun's repaints over 4 times as much: {bool(noun > 4 * hue)}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# Attention came up in translation, where each word to be written asks the words that were read {cite}`bahdanau2015neural`. {cite:t}`vaswani2017attention` built a network of little else, with heads and the division by $\sqrt d$. {cite:t}`rombach2022high` put it into the U-Net, so that
# text, or any other list of vectors, can steer a diffusion model. The list may come from a brain: MinD-Vis gives the U-Net fMRI in place of words {cite}`chen2023seeing`.
#
# Maps of Stable Diffusion's words were shown to outline what they name {cite}`tang2023daam`, and to be a handle for edits {cite}`hertz2023prompt`. But a map is not a proof: quite different weights can give the same answer {cite}`jain2019attention`. Change something and look, as you have done.
#
# ```{admonition} What the report leaves out
# :class: note
# The report describes cross-attention in a footnote of its part on MinD-Vis: dot products of queries and keys, a softmax, a weighted sum of the values. That is right but for the division by $\sqrt d$, which it leaves out; {numref}`attention-saturation` shows what it is for.
# {doc}`../appendix/errata` collects such notes.
# ```
#
# ## The way on
#
# You have the layer through which the words come in. {doc}`unet` puts it between convolutions, on three of its four levels, and adds the time.
