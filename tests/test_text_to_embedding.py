"""From texts to embeddings: what a row depends on, which draw is taken, and what is refused."""

import pytest
import torch

from minisd.models.clip import CLIPTextConfig, CLIPVisionConfig
from minisd.models.contrastive import CLIP
from minisd.models.prior import Prior, PriorConfig, read_text
from minisd.models.tokenizer import train_tokenizer
from minisd.text_to_embedding import TextToEmbedding

TEXTS = ["a red dog", "a boat", "two cats at night"]
SEEDS = [4, 5, 6]


@pytest.fixture(scope="module")
def imagine():
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a red dog on a boat", "two cats at night"], 520, max_length=16)
    size = len(tokenizer)
    text = CLIPTextConfig(size, 16, 12, 24, 1, 2, eos_token_id=size - 1)
    clip = CLIP(text, CLIPVisionConfig(8, 4, 12, 24, 1, 2), 10)
    prior = Prior(PriorConfig(10, 12, 16, 16, 32, 1, 2))
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return TextToEmbedding(prior, clip, tokenizer)


def test_a_seed_gives_the_same_row_whatever_is_beside_it(imagine):
    rows = imagine(TEXTS, SEEDS, scale=2.0, steps=5)
    assert rows.shape == (3, 10)
    torch.testing.assert_close(imagine(TEXTS[1:], SEEDS[1:], scale=2.0, steps=5), rows[1:])
    assert (imagine(TEXTS, [7, 8, 9], scale=2.0, steps=5) - rows).abs().max() > 1e-3


def test_the_draw_nearest_to_the_text_is_taken(imagine):
    _, text = read_text(imagine.clip, imagine.tokenizer(TEXTS))
    near = [
        torch.cosine_similarity(imagine(TEXTS, SEEDS, steps=5, draws=k), text) for k in (1, 2, 8)
    ]
    assert (near[0] <= near[1] + 1e-6).all()
    assert (near[1] <= near[2] + 1e-6).all()
    assert (near[2] > near[0] + 1e-4).any()


def test_text_and_scale_count(imagine):
    plain = imagine(TEXTS, SEEDS, steps=5)
    assert (imagine(TEXTS[::-1], SEEDS, steps=5) - plain)[[0, 2]].abs().amax(dim=1).min() > 1e-4
    assert (imagine(TEXTS, SEEDS, steps=5, scale=3.0) - plain).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1]}, "seeds and texts are 1 and 3"),
        ({"texts": [], "seeds": []}, "texts is "),
        ({"scale": float("inf")}, "scale is inf"),
        ({"draws": 0}, "draws is 0"),
        ({"steps": 0}, "num_steps is 0"),
    ],
)
def test_bad_input_is_named(imagine, change, message):
    with pytest.raises(ValueError, match=message):
        imagine(**{"texts": TEXTS, "seeds": SEEDS, "steps": 2} | change)
