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
# # The latent space and the VAE
#
# **You will be able to**
#
# - say why Stable Diffusion does not work in pixels, and what that costs;
# - compress photographs with a linear autoencoder, and count what is lost;
# - explain each term of a variational autoencoder's loss, and check it;
# - build Stable Diffusion's autoencoder from its layers, and name its two traps;
# - look into a latent: what it holds, what noise does to it, and what lies between two of them;
# - tell it from a VQ-VAE.
#
# **Time** 45 minutes to read; the cells run in about 15 seconds.
#
# **Before this** {doc}`../diffusion/loss`.

# %% mystnb={"image": {"alt": "The road of the book. You are in Part III, Stable Diffusion, at its first chapter of ten, the VAE."}, "figure": {"caption": "Where you are: the first chapter of Part III.", "name": "vae-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road, use_style

use_style()
road("vae")
plt.show()

# %% [markdown]
# ## Why not pixels
#
# A picture of 512x512 pixels is 786,432 numbers. A network that looks at all of them fifty times is slow, and most of what it looks at is texture that the eye does not weigh. Stable Diffusion is a *latent* diffusion model {cite}`rombach2022high`:
# an *encoder* makes a small array of the picture, the *latent*, diffusion runs on latents, and a *decoder* makes the picture again at the end. The latent has an eighth of the height, an eighth of the width, and four channels:
#
# $$
# \frac{3 \cdot 512 \cdot 512}{4 \cdot 64 \cdot 64} = 48 .
# $$ (vae-ratio)
#
# The report says that the space is "arbitrarily compressed". One may choose how much, but what the autoencoder loses, no diffusion brings back ({ref}`errata <slip-arbitrarily-compressed>`). So the first question is what a factor of 48 loses.

