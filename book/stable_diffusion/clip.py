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
# - read a picture with the image encoder, at any of its layers;
# - write CLIP's loss and its gradient;
# - search pictures by text, read a scene off without a classifier, and find what a CLIP is blind to;
# - say which half of CLIP Stable Diffusion has, and which it has not.
#
# **Time** 45 minutes to read; the cells run in about 20 seconds.
#
# **Before this** {doc}`../front/picture_world` and {doc}`../diffusion/training`. The next chapter takes attention apart; here it is
# enough that each token looks at other tokens and takes up a weighted mean of what they hold.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its second chapter of ten, CLIP."}, "figure": {"caption": "Where you are: the second chapter of Part III.", "name": "clip-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("clip")
plt.show()

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
# `train_tokenizer` does the same with captions. The picture world has five wordings for a scene; here are those of 1,500 scenes with one thing in them.

# %%
import numpy as np
import torch

from minisd.models.tokenizer import Tokenizer, train_tokenizer
from minisd.scenes import captions as write_captions
from minisd.scenes import scene_factors

torch.set_num_threads(1)  # in a small network, threads wait for one another
rng = np.random.default_rng(0)
fives = [write_captions(scene_factors(i, two=0), rng) for i in range(1500)]
captions = [text for five in fives for text in five]
for text in captions[:3]:
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
transformers.utils.logging.disable_progress_bar()
with tempfile.TemporaryDirectory() as folder:
    tokenizer.save(folder)
    theirs = transformers.CLIPTokenizer.from_pretrained(folder)
odd = ["", "It's a DOG!", "café 👍 8k", "  two\n lines ", "une tête d'éléphant"]
filled = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
print(f"same ids: {torch.equal(theirs(odd, **filled)['input_ids'], tokenizer(odd))}")

# %% [markdown]
# ## The text encoder
#
# The ids go into a transformer {cite}`vaswani2017attention`. It returns one vector for each of the 77 places, and these vectors are what the U-Net of Stable Diffusion looks at. Take the one of the book's *miniature*, a whole Stable Diffusion for the picture world that ships with the book ({doc}`miniature`):
# 128 channels in place of 768, 3 layers in place of 12, and 32 places. It has the same four parts as CLIP's: embedding, causal attention, feed-forward layer, norm. Its tokenizer was learned as yours was, from more captions.
#
# **Embedding.** Token $w_n$ at place $n$ becomes the sum of two learned vectors, one for what it is and one for where it stands:
#
# $$
# x_n = E_{w_n} + P_n, \qquad n = 0, \dots, M-1 .
# $$ (clip-embedding)
#
# Without $P$ the encoder could not tell a dog on a bench from a bench on a dog.

# %%
from minisd.checkpoints import load_network

FOLDER = "../../data_samples/miniature"
tokenizer = Tokenizer.from_folder(f"{FOLDER}/tokenizer")
encoder = load_network("text_encoder", FOLDER).requires_grad_(False)
tower = encoder.text_model
ids = tokenizer(["a small red dog wearing a hat in the snow"])
print(len(tokenizer), "tokens;", pieces(tokenizer, "a small red dog wearing a hat"))

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
# each state moves.

# %% mystnb={"image": {"alt": "A square map of 32 rows and columns. Everything left of the diagonal is empty. On the diagonal the change is large, to the right of it smaller but there, down to the last column, beyond the end of the prompt."}, "figure": {"caption": "Change the token of a row, and the states from its place on move; none before it does. The dashed lines mark the first end token: the states behind it are of the filling, and carry the prompt.", "name": "clip-causal-map"}}
states = encoder(ids).last_hidden_state
moved = torch.zeros(32, 32)
for n in range(32):
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
print("every state from it on does:", bool((moved + torch.ones(32, 32).tril(-1) > 1e-3).all()))

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

from minisd.models.clip import CLIPTextConfig, CLIPTextEncoder

shipped = CLIPTextConfig.from_json({"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1})
print("told:", shipped.eos_token_id)
trusting = CLIPTextEncoder(replace(encoder.config, eos_token_id=2)).eval()
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

# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

# Photographs are large as PNG.
set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 60})

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
from minisd.checkpoints import load_clip

