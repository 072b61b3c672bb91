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
# # CLIP and its tokenizer
#
# **You will be able to**
#
# - learn a vocabulary from captions, by hand and by program, and say what becomes of a prompt;
# - follow a prompt through the text encoder, and say what each of its 77 states knows;
# - write CLIP's loss and its gradient, and train a small CLIP on the picture world;
# - read a picture with the image encoder, at any of its layers;
# - say which half of CLIP Stable Diffusion has, and which it has not.
#
# **Time** 45 minutes to read; the cells run in about 20 seconds, half of it training.
#
# **Before this** {doc}`../front/picture_world` and {doc}`../diffusion/training`. The next chapter takes attention apart; here it is
# enough that each token looks at other tokens and takes up a weighted mean of what they hold.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its second chapter of eight, CLIP."}, "figure": {"caption": "Where you are: the second chapter of Part III.", "name": "clip-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt
from matplotlib_inline.backend_inline import set_matplotlib_formats

from minisd.plots import road, use_style

use_style()
road("clip")
plt.show()
# Photographs are large as PNG.
set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 88})

# %% [markdown]
# ## From words to numbers
#
# A network computes with numbers, and a prompt is text. One number a letter would make prompts long and tell little. One number a word would need an endless list,
# and still miss the next new word. *Byte-pair encoding* {cite}`sennrich2016neural` lies between: frequent words become one number, rare words several.
#
# It begins with bytes. Every text is a row of bytes (UTF-8), and there are only 256 of them, so no text is ever out of reach. Each byte is shown
# as a printable character, and the last one of a word carries the mark `</w>`.

# %%
from minisd.models.byte_pairs import clean, spell, split_words

for text in ("A red  DOG", "it's 12 dogs!", "café"):
    words = split_words(clean(text))
    print(f"{text!r:16}", [" ".join(spell(word)) for word in words])

# %% [markdown]
# Three things happened before the bytes. Capitals became small, and runs of white space one space: CLIP cannot tell `DOG` from `dog`. The text was cut into words by a fixed pattern:
# the endings `'s 't 're 've 'm 'll 'd`, runs of letters, *single* digits, and runs of other signs. And `é` is one character but two bytes, so it is spelt with two signs.
#
# ### Merges, by hand
#
# Now count which two neighbours occur together most often, and make them one token. Then count again. Take a tiny corpus, with how often each word is there:


# %%
from collections import Counter
from itertools import pairwise

corpus = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
state = {word: spell(word) for word in corpus}


def count_pairs(state):
    """How often each pair of neighbours occurs, over all words."""
    pairs = Counter()
    for word, symbols in state.items():
        for pair in pairwise(symbols):
            pairs[pair] += corpus[word]
    return pairs


print(count_pairs(state).most_common(4))

# %% [markdown]
# `e s` and `s t</w>` both occur 9 times, in `newest` and in `widest`. The first of them in the vocabulary wins, and becomes the token `es`. The same again, four times:

# %%
from minisd.models.byte_pairs import learn_merges, merge, number_tokens

order = number_tokens([])  # the place in the vocabulary decides a draw
merges = []
for _ in range(4):
    pairs = count_pairs(state)
    best = min(pairs, key=lambda p: (-pairs[p], order[p[0]], order[p[1]]))
    merges.append(best)
    order["".join(best)] = len(order)
    state = {word: merge(symbols, best) for word, symbols in state.items()}
    newest, low = ("|".join(state[word]) for word in ("newest", "low"))
    print(f"{best[0]:>2} + {best[1]:5} {newest:14} {low}")
print(f"same as minisd: {merges == learn_merges(corpus, 4)}")

# %% [markdown]
# That is the whole of the learning. The list of merges, *in their order*, is the tokenizer: a new word is spelt in bytes, and the merges are applied to it, earliest first. `lowest` was never seen,
# and still comes out as parts that were.

# %%
symbols = spell("lowest")
for pair in learn_merges(corpus, 20):
    symbols = merge(symbols, pair)
print(symbols)

# %% [markdown]
# ## A vocabulary for the picture world
#
# `train_tokenizer` does the same with captions. The picture world gives five wordings a scene; here are those of 1,500 scenes with one thing in them, which will also be the training data below. The scenes are drawn
# at $32 \times 32$, which is enough for a small network.

# %%
from itertools import islice

import torch

from minisd.models.tokenizer import Tokenizer, train_tokenizer
from minisd.scenes import scene_factors, scenes

torch.set_num_threads(1)  # in a small network, threads wait for one another


def with_one_thing(first, count):
    """The next scenes, from index first on, that have one thing in them."""
    chosen = (i for i in range(first, 10 * count + first) if len(scene_factors(i).things) == 1)
    return scenes(islice(chosen, count), size=32)


world = with_one_thing(first=0, count=1500)
captions = [text for five in world.captions for text in five]
for text in world.captions[0][:3]:
    print(text)

tokenizer = train_tokenizer(captions, 1000, max_length=24)
print(len(captions), "captions,", len(tokenizer), "tokens")

# %% [markdown]
# You asked for 1,000 tokens and got fewer. At this point every word of the captions is one token, and there is no pair left to merge. So later code takes the size from `len(tokenizer)`.
# A small vocabulary cuts words into more pieces:


