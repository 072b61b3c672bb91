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
# # Fine-tuning and LoRA
#
# **You will be able to**
#
# - teach a trained model a new thing from twenty pictures, in a minute;
# - explain a low-rank change, count its weights, and check its formula;
# - measure what a model forgets meanwhile, and keep it from forgetting;
# - turn a change up and down, merge it, and hand it to diffusers;
# - fine-tune Stable Diffusion itself with the same command.
#
# **Time** 35 minutes to read; the cells run in about 50 seconds, most of it training.
#
# **Before this** {doc}`miniature`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its last chapter of ten, fine-tuning."}, "figure": {"caption": "Where you are: the last chapter of Part III.", "name": "finetuning-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("finetuning")
plt.show()

# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 80})

# %% [markdown]
# ## What the miniature has never seen
#
# The picture world has a sixteenth kind of thing, a giraffe. No training picture of the U-Net showed one. The text encoder has met the word, since CLIP was trained with giraffes, as Stable Diffusion's has met far more words than its U-Net can draw well. Ask for one.

# %% mystnb={"image": {"alt": "Two rows of eight small pictures. Above, drawn by the miniature for prompts with a giraffe: other animals and things in the right colour and on the right background, or nothing at all. Below, giraffes from the picture world."}, "figure": {"caption": "Eight prompts with a giraffe. Above, what the miniature draws: the background is right, the animal is another one or missing. Below, real scenes.", "name": "finetuning-before"}}
import torch

from minisd.metrics import Scorer, score
from minisd.pipeline import StableDiffusion
from minisd.plots import image_grid
from minisd.scenes import NEWCOMERS, caption, scenes

folder = "../../data_samples/miniature"
sd = StableDiffusion.from_pretrained(folder)
scorer = Scorer.from_pretrained(f"{folder}/scorer")

giraffes = scenes(range(8), seed=2, two=0.0, categories=NEWCOMERS)
wanted = list(giraffes.factors)
settings = {"steps": 12, "guidance_scale": 4, "progress": False, "output": "tensor"}


def draw(pipeline, factors):
    """One picture of each caption, always from the same noise."""
    prompts = [caption(f) for f in factors]
    return pipeline.text_to_image(prompts, batch_size=16, **settings)


before = draw(sd, wanted)
real = torch.from_numpy(giraffes.images).permute(0, 3, 1, 2) / 127.5 - 1
image_grid(torch.cat([before, real]), columns=8)
plt.show()

# %% [markdown]
# ## Twenty pictures in a folder
#
# The report's third way to a model of your own is to "re-train on a specific dataset with the original weights as initialisation". That is *fine-tuning*. The data lie in a folder as the field has it: pictures, and a table of their captions.

# %% mystnb={"image": {"alt": "Twenty small pictures of giraffes in all colours, sizes and places, on all backgrounds, some with sunglasses or a hat."}, "figure": {"caption": "All that the miniature will see of giraffes in this minute.", "name": "finetuning-twenty"}}
import json
import tempfile
from pathlib import Path

from PIL import Image

root = Path(tempfile.mkdtemp())
data = root / "giraffes"
data.mkdir()
twenty = scenes(range(20), seed=4, two=0.0, categories=NEWCOMERS)
rows = []
for i, (image, texts) in enumerate(zip(twenty.images, twenty.captions, strict=True)):
    Image.fromarray(image).save(data / f"{i:02}.png")
    rows.append(json.dumps({"file_name": f"{i:02}.png", "text": texts[0]}))
(data / "metadata.jsonl").write_text("\n".join(rows))
print(rows[0])
image_grid(twenty.images, columns=10)
plt.show()

# %% [markdown]
# ## A change of low rank
#
# Training all weights works, and makes a second model as large as the first. Hu et al. {cite}`hu2022lora` found that the *change* that fine-tuning needs is simple. A layer that multiplies by $W$, with $n$ outputs and $m$ inputs, becomes
#
# $$
# W x + \frac{\alpha}{r}\, B A\, x , \qquad A \in \mathbb R^{r \times m},\quad B \in \mathbb R^{n \times r} .
# $$ (finetuning-lora)
#
# $W$ stays as it is. Only $A$ and $B$ are trained, $r (n + m)$ numbers in place of $n m$. The rank $r$ is small, 4 to 64 in practice. $B$ begins at zero, so at first nothing changes. The scale $\alpha / r$ lets a learning rate that was found at one rank serve at another.

# %%
from torch import nn

from minisd.training.lora import LowRank

torch.manual_seed(0)
layer = LowRank(nn.Linear(128, 96), rank=8, alpha=4.0)
W, A, B = layer.linear.weight, layer.lora_A.weight, layer.lora_B.weight
x = torch.randn(5, 128)
print(f"nothing is changed at first: {torch.equal(layer(x), layer.linear(x))}")
nn.init.normal_(B)
change = 4.0 / 8 * x @ (B @ A).T
print(f"the formula: {torch.allclose(layer(x), layer.linear(x) + change, atol=1e-5)}")
print(f"rank of the change: {int(torch.linalg.matrix_rank(B @ A))}")
print(f"{A.numel() + B.numel()} numbers in place of {W.numel()}")