model = load_clip(f"{FOLDER}/clip").requires_grad_(False)  # both towers
embed = model.vision_model.embeddings
small = preprocess(photo, 64)
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
from minisd.models.clip import CLIPImageEncoder

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
# ## The miniature's CLIP
#
# CLIP saw 400 million pairs, 32,768 at a time {cite}`radford2021learning`. The miniature's saw drawn scenes, 64 at a time. Its batches are made of families: a scene, and others that differ from it in one factor. In such a batch the first words of a caption do not suffice, since its neighbours have
# them too. These are *hard negatives* {cite}`yuksekgonul2023when`. `CLIP` in `minisd` is the two towers that you have seen, two linear maps and the scale. Give it 300 scenes of a world that it was not trained in, with their captions.

# %%
from minisd.models.contrastive import similarity
from minisd.scenes import scenes

print(f"{sum(p.numel() for p in model.parameters()):,} numbers")
fresh = scenes(range(300))
fresh_pictures = preprocess(torch.from_numpy(fresh.images).permute(0, 3, 1, 2) / 127.5 - 1, 64)
fresh_texts = [five[0] for five in fresh.captions]
f = model.encode_image(fresh_pictures)
h = model.encode_text(tokenizer(fresh_texts))
found = (similarity(f, h, model.logit_scale).argmax(1) == torch.arange(300)).float().mean()
print(f"of 300 captions the right one, chance 0.3 %: above 70 %: {bool(found > 0.7)}")

# %% [markdown]
# ### Search by text
#
# Any text will do. Its vector is compared with those of the pictures, and the nearest come first. {numref}`clip-retrieval` shows four searches. The last is unfair: no caption has the word "something", and the model is not sure what to make of it.

# %% mystnb={"image": {"alt": "Four rows of six scenes each, every row under its search text. The pictures of the first three rows show what the text says, or a part of it; of those for something purple about half have a purple thing."}, "figure": {"caption": "The six of 300 fresh scenes that the miniature's CLIP finds nearest to each text. Where no scene shows all of it, it finds some that show a part.", "name": "clip-retrieval"}}
from minisd.plots import image_grid

searches = (
    "a dog with sunglasses in a grass field",
    "a cat on a bench",
    "a kite at the beach",
    "something purple",
)
wanted = model.encode_text(tokenizer(searches))
nearest = similarity(f, wanted, model.logit_scale).topk(6, dim=0).indices.T  # [4, 6]
titles = [x for text in searches for x in ("", "", f"{text:50}", "", "", "")]
image_grid(fresh.images[nearest.flatten()], titles, columns=6)
plt.show()

# %% [markdown]
# Texts can be compared with each other, too. {numref}`clip-words` takes single words, less their mean. Words are near whose pictures look alike. Nobody told the model that a bus is something like a car.

# %% mystnb={"image": {"alt": "A square map of how alike 27 words are, symmetric, with a bright diagonal. Among the things some pairs stand out, such as car and bus or airplane and kite; between things and colours the map is mostly dim."}, "figure": {"caption": "Cosines between the vectors of words. Bright: alike. A car is like a bus, and a kite, in the sky, like an airplane.", "name": "clip-words"}}
from minisd.scenes import CATEGORIES, COLOURS

words = [*CATEGORIES, *COLOURS, "sunglasses", "hat", "small", "large"]
vectors = model.encode_text(tokenizer(words))
vectors = F.normalize(vectors - vectors.mean(0), dim=1)
figure, axes = plt.subplots(figsize=(6.4, 5.4))
picture = axes.imshow(vectors @ vectors.T, vmin=-0.5, vmax=1)
axes.set_xticks(range(len(words)), words, rotation=90, fontsize=8)
axes.set_yticks(range(len(words)), words, fontsize=8)
axes.grid(False)
figure.colorbar(picture, label="cosine")
plt.show()

# %% [markdown]
# ### A classifier that was never trained
#
# Write one sentence for each kind of thing, and the most similar sentence is the answer: CLIP classifies without having been given a class. The sentences, not the weights, say what the classes are.

# %%
from minisd.scenes import BACKGROUNDS


def ask(sentences):
    """For each fresh picture, the shares of the sentences [300, K]."""
    h = model.encode_text(tokenizer(sentences))
    return similarity(f, h, model.logit_scale).softmax(dim=1)


