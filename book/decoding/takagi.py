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
# # Takagi and Nishimoto
#
# **You will be able to**
#
# - draw a picture from two things that were read from a brain: where, and what;
# - say how much of a decoded latent survives a strength of .8;
# - explain why a decoded text embedding says too little, and by which factor to make it bolder;
# - say what it changes to fit on single trials or on their averages.
#
# **Time** 35 minutes to read; the cells run in about 30 seconds.
#
# **Before this** {doc}`ridge`, {doc}`measuring` and {doc}`../stable_diffusion/image_to_image`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part V, From brain to picture, at the chapter on Takagi and Nishimoto."}, "figure": {"caption": "Where you are: in Part V.", "name": "takagi-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("takagi")
plt.show()

# %% [markdown]
# In {doc}`measuring` you have seen what a decoded latent looks like: a blur, right in its layout, of nothing that could be named. And a decoded text embedding would give a sharp picture of the right thing, somewhere. {cite:t}`takagi2023high` put the two together, and trained no network at all. They decode the latent $z$ of Stable Diffusion's autoencoder from early visual cortex, and the text embedding $c$ from the ventral stream. Then they hand both to image-to-image: noise $z$, and denoise it under $c$.
#
# ## In two dimensions
#
# Take a world whose pictures are points in the plane. The first coordinate is *where* the thing is, the second is *what* it is. There are three places and two kinds, so pictures lie at six spots, and nowhere else. Places lie further apart than kinds, as the layout of a picture shows in more of its latents than a detail does.
#
# A decoder reads $z$ from the brain. It knows the place well. Of the kind it knows little, so it answers near the middle, between the two kinds, where no picture is. That is the blur. A second decoder reads $c$: the kind, right nine times in ten, and no place.

# %%
import torch

from minisd.diffusion import GaussianMixture, NoiseSchedule, sample
from minisd.settings import steps_walked

g = torch.Generator().manual_seed(0)
PLACES, KINDS = torch.tensor([-3.0, 0.0, 3.0]), torch.tensor([-1.0, 1.0])
n = 300
where, what = torch.randint(3, (n,), generator=g), torch.randint(2, (n,), generator=g)
truth = torch.stack([PLACES[where], KINDS[what]], dim=1)
z = truth * torch.tensor([1.0, 0.2]) + 0.25 * torch.randn(n, 2, generator=g)
c = torch.where(torch.rand(n, generator=g) < 0.9, what, 1 - what)


def world(kind):
    """The pictures of one kind: what a network draws that was told the kind."""
    centres = torch.stack([PLACES, KINDS[kind].expand(3)], dim=1)
    return GaussianMixture(torch.ones(3), centres, 0.08**2 * torch.eye(2).expand(3, 2, 2))


# %% [markdown]
# Now image-to-image, as in {doc}`../stable_diffusion/image_to_image`. With the *strength* $s$ the last $\lfloor Ns \rfloor$ of $N$ steps are walked, from a time $t$ on, and the walk begins at
#
# $$
# z_t = \sqrt{\bar\alpha_t}\; z + \sqrt{1 - \bar\alpha_t}\; \varepsilon , \qquad \varepsilon \sim \mathcal N(0, I) .
# $$ (takagi-noise)
#
# So $\sqrt{\bar\alpha_t}$ is the share of the guess that survives. It is not $1 - s$. The cell checks the formula, and prints the share on Stable Diffusion's schedule.

# %%
schedule = NoiseSchedule.scaled_linear()
times = schedule.times(50, "leading", offset=1)
eps = torch.randn(n, 2, generator=g)
for s in (0.2, 0.4, 0.6, 0.8):
    t = float(times[-steps_walked(50, s)])
    kept = float(schedule.alpha_bar_at(t)) ** 0.5
    same = torch.allclose(schedule.q_sample(z, t, eps), kept * z + (1 - kept**2) ** 0.5 * eps)
    print(f"strength {s}: from t = {t:.0f}, {kept:.2f} of the guess survives; formula: {same}")


