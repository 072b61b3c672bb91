"""The pipeline against diffusers, from the seeds on; what it refuses; what it promises on batches, masks and dtypes."""

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from minisd.diffusion import SAMPLERS, sample
from minisd.models.optimize import optimize_for_inference
from minisd.models.tiling import tiled_decode
from minisd.pipeline import StableDiffusion
from tests.tiny_diffusion import save_tiny

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()

PEERS = {
    "plms": "PNDMScheduler",
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
}
TASKS = {
    "text": diffusers.StableDiffusionPipeline,
    "image": diffusers.StableDiffusionImg2ImgPipeline,
    "inpaint": diffusers.StableDiffusionInpaintPipeline,
}
RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(RNG.integers(0, 256, (72, 56, 3), dtype=np.uint8))
MASK = Image.new("L", PHOTO.size)
MASK.paste(255, (10, 20, 41, 51))
THIN = Image.new("L", PHOTO.size)
THIN.paste(255, (0, 1, 56, 7))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    kinds = {"4": {}, "9": {"in_channels": 9}, "v": {"prediction_type": "v_prediction"}}
    return {name: save_tiny(root / name, **kind) for name, kind in kinds.items()}


@pytest.fixture(scope="module")
def loaded(folders):
    return {name: StableDiffusion.from_pretrained(f, device="cpu") for name, f in folders.items()}


@pytest.fixture
def sd(loaded):
    return loaded["4"]


@pytest.fixture(scope="module")
def parts(folders):
    return {
        name: TASKS["text"].from_pretrained(f, safety_checker=None).components
        for name, f in folders.items()
    }


@pytest.fixture
def peer(parts):
    """diffusers' latents after 10 steps, for a task, a checkpoint, a sampler and a list of seeds."""

    def run(task, checkpoint, sampler, seeds, **settings):
        own = {k: v for k, v in parts[checkpoint].items() if k != "image_encoder"}
        scheduler = getattr(diffusers, PEERS[sampler]).from_config(own["scheduler"].config)
        pipe = TASKS[task](**own | {"scheduler": scheduler}, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
        generator = [torch.Generator().manual_seed(seed) for seed in seeds]
        common = {"num_inference_steps": 10, "guidance_scale": 8.0, "output_type": "latent"}
        latents = pipe(generator=generator, **common | settings).images
        assert latents.std() > 0.1
        return latents

    return run


OURS = {"steps": 10, "output": "latent", "progress": False}


def error(a, b):
    assert a.shape == b.shape
    return ((a - b).abs().max() / b.abs().max()).item()


# ---- parity with diffusers, from the seeds on ---------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_text_to_image_is_diffusers(sd, peer, sampler):
    prompts, negative = ["a cat in a hat", "dog"], ["blue", ""]
    expected = peer(
        "text", "4", sampler, [3, 4], prompt=prompts, negative_prompt=negative, height=72, width=56
    )
    given = None if sampler == "plms" else sampler  # the checkpoint's own
    z = sd.text_to_image(
        prompts, negative_prompt=negative, seed=3, sampler=given, height=72, width=56, **OURS
    )
    assert error(z, expected) < 1e-4


def test_text_to_image_is_diffusers_by_default_size_and_without_guidance(sd, peer):
    expected = peer("text", "4", "ddim", [5], prompt="cat", guidance_scale=1.0)
    z = sd.text_to_image("cat", seed=5, sampler="ddim", guidance_scale=1, **OURS)
    assert error(z, expected) < 1e-4
    guided = sd.text_to_image("cat", seed=5, sampler="ddim", **OURS)
    assert error(guided, expected) > 1e-2


def test_ddim_with_noise_is_diffusers(sd, peer):
    expected = peer("image", "4", "ddim", [5], prompt="cat", image=PHOTO, strength=0.7, eta=0.6)
    z = sd.image_to_image("cat", PHOTO, seed=5, sampler="ddim", eta=0.6, **OURS)
    assert error(z, expected) < 1e-4


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
def test_v_prediction_is_diffusers(loaded, peer, sampler):
    expected = peer("text", "v", sampler, [1], prompt="cat")
    assert error(loaded["v"].text_to_image("cat", seed=1, sampler=sampler, **OURS), expected) < 1e-4


# diffusers walks its plms out of step here: see below
@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s != "plms"])
def test_image_to_image_is_diffusers(sd, peer, sampler):
    prompts = ["a cat in a hat", "dog"]
    expected = peer("image", "4", sampler, [3, 4], prompt=prompts, image=[PHOTO] * 2, strength=0.5)
    z = sd.image_to_image(prompts, PHOTO, seed=3, sampler=sampler, strength=0.5, **OURS)
    assert error(z, expected) < 1e-4