# %% [markdown]
# Where do they go? Beside the four linear layers of every attention, those that read the text among them.

# %%
from minisd.training.lora import add_lora, lora_parameters

unet = StableDiffusion.from_pretrained(folder).unet
whole = sum(p.numel() for p in unet.parameters())
add_lora(unet, rank=8)
low = sum(p.numel() for p in lora_parameters(unet))
print(f"{low:,} of {whole:,} weights: {100 * low / whole:.1f} %")

# %% [markdown]
# ## One minute
#
# `minisd.training.finetune.finetune` is what the command `minisd finetune` calls.

# %%
from IPython.utils.capture import capture_output

from minisd.training.finetune import FinetuneSettings, finetune
from minisd.training.loop import RunSettings
from minisd.training.lora import load_lora

run = RunSettings(
    steps=50, batch_size=20, learning_rate=3e-3, warmup=10, ema=0.9, sample_every=1000
)
with capture_output():  # a page has no place for a progress bar
    file = finetune(folder, data, root / "minute", FinetuneSettings(rank=16), run)
minute = StableDiffusion.from_pretrained(folder)
load_lora(minute.unet, file)
print(f"{file.name}, {file.stat().st_size // 1000} kB")

# %% mystnb={"image": {"alt": "Two rows of eight small pictures for prompts with a giraffe: above before, below after a minute of fine-tuning."}, "figure": {"caption": "The same prompts and the same noise, before (above) and after (below) a minute.", "name": "finetuning-after"}}
after = draw(minute, wanted)
image_grid(torch.cat([before, after]), columns=8)
plt.show()

# %% [markdown]
# ## Does it know giraffes now, and what did it forget?
#
# A look is not enough. Ask the scorer what these pictures show, and what the model draws for 16 prompts with other things.

# %%
others = list(scenes(range(16), seed=2, two=0.0).factors)


def right(images, factors):
    """Share of pictures whose thing is the one that was asked for."""
    return score(scorer.read(images), factors)["object"]


print(f"giraffes before, under a third: {right(before, wanted) < 1 / 3}")
print(f"giraffes after, over half: {right(after, wanted) > 0.5}")
print(f"other things after, over two thirds: {right(draw(minute, others), others) > 2 / 3}")

# %% [markdown]
# A minute is short. A longer run of the same command, on 200 pictures, ships with the book (`tools/teach_giraffe.py` made it), once without and once with a guard against forgetting.
#
# The guard: before it begins, the model draws pictures of what it knows, and is then trained on these beside the new ones. Ruiz et al. {cite}`ruiz2023dreambooth` call it *prior preservation*. A text file of prompts is all it needs (`--keep prompts.txt`): no old data, only the old model.


# %% mystnb={"image": {"alt": "Three rows of eight small pictures for prompts with a giraffe, after a minute, after a longer run, and after a guarded one."}, "figure": {"caption": "The same prompts and noise after a minute, after the longer run, and after the guarded one.", "name": "finetuning-longer"}}
def with_lora(path, scale=1.0):
    pipeline = StableDiffusion.from_pretrained(folder)
    load_lora(pipeline.unet, path, scale)
    return pipeline


longer = Path(f"{folder}/lora")
alone = with_lora(longer / "giraffe-alone.safetensors")
guarded = with_lora(longer / "giraffe.safetensors")
rows = [after, draw(alone, wanted), draw(guarded, wanted)]
image_grid(torch.cat(rows), columns=8)
plt.show()

# %% [markdown]
# ## Turn it up and down
#
# The change is a term of its own, so you may multiply it: by 0 for the old model, by 1 for the new one, by something between. Move the slider.

# %%
from minisd.training.lora import lora_layers
from minisd.widgets import slider


def scaled(s):
    for layer in lora_layers(guarded.unet).values():
        layer.scale = s
    figure = image_grid(draw(guarded, wanted[:6]), columns=6)
    for layer in lora_layers(guarded.unet).values():
        layer.scale = 1.0
    return figure


slider(
    scaled,
    [0.0, 0.5, 0.75, 1.0, 1.5],
    label="scale",
    caption="The change multiplied by a scale: the old model at 0, the trained one at 1.",
    alt="Six pictures for prompts with a giraffe, at scale {}.".format,
)

# %% [markdown]
# The giraffe is there well before 1. What is forgotten grows with the scale, too. So look for the scale that keeps most of the one and loses little of the other. This was measured when the files were made, over 256 prompts of either kind: the share of pictures whose thing is the right one.

# %%
import json

