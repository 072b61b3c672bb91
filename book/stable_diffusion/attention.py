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
# - read an attention map word by word, change it, and say what it does not tell you.
#
# **Time** 40 minutes to read; the cells run in about 35 seconds.
#
# **Before this** {doc}`clip`, which turns a prompt into a row of vectors, one a token.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its third chapter of ten, attention."}, "figure": {"caption": "Where you are: the third chapter of Part III.", "name": "attention-road"}} tags=["remove-input"]
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

threads = torch.get_num_threads()
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
#
# Weights that mean something come from the book's *miniature*, a Stable Diffusion for {doc}`../front/picture_world` that was trained beforehand ({doc}`miniature`). Its U-Net has seven such transformers, and reads texts of 32 tokens with 128 channels each.

# %%
from einops import rearrange

from minisd.models.attention import SpatialTransformer
from minisd.pipeline import StableDiffusion

torch.set_num_threads(threads)
MINIATURE = "../../data_samples/miniature"
sd = StableDiffusion.from_pretrained(MINIATURE, device="cpu")
for part in (sd.text_encoder, sd.unet, sd.vae):
    part.requires_grad_(False)


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


transformer = sd.unet.down_blocks[0].attentions[0]
x = torch.randn(2, 64, 6, 9, generator=g)
c = sd.encode_text(["a red dog", "a blue car in the snow"])
difference = spatial_transformer(transformer, x, c) - transformer(x, c)
print(f"{list(x.shape)} under {list(c.shape)}: {list(transformer(x, c).shape)}")
print(f"same as minisd: {bool(difference.abs().max() < 1e-4)}")

# %% [markdown]
# ### The same as diffusers
#
# Being equal to your own text is not enough. The next cell is the only one in this chapter that needs `diffusers`. It loads the same U-Net there, and compares what each of the seven transformers adds to its $x$.

# %%
# Parity cell: needs diffusers, which the course's tests install.
import diffusers

diffusers.utils.logging.set_verbosity_error()
peer = diffusers.UNet2DConditionModel.from_pretrained(MINIATURE, subfolder="unet")
peer.requires_grad_(False)
for name, ours in sd.unet.named_modules():
    if isinstance(ours, SpatialTransformer):
        theirs = peer.get_submodule(name)
        x = torch.randn(2, ours.norm.num_channels, 6, 9, generator=g)
        expected = theirs(x, encoder_hidden_states=c, return_dict=False)[0] - x
        error = (ours(x, c) - x - expected).abs().max() / expected.abs().max()
        print(f"{name:26} relative error < 1e-4: {bool(error < 1e-4)}")

# %% [markdown]
# ## Maps of words
#
# The weights of a cross-attention say how much each pixel looks at each word. Take one word's column, lay it out as a picture, and you have that word's *map*. `record_cross_attention` keeps the weights of every block that runs inside its `with`, as means over the heads.
# Let it listen while the miniature draws. {doc}`pipeline` takes the drawing apart. Here it is enough that the U-Net is asked at each of 20 times, from noise to picture, and each time about two rows: one without the text, one with it.

# %%
from minisd.models.attention import record_cross_attention

settings = {"steps": 20, "guidance_scale": 4, "output": "tensor", "progress": False}
prompts = [
    "a dog with sunglasses in a grass field",
    "a red car left of a white elephant",
    "a cat with a hat on a yellow bench",
]
believed = []  # the clean latent that each step believes in
with record_cross_attention(sd.unet) as maps:
    drawn = sd.text_to_image(
        prompts, seed=1, callback=lambda step: believed.append(step.x_0), **settings
    )
for name, weights in maps.items():
    ones = torch.allclose(weights[0].sum(-1), torch.tensor(1.0))
    short = name.removesuffix(".transformer_blocks.0")
    print(f"{short:26} {len(weights)} times {list(weights[0].shape)}, sums to 1: {ones}")

# %% [markdown]
# Each level has maps of its own size: 256 pixels at the top, then 64, and 16 at the bottom. To get one map a word, enlarge those of all blocks to 16 by 16 and take their mean {cite}`tang2023daam`. {numref}`attention-words` has the means over all times, each from its smallest value to its largest.


# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 65})


# %% mystnb={"image": {"alt": "Three rows. Each begins with a drawn picture and goes on with six maps, one a word of its prompt. The maps of dog, sunglasses, car, elephant, cat and bench light up on what they name, those of grass and field on the ground. That of red lights up on a red car and on an elephant, which is red too; that of white is scattered."}, "figure": {"caption": "What the miniature has drawn, and where it looked at each word while it drew. Nobody told it which pixel belongs to which word.", "name": "attention-words"}}
def word_maps(maps):
    """Means over blocks, of the rows with text: [steps, B, 32, 16, 16]."""
    total = 0
    for weights in maps.values():
        w = torch.stack(weights).chunk(2, dim=1)[1]  # [steps, B, N, 32]
        side = math.isqrt(w.shape[2])
        w = w.mT.unflatten(3, (side, side))
        large = F.interpolate(w.flatten(0, 1), 16, mode="bilinear")
        total = total + large.unflatten(0, w.shape[:2])
    return total / len(maps)