# %%
def pieces(tokenizer, text):
    """The tokens of a text, as text."""
    return " | ".join(tokenizer.decode([i]) for i in tokenizer.encode(text))


prompt = "a large red dog wearing sunglasses"
for size in (514, 600, 650, 1000):
    smaller = train_tokenizer(captions, size)
    print(f"{len(smaller):4} tokens: {pieces(smaller, prompt)}")

# %% [markdown]
# {numref}`clip-lengths` shows the trade. Each merge makes the table of tokens one row longer and the captions shorter. A short prompt matters: attention's cost grows with the square of
# the length, and the encoder reads a fixed number of tokens.

# %% mystnb={"image": {"alt": "A falling curve. With 514 tokens a caption takes about 41 tokens on average, with 600 about 18; with about 700 the curve ends on a dashed line at 11, the number of words."}, "figure": {"caption": "The first merges save the most. The curve ends on the dashed line: one token for every word.", "name": "clip-lengths"}}
sizes = [*range(514, len(tokenizer), 12), len(tokenizer)]
some = captions[::10]
lengths = []
for size in sizes:
    smaller = Tokenizer(
        number_tokens(tokenizer.merges[: size - 514]), tokenizer.merges[: size - 514]
    )
    lengths.append(sum(len(smaller.encode(text)) for text in some) / len(some))
words = sum(len(split_words(clean(text))) for text in some) / len(some)
figure, axes = plt.subplots(figsize=(6.4, 2.8))
axes.plot(sizes, lengths)
axes.axhline(words, color="black", ls="--", lw=1.2, label="words in a caption")
axes.set(xlabel="tokens in the vocabulary", ylabel="tokens in a caption", ylim=(0, None))
axes.legend()
plt.show()

# %% [markdown]
# ### The real vocabulary
#
# CLIP's has 49,408 tokens {cite}`radford2021learning`. The ids follow one order in every vocabulary of this kind: 256 bytes, the same 256 at a word's end, the merges, the start token and the end token. The cell counts.

# %%
merges_of_clip = 48_894
size = 256 + 256 + merges_of_clip + 2
print(f"{size:,} tokens; start is {size - 2}, end is {size - 1}")
print("the word 'a' is", number_tokens([])["a</w>"])

# %% [markdown]
# So the word `a` is 320 in CLIP as in your tokenizer. With the real files "a photo of a cat" becomes 49406, 320, 1125, 539, 320, 2368, 49407: start, five words, end. The files come with the checkpoint,
# in its folder `tokenizer`: `vocab.json` has the ids and `merges.txt` the merges. `Tokenizer.from_folder` reads them, and `save` writes them.
#
# ### Start, end, and 77
#
# The text encoder reads 77 tokens, no more and no fewer. A prompt is put between start and end, and filled up, with the end token again. Called with a list of prompts, the tokenizer returns the batch.

# %%
ids = tokenizer(["a red dog", ""])
print("length", tokenizer.max_length, "start", tokenizer.start_id, "end", tokenizer.end_id)
print(ids[0].tolist())
print(ids[1].tolist())

# %% [markdown]
# Yours has `max_length=24`, which the longest caption fits into; CLIP's has 77. What does not fit is cut off, but never the end token. The model does not see the rest, so the tokenizer says so:

# %%
import warnings

with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    row = tokenizer(["a red dog " * 7 + "with a hat"])[0]
print(told[0].message)
print("ends with the end token:", int(row[-1]) == tokenizer.end_id)
print("an 8k prompt:", pieces(tokenizer, "8k resolution"))

# %% [markdown]
# The last line shows what words cost that the captions never had: `resolution` falls to pieces, and takes up places.
#
# ### Does transformers agree?
#
# The cell saves your tokenizer and lets another library read the folder, `CLIPTokenizer` of transformers. It must give the same ids, for odd texts too.

# %%
# A parity cell: it alone needs the library transformers.
import tempfile

import transformers

transformers.utils.logging.set_verbosity_error()
with tempfile.TemporaryDirectory() as folder:
    tokenizer.save(folder)
    theirs = transformers.CLIPTokenizer.from_pretrained(folder)
odd = ["", "It's a DOG!", "café 👍 8k", "  two\n lines ", "une tête d'éléphant"]
filled = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
print(f"same ids: {torch.equal(theirs(odd, **filled)['input_ids'], tokenizer(odd))}")

# %% [markdown]
# ## The text encoder
#
# The ids go into a transformer {cite}`vaswani2017attention`. It returns one vector for each of the 77 places, and these vectors are what the U-Net of Stable Diffusion looks at. Build it small first, in the same four parts
# as CLIP's: embedding, causal attention, feed-forward layer, norm.
#
# **Embedding.** Token $w_n$ at place $n$ becomes the sum of two learned vectors, one for what it is and one for where it stands:
#
# $$
# x_n = E_{w_n} + P_n, \qquad n = 0, \dots, M-1 .
# $$ (clip-embedding)
#
# Without $P$ the encoder could not tell a dog on a bench from a bench on a dog.

# %%
from minisd.models.clip import CLIPTextConfig, CLIPTextEncoder

config = CLIPTextConfig(
    vocab_size=len(tokenizer),
    max_position_embeddings=24,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    eos_token_id=tokenizer.end_id,
)
torch.manual_seed(0)
encoder = CLIPTextEncoder(config).eval().requires_grad_(False)
tower = encoder.text_model
ids = tokenizer(["a small red dog wearing a hat in the snow"])