def reconstruct(strength):
    """Noise z, and walk back under c with the perfect denoiser of that kind."""
    if strength == 0:
        return z
    walked = times[-steps_walked(50, strength) :]
    made = eps if strength == 1 else schedule.q_sample(z, float(walked[0]), eps)
    for kind in (0, 1):
        of_kind = c == kind
        denoise = world(kind).denoiser(schedule)
        made = made.clone()
        made[of_kind] = sample(denoise, made[of_kind], schedule, sampler="ddim", times=walked)
    return made


def judged(made):
    """How far from the nearest picture; is the place right; is the kind."""
    spots = torch.cartesian_prod(PLACES, KINDS)
    far, spot = torch.cdist(made, spots).min(1)
    return far.mean(), (spot // 2 == where).float().mean(), (spot % 2 == what).float().mean()


strengths = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
found = torch.tensor([judged(reconstruct(s)) for s in strengths])
print("strength  off by  place  kind")
for s, (far, place, kind) in zip(strengths, found.tolist(), strict=True):
    if s in (0, 0.2, 0.4, 0.6, 0.8, 1):
        print(f"{s:8}  {far:6.2f}  {place:5.2f}  {kind:4.2f}")

# %% mystnb={"image": {"alt": "Left: a plane with six spots in two rows of three. Arrows go from points between the rows, each below or above one of the three places, to the spots: most go straight up or down. Right: over the strength, the distance from the nearest picture falls to near zero, the share of right kinds rises to nine tenths, and that of right places stays at one at first and falls to a third at strength 1."}, "figure": {"caption": "Left: the decoded guess (start of each arrow) is pulled to a picture of the decoded kind, at strength 0.4. Right: with the strength the result becomes a picture, of the kind that c tells, and forgets the place that z told.", "name": "takagi-toy"}}
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.8), width_ratios=(1.1, 1))
for a, b in zip(z[:40].tolist(), reconstruct(0.4)[:40].tolist(), strict=True):
    left.annotate("", b, a, arrowprops={"arrowstyle": "->", "color": "grey", "lw": 0.7})
left.plot(*torch.cartesian_prod(PLACES, KINDS).T, "o", ms=8)
left.set(xlabel="where", ylabel="what", xlim=(-4.2, 4.2), ylim=(-1.6, 1.6))
for values, name in zip(found.T, ("off by", "place right", "kind right"), strict=True):
    right.plot(strengths, values, label=name)
right.set(xlabel="strength", ylim=(0, 1.05))
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# At strength 0 you see the decoded guess. It lies beside all pictures. At strength 1 you see a picture of the decoded kind, at any place. Between them, a picture with the place of $z$ and the kind of $c$. That is the whole system. What is left are two regressions, and the choice of $s$.
#
# ## The subject
#
# The subject is **simulated**, the first of the book's four, as in {doc}`ridge`. Two decoders were fitted on its 1,850 training pictures and ship with the book. One reads $z$ from the early stream, the other $c$ from the ventral stream. `data_samples/decoding/README.md` names the command that fits them again.

# %%
import inspect
import tempfile
from pathlib import Path

from minisd.decoding.responses import read_responses
from minisd.decoding.systems import RECIPES, Models
from minisd.decoding.takagi import TakagiNishimoto, TakagiSettings
from minisd.decoding.targets import Seen
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare

root = next(p for p in map(Path, ("data/nsd", "../../data/nsd")) if p.exists())
SAMPLES = next(p for p in map(Path, ("data_samples", "../../data_samples")) if p.exists())
subject = Subject(root, 1)
scratch = tempfile.TemporaryDirectory()
prepared = prepare(
    subject, Path(scratch.name) / "subj01", PrepareSettings(align=200), progress=False
)
test = read_responses(subject, prepared, "test")
seen = Seen(subject.pictures, prepared.test.nsd_id)
pictures = seen.pictures(64)

sd = Models(SAMPLES / "miniature", SAMPLES / "miniature" / "clip", device="cpu").quick
recipe = RECIPES["miniature"]
shared = recipe.mind_diffuser
settings = TakagiSettings(
    shared.steps, recipe.takagi_strength, shared.guidance_scale, shared.contrast
)
system = TakagiNishimoto(sd, settings).load(SAMPLES / "decoding" / "subj01" / "takagi")
features = system.decode(test)
for name, decoder in system.decoders.items():
    print(
        f"{name}: {test.of(decoder.region).shape[1]} voxels ({decoder.region}) to {decoder.shape}"
    )

