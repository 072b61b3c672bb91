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
# # Training the miniature
#
# **You will be able to**
#
# - say in which order the networks of a Stable Diffusion are trained, and what each of them needs of the others;
# - write a training step whose result depends neither on stops nor on the number of machines;
# - explain the loss of the U-Net: the dropped text, the weight of each time;
# - judge drawn pictures with a network that reads them, and say what such a figure is worth;
# - train the miniature again, on a laptop or on several GPUs.
#
# **Time** 40 minutes to read; the cells run in about 30 seconds. What they load took hours to train.
#
# **Before this** {doc}`pipeline`, and {doc}`../diffusion/training` for the algorithm and the average of the weights.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its ninth chapter of ten, training the miniature."}, "figure": {"caption": "Where you are: the ninth chapter of Part III.", "name": "miniature-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("miniature")
plt.show()

# %% [markdown]
# ## Five networks
#
# The weights of Stable Diffusion took 150,000 hours of A100 GPUs {cite}`compvis2022card`. You cannot repeat that. So this book has a small one, the *miniature*: the same classes, 64 by 64 pixels, and the world of {doc}`../front/picture_world` in place of
# the internet. It lies in `data_samples/miniature`, in the layout of diffusers, and is loaded like any other.

# %%
import torch

from minisd.pipeline import StableDiffusion

folder = "../../data_samples/miniature"
sd = StableDiffusion.from_pretrained(folder)
for part in (sd.vae, sd.text_encoder, sd.unet):
    count = sum(p.numel() for p in part.parameters())
    print(f"{type(part).__name__:16}{count / 1e6:5.1f} million parameters")

# %% [markdown]
# Ask it for the report's picture. It has drawn this from noise, in 25 steps.

# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 80})

# %% mystnb={"image": {"alt": "Eight small pictures of dogs with white-framed sunglasses on green grass under a blue sky, in several colours and places."}, "figure": {"caption": "\"A dog with sunglasses in a grass field\", eight seeds. The prompt leaves colour, size and place open, and so they differ.", "name": "miniature-dogs"}}
from minisd.plots import image_grid

settings = {"steps": 25, "guidance_scale": 4, "progress": False, "output": "tensor"}
dogs = sd.text_to_image("a dog with sunglasses in a grass field", images_per_prompt=8, **settings)
image_grid(dogs, columns=8)
plt.show()

# %% [markdown]
# Five networks stand behind it, and they are trained one after another.
#
# 1. The **autoencoder** needs pictures alone. Once it is trained it stays as it is: every later network lives in its latents.
# 2. **CLIP** needs pictures and captions. Its text encoder stays as it is too.
# 3. The **U-Net** needs both: latents to put noise on, texts to be told what they show.
# 4. The **scorer** reads pictures. No other network ever sees it, so that it can judge them all.
# 5. The **classifier** reads noisy latents. Classifier guidance needs it.
#
# Each is one command, CLIP and the U-Net two, and all of them run through the same loop:
#
# ```
# minisd train vae        --output miniature
# minisd train clip       --output miniature
# minisd train clip-image --output miniature
# minisd train unet       --output miniature
# minisd train unet-pairs --output miniature
# minisd train scorer     --output miniature
# minisd train classifier --output miniature
# ```
#
# ## What is held out
#
# A network that has seen a red dog on a beach can remember it. To know whether it *understands* the words, ask for what it has never seen together. So a tenth of all combinations of object, colour and background is kept out of training. The miniature has
# seen every dog and every yellow thing and every beach, but of these combinations none.

# %%
from minisd.scenes import CATEGORIES, COLOURS, backgrounds_of, held_out_combinations

out = [c for c in held_out_combinations() if c[0] in CATEGORIES]
every = sum(len(COLOURS) * len(backgrounds_of(c)) for c in CATEGORIES)
print(f"{len(out)} of {every} combinations, such as", " / ".join(out[7]))