print(f"{'':16}{'scale':>6}{'giraffes':>11}{'others':>9}")
for name, strengths in json.loads((longer / "scores.json").read_text()).items():
    for s, found in strengths.items():
        right = [100 * found[which]["object"] for which in ("giraffe", "others")]
        print(f"{name:16}{s:>6}{right[0]:9.1f} %{right[1]:7.1f} %")

# %% [markdown]
# At three quarters both have nearly all of the giraffe still, and most of what was lost is back. The guarded one costs the miniature less than a point of what it knew, and the other nearly three.
#
# ## One matrix again
#
# When you no longer want to turn it, add the change to the weights: then the network is as fast as before.

# %%
from minisd.training.lora import merge_lora

merged = with_lora(longer / "giraffe.safetensors")
z = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
t, c = torch.full((2,), 500.0), sd.encode_text(["a giraffe", "a cat"])
with torch.no_grad():
    beside = merged.unet(z, t, c)
    merge_lora(merged.unet)
    print(f"the same: {torch.allclose(merged.unet(z, t, c), beside, atol=1e-4)}")
print(f"low-rank layers left: {len(lora_layers(merged.unet))}")

# %% [markdown]
# ## Others read it too
#
# The file has the names that the field has agreed on. Diffusers loads it beside the same checkpoint.

# %%
from safetensors import safe_open

with safe_open(longer / "giraffe.safetensors", "pt") as opened:
    keys = sorted(opened.keys())
print(len(keys), "tensors, such as", keys[0])

# %% [markdown]
# ```python
# pipe = diffusers.StableDiffusionPipeline.from_pretrained("data_samples/miniature", dtype=torch.float32)
# pipe.load_lora_weights("data_samples/miniature/lora", weight_name="giraffe.safetensors")
# ```
#
# `tests/training/test_lora.py` shows that both draw the same.
#
# ## Stable Diffusion itself
#
# The command is the same, with other numbers:
#
# ```
# minisd finetune --model stable-diffusion-v1-5/stable-diffusion-v1-5 --data my-pictures \
#     --output my-lora --rank 8 --steps 1000 --batch-size 4 --mixed-precision bf16
# ```
#
# Latents and text embeddings of all pictures are computed once, before the training, and kept on disk. After that only the U-Net is at work. How much memory does it take? Weights of 32 bits: 860 million times 4 bytes. For full fine-tuning Adam keeps two numbers more for each, the gradient is one, and the average is one.

# %%
from minisd.models.unet import UNet, UNetConfig

with torch.device("meta"):
    full = UNet(UNetConfig())
    n = sum(p.numel() for p in full.parameters())
    add_lora(full, rank=8)
    r = sum(p.numel() for p in lora_parameters(full))
print(f"{n:,} weights; low-rank at r = 8: {r:,}")
print(f"full: {5 * 4 * n / 1e9:.1f} GB; LoRA: {(4 * n + 5 * 4 * r) / 1e9:.1f} GB, and activations")

# %% [markdown]
# ## Exercises
#
# ```{exercise} How small can the rank be?
# :label: finetuning-rank
#
# A square layer has $n = m = 768$. From which rank on has LoRA more numbers to train than the layer itself?
# ```
#
# ```{solution-start} finetuning-rank
# :class: dropdown
# ```
#
# $r (n + m) > n m$ means $r > n m / (n + m) = 384$: half the width. The ranks in use are far below.

# %%
n = m = 768
print(min(r for r in range(1, 769) if r * (n + m) > n * m))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Two teachers
# :label: finetuning-two
#
# Two changes $B_1 A_1$ and $B_2 A_2$ of ranks $r_1$ and $r_2$ are merged into the same weights, one after the other. What rank can the sum have?
# ```
#
# ```{solution-start} finetuning-two
# :class: dropdown
# ```
#
# At most $r_1 + r_2$: stack the $B$ side by side and the $A$ above one another.

# %%
g = torch.Generator().manual_seed(0)
B1, A1 = torch.randn(96, 3, generator=g), torch.randn(3, 128, generator=g)
B2, A2 = torch.randn(96, 5, generator=g), torch.randn(5, 128, generator=g)
both = torch.cat([B1, B2], dim=1) @ torch.cat([A1, A2])
print(torch.allclose(both, B1 @ A1 + B2 @ A2, atol=1e-4), int(torch.linalg.matrix_rank(both)))

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# - LoRA was made for language models {cite}`hu2022lora`; ranks of 1 to 8 on the attention's matrices sufficed there.
# - DreamBooth {cite}`ruiz2023dreambooth` fine-tunes all weights on three to five pictures of one thing, under a rare word, with prior preservation.
# - Textual inversion {cite}`gal2023image` trains no weight of the network at all, but one new word: its embedding.
#
# ## The way on
#
# This ends Part III: you have every part of Stable Diffusion, trained and opened up. Go back to {doc}`pipeline` and {doc}`inpainting` with a model of your own.