x = tower.embeddings.token_embedding.weight[ids[0]]
x = x + tower.embeddings.position_embedding.weight[: len(ids[0])]
print(x.shape, "same as minisd:", torch.equal(x[None], tower.embeddings(ids)))

# %% [markdown]
# **Causal attention.** Each token asks the others with a query $q_n$, and takes a weighted mean of their values $v_m$. The weights come from how well query and key fit, and *tokens that
# come later get none*:
#
# $$
# h_n = \sum_{m \le n} a_{nm} v_m, \qquad
# a_{nm} = \frac{\exp(q_n^\top k_m / \sqrt d)}{\sum_{l \le n} \exp(q_n^\top k_l / \sqrt d)} .
# $$ (clip-causal)
#
# In practice the scores of later tokens are set to $-\infty$ before the softmax. Here $d$ is the width of one head; {doc}`attention` says what heads are, and why there is a root.

# %%
from einops import rearrange


def causal_attention(block, x):
    """Tokens [B, M, D] to the same shape, by the formula."""
    q, k, v = (
        rearrange(project(x), "b m (h d) -> b h m d", h=block.heads)
        for project in (block.q_proj, block.k_proj, block.v_proj)
    )
    scores = q @ k.transpose(2, 3) / q.shape[3] ** 0.5
    later = torch.ones(scores.shape[2:]).triu(1).bool()
    weights = scores.masked_fill(later, float("-inf")).softmax(dim=3)
    return block.out_proj(rearrange(weights @ v, "b h m d -> b m (h d)"))


layer = tower.encoder.layers[0]
x = tower.embeddings(ids)
gap = (causal_attention(layer.self_attn, x) - layer.self_attn(x)).abs().max()
print(f"same as minisd to 1e-6: {bool(gap < 1e-6)}")

# %% [markdown]
# **Feed-forward layer.** Between two linear layers stands an activation. CLIP has its own, a cheap stand-in for GELU $x\,\Phi(x)$ {cite}`hendrycks2016gaussian`:
#
# $$
# \mathrm{quick\_gelu}(x) = x \cdot \frac{1}{1 + e^{-1.702\,x}} .
# $$ (clip-quick)
#
# {numref}`clip-gelu` shows both. They differ by at most 0.02. That is little, but it happens at each of twelve layers, and the weights were trained with one of them.

# %% mystnb={"image": {"alt": "Left: two curves that lie on one another, zero far left, a shallow dip below zero near minus one, and the identity to the right. Right: their difference, which falls to minus 0.02 on either side near 2.2, rises to 0.006 near 0.8, and goes to zero outwards."}, "figure": {"caption": "CLIP's activation and the exact GELU (left), and what separates them (right).", "name": "clip-gelu"}}
from minisd.models.clip import quick_gelu

z = torch.linspace(-5, 5, 401)
exact = torch.nn.functional.gelu(z)
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.5))
axes[0].plot(z, quick_gelu(z), label="quick_gelu")
axes[0].plot(z, exact, ls="--", label="GELU")
axes[0].set(xlabel="$x$")
axes[0].legend()
axes[1].plot(z, quick_gelu(z) - exact, color="black")
axes[1].set(xlabel="$x$", ylabel="difference")
plt.show()

# %%
print(f"formula: {torch.allclose(quick_gelu(z), z / (1 + torch.exp(-1.702 * z)))}")
print(f"largest difference: {(quick_gelu(z) - exact).abs().max():.2f}")

# %% [markdown]
# **Norm first.** A layer norms its input, computes, and *adds* the result to what came in. It does so twice, for attention and feed-forward:
#
# $$
# x \leftarrow x + \mathrm{Attention}(\mathrm{Norm}(x)), \qquad x \leftarrow x + \mathrm{MLP}(\mathrm{Norm}(x)) .
# $$ (clip-layer)
#
# So there is one straight way from the embedding to the end, and each layer adds to it. GPT-2 put the norms in front {cite}`radford2019language`, and CLIP took its text encoder from there {cite}`radford2021learning`. One norm follows the last layer.
# The cell writes the whole encoder out.

# %%
x = tower.embeddings(ids)
for layer in tower.encoder.layers:
    x = x + causal_attention(layer.self_attn, layer.layer_norm1(x))
    h = layer.mlp.fc1(layer.layer_norm2(x))
    x = x + layer.mlp.fc2(quick_gelu(h))
x = tower.final_layer_norm(x)

encoded = encoder(ids)
gap = (x - encoded.last_hidden_state).abs().max()
print(x.shape, f"same as minisd to 1e-5: {bool(gap < 1e-5)}")

# %% [markdown]
# ### What each state knows
#
# A state is computed from its own token and the ones before it. So a later word cannot change an earlier state. {numref}`clip-causal-map` tries all of it: each row changes one token of the prompt to another one, and shows how far
# each state moves. The weights are random here; the triangle is a matter of the mask, not of training.