def places(text):
    """Each word of a text and its place among the 32 tokens."""
    ids = sd.tokenizer.encode(text)
    return {sd.tokenizer.decode([i]): j for j, i in enumerate(ids, start=1)}


looked = word_maps(maps)
chosen = [
    ("dog", "with", "sunglasses", "in", "grass", "field"),
    ("red", "car", "left", "of", "white", "elephant"),
    ("cat", "with", "hat", "on", "yellow", "bench"),
]
figure, axes = plt.subplots(3, 7, figsize=(6.4, 3.1))
for b, (row, words) in enumerate(zip(axes, chosen, strict=True)):
    row[0].imshow((drawn[b].clamp(-1, 1).permute(1, 2, 0) + 1) / 2)
    for axis, word in zip(row[1:], words, strict=True):
        axis.imshow(looked[:, b, places(prompts[b])[word]].mean(0))
        axis.set_title(word, fontsize=8)
    for axis in row:
        axis.set_axis_off()
plt.show()

# %% [markdown]
# The maps also tell what went wrong. The second prompt asked for a *white* elephant. Hardly a pixel of it looked at "white", many looked at "red", and red it became.
#
# The eye picks its cases, so count. A drawn scene comes with a mask of its thing. Encode 64 scenes, add the noise of $t = 400$, ask the U-Net once with each scene's full caption, and see how much of a word's weight lies on the thing, and how much as much room elsewhere gets.

# %%
import numpy as np

from minisd.scenes import caption, scenes

batch = scenes(range(64), seed=2, two=0.0)
full = [caption(factors) for factors in batch.factors]
images = torch.from_numpy(batch.images).permute(0, 3, 1, 2) / 127.5 - 1
x_t = sd.scheduler.schedule.q_sample(
    sd.encode_image(images), 400, torch.randn(64, 4, 16, 16, generator=g)
)
c = sd.encode_text(full)
with record_cross_attention(sd.unet) as maps:
    sd.unet(x_t.repeat(2, 1, 1, 1), torch.tensor(400.0), c.repeat(2, 1, 1))
seen = word_maps(maps)[0]  # [64, 32, 16, 16]
thing = F.avg_pool2d(torch.from_numpy(batch.masks[:, :1]).float(), 4)[:, 0]
thing = (thing > 0.5).flatten(1)  # [64, 256]


def ratio(word_of):
    """How many times as much a pixel of the thing looks at the word."""
    ratios = []
    for b, factors in enumerate(batch.factors):
        m = seen[b, places(full[b])[word_of(factors)]].flatten()
        ratios.append(float(m[thing[b]].mean() / m[~thing[b]].mean()))
    return np.median(ratios)


nouns = ratio(lambda f: f.things[0].category.split()[-1])
colours = ratio(lambda f: f.things[0].colour)
homes = ratio(lambda f: caption(f).split()[-1])
print(f"noun {nouns:.1f}, colour {colours:.1f}, background {homes:.1f}")

# %% [markdown]
# ## Play
#
# The maps change while the picture comes into being. Move the slider from noise to picture.

# %%
from minisd.widgets import slider

steps = (0, 1, 2, 4, 6, 9, 13, 19)
guesses = sd.decode(torch.stack([believed[k][0] for k in steps])).clamp(-1, 1)
sentence = places(prompts[0])


def at_step(k):
    """What step k believes in, and its maps of three words."""
    figure, axes = plt.subplots(1, 4, figsize=(6.4, 1.9))
    axes[0].imshow((guesses[steps.index(k)].permute(1, 2, 0) + 1) / 2)
    axes[0].set_title("believed")
    for axis, word in zip(axes[1:], ("dog", "sunglasses", "field"), strict=True):
        axis.imshow(looked[k, 0, sentence[word]])
        axis.set_title(word)
    for axis in axes:
        axis.set_axis_off()
    return figure


slider(
    at_step,
    steps,
    label="step",
    caption="The clean picture that each of 20 steps believes in, and where the U-Net looks at three words.",
    alt="After {} steps: the picture that is believed in, and maps of dog, sunglasses and field.".format,
    start=3,
)

# %% [markdown]
# ## Change a map
#
# A map says where pixels looked. What they would have *done* with other weights is a better question, and you can ask it: compute the weights, change them, and go on. The cell puts such a lookup into every cross-attention, and takes it out again.


# %%
from contextlib import contextmanager

from minisd.plots import image_grid