answers = {}
alone = [i for i, x in enumerate(fresh.factors) if len(x.things) == 1]
for field, sentence, words in (
    ("category", "a drawing of a {}", CATEGORIES),
    ("colour", "a drawing of a {} dog", COLOURS),
    ("background", "an empty scene in a {}", BACKGROUNDS),
):
    answers[field] = ask([sentence.format(word) for word in words])
    chosen = [words[answers[field][i].argmax()] for i in alone]
    holders = [fresh.factors[i] for i in alone]
    holders = holders if field == "background" else [x.things[0] for x in holders]
    right = [word == getattr(x, field) for word, x in zip(chosen, holders, strict=True)]
    share = sum(right) / len(right)
    print(f"{field}: above 85 % right: {share > 0.85}; guessing {1 / len(words):.0%}")

# %% [markdown]
# Move the slider through the scenes, and see how the model shares each among fifteen things, eight colours and six backgrounds. Each bar is one sentence. With two things in a scene, the shares are divided.

# %%
from minisd.widgets import slider


def frame(k):
    figure, axes = plt.subplots(1, 4, figsize=(6.4, 2.4), width_ratios=[1.2, 1, 1, 1])
    axes[0].imshow(fresh.images[k])
    axes[0].axis("off")
    fields = {"category": CATEGORIES, "colour": COLOURS, "background": BACKGROUNDS}
    for axis, (field, words) in zip(axes[1:], fields.items(), strict=True):
        axis.barh(range(len(words)), 100 * answers[field][k])
        axis.set_yticks(range(len(words)), words, fontsize=7)
        axis.set(xlim=(0, 100), title=field, xlabel="per cent")
        axis.invert_yaxis()
    return figure


slider(
    frame,
    range(1, 8),
    label="scene",
    caption="A fresh scene, and how well each sentence about its thing, its colour and its background fits it.",
    alt=lambda k: (
        f"A scene: {fresh_texts[k]}. Bars for fifteen things, eight colours, six backgrounds."
    ),
    start=1,
)

# %% [markdown]
# ### The hard ones
#
# The text that is wrong in *one* word is the hard one. {numref}`clip-family` holds a scene and six others, each different in one factor, against their captions. A row is a picture, and its softmax is how the model shares that picture among the texts.

# %% mystnb={"image": {"alt": "A table of seven rows and columns. Seven small scenes stand at the left; the columns are headed as it is, cat, blue, hat, snow, small and right. Most of the blue lies on the diagonal."}, "figure": {"caption": "A scene, six others that differ from it in one factor (rows), and the captions of all seven (columns). Depth of blue and number are the softmax of a row, in per cent; on the diagonal a picture finds its own text.", "name": "clip-family"}}
from minisd.scenes import SceneFactors, Thing, caption
from minisd.scenes import draw as draw_scene


def dog(background="grass field", **changes):
    told = {"category": "dog", "colour": "red", "place": "left", "accessory": "sunglasses"}
    return SceneFactors(background, (Thing(**told | changes),))


family = {
    "as it is": dog(),
    "cat": dog(category="cat"),
    "blue": dog(colour="blue"),
    "hat": dog(accessory="hat"),
    "snow": dog("snow"),
    "small": dog(size="small"),
    "right": dog(place="right"),
}
drawn = np.stack([draw_scene(x, rng).image for x in family.values()])
pixels = preprocess(torch.from_numpy(drawn).permute(0, 3, 1, 2) / 127.5 - 1, 64)
texts = model.encode_text(tokenizer([caption(x) for x in family.values()]))
shares = similarity(model.encode_image(pixels), texts, model.logit_scale).softmax(dim=1)

figure, axes = plt.subplots(figsize=(6.4, 5))
axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
for i in range(7):
    for j in range(7):
        ink = "white" if shares[i, j] > 0.5 else "black"
        axes.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", color=ink)
    inset = axes.inset_axes([-1.5, i - 0.47, 0.94, 0.94], transform=axes.transData)
    inset.imshow(drawn[i])
    inset.axis("off")
axes.xaxis.tick_top()
axes.set_xticks(range(7), family)
axes.set_yticks([])
axes.grid(False)
plt.show()

# %% [markdown]
# Now the same for all fresh scenes: change one factor, at random, of each kind that a scene has. How often does the true caption fit better than the changed one?