# %% [markdown]
# ## One loop
#
# A *task* says what the loss of a batch is. The loop does all the rest. Here is its heart, without checkpoints, logs and several machines:
#
# ```python
# for step in range(settings.steps):
#     rate = learning_rate(step, settings)
#     noise = ImageNoise(seed_of(settings.seed, step, row) for row in rows)
#     loss = task(batch, noise)["loss"]
#     loss.backward()
#     clip_gradient(network); optimizer.step(rate); optimizer.zero_grad()
#     update_average(average, network, settings.ema)
# ```
#
# Three things in it deserve a closer look: the rate, the step, and the noise.
#
# ### The learning rate
#
# It rises in a line over the first $w$ steps, while the optimizer knows little of the gradients. Then it falls along half a cosine {cite}`loshchilov2017sgdr`. At step $k$ of $n$, with the highest rate $\eta$,
#
# $$
# \eta_k = \frac{\eta}{2}\left(1 + \cos \frac{\pi (k - w)}{n - w}\right) \qquad (k \ge w).
# $$ (miniature-cosine)
#
# Large steps find the region, small ones settle in it. Without the fall, the weights keep trembling at the scale of the last steps.

# %% mystnb={"image": {"alt": "A curve that rises in a straight line to 1 over the first tenth of the steps, then falls along half a cosine to 0."}, "figure": {"caption": "The learning rate of a run of 1,000 steps with 100 to warm up, as a share of the highest.", "name": "miniature-rate"}}
from math import cos, pi

from minisd.training.loop import RunSettings, learning_rate

run = RunSettings(steps=1000, batch_size=1, learning_rate=1.0, warmup=100)
rates = [learning_rate(k, run) for k in range(1000)]
formula = [(1 + cos(pi * (k - 100) / 900)) / 2 for k in range(100, 1000)]
assert max(abs(a - b) for a, b in zip(rates[100:], formula, strict=True)) < 1e-12
figure, axis = plt.subplots(figsize=(6.4, 1.8))
axis.plot(rates)
axis.set(xlabel="step", ylabel="rate")
plt.show()

# %% [markdown]
# ### The step
#
# A layer is a matrix, and its gradient $G$ is one too. With the singular value decomposition $G = U S V^\top$, the step of plain gradient descent is long in a few directions and next to nothing in all others: the large singular values take it all. Muon {cite}`jordan2024muon` keeps the directions and makes them alike,
#
# $$
# W \leftarrow W - \eta \, \ell\, U V^\top , \qquad \ell = 0.2 \sqrt{\max(n, m)}
# $$ (miniature-muon)
#
# for a matrix of $n$ by $m$ numbers. (In place of $G$ stands its running mean, as momentum. The length $\ell$ is that of {cite:t}`liu2025muon`: it makes a step about as long as one of Adam's.) What is no matrix, biases and norms, goes on with AdamW {cite}`loshchilov2019decoupled`.
#
# A singular value decomposition at every step would take too long. There is a way with products alone. A polynomial of odd powers, $a X + b X X^\top X + c\, (X X^\top)^2 X$, leaves $U$ and $V$ as they are and turns every singular value $s$ into $a s + b s^3 + c s^5$. With the right $a$, $b$ and $c$, five rounds bring them all near 1.

# %% mystnb={"image": {"alt": "Singular values in falling order. Those of the gradient fall over two powers of ten; after five rounds all lie between 0.6 and 1.3."}, "figure": {"caption": "The singular values of a matrix, before and after the five rounds. Nothing but their size has changed.", "name": "miniature-orthogonal"}}
from minisd.training.optimizer import orthogonalize

