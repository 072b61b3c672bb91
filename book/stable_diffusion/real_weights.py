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
# # Loading the real weights
#
# **You will be able to**
#
# - load Stable Diffusion 1.x from a folder, from a single file, or by its name;
# - say what lies in a safetensors file, byte by byte, and why a pickle is dangerous;
# - read the error when a file does not fit, and know what it is instead;
# - say how much memory the real model takes, and what its licence asks of you.
#
# **Time** 30 minutes to read; the cells run in about 15 seconds.
#
# **Before this** {doc}`pipeline`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its eighth chapter of ten, the real weights."}, "figure": {"caption": "Where you are: the eighth chapter of Part III.", "name": "real-weights-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("real_weights")
plt.show()

# %% [markdown]
# ## One switch
#
# The weights of Stable Diffusion 1.x are public, and too large to ship with a book: 4.3 GB. So this chapter takes the book's own small checkpoint, the miniature of {doc}`pipeline`, writes it in both layouts that the field uses, and loads it from either. Everything below is the same for the real one. If you have it, in a folder, a file, or the hub's cache, put its path or
# name here and run the chapter again.

# %%
CHECKPOINT = None  # such as "stable-diffusion-v1-5/stable-diffusion-v1-5"

# %%
import tempfile
from pathlib import Path

import torch

from minisd.checkpoints import load_components, save_file, save_folder
from minisd.models.clip import CLIPTextEncoder
from minisd.models.unet import UNet, UNetConfig
from minisd.models.vae import AutoencoderKL

parts = load_components("../../data_samples/miniature")
unet, vae = parts.unet, parts.vae

root = Path(tempfile.mkdtemp())
folder = save_folder(parts, root / "miniature")
file = save_file(parts, root / "miniature.safetensors")

# %% [markdown]
# ## Two layouts
#
# The first is diffusers': a folder a part, each with its settings as JSON and its weights.

# %%
for path in sorted(folder.rglob("*")):
    if path.is_file():
        print(path.relative_to(folder))

# %% [markdown]
# The second is that of CompVis, the group that trained the model {cite}`rombach2022high`: one file with everything, under other names, and without settings and tokenizer. The same tensors stand in both. A few of the names:

# %%
from minisd.checkpoints import read_state_dict

single = read_state_dict(file)
states = {n: getattr(parts, n).state_dict() for n in ("unet", "vae", "text_encoder")}
for name in ("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight", "conv_out.bias"):
    key = next(k for k, v in single.items() if torch.equal(v, states["unet"][name]))
    print(f"{name}\n    {key}")

# %% [markdown]
# The names are two ways of counting. The folder counts levels and, in each, blocks; the single file counts blocks from the first to the last. `minisd` translates by a table of rules, and a test translates the full size both ways: 686, 248 and 196 names. One difference is of shape: the single file stores the autoencoder's
# attention as 1x1 convolutions, `[C, C, 1, 1]`, where the folder has matrices.

# %%
reshaped = [k for k, v in single.items() if v.ndim == 4 and ".attn_1.q.weight" in k]
print(reshaped[0], list(single[reshaped[0]].shape))
print(list(states["vae"]["encoder.mid_block.attentions.0.to_q.weight"].shape))

# %% [markdown]
# Loading is one call for either. A single file of another size than Stable Diffusion 1.x needs its settings from somewhere: `config` names a folder that has them.

# %%
from minisd.pipeline import StableDiffusion

ours = StableDiffusion.from_pretrained(CHECKPOINT or folder, device="cpu")
other = StableDiffusion.from_pretrained(file, config=folder, device="cpu")
settings = {"steps": 25, "guidance_scale": 4, "progress": False, "output": "tensor"}
prompts = ["a dog with sunglasses in a grass field", "a cat with sunglasses on a bench"]
settings |= {"seed": 1, "images_per_prompt": 2}
drawn = ours.text_to_image(prompts, **settings)
if CHECKPOINT is None:
    again = other.text_to_image(prompts, **settings)
    print("the same pictures:", torch.equal(drawn, again))

# %% mystnb={"image": {"alt": "Four drawings by the miniature: two of a dog with sunglasses in a grass field, and two of a cat with sunglasses on a bench."}, "figure": {"caption": "What the loaded weights draw under the report's two prompts, here the miniature's. From the folder and from the single file it is the same, to the last bit.", "name": "real-weights-drawn"}}
from minisd.plots import image_grid

image_grid(drawn)
plt.show()

# %% [markdown]
# At full size the calls read
#
# ```python
# sd = StableDiffusion.from_pretrained("CompVis/stable-diffusion-v1-4")
# sd = StableDiffusion.from_pretrained("stable-diffusion-v1-5/stable-diffusion-v1-5", variant="fp16", dtype="float16")
# sd = StableDiffusion.from_pretrained("v1-5-pruned-emaonly.safetensors", tokenizer="openai/clip-vit-large-patch14")
# sd = StableDiffusion.from_pretrained("v1-5-pruned.ckpt", ema=True, tokenizer="tokenizer/")
# ```
#
# A name on the hub downloads, with a bar; it is the one case in which `minisd` uses the network. `variant="fp16"` takes the files in half precision, half as large. `ema=True` takes the weights averaged over training, where a file has both kinds. On the command line it is `minisd text-to-image --model ... --prompt ...`.