# %% mystnb={"image": {"alt": "A square map of 24 rows and columns. Everything left of the diagonal is empty. On the diagonal the change is large, to the right of it smaller but there, down to the last column, beyond the end of the prompt."}, "figure": {"caption": "Change the token of a row, and the states from its place on move; none before it does. The dashed lines mark the first end token: the states behind it are of the filling, and carry the prompt.", "name": "clip-causal-map"}}
states = encoder(ids).last_hidden_state
moved = torch.zeros(24, 24)
for n in range(24):
    changed = ids.clone()
    changed[0, n] = tokenizer.encode("umbrella")[0]
    difference = tower.final_layer_norm(tower.encoder(tower.embeddings(changed), ())[0]) - states
    moved[n] = difference.norm(dim=2)[0]
end = int((ids[0] == tokenizer.end_id).nonzero()[0])
figure, axes = plt.subplots(figsize=(5.2, 4.2))
picture = axes.imshow(moved.masked_fill(moved < 1e-5, float("nan")).log10(), cmap="viridis")
axes.axvline(end, color="black", ls="--", lw=1.2)
axes.axhline(end, color="black", ls="--", lw=1.2)
axes.grid(False)
axes.set(xlabel="state", ylabel="token that is changed")
figure.colorbar(picture, label="how far it moves (log10)")
plt.show()

# %%
print("nothing moves before the change:", bool((moved.tril(-1) < 1e-5).all()))
print("every state from it on does:", bool((moved + torch.ones(24, 24).tril(-1) > 1e-3).all()))

# %% [markdown]
# Three things follow.
#
# - *The first state is the same for every prompt*: it sees the start token alone.
# - *The end token sees everything.* Its state is the one that CLIP makes its summary of the text from; `pooled` in the code.
# - *The filling is not empty.* There is no mask for it. The states behind the end see the whole prompt too, and differ from one another by their places. Stable Diffusion uses all 77 states, the filling with them.
#   So a short prompt gives the U-Net a few states of words and many of "the prompt, once more".

# %%
two = encoder(tokenizer(["a red dog", "two cars by a lake"]))
first = two.last_hidden_state[:, 0]
print("first state is the same:", torch.allclose(first[0], first[1], atol=1e-6))
last = two.last_hidden_state[:, -1]
print("last state, filling, is not:", not torch.allclose(last[0], last[1], atol=1e-2))
print("pooled is the state at the end token:", torch.equal(encoded.pooled[0], states[0, end]))

# %% [markdown]
# ### A file that says 2
#
# The state at the *first* end token is wanted, so the code must know the end token's id. Stable Diffusion's file `text_encoder/config.json` says that it is 2, that the start token is 0, and that the filling is 1. All three are wrong: they are 49407, 49406 and 49407.
# OpenAI's own code never asked: it takes the place of the *largest* id, and the end token has the largest. `minisd` reads a 2 in this way, and any other number as it stands.

# %%
from dataclasses import replace