g = torch.Generator().manual_seed(0)
U, V = (torch.linalg.qr(torch.randn(64, 64, generator=g).double())[0] for _ in range(2))
G = U @ torch.logspace(0, -2, 64).double().diag() @ V.T
step = orthogonalize(G)
s = (U.T @ step @ V).diag()  # in the old directions
print(f"same directions: {torch.allclose(U @ s.diag() @ V.T, step)}")
print(f"all between 0.6 and 1.3: {bool(((s > 0.6) & (s < 1.3)).all())}")
axis = plt.subplots(figsize=(6.4, 2))[1]
axis.semilogy(torch.linalg.svdvals(G), label="the gradient")
axis.semilogy(s, ".", label="the step")
axis.set(xlabel="direction", ylabel="singular value")
axis.legend()
plt.show()

# %% [markdown]
# In our trials before the miniature was trained, Muon came as far as AdamW in about a third of the steps.
#
# ### Noise that belongs to a row
#
# A step needs random numbers: a time, the noise, which caption, whether to drop it. Where do they come from? With one stream of numbers for the whole run, a run that stops and goes on must save the state of that stream, and two machines draw other numbers than one.
# `minisd` gives every row of every step a stream of its own, whose seed is made of three numbers: (seed of the run, step, row).

# %%
from minisd.diffusion import ImageNoise
from minisd.training.loop import row_seed

whole = ImageNoise(row_seed(0, 17, row) for row in range(8)).draw((4, 16, 16))
second = ImageNoise(row_seed(0, 17, row) for row in range(4, 8)).draw((4, 16, 16))
print(f"the second half of the batch, drawn alone: {torch.equal(whole[4:], second)}")

# %% [markdown]
# So the second of two machines draws exactly what rows 4 to 7 would have drawn on one. And a run that was stopped needs nothing but the number of its step. See it happen: a small task, run once through and once with a stop.

# %%
import os
import signal
import tempfile
from pathlib import Path

from IPython.utils.capture import capture_output
from torch import nn

from minisd.training.loop import Task, train


class Line(Task):
    """Fit a line to points with noise; on the way, perhaps, press Ctrl-C."""

    def __init__(self, stop=0):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Linear(1, 1)
        x = torch.linspace(-1, 1, 50)[:, None]
        self.data = torch.utils.data.TensorDataset(x, 2 * x + 1)
        self.calls, self.stop = 0, stop

    def forward(self, batch, noise):
        x, y = batch
        self.calls += 1
        if self.calls == self.stop:
            os.kill(os.getpid(), signal.SIGINT)
        return {"loss": (self.network(x) - y + 0.1 * noise(y)).square().mean()}

    def export(self, network, output):
        """Nothing to write: the log is what we look at."""


def losses(folder):
    lines = (folder / "log.csv").read_text().splitlines()[1:]
    return [float(line.split(",")[1]) for line in lines]


run = RunSettings(steps=40, batch_size=10, learning_rate=0.1, log_every=1)
with tempfile.TemporaryDirectory() as root:
    once, twice = Path(root) / "once", Path(root) / "twice"
    with capture_output():  # a page has no place for progress bars
        train(Line(), run, once, once, {})
        try:
            train(Line(stop=15), run, twice, twice, {})
        except KeyboardInterrupt as stop:
            stopped = str(stop)
        train(Line(), run, twice, twice, {})
    told, again = losses(once), losses(twice)
print(stopped)
print(f"{len(told)} losses, the same to the last bit: {told == again}")

# %% [markdown]
# The checkpoint is one file: weights, their average, and what the optimizer remembers. It is written beside its place and then renamed, so a full disk or a power cut leaves the last good one.
#
# ### Many machines
#
# `accelerate launch --num_processes 8 -m minisd train unet --output miniature` does the same on eight GPUs. Each takes an eighth of the rows, and their gradients are averaged. For most losses that is all, since a mean over rows is a mean of means. CLIP's is not such a loss:
# each picture is compared with *all* captions of the batch. There every machine sends its embeddings to all others first (`minisd.training.contrastive.of_all_processes`).
#
# ## The autoencoder
#
# {doc}`vae` has told its loss: squared error, and a little of the divergence. This one maps 64 by 64 pixels to 16 by 16 with four channels, a twelfth of the numbers. The quality is told as PSNR ({eq}`vae-psnr`).