# %% [markdown]
# ## A safetensors file, byte by byte
#
# Eight bytes say how long the header is. The header is JSON: for every tensor its type, its shape, and from where to where it lies. Then come the tensors. There is nothing else {cite}`huggingface2022safetensors`.

# %%
import json

raw = (folder / "vae" / "diffusion_pytorch_model.safetensors").read_bytes()
length = int.from_bytes(raw[:8], "little")
header = json.loads(raw[8 : 8 + length])
name = "decoder.conv_out.bias"
print(name, header[name])
start, stop = header[name]["data_offsets"]
bias = torch.frombuffer(bytearray(raw[8 + length + start : 8 + length + stop]), dtype=torch.float32)
print(torch.equal(bias, vae.decoder.conv_out.bias))

# %% [markdown]
# Since each tensor lies somewhere in the file as it will lie in memory, the file can be *mapped*: the operating system fetches a page when it is first touched. `minisd` makes its networks on the `meta` device, where they hold nothing, and hands them the mapped tensors. The weights are never held twice, and loading takes no time
# to speak of: the reading happens when you use them.
#
# ## A pickle can do anything
#
# The old format, `.ckpt`, is a *pickle*. A pickle is a small program that builds objects, and it may call any function. This one calls `print`. It could as well delete your files.


# %%
class Surprise:
    def __reduce__(self):
        return print, ("code from the file ran",)


evil = root / "surprise.ckpt"
torch.save({"state_dict": Surprise()}, evil)
_ = torch.load(evil, weights_only=False)

# %% [markdown]
# PyTorch can read the tensors of a pickle without running its program: `weights_only=True` allows a short list of harmless names. `minisd` always reads so.

# %%
try:
    read_state_dict(evil)
except ValueError as error:
    print(str(error).replace(str(root), "..."))

# %% [markdown]
# The famous files of versions 1.4 and 1.5 were written by a training program that left an object of its own inside, `pytorch_lightning`'s `ModelCheckpoint`, which `weights_only` refuses too. For that name and two of NumPy's, `minisd` has a stand-in that takes anything and does nothing. So they load, and nothing of them runs.
#
# ## When a file does not fit
#
# Loading compares names and shapes before it touches a weight. Here is a U-Net with one key too few, one too many, and one of another shape.

# %%
from minisd.checkpoints.weights import load_into

state = dict(states["unet"])
del state["conv_in.bias"]
state["lora.up.weight"] = torch.zeros(4)
state["conv_out.weight"] = torch.zeros(4, 8, 3, 3)
with torch.device("meta"):
    empty = UNet(unet.config)
try:
    load_into(empty, state, "unet of miniature")
except ValueError as error:
    print(error)

# %% [markdown]
# Other models of the same family have other settings, and would load and then draw noise. So the settings are compared too.

# %%
try:
    UNetConfig.from_json({"use_linear_projection": True, "cross_attention_dim": 1024})
except ValueError as error:
    print(error)

# %% [markdown]
# A download that broke off, and a weight that is not a number:

# %%
broken = root / "broken.safetensors"
broken.write_bytes(raw[: len(raw) // 2])
try:
    read_state_dict(broken)
except ValueError as error:
    print(type(error).__name__, "names the file:", "broken.safetensors" in str(error))
spoilt = StableDiffusion.from_pretrained(folder, device="cpu")
with torch.no_grad():
    spoilt.unet.conv_in.bias[0] = torch.nan
try:
    spoilt.text_to_image(prompts, **settings)
except ValueError as error:
    print(error)

# %% [markdown]
# ## The same as diffusers, at full size
#
# Random weights at the full size went through diffusers, transformers and `minisd`, in float32: `python benchmarks/parity.py` does it in some minutes, and writes this table. The error is the largest difference, as a share of the largest number.

# %%
import csv

with open("full_size_parity.csv", encoding="utf-8") as table:
    rows = list(csv.DictReader(table))
for row in rows:
    value = float(row["relative_error"])
    bound = "equal" if value == 0 else next(f"< 1e-{n}" for n in (7, 6, 5, 4, 3) if value < 10**-n)
    print(f"{row['part']:34}{row['input']:26}{bound}")
print("all below 1e-5:", all(float(row["relative_error"]) < 1e-5 for row in rows))

# %% [markdown]
# ## How much memory
#
# Parameters times bytes is what the weights take. PyTorch's `meta` device knows the shapes without holding them.
#
# $$
# \text{bytes} = \text{parameters} \times \text{bytes of a number} .
# $$ (real-weights-bytes)

# %%
from minisd.checkpoints.weights import Unfilled

with torch.device("meta"), Unfilled():
    full = {"U-Net": UNet(), "VAE": AutoencoderKL(), "text encoder": CLIPTextEncoder()}
count = {name: sum(p.numel() for p in part.parameters()) for name, part in full.items()}
for name, n in count.items():
    print(f"{name:13}{n:12,}  {4 * n / 1e9:5.2f} GB in float32, {2 * n / 1e9:5.2f} in float16")
total = sum(count.values())
print(
    f"{'together':13}{total:12,}  {4 * total / 1e9:5.2f} GB in float32, {2 * total / 1e9:5.2f} in float16"
)

# %% mystnb={"image": {"alt": "Three horizontal bars of stacked parts. Float32 is 4.3 GB long, float16 and bfloat16 2.1 GB; four fifths of each is the U-Net."}, "figure": {"caption": "The weights of Stable Diffusion 1.x. Four fifths of them are the U-Net.", "name": "real-weights-memory"}}
fig, axes = plt.subplots(figsize=(6.4, 1.9))
kinds = {"float32": 4, "float16": 2, "bfloat16": 2}
left = [0.0] * 3
for name, n in count.items():
    width = [size * n / 1e9 for size in kinds.values()]
    axes.barh(list(kinds), width, left=left, label=name)
    left = [a + b for a, b in zip(left, width, strict=True)]
axes.set(xlabel="GB")
axes.invert_yaxis()
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# On top comes what the networks hold while they run. It depends on the size of the picture: `sd.reduce_memory()` cuts attention into chunks and the autoencoder into tiles. The slider shows what one attention of the U-Net's first level would take if its weights were written out, eight heads and two conditions, in float32.
# PyTorch's attention does not write them out.

# %%
from minisd.widgets import slider


def draw_attention(side):
    tokens = (side // 8) ** 2
    sizes = {"all at once": 2 * 8 * tokens**2, "1024 queries at a time": 2 * 8 * 1024 * tokens}
    fig, axes = plt.subplots(figsize=(6.4, 1.7))
    axes.barh(list(sizes), [4 * n / 1e9 for n in sizes.values()], color=["C0", "C2"])
    axes.set(xlabel="GB", xscale="log", xlim=(0.001, 30), title=f"{side} x {side} pixels")
    axes.invert_yaxis()
    return fig


slider(
    draw_attention,
    [256, 384, 512, 640, 768, 1024],
    label="pixels",
    caption="Attention weights written out grow with the fourth power of the picture's side; in chunks, with its square.",
    alt="Two bars in GB on a logarithmic axis, attention weights all at once and in chunks, for a picture of side {}.".format,
    start=2,
)

# %% [markdown]
# ## Whose weights they are
#
# The weights have a licence of their own, *CreativeML Open RAIL-M* {cite}`compvis2022licence`. In short: you may use, change and pass them on, also for money; you may not use them for a list of harms in its attachment; and whoever gets them or a model made from them from you must be bound by the same list. The
# [model card](https://huggingface.co/CompVis/stable-diffusion-v1-4) tells what the model cannot do well, and that it was trained on pictures with mostly English captions from the web, with the biases that come with that. Read both before you build on it.
#
# ## Exercises
#
# ```{exercise} Read a header without reading a file
# :label: real-weights-header
#
# Count the parameters of a `.safetensors` file from its header alone.
# ```
#
# ```{solution-start} real-weights-header
# :class: dropdown
# ```
#
# Read eight bytes, then as many as they say. Multiply the shapes.


# %%
def parameters(path):
    with open(path, "rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    header.pop("__metadata__", None)
    return sum(torch.Size(entry["shape"]).numel() for entry in header.values())


counted = parameters(folder / "unet" / "diffusion_pytorch_model.safetensors")
print(counted == sum(p.numel() for p in unet.parameters()))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Half as large
# :label: real-weights-half
#
# Load the checkpoint in bfloat16 and compare its U-Net's weights with those in float32. How large is the error, and why? And why would float16 tell you nothing here?
# ```
#
# ```{solution-start} real-weights-half
# :class: dropdown
# ```
#
# A bfloat16 has 8 significant bits, so rounding is off by at most one part in 256. The miniature's files hold float16, so their numbers have 11 significant bits already: a float16 takes each as it is.

# %%
exact = unet.conv_in.weight
for dtype in ("bfloat16", "float16"):
    half = StableDiffusion.from_pretrained(folder, device="cpu", dtype=dtype)
    off = (exact - half.unet.conv_in.weight.float()).abs()
    bound = bool((off <= exact.abs() / 256).all())
    print(f"{dtype}: equal: {not off.any()}, within one part in 256: {bound}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`rombach2022high` describe the model; versions 1.1 to 1.4 were released in August 2022, 1.5 in October. The text encoder is that of {cite:t}`radford2021learning`, ViT-L/14, unchanged. Takagi and Nishimoto {cite}`takagi2023high` and MindDiffuser {cite}`lu2023minddiffuser` both decode brains with version 1.4 of these weights.
#
# ## The way on
#
# Your code now runs the real model. The small one has drawn the pictures of this part, with the same classes. Where its weights come from is the next question: {doc}`miniature` trains them.

# %% tags=["remove-cell"]
import shutil

shutil.rmtree(root)