# %%
print(3 * 512 * 512, 4 * 64 * 64, 3 * 512 * 512 // (4 * 64 * 64))

# %% [markdown]
# ## A linear autoencoder
#
# Begin with the best *linear* one. Cut a photograph into patches of 8x8 pixels, each of them a point $x$ in 192 dimensions. Keep four numbers a patch: its coordinates along four directions, the columns of $V$. With the mean $m$ taken off,
#
# $$
# z = V^\top (x - m), \qquad \hat x = V z + m .
# $$ (vae-linear)
#
# The best four directions are the main ones of the data (principal components). Then the mean squared error of the patches they were found on is the sum of the variances $\lambda_i$ along the directions that are left out:
#
# $$
# \mathbb E \lVert x - \hat x \rVert^2 = \sum_{i > 4} \lambda_i .
# $$ (vae-pca)

# %%
import numpy as np
import torch
from einops import rearrange
from skimage.data import astronaut, chelsea, coffee

from minisd.images import prepare

torch.set_num_threads(1)  # in small tensors, threads wait for one another
photos = {f.__name__: prepare(f()) for f in (astronaut, chelsea, coffee)}


def patches(x, side=8):
    return rearrange(x, "b c (h i) (w j) -> (b h w) (c i j)", i=side, j=side).double()


def join(p, x):
    h = x.shape[2] // 8
    return rearrange(p, "(h w) (c i j) -> 1 c (h i) (w j)", h=h, c=3, i=8).float()


points = torch.cat([patches(photos["chelsea"]), patches(photos["coffee"])])
m = points.mean(0)
variances, V = torch.linalg.eigh(torch.cov(points.T, correction=0))
variances, V = variances.flip(0), V.flip(1)  # the largest first


def keep(x, n):
    """Patches x from n numbers each."""
    return (x - m) @ V[:, :n] @ V[:, :n].T + m


lost = (points - keep(points, 4)).square().sum(1).mean()
print(tuple(points.shape), f"formula holds: {torch.allclose(lost, variances[4:].sum())}")

# %% [markdown]
# The photograph of the astronaut was not among the two that the directions come from. Compare by the peak signal-to-noise ratio: with values in $[-1, 1]$ it is
#
# $$
# \mathrm{PSNR} = 10 \log_{10} \frac{2^2}{\text{mean squared error}} .
# $$ (vae-psnr)

# %%
from skimage.metrics import peak_signal_noise_ratio


def psnr(a, b):
    return 10 * torch.log10(4 / (a - b).square().mean()).item()


face = patches(photos["astronaut"])
a, b = face.numpy(), keep(face, 4).numpy()
print(abs(psnr(face, keep(face, 4)) - peak_signal_noise_ratio(a, b, data_range=2)) < 1e-9)
for n in (1, 4, 16, 64):
    print(f"{n} numbers a patch, {192 // n} times fewer: {psnr(face, keep(face, n)):.0f} dB")

# %% tags=["remove-input"]
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("jpeg", bbox_inches=None, pil_kwargs={"quality": 50})

# %%
from minisd.plots import image_grid
from minisd.widgets import slider


def draw_kept(n):
    kept = join(keep(face, n), photos["astronaut"])
    figure, axes = plt.subplots(1, 2, figsize=(4, 2.2))
    for axis, x, title in zip(
        axes, (photos["astronaut"], kept), ("photograph", f"{n} a patch"), strict=True
    ):
        axis.imshow((x[0, :, 50:178, 150:278].permute(1, 2, 0).clamp(-1, 1) + 1) / 2)
        axis.set_title(title)
        axis.axis("off")
    return figure


slider(
    draw_kept,
    [1, 4, 8, 16, 64],
    label="numbers a patch",
    caption="A linear autoencoder of 8x8 patches. Four numbers, 48 times fewer, keep the layout and lose the face.",
    alt="An astronaut's face, and the same from {} numbers for each patch of 8x8 pixels.".format,
    start=1,
)

# %% [markdown]
# Four numbers keep the mean colour of a patch and where it is lighter. Stable Diffusion's encoder keeps as many numbers and far more of the face, since it is not linear and looks beyond the patch.
#
# ## From autoencoder to VAE
#
# A plain autoencoder may scatter its latents as it likes: far from zero, with gaps. Diffusion wants latents that fill a region of known size evenly. A *variational* autoencoder {cite}`kingma2014auto` asks for that. Its encoder gives for each picture a Gaussian over latents,
# with mean $\mu$ and standard deviation $\sigma$ for each number, and the latent is drawn from it. This is what the report's "parameter of a multivariate distribution" are: what the encoder says of one picture, not the latent space itself ({ref}`errata <slip-latent-parameters>`). The draw is written so that gradients
# pass (*reparametrisation*):
#
# $$
# z = \mu + \sigma \odot \varepsilon, \qquad \varepsilon \sim \mathcal N(0, I) .
# $$ (vae-draw)

# %%
from minisd.models.vae import Gaussian

g = torch.Generator().manual_seed(0)
mean, std = torch.randn(1, 4, 2, 2, generator=g), torch.rand(1, 4, 2, 2, generator=g) + 0.5
mean.requires_grad_(), std.requires_grad_()
latent = Gaussian(mean, std)
eps = torch.randn(1, 4, 2, 2, generator=g)
latent.sample(eps).sum().backward()
print(f"gradients: {bool((mean.grad == 1).all())}, {torch.equal(std.grad, eps)}")
many = Gaussian(mean.detach(), std.detach()).sample(torch.randn(40_000, 4, 2, 2, generator=g))
print(
    f"mean and deviation: {bool((many.mean(0) - mean).abs().max() < 0.05)}, "
    f"{bool((many.std(0) - std).abs().max() < 0.05)}"
)

# %% [markdown]
# Two things are asked of it. The decoder shall give the picture back, and the Gaussian shall not be far from $\mathcal N(0, I)$. The second is a Kullback-Leibler divergence, and for Gaussians it is a sum:
#
# $$
# D_\text{KL}\bigl(\mathcal N(\mu, \sigma^2) \,\Vert\, \mathcal N(0, I)\bigr) = \sum_i \left( \frac{\mu_i^2 + \sigma_i^2 - 1}{2} - \log \sigma_i \right) .
# $$ (vae-kl)
#
# The cell compares it with its definition, the mean of $\log q(z) - \log p(z)$ over draws from $q$.

# %%
q = torch.distributions.Normal(mean.detach(), std.detach())
p = torch.distributions.Normal(0.0, 1.0)
drawn = (q.log_prob(many) - p.log_prob(many)).sum((1, 2, 3)).mean()
exact = latent.kl().item()
print(f"within 2 percent: {abs(drawn.item() - exact) < 0.02 * exact}")

# %% [markdown]
# Together, up to constants, they bound the log-likelihood from below, as in {doc}`../diffusion/loss`:
#
# $$
# \log p(x) \;\ge\; \mathbb E_{q(z \mid x)} [\log p(x \mid z)] - D_\text{KL}\bigl(q(z \mid x) \,\Vert\, p(z)\bigr) .
# $$ (vae-elbo)
#
# In one dimension it can be seen. Let $z \sim \mathcal N(0, 1)$ and $x = z + $ noise of variance 1, so that $x \sim \mathcal N(0, 2)$. The bound holds for every $q$, and is tight for the true posterior $\mathcal N(x/2, 1/2)$.

# %%
x = torch.tensor(1.3)
truth = torch.distributions.Normal(0.0, 2**0.5).log_prob(x)


def bound(mu, sigma):
    fits = -0.5 * torch.log(torch.tensor(2 * torch.pi)) - ((x - mu) ** 2 + sigma**2) / 2
    away = (mu**2 + sigma**2 - 1) / 2 - torch.log(sigma)
    return fits - away


mu, sigma = torch.meshgrid(torch.linspace(-2, 3, 101), torch.linspace(0.1, 2, 96), indexing="ij")
print(f"never above: {bool((bound(mu, sigma) <= truth + 1e-5).all())}")
print(f"tight at the posterior: {torch.allclose(bound(x / 2, torch.tensor(0.5**0.5)), truth)}")

# %% [markdown]
# ### Why the divergence weighs so little in Stable Diffusion
#
# With its full weight, the divergence wins over detail: latents whose variance is not worth its price are switched off, and pictures blur. Stable Diffusion's autoencoder was trained with a weight of about one millionth {cite}`rombach2022high`, beside
# a perceptual and an adversarial loss that keep textures sharp. So its latents are nearly those of a plain autoencoder: $\sigma$ is tiny, and their size is not 1. The diffusion's schedule counts on variance 1, though.
# The *scaling factor* makes up for it: all latents are multiplied by 0.18215, one over their standard deviation on the training pictures.
#
# Do the same for the linear autoencoder.

# %%
z = (points - m) @ V[:, :4]
factor = 1 / z.std()
print(f"standard deviation {z.std():.1f}, factor {factor:.2f}, scaled {(z * factor).std():.2f}")
each = (z * factor).std(0)
print("of each channel:", [round(float(s), 2) for s in each])

# %% [markdown]
# One factor for all channels brings the whole to 1, and not each of them. Stable Diffusion's has one, too.
#
# ## Stable Diffusion's autoencoder
#
# The encoder has four levels with 128, 256, 512 and 512 channels, and halves the size after the first three. A level is two *residual blocks*: a group norm, the activation SiLU, a convolution, twice, and the input carried past.
# At the bottom stands attention over all pixels ({doc}`attention`). The decoder is the same backwards, with three residual blocks a level. Write the block by hand:

# %%
import torch.nn.functional as F

from minisd.models.layers import ResnetBlock

torch.manual_seed(0)
block = ResnetBlock(8, 16, groups=4, eps=1e-6)


def by_hand(x):
    b, c, h, w = x.shape
    y = x.view(b, 4, -1)
    y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, keepdim=True, correction=0) + 1e-6).sqrt()
    y = y.view(b, c, h, w)  # the norm's own weight is 1 and its bias 0 at the start
    y = block.conv1(y * torch.sigmoid(y))
    y = block.conv2(F.silu(block.norm2(y)))
    return block.conv_shortcut(x) + y


