"""Muon for matrices and kernels, AdamW for all else.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) makes the momentum of a matrix orthogonal before
it takes the step, so that all of its directions move alike; the step's length is that of Liu et al. 2025 (arXiv
2502.16982, equation 4), so that one learning rate suits both optimizers. PyTorch's own takes matrices alone, and works
in bfloat16, which few CPUs are quick at.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95


def make_optimizer(
    network: nn.Module, kind: str, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Make the optimizer of a network's parameters that require a gradient.

    Parameters
    ----------
    network : Module
    kind : {"adamw", "muon"}
    learning_rate : float
    weight_decay : float
        For what has two dimensions or more; biases, norms and scales have none.

    Returns
    -------
    Optimizer
    """
    tables = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    trained = [p for p in network.parameters() if p.requires_grad]
    # rows of a table are looked up, not multiplied with: orthogonal steps mean nothing to them
    matrices = [p for p in trained if p.ndim > 1 and id(p) not in tables]
    groups = [
        {"params": matrices, "weight_decay": weight_decay, "muon": kind == "muon"},
        {"params": [p for p in trained if id(p) in tables], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return Muon([{"muon": False} | g for g in groups if g["params"]], lr=learning_rate)


class Muon(torch.optim.AdamW):
    """AdamW, but for groups with ``"muon": True``."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take a step."""
        groups = self.param_groups
        for group in groups:
            if group["muon"]:
                for p in group["params"]:
                    if p.grad is not None:
                        self._step_matrix(p, group["lr"], group["weight_decay"])
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            return super().step(closure)
        finally:
            self.param_groups = groups

    def _step_matrix(self, p: Tensor, rate: float, weight_decay: float) -> None:
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
            state["step"] = torch.zeros(())  # AdamW looks for one when a state is loaded
        momentum = state["momentum"].mul_(MOMENTUM).add_(p.grad)
        update = (p.grad + MOMENTUM * momentum).flatten(1)  # [outputs, inputs of all taps]
        length = 0.2 * max(update.shape) ** 0.5
        p.mul_(1 - rate * weight_decay)
        p.add_(orthogonalize(update).view_as(p), alpha=-rate * length)


def orthogonalize(matrix: Tensor) -> Tensor:
    """Bring all singular values near 1, between 0.7 and 1.2, and keep the singular vectors.

    Five steps of an iteration that multiplies and adds alone: every singular value x becomes a x + b x^3 + c x^5. Those
    below about a thousandth of the matrix's norm stay smaller.

    Parameters
    ----------
    matrix : Tensor, shape [n, m]

    Returns
    -------
    Tensor, shape [n, m]
    """
    a, b, c = (
        3.4445,
        -4.7750,
        2.0315,
    )  # Jordan et al. 2024: the steepest at 0 that still ends near 1
    tall = matrix.shape[0] > matrix.shape[1]
    X = matrix.T if tall else matrix
    X = X / (X.norm() + 1e-7)
    for _ in range(5):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if tall else X
