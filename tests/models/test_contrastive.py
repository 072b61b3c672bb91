"""CLIP whole against transformers, and its pictures against Pillow."""

import math

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from minisd.models.clip import CLIPTextConfig, CLIPVisionConfig
from minisd.models.contrastive import CLIP, STD, contrastive_loss, preprocess, similarity

SIZES = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2}
TEXT = SIZES | {"vocab_size": 60, "num_attention_heads": 3, "eos_token_id": 59}
VISION = SIZES | {"image_size": 20, "patch_size": 5, "num_attention_heads": 4, "hidden_size": 32}


def randomise(module, seed=0):
    """Give every weight, norm and bias a value of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            spread = p[0].numel() ** -0.5 if p.ndim > 1 else 0.2
            p.copy_(torch.randn(p.shape, generator=generator) * spread)
            if "norm" in name and name.endswith("weight"):
                p.add_(1)
    return module.eval()


@pytest.fixture(scope="module")
def pair():
    """transformers' model and ours, with the same random weights, from what transformers would save."""
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
    theirs = randomise(transformers.CLIPModel(config))
    theirs.logit_scale.data.fill_(2.5)
    ours = CLIP.from_json(theirs.config.to_dict())
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours.eval()


@pytest.fixture
def inputs():
    """Four texts of different length, and four pictures."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.full((4, 77), 59)
    for row, length in zip(ids, (1, 4, 20, 76), strict=True):
        row[:length] = torch.randint(59, (length,), generator=generator)
    return ids, torch.randn(4, 3, 20, 20, generator=generator)


def error(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


@torch.no_grad()
def test_embeddings_logits_and_loss_are_transformers(pair, inputs):
    theirs, ours = pair
    ids, pixels = inputs
    expected = theirs(ids, pixels, return_loss=True)
    images, texts = ours.encode_image(pixels), ours.encode_text(ids)
    assert error(images, theirs.get_image_features(pixels).pooler_output) < 1e-5
    assert error(texts, theirs.get_text_features(ids).pooler_output) < 1e-5
    logits = similarity(images, texts, ours.logit_scale)
    assert expected.logits_per_image.std() > 0.1
    assert error(logits, expected.logits_per_image) < 1e-5
    assert error(logits.T, expected.logits_per_image) > 1e-2
    loss = contrastive_loss(images, texts, ours.logit_scale)
    assert error(loss, expected.loss) < 1e-5
    assert error(contrastive_loss(images.roll(1, 0), texts, ours.logit_scale), expected.loss) > 1e-3


@torch.no_grad()
def test_texts_and_pictures_need_not_be_as_many(pair, inputs):
    theirs, ours = pair
    ids, pixels = inputs
    logits = similarity(ours.encode_image(pixels[:3]), ours.encode_text(ids), ours.logit_scale)
    assert logits.shape == (3, 4)
    assert error(logits, theirs(ids, pixels[:3]).logits_per_image) < 1e-5


def test_loss_of_embeddings_that_say_nothing_is_ln_of_the_batch_and_of_perfect_ones_none():
    nothing, scale = torch.ones(8, 5), torch.tensor(100.0).log()
    assert contrastive_loss(nothing, nothing, scale).item() == pytest.approx(math.log(8))
    assert contrastive_loss(3 * torch.eye(8), torch.eye(8), scale).item() < 1e-6


def test_gradients_reach_both_towers_and_the_scale(pair, inputs):
    theirs, ours = pair
    ids, pixels = inputs
    for model in (theirs, ours):
        model.zero_grad()
    theirs(ids, pixels, return_loss=True).loss.backward()
    contrastive_loss(ours.encode_image(pixels), ours.encode_text(ids), ours.logit_scale).backward()
    expected = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        # keys shift every score of a query alike, so their bias has no gradient but rounding
        if not name.endswith("k_proj.bias"):
            assert error(p.grad, expected[name].grad) < 1e-4, name


def test_the_full_vit_l_14_has_transformers_keys_shapes_and_parameters():
    config = {
        "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        "vision_config": {
            "patch_size": 14, "hidden_size": 1024, "intermediate_size": 4096,
            "num_hidden_layers": 24, "num_attention_heads": 16,
        },
        "projection_dim": 768,
    }  # fmt: skip
    with torch.device("meta"):
        ours = CLIP(CLIPTextConfig(), CLIPVisionConfig(), 768).state_dict()
        read = CLIP.from_json(config).state_dict()
        theirs = transformers.CLIPModel(transformers.CLIPConfig(**config)).state_dict()
    expected = {key: value.shape for key, value in theirs.items()}
    assert {key: value.shape for key, value in ours.items()} == expected
    assert {key: value.shape for key, value in read.items()} == expected
    assert len(ours) == 590
    assert sum(value.numel() for value in ours.values()) == 427_616_513


def test_scale_starts_at_the_papers_temperature(pair):
    _, ours = pair
    fresh = CLIP(ours.text_model.config, ours.vision_model.config, 4)
    assert fresh.logit_scale.exp().item() == pytest.approx(1 / 0.07)


def test_of_two_settings_of_a_tower_the_one_that_transformers_takes_counts():
    told = {
        "text_config": TEXT | {"hidden_size": 36},
        "text_config_dict": TEXT | {"num_hidden_layers": 1},
        "vision_config": VISION,
        "vision_config_dict": None,
    }
    ours = CLIP.from_json(told)
    theirs = transformers.CLIPConfig(**told)  # which changes what it is given
    assert ours.text_projection.out_features == theirs.projection_dim
    config, expected = ours.text_model.config, theirs.text_config
    for name in CLIPTextConfig.__dataclass_fields__:
        assert getattr(config, name) == getattr(expected, name)
    assert (config.hidden_size, config.num_hidden_layers) == (24, 1)


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
def test_a_tower_that_is_not_told_is_refused(part):
    settings = {"text_config": TEXT, "vision_config": VISION}
    del settings[part]
    with pytest.raises(ValueError, match=f"{part} is missing in the settings of a CLIP"):
        CLIP.from_json(settings)


@pytest.mark.parametrize(
    ("images", "texts"), [((2, 4), (3, 4)), ((2, 4), (2, 5)), ((4,), (4,)), ((2, 1, 4), (2, 1, 4))]
)
def test_embeddings_that_do_not_pair_are_refused(images, texts):
    with pytest.raises(ValueError, match="image_embeddings"):
        contrastive_loss(torch.ones(images), torch.ones(texts), torch.tensor(1.0))


def grey_levels(ours, theirs):
    """How far two preprocessed pictures are apart, in grey levels of 255."""
    return (ours - theirs).abs() * torch.tensor(STD)[:, None, None] * 255


def of_pixels(pixels):
    """Bytes [H, W, 3] as a picture [1, 3, H, W] in [-1, 1]."""
    return torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1


@settings(max_examples=25, deadline=None)
@given(
    # Pillow 13 begins with the height where a picture more than twice as tall as wide is made smaller
    height_width=st.tuples(st.integers(20, 120), st.integers(20, 120)).filter(
        lambda size: size[0] <= 2 * size[1]
    ),
    size=st.sampled_from([20, 33, 64]),
    seed=st.integers(0, 99),
)
def test_preprocess_is_transformers_but_for_its_rounding_to_bytes(height_width, size, seed):
    # noise is the worst there is: a picture of it overshoots black and white everywhere
    pixels = np.random.default_rng(seed).integers(0, 256, (*height_width, 3), dtype=np.uint8)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    )
    theirs = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    ours = preprocess(of_pixels(pixels), size)
    assert ours.shape == theirs.shape == (1, 3, size, size)
    difference = grey_levels(ours, theirs)
    assert difference.max() < 1.2
    assert difference.mean() < 0.4


def test_a_picture_of_the_right_size_is_normalised_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    theirs = CLIPImageProcessorPil()(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    assert error(preprocess(of_pixels(pixels)), theirs) < 1e-6


def test_what_lies_outside_is_clipped():
    images = torch.rand(1, 3, 30, 40) * 2 - 1
    images[:, :, 10:20] *= 5
    assert torch.equal(preprocess(images, 20), preprocess(images.clamp(-1, 1), 20))


def test_gradients_pass_through_the_preprocessing_and_the_tower(pair):
    _, ours = pair
    tower = CLIP(ours.text_model.config, ours.vision_model.config, 16).double()
    tower.load_state_dict(ours.state_dict())
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(1, 3, 50, 37, generator=generator, dtype=torch.float64) * 0.8 - 0.4
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    loss = lambda x: tower.encode_image(preprocess(x, 20))[:, 0].sum()  # noqa: E731
    x.requires_grad_()
    loss(x).backward()
    with torch.no_grad():
        difference = (loss(x + 1e-5 * direction) - loss(x - 1e-5 * direction)) / 2e-5
    assert abs(difference) > 1e-3
    assert (x.grad * direction).sum().item() == pytest.approx(difference.item(), rel=1e-6)


@pytest.mark.parametrize("shape", [(3, 30, 30), (1, 4, 30, 30), (1, 3, 0, 30), (0, 3, 30, 30)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(ValueError, match=r"images has shape .*; it must be \[B, 3, H, W\]"):
        preprocess(torch.zeros(shape))
