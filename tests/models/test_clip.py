"""CLIP's towers against transformers, on random weights."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from minisd.models.clip import (
    CLIPImageEncoder,
    CLIPTextConfig,
    CLIPTextEncoder,
    CLIPVisionConfig,
)

START, END = 97, 98
TEXT = {
    "vocab_size": 99,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "bos_token_id": START,
    "eos_token_id": END,
}
# ViT-B/32 and L/14 in small: 7 x 7 patches, and 16 x 16 in a deeper one
B32 = {
    "image_size": 56,
    "patch_size": 8,
    "hidden_size": 48,
    "intermediate_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
L14 = B32 | {
    "image_size": 48,
    "patch_size": 3,
    "hidden_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
}


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


def text_pair(**changes):
    """transformers' text encoder and ours, with the same random weights."""
    theirs = randomise(transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT | changes)))
    ours = CLIPTextEncoder(CLIPTextConfig.from_json(theirs.config.to_dict()))
    # transformers has left the name of the tower out since 5.6; the checkpoints have it
    ours.load_state_dict({f"text_model.{key}": v for key, v in theirs.state_dict().items()})
    return theirs, ours.eval()


def image_pair(**changes):
    """transformers' image encoder and ours, with the same random weights."""
    config = transformers.CLIPVisionConfig(**B32 | changes)
    theirs = randomise(transformers.CLIPVisionModel(config))
    ours = CLIPImageEncoder(CLIPVisionConfig.from_json(theirs.config.to_dict()))
    ours.load_state_dict({f"vision_model.{key}": v for key, v in theirs.state_dict().items()})
    return theirs, ours.eval()


