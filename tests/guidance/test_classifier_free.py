import pytest
import torch

from minisd.diffusion import NoiseSchedule, sample
from minisd.guidance import classifier_free


def network(x_t, t, context):
    return torch.tanh(x_t * context.mean((1, 2))[:, None] + t[:, None] / 1000)


c, null = torch.randn(3, 2, 5), torch.randn(3, 2, 5)
x, t = torch.randn(3, 4), torch.tensor([0.0, 10.0, 900.0])


@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.0, 7.5])
def test_the_two_predictions_are_mixed(scale):
    with_c, without = network(x, t, c), network(x, t, null)
    expected = (1 - scale) * without + scale * with_c
    torch.testing.assert_close(classifier_free(network, c, null, scale)(x, t), expected)


@pytest.mark.parametrize("scale", [0.0, 1.0, 8.0])
def test_both_conventions_of_the_scale_agree(scale):
    w = scale - 1  # Ho and Salimans, equation 6
    expected = (1 + w) * network(x, t, c) - w * network(x, t, null)
    torch.testing.assert_close(classifier_free(network, c, null, scale)(x, t), expected)


@pytest.mark.parametrize(("scale", "rows"), [(1.0, 3), (8.0, 6)])
def test_the_network_is_called_once(scale, rows):
    seen = []

    def watched(x_t, t, context):
        seen.append((len(x_t), len(t), len(context)))
        return network(x_t, t, context)

    classifier_free(watched, c, null, scale)(x, t)
    assert seen == [(rows, rows, rows)]


def test_it_is_a_denoiser_for_the_samplers():
    x_0 = sample(classifier_free(network, c, null, 3.0), x, NoiseSchedule.linear(), steps=3)
    assert x_0.shape == x.shape


def test_bad_input():
    with pytest.raises(ValueError, match=r"unconditional has shape \(1, 2, 5\)"):
        classifier_free(network, c, null[:1], 3.0)
    with pytest.raises(ValueError, match="scale is nan"):
        classifier_free(network, c, null, float("nan"))