with torch.no_grad():
    x = torch.randn(2, 8, 5, 7)
    print(torch.allclose(block(x), by_hand(x), atol=1e-5))

# %% [markdown]
# ### Put together
#
# At full size the class has the keys and shapes of the checkpoint. On PyTorch's `meta` device it has shapes and no memory, so you can look at it here.

# %%
from minisd.checkpoints.weights import Unfilled
from minisd.models.vae import AutoencoderKL

with torch.device("meta"), Unfilled():
    full = AutoencoderKL()
print(len(full.state_dict()), f"{sum(p.numel() for p in full.parameters()):,}")
for name in ("encoder", "decoder"):
    part = getattr(full, name)
    print(name, f"{sum(p.numel() for p in part.parameters()):,}")
with torch.no_grad():
    shape = full.encode(torch.empty(1, 3, 512, 512, device="meta")).mean.shape
print(tuple(shape))

# %% [markdown]
# The same class on a small scale is in the book's *miniature*, a whole Stable Diffusion for the picture world ({doc}`../front/picture_world`). It was trained beforehand and ships with the book; {doc}`miniature` tells how. Its pictures have 64x64 pixels and its latents are
# 4x16x16: two halvings and not three, and 12 times fewer numbers. Take its autoencoder, and 24 scenes of a world that it was not trained in. For comparison, the linear one of patches of 4x4 pixels keeps as many numbers, and is even fitted to these very scenes.