# diffusers blends in the middle of a step of plms and of heun
@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s not in ("plms", "heun")])
@pytest.mark.parametrize("strength", [0.7, 1.0])
def test_inpainting_is_diffusers(sd, peer, sampler, strength):
    settings = {"height": 72, "width": 56, "strength": strength}
    expected = peer(
        "inpaint", "4", sampler, [3], prompt="a cat", image=PHOTO, mask_image=MASK, **settings
    )
    z = sd.inpaint("a cat", PHOTO, MASK, strength=strength, seed=3, sampler=sampler, **OURS)
    assert error(z, expected) < 1e-4


@pytest.mark.parametrize(
    ("sampler", "strength"), [("ddim", 0.7), ("ddim", 1.0), ("plms", 1.0), ("euler_ancestral", 0.7)]
)
def test_inpainting_with_its_own_unet_is_diffusers(loaded, peer, sampler, strength):
    images = torch.from_numpy(np.array(PHOTO)).permute(2, 0, 1)[None].repeat(2, 1, 1, 1) / 255
    images[1] = images[1].flip(-1)
    masks = torch.from_numpy(np.array(MASK) / 255)[None, None].float().repeat(2, 1, 1, 1)
    settings = {"height": 72, "width": 56, "strength": strength}
    expected = peer(
        "inpaint", "9", sampler, [3, 4],
        prompt=["a cat", "a dog"], image=images, mask_image=masks, **settings,
    )  # fmt: skip
    z = loaded["9"].inpaint(
        ["a cat", "a dog"], images * 2 - 1, MASK,
        strength=strength, seed=3, sampler=sampler, **OURS,
    )  # fmt: skip
    assert error(z, expected) < 1e-4


# ---- image to image -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "strength"), [(1, 1.0), (2, 0.5), (3, 0.4), (3, 0.7), (7, 0.3), (10, 0.9)]
)
def test_plms_walks_the_last_times_of_its_grid(sd, steps, strength):
    walked, seen = int(steps * strength), []
    z = torch.zeros(1, 4, 9, 7)
    settings = OURS | {"steps": steps, "callback": seen.append}
    sd.image_to_image("cat", z, strength=strength, **settings)
    grid = sd.scheduler.schedule.times(steps, "leading", 1).tolist()[-walked:]
    assert [step.t for step in seen] == grid
    assert [step.t_next for step in seen] == [*grid[1:], 0]
    assert [step.index for step in seen] == list(range(walked))


def test_image_to_image_begins_with_the_noised_picture(sd):
    """By hand: noise the latents to the first time, then sample from there."""
    z = sd.encode_image(torch.rand(1, 3, 72, 56) * 2 - 1).detach()
    schedule = sd.scheduler.schedule
    eps = torch.randn(1, 4, 9, 7, generator=torch.Generator().manual_seed(6))
    times = schedule.times(10, "leading", 1)[-4:]
    denoise = sd.denoiser(sd.encode_text("cat"), sd.encode_text(""), 8.0)
    with torch.no_grad():
        x = schedule.q_sample(z, float(times[0]), eps)
        expected = sample(denoise, x, schedule, sampler="plms", times=times, final=0.0)
    assert error(sd.image_to_image("cat", z, strength=0.4, seed=6, **OURS), expected) < 1e-5


