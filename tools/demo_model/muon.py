"""Muon (momentum, orthogonalised by Newton-Schulz steps) in single precision.

The optimizer of `torch.optim` multiplies in bfloat16, which a processor without such instructions
does many times slower than single precision: it took most of the training time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import torch

# Coefficients of the quintic x -> a x + b x^3 + c x^5, steep at zero.
_A, _B, _C, _STEPS = 3.4445, -4.7750, 2.0315, 5


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """Return about U V^T of matrices [n, rows, columns]: singular values from 0.5 to 1.5."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * (gram @ gram)) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; matrices of one shape go together."""

    def __init__(
        self,
        matrices: Iterable[torch.nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(
            sorted(matrices, key=lambda matrix: matrix.shape),
            {"lr": lr, "weight_decay": weight_decay, "momentum": momentum},
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Take one step; every matrix must have a gradient."""
        for group in self.param_groups:
            for shape, matrices in itertools.groupby(group["params"], lambda m: m.shape):
                self._step(list(matrices), shape, group)

    def _step(self, matrices: list[torch.Tensor], shape: torch.Size, group: dict[str, Any]) -> None:
        gradients = torch.stack([matrix.grad for matrix in matrices if matrix.grad is not None])
        state = self.state[matrices[0]]
        mean = state.setdefault("mean", torch.zeros_like(gradients))
        mean.lerp_(gradients, 1 - group["momentum"])
        updates = orthogonalised(gradients.lerp(mean, group["momentum"]))
        rate = group["lr"] * max(1, shape[0] / shape[1]) ** 0.5
        for matrix, update in zip(matrices, updates, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)