# %%
from minisd.checkpoints import load_network
from minisd.scenes import scenes

FOLDER = "../../data_samples/miniature"
vae = load_network("vae", FOLDER).requires_grad_(False)
fresh = torch.from_numpy(scenes(range(24)).images).permute(0, 3, 1, 2) / 127.5 - 1
latent = vae.encode(fresh)
back = vae.decode(latent.mean)
print(f"{sum(p.numel() for p in vae.parameters()):,} parameters")
print(tuple(fresh.shape), tuple(latent.mean.shape))

cut = patches(fresh, 4)
best = torch.linalg.eigh(torch.cov(cut.T)).eigenvectors[:, -4:]
linear = (cut - cut.mean(0)) @ best @ best.T + cut.mean(0)
print(f"linear: {psnr(cut, linear):.0f} dB")
print(f"the autoencoder is better by more than 5 dB: {psnr(fresh, back) > psnr(cut, linear) + 5}")

# %% mystnb={"image": {"alt": "Two rows of six small scenes, among them a sailing boat, a bird and a bench. The lower row shows the same scenes, a little smoother."}, "figure": {"caption": "Scenes that the miniature's autoencoder has not seen (above), and what it makes of their latents (below). Shapes, colours and outlines are back; the finest texture is smoothed away.", "name": "vae-scenes"}}
titles = [f"{psnr(a, b):.0f} dB" for a, b in zip(fresh[:6], back[:6], strict=True)]
image_grid(torch.cat([fresh[:6], back[:6]]), [""] * 6 + titles, columns=6)
plt.show()

# %% [markdown]
# ### First trap: where the padding goes
#
# A 3x3 convolution of stride 2 halves the size. It needs one more row and column, and the question is where. The U-Net pads every side by one. The autoencoder pads on the right and below alone. Weights trained for one are wrong for the other: each halving then looks one pixel further up and left,
# and three of them add up to a shift of the latent against the picture. The cell runs both on a single bright pixel, with a kernel that only copies its centre.

# %%
from minisd.models.layers import Downsample

dot = torch.zeros(1, 1, 64, 64)
dot[..., 33, 33] = 1
for padding in (0, 1):
    down = Downsample(1, padding)
    with torch.no_grad():
        down.conv.weight.zero_()[0, 0, 1, 1] = 1
        down.conv.bias.zero_()
        print(f"padding {padding}: the pixel {'is' if down(dot).sum() > 0 else 'is not'} seen")

