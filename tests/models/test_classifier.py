import pytest
import torch
from torch import nn

from minisd.models.classifier import Classifier, ClassifierConfig, answers_loss

LABELS = {"colour": ("red", "blue", "green"), "size": ("small", "large")}
SIZES = {"sample_size": 8, "block_out_channels": (8, 16), "norm_num_groups": 4, "hidden_size": 12}


def made(**changes):
    torch.manual_seed(0)
    return Classifier(ClassifierConfig(LABELS, **SIZES | changes))


def test_it_answers_every_question():
    network, x = made(), torch.randn(5, 3, 8, 8)
    logits = network(x)
    assert {name: tuple(part.shape) for name, part in logits.items()} == {
        "colour": (5, 3),
        "size": (5, 2),
    }
    assert network.features(x).shape == (5, 12)


def test_the_time_reaches_every_block():
    network, x = made(timesteps=True), torch.randn(2, 3, 8, 8)
    one, other = network(x, torch.tensor(3.0)), network(x, torch.tensor([3.0, 700.0]))
    torch.testing.assert_close(one["size"][0], other["size"][0])
    assert not torch.allclose(one["size"][1], other["size"][1])
    sum(part.sum() for part in other.values()).backward()
    assert all(block.time_emb_proj.weight.grad.abs().sum() > 0 for block in network.blocks[::2])


def test_places_are_told_apart():
    x = torch.zeros(2, 3, 8, 8)
    x[0, :, :, 0], x[1, :, :, -1] = 1, 1
    one, other = made()(x)["size"]
    assert not torch.allclose(one, other)


def test_the_loss_is_the_sum_of_cross_entropies_and_leaves_out_what_has_no_answer():
    logits = {name: torch.randn(4, len(words)) for name, words in LABELS.items()}
    answers = {"colour": torch.tensor([0, 2, 1, -100]), "size": torch.tensor([1, 0, 0, 1])}
    wanted = nn.functional.cross_entropy(logits["size"], answers["size"])
    wanted += nn.functional.cross_entropy(logits["colour"][:3], answers["colour"][:3]) * 3 / 4
    torch.testing.assert_close(answers_loss(logits, answers), wanted)


def test_it_learns():
    network = made()
    x = torch.randn(32, 3, 8, 8)
    answers = {"colour": (x[:, 0, 0, 0] > 0).long(), "size": (x[:, 1].mean((1, 2)) > 0).long()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    for _ in range(40):
        loss = answers_loss(network(x), answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"sample_size": 9}, "sample_size is 9"), ({"labels": {}}, "labels has no questions"),
     ({"labels": {"size": ("small",)}}, r"labels has \['size'\]")],
)  # fmt: skip
def test_settings_that_do_not_fit_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        ClassifierConfig(**{"labels": LABELS} | SIZES | changes)


def test_inputs_that_do_not_fit_are_named():
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"x has shape \(1, 4, 8, 8\)"):
        made()(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match=r"t is .*takes none"):
        made()(x, torch.tensor([1]))
    with pytest.raises(ValueError, match="t is None; it must be the times"):
        made(timesteps=True)(x)


def test_settings_come_back_from_json():
    settings = {
        "labels": {"size": ["small", "large"]},
        "block_out_channels": [8, 16],
        "_class_name": "Classifier",
    }
    config = ClassifierConfig.from_json(settings)
    assert config.labels == {"size": ("small", "large")}
    assert config.block_out_channels == (8, 16)