def test_strength_is_not_lost_to_rounding(sd):
    seen = []
    settings = OURS | {"steps": 100, "callback": seen.append, "guidance_scale": 1}
    sd.image_to_image("cat", torch.zeros(1, 4, 2, 2), strength=0.29, **settings)
    assert len(seen) == 29


def test_strength_1_knows_nothing_of_the_picture(sd):
    z = sd.image_to_image("cat", PHOTO, strength=1.0, seed=2, **OURS)
    assert torch.equal(z, sd.text_to_image("cat", height=72, width=56, seed=2, **OURS))


def test_pictures_for_each_prompt_or_one_for_all(sd):
    one = sd.image_to_image("cat", PHOTO, seed=7, **OURS)
    two = sd.image_to_image("cat", [PHOTO, PHOTO.rotate(180)], seed=7, **OURS)
    assert error(two[:1], one) < 1e-5
    assert error(two[1:], one) > 1e-2
    batch = torch.cat([sd.encode_image(x) for x in torch.rand(2, 1, 3, 64, 64)]).detach()
    assert sd.image_to_image("cat", batch, **OURS).shape == (2, 4, 8, 8)


def test_a_picture_of_an_odd_size_comes_back_a_little_smaller(sd):
    odd = Image.fromarray(RNG.integers(0, 256, (75, 63), dtype=np.uint8))
    [image] = sd.image_to_image("cat", odd, steps=2, progress=False)
    assert image.size == (56, 72)
    assert image.mode == "RGB"