# %% mystnb={"image": {"alt": "A curve over the steps of training. The PSNR climbs fast to 26 dB, then ever more slowly to nearly 32, and is level at the end."}, "figure": {"caption": "The autoencoder's PSNR on its training batches.", "name": "miniature-vae-log"}}
import numpy as np


def log(name):
    """Columns of a training log, smoothed over 20 lines."""
    table = np.genfromtxt(f"{folder}/logs/{name}.csv", delimiter=",", names=True)
    smooth = np.ones(20) / 20
    return {c: np.convolve(table[c], smooth, "valid") for c in table.dtype.names}


def draw_log(name, column, label):
    told = log(name)
    axis = plt.subplots(figsize=(6.4, 2))[1]
    axis.plot(told["step"], told[column])
    axis.set(xlabel="step", ylabel=label)
    return axis


draw_log("vae", "psnr", "PSNR (dB)")
plt.show()

# %% mystnb={"image": {"alt": "Two rows of eight small pictures: scenes above, and below the same scenes as the autoencoder brings them back, a little softer."}, "figure": {"caption": "Fresh scenes (above), and what comes back from their latents (below).", "name": "miniature-vae"}}
from minisd.scenes import scenes

fresh = scenes(range(64), seed=2)  # a world that nothing was trained on
x = torch.from_numpy(fresh.images).permute(0, 3, 1, 2) / 127.5 - 1
with torch.no_grad():
    z = sd.encode_image(x)
    back = sd.decode(z).clamp(-1, 1)
psnr = 10 * torch.log10(4 / (back - x).square().mean(dim=(1, 2, 3)))
print(f"PSNR {psnr.mean():.1f} dB; latents' variance {z.var():.1f}")
image_grid(torch.cat([x[:8], back[:8]]), columns=8)
plt.show()

# %% [markdown]
# The variance of the latents is 1, since they are multiplied by `scaling_factor`, which was measured on scenes when the training was done. Stable Diffusion's is 0.18215, measured in the same way.
#
# ## CLIP
#
# CLIP learns from pairs ({doc}`clip`). Pairs drawn at random are too different: to tell a dog on a beach from a bus at night it is enough to know the background. So here a batch is made of *families*, a scene and others that differ from it in one factor. They are *hard negatives*
# {cite}`yuksekgonul2023when`, and they make the text encoder heed each word. Every factor takes its turn in a family: were the changes drawn at random, there would be fourteen other kinds of thing for one other size, and places would hardly be learned. Look at one family.

# %% mystnb={"image": {"alt": "Four small scenes that are almost the same; each of the last three differs from the first in one thing, such as the colour, the size or the background."}, "figure": {"caption": "A family: a scene and three that differ from it in one factor. CLIP must find the caption of each.", "name": "miniature-family"}}
from minisd.scenes import caption
from minisd.training.contrastive import Families
from minisd.training.data import SceneSettings, as_input, pictures

family = Families(SceneSettings(count=30), size=4)[3]
for member in family:
    print(caption(member.factors))
image_grid(as_input(pictures(family)))
plt.show()

# %% [markdown]
# The U-Net needs no more of CLIP than its text tower. That one is soon good enough, and then it must not change any more, since the U-Net learns to read it. The image tower has the harder task, and takes longer. So it is trained on by itself, against texts that stay (`minisd train clip-image`).
# Locking a tower is an idea of {cite:t}`zhai2022lit`, who lock the other one.
#
# The test: one picture, its own caption, and those of all its neighbours in one factor.

# %%
from torch.nn.functional import normalize

from minisd.checkpoints import load_clip
from minisd.models.contrastive import preprocess
from minisd.scenes import one_factor_changes

clip = load_clip(f"{folder}/clip")
right, among = 0, []
with torch.no_grad():
    images = normalize(clip.encode_image(preprocess(x, 64)), dim=1)
    for image, factors in zip(images, fresh.factors, strict=True):
        candidates = [factors, *one_factor_changes(factors)]
        ids = sd.tokenizer([caption(c) for c in candidates])
        likeness = normalize(clip.encode_text(ids), dim=1) @ image
        right += int(likeness.argmax()) == 0
        among.append(len(candidates))
