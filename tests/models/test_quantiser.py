"""The codebook against its definition and against diffusers."""

import pytest
import torch
from diffusers.models.autoencoders.vae import VectorQuantizer

from minisd.models.quantiser import VectorQuantiser


def pair(legacy=False):
    """diffusers' codebook of 12 vectors of 3 numbers, and ours."""
    torch.manual_seed(0)
    theirs = VectorQuantizer(12, 3, beta=0.25, legacy=legacy, sane_index_shape=True)
    torch.nn.init.normal_(theirs.embedding.weight)
    ours = VectorQuantiser(12, 3)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def latents():
    return torch.randn(3, 3, 5, 7, generator=torch.Generator().manual_seed(1))


def gradients(quantise, module, direction):
    """Gradients of a loss that sees latents and codebook, with respect to both."""
    z = latents().requires_grad_()
    out, loss = quantise(z)
    ((out * direction).sum() + 3 * loss).backward()
    return z.grad, module.embedding.weight.grad


def test_each_vector_becomes_the_nearest_entry():
    _, ours = pair()
    z, codebook = latents(), ours.embedding.weight.detach()
    quantised = ours(z)
    for b in range(3):
        for i in range(5):
            for j in range(7):
                nearest = min(range(12), key=lambda k: (z[b, :, i, j] - codebook[k]).norm().item())
                assert quantised.indices[b, i, j] == nearest
                torch.testing.assert_close(quantised.z[b, :, i, j], codebook[nearest])
    torch.testing.assert_close(ours.look_up(quantised.indices), quantised.z)
    assert len(quantised.indices.unique()) > 6


def test_it_is_diffusers():
    theirs, ours = pair()
    z, loss, (_, _, indices) = theirs(latents())
    quantised = ours(latents())
    assert torch.equal(quantised.indices, indices)
    torch.testing.assert_close(quantised.z, z)
    torch.testing.assert_close(quantised.loss, loss)
    direction = torch.randn_like(z)
    expected = gradients(lambda z: theirs(z)[:2], theirs, direction)
    got = gradients(lambda z: ((q := ours(z)).z, q.loss), ours, direction)
    torch.testing.assert_close(got, expected)


def test_the_weight_is_on_the_commitment_and_not_as_in_diffusers_default():
    theirs, ours = pair(legacy=True)
    assert ours(latents()).loss.item() == pytest.approx(theirs(latents())[1].item())
    zero = torch.zeros(3, 3, 5, 7)
    z, codebook = gradients(lambda z: ((q := ours(z)).z, q.loss), ours, zero)
    z_swapped, codebook_swapped = gradients(lambda z: theirs(z)[:2], theirs, zero)
    torch.testing.assert_close(z_swapped, z * 4)
    torch.testing.assert_close(codebook_swapped, codebook / 4)


def test_the_gradient_passes_straight_through():
    _, ours = pair()
    z = latents().requires_grad_()
    direction = torch.randn_like(z)
    (ours(z).z * direction).sum().backward()
    assert torch.equal(z.grad, direction)
    assert ours.embedding.weight.grad is None


def test_the_loss_draws_entries_and_latents_to_each_other():
    _, ours = pair()
    z = latents().requires_grad_()
    quantised = ours(z)
    quantised.loss.backward()
    with torch.no_grad():
        gap = z - quantised.z
        torch.testing.assert_close(z.grad, 0.25 * 2 * gap / gap.numel())
        for k in range(12):
            pull = (gap * (quantised.indices == k)[:, None]).sum(dim=(0, 2, 3))
            torch.testing.assert_close(ours.embedding.weight.grad[k], -2 * pull / gap.numel())


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 4, 4, 4)])
def test_latents_that_do_not_fit_are_named(shape):
    with pytest.raises(ValueError, match=r"z has shape .*; it must be \[B, 3, h, w\]"):
        VectorQuantiser(12, 3)(torch.zeros(shape))