# %% [markdown]
# Draw three times: $z$ alone, through the decoder of the autoencoder; $c$ alone, by text to image; and both. Each picture has a seed of its own, so that it is the same whatever stands beside it. The last line prints how `TakagiNishimoto` draws: it is the same call.

# %%
rows = slice(0, 8)
seeds = test[rows].seeds(0)
drawing = {
    "steps": settings.steps,
    "guidance_scale": settings.guidance_scale,
    "sampler": "ddim",
    "output": "tensor",
    "progress": False,
}


@torch.no_grad()
def both(z, c, seeds, strength=settings.strength, **changes):
    """Image to image from a latent under a text embedding."""
    return sd.image_to_image(c, z, strength=strength, seed=seeds, **{**drawing, **changes})


with torch.no_grad():
    z_alone = sd.decode(features["z"][rows]).clamp(-1, 1)
    c_alone = sd.text_to_image(features["c"][rows], seed=seeds, **drawing)
made = both(features["z"][rows], features["c"][rows], seeds)

print(inspect.getsource(TakagiNishimoto.draw))

# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 80})

# %% mystnb={"image": {"alt": "Four rows of eight pictures. From above: scenes that were seen; blurs with their colours and rough layout; sharp scenes, often with the right background and with things at other places; and sharp scenes drawn from both, most with the right background."}, "figure": {"caption": "Simulated: seen (above), z alone, c alone, and both at strength 0.8 (below). What is sharp comes from c and from the network.", "name": "takagi-pictures"}}
from minisd.plots import image_grid

image_grid(torch.cat([pictures[rows], z_alone, c_alone, made]), columns=8)
plt.show()

# %% [markdown]
# Move through the strengths. At 0 stands $z$ as the autoencoder shows it, at 1 nothing of it is left.

# %%
from functools import cache

from minisd.widgets import slider

three = [0, 2, 5]


@cache
def drawn_at(strength):
    z, c = (features[name][three] for name in ("z", "c"))
    if int(settings.steps * strength + 1e-9) == 0:
        with torch.no_grad():
            return sd.decode(z).clamp(-1, 1)
    return both(z, c, [seeds[i] for i in three], strength)


slider(
    lambda strength: image_grid(
        torch.cat([pictures[three], drawn_at(strength)]), ["seen"] * 3 + ["drawn"] * 3, columns=6
    ),
    (0, 0.2, 0.4, 0.6, 0.8, 1),
    label="strength",
    caption="Simulated: three pictures that were seen, and what is drawn from their decoded z and c. Low strengths keep the blur, high ones follow c alone.",
    alt="Three scenes that were seen, and three drawn from their decoded features at strength {}.".format,
    start=4,
)

# %% [markdown]
# By {eq}`takagi-noise`, a strength of .8 keeps a fifth of the size of $z$, under noise nearly five times as large. In the miniature little of the layout comes through that. {doc}`mind_diffuser_1` walks a shorter way, and says why a small network wants that.
#
# ## How bold is c?
#
# `TakagiSettings` has one number more than the paper, the *contrast*. It comes from a fact about predictions that is worth a toy of its own, in one dimension.
#
# Let $y$ be a feature, and $\hat y$ its prediction, which correlates with it by $r$ and has been rescaled to its spread ({doc}`ridge`). How much of $y$ is in $\hat y$? Regress $\hat y$ on $y$. The slope is
#
# $$
# b = \frac{\mathrm{cov}(\hat y, y)}{\mathrm{var}(y)} = r\, \frac{\mathrm{std}(\hat y)}{\mathrm{std}(y)} = r ,
# \qquad \text{so} \qquad \hat y - \bar y = r\,(y - \bar y) + e .
# $$ (takagi-slope)
#
# The signal is there at $r$ times its size. The rest of the spread is the error $e$, with the variance $(1 - r^2)\, \mathrm{var}(y)$. Try it: a weak measurement $x$ of $y$, ridge's shrunk prediction, and the rescaled one.