print(f"each among {min(among)} to {max(among)} captions; above 80 % right: {right > 0.8 * len(x)}")

# %% [markdown]
# ## The U-Net
#
# The loss is that of {doc}`../diffusion/loss`, on latents, with two additions.
#
# **The dropped text.** Classifier-free guidance ({doc}`pipeline`) needs the network with the text and without. It is one network: in a tenth of the rows the text is replaced by the empty one {cite}`ho2022classifier`. The report's Figure 2 shows this as two branches with probabilities $p_{uncond}$ and $1 - p_{uncond}$.
#
# **The weight of a time.** At small $t$ nearly nothing is hidden, and the network is asked about details that no eye sees. At large $t$ it decides what the picture shows. With the signal-to-noise ratio $\mathrm{SNR}_t = \bar\alpha_t / (1 - \bar\alpha_t)$, weigh the squared error of the noise by
# {cite}`hang2023efficient`
#
# $$
# w_t = \frac{\min(\mathrm{SNR}_t,\, \gamma)}{\mathrm{SNR}_t} , \qquad \gamma = 5 .
# $$ (miniature-weight)
#
# Why this form? The error of the noise and that of the clean picture differ by the ratio itself, $\lVert \varepsilon - \hat\varepsilon \rVert^2 = \mathrm{SNR}_t\, \lVert x_0 - \hat x_0 \rVert^2$. So below $\gamma$ the weighted loss is that of the noise, and above it a constant times that of the picture. The cell checks both.

# %% mystnb={"image": {"alt": "A curve over the times 0 to 999. The weight is almost 0 at time 0, climbs, reaches 1 near time 150 and stays there."}, "figure": {"caption": "The weight of each time. From about 150 on, where the picture is decided, all count the same.", "name": "miniature-weights"}}
schedule = sd.scheduler.schedule
snr = schedule.log_snr_at(torch.arange(1000)).exp()
weight = snr.clamp(max=5) / snr

g = torch.Generator().manual_seed(0)
z_0, eps, guess = (torch.randn(1000, 4, generator=g).double() for _ in range(3))
t = torch.arange(1000)
x_t = schedule.q_sample(z_0, t, eps)
error = ((eps - guess) ** 2).sum(1)
clean = ((z_0 - schedule.convert(guess, x_t, t, "eps", "x0")) ** 2).sum(1)
low, high = snr < 5, snr >= 5
print(f"ratio of the errors: {torch.allclose(error, snr * clean)}")
print(f"low SNR, error of the noise: {torch.allclose((weight * error)[low], error[low])}")
print(f"high SNR, of the picture: {torch.allclose((weight * error)[high], 5 * clean[high])}")
figure, axis = plt.subplots(figsize=(6.4, 1.8))
axis.plot(weight)
axis.set(xlabel="time t", ylabel="weight")
plt.show()

# %% mystnb={"image": {"alt": "A curve over the steps of training that falls steeply at first and then slowly to the end."}, "figure": {"caption": "The U-Net's loss. Most of what can be seen in the pictures is learned where the curve looks flat.", "name": "miniature-unet-log"}}
draw_log("unet", "loss", "weighted loss").set_yscale("log")
plt.show()

# %% [markdown]
# The curve hides what happens. Move the slider: sixteen prompts, drawn with the average of the weights at six moments of this training.

# %%
from PIL import Image

from minisd.widgets import slider

sheets = {
    int(path.stem.partition("-")[2]): Image.open(path)
    for path in sorted(Path(f"{folder}/samples").glob("unet-*.jpg"))
}


def sheet(step):
    figure, axis = plt.subplots(figsize=(4, 4))
    axis.imshow(sheets[step])
    axis.set_axis_off()
    return figure