# ---- inpainting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint", ["4", "9"])
@pytest.mark.parametrize("output", ["pil", "tensor"])
def test_what_is_not_masked_stays_to_the_pixel(loaded, checkpoint, output):
    settings = {"steps": 3, "progress": False, "output": output, "images_per_prompt": 2}
    made = loaded[checkpoint].inpaint("a cat", PHOTO, MASK, **settings)
    if output == "tensor":
        made = ((made + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
    kept = np.array(MASK) == 0
    for image in made:
        assert np.array_equal(np.array(image)[kept], np.array(PHOTO)[kept])
        assert (np.array(image)[~kept] != np.array(PHOTO)[~kept]).mean() > 0.9


def test_a_mask_for_each_picture(sd):
    left = np.zeros((72, 56), bool)
    left[:, :16] = True
    settings = {"steps": 2, "progress": False}
    made = sd.inpaint("cat", [PHOTO, PHOTO], [left, left[:, ::-1]], **settings)
    changed = [(np.array(image) != np.array(PHOTO)).any(axis=(0, 2)) for image in made]
    assert np.flatnonzero(changed[0]).max() == 15
    assert np.flatnonzero(changed[1]).min() == 40


def test_a_unet_for_inpainting_is_for_nothing_else(loaded):
    with pytest.raises(ValueError, match="unet is one for inpainting"):
        loaded["9"].text_to_image("cat")
    with pytest.raises(ValueError, match="unet is one for inpainting"):
        loaded["9"].image_to_image("cat", PHOTO)


# ---- seeds, batches, texts ----------------------------------------------------------------------


def test_a_seed_makes_its_picture_in_any_batch(sd):
    settings = OURS | {"sampler": "euler_ancestral", "height": 64, "width": 48}
    three = sd.text_to_image(["cat", "dog", "hat"], seed=5, **settings)
    for size in (1, 2):
        again = sd.text_to_image(["cat", "dog", "hat"], seed=5, batch_size=size, **settings)
        assert error(again, three) < 1e-5
    assert error(sd.text_to_image("hat", seed=7, **settings), three[2:]) < 1e-5
    listed = sd.text_to_image(["cat", "dog", "hat"], seed=[7, 6, 5], **settings)
    assert error(listed[1:2], three[1:2]) < 1e-5
    assert error(listed[:1], three[:1]) > 1e-2


def test_the_pictures_of_a_prompt_follow_each_other(sd):
    four = sd.text_to_image(["cat", "dog"], seed=1, images_per_prompt=2, batch_size=3, **OURS)
    for i, (prompt, seed) in enumerate([("cat", 1), ("cat", 2), ("dog", 3), ("dog", 4)]):
        assert error(sd.text_to_image(prompt, seed=seed, **OURS), four[i : i + 1]) < 1e-5


def test_embeddings_stand_for_their_text(sd):
    c = sd.encode_text(["cat", "dog"])
    assert c.shape == (2, 77, 24)
    z = sd.text_to_image(["cat", "dog"], negative_prompt="hat", **OURS)
    again = sd.text_to_image(c, negative_prompt=sd.encode_text("hat"), **OURS)
    assert torch.equal(z, again)


def test_without_guidance_the_unet_sees_half_as_much(sd, monkeypatch):
    sizes, forward = [], sd.unet.forward
    monkeypatch.setattr(
        sd.unet, "forward", lambda x, *rest: sizes.append(len(x)) or forward(x, *rest)
    )
    sd.text_to_image(["cat", "dog"], guidance_scale=1, **OURS | {"steps": 1})
    sd.text_to_image(["cat", "dog"], guidance_scale=3, **OURS | {"steps": 1})
    assert sizes == [2, 4]


# ---- callback, output, progress -----------------------------------------------------------------


def test_the_callback_sees_each_step_and_may_change_it(sd):
    seen = []

    def callback(step):
        seen.append((step.index, step.total, len(step.x_t)))
        if step.index == 1:
            step.x_t = torch.zeros_like(step.x_t)

    settings = OURS | {"steps": 2, "sampler": "ddim", "batch_size": 2}
    z = sd.text_to_image(["cat", "dog", "hat"], callback=callback, **settings)
    assert seen == [(0, 2, 2), (1, 2, 2), (0, 2, 1), (1, 2, 1)]
    assert not z.any()


def test_outputs_are_one_picture(sd):
    settings = {"steps": 2, "progress": False, "height": 48, "width": 72}
    z = sd.text_to_image("cat", output="latent", **settings)
    x = sd.text_to_image("cat", output="tensor", **settings)
    [image] = sd.text_to_image("cat", **settings)
    assert z.shape == (1, 4, 6, 9)
    assert torch.equal(sd.decode(z).clamp(-1, 1), x)
    assert x.abs().max() == 1  # random weights go beyond: it was cut
    assert image.size == (72, 48)
    assert (
        torch.from_numpy(np.array(image)) / 127.5 - 1 - x[0].permute(1, 2, 0)
    ).abs().max() < 4e-3


def test_no_bar_is_shown_for_what_is_quick(sd, capfd):
    sd.text_to_image("cat", steps=2)
    assert capfd.readouterr() == ("", "")


# ---- the pieces, dtypes, memory -----------------------------------------------------------------


def test_gradients_run_through_every_piece(sd):
    x = (torch.rand(1, 3, 16, 16) * 2 - 1).requires_grad_()
    c = sd.encode_text("cat").detach().requires_grad_()
    z = sd.encode_image(x, noise=torch.randn(1, 4, 2, 2))
    eps = sd.denoiser(c, sd.encode_text(""), 3.0)(z, torch.tensor([500.0]))
    sd.decode(z - eps).sum().backward()
    for leaf in (x, c):
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().max() > 0


def test_the_tasks_leave_no_graph(sd):
    c = sd.encode_text("cat").detach().requires_grad_()
    assert not sd.text_to_image(c, output="tensor", steps=1, progress=False).requires_grad


def test_an_encoded_picture_is_the_mean_or_a_sample(sd):
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        latent = sd.vae.encode(x)
        noise = torch.randn(1, 4, 2, 2)
        assert torch.allclose(sd.encode_image(x), latent.mean * 0.18215)
        assert torch.allclose(sd.encode_image(x, noise), latent.sample(noise) * 0.18215)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(sd, folders, dtype):
    half = StableDiffusion.from_pretrained(folders["4"], device="cpu", dtype=dtype)
    assert half.dtype == getattr(torch, dtype)
    assert half.vae.post_quant_conv.weight.dtype == half.dtype
    settings = {"strength": 0.5, "steps": 4, "progress": False, "output": "tensor"}
    x = half.inpaint("cat", PHOTO, MASK, **settings)
    assert x.dtype == torch.float32
    close = (x - sd.inpaint("cat", PHOTO, MASK, **settings)).abs().mean()
    assert 0 < close < 0.1


def test_a_decoder_that_overflows_in_half_precision_runs_again_in_full(folders):
    half = StableDiffusion.from_pretrained(folders["4"], device="cpu", dtype=torch.float16)
    full = StableDiffusion.from_pretrained(folders["4"], device="cpu")
    for pipeline in (half, full):
        torch.nn.init.constant_(pipeline.vae.decoder.conv_in.bias, 7e4 if pipeline is full else 6e4)
        pipeline.vae.decoder.mid_block.resnets[0].conv1.weight.data *= 0
    torch.nn.init.constant_(full.vae.decoder.conv_in.bias, float(torch.tensor(6e4).half()))
    z = torch.randn(1, 4, 2, 2)
    with torch.no_grad():
        half.vae.decoder.mid_block.resnets[0].conv2.bias += 6e4
        full.vae.decoder.mid_block.resnets[0].conv2.bias += 6e4
        assert not half.vae.decode(z.half() / 0.18215).isfinite().all()
        x = half.decode(z)
        assert x.isfinite().all()
        assert (x - full.decode(z)).abs().max() < 0.05 * x.abs().max()


def test_a_unet_made_ready_for_sampling_makes_the_same_pictures(folders, sd):
    fast = StableDiffusion.from_pretrained(folders["4"], device="cpu")
    fast.unet = optimize_for_inference(fast.unet)
    prompts = ["cat", "dog", "hat"]
    expected = sd.text_to_image(prompts, **OURS)
    assert error(fast.text_to_image(prompts, batch_size=2, **OURS), expected) < 1e-4


def test_small_memory(folders, sd):
    small = StableDiffusion.from_pretrained(folders["4"], device="cpu")
    small.reduce_memory()
    settings = OURS | {"steps": 1, "height": 576, "width": 16}
    z = small.text_to_image("cat", **settings)
    assert error(z, sd.text_to_image("cat", **settings)) < 1e-5
    with torch.no_grad():
        tiles = tiled_decode(small.vae, z / small.vae.config.scaling_factor)
        assert torch.equal(small.decode(z), tiles)
        assert not torch.equal(sd.decode(z), tiles)
    chunks = [m.query_chunk for m in small.unet.modules() if hasattr(m, "query_chunk")]
    assert set(chunks) == {1024}


# ---- what is refused, before anything runs ------------------------------------------------------

NAN = torch.full((3, 16, 16), torch.nan)


@pytest.mark.parametrize(
    ("task", "arguments", "words"),
    [
        ("text", {"prompt": 7}, "prompt is a int; it must be a string"),
        ("text", {"prompt": None}, "prompt is a NoneType"),
        ("text", {"prompt": []}, "prompt is an empty list"),
        ("text", {"prompt": ["cat", 7]}, r"prompt\[1\] is a int"),
        ("text", {"prompt": torch.zeros(1, 77, 8)}, r"must be \[B, M, 24\]"),
        ("text", {"prompt": torch.full((1, 77, 24), torch.nan)}, "prompt has embeddings that are NaN"),
        ("text", {"negative_prompt": 7}, "negative_prompt is a int"),
        ("text", {"negative_prompt": ["a", "b"]}, "negative_prompt has length 2; it must be 1"),
        ("text", {"prompt": ["a"] * 3, "negative_prompt": ["a"] * 2}, "length 2; it must be 1 or 3"),
        ("text", {"height": 500}, "height is 500; it must be a multiple of 8, such as 496 or 504"),
        ("text", {"width": 7}, "width is 7"),
        ("text", {"steps": 0}, "steps is 0"),
        ("text", {"steps": 2.5}, "steps is 2.5"),
        ("text", {"steps": 1001}, "steps is 1001; it must be whole, 1 to 1000"),
        ("text", {"guidance_scale": float("inf")}, "guidance_scale is inf"),
        ("text", {"guidance_scale": "8"}, "guidance_scale is '8'"),
        ("text", {"sampler": "dpm"}, "sampler is 'dpm'; it must be one of"),
        ("text", {"seed": [1, 2]}, "seed has 2 numbers to 1 pictures"),
        ("text", {"seed": -1}, "seed is -1"),
        ("text", {"seed": 2**63}, "under 2"),
        ("text", {"seed": 0.5}, "seed is 0.5"),
        ("text", {"images_per_prompt": 0}, "images_per_prompt is 0"),
        ("text", {"batch_size": 0}, "batch_size is 0"),
        ("text", {"output": "np"}, "output is 'np'"),
        ("text", {"callback": 3}, "callback is 3"),
        ("text", {"eta": 0.5}, "eta is no option of 'plms'"),
        ("text", {"stpes": 5}, "stpes is no option of 'plms'.*'steps'"),
        ("text", {"sampler": "ddim", "eta": 2}, "eta is 2"),
        ("image", {"strength": 0}, "strength is 0; it must be above 0, and 1 at most"),
        ("image", {"strength": 1.1}, "strength is 1.1"),
        ("image", {"strength": float("nan")}, "strength is nan"),
        ("image", {"strength": 0.1, "steps": 9}, "strength 0.1 of 9 steps is less than one step"),
        ("image", {"image": NAN}, "NaN"),
        ("image", {"image": torch.full((1, 4, 2, 2), torch.nan)}, "latents; they must be finite"),
        ("image", {"image": []}, "image is an empty list"),
        ("image", {"image": [PHOTO, PHOTO.rotate(90, expand=True)]}, "56x72 and 72x56"),
        ("image", {"image": [PHOTO] * 3, "prompt": ["a", "b"]}, "prompt has length 2"),
        ("image", {"height": 70}, "height is 70"),
        ("inpaint", {"mask": MASK.resize((56, 64))}, "mask is 56x64 pixels; .* 56x72"),
        ("inpaint", {"mask": [MASK, MASK]}, "mask has 2 masks to 1 pictures"),
        ("inpaint", {"mask": Image.new("L", PHOTO.size)}, "no white"),
        ("inpaint", {"mask": THIN}, "mask has nothing left to repaint at the latent's size, 1/8"),
        ("inpaint", {"image": torch.zeros(1, 4, 9, 7)}, "shape"),
        ("inpaint", {"strength": 0}, "strength is 0"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_runs(sd, monkeypatch, task, arguments, words):
    def never(*_, **__):
        raise AssertionError("a network ran")

    for network in (sd.unet, sd.text_encoder, sd.vae.encoder, sd.vae.decoder):
        monkeypatch.setattr(network, "forward", never)
    given = {"prompt": "cat"}
    given |= {"image": PHOTO} if task != "text" else {}
    given |= {"mask": MASK} if task == "inpaint" else {}
    call = {"text": sd.text_to_image, "image": sd.image_to_image, "inpaint": sd.inpaint}[task]
    with pytest.raises(ValueError, match=words):
        call(**given | arguments)


def test_embeddings_of_another_length_than_the_negative_text(sd):
    with pytest.raises(ValueError, match="negative_prompt has 77 tokens to 5"):
        sd.text_to_image(torch.zeros(1, 5, 24), **OURS)


def test_guidance_needs_something_to_lead_away_from(sd):
    with pytest.raises(ValueError, match="unconditional is None"):
        sd.denoiser(torch.zeros(1, 77, 24), guidance_scale=3.0)


def test_nan_from_the_unet_is_no_picture(sd, monkeypatch):
    monkeypatch.setattr(sd.unet, "forward", lambda x, t, c: torch.full_like(x, torch.nan))
    with pytest.raises(FloatingPointError, match="came out of the U-Net"):
        sd.text_to_image("cat", steps=1, progress=False)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"device": "gpu"}, "device is 'gpu'; it must be one of"),
        ({"device": "meta"}, "device is 'meta'"),
        ({"dtype": "int8"}, "dtype is 'int8'; it must be one of"),
        ({"dtype": torch.float64}, "dtype is torch.float64"),
    ],
)
def test_device_and_dtype_are_looked_at_before_loading(wrong, words):
    with pytest.raises(ValueError, match=words):
        StableDiffusion.from_pretrained("a folder that is not there", **wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_here():
    with pytest.raises(ValueError, match="PyTorch finds none on this machine"):
        StableDiffusion.from_pretrained("a folder that is not there", device="cuda")


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ("vae.decoder.conv_out.weight", r"vae\.decoder hold NaN or infinity: conv_out\.weight"),
        ("unet.conv_in.bias", r"unet hold NaN or infinity: conv_in\.bias"),
        (
            "text_encoder.text_model.final_layer_norm.weight",
            r"text_encoder hold NaN or infinity: text_model\.final_layer_norm\.weight",
        ),
    ],
)
def test_spoilt_weights_are_found_before_the_first_picture(folders, weight, words):
    spoilt = StableDiffusion.from_pretrained(folders["4"], device="cpu")
    part, name = weight.split(".", 1)
    with torch.no_grad():
        getattr(spoilt, part).get_parameter(name).view(-1)[0] = torch.nan
    seen = []
    for _ in range(2):
        with pytest.raises(ValueError, match=words):
            spoilt.text_to_image("cat", steps=1, callback=seen.append, progress=False)
    assert seen == []