# %%
m = 200_000
y = 2 + torch.randn(m, generator=g)
x = y + 1.5 * torch.randn(m, generator=g)


def slope(of, on):
    """Of a regression line."""
    return (of - of.mean()) @ (on - on.mean()) / ((on - on.mean()) ** 2).sum()


shrunk = y.mean() + slope(y, x) * (x - x.mean())
rescaled = y.mean() + y.std() / shrunk.std() * (shrunk - y.mean())
r = torch.corrcoef(torch.stack([rescaled, y]))[0, 1]
error = rescaled - y.mean() - r * (y - y.mean())
print(f"r = {r:.2f}; signal in the shrunk one: {slope(shrunk, y):.2f}")
print(f"signal in the rescaled one: {slope(rescaled, y):.2f}")
print(f"slope is r: {torch.isclose(slope(rescaled, y), r, atol=1e-3)}")
print(f"variance of the error: {torch.isclose(error.var(), (1 - r**2) * y.var(), atol=1e-3)}")
bold = y.mean() + (rescaled - y.mean()) / r
print(f"signal with a contrast of 1/r: {slope(bold, y):.2f}")

# %% [markdown]
# The shrunk prediction holds $r^2$ of the signal, and the rescaled one $r$. If the signal shall have its full size, take the distance from the mean $1/r$ times. That is the contrast: decoded features become $\bar y + k\,(\hat y - \bar y)$, with $k = 1$ in the paper and larger here. The price is an error that is $k$ times as large. By the squared error it is a bad bargain. But a text embedding is not judged by its squared error. A U-Net reads it, and what it takes from it is a direction: towards dogs, away from cars. A direction that is told at half its size is told too softly.
#
# Does the subject's $c$ behave like that? Compute the true embeddings of the test pictures, and pool {eq}`takagi-slope` over all 4,096 features. Beside it stands what you can know without any test picture: the correlations out of fold, which `fit_ridge` has kept.

# %%
from minisd.decoding.targets import text_embeddings

true_c = torch.from_numpy(text_embeddings(sd, seen, progress=False)).flatten(1)
ridge = system.decoders["c"].ridge
said = ridge.predict(test.of("ventral"))
there, said = true_c - true_c.mean(0), said - said.mean(0)
power = (there**2).sum(0)
measured = (said * there).sum() / power.sum()
promised = (ridge.correlation * power).sum() / power.sum()
print(f"signal in the decoded c: {measured:.2f} of its size; promised by the folds {promised:.2f}")

# %% [markdown]
# So a contrast of about 2 brings the signal to its full size. The recipe of the miniature has 1.75, which is $1/r$ for a $c$ that is read from all voxels, where $r$ is .57. What does it change for the judge, the scorer of {doc}`measuring`? The 200 pictures of subject 1 that are set apart were drawn with both contrasts: by this chapter's system, and by the first stage of MindDiffuser, whose $c$ is read from all voxels (`python benchmarks/recipe.py`). Shares of what is right:
#
# | | contrast | object | colour | place | background |
# |---|---|---|---|---|---|
# | Takagi and Nishimoto, $c$ from the ventral stream | 1 | .43 | .40 | .68 | .91 |
# | | 1.75 | .44 | .43 | .66 | .85 |
# | MindDiffuser, stage 1, $c$ from all voxels | 1 | .57 | .53 | .73 | .94 |
# | | 1.75 | .65 | .55 | .76 | .95 |
#
# Where $c$ is read from all voxels, a bolder $c$ brings more objects. Where it is read from the ventral stream alone nothing is won, and some backgrounds are lost: the error is made 1.75 times as large, too, and there is more of it. So the contrast is no gift, and it should be chosen for each decoder. The recipe's was chosen for MindDiffuser, and Takagi's system takes it along: read its scores below with that in mind.
#
# ## Single trials or averages
#
# Each picture was shown three times. Here each decoder is fitted on averages of three, and reads averages. Takagi and Nishimoto fit on single trials, three rows a picture, and test on averages. What is the difference? Let $x_{pk}$ be the response in trial $k$ of $K$ to picture $p$, $\bar x_p$ their mean and $y_p$ the feature. The squared error over single trials is
#
# $$
# \sum_{p,k} \bigl( x_{pk}^\top w - y_p \bigr)^2
# = K \sum_p \bigl( \bar x_p^\top w - y_p \bigr)^2 + w^\top S\, w , \qquad
# S = \sum_{p,k} (x_{pk} - \bar x_p)(x_{pk} - \bar x_p)^\top .
# $$ (takagi-trials)
#
# It is the error over averages, and a penalty. $S$ is how trials of one picture scatter. So single trials add a ridge of their own, which is shaped by the noise: a direction in which trials scatter is held small. Check it, and see what it is worth.