# %% [markdown]
# With `padding=0` the centre of a window stands on odd pixels, and with `padding=1` on even ones. After three halvings the centres of the two differ by $1 + 2 + 4$ pixels, and after the miniature's two by 3. The wrong padding is in no weight, so it loads without complaint. {numref}`vae-padding` shows what comes of it.

# %% mystnb={"image": {"alt": "Two rows of six small scenes. In the lower row everything stands a few pixels further to the right and lower, and a discoloured border runs along the left and the upper edge."}, "figure": {"caption": "Through the miniature's autoencoder: as it was trained (above), and with its halvings padded as the U-Net's (below). The pictures move to the right and down, and get a border.", "name": "vae-padding"}}
import copy

wrong = copy.deepcopy(vae)
for module in wrong.encoder.modules():
    if isinstance(module, Downsample):
        module.corner_only, module.conv.padding = False, (1, 1)
shifted = vae.decode(wrong.encode(fresh).mean)
image_grid(torch.cat([back[:6], shifted[:6]]), columns=6)
plt.show()

# %%
print(f"costs more than 10 dB: {psnr(fresh, back) > psnr(fresh, shifted) + 10}")

# %% [markdown]
# ### Second trap: the epsilon
#
# Every group norm of the autoencoder adds $10^{-6}$ to the variance, and those of the U-Net's residual blocks $10^{-5}$. Where the input is flat, it shows.

# %%
flat = torch.randn(1, 32, 8, 8, generator=g) * 2e-3  # a variance of 4e-6
ratio = F.group_norm(flat, 8, eps=1e-5).std() / F.group_norm(flat, 8, eps=1e-6).std()
print(f"the same input comes out {ratio:.1f} times as large")

# %% [markdown]
# ### Parity with diffusers
#
# diffusers reads the same folder. Real photographs go through both. This cell is the one that needs the peer library.

# %%
import diffusers

diffusers.utils.logging.set_verbosity_error()
peer = diffusers.AutoencoderKL.from_pretrained(FOLDER, subfolder="vae").eval()
photo = torch.cat([photos[n][..., :256, :256] for n in photos])
ours = vae.encode(photo)
whole = vae.decode(ours.mean)
with torch.no_grad():
    theirs = peer.encode(photo).latent_dist
    pictures = peer.decode(ours.mean).sample
for name, a, b in (
    ("mean", ours.mean, theirs.mean),
    ("deviation", ours.std, theirs.std),
    ("decoded", whole, pictures),
):
    print(name, tuple(a.shape), bool((a - b).abs().max() < 1e-5 * b.abs().max()))

# %% [markdown]
# {numref}`vae-photographs` shows what came out. The miniature's autoencoder knows drawn scenes and nothing else, and in a photograph its colours and textures are off, most of all in the cat's fur. An autoencoder keeps what its training pictures were made of. Stable Diffusion's was trained on photographs.

# %% mystnb={"image": {"alt": "Three photographs, an astronaut, a cat's face and a cup of coffee, and below them the same three: all shapes are there, and colours and textures are off, with dark strokes in the cat's fur."}, "figure": {"caption": "Photographs of 256x256 pixels (above) through the miniature's autoencoder (below). It has never seen one: shapes come back, colours and fine textures do less well.", "name": "vae-photographs"}}
image_grid(torch.cat([photo, whole]), columns=3)
plt.show()

# %% [markdown]
# ### Small memory: tiles
#
# Decoding 64x64 latents at full size takes about 1 GB beside the weights, most of it for layers at 512x512. `tiled_decode` decodes overlapping tiles and blends them. It is not the same picture: the norms' statistics, the attention, and the padding at the edges are those of a tile.

# %%
from minisd.models.tiling import tiled_decode

z = ours.mean
tiled = tiled_decode(vae, z, tile=40, overlap=12)
off = (whole - tiled).square().mean().sqrt() / whole.std()
print(
    tuple(tiled.shape), f"differs: {bool(off > 1e-3)}, by less than one deviation: {bool(off < 1)}"
)
one = tiled_decode(vae, z, tile=64)
print(f"one tile for all is the whole: {torch.allclose(one, whole, atol=1e-5)}")