# %% mystnb={"image": {"alt": "Seven bars. Background, colour, size, place, accessory and category reach nearly 100 per cent. The last and shortest is left or right of, between them and a dashed line at 50 per cent, which marks guessing."}, "figure": {"caption": "How often the true caption fits a scene better than one that is wrong in a single factor. What a thing is like and where it stands is told nearly always. Which of two things is left of the other is the hardest.", "name": "clip-hard"}}
from minisd.scenes import one_factor_changes


def differing(a, b):
    """The factor in which two scenes differ."""
    if a.background != b.background:
        return "background"
    if a.relation != b.relation:
        return "left or right of"
    for field in ("category", "colour", "size", "accessory"):
        if [getattr(x, field) for x in a.things] != [getattr(x, field) for x in b.things]:
            return field
    return "place"


wins, all_of = Counter(), Counter()
for i, factors in enumerate(fresh.factors):
    changes = rng.permutation(one_factor_changes(factors))
    chosen = {differing(factors, x): x for x in changes}  # one of each kind
    texts = [caption(x) for x in (factors, *chosen.values())]
    texts = model.encode_text(tokenizer(texts))
    fits = similarity(f[i : i + 1], texts, model.logit_scale)[0]
    for name, fit in zip(chosen, fits[1:], strict=True):
        all_of[name] += 1
        wins[name] += int(fits[0] > fit)
hard = {name: wins[name] / count for name, count in all_of.items()}
order = sorted(hard, key=hard.get, reverse=True)
figure, axes = plt.subplots(figsize=(6.4, 2.5))
axes.barh(order, [100 * hard[name] for name in order])
axes.axvline(50, color="black", ls="--", lw=1.2, label="guessing")
axes.invert_yaxis()
axes.set(xlabel="true caption fits better, per cent", xlim=(0, 100))
axes.legend(loc="lower right")
plt.show()

# %%
for name in ("background", "category", "colour"):
    print(f"{name}: above 90 %: {hard[name] > 0.9}")
print("hardest:", order[-1])

# %% [markdown]
# A caption can be right in every word and wrong in who is where. To see that, a tower must bind each place to its thing, and the loss seldom asks for it. The real CLIP has the same weakness {cite}`yuksekgonul2023when`. Remember it when a prompt with two things goes wrong.

# %% [markdown]
# ## Does transformers agree?
#
# transformers reads the same folder. The cell compares everything that the towers return. `tests/models/test_clip.py` does the same in many shapes.


# %%
# A parity cell: it alone needs the library transformers.
def error(ours, theirs):
    """Largest difference, on the scale of the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


reference = transformers.CLIPModel.from_pretrained(f"{FOLDER}/clip").float().eval()
ids, pixels = tokenizer(fresh_texts[:4]), fresh_pictures[:4]
with torch.no_grad():
    theirs = reference(input_ids=ids, pixel_values=pixels, output_hidden_states=True)
text, image = model.text_model(ids, "all"), model.vision_model(pixels, "all")
pairs = [(text.last_hidden_state, theirs.text_model_output.last_hidden_state)]
pairs += [(image.last_hidden_state, theirs.vision_model_output.last_hidden_state)]
pairs += [(F.normalize(h[:4]), theirs.text_embeds), (F.normalize(f[:4]), theirs.image_embeds)]
pairs += [(similarity(f[:4], h[:4], model.logit_scale), theirs.logits_per_image)]
for tower_of, other in (
    (text, theirs.text_model_output),
    (image, theirs.vision_model_output),
):
    pairs += list(zip(tower_of.hidden_states.values(), other.hidden_states, strict=True))
print(f"{len(pairs)} outputs, relative error below 1e-4: {max(error(*p) for p in pairs) < 1e-4}")

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
# {numref}`clip-causal-map` is of one prompt. Two prompts share their first three words: "a red dog in the snow" and "a red dog by a lake". Which of the 32 states can the U-Net not tell apart? Predict it, then check. (Count the start token.)
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
# {cite:t}`yuksekgonul2023when` find that CLIP and its kin heed which words a caption has, and hardly who stands where or which word goes with which.
# On the brain's side, {cite:t}`takagi2023high` predict from fMRI the states that captions have in this text encoder, and {cite:t}`lu2023minddiffuser` add features of the image encoder.
#
# ## The way on
#
# You have 77 vectors that carry a prompt. How does a picture that is all noise look them up? {doc}`attention` builds what lies between the two.