# %%
V, K = 60, 3
weights = torch.randn(V, generator=g) / V**0.5
spread = torch.linspace(0, 3, V)  # of the noise: some voxels have none, some three times the signal


def responses(P):
    """Single trials [P, K, V], and the feature [P]."""
    signal = torch.randn(P, V, generator=g)
    return signal[:, None] + spread * torch.randn(P, K, V, generator=g), signal @ weights


trials, target = responses(80)
means, w = trials.mean(1), torch.randn(V, generator=g)
within = (trials - means[:, None]).flatten(0, 1)
one = ((trials @ w - target[:, None]) ** 2).sum()
other = K * ((means @ w - target) ** 2).sum() + w @ (within.T @ within) @ w
print(f"formula: {torch.allclose(one, other, rtol=1e-4)}")

new, new_target = responses(4000)
for P in (80, 3000):
    trials, target = responses(P)
    for name, a, b in (
        ("averages", trials.mean(1), target),
        ("single trials", trials.flatten(0, 1), target.repeat_interleave(K)),
    ):
        missed = []
        for alpha in (0, 1, 10, 100, 1000):
            w = torch.linalg.solve(a.T @ a + alpha * torch.eye(V), a.T @ b)
            missed.append(float(((new.mean(1) @ w - new_target) ** 2).mean() / new_target.var()))
        print(
            f"{P:4} pictures, {name:13}: error {missed[0]:.2f}, with the best penalty {min(missed):.2f}"
        )

# %% [markdown]
# The test is on averages, as in the paper. With few pictures and no penalty single trials are far better, since they bring a penalty with them. Choose a penalty, and that is over. With many pictures averages are better. Single trials hold the noisy voxels as small as the noise of *one* trial asks for, and the averages that are tested have a third of it. Takagi and Nishimoto fit 27,000 trials nearly without a penalty, so they need the one that comes with single trials.
#
# And what does another trial bring to a decoder that is fitted? Read the same pictures from one trial each, from two, and from three.

# %%
from minisd.decoding.targets import latents

true_z = torch.from_numpy(latents(sd, seen, progress=False)).flatten(1)


def alike(decoded, true):
    """Mean correlation over features, from picture to picture."""
    a, b = (x - x.mean(0) for x in (decoded.flatten(1), true))
    return float(((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0)).clamp(min=1e-9)).mean())


by_trials = {k: system.decode(read_responses(subject, prepared, "test", k)) for k in (1, 2, 3)}
for k, decoded in by_trials.items():
    print(
        f"trials averaged: {k}; z {alike(decoded['z'], true_z):.2f}, c {alike(decoded['c'], true_c):.2f}"
    )
once = by_trials[1]
single = both(once["z"][rows], once["c"][rows], seeds)

# %% mystnb={"image": {"alt": "Three rows of eight pictures: scenes that were seen; what was drawn from a single trial each; and what was drawn from the average of three, which is more often of the right background and colour."}, "figure": {"caption": "Simulated: seen (above), drawn from one trial (middle) and from three averaged (below), from the same noise.", "name": "takagi-trials"}}
image_grid(torch.cat([pictures[rows], single, made]), columns=8)
plt.show()

# %% [markdown]
# ## Scores
#
# How good is it, over 200 test pictures and four **simulated** subjects? The leaderboard has run all systems, and their scores ship. *Blur* and *text only* are $z$ alone and $c$ alone, both decoded from all voxels. *Takagi and Nishimoto* is this chapter. *MindDiffuser without stage 2* is the next one. Scores are means over two samples for each response in subjects 1 and 2, and of one in subjects 3 and 4.

