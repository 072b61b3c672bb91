import pytest
import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer

from minisd.diffusion import SAMPLERS, ImageNoise, NoiseSchedule, sample
from minisd.guidance import classifier_free
from minisd.models.clip import CLIPTextConfig, CLIPVisionConfig
from minisd.models.contrastive import CLIP
from minisd.models.prior import Prior, PriorConfig, read_text, to_unit_variance

SIZES = {
    "projection_dim": 12,
    "text_hidden_size": 12,
    "num_embeddings": 7,
    "hidden_size": 16,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def made(**changes):
    torch.manual_seed(0)
    return Prior(PriorConfig(**SIZES | changes)).eval()


def told(network, rows=3):
    config = network.config
    states = torch.randn(rows, config.num_embeddings, config.text_hidden_size)
    return states, torch.randn(rows, config.projection_dim)


@torch.no_grad()
def test_it_is_that_of_diffusers_with_the_same_weights():
    theirs = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        embedding_dim=12,
        num_embeddings=7,
    ).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    names = {
        "time_embedding.linear_1": "time_embedding.0",
        "time_embedding.linear_2": "time_embedding.2",
        "transformer_blocks": "transformer.layers",
        "attn1.to_q": "self_attn.q_proj",
        "attn1.to_k": "self_attn.k_proj",
        "attn1.to_v": "self_attn.v_proj",
        "attn1.to_out.0": "self_attn.out_proj",
        "positional_embedding": "positional_embedding.weight",
        "norm1": "layer_norm1",
        "norm3": "layer_norm2",
        "ff.net.0.proj": "mlp.fc1",
        "ff.net.2": "mlp.fc2",
    }
    ours, state = made(), {}
    for key, value in theirs.state_dict().items():
        for old, new in names.items():
            key = key.replace(old, new)
        state[key] = (
            value.reshape(ours.state_dict()[key].shape) if key in ours.state_dict() else None
        )
    del state["clip_mean"], state["clip_std"]
    ours.load_state_dict(state)
    x, t, (states, embedding) = torch.randn(3, 12), torch.tensor([0, 400, 999]), told(ours)
    # without a mask, theirs leaves out the causal one too
    mask = torch.ones(3, 7, dtype=torch.bool)
    wanted = theirs(x, t, embedding, states, mask).predicted_image_embedding
    found = ours(x, t, ours.context(states, embedding))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_all_that_it_is_told_counts():
    network = made()
    x, t, (states, embedding) = torch.randn(1, 12), torch.tensor(40.0), told(network, 1)
    first = network(x, t, network.context(states, embedding))
    others = [
        network(x + 1, t, network.context(states, embedding)),
        network(x, t + 1, network.context(states, embedding)),
        network(x, t, network.context(states, embedding + 1)),
        *(
            network(x, t, network.context(states + torch.eye(7)[i][:, None], embedding))
            for i in range(7)
        ),
    ]
    assert all((first - other).abs().max() > 1e-4 for other in others)


def test_it_learns_the_mean_of_what_a_text_may_mean():
    # without noise to see, the best guess at x_0 is the mean under the text
    network, schedule = made(), NoiseSchedule.cosine()
    network.train()
    means = torch.tensor([[1.0] * 12, [-1.0] * 12])
    context_of = told(network, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for step in range(120):
        which = torch.randint(2, (64,), generator=torch.Generator().manual_seed(step))
        x_0 = means[which] + 0.3 * torch.randn(64, 12)
        t = torch.randint(1000, (64,)).float()
        context = network.context(*(part[which] for part in context_of))
        x_t = schedule.q_sample(x_0, t, torch.randn(64, 12))
        loss = ((network(x_t, t, context) - x_0) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        network.eval()
        guess = network(torch.randn(2, 12), torch.tensor(999.0), network.context(*context_of))
        torch.testing.assert_close(guess, means, rtol=0, atol=0.35)


@pytest.mark.parametrize("sampler", SAMPLERS)
@torch.no_grad()
def test_the_samplers_of_pictures_draw_embeddings(sampler):
    network, schedule = made(), NoiseSchedule.cosine()
    c, null = (network.context(*told(network)) for _ in range(2))
    denoise = schedule.as_denoiser(classifier_free(network, c, null, 2.0), "x0")
    noise = ImageNoise(range(3))
    drawn = sample(denoise, noise.draw((12,)), schedule, 6, sampler, noise=noise)
    assert drawn.shape == (3, 12)
    assert drawn.isfinite().all()


def test_a_text_is_read_by_clip():
    text = CLIPTextConfig(20, 7, 12, 24, 1, 2, eos_token_id=19)
    clip = CLIP(text, CLIPVisionConfig(8, 4, 12, 24, 1, 2), 10)
    ids = torch.tensor([[18, 3, 4, 19, 19, 19, 19]])
    states, embedding = read_text(clip, ids)
    torch.testing.assert_close(embedding, to_unit_variance(clip.encode_text(ids)))
    torch.testing.assert_close(states, clip.text_model(ids).last_hidden_state)


def test_unit_variance_keeps_the_direction():
    x = torch.randn(5, 3, 64)
    y = to_unit_variance(x)
    torch.testing.assert_close((y**2).mean(-1), torch.ones(5, 3))
    torch.testing.assert_close(torch.cosine_similarity(x, y, dim=-1), torch.ones(5, 3))


def test_what_does_not_fit_is_named():
    network = made()
    states, embedding = told(network)
    with pytest.raises(ValueError, match=r"states has shape \(3, 6, 12\); it must be \[B, 7, 12\]"):
        network.context(states[:, 1:], embedding)
    with pytest.raises(ValueError, match=r"embedding has shape \(2, 12\); it must be \[3, 12\]"):
        network.context(states, embedding[1:])
    context = network.context(states, embedding)
    with pytest.raises(ValueError, match=r"x_t has shape \(3, 11\)"):
        network(torch.zeros(3, 11), torch.tensor(0), context)
    with pytest.raises(ValueError, match=r"t has shape \(2,\)"):
        network(torch.zeros(3, 12), torch.zeros(2), context)
    with pytest.raises(
        ValueError, match=r"context has shape \(3, 8, 16\); it must be \[2, 8, 16\]"
    ):
        network(torch.zeros(2, 12), torch.tensor(0), context)
    with pytest.raises(ValueError, match="hidden_size is 18"):
        made(hidden_size=18, num_attention_heads=4)
    with pytest.raises(ValueError, match="text_hidden_size is missing"):
        PriorConfig.from_json({"projection_dim": 12})
