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
# # The full-size run: your NSD, the real Stable Diffusion
#
# **You will be able to**
#
# - run every system of this part on real responses with the real weights, from one command;
# - count beforehand what it takes: bytes of decoders, bytes that stage 2 keeps, evaluations of the U-Net;
# - turn evaluations into GPU-hours, with a speed that you measured yourself;
# - name what MindDiffuser's paper and its code disagree on, and the option that stands for each;
# - say what would have to be the same before you may compare your figures with theirs.
#
# **Time** 35 minutes to read; the cells run in about 20 seconds. The run itself takes from an evening to weeks of a GPU.
#
# **Before this** {doc}`mind_diffuser_2`, {doc}`../brain/your_own_nsd`, {doc}`../stable_diffusion/real_weights`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part V, From brain to picture, at its last chapter, the full size."}, "figure": {"caption": "Where you are: the last chapter of Part V.", "name": "full-size-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("full_size")
plt.show()

# %% [markdown]
# All that this part showed, it showed on simulated subjects with a miniature. The code is the same for the real ones. What changes is size. A picture has 64 times as many pixels, the U-Net 860 million parameters, and a run that is planned badly ends after two days with an error about memory. So this chapter counts first.
#
# No data of the Natural Scenes Dataset (NSD) {cite}`allen2022massive` is shown here, and none is read. The cells run the same command on the simulated subject that ships with the book, and count shapes at full size without holding them.
#
# ## One command
#
# `minisd leaderboard` does everything after the download: it prepares each subject, fits what is not fitted yet, draws with each system, measures, and writes a table and a sheet of pictures. Here it is on the miniature, with two systems, three test pictures, and the first session alone.

# %%
import shlex
import tempfile
from pathlib import Path

from typer.testing import CliRunner

from minisd.cli import app

scratch = tempfile.TemporaryDirectory()
samples = next(p for p in map(Path, ("data_samples", "../../data_samples")) if p.exists())
places = {"NSD": samples / "nsd", "SD": samples / "miniature", "OUT": Path(scratch.name) / "out"}
places["CLIP"] = places["SD"] / "clip"