# %%
from IPython.display import Markdown

from minisd.decoding.leaderboard import load_scores
from minisd.decoding.report import compare, table

scores = load_scores(SAMPLES / "decoding" / "scores.npz")
names = ("random_picture", "blur", "text_only", "takagi", "stage_1")
measures = ["PixCorr", "SSIM", "identification", "object", "place", "background"]
Markdown(table({name: scores[name] for name in names}, measures))


# %% [markdown]
# Means over subjects and pictures, with intervals over pictures. Object and place are of pictures that show one thing. Now the pairs, picture by picture within each subject, as in {doc}`measuring`.


# %%
def differ(a, b, *measures):
    """Print the mean difference for each subject, and whether chance could make it."""
    for measure in measures:
        found = compare(scores, a, b, measure)
        each = " ".join(f"{one.difference:+.2f}" for one in found)
        sure = sum(one.p < 0.01 for one in found)
        print(f"{a} - {b}: {measure:14} {each}, p < .01 in {sure} of {len(found)}")


differ("takagi", "blur", "identification", "object", "PixCorr")
differ("takagi", "text_only", "identification", "object", "PixCorr")
differ("takagi", "stage_1", "identification", "object", "PixCorr", "place")

# %% [markdown]
# Against the blur, both together have more objects right, in each subject, and less PixCorr, in each. Against text only there is hardly a difference: a little more PixCorr in some subjects, and identification is lower, not higher. So here the two halves together are no better than the better of them, and in the paper they were.
#
# Two things explain it. At strength .8 the latents of the miniature keep too little, as you saw on the slider. And the two halves in the table are read from all voxels, while this system reads each from one stream. What a stream alone costs can be looked up, since every decoder keeps its correlation out of fold.

# %%
from minisd.decoding.ridge import Ridge

for name, region in (("z", "early"), ("c", "ventral")):
    whole = Ridge.load(SAMPLES / "decoding" / "subj01" / "all" / f"{name}.safetensors")
    part = system.decoders[name].ridge.correlation.mean()
    print(f"{name}: {region} {part:.2f}, all voxels {whole.correlation.mean():.2f}")

# %% [markdown]
# For $z$ the early stream is all that is needed, and even a little better than everything. For $c$ the ventral stream is not: here, the simulated lateral and parietal streams know of the scene, too. MindDiffuser's first stage has the same two parts, reads both from all voxels, and walks a shorter way. It is better in identification, object and PixCorr in each subject, and in the place in three of four.
#
# ## What differs from the paper
#
# | | paper and code | here |
# |---|---|---|
# | pictures | reduced to 320 pixels, encoded to 4 x 40 x 40, decoded; enlarged to 512 and encoded again | the latent of the picture itself |
# | $c$ | 77 x 768, mean over the captions | 32 x 128, mean over the captions |
# | fitted on | single trials | averages |
# | ridge | himalaya, penalties from a millionth to 1: with 27,000 trials and some 7,000 voxels hardly any | himalaya, penalties from 1 to a million |
# | decoded features | as predicted | rescaled by out-of-fold training predictions |
# | contrast of $c$ | 1 | 1.75 |
# | DDIM | 50 steps, strength .8, guidance 5 | 20 steps, strength .8, guidance 2.5 |
# | samples | 5, mean identification over them | 1 or 2, mean score |
#
# `RECIPES["paper"]` has the paper's numbers, for the weights of Stable Diffusion. `minisd leaderboard --recipe paper` runs it.
#
# ```{admonition} A slip in the report
# :class: note
#
# The report's reference [7] is this paper. Section 4 cites it rightly: early visual cortex for the structure, ventral cortex for the meaning. But sections 5.1 and 6.1 cite [7] for "the original stable diffusion project" and its architecture. That is {cite:t}`rombach2022high`; Takagi and Nishimoto *use* Stable Diffusion and change nothing in it ({ref}`errata <slip-stable-diffusion-project>`).
# ```
#
# ## Exercises
#
# ```{exercise} Half of the guess
# :label: takagi-half
#
# At which strength does half the size of $z$ survive, and at which half of its variance? Find both on Stable Diffusion's schedule with 50 steps.
# ```
#
# ```{solution-start} takagi-half
# :class: dropdown
# ```
#
# Look for the largest strength that keeps at least as much.