# %% [markdown]
# ## What is in a latent
#
# Back to the scenes. {numref}`vae-channels` shows the four channels as grey pictures.

# %% mystnb={"image": {"alt": "Two rows of five pictures: a scene, and its four latent channels as coarse grey pictures of 16 by 16 squares, in which the outlines of the scene can be recognised."}, "figure": {"caption": "A latent is still a picture: four channels in which the scene's layout can be seen. That is why a U-Net of convolutions can work on it.", "name": "vae-channels"}}
two = fresh[1:3]
channels = latent.mean[1:3, :, None]  # [2, 4, 1, 16, 16]
channels = (channels / channels.abs().amax((-1, -2), keepdim=True)).expand(-1, -1, 3, -1, -1)
channels = channels.repeat_interleave(4, -1).repeat_interleave(4, -2)
rows = torch.cat([two[:, None], channels], dim=1).flatten(0, 1)
image_grid(rows, ["scene", *(f"channel {i}" for i in range(4)), *[""] * 5], columns=5)
plt.show()

# %% [markdown]
# How large are they? The miniature's divergence weighs more than Stable Diffusion's, and its latents have a deviation of about 1 by themselves: its scaling factor has next to nothing to do. $\sigma$ is small against that. It is not the same everywhere:
# {numref}`vae-bits` shows what the divergence {eq}`vae-kl` charges for each place, in bits.

# %%
z = latent.mean * vae.config.scaling_factor
print(f"deviation within 0.85 and 1.15: {bool(0.85 < z.std() < 1.15)}")
print(f"of each channel within 0.5 and 1.5: {all(0.5 < s < 1.5 for s in z.std((0, 2, 3)))}")
print(f"sigma, typically, below 0.1: {bool(latent.std.median() < 0.1)}")

# %% mystnb={"image": {"alt": "Six scenes, and below each a coarse map. The maps are bright where things stand and at borders of the background, and dark in the sky and on plain ground."}, "figure": {"caption": "Where the bits go: what each place of the latent costs (bright: much). The encoder is exact where things and edges are, and vague where the picture is plain.", "name": "vae-bits"}}
bits = ((latent.mean**2 + latent.std**2 - 1) / 2 - latent.std.log()).sum(1) / np.log(2)
figure, axes = plt.subplots(2, 6, figsize=(6.4, 2.3))
for picture, cost, column in zip(fresh[:6], bits[:6], axes.T, strict=True):
    column[0].imshow((picture.permute(1, 2, 0) + 1) / 2)
    shown = column[1].imshow(cost, vmin=float(bits.min()), vmax=float(bits.quantile(0.99)))
    column[0].axis("off"), column[1].axis("off")
figure.colorbar(shown, ax=axes[1], label="bits", pad=0.01)
plt.show()

# %% [markdown]
# ### Noise on latents
#
# Diffusion will add noise to latents. What does that do to the picture? Move the slider: on the left the noise is in the pixels; on the right the same share of it is in the latent, which is then decoded. A little costs a latent nothing, since the decoder was trained with noise of size $\sigma$.
# More of it is not grain but wrong strokes and colours: the decoder paints what the latent says.


# %%
def draw_noise(share):
    g = torch.Generator().manual_seed(0)
    pixels = fresh[1:5] + share * fresh.std() * torch.randn(4, 3, 64, 64, generator=g)
    noisy = z[1:5] + share * z.std() * torch.randn(4, 4, 16, 16, generator=g)
    decoded = vae.decode(noisy / vae.config.scaling_factor)
    in_pixels, in_latents = (psnr(fresh[1:5], x.clamp(-1, 1)) for x in (pixels, decoded))
    titles = ["in pixels", f"{in_pixels:.0f} dB", "", "", "in latents", f"{in_latents:.0f} dB"]
    return image_grid(torch.cat([pixels, decoded]), [*titles, "", ""])


