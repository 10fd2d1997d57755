"""Keys and values of earlier tokens, in buffers that generation fills and thins out."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

_Layer: Any = DynamicLayer
_Cache: Any = Cache


class _Buffer(_Layer):  # type: ignore[misc]
    """One layer's keys and values, (n_rows, n_heads, capacity, d_head), filled from the left.

    Sliding-window layers keep all columns too: the mask alone decides what they see.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self._n_columns = 0
        self._buffers: list[torch.Tensor] = []

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self._buffers = [self._room(key_states), self._room(value_states)]
        self.is_initialized = True

    def _room(self, states: torch.Tensor) -> torch.Tensor:
        n_rows, n_heads, _, width = states.shape
        return states.new_empty((n_rows, n_heads, self._capacity, width))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self._n_columns
        self._n_columns += key_states.shape[-2]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start : self._n_columns] = states
        return self._show()

    def _show(self) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = (buffer[:, :, : self._n_columns] for buffer in self._buffers)
        return self.keys, self.values

    def select(self, rows: torch.Tensor, drop: int, capacity: int) -> None:
        """Keep `rows`, forget the first `drop` columns and make room for `capacity`."""
        if not self._buffers:
            return
        self._capacity = capacity
        kept = self._n_columns - drop
        for i, buffer in enumerate(self._buffers):
            chosen = buffer[:, :, drop : self._n_columns].index_select(0, rows)
            self._buffers[i] = self._room(chosen)
            self._buffers[i][:, :, :kept] = chosen
        self._n_columns = kept
        self._show()


class RowCache(_Cache):  # type: ignore[misc]
    """A transformers cache of fixed capacity whose rows can be repeated and dropped.

    Parameters
    ----------
    n_layers : int
    capacity : int
        Columns to make room for.
    """

    def __init__(self, n_layers: int, capacity: int) -> None:
        super().__init__(layers=[_Buffer(capacity) for _ in range(n_layers)])

    def select(self, rows: torch.Tensor, *, drop: int, capacity: int) -> None:
        """Keep (or repeat) `rows`, forget the first `drop` columns.

        Parameters
        ----------
        rows : (n_kept,) int64 tensor
            Rows to keep, in their new order; a row may come more than once.
        drop : int
            Leading columns that hold padding in every kept row.
        capacity : int
            Columns to make room for from now on.
        """
        for layer in self.layers:
            layer.select(rows, drop, capacity)
