import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minisd.training.optimizer import make_optimizer, orthogonalize


@settings(max_examples=40)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
def test_singular_values_come_near_one_and_vectors_stay(n, m, seed):
    own = torch.Generator().manual_seed(seed)
    U, _, V = torch.linalg.svd(torch.randn(n, m, generator=own).double(), full_matrices=False)
    values = 0.05 + torch.rand(min(n, m), generator=own).double()
    found = U.T @ orthogonalize(U * values @ V) @ V.T
    assert (found.diagonal() > 0.65).all()
    assert (found.diagonal() < 1.25).all()
    assert (found - found.diagonal().diag()).abs().max() < 1e-9


def test_a_matrix_moves_as_with_pytorchs_own():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(6, 4, bias=False), nn.Linear(6, 4, bias=False)
    theirs.load_state_dict(ours.state_dict())
    first = make_optimizer(ours, "muon", 0.02, 0.1)
    second = torch.optim.Muon(
        theirs.parameters(), lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    x, y = torch.randn(20, 6), torch.randn(20, 4)
    before = ours.weight.detach().clone()
    for _ in range(5):
        for network, optimizer in ((ours, first), (theirs, second)):
            optimizer.zero_grad()
            ((network(x) - y) ** 2).mean().backward()
            optimizer.step()
    moved = (theirs.weight - before).norm()
    assert (ours.weight - theirs.weight).norm() < 0.02 * moved  # theirs is in bfloat16


def test_a_kernel_moves_as_the_matrix_it_is():
    torch.manual_seed(0)
    kernel, matrix = nn.Conv2d(3, 5, 2, bias=False), nn.Linear(12, 5, bias=False)
    with torch.no_grad():
        matrix.weight.copy_(kernel.weight.flatten(1))
    kernel.to(memory_format=torch.channels_last)
    x = torch.randn(7, 3, 2, 2)
    for network, inputs in ((kernel, x), (matrix, x.flatten(1))):
        optimizer = make_optimizer(network, "muon", 0.1, 0.01)
        for _ in range(3):
            optimizer.zero_grad()
            network(inputs).flatten(1).pow(2).sum().backward()
            optimizer.step()
    torch.testing.assert_close(kernel.weight.flatten(1), matrix.weight)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_all_else_goes_with_adamw(kind):
    torch.manual_seed(0)
    ours = nn.ModuleList([nn.Embedding(5, 3), nn.LayerNorm(3), nn.Linear(3, 2)])
    theirs = nn.ModuleList([nn.Embedding(5, 3), nn.LayerNorm(3), nn.Linear(3, 2)])
    theirs.load_state_dict(ours.state_dict())
    decayed = [theirs[0].weight, theirs[2].weight]
    rest = [theirs[1].weight, theirs[1].bias, theirs[2].bias]
    second = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.3}, {"params": rest, "weight_decay": 0.0}], lr=0.01
    )
    first = make_optimizer(ours, kind, 0.01, 0.3)
    for _ in range(3):
        for parts, optimizer in ((ours, first), (theirs, second)):
            optimizer.zero_grad()
            # the gradients of all but the matrix do not depend on it
            h = parts[1](parts[0](torch.tensor([1, 2])))
            (h.pow(3).sum() + parts[2](torch.ones(1, 3)).sum()).backward()
            optimizer.step()
    same = {
        name: torch.allclose(p, theirs.get_parameter(name)) for name, p in ours.named_parameters()
    }
    assert same.pop("2.weight") == (kind == "adamw")
    assert all(same.values())


def test_what_is_frozen_stays():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).requires_grad_(False)
    network[1].requires_grad_(True)
    before = network[0].weight.clone()
    optimizer = make_optimizer(network, "muon", 0.1, 0.1)
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(network[0].weight, before)


def test_its_state_comes_back():
    def fitted(steps, state=None, weights=None):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
        if weights:
            network.load_state_dict(weights)
        optimizer = make_optimizer(network, "muon", 0.05, 0.0)
        if state:
            optimizer.load_state_dict(state)
        for _ in range(steps):
            optimizer.zero_grad()
            network(torch.eye(3)).pow(2).sum().backward()
            optimizer.step()
        return network.state_dict(), optimizer.state_dict()

    whole, _ = fitted(6)
    half = fitted(3)
    parted, _ = fitted(3, half[1], half[0])
    assert all(torch.equal(whole[key], parted[key]) for key in whole)