# %%
kept = {
    k / 50: float(schedule.alpha_bar_at(float(times[-steps_walked(50, k / 50)])))
    for k in range(1, 50)
}
size = max(s for s, a in kept.items() if a**0.5 >= 0.5)
variance = max(s for s, a in kept.items() if a >= 0.5)
print(f"half of the size: strength {size:.2f}; half of the variance: strength {variance:.2f}")

# %% [markdown]
# Both lie well below .8.
#
# ```{solution-end}
# ```
#
# ```{exercise} The other line
# :label: takagi-other-line
#
# {eq}`takagi-slope` regresses the prediction on the truth. Regress the truth on the rescaled prediction instead. What is the slope, and what would it tell you to do with the prediction? Why is that not what the U-Net needs?
# ```
#
# ```{solution-start} takagi-other-line
# :class: dropdown
# ```
#
# The slope is $r$ again, since both have the same spread. This line answers another question: which multiple of the prediction is nearest to the truth, in squares? It says to shrink by $r$, which undoes the rescaling and gives ridge's own answer back.

# %%
print(f"slope of the truth on the rescaled prediction: {slope(y, rescaled):.2f}, r {r:.2f}")
best = y.mean() + slope(y, rescaled) * (rescaled - y.mean())
print(f"that is ridge's own prediction: {torch.allclose(best, shrunk, atol=1e-3)}")
for name, one in (("shrunk", shrunk), ("rescaled", rescaled), ("contrast 1/r", bold)):
    print(f"{name:12} mean squared error {((one - y) ** 2).mean():.2f}, signal {slope(one, y):.2f}")

# %% [markdown]
# Least squares hedges: it says little where it knows little. What is drawn from a hedge is the average picture.
#
# ```{solution-end}
# ```
#
# ```{exercise} Whose layout?
# :label: takagi-exchange
#
# Exchange the latents of two pictures, and keep their text embeddings. Draw at strengths .45 and .8 from the same noise. By PixCorr, is the result more like the picture that its $z$ is from, or like the one that its $c$ is from?
# ```
#
# ```{solution-start} takagi-exchange
# :class: dropdown
# ```

# %%
from minisd.metrics.reconstruction import pixel_correlation

z, c = features["z"][rows], features["c"][rows]
other = torch.arange(8).roll(1)  # each gets its neighbour's latent
for strength in (0.45, 0.8):
    x = both(z[other], c, seeds, strength, steps=10)
    by_z = pixel_correlation(x, pictures[rows][other]).mean()
    by_c = pixel_correlation(x, pictures[rows]).mean()
    print(f"strength {strength}: like z's picture {by_z:.2f}, like c's {by_c:.2f}")

# %% [markdown]
# At .45 the result is clearly nearer to the picture that its latent is from. At .8 it is as near to the one that its embedding is from: of the layout little is left, and the embedding brings a background of its own.
#
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`takagi2023high` had people and networks name the picture that a reconstruction belongs to, between two. By people $z$ alone was right in about 70 percent of cases, $c$ alone in 83, and both in 85. Their distractors are other reconstructions ({doc}`measuring`), and the mean is taken over five samples. They also turn the model around and predict voxels from its parts: early cortex is predicted best by $z$, higher visual cortex by $c$. {doc}`what_the_brain_says` does so with the simulated subjects.
#
# {cite:t}`ozcelik2023natural` keep the scheme and replace both parts: the first guess is drawn by a deep VAE, and Versatile Diffusion refines it under decoded CLIP embeddings of picture and text. {cite:t}`scotti2023reconstructing` replace ridge regression by networks. {cite:t}`shirakawa2025spurious` look critically at how much of the meaning in such pictures is found in the brain, and how much comes from clusters that training and test pictures share.
#
# ## The way on
#
# {doc}`mind_diffuser_1` decodes the same two features in another way, and takes away one of them at a time.
