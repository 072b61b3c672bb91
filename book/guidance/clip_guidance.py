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
# # Guidance by CLIP
#
# **You will be able to**
#
# - put CLIP in the place of the classifier, and say when a similarity is a log-density;
# - say why a logarithm in front of it is wrong, and show it by running;
# - measure why CLIP has to be trained on noise, or be shown the predicted clean picture;
# - tell a picture that pleases CLIP from one that shows what was asked.
#
# **Time** 30 minutes to read; the cells run in about 45 seconds.
#
# **Before this** {doc}`classifier` and {doc}`classifier_free`. CLIP itself is built in {doc}`../stable_diffusion/clip`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part II, Guidance, at its third chapter, by CLIP."}, "figure": {"caption": "Where you are: the third chapter of Part II.", "name": "clip-guidance-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("clip_guidance")
plt.show()

# %% [markdown]
# A classifier knows its questions from the start. You want to steer with any sentence. CLIP {cite}`radford2021learning` reads pictures and sentences into one space: $f(x)$ for the picture, $g(c)$ for the text. Their product $f(x) \cdot g(c)$ is large where the two belong together.
# GLIDE {cite}`nichol2022glide` puts it in the place of the classifier's $\log p(y \mid x_t)$:
#
# $$
# \hat\varepsilon = \varepsilon_\theta(x_t, t) - s\, \sqrt{1 - \bar\alpha_t}\; \nabla_{x_t} \bigl( f(x_t) \cdot g(c) \bigr) .
# $$ (clip-guidance-eps)
#
# GLIDE writes it for the mean of a DDPM step, with $\Sigma$ in place of the root. {doc}`classifier` shows that the two forms agree as the steps get small.
#
# When is such a product a log-density? CLIP is trained to pick the right text among many, by a softmax over the products. So $\exp(f \cdot g)$ is proportional to $p(c \mid x) / p(c)$, if CLIP is perfect {cite}`oord2018representation`. Then the product is $\log p(c \mid x)$, up to a number that has no $x$ in it, and {eq}`clip-guidance-eps` is Bayes' rule again.
#
# On the mixture of the chapters before, such a perfect $f$ can be written down: an embedding with as many channels as there are classes, turned in space so that no channel stands for a class. The text embeddings are the turned axes.

# %%
import torch

from minisd.diffusion import GaussianMixture, NoiseSchedule
from minisd.guidance import clip