@contextmanager
def rewired(change):
    """Let change(name, weights [B, heads, N, 32]) stand in for all weights."""
    blocks = {
        name: block.attn2 for name, block in sd.unet.named_modules() if hasattr(block, "attn2")
    }

    def look(name, layer):
        def forward(x, context):
            weights = change(name, layer.weights(x, context))
            h = weights @ layer.split(layer.to_v(context))
            return layer.to_out(rearrange(h, "b h n c -> b n (h c)"))

        return forward

    for name, layer in blocks.items():
        layer.forward = look(name, layer)
    try:
        yield
    finally:
        for layer in blocks.values():
            del layer.forward


one = settings | {"steps": 4, "seed": 1}
with rewired(lambda name, weights: weights):
    same = sd.text_to_image(prompts[0], **one)
print(torch.allclose(same, sd.text_to_image(prompts[0], **one), atol=1e-3))

# %% [markdown]
# **Silence a word.** Let no pixel look at "sunglasses", and share its weight among the other tokens.


# %% mystnb={"image": {"alt": "Three rows of four dogs with sunglasses in grass fields. The second row is like the first. In the third row backgrounds and dogs have changed."}, "figure": {"caption": "First row: as it is. Second: no pixel may look at the word sunglasses. Third: nor at what comes after it. Drawn by the miniature.", "name": "attention-silence"}}
def silence(chosen):
    """Take these tokens out of every lookup of the rows with text."""

    def change(name, weights):
        without, told = weights.chunk(2)
        told = told.clone()
        told[..., chosen] = 0
        return torch.cat([without, told / told.sum(-1, keepdim=True)])

    return change


four = settings | {"steps": 15, "images_per_prompt": 4}
j = places(prompts[0])["sunglasses"]
rows = [sd.text_to_image(prompts[0], **four)]
for chosen in ([j], list(range(j, 32))):
    with rewired(silence(chosen)):
        rows.append(sd.text_to_image(prompts[0], **four))
image_grid(torch.cat(rows), columns=4)
plt.show()

# %% [markdown]
# Silence the word, and the sunglasses stay. The text encoder reads from left to right, so each later token has read "sunglasses" too, and knows of them. Silence those as well, and the background goes with them: the grass field stood behind the sunglasses. A word's map shows where pixels look at *that token*. What the word means is spread over all that follow.
#
# **Keep the places.** Prompt-to-prompt edits pictures with this {cite}`hertz2023prompt`. Draw a picture and keep the weights. Draw it again from the same noise with one word changed, and for the first steps use the weights of the first run, so that the new word lands where the old one was.

# %% mystnb={"image": {"alt": "Three rows of four dogs in the snow, red in the first row and blue in the others. The dogs of the second row stand elsewhere than those of the first; those of the third stand where those of the first do."}, "figure": {"caption": "First row: a red dog. Second: a blue dog, from the same noise. Third: a blue dog, with the weights of the first row for ten of 15 steps. Drawn by the miniature.", "name": "attention-swap"}}
kept = {}


def keep(name, weights):
    """Note the weights of the rows with text."""
    kept.setdefault(name, []).append(weights.chunk(2)[1])
    return weights


def put_back(name, weights):
    """Use the noted weights, while there are any."""
    if kept[name]:
        weights = torch.cat([weights.chunk(2)[0], kept[name].pop(0)])
    return weights


before, after = "a red dog in the snow", "a blue dog in the snow"
with rewired(keep):
    first = sd.text_to_image(before, **four)
second = sd.text_to_image(after, **four)
kept = {name: weights[:10] for name, weights in kept.items()}
with rewired(put_back):
    third = sd.text_to_image(after, **four)
image_grid(torch.cat([first, second, third]), columns=4)
plt.show()

# %% [markdown]
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
# The encoded text has a row for each token. Encode two captions that differ in the colour word alone. Then take single rows from the second and put them into the first: the colour word's, the noun's, or all that come after the noun. Which of them repaint the thing?
# ```
#
# ```{solution-start} attention-carry
# :class: dropdown
# ```
#
# The colour word's own row. The noun has read "blue" too, and so has all that comes after, but the network has learned to look for the colour where it is said.

# %% mystnb={"image": {"alt": "Four rows of four pictures of cars in the snow. The cars are blue in the first row and the last, and red in the second and third."}, "figure": {"caption": "The text of a red car, with rows from that of a blue car: first the colour word's, then the noun's, then all after the noun, last all.", "name": "attention-rows"}}
red, blue = sd.encode_text(["a red car in the snow", "a blue car in the snow"])
variants = {"colour": [2], "noun": [3], "the rest": list(range(4, 32)), "all": list(range(32))}
rows = []
for chosen in variants.values():
    mixed = red.clone()
    mixed[chosen] = blue[chosen]
    rows.append(sd.text_to_image(mixed[None], **four))
image_grid(torch.cat(rows), columns=4)
plt.show()

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