slider(
    draw_noise,
    [0, 0.1, 0.2, 0.4, 0.8, 1.6],
    label="noise, in deviations",
    caption="Noise in the pixels (left four) and in the latents (right four), as a share of their own deviation.",
    alt="Four scenes with noise of {} deviations in their pixels, and four with it in their latents.".format,
    start=3,
)

# %% [markdown]
# ### What lies between
#
# Most points of the space are latents of no scene. Walk in a straight line from one latent to another, or draw one from $\mathcal N(0, I)$, and decode.

# %% mystnb={"image": {"alt": "Three rows of five pictures. The first goes from a lake with a boat to a beach with a bird by fading one into the other. The second does the same with somewhat other colours. The third shows coloured strokes, and nothing that one could name."}, "figure": {"caption": "Between two pictures (first row) and between their latents (second row) lies a double exposure. Random latents (third row) decode to strokes without a scene. The autoencoder knows strokes; what makes a scene of them is left to the diffusion.", "name": "vae-between"}}
m = torch.linspace(0, 1, 5)[:, None, None, None]
straight = torch.lerp(fresh[1:2], fresh[2:3], m)
between = vae.decode(torch.lerp(latent.mean[1:2], latent.mean[2:3], m))
g = torch.Generator().manual_seed(0)
chance = vae.decode(latent.mean.std() * torch.randn(5, 4, 16, 16, generator=g))
image_grid(torch.cat([straight, between, chance]), columns=5)
plt.show()

# %% [markdown]
# ## And the VQ-VAE?
#
# ```{admonition} A slip in the report
# :class: note
#
# Section 3.7 calls MindDiffuser's latent a "VQ-VAE latent representation". Stable Diffusion 1.x has no codebook: its autoencoder is the one above, with a divergence ({ref}`errata <erratum-vq-vae>`).
# ```
#
# A *VQ-VAE* {cite}`vandenoord2017neural` has a list of vectors, the *codebook*, and replaces each latent vector by the nearest entry:
#
# $$
# z_q = e_k, \qquad k = \arg\min_j \lVert z - e_j \rVert .
# $$ (vae-nearest)
#
# The arg min is a jump, through which no gradient passes. So the gradient is handed *straight through*: the encoder gets the one that the decoder sent to $z_q$.

# %%
from minisd.models.quantiser import VectorQuantiser

torch.manual_seed(0)
quantiser = VectorQuantiser(entries=6, channels=2)
quantiser.embedding.weight.data.normal_()
z = torch.randn(1, 2, 4, 4, requires_grad=True)
out = quantiser(z)
vectors = z.detach().permute(0, 2, 3, 1).reshape(-1, 2)
nearest = (vectors[:, None] - quantiser.embedding.weight).square().sum(-1).argmin(1)
print(torch.equal(out.indices.flatten(), nearest))
slope = torch.randn(out.z.shape)
(out.z * slope).sum().backward()
print(f"straight through: {torch.allclose(z.grad, slope)}")

# %% [markdown]
# Two losses move the codebook to the latents and the latents to the codebook; `sg` holds its argument constant:
#
# $$
# L = \lVert \mathrm{sg}(z) - e \rVert^2 + \beta\, \lVert z - \mathrm{sg}(e) \rVert^2, \qquad \beta = 0.25 .
# $$ (vae-commitment)

# %%
entry = quantiser.look_up(out.indices)
both = (1 + 0.25) * (entry - z).square().mean()
print(torch.allclose(out.loss, both))
out.loss.backward()
print(f"the codebook learns from it: {bool(quantiser.embedding.weight.grad.abs().sum() > 0)}")

# %% mystnb={"image": {"alt": "A plane cut into six coloured cells, each with a cross in it, the codebook's entries. Dots, the latent vectors, are joined by thin lines to the cross of their cell."}, "figure": {"caption": "A codebook of six entries cuts the plane into six cells. Every latent vector (dot) becomes its cell's entry (cross).", "name": "vae-codebook"}}
with torch.no_grad():
    side = torch.linspace(-2.5, 2.5, 120)
    plane = torch.stack(torch.meshgrid(side, side, indexing="xy"))[None]
    cells = quantiser(plane).indices[0]
    e = quantiser.embedding.weight