def test_a_spoilt_encoder_is_found_where_there_is_a_picture(folders):
    spoilt = StableDiffusion.from_pretrained(folders["4"], device="cpu")
    with torch.no_grad():
        spoilt.vae.encoder.conv_in.weight[0, 0, 0, 0] = torch.inf
    spoilt.text_to_image("cat", steps=1, progress=False)
    with pytest.raises(ValueError, match=r"vae\.encoder hold NaN or infinity: conv_in\.weight"):
        spoilt.image_to_image("cat", PHOTO, steps=1, strength=1, progress=False)


def test_the_optimized_unet_takes_the_place_of_the_unet(folders, sd):
    fast = StableDiffusion.from_pretrained(folders["4"], device="cpu")
    fast.unet = optimize_for_inference(fast.unet)
    settings = {"seed": 3, "images_per_prompt": 3, "batch_size": 2, **OURS}
    expected = sd.text_to_image(["cat", "dog"], **settings)
    assert error(fast.text_to_image(["cat", "dog"], **settings), expected) < 1e-4


def test_parts_that_do_not_fit(sd):
    settings = {"beta_schedule": "scaled_linear", "beta_start": 1e-4, "beta_end": 0.02}
    small = type(sd.vae)(type(sd.vae.config)(block_out_channels=(32, 32), latent_channels=3))
    with pytest.raises(ValueError, match="unet has 4 input channels; to latents of 3 channels"):
        StableDiffusion(sd.tokenizer, sd.text_encoder, sd.unet, small, settings)
    wide = type(sd.unet)(type(sd.unet.config)(block_out_channels=(32,) * 4, cross_attention_dim=32))
    with pytest.raises(ValueError, match="text_encoder gives text of width 24; unet takes 32"):
        StableDiffusion(sd.tokenizer, sd.text_encoder, wide, sd.vae, settings)