slider(
    sheet,
    list(sheets),
    label="step",
    caption="Sixteen prompts after so many steps. Backgrounds come first, then colours and places, and last what the things are.",
    alt="Sixteen drawn pictures after {} steps of training.".format,
    show=lambda step: f"{step:,}",
)

# %% [markdown]
# **Once more, with pairs.** Backgrounds are learned in minutes. Which of two things is red, and which stands above, is learned last: few scenes ask for it, and they ask for it in a few latents. So there is a second run. It begins with the weights of the first, at full learning rate, and three of four of its scenes have two things
# (`minisd train unet-pairs`). What such a second stage does to the figures is in the card.
#
# ## Who says that it is right?
#
# Look at held-out prompts: combinations that were in no training picture.

# %% mystnb={"image": {"alt": "Two rows of eight small pictures, each of one thing on a background."}, "figure": {"caption": "Sixteen prompts whose combination of object, colour and background was held out. Their words are printed above.", "name": "miniature-held-out"}}
from minisd.scenes import held_out, scene_factors

world = (scene_factors(i, seed=2, two=0.0) for i in range(10_000))
wanted = [factors for factors in world if held_out(factors)][:64]
prompts = [caption(factors) for factors in wanted]
drawn = sd.text_to_image(prompts, batch_size=32, **settings)
for prompt in prompts[:16]:
    print(prompt)
image_grid(drawn[:16], columns=8)
plt.show()

# %% [markdown]
# A person can look at sixteen pictures, not at thousands, and is a mild judge of their own work. GenEval {cite}`ghosh2023geneval` lets a network look: a detector that finds things, counts them and names their colour. Here the scorer does it. It was trained on scenes that no other network has seen, and it reads every factor.

# %%
from minisd.metrics import Scorer, score

scorer = Scorer.from_pretrained(f"{folder}/scorer")
true = score(scorer.read(x), fresh.factors)
told = score(scorer.read(drawn), wanted)
print("            real: above 98 %   drawn: above 85 %")
for name in ("object", "colour", "background", "size", "place", "accessory", "all"):
    print(f"{name:12}{true[name] > 0.98!s:>16}{told[name] > 0.85!s:>20}")

# %% [markdown]
# The first column is the scorer's own error: no figure of the second can be trusted beyond it. The card of the weights (`data_samples/miniature/README.md`) has the table in full, over 512 prompts: there 97 % of the objects are right, 96 % of the colours, and 93 % of the pictures in everything.
#
# A judge can be right about each picture and blind to the whole: a hundred copies of one perfect dog score full marks. So measure also how far the *distribution* is from the real one. Fit a Gaussian to the scorer's features of either set, with means $\mu$ and covariances $\Sigma$. The squared Fréchet distance of the two {cite}`heusel2017gans` is
#
# $$
# d^2 = \lVert \mu_1 - \mu_2 \rVert^2 + \mathrm{tr}\!\left( \Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2} \right) .
# $$ (miniature-frechet)

# %%
from minisd.metrics import frechet_distance

a = torch.randn(500, 3, generator=g).double()
b = a * torch.tensor([1.0, 2.0, 0.5]) + torch.tensor([1.0, 0.0, 0.0])
# along each axis b is a, stretched: there the square root is known
A, B = torch.cov(a.T), torch.cov(b.T)
root = torch.linalg.eigvals(A @ B).real.clamp(min=0).sqrt().sum()
d2 = (a.mean(0) - b.mean(0)).square().sum() + A.trace() + B.trace() - 2 * root
print(f"the formula: {abs(frechet_distance(a, b) - float(d2)) < 1e-9}")

# %%
copies = drawn[:1].expand(64, -1, -1, -1) + 0.02 * torch.randn(64, 3, 64, 64, generator=g)
real, other = scorer.features(x[:32]), scorer.features(x[32:])
near = frechet_distance(scorer.features(drawn), scorer.features(x))
far = frechet_distance(scorer.features(copies), scorer.features(x))
print(f"64 copies of one picture are further than the 64 drawn ones: {far > near}")