fig, axes = plt.subplots(figsize=(4.2, 3.8))
axes.imshow(cells, extent=(-2.5, 2.5) * 2, origin="lower", cmap="Pastel1")
for v, k in zip(vectors, nearest.tolist(), strict=True):
    axes.plot(*zip(v.tolist(), e[k].tolist(), strict=True), color="grey", lw=0.7)
axes.plot(*vectors.T, "o", markersize=4, color="black")
axes.plot(*e.detach().T, "X", markersize=10, color="C1")
axes.grid(False)
plt.show()

# %% [markdown]
# For this book the difference matters twice. Diffusion adds Gaussian noise, which wants continuous latents. And in Part V a latent is predicted from brain activity by linear regression: numbers can be, an index into a codebook cannot.
#
# ## Exercises
#
# ```{exercise} A larger patch
# :label: vae-patch
#
# Keep the factor of 48, but with patches of 16x16 pixels and 16 numbers each. Is the linear autoencoder better or worse? Why?
# ```
#
# ```{solution-start} vae-patch
# :class: dropdown
# ```
#
# Better, if only a little, on the photographs it was fitted to: a larger patch can use what neighbours have in common. Any choice of four directions in each of its four parts is also a choice of sixteen in the whole.


# %%
def errors(side, n):
    cut = []
    for x in (photos["chelsea"], photos["coffee"]):
        height, width = (length // 16 * 16 for length in x.shape[2:])
        cut.append(patches(x[..., :height, :width], side))
    x = torch.cat(cut)
    left = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)[n:].sum()
    return left / x.shape[1]


print(f"larger patches lose less: {bool(errors(16, 16) < errors(8, 4))}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The price of a latent
# :label: vae-price
#
# A latent number that tells nothing has $\mu = 0$, $\sigma = 1$ and costs no divergence. What does one cost that is drawn with $\sigma = 0.01$ from a mean of size 1? In bits?
# ```
#
# ```{solution-start} vae-price
# :class: dropdown
# ```
#
# $(1 + 0.0001 - 1)/2 - \log 0.01 = 4.6$ nats, 6.6 bits: as many as it takes to tell a hundred places apart.

# %%
one = Gaussian(torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.01)).kl().item()
print(f"{one:.1f} nats, {one / np.log(2):.1f} bits, {np.exp(one):.0f} places")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} How exact must a latent be?
# :label: vae-noise
#
# Draw the latents of the fresh scenes by {eq}`vae-draw`, as in training, and decode. By how many decibels is the picture worse than from their means? And with ten times $\sigma$?
# ```
#
# ```{solution-start} vae-noise
# :class: dropdown
# ```
#
# With $\sigma$ by next to nothing: the encoder says $\sigma$ so that the decoder does not mind. With ten times as much by several decibels.

# %%
eps = torch.randn(latent.mean.shape, generator=g)
for times in (1, 10):
    drawn = vae.decode(latent.mean + times * latent.std * eps)
    loss = psnr(fresh, back) - psnr(fresh, drawn)
    print(f"{times:2} sigma: loses less than 1 dB: {loss < 1}, more than 3 dB: {loss > 3}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# {cite:t}`kingma2014auto` introduced the variational autoencoder, {cite:t}`vandenoord2017neural` the one with a codebook. {cite:t}`rombach2022high` compare both as the first stage of diffusion, with factors from 1 to 32: with 1 and 2, training is slow, with 32 too much is lost, and 4 to 16 are good. MindDiffuser {cite}`lu2023minddiffuser` and
# Takagi and Nishimoto {cite}`takagi2023high` predict Stable Diffusion's latent from fMRI.
#
# ## The way on
#
# A picture is a latent now. {doc}`clip` does the same for the text.