def prompts(lengths, width=77, seed=0):
    """Random texts of these lengths between start and end token, padded with the end token."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((len(lengths), width), END)
    ids[:, 0] = START
    for row, length in zip(ids, lengths, strict=True):
        row[1 : 1 + length] = torch.randint(START, (length,), generator=generator)
    return ids


def error(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def assert_same(ours, theirs, layers):
    """Every layer, the last state and the pooled one, to 1e-5."""
    assert len(theirs.hidden_states) == layers + 1
    assert list(ours.hidden_states) == list(range(layers + 1))
    for i, expected in enumerate(theirs.hidden_states):
        assert expected.std() > 0.1
        assert error(ours.hidden_states[i], expected) < 1e-5
    assert error(ours.last_hidden_state, theirs.last_hidden_state) < 1e-5
    assert error(ours.pooled, theirs.pooler_output) < 1e-5
    # the rows and the layers must differ for that to say much
    assert error(ours.pooled.roll(1, 0), theirs.pooler_output) > 1e-2
    for a, b in zip(theirs.hidden_states, theirs.hidden_states[1:], strict=False):
        assert error(a, b) > 1e-2


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("end", [END, 2])
@torch.no_grad()
def test_text_encoder_is_transformers(activation, end):
    theirs, ours = text_pair(hidden_act=activation, eos_token_id=end)
    ids = prompts([0, 1, 12, 75])
    expected = theirs(ids, output_hidden_states=True)
    assert_same(ours(ids, layers="all"), expected, TEXT["num_hidden_layers"])


@pytest.mark.parametrize("end", [END, 2])
@torch.no_grad()
def test_pooled_is_the_state_at_the_first_end_token(end):
    _, ours = text_pair(eos_token_id=end)
    lengths = [0, 1, 12, 75]
    encoded = ours(prompts(lengths))
    for row, length in enumerate(lengths):
        assert torch.equal(encoded.pooled[row], encoded.last_hidden_state[row, length + 1])


@torch.no_grad()
def test_an_end_token_that_the_file_tells_is_found_even_where_larger_ids_were_added():
    theirs, ours = text_pair(eos_token_id=60)
    ids = prompts([5, 9]).clamp(max=59)
    ids[0, 6:], ids[1, 10:], ids[:, 2] = 60, 60, 98
    assert error(ours(ids).pooled, theirs(ids).pooler_output) < 1e-5
    assert torch.equal(ours(ids).pooled[0], ours(ids).last_hidden_state[0, 6])


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 4),
    width=st.integers(2, 20),
    heads=st.sampled_from([1, 2, 3, 6]),
    layers=st.integers(1, 3),
    eps=st.sampled_from([1e-5, 1e-3]),
)
@torch.no_grad()
def test_text_encoder_is_transformers_in_any_shape(batch, width, heads, layers, eps):
    theirs, ours = text_pair(
        hidden_size=24, num_attention_heads=heads, num_hidden_layers=layers,
        max_position_embeddings=20, layer_norm_eps=eps,
    )  # fmt: skip
    ids = prompts([min(i, width - 2) for i in range(batch)], width)
    assert error(ours(ids).last_hidden_state, theirs(ids).last_hidden_state) < 1e-5
    assert error(ours(ids).pooled, theirs(ids).pooler_output) < 1e-5


@pytest.mark.parametrize(
    "config", [B32, L14, B32 | {"hidden_act": "gelu", "patch_size": 9}], ids=["b32", "l14", "rest"]
)
@torch.no_grad()
def test_image_encoder_is_transformers(config):
    theirs, ours = image_pair(**config)
    size = config["image_size"]
    pixels = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    expected = theirs(pixels, output_hidden_states=True)
    assert_same(ours(pixels, layers="all"), expected, config["num_hidden_layers"])


@torch.no_grad()
def test_only_the_layers_that_are_asked_for_come_back():
    _, images = image_pair()
    pixels = torch.randn(1, 3, 56, 56)
    everything = images(pixels, layers="all").hidden_states
    assert images(pixels).hidden_states == {}
    some = images(pixels, layers=[3, 0]).hidden_states
    assert list(some) == [0, 3]
    for i, state in some.items():
        assert torch.equal(state, everything[i])
    assert torch.equal(everything[4], images(pixels).last_hidden_state)

    _, texts = text_pair()
    encoded = texts(prompts([4]), layers=iter([3]))
    normed = texts.text_model.final_layer_norm(encoded.hidden_states[3])
    assert torch.equal(normed, encoded.last_hidden_state)


@torch.no_grad()
def test_a_token_changes_nothing_before_it_and_everything_after():
    _, ours = text_pair()
    ids = prompts([20])
    other = ids.clone()
    other[0, 10] = (other[0, 10] + 1) % START
    a, b = ours(ids).last_hidden_state, ours(other).last_hidden_state
    assert torch.equal(a[0, :10], b[0, :10])
    assert ((a[0, 10:] - b[0, 10:]).abs().amax(dim=1) > 1e-4).all()


@torch.no_grad()
def test_the_length_of_the_padding_does_not_matter_before_it():
    _, ours = text_pair()
    long, short = ours(prompts([6])), ours(prompts([6], width=8))
    torch.testing.assert_close(long.last_hidden_state[:, :8], short.last_hidden_state)
    torch.testing.assert_close(long.pooled, short.pooled)


@torch.no_grad()
def test_every_patch_reaches_the_class_token():
    _, ours = image_pair()
    pixels = torch.randn(1, 3, 56, 56)
    before = ours(pixels).pooled
    for corner in [(0, 0), (0, -1), (-1, 0), (-1, -1)]:
        other = pixels.clone()
        other[0, :, corner[0], corner[1]] += 3
        assert error(ours(other).pooled, before) > 1e-4


def slope_errors(function, x, direction):
    """Relative difference of the gradient along a direction from a central difference."""
    x = x.requires_grad_()
    function(x).backward()
    slope = (x.grad * direction).sum().item()
    with torch.no_grad():
        difference = (function(x + 1e-5 * direction) - function(x - 1e-5 * direction)) / 2e-5
    assert abs(slope) > 1e-3
    return abs(slope / difference.item() - 1)


def test_gradients_reach_the_picture_through_any_layer():
    _, ours = image_pair()
    ours = ours.double()
    generator = torch.Generator().manual_seed(3)
    x, direction = torch.randn(2, 2, 3, 56, 56, generator=generator, dtype=torch.float64)
    for layer in (0, 2, 4):
        loss = lambda x, i=layer: ours(x, layers=[i]).hidden_states[i].square()[..., 0].sum()  # noqa: E731
        assert slope_errors(loss, x.clone(), direction) < 1e-6
    assert slope_errors(lambda x: ours(x).pooled[:, 0].sum(), x.clone(), direction) < 1e-6


def test_the_full_text_tower_has_stable_diffusions_keys_shapes_and_parameters():
    config = transformers.CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_attention_heads=12
    )
    with torch.device("meta"):
        ours = CLIPTextEncoder().state_dict()
        theirs = transformers.CLIPTextModel(config).state_dict()
    expected = {f"text_model.{key}": value.shape for key, value in theirs.items()}
    assert {key: value.shape for key, value in ours.items()} == expected
    assert len(ours) == 196
    assert sum(value.numel() for value in ours.values()) == 123_060_480


def test_the_full_image_tower_has_transformers_keys_shapes_and_parameters():
    config = transformers.CLIPVisionConfig(
        patch_size=14, hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
        num_attention_heads=16,
    )  # fmt: skip
    with torch.device("meta"):
        ours = CLIPImageEncoder().state_dict()
        theirs = transformers.CLIPVisionModel(config).state_dict()
    expected = {f"vision_model.{key}": value.shape for key, value in theirs.items()}
    assert {key: value.shape for key, value in ours.items()} == expected
    assert len(ours) == 391
    assert sum(value.numel() for value in ours.values()) == 303_179_776


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (CLIPTextConfig, transformers.CLIPTextConfig),
        (CLIPVisionConfig, transformers.CLIPVisionConfig),
    ],
)
def test_what_a_file_leaves_out_is_what_transformers_takes_for_it(ours, theirs):
    told = theirs().to_dict()
    names = ours.__dataclass_fields__
    assert {name: getattr(ours.from_json({}), name) for name in names} == {
        name: told[name] for name in names
    }


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        (CLIPTextConfig, {"num_attention_heads": 5}, "num_attention_heads is 5; it must divide"),
        (CLIPTextConfig, {"hidden_act": "relu"}, "hidden_act is 'relu'; allowed are"),
        (CLIPTextConfig, {"model_type": "clip"}, "model_type is 'clip'"),
        (CLIPTextConfig, {"model_type": "clip_vision_model"}, "has 'clip_text_model' only"),
        (CLIPTextConfig, {"attention_dropout": 0.1}, "attention_dropout is 0.1"),
        (CLIPVisionConfig, {"num_channels": 1}, "num_channels is 1"),
        (CLIPVisionConfig, {"num_attention_heads": 7}, "it must divide hidden_size, which is 768"),
        (CLIPVisionConfig, {"model_type": "siglip_vision_model"}, "siglip"),
    ],
)
def test_another_architecture_is_refused(kind, changes, words):
    with pytest.raises(ValueError, match=words):
        kind.from_json(changes)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (
            prompts([4], width=78),
            r"ids has shape \(1, 78\); it must be \[B, M\] with M from 1 to 77",
        ),
        (torch.zeros(1, 0, dtype=torch.int64), r"ids has shape \(1, 0\)"),
        (torch.full((77,), END), r"ids has shape \(77,\)"),
        (prompts([4]).float(), "ids is of type torch.float32"),
        (
            prompts([4]) + 1,
            "ids reaches from .* to 99; the vocabulary has 0 to 98",
        ),
        (prompts([4]) - START, "ids reaches from -"),
        (torch.tensor([[START, END], [START, 1]]), r"ids has no end token 98 in rows \[1\]"),
    ],
)
def test_bad_ids_are_refused(ids, words):
    _, ours = text_pair()
    with pytest.raises(ValueError, match=words):
        ours(ids)


@pytest.mark.parametrize("shape", [(1, 3, 56, 57), (1, 3, 112, 112), (1, 1, 56, 56), (3, 56, 56)])
def test_pictures_of_another_size_are_refused(shape):
    _, ours = image_pair()
    with pytest.raises(ValueError, match=r"pixels has shape .*; it must be \[B, 3, 56, 56\]"):
        ours(torch.zeros(shape))


@pytest.mark.parametrize("layers", [[5], [-1], ["last"], [0, 7]])
def test_layers_that_are_not_there_are_refused(layers):
    _, ours = image_pair()
    with pytest.raises(ValueError, match=r"layers holds .*; there are 0 .* to 4"):
        ours(torch.zeros(1, 3, 56, 56), layers=layers)