# %% [markdown]
# With 64 pictures and more features than that, the figure itself means little: it is far too large for few pictures. Only sets of one size, and the larger the better, can be compared. The card has it for 768.
#
# ## Train it again
#
# The seven commands above train it again, with the settings of `minisd/training/miniature/*.toml`. Each leaves `training/<name>/` with its checkpoint, its log and its samples. Press Ctrl-C when you like; the same command goes on.
# To change something, copy a settings file, change it, and say `--config mine.toml`. What a checkpoint was trained with is kept in it, and a run with other settings is refused, so that no two are mixed by mistake.
#
# Several GPUs: `accelerate launch -m minisd train unet --output miniature`. Mixed precision is one line in the file: `mixed_precision = "bf16"`. The miniature's own U-Net came from two processes, each on one core of a CPU:
#
# ```
# ACCELERATE_USE_CPU=true OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 -m minisd train unet --output miniature
# ```
#
# ## Exercises
#
# ```{exercise} How much has it seen?
# :label: miniature-seen
#
# From the settings files: how many pictures has each network looked at, and how often each scene?
# ```
#
# ```{solution-start} miniature-seen
# :class: dropdown
# ```

# %%
import tomllib
from importlib.resources import files

for name in ("vae", "clip", "clip-image", "unet", "unet-pairs", "scorer", "classifier"):
    text = (files("minisd.training") / "miniature" / f"{name}.toml").read_text()
    told = tomllib.loads(text)
    seen = told["run"]["steps"] * told["run"]["batch_size"] * told.get("family", {}).get("size", 1)
    print(
        f"{name:12}{seen:9,} pictures, {seen / told['data']['count']:4.1f} for each of the scenes"
    )

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Guess without looking
# :label: miniature-null
#
# Draw the empty prompt eight times with `guidance_scale=1`. What do you expect of a network that was trained to be without text in a tenth of its rows?
# ```
#
# ```{solution-start} miniature-null
# :class: dropdown
# ```
#
# Pictures of the world, each of something: it has learned the distribution without a condition.

# %% mystnb={"image": {"alt": "Eight small pictures of different things on different backgrounds."}, "figure": {"caption": "Eight pictures without any prompt.", "name": "miniature-empty"}}
image_grid(sd.text_to_image("", images_per_prompt=8, **settings | {"guidance_scale": 1}), columns=8)
plt.show()

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The judge's own mistakes
# :label: miniature-judge
#
# The scorer reads a share $a$ of real scenes right, and a share $p$ of drawn ones. Suppose that it errs independently of the drawing, and that a wrong picture is never read as right. How many drawn pictures are right?
# ```
#
# ```{solution-start} miniature-judge
# :class: dropdown
# ```
#
# A picture is read as right if it is right and the scorer does not err: $p = a\, q$, so $q = p / a$, a little more than the figure. The supposition is kind: on drawn pictures the scorer may err more often, since it was not trained on them.

# %%
a, q = 0.98, 0.9
rng = np.random.default_rng(0)
right = rng.random(200_000) < q
read = right & (rng.random(200_000) < a)
print(f"p / a = {read.mean() / a:.2f}, of q = {q}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# - Stable Diffusion 1 was trained by Rombach et al. {cite}`rombach2022high` in the same order: the autoencoder first, with a perceptual and an adversarial loss beside the squared error, and a CLIP that others had trained.
# - The weight of {eq}`miniature-weight` is that of Hang et al. {cite}`hang2023efficient`, who find that training needs about a third of the steps. Stable Diffusion 1 was trained without.
# - That a diffusion model can put together what it never saw together, and when it fails to, is measured on small drawn worlds by Okawa et al. {cite}`okawa2023compositional`.
#
# ## The way on
#
# The miniature cannot draw a giraffe. The world has one, but no training picture showed it. {doc}`finetuning` teaches it, from twenty pictures.