def minisd(line):
    """Run a command line; its words in capitals are folders."""
    words = [str(places.get(word, word)) for word in shlex.split(line)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return result.stdout


command = """leaderboard --nsd NSD --model SD --clip CLIP --out OUT
    --systems blur,stage_1 --pictures 3 --sessions 1 --recipe miniature --device cpu"""
told = minisd(command)
print("\n".join(line.partition(" | ")[0] for line in told.splitlines() if line.startswith("| ")))
for path in sorted(places["OUT"].rglob("*")):
    if path.is_file() and path.suffix in (".npz", ".md", ".png", ".json", ".safetensors"):
        print(path.relative_to(places["OUT"]))

# %% [markdown]
# A row of the table for each system; they were cut off here, since three pictures tell nothing. Look at the files. Decoders are fitted once and kept for all systems that need them (`decoders/all`). Pictures are kept by system. So the command goes on where it was stopped. Run it again, and nothing is fitted or drawn:


# %%
def written():
    """When each file with pictures or decoders was written."""
    kinds = ("pictures-*.npz", "*.safetensors")
    return {path: path.stat().st_mtime_ns for kind in kinds for path in places["OUT"].rglob(kind)}


before = written()
again = minisd(command)
print("the same files, untouched:", written() == before)
print("the same table:", again == told)

# %% [markdown]
# And a folder belongs to one choice of networks, recipe and data. Another recipe is refused before anything runs.

# %%
words = [str(places.get(word, word)) for word in shlex.split(command.replace("miniature", "quick"))]
refused = CliRunner().invoke(app, words)
print("exit code:", refused.exit_code)

# %% [markdown]
# ## Every command, in order
#
# The same with real data. Nothing in this block is special to one machine but the names of folders.
#
# ```
# # 1  the data: subject 1, all sessions, pictures; then COCO's captions by hand
# minisd nsd download NSD --subject 1 --what design,rois,betas,stimuli
# minisd nsd check NSD
#
# # 2  the weights: Stable Diffusion 1.4 and the CLIP whose layers are decoded
# hf download openai/clip-vit-base-patch32 --local-dir CLIP --include "*.json" "pytorch_model.bin"
# minisd text-to-image --model CompVis/stable-diffusion-v1-4 --prompt "a dog in the grass"
#
# # 3  a judge that no system has used
# curl -O https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth
#
# # 4  does all of it run? two pictures, four steps
# minisd leaderboard --nsd NSD --model CompVis/stable-diffusion-v1-4 --clip CLIP --out TRY \
#     --systems blur,takagi,stage_1,mind_diffuser --pictures 2 --recipe quick
#
# # 5  the run: what is quick on all test pictures, stage 2 on a hundred
# minisd leaderboard --nsd NSD --model CompVis/stable-diffusion-v1-4 --clip CLIP --out OUT \
#     --systems mean_picture,random_picture,blur,text_only,retrieval,takagi,stage_1,upper_bound \
#     --judge Inception=inception_v3_google-0cc3c7bd.pth
# minisd leaderboard --nsd NSD --model CompVis/stable-diffusion-v1-4 --clip CLIP --out OUT \
#     --systems blur,takagi,stage_1,mind_diffuser --pictures 100 \
#     --judge Inception=inception_v3_google-0cc3c7bd.pth
# ```
#
# To the first, {doc}`../brain/your_own_nsd` says what you agree to, where the captions are and how to begin with one session. To the second: the name on the hub is fetched once, with a bar, and the first picture shows that it draws. Version 1.4 is what MindDiffuser and Takagi and Nishimoto used {cite}`lu2023minddiffuser,takagi2023high`. Version 1.5 loads the same way, with the same shapes. Its pictures are others, and a decoder of one text encoder, autoencoder and CLIP is refused for any other. To the third: without `--judge` the table has pixels and CLIP alone, and CLIP is no judge, since systems were made by it ({doc}`measuring`).
#
# There is no `prepare`: the leaderboard calls it, with all of the region `nsdgeneral` and averages of up to three trials. It takes all sessions that the subject did. If you have fetched fewer, say so: `--sessions 10` takes the first ten.
#
# ## What is decoded
#
# How many numbers does a decoder have to give? Ask the networks. PyTorch's device `meta` knows the shapes of all that happens and holds none of it, so the full size fits into a page.

# %%
import math

import torch

from minisd.checkpoints.weights import Unfilled
from minisd.decoding.systems import RECIPES
from minisd.decoding.targets import layers
from minisd.models.clip import CLIPTextConfig, CLIPTextEncoder, CLIPVisionConfig
from minisd.models.contrastive import CLIP
from minisd.models.unet import UNet
from minisd.models.vae import AutoencoderKL

small = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
vit_b_32 = CLIPVisionConfig(
    patch_size=32,
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
)
with torch.device("meta"), Unfilled():
    unet, vae, text = UNet(), AutoencoderKL(), CLIPTextEncoder()
    clip = CLIP(CLIPTextConfig(**small), vit_b_32, 512)
    picture = torch.empty(1, 3, 512, 512)
    paper = RECIPES["paper"].mind_diffuser
    with torch.no_grad():
        view = layers(clip, torch.empty(1, 3, 224, 224), paper.view.layers)
        z = vae.encode(picture).mean
targets = {"z": z[0].numel(), "c": paper.tokens * text.config.hidden_size}
targets |= {f"layer {k}" if k else "embedding": x[0].numel() for k, x in view.items()}
for name, T in targets.items():
    print(f"{name:10}{T:8,}")
print(f"{'together':10}{sum(targets.values()):8,}")

# %% [markdown]
# ## What it takes in disk and memory
#
# A decoder from $V$ voxels to $T$ features, fitted on $P$ pictures, has weights $X^\top A$ ({eq}`ridge-dual`), so their rank is $P$ at most. `compress` stores them as two factors if that is less, and drops directions in which no prediction varies. In bytes, with four a number,
#
# $$
# \text{decoder} \le 4 \min\bigl( V T,\; P\,(V + T) \bigr), \qquad \text{table of features} = 4 P T .
# $$ (full-size-bytes)
#
# Check the bound on the decoders that the command has just fitted. (Each file also has a few numbers a feature, such as its mean and its error.)

# %%
import numpy as np

from minisd.checkpoints.files import read_state_dict

prepared = places["OUT"] / "subj01" / "prepared"
P, V = np.load(prepared / "train.npy", mmap_mode="r").shape
for path in sorted((places["OUT"] / "subj01" / "decoders" / "all").glob("*.safetensors")):
    state = read_state_dict(path)
    T = state["mean"].numel()
    weights = 4 * sum(state[name].numel() for name in ("left", "right") if name in state)
    print(f"{path.stem:10} within the bound: {weights <= 4 * min(V * T, P * (V + T))}")


# %%
def decoder_bytes(P, V, T):
    return 4 * min(V * T, P * (V + T))


V, P = 15_724, 9_000  # subject 1 of NSD, 40 sessions
print(f"{'':10}{'table':>8}{'decoder at most':>17}")
total = np.zeros(2)
for name, T in targets.items():
    size = np.array([4 * P * T, decoder_bytes(P, V, T)]) / 1e9
    total += size
    print(f"{name:10}{size[0]:5.1f} GB{size[1]:14.1f} GB")
print(f"{'together':10}{total[0]:5.1f} GB{total[1]:14.1f} GB")

# %% [markdown]
# Tables of more than a gigabyte lie in a temporary file while they are needed, not in memory. (The variable `TMPDIR` says on which disk.) Decoders are in memory until all are fitted, and then in `OUT`.
#
# On top come the weights of the networks, and what a network holds while it runs. What stage 2 holds is the question of a GPU, since it has to keep what the gradient needs on its way back.
#
# ### What stage 2 keeps
#
# Of each carried step, checkpointing keeps the input alone ({doc}`mind_diffuser_2`). On the way back one step at a time is computed again, with all that autograd keeps for it. The decoder of the autoencoder and CLIP are kept whole. Let $W$ be the weights, $a_U$ what autograd keeps of a guided call of the U-Net, $a_D$ of the decoder and $a_C$ of CLIP, for one picture. With $B$ pictures at once, stage 2 needs at least
#
# $$
# W + B \max(a_U,\; a_D + a_C), \qquad \text{without checkpointing } W + B\,(k\, a_U + a_D + a_C)
# $$ (full-size-kept)
#
# for $k$ carried steps. Autograd has a hook that sees each tensor that is kept. Count them, each place in memory once, and no weights. `FakeTensorMode` holds no numbers, as `meta` does not, and also knows which of its ways PyTorch would take: its attention does not write its weights out.

# %%
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from minisd.models.contrastive import preprocess


def kept(run, *networks):
    """Bytes that autograd keeps for the way back while something runs, without weights."""
    own = {p.untyped_storage()._cdata for n in networks for p in n.parameters()}
    found = {}

    def keep(x):
        if x.untyped_storage()._cdata not in own:
            found[x.untyped_storage()._cdata] = x  # held, so that no place is used twice
        return x

    with saved_tensors_hooks(keep, lambda x: x):
        run()
    return sum(x.untyped_storage().nbytes() for x in found.values())


line = torch.nn.Linear(8, 8, bias=False)
x = torch.randn(10, 8, requires_grad=True)
print("one layer keeps its input:", kept(lambda: line(x), line) == 4 * 10 * 8)


# %%
with FakeTensorMode(), Unfilled():
    nets = UNet(), AutoencoderKL(), CLIP(CLIPTextConfig(**small), vit_b_32, 512)
    two, one = torch.empty(2, 4, 64, 64), torch.empty(1, 4, 64, 64, requires_grad=True)
    c = torch.empty(2, paper.tokens, 768, requires_grad=True)
    picture, times = torch.empty(1, 3, 512, 512, requires_grad=True), torch.empty(2)
    runs = {
        "U-Net": lambda: nets[0](two, times, c),
        "decoder": lambda: nets[1].decode(one),
        "CLIP": lambda: nets[2].encode_image(preprocess(picture, 224)),
    }
    sizes = {name: kept(run, *nets) / 1e9 for name, run in runs.items()}
sizes["weights"] = 4 * sum(p.numel() for net in (*nets, text) for p in net.parameters()) / 1e9
for name, size in sizes.items():
    print(f"{name:8} {size:5.2f} GB")

# %% mystnb={"image": {"alt": "Three horizontal bars for one, two and four pictures at once. Each begins with about 5 gigabytes of weights; what is kept adds about 6, 12 and 24. A dashed line at 24 gigabytes is crossed by the third alone."}, "figure": {"caption": "What stage 2 needs at least, by count, in float32. One picture at a time leaves more than half of a GPU of 24 GB free; four do not fit.", "name": "full-size-memory"}}
most = max(sizes["U-Net"], sizes["decoder"] + sizes["CLIP"])
at_once = [1, 2, 4]
figure, axes = plt.subplots(figsize=(6.4, 2.0))
names = [f"{B} at once" for B in at_once]
axes.barh(names, [sizes["weights"]] * 3, label="weights")
axes.barh(names, [B * most for B in at_once], left=sizes["weights"], label="kept for the gradient")
axes.axvline(24, ls="--", color="0.3")
axes.set(xlabel="GB", xlim=(0, 32))
axes.invert_yaxis()
axes.legend(loc="upper right", fontsize=8)
plt.show()
print(f"one picture, float32: {sizes['weights'] + most:.1f} GB")
print(f"without checkpointing: {sizes['weights'] + 37 * sizes['U-Net'] + most:.0f} GB")

# %% [markdown]
# This is a lower bound: convolutions want room to work in, and PyTorch keeps some memory back. The recipe `paper` takes one picture at a time, for this reason and for another: each picture then stops by itself. The command computes in float32. From Python you can load the weights in half precision ({doc}`../stable_diffusion/real_weights`), and what is kept is half as much. Whether the gradient of a walk of 37 steps survives float16 was not tried.
#
# ## What it takes in time
#
# Nearly all of the time goes into the U-Net. So count its *guided evaluations*: one call with two contexts, that of the text and the empty one. With $s$ steps and strength $\lambda$, image to image walks $w = \lfloor s \lambda \rfloor$ steps. In stage 2 each of $I$ iterations walks $w'$ of the inner steps, and computes the last $k$ again on the way back. Then the last picture is drawn. (With more than one candidate to begin with, each adds $w'$. The recipe `paper` has one.)
#
# $$
# N_\text{stage 1} = w, \qquad N_\text{stage 2} = I\,(w' + k) + w .
# $$ (full-size-evaluations)
#
# And it goes back through the U-Net $I\,k$ times. Count calls on the miniature, in a small setting:

# %%
from dataclasses import replace

from minisd.decoding.mind_diffuser import MindDiffuser
from minisd.decoding.systems import Models
from minisd.decoding.targets import Seen
from minisd.nsd import Subject, load_prepared
from minisd.settings import steps_walked

models = Models(places["SD"], places["CLIP"], device="cpu")
subject = Subject(places["NSD"], 1)
pictures = Seen(subject.pictures, load_prepared(prepared).test.nsd_id[:1])
tiny = replace(
    RECIPES["miniature"].mind_diffuser,
    steps=10,
    inner_steps=6,
    strength=0.74,
    candidates=1,
    iterations=2,
    carried=3,
    stop="never",
)
system = MindDiffuser(models.sd, models.clip, tiny).load(prepared.parent / "decoders" / "all")
true = {k: torch.from_numpy(v) for k, v in system.features(pictures, progress=False).items()}


def walked(settings):
    return steps_walked(settings.steps, settings.strength)


def evaluations(settings):
    """Guided evaluations for one picture that never stops early; and how often it goes back through one."""
    if not settings.iterations:
        return walked(settings), 0
    inner = steps_walked(settings.inner_steps, settings.strength)
    k = inner if settings.carried is None else min(settings.carried, inner)
    return settings.iterations * (inner + k) + walked(settings), settings.iterations * k


def count_calls(settings):
    """How often the U-Net is called for a picture, each time with how many contexts."""
    calls, system.settings = [], settings
    hook = models.sd.unet.register_forward_pre_hook(lambda net, x: calls.append(len(x[0])))
    z, c = true["z"], true["c"]
    if settings.iterations:
        z, c = system.move(true, [0], progress=False)
    with torch.no_grad():
        system.walk(z, c, [0], settings.steps)
    hook.remove()
    return calls


for name, settings in (("stage 1", replace(tiny, iterations=0)), ("stage 2", tiny)):
    calls = count_calls(settings)
    print(f"{name}: {len(calls)} calls, two contexts each: {set(calls) == {2}};", end=" ")
    print("formula:", len(calls) == evaluations(settings)[0])

# %% [markdown]
# Now the settings of the recipe `paper`, and two that do less: the last 3 steps alone carry the gradient, or the inner walk has 10 steps in place of 50. ({doc}`mind_diffuser_2` measures what truncating costs.)

# %%
takagi = steps_walked(paper.steps, RECIPES["paper"].takagi_strength)
drawing = {
    "blur": (0, 0),
    "text only": (paper.steps, 0),
    "Takagi and Nishimoto": (takagi, 0),
    "stage 1": evaluations(replace(paper, iterations=0)),
    "both stages, 10 inner steps": evaluations(replace(paper, inner_steps=10)),
    "both stages, 3 carried": evaluations(replace(paper, carried=3)),
    "both stages": evaluations(paper),
}
for name, (calls, back) in drawing.items():
    print(f"{name:28}{calls:7,} evaluations{back:8,} ways back")

# %% [markdown]
# A way back is not an evaluation, and the autoencoder's decoder counts, too: it draws 512 x 512 pixels in each iteration. To add them up, count multiplications. PyTorch does, forwards and backwards, and on `meta` it needs no more than shapes. A *teraflop* is $10^{12}$ multiplications or additions.

# %%
from torch.utils.flop_counter import FlopCounterMode


def teraflops(run, *inputs):
    """Of a forward pass, and of the way back to the inputs."""
    found = []
    with FlopCounterMode(display=False) as counter:
        out = run(*inputs)
        found.append(counter.get_total_flops() / 1e12)
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(out.sum(), inputs)
        found.append(counter.get_total_flops() / 1e12)
    return found


with torch.device("meta"):
    two = torch.empty(2, 4, 64, 64, requires_grad=True)
    c = torch.empty(2, paper.tokens, 768, requires_grad=True)
    one, picture = torch.empty(1, 4, 64, 64, requires_grad=True), torch.empty(1, 3, 512, 512)
    U, U_back = teraflops(lambda x, c: unet(x, torch.empty(2, device="meta"), c), two, c)
    D, D_back = teraflops(vae.decode, one)
    E, _ = teraflops(lambda x: vae.encode(x).mean, picture.requires_grad_())
print(f"a guided evaluation {U:.1f} teraflops, back {U_back / U:.1f} times as much")
print(f"the decoder {D:.1f}, back {D_back / D:.1f} times; the encoder {E:.1f}")

# %% [markdown]
# So let one guided evaluation be the unit, and express all in it:
#
# $$
# \text{units} = N + b\, I k + d\,\bigl(1 + I\,(1 + b_D)\bigr),
# $$ (full-size-units)
#
# where $b$ and $b_D$ say how much longer the way back is, and $d$ what the decoder costs. CLIP costs next to nothing. At $r$ units a second, 100 pictures take $100 \cdot \text{units} / 3600\,r$ hours. The cell adds up one setting step by step, as a check.

# %%
b, b_D, d = U_back / U, D_back / D, D / U


def units(calls, back, iterations=0):
    return calls + b * back + d * (1 + iterations * (1 + b_D))


slow, k, inner = 0.0, 3, steps_walked(paper.inner_steps, paper.strength)
for _ in range(paper.iterations):
    slow += inner  # there
    slow += d * (1 + b_D)  # through the decoder, and back
    slow += k * (1 + b)  # each carried step again, and back
slow += walked(paper) + d  # the last picture
quick = units(*drawing["both stages, 3 carried"], paper.iterations)
print("formula:", np.isclose(slow, quick))
cost = {
    name: units(*one, paper.iterations if "both" in name else 0) for name, one in drawing.items()
}
for name, one in cost.items():
    print(f"{name:28}{one:8,.0f} units a picture" if one > 10 else f"{name:28}{one:8.1f} units")

# %% [markdown]
# What is $r$ on your machine? Draw a picture of 50 steps and divide:
#
# ```
# minisd text-to-image --model CompVis/stable-diffusion-v1-4 --prompt "a dog" --steps 50
# ```
#
# The bar shows steps a second, and each step is one guided evaluation. On two cores of an Intel Xeon it was **measured**: 11 to 12 seconds a step, so $r = 0.09$. No GPU was at hand when this was written, and a figure for one from elsewhere would be for other software. So the hours below are **computed** from counts, at a rate that you choose. They are at most: a picture that fits well enough stops early.

# %%
from minisd.widgets import slider


def as_time(h):
    return f"{60 * h:.0f} min" if h < 1 else f"{h:.0f} h" if h < 72 else f"{h / 24:.0f} days"


def draw_hours(rate):
    hours = [100 * one / (3600 * rate) for one in cost.values()]
    figure, axes = plt.subplots(figsize=(6.4, 2.8))
    axes.barh(list(cost), hours, color=["C0"] * 4 + ["C2"] * 3)
    axes.bar_label(axes.containers[0], [as_time(h) for h in hours], padding=3)
    axes.set(xscale="log", xlim=(1e-4, 3e5), xlabel="hours for 100 pictures")
    axes.set_title(f"{rate:g} guided evaluations a second", loc="left")
    axes.invert_yaxis()
    return figure


slider(
    draw_hours,
    [0.1, 1, 2, 5, 10, 20],
    label="evaluations a second",
    caption="GPU-hours for 100 pictures, computed from counted evaluations, at most. 0.1 is about what two CPU cores do.",
    alt="Bars of hours for seven ways to draw 100 pictures, at {} guided evaluations a second.".format,
    start=3,
)

# %% [markdown]
# Before the first picture, features of all training pictures are computed and decoders fitted. By count, encoding 9,000 pictures costs as much as drawing some of them by stage 1:

# %%
encoding = 9_000 * E / U
rate = 5
print(f"encoding: {encoding:,.0f} units, {encoding / 3600 / rate:.1f} hours at {rate} a second")
print(f"as stage 1 for {encoding / cost['stage 1']:,.0f} pictures")

# %% [markdown]
# The ridge regressions are solved on the CPU unless `RidgeSettings.device` says otherwise. Each block of 16,384 features takes the kernel of 9,000 pictures apart anew, six times over with the folds, and a kernel of that size is minutes of work. Count the blocks, and multiply with what `python benchmarks/ridge.py` measures for one on your machine.

# %%
from minisd.decoding.ridge import RidgeSettings

block = RidgeSettings().block
print("blocks:", sum(math.ceil(T / block) for T in targets.values()))

# %% [markdown]
# ## The rehearsal
#
# Has anybody run this at full size? With the real shapes, yes; with real weights and real data, not for this book. `python benchmarks/full_size.py` writes Stable Diffusion 1.x and CLIP ViT-B/32 with **random** weights and a **simulated** subject in a volume as large as that of subject 1, and runs the very command, system by system, by the recipe `quick` on two pictures. What it drew is noise. What it took, on a CPU in float32:

# %%
import csv

with open("full_size_run.csv", encoding="utf-8") as table:
    for row in csv.DictReader(table):
        minutes, size = float(row["processor_minutes"]), float(row["gigabytes"])
        print(f"{row['part']:36}{minutes:6.1f} minutes{size:7.1f} GB")
with open("full_size_kept.csv", encoding="utf-8") as table:
    counted = {row["part"]: float(row["gigabytes"]) for row in csv.DictReader(table)}
for name in ("U-Net", "decoder"):
    print(
        f"{name} keeps as much as was counted above: {abs(counted[name] / sizes[name] - 1) < 0.05}"
    )

# %% [markdown]
# So to the plan. For one subject of NSD, in the order of the commands:
#
# | step | disk | memory | time |
# |---|---|---|---|
# | 1 download | 82 GB at most | little | {doc}`../brain/your_own_nsd` has the slider |
# | 2 weights | 4.3 GB, and 0.6 GB for CLIP | | the line's |
# | 3 judge | 0.1 GB | | the line's |
# | 4 rehearsal, `quick` | as 5 | as 5 | features and decoders, then minutes |
# | 5 prepare | 2.5 GB | 0.3 GB | under a minute |
# | 5 features | 10 GB for a while | of the GPU: weights and two pictures | counted above |
# | 5 decoders | as counted above | as much, and 6 GB for the largest | counted above; CPU |
# | 5 draw | 0.8 MB a picture at most | of the GPU: counted above | the slider |
# | 5 measure | | 7 GB for a thousand pictures | minutes |
#
# Everything but the drawing of stage 2 fits into a night on one GPU. Stage 2 as published does not, by far. Take fewer pictures before you take fewer steps: a hundred pictures have intervals that you can live with, and `--pictures 100` spreads them evenly over all. A change of the method is another method.
#
# ## What paper and code disagree on
#
# MindDiffuser's paper {cite}`lu2023minddiffuser` and its published code are not the same in all. {doc}`mind_diffuser_1` and {doc}`mind_diffuser_2` show each difference and what it does. Each is an option with a name, and at full size some have a price:
#
# | name | recipe `paper` | the other one | what the other one costs or spares |
# |---|---|---|---|
# | `tokens` | 15, as in the code | 77 | a table and a decoder of $c$ that are five times as large |
# | `ridge` | all voxels, a penalty for each feature | the best $n$ voxels, penalty .15: `SelectedSettings(n, (0.15,))` | a system of equations for each of 258,816 features and each fold |
# | `moved` | "z and c", as in the paper | "z", as in the code | nothing to speak of: the gradient comes by anyway |
# | `candidates` | 1, as in both | more, as in the recipe `miniature` | a stage 1 for each |
# | `stop` | "expected": what fits is moved no more | "never", as in the code | all 300 iterations for each picture |
# | `inner_steps`, `carried` | 50, all | fewer | up to 5 times less, and another gradient |
# | `strength` | .74, from where it was noised to | | the code leaves out two of 37 steps |
# | `view.units`, `view.semantic` | .25, .5 | | not told in the paper or its code: any other costs as much |
# | noise in stage 2 | one for each picture | drawn anew each time, as in the code: no option | |
#
# To run by a choice of your own, put a recipe beside the others and call the leaderboard from Python:

# %%
from minisd.decoding.leaderboard import LeaderboardSettings
from minisd.decoding.selected import SelectedSettings
from minisd.decoding.systems import Recipe

as_code = replace(
    paper, moved="z", stop="never", ridge=SelectedSettings(voxels=450, alphas=(0.15,))
)
RECIPES["code"] = Recipe(as_code)
chosen = LeaderboardSettings(recipe="code", systems=("stage_1", "mind_diffuser"), pictures=100)
print(chosen.recipe, "moves", RECIPES[chosen.recipe].mind_diffuser.moved)

# %% [markdown]
# `draw_all` and `measure` of `minisd.decoding.leaderboard` take it from there. One number of voxels is for all features; the code has one for each kind.
#
# ### To get their numbers
#
# Their table 2 has CLIP similarity .765, SSIM .354 and pixel correlation .278. To say that a run of yours *replicates* them, all of this has to be the same:
#
# - **The vintage**: 37 sessions of subject 1, 8,859 pictures to train on (of which the last 859 are for validation) and 982 to test on. NSD has released 40 sessions since. The option is `--sessions 37`.
# - **The betas**: the third version, `betas_fithrf_GLMdenoise_RR`, averaged over trials.
# - **The voxels**: 11,694 in eleven visual regions; `nsdgeneral` has 15,724, and the leaderboard takes it.
# - **The weights**: Stable Diffusion 1.4 and CLIP ViT-B/32.
# - **The regression**: their voxels for each kind of features, of which the code has two sets of numbers, and their penalty.
# - **The faults** that {doc}`mind_diffuser_1` finds: test responses scaled by themselves, features scaled back by statistics of other pictures, and ImageNet's normalisation.
# - **The judge**: CLIP similarity by the model that was optimised; SSIM and correlation in their implementation and picture size.
#
# You may not want the faults. Then you have another system, which is better described and not comparable. Run *both* systems of a comparison yourself, on the same pictures, and compare them picture by picture ({doc}`measuring`). That is what the leaderboard is for. A figure from a simulated subject is comparable with none of them.
#
# ## What you may show and pass on
#
# {doc}`../brain/your_own_nsd` has the terms of NSD, and {doc}`../stable_diffusion/real_weights` the licence of the weights. For the folder `OUT` this means:
#
# - `prepared` and `decoders` are made from NSD's arrays. They stay with you. Pass on the recipe and the command; who has access makes the same.
# - `sheet.png` has photographs in its first row, which are COCO's {cite}`lin2014microsoft`, each with a licence of its own.
# - `scores.npz` and `scores.md` are numbers about pictures. Print with them: subject, sessions, version of the betas, pictures, repeats, and which way identification went.
# - What was drawn comes from a model with biases ({doc}`validity`), and from a person's brain. They agreed to research; ask yourself what they would think of the figure.
#
# ## Exercises
#
# ```{exercise} One night
# :label: full-size-night
#
# You have one GPU for twelve hours, and measured 8 guided evaluations a second. You want 100 pictures by both stages with `carried=3`. How many iterations can you afford at most? And how many if the inner walk has 10 steps, too?
# ```
#
# ```{solution-start} full-size-night
# :class: dropdown
# ```
#
# Solve {eq}`full-size-units` for $I$. The decoder sets a floor under what an iteration costs: with few inner steps it is a good part of it.

# %%
budget = 12 * 3600 * 8 / 100  # units a picture
for steps in (50, 10):
    inner = steps_walked(steps, paper.strength)
    each = inner + 3 * (1 + b) + d * (1 + b_D)
    share = d * (1 + b_D) / each
    print(f"{steps} inner steps: {(budget - walked(paper) - d) / each:.0f} iterations;", end=" ")
    print(f"the decoder is {100 * share:.0f} % of one")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A run that was cut off
# :label: full-size-resume
#
# Remove the pictures of one system from `OUT`, as if the run had been cut off while it drew. Which files does the next run write? Are the new pictures the same?
# ```
#
# ```{solution-start} full-size-resume
# :class: dropdown
# ```
#
# Only the file that is missing. Its pictures are the same, since each picture has a seed of its own that depends on the response, not on what was drawn before.

# %%
(lost,) = places["OUT"].rglob("stage_1/pictures-*.npz")
old = np.load(lost)["pictures"]
before = written()
lost.unlink()
_ = minisd(command)
changed = [path.parent.name for path, when in written().items() if before[path] != when]
print("written again:", changed)
print("the same pictures:", np.array_equal(np.load(lost)["pictures"], old))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Which layers fill the disk
# :label: full-size-layers
#
# Stage 2 compares a quarter of a layer's units, those that were decoded best. How large would the decoders be, at most, if only these were kept? Why can they not be known before the fit?
# ```
#
# ```{solution-start} full-size-layers
# :class: dropdown
# ```
#
# The units are chosen by how well they were predicted out of fold, so all of them have to be fitted once. After that three quarters of each layer could go. (The system `inversion` uses the same decoders, and compares the same units.)

# %%
whole = sum(decoder_bytes(P, V, T) for name, T in targets.items() if "layer" in name)
few = sum(
    decoder_bytes(P, V, round(paper.view.units * T)) for k, T in targets.items() if "layer" in k
)
print(f"six layers: {whole / 1e9:.1f} GB at most; the quarter: {few / 1e9:.1f} GB")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`lu2023minddiffuser` describe MindDiffuser, and their code tells what the paper does not. {cite:t}`takagi2023high` were first with Stable Diffusion, on four subjects of NSD, each with a model of its own. {cite:t}`scotti2024mindeye2` print a table in which all systems were measured on the same 40 sessions, and say which they ran again: figures of 37 and of 40 sessions do not belong into one table. {cite:t}`chen2016training` is where recomputing in place of keeping comes from, and {cite:t}`latour2022feature` the regression.
#
# ## The way on
#
# This is the end of Part V. You began with one step of noise, and have come to pictures that are drawn from the activity of a brain, with a number beside each that says how far to believe it. Before you tell what you found on your own data, read {doc}`validity` once more. Then tell it, with the baselines.

# %%
scratch.cleanup()