schedule = NoiseSchedule.linear()
data = GaussianMixture(
    torch.tensor([0.3, 0.2, 0.2, 0.3]),
    torch.tensor([[-1.5, 0.3], [0.0, 1.3], [0.6, -1.2], [1.7, 0.6]]),
    torch.tensor([[[0.30, 0.1], [0.1, 0.2]], [[0.2, 0.0], [0.0, 0.2]], [[0.15, 0.0], [0.0, 0.25]], [[0.2, -0.1], [-0.1, 0.3]]]),
)  # fmt: skip
classes = [[0], [1, 2], [3]]
parts = [GaussianMixture(data.weights[k], data.means[k], data.covariances[k]) for k in classes]
turn = torch.linalg.qr(
    torch.randn(3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
)[0]


def f(x_t, t):
    """Embed noisy points, [B, 3], so that f . g is log p(c | x_t)."""
    a = schedule.alpha_bar_at(t)
    share = torch.stack([data.weights[k].sum() for k in classes])
    joint = torch.stack([part.log_prob(x_t, a) for part in parts], dim=1) + share.log().to(x_t)
    return joint.log_softmax(1) @ turn


x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
t = torch.linspace(0, 999, 500, dtype=torch.float64)
guided = clip(data.denoiser(schedule), f, turn[1], 1.0, schedule)(x, t)
wanted = parts[1].denoiser(schedule)(x, t)
print(
    f"the guided score is the analytic one, to 1e-5: {bool((guided - wanted).abs().max() < 1e-5)}"
)

# %% [markdown]
# ## No logarithm
#
# The report's equation (6) takes the gradient of $\log\bigl(f(x_t) \cdot g(c)\bigr)$. GLIDE has no logarithm there. By the chain rule it would be
#
# $$
# \nabla \log\bigl(f \cdot g\bigr) = \frac{\nabla \bigl(f \cdot g\bigr)}{f \cdot g} .
# $$ (clip-guidance-log)
#
# A product of two vectors is negative as often as not. Then the logarithm does not exist, and the quotient points the wrong way: *away* from the text. Where the product is near zero, the push has no bound. The cell looks at it on the perfect embedding, whose products are logarithms of probabilities, and so all negative.

# %%
point = x[:5].clone().requires_grad_()
product = f(point, t[250:255]) @ turn[1]
(uphill,) = torch.autograd.grad(product.sum(), point, retain_graph=True)
print("products:", [round(p, 2) for p in product.tolist()])
print("their logarithms:", product.log().tolist())
quotient = uphill / product[:, None]
print(f"the quotient points the other way: {bool(((quotient * uphill).sum(1) < 0).all())}")

# %% [markdown]
# It is in the {ref}`errata <erratum-clip-log>`.
#
# ## Three readers, one exam
#
# A CLIP that comes from somewhere has seen clean pictures. The sampler needs its gradient at $x_t$, where there is noise. There are two ways out. Train a CLIP on noisy pictures, as GLIDE does. Or show the clean CLIP not $x_t$ but what the denoiser takes for the clean picture behind it:
#
# $$
# \begin{gathered}
# \hat x_0(x_t) = \frac{x_t - \sqrt{1 - \bar\alpha_t}\; \varepsilon_\theta(x_t, t)}{\sqrt{\bar\alpha_t}} , \\
# \text{steer by } \nabla_{x_t} \bigl( f(\hat x_0(x_t)) \cdot g(c) \bigr) .
# \end{gathered}
# $$ (clip-guidance-clean)
#
# {cite:t}`bansal2023universal` call it forward universal guidance. The gradient goes back through the denoiser, so a step costs about three times as much. In `minisd.guidance.clip` it is `on="clean"`. The cell checks it where a linear $f$ and one Gaussian make it exact: a product tilts a Gaussian into another one.

# %%
g = torch.tensor([0.5, -1.0], dtype=torch.float64)
mean, cov = torch.tensor([[0.5, -1.0]]).double(), torch.tensor([[[0.5, 0.2], [0.2, 0.4]]]).double()
one = GaussianMixture(torch.ones(1), mean, cov)
tilted = GaussianMixture(torch.ones(1), mean + cov[0] @ g, cov)
guided = clip(one.denoiser(schedule), lambda x_0: x_0, g, 1.0, schedule, on="clean")(x, t)
print(torch.allclose(guided, tilted.denoiser(schedule)(x, t), atol=1e-5))

# %% [markdown]
# So there are three readers of the miniature's noisy latents. Let them sit an exam: 32 scenes that no network was trained on, each noised to several times. Which of sixteen objects is in it? A reader says the text that lies nearest, out of "a dog", "an umbrella" and so on.

# %%
from pathlib import Path

from minisd.diffusion import ImageNoise
from minisd.models.contrastive import preprocess
from minisd.scenes import CATEGORIES, scenes
from minisd.steering import Networks

MINIATURE = next(
    p for p in (Path("data_samples/miniature"), Path("../../data_samples/miniature")) if p.exists()
)
networks = Networks(MINIATURE)
sd, noisy_clip, clean_clip = networks.sd, networks.noisy_clip, networks.clip
words = [("an " if c[0] in "aeiou" else "a ") + c for c in CATEGORIES]
drawn = scenes(range(32), seed=2, two=0.0)
pixels = torch.from_numpy(drawn.images).permute(0, 3, 1, 2) / 127.5 - 1
truth = torch.tensor([CATEGORIES.index(one.things[0].category) for one in drawn.factors])
latent_schedule = sd.scheduler.schedule


def by_clean_clip(z):
    """Decode, and let CLIP look."""
    return clean_clip.encode_image(preprocess(sd.decode(z), 64))


with torch.no_grad():
    texts = networks.clip_text(words, torch.tensor(0.0))
    z_0, eps = sd.encode_image(pixels), ImageNoise(range(32)).draw((4, 16, 16))
    nothing = networks.without_text(32)
    times, marks = (0, 100, 250, 400, 550, 700, 900), {}
    for time in times:
        when = torch.full((32,), float(time))
        z_t = latent_schedule.q_sample(z_0, when, eps)
        z_hat = latent_schedule.convert(nothing(z_t, when), z_t, when, "eps", "x0")
        seen = {
            "clean CLIP on $x_t$": by_clean_clip(z_t),
            r"clean CLIP on $\hat x_0$": by_clean_clip(z_hat),
            "noisy CLIP on $x_t$": noisy_clip(z_t, when),
        }
        for name, embedding in seen.items():
            right = ((embedding @ texts.T).argmax(1) == truth).float().mean()
            marks.setdefault(name, []).append(float(right))
print(f"{'read right, in %, at t =':31}", " ".join(f"{time:4}" for time in times))
for name, line in marks.items():
    plain = name.replace("$", "").replace(r"\hat x_0", "the predicted x_0")
    print(f"{plain:31}", " ".join(f"{100 * m:4.0f}" for m in line))

# %% mystnb={"image": {"alt": "Three falling curves of the share of objects read right over the time. The clean CLIP on noisy latents falls first. The clean CLIP on the predicted picture falls later. The noisy CLIP keeps the longest, and at late times all are near chance."}, "figure": {"caption": "Objects read right, of 32 scenes, over the time of the noise. Dashed: chance.", "name": "clip-guidance-exam"}}
figure, axis = plt.subplots(figsize=(5.2, 2.8))
for name, line in marks.items():
    axis.plot(times, [100 * m for m in line], "o-", label=name)
axis.axhline(100 / len(words), color="black", ls="--", lw=1)
axis.set(xlabel="index $t$", ylabel="read right (%)", ylim=(0, 103))
axis.legend()
plt.show()

# %% [markdown]
# The clean CLIP on $x_t$ is lost early: at $t = 400$ it reads not half of the objects, at 550 it guesses. The noisy CLIP reads nearly all of them at 400, and so does the clean one when it is shown the predicted picture. It is in the middle of the walk that the difference lies, and there it is decided what the thing is. From 700 on
# nobody knows, since nobody can.
#
# ## Pictures
#
# Three wishes, two seeds each. The miniature has no text here; all it hears of the wish comes through CLIP's gradient. Move the slider to more scale.

# %%
from functools import cache

from minisd.plots import image_grid
from minisd.scenes import caption, scene_factors
from minisd.steering import draw
from minisd.widgets import slider

asked = [scene_factors(i, 2, two=0.0) for i in (1, 4, 6) for _ in range(2)]
for one in asked[::2]:
    print(caption(one))
short = [f"{one.things[0].colour} {one.things[0].category}" for one in asked]


@cache
def steered(method, scale):
    """Six pictures."""
    return draw(networks, method, asked, scale, range(6), steps=12)


slider(
    lambda scale: image_grid(
        steered("clip_noisy", scale) if scale else steered("unguided", 1.0), short, columns=6
    ),
    (0.0, 1.0, 4.0, 16.0),
    label="scale s",
    caption="Six pictures by the miniature, steered by the CLIP that was trained on noisy latents. At scale 0 nothing is asked for.",
    alt="Six drawn scenes, CLIP-guided at scale {}.".format,
    start=2,
)

# %% mystnb={"image": {"alt": "Four rows of six drawn scenes. Unguided, they show nothing of the wishes. By the noisy CLIP there are green benches and blue things on beaches. By the clean CLIP at scale 1 much the same, at scale 4 some pictures are burnt out."}, "figure": {"caption": "The same seeds. From above: unguided; the noisy CLIP at scale 16; the clean CLIP on the predicted picture at scale 1, and at scale 4. The wishes are those of the slider.", "name": "clip-guidance-pictures"}}
ways = (("unguided", 1.0), ("clip_noisy", 16.0), ("clip_clean", 1.0), ("clip_clean", 4.0))
rows = [steered(method, scale) for method, scale in ways]
image_grid(torch.cat(rows), columns=6)
plt.show()

# %% [markdown]
# The beach and the colour come at once. The objects are the hard part: a bench is easy, an airplane becomes a potted plant or a kite. Through the predicted picture, at a scale of 1, it is much the same. At 4 the gradient, which has come through decoder and denoiser, burns the picture out. It has no scale of its own that would tell you beforehand.
#
# ## Who is pleased?
#
# The clean CLIP steered the third row. Ask it how it likes what was drawn: the cosine of picture and text. Ask it about real scenes of the same wishes, too, and about pictures by classifier-free guidance. Then ask somebody who took no part, the judge.

# %%
import numpy as np
import torch.nn.functional as F

from minisd.metrics import Scorer, score
from minisd.scenes import draw as draw_scene

scorer = Scorer.from_pretrained(MINIATURE / "scorer")
true = [draw_scene(one, np.random.default_rng(i)).image for i, one in enumerate(asked)]
shown = {
    "real scenes": torch.from_numpy(np.stack(true)).permute(0, 3, 1, 2) / 127.5 - 1,
    "unguided": rows[0],
    "classifier-free, 4": draw(networks, "classifier_free", asked, 4.0, range(6), steps=12),
    "noisy CLIP, 16": rows[1],
    "clean CLIP, 1": rows[2],
}
liking = {}
print("                    CLIP  judge, of 6: object  colour  background")
with torch.no_grad():
    wish = networks.clip_text([caption(one) for one in asked], torch.tensor(0.0))
    for name, pictures in shown.items():
        likes = (F.normalize(clean_clip.encode_image(preprocess(pictures, 64)), dim=1) * wish).sum(
            1
        )
        liking[name] = float(likes.mean())
        right = score(scorer.read(pictures), asked)
        seen = [round(6 * right[kind]) for kind in ("object", "colour", "background")]
        print(f"{name:19} {liking[name]:.2f} {seen[0]:19} {seen[1]:7} {seen[2]:11}")

# %% [markdown]
# Compare the rows of the noisy CLIP and of real scenes. To CLIP the steered pictures are nearly as good as real ones. The judge finds the right object in a third of them. A network that is climbed is pleased by what it climbed to; you can please it without drawing the thing. Never measure a method by the network that steered it. Both CLIPs here
# even share their text tower, so the one is no independent judge of the other.
#
# ### In numbers
#
# The same for 256 wishes, judged and measured as in {doc}`classifier`.

# %%
import json

found = json.loads((MINIATURE.parent / "guidance" / "scores.json").read_text())
print("method           scale  object  colour  all    Frechet  spread")
for method in ("unguided", "clip_noisy", "clip_clean", "classifier", "classifier_free"):
    for row in sorted(found.get(method, []), key=lambda row: row["scale"]):
        shares = [f"{100 * row[key]:3.0f} %" for key in ("object", "colour", "all")]
        print(
            f"{method:15}  {row['scale']:5}  {shares[0]:6}  {shares[1]:6}  {shares[2]}  {row['frechet']:7.0f}  {row['spread']:.2f}"
        )

# %% [markdown]
# CLIP guidance hears whole sentences, and it is no better than the classifier. Classifier-free guidance is far above both. GLIDE found the same at full size.
#
# And the two CLIPs? The noisy one can be turned up: each step of its scale finds more. The clean one finds as many objects at a scale of 1, but seldom the whole wish, and to turn it up is to burn the pictures. Each of its pictures takes more than three times as long, since the gradient comes back through the decoder and the U-Net.
#
# ## Exercises
#
# ```{exercise} A text, and not another
# :label: clip-guidance-not
#
# CLIP can push away from a text as well. Write the embedding for "the middle class and not the right one" on the toy, and say which density it climbs.
# ```
#
# ```{solution-start} clip-guidance-not
# :class: dropdown
# ```
#
# Products add: $f \cdot (g_1 - g_2) = \log p(c_1 \mid x_t) - \log p(c_2 \mid x_t)$. It is the logarithm of odds, as with a negative prompt. The middle class weighs all the more on its left side, away from the right one.

# %%
from minisd.diffusion import sample

x_T = torch.randn(400, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
with torch.no_grad():
    exact = data.denoiser(schedule)
    towards, odds = (
        sample(clip(exact, f, text, 1.0, schedule), x_T, schedule, 40, "dpmpp_2m")
        for text in (turn[1], turn[1] - turn[2])
    )
print(f"further to the left: {bool(odds[:, 0].mean() < towards[:, 0].mean())}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Length
# :label: clip-guidance-length
#
# CLIP's embeddings are normalised before the product, and the product is multiplied by a learned number, about 53 for the noisy CLIP. What would a scale of 1 do without that number?
# ```
#
# ```{solution-start} clip-guidance-length
# :class: dropdown
# ```
#
# A cosine lies between $-1$ and 1, so as a log-density it says next to nothing: no text is more than $e^2$ times as likely as another. The learned number makes nats of it. Scale 1 without it is a scale of one fifty-third with it.

# %%
learned = noisy_clip.logit_scale.exp().item()
print(f"between 40 and 70: {40 < learned < 70}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`nichol2022glide` trained CLIPs on noisy pictures for this, and compared: people preferred classifier-free guidance, both for how real the pictures look and for how well they fit the text. They suspect that CLIP guidance finds adversarial pictures, which please the CLIP that steers.
# {cite:t}`bansal2023universal` steer by networks that have seen clean pictures only, through the predicted picture, and add a correction and repeated steps to make it work. Where no text is in the model at all, it remains the way to any network as a guide.
#
# ## The way on
#
# {doc}`self_calibrated` asks what a classifier can do when labels are few. How the CLIP that steers here is built and trained stands in {doc}`../stable_diffusion/clip`.
