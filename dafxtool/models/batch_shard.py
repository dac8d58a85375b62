"""Divide batches among processes so that any number of them computes the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shard:
    """The rows of a batch on one process: part `number` of `size` equal parts."""

    number: int = 0
    size: int = 1

    def of(self, rows: Any) -> Any:
        """Return this process's part of values that have one row per row of the complete batch."""
        if self.size == 1:
            return rows
        n = len(rows) // self.size
        return rows[self.number * n : (self.number + 1) * n]


ALL_ROWS = Shard()


class RowDropout(nn.Dropout):
    """Dropout with the same mask for a row on any number of processes."""

    shard = ALL_ROWS

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        ones = input.new_ones((self.shard.size * len(input), *input.shape[1:]))
        return input * self.shard.of(functional.dropout(ones, self.p))