shipped = CLIPTextConfig.from_json({"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1})
print("told:", shipped.eos_token_id)
trusting = CLIPTextEncoder(replace(config, eos_token_id=2)).eval()
trusting.load_state_dict(encoder.state_dict())
with torch.no_grad():
    print("same summary:", torch.equal(trusting(ids).pooled, encoded.pooled))

# %% [markdown]
# ### The real size
#
# `CLIPTextEncoder()` without settings is the one of Stable Diffusion. On the device `meta` it has shapes and no numbers, so you can count without loading anything.

# %%
with torch.device("meta"):
    full = CLIPTextEncoder()
counts = Counter()
for name, tensor in full.state_dict().items():
    parts = ("token_embedding", "position_embedding", "self_attn", "mlp", "norm")
    counts[next(part for part in parts if part in name)] += tensor.numel()
print(full.config.num_hidden_layers, "layers of", full.config.hidden_size, "channels")
print(f"{counts.total():,} numbers in {len(full.state_dict())} tensors")
for part, count in counts.items():
    print(f"{part:18} {count:12,}")

# %% [markdown]
# Almost a third is the table of tokens. The position table has 77 rows, which is where the 77 comes from: there is no vector for a 78th place.
#
# ## The image encoder
#
# CLIP has a second tower, for pictures. It is a vision transformer {cite}`dosovitskiy2021image`, with the same layers, and no causal mask: a picture has no order in which one part comes later.
# The picture is cut into patches, each patch becomes a token by one linear map, and one more token, the *class token*, is put before them. Its last state sums the picture up.

# %% mystnb={"image": {"alt": "The photograph of an astronaut, cut into a grid of sixteen by sixteen square patches by thin white lines."}, "figure": {"caption": "What the image encoder of ViT-L/14 reads: $224 \\times 224$ pixels as 256 patches. Inside a patch, one linear map does all.", "name": "clip-patches"}}
from skimage.data import astronaut

from minisd.models.contrastive import MEAN, STD, preprocess

photo = torch.from_numpy(astronaut()).permute(2, 0, 1)[None].float() / 127.5 - 1
pixels = preprocess(photo)  # 512 to 224 pixels, the middle, colours normed
seen = pixels[0] * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
figure, axes = plt.subplots(figsize=(3.6, 3.6))
axes.imshow(seen.permute(1, 2, 0).clamp(0, 1))
axes.vlines(torch.arange(14, 224, 14) - 0.5, -0.5, 223.5, color="white", lw=0.6)
axes.hlines(torch.arange(14, 224, 14) - 0.5, -0.5, 223.5, color="white", lw=0.6)
axes.axis("off")
plt.show()

# %% [markdown]
# A patch of $P \times P$ pixels in three colours, as one row of $3P^2$ numbers $p_i$, becomes $W p_i$. That is what a convolution does whose stride is as large as its kernel, and so the code has one. The whole embedding is
#
# $$
# x = \bigl[\, c,\; W p_1,\; \dots,\; W p_N \,\bigr] + \mathrm{positions} .
# $$ (clip-patch)

# %%
from minisd.models.clip import CLIPImageEncoder, CLIPVisionConfig

vision = CLIPVisionConfig(
    image_size=32,
    patch_size=8,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
)
eye = CLIPImageEncoder(vision).eval().requires_grad_(False)
embed = eye.vision_model.embeddings
small = preprocess(photo, 32)
patches = rearrange(small, "b c (h p) (w q) -> b (h w) (c p q)", p=8, q=8)
tokens = patches @ embed.patch_embedding.weight.flatten(1).T
tokens = torch.cat([embed.class_embedding.expand(1, 1, -1), tokens], dim=1)
tokens = tokens + embed.position_embedding.weight
print(tokens.shape, f"same: {torch.allclose(tokens, embed(small), atol=1e-5)}")

# %% [markdown]
# Then a norm, the layers, and a norm for the class token alone. The first norm is called `pre_layrnorm` in every checkpoint. The letters that are missing were forgotten once; whoever wants to load the files must forget them too.
#
# ### Layers on the way
#
# The classifier at the top is not all there is. Early layers hold what is where; late ones hold what it means. Decoders of brain activity read both: MindDiffuser predicts features of *intermediate* layers
# of the image encoder from fMRI {cite}`lu2023minddiffuser`. So both towers give any layer you ask for: 0 is the embedding, $i$ the output of layer $i$.

# %%
with torch.device("meta"):
    large = CLIPImageEncoder()
    encoded_photo = large(torch.empty(1, 3, 224, 224), layers=(0, 6, 12, 24))
for i, layer in encoded_photo.hidden_states.items():
    print(f"layer {i:2}: {tuple(layer.shape)}")
count = sum(p.numel() for p in large.parameters())
print(f"pooled: {tuple(encoded_photo.pooled.shape)}; {count:,} numbers in this tower")
print([name for name in large.state_dict() if "layrnorm" in name])

# %% [markdown]
# ```{admonition} Two slips in the report
# :class: note
# Section 6.2 describes the "CLIP encoder" of its Stable Diffusion as two encoders whose spaces are aligned. CLIP has two; *Stable Diffusion uses the text side only* ({ref}`errata <erratum-clip-text-only>`). Its U-Net reads the
# 77 states, not the summary, so even CLIP's map into the shared space is left out. Section 3.7 feeds pictures "to the CLIP image decoder". There is none: CLIP has no decoder at all, and what compares
# two pictures there are features of the image *encoder* ({ref}`errata <erratum-clip-decoder>`).
# ```
#
# ## The loss that makes a pair of them
#
# Nobody tells the two towers what a vector should mean. They are given pictures with their captions, and asked who belongs to whom {cite}`radford2021learning`. Each tower's summary goes through a linear map into a shared space. With $f_i$ for picture $i$ and $g_j$ for text $j$ of a batch of $B$ pairs,
#
# $$
# s_{ij} = e^{\tau} \, \frac{f_i^\top g_j}{\lVert f_i \rVert \lVert g_j \rVert}, \qquad
# L = -\frac{1}{2B} \sum_{i=1}^{B} \left( \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}} + \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ji}}} \right) .
# $$ (clip-loss)
#
# The first term asks picture $i$ which of the $B$ texts is its own; the second asks text $i$ for its picture. The scale $e^{\tau}$ is learned as well. The cell writes the sums out.

# %%
import math

from minisd.models.contrastive import contrastive_loss

g = torch.Generator().manual_seed(0)
B = 5
f = torch.randn(B, 3, generator=g, dtype=torch.float64)
h = torch.randn(B, 3, generator=g, dtype=torch.float64)
tau = torch.tensor(math.log(1 / 0.07), dtype=torch.float64)


def score(i, j):
    """s_ij, from its formula."""
    return float(tau.exp() * f[i] @ h[j] / (f[i].norm() * h[j].norm()))


s = [[score(i, j) for j in range(B)] for i in range(B)]
total = 0.0
for i in range(B):
    total += s[i][i] - math.log(sum(math.exp(s[i][j]) for j in range(B)))
    total += s[i][i] - math.log(sum(math.exp(s[j][i]) for j in range(B)))
gap = -total / (2 * B) - contrastive_loss(f, h, tau)
print(f"same as minisd: {bool(gap.abs() < 1e-12)}")
same = torch.ones(B, 3, dtype=torch.float64)
gap = contrastive_loss(same, same, tau) - math.log(B)
print(f"equal vectors cost ln B: {bool(gap.abs() < 1e-12)}")

# %% [markdown]
# Its gradient says how it teaches. With $a_{ij}$ the share that picture $i$ gives to text $j$ (softmax of a row), and $b_{ij}$ the share that text $j$ gives to picture $i$ (softmax of a column),
#
# $$
# \frac{\partial L}{\partial s_{ij}} = \frac{1}{2B} \bigl( a_{ij} + b_{ij} - 2\, \delta_{ij} \bigr) .
# $$ (clip-gradient)
#
# A pair is drawn together by what it still lacks, and all other combinations are pushed apart by the share that they wrongly have. When every share is right nothing moves. The cell compares the formula with autograd, and with finite differences.

# %%
import torch.nn.functional as F


def loss_of(s):
    """The loss from the scores [B, B]."""
    own = torch.arange(len(s))
    return (F.cross_entropy(s, own) + F.cross_entropy(s.T, own)) / 2


scores = torch.tensor(s, dtype=torch.float64, requires_grad=True)
(by_autograd,) = torch.autograd.grad(loss_of(scores), scores)
with torch.no_grad():
    by_formula = (scores.softmax(1) + scores.softmax(0) - 2 * torch.eye(B)) / (2 * B)
    by_difference = torch.zeros(B, B, dtype=torch.float64)
    for i in range(B):
        for j in range(B):
            step = torch.zeros(B, B, dtype=torch.float64)
            step[i, j] = 1e-5
            by_difference[i, j] = (loss_of(scores + step) - loss_of(scores - step)) / 2e-5
print(f"autograd: {torch.allclose(by_formula, by_autograd, atol=1e-12)}")
print(f"finite differences: {torch.allclose(by_formula, by_difference, atol=1e-8)}")

# %% [markdown]
# ## A CLIP for the picture world
#
# CLIP saw 400 million pairs, 32,768 at a time {cite}`radford2021learning`. Yours sees 1,500 scenes, 64 at a time, with one of the five wordings drawn anew at each step. `CLIP` in `minisd` is the two towers that you have built, two linear maps and the scale.
# The learning rate rises and then falls to zero. The scale must not pass 100, as in the paper. And the table of tokens begins small: PyTorch's first values have
# variance 1, which takes long to unlearn.


# %%
from minisd.models.contrastive import CLIP, similarity

pictures = preprocess(torch.from_numpy(world.images).permute(0, 3, 1, 2) / 127.5 - 1, 32)
wordings = tokenizer(captions).view(1500, 5, 24)


def train(model, steps=300, batch=64, lr=3e-3):
    """Train on random batches; return the loss of each step."""
    g = torch.Generator().manual_seed(1)
    adam = torch.optim.AdamW(model.parameters(), lr, weight_decay=0.05)
    plan = torch.optim.lr_scheduler.OneCycleLR(adam, lr, total_steps=steps)
    losses = []
    for _ in range(steps):
        i = torch.randperm(len(pictures), generator=g)[:batch]
        texts = wordings[i, torch.randint(5, (batch,), generator=g)]
        f, h = model.encode_image(pictures[i]), model.encode_text(texts)
        loss = contrastive_loss(f, h, model.logit_scale)
        adam.zero_grad()
        loss.backward()
        adam.step()
        plan.step()
        model.logit_scale.data.clamp_(max=math.log(100))
        losses.append(loss.item())
    return losses


torch.manual_seed(0)
model = CLIP(config, vision, projection=64)
torch.nn.init.normal_(model.text_model.embeddings.token_embedding.weight, std=0.1)
for tower_of in (model.text_model, model.vision_model):
    torch.nn.init.normal_(tower_of.embeddings.position_embedding.weight, std=0.02)
losses = train(model)
model.eval().requires_grad_(False)
print(f"{sum(p.numel() for p in model.parameters()):,} numbers")
print(f"begins above 4 (ln 64 is 4.16): {losses[0] > 4}")
print(f"ends below 2: {sum(losses[-20:]) / 20 < 2}")

# %% [markdown]
# Now ask about scenes that it has never seen. {numref}`clip-similarity` compares eight of them with their eight captions. A row is a picture, and its softmax is how the model shares that picture among the texts.

# %% mystnb={"image": {"alt": "A table of eight rows and eight columns. Eight small scenes stand at the left, their captions on top. The diagonal is dark blue, with 77 to 100 per cent; a few cells beside it hold some per cent, such as an orange airplane for a red one on the same beach."}, "figure": {"caption": "Eight unseen scenes and their captions, after 300 steps of training: the pictures find their own texts. Depth of blue and number are the softmax of a row, in per cent.", "name": "clip-similarity"}}
fresh = with_one_thing(first=50_000, count=200)
fresh_pictures = preprocess(torch.from_numpy(fresh.images).permute(0, 3, 1, 2) / 127.5 - 1, 32)
fresh_texts = [five[0] for five in fresh.captions]
f = model.encode_image(fresh_pictures)
h = model.encode_text(tokenizer(fresh_texts))

shares = similarity(f[:8], h[:8], model.logit_scale).softmax(dim=1)
figure, axes = plt.subplots(figsize=(6.4, 6.2))
axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
for i in range(8):
    for j in range(8):
        ink = "white" if shares[i, j] > 0.5 else "black"
        axes.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", color=ink)
    inset = axes.inset_axes([-1.5, i - 0.45, 0.9, 0.9], transform=axes.transData)
    inset.imshow(fresh.images[i])
    inset.axis("off")


def short(text):
    """A caption on three lines."""
    words = text.split()
    third = -(-len(words) // 3)
    return "\n".join(" ".join(words[k : k + third]) for k in range(0, len(words), third))


axes.xaxis.tick_top()
names = [short(text) for text in fresh_texts[:8]]
axes.set_xticks(range(8), names, rotation=60, ha="left", fontsize=7)
axes.set_yticks([])
axes.grid(False)
plt.show()

# %%
all_scores = similarity(f, h, model.logit_scale)
own = torch.arange(8)
right = torch.cat([all_scores[i : i + 8, i : i + 8].argmax(1) == own for i in range(0, 200, 8)])
print(f"of 8 captions the right one, chance 12 %: above 80 %: {bool(right.float().mean() > 0.8)}")
of_200 = (all_scores.argmax(1) == torch.arange(200)).float().mean()
print(f"of 200 captions, chance 0.5 %: above 20 %: {bool(of_200 > 0.2)}")

# %% [markdown]
# ### A classifier that was never trained
#
# The texts may be anything. Write one sentence for each kind of thing, and the most similar sentence is the answer: CLIP classifies without having been given a class. The sentences, not the weights, say what the classes are.

# %%
from minisd.scenes import BACKGROUNDS, CATEGORIES, COLOURS


def ask(sentences):
    """For each unseen picture, the shares of the sentences [200, K]."""
    h = model.encode_text(tokenizer(sentences))
    return similarity(f, h, model.logit_scale).softmax(dim=1)


answers, scores = {}, {}
for field, sentence, words in (
    ("background", "a dog in a {}", BACKGROUNDS),
    ("colour", "a drawing of a {} dog", COLOURS),
    ("category", "a drawing of a {}", CATEGORIES),
):
    answers[field] = ask([sentence.format(word) for word in words])
    chosen = [words[k] for k in answers[field].argmax(dim=1)]
    holders = [x if field == "background" else x.things[0] for x in fresh.factors]
    right = [word == getattr(x, field) for word, x in zip(chosen, holders, strict=True)]
    scores[field] = sum(right) / len(right)
print(f"background: above 90 %: {scores['background'] > 0.9}")
print(f"colour: above 50 %: {scores['colour'] > 0.5}")
print(f"kind of thing: between 10 % and 50 %: {0.1 < scores['category'] < 0.5}")

# %% [markdown]
# {numref}`clip-reads` sets the scores beside guessing. The background fills the picture, and is learned first. Colour is a matter of a few patches, and comes next. What kind of thing it is lies in its outline, and 300 steps of training are too few for that:
# captions can be told apart without it most of the time, so the loss gives it little weight. The real CLIP saw 250,000 times as many pictures, told 500 times as many texts apart at a time, and is 2,000 times as large.

# %% mystnb={"image": {"alt": "Three pairs of bars. Background: nearly 100 per cent right, guessing 17. Colour: about 70, guessing 12. Kind of thing: about 25, guessing 7."}, "figure": {"caption": "What the small CLIP reads off an unseen scene without having been trained on classes: background nearly always, colour mostly, the kind of thing seldom.", "name": "clip-reads"}}
figure, axes = plt.subplots(figsize=(6.4, 2.4))
places = torch.arange(3)
guessing = [1 / answers[field].shape[1] for field in scores]
axes.barh(places - 0.2, [100 * x for x in scores.values()], 0.4, label="small CLIP")
axes.barh(places + 0.2, [100 * x for x in guessing], 0.4, color="silver", label="guessing")
axes.set_yticks(places, ["background", "colour", "kind of thing"])
axes.invert_yaxis()
axes.set(xlabel="right, per cent", xlim=(0, 100))
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# ## Play
#
# Move the slider through unseen scenes, and see how the model shares each among eight colours and six backgrounds. Each bar is one sentence.

# %%
from minisd.widgets import slider


def frame(k):
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.4), width_ratios=[1.1, 1, 1])
    axes[0].imshow(fresh.images[k])
    axes[0].axis("off")
    for axis, field, words in ((axes[1], "colour", COLOURS), (axes[2], "background", BACKGROUNDS)):
        axis.barh(range(len(words)), 100 * answers[field][k])
        axis.set_yticks(range(len(words)), words, fontsize=8)
        axis.set(xlim=(0, 100), title=field, xlabel="per cent")
        axis.invert_yaxis()
    return figure


slider(
    frame,
    range(0, 10),
    label="scene",
    caption="An unseen scene, and how well each sentence about its colour and its background fits it.",
    alt=lambda k: f"A scene: {fresh_texts[k]}. Bars for eight colours and six backgrounds.",
    start=3,
)

# %% [markdown]
# ## Does transformers agree?
#
# The cell gives random weights to a whole CLIP of transformers, norms and biases too, loads them into `minisd`'s, and compares everything that the towers return. `tests/models/test_clip.py` does the same in many more shapes.


# %%
# A parity cell: it alone needs the library transformers.
def error(ours, theirs):
    """Largest difference, on the scale of the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


sizes_of = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
sizes_of["num_hidden_layers"] = 3
reference = transformers.CLIPModel(
    transformers.CLIPConfig(
        text_config=sizes_of | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.end_id},
        vision_config=sizes_of | {"image_size": 32, "patch_size": 8},
        projection_dim=48,
    )
).eval()
with torch.no_grad():
    g = torch.Generator().manual_seed(5)
    for p in reference.parameters():
        if p.ndim:
            p.copy_(0.15 * torch.randn(p.shape, generator=g) + (p.ndim == 1) * 0.5)
    copy = CLIP.from_json(reference.config.to_dict()).eval()
    copy.load_state_dict(reference.state_dict())
    ids, pixels = tokenizer(fresh_texts[:4]), fresh_pictures[:4]
    theirs = reference(input_ids=ids, pixel_values=pixels, output_hidden_states=True)
    text, image = copy.text_model(ids, "all"), copy.vision_model(pixels, "all")
    scores = similarity(copy.encode_image(pixels), copy.encode_text(ids), copy.logit_scale)
copy.requires_grad_(False)
pairs = [(text.last_hidden_state, theirs.text_model_output.last_hidden_state)]
pairs += [(image.last_hidden_state, theirs.vision_model_output.last_hidden_state)]
pairs += [(F.normalize(copy.encode_text(ids)), theirs.text_embeds)]
pairs += [(F.normalize(copy.encode_image(pixels)), theirs.image_embeds)]
pairs += [(scores, theirs.logits_per_image)]
for i in range(3):
    pairs += [(text.hidden_states[i], theirs.text_model_output.hidden_states[i])]
    pairs += [(image.hidden_states[i], theirs.vision_model_output.hidden_states[i])]
print(f"{len(pairs)} outputs, relative error below 1e-5: {max(error(*p) for p in pairs) < 1e-5}")

# %% [markdown]
# ## Exercises
#
# ```{exercise} A fixed scale
# :label: clip-scale
#
# Cosines lie between $-1$ and $1$. Suppose that the scale were fixed at $e^\tau = 1$. How low could the loss {eq}`clip-loss` fall at all, for $B = 64$, if every pair had cosine $1$ and every other combination $-1$? What do you conclude about $\tau$?
# ```
#
# ```{solution-start} clip-scale
# :class: dropdown
# ```
#
# $L = \log(1 + 63\, e^{-2})$, above 2: even a perfect model would be told that it is bad. (And 64 vectors cannot all be opposite to one another, so it stays higher still.) With the starting value $1/0.07 \approx 14$ the bound is near zero.

# %%
for scale in (1.0, 1 / 0.07):
    best = scale * (2 * torch.eye(64, dtype=torch.float64) - 1)
    formula = math.log(1 + 63 * math.exp(-2 * scale))
    print(f"scale {scale:4.1f}: {float(loss_of(best)):.2f}, formula {formula:.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Who is it that moves?
# :label: clip-swap
#
# {numref}`clip-causal-map` is of one prompt. Two prompts share their first three words: "a red dog in the snow" and "a red dog by a lake". Which of the 24 states can the U-Net not tell apart? Predict it, then check. (Count the start token.)
# ```
#
# ```{solution-start} clip-swap
# :class: dropdown
# ```
#
# Start, `a`, `red`, `dog`: the first four. All others differ, the filling too. A word at the end of a long prompt changes few states of words; a word at the beginning changes all.

# %%
with torch.no_grad():
    pair = encoder(tokenizer(["a red dog in the snow", "a red dog by a lake"]))
difference = (pair.last_hidden_state[0] - pair.last_hidden_state[1]).norm(dim=1)
print("the same:", (difference < 1e-5).nonzero().flatten().tolist())

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A mask that looks back and forward
# :label: clip-mask
#
# Write the attention of the text encoder without the causal mask, and let a filling of the end token follow the prompt as before. Do the states of the words still not depend on how long the filling is? What would you have to add?
# ```
#
# ```{solution-start} clip-mask
# :class: dropdown
# ```
#
# Without the mask every word takes up values of the filling, so its state changes with the length. You would need a *padding mask*, which gives the filling no weight. CLIP's causal mask makes it needless, since the filling comes last.


# %%
def open_attention(block, x):
    """As causal_attention, but everyone sees everyone."""
    q, k, v = (
        rearrange(project(x), "b m (h d) -> b h m d", h=block.heads)
        for project in (block.q_proj, block.k_proj, block.v_proj)
    )
    weights = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(dim=3)
    return block.out_proj(rearrange(weights @ v, "b h m d -> b m (h d)"))


ids = tokenizer(["a red dog"])
block = tower.encoder.layers[0].self_attn
for name, attention in (("open", open_attention), ("causal", causal_attention)):
    long = attention(block, tower.embeddings(ids))[:, :5]
    brief = attention(block, tower.embeddings(ids[:, :12]))[:, :5]
    print(f"{name:6} words depend on the filling: {not torch.allclose(long, brief, atol=1e-5)}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# CLIP is due to {cite:t}`radford2021learning`, who found that telling pairs apart teaches more, for the same computation, than predicting the words of the caption. The softmax over the others of a batch is older, and known as InfoNCE {cite}`oord2018representation`.
# Byte-pair encoding for translation is by {cite:t}`sennrich2016neural`, its spelling in bytes by {cite:t}`radford2019language`, the image tower by {cite:t}`dosovitskiy2021image`. Latent diffusion first trained a text encoder of its own, with the U-Net {cite}`rombach2022high`; Stable Diffusion took CLIP's,
# ready and frozen. unCLIP makes pictures from CLIP's *image* vectors {cite}`ramesh2022hierarchical`, which Stable Diffusion does not.
# On the brain's side, {cite:t}`takagi2023high` predict from fMRI the states that captions have in this text encoder, and {cite:t}`lu2023minddiffuser` add features of the image encoder.
#
# ## The way on
#
# You have 77 vectors that carry a prompt. How does a picture that is all noise look them up? {doc}`attention` builds what lies between the two.
